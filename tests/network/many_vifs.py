#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""many_vifs.py [--short] -- a host with 500 locked VIFs (short: 100), each an interface in a bridge: what plugging one more costs.

VIF.unplug and VIF.plug of one VIF, each the lower quartile of TIMES on the clock: what they take with all of them beside what they take with FEW.
They grow by no more than GROWS, where NOISE seconds more are no growth: others may be at work.  Then PIF.scan, and the daemon's start after kill -9 until it answers, with all of them.
"""

import os
import statistics
import sys
import time

import host_of_xapid
from host_of_xapid import Report, World, sh

SHORT = "--short" in sys.argv
MANY = 100 if SHORT else 500
FEW, A_MACHINE, TIMES = 14, 7, 30
GROWS, NOISE, START = 2, 0.01, 3  # ..., seconds


class Machines:
    def __init__(self, w):
        self.w, self.vifs, self.n = w, [], 0
        self.network = w.network("guests")
        self.bridge = w.c("network.get_bridge", self.network)

    def grow(self, to):
        """Machines with seven locked VIFs each, until there are so many; their interfaces are in the bridge, as Xen's script would put them."""
        c, batch = self.w.c, []
        while len(self.vifs) < to:
            self.n += 1
            vm = c("VM.clone", c("VM.get_by_name_label", "Other install media")[0], f"m{self.n}")
            c("VM.provision", vm)
            for i in range(min(A_MACHINE, to - len(self.vifs))):
                self.vifs.append(c("VIF.create", {"device": str(i), "network": self.network, "VM": vm, "MAC": "", "MTU": 1500, "other_config": {},
                                                  "qos_algorithm_type": "", "qos_algorithm_params": {}, "locking_mode": "locked",
                                                  "ipv4_allowed": [f"10.5.{self.n % 250}.{i + 1}"], "ipv6_allowed": []}))
            c("VM.start", vm, False, False)
            domid = c("VM.get_domid", vm)
            for vif in c("VM.get_VIFs", vm):
                name = f"vif{domid}.{c('VIF.get_device', vif)}"
                batch.append(f"link add {name} type veth peer name p{name}\nlink set {name} master {self.bridge} up\n")
        with open("/run/batch", "w") as f:
            f.write("".join(batch))
        sh("ip -batch /run/batch")

    def cost(self, call, vif):
        begin = time.monotonic()
        self.w.c(call, vif)
        return time.monotonic() - begin

    def costs(self):
        """Seconds of an unplug and of a plug."""
        vif, took = self.vifs[0], ([], [])
        for _ in range(TIMES):
            took[0].append(self.cost("VIF.unplug", vif))
            took[1].append(self.cost("VIF.plug", vif))
        return [statistics.quantiles(t, n=4)[0] for t in took]


def many(w):
    m = Machines(w)
    m.grow(FEW)
    few = m.costs()
    m.grow(MANY)
    rules = sh("nft list table bridge xapid")
    w.report.check(rules.count("chain from_vif") == 2 * MANY, f"{MANY} VIFs are guarded, and their emulated cards", rules.count("chain from_vif"))
    all_of_them = m.costs()
    for what, before, now in zip(("VIF.unplug", "VIF.plug"), few, all_of_them):
        w.report.note(f"{what}: {before * 1000:.1f} ms with {FEW} VIFs, {now * 1000:.1f} ms with {MANY}")
        w.report.check(now <= max(GROWS * before, before + NOISE), f"{what} takes no longer with {MANY} VIFs than with {FEW}", before, now)
    begin = time.monotonic()
    w.c("PIF.scan", w.host)
    w.report.note(f"PIF.scan with {MANY} VIFs: {time.monotonic() - begin:.2f} s")
    w.daemon.kill()
    begin = time.monotonic()
    w.daemon.start()
    w.c.login()
    took = time.monotonic() - begin
    w.report.note(f"from the start to the first answer with {MANY} VIFs: {took:.2f} s")
    w.report.check(took < (START if not SHORT else 10 * START), "a daemon that starts answers soon", took)


def main():
    report = Report()
    if not os.environ.get("XAPID_ALONE"):
        os.environ["XAPID_ALONE"] = "1"
        os.execvp("unshare", ["unshare", "--net", "--mount", "--propagation", "private", sys.executable, *sys.argv])
    host_of_xapid.make_world()
    sys.exit(host_of_xapid.run_parts(World(report), report, (many,)))


if __name__ == "__main__":
    main()
