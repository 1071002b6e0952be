#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""images.py [NAME...] -- images of disks that others have made, imported; NAME picks tests by a part of their name.

Made by qemu-img, or by hand in vhd.py, which knows nothing of the daemon's code.  Whatever is wrong with one has to give an error
that says so.
"""

import os
import random
import subprocess
import sys
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
sys.path.insert(0, HERE)
from daemon import Daemon, Lost, MostMemory, XapiError  # noqa: E402
from report import Report  # noqa: E402
import lab  # noqa: E402
import vhd  # noqa: E402
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


def dirty(c, name, size):
    """A disk full of something else."""
    vdi = lab.vdi(c, name, size)
    web.put(c, "/import_raw_vdi", b"\xaa" * size, vdi=vdi)
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
            web.put(c, "/import_raw_vdi", b"\x55" * (size + 3 * MIB), vdi=vdi)
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
