# SPDX-License-Identifier: LGPL-2.1-or-later
"""machine.py -- the host itself: disabled it starts nothing, it does not go down under its guests, it goes down when it is
told to and its guests come back as they say; a new xenconsoled takes nothing from anybody."""

from host import Guest, lab, until
from life import IMAGE, nothing_left
from failures import START, refused

MEMORY = 96
# The lab's dom0 has no systemd: what xapid asks it for is done by this.
SYSTEMCTL = """#!/bin/sh
for word; do
    case $word in
    reboot | poweroff) (sleep 2; sync; busybox $word -f) >/dev/null 2>&1 </dev/null & ;;
    esac
done
"""


def machine(host, report):
    before = host.world()
    g = Guest(host, "machine", "pv", memory=MEMORY).add_disk(IMAGE)
    disabled_starts_nothing(g, report)
    goes_not_down_under_guests(g, report)
    console_daemon_restarts(g, report)
    g.do("shutdown")
    nothing_left(host, report, before, "after all that nothing is left over in dom0", ignore=(r"^disk ", "xenconsoled"))
    reboots(g, report)
    g.remove()


def disabled_starts_nothing(g, report):
    h = g.host
    uuid = h.ask("host-list", "--minimal")
    h.ask("host-disable", f"uuid={uuid}")
    refused(g, report, "a host that is disabled", START, "HOST_DISABLED")
    h.ask("host-enable", f"uuid={uuid}")
    g.do("start")
    report.check(g.ready() >= 0, "a host that is enabled again starts guests", g.said()[-500:])


def goes_not_down_under_guests(g, report):
    h = g.host
    uuid = h.ask("host-list", "--minimal")
    for what in ("reboot", "shutdown"):
        said = h.xe(f"host-{what}", f"uuid={uuid}").stderr
        report.check("must be disabled first" in said, f"{what} of a host in use is refused", said)
        h.ask("host-disable", f"uuid={uuid}")
        said = h.xe(f"host-{what}", f"uuid={uuid}").stderr
        report.check(g.vm in said, f"{what} of a disabled host is refused while a guest runs on it, which it names", said)
        h.ask("host-enable", f"uuid={uuid}")
    at = g.tick()
    report.check(g.passes(at) > at and g.boots() == 1, "the guest has noticed nothing", g.said()[-500:])


def console_daemon_restarts(g, report):
    h = g.host
    h.dom0("kill -9 $(cat /run/xenconsoled.pid); sleep 1; /usr/lib/xen-4.17/bin/xenconsoled --pid-file=/run/xenconsoled.pid "
           "--log=all --log-dir=/var/log/xen")
    at = g.tick()
    report.check(g.passes(at) > at and g.boots() == 1, "a guest goes on when xenconsoled is a new one", g.said()[-500:])
    report.check("TICK" in h.console(g.vm, "TICK", 60), "its console is read over the API again")


def reboots(g, report):
    """What is to come back with the host does, and nothing else."""
    h = g.host
    other = g.clone("machine-2")
    c = h.client()
    pool = c("pool.get_all")[0]
    c("pool.add_to_other_config", pool, "auto_poweron", "true")
    c("VM.add_to_other_config", c("VM.get_by_uuid", g.vm), "auto_poweron", "true")
    boots = g.boots()
    h.dom0(f"cat >/usr/bin/systemctl <<'END'\n{SYSTEMCTL}END\nchmod 755 /usr/bin/systemctl")
    uuid = h.ask("host-list", "--minimal")
    h.ask("host-disable", f"uuid={uuid}")
    said = h.xe("host-reboot", f"uuid={uuid}")
    report.check(said.returncode == 0, "a host without guests reboots when it is told to", said.stderr)
    report.check(until(lambda: lab("run-in-host", h.name, "true", check=False).returncode, 120, 1), "dom0 has gone down")
    h.boot(again=True)
    h.start()
    report.check(h.ask("host-param-get", f"uuid={uuid}", "param-name=enabled") == "true", "after a reboot the host is enabled")
    states = until(lambda: (g.state, other.state) == ("running", "halted"), 180, 1)
    report.check(states, "with the host comes the guest that is to, and no other", g.state, other.state, h.log()[-2000:])
    report.check(g.ready(boots + 1) >= 0, "it boots from its disk", g.said()[-500:])
    g.do("shutdown")
    h.dom0("rm -f /usr/bin/systemctl")
    other.remove()
