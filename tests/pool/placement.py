#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""placement.py -- VMs go where they should: over the hosts of a pool, away from one that is to go down, and only where their guest's processor is.

Three members and a directory that all see as shared storage.  VMs are started through one member; a host is evacuated, also while its daemon is
killed; the coordinator reboots; a host gets a lesser processor.
"""

import os
import re
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from daemon import Lost, XapiError, _UnixConnection, end_simulator, until  # noqa: E402
from members import Pool, Session  # noqa: E402
from report import Report  # noqa: E402

MIB = 1 << 20
PATIENCE = 90
NULL = "OpaqueRef:NULL"
LESS = "17cbfbff-00000003"  # features of a lesser processor


class Test:
    def __init__(self, pool, report, directory):
        self.pool, self.report = pool, report
        self.session = Session(pool, PATIENCE)
        self.session.login(0)
        self.hosts = [self.host_of(i) for i in range(len(pool))]
        self.sr = self.at(0, "SR.create", self.hosts[0], {"location": directory}, "0", "common", "", "file", "user", True, {})
        for pbd in self.at(0, "SR.get_PBDs", self.sr):
            self.at(self.hosts.index(self.at(0, "PBD.get_host", pbd)), "PBD.plug", pbd)
        self.template = self.at(0, "VM.get_by_name_label", "Other install media")[0]

    def host_of(self, i):
        session = Session(self.pool, PATIENCE)
        session.login(i)
        host = session.call(i, "session.get_this_host", session.ref)
        session.close()
        return host

    def at(self, i, method, *params):
        return self.session.call(i, method, *params)

    def code(self, i, method, *params):
        try:
            self.at(i, method, *params)
            return None
        except XapiError as e:
            return e.code

    def again(self, i):
        """A session on a member that has come back."""
        def logged_in():
            try:
                self.session.login(i)
                return True
            except (Lost, XapiError):
                return False
        until(logged_in, PATIENCE, 0.2)

    def make(self, name, disk=False):
        vm = self.at(0, "VM.clone", self.template, name)
        self.at(0, "VM.provision", vm)
        if disk:
            vdi = self.at(0, "VDI.create", {"name_label": name, "name_description": "", "SR": self.sr, "virtual_size": str(8 * MIB), "type": "user",
                                            "sharable": False, "read_only": False, "other_config": {}, "sm_config": {}, "xenstore_data": {}, "tags": []})
            self.at(0, "VBD.create", {"VM": vm, "VDI": vdi, "userdevice": "0", "bootable": True, "mode": "RW", "type": "Disk", "empty": False,
                                      "unpluggable": True, "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}})
        return vm

    def where(self, vms, member=0):
        homes = [self.at(member, "VM.get_resident_on", vm) for vm in vms]
        return [self.hosts.index(h) if h != NULL else None for h in homes]

    def movable(self, vms, member=0):
        return until(lambda: all("pool_migrate" in self.at(member, "VM.get_allowed_operations", v) for v in vms), PATIENCE, 0.1)

    # -- the tests --

    def spread(self):
        """Many starts at once through one member; no place is better because the call arrived there."""
        vms = [self.make(f"spread {i}", disk=i == 0) for i in range(6)]
        tasks = [self.at(0, "Async.VM.start", vm, False, False) for vm in vms]
        until(lambda: all(self.at(0, "task.get_status", t) != "pending" for t in tasks), PATIENCE, 0.1)
        homes = self.where(vms)
        self.report.check(sorted(homes) == [0, 0, 1, 1, 2, 2], "VMs that are started at once through one member are spread", homes)
        group = self.at(0, "VM_group.create", {"name_label": "apart", "name_description": "", "placement": "anti_affinity"})
        apart = [self.make(f"apart {i}") for i in range(3)]
        for vm in apart:
            self.at(0, "VM.set_groups", vm, [group])
        tasks = [self.at(1, "Async.VM.start", vm, False, False) for vm in apart]
        until(lambda: all(self.at(1, "task.get_status", t) != "pending" for t in tasks), PATIENCE, 0.1)
        self.report.check(sorted(self.where(apart)) == [0, 1, 2], "those of a group that want to be apart are apart", self.where(apart))
        rather = self.make("rather")
        self.at(0, "VM.set_affinity", rather, self.hosts[1])
        self.at(2, "VM.start", rather, False, False)
        self.report.check(self.where([rather]) == [1], "a VM goes where its affinity is")
        self.movable(vms + apart)
        return vms, apart

    def refused(self):
        """Each host says why."""
        vm = self.make("refused")
        self.at(0, "VM.set_memory_limits", vm, *[str(1 << 50)] * 4)
        self.at(0, "host.disable", self.hosts[1])
        try:
            self.at(0, "VM.start", vm, False, False)
            self.report.check(False, "a VM that fits nowhere is not started")
        except XapiError as e:
            uuid = self.at(0, "host.get_uuid", self.hosts[1])
            mine = [p for p in e.params if p.startswith(uuid)]
            self.report.check(e.code == "NO_HOSTS_AVAILABLE" and len(e.params) == 3 and len(mine) == 1 and "HOST_DISABLED" in mine[0],
                              "an error that no host is available has each host's reason", e)
        self.at(0, "host.enable", self.hosts[1])
        self.at(0, "VM.destroy", vm)

    def evacuation(self, vms):
        """All or nothing; then the host is empty, and its VMs have kept their history."""
        home = self.where(vms)[0]
        before = until(lambda: self.history(vms[0], home) >= 3 and self.history(vms[0], home), PATIENCE, 0.5)
        others = [i for i in range(len(self.hosts)) if i != home]
        pinned = self.make("pinned")
        self.at(0, "VM.start_on", pinned, self.hosts[home], False, False)
        self.movable([pinned])
        self.at(0, "VM.pause", pinned)
        way = self.at(0, "host.get_vms_which_prevent_evacuation", self.hosts[home])
        self.report.check(list(way) == [pinned] and way[pinned][0] == "VM_BAD_POWER_STATE", "the VM that stands in the way is named", way)
        placed = self.where(vms)
        self.report.check(self.code(others[0], "host.evacuate", self.hosts[home], NULL, "0") == "CANNOT_EVACUATE_HOST" and self.where(vms) == placed,
                          "a host whose VMs cannot all go is not evacuated at all")
        self.at(0, "VM.hard_shutdown", pinned)
        self.at(0, "host.disable", self.hosts[home])
        self.at(others[0], "host.evacuate", self.hosts[home], NULL, "2")
        left = [v for v in self.at(0, "host.get_resident_VMs", self.hosts[home]) if not self.at(0, "VM.get_is_control_domain", v)]
        self.report.check(not left and home not in self.where(vms), "an evacuated host has no VMs", left)
        now = self.where([vms[0]])[0]
        self.report.check(before and self.history(vms[0], now) >= before, "the history of a VM goes with it", (before, self.history(vms[0], now)))
        self.at(0, "host.enable", self.hosts[home])

    def history(self, vm, i):
        """Samples of the VM that this member knows."""
        connection = _UnixConnection(self.pool[i].socket, PATIENCE)
        try:
            connection.request("GET", f"/vm_rrd?session_id={self.session.ref}&uuid={self.at(0, 'VM.get_uuid', vm)}")
            reply = connection.getresponse()
            rows = re.findall(r"<row>(.*?)</row>", reply.read().decode().partition("</database>")[0], re.S)
        finally:
            connection.close()
        return sum(any(v.lower() != "nan" for v in re.findall(r"<v>(.*?)</v>", row)) for row in rows)

    def updates(self, i, query):
        """What this member says to /rrd_updates: status, whom it names, where else to ask."""
        connection = _UnixConnection(self.pool[i].socket, PATIENCE)
        try:
            connection.request("GET", f"/rrd_updates?session_id={self.session.ref}&start=-60&{query}")
            reply = connection.getresponse()
            named = set(re.findall(r"<entry>[A-Z]+:[a-z]+:([^:]*):", reply.read().decode()))
            return reply.status, named, reply.getheader("Location", "")
        finally:
            connection.close()

    def figures(self, vms):
        """Who names VMs that one host has is told of them, by it or on the way to it; who names those of several gets what he asks has."""
        leads = self.hosts.index(self.at(0, "pool.get_master", self.at(0, "pool.get_all")[0]))
        of = {home: self.at(0, "VM.get_uuid", vm) for vm, home in zip(vms, self.where(vms))}
        wrong = []
        for home, uuid in of.items():
            until(lambda: self.updates(home, f"vm_uuid={uuid}")[1] == {uuid}, PATIENCE, 0.5)
            place = f"https://{self.at(0, 'host.get_address', self.hosts[home])}/rrd_updates?"
            for i in range(len(self.hosts)):
                status, named, location = self.updates(i, f"vm_uuid={uuid}")
                here = i == home or home == leads
                if not ((status, named) == (200, {uuid}) if here else status == 302 and location.startswith(place)):
                    wrong.append((i, home, status, named, location))
        self.report.check(len(of) == len(self.hosts) and not wrong, "each member tells of a VM that is named, or who can", wrong)
        (home, one), (_, two), _ = of.items()
        status, named, _ = self.updates(home, f"vm_uuid={one}&vm_uuid={two}")
        self.report.check((status, named) == (200, {one}), "where several hosts have what is named, each tells of its own", (status, named))
        status, named, _ = self.updates(home, f"vm_uuid={two}&host=true")
        uuid = self.at(0, "host.get_uuid", self.hosts[home])
        self.report.check((status, named) == (200, {uuid}), "who wants a host's figures gets those of the one he asks", (status, named))

    def killed(self, vms):
        """The evacuation ends with the daemon; every VM runs on in one place, and it can be asked again."""
        self.movable(vms)
        victim = max(range(len(self.hosts)), key=lambda i: self.where(vms).count(i))
        other = (victim + 1) % len(self.hosts)
        for step in ("planned", "moved"):
            self.movable(vms, other)
            if victim not in self.where(vms, other):
                self.at(other, "VM.pool_migrate", vms[0], self.hosts[victim], {"live": "true"})
                self.movable(vms, other)
            faults = os.path.join(self.pool[victim].state, "faults")
            with open(faults, "w") as f:
                f.write(f"host_evacuate/{step} kill\n")
            self.again(other)
            task = self.at(other, "Async.host.evacuate", self.hosts[victim], NULL, "0")
            died = until(lambda: not self.pool[victim].running(), PATIENCE, 0.1)
            os.unlink(faults)
            self.report.check(died, f"the daemon dies in host_evacuate/{step}")
            self.report.check(self.pool[victim].launch().result() is None, "and starts again")
            told = until(lambda: self.at(other, "task.get_status", task) == "failure", PATIENCE, 0.1)
            self.report.check(told, "the caller is told", self.at(other, "task.get_record", task))
            self.again(other)
            settled = until(lambda: not self.at(other, "host.get_current_operations", self.hosts[victim]) and self.movable(vms, other), PATIENCE, 0.1)
            self.report.check(settled, f"host_evacuate/{step}: nothing holds the host, its VMs run", self.where(vms, other))
        self.at(other, "host.evacuate", self.hosts[victim], NULL, "0")
        self.report.check(victim not in self.where(vms, other), "asked again it is evacuated")
        self.again(0)

    def reboot(self):
        """The coordinator hands over first; a boot enables it, a restart of the daemon does not."""
        first = next(m.number for m in self.pool if m.status()["leads"])
        other = (first + 1) % len(self.hosts)
        self.again(other)
        folder = os.path.join(self.pool[first].state, "system", "usr", "bin")
        os.makedirs(folder, exist_ok=True)
        with open(os.open(os.path.join(folder, "systemctl"), os.O_CREAT | os.O_WRONLY, 0o755), "w") as f:
            f.write("#!/bin/sh\nexit 0\n")
        self.at(other, "host.disable", self.hosts[first])
        self.at(other, "host.evacuate", self.hosts[first], NULL, "0")
        self.at(other, "host.reboot", self.hosts[first])
        self.report.check(not self.pool[first].status()["leads"] and self.at(other, "pool.get_master", self.at(other, "pool.get_all")[0]) != self.hosts[first],
                          "a coordinator that reboots has handed over its office")
        self.pool[first].stop()
        self.report.check(self.pool[first].launch().result() is None, "its daemon is restarted")
        self.report.check(not self.at(other, "host.get_enabled", self.hosts[first]), "which leaves it disabled")
        self.pool[first].stop()
        end_simulator(self.pool[first].state)
        self.report.check(self.pool[first].launch().result() is None and self.at(other, "host.get_enabled", self.hosts[first]), "its machine's boot enables it")
        self.again(0)

    def processors(self, apart):
        """What booted on the better processor does not go to a lesser one; what boots afterwards does."""
        weak = 2
        pool = self.at(0, "pool.get_all")[0]
        level = self.at(0, "pool.get_cpu_info", pool)["features_hvm"]
        strong = next(vm for vm in apart if self.where([vm])[0] != weak)
        self.at(0, "host.evacuate", self.hosts[weak], NULL, "0")
        self.pool[weak].sim(cpu_features=LESS)
        self.pool[weak].stop()
        self.report.check(self.pool[weak].launch().result() is None, "a host comes back with a lesser processor")
        self.again(0)
        now = self.at(0, "pool.get_cpu_info", pool)["features_hvm"]
        self.report.check(now != level and now.startswith("17cbfbff-00000003"[:8]), "the pool's level is what all have", now)
        self.movable([strong])
        self.report.check(self.code(0, "VM.pool_migrate", strong, self.hosts[weak], {"live": "true"}) == "VM_INCOMPATIBLE_WITH_THIS_HOST",
                          "a VM that booted before does not go there")
        dest = {"host": self.hosts[weak]}
        self.report.check(self.code(0, "VM.assert_can_migrate", strong, dest, True, {}, {}, {}) == "VM_INCOMPATIBLE_WITH_THIS_HOST", "which can be asked")
        self.at(0, "VM.hard_reboot", strong)
        self.movable([strong])
        self.report.check(self.at(0, "VM.get_last_boot_CPU_flags", strong)["features"] == now, "booted anew it has what all hosts have")
        self.report.check(self.code(0, "VM.assert_can_migrate", strong, dest, True, {}, {}, {}) is None and
                          self.at(0, "VM.migrate_send", strong, dest, True, {}, {}, {}) == strong and self.where([strong]) == [weak], "and goes there")


def main():
    report, begin = Report(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="xp-common-") as directory, Pool(3, args=["--enable-faults"]) as pool:
        pool.form()
        test = Test(pool, report, directory)
        vms, apart = test.spread()
        test.refused()
        test.figures(vms)
        test.evacuation(vms)
        test.killed(vms)
        test.reboot()
        test.processors(apart)
    report.note(f"{time.monotonic() - begin:.0f} s")
    sys.exit(report.done())


if __name__ == "__main__":
    main()
