Networks and the network interfaces of machines.

$ xe network-create name-label=inner name-description="for tests"
<network>
$ xe network-list uuid=<network> params=name-label,name-description
name-label ( RW)          : inner
    name-description ( RW): for tests
$ xe vm-install template="Other install media" new-name-label=netty
<vm>
$ call VM.get_by_uuid "<vm>"
"<vm-ref>"
$ call network.get_by_uuid "<network>"
"<network-ref>"

# An interface has the MAC address it is given, or one that was made up.
$ xe vif-create vm-uuid=<vm> network-uuid=<network> device=0 mac=02:00:00:aa:bb:01
<vif>
$ xe vif-param-get uuid=<vif> param-name=MAC
02:00:00:aa:bb:01
$ xe vif-create vm-uuid=<vm> network-uuid=<network> device=1 mac=random
<second>
$ xe vif-param-get uuid=<second> param-name=MAC
<mac>

# Wrong ones are refused.
$ xe vif-create vm-uuid=<vm> network-uuid=<network> device=2 mac=nonsense
! This is not a valid MAC address; write six pairs of hexadecimal digits separated by colons.
! MAC: nonsense
$ xe vif-create vm-uuid=<vm> network-uuid=<network> device=0 mac=02:00:00:aa:bb:03
! The VM already has a device at this position. Choose a free device number.
! device: 0

# Interfaces are attached by the start, and plugged while the VM runs.
$ xe vm-start uuid=<vm>
$ xe vif-param-get uuid=<vif> param-name=currently-attached
true
$ xe vif-create vm-uuid=<vm> network-uuid=<network> device=2 mac=02:00:00:aa:bb:04
<third>
$ xe vif-plug uuid=<third>
$ xe vif-param-get uuid=<third> param-name=currently-attached
true
$ xe vif-unplug uuid=<third>
$ xe vif-param-get uuid=<third> param-name=currently-attached
false
$ xe vif-destroy uuid=<third>

# A network in use stays.
$ call network.destroy "<network-ref>"
! NETWORK_CONTAINS_VIF ["<a>"...
$ xe vm-shutdown uuid=<vm> force=true
$ xe vm-uninstall uuid=<vm> force=true
The following items are about to be destroyed
...
All objects destroyed
$ xe vif-list uuid=<vif>
$ xe network-destroy uuid=<network>
$ xe network-list uuid=<network>
