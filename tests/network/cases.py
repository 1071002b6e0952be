#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""cases.py [--accept] [FILE]...: the plan's cases (cases/*.txt), each with the steps that it is to have.

A case is "### NAME", the state of the host (or "after NAME": where that case has led), a line "---", what is wanted, a line
"---", and the steps.  --accept writes what the plan says now; read it before you believe it.
"""

import glob
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
from daemon import BUILD  # noqa: E402
from report import Report  # noqa: E402

TOOL = os.path.join(BUILD, "tests", "network", "network-tool")


def run(text):
    done = subprocess.run([TOOL, "cases"], input=text, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def split(text):
    """{name: the case's text}, in order."""
    parts = text.split("### ")[1:]
    return {p.split("\n", 1)[0]: p.rstrip() for p in parts}


def main():
    words = sys.argv[1:]
    accept = "--accept" in words
    files = [w for w in words if w != "--accept"] or sorted(glob.glob(os.path.join(HERE, "cases", "*.txt")))
    report, total = Report(), 0
    for path in files:
        with open(path) as f:
            text = f.read()
        said = run(text)
        if accept:
            with open(path, "w") as f:
                f.write(said.rstrip() + "\n")
            text = said
        wanted, got = split(text), split(said)
        total += len(wanted)
        report.check(len(wanted) == text.count("\n### ") + text.startswith("### "), f"{os.path.basename(path)}: every case has a name of its own")
        for name, case in wanted.items():
            now = got.get(name, "")
            report.check(now == case and "!! " not in now, f"{os.path.basename(path)[:-4]}: {name}", "wanted:", case, "got:", now)
    if not words:
        report.check(total >= 150, f"there are {total} cases")
    sys.exit(report.done())


if __name__ == "__main__":
    main()
