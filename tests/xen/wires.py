# SPDX-License-Identifier: LGPL-2.1-or-later
"""wires.py -- a guest behind real VLANs and bonds: the kernel's bridges, or Open vSwitch, in dom0; a card is pulled.

The host has four cards; eth1, eth2 and eth3 are in one network.  eth3 is given to a neighbour, a namespace in dom0, which has an
address without a tag and one with the tag 5.
"""

import json
import re
import socket

from host import Guest, Host, until
from shell import Shell

NUMBER = 204
TAG = 5
PLAIN, TAGGED = "10.99.0", f"10.99.{TAG}"  # the guest is .61 there, the neighbour .1
PINGS, INTERVAL = 120, 0.1
LOST = 1.0  # seconds; at most so long nothing arrives after a card is pulled
NEIGHBOUR = f"""ip link del xenbr0; ip netns add neighbour && ip link set eth3 netns neighbour && ip -n neighbour link set lo up &&
    ip -n neighbour link set eth3 up && ip -n neighbour link add link eth3 name tagged type vlan id {TAG} && ip -n neighbour link set tagged up &&
    ip -n neighbour addr add {PLAIN}.1/24 dev eth3 && ip -n neighbour addr add {TAGGED}.1/24 dev tagged"""


def pull(host, card, away=True):
    """A card's cable, at the machine's back."""
    name = {"eth1": "hosts", "eth2": "more1"}[card]
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(f"{host.folder}/qmp")
        f = s.makefile("rw")
        f.readline()
        for command in ({"execute": "qmp_capabilities"}, {"execute": "set_link", "arguments": {"name": name, "up": not away}}):
            f.write(json.dumps(command) + "\n")
            f.flush()
            answer = json.loads(f.readline())
            while "event" in answer:
                answer = json.loads(f.readline())
            if "error" in answer:
                raise RuntimeError(f"set_link {name}: {answer['error']}")


class Wired:
    """A host of one backend, and the guest behind its wires."""

    def __init__(self, report, backend):
        self.report, self.backend = report, backend
        self.host = Host(f"wires-{backend}", NUMBER, cards=2)
        self.guest = None

    def begin(self):
        h = self.host
        h.boot()
        h.dom0(NEIGHBOUR)
        if self.backend == "ovs":
            h.dom0("modprobe openvswitch && /usr/share/openvswitch/scripts/ovs-ctl start --system-id=random")
        h.install(f"--network {self.backend}")

    def check(self, ok, text, *more):
        self.report.check(ok, f"{self.backend}: {text}", *more, *(() if ok else (self.state(),)))

    def state(self):
        look = "ovs-vsctl show; ovs-appctl bond/show" if self.backend == "ovs" else "bridge link; cat /proc/net/bonding/*"
        return self.host.dom0(f"ip -br addr; {look}", check=False) + self.host.log()[-1500:]

    def pif(self, device):
        return self.host.ask("pif-list", f"device={device}", "VLAN=-1", "--minimal")

    def run(self, command):
        with Shell(self.guest) as shell:
            return shell.run(command)

    def connect(self):
        """Its interface may have been unplugged and plugged again."""
        until(lambda: "eth0" in self.run("ls /sys/class/net"), 60, 1)
        self.run(f"ip link set eth0 up; for n in {TAGGED} {PLAIN}; do ip addr add $n.61/24 dev eth0; done")

    def passes(self, net):
        return " 0% packet loss" in self.run(f"ping -c 2 -W 5 {net}.1")

    def arrives(self):
        """What the guest says to the tagged neighbour arrives, once all have found their way."""
        return until(lambda: self.passes(TAGGED), 60, 1)

    # -- a VLAN --

    def vlan(self):
        h = self.host
        network = h.ask("network-create", "name-label=five")
        h.ask("vlan-create", f"network-uuid={network}", f"pif-uuid={self.pif('eth1')}", f"vlan={TAG}")
        self.guest = Guest(h, "wired", "pvh", "")
        h.ask("vif-create", f"vm-uuid={self.guest.vm}", f"network-uuid={network}", "device=0", "mac=00:16:3e:77:00:62")
        self.guest.do("start")
        self.check(self.guest.ready() >= 0, "a guest starts on a VLAN", self.guest.said()[-1500:])
        self.connect()
        self.check(self.arrives(), "it reaches who has the tag")
        self.check(not self.passes(PLAIN), "and nobody who has none")

    # -- a bond --

    def bond(self):
        h = self.host
        network = h.ask("network-create", "name-label=both")
        bond = h.ask("bond-create", f"network-uuid={network}", f"pif-uuids={self.pif('eth1')},{self.pif('eth2')}", "mode=active-backup")
        self.connect()
        self.check(self.arrives(), "a bond takes the VLAN with it, and the guest that is on it")
        for _ in range(2):
            self.card_is_pulled(self.active())
        h.ask("bond-set-mode", f"uuid={bond}", "mode=balance-slb")
        self.connect()
        self.check(self.arrives(), "it goes on where the bond shares its load")
        h.ask("bond-destroy", f"uuid={bond}")
        self.connect()
        self.check(self.arrives(), "and on the first card when the bond is gone")

    def active(self):
        """The card that carries."""
        if self.backend == "ovs":
            said = self.host.dom0("ovs-appctl bond/show bond0")
            return re.search(r"member (\w+): enabled\n\s+active member", said)[1]
        return self.host.dom0("cat /sys/class/net/bond0/bonding/active_slave").strip()

    def card_is_pulled(self, card):
        with Shell(self.guest) as shell:
            shell.send(f"ping -i {INTERVAL} -c {PINGS} -W 2 {TAGGED}.1")
            shell.says("seq=20 ")
            pull(self.host, card)
            said = shell.says(r"(\d+) packets transmitted, (\d+) packets received")
        lost = (int(said[1]) - int(said[2])) * INTERVAL
        self.check(self.active() != card and lost <= LOST, f"the card that carries is pulled: the other one goes on within {LOST} s", f"{card}: {lost:.1f} s")
        self.report.note(f"{self.backend}: {card} is pulled: {lost:.1f} s lost")
        pull(self.host, card, away=False)
        self.check(until(self.is_well, 120, 1), "a card that is back is there for the next time")

    def is_well(self):
        """Both carry, or could; a card that is back waits for its updelay."""
        if self.backend == "ovs":
            return len(re.findall(r"member \w+: enabled", self.host.dom0("ovs-appctl bond/show bond0"))) == 2
        return self.host.dom0("cat /proc/net/bonding/bond0").count("MII Status: up") == 3

    # -- the end --

    def end(self):
        self.host.end()


def wires(report):
    for backend in ("linux", "ovs"):
        wired = Wired(report, backend)
        try:
            wired.begin()
            wired.vlan()
            wired.bond()
            wired.guest.remove()
        finally:
            wired.end()
