#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""roaming.py -- what a session has seen on one member it sees on the next, even where those two cannot talk to each other.

Three members.  The first and the last cannot reach each other but both reach the coordinator, and the first is behind, for its disk is
slow.  A session goes from the first to the last and back: on the first it must not be shown what was there before.  The same where all
reach each other, but the last was killed and started again in between: it answers, and has forgotten what it showed.
"""

import os
import sys
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from daemon import Lost, XapiError, until  # noqa: E402
from members import Pool, Session  # noqa: E402
from report import Report  # noqa: E402

BEHIND, COORDINATOR, AHEAD = range(3)
BYTES_PER_SECOND = 40_000  # of the slow disk
WRITES = 200               # seconds of work for it
GIVEN_UP = 3.5             # seconds after which a member that is not heard is not asked any more


class Test:
    def __init__(self, pool):
        self.pool = pool
        self.writer, self.reader = Session(pool, 20), Session(pool, 20)
        self.writer.login(COORDINATOR)
        self.reader.login(BEHIND)
        self.object = self.writer.call(COORDINATOR, "pool.get_all")[0]

    def write(self, value):
        self.writer.call(COORDINATOR, "pool.set_name_description", self.object, str(value))

    def read(self, i):
        return int(self.reader.call(i, "pool.get_name_description", self.object) or -1)

    def it_goes_to_and_fro(self):
        for value in range(20):
            self.write(value)
            seen = self.read(AHEAD)
            assert self.read(BEHIND) >= seen
            assert self.read(AHEAD) >= seen

    def two_that_cannot_reach_each_other(self):
        self.read(AHEAD)
        self.read(BEHIND)
        self.pool.net.drop("pair", [(BEHIND, AHEAD), (AHEAD, BEHIND)])
        self.lasts(GIVEN_UP)
        ahead = self.fall_behind(1000)
        self.not_older(ahead)
        self.heal()

    def one_that_was_started_again_has_forgotten(self):
        member = self.pool[AHEAD]
        self.read(AHEAD)
        ahead = self.fall_behind(2000)
        member.kill()
        member.launch().result()
        until(lambda: (member.status() or {}).get("leader"), 20)
        self.not_older(ahead)
        self.heal()

    def fall_behind(self, first):
        """One member does, in contact with the others; what the session is shown on another one then."""
        self.pool[BEHIND].disk.slow(BYTES_PER_SECOND)
        for value in range(first, first + WRITES):
            self.write(value)
        newest = first + WRITES - 1
        until(lambda: self.read(AHEAD) == newest)
        return newest

    def not_older(self, ahead):
        behind = self.read(BEHIND)
        assert behind >= ahead, f"it was shown {ahead} on one member and {behind} on another one after that"

    def heal(self):
        self.pool.net.heal("pair")
        self.pool[BEHIND].disk.slow(0)
        wrong = self.pool.wait_equal()
        assert not wrong, wrong

    def lasts(self, seconds):
        """The fault lasts so long, while the session is in use."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.read(BEHIND)
            time.sleep(0.05)


TESTS = ("it_goes_to_and_fro", "two_that_cannot_reach_each_other", "one_that_was_started_again_has_forgotten")


def main():
    report = Report()
    with Pool(3, disks=(BEHIND,)) as pool:
        pool.form()
        pool.transfer(pool[COORDINATOR])
        test = Test(pool)
        for name in TESTS:
            try:
                getattr(test, name)()
                report.ok(name)
            except (AssertionError, XapiError, Lost, OSError) as e:
                report.fail(name, traceback.format_exc(limit=-4), e)
    return report.done()


if __name__ == "__main__":
    sys.exit(main())
