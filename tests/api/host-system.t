What changes this host's system: its clock, SSH, logs, boot options. [fresh]

$ sh mkdir -p state/system/usr/bin state/system/usr/lib/systemd/system && touch state/system/usr/lib/systemd/system/ssh.service
$ sh printf '%s\n' '#!/bin/sh' 'd=${0%/*} n=${0##*/}' '[ ! -f $d/$n.fails ] || { echo "$n: no way" >&2; exit 1; }' 'echo "$n $*" >> $d/log' '[ ! -f $d/$n.says ] || cat $d/$n.says' > state/system/usr/bin/tool && chmod +x state/system/usr/bin/tool
$ sh cd state/system/usr/bin && for t in timedatectl systemctl xenpm update-grub journalctl xenstore-write xenstore-rm xenstore-chmod; do ln tool $t; done
$ call host.get_all
["<host>"]
$ call pool.get_all
["<pool>"]

# A time zone is one that the system knows.
$ sh printf 'Europe/Paris\nUTC\n' > state/system/usr/bin/timedatectl.says
$ call host.list_timezones "<host>"
["Europe/Paris", "UTC"]
$ call host.set_timezone "<host>", "Europe/Paris"
""
$ call host.get_timezone "<host>"
"Europe/Paris"
$ call host.set_timezone "<host>", "Mars/North"
! INVALID_VALUE ["timezone", "Mars/North"]
$ sh cat state/system/usr/bin/log && rm state/system/usr/bin/log
timedatectl --no-pager list-timezones
timedatectl --no-pager list-timezones
timedatectl set-timezone Europe/Paris
timedatectl --no-pager list-timezones

# A failure says what the tool said, and nothing is recorded.
$ sh touch state/system/usr/bin/timedatectl.fails
$ call host.set_timezone "<host>", "UTC"
! INTERNAL_ERROR ["timedatectl --no-pager list-timezones: timedatectl: no way"]
$ sh rm state/system/usr/bin/timedatectl.fails
$ call host.get_timezone "<host>"
"Europe/Paris"

# At start the record follows the system.
$ sh mkdir -p state/system/etc && ln -s /usr/share/zoneinfo/Asia/Tokyo state/system/etc/localtime
$ restart
$ call host.get_timezone "<host>"
"Asia/Tokyo"

# Time servers of one's own are written down, and need names.
$ call host.set_ntp_mode "<host>", "Custom"
! INVALID_NTP_CONFIG ["There are no time servers in ntp_custom_servers."]
$ call host.set_ntp_custom_servers "<host>", ["no good"]
! INVALID_NTP_CONFIG ["'no good' is no host name and no address."]
$ call host.set_ntp_custom_servers "<host>", ["ntp1.example.org", "2001:db8::1"]
""
$ call host.set_ntp_mode "<host>", "Custom"
""
$ sh cat state/system/etc/systemd/timesyncd.conf.d/xapid.conf
[Time]
NTP=ntp1.example.org 2001:db8::1
FallbackNTP=
$ sh cat state/system/usr/bin/log && rm state/system/usr/bin/log
timedatectl set-ntp true
systemctl restart systemd-timesyncd.service
$ call host.set_ntp_custom_servers "<host>", []
! INVALID_NTP_CONFIG ["There are no time servers in ntp_custom_servers."]
$ call host.set_ntp_custom_servers "<host>", ["ntp2.example.org"]
""
$ sh cat state/system/etc/systemd/timesyncd.conf.d/xapid.conf
[Time]
NTP=ntp2.example.org
FallbackNTP=

# Where the service does not take them the file is as it was.
$ sh touch state/system/usr/bin/systemctl.fails
$ call host.set_ntp_custom_servers "<host>", ["ntp3.example.org"]
! INTERNAL_ERROR ["systemctl restart systemd-timesyncd.service: systemctl: no way"]
$ sh rm state/system/usr/bin/systemctl.fails && cat state/system/etc/systemd/timesyncd.conf.d/xapid.conf
[Time]
NTP=ntp2.example.org
FallbackNTP=
$ call host.get_ntp_custom_servers "<host>"
["ntp2.example.org"]

# Each start brings the file up to the record.
$ sh rm state/system/etc/systemd/timesyncd.conf.d/xapid.conf
$ restart
$ sh cat state/system/etc/systemd/timesyncd.conf.d/xapid.conf
[Time]
NTP=ntp2.example.org
FallbackNTP=

# What the time service says.
$ sh echo ntp2.example.org > state/system/usr/bin/timedatectl.says
$ call host.get_ntp_servers_status "<host>"
{"ntp2.example.org": "selected"}
$ call host.get_ntp_synchronized "<host>"
false
$ sh echo yes > state/system/usr/bin/timedatectl.says
$ call host.get_ntp_synchronized "<host>"
true

# The clock is set by hand only without NTP.
$ call host.set_servertime "<host>", "20300102T03:04:05Z"
! NOT_ALLOWED_WHEN_NTP_IS_ENABLED ["<host>"]
$ call host.set_ntp_mode "<host>", "Disabled"
""
$ sh ls state/system/etc/systemd/timesyncd.conf.d; rm state/system/usr/bin/log
$ call host.set_servertime "<host>", "20300102T03:04:05Z"
""
$ sh cat state/system/usr/bin/log && rm state/system/usr/bin/log
timedatectl set-time 2030-01-02 03:04:05 UTC

# SSH goes off and on, for as long as is set.
$ xe host-disable-ssh
$ call host.get_ssh_enabled "<host>"
false
$ call host.set_ssh_enabled_timeout "<host>", 172801
! INVALID_VALUE ["ssh_enabled_timeout", "172801"]
$ call host.set_ssh_enabled_timeout "<host>", 1
""
$ call pool.enable_ssh "<pool>"
""
$ sh cat state/system/usr/bin/log && rm state/system/usr/bin/log
systemctl disable --now ssh.service
systemctl enable --now ssh.service
$ sh sleep 1
$ restart
$ until call host.get_ssh_enabled "<host>"
false
$ call host.get_ssh_expiry "<host>"
"19700101T00:00:00Z"

# In automatic mode xapid's own unit switches SSH.
$ call host.set_ssh_auto_mode "<host>", true
""
$ sh grep -hv ^# state/system/etc/systemd/system/xapid.service.d/ssh-auto.conf
[Service]
ExecStartPost=-+/usr/bin/systemctl --no-block stop ssh.service
ExecStopPost=-+/usr/bin/systemctl --no-block start ssh.service
$ call host.set_ssh_enabled_timeout "<host>", 0
""
$ call host.enable_ssh "<host>"
""
$ call host.get_ssh_auto_mode "<host>"
false
$ sh ls state/system/etc/systemd/system/xapid.service.d
$ sh touch state/system/usr/bin/systemctl.fails
$ call host.disable_ssh "<host>"
! DISABLE_SSH_FAILED ["<host>", "systemctl disable --now ssh.service: systemctl: no way"]
$ call pool.disable_ssh "<pool>"
! DISABLE_SSH_PARTIALLY_FAILED ["<host>"]
$ sh rm state/system/usr/bin/systemctl.fails state/system/usr/bin/log

# Idle shells end.
$ call host.set_console_idle_timeout "<host>", -1
! INVALID_VALUE ["console_idle_timeout", "-1"]
$ call pool.set_console_idle_timeout "<pool>", 600
""
$ sh grep -hv ^# state/system/etc/profile.d/xapid-console-timeout.sh
TMOUT=600
readonly TMOUT
export TMOUT
$ call host.set_console_idle_timeout "<host>", 0
""
$ sh ls state/system/etc/profile.d

# Logs go where logging says once that is asked for.
$ call host.add_to_logging "<host>", "syslog_destination", "logs.example.org:1514"
""
$ call host.syslog_reconfigure "<host>"
""
$ sh grep -hv ^# state/system/etc/rsyslog.d/xapid-remote.conf state/system/usr/bin/log && rm state/system/usr/bin/log
*.* action(type="omfwd" target="logs.example.org" port="1514" protocol="udp")
systemctl restart rsyslog.service
$ call host.set_logging "<host>", {"syslog_destination": "x\"; rm"}
""
$ call host.syslog_reconfigure "<host>"
! INVALID_VALUE ["syslog_destination", "x\"; rm"]
$ call host.set_logging "<host>", {}
""
$ call host.syslog_reconfigure "<host>"
""
$ sh ls state/system/etc/rsyslog.d; rm state/system/usr/bin/log

# How Xen schedules is an option of its next boot.
$ call host.get_sched_gran "<host>"
"cpu"
$ call host.set_sched_gran "<host>", "core"
""
$ call host.get_sched_gran "<host>"
"core"
$ sh grep -hv ^# state/system/etc/default/grub.d/xapid-xen.cfg state/system/usr/bin/log && rm state/system/usr/bin/log
GRUB_CMDLINE_XEN="$GRUB_CMDLINE_XEN sched-gran=core"
update-grub 
$ call host.set_sched_gran "<host>", "cpu"
""
$ call host.get_sched_gran "<host>"
"cpu"

# Idle states are limited now, and again after a start.
$ call host.set_max_cstate "<host>", "deep"
! INVALID_VALUE ["max_cstate", "deep"]
$ call host.set_max_cstate "<host>", "2,1"
""
$ sh rm state/system/usr/bin/log.old; cp state/system/usr/bin/log state/system/usr/bin/log.old; rm state/system/usr/bin/log
! rm: ...
$ restart
$ sh grep xenpm state/system/usr/bin/log.old state/system/usr/bin/log
state/system/usr/bin/log.old:xenpm set-max-cstate 2 1
state/system/usr/bin/log:xenpm set-max-cstate 2 1
$ call host.set_max_cstate "<host>", ""
""

# Guest agents are told what the pool says.
$ call pool.add_to_guest_agent_config "<pool>", "anything", "else"
! INVALID_VALUE ["key", "anything"]
$ call pool.add_to_guest_agent_config "<pool>", "auto_update_url", "file:///etc"
! INVALID_VALUE ["auto_update_url", "file:///etc"]
$ sh rm state/system/usr/bin/log
$ call pool.add_to_guest_agent_config "<pool>", "auto_update_enabled", "true"
""
$ call pool.get_guest_agent_config "<pool>"
{"auto_update_enabled": "true"}
$ sh cat state/system/usr/bin/log && rm state/system/usr/bin/log
xenstore-write /guest_agent_features/Guest_agent_auto_update/parameters/enabled 1
xenstore-rm /guest_agent_features/Guest_agent_auto_update/parameters/update_url
xenstore-chmod -r /guest_agent_features r0
$ call pool.remove_from_guest_agent_config "<pool>", "auto_update_enabled"
""

# The hypervisor's messages are read, and taken away.
$ call host.send_debug_keys "<host>", "q"
""
$ call host.dmesg "<host>"
"(XEN) Xen version 4.17.5 (simulated)\n(XEN) 'q' pressed\n"
$ call host.dmesg_clear "<host>" | #
...
$ call host.dmesg "<host>"
""
$ call host.send_debug_keys "<host>", ""
! INVALID_VALUE ["keys", "one to 64 keys"]

# The daemon's log, its end and its beginning are the service manager's.
$ sh rm state/system/usr/bin/log; echo "a line of the log, password=abc" > state/system/usr/bin/journalctl.says
$ call host.get_log "<host>"
"a line of the log, password=***\n"
$ call host.restart_agent "<host>"
""
$ xe host-shutdown-agent
$ sh cat state/system/usr/bin/log && rm state/system/usr/bin/log
journalctl --no-pager --quiet --unit=xapid.service --lines=2000
systemctl --no-block restart xapid.service
systemctl --no-block stop xapid.service

# A host goes down when it is disabled, and nothing runs on it.
$ call host.shutdown "<host>"
! HOST_NOT_DISABLED []
$ xe vm-install template="Other install media" new-name-label=in-the-way
<vm>
$ xe vm-start uuid=<vm>
$ call VM.get_by_uuid "<vm>"
"<vm-ref>"
$ call host.disable "<host>"
""
$ call host.get_allowed_operations "<host>"
...
$ call host.reboot "<host>"
! HOST_IN_USE ["<host>", "VM", "<vm-ref>"]
$ xe vm-shutdown uuid=<vm> force=true
$ xe host-prepare-for-poweroff
$ xe host-reboot
$ xe host-shutdown
$ sh cat state/system/usr/bin/log && rm state/system/usr/bin/log
systemctl --no-block reboot
systemctl --no-block poweroff
$ sh touch state/system/usr/bin/systemctl.fails
$ call host.shutdown "<host>"
! INTERNAL_ERROR ["systemctl --no-block poweroff: systemctl: no way"]
$ call host.get_current_operations "<host>"
{}
$ sh rm state/system/usr/bin/systemctl.fails
$ call host.enable "<host>"
""
$ xe vm-destroy uuid=<vm>

# A host that has not the program says so.
$ sh rm state/system/usr/bin/xenpm
$ call host.set_max_cstate "<host>", "1"
! INTERNAL_ERROR ["this host has no program xenpm (looked for below .../state/system/usr)"]

# Whether the host shows itself on its screen changes when it boots: the kernel's options say what is.
$ sh rm -f state/system/usr/bin/*.fails state/system/usr/bin/*.says state/system/usr/bin/log
$ xe host-list --minimal
<host-uuid>
$ xe host-disable-display uuid=<host-uuid>
disable_on_reboot
$ sh grep -hv '^#' state/system/etc/default/grub.d/xapid-display.cfg state/system/usr/bin/log
GRUB_CMDLINE_LINUX_XEN_REPLACE="${GRUB_CMDLINE_LINUX_XEN_REPLACE:-$GRUB_CMDLINE_LINUX} console=hvc0 video=efifb:off video=vesafb:off video=simplefb:off"
update-grub 
$ sh mkdir -p state/system/proc && echo "root=/dev/sda1 console=hvc0 video=efifb:off" > state/system/proc/cmdline
$ restart
$ xe host-param-get uuid=<host-uuid> param-name=display
disabled
$ sh touch state/system/usr/bin/update-grub.fails
$ xe host-enable-display uuid=<host-uuid>
! ...
! message: update-grub: update-grub: no way
$ sh rm state/system/usr/bin/update-grub.fails && ls state/system/etc/default/grub.d
xapid-display.cfg
$ xe host-enable-display uuid=<host-uuid>
enable_on_reboot

# firewalld lets through what the host serves; a host without it needs nothing.
$ xe host-update-firewalld-service-status
$ sh ln state/system/usr/bin/tool state/system/usr/bin/firewall-cmd && rm -f state/system/usr/bin/log
$ call host.set_https_only "<host>", true
""
$ xe host-update-firewalld-service-status
$ sh cat state/system/usr/bin/log
firewall-cmd --quiet --add-service=https
firewall-cmd --quiet --remove-service=http
firewall-cmd --quiet --add-service=ssh

# What came over the network, by method and path.
$ xe diagnostic-net-stats uri=/import method=put
PUT | /import | 0 | 0 | 0
$ call Diagnostics.network_stats "<host>", {"uri": "/jsonrpc", "params": "method,uri"}
[["POST", "/jsonrpc"]]
