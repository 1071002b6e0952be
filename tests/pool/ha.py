#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""ha.py [--deaths N] [--seed S] [--unfenced] -- hosts of a pool of three die, and their protected machines run elsewhere in time.

A death is the end of a host's daemon and simulator (kill -9), or the cutting of all its links: then it must end itself before anybody else
starts what runs there.  Without --deaths one of each.  --unfenced: the hosts' watchdogs do not bite; passes where that is found out.
"""

import argparse
import os
import random
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from daemon import NULL, Lost, XapiError, until  # noqa: E402
from members import Pool, Session  # noqa: E402
from report import Report  # noqa: E402

HOSTS = 3
LEASE = 10   # seconds, the shortest there is
WITHIN = 10  # seconds after the lease in which machines run again
SLACK = 30   # what a busy machine may need besides, before a wait is given up
MIB = 1 << 20
PROTECTED = 3  # machines on each host; the last of them of a later order


class Findings(Report):
    """Of hosts that are expected to fail."""

    def ok(self, text):
        self.passed += 1

    def fail(self, text, *details):
        self.failed += 1
        self.note(f"found: {text}")


class Test:
    def __init__(self, pool, report, chance):
        self.pool, self.report, self.chance = pool, report, chance
        self.session = Session(pool, 60)
        self.at = 0  # the member that is asked
        self.session.login(0)
        self.vms, self.names = {}, {}

    def call(self, method, *params):
        """On any member that answers: what is asked here may be asked again."""
        error = None
        for _ in range(60):
            try:
                return self.session.call(self.at, method, *params)
            except Lost as e:
                error = e
                self.at = self.pool.wait_leader().number
            except XapiError as e:
                if not e.code.startswith("SESSION"):
                    raise
                error = e
                self.session.login(self.at)
            time.sleep(0.5)
        raise RuntimeError(f"{method}: {error}")

    # -- what there is --

    def host_of(self, member):
        """The reference of a member's host."""
        uuid = open(os.path.join(member.state, "host-uuid")).read().strip()
        return self.call("host.get_by_uuid", uuid)

    def make(self, name, priority, order):
        source = self.call("VM.get_by_name_label", "Other install media")[0]
        vm = self.call("VM.clone", source, name)
        self.call("VM.provision", vm)
        self.call("VM.set_memory_limits", vm, 32 * MIB, 64 * MIB, 64 * MIB, 64 * MIB)
        self.call("VM.set_ha_restart_priority", vm, priority)
        self.call("VM.set_order", vm, order)
        self.names[self.call("VM.get_uuid", vm)] = name
        return vm

    def make_all(self):
        """On each host some that are protected, one that is only tried and one that is neither."""
        for m in self.pool:
            mine = [self.make(f"{m.number}-protected-{i}", "restart", 2 if i == PROTECTED - 1 else 1) for i in range(PROTECTED)]
            mine += [self.make(f"{m.number}-tried", "best-effort", 0), self.make(f"{m.number}-other", "", 0)]
            host = self.host_of(m)
            for vm in mine:
                self.session.call(m.number, "VM.start_on", vm, host, False, False, timeout=60)
            self.vms[m.number] = mine

    def record(self, vm):
        return self.call("VM.get_record", vm)

    def armed(self):
        """Every host lives, and HA has said so."""
        return all(self.call("host_metrics.get_live", self.call("host.get_metrics", self.host_of(m))) for m in self.pool)

    def running_on(self, host):
        """Records of the machines of this test that run on a host."""
        return [r for vms in self.vms.values() for r in map(self.record, vms) if r["resident_on"] == host]

    # -- dying --

    def kill(self, member):
        """The daemon and whatever runs there."""
        with open(os.path.join(member.state, "sim", "xapid-sim.pid")) as f:
            sim = int(f.read())
        member.kill()
        os.kill(sim, signal.SIGKILL)

    def cut(self, member):
        self.pool.net.isolate("cut", member.number)

    def die(self, member, how):
        """One death; what was lost, and how long until the protected ones ran again."""
        host = self.host_of(member)
        lost = self.running_on(host)
        protected = [r for r in lost if r["ha_always_run"]]
        fenced = os.path.join(member.state, "sim", "fenced")
        if os.path.exists(fenced):
            os.unlink(fenced)
        if self.at == member.number:
            self.at = (member.number + 1) % HOSTS
        begin = time.monotonic()
        how(member)
        self.judge(member, host, how, lost, protected, begin)

    def back(self, record, host):
        now = self.record(self.call("VM.get_by_uuid", record["uuid"]))
        return now["power_state"] == "Running" and now["resident_on"] not in (host, NULL)

    def judge(self, member, host, how, lost, protected, begin):
        title = f"{how.__name__} of member {member.number}{' (it leads)' if self.led == member.number else ''}"
        restarted = until(lambda: all(self.back(r, host) for r in protected), LEASE + WITHIN + SLACK, 0.1)
        took = time.monotonic() - begin
        self.report.check(restarted and took <= LEASE + WITHIN,
                          f"{title}: {len(protected)} protected machines run elsewhere after {took:.1f} s, at most {LEASE + WITHIN}",
                          *[m.log_tail(15) for m in self.pool])
        if not restarted:
            return
        if how == self.cut:
            self.judge_fence(member, title, protected)
        tried = [r for r in lost if r["ha_restart_priority"] == "best-effort"]
        self.report.check(until(lambda: all(self.back(r, host) for r in tried), SLACK, 0.2),
                          f"{title}: and then those that are only tried")
        rest = [r["uuid"] for r in lost if not r["ha_restart_priority"]]
        halted = until(lambda: all(self.record(self.call("VM.get_by_uuid", u))["power_state"] == "Halted" for u in rest), LEASE + SLACK, 0.2)
        self.report.check(halted, f"{title}: what nobody protects is halted", rest)
        self.judge_order(title, protected)

    def started(self, record):
        """When its domain was built, and on which member: wall clock, microseconds; all there are."""
        return [(d["start_time"], m.number) for m in self.pool if m.running() for d in m.domains().values() if d["uuid"] == record["uuid"]]

    def judge_order(self, title, protected):
        times = {o: [t for r in protected if int(r["order"]) == o for t, _ in self.started(r)] for o in (1, 2)}
        if times[1] and times[2]:
            self.report.check(max(times[1]) <= min(times[2]), f"{title}: those of a later order came later", times)

    def judge_fence(self, member, title, protected):
        """It ended what it ran before the others began."""
        path = os.path.join(member.state, "sim", "fenced")
        ended = int(open(path).read()) if until(lambda: os.path.exists(path) and open(path).read().strip(), 1) else None
        first = min(t for r in protected for t, n in self.started(r) if n != member.number)
        twice = [r["name_label"] for r in protected if len(set(self.started(r)) | self.left(member, r)) > 1]
        early = f"{(first - ended) / 1e6:.2f} s earlier" if ended else "not at all"
        self.report.check(ended is not None and ended <= first and not twice,
                          f"{title}: it ends itself ({early}) before the others begin; no machine runs twice", twice, member.log_tail(10))

    def left(self, member, record):
        """What its simulator still runs of a machine, also where its daemon is gone."""
        try:
            found = member.domains()
        except (OSError, Lost):
            return set()
        return {(d["start_time"], member.number) for d in found.values() if d["uuid"] == record["uuid"]}

    def revive(self, member):
        """Everything as before: the member is back, and some machines with it."""
        self.pool.net.heal("cut")
        if member.running():
            member.kill()
        error = member.launch().result()
        if error:
            raise RuntimeError(error)
        self.session.drop(member.number)
        if not until(self.armed, 60, 0.2):
            raise RuntimeError(f"member {member.number} does not come back:\n{member.log_tail()}")
        host = self.host_of(member)
        for vm in self.vms[member.number]:
            r = self.record(vm)
            if r["power_state"] == "Halted":
                self.session.call(member.number, "VM.start_on", vm, host, False, False, timeout=60)
        self.pool.wait_equal()

    def round(self, member, how):
        leader = self.pool.wait_leader()
        self.led = leader.number
        self.die(member, how)
        self.revive(member)

    # -- the whole --

    def enable(self):
        self.at = self.pool.wait_leader().number
        self.session.call(self.at, "pool.enable_ha", [], {"timeout": str(LEASE)}, timeout=90)
        pool = self.call("pool.get_all")[0]
        self.report.check(self.call("pool.get_ha_enabled", pool) and int(self.call("pool.get_ha_plan_exists_for", pool)) == 1,
                          "HA is enabled once every host has armed its watchdog, and one of three may fail",
                          self.call("pool.get_record", pool))

    def disable(self):
        self.session.call(self.at, "pool.disable_ha", timeout=90)
        leader = self.pool.wait_leader()
        quiet = [m for m in self.pool if m is not leader][0]
        self.pool.net.isolate("cut", quiet.number)
        time.sleep(LEASE + 3)  # nothing happens, which no condition shows
        self.report.check(quiet.running() and quiet.domains(), "HA is off again: a host that is cut off goes on", quiet.log_tail(10))
        self.pool.net.heal("cut")


def choose(test, chance, n):
    """Members and deaths: with two the one that leads is cut off, and another one killed."""
    leader = test.pool.wait_leader()
    others = [m for m in test.pool if m is not leader]
    if not n:
        yield chance.choice(others), test.kill
        yield test.pool.wait_leader(), test.cut
    for _ in range(n):
        yield chance.choice(list(test.pool)), chance.choice([test.kill, test.cut])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--deaths", type=int, default=0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--unfenced", action="store_true")
    options = parser.parse_args()
    print(f"# seed {options.seed}", flush=True)
    report, chance = Report(), random.Random(options.seed)
    found = Findings() if options.unfenced else report
    with Pool(HOSTS, seed=options.seed, args=["--enable-faults"] if options.unfenced else []) as pool:
        pool.form()
        test = Test(pool, found, chance)
        if options.unfenced:
            for m in pool:
                with open(os.path.join(m.state, "faults"), "w") as f:
                    f.write("ha/arm fail\n")
        test.make_all()
        test.enable()
        if options.unfenced:
            test.led = pool.wait_leader().number
            test.die([m for m in pool if m.number != test.led][0], test.cut)
            report.check(found.failed, "hosts whose watchdogs do not bite are found out")
        else:
            for member, how in choose(test, chance, options.deaths):
                test.round(member, how)
            if options.deaths:
                test.disable()
            report.check(not pool.wait_equal(), "all members have the same digest in the end", pool.digests())
    sys.exit(report.done())


if __name__ == "__main__":
    main()
