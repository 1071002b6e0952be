#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""kill9.py [--long | ROUNDS] [SEED] -- kill -9 at random times under 16 writers: nothing acknowledged is ever lost.

After each kill the daemon is started again and everything it has is compared with the writers' journals (journal.py).  Everything must
also fit together: references, relations, uuids, files and disks, no task pending, nothing held.  One round in ten ends with SIGTERM.
"""

import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import journal  # noqa: E402
import world  # noqa: E402
from daemon import Daemon, until  # noqa: E402
from report import Report  # noqa: E402

WRITERS = 16
ROUNDS, LONG = 12, 200
CALLS = 800  # acknowledged in a round, at most
GIVE_UP = 5  # failures
LONGEST = 20  # seconds of writing in a round, should calls be slow


def round_of(daemon, writers, counter, chance, report, number):
    orderly = number % 10 == 9

    def end(stop):
        if not orderly:
            time.sleep(chance.uniform(0, 0.02))  # not always just after an answer
            daemon.kill()
            return
        stop.set()
        for w in writers:
            w.thread.join(60)
        report.check(daemon.stop() == 0, f"round {number + 1}: the daemon ends on SIGTERM")

    wrong = journal.run(writers, journal.client_of(daemon), counter, chance.randrange(1, CALLS), LONGEST, end)
    begin = time.monotonic()
    try:
        daemon.start()
    except RuntimeError as e:
        return report.fail(f"round {number + 1}: the daemon starts again", e)
    took = time.monotonic() - begin
    client = daemon.client()
    found = until(lambda: journal.settled(client), 30) or world.world(client)
    wrong += journal.compare(writers, found) + world.leftovers(daemon, client, found)
    return report.check_none(wrong, f"round {number + 1}: what was acknowledged is there, nothing else is, and all fits together "
                                    f"(started in {took:.1f} s)")


def main():
    words = [w for w in sys.argv[1:] if w != "--long"]
    rounds = LONG if "--long" in sys.argv else int(words.pop(0)) if words else ROUNDS
    seed = int(words[0]) if words else random.randrange(1 << 30)
    print(f"# seed {seed}", flush=True)
    report, chance, counter = Report(), random.Random(seed), journal.Counter()
    writers = [journal.Writer(n, seed, counter) for n in range(WRITERS)]
    with Daemon() as daemon:
        for number in range(rounds):
            if not round_of(daemon, writers, counter, chance, report, number):
                report.note(daemon.log_tail(20))
            if not daemon.running() or report.failed >= GIVE_UP:
                break
        report.check(counter.value >= rounds * 20, f"{counter.value} writes were acknowledged, enough for the test to mean something")
    sys.exit(report.done())


if __name__ == "__main__":
    main()
