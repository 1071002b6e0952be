#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""many.py [--long] -- a repository with many disks: how long SR.scan takes, and what VDI.create and VDI.snapshot cost.

1,000 disks in chains of ten, which others have put there, are found by SR.scan within SCAN_SECONDS.  Then the time of making a
disk and a snapshot, each the lower quartile of TIMES, for others may be at work too, beside that with 10 disks: with 1,000, with --long also with 10,000.  It grows by
no more than GROWS, on the clock and in the daemon's own CPU time (VDI.destroy: on the clock), where NOISE milliseconds more are no growth: clocks are that
coarse on a busy machine.  TMPDIR=/dev/shm takes out what the disk's own flushes take.
"""

import json
import os
import statistics
import subprocess
import sys
import time
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
from daemon import Daemon, cpu_of, until  # noqa: E402
from report import Report  # noqa: E402
import lab  # noqa: E402
from lab import MIB  # noqa: E402

LONG = "--long" in sys.argv
SCAN_SECONDS = 2
GROWS = 1.5
NOISE = 5
AT_ONCE = 1000  # found by one scan
TIMES = 50
CHAIN = 10
NOBODY = "00000000-0000-4000-8000-000000000000"
report = Report()


class Images:
    """Writes images as qemu-img would, without a process for each."""

    def __init__(self, folder):
        self.folder = folder
        path = os.path.join(folder, "form.tmp")
        self.forms = []
        for parent in ([], ["-u", "-b", NOBODY + ".qcow2", "-F", "qcow2"]):
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *parent, path, str(64 * MIB)], check=True)
            with open(path, "rb") as f:
                self.forms.append(f.read())
        os.unlink(path)

    def put(self, parent):
        name = str(uuid.uuid4())
        data = self.forms[parent is not None].replace(NOBODY.encode(), (parent or NOBODY).encode())
        with open(os.path.join(self.folder, name + ".qcow2"), "wb") as f:
            for at in range(0, len(data), 4096):
                piece = data[at:at + 4096]
                if any(piece):
                    f.seek(at)
                    f.write(piece)
            f.truncate(len(data))
        return name

    def chains(self, n):
        for _ in range(n):
            parent = None
            for _ in range(CHAIN):
                parent = self.put(parent)


def seconds(run, *args):
    begin = time.monotonic()
    run(*args)
    return time.monotonic() - begin


class Cost:
    """Of some calls: the lower quartile on the clock, and the daemon's CPU for each, in milliseconds."""

    def __init__(self, pid, calls):
        before, took = cpu_of([pid]), []
        for call in calls:
            took.append(seconds(call))
        self.clock, self.cpu = statistics.quantiles(took, n=4)[0] * 1000, (cpu_of([pid]) - before) / len(took) * 1000


def costs(c, sr):
    """VDI.create and VDI.snapshot, each of a new disk."""
    made = []
    create = Cost(c.daemon.pid, [lambda: made.append(lab.vdi(c, "one more", MIB, sr))] * TIMES)
    snapshot = Cost(c.daemon.pid, [lambda vdi=vdi: made.append(c("VDI.snapshot", vdi, {})) for vdi in list(made)])
    took = [seconds(c, "VDI.destroy", vdi) for vdi in made]
    return {"VDI.create": create, "VDI.snapshot": snapshot}, statistics.quantiles(took, n=4)[0]


def measure(c, sr, few, figures):
    found = len(c("SR.get_VDIs", sr))
    now, destroy = costs(c, sr)
    for name, cost in now.items():
        text = f"{cost.clock:.1f} ms, {cost.cpu:.1f} ms of the daemon's CPU"
        print(f"{found} disks: {name} {text}", flush=True)
        figures[f"{name} {found}"] = {"ms": round(cost.clock, 1), "cpu_ms": round(cost.cpu, 1)}
        if few:
            before = few[name]
            report.check(cost.clock <= GROWS * before.clock + NOISE and cost.cpu <= GROWS * before.cpu + NOISE,
                         f"{name} with {found} disks: at most {GROWS} times what it takes with 10, and {NOISE} ms",
                         f"{text}; with 10: {before.clock:.1f} ms, {before.cpu:.1f} ms")
    print(f"{found} disks: VDI.destroy {destroy * 1000:.1f} ms", flush=True)
    figures[f"VDI.destroy {found}"] = {"ms": round(destroy * 1000, 1)}
    c("SR.scan", sr)  # among many disks, what they lay upon is removed by a thread
    report.check(until(lambda: len(c("SR.get_VDIs", sr)) == found, 120), f"{found} disks: what was made and destroyed leaves nothing", len(c("SR.get_VDIs", sr)))
    if few:
        report.check(destroy * 1000 <= GROWS * few["VDI.destroy"] + NOISE, f"VDI.destroy with {found} disks: at most {GROWS} times what it takes with 10, and {NOISE} ms",
                     f"{destroy * 1000:.1f} ms; with 10: {few['VDI.destroy']:.1f} ms")
    return {**now, "VDI.destroy": destroy * 1000}


def main():
    figures = {}
    with Daemon() as d:
        c = d.client()
        folder = os.path.join(d.dir, "many")
        sr = c("SR.create", lab.host(c), {"location": folder}, 0, "many", "", "file", "user", False, {})
        c("SR.add_to_other_config", sr, "gc", "false")
        images = Images(folder)
        images.chains(1)
        c("SR.scan", sr)
        few = measure(c, sr, None, figures)
        for n in (1000, 10000) if LONG else (1000,):
            first = 0
            while (found := len(c("SR.get_VDIs", sr))) < n:
                images.chains(min(n - found, AT_ONCE) // CHAIN)
                first = seconds(c, "SR.scan", sr)
                if len(c("SR.get_VDIs", sr)) == found:
                    break
            again = statistics.median(seconds(c, "SR.scan", sr) for _ in range(3))
            print(f"{found} disks: the first SR.scan {first:.2f} s, later ones {again:.2f} s", flush=True)
            figures[f"SR.scan {found}"] = {"first": round(first, 2), "again": round(again, 2)}
            report.check(found == n, f"all {n} disks are found", found)
            c("SR.update", sr)
            report.check(int(c("SR.get_virtual_allocation", sr)) == n // CHAIN * 64 * MIB, "virtual_allocation is the size of the disks, without what they lie upon",
                         c("SR.get_virtual_allocation", sr))
            if n == 1000:
                report.check(max(first, again) < SCAN_SECONDS, f"SR.scan of 1,000 disks in chains of ten: less than {SCAN_SECONDS} s", first, again)
            measure(c, sr, few, figures)
    print("# " + json.dumps(figures))
    sys.exit(report.done())


if __name__ == "__main__":
    main()
