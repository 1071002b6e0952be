#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""sparse.py [--long] -- a disk of 20 TiB with little in it: made, written, snapshotted, moved about, exported and imported.

Each step has to take seconds, and what it stores or sends to be in proportion to what is on the disk; the daemon's own memory
stays below a limit meanwhile.  --long: with thousands of pieces all over the disk.
"""

import os
import random
import re
import struct
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
sys.path.insert(0, HERE)
import nbd  # noqa: E402
from daemon import NULL, Daemon, MostMemory, XapiError, until  # noqa: E402
from report import Report  # noqa: E402
import lab  # noqa: E402
import web  # noqa: E402
from lab import MIB  # noqa: E402

GIB, TIB = 1 << 30, 1 << 40
SIZE = 20 * TIB
LARGEST = 1 << 51  # what clusters of 64 KiB can address with the largest table QEMU reads
VHD_LARGEST = 2040 * GIB
PIECE = 65536
LONG = "--long" in sys.argv
SECONDS = 120 if LONG else 30  # for each step, on a busy machine; to go through 20 TiB takes hours
MEMORY = 40 * MIB
report = Report()


def places():
    """{offset: bytes}: the beginning, the end, and where numbers of 41, 43 and 44 bits begin."""
    rng = random.Random(1)
    at = [0, 2 * TIB - PIECE, 8 * TIB - 512, 16 * TIB + 4096, SIZE - PIECE]
    if LONG:
        at += [rng.randrange(1, SIZE // PIECE - 1) * PIECE for _ in range(3000)]
    return {a: rng.randbytes(PIECE) for a in sorted(set(at))}


def timed(title, run, *args, **kwargs):
    begin = time.monotonic()
    result = run(*args, **kwargs)
    seconds = time.monotonic() - begin
    report.check(seconds < SECONDS, f"{title}: in seconds", f"{seconds:.1f} s")
    report.note(f"{title}: {seconds:.2f} s")
    return result


def fails(title, code, run, *args):
    try:
        run(*args)
        report.fail(f"{title}: {code}", "it succeeded")
    except XapiError as e:
        report.check(e.code == code, f"{title}: {code}", e)


def opened(c, vdi):
    """A libnbd connection to the daemon."""
    h = nbd.NBD()
    h.add_meta_context("base:allocation")
    h.set_export_name(f"/{c('VDI.get_uuid', vdi)}?session_id={c.session}")
    h.connect_tcp("localhost", re.findall(r"over NBD on port (\d+)", c.daemon.log_text())[-1])
    return h


def runs_of(h):
    """[(offset, length)] of what may be other than zero."""
    found, at, size = [], 0, h.get_size()

    def take(_context, offset, entries, _error):
        nonlocal at
        for n, state in zip(entries[::2], entries[1::2]):
            if not state & 2:
                found.append((offset, n))
            offset += n
        at = offset
    while at < size:
        h.block_status(min(size - at, (4 << 30) - PIECE), at, take)
    return found


def has(h, data):
    """What of these pieces the disk does not have."""
    return [f"{a:#x} differs" for a, piece in data.items() if h.pread(len(piece), a) != piece]


def holds(c, vdi, data, title, size=SIZE):
    """The disk has these pieces and else, where it says that it has something, zeroes."""
    h = opened(c, vdi)
    wrong = has(h, data)
    runs = runs_of(h)
    held = sum(n for _, n in runs)
    for at, n in runs if len(runs) < 100 else []:
        got = bytearray(h.pread(n, at))
        for a, piece in data.items():
            low, high = max(a, at), min(a + len(piece), at + n)
            if low < high:
                got[low - at:high - at] = bytes(high - low)
        if any(got):
            wrong.append(f"{at:#x} to {at + n:#x}: there is more in it than was written")
    report.check_none(wrong, f"{title}: it has what was written, and nothing else")
    report.check(h.get_size() == size and held <= 4 * (len(data) + 1) * MIB, f"{title}: the rest is holes", f"{held / MIB:.1f} MiB are data", h.get_size())
    h.shutdown()
    until(lambda: not any(c("VBD.get_other_config", v).get("nbd-client") for v in c("VDI.get_VBDs", vdi)))


def written(c, vm, vdi, data):
    """Through the data path, as the VM's guest would; through the chunked upload where there is no FUSE."""
    if os.path.exists("/dev/fuse"):
        c("VM.start", vm, False, False)
        with open(os.path.join(c.daemon.state, "datapath", c("VDI.get_uuid", vdi), "disk"), "r+b", buffering=0) as f:
            for at, piece in data.items():
                os.pwrite(f.fileno(), piece, at)
            os.fsync(f.fileno())
        return
    frames = b"".join(struct.pack("<QI", at, len(piece)) + piece for at, piece in data.items()) + bytes(12)
    web.put(c, "/import_raw_vdi", frames, vdi=vdi, chunked="true")


def stored(c):
    """Bytes that the daemon's files take."""
    return int(subprocess.run(["du", "-s", "-B1", c.daemon.dir], capture_output=True, text=True, check=True).stdout.split()[0])


def enough(title, n, data):
    """Of each piece, a cluster of the largest size there is and tables for it are allowed."""
    limit = (6 if LONG else 4) * MIB * (4 + (1 if LONG else len(data))) + (LONG and len(data) * MIB)
    report.check(n < limit, f"{title}: in proportion to what is on the disk", f"{n / MIB:.1f} MiB, allowed are {limit / MIB:.0f}")
    report.note(f"{title}: {n / MIB:.1f} MiB")


def formats(c, vdi, sr, data):
    path = os.path.join(c.daemon.dir, "image.qcow2")
    for name in ("qcow2", "tar"):
        image = timed(f"export as {name}", web.get, c, "/export_raw_vdi", vdi=vdi, format=name)[2]
        enough(f"export as {name}", len(image), data)
        if name == "qcow2":
            with open(path, "wb") as f:
                f.write(image)
            for words in (["check", "-f", "qcow2", path], ["info", "--output=json", path]):
                done = subprocess.run(["qemu-img", *words], capture_output=True, text=True)
                report.check(done.returncode == 0, f"qemu-img {words[0]} has no complaint of the export", done.stderr)
            report.check(f'"virtual-size": {SIZE}' in done.stdout, "it says the size", done.stdout)
            os.unlink(path)
        copy = lab.vdi(c, f"from {name}", SIZE, sr)
        web.put(c, "/import_raw_vdi", struct.pack("<QI", 5 * TIB, 5) + b"older" + bytes(12), vdi=copy, chunked="true")
        timed(f"import of {name}", web.put, c, "/import_raw_vdi", image, vdi=copy, format=name)
        holds(c, copy, data, f"import of {name}")
        c("VDI.destroy", copy)
    status, _, text = web.get(c, "/export_raw_vdi", True, vdi=vdi, format="vhd")
    report.check(status == 500 and b"VDI_TOO_LARGE" in text and str(VHD_LARGEST).encode() in text, "no VHD holds it: VDI_TOO_LARGE, with VHD's limit", status, text)
    raw(c, vdi, data)


def raw(c, vdi, data):
    """All 20 TiB, for whoever wants them: it begins like the disk, and says how much there is."""
    task = c("task.create", "test: raw", "")
    connection = web._connection(c.daemon)
    connection.request("GET", web._target(c, "/export_raw_vdi", {"vdi": vdi, "task_id": task}))
    reply = connection.getresponse()
    report.check(reply.getheader("Content-Length") == str(SIZE) and reply.read(PIECE) == data[0], "a raw export says that it has 20 TiB, and begins")
    reply.close()
    connection.close()
    fails("a raw export nobody reads", "CLIENT_ERROR", c.wait_task, task)


def copies(c, vdi, sr, data):
    own = c("VDI.get_SR", vdi)
    for title, to in (("VDI.copy in its repository", own), ("VDI.copy to another repository", sr)):
        copy = timed(title, c, "VDI.copy", vdi, to, NULL, NULL)
        holds(c, copy, data, title)
        if to == sr:
            timed("VDI.pool_migrate", c, "VDI.pool_migrate", copy, own, {})
            holds(c, copy, data, "VDI.pool_migrate")
        c("VDI.destroy", copy)
    into = lab.vdi(c, "full of another", SIZE, sr)
    web.put(c, "/import_raw_vdi", struct.pack("<QI", 7 * TIB, 5) + b"older" + bytes(12), vdi=into, chunked="true")
    timed("VDI.copy into a disk", c, "VDI.copy", vdi, NULL, NULL, into)
    holds(c, into, data, "VDI.copy into a disk")
    c("VDI.destroy", into)


def machines(c, vm, sr, data):
    copy = timed("VM.copy", c, "VM.copy", vm, "copy", sr)
    holds(c, lab.disks(c, copy)[0], data, "VM.copy")
    lab.destroy_vm(c, copy)
    archive = timed("export of the VM", web.get, c, "/export", ref=vm)[2]
    enough("export of the VM", len(archive), data)
    made = re.findall(r"OpaqueRef:[-0-9a-f]{36}", timed("import of the VM", web.put, c, "/import", archive, sr_id=sr))[0]
    holds(c, lab.disks(c, made)[0], data, "import of the VM")
    lab.destroy_vm(c, made)


def limits(c, sr):
    small = lab.vdi(c, "grows", GIB, sr)
    web.put(c, "/import_raw_vdi", struct.pack("<QI", GIB - 5, 5) + b"grown" + bytes(12), vdi=small, chunked="true")
    timed("VDI.resize to 20 TiB", c, "VDI.resize", small, SIZE)
    report.check(int(c("VDI.get_virtual_size", small)) == SIZE, "the record has the new size")
    holds(c, small, {GIB - 5: b"grown"}, "VDI.resize")
    fails("VDI.resize beyond what qcow2 holds", "VDI_TOO_LARGE", c, "VDI.resize", small, LARGEST + 4096)
    fails("VDI.create beyond what qcow2 holds", "VDI_TOO_LARGE", lab.vdi, c, "too large", LARGEST + 4096, sr)
    c("VDI.destroy", small)
    last = timed("VDI.create of 2 PiB", lab.vdi, c, "largest", LARGEST, sr)
    if LONG:
        largest(c, sr, last)
    c("VDI.destroy", last)


def largest(c, sr, last):
    end = {LARGEST - PIECE: b"the very end"}
    web.put(c, "/import_raw_vdi", struct.pack("<QI", LARGEST - PIECE, 12) + b"the very end" + bytes(12), vdi=last, chunked="true")
    image = timed("export of 2 PiB", web.get, c, "/export_raw_vdi", vdi=last, format="qcow2")[2]
    report.check(len(image) < 64 * MIB, "an export of 2 PiB is small", len(image))
    copy = lab.vdi(c, "largest again", LARGEST, sr)
    timed("import of 2 PiB", web.put, c, "/import_raw_vdi", image, vdi=copy, format="qcow2")
    h = opened(c, copy)
    report.check(h.pread(12, LARGEST - PIECE) == end[LARGEST - PIECE], "the largest disk there is comes back")
    h.shutdown()
    until(lambda: not c("VDI.get_VBDs", copy))
    c("VDI.destroy", copy)


def main():
    data = places()
    with Daemon(args=["--datapath", "fuse"] if os.path.exists("/dev/fuse") else []) as d:
        c = d.client()
        c("network.add_purpose", c("network.get_all")[0], "insecure_nbd")
        sr = c("SR.create", lab.host(c), {"location": os.path.join(d.dir, "second")}, 0, "second", "", "file", "user", False, {})
        vm = lab.vm(c, "sparse")
        lab.enough_memory(c, vm)
        before = stored(c)
        with MostMemory(d) as memory:
            vdi = timed("VDI.create of 20 TiB", lab.vdi, c, "sparse", SIZE)
            report.check(int(c("VDI.get_virtual_size", vdi)) == SIZE, "the record has its size", c("VDI.get_virtual_size", vdi))
            lab.vbd(c, vm, vdi, "0")
            timed("writing", written, c, vm, vdi, data)
            snapshot = timed("VDI.snapshot", c, "VDI.snapshot", vdi, {})
            later = {**data, 10 * TIB: b"later" * 100}
            if c("VM.get_power_state", vm) == "Running":
                with open(os.path.join(d.state, "datapath", c("VDI.get_uuid", vdi), "disk"), "r+b", buffering=0) as f:
                    os.pwrite(f.fileno(), later[10 * TIB], 10 * TIB)
                c("VM.hard_shutdown", vm)
            else:
                later = data
            holds(c, snapshot, data, "the snapshot")
            holds(c, vdi, later, "the disk")
            enough("what is stored", stored(c) - before, data)
            formats(c, snapshot, sr, data)
            copies(c, vdi, sr, later)
            machines(c, vm, sr, later)
            limits(c, sr)
        report.check(memory.most < MEMORY, f"the daemon's own memory stays below {MEMORY // MIB} MiB", f"{memory.most / MIB:.1f} MiB")
        report.note(f"the daemon's own memory: at most {memory.most / MIB:.1f} MiB")
    sys.exit(report.done())


if __name__ == "__main__":
    main()
