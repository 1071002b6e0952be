# SPDX-License-Identifier: LGPL-2.1-or-later
"""lab.py -- small things tests make with a client: machines, disks, what they stand on."""

from daemon import NULL

MIB = 1 << 20
TEMPLATE = "Other install media"


def template(c):
    return c("VM.get_by_name_label", TEMPLATE)[0]


def pool(c):
    return c("pool.get_all")[0]


def host(c):
    return c("host.get_all")[0]


def default_sr(c):
    """The pool's default storage, or the first that holds disks."""
    srs = c("SR.get_all_records")
    default = c("pool.get_default_SR", pool(c))
    return default if default in srs else [r for r, s in srs.items() if s["type"] not in ("iso", "udev")][0]


def vm(c, name, disks=0, size=16 * MIB):
    """A halted VM from the template "Other install media"."""
    ref = c("VM.clone", template(c), name)
    c("VM.provision", ref)
    for n in range(disks):
        vbd(c, ref, vdi(c, f"{name} disk {n}", size), str(n))
    return ref


def vdi(c, name, size=16 * MIB, sr=None):
    return c("VDI.create", {"name_label": name, "name_description": "", "SR": sr or default_sr(c), "virtual_size": size,
                            "type": "user", "sharable": False, "read_only": False, "other_config": {}})


def vbd(c, vm_ref, vdi_ref, device, mode="RW", kind="Disk"):
    return c("VBD.create", {"VM": vm_ref, "VDI": vdi_ref, "userdevice": device, "bootable": device == "0", "mode": mode,
                            "type": kind, "unpluggable": True, "empty": vdi_ref == NULL, "other_config": {},
                            "qos_algorithm_type": "", "qos_algorithm_params": {}})


def network(c, name):
    return c("network.create", {"name_label": name, "name_description": "", "MTU": 1500, "other_config": {}, "bridge": "",
                                "managed": True, "tags": []})


def vif(c, vm_ref, network_ref, device, mac=""):
    return c("VIF.create", {"device": device, "network": network_ref, "VM": vm_ref, "MAC": mac, "MTU": 1500, "other_config": {},
                            "qos_algorithm_type": "", "qos_algorithm_params": {}})


def disks(c, vm_ref):
    out = []
    for ref in c("VM.get_VBDs", vm_ref):
        record = c("VBD.get_record", ref)
        if record["type"] == "Disk" and record["VDI"] != NULL:
            out.append(record["VDI"])
    return out


def destroy_vm(c, vm_ref):
    """Whatever state it is in; with its disks."""
    if c("VM.get_power_state", vm_ref) != "Halted":
        c("VM.hard_shutdown", vm_ref)
    found = disks(c, vm_ref)
    c("VM.destroy", vm_ref)
    for ref in found:
        c("VDI.destroy", ref)


def enough_memory(c, vm_ref, size=64 * MIB):
    """Small, so that many fit."""
    c("VM.set_memory_limits", vm_ref, size, size, size, size)
