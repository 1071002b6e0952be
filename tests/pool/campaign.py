#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""campaign.py [--hosts N] [--minutes N] [--seed S] [--broken KIND] [--save FILE] -- a pool under random faults, its whole history judged.

16 writers, readers and event readers on every member; faults from the seed (faults.py).  At the end everything is healed.  Then:
no acknowledged write is lost, all members have the same digest, the history of every map key, map, field and VM is linearizable, no
session saw the past again, event streams have neither gap nor repeat across failover, every member's checkpoint loads.

--broken KIND: the members are xapid-broken (broken_log.c), and the test passes where all this does not hold.
"""

import argparse
import json
import os
import pickle
import random
import sqlite3
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import history  # noqa: E402
from daemon import Lost, XapiError, until  # noqa: E402
from faults import Faults, schedule  # noqa: E402
from members import Pool, Session, stacks  # noqa: E402
from report import Report  # noqa: E402

WRITERS = 16
HOPPING = 4        # of the writers
GO_ON = 15         # seconds after the last fault in which writes must go on
EQUAL = 60
ENOUGH = 5         # acknowledged writes a second, for the test to mean something
READ_LIMIT = 10.0  # no read takes longer


class Campaign:
    def __init__(self, options, report):
        self.options, self.report = options, report
        chance, n = random.Random(f"campaign {options.seed}"), options.hosts
        order = chance.sample(range(n), n)
        # One with a bad wire, one with a bad disk; in a larger pool two of each.
        some = 1 if n < 5 else 2
        self.relays, self.disks = order[:some], order[-some:]
        self.plan = schedule(options.seed, n, options.minutes * 60, self.relays, self.disks)
        self.clients = []

    def of(self, kind):
        return [c for c in self.clients if isinstance(c, kind)]

    def run(self):
        o = self.options
        print(f"# seed {o.seed}, {o.hosts} hosts, {o.minutes} minutes; members with a relay {self.relays}, with a disk {self.disks}")
        for fault in self.plan:
            print(f"#   {fault}", flush=True)
        name, folder = "xapid", tempfile.TemporaryDirectory(prefix="xo-")
        once = os.path.join(folder.name, "broken")
        if o.broken:
            name = "xapid-broken"
            os.environ.update(XAPID_BROKEN=o.broken, XAPID_BROKEN_ONCE=once)
        with folder, Pool(o.hosts, self.relays, self.disks, o.seed, name=name) as pool:
            self.pool = pool
            pool.form()
            self.world = history.World(pool, o.seed, self.report)
            self.world.prepare(WRITERS)
            open(once, "w").close()
            self.start()
            faults = Faults(pool, self.plan)
            faults.run(lambda: any(c.wrong for c in self.clients) and bool(o.broken))
            faults.heal()
            self.report.check_none(faults.failed, f"every daemon lives, after {sum(faults.done.values())} faults: "
                                   f"{', '.join(f'{k} {v}' for k, v in sorted(faults.done.items()))}")
            if faults.failed and not o.broken:
                self.show_logs()
            self.afterwards()
            if o.broken:
                for m in pool:  # it need not end well
                    m.kill()

    def start(self):
        n = self.options.hosts
        self.clients = [history.Writer(self.world, i, i % n, i < HOPPING) for i in range(WRITERS)]
        self.clients += [history.Reader(self.world, f"r{i}", i, False) for i in range(n)]
        self.clients += [history.Reader(self.world, f"r{n + i}", i, True) for i in range(2)]
        self.clients += [history.EventReader(self.world, f"e{i}", i, False) for i in range(n)]
        self.clients += [history.EventReader(self.world, f"e{n}", 0, True)]
        for c in self.clients:
            c.thread.start()

    def acknowledged(self):
        return sum(len(w.acknowledged) for w in self.of(history.Writer))

    def afterwards(self):
        before, begin = self.acknowledged(), time.monotonic()
        go_on = until(lambda: self.acknowledged() > before + 50, GO_ON)
        self.report.check(go_on, f"writes go on once all is healed ({time.monotonic() - begin:.1f} s)", *([] if go_on else self.states()))
        until(lambda: self.acknowledged() > before + 300, 5)
        self.world.stop.set()
        for c in self.clients:
            if not isinstance(c, history.EventReader):
                c.thread.join(history.TIMEOUT * 2)
        differ = self.pool.wait_equal(EQUAL)
        if not self.report.check(not differ, "all members have the same revision and digest", *(differ or [])):
            self.show_logs()
        finals = self.finals()
        if finals is None:
            return
        self.catch_up()
        self.judge(finals)
        if not self.options.broken:
            self.stop()

    def finals(self):
        out = []
        for m in self.pool:
            session = Session(self.pool, 30)
            try:
                session.login(m.number)
                out.append(session.call(m.number, "VM.get_all_records"))
            except (Lost, XapiError) as e:
                self.report.fail(f"member {m.number} answers in the end", e, m.log_tail())
                return None
            finally:
                session.close()
        self.report.check(all(f == out[0] for f in out), "every member has the same VMs", *self.differences(out))
        return out

    @staticmethod
    def differences(finals):
        out = []
        for i, f in enumerate(finals[1:], 1):
            for ref in set(f) ^ set(finals[0]):
                out.append(f"{ref} is on member {i if ref in f else 0} only")
            for ref in set(f) & set(finals[0]):
                out += [f"{ref} {k}: {finals[0][ref][k]!r} on 0, {v!r} on {i}" for k, v in f[ref].items() if finals[0][ref].get(k) != v]
        return out[:10]

    def catch_up(self):
        last = max(s["revision"] for s in self.pool.digests() if s)
        for e in self.of(history.EventReader):
            e.last = last
        until(lambda: all(e.reached() for e in self.of(history.EventReader)), 20)
        self.world.stop_events.set()
        for e in self.of(history.EventReader):
            e.thread.join(history.TIMEOUT * 2)
        late = [f"{e.name} on member {e.member} is at {e.stream.revision}, not {last}; {e.errors}" for e in self.of(history.EventReader)
                if not e.reached()]
        self.report.check_none(late, "every event reader arrives at the last revision")

    def judge(self, finals):
        r, w = self.report, self.world
        r.check_none([x for c in self.clients for x in c.wrong], "no client was told what cannot be")
        begin = time.monotonic()
        if self.options.save:
            with open(self.options.save, "wb") as f:
                pickle.dump((w.histories, finals), f)
        faults, counts = history.judge(w.histories, finals)
        r.check_none(faults, f"{counts['objects']} objects with {counts['writes']} writes ({counts['unknown']} unknown) and "
                     f"{counts['reads']} reads have a linearizable history (checked in {time.monotonic() - begin:.1f} s)", 6)
        r.check(counts["undecided"] * 50 <= counts["objects"], f"{counts['undecided']} of them are undecided")
        r.check_none(history.judge_names(w.histories, finals), "every VM was asked for, and is there once")
        streams = self.of(history.EventReader)
        r.check_none(history.judge_streams(streams, finals), f"{sum(s.stream.events for s in streams)} events of {len(streams)} readers, "
                     f"{sum(s.moved_with_token for s in streams)} times moved with their token, come without gap and repeat", 6)
        seconds = self.options.minutes * 60
        r.check(self.acknowledged() >= seconds * ENOUGH,
                f"{self.acknowledged()} writes were acknowledged, enough for the test to mean something")
        slowest = max(c.slowest for c in self.clients)
        r.check(slowest < READ_LIMIT, f"the slowest read that was answered took {slowest:.2f} s")
        self.note_errors()

    def note_errors(self):
        errors = {}
        for c in self.clients:
            for text, n in c.errors.items():
                errors[text] = errors.get(text, 0) + n
        for text, n in sorted(errors.items(), key=lambda e: -e[1])[:12]:
            print(f"#   {n} times {text}")
        print(f"#   sessions that were not known any more: {self.world.lost_sessions}; "
              f"longest time without a write: {self.longest_gap():.1f} s")

    def longest_gap(self):
        moments = sorted(t for w in self.of(history.Writer) for t in w.acknowledged)
        return max((b - a for a, b in zip(moments, moments[1:])), default=0.0)

    def stop(self):
        """Every daemon ends on SIGTERM, and leaves a checkpoint that loads and has the same rows."""
        codes = [m.stop() for m in self.pool]
        self.report.check(not any(codes), "every daemon ends cleanly", codes)
        faults, tables = [], []
        for m in self.pool:
            try:
                db = sqlite3.connect(f"file:{m.state}/db/xapid.db?mode=ro", uri=True)
                faults += [f"member {m.number}: {row[0]}" for row in db.execute("PRAGMA integrity_check") if row[0] != "ok"]
                tables.append(sorted(map(repr, db.execute("SELECT * FROM VM"))))
                db.close()
            except sqlite3.Error as e:
                faults.append(f"member {m.number}: {e}")
        faults += [f"the table of VMs is another on member {i} than on 0" for i, t in enumerate(tables) if t != tables[0]]
        self.report.check_none(faults, "every member's checkpoint loads, and has the same VMs")

    def states(self):
        """What each member says of itself, and where its threads stand."""
        out = []
        for m in self.pool:
            status = m.status(2)
            out.append(f"member {m.number}: " + (json.dumps({k: status[k] for k in status if k != "members"}) if status else "no answer"))
        return out + [f"member {m.number}\n{stacks(m.pid)}" for m in self.pool.running()]

    def show_logs(self):
        for m in self.pool:
            self.report.note(f"-- member {m.number}\n{m.log_tail(15)}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--hosts", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--broken", default="")
    parser.add_argument("--save", help="a file for the history, to judge it again: campaign.py --judge FILE")
    parser.add_argument("--judge")
    options = parser.parse_args()
    if options.judge:
        with open(options.judge, "rb") as f:
            faults, counts = history.judge(*pickle.load(f))
        print(*faults, counts, sep="\n")
        sys.exit(bool(faults))
    if options.seed is None:
        options.seed = random.randrange(1 << 30)
    if not options.broken:
        report = Report()
        Campaign(options, report).run()
        sys.exit(report.done())
    sys.exit(expect_failure(options))


class Quiet(Report):
    """What fails is what is hoped for."""

    def __init__(self):
        super().__init__()
        self.found = []

    def ok(self, text):
        print(f"#   holds: {text}", flush=True)

    def fail(self, text, *details):
        self.found.append(text)
        print(f"#   broken: {text}", flush=True)
        for detail in details[:2]:
            self.note(detail)


def expect_failure(options):
    quiet, report = Quiet(), Report()
    try:
        Campaign(options, quiet).run()
    except RuntimeError as e:
        report.fail("the campaign on the broken build gets as far as judging", e)
    wanted = [f for f in quiet.found if "linearizable" in f or "asked for" in f or "told what cannot be" in f or "gap" in f]
    report.check(wanted, f"the campaign finds out a log that is broken: {options.broken}", *quiet.found)
    return report.done()


if __name__ == "__main__":
    main()
