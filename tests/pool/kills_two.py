#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""kills_two.py [--seconds N] [--seed S] -- two hosts: whoever is at work is killed while a witness joins and leaves, and while one host goes on alone.

Round after round, each with a kill in one step, in an order that the seed says; without --seconds until every step was tried.  First a round
without kills, which must reach just the steps of WAYS.  Whatever was killed is begun again, or asked for again, as a person would: then there
are three voters, or one; or one coordinator that goes on and takes the other host back, whichever of the two ways it is told.
"""

import argparse
import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from daemon import Lost, XapiError, until  # noqa: E402
from lone_hosts import ensure_all  # noqa: E402
from report import Report  # noqa: E402
from witness import PATIENCE, Two, write  # noqa: E402

# Each operation: the steps of the witness, or of the host that goes on alone, of the one that comes back, and of the pool.
WAYS = {
    "join": ("witness_join/begun", "witness_join/asked", "witness_join/in", "witness_run/opened", "witness_run/begun", "pool_witness/added"),
    "leave": ("witness_leave/asked", "witness_leave/kept", "pool_witness/removed"),
    "alone": ("pool_takeover/checked", "pool_takeover/written", "pool_takeover/alone", "pool_takeover/recorded"),
    "return": ("pool_return/asked", "pool_return/written", "pool_return/taken", "pool_join/started"),
}
STEPS = {s for steps in WAYS.values() for s in steps}


class Test:
    def __init__(self, report, two, rng):
        self.report, self.two, self.rng = report, two, rng
        self.tried = set()
        self.by_itself = rng.random() < 0.5  # how the one that comes back is told
        self.two.witness.faults = True
        os.makedirs(self.two.witness.dir, mode=0o700)

    def check(self, step, condition, text, *details):
        tails = () if condition else (*(h.log_tail(12) for h in self.two.hosts), self.two.witness.said()[-1500:])
        return self.report.check(condition, f"killed in {step or 'no step'}: {text}", *details, *tails)

    def arm(self, step):
        lines = [f"{step} kill"] if step else []
        for h in self.two.hosts:
            h.fault(*lines)
        self.two.witness.fault(*lines)

    def mend(self, step, dead):
        """All go on; 'dead': something was killed."""
        self.check(step, dead or not step, "somebody was killed")
        self.tried |= {step} - {None}
        self.arm(None)
        ensure_all(self.two.hosts)

    def somebody_died(self):
        return any(not h.running() for h in self.two.hosts)

    # -- the witness --

    def join(self, step):
        w, host = self.two.witness, self.rng.choice(self.two.hosts)
        self.arm(step)
        code, text = w.command("join", host.address)
        dead = code < 0 or self.somebody_died()
        if code == 0:
            w.run()
            dead = until(lambda: not w.running() or self.somebody_died(), PATIENCE if step and not dead else 0) or dead
        self.mend(step, dead)
        if code != 0:
            until(lambda: w.command("join", host.address)[0] == 0 or "already" in w.command("join", host.address)[1], PATIENCE, 0.2)
        if not w.running():
            w.run()
        self.check(step, self.two.settled(["voter"] * 3), "then there are three voters", code, text, [h.status() for h in self.two.hosts])

    def leave(self, step):
        w = self.two.witness
        self.arm(step)
        code, text = w.command("leave")
        self.mend(step, code < 0 or self.somebody_died())
        if code != 0:
            until(lambda: not os.path.exists(os.path.join(w.dir, "witness")) or w.command("leave")[0] == 0, PATIENCE, 0.2)
        self.check(step, until(lambda: not w.running(), PATIENCE), "the witness ends", code, text)
        self.check(step, self.two.settled(["standby", "voter"]), "then one host votes", [h.status() for h in self.two.hosts])

    # -- one host alone --

    def alone(self, step):
        lost = self.two.leader()
        left = next(h for h in self.two.hosts if h is not lost)
        lost.kill()
        until(lambda: left.tries("host.is_in_emergency_mode"), PATIENCE)
        left.fault(*([f"{step} kill"] if step else []))
        asked = until(lambda: self.asks(left, "pool.emergency_transition_to_master"), PATIENCE, 0.5)
        if step:
            self.check(step, until(lambda: not left.running(), PATIENCE), "somebody was killed", asked)
            self.tried.add(step)
            left.ensure()
        # Before its file is written nothing was decided.
        if step == "pool_takeover/checked":
            until(lambda: self.asks(left, "pool.emergency_transition_to_master"), PATIENCE, 0.5)
        self.check(step, until(lambda: (left.status() or {}).get("leads"), PATIENCE) and write(left, str(step)) is not None, "it goes on alone", left.log_tail())
        return left, lost

    @staticmethod
    def asks(host, *call):
        """True unless it is refused."""
        try:
            host(*call)
        except Lost:
            pass
        except XapiError:
            return False
        return True

    def back(self, step, left, lost):
        """The other one, killed at that step."""
        lost.launch().result()
        told = until(lambda: lost.tries("host.is_in_emergency_mode"), PATIENCE)
        self.check(step, told, "the other one waits", lost.log_tail())
        number = lost.status()["id"]

        def is_back():
            return (lost.status() or {}).get("id", number) != number and lost.is_member_of(left)
        self.arm(step)
        by_itself = self.by_itself = not self.by_itself
        self.tells(by_itself, left, lost)
        self.mend(step, not step or until(self.somebody_died, PATIENCE))
        if not until(is_back, 5):
            until(lambda: is_back() or self.tells(by_itself, left, lost), PATIENCE, 1)
        self.check(step, until(is_back, PATIENCE), f"it comes back, told {'itself' if by_itself else 'by the other'}")
        self.check(step, write(lost, f"{step} back") is not None and self.two.settled(["standby", "voter"]), "and is a member")

    def tells(self, by_itself, left, lost):
        if by_itself:
            self.asks(lost, "pool.emergency_reset_master", left.address)
        else:
            self.asks(left, "pool.recover_slaves")

    # -- all --

    def round(self, join, leave, alone, returns):
        self.join(join)
        self.leave(leave)
        self.back(returns, *self.alone(alone))

    def undisturbed(self):
        self.round(None, None, None, None)
        reached = set()
        for folder in [h.state for h in self.two.hosts] + [self.two.witness.dir]:
            with open(os.path.join(folder, "steps")) as f:
                reached |= {s.strip() for s in f if s.startswith(("witness_", "pool_witness", "pool_takeover", "pool_return"))}
        declared = STEPS - {"pool_join/started"}
        self.report.check(reached == declared, "just the declared steps are reached", f"not reached: {declared - reached}", f"not declared: {reached - declared}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, help="as many rounds as are begun within that")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    args = parser.parse_args()
    report, rng, begin = Report(), random.Random(args.seed), time.monotonic()
    report.note(f"seed {args.seed}")
    lists = [list(steps) for steps in WAYS.values()]
    for steps in lists:
        rng.shuffle(steps)
    with Two(report) as two:
        test = Test(report, two, rng)
        test.undisturbed()
        report.note(f"{time.monotonic() - begin:.0f} s so far")
        for i in range(max(len(steps) for steps in lists)):
            if args.seconds and time.monotonic() - begin > args.seconds:
                break
            test.round(*(steps[i % len(steps)] for steps in lists))
    report.note(f"{len(test.tried)} of {len(STEPS)} steps, {time.monotonic() - begin:.0f} s")
    return report.done()


if __name__ == "__main__":
    sys.exit(main())
