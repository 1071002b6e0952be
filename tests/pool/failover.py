#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""failover.py [--rounds N] [--seed S] [--only WHAT] -- how long writes stop when the coordinator of three hosts is lost.

N times each: kill -9 of the member that leads; its link is cut; leadership is handed over.  Measured from the last acknowledged write to
the next, with writers that go on trying on surviving members.  Meanwhile readers read from every surviving member and must not notice.
Before that, in a pool that was just made and to which nobody writes: its link is cut, and measured is how long until another one leads.
"""

import argparse
import os
import random
import statistics
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from daemon import Lost, XapiError, until  # noqa: E402
from history import GONE_SESSION  # noqa: E402
from members import Pool, Session  # noqa: E402
from report import Report  # noqa: E402

HOSTS = 3
WRITERS = 6
MEDIAN, WORST, HANDOVER = 0.7, 2.0, 0.1
READ = 0.4  # a session whose calls come more than 100 ms apart, as on a busy machine, waits 300 ms for a member that does not answer (docs/two-truths.md)
TIMEOUT = 3.0  # of a call; on members that were not hit each must be answered by then
WINDOW = 6.0   # seconds in which writes are waited for
STANDSTILL = 0.05  # a client that is held up for longer says nothing about the members (a reader is, several times a call): the round is done again


class Client(threading.Thread):
    def __init__(self, test, member, name):
        super().__init__(daemon=True, name=name)
        self.test, self.member, self.home = test, member, member
        self.session = Session(test.pool, TIMEOUT)
        self.stuck = []  # when what was asked on a member that was not hit had no answer in time
        self.answers = []  # (asked, answered)
        self.refused = {}

    def run(self):
        while not self.test.stop.is_set():
            if self.test.hit is None:
                self.member = self.home
            begin = time.monotonic()
            try:
                if not self.session.ref:
                    self.session.login(self.member)
                    begin = time.monotonic()
                self.ask()
                self.answers.append((begin, time.monotonic()))
            except Lost:
                if self.member != self.test.hit and time.monotonic() - begin >= TIMEOUT:
                    self.stuck.append(begin)
                self.failed()
            except XapiError as e:
                self.refused[str(e)] = self.refused.get(str(e), 0) + 1
                if e.code in GONE_SESSION:
                    self.session.ref = None
                    self.test.lost_sessions += 1
                self.failed()
            time.sleep(0.004)
        self.session.close()


class Writer(Client):
    def __init__(self, test, member, ref):
        super().__init__(test, member, f"writer {member}")
        self.ref, self.serial = ref, 0

    def ask(self):
        self.serial += 1
        self.session.call(self.member, "VM.set_name_description", self.ref, f"write {self.serial}")

    def failed(self):
        """On another member, at once: one that the test has not hit."""
        self.member = random.choice([m for m in range(HOSTS) if m != self.test.hit])


class Reader(Client):
    def __init__(self, test, member, ref):
        super().__init__(test, member, f"reader {member}")
        self.ref = ref

    def ask(self):
        self.session.call(self.member, "VM.get_name_label", self.ref)

    def failed(self):
        time.sleep(0.02)


class Clock(threading.Thread):
    """Notices when this machine stands still: no member is to blame for that."""

    def __init__(self, test):
        super().__init__(daemon=True, name="clock")
        self.test, self.late = test, []  # (when, seconds)

    def run(self):
        while not self.test.stop.is_set():
            begin = time.monotonic()
            time.sleep(0.01)
            late = time.monotonic() - begin - 0.01
            if late > 0.05:
                self.late.append((begin, late))


class Test:
    def __init__(self, pool, report, chance):
        self.pool, self.report, self.chance = pool, report, chance
        self.stop, self.hit, self.lost_sessions = threading.Event(), None, 0
        session, leader = Session(pool, 30), pool.wait_leader().number
        session.login(leader)
        source = session.call(leader, "VM.get_by_name_label", "Other install media")[0]
        vms = [session.call(leader, "VM.clone", source, f"failover {n}") for n in range(WRITERS)]
        session.close()
        self.settle()
        self.writers = [Writer(self, n % HOSTS, vms[n]) for n in range(WRITERS)]
        self.readers = [Reader(self, n % HOSTS, vms[0]) for n in range(HOSTS)]
        self.clock = Clock(self)
        for c in [*self.writers, *self.readers, self.clock]:
            c.start()

    def settle(self):
        """All members are there, follow one leader and have nearly what it has."""
        def settled():
            found = [m.status(1) for m in self.pool]
            if not all(found) or len({s["leader"] for s in found}) != 1 or len({s["term"] for s in found}) != 1:
                return False
            return sum(s["leads"] for s in found) == 1 and max(s["revision"] for s in found) - min(s["revision"] for s in found) < 50
        if not until(settled, 40, 0.05):
            raise RuntimeError("the members do not come together:\n" +
                               "\n".join(f"-- {m.number}: {m.status(1)}\n{m.log_tail(10)}" for m in self.pool))

    def acknowledged(self, begin, end):
        return sorted(a for w in self.writers for _, a in list(w.answers)[-4000:] if begin <= a <= end)

    def gap(self, at):
        """The longest time without an acknowledgement that ends after 'at'."""
        if not until(lambda: len(self.acknowledged(at + 0.3, at + WINDOW)) > 20, WORST, 0.05):
            for m in self.pool:
                print(f"#   member {m.number} after {ms(time.monotonic() - at)}: {m.status(1)}\n#     "
                      + "\n#     ".join(m.log_tail(12).splitlines()), flush=True)
            until(lambda: len(self.acknowledged(at + 0.3, at + WINDOW)) > 20, WINDOW - WORST, 0.05)
        time.sleep(0.3)
        moments = [a for a in self.acknowledged(at - 1, at + WINDOW)]
        gaps = [b - a for a, b in zip(moments, moments[1:]) if b > at]
        return max(gaps, default=float("inf")) if moments and moments[-1] > at + 0.2 else float("inf")

    def reads(self, at, survivors):
        """(longest time between two answers, longest answer) of the readers of surviving members."""
        pause = longest = 0.0
        for r in self.readers:
            if r.member not in survivors:
                continue
            found = [(b, a) for b, a in list(r.answers)[-3000:] if b >= at - 0.2]
            longest = max([longest, *(a - b for b, a in found)])
            for b, a in found:
                if a - b > READ / 2:
                    print(f"#   a read on member {r.member} took {ms(a - b)}, from {ms(b - at)} after the hit on", flush=True)
            pause = max([pause, *(y[1] - x[1] for x, y in zip(found, found[1:]))]) if len(found) > 1 else float("inf")
        return pause, longest

    def round(self, hit, heal):
        """Hits the member that leads; the gap, what readers saw, for how long the machine stood still."""
        self.settle()
        time.sleep(0.3 + self.chance.random() * 0.3)
        leader = self.pool.wait_leader()
        self.hit = leader.number
        at = time.monotonic()
        hit(leader)
        gap = self.gap(at)
        stood = [(b, late) for b, late in list(self.clock.late) if b >= at - 0.2]
        for b, late in stood:
            print(f"#   the machine stood still for {ms(late)}, {ms(b - at)} after the hit", flush=True)
        reads = self.reads(at, [m for m in range(HOSTS) if m != leader.number])
        heal(leader)
        self.hit = None
        return (gap, *reads, max((late for _, late in stood), default=0))

    def rounds(self, hit, heal, n):
        """n rounds in which the machine went on; at most as many again in which it did not."""
        found, judged = [], []
        while len(judged) < n and len(found) < 2 * n:
            found.append(self.round(hit, heal))
            judged = [r for r in found if r[-1] <= STANDSTILL]
        return judged if len(judged) == n else found

    def kill(self, leader):
        leader.kill()

    def start(self, leader):
        error = leader.launch().result()
        if error:
            raise RuntimeError(error)

    def cut(self, leader):
        self.pool.net.isolate("cut", leader.number)

    def heal(self, _):
        self.pool.net.heal("cut")

    def hand_over(self):
        self.settle()
        time.sleep(0.3)
        leader = self.pool.wait_leader()
        to = self.chance.choice([m for m in self.pool if m is not leader])
        at, error = time.monotonic(), ""
        try:
            leader.internal({"transfer": {"id": to.id}}, 10)
        except (Lost, XapiError) as e:
            error = str(e)
        took = time.monotonic() - at
        time.sleep(0.7)
        moments = self.acknowledged(at - 0.2, at + 0.7)
        now = self.pool.wait_leader()
        gap = max((b - a for a, b in zip(moments, moments[1:])), default=float("inf"))
        return gap, took, error or ("" if now is to else f"member {now.number} leads, not {to.number}")

    def quiet(self):
        """The longest gap while nothing happens."""
        self.settle()
        begin = time.monotonic()
        time.sleep(3)
        moments = self.acknowledged(begin, begin + 3)
        return max((b - a for a, b in zip(moments, moments[1:])), default=float("inf")), len(moments) / 3

    def end(self):
        self.stop.set()
        for c in self.writers + self.readers:
            c.join(10)


def cut_idle(pool, chance):
    """Seconds until another member leads."""
    same = lambda: len({(m.status(1) or {}).get("leader") for m in pool}) == 1 and any((m.status(1) or {}).get("leads") for m in pool)
    if not until(same, 40, 0.05):
        raise RuntimeError("the members do not follow one leader")
    time.sleep(chance.choice((0.3, 1, 3)))
    leader = pool.wait_leader()
    others = [m for m in pool if m is not leader]
    at = time.monotonic()
    pool.net.isolate("cut", leader.number)
    found = until(lambda: any((m.status(1) or {}).get("leads") for m in others), WINDOW, 0.01)
    took = time.monotonic() - at if found else float("inf")
    pool.net.heal("cut")
    return took


def report_idle(report, took):
    took.sort()
    print(f"#   cut off, idle: another one leads after {' '.join(ms(t) for t in took)}")
    report.check(statistics.median(took) <= MEDIAN and took[-1] <= WORST,
                 f"cut off while nobody writes, {len(took)} times: another one leads after {ms(statistics.median(took))} in the median, at most {ms(MEDIAN)}, "
                 f"and {ms(took[-1])} at worst, at most {ms(WORST)}")


def ms(seconds):
    return f"{seconds * 1000:.0f} ms"


def report_rounds(report, what, rounds):
    gaps = sorted(r[0] for r in rounds)
    median, worst = statistics.median(gaps), gaps[-1]
    print(f"#   {what}: gaps {' '.join(ms(g) for g in gaps)}")
    report.check(median <= MEDIAN, f"{what}, {len(gaps)} times: writes stop for {ms(median)} in the median, at most {ms(MEDIAN)}")
    report.check(worst <= WORST, f"{what}: and for {ms(worst)} at worst, at most {ms(WORST)}")
    longest, pause = max(r[2] for r in rounds), max(r[1] for r in rounds)
    report.check(longest <= READ and pause <= 2 * READ,
                 f"{what}: reads on surviving members go on; the longest took {ms(longest)}, at most {ms(READ)}; "
                 f"{ms(pause)} between two answers")


def report_hand_overs(report, overs):
    gaps = sorted(o[0] for o in overs)
    print(f"#   hand-over: gaps {' '.join(ms(g) for g in gaps)}; asked and answered in {ms(max(o[1] for o in overs))} at most")
    report.check_none([o[2] for o in overs if o[2]], "leadership goes to whom it was handed")
    judged = gaps[-1] if len(gaps) >= 20 else statistics.median(gaps)  # one slow disk write in a few says nothing
    report.check(judged <= HANDOVER, f"hand-over, {len(gaps)} times: writes stop for {ms(judged)} "
                 f"{'at worst' if len(gaps) >= 20 else 'in the median'}, at most {ms(HANDOVER)}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--only", choices=("idle", "hand-over", "kill", "cut"))
    options = parser.parse_args()
    print(f"# seed {options.seed}", flush=True)
    report = Report()
    with Pool(HOSTS, seed=options.seed) as pool:
        pool.form()
        chance = random.Random(options.seed)
        if options.only in (None, "idle"):
            report_idle(report, [cut_idle(pool, chance) for _ in range(options.rounds)])
        if options.only == "idle":
            sys.exit(report.done())
        test = Test(pool, report, chance)
        try:
            time.sleep(1)
            gap, rate = test.quiet()
            print(f"#   {WRITERS} writers on {HOSTS} members: {rate:.0f} writes/s; longest gap while nothing happens: {ms(gap)}",
                  flush=True)
            if options.only in (None, "hand-over"):
                report_hand_overs(report, [test.hand_over() for _ in range(options.rounds)])
            if options.only in (None, "kill"):
                report_rounds(report, "kill -9", test.rounds(test.kill, test.start, options.rounds))
            if options.only in (None, "cut"):
                report_rounds(report, "cut off", test.rounds(test.cut, test.heal, options.rounds))
        except RuntimeError as e:
            report.fail("the pool comes together after each round", e)
        test.end()
        refused = {}
        for c in test.writers + test.readers:
            for text, n in c.refused.items():
                refused[text] = refused.get(text, 0) + n
        for text, n in sorted(refused.items(), key=lambda e: -e[1])[:6]:
            print(f"#   {n} times {text[:160]}")
        stuck = [t for c in test.writers + test.readers for t in c.stuck]
        report.check(not stuck, f"calls on surviving members are answered within {TIMEOUT:.0f} s ({len(stuck)} were not)")
        report.check(not test.lost_sessions, f"every session lives on on the other members ({test.lost_sessions} were lost)")
        report.check(not pool.wait_equal(), "all members have the same digest in the end", pool.digests())
    sys.exit(report.done())


if __name__ == "__main__":
    main()
