#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What tools built on the XenAPI do, call by call, and what each relies on to go on.

Ansible and OpenStack speak through XenAPI.py, the module XenServer gave them (Debian has it with its fence agents);
Terraform through JSON-RPC; Packer and CloudStack through typed libraries that send whole records, with every field
that their types have.  Address and password as in tour.py.
"""

import itertools
import json
import re
import ssl
import sys
import time
import uuid
import xmlrpc.client

from tour import (
    NULL,
    PASSWORD,
    PORT,
    TEMPLATE,
    TIMEOUT,
    URL_HOST,
    USER,
    Failure,
    Session,
    check,
    context,
    fails,
    find_sr,
    ok,
    post,
)

MIB = 1 << 20


def xenapi_module():
    """XenAPI.py's sessions, over TLS with any certificate; None where the module is not installed."""
    sys.path.append("/usr/share/fence")
    try:
        import XenAPI
    except ImportError:
        return None, None
    # The module hands its server's address to xmlrpc.client, which asks ssl.
    ssl._create_default_https_context = context
    return XenAPI.Session(f"https://{URL_HOST}:{PORT}/"), XenAPI.Failure


def until(condition, text):
    """Asks again and again, as these tools do, though more often."""
    end = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > end:
            check(False, text)
        time.sleep(0.05)
    ok(text)


def wait_for_task(x, task):
    until(lambda: x.task.get_status(task).lower() != "pending", "a task comes to its end")
    status = x.task.get_status(task)
    x.task.destroy(task)
    return status


# ---- Ansible: community.general.xenserver_guest ----


def ansible(session, failure):
    session.login_with_password(USER, PASSWORD, "2.16.0", "Ansible")
    x = session.xenapi
    pool = x.pool.get_all()[0]
    sr = x.pool.get_default_SR(pool)
    this = x.session.get_this_host(session._session)
    version = [int(part) for part in x.host.get_software_version(this)["product_version"].split(".")]
    check(len(version) == 3 and version[0] >= 7, "Ansible: the product's version is three numbers", version)

    found = session.xenapi_request("VM.get_by_name_label", (TEMPLATE,))
    check(len(found) == 1, "Ansible: one template has the name", found)
    name = f"ansible {uuid.uuid4()}"
    vm = x.VM.clone(found[0], name)
    config = x.VM.get_other_config(vm)
    config.pop("disks", None)
    x.VM.set_other_config(vm, config)
    x.VM.provision(vm)
    x.VM.set_name_description(vm, "made by a playbook")
    x.VM.remove_from_other_config(vm, "folder")
    x.VM.add_to_other_config(vm, "folder", "/folder1/folder2")
    x.VM.set_affinity(vm, x.host.get_by_name_label(x.host.get_name_label(this))[0])
    x.VM.set_VCPUs_max(vm, "2")
    x.VM.set_VCPUs_at_startup(vm, "2")
    x.VM.remove_from_platform(vm, "cores-per-socket")
    x.VM.add_to_platform(vm, "cores-per-socket", "2")
    static_min = str(min(128 * MIB, int(x.VM.get_memory_static_min(vm))))
    x.VM.set_memory_limits(vm, static_min, str(128 * MIB), str(128 * MIB), str(128 * MIB))
    devices = x.VM.get_allowed_VBD_devices(vm)
    disk = {"name_label": name + "-0", "name_description": "", "SR": sr, "virtual_size": str(32 * MIB), "type": "user",
            "sharable": False, "read_only": False, "other_config": {}}
    drive = {"VM": vm, "userdevice": devices[0], "bootable": False, "mode": "RW", "type": "Disk", "empty": False,
             "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}}
    x.VBD.create({**drive, "VDI": x.VDI.create(disk)})
    x.VBD.create({**drive, "VDI": NULL, "userdevice": "3", "mode": "RO", "type": "CD", "empty": True})
    network = x.network.get_all()[0]
    card = {"device": x.VM.get_allowed_VIF_devices(vm)[0], "network": network, "VM": vm, "MAC": "", "MTU": x.network.get_MTU(network),
            "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}}
    vif = x.VIF.create(card)
    x.VM.remove_from_xenstore_data(vm, "vm-data/networks/0/mac")
    x.VM.add_to_xenstore_data(vm, "vm-data/networks/0/mac", x.VIF.get_MAC(vif))
    # To change an interface it is destroyed, and made again from its own record.
    old = x.VIF.get_record(vif)
    x.VIF.destroy(vif)
    again = {k: old[k] for k in ("device", "network", "VM", "MTU", "other_config", "qos_algorithm_type", "qos_algorithm_params", "locking_mode",
                                 "ipv4_allowed", "ipv6_allowed")}
    vif = x.VIF.create({**again, "MAC": "02:00:00:00:00:42"})

    record = x.VM.get_record(vm)
    disks = sorted((x.VBD.get_record(b) for b in record["VBDs"]), key=lambda b: int(b["userdevice"]))
    check([b["type"] for b in disks] == ["Disk", "CD"] and disks[1]["VDI"] == NULL, "Ansible: disk and drive are where they were put", disks)
    check((int(record["VCPUs_max"]), record["platform"]["cores-per-socket"], int(record["memory_dynamic_max"]) // MIB) == (2, "2", 128),
          "Ansible: the hardware is what was asked for", record)
    check(x.VIF.get_MAC(vif) == "02:00:00:00:00:42" and x.VIF.get_MAC_autogenerated(vif) is False, "Ansible: the new interface has its address")

    x.VM.start(vm, False, False)
    until(lambda: x.VM.get_guest_metrics(vm) != NULL, "Ansible: the guest's metrics come")
    until(lambda: "0/ip" in x.VM_guest_metrics.get_record(x.VM.get_guest_metrics(vm))["networks"], "Ansible: and with them its address")
    disk = x.VDI.create({**disk, "name_label": name + "-1"})
    plugged = x.VBD.create({**drive, "VDI": disk, "userdevice": x.VM.get_allowed_VBD_devices(vm)[0]})
    x.VBD.plug(plugged)
    check(x.VBD.get_currently_attached(plugged), "Ansible: a disk is added while it runs")
    check(wait_for_task(x, x.Async.VM.clean_reboot(vm)) == "success", "Ansible: a guest reboots when it is asked")
    until(lambda: "clean_shutdown" in x.VM.get_allowed_operations(vm), "Ansible: and is there again")
    check(wait_for_task(x, x.Async.VM.clean_shutdown(vm)) == "success", "Ansible: and shuts down")
    x.VDI.resize(disk, str(48 * MIB))
    check(x.VDI.get_virtual_size(disk) == str(48 * MIB), "Ansible: a disk grows")
    try:
        session.xenapi_request("VM.get_by_uuid", (str(uuid.uuid4()),))
        check(False, "Ansible: what is not there is a failure")
    except failure as e:
        check(e.details[0] == "UUID_INVALID", "Ansible: what is not there is a failure", e.details)
    uuids = [x.VDI.get_uuid(x.VBD.get_VDI(b)) for b in x.VM.get_VBDs(vm) if x.VBD.get_type(b) == "Disk"]
    x.VM.hard_shutdown(vm) if x.VM.get_power_state(vm) != "Halted" else None
    x.VM.destroy(vm)
    for disk in uuids:
        x.VDI.destroy(x.VDI.get_by_uuid(disk))
    ok("Ansible: destroyed")
    session.xenapi.session.logout()


# ---- OpenStack: nova.virt.xenapi ----


def openstack(session, _failure):
    session.login_with_password(USER, PASSWORD, "1.0", "OpenStack")
    x = session.xenapi
    this = x.session.get_this_host(session._session)
    software = x.host.get_software_version(this)
    check({"product_version", "product_brand"} <= set(software), "OpenStack: product and version are known", software)
    sr = next(ref for ref in (x.PBD.get_SR(p) for p in x.host.get_PBDs(this)) if "vdi_create" in x.SR.get_allowed_operations(ref))
    x.SR.scan(sr)
    name = f"instance-{uuid.uuid4()}"
    # Everything that VM.create must be given, and an empty text for no host.
    vm = x.VM.create({
        "actions_after_crash": "destroy", "actions_after_reboot": "restart", "actions_after_shutdown": "destroy", "affinity": "",
        "blocked_operations": {}, "ha_always_run": False, "ha_restart_priority": "", "HVM_boot_params": {"order": "dc"},
        "HVM_boot_policy": "BIOS order", "is_a_template": False, "memory_dynamic_min": str(64 * MIB), "memory_dynamic_max": str(64 * MIB),
        "memory_static_min": "0", "memory_static_max": str(64 * MIB), "memory_target": str(64 * MIB), "name_description": "",
        "name_label": name, "other_config": {"nova_uuid": str(uuid.uuid4())}, "PCI_bus": "",
        "platform": {"acpi": "true", "apic": "true", "pae": "true", "viridian": "true", "timeoffset": "0"}, "PV_args": "",
        "PV_bootloader": "", "PV_bootloader_args": "", "PV_kernel": "", "PV_legacy_args": "", "PV_ramdisk": "", "recommendations": "",
        "tags": [], "user_version": "0", "VCPUs_at_startup": "1", "VCPUs_max": "1", "VCPUs_params": {},
        "xenstore_data": {"vm-data/allowvssprovider": "false"}})
    check(x.VM.get_by_name_label(name) == [vm], "OpenStack: a machine is made from nothing")
    vdi = x.VDI.create({"name_label": name, "name_description": "root", "SR": sr, "virtual_size": str(32 * MIB), "type": "User", "sharable": False,
                        "read_only": False, "xenstore_data": {}, "other_config": {"nova_disk_type": "root"}, "sm_config": {}, "tags": []})
    x.VBD.create({"VM": vm, "VDI": vdi, "userdevice": "0", "bootable": True, "mode": "RW", "type": "disk", "unpluggable": True, "empty": False,
                  "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}, "qos_supported_algorithms": []})
    x.VM.start(vm, True, False)
    check(x.VM.get_power_state(vm) == "Paused", "OpenStack: it waits for its network")
    x.VM.unpause(vm)
    check(int(x.VM.get_domid(vm)) > 0, "OpenStack: and has a domain then")
    x.VM.add_to_xenstore_data(vm, "vm-data/hostname", "host")
    x.VM.remove_from_xenstore_data(vm, "vm-data/hostname")
    answer = session.xenapi_request("event.from", (["vm/" + vm], "", 1.0))
    check(answer["events"][0]["snapshot"]["power_state"] == "Running", "OpenStack: its events are read")
    snapshot = x.VM.snapshot(vm, "image")
    base = next(x.VBD.get_VDI(b) for b in x.VM.get_VBDs(snapshot) if x.VBD.get_type(b) == "Disk")
    check(x.VDI.get_snapshot_of(base) == vdi, "OpenStack: a snapshot's disk names the disk it is of")
    x.VM.destroy(snapshot)
    x.VDI.destroy(base)
    x.VM.hard_shutdown(vm)
    x.VM.destroy(vm)
    x.VDI.destroy(vdi)
    ok("OpenStack: destroyed")
    session.xenapi.session.logout()


# ---- Terraform: the provider xenserver, over JSON-RPC ----

SERIAL = itertools.count(1)


def json_call(method, *params):
    """A JSON-RPC 2.0 call as the Go SDK makes it."""
    body = json.dumps({"jsonrpc": "2.0", "method": method, "params": params, "id": next(SERIAL)})
    _, _, text = post(body.encode(), "/jsonrpc", "application/json")
    answer = json.loads(text)
    if "error" in answer:
        raise Failure([answer["error"]["message"], *answer["error"]["data"]])
    return answer["result"]


def terraform():
    session = json_call("session.login_with_password", USER, PASSWORD, "1.0", "terraform provider")

    def call(method, *params):
        return json_call(method, session, *params)

    records = call("VM.get_all_records")
    template = next(ref for ref, r in records.items() if r["is_a_template"] and TEMPLATE in r["name_label"])
    name = f"terraform {uuid.uuid4()}"
    vm = call("VM.clone", template, name)
    call("VM.set_is_a_template", vm, False)
    config = call("VM.get_other_config", vm)
    call("VM.set_other_config", vm, {**config, "tf_template_name": TEMPLATE, "tf_other_config_keys": "flag,", "flag": "1"})
    call("VM.set_memory_limits", vm, 64 * MIB, 64 * MIB, 64 * MIB, 64 * MIB)
    call("VM.set_VCPUs_max", vm, 2)
    call("VM.set_VCPUs_at_startup", vm, 2)
    record = call("VM.get_record", vm)
    check(isinstance(record["VCPUs_max"], int) and isinstance(record["is_a_template"], bool) and isinstance(record["HVM_shadow_multiplier"], (int, float)),
          "Terraform: numbers are numbers", record["VCPUs_max"], record["HVM_shadow_multiplier"])
    check({"firmware", "order"} <= set(record["HVM_boot_params"]) and "secureboot" in record["platform"],
          "Terraform: how it boots is said", record["HVM_boot_params"], record["platform"])
    call("VM.set_platform", vm, {**record["platform"], "cores-per-socket": "2", "secureboot": "false"})
    call("VM.set_HVM_boot_params", vm, {**record["HVM_boot_params"], "firmware": "uefi", "order": "ncd"})
    check(call("VM.get_HVM_boot_params", vm)["firmware"] == "uefi", "Terraform: and can be set")
    sr = call("pool.get_default_SR", call("pool.get_all")[0])
    vdi = call("VDI.create", {"name_label": name, "name_description": "", "SR": sr, "virtual_size": 32 * MIB, "type": "user", "sharable": False,
                              "read_only": False, "other_config": {}})
    vbd = call("VBD.create", {"VM": vm, "VDI": vdi, "userdevice": call("VM.get_allowed_VBD_devices", vm)[0], "bootable": True, "mode": "RW",
                              "type": "Disk", "empty": False, "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {},
                              "unpluggable": True})
    network = next(iter(call("network.get_all_records")))
    call("VIF.create", {"VM": vm, "network": network, "device": "0", "MAC": "", "MTU": 1500, "other_config": {}, "qos_algorithm_type": "",
                        "qos_algorithm_params": {}})
    call("VM.start", vm, False, False)
    check(call("VM.get_power_state", vm) == "Running", "Terraform: applied")
    snapshot = call("VM.checkpoint", vm, name + " checkpoint")
    check(call("VM.get_power_state", snapshot) == "Suspended", "Terraform: a checkpoint has the memory")
    call("VM.revert", snapshot)
    call("VM.resume", vm, False, False)
    check(call("VM.get_power_state", vm) == "Running", "Terraform: and it goes on from there")
    memory = call("VM.get_suspend_VDI", snapshot)
    disks = [call("VBD.get_VDI", b) for b in call("VM.get_VBDs", snapshot) if call("VBD.get_type", b) == "Disk"]
    call("VM.destroy", snapshot)
    for disk in [*disks, memory]:
        try:
            call("VDI.destroy", disk)
        except Failure as e:
            check(e.details[0] == "HANDLE_INVALID", "Terraform: what is gone already is no matter", e.details)
    call("VM.hard_shutdown", vm)
    disk = call("VBD.get_VDI", next(b for b in call("VM.get_VBDs", vm) if call("VBD.get_type", b) == "Disk"))
    call("VM.destroy", vm)
    call("VDI.destroy", disk)
    for gone, what in ((vbd, "VBD"), (vm, "VM")):
        try:
            call(f"{what}.get_record", gone)
            check(False, f"Terraform: its {what} is gone")
        except Failure as e:
            check(e.details == ["HANDLE_INVALID", what, gone], f"Terraform: its {what} is gone", e.details)
    call("session.logout")


# ---- Packer: whole records whose unset fields are empty ----

DAWN = xmlrpc.client.DateTime("00010101T00:00:00Z")


def packer():
    s = Session(USER, PASSWORD, "1.0", "packer")
    vm = s("VM.clone", s("VM.get_by_name_label", TEMPLATE)[0], f"packer {uuid.uuid4()}")
    s("VM.set_is_a_template", vm, False)
    s("VM.set_VCPUs_max", vm, "1")
    s("VM.set_VCPUs_at_startup", vm, "1")
    s("VM.set_memory_limits", vm, *[str(64 * MIB)] * 4)
    s("VM.set_platform", vm, {"viridian": "false", "nx": "true", "pae": "true", "apic": "true", "timeoffset": "0", "acpi": "1"})
    sr = find_sr(s, s("pool.get_all")[0])
    vdi = s("VDI.create", {
        "uuid": "", "name_label": "Packer-disk-0", "name_description": "", "allowed_operations": [], "current_operations": {}, "SR": sr,
        "VBDs": [], "crash_dumps": [], "virtual_size": str(32 * MIB), "physical_utilisation": "0", "type": "user", "sharable": False,
        "read_only": False, "other_config": {"temp": "temp"}, "storage_lock": False, "location": "", "managed": False, "missing": False,
        "parent": "", "xenstore_data": {}, "sm_config": {}, "is_a_snapshot": False, "snapshot_of": "", "snapshots": [], "snapshot_time": DAWN,
        "tags": [], "allow_caching": False, "on_boot": "", "metadata_of_pool": "", "metadata_latest": False})
    check(s("VDI.get_managed", vdi) and s("VDI.get_on_boot", vdi) == "persist" and s("VDI.get_parent", vdi) == NULL,
          "Packer: what xapid says of a disk is not what the record said", s("VDI.get_record", vdi))
    vbd = s("VBD.create", {
        "uuid": "", "allowed_operations": [], "current_operations": {}, "VM": vm, "VDI": vdi, "device": "", "userdevice": "autodetect",
        "bootable": False, "mode": "RW", "type": "Disk", "unpluggable": False, "storage_lock": False, "empty": False, "other_config": {},
        "currently_attached": False, "status_code": "0", "status_detail": "", "runtime_properties": {}, "qos_algorithm_type": "",
        "qos_algorithm_params": {}, "qos_supported_algorithms": [], "metrics": ""})
    check(s("VBD.get_userdevice", vbd) == "0", "Packer: the first free place is found", s("VBD.get_userdevice", vbd))
    network = next(s("PIF.get_network", p) for p in s("PIF.get_all") if s("PIF.get_management", p))
    s("VIF.create", {
        "uuid": "", "allowed_operations": [], "current_operations": {}, "device": "0", "network": network, "VM": vm, "MAC": "", "MTU": "0",
        "other_config": {}, "currently_attached": False, "status_code": "0", "status_detail": "", "runtime_properties": {},
        "qos_algorithm_type": "", "qos_algorithm_params": {}, "qos_supported_algorithms": [], "metrics": "", "MAC_autogenerated": False,
        "locking_mode": "network_default", "ipv4_allowed": [], "ipv6_allowed": []})
    s("VM.start", vm, True, False)
    s("VM.unpause", vm)
    where = [s("console.get_location", c) for c in s("VM.get_consoles", vm) if s("console.get_protocol", c) == "rfb"]
    check(len(where) == 1 and re.match(r"https://[^/]+/console\?(uuid|ref)=", where[0]), "Packer: the console that it types into has an address", where)
    until(lambda: "clean_shutdown" in s("VM.get_allowed_operations", vm), "Packer: the guest is up")
    s("VM.clean_shutdown", vm)
    s("VM.destroy", vm)
    s("VDI.destroy", vdi)
    ok("Packer: destroyed")
    s("session.logout")


# ---- CloudStack: a machine from its template's own record ----


def cloudstack():
    s = Session(USER, PASSWORD, "1.3", "cloudstack")
    sr = find_sr(s, s("pool.get_all")[0])
    host = s("PBD.get_host", s("SR.get_PBDs", sr)[0])
    metrics = s("host_metrics.get_record", s("host.get_metrics", host))
    check(int(metrics["memory_total"]) >= int(s("host.compute_free_memory", host)) > 0, "CloudStack: the host has memory", metrics)
    check("hvm" in " ".join(s("host.get_capabilities", host)), "CloudStack: and can run machines")
    record = s("VM.get_record", s("VM.get_by_name_label", TEMPLATE)[0])
    record["other_config"] = {k: v for k, v in record["other_config"].items() if k not in ("disks", "default_template", "mac_seed")}
    record.update({"name_label": f"i-2-3-{uuid.uuid4()}", "affinity": host, "is_a_template": False, "actions_after_crash": "destroy",
                   "actions_after_shutdown": "destroy", "VCPUs_max": "1", "VCPUs_at_startup": "1", "memory_static_min": str(64 * MIB),
                   "memory_static_max": str(64 * MIB), "memory_dynamic_min": str(64 * MIB), "memory_dynamic_max": str(64 * MIB),
                   "VCPUs_params": {"weight": "256", "cap": "0"}})
    vm = s("VM.create", record)
    check(s("VM.get_uuid", vm) != record["uuid"] and not s("VM.get_is_a_template", vm) and not s("VM.get_is_default_template", vm),
          "CloudStack: a template's record makes a machine of its own")
    # The Java library has a word of its own for an enum that was not set.
    vdi = s("VDI.create", {"name_label": record["name_label"], "name_description": "", "SR": sr, "virtual_size": str(32 * MIB), "type": "user",
                           "sharable": False, "read_only": False, "other_config": {}, "on_boot": "UNRECOGNIZED", "snapshot_time": DAWN,
                           "snapshot_of": NULL, "parent": NULL, "metadata_of_pool": NULL, "managed": False})
    s("VBD.create", {"VM": vm, "VDI": vdi, "bootable": True, "userdevice": "0", "mode": "RW", "type": "Disk", "empty": False, "other_config": {},
                     "qos_algorithm_type": "", "qos_algorithm_params": {}, "metrics": NULL})
    network = s("network.create", {"name_label": "VLAN-cloud", "name_description": "", "other_config": {}, "tags": ["cloud"], "MTU": "1500",
                                   "default_locking_mode": "UNRECOGNIZED", "bridge": ""})
    vif = s("VIF.create", {"VM": vm, "network": network, "device": "0", "MAC": "02:00:4c:4f:55:44", "MTU": "1500", "other_config": {},
                           "qos_algorithm_type": "ratelimit", "qos_algorithm_params": {"kbps": "25600"}})
    task = s("Async.VM.start_on", vm, host, False, True)
    until(lambda: s("task.get_status", task) != "pending", "CloudStack: a start comes to its end")
    check(s("task.get_status", task) == "success", "CloudStack: it starts where it is told to", s("task.get_error_info", task))
    s("task.destroy", task)
    check(s("VM.get_resident_on", vm) == host, "CloudStack: and is there")
    check(int(s("VM_metrics.get_VCPUs_number", s("VM.get_metrics", vm))) == 1, "CloudStack: its metrics count its processors")
    s("VIF.unplug", vif)
    s("VIF.destroy", vif)
    ok("CloudStack: an interface is taken from it")
    snapshot = s("VDI.snapshot", vdi, {})
    task = s("Async.VDI.copy", snapshot, sr)
    until(lambda: s("task.get_status", task) != "pending", "CloudStack: a copy comes to its end")
    copy = re.sub("<[^>]*>", "", s("task.get_result", task))
    check(s("VDI.get_is_a_snapshot", copy) is False and s("VDI.get_virtual_size", copy) == str(32 * MIB), "CloudStack: a snapshot's copy is a disk")
    fails(["XENAPI_MISSING_PLUGIN", "vmops"], "CloudStack: a plug-in that is not installed is missing", s, "host.call_plugin", host, "vmops", "echo", {})
    s("VM.hard_shutdown", vm)
    s("VM.destroy", vm)
    for disk in (copy, snapshot, vdi):
        s("VDI.destroy", disk)
    s("network.destroy", network)
    ok("CloudStack: destroyed")
    s("session.logout")


def main():
    session, failure = xenapi_module()
    if session:
        ansible(session, failure)
        openstack(session, failure)
    else:
        print("ok - # SKIP XenAPI.py is not installed", flush=True)
    terraform()
    packer()
    cloudstack()


if __name__ == "__main__":
    try:
        main()
    except Failure as e:
        print(f"not ok - the server failed: {e.details}", flush=True)
        raise
