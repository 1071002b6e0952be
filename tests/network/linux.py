#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""linux.py [TEST]...: plans done on the real kernel, each test in a network namespace of its own.

A test is a function; it runs as a child with new namespaces for network and mounts, where it is root and alone.
"""

import json
import os
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
from daemon import BUILD, until  # noqa: E402
from report import Report  # noqa: E402

TOOL = os.path.join(BUILD, "tests", "network", "network-tool")
MANAGED = """card eth0 bridge xenbr0
bridge xenbr0 management default v4 192.0.2.10/24 gw4 192.0.2.1 v6 2001:db8::10/64 gw6 2001:db8::1
"""
TESTS = []


def test(fn):
    TESTS.append(fn)
    return fn


# ---- the world of a test ----

def sh(command, check=True):
    done = subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if check and done.returncode:
        raise AssertionError(f"{command}: {done.stdout}")
    return done.stdout


def ip(words):
    """What "ip -j" says."""
    return json.loads(sh(f"ip -j {words}") or "[]")


def host(cards=2):
    """Cards, and behind each of them somebody else: a namespace "peer", its ends p0, p1, ... in one bridge with an address."""
    sh("ip netns add peer; ip link set lo up; ip -n peer link add lan type bridge; ip -n peer link set lan up;"
       "ip -n peer addr add 192.0.2.1/24 dev lan; ip -n peer addr add 2001:db8::1/64 dev lan nodad")
    for i in range(cards):
        sh(f"ip link add eth{i} address 00:16:3e:00:00:0{i} type veth peer name p{i} netns peer; ip link set eth{i} up;"
           f"ip -n peer link set p{i} master lan up")
    sh("ip addr add 192.0.2.10/24 dev eth0; ip addr add 2001:db8::10/64 dev eth0 nodad; ip route add default via 192.0.2.1;"
       "ip -6 route add default via 2001:db8::1; ip route add 198.51.100.0/24 via 192.0.2.7")


def tool(*words, wanted=None):
    """(what it prints, whether it went well)."""
    if wanted is not None:
        with open("/run/wanted", "w") as f:
            f.write(wanted)
        words = (words[0], "/run/wanted", *words[1:])
    done = subprocess.run([TOOL, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env={**os.environ, "NET_RESOLV": "/run/resolv.conf", "NET_RUN": "/run/net"})
    if done.returncode not in (0, 1):
        raise AssertionError(f"network-tool {words}: status {done.returncode}: {done.stderr}")
    return done.stdout, done.returncode == 0


def apply(wanted):
    said, good = tool("apply", wanted=wanted)
    assert good, said
    again, _ = tool("plan", wanted=wanted)
    steps = [s for s in again.splitlines() if not s.startswith("note")]
    assert not steps, f"a second plan has steps: {steps}"
    return said


def state():
    """The state, without what a kernel numbers anew and what runs out: sorted lines."""
    lines = tool("read")[0].splitlines()
    return sorted(" ".join(w for w in s.split() if w != "carrier") for s in lines)


def link(name):
    found = ip(f"-d link show dev {name}")
    return found[0] if found else None


def addresses(name):
    return sorted(f"{a['local']}/{a['prefixlen']}" for a in ip(f"addr show dev {name}")[0]["addr_info"] if a["scope"] == "global")


def ping(address, namespace=""):
    where = f"ip netns exec {namespace} " if namespace else ""
    return os.system(f"{where}busybox ping -q -c 1 -W 20 {address} >/dev/null 2>&1") == 0


def wait(condition, what):
    assert until(condition, 60), f"there is no {what}"


# ---- tests ----

@test
def a_card_and_its_addresses_move_to_a_bridge():
    host()
    apply(MANAGED)
    assert link("eth0")["master"] == "xenbr0", link("eth0")
    assert link("xenbr0")["address"] == "00:16:3e:00:00:00"
    assert addresses("xenbr0") == ["192.0.2.10/24", "2001:db8::10/64"], addresses("xenbr0")
    assert addresses("eth0") == []
    routes = {(r["dst"], r.get("gateway"), r["dev"]) for r in ip("route") + ip("-6 route")}
    for wanted in (("default", "192.0.2.1", "xenbr0"), ("default", "2001:db8::1", "xenbr0"), ("198.51.100.0/24", "192.0.2.7", "xenbr0")):
        assert wanted in routes, (wanted, routes)
    assert ping("192.0.2.10", "peer") and ping("2001:db8::1")


@test
def a_connection_survives_the_move():
    host(1)
    server = socket.create_server(("192.0.2.10", 7000))
    client = subprocess.Popen(["ip", "netns", "exec", "peer", sys.executable, "-u", "-c",
                               "import socket,sys\ns=socket.create_connection(('192.0.2.10',7000))\n"
                               "for w in sys.stdin: s.sendall(w.encode()); print(s.recv(100).decode(), end='')"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    connection, _ = server.accept()

    def echo(word):
        client.stdin.write(word + "\n")
        client.stdin.flush()
        assert connection.recv(100).decode() == word + "\n"
        connection.sendall(word.upper().encode() + b"\n")
        assert client.stdout.readline() == word.upper() + "\n"

    echo("before")
    apply(MANAGED)
    echo("after")
    client.stdin.close()
    client.wait()


@test
def what_is_undone_is_as_before():
    host()
    before = state()
    said, good = tool("undo", wanted=MANAGED + "vxlan tunnel0 id 5 local 192.0.2.10 peers 192.0.2.11 bridge xapi1\nbridge xapi1\n"
                      "card eth1 bridge xenbr1 mtu 9000\nbridge xenbr1 mtu 9000\ndns servers 192.0.2.53\n")
    assert good, said
    after = [s for s in state() if s != "dns"]
    assert after == before, [s for s in before + after if (s in before) != (s in after)]


@test
def each_step_that_fails_leaves_the_state_as_before():
    host()
    apply("card eth1 bridge xenbr1\nbridge xenbr1 v4 203.0.113.9/24\n")
    wanted = MANAGED + "card eth1 bridge xapi7 mtu 4000\nbridge xapi7 mtu 4000\nvxlan tunnel0 id 5 local 192.0.2.10 peers 192.0.2.11 bridge xapi1\nbridge xapi1\n"
    before = state()
    steps = len(tool("plan", wanted=wanted)[0].splitlines())
    assert steps > 20, steps
    for n in range(1, steps + 1):
        said, good = tool("refuse", n, wanted=wanted)
        assert not good and f"(step {n} of {steps})" in said and "taken back" in said, said
        assert "failed too" not in said, said
        after = state()
        assert after == before, (n, [s for s in before + after if (s in before) != (s in after)])


@test
def after_a_death_at_any_step_a_new_plan_arrives():
    host()
    sh("ip route del 198.51.100.0/24")  # nobody but the kernel knows of it, and it is away for a moment
    wanted = MANAGED + "card eth1 bridge xenbr1\nbridge xenbr1 v4 203.0.113.9/24\nbridge xapi0\n"
    other = "card eth1 bridge xenbr1\nbridge xenbr1 management default v4 192.0.2.10/24 gw4 192.0.2.1\ncard eth0\n"
    steps = len(tool("plan", wanted=wanted)[0].splitlines())
    goal = None
    for n in range(1, steps):
        tool("apply", n, wanted=wanted)
        apply(wanted)
        now = [s for s in state() if not s.startswith("link xapi0")]  # whose MAC is chosen at random
        goal = goal or now
        assert now == goal, (n, [s for s in goal + now if (s in goal) != (s in now)])
        apply(other)


@test
def vlans_are_made_or_refused_with_the_reason():
    host()
    before = state()
    wanted = MANAGED + "vlan 5 on eth0 bridge xapi1\nbridge xapi1\n"
    if sh("ip link add link eth1 name probe type vlan id 9 2>&1; ip link del probe 2>/dev/null", check=False):
        said, good = tool("apply", wanted=wanted)
        assert not good and 'the module for links of the kind "vlan" is missing' in said and "eth0.5" in said, said
        assert state() == before
        return
    apply(wanted)
    assert link("eth0.5")["master"] == "xapi1"


@test
def bonds_are_made_or_refused_with_the_reason():
    host()
    before = state()
    wanted = "card eth0\ncard eth1\nbond bond0 of eth0,eth1 mode active-backup bridge xapi0\nbridge xapi0 management default v4 192.0.2.10/24 gw4 192.0.2.1\n"
    if sh("ip link add probe type bond 2>&1; ip link del probe 2>/dev/null", check=False):
        said, good = tool("apply", wanted=wanted)
        assert not good and 'the module for links of the kind "bond" is missing' in said and "bond0" in said, said
        assert state() == before
        return
    apply(wanted)
    assert link("eth0")["master"] == "bond0" and ping("192.0.2.1")


@test
def a_card_that_vanishes_is_an_error_and_changes_nothing():
    host()
    apply(MANAGED)
    before = state()
    said, good = tool("apply", wanted=MANAGED + "card eth9 bridge xenbr9\nbridge xenbr9\n")
    assert not good and "there is no such card" in said, said
    assert state() == before


@test
def what_is_not_ours_stays_as_it_is():
    host()
    sh("ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0; ip link add d0 type veth peer name d1;"
       "ip link set d0 master docker0 up; ip link set d1 up; ip link set docker0 up; ip route add 10.9.0.0/16 dev docker0;"
       "ip link add vif1.0 type veth peer name guest; ip link set vif1.0 up")
    names = ("docker0", "d0", "d1")

    def look():
        return json.dumps([ip(f"link show dev {n}") for n in names] + [addresses(n) for n in names] + ip("route show dev docker0"))

    wait(lambda: '"operstate": "UP"' in look(), "link")
    before = look()
    apply(MANAGED)
    sh("ip link set vif1.0 master xenbr0")
    apply(MANAGED)
    assert link("vif1.0")["master"] == "xenbr0"
    apply("")
    assert link("xenbr0"), "a bridge with a guest's interface is gone"
    sh("ip link del vif1.0")
    apply("")
    assert "xenbr0" not in sh("ip link"), "a bridge that nobody wants is still there"
    assert look() == before
    said, good = tool("apply", wanted="bridge docker0\ncard d0 bridge xapi0\nbridge xapi0\n")
    assert good, said  # now a record names it


@test
def a_route_of_somebody_else_is_not_replaced():
    host(1)
    sh("ip link add wlan0 type veth peer name ap; ip link set wlan0 up; ip addr add 10.8.0.2/24 dev wlan0; ip route replace default via 10.8.0.1")
    before = state()
    said, good = tool("apply", wanted=MANAGED)
    assert not good and "the route to 0.0.0.0/0 is on wlan0, which no record names" in said, said
    assert state() == before


@test
def two_hosts_share_a_network_over_vxlan():
    host(1)
    sh("ip netns add two; ip link add t0 type veth peer name t1 netns peer; ip link set t0 netns two name eth0;"
       "ip -n peer link set t1 master lan up; ip -n two link set lo up; ip -n two link set eth0 up; ip -n two addr add 192.0.2.20/24 dev eth0")
    one = MANAGED + "vxlan tunnel0 id 77 local 192.0.2.10 peers 192.0.2.20 bridge xapi1 mtu 1400\nbridge xapi1 mtu 1400 v4 10.77.0.1/24\n"
    apply(one)
    with open("/run/two", "w") as f:
        f.write("card eth0 bridge xenbr0\nbridge xenbr0 v4 192.0.2.20/24\n"
                "vxlan tunnel0 id 77 local 192.0.2.20 peers 192.0.2.10 bridge xapi1 mtu 1400\nbridge xapi1 mtu 1400 v4 10.77.0.2/24\n")
    sh(f"NET_RUN=/run/net2 NET_RESOLV=/run/resolv2 ip netns exec two {TOOL} apply /run/two")
    assert ping("10.77.0.2"), sh("bridge fdb show dev tunnel0")
    apply(one.replace(" peers 192.0.2.20", ""))
    assert "dst" not in sh("bridge fdb show dev tunnel0 | grep 00:00:00:00:00:00 || true")
    apply(one.replace("id 77", "id 78"))
    assert not [s for s in state() if "id 77" in s]


@test
def dhcp_gives_the_bridge_an_address():
    host(1)
    sh("ip addr flush dev eth0; ip route flush dev eth0; : > /run/leases")
    with open("/run/udhcpd.conf", "w") as f:
        f.write("start 192.0.2.100\nend 192.0.2.100\ninterface lan\nlease_file /run/leases\npidfile /run/udhcpd.pid\n"
                "option subnet 255.255.255.0\noption router 192.0.2.1\noption dns 192.0.2.53\noption lease 3600\n")
    server = subprocess.Popen(["ip", "netns", "exec", "peer", "busybox", "udhcpd", "-f", "/run/udhcpd.conf"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wanted = "card eth0 bridge xenbr0\nbridge xenbr0 management default v4 dhcp\n"
    try:
        apply(wanted)
        wait(lambda: "192.0.2.100/24" in addresses("xenbr0"), "lease")
        wait(lambda: "default" in sh("ip route"), "default route")
        assert tool("plan", wanted=wanted)[0] == ""
        pid = sh("cat /run/dhcpcd/xenbr0-4.pid").strip()
        sh(f"kill -9 {pid}")
        wait(lambda: "start DHCP" in tool("plan", wanted=wanted)[0], "plan to start another client")
        apply(wanted)
        wait(lambda: "192.0.2.100/24" in addresses("xenbr0") and "default" in sh("ip route"), "lease again")
        apply("card eth0 bridge xenbr0\nbridge xenbr0 management default v4 192.0.2.100/24 gw4 192.0.2.1\n")
        assert addresses("xenbr0") == ["192.0.2.100/24"] and ping("192.0.2.1")
        assert not os.path.exists("/run/dhcpcd/xenbr0-4.pid"), "the client still runs"
    finally:
        tool("apply", wanted="card eth0 bridge xenbr0\nbridge xenbr0\n")
        server.terminate()
        server.wait()


@test
def name_servers_are_written_and_other_lines_kept():
    with open("/run/resolv.conf", "w") as f:
        f.write("# mine\nnameserver 192.0.2.1\noptions rotate\nsearch a.example\n")
    apply("dns servers 192.0.2.2,2001:db8::2 domains b.example,c.example\n")
    with open("/run/resolv.conf") as f:
        assert f.read() == "search b.example c.example\nnameserver 192.0.2.2\nnameserver 2001:db8::2\n# mine\noptions rotate\n"
    apply("dns\n")
    assert sh("cat /run/resolv.conf") == "# mine\noptions rotate\n"


@test
def widths_are_kept_whatever_is_plugged():
    host()
    apply(MANAGED.replace("bridge xenbr0\n", "bridge xenbr0 mtu 9000\n").replace("bridge xenbr0 m", "bridge xenbr0 mtu 9000 m"))
    assert link("eth0")["mtu"] == link("xenbr0")["mtu"] == 9000
    sh("ip link add vif1.0 type veth peer name guest; ip link set vif1.0 up master xenbr0")
    assert link("xenbr0")["mtu"] == 9000
    apply(MANAGED)
    assert link("eth0")["mtu"] == link("xenbr0")["mtu"] == 1500


def guests(bridge, n):
    """Guests' namespaces g1, g2, ... whose eth0 is vif1.0, vif2.0, ... in the bridge."""
    for i in range(1, n + 1):
        sh(f"ip netns add g{i}; ip link add vif{i}.0 type veth peer name eth0 address 00:16:3e:00:01:0{i} netns g{i};"
           f"ip link set vif{i}.0 master {bridge} up; ip -n g{i} link set eth0 up; ip -n g{i} addr add 10.5.0.{i}/24 dev eth0;"
           f"ip -n g{i} addr add 2001:db8:5::{i}/64 dev eth0 nodad")


def guard(*words):
    said, good = tool("guard", *words)
    assert good, said


def reaches(here, address):
    return os.system(f"ip netns exec g{here} busybox ping -q -c 1 -W 1 {address} >/dev/null 2>&1") == 0


def forget_neighbours(*numbers):
    for i in numbers:
        sh(f"ip -n g{i} neigh flush all")


@test
def a_locked_guest_speaks_only_for_itself():
    apply("bridge xapi0\n")
    guests("xapi0", 2)
    assert ping("10.5.0.2", "g1") and ping("2001:db8:5::2", "g1")
    own = ("vif1.0", "00:16:3e:00:01:01", "10.5.0.1", "2001:db8:5::1")
    guard("locked", *own)
    forget_neighbours(1, 2)
    assert ping("10.5.0.2", "g1") and ping("2001:db8:5::2", "g1"), "it cannot even speak for itself"
    sh("ip -n g1 addr add 10.5.0.99/24 dev eth0; ip -n g1 addr add 2001:db8:5::99/64 dev eth0 nodad")
    assert not reaches(1, "-I 10.5.0.99 10.5.0.2"), "another IPv4 address passes"
    assert not reaches(1, "-I 2001:db8:5::99 2001:db8:5::2"), "another IPv6 address passes"
    forget_neighbours(1, 2)
    assert not reaches(2, "10.5.0.99"), "it says it has another IPv4 address"
    assert not reaches(2, "2001:db8:5::99"), "it says it has another IPv6 address"
    guard("locked", *own, "10.5.0.99", "2001:db8:5::99")
    forget_neighbours(1, 2)
    assert ping("10.5.0.99", "g2") and ping("2001:db8:5::99", "g2"), "an address that was added does not pass"
    sh("ip -n g1 link set eth0 address 00:16:3e:00:01:77")
    forget_neighbours(1, 2)
    assert not reaches(1, "10.5.0.2"), "another MAC passes"
    guard("open", *own)
    forget_neighbours(1, 2)
    assert ping("10.5.0.2", "g1")
    guard("shut", *own)
    forget_neighbours(1, 2)
    assert not reaches(1, "10.5.0.2") and not reaches(2, "10.5.0.1")


@test
def rules_are_there_before_the_guest_and_one_guests_change_nothing_for_others():
    apply("bridge xapi0\n")
    for i in range(1, 4):
        guard("locked", f"vif{i}.0", f"00:16:3e:00:01:0{i}", f"10.5.0.{i}")
    guests("xapi0", 3)
    assert ping("10.5.0.3", "g2")
    guard("shut", "vif1.0", "00:16:3e:00:01:01")
    assert not reaches(1, "10.5.0.2") and ping("10.5.0.3", "g2")
    before = sh("nft list table bridge xapid")
    guard("locked", "vif2.0", "00:16:3e:00:01:02", "10.5.0.2")
    assert sh("nft list table bridge xapid").count("jump") == before.count("jump") == 6
    guard("open", "vif1.0")
    guard("open", "vif1.0")
    assert sh("nft list table bridge xapid").count("jump") == 4
    assert ping("10.5.0.2", "g1")
    for words in (("vif1.0;", "00:16:3e:00:01:01"), ("vif1.0", "00:16:3e:00:01"), ("vif1.0", "00:16:3e:00:01:01", "10.5.0.1/24"),
                  ("vif1.0", "00:16:3e:00:01:01", "10.5.0.1 }; flush ruleset")):
        said, good = tool("guard", "locked", *words)
        assert not good and "PIF_CONFIGURATION_ERROR" in said, said


@test
def five_hundred_guests_do_not_slow_it_down():
    host(1)
    apply(MANAGED)
    with open("/run/batch", "w") as f:
        for i in range(500):
            f.write(f"link add vif{i}.0 type veth peer name g{i}\nlink set vif{i}.0 master xenbr0 up\n")
    sh("ip -batch /run/batch")
    wanted = MANAGED + "bridge xapi5\n"
    with open("/run/wanted", "w") as f:
        f.write(wanted)
    done = subprocess.run([TOOL, "plan", "/run/wanted"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.stdout == "make bridge xapi5 (MTU 1500)\nset xapi5 up\n", done.stdout
    print("# 500 guests:", done.stderr.strip())
    begin = time.monotonic()
    for i in range(5):
        guard("locked", f"vif{i}.0", f"00:16:3e:00:05:0{i}", "10.5.0.9")
    few = time.monotonic() - begin
    with open("/run/rules", "w") as f:
        f.write("".join(f"add chain bridge xapid from_vif{i}.0\nadd chain bridge xapid to_vif{i}.0\n"
                        f"add element bridge xapid from {{ vif{i}.0 : jump from_vif{i}.0 }}\n"
                        f"add element bridge xapid to {{ vif{i}.0 : jump to_vif{i}.0 }}\n" for i in range(5, 500)))
    sh("nft -f /run/rules")
    begin = time.monotonic()
    for i in range(5):
        guard("locked", f"vif{i}.0", f"00:16:3e:00:05:0{i}", "10.5.0.9")
    print(f"# 500 guests' rules: one is changed in {(time.monotonic() - begin) * 200:.1f} ms, alone in {few * 200:.1f} ms")
    assert int(done.stderr.split("planned in ")[1].split()[0]) < 1000000, done.stderr


# ---- running them ----

def inside(name):
    """In the new namespaces."""
    sh("mount -t sysfs none /sys; mount -t tmpfs none /run; mount --make-rprivate / 2>/dev/null; mkdir /run/netns")
    next(t for t in TESTS if t.__name__ == name)()


def run_each(tests, words, path, apart=(), more=()):
    """Those named in 'words', or all, each by the program 'path' in namespaces of its own (with unshare's options 'apart'); the exit status."""
    report = Report()
    for fn in tests:
        if words and fn.__name__ not in words:
            continue
        done = subprocess.run(["unshare", "--net", "--mount", *apart, sys.executable, path, "--inside", fn.__name__, *more],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        report.check(done.returncode == 0, fn.__name__.replace("_", " "), done.stdout[-3000:])
        for line in done.stdout.splitlines():
            if line.startswith("# "):
                print(line)
    return report.done()


def main():
    words = sys.argv[1:]
    if words[:1] == ["--inside"]:
        inside(words[1])
        return
    sys.exit(run_each(TESTS, words, __file__))


if __name__ == "__main__":
    main()
