# SPDX-License-Identifier: LGPL-2.1-or-later
"""faults.py -- what happens to a pool: a schedule from a seed, and its carrying out.

Every fault begins and ends.  Each kind comes once before any comes again.  Faults overlap, but most of the time those that hit members hit
a minority; now and then they do not.
"""

import random
import signal
import time

from daemon import Lost, XapiError

GAP = 2.5           # seconds between the beginnings of two faults, on average
AT_ONCE = 3
ANYBODY = 0.15      # the chance that a fault may hit a member beyond the minority
DOWN = ("kill", "stop", "cut", "mute", "deaf", "full_disk")  # kinds that make a member useless to the others
# kind: seconds it lasts, at least and at most
KINDS = {
    "cut": (1, 8),             # a member from all others
    "mute": (1, 6),            # what it sends is lost
    "deaf": (1, 6),            # what is sent to it is lost
    "pair": (2, 8),            # two members from each other
    "one_way": (2, 8),         # from one member to another
    "halves": (1, 6),          # the members in two groups
    "loss": (3, 10),           # a share of what a member sends and gets
    "slow_wire": (3, 10),      # a relay's delay and jitter, both ways
    "slow_out": (3, 10),       # delay one way
    "lossy_out": (3, 8),       # loss one way, in the relay
    "stop": (0.3, 6),          # SIGSTOP, SIGCONT
    "kill": (0.1, 6),          # kill -9, and started again
    "kill_all": (0.1, 2),      # everybody at once
    "full_disk": (2, 6),
    "slow_disk": (3, 8),
    "transfer": (0, 0),        # leadership is handed over
}
RARE = {"kill_all": 0.35, "halves": 0.7}  # the chance to be left in a deck after the first


class Fault:
    def __init__(self, begin, kind, end, members, how):
        self.begin, self.kind, self.end, self.members, self.how = begin, kind, end, members, how

    def __str__(self):
        how = "" if self.how is None else f" {self.how}"
        return f"{self.begin:6.1f}-{self.end:6.1f} {self.kind} {' '.join(map(str, self.members))}{how}"


def _members(chance, kind, n, relays, disks):
    """Whom it hits, and how."""
    one = chance.randrange(n)
    if kind in ("pair", "one_way"):
        return chance.sample(range(n), 2), None
    if kind == "halves":
        return chance.sample(range(n), chance.randrange(1, n)), None
    if kind == "kill_all":
        return list(range(n)), None
    if kind == "loss":
        return [one], round(chance.uniform(0.03, 0.4), 2)
    if kind in ("slow_wire", "slow_out"):
        return [chance.choice(relays)], round(chance.choice((0.005, 0.03, 0.1, 0.25)), 3)
    if kind == "lossy_out":
        return [chance.choice(relays)], round(chance.uniform(0.05, 0.6), 2)
    if kind in ("full_disk", "slow_disk"):
        return [chance.choice(disks)], chance.choice((40_000, 200_000, 1_000_000)) if kind == "slow_disk" else None
    return [one], None


def schedule(seed, n, seconds, relays, disks, kinds=KINDS, down=DOWN):
    """A list of faults, by their beginnings; all end before 'seconds'."""
    chance, at, deck, out = random.Random(f"faults {seed}"), 2.0, [], []
    first = True
    while True:
        at += chance.expovariate(1 / GAP)
        if not deck:
            deck = [k for k in kinds if (relays or k not in ("slow_wire", "slow_out", "lossy_out")) and (disks or "disk" not in k)
                    and (first or chance.random() < RARE.get(k, 1))]
            chance.shuffle(deck)
            first = False
        kind = deck.pop()
        low, high = kinds[kind]
        members, how = _members(chance, kind, n, relays, disks)
        fault = Fault(round(at, 2), kind, round(at + chance.uniform(low, high), 2), members, how)
        under_way = [f for f in out if f.end > at]
        if len(under_way) >= AT_ONCE:
            at = min(f.end for f in under_way)
            deck.append(kind)
            continue
        if at + low > seconds - 1:
            return out
        fault.end = min(fault.end, seconds - 1)
        hit = {m for f in under_way if f.kind in down for m in f.members}
        if kind in down and len(hit | set(members)) > (n - 1) // 2 and chance.random() > ANYBODY:
            deck.insert(0, kind)  # later
            continue
        if any(f.kind == kind and set(f.members) & set(members) for f in under_way):
            continue
        out.append(fault)


class Faults:
    """Carries out a schedule, on one thread that lives as long as the pool."""

    def __init__(self, pool, plan):
        self.pool, self.plan = pool, plan
        self.dead, self.starting = set(), {}
        self.failed = []  # daemons that did not start again
        self.done = {}

    def run(self, stop=None):
        """Returns when all have ended."""
        begin = time.monotonic()
        steps = sorted([(f.begin, 0, i, f) for i, f in enumerate(self.plan)] + [(f.end, 1, i, f) for i, f in enumerate(self.plan)],
                       key=lambda s: s[:3])
        for at, what, i, fault in steps:
            self.pause(begin + at, stop)
            if stop and stop():
                return
            getattr(self, ("begin_", "end_")[what] + fault.kind)(f"{i}", fault)
            if what == 0:
                self.done[fault.kind] = self.done.get(fault.kind, 0) + 1

    def pause(self, until_when, stop):
        """Until that moment of the monotonic clock."""
        time.sleep(max(0.0, until_when - time.monotonic()))

    def calm(self):
        """Wires, disks and processes are as they were; whoever is dead is being started."""
        self.pool.net.heal_all()
        for m in self.pool:
            m.signal(signal.SIGCONT)
            if m.disk:
                m.disk.free()
                m.disk.slow(0)
        for number in sorted(self.dead):
            self._start(self.pool[number])

    def heal(self):
        """Everything is as it was; waits for daemons that start."""
        self.calm()
        for number, started in list(self.starting.items()):
            if started.result():  # perhaps its disk was full just then
                started = self.pool[number].launch()
            error = started.result()
            if error:
                self.failed.append(f"member {number} did not start again: {error}")
        self.starting.clear()
        for m in self.pool:
            if not m.running() and m.number not in self.dead:
                self._ended(m)

    def _ended(self, m):
        self.failed.append(f"member {m.number} ended by itself ({m.process.returncode}):\n{m.log_tail(15)}")

    # -- the wires --

    def _others(self, i):
        return [j for j in range(len(self.pool)) if j != i]

    def begin_cut(self, name, f):
        self.pool.net.isolate(name, f.members[0])

    def begin_mute(self, name, f):
        self.pool.net.drop(name, [(f.members[0], j) for j in self._others(f.members[0])])

    def begin_deaf(self, name, f):
        self.pool.net.drop(name, [(j, f.members[0]) for j in self._others(f.members[0])])

    def begin_pair(self, name, f):
        a, b = f.members
        self.pool.net.drop(name, [(a, b), (b, a)])

    def begin_one_way(self, name, f):
        self.pool.net.drop(name, [tuple(f.members)])

    def begin_halves(self, name, f):
        rest = [j for j in range(len(self.pool)) if j not in f.members]
        self.pool.net.drop(name, [p for a in f.members for b in rest for p in ((a, b), (b, a))])

    def begin_loss(self, name, f):
        i = f.members[0]
        self.pool.net.drop(name, [p for j in self._others(i) for p in ((i, j), (j, i))], f.how)

    def _heal(self, name, _):
        self.pool.net.heal(name)

    end_cut = end_mute = end_deaf = end_pair = end_one_way = end_halves = end_loss = _heal

    def begin_slow_wire(self, _, f):
        for direction in ("in", "out"):
            self.pool.net.relays[f.members[0]].set(direction, f.how, f.how / 2)

    def begin_slow_out(self, _, f):
        self.pool.net.relays[f.members[0]].set("out", f.how, f.how / 2)

    def begin_lossy_out(self, _, f):
        self.pool.net.relays[f.members[0]].set("out", 0, 0, f.how)

    def _plain_wire(self, _, f):
        for direction in ("in", "out"):
            self.pool.net.relays[f.members[0]].set(direction)

    end_slow_wire = end_slow_out = end_lossy_out = _plain_wire

    # -- the processes --

    def begin_stop(self, _, f):
        self.pool[f.members[0]].signal(signal.SIGSTOP)

    def end_stop(self, _, f):
        self.pool[f.members[0]].signal(signal.SIGCONT)

    def _kill(self, m):
        started = self.starting.pop(m.number, None)
        if started:
            started.cancel() or m.signal(signal.SIGKILL)
            if not started.cancelled():
                started.result()
        elif not m.running() and m.number not in self.dead:
            self._ended(m)
        m.kill()
        self.dead.add(m.number)

    def _start(self, m):
        self.dead.discard(m.number)
        self.starting[m.number] = m.launch()

    def begin_kill(self, _, f):
        self._kill(self.pool[f.members[0]])

    def begin_kill_all(self, _, f):
        for i in f.members:
            self._kill(self.pool[i])

    def end_kill(self, _, f):
        for i in f.members:
            if i in self.dead:
                self._start(self.pool[i])

    end_kill_all = end_kill

    def begin_transfer(self, _, f):
        m, leader = self.pool[f.members[0]], self.pool.leader()
        if leader and leader is not m and m.id:
            try:
                leader.internal({"transfer": {"id": m.id}}, 3)
            except (Lost, XapiError):
                pass

    def end_transfer(self, _, f):
        pass

    # -- the disks --

    def begin_full_disk(self, _, f):
        self.pool[f.members[0]].disk.fill()

    def end_full_disk(self, _, f):
        self.pool[f.members[0]].disk.free()

    def begin_slow_disk(self, _, f):
        self.pool[f.members[0]].disk.slow(f.how)

    def end_slow_disk(self, _, f):
        self.pool[f.members[0]].disk.slow(0)
