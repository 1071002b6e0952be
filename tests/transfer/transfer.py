#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""transfer.py [NAME...] -- exports and imports against a daemon; NAME picks tests by a part of their name."""

import functools
import gzip
import hashlib
import http.server
import io
import os
import random
import re
import subprocess
import sys
import tarfile
import threading
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
sys.path.insert(0, HERE)
from daemon import NULL, Daemon, Lost, XapiError, until  # noqa: E402
from report import Report  # noqa: E402
import corpus  # noqa: E402
import lab  # noqa: E402
import web  # noqa: E402
import world  # noqa: E402
import xva  # noqa: E402
from lab import MIB  # noqa: E402

TESTS = []
IGNORED = re.compile(r"SR \S+ (physical_size|virtual_allocation)|task ")
report = Report()


def test(function):
    TESTS.append(function)
    return function


def pattern(size, seed, at=(0.0, 0.35, 0.99)):
    """Mostly zero: some kilobytes at some places."""
    data = bytearray(size)
    rng = random.Random(seed)
    for place in at:
        start = int(size * place) // 512 * 512
        piece = rng.randbytes(min(150000, size - start))
        data[start:start + len(piece)] = piece
    return bytes(data)


def machine(c, name, sizes=(5 * MIB, 3 * MIB + 512 * 1024)):
    """A machine with disks that have something on them, an interface, an empty drive."""
    vm = lab.vm(c, name)
    lab.enough_memory(c, vm)
    for n, size in enumerate(sizes):
        vdi = lab.vdi(c, f"{name} disk {n}", size)
        lab.vbd(c, vm, vdi, str(n))
        web.put(c, "/import_raw_vdi", pattern(size, n), vdi=vdi)
    lab.vbd(c, vm, NULL, "3", "RO", "CD")
    lab.vif(c, vm, c("network.get_all")[0], "0")
    lab.vif(c, vm, c("network.get_all")[0], "1", "02:11:22:33:44:55")
    c("VM.set_name_description", vm, "with äöü & <tags>")
    c("VM.add_to_other_config", vm, "folder", "/a/b")
    c("VM.set_tags", vm, ["one", "two"])
    return vm


def content(c, vdi):
    return web.get(c, "/export_raw_vdi", vdi=vdi)[2]


def refs(result):
    return re.findall(r"OpaqueRef:[-0-9a-f]{36}", result)


def disks_of(c, vm):
    """{position: VDI} of disks."""
    out = {}
    for ref in c("VM.get_VBDs", vm):
        r = c("VBD.get_record", ref)
        if r["type"] == "Disk":
            out[r["userdevice"]] = r["VDI"]
    return out


def macs(c, vm):
    return {c("VIF.get_device", v): c("VIF.get_MAC", v) for v in c("VM.get_VIFs", vm)}


OWN = {"uuid", "VBDs", "VIFs", "metrics", "guest_metrics", "other_config", "consoles", "snapshots", "children", "parent", "snapshot_of",
       "suspend_VDI", "generation_id", "last_booted_record", "allowed_operations", "memory_overhead", "snapshot_metadata", "VTPMs"}


def differences(c, one, other):
    """Settings in which two machines differ."""
    a, b = c("VM.get_record", one), c("VM.get_record", other)
    out = [f"{k}: {a[k]!r} and {b[k]!r}" for k in a if k not in OWN and a[k] != b[k]]
    drop = {"mac_seed"}
    configs = [{k: v for k, v in r["other_config"].items() if k not in drop} for r in (a, b)]
    if configs[0] != configs[1]:
        out.append(f"other_config: {configs[0]} and {configs[1]}")
    mine, theirs = disks_of(c, one), disks_of(c, other)
    if set(mine) != set(theirs):
        return out + [f"disks: {mine} and {theirs}"]
    for place, vdi in mine.items():
        if content(c, vdi) != content(c, theirs[place]):
            out.append(f"the content of disk {place}")
        for field in ("name_label", "name_description", "virtual_size", "type", "read_only", "tags"):
            if c(f"VDI.get_{field}", vdi) != c(f"VDI.get_{field}", theirs[place]):
                out.append(f"disk {place}: {field}")
    return out


def unpacked(data):
    if data[:2] == b"\x1f\x8b":
        return gzip.decompress(data)
    if data[:4] == b"\x28\xb5\x2f\xfd":
        return subprocess.run(["zstd", "-dc"], input=data, capture_output=True, check=True).stdout
    return data


def leaves_nothing(c, title, run):
    """Runs what must fail; nothing may have changed."""
    before, files, tasks = world.world(c), set(c.daemon.files()), set(world.tasks(c))
    result = run()
    after = world.world(c)
    found = [s for s in world.changes(before, after) if not IGNORED.match(s)]
    found += [f"file {f}" for f in set(c.daemon.files()) ^ files if not f.endswith(".xapid-lock")]
    found += [f"task {t['name_label']} {ref} is {t['status']}" for ref, t in world.tasks(c).items() if ref not in tasks]
    report.check_none(found + world.leftovers(c.daemon, c, after), f"{title}: nothing is left behind")
    return result


def fails(c, run, code, title):
    try:
        result = run()
    except XapiError as e:
        return report.check(e.code == code, f"{title}: {code}", f"seen: {e.code} {e.params}")
    return report.fail(f"{title}: {code}", f"it succeeded: {result}")


# -- round trips --

@test
def layout(c):
    vm = machine(c, "laid out")
    status, headers, data = web.get(c, "/export", uuid=c("VM.get_uuid", vm))
    report.check(status == 200 and headers["Content-Disposition"] == 'attachment; filename="export.xva"' and "Content-Length" not in headers,
                 "an export comes as export.xva, without a length", status, headers)
    members = xva.read(data)
    version, objects = xva.manifest(members)
    report.check(str(version["export_vsn"]) == "2", "the export is of version 2", version)
    classes = {k for k, _ in objects.values()}
    report.check({"VM", "VM_metrics", "VBD", "VDI", "SR", "VIF", "network"} <= classes and "console" not in classes, "it has the records it should",
                 classes)
    known = set(objects) | {NULL}
    stray = [f"{k} {i}: {f}" for i, (k, r) in objects.items() for f, v in r.items() if isinstance(v, str) and v.startswith("OpaqueRef:") and v not in known]
    report.check_none(stray, "references name what is in it, or nothing")
    for place, vdi in disks_of(c, vm).items():
        folder = next(i for i, (k, r) in objects.items() if k == "VDI" and r["uuid"] == c("VDI.get_uuid", vdi))
        report.check(xva.disk(members, folder, int(c("VDI.get_virtual_size", vdi))) == content(c, vdi), f"disk {place} is in it, with checksums that fit")
        pieces = [n for n, _ in members if n.startswith(folder + "/") and not n.endswith(".xxhash")]
        report.check(len(pieces) < int(c("VDI.get_virtual_size", vdi)) // MIB + 1, f"disk {place}: zeroes are left out", pieces)
    order = [n.split("/")[0] for n, _ in members if "/" in n]
    report.check(order == sorted(order), "disks come in the order of their ids")
    lab.destroy_vm(c, vm)


@test
def round_trip(c):
    vm = machine(c, "traveller")
    for how in ("", "gzip", "true", "zstd"):
        data = web.get(c, "/export", ref=vm, use_compression=how)[2]
        magic = {"": b"ova.", "gzip": b"\x1f\x8b", "true": b"\x1f\x8b", "zstd": b"\x28\xb5"}[how]
        report.check(data.startswith(magic) and unpacked(data).startswith(b"ova.xml"), f"compression '{how}'", data[:8])
        made = refs(web.put(c, "/import", data, sr_id=lab.default_sr(c)))
        if report.check(len(made) == 1, f"compression '{how}': one machine comes back", made):
            report.check_none(differences(c, vm, made[0]), f"compression '{how}': it is the same")
            lab.destroy_vm(c, made[0])
    lab.destroy_vm(c, vm)


@test
def identity(c):
    vm = machine(c, "somebody", (MIB,))
    uuid, old = c("VM.get_uuid", vm), macs(c, vm)
    seed = c("VM.get_other_config", vm)["mac_seed"]
    data = web.get(c, "/export", ref=vm)[2]
    copy, = refs(web.put(c, "/import", data))
    report.check(c("VM.get_uuid", copy) != uuid and not set(macs(c, copy).values()) & set(old.values()) and
                 c("VM.get_other_config", copy)["mac_seed"] != seed, "an import is a machine of its own", macs(c, copy), old)
    report.check("import_task" not in c("VM.get_other_config", copy), "the mark of the import is gone in the end")
    fails(c, lambda: web.put(c, "/import", data, restore="true"), "VM_TO_IMPORT_IS_NOT_NEWER_VERSION", "restoring what is there")
    forced, = refs(web.put(c, "/import", data, restore="true", force="true"))
    report.check(c("VM.get_by_uuid", uuid) == forced and macs(c, forced) == old, "restoring with force takes the place of the other")
    lab.destroy_vm(c, forced)
    c("VM.add_to_other_config", copy, "x", "y")
    c("VM.remove_from_other_config", copy, "mac_seed")
    c("VM.add_to_other_config", copy, "mac_seed", seed)
    fails(c, lambda: web.put(c, "/import", data, restore="true"), "DUPLICATE_MAC_SEED", "restoring what another has the seed of")
    lab.destroy_vm(c, copy)
    back, = refs(web.put(c, "/import", data, restore="true"))
    report.check(c("VM.get_uuid", back) == uuid and macs(c, back) == old and c("VM.get_other_config", back)["mac_seed"] == seed,
                 "a restored machine is the one it was", macs(c, back), old)
    lab.destroy_vm(c, back)
    for ref, r in c("VDI.get_all_records").items():
        if r["name_label"].startswith("somebody disk"):
            c("VDI.destroy", ref)


@test
def snapshots(c):
    vm = machine(c, "remembered", (2 * MIB,))
    first = c("VM.snapshot", vm, "first", [])
    web.put(c, "/import_raw_vdi", pattern(2 * MIB, 77), vdi=disks_of(c, vm)["0"])
    second = c("VM.snapshot", vm, "second", [])
    data = web.get(c, "/export", ref=vm, export_snapshots="true")[2]
    made, = refs(web.put(c, "/import", data))
    names = {c("VM.get_name_label", s): s for s in c("VM.get_snapshots", made)}
    if report.check(set(names) == {"first", "second"}, "snapshots come along", names):
        report.check(content(c, disks_of(c, names["first"])["0"]) == pattern(2 * MIB, 0), "the first one has what was there then")
        report.check(c("VM.get_parent", names["second"]) == names["first"] and c("VM.get_parent", made) == names["second"], "in the same tree")
        report.check(macs(c, names["first"]) == macs(c, made), "with the addresses of their machine")
        c("VM.revert", names["first"])
        report.check(content(c, disks_of(c, made)["0"]) == pattern(2 * MIB, 0), "and can be reverted to")
    alone, = refs(web.put(c, "/import", web.get(c, "/export", ref=second)[2]))
    record = c("VM.get_record", alone)
    report.check(record["is_a_template"] and not record["is_a_snapshot"], "a snapshot alone becomes a template")
    for ref in (*names.values(), first, second, alone, made, vm):
        lab.destroy_vm(c, ref)


@test
def suspended(c):
    vm = machine(c, "asleep", (MIB,))
    c("VM.start", vm, False, False)
    fails(c, lambda: web.get(c, "/export", ref=vm), "VM_BAD_POWER_STATE", "a machine that runs")
    c("VM.suspend", vm)
    woken, = refs(web.put(c, "/import", web.get(c, "/export", ref=vm)[2]))
    report.check(c("VM.get_power_state", woken) == "Halted", "without its power state a suspended machine is halted")
    asleep, = refs(web.put(c, "/import", web.get(c, "/export", ref=vm, preserve_power_state="true")[2]))
    report.check(c("VM.get_power_state", asleep) == "Suspended" and c("VM.get_suspend_VDI", asleep) != NULL, "with it, it is suspended")
    c("VM.resume", asleep, False, False)
    report.check(c("VM.get_power_state", asleep) == "Running", "and wakes up")
    for ref in (vm, woken, asleep):
        lab.destroy_vm(c, ref)


@test
def foreign(c):
    """Archives another program wrote."""
    a, b, z = os.urandom(MIB), os.urandom(123 * 512), bytes(MIB)
    disks = {"Ref:10": [a, None, None, a, b], "Ref:9": [z, None, z]}
    for kind in ("USTAR", "GNU", "PAX"):
        data = xva.write(disks, format=getattr(tarfile, kind + "_FORMAT"))
        made, = refs(web.put(c, "/import", data))
        found = disks_of(c, made)
        wanted = {"0": a + 2 * z + a + b, "1": 3 * z}
        report.check(all(content(c, found[p])[:len(w)] == w for p, w in wanted.items()), f"an archive of others in {kind} form")
        if kind == "USTAR":
            network = c("VIF.get_network", c("VM.get_VIFs", made)[0])
            report.check(c("network.get_name_label", network) == "a network nobody has", "a network that is not here is made")
        lab.destroy_vm(c, made)
    c("network.destroy", network)


@test
def numbers(c):
    """Pieces without bytes, and a first piece that is short."""
    a, b = os.urandom(MIB), os.urandom(MIB)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        xva.add(tar, "ova.xml", xva.xml({"version": xva.version(), "objects": xva.objects({"Ref:10": 4 * MIB})}))
        for number, piece in ((0, a), (2, b""), (3, b""), (4, b)):
            xva.add_piece(tar, f"Ref:10/{number:08d}", piece)
        # number 1 is a gap of one piece, 2 and 3 are empty, 4 is the third, 5 the last
        xva.add_piece(tar, "Ref:10/00000005", a)
    made, = refs(web.put(c, "/import", out.getvalue()))
    report.check(content(c, disks_of(c, made)["0"]) == a + bytes(MIB) + b + a, "pieces without bytes move nothing")
    lab.destroy_vm(c, made)
    vm = machine(c, "short first", (512 * 1024, 3 * MIB))
    members = xva.read(web.get(c, "/export", ref=vm)[2])
    _, objects = xva.manifest(members)
    for vdi in disks_of(c, vm).values():
        folder, = [i for i, (k, r) in objects.items() if k == "VDI" and r["uuid"] == c("VDI.get_uuid", vdi)]
        report.check(xva.disk(members, folder, int(c("VDI.get_virtual_size", vdi))) == content(c, vdi), "a short first piece misleads no reader")
    lab.destroy_vm(c, vm)


@test
def old_sums(c):
    """A table of checksums at the end."""
    a = os.urandom(MIB)
    for good in (True, False):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            xva.add(tar, "ova.xml", xva.xml({"version": xva.version(1), "objects": xva.objects({"Ref:10": MIB})}))
            xva.add(tar, "Ref:10/00000000", a)
            xva.add(tar, "checksum.xml", xva.xml({"Ref:10/00000000": hashlib.sha1(a if good else b"x").hexdigest()}))
        if good:
            made, = refs(web.put(c, "/import", out.getvalue()))
            report.check(content(c, disks_of(c, made)["0"]) == a, "a very old archive is read")
            lab.destroy_vm(c, made)
        else:
            leaves_nothing(c, "a very old archive that is damaged", lambda: fails(
                c, lambda: web.put(c, "/import", out.getvalue()), "IMPORT_ERROR_SOME_CHECKSUMS_FAILED", "a very old archive that is damaged"))


@test
def forced(c):
    a = os.urandom(MIB)
    data = bytearray(xva.write({"Ref:10": [a]}))
    data[data.index(a[:64])] ^= 1
    made, = refs(web.put(c, "/import", bytes(data), force="true"))
    report.check(content(c, disks_of(c, made)["0"])[1:] == a[1:], "with force a checksum that does not fit is no matter")
    lab.destroy_vm(c, made)


# -- records alone --

@test
def metadata(c):
    vm = machine(c, "described", (MIB,))
    status, headers, data = web.get(c, "/export_metadata", ref=vm)
    report.check(status == 200 and int(headers["Content-Length"]) == len(data) and [n for n, _ in xva.read(data)] == ["ova.xml"],
                 "records alone come with a length, and nothing but ova.xml")
    leaves_nothing(c, "a dry run", lambda: web.put(c, "/import_metadata", data, dry_run="true"))
    made, = refs(web.put(c, "/import_metadata", data))
    report.check(disks_of(c, made) == disks_of(c, vm), "the disks that are here are found")
    c("VM.destroy", made)
    other = lab.vdi(c, "another", MIB)
    mapping = {"vdi:" + c("VDI.get_uuid", disks_of(c, vm)["0"]): c("VDI.get_uuid", other)}
    made, = refs(web.put(c, "/import_metadata", data, **mapping))
    report.check(disks_of(c, made)["0"] == other, "or those that are named instead")
    c("VM.destroy", made)
    c("VDI.destroy", other)
    whole = web.get(c, "/export_metadata", all="true")[2]
    _, objects = xva.manifest(xva.read(whole))
    names = [r["name_label"] for k, r in objects.values() if k == "VM"]
    report.check("described" in names and lab.TEMPLATE not in names, "all: every machine, but not the supplied templates", names)
    few = xva.manifest(xva.read(web.get(c, "/export_metadata", ref=vm, excluded_device_types="vif,vbd")[2]))[1]
    report.check(not {"VIF", "VBD"} & {k for k, _ in few.values()}, "kinds of devices can be left out")
    c("VM.start", vm, False, False)
    running = web.get(c, "/export_metadata", ref=vm)[2]
    made, = refs(web.put(c, "/import_metadata", running))
    report.check(c("VM.get_power_state", made) == "Halted", "the record of a machine that runs is that of one that is halted")
    c("VM.destroy", made)
    lab.destroy_vm(c, vm)
    leaves_nothing(c, "records whose disks are gone", lambda: fails(
        c, lambda: web.put(c, "/import_metadata", running), "IMPORT_ERROR_ATTACHED_DISKS_NOT_FOUND", "records of a running machine whose disks are gone"))


def fault(c, text=""):
    path = os.path.join(c.daemon.state, "faults")
    with open(path + ".new", "w") as f:
        f.write(text + "\n")
    os.rename(path + ".new", path)


def pool_of(n):
    """An archive of the records of n machines on one network."""
    one, objects = xva.objects({}), []
    for i in range(n):
        rename = lambda v, i=i: f"{v}.{i}" if isinstance(v, str) and v.startswith("Ref:") else v  # noqa: E731
        for o in one:
            record = {k: rename(v) for k, v in o["snapshot"].items()}
            record.update({"name_label": "one of many"} if o["class"] == "VM" else {})
            objects.append({"class": o["class"], "id": rename(o["id"]), "snapshot": record})
    return xva.write({}, objects)


@test
def many(c):
    """The records of a pool: more than one change of the database holds."""
    n = 500
    made = refs(web.put(c, "/import_metadata", pool_of(n)))
    report.check(len(made) == n and len(c("VM.get_by_name_label", "one of many")) == n, f"{n} machines are imported at once", len(made))
    report.check_none(world.held(world.world(c)), "none of them is held")
    networks = c("network.get_by_name_label", "a network nobody has")
    report.check(len(networks) == 1, "with one network, not with one each", len(networks))
    for vm in made:
        c("VM.destroy", vm)
    drop_network(c)


@test
def killed_at_the_end(c):
    """Once all is there, and is only to be let go of, it stays."""
    for step in ("complete", "letting-go"):
        fault(c, f"vm_import/{step} kill")
        try:
            web.put(c, "/import_metadata", pool_of(120))
        except (Lost, XapiError):
            pass
        report.check(until(lambda: not c.daemon.running(), 20), f"kill -9 at {step}")
        fault(c)
        c.daemon.start()
        c.login()
        made = c("VM.get_by_name_label", "one of many")
        report.check(len(made) == 120, f"kill -9 at {step}: all machines are there", len(made))
        left = [vm for vm in made if "import_task" in c("VM.get_other_config", vm)]
        report.check_none(world.held(world.world(c)) + left, f"kill -9 at {step}: none of them is held")
        for vm in made:
            c("VM.destroy", vm)
        drop_network(c)


# -- the disk formats of others --

def qemu(*words):
    done = subprocess.run(["qemu-img", *words], capture_output=True, text=True)
    return done.stderr or done.stdout if done.returncode else ""


@test
def images(c):
    size = 9 * MIB + 512 * 1024
    vdi = lab.vdi(c, "in other forms", size)
    data = pattern(size, 5)
    web.put(c, "/import_raw_vdi", data, vdi=vdi)
    path = os.path.join(c.daemon.dir, "image")
    with open(path + ".raw", "wb") as f:
        f.write(data)
    for name, driver, kind in (("vhd", "vpc", "application/vhd"), ("qcow2", "qcow2", "application/x-qemu-disk")):
        status, headers, image = web.get(c, "/export_raw_vdi/", vdi=vdi, format=name)
        report.check(headers["Content-Type"] == kind and f'.{name}"' in headers["Content-Disposition"], f"{name}: type and name", headers)
        with open(f"{path}.{name}", "wb") as f:
            f.write(image)
        report.check(len(image) < size * 3 // 4, f"{name}: zeroes are left out", len(image))
        wrong = qemu("compare", "-f", driver, "-F", "raw", f"{path}.{name}", path + ".raw")
        wrong = wrong or (qemu("check", "-f", driver, f"{path}.{name}") if name == "qcow2" else "")
        report.check(not wrong, f"{name}: qemu reads ours", wrong)
        target = lab.vdi(c, "back again", size)
        web.put(c, "/import_raw_vdi", b"\xaa" * size, vdi=target)
        web.put(c, "/import_raw_vdi", image, vdi=target, format=name)
        report.check(content(c, target) == data, f"{name}: we read ours, over what was there")
        for options in ([], ["-c"]) if name == "qcow2" else (["-o", "force_size=on"],):
            error = qemu("convert", "-f", "raw", "-O", driver, *options, path + ".raw", f"{path}.theirs")
            with open(f"{path}.theirs", "rb") as f:
                web.put(c, "/import_raw_vdi", b"\x55" * size, vdi=target)
                web.put(c, "/import_raw_vdi", f.read(), vdi=target, format=name)
            report.check(not error and content(c, target) == data, f"{name}: we read qemu's ({' '.join(options) or 'plain'})", error)
        c("VDI.destroy", target)
    image = web.get(c, "/export_raw_vdi", vdi=vdi, format="tar")[2]
    report.check(xva.disk([("", b"")] + xva.read(image), "vdi", size) == data, "tar: Python reads ours")
    target = lab.vdi(c, "back again", size)
    web.put(c, "/import_raw_vdi", image, vdi=target, format="tar")
    report.check(content(c, target) == data, "tar: we read ours")
    c("VDI.destroy", target)
    status = web.get(c, "/export_raw_vdi", True, vdi=vdi, format="vmdk")[0]
    report.check(status == 404, "a format that is none is not found", status)
    c("VDI.destroy", vdi)


@test
def deltas(c):
    size = 8 * MIB
    base = lab.vdi(c, "base", size)
    old = pattern(size, 1)
    web.put(c, "/import_raw_vdi", old, vdi=base)
    top = c("VDI.clone", base, {})
    new = bytearray(old)
    new[5 * MIB + 1000:5 * MIB + 1010] = b"0123456789"
    web.put(c, "/import_raw_vdi", bytes(new), vdi=top)
    for name in ("vhd", "qcow2"):
        image = web.get(c, "/export_raw_vdi", vdi=top, format=name, base=base)[2]
        report.check(len(image) < 3 * MIB, f"{name}: a difference is small", len(image))
        copy = c("VDI.copy", base, lab.default_sr(c), NULL, NULL)
        web.put(c, "/import_raw_vdi", image, vdi=copy, format=name)
        report.check(content(c, copy) == bytes(new), f"{name}: base and difference are the whole")
        c("VDI.destroy", copy)
    c("VDI.destroy", top)
    c("VDI.destroy", base)


@test
def images_that_are_none(c):
    size = 4 * MIB
    vdi = lab.vdi(c, "keeps its head", size)
    data = pattern(size, 9)
    web.put(c, "/import_raw_vdi", data, vdi=vdi)
    vhd, qcow2 = (web.get(c, "/export_raw_vdi", vdi=vdi, format=f)[2] for f in ("vhd", "qcow2"))
    for title, format, image, code in (
            ("no VHD", "vhd", b"x" * 4096, "VDI_IO_ERROR"), ("a VHD with a damaged header", "vhd", vhd[:600] + b"y" + vhd[601:], "VDI_IO_ERROR"),
            ("a VHD that is cut", "vhd", vhd[:len(vhd) // 2], "IMPORT_ERROR_PREMATURE_EOF"), ("half a footer", "vhd", vhd[:100], "IMPORT_ERROR_PREMATURE_EOF"),
            ("no qcow2", "qcow2", b"x" * 4096, "VDI_IO_ERROR"), ("a qcow2 that is cut", "qcow2", qcow2[:len(qcow2) // 2], "IMPORT_ERROR_PREMATURE_EOF"),
            ("a qcow2 of a later version", "qcow2", qcow2[:7] + b"\x09" + qcow2[8:], "VDI_IO_ERROR")):
        fails(c, lambda: web.put(c, "/import_raw_vdi", image, vdi=vdi, format=format), code, title)
    small = lab.vdi(c, "small", MIB)
    for format, image in (("vhd", vhd), ("qcow2", qcow2)):
        fails(c, lambda: web.put(c, "/import_raw_vdi", image, vdi=small, format=format), "VDI_TOO_SMALL", f"a {format} that does not fit")
    huge = lab.vdi(c, "huge", 2041 << 30)
    status, _, text = web.get(c, "/export_raw_vdi", True, vdi=huge, format="vhd")
    report.check(status == 500 and b"VDI_TOO_LARGE" in text, "a disk that no VHD holds: VDI_TOO_LARGE", status, text)
    for ref in (vdi, small, huge):
        c("VDI.destroy", ref)


# -- while it goes on, and when it breaks --

BIG = {"Ref:10": [os.urandom(MIB) for _ in range(8)]}


@functools.lru_cache
def big():
    return xva.write(BIG)


def half_way(c, data=None, **query):
    """An import with its first half sent, whose records are there."""
    data = data or big()
    upload = web.Upload(c, "/import", len(data), **query)
    upload.send(data[:len(data) // 2])
    until(lambda: c("task.get_other_config", upload.task).get("object_creation") == "complete")
    return upload, data


@test
def meanwhile(c):
    upload, data = half_way(c)
    report.check(upload.status() == 200, "the answer's head comes before the body is read")
    report.check(c("task.get_other_config", upload.task).get("object_creation") == "complete", "the task says when the records are there")
    vm, = c("VM.get_by_name_label", "foreign")
    report.check(list(c("VM.get_current_operations", vm).values()) == ["import"], "the machine is being imported", c("VM.get_current_operations", vm))
    report.check(c("VM.get_other_config", vm).get("import_task") == upload.task, "it says by which task")
    report.check("start" not in c("VM.get_allowed_operations", vm), "it cannot be started")
    report.check(0 < until(lambda: float(c("task.get_progress", upload.task))) < 1, "the task shows progress")
    upload.send(data[len(data) // 2:])
    made, = refs(upload.finish())
    report.check(made == vm and not c("VM.get_current_operations", vm), "then it is done")
    lab.destroy_vm(c, vm)


@test
def broken(c):
    def hang_up():
        upload, _ = half_way(c)
        upload.abandon()
        fails(c, lambda: c.wait_task(upload.task), "IMPORT_ERROR_PREMATURE_EOF", "a client that hangs up")

    def cancel():
        upload, _ = half_way(c)
        c("task.cancel", upload.task)
        fails(c, lambda: c.wait_task(upload.task), "TASK_CANCELLED", "a task that is cancelled")
        upload.abandon()
    drop_network(c)
    leaves_nothing(c, "a client that hangs up", hang_up)
    leaves_nothing(c, "a task that is cancelled", cancel)


def drop_network(c):
    for ref in c("network.get_by_name_label", "a network nobody has"):
        c("network.destroy", ref)


@test
def killed(c):
    drop_network(c)
    before, files = world.world(c), set(c.daemon.files())
    upload, _ = half_way(c)
    c.daemon.kill()
    upload.abandon()
    c.daemon.start()
    c.login()
    after = world.world(c)
    found = [s for s in world.changes(before, after) if not IGNORED.match(s) and "agent_start_time" not in s]
    found += [f"file {f}" for f in set(c.daemon.files()) ^ files if not f.endswith(".xapid-lock")]
    report.check_none(found + world.held(after), "kill -9 in the middle of an import: nothing is left behind")
    status = c("task.get_status", upload.task)
    report.check(status == "failure", "its task has failed", status)


@test
def exports_that_break(c):
    vm = machine(c, "let go", (64 * MIB,))
    web.put(c, "/import_raw_vdi", os.urandom(64 * MIB), vdi=disks_of(c, vm)["0"])
    task = c("task.create", "export", "")
    connection = web._connection(c.daemon)
    connection.request("GET", web._target(c, "/export", {"ref": vm, "task_id": task}))
    reply = connection.getresponse()
    reply.read(100000)
    report.check(list(c("VM.get_current_operations", vm).values()) == ["export"], "the machine is being exported")
    report.check("start" not in c("VM.get_allowed_operations", vm), "it cannot be started meanwhile")
    reply.close()
    connection.close()
    try:
        c.wait_task(task)
        report.fail("an export nobody reads fails")
    except XapiError as e:
        report.check(e.code == "CLIENT_ERROR", "an export nobody reads fails", e)
    report.check(until(lambda: not c("VM.get_current_operations", vm)), "and lets the machine go")
    lab.destroy_vm(c, vm)


@test
def full(c):
    """A repository that has no room."""
    drop_network(c)
    place = os.path.join(c.daemon.dir, "small")
    os.makedirs(place)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=5m", "none", place], capture_output=True).returncode:
        report.note("nothing can be mounted here: no test of a full repository")
        return
    sr = None
    try:
        sr = c("SR.create", lab.host(c), {"location": place}, 0, "small", "", "file", "user", False, {})
        before = set(os.listdir(place))
        leaves_nothing(c, "a full repository", lambda: fails(c, lambda: web.put(c, "/import", big(), sr_id=sr), "SR_FULL", "a full repository"))
        report.check_none([f for f in set(os.listdir(place)) - before if not f.endswith(".xapid-lock")], "a full repository: no file is left in it")
    finally:
        if sr:
            for pbd in c("SR.get_PBDs", sr):
                c("PBD.unplug", pbd)
            c("SR.forget", sr)
        subprocess.run(["umount", place], check=True)


@test
def hostile(c):
    drop_network(c)

    def all_of_them():
        for name, (data, code) in corpus.archives().items():
            fails(c, lambda: web.put(c, "/import", data), code, name)
    leaves_nothing(c, "hostile archives", all_of_them)


def survives(c, path, data, **query):
    """An upload that may be good or bad; the machines of a good one go again."""
    try:
        made = refs(web.put(c, path, data, **query))
    except XapiError:
        return
    for vm in made if "vdi" not in query else []:
        lab.destroy_vm(c, vm)


def damaged(data, seed, times):
    """The data cut at each of the first headers of an archive, and anywhere; with a few bytes changed, mostly near the beginning."""
    rng = random.Random(seed)
    for cut in [*range(0, min(len(data), 4096), 512), *(rng.randrange(len(data)) for _ in range(times // 2))]:
        yield data[:cut]
    for n in range(times):
        one = bytearray(data)
        for _ in range(1 + n % 3):
            one[rng.randrange(min(len(data), 8192) if n % 4 else len(data))] = rng.randrange(256)
        yield bytes(one)


@test
def damaged_anywhere(c):
    """Archives and disks cut and changed at any place: whatever comes of them, nothing is left behind."""
    networks = set(c("network.get_all"))
    small = {"Ref:10": [os.urandom(32768)], "Ref:11": [os.urandom(16384)]}
    archive = xva.write(small, xva.objects({"Ref:10": 32768, "Ref:11": 16384}))
    records = xva.write({}, xva.objects({}))
    vdi = lab.vdi(c, "keeps its head", MIB)
    web.put(c, "/import_raw_vdi", pattern(MIB, 3), vdi=vdi)
    formats = {name: web.get(c, "/export_raw_vdi", vdi=vdi, format=name)[2] for name in ("vhd", "qcow2", "tar")}

    def all_of_them():
        for data in damaged(archive, 1, 24):
            survives(c, "/import", data)
        for data in damaged(gzip.compress(archive), 2, 8):
            survives(c, "/import", data)
        for data in damaged(records, 3, 8):
            survives(c, "/import_metadata", data)
        for name, image in formats.items():
            for data in damaged(image, 4, 8):
                survives(c, "/import_raw_vdi", data, vdi=vdi, format=name)
        for ref in set(c("network.get_all")) - networks:
            c("network.destroy", ref)
    leaves_nothing(c, "whatever was damaged", all_of_them)
    c("VDI.destroy", vdi)


@test
def refused(c):
    iso = next((r for r, s in c("SR.get_all_records").items() if s["content_type"] == "iso"), None)
    objects = xva.objects({}) + [{"class": "VTPM", "id": "Ref:60", "snapshot": {"VM": "Ref:0"}}]
    leaves_nothing(c, "a machine with a TPM", lambda: fails(
        c, lambda: web.put(c, "/import", xva.write({}, objects)), "IMPORT_ERROR", "a machine with a TPM"))
    for title, path, query, headers, status, code in (
            ("a body in pieces", "/import", {}, [("Transfer-Encoding", "chunked")], 403, "IMPORT_ERROR_CANNOT_HANDLE_CHUNKED"),
            ("an ISO library", "/import", {"sr_id": iso}, [("Content-Length", "0")], 400, "SR_OPERATION_NOT_SUPPORTED"),
            ("a repository that is none", "/import", {"sr_uuid": "nonsense"}, [("Content-Length", "0")], 404, "UUID_INVALID")):
        if iso is None and "sr_id" in query:
            continue
        upload = web.Upload(c, path, None, headers, **query)
        seen = upload.status()
        report.check(seen == status, f"{title}: {status}", seen)
        fails(c, lambda: c.wait_task(upload.task), code, title)


@test
def lengths(c):
    """Clients that do not know how much they will send."""
    a = os.urandom(MIB)
    data = xva.write({"Ref:10": [a]})
    for title, length in (("no length", None), ("an absurd length", 1 << 50)):
        upload = web.Upload(c, "/import/", length)
        upload.send(data)
        made, = refs(upload.finish())
        report.check(content(c, disks_of(c, made)["0"]) == a, f"an upload with {title}")
        lab.destroy_vm(c, made)
    drop_network(c)


def resident(c):
    """The most memory the daemon ever had, in bytes."""
    with open(f"/proc/{c.daemon.pid}/status") as f:
        return int(re.search(r"VmHWM:\s+(\d+) kB", f.read()).group(1)) * 1024


@test
def memory(c):
    if "asan" in os.environ.get("XAPID_BUILD", "") or "tsan" in os.environ.get("XAPID_BUILD", ""):
        return
    before = resident(c)
    pieces = [os.urandom(MIB) for _ in range(8)]
    data = xva.write({"Ref:10": pieces * 12})
    made, = refs(web.put(c, "/import", data))
    for how in ("", "gzip", "zstd"):
        web.get(c, "/export", ref=made, use_compression=how)
    grown = resident(c) - before
    report.check(grown < 40 * MIB, "96 MiB in and out take less than 40 MiB of memory", f"{grown // MIB} MiB")
    lab.destroy_vm(c, made)
    drop_network(c)


# -- the command line --

def xe(c, *words):
    done = c.daemon.xe(*words)
    if done.returncode:
        raise XapiError([done.stderr.strip() or done.stdout.strip()])
    return done.stdout.strip()


class Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@test
def command_line(c):
    vm = machine(c, "by hand", (MIB,))
    uuid = c("VM.get_uuid", vm)
    top = c.daemon.dir

    def back(*words):
        made = c("VM.get_by_uuid", xe(c, "vm-import", *words))
        found = differences(c, vm, made)
        lab.destroy_vm(c, made)
        return found
    report.check("Export succeeded" in xe(c, "vm-export", f"uuid={uuid}", "filename=a.xva", "compress=zstd"), "xe vm-export")
    report.check_none(back("filename=a.xva"), "xe vm-import")
    report.check_none(back(f"filename={top}/a.xva", "sr-uuid=" + c("SR.get_uuid", lab.default_sr(c))), "xe vm-import sr-uuid=")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Silent, directory=top))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    report.check_none(back(f"url={url}/a.xva"), "xe vm-import url=")
    for title, wrong, code in (("a page that is not there", f"{url}/none", "IMPORT_ERROR"), ("a port nobody listens on", "http://127.0.0.1:1/x", "IMPORT_ERROR"),
                               ("another scheme", "file:///etc/passwd", "INVALID_VALUE"), ("a password", "http://joe:geheim@127.0.0.1/x", "INVALID_VALUE")):
        fails(c, lambda: c("VM.import", wrong, lab.default_sr(c), False, False), code, title)
    with open(c.daemon.log) as log:
        report.check("geheim" not in log.read(), "and the password is not in the log")
    server.shutdown()
    xe(c, "vm-export", f"uuid={uuid}", "filename=m.xva", "metadata=true")
    made = c("VM.get_by_uuid", xe(c, "vm-import", "filename=m.xva", "metadata=true"))
    report.check(disks_of(c, made) == disks_of(c, vm), "xe vm-export and vm-import metadata=true")
    c("VM.destroy", made)
    snapshot = c("VM.snapshot", vm, "a moment", [])
    xe(c, "snapshot-export-to-template", "snapshot-uuid=" + c("VM.get_uuid", snapshot), "filename=s.xva")
    made = c("VM.get_by_uuid", xe(c, "vm-import", "filename=s.xva"))
    report.check(c("VM.get_is_a_template", made), "xe snapshot-export-to-template")
    xe(c, "template-export", "template-uuid=" + c("VM.get_uuid", made), "filename=t.xva")
    again = c("VM.get_by_uuid", xe(c, "vm-import", "filename=t.xva", "preserve=false"))
    report.check(c("VM.get_is_a_template", again), "xe template-export")
    for name in ("vhd", "qcow2", "raw"):
        vdi = c("VDI.get_uuid", disks_of(c, vm)["0"])
        xe(c, "vdi-export", f"uuid={vdi}", f"filename=d.{name}", f"format={name}")
        target = lab.vdi(c, "by hand", MIB)
        xe(c, "vdi-import", "uuid=" + c("VDI.get_uuid", target), f"filename=d.{name}", f"format={name}")
        report.check(content(c, target) == content(c, disks_of(c, vm)["0"]), f"xe vdi-export and vdi-import format={name}")
        c("VDI.destroy", target)
    for ref in (again, made, snapshot, vm):
        lab.destroy_vm(c, ref)


def main():
    wanted = sys.argv[1:]
    daemon = Daemon(args=["--op-wait", "5"], faults=True)
    c = daemon.client()
    for function in TESTS:
        if wanted and not any(w in function.__name__ for w in wanted):
            continue
        try:
            function(c)
        except (XapiError, Lost, AssertionError, ValueError, KeyError, IndexError, subprocess.SubprocessError) as e:
            report.fail(function.__name__, *traceback.format_exception(e)[-4:])
            if not daemon.running():
                report.note(daemon.log_tail())
                break
    if daemon.running() and not wanted:
        drop_network(c)
        report.check_none(world.leftovers(daemon, c), "after all everything fits together")
    daemon.close()
    sys.exit(report.done())


if __name__ == "__main__":
    main()
