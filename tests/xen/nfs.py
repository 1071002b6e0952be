# SPDX-License-Identifier: LGPL-2.1-or-later
"""nfs.py -- a guest whose disk is on an NFS server, which stops to answer and comes back."""

import os
import re
import signal
import time

from host import WORK, Guest, XeFailed, lab, until
from life import IMAGE, nothing_left

SERVER, PATH = "10.77.0.254", "/shared"
LEASE = "120"  # longer than the server stands still: what is tried is its silence, not what becomes of its clients' locks
PATIENCE = 600
WAIT = 25      # --storage-wait
BOUND = WAIT + 60  # an emulated host is slow


class Server:
    """Stands still and goes on: its kernel takes what is sent, and nobody answers."""

    def __init__(self):
        os.environ["XAPID_LAB_NFS_LEASE"] = LEASE
        lab("nfs-server", "start")
        with open(os.path.join(WORK, "nfs", "pid")) as f:
            self.pid = int(f.read())

    def silent(self, silent):
        os.kill(self.pid, signal.SIGSTOP if silent else signal.SIGCONT)

    def close(self):
        self.silent(False)
        lab("nfs-server", "stop")


def restart(host):
    host.kill("xapid")
    host.start()


def wait_for_storage(host, seconds):
    """From its next start on, as the daemon has it."""
    host.dom0(f"sed -i \"s/^options=.*/options='{f'--storage-wait {seconds}' if seconds else ''}'/\" /etc/xapid/lab")


def fails(report, host, words, code, text, bound):
    begin = time.monotonic()
    try:
        host.ask(*words)
        report.fail(text, "it succeeded")
    except XeFailed as e:
        took = time.monotonic() - begin
        report.check(code in str(e) and SERVER in str(e), f"{text}: the error says which server", e)
        report.check(took < bound, f"{text}: in bounded time ({took:.0f} s)", took)


def disk(host, sr, name):
    return host.ask("vdi-create", f"sr-uuid={sr}", f"name-label={name}", "virtual-size=16MiB")


def loads(g):
    return len(re.findall(r"^LOAD \d+", g.said(100000), re.M))


def works(g, more=1):
    """Whether it goes on writing to its disk and reading that back."""
    was = loads(g)
    return until(lambda: loads(g) >= was + more, PATIENCE, 1)


def found(host, report, where):
    """Probes, then a repository."""
    begin = time.monotonic()
    h = host.ask("host-list", "--minimal")
    empty = host.ask("sr-probe", "type=nfs", f"host-uuid={h}", *where)
    sr = host.ask("sr-create", "type=nfs", "shared=true", "content-type=user", "name-label=nas", *where)
    report.check("<UUID>" not in empty and sr in host.ask("sr-probe", "type=nfs", f"host-uuid={h}", *where),
                 f"a repository is made on a real NFS server, and found by a probe ({time.monotonic() - begin:.0f} s)", empty)
    mounts = host.dom0("grep nfs /proc/mounts")
    report.check(f"/run/sr-mount/{sr} nfs4" in mounts and "hard" in mounts, "it is mounted, hard", mounts)
    return sr


def runs(host, report, sr, g):
    g.do("start")
    if not report.check(g.ready() >= 0 and works(g), "a guest runs from it, and reads what it wrote", g.said()[-1500:]):
        raise RuntimeError("the guest does not run")
    snapshot = g.do("snapshot", "new-name-label=nfs-snapshot")
    report.check(works(g) and g.boots() == 1, "it writes on while its disk is snapshot", g.said()[-500:])
    host.ask("snapshot-uninstall", f"snapshot-uuid={snapshot}", "force=true")


def is_silent(host, report, server, sr, g):
    local = host.ask("pool-list", "params=default-SR", "--minimal") or host.ask("sr-list", "type=ext", "--minimal").split(",")[0]
    server.silent(True)
    fails(report, host, ("sr-update", f"uuid={sr}"), "SR_BACKEND_FAILURE_47", "a repository whose server is silent", BOUND)
    fails(report, host, ("sr-scan", f"uuid={sr}"), "SR_BACKEND_FAILURE_47", "once that is known", BOUND)
    begin = time.monotonic()
    host.ask("vdi-destroy", f"uuid={disk(host, local, 'other')}")
    report.check(True, f"other storage is as before ({time.monotonic() - begin:.0f} s)")
    restart(host)
    pbd = host.ask("pbd-list", f"sr-uuid={sr}", "params=currently-attached", "--minimal")
    report.check(g.state == "running" and pbd == "true", "a daemon that is started again needs no answer from it", g.state, pbd)
    server.silent(False)
    report.check(works(g, 2) and g.boots() == 1 and "LOAD-BROKEN" not in g.said(100000), "the guest goes on once the server does, and has lost nothing",
                 g.said()[-1000:])

    def made():
        try:
            return disk(host, sr, "again")
        except XeFailed:
            return None
    vdi = until(made, PATIENCE, 1)
    report.check(vdi, "so does the repository, and nothing was started again")
    host.ask("vdi-destroy", f"uuid={vdi}")


def nfs(host, report):
    host.dom0("modprobe nfsv4")  # takes an emulated host as long as the whole mount may
    wait_for_storage(host, WAIT)
    restart(host)
    before = host.world()
    server = Server()
    g = None
    try:
        where = (f"device-config:server={SERVER}", f"device-config:serverpath={PATH}", "device-config:nfsversion=4.1")
        sr = found(host, report, where)
        g = Guest(host, "nfs", "pv", "root=/dev/xvda guest.load=64").add_disk(IMAGE, sr)
        runs(host, report, sr, g)
        is_silent(host, report, server, sr, g)
        g.do("shutdown")
        g.remove()
        host.ask("sr-scan", f"uuid={sr}")
        left = host.dom0(f"ls -A /run/sr-mount/{sr} | grep -v '^.xapid-'", check=False)
        report.check_none(left.split(), "of its disks nothing is left on the server")
        host.ask("pbd-unplug", f"uuid={host.ask('pbd-list', f'sr-uuid={sr}', '--minimal')}")
        host.ask("sr-destroy", f"uuid={sr}")
        report.check("nfs4" not in host.dom0("cat /proc/mounts"), "unplugged it is mounted no more", host.dom0("cat /proc/mounts"))
    finally:
        server.close()
        wait_for_storage(host, 0)
    # The kernel's own threads for NFS stay.
    nothing_left(host, report, before, "of a guest on NFS nothing is left over in dom0", ignore=(r"^process .*\[", r"^file /(var/lib/nfs|run/mount)", r"^open .*rpc_pipefs"))
    restart(host)  # as the next part expects it
