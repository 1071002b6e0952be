# SPDX-License-Identifier: LGPL-2.1-or-later
"""refused.py -- what a pool with HA refuses: for ha.py, whose pool is whole and has a plan."""

from daemon import XapiError, until

MIB = 1 << 20


class Refused:
    def __init__(self, test):
        self.test, self.call, self.report = test, test.call, test.report

    def refuses(self, code, what, method, *params):
        try:
            self.call(method, *params)
            found = "nothing"
        except XapiError as e:
            found = e.code
        self.report.check(found == code, f"{what}: {code}", found)

    def members(self, pool, hosts):
        self.refuses("HA_IS_ENABLED", "HA is enabled twice", "pool.enable_ha", [], {})
        self.refuses("HA_IS_ENABLED", "a host is to leave while HA is on", "pool.eject", hosts[-1])
        self.refuses("HA_OPERATION_WOULD_BREAK_FAILOVER_PLAN", "more hosts are to be allowed to fail than leave a majority",
                     "pool.set_ha_host_failures_to_tolerate", pool, str(len(hosts)))

    def devices(self, host, protected, other):
        """Neither a protected machine gets what only one host has, nor a machine that has it becomes protected."""
        location = self.test.pool[0].state + "/local-disks"
        sr = self.call("SR.create", host, {"location": location}, "0", "of one host", "", "file", "user", False, {})
        vdi = self.call("VDI.create", {"name_label": "d", "SR": sr, "virtual_size": str(MIB), "type": "user", "sharable": False, "read_only": False,
                                       "other_config": {}})
        network = self.call("network.create", {"name_label": "of no host", "other_config": {}})
        disk = {"VDI": vdi, "userdevice": "3", "bootable": False, "mode": "RW", "type": "Disk", "empty": False, "other_config": {},
                "qos_algorithm_type": "", "qos_algorithm_params": {}}
        card = {"network": network, "device": "3", "MAC": "", "MTU": "1500", "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}}
        self.refuses("HA_CONSTRAINT_VIOLATION_SR_NOT_SHARED", "a protected machine is to have a disk of one host", "VBD.create", {"VM": protected, **disk})
        self.refuses("HA_CONSTRAINT_VIOLATION_NETWORK_NOT_SHARED", "a protected machine is to have an interface in a network that no host reaches",
                     "VIF.create", {"VM": protected, **card})
        vbd = self.call("VBD.create", {"VM": other, **disk})
        self.refuses("HA_CONSTRAINT_VIOLATION_SR_NOT_SHARED", "a machine with a disk of one host is to be protected",
                     "VM.set_ha_restart_priority", other, "restart")
        self.call("VBD.destroy", vbd)
        vif = self.call("VIF.create", {"VM": other, **card})
        self.refuses("HA_CONSTRAINT_VIOLATION_NETWORK_NOT_SHARED", "a machine in such a network is to be protected",
                     "VM.set_ha_restart_priority", other, "restart")
        self.call("VIF.destroy", vif)
        self.call("VDI.destroy", vdi)
        for pbd in self.call("SR.get_PBDs", sr):
            self.call("PBD.unplug", pbd)
        self.call("SR.forget", sr)
        self.call("network.destroy", network)

    def plan(self, pool, hosts):
        """Machines that fill a host each: the plan bears some, and then no more."""
        free = min(int(self.call("host.compute_free_memory", h)) for h in hosts)
        size = str(free * 6 // 10 // MIB * MIB)
        large = []
        for h in hosts:
            vm = self.test.make(f"large {len(large)}", "restart", 0)
            self.call("VM.set_memory_limits", vm, *[size] * 4)
            large.append((vm, h))
        tolerated = int(self.call("pool.get_ha_plan_exists_for", pool))
        room = len(hosts) - tolerated
        for vm, h in large[:room]:
            self.call("VM.start_on", vm, h, False, False)
        until(lambda: int(self.call("pool.get_ha_plan_exists_for", pool)) == tolerated, 30)
        vm, h = large[room]
        self.refuses("HA_OPERATION_WOULD_BREAK_FAILOVER_PLAN", "a machine is started that would have no place", "VM.start_on", vm, h, False, False)
        self.refuses("HA_OPERATION_WOULD_BREAK_FAILOVER_PLAN", "a host is disabled that others' machines would need", "host.disable", h)
        self.call("VM.set_ha_restart_priority", vm, "")
        self.refuses("HA_OPERATION_WOULD_BREAK_FAILOVER_PLAN", "one that is not protected takes as much room", "VM.start_on", vm, h, False, False)
        self.call("pool.set_ha_allow_overcommit", pool, True)
        self.call("VM.start_on", vm, h, False, False)
        self.report.check(until(lambda: self.call("pool.get_ha_overcommitted", pool), 30, 0.2),
                          "where that is allowed it starts, and the pool is shown as overcommitted")
        for vm, _ in large:
            if self.call("VM.get_power_state", vm) == "Running":
                self.call("VM.hard_shutdown", vm)
            self.call("VM.destroy", vm)
        self.call("pool.set_ha_allow_overcommit", pool, False)
        self.report.check(until(lambda: not self.call("pool.get_ha_overcommitted", pool), 30, 0.2), "and not any more once they are gone")


def judge_refusals(test):
    refused = Refused(test)
    pool = test.call("pool.get_all")[0]
    hosts = [test.host_of(m) for m in test.pool]
    refused.members(pool, hosts)
    refused.devices(hosts[0], test.vms[0][0], test.vms[0][-1])
    refused.plan(pool, hosts)
