#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""host_of_xapid.py -- a daemon with --network=linux, alone in a network namespace: what it does to the kernel, and what it takes back.

Two veths are the cards of a host, eth0 with its address; behind them, in the namespace "peer", is the rest of the world.
"""

import json
import os
import subprocess
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
from daemon import PASSWORDS, Daemon, Lost, XapiError, until  # noqa: E402
from report import Report  # noqa: E402

TRIAL = 20  # seconds; a change that must be taken back waits for all of it
CALL = """
import ssl, sys, http.client, xmlrpc.client
address, port, method, *words = sys.argv[1:]
context = ssl._create_unverified_context()
class Transport(xmlrpc.client.SafeTransport):
    def make_connection(self, host):
        return http.client.HTTPSConnection(host, timeout=float({timeout}), context=context)
x = xmlrpc.client.ServerProxy("https://%s:%s/" % (address, port), transport=Transport())
session = x.session.login_with_password("root", {password!r})["Value"]
answer = getattr(x, method)(session, *words)
print(answer.get("Value") if answer["Status"] == "Success" else answer["ErrorDescription"])
"""


def sh(command, check=True):
    done = subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if check and done.returncode:
        raise AssertionError(f"{command}: {done.stdout}")
    return done.stdout


def addresses(device):
    found = json.loads(sh(f"ip -j addr show dev {device} 2>/dev/null", check=False) or "[]")
    return sorted(f"{a['local']}/{a['prefixlen']}" for link in found for a in link["addr_info"] if a["family"] == "inet")


def bridge_of(device):
    return json.loads(sh(f"ip -j link show dev {device}"))[0].get("master")


def make_world():
    sh("mount -t tmpfs none /run; mkdir -p /run/netns; echo 'nameserver 192.0.2.1' >/run/resolv.conf; mount --bind /run/resolv.conf /etc/resolv.conf")
    sh("ip netns add peer; ip link set lo up; ip -n peer link set lo up; ip -n peer link add lan type bridge; ip -n peer link set lan up;"
       "ip -n peer addr add 192.0.2.1/24 dev lan")
    for i in range(2):
        sh(f"ip link add eth{i} address 00:16:3e:00:00:0{i + 1} type veth peer name p{i} netns peer; ip link set eth{i} up;"
           f"ip -n peer link set p{i} master lan up")
    sh("ip addr add 192.0.2.10/24 dev eth0; ip route add default via 192.0.2.1; ip addr add 198.51.100.4/25 dev eth1")


class World:
    def __init__(self, report, backend="linux"):
        self.report = report
        self.daemon = Daemon(faults=True, args=["--network", backend, "--network-trial", str(TRIAL), "--listen", "0.0.0.0"])
        self.c = self.daemon.client()
        self.host = self.c("host.get_all")[0]

    def from_peer(self, address, method, *words, timeout=5):
        """A call from another machine, with a login of its own; what it answers, or None where there is no answer."""
        done = subprocess.run(["ip", "netns", "exec", "peer", sys.executable, "-c", CALL.format(timeout=timeout, password=PASSWORDS["root"]), address,
                               str(self.daemon.tls_port), method, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.stdout.strip() if done.returncode == 0 else None

    def is_reached(self, address):
        return bool(until(lambda: self.from_peer(address, "host.get_all"), 60))

    def pif(self, device):
        return next(r for r, p in self.c("PIF.get_all_records").items() if p["device"] == device and p["VLAN"] == "-1")

    def network(self, name):
        return self.c("network.create", {"name_label": name, "name_description": "", "MTU": 1500, "other_config": {}, "bridge": "", "managed": True,
                                         "tags": []})

    def refused(self, *call):
        try:
            self.c(*call)
        except XapiError as e:
            return e
        return None


def first_start(w):
    pif = w.c("PIF.get_record", w.pif("eth0"))
    w.report.check(pif["management"] and pif["IP"] == "192.0.2.10" and pif["ip_configuration_mode"] == "Static" and pif["gateway"] == "192.0.2.1",
                   "a first start finds the cards, and the management address where it is", pif)
    w.report.check(bridge_of("eth0") == "xenbr0" and addresses("xenbr0") == ["192.0.2.10/24"] and not addresses("eth0"),
                   "the address is on a bridge then", sh("ip addr"))
    w.report.check(w.is_reached("192.0.2.10"), "and the host is reached there")
    pif = w.c("PIF.get_record", w.pif("eth1"))
    w.report.check((pif["management"], pif["ip_configuration_mode"], pif["IP"], pif["netmask"], pif["gateway"]) ==
                   (False, "Static", "198.51.100.4", "255.255.255.128", "") and addresses("xenbr1") == ["198.51.100.4/25"] and not addresses("eth1"),
                   "the address of another card stays too, on its bridge", pif, sh("ip addr"))


def scan(w):
    sh("ip link add eth2 type veth peer name p2 netns peer")
    w.c("PIF.scan", w.host)
    w.report.check(bridge_of("eth2") == "xenbr2", "a card that has come is found by a scan, and gets a bridge", sh("ip link"))


def vlan(w):
    network, card = w.network("five"), w.pif("eth1")
    bridge = w.c("network.get_bridge", network)
    if not os.system("ip link add link eth1 name probe type vlan id 9 2>/dev/null && ip link del probe"):
        w.c("VLAN.create", card, 5, network)
        w.report.check(bridge_of("eth1.5") == bridge, "a VLAN is a link on the card, in a bridge")
        return
    e = w.refused("VLAN.create", card, 5, network)
    w.report.check(e and e.code == "PIF_CONFIGURATION_ERROR" and "vlan" in e.params[1] and not w.c("VLAN.get_all") and not addresses(bridge)
                   and bridge not in sh("ip link"), "a VLAN that the kernel cannot make is refused with the reason, and nothing is left", e)


def cut_off(w):
    """Nobody calls at the new address: the host goes back."""
    e = w.refused("PIF.reconfigure_ip", w.pif("eth0"), "Static", "198.51.100.9", "255.255.255.0", "", "")
    w.report.check(e and "nobody reached" in e.params[-1], "a management address that nobody reaches is taken back", e)
    w.report.check(addresses("xenbr0") == ["192.0.2.10/24"] and w.c("PIF.get_IP", w.pif("eth0")) == "192.0.2.10" and w.is_reached("192.0.2.10"),
                   "the host is reached as before", sh("ip addr"))
    names = [m["name"] for m in w.c("message.get_all_records").values()]
    w.report.check("MANAGEMENT_CHANGE_REVERTED" in names, "and a message says so", names)


def moved(w):
    """Somebody calls at the new address: it stays."""
    outcome = []

    def change():
        try:
            w.daemon.client()("PIF.reconfigure_ip", w.pif("eth0"), "Static", "192.0.2.11", "255.255.255.0", "192.0.2.1", "192.0.2.1")
            outcome.append(None)
        except (XapiError, Lost) as e:
            outcome.append(e)
    thread = threading.Thread(target=change)
    thread.start()
    reached = w.is_reached("192.0.2.11")
    thread.join()
    w.report.check(reached and outcome == [None] and addresses("xenbr0") == ["192.0.2.11/24"] and w.c("host.get_address", w.host) == "192.0.2.11",
                   "a management address at which somebody calls stays", outcome, sh("ip addr"))


def caller_goes_on(w):
    """The caller's own connection goes on, so nobody else need call."""
    said = w.from_peer("192.0.2.11", "PIF.reconfigure_ip", w.pif("eth0"), "Static", "192.0.2.11", "255.255.255.0", "192.0.2.2", "192.0.2.1", timeout=TRIAL * 3)
    network = w.c("PIF.get_network", w.pif("eth0"))
    w.report.check(said == "", "a change that leaves its caller's connection alone needs no other witness", said)
    w.c("network.set_MTU", network, 1400)
    said = w.from_peer("192.0.2.11", "PIF.plug", w.pif("eth0"), timeout=TRIAL * 3)
    w.report.check(said == "" and "mtu 1400" in sh("ip link show xenbr0"), "also where the way itself changes", said, sh("ip link"))


def killed(w):
    """kill -9 between the host's change and its record: the start brings the host back to its records."""
    with open(os.path.join(w.daemon.state, "faults"), "w") as f:
        f.write("host_network/applied kill\n")
    try:
        w.c("PIF.reconfigure_ip", w.pif("eth0"), "Static", "198.51.100.9", "255.255.255.0", "", "")
    except Lost:
        pass
    w.daemon.wait_end()
    cut = addresses("xenbr0") == ["198.51.100.9/24"]
    os.unlink(os.path.join(w.daemon.state, "faults"))
    w.daemon.start()
    w.c.login()
    w.report.check(cut and addresses("xenbr0") == ["192.0.2.11/24"] and w.is_reached("192.0.2.11"),
                   "killed after the host was changed and before that was recorded, it is reached as recorded", cut, sh("ip addr"))


def other_port(w):
    """The management interface goes to another card."""
    other = w.pif("eth1")
    sh("ip -n peer addr add 203.0.113.1/24 dev lan")
    w.c("PIF.reconfigure_ip", other, "Static", "203.0.113.5", "255.255.255.0", "203.0.113.1", "")
    said = w.from_peer("203.0.113.5", "host.management_reconfigure", other, timeout=TRIAL * 3)
    w.report.check(said == "" and w.c("PIF.get_management", other) and w.c("host.get_address", w.host) == "203.0.113.5"
                   and "via 203.0.113.1 dev xenbr1" in sh("ip route show default"), "the management interface moves to another card, with the way out", said,
                   sh("ip route"))
    w.c("host.management_disable")
    w.report.check(w.from_peer("203.0.113.5", "host.get_all") is None and w.c("host.get_all"), "disabled, it is spoken to from here only")


class Guest:
    """A machine of the simulator whose interface is one of a namespace: what it sends is what is sent there."""

    MAC = "00:16:3e:00:01:01"

    def __init__(self, w):
        self.w, c = w, w.c
        self.network = w.network("guests")
        self.vm = c("VM.clone", c("VM.get_by_name_label", "Other install media")[0], "guarded")
        c("VM.provision", self.vm)
        self.vif = c("VIF.create", {"device": "0", "network": self.network, "VM": self.vm, "MAC": self.MAC, "MTU": 1500, "other_config": {},
                                    "qos_algorithm_type": "", "qos_algorithm_params": {}, "locking_mode": "locked", "ipv4_allowed": ["10.5.0.1"],
                                    "ipv6_allowed": []})
        sh("ip netns add guest; ip netns add other")

    def start(self):
        self.w.c("VM.start", self.vm, False, False)
        self.device = f"vif{self.w.c('VM.get_domid', self.vm)}.0"
        bridge = self.w.c("network.get_bridge", self.network)
        for device, space, mac, address in ((self.device, "guest", self.MAC, "1"), ("other0", "other", "00:16:3e:00:01:02", "2")):
            sh(f"ip link del {device} 2>/dev/null; ip link add {device} type veth peer name eth0 address {mac} netns {space}; ip link set {device} master {bridge} up;"
               f"ip -n {space} link set eth0 up; ip -n {space} addr add 10.5.0.{address}/24 dev eth0")
        sh("ip -n guest addr add 10.5.0.99/24 dev eth0")

    @staticmethod
    def passes(address):
        """Whether the other machine answers to it."""
        sh("ip -n guest neigh flush all; ip -n other neigh flush all")
        return os.system(f"ip netns exec guest busybox ping -q -c 1 -W 1 -I {address} 10.5.0.2 >/dev/null 2>&1") == 0

    def say(self):
        """What of its own, and of an address that is not its own, passes."""
        return self.passes("10.5.0.1"), self.passes("10.5.0.99")


def rules():
    return sh("nft list table bridge xapid", check=False)


def guarded(w):
    """What a machine's interface may send is what its record says."""
    g = Guest(w)
    w.report.check("chain" not in rules(), "where nobody is guarded there are no rules", rules())
    g.start()
    w.report.check(g.say() == (True, False), "a machine whose VIF is locked speaks for itself only", rules())
    w.report.check(rules().count(f'"{g.device}-emu" : jump') == 2, "so does its emulated card", rules())
    sh("ip -n guest link set eth0 address 00:16:3e:00:01:77")
    w.report.check(not g.passes("10.5.0.1"), "and not with another MAC")
    sh(f"ip -n guest link set eth0 address {g.MAC}")
    w.c("VIF.add_ipv4_allowed", g.vif, "10.5.0.99")
    w.report.check(g.say() == (True, True), "an address that is added while it runs passes at once", rules())
    w.c("VIF.set_ipv4_allowed", g.vif, ["10.5.0.99"])
    w.report.check(g.say() == (False, True), "one that is taken away does not", rules())
    w.c("VIF.set_locking_mode", g.vif, "disabled")
    w.report.check(g.say() == (False, False), "of a VIF that is disabled nothing passes", rules())
    w.c("VIF.set_locking_mode", g.vif, "unlocked")
    w.report.check(g.say() == (True, True) and g.device not in rules(), "of one that is unlocked everything, and it has no rules", rules())
    w.c("VIF.set_locking_mode", g.vif, "network_default")
    w.report.check(g.say() == (True, True), "so of one that follows its network")
    w.c("VIF.set_locking_mode", g.vif, "locked")
    w.c("VIF.unplug", g.vif)
    w.report.check(g.device not in rules(), "one that is unplugged has no rules", rules())
    w.c("VIF.plug", g.vif)
    w.report.check(g.say() == (False, True), "plugged in again it is guarded", rules())


def guarded_again(w):
    """The rules after a new start of the machine, of the daemon, and after somebody has flushed them."""
    vm = w.c("VM.get_by_name_label", "guarded")[0]
    old = f"vif{w.c('VM.get_domid', vm)}.0"
    w.c("VM.hard_reboot", vm)
    new = f"vif{w.c('VM.get_domid', vm)}.0"
    w.report.check(new != old and f"from_{new}" in rules(), "a new domain's interface is guarded under its new name", rules())
    w.daemon.kill()
    sh(f"nft flush chain bridge xapid from_{new}")
    w.daemon.start()
    w.c.login()
    w.report.check("10.5.0.99" in rules() and f'"{new}"' in rules() and f'"{old}"' not in rules(),
                   "a daemon that starts puts rules back that were flushed, and forgets those of a domain that is gone", rules())
    w.c("network.set_default_locking_mode", w.c("VIF.get_network", w.c("VM.get_VIFs", vm)[0]), "disabled")
    w.c("VIF.set_locking_mode", w.c("VM.get_VIFs", vm)[0], "network_default")
    chain = sh(f"nft list chain bridge xapid from_{new}")
    w.report.check("drop" in chain and "accept" not in chain, "a VIF that follows its network is shut where that says so", chain)
    w.c("VM.hard_shutdown", vm)


def run_parts(w, report, parts):
    """One after the other in the same world; the exit status."""
    for part in parts:
        try:
            part(w)
        except (AssertionError, XapiError, Lost, RuntimeError) as e:
            report.fail(f"{part.__name__} goes through", repr(e), w.daemon.log_tail(15))
    w.daemon.close()
    return report.done()


def main():
    report = Report()
    if not os.environ.get("XAPID_ALONE"):
        os.environ["XAPID_ALONE"] = "1"
        os.execvp("unshare", ["unshare", "--net", "--mount", "--propagation", "private", sys.executable, *sys.argv])
    make_world()
    sys.exit(run_parts(World(report), report, (first_start, scan, vlan, guarded, guarded_again, cut_off, moved, caller_goes_on, killed, other_port)))


if __name__ == "__main__":
    main()
