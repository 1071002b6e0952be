The network of a host: cards, addresses, VLANs, bonds, tunnels [fresh]

$ call host.get_all
["<host-ref>"]
$ call host.get_uuid "<host-ref>"
"<host>"

# A scan finds the cards that are new, with a network for each.
$ xe pif-list params=device,management --minimal
eth0
$ xe pif-scan host-uuid=<host>
$ xe pif-scan host-uuid=<host>
$ xe pif-list device=eth1 params=device,VLAN,physical,currently-attached,management,carrier
device ( RO)                : eth1
              physical ( RO): true
    currently-attached ( RO): true
                  VLAN ( RO): -1
            management ( RO): false
               carrier ( RO): true
$ xe pif-list device=eth0 --minimal
<eth0>
$ xe pif-list device=eth1 --minimal
<eth1>
$ call PIF.get_by_uuid "<eth0>"
"<eth0-ref>"
$ call PIF.get_by_uuid "<eth1>"
"<eth1-ref>"
$ xe network-list bridge=xenbr1 params=name-label
name-label ( RW)    : Pool-wide network associated with eth1
$ xe network-list bridge=xenbr1 --minimal
<second>
$ call network.get_by_uuid "<second>"
"<second-ref>"

# A card that is known is not introduced again, one that is not there not at all.
$ xe pif-introduce host-uuid=<host> device=eth1
! The host already has a network interface of this device name; choose another.
! device: eth1
$ xe pif-introduce host-uuid=<host> device=eth7
! The host has no network card with both this device name and this MAC address.
! device: eth7
! mac:
$ xe pif-introduce host-uuid=<host> device=eth7 mac=nonsense
! This is not a valid MAC address; write six pairs of hexadecimal digits separated by colons.
! MAC: nonsense
$ xe pif-forget uuid=<eth1>
$ xe pif-introduce host-uuid=<host> device=eth1 mac=00:16:3E:00:00:02
<eth1-again>
$ xe pif-forget uuid=<eth0>
! The interface carries the host's management traffic, so this cannot be done with it. Move management elsewhere first.
! PIF: <eth0>
$ xe pif-list uuid=<eth1-again> params=currently-attached
currently-attached ( RO)    : false
$ xe pif-plug uuid=<eth1-again>
$ call PIF.get_by_uuid "<eth1-again>"
"<card>"

# Addresses.
$ xe pif-reconfigure-ip uuid=<eth1-again> mode=static IP=192.168.5.400 netmask=255.255.255.0
! The value given is not a valid IP address for this setting.
! parameter: IP
$ xe pif-reconfigure-ip uuid=<eth1-again> mode=static IP=192.168.5.4 netmask=255.0.255.0
! The value given is not a valid IP address for this setting.
! parameter: netmask
$ xe pif-reconfigure-ip uuid=<eth1-again> mode=static IP=192.168.5.4 netmask=255.255.255.0 gateway=here
! The value given is not a valid IP address for this setting.
! parameter: gateway
$ xe pif-reconfigure-ip uuid=<eth1-again> mode=static IP=192.168.5.4 netmask=255.255.255.0 DNS=192.168.5.1,there
! The value given is not a valid IP address for this setting.
! parameter: DNS
$ xe pif-reconfigure-ip uuid=<eth1-again> mode=static IP=192.168.5.4 netmask=255.255.255.0 gateway=192.168.5.1 DNS=192.168.5.1,192.168.5.2
$ xe pif-list uuid=<eth1-again> params=IP-configuration-mode,IP,netmask,gateway,DNS
IP-configuration-mode ( RO)    : Static
                       IP ( RO): 192.168.5.4
                  netmask ( RO): 255.255.255.0
                  gateway ( RO): 192.168.5.1
                      DNS ( RO): 192.168.5.1,192.168.5.2
$ xe pif-reconfigure-ipv6 uuid=<eth1-again> mode=static IPv6=fd00::4
! The value is not a network in CIDR notation; write an address, a slash and the prefix length.
! parameter: IPv6
$ xe pif-reconfigure-ipv6 uuid=<eth1-again> mode=static IPv6=fd00::4/64 gateway=fd00::1
$ call PIF.get_IPv6 "<card>"
["fd00::4/64"]
$ xe pif-reconfigure-ipv6 uuid=<eth1-again> mode=none
$ xe pif-set-primary-address-type uuid=<eth1-again> primary_address_type=ipv6
! The interface has no IPv6 configuration, and this needs one.
! PIF: <eth1-again>
$ xe pif-reconfigure-ip uuid=<eth0> mode=none
! The interface carries the host's management traffic, so this cannot be done with it. Move management elsewhere first.
! PIF: <eth0>
$ sh grep 192.168.5.4 <dir>/state/network
address xenbr1 192.168.5.4/24

# The management interface goes to a port with an address, and is not taken down.
$ xe host-management-reconfigure pif-uuid=<eth1-again>
$ xe pif-list management=true params=device --minimal
eth1
$ xe host-param-get uuid=<host> param-name=address
192.168.5.4
$ xe pif-unplug uuid=<eth1-again>
! The interface carries the host's management traffic, so this cannot be done with it. Move management elsewhere first.
! PIF: <eth1-again>
$ xe pif-forget uuid=<eth1-again>
! The interface carries the host's management traffic, so this cannot be done with it. Move management elsewhere first.
! PIF: <eth1-again>
$ xe pool-management-reconfigure network-uuid=<second>
$ xe host-management-reconfigure pif-uuid=<eth0>
$ xe pif-reconfigure-ip uuid=<eth1-again> mode=none
$ xe host-management-reconfigure pif-uuid=<eth1-again>
! The interface has no IPv4 configuration, and this needs one. Set it to DHCP or a static address.
! PIF: <eth1-again>

# Up and down.
$ xe pif-unplug uuid=<eth1-again>
$ sh ! grep "bridge xenbr1 " <dir>/state/network
$ xe pif-plug uuid=<eth1-again>
$ call PIF.set_disallow_unplug "<card>", true
""
$ xe pif-unplug uuid=<eth1-again>
! The interface is marked as one that must not be unplugged. Allow unplugging first if it is safe.
! PIF: <eth1-again>
$ call PIF.set_disallow_unplug "<card>", false
""

# VLANs.
$ xe network-create name-label=twelve
<twelve>
$ xe network-create name-label=thirteen
<thirteen>
$ call network.get_by_uuid "<twelve>"
"<twelve-ref>"
$ call network.get_by_uuid "<thirteen>"
"<thirteen-ref>"
$ xe vlan-create pif-uuid=<eth1-again> vlan=4095 network-uuid=<twelve>
! The VLAN tag is out of range; use a number from 0 to 4094.
! VLAN: 4095
$ xe vlan-create pif-uuid=<eth1-again> vlan=12 network-uuid=<second>
! The host already has an interface on this network, and it can have only one.
! network: <second> (Pool-wide network associated with eth1)
! connected PIF: <eth1-again>
$ xe vlan-create pif-uuid=<eth1-again> vlan=12 network-uuid=<twelve>
<upper>
$ xe pif-list uuid=<upper> params=device,VLAN,physical,currently-attached
device ( RO)                : eth1
              physical ( RO): false
    currently-attached ( RO): true
                  VLAN ( RO): 12
$ xe vlan-create pif-uuid=<eth1-again> vlan=12 network-uuid=<thirteen>
! A VLAN with this tag exists on the interface already.
! PIF: <upper>
$ xe vlan-create pif-uuid=<upper> vlan=13 network-uuid=<thirteen>
! The interface is itself a VLAN, and this needs an untagged one.
! PIF: <upper>
$ xe pif-forget uuid=<eth1-again>
! VLANs are still built on this interface. Destroy them first.
! PIF: <eth1-again>
$ xe pif-forget uuid=<upper>
! This needs a physical interface, and the one given is virtual, such as a VLAN or bond.
! PIF: <upper>
$ xe vlan-list tag=12 --minimal
<vlan>
$ xe vlan-destroy uuid=<vlan>
$ xe pif-list uuid=<upper>

# The pool's way, with a VLAN behind the port.
$ call pool.create_VLAN_from_PIF "<card>", "<twelve-ref>", 12
["<pool-pif>"]
$ call PIF.get_record "<pool-pif>" | VLAN,physical,currently_attached
{"VLAN": "12", "currently_attached": true, "physical": false}
$ call PIF.get_VLAN_master_of "<pool-pif>"
"<pool-vlan>"
$ call VLAN.get_record "<pool-vlan>" | tag,tagged_PIF,untagged_PIF
{"tag": "12", "tagged_PIF": "<card>", "untagged_PIF": "<pool-pif>"}
$ call PIF.get_VLAN_slave_of "<card>"
["<pool-vlan>"]
$ call PIF.destroy "<card>"
! PIF_IS_PHYSICAL ["<card>"]
$ call PIF.destroy "<pool-pif>"
""
$ call pool.create_VLAN "eth9", "<twelve-ref>", 14
! PIF_DEVICE_NOT_FOUND []
$ call pool.create_VLAN "eth1", "<twelve-ref>", 14
["<older>"]
$ call PIF.create_VLAN "eth1", "<thirteen-ref>", "<host-ref>", 15
"<oldest>"

# A machine on a VLAN keeps it; its network without a port has a bridge while it runs.
$ xe network-create name-label=inner
<inner>
$ xe network-param-get uuid=<inner> param-name=bridge
<inner-bridge>
$ xe vm-install template="Other install media" new-name-label=linked
<vm>
$ xe vif-create vm-uuid=<vm> network-uuid=<twelve> device=0
<vif>
$ xe vif-create vm-uuid=<vm> network-uuid=<inner> device=1
<other-vif>
$ sh ! grep "link <inner-bridge> " <dir>/state/network
$ xe vm-start uuid=<vm>
$ sh grep -c "link <inner-bridge> bridge" <dir>/state/network
1
$ call PIF.destroy "<older>"
! VLAN_IN_USE ["eth1", "14"]
$ call PIF.unplug "<older>"
! VIF_IN_USE ["<twelve-ref>", "<!any>"]

# A bond takes over what its members had.
$ xe network-create name-label=bonded
<bonded>
$ call network.get_by_uuid "<bonded>"
"<bonded-ref>"
$ xe bond-create network-uuid=<bonded> pif-uuids=<eth1-again>
! A bond needs at least two interfaces.
$ xe bond-create network-uuid=<bonded> pif-uuids=<eth0>,<eth1-again> mode=active-backup properties:hashing_algorithm=src_mac
! The value given for this field is not one it can take.
! field: properties
! value: hashing_algorithm = src_mac
$ xe bond-create network-uuid=<bonded> pif-uuids=<eth0>,<eth1-again> mac=11:22:33:44:55:66
! This is not a valid MAC address; write six pairs of hexadecimal digits separated by colons.
! MAC: 11:22:33:44:55:66
$ call Bond.create "<bonded-ref>", ["<eth0-ref>","<older>"], "", "active-backup", {}
! PIF_VLAN_EXISTS ["<older>"]
$ xe bond-create network-uuid=<second> pif-uuids=<eth0>,<eth1-again>
! The host already has an interface on this network, and it can have only one.
! network: <second> (Pool-wide network associated with eth1)
! connected PIF: <eth1-again>
$ xe bond-create network-uuid=<bonded> pif-uuids=<eth0>,<eth1-again> mode=lacp
<bond>
$ xe bond-list uuid=<bond> params=mode,properties,links-up,auto-update-mac
mode ( RO)               : lacp
         properties (MRO): hashing_algorithm: tcpudp_ports; lacp-time: slow; lacp-fallback-ab: true
           links-up ( RO): 2
    auto-update-mac ( RO): true
$ xe pif-list management=true params=device,IP-configuration-mode
device ( RO)                   : bond0
    IP-configuration-mode ( RO): DHCP
$ call PIF.get_record "<older>" | device,VLAN,currently_attached
{"VLAN": "14", "currently_attached": true, "device": "bond0"}
$ xe pif-list device=eth0 params=IP-configuration-mode,management,currently-attached
currently-attached ( RO)       : true
               management ( RO): false
    IP-configuration-mode ( RO): None
$ xe pif-plug uuid=<eth0>
! The interface is a member of a bond and cannot be brought up alone; plug the bond instead.
! PIF: <eth0>
$ xe vlan-create pif-uuid=<eth0> vlan=16 network-uuid=<inner>
! The interface is a member of a bond and cannot carry a VLAN; create the VLAN on the bond.
! PIF: <eth0>
$ xe bond-create network-uuid=<second> pif-uuids=<eth0>,<eth1-again>
! The interface belongs to a bond already and cannot be part of another.
! PIF: <eth0>
$ xe pif-reconfigure-ip uuid=<eth0> mode=dhcp
! The interface belongs to a bond already and cannot be part of another.
! PIF: <eth0>
$ xe bond-set-mode uuid=<bond> mode=balance-slb
$ xe bond-param-get uuid=<bond> param-name=properties
$ sh grep -o "link bond0.*lacp" <dir>/state/network
$ xe bond-destroy uuid=<bond>
$ xe pif-list management=true params=device --minimal
eth0
$ call PIF.get_record "<older>" | device,VLAN
{"VLAN": "14", "device": "eth0"}

# Machines on a member's network go to the bond's.
$ xe vif-create vm-uuid=<vm> network-uuid=<second> device=2
<third>
$ xe vif-plug uuid=<third>
$ xe bond-create network-uuid=<bonded> pif-uuids=<eth0>,<eth1-again> mode=active-backup
<again>
$ call VIF.get_by_uuid "<third>"
"<third-ref>"
$ call VIF.get_network "<third-ref>"
"<bonded-ref>"
$ xe bond-destroy uuid=<again>
$ xe vm-shutdown uuid=<vm> force=true
$ xe vm-uninstall uuid=<vm> force=true
The following items are about to be destroyed
VM : <vm> (linked)
All objects destroyed

# Tunnels: VXLAN over a port with an address.
$ xe tunnel-create pif-uuid=<eth1-again> network-uuid=<bonded> protocol=vxlan
! The tunnel's underlying interface has no IP address; configure one before plugging the tunnel.
! PIF: <eth1-again>
$ xe pif-reconfigure-ip uuid=<eth1-again> mode=static IP=192.168.5.4 netmask=255.255.255.0
$ xe tunnel-create pif-uuid=<eth1-again> network-uuid=<bonded> protocol=gre
! This needs Open vSwitch as the network backend, and the host uses another one.
! ...: GRE among hosts needs Open vSwitch; protocol=vxlan works without
$ xe tunnel-create pif-uuid=<eth1-again> network-uuid=<bonded> protocol=vxlan
<inside>
$ xe tunnel-list params=status,protocol
status ( RO)      : active: true
    protocol ( RO): vxlan
$ xe pif-forget uuid=<eth1-again>
! A tunnel is still built on this interface. Destroy it first.
! PIF: <eth1-again>
$ xe tunnel-list --minimal
<tunnel>
$ xe tunnel-destroy uuid=<tunnel>

# A card's properties.
$ call PIF.set_property "<card>", "gro", "maybe"
! INVALID_VALUE ["value", "maybe"]
$ call PIF.set_property "<card>", "speed", "on"
! INVALID_VALUE ["name", "speed"]
$ call PIF.set_property "<older>", "gro", "off"
! CANNOT_CHANGE_PIF_PROPERTIES ["<older>"]

# The daemon comes back to what the records say.
$ xe pif-unplug uuid=<eth1-again>
$ kill
$ xe pif-list device=eth1 params=currently-attached --minimal
false
$ xe host-management-disable
$ xe pif-list management=true
