#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""shared_lvm.py -- a volume group on a LUN of an iSCSI target that three hosts share: its metadata are changed by one at a time.

iscsiadm and LVM are played, for each host by programs of its own; the LUN is a folder that they have in common, and no lock of theirs is.
A change that meets another host's is noted there (tests/unit/storage/fake-lvm).
"""

import json
import os
import shutil
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from daemon import TOP, Lost, XapiError, until  # noqa: E402
from join import PATIENCE, Hosts  # noqa: E402
from report import Report  # noqa: E402
from shared import crowd, disk, own, pbds, used  # noqa: E402

IQN = "iqn.2003-01.org.example:one"
TARGETS = {"portal": "nas:3260", "chap": None,
           "targets": {IQN: [{"vendor": "LIO", "serial": "s1", "wwid": "naa.6001405aa", "size": 1 << 30}]}}
CONFIG = {"target": "nas", "targetIQN": IQN, "SCSIid": "36001405aa"}
SLOW = 0.1   # seconds between a command's reading and its writing
LONG = 6     # that a daemon is killed in
SILENT = 5   # seconds after which a host counts as silent


class Lun:
    def __init__(self, hosts):
        self.folder = os.path.join(hosts[0].dir, "lun")
        os.makedirs(self.folder)
        self.hosts = hosts
        for h in hosts:
            programs = os.path.join(h.state, "system", "usr", "sbin")
            os.makedirs(programs, exist_ok=True)
            for name in ("lvm", "iscsiadm"):
                shutil.copy(os.path.join(TOP, "tests", "unit", "storage", f"fake-{name}"), os.path.join(programs, name))
            os.symlink(self.folder, self.of(h, "lun"))
            self.put(h, "targets.json", json.dumps(TARGETS))

    @staticmethod
    def of(host, name):
        return os.path.join(host.state, "system", name)

    def put(self, host, name, text):
        with open(self.of(host, name), "w") as f:
            f.write(text)

    def remove(self, host, name):
        os.unlink(self.of(host, name))

    def slow(self, seconds):
        for h in self.hosts:
            self.put(h, "slow", str(seconds))

    def volumes(self):
        with open(os.path.join(self.folder, "groups")) as f:
            return {n for group in json.load(f)["groups"].values() for n in group}

    def collisions(self):
        try:
            with open(os.path.join(self.folder, "collisions")) as f:
                return f.read().splitlines()
        except FileNotFoundError:
            return []

    def active(self, host):
        """What is active there."""
        return {n for _, _, names in os.walk(self.of(host, "dev")) for n in names if "-" in n}


def made(report, lun, a, b):
    sr = a("SR.create", own(a), CONFIG, 0, "san", "", "lvmoiscsi", "user", True, {})
    a("SR.set_physical_size", sr, 1 << 30)
    report.check(pbds(a, sr) == {own(a): (True, ""), own(b): (True, "")}, "a shared repository is plugged on both hosts", pbds(a, sr))
    return sr


def agree(report, lun, a, sr, what):
    """Records and volumes."""
    a("SR.scan", sr)
    kept = {f"VDI-{v['location']}" for v in a("VDI.get_all_records").values() if v["SR"] == sr}
    report.check(kept == lun.volumes(), f"{what}: records and volumes agree", kept ^ lun.volumes())
    report.check_none(lun.collisions(), f"{what}: no change met another host's")


def crowded(report, lun, sr, hosts):
    lun.slow(SLOW)
    vdis = crowd(report, sr, hosts)
    lun.slow(0)
    agree(report, lun, hosts[0], sr, "after chain work on all hosts at once")
    for v in vdis:
        hosts[0]("VDI.destroy", v)


def begin(lun, host, sr, name):
    """A disk that is being made there, as far as LVM's second change."""
    before = lun.volumes()
    task = threading.Thread(target=lambda: host.tries("VDI.create", {
        "name_label": name, "name_description": "", "SR": sr, "virtual_size": 1 << 20, "type": "user", "sharable": False, "read_only": False,
        "other_config": {}, "xenstore_data": {}, "sm_config": {}, "tags": []}))
    task.start()
    if not until(lambda: lun.volumes() - before, PATIENCE):
        raise RuntimeError("nothing was begun")
    return task


def waiting(host, sr, name):
    """Another host's disk; the thread, and the list that gets it."""
    out = []
    task = threading.Thread(target=lambda: out.append(disk(host, sr, name)))
    task.start()
    return task, out


def killed(report, lun, sr, b, c):
    """A daemon that dies while LVM changes the group keeps its turn until that has ended and it is back."""
    lun.put(b, "slow", str(LONG))
    b.client = None
    first = threading.Thread(target=lambda: b.tries("VDI.create", {
        "name_label": "lost", "name_description": "", "SR": sr, "virtual_size": 1 << 20, "type": "user", "sharable": False, "read_only": False,
        "other_config": {}, "xenstore_data": {}, "sm_config": {}, "tags": []}))
    first.start()
    until(lambda: list(c("SR.get_current_operations", sr).values()) == ["vdi_create"], PATIENCE)
    time.sleep(1)  # into LVM's command; where that has not begun, the rest holds all the same
    b.kill()
    first.join()
    lun.remove(b, "slow")
    second, out = waiting(c, sr, "waits")
    second.join(2)
    report.check(second.is_alive(), "another host's change waits for that of a daemon that was killed")
    b.ensure()
    second.join(PATIENCE)
    report.check(bool(out), "and goes on when the host is back", c.log_tail(), b.log_tail())
    until(lambda: not c("SR.get_current_operations", sr), PATIENCE)
    agree(report, lun, c, sr, "after a kill")
    for v in out:
        c("VDI.destroy", v)


def silent(report, lun, sr, a, b, c):
    """A host that stands still holds up the others' changes, but not their disks, until it is declared dead; when it wakes it does no harm."""
    a("pool.set_other_config", a("pool.get_all")[0], {"host_offline_after": str(SILENT)})
    kept = disk(c, sr, "kept")
    lun.put(b, "stand-still", "lvrename")
    first = begin(lun, b, sr, "asleep")
    until(lambda: os.path.exists(lun.of(b, "stand-still.reached")), PATIENCE)
    gone = own(b)
    b.signal(signal.SIGSTOP)
    second, out = waiting(c, sr, "waits")
    report.check(until(lambda: not a("host_metrics.get_live", a("host.get_metrics", gone)), PATIENCE), "a host is silent")
    second.join(2)
    report.check(second.is_alive() and not out, "a change waits for its turn to end")
    a("host.declare_dead", gone)
    second.join(PATIENCE)
    report.check(bool(out), "once it is declared dead the others go on", c.log_tail())
    lun.remove(b, "stand-still")
    b.signal(signal.SIGCONT)
    first.join(PATIENCE)
    report.check(not first.is_alive(), "it wakes, and its operation ends", b.log_tail())
    report.check("with system ID" in b.log_text() or "was given up" in b.log_text() or "its turn is over" in b.log_text(), "LVM has refused its next command",
                 b.log_tail())
    report.check(until(lambda: not [i for i in a("SR.get_current_operations", sr)], PATIENCE), "what it had begun is taken away", a.log_tail())
    b.client = None
    report.check(until(lambda: a("host_metrics.get_live", a("host.get_metrics", gone)), PATIENCE), "it is back", b.log_tail())
    own_again = disk(b, sr, "again")
    report.check(a("VDI.get_SR", own_again) == sr, "and has a turn again")
    agree(report, lun, a, sr, "after a host was declared dead")
    for v in (kept, own_again, *out):
        a("VDI.destroy", v)


def main():
    report = Report()
    with Hosts(3) as hosts:
        for h in hosts:
            h.stop()
        lun = Lun(hosts)
        for h in hosts:
            h.client = None
            h.begin()
        a, b, c = hosts
        b.join(a)
        report.check(until(lambda: b.is_member_of(a), PATIENCE), "two hosts are a pool", b.log_tail())
        sr = made(report, lun, a, b)
        c.join(a)
        report.check(until(lambda: c.is_member_of(a), PATIENCE), "a third joins", c.log_tail())
        report.check(until(lambda: pbds(a, sr).get(own(c)) == (True, ""), PATIENCE), "and has the shared repository", pbds(a, sr), c.log_tail())
        vdi = used(report, sr, a, b, c, lun.volumes)
        report.check_none(sorted(set().union(*map(lun.active, hosts))), "nothing is active that nobody uses")
        crowded(report, lun, sr, hosts)
        killed(report, lun, sr, b, c)
        silent(report, lun, sr, a, b, c)
        report.check(a("VDI.get_SR", vdi) == sr, "the first disk is still there")
    sys.exit(report.done())


if __name__ == "__main__":
    main()
