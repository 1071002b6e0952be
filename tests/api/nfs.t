Storage on an NFS server: probed, made, used, lost and found again. [--storage-wait=5]

$ sh <top>/tests/lib/fake-nfs <dir>/exports <dir>/state/system
$ sh mkdir -p <dir>/exports/vm <dir>/exports/iso/linux
$ xe host-list --minimal
<host>

# Clients see the driver, and what it wants to know.
$ xe sm-list type=nfs params=name-label,type
name-label ( RO)    : NFS
          type ( RO): nfs
$ xe sr-probe type=nfs host-uuid=<host>
! Error code: SR_BACKEND_FAILURE_100
! Error parameters: , device_config:server is missing [opterr=the NFS server's name or address is wanted],

# Without a path a probe lists the exports; the error carries them.
$ call host.get_by_uuid "<host>"
"<host-ref>"
$ call SR.probe "<host-ref>", {"server":"nas"}, "nfs", {}
! SR_BACKEND_FAILURE_101 ["", "device_config:serverpath is missing [opterr=one of the server's exports is wanted]", "<?xml version=\"1.0\" ?>...<Export><Target>nas</Target><Path>/iso</Path><Accesslist>10.0.0.0/8,host&amp;co</Accesslist></Export><Export><Target>nas</Target><Path>/vm</Path><Accesslist>10.0.0.0/8,host&amp;co</Accesslist></Export></nfs-exports>"]
$ call SR.probe "<host-ref>", {"server":"nas","serverpath":"/vm"}, "nfs", {}
"<?xml version=\"1.0\" ?><SRlist></SRlist>"

# A repository is made in a folder of its own, and found by another probe.
$ xe sr-create name-label=shared type=nfs shared=true content-type=user device-config:server=nas device-config:serverpath=/vm
<sr>
$ xe sr-list uuid=<sr> params=type,shared,content-type
type ( RO)            : nfs
    content-type ( RO): user
          shared ( RW): true
$ sh ls -A <dir>/exports/vm
<sr>
$ sh cat <dir>/exports/vm/<sr>/.xapid-sr
<sr>
$ call SR.probe "<host-ref>", {"server":"nas","serverpath":"/vm"}, "nfs", {}
"<?xml version=\"1.0\" ?><SRlist><SR><UUID><sr></UUID></SR></SRlist>"
$ call SR.probe_ext "<host-ref>", {"server":"nas"}, "nfs", {} | #
2
$ sh ls <dir>/state/sr-mount
<sr>

# Disks in it are what they are elsewhere.
$ xe vdi-create sr-uuid=<sr> name-label=disk virtual-size=16MiB
<vdi>
$ xe vdi-snapshot uuid=<vdi>
<snap>
$ xe vdi-copy uuid=<vdi> sr-uuid=<sr>
<copy>
$ xe vdi-resize uuid=<vdi> disk-size=32MiB
$ xe vdi-param-get uuid=<vdi> param-name=virtual-size
33554432
$ sh sh -c 'ls <dir>/exports/vm/<sr>/*.qcow2 | wc -l'
4
$ xe vdi-destroy uuid=<copy>
$ xe vdi-destroy uuid=<snap>
$ xe sr-scan uuid=<sr>

# A VM runs from it.
$ xe vm-create name-label=guest memory-static-max=64MiB
<vm>
$ xe vbd-create vm-uuid=<vm> vdi-uuid=<vdi> device=0 mode=RW type=Disk
<vbd>
$ xe vm-start uuid=<vm>
$ xe pbd-list sr-uuid=<sr> --minimal
<pbd>
$ xe pbd-unplug uuid=<pbd>
! The disk is in use by a VM or by another operation. Wait, or detach it first.
! vdi: <vdi> (disk)
! operation: unplug; VM ...

# The daemon comes back while the server is silent: the guest has its disk, and what needs the server fails in time.
$ sh touch <dir>/exports.down
$ kill
$ xe vm-param-get uuid=<vm> param-name=power-state
running
$ xe pbd-param-get uuid=<pbd> param-name=currently-attached
true
$ xe sr-create name-label=lost type=nfs device-config:server=nas device-config:serverpath=/vm
! Error code: SR_BACKEND_FAILURE_73
! Error parameters: , The network storage could not be mounted [opterr=nas:/vm: the server does not answer],
$ sh rm <dir>/exports.down
$ xe vm-shutdown uuid=<vm> force=true

# A host that starts while the server is away says so, and goes on by itself when that is back.
$ sh touch <dir>/exports.down
$ stop
$ sh umount <dir>/state/sr-mount/<sr>
$ start
$ xe pbd-param-get uuid=<pbd> param-name=currently-attached
false
$ xe pbd-param-get uuid=<pbd> param-name=other-config
plug-again: SR_BACKEND_FAILURE_73(, The network storage could not be mounted [opterr=nas:/vm/<sr>: the server does not answer], )
$ xe message-list name=PBD_PLUG_FAILED_ON_SERVER_START params=class
class ( RO)    : Host
$ sh rm <dir>/exports.down
$ until xe pbd-param-get uuid=<pbd> param-name=currently-attached
true
$ xe pbd-param-get uuid=<pbd> param-name=other-config
$ xe vdi-list sr-uuid=<sr> managed=true --minimal
<vdi>

# ISO images come from a server too.
$ sh touch <dir>/exports/iso/linux/debian.iso
$ xe sr-create name-label=isos type=iso content-type=iso shared=true device-config:location=nas:/iso device-config:type=nfs_iso device-config:iso_path=/linux
<isos>
$ xe vdi-list sr-uuid=<isos> params=name-label
name-label ( RW)    : debian.iso
$ xe pbd-list sr-uuid=<isos> --minimal
<iso-pbd>
$ xe pbd-unplug uuid=<iso-pbd>
$ xe sr-forget uuid=<isos>

# Unplugged it is mounted no more; destroyed it leaves nothing.
$ xe vm-destroy uuid=<vm>
$ xe vdi-destroy uuid=<vdi>
$ xe pbd-unplug uuid=<pbd>
$ sh ls <dir>/state/sr-mount
$ xe sr-destroy uuid=<sr>
$ sh ls -A <dir>/exports/vm
$ sh ls <dir>/state/sr-mount
