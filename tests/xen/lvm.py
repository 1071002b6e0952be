# SPDX-License-Identifier: LGPL-2.1-or-later
"""lvm.py -- a guest whose disks are logical volumes: every promise of the driver on a real LVM, a guest's life, a device that is away.

"lvm" has its volumes thick, "lvm-thin" in a pool; "lvm-promises" are those of sr.h.  The device is a file of dom0's behind a
loop device.
"""

import glob
import os
import re
import shutil
import subprocess
import time

import daemon
from host import Guest, WORK, XeFailed, until
from life import IMAGE, is_snapshot_under_load, nothing_left

MIB = 1 << 20
DEVICE, FILE, SIZE = "/dev/loop7", "/srv/lvm.img", 1024  # MiB
SMALL = 16 * MIB
LARGER = 64 * MIB
CONFORMANCE = 1800
PATIENCE = 300
NO_UDEV = "--config 'activation { udev_sync=0 udev_rules=0 }'"  # nobody else makes the devices of a pool in such a dom0
GROUP = "VG_XenStorage-"
# What LVM's first use leaves for good: the kernel's threads, its lock files, the kernel's list of devices that are opened by others.
KERNEL = (r"^process \[", r"^file /run/(lock/)?lvm", r"^file /run/cryptsetup", r"^file /run/mount", r"^file /run/lock/iscsi")


class Device:
    """A disk of dom0's, which can be taken away from under everything while nobody uses it."""

    def __init__(self, host):
        self.host = host
        self.close()
        host.dom0(f"modprobe dm-mod; modprobe dm-thin-pool; truncate -s {SIZE}M {FILE}")
        self.open()

    def open(self):
        self.host.dom0(f"losetup {DEVICE} {FILE}")

    def close(self):
        self.host.dom0(f"losetup -d {DEVICE} 2>/dev/null; rm -f {FILE}", check=False)


def fails(report, host, words, code, text, says=""):
    try:
        host.ask(*words)
        report.fail(text, "it succeeded")
    except XeFailed as e:
        report.check(re.search(code, str(e)) and says in str(e), text, e)


def volumes(host, more=""):
    """{name: its attributes} of what xapid has made."""
    said = host.dom0(f"lvs --noheadings -o lv_name,lv_attr,vg_name {more} 2>/dev/null", check=False)
    return {w[0]: w[1] for w in (s.split() for s in said.splitlines()) if len(w) == 3 and w[2].startswith(GROUP)}


def active(host):
    """Volumes that the kernel has."""
    return [s for s in host.dom0("cat /sys/block/dm-*/dm/name 2>/dev/null", check=False).split() if s.startswith("VG_XenStorage")]


def nothing_active(host, report, text):
    report.check(until(lambda: not active(host), 60, 1), text, active(host))


# ---- the driver ----

def conforms(host, report, words):
    """storage-conformance in dom0, with what it needs beside it."""
    place = os.path.join(WORK, "share", "conformance")
    for folder, name in (("tests/storage", "tests/storage/storage-conformance"), ("xapid", "xapid/xapid-storage")):
        os.makedirs(os.path.join(place, folder), exist_ok=True)
        shutil.copy(os.path.join(daemon.BUILD, name), os.path.join(place, folder))
    for library in glob.glob("/usr/lib/*/libcmocka.so.0"):
        shutil.copy(library, place)
    begin = time.monotonic()
    said = host.dom0(f"cd /mnt/share/conformance && LD_LIBRARY_PATH=. tests/storage/storage-conformance lvm device={DEVICE} {words} 2>&1; echo status $?",
                     timeout=CONFORMANCE)
    count = re.search(r"\[  PASSED  \] (\d+) test", said)
    report.check(said.endswith("status 0\n") and count and int(count[1]) >= 20,
                 f"every promise of a driver is kept on a real LVM {words} ({count and count[1]} tests, {time.monotonic() - begin:.0f} s)", said[-3000:])
    nothing_active(host, report, "nothing of that is active")
    left = host.dom0("vgs --noheadings; pvs --noheadings; rm -rf /run/xapid-lab-mounts")
    report.check_none(left.split(), "nor is anything left of it on the device")


# ---- the repository ----

def made(host, report, more):
    h = host.ask("host-list", "--minimal")
    where = (f"device-config:device={DEVICE}", *more)
    fails(report, host, ("sr-create", "type=lvm", "name-label=none", "content-type=user"), "SR_BACKEND_FAILURE_90", "a repository without a device is refused")
    fails(report, host, ("sr-create", "type=lvm", "name-label=none", "content-type=user", "device-config:device=/dev/nothing"), "SR_BACKEND_FAILURE_61",
          "so is one on a device that is not there, which is named", "/dev/nothing")
    empty = host.ask("sr-probe", "type=lvm", f"host-uuid={h}", where[0])
    sr = host.ask("sr-create", "type=lvm", "content-type=user", "name-label=volumes", *where)
    found = host.ask("sr-probe", "type=lvm", f"host-uuid={h}", where[0])
    report.check("<UUID>" not in empty and sr in found and DEVICE in found, "a probe finds the repository once it is made", empty, found)
    fails(report, host, ("sr-create", "type=lvm", "content-type=user", "name-label=again", where[0]),
          "used by another", "its device is not taken by another one")
    size = int(host.ask("sr-param-get", f"uuid={sr}", "param-name=physical-size"))
    report.check((SIZE - 32) * MIB <= size < SIZE * MIB, "it is as large as its device", size)
    return sr


def disk(host, sr, name, size=SMALL):
    return host.ask("vdi-create", f"sr-uuid={sr}", f"name-label={name}", f"virtual-size={size}")


def disks(host, sr):
    return sorted(host.ask("vdi-list", f"sr-uuid={sr}", "managed=true", "params=uuid", "--minimal").split(","))


def is_full(host, report, sr, thin):
    """A pool promises more than it has."""
    if thin:
        large = disk(host, sr, "large", 2 * SIZE * MIB)
        report.check(large in disks(host, sr), "a thin disk may be larger than what there is")
        host.ask("vdi-destroy", f"uuid={large}")
        return
    fails(report, host, ("vdi-create", f"sr-uuid={sr}", "name-label=large", f"virtual-size={2 * SIZE}MiB"), "too little free space",
          "what it has no room for is refused")


# ---- a guest ----

def marked(g, word):
    said, status = g.inside(f"echo {word} >/mark && sync && cat /mark")
    if status or said.strip() != word:
        raise RuntimeError(f"the guest cannot write to its disk: {said}")


def mark(g):
    return g.inside("cat /mark")[0].strip()


def exported_mark(host, vdi):
    image = os.path.join(host.dir, "volume.raw")
    host.ask("vdi-export", f"uuid={vdi}", f"filename={image}", "format=raw")
    said = subprocess.run(["debugfs", "-R", "cat /mark", image], capture_output=True, text=True, timeout=60).stdout.strip()
    os.unlink(image)
    return said


def snapshot_disk(host, snapshot):
    return host.ask("snapshot-disk-list", f"uuid={snapshot}", "vdi-params=uuid", "vbd-params=", "--minimal").split(",")[0]


def runs(host, report, g):
    g.do("start")
    if not report.check(g.ready() >= 0, "a PVH guest runs from a volume", g.said()[-1500:]):
        raise RuntimeError("the guest does not run")
    is_snapshot_under_load(g, report, "pvh")


def goes_back(host, report, g):
    """A snapshot's content, a clone's, and the way back."""
    marked(g, "one")
    snapshot = g.do("snapshot", "new-name-label=volume-snapshot")
    marked(g, "two")
    report.check(exported_mark(host, snapshot_disk(host, snapshot)) == "one", "a snapshot holds what the disk held then, though the guest writes on")
    host.kill("both")
    host.start()
    at = g.tick()
    report.check(g.passes(at) > at and g.boots() == 1 and mark(g) == "two",
                 "the guest does not notice that xapid and its executor were killed", g.said()[-500:])
    g.do("shutdown")
    clone = g.clone("volume-clone")
    clone.do("start")
    report.check(clone.ready() >= 0 and mark(clone) == "two", "a clone runs from what the disk holds now", clone.said()[-500:])
    marked(clone, "three")
    clone.remove()
    host.ask("snapshot-revert", f"snapshot-uuid={snapshot}")
    g.vdi = host.ask("vbd-list", f"vm-uuid={g.vm}", "params=vdi-uuid", "--minimal")
    g.do("start")
    report.check(g.ready(2) >= 0 and mark(g) == "one", "a guest that goes back to its snapshot finds what that holds", g.said()[-500:])
    g.do("shutdown")
    host.ask("snapshot-uninstall", f"snapshot-uuid={snapshot}", "force=true")


def grows(host, report, g):
    host.ask("vdi-resize", f"uuid={g.vdi}", f"disk-size={LARGER}")
    g.do("start")
    g.ready(3)
    said = g.inside("cat /sys/block/xvda/size; cat /mark")[0].split()
    report.check(said == [str(LARGER // 512), "one"], "a disk that was made larger is so in the guest, and holds what it held", said)
    g.do("shutdown")
    nothing_active(host, report, "without guests no volume is active")


# ---- storage that goes ----

def comes_and_goes(host, report, sr):
    was, pbd = disks(host, sr), host.ask("pbd-list", f"sr-uuid={sr}", "--minimal")
    host.ask("pbd-unplug", f"uuid={pbd}")
    report.check(not active(host) and not host.dom0("ls -A /run/sr-mount", check=False).split(), "unplugged it leaves nothing on its host")
    host.ask("pbd-plug", f"uuid={pbd}")
    host.ask("sr-scan", f"uuid={sr}")
    report.check(disks(host, sr) == was, "plugged in again it has the disks it had", was, disks(host, sr))
    return was


def loses_a_volume(host, report, sr, g):
    """Somebody takes a volume away with LVM's own commands."""
    lost, kept = disk(host, sr, "lost"), disk(host, sr, "kept")
    vbd = host.ask("vbd-create", f"vm-uuid={g.vm}", f"vdi-uuid={lost}", "device=1", "mode=RW", "type=Disk")
    host.dom0(f"lvremove -f {NO_UDEV} {GROUP}{sr}/VDI-{lost}")
    fails(report, host, ("vm-start", f"uuid={g.vm}"), "no longer has this disk's data",
          "a guest whose volume somebody has removed does not start, and the disk is named", lost)
    report.check(g.state == "halted" and not host.domains(), "it is halted", g.state)
    fails(report, host, ("vdi-snapshot", f"uuid={lost}"), "no longer has this disk's data", "nor is there a snapshot of such a disk", lost)
    host.ask("vbd-destroy", f"uuid={vbd}")
    host.ask("vdi-resize", f"uuid={kept}", f"disk-size={2 * SMALL}")
    host.ask("vdi-destroy", f"uuid={kept}")
    host.ask("sr-scan", f"uuid={sr}")
    report.check(lost not in disks(host, sr) and g.vdi in disks(host, sr), "other disks go on, and a scan forgets the lost one", disks(host, sr))


def reboots(host, report, sr, g, device, was):
    """dom0 comes up without the device, then it is there."""
    host.dom0("sync")  # a loop device forgets with its file
    host.boot(again=True)
    host.start()
    pbd = host.ask("pbd-list", f"sr-uuid={sr}", "--minimal")
    said = host.ask("pbd-param-list", f"uuid={pbd}")
    report.check("currently-attached ( RO): false" in said and DEVICE in said, "a host that starts without the device says so", said)
    local = host.ask("pool-list", "params=default-SR", "--minimal") or host.ask("sr-list", "type=ext", "--minimal").split(",")[0]
    host.ask("vdi-destroy", f"uuid={disk(host, local, 'elsewhere')}")
    fails(report, host, ("vm-start", f"uuid={g.vm}"), ".", "no guest starts from it meanwhile")
    host.dom0("modprobe dm-mod; modprobe dm-thin-pool")
    device.open()
    back = until(lambda: host.ask("pbd-list", f"sr-uuid={sr}", "params=currently-attached", "--minimal") == "true", PATIENCE, 1)
    report.check(back and disks(host, sr) == was, "once it is there the host has the repository again, with all disks", was, disks(host, sr))
    g.do("start")
    report.check(g.ready() >= 0 and mark(g) == "one", "and the guest runs from it, as it was", g.said()[-500:])
    g.do("shutdown")


def lvm_promises(host, report):
    device = Device(host)
    try:
        for words in ("", "allocation=thin"):
            conforms(host, report, words)
    finally:
        device.close()


def volume_group(host, report, *more):
    device = Device(host)
    try:
        before = host.world()
        sr = made(host, report, more)
        is_full(host, report, sr, bool(more))
        g = Guest(host, "volume", "pvh", "root=/dev/xvda guest.load=64").add_disk(IMAGE, sr)
        runs(host, report, g)
        goes_back(host, report, g)
        grows(host, report, g)
        nothing_left(host, report, before, "of its guests nothing is left in dom0", ignore=(*KERNEL, r"/run/sr-mount|^open |^disk "))
        loses_a_volume(host, report, sr, g)
        was = comes_and_goes(host, report, sr)
        reboots(host, report, sr, g, device, was)
        fails(report, host, ("sr-destroy", f"uuid={sr}"), ".", "a repository that is plugged in is not destroyed")
        g.remove()
        report.check_none([v for v in volumes(host) if v != "pool"], "a guest's volumes go with it")
        host.ask("pbd-unplug", f"uuid={host.ask('pbd-list', f'sr-uuid={sr}', '--minimal')}")
        host.ask("sr-destroy", f"uuid={sr}")
        left = host.dom0("vgs --noheadings; pvs --noheadings; ls -A /run/sr-mount; pgrep -a xapid-storage; ls -d /dev/VG_* 2>/dev/null", check=False)
        report.check(not left.strip() and not active(host), "a destroyed repository leaves nothing: no group, no mark on the device, no process", left)
    finally:
        device.close()


def lvm(host, report):
    volume_group(host, report)


def lvm_thin(host, report):
    volume_group(host, report, "device-config:allocation=thin")
