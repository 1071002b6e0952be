# SPDX-License-Identifier: LGPL-2.1-or-later
"""checkpoint.py -- memory and disks of a running guest are kept, and it goes back to them: its counter goes on from there."""

from host import Guest, until
from life import IMAGE, nothing_left


def checkpoint(host, report):
    before = host.world()
    g = Guest(host, "checkpoint", "pv").add_disk(IMAGE)
    g.do("start")
    g.ready()
    at = g.tick()
    snapshot = g.do("checkpoint", f"new-name-label={g.name}-checkpoint")
    kept = g.passes(at)
    report.check(g.state == "running" and g.boots() == 1, "a guest runs on after a checkpoint of it", g.state, g.said()[-500:])
    g.passes(kept + 20)
    host.ask("snapshot-revert", f"snapshot-uuid={snapshot}")
    report.check(g.state == "suspended" and not host.domains(), "a guest that is taken back is as if suspended then", g.state,
                 host.domains())
    goes_back(g, report, at, kept)
    last = g.tick()
    g.do("suspend")
    g.do("resume")
    report.check(g.passes(last) > last and g.boots() == 1, "it can be suspended afterwards", g.state, g.said()[-500:])
    g.do("shutdown")
    host.ask("snapshot-uninstall", f"snapshot-uuid={snapshot}", "force=true")
    g.remove()
    nothing_left(host, report, before, "of a checkpoint nothing is left over in dom0")


def goes_back(g, report, at, kept):
    seen = len(g.ticks())
    g.do("resume")
    until(lambda: len(g.ticks()) > seen + 2, 150, 1)
    then = g.ticks()[seen:]
    report.check(then and at <= then[0] <= kept + 1 and then == sorted(then) and g.boots() == 1,
                 "its counter goes on from the checkpoint", at, kept, then, g.said()[-500:])
