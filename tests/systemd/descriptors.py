#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""descriptors.py -- no program that the daemon starts has a descriptor of the daemon's, however many it has open.

The daemon gets clients on each port, waiting event streams, imports and a console, and then starts each program it knows.  A witness
(witness.c) stands before each of them: what the daemon finds below /usr/local/sbin is the test's folder, in a mount namespace of its own.
Needs root, as mounting does.  Passwords are checked by PAM's helper in the guest (guest.py), which has a real installation.
"""

import os
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "lib"), HERE]
import fds  # noqa: E402
import lab  # noqa: E402
from daemon import Daemon, Lost, XapiError, program, until  # noqa: E402
from report import Report  # noqa: E402
from transfer import HalfImport  # noqa: E402

PROGRAMS = ("qemu-img", "qemu-nbd")
CLIENTS = 4  # of each kind
IMPORTS = 3
IN_NAMESPACE = ("unshare", "--mount", "sh", "-c", 'mount --bind "$0" /usr/local/sbin && exec "$@"')


def build_witness(folder):
    path = os.path.join(folder, "witness")
    subprocess.run(["gcc", "-std=gnu11", "-D_GNU_SOURCE", "-O1", "-o", path, os.path.join(HERE, "witness.c")], check=True)
    return path


def put_witness(witness, folder, name, real):
    """A witness as folder/name; 'real' is the program, or None where it is to do nothing else."""
    path = os.path.join(folder, name)
    os.makedirs(folder, exist_ok=True)
    subprocess.run(["install", "-m", "755", witness, path], check=True)
    if real:
        os.symlink(real, path + ".real")
    return path


def which(name):
    return next((p for p in (f"{d}/{name}" for d in ("/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")) if os.access(p, os.X_OK)),
                None) or sys.exit(f"not ok - {name} is installed")


def wait_for_events(client):
    """An event stream that waits until the test ends."""
    def run():
        try:
            client("event.from", ["pool"], client("event.from", ["pool"], "", 1.0)["token"], 600.0)
        except (Lost, XapiError):
            pass  # the daemon ends
    threading.Thread(target=run, daemon=True).start()


class Test:
    def __init__(self, report, folder):
        self.report = report
        self.sbin = os.path.join(folder, "sbin")
        witness = build_witness(folder)
        for name in PROGRAMS:
            put_witness(witness, self.sbin, name, which(name))
        sim = put_witness(witness, self.sbin, "xapid-sim", program("xapid-sim"))
        self.daemon = Daemon(wrapper=[*IN_NAMESPACE, self.sbin], args=["--sim-program", sim], start=False)
        put_witness(witness, os.path.join(self.daemon.dir, "config", "plugins"), "nothing", None)
        self.plugin_log = os.path.join(self.daemon.dir, "config", "plugins", "witness.log")
        self.witness = witness

    def a_leak_is_seen(self):
        """The witness is of no use if it sees nothing."""
        with tempfile.TemporaryDirectory() as folder, open("/dev/zero", "rb") as leaked:
            path = put_witness(self.witness, folder, "leaky", None)
            process = subprocess.Popen([path], stdin=subprocess.DEVNULL, pass_fds=[leaked.fileno()])
            process.wait()
            seen = fds.starts(os.path.join(folder, "witness.log"))
            faults = seen[0].faults() if seen else []
        self.report.check(any("SHARED" in f for f in faults) and any("/dev/zero" in f for f in faults),
                          "a descriptor that is passed on is noticed by the witness", faults)
        with open("/dev/zero", "rb") as leaked:
            process = subprocess.Popen(["sleep", "1000"], pass_fds=[leaked.fileno()])
            faults = fds.inherited(process.pid, os.getpid())
            process.kill()
            process.wait()
        self.report.check(any("/dev/zero" in f for f in faults), "and in a process that runs", faults)

    def open_everything(self):
        d = self.daemon
        self.client = d.client()
        for transport in ("unix", "tls", "plain"):
            for _ in range(CLIENTS):
                wait_for_events(d.client(transport=transport))
        vm = lab.vm(self.client, "runs", disks=1)
        self.client("VM.start", vm, False, False)
        self.imports = [HalfImport(d.socket, self.client.session, lab.vdi(self.client, f"import {n}")) for n in range(IMPORTS)]
        found = until(lambda: [p for p in fds.descendants(d.pid) if "qemu-nbd" in fds.name(p)][IMPORTS - 1:], 60)
        self.report.check(found, f"{IMPORTS} imports are half done, each served by a process of its own")

    def start_programs(self):
        lab.vdi(self.client, "made while much is open")
        try:
            self.client("host.call_plugin", lab.host(self.client), "nothing", "run", {})
        except XapiError:
            pass  # it printed no answer

    def look_at_running(self):
        d = self.daemon
        with open(os.path.join(d.state, "sim", "xapid-sim.pid")) as f:
            sim = int(f.read())
        running = [*fds.descendants(d.pid), sim]
        wrong = [f for p in running for f in fds.inherited(p, d.pid) + fds.reopened(p, d.pid)]
        self.report.check_none(wrong, f"of {len(running)} processes that run beside the daemon none has a descriptor or file of its")

    def look_at_starts(self):
        seen = fds.starts(os.path.join(self.sbin, "witness.log")) + fds.starts(self.plugin_log)
        self.report.check_none([f for s in seen for f in s.faults()], f"{len(seen)} programs were started, each with standard descriptors only")
        missing = {*PROGRAMS, "xapid-sim", "nothing"} - {s.program for s in seen}
        self.report.check_none(sorted(missing), "every program the daemon knows was started")
        most = max((s.parent_has for s in seen), default=0)
        self.report.check(most >= 3 * CLIENTS + 10, f"the daemon had up to {most} descriptors open then")

    def run(self):
        self.a_leak_is_seen()
        self.daemon.start()
        self.open_everything()
        self.start_programs()
        self.look_at_running()
        self.report.check_none([f"{s}" for s in (i.finish() for i in self.imports) if s != 200], "the imports go on and end well")
        self.look_at_starts()


def main():
    report = Report()
    if os.geteuid():
        print("ok - # SKIP descriptors: only root may mount", flush=True)
        sys.exit(77)
    with tempfile.TemporaryDirectory() as folder:
        test = Test(report, folder)
        with test.daemon:
            test.run()
    sys.exit(report.done())


if __name__ == "__main__":
    main()
