#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""commands.py -- xe has every command of xe-commands.txt, with the same parameters and flags, and shows the same of every class."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
from report import Report  # noqa: E402
from world import schema  # noqa: E402
import xe_calls  # noqa: E402

# Where ours is otherwise, and why.
MORE = {"host-prepare-for-poweroff": {"uuid"},  # for another host
        "secret-create": {"other-config:"}}  # which a secret has
LESS = {"snapshot-disk-list": {"vm"}, "snapshot-reset-powerstate": {"vm"}}  # announced, but only the snapshot's uuid is taken

READ = ["list", "param-list", "param-get"]


def verbs(params):
    """The commands a class has, by what its parameters allow."""
    flags = [p.partition("/")[2].split(",") for p in params]
    flags = [f for f in flags if "hidden" not in f]
    settable = any("set" in f or f[0] in ("SRW", "MRW") for f in flags)
    addable = any(f[0] in ("SRW", "MRW") for f in flags)
    clearable = any("set" in f or f[0][0] in "SM" for f in flags)
    return READ + ["param-set"] * settable + ["param-add", "param-remove"] * addable + ["param-clear"] * clearable


def differences(name, wanted, seen):
    """One line for each part in which a command differs."""
    out = []
    for part, w, s in zip(("requires", "takes", "is"), wanted, seen):
        missing = sorted(set(w) - set(s) - LESS.get(name, set()))
        more = sorted(set(s) - set(w) - MORE.get(name, set()))
        out += [f"{name} {part} {x}" for x in missing] + [f"{name} {part} {x}, which nobody expects" for x in more]
    return out


def main():
    report = Report()
    with open(os.path.join(HERE, "xe-commands.txt")) as f:
        wanted, wanted_classes = xe_calls.read_tables(f)
    seen, classes = xe_calls.xe_tables()
    made = {f"{c}-{v}": c for c, params in wanted_classes.items() for v in verbs(params)}
    # Maps that can be set though they are shown as read-only: by key, or all at once.
    made.update({f"{c}-param-set": c for c in ("bond", "pif", "vm", "template", "snapshot") if c in wanted_classes})
    report.check(len(wanted) + len(made) == 675, "there are 675 commands to have", len(wanted) + len(made))
    report.check_none(sorted((set(wanted) | set(made)) - set(seen)), "xe has all of them")
    report.check_none(sorted(set(seen) - set(wanted) - set(made)), "and no others")
    report.check_none([d for n in sorted(set(wanted) & set(seen)) for d in differences(n, wanted[n], seen[n])],
                      "each requires, takes and is what it shall")
    wrong = []
    for c in sorted(set(wanted_classes) | set(classes)):
        w, s = wanted_classes.get(c, []), classes.get(c, [])
        wrong += [f"{c}: {p} is missing or otherwise" for p in w if p not in s] + [f"{c}: {p} is not wanted" for p in s if p not in w]
        wrong += [f"{c}: the order is another"] if sorted(w) == sorted(s) and w != s else []
    report.check_none(wrong, "of every class the same is shown, in the same order")
    messages = {f"{c['name']}.{m['name']}" for c in schema()["classes"] for m in c["messages"]}
    calls = xe_calls.all_calls(messages)
    report.check_none(sorted({f"{n} calls {m}" for n, v in calls.items() for m in v if not m.startswith("/") and m not in messages}),
                      "every message that a command calls is one")
    sys.exit(report.done())


if __name__ == "__main__":
    main()
