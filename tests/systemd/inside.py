#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""inside.py -- run within the guest, as a unit: what the installed units do under systemd.  Its lines go to the second serial port.

xapid and the simulator have been started by the boot.  Two disks' servers stand for those that the processes below the daemon start
and leave running: one in the simulator's control group, where the executor's would be, one in the daemon's own.
"""

import os
import re
import signal
import subprocess
import sys
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import fds  # noqa: E402
import lab  # noqa: E402
from daemon import PASSWORDS, Client, Daemon, until  # noqa: E402
from report import Report  # noqa: E402
from transfer import HalfImport  # noqa: E402

STATE, SOCKET = "/var/lib/xapid", "/var/lib/xcp/xapi"
GROUPS = "/sys/fs/cgroup"
ANSWER = 120  # seconds, for the daemon to answer again


class Installed:
    """What of a Daemon is needed."""

    state, socket = STATE, SOCKET
    sim_call, domains = Daemon.sim_call, Daemon.domains


HERE = Installed()
report = Report()


def run(*words, good=True):
    """A command's output; where it has to go well and does not, that is said."""
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    if good and done.returncode:
        report.fail(f"{' '.join(words)} goes well", done.stdout)
    return done.stdout.strip() if good else done


def show(unit, what):
    return run("systemctl", "show", "--value", "-p", what, unit)


def main_pid(unit):
    return int(show(unit, "MainPID"))


def group(unit):
    """The processes of a unit's control group."""
    try:
        with open(f"{GROUPS}{show(unit, 'ControlGroup') or '/system.slice/' + unit}/cgroup.procs") as f:
            return {int(line) for line in f}
    except FileNotFoundError:
        return set()


def move(pid, unit):
    with open(f"{GROUPS}{show(unit, 'ControlGroup')}/cgroup.procs", "w") as f:
        f.write(str(pid))


def domains():
    return {uuid: d["domid"] for uuid, d in HERE.domains().items()}


def sim_pid():
    with open(f"{STATE}/sim/xapid-sim.pid") as f:
        return int(f.read())


def disk_server(name):
    """A process that serves a disk: its pid."""
    image = f"/run/{name}.qcow2"
    run("/usr/bin/qemu-img", "create", "-q", "-f", "qcow2", image, "16M")
    run("/usr/bin/qemu-nbd", "--fork", "--persistent", "--socket", f"/run/{name}.sock", "--pid-file", f"/run/{name}.pid", "-f", "qcow2", image)
    with open(f"/run/{name}.pid") as f:
        return int(f.read())


class World:
    """What may not notice that the daemon ends: processes, domains, the VM."""

    def __init__(self, vm, pids):
        self.vm, self.pids = vm, pids
        self.identities = {p: fds.identity(p) for p in pids}
        self.domains = domains()

    def lost(self):
        """What is not as it was."""
        out = [f"{fds.name(p)} has ended" for p in self.pids if fds.identity(p) != self.identities[p] or not self.identities[p]]
        if not out and domains() != self.domains:
            out.append(f"domains were {self.domains}, are {domains()}")
        return out

    def adopted(self):
        """What the daemon that runs now has wrong."""
        out = self.lost()
        state = run("xe", "vm-param-get", f"uuid={self.vm}", "param-name=power-state")
        if state != "running":
            out.append(f"the VM is {state}")
        return out


def wait_for_another(before):
    """The daemon started by the service manager itself, once it answers."""
    def there():
        facts = run("systemctl", "show", "-p", "MainPID", "-p", "ActiveState", "xapid").splitlines()
        return "ActiveState=active" in facts and not {"MainPID=0", f"MainPID={before}"} & set(facts)
    return until(there, ANSWER, 0.5)


def after_boot():
    report.check(show("xapid", "ActiveState") == "active", "the boot has started xapid", run("journalctl", "-n", "20", "-u", "xapid"))
    report.check(run("xe", "host-list", "--minimal"), "xe answers root at once, with nothing set up")
    done = run("systemd-analyze", "verify", "--man=no", "xapid.service", "xapid-sim.service", good=False)
    ours = [s for s in done.stdout.splitlines() if "xapid" in s]
    report.check_none(ours, "systemd finds nothing wrong with the units")
    modes = {p: oct(os.stat(p).st_mode & 0o7777) for p in (STATE, "/var/lib/xcp", SOCKET)}
    report.check(modes == {STATE: "0o700", "/var/lib/xcp": "0o700", SOCKET: "0o600"}, "state and socket are root's alone", modes)
    cores = run("prlimit", "--noheadings", "--output", "HARD", "--core", "-p", str(main_pid("xapid")))
    report.check(cores == "0", "the daemon leaves no core file", cores)
    limit = run("prlimit", "--noheadings", "--output", "SOFT", "--nofile", "-p", str(main_pid("xapid")))
    report.check(int(limit) > 65536, f"the daemon may open {limit} files")


def login(password):
    """Over TLS: with the port named, xe does not take the socket."""
    return run("xe", "-s", "127.0.0.1", "-p", "443", "-u", "root", "-pw", password, "host-list", "--minimal", good=False)


def make_vm():
    vm = run("xe", "vm-create", "name-label=runs", "memory-static-max=64MiB")
    run("xe", "vm-start", f"uuid={vm}")
    report.check(run("xe", "vm-param-get", f"uuid={vm}", "param-name=power-state") == "running", "a VM is made and started with xe")
    return vm


def descriptors(unit):
    """Of all that runs beside the daemon, with an import under way that has a process of its own."""
    client = Client(HERE)
    vdi = lab.vdi(client, "import")
    half = HalfImport(SOCKET, client.session, vdi)
    xapid = main_pid("xapid")
    serving = until(lambda: [p for p in fds.descendants(xapid) if "qemu-nbd" in fds.name(p)], 60)
    others = ({*fds.descendants(xapid), sim_pid()} | group("xapid") | group(unit)) - {xapid}
    wrong = [f for p in others for f in fds.inherited(p, xapid) + fds.reopened(p, xapid)]
    names = sorted(re.sub(r"\[.*", "", fds.name(p)) for p in others)
    report.check_none(wrong, f"none of {', '.join(names)} has a descriptor or file of the daemon's")
    report.check(serving and sim_pid() in others, "and those that should run do")
    report.check(half.finish() == 200, "the import goes on and ends well")


def witnesses():
    seen = fds.starts("/usr/local/sbin/witness.log") + fds.starts("/usr/libexec/xapid/witness.log")
    report.check_none([f for s in seen for f in s.faults()], f"{len(seen)} programs were started, each with standard descriptors only")
    missing = {"qemu-img", "qemu-nbd", "xapid-pam"} - {s.program for s in seen}
    report.check_none(sorted(missing), "qemu-img, qemu-nbd and PAM's helper were among them")


def restart(world):
    before = main_pid("xapid")
    run("systemctl", "restart", "xapid")
    report.check_none(world.adopted(), "systemctl restart: all goes on, and the VM is adopted")
    report.check(not fds.identity(before) and main_pid("xapid") != before, "systemctl restart: by another daemon")


def stop_and_start(world):
    before = main_pid("xapid")
    run("systemctl", "stop", "xapid")
    report.check(show("xapid", "ActiveState") == "inactive" and not fds.identity(before), "systemctl stop: the daemon has ended")
    report.check_none(world.lost(), "systemctl stop: all else goes on")
    run("systemctl", "start", "xapid")
    report.check_none(world.adopted(), "systemctl start: the VM is adopted")


def kill(world, whom):
    before = main_pid("xapid")
    run("systemctl", "kill", "-s", "KILL", f"--kill-whom={whom}", "xapid")
    report.check(wait_for_another(before), f"systemctl kill -s KILL ({whom}): the daemon is started again",
                 run("systemctl", "status", "xapid", good=False).stdout)
    report.check_none(world.adopted(), f"systemctl kill -s KILL ({whom}): all goes on, and the VM is adopted")


def half_import_is_ended():
    """A process that serves the daemon alone ends with it."""
    client = Client(HERE)
    half = HalfImport(SOCKET, client.session, lab.vdi(client, "never ends"))
    xapid = main_pid("xapid")
    serving = until(lambda: [p for p in fds.descendants(xapid) if "qemu-nbd" in fds.name(p)], 60)
    os.kill(xapid, signal.SIGKILL)
    gone = until(lambda: not any(fds.identity(p) for p in serving), 30)
    report.check(serving and gone, "what serves nobody but the daemon ends with it")
    half.connection.close()
    report.check(wait_for_another(xapid), "a daemon killed with -9 is started again")


def reload():
    before = fds.identity(main_pid("xapid"))
    run("systemctl", "reload", "xapid")
    report.check(run("xe", "host-list", "--minimal") and fds.identity(main_pid("xapid")) == before, "systemctl reload: the same daemon answers")


def simulator_as_unit():
    vm = make_vm()
    sim = main_pid("xapid-sim")
    report.check(sim == sim_pid(), "the simulator is that of its unit")
    below, own = disk_server("below"), disk_server("own")
    move(below, "xapid-sim.service")
    move(own, "xapid.service")
    report.check(own in group("xapid.service") and below in group("xapid-sim.service"), "two disks' servers run, in each unit's group")
    report.check(login("wrong").returncode != 0, "a wrong password is refused over TLS")
    right = login(PASSWORDS["root"])
    report.check(right.returncode == 0, "root's password of the system is taken over TLS", right.stdout)
    reload()
    descriptors("xapid-sim.service")
    world = World(vm, [sim, below, own])
    restart(world)
    stop_and_start(world)
    kill(world, "main")
    half_import_is_ended()
    report.check_none(world.adopted(), "and all else goes on")
    end(own)
    kill(World(vm, [sim, below]), "all")
    report.check_none([fds.name(p) for p in group("xapid.service") - {main_pid("xapid")}], "at last the daemon is alone in its group")
    witnesses()
    end(below)


def end(pid):
    os.kill(pid, signal.SIGTERM)
    until(lambda: not fds.identity(pid), 30)


def simulator_by_itself():
    """Without its unit the daemon starts it, and it is in the daemon's group."""
    run("systemctl", "stop", "xapid", "xapid-sim")
    report.check(not fds.identity(sim_pid()), "systemctl stop xapid-sim: the simulator has ended")
    run("systemctl", "start", "xapid")
    sim = sim_pid()
    report.check(fds.identity(sim) and sim in group("xapid.service"), "without its unit the daemon starts a simulator")
    world = World(make_vm(), [sim])
    descriptors("xapid.service")
    stop_and_start(world)
    kill(world, "main")
    report.check(sim_pid() == sim, "the simulator is still the first one")
    without_kill_mode(world)


def without_kill_mode(world):
    """The test must notice a unit that takes all with it."""
    os.makedirs("/run/systemd/system/xapid.service.d")
    with open("/run/systemd/system/xapid.service.d/kill.conf", "w") as f:
        f.write("[Service]\nKillMode=control-group\n")
    run("systemctl", "daemon-reload")
    run("systemctl", "stop", "xapid")
    report.check(world.lost(), "a unit that ends all its processes is found out")


def not_startable():
    with open("/etc/default/xapid", "w") as f:
        f.write("XAPID_OPTIONS=--hypervisor=sim --no-such-option\n")
    done = run("systemctl", "start", "xapid", good=False)
    report.check(done.returncode != 0 and show("xapid", "ActiveState") == "failed", "a wrong option: the start fails and is not repeated", done.stdout)


def main():
    try:
        for step in (after_boot, simulator_as_unit, simulator_by_itself, not_startable):
            begin = time.monotonic()
            step()
            report.note(f"{step.__name__}: {time.monotonic() - begin:.0f} s")
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
