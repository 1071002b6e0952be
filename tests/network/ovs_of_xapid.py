#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""ovs_of_xapid.py -- a daemon with --network=ovs, alone with an Open vSwitch in namespaces of its own."""

import os
import sys
import threading

import host_of_xapid
from host_of_xapid import Lost, Report, World, XapiError, addresses, sh
from ovs import Switch, get, no_offload, ports


def first_start(w):
    pif = w.c("PIF.get_record", w.pif("eth0"))
    w.report.check(pif["management"] and pif["IP"] == "192.0.2.10" and ports("xenbr0") == ["eth0"] and addresses("xenbr0") == ["192.0.2.10/24"],
                   "a first start makes bridges of Open vSwitch, with the addresses of the cards", pif, sh("ovs-vsctl show; ip addr"))
    w.report.check(w.is_reached("192.0.2.10"), "and the host is reached there")
    w.report.check(w.c("host.get_software_version", w.host)["network_backend"] == "openvswitch", "the record of the host says which backend it has")


def vlans(w):
    card = w.pif("eth1")
    w.c("PIF.reconfigure_ip", card, "None", "", "", "", "")
    network = w.network("five")
    bridge = w.c("network.get_bridge", network)
    tagged = w.c("VLAN.get_untagged_PIF", w.c("VLAN.create", card, 5, network))
    w.report.check(ports(bridge) == ["eth1.5-in"] and get("Port", "eth1.5", "tag") == "5" and w.c("PIF.get_currently_attached", tagged),
                   "a VLAN is a pair of patch ports", sh("ovs-vsctl show"))
    w.c("PIF.unplug", card)
    w.report.check(ports(bridge) == ["eth1.5-in"] and ports("xenbr1") == ["eth1", "eth1.5"], "it outlives the unplugging of what it is on", sh("ovs-vsctl show"))
    w.c("PIF.plug", card)


def tunnels(w):
    network = w.network("tunnelled")
    tunnel = w.c("tunnel.create", w.pif("eth0"), network, "gre")
    w.report.check(w.c("tunnel.get_protocol", tunnel) == "gre" and w.c("network.get_bridge", network) in sh("ovs-vsctl list-br"),
                   "a GRE tunnel can be made", sh("ovs-vsctl show"))
    w.c("tunnel.destroy", tunnel)


def while_called(w, *call):
    """A call that changes the management interface, while somebody calls at its address all the time; what it returns."""
    outcome = []

    def change():
        try:
            outcome.append(w.daemon.client()(*call))
        except (XapiError, Lost) as e:
            outcome.append(e)
    thread = threading.Thread(target=change)
    thread.start()
    while thread.is_alive():
        w.from_peer("192.0.2.10", "host.get_all")
    thread.join()
    return outcome[0]


def bonds(w):
    network = w.network("both")
    bond = while_called(w, "Bond.create", network, [w.pif("eth0"), w.pif("eth1")], "", "balance-slb", {})
    bridge = w.c("network.get_bridge", network)
    w.report.check(ports(bridge)[0] == "bond0" and get("Port", "bond0", "bond_mode") == "balance-slb" and addresses(bridge) == ["192.0.2.10/24"],
                   "a bond that shares its load takes the management interface and the VLAN with it", sh("ovs-vsctl show; ip addr"))
    w.report.check(get("Port", "bond0.5", "tag") == "5" and "bond0.5" in ports(bridge), "a VLAN goes along", sh("ovs-vsctl show"))
    w.report.check(w.is_reached("192.0.2.10"), "and the host is reached over it", sh("ovs-appctl bond/show"))
    while_called(w, "Bond.destroy", bond)
    w.report.check("bond0" not in sh("ovs-vsctl show") and ports("xenbr0") == ["eth0", "eth0.5"] and w.is_reached("192.0.2.10"), "without it the VLAN is on its first card", sh("ovs-vsctl show"))


class Guest(host_of_xapid.Guest):
    """As with the kernel's bridges; a port of Open vSwitch is there before its machine runs, as Xen sees to it."""

    def flows(self):
        return sh(f"ovs-ofctl --no-stats dump-flows {self.bridge}", check=False)

    def start(self):
        c = self.w.c
        self.bridge = c("network.get_bridge", self.network)
        c("VIF.set_locking_mode", self.vif, "unlocked")
        c("VM.start", self.vm, False, False)
        domid = int(c("VM.get_domid", self.vm))
        c("VM.hard_shutdown", self.vm)
        c("VIF.set_locking_mode", self.vif, "locked")
        self.device = f"vif{domid + 1}.0"
        for device, space, mac, address in ((self.device, "guest", self.MAC, "1"), ("other0", "other", "00:16:3e:00:01:02", "2")):
            sh(f"ip link add {device} type veth peer name eth0 address {mac} netns {space}; ip link set {device} up; ip -n {space} link set eth0 up;"
               f"ip -n {space} addr add 10.5.0.{address}/24 dev eth0; ovs-vsctl --timeout=20 add-port {self.bridge} {device}")
            no_offload("eth0", namespace=space)
        sh("ip -n guest addr add 10.5.0.99/24 dev eth0")
        c("VM.start", self.vm, False, False)
        assert f"vif{c('VM.get_domid', self.vm)}.0" == self.device


def guarded(w, switch):
    """What a machine's interface may send is what its record says."""
    g = Guest(w)
    g.start()
    w.report.check(g.say() == (True, False), "a machine whose VIF is locked speaks for itself only", g.flows())
    sh("ip -n guest link set eth0 address 00:16:3e:00:01:77")
    w.report.check(not g.passes("10.5.0.1"), "and not with another MAC", g.flows())
    sh(f"ip -n guest link set eth0 address {g.MAC}")
    w.c("VIF.add_ipv4_allowed", g.vif, "10.5.0.99")
    w.report.check(g.say() == (True, True), "an address that is added while it runs passes at once", g.flows())
    w.c("VIF.set_ipv4_allowed", g.vif, ["10.5.0.99"])
    w.report.check(g.say() == (False, True), "one that is taken away does not", g.flows())
    w.c("VIF.set_locking_mode", g.vif, "disabled")
    w.report.check(g.say() == (False, False), "of a VIF that is disabled nothing passes", g.flows())
    w.c("VIF.set_locking_mode", g.vif, "unlocked")
    w.report.check(g.say() == (True, True) and g.flows().count("actions") == 1, "of one that is unlocked everything, and it has no flows", g.flows())
    w.c("VIF.set_locking_mode", g.vif, "locked")
    w.c("VIF.unplug", g.vif)
    w.report.check(g.flows().count("actions") == 1, "one that is unplugged has no flows", g.flows())
    w.c("VIF.plug", g.vif)
    w.report.check(g.say() == (False, True) and "hard_timeout" not in g.flows(), "plugged in again it is guarded", g.flows())
    w.c("VIF.unplug", g.vif)
    sh(f"ovs-vsctl --timeout=20 del-port {g.device}")
    e = w.refused("VIF.plug", g.vif)
    w.report.check(e and "is no port of a bridge" in e.params[-1] and not w.c("VIF.get_currently_attached", g.vif) and g.flows().count("actions") == 1,
                   "one that does not become a port is not plugged in", e, g.flows())
    sh(f"ovs-vsctl --timeout=20 add-port {g.bridge} {g.device}")
    w.c("VIF.plug", g.vif)
    w.daemon.kill()
    w.report.check(g.say() == (False, True), "flows outlive the daemon", g.flows())
    sh(f"ovs-ofctl del-flows {g.bridge}; ovs-ofctl add-flow {g.bridge} priority=0,actions=NORMAL")
    w.daemon.start()
    w.c.login()
    w.report.check(g.say() == (False, True), "a daemon that starts puts flows back that were flushed", g.flows())
    sh(f"ovs-ofctl del-flows {g.bridge}; ovs-ofctl add-flow {g.bridge} priority=0,actions=NORMAL")
    w.report.check(host_of_xapid.until(lambda: "0x78617069" in g.flows(), 60) and g.say() == (False, True), "and so does one that runs", g.flows())
    switch.daemon.kill()
    e = w.refused("VIF.set_locking_mode", g.vif, "disabled")
    w.report.check(e and e.code == "PIF_CONFIGURATION_ERROR" and "does not take the flows" in e.params[-1] and w.c("VIF.get_locking_mode", g.vif) == "locked",
                   "a change that cannot be put into force is refused, and the record is as before", e, w.c("VIF.get_record", g.vif))
    switch.daemon.start()
    sh("ovs-vsctl --timeout=60 --retry set Open_vSwitch . external_ids:back=true")
    w.report.check(host_of_xapid.until(lambda: "0x78617069" in g.flows(), 60) and g.say() == (False, True), "a switch that starts anew gets its flows again", g.flows())
    w.c("VM.hard_shutdown", g.vm)
    w.report.check(host_of_xapid.until(lambda: g.flows().count("actions") == 1, 60), "flows of a domain that is gone go", g.flows())
    sh(f"ovs-vsctl --timeout=20 del-port {g.device} -- del-port other0; ip link del {g.device}; ip link del other0")


def killed(w):
    """kill -9 between the host's change and its record, and one with ovs-vswitchd dead: the start brings the host back to its records."""
    with open(os.path.join(w.daemon.state, "faults"), "w") as f:
        f.write("host_network/applied kill\n")
    network = w.network("six")
    try:
        w.c("VLAN.create", w.pif("eth1"), 6, network)
    except Lost:
        pass
    w.daemon.wait_end()
    made = "eth1.6" in sh("ovs-vsctl show")
    os.unlink(os.path.join(w.daemon.state, "faults"))
    w.daemon.start()
    w.c.login()
    w.report.check(made and "eth1.6" not in ports("xenbr1") and w.is_reached("192.0.2.10"), "killed after a VLAN was made and before that was recorded, there is none",
                   sh("ovs-vsctl show"))


def dead_switch(w, switch):
    switch.daemon.kill()
    e = w.refused("VLAN.create", w.pif("eth1"), 7, w.network("seven"))
    w.report.check(e and "ovs-vswitchd" in e.params[-1], "where ovs-vswitchd is dead a change fails and says so", e)
    switch.server.kill()
    e = w.refused("VLAN.create", w.pif("eth1"), 7, w.network("seven"))
    w.report.check(e and "ovsdb-server is not there" in e.params[-1], "where ovsdb-server is, too", e)
    switch.server.start()
    switch.daemon.start()
    sh("ovs-vsctl --timeout=60 --retry set Open_vSwitch . external_ids:back=true")
    w.c("VLAN.create", w.pif("eth1"), 7, w.network("seven"))
    w.report.check(get("Port", "eth1.7", "tag") == "7", "once they are back it can be made", sh("ovs-vsctl show"))


def main():
    report = Report()
    if not os.environ.get("XAPID_ALONE"):
        os.environ["XAPID_ALONE"] = "1"
        os.execvp("unshare", ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private", sys.executable, *sys.argv])
    sh("mount -t proc proc /proc")
    host_of_xapid.make_world()
    no_offload("lan", "p0", "p1")
    switch = Switch()
    parts = (first_start, vlans, tunnels, bonds, lambda w: guarded(w, switch), killed, lambda w: dead_switch(w, switch))
    sys.exit(host_of_xapid.run_parts(World(report, "ovs"), report, parts))


if __name__ == "__main__":
    main()
