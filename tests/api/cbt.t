Changed blocks: tracking goes on and off, snapshots tell what has changed, also without their data.

$ xe sr-list type=ext --minimal
<sr>
$ xe vdi-create sr-uuid=<sr> name-label=tracked virtual-size=1MiB
<vdi>
$ call VDI.get_by_uuid "<vdi>"
"<vdi-ref>"
$ xe sm-list type=ext params=features
features (MRO)    : ...VDI_CONFIG_CBT...

# Without tracking nothing is told.
$ xe vdi-snapshot uuid=<vdi>
<before>
$ xe vdi-list-changed-blocks vdi-from-uuid=<before> vdi-to-uuid=<vdi>
! ...
! vdi: <before> (tracked)
$ call VDI.get_by_uuid "<before>"
"<before-ref>"
$ call VDI.data_destroy "<before-ref>"
! VDI_NO_CBT_METADATA ["<before-ref>"]
$ xe vdi-destroy uuid=<before>

# It goes on, twice if need be; a snapshot has it too, a clone has not.
$ xe vdi-enable-cbt uuid=<vdi>
$ xe vdi-enable-cbt uuid=<vdi>
$ xe vdi-param-get uuid=<vdi> param-name=cbt-enabled
true
$ xe vdi-snapshot uuid=<vdi>
<first>
$ xe vdi-param-get uuid=<first> param-name=cbt-enabled
true
$ xe vdi-clone uuid=<vdi>
<clone>
$ xe vdi-param-get uuid=<clone> param-name=cbt-enabled
false
$ xe vdi-destroy uuid=<clone>

# What was written since shows: one block of sixteen.
$ sh qemu-io -c "write -P 1 0 65536" $(find <dir>/state/ -name <vdi>.qcow2) | grep -c ^wrote
1
$ xe vdi-snapshot uuid=<vdi>
<second>
$ xe vdi-list-changed-blocks vdi-from-uuid=<first> vdi-to-uuid=<second>
gAA=
$ xe vdi-list-changed-blocks vdi-from-uuid=<second> vdi-to-uuid=<vdi>
AAA=

# Without its data a snapshot is known, and still compared.
$ call VDI.get_by_uuid "<first>"
"<first-ref>"
$ xe vdi-data-destroy uuid=<first>
$ xe vdi-data-destroy uuid=<first>
$ call VDI.get_record "<first-ref>" | cbt_enabled,managed,physical_utilisation,type,virtual_size
{"cbt_enabled": true, "managed": true, "physical_utilisation": "0", "type": "cbt_metadata", "virtual_size": "1048576"}
$ xe vdi-list-changed-blocks vdi-from-uuid=<first> vdi-to-uuid=<second>
gAA=
$ xe sr-scan uuid=<sr>
$ xe vdi-param-get uuid=<first> param-name=type
CBT metadata
$ call VDI.get_allowed_operations "<first-ref>"
["destroy", "forget", "data_destroy", "list_changed_blocks"]

# Nothing of it can be read.
$ call VDI.copy "<first-ref>", "OpaqueRef:NULL", "OpaqueRef:NULL", "<vdi-ref>"
! VDI_INCOMPATIBLE_TYPE ["<first-ref>", "cbt_metadata"]
$ call VDI.clone "<first-ref>", {}
! VDI_INCOMPATIBLE_TYPE ["<first-ref>", "cbt_metadata"]
$ call VDI.get_nbd_info "<first-ref>"
! VDI_INCOMPATIBLE_TYPE ["<first-ref>", "cbt_metadata"]
$ call VDI.revert "<first-ref>"
! VDI_INCOMPATIBLE_TYPE ["<first-ref>", "cbt_metadata"]

# What tracking forbids, and what is not tracked.
$ call VDI.set_on_boot "<vdi-ref>", "reset"
! VDI_CBT_ENABLED ["<vdi-ref>"]
$ call VDI.data_destroy "<vdi-ref>"
! OPERATION_NOT_ALLOWED ["The disk is no snapshot."]
$ call VDI.get_by_uuid "<second>"
"<second-ref>"
$ call VDI.disable_cbt "<second-ref>"
! OPERATION_NOT_ALLOWED ["The disk is a snapshot: nothing in it changes."]
$ call VDI.create {"SR": "OpaqueRef:NULL"}
! ...
$ xe vdi-create sr-uuid=<sr> name-label=other virtual-size=1MiB type=suspend
<other>
$ xe vdi-enable-cbt uuid=<other>
! ...
! vdi: <other> (other)
! type: suspend
$ xe vdi-destroy uuid=<other>

# Of a running machine's disk too; its own changes are told once it has ended.
$ xe vm-install template="Other install media" new-name-label=writer
<vm>
$ xe vbd-create vm-uuid=<vm> vdi-uuid=<vdi> device=0
<vbd>
$ xe vm-start uuid=<vm>
$ xe vdi-disable-cbt uuid=<vdi>
$ xe vdi-enable-cbt uuid=<vdi>
$ xe vdi-list-changed-blocks vdi-from-uuid=<first> vdi-to-uuid=<second>
gAA=
$ call VDI.list_changed_blocks "<second-ref>", "<vdi-ref>"
! VDI_IN_USE ["<vdi-ref>", "list_changed_blocks; VM ...
$ xe vm-shutdown uuid=<vm> force=true

# The daemon is killed; nothing is forgotten.
$ kill
$ xe vdi-list-changed-blocks vdi-from-uuid=<first> vdi-to-uuid=<second>
gAA=

# Everything goes.
$ xe vdi-destroy uuid=<first>
$ xe vdi-destroy uuid=<second>
$ xe vdi-disable-cbt uuid=<vdi>
$ xe vdi-param-get uuid=<vdi> param-name=cbt-enabled
false
$ xe vm-uninstall uuid=<vm> force=true
...
