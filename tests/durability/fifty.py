#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""fifty.py [N] -- N (50) running VMs; the daemon is killed and started: none is disturbed, all are found again."""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import lab  # noqa: E402
import world  # noqa: E402
from daemon import Daemon, until  # noqa: E402
from report import Report  # noqa: E402


def same_domains(before, after):
    """Domains that are gone, new, or are another than before."""
    out = [f"domain of {u} is gone" for u in before if u not in after] + [f"domain of {u} is new" for u in after if u not in before]
    for uuid in set(before) & set(after):
        for key in ("domid", "start_time", "started", "state"):
            if key in before[uuid] and before[uuid][key] != after[uuid].get(key):
                out.append(f"{uuid}: {key} was {before[uuid][key]}, is {after[uuid].get(key)}")
    return out


def main():
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    report = Report()
    with Daemon() as daemon:
        c = daemon.client()
        vms = []
        for i in range(n):
            ref = lab.vm(c, f"vm {i}", disks=1, size=1 * lab.MIB)
            lab.enough_memory(c, ref)
            c("VM.start", ref, False, False)
            vms.append(ref)
        domains = daemon.domains()
        report.check(len(domains) == n, f"{n} VMs run", len(domains))
        before = world.world(c)
        for how in ("killed", "stopped"):
            begin = time.monotonic()
            if how == "killed":
                daemon.kill()
            else:
                daemon.stop()
            report.check_none(same_domains(domains, daemon.domains()), f"the daemon {how}: no domain notices")
            # One ends by itself meanwhile.
            victim = vms.pop()
            uuid = before["VM"][victim]["uuid"]
            daemon.sim(poweroff=uuid)
            until(lambda: daemon.domains().get(uuid, {}).get("state") != "running")
            daemon.start()
            c = daemon.client()
            report.check(until(lambda: c("VM.get_power_state", victim) == "Halted"), f"{how}: the one that ended meanwhile is found halted")
            domains = {u: d for u, d in domains.items() if u != uuid}
            report.check_none(same_domains(domains, daemon.domains()), f"{how} and started: no other domain was disturbed")
            after = world.world(c)
            wrong = [f"{after['VM'][r]['name_label']} is {after['VM'][r]['power_state']}, domid {after['VM'][r]['domid']}, was {before['VM'][r]['domid']}"
                     for r in vms if (after["VM"][r]["power_state"], after["VM"][r]["domid"]) != ("Running", before["VM"][r]["domid"])]
            report.check_none(wrong, f"{how} and started: all others are running as before ({time.monotonic() - begin:.1f} s)")
            report.check_none(world.leftovers(daemon, c), f"{how} and started: everything fits together")
            before = after
        victim = vms[0]
        c("VM.hard_shutdown", victim)
        report.check(c("VM.get_power_state", victim) == "Halted", "a VM found again can be shut down")
        for ref in vms[1:]:
            c("VM.hard_shutdown", ref)
        report.check(not daemon.domains(), "and so can all the others")
    sys.exit(report.done())


if __name__ == "__main__":
    main()
