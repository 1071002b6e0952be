# SPDX-License-Identifier: LGPL-2.1-or-later
"""stubborn.py -- guests that do not answer, images that are broken, disks that are full or whose server dies, and an executor
that is killed with -9 in the middle: whoever asked is told, the guest goes on or can be ended, and nothing is left."""

import threading
import time

from failures import MEMORY, attached_nic, outcome, refused
from host import Guest, until
from life import IMAGE, nothing_left

# Of the guest's kernel: it never hears that it is to end or to suspend; it has no driver for disks.
ROOT = "root=/dev/xvda"
DEAF = "initcall_blacklist=xen_setup_shutdown_event"
DISKLESS = "initcall_blacklist=xlblk_init"
INTERNAL = "INTERNAL_ERROR"


def stubborn(host, report):
    before = host.world()
    for step in (hears_nothing, takes_no_disk, does_not_end, cannot_be_restored, does_not_fit, loses_its_server,
                 starts_slowly, executor_is_killed):
        begin = time.monotonic()
        step(host, report)
        nothing_left(host, report, before, f"{step.__name__.replace('_', ' ')}: nothing is left over in dom0",
                     ignore=(r"^open ",) if step is executor_is_killed else ())
        report.note(f"{time.monotonic() - begin:.0f} s")


def running(host, name, words=""):
    g = Guest(host, name, "pv", f"{ROOT} {words}", memory=MEMORY).add_disk(IMAGE)
    g.do("start")
    g.ready()
    return g


def goes_on(g, report, title):
    at = g.tick()
    report.check(g.state == "running" and g.passes(at) > at and g.boots() == 1, f"{title}: the guest goes on", g.state, g.said()[-500:])


# ---- guests ----

def hears_nothing(host, report):
    g = running(host, "deaf", DEAF)
    refused(g, report, "a shutdown that the guest does not hear", ("VM.clean_shutdown",), "VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT")
    refused(g, report, "a suspend that the guest does not hear", ("VM.suspend",), "VM_FAILED_SUSPEND_ACKNOWLEDGMENT")
    goes_on(g, report, "asked in vain to shut down and to suspend")
    c = host.client()
    said = outcome(c, "VM.shutdown", c("VM.get_by_uuid", g.vm))
    report.check(not said and g.state == "halted", "VM.shutdown ends a guest that hears nothing by force", said, g.state)
    g.remove()


def takes_no_disk(host, report):
    g = Guest(host, "diskless", "pv", DISKLESS, memory=MEMORY).add_disk(IMAGE)
    c = host.client()
    g.do("start")
    g.ready()
    vbd = c("VBD.get_by_uuid", g.vbd)
    said = outcome(c, "VBD.unplug", vbd)
    report.check(said[:1] == ["DEVICE_DETACH_TIMEOUT"] and c("VBD.get_currently_attached", vbd),
                 "a disk that the guest does not let go of stays, and DEVICE_DETACH_TIMEOUT says so", said)
    report.note(said)
    backend = host.dom0(f"xenstore-ls -f /local/domain/0/backend/vbd/{g.domid} | grep -E '/(state|online) '")
    report.check('"5"' not in backend and 'online = "1"' in backend, "its backend is as it was, ready for a guest that comes to",
                 backend)
    g.do("pause")
    said = outcome(c, "VBD.unplug", vbd)
    report.check(said[:1] == ["DEVICE_DETACH_REJECTED"], "a paused guest lets go of nothing", said)
    g.remove()


def does_not_end(host, report):
    """It says that it will, and does not: the call waits, and can be called off."""
    g = running(host, "endless", "guest.stop=ignore")
    c = host.client()
    task = c("Async.VM.clean_shutdown", c("VM.get_by_uuid", g.vm))
    asked = until(lambda: "GUEST-STOP" in g.said(), 60, 1)
    report.check(asked and c("task.get_status", task) == "pending", "a shutdown waits for a guest that takes its time", g.said()[-300:])
    c("task.cancel", task)
    ended = until(lambda: c("task.get_status", task) == "cancelled", 60, 0.5)
    report.check(ended, "and can be cancelled", c("task.get_record", task))
    goes_on(g, report, "not shut down after all")
    has_not_for_ever(g, report)
    g.do("shutdown", "force=true")
    g.remove()


def has_not_for_ever(g, report):
    """The twenty minutes that a guest has, made shorter."""
    h = g.host
    h.dom0("cp /etc/xapid/lab /root/lab; echo \"options='--end-wait 20'\" >>/etc/xapid/lab; dom0-xapid stop xapid; dom0-xapid start")
    said = refused(g, report, "a guest that takes longer than it may", ("VM.clean_shutdown",), "VM_SHUTDOWN_TIMEOUT")
    report.check(said[2:] == ["20"], "the error says how long that was", said)
    h.dom0("mv /root/lab /etc/xapid/lab; dom0-xapid stop xapid; dom0-xapid start")
    goes_on(g, report, "not shut down in time")


# ---- images and disks ----

def file_of(host, vdi):
    return host.dom0(f"find /var/lib/xapid -path '*{vdi}*' -type f -size +64k").split()[0]


def cannot_be_restored(host, report):
    """Damage to the guest's own memory in the image is not found: nothing has a checksum of it."""
    g = running(host, "restored")
    c = host.client()
    ref = c("VM.get_by_uuid", g.vm)
    g.do("suspend")
    last = g.tick()
    image = file_of(host, c("VDI.get_uuid", c("VM.get_suspend_VDI", ref)))
    host.dom0(f"cp {image} /root/image")
    for title, damage in (("an image that is cut short", f"truncate -s $(($(stat -c %s {image}) / 2)) {image}"),
                          ("an image that is empty", f"truncate -s 0 {image}")):
        host.dom0(damage)
        said = refused(g, report, f"resume from {title}", ("VM.resume", False, False), None)
        report.check(said[-1:] and len(said[-1]) > 20, f"resume from {title} says what was wrong", said)
        host.dom0(f"cp /root/image {image}")
    host.dom0("rm /root/image")
    g.do("resume")
    report.check(g.passes(last) > last and g.boots() == 1, "from the whole image it resumes, still counting", g.said()[-500:])
    g.remove()


def does_not_fit(host, report):
    """Its memory does not fit where it is to be saved."""
    c = host.client()
    host.dom0("mkdir -p /small && mount -t tmpfs -o size=40m small /small")
    sr = c("SR.create", c("host.get_all")[0], {"location": "/small"}, 0, "small", "", "file", "", False, {})
    g = running(host, "large")
    c("VM.set_suspend_SR", c("VM.get_by_uuid", g.vm), sr)
    refused(g, report, "a suspend to a disk that is full", ("VM.suspend",), None)
    goes_on(g, report, "not saved for want of room")
    left = host.dom0("ls -A /small")
    report.check(not [n for n in left.split() if not n.startswith(".xapid-")], "and no image is left there", left)
    g.remove()
    for pbd in c("SR.get_PBDs", sr):
        c("PBD.unplug", pbd)
    c("SR.forget", sr)
    host.dom0("umount /small; rmdir /small")


def loses_its_server(host, report):
    """The process that shows it its disk dies: before the guest runs, and while it works."""
    g = Guest(host, "served", "pv", f"{ROOT} guest.load=100", memory=MEMORY).add_disk(IMAGE)
    for title, when in (("before it runs", "paused=true"), ("while it works", "paused=false")):
        boots = g.boots()
        g.do("start", when)
        if when == "paused=false":
            g.ready(boots + 1)
        reports = host.dom0("cat /var/log/xapid.log").count(g.vdi)
        host.dom0(f"kill -9 $(cat /var/lib/xapid/datapath/*{g.vdi}*/pid)")
        if when == "paused=true":
            g.do("unpause")
        reported = until(lambda: host.dom0("cat /var/log/xapid.log").count(g.vdi) > reports, 90, 1)
        alone = g.state == "running" or "Kernel panic" in g.said()  # it may not bear the errors that it reads
        report.check(reported and alone, f"a guest whose disk's server dies {title} is left alone, and it is reported",
                     g.state, host.log()[-1500:])
        host.xe("vm-shutdown", f"uuid={g.vm}", "force=true")
        report.check(g.state == "halted" and not host.domains(), f"a guest whose disk's server died {title} can be ended", g.state)
    boots = g.boots()
    g.do("start")
    whole = g.ready(boots + 1) >= 0 and "LOAD-BROKEN" not in g.said(100000).rpartition("GUEST-READY")[2]  # since then
    report.check(whole, "it starts again from its disk", g.said()[-800:])
    g.remove()


# ---- what is below ----

def starts_slowly(host, report):
    """xenstored answers nothing for a while: what waits for it goes on afterwards."""
    g = Guest(host, "slow", "pv", memory=MEMORY).add_disk(IMAGE)
    thread = threading.Thread(target=lambda: host.xe("vm-start", f"uuid={g.vm}"))
    thread.start()
    host.dom0("x=$(cat /run/xenstored.pid); kill -STOP $x; sleep 5; kill -CONT $x")
    thread.join()
    report.check(g.state == "running" and g.ready() >= 0, "a guest starts although xenstored stood still", g.state, host.log()[-1500:])
    g.remove()


def executor_is_killed(host, report):
    """In the middle of what fails anyhow, and of what waits: afterwards the VM is what it was, or what was asked for."""
    g = Guest(host, "cut", "pv", f"{ROOT} {DEAF}", memory=MEMORY).add_disk(IMAGE)
    with attached_nic(g, "nobridge7"):
        cut(g, report, "a start that is going to fail", ("VM.start", False, False), lambda: host.domains(), "Halted")
    g.do("start")
    g.ready()
    asked = lambda what: lambda: host.dom0(f"xenstore-read /local/domain/{g.domid}/control/shutdown", check=False).strip() == what  # noqa: E731
    cut(g, report, "a shutdown that is not heard", ("VM.clean_shutdown",), asked("poweroff"), "Running")
    cut(g, report, "a suspend that is not heard", ("VM.suspend",), asked("suspend"), "Running")
    goes_on(g, report, "after these")
    g.remove()


def cut(g, report, title, call, begun, state):
    h = g.host
    c = h.client()
    ref = c("VM.get_by_uuid", g.vm)
    task = c(f"Async.{call[0]}", ref, *call[1:])
    seen = until(begun, 90, 0.3)
    h.kill("executor")
    h.start()
    ended = until(lambda: c("task.get_status", task) != "pending", 300, 1)
    error = c("task.get_error_info", task)
    report.check(seen and ended and any(w in " ".join(error) for w in ("the executor was killed", "ACKNOWLEDGMENT")),
                 f"{title}, cut short by the end of the executor, ends with an error that says so", seen, error)
    report.note(error)
    settled = until(lambda: c("VM.get_power_state", ref) == state and not c("VM.get_current_operations", ref) and
                    len(h.domains()) == (state == "Running"), 120, 1)
    report.check(settled, f"{title}, cut short: the VM is what it was", c("VM.get_power_state", ref), h.domains(), h.log()[-2000:])
