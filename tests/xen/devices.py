# SPDX-License-Identifier: LGPL-2.1-or-later
"""devices.py -- disks, NICs and CDs that come to a guest which runs, and go; and those it starts with."""

import os
import re
import subprocess

from host import Guest, HERE, until
from images import iso
from life import nothing_left

MIB = 1 << 20
ISO_FOLDER = "/var/lib/xapid/iso"
DISK = 16 * MIB


class Isos:
    """CD images in the host's library, for as long as a test lasts."""

    def __init__(self, host):
        self.host, self.names = host, []

    def add(self, name, data):
        path = os.path.join(os.environ["XAPID_LAB"], "share", f"{self.host.name}-{name}")
        with open(path, "wb") as f:
            f.write(data)
        self.host.dom0(f"mkdir -p {ISO_FOLDER} && mv /mnt/share/{self.host.name}-{name} {ISO_FOLDER}/{name}")
        self.names.append(name)
        self._scan()

    def _scan(self):
        self.host.ask("sr-scan", f"uuid={self.host.ask('sr-list', 'type=iso', '--minimal').split(',')[0]}")

    def remove(self):
        if self.names:
            self.host.dom0(f"cd {ISO_FOLDER} && rm -f {' '.join(self.names)}")
            self._scan()


class Bench:
    """A guest with the lab's present disk, an empty CD drive, and what the test gave the host besides."""

    def __init__(self, host, name, kind, words="", folder=None):
        self.host, self.isos = host, Isos(host)
        image = os.path.join(host.dir, f"{name}.raw")
        subprocess.run([os.path.join(HERE, "lab", "make-guest-disk"), image, name, *([folder] if folder else [])], check=True,
                       capture_output=True)
        self.guest = Guest(host, name, kind, f"root=/dev/xvda {words}").add_disk(image)
        os.unlink(image)
        self.cd = host.ask("vbd-create", f"vm-uuid={self.guest.vm}", "device=3", "type=CD", "mode=RO")

    def disk(self, name, size=DISK, sr=None, **fields):
        """A disk that goes with this test."""
        h = self.host
        sr = sr or h.ask("sr-list", "type=ext", "--minimal").split(",")[0]
        words = [f"{k.replace('_', '-')}={v}" for k, v in fields.items()]
        return h.ask("vdi-create", f"sr-uuid={sr}", f"name-label={name}", "type=user", f"virtual-size={size}", *words)

    def vbd(self, vdi, device, mode="RW"):
        return self.host.ask("vbd-create", f"vm-uuid={self.guest.vm}", f"vdi-uuid={vdi}", f"device={device}", f"mode={mode}",
                             "type=Disk")

    def own(self, vbd):
        """Its disk goes with the guest."""
        self.host.ask("vbd-param-set", f"uuid={vbd}", "other-config:owner=true")
        return vbd

    def attached(self, vbd):
        return self.host.ask("vbd-param-get", f"uuid={vbd}", "param-name=currently-attached") == "true"

    def content(self, vdi, at, length):
        """What stands on a disk, exported."""
        path = os.path.join(self.host.dir, "content.raw")
        self.host.ask("vdi-export", f"uuid={vdi}", f"filename={path}", "format=raw")
        with open(path, "rb") as f:
            f.seek(at)
            data = f.read(length)
        os.unlink(path)
        return data

    def fails(self, *words):
        """What xe says of a command that is refused, in one line; '' where it is not."""
        done = self.host.xe(*words)
        return " / ".join(done.stderr.strip().splitlines()) if done.returncode else ""

    def remove(self):
        self.guest.remove()
        self.isos.remove()


def devices(host, report, kind="pv", more=()):
    before = host.world()
    b = Bench(host, f"devices-{kind}", kind, folder=deafening(host) if more else None)
    try:
        b.guest.do("start")
        if not report.check(b.guest.ready() >= 0, f"a {kind} guest with an empty CD drive runs", b.guest.said()[-2000:]):
            return
        for step in (disk_comes_and_goes, nic_comes_and_goes, cd_changes, *more):
            step(b, report, kind)
    finally:
        b.remove()
    nothing_left(host, report, before, f"of a {kind} guest's devices nothing is left over in dom0", ignore=(r"^open ",))


def disk_comes_and_goes(b, report, kind):
    g, h = b.guest, b.host
    vdi = b.disk("data")
    vbd = b.vbd(vdi, 1)
    h.ask("vbd-param-set", f"uuid={vbd}", "qos_algorithm_type=ionice", "qos_algorithm_params:sched=be", "qos_algorithm_params:class=low")
    h.ask("vbd-plug", f"uuid={vbd}")
    has = h.dom0(f"ionice -p $(cat /var/lib/xapid/datapath/{vdi}/pid)", check=False).strip()
    report.check(has == "best-effort: prio 6", f"a {kind} guest's disk is read and written with the priority that its VBD says", has)
    size = until(lambda: g.inside("cat /sys/block/xvdb/size")[0], 30, 1)
    report.check(size == str(DISK // 512), f"a {kind} guest sees the disk that is plugged", size, g.said()[-500:])
    report.check(h.ask("vbd-param-get", f"uuid={vbd}", "param-name=device") == "xvdb", "its VBD says what the guest calls it")
    wrote = g.inside("echo written-inside | dd of=/dev/xvdb bs=4096 seek=3 conv=fsync")
    g.do("pause")
    said = b.fails("vbd-unplug", f"uuid={vbd}")
    g.do("unpause")
    report.check("let the device go" in said and "the guest does not run" in said and b.attached(vbd),
                 f"a disk of a {kind} guest that cannot be asked is not unplugged", said)
    works = g.inside("dd if=/dev/xvdb bs=4096 skip=3 count=1 2>/dev/null | head -n 1")
    report.check(works == ("written-inside", 0), "and works as before", works)
    h.ask("vbd-unplug", f"uuid={vbd}")
    gone = until(lambda: g.inside("test -e /sys/block/xvdb")[1] == 1, 30, 1)
    report.check(gone and not b.attached(vbd), f"a {kind} guest's disk that is unplugged is gone", g.inside("cat /proc/partitions"))
    report.check(wrote[1] == 0 and b.content(vdi, 3 * 4096, 14) == b"written-inside",
                 f"what a {kind} guest wrote is on the disk", wrote)
    h.ask("vdi-destroy", f"uuid={vdi}")


DEAF_SECONDS = 60  # longer than Xen's tools wait for a guest


def deafening(host):
    """A folder with what makes a guest deaf (lab/deaf.c), for its disk."""
    folder = os.path.join(host.dir, "deaf")
    os.makedirs(os.path.join(folder, "bin"), exist_ok=True)
    subprocess.run(["gcc", "-O1", "-static", "-o", os.path.join(folder, "bin", "deaf"), os.path.join(HERE, "lab", "deaf.c")], check=True)
    return folder


def deafen(g):
    """It answers nobody for a minute: its one processor has something better to do."""
    said = lambda: len(re.findall("^DEAF", g.said(100000), re.M))  # noqa: E731
    before = said()
    g.inside(f"(sleep 1; deaf {DEAF_SECONDS}) > /dev/null 2>&1 &")
    if not until(lambda: said() > before, 60, 0.5):
        raise RuntimeError(f"the guest does not become deaf: {g.said(20)}")


def disk_is_kept(b, report, kind):
    """A guest that does not let go of a disk keeps it, as if it had never been asked; by force it goes."""
    g, h = b.guest, b.host
    vdi = b.disk("kept")
    vbd = b.vbd(vdi, 1)
    for words, told in (("", "did not let the device go in time"), ("16 Device in use; refusing to close", "the guest says: 16 Device in use")):
        if not b.attached(vbd):
            h.ask("vbd-plug", f"uuid={vbd}")
            until(lambda: g.inside("cat /sys/block/xvdb/size")[0], 30, 1)
        deafen(g)
        if words:  # as a guest says it that refuses: the lab's kernel gives up a disk also where it is used
            h.dom0(f"(tries=0; until [ \"$(xenstore-read /local/domain/0/backend/vbd/{g.domid}/51728/state)\" = 5 ] || [ $tries = 300 ]; do "
                   f"tries=$((tries + 1)); sleep 0.1; done; xenstore-write /local/domain/{g.domid}/error/device/vbd/51728/error "
                   f"'{words}') >/dev/null 2>&1 &")
        said = b.fails("vbd-unplug", f"uuid={vbd}")
        report.check(told in said and b.attached(vbd), f"a disk that a {kind} guest does not let go stays ({words or 'silent'})", said)
        answer = g.inside("sleep 5; echo kept | dd of=/dev/xvdb conv=fsync 2>/dev/null; head -n 1 /dev/xvdb")
        report.check(answer == ("kept", 0), f"the {kind} guest has it as if it had never been asked", answer)
    g.do("pause")
    c = h.client()
    c("VBD.unplug_force", c("VBD.get_by_uuid", vbd))
    g.do("unpause")
    gone = until(lambda: g.inside("head -c 1 /dev/xvdb")[1] != 0, 30, 1)
    report.check(gone and not b.attached(vbd), f"by force a disk is taken from a {kind} guest that was not asked", g.said()[-500:])
    h.ask("vdi-destroy", f"uuid={vdi}")


def hears(host, mac, bridge):
    """Whether a guest answers dom0 over a bridge: by the address that its MAC makes."""
    m = [int(x, 16) for x in mac.split(":")]
    address = "fe80::%02x%02x:%02xff:fe%02x:%02x%02x" % (m[0] ^ 2, *m[1:])
    return until(lambda: " 0% packet loss" in host.dom0(f"ping -6 -c 2 -W 3 {address}%{bridge}", check=False), 60, 1)


def nic_comes_and_goes(b, report, kind):
    g, h = b.guest, b.host
    mac = "52:54:00:5a:01:02"
    network = h.ask("network-list", "bridge=xenbr0", "--minimal")
    vif = h.ask("vif-create", f"vm-uuid={g.vm}", f"network-uuid={network}", "device=0", f"mac={mac}")
    h.ask("vif-param-set", f"uuid={vif}", "qos_algorithm_type=ratelimit", "qos_algorithm_params:kbps=100")
    h.ask("vif-plug", f"uuid={vif}")
    rate = h.dom0(f"xenstore-read /local/domain/0/backend/vif/{g.domid}/0/rate", check=False).strip()
    report.check(rate == "5120,50000", f"a {kind} guest's NIC sends no more than its VIF says: 100 KiB a second", rate)
    seen = until(lambda: g.inside("cat /sys/class/net/eth0/address")[0] == mac, 30, 1)
    report.check(seen, f"a {kind} guest sees the NIC that is plugged, with its address", g.inside("ip link"))
    g.inside("ip link set eth0 up")
    report.check(hears(h, mac, "xenbr0"), f"a {kind} guest's NIC carries packets to dom0 and back", g.inside("ip addr"),
                 h.dom0("ip link", check=False))
    h.ask("vif-unplug", f"uuid={vif}")
    gone = until(lambda: g.inside("test -e /sys/class/net/eth0")[1] == 1, 30, 1)
    report.check(gone, f"a {kind} guest's NIC that is unplugged is gone", g.inside("ip link"))
    h.ask("vif-destroy", f"uuid={vif}")


def nic_moves(b, report, kind):
    """To another network, while it runs."""
    g, h = b.guest, b.host
    mac = "52:54:00:5a:01:03"
    first, second = h.ask("network-list", "bridge=xenbr0", "--minimal"), h.ask("network-create", "name-label=second")
    bridge = h.ask("network-param-get", f"uuid={second}", "param-name=bridge")
    h.dom0(f"ip link show {bridge} >/dev/null 2>&1 || {{ ip link add {bridge} type bridge && ip link set {bridge} up; }}")
    vif = h.ask("vif-create", f"vm-uuid={g.vm}", f"network-uuid={first}", "device=0", f"mac={mac}")
    h.ask("vif-plug", f"uuid={vif}")
    h.ask("vif-move", f"uuid={vif}", f"network-uuid={second}")
    until(lambda: g.inside("ip link set eth0 up")[1] == 0, 30, 1)
    report.check(hears(h, mac, bridge), f"a {kind} guest's NIC that is moved is in the other network", h.dom0("ip link"))
    h.ask("vif-unplug", f"uuid={vif}")
    h.ask("vif-destroy", f"uuid={vif}")
    h.ask("network-destroy", f"uuid={second}")
    h.dom0(f"ip link delete {bridge} 2>/dev/null; true")


def volume(guest, device="xvdd"):
    """The name on the CD that a guest reads; '' without one."""
    text, _ = guest.inside(f"dd if=/dev/{device} bs=2048 skip=16 count=1 2>/dev/null | dd bs=1 skip=40 count=8 2>/dev/null")
    return text.strip()


def cd_changes(b, report, kind):
    g, h = b.guest, b.host
    b.isos.add("first.iso", iso("FIRST"))
    b.isos.add("second.iso", iso("SECOND"))
    for name in ("first", "second"):
        g.do("cd-insert", f"cd-name={name}.iso")
        report.check(until(lambda: volume(g) == name.upper(), 30, 1), f"a {kind} guest reads the CD that is inserted ({name})",
                     volume(g), g.inside("cat /proc/partitions"))
        g.do("cd-eject")
        report.check(until(lambda: volume(g) == "", 30, 1), f"a {kind} guest's CD that is ejected is gone ({name})", volume(g))


def more_devices(host, report):
    """What takes longer, and all of it with a PVH guest."""
    devices(host, report, "pvh", (disk_is_kept, nic_moves))


def many(host, report):
    """A guest that starts with several disks and NICs, gets more, and is suspended with all of them; a disk of two guests."""
    before = host.world()
    b = Bench(host, "many", "pv")
    other = None
    try:
        starts_with_many(b, report)
        is_snapshot_while_plugged(b, report)
        keeps_what_was_plugged(b, report)
        other = Bench(host, "many-too", "pv")
        shares_a_disk(b, other, report)
    finally:
        for each in (b, other):
            if each:
                each.remove()
    nothing_left(host, report, before, "of many devices nothing is left over in dom0", ignore=(r"^open ",))


MACS = [f"52:54:00:5a:02:{i:02x}" for i in range(3)]


def starts_with_many(b, report):
    g, h = b.guest, b.host
    b.disks = [b.disk(f"many-{i}", DISK + i * MIB) for i in range(4)]
    for vdi, device, mode in zip(b.disks, ("1", "2", "autodetect"), ("RW", "RO", "RW")):
        b.own(b.vbd(vdi, device, mode))
    network = h.ask("network-list", "bridge=xenbr0", "--minimal")
    for i in (0, 1):
        h.ask("vif-create", f"vm-uuid={g.vm}", f"network-uuid={network}", f"device={i}", f"mac={MACS[i]}")
    free = h.ask("vm-param-get", f"uuid={g.vm}", "param-name=allowed-VBD-devices").replace(" ", "").split(";")
    report.check(free[0] == "5", "five devices are taken: the first that is free comes after them", free)
    g.do("start")
    report.check(g.ready() >= 0, "a guest with four disks and two NICs runs", g.said()[-2000:])
    seen, _ = g.inside("cd /sys/block; for d in xvd*; do echo $d $(cat $d/size) $(cat $d/ro); done")
    sizes = {line.split()[0]: line.split()[1:] for line in seen.splitlines()}
    wanted = {name: [str((DISK + i * MIB) // 512), ro] for i, (name, ro) in enumerate((("xvdb", "0"), ("xvdc", "1"), ("xvde", "0")))}
    report.check({k: v for k, v in sizes.items() if k != "xvda"} == wanted, "it sees each disk where its number says, one read-only",
                 seen)
    report.check(g.inside("echo x > /dev/xvdc")[1] != 0, "it cannot write to the read-only one")
    # Which is eth0 is a matter of luck: the guest's kernel takes them as their backends come.
    macs = g.inside("cat /sys/bus/xen/devices/vif-0/net/*/address /sys/bus/xen/devices/vif-1/net/*/address")[0].split()
    report.check(macs == MACS[:2], "it sees each NIC where its number says", macs)


def is_snapshot_while_plugged(b, report):
    g, h = b.guest, b.host
    g.inside("echo before | dd of=/dev/xvdb conv=fsync")
    snapshot = h.ask("vdi-snapshot", f"uuid={b.disks[0]}")
    g.inside("echo after- | dd of=/dev/xvdb conv=fsync")
    now, then = g.inside("dd if=/dev/xvdb iflag=direct bs=4096 count=1 2>/dev/null | head -n 1")[0], b.content(snapshot, 0, 6)
    report.check((now, then) == ("after-", b"before"), "a snapshot of a disk that is plugged holds what was written before", now, then)
    h.ask("vdi-destroy", f"uuid={snapshot}")


def keeps_what_was_plugged(b, report):
    """Suspended and resumed with a disk and a NIC that came while it ran."""
    g, h = b.guest, b.host
    vbd = b.own(b.vbd(b.disks[3], 5))
    h.ask("vbd-plug", f"uuid={vbd}")
    network = h.ask("network-list", "bridge=xenbr0", "--minimal")
    vif = h.ask("vif-create", f"vm-uuid={g.vm}", f"network-uuid={network}", "device=2", f"mac={MACS[2]}")
    h.ask("vif-plug", f"uuid={vif}")
    until(lambda: g.inside("test -e /sys/block/xvdf && test -e /sys/class/net/eth2")[1] == 0, 30, 1)
    g.inside("echo plugged | dd of=/dev/xvdf conv=fsync; ip link set eth2 up")
    at = g.tick()
    g.do("suspend")
    g.do("resume")
    there = g.passes(at) > at and g.inside("head -n 1 /dev/xvdf; cat /sys/class/net/eth2/address")[0].split()
    report.check(there == ["plugged", MACS[2]] and g.boots() == 1, "a resumed guest has what was plugged before it was suspended", there)
    report.check(hears(h, MACS[2], "xenbr0"), "and its NIC carries packets", h.dom0("ip link", check=False))
    h.ask("vif-unplug", f"uuid={vif}")
    h.ask("vbd-unplug", f"uuid={vbd}")
    gone = until(lambda: g.inside("test -e /sys/block/xvdf || test -e /sys/class/net/eth2")[1] == 1, 30, 1)
    report.check(gone, "a resumed guest gives back what was plugged before", g.inside("ls /sys/block /sys/class/net"))


def shares_a_disk(b, other, report):
    g, h = b.guest, b.host
    vdi = b.disk("shared", sharable="true")
    for each in (b, other):
        vbd = each.vbd(vdi, 6)
        if each is b:
            b.own(vbd)
            h.ask("vbd-plug", f"uuid={vbd}")
    other.guest.do("start")
    report.check(other.guest.ready() >= 0, "a second guest starts with a disk that the first has", other.guest.said()[-1000:])
    until(lambda: g.inside("test -e /sys/block/xvdg")[1] == 0, 30, 1)
    g.inside("echo between-us | dd of=/dev/xvdg conv=fsync")
    read = other.guest.inside("dd if=/dev/xvdg iflag=direct bs=4096 count=1 2>/dev/null | head -n 1")
    report.check(read == ("between-us", 0), "what one guest writes to a shared disk the other reads", read)
