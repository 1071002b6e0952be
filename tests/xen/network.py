# SPDX-License-Identifier: LGPL-2.1-or-later
"""network.py -- dom0's network is xapid's (--network linux): a host of its own, and a guest that is locked to its addresses."""

from host import Guest, Host, until
from shell import Shell

NUMBER = 203
MAC = "00:16:3e:77:00:61"


class Locked:
    """A guest with an address that it may use, and more."""

    def __init__(self, host, network):
        self.host = host
        self.guest = Guest(host, "locked", "pvh", "")
        self.vif = host.ask("vif-create", f"vm-uuid={self.guest.vm}", f"network-uuid={network}", "device=0", f"mac={MAC}")
        host.ask("vif-param-set", f"uuid={self.vif}", "locking-mode=locked", "ipv4-allowed=10.77.0.61")
        self.guest.do("start")
        self.runs = self.guest.ready() >= 0

    def run(self, command):
        """In its shell, over a console of its own: a daemon that ends takes its consoles with it."""
        with Shell(self.guest) as shell:
            return shell.run(command)

    def connect(self):
        until(lambda: "eth0" in self.run("ls /sys/class/net"), 60, 1)
        self.run("ip link set eth0 up; for n in 61 62; do ip addr add 10.77.0.$n/24 dev eth0; done")

    def passes(self, number):
        """Whether dom0 answers to that address of its."""
        return " 0% packet loss" in self.run(f"ping -c 2 -W 5 -I 10.77.0.{number} 10.77.0.{NUMBER}")


def takes_over(host, report):
    """A first start on a machine with two cards, each with its address."""
    host.dom0(f"ip link del xenbr0; ip addr add 10.77.0.{NUMBER}/24 dev eth1; ip link set eth1 up")
    host.install("--network linux")
    pifs = {p["device"]: (p["IP"], p["management"], p["ip_configuration_mode"]) for p in host.client()("PIF.get_all_records").values()}
    report.check(pifs == {"eth0": ("10.0.2.15", True, "Static"), "eth1": (f"10.77.0.{NUMBER}", False, "Static")},
                 "a host's cards and their addresses are taken over", pifs)
    said = host.dom0("ip -br addr; ip -br link show master xenbr0; ip -br link show master xenbr1")
    report.check("xenbr1" in said and said.count("eth0") == 2 and said.count("eth1") == 2, "each card is in a bridge, and the host is reached as before", said)


def is_locked(locked, report):
    host = locked.host
    report.check(locked.passes(61) and not locked.passes(62), "a locked guest speaks for its own address only", host.dom0("nft list ruleset; ip -br link"))
    host.ask("vif-param-add", f"uuid={locked.vif}", "param-name=ipv4-allowed", "param-key=10.77.0.62")
    report.check(locked.passes(62), "and for one that is added while it runs", host.dom0("nft list ruleset"))
    host.ask("vif-param-set", f"uuid={locked.vif}", "ipv4-allowed=10.77.0.61")
    host.kill("xapid")
    host.dom0("nft flush ruleset")
    host.start()
    report.check(locked.passes(61) and not locked.passes(62), "a daemon that starts puts flushed rules back", host.dom0("nft list ruleset"))
    host.ask("vif-unplug", f"uuid={locked.vif}")
    report.check("vif" not in host.dom0("nft list ruleset"), "an unplugged NIC has no rules", host.dom0("nft list ruleset"))
    host.ask("vif-plug", f"uuid={locked.vif}")
    locked.connect()
    report.check(locked.passes(61) and not locked.passes(62), "plugged in again it is locked")
    host.ask("vif-param-set", f"uuid={locked.vif}", "locking-mode=disabled")
    report.check(not locked.passes(61), "and says nothing where that is disabled", host.dom0("nft list ruleset"))


def network(report):
    host = Host("network", NUMBER)
    host.boot()
    try:
        takes_over(host, report)
        locked = Locked(host, host.ask("network-list", "bridge=xenbr1", "--minimal"))
        report.check(locked.runs, "a guest starts on a network of the host's", locked.guest.said()[-1500:], host.log()[-1500:])
        locked.connect()
        is_locked(locked, report)
        locked.guest.remove()
    finally:
        host.end()
