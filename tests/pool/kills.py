#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""kills.py [--seconds N] [--seed S] [--only OPERATION] -- daemons are killed while a host joins, leaves, and the coordinator hands over; then all is in one of the clean states.

A pool of two hosts; a third with 50 machines and 100 disks joins it, the office goes from one to another, the third leaves: round after
round, each with a kill in one step of either side of each of the three, in an order that the seed says.  Without --seconds until every
step was tried, and pairs of steps on both sides of a join ("pairs").  First one round without a kill, which must reach just the steps of WAYS.

Clean: the host is a member with everything it brought, or alone with all it had while the pool has nothing of it; it is a member, or has
left and begun anew while the pool has nothing of it; there is one coordinator on which all agree.  Then what did not happen is done
again, and works.
"""

import argparse
import itertools
import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from daemon import Lost, XapiError, until  # noqa: E402
from lone_hosts import CLASSES, PATIENCE, Hosts, ensure_all  # noqa: E402
from report import Report  # noqa: E402

VMS, DISKS = 50, 2
REACHED = 30  # seconds until the step comes

# Each operation: the steps of the host that joins or leaves (or takes the office), and those of the pool (or of who has it).
WAYS = {
    "join": {"host": ("pool_join/connected", "pool_join/begun", "pool_join/frozen", "pool_join/written", "pool_join/sent",
                      "pool_join/settled", "pool_join/switched", "pool_join/started"),
             "pool": ("pool_join_member/checked", "pool_join_member/part", "pool_join_member/decide", "pool_join_member/decided",
                      "pool_members/add", "pool_members/assign")},
    "leave": {"host": ("pool_eject/left", "pool_members/transfer"),
              "pool": ("pool_eject/begun", "pool_eject/decided", "pool_eject/disks", "pool_members/remove")},
    "hand over": {"host": ("pool_office/leads", "pool_office/taken"),
                  "pool": ("pool_designate/begun", "pool_designate/votes", "pool_designate/transferred")},
}

WAYS_IN_ORDER = ("join", "hand over", "leave")
# Only where a host leads that has left; leave() brings that about.
LEADS_AND_LEFT = "pool_members/transfer"
# Steps of both sides that one join reaches, by way of the member that is not the coordinator: a host is no member before that was decided, and
# nobody starts as one, or learns that it is none, without a coordinator.
PAIRS = [*itertools.product(("pool_join/sent", "pool_join/settled"),
                            ("pool_join_member/checked", "pool_join_member/part", "pool_join_member/decide", "pool_join_member/decided")),
         *itertools.product(("pool_join/switched", "pool_join/started"), ("pool_join_member/decided",)),
         *itertools.product(("pool_join/settled", "pool_join/switched"), ("pool_members/add", "pool_members/assign"))]


class Kill:
    """Where daemons die: on the side of the host, of the pool, or both; None: nowhere on that side."""

    def __init__(self, operation, host=None, pool=None):
        self.operation, self.host, self.pool = operation, host, pool
        self.victims = []

    def __str__(self):
        at = [f"{side} in {step}" for side, step in (("the host", self.host), ("the pool", self.pool)) if step]
        return f"{self.operation}, killed: {' and '.join(at) or 'nobody'}"

    def arm(self, host, pool):
        """host: one; pool: those of which one may get there."""
        self.victims = [[host]] if self.host else []
        self.victims += [pool] if self.pool else []
        for h in [host] if self.host else []:
            h.fault(f"{self.host} kill")
        for h in pool if self.pool else []:
            h.fault(f"{self.pool} kill")

    def struck(self):
        """True once somebody has died on each side that was to."""
        return all(any(not h.running() for h in side) for side in self.victims)


def ways(operation):
    sides = WAYS[operation]
    return [Kill(operation, host=s) for s in sides["host"]] + [Kill(operation, pool=s) for s in sides["pool"]]


def pairs():
    return [Kill("join", h, p) for h, p in PAIRS]


class Test:
    def __init__(self, report, hosts, rng):
        self.report, self.rng = report, rng
        self.pool, self.host = list(hosts[:2]), hosts[2]
        self.all = list(hosts)
        self.host.furnish(VMS, DISKS)
        self.brings = self.host.uuids()
        report.check(len(self.brings["VM"]) >= VMS and len(self.brings["VDI"]) >= VMS * DISKS, f"a host has {VMS} machines and {VMS * DISKS} disks")
        self.host.keep()
        self.pool[1].join(self.pool[0])
        report.check(until(lambda: self.pool[1].is_member_of(self.pool[0]), PATIENCE), "two hosts are a pool", self.pool[1].log_tail())
        self.has = self.pool[0].uuids()
        self.tried = set()

    # -- asking --

    def check(self, kill, condition, text, *details):
        return self.report.check(condition, f"{kill}: {text}", *details, *([h.log_tail(12) for h in self.all] if not condition else []))

    def answers(self, method, *params):
        """Of any host of the pool; None where none has one at the moment."""
        return next((a for a in (h.tries(method, *params) for h in self.pool) if a is not None), None)

    def ref_of(self, host):
        return next((r for r, h in (self.answers("host.get_all_records") or {}).items() if h["uuid"] == host.uuid()), None)

    def coordinator(self):
        """The host on which all that answer agree; None."""
        names = {h.coordinator() for h in self.members()}
        return next((h for h in self.all if names == {h.uuid()}), None)

    def members(self):
        return [*self.pool, *([self.host] if self.host.is_member_of(self.pool[0]) else [])]

    def strikes(self, kill, work):
        """Does the work while daemons die; then all run again."""
        try:
            work()
        except (Lost, XapiError, StopIteration):
            pass
        struck = until(kill.struck, REACHED, 0.02)
        for h in self.all:
            h.fault()
        self.check(kill, struck, "somebody was killed")
        ensure_all(self.all)
        self.tried |= {s for s in (kill.host, kill.pool) if s}

    # -- joining --

    def join(self, kill):
        self.host.reset()
        kill.arm(self.host, self.pool)
        leads = self.coordinator()
        by = next(h for h in self.pool if h is not leads) if kill.host and kill.pool else self.rng.choice(self.pool)
        self.strikes(kill, lambda: self.host.join(by))
        settled = until(lambda: self.joined() or self.is_as_before(), PATIENCE)
        self.check(kill, settled, "it is a member, or alone and free")
        if not self.joined():
            self.check(kill, self.has_no_more(), "then the pool has nothing of it")
            self.host.join(self.pool[0])
            self.check(kill, until(self.joined, PATIENCE), "and it joins when it tries again")
        missing = {c: n for c in CLASSES if (n := len((self.has[c] | self.brings[c]) - self.pool[0].uuids()[c]))}
        self.check(kill, not missing, "all that both had is there", missing)

    def joined(self):
        return all(self.host.is_member_of(h) for h in self.pool) and not os.path.exists(os.path.join(self.host.state, "joining"))

    def is_as_before(self):
        return (self.host.is_alone() and not os.path.exists(os.path.join(self.host.state, "joining")) and not self.host.is_frozen()
                and self.host.uuids() == self.brings)

    def has_no_more(self):
        return until(lambda: all(h.uuids() == self.has for h in self.pool), PATIENCE, 0.2)

    # -- leaving --

    def leave(self, kill):
        if self.coordinator() is self.host:
            self.hand_over(Kill("hand over"), self.pool[0])
        ref = self.ref_of(self.host)
        kill.arm(self.host, self.pool)
        if kill.host == LEADS_AND_LEFT:
            self.strikes(kill, lambda: self.leave_and_lead(ref))
        else:
            self.strikes(kill, lambda: self.rng.choice(self.pool)("pool.eject", ref))
        settled = until(lambda: self.has_left() or self.joined(), PATIENCE)
        self.check(kill, settled, "it has left, or is a member")
        # What was decided may still be on its way.
        if until(self.has_left, 0 if kill.pool == "pool_eject/begun" else PATIENCE):
            self.check(kill, kill.pool != "pool_eject/begun", "it leaves because somebody had decided that")
        else:
            self.leave(Kill("leave"))
        self.clear()
        self.check(kill, self.has_no_more(), "and the pool has nothing of it but machines, and those can be destroyed")
        self.check(kill, until(lambda: all(h.n_members() == 2 for h in self.pool), PATIENCE), "and its log has two members")

    def leave_and_start_again(self):
        """It has left, and starts again before the log goes on without it: it must not enter itself again."""
        kill = Kill("leave, started again before the log goes on without it")
        self.join(Kill("join"))
        if self.coordinator() is self.host:
            self.hand_over(Kill("hand over"), self.pool[0])
        for h in self.pool:
            h.fault("pool_members/remove wait")
        self.coordinator()("pool.eject", self.ref_of(self.host))
        self.host.kill()
        started = self.host.launch()
        self.check(kill, until(lambda: (self.host.status() or {}).get("leader"), PATIENCE), "it finds the members of its log")
        until(lambda: self.host.tries("host.get_all") is not None, 3)  # it should not; one that does has entered itself
        for h in self.pool:
            h.fault()
        started.result()
        ensure_all(self.all)
        self.check(kill, until(self.has_left, PATIENCE), "it has left")
        self.clear()
        self.check(kill, self.has_no_more(), "and the pool has nothing of it")

    def leave_and_lead(self, ref):
        """It has left, and is elected before the log goes on without it, as it may be when the coordinator dies then."""
        old = self.coordinator()
        for h in self.pool:
            h.fault("pool_members/remove wait")
        old("pool.eject", ref)
        old.internal({"transfer": {"id": self.host.status()["id"]}})

    def clear(self):
        """Destroys what belongs to the pool since it came: machines, of which the disks are lost, and what has no host."""
        for c in ("VM", "VM_appliance", "secret"):
            for ref, r in self.answers(f"{c}.get_all_records").items():
                if r["uuid"] in self.has[c] or r.get("is_default_template"):
                    continue
                if r.get("power_state", "Halted") != "Halted":
                    self.answers("VM.hard_shutdown", ref)
                self.answers(f"{c}.destroy", ref)

    def has_left(self):
        return self.host.is_alone() and not self.host.is_frozen()

    # -- the office --

    def hand_over(self, kill, to=None):
        old = until(self.coordinator, PATIENCE)
        new = to or next(h for h in self.pool if h is not old)
        ref = self.ref_of(new)
        kill.arm(new, [old])
        self.strikes(kill, lambda: old("pool.designate_new_master", ref))
        agreed = until(lambda: (c := self.coordinator()) and c.tries("pool.set_name_description", c("pool.get_all")[0], str(kill)) is not None and c, PATIENCE)
        self.check(kill, agreed, "there is one coordinator, and it works")
        if not kill.host and not kill.pool:
            self.check(kill, agreed is new, "it is the one that was named")

    # -- all --

    def round(self, join, hand_over, leave):
        self.join(join)
        self.hand_over(hand_over)
        self.leave(leave)

    def undisturbed(self):
        """And the steps that it reaches."""
        self.round(Kill("join"), Kill("hand over"), Kill("leave"))
        reached = set()
        for h in self.all:
            with open(os.path.join(h.state, "steps")) as f:
                reached |= {s.strip() for s in f if s.startswith(("pool_join", "pool_eject", "pool_members", "pool_designate", "pool_office"))}
        declared = {s for sides in WAYS.values() for steps in sides.values() for s in steps}
        declared -= {LEADS_AND_LEFT}
        self.report.check(reached == declared, "just the declared steps are reached", f"not reached: {declared - reached}", f"not declared: {reached - declared}")

    def equal(self):
        """Everybody's database is the same at the end."""
        def same():
            found = [h.status() for h in self.pool]
            return all(found) and len({(s["revision"], s["digest"]) for s in found}) == 1
        self.report.check(until(same, PATIENCE, 0.2), "at the end all have the same database")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, help="as many rounds as are begun within that")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", choices=(*WAYS, "pairs"))
    args = parser.parse_args()
    report, rng, begin = Report(), random.Random(args.seed), time.monotonic()
    report.note(f"seed {args.seed}")
    lists = [[Kill(o)] if args.only and o != args.only else ways(o) for o in WAYS_IN_ORDER]
    if args.only == "pairs":
        lists[0] = pairs()
    elif not args.seconds and not args.only:
        lists[0] += pairs()
    for kills in lists:
        rng.shuffle(kills)
    with Hosts(3) as hosts:
        test = Test(report, hosts, rng)
        test.undisturbed()
        test.leave_and_start_again()
        report.note(f"{time.monotonic() - begin:.0f} s so far")
        for i in range(max(len(kills) for kills in lists)):
            if args.seconds and time.monotonic() - begin > args.seconds:
                break
            test.round(*(kills[i % len(kills)] for kills in lists))
        test.equal()
    report.note(f"{len(test.tried)} of {sum(len(ways(o)) for o in WAYS)} steps, {time.monotonic() - begin:.0f} s")
    return report.done()


if __name__ == "__main__":
    sys.exit(main())
