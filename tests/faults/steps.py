#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""steps.py [OPERATION...] -- each step of each operation fails, and kills the daemon; nothing is left behind.

First each operation runs undisturbed: the daemon notes the steps it reaches.  Then, for each of them:
  fail  the call is answered with an error that names the step; the whole database, the domains and the files are as before
  kill  the daemon dies in the step; started again, the operation is finished or undone as a whole, and if undone, it can be
        carried out
and both times nothing is held, no task is pending, no file, domain, VDI, VBD or VIF is left over, no intent is left in the database.
What else is allowed at which step, and why, is in operations.py.  An intent or a step of schema/intents.api that is not tried in both ways
is a failure, and so is one that is reached and not declared there.
The operations are shared out among as many processes as there are processors, each with a daemon of its own.
"""

import glob
import json
import os
import re
import sqlite3
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import operations  # noqa: E402
import world  # noqa: E402
from daemon import Client, Daemon, Lost, XapiError, until  # noqa: E402
from intents import COMMIT, COMMITTED, intents, steps  # noqa: E402
from operations import BESIDES, ELSEWHERE, HALFWAY, OPERATIONS, clear, goes_forward, second  # noqa: E402
from report import Report  # noqa: E402

RECORDED = "/" + COMMITTED
SETTLED = 20  # seconds
BY_ITSELF_SETTLED = 60  # where the daemon waits before it does it
# Below the state directory: storage is looked at for itself, the system's programs and devices are the test's.
BY_ITSELF = re.compile(r"(db|db\.before-restore|stats|sim|storage|system|sysfs|datapath)/|(steps|faults|audit\.log|sim\.socket)")
SUMMARY = "# summary: "


class JsonClient(Client):
    """For large answers: Python reads JSON ten times faster than XML.  Numbers are numbers here, not text."""

    def raw(self, method, *params):
        body = json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": 1})
        answer = json.loads(self.post(body.encode(), "/jsonrpc", "application/json"))
        if "error" in answer:
            raise XapiError([answer["error"]["message"], *answer["error"].get("data", [])])
        return answer["result"]

    def __call__(self, method, *params):
        """With a new connection and session where the daemon began anew: it only asks, so it may ask twice."""
        try:
            return super().__call__(method, *params)
        except Lost:
            pass
        except XapiError as e:
            if e.code != "SESSION_INVALID":
                raise
        self.login()
        return super().__call__(method, *params)


class Lab:
    def __init__(self):
        self.report = Report()
        self.daemon = None
        self.client = None
        self.fast = None  # another, for the world
        self.reached = set()
        self.tried = {"fail": set(), "kill": set()}

    def fresh(self):
        """A daemon with nothing in it."""
        if self.daemon:
            self.daemon.close()
        self.daemon = Daemon(faults=True, args=["--op-wait", "10"])
        self.client, self.fast = self.daemon.client(), JsonClient(self.daemon)

    def log_in(self):
        self.client.login()
        self.fast.login()

    def path(self, name):
        return os.path.join(self.daemon.state, name)

    def steps(self):
        """Steps reached since the last call."""
        try:
            with open(self.path("steps")) as f:
                found = [s.strip() for s in f if s.strip()]
            os.unlink(self.path("steps"))
        except FileNotFoundError:
            found = []
        self.reached |= set(found)
        return found

    def fault(self, step=None, what=""):
        if step:
            with open(self.path("faults.new"), "w") as f:
                f.write(f"{step} {what}\n")
            self.tried[what].add(step)
            os.rename(self.path("faults.new"), self.path("faults"))
        elif os.path.exists(self.path("faults")):
            os.unlink(self.path("faults"))

    def files(self):
        """Files of storage and of the state directory, but for what changes by itself.  An image that only carries others is left out: a
        snapshot that is undone leaves one, and world.leftovers() sees to it that each has children."""
        top = second(self.client)
        storage = os.path.join(self.daemon.state, "storage")
        found = {f for f in self.daemon.files() if not self._only_carries(os.path.join(storage, f))}
        found |= {f for f in world.state_files(self.daemon) if not BY_ITSELF.match(f)}
        return found | {os.path.join(d, n) for d, _, names in os.walk(top) for n in names}

    @staticmethod
    def _only_carries(path):
        try:
            with open(os.path.splitext(path)[0] + ".json") as f:
                return bool(json.load(f).get("hidden"))
        except (OSError, ValueError):
            return False

    def clean(self):
        """Back to nothing; a daemon that cannot be cleared is replaced."""
        try:
            clear(self.client)
            self.steps()
            if until(lambda: not world.processes(self.daemon), SETTLED) is not True:
                self.report.fail("no process is left when nothing is there any more", *world.processes(self.daemon))
        except (XapiError, Lost, OSError) as e:
            self.report.note(f"cannot be cleared, so a new daemon goes on: {e}")
            self.fresh()

    def quiet(self):
        """The world, once nothing is held and no task is pending any more."""
        w = world.world(self.fast)
        return w if not world.held(w) and not [t for t in world.tasks(self.fast).values() if t["status"] == "pending"] else None

    def settled(self):
        return until(self.quiet, SETTLED) or world.world(self.fast)

    def left(self, w):
        """What was left behind; a moment is given to what the daemon tidies up after its answer."""
        wrong = world.leftovers(self.daemon, self.fast, w)

        def nothing():
            wrong[:] = world.leftovers(self.daemon, self.fast)
            return not wrong
        if wrong:
            until(nothing, 5, 0.2)
        return wrong

    # -- the three ways --

    def undisturbed(self, name):
        """The steps the operation reaches, or None where it fails by itself."""
        try:
            t = OPERATIONS[name](self.client)
            self.steps()
            t.run()
        except (XapiError, Lost, LookupError) as e:
            self.report.fail(f"{name} runs undisturbed", repr(e))
            self.fresh()
            return None
        finished = until(t.done, BY_ITSELF_SETTLED if t.by_itself else 0)
        steps = [s for s in self.steps() if t.only in (None, s)]
        wrong = self.left(self.settled()) + self.disagreement(t)
        if not finished:
            wrong.append("its effect is not there")
        self.report.check_none(wrong, f"{name} runs undisturbed in {len(steps)} steps")
        self.clean()
        return steps

    @staticmethod
    def may_finish(name, step, t):
        """True of a step whose failure does not undo the operation."""
        return t.by_itself or goes_forward(step) or step.endswith(RECORDED) or step.startswith(BESIDES.get(name, ("none",)))

    @staticmethod
    def disagreement(t):
        return [] if t.agrees() else ["the system was told something else than is recorded"]

    def outcome(self, name, step, t, before, files):
        """(what is wrong, finished) once all is quiet."""
        halfway = t.halfway if step in HALFWAY else None
        if self.may_finish(name, step, t):
            until(lambda: t.done() or (halfway and halfway()), BY_ITSELF_SETTLED if t.by_itself else SETTLED if t.visible else 0)
        after = self.settled()
        wrong = self.left(after) + self.disagreement(t)
        if t.done():
            return wrong, True
        if step.endswith(RECORDED) and t.visible:
            return wrong + ["it was recorded, and its effect is not there"], False
        changed = world.changes(before, after) + [f"file {f} is new" for f in sorted(self.files() - files)] + \
            [f"file {f} is gone" for f in sorted(files - self.files())]
        changed = [line for line in changed if not any(re.match(pattern, line) for pattern in t.ignored)]
        if changed and halfway and until(halfway, 5):
            return wrong, True
        if changed:
            wrong += ["it is not finished, and was not undone:"] + changed
        return wrong, False

    def failed(self, name, step):
        t = OPERATIONS[name](self.client)
        before, files = self.quiet() or world.world(self.fast), self.files()
        wrong = []
        self.fault(step, "fail")
        try:
            t.run()
            if not self.may_finish(name, step, t):
                wrong.append("the call succeeded")
        except XapiError as e:
            # That one names the machines that failed.
            if step not in " ".join(e.params) and e.code != "OPERATION_PARTIALLY_FAILED":
                wrong.append(f"the error does not name the step: {e.code} {e.params}")
        except Lost as e:
            wrong.append(f"no answer: {e}")
        if t.by_itself:
            until(lambda: step in self.steps(), SETTLED)
        self.fault()
        more, finished = self.outcome(name, step, t, before, files)
        if finished and not self.may_finish(name, step, t) and step not in HALFWAY:
            more.append("it failed, and is finished")
        text = "it is finished all the same" if finished else "an error, nothing changed, nothing left"
        self.report.check_none(wrong + more, f"{name} fails at {step}: {text}") or self.fresh()

    def killed(self, name, step):
        t = OPERATIONS[name](self.client)
        before, files = self.quiet() or world.world(self.fast), self.files()
        wrong = []
        self.fault(step, "kill")
        try:
            t.run()
            if not t.by_itself:
                wrong.append("the call succeeded")
        except Lost:
            pass
        except XapiError as e:
            wrong.append(f"the call failed: {e}")
        if not until(lambda: not self.daemon.running(), SETTLED):
            wrong.append("the daemon did not die")
        self.fault()
        self.daemon.kill()
        logged = len(self.daemon.log_text())
        try:
            self.daemon.start()
        except RuntimeError as e:
            self.report.fail(f"{name} killed at {step}: the daemon starts again", e)
            self.fresh()
            return
        self.log_in()
        more, finished = self.outcome(name, step, t, before, files)
        wrong += more
        if not finished and not wrong:
            wrong += self.again(t)
        text = "it is finished" if finished else "it is undone, and can be done"
        recovery = [f"log: {line[:300]}" for line in self.daemon.log_text()[logged:].splitlines() if wrong and "recover" in line]
        self.report.check_none(wrong + recovery, f"{name} killed at {step}: {text}, nothing left") or self.fresh()

    @staticmethod
    def again(t):
        try:
            t.run()
        except XapiError as e:
            return [f"undone, but it cannot be carried out again: {e}"]
        return [] if until(t.done, 5) else ["carried out again, its effect is not there"]

    # -- all of it --

    def intents_left(self, name):
        """Asks the stopped daemon's database file."""
        status, left = self.daemon.stop(), []
        for path in glob.glob(self.path("db/**/*.db"), recursive=True):
            database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
            if database.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'intent'").fetchone()[0]:
                left.append(database.execute("SELECT * FROM intent").fetchall())
            database.close()
        wrong = [f"exit status {status}"] * bool(status) + (["no database with intents was found"] if not left else [])
        wrong += [f"{row}" for rows in left for row in rows]
        self.report.check_none(wrong, f"{name}: no intent is left in the database")
        self.daemon.start()
        self.log_in()

    def all_of(self, names):
        self.fresh()
        for name in names:
            for step in self.undisturbed(name) or []:
                for way in (self.failed, self.killed):
                    try:
                        way(name, step)
                        self.clean()
                    except (XapiError, Lost, LookupError, OSError) as e:
                        self.report.fail(f"{name} at {step} can be tried", repr(e), self.daemon.log_tail(5))
                        self.fresh()
            self.intents_left(name)
        self.daemon.close()
        for what, found in {"reached": self.reached, **self.tried}.items():
            print(f"{SUMMARY}{what} " + " ".join(sorted(found)), flush=True)


def complete(report, found):
    """Whether what was tried is all there is; 'found' is what all parts of the test say in their summaries."""
    declared = {s for s in steps() if s.split("/")[0] not in ELSEWHERE}
    undeclared = sorted(s for s in found["reached"] - declared if s.split("/")[1] not in (COMMIT, COMMITTED))
    report.check_none(undeclared, "every step that was reached is declared in schema/intents.api")
    for what in ("fail", "kill"):
        report.check_none(sorted(declared - found[what]), f"every step of schema/intents.api was tried: {what}")
        without = sorted(i for i in intents() if i not in ELSEWHERE and not any(s.startswith(i + "/") for s in found[what]))
        report.check_none(without, f"every intent of schema/intents.api was tried: {what}")
    unknown = sorted(s for s in [*operations.FORWARD, *HALFWAY] if s not in found["reached"] and not s.endswith("/*"))
    report.check_none(unknown, "every step of the tables in operations.py exists")


def share_out(names, jobs):
    """Runs this program once for each job and passes on what it prints; (all lines, exit statuses)."""
    children = [subprocess.Popen([sys.executable, os.path.abspath(__file__), "--one", *names[i::jobs]], stdout=subprocess.PIPE, text=True)
                for i in range(jobs)]
    lines = []

    def pass_on(child):
        for line in child.stdout:
            lines.append(line)
            if not line.startswith(SUMMARY):
                sys.stdout.write(line)
                sys.stdout.flush()
    threads = [threading.Thread(target=pass_on, args=(c,), daemon=True) for c in children]
    try:
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        return lines, [c.wait() for c in children]
    finally:
        for c in children:
            if c.poll() is None:
                c.terminate()
                c.wait()


def main():
    words = sys.argv[1:]
    if words[:1] == ["--one"]:
        lab = Lab()
        lab.all_of(words[1:])
        sys.exit(lab.report.done())
    names = words or list(OPERATIONS)
    lines, ended = share_out(names, min(len(names), max(1, os.cpu_count() or 1), 4))
    report = Report()
    report.check(all(e in (0, 1) for e in ended), "every part of the test comes to its end", f"exit statuses {ended}")
    found = {"reached": set(), "fail": set(), "kill": set()}
    for line in lines:
        if line.startswith(SUMMARY):
            what, *those = line[len(SUMMARY):].split()
            found[what].update(those)
    if not words:
        complete(report, found)
    report.note(f"{len(found['reached'])} steps of {len(set(s.split('/')[0] for s in found['reached']))} intents")
    sys.exit(1 if report.failed or any(ended) else 0)


if __name__ == "__main__":
    main()
