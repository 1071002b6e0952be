# SPDX-License-Identifier: LGPL-2.1-or-later
"""operations.py -- the operations whose steps are made to fail: one function each, listed in OPERATIONS.

A function is given a client, makes what the operation needs, and returns (run, done): run() carries the operation out, done()
tells from the database whether it was finished.  What it makes is forgotten with the daemon's state, or cleared away by
clear().  To add an operation, add a function and its name.
"""

import lab
import world
from daemon import NULL

OPERATIONS = {}


def operation(function):
    OPERATIONS[function.__name__] = function
    return function


def _state(c, vm, wanted):
    return lambda: (world.record(c, "VM", vm) or {}).get("power_state") == wanted


def _small(c, name, disks=1):
    vm = lab.vm(c, name, disks, 1 * lab.MIB)
    lab.enough_memory(c, vm)
    return vm


def _running(c, name, disks=1):
    vm = _small(c, name, disks)
    c("VM.start", vm, False, False)
    return vm


def _named(c, class_name, name):
    return lambda: bool(c(f"{class_name}.get_by_name_label", name))


@operation
def vm_start(c):
    vm = _small(c, "faulty")
    return lambda: c("VM.start", vm, False, False), _state(c, vm, "Running")


@operation
def vm_start_paused(c):
    vm = _small(c, "faulty")
    return lambda: c("VM.start", vm, True, False), _state(c, vm, "Paused")


@operation
def vm_pause(c):
    vm = _running(c, "faulty")
    return lambda: c("VM.pause", vm), _state(c, vm, "Paused")


@operation
def vm_unpause(c):
    vm = _running(c, "faulty")
    c("VM.pause", vm)
    return lambda: c("VM.unpause", vm), _state(c, vm, "Running")


@operation
def vm_clean_shutdown(c):
    vm = _running(c, "faulty")
    return lambda: c("VM.clean_shutdown", vm), _state(c, vm, "Halted")


@operation
def vm_hard_shutdown(c):
    vm = _running(c, "faulty")
    return lambda: c("VM.hard_shutdown", vm), _state(c, vm, "Halted")


@operation
def vm_clean_reboot(c):
    vm = _running(c, "faulty")
    return lambda: c("VM.clean_reboot", vm), _state(c, vm, "Running")


@operation
def vm_hard_reboot(c):
    vm = _running(c, "faulty")
    return lambda: c("VM.hard_reboot", vm), _state(c, vm, "Running")


@operation
def vm_suspend(c):
    vm = _running(c, "faulty")
    return lambda: c("VM.suspend", vm), _state(c, vm, "Suspended")


@operation
def vm_resume(c):
    vm = _running(c, "faulty")
    c("VM.suspend", vm)
    return lambda: c("VM.resume", vm, False, False), _state(c, vm, "Running")


@operation
def vm_hard_shutdown_suspended(c):
    vm = _running(c, "faulty")
    c("VM.suspend", vm)
    return lambda: c("VM.hard_shutdown", vm), _state(c, vm, "Halted")


@operation
def vm_snapshot(c):
    vm = _running(c, "faulty", 2)
    return lambda: c("VM.snapshot", vm, "faulty's snapshot", []), _named(c, "VM", "faulty's snapshot")


@operation
def vm_snapshot_halted(c):
    vm = _small(c, "faulty", 2)
    return lambda: c("VM.snapshot", vm, "faulty's snapshot", []), _named(c, "VM", "faulty's snapshot")


@operation
def vm_checkpoint(c):
    vm = _running(c, "faulty")
    return lambda: c("VM.checkpoint", vm, "faulty's checkpoint"), _named(c, "VM", "faulty's checkpoint")


@operation
def vm_revert(c):
    vm = _small(c, "faulty", 2)
    snapshot = c("VM.snapshot", vm, "faulty's snapshot", [])
    c("VM.set_name_description", vm, "changed")
    return lambda: c("VM.revert", snapshot), lambda: c("VM.get_name_description", vm) != "changed"


@operation
def vm_revert_running(c):
    vm = _running(c, "faulty")
    snapshot = c("VM.snapshot", vm, "faulty's snapshot", [])
    c("VM.set_name_description", vm, "changed")
    return lambda: c("VM.revert", snapshot), lambda: c("VM.get_name_description", vm) != "changed"


@operation
def vm_clone(c):
    vm = _small(c, "faulty", 2)
    return lambda: c("VM.clone", vm, "faulty's clone"), _named(c, "VM", "faulty's clone")


@operation
def vm_copy(c):
    vm = _small(c, "faulty", 2)
    return lambda: c("VM.copy", vm, "faulty's copy", lab.default_sr(c)), _named(c, "VM", "faulty's copy")


@operation
def vm_provision(c):
    vm = c("VM.clone", lab.template(c), "faulty")
    sr = c("SR.get_uuid", lab.default_sr(c))
    disk = "<disk device='{}' size='1048576' sr='{}' bootable='true' type='system'/>"
    c("VM.add_to_other_config", vm, "disks", f"<provision>{disk.format(0, sr)}{disk.format(1, sr)}</provision>")
    return lambda: c("VM.provision", vm), lambda: c("VM.get_is_a_template", vm) is False


@operation
def vm_destroy(c):
    vm = lab.vm(c, "faulty")
    return lambda: c("VM.destroy", vm), lambda: world.record(c, "VM", vm) is None


@operation
def vm_destroy_suspended(c):
    vm = _running(c, "faulty")
    c("VM.suspend", vm)
    return lambda: c("VM.destroy", vm), lambda: world.record(c, "VM", vm) is None


@operation
def vdi_create(c):
    return lambda: lab.vdi(c, "faulty disk", 1 * lab.MIB), _named(c, "VDI", "faulty disk")


@operation
def vdi_destroy(c):
    vdi = lab.vdi(c, "faulty disk", 1 * lab.MIB)
    return lambda: c("VDI.destroy", vdi), lambda: world.record(c, "VDI", vdi) is None


def _vdis(c):
    return len(c("VDI.get_all"))


@operation
def vdi_snapshot(c):
    vdi = lab.vdi(c, "faulty disk", 1 * lab.MIB)
    n = _vdis(c)
    return lambda: c("VDI.snapshot", vdi, {}), lambda: _vdis(c) > n


@operation
def vdi_clone(c):
    vdi = lab.vdi(c, "faulty disk", 1 * lab.MIB)
    n = _vdis(c)
    return lambda: c("VDI.clone", vdi, {}), lambda: _vdis(c) > n


@operation
def vdi_copy(c):
    vdi = lab.vdi(c, "faulty disk", 1 * lab.MIB)
    sr, n = lab.default_sr(c), _vdis(c)
    return lambda: c("VDI.copy", vdi, sr, NULL, NULL), lambda: _vdis(c) > n


@operation
def vdi_resize(c):
    vdi = lab.vdi(c, "faulty disk", 1 * lab.MIB)
    return lambda: c("VDI.resize", vdi, 2 * lab.MIB), lambda: c("VDI.get_virtual_size", vdi) == str(2 * lab.MIB)


@operation
def vbd_plug(c):
    vm = _running(c, "faulty")
    vbd = lab.vbd(c, vm, lab.vdi(c, "plugged", 1 * lab.MIB), "1")
    return lambda: c("VBD.plug", vbd), lambda: c("VBD.get_currently_attached", vbd)


@operation
def vbd_unplug(c):
    vm = _running(c, "faulty")
    vbd = lab.vbd(c, vm, lab.vdi(c, "plugged", 1 * lab.MIB), "1")
    c("VBD.plug", vbd)
    return lambda: c("VBD.unplug", vbd), lambda: not c("VBD.get_currently_attached", vbd)


@operation
def vif_plug(c):
    vm = _running(c, "faulty")
    vif = lab.vif(c, vm, lab.network(c, "plugged"), "0")
    return lambda: c("VIF.plug", vif), lambda: c("VIF.get_currently_attached", vif)


@operation
def vif_unplug(c):
    vm = _running(c, "faulty")
    vif = lab.vif(c, vm, lab.network(c, "plugged"), "0")
    c("VIF.plug", vif)
    return lambda: c("VIF.unplug", vif), lambda: not c("VIF.get_currently_attached", vif)


def clear(c):
    """Everything an operation may have left in an orderly way: VMs, templates of ours, disks, networks."""
    kept = set()
    for ref, vm in c("VM.get_all_records").items():
        if vm["is_control_domain"] or vm["is_default_template"]:
            kept.add(ref)
            continue
        if vm["power_state"] != "Halted":
            c("VM.hard_shutdown", ref)
    for ref, vm in c("VM.get_all_records").items():
        if ref not in kept:
            c("VM.destroy", ref)
    srs = {r for r, s in c("SR.get_all_records").items() if s["type"] in ("ext", "file")}
    for _ in range(3):  # a disk may be needed by one that goes in this round
        for ref, vdi in c("VDI.get_all_records").items():
            if vdi["SR"] in srs and "destroy" in vdi["allowed_operations"]:
                c("VDI.destroy", ref)
    for ref, network in c("network.get_all_records").items():
        if network["name_label"] == "plugged":
            c("network.destroy", ref)
