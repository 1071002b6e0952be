Block devices of the host as disks: shown as they are, coming and going, with nothing made of them or in them.

$ sh mkdir -p <dir>/state/system/dev/disk/by-id <dir>/state/system/sys/class/block/sdb/device <dir>/state/system/sys/class/block/sr0/device
$ sh truncate -s 1M <dir>/state/system/dev/sdb; truncate -s 2M <dir>/state/system/dev/sr0
$ sh ln -s ../../sr0 <dir>/state/system/dev/disk/by-id/ata-Drive_1
$ sh cd <dir>/state/system/sys/class/block; echo 2048 > sdb/size; echo 1 > sdb/removable; echo 0 > sdb/device/type; echo Stick > sdb/device/model; echo 4096 > sr0/size; echo 5 > sr0/device/type; echo DVD-ROM > sr0/device/model
$ xe sr-create name-label=none type=udev content-type=disk
! Error code: SR_BACKEND_FAILURE_94
! Error parameters: , device_config:location is missing [opterr=a folder of /dev is wanted],
$ xe sr-create name-label=none type=udev content-type=disk device-config:location=/etc
! Error code: SR_BACKEND_FAILURE_1
! Error parameters: , An argument is not valid [opterr=location: '/etc' is no folder of /dev],
$ call SR.introduce "", "removable", "", "udev", "disk", true, {}
! OPERATION_NOT_ALLOWED ["A storage repository of type udev cannot be shared: each host has devices of its own."]
$ xe sr-create name-label=drives type=udev content-type=iso device-config:location=/dev/xapi/cd
<cds>
$ xe sr-create name-label=removable type=udev content-type=disk device-config:location=/dev/xapi/block
<disks>
$ xe vdi-list sr-uuid=<disks> --minimal
$ xe vdi-list sr-uuid=<cds> params=name-label,location,read-only,virtual-size
name-label ( RW)      : DVD-ROM
    virtual-size ( RO): 2097152
        location ( RO): /dev/disk/by-id/ata-Drive_1
       read-only ( RO): true

# A stick that is put in is there after the next scan, and gone after the one that follows its end.
$ sh ln -s ../../sdb <dir>/state/system/dev/disk/by-id/usb-Stick_2
$ xe sr-scan uuid=<disks>
$ xe vdi-list sr-uuid=<disks> --minimal
<stick>
$ xe vdi-param-get uuid=<stick> param-name=read-only
false

# Nothing is made, grown or snapshot there.
$ xe vdi-create sr-uuid=<disks> name-label=new virtual-size=1MiB
! This type of storage does not support the operation.
! sr: <disks> (removable)
$ xe vdi-snapshot uuid=<stick>
! This type of storage does not support the operation.
! sr: <disks> (removable)
$ xe vdi-resize uuid=<stick> disk-size=16MiB
! This type of storage does not support the operation.
! sr: <disks> (removable)
$ xe vdi-destroy uuid=<stick>
! This type of storage does not support the operation.
! sr: <disks> (removable)

# A VM uses both, the stick for writing.
$ xe vdi-list sr-uuid=<cds> --minimal
<cd>
$ xe vm-create name-label=guest memory-static-max=64MiB
<vm>
$ xe vbd-create vm-uuid=<vm> vdi-uuid=<stick> device=0 mode=RW type=Disk
<vbd>
$ xe vbd-create vm-uuid=<vm> vdi-uuid=<cd> device=3 mode=RO type=CD
<cd-vbd>
$ xe vm-start uuid=<vm>
$ xe pbd-list sr-uuid=<disks> --minimal
<pbd>
$ xe pbd-unplug uuid=<pbd>
! The disk is in use by a VM or by another operation. Wait, or detach it first.
! vdi: <stick> (Stick)
! operation: unplug; VM ...
$ xe vm-shutdown uuid=<vm> force=true

# One that was pulled out is missing to whoever wants it.
$ sh rm <dir>/state/system/dev/disk/by-id/usb-Stick_2
$ xe sr-scan uuid=<disks>
$ xe vdi-param-get uuid=<stick> param-name=missing
true
$ xe vm-start uuid=<vm>
! The storage no longer has this disk's data, although it is recorded in the pool. Rescan the storage.
! sr: <disks> (removable)
! vdi: <stick> (Stick)
$ xe vm-destroy uuid=<vm>
$ xe sr-scan uuid=<disks>
$ xe vdi-list sr-uuid=<disks> --minimal
$ xe pbd-unplug uuid=<pbd>
$ xe sr-destroy uuid=<disks>
$ xe pbd-list sr-uuid=<cds> --minimal
<cd-pbd>
$ xe pbd-unplug uuid=<cd-pbd>
$ xe sr-forget uuid=<cds>
$ sh rm -r <dir>/state/system/dev/disk <dir>/state/system/dev/sdb <dir>/state/system/dev/sr0 <dir>/state/system/sys/class/block
