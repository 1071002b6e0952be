#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""ha.py [--rounds N] [--hosts N] [--seed S] [--only KIND] [--unfenced] -- hosts of a pool die, or seem to; protected machines run elsewhere in time.

A round is one of DEATHS, after which one host or all must have ended what they run and the protected machines run elsewhere, at most ten seconds
after the lease has ended; or one of SCARES, after which everything must run as if nothing had happened.  All the time: no machine on two hosts
(watch.py), and no host fenced that was not cut off.  Without --rounds: what a pool with HA refuses (refused.py); the leader is cut off, another host
killed, and one daemon started again.

--unfenced: the hosts' watchdogs do not bite; passes where that is found out.
"""

import argparse
import os
import random
import signal
import statistics
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from daemon import NULL, Lost, XapiError, until  # noqa: E402
from members import Pool, Session  # noqa: E402
from refused import judge_refusals  # noqa: E402
from report import Findings, Report  # noqa: E402
from watch import Watch, fenced, forget_fence, running  # noqa: E402

LEASE = 10   # seconds, the shortest there is
WITHIN = 10  # seconds after the lease in which machines run again
SLACK = 30   # what a busy machine may need besides, before a wait is given up
BLINK = 4    # seconds that a scare lasts, at most: the rest of a lease is left to be heard again
LONG_LEASE = 30  # longer than the ten seconds after which a host without a leader is in emergency mode
LISTENS = 2  # seconds that event.from is to wait
BETWEEN = 2  # seconds after a scare in which every host gets a new lease, which no condition shows; two scares within one lease may end a host
MIB = 1 << 20
PROTECTED = 3  # machines on each host; the last of them of a later order

# What ends a host: kill: daemon and simulator; cut: all its links; mute, deaf: one way; pair: from whoever leads; freeze: its daemon stands still;
# split: as many as leave a majority, together; all: every host is alone.  Of five hosts also chase: the one that starts what another one ran dies too.
DEATHS = ("kill", "kill_leader", "cut", "cut_leader", "mute", "deaf", "pair", "freeze", "split", "all")
CHASES = ("chase",)
# What must not: daemons are killed and started again, stand still for a moment, the network does, a disk is slow, another one is to lead.
SCARES = ("restart", "restart_leader", "restart_all", "stop", "stop_leader", "blink", "blink_host", "blink_pair", "slow_disk", "transfer")


class Test:
    def __init__(self, pool, report, chance, watch):
        self.pool, self.report, self.chance, self.watch = pool, report, chance, watch
        self.session = Session(pool, 60)
        self.at = 0  # the member that is asked
        self.session.login(0)
        self.vms, self.times, self.elections, self.rounds = {}, {}, [], 0

    def call(self, method, *params):
        """On any member that answers: what is asked here may be asked again."""
        error = None
        for _ in range(60):
            try:
                return self.session.call(self.at, method, *params)
            except Lost as e:
                error = e
                self.at = self.pool.wait_leader().number
            except XapiError as e:
                error = e
                if "no contact with the others" in str(e):
                    self.at = self.pool.wait_leader().number
                elif e.code.startswith("SESSION"):
                    self.session.login(self.at)
                else:
                    raise
            time.sleep(0.5)
        raise RuntimeError(f"{method}: {error}")

    # -- what there is --

    def host_of(self, member):
        """The reference of a member's host."""
        uuid = open(os.path.join(member.state, "host-uuid")).read().strip()
        return self.call("host.get_by_uuid", uuid)

    def make(self, name, priority, order):
        source = self.call("VM.get_by_name_label", "Other install media")[0]
        vm = self.call("VM.clone", source, name)
        self.call("VM.provision", vm)
        self.call("VM.set_memory_limits", vm, 32 * MIB, 64 * MIB, 64 * MIB, 64 * MIB)
        self.call("VM.set_ha_restart_priority", vm, priority)
        self.call("VM.set_order", vm, order)
        return vm

    def make_all(self):
        """For each host some that are protected, one that is only tried and one that is neither."""
        for m in self.pool:
            n = m.number
            self.vms[n] = [self.make(f"{n}-protected-{i}", "restart", 2 if i == PROTECTED - 1 else 1) for i in range(PROTECTED)]
            self.vms[n] += [self.make(f"{n}-tried", "best-effort", 0), self.make(f"{n}-other", "", 0)]
            self.bring_home(m)

    def records(self):
        """Of the machines of this test."""
        every = self.call("VM.get_all_records")
        return {vm: every[vm] for vms in self.vms.values() for vm in vms}

    def bring_home(self, member):
        """The machines that belong on a host run there; it may need a moment until it takes any."""
        host = self.host_of(member)
        for vm in self.vms[member.number]:
            r = self.call("VM.get_record", vm)
            if r["resident_on"] == host:
                continue
            if r["power_state"] == "Running":
                self.call("VM.hard_shutdown", vm)
            if not until(lambda: self.starts(member, vm, host), 2 * SLACK, 0.3):
                raise RuntimeError(f"{r['name_label']} does not start on member {member.number}: {self.refused}\n{member.log_tail()}")

    def starts(self, member, vm, host):
        try:
            self.session.call(member.number, "VM.start_on", vm, host, False, False, timeout=60)
        except XapiError as e:
            self.refused = e
            return self.call("VM.get_power_state", vm) == "Running"
        return True

    def all_live(self):
        return all(r["live"] for r in self.call("host_metrics.get_all_records").values())

    # -- how hosts die --

    def sim_pid(self, member):
        with open(os.path.join(member.state, "sim", "xapid-sim.pid")) as f:
            return int(f.read())

    def begin_kill(self, victims):
        for m in victims:
            sim = self.sim_pid(m)
            m.kill()
            os.kill(sim, signal.SIGKILL)

    def cut(self, pairs):
        self.pool.net.drop("cut", pairs)

    def others(self, m):
        return [j for j in range(len(self.pool)) if j != m.number]

    def begin_cut(self, victims):
        self.cut([p for m in victims for j in self.others(m) for p in ((m.number, j), (j, m.number))])

    def begin_split(self, victims):
        these = [m.number for m in victims]
        self.cut([p for a in these for b in self.others_than(these) for p in ((a, b), (b, a))])

    def others_than(self, these):
        return [j for j in range(len(self.pool)) if j not in these]

    def begin_mute(self, victims):
        self.cut([(m.number, j) for m in victims for j in self.others(m)])

    def begin_deaf(self, victims):
        self.cut([(j, m.number) for m in victims for j in self.others(m)])

    def begin_pair(self, victims):
        self.cut([p for m in victims for p in ((m.number, self.led), (self.led, m.number))])

    def begin_freeze(self, victims):
        for m in victims:
            m.signal(signal.SIGSTOP)

    # -- one death --

    def victims(self, kind):
        """Of a round: whom it hits."""
        if kind.endswith("all") or kind == "blink":
            return list(self.pool)
        if kind.endswith("leader"):
            return [self.pool[self.led]]
        if kind == "slow_disk":
            return [m for m in self.pool if m.disk]
        if kind == "split":
            return self.chance.sample(list(self.pool), (len(self.pool) - 1) // 2)
        able = [m for m in self.pool if "pair" not in kind or m.number != self.led]
        return [self.chance.choice(able)]

    def die(self, kind, victims):
        """What was lost, and how long until the protected ones ran again."""
        hosts = {self.host_of(m): m for m in victims}
        lost = {vm: r for vm, r in self.records().items() if r["resident_on"] in hosts}
        for m in victims:
            forget_fence(m)
        alive = [m.number for m in self.pool if m not in victims]
        if alive and self.at not in alive:
            self.at = alive[0]
        begin = time.monotonic()
        getattr(self, f"begin_{'cut' if kind == 'all' else kind.split('_')[0]}")(victims)
        if any(m.number == self.led for m in victims) and alive:
            self.elect(victims, begin)
        if kind == "chase":
            begin = self.chase(victims, hosts, lost)
        if kind == "all":
            self.all_end(victims)
            self.heal(victims)
        self.judge(kind, victims, hosts, lost, begin)

    begin_chase = begin_kill

    def elect(self, victims, begin):
        """How long until another member leads."""
        if until(lambda: self.pool.leader() not in (None, *victims), LEASE + SLACK, 0.02):
            self.elections.append(time.monotonic() - begin)

    def chase(self, victims, hosts, lost):
        """Kills the first host that starts a machine of one that was killed; when that was."""
        uuids = {r["uuid"] for r in lost.values() if r["ha_always_run"]}
        next_one = until(lambda: next((m for m in self.pool if m not in victims and any(u in uuids for u, _ in running(m))), None), LEASE + WITHIN + SLACK)
        if not next_one:
            raise RuntimeError("nobody starts what was lost")
        host = self.host_of(next_one)
        for vm, r in self.records().items():
            if r["resident_on"] == host and vm not in lost:
                lost[vm] = r
        self.led = self.pool.wait_leader().number
        forget_fence(next_one)
        self.at = self.others_than([m.number for m in (*victims, next_one)])[0]
        begin = time.monotonic()
        self.begin_kill([next_one])
        victims.append(next_one)
        hosts[host] = next_one
        return begin

    def all_end(self, victims):
        left = until(lambda: not [m for m in victims if not fenced(m) or running(m)], LEASE + WITHIN + SLACK, 0.1)
        self.report.check(left, f"{self.title}: where no majority is left every host ends itself", *[m.log_tail(40) for m in victims if not fenced(m)])

    def back(self, record, hosts):
        return record["power_state"] == "Running" and (self.everybody or record["resident_on"] not in (*hosts, NULL))

    def judge(self, kind, victims, hosts, lost, begin):
        self.everybody = len(victims) == len(self.pool)
        protected = {vm: r for vm, r in lost.items() if r["ha_always_run"]}
        restarted = until(lambda: all(self.back(self.records()[vm], hosts) for vm in protected), LEASE + WITHIN + SLACK, 0.1)
        took = time.monotonic() - begin
        if self.everybody:
            self.report.check(restarted, f"{self.title}: {len(protected)} protected machines run once the network is whole again",
                              *[m.log_tail(40) for m in self.pool])
        else:
            self.times.setdefault(kind, []).append(took)
            self.report.check(restarted and took <= LEASE + WITHIN,
                              f"{self.title}: {len(protected)} protected machines run elsewhere after {took:.1f} s, at most {LEASE + WITHIN}",
                              *[m.log_tail(40) for m in self.pool])
        if not restarted:
            return
        if not self.everybody and not kind.startswith(("kill", "chase")):
            for m in victims:
                self.judge_fence(m, [r for r in protected.values() if hosts[r["resident_on"]] is m])
        self.judge_rest(lost, hosts)
        self.judge_order(protected)

    def judge_rest(self, lost, hosts):
        tried = [vm for vm, r in lost.items() if r["ha_restart_priority"] == "best-effort"]
        if not self.everybody:
            self.report.check(until(lambda: all(self.back(self.records()[vm], hosts) for vm in tried), SLACK, 0.2),
                              f"{self.title}: and then those that are only tried")
        rest = [vm for vm, r in lost.items() if not r["ha_restart_priority"]]
        halted = until(lambda: all(self.records()[vm]["power_state"] == "Halted" for vm in rest), LEASE + SLACK, 0.2)
        self.report.check(halted, f"{self.title}: what nobody protects is halted", *[m.log_tail(40) for m in self.pool])

    def beginnings(self, record):
        """When its domains were built, and on which member: microseconds."""
        return [(begin, m.number) for m in self.pool for uuid, begin in running(m) if uuid == record["uuid"]]

    def judge_order(self, protected):
        times = {o: [t for r in protected.values() if int(r["order"]) == o for t, _ in self.beginnings(r)] for o in (1, 2)}
        if times[1] and times[2]:
            self.report.check(max(times[1]) <= min(times[2]), f"{self.title}: those of a later order came later", times)

    def judge_fence(self, member, protected):
        """It ended what it ran before the others began."""
        ended = until(lambda: fenced(member), LEASE)
        first = min((t for r in protected for t, n in self.beginnings(r) if n != member.number), default=None)
        early = "not at all" if not ended else f"{(first - ended) / 1e6:.2f} s earlier" if first else "nobody else began anything"
        self.report.check(ended and (not first or ended <= first), f"{self.title}: it ends itself ({early}) before the others begin",
                          member.log_tail(40))

    # -- and afterwards --

    def heal(self, victims):
        """Everything is as before, and every daemon runs."""
        self.pool.net.heal("cut")
        for m in self.pool:
            m.signal(signal.SIGCONT)
        started = []
        for m in victims:
            if m.running():
                m.kill()
            started.append((m, m.launch()))
        for m, s in started:
            self.session.drop(m.number)
            if s.result():
                raise RuntimeError(f"member {m.number} does not start: {s.result()}")
        self.at = self.pool.wait_leader().number

    def revive(self, victims):
        self.heal(victims)
        if not until(self.all_live, 60, 0.2):
            raise RuntimeError("not all hosts come back\n" + "\n".join(m.log_tail() for m in self.pool))
        for m in victims:
            forget_fence(m)
        for m in self.pool:
            self.bring_home(m)

    # -- what must not end a host --

    def scare(self, kind, victims):
        before = self.spans()
        lasts = self.chance.uniform(1, BLINK)
        if kind.startswith("restart"):
            for m in victims:
                m.kill()
            self.heal(victims)
        elif kind.startswith("stop"):
            self.begin_freeze(victims)
            time.sleep(lasts)
        elif kind.startswith("blink"):
            (self.begin_pair if kind == "blink_pair" else self.begin_cut)(victims)
            time.sleep(lasts)
        elif kind == "slow_disk":
            for m in victims:
                m.disk.slow(40_000)
            time.sleep(2 * lasts)
            for m in victims:
                m.disk.slow(0)
        else:
            self.pool.transfer(victims[0])
        self.pool.net.heal("cut")
        for m in self.pool:
            m.signal(signal.SIGCONT)
        self.at = self.pool.wait_leader().number
        live = until(self.all_live, SLACK, 0.2)
        time.sleep(BETWEEN)
        self.report.check(live and self.spans() == before, f"{self.title}: everything runs as before", *[m.log_tail(40) for m in self.pool])

    def spans(self):
        return {m.number: sorted(running(m)) for m in self.pool}

    # -- the whole --

    def begin(self, kind):
        """Chooses whom a round hits, and gives it its title."""
        self.led = self.pool.wait_leader().number
        victims = self.victims(kind)
        who = "all" if len(victims) == len(self.pool) else " and ".join(f"member {m.number}{' (it leads)' if self.led == m.number else ''}" for m in victims)
        self.rounds += 1
        self.title = f"{self.rounds} {kind} of {who}"
        return victims

    def round(self, kind):
        victims = self.begin(kind)
        if kind not in SCARES:
            before = [self.alerts(m) for m in victims]
            self.die(kind, victims)
            self.nobody_else(victims)
            self.revive(victims)
            for m, alerts in zip(victims, before) if not self.everybody else ():
                self.judge_alerts(m, alerts)
        else:
            self.scare(kind, victims)
            self.nobody_else([])

    def alerts(self, member):
        """How many tell that a member's host has failed, and that it is back."""
        uuid = self.call("host.get_uuid", self.host_of(member))
        names = [r["name"] for r in self.call("message.get_all_records").values() if r["obj_uuid"] == uuid]
        return names.count("HA_HOST_FAILED"), names.count("HA_HOST_WAS_FENCED")

    def judge_alerts(self, member, before):
        told = until(lambda: self.alerts(member) == (before[0] + 1, before[1] + 1), SLACK, 0.5)
        self.report.check(told, f"{self.title}: one alert tells that the host has failed, one that it is back", before, self.alerts(member))

    def nobody_else(self, victims):
        """Of the round before this one too: a lease may end late."""
        wrong = [m for m in self.pool if m not in victims and (fenced(m) or not m.running())]
        self.report.check(not wrong, f"{self.title}: no other host is fenced", *[m.log_tail(40) for m in wrong])
        self.report.check_none(self.watch.twice(), f"{self.title}: no machine runs twice")
        if wrong:
            self.revive(wrong)

    def enable(self):
        self.at = self.pool.wait_leader().number
        self.session.call(self.at, "pool.enable_ha", [], {"timeout": str(LEASE)}, timeout=90)
        pool = self.call("pool.get_all")[0]
        self.report.check(self.call("pool.get_ha_enabled", pool) and int(self.call("pool.get_ha_plan_exists_for", pool)) == (len(self.pool) - 1) // 2,
                          "HA is enabled once every host has armed its watchdog, and as many may fail as leave a majority",
                          self.call("pool.get_record", pool))
        self.report.check(until(lambda: self.peers() == [len(self.pool)] * len(self.pool), SLACK, 0.3), "and every host says that it hears all", self.peers())

    def peers(self):
        return [len(r["ha_network_peers"]) for r in self.call("host.get_all_records").values()]

    def leave(self):
        """A host that goes down by order: nobody ends it, nobody takes it for dead."""
        leader = self.pool.wait_leader()
        self.at = leader.number
        quiet = [m for m in self.pool if m is not leader][0]
        before = self.alerts(quiet)
        self.session.call(quiet.number, "host.prepare_for_poweroff", self.host_of(quiet), timeout=60)
        self.begin_cut([quiet])
        time.sleep(LEASE + 4)  # nothing happens, which no condition shows
        self.report.check(quiet.running() and running(quiet) and self.alerts(quiet) == before, "a host that goes down by order is not taken for dead",
                          quiet.log_tail(40))
        self.revive([quiet])

    def disable(self):
        self.session.call(self.at, "pool.disable_ha", timeout=90)
        leader = self.pool.wait_leader()
        quiet = [m for m in self.pool if m is not leader][0]
        self.begin_cut([quiet])
        time.sleep(LEASE + 3)  # nothing happens, which no condition shows
        self.report.check(quiet.running() and running(quiet), "HA is off again: a host that is cut off goes on", quiet.log_tail(40))
        self.pool.net.heal("cut")
        self.report.check(self.peers() == [0] * len(self.pool), "and nobody says that it hears others", self.peers())

    def shut_down_alone(self):
        """On a host that is cut off a protected machine is shut down, which is recorded, as a wish, once the host is back: before its lease has ended."""
        self.session.call(self.at, "pool.disable_ha", timeout=90)
        self.session.call(self.at, "pool.enable_ha", [], {"timeout": str(LONG_LEASE)}, timeout=90)
        leader = self.pool.wait_leader()
        quiet = [m for m in self.pool if m is not leader][0]
        vm = self.vms[quiet.number][0]
        own = Session(self.pool, 30)
        own.login(quiet.number)
        listened = self.listens(own, quiet.number, lambda: self.begin_cut([quiet]))
        self.report.check(listened >= LISTENS, "who listens to a host that is cut off is answered when the time that was given is over", listened)
        self.report.check(until(lambda: self.shuts_down(own, quiet.number, vm), LONG_LEASE - 12, 0.3), "there a machine can be shut down", quiet.log_tail())
        self.pool.net.heal("cut")
        self.at = leader.number
        self.report.check(until(lambda: self.call("VM.get_power_state", vm) == "Halted", SLACK, 0.2), "which is recorded when it is back", quiet.log_tail(40))
        time.sleep(5)  # nothing happens, which no condition shows
        r = self.call("VM.get_record", vm)
        self.report.check(quiet.running() and r["power_state"] == "Halted" and not r["ha_always_run"], "and HA does not start it again", r, quiet.log_tail(40))
        own.close()

    @staticmethod
    def listens(session, member, begin):
        """How long one answer takes at least, of those that nothing has happened for."""
        token = session.call(member, "event.from", ["SR"], "", 0)["token"]
        begin()
        times = []
        for _ in range(3):
            asked = time.monotonic()
            answer = session.call(member, "event.from", ["SR"], token, LISTENS)
            token = answer["token"]
            if not answer["events"]:
                times.append(time.monotonic() - asked)
        return min(times, default=0)

    @staticmethod
    def shuts_down(session, member, vm):
        try:
            if session.call(member, "host.is_in_emergency_mode"):
                session.call(member, "VM.hard_shutdown", vm)
                return True
        except (Lost, XapiError):
            pass
        return False

    def judge_restarts(self):
        names = [r["name"] for r in self.call("message.get_all_records").values()]
        self.report.check(names.count("HA_PROTECTED_VM_RESTART_FAILED") == 0, "every restart has succeeded",
                          names.count("HA_PROTECTED_VM_RESTART_FAILED"))

    def tell_times(self):
        every = [t for times in self.times.values() for t in times]
        for kind, times in sorted(self.times.items()):
            print(f"# {kind}: {len(times)}, median {statistics.median(times):.1f} s, longest {max(times):.1f}")
        if self.elections:
            print(f"# until another one leads: {len(self.elections)}, median {statistics.median(self.elections):.2f} s, longest {max(self.elections):.2f}")
        if every:
            print(f"# from a host's death until its protected machines run: {len(every)}, median {statistics.median(every):.1f} s, longest {max(every):.1f}")


def choose(test, options):
    """Kinds, each once before any comes again."""
    if not options.rounds:
        yield from ("cut_leader", "kill", "restart")
    deck = []
    for _ in range(options.rounds):
        if not deck:
            deck = [options.only] if options.only else [*DEATHS, *(CHASES if options.hosts > 4 else ()), *SCARES]
            test.chance.shuffle(deck)
        yield deck.pop()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--hosts", type=int, default=3)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--only", choices=[*DEATHS, *CHASES, *SCARES])
    parser.add_argument("--unfenced", action="store_true")
    options = parser.parse_args()
    print(f"# seed {options.seed}", flush=True)
    report, chance = Report(), random.Random(options.seed)
    found = Findings() if options.unfenced else report
    disks = [chance.randrange(options.hosts)] if options.rounds else []
    with Pool(options.hosts, disks=disks, seed=options.seed, args=["--enable-faults"] if options.unfenced else []) as pool, Watch(pool) as watch:
        pool.form()
        test = Test(pool, found, chance, watch)
        if options.unfenced:
            for m in pool:
                with open(os.path.join(m.state, "faults"), "w") as f:
                    f.write("ha/arm fail\n")
        test.make_all()
        test.enable()
        if options.unfenced:
            test.die("cut", test.begin("cut"))
            report.check(found.failed, "hosts whose watchdogs do not bite are found out")
        else:
            if not options.rounds:
                judge_refusals(test)
            for kind in choose(test, options):
                test.round(kind)
            if options.rounds:
                test.leave()
                test.disable()
            else:
                test.shut_down_alone()
            test.judge_restarts()
            report.check(not pool.wait_equal(), "all members have the same digest in the end", pool.digests())
        test.tell_times()
    sys.exit(report.done())


if __name__ == "__main__":
    main()
