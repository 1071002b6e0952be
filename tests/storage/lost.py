#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""lost.py -- a repository is lost under a running daemon, and comes back.

Its file system (ext4 on a loop device) is full, can only be read, is not mounted any more, gives nothing but I/O errors; its directory is removed.
Each time every call that needs it ends soon, with an error that says why or with what it was to do; no record changes that was not to; another
repository goes on; and when it is repaired all calls work again, in the same daemon.  One that does not come back can be forgotten.

A folder of ISO images whose disk is not mounted is no empty one, and an image that is damaged keeps its record until it is repaired.
"""

import fcntl
import os
import shutil
import struct
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "lib"), os.path.join(HERE, "..", "transfer")]
import lab  # noqa: E402
import web  # noqa: E402
from daemon import NULL, Daemon, Lost, XapiError, until  # noqa: E402
from lab import MIB  # noqa: E402
from report import Report  # noqa: E402

BOUND = 20  # seconds for any call, on a machine that has other work
SHUTDOWN, NO_LOG = 0x8004587D, 2  # the ioctl of ext4, and that nothing is written before
FORMATS = "raw", "vhd", "qcow2"
SIZE = 4 * MIB
# What may change of a record that nobody changed; what could not be undone holds its disk until it can be.
OWN = "allowed_operations", "physical_utilisation", "current_operations"


def run(*words):
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip()


def fill(path):
    """Leaves not one byte."""
    with open(path, "ab", buffering=0) as f:
        for size in (MIB, 1 << 12, 1):
            try:
                while f.write(bytes(size)):
                    pass
            except OSError:
                pass


class Volume:
    """A small ext4 on a loop device."""

    def __init__(self, folder):
        self.place = os.path.join(folder, "volume")
        image = os.path.join(folder, "volume.image")
        os.mkdir(self.place)
        with open(image, "wb") as f:
            f.truncate(96 * MIB)
        run("mkfs.ext4", "-q", "-m", "0", image)
        self.device = run("losetup", "--find", "--show", image)
        try:
            self.mount()
        except OSError:
            self.release()
            raise

    def mount(self):
        run("mount", "-t", "ext4", self.device, self.place)

    def unmount(self):
        run("umount", self.place)

    def remount(self, how):
        run("mount", "-o", "remount," + how, self.place)

    def unmount_lazily(self):
        run("umount", "-l", self.place)

    def break_down(self):
        fd = os.open(self.place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", NO_LOG))
        finally:
            os.close(fd)

    def release(self):
        subprocess.run(["umount", "-l", self.place], capture_output=True)
        subprocess.run(["losetup", "-d", self.device], capture_output=True)


class Test:
    def __init__(self, daemon, place, report):
        self.daemon, self.report, self.place = daemon, report, place
        self.c = daemon.client(timeout=120)
        self.other = lab.default_sr(self.c)
        self.content = os.urandom(MIB) + bytes(SIZE - MIB)
        self.number = 0
        self.sr = self.c("SR.create", lab.host(self.c), {"location": place}, 0, "to be lost", "", "file", "user", False, {})
        self.vdi = self.disk("kept")
        self.base = self.c("VDI.snapshot", self.vdi, {})
        self.elsewhere = lab.vdi(self.c, "elsewhere", SIZE, self.other)
        self.images = {f: self.export(f) for f in FORMATS}
        self.vm = lab.vm(self.c, "of the lost")
        lab.enough_memory(self.c, self.vm)
        lab.vbd(self.c, self.vm, self.vdi, "0")
        self.c("SR.scan", self.sr)

    def disk(self, name):
        vdi = lab.vdi(self.c, name, SIZE, self.sr)
        web.put(self.c, "/import_raw_vdi", self.content, vdi=vdi)
        return vdi

    def export(self, form):
        status, _, data = web.get(self.c, "/export_raw_vdi", vdi=self.vdi, format=form)
        if status != 200:
            raise Lost(f"HTTP {status}")
        return data

    def start_and_stop(self):
        self.c("VM.start", self.vm, False, False)
        self.c("VM.hard_shutdown", self.vm)

    def named(self, what):
        self.number += 1
        return f"{what} {self.number}"

    def made(self, run_it):
        """Of calls that make a disk: one that was made goes again."""
        vdi = run_it()
        self.c("VDI.destroy", vdi)

    def calls(self):
        """{name: function} of all that needs the repository; those in 'writes' need room in it."""
        c, vdi, sr = self.c, self.vdi, self.sr
        out = {
            "SR.scan": lambda: c("SR.scan", sr),
            "SR.update": lambda: c("SR.update", sr),
            "VDI.create": lambda: self.made(lambda: lab.vdi(c, self.named("new"), SIZE, sr)),
            "VDI.snapshot": lambda: self.made(lambda: c("VDI.snapshot", vdi, {})),
            "VDI.clone": lambda: self.made(lambda: c("VDI.clone", self.base, {})),
            "VDI.copy": lambda: self.made(lambda: c("VDI.copy", vdi, sr, NULL, NULL)),
            "VDI.copy from it": lambda: self.made(lambda: c("VDI.copy", vdi, self.other, NULL, NULL)),
            "VDI.copy to it": lambda: self.made(lambda: c("VDI.copy", self.elsewhere, sr, NULL, NULL)),
            "VDI.set_name_label": lambda: c("VDI.set_name_label", vdi, "kept"),
            "VM.start": self.start_and_stop,
        }
        for form in FORMATS:
            out[f"import of {form}"] = lambda f=form: web.put(c, "/import_raw_vdi", self.images[f], vdi=vdi, format=f)
            out[f"export as {form}"] = lambda f=form: self.export(f)
        return out

    def records(self):
        rows = self.c("VDI.get_all_records").items()
        return {ref: {k: v for k, v in r.items() if k not in OWN} for ref, r in rows if r["SR"] == self.sr}

    def timed(self, call):
        """(seconds, the error or None)."""
        begin = time.monotonic()
        try:
            call()
            error = None
        except (XapiError, Lost) as e:
            error = e
        return time.monotonic() - begin, error

    def other_works(self, state):
        def use():
            vdi = lab.vdi(self.c, "beside", MIB, self.other)
            self.c("VDI.destroy", self.c("VDI.snapshot", vdi, {}))
            self.c("SR.scan", self.other)
            self.c("VDI.destroy", vdi)
        seconds, error = self.timed(use)
        self.report.check(error is None and seconds < BOUND, f"{state}: another repository goes on", seconds, error)

    def while_lost(self, state, words, may_work=()):
        """Each call, while the repository is in that state."""
        before, longest, wrong = self.records(), 0.0, []
        for name, call in self.calls().items():
            seconds, error = self.timed(call)
            longest = max(longest, seconds)
            if error is None and name not in may_work:
                wrong.append(f"{name} says that it was done")
            elif error is not None and not any(w in str(error) for w in words):
                wrong.append(f"{name}: {error}")
        self.report.check_none(wrong, f"{state}: what cannot be done is an error that says why")
        self.report.check(longest < BOUND, f"{state}: every call ends soon (the longest took {longest:.1f} s)")
        after = self.records()
        changed = [f"{ref} is gone: {r['name_label']}" for ref, r in before.items() if ref not in after]
        changed += [f"{ref} is new: {r['name_label']}" for ref, r in after.items() if ref not in before]
        changed += [f"{r['name_label']}.{k}: {v!r} was {before[ref][k]!r}" for ref, r in after.items() if ref in before for k, v in r.items() if v != before[ref][k]]
        self.report.check_none(changed, f"{state}: the records of its disks are what they were")
        self.other_works(state)

    def all_works(self, state):
        wrong = [f"{name}: {error}" for name, call in self.calls().items() if (error := self.timed(call)[1])]
        self.report.check_none(wrong, f"{state}, and repaired: every call works again", 6)
        self.report.check(self.export("raw") == self.content, f"{state}, and repaired: the disk holds what it held")
        idle = until(lambda: not any(self.c("VDI.get_current_operations", v) for v in self.c("SR.get_VDIs", self.sr)), 60)
        self.report.check(idle, f"{state}, and repaired: nothing is held")
        self.c("SR.scan", self.sr)
        files = {f.split(".")[0] for f in os.listdir(self.place) if f.endswith(".qcow2")}
        rows = {r["location"] for r in self.c("VDI.get_all_records").values() if r["SR"] == self.sr and r["name_label"] in ("kept", "base copy")}
        self.report.check(files == rows and not [f for f in os.listdir(self.place) if f.endswith(".tmp")], f"{state}, and repaired: no file is left over",
                          files ^ rows)

    def pbd(self):
        return self.c("SR.get_PBDs", self.sr)[0]


READS = "SR.scan", "SR.update", "VDI.copy from it", "VDI.set_name_label", "VM.start", *(f"export as {f}" for f in FORMATS), *(f"import of {f}" for f in FORMATS)


def on_a_volume(report):
    with Daemon() as daemon:
        volume = Volume(daemon.dir)
        try:
            test = Test(daemon, volume.place, report)
            ballast = os.path.join(volume.place, "ballast")
            fill(ballast)
            # What overwrites clusters that the disk has already needs no room.
            test.while_lost("a full disk", ["SR_FULL"], READS)
            os.unlink(ballast)
            test.all_works("a full disk")

            volume.remount("ro")
            test.while_lost("a disk that can only be read", ["Read-only file system"], READS)
            volume.remount("rw")
            test.all_works("a disk that can only be read")

            volume.unmount_lazily()
            test.while_lost("a disk that is not mounted", ["is its disk mounted?"])
            volume.mount()
            test.all_works("a disk that is not mounted")

            volume.break_down()
            test.while_lost("a disk of I/O errors", ["Input/output error"])
            volume.unmount()
            volume.mount()
            test.all_works("a disk of I/O errors")
            isos(report, test.c, volume)
        finally:
            volume.release()


def in_a_folder(report):
    with Daemon() as daemon:
        test = Test(daemon, os.path.join(daemon.dir, "folder"), report)
        away = test.place + ".away"
        os.rename(test.place, away)
        test.while_lost("a directory that is gone", ["No such file or directory"])
        shutil.copytree(away, test.place)  # another directory, as a backup would give it back
        test.all_works("a directory that is gone")
        damaged(report, test)
        shutil.rmtree(test.place)
        test.timed(lambda: test.c("VDI.snapshot", test.vdi, {}))
        test.c("PBD.unplug", test.pbd())
        test.c("SR.forget", test.sr)
        report.check(not test.records(), "a repository that does not come back is unplugged and forgotten")


def damaged(report, test):
    path = os.path.join(test.place, test.c("VDI.get_location", test.base) + ".qcow2")
    before = test.records()
    with open(path, "r+b") as f:
        head = f.read(512)
        f.seek(0)
        f.write(bytes(512))
    test.c("SR.scan", test.sr)
    now = test.records()
    report.check(now[test.base]["missing"] and now[test.base]["sm_config"].get("damaged") == "it is no qcow2 image",
                 "a damaged image is missing, and its record says why", now[test.base])
    report.check({r: now[r]["name_label"] for r in now} == {r: before[r]["name_label"] for r in before}, "and no record is lost")
    with open(path, "r+b") as f:
        f.write(head)
    test.c("SR.scan", test.sr)
    report.check(test.records() == before, "when it is repaired all is as before", test.records()[test.base], before[test.base])


def isos(report, c, volume):
    folder = os.path.join(volume.place, "isos")
    os.mkdir(folder)
    with open(os.path.join(folder, "one.iso"), "wb") as f:
        f.write(bytes(MIB))
    sr = c("SR.create", lab.host(c), {"location": folder, "legacy_mode": "true"}, 0, "isos", "", "iso", "iso", False, {})
    c("SR.scan", sr)
    images = c("SR.get_VDIs", sr)
    volume.unmount_lazily()
    os.makedirs(folder)
    for call in ("SR.scan", "SR.update"):
        try:
            c(call, sr)
            error = "none"
        except XapiError as e:
            error = str(e)
        report.check(f"nothing is mounted at {volume.place}" in error, f"ISO images whose disk is not mounted: {call} says so", error)
    report.check(images and c("SR.get_VDIs", sr) == images, "and their records stay")
    os.rmdir(folder)
    volume.mount()
    c("SR.scan", sr)
    report.check(c("SR.get_VDIs", sr) == images, "and they are there again when it is mounted")


def main():
    report = Report()
    in_a_folder(report)
    try:
        on_a_volume(report)
    except OSError as e:
        print(f"ok - # SKIP no file system can be made here: {e}")
    sys.exit(report.done())


if __name__ == "__main__":
    main()
