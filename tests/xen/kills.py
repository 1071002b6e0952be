# SPDX-License-Identifier: LGPL-2.1-or-later
"""kills.py -- xapid, its executor and both are killed with -9 while a guest runs, starts, is suspended, or dies meanwhile."""

import subprocess
import threading

from host import Guest, until
from life import IMAGE, nothing_left

FOREIGN = "foreign"


def kills(host, report):
    before = host.world()
    g = Guest(host, "kills", "pv").add_disk(IMAGE)
    g.do("start")
    g.ready()
    for whom in ("xapid", "executor", "both"):
        while_running(g, report, whom)
    unknown_domain(g, report)
    for whom in ("xapid", "executor"):
        while_suspended(g, report, whom)
    dies_meanwhile(g, report, "xapid", "kill")
    for whom in ("xapid", "executor"):
        for moment in ("at once", "when its domain is there"):
            while_starting(g, report, whom, moment)
    dies_meanwhile(g, report, "both", "shutdown")
    g.remove()
    nothing_left(host, report, before, "after all kills nothing is left over in dom0", ignore=(r"^open ",))


def while_running(g, report, whom):
    h, domid, boots = g.host, g.domid, g.boots()
    h.kill(whom)
    at = g.tick()
    going = g.passes(at)
    h.start()
    report.check(going > at, f"a guest runs on while {name(whom)} dead", at, going)
    report.check(until(lambda: g.state == "running", 60, 1) and g.domid == domid and g.boots() == boots,
                 f"a guest that runs is found again when {name(whom)} killed", g.state, g.domid, domid)
    g.do("pause")
    paused = g.state
    at = g.tick()
    g.do("unpause")
    report.check(paused == "paused" and g.passes(at) > at, f"it is paused and unpaused after {name(whom)} killed", paused)


def name(whom):
    return {"xapid": "xapid is", "executor": "the executor is", "both": "both are"}[whom]


def while_suspended(g, report, whom):
    g.do("suspend")
    last, boots = g.tick(), g.boots()
    g.host.kill(whom)
    g.host.start()
    state = until(lambda: g.state, 60, 1)
    g.do("resume")
    report.check(state == "suspended" and g.passes(last) > last and g.boots() == boots,
                 f"a suspended guest resumes, still counting, after {name(whom)} killed", state, last, g.said()[-500:])


def dies_meanwhile(g, report, whom, how):
    """The guest ends while nobody looks: recorded as halted, and what it used is given back."""
    h, domid = g.host, g.domid
    h.kill(whom)
    if how == "kill":
        h.dom0(f"xl destroy {domid}", timeout=300)
    else:
        h.dom0(f"xl shutdown {domid}")
        until(lambda: "GUEST-STOP poweroff" in g.said(20), 120, 1)
    h.start()
    report.check(until(lambda: g.state == "halted", 120, 1) and until(lambda: not h.domains(), 60, 1),
                 f"a guest that ended ({how}) while {name(whom)} dead is found halted", g.state, h.domains(), h.log()[-1500:])


def while_starting(g, report, whom, moment):
    """Whatever became of the start: running with a domain, or halted without; and it starts then."""
    h = g.host
    boots = g.boots()
    answer = []

    def start():
        try:
            done = h.xe("vm-start", f"uuid={g.vm}")
            answer.append(f"{done.returncode} {done.stderr.strip()}")
        except subprocess.TimeoutExpired as e:
            answer.append(str(e))
    thread = threading.Thread(target=start)
    thread.start()
    if moment == "at once":
        until(lambda: "start" in h.ask("vm-param-get", f"uuid={g.vm}", "param-name=current-operations"), 30, 0.05)
    else:
        until(h.domains, 120, 0.2)
    h.kill(whom)
    h.start()
    thread.join(300)
    text = f"a guest that was starting when {name(whom)} killed ({moment})"

    def settled():
        operations = h.ask("vm-param-get", f"uuid={g.vm}", "param-name=current-operations")
        return not operations and (g.state, len(h.domains())) in (("running", 1), ("halted", 0))
    fits = until(settled, 180, 1)
    report.check(fits, f"{text} runs or is halted, with a domain or without", g.state, h.domains(), answer, h.log()[-3000:])
    if g.state == "halted":
        g.do("start")
    report.check(g.ready(boots + 1) >= 0 and g.state == "running", f"{text} runs then", g.state, answer, g.said()[-800:])
    if (whom, moment) != ("executor", "when its domain is there"):
        g.do("shutdown", "force=true")
        until(lambda: not h.domains(), 60, 1)


def unknown_domain(g, report):
    """A domain that somebody else made is reported, and left alone by all that xapid does."""
    h = g.host
    uuid = "f0f0f0f0-0000-4000-8000-" + h.dom0("date +%s").strip().rjust(12, "0")
    h.dom0(f"""cat >/root/foreign <<END
name="{FOREIGN}"
uuid="{uuid}"
type="pv"
kernel="/boot/guest/vmlinux"
ramdisk="/boot/guest/guest.cpio"
extra="console=hvc0 quiet"
memory=128
END
xl create /root/foreign && rm /root/foreign""", timeout=300)
    seen = until(lambda: h.log_has(f"{uuid} belongs to no VM"), 60, 1)
    report.check(seen, "a domain that appears and belongs to no VM is reported", uuid, h.log()[-1500:])
    for whom in ("xapid", "executor"):
        h.kill(whom)
        h.start()
    c = h.client()
    alerts = [m for m in c("message.get_all_records").values() if m["name"] == "UNKNOWN_DOMAIN" and uuid in m["body"]]
    report.check(alerts, "an alert names it after a restart", uuid,
                 {m["name"] for m in c("message.get_all_records").values()})
    for m in [m for m, r in c("message.get_all_records").items() if r["name"] == "UNKNOWN_DOMAIN"]:
        c("message.destroy", m)
    report.check(FOREIGN in h.domains().values(), "it is never destroyed", h.domains())
    h.dom0(f"xl destroy {FOREIGN}", timeout=300)


def dom0_reboots(host, report):
    """dom0 and with it everything stops; afterwards guests are halted and whole, and those that shall start with the host do."""
    pool = host.ask("pool-list", "params=uuid", "--minimal")
    host.ask("pool-param-set", f"uuid={pool}", "other-config:auto_poweron=true")
    running = Guest(host, "r-running", "pv").add_disk(IMAGE)
    host.ask("vm-param-set", f"uuid={running.vm}", "other-config:auto_poweron=true")
    running.do("start")
    running.ready()
    paused = Guest(host, "r-paused", "pv").add_disk(IMAGE)
    paused.do("start", "paused=true")
    boots = running.boots()
    host.dom0("sync; (sleep 1; busybox reboot -f) >/dev/null 2>&1 </dev/null &")
    host.boot(again=True)
    host.start()
    report.check(until(lambda: paused.state == "halted", 60, 1), "after a reboot of dom0 a guest is recorded as halted",
                 paused.state, host.log()[-1500:])
    report.check(until(lambda: running.state == "running", 120, 1) and running.ready(boots + 1) >= 0 and
                 len(host.domains()) == 1, "one that shall start with the host starts by itself, from the same disk",
                 running.state, host.domains(), running.said()[-1000:], host.log()[-1500:])
    host.ask("pool-param-remove", f"uuid={pool}", "param-name=other-config", "param-key=auto_poweron")
    running.do("shutdown")
    before = host.world()
    running.do("start")
    running.do("shutdown", "force=true")
    nothing_left(host, report, before, "after it has shut down nothing is left over in dom0",
                 ignore=(r"^open ", r"^xenstore /local/domain/0/backend$"))
    for g in (running, paused):
        g.remove()
