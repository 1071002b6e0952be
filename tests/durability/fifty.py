#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""fifty.py [N] -- N (50) running VMs; the daemon is killed and started: none is disturbed, all are found again.

First at rest (killed, and stopped), then in the middle of operations on one of them: the simulator is told to take its time, the
daemon is killed once the request is under way, and the operation is found finished or undone as a whole.
"""

import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import journal  # noqa: E402
import lab  # noqa: E402
import world  # noqa: E402
from daemon import Daemon, Lost, XapiError, until  # noqa: E402
from report import Report  # noqa: E402

# Operations to be killed in the middle: (name, call and parameters after the VM, simulator call that is delayed, power states allowed after).
HALF_DONE = [
    ("suspend", ("VM.suspend",), "save", ("Running", "Suspended")),
    ("hard_reboot", ("VM.hard_reboot",), "build", ("Running", "Halted")),
    ("pause", ("VM.pause",), "pause", ("Running", "Paused")),
    ("hard_shutdown", ("VM.hard_shutdown",), "destroy", ("Halted",)),
    ("start", ("VM.start", False, False), "build", ("Running", "Halted")),
]
DELAY_MS = 1500
SAME = ("domid", "start_time", "state", "memory", "vcpus")


def same_domains(before, after):
    """Domains that are gone, new, or are another than before."""
    out = [f"domain of {u} is gone" for u in before if u not in after] + [f"domain of {u} is new" for u in after if u not in before]
    for uuid in set(before) & set(after):
        out += [f"{uuid}: {key} was {before[uuid][key]}, is {after[uuid][key]}" for key in SAME if before[uuid][key] != after[uuid][key]]
    return out


class Test:
    def __init__(self, daemon, report, n):
        self.daemon, self.report, self.n = daemon, report, n
        self.client = daemon.client()
        self.vms = {}  # ref: uuid, of those that run

    def client_again(self):
        self.daemon.start()
        self.client = self.daemon.client()

    def make(self):
        c = self.client
        for i in range(self.n):
            ref = lab.vm(c, f"vm {i}", disks=1, size=1 * lab.MIB)
            lab.enough_memory(c, ref)
            c("VM.start", ref, False, False)
            self.vms[ref] = c("VM.get_uuid", ref)
        self.report.check(len(self.daemon.domains()) == self.n, f"{self.n} VMs run", len(self.daemon.domains()))

    def undisturbed(self, domains, text):
        """'domains' are as they were, and the daemon knows them as running under the same numbers."""
        found = self.daemon.domains()
        self.report.check_none(same_domains(domains, {u: d for u, d in found.items() if u in domains}), f"{text}: no other domain was disturbed")
        w = until(lambda: journal.settled(self.client), 60) or world.world(self.client)
        wrong = [f"{w['VM'][r]['name_label']} is {w['VM'][r]['power_state']}, domid {w['VM'][r]['domid']}, was {domains[u]['domid']}"
                 for r, u in self.vms.items() if u in domains
                 and (w["VM"][r]["power_state"], int(w["VM"][r]["domid"])) != ("Running", domains[u]["domid"])]
        self.report.check_none(wrong, f"{text}: all others are running as before")
        self.report.check_none(world.leftovers(self.daemon, self.client, w), f"{text}: everything fits together")

    def at_rest(self, how):
        domains = self.daemon.domains()
        if how == "killed":
            self.daemon.kill()
        else:
            self.report.check(self.daemon.stop() == 0, "the daemon ends on SIGTERM")
        self.report.check_none(same_domains(domains, self.daemon.domains()), f"{how}: no domain notices")
        victim, uuid = self.vms.popitem()  # one ends by itself meanwhile
        del domains[uuid]
        self.daemon.sim(poweroff=uuid)
        until(lambda: self.daemon.domains().get(uuid, {}).get("state") != "running")
        begin = time.monotonic()
        self.client_again()
        self.report.note(f"started in {time.monotonic() - begin:.1f} s")
        self.report.check(until(lambda: self.client("VM.get_power_state", victim) == "Halted"), f"{how}: the one that ended meanwhile is found halted")
        self.undisturbed(domains, f"{how} and started")
        return victim

    def _call(self, victim, words):
        try:
            self.daemon.client(timeout=60)(words[0], victim, *words[1:])
        except (Lost, XapiError):
            pass  # the daemon dies under it

    def half_done(self, halted, name, words, delayed, allowed):
        victim = halted if name == "start" else next(iter(self.vms))
        uuid = self.vms.pop(victim, None) or self.client("VM.get_uuid", victim)
        domains = {u: d for u, d in self.daemon.domains().items() if u in self.vms.values()}
        self.daemon.sim(delay=delayed, ms=DELAY_MS)
        thread = threading.Thread(target=self._call, args=(victim, words), daemon=True)
        thread.start()
        begun = until(lambda: self.client("VM.get_current_operations", victim) and "1" in self.daemon.sim(pending=delayed), 20, 0.01)
        self.daemon.kill()
        self.daemon.sim(delay=delayed, ms=0)
        thread.join(60)
        self.report.check(begun, f"killed in the middle of {name}: it was under way")
        self.client_again()
        w = until(lambda: journal.settled(self.client), 60)
        state = w["VM"][victim]["power_state"] if w else "held"
        self.report.check(state in allowed, f"killed in the middle of {name}: it is finished or undone ({state})", state)
        self.undisturbed(domains, f"killed in the middle of {name}")
        self._to_running(victim, state)
        if self.client("VM.get_power_state", victim) == "Running":
            self.vms[victim] = uuid

    def _to_running(self, victim, state):
        """The victim runs again, so it can be operated."""
        ways = {"Halted": ("VM.start", False, False), "Suspended": ("VM.resume", False, False), "Paused": ("VM.unpause",)}
        try:
            if state in ways:
                self.client(ways[state][0], victim, *ways[state][1:])
            self.report.check(self.client("VM.get_power_state", victim) == "Running", "and the VM can be run again")
        except XapiError as e:
            self.report.fail("and the VM can be run again", e)

    def end(self):
        for ref in self.vms:
            self.client("VM.hard_shutdown", ref)
        self.report.check(not self.daemon.domains(), "all VMs that were found again can be shut down")


def main():
    report = Report()
    with Daemon() as daemon:
        test = Test(daemon, report, int(sys.argv[1]) if len(sys.argv) > 1 else 50)
        test.make()
        test.at_rest("stopped")
        halted = test.at_rest("killed")
        for case in HALF_DONE:
            test.half_done(halted, *case)
        test.end()
    sys.exit(report.done())


if __name__ == "__main__":
    main()
