# SPDX-License-Identifier: LGPL-2.1-or-later
"""operations.py -- the operations whose steps are made to fail: one function each, listed in OPERATIONS.

A function is given a client, makes what the operation needs, and returns a Try: how to carry the operation out, and how to tell
that it was finished.  What it makes is cleared away by clear().  To add an operation, add a function with @operation.

Tables say what is allowed besides "an error, and everything as before" (which is always allowed):
  IGNORED    differences that mean nothing; and why
  FORWARD    steps after which an operation can only be finished; and why
  HALFWAY    steps after which an operation that fails leaves a third, good state, which its Try knows; and why
  ELSEWHERE  intents whose steps another test tries
  BESIDES    what an operation does after its own end, whose failure does not make it fail
"""

import http.client
import os
import shutil
import sys
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "transfer"))
import lab
import web
import xva
import sysfs
import world
from daemon import NULL, Lost, XapiError, until

FORWARD = {
    "vm_shutdown/asked": "the guest was asked, and ends",
    "vm_shutdown/waiting": "the guest was asked, and ends",
    "vm_shutdown/destroyed": "the domain is gone",
    "vm_shutdown/commit": "the domain is gone",
    "vm_shutdown/recorded": "the VM is halted; its memory image goes at the next start at the latest",
    "vm_ended/*": "the domain has ended by itself, whatever the daemon does",
    "vdi_destroy/erased": "the image is gone",
    "vdi_data_destroy/destroyed": "the data is gone",
    "vdi_resize/grown": "an image does not shrink",
    "sr_destroy/erased": "the repository is gone",
    "pbd_unplug/detached": "nothing uses it any more",
    "vbd_unplug/unplugged": "the guest has let go of the disk",
    "vbd_eject/ejected": "the guest has let go of the medium",
    "vusb_unplug/unplugged": "the device is not the guest's any more",
    "vif_unplug/unplugged": "the guest has let go of the interface",
    "vm_resume/commit": "the VM runs; its memory image goes at the next start at the latest",
    "vm_destroy/recorded": "the VM is gone; its memory image goes at the next start at the latest",
    "vm_destroy/commit": "the VM is gone; its memory image goes at the next start at the latest",
    "vm_renew/saved": "the guest goes on in another domain",
    "vm_renew/commit": "the guest goes on in another domain",
    "vm_renew/back": "the guest goes on in another domain",
    "vdi_revert/replaced": "the disk has its new content",
    "vm_revert/old-disk": "the VM has its new disks; the old ones go at the next start at the latest",
    "vm_revert/commit": "the VM has its new disks; the old ones go at the next start at the latest",
    "vm_memory/told": "range and target are recorded, and the domain was told",
    "vm_memory/commit": "range and target are recorded, and the domain was told",
    "vif_move/moved": "the interface is on the other bridge",
    "host_power/commit": "the machine was told",
    "host_restore/restored": "the files are back in their places",
    "host_restore/commit": "the files are back in their places",
    "database_restore/staged": "the next start takes the other database",
    "database_restore/commit": "the next start takes the other database",
    **{f"{intent}/commit": "what was done is recorded with another try" for intent in
       ("vdi_data_destroy", "vdi_destroy", "vdi_resize", "vdi_revert", "sr_destroy", "pbd_unplug", "vbd_unplug", "vbd_eject", "vif_unplug", "vif_move", "vusb_unplug")},
    "vm_resume/recorded": "the VM runs; its memory image goes at the next start at the latest",
}
HALFWAY = {
    "vm_appliance_run/group": "some of its machines have started or stopped",
    "vm_appliance_run/commit": "its machines have started or stopped",
    "vm_reboot/asked": "the guest was asked, and ends",
    "vm_reboot/waiting": "the guest was asked, and ends",
    "vm_reboot/ended": "the old domain is gone, the new one is not there yet",
    "vm_reboot/built": "the old domain is gone, the new one is taken down",
    "vm_reboot/unpaused": "the old domain is gone, the new one is taken down",
    "vm_reboot/commit": "the old domain is gone, the new one is taken down",
    "vm_revert/halted": "a VM that runs is ended first",
}
IGNORED = {
    r"SR \S+ (physical_size|virtual_allocation):": "measured now and then",
    r"VM \S+ guest_metrics:|VM_guest_metrics \S+ is new": "the guest boots, and says so when it has",
    r"host \S+ other_config: .*agent_start_time": "the daemon was started again",
    r"VM \S+ bios_strings:": "chosen at the first start that is tried, and kept",
    r"VM \S+ last_boot_CPU_flags:": "what its guest is to have, noted before it is built",
    r"file \S*\.xapid-lock is new": "every repository has one, once it was written to",
    r"console \S+ location:": "the daemon was started again, and the system chose another port",
}
# What differs besides where a VM goes on in another domain, with its memory: suspending and taking a snapshot of one that runs
# save it, and undoing that restores it.
ANOTHER_DOMAIN = {
    r"VM \S+ (consoles|domid|last_booted_record):|console \S+ is (gone|new)|VM_metrics \S+ start_time:": "it runs in another domain",
    r"domain \S+ changed": "it runs in another domain",
}
# Intents that need two hosts: tests/pool/migrate.py kills the daemons of both at their steps.  Those of a disk that moves are
# tests/pool/storage_motion.py's, which has a guest that writes to it.  A turn is taken within another operation: tests/pool/shared_lvm.py.
ELSEWHERE = ("vm_migrate", "vm_receive", "host_evacuate", "vdi_move", "sr_turn")
BESIDES = {"sr_create": ("sr_scan/",), "pbd_plug": ("sr_scan/",)}


class Try:
    """run() carries it out; done() is true once it is finished.  'halfway' tells of the third state of HALFWAY.

    moves: the VM may be in another domain afterwards, also where the operation was undone.
    by_itself: nobody calls it; the daemon does it when something happens, so no call fails, and it is always finished in the end.
    agrees: true where the system knows what is recorded, at whatever step it ended.
    only: the one step that is tried; the others are those of another operation.
    Without 'done' nothing shows whether it was finished, but that run() came back.
    """

    def __init__(self, run, done=None, halfway=None, by_itself=False, moves=False, agrees=lambda: True, only=None):
        self.came_back, self.visible = False, done is not None
        self.run_it, self.done, self.halfway, self.by_itself = run, done or (lambda: self.came_back), halfway, by_itself
        self.agrees, self.only = agrees, only
        self.ignored = [*IGNORED, *(ANOTHER_DOMAIN if moves else [])]

    def run(self):
        self.run_it()
        self.came_back = True


def goes_forward(step):
    return step in FORWARD or step.split("/")[0] + "/*" in FORWARD


OPERATIONS = {}


def operation(function):
    OPERATIONS[function.__name__] = function
    return function


def _state(c, vm, wanted):
    return lambda: (world.record(c, "VM", vm) or {}).get("power_state") == wanted


def _another_domain(c, vm):
    """Runs, in another domain than now."""
    before = c("VM.get_domid", vm)
    return lambda: c("VM.get_power_state", vm) == "Running" and c("VM.get_domid", vm) != before


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
    return Try(lambda: c("VM.start", vm, False, False), _state(c, vm, "Running"))


@operation
def vm_start_paused(c):
    vm = _small(c, "faulty")
    return Try(lambda: c("VM.start", vm, True, False), _state(c, vm, "Paused"))


@operation
def vm_pause(c):
    vm = _running(c, "faulty")
    return Try(lambda: c("VM.pause", vm), _state(c, vm, "Paused"))


@operation
def vm_unpause(c):
    vm = _running(c, "faulty")
    c("VM.pause", vm)
    return Try(lambda: c("VM.unpause", vm), _state(c, vm, "Running"))


@operation
def vm_clean_shutdown(c):
    vm = _running(c, "faulty")
    return Try(lambda: c("VM.clean_shutdown", vm), _state(c, vm, "Halted"))


@operation
def vm_hard_shutdown(c):
    vm = _running(c, "faulty")
    return Try(lambda: c("VM.hard_shutdown", vm), _state(c, vm, "Halted"))


@operation
def vm_clean_reboot(c):
    vm = _running(c, "faulty")
    return Try(lambda: c("VM.clean_reboot", vm), _another_domain(c, vm), _state(c, vm, "Halted"))


@operation
def vm_hard_reboot(c):
    vm = _running(c, "faulty")
    return Try(lambda: c("VM.hard_reboot", vm), _another_domain(c, vm), _state(c, vm, "Halted"))


@operation
def vm_suspend(c):
    vm = _running(c, "faulty")
    return Try(lambda: c("VM.suspend", vm), _state(c, vm, "Suspended"), moves=True)


@operation
def vm_resume(c):
    vm = _running(c, "faulty")
    c("VM.suspend", vm)
    return Try(lambda: c("VM.resume", vm, False, False), _state(c, vm, "Running"))


@operation
def vm_hard_shutdown_suspended(c):
    vm = _running(c, "faulty")
    c("VM.suspend", vm)
    return Try(lambda: c("VM.hard_shutdown", vm), _state(c, vm, "Halted"))


@operation
def vm_snapshot(c):
    vm = _running(c, "faulty", 2)
    return Try(lambda: c("VM.snapshot", vm, "faulty's snapshot", []), _named(c, "VM", "faulty's snapshot"), moves=True)


@operation
def vm_snapshot_halted(c):
    vm = _small(c, "faulty", 2)
    return Try(lambda: c("VM.snapshot", vm, "faulty's snapshot", []), _named(c, "VM", "faulty's snapshot"))


@operation
def vm_checkpoint(c):
    vm = _running(c, "faulty")
    return Try(lambda: c("VM.checkpoint", vm, "faulty's checkpoint"), _named(c, "VM", "faulty's checkpoint"), moves=True)


@operation
def vm_send_sysrq(c):
    vm = _running(c, "faulty")
    return Try(lambda: c("VM.send_sysrq", vm, "h"))


@operation
def vm_scheduling(c):
    vm = _running(c, "faulty")
    return Try(lambda: c("VM.add_to_VCPUs_params_live", vm, "weight", "300"),
               lambda: c("VM.get_VCPUs_params", vm).get("weight") == "300")


@operation
def vm_shadow(c):
    vm = _running(c, "faulty")
    return Try(lambda: c("VM.set_shadow_multiplier_live", vm, 2.0), lambda: c("VM.get_HVM_shadow_multiplier", vm) == 2.0)


def _appliance(c, name, running=False):
    """An appliance of two machines, one after the other."""
    appliance = c("VM_appliance.create", {"name_label": name, "name_description": ""})
    vms = [_small(c, f"{name} {n}") for n in range(2)]
    for n, vm in enumerate(vms):
        c("VM.set_appliance", vm, appliance)
        c("VM.set_order", vm, n)
        if running:
            c("VM.start", vm, False, False)
    return appliance, vms


def _idle(c, appliance):
    return not c("VM_appliance.get_current_operations", appliance)


@operation
def vm_appliance_start(c):
    appliance, vms = _appliance(c, "faulty")
    return Try(lambda: c("VM_appliance.start", appliance, False),
               lambda: _idle(c, appliance) and all(c("VM.get_power_state", vm) == "Running" for vm in vms),
               lambda: _idle(c, appliance) and c("VM.get_power_state", vms[0]) == "Running")


@operation
def vm_appliance_hard_shutdown(c):
    appliance, vms = _appliance(c, "faulty", True)
    return Try(lambda: c("VM_appliance.hard_shutdown", appliance),
               lambda: _idle(c, appliance) and all(c("VM.get_power_state", vm) == "Halted" for vm in vms),
               lambda: _idle(c, appliance) and c("VM.get_power_state", vms[1]) == "Halted")


@operation
def vm_revert(c):
    vm = _small(c, "faulty", 2)
    snapshot = c("VM.snapshot", vm, "faulty's snapshot", [])
    c("VM.set_name_description", vm, "changed")
    return Try(lambda: c("VM.revert", snapshot), lambda: c("VM.get_name_description", vm) != "changed")


@operation
def vm_revert_running(c):
    vm = _running(c, "faulty")
    snapshot = c("VM.snapshot", vm, "faulty's snapshot", [])
    c("VM.set_name_description", vm, "changed")
    return Try(lambda: c("VM.revert", snapshot), lambda: c("VM.get_name_description", vm) != "changed",
               _state(c, vm, "Halted"))


@operation
def vm_clone(c):
    vm = _small(c, "faulty", 2)
    return Try(lambda: c("VM.clone", vm, "faulty's clone"), _named(c, "VM", "faulty's clone"))


@operation
def vm_copy(c):
    vm = _small(c, "faulty", 2)
    return Try(lambda: c("VM.copy", vm, "faulty's copy", lab.default_sr(c)), _named(c, "VM", "faulty's copy"))


@operation
def vm_provision(c):
    vm = c("VM.clone", lab.template(c), "faulty")
    sr = c("SR.get_uuid", lab.default_sr(c))
    disk = "<disk device='{}' size='1048576' sr='{}' bootable='true' type='system'/>"
    c("VM.add_to_other_config", vm, "disks", f"<provision>{disk.format(0, sr)}{disk.format(1, sr)}</provision>")
    return Try(lambda: c("VM.provision", vm), lambda: c("VM.get_is_a_template", vm) is False)


@operation
def vm_destroy(c):
    vm = lab.vm(c, "faulty")
    return Try(lambda: c("VM.destroy", vm), lambda: world.record(c, "VM", vm) is None)


@operation
def vm_destroy_suspended(c):
    vm = _running(c, "faulty")
    c("VM.suspend", vm)
    return Try(lambda: c("VM.destroy", vm), lambda: world.record(c, "VM", vm) is None)


@operation
def vdi_create(c):
    return Try(lambda: lab.vdi(c, "faulty disk", 1 * lab.MIB), _named(c, "VDI", "faulty disk"))


@operation
def vdi_destroy(c):
    vdi = lab.vdi(c, "faulty disk", 1 * lab.MIB)
    return Try(lambda: c("VDI.destroy", vdi), lambda: world.record(c, "VDI", vdi) is None)


def _vdis(c):
    return len(c("VDI.get_all"))


@operation
def vdi_snapshot(c):
    vdi = lab.vdi(c, "faulty disk", 1 * lab.MIB)
    n = _vdis(c)
    return Try(lambda: c("VDI.snapshot", vdi, {}), lambda: _vdis(c) > n)


@operation
def vdi_clone(c):
    vdi = lab.vdi(c, "faulty disk", 1 * lab.MIB)
    n = _vdis(c)
    return Try(lambda: c("VDI.clone", vdi, {}), lambda: _vdis(c) > n)


@operation
def sr_coalesce(c):
    """A daemon's thread does it once a snapshot is gone; a scan lets it begin."""
    vdi, sr = lab.vdi(c, "faulty disk", 1 * lab.MIB), lab.default_sr(c)
    snapshot = c("VDI.snapshot", vdi, {})
    c("VDI.destroy", snapshot)
    return Try(lambda: c("SR.scan", sr), lambda: all(r["managed"] for r in c("VDI.get_all_records").values()), by_itself=True)


@operation
def vdi_data_destroy(c):
    vdi = lab.vdi(c, "faulty disk", 1 * lab.MIB)
    c("VDI.enable_cbt", vdi)
    snapshot = c("VDI.snapshot", vdi, {})
    return Try(lambda: c("VDI.data_destroy", snapshot), lambda: c("VDI.get_type", snapshot) == "cbt_metadata")


@operation
def vdi_revert(c):
    vdi = lab.vdi(c, "faulty disk", 1 * lab.MIB)
    snapshot = c("VDI.snapshot", vdi, {})
    c("VDI.resize", vdi, 2 * lab.MIB)
    return Try(lambda: c("VDI.revert", snapshot), lambda: c("VDI.get_virtual_size", vdi) == str(1 * lab.MIB))


@operation
def vm_renew(c):
    vm = _running(c, "renewed")
    return Try(lambda: c("VM.restart_device_models", vm), _another_domain(c, vm), moves=True)


@operation
def vdi_on_boot(c):
    vdi = lab.vdi(c, "faulty disk", 1 * lab.MIB)
    return Try(lambda: c("VDI.set_on_boot", vdi, "reset"), lambda: c("VDI.get_on_boot", vdi) == "reset")


@operation
def vdi_copy(c):
    vdi = lab.vdi(c, "faulty disk", 1 * lab.MIB)
    sr, n = lab.default_sr(c), _vdis(c)
    return Try(lambda: c("VDI.copy", vdi, sr, NULL, NULL), lambda: _vdis(c) > n)


@operation
def vdi_resize(c):
    vdi = lab.vdi(c, "faulty disk", 1 * lab.MIB)
    return Try(lambda: c("VDI.resize", vdi, 2 * lab.MIB), lambda: c("VDI.get_virtual_size", vdi) == str(2 * lab.MIB))


@operation
def vbd_plug(c):
    vm = _running(c, "faulty")
    vbd = lab.vbd(c, vm, lab.vdi(c, "plugged", 1 * lab.MIB), "1")
    return Try(lambda: c("VBD.plug", vbd), lambda: c("VBD.get_currently_attached", vbd))


@operation
def vbd_unplug(c):
    vm = _running(c, "faulty")
    vbd = lab.vbd(c, vm, lab.vdi(c, "plugged", 1 * lab.MIB), "1")
    c("VBD.plug", vbd)
    return Try(lambda: c("VBD.unplug", vbd), lambda: not c("VBD.get_currently_attached", vbd))


@operation
def vif_plug(c):
    vm = _running(c, "faulty")
    vif = lab.vif(c, vm, lab.network(c, "plugged"), "0")
    return Try(lambda: c("VIF.plug", vif), lambda: c("VIF.get_currently_attached", vif))


@operation
def vif_unplug(c):
    vm = _running(c, "faulty")
    vif = lab.vif(c, vm, lab.network(c, "plugged"), "0")
    c("VIF.plug", vif)
    return Try(lambda: c("VIF.unplug", vif), lambda: not c("VIF.get_currently_attached", vif))


def _camera(c):
    """A USB device that VMs may have; its reference."""
    root = os.path.join(c.daemon.state, "sysfs")
    sysfs.usb(root, "1-2")
    c("PUSB.scan", c("host.get_all")[0])
    pusb = c("PUSB.get_all")[0]
    c("PUSB.set_passthrough_enabled", pusb, True)
    return pusb


@operation
def vm_start_with_devices(c):
    vm = lab.vm(c, "faulty")
    c("VUSB.create", vm, c("PUSB.get_USB_group", _camera(c)), {})
    return Try(lambda: c("VM.start", vm, False, False), _state(c, vm, "Running"))


@operation
def vusb_unplug(c):
    pusb = _camera(c)
    vm = lab.vm(c, "faulty")
    vusb = c("VUSB.create", vm, c("PUSB.get_USB_group", pusb), {})
    c("VM.start", vm, False, False)
    return Try(lambda: c("VUSB.unplug", vusb), lambda: not c("VUSB.get_currently_attached", vusb))


@operation
def vif_move(c):
    vm = _running(c, "faulty")
    other = lab.network(c, "plugged")
    vif = lab.vif(c, vm, lab.network(c, "plugged"), "0")
    c("VIF.plug", vif)
    return Try(lambda: c("VIF.move", vif, other), lambda: c("VIF.get_network", vif) == other)


def _card(c):
    """The simulated host's second card."""
    host = lab.host(c)
    c("PIF.scan", host)
    return next(r for r, p in c("PIF.get_all_records").items() if p["device"] == "eth1" and p["VLAN"] == "-1")


def _bridges(c):
    """The links of the simulated network agree with the records."""
    with open(os.path.join(c.daemon.state, "network")) as f:
        there = {line.split()[1] for line in f if line.startswith("link ") and line.split()[2] == "bridge"}
    networks = c("network.get_all_records")
    up, down = set(), set()
    for p in c("PIF.get_all_records").values():
        (up if p["currently_attached"] and p["bond_slave_of"] == NULL else down).add(networks[p["network"]]["bridge"])
    attached = {networks[v["network"]]["bridge"] for v in c("VIF.get_all_records").values() if v["currently_attached"]}
    nics = {nic["bridge"] for domain in c.daemon.domains().values() for nic in domain["nics"]}
    return up | attached <= there and not down & there and nics == attached


@operation
def vlan_create(c):
    card, network = _card(c), lab.network(c, "plugged")
    return Try(lambda: c("VLAN.create", card, 12, network), lambda: bool(c("VLAN.get_all")), agrees=lambda: _bridges(c))


@operation
def pif_unplug(c):
    card = _card(c)
    return Try(lambda: c("PIF.unplug", card), lambda: not c("PIF.get_currently_attached", card), agrees=lambda: _bridges(c))


@operation
def bond_create(c):
    """With a machine on a member, which goes along."""
    members, network = [_card(c)], lab.network(c, "plugged")
    vm = _small(c, "carried", 0)
    lab.vif(c, vm, c("PIF.get_network", members[0]), "0")
    c("VM.start", vm, False, False)
    members.append(next(r for r, p in c("PIF.get_all_records").items() if p["management"]))
    return Try(lambda: c("Bond.create", network, members, "", "active-backup", {}), lambda: bool(c("Bond.get_all")),
               agrees=lambda: _bridges(c))


@operation
def vm_ended(c):
    vm = _running(c, "faulty")
    uuid = c("VM.get_uuid", vm)
    return Try(lambda: c.daemon.sim(poweroff=uuid), _state(c, vm, "Halted"), by_itself=True)


@operation
def vm_vcpus(c):
    vm = _small(c, "faulty")
    c("VM.set_VCPUs_max", vm, 4)
    c("VM.start", vm, False, False)
    uuid = c("VM.get_uuid", vm)
    return Try(lambda: c("VM.set_VCPUs_number_live", vm, 2), lambda: c.daemon.domains()[uuid]["vcpus"] == 2)


@operation
def vm_memory(c):
    vm = _small(c, "faulty")
    c("VM.set_memory_limits", vm, 32 * lab.MIB, 64 * lab.MIB, 64 * lab.MIB, 64 * lab.MIB)
    c("VM.start", vm, False, False)
    low = 48 * lab.MIB
    return Try(lambda: c("VM.set_memory_dynamic_range", vm, low, low), lambda: c("VM.get_memory_dynamic_max", vm) == str(low))


@operation
def vdi_transfer(c):
    source, target = lab.vdi(c, "faulty disk", 1 * lab.MIB), lab.vdi(c, "faulty target", 1 * lab.MIB)
    return Try(lambda: c("VDI.copy", source, NULL, NULL, target))


def second(c):
    """The directory of the second repository, and whether it holds anything."""
    return os.path.join(c.daemon.dir, "second")


def _sr(c, kind="file"):
    """A second repository, attached."""
    os.makedirs(second(c), exist_ok=True)
    return c("SR.create", lab.host(c), {"location": second(c)}, 0, "faulty repository", "", kind, "iso" if kind == "iso" else "user", False, {})


def _pbd(c, sr):
    return c("SR.get_PBDs", sr)[0]


@operation
def sr_create(c):
    os.makedirs(second(c), exist_ok=True)
    return Try(lambda: _sr(c), _named(c, "SR", "faulty repository"))


@operation
def sr_scan(c):
    sr = _sr(c)
    return Try(lambda: c("SR.scan", sr))


@operation
def sr_update(c):
    sr = _sr(c)
    return Try(lambda: c("SR.update", sr))


@operation
def sr_destroy(c):
    sr = _sr(c)
    c("PBD.unplug", _pbd(c, sr))
    return Try(lambda: c("SR.destroy", sr), lambda: world.record(c, "SR", sr) is None)


@operation
def pbd_unplug(c):
    pbd = _pbd(c, _sr(c))
    return Try(lambda: c("PBD.unplug", pbd), lambda: not c("PBD.get_currently_attached", pbd))


@operation
def pbd_plug(c):
    pbd = _pbd(c, _sr(c))
    c("PBD.unplug", pbd)
    return Try(lambda: c("PBD.plug", pbd), lambda: c("PBD.get_currently_attached", pbd))


def _medium(c):
    """A CD in a repository of CDs."""
    os.makedirs(second(c), exist_ok=True)
    with open(os.path.join(second(c), "disc.iso"), "wb") as f:
        f.write(b"\0" * 65536)
    sr = _sr(c, "iso")
    c("SR.scan", sr)
    return c("SR.get_VDIs", sr)[0]


def _drive(c):
    """An empty CD drive of a running VM."""
    vm = _small(c, "faulty")
    drive = lab.vbd(c, vm, NULL, "3", "RO", "CD")
    c("VM.start", vm, False, False)
    return drive


@operation
def vbd_insert(c):
    medium, drive = _medium(c), _drive(c)
    return Try(lambda: c("VBD.insert", drive, medium), lambda: c("VBD.get_VDI", drive) == medium)


@operation
def vbd_eject(c):
    medium, drive = _medium(c), _drive(c)
    c("VBD.insert", drive, medium)
    return Try(lambda: c("VBD.eject", drive), lambda: c("VBD.get_empty", drive))


def _programs(c):
    """The folder of the host's own programs."""
    return os.path.join(c.daemon.state, "system", "usr", "bin")


def _program(c, name, script='echo "$*" >"$0.told"'):
    """A program of the host's, which notes what it is told; a function that says what that was last, "" for nothing yet."""
    path = os.path.join(_programs(c), name)
    os.makedirs(_programs(c), exist_ok=True)
    with open(path, "w") as f:
        f.write(f"#!/bin/sh\n{script}\n")
    os.chmod(path, 0o755)

    def told(program=name):
        try:
            with open(os.path.join(_programs(c), program + ".told")) as f:
                return f.read().strip()
        except FileNotFoundError:
            return ""
    return told


@operation
def host_shutdown(c):
    host, told = lab.host(c), _program(c, "systemctl")
    c("host.disable", host, False)
    return Try(lambda: c("host.shutdown", host), told)


def clear(c):
    """Everything an operation may have left in an orderly way: VMs, templates of ours, disks, networks, the second repository."""
    ours = {r: vm for r, vm in c("VM.get_all_records").items() if not vm["is_control_domain"] and not vm["is_default_template"]}
    for ref, vm in ours.items():
        if vm["power_state"] != "Halted" and not vm["is_a_snapshot"]:
            c("VM.hard_shutdown", ref)
    for ref in ours:
        c("VM.destroy", ref)
    for ref in c("VM_appliance.get_all"):
        c("VM_appliance.destroy", ref)
    srs = {r for r, s in c("SR.get_all_records").items() if s["type"] in ("ext", "file")}

    def a_disk_less():
        mine = {r: v for r, v in c("VDI.get_all_records").items() if v["SR"] in srs}
        for ref, vdi in mine.items():
            if "destroy" in vdi["allowed_operations"]:
                c("VDI.destroy", ref)
        return not mine
    until(a_disk_less, 5)  # a disk may be needed by one that goes first
    for class_name in ("Bond", "VLAN"):
        for ref in c(f"{class_name}.get_all"):
            c(f"{class_name}.destroy", ref)
    for ref, pif in c("PIF.get_all_records").items():
        if not pif["currently_attached"]:
            c("PIF.plug", ref)
    for ref, network in c("network.get_all_records").items():
        if network["name_label"] == "plugged":
            c("network.destroy", ref)
    for blob in c("blob.get_by_name_label", "faulty blob"):
        c("blob.destroy", blob)
    for sr in c("SR.get_by_name_label", "faulty repository"):
        for pbd in c("SR.get_PBDs", sr):
            c("PBD.unplug", pbd)
        c("SR.forget", sr)
    if os.path.isdir(second(c)):
        for folder, _, names in os.walk(second(c)):
            for name in names:
                os.unlink(os.path.join(folder, name))
    for host, record in c("host.get_all_records").items():
        if not record["enabled"]:
            c("host.enable", host)
        if record["max_cstate"]:
            c("host.set_max_cstate", host, "")
    for key in c("pool.get_guest_agent_config", lab.pool(c)):
        c("pool.remove_from_guest_agent_config", lab.pool(c), key)
    for folder in (_programs(c), os.path.join(c.daemon.state, "dumps")):
        shutil.rmtree(folder, ignore_errors=True)


@operation
def server_certificate(c):
    host = lab.host(c)
    before = c("host.get_server_certificate", host)
    return Try(lambda: c("host.reset_server_certificate", host), lambda: c("host.get_server_certificate", host) != before)


def _put(c, path, data, **query):
    """An upload without a task of its own; XapiError with the answer's text where it is refused."""
    connection = c._connect()
    try:
        connection.request("PUT", path + "?" + urllib.parse.urlencode({**query, "session_id": c.session}), data, {"Expect": "100-continue"})
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as e:
        raise Lost(str(e)) from e
    finally:
        connection.close()
    if answer.status != 200:
        raise XapiError(["INTERNAL_ERROR", text])


@operation
def blob_put(c):
    blob = c("pool.create_new_blob", c("pool.get_all")[0], "faulty blob", "", False)
    return Try(lambda: _put(c, "/blob", b"data", ref=blob), lambda: c("blob.get_size", blob) == "4")


@operation
def host_restore(c):
    told = _program(c, "xapid-host-restore", 'cp "$1" "$0.told"')
    return Try(lambda: _put(c, "/host_restore", b"data"), told)


@operation
def database_restore(c):
    """The daemon begins anew with the dump's database, in which the VM is as it was."""
    vm = lab.vm(c, "faulty")
    dump = web.get(c, "/pool/xmldbdump")[2]
    c("VM.set_name_description", vm, "changed")

    def is_restored():
        try:
            c.login()
            return c("VM.get_name_description", vm) != "changed"
        except (XapiError, Lost):
            return False

    def restore():
        _put(c, "/pool/xmldbdump", dump)
        if not until(is_restored):
            raise XapiError(["INTERNAL_ERROR", "the daemon did not begin anew"])
    return Try(restore, is_restored)


@operation
def vm_export(c):
    vm = _small(c, "faulty")
    return Try(lambda: web.get(c, "/export", ref=vm))


@operation
def vm_import(c):
    pieces = {"Ref:10": [b"x" * lab.MIB], "Ref:11": [b"y" * lab.MIB, None, b"z" * lab.MIB]}
    objects = xva.objects({"Ref:10": lab.MIB, "Ref:11": 3 * lab.MIB}, "faulty", network="faulty network")
    return Try(lambda: web.put(c, "/import", xva.write(pieces, objects)), _named(c, "VM", "faulty"))


@operation
def vdi_import(c):
    vdi = lab.vdi(c, "faulty disk", 1 * lab.MIB)
    return Try(lambda: web.put(c, "/import_raw_vdi", b"x" * lab.MIB, vdi=vdi))


@operation
def vdi_import_new(c):
    return Try(lambda: web.put(c, "/import_raw_vdi", b"x" * lab.MIB, sr_id=lab.default_sr(c)), _named(c, "VDI", "Imported VDI"))


@operation
def vdi_export(c):
    vdi = lab.vdi(c, "faulty disk", 1 * lab.MIB)
    return Try(lambda: web.get(c, "/export_raw_vdi", vdi=vdi))


@operation
def vm_ended_soft_reboot(c):
    """The guest asks for a new domain."""
    vm = _running(c, "faulty")
    uuid = c("VM.get_uuid", vm)
    return Try(lambda: c.daemon.sim(soft_reboot=uuid), _another_domain(c, vm), _state(c, vm, "Halted"), by_itself=True)


@operation
def vm_ended_early(c):
    """A guest that reboots as soon as it is up is kept waiting; what comes after that is as above."""
    vm = _running(c, "faulty")
    uuid = c("VM.get_uuid", vm)
    return Try(lambda: c.daemon.sim(reboot=uuid), _another_domain(c, vm), by_itself=True, only="vm_reboot/early")


@operation
def vm_ended_crash(c):
    """A guest that crashes leaves its core behind."""
    vm = _running(c, "faulty")
    c("VM.set_actions_after_crash", vm, "coredump_and_destroy")
    uuid = c("VM.get_uuid", vm)

    def has_core():
        cores = os.path.join(c.daemon.state, "dumps")
        return [n.split(".")[0] for n in os.listdir(cores)] == [uuid] if os.path.isdir(cores) else False
    return Try(lambda: c.daemon.sim(crash=uuid), lambda: _state(c, vm, "Halted")() and has_core(), by_itself=True)


@operation
def host_enable_ssh(c):
    host, told = lab.host(c), _program(c, "systemctl")
    c("host.disable_ssh", host)
    return Try(lambda: c("host.enable_ssh", host), lambda: c("host.get_ssh_enabled", host),
               agrees=lambda: told() == f"{'enable' if c('host.get_ssh_enabled', host) else 'disable'} --now sshd.service")


@operation
def host_set_max_cstate(c):
    host, told = lab.host(c), _program(c, "xenpm")
    c("host.set_max_cstate", host, "1")
    return Try(lambda: c("host.set_max_cstate", host, "2"), lambda: c("host.get_max_cstate", host) == "2",
               agrees=lambda: told() == f"set-max-cstate {c('host.get_max_cstate', host)}")


@operation
def pool_guest_agent_config(c):
    pool, key = lab.pool(c), "auto_update_url"
    told = _program(c, "xenstore-write", 'echo "$2" >"${0%write}rm.told"')
    _program(c, "xenstore-rm", 'echo >"$0.told"')
    _program(c, "xenstore-chmod")
    return Try(lambda: c("pool.add_to_guest_agent_config", pool, key, "http://example.org/"),
               lambda: key in c("pool.get_guest_agent_config", pool),
               agrees=lambda: told("xenstore-rm") == c("pool.get_guest_agent_config", pool).get(key, ""))
