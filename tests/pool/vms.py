#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""vms.py [--hosts N] [--minutes N] [--seed S] [--datapath fuse|none] [--unfenced | --midway] -- VMs of a pool under random faults.

VMs with a disk each on storage that all hosts see; HA protects some, tries some.  Clients on all members start, stop, reboot, suspend,
resume, move, snapshot and checkpoint them; their guests write numbers to their disks; faults from the seed, whole hosts among them (hosts.py).  Then, by the
account of the simulators and disk servers (account.py), and by the records:

no VM ever ran on two hosts, no disk had two writers or was wanted by one more; no write that a guest was told is durable, and no power state that a client was
told, is lost; every task ends; every VM that should run runs, where its record says; nothing is locked, attached, promised or left over, on the storage either.

--unfenced: watchdogs do not bite; passes where that is found out.  --midway: no random faults; a host dies in the middle of an operation.
"""

import argparse
import os
import random
import re
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import history  # noqa: E402
from daemon import NULL, Lost, XapiError, until  # noqa: E402
from faults import Fault, schedule  # noqa: E402
from hosts import HOST_DOWN, HOST_KINDS, Host, HostFaults, account_of  # noqa: E402
from members import NotSent, Pool, Session, stacks  # noqa: E402
from report import Findings, Report  # noqa: E402

MIB = 1 << 20
LEASE = 10      # seconds, the shortest there is
ANSWER = 200    # seconds of a machine that goes on in which every operation is answered and every task ends, whatever happens
SHOWS = 20      # seconds until another member shows what was acknowledged
HAUNTED = 100   # seconds in which something whose outcome is unknown may still happen
SETTLE = 240    # HA tries again after two minutes
LONG = 30       # a wait that is worth looking at
DISKLESS = 5     # every fifth VM has no disk, so that no lock of a disk keeps it from running twice
ENOUGH = 10     # operations a minute that succeed, for the test to mean something
PAGES, RATE = 60, 60  # of a guest's memory, sent in a second
PRIORITIES = ("restart", "restart", "best-effort", "")
# Refusals after which everything is as it was; after every other error nobody knows.
REFUSED = ("VM_BAD_POWER_STATE", "OTHER_OPERATION_IN_PROGRESS", "OPERATION_NOT_ALLOWED", "HOST_NOT_LIVE", "HOST_DISABLED", "NO_HOSTS_AVAILABLE",
           "VM_REQUIRES_SR", "HA_OPERATION_WOULD_BREAK_FAILOVER_PLAN", "HOST_NOT_ENOUGH_FREE_MEMORY", "VM_LACKS_FEATURE",
           "VM_MISSING_PV_DRIVERS", "VM_OLD_PV_DRIVERS", "SESSION_INVALID", "VM_NO_SUSPEND_SR", "SR_BACKEND_FAILURE_109")
# By the state a VM is in: (weight, message, whether it names a host, the state it leads to).
OPERATIONS = {
    "Running": ((3, "clean_shutdown", False, "Halted"), (2, "hard_shutdown", False, "Halted"), (2, "clean_reboot", False, "Running"),
                (2, "hard_reboot", False, "Running"), (2, "suspend", False, "Suspended"), (7, "pool_migrate", True, "Running"),
                (2, "snapshot", False, "Running"), (1, "checkpoint", False, "Running")),
    "Halted": ((4, "start", False, "Running"), (3, "start_on", True, "Running"), (1, "snapshot", False, "Halted")),
    "Suspended": ((3, "resume", False, "Running"), (3, "resume_on", True, "Running"), (1, "hard_shutdown", False, "Halted")),
}
ARGUMENTS = {"start": (False, False), "start_on": (False, False), "resume": (False, False), "resume_on": (False, False), "pool_migrate": ({"live": "true"},),
             "snapshot": ("snapshot", []), "checkpoint": ("checkpoint",)}
SNAPSHOTS = 2   # of a VM that are kept
ENDING = ("clean_shutdown", "hard_shutdown", "suspend")


def make_disk(call, sr, vm, device):
    """(VDI, VBD)"""
    disk = call("VDI.create", {"name_label": "disk", "name_description": "", "SR": sr, "virtual_size": str(MIB), "type": "user", "sharable": False,
                               "read_only": False, "other_config": {}, "sm_config": {}, "xenstore_data": {}, "tags": []})
    vbd = call("VBD.create", {"VM": vm, "VDI": disk, "userdevice": device, "bootable": device == "0", "mode": "RW", "type": "Disk", "empty": False,
                              "unpluggable": True, "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}})
    return disk, vbd


class Vm:
    """One VM, and what is known of it."""

    def __init__(self, number, ref, uuid, disk, priority):
        self.number, self.ref, self.uuid, self.disk, self.priority = number, ref, uuid, disk, priority
        self.lock = threading.Lock()
        self.busy, self.contested = 0, False
        self.expect = None                   # the state that was acknowledged last; None: nobody knows
        self.since = 0.0                     # when that was asked for: what was lost with its host after that is no fault
        self.haunted = 0.0                   # until when something unknown may happen to it
        self.rewound = False                 # its disk may have gone back
        self.written = self.tried = 0        # of its guest's numbers

    def take(self, rival):
        """False where somebody is at it; a rival does not mind."""
        with self.lock:
            if self.busy and not rival:
                return False
            self.busy += 1
            self.contested |= self.busy > 1
            return True

    def leave(self, state, unknown=False, asked=0.0):
        """state: what it came to; None: as before.  The answer may have come long after it was so."""
        with self.lock:
            self.busy -= 1
            if unknown:
                self.haunted = time.monotonic() + HAUNTED
            if unknown or self.contested or time.monotonic() < self.haunted:
                self.expect = None
            elif state:
                self.expect, self.since = state, asked
            self.contested &= self.busy > 0

    def __str__(self):
        return f"VM {self.number} ({self.priority or 'unprotected'}) {self.uuid}"


class Pulse(threading.Thread):
    """How long the machine itself stands: a thread that sleeps and makes a byte durable, which should take a moment."""

    def __init__(self, folder):
        super().__init__(daemon=True, name="pulse")
        self.path, self.stop = os.path.join(folder, "pulse"), threading.Event()
        self.late = []  # seconds, where it was more than one
        self.beat = time.monotonic()

    def run(self):
        with open(self.path, "wb", buffering=0) as f:
            while not self.stop.is_set():
                begin = self.beat = time.monotonic()
                time.sleep(0.1)
                f.write(b".")
                os.fsync(f.fileno())
                took = time.monotonic() - begin - 0.1
                if took > 1:
                    self.late.append(took)

    def clock(self):
        """Seconds, without those in which the machine stood still: then nobody can answer."""
        now = time.monotonic()
        standing = now - self.beat - 0.1
        return now - sum(self.late) - (standing if standing > 1 else 0)

    def __str__(self):
        return (f"the machine itself stood still {len(self.late)} times for more than a second, {sum(self.late):.0f} s together, "
                f"at most {max(self.late, default=0):.1f} s; load now {os.getloadavg()[0]:.0f}")


class World:
    """What all clients share; what history.Client wants of it."""

    def __init__(self, pool, seed, report, pulse):
        self.pool, self.seed, self.report, self.pulse = pool, seed, report, pulse
        self.stop = threading.Event()
        self.begin = time.monotonic()
        self.histories, self.lost_sessions = {}, 0
        self.vms, self.hosts, self.sr = [], [], None
        self.discarded = set()  # disks of snapshots that are being pruned, and may remain
        self.lost_states = []  # (VM, state, since, what is shown, when)

    def prepare(self, directory, n):
        """The repository and the VMs, made on the member that leads."""
        at = self.pool.wait_leader().number
        session = Session(self.pool, 60)
        session.login(at)

        def call(method, *params):
            return session.call(at, method, *params)

        self.hosts = [call("host.get_by_uuid", open(os.path.join(m.state, "host-uuid")).read().strip()) for m in self.pool]
        self.sr = call("SR.create", self.hosts[at], {"location": directory}, "0", "common", "", "file", "user", True, {})
        for pbd in call("SR.get_PBDs", self.sr):
            if not call("PBD.get_currently_attached", pbd):
                call("PBD.plug", pbd)
        call("pool.set_suspend_image_SR", call("pool.get_all")[0], self.sr)
        template = call("VM.get_by_name_label", "Other install media")[0]
        for i in range(n):
            vm = call("VM.clone", template, f"vm-{i}")
            call("VM.provision", vm)
            call("VM.set_memory_limits", vm, 32 * MIB, 64 * MIB, 64 * MIB, 64 * MIB)
            call("VM.set_suspend_SR", vm, self.sr)
            priority = PRIORITIES[i % len(PRIORITIES)]
            call("VM.set_ha_restart_priority", vm, priority)
            self.vms.append(Vm(i, vm, call("VM.get_uuid", vm), call("VDI.get_uuid", make_disk(call, self.sr, vm, "0")[0]) if i % DISKLESS else None, priority))
        self.free = self.free_memory(call)
        for i, vm in enumerate(self.vms):
            call("VM.start_on", vm.ref, self.hosts[i % len(self.hosts)], False, False)
            vm.expect, vm.since = "Running", time.monotonic()
        call("pool.enable_ha", [], {"timeout": str(LEASE)})
        session.close()

    def free_memory(self, call):
        return [call("host.compute_free_memory", h) for h in self.hosts]


class Operator(history.Client):
    """Does one operation after the other, on whichever member."""

    def __init__(self, world, number):
        super().__init__(world, f"o{number}", number % len(world.pool), True)
        self.session = Session(world.pool, ANSWER)
        self.done = Counter()  # (message, outcome): how often
        self.slowest = (0.0, "")

    def pause(self):
        self.stop.wait(self.chance.random() * 0.2)

    def call(self, method, *params, within=ANSWER):
        """On any member that answers: for reads."""
        end = self.world.pulse.clock() + within
        while True:
            try:
                if not self.logged_in and not self._login():
                    raise Lost("no login")
                return self.session.call(self.member, method, *params, timeout=20)
            except (Lost, XapiError) as e:
                if isinstance(e, XapiError) and e.code in history.GONE_SESSION:
                    self._session_is_gone()
                elif isinstance(e, XapiError) and e.code == "HANDLE_INVALID" or self.world.pulse.clock() > end:
                    raise
                self._elsewhere()
                time.sleep(0.2)

    def work(self):
        vm = self.chance.choice(self.world.vms)
        if not vm.take(self.chance.random() < 0.05):
            return
        asked = time.monotonic()
        try:
            state, unknown = self._one(vm)
        except (Lost, XapiError) as e:  # of a look, which is no operation
            self._note_error("look", e)
            state, unknown = None, False
        vm.leave(state, unknown, asked)

    def _one(self, vm):
        """What it came to: (state or None, whether that is unknown)."""
        record = self.look(vm)
        weights = OPERATIONS.get(record["power_state"])
        if not weights:
            return None, False
        choice = self.chance.choices(weights, [w[0] if vm.priority != "restart" or w[1] not in ENDING else w[0] / 4 for w in weights])[0]
        _, message, names_host, leads_to = choice
        params = [vm.ref, *([self.chance.choice(self.world.hosts)] if names_host else []), *ARGUMENTS.get(message, ())]
        begin = time.monotonic()
        outcome = self.operate(f"VM.{message}", params)
        took = time.monotonic() - begin
        self.slowest = max(self.slowest, (took, f"VM.{message} of {vm}: {outcome}"))
        self.done[(message, outcome)] += 1
        if outcome == "not sent" or outcome in REFUSED:
            return None, False
        if message in ("snapshot", "checkpoint"):
            self.prune(vm)
        return (leads_to, False) if outcome == "done" else (None, True)

    def prune(self, vm):
        """Only a few snapshots are kept; what fails is pruned another time."""
        for snapshot in self.call("VM.get_snapshots", vm.ref)[SNAPSHOTS:]:
            try:
                self.discard(snapshot)
            except (Lost, XapiError) as e:
                self._note_error("pruning", e)

    def discard(self, snapshot):
        disks = [self.call("VBD.get_VDI", vbd) for vbd in self.call("VM.get_VBDs", snapshot)]
        self.world.discarded.update(disks)
        for method, ref in (("VM.destroy", snapshot), *(("VDI.destroy", disk) for disk in disks)):
            self.done[(method, self.operate(method, [ref]))] += 1

    def look(self, vm):
        """Its record; what was acknowledged must show, unless nobody knows what that is."""
        begin = time.monotonic()
        while True:
            record = self.call("VM.get_record", vm.ref)
            state, now = record["power_state"], time.monotonic()
            with vm.lock:
                known = vm.busy == 1 and not vm.contested and vm.expect
            if not known or state == vm.expect or self.stop.is_set():
                return record
            if now - begin > SHOWS:
                break
            time.sleep(0.3)
        self.world.lost_states.append((vm, vm.expect, vm.since, state, now))
        if vm.priority != "restart":
            with vm.lock:
                vm.expect = None
        return record

    def operate(self, method, params):
        """'done', 'not sent', the code of an error, or 'lost'."""
        try:
            if self.chance.random() < 0.3:
                self.session.call(self.member, method, *params)
                return "done"
            task = self.session.call(self.member, "Async." + method, *params, timeout=60)
        except NotSent:
            self._elsewhere()
            return "not sent"
        except Lost as e:
            self._elsewhere()
            if "timed out" in str(e):
                self.wrong.append(f"{method} on member {self.member} was not answered in {ANSWER} s")
            return "lost"
        except XapiError as e:
            return self._error(method, e)
        return self.wait(method, task)

    def _error(self, method, e):
        if e.code in history.GONE_SESSION:
            self._session_is_gone()
        elif e.code not in REFUSED:
            self._note_error(method, e)
        return e.code

    def wait(self, method, task):
        end = self.world.pulse.clock() + ANSWER
        while self.world.pulse.clock() < end:
            try:
                record = self.call("task.get_record", task)
            except (Lost, XapiError) as e:
                self.wrong.append(f"the task of {method} cannot be seen: {e}")
                return "lost"
            if record["status"] not in ("pending", "cancelling"):
                return "done" if record["status"] == "success" else self._error(method, XapiError(record["error_info"] or [record["status"]]))
            time.sleep(0.2)
        self.wrong.append(f"the task of {method} does not end: {record}")
        return "lost"


class Guests(threading.Thread):
    """Each guest counts, on its disk: a number is written when the one before is durable.  After every start the last must be there."""

    def __init__(self, world):
        super().__init__(daemon=True, name="guests")
        self.world, self.faults, self.known, self.writes = world, [], {}, 0
        self.stop = threading.Event()

    def run(self):
        while not self.stop.is_set():
            for m in self.world.pool:
                try:
                    domains = m.domains()
                except (OSError, Lost, XapiError, ValueError):
                    continue
                for vm in self.world.vms:
                    d = domains.get(vm.uuid)
                    if d and d["state"] == "running" and d["disks"]:
                        self.one(m, vm, d)
            self.stop.wait(0.1)

    def one(self, m, vm, d):
        def control(**command):
            return m.sim_call("control", command={k.replace("_", "-"): str(v) for k, v in command.items()})["answer"]

        try:
            if self.known.get((m.number, vm.uuid)) != d["start_time"]:
                control(guest_memory=vm.uuid, pages=PAGES)
                control(migrate_rate=RATE)
                self.known[(m.number, vm.uuid)] = d["start_time"]
            if d["disks"][0]["format"] != "raw":
                return
            text = control(guest_read=vm.uuid, device="xvda", offset=0, length=16)["data"]
            found = int(text or 0)
            if vm.rewound and found < vm.written:
                vm.tried, vm.rewound = found, False
            elif found not in (vm.written, vm.tried):
                self.faults.append(f"{vm} on {m.number}: its disk says {found}, but {vm.written} was durable, {vm.tried} tried last")
            vm.tried = max(vm.tried, found) + 1
            control(guest_write=vm.uuid, device="xvda", offset=0, data=f"{vm.tried:016}")
            vm.written = vm.tried
            self.writes += 1
        except (OSError, Lost, XapiError, ValueError):
            pass  # it has ended meanwhile: what was tried may be there


class Campaign:
    def __init__(self, options, report):
        self.options, self.report = options, report
        self.chance, n = random.Random(f"vms {options.seed}"), options.hosts
        order = self.chance.sample(range(n), n)
        self.relays, self.disks = ([], []) if options.unfenced else (order[:1], order[-1:])
        self.plan = schedule(options.seed, n, options.minutes * 60, self.relays, self.disks, HOST_KINDS, HOST_DOWN)
        if not any(f.kind == "host" for f in self.plan):  # it is short
            self.plan.append(Fault(2.5, "host", options.minutes * 60 - 2, [self.chance.randrange(n)], None))

    def run(self):
        o = self.options
        print(f"# seed {o.seed}, {o.hosts} hosts, {o.minutes} minutes; member with a relay {self.relays}, with a disk {self.disks}", flush=True)
        args = ["--datapath", o.datapath, *(["--enable-faults"] if o.unfenced or o.midway else [])]
        with tempfile.TemporaryDirectory(prefix="xo-") as folder, tempfile.TemporaryDirectory(prefix="xp-common-") as common, \
                Pool(o.hosts, self.relays, self.disks, o.seed, args) as pool:
            self.pool = pool
            self.pulse = Pulse(folder)
            self.pulse.start()
            self.hosts = [Host(m, folder) for m in pool]
            try:
                self.begin(common)
                self.middle()
                self.afterwards()
            finally:
                self.pulse.stop.set()
                self.pulse.join()
                print(f"# {self.pulse}", flush=True)
                self.clear()

    def begin(self, common):
        begin = time.monotonic()
        self.pool.form()
        if self.options.unfenced:
            for m in self.pool:
                with open(os.path.join(m.state, "faults"), "w") as f:
                    f.write("ha/arm fail\n")
        self.world = World(self.pool, self.options.seed, self.report, self.pulse)
        self.world.prepare(common, self.options.vms or 4 + 2 * self.options.hosts)
        print(f"# ready after {time.monotonic() - begin:.1f} s", flush=True)
        self.operators = [Operator(self.world, i) for i in range(2 * self.options.hosts)]
        self.guests = Guests(self.world)

    def middle(self):
        if self.options.unfenced:
            leader = self.pool.wait_leader()
            self.plan = [Fault(1, "cut", 40, [(leader.number + 1) % len(self.pool)], None)]
        for fault in self.plan:
            print(f"#   {fault}", flush=True)
        self.faults = HostFaults(self.pool, self.plan, self.hosts, self.chance)
        for client in [] if self.options.unfenced else [self.guests, *(o.thread for o in self.operators)]:
            client.start()
        print(f"# faults begin at {time.monotonic():.3f}", flush=True)
        self.faults.run(lambda: self.options.unfenced and self.twice())
        self.faults.heal()
        self.world.stop.set()
        print(f"# healed at {time.monotonic():.3f}", flush=True)

    def twice(self):
        """Faults: what two hosts had or wanted at once, by the simulators and by the disk servers."""
        account = account_of(self.hosts)
        return account.at_once() + account.faults + [f"member {m.number}: {line}" for m in self.pool for line in m.log_text().splitlines()
                                                     if 'Failed to get "write" lock' in line]

    # -- the end --

    def settle(self):
        """What is not yet as it should be: nothing, once all is over."""
        if not self.faults.settled():
            return ["not every daemon answers"]
        if any(o.thread.is_alive() for o in self.operators):
            return ["operations are under way"]
        try:
            return self.unsettled(Judge(self.pool, self.world).call)
        except (Lost, XapiError) as e:
            return [str(e)]

    def unsettled(self, call):
        out = []
        for ref, t in call("task.get_all_records").items():
            if t["status"] in ("pending", "cancelling"):
                out.append(f"task {ref} {t['name_label']} is {t['status']}")
        for klass in ("VM", "VDI", "VBD", "SR", "host"):
            for r in call(f"{klass}.get_all_records").values():
                if r["current_operations"]:
                    out.append(f"{klass} {r['uuid']} is held: {r['current_operations']}")
        records = {r["uuid"]: r for r in call("VM.get_all_records").values()}
        account = account_of(self.hosts)
        domains = [m.domains() for m in self.pool]
        for vm in self.world.vms:
            out += self.wrong_of(vm, records[vm.uuid], account, domains)
        metrics = call("host_metrics.get_all_records").values()
        out += [f"host_metrics {m['uuid']} is not live" for m in metrics if not m["live"]]
        return out

    def wrong_of(self, vm, record, account, domains):
        """Of one VM: records, simulators and accounts agree, and it runs if it should."""
        state, where = record["power_state"], account.where(vm.uuid)
        home = [self.world.hosts.index(record["resident_on"])] if record["resident_on"] != NULL else []
        has = [i for i, d in enumerate(domains) if vm.uuid in d]
        title, out = f"{vm}, {state} on {home}", []
        runs = state == "Running"
        if where != (home if runs else []) or has != (home if runs else []) or (runs and not home):
            out.append(f"{title}: it runs on {where}, has domains on {has}")
        if vm.expect and state != vm.expect and not self.may_be(vm, vm.expect, vm.since, state, None):
            out.append(f"{title}: {vm.expect} was acknowledged, asked for at {vm.since:.1f}")
        if record["ha_always_run"] and not runs:
            out.append(f"{title}: HA wants it to run always")
        if ("hard_shutdown" if state != "Halted" else "start") not in record["allowed_operations"]:
            out.append(f"{title}: allowed is only {record['allowed_operations']}")
        if record["scheduled_to_be_resident_on"] != NULL:
            out.append(f"{title}: it is still promised to {record['scheduled_to_be_resident_on']}")
        writers = [s.host for s in account.writers.get(vm.disk, ()) if s.end is None]
        if vm.disk and writers != (home if runs else []):
            out.append(f"{title}: its disk is open on {writers}")
        return out

    def may_be(self, vm, state, since, found, when):
        """Whether a state other than the acknowledged one is no fault: it was lost with its host, and nobody is to bring it back."""
        if state != "Running":
            return False
        when = when or time.monotonic()
        lost = account_of(self.hosts).lost_between(vm.uuid, since * 1e6, when * 1e6)
        return lost and found == "Halted"

    def afterwards(self):
        r, begin = self.report, time.monotonic()
        if self.options.unfenced:
            r.check_none(self.twice(), "never two hosts run one VM or write one disk")
            return
        waited = Counter()  # for what, in half seconds

        def is_settled():
            left = self.settle()
            waited.update(left)
            return not left

        until(is_settled, SETTLE, 0.5)
        if waited and max(waited.values()) > 2 * LONG:
            self.show()
            for text, n in waited.most_common(20):
                print(f"#   waited {n / 2:.0f} s: {text}")
        self.guests.stop.set()
        self.guests.join()
        left = self.settle()
        r.check_none(left, f"{time.monotonic() - begin:.0f} s after the last fault all VMs that should run do, as recorded, and nothing else is left")
        r.check_none(self.faults.failed, f"every daemon lives, after {sum(self.faults.done.values())} faults, {self.faults.resets} resets by a watchdog: "
                     f"{', '.join(f'{k} {v}' for k, v in sorted(self.faults.done.items()))}")
        self.judge()
        self.tear_down()

    def adopted(self):
        return [f"member {m.number}: {line}" for m in self.pool for line in m.log_text().splitlines() if "it is recorded as it runs" in line]

    def judge(self):
        r, account = self.report, account_of(self.hosts)
        runs = sum(map(len, account.runs.values()))
        r.check_none(self.twice(), f"in {runs} runs of {len(account.runs)} VMs never two hosts ran one, or had or wanted its disk for writing")
        r.check_none(self.adopted(), "and no host took a domain that it did not know, as half of a move, for a VM")
        if self.options.datapath != "none":
            r.check_none(self.guests.faults if self.guests.writes else ["there were none"], f"{self.guests.writes} writes of guests are there")
        r.check_none([w for o in self.operators for w in o.wrong], "every operation is answered and every task ends")
        lost = [f"{vm}: {state} was acknowledged, asked for at {since:.1f}, {found} is shown at {when:.1f}" for vm, state, since, found, when
                in self.world.lost_states if not self.may_be(vm, state, since, found, when)]
        r.check_none(lost, "no acknowledged power state is lost, but with its host")
        self.note_operations()

    def note_operations(self):
        total, errors = Counter(), Counter()
        for o in self.operators:
            total.update(o.done)
            for text, n in o.errors.items():
                errors[re.sub(r"OpaqueRef:[-0-9a-f]*", "REF", text)] += n
        done = sum(n for (message, outcome), n in total.items() if outcome == "done" and "destroy" not in message)
        self.report.check(done >= ENOUGH * self.options.minutes, f"{done} of {sum(total.values())} operations succeeded, enough for the test to mean something")
        for (message, outcome), n in sorted(total.items()):
            print(f"#   {message} {outcome}: {n}")
        for text, n in errors.most_common(20):
            print(f"#   {n} times {text}")
        took, what = max(o.slowest for o in self.operators)
        print(f"#   the slowest took {took:.1f} s: {what}")

    def tear_down(self):
        """Everything is switched off: then nothing is promised, open, or recorded as under way."""
        r, judge = self.report, Judge(self.pool, self.world)
        self.switch_off(judge)
        r.check_none(self.strays(judge), "the storage holds what the records say")
        free = self.world.free_memory(judge.call)
        r.check(free == self.world.free, "with all VMs off every host has the memory it had", self.world.free, free)
        left = [f"{h.member.number}: {list(h.servers())}" for h in self.hosts if h.servers()]
        left += [f"{s}" for spans in account_of(self.hosts).writers.values() for s in spans if s.end is None]
        r.check_none(left, "and no disk is open")
        differ = self.pool.wait_equal()
        r.check(not differ, "all members have the same revision and digest", *(differ or []))
        codes = [m.stop() for m in self.pool]
        r.check(not any(codes), "every daemon ends cleanly", codes)
        r.check_none([row for m in self.pool for row in rows(m)], "no intent and no restart is recorded any more")

    def switch_off(self, judge):
        for vm in self.world.vms:
            if judge.call("VM.get_power_state", vm.ref) != "Halted":
                judge.call("VM.hard_shutdown", vm.ref)
        judge.call("pool.disable_ha")
        # A host that is stopped while it coalesces, and the others with it, finishes it when they are back.
        judge.call("SR.set_other_config", self.world.sr, {"gc": "false"})
        collecting = until(lambda: not [t for t in judge.call("task.get_all_records").values()
                                        if t["name_label"] == "Garbage Collection" and t["status"] == "pending"], 120, 0.2)
        self.report.check(collecting, "the collection of garbage ends", judge.call("task.get_all_records"))

    def strays(self, judge):
        """Disks that an operation has left over: nobody's, or found by a scan only.  (The hidden image below a disk whose fork was undone has no
        row before the next scan.)"""
        call = judge.call
        call("SR.scan", self.world.sr)
        used = {vbd["VDI"] for vbd in call("VBD.get_all_records").values()} | {vm["suspend_VDI"] for vm in call("VM.get_all_records").values()}
        return [f"nobody's: {r}" for ref, r in call("VDI.get_all_records").items()
                if r["managed"] and r["SR"] == self.world.sr and ref not in used | self.world.discarded]

    def show(self):
        for m in self.pool:
            self.report.note(f"-- member {m.number} {m.status(2)}\n{m.log_tail(60)}\n{stacks(m.pid) if os.environ.get('XAPID_STACKS') else ''}")

    def clear(self):
        """No process of the hosts is left."""
        for h in self.hosts:
            h.reset()


class Midway(Campaign):
    """Hosts die while they are at work on a protected VM, and come back only when it runs again."""

    # intent, step, message, whether the host dies to which the VM moves
    DEATHS = (("vm_suspend", "made", "suspend", False), ("vm_suspend", "stored", "suspend", False), ("vbd_plug", "attached", "plug", False),
              ("vm_migrate", "connected", "pool_migrate", False), ("vm_migrate", "sent", "pool_migrate", False),
              ("vm_migrate", "decided", "pool_migrate", False), ("vm_receive", "begun", "pool_migrate", True),
              ("vm_receive", "received", "pool_migrate", True), ("vm_receive", "opened", "pool_migrate", True),
              ("vm_reboot", "ended", "clean_reboot", False), ("vm_copy", "disk", "snapshot", False), ("vm_copy", "stored", "checkpoint", False),
              ("vm_revert", "made", "revert", False))

    def middle(self):
        self.operators = []
        self.guests.start()
        self.faults = HostFaults(self.pool, [], self.hosts, self.chance)
        for death in self.DEATHS:
            if not self.die(*death):
                break
        self.world.stop.set()

    def place(self, vm):
        """The member where it runs, by its record."""
        record = self.asker.call("VM.get_record", vm.ref)
        return self.world.hosts.index(record["resident_on"]) if record["power_state"] == "Running" else None

    def die(self, intent, step, message, receiver):
        vm = next(v for v in self.world.vms if v.priority == "restart" and v.disk)
        self.asker = Judge(self.pool, self.world)
        if not until(lambda: not self.settle(), SETTLE, 0.5):
            return self.report.check(False, f"all is well before {intent}/{step}", *self.settle())
        home = self.place(vm)
        to = (home + 1) % len(self.pool)
        victim = self.hosts[to if receiver else home]
        with open(os.path.join(victim.member.state, "faults"), "w") as f:
            f.write(f"{intent}/{step} kill\n")
        call = threading.Thread(target=self.ask, args=(message, vm, home, to), daemon=True)
        call.start()
        died = until(lambda: not victim.member.running(), 60, 0.02)
        victim.reset()
        self.faults.dead.add(victim.member.number)
        begin, title = time.monotonic(), f"a host dies in {intent}/{step}"
        self.report.check(died, f"{title} (member {victim.member.number})")
        os.unlink(os.path.join(victim.member.state, "faults"))
        self.asker = Judge(self.pool, self.world)
        again = until(lambda: account_of(self.hosts).where(vm.uuid) == [self.place(vm)], LEASE + 30, 0.2)
        self.report.check(again, f"{title}: the VM runs elsewhere after {time.monotonic() - begin:.1f} s, while the host is away",
                          self.asker.call("VM.get_record", vm.ref), *[m.log_tail(15) for m in self.pool])
        self.faults.dead.discard(victim.member.number)
        self.faults.starting[victim.member.number] = victim.member.launch()
        call.join(ANSWER)
        return self.report.check(not call.is_alive(), f"{title}: whoever asked is answered")

    def ask(self, message, vm, home, to):
        """Where it is refused, as by a host that has only just come back, again."""
        end = time.monotonic() + 20
        while time.monotonic() < end:
            session = Session(self.pool, ANSWER)
            try:
                self.ask_once(session, message, vm, home, to)
                return
            except (Lost, XapiError) as e:  # the host died
                if not isinstance(e, XapiError) or e.code not in REFUSED:
                    return
            finally:
                session.close()
            time.sleep(0.5)

    def ask_once(self, session, message, vm, home, to):
        at = (home + 2) % len(self.pool)
        session.login(at)
        if message == "plug":
            session.call(at, "VBD.plug", make_disk(lambda *words: session.call(at, *words), self.world.sr, vm.ref, "autodetect")[1])
        elif message == "revert":
            snapshot = session.call(at, "VM.snapshot", vm.ref, "before", [])
            vm.rewound = True
            session.call(at, "VM.revert", snapshot)
        else:
            session.call(at, f"VM.{message}", vm.ref, *([self.world.hosts[to]] if message == "pool_migrate" else []), *ARGUMENTS.get(message, ()))

    def note_operations(self):
        pass

    def tear_down(self):
        """Without HA: a host dies while it is at work on a disk, for good; once it is destroyed nothing is held in its name."""
        judge, r = Judge(self.pool, self.world), self.report
        self.switch_off(judge)
        leader = self.pool.wait_leader()
        victim = next(h for h in self.hosts if h.member is not leader)
        disk = judge.call("VDI.get_by_uuid", next(v.disk for v in self.world.vms if v.disk))
        judge.call("pool.set_other_config", judge.call("pool.get_all")[0], {"host_offline_after": "5"})
        with open(os.path.join(victim.member.state, "faults"), "w") as f:
            f.write("vdi_resize/begun kill\n")
        session, i = Session(self.pool, 30), victim.member.number
        session.login(i)
        try:
            session.call(i, "VDI.resize", disk, str(2 * MIB))
        except (Lost, XapiError):
            pass  # it died
        victim.reset()
        held = judge.call("VDI.get_current_operations", disk)
        r.check(held, "a host dies at work on a disk, which is held then")
        r.check(until(lambda: self.is_destroyed(judge, self.world.hosts[i]), 60, 0.5), "it is declared dead and destroyed")
        free = until(lambda: not judge.call("VDI.get_current_operations", disk), 60, 0.5)
        r.check(free, "and the disk is held no longer", judge.call("VDI.get_record", disk))
        self.pool.members.remove(victim.member)
        codes = [m.stop() for m in self.pool]
        victim.member.close()
        r.check(not any(codes), "every other daemon ends cleanly", codes)
        r.check_none([row for m in self.pool for row in rows(m)], "no intent and no restart is recorded any more")

    @staticmethod
    def is_destroyed(judge, host):
        try:
            judge.session.call(judge.member, "host.declare_dead", host)
            judge.session.call(judge.member, "host.destroy", host)
            return True
        except XapiError as e:
            return e.code == "HANDLE_INVALID"
        except Lost:
            return False


class Judge(Operator):
    """Asks, after all faults."""

    def __init__(self, pool, world):
        super().__init__(world, pool.wait_leader().number)
        self.hops = False


def rows(member):
    """Intents and restarts in a member's checkpoint."""
    db = sqlite3.connect(f"file:{member.state}/db/xapid.db?mode=ro", uri=True)
    try:
        return [f"member {member.number}: {row}" for table in ("intent", "ha_restart") for row in db.execute(f"SELECT * FROM {table}")]
    finally:
        db.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--hosts", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--vms", type=int, default=0)
    parser.add_argument("--datapath", choices=("fuse", "none"), default="fuse")
    parser.add_argument("--unfenced", action="store_true")
    parser.add_argument("--midway", action="store_true")
    options = parser.parse_args()
    report = Report()
    found = Findings() if options.unfenced else report
    (Midway if options.midway else Campaign)(options, found).run()
    if options.unfenced:
        report.check(found.failed, "hosts whose watchdogs do not bite are found out")
    sys.exit(report.done())


if __name__ == "__main__":
    main()
