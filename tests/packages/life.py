#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""life.py -- run within the guest, as a unit: the packages are installed, used, upgraded under 50 running machines, removed and purged.

What they leave is what the file system has more than before the first of them came.
"""

import glob
import hashlib
import os
import sys
import threading
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import fds  # noqa: E402
import lab  # noqa: E402
from daemon import Client, Lost, XapiError, until  # noqa: E402
from inside import HERE, STATE, main_pid, report, run, show  # noqa: E402

N = 50
SAME = ("domid", "start_time", "state", "memory", "vcpus")
OURS = ("xapid", "xe", "xapi-witness", "libxapi1", "libxapi-dev", "xapid-doc")
DISKS = f"{STATE}/storage"
NOT_LOOKED_AT = ("/proc", "/sys", "/dev", "/run", "/tmp", "/test", "/packages", "/var/log")
# Of dpkg, systemd and the loader; what has our names in it counts all the same.
OTHERS = ("/var/lib/dpkg", "/var/lib/systemd", "/var/cache", "/var/lib/apt", "/etc/ld.so.cache", "/var/lib/pam")


def files():
    out = set()
    for folder, folders, names in os.walk("/"):
        folders[:] = [d for d in folders if os.path.join(folder, d) not in NOT_LOOKED_AT]
        out.update(os.path.join(folder, n) for n in [*names, *folders])
    return out


def more_than(before, *but):
    """What is there now that was not; 'but' are folders with what may be."""
    def counts(path):
        if path.startswith(OTHERS) and "xapi" not in path and not os.path.basename(path).startswith("xe."):
            return False
        return "raft" not in path and "__pycache__" not in path and not any(path == b or path.startswith(b + "/") for b in but)
    return sorted(p for p in files() - before if counts(p))


def dpkg(*words):
    begin = time.monotonic()
    done = run("dpkg", *words, good=False)
    report.check(done.returncode == 0, f"dpkg {words[0]} goes well ({time.monotonic() - begin:.0f} s)", done.stdout[-3000:])
    report.check("does not answer" not in done.stdout, "and its scripts have waited for nothing in vain", done.stdout[-3000:],
                 run("systemctl", "list-jobs", "--after", "--before", good=False).stdout)


def debs(folder, *names):
    return [p for n in names for p in glob.glob(f"/packages/{folder}/{n}_*.deb")]


def versions():
    """{package: (status, version)}"""
    lines = run("dpkg-query", "-W", "-f", "${Package} ${db:Status-Status} ${Version}\n").splitlines()
    return {w[0]: (w[1], w[2] if len(w) > 2 else "") for w in (line.split() for line in lines) if w[0] in OURS}


def ours_run():
    """Processes of programs of ours."""
    out = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            path = os.readlink(f"/proc/{pid}/exe")
        except OSError:
            continue
        if os.path.basename(path.split(" ")[0]).startswith(("xapi", "xe")):
            out.append(f"{pid} {path}")
    return out


# ---- steps ----

def xe_alone():
    dpkg("-i", *debs("old", "xe"))
    report.check(run("xe", "help", good=False).returncode == 0, "xe alone is installed and runs")
    report.check("xapid" not in versions(), "and has not brought the daemon")


def install():
    dpkg("-i", *debs("old", *OURS, "libraft0"))
    there = versions()
    report.check(set(there) == set(OURS) and all(s == "installed" for s, _ in there.values()), "all are installed", there)
    enabled = {u: run("systemctl", "is-enabled", u, good=False).stdout.strip() for u in ("xapid", "xapid-sim", "xapi-witness")}
    report.check(enabled == {"xapid": "enabled", "xapid-sim": "disabled", "xapi-witness": "enabled"},
                 "the units are enabled, but for the simulator", enabled)
    facts = run("systemctl", "show", "-p", "ActiveState", "-p", "Result", "-p", "NRestarts", "xapid").splitlines()
    report.check({"ActiveState=inactive", "NRestarts=0"} <= set(facts), "without Xen nothing is started, nor tried for ever", facts)
    report.check(show("xapi-witness", "ActiveState") == "inactive", "the witness waits for a join")
    modes = {p: oct(os.stat(p).st_mode & 0o7777) for p in (STATE, "/var/lib/xcp")}
    report.check(set(modes.values()) == {"0o700"}, "the state is root's alone", modes)


def demo():
    begin = time.monotonic()
    done = run("/usr/libexec/xapid/demo", good=False)
    report.check(done.returncode == 0 and "$ xe snapshot-revert" in done.stdout,
                 f"the demo runs from the installed files ({time.monotonic() - begin:.0f} s)", done.stdout[-2000:])
    run("/usr/libexec/xapid/demo", "stop")
    report.check_none(ours_run(), "and ends")
    run("rm", "-r", "/var/tmp/xapid-demo")


class Machines:
    """Fifty that run, and what must be true of them."""

    def __init__(self):
        with open("/etc/default/xapid", "a") as f:
            f.write("XAPID_OPTIONS=--hypervisor=sim\n")
        run("systemctl", "enable", "--now", "xapid-sim")
        run("systemctl", "start", "xapid")
        self.client = Client(HERE, timeout=300)
        begin = time.monotonic()
        self.refs = []
        for i in range(N):
            ref = lab.vm(self.client, f"vm {i}", disks=1, size=1 * lab.MIB)
            lab.enough_memory(self.client, ref)
            self.client("VM.start", ref, False, False)
            self.refs.append(ref)
        self.domains = HERE.domains()
        self.sim = main_pid("xapid-sim")
        self.identity = fds.identity(self.sim)
        report.check(len(self.domains) == N, f"{N} machines run ({time.monotonic() - begin:.0f} s)", len(self.domains))

    def disturbed(self):
        out = [] if fds.identity(self.sim) == self.identity else ["the simulator is another one"]
        now = HERE.domains()
        out += [f"{u} is gone" for u in self.domains if u not in now] + [f"{u} is new" for u in now if u not in self.domains]
        for uuid in set(now) & set(self.domains):
            out += [f"{uuid}: {k} was {self.domains[uuid][k]}, is {now[uuid][k]}" for k in SAME if now[uuid][k] != self.domains[uuid][k]]
        return out

    def wrong(self, client):
        """What the daemon that runs now has wrong."""
        records = client("VM.get_all_records")
        return [f"{r}: {records.get(r, {}).get('power_state')}, domain {records.get(r, {}).get('domid')}" for r in self.refs
                if r not in records or records[r]["power_state"] != "Running"
                or int(records[r]["domid"]) != self.domains[records[r]["uuid"]]["domid"]]


def upgrade(machines):
    client, before = machines.client, main_pid("xapid")
    old = versions()
    token = client("event.from", ["vm"], "", 5.0)["token"]
    ended = []
    listener = threading.Thread(target=lambda: ended.append(wait_for_event(token)), daemon=True)
    listener.start()
    dpkg("-i", *debs("new", *OURS))
    now = versions()
    report.check(all(now[p] == ("installed", old[p][1] + "+next") for p in OURS), "all are of the next version", now)
    report.check(fds.identity(main_pid("xapid")) and main_pid("xapid") != before and show("xapid", "ActiveState") == "active",
                 "another daemon answers as soon as dpkg is done")
    report.check("deleted" not in os.readlink(f"/proc/{main_pid('xapid')}/exe"), "it is the new program")
    report.check_none(machines.disturbed(), f"none of {N} machines was disturbed")
    listener.join(60)
    report.check(ended in (["lost"], ["answered"]), "who waited for an event does not go on waiting", ended)
    report.check(code(client, "VM.get_all") == "SESSION_INVALID", "sessions end with the daemon, and it is said")
    again = Client(HERE, timeout=300)
    report.check_none(machines.wrong(again), "all are found running, each in its domain")
    again("VM.set_name_description", machines.refs[7], "after the upgrade")
    events = again("event.from", ["vm"], token, 30.0)["events"]
    seen = {e["ref"]: e["snapshot"].get("name_description") for e in events}
    report.check(seen.get(machines.refs[7]) == "after the upgrade", "events go on from the token of before", seen)
    with open("/etc/default/xapid") as f:
        report.check("XAPID_OPTIONS=--hypervisor=sim" in f.read(), "the administrator's options are kept")
    again("VM.hard_shutdown", machines.refs[0])
    report.check(again("VM.get_power_state", machines.refs[0]) == "Halted", "machines of before can be managed")


def code(client, *call):
    """How a call ends, on a connection of its own where the old one has gone."""
    for _ in range(2):
        try:
            client(*call)
            return "success"
        except XapiError as e:
            return e.code
        except Lost:
            pass  # the connection of the old daemon
    return "lost"


def wait_for_event(token):
    """For what does not come: how it ends long before its time."""
    try:
        Client(HERE, timeout=600)("event.from", ["secret"], token, 300.0)
        return "answered"
    except Lost:
        return "lost"
    except XapiError as e:
        return e.code


def disks():
    """{file of the local storage: digest}"""
    out = {}
    for path in glob.glob(f"{DISKS}/**", recursive=True):
        if os.path.isfile(path):
            with open(path, "rb") as f:
                out[path] = hashlib.sha256(f.read()).hexdigest()
    return out


def remove(before):
    dpkg("-r", *OURS)
    until(lambda: not ours_run(), 60)
    report.check_none(ours_run(), "removed: nothing of ours runs")
    report.check(not os.path.exists("/usr/sbin/xapid") and not os.path.exists("/usr/bin/xe"), "the programs are gone")
    report.check_none(more_than(before, "/etc/default", "/etc/pam.d", "/etc/systemd/system", STATE, "/var/lib/xcp", "/var/lib/dpkg",
                                "/var/lib/systemd/deb-systemd-helper-enabled", "/var/lib/systemd/deb-systemd-helper-masked"),
                      "nothing is left but configuration and data")
    report.check(os.path.isdir(f"{STATE}/db"), "the database is among it")


def purge(before):
    kept = disks()
    os.makedirs("/etc/xapid/plugins")
    with open("/etc/xapid/plugins/mine", "w") as f:
        f.write("#!/bin/sh\n")
    other = f"{STATE}/another-repository"
    os.makedirs(other)
    for name in (".xapid-sr", "disk.qcow2"):
        with open(f"{other}/{name}", "w") as f:
            f.write("x")
    dpkg("-P", *OURS)
    report.check(len(kept) >= N and disks() == kept, f"purged: the machines' disks are as they were ({len(kept)} files)")
    report.check(os.path.exists(f"{other}/disk.qcow2"), "so are those of a repository that was put beside them")
    report.check(os.path.exists("/etc/xapid/plugins/mine"), "and the administrator's plug-ins")
    left = [p for p in more_than(before, DISKS, other, "/etc/xapid") if p != STATE]
    report.check_none(left, "and nothing else is left")
    report.check(not versions(), "dpkg knows none of them", versions())


def main():
    try:
        before = files()
        xe_alone()
        install()
        demo()
        upgrade(Machines())
        remove(before)
        purge(before)
    except Exception:  # whatever it is, it is said
        report.fail("the test runs to its end", traceback.format_exc())
    if report.failed:
        report.note(run("journalctl", "--no-pager", "-n", "60", "-u", "xapid", "-u", "xapid-sim", good=False).stdout)
    print("DONE", flush=True)


if __name__ == "__main__":
    port = os.open("/dev/ttyS1", os.O_WRONLY | os.O_NOCTTY)
    os.dup2(port, 1)
    os.dup2(port, 2)
    main()
