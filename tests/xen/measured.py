# SPDX-License-Identifier: LGPL-2.1-or-later
"""measured.py -- what statistics say of a guest's disk and network, summed up, against what moved; and /vm_rrd of it."""

import xml.etree.ElementTree as ET

from host import Guest, until
from life import IMAGE, nothing_left
from live import Figures

STEP = 5  # seconds of a sample
MIB = 1 << 20
ADDRESS = "10.77.0.99"


def measured(host, report):
    before = host.world()
    g = Guest(host, "measured", "pv", f"root=/dev/xvda guest.load=500 guest.ip={ADDRESS}/24").add_disk(IMAGE)
    network = host.ask("network-list", "bridge=xenbr0", "--minimal")
    host.ask("vif-create", f"vm-uuid={g.vm}", f"network-uuid={network}", "device=0")
    g.do("start")
    g.ready()
    disk(g, report)
    nic(g, report)
    history(g, report)
    g.remove()
    nothing_left(host, report, before, "of a guest that was measured nothing is left over in dom0")


def moved(figures, name):
    return sum(figures.known(name)) * STEP


def disk(g, report):
    """Bytes and requests of its disk, as dom0's kernel counts them."""
    def counted():
        text = g.host.dom0(f"grep -H . /sys/bus/xen-backend/devices/vbd-{g.domid}-*/statistics/*")
        return {line.split(":")[0].rsplit("/", 1)[1]: int(line.split(":")[1]) for line in text.splitlines()}
    ok = until(lambda: moved(Figures(g.host, g.vm, 120), "vbd_xvda_write") > 4 * MIB, 120, STEP)
    f, dom0 = Figures(g.host, g.vm, 600), counted()
    written, wrote = moved(f, "vbd_xvda_write"), dom0["wr_sect"] * 512
    report.check(ok and 0.5 * wrote <= written <= wrote and 0 < moved(f, "vbd_xvda_iops_write") <= dom0["wr_req"],
                 "what a guest writes is measured", f.of.get("vbd_xvda_write"), written, dom0)


def nic(g, report):
    """Bytes that dom0 sends it and it answers."""
    g.host.dom0(f"ping -q -c 100 -i 0.1 -s 1000 {ADDRESS}")
    ok = until(lambda: moved(Figures(g.host, g.vm, 120), "vif_0_rx") > 80000, 60, STEP)
    f = Figures(g.host, g.vm, 600)
    sent = int(g.host.dom0(f"cat /sys/class/net/vif{g.domid}.0/statistics/tx_bytes"))
    report.check(ok and 80000 < moved(f, "vif_0_rx") <= sent and moved(f, "vif_0_tx") > 80000, "what a guest receives and sends is measured",
                 f.of.get("vif_0_rx"), f.of.get("vif_0_tx"), sent)


def history(g, report):
    names = {ds.findtext("name").strip() for ds in ET.fromstring(g.host.fetch(f"/vm_rrd?uuid={g.vm}")).iter("ds") if ds.find("name") is not None}
    wanted = {"cpu0", "memory", "memory_target", "vbd_xvda_read", "vbd_xvda_write", "vif_0_rx", "vif_0_tx"}
    report.check(wanted <= names, "/vm_rrd has the guest's sources", wanted - names, names)
