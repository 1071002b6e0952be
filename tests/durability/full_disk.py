#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""full_disk.py -- the disk of the database fills up under a running daemon, and is given room again.

The state lies on a small tmpfs.  A full one: writes are refused with an error that says so, reads and running VMs go on, the
daemon lives.  With room again: writes go on, by themselves and after a kill; everything acknowledged is there.
"""

import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import lab  # noqa: E402
import world  # noqa: E402
from daemon import Daemon, Lost, XapiError, until  # noqa: E402
from report import Report  # noqa: E402

SIZE = "160m"


def fill(path):
    """Leaves not one byte."""
    with open(path, "wb", buffering=0) as f:
        try:
            while True:
                f.write(b"\0" * 65536)
        except OSError:
            pass
        try:
            while True:
                f.write(b"\0")
        except OSError:
            pass


def write_until_refused(c, vm, known, limit=20000):
    """The error that ends it; None if all was taken.  'known' gets the last text acknowledged."""
    for n in range(limit):
        text = f"{n} " + "x" * 2000
        try:
            c("VM.set_name_description", vm, text)
            known[0] = text
        except XapiError as e:
            return e
        except Lost as e:
            return e
    return None


def scenario(daemon, ballast, report):
    c = daemon.client()
    vm = lab.vm(c, "stays")
    running = lab.vm(c, "runs")
    lab.enough_memory(c, running)
    c("VM.start", running, False, False)
    known = [""]
    fill(ballast)
    error = write_until_refused(c, vm, known)
    report.check(isinstance(error, XapiError), "a full disk: writes are refused with an error", repr(error))
    text = str(error).lower()
    report.check(any(w in text for w in ("space", "full", "disk")), "the error says that the disk is full", error)
    report.check(daemon.running(), "the daemon lives")
    report.check(c("VM.get_power_state", running) == "Running", "reads are answered")
    report.check(c("VM.get_name_description", vm) == known[0], "what was refused is not there, what was acknowledged is",
                 c("VM.get_name_description", vm)[:20], known[0][:20])
    os.unlink(ballast)

    def writes_again():
        try:
            c("VM.set_name_description", vm, "room again")
            return True
        except XapiError:
            return False
    report.check(until(writes_again, 60), "with room again writes go on by themselves")
    report.check(c("VM.get_name_description", vm) == "room again", "and are there")
    fill(ballast)
    known = ["room again"]
    error = write_until_refused(c, vm, known)
    daemon.kill()
    os.unlink(ballast)
    daemon.start()
    c = daemon.client()
    report.check(c("VM.get_name_description", vm) == known[0], "killed while the disk was full: what was acknowledged is there",
                 c("VM.get_name_description", vm)[:20], known[0][:20])
    c("VM.set_name_description", vm, "after the kill")
    report.check(c("VM.get_name_description", vm) == "after the kill", "and writes go on")
    report.check(c("VM.get_power_state", running) == "Running", "and the running VM was not disturbed")
    report.check_none(world.leftovers(daemon, c), "and everything fits together")


def main():
    report = Report()
    mount = tempfile.mkdtemp(prefix="xf-")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", mount], capture_output=True, text=True)
    if done.returncode:
        os.rmdir(mount)
        print(f"ok - # SKIP a tmpfs cannot be mounted: {done.stderr.strip()}")
        sys.exit(77)
    try:
        with Daemon(state=os.path.join(mount, "state")) as daemon:
            scenario(daemon, os.path.join(mount, "ballast"), report)
    finally:
        subprocess.run(["umount", "-l", mount], check=False)
        os.rmdir(mount)
    sys.exit(report.done())


if __name__ == "__main__":
    main()
