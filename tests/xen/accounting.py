# SPDX-License-Identifier: LGPL-2.1-or-later
"""accounting.py -- what the records say of the host, its processors, its memory and its control domain, against Xen's own words."""

import re

MIB = 1 << 20
RESERVE = 32 * MIB


def accounting(host, report):
    info = dict(re.findall(r"^(\w+)\s*: (.*)$", host.dom0("xl info"), re.M))
    dom0 = host.dom0("xl list 0 | tail -n 1").split()
    c = host.client()
    ref = c("host.get_all")[0]
    r = c("host.get_record", ref)
    cpu = r["cpu_info"]
    total = int(c("host_metrics.get_memory_total", r["metrics"]))
    report.check(cpu["cpu_count"] == info["nr_cpus"] and cpu["threads_per_core"] == info["threads_per_core"] and
                 cpu["nr_nodes"] == info["nr_nodes"] and len(r["host_CPUs"]) == int(info["nr_cpus"]),
                 "the host's processors are Xen's", cpu, info)
    report.check(re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{8}){5,}", cpu["features_hvm"]) and
                 re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{8}){5,}", cpu["features_pv"]) and "lm" in cpu["flags"].split() and cpu["vendor"],
                 "their features are told", cpu)
    report.check(r["software_version"]["xen"] == info["xen_version"] and r["capabilities"] == info["xen_caps"].split() and
                 r["sched_policy"] == info["xen_scheduler"], "Xen's version, abilities and scheduler are told",
                 r["software_version"], r["capabilities"], r["sched_policy"], info)
    vm = c("VM.get_record", r["control_domain"])
    report.check((vm["domid"], vm["power_state"], vm["VCPUs_max"]) == ("0", "Running", dom0[3]) and
                 abs(int(vm["memory_target"]) // MIB - int(dom0[2])) <= 1, "the control domain is recorded as it is", dom0,
                 {k: vm[k] for k in ("domid", "VCPUs_max", "memory_target")})
    free = int(c("host.compute_free_memory", ref))
    report.check(abs(total // MIB - int(info["total_memory"])) <= 1 and abs((free + RESERVE) // MIB - int(info["free_memory"])) <= 2,
                 "the host's memory, all and free, is Xen's", total, free, info["total_memory"], info["free_memory"])
    said = dict(re.findall(r"^\s*(memory-[\w-]+)\s.*?: (\d+)", host.ask("host-list", "params=memory-total,memory-free"), re.M))
    report.check(said == {"memory-total": str(total), "memory-free": str(free)},
                 "xe host-list tells the host's memory", said, total, free)
    report.check(abs(total - int(r["memory_overhead"]) - int(vm["memory_target"]) - free) <= 4 * MIB,
                 "what is neither free nor the control domain's is overhead", total, r["memory_overhead"], vm["memory_target"], free)
