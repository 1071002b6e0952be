Disks are plugged into running machines and taken out.

$ xe sr-list type=ext --minimal
<sr>
$ xe vdi-create sr-uuid=<sr> name-label=root virtual-size=16MiB
<root>
$ xe vdi-create sr-uuid=<sr> name-label=data virtual-size=16MiB
<data>
$ xe vm-install template="Other install media" new-name-label=plugs
<vm>
$ call VM.get_by_uuid "<vm>"
"<vm-ref>"
$ xe vbd-create vm-uuid=<vm> vdi-uuid=<root> device=0 bootable=true
<root-vbd>
$ xe vbd-param-get uuid=<root-vbd> param-name=currently-attached
false

# One device number is given once.
$ xe vbd-create vm-uuid=<vm> vdi-uuid=<data> device=0
! The VM already has a device at this position. Choose a free device number.
! device: 0

# A disk is attached by the start and free after the shutdown.
$ xe vm-start uuid=<vm>
$ xe vbd-list uuid=<root-vbd> params=currently-attached,device
device ( RO)                : <device>
    currently-attached ( RO): true

# A second one is plugged in while it runs.
$ xe vbd-create vm-uuid=<vm> vdi-uuid=<data> device=1
<data-vbd>
$ xe vbd-plug uuid=<data-vbd>
$ xe vbd-param-get uuid=<data-vbd> param-name=currently-attached
true
$ call VBD.get_by_uuid "<data-vbd>"
"<data-ref>"
$ call VBD.plug "<data-ref>"
! DEVICE_ALREADY_ATTACHED ["<data-ref>"]
$ call VM.get_allowed_VBD_devices "<vm-ref>" | #
...

# It is taken out; destroyed only then.
$ xe vbd-unplug uuid=<data-vbd>
$ xe vbd-param-get uuid=<data-vbd> param-name=currently-attached
false
$ call VBD.unplug "<data-ref>"
! DEVICE_ALREADY_DETACHED ["<data-ref>"]
$ xe vbd-destroy uuid=<data-vbd>
$ xe vbd-list uuid=<data-vbd>

# A halted VM has nothing to plug.
$ xe vm-shutdown uuid=<vm> force=true
$ xe vbd-param-get uuid=<root-vbd> param-name=currently-attached
false
$ xe vbd-plug uuid=<root-vbd>
! The VM is not in a power state in which this operation can be done.
! vm: <vm> (plugs)
! expected: running
! actual: halted

# A disk of two VMs runs in one of them.
$ xe vm-install template="Other install media" new-name-label=second
<second>
$ xe vbd-create vm-uuid=<second> vdi-uuid=<root> device=0
<second-vbd>
$ xe vm-start uuid=<vm>
$ xe vm-start uuid=<second>
! The disk is in use by a VM or by another operation. Wait, or detach it first.
! vdi: <root> (root)
! operation: attach; VM ...
$ xe vm-param-get uuid=<second> param-name=power-state
halted
$ xe vm-shutdown uuid=<vm> force=true
$ xe vm-destroy uuid=<second>

# All is cleared away.
$ xe vm-uninstall uuid=<vm> force=true
The following items are about to be destroyed
...
All objects destroyed
$ xe vdi-destroy uuid=<data>
