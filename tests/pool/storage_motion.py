#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""storage_motion.py [--steps] [--seed S] -- a disk moves to another repository while a guest writes to it, and whatever happens, it is whole.

A daemon whose disks have real servers (--datapath socket), two repositories, a VM with a disk that has snapshots.  The guest is a thread that
writes numbered blocks through the disk's server and remembers what was durable; after each move all of them must be there, once, and the
snapshots hold what they held.  The daemon is killed in SOME steps of the move, in "copied" and others which the seed chooses (--steps: in all), and with --steps also
the disk's server dies with it, as when the host does.
"""

import argparse
import os
import random
import signal
import struct
import subprocess
import sys
import threading
import time

import nbd

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import lab  # noqa: E402
from daemon import Daemon, Lost, XapiError, code_of, until  # noqa: E402
from intents import COMMIT, COMMITTED, intents  # noqa: E402
from report import Report  # noqa: E402

MIB = 1 << 20
BLOCK = 4096
SLOTS = 1024  # blocks the guest writes to, round and round
SIZE = 24 * MIB
SOME = 3
PATIENCE = 120
GONE = OSError, nbd.Error


def block(number):
    return struct.pack("<QQ", number, number ^ 0x5A5A5A5A5A5A5A5A) * (BLOCK // 16)


def opened(path):
    h = nbd.NBD()
    h.connect_uri(f"nbd+unix:///disk?socket={path}")
    return h


class Guest(threading.Thread):
    """Writes block n to slot n modulo SLOTS, flushes, and goes on; its disk's server may be gone at any time."""

    def __init__(self, socket, first=1):
        super().__init__(daemon=True, name="guest")
        self.socket, self.begun, self.durable, self.longest, self.stop = socket, first - 1, first - 1, 0.0, threading.Event()

    def run(self):
        try:
            disk = opened(self.socket)
            while not self.stop.is_set():
                began = time.monotonic()
                self.begun += 1
                disk.pwrite(block(self.begun), self.begun % SLOTS * BLOCK)
                disk.flush()
                self.durable = self.begun
                self.longest = max(self.longest, time.monotonic() - began)
            disk.shutdown()
        except GONE:
            pass  # as a guest whose host is gone

    def end(self):
        self.stop.set()
        self.join(PATIENCE)
        return self


def faults_of(content, guest):
    """What is wrong with the blocks of a guest that has stopped: each slot has the newest number that was durable, or the one after it."""
    wrong = []
    for slot in range(SLOTS):
        text = content[slot * BLOCK:(slot + 1) * BLOCK]
        newest = guest.durable - (guest.durable - slot) % SLOTS
        fine = [block(n) if n > 0 else bytes(BLOCK) for n in (newest, guest.begun) if n % SLOTS == slot]
        if text not in fine:
            wrong.append(f"slot {slot}: {struct.unpack_from('<Q', text)[0]} for {newest}")
    return wrong


class Test:
    def __init__(self, daemon, report):
        self.daemon, self.report = daemon, report
        self.c = daemon.client()
        self.srs = [self.repository(name) for name in ("left", "right")]
        self.vm = lab.vm(self.c, "mover")
        self.vdi = lab.vdi(self.c, "its disk", SIZE, self.srs[0])
        self.uuid = self.c("VDI.get_uuid", self.vdi)
        lab.vbd(self.c, self.vm, self.vdi, "0")
        self.held = {}  # what snapshots held when they were taken
        self.guest = None
        self.last = 0
        self.start()

    def repository(self, name):
        folder = os.path.join(self.daemon.dir, name)
        os.mkdir(folder)
        return self.c("SR.create", lab.host(self.c), {"location": folder}, 0, name, "", "file", "user", False, {})

    def folder(self, sr):
        return os.path.join(self.daemon.dir, self.c("SR.get_name_label", sr))

    def images(self, sr):
        return sorted(f for f in os.listdir(self.folder(sr)) if f.endswith(".qcow2"))

    def socket(self, uuid=None):
        return os.path.join(self.daemon.state, "datapath", uuid or self.uuid, "nbd")

    def start(self):
        if self.c("VM.get_power_state", self.vm) != "Running":
            self.c("VM.start", self.vm, False, False)
        until(lambda: "migrate_send" in self.c("VM.get_allowed_operations", self.vm), PATIENCE)
        self.guest = Guest(self.socket(), self.last + 1)
        self.guest.start()

    def where(self):
        return self.srs.index(self.c("VDI.get_SR", self.vdi))

    def content(self, vdi):
        """Of a disk that nobody writes to, as its images have it."""
        image = os.path.join(self.folder(self.c("VDI.get_SR", vdi)), self.c("VDI.get_location", vdi) + ".qcow2")
        path = os.path.join(self.daemon.dir, "content")
        subprocess.run(["qemu-img", "convert", "-U", "-O", "raw", image, path], check=True)
        with open(path, "rb") as f:
            return f.read()

    def snapshot(self):
        vm = self.c("VM.snapshot", self.vm, f"snapshot {len(self.held)}", [])
        vdi = lab.disks(self.c, vm)[0]
        self.held[vdi] = self.content(vdi)

    def judge(self, what, alive=True):
        """The guest's disk, its snapshots and the folders.  'alive': the guest must have gone on until now."""
        if alive:
            seen = self.guest.durable
            self.report.check(until(lambda: self.guest.durable > seen, PATIENCE), f"{what}: the guest goes on writing", self.daemon.log_tail())
        guest = self.guest.end()
        if self.c("VM.get_power_state", self.vm) == "Running":
            self.c("VM.hard_shutdown", self.vm)
        self.last = guest.begun
        self.report.check_none(faults_of(self.content(self.vdi), guest), f"{what}: the disk holds what its guest was told is durable ({guest.durable} blocks)", 5)
        wrong = [self.c("VDI.get_name_label", s) for s, data in self.held.items() if self.content(s) != data or self.c("VDI.get_snapshot_of", s) != self.vdi]
        self.report.check_none(wrong, f"{what}: and its snapshots what they held")
        here, there = self.srs[self.where()], self.srs[1 - self.where()]
        rows = sorted(self.c("VDI.get_location", v) + ".qcow2" for v in self.c("SR.get_VDIs", here))
        self.report.check(not self.images(there) and self.images(here) == rows and not self.c("SR.get_VDIs", there), f"{what}: it is in one repository only",
                          self.images(here), self.images(there), rows, self.daemon.log_tail())
        # A guest that stopped between two blocks writes the last one anew.
        self.last = guest.durable
        self.start()

    def move(self):
        to = self.srs[1 - self.where()]
        same = self.c("VDI.pool_migrate", self.vdi, to, {})
        return same == self.vdi and self.c("VDI.get_SR", self.vdi) == to

    # -- what is tried --

    def runs(self):
        self.report.check(self.move(), "the disk of a running VM moves, and stays the same disk")
        self.report.note(f"longest write {self.guest.longest:.3f} s")
        self.judge("after a move")
        self.snapshot()
        self.snapshot()
        self.report.check(self.move(), "it moves back, with two snapshots", self.daemon.log_tail())
        self.judge("with snapshots")
        sizes = {f: os.stat(os.path.join(self.folder(self.srs[self.where()]), f)).st_blocks * 512 for f in self.images(self.srs[self.where()])}
        self.report.check(sum(sizes.values()) < 2.5 * SLOTS * BLOCK + 16 * MIB, "what disk and snapshots share is stored once", sizes)

    def halted(self):
        guest = self.guest.end()
        self.c("VM.hard_shutdown", self.vm)
        self.report.check(self.move(), "the disk of a halted VM moves")
        self.last = guest.durable
        self.report.check_none(faults_of(self.content(self.vdi), guest), "and holds the same", 5)
        self.start()
        self.judge("halted")

    def refusals(self):
        iso = next((r for r, s in self.c("SR.get_all_records").items() if s["type"] in ("iso", "udev")), None)
        if iso:
            self.report.check(code_of(self.c, "VDI.pool_migrate", self.vdi, iso, {}) == "SR_DOES_NOT_SUPPORT_MIGRATION", "CDs' repositories take no disks")
        self.c("VDI.enable_cbt", self.vdi)
        self.report.check(code_of(self.c, "VDI.pool_migrate", self.vdi, self.srs[1 - self.where()], {}) == "VDI_CBT_ENABLED", "nor does one move whose changes are tracked")
        self.c("VDI.disable_cbt", self.vdi)
        self.report.check(self.c("VDI.pool_migrate", self.vdi, self.srs[self.where()], {}) == self.vdi, "where it is already it stays")

    def set_fault(self, step, what):
        with open(os.path.join(self.daemon.state, "faults"), "w") as f:
            f.write(f"vdi_move/{step} {what}\n" if step else "")

    def cancelled(self):
        self.set_fault("held", "wait")
        os.unlink(os.path.join(self.daemon.state, "steps"))
        at = self.where()
        task = self.c("Async.VDI.pool_migrate", self.vdi, self.srs[1 - at], {})
        self.report.check(until(lambda: "vdi_move/held" in self.steps(), PATIENCE), "a move comes to where its guest is held")
        self.c("task.cancel", task)
        self.set_fault(None, None)
        self.report.check(until(lambda: self.c("task.get_status", task) == "cancelled", PATIENCE) and self.where() == at, "and is cancelled there",
                          self.c("task.get_record", task))
        self.c("task.destroy", task)
        self.judge("cancelled")

    def steps(self):
        try:
            with open(os.path.join(self.daemon.state, "steps")) as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def fails(self, step):
        self.set_fault(step, "fail")
        try:
            self.move()
        except XapiError:
            pass
        self.set_fault(None, None)
        self.judge(f"{step} fails")

    def killed(self, step, server):
        """The daemon, and with 'server' that of the disk too, as when the host dies."""
        self.set_fault(step, "kill")
        try:
            self.move()
            self.report.fail(f"nothing was killed at {step}")
        except Lost:
            pass
        self.daemon.kill()
        self.set_fault(None, None)
        if server:
            with open(os.path.join(os.path.dirname(self.socket()), "pid")) as f:
                os.kill(int(f.read()), signal.SIGKILL)
        self.daemon.start()
        self.c.login()
        idle = until(lambda: not self.c("VDI.get_current_operations", self.vdi), PATIENCE)
        self.report.check(idle, f"killed at {step}: nothing of the move is left", self.daemon.log_tail())
        self.judge(f"killed at {step}{', with the disk' if server else ''}", alive=not server)

    def close(self):
        self.guest.end()
        self.c("VM.hard_shutdown", self.vm)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", action="store_true")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    report, seed = Report(), random.Random(options.seed)
    report.note(f"seed {options.seed}")
    with Daemon(faults=True, args=["--datapath", "socket"]) as daemon:
        test = Test(daemon, report)
        test.runs()
        test.refusals()
        test.cancelled()
        test.halted()
        steps = [*intents()["vdi_move"], COMMIT, COMMITTED]
        for step in steps if options.steps else ["copied", *seed.sample([s for s in steps if s != "copied"], SOME - 1)]:
            test.killed(step, False)
        if options.steps:
            for step in steps:
                test.killed(step, True)
            for step in steps[:-1]:
                test.fails(step)
        test.close()
    sys.exit(report.done())


if __name__ == "__main__":
    main()
