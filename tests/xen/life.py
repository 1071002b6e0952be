# SPDX-License-Identifier: LGPL-2.1-or-later
"""life.py -- a guest's whole life on Xen, all of it through xe over TLS; nothing is left of it in dom0."""

import os
import re
import subprocess
import time

from host import Guest, WORK, until

IMAGE = os.path.join(WORK, "base", "guest.raw")


def life(host, report, kind):
    before = host.world()
    g = Guest(host, f"life-{kind}", kind, "root=/dev/xvda guest.load=200").add_disk(IMAGE)
    for step in (starts, pauses, is_snapshot_under_load, suspends, reboots, shuts_down):
        begin = time.monotonic()
        step(g, report, kind)
        report.note(f"{time.monotonic() - begin:.0f} s")
    g.remove()
    nothing_left(host, report, before, f"of a {kind} guest's life nothing is left over in dom0")


def nothing_left(host, report, before, text, ignore=()):
    """Connections and hotplug scripts take a moment to go."""
    last = []

    def clean():
        last[:] = host.world().left_over(before, ignore)
        return not last
    until(clean, 60, 1)
    report.check_none(last, text)


def starts(g, report, kind):
    g.do("start")
    report.check(g.state == "running" and g.domid in g.host.domains(), f"a {kind} guest starts from an imported disk",
                 g.state, g.host.domains())
    if not report.check(g.ready() >= 0, f"a {kind} guest runs from that disk and counts", g.said()[-2000:]):
        raise RuntimeError(f"the {kind} guest does not run")
    said = g.host.console(g.vm, "TICK", 60)
    report.check(re.search(r"TICK \d+", said), f"a {kind} guest's console is read over the API", repr(said[-500:]))


def pauses(g, report, kind):
    g.do("pause")
    at = g.tick()
    time.sleep(4)  # what does not happen cannot be waited for
    report.check(g.state == "paused" and g.tick() == at, f"a paused {kind} guest does not count", g.state, at, g.tick())
    g.do("unpause")
    report.check(g.passes(at) > at and g.boots() == 1, f"an unpaused {kind} guest goes on counting", at, g.said()[-500:])


def suspends(g, report, kind):
    at = g.tick()
    g.do("suspend")
    last = g.tick()
    report.check(g.state == "suspended" and not g.host.domains(), f"of a suspended {kind} guest there is no domain",
                 g.state, g.host.domains())
    g.do("resume")
    then = g.passes(last)
    ticks = [t for t in g.ticks() if t >= at]
    report.check(then > last >= at and g.boots() == 1 and ticks == sorted(ticks),
                 f"a resumed {kind} guest goes on counting where it was", f"{at}, {last}, {then}", g.said()[-500:])


def reboots(g, report, kind):
    old = g.domid
    g.do("reboot")
    ready = g.ready(2)
    report.check(g.state == "running" and g.domid != old and ready >= 0 and "boots=2" in g.said(100000),
                 f"a {kind} guest reboots, with its disk as it was", g.state, g.domid, g.said()[-1000:])


def shuts_down(g, report, kind):
    g.do("shutdown")
    report.check(g.state == "halted" and not g.host.domains() and re.findall(r"GUEST-STOP (\w+)", g.said())[-1:] == ["poweroff"],
                 f"a {kind} guest shuts down when asked", g.state, g.host.domains(), g.said()[-500:])
    report.check("LOAD-BROKEN" not in g.said(100000), f"a {kind} guest reads from its disk what it wrote", g.said()[-1000:])


def is_snapshot_under_load(g, report, kind):
    """A live snapshot: the guest goes on writing; what the snapshot holds is a file system as after a power cut."""
    h = g.host
    loads = lambda: len(re.findall(r"^LOAD \d+", g.said(100000), re.M))  # noqa: E731
    until(lambda: loads() >= 2, 120, 1)
    was, at = loads(), g.tick()
    snapshot = g.do("snapshot", f"new-name-label={g.name}-snapshot")
    report.check(g.passes(at) > at and until(lambda: loads() > was + 1, 120, 1) and g.boots() == 1,
                 f"a {kind} guest runs on and writes while its disk is snapshot", g.said()[-500:])
    vdi = h.ask("snapshot-disk-list", f"uuid={snapshot}", "vdi-params=uuid", "vbd-params=", "--minimal").split(",")[0]
    image = os.path.join(h.dir, f"{g.name}.raw")
    h.ask("vdi-export", f"uuid={vdi}", f"filename={image}", "format=raw")
    checked = subprocess.run(["e2fsck", "-fy", image], capture_output=True, text=True, timeout=120)
    text = lambda path: subprocess.run(["debugfs", "-R", f"cat {path}", image], capture_output=True, text=True,  # noqa: E731
                                       timeout=60).stdout
    report.check(checked.returncode in (0, 1) and os.path.getsize(image) == os.path.getsize(IMAGE) and text("/count").strip().isdigit(),
                 f"a {kind} guest's live snapshot holds a file system that is whole", checked.stdout[-1000:], text("/count"))
    os.unlink(image)
    h.ask("snapshot-uninstall", f"snapshot-uuid={snapshot}", "force=true")
