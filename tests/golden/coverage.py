#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""coverage.py [--write] -- docs/coverage.md: what of the XenAPI is there.  Made from schemac --json, xe --schema-commands all and the source of xe (xe_calls.py); without
--write it is checked that the committed file is what would be written."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
from daemon import TOP  # noqa: E402
from report import Report  # noqa: E402
from world import schema  # noqa: E402
import xe_calls  # noqa: E402

PATH = os.path.join(TOP, "docs", "coverage.md")


def all_messages(s):
    return {f"{c['name']}.{m['name']}" for c in s["classes"] for m in c["messages"]}


def messages_pending(s):
    """{message: why it is not there}."""
    return {f"{c['name']}.{m['name']}": m["pending"] for c in s["classes"] for m in c["messages"] if not m["implemented"]}


def by_reason(pending):
    """[(reason, [what, ...]), ...] of {what: reason}, in the order of the names."""
    reasons = {}
    for what, reason in pending.items():
        reasons.setdefault(reason, []).append(what)
    return sorted(reasons.items(), key=lambda r: str(r[1]).lower())


def shortened(what):
    return ", ".join(what[:6]) + (f" and {len(what) - 6} more" if len(what) > 6 else "")


def text():
    s = schema()
    rows, totals = [], [0, 0, 0, 0]
    for c in s["classes"]:
        custom = [m for m in c["messages"] if m["kind"] == "custom"]
        implicit = [m for m in c["messages"] if m["kind"] == "implicit"]
        row = [sum(m["implemented"] for m in custom), len(custom), sum(m["implemented"] for m in implicit), len(implicit)]
        totals = [a + b for a, b in zip(totals, row)]
        there = [m["name"] for m in custom if m["implemented"]]
        rows.append((c["name"], row, there))
    calls, waiting = xe_calls.all_calls(all_messages(s)), {}
    missing = messages_pending(s) | xe_calls.pending_paths()
    for name, called in sorted(calls.items()):
        if called & set(missing):
            waiting.setdefault(tuple(sorted(called & set(missing))), []).append(name)
    names = [n for n in calls if not calls[n] & set(missing)]
    out = ["<!-- Made by tests/golden/coverage.py --write; do not edit. -->", "# What of the XenAPI is there", "",
           f"{len(rows)} classes with {sum(len(c['fields']) for c in s['classes'])} fields, all of them. Of the messages, "
           f"{totals[0]} of {totals[1]} that do something and {totals[2]} of {totals[3]} that every class has (get, set, add, remove, create, "
           "destroy) are implemented; the others are declared and answer NOT_IMPLEMENTED.",
           f"{len(s['errors'])} errors, {len(s['enums'])} enums, {len(s['alert_messages'])} alerts. xe has {len(calls)} commands; of {len(names)} all that "
           "they call is there.", "",
           "| class | messages | of | every class's | of |", "|---|---:|---:|---:|---:|"]
    out += [f"| {n} | {r[0]} | {r[1]} | {r[2]} | {r[3]} |" for n, r, _ in rows]
    out += ["", "## Messages that are there", ""]
    out += [f"* **{n}**: {', '.join(there)}" for n, _, there in rows if there]
    out += ["", "## Messages and paths that are not, and why", ""]
    out += [f"* **{reason}**: {', '.join(what)}" for reason, what in by_reason(missing)]
    out += ["", "## Commands of xe that do all they are for", "", ", ".join(sorted(names)), ""]
    out += ["", "## Commands of xe that wait for something", "", "Not all of them need it for what they do most.", ""]
    for reason, called in by_reason({what: " and ".join(dict.fromkeys(missing[m] for m in what)) for what in sorted(waiting)}):
        out += [f"* **{reason}**:"] + [f"    * {', '.join(waiting[what])}: {shortened(what)}" for what in called]
    out += [""]
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
