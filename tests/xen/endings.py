# SPDX-License-Identifier: LGPL-2.1-or-later
"""endings.py -- how a guest ends by itself, and what xapid does then: each action after a crash, a reboot, a shutdown."""

import os
import subprocess

from host import Guest, LAB, WORK, until
from life import nothing_left
from live import DUMPS
from shell import Shell

CRASH, SOFT_RESET = 3, 5  # Xen's numbers of the reasons
END_GUEST = "/mnt/share/end-guest"  # in dom0
OLD_ENOUGH = 121  # seconds after which a crash is no loop of crashes


def make_end_guest():
    path = os.path.join(WORK, "share", os.path.basename(END_GUEST))
    subprocess.run(["gcc", "-O1", "-o", path, os.path.join(LAB, "end-guest.c"), "-lxenctrl"], check=True)


def endings(host, report):
    before = host.world()
    make_end_guest()
    g = Guest(host, "endings", "pv", "sysrq_always_enabled", memory=128)
    for ending in (crash_preserves, crash_soon_halts, crash_restarts, crash_dumps_and_restarts, reboot_destroys,
                   shutdown_restarts, soft_reboots):
        ending(g, report)
    host.dom0(f"rm -rf {DUMPS}")
    g.remove()
    nothing_left(host, report, before, "of a guest that ended in all ways nothing is left over in dom0")


def begin(g, **actions):
    """It runs, and does what it shall at its end."""
    for name, action in actions.items():
        g.host.ask("vm-param-set", f"uuid={g.vm}", f"actions-after-{name}={action}")
    if g.state == "halted":
        g.do("start")
        g.ready(g.boots() + 1)


def press(g, key):
    c = g.host.client()
    c("VM.send_sysrq", c("VM.get_by_uuid", g.vm), key)


def ends(g, report, what, *alerts):
    """Halted, and told of."""
    was = g.alerts()
    what()
    halted = until(lambda: g.state == "halted" and not g.host.domains(), 300, 1)
    told = until(lambda: g.alerts()[len(was):] == list(alerts), 30, 1)
    return bool(halted and told), g.state, g.host.domains(), g.alerts(), g.host.log()[-1500:]


def restarts(g, what, *alerts):
    """Another domain, in which it runs, and told of."""
    was, old, boots = g.alerts(), g.domid, g.boots()
    what()
    runs = until(lambda: g.state == "running" and g.domid not in (old, -1), 300, 1) and g.ready(boots + 1) >= 0
    told = until(lambda: g.alerts()[len(was):] == list(alerts), 30, 1)
    return bool(runs and told), g.state, f"{old}, now {g.domid}", g.alerts(), g.host.log()[-1500:]


def grow_old(g):
    """Its domain is no new one any more."""
    until(lambda: g.tick() > OLD_ENOUGH, 5 * OLD_ENOUGH, 5)


def crash_preserves(g, report):
    begin(g, crash="preserve")
    domid = g.domid
    press(g, "c")
    kept = until(lambda: g.state == "paused" and "VM_CRASHED" in g.alerts(), 120, 1)
    xl = g.host.dom0(f"xl list {domid} | tail -n 1").split()
    report.check(kept and "c" in xl[4], "a guest that panics is kept where it shall be", g.state, xl, g.alerts())
    g.do("shutdown", "force=true")
    report.check(g.state == "halted" and not g.host.domains(), "and goes when it is told to", g.state, g.host.domains())


def crash_soon_halts(g, report):
    begin(g, crash="restart")
    ok, *why = ends(g, report, lambda: press(g, "c"), "VM_CRASHED")
    report.check(ok, "a guest that panics soon after its start is not started again", *why)


def crash_restarts(g, report):
    begin(g, crash="restart")
    grow_old(g)
    ok, *why = restarts(g, lambda: press(g, "c"), "VM_CRASHED", "VM_REBOOTED")
    report.check(ok, "a guest that panics is started again", *why)


def crash_dumps_and_restarts(g, report):
    begin(g, crash="coredump_and_restart")
    grow_old(g)
    domid = g.domid
    ok, *why = restarts(g, lambda: press(g, "c"), "VM_CRASHED", "VM_REBOOTED")
    dump = g.host.dom0(f"file {DUMPS}/{g.vm}.{domid}.core", check=False)
    report.check(ok and "ELF 64-bit" in dump, "a guest that panics leaves its memory and is started again", dump, *why)


def reboot_destroys(g, report):
    begin(g, reboot="destroy")
    with Shell(g) as sh:
        ok, *why = ends(g, report, lambda: sh.send("reboot -f"), "VM_SHUTDOWN")
    report.check(ok, "a guest that reboots is halted where it shall be", *why)


def shutdown_restarts(g, report):
    begin(g, shutdown="restart")
    with Shell(g) as sh:
        ok, *why = restarts(g, lambda: sh.send("poweroff -f"), "VM_REBOOTED")
    report.check(ok, "a guest that shuts down is started again where it shall be", *why)


def soft_reboots(g, report):
    soft_reset = lambda: g.host.dom0(f"{END_GUEST} {g.domid} {SOFT_RESET}")  # noqa: E731
    begin(g, softreboot="soft_reboot")
    ok, *why = restarts(g, soft_reset, "VM_REBOOTED")
    report.check(ok, "a guest that resets itself softly is started again", *why)
    begin(g, softreboot="destroy")
    ok, *why = ends(g, report, soft_reset)
    report.check(ok, "or is halted where it shall be", *why)
