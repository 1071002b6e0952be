# SPDX-License-Identifier: LGPL-2.1-or-later
"""report.py -- what every test program says: "ok - ..." and "not ok - ..." lines, which ./check counts."""

import sys


class Report:
    """Counts and prints; done() is the program's exit status."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    def ok(self, text):
        self.passed += 1
        print(f"ok - {text}", flush=True)

    def fail(self, text, *details):
        self.failed += 1
        print(f"not ok - {text}", flush=True)
        for detail in details:
            self.note(detail)

    def note(self, text):
        for line in str(text).splitlines():
            print(f"#   {line}", flush=True)

    def check(self, condition, text, *details):
        """Returns the condition, so that a test can stop where going on makes no sense."""
        if condition:
            self.ok(text)
        else:
            self.fail(text, *details)
        return bool(condition)

    def check_none(self, faults, text, at_most=20):
        """Holds where the list of faults is empty."""
        more = [f"... and {len(faults) - at_most} more"] if len(faults) > at_most else []
        return self.check(not faults, text, *faults[:at_most], *more)

    def done(self):
        return 1 if self.failed else 0


class Findings(Report):
    """Of a program that is expected to fail: its failures are noted, and are none of ours."""

    def ok(self, text):
        self.passed += 1

    def fail(self, text, *details):
        self.failed += 1
        self.note(f"found: {text}")
        for detail in details[:2]:
            self.note(detail)


def fatal(text):
    print(f"not ok - {text}", flush=True)
    sys.exit(1)
