# SPDX-License-Identifier: LGPL-2.1-or-later
"""live.py -- what a running guest is told and what it says, checked inside the guest, in xenstore and by xl.

One paravirtual guest without a disk, whose shell is on its console: its agent's keys, the user's keys, buttons, processors,
scheduling, memory, figures; at last it panics, and leaves its memory in a file.
"""

import json
import re
import time

from host import Guest, until
from life import nothing_left
from shell import Shell

MIB = 1 << 20
DUMPS = "/var/lib/xapid/dumps"


def live(host, report):
    before = host.world()
    g = Guest(host, "live", "pv", "sysrq_always_enabled", memory=160, least=96, more=("VCPUs-max=2", "VCPUs-at-startup=1"))
    g.do("start")
    if not report.check(g.ready() >= 0, "a guest without a disk runs", g.said()[-2000:]):
        raise RuntimeError("the guest does not run")
    with Shell(g) as sh:
        for step in (agent, user_data, keys, processors, scheduling, memory, figures, hypervisor_messages, panics):
            begin = time.monotonic()
            step(g, report, sh)
            report.note(f"{time.monotonic() - begin:.0f} s")
    g.remove()
    nothing_left(host, report, before, "of a guest that was told and asked nothing is left over in dom0")


def store(g, key):
    """What a key of the guest's holds, read by dom0; '' where there is none."""
    return g.host.dom0(f"xenstore-read /local/domain/{g.domid}/{key} 2>/dev/null", check=False).strip()


def agent(g, report, sh):
    said = sh.store({"attr/PVAddons/MajorVersion": "7", "attr/PVAddons/MinorVersion": "30", "attr/PVAddons/MicroVersion": "0",
                     "attr/PVAddons/BuildVersion": "12", "attr/vif/0/ipv4/0": "10.9.8.7", "data/os_name": "Lab Linux",
                     "data/meminfo_free": "4711", "control/feature-balloon": "1", "data/updated": "1"})
    c = g.host.client()
    ref = c("VM.get_by_uuid", g.vm)

    def metrics():
        r = c("VM.get_guest_metrics", ref)
        return {} if r == "OpaqueRef:NULL" else c("VM_guest_metrics.get_record", r)
    until(lambda: metrics().get("other", {}).get("feature-balloon") == "1" and "major" in metrics()["PV_drivers_version"], 60, 1)
    m = metrics()
    report.check(m.get("PV_drivers_version") == {"major": "7", "minor": "30", "micro": "0", "build": "12"} and m["PV_drivers_detected"],
                 "the version of the drivers is what the guest wrote", m, said)
    report.check(m.get("networks") == {"0/ip": "10.9.8.7", "0/ipv4/0": "10.9.8.7"} and m["os_version"].get("name") == "Lab Linux",
                 "addresses and system are what the guest wrote", m)
    report.check(m.get("other", {}).get("feature-balloon") == "1" and m["other"].get("feature-poweroff") == "1",
                 "a guest says what it can do", m.get("other"), store(g, "control"))
    sh.store({"attr/vif/0/ipv4/0": "10.9.8.8"})
    report.check(until(lambda: metrics()["networks"].get("0/ip") == "10.9.8.8", 60, 1), "a new address is heard", metrics()["networks"])


def user_data(g, report, sh):
    h = g.host
    h.ask("vm-param-set", f"uuid={g.vm}", "xenstore-data:vm-data/colour=red")
    first = store(g, "vm-data/colour")
    h.ask("vm-param-remove", f"uuid={g.vm}", "param-name=xenstore-data", "param-key=vm-data/colour")
    report.check(first == "red" and store(g, "vm-data/colour") == "", "a user's key reaches the guest's xenstore and goes", first)


def keys(g, report, sh):
    c = g.host.client()
    ref = c("VM.get_by_uuid", g.vm)
    c("VM.send_sysrq", ref, "h")
    report.check("HELP" in sh.says(r"sysrq: HELP[^\n]*")[0], "the guest's kernel is sent a key")
    c("VM.send_trigger", ref, "nmi")
    report.check("NMI" in sh.says(r"[^\n]*NMI[^\n]*")[0], "the guest's kernel gets an NMI")


def processors(g, report, sh):
    """A guest takes up a processor when it likes: the lab's as a rule of udev's would."""
    c = g.host.client()
    cpus = "/sys/devices/system/cpu"
    have = lambda: int(c("VM_metrics.get_record", c("VM.get_metrics", c("VM.get_by_uuid", g.vm)))["VCPUs_number"])  # noqa: E731
    report.check(sh.run(f"cat {cpus}/online") == "0" and have() == 1, "a guest begins with the processors that it was given", have())
    g.do("vcpu-hotplug", "new-vcpus=2")
    more = sh.run(f"until echo 1 > {cpus}/cpu1/online; do sleep 1; done 2>/dev/null; cat {cpus}/online")
    report.check(more == "0-1" and until(lambda: have() == 2, 60, 1) and store(g, "cpu/1/availability") == "online",
                 "a processor more is seen by the guest and by Xen", more, have())
    g.do("vcpu-hotplug", "new-vcpus=1")
    fewer = sh.run(f"until [ $(cat {cpus}/online) = 0 ]; do sleep 1; done; cat {cpus}/online")
    report.check(fewer == "0" and until(lambda: have() == 1, 60, 1), "a processor that is taken away is given up", fewer, have())


def scheduling(g, report, sh):
    h = g.host
    c = h.client()
    ref = c("VM.get_by_uuid", g.vm)
    for key, value in (("weight", "512"), ("cap", "150"), ("mask", "1")):
        c("VM.add_to_VCPUs_params_live", ref, key, value)
    policy = h.ask("host-list", "params=uuid", "--minimal")
    policy = c("host.get_sched_policy", c("host.get_by_uuid", policy))
    xl = h.dom0(f"xl sched-{policy} -d {g.domid}; xl vcpu-list {g.domid}")
    report.check(re.search(rf"\s{g.domid}\s+512\s+150", xl) and re.search(r"\s1 / \S+\s*$", xl, re.M),
                 "weight, cap and mask are those of Xen's scheduler", policy, xl)


def memory(g, report, sh):
    total = lambda: int(sh.run("grep MemTotal /proc/meminfo").split()[1])  # noqa: E731
    free = lambda: int(g.host.dom0("xl info free_memory"))  # noqa: E731
    actual = lambda: int(g.get("memory-actual"))  # noqa: E731
    at_first, room = total(), free()
    g.host.ask("vm-memory-target-set", f"uuid={g.vm}", f"target={112 * MIB}")
    gave = until(lambda: total() <= at_first - 40 * 1024, 90, 1)
    report.check(gave and g.xen_memory() == (112, 112) and free() >= room + 44,
                 "a guest gives memory back when it is told to, and Xen has it", f"{at_first} {total()} {room} {free()}", g.xen_memory())
    report.check(until(lambda: abs(actual() - 112 * MIB) <= MIB, 60, 1), "memory-actual says so", actual())
    g.host.ask("vm-memory-dynamic-range-set", f"uuid={g.vm}", f"min={96 * MIB}", f"max={160 * MIB}")
    took = until(lambda: total() >= at_first - 1024, 90, 1)
    report.check(took and g.xen_memory() == (160, 160) and until(lambda: abs(actual() - 160 * MIB) <= MIB, 60, 1),
                 "it takes memory again when its range allows it", f"{at_first} {total()}", g.xen_memory(), actual())


class Figures:
    """The newest samples of what runs on the host: {name: [values, oldest first]}."""

    def __init__(self, host, uuid, seconds=60):
        start = int(host.dom0("date +%s")) - seconds
        data = json.loads(host.fetch(f"/rrd_updates?start={start}&host=true&json=true&cf=AVERAGE&interval=5"))
        rows = [[self.number(v) for v in row["values"]] for row in reversed(data["data"])]
        self.of = {}
        for i, entry in enumerate(data["meta"]["legend"]):
            _, kind, owner, name = entry.split(":")
            if owner == uuid or kind == uuid:
                self.of[name] = [row[i] for row in rows]

    @staticmethod
    def number(v):
        return float(v) if str(v) != "NaN" else None

    def known(self, name):
        return [v for v in self.of.get(name, ()) if v is not None]

    def last(self, name):
        return (self.known(name) or [None])[-1]


def figures(g, report, sh):
    """Its memory now; its processor, kept busy for a while."""
    sh.run("(timeout 30 sh -c 'while :; do :; done' &) 2>/dev/null")
    busy = until(lambda: (Figures(g.host, g.vm).last("cpu0") or 0) > 0.6, 60, 2)
    f = Figures(g.host, g.vm)
    report.check(busy and f.last("cpu0") <= 1, "a busy guest's processor is busy in /rrd_updates", f.of.get("cpu0"))
    has, shall_have = g.xen_memory()
    report.check(abs(f.last("memory") - has * MIB) <= MIB and f.last("memory_target") == shall_have * MIB and
                 f.last("memory_internal_free") == 4711, "its memory in /rrd_updates is what Xen and the guest say", f.of)


def hypervisor_messages(g, report, sh):
    h = g.host
    host = h.ask("host-list", "params=uuid", "--minimal")
    h.ask("host-send-debug-keys", f"host-uuid={host}", "keys=h")
    said = h.ask("host-dmesg", f"uuid={host}")
    report.check("'h' pressed" in said, "a debug key's answer is among Xen's messages", said[-500:])


def panics(g, report, sh):
    h = g.host
    g.host.ask("vm-param-set", f"uuid={g.vm}", "actions-after-crash=coredump_and_destroy")
    domid = g.domid
    h.client()("VM.send_sysrq", h.client()("VM.get_by_uuid", g.vm), "c")
    halted = until(lambda: g.state == "halted", 300, 1)
    dump = f"{DUMPS}/{g.vm}.{domid}.core"
    looks = h.dom0(f"ls -l {dump}; file {dump}; rm -f {dump}; rmdir {DUMPS}", check=False)
    report.check(halted and "ELF 64-bit" in looks and int(looks.split()[4]) > 150 * MIB, "a guest that panics leaves its memory in a file",
                 g.state, looks, h.log()[-2000:])
    report.check("VM_CRASHED" in g.alerts() and not h.domains(), "its crash is told", g.alerts(), h.domains())
