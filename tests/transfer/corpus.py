# SPDX-License-Identifier: LGPL-2.1-or-later
"""corpus.py -- archives that must be refused: {name: (bytes, the error's code)}."""

import gzip
import io
import os
import tarfile

import xva
from xva import MIB

A, B = os.urandom(MIB), os.urandom(MIB)
DISK = {"Ref:10": [A, None, B]}


def _archive(members, end=True):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            xva.add(tar, name, data)
    data = out.getvalue()
    return data if end else data.rstrip(b"\0")


def _ova(objects, export_vsn=2):
    return xva.xml({"version": xva.version(export_vsn), "objects": objects})


def _with(change, disks=DISK):
    """A good archive, but for one change of its objects."""
    sizes = {i: sum(MIB if p is None else len(p) for p in pieces) for i, pieces in disks.items()}
    objects = xva.objects(sizes)
    by_id = {o["id"]: o for o in objects}
    change(objects, by_id)
    return xva.write(disks, objects)


def _set(ref, **fields):
    return _with(lambda _, by_id: by_id[ref]["snapshot"].update(fields))


def _flip(data, needle):
    at = data.index(needle) + len(needle) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]


def _link():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        info = tarfile.TarInfo("ova.xml")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
    return out.getvalue()


def _parents_in_a_circle():
    def change(objects, by_id):
        for n in (20, 21):
            copy = dict(by_id["Ref:0"]["snapshot"])
            copy.update(uuid=f"0f0e0d0c-0b0a-4908-8706-0504030201{n}", is_a_snapshot=True, snapshot_of="Ref:0", parent=f"Ref:{41 - n}")
            objects.append({"class": "VM", "id": f"Ref:{n}", "snapshot": copy})
    return _with(change)


def _snapshots_of_each_other():
    def change(objects, by_id):
        copy = dict(by_id["Ref:0"]["snapshot"])
        copy.update(is_a_snapshot=True, snapshot_of="Ref:0")
        by_id["Ref:0"]["snapshot"].update(is_a_snapshot=True, snapshot_of="Ref:20")
        objects.append({"class": "VM", "id": "Ref:20", "snapshot": copy})
    return _with(change)


def _two_devices():
    def change(objects, by_id):
        objects.append({"class": "VBD", "id": "Ref:90", "snapshot": dict(by_id["Ref:100"]["snapshot"])})
    return _with(change)


def _same_id():
    return _with(lambda objects, by_id: objects.append({"class": "VM", "id": "Ref:2", "snapshot": by_id["Ref:0"]["snapshot"]}))


def _piece(name, data=A):
    """A good ova.xml, then one piece of that name."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        xva.add(tar, "ova.xml", _ova(xva.objects({"Ref:10": 3 * MIB})))
        xva.add_piece(tar, name, data)
    return out.getvalue()


def _big_header(size):
    info = tarfile.TarInfo("ova.xml")
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT) + b"<value/>" * 64


def archives():
    good = xva.write(DISK)
    deep = b"<value><array><data>" * 5000
    pax = tarfile.TarInfo("ova.xml")
    pax.pax_headers = {"path": "x" * 3000}
    return {
        "nothing at all": (b"", "IMPORT_ERROR_PREMATURE_EOF"),
        "one byte": (b"x", "IMPORT_ERROR_PREMATURE_EOF"),
        "an archive of nothing": (_archive([]), "IMPORT_ERROR_PREMATURE_EOF"),
        "zeroes": (bytes(10240), "IMPORT_ERROR_PREMATURE_EOF"),
        "text": (b"this is no archive\n" * 1000, "IMPORT_ERROR"),
        "half a header": (good[:300], "IMPORT_ERROR_PREMATURE_EOF"),
        "cut within ova.xml": (good[:1500], "IMPORT_ERROR_PREMATURE_EOF"),
        "cut before the disk": (good[:good.index(b"Ref:10/00000000")], "IMPORT_ERROR_PREMATURE_EOF"),
        "cut within a piece": (good[:good.index(A[:64]) + 5000], "IMPORT_ERROR_PREMATURE_EOF"),
        "cut between pieces": (good[:good.index(b"Ref:10/00000002")], "IMPORT_ERROR_PREMATURE_EOF"),
        "cut before the last checksum": (good[:good.index(b"Ref:10/00000002.checksum")], "IMPORT_ERROR_PREMATURE_EOF"),
        "cut gzip": (gzip.compress(good, 1)[:MIB], "IMPORT_ERROR_PREMATURE_EOF"),
        "damaged gzip": (_flip(gzip.compress(bytes(MIB) + good, 1), b"\x1f\x8b\x08\x00")[:MIB], "IMPORT_ERROR"),
        "zstd that is none": (b"\x28\xb5\x2f\xfd" + b"\xff" * 4000, "IMPORT_ERROR"),
        "zstd with an endless window": (b"\x28\xb5\x2f\xfd\x00\xf8" + b"\0" * 4000, "IMPORT_ERROR"),
        "a damaged piece": (_flip(good, A[1000:1064]), "IMPORT_ERROR_SOME_CHECKSUMS_FAILED"),
        "a damaged header": (_flip(good, b"Ref:10/00000000"), "IMPORT_ERROR"),
        "another first member": (_archive([("readme", b"x")]), "IMPORT_ERROR_UNEXPECTED_FILE"),
        "a path for a name": (_archive([("../../../../etc/passwd", b"x")]), "IMPORT_ERROR_UNEXPECTED_FILE"),
        "a link for ova.xml": (_link(), "IMPORT_ERROR"),
        "a piece with a path": (_piece("Ref:10/../../etc/passwd"), "IMPORT_ERROR_UNEXPECTED_FILE"),
        "a piece of no disk": (_piece("Ref:11/00000000"), "IMPORT_ERROR_UNEXPECTED_FILE"),
        "a piece of a machine": (_piece("Ref:0/00000000"), "IMPORT_ERROR_UNEXPECTED_FILE"),
        "a piece with a number too big": (_piece("Ref:10/99999999"), "IMPORT_ERROR"),
        "a piece with a number beyond all": (_piece("Ref:10/99999999999999999999"), "IMPORT_ERROR_UNEXPECTED_FILE"),
        "a piece with a minus": (_piece("Ref:10/-0000001"), "IMPORT_ERROR_UNEXPECTED_FILE"),
        "a piece that is too long": (_piece("Ref:10/00000000", bytes(5 * MIB)), "IMPORT_ERROR"),
        "pieces that go back": (xva.write({"Ref:10": [A, A, B]}).replace(b"Ref:10/00000001", b"Ref:10/00000000"), "IMPORT_ERROR"),
        "more pieces than disk": (_set("Ref:10", virtual_size=str(MIB // 2)), "IMPORT_ERROR"),
        "ova.xml of exabytes": (_big_header(1 << 62), "IMPORT_ERROR"),
        "ova.xml of nine megabytes": (_archive([("ova.xml", b" " * (9 * MIB))]), "IMPORT_ERROR"),
        "ova.xml of nothing": (_archive([("ova.xml", b"")]), "IMPORT_ERROR"),
        "ova.xml that is no XML": (_archive([("ova.xml", b"<value><struct>")]), "IMPORT_ERROR"),
        "ova.xml of great depth": (_archive([("ova.xml", deep)]), "IMPORT_ERROR"),
        "ova.xml with entities": (_archive([("ova.xml", b"<!DOCTYPE x [<!ENTITY a 'aaaaaaaa'><!ENTITY b '&a;&a;'>]><value>&b;</value>")]),
                                  "IMPORT_ERROR"),
        "no objects": (_archive([("ova.xml", xva.xml({"version": xva.version()}))]), "IMPORT_ERROR"),
        "no version": (_archive([("ova.xml", xva.xml({"objects": []}))]), "IMPORT_ERROR"),
        "no machine": (_archive([("ova.xml", _ova([]))]), "IMPORT_ERROR"),
        "a later version": (_archive([("ova.xml", _ova([], 3))]), "IMPORT_INCOMPATIBLE_VERSION"),
        "an object without an id": (_archive([("ova.xml", _ova([{"class": "VM", "snapshot": {}}]))]), "IMPORT_ERROR"),
        "an id that is a path": (_archive([("ova.xml", _ova([{"class": "VM", "id": "../x", "snapshot": {}}]))]), "IMPORT_ERROR"),
        "the same id twice": (_same_id(), "IMPORT_ERROR"),
        "a disk that is not there": (_set("Ref:100", VDI="Ref:77"), "IMPORT_ERROR_FAILED_TO_FIND_OBJECT"),
        "a disk that is a network": (_set("Ref:100", VDI="Ref:2"), "IMPORT_ERROR_FAILED_TO_FIND_OBJECT"),
        "a device of no machine": (_set("Ref:100", VM="Ref:78"), "IMPORT_ERROR_FAILED_TO_FIND_OBJECT"),
        "a network that is not there": (_set("Ref:3", network="Ref:79"), "IMPORT_ERROR_FAILED_TO_FIND_OBJECT"),
        "a network that is none": (_set("Ref:3", network="OpaqueRef:NULL"), "IMPORT_ERROR"),
        "parents in a circle": (_parents_in_a_circle(), "IMPORT_ERROR"),
        "snapshots of each other": (_snapshots_of_each_other(), "IMPORT_ERROR"),
        "two devices in one place": (_two_devices(), "DEVICE_ALREADY_EXISTS"),
        "a device of no number": (_set("Ref:100", userdevice="-1"), "INVALID_DEVICE"),
        "an interface of no number": (_set("Ref:3", device="../0"), "INVALID_DEVICE"),
        "a disk of less than nothing": (_set("Ref:10", virtual_size="-1"), "IMPORT_ERROR"),
        "a disk of exabytes": (_set("Ref:10", virtual_size=str(1 << 62)), "IMPORT_ERROR"),
        "a disk of words": (_set("Ref:10", virtual_size="many"), "IMPORT_ERROR"),
        "a power state of the future": (_set("Ref:0", power_state="Dreaming"), "IMPORT_ERROR"),
        "no processors": (_set("Ref:0", VCPUs_max="0"), "VALUE_NOT_SUPPORTED"),
        "memory of less than nothing": (_set("Ref:0", memory_static_min="-5"), "MEMORY_CONSTRAINT_VIOLATION"),
        "a map for a name": (_set("Ref:0", name_label={"a": "b"}), "IMPORT_ERROR"),
        "a name of 3000 letters": (pax.tobuf(tarfile.PAX_FORMAT) + bytes(1024), "IMPORT_ERROR"),
    }
