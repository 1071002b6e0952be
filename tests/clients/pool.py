#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""pool.py [NAME] -- other people's clients, which never heard of pools like ours, against any member of one.

Three hosts.  The default storage is the coordinator's, so machines and disks live there; the clients, unchanged, know another member only.
Then a client that knows all three (rotate.py) loses its coordinator: killed, and cut off from the others.
"""

import json
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
sys.path.insert(0, os.path.join(HERE, "..", "pool"))
from daemon import PASSWORDS, until  # noqa: E402
from join import Hosts  # noqa: E402
from report import Report  # noqa: E402
import clients  # noqa: E402
import world  # noqa: E402

PATIENCE = 120
ROUNDS = 3
LOST = 2.0  # seconds in which a client that rotates may have no answer
# Those that start a daemon of their own, or take long and say nothing that another one does not.
LEFT_OUT = ("novnc", "npm xen-api and a restart", "json-rpc", "fence agent")


class Test:
    def __init__(self, hosts, report):
        self.hosts, self.report, self.net = hosts, report, hosts[0].net
        self.env = {"NODE_DIR": os.path.join(hosts[0].dir, "npm"), **os.environ, "XAPID_HOST": hosts[1].address, "XAPID_PORT": "443",
                    "XAPID_USER": "root", "XAPID_PASSWORD": PASSWORDS["root"]}

    def join(self):
        first = self.hosts[0]
        for h in self.hosts[1:]:
            h.join(first)
            if not self.report.check(until(lambda: h.is_member_of(first), PATIENCE), f"host {h.number} becomes a member", h.log_tail()):
                sys.exit(1)
        until(lambda: first.roles() == ["voter"] * 3, PATIENCE)

    def client(self, command, **how):
        """Runs it, or starts it (stdin given), outside of all members."""
        command = self.net.inside(None) + command
        if "stdin" in how:
            return subprocess.Popen(command, env=self.env, cwd=self.hosts[0].dir, text=True, **how)
        return subprocess.run(command, env=self.env, cwd=self.hosts[0].dir, stdin=subprocess.DEVNULL, timeout=300).returncode

    def unchanged(self, only):
        # The packages come from outside, where the hosts' network does not lead.
        packages = os.path.join(self.env["NODE_DIR"], "npm-xen-api")
        subprocess.run(["sh", os.path.join(HERE, "npm.sh"), os.path.join(HERE, "npm-xen-api"), packages], check=False)
        for name, command in clients.runs(self.hosts[1].address, "443"):
            if name in LEFT_OUT or only not in name or (name == "npm xen-api" and not os.path.exists(os.path.join(packages, "installed-lock.json"))):
                continue
            print(f"# {name}", flush=True)
            begin = time.monotonic()
            status = self.client(command)
            if status == 77:
                print(f"ok - # SKIP {name}", flush=True)
            else:
                self.report.check(status == 0, f"{name} ends well on a member that is not the coordinator", f"exit status {status}")
            print(f"# took {time.monotonic() - begin:.1f} s", flush=True)

    # -- a client that rotates --

    def leader(self):
        return next((h for h in self.hosts if h.running() and (h.status(1) or {"leads": False})["leads"]), None)

    def settled(self):
        """One leads, and all follow it."""
        found = [h.status(1) for h in self.hosts]
        return all(found) and len({s["leader"] for s in found}) == 1 and sum(s["leads"] for s in found) == 1

    def round(self, harm, heal):
        """The longest times without an answer and without an event; what the client met."""
        until(self.settled, PATIENCE, 0.1)
        leader = self.leader()
        others = [h.address for h in self.hosts if h is not leader]
        process = self.client([sys.executable, os.path.join(HERE, "rotate.py"), leader.address, *others], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if process.stdout.readline() != "ready\n":
            return None
        time.sleep(1)
        at = time.monotonic()
        harm(leader)
        time.sleep(4)
        text, _ = process.communicate("", timeout=PATIENCE)
        heal(leader)
        got = json.loads(text)
        pause = lambda moments: max((b - a for (_, a), (_, b) in zip(moments, moments[1:]) if b > at), default=float("inf"))
        heard = [n for n, _ in got["heard"]]
        last = next((n for n, t in reversed(got["answered"]) if t < got["heard"][-1][1] - 0.1), 0)
        self.report.check(heard == sorted(heard) and heard[-1] >= last, "its listener hears of all that follows, and of nothing older", heard[-3:], last)
        for when, where, why in got["said"]:
            print(f"#   after {when - at:.2f} s {where}: {why[:120]}")
        return pause(got["answered"]), pause(got["heard"])

    def rotates(self):
        def kill(leader):
            leader.kill()

        def cut(leader):
            self.net.isolate("cut", leader.number)

        for text, harm, heal in (("killed", kill, lambda h: h.begin()), ("cut off", cut, lambda _: self.net.heal("cut"))):
            rounds = [self.round(harm, heal) for _ in range(ROUNDS)]
            if None in rounds:
                print("ok - # SKIP a client that rotates")
                return
            # Who listens to a member that is cut off is answered, with nothing: it stays there.
            print(f"#   the coordinator is {text}: no answer for {' '.join(f'{a:.2f}' for a, _ in rounds)} s, no event for {' '.join(f'{e:.2f}' for _, e in rounds)} s")
            best = min(a for a, _ in rounds)
            self.report.check(best < LOST, f"a client that rotates among the members loses {best:.2f} s, less than {LOST:.0f} s, where the coordinator is {text}")


def main():
    report = Report()
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    with Hosts(3) as hosts:
        test = Test(hosts, report)
        test.join()
        if only != "rotates":
            test.unchanged(only)
        if only in ("", "rotates"):
            test.rotates()
        until(test.settled, PATIENCE, 0.1)
        for h in hosts:
            report.check_none(world.faults(world.world(h)), f"everything fits together on host {h.number}")
    sys.exit(report.done())


if __name__ == "__main__":
    main()
