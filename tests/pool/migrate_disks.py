#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""migrate_disks.py [--steps] [--seed S] -- a VM and its disk go to another host and another repository in one call, and whatever is killed, it is whole.

Three members, two directories that all see as shared storage, a VM whose disk has a snapshot, and a guest that writes numbered blocks through
the disk's server, wherever that is.  VM.migrate_send, with a vdi_map, stands still in a step; then the daemon that it moves from, the one
that it moves to, the coordinator, or the disk's server is killed.  The call has to end with an answer, the VM runs on one host, its disk is one
image in one repository with all that its guest was told is durable, nothing is held or left over, and the same call once more succeeds.
So for a VM that is halted, and one whose disk goes from one host's own repository to another's, with the host that has it as "source" and its new
one as "target".  SOME of these, which the seed chooses (--steps: all).
"""

import argparse
import itertools
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import migrate  # noqa: E402
import storage_motion  # noqa: E402
from daemon import PASSWORDS, Lost, XapiError, program, until  # noqa: E402
from intents import COMMIT, COMMITTED, intents  # noqa: E402
from members import Pool, Session  # noqa: E402
from migrate import MIB, PATIENCE  # noqa: E402
from report import Report  # noqa: E402

SIZE = 8 * MIB
SOME = 2
MOVE, SEND, RECEIVE = "vdi_move", "vm_migrate", "vm_receive"
SOURCE, TARGET, COORDINATOR, SERVER = "source", "target", "coordinator", "disk's server"
# Of a disk that goes from one host's own repository to another's: no server goes on with the copy.
FAR = [c for c in itertools.product((*intents()[MOVE], COMMIT, COMMITTED), (SOURCE, TARGET, COORDINATOR)) if c[0] != "switched"]


def server_of(member, uuid):
    """The process that serves the disk there; None."""
    try:
        with open(os.path.join(member.state, "datapath", uuid, "pid")) as f:
            pid = int(f.read())
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return pid if uuid.encode() in f.read() else None
    except (OSError, ValueError):
        return None


class Guest(storage_motion.Guest):
    """Goes on wherever its disk is served."""

    def __init__(self, pool, uuid, first):
        super().__init__(None, first)
        self.pool, self.uuid = pool, uuid

    def run(self):
        while not self.stop.is_set():
            for m in self.pool:
                self.socket = os.path.join(m.state, "datapath", self.uuid, "nbd")
                if os.path.exists(self.socket):
                    self.begun = self.durable  # what was not answered is written once more
                    super().run()
            time.sleep(0.01)

    def end(self):
        super().end()
        self.begun = self.durable + 1  # which a server that was lost may have had
        return self


class Servers(threading.Thread):
    """Looks, over and over, that one host at most serves the disk."""

    def __init__(self, pool, uuid):
        super().__init__(daemon=True, name="servers")
        self.pool, self.uuid, self.faults, self.looks, self.stop = pool, uuid, [], 0, threading.Event()

    def run(self):
        while not self.stop.wait(0.005):
            # One that is there in both looks was there all the time in between.
            first = [server_of(m, self.uuid) for m in self.pool]
            both = [m.number for m in self.pool if first[m.number] and server_of(m, self.uuid) == first[m.number]]
            self.looks += 1
            if len(both) > 1:
                self.faults.append(f"it is served by {both}")


class Test(migrate.Test):
    def __init__(self, pool, report, directory):
        super().__init__(pool, report, directory)
        self.disk = self.any("VDI.get_uuid", self.vdi)
        self.servers = Servers(pool, self.disk)
        self.servers.start()
        self.last, self.guest = 0, None
        self.resume_guest()
        until(lambda: self.guest.durable > 100, PATIENCE)
        self.at(0, "VM.snapshot", self.vm, "what was", [])
        self.snapshot = self.any("VDI.get_snapshots", self.vdi)[0]
        self.held = self.content(self.snapshot)

    def repository(self, name, host=0, shared=True):
        folder = self.folders[name] = os.path.join(self.directory, name)
        os.mkdir(folder)
        sr = self.at(0, "SR.create", self.hosts[host], {"location": folder}, "0", name, "", "file", "user", shared, {})
        self.names[sr] = name
        for pbd in self.at(0, "SR.get_PBDs", sr):
            self.at(self.hosts.index(self.at(0, "PBD.get_host", pbd)), "PBD.plug", pbd)
        return sr

    def make_vm(self):
        self.folders, self.names = {}, {}
        self.own = [self.repository(name, i, False) for i, name in enumerate(("first's", "second's"))]
        self.srs = [self.repository(name) for name in ("left", "right")]
        vm = self.at(0, "VM.clone", self.at(0, "VM.get_by_name_label", "Other install media")[0], "mover")
        self.at(0, "VM.provision", vm)
        self.vdi = self.at(0, "VDI.create", {"name_label": "its disk", "SR": self.srs[0], "virtual_size": str(SIZE), "type": "user", "sharable": False,
                                             "read_only": False, "other_config": {}})
        self.at(0, "VBD.create", {"VM": vm, "VDI": self.vdi, "userdevice": "0", "bootable": True, "mode": "RW", "type": "Disk", "empty": False,
                                  "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}})
        self.at(0, "VM.start_on", vm, self.hosts[0], False, False)
        until(lambda: "pool_migrate" in self.at(0, "VM.get_allowed_operations", vm), PATIENCE, 0.1)
        self.pool[0].sim(guest_memory=self.at(0, "VM.get_uuid", vm), pages=migrate.PAGES // 4)
        return vm

    def at(self, i, method, *params):
        self.session.drop(i)  # the daemon may be another one than when it was asked before
        return super().at(i, method, *params)

    # -- the guest --

    def resume_guest(self):
        self.guest = Guest(self.pool, self.disk, self.last + 1)
        self.guest.start()

    # -- the disk --

    def folder(self, sr):
        return self.folders[self.names[sr]]

    def images(self, sr):
        return sorted(f for f in os.listdir(self.folder(sr)) if f.endswith(".qcow2"))

    def content(self, vdi):
        image = os.path.join(self.folder(self.any("VDI.get_SR", vdi)), self.any("VDI.get_location", vdi) + ".qcow2")
        path = os.path.join(self.directory, "content")
        subprocess.run(["qemu-img", "convert", "-U", "-O", "raw", image, path], check=True)
        with open(path, "rb") as f:
            return f.read()

    def other_sr(self):
        return self.srs[1 - self.srs.index(self.any("VDI.get_SR", self.vdi))]

    # -- what is left --

    def held_still(self):
        """What holds the VM, its disks or their repositories."""
        found = [("VM", self.vm)] + [("VDI", v) for v in (self.vdi, self.snapshot)] + [("SR", s) for s in self.names]
        return [f"{kind} {ops}" for kind, ref in found for ops in [self.any(f"{kind}.get_current_operations", ref)] if ops]

    def intents_left(self):
        """As the checkpoints have it, which are a second behind."""
        left = []
        for m in self.pool:
            db = sqlite3.connect(f"file:{m.state}/db/xapid.db?mode=ro", uri=True)
            try:
                left += [f"member {m.number}: {row}" for row in db.execute("SELECT * FROM intent")]
            finally:
                db.close()
        return left

    def judge(self, what, dead=False):
        """The VM in one place, the disk in one repository and whole, nothing held or left.  dead: its server was killed, and it is started again."""
        self.see_all(what)
        report = self.report
        report.check(until(lambda: not self.held_still(), PATIENCE, 0.1), f"{what}: nothing is held", self.held_still(), self.picture())
        if dead:
            if self.any("VM.get_power_state", self.vm) != "Halted":
                self.at(self.where(), "VM.hard_shutdown", self.vm)
            self.start()
        running = self.any("VM.get_power_state", self.vm) == "Running"
        if running:
            home = self.wait_settled(what)
            seen = self.guest.durable
            report.check(until(lambda: self.guest.durable > seen, PATIENCE), f"{what}: its guest goes on writing", self.picture())
            served = [m.number for m in self.pool if server_of(m, self.disk)]
            report.check(served == [home], f"{what}: its disk is served where it runs", served, home)
        attached = [v for v in self.any("VM.get_VBDs", self.vm) if self.any("VBD.get_currently_attached", v) != running]
        report.check_none(attached, f"{what}: its disk is {'attached' if running else 'not attached'}")
        guest = self.guest.end()
        self.last = guest.durable
        report.check_none(storage_motion.faults_of(self.content(self.vdi), guest), f"{what}: the disk holds what its guest was told is durable", 5)
        report.check(self.content(self.snapshot) == self.held, f"{what}: and its snapshot what it held")
        left = until(lambda: not self.intents_left(), PATIENCE, 0.1)
        report.check(left, f"{what}: no intent is left", *self.intents_left())
        here = self.any("VDI.get_SR", self.vdi)
        names = sorted(self.any("VDI.get_location", v) + ".qcow2" for sr in self.names for v in self.any("SR.get_VDIs", sr))
        there = {self.names[sr]: self.images(sr) for sr in self.names if sr != here and self.images(sr)}
        report.check(not there and self.images(here) == names, f"{what}: all is in one repository", self.images(here), there, names, self.picture())
        self.resume_guest()

    def start(self):
        self.at(0, "VM.start", self.vm, False, False)
        until(lambda: "migrate_send" in self.any("VM.get_allowed_operations", self.vm), PATIENCE, 0.1)

    # -- the call --

    def send(self, by, to, sr, wait=True):
        """VM.migrate_send, asked of that member.  A thread; its 'error' is what came of it, None where it has succeeded."""
        test = self

        class Sender(threading.Thread):
            error = Lost("it has not ended")

            def run(self):
                session = Session(test.pool, 2 * PATIENCE)
                try:
                    session.login(by)
                    session.call(by, "VM.migrate_send", test.vm, {"host": test.hosts[to]}, True, {test.vdi: sr}, {}, {})
                    self.error = None
                except (Lost, XapiError) as e:
                    self.error = e
                session.close()

        sender = Sender(daemon=True)
        sender.start()
        if wait:
            sender.join(2 * PATIENCE)
        return sender

    def set_fault(self, member, line):
        path = os.path.join(member.state, "faults")
        if line:
            with open(path, "w") as f:
                f.write(line + "\n")
        else:
            os.unlink(path)

    @staticmethod
    def forget_steps(member):
        if os.path.exists(os.path.join(member.state, "steps")):
            os.unlink(os.path.join(member.state, "steps"))

    def reached(self, member, step):
        try:
            with open(os.path.join(member.state, "steps")) as f:
                return step in f.read().split()
        except FileNotFoundError:
            return False

    def office_to(self, number):
        """Another than those two sides is the coordinator."""
        def led():
            leader = self.pool.leader()
            if leader and leader.number == number:
                return True
            self.pool.transfer(self.pool[number])
            return False
        self.report.check(until(led, PATIENCE, 0.2), f"member {number} is made coordinator")

    def repeat(self, to, sr):
        """The same once more; a host that has just come back may be behind for a moment."""
        def done():
            repeat.append(self.send(to, to, sr))
            return not repeat[-1].error
        repeat = []
        return until(done, 20, 0.5), [str(r.error) for r in repeat]

    def killed(self, intent, step, victim):
        what = f"{intent}/{step}, {victim} killed"
        home = self.where()
        to = self.another(home)
        third = next(m.number for m in self.pool if m.number not in (home, to))
        self.office_to(third)
        sr = self.other_sr()
        runs = self.pool[to if intent == RECEIVE else home]
        dies = {SOURCE: home, TARGET: to, COORDINATOR: third, SERVER: None}[victim]
        self.forget_steps(runs)
        self.set_fault(runs, f"{intent}/{step} wait")
        sender = self.send(to if victim == SOURCE else home, to, sr, wait=False)
        at = until(lambda: self.reached(runs, f"{intent}/{step}") or not sender.is_alive(), PATIENCE, 0.02)
        # The call may end with the receiver's last write.
        waits = at and (sender.is_alive() or (intent, step) == (RECEIVE, COMMITTED))
        self.report.check(waits, f"{what}: the call comes to where it waits", str(sender.error), self.picture())
        server = None
        if victim == SERVER:
            server = next((pid for m in self.pool for pid in [server_of(m, self.disk)] if pid), None)
            if server:
                os.kill(server, signal.SIGKILL)
        else:
            self.pool[dies].kill()
        self.set_fault(runs, None)
        if dies is not None:
            error = self.pool[dies].launch().result()
            self.report.check(error is None, f"{what}: the daemon starts again", error)
        sender.join(2 * PATIENCE)
        self.report.check(not isinstance(sender.error, Lost), f"{what}: the call has ended with an answer", str(sender.error))
        if server and (intent == MOVE or step == "connected"):
            self.report.check(sender.error and self.where() == home, f"{what}: it does not go on elsewhere as if nothing had been lost", str(sender.error))
        self.judge(f"{what} ({sender.error or 'it has moved'})", dead=server is not None)
        again, errors = self.repeat(to, sr)
        self.report.check(again, f"{what}: the same call succeeds", *errors, self.picture())
        self.judge(f"{what}, and again")

    def killed_halted(self, step, victim, far=False):
        """Of a VM that is halted its disk alone moves, on the member that is asked; far: from a repository of its own of one member to the other's."""
        source = self.own.index(self.any("VDI.get_SR", self.vdi)) if far else 0
        to, third = 1 - source, 2
        what = f"{'far' if far else 'halted'}, {step}, {victim} killed"
        sr = self.own[to] if far else self.other_sr()
        # What is old the host removes that has it.
        runs = self.pool[to if far and step not in ("erased", COMMIT, COMMITTED) else source]
        self.office_to(third)
        self.forget_steps(runs)
        self.set_fault(runs, f"{MOVE}/{step} wait")
        task = self.at(0, "Async.VM.migrate_send", self.vm, {"host": self.hosts[to]}, True, {self.vdi: sr}, {}, {})
        at = until(lambda: self.reached(runs, f"{MOVE}/{step}"), PATIENCE, 0.02)
        self.report.check(at, f"{what}: the call comes to where it waits", self.any("task.get_record", task), self.picture())
        dies = self.pool[{SOURCE: source, TARGET: to, COORDINATOR: third}[victim]]
        dies.kill()
        self.set_fault(runs, None)
        error = dies.launch().result()
        self.report.check(error is None, f"{what}: the daemon starts again", error)
        self.see_all(what)
        self.report.check(until(lambda: self.any("task.get_status", task) != "pending", PATIENCE, 0.1), f"{what}: its task has ended")
        ended = " ".join([self.any("task.get_status", task), *self.any("task.get_error_info", task)])
        moved = self.any("VDI.get_SR", self.vdi) == sr
        self.judge(f"{what} ({ended}; {'it has moved' if moved else 'it is where it was'})")
        again, errors = self.repeat(to, sr)
        self.report.check(again and self.any("VDI.get_SR", self.vdi) == sr, f"{what}: the same call succeeds", *errors, self.picture())
        self.judge(f"{what}, and again")

    def refusals(self):
        """The VM runs, and its disk is its host's own: what cannot be done is refused before anything is begun, and says why."""
        home = self.where()
        to, there, here = 1 - home, {"host": self.hosts[1 - home]}, {"host": self.hosts[home]}
        other, disk = self.own[to], self.vdi

        def refused(method, *params):
            try:
                self.at(2, method, *params)
                return None
            except XapiError as e:
                return [e.code, *e.params]
        ways = [(["NOT_IMPLEMENTED", "VM.migrate_send of a running VM to storage that its host does not see"], there, {disk: other}),
                (["VDI_NOT_IN_MAP", disk], there, {}),
                (["VM_REQUIRES_SR", self.vm, self.own[home]], there, {disk: self.own[home]}),
                (["VM_REQUIRES_SR", self.vm, other], here, {disk: other})]
        for error, dest, vdi_map in ways:
            for method in ("VM.assert_can_migrate", "VM.migrate_send"):
                found = refused(method, self.vm, dest, True, vdi_map, {}, {})
                self.report.check(found == error, f"{method}: {error[0]}", found, error)
        found = refused("VDI.pool_migrate", disk, other, {})
        self.report.check(found == ["VM_REQUIRES_SR", self.vm, other], "VDI.pool_migrate: nor does the disk alone go where its VM's host does not see it", found)
        found = refused("VDI.copy", disk, other, migrate.NULL, migrate.NULL)
        self.report.check(found and found[0] == "VDI_IN_USE", "VDI.copy: a disk that is written to is not copied", found)

    def xe(self, *words):
        return subprocess.run([*self.pool.net.inside(0), program("xe"), "-s", self.pool.net.address(0), "-u", "root", "-pw", PASSWORDS["root"], *words],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, env={**os.environ, "HOME": self.pool[0].dir})

    def copies(self):
        """VDI.copy and VM.copy from one host's own repository to the other's, whichever host is asked; the host that reads is killed, too."""
        source = self.own.index(self.any("VDI.get_SR", self.vdi))
        to = self.pool[1 - source]
        sr, content = self.own[to.number], self.content(self.vdi)
        for by, vdi, what in ((2, self.vdi, "disk"), (source, self.snapshot, "snapshot")):
            copy = self.at(by, "VDI.copy", vdi, sr, "OpaqueRef:NULL", "OpaqueRef:NULL")
            fine = self.any("VDI.get_SR", copy) == sr and self.content(copy) == (content if vdi == self.vdi else self.held)
            self.report.check(fine, f"a copy of the {what} in another host's own repository holds what it holds")
            self.at(by, "VDI.destroy", copy)
        vm = self.at(2, "VM.copy", self.vm, "its copy", sr)
        vdi = [self.any("VBD.get_VDI", v) for v in self.any("VM.get_VBDs", vm)][0]
        self.report.check(self.any("VDI.get_SR", vdi) == sr and self.content(vdi) == content, "so does that of the VM, with its disk")
        self.at(2, "VM.destroy", vm)
        self.at(2, "VDI.destroy", vdi)
        self.set_fault(to, "vdi_make/made kill")
        task = self.at(2, "Async.VDI.copy", self.vdi, sr, "OpaqueRef:NULL", "OpaqueRef:NULL")
        self.report.check(until(lambda: not to.running(), PATIENCE, 0.05), "the host that copies dies")
        self.set_fault(to, None)
        self.report.check(to.launch().result() is None and until(lambda: self.any("task.get_status", task) == "failure", PATIENCE, 0.1), "the call has failed")
        self.judge("a copy was lost")

    def target_lost(self):
        """The host to which a disk goes dies in the middle and is declared dead: the disk is its host's again; what there is of the copy goes when it is back."""
        source = self.own.index(self.any("VDI.get_SR", self.vdi))
        to, third = self.pool[1 - source], 2
        self.office_to(third)
        self.set_fault(to, f"{MOVE}/copied kill")
        task = self.at(third, "Async.VM.migrate_send", self.vm, {"host": self.hosts[to.number]}, True, {self.vdi: self.own[to.number]}, {}, {})
        self.report.check(until(lambda: not to.running(), PATIENCE, 0.05), "the host to which a disk goes dies", self.picture())
        self.set_fault(to, None)

        def declared():
            try:
                self.at(third, "host.declare_dead", self.hosts[to.number])
                return True
            except XapiError:
                return False
        self.report.check(until(declared, PATIENCE, 0.5), "it is declared dead", self.picture())
        self.report.check(until(lambda: self.at(third, "task.get_status", task) == "failure", PATIENCE, 0.1), "the call has failed", self.at(third, "task.get_record", task))
        free = until(lambda: not self.at(third, "VDI.get_current_operations", self.vdi), PATIENCE, 0.1)
        self.report.check(free and self.at(third, "VDI.get_SR", self.vdi) == self.own[source], "and the disk is free, where it was")
        self.at(third, "VM.start", self.vm, False, False)
        self.report.check(self.where() == source, "so that its VM can start")
        error = to.launch().result()
        self.report.check(error is None, "the dead host is back", error)
        until(lambda: not self.intents_left(), PATIENCE, 0.2)
        self.judge("the target was lost")
        self.at(source, "VM.hard_shutdown", self.vm)

    # -- all of it --

    def moves(self):
        home = self.where()
        to = self.another(home)
        sender = self.send(home, to, self.other_sr())
        self.report.check(not sender.error and self.where() == to, "a running VM and its disk go to another host and another repository", str(sender.error), self.picture())
        self.judge("moved")

    def halted(self, cases, far, all_steps):
        self.at(self.where(), "VM.hard_shutdown", self.vm)
        for step, victim in cases:
            self.killed_halted(step, victim)
        sender = self.send(1, 0, self.own[0])
        self.report.check(not sender.error, "the disk of a halted VM goes to a host's own repository, whichever host is asked", str(sender.error))
        sender = self.send(2, 1, self.own[1])
        self.report.check(not sender.error and self.any("VDI.get_SR", self.vdi) == self.own[1], "and from there to another host's", str(sender.error), self.picture())
        self.judge("in the other host's repository")
        for to in (0, 1):
            done = self.xe("vm-migrate", f"uuid={self.uuid}", f"host={self.any('host.get_uuid', self.hosts[to])}",
                           f"vdi:{self.disk}={self.any('SR.get_uuid', self.own[to])}", f"remote-master={self.pool.net.address(1)}",
                           "remote-username=root", f"remote-password={PASSWORDS['root']}")
            self.report.check(done.returncode == 0 and self.any("VDI.get_SR", self.vdi) == self.own[to], f"xe vm-migrate brings it to host {to}'s", done.stdout, done.stderr)
        for step, victim in far:
            self.killed_halted(step, victim, far=True)
        self.copies()
        if all_steps:
            self.target_lost()
        self.start()
        self.refusals()
        home = self.own.index(self.any("VDI.get_SR", self.vdi))
        self.report.check(self.where() == home, "then it starts on the host that has its disk")
        self.judge("started again")

    def run(self, all_steps, rng):
        self.moves()
        steps = [(i, s) for i in (MOVE, SEND, RECEIVE) for s in (*intents()[i], COMMIT, COMMITTED)]
        cases = [(i, s, v) for (i, s), v in itertools.product(steps, (SOURCE, TARGET, COORDINATOR, SERVER)) if can_serve(i, s) or v != SERVER]
        for intent, step, victim in cases if all_steps else rng.sample(cases, SOME):
            self.killed(intent, step, victim)
        cases = list(itertools.product((*intents()[MOVE], COMMIT, COMMITTED), (SOURCE, COORDINATOR)))
        self.halted(cases if all_steps else rng.sample(cases, 1), FAR if all_steps else rng.sample(FAR, 1), all_steps)
        self.guest.end()
        for watch in (self.watch, self.servers):
            watch.stop.set()
            watch.join(PATIENCE)
        self.report.check_none(self.watch.faults, f"in {self.watch.looks} looks at all hosts it never ran, or had its disk, in two places")
        self.report.check_none(self.servers.faults, f"nor was that served by two in {self.servers.looks} looks", 3)


def can_serve(intent, step):
    """Where the disk has a server at all: not when the one host has closed it, and the other has not opened it yet."""
    return (intent, step) not in ((SEND, "closed"), (SEND, COMMIT), (SEND, COMMITTED))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", action="store_true", help="kill each of them at every step")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", help="INTENT/STEP/VICTIM, as in the tests' names, or far: what is between two hosts' own repositories")
    args, report, begin = parser.parse_args(), Report(), time.monotonic()
    report.note(f"seed {args.seed}")
    with tempfile.TemporaryDirectory(prefix="xp-disks-") as directory, Pool(3, args=["--enable-faults", "--datapath", "socket", "--tls-port", "443"]) as pool:
        pool.form()
        test = Test(pool, report, directory)
        if args.only == "far":
            test.halted([], FAR if args.steps else [], args.steps)
        elif args.only:
            test.killed(*args.only.split("/"))
        else:
            test.run(args.steps, random.Random(args.seed))
    report.note(f"{time.monotonic() - begin:.0f} s")
    sys.exit(report.done())


if __name__ == "__main__":
    main()
