#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""powercut.py [ROUNDS [SEED]] -- the power goes while xapid writes: nothing acknowledged is lost.

A guest of qemu runs xapid with a simulated hypervisor on an ext4 file system and writes all it can; acknowledged writes come over its
serial console.  At a random time its power is cut: the guest's memory is gone, and of what its disk had not flushed a random part
(volatile_disk.py).  The next boot must find everything acknowledged.
"""

import glob
import gzip
import os
import queue
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "lib"))
sys.path.insert(0, HERE)
from daemon import program  # noqa: E402
from report import Report  # noqa: E402
from volatile_disk import VolatileDisk  # noqa: E402

DISK_SIZE = 512 << 20
MODULES = ("virtio_pci", "virtio_blk", "ext4", "crc32c_generic")
THREADS = 8
BOOT_TIMEOUT = 300
LONGEST = 8.0  # seconds of writing


def kernel():
    found = sorted(glob.glob("/boot/vmlinuz-*"), key=os.path.getmtime)
    for path in reversed(found):
        version = path[len("/boot/vmlinuz-"):]
        if os.path.exists(f"/lib/modules/{version}/modules.dep"):
            return path, version
    return None, None


def modules(version):
    """Files of the modules wanted, what they need first."""
    top = f"/lib/modules/{version}"
    needs, by_name = {}, {}
    with open(f"{top}/modules.dep") as f:
        for line in f:
            path, _, rest = line.strip().partition(":")
            needs[path] = rest.split()
            by_name[re.sub(r"\.ko.*", "", os.path.basename(path)).replace("-", "_")] = path
    order = []

    def add(path):
        for need in needs[path]:
            add(need)
        if path not in order:
            order.append(path)
    for name in MODULES:
        if name in by_name:  # else it is built in
            add(by_name[name])
    return [os.path.join(top, p) for p in order]


def libraries(path):
    text = subprocess.run(["ldd", path], check=True, capture_output=True, text=True).stdout
    return set(re.findall(r"(/\S+) \(0x", text))


def initramfs(work, version):
    """A directory with busybox, the modules, xapid and what it needs; packed."""
    root = os.path.join(work, "root")
    for folder in ("bin", "modules", "xapid"):
        os.makedirs(os.path.join(root, folder))
    shutil.copy(os.path.join(HERE, "guest-init"), os.path.join(root, "init"))
    os.chmod(os.path.join(root, "init"), 0o755)
    shutil.copy("/bin/busybox", os.path.join(root, "bin/busybox"))
    with open(os.path.join(root, "modules/order"), "w") as order:
        for path in modules(version):
            name = os.path.basename(path)
            shutil.copy(path, os.path.join(root, "modules", name))
            if name.endswith(".xz"):
                subprocess.run(["xz", "-d", os.path.join(root, "modules", name)], check=True)
                name = name[:-3]
            order.write(name + "\n")
    wanted = set()
    for name in ("xapid", "xapid-sim", "powercut-writer"):
        shutil.copy(program(name), os.path.join(root, "xapid", name))
        wanted |= libraries(program(name))
    for path in wanted:
        os.makedirs(root + os.path.dirname(path), exist_ok=True)
        shutil.copy(os.path.realpath(path), root + path)
    with open(os.path.join(root, "xapid/passwords"), "w"):
        pass
    subprocess.run([program("xapid-passwd"), os.path.join(root, "xapid/passwords"), "root"], input="unused\n", text=True, check=True)
    names = subprocess.run(["find", "."], cwd=root, check=True, capture_output=True).stdout
    archive = subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=root, input=names, check=True, capture_output=True).stdout
    path = os.path.join(work, "initramfs")
    with gzip.open(path, "wb", 1) as f:
        f.write(archive)
    return path


class Guest:
    """One boot, until the power goes."""

    def __init__(self, work, kernel_path, initramfs_path, number, threads, seed):
        self.socket = os.path.join(work, f"disk-{number}")
        self.disk = VolatileDisk(os.path.join(work, "disk"), self.socket, f"{seed}-{number}")
        self.lines = queue.Queue()
        self.process = subprocess.Popen(
            ["qemu-system-x86_64", "-accel", "kvm", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1024", "-nodefaults",
             "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio", "-kernel", kernel_path, "-initrd", initramfs_path,
             "-append", f"console=ttyS0 quiet panic=-1 random.trust_cpu=on round={number} threads={threads}",
             "-drive", f"file=nbd:unix:{self.socket},format=raw,if=none,id=disk,cache=writeback", "-device", "virtio-blk-pci,drive=disk"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.decode(errors="replace").strip())
        self.lines.put(None)

    def until(self, word, seconds):
        """The lines up to one that begins with the word; None where it does not come."""
        end, seen = time.monotonic() + seconds, []
        while True:
            try:
                line = self.lines.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                return None, seen
            if line is None or line.startswith("FAILED"):
                return None, seen + [line or "the guest ended"]
            seen.append(line)
            if line.startswith(word):
                return seen, seen

    def cut(self):
        """kill -9 at once, then what the disk makes of it; the rest of the lines."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        lost = self.disk.cut()
        rest = []
        while True:
            line = self.lines.get()
            if line is None:
                return rest, lost
            rest.append(line)


def compare(known, seen):
    """What of the acknowledged is not found; descriptions only grow."""
    have = {}
    for line in seen:
        words = line.split()
        if len(words) == 3 and words[0] == "HAVE":
            have[words[1]] = int(words[2]) if words[2] != "-" else -1
    wrong = [f"{n} was acknowledged with {d} and is {'not there' if n not in have else have[n]}" for n, d in known.items()
             if have.get(n, -2) < d]
    return wrong, have


def learn(known, asked, lines):
    for line in lines:
        words = line.split()
        if len(words) == 3 and words[0] == "ACK":
            known[words[1]] = max(known.get(words[1], -1), int(words[2]))
        if len(words) == 3 and words[0] == "ASK":
            asked.add(words[1])


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 30)
    print(f"# seed {seed}", flush=True)
    report, chance = Report(), random.Random(seed)
    kernel_path, version = kernel()
    if not kernel_path:
        report.fail("there is a kernel for the guest in /boot")
        sys.exit(1)
    work = tempfile.mkdtemp(prefix="xp-")
    try:
        run(rounds, seed, report, chance, work, kernel_path, initramfs(work, version))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    sys.exit(report.done())


def run(rounds, seed, report, chance, work, kernel_path, initramfs_path):
    disk = os.path.join(work, "disk")
    with open(disk, "wb") as f:
        f.truncate(DISK_SIZE)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-F", disk], check=True, env={**os.environ, "PATH": os.environ["PATH"] + ":/sbin:/usr/sbin"})
    known, asked = {}, set()
    for number in range(rounds + 1):
        last = number == rounds
        guest = Guest(work, kernel_path, initramfs_path, number, 0 if last else THREADS, seed)
        seen, all_lines = guest.until("END", BOOT_TIMEOUT)
        if seen is None:
            rest, _ = guest.cut()
            report.fail(f"boot {number + 1}: the daemon starts and answers", *(all_lines + rest)[-40:])
            return
        if number:
            wrong, have = compare(known, seen)
            wrong += [f"{n} is there and was never asked for" for n in have if n not in asked and n not in known]
            report.check_none(wrong, f"power cut {number}: all {len(known)} acknowledged VMs are there with what was written last")
            known.update(have)
        if not last:
            first, lines = guest.until("ACK", 120)
            time.sleep(chance.uniform(0.2, LONGEST))
        rest, (lost, kept) = guest.cut()
        if last:
            return
        before = len(known)
        learn(known, asked, lines + rest)
        if first is None:
            report.fail(f"boot {number + 1}: writes are acknowledged", *(lines + rest)[-20:])
            return
        report.note(f"cut {number + 1}: {len(known) - before} VMs more; {lost} sectors lost, {kept} kept, after {guest.disk.flushes} flushes")


if __name__ == "__main__":
    main()
