#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""join.py -- hosts join a pool and leave it by the XenAPI; everything comes along, whatever is killed in between.

    join.py                     three hosts join, one leaves and comes back, one dies and is removed
    join.py --measure N         how long each of N hosts takes to join, alone and with 50 machines and 100 disks

What is killed meanwhile: kills.py.
"""

import argparse
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from daemon import PASSWORDS, code_of, until  # noqa: E402
from lone_hosts import PATIENCE, Hosts  # noqa: E402
from report import Report  # noqa: E402

OWN_TIME = 3  # seconds, for a host that joins


def superset(have, wanted):
    """None, or what is missing."""
    missing = {c: wanted[c] - have[c] for c in wanted if wanted[c] - have[c]}
    return missing or None


def joins(report):
    with Hosts(3) as hosts:
        for h in hosts:
            h.furnish()
        a, b, c = hosts
        for h in hosts:
            h("PIF.scan", h("host.get_by_uuid", h.uuid()))
        before = [h.uuids() for h in hosts]
        networks = furnish_network(a)
        report.check(code_of(b, "pool.join", a.address, "root", "wrong") == "SESSION_AUTHENTICATION_FAILED", "a wrong password is told")
        report.check(code_of(b, "pool.join", "10.213.0.99", "root", "x") == "JOINING_HOST_CONNECTION_FAILED", "a pool that is not there is told")
        report.check(code_of(a.join, a) == "OPERATION_NOT_ALLOWED", "a host cannot join itself")
        mine = next(c["fingerprint"] for c in a("Certificate.get_all_records").values() if c["type"] == "host")
        other = ":".join(reversed(mine.split(":")))
        report.check(code_of(b, "pool.join", f"{a.address}/{other}", "root", PASSWORDS["root"]) == "JOINING_HOST_CONNECTION_FAILED",
                     "a pool that shows another certificate than was said is not told the password")
        b("pool.join", f"{a.address}/{mine}", "root", PASSWORDS["root"])
        report.check(until(lambda: b.is_member_of(a), PATIENCE), "the second host becomes a member", b.log_tail())
        report.check(code_of(b.join, c) == "JOINING_HOST_CANNOT_BE_MASTER_OF_OTHER_HOSTS", "a member cannot join another pool")
        c.join(b)
        report.check(until(lambda: c.is_member_of(a), PATIENCE), "the third joins by way of any member", c.log_tail())
        for h in hosts:
            for i, mine in enumerate(before):
                missing = superset(h.uuids(), mine)
                report.check(missing is None, f"what host {i} had is known on host {h.number}", str(missing))
        follows(report, hosts, networks)
        bridges = [n["bridge"] for n in a("network.get_all_records").values()]
        report.check(len(bridges) == len(set(bridges)) == 6 + len(networks), "networks are merged, and have bridges of their own", str(bridges))
        report.check(len({t["name_label"] for t in a("VM.get_all_records").values() if t["is_default_template"]})
                     == sum(t["is_default_template"] for t in a("VM.get_all_records").values()), "templates and drivers are there once")
        roles = until(lambda: a.roles() == ["voter"] * 3, PATIENCE)
        report.check(roles, "all three vote", str(a.status()))
        vm = next(r for r, v in b("VM.get_all_records").items() if v["name_label"] == "vm-1-1")
        b("VM.start", vm, False, False)
        report.check(b("VM.get_power_state", vm) == "Running", "a machine that came along starts on its host")
        leaves(report, hosts, vm)
        dies(report, hosts)


def ports(host, name):
    """The host's PIFs with that device name that are no VLANs."""
    me = host("host.get_by_uuid", host.uuid())
    return [r for r, p in host("PIF.get_all_records").items() if p["host"] == me and p["device"] == name and p["VLAN"] == "-1"]


def furnish_network(host):
    """A VLAN and a tunnel of the host that is to lead; their networks, and one for a bond."""
    def network(name):
        return host("network.create", {"name_label": name, "name_description": "", "MTU": "1500", "other_config": {}, "bridge": "", "managed": True,
                                       "tags": []})
    made = {name: network(name) for name in ("vlan 77", "tunnel", "bond")}
    host("VLAN.create", ports(host, "eth1")[0], "77", made["vlan 77"])
    host("tunnel.create", ports(host, "eth0")[0], made["tunnel"], "vxlan")
    return made


def has_ports(host, networks):
    """True once the host itself has a PIF on each of the networks, attached."""
    me = host("host.get_by_uuid", host.uuid())
    found = {p["network"] for p in host("PIF.get_all_records").values() if p["host"] == me and p["currently_attached"]}
    return set(networks) <= found


def follows(report, hosts, networks):
    a, b, c = hosts
    rides = [networks["vlan 77"], networks["tunnel"]]
    for h in (b, c):
        report.check(until(lambda: has_ports(h, rides), PATIENCE), f"host {h.number} gets the coordinator's VLAN and tunnel by itself", h.log_tail())
    a("Bond.create", networks["bond"], [ports(a, "eth0")[0], ports(a, "eth1")[0]], "", "active-backup", {})
    c.stop()
    c.begin()
    report.check(until(lambda: has_ports(c, networks.values()), PATIENCE), "and its bond at the next start, with the VLAN and the tunnel on it", c.log_tail())
    bond = next(p for p in c("PIF.get_all_records").values() if p["network"] == networks["bond"] and p["host"] == c("host.get_by_uuid", c.uuid()))
    report.check(bond["management"], "where the management interface is part of it, it goes along", bond)
    pifs, made = c("PIF.get_all"), c.log_text().count("is here too")
    a("host.sync_vlans", c("host.get_by_uuid", c.uuid()))
    a("host.sync_tunnels", c("host.get_by_uuid", c.uuid()))
    report.check(sorted(c("PIF.get_all")) == sorted(pifs) and c.log_text().count("is here too") == made, "and then nothing more, also when any member is asked for it",
                 c.log_tail())


def leaves(report, hosts, vm):
    a, b, _ = hosts
    refs = {h["uuid"]: r for r, h in a("host.get_all_records").items()}
    me = {h.number: refs[h.uuid()] for h in hosts}
    report.check(code_of(a, "pool.eject", me[0]) == "OPERATION_NOT_ALLOWED", "the coordinator cannot leave")
    report.check(code_of(a, "pool.eject", me[1]) == "HOST_HAS_RESIDENT_VMS", "nor one on which machines run")
    report.check(code_of(a, "host.destroy", me[1]) == "HOST_IS_LIVE", "one that is alive is not destroyed")
    b("VM.hard_shutdown", vm)
    files = sorted(os.listdir(os.path.join(b.state, "storage")))
    a("pool.eject", me[1])
    report.check(until(b.is_alone, PATIENCE), "a host that leaves begins anew, alone", b.log_tail())
    report.check(until(lambda: me[1] not in a("host.get_all") and all(
        p["host"] != me[1] for c in ("PBD", "PIF", "host_cpu") for p in a(f"{c}.get_all_records").values()), PATIENCE), "nothing of it is left in the pool")
    report.check(set(files) <= set(os.listdir(os.path.join(b.state, "storage"))), "its files are still there")
    report.check(any(n.startswith("db.of-pool-") for n in os.listdir(b.state)), "its database of before is kept")
    report.check(until(lambda: a.n_members() == 2, PATIENCE), "the log's members follow", str(a.status()))
    b.join(a)
    report.check(until(lambda: b.is_member_of(a), PATIENCE), "it joins again", b.log_tail())


def dies(report, hosts):
    a, b, c = hosts
    ref = next(r for r, h in a("host.get_all_records").items() if h["uuid"] == c.uuid())
    c.kill()
    report.check(until(lambda: a.tries("host.destroy", ref) is not None or ref not in a("host.get_all"), PATIENCE, 1), "a dead host is removed", a.log_tail())
    report.check(until(lambda: a.n_members() == 2, PATIENCE), "and no member of the log", str(a.status()))
    report.check(until(lambda: a.tries("pool.set_name_label", a("pool.get_all")[0], "two") is not None, PATIENCE), "the pool works")
    c.launch()
    report.check(until(c.is_alone, PATIENCE), "when it comes back it begins anew", c.log_tail())
    report.check(b.is_member_of(a), "both others are one pool")


def measure(report, n, vms):
    """What a user waits for, and what all daemons together compute meanwhile."""
    with Hosts(n) as hosts:
        first = hosts[0]
        walls, cpus = [], []
        for h in hosts[1:]:
            h.furnish(vms, 2)
            before = {o.number: o.cpu() for o in hosts[:h.number + 1]}
            start = time.monotonic()
            h.join(first)
            until(lambda: h.tries("host.get_all") and h.is_member_of(first), PATIENCE, 0.02)
            walls.append(time.monotonic() - start)
            cpus.append(sum(o.cpu() - before[o.number] for o in hosts[:h.number + 1]))
            report.note(f"host {h.number}: {walls[-1]:.2f} s, {cpus[-1]:.2f} s of processors")
        report.check(len(first("host.get_all")) == n, "all are members")
        report.check(max(cpus) <= OWN_TIME, f"with {vms} machines each takes at most {max(walls):.2f} s, of which {max(cpus):.2f} s are computed",
                     f"more than {OWN_TIME} s")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--measure", type=int)
    parser.add_argument("--vms", type=int, default=50)
    args = parser.parse_args()
    report = Report()
    if args.measure:
        measure(report, args.measure, args.vms)
    else:
        joins(report)
    return report.done()


if __name__ == "__main__":
    sys.exit(main())
