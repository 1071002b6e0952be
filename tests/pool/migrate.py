#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""migrate.py [--steps] [--seed S] -- a VM moves between the hosts of a pool, and whatever happens meanwhile, it runs in one place.

Three members, a directory that all see as shared storage, a VM with a disk on it whose guest writes to its memory.  It moves live and not
live, packed, is cancelled; the way is cut, hosts are killed.  All the time a thread looks at all simulators: never do two run the VM's
domain, never have two its disk open.  The daemon of either side is killed in SOME steps, which the seed chooses (--steps: in all), and with --steps hosts are lost with
their domains.
"""

import argparse
import os
import random
import re
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from daemon import Lost, XapiError, end_simulator, until  # noqa: E402
from intents import COMMIT, COMMITTED, intents  # noqa: E402
from members import Pool, Session  # noqa: E402
from report import Report  # noqa: E402

MIB = 1 << 20
NULL = "OpaqueRef:NULL"
PATIENCE = 90
PAGES = 400  # of the guest's memory in the simulator
SLOW = 200   # pages a second where something is to happen on the way
SOME = 5


class Watch(threading.Thread):
    """Looks at the VM's domain on all hosts, over and over."""

    def __init__(self, pool, uuid):
        super().__init__(daemon=True, name="watch")
        self.pool, self.uuid, self.faults, self.looks, self.stop = pool, uuid, [], 0, threading.Event()

    def look(self, member):
        """(whether it runs there, whether it has disks there)"""
        d = member.domains().get(self.uuid)
        return (d["state"] == "running", bool(d["disks"])) if d else (False, False)

    def run(self):
        while not self.stop.is_set():
            # One that is seen in one place, then in another, and then in the first again, is in both.
            try:
                first = [self.look(m) for m in self.pool]
                again = [self.look(m) for m in self.pool]
            except OSError:
                continue
            self.looks += 1
            for k, what in enumerate(("runs", "has disks")):
                both = [i for i in range(len(first)) if first[i][k] and again[i][k]]
                if len(both) > 1:
                    self.faults.append(f"it {what} on {both}")


class Test:
    def __init__(self, pool, report, directory):
        self.pool, self.report, self.directory = pool, report, directory
        self.session = Session(pool, PATIENCE)
        self.session.login(0)
        self.hosts = [self.host_of(i) for i in range(len(pool))]
        self.vm = self.make_vm()
        self.uuid = self.any("VM.get_uuid", self.vm)
        self.watch = Watch(pool, self.uuid)
        self.watch.start()

    # -- asking --

    def host_of(self, i):
        session = Session(self.pool, PATIENCE)
        session.login(i)
        host = session.call(i, "session.get_this_host", session.ref)
        session.close()
        return host

    def any(self, method, *params):
        """On whichever member answers; a new session where that is lost."""
        for _ in range(4 * len(self.pool)):
            for m in self.pool.running():
                try:
                    if not self.session.ref:
                        self.session.login(m.number)
                    return self.session.call(m.number, method, *params)
                except Lost:
                    pass
                except XapiError as e:
                    if e.code not in ("SESSION_INVALID", "INTERNAL_ERROR"):
                        raise
                    self.session.ref = None
            time.sleep(0.5)
        raise RuntimeError(f"nobody answers {method}")

    def at(self, i, method, *params):
        return self.session.call(i, method, *params)

    def make_vm(self):
        sr = self.at(0, "SR.create", self.hosts[0], {"location": self.directory}, "0", "common", "", "file", "user", True, {})
        for pbd in self.at(0, "SR.get_PBDs", sr):
            i = self.hosts.index(self.at(0, "PBD.get_host", pbd))
            self.at(i, "PBD.plug", pbd)
        template = self.at(0, "VM.get_by_name_label", "Other install media")[0]
        vm = self.at(0, "VM.clone", template, "mover")
        self.at(0, "VM.provision", vm)
        vdi = self.at(0, "VDI.create", {"name_label": "its disk", "name_description": "", "SR": sr, "virtual_size": str(8 * MIB), "type": "user",
                                        "sharable": False, "read_only": False, "other_config": {}, "sm_config": {}, "xenstore_data": {}, "tags": []})
        self.at(0, "VBD.create", {"VM": vm, "VDI": vdi, "userdevice": "0", "bootable": True, "mode": "RW", "type": "Disk", "empty": False,
                                  "unpluggable": True, "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}})
        network = self.at(0, "network.get_by_name_label", "Pool-wide network associated with eth0")[0]
        self.vifs = [self.at(0, "VIF.create", {"device": n, "network": network, "VM": vm, "MAC": "", "MTU": 1500, "other_config": {},
                                               "qos_algorithm_type": "", "qos_algorithm_params": {}}) for n in "01"]
        self.at(0, "VM.start_on", vm, self.hosts[0], False, False)
        until(lambda: "pool_migrate" in self.at(0, "VM.get_allowed_operations", vm), PATIENCE, 0.1)
        return vm

    # -- where it is --

    def where(self):
        return self.hosts.index(self.any("VM.get_resident_on", self.vm))

    def memory(self, i, **how):
        """Its digest, as text."""
        return re.search(r"data[=: \"]+([0-9a-f]{16})", self.pool[i].sim(guest_memory=self.uuid, **how)).group(1)

    def settled(self):
        """The member where it runs, once nothing is under way; None."""
        if self.any("VM.get_current_operations", self.vm):
            return None
        home = self.where() if self.any("VM.get_power_state", self.vm) == "Running" else None
        for m in self.pool:
            d = m.domains().get(self.uuid)
            if (d is not None) != (m.number == home) or (d and (d["state"] != "running" or not d["disks"])):
                return None
        return home

    def see_all(self, what):
        """From here on this session reads nothing older: a member may be behind in what others have begun, but never behind a write of its own session."""
        self.any("VM.set_name_description", self.vm, what)

    def wait_settled(self, what):
        self.see_all(what)
        home = until(lambda: self.settled() is not None, PATIENCE, 0.1) and self.settled()
        self.report.check(home is not None, f"{what}: it runs in one place, with its disk, and nothing is left elsewhere", self.picture())
        return home

    def picture(self):
        record = self.any("VM.get_record", self.vm)
        lines = [f"{record['power_state']} on {record['resident_on']} {record['current_operations']}"]
        for m in self.pool:
            lines.append(f"-- {m.number} {self.hosts[m.number]} {m.domains().get(self.uuid, {}).get('state')}\n{m.log_tail(8)}")
        return "\n".join(lines)

    # -- moving --

    def move(self, to, options=None, home=None, wait=True):
        """Starts it on the member where it runs.  A thread; its 'error' is what came of it."""
        home = self.where() if home is None else home

        class Mover(threading.Thread):
            error, done = None, False

            def run(mover):  # noqa: N805
                session = Session(self.pool, PATIENCE)
                try:
                    session.login(home)
                    session.call(home, "VM.pool_migrate", self.vm, self.hosts[to], options or {"live": "true"})
                    mover.done = True
                except (Lost, XapiError) as e:
                    mover.error = e
                session.close()

        mover = Mover(daemon=True)
        mover.start()
        if wait:
            mover.join(PATIENCE)
        return mover

    def on_its_way(self, to):
        """True once the other host has the half-built domain."""
        return until(lambda: self.uuid in self.pool[to].domains(), PATIENCE, 0.02)

    def slow(self, rate):
        for m in self.pool:
            m.sim(migrate_rate=rate)

    def another(self, home):
        return (home + 1) % len(self.pool)

    # -- the tests --

    def there_and_back(self):
        report = self.report
        self.memory(0, pages=PAGES)
        self.memory(0, page=7, data="what the guest knows", rate=2000)
        domid = self.any("VM.get_domid", self.vm)
        self.at(0, "VIF.unplug_force", self.vifs[1])
        mover = self.move(1)
        report.check(mover.done, "a running VM moves to another host", str(mover.error), self.picture())
        report.check(self.wait_settled("moved") == 1, "and runs there")
        report.check([n["device"] for n in self.pool[1].domains()[self.uuid]["nics"]] == [0] and not self.any("VIF.get_currently_attached", self.vifs[1]),
                     "an interface that was unplugged stays so", self.pool[1].domains()[self.uuid])
        self.at(2, "VIF.set_locking_mode", self.vifs[0], "locked")
        report.check(self.at(2, "VIF.get_locking_mode", self.vifs[0]) == "locked", "what may pass the other is said to any host")
        record = self.any("VM.get_record", self.vm)
        report.check(record["scheduled_to_be_resident_on"] == NULL and all(
            self.any("VBD.get_currently_attached", v) for v in record["VBDs"]) and record["guest_metrics"] != NULL, "its record says so", record)
        report.check(int(record["domid"]) == self.pool[1].domains()[self.uuid]["domid"], f"with the number of its new domain (it was {domid})")
        address = self.any("host.get_address", self.hosts[1])
        report.check(record["consoles"] and all(address in self.any("console.get_location", c) for c in record["consoles"]),
                     "its consoles are the new host's")
        report.check("pool_migrate" in record["allowed_operations"], "and it can be moved again")
        self.memory(1, rate=0)
        before = self.memory(1)
        for options in ({"live": "false"}, {"live": "true", "compress": "true"}):
            home = self.where()
            mover = self.move(self.another(home), options)
            report.check(mover.done, f"it moves with {options}", str(mover.error))
            home = self.wait_settled(str(options))
            report.check(home is not None and self.memory(home) == before, "its memory is what it was")
        home = self.where()
        mover = self.move(home)
        report.check(mover.done and self.wait_settled("within the host") == home, "to its own host it moves too", str(mover.error))

    def refusals(self):
        home = self.where()
        to = self.another(home)
        pbd = next(p for p in self.any("host.get_PBDs", self.hosts[to])
                   if self.any("SR.get_name_label", self.any("PBD.get_SR", p)) == "common")
        self.at(to, "PBD.unplug", pbd)
        mover = self.move(to)
        self.report.check(getattr(mover.error, "code", None) == "VM_REQUIRES_SR", "a host that does not see the disk is refused", str(mover.error))
        self.at(to, "PBD.plug", pbd)
        self.at(to, "host.disable", self.hosts[to])
        mover = self.move(to)
        self.report.check(getattr(mover.error, "code", None) == "HOST_DISABLED", "so is one that is disabled", str(mover.error))
        self.at(to, "host.enable", self.hosts[to])
        self.wait_settled("refused")

    def cancelled(self):
        home = self.where()
        to = self.another(home)
        self.memory(home, pages=PAGES)
        before = self.memory(home, page=3, data="before")
        self.slow(SLOW)
        task = self.at(home, "Async.VM.pool_migrate", self.vm, self.hosts[to], {"live": "true"})
        self.on_its_way(to)
        moved = until(lambda: 0 < self.at(home, "task.get_progress", task) < 1, PATIENCE, 0.1)
        self.report.check(moved, "its task tells how far a move is")
        self.at(home, "task.cancel", task)
        self.report.check(until(lambda: self.at(home, "task.get_status", task) == "cancelled", PATIENCE, 0.1), "a move can be cancelled",
                          self.at(home, "task.get_record", task))
        self.report.check(self.wait_settled("cancelled") == home and self.memory(home) == before, "then it stays as it was")

    def cut(self):
        home = self.where()
        to = self.another(home)
        self.slow(SLOW)
        mover = self.move(to, home=home, wait=False)
        self.on_its_way(to)
        self.pool.net.drop("way", [(home, to), (to, home)])
        mover.join(PATIENCE)
        self.pool.net.heal("way")
        self.report.check(mover.error is not None, "a move whose way is cut fails", str(mover.error))
        self.report.check(self.wait_settled("cut") == home, "and it goes on where it was")

    def overruled(self):
        home = self.where()
        to = self.another(home)
        mover = self.move(to, home=home, wait=False)
        self.on_its_way(to)
        self.at(home, "VM.hard_shutdown", self.vm)
        mover.join(PATIENCE)
        self.report.check(mover.error is not None, "a hard shutdown ends a move", str(mover.error))
        gone = until(lambda: not any(self.uuid in m.domains() for m in self.pool), PATIENCE, 0.1)
        self.report.check(gone and self.any("VM.get_power_state", self.vm) == "Halted", "and the VM", self.picture())
        self.slow(0)
        self.at(home, "VM.start_on", self.vm, self.hosts[home], False, False)
        self.wait_settled("started again")

    def resumed_too_late(self):
        """It is switched off by way of one host when another one is about to record that it runs there: too late to be overruled."""
        home = self.where()
        to = self.another(home)
        self.at(home, "VM.suspend", self.vm)
        faults = os.path.join(self.pool[to].state, "faults")
        with open(faults, "w") as f:
            f.write("vm_resume/commit wait\n")
        resume = self.at(to, "Async.VM.resume_on", self.vm, self.hosts[to], False, False)
        until(lambda: self.pool[to].domains().get(self.uuid, {}).get("state") == "running", PATIENCE, 0.02)
        off = self.at(home, "Async.VM.hard_shutdown", self.vm)
        until(lambda: "hard_shutdown" in self.at(to, "VM.get_current_operations", self.vm).values(), PATIENCE, 0.02)
        os.unlink(faults)
        until(lambda: all(self.at(home, "task.get_status", t) != "pending" for t in (resume, off)), PATIENCE, 0.1)
        self.report.check(self.at(home, "task.get_status", off) == "success", "a hard shutdown ends a VM that is just resumed on another host",
                          self.at(home, "task.get_record", off))
        gone = until(lambda: not any(self.uuid in m.domains() for m in self.pool), 10, 0.1)
        self.report.check(gone and self.any("VM.get_power_state", self.vm) == "Halted", "there too: nothing of it is left anywhere", self.picture())
        self.at(home, "VM.start_on", self.vm, self.hosts[home], False, False)
        self.wait_settled("started again")

    def half_of_it(self):
        """It is switched off while it moves, of which the other host, cut off from its own, hears a little later: until then it has a half of it, which
        must not be taken for the VM.  HA would start again what somebody has switched off."""
        home = self.where()
        to = self.another(home)
        self.pool.transfer(self.pool[self.another(to)])
        self.at(home, "VM.set_ha_restart_priority", self.vm, "restart")
        self.at(home, "VM.hard_reboot", self.vm)
        self.slow(SLOW)
        mover = self.move(to, home=home, wait=False)
        self.on_its_way(to)
        self.pool.net.drop("way", [(home, to), (to, home)])
        self.at(home, "VM.hard_shutdown", self.vm)
        mover.join(PATIENCE)
        until(lambda: not any(self.uuid in m.domains() for m in self.pool), PATIENCE, 0.1)
        self.pool.net.heal("way")
        self.slow(0)
        self.see_all("switched off")
        adopted = [line for line in self.pool[to].log_text().splitlines() if "it is recorded as it runs" in line]
        self.report.check(not adopted and not self.any("VM.get_ha_always_run", self.vm), "half of a VM that was switched off on its way is not taken for it",
                          *adopted, self.picture())
        self.at(home, "VM.start_on", self.vm, self.hosts[home], False, False)
        self.wait_settled("started again")

    def killed(self, intent, step, host_too=False):
        """The daemon that carries out the intent is killed in the step, with its host's domains or without, and started again."""
        home = self.where()
        to = self.another(home)
        victim = self.pool[home if intent == "vm_migrate" else to]
        before = self.memory(home, page=5, data=step)
        faults = os.path.join(victim.state, "faults")
        with open(faults, "w") as f:
            f.write(f"{intent}/{step} kill\n")
        mover = self.move(to, home=home, wait=False)
        died = until(lambda: not victim.running(), PATIENCE, 0.05)
        os.unlink(faults)
        self.report.check(died, f"the daemon dies in {intent}/{step}", self.picture())
        if died and host_too:
            end_simulator(victim.state)
        if died:
            error = victim.launch().result()
            self.report.check(error is None, "and starts again", error)
        mover.join(PATIENCE)
        if host_too:
            return home
        now = self.wait_settled(f"{intent}/{step}")
        self.report.check(now is not None and self.memory(now) == before, f"{intent}/{step}: its memory is what it was (it {'stayed' if now == home else 'moved'})")

    def host_lost(self, intent, step, lost):
        """The host is gone at that step, domains and all."""
        home = self.killed(intent, step, host_too=True)
        if not lost:
            self.report.check(self.wait_settled(f"{intent}/{step}, host lost") == home, "it stays where it was")
            return
        self.see_all("lost")
        gone = until(lambda: self.any("VM.get_power_state", self.vm) == "Halted" and not self.any("VM.get_current_operations", self.vm)
                     and not any(self.uuid in m.domains() for m in self.pool), PATIENCE, 0.1)
        self.report.check(gone, f"{intent}/{step}, host lost with the guest: the VM is halted, nothing is left", self.picture())
        self.at(home, "VM.start_on", self.vm, self.hosts[home], False, False)
        until(lambda: "pool_migrate" in self.any("VM.get_allowed_operations", self.vm), PATIENCE, 0.1)
        self.wait_settled("started again")

    def run(self, all_steps, rng):
        self.there_and_back()
        self.refusals()
        self.cancelled()
        self.cut()
        self.overruled()
        self.resumed_too_late()
        self.half_of_it()
        steps = [(intent, step) for intent in ("vm_migrate", "vm_receive") for step in (*intents()[intent], COMMIT, COMMITTED)]
        for intent, step in steps if all_steps else rng.sample(steps, SOME):
            self.killed(intent, step)
        if all_steps:
            self.host_lost("vm_receive", "begun", lost=False)
            self.host_lost("vm_migrate", "connected", lost=True)
            self.host_lost("vm_receive", "opened", lost=True)
        to = self.another(self.where())
        mover = self.move(to, home=to)
        self.report.check(mover.done, "after all of that it moves as before, also where another host is asked", str(mover.error))
        self.wait_settled("at the end")
        self.watch.stop.set()
        self.watch.join(PATIENCE)
        self.report.check_none(self.watch.faults, f"in {self.watch.looks} looks at all hosts it never ran, or had its disk, in two places")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", action="store_true", help="kill at every step")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    args, report, begin = parser.parse_args(), Report(), time.monotonic()
    report.note(f"seed {args.seed}")
    with tempfile.TemporaryDirectory(prefix="xp-common-") as directory, Pool(3, args=["--enable-faults"]) as pool:
        pool.form()
        Test(pool, report, directory).run(args.steps, random.Random(args.seed))
    report.note(f"{time.monotonic() - begin:.0f} s")
    sys.exit(report.done())


if __name__ == "__main__":
    main()
