Where machines run, on a host that is alone (tests/pool/placement.py has others).

# A dry run tells where a machine would start, and starts nothing.
$ xe vm-install template="Other install media" new-name-label=here
<vm>
$ xe vm-start uuid=<vm> dry-run=true
VM <vm> (here) would start on host <!host> (<!name>).
<!name>    : OK
$ xe vm-param-get uuid=<vm> param-name=power-state
halted
$ xe host-list --minimal
<host-uuid>
$ xe host-disable uuid=<host-uuid>
$ xe vm-start uuid=<vm> dry-run=true
VM <vm> (here) would not start: no host can run it now.
<!name>    : Cannot start here [Host disabled (use 'xe host-enable' to re-enable)]
$ xe vm-start uuid=<vm>
! The host is disabled and takes no new VMs. Enable it to use it again.
! host: <host-uuid> (<!name>)
$ xe host-enable uuid=<host-uuid>

# It boots with what all hosts of the pool have of a processor.
$ call pool.get_all
["<pool>"]
$ call VM.get_by_uuid "<vm>"
"<vm-ref>"
$ call host.get_by_uuid "<host-uuid>"
"<host>"
$ xe vm-start uuid=<vm>
$ call pool.get_cpu_info "<pool>" | vendor,features_hvm
{"features_hvm": "<features>", "vendor": "<cpu-vendor>"}
$ call VM.get_last_boot_CPU_flags "<vm-ref>"
{"features": "<features>", "vendor": "<cpu-vendor>"}

# A host that is alone cannot be emptied while something runs on it.
$ call host.assert_can_evacuate "<host>"
! CANNOT_EVACUATE_HOST ["NO_HOSTS_AVAILABLE,<vm-ref>"]
$ call host.get_vms_which_prevent_evacuation "<host>"
{"<vm-ref>": ["NO_HOSTS_AVAILABLE", "<vm-ref>"]}
$ call host.evacuate "<host>", "OpaqueRef:NULL", -1
! INVALID_VALUE ["evacuate_batch_size", "-1"]
$ call host.evacuate "<host>", "OpaqueRef:NULL", 0
! CANNOT_EVACUATE_HOST ["NO_HOSTS_AVAILABLE,<vm-ref>"]
$ call host.get_current_operations "<host>"
{}

# To its own host a machine moves by VM.migrate_send too; what would need more is refused.
$ call host.migrate_receive "<host>", "OpaqueRef:11111111-2222-3333-4444-555555555555", {}
! HANDLE_INVALID ["network", "OpaqueRef:11111111-2222-3333-4444-555555555555"]
$ call VM.assert_can_migrate "<vm-ref>", {}, true, {}, {}, {}, {}
! INVALID_VALUE ["dest", ""]
$ call VM.assert_can_migrate "<vm-ref>", {"host": "OpaqueRef:11111111-2222-3333-4444-555555555555"}, true, {}, {}, {}, {}
! NOT_IMPLEMENTED ["VM.migrate_send to another pool"]
$ call VM.assert_can_migrate "<vm-ref>", {"host": "<host>"}, true, {}, {}, {"copy": "true"}, {}
! NOT_IMPLEMENTED ["VM.migrate_send of a copy"]
$ until call VM.assert_can_migrate "<vm-ref>", {"host": "<host>"}, true, {}, {}, {}, {}
""
$ call VM.migrate_send "<vm-ref>", {"host": "<host>"}, true, {}, {}, {}
"<vm-ref>"
$ xe vm-migrate uuid=<vm> dry-run=true
VM <vm> (here) could move to:

# A host that was disabled stays so when its daemon starts again.
$ xe vm-shutdown uuid=<vm> force=true
$ call VM.assert_can_migrate "<vm-ref>", {"host": "<host>"}, true, {}, {}, {}, {}
""
$ xe host-disable uuid=<host-uuid>
$ call host.evacuate "<host>", "OpaqueRef:NULL", 0
""
$ restart
$ xe host-param-get uuid=<host-uuid> param-name=enabled
false
$ xe host-enable uuid=<host-uuid>
$ xe vm-destroy uuid=<vm>
