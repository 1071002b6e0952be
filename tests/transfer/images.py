#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""images.py [NAME...] -- images of disks that others have made, imported; NAME picks tests by a part of their name.

Made by qemu-img, or by hand in vhd.py and vmdk.py, which know nothing of the daemon's code.  Whatever is wrong with one has to give an error
that says so.
"""

import os
import random
import struct
import subprocess
import sys
import traceback
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
sys.path.insert(0, HERE)
from daemon import Daemon, Lost, MostMemory, XapiError  # noqa: E402
from report import Report  # noqa: E402
import lab  # noqa: E402
import vhd  # noqa: E402
import vmdk  # noqa: E402
import web  # noqa: E402
from lab import MIB  # noqa: E402

TESTS = []
MEMORY = 40 * MIB  # of the daemon's own
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


def upload(c, vdi, data, length="", **query):
    """As web.put, with another length, or with None."""
    one = web.Upload(c, "/import_raw_vdi", len(data) if length == "" else length, vdi=vdi, **query)
    one.send(data)
    return one.finish()


def content(c, vdi):
    return web.get(c, "/export_raw_vdi", vdi=vdi)[2]


def soil(c, vdi):
    """Something else everywhere on a disk: at the beginning of each quarter of a megabyte, and at the end."""
    size = int(c("VDI.get_virtual_size", vdi))
    places = [*range(0, size - 4096, MIB // 4), size - 4096]
    web.put(c, "/import_raw_vdi", b"".join(struct.pack("<QI", at, 4096) + b"\xaa" * 4096 for at in places) + bytes(12), vdi=vdi, chunked="true")


def dirty(c, name, size):
    vdi = lab.vdi(c, name, size)
    soil(c, vdi)
    return vdi


def is_there(c, vdi, data, title):
    got = content(c, vdi)
    data = data + bytes(len(got) - len(data))
    first = next((i for i in range(0, len(got), 512) if got[i:i + 512] != data[i:i + 512]), None)
    report.check(got == data, f"{title}: the disk has its content", f"first difference in the sector at {first}")


def fails(title, run, code, *words):
    """The error's code, and what it has to say."""
    try:
        run()
    except XapiError as e:
        said = " ".join(map(str, e.params))
        return report.check(e.code == code and all(str(w) in said for w in words), f"{title}: {code}", f"seen: {e.code} {e.params}")
    return report.fail(f"{title}: {code}", "it succeeded")


def made(c, data, driver, *options):
    """What qemu-img convert makes of the data."""
    raw, image = (os.path.join(c.daemon.dir, n) for n in ("made.raw", "made.image"))
    with open(raw, "wb") as f:
        f.write(data)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", driver, *options, raw, image], capture_output=True, check=True)
    with open(image, "rb") as f:
        found = f.read()
    for path in (raw, image):
        os.unlink(path)
    return found


def stored(c):
    """Bytes that the daemon's images take."""
    return int(subprocess.run(["du", "-s", "-B1", os.path.join(c.daemon.state, "storage")], capture_output=True, text=True,
                              check=True).stdout.split()[0])


# -- VHD of fixed size --

@test
def fixed_vhds(c):
    for size in (8192, MIB - 512, MIB, MIB + 512, 2 * MIB, 9 * MIB + 512 * 1024):
        data = pattern(size, size)
        image = made(c, data, "vpc", "-o", "subformat=fixed,force_size=on")
        report.check(len(image) == size + 512, f"qemu-img makes a fixed VHD of {size} bytes", len(image))
        vdi = dirty(c, "was another", size + 3 * MIB)
        for title, length in (("its length", len(image)), ("no length", None), ("an absurd length", 1 << 50)):
            soil(c, vdi)
            upload(c, vdi, image, length, format="vhd")
            is_there(c, vdi, data, f"a fixed VHD of {size} bytes with {title}")
        c("VDI.destroy", vdi)


@test
def one_fixed_vhd_that_trickles_in(c):
    """Split wherever it hurts: the last sector must be held back, however it comes."""
    data = pattern(MIB + 1024, 3)
    image = data + vhd.footer(len(data))
    vdi = dirty(c, "slowly", 2 * MIB)
    one = web.Upload(c, "/import_raw_vdi", None, vdi=vdi, format="vhd")
    begin = 0
    for end in (1, 511, 512, 513, 1024, MIB + 511, MIB + 512, MIB + 1023, MIB + 1024, len(image) - 1, len(image)):
        one.send(image[begin:end])
        begin = end
    one.finish()
    is_there(c, vdi, data, "a fixed VHD in pieces of all sizes")
    c("VDI.destroy", vdi)


@test
def fixed_vhds_are_stored_thinly(c):
    data = pattern(192 * MIB, 4, at=(0.0, 0.5, 0.999))
    image = data + vhd.footer(len(data))
    vdi = lab.vdi(c, "large", len(data))
    before = stored(c)
    with MostMemory(c.daemon) as memory:
        upload(c, vdi, image, format="vhd")
    report.check(stored(c) - before < 2 * MIB, "of a fixed VHD zeroes are not stored", stored(c) - before)
    report.check(memory.most < MEMORY, "and it takes little memory", f"{memory.most / MIB:.1f} MiB")
    is_there(c, vdi, data, "a fixed VHD of 192 MiB")
    c("VDI.destroy", vdi)


@test
def fixed_vhds_that_are_none(c):
    size = MIB
    data = random.Random(5).randbytes(size)
    good = data + vhd.footer(size)
    vdi = lab.vdi(c, "keeps", size)
    for title, image, length, code, words in (
            ("cut off, of announced length", good[:size // 2], len(good), "IMPORT_ERROR_PREMATURE_EOF", ()),
            ("cut off within its footer", good[:-100], len(good), "IMPORT_ERROR_PREMATURE_EOF", ()),
            ("cut off, of no length", good[:size // 2], None, "VDI_IO_ERROR", ("cut off",)),
            ("cut off, of an absurd length", good[:size // 2], 1 << 50, "VDI_IO_ERROR", ("cut off",)),
            ("something raw", data, "", "VDI_IO_ERROR", ("neither begins nor ends",)),
            ("with a damaged checksum", data + vhd.footer(size, damage=200), "", "VDI_IO_ERROR", ("checksum",)),
            ("with the footer of a dynamic one", data + vhd.footer(size, kind=3), "", "VDI_IO_ERROR", ("dynamic",)),
            ("with the footer of a larger one", data + vhd.footer(size + 512), "", "VDI_IO_ERROR", (size + 512, size)),
            ("with the footer of a smaller one", data + vhd.footer(512), "", "VDI_IO_ERROR", (512, size)),
            ("with something behind it, of no length", good[:size // 2] + vhd.footer(size // 2) + bytes(512), None, "VDI_IO_ERROR", ("ends",)),
            ("that is too large, of no length", data + bytes(512) + vhd.footer(size + 512), None, "VDI_TOO_SMALL", (vdi,))):
        fails(f"a fixed VHD {title}", lambda: upload(c, vdi, image, length, format="vhd"), code, *words)
    web.put(c, "/import_raw_vdi", data, vdi=vdi)
    for title, image, code, words in (
            ("of a length that none has", good[1:], "VDI_IO_ERROR", ("length",)), ("of a footer's length", b"x" * 512, "VDI_IO_ERROR", ("length",)),
            ("that is too large", data + bytes(512) + vhd.footer(size + 512), "VDI_TOO_SMALL", (vdi, size + 512))):
        fails(f"a fixed VHD {title}", lambda: upload(c, vdi, image, format="vhd"), code, *words)
    one = web.Upload(c, "/import_raw_vdi", len(good), vdi=vdi, format="vhd", chunked="true")
    seen = one.status()
    report.check(seen == 400, "what is framed is raw, and nothing else: 400", seen)
    fails("what is framed", lambda: c.wait_task(one.task), "INVALID_VALUE", "chunked")
    one.abandon()
    is_there(c, vdi, data, "after what was refused at once")
    c("VDI.destroy", vdi)


# -- VMDK --

def takes(c, title, image, data, larger=3 * MIB, **query):
    """Imported over another content, to a disk that is larger."""
    vdi = dirty(c, "was another", len(data) + larger)
    upload(c, vdi, image, format="vmdk", **query)
    is_there(c, vdi, data, title)
    c("VDI.destroy", vdi)


@test
def vmdks_of_qemu(c):
    contents = {size: pattern(size, size) for size in (4096, 65536, 65536 + 512, 3 * MIB - 512, 34 * MIB + 1024)}
    contents[5 * MIB] = bytes(5 * MIB)
    contents[2 * MIB + 512] = random.Random(6).randbytes(2 * MIB + 512)
    for size, data in contents.items():
        for kind in ("monolithicSparse", "streamOptimized"):
            takes(c, f"a VMDK of {size} bytes, {kind}", made(c, data, "vmdk", "-o", f"subformat={kind}"), data)
    zeroes = made(c, contents[34 * MIB + 1024], "vmdk", "-o", "zeroed_grain=on")
    takes(c, "a VMDK of version 2", zeroes, contents[34 * MIB + 1024])


@test
def vmdks_written_by_qemu_in_any_order(c):
    """Not by convert but as a guest writes: grains lie in the file in the order of the writes."""
    size = 40 * MIB + 512
    path, plain = (os.path.join(c.daemon.dir, n) for n in ("guest.vmdk", "guest.raw"))
    numbers = list(range(0, size // 65536, 7))
    shuffled = random.Random(7).sample(numbers, len(numbers))
    for title, order in (("back to front", numbers[::-1]), ("in any order", shuffled)):
        subprocess.run(["qemu-img", "create", "-q", "-f", "vmdk", "-o", "zeroed_grain=on", path, str(size)], check=True)
        words = [f"write -q -P {n % 255 + 1} {n * 65536 + n % 5 * 512} {512 * (1 + n % 100)}" for n in order]
        words += [f"write -q -z {order[3] * 65536} 64k", f"write -q -P 99 {size - 512} 512"]
        subprocess.run(["qemu-io", "-f", "vmdk", path], input="\n".join(words), text=True, capture_output=True, check=True)
        subprocess.run(["qemu-img", "convert", "-f", "vmdk", "-O", "raw", path, plain], check=True)
        with open(path, "rb") as image, open(plain, "rb") as data:
            takes(c, f"a VMDK written {title}", image.read(), data.read())
        os.unlink(path)


@test
def vmdks_made_by_hand(c):
    data = pattern(34 * MIB + 512, 8, at=(0.0, 0.1, 0.5, 0.51, 0.999))
    for title, image in (
            ("a sparse VMDK", vmdk.sparse(data)), ("of small grains", vmdk.sparse(data, grain=8)), ("of large grains", vmdk.sparse(data, grain=2048)),
            ("with its grains back to front", vmdk.sparse(data, order=lambda n: -n)), ("with its tables back to front", vmdk.sparse(data, tables_backwards=True)),
            ("of version 3", vmdk.sparse(data, version=3)), ("with something behind it", vmdk.sparse(data) + b"x" * 70000),
            ("a compressed VMDK with its tables last", vmdk.stream(data)), ("compressed, of small grains", vmdk.stream(data, grain=8)),
            ("compressed, of large grains", vmdk.stream(data, grain=2048)),
            ("compressed, with data that does not get smaller", vmdk.stream(random.Random(9).randbytes(MIB)))):
        content_of = data if "smaller" not in title else random.Random(9).randbytes(MIB)
        takes(c, title, image, content_of)
    takes(c, "compressed, of nothing", vmdk.stream(bytes(MIB)), bytes(MIB))
    text = vmdk.description().replace(b"ffffffff", b"FFFFFFFF")
    takes(c, "with its parent in capital letters", vmdk.sparse(data, text=text), data)


@test
def large_vmdks(c):
    """A disk of 256 GiB: its tables are 32 MiB, and are not held."""
    size = 256 << 30
    path = os.path.join(c.daemon.dir, "large.vmdk")
    places = {at: random.Random(at).randbytes(65536) for at in (0, 1 << 30, 200 << 30, size - 65536)}
    subprocess.run(["qemu-img", "create", "-q", "-f", "vmdk", path, str(size)], check=True)
    piece = path + ".piece"
    for at, data in places.items():
        with open(piece, "wb") as f:
            f.write(data)
        subprocess.run(["qemu-io", "-f", "vmdk", "-c", f"write -q -s {piece} {at} 64k", path], check=True, capture_output=True)
    vdi = lab.vdi(c, "large", size)
    before = stored(c)
    with open(path, "rb") as f, MostMemory(c.daemon) as memory:
        upload(c, vdi, f.read(), format="vmdk")
    os.unlink(path)
    report.check(stored(c) - before < 4 * MIB, "of a large VMDK only what there is is stored", stored(c) - before)
    report.check(memory.most < MEMORY, "and it takes little memory", f"{memory.most / MIB:.1f} MiB")
    image = web.get(c, "/export_raw_vdi", vdi=vdi, format="qcow2")[2]
    with open(piece, "wb") as f:
        f.write(image)
    for at, data in places.items():
        done = subprocess.run(["qemu-img", "dd", "-f", "qcow2", "-O", "raw", "bs=65536", f"skip={at // 65536}", f"count={at // 65536 + 1}", f"if={piece}",
                               f"of={path}"], capture_output=True, text=True)
        with open(path, "rb") as f:
            report.check(f.read() == data, f"a large VMDK has what there is at {at >> 30} GiB", done.stderr)
    os.unlink(piece)
    os.unlink(path)
    c("VDI.destroy", vdi)


def set_entry(n, value):
    def change(tables):
        tables[n] = value
    return change


@test
def vmdks_that_are_none(c):
    size = 2 * MIB + 4096
    data = random.Random(10).randbytes(size)
    sparse, stream = vmdk.sparse(data), vmdk.stream(data)
    theirs = made(c, data, "vmdk", "-o", "subformat=streamOptimized")
    flat = vmdk.description("monolithicFlat", extents='RW 4097 FLAT "a-flat.vmdk" 0')
    split = vmdk.description("twoGbMaxExtentSparse", extents='RW 4097 SPARSE "a-s001.vmdk"')
    bomb, short = zlib.compress(bytes(64 * MIB)), zlib.compress(b"x" * 512)
    places = set_entry(1, 1 << 30)
    io, eof = "VDI_IO_ERROR", "IMPORT_ERROR_PREMATURE_EOF"
    vdi = lab.vdi(c, "keeps", size)
    web.put(c, "/import_raw_vdi", data, vdi=vdi)
    for title, image, code, words in (
            ("that is something else", b"x" * 4096, io, ("does not begin",)),
            ("that is a VHD", vhd.footer(512) * 8, io, ("does not begin",)),
            ("that is a description", flat, io, ("monolithicFlat", "another file", "raw", "streamOptimized")),
            ("that is a long description", flat + b"\n" * 1000, io, ("monolithicFlat",)),
            ("that is a description of several files", split, io, ("twoGbMaxExtentSparse", "other files", "streamOptimized")),
            ("that is one of several files", vmdk.sparse(data, text=b""), io, ("several files", "streamOptimized")),
            ("that has a parent", vmdk.sparse(data, text=vmdk.description(parent="12345678")), io, ("another disk", "streamOptimized")),
            ("of version 4", vmdk.sparse(data, version=4), io, ("version",)),
            ("that FTP has changed", sparse.replace(b"\n \r\n", b"\n \n\n", 1), io, ("text",)),
            ("of no size", vmdk.sparse(data, capacity=0), io, ("size",)),
            ("of exabytes", vmdk.sparse(data, capacity=1 << 60), io, ("size",)),
            ("with grains of 24 KiB", vmdk.header(4097, 48) + bytes(65536), io, ("grain size",)),
            ("with grains of gigabytes", vmdk.header(4097, 1 << 22) + bytes(65536), io, ("grain size",)),
            ("with endless tables", vmdk.sparse(data, per_table=1 << 20), io, ("tables",)),
            ("with more tables than there may be", vmdk.sparse(data, capacity=1 << 39, per_table=1), io, ("tables",)),
            ("with a description of gigabytes", vmdk.sparse(data, description_size=1 << 22), io, ("description",)),
            ("with its directory nowhere", vmdk.sparse(data, directory=1 << 50), io, ("nowhere",)),
            ("with its directory in its header", vmdk.sparse(data, directory=0), io, ("tables come after",)),
            ("with another compression", vmdk.stream(data, compression=2), io, ("compression",)),
            ("with compression but no markers", vmdk.stream(data, flags=vmdk.NEWLINES | vmdk.COMPRESSED), io, ("compression",)),
            ("with tables at its end but no markers", vmdk.sparse(data, directory=vmdk.AT_END), io, ("markers",)),
            ("whose table points to its header", vmdk.sparse(data, change_tables=set_entry(1, 1)), io, ("nowhere",)),
            ("with a grain beyond its end", vmdk.sparse(data, change_tables=set_entry(400, 200)), io, ("beyond",)),
            ("with a grain beyond the file", vmdk.sparse(data, change_tables=places), eof, ()),
            ("with two grains in one place", vmdk.sparse(data, change_tables=set_entry(1, 128)), io, ("one place",)),
            ("with a grain among its tables", vmdk.sparse(data, change_tables=set_entry(1, 22)), io, ("tables come after",)),
            ("that is too large", vmdk.sparse(data + bytes(512)), "VDI_TOO_SMALL", (vdi, size + 512)),
            ("compressed, that is too large", vmdk.stream(data + bytes(512)), "VDI_TOO_SMALL", (vdi, size + 512))):
        fails(f"a VMDK {title}", lambda: upload(c, vdi, image, format="vmdk"), code, *words)
        if code == eof or "one place" in words or "among" in title:
            web.put(c, "/import_raw_vdi", data, vdi=vdi)
        else:
            report.check(content(c, vdi) == data, f"a VMDK {title} has changed nothing")
    for title, image, code, words in (
            ("that ends in its header", sparse[:300], eof, ()), ("that ends in its tables", sparse[:23 * 512], eof, ()),
            ("that ends in a grain", sparse[:-62000], eof, ()), ("that ends before its last grain", sparse[:-65536], eof, ()),
            ("of qemu that ends in a grain", theirs.rstrip(b"\0")[:-100], eof, ()), ("compressed, that ends in a grain", stream[:MIB], eof, ()),
            ("compressed, that ends before its tables", vmdk.stream(data, footer=False, end=False)[:-3072], eof, ()),
            ("compressed, without an end", vmdk.stream(data, end=False), eof, ()), ("compressed, without a footer", vmdk.stream(data, footer=False), io, ("copy",)),
            ("compressed, with another footer", stream[:-1024] + vmdk.header(9, 128) + stream[-512:], io, ("fit",)),
            ("compressed, with an unknown marker", vmdk.stream(data, extra=vmdk.marker(9)), io, ("marker",)),
            ("compressed, with a table of terabytes", vmdk.stream(data, extra=vmdk.marker(vmdk.TABLE, 1 << 40)), io, ("marker",)),
            ("compressed, with a grain beyond its end", vmdk.stream(data, extra=vmdk.marked_grain(1 << 20, b"x" * 65536)), io, ("beyond",)),
            ("compressed, with a grain far beyond its end", vmdk.stream(data, extra=vmdk.marked_grain(1 << 63, b"x" * 65536)), io, ("beyond",)),
            ("compressed, with a grain between two", vmdk.stream(data, extra=vmdk.marked_grain(3, b"x" * 65536)), io, ("no place",)),
            ("compressed, with a grain of gigabytes", vmdk.stream(data, extra=vmdk.marked_grain(0, b"", size=1 << 31)), io, ("longer",)),
            ("compressed, with a bomb", vmdk.stream(data, extra=vmdk.marked_grain(0, b"", packed=bomb)), io, ("longer",)),
            ("compressed, with a short grain", vmdk.stream(data, extra=vmdk.marked_grain(0, b"", packed=short)), io, ("too short",)),
            ("compressed, with a grain that does not end", vmdk.stream(data, extra=vmdk.marked_grain(0, data[:65536], size=60000)), io, ("too short",)),
            ("compressed, with a grain that is damaged", flipped(stream, 70000), io, ("damaged",)),
            ("of qemu, with a grain that is damaged", flipped(theirs, 70000), io, ("damaged",)),
            ("of qemu, with a grain in another place", theirs[:65536] + struct.pack("<Q", 128) + theirs[65544:], io, ("tables have",)),
            ("of qemu, that has an end too early", theirs[:65536] + bytes(512) + theirs[65536:], io, ("last grain",))):
        fails(f"a VMDK {title}", lambda: upload(c, vdi, image, format="vmdk"), code, *words)
    status = web.get(c, "/export_raw_vdi", True, vdi=vdi, format="vmdk")[0]
    report.check(status == 404, "a VMDK is not exported: 404", status)
    c("VDI.destroy", vdi)


def flipped(image, at):
    return image[:at] + bytes([image[at] ^ 0x55]) + image[at + 1:]


def main():
    wanted = sys.argv[1:]
    with Daemon() as daemon:
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
    sys.exit(report.done())


if __name__ == "__main__":
    main()
