#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""steps.py -- the steps that schema/intents.api declares are those of the sources; that tests/faults tries each, it checks itself."""

import glob
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from daemon import TOP  # noqa: E402
from intents import intents  # noqa: E402
from report import Report  # noqa: E402

CALL = re.compile(r'\b(?:op|vm)_step\(\s*[^;]*?"([^"]*)"', re.S)
NO_NAME = re.compile(r"\bop_step\((?![^;]*\")[^;]*;", re.S)
# These define the functions, and hand names on.
DEFINITIONS = ("xapid/ops/op.c", "xapid/ops/vm/domain.c")


def main():
    report, used, unnamed = Report(), {}, []
    for path in sorted(glob.glob("xapid/**/*.c", root_dir=TOP, recursive=True)):
        with open(os.path.join(TOP, path)) as f:
            text = f.read()
        for step in CALL.findall(text):
            used.setdefault(step, path)
        if path not in DEFINITIONS and NO_NAME.search(text):
            unnamed.append(path)
    declared = {step for steps in intents().values() for step in steps}
    report.check_none([f"{path}: {step}" for step, path in used.items() if step not in declared], "every step of the sources is declared")
    report.check_none(sorted(declared - set(used)), "every step that is declared is in the sources")
    report.check_none(unnamed, "the name of a step is a literal")
    twice = [f"{name}/{s}" for name, steps in intents().items() for s in set(steps) if steps.count(s) > 1]
    report.check_none(twice, "no step is declared twice")
    sys.exit(report.done())


if __name__ == "__main__":
    main()
