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
    sh("ip addr add 192.0.2.10/24 dev eth0; ip route add default via 192.0.2.1")


class World:
    def __init__(self, report):
        self.report = report
        self.daemon = Daemon(faults=True, args=["--network", "linux", "--network-trial", str(TRIAL), "--listen", "0.0.0.0"])
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


def main():
    report = Report()
    if not os.environ.get("XAPID_ALONE"):
        os.environ["XAPID_ALONE"] = "1"
        os.execvp("unshare", ["unshare", "--net", "--mount", "--propagation", "private", sys.executable, *sys.argv])
    make_world()
    w = World(report)
    for part in (first_start, scan, vlan, cut_off, moved, caller_goes_on, killed, other_port):
        try:
            part(w)
        except (AssertionError, XapiError, Lost, RuntimeError) as e:
            report.fail(f"{part.__name__} goes through", repr(e), w.daemon.log_tail(15))
    w.daemon.close()
    sys.exit(report.done())


if __name__ == "__main__":
    main()
