What a disk may be used for: sharable, read only, on an ISO library, on a dummy.

$ xe sr-list type=ext --minimal
<sr>
$ xe vm-install template="Other install media" new-name-label=first
<one>
$ xe vm-install template="Other install media" new-name-label=second
<two>

# A disk that is not sharable is written to by one machine at a time.
$ xe vdi-create sr-uuid=<sr> name-label=own virtual-size=1MiB
<own>
$ call VDI.get_by_uuid "<own>"
"<own-ref>"
$ xe vbd-create vm-uuid=<one> vdi-uuid=<own> device=0
<own-one>
$ xe vbd-create vm-uuid=<two> vdi-uuid=<own> device=0
<own-two>
$ call VBD.get_by_uuid "<own-two>"
"<own-two-ref>"
$ xe vm-start uuid=<one>
$ xe vm-start uuid=<two>
! ...
...
$ call VBD.assert_attachable "<own-two-ref>"
! VDI_IN_USE ...
$ xe vbd-destroy uuid=<own-two>
$ xe vm-start uuid=<two>

# A sharable one by several, and it has no snapshots and does not go back at each start.
$ xe vdi-create sr-uuid=<sr> name-label=shared virtual-size=1MiB sharable=true
<shared>
$ call VDI.get_by_uuid "<shared>"
"<shared-ref>"
$ xe vbd-create vm-uuid=<one> vdi-uuid=<shared> device=1
<shared-one>
$ xe vbd-create vm-uuid=<two> vdi-uuid=<shared> device=1
<shared-two>
$ xe vbd-plug uuid=<shared-one>
$ xe vbd-plug uuid=<shared-two>
$ call VDI.snapshot "<shared-ref>", {}
! VDI_IS_SHARABLE []
$ xe vbd-unplug uuid=<shared-one>
$ xe vbd-unplug uuid=<shared-two>
$ call VDI.set_on_boot "<shared-ref>", "reset"
! VDI_IS_SHARABLE []

# A disk that is read only is attached for reading, by as many as like.
$ xe vdi-create sr-uuid=<sr> name-label=fixed virtual-size=1MiB
<fixed>
$ call VDI.get_by_uuid "<fixed>"
"<fixed-ref>"
$ xe vbd-create vm-uuid=<one> vdi-uuid=<fixed> device=2 mode=RW
<fixed-rw>
$ call VBD.get_by_uuid "<fixed-rw>"
"<fixed-rw-ref>"
$ call VDI.set_read_only "<fixed-ref>", true
""
$ call VBD.plug "<fixed-rw-ref>"
! VDI_READONLY ["<fixed-ref>"]
$ xe vbd-destroy uuid=<fixed-rw>
$ xe vbd-create vm-uuid=<two> vdi-uuid=<fixed> device=3 mode=RW
! ...
...
$ xe vbd-create vm-uuid=<one> vdi-uuid=<fixed> device=2 mode=RO
<fixed-one>
$ xe vbd-create vm-uuid=<two> vdi-uuid=<fixed> device=2 mode=RO
<fixed-two>
$ xe vbd-plug uuid=<fixed-one>
$ xe vbd-plug uuid=<fixed-two>
$ call VDI.destroy "<fixed-ref>"
! VDI_IN_USE ["<fixed-ref>", "destroy; VM ...
$ xe vm-shutdown uuid=<one> force=true
$ xe vm-shutdown uuid=<two> force=true

# An ISO library holds what its owner put there: nothing is made, copied or deleted by way of it.
$ xe sr-list type=iso --minimal
<iso>
$ call SR.get_by_uuid "<iso>"
"<iso-ref>"
$ xe vdi-create sr-uuid=<iso> name-label=no virtual-size=1MiB
! ...
...
$ call VDI.copy "<own-ref>", "<iso-ref>", "OpaqueRef:NULL", "OpaqueRef:NULL"
! SR_OPERATION_NOT_SUPPORTED ["<iso-ref>"]

# A dummy needs nothing, and does all that others do, in memory.
$ xe sr-create type=dummy name-label=dummy shared=true
<dummy>
$ xe vdi-create sr-uuid=<dummy> name-label=memory virtual-size=1MiB
<memory>
$ xe vdi-snapshot uuid=<memory>
<memory-snapshot>
$ xe vdi-destroy uuid=<memory>
$ xe vdi-destroy uuid=<memory-snapshot>
$ xe pbd-list sr-uuid=<dummy> --minimal
<pbd>
$ xe pbd-unplug uuid=<pbd>
$ sh ls -d /run/xapid-dummy-<dummy>
/run/xapid-dummy-<dummy>
$ xe sr-forget uuid=<dummy>
$ xe sr-introduce uuid=<dummy> type=dummy name-label=dummy shared=true content-type=user
<dummy>
$ xe host-list --minimal
<host>
$ xe pbd-create sr-uuid=<dummy> host-uuid=<host>
<again>
$ xe pbd-plug uuid=<again>
$ xe pbd-unplug uuid=<again>
$ xe sr-destroy uuid=<dummy>
$ sh test ! -e /run/xapid-dummy-<dummy>

# Put away.
$ xe vm-destroy uuid=<one>
$ xe vm-destroy uuid=<two>
$ xe vdi-destroy uuid=<own>
$ xe vdi-destroy uuid=<shared>
$ xe vdi-destroy uuid=<fixed>
