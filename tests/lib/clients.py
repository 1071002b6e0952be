#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""clients.py -- other people's clients (tests/clients) and libxapi's examples, one after the other against one daemon."""

import os
import subprocess
import sys
import time

from daemon import PASSWORDS, TOP, Daemon, program
from report import Report
import world

CLIENTS = os.path.join(TOP, "tests", "clients")


def runs(host, port):
    """(name, command) of each."""
    yield "python", [sys.executable, os.path.join(CLIENTS, "tour.py")]
    yield "sequences", [sys.executable, os.path.join(CLIENTS, "sequences.py")]
    yield "json-rpc", ["sh", os.path.join(CLIENTS, "tour.sh")]
    yield "fence agent", ["sh", os.path.join(CLIENTS, "fence.sh")]
    yield "xmlrpc-c", [program("tour-xmlrpc-c")]
    yield "libxapi", [program("tour"), host, port, "root", PASSWORDS["root"]]
    yield "curl, qemu-img, tar", [sys.executable, os.path.join(CLIENTS, "files.py")]
    yield "novnc", [sys.executable, os.path.join(CLIENTS, "novnc", "console.py")]
    yield "npm xen-api", ["sh", os.path.join(CLIENTS, "npm-xen-api", "run.sh"), "follow.mjs", "transfers.mjs"]
    yield "npm xen-api and a restart", [sys.executable, os.path.join(CLIENTS, "npm-xen-api", "restart.py")]


def main():
    report = Report()
    with Daemon() as daemon:
        # What one of them has got from npm serves the next.
        env = {"NODE_DIR": os.path.join(daemon.dir, "npm"), **os.environ, "XAPID_HOST": "127.0.0.1", "XAPID_PORT": str(daemon.tls_port), "XAPID_USER": "root",
               "XAPID_PASSWORD": PASSWORDS["root"]}
        for name, command in runs("127.0.0.1", str(daemon.tls_port)):
            print(f"# {name}", flush=True)
            begin = time.monotonic()
            try:
                status = subprocess.run(command, env=env, cwd=daemon.dir, stdin=subprocess.DEVNULL, timeout=300).returncode
            except subprocess.TimeoutExpired:
                status = "no end"
            if status == 77:
                print(f"ok - # SKIP {name}", flush=True)
            else:
                report.check(status == 0, f"{name} ends well", f"exit status {status}")
            print(f"# took {time.monotonic() - begin:.1f} s", flush=True)
        report.check_none(world.leftovers(daemon, daemon.client()), "after all clients everything fits together")
    sys.exit(report.done())


if __name__ == "__main__":
    main()
