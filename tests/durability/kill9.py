#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""kill9.py [ROUNDS [SEED]] -- kill -9 at random times under 16 writers: nothing acknowledged is ever lost.

Each writer makes VMs, changes and destroys them, and keeps a journal of what it asked and what was acknowledged.  After
each kill the daemon is started again and everything it has is compared with the journals: what was acknowledged is there, what
was not asked for is not, and what was under way is there as a whole or not at all.  Everything must also fit together.
"""

import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import lab  # noqa: E402
import world  # noqa: E402
from daemon import Client, Daemon, Lost, XapiError  # noqa: E402
from report import Report  # noqa: E402

WRITERS = 16
KEPT = 6  # VMs a writer has at most; the oldest goes first
LONGEST = 1.5  # seconds of writing in a round


class Row:
    """What the writer knows of one VM: descriptions that may be found, of which the first is acknowledged."""

    def __init__(self, name):
        self.name, self.ref = name, None
        self.may_be = [""]
        self.may_be_absent = True
        self.may_be_present = True
        self.config = {}
        self.config_doubt = None  # (key, value) under way


class Writer:
    def __init__(self, number, seed):
        self.number, self.random = number, random.Random(f"{seed}-{number}")
        self.rows, self.count, self.acknowledged = [], 0, 0
        self.thread = None
        self.refused = []

    def start(self, daemon, template, stop):
        self.thread = threading.Thread(target=self.work, args=(daemon, template, stop), daemon=True)
        self.thread.start()

    def work(self, daemon, template, stop):
        try:
            client = Client(daemon, timeout=60)
            while not stop.is_set():
                self.step(client, template)
                self.acknowledged += 1
            client.close()
        except (Lost, OSError):
            pass
        except XapiError as e:
            self.refused.append(f"writer {self.number}: {e}")

    def step(self, client, template):
        """One call.  The journal says before the call what may become of it, and after it what has."""
        choice = self.random.random()
        if not self.rows or (choice < 0.3 and len(self.rows) < KEPT):
            self.create(client, template)
        elif len(self.rows) >= KEPT and choice < 0.3:
            self.destroy(client, self.rows[0])
        elif choice < 0.8:
            self.describe(client, self.random.choice(self.rows))
        else:
            self.configure(client, self.random.choice(self.rows))

    def create(self, client, template):
        self.count += 1
        row = Row(f"w{self.number}-{self.count}")
        self.rows.append(row)
        row.ref = client("VM.clone", template, row.name)
        row.may_be_absent = False

    def destroy(self, client, row):
        row.may_be_absent = True
        client("VM.destroy", row.ref)
        row.may_be_present = False
        self.rows.remove(row)

    def describe(self, client, row):
        text = f"{self.acknowledged}"
        row.may_be.append(text)
        client("VM.set_name_description", row.ref, text)
        row.may_be = [text]

    def configure(self, client, row):
        key, value = f"k{self.random.randrange(5)}", f"{self.acknowledged}"
        if key in row.config:
            row.config_doubt = (key, None)
            client("VM.remove_from_other_config", row.ref, key)
            del row.config[key]
        else:
            row.config_doubt = (key, value)
            client("VM.add_to_other_config", row.ref, key, value)
            row.config[key] = value
        row.config_doubt = None

    def compare(self, by_name):
        """What is not as the journal says; the journal then takes what was found."""
        wrong = []
        for row in list(self.rows):
            found = by_name.pop(row.name, None)
            if not found:
                if not row.may_be_absent:
                    wrong.append(f"{row.name} was acknowledged and is not there")
                self.rows.remove(row)
                continue
            row.ref, vm = found
            wrong += self.compare_row(row, vm)
            row.may_be, row.may_be_absent, row.config_doubt = [vm["name_description"]], False, None
        return wrong

    def compare_row(self, row, vm):
        wrong = []
        if vm["name_description"] not in row.may_be:
            wrong.append(f"{row.name} says {vm['name_description']!r}, not one of {row.may_be}")
        found = {k: v for k, v in vm["other_config"].items() if k.startswith("k")}
        wanted = [dict(row.config)]
        if row.config_doubt:
            key, value = row.config_doubt
            other = dict(row.config)
            other.pop(key, None)
            if value is not None:
                other[key] = value
            wanted.append(other)
        if found not in wanted:
            wrong.append(f"{row.name} has {found}, not one of {wanted}")
        row.config = found
        return wrong


def round_of(daemon, writers, chance, report, number):
    stop = threading.Event()
    client = daemon.client()
    template = lab.template(client)
    for w in writers:
        w.start(daemon, template, stop)
    time.sleep(chance.uniform(0.01, LONGEST))
    if number % 10 == 9:
        stop.set()  # one round in ten ends in an orderly way
        for w in writers:
            w.thread.join(60)
        daemon.stop()
    else:
        daemon.kill()
    stop.set()
    for w in writers:
        w.thread.join(60)
    daemon.start()
    client = daemon.client()
    found = world.world(client)
    descriptions = {}
    for ref, vm in found["VM"].items():
        descriptions.setdefault(vm["name_label"], []).append((ref, vm))
    wrong = [f"{len(v)} VMs are called {n}" for n, v in descriptions.items() if n.startswith("w") and len(v) > 1]
    by_name = {n: v[0] for n, v in descriptions.items()}
    for w in writers:
        wrong += w.compare(by_name) + w.refused
        w.refused = []
    wrong += [f"{n} is there and was destroyed or never made" for n in by_name if n.startswith("w")]
    wrong += world.leftovers(daemon, client, found)
    return report.check_none(wrong, f"round {number + 1}: what was acknowledged is there, nothing else is, and all fits together")


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 30)
    print(f"# seed {seed}", flush=True)
    report, chance = Report(), random.Random(seed)
    writers = [Writer(n, seed) for n in range(WRITERS)]
    with Daemon() as daemon:
        for number in range(rounds):
            if not round_of(daemon, writers, chance, report, number):
                report.note(daemon.log_tail(20))
                break
        total = sum(w.acknowledged for w in writers)
        report.check(total >= rounds * 20, f"{total} writes were acknowledged, enough for the test to mean something")
    sys.exit(report.done())


if __name__ == "__main__":
    main()
