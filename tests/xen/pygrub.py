# SPDX-License-Identifier: LGPL-2.1-or-later
"""pygrub.py -- a paravirtual guest whose kernel is in its disk, where pygrub finds it; and what is said where there is none."""

import os
import shutil

from devices import Bench, MIB
from host import KERNEL_WORDS, WORK
from life import nothing_left

GRUB = """set default=0
set timeout=0
menuentry 'Lab' {{
    linux /boot/vmlinuz {words}
    initrd /boot/guest.cpio
}}
"""


def boot_folder(host):
    """What a guest's disk holds that boots by itself."""
    folder = os.path.join(host.dir, "boots")
    os.makedirs(os.path.join(folder, "boot", "grub"))
    shared = f"{host.name}-vmlinuz"
    host.dom0(f"cp /boot/guest/vmlinuz /mnt/share/{shared}")
    shutil.move(os.path.join(WORK, "share", shared), os.path.join(folder, "boot", "vmlinuz"))
    shutil.copy(os.path.join(WORK, "base", "guest.cpio"), os.path.join(folder, "boot"))
    with open(os.path.join(folder, "boot", "grub", "grub.cfg"), "w") as f:
        f.write(GRUB.format(words=f"{KERNEL_WORDS} root=/dev/xvda"))
    return folder


def pygrub(host, report):
    before = host.world()
    b = Bench(host, "pygrub", "pv", folder=boot_folder(host))
    try:
        g = b.guest
        host.ask("vm-param-set", f"uuid={g.vm}", "PV-kernel=", "PV-ramdisk=", "PV-args=", "PV-bootloader=pygrub", "PV-bootloader-args=-q")
        g.do("start")
        report.check(g.ready() >= 0, "pygrub starts the kernel that is in a guest's disk", g.said()[-1000:])
        g.do("shutdown")
        empty = b.disk("empty", 4 * MIB)
        host.ask("vbd-destroy", f"uuid={g.vbd}")
        host.ask("vdi-destroy", f"uuid={g.vdi}")
        vbd = b.vbd(empty, 0)
        said = b.fails("vm-start", f"uuid={g.vm}")
        report.check("bootloader could not extract a kernel" in said, "of a disk without a kernel pygrub says so", said)
        host.ask("vbd-destroy", f"uuid={vbd}")
        host.ask("vdi-destroy", f"uuid={empty}")
        host.ask("vm-param-set", f"uuid={g.vm}", "PV-bootloader=eliloader")
        said = b.fails("vm-start", f"uuid={g.vm}")
        report.check("no host here has eliloader" in said, "eliloader is refused, and what there is instead is said", said)
    finally:
        b.remove()
    nothing_left(host, report, before, "of pygrub nothing is left over in dom0", ignore=(r"^open ",))
