#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""powercut.py [--long | ROUNDS] [SEED] [--lie] -- the power of a whole machine is cut at random times under writers: nothing acknowledged is lost.

The daemon runs in a small machine (guest.py) on a disk that loses what was not flushed (disk.py); the writers are outside, over TLS.
After each cut the machine boots from what reached the disk, and everything is compared with the writers' journals
(../journal.py).  At the end it is given a disk that does not flush (with --lie only that): losses must be found then, which shows that
the test can.
"""

import contextlib
import io
import os
import random
import shutil
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "..", "lib"), os.path.join(HERE, "..")]
import guest  # noqa: E402
import journal  # noqa: E402
import lab  # noqa: E402
import world  # noqa: E402
from daemon import Lost, XapiError, until  # noqa: E402
from report import Report  # noqa: E402

WRITERS = 8
ROUNDS, LONG = 2, 20
CALLS = 250  # acknowledged in a round, at most
LONGEST = 90  # seconds


def files_wrong(machine, w):
    """Disks of acknowledged VDIs that are not on the machine's file system."""
    names = {os.path.basename(path): size for path, size in machine.files().items()}
    uuids = {v["uuid"] for v in w["VDI"].values() if w["SR"].get(v["SR"], {}).get("type") in ("ext", "file")}
    return [f"VDI {u} has no file, or an empty one" for u in uuids if not names.get(f"{u}.qcow2")]


def one_running(client, number):
    """A VM that runs when the power goes."""
    vm = lab.vm(client, f"ran in round {number}")
    lab.enough_memory(client, vm)
    client("VM.start", vm, False, False)
    return vm


class Test:
    def __init__(self, machine, report, seed):
        self.machine, self.report = machine, report
        self.chance, self.counter = random.Random(seed), journal.Counter()
        self.writers = [journal.Writer(n, seed, self.counter, kept=4) for n in range(WRITERS)]
        self.ran = None  # a VM that ran when the power went

    def boots(self, text):
        try:
            seconds = self.machine.boot()
        except RuntimeError as e:
            return self.report.fail(text, e)
        return self.report.check(True, f"{text} ({seconds:.1f} s)")

    def write_and_cut(self, number):
        client = self.machine.client(timeout=60)
        self.ran = one_running(client, number)
        wrong = journal.run(self.writers, lambda _: self.machine.client(timeout=60), self.counter, self.chance.randrange(10, CALLS), LONGEST,
                            lambda _: (time.sleep(self.chance.uniform(0, 0.05)), self.machine.cut()))
        self.report.note(f"{self.counter.value} writes acknowledged so far; {self.machine.cuts[-1]}")
        return wrong

    def compare(self, wrong, number):
        client = self.machine.client(timeout=60)
        found = until(lambda: journal.settled(client), 60) or world.world(client)
        wrong += journal.compare(self.writers, found) + world.faults(found) + files_wrong(self.machine, found)
        good = self.report.check_none(wrong, f"round {number}: what was acknowledged is there, nothing else is, and all fits together")
        state = until(lambda: client("VM.get_power_state", self.ran) == "Halted", 30) or client("VM.get_power_state", self.ran)
        return self.report.check(state is True, f"round {number}: a VM that ran when the power went is halted", state) and good

    def run(self, rounds):
        """All rounds, or as many as go well."""
        if not self.boots("the machine starts with an empty disk"):
            return
        for number in range(1, rounds + 1):
            wrong = self.write_and_cut(number)
            if not self.boots(f"round {number}: the machine starts from what is on the disk") or not self.compare(wrong, number):
                self.report.note(self.machine.tail())
                break
        self.report.check(self.counter.value >= rounds * 5, f"{self.counter.value} writes were acknowledged, enough for the test to mean something")


def on_a_machine(report, seed, rounds, lie=False):
    folder = tempfile.mkdtemp(prefix="xp-")
    machine = None
    try:
        machine = guest.Guest(folder, guest.make_initramfs(folder), lie)
        Test(machine, report, seed).run(rounds)
    except (Lost, XapiError) as e:
        report.fail("the machine answers", e, machine.tail())
    finally:
        if machine:
            machine.close()
        if os.environ.get("XAPID_KEEP"):
            print(f"#   kept: {folder}", flush=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def on_a_lying_disk(report, seed):
    """The test must find losses where the disk loses what it said it had."""
    inner, said = Report(), io.StringIO()
    with contextlib.redirect_stdout(said):
        on_a_machine(inner, seed, 1, lie=True)
    report.check(inner.failed, "a disk that does not flush is found out", said.getvalue())
    report.note("what it found: " + next((s for s in said.getvalue().splitlines() if s.startswith("not ok")), "nothing"))


def main():
    words = [w for w in sys.argv[1:] if not w.startswith("--")]
    rounds = LONG if "--long" in sys.argv else int(words.pop(0)) if words else ROUNDS
    seed = int(words[0]) if words else random.randrange(1 << 30)
    print(f"# seed {seed}", flush=True)
    report = Report()
    try:
        if "--lie" not in sys.argv:
            on_a_machine(report, seed, rounds)
        on_a_lying_disk(report, seed)
    except guest.Missing as e:
        print(f"ok - # SKIP power cuts: {e}", flush=True)
        sys.exit(77)
    sys.exit(report.done())


if __name__ == "__main__":
    main()
