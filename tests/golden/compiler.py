#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""compiler.py [--accept] -- the schema compiler: a small schema gives what is committed, mistakes give file, line and reason."""

import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
from daemon import program  # noqa: E402
from report import Report  # noqa: E402

OUTPUTS = ("api_types.h", "api_tables.c", "api_daemon.h", "api_daemon.c", "api_client.h", "api_client.c")
EXPECTED = os.path.join(HERE, "compiler", "expected")
BEFORE = "# May do everything.\nrole pool-admin;\n"


def run(directory, *words):
    return subprocess.run([program("schemac"), *words], cwd=directory, capture_output=True, text=True)


def outputs(report, accept):
    """The six files, the JSON and the manual."""
    with tempfile.TemporaryDirectory() as directory:
        source = os.path.join(HERE, "compiler")
        done = run(source, directory, "small.api")
        if not report.check(done.returncode == 0, "the small schema compiles", done.stderr):
            return
        texts = {"api.json": run(source, "--json", "small.api").stdout, "manual.md": run(source, "--manual", "small.api").stdout}
        for name in OUTPUTS:
            with open(os.path.join(directory, name)) as f:
                texts[name] = f.read()
    os.makedirs(EXPECTED, exist_ok=True)
    for name, text in texts.items():
        path = os.path.join(EXPECTED, name + ".txt")
        if accept:
            with open(path, "w") as f:
                f.write(text)
        with open(path) as f:
            wanted = f.read()
        report.check(text == wanted, f"{name} of the small schema is as committed (compiler.py --accept takes a change)",
                     *differences(wanted, text))


def differences(wanted, seen, at_most=6):
    pairs = zip(wanted.splitlines() + ["(end)"], seen.splitlines() + ["(end)"])
    return [f"line {n}: wanted {a!r}, seen {b!r}" for n, (a, b) in enumerate(pairs, 1) if a != b][:at_most]


def mistakes():
    """(line, message, text) of each."""
    with open(os.path.join(HERE, "compiler", "mistakes.txt")) as f:
        for block in f.read().split("\n== ")[1:]:
            head, _, text = block.partition("\n")
            line, _, message = head.partition(": ")
            yield line, message, text


def mistake(report, line, message, text):
    with tempfile.TemporaryDirectory() as directory:
        with open(os.path.join(directory, "wrong.api"), "w") as f:
            f.write(BEFORE + text)
        done = run(directory, directory, "wrong.api")
        left = [n for n in os.listdir(directory) if n != "wrong.api"]
    report.check(done.returncode == 1 and done.stderr == f"wrong.api:{line}: {message}\n" and not left, f"a mistake is told: {message}",
                 f"exit status {done.returncode}, says: {done.stderr}", *left)


def main():
    report = Report()
    outputs(report, "--accept" in sys.argv)
    for line, message, text in mistakes():
        mistake(report, line, message, text)
    with tempfile.TemporaryDirectory() as directory:
        done = run(directory, directory, "nowhere.api")
        report.check(done.returncode == 1 and done.stderr.startswith("nowhere.api:0: "), "a file that does not exist is told", done.stderr)
    sys.exit(report.done())


if __name__ == "__main__":
    main()
