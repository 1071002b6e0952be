Storage in a volume group: refused where there is no LVM; where there is, made, used, lost and found again.

$ xe host-list --minimal
<host>
$ xe sr-create name-label=volumes type=lvm content-type=user device-config:device=/dev/none
! Error code: SR_BACKEND_FAILURE_47
! Error parameters: , The storage repository is not available [opterr=this host has no lvm program (Debian: lvm2)],
$ xe sr-probe type=lvm host-uuid=<host> device-config:device=/dev/none
! Error code: SR_BACKEND_FAILURE_47
! Error parameters: , The storage repository is not available [opterr=this host has no lvm program (Debian: lvm2)],

# From here on there is one, which is played.
$ sh mkdir -p <dir>/state/system/usr/sbin
$ sh cp <top>/tests/unit/storage/fake-lvm <dir>/state/system/usr/sbin/lvm
$ xe sm-list type=lvm params=name-label,type
name-label ( RO)    : Local LVM
          type ( RO): lvm
$ xe sr-create name-label=volumes type=lvm content-type=user
! Error code: SR_BACKEND_FAILURE_90
! Error parameters: , device_config:device is missing [opterr=a block device is wanted],
$ xe sr-create name-label=volumes type=lvm content-type=user device-config:device=/dev/none device-config:allocation=much
! Error code: SR_BACKEND_FAILURE_1
! Error parameters: , An argument is not valid [opterr=allocation: 'much' is neither thick nor thin],
$ call host.get_by_uuid "<host>"
"<host-ref>"
$ call SR.probe "<host-ref>", {"device":"/dev/none"}, "lvm", {}
"<?xml version=\"1.0\" ?><SRlist></SRlist>"

# Its devices are one host's: it is never shared.
$ xe sr-create name-label=volumes type=lvm content-type=user shared=true device-config:device=/dev/none
! ...
! reason: A storage repository of type lvm cannot be shared: its devices are those of one host.
$ call SR.introduce "", "volumes", "", "lvm", "user", true, {}
! OPERATION_NOT_ALLOWED ["A storage repository of type lvm cannot be shared: its devices are those of one host."]
$ xe sr-create name-label=volumes type=lvm content-type=user device-config:device=/dev/none
<sr>
$ call SR.get_by_uuid "<sr>"
"<sr-ref>"
$ call SR.set_shared "<sr-ref>", true
! OPERATION_NOT_ALLOWED ["A storage repository of type lvm cannot be shared: its devices are those of one host."]
$ call SR.probe "<host-ref>", {"device":"/dev/none"}, "lvm", {}
"<?xml version=\"1.0\" ?><SRlist><SR><UUID><sr></UUID><Devlist>/dev/none</Devlist><size>1073741824</size></SR></SRlist>"
$ xe sr-create name-label=again type=lvm content-type=user device-config:device=/dev/none
! The device is used by another storage repository already.
$ xe sr-param-get uuid=<sr> param-name=physical-size
1073741824
$ sh ls <dir>/state/sr-mount
<sr>.lvm
<sr>.lvm-lock

# Disks in it are what they are elsewhere.
$ xe vdi-create sr-uuid=<sr> name-label=disk virtual-size=16MiB
<vdi>
$ xe vdi-snapshot uuid=<vdi>
<snap>
$ xe vdi-resize uuid=<vdi> disk-size=32MiB
$ xe vdi-param-get uuid=<vdi> param-name=virtual-size
33554432
$ xe vdi-create sr-uuid=<sr> name-label=large virtual-size=2GiB
! The storage has too little free space for what was asked. Free some or use another SR.
! requested: 2151677952
! maximum: 1027604480

# A VM runs from it, and a daemon that is killed finds its disk again.
$ xe vm-create name-label=guest memory-static-max=64MiB
<vm>
$ xe vbd-create vm-uuid=<vm> vdi-uuid=<vdi> device=0 mode=RW type=Disk
<vbd>
$ xe vm-start uuid=<vm>
$ kill
$ xe vm-param-get uuid=<vm> param-name=power-state
running
$ sh ls <dir>/state/sr-mount/<sr>.lvm
<vdi>
$ xe vm-shutdown uuid=<vm> force=true
$ sh ls <dir>/state/sr-mount/<sr>.lvm

# What was left active of a repository that is not this host's any more goes at the next start.
$ sh mkdir <dir>/state/sr-mount/00000000-0000-4000-8000-000000000001.lvm
$ kill
$ until sh ls <dir>/state/sr-mount
<sr>.lvm
<sr>.lvm-lock

# Unplugged it leaves nothing on its host; destroyed, nothing at all.
$ xe vm-destroy uuid=<vm>
$ xe vdi-destroy uuid=<snap>
$ xe vdi-destroy uuid=<vdi>
$ xe pbd-list sr-uuid=<sr> --minimal
<pbd>
$ xe pbd-unplug uuid=<pbd>
$ sh ls <dir>/state/sr-mount
$ xe sr-destroy uuid=<sr>
$ sh grep -o '"groups": {}' <dir>/state/system/groups
"groups": {}
