# SPDX-License-Identifier: LGPL-2.1-or-later
"""xva.py -- archives of machines, written and read without any code of the daemon."""

import hashlib
import io
import tarfile
import xmlrpc.client

MIB = 1 << 20
MASK = (1 << 64) - 1
P = (11400714785074694791, 14029467366897019727, 1609587929392839161, 9650029242287828579, 2870177450012600261)


def _rotate(x, n):
    return (x << n | x >> (64 - n)) & MASK


def _round(acc, lane):
    return _rotate((acc + lane * P[1]) & MASK, 31) * P[0] & MASK


def xxh64(data):
    """XXH64 with seed 0, as its description has it."""
    n, at = len(data), 0
    if n >= 32:
        v = [(P[0] + P[1]) & MASK, P[1], 0, -P[0] & MASK]
        words = memoryview(data[:n // 32 * 32]).cast("Q")
        for i in range(0, len(words), 4):
            v = [_round(v[k], words[i + k]) for k in range(4)]
        at = n // 32 * 32
        h = sum(_rotate(x, r) for x, r in zip(v, (1, 7, 12, 18))) & MASK
        for x in v:
            h = ((h ^ _round(0, x)) * P[0] + P[3]) & MASK
    else:
        h = P[4]
    h = (h + n) & MASK
    while at + 8 <= n:
        h = (_rotate(h ^ _round(0, int.from_bytes(data[at:at + 8], "little")), 27) * P[0] + P[3]) & MASK
        at += 8
    if at + 4 <= n:
        h = (_rotate(h ^ int.from_bytes(data[at:at + 4], "little") * P[0] & MASK, 23) * P[1] + P[2]) & MASK
        at += 4
    for byte in data[at:]:
        h = _rotate(h ^ byte * P[4] & MASK, 11) * P[0] & MASK
    h = (h ^ h >> 33) * P[1] & MASK
    h = (h ^ h >> 29) * P[2] & MASK
    return h ^ h >> 32


# -- reading --

def read(data):
    """[(name, bytes)] of a plain archive."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        return [(m.name, tar.extractfile(m).read()) for m in tar]


def manifest(members):
    """(version, {id: (class, record)})"""
    name, text = members[0]
    assert name == "ova.xml", name
    wrapped = b"<params><param>" + text.split(b"?>", 1)[1] + b"</param></params>"
    (value,), _ = xmlrpc.client.loads(b"<methodResponse>" + wrapped + b"</methodResponse>")
    return value["version"], {o["id"]: (o["class"], o["snapshot"]) for o in value["objects"]}


def disk(members, folder, size):
    """A disk's content by the rule of gaps; every checksum is checked."""
    first = next(len(d) for n, d in members[1:] if "/" in n)
    pieces = [(n, d) for n, d in members if n.startswith(folder + "/") and not n.endswith((".xxhash", ".checksum"))]
    sums = dict(members)
    out, last = bytearray(size), -1
    at = 0
    for name, data in pieces:
        number = int(name.split("/")[1])
        assert number > last, name
        at += (number - last - 1) * first
        out[at:at + len(data)] = data
        at += len(data)
        last = number
        assert sums[name + ".xxhash"] == b"%016X" % xxh64(data), name
    assert at == size, (folder, at, size)
    return bytes(out)


# -- writing --

def add(tar, name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def add_piece(tar, name, data):
    """A piece with its SHA-1, as older exporters write it."""
    add(tar, name, data)
    add(tar, name + ".checksum", hashlib.sha1(data).hexdigest().encode())


def xml(value):
    text = xmlrpc.client.dumps((value,), allow_none=False)
    return text[text.index("<value>"):text.rindex("</value>") + len("</value>")].encode()


def version(export_vsn=2):
    return {"hostname": "elsewhere", "date": "2020-01-01T00:00:00Z", "product_version": "8.2.1", "product_brand": "Another",
            "build_number": "1", "xapi_major": "1", "xapi_minor": "20", "export_vsn": str(export_vsn)}


def objects(disks, name="foreign", network="a network nobody has"):
    """A small machine as another product writes it: Ref:N everywhere; disks is {id: size}."""
    null = "OpaqueRef:NULL"
    vm = {"uuid": "0f0e0d0c-0b0a-4908-8706-050403020100", "name_label": name, "name_description": "made elsewhere", "power_state": "Halted",
          "user_version": "1", "is_a_template": False, "suspend_VDI": null, "resident_on": null, "affinity": null,
          "memory_static_max": str(64 * MIB), "memory_dynamic_max": str(64 * MIB), "memory_dynamic_min": str(64 * MIB),
          "memory_static_min": str(16 * MIB), "VCPUs_params": {}, "VCPUs_max": "2", "VCPUs_at_startup": "2",
          "actions_after_shutdown": "destroy", "actions_after_reboot": "restart", "actions_after_crash": "restart",
          "HVM_boot_policy": "BIOS order", "HVM_boot_params": {"order": "cd"}, "HVM_shadow_multiplier": 1.0,
          "platform": {"acpi": "1"}, "other_config": {"mac_seed": "11111111-2222-4333-8444-555555555555"}, "is_control_domain": False,
          "metrics": "Ref:1", "guest_metrics": null, "snapshot_of": null, "parent": null, "a_field_of_the_future": "ignored"}
    out = [("VM", "Ref:0", vm), ("VM_metrics", "Ref:1", {"uuid": "x", "memory_actual": "0"}),
           ("network", "Ref:2", {"uuid": "y", "name_label": network, "bridge": "xenbr77", "MTU": "1500", "other_config": {}}),
           ("VIF", "Ref:3", {"uuid": "z", "device": "0", "VM": "Ref:0", "network": "Ref:2", "MAC": "aa:bb:cc:dd:ee:01", "MTU": "1500", "other_config": {}}),
           ("SR", "Ref:4", {"uuid": "s", "name_label": "far away", "type": "lvm", "content_type": "user"}),
           ("future_class", "Ref:5", {"uuid": "f"})]
    for n, (ref, size) in enumerate(disks.items()):
        out.append(("VDI", ref, {"uuid": f"v{n}", "name_label": f"disk {n}", "name_description": "", "SR": "Ref:4", "virtual_size": str(size),
                                 "type": "user", "sharable": False, "read_only": False, "other_config": {"content_id": f"c{n}"}}))
        out.append(("VBD", f"Ref:{100 + n}", {"uuid": f"b{n}", "VM": "Ref:0", "VDI": ref, "userdevice": str(n), "bootable": n == 0,
                                              "mode": "RW", "type": "Disk", "empty": False, "other_config": {}, "unpluggable": True}))
    return [{"class": c, "id": i, "snapshot": s} for c, i, s in out]


def write(disks, objects_of=None, export_vsn=2, format=tarfile.USTAR_FORMAT):
    """An archive; disks is {id: [bytes or None for a piece that is left out]}."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as tar:
        sizes = {i: sum(MIB if p is None else len(p) for p in pieces) for i, pieces in disks.items()}
        add(tar, "ova.xml", xml({"version": version(export_vsn), "objects": objects_of or objects(sizes)}))
        for ref in sorted(disks):
            for number, piece in enumerate(disks[ref]):
                if piece is not None:
                    add_piece(tar, f"{ref}/{number:08d}", piece)
    return out.getvalue()
