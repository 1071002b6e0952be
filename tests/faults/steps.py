#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""steps.py [OPERATION...] -- each step of each operation fails, and kills the daemon; nothing is left behind.

First each operation runs undisturbed: the daemon notes the steps it reaches.  Then, for each of them:
  fail  the call is answered with an error and its parameters; the whole database, the domains and the files are as before
  kill  the daemon dies in the step; started again, the operation is finished or undone as a whole, nothing is held, no task is
        pending, no file, domain, VDI, VBD or VIF is left over, and the operation can be carried out
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import world  # noqa: E402
from daemon import Daemon, Lost, XapiError, until  # noqa: E402
from operations import OPERATIONS, clear  # noqa: E402
from report import Report  # noqa: E402

# Reached when the outcome is recorded already: it may kill, but not fail.
RECORDED = "committed"


class Lab:
    def __init__(self):
        self.report = Report()
        self.daemon = None
        self.client = None

    def fresh(self):
        """A daemon with nothing in it."""
        if self.daemon:
            self.daemon.close()
        self.daemon = Daemon(faults=True, args=["--op-wait", "10"])
        self.client = self.daemon.client()

    def path(self, name):
        return os.path.join(self.daemon.state, name)

    def steps(self):
        try:
            with open(self.path("steps")) as f:
                return [s.strip() for s in f if s.strip()]
        except FileNotFoundError:
            return []

    def fault(self, step, what):
        if step:
            with open(self.path("faults"), "w") as f:
                f.write(f"{step} {what}\n")
        elif os.path.exists(self.path("faults")):
            os.unlink(self.path("faults"))

    def clean(self):
        """Back to nothing; a daemon that cannot be cleared is replaced."""
        try:
            clear(self.client)
        except (XapiError, Lost):
            self.fresh()

    # -- the three ways --

    def undisturbed(self, name):
        """The steps the operation reaches, or None where it fails by itself."""
        if os.path.exists(self.path("steps")):
            os.unlink(self.path("steps"))
        try:
            run, done = OPERATIONS[name](self.client)
            os.path.exists(self.path("steps")) and os.unlink(self.path("steps"))
            run()
        except XapiError as e:
            self.report.fail(f"{name} runs undisturbed", e)
            self.fresh()
            return None
        steps = self.steps()
        wrong = world.leftovers(self.daemon, self.client)
        if not done():
            wrong.append("its effect is not there")
        self.report.check_none(wrong, f"{name} runs undisturbed in {len(steps)} steps")
        self.clean()
        return steps

    def failed(self, name, step):
        text = f"{name} fails at {step}: an error, nothing changed, nothing left"
        run, done = OPERATIONS[name](self.client)
        before = world.world(self.client)
        files, domains = self.daemon.files(), self.daemon.domains()
        self.fault(step, "fail")
        wrong = []
        try:
            run()
            wrong.append("the call succeeded")
        except XapiError as e:
            if not e.params:
                wrong.append(f"{e.code} has no parameters")
        except Lost as e:
            wrong.append(f"no answer: {e}")
        self.fault(None, None)
        if step.endswith("/" + RECORDED):
            text = f"{name} reaches {step}: what is recorded stays"
            wrong = world.leftovers(self.daemon, self.client) + ([] if done() else ["its effect is not there"])
        else:
            after = world.world(self.client)
            wrong += world.changes(before, after) + world.leftovers(self.daemon, self.client, after)
            wrong += [f"file {f} is new" for f in self.daemon.files() if f not in files]
            wrong += [f"file {f} is gone" for f in files if f not in self.daemon.files()]
            wrong += [f"domain {u} changed" for u in set(domains) ^ set(self.daemon.domains())]
        self.report.check_none(wrong, text) or self.fresh()
        self.clean()

    def killed(self, name, step):
        text = f"{name} killed at {step}: finished or undone, nothing left"
        run, done = OPERATIONS[name](self.client)
        before = world.world(self.client)
        self.fault(step, "kill")
        wrong = []
        try:
            run()
            wrong.append("the call succeeded")
        except Lost:
            pass
        except XapiError as e:
            wrong.append(f"the call failed: {e}")
        if not until(lambda: not self.daemon.running(), 10):
            wrong.append("the daemon did not die")
            self.daemon.kill()
        self.fault(None, None)
        self.daemon.kill()
        try:
            self.daemon.start()
        except RuntimeError as e:
            self.report.fail(text, e)
            self.fresh()
            return
        self.client.login()
        after = until(lambda: self.quiet(), 15) or world.world(self.client)
        wrong += world.leftovers(self.daemon, self.client, after)
        changed = world.changes(before, after)
        finished = done()
        if not finished and changed:
            wrong += ["it is not finished, and was not undone:"] + changed
        if not finished and not wrong:
            wrong += self.again(run, done)
        self.report.check_none(wrong, text) or self.fresh()
        self.clean()

    def quiet(self):
        """The world, once nothing is held and no task is pending any more."""
        w = world.world(self.client)
        return w if not world.held(w) and not [t for t in world.tasks(self.client).values() if t["status"] == "pending"] else None

    @staticmethod
    def again(run, done):
        try:
            run()
        except XapiError as e:
            return [f"undone, but it cannot be carried out again: {e}"]
        return [] if done() else ["carried out again, its effect is not there"]


def main():
    lab = Lab()
    lab.fresh()
    for name in sys.argv[1:] or OPERATIONS:
        steps = lab.undisturbed(name)
        for step in steps or []:
            for way in (lab.failed, lab.killed):
                try:
                    way(name, step)
                except (XapiError, Lost) as e:
                    lab.report.fail(f"{name} at {step} can be tried", e)
                    lab.fresh()
    lab.daemon.close()
    sys.exit(lab.report.done())


if __name__ == "__main__":
    main()
