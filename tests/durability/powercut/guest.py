# SPDX-License-Identifier: LGPL-2.1-or-later
"""guest.py -- a small Linux machine without KVM that runs xapid on a disk that can lose power.

The kernel is Debian's (the newest of /boot that has modules), the initramfs is made here: busybox, xapid and
xapid-sim, qemu-img, their libraries, and the modules of a virtio disk, a network card and ext4.  The daemon's TLS port
is forwarded to a port of this machine, so a Guest serves a Client as a Daemon does.
"""

import ctypes
import glob
import gzip
import lzma
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

from daemon import PASSWORDS, Client, program, until

HERE = os.path.dirname(os.path.abspath(__file__))
MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "virtio_rng", "crc32c_generic", "ext4")
DISK_SIZE = 1 << 30
BOOT_TIMEOUT = 300  # a slow machine without KVM; about 15 s on two cores
TLS_PORT = 8443
PR_SET_PDEATHSIG = 1

INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /run /disk /var/tmp
/bin/busybox --install -s /bin
export PATH=/bin HOME=/
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
ln -s /proc/self/fd /dev/fd
for m in {modules}; do insmod /modules/$m; done
hostname guest
ip link set lo up
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
ip route add default via 10.0.2.2
mount -t ext4 -o barrier=1,data=ordered,noinit_itable /dev/vda /disk || echo "FAILED the disk cannot be mounted"
mkdir -p /disk/state
mkfifo /tmp/ready
(
    {command} 3>/tmp/ready
    echo "FAILED the daemon ended: $?"
) </dev/null &
read -r line </tmp/ready
find /disk/state/storage -type f -exec stat -c 'FILE %s %n' {{}} +
echo "READY $line"
while :; do sleep 1000; done
"""

DAEMON = ("/bin/xapid --state /disk/state --config /etc/xapid --socket /tmp/xapi --listen 0.0.0.0 "
          f"--tls-port {TLS_PORT} --plain-port -1 --hypervisor sim --sim-program /bin/xapid-sim "
          "--password-file /etc/passwords --ready-fd 3")


class Missing(Exception):
    """Something this machine does not have."""


def dies_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def kernel():
    """(path of vmlinuz, folder of modules), of the newest that has both."""
    def numbers(path):
        return [int(n) for n in re.findall(r"\d+", path)]
    for path in sorted(glob.glob("/boot/vmlinuz-*"), key=numbers, reverse=True):
        folder = "/lib/modules/" + os.path.basename(path)[len("vmlinuz-"):]
        if os.path.isfile(os.path.join(folder, "modules.dep")):
            return path, folder
    raise Missing("no kernel with modules in /boot (package linux-image-amd64)")


def module_name(path):
    return os.path.basename(path).split(".ko")[0].replace("-", "_")


def module_files(folder):
    """Files of MODULES and of what they need, in the order to load them; what is built in is left out."""
    needs = {}
    with open(os.path.join(folder, "modules.dep")) as f:
        for line in f:
            path, _, more = line.partition(":")
            needs[module_name(path)] = (path, more.split())
    with open(os.path.join(folder, "modules.builtin")) as f:
        built_in = {module_name(line.strip()) for line in f}
    out = []
    for name in MODULES:
        if name in built_in:
            continue
        if name not in needs:
            raise Missing(f"the kernel has no module {name}")
        path, more = needs[name]
        out += [p for p in [*reversed(more), path] if p not in out]
    return [os.path.join(folder, p) for p in out]


def module_bytes(path):
    if path.endswith(".zst"):
        return subprocess.run(["zstd", "-dcq", path], check=True, capture_output=True).stdout
    opener = {".xz": lzma.open, ".gz": gzip.open}.get(os.path.splitext(path)[1], open)
    with opener(path, "rb") as f:
        return f.read()


def libraries(path):
    """What the loader would load, with the loader."""
    out = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
    if "not found" in out:
        raise Missing(f"{path} lacks libraries:\n{out}")
    return set(re.findall(r"(/\S+) \(0x", out))


def make_initramfs(folder, command=DAEMON, programs=None):
    """Returns its path.  'command' is what the guest runs; it writes a line to descriptor 3 once it is ready."""
    busybox = shutil.which("busybox")
    if not busybox or not shutil.which("cpio"):
        raise Missing("busybox or cpio (packages busybox-static, cpio)")
    root = os.path.join(folder, "root")
    for d in ("bin", "etc/xapid", "modules"):
        os.makedirs(os.path.join(root, d))
    shutil.copy(busybox, os.path.join(root, "bin/busybox"))
    needed = set()
    for source in programs or [program("xapid"), program("xapid-sim"), shutil.which("qemu-img")]:
        target = os.path.join(root, "bin", os.path.basename(source))
        shutil.copy(source, target)
        subprocess.run(["strip", target], check=False)  # smaller: the guest has to read it
        needed |= libraries(source)
    for library in needed:
        target = root + library
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy(library, target)
    with open(os.path.join(root, "etc/passwd"), "w") as f:
        f.write("root:x:0:0:root:/:/bin/sh\n")
    with open(os.path.join(root, "etc/group"), "w") as f:
        f.write("root:x:0:\n")
    with open(os.path.join(root, "etc/hosts"), "w") as f:
        f.write("127.0.0.1 localhost guest\n")
    subprocess.run([program("xapid-passwd"), os.path.join(root, "etc/passwords"), "root"], input=PASSWORDS["root"] + "\n", text=True,
                   check=True)
    names = []
    for path in module_files(kernel()[1]):
        names.append(module_name(path) + ".ko")
        with open(os.path.join(root, "modules", names[-1]), "wb") as f:
            f.write(module_bytes(path))
    with open(os.path.join(root, "init"), "w") as f:
        f.write(INIT.format(modules=" ".join(names), command=command))
    os.chmod(os.path.join(root, "init"), 0o755)
    image = os.path.join(folder, "initramfs")
    with open(image, "wb") as f:
        files = subprocess.run(["find", ".", "-print0"], cwd=root, check=True, capture_output=True).stdout
        subprocess.run(["cpio", "--null", "--quiet", "-o", "-H", "newc", "-R", "0:0"], cwd=root, input=files, stdout=f, check=True)
    shutil.rmtree(root)
    return image


def _free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Guest:
    """The machine: boot(), cut(), and again.  What it prints is in console()."""

    def __init__(self, folder, initramfs, lie=False):
        self.folder, self.initramfs, self.lie = folder, initramfs, lie
        self.image = os.path.join(folder, "disk.raw")
        self.nbd = os.path.join(folder, "nbd")
        self.console_path = os.path.join(folder, "console")
        self.qemu_log = open(os.path.join(folder, "qemu.log"), "ab")
        self.disk = self.qemu = None
        self.tls_port = self.socket = self.plain_port = None
        self.cuts = []  # what the disk said of each
        if not shutil.which("qemu-system-x86_64") or not shutil.which("mkfs.ext4"):
            raise Missing("qemu-system-x86_64 or mkfs.ext4 (packages qemu-system-x86, e2fsprogs)")
        with open(self.image, "wb") as f:
            f.truncate(DISK_SIZE)
        subprocess.run(["mkfs.ext4", "-q", "-F", self.image], check=True)

    def boot(self):
        """Returns the seconds it took until the daemon answers; RuntimeError where it does not."""
        begin = time.monotonic()
        if os.path.exists(self.nbd):
            os.unlink(self.nbd)
        self.disk = subprocess.Popen([sys.executable, os.path.join(HERE, "disk.py"), self.image, self.nbd, *(["--lie"] if self.lie else [])],
                                     stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, preexec_fn=dies_with_parent)
        if self.disk.stdout.readline() != "ready\n":
            raise RuntimeError("the disk does not serve")
        open(self.console_path, "w").close()
        self.tls_port = _free_port()
        self.qemu = subprocess.Popen(
            ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-no-reboot", "-m", "1024", "-smp", "2", "-cpu", "max",
             "-accel", "tcg,thread=multi", "-kernel", kernel()[0], "-initrd", self.initramfs,
             "-append", "console=ttyS0 quiet panic=-1 mitigations=off nokaslr random.trust_cpu=on rdinit=/init",
             "-serial", f"file:{self.console_path}",
             # The guest sees a disk with a write cache; its flushes go through to disk.py.
             "-drive", f"if=none,id=d,format=raw,cache=writeback,file.driver=nbd,file.server.type=unix,file.server.path={self.nbd}",
             "-device", "virtio-blk-pci,drive=d", "-device", "virtio-rng-pci",
             "-netdev", f"user,id=n,restrict=off,hostfwd=tcp:127.0.0.1:{self.tls_port}-:{TLS_PORT}", "-device", "virtio-net-pci,netdev=n,romfile="],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.qemu_log, preexec_fn=dies_with_parent)
        until(lambda: re.search(r"^(READY|FAILED)|Kernel panic", self.console(), re.M) or self.qemu.poll() is not None, BOOT_TIMEOUT, 0.1)
        if not re.search(r"^READY \d", self.console(), re.M):
            raise RuntimeError(f"the guest did not come up:\n{self.tail()}")
        return time.monotonic() - begin

    def console(self):
        with open(self.console_path, errors="replace") as f:
            return f.read().replace("\r", "")

    def tail(self, lines=30):
        with open(os.path.join(self.folder, "qemu.log"), errors="replace") as f:
            return "\n".join(self.console().splitlines()[-lines:] + f.read().splitlines()[-5:])

    def files(self):
        """The storage's files when the daemon was ready: {path: size}."""
        return {path: int(size) for size, path in re.findall(r"^FILE (\d+) /disk/state/storage/(.*)$", self.console(), re.M)}

    def client(self, **how):
        return Client(self, transport="tls", **how)

    def cut(self):
        """The power goes: processor, memory, and what the disk had not flushed."""
        self.qemu.kill()
        self.qemu.wait()
        self.disk.terminate()
        text, _ = self.disk.communicate(timeout=60)
        self.cuts.append(text.strip())
        self.disk = self.qemu = None
        return text.strip()

    def close(self):
        for p in (self.qemu, self.disk):
            if p:
                p.kill()
                p.wait()
        self.disk = self.qemu = None
