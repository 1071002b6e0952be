# SPDX-License-Identifier: LGPL-2.1-or-later
"""pages.py -- a PVH guest's memory for page tables, which a paravirtual one does not have, and its power button."""

from host import Guest, XapiError
from life import nothing_left
from squeeze import free

MIB = 1 << 20


def pages(host, report):
    before = host.world()
    g = Guest(host, "pages", "pvh", "", memory=128)
    g.do("start")
    c = host.client()
    ref = c("VM.get_by_uuid", g.vm)
    least, overhead = free(host), int(c("VM.get_memory_overhead", ref))
    c("VM.set_shadow_multiplier_live", ref, 8.0)
    more = (int(c("VM.get_memory_overhead", ref)) - overhead) // MIB
    report.check(more > 0 and abs(least - free(host) - more) <= 4, "memory for page tables is taken from Xen's", least, free(host), more)
    c("VM.set_shadow_multiplier_live", ref, 1.0)
    report.check(abs(free(host) - least) <= 4 and int(c("VM.get_memory_overhead", ref)) == overhead, "and is given back", least, free(host))
    try:
        c("VM.set_shadow_multiplier_live", ref, 10000.0)
        told = ""
    except XapiError as e:
        told = str(e)
    report.check("HOST_NOT_ENOUGH_FREE_MEMORY" in told and abs(free(host) - least) <= 4, "more than there is is refused", told)
    c("VM.send_trigger", ref, "power")
    report.ok("a PVH guest's power button is pressed")
    c.close()
    g.remove()
    nothing_left(host, report, before, "of a guest with more page tables nothing is left over in dom0")
