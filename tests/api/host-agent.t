The daemon and the pool: extensions, clients, HTTPS only, dumps, settings. [fresh]

$ call host.get_all
["<host>"]
$ call pool.get_all
["<pool>"]
$ sh mkdir -p config/extensions config/plugins state/system/usr/bin

# A message that the XenAPI does not have is an extension's, where there is one.
$ call no.such "x"
! MESSAGE_METHOD_UNKNOWN ["no.such"]
$ sh printf '%s\n' '#!/bin/sh' 'tr -d "\n" | grep -q "methodName.vm.count.*OpaqueRef.*a&lt;b" || exit 4' 'echo "[methodResponse][params][param][value][struct][member][name]Status[/name][value]Success[/value][/member][member][name]Value[/name][value][array][data][value][int]3[/int][/value][value]x[/value][value][boolean]1[/boolean][/value][/data][/array][/value][/member][/struct][/value][/param][/params][/methodResponse]" | tr "[]" "\074\076"' > config/extensions/vm.count && chmod +x config/extensions/vm.count
$ call vm.count "a<b"
["3", "x", true]
$ call vm.count "other"
! INTERNAL_ERROR ["the extension vm.count failed with status 4: "]
$ call host.has_extension "<host>", "vm.count"
true

# host.call_extension takes the call as it is.
$ call host.call_extension "<host>", "\u003cmethodCall\u003e\u003cmethodName\u003evm.count\u003c/methodName\u003e\u003cparams\u003e\u003cparam\u003e\u003cvalue\u003eOpaqueRef:x\u003c/value\u003e\u003c/param\u003e\u003cparam\u003e\u003cvalue\u003ea&lt;b\u003c/value\u003e\u003c/param\u003e\u003c/params\u003e\u003c/methodCall\u003e"
["3", "x", true]
$ call host.call_extension "<host>", "nonsense"
! INVALID_VALUE ["call", ...]

# What an extension answers is an answer, or an error that says what it printed.
$ sh printf '%s\n' '#!/bin/sh' 'echo hello' > config/extensions/bad && chmod +x config/extensions/bad
$ call bad
! EXTENSION_PROTOCOL_FAILURE ["bad", ..., "hello\n"]
$ sh printf '%s\n' '#!/bin/sh' 'echo "[methodResponse][params][param][value][struct][member][name]Status[/name][value]Failure[/value][/member][member][name]ErrorDescription[/name][value][array][data][value]MY_ERROR[/value][value]why[/value][/data][/array][/value][/member][/struct][/value][/param][/params][/methodResponse]" | tr "[]" "\074\076"' > config/extensions/bad
$ call bad
! MY_ERROR ["why"]

# Extensions are for pool-admin.
$ call role.get_by_name_label "pool-operator"
["<operator>"]
$ call role.get_by_name_label "pool-admin"
["<admin>"]
$ call subject.create {"subject_identifier": "alice", "other_config": {}}
"<alice>"
$ call subject.add_to_roles "<alice>", "<operator>"
""
$ call subject.remove_from_roles "<alice>", "<admin>"
""
$ call@alice vm.count "a<b"
! RBAC_PERMISSION_DENIED ["host.call_extension", ...]
$ call subject.destroy "<alice>"
""

# Clients are remembered by their programs.
$ sh curl -s -o /dev/null -H "User-Agent: my-tool/7.1 (extra)" --unix-socket xapi -d "$(echo "[methodCall][methodName]session.login_with_password[/methodName][params][param][value]root[/value][/param][param][value]x[/value][/param][/params][/methodCall]" | tr "[]" "\074\076")" http://localhost/
$ call host.get_tracked_user_agents "<host>" | my-tool
"7.1"

# Times and threads are told for those who look for a fault.
$ call host.get_diagnostic_timing_stats "<host>", true | host.has_extension
"... average, ... longest of 1"
$ call host.get_thread_diagnostics "<host>"
"thread  state  name             waits in\n...worker..."

# HTTPS only: what comes without TLS is refused.
$ plain host.get_all
["<host>"]
$ call host.set_https_only "<host>", true
""
$ plain host.get_all
! HTTP 403: ...
$ call host.get_https_only "<host>"
true
$ call pool.set_https_only "<pool>", false
""
$ plain host.get_all
["<host>"]

# Dumps that lie on the host at start are recorded, and go with their record.
$ sh mkdir -p state/system/var/crash/20260101-0102/sub && head -c 1000 /dev/zero > state/system/var/crash/20260101-0102/sub/vmcore && mkdir state/system/var/crash/other
$ restart
$ call host_crashdump.get_all
["<dump>"]
$ call host_crashdump.get_record "<dump>" | size
"1000"
$ restart
$ call host_crashdump.get_all
["<dump>"]
$ call host_crashdump.upload "<dump>", "file:///tmp/x", {}
! INVALID_VALUE ["url", "file:///tmp/x"]
$ sh for t in tar gzip; do ln -s $(which $t) state/system/usr/bin/$t; done; printf '%s\n' '#!/bin/sh' 'for a in "$@"; do [ "$b" = --upload-file ] && cp $a ${0%/*}/sent; b=$a; done' 'echo "$*" > ${0%/*}/curl.log; [ ! -f ${0%/*}/curl.fails ] || { echo "curl: (22) no" >&2; exit 22; }; cat > ${0%/*}/curl.in; cat ${0%/*}/curl.in' > state/system/usr/bin/curl && chmod +x state/system/usr/bin/curl
$ call host_crashdump.upload "<dump>", "https://joe:geheim\"1@dumps.example.org/put", {"http_proxy": "http://jim:geheim2@proxy:3128"}
""
$ sh tar tzf state/system/usr/bin/sent; cat state/system/usr/bin/curl.log; ls state/spool
./
./sub/
./sub/vmcore
--silent --show-error --fail --globoff --upload-file .../state/spool/crashdump... --config -
$ sh cat state/system/usr/bin/curl.in
url = "https://joe:geheim\"1@dumps.example.org/put"
proxy = "http://jim:geheim2@proxy:3128"
$ call host_crashdump.upload "<dump>", "https://dumps.example.org/put", {"http_proxy": "http://proxy\nurl = file:///etc/shadow"}
! INVALID_VALUE ["http_proxy", "it is too long or has control characters"]
$ call host_crashdump.upload "<dump>", "gopher://joe:geheim@dumps.example.org/", {}
! INVALID_VALUE ["url", "(hidden)"]
$ sh echo cut short > state/spool/crashdump.AAAAAA
$ restart
$ sh ls state | grep spool
$ call host_crashdump.destroy "<dump>"
""
$ sh ls state/system/var/crash
other

# A test of the network says what came back, or why nothing did.
$ call pool.send_test_post "example.org", 443, "hello"
"hello"
$ call pool.send_test_post "example.org", 99999, "hello"
! INVALID_VALUE ["port", "99999"]
$ sh touch state/system/usr/bin/curl.fails
$ call pool.send_test_post "example.org", 443, "hello"
! TLS_CONNECTION_FAILED ["example.org", "443", "curl ...: curl: (22) no"]

# Machines are switched on as is set.
$ call host.power_on "<host>"
! HOST_POWER_ON_MODE_DISABLED []
$ call host.set_power_on_mode "<host>", "DRAC", {}
""
$ call host.power_on "<host>"
! XENAPI_MISSING_PLUGIN ["power-on-host"]
$ sh printf '%s\n' '#!/bin/sh' 'echo "[methodResponse][params][param][value]True[/value][/param][/params][/methodResponse]" | tr "[]" "\074\076"' > config/plugins/power-on-host && chmod +x config/plugins/power-on-host
$ call host.power_on "<host>"
""
$ call host.set_power_on_mode "<host>", "wake-on-lan", {"power_on_ip": "127.0.0.1"}
""
$ call host.power_on "<host>"
""
$ call host.set_power_on_mode "<host>", "", {}
""

# Settings of the pool are checked.
$ call pool.set_local_auth_max_threads "<pool>", 0
! VALUE_NOT_SUPPORTED ["value", "0", "it must be positive"]
$ call pool.set_local_auth_max_threads "<pool>", 2
""
$ call pool.configure_update_sync "<pool>", "weekly", 7
! INVALID_UPDATE_SYNC_DAY ["7"]
$ call pool.configure_update_sync "<pool>", "weekly", 3
""
$ call pool.set_update_sync_enabled "<pool>", true
! NO_REPOSITORIES_CONFIGURED []
$ call pool.configure_repository_proxy "<pool>", "ftp://x", "", ""
! INVALID_REPOSITORY_PROXY_URL ["ftp://x"]
$ call pool.configure_repository_proxy "<pool>", "http://proxy:3128", "me", ""
! INVALID_REPOSITORY_PROXY_CREDENTIAL []
$ call pool.configure_repository_proxy "<pool>", "http://proxy:3128", "me", "secret"
""
$ call secret.get_all
["<secret>"]
$ call pool.get_repository_proxy_password "<pool>"
"<secret>"
$ call pool.disable_repository_proxy "<pool>"
""
$ call secret.get_all
[]
$ call pool.set_telemetry_next_collection "<pool>", "21000101T00:00:00Z"
! TELEMETRY_NEXT_COLLECTION_TOO_LATE ["21000101T00:00:00Z"]
$ call pool.reset_telemetry_uuid "<pool>"
""
$ call secret.get_all
["<telemetry>"]
$ call pool.reset_telemetry_uuid "<pool>"
""
$ call secret.get_all
["<!telemetry>"]

# A report has what was asked for, without secrets, in the form that was asked for.
$ call host.get_system_status_capabilities "<host>"
"...system-status-capabilities...key=\"xapid-logs\"..."
$ sh mkdir -p state/system/var/log state/system/proc && echo "login password=abc" > state/system/var/log/syslog && echo 6.1 > state/system/proc/version
$ sh curl -s --unix-socket xapi -o report.tar "http://localhost/system-status?entries=system-logs,kernel-info&output=tar" && tar xOf report.tar system-logs/syslog kernel-info/version kernel-info/dmesg; tar tf report.tar | grep -v logs
login password=***
6.1
(INTERNAL_ERROR(this host has no program dmesg (looked for below .../state/system/usr)))
kernel-info/version
kernel-info/cmdline
kernel-info/modules
kernel-info/interrupts
kernel-info/meminfo
kernel-info/dmesg
$ sh curl -s --unix-socket xapi -o report.zip "http://localhost/system-status?entries=xen-info,xapid-db&output=zip" && python3 -m zipfile -l report.zip | cut -d" " -f1
File
xen-info/xen-messages
xen-info/xl-info
xen-info/xl-list
xen-info/xl-vcpu-list
xapid-db/database
$ sh curl -s --unix-socket xapi -o report.tar.bz2 "http://localhost/system-status?entries=xapid-db&output=tar.bz2" && python3 -c "import tarfile; print(tarfile.open('report.tar.bz2').extractfile('xapid-db/database').read().decode())" | grep -E "^(pool|host) "; ls state | grep status
host 1
pool 1
$ sh curl -s -w "%{http_code}" -o refused --unix-socket xapi "http://localhost/system-status?entries=nothing"; curl -s -w " %{http_code}" -o refused --unix-socket xapi "http://localhost/system-status?output=rar"
400 400
$ sh curl -s --unix-socket xapi "http://localhost/host_logs_download" | tar t
xapid-logs/xapid.log
system-logs/journal.log
system-logs/syslog
system-logs/messages
system-logs/kern.log
system-logs/daemon.log
xen-info/xen-messages
xen-info/xl-info
xen-info/xl-list
xen-info/xl-vcpu-list
$ xe host-get-system-status filename=<dir>/mine.tar entries=xapid-db output=tar
$ sh tar tf mine.tar
xapid-db/database

# It is sent where somebody wants it.
$ sh rm state/system/usr/bin/curl.fails
$ xe host-bugreport-upload url=https://reports.example.org/x
$ sh tar tf state/system/usr/bin/sent | head -2; ls state | grep bugreport
xapid-logs/xapid.log
system-logs/journal.log
$ call host.bugreport_upload "<host>", "", {}
! INVALID_VALUE ["url", ""]
$ sh touch state/system/usr/bin/curl.fails
$ call host.bugreport_upload "<host>", "https://reports.example.org/x", {}
! INTERNAL_ERROR ["curl ...: curl: (22) no"]

# What was refused and what went wrong stands in the log without the passwords that came with it.
$ call host.bugreport_upload "<host>", "https://joe:geheim@reports.example.org/x", {"http_proxy": "http://jim:geheim@proxy"}
! INTERNAL_ERROR ["curl ...: curl: (22) no"]
$ sh grep -c geheim log state/audit.log
log:0
state/audit.log:0

# Updates: what stands in their way is told, and what is owed after them can be given up.
$ call pool.check_update_readiness "<pool>", true
[]
$ xe vm-install template="Other install media" new-name-label=in-the-way
<vm>
$ call VM.get_by_uuid "<vm>"
"<vm-ref>"
$ call VM.start "<vm-ref>", false, false
""
$ call pool.check_update_readiness "<pool>", false
[]
$ call pool.check_update_readiness "<pool>", true
[["NO_HOSTS_AVAILABLE", "<vm-ref>"]]
$ call VM.hard_shutdown "<vm-ref>"
""
$ call VM.destroy "<vm-ref>"
""
$ xe host-emergency-clear-mandatory-guidance

# What no storage here can do is not switched on.
$ call SR.get_by_name_label "Local storage"
["<sr>"]
$ call host.enable_local_storage_caching "<host>", "<sr>"
! HOST_NOT_DISABLED []
$ call host.disable "<host>"
""
$ call host.enable_local_storage_caching "<host>", "<sr>"
! SR_OPERATION_NOT_SUPPORTED ["<sr>"]
$ call pool.enable_local_storage_caching "<pool>"
! HOSTS_FAILED_TO_ENABLE_CACHING ["<host>"]
$ call pool.disable_local_storage_caching "<pool>"
""
$ call host.enable "<host>"
""
$ call host.get_sm_diagnostics "<host>"
"SR ... (ext): in use 0 times..."
$ call host.declare_dead "<host>"
! HOST_IS_LIVE ["<host>"]
