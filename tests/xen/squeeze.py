# SPDX-License-Identifier: LGPL-2.1-or-later
"""squeeze.py -- a full host: a guest that can give memory back makes room for another one's start, and takes it again."""

from host import Guest, XeFailed, until
from life import nothing_left
from shell import Shell

RESERVE = 32  # MiB that Xen's host keeps
WANTED = 192  # MiB of the newcomer


def squeeze(host, report):
    before = host.world()
    a = Guest(host, "squeezed", "pv", memory=256, least=128, words="")
    a.do("start")
    a.ready()
    # What takes the rest: the newcomer finds half of what it needs.
    filler = Guest(host, "filler", "pv", memory=free(host) - RESERVE - WANTED // 2, words="")
    filler.do("start", "paused=true")
    b = Guest(host, "newcomer", "pv", memory=WANTED, words="")
    with Shell(a) as sh:
        refused(b, report)
        sh.store({"control/feature-balloon": "1"})
        makes_room(a, b, report, sh)
    for g in (filler, b, a):
        g.remove()
    nothing_left(host, report, before, "of guests that shared a host's memory nothing is left over in dom0")


def free(host):
    """MiB."""
    return int(host.dom0("xl info free_memory"))


def told_free(host):
    c = host.client()
    return int(c("host.compute_free_memory", c("host.get_all")[0])) >> 20


def refused(b, report):
    try:
        b.do("start")
        told = ""
    except XeFailed as e:
        told = str(e)
    report.check("too little free memory" in told,
                 "a guest that does not fit is refused while nobody gives memory back", told)


def makes_room(a, b, report, sh):
    h = a.host
    total = lambda: int(sh.run("grep MemTotal /proc/meminfo").split()[1])  # noqa: E731
    until(lambda: "feature-balloon: 1" in a.get("other"), 60, 1)
    at_first = total()
    b.do("start", "paused=true")
    has, told = a.xen_memory()
    report.check(b.state == "paused" and 128 <= has < 256 - WANTED // 4 and has == told and b.xen_memory() == (WANTED, WANTED),
                 "a guest gives memory back so that another one can start", a.xen_memory(), b.xen_memory(), h.log()[-1500:])
    report.check(total() <= at_first - (256 - has - 4) * 1024, "it has less itself", f"{at_first}, now {total()}, and {has} MiB")
    report.check(abs(free(h) - RESERVE - told_free(h)) <= 2, "host.compute_free_memory is Xen's, without its reserve",
                 free(h), told_free(h))
    b.do("shutdown", "force=true")
    report.check(until(lambda: a.xen_memory() == (256, 256), 120, 1) and until(lambda: total() >= at_first - 1024, 60, 1),
                 "it has its memory again when the other one is gone", a.xen_memory(), total())
