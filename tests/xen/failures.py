# SPDX-License-Identifier: LGPL-2.1-or-later
"""failures.py -- what Xen, a disk, the network or a guest refuses comes back as an error that says what and why: the task
ends with it, the VM is what it was, and nothing is left over in dom0.

A case is a title, how the trouble is made and mended (a context manager of the guest), the call, the error's code, and
what its words say.  CASES are the quick ones.
"""

import contextlib
import os
import time

from host import Guest, until
from life import IMAGE, nothing_left

MEMORY = 96
TASK = 400  # seconds; libxl's own patience with a backend or a guest is a part of it
START = ("VM.start", False, False)
SAVED_WORDS = ("power_state", "allowed_operations", "current_operations", "resident_on", "domid", "memory_target")


# ---- the call, and what it leaves ----

def refused(g, report, title, call, code, *words):
    """The call fails so (None: with whatever code), and changes nothing; its error."""
    c = g.host.client()
    ref = c("VM.get_by_uuid", g.vm)
    before = picture(c, ref)
    begin = time.monotonic()
    error = outcome(c, call[0], ref, *call[1:])
    said = " ".join(error)
    report.check(error and code in (error[0], None) and all(w in said for w in words), f"{title}: {code or 'an error'} says what and why", said or "no error", words)
    report.note(f"{time.monotonic() - begin:.0f} s: {said}")
    until(lambda: picture(c, ref) == before, 30, 0.5)  # what is being looked at may take a moment
    report.check(picture(c, ref) == before, f"{title}: the VM is what it was", before, picture(c, ref))
    return error


def outcome(c, method, *args):
    """The error that the task of a call ended with; [] where it has succeeded."""
    task = c(f"Async.{method}", *args)
    ended = until(lambda: c("task.get_status", task) != "pending", TASK, 0.2)
    error = c("task.get_error_info", task) if ended else ["its task does not end"]
    c("task.destroy", task)
    return error


def picture(c, ref):
    """What a failed call may not change."""
    record = c("VM.get_record", ref)
    attached = {d: c(f"{kind}.get_currently_attached", d) for kind in ("VBD", "VIF") for d in record[kind + "s"]}
    return {**{w: sorted(record[w]) if w == "allowed_operations" else record[w] for w in SAVED_WORDS}, "attached": attached}


# ---- troubles: made on entry, mended on leaving ----

def setting(message, value, restored):
    """The VM's record is set so."""
    @contextlib.contextmanager
    def made(g):
        c = g.host.client()
        ref = c("VM.get_by_uuid", g.vm)
        c(f"VM.{message}", ref, *value)
        yield
        c(f"VM.{message}", ref, *restored)
    return made


def kernel(path):
    return setting("set_PV_kernel", [path], ["/boot/guest/vmlinux"])


def ramdisk(path):
    return setting("set_PV_ramdisk", [path], ["/boot/guest/guest.cpio"])


def memory(mib):
    limits = lambda n: [str(n << 20)] * 4  # noqa: E731
    return setting("set_memory_limits", limits(mib), limits(MEMORY))


def dom0(make, mend):
    """Commands in dom0; $DISK is the disk's file, $SR its folder."""
    @contextlib.contextmanager
    def made(g):
        variables = f"DISK={disk_file(g)}; SR=${{DISK%/*}}; "
        g.host.dom0(variables + make, timeout=300)
        try:
            yield
        finally:
            g.host.dom0(variables + mend, timeout=300)
    return made


def disk_file(g):
    return g.host.dom0(f"find /var/lib/xapid -path '*{g.vdi}*' -type f -size +64k").split()[0]


def program(path):
    """A program of the host's that ends at once, with 1."""
    return dom0(f"mount --bind /bin/false {path}", f"umount {path}")


@contextlib.contextmanager
def network_of(c, bridge):
    """A network of that bridge, which nobody has made."""
    network = c("network.create", {"name_label": bridge, "name_description": "", "MTU": "1500", "other_config": {}, "bridge": bridge,
                                   "managed": False})
    yield network
    c("network.destroy", network)


@contextlib.contextmanager
def nic_in(g, c, network):
    vif = c("VIF.create", {"VM": c("VM.get_by_uuid", g.vm), "network": network, "device": "0", "MAC": "", "MTU": "1500",
                           "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}})
    yield vif
    c("VIF.destroy", vif)


@contextlib.contextmanager
def attached_nic(g, bridge):
    """A NIC of the guest in such a network."""
    c = g.host.client()
    with network_of(c, bridge) as network, nic_in(g, c, network) as vif:
        yield vif


@contextlib.contextmanager
def memory_taken(g):
    """A domain that xapid knows nothing of has nearly all of Xen's memory."""
    h = g.host
    free = int(h.dom0("xl info free_memory"))
    foreign(h, "greedy", free - 60)
    yield
    h.dom0("xl destroy greedy", timeout=300)


def foreign(h, name, mib):
    h.dom0(f"""printf '%s\\n' 'name="{name}"' 'type="pv"' 'kernel="/boot/guest/vmlinux"' 'ramdisk="/boot/guest/guest.cpio"' \\
        'memory={mib}' >/root/{name}; xl create -p /root/{name}; rm /root/{name}""", timeout=300)


@contextlib.contextmanager
def hvm(g):
    """The same VM with emulated hardware."""
    c = g.host.client()
    ref = c("VM.get_by_uuid", g.vm)
    c("VM.set_domain_type", ref, "hvm")
    c("VM.set_HVM_boot_params", ref, {"order": "c"})
    yield
    c("VM.set_HVM_boot_params", ref, {})
    c("VM.set_domain_type", ref, "pv")


pvh = setting("set_domain_type", ["pvh"], ["pv"])


def both(outer, inner):
    @contextlib.contextmanager
    def made(g):
        with outer(g), inner(g):
            yield
    return made


INTERNAL = "INTERNAL_ERROR"
SR_ERROR = "SR_BACKEND_FAILURE_46"
CASES = (
    ("a kernel that is missing", kernel("/boot/none"), START, INTERNAL, "kernel /boot/none", "No such file"),
    ("a kernel that is a text", kernel("/etc/passwd"), START, INTERNAL, "building the domain with /etc/passwd", "Invalid kernel"),
    ("more memory than there is", memory(100000), START, "HOST_NOT_ENOUGH_FREE_MEMORY"),
    ("a disk whose file is gone", dom0("mv $DISK $SR/../aside", "mv $SR/../aside $DISK"), START, "VDI_MISSING"),
)
MORE_CASES = (
    ("a ramdisk that is missing", ramdisk("/boot/none"), START, INTERNAL, "ramdisk /boot/none", "No such file"),
    ("a ramdisk larger than the memory", both(dom0("truncate -s 300M /boot/large", "rm /boot/large"), ramdisk("/boot/large")),
     START, INTERNAL, "building the domain", "too large"),
    ("a kernel that is cut short", both(dom0("head -c 100000 /boot/guest/vmlinux >/boot/short", "rm /boot/short"), kernel("/boot/short")),
     START, INTERNAL, "building the domain"),
    ("memory that another domain has", memory_taken, START, "HOST_NOT_ENOUGH_FREE_MEMORY"),
    ("a folder in a disk's place", dom0("mv $DISK $SR/../aside; mkdir $DISK", "rmdir $DISK; mv $SR/../aside $DISK"), START, SR_ERROR, "no file"),
    ("a disk that is cut short", dom0("cp $DISK $SR/../aside; truncate -s 1000 $DISK", "mv $SR/../aside $DISK"), START, SR_ERROR,
     "cut short"),
    ("a disk that may not be written", dom0("chattr +i $DISK", "chattr -i $DISK"), START, SR_ERROR, "not permitted"),
    ("a storage program that does not start", program("/usr/bin/qemu-storage-daemon"), START, SR_ERROR,
     "the server of the disk did not start"),
    ("more processors than Xen gives a guest", both(pvh, setting("set_VCPUs_max", ["400"], ["1"])), START, INTERNAL, "building the domain"),
    ("more processors than Xen knows", setting("set_VCPUs_max", ["600"], ["1"]), START, INTERNAL, "600"),
    ("a backend of disks that is not there", dom0("modprobe -r xen-blkback", "modprobe xen-blkback"), START, INTERNAL, "building the domain",
     "backend"),
    ("a bridge that is missing", lambda g: attached_nic(g, "nobridge7"), START, INTERNAL, "building the domain", "nobridge7"),
    ("a device model that does not start", both(hvm, program("/usr/libexec/xen-qemu-system-i386")), START, INTERNAL,
     "device model"),
    ("firmware that is not there", both(hvm, setting("set_HVM_boot_params", [{"order": "c", "firmware": "uefi"}], [{"order": "c"}])),
     START, INTERNAL, "building the domain"),
    ("a time source that does not exist", setting("set_platform", [{"tsc_mode": "sometimes"}], [{}]), START, INTERNAL, "tsc_mode", "sometimes"),
    ("a processor that does not exist", setting("set_VCPUs_params", [{"mask": "77"}], [{}]), START, INTERNAL),
)


def failures(host, report):
    run(host, report, CASES, False)


def more_failures(host, report):
    run(host, report, MORE_CASES, True)


def run(host, report, cases, each):
    """each: dom0 is looked at after each of them, else after all."""
    before = host.world()
    g = Guest(host, "failures", "pv", memory=MEMORY).add_disk(IMAGE)
    halted = host.world() if each else None
    for title, trouble, call, code, *words in cases:
        with trouble(g):
            refused(g, report, title, call, code, *words)
            if g.state != "halted":
                g.do("shutdown", "force=true")
        if each:
            nothing_left(host, report, halted, f"{title}: nothing is left over")
    g.do("start")
    report.check(g.ready() >= 0, "after all that the guest starts", g.said()[-1000:])
    if each:
        plugging_fails(g, report)
    else:
        is_no_device(g, report)
    g.do("shutdown", "force=true")
    g.remove()
    nothing_left(host, report, before, "of failures nothing is left over in dom0")


# ---- devices of a guest that runs ----

def is_no_device(g, report):
    """Numbers and addresses that no device can have are refused before Xen hears of them."""
    c = g.host.client()
    vm, network = c("VM.get_by_uuid", g.vm), c("network.get_all")[0]
    nic = {"VM": vm, "network": network, "MTU": "1500", "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}}
    disk = {"VM": vm, "VDI": c("VDI.get_by_uuid", g.vdi), "bootable": False, "mode": "RO", "type": "Disk", "empty": False,
            "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}}
    for title, call, code in (
            ("a MAC address that is none", ("VIF.create", {**nic, "device": "0", "MAC": "00:16:3e:01:02"}), "MAC_INVALID"),
            ("a group's MAC address", ("VIF.create", {**nic, "device": "0", "MAC": "01:00:5e:00:00:01"}), "MAC_INVALID"),
            ("a NIC's number that is none", ("VIF.create", {**nic, "device": "99", "MAC": ""}), "INVALID_DEVICE"),
            ("a disk's number that is none", ("VBD.create", {**disk, "userdevice": "300"}), "INVALID_DEVICE"),
            ("a disk's number that is taken", ("VBD.create", {**disk, "userdevice": "0"}), "DEVICE_ALREADY_EXISTS")):
        said = outcome(c, *call)
        report.check(said[:1] == [code], f"{title}: {code}", said)


def plugging_fails(g, report):
    """What Xen refuses of a guest that runs leaves it as it is."""
    c = g.host.client()
    with attached_nic(g, "nobridge8") as nic:
        device_refused(g, report, "a NIC of a network without a bridge", ("VIF.plug", nic), "nobridge8")
    whole = c("network.get_by_uuid", g.host.ask("network-list", "bridge=xenbr0", "--minimal"))
    with nic_in(g, c, whole) as nic, network_of(c, "nobridge9") as network:
        c("VIF.plug", nic)
        device_refused(g, report, "a move to a network without a bridge", ("VIF.move", nic, network), "nobridge9")
        c("VIF.unplug", nic)


def device_refused(g, report, title, call, *words):
    c = g.host.client()
    ref = c("VM.get_by_uuid", g.vm)
    before, at = picture(c, ref), g.tick()
    said = " ".join(outcome(c, *call))
    report.check(said.startswith(INTERNAL) and all(w in said for w in words), f"{title}: {INTERNAL} says what and why", said, words)
    report.note(said)
    report.check(picture(c, ref) == before and g.passes(at) > at, f"{title}: the guest has what it had, and goes on", before, picture(c, ref))
