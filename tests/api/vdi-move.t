A disk moves to another repository, with its snapshots.

$ sh mkdir <dir>/here <dir>/there
$ xe sr-create type=file name-label=here device-config:location=<dir>/here
<here>
$ xe sr-create type=file name-label=there device-config:location=<dir>/there
<there>
$ call SR.get_by_uuid "<there>"
"<there-ref>"
$ xe vdi-create sr-uuid=<here> name-label=disk virtual-size=16MiB
<vdi>
$ xe vdi-param-set uuid=<vdi> other-config:of=mine
$ call VDI.get_by_uuid "<vdi>"
"<vdi-ref>"
$ sh qemu-io -c "write -q -P 1 0 64k" <dir>/here/<vdi>.qcow2
$ call VDI.checksum "<vdi-ref>"
"<first>"
$ xe vdi-snapshot uuid=<vdi>
<snapshot>
$ call VDI.get_by_uuid "<snapshot>"
"<snapshot-ref>"
$ sh qemu-io -c "write -q -P 2 0 64k" <dir>/here/<vdi>.qcow2
$ call VDI.checksum "<vdi-ref>"
"<second>"

# It stays the same disk, and its snapshots are its own; what they share is stored once.
$ xe vdi-pool-migrate uuid=<vdi> sr-uuid=<there>
<vdi>
$ call VDI.get_record "<vdi-ref>" | SR,current_operations,location,name_label,other_config,uuid
{"SR": "<there-ref>", "current_operations": {}, "location": "<vdi>", "name_label": "disk", "other_config": {"of": "mine"}, "uuid": "<vdi>"}
$ call VDI.get_record "<snapshot-ref>" | SR,is_a_snapshot,snapshot_of
{"SR": "<there-ref>", "is_a_snapshot": true, "snapshot_of": "<vdi-ref>"}
$ call VDI.checksum "<vdi-ref>"
"<second>"
$ call VDI.checksum "<snapshot-ref>"
"<first>"
$ sh ls <dir>/here
$ sh ls <dir>/there | grep -c qcow2
3
$ xe sr-scan uuid=<there>
$ xe vdi-list sr-uuid=<here> --minimal

$ xe vdi-list sr-uuid=<there> is-a-snapshot=true --minimal
<snapshot>
$ call VDI.revert "<snapshot-ref>"
""
$ call VDI.checksum "<vdi-ref>"
"<first>"

# The disks of a halted VM go with it, and where they are already they stay.
$ xe vm-install template="Other install media" new-name-label=mover
<vm>
$ xe vbd-create vm-uuid=<vm> vdi-uuid=<vdi> device=0
<vbd>
$ call VM.get_by_uuid "<vm>"
"<vm-ref>"
$ xe host-list --minimal
<host-uuid>
$ call host.get_by_uuid "<host-uuid>"
"<host>"
$ call SR.get_by_uuid "<here>"
"<here-ref>"
$ call VM.migrate_send "<vm-ref>", {"host": "<host>"}, true, {"<vdi-ref>": "<here-ref>"}, {}, {}
"<vm-ref>"
$ call VDI.get_SR "<vdi-ref>"
"<here-ref>"
$ call VM.migrate_send "<vm-ref>", {"host": "<host>"}, true, {"<vdi-ref>": "<here-ref>"}, {}, {}
"<vm-ref>"
$ call VDI.checksum "<vdi-ref>"
"<first>"

# A disk in use needs the data path; without it nothing changes, and the refusal says who has it.
$ xe vm-start uuid=<vm>
$ call VDI.pool_migrate "<vdi-ref>", "<there-ref>", {}
! VDI_IN_USE ["<vdi-ref>", "mirror (its host serves no disks: --datapath nbd); VM 'mover' (<vm>), running on host ...
$ call VDI.get_SR "<vdi-ref>"
"<here-ref>"
$ call SR.get_current_operations "<there-ref>"
{}
$ xe vm-shutdown uuid=<vm> force=true

# What cannot move: to where disks cannot be made, what is tracked, what goes back at each start, and over a file that is there.
$ sh mkdir <dir>/cds
$ xe sr-create type=iso content-type=iso name-label=cds device-config:location=<dir>/cds
<cds>
$ call SR.get_by_uuid "<cds>"
"<cds-ref>"
$ call VDI.pool_migrate "<vdi-ref>", "<cds-ref>", {}
! SR_DOES_NOT_SUPPORT_MIGRATION ["<cds-ref>", "VDI_CREATE"]
$ xe vdi-enable-cbt uuid=<vdi>
$ call VDI.pool_migrate "<vdi-ref>", "<there-ref>", {}
! VDI_CBT_ENABLED ["<vdi-ref>"]
$ xe vdi-disable-cbt uuid=<vdi>
$ sh cp <dir>/here/<vdi>.qcow2 <dir>/there/
$ call VDI.pool_migrate "<vdi-ref>", "<there-ref>", {}
! LOCATION_NOT_UNIQUE ["<there-ref>", "<vdi>"]
$ sh rm <dir>/there/<vdi>.qcow2
$ call VDI.set_on_boot "<vdi-ref>", "reset"
""
$ call VDI.pool_migrate "<vdi-ref>", "<there-ref>", {}
! VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION []
$ xe vm-destroy uuid=<vm>
$ xe vdi-destroy uuid=<vdi>
$ xe vdi-destroy uuid=<snapshot>
$ xe pbd-list sr-uuid=<here> --minimal
<here-pbd>
$ xe pbd-unplug uuid=<here-pbd>
$ xe sr-destroy uuid=<here>
$ xe pbd-list sr-uuid=<there> --minimal
<there-pbd>
$ xe pbd-unplug uuid=<there-pbd>
$ xe sr-destroy uuid=<there>
$ xe pbd-list sr-uuid=<cds> --minimal
<cds-pbd>
$ xe pbd-unplug uuid=<cds-pbd>
$ xe sr-forget uuid=<cds>
