Records of what other programs offer the pool or ask of it: provisioning sites, repositories, callers.

# A provisioning site has servers and caches; it is forgotten once it has no servers.
$ xe pvs-site-introduce name-label=farm
<site>
$ call PVS_site.get_by_uuid "<site>"
"<site-ref>"
$ xe pvs-server-introduce pvs-site-uuid=<site> addresses=192.0.2.1,192.0.2.2 first-port=6910 last-port=6930
<server>
$ xe pvs-server-introduce pvs-site-uuid=<site> addresses=192.0.2.2 first-port=6910 last-port=6930
! Another PVS server record already uses this address.
! address: 192.0.2.2
$ xe pvs-server-introduce pvs-site-uuid=<site> addresses=nowhere first-port=6910 last-port=6930
! The value given is not a valid IP address for this setting.
! parameter: addresses
$ call PVS_server.introduce ["192.0.2.9"], 0, 6930, "<site-ref>"
! VALUE_NOT_SUPPORTED ["first_port", "0", "A port is a number from 1 to 65535."]
$ call PVS_server.introduce ["192.0.2.9"], 6930, 6910, "<site-ref>"
! VALUE_NOT_SUPPORTED ["last_port", "6910", "The last port cannot come before the first."]
$ xe pvs-site-forget uuid=<site>
! The PVS site still has servers recorded in it; forget those first.
! servers: ...
$ xe sr-list type=ext --minimal
<sr>
$ xe host-list --minimal
<host>
$ xe pvs-cache-storage-create host=<host> sr-uuid=<sr> pvs-site-uuid=<site> size=2GiB
<cache>
$ xe pvs-cache-storage-create host=<host> sr-uuid=<sr> pvs-site-uuid=<site> size=2GiB
! The host already has cache storage for this PVS site, and only one is allowed.
! site: <site-ref>
! host: ...
$ xe pvs-cache-storage-create host=<host> sr-uuid=<sr> pvs-site-uuid=<site> size=2MiB
! The field cannot be set to this value here; the reason says why.
! field: size
! value: 2097152
! reason: A cache has at least 1 GiB.
$ xe pvs-cache-storage-param-get uuid=<cache> param-name=size
2147483648

# A proxy stands before a VM's first interface.
$ xe network-create name-label=streams
<network>
$ xe vm-install template="Other install media" new-name-label=streamed
<vm>
$ xe vif-create vm-uuid=<vm> network-uuid=<network> device=0
<vif>
$ xe vif-create vm-uuid=<vm> network-uuid=<network> device=1
<second>
$ xe pvs-proxy-create pvs-site-uuid=<site> vif-uuid=<second>
! A PVS proxy can be put only on the VM's first network interface.
$ xe pvs-proxy-create pvs-site-uuid=<site> vif-uuid=<vif>
<proxy>
$ xe pvs-proxy-create pvs-site-uuid=<site> vif-uuid=<vif>
! The VM's interface already has a PVS proxy.
! proxies: ...
$ xe pvs-proxy-list uuid=<proxy> params=currently-attached,status
currently-attached ( RO)    : false
                status ( RO): stopped
$ xe pvs-server-forget uuid=<server>
$ xe pvs-site-forget uuid=<site>
$ xe pvs-proxy-list
$ xe pvs-cache-storage-list
$ xe vm-destroy uuid=<vm>
$ xe network-destroy uuid=<network>

# Sources of updates are checked when they are registered.
$ call Repository.introduce "base", "", "https://repo.example.org/base", "https://repo.example.org/source", true, ""
"<repository>"
$ call Repository.introduce "base", "", "https://repo.example.org/other", "https://repo.example.org/source", true, ""
! REPOSITORY_ALREADY_EXISTS ["<repository>"]
$ call Repository.introduce "other", "", "https://repo.example.org/base", "https://repo.example.org/source", true, ""
! REPOSITORY_ALREADY_EXISTS ["<repository>"]
$ call Repository.introduce "other", "", "ftp://repo.example.org/", "https://repo.example.org/source", true, ""
! INVALID_BASE_URL ["ftp://repo.example.org/"]
$ call Repository.introduce "other", "", "https://repo.example.org/o", "https://repo.example.org/s", true, "../../etc/passwd"
! INVALID_GPGKEY_PATH ["../../etc/passwd"]
$ call Repository.set_gpgkey_path "<repository>", "no-such-key.gpg"
! INVALID_GPGKEY_PATH ["no-such-key.gpg"]
$ call Repository.introduce_bundle "bundle", ""
"<bundle>"
$ call Repository.introduce_bundle "another", ""
! BUNDLE_REPOSITORY_ALREADY_EXISTS ["<bundle>"]
$ call Repository.introduce_remote_pool "pool", "", "https://192.0.2.1/repository/enabled", "no certificate"
! INVALID_VALUE ["certificate", "not a certificate in PEM form"]
$ call Repository.forget "<repository>"
""
$ call Repository.forget "<bundle>"
""
$ call Repository.get_all
[]

# A caller is told by user agent or address, and counted.
$ call Caller.create {"user_agent": "", "client_ip": ""}
! INVALID_VALUE ["user_agent", ""]
$ call Caller.create {"user_agent": "", "client_ip": "nowhere"}
! INVALID_IP_ADDRESS_SPECIFIED ["client_ip"]
$ call Caller.create {"name_label": "robots", "user_agent": "robot/1", "client_ip": ""}
"<caller>"
$ call Caller.create {"user_agent": "robot/1", "client_ip": ""}
! DB_UNIQUENESS_CONSTRAINT_VIOLATION ["Caller", "user_agent,client_ip", "robot/1,"]
$ call Caller.query_call_count "<caller>"
"0"
$ call Caller.add_group "<caller>", "automatons"
""
$ call Caller.query_group_call_count "automatons"
"0"
$ call Caller.query_token_usage "<caller>"
0.0
$ call Rate_limit.create {"burst_size": 0.0, "fill_rate": 1.0}
! INVALID_VALUE ["burst_size", "0"]
$ call Rate_limit.create {"name_label": "slow", "burst_size": 2.0, "fill_rate": 4.0}
"<limit>"
$ call Rate_limit.add_caller "<limit>", "<caller>"
""
$ call Rate_limit.get_callers "<limit>"
["<caller>"]
$ call Rate_limit.set_fill_rate "<limit>", -1.0
! INVALID_VALUE ["fill_rate", "-1"]
$ call Rate_limit.set_fill_rate "<limit>", 5.0
""
$ call Rate_limit.remove_caller "<limit>", "<caller>"
""
$ call Caller.get_rate_limit "<caller>"
"OpaqueRef:NULL"
$ call Caller.remove_group "<caller>", "automatons"
""
$ call Caller.destroy "<caller>"
""
$ call Rate_limit.destroy "<limit>"
""

# xe is a caller like others: it is counted, and a limit holds it back without an error.
$ call Caller.create {"name_label": "xe", "user_agent": "libxapi", "client_ip": ""}
"<xe>"
$ call Caller.query_call_count "<xe>"
"<none>"
$ call Rate_limit.create {"burst_size": 1.0, "fill_rate": 20.0}
"<pace>"
$ call Rate_limit.add_caller "<pace>", "<xe>"
""
$ xe host-list --minimal
<host>
$ call Caller.query_call_count "<xe>"
"<!none>"
$ call Caller.destroy "<xe>"
""
$ call Rate_limit.destroy "<pace>"
""

# A package of updates cannot be installed here, and says so.
$ xe sr-list type=ext --minimal
<sr>
$ xe vdi-create sr-uuid=<sr> name-label=package virtual-size=1MiB
<package>
$ call VDI.get_by_uuid "<package>"
"<package-ref>"
$ call pool_update.introduce "<package-ref>"
! INVALID_UPDATE ["The hosts of this pool take their updates from their distribution; update packages are not installed."]
$ call pool_update.introduce "OpaqueRef:NULL"
! HANDLE_INVALID ["VDI", "OpaqueRef:NULL"]
$ xe vdi-destroy uuid=<package>
