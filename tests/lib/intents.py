# SPDX-License-Identifier: LGPL-2.1-or-later
"""intents.py -- what schema/intents.api declares: every intent with the steps of its operations."""

import os
import re

from daemon import TOP

# Of every intent: its outcome is about to be recorded, and was.  The second may kill, but not fail.
COMMIT, COMMITTED = "commit", "committed"


def intents():
    """{intent: [step]}."""
    with open(os.path.join(TOP, "schema", "intents.api")) as f:
        text = re.sub(r"#.*", "", f.read())
    found = {}
    for name, body in re.findall(r"^intent (\w+) {([^}]*)}", text, re.M):
        steps = re.search(r"\bsteps ([^;]*);", body)
        found[name] = [s.strip() for s in steps.group(1).split(",")] if steps else []
    return found


def steps():
    """All of them as "intent/step", but for those that every intent has."""
    return {f"{name}/{step}" for name, those in intents().items() for step in those}
