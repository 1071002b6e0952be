#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""full_disk.py -- the disk of the database fills up under a running daemon, and is given room again.

The state lies on a small tmpfs.  A full one: writes are refused, soon, with an error that says so, reads and running VMs go on, the
daemon lives.  With room again: writes go on, by themselves and after a kill; everything acknowledged is there.
"""

import os
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import lab  # noqa: E402
import world  # noqa: E402
from daemon import Daemon, Lost, XapiError, until  # noqa: E402
from report import Report  # noqa: E402

SIZE = "160m"
BOUND = 15  # seconds in which any call must be answered
AGAIN = 60  # seconds in which writes must go on once there is room
WRITERS_TEXT = "x" * 2000


def fill(path):
    """Leaves not one byte."""
    with open(path, "ab", buffering=0) as f:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while f.write(b"\0" * size):
                    pass
            except OSError:
                pass


class Test:
    def __init__(self, daemon, ballast, report):
        self.daemon, self.ballast, self.report = daemon, ballast, report
        self.client = daemon.client(timeout=60)
        self.vm = lab.vm(self.client, "stays")
        self.runs = lab.vm(self.client, "runs")
        lab.enough_memory(self.client, self.runs)
        self.client("VM.start", self.runs, False, False)
        self.known = ""  # the description acknowledged last
        self.doubt = ""  # the one asked for last
        self.longest = 0.0
        self.serial = 0

    def timed(self, method, *params):
        begin = time.monotonic()
        try:
            return self.client(method, *params)
        finally:
            self.longest = max(self.longest, time.monotonic() - begin)

    def write(self):
        self.serial += 1
        self.doubt = f"{self.serial} {WRITERS_TEXT}"
        self.timed("VM.set_name_description", self.vm, self.doubt)
        self.known = self.doubt

    def write_until_refused(self, limit=40000):
        """The error that ends it; None if all was taken."""
        for _ in range(limit):
            try:
                self.write()
            except (XapiError, Lost) as e:
                return e
        return None

    def writes_go_on(self):
        try:
            self.write()
            return True
        except XapiError:
            return False

    def description_is(self, text, *allowed):
        found = self.timed("VM.get_name_description", self.vm)
        self.report.check(found in allowed, text, f"found {found[:12]!r}, allowed are {[a[:12] for a in allowed]}")

    def answered_soon(self, text):
        self.report.check(self.longest < BOUND, f"{text} (the longest took {self.longest:.1f} s)")
        self.longest = 0.0

    def is_full(self):
        """Writes are refused; all else goes on."""
        fill(self.ballast)
        error = self.write_until_refused()
        self.report.check(isinstance(error, XapiError), "a full disk: writes are refused with an error", repr(error))
        self.report.check(any(w in str(error).lower() for w in ("no space", "full", "enospc")), "the error says that the disk is full", error)
        for _ in range(20):
            if self.writes_go_on():
                fill(self.ballast)  # what was freed by itself
        self.report.check(self.daemon.running(), "the daemon lives")
        self.report.check(self.timed("VM.get_power_state", self.runs) == "Running", "reads are answered")
        self.report.check(len(self.timed("VM.get_all_records")) > 2, "large reads are answered")
        self.description_is("what was refused is not seen, what was acknowledged is", self.known)
        try:
            self.timed("VDI.create", {"name_label": "too much", "name_description": "", "SR": lab.default_sr(self.client), "virtual_size": lab.MIB,
                                      "type": "user", "sharable": False, "read_only": False, "other_config": {}})
            self.report.fail("a disk is not made on a full disk")
        except XapiError as e:
            self.report.ok(f"a disk is not made on a full disk: {e.code}")
        other = self.daemon.client(transport="tls", timeout=60)
        self.report.check(other("VM.get_uuid", self.vm), "a new session can read")
        self.answered_soon("every call was answered soon")

    def has_room(self):
        os.unlink(self.ballast)
        begin = time.monotonic()
        self.report.check(until(self.writes_go_on, AGAIN), f"with room again writes go on by themselves ({time.monotonic() - begin:.1f} s)",
                          self.daemon.log_tail(5))
        self.description_is("and are there", self.known)
        self.report.check_none(until(lambda: not world.leftovers(self.daemon, self.client), 20) is not True and
                               world.leftovers(self.daemon, self.client) or [], "and everything fits together")

    def killed_when_full(self):
        fill(self.ballast)
        self.write_until_refused()
        self.daemon.kill()
        os.unlink(self.ballast)
        self.daemon.start()
        self.client = self.daemon.client(timeout=60)
        self.description_is("killed while the disk was full: what was acknowledged is there", self.known, self.doubt)
        self.write()
        self.description_is("and writes go on", self.known)
        self.report.check(self.client("VM.get_power_state", self.runs) == "Running", "and the running VM was not disturbed")
        self.report.check_none(world.leftovers(self.daemon, self.client), "and everything fits together")

    def started_when_full(self):
        """It starts, or says why it does not; nothing is harmed either way."""
        self.daemon.stop()
        fill(self.ballast)
        try:
            self.daemon.start()
            self.client = self.daemon.client(timeout=60)
            self.description_is("started on a full disk: reads are answered", self.known)
            self.daemon.kill()
        except RuntimeError as e:
            self.report.check(any(w in str(e).lower() for w in ("no space", "full", "enospc")), "started on a full disk: it says why it does not", e)
        os.unlink(self.ballast)
        self.daemon.start()
        self.client = self.daemon.client(timeout=60)
        self.description_is("and with room again everything is there", self.known)


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
            try:
                test = Test(daemon, os.path.join(mount, "ballast"), report)
                test.is_full()
                test.has_room()
                test.killed_when_full()
                test.started_when_full()
            except (XapiError, Lost, RuntimeError) as e:
                report.fail("the test can go on", repr(e), daemon.log_tail(10))
            if os.path.exists(os.path.join(mount, "ballast")):
                os.unlink(os.path.join(mount, "ballast"))
    finally:
        subprocess.run(["umount", "-l", mount], check=False)
        os.rmdir(mount)
    sys.exit(report.done())


if __name__ == "__main__":
    main()
