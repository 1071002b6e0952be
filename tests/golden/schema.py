#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""schema.py -- the schema as schemac --json shows it agrees with itself, and covers as much as it did."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from report import Report  # noqa: E402
from world import schema  # noqa: E402

# What there is may only grow; raise a number when it has.
AT_LEAST = {"classes": 70, "fields": 700, "enums": 75, "errors": 635, "alerts": 108, "relations": 64, "implicit": 1475, "explicit": 110}


def counts(s):
    messages = [m for c in s["classes"] for m in c["messages"]]
    return {
        "classes": len(s["classes"]), "fields": sum(len(c["fields"]) for c in s["classes"]), "enums": len(s["enums"]),
        "errors": len(s["errors"]), "alerts": len(s["alert_messages"]), "relations": len(s["relations"]),
        "implicit": sum(m["kind"] == "implicit" and m["implemented"] for m in messages),
        "explicit": sum(m["kind"] == "custom" and m["implemented"] for m in messages)}


def names_twice(rows, what):
    names = [r["name"] for r in rows]
    return [f"{what} {n} is there twice" for n in sorted(set(names)) if names.count(n) > 1]


def undocumented(s):
    out = [f"class {c['name']}" for c in s["classes"] if not c["doc"].strip()]
    for c in s["classes"]:
        out += [f"field {c['name']}.{f['name']}" for f in c["fields"] if not f["doc"].strip()]
        out += [f"message {c['name']}.{m['name']}" for m in c["messages"] if not m["doc"].strip()]
    return out + [f"error {e['name']}" for e in s["errors"] if not e["doc"].strip()]


def unknown_types(s):
    """References to classes, and enums, that are not declared."""
    known = {c["name"] for c in s["classes"]} | {"VMPP", "VIF_metrics", "VBD_metrics"}
    enums = {e["name"] for e in s["enums"]}
    out = []
    for c in s["classes"]:
        used = [(f"{c['name']}.{f['name']}", f["type"]) for f in c["fields"]]
        for m in c["messages"]:
            used += [(f"{c['name']}.{m['name']}", t) for t in [m["result"], *[p["type"] for p in m["params"]]]]
        for where, text in used:
            words = text.replace("(", " ").replace(")", " ").replace("->", " ").split()
            for before, word in zip(words, words[1:]):
                if before == "ref" and word not in known:
                    out.append(f"{where}: ref {word}")
                if before == "enum" and word not in enums:
                    out.append(f"{where}: enum {word}")
    return out


def main():
    report, s = Report(), schema()
    found = counts(s)
    for what, least in AT_LEAST.items():
        report.check(found[what] >= least, f"{what}: {found[what]}, at least {least}")
    twice = names_twice(s["classes"], "class") + names_twice(s["enums"], "enum") + names_twice(s["errors"], "error")
    for c in s["classes"]:
        twice += names_twice(c["fields"], f"{c['name']}, field") + names_twice(c["messages"], f"{c['name']}, message")
    report.check_none(twice, "no name is declared twice")
    report.check_none(undocumented(s), "everything has a documentation")
    report.check_none(unknown_types(s), "every class and enum that is used is declared")
    errors = {e["name"] for e in s["errors"]}
    report.check_none([f"{c['name']}.{m['name']}: {e}" for c in s["classes"] for m in c["messages"] for e in m["errors"] if e not in errors],
                      "every error that is named is declared")
    roles = set(s["roles_descending"]) | {"local-root-only"}
    report.check_none([f"{c['name']}.{m['name']}: {m['min_role']}" for c in s["classes"] for m in c["messages"]
                       if m.get("min_role") and m["min_role"] not in roles], "every role that is named is declared")
    sys.exit(report.done())


if __name__ == "__main__":
    main()
