#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""xen.py [--host NAME] [--keep] [--long | PART...] -- xapid on a real Xen: builds the lab, boots a host, installs, tests.

Parts: accounting, pv, pvh, live, devices, hvm, kills, failures, reboot, and with --long also more-failures, storm,
create, squeeze, endings, checkpoint, measured, pages, pygrub, more-devices, many, nfs, lvm, lvm-thin, lvm-promises, iscsi,
stubborn, machine, network, pair.
--host takes a host of the lab that runs, with xapid installed (tests/xen/install NAME); --keep leaves the host running.
XAPID_LAB: the lab's work directory.
"""

import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from host import LAB, WORK, Host, Lost, XapiError, XeFailed, lab  # noqa: E402
from accounting import accounting  # noqa: E402
from checkpoint import checkpoint  # noqa: E402
from create import create  # noqa: E402
from devices import devices, many, more_devices  # noqa: E402
from endings import endings  # noqa: E402
from failures import failures, more_failures  # noqa: E402
from hvm import hvm  # noqa: E402
from iscsi import iscsi  # noqa: E402
from kills import dom0_reboots, kills  # noqa: E402
from life import life  # noqa: E402
from live import live  # noqa: E402
from lvm import lvm, lvm_promises, lvm_thin  # noqa: E402
from machine import machine  # noqa: E402
from measured import measured  # noqa: E402
from network import network  # noqa: E402
from nfs import nfs  # noqa: E402
from pages import pages  # noqa: E402
from pair import pair  # noqa: E402
from pygrub import pygrub  # noqa: E402
from report import Report  # noqa: E402
from squeeze import squeeze  # noqa: E402
from storm import storm  # noqa: E402
from stubborn import stubborn  # noqa: E402
from wires import wires  # noqa: E402


def alone(part):
    """A part with hosts of its own: two at a time are enough for this machine."""
    def run(host, report):
        if host and host.number:
            lab("stop-host", host.name)
        part(report)
        if host and host.number:
            host.boot(again=True)
            host.start()
    return run


PARTS = {
    "accounting": accounting,
    "pv": lambda host, report: life(host, report, "pv"),
    "pvh": lambda host, report: life(host, report, "pvh"),
    "live": live,
    "devices": devices,
    "hvm": hvm,
    "kills": kills,
    "failures": failures,
    "reboot": dom0_reboots,
}
LONG = {
    "more-failures": more_failures,
    "storm": storm,
    "create": create,
    "squeeze": squeeze,
    "endings": endings,
    "checkpoint": checkpoint,
    "measured": measured,
    "pages": pages,
    "pygrub": pygrub,
    "more-devices": more_devices,
    "many": many,
    "nfs": nfs,
    "lvm": lvm,
    "lvm-thin": lvm_thin,
    "lvm-promises": lvm_promises,
    "iscsi": iscsi,
    "stubborn": stubborn,
    "machine": machine,
    "network": alone(network),
    "wires": alone(wires),
    "pair": alone(pair),
}
OWN = {"network", "wires", "pair"}  # parts that need no other host
BUILD_LIMIT = 900


def registers(host, report):
    """Whether the emulated machine is one that a test can rely on."""
    path = os.path.join(WORK, "share", "fpu-check")
    subprocess.run(["gcc", "-O1", "-static", "-o", path, os.path.join(LAB, "fpu-check.c")], check=True)
    said = host.dom0("/mnt/share/fpu-check 10", check=False)
    report.check(said.startswith("0 of"), "the emulated machine keeps its programs' registers", said)


class Clock:
    """Says what each thing took."""

    def __init__(self, report):
        self.report, self.since = report, time.monotonic()

    def lap(self, text):
        now = time.monotonic()
        self.report.note(f"{text}: {now - self.since:.0f} s")
        self.since = now


def prepare(name, parts, report, clock):
    """A host that runs xapid, if a part needs one."""
    if name:
        host = Host(name, 0)
        host.use()
        return host
    lab("build-image", timeout=BUILD_LIMIT)
    clock.lap("the image is built")
    if OWN.issuperset(parts):
        return None
    host = Host("suite", 200)
    host.boot()
    clock.lap("the host has booted")
    host.install()
    clock.lap("xapid is installed and answers")
    return host


def main():
    words = sys.argv[1:]
    name = words.pop(words.index("--host") + 1) if "--host" in words else ""
    every = {**PARTS, **LONG}
    parts = [w for w in words if not w.startswith("--")] or [*PARTS, *(LONG if "--long" in words else ())]
    if any(p not in every for p in parts):
        sys.exit(__doc__)
    report = Report()
    clock = Clock(report)
    host = None
    try:
        host = prepare(name, parts, report, clock)
        if host:
            registers(host, report)
        for part in parts:
            try:
                every[part](host, report)
            except (RuntimeError, XeFailed, XapiError, Lost, OSError, subprocess.TimeoutExpired) as e:
                report.fail(f"{part} runs to its end", f"{type(e).__name__}: {e}", host.log()[-4000:] if host else "")
                if host and not name:
                    host.boot()
                    host.install()
            clock.lap(part)
    except (RuntimeError, subprocess.SubprocessError) as e:
        report.fail("the lab works", e)
    finally:
        if host and not name and "--keep" not in words:
            host.end()
    sys.exit(report.done())


if __name__ == "__main__":
    main()
