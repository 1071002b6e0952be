# SPDX-License-Identifier: LGPL-2.1-or-later
"""storm.py -- six guests start at once and end at once, each by an xe of its own: all come up, each from its own disk, their
consoles count, clients hear of it in a bounded number of events, and nothing is left.  Then again while xapid, or the
executor, is killed with -9 in the middle."""

import subprocess
import threading
import time

from host import Guest, Lost, XapiError, until
from life import IMAGE, nothing_left

GUESTS, MEMORY = 6, 96
READY = 400  # seconds for all of them, on two emulated processors
EVENTS = 60  # of all classes, for each VM that starts or ends


def storm(host, report):
    before = host.world()
    first = Guest(host, "storm-1", "pv", memory=MEMORY).add_disk(IMAGE)
    guests = [first] + [first.clone(f"storm-{n}") for n in range(2, GUESTS + 1)]
    all_start(host, report, guests)
    all_end(host, report, guests)
    for whom in ("xapid", "executor"):
        all_start_and_one_dies(host, report, guests, whom)
    for g in reversed(guests):
        g.remove()
    nothing_left(host, report, before, "of a boot storm nothing is left over in dom0")


class Storm:
    """The same xe command for each guest, at the same time."""

    def __init__(self, guests, what, *words):
        self.answers, self.begin, self.last = {}, time.monotonic(), 0
        self.threads = [threading.Thread(target=self._one, args=(g, what, *words)) for g in guests]
        for t in self.threads:
            t.start()

    def _one(self, g, what, *words):
        try:
            done = g.host.xe(f"vm-{what}", f"uuid={g.vm}", *words)
            self.answers[g.name] = done.stderr.strip() if done.returncode else ""
        except subprocess.TimeoutExpired as e:
            self.answers[g.name] = str(e)
        self.last = time.monotonic() - self.begin

    def wait(self):
        """Errors by guest, once all have answered."""
        for t in self.threads:
            t.join()
        return {name: said for name, said in self.answers.items() if said}


class Listener(threading.Thread):
    """Counts events, as a client hears them."""

    def __init__(self, host):
        super().__init__(daemon=True)
        self.client, self.ends, self.count = host.client(), False, {}
        self.token = self.client("event.from", ["*"], "", 1.0)["token"]
        self.start()

    def run(self):
        while not self.ends:
            try:
                answer = self.client("event.from", ["*"], self.token, 2.0)
            except (Lost, XapiError):
                return
            self.token = answer["token"]
            for event in answer["events"]:
                self.count[event["class"]] = self.count.get(event["class"], 0) + 1

    def end(self):
        """How many events there were, by class."""
        self.ends = True
        self.join(60)
        return self.count


def states(host):
    """The power states of the storm's VMs, from one call."""
    c = host.client()
    return {r["name_label"]: r["power_state"] for r in c("VM.get_all_records").values() if r["name_label"].startswith("storm-")}


def in_state(host, guests, state):
    now = states(host)
    return all(now.get(g.name) == state for g in guests)


def boots(host, guests):
    """How often each guest has said that it is ready; one look for all."""
    said = host.dom0("cd /var/log/xen; grep -c ^GUEST-READY -- *.log", check=False)
    count = dict(line.rsplit(":", 1) for line in said.splitlines() if ":" in line)
    return {g.name: sum(int(count.get(f"guest-{name}.log", 0)) for name in (g.name, g.vm)) for g in guests}


def run_and_count(host, report, guests, wanted, title):
    """Each has booted so often, and says so over the API."""
    up = until(lambda: all(n >= wanted[name] for name, n in boots(host, guests).items()), READY, 2)
    report.check(up, f"{title}, all come up", boots(host, guests), wanted, host.log()[-2000:])
    silent = [g.name for g in guests if "TICK" not in host.console(g.vm, "TICK", 60)]
    report.check_none(silent, f"{title}, all their consoles count")


def all_start(host, report, guests):
    wanted = {name: n + 1 for name, n in boots(host, guests).items()}
    listener = Listener(host)
    start = Storm(guests, "start")
    errors = start.wait()
    report.check(not errors and in_state(host, guests, "Running") and len(set(host.domains())) == len(guests),
                 "six guests start at once", errors, states(host), host.domains())
    report.note(f"the last call was answered after {start.last:.0f} s")
    run_and_count(host, report, guests, wanted, "six guests started at once")
    report.note(f"all were ready after {time.monotonic() - start.begin:.0f} s")
    bounded(report, listener, guests, "start")


def bounded(report, listener, guests, what):
    count = listener.end()
    each = sum(count.values()) / len(guests)
    report.check(0 < each <= EVENTS, f"clients hear of a {what} in at most {EVENTS} events", count)
    report.note(f"{each:.0f} events for each: {count}")


def all_end(host, report, guests):
    listener = Listener(host)
    end = Storm(guests, "shutdown")
    errors = end.wait()
    report.check(not errors and in_state(host, guests, "Halted") and not host.domains(), "six guests shut down at once", errors,
                 states(host), host.domains())
    report.note(f"the last call was answered after {end.last:.0f} s")
    bounded(report, listener, guests, "shutdown")


def all_start_and_one_dies(host, report, guests, whom):
    """Whatever became of each call: running with a domain, or halted without; and what did not start starts then."""
    title = f"six guests started while {whom} was killed"
    wanted = {name: n + 1 for name, n in boots(host, guests).items()}
    start = Storm(guests, "start")
    until(lambda: len(host.domains()) >= 2, 120, 0.5)
    host.kill(whom)
    host.start()
    errors = start.wait()
    settled = until(lambda: set(states(host).values()) <= {"Running", "Halted"} and
                    sorted(map(str, states(host).values())).count("Running") == len(host.domains()) and idle(host), 300, 2)
    report.check(settled, f"{title}: each runs or is halted, with a domain or without", states(host), host.domains(), errors,
                 host.log()[-3000:])
    now = states(host)
    again = Storm([g for g in guests if now[g.name] == "Halted"], "start").wait()
    report.check(not again, f"{title}: what did not start then starts", again, now)
    run_and_count(host, report, guests, wanted, title)
    Storm(guests, "shutdown", "force=true").wait()
    report.check(in_state(host, guests, "Halted") and not host.domains(), f"{title}: all are halted afterwards", states(host),
                 host.domains())


def idle(host):
    c = host.client()
    return not any(r["current_operations"] for r in c("VM.get_all_records").values())
