# SPDX-License-Identifier: LGPL-2.1-or-later
"""hvm.py -- HVM guests: the BIOS starts what the boot order says; their screen is seen, and their keys are pressed, through
xapid's /console.

The guests are boot sectors (images.py) that paint the screen: a real system takes longer to start than a test can wait
where an emulated host emulates a guest.
"""

import os
import struct
import urllib.request

import daemon
from devices import MIB, Isos
from host import until
from images import BLUE, GREEN, RED, RGB, boot_disk, boot_sector, iso
from life import nothing_left
from rfb import viewer

SOCKETS = "/var/lib/xapid/executor"


class Machine:
    """An HVM guest with a disk and a CD drive."""

    def __init__(self, host, name, image, order="cd"):
        self.host, self.name = host, name
        size = str(64 * MIB)
        self.vm = host.ask("vm-create", f"name-label={name}", "domain-type=hvm", f"memory-static-max={size}",
                           f"memory-dynamic-max={size}", f"memory-dynamic-min={size}")
        self.set("HVM-boot-policy=BIOS order", f"HVM-boot-params:order={order}")
        path = os.path.join(host.dir, f"{name}.raw")
        with open(path, "wb") as f:
            f.write(image)
        sr = host.ask("sr-list", "type=ext", "--minimal").split(",")[0]
        vdi = host.ask("vdi-create", f"sr-uuid={sr}", f"name-label={name}", "type=user", f"virtual-size={len(image)}")
        host.ask("vdi-import", f"uuid={vdi}", f"filename={path}", "format=raw")
        os.unlink(path)
        disk = host.ask("vbd-create", f"vm-uuid={self.vm}", f"vdi-uuid={vdi}", "device=0", "bootable=true", "mode=RW", "type=Disk")
        host.ask("vbd-param-set", f"uuid={disk}", "other-config:owner=true")
        self.cd = host.ask("vbd-create", f"vm-uuid={self.vm}", "device=3", "type=CD", "mode=RO")

    def set(self, *pairs):
        self.host.ask("vm-param-set", f"uuid={self.vm}", *pairs)

    def do(self, what, *words):
        return self.host.ask(f"vm-{what}", f"uuid={self.vm}", *words)

    def snapshot(self):
        """/vncsnapshot's file."""
        url = f"https://127.0.0.1:{self.host.tls_port}/vncsnapshot?uuid={self.vm}&session_id={self.host.client().session}"
        with urllib.request.urlopen(url, context=daemon._tls_context(), timeout=120) as answer:
            return answer.read()

    def shows(self, colour, seconds=300):
        """Waits until its screen is of that colour; else what it was last."""
        v = viewer(self.host, self.vm)
        last = []

        def look():
            last[:] = [v.colour()]
            return last[0] == RGB[colour]
        try:
            return until(look, seconds, 1) or last
        finally:
            v.close()

    def press(self, key=0xFF0D):
        """One key of its keyboard: Return."""
        v = viewer(self.host, self.vm)
        v.press(key)
        v.colour()  # then it has been taken
        v.close()

    def remove(self):
        self.host.xe("vm-shutdown", f"uuid={self.vm}", "force=true")
        self.host.ask("vm-uninstall", f"uuid={self.vm}", "force=true")


def jpeg_size(data):
    """Width and height, from the header of the frame."""
    at = data.find(b"\xff\xc0")
    height, width = struct.unpack(">HH", data[at + 5:at + 9])
    return width, height


def hvm(host, report):
    before = host.world()
    sockets = host.dom0(f"ls {SOCKETS}")
    isos = Isos(host)
    isos.add("green.iso", iso("GREEN", boot_sector("started from the first CD", GREEN)))
    isos.add("red.iso", iso("RED", boot_sector("started from the second CD", RED)))
    m = Machine(host, "hvm", boot_disk("started from the disk", BLUE), order="dc")
    try:
        boots_as_ordered(m, report)
        has_no_firmware(m, report)
    finally:
        m.remove()
        isos.remove()
    report.check(host.dom0(f"ls {SOCKETS}") == sockets, "an HVM guest's sockets are gone", host.dom0(f"ls -l {SOCKETS}"))
    nothing_left(host, report, before, "of an HVM guest nothing is left over in dom0", ignore=(r"^open ",))


def boots_as_ordered(m, report):
    """Disk and CDs, one after another, in one life of the guest: each key boots it once more."""
    m.do("cd-insert", "cd-name=green.iso")
    m.do("start")
    shown = m.shows(GREEN)
    report.check(shown is True, "an HVM guest starts from the CD, and its screen is seen through /console", shown)
    jpeg = m.snapshot()
    report.check(jpeg[:2] == b"\xff\xd8" and jpeg[-2:] == b"\xff\xd9" and jpeg_size(jpeg) == (720, 400),
                 "/vncsnapshot has its screen as a JPEG file", jpeg[:40])
    if os.environ.get("XAPID_PICTURE"):  # to look at
        with open(os.environ["XAPID_PICTURE"], "wb") as f:
            f.write(jpeg)
    m.do("cd-eject")
    m.press()
    shown = m.shows(BLUE)
    report.check(shown is True, "without a CD it starts from its disk, when a key is pressed", shown)
    m.do("cd-insert", "cd-name=red.iso")
    m.press()
    shown = m.shows(RED)
    report.check(shown is True, "an HVM guest sees the CD that was inserted while it runs", shown)
    m.do("shutdown", "force=true")
    m.set("HVM-boot-params:order=cd")
    m.do("start")
    shown = m.shows(BLUE)
    report.check(shown is True, "with the disk first in the boot order it starts from that", shown)
    m.do("shutdown", "force=true")


def has_no_firmware(m, report):
    """UEFI needs a program of Debian's ovmf, which this dom0 does not have."""
    m.set("HVM-boot-params:firmware=uefi")
    done = m.host.xe("vm-start", f"uuid={m.vm}")
    report.check(done.returncode and "firmware" in done.stderr, "a start without the UEFI firmware fails, and says so",
                 done.stderr)
    m.set("HVM-boot-params:firmware=bios")
