Disks are made, named, resized, cloned, snapshotted, copied and destroyed.

$ xe sr-list type=ext --minimal
<sr>
$ xe vdi-create sr-uuid=<sr> name-label=disk virtual-size=16MiB
<vdi>
$ call VDI.get_by_uuid "<vdi>"
"<vdi-ref>"
$ call VDI.get_record "<vdi-ref>" | managed,name_label,read_only,type,virtual_size
{"managed": true, "name_label": "disk", "read_only": false, "type": "user", "virtual_size": "16777216"}

# Its names can be changed.
$ xe vdi-param-set uuid=<vdi> name-label="a disk" name-description="with a description"
$ xe vdi-list uuid=<vdi> params=name-label,name-description
name-label ( RW)          : a disk
    name-description ( RW): with a description

# It grows; it does not shrink.
$ xe vdi-resize uuid=<vdi> disk-size=32MiB
$ xe vdi-param-get uuid=<vdi> param-name=virtual-size
33554432
$ call VDI.resize "<vdi-ref>", 16777216
! ...

# A clone and a snapshot are disks of their own.
$ xe vdi-clone uuid=<vdi>
<clone>
$ xe vdi-snapshot uuid=<vdi>
<snapshot>
$ xe vdi-param-get uuid=<snapshot> param-name=is-a-snapshot
true
$ xe vdi-param-get uuid=<snapshot> param-name=snapshot-of
<vdi>
$ xe vdi-param-get uuid=<clone> param-name=is-a-snapshot
false
$ xe vdi-param-get uuid=<clone> param-name=virtual-size
33554432

# A copy is complete in itself.
$ xe vdi-copy uuid=<snapshot> sr-uuid=<sr>
<copy>
$ xe vdi-param-get uuid=<copy> param-name=is-a-snapshot
false

# What is in use is not destroyed.
$ xe vm-install template="Other install media" new-name-label=holder
<vm>
$ xe vbd-create vm-uuid=<vm> vdi-uuid=<vdi> device=0
<vbd>
$ xe vm-start uuid=<vm>
$ call VDI.destroy "<vdi-ref>"
! VDI_IN_USE ["<vdi-ref>", "destroy; VM 'holder' (<vm>), running on host ...
$ xe vm-shutdown uuid=<vm> force=true

# Destroyed, in any order.
$ xe vdi-destroy uuid=<snapshot>
$ xe vdi-destroy uuid=<vdi>
$ xe vdi-destroy uuid=<clone>
$ xe vdi-destroy uuid=<copy>
$ call VDI.get_record "<vdi-ref>"
! HANDLE_INVALID ["VDI", "<vdi-ref>"]
$ xe vbd-list uuid=<vbd>
$ xe vm-destroy uuid=<vm>
