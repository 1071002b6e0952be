#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""pair.py [--hosts A:ID,B:ID] [--keep] [STEP...] -- two Xen hosts are a pool, with a repository on NFS that both see.

Guests move between them while they count and write; a move is cancelled, and either side killed in the middle; hosts die and are
cut off under HA.  Steps: joins, moves, cancelled, killed, power, still, high.  --hosts takes two hosts of the lab that run, with xapid
in them, and what earlier runs have made of them; --keep leaves them running.

A pool of two has no majority when one is gone: for HA a third member, a simulated host, runs on this machine.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from host import LAB, PASSWORDS, WORK, Guest, Host, Lost, XapiError, XeFailed, lab, until  # noqa: E402
from life import IMAGE, nothing_left  # noqa: E402
from daemon import Client, Daemon  # noqa: E402
from report import Report  # noqa: E402

MEMORY = 96     # MiB, of which libxc walks more than of anything else
PATIENCE = 300  # seconds for what takes a quiet machine less than one minute
MOVE = 900
LEASE = 30
WITHIN = 10     # after the lease
AGAIN = 2       # how often a step is done again
SLOWNESS = 30   # what an emulated host takes for what a real one does at once: Xen's restart, a guest's build, its disk's process
NFS = "10.77.0.254"
# What the second host's processor does not have, as its guests' kernel and QEMU call it: the word and bit of a feature set.
LESS = {"adx": (5, 19), "bmi2": (5, 8)}


def network():
    with open(os.path.join(WORK, "network")) as f:
        return f.read().strip()


def first_served(pid):
    """Before the machine's other work: a host whose daemon does not run for the length of the lease ends, as it must."""
    try:
        with open(f"/proc/{pid}/autogroup", "w") as f:
            f.write("-15")
    except OSError:
        pass  # a kernel without them: the machine has to be quiet


class Member(Host):
    """A host of a pool, which says so where it is too busy to hear of the others in time: then it is asked again."""

    def __init__(self, name, number, less=()):
        super().__init__(name, number)
        self.less = less

    def boot(self, again=False):
        os.environ["XAPID_LAB_LESS"] = "".join(f",-{name}" for name in self.less)
        os.environ["XAPID_LAB_FIRST"] = "yes"
        super().boot(again)

    @property
    def pid(self):
        """Of its QEMU."""
        with open(os.path.join(self.folder, "pid")) as f:
            return int(f.read())

    def xe(self, *words, **how):
        return until(lambda: (lambda done: None if "has no contact with the others" in done.stderr else done)(super(Member, self).xe(*words, **how)),
                     PATIENCE, 1) or super().xe(*words, **how)


class Third(Daemon):
    """A member on this machine, in the hosts' network: it votes, and has a simulated host that sees no shared disk."""

    def __init__(self):
        address = "10.77.0.254"
        super().__init__(start=False, wrapper=["ip", "netns", "exec", network()],
                         args=["--listen", address, "--tls-port", "8443", "--pool-address", f"{address}:7400"])
        self.start()
        first_served(self.pid)


class Listener(threading.Thread):
    """When a guest counted, by its console in one dom0."""

    def __init__(self, host, guest):
        super().__init__(daemon=True)
        self.heard = []  # (time, tick)
        self.process = subprocess.Popen([os.path.join(LAB, "run-in-host"), host.name, f"tail -n 0 -F /var/log/xen/guest-{guest.vm}.log"],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.start()

    def run(self):
        for line in self.process.stdout:
            tick = re.match(r"TICK (\d+)", line)
            if tick:
                self.heard.append((time.monotonic(), int(tick[1])))

    def close(self):
        self.process.terminate()
        self.process.wait()


class Attempt(Report):
    """What a step says, kept until it is known whether it counts."""

    def __init__(self):
        super().__init__()
        self.said = []

    def ok(self, text):
        self.said.append(("ok", text))

    def fail(self, text, *details):
        self.failed += 1
        self.said.append(("fail", text, *details))

    def note(self, text):
        self.said.append(("note", text))

    def tell(self, report):
        for what, *words in self.said:
            getattr(report, what)(*words)


class Pair:
    def __init__(self, hosts, report):
        self.hosts, self.report, self.third, self.idle = hosts, report, None, {}
        self.guests = []

    # -- what there is --

    def other(self, host):
        return self.hosts[1 - self.hosts.index(host)]

    def uuid(self, host):
        return self.hosts[0].ask("host-list", f"name-label={host.name}", "--minimal")

    def look(self, host):
        """What is on a host without guests, to compare with later."""
        self.idle[host] = host.world()

    def nothing_left(self, host, text):
        nothing_left(host, self.report, self.idle[host], text, ignore=(r"^open ", r"^process tail ", r"^xenstore /local/domain/0/backend"))

    def guest(self, name, kind="pvh", words="guest.load=64"):
        """One that runs on the first host from a disk that both see."""
        g = Guest(self.hosts[0], name, kind, f"root=/dev/xvda {words}", memory=MEMORY).add_disk(IMAGE)
        g.do("start", f"on={self.hosts[0].name}")
        if g.ready() < 0:
            raise RuntimeError(f"the guest does not run: {g.said()[-1000:]}")
        self.guests.append(g)
        return g

    def domains(self, g):
        """On which hosts it has a domain, whole or not."""
        return [h for h in self.hosts if {g.name, g.vm} & set(h.domains().values())]

    def settled(self, g):
        """The host where it runs, and nowhere else, with nothing under way; None."""
        asked = g.host.ask("vm-list", f"uuid={g.vm}", "params=power-state,resident-on,current-operations")
        if "running" not in asked or not re.search(r"current-operations[^:]*: *$", asked, re.M):
            return None
        home = next((h for h in self.hosts if self.uuid(h) in asked), None)
        return home if home and self.domains(g) == [home] else None

    def runs_on(self, g, host, text):
        """It goes on there, the guest it was; nothing of it is anywhere else."""
        boots = self.boots(g)
        home = until(lambda: self.settled(g), PATIENCE, 1)
        g.host = home or g.host
        self.report.check(home is host, f"{text}: it runs in one place", home and home.name,
                          *[f"{h.name}: {h.domains()}\n{h.log()[-1500:]}" for h in self.hosts])
        if not home:
            raise RuntimeError(f"{text}: the guest runs nowhere, or twice")
        at = g.tick()
        self.report.check(g.passes(at) > at and self.boots(g) == boots, f"{text}: and goes on counting", at, g.said()[-500:])
        self.nothing_left(self.other(home), f"{text}: nothing of it is left elsewhere")

    def said(self, g):
        """All that it has said, on whichever host."""
        return "\n".join(h.dom0(f"cat /var/log/xen/guest-{g.vm}.log 2>/dev/null", check=False) for h in self.hosts)

    def boots(self, g):
        return self.said(g).count("GUEST-READY")

    def in_order(self, g, text):
        """What it counted, on whichever host, is there once; for a guest that has begun once."""
        said = self.said(g)
        ticks = sorted(int(n) for n in re.findall(r"^TICK (\d+)\s*$", said, re.M))
        wrong = [n for n in range(ticks[-1]) if ticks.count(n) != 1]
        self.report.check(not wrong and "LOAD-BROKEN" not in said and said.count("GUEST-READY") == 1,
                          f"{text}: it has counted without a gap, from one start, and what it read is what it wrote", wrong, said[-1000:])

    # -- joining --

    def joins(self):
        first, second = self.hosts
        begin = time.monotonic()
        second.ask("pool-join", f"master-address=10.77.0.{first.number}", "master-username=root", f"master-password={PASSWORDS['root']}")

        def is_in():
            return all(h.xe("host-list", "params=enabled", "--minimal").stdout.strip() == "true,true" for h in self.hosts)
        self.report.check(until(is_in, PATIENCE, 0.5), f"a host joins the other's pool ({time.monotonic() - begin:.0f} s)", *[h.log()[-1500:] for h in self.hosts])
        lab("nfs-server", "start")
        with open(os.path.join(WORK, "nfs", "pid")) as f:
            first_served(f.read().strip())
        sr = first.ask("sr-create", "type=nfs", "shared=true", "content-type=user", "name-label=common", f"device-config:server={NFS}",
                       "device-config:serverpath=/shared")
        pool = first.ask("pool-list", "--minimal")
        first.ask("pool-param-set", f"uuid={pool}", f"default-SR={sr}", f"suspend-image-SR={sr}")
        self.report.check(until(lambda: self.is_plugged(sr), PATIENCE, 1), "a repository on NFS is plugged on both", first.ask("pbd-list", f"sr-uuid={sr}", "params=all"))

    def is_plugged(self, sr):
        return self.hosts[1].ask("pbd-list", f"sr-uuid={sr}", "params=currently-attached", "--minimal") == "true,true"

    def comes_back(self, host):
        """After its power was taken, or Xen has restarted it."""
        host.boot(again=True)
        host.start()
        live = until(lambda: all(r["live"] for r in host.client()("host_metrics.get_all_records").values()), PATIENCE, 1)
        self.report.check(live, f"{host.name} is a member again after its start", host.log()[-2000:])
        self.idle.pop(host, None)

    # -- moving --

    def move(self, g, to, *options):
        """Moves it; (seconds in all, seconds in which it stood still)."""
        ears = [Listener(h, g) for h in self.hosts]
        here, there = ears if g.host is self.hosts[0] else reversed(ears)
        try:
            until(lambda: here.heard, PATIENCE, 0.1)
            begin = time.monotonic()
            g.do("migrate", f"host={to.name}", *options, timeout=MOVE)
            took = time.monotonic() - begin
            until(lambda: there.heard, PATIENCE, 0.1)
            return took, there.heard[0][0] - here.heard[-1][0] - 1 if there.heard else -1
        finally:
            for e in ears:
                e.close()

    def levelled(self, g):
        """A guest that starts where there is more has what all hosts have."""
        c = self.hosts[0].client()
        infos = [c("host.get_cpu_info", c("host.get_by_uuid", self.uuid(h))) for h in self.hosts] + [c("pool.get_cpu_info", c("pool.get_all")[0])]
        has = [[int(i["features_hvm"].split("-")[word], 16) >> bit & 1 for word, bit in LESS.values()] for i in infos]
        self.report.check(has == [[1] * len(LESS), [0] * len(LESS), [0] * len(LESS)], "the pool has the features that all its hosts' processors have", has)
        said = self.hosts[0].dom0("/usr/lib/xen-*/bin/xen-cpuid -p | sed -n '/^HVM Default/,$p'")
        ebx = int(re.search(r"^ +00000007:00000000 -> \w+:(\w+):", said, re.M)[1], 16)
        self.report.check(all(ebx >> bit & 1 for _, bit in LESS.values()), "Xen itself would let a guest there have more", said)
        flags = g.inside("grep -m 1 ^flags /proc/cpuinfo")[0].split()
        self.report.check("bmi1" in flags and not set(LESS) & set(flags), "a guest that starts on the better one sees no more than these", flags)

    def moves(self):
        for h in self.hosts:
            self.look(h)
        g = self.guest("mover")
        self.levelled(g)
        for to in reversed(self.hosts):
            took, still = self.move(g, to, "live=true")
            self.report.note(f"{took:.1f} s in all, of which it stood still {still:.1f} s")
            self.runs_on(g, to, f"a PVH guest moves to {to.name} while it runs")
        self.in_order(g, "there and back")

    def on_its_way(self, g):
        """Begins to move it; where from, and the task, once the other host has a part of it."""
        source, to = g.host, self.other(g.host)
        c = source.client()
        vm, host = c("VM.get_by_uuid", g.vm), c("host.get_by_uuid", self.uuid(to))
        task = c("Async.VM.pool_migrate", vm, host, {"live": "true"})
        begun = until(lambda: g.vm in to.domains().values() or c("task.get_status", task) != "pending", PATIENCE, 0.5)
        if not begun or c("task.get_status", task) != "pending":
            raise RuntimeError(f"the guest does not move: {c('task.get_record', task)}")
        return source, task

    def cancelled(self):
        g = self.any_guest()
        source, task = self.on_its_way(g)
        c = source.client()
        begin = time.monotonic()
        c("task.cancel", task)
        until(lambda: c("task.get_status", task) not in ("pending", "cancelling"), PATIENCE, 0.2)
        self.report.check(c("task.get_status", task) == "cancelled", f"a move is cancelled ({time.monotonic() - begin:.0f} s)", c("task.get_record", task))
        self.runs_on(g, source, "a cancelled move")
        self.in_order(g, "a cancelled move")

    def any_guest(self):
        """The one that is there already, or a new one."""
        for h in self.hosts:
            if h not in self.idle and not h.domains():
                self.look(h)
        return self.guests[0] if self.guests else self.guest("mover")

    def killed(self):
        """Daemons and executors of either side, in the middle of its memory."""
        g = self.any_guest()
        for side in ("source", "destination"):
            for whom in ("xapid", "executor"):
                source, _ = self.on_its_way(g)
                victim = source if side == "source" else self.other(source)
                victim.kill(whom)
                victim.start()
                self.runs_on(g, source, f"{whom} of the {side} killed on the way")
        self.in_order(g, "after all that")

    def power(self):
        """The host to which it moves is lost; then the one from which it moves."""
        g = self.any_guest()
        source, _ = self.on_its_way(g)
        lost = self.other(source)
        self.take_power(lost)
        at = g.tick()
        self.report.check(g.passes(at) > at and until(lambda: not g.get("current-operations"), PATIENCE, 1) and g.state == "running",
                          "a guest goes on where it was when its destination is lost", g.state, source.log()[-1500:])
        self.comes_back(lost)
        self.look(lost)
        self.runs_on(g, source, "the destination has lost its power on the way")
        self.in_order(g, "the destination has lost its power")
        source, _ = self.on_its_way(g)
        self.take_power(source)
        there = self.other(source)
        self.report.check(until(lambda: not there.domains(), PATIENCE, 1), "what was there of a guest goes when its source is lost",
                          there.domains(), there.log()[-1500:])
        self.comes_back(source)
        g.host = there
        self.report.check(until(lambda: g.state == "halted" and not g.get("current-operations"), PATIENCE, 1), "it is halted, as it was lost with its host",
                          g.state, there.log()[-1500:])
        g.do("start", f"on={there.name}")
        self.report.check(g.ready(g.boots() + 1) >= 0, "and starts on the other one, from the same disk", g.said()[-800:])
        self.look(source)

    def is_up(self, host):
        try:
            with open(f"/proc/{host.pid}/stat") as f:
                return f.read().rsplit(")", 1)[1].split()[0] != "Z"
        except FileNotFoundError:
            return False

    def take_power(self, host):
        os.kill(host.pid, signal.SIGTERM)
        until(lambda: not self.is_up(host), PATIENCE, 0.02)
        return time.time()

    def still(self):
        """PV guests: Debian's Xen cannot tell which of their pages have changed."""
        for h in self.hosts:
            self.look(h)
        g = self.guest("still", "pv")
        source = g.host
        said = self.hosts[0].xe("vm-migrate", f"uuid={g.vm}", f"host={self.other(source).name}", "live=true", timeout=MOVE)
        self.report.check(said.returncode and "live=false" in said.stderr, "a PV guest is not moved while it runs, and why is said", said.stderr)
        self.runs_on(g, source, "a PV guest that was not moved")
        took, gap = self.move(g, self.other(source), "live=false")
        self.report.note(f"{took:.1f} s in all, of which it stood still {gap:.1f} s")
        self.runs_on(g, self.other(source), "a PV guest moves standing still")
        self.in_order(g, "a PV guest")
        g.do("suspend")
        g.do("resume", f"on={source.name}")
        g.host = source
        self.runs_on(g, source, "a suspended PV guest resumes on the other host")
        self.in_order(g, "suspended and resumed elsewhere")
        self.guests.remove(g)
        g.remove()

    # -- high availability --

    def high(self):
        first = self.hosts[0]
        g = self.any_guest()
        self.third = Third()  # its processor is of another kind, and runs nobody
        Client(self.third)("pool.join_force", f"10.77.0.{first.number}", "root", PASSWORDS["root"])
        self.report.check(until(self.has_voters, PATIENCE, 1), "a third member joins, and three vote", first.log()[-1500:], self.third.log_tail())
        g.host.ask("vm-param-set", f"uuid={g.vm}", "ha-restart-priority=restart")
        g.host.ask("pool-ha-enable", f"ha-config:timeout={LEASE}")
        self.report.check(g.host.ask("pool-list", "params=ha-enabled", "--minimal") == "true", "HA is enabled: Xen's watchdogs are armed")
        self.ends(g, "power is taken", self.take_power)
        self.ends(g, "network is cut", self.cut)
        g.host.ask("pool-ha-disable")
        c = first.client()
        hosts = c("host.get_all_records")
        third = next(r for r, h in hosts.items() if h["uuid"] not in map(self.uuid, self.hosts))
        pool = c("pool.get_all")[0]
        if c("pool.get_master", pool) == third:  # it may have been elected
            c("pool.designate_new_master", next(r for r in hosts if r != third))
            until(lambda: c("pool.get_master", pool) != third, PATIENCE, 1)
        c("pool.eject", third)
        self.report.check(until(lambda: len(first.client()("host.get_all")) == 2, PATIENCE, 1), "the third member leaves")

    @staticmethod
    def disk_boots(g):
        """How often its disk was booted, on whichever host, as the guest said when it last began."""
        return int((re.findall(r"GUEST-READY.* boots=(\d+)", g.said(100000)) or [0])[-1])

    def has_voters(self):
        said = subprocess.run(["curl", "-s", "--unix-socket", self.third.socket, "http://third/internal/pool"], capture_output=True, text=True).stdout
        return said.count('"role":"voter"') == 3

    def cut(self, host):
        """Its link to the others goes; the time when Xen has restarted it, None if it has not."""
        subprocess.run(["ip", "-n", network(), "link", "set", f"{network()}-{host.number}", "down"], check=True)
        return time.time() if until(lambda: not self.is_up(host), LEASE + WITHIN + SLOWNESS, 0.02) else None

    def ends(self, g, how, end):
        """The host where a protected guest runs is lost: it runs on the other one, in time, and not before the first one has ended."""
        lost = self.settled(g)
        safe = self.other(lost)
        boots = self.disk_boots(g) + 1
        begin = time.time()
        ended = end(lost)
        g.host = safe
        text = f"{lost.name}'s {how}"
        began = until(lambda: safe.dom0(f"xenstore-read /vm/{g.vm}/start_time", check=False).strip(), LEASE + WITHIN + SLOWNESS + PATIENCE, 0.5)
        ahead = float(safe.dom0("date +%s.%N")) - time.time()  # at most by what asking takes
        took = float(began or "inf") - ahead - begin
        self.report.check(took <= LEASE + WITHIN + SLOWNESS, f"{text}: its guest starts on the other host after {took:.1f} s, at most {LEASE + WITHIN} and {SLOWNESS} for emulation",
                          safe.log()[-2500:])
        self.report.check(ended and float(began or 0) - ahead > ended, f"{text}: {float(began or 0) - ahead - (ended or 0):.1f} s after the end of the first, "
                          f"which was {(ended or 0) - begin:.1f} s after it", ended, began, ahead)
        self.report.check(until(lambda: self.disk_boots(g) == boots and g.tick() >= 0, PATIENCE, 1) and g.state == "running",
                          f"{text}: it runs from the disk it had", g.said()[-800:], safe.log()[-1500:])
        self.comes_back(lost)
        self.look(lost)

    STEPS = ("joins", "moves", "cancelled", "killed", "power", "still", "high")

    def triple_faults(self):
        """How often the emulated processor has lost a guest: what Xen then shows as its state is, now and then, Xen's own."""
        count = 0
        for h in self.hosts:
            for name in ("console", "console.before"):
                path = os.path.join(h.folder, name)
                if os.path.exists(path):
                    with open(path, errors="replace") as f:
                        count += f.read().count("Triple fault")
        return count

    def attempt(self, name):
        self.report = Attempt()
        begin = time.monotonic()
        try:
            getattr(self, name)()
        except (RuntimeError, XeFailed, XapiError, Lost, OSError, subprocess.TimeoutExpired) as e:
            self.report.fail(f"{name} runs to its end", f"{type(e).__name__}: {e}", *[h.log()[-1200:] for h in self.hosts if self.is_up(h)])
        self.report.note(f"{name}: {time.monotonic() - begin:.0f} s")
        return self.report

    def begin_again(self):
        """Both hosts, without guests."""
        for h in self.hosts:
            if not self.is_up(h):
                self.comes_back(h)
        for g in self.guests:
            g.remove()
        self.guests, self.idle = [], {}

    def run(self, steps):
        report = self.report
        for name in steps:
            before = self.triple_faults()
            done = self.attempt(name)
            for _ in range(AGAIN):
                if not done.failed or name in ("joins", "high") or self.triple_faults() == before:
                    break
                report.note(f"{name}: the emulated processor has lost a guest; it is done again, with a new one")
                before = self.triple_faults()
                self.begin_again()
                done = self.attempt(name)
            done.tell(report)

    def close(self):
        if self.third:
            self.third.close()


def make(name, number, less=()):
    host = Member(name, number, less)
    host.boot()
    host.install(f"--pool-address 10.77.0.{number}:7400")
    return host


def pair(report, steps=Pair.STEPS, names=(), keep=False):
    if names:
        hosts = [Member(*n.split(":"), less) for n, less in zip(names, ((), LESS))]
        for h in hosts:
            h.use()
    else:
        hosts = [make("pair-a", 201), make("pair-b", 202, LESS)]
    first_served("self")
    p = Pair(hosts, report)
    try:
        p.run(steps)
    finally:
        p.close()
        if not keep and not names:
            for h in hosts:
                h.end()
            lab("nfs-server", "stop")


def main():
    words = sys.argv[1:]
    names = words.pop(words.index("--hosts") + 1).split(",") if "--hosts" in words else ()
    steps = [w for w in words if not w.startswith("--")] or Pair.STEPS
    if any(s not in Pair.STEPS for s in steps):
        sys.exit(__doc__)
    report = Report()
    pair(report, steps, names, "--keep" in words)
    sys.exit(report.done())


if __name__ == "__main__":
    main()
