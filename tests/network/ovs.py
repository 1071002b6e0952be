#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""ovs.py [--short] [TEST]...: plans done on a real Open vSwitch, each test with an ovsdb-server and an ovs-vswitchd of its own.

Its datapath is the one in user space (netdev), for which the kernel needs no module: packets are real.  A test is a
function; it runs as a child with new namespaces for network, mounts and processes.
"""

import json
import os
import socket
import subprocess
import sys

import linux
from linux import HERE, MANAGED, TOOL, addresses, host, ip, link, ping, sh, state, tool, wait

RUN = "/run/openvswitch"
DATABASE = f"{RUN}/conf.db"
TESTS = []
SHORT = "--short" in sys.argv  # not each step, but some
os.environ["NET_OVS"] = "1"


def test(fn):
    TESTS.append(fn)
    return fn


# ---- Open vSwitch ----

def no_offload(*devices, namespace="peer"):
    """What they send has its checksum: the datapath in user space does not fill it in."""
    code = ("import array, fcntl, socket, struct, sys\ns = socket.socket()\nfor d in sys.argv[1:]:\n"
            " v = array.array('B', struct.pack('II', 0x17, 0))\n fcntl.ioctl(s, 0x8946, struct.pack('16sP16x', d.encode(), v.buffer_info()[0]))")
    subprocess.run(["ip", "netns", "exec", namespace, sys.executable, "-c", code, *devices], check=True)


class Daemon:
    def __init__(self, *argv):
        self.argv = argv
        self.start()

    def start(self):
        self.child = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill(self):
        self.child.kill()
        self.child.wait()


# What comes to a card is Open vSwitch's affair alone, as with its datapath in the kernel: here the kernel would answer it too.
ALONE = """table inet alone { chain input { type filter hook input priority 0; iifname "eth*" drop; }; }
table arp alone { chain input { type filter hook input priority 0; iifname "eth*" drop; }; }
"""


class Switch:
    def __init__(self):
        os.makedirs(RUN)
        with open("/run/alone", "w") as f:
            f.write(ALONE)
        sh("nft -f /run/alone")
        sh(f"ovsdb-tool create {DATABASE} /usr/share/openvswitch/vswitch.ovsschema")
        self.server = Daemon("ovsdb-server", f"--remote=punix:{RUN}/db.sock", f"--log-file={RUN}/server.log", "--pidfile", "--no-chdir", DATABASE)
        wait(lambda: os.path.exists(f"{RUN}/db.sock"), "ovsdb-server")
        sh("ovs-vsctl --no-wait init -- set Open_vSwitch . external_ids:xapid-datapath=netdev")
        self.daemon = Daemon("ovs-vswitchd", f"unix:{RUN}/db.sock", f"--log-file={RUN}/switch.log", "--pidfile", "--no-chdir", "--disable-system")
        sh("ovs-vsctl --timeout=60 set Open_vSwitch . other_config:n-handler-threads=1 other_config:n-revalidator-threads=1")


def get(table, name, column):
    return sh(f"ovs-vsctl --timeout=20 get {table} {name} {column}").strip()


def ports(bridge):
    return sorted(sh(f"ovs-vsctl --timeout=20 list-ports {bridge}").split())


def apply(wanted):
    return linux.apply(wanted)


def refused(wanted, what):
    said, good = tool("apply", wanted=wanted)
    assert not good and what in said, said
    return said


# ---- tests ----

@test
def a_card_and_its_addresses_move_to_a_bridge():
    host()
    Switch()
    apply(MANAGED)
    assert ports("xenbr0") == ["eth0"], ports("xenbr0")
    assert link("xenbr0")["address"] == "00:16:3e:00:00:00"
    assert get("Bridge", "xenbr0", "fail_mode") == "standalone"
    assert addresses("xenbr0") == ["192.0.2.10/24", "2001:db8::10/64"], addresses("xenbr0")
    assert addresses("eth0") == []
    routes = {(r["dst"], r.get("gateway"), r["dev"]) for r in ip("route") + ip("-6 route")}
    for wanted in (("default", "192.0.2.1", "xenbr0"), ("default", "2001:db8::1", "xenbr0"), ("198.51.100.0/24", "192.0.2.7", "xenbr0")):
        assert wanted in routes, (wanted, routes)
    assert ping("192.0.2.10", "peer") and ping("2001:db8::1")


OTHERS = "card eth1 bridge xenbr1 mtu 2000\nbridge xenbr1 mtu 2000 v4 203.0.113.9/24\n"
EVERYTHING = MANAGED + """card eth1
card eth2
bond bond0 of eth1,eth2 mode lacp fast bridge xapi0 updelay 31000 downdelay 200
bridge xapi0 mtu 1600
vlan 5 on bond0 bridge xapi1 mtu 1600
bridge xapi1 mtu 1600 v4 10.5.0.1/24
vlan 6 on eth0 bridge xapi2
bridge xapi2
gre tunnel0 id 7 local 192.0.2.10 peers 192.0.2.11,192.0.2.12 bridge xapi3 mtu 1400
bridge xapi3 mtu 1400
vxlan tunnel1 id 8 local 192.0.2.10 bridge xapi4 mtu 1400
bridge xapi4 mtu 1400
"""


def differences(a, b):
    return [s for s in a + b if (s in a) != (s in b)]


@test
def what_is_undone_is_as_before():
    host(3)
    Switch()
    before = state()
    said, good = tool("undo", wanted=EVERYTHING)
    assert good, said
    assert state() == before, differences(before, state())
    assert sh("ovs-vsctl list-br") == "" and "xapid-link" not in sh("ovs-vsctl list Open_vSwitch")


@test
def each_step_that_fails_leaves_the_state_as_before():
    host(3)
    Switch()
    apply(OTHERS)
    before = state()
    steps = len(tool("plan", wanted=EVERYTHING)[0].splitlines())
    assert steps > 50, steps
    for n in range(1, steps + 1, 7 if SHORT else 1):
        said, good = tool("refuse", n, wanted=EVERYTHING)
        assert not good and f"(step {n} of {steps})" in said and "failed too" not in said, said
        assert state() == before, (n, differences(before, state()))


@test
def after_a_death_at_any_step_a_new_plan_arrives():
    host(3)
    sh("ip route del 198.51.100.0/24")  # nobody but the kernel knows of it, and it is away for a moment
    Switch()
    steps, goal = len(tool("plan", wanted=EVERYTHING)[0].splitlines()), None
    for n in range(1, steps, 11 if SHORT else 2):
        tool("apply", n, wanted=EVERYTHING)
        apply(EVERYTHING)
        now = [s for s in state() if not s.startswith(("link xapi3", "link xapi4"))]  # whose MACs are chosen at random
        goal = goal or now
        assert now == goal, (n, differences(goal, now))
        apply(MANAGED)


@test
def one_that_is_killed_is_followed_by_one_that_arrives():
    host(3)
    Switch()
    with open("/run/wanted", "w") as f:
        f.write(EVERYTHING)
    for n in range(1, 40, 9 if SHORT else 2):
        child = subprocess.Popen([TOOL, "apply", "/run/wanted"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                 env={**os.environ, "NET_RESOLV": "/run/resolv.conf", "NET_RUN": "/run/net"})
        # The database counts the changes: killed once it has come so far, wherever in its step that is.
        start = int(get("Open_vSwitch", ".", "next_cfg"))
        wait(lambda: int(get("Open_vSwitch", ".", "next_cfg")) >= start + n or child.poll() is not None, "change")
        child.kill()
        child.wait()
        apply(EVERYTHING)
        assert get("Port", "bond0", "lacp") == "active" and ports("xapi3") == ["tunnel0-192.0.2.11", "tunnel0-192.0.2.12"]
        apply(MANAGED)
        assert ports("xenbr0") == ["eth0"] and sh("ovs-vsctl list-br").split() == ["xenbr0"]


@test
def vlans_carry_their_tag_and_nothing_else():
    host(1)
    Switch()
    apply(MANAGED + "vlan 5 on eth0 bridge xapi1\nbridge xapi1 v4 10.5.0.1/24\nvlan 6 on eth0 bridge xapi2\nbridge xapi2\n")
    assert ports("xenbr0") == ["eth0", "eth0.5", "eth0.6"] and ports("xapi1") == ["eth0.5-in"]
    assert get("Port", "eth0.5", "tag") == "5" and get("Interface", "eth0.5", "type") == "patch"
    sh("ip link add peer0 type veth peer name p9 netns peer; ip link set peer0 up; ip -n peer link set p9 up")
    # The peer's side of the wire is a second Open vSwitch bridge: what tags it sees is what is on the wire.
    sh("ip -n peer link set p0 nomaster; ip -n peer link set p0 netns 1; ip link set p0 up;"
       "ovs-vsctl --timeout=20 add-br wire -- set bridge wire datapath_type=netdev -- add-port wire p0"
       " -- add-port wire in5 tag=5 -- set interface in5 type=internal -- add-port wire in6 tag=6 -- set interface in6 type=internal")
    sh("ip netns add five; ip netns add six; ip link set in5 netns five; ip link set in6 netns six;"
       "ip -n five addr add 10.5.0.2/24 dev in5; ip -n five link set in5 up; ip -n six addr add 10.5.0.3/24 dev in6; ip -n six link set in6 up")
    assert ping("10.5.0.1", "five") and ping("10.5.0.2"), sh("ovs-vsctl show; ovs-appctl fdb/show xapi1")
    assert os.system("ip netns exec six busybox ping -q -c 1 -W 2 10.5.0.1 >/dev/null 2>&1") != 0, "another VLAN's packets pass"
    sh("ovs-vsctl --timeout=20 set port eth0.5 tag=6")
    assert "eth0.5" in tool("plan", wanted=MANAGED + "vlan 5 on eth0 bridge xapi1\nbridge xapi1 v4 10.5.0.1/24\n")[0]
    apply(MANAGED + "vlan 5 on eth0 bridge xapi1\nbridge xapi1 v4 10.5.0.1/24\n")
    assert get("Port", "eth0.5", "tag") == "5" and ports("xenbr0") == ["eth0", "eth0.5"] and ping("10.5.0.1", "five"), "what somebody changed is put right"
    sh("ovs-vsctl --timeout=20 del-port eth0")
    apply(MANAGED + "vlan 5 on eth0 bridge xapi1\nbridge xapi1 v4 10.5.0.1/24\n")
    assert ping("10.5.0.1", "five"), "a card that was taken out of its bridge is put into it again, and its VLANs go on"
    apply(MANAGED)
    assert ports("xenbr0") == ["eth0"] and sh("ovs-vsctl list-br").split() == ["wire", "xenbr0"]


@test
def bonds_have_their_mode_and_outlive_a_cable():
    host(2)
    Switch()
    bond = "card eth0\ncard eth1\nbond bond0 of eth0,eth1 mode {} bridge xapi0 updelay 100\nbridge xapi0 management default v4 192.0.2.10/24 gw4 192.0.2.1\n"
    for mode, is_mode, lacp, time in (("balance-slb", "balance-slb", "off", ""), ("lacp", "balance-tcp", "active", "slow"),
                                      ("lacp hash src_mac fast", "balance-slb", "active", "fast"), ("active-backup", "active-backup", "off", "")):
        said = apply(bond.format(mode))
        assert "note" not in said, said
        found = [get("Port", "bond0", c) for c in ("bond_mode", "lacp", "bond_updelay")]
        assert found == [is_mode, lacp, "100"], found
        assert time in get("Port", "bond0", "other_config"), time
    assert ports("xapi0") == ["bond0"] and ping("192.0.2.1"), sh("ovs-vsctl show")
    active = 0 if "(eth0)" in sh("ovs-appctl bond/show bond0") else 1
    sh(f"ip -n peer link set p{active} down")
    wait(lambda: f"(eth{1 - active})" in sh("ovs-appctl bond/show bond0"), "change of members")
    assert ping("192.0.2.1"), sh("ovs-appctl bond/show bond0")
    apply(MANAGED + "card eth1\n")
    assert ports("xenbr0") == ["eth0"] and "bond0" not in sh("ovs-vsctl show")


@test
def tunnels_have_many_ends_and_pass_nothing_from_one_to_another():
    host(1)
    Switch()
    for kind in ("gre", "vxlan"):
        wanted = MANAGED + f"{kind} tunnel0 id 77 local 192.0.2.10 peers 192.0.2.11,192.0.2.12 bridge xapi1 mtu 1400\nbridge xapi1 mtu 1400\n"
        apply(wanted)
        assert ports("xapi1") == ["tunnel0-192.0.2.11", "tunnel0-192.0.2.12"]
        assert get("Port", "tunnel0-192.0.2.11", "protected") == "true"
        options = get("Interface", "tunnel0-192.0.2.12", "options")
        assert options == '{key="77", local_ip="192.0.2.10", remote_ip="192.0.2.12"}' and get("Interface", "tunnel0-192.0.2.12", "type") == kind, options
        steps = tool("plan", wanted=wanted.replace(",192.0.2.12", ",192.0.2.13"))[0]
        assert steps.count("\n") == 2 and "add the end 192.0.2.13" in steps, steps
        apply(wanted.replace(",192.0.2.12", ",192.0.2.13"))
        assert ports("xapi1") == ["tunnel0-192.0.2.11", "tunnel0-192.0.2.13"]
        apply(MANAGED)


class Other:
    """Another host: a namespace with an Open vSwitch of its own, that is told what is wanted."""

    def __init__(self, name, number):
        sh(f"ip netns add {name}; ip link add t0 type veth peer name t{number} netns peer; ip link set t0 netns {name} name eth0;"
           f"ip -n peer link set t{number} master lan up; ip -n {name} link set lo up; ip -n {name} link set eth0 up")
        self.child = subprocess.Popen(["ip", "netns", "exec", name, sys.executable, __file__, "--host"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def apply(self, wanted):
        self.child.stdin.write(json.dumps(wanted) + "\n")
        self.child.stdin.flush()
        assert self.child.stdout.readline() == "done\n"

    @staticmethod
    def serve():
        sh("mount -t tmpfs none /run")
        Switch()
        for line in sys.stdin:
            apply(json.loads(line))
            print("done", flush=True)


@test
def three_hosts_share_a_network_over_tunnels():
    host(1)
    Switch()
    others = {"20": Other("two", "20"), "30": Other("three", "30")}
    for kind in ("vxlan", "gre"):
        for n in ("10", *others):
            peers = ",".join(f"192.0.2.{m}" for m in ("10", "20", "30") if m != n)
            wanted = (f"card eth0 bridge xenbr0\nbridge xenbr0 v4 192.0.2.{n}/24\n"
                      f"{kind} tunnel0 id 77 local 192.0.2.{n} peers {peers} bridge xapi1 mtu 1400\nbridge xapi1 mtu 1400 v4 10.77.0.{n}/24\n")
            (others[n].apply if n in others else apply)(wanted)
        for here, there in (("", "20"), ("", "30"), ("two", "30")):
            assert ping(f"10.77.0.{there}", here), (kind, here, there, sh("ovs-vsctl show; ovs-appctl tnl/neigh/show; ovs-appctl ovs/route/show"))


@test
def guests_and_what_is_not_ours_stay():
    host()
    Switch()
    sh("ovs-vsctl --timeout=20 add-br lab -- set bridge lab datapath_type=netdev; ip link add d0 type veth peer name d1; ip link set d0 up;"
       "ovs-vsctl --timeout=20 add-port lab d0 tag=9")
    before = sh("ovs-vsctl list bridge lab; ovs-vsctl list port d0")
    apply(MANAGED)
    sh("ip netns add g1; ip link add vif1.0 type veth peer name eth0 netns g1; ip link set vif1.0 up; ip -n g1 link set eth0 up;"
       "ip -n g1 addr add 192.0.2.77/24 dev eth0; ovs-vsctl --timeout=20 add-port xenbr0 vif1.0")
    apply(MANAGED)
    assert ports("xenbr0") == ["eth0", "vif1.0"] and ping("192.0.2.77", "peer") and ping("192.0.2.10", "g1")
    assert "master xenbr0" in next(s for s in state() if s.startswith("link vif1.0 "))
    refused(MANAGED.replace("eth0", "d0"), "it is in lab, which was not made here")
    apply("")
    assert ports("xenbr0") == ["vif1.0"], "a bridge with a guest's interface is gone"
    sh("ovs-vsctl del-port vif1.0")
    apply("")
    assert sh("ovs-vsctl list-br") == "lab\n"
    assert sh("ovs-vsctl list bridge lab; ovs-vsctl list port d0") == before


@test
def a_host_that_had_bridges_of_linux_changes_over():
    host()
    del os.environ["NET_OVS"]
    apply(MANAGED + "vxlan tunnel0 id 5 local 192.0.2.10 peers 192.0.2.11 bridge xapi1\nbridge xapi1\n")
    os.environ["NET_OVS"] = "1"
    Switch()

    def kept():
        return [s for s in state() if not s.startswith("link tunnel0")]  # whose MAC is chosen at random

    before = kept()
    said, good = tool("undo", wanted=MANAGED)
    assert good and kept() == before and link("tunnel0")["master"] == "xapi1", (said, differences(before, kept()))
    apply(MANAGED)
    assert ports("xenbr0") == ["eth0"] and not ip("link show type bridge") and ping("192.0.2.1")
    sh("ip link add docker0 type bridge")
    refused(MANAGED + "bridge docker0\n", "there is another device of that name, which was not made here")


@test
def a_server_that_is_dead_is_told_and_nothing_has_changed():
    host()
    switch = Switch()
    apply(MANAGED)
    switch.server.kill()
    refused(MANAGED + OTHERS, "ovsdb-server is not there")
    switch.server.start()
    wait(lambda: "xenbr0" in sh("ovs-vsctl --timeout=5 list-br", check=False), "ovsdb-server")
    before = state()
    switch.daemon.kill()
    said = refused(MANAGED + OTHERS, "ovs-vswitchd does not do it in time, or does not run")
    assert "(step" in said or "could not be read" in said, said
    switch.daemon.start()
    apply(MANAGED)  # which waits for it
    assert state() == before, differences(before, state())
    apply(MANAGED + OTHERS)
    assert ports("xenbr1") == ["eth1"]


@test
def what_ovs_refuses_is_told_with_its_reason():
    host()
    Switch()
    apply(MANAGED)
    before = state()
    # A port of that name is there already, in somebody else's bridge.
    sh("ovs-vsctl --timeout=20 add-br lab -- set bridge lab datapath_type=netdev -- add-port lab bond0 -- set interface bond0 type=patch options:peer=nobody")
    said = refused("card eth0\ncard eth1\nbond bond0 of eth0,eth1 bridge xapi0\nbridge xapi0 v4 192.0.2.10/24\n", "ovsdb-server refuses the change")
    assert "constraint violation" in said and "bond0" in said and "taken back" in said and "failed too" not in said, said
    sh("ovs-vsctl --timeout=20 del-br lab")
    assert state() == before, differences(before, state())


# ---- guests' interfaces ----

SPEAK = """
import socket, sys, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("eth0", 0))
for frame in sys.argv[1:]:
    s.send(bytes.fromhex(frame).ljust(60, bytes(1)))
"""
HEAR = """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.bind(("eth0", 0))
s.settimeout(60)
print("ready", flush=True)
last = bytes.fromhex(sys.argv[1])
while True:
    frame, where = s.recvfrom(2000)
    if where[2] != 4:  # not what this machine sends itself
        print(frame.hex(), flush=True)
    if frame[:len(last)] == last:
        break
"""
MACS = {1: "00163e000101", 2: "00163e000102"}
TAG = "81000005"
LAST = "00163e000102" + "00163e000909" + "88b5"


def guests(bridge, n, first=1):
    """Namespaces g1, g2, ... whose eth0 is vif1.0, vif2.0, ... in the bridge."""
    for i in range(first, first + n):
        sh(f"ip netns add g{i}; ip link add vif{i}.0 type veth peer name eth0 address 00:16:3e:00:01:0{i} netns g{i}; ip link set vif{i}.0 up;"
           f"ip -n g{i} link set eth0 up; ip -n g{i} addr add 10.5.0.{i}/24 dev eth0; ip -n g{i} addr add 2001:db8:5::{i}/64 dev eth0 nodad")
        no_offload("eth0", namespace=f"g{i}")
        sh(f"echo 1 >/proc/sys/net/ipv6/conf/vif{i}.0/disable_ipv6")  # or this machine's own kernel speaks to the guest
        sh(f"ovs-vsctl --timeout=20 add-port {bridge} vif{i}.0")


def guard(*words, when="", bridge=""):
    os.environ.update({"NET_FLOWS": when} if when else {}, **({"NET_BRIDGE": bridge} if bridge else {}))
    said, good = tool("guard", *words)
    for name in ("NET_FLOWS", "NET_BRIDGE"):
        os.environ.pop(name, None)
    assert good, said


def reaches(here, address):
    return os.system(f"ip netns exec g{here} busybox ping -q -c 1 -W 1 {address} >/dev/null 2>&1") == 0


def forget_neighbours(*numbers):
    for i in numbers:
        sh(f"ip -n g{i} neigh flush all")


def packed(text):
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def checksum(data):
    total = sum(int.from_bytes(data[i:i + 2].ljust(2, b"\0"), "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return (0xffff - total).to_bytes(2, "big")


def ethernet(kind, data, mac=MACS[1], tag=""):
    return MACS[2] + mac + tag + kind + data.hex()


def arp(mac, address, operation=1, **more):
    return ethernet("0806", bytes.fromhex(f"000108000604000{operation}" + mac) + packed(address) + bytes.fromhex(MACS[2]) + packed("10.5.0.2"), **more)


def udp(source, ports, **more):
    datagram = ports[0].to_bytes(2, "big") + ports[1].to_bytes(2, "big") + b"\0\x0c\0\0mine"
    head = b"\x45\0" + (20 + len(datagram)).to_bytes(2, "big") + b"\0\0\0\0\x40\x11"
    ends = packed(source) + packed("10.5.0.2")
    return ethernet("0800", head + checksum(head + b"\0\0" + ends) + ends + datagram, **more)


def icmp6(source, kind, data, **more):
    ends = packed(source) + packed("2001:db8:5::2")
    body = bytes([kind, 0]) + checksum(ends + (4 + len(data)).to_bytes(4, "big") + b"\0\0\0\x3a" + bytes([kind, 0, 0, 0]) + data) + data
    return ethernet("86dd", b"\x60\0\0\0" + len(body).to_bytes(2, "big") + b"\x3a\xff" + ends + body, **more)


def neighbour(source, kind, target, mac=None):
    option = bytes([1 if kind == 135 else 2, 1]) + bytes.fromhex(mac) if mac else b""
    return icmp6(source, kind, b"\x60\0\0\0" + packed(target) + option)


def heard(*frames):
    """Which of the frames that guest 1 sends guest 2 hears.  One of another machine comes last, and everything in the order it was sent in."""
    ear = subprocess.Popen(["ip", "netns", "exec", "g2", sys.executable, "-c", HEAR, LAST], stdout=subprocess.PIPE, text=True)
    assert ear.stdout.readline() == "ready\n"
    sh(f"ip netns exec g1 {sys.executable} -c '{SPEAK}' {' '.join(frames)}")
    sh(f"ip netns exec g3 {sys.executable} -c '{SPEAK}' {LAST}")
    got = ear.stdout.read().split()
    assert ear.wait() == 0
    return [any(g.startswith(f.replace(TAG, "")) for g in got) for f in frames]  # what hears is not shown the tag


OWN = ("vif1.0", "00:16:3e:00:01:01", "10.5.0.1", "2001:db8:5::1", "fe80::1")


@test
def a_locked_guest_speaks_only_for_itself():
    Switch()
    apply("bridge xapi0\n")
    guests("xapi0", 3)
    assert ping("10.5.0.2", "g1") and ping("2001:db8:5::2", "g1")
    me, other = MACS[1], "00163e000177"
    good = {
        "own address": udp("10.5.0.1", (1000, 2000)),
        "asking for a lease": udp("0.0.0.0", (68, 67)),
        "ARP": arp(me, "10.5.0.1"),
        "probe of ARP": arp(me, "0.0.0.0"),
        "own IPv6 address": icmp6("2001:db8:5::1", 128, b"\0\1\0\2"),
        "advertisement of its own": neighbour("2001:db8:5::1", 136, "fe80::1", me),
        "solicitation": neighbour("fe80::1", 135, "2001:db8:5::2", me),
        "search for duplicates": neighbour("::", 135, "fe80::7"),
        "solicitation of routers": icmp6("fe80::1", 133, b"\0\0\0\0"),
    }
    bad = {
        "another MAC": udp("10.5.0.1", (1000, 2000), mac=other),
        "another kind of packet": ethernet("88b6", b"mine"),
        "a tag": udp("10.5.0.1", (1000, 2001), tag=TAG),
        "ARP with a tag": arp(me, "10.5.0.1", tag=TAG, operation=2),
        "another address": udp("10.5.0.9", (1000, 2000)),
        "no address": udp("0.0.0.0", (1000, 2000)),
        "a lease for others": udp("0.0.0.0", (67, 68)),
        "ARP for another address": arp(me, "10.5.0.9"),
        "ARP with another MAC within": arp(other, "10.5.0.1"),
        "another IPv6 address": icmp6("2001:db8:5::9", 128, b"\0\1\0\2"),
        "no IPv6 address": icmp6("::", 128, b"\0\1\0\2"),
        "advertisement of another address": neighbour("2001:db8:5::1", 136, "2001:db8:5::9", me),
        "advertisement of another MAC": neighbour("2001:db8:5::1", 136, "2001:db8:5::1", other),
        "advertisement from another address": neighbour("2001:db8:5::9", 136, "2001:db8:5::1", me),
        "solicitation from another address": neighbour("2001:db8:5::9", 135, "2001:db8:5::2", me),
        "solicitation with another MAC within": neighbour("fe80::1", 135, "2001:db8:5::2", other),
        "advertisement of a router": icmp6("fe80::1", 134, bytes(12)),
        "redirection": icmp6("fe80::1", 137, bytes(36)),
    }

    def passing():
        return {name for name, passes in zip([*good, *bad], heard(*good.values(), *bad.values())) if passes}

    assert passing() == {*good, *bad}, "what is tested does not even pass unguarded: " + str({*good, *bad} - passing())
    guard("locked", *OWN)
    assert passing() == set(good), (passing() ^ set(good), sh("ovs-ofctl dump-flows xapi0"))
    forget_neighbours(1, 2)
    assert ping("10.5.0.2", "g1") and ping("2001:db8:5::2", "g1") and ping("10.5.0.1", "g2"), "it cannot even speak for itself"
    guard("locked", *OWN, "10.5.0.9")
    assert heard(udp("10.5.0.9", (1, 2)), udp("10.5.0.8", (1, 2))) == [True, False], "of an address that was added"
    guard("shut", *OWN)
    forget_neighbours(1, 2)
    assert passing() == set() and not reaches(2, "10.5.0.1"), "of one that is shut"
    before = sh("ip -s -n g1 link show eth0 | sed -n 4p")
    os.system("ip netns exec g2 busybox ping -q -c 3 -W 1 10.5.0.1 >/dev/null")
    assert sh("ip -s -n g1 link show eth0 | sed -n 4p") == before, "something still comes to one that is shut"
    guard("open", *OWN)
    assert passing() == {*good, *bad}, {*good, *bad} - passing()
    forget_neighbours(1, 2)  # what was not its own has been believed
    assert ping("10.5.0.1", "g2"), sh("ovs-ofctl show xapi0")
    assert sh("ovs-ofctl --no-stats dump-flows xapi0").strip() == "priority=0 actions=NORMAL", sh("ovs-ofctl dump-flows xapi0")


@test
def flows_of_others_stay_and_hold():
    Switch()
    apply("bridge xapi0\n")
    guests("xapi0", 3)
    sh("ovs-ofctl add-flow xapi0 cookie=7,priority=65535,udp,tp_dst=2000,actions=drop")
    guard("locked", *OWN)
    assert heard(udp("10.5.0.1", (1, 2)), udp("10.5.0.1", (1, 2000))) == [True, False], "a flow of somebody else does not hold"
    guard("locked", "vif2.0", "00:16:3e:00:01:02", "10.5.0.2")
    flows = sh("ovs-ofctl --no-stats dump-flows xapi0")
    guard("locked", *OWN)
    assert sorted(flows.splitlines()) == sorted(sh("ovs-ofctl --no-stats dump-flows xapi0").splitlines())
    guard("open", "vif1.0")
    guard("open", "vif2.0")
    left = sh("ovs-ofctl --no-stats dump-flows xapi0")
    assert left.count("actions") == 2 and "tp_dst=2000" in left and "NORMAL" in left, left
    for words in (("vif1.0;", "00:16:3e:00:01:01"), ("vif1.0", "00:16:3e:00:01"), ("vif1.0", "00:16:3e:00:01:01", "10.5.0.1/24"), ("vif70000.0", "00:16:3e:00:01:01"),
                  ("eth0", "00:16:3e:00:01:01")):
        said, good = tool("guard", "locked", *words)
        assert not good and "PIF_CONFIGURATION_ERROR" in said, said


@test
def a_port_that_comes_is_guarded_from_its_first_packet_on():
    Switch()
    apply("bridge xapi0\n")
    guests("xapi0", 2, first=2)
    guard("locked", *OWN, when="before", bridge="xapi0")
    guard("shut", "vif7.0", "00:16:3e:00:01:07", when="before", bridge="xapi0")
    assert ping("10.5.0.3", "g2"), "those that are there are kept from speaking"
    guests("xapi0", 1)
    guard("shut", "vif8.0", "00:16:3e:00:01:08", when="before", bridge="xapi0")  # which does not take the one that has come for one that may speak
    frames = udp("10.5.0.1", (1, 2)), udp("10.5.0.9", (1, 2))
    assert heard(*frames) == [False, False], sh("ovs-ofctl dump-flows xapi0")
    guard("locked", *OWN, when="plugged", bridge="xapi0")
    assert heard(*frames) == [True, False], sh("ovs-ofctl dump-flows xapi0")
    for device in ("vif7.0", "vif8.0"):
        guard("open", device)
    assert "hard_timeout" not in sh("ovs-ofctl dump-flows xapi0")
    os.environ["NET_FLOWS"] = "plugged"
    said, good = tool("guard", "locked", "vif9.0", "00:16:3e:00:01:09")
    del os.environ["NET_FLOWS"]
    assert not good and "vif9.0" in said and "is no port" in said, said


@test
def a_switch_that_is_dead_is_told_where_flows_are_to_be_set():
    switch = Switch()
    apply("bridge xapi0\n")
    guests("xapi0", 1)
    switch.daemon.kill()
    said, good = tool("guard", "locked", *OWN)
    assert not good and "does not take the flows of guests' interfaces" in said and "xapi0" in said, said
    switch.server.kill()
    said, good = tool("guard", "locked", *OWN)
    assert not good and "ovsdb-server is not there" in said, said


# ---- running them ----

def inside(name):
    """In the new namespaces."""
    sh("mount -t proc proc /proc; mount -t sysfs none /sys; mount -t tmpfs none /run; mkdir /run/netns")
    next(t for t in TESTS if t.__name__ == name)()


def main():
    words = [w for w in sys.argv[1:] if w != "--short"]
    if words[:1] == ["--inside"]:
        inside(words[1])
        return
    if words == ["--host"]:
        Other.serve()
        return
    sys.exit(linux.run_each(TESTS, words, __file__, ["--pid", "--fork", "--kill-child"], ["--short"] if SHORT else []))


if __name__ == "__main__":
    main()
