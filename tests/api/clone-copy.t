A clone shares what it has in common with its original, a copy shares nothing; both are VMs of their own.

$ xe sr-list type=ext --minimal
<sr>
$ xe vm-install template="Other install media" new-name-label=original
<vm>
$ xe vm-disk-add uuid=<vm> disk-size=16MiB device=0 sr-uuid=<sr>
$ xe network-list --minimal
<network>...
$ xe vif-create vm-uuid=<vm> network-uuid=<network> device=0
<vif>
$ xe vif-param-get uuid=<vif> param-name=MAC
<mac>

# A clone has a disk and a network interface of its own, with another MAC address.
$ xe vm-clone uuid=<vm> new-name-label="the clone"
<clone>
$ xe vm-param-get uuid=<clone> param-name=name-label
the clone
$ xe vbd-list vm-uuid=<clone> params=vdi-uuid --minimal
<clone-vdi>
$ xe vbd-list vm-uuid=<vm> params=vdi-uuid --minimal
<vdi>
$ xe vif-list vm-uuid=<clone> params=MAC --minimal
<clone-mac>
$ xe vif-list MAC=<mac> --minimal
<vif>

# Both run at the same time.
$ xe vm-start uuid=<vm>
$ xe vm-start uuid=<clone>
$ xe vm-shutdown uuid=<clone> force=true

# A running VM is not cloned.
$ xe vm-clone uuid=<vm> new-name-label=never
! The VM is not in a power state in which this operation can be done.
! vm: <vm> (original)
! expected: halted
! actual: running
$ xe vm-shutdown uuid=<vm> force=true

# A copy goes to the SR that is named.
$ xe vm-copy uuid=<vm> new-name-label="the copy" sr-uuid=<sr>
<copy>
$ xe vbd-list vm-uuid=<copy> params=vdi-uuid --minimal
<copy-vdi>
$ xe vdi-param-get uuid=<copy-vdi> param-name=sr-uuid
<sr>

# A clone goes on when its original is gone.
$ xe vm-uninstall uuid=<vm> force=true
The following items are about to be destroyed
...
All objects destroyed
$ xe vm-start uuid=<clone>
$ xe vm-shutdown uuid=<clone> force=true
$ xe vm-uninstall uuid=<clone> force=true
The following items are about to be destroyed
...
All objects destroyed
$ xe vm-uninstall uuid=<copy> force=true
The following items are about to be destroyed
...
All objects destroyed
$ xe vdi-list uuid=<clone-vdi>
