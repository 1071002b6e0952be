#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""form.py -- what a formatter does not see: licences, words of C that are not used here, where the seam is."""

import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
from daemon import TOP  # noqa: E402
from report import Report  # noqa: E402

COMMENT_OR_STRING = re.compile(r'/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
MARKED = (".c", ".h", ".py", ".sh", ".api", ".mjs")
UNMARKED = ("tests/golden/compiler/expected/",)
# The clock, randomness, threads and locks of the daemon come from libxapi/base/seam.h, so that a test can be in their place.
SEAM = re.compile(r"\b(clock_gettime|gettimeofday|getrandom|pthread_(?:create|mutex|cond)\w*|time\s*\(\s*NULL|usleep|nanosleep)\b")
SEAM_FREE = ("libxapi/base/seam.c", "libxapi/base/seam.h", "tests/", "libxapi/base/child.c", "schema/compiler/")


def files():
    text = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=TOP, check=True, capture_output=True, text=True).stdout
    return [p for p in text.splitlines() if os.path.isfile(os.path.join(TOP, p))]


def text_of(path):
    with open(os.path.join(TOP, path), errors="replace") as f:
        return f.read()


def code_of(text):
    """Without comments and strings; the lines stay."""
    return COMMENT_OR_STRING.sub(lambda m: re.sub(r"[^\n]", " ", m.group(0)), text)


def lines_with(paths, pattern):
    out = []
    for path in paths:
        for number, line in enumerate(code_of(text_of(path)).splitlines(), 1):
            if pattern.search(line):
                out.append(f"{path}:{number}: {line.strip()}")
    return out


def main():
    report, all_files = Report(), files()
    marked = [p for p in all_files if p.endswith(MARKED) and not p.startswith(UNMARKED)]
    report.check_none([p for p in marked if "SPDX-License-Identifier: LGPL-2.1-or-later" not in text_of(p)[:400]], "every source says its licence")
    c = [p for p in all_files if p.endswith((".c", ".h"))]
    report.check_none(lines_with(c, re.compile(r"//")), "no comment begins with //")
    report.check_none(lines_with(c, re.compile(r"\bgoto\b")), "no goto")
    report.check_none(lines_with(c, re.compile(r"\btypedef\s+struct\s+(?!ref\b)\w*\s*{")), "structs have no typedef, but for ref_t")
    report.check_none(lines_with([p for p in c if not p.startswith(SEAM_FREE)], SEAM), "clock, randomness, threads and locks come from the seam")
    report.check_none([p for p in c if "\t" in text_of(p)], "no tabs")
    sys.exit(report.done())


if __name__ == "__main__":
    main()
