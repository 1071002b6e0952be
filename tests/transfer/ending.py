#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""ending.py -- a daemon that is told to end while disks are on their way, to clients that do not take what they have asked for, or that
do not send what they have promised: it ends in time, cleanly, and a disk of which only a part has come is told from a whole one.
"""

import os
import socket
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
sys.path.insert(0, HERE)
from daemon import Daemon, until  # noqa: E402
from report import Report  # noqa: E402
import lab  # noqa: E402
import web  # noqa: E402
from lab import MIB  # noqa: E402

SIZE = 64 * MIB
report = Report()


def begin(daemon, request, data=b""):
    """A connection on which that was asked, and which is left alone then."""
    s = socket.socket(socket.AF_UNIX)
    s.connect(daemon.socket)
    s.sendall(request.encode() + data)
    return s



def exports(c, vdi):
    for kind in ("raw", "vhd", "qcow2"):
        s = begin(c.daemon, f"GET /export_raw_vdi?session_id={c.session}&vdi={vdi}&format={kind} HTTP/1.0\r\n\r\n")
        report.check(s.recv(12).endswith(b"200"), f"an export as {kind} begins")
        yield s


def imports(c, vdi):
    for kind in ("raw", "vhd"):
        yield begin(c.daemon, f"PUT /import_raw_vdi?session_id={c.session}&vdi={vdi}&format={kind} HTTP/1.1\r\nHost: x\r\n"
                    f"Content-Length: {SIZE}\r\n\r\n", os.urandom(MIB) if kind == "raw" else b"")


def ends(title, start):
    with Daemon() as d:
        c = d.client()
        vdi = lab.vdi(c, "of random bytes", SIZE)
        web.put(c, "/import_raw_vdi", os.urandom(SIZE), vdi=vdi)
        held = list(start(c, vdi))
        busy = until(lambda: c("VDI.get_current_operations", vdi), 10)
        report.check(busy, f"{title}: they are under way")
        status = d.stop()
        report.check(status == 0, f"{title}: the daemon ends cleanly", f"exit status {status}", *d.log_text().splitlines()[-5:])
        for s in held:
            s.close()
        d.start()
        c = d.client()
        report.check_none(list(c("VDI.get_current_operations", vdi)), f"{title}: after its next start nothing is held")
        c("VDI.destroy", vdi)


ends("exports nobody takes", exports)
ends("imports nobody sends", imports)
sys.exit(report.done())
