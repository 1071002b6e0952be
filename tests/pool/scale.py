#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""scale.py -- a pool that is large: what it costs while nothing happens, and how it works.

    scale.py                    16 hosts in network namespaces; 500 of 500 VMs are started
    scale.py --instances        64 hosts as values in one process (many.c); 500 of 2,400 VMs are started
    scale.py --short            the same with 16 hosts; 40 of 200 VMs are started
    --hosts N --vms N --start N

The hosts become a pool; the VMs are made and started through several members, wherever the pool places them; in the middle of that the
coordinator is killed (an instance: stopped) and started again.  Each VM that was to be started runs in the end, once.  Printed: CPU while
nothing happens, starts a second, how long starts and writes stopped, calls a second, how long after a change the other members' listeners
have the event, memory of each member, how long xe takes to list hosts and VMs.

The clients are as an orchestrator's: they know all members, go to the next one where one does not answer, log in again where their session
is gone, and look before they make a VM again.
"""

import argparse
import collections
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from daemon import NULL, PASSWORDS, Lost, XapiError, cpu_of, end_simulator, program, until  # noqa: E402
from lone_hosts import Hosts  # noqa: E402
from members import Member, Pool, Session  # noqa: E402
from net import Network  # noqa: E402
from report import Report  # noqa: E402
import throughput  # noqa: E402

PATIENCE = 300
MIB = 1 << 20
AT_ONCE = 8       # instances that start
CLIENTS = 16      # that make and start VMs
LISTENERS = 8
CHANGES = 40
SIZE = 64 * MIB   # of a VM
# A call that meets the fail-over: a host is away, nobody leads, or what became of it is not known.
AWAY = ("CANNOT_CONTACT_HOST", "HOST_OFFLINE", "NO_HOSTS_AVAILABLE", "OTHER_OPERATION_IN_PROGRESS", "INTERNAL_ERROR", "SESSION_INVALID")


# ---- two ways to have many hosts ----

class Many(Pool):
    """A pool that is too large for all to be asked all the time."""

    led, patience = None, PATIENCE

    def leader(self):
        if not (self.led and self.led.running() and (self.led.status(2) or {}).get("leads")):
            self.led = super().leader()
        return self.led

    def others_that_vote(self, leader):
        for m in self.members:
            m.id = m.id or m.status()["id"]
        voters = {m["id"] for m in leader.status()["members"] if m["role"] == "voter"}
        return [m for m in self.members if m.id in voters and m is not leader]


class Namespaces(Many):
    """Each host is a process in a network namespace, begins alone, and joins by the XenAPI."""

    def __init__(self, n):
        self.hosts = Hosts(n)
        self.members, self.net = self.hosts.list, self.hosts.net
        self.n_processes = n

    def join(self):
        first = self.members[0]
        for h in self.members[1:]:
            h.join(self.members[h.number // 2])
            if not until(lambda: h.is_member_of(first), PATIENCE, 0.1):
                raise RuntimeError(f"host {h.number} does not become a member\n{h.log_tail()}")

    def pids(self):
        return [m.pid for m in self.members if m.running()]

    @staticmethod
    def end(member):
        member.kill()

    @staticmethod
    def begin(member):
        member.begin()

    def close(self):
        self.hosts.__exit__()


class Instance(Member):
    """One host of the process."""

    def __init__(self, owner, number):
        self.owner, self.number = owner, number
        self.state = os.path.join(owner.dir, str(number))
        self.socket = os.path.join(self.state, "xapi")
        self.plain_port, self.up, self.id = None, False, None

    @property
    def pid(self):
        return self.owner.process.pid

    def running(self):
        return self.up

    def log_tail(self, lines=30):
        with open(self.owner.log, errors="replace") as f:
            return "".join(f.readlines()[-lines:])


class Instances(Many):
    """All hosts in one process, with a simulator each."""

    n_processes = 1

    def __init__(self, n):
        self.net = Network(1)
        self.temporary = tempfile.TemporaryDirectory(prefix="xd-")
        self.dir = self.temporary.name
        self.log, passwords = os.path.join(self.dir, "log"), os.path.join(self.dir, "passwords")
        subprocess.run([program("xapid-passwd"), passwords, "root"], input=PASSWORDS["root"] + "\n", text=True, check=True)
        self.members = [Instance(self, i) for i in range(n)]
        self.lock, self.told = threading.Condition(), {}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([*self.net.inside(0), program("pool-many"), self.dir, str(n),
                                             passwords, program("xapid-sim")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        threading.Thread(target=self._listen, daemon=True).start()
        self.net_inside, self.net.inside = self.net.inside, lambda i: self.net_inside(0)

    def _listen(self):
        for line in self.process.stdout:
            what, number, *more = line.split(None, 2)
            member = self.members[int(number)]
            with self.lock:
                member.up = what == "start"
                member.plain_port = int(more[0]) if what == "start" else None
                self.told[int(number)] = line
                self.lock.notify_all()

    def tell(self, what, member):
        with self.lock:
            self.told.pop(member.number, None)
        self.process.stdin.write(f"{what} {member.number}\n")
        self.process.stdin.flush()

    def wait(self, member):
        with self.lock:
            if not self.lock.wait_for(lambda: member.number in self.told, PATIENCE) or self.told[member.number].startswith("failed"):
                raise RuntimeError(f"host {member.number}: {self.told.get(member.number)}\n{member.log_tail()}")

    def join(self):
        """The log takes them in one by one; meanwhile those that are in go on with their start."""
        first, *others = self.members
        self.begin(first)
        for i, m in enumerate(others):
            self.tell("start", m)
            if i >= AT_ONCE:
                self.wait(others[i - AT_ONCE])
            status = until(lambda: m.status(1), PATIENCE, 0.05)
            m.id = status["id"]
            for voter in self.wait_leader(PATIENCE).status()["members"]:
                if voter["role"] == "voter":
                    self.ask(m, {"trust": voter["address"]})
            self.ask(self.wait_leader(PATIENCE), {"add": {"id": m.id, "address": status["address"]}})
            self.ask(self.wait_leader(PATIENCE), {"assign": {"id": m.id, "role": "standby"}})
        for m in others[-AT_ONCE:]:
            self.wait(m)

    def pids(self):
        return [self.process.pid]

    def end(self, member):
        self.tell("stop", member)
        self.wait(member)

    def begin(self, member):
        self.tell("start", member)
        self.wait(member)

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            print("not ok - the hosts end", flush=True)
            self.process.kill()
        for m in self.members:
            end_simulator(m.state)
        self.net.close()
        self.temporary.cleanup()


# ---- measuring ----

def status_of(pid, key):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(rf"{key}:\s+(\d+)", f.read()).group(1))


def each(items, threads, do):
    """do(thread, item) for all, in threads that take turns; returns the first error."""
    items, errors = collections.deque(items), []

    def run(number):
        try:
            while not errors:
                do(number, items.popleft())
        except IndexError:
            pass
        except Exception as e:  # noqa: BLE001 -- told by the caller
            errors.append(e)

    running = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(threads)]
    for t in running:
        t.start()
    for t in running:
        t.join()
    if errors:
        raise errors[0]


class Again(Exception):
    """The call was refused for a moment, or nobody can say what became of it."""


class Client:
    """Of one thread; begins at that member."""

    def __init__(self, scale, at):
        self.scale, self.at, self.session = scale, at, Session(scale, PATIENCE)

    def once(self, method, *params):
        try:
            if not self.session.ref:
                self.session.login(self.at)
            return self.session.call(self.at, method, *params)
        except Lost as e:
            self._move()
            raise self._again("no answer") from e
        except XapiError as e:
            if e.code not in AWAY:
                raise
            if e.code == "SESSION_INVALID":
                self.session.ref = None
            if e.code == "INTERNAL_ERROR":
                self._move()
            raise self._again(str(e)[:120] if e.code == "INTERNAL_ERROR" else e.code) from e

    def _move(self):
        self.at = (self.at + 1) % len(self.scale.members)

    def _again(self, why):
        self.scale.refused[why] += 1
        return Again(why)

    def __call__(self, method, *params):
        """Of what may be done twice."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return self.once(method, *params)
            except Again:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)


class Scale:
    def __init__(self, where, report, n_vms, n_start, seconds, idle_for):
        self.where, self.report, self.n_vms, self.n_start = where, report, n_vms, n_start
        self.seconds, self.idle_for = seconds, idle_for  # of each load, of nothing
        self.members, self.vms = where.members, []
        self.figures = {"hosts": len(self.members), "vms": n_vms}
        self.refused, self.ended = collections.Counter(), []

    # For Session and throughput.load, who take this for a pool.
    def __getitem__(self, i):
        return self.members[i]

    @property
    def net(self):
        return self.where.net

    def leader(self):
        return self.where.leader()

    def note(self, text, **figures):
        print(f"#   {text}", flush=True)
        self.figures.update(figures)

    def clients(self):
        """Spread over the members."""
        return [Client(self, i * len(self.members) // CLIENTS % len(self.members)) for i in range(CLIENTS)]

    def run(self):
        for part in (self.form, self.idle, self.make, self.boot, self.calls, self.events, self.same, self.lists, self.idle_again):
            begin, cpu = time.monotonic(), cpu_of(self.where.pids())
            part()
            print(f"# {part.__name__} took {time.monotonic() - begin:.1f} s, {cpu_of(self.where.pids()) - cpu:.1f} s of them computing", flush=True)
            self.tell_refused()
        print("# " + json.dumps(self.figures))

    def tell_refused(self):
        if self.refused:
            self.note("tried again: " + ", ".join(f"{n} times {why}" for why, n in self.refused.most_common()))
        self.refused.clear()

    def form(self):
        begin = time.monotonic()
        self.where.join()
        self.note(f"{len(self.members)} hosts are a pool after {time.monotonic() - begin:.1f} s", join_s=time.monotonic() - begin)
        ask = Client(self, 0)
        records = ask("host.get_all_records")
        live = lambda: all(m["live"] for m in ask("host_metrics.get_all_records").values())
        self.report.check(len(records) == len(self.members) and until(live, PATIENCE), f"{len(self.members)} hosts are members, all alive")
        wanted = 5 if len(self.members) >= 7 else 3
        count = lambda: sum(m["role"] == "voter" for m in self.leader().status()["members"])
        self.report.check(until(lambda: self.leader() and count() == wanted, PATIENCE, 0.5), f"{wanted} of them vote")

    def resources(self, text):
        pids = self.where.pids()
        memory = [status_of(p, "RssAnon") / 1024 for p in pids]
        threads = sum(status_of(p, "Threads") for p in pids)
        n = len(self.members)
        key = text.replace(" ", "_")
        most = f" (the most: {max(memory):.1f})" if len(memory) > 1 else ""
        self.note(f"{text}: {sum(memory) / n:.1f} MiB of anonymous memory{most} and {threads / n:.1f} threads for each member",
                  **{f"mib_{key}": sum(memory) / n, f"threads_{key}": threads / n})

    def idle(self, text="idle"):
        pids = self.where.pids()
        revision = self.leader().status()["revision"]
        before = [cpu_of([p]) for p in pids]
        switched = sum(self.switches(p) for p in pids)
        time.sleep(self.idle_for)
        used = [cpu_of([p]) - b for p, b in zip(pids, before)]
        n = len(self.members)
        switched = (sum(self.switches(p) for p in pids) - switched) / self.idle_for / n
        written = (self.leader().status()["revision"] - revision) / self.idle_for
        most = f" (the most: {max(used) / self.idle_for * 100:.1f} %)" if len(used) > 1 else ""
        self.note(f"{text}: {sum(used) / self.idle_for / n * 100:.2f} % of a core for each member{most}; {switched:.0f} switches a second; "
                  f"{written:.1f} writes a second by the pool", **{f"{text}_cpu_percent": sum(used) / self.idle_for / n * 100, f"{text}_writes": written})
        self.resources(text)

    @staticmethod
    def switches(pid):
        total = 0
        for task in os.listdir(f"/proc/{pid}/task"):
            try:
                with open(f"/proc/{pid}/task/{task}/status") as f:
                    total += sum(int(n) for n in re.findall(r"ctxt_switches:\s+(\d+)", f.read()))
            except OSError:
                pass
        return total

    def idle_again(self):
        self.idle("with VMs")

    def make(self):
        ask = Client(self, 0)
        source = ask("VM.get_by_name_label", "Other install media")[0]
        record = {k: v for k, v in ask("VM.get_record", source).items() if not isinstance(v, list) and not (isinstance(v, str) and "OpaqueRef:" in v)}
        record.update(is_a_template=False, is_default_template=False, other_config={}, affinity=NULL, tags=[], name_label="one of many",
                      **{f"memory_{k}": SIZE for k in ("static_min", "static_max", "dynamic_min", "dynamic_max")})
        clients, lock = self.clients(), threading.Lock()

        def one(number, i):
            client, name, vm = clients[number], f"vm-{i}", None
            while not vm:
                try:
                    vm = client.once("VM.create", {**record, "name_label": name})
                except Again:
                    vm = next(iter(client("VM.get_by_name_label", name)), None)
            with lock:
                self.vms.append(vm)

        begin = time.monotonic()
        each(range(self.n_vms), CLIENTS, one)
        rate = self.n_vms / (time.monotonic() - begin)
        self.note(f"{self.n_vms} VMs are made, {rate:.0f} a second by {CLIENTS} clients on as many members", creates_per_second=rate)

    # -- starting, and the fail-over --

    def start_one(self, client, vm):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                if client.once("VM.get_power_state", vm) == "Running":
                    self.ended.append(time.monotonic())
                    return
                client.once("VM.start", vm, False, False)
            except Again:
                time.sleep(0.1)
            except XapiError as e:
                if e.code != "VM_BAD_POWER_STATE":
                    raise
        raise RuntimeError(f"{vm} does not start")

    def write(self, at, written, ended):
        """One change after the other; when each was acknowledged."""
        client, n = Client(self, at), 0
        while not ended.is_set():
            n += 1
            client("VM.set_name_description", self.vms[-1], f"{n}")
            written.append(time.monotonic())
            time.sleep(0.01)

    @staticmethod
    def longest(times, begin, end):
        return max((y - x for x, y in zip(times, times[1:]) if y > begin and x < end), default=0)

    def boot(self):
        clients = self.clients()
        begin, failed, written, over = time.monotonic(), [], [], threading.Event()

        def start_all():
            try:
                each(self.vms[:self.n_start], CLIENTS, lambda number, vm: self.start_one(clients[number], vm))
            except Exception as e:  # noqa: BLE001 -- told below
                failed.append(e)

        leader = self.leader()
        others = self.where.others_that_vote(leader)
        stays = next(m.number for m in reversed(self.members) if m is not leader and m not in others)
        threads = [threading.Thread(target=start_all), threading.Thread(target=self.write, args=(stays, written, over), daemon=True)]
        for t in threads:
            t.start()
        until(lambda: len(self.ended) >= self.n_start * 2 // 5 or failed, PATIENCE, 0.01)
        at = time.monotonic()
        self.where.end(leader)
        led = until(lambda: any((m.status(1) or {}).get("leads") for m in others), PATIENCE, 0.01)
        again = time.monotonic() - at
        gone = time.monotonic()
        until(lambda: written and written[-1] > gone, PATIENCE, 0.01)
        self.where.begin(leader)
        back = time.monotonic() - at
        threads[0].join()
        over.set()
        threads[1].join(PATIENCE)
        took, end = self.ended[-1] - begin, at + back
        self.report.check(led and not failed, f"{self.n_start} VMs start, though the coordinator is lost meanwhile", *failed)
        self.note(f"{self.n_start} VMs are started in {took:.1f} s, {self.n_start / took:.0f} a second; another host leads after {again * 1000:.0f} ms; "
                  f"no start ended for {self.longest(self.ended, at, end) * 1000:.0f} ms then "
                  f"(before that for {self.longest(self.ended, 0, at) * 1000:.0f} ms); "
                  f"no write for {self.longest(written, at, end) * 1000:.0f} ms (before that for {self.longest(written, 0, at) * 1000:.0f} ms); "
                  f"the lost host is back after {back:.1f} s",
                  boot_s=took, starts_per_second=self.n_start / took, leader_ms=again * 1000, write_gap_ms=self.longest(written, at, end) * 1000)
        self.resources("booted")

    def same(self):
        """What the database says, what runs, and that all members say the same."""
        ask = Client(self, 0)
        wanted = {ask("VM.get_uuid", vm) for vm in self.vms[:self.n_start]}
        count = collections.Counter(u for m in self.members for u in m.domains() if u in wanted)
        self.report.check(len(count) == len(wanted) and set(count.values()) <= {1}, f"all {len(wanted)} run, each once",
                          f"{len(count)} run, {sum(n > 1 for n in count.values())} more than once")
        where = collections.Counter(r["resident_on"] for r in ask("VM.get_all_records").values() if r["uuid"] in wanted)
        self.note(f"hosts have between {min(where.values())} and {max(where.values())} of them, {len(where)} hosts have some")

        self.report.check(not self.where.wait_equal(PATIENCE), "all members have the same digest", self.where.digests())

    def lists(self):
        """As an administrator asks, at a member that does not lead."""
        member = next(m for m in reversed(self.members) if m is not self.leader())
        for what, wanted in (("host-list", len(self.members)), ("vm-list", self.n_vms)):
            begin = time.monotonic()
            done = subprocess.run([program("xe"), what], capture_output=True, text=True, timeout=PATIENCE,
                                  env={**os.environ, "XAPID_SOCKET": member.socket})
            took = time.monotonic() - begin
            self.report.check(done.returncode == 0 and done.stdout.count("uuid (") >= wanted, f"xe {what} lists all", done.stdout[-500:] + done.stderr)
            self.note(f"xe {what} takes {took * 1000:.0f} ms", **{what: took * 1000})

    # -- calls and events --

    def calls(self):
        some = [i * len(self.members) // 4 for i in range(4)]
        sessions = []
        for m in some:
            client = Client(self, m)
            client("VM.get_all")
            sessions.append(client.session.ref)
        with tempfile.TemporaryDirectory(prefix="xt-") as folder:
            for text, method, more, clients in (("VM.get_record", "VM.get_record", (), 16), ("VM.set_name_description", "VM.set_name_description", ("x" * 900,), 64)):
                paths = throughput.requests(folder, sessions, self.vms[:clients], method, more)
                before = cpu_of(self.where.pids())
                rate, failed, p50 = throughput.load(self, paths, self.seconds, some)
                used = (cpu_of(self.where.pids()) - before) / self.seconds
                self.report.check(not failed, f"no {text} fails", failed)
                self.note(f"{text}, {clients} clients on 4 members: {rate:.0f} a second, median {p50 / 1000:.2f} ms; all members use {used:.2f} cores",
                          **{f"{method}_per_second": rate, f"{method}_p50_us": p50})

    def listen(self, at, vm, heard, ready, ended):
        client, token, seen = Client(self, at), "", 0
        while not ended.is_set():
            got = client("event.from", [f"vm/{vm}"], token, 2.0 if token else 0.0)
            now, token = time.monotonic(), got["token"]
            ready.set()
            for e in got["events"]:
                text = e.get("snapshot", {}).get("name_description", "")
                if text.isdigit() and int(text) > seen:  # one event tells of all changes since the one before
                    heard.update((n, now) for n in range(seen + 1, int(text) + 1))
                    seen = int(text)

    def events(self):
        vm, ended = self.vms[0], threading.Event()
        at = [(i * len(self.members)) // LISTENERS for i in range(LISTENERS)]
        heard, ready = [{} for _ in at], [threading.Event() for _ in at]
        threads = [threading.Thread(target=self.listen, args=(m, vm, h, r, ended), daemon=True) for m, h, r in zip(at, heard, ready)]
        for t in threads:
            t.start()
        for r in ready:
            r.wait(PATIENCE)
        sent, answered = {}, {}
        writer = Client(self, len(self.members) // 2 + 1)
        writer("VM.get_power_state", vm)
        for n in range(1, CHANGES + 1):
            time.sleep(0.1)
            sent[n] = time.monotonic()
            writer("VM.set_name_description", vm, str(n))
            answered[n] = time.monotonic()
        missing = until(lambda: all(len(h) == CHANGES for h in heard), 60, 0.05)
        ended.set()
        self.report.check(missing, f"each of {LISTENERS} listeners hears of all {CHANGES} changes")
        delays = sorted(h[n] - sent[n] for h in heard for n in h)
        writes = sorted(answered[n] - sent[n] for n in sent)
        self.note(f"an event comes {statistics.median(delays) * 1000:.1f} ms after its change was sent to another member, {delays[-len(delays) // 100 - 1] * 1000:.1f} ms "
                  f"at the 99th percentile, {delays[-1] * 1000:.1f} ms at worst; the change itself is answered after {statistics.median(writes) * 1000:.1f} ms",
                  event_p50_ms=statistics.median(delays) * 1000, event_max_ms=delays[-1] * 1000)
        for t in threads:
            t.join(10)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--instances", action="store_true")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--hosts", type=int)
    parser.add_argument("--vms", type=int)
    parser.add_argument("--start", type=int)
    options = parser.parse_args()
    n_hosts, n_vms, n_start = (16, 200, 40) if options.short else (64, 2400, 500) if options.instances else (16, 500, 500)
    n_hosts, n_vms, n_start = options.hosts or n_hosts, options.vms or n_vms, options.start or n_start
    report = Report()
    where = (Instances if options.instances or options.short else Namespaces)(n_hosts)
    try:
        Scale(where, report, n_vms, min(n_start, n_vms), *((1, 3) if options.short else (3, 10))).run()
    finally:
        where.close()
    sys.exit(report.done())


if __name__ == "__main__":
    main()
