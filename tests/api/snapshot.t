A snapshot keeps a machine as it was, and takes it back there.

$ xe sr-list type=ext --minimal
<sr>
$ xe vm-install template="Other install media" new-name-label=before
<vm>
$ xe vm-disk-add uuid=<vm> disk-size=16MiB device=0 sr-uuid=<sr>
$ call VM.get_by_uuid "<vm>"
"<vm-ref>"
$ call VM.get_record "<vm-ref>" | VBDs,snapshots
{"VBDs": ["<vbd>"], "snapshots": []}
$ call VM.get_memory_static_max "<vm-ref>"
"<memory>"
$ call VBD.get_VDI "<vbd>"
"<vdi>"

# A snapshot of a running VM is a halted VM of its own, with disks of its own, that knows what it was taken of.
$ xe vm-start uuid=<vm>
$ xe vm-snapshot uuid=<vm> new-name-label=kept
<snapshot>
$ call VM.get_by_uuid "<snapshot>"
"<snapshot-ref>"
$ call VM.get_record "<snapshot-ref>" | is_a_snapshot,is_a_template,name_label,power_state,snapshot_of
{"is_a_snapshot": true, "is_a_template": true, "name_label": "kept", "power_state": "Halted", "snapshot_of": "<vm-ref>"}
$ call VM.get_snapshots "<vm-ref>"
["<snapshot-ref>"]
$ call VM.get_VBDs "<snapshot-ref>"
["<snapshot-vbd>"]
$ call VBD.get_VDI "<snapshot-vbd>"
"<snapshot-vdi>"
$ call VDI.get_record "<snapshot-vdi>" | is_a_snapshot,snapshot_of
{"is_a_snapshot": true, "snapshot_of": "<vdi>"}

# It is no VM that could be started, and is listed by snapshot-list only.
$ call VM.start "<snapshot-ref>", false, false
! VM_IS_SNAPSHOT ...
$ xe snapshot-list uuid=<snapshot> params=name-label
name-label ( RW)    : kept
$ xe vm-list uuid=<snapshot>

# Nor when it is made no template, as Xen Orchestra does.
$ call VM.set_is_a_template "<snapshot-ref>", false
""
$ call VM.start "<snapshot-ref>", false, false
! VM_IS_SNAPSHOT ...

# Reverting brings back the configuration, the memory settings and the disk; the snapshot stays.
$ xe vm-shutdown uuid=<vm> force=true
$ xe vm-param-set uuid=<vm> other-config:changed=since
$ xe vm-memory-limits-set uuid=<vm> static-min=64MiB dynamic-min=64MiB dynamic-max=64MiB static-max=64MiB
$ xe snapshot-revert snapshot-uuid=<snapshot>
$ call VM.get_record "<vm-ref>" | memory_static_max,name_label,power_state,uuid
{"memory_static_max": "<memory>", "name_label": "before", "power_state": "Halted", "uuid": "<vm>"}
$ call VM.get_other_config "<vm-ref>"
{"base_template_name": "Other install media", "install-methods": "cdrom", "mac_seed": "<seed>"}
$ call VM.get_snapshots "<vm-ref>"
["<snapshot-ref>"]
$ call VM.get_VBDs "<vm-ref>"
["<new-vbd>"]
$ call VBD.get_VDI "<new-vbd>"
"<new-vdi>"
$ call VDI.get_is_a_snapshot "<new-vdi>"
false

# The reverted VM runs.
$ xe vm-start uuid=<vm>
$ xe vm-shutdown uuid=<vm> force=true

# A snapshot of a halted VM; each knows its parent.
$ xe vm-snapshot uuid=<vm> new-name-label=second
<second>
$ call VM.get_by_uuid "<second>"
"<second-ref>"
$ call VM.get_parent "<second-ref>"
"<snapshot-ref>"
$ call VM.get_parent "<vm-ref>"
"<second-ref>"

# Snapshots go with their disks; the VM stays.
$ xe snapshot-uninstall snapshot-uuid=<snapshot> force=true
The following items are about to be destroyed
...
All objects destroyed
$ call VM.get_snapshots "<vm-ref>"
["<second-ref>"]
$ xe snapshot-uninstall snapshot-uuid=<second> force=true
The following items are about to be destroyed
...
All objects destroyed
$ call VM.get_snapshots "<vm-ref>"
[]
$ xe vm-uninstall uuid=<vm> force=true
The following items are about to be destroyed
...
All objects destroyed
$ xe vdi-list sr-uuid=<sr> --minimal
...
