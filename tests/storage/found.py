#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""found.py -- one SR.scan finds 5,000 disks, and later misses most of them: more than one change of the database has room for.

They are written behind the daemon's back, in chains of ten, the upper ones with names.  The daemon is killed amid the scan, when some have their
records; the next scan completes them.  Among so many, what nothing needs any more is removed by a thread.
"""

import json
import os
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "lib"), os.path.join(HERE, "..", "bench")]
import lab  # noqa: E402
from daemon import Daemon, Lost, until  # noqa: E402
from many import CHAIN, Images  # noqa: E402
from report import Report  # noqa: E402

N = 5000
KEPT = 200


def put_all(folder):
    """{location: (name, parent)}"""
    images, out = Images(folder), {}
    for k in range(N // CHAIN):
        parent = None
        for _ in range(CHAIN):
            location = images.put(parent)
            out[location] = ("", parent)
            parent = location
        name = f"disk {k} of many: \u00e4, \u4e2d"
        out[location] = (name, out[location][1])
        with open(os.path.join(folder, location + ".json"), "w", encoding="utf-8") as f:
            json.dump({"name_label": name, "name_description": "x" * 200, "sm_config": {}, "hidden": False}, f)
    return out


def rows(c, sr):
    return [r for r in c("VDI.get_all_records").values() if r["SR"] == sr]


def killed_amid(d, sr):
    """How many records there are after a kill during the scan; None where it was over too soon."""
    before = len(rows(d.client(), sr))
    scanner, watcher = d.client(), d.client()

    def scan():
        try:
            scanner("SR.scan", sr)
        except Lost:
            pass

    thread = threading.Thread(target=scan)
    thread.start()
    until(lambda: len(watcher("SR.get_VDIs", sr)) > before or not thread.is_alive(), 60, 0)
    d.kill()
    thread.join()
    d.start()
    found = len(rows(d.client(), sr))
    return found if before < found < N else None


def left_to_the_thread(report, c, sr, folder):
    """Among many images VDI.destroy does not wait until it is known that nothing needs what the disk lay upon."""
    before = {r["location"] for r in rows(c, sr)}
    disk = lab.vdi(c, "one more", 1 << 20, sr)
    for vdi in (c("VDI.snapshot", disk, {}), disk):
        c("VDI.destroy", vdi)
    c("SR.scan", sr)
    gone = until(lambda: {r["location"] for r in rows(c, sr)} == before, 60)
    files = {f.split(".")[0] for f in os.listdir(folder) if f.endswith(".qcow2")}
    report.check(gone and files == before, "what a destroyed disk and its snapshot lay upon goes by itself", files ^ before)


def main():
    report = Report()
    with Daemon() as d:
        c = d.client()
        folder = os.path.join(d.dir, "many")
        sr = c("SR.create", lab.host(c), {"location": folder}, 0, "many", "", "file", "user", False, {})
        c("SR.add_to_other_config", sr, "gc", "false")
        written = put_all(folder)
        amid = killed_amid(d, sr)
        report.check(amid, "the daemon was killed when some of the disks had their records", len(rows(d.client(), sr)))
        c = d.client()
        c("SR.scan", sr)
        found = rows(c, sr)
        report.check(len(found) == N, f"the next scan completes them: all {N} have one", len(found))
        upper = {parent for _, parent in written.values()}
        wrong = [f"{r['location']}: {r['name_label']!r}, {r['sm_config']}, managed {r['managed']}" for r in found
                 if (r["name_label"], r["sm_config"].get("vhd-parent")) != written[r["location"]] or r["managed"] == (r["location"] in upper)]
        report.check_none(wrong, "names, what lies on what, and which are for users are right", 5)
        keep = set(list(written)[:KEPT])
        for location in written.keys() - keep:
            os.unlink(os.path.join(folder, location + ".qcow2"))
        c("SR.scan", sr)
        report.check({r["location"] for r in rows(c, sr)} == keep, f"of those whose files are gone no record stays, the other {KEPT} do", len(rows(c, sr)))
        left_to_the_thread(report, c, sr, folder)
    sys.exit(report.done())


if __name__ == "__main__":
    main()
