Machines are exported to files and imported from them.

$ xe vm-install template="Other install media" new-name-label=traveller
<vm>
$ xe sr-list type=ext --minimal
<sr>
$ xe vdi-create sr-uuid=<sr> name-label="its disk" virtual-size=3MiB
<vdi>
$ xe vbd-create vm-uuid=<vm> vdi-uuid=<vdi> device=0
<vbd>
$ xe vm-export uuid=<vm> filename=traveller.xva
Export succeeded
$ sh tar -tf traveller.xva
ova.xml
Ref:3/00000000
Ref:3/00000000.xxhash
Ref:3/00000002
Ref:3/00000002.xxhash

# A file that is there already is not written over.
$ xe vm-export uuid=<vm> filename=traveller.xva
! ...

# What is imported is another machine with another disk.
$ xe vm-import filename=traveller.xva sr-uuid=<sr>
<copy>
$ xe vm-param-get uuid=<copy> param-name=name-label
traveller
$ xe vm-disk-list uuid=<copy> vbd-params=userdevice vdi-params=name-label,virtual-size
...

# Restored it would be the same one, which is there.
$ xe vm-import filename=traveller.xva sr-uuid=<sr> preserve=true
! ...
! vm: <vm> (traveller)
! existing_version: 0
! version_to_import: 0

# Compressed, and records alone.
$ xe vm-export uuid=<vm> filename=traveller.gz compress=true
Export succeeded
$ sh gzip -dc traveller.gz | tar -t | head -n 1
ova.xml
$ xe vm-export uuid=<vm> filename=traveller.meta metadata=true
Export succeeded
$ sh tar -tf traveller.meta
ova.xml
$ xe vm-import filename=traveller.meta metadata=true dry-run=true

# What is no archive is refused, and leaves nothing.
$ sh echo nonsense > nonsense.xva
$ xe vm-import filename=nonsense.xva sr-uuid=<sr>
! ...

# A machine that runs is not exported.
$ xe vm-start uuid=<vm>
$ xe vm-export uuid=<vm> filename=running.xva
! ...
! vm: <vm> (traveller)
! expected: halted, suspended
! actual: running
$ sh ls running.xva
! ...
$ xe vm-shutdown uuid=<vm> force=true
$ xe vm-uninstall uuid=<vm> force=true
...
$ xe vm-uninstall uuid=<copy> force=true
...
$ sh rm traveller.xva traveller.gz traveller.meta nonsense.xva
