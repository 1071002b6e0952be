A disk goes back to a snapshot, and at each start where on_boot says so.

$ sh mkdir <dir>/back
$ xe sr-create type=file name-label=back device-config:location=<dir>/back
<sr>
$ xe vdi-create sr-uuid=<sr> name-label=disk virtual-size=16MiB
<vdi>
$ call VDI.get_by_uuid "<vdi>"
"<vdi-ref>"
$ sh qemu-io -c "write -q -P 1 0 64k" <dir>/back/<vdi>.qcow2
$ call VDI.checksum "<vdi-ref>"
"<first>"
$ xe vdi-snapshot uuid=<vdi>
<snapshot>
$ call VDI.get_by_uuid "<snapshot>"
"<snapshot-ref>"

# The disk stays the object it is, with its name; content and size are the snapshot's.
$ xe vdi-param-set uuid=<vdi> name-label="another name"
$ xe vdi-resize uuid=<vdi> disk-size=32MiB
$ sh qemu-io -c "write -q -P 2 0 64k" <dir>/back/<vdi>.qcow2
$ call VDI.checksum "<vdi-ref>"
"<second>"
$ call VDI.revert "<snapshot-ref>"
""
$ call VDI.checksum "<vdi-ref>"
"<first>"
$ call VDI.get_record "<vdi-ref>" | current_operations,name_label,uuid,virtual_size
{"current_operations": {}, "name_label": "another name", "uuid": "<vdi>", "virtual_size": "16777216"}
$ call VDI.get_record "<snapshot-ref>" | current_operations,snapshot_of
{"current_operations": {}, "snapshot_of": "<vdi-ref>"}

# Again, as often as wanted: the snapshot keeps what it has, and nothing piles up.
$ sh qemu-io -c "write -q -P 3 0 64k" <dir>/back/<vdi>.qcow2
$ call VDI.revert "<snapshot-ref>"
""
$ call VDI.checksum "<vdi-ref>"
"<first>"
$ call VDI.checksum "<snapshot-ref>"
"<first>"
$ xe sr-scan uuid=<sr>
$ xe vdi-list sr-uuid=<sr> managed=true --minimal
...
$ sh ls <dir>/back | grep -c qcow2
3

# Only a snapshot can be gone back to, only a disk that is not in use goes back.
$ call VDI.revert "<vdi-ref>"
! OPERATION_NOT_ALLOWED ...
$ xe vm-install template="Other install media" new-name-label=holder
<vm>
$ xe vbd-create vm-uuid=<vm> vdi-uuid=<vdi> device=0
<vbd>
$ xe vm-start uuid=<vm>
$ call VDI.revert "<snapshot-ref>"
! VDI_IN_USE ["<vdi-ref>", "revert_to; VM ...

# What is in use cannot be told to go back at each start either.
$ call VDI.set_on_boot "<vdi-ref>", "reset"
! VDI_IN_USE ["<vdi-ref>", "set_on_boot; VM ...
$ xe vm-shutdown uuid=<vm> force=true
$ xe vdi-param-set uuid=<vdi> on-boot=reset
$ call VDI.checksum "<vdi-ref>"
"<first>"

# Each start begins with what the disk held when it was told so, and so does a reboot.
$ sh qemu-io -c "write -q -P 4 0 64k" <dir>/back/<vdi>.qcow2
$ xe vm-start uuid=<vm>
$ call VDI.checksum "<vdi-ref>"
! VDI_IN_USE ...
$ xe vm-shutdown uuid=<vm> force=true
$ call VDI.checksum "<vdi-ref>"
"<first>"
$ xe vm-start uuid=<vm>
$ sh qemu-io -c "write -q -P 5 0 64k" <dir>/back/<vdi>.qcow2
$ xe vm-reboot uuid=<vm> force=true
$ xe vm-shutdown uuid=<vm> force=true
$ call VDI.checksum "<vdi-ref>"
"<first>"

# A disk that is put into a running VM goes back too.
$ xe vbd-destroy uuid=<vbd>
$ xe vm-start uuid=<vm>
$ xe vbd-create vm-uuid=<vm> vdi-uuid=<vdi> device=1
<plugged>
$ sh qemu-io -c "write -q -P 6 0 64k" <dir>/back/<vdi>.qcow2
$ xe vbd-plug uuid=<plugged>
$ xe vm-shutdown uuid=<vm> force=true
$ call VDI.checksum "<vdi-ref>"
"<first>"

# A VM with such a disk has no snapshots and does not sleep; a clone of it is as it will start, and goes back as well.
$ xe vm-snapshot uuid=<vm> new-name-label=no
! The disk is set to be reset at each boot, which rules this operation out; set it to persist.
$ call VDI.snapshot "<vdi-ref>", {}
! VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION ...
$ sh qemu-io -c "write -q -P 7 0 64k" <dir>/back/<vdi>.qcow2
$ call VDI.clone "<vdi-ref>", {}
"<clone>"
$ call VDI.get_on_boot "<clone>"
"reset"
$ call VDI.checksum "<clone>"
"<first>"
$ call VDI.copy "<vdi-ref>", "OpaqueRef:NULL", "OpaqueRef:NULL", "OpaqueRef:NULL"
! ...
$ call SR.get_by_uuid "<sr>"
"<sr-ref>"
$ call VDI.copy "<vdi-ref>", "<sr-ref>", "OpaqueRef:NULL", "OpaqueRef:NULL"
"<copy>"
$ call VDI.get_on_boot "<copy>"
"persist"

# Told to keep what is written, it does.
$ xe vdi-param-set uuid=<vdi> on-boot=persist
$ sh qemu-io -c "write -q -P 8 0 64k" <dir>/back/<vdi>.qcow2
$ xe vm-start uuid=<vm>
$ xe vm-shutdown uuid=<vm> force=true
$ call VDI.checksum "<vdi-ref>"
"<!other>"
$ call VDI.destroy "<clone>"
""
$ call VDI.destroy "<copy>"
""
$ xe snapshot-list uuid=<snapshot>
$ call VDI.destroy "<snapshot-ref>"
""
$ xe vm-destroy uuid=<vm>
$ xe vdi-destroy uuid=<vdi>
$ xe pbd-list sr-uuid=<sr> --minimal
<pbd>
$ xe pbd-unplug uuid=<pbd>
$ xe sr-destroy uuid=<sr>
