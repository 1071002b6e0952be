#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""units.py -- what `meson install` installs, under a real systemd: a small Debian boots, and inside.py looks at it from within.

The image is image.py's; what was built goes onto it with the initramfs at each boot, and nothing is written to it.  The guest says its
lines on its second serial port.  XAPID_KEEP=1 keeps the folder with the console.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
sys.path[:0] = [os.path.join(TESTS, "lib"), os.path.join(TESTS, "durability", "powercut"), HERE]
import descriptors  # noqa: E402
import guest  # noqa: E402
import image  # noqa: E402
from daemon import BUILD, until  # noqa: E402
from report import Report  # noqa: E402

TIMEOUT = 600  # of the guest; about a minute on two cores without KVM
INSIDE = ("systemd/inside.py", "systemd/fds.py", "systemd/transfer.py", "lib/report.py", "lib/daemon.py", "lib/lab.py")

INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /root
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
for m in {modules}; do insmod /modules/$m; done
mount -t ext4 /dev/vda /root || echo "the disk cannot be mounted"
cp -a /install/. /root/
mount --move /dev /root/dev
umount /proc
exec switch_root /root /lib/systemd/systemd
"""

TEST_UNIT = """[Unit]
Description=The test
After=xapid.service
FailureAction=poweroff
[Service]
Type=oneshot
ExecStart=/usr/bin/python3 /test/inside.py
"""


def write(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, mode)


def install(tree):
    """What is installed, with witnesses before the programs that the daemon starts, and the test."""
    subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--strip", "--quiet"], check=True, stdout=subprocess.DEVNULL,
                   env={**os.environ, "DESTDIR": tree})
    with tempfile.TemporaryDirectory() as folder:
        witness = descriptors.build_witness(folder)
        for name in descriptors.PROGRAMS:
            descriptors.put_witness(witness, os.path.join(tree, "usr/local/sbin"), name, f"/usr/bin/{name}")
        helper = os.path.join(tree, "usr/libexec/xapid/xapid-pam")
        os.rename(helper, helper + ".real")
        descriptors.put_witness(witness, os.path.dirname(helper), "xapid-pam", None)
    for path in INSIDE:
        os.makedirs(os.path.join(tree, "test"), exist_ok=True)
        shutil.copy(os.path.join(TESTS, path), os.path.join(tree, "test"))
    write(os.path.join(tree, "etc/default/xapid"), "XAPID_OPTIONS=--hypervisor=sim\n")
    write(os.path.join(tree, "etc/systemd/system/guest-test.service"), TEST_UNIT)
    wants = os.path.join(tree, "etc/systemd/system/multi-user.target.wants")
    os.makedirs(wants)
    os.symlink("/etc/systemd/system/guest-test.service", os.path.join(wants, "guest-test.service"))
    for unit in ("xapid.service", "xapid-sim.service"):
        os.symlink(f"/usr/lib/systemd/system/{unit}", os.path.join(wants, unit))


def make_initramfs(folder, install=install):
    """One that boots the image, with what 'install' puts into a tree."""
    if not shutil.which("busybox") or not shutil.which("cpio") or not shutil.which("qemu-system-x86_64"):
        raise guest.Missing("busybox, cpio or qemu-system-x86_64 (packaging/install-deps)")
    root = os.path.join(folder, "initramfs.d")
    tree = os.path.join(root, "install")
    for d in ("bin", "modules", "install"):
        os.makedirs(os.path.join(root, d))
    install(tree)
    shutil.copy(shutil.which("busybox"), os.path.join(root, "bin/busybox"))
    names = []
    for path in guest.module_files(guest.kernel()[1]):
        names.append(guest.module_name(path) + ".ko")
        with open(os.path.join(root, "modules", names[-1]), "wb") as f:
            f.write(guest.module_bytes(path))
    write(os.path.join(root, "init"), INIT.format(modules=" ".join(names)), 0o755)
    packed = os.path.join(folder, "initramfs")
    with open(packed, "wb") as f:
        files = subprocess.run(["find", ".", "-print0"], cwd=root, check=True, capture_output=True).stdout
        subprocess.run(["cpio", "--null", "--quiet", "-o", "-H", "newc", "-R", "0:0"], cwd=root, input=files, stdout=f, check=True)
    return packed


class Machine:
    def __init__(self, folder, disk, initramfs):
        self.console = os.path.join(folder, "console")
        self.said = os.path.join(folder, "said")
        log = open(os.path.join(folder, "qemu.log"), "wb")
        self.qemu = subprocess.Popen(
            ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-no-reboot", "-m", "1024", "-smp", "2", "-cpu", "max",
             "-accel", "tcg,thread=multi", "-kernel", guest.kernel()[0], "-initrd", initramfs,
             "-append", "console=ttyS0 quiet panic=-1 mitigations=off nokaslr random.trust_cpu=on rdinit=/init systemd.show_status=1",
             "-serial", f"file:{self.console}", "-serial", f"file:{self.said}",
             "-drive", f"if=none,id=d,format=raw,file={disk},snapshot=on,cache=unsafe", "-device", "virtio-blk-pci,drive=d",
             "-device", "virtio-rng-pci"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, preexec_fn=guest.dies_with_parent)

    def _text(self, path):
        try:
            with open(path, errors="replace") as f:
                return f.read().replace("\r", "")
        except FileNotFoundError:
            return ""

    def follow(self, report):
        """Hands on what the guest says; True if it came to its end."""
        seen, end = 0, time.monotonic() + TIMEOUT
        while True:
            over = self.qemu.poll() is not None or time.monotonic() > end or "Kernel panic" in self._text(self.console)
            lines = self._text(self.said).split("\n")[:-1]
            for line in lines[seen:]:
                if line == "DONE":
                    return True
                report.passed += line.startswith("ok")
                report.failed += line.startswith("not ok")
                print(line, flush=True)
            seen = len(lines)
            if over:
                report.note("\n".join(self._text(self.console).splitlines()[-25:]))
                return False
            until(lambda: len(self._text(self.said).split("\n")) > seen + 1 or self.qemu.poll() is not None, 1, 0.1)

    def close(self):
        self.qemu.kill()
        self.qemu.wait()


def main():
    report = Report()
    folder = tempfile.mkdtemp(prefix="xs-")
    machine = None
    try:
        begin = time.monotonic()
        disk = image.image()
        report.note(f"the image: {time.monotonic() - begin:.0f} s")
        begin = time.monotonic()
        machine = Machine(folder, disk, make_initramfs(folder))
        ended = machine.follow(report)
        report.check(ended, f"the guest comes to the end of its test ({time.monotonic() - begin:.0f} s)")
    except guest.Missing as e:
        print(f"ok - # SKIP units under systemd: {e}", flush=True)
        sys.exit(77)
    finally:
        if machine:
            machine.close()
        if os.environ.get("XAPID_KEEP"):
            print(f"#   kept: {folder}", flush=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(report.done())


if __name__ == "__main__":
    main()
