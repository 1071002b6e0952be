#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""disks.py [--short] [--rounds N] -- how fast a disk of 4 GiB (short: 256 MiB) goes out and comes in over TLS, beside nginx.

The yardstick of the export is nginx with a file of the same bytes, that of the import nginx again, which takes the same upload
into a file (PUT) that is then flushed, as the daemon flushes the disk.  The client is curl for all of them, and, for the raw
export and its yardstick once more, openssl s_client.  They take turns; what counts is the median of the rounds' ratios of bytes
a second.  It fails below AT_LEAST, where bytes differ, and where the daemon takes MEMORY of its own.
"""

import hashlib
import json
import os
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
sys.path.insert(0, HERE)
import lab  # noqa: E402
from bench import Bench  # noqa: E402
from daemon import Daemon, MostMemory, cpu_of  # noqa: E402
from lab import MIB  # noqa: E402

SHORT = "--short" in sys.argv
SIZE = (256 if SHORT else 4096) * MIB
ROUNDS = int(sys.argv[sys.argv.index("--rounds") + 1]) if "--rounds" in sys.argv else 3
AT_LEAST = 0.4 if SHORT else 0.7  # the short form is for machines where others work too: it sees what has become far slower
MEMORY = 40 * MIB
FORMS = ("raw", "vhd", "qcow2")


def curl(*words):
    """Seconds; it must succeed."""
    begin = time.monotonic()
    subprocess.run(["curl", "-k", "-s", "-S", "-f", "-H", "Expect:", *words], check=True, stdin=subprocess.DEVNULL)
    return time.monotonic() - begin


def s_client(port, path, at_least):
    """Seconds; so many bytes must come."""
    begin = time.monotonic()
    client = subprocess.Popen(["openssl", "s_client", "-quiet", "-connect", f"127.0.0.1:{port}"], stdin=subprocess.PIPE,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    client.stdin.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    client.stdin.flush()
    os.waitid(os.P_PID, client.pid, os.WEXITED | os.WNOWAIT)
    took = time.monotonic() - begin
    with open(f"/proc/{client.pid}/io") as f:
        written = dict(line.split(": ") for line in f.read().splitlines())["wchar"]
    client.communicate()
    if int(written) < at_least:
        raise RuntimeError(f"openssl s_client has received {written} bytes of {path} only")
    return took


def sum_of(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


class Disks(Bench):
    def prepare(self):
        self.start_nginx()
        self.ratios = {}
        self.source = os.path.join(self.work, "www", "source")
        with open(self.source, "wb") as f:
            for _ in range(SIZE // (16 * MIB)):
                f.write(os.urandom(16 * MIB))
            os.fsync(f.fileno())
        self.yard = f"https://127.0.0.1:{self.nginx_port}"

    def path(self, what, vdi, form="raw"):
        return f"/{what}_raw_vdi?session_id={self.client.session}&vdi={vdi}&format={form}"

    def url(self, *what):
        return f"https://127.0.0.1:{self.daemon.tls_port}{self.path(*what)}"

    def flushed(self, name):
        begin = time.monotonic()
        with open(os.path.join(self.work, "www", name), "rb") as f:
            os.fsync(f.fileno())
        return time.monotonic() - begin

    def timed(self, pids, run):
        before = cpu_of(pids)
        return run(), cpu_of(pids) - before

    def remembered(self, *paths):
        """Reads what is about to be sent, by us and by the yardstick, so that neither waits for the disk."""
        for path in [self.source, *paths]:
            with open(path, "rb") as f:
                while f.read(MIB):
                    pass

    def forgotten(self, path):
        with open(path, "rb") as f:
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def image_of(self, vdi):
        name = self.client("VDI.get_uuid", vdi) + ".qcow2"
        return next(os.path.join(at, name) for at, _, files in os.walk(self.daemon.dir) if name in files)

    def side_by_side(self, name, ours, theirs, size):
        """ours() and theirs(): seconds; size: bytes of ours, theirs has SIZE."""
        took, cpu = self.timed([self.daemon.pid], ours)
        yard, yard_cpu = self.timed(self.nginx_pids(), theirs)
        ratio = (size / took) / (SIZE / yard)
        self.ratios.setdefault(name, []).append(ratio)
        print(f"{name}: {size / MIB / took:.0f} MiB/s, nginx {SIZE / MIB / yard:.0f} MiB/s: {ratio:.2f} x; "
              f"CPU {cpu:.2f} s, nginx {yard_cpu:.2f} s", flush=True)

    def yard_put(self):
        took = curl("-T", self.source, f"{self.yard}/put/copy") + self.flushed("put/copy")
        os.unlink(os.path.join(self.work, "www", "put", "copy"))
        return took

    def raw(self):
        c = self.client
        for n in range(ROUNDS):
            vdi = lab.vdi(c, "disk", SIZE)
            self.side_by_side("import of raw", lambda: curl("-T", self.source, self.url("import", vdi)), self.yard_put, SIZE)
            self.remembered(self.image_of(vdi))
            self.side_by_side("export of raw", lambda: curl("-o", "/dev/null", self.url("export", vdi)),
                              lambda: curl("-o", "/dev/null", f"{self.yard}/source"), SIZE)
            self.side_by_side("export of raw to s_client", lambda: s_client(self.daemon.tls_port, self.path("export", vdi), SIZE),
                              lambda: s_client(self.nginx_port, "/source", SIZE), SIZE)
            if n < ROUNDS - 1:
                c("VDI.destroy", vdi)
        return vdi

    def formed(self, form, vdi):
        """A file format: the disk, which holds the source, goes out, and into another one."""
        c, path = self.client, os.path.join(self.work, "image")
        curl("-o", path, self.url("export", vdi, form))
        size = os.path.getsize(path)
        with open(path, "rb") as f:
            os.fsync(f.fileno())  # else whoever flushes first writes it, too
        for n in range(ROUNDS):
            self.remembered(self.image_of(vdi))
            self.side_by_side(f"export of {form}", lambda: curl("-o", "/dev/null", self.url("export", vdi, form)),
                              lambda: curl("-o", "/dev/null", f"{self.yard}/source"), size)
        self.forgotten(self.image_of(vdi))  # the machine's memory is for what is needed now
        for n in range(ROUNDS):
            copy = lab.vdi(c, "copy", SIZE)
            self.remembered(path)
            self.side_by_side(f"import of {form}", lambda: curl("-T", path, self.url("import", copy, form)), self.yard_put, size)
            if n == 0:
                self.report.check(self.comes_out(copy), f"what went in as {form} comes out")
            c("VDI.destroy", copy)
        os.unlink(path)

    def comes_out(self, vdi):
        back = os.path.join(self.work, "back")
        curl("-o", back, self.url("export", vdi))
        same = sum_of(back) == sum_of(self.source)
        os.unlink(back)
        return same

    def run(self):
        self.prepare()
        with Daemon() as self.daemon, MostMemory(self.daemon) as memory:
            self.client = self.daemon.client()
            vdi = self.raw()
            self.report.check(self.comes_out(vdi), "what went in comes out")
            for form in FORMS[1:]:
                self.formed(form, vdi)
        for name, found in self.ratios.items():
            middle = statistics.median(found)
            self.figures[name] = round(middle, 3)
            self.report.check(middle >= AT_LEAST, f"{name}, {SIZE // MIB} MiB over TLS: at least {AT_LEAST} of nginx's throughput", f"{middle:.2f}: {found}")
            print(f"{name}: {middle:.2f} times the yardstick's throughput")
        self.figures["memory"] = memory.most
        self.report.check(memory.most < MEMORY, f"the daemon's own memory stays below {MEMORY // MIB} MiB", f"{memory.most / MIB:.1f} MiB")
        print(f"the daemon's own memory: at most {memory.most / MIB:.1f} MiB")
        print("# " + json.dumps(self.figures))


def main():
    disks = Disks()
    try:
        disks.run()
    finally:
        disks.end()
    sys.exit(disks.report.done())


if __name__ == "__main__":
    main()
