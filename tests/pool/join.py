#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""join.py -- hosts join a pool and leave it by the XenAPI; everything comes along, whatever is killed in between.

    join.py                     three hosts join, one leaves and comes back, one dies and is removed; either side killed where it matters most
    join.py --long              the same, killed at every step, and at two
    join.py --measure N         how long each of N hosts takes to join
"""

import argparse
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from daemon import NULL, PASSWORDS, Client, Lost, XapiError, until  # noqa: E402
from members import Member  # noqa: E402
from net import Network  # noqa: E402
from report import Report  # noqa: E402

PATIENCE = 120
KILLED = 20
GIB = 1 << 30
# What a host that joins brings along, by uuid.
CLASSES = ("host", "VM", "VBD", "VDI", "SR", "PBD", "PIF", "host_cpu", "VIF", "secret", "VM_appliance")


class Host(Member):
    """A host that begins alone, as it would on a fresh installation."""

    def __init__(self, net, number):
        self.net = net
        pool = type("Net", (), {"net": net})
        super().__init__(pool, number)
        self.address = net.address(number)
        self.args = ["--listen", "0.0.0.0", "--tls-port", "443", "--pool-port", "7400", "--enable-faults"]
        self.client = None

    def begin(self):
        error = self.launch().result()
        if error:
            raise RuntimeError(error)
        return self

    def __call__(self, method, *params):
        """A call in a session that is made anew where the daemon has been."""
        if self.client is None:
            self.client = Client(self, timeout=60)
        try:
            return self.client(method, *params)
        except (Lost, XapiError) as e:
            self.client = None
            if isinstance(e, XapiError) and e.code != "SESSION_INVALID":
                raise
            return Client(self, timeout=60)(method, *params)

    def tries(self, method, *params):
        """The answer; None where there is none at the moment."""
        try:
            return self(method, *params)
        except (Lost, XapiError):
            self.client = None
            return None

    def uuids(self):
        """By class, without what belongs to the pool: default templates."""
        found = {c: {r["uuid"] for r in self(f"{c}.get_all_records").values() if not r.get("is_default_template")} for c in CLASSES}
        return found

    def furnish(self, vms=2):
        """Machines with disks, one of them suspended; a secret, an appliance."""
        n = self.number
        sr = self("pool.get_all_records").popitem()[1]["default_SR"]
        template = next(r for r, t in self("VM.get_all_records").items() if t["is_default_template"] and "Other install" in t["name_label"])
        network = next(r for r, t in self("network.get_all_records").items() if t["bridge"] == "xenbr0")
        private = self("network.create", {"name_label": f"private-{n}", "name_description": "", "MTU": 1500, "other_config": {}, "bridge": "", "managed": True, "tags": []})
        appliance = self("VM_appliance.create", {"name_label": f"appliance-{n}", "name_description": ""})
        self("secret.create", {"value": f"secret-{n}", "other_config": {}})
        for i in range(vms):
            vm = self("VM.clone", template, f"vm-{n}-{i}")
            self("VM.provision", vm)
            self("VM.set_appliance", vm, appliance)
            vdi = self("VDI.create", {"name_label": f"disk-{n}-{i}", "name_description": "", "SR": sr, "virtual_size": 1 << 20, "type": "user",
                                      "sharable": False, "read_only": False, "other_config": {}, "xenstore_data": {}, "sm_config": {}, "tags": []})
            self("VBD.create", {"VM": vm, "VDI": vdi, "userdevice": "0", "bootable": True, "mode": "RW", "type": "Disk", "unpluggable": True,
                                "empty": False, "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}})
            for device, net in (("0", network), ("1", private)):
                self("VIF.create", {"VM": vm, "network": net, "device": device, "MAC": "", "MTU": 1500, "other_config": {},
                                    "qos_algorithm_type": "", "qos_algorithm_params": {}})
            self("VM.snapshot", vm, f"snapshot-{n}-{i}", [])
            if i == 0:
                self("VM.start", vm, False, False)
                self("VM.suspend", vm)

    def roles(self):
        """Of the log's members, as it knows them."""
        return sorted(m["role"] for m in (self.status() or {"members": []})["members"])

    def n_members(self):
        return len(self.roles())

    def fault(self, *lines):
        with open(os.path.join(self.state, "faults"), "w") as f:
            f.write("".join(line + "\n" for line in lines))

    def ensure(self):
        """Runs again, where it was killed."""
        if not self.running():
            self.fault()
            self.begin()

    def join(self, other, force=False):
        self("pool.join_force" if force else "pool.join", other.address, "root", PASSWORDS["root"])

    def is_member_of(self, other):
        """True once it answers as a host of the other's pool, enabled."""
        mine, theirs = self.tries("host.get_all_records"), other.tries("host.get_all_records")
        return bool(mine) and bool(theirs) and mine.keys() == theirs.keys() and len(mine) > 1 and all(h["enabled"] for h in mine.values())

    def is_alone(self):
        hosts = self.tries("host.get_all_records")
        return bool(hosts) and [h["uuid"] for h in hosts.values()] == [self.uuid()]

    def uuid(self):
        with open(os.path.join(self.state, "host-uuid")) as f:
            return f.read().strip()

    def is_frozen(self):
        try:
            self("pool.set_name_description", self("pool.get_all")[0], "")
            return False
        except XapiError as e:
            return e.code == "OPERATION_NOT_ALLOWED"


class Hosts:
    """n hosts, each alone."""

    def __init__(self, n):
        self.net = Network(n)
        self.list = [Host(self.net, i) for i in range(n)]
        for h in self.list:
            h.begin()

    def __enter__(self):
        return self.list

    def __exit__(self, *_):
        for h in self.list:
            h.close()
        self.net.close()


def superset(have, wanted):
    """None, or what is missing."""
    missing = {c: wanted[c] - have[c] for c in wanted if wanted[c] - have[c]}
    return missing or None


def code_of(call, *args):
    try:
        call(*args)
        return None
    except XapiError as e:
        return e.code


def joins(report):
    with Hosts(3) as hosts:
        for h in hosts:
            h.furnish()
        before = [h.uuids() for h in hosts]
        a, b, c = hosts
        report.check(code_of(b, "pool.join", a.address, "root", "wrong") == "SESSION_AUTHENTICATION_FAILED", "a wrong password is told")
        report.check(code_of(b, "pool.join", "10.213.0.99", "root", "x") == "JOINING_HOST_CONNECTION_FAILED", "a pool that is not there is told")
        report.check(code_of(a.join, a) == "OPERATION_NOT_ALLOWED", "a host cannot join itself")
        b.join(a)
        report.check(until(lambda: b.is_member_of(a), PATIENCE), "the second host becomes a member", b.log_tail())
        report.check(code_of(b.join, c) == "JOINING_HOST_CANNOT_BE_MASTER_OF_OTHER_HOSTS", "a member cannot join another pool")
        c.join(b)
        report.check(until(lambda: c.is_member_of(a), PATIENCE), "the third joins by way of any member", c.log_tail())
        for h in hosts:
            for i, mine in enumerate(before):
                missing = superset(h.uuids(), mine)
                report.check(missing is None, f"what host {i} had is known on host {h.number}", str(missing))
        bridges = [n["bridge"] for n in a("network.get_all_records").values()]
        report.check(len(bridges) == len(set(bridges)) == 5, "networks are merged, and have bridges of their own", str(bridges))
        report.check(len({t["name_label"] for t in a("VM.get_all_records").values() if t["is_default_template"]})
                     == sum(t["is_default_template"] for t in a("VM.get_all_records").values()), "templates and drivers are there once")
        roles = until(lambda: a.roles() == ["voter"] * 3, PATIENCE)
        report.check(roles, "all three vote", str(a.status()))
        vm = next(r for r, v in b("VM.get_all_records").items() if v["name_label"] == "vm-1-1")
        b("VM.start", vm, False, False)
        report.check(b("VM.get_power_state", vm) == "Running", "a machine that came along starts on its host")
        leaves(report, hosts, vm)
        dies(report, hosts)


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


# Steps, in their order; in the short form the joiner is killed at the last three, the pool at two.
JOINER = ("connected", "begun", "frozen", "written", "sent", "settled")
POOL = ("checked", "decide", "part", "decided")


def killed(report, a, b, steps_b=(), steps_a=()):
    """One join in which daemons are killed; whatever is left of it, afterwards one of the two clean states."""
    name = " and ".join([f"the joiner at {s}" for s in steps_b] + [f"the pool at {s}" for s in steps_a])
    b.fault(*[f"pool_join/{s} kill" for s in steps_b])
    a.fault(*[f"pool_join_member/{s} kill" for s in steps_a])
    wanted = b.uuids()
    b.tries("pool.join", a.address, "root", PASSWORDS["root"])
    # The connection of one that is killed ends a moment before it has.
    reached = until(lambda: (not steps_b or not b.running()) and (not steps_a or not a.running()), KILLED)
    report.check(reached, f"killed: {name}")
    a.ensure()
    b.ensure()
    settled = until(lambda: b.is_member_of(a) or b.is_alone() and not os.path.exists(os.path.join(b.state, "joining")) and not b.is_frozen(), PATIENCE)
    report.check(settled, f"{name}: it is a member, or alone and free", b.log_tail())
    if settled and not b.is_member_of(a):
        alone = a("host.get_all")
        report.check(len(alone) == 1 and not {v["uuid"] for v in a("VM.get_all_records").values()} & wanted["VM"], f"{name}: then the pool has nothing of it")
        b.fault()
        b.join(a)
        report.check(until(lambda: b.is_member_of(a), PATIENCE), f"{name}: and it joins at the second try", a.log_tail(), b.log_tail())
    missing = superset(a.uuids(), wanted)
    report.check(missing is None, f"{name}: all is there", str(missing))
    ref = next(r for r, h in a("host.get_all_records").items() if h["uuid"] == b.uuid())
    a.fault()
    a("pool.eject", ref)
    report.check(until(b.is_alone, PATIENCE) and until(lambda: a.n_members() == 1, PATIENCE), f"{name}: it leaves", b.log_tail())


def kills(report, long):
    with Hosts(2) as (a, b):
        b.furnish(6)
        for step in JOINER if long else JOINER[-3:]:
            killed(report, a, b, steps_b=[step])
        for step in POOL if long else POOL[-2:]:
            killed(report, a, b, steps_a=[step])
        for x in JOINER[3:] if long else ():
            for y in POOL:
                killed(report, a, b, [x], [y])


def measure(report, n):
    with Hosts(n) as hosts:
        for h in hosts[1:]:
            start = time.monotonic()
            h.join(hosts[0])
            until(lambda: h.tries("host.get_all") and h.is_member_of(hosts[0]), PATIENCE, 0.02)
            print(f"# host {h.number}: {time.monotonic() - start:.2f} s", flush=True)
        report.check(len(hosts[0]("host.get_all")) == n, "all are members")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--measure", type=int)
    parser.add_argument("--only", choices=("joins", "kills"))
    args = parser.parse_args()
    report = Report()
    if args.measure:
        measure(report, args.measure)
        return report.done()
    if args.only != "kills":
        joins(report)
    if args.only != "joins":
        kills(report, args.long)
    return report.done()


if __name__ == "__main__":
    sys.exit(main())
