Storage repositories: what a fresh daemon has, made, scanned, unplugged, forgotten.

$ xe sr-list type=ext params=type,content-type
type ( RO)            : ext
    content-type ( RO): <content>
$ xe host-list --minimal
<host>
$ xe sr-list type=ext --minimal
<local>
$ xe pool-list params=default-SR --minimal
<local>

# A directory becomes an SR, plugged on the host.
$ sh mkdir <dir>/second
$ xe sr-create name-label=second type=file host-uuid=<host> device-config:location=<dir>/second
<sr>
$ xe pbd-list sr-uuid=<sr> --minimal
<pbd>
$ xe pbd-param-get uuid=<pbd> param-name=currently-attached
true
$ xe vdi-create sr-uuid=<sr> name-label=there virtual-size=16MiB
<vdi>
$ xe sr-scan uuid=<sr>
$ xe vdi-list sr-uuid=<sr> --minimal
<vdi>

# An SR with a disk is not destroyed, nor is one that is plugged.
$ call SR.get_by_uuid "<sr>"
"<sr-ref>"
$ call SR.destroy "<sr-ref>"
! ...

# Unplugged it gives no disks; plugged again it is as before.
$ xe pbd-unplug uuid=<pbd>
$ xe pbd-param-get uuid=<pbd> param-name=currently-attached
false
$ xe vdi-create sr-uuid=<sr> name-label=nowhere virtual-size=16MiB
! The storage is not attached to a host that could do this. Plug its PBD first.
! sr: <sr> (second)
$ xe pbd-plug uuid=<pbd>
$ xe vdi-list sr-uuid=<sr> --minimal
<vdi>
$ xe vdi-destroy uuid=<vdi>

# Forgotten, its records are gone.
$ xe pbd-unplug uuid=<pbd>
$ xe sr-forget uuid=<sr>
$ xe sr-list uuid=<sr>
$ xe pbd-list uuid=<pbd>
