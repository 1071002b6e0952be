#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""forward.py -- what another host must do is done there, whichever member is asked.

Three hosts.  Whatever a host alone can do is asked of a member that is another one: its own facts, VMs on it, disks on its storage, tasks
and their end, cancel, errors.  Then the host that does it is killed, or cut off, in the middle: every call and every task ends.
"""

import os
import re
import subprocess
import sys
import threading
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from daemon import Lost, XapiError, until  # noqa: E402
from members import Pool, Session  # noqa: E402
from report import Report  # noqa: E402

HERE, THERE, THIRD = 0, 1, 2
HOSTS = 3
MIB = 1 << 20


TESTS = ("facts_of_another_host", "what_concerns_all_hosts_is_done_on_each", "a_disk_on_the_storage_of_another_host", "a_vm_runs_where_it_is_started", "a_vm_is_placed_where_its_disk_is",
         "an_error_of_another_host_is_the_operations", "a_task_ends_with_the_result_of_the_other_host", "cancel_reaches_the_other_host",
         "a_plug_in_runs_on_its_host", "an_appliance_starts_each_vm_on_its_host", "a_call_whose_host_dies_ends",
         "a_call_whose_host_is_cut_off_ends", "the_coordinator_hands_over")


def run(only):
    report = Report()
    with Pool(HOSTS, args=("--enable-faults",)) as pool:
        pool.form()
        test = Test(pool)
        for name in TESTS:
            if only and only not in name:
                continue
            try:
                getattr(test, name)()
                report.ok(name)
            except (AssertionError, XapiError, Lost, OSError) as e:
                report.fail(name, traceback.format_exc(limit=-4), e)
    return report.done()


class Test:
    def __init__(self, pool):
        self.pool = pool
        self.s = Session(pool, 60)
        self.s.login(HERE)
        self.hosts = [self.own(i) for i in range(len(pool))]
        self.srs = [self.storage(h) for h in self.hosts]

    def call(self, method, *params, at=HERE, timeout=None):
        return self.s.call(at, method, *params, timeout=timeout)

    def own(self, i):
        s = Session(self.pool, 10)
        s.login(i)
        host = s.call(i, "session.get_this_host", s.ref)
        s.call(i, "session.logout")
        s.close()
        return host

    def storage(self, host):
        """The local SR of a host that holds disks."""
        for pbd, record in self.call("PBD.get_all_records").items():
            sr = self.call("SR.get_record", record["SR"])
            if record["host"] == host and record["currently_attached"] and sr["content_type"] != "iso" and sr["type"] in ("ext", "file"):
                return record["SR"]
        raise AssertionError(f"no storage on {host}")

    def new_vm(self, name):
        template = self.call("VM.get_by_name_label", "Other install media")[0]
        vm = self.call("VM.clone", template, name)
        self.call("VM.provision", vm)
        self.call("VM.set_memory_limits", vm, str(64 * MIB), str(64 * MIB), str(64 * MIB), str(64 * MIB))
        return vm

    def new_disk(self, vm, sr, size=8 * MIB):
        vdi = self.call("VDI.create", {"name_label": "d", "SR": sr, "virtual_size": str(size), "type": "user", "sharable": False,
                                       "read_only": False, "other_config": {}})
        self.call("VBD.create", {"VM": vm, "VDI": vdi, "userdevice": "0", "bootable": True, "mode": "RW", "type": "Disk", "empty": False,
                                 "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}})
        return vdi

    def refused(self, code, method, *params):
        try:
            self.call(method, *params)
        except XapiError as e:
            assert e.code == code, e
            return e
        raise AssertionError(f"{method} was not refused")

    def domains(self, i):
        """The VMs that run on a member's hypervisor, as its own files say."""
        return {r["uuid"] for r in self.call("VM.get_all_records").values()
                if r["power_state"] == "Running" and r["resident_on"] == self.hosts[i] and not r["is_control_domain"]}

    # -- the tests --

    def facts_of_another_host(self):
        times = [self.call("host.get_servertime", h) for h in self.hosts]
        assert all(times), times
        enabled = self.call("host.get_enabled", self.hosts[THERE])
        self.call("host.disable", self.hosts[THERE])
        assert not self.call("host.get_enabled", self.hosts[THERE])
        self.call("host.enable", self.hosts[THERE])
        assert self.call("host.get_enabled", self.hosts[THERE]) == enabled

    def what_concerns_all_hosts_is_done_on_each(self):
        self.call("pool.set_console_idle_timeout", self.call("pool.get_all")[0], "600")
        assert {self.call("host.get_console_idle_timeout", h) for h in self.hosts} == {600}
        for i in range(HOSTS):
            found = subprocess.run(["grep", "-rl", "600", os.path.join(self.pool[i].state, "system")], capture_output=True, text=True).stdout
            assert found, f"host {i} has not done it"

    def a_disk_on_the_storage_of_another_host(self):
        vdi = self.call("VDI.create", {"name_label": "far", "SR": self.srs[THERE], "virtual_size": str(8 * MIB), "type": "user",
                                       "sharable": False, "read_only": False, "other_config": {}})
        # What was done there is seen here at once.
        assert self.call("VDI.get_SR", vdi) == self.srs[THERE]
        copy = self.call("VDI.snapshot", vdi)
        assert self.call("VDI.get_snapshot_of", copy) == vdi
        self.call("VDI.resize", vdi, str(16 * MIB))
        assert int(self.call("VDI.get_virtual_size", vdi)) == 16 * MIB
        self.call("SR.scan", self.srs[THERE])
        self.call("VDI.destroy", copy)
        self.call("VDI.destroy", vdi)
        assert vdi not in self.call("VDI.get_all")

    def a_vm_runs_where_it_is_started(self):
        vm = self.new_vm("far")
        self.call("VM.start_on", vm, self.hosts[THERE], False, False)
        assert self.call("VM.get_resident_on", vm) == self.hosts[THERE]
        assert self.call("VM.get_uuid", vm) in self.domains(THERE)
        for at in (HERE, THIRD, THERE):
            self.call("VM.pause", vm, at=at)
            self.call("VM.unpause", vm, at=at)
        self.call("VM.hard_reboot", vm)
        self.call("VM.clean_shutdown", vm, at=THIRD)
        assert self.call("VM.get_power_state", vm) == "Halted"
        self.call("VM.destroy", vm)

    def a_vm_is_placed_where_its_disk_is(self):
        vm = self.new_vm("placed")
        vdi = self.new_disk(vm, self.srs[THIRD])
        self.call("VM.start", vm, False, False)
        assert self.call("VM.get_resident_on", vm) == self.hosts[THIRD]
        snapshot = self.call("VM.snapshot", vm, "s")
        assert self.call("VM.get_snapshots", vm) == [snapshot]
        self.call("VM.suspend", vm)
        self.call("VM.resume", vm, False, False)
        assert self.call("VM.get_resident_on", vm) == self.hosts[THIRD]
        self.call("VM.hard_shutdown", vm)
        for each in (snapshot, vm):
            for vbd in self.call("VM.get_VBDs", each):
                disk = self.call("VBD.get_VDI", vbd)
                if disk != "OpaqueRef:NULL":
                    self.call("VDI.destroy", disk)
            self.call("VM.destroy", each)
        assert vdi not in self.call("VDI.get_all")

    def an_error_of_another_host_is_the_operations(self):
        vm = self.new_vm("wrong")
        e = self.refused("VM_BAD_POWER_STATE", "VM.pause", vm)
        assert e.params[1:] == ["running", "halted"], e
        huge = str(1 << 45)
        self.call("VM.set_memory_limits", vm, huge, huge, huge, huge)
        e = self.refused("HOST_NOT_ENOUGH_FREE_MEMORY", "VM.start_on", vm, self.hosts[THERE], False, False)
        self.call("VM.destroy", vm)
        self.refused("XENAPI_MISSING_PLUGIN", "host.call_plugin", self.hosts[THERE], "none-such", "f", {})

    def wait_task(self, task, at=HERE):
        assert until(lambda: self.call("task.get_status", task, at=at) not in ("pending", "cancelling"), 60, 0.05), "the task does not end"
        return self.call("task.get_record", task, at=at)

    def a_task_ends_with_the_result_of_the_other_host(self):
        task = self.call("Async.VDI.create", {"name_label": "t", "SR": self.srs[THERE], "virtual_size": str(8 * MIB), "type": "user",
                                              "sharable": False, "read_only": False, "other_config": {}})
        record = self.wait_task(task)
        assert record["status"] == "success", record
        vdi = re.fullmatch(r"<value>(OpaqueRef:.*)</value>", record["result"]).group(1)
        assert self.call("VDI.get_SR", vdi) == self.srs[THERE]
        assert record["resident_on"] == self.hosts[HERE]
        self.call("VDI.destroy", vdi)

    def hold(self, member, step, what):
        with open(os.path.join(self.pool[member].state, "faults"), "w", encoding="ascii") as f:
            f.write(f"{step} {what}\n")

    def let_go(self, member):
        os.unlink(os.path.join(self.pool[member].state, "faults"))

    def held(self, member, step):
        path = os.path.join(self.pool[member].state, "steps")
        return until(lambda: os.path.exists(path) and step in open(path, encoding="ascii").read(), 30, 0.05)

    def cancel_reaches_the_other_host(self):
        vm = self.new_vm("cancelled")
        open(os.path.join(self.pool[THERE].state, "steps"), "w", encoding="ascii").close()
        self.hold(THERE, "vm_start/attached", "wait")
        task = self.call("Async.VM.start_on", vm, self.hosts[THERE], False, False)
        assert self.held(THERE, "vm_start/attached"), "the start was not begun there"
        self.call("task.cancel", task, at=THIRD)
        self.let_go(THERE)
        record = self.wait_task(task)
        assert record["status"] == "cancelled", record
        assert self.call("VM.get_power_state", vm) == "Halted"
        assert not self.call("VM.get_current_operations", vm)
        self.call("VM.destroy", vm)

    def a_plug_in_runs_on_its_host(self):
        folder = os.path.join(self.pool[THERE].dir, "config", "plugins")
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, "where")
        with open(path, "w", encoding="ascii") as f:
            f.write("#!/bin/sh\necho '<?xml version=\"1.0\"?><methodResponse><params><param><value><struct><member><name>Status</name>"
                    "<value>Success</value></member><member><name>Value</name><value>there</value></member></struct></value></param></params>"
                    "</methodResponse>'\n")
        os.chmod(path, 0o755)
        assert self.call("host.call_plugin", self.hosts[THERE], "where", "f", {}) == "there"
        self.refused("XENAPI_MISSING_PLUGIN", "host.call_plugin", self.hosts[THIRD], "where", "f", {})

    def an_appliance_starts_each_vm_on_its_host(self):
        appliance = self.call("VM_appliance.create", {"name_label": "a", "name_description": ""})
        vms = [self.new_vm(f"a{i}") for i in range(3)]
        for i, vm in enumerate(vms):
            self.new_disk(vm, self.srs[i])
            self.call("VM.set_appliance", vm, appliance)
        self.call("VM_appliance.start", appliance, False)
        assert [self.call("VM.get_resident_on", vm) for vm in vms] == self.hosts
        self.call("VM_appliance.hard_shutdown", appliance)
        assert {self.call("VM.get_power_state", vm) for vm in vms} == {"Halted"}

    def in_the_middle(self, harm, heal):
        """Harms the host while it starts a VM for a call and a task of this one: both end, and the VM can be started afterwards."""
        vms = [self.new_vm("harmed") for _ in range(2)]
        open(os.path.join(self.pool[THERE].state, "steps"), "w", encoding="ascii").close()
        self.hold(THERE, "vm_start/attached", "wait")
        task = self.call("Async.VM.start_on", vms[0], self.hosts[THERE], False, False)
        ended = []

        def start():
            s = Session(self.pool, 120)
            s.login(HERE)
            try:
                s.call(HERE, "VM.start_on", vms[1], self.hosts[THERE], False, False)
                ended.append(None)
            except (XapiError, Lost) as e:
                ended.append(e)
            s.close()

        thread = threading.Thread(target=start)
        thread.start()
        assert self.held(THERE, "vm_start/attached") and until(lambda: all(self.call("VM.get_current_operations", vm) for vm in vms), 30, 0.05), \
            "the starts were not begun there"
        harm()
        thread.join(100)
        assert not thread.is_alive(), "the call does not end"
        record = self.wait_task(task)
        assert record["status"] == "failure" and record["error_info"][0] == "CANNOT_CONTACT_HOST", record
        assert isinstance(ended[0], XapiError) and ended[0].code == "CANNOT_CONTACT_HOST", ended
        if os.path.exists(os.path.join(self.pool[THERE].state, "faults")):
            self.let_go(THERE)
        heal()
        for vm in vms:
            assert until(lambda: not self.call("VM.get_current_operations", vm), 60, 0.1), "the VM stays held"
            if self.call("VM.get_power_state", vm) == "Halted":
                self.call("VM.start_on", vm, self.hosts[THERE], False, False)
            assert self.call("VM.get_power_state", vm) == "Running"
            self.call("VM.hard_shutdown", vm)
            self.call("VM.destroy", vm)

    def a_call_whose_host_dies_ends(self):
        member = self.pool[THERE]

        def harm():
            member.process.kill()
            member.process.wait()
            self.let_go(THERE)
            error = member.launch().result()
            assert not error, error

        self.in_the_middle(harm, lambda: None)

    def a_call_whose_host_is_cut_off_ends(self):
        def heal():
            self.pool.net.heal("cut")
            assert until(lambda: self.pool[THERE].status() and self.pool[THERE].status()["leader"] != "0" * 16, 30, 0.1)

        self.in_the_middle(lambda: self.pool.net.isolate("cut", THERE), heal)

    def the_coordinator_hands_over(self):
        pool = self.call("pool.get_all")[0]
        for to in (THERE, THIRD, HERE, HERE):
            self.call("pool.designate_new_master", self.hosts[to])
            assert self.call("pool.get_master", pool) == self.hosts[to]
            assert self.pool.wait_leader() is self.pool[to]
        assert set(self.call("pool.recover_slaves")) == {self.hosts[THERE], self.hosts[THIRD]}
        self.refused("HANDLE_INVALID", "pool.designate_new_master", "OpaqueRef:00000000-0000-4000-8000-000000000000")
        self.pool[THIRD].process.kill()
        self.pool[THIRD].process.wait()
        assert until(lambda: self.call("pool.recover_slaves") == [self.hosts[THERE]], 30, 0.2)
        self.refused("HOST_OFFLINE", "pool.designate_new_master", self.hosts[THIRD])
        assert not self.pool[THIRD].launch().result()


if __name__ == "__main__":
    sys.exit(run(sys.argv[1] if len(sys.argv) > 1 else None))
