#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""includes.py -- who may include whom.  Includes go the way a call goes, never back.

ALLOWED says for each folder what it may include besides itself; a folder stands for those beneath it that have no row of
their own, or a file for itself.  A pair that is not listed is an error: add it only where it goes with the direction.
"""

import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
from daemon import TOP  # noqa: E402
from report import Report  # noqa: E402

BASE = ["libxapi/base"]
VALUE = [*BASE, "libxapi/value"]
CODEC = [*VALUE, "libxapi/codec"]
DB = [*CODEC, "xapid/db", "generated"]
MAIN = ["xapid/main/xapid.h"]  # the daemon as a value: opaque pointers, no behaviour

ALLOWED = {
    # What everybody shares; each knows only those before it.
    "libxapi/base": ["generated"],
    "libxapi/value": [*BASE, "generated"],
    "libxapi/codec": [*VALUE, "generated"],
    "libxapi/client": [*CODEC, "libxapi/include", "generated"],
    "libxapi/include": VALUE,
    "libxapi/examples": [*CODEC, "libxapi/include", "generated"],
    "schema/compiler": BASE,
    "xe-cli": [*CODEC, "libxapi/include", "libxapi/client", "generated"],
    # The daemon: what lies below operations.
    "pool/peer": BASE,
    "pool/log": [*BASE, "xapid/db/log.h", "pool/peer/peer.h"],
    "pool/plan": [*VALUE, "pool/ha/planner.h"],  # pure
    "pool/ha": VALUE,
    "pool/member": [*BASE, "xapid/db/log.h"],
    "xapid/db": [*CODEC, "generated", *MAIN],
    "xapid/loop": BASE,
    "xapid/http": [*BASE, "xapid/loop"],
    "xapid/hypervisor": [*VALUE, "generated"],
    "storage-repos": [*VALUE, "generated"],
    "network-bridge": [*VALUE, "generated"],
    "xapid/worker": BASE,
    # Tasks, events, sessions: above the database, below operations.
    "xapid/task": [*DB, *MAIN, "xapid/ops/op.h", "xapid/auth/rbac.h", "xapid/auth/session.h", "xapid/worker",
                  "xapid/http/certificate.h"],  # host.get_server_certificate
    "xapid/event": [*DB, *MAIN, "xapid/auth/session.h", "xapid/http", "xapid/rpc/rpc.h", "xapid/worker", "xapid/ops/allowed.h"],
    "xapid/auth": [*DB, *MAIN, "xapid/http", "xapid/rpc/rpc.h", "xapid/worker", "xapid/task", "pool/peer/peer.h"],
    "xapid/trace": [*DB, *MAIN],
    # Operations and what they drive.
    "xapid/ops": [*DB, *MAIN, "xapid/task", "xapid/auth", "xapid/hypervisor", "storage-repos", "network-bridge", "pool", "xapid/worker", "xapid/trace", "xapid/forward",
                  "xapid/http/certificate.h", "xapid/http/count.h",  # host.get_server_certificate, Diagnostics.network_stats
                  "xapid/http/http.h",  # whether a client hears
                  "xapid/stats/move.h"],
    "xapid/forward": [*DB, *MAIN, "xapid/task", "xapid/auth/session.h", "xapid/auth/session_json.h", "xapid/worker", "pool/peer/peer.h", "xapid/ops/registry.h"],
    # Those that take calls in.
    "xapid/rpc": [*DB, *MAIN, "xapid/http", "xapid/trace", "xapid/task", "xapid/auth", "xapid/worker", "xapid/event", "xapid/ops/setters.h",
                  "xapid/ops/allowed.h", "xapid/ops/op.h", "xapid/ops/registry.h", "xapid/ops/host/plugin.h", "xapid/ops/host/here.h", "xapid/forward",
                  "xapid/ops/network/reached.h"],
    "xapid/stream": [*DB, *MAIN, "pool/peer", "xapid/http", "xapid/task", "xapid/auth", "xapid/worker", "xapid/ops", "xapid/hypervisor", "storage-repos"],
    "xapid/transfer": [*DB, *MAIN, "libxapi/include", "xapid/http", "xapid/task", "xapid/stream/handover.h", "xapid/stream/relay.h", "xapid/auth", "xapid/ops", "storage-repos"],
    "xapid/nbd": [*DB, *MAIN, "xapid/http/io.h", "xapid/auth", "xapid/ops/storage", "storage-repos"],
    "xapid/join": [*DB, *MAIN, "libxapi/include", "xapid/http", "xapid/task", "xapid/stream/handover.h", "xapid/auth", "xapid/ops", "pool",
                  "xapid/main/members.h", "xapid/worker"],
    "xapid/witness": [*DB, "libxapi/include", "pool", "xapid/auth/file.h", "xapid/join", "xapid/ops/faults.h", "xapid/ops/op.h"],
    "xapid/boot": [*DB, *MAIN, "xapid/hypervisor", "xapid/ops", "storage-repos", "pool/peer", "xapid/main/members.h", "xapid/main/office.h"],
    "xapid/main": ["libxapi", "xapid", "storage-repos", "network-bridge", "pool", "generated"],
    "xapid/stats": [*DB, *MAIN, "xapid/hypervisor", "xapid/http", "xapid/auth", "xapid/worker", "xapid/stream/relay.h", "xapid/ops/message.h", "xapid/ops/host/here.h",
                    "xapid/ops/vm/guest.h"],  # what a guest has
}
# What a library gives is known in one folder, so that another one can take its place.
KNOWN_BY = {"raft": "pool/log", "sqlite3": "xapid/db", "libxl": "xapid/hypervisor/executor", "xenctrl": "xapid/hypervisor/executor",
            "netlink": "network-bridge/linux", "http_parser": "xapid/http", "security": "xapid/auth/pam", "libnbd": "storage-repos"}
LIBRARY = re.compile(r'^\s*#\s*include\s+<(\w+)[./]', re.M)
GENERATED = {"api_types.h", "api_daemon.h", "api_client.h", "xapi/api.h"}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)


def row_of(path):
    """The longest key that is a folder of the path."""
    found = [k for k in ALLOWED if path == k or path.startswith(k + "/")]
    return max(found, key=len) if found else None


def allows(row, target):
    if target == "generated":
        return "generated" in ALLOWED[row] or row.startswith("xapid")
    if target.startswith(row + "/"):
        return True
    return any(target == a or target.startswith(a + "/") for a in ALLOWED[row])


def sources():
    for top in ("libxapi", "schema", "xe-cli", "xapid", "pool", "storage-repos", "network-bridge"):
        for folder, _, names in os.walk(os.path.join(TOP, top)):
            for name in names:
                if name.endswith((".c", ".h")):
                    yield os.path.relpath(os.path.join(folder, name), TOP)


def target_of(path, name):
    """What an include line names, from the top."""
    if name in GENERATED:
        return "generated"
    beside = os.path.normpath(os.path.join(os.path.dirname(path), name))
    for candidate in (name, beside, os.path.join("libxapi/include", name)):
        if os.path.exists(os.path.join(TOP, candidate)):
            return candidate
    return None


def main():
    report = Report()
    wrong, unknown, homeless, leaked, count = [], [], [], [], 0
    for path in sources():
        row = row_of(path)
        if not row:
            homeless.append(path)
            continue
        with open(os.path.join(TOP, path), errors="replace") as f:
            text = f.read()
        names = INCLUDE.findall(text)
        leaked += [f"{path} includes {library}" for library in LIBRARY.findall(text)
                   if library in KNOWN_BY and not path.startswith(KNOWN_BY[library] + "/")]
        for name in names:
            target = target_of(path, name)
            count += 1
            if target is None:
                unknown.append(f"{path} includes {name}, which is not there")
            elif not allows(row, target):
                wrong.append(f"{path} includes {target}")
    report.check_none(homeless, "every source has a place in the order of includes")
    report.check_none(leaked, "no library is known outside of its folder")
    report.check_none(unknown, "every file that is included exists")
    report.check_none(sorted(wrong), f"all {count} includes go the way a call goes", at_most=60)
    sys.exit(report.done())


if __name__ == "__main__":
    main()
