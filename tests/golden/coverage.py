#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""coverage.py [--write] -- docs/coverage.md: what of the XenAPI is there.  Made from schemac --json and xe --schema-commands; without
--write it is checked that the committed file is what would be written."""

import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
from daemon import TOP, program  # noqa: E402
from report import Report  # noqa: E402
from world import schema  # noqa: E402

PATH = os.path.join(TOP, "docs", "coverage.md")


def commands():
    return subprocess.run([program("xe"), "--schema-commands"], check=True, capture_output=True, text=True).stdout.split()


def text():
    s = schema()
    rows, totals = [], [0, 0, 0, 0]
    for c in s["classes"]:
        custom = [m for m in c["messages"] if m["kind"] == "custom"]
        implicit = [m for m in c["messages"] if m["kind"] == "implicit"]
        row = [sum(m["implemented"] for m in custom), len(custom), sum(m["implemented"] for m in implicit), len(implicit)]
        totals = [a + b for a, b in zip(totals, row)]
        pending = [m["name"] for m in c["messages"] if not m["implemented"]]
        there = [m["name"] for m in custom if m["implemented"]]
        rows.append((c["name"], row, there, pending))
    names = commands()
    out = ["<!-- Made by tests/golden/coverage.py --write; do not edit. -->", "# What of the XenAPI is there", "",
           f"{len(rows)} classes with {sum(len(c['fields']) for c in s['classes'])} fields, all of them. Of the messages, "
           f"{totals[0]} of {totals[1]} that do something and {totals[2]} of {totals[3]} that every class has (get, set, add, remove, create, "
           "destroy) are implemented; the others are declared and answer NOT_IMPLEMENTED.",
           f"{len(s['errors'])} errors, {len(s['enums'])} enums, {len(s['alert_messages'])} alerts. xe has {len(names)} commands.", "",
           "| class | messages | of | every class's | of |", "|---|---:|---:|---:|---:|"]
    out += [f"| {n} | {r[0]} | {r[1]} | {r[2]} | {r[3]} |" for n, r, _, _ in rows]
    out += ["", "## Messages that are there", ""]
    out += [f"* **{n}**: {', '.join(there)}" for n, _, there, _ in rows if there]
    out += ["", "## Messages that are not", ""]
    out += [f"* **{n}**: {', '.join(pending)}" for n, _, _, pending in rows if pending]
    out += ["", "## Commands of xe", "", ", ".join(names), ""]
    return "\n".join(out)


def main():
    report = Report()
    wanted = text()
    if "--write" in sys.argv:
        with open(PATH, "w") as f:
            f.write(wanted)
    try:
        with open(PATH) as f:
            seen = f.read()
    except FileNotFoundError:
        seen = ""
    report.check(seen == wanted, "docs/coverage.md is up to date (tests/golden/coverage.py --write makes it so)")
    sys.exit(report.done())


if __name__ == "__main__":
    main()
