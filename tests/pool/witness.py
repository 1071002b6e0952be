#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""witness.py -- a pool of two hosts: with a witness either may die, the witness too; without one the survivor says what to do.

    witness.py                  both
    witness.py --long           HA too
    witness.py --only PART      witness, emergency, upgraded, ha
    witness.py --rounds N       with a witness: so many deaths of each
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from daemon import PASSWORDS, Lost, XapiError, program, until  # noqa: E402
from lone_hosts import Host, begin_all, close_all  # noqa: E402
from net import Network  # noqa: E402
from report import Report  # noqa: E402

PATIENCE = 120
WRITES_WITHIN = 2  # seconds, on a quiet machine; the test allows five times that
SLACK = 5


class Witness:
    """xapi-witness in a namespace of its own; what starts it lives as long as the test."""

    def __init__(self, net, number):
        self.inside, self.dir, self.process = net.inside(number), None, None
        self.address = net.address(number)
        self.starter = ThreadPoolExecutor(1)
        self.faults = False
        self.log = None

    def place(self, folder):
        self.dir = os.path.join(folder, "witness")
        self.log = os.path.join(folder, "witness.log")
        self.password = os.path.join(folder, "witness-password")
        with open(self.password, "w") as f:
            f.write(PASSWORDS["root"] + "\n")

    def command(self, *words):
        """(exit status, what it said)"""
        done = subprocess.run([*self.inside, program("xapi-witness"), *words, "--dir", self.dir, "--password-file", self.password, *self.options()],
                              capture_output=True, text=True, timeout=PATIENCE, check=False)
        return done.returncode, done.stdout + done.stderr

    def options(self):
        return ["--enable-faults"] if self.faults else []

    def fault(self, *lines):
        with open(os.path.join(self.dir, "faults"), "w") as f:
            f.write("".join(line + "\n" for line in lines))

    def run(self, *words):
        def start():
            with open(self.log, "ab") as log:
                return subprocess.Popen([*self.inside, program("xapi-witness"), "run", "--dir", self.dir, *self.options(), *words],
                                        stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.process = self.starter.submit(start).result()

    def running(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        if self.running():
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def said(self):
        if not os.path.exists(self.log):
            return ""
        with open(self.log, errors="replace") as f:
            return f.read()

    def close(self):
        self.kill()
        self.starter.shutdown()


class Two:
    """Two hosts that are a pool, and a third machine."""

    def __init__(self, report, *args):
        self.net = Network(3)
        self.hosts = [Host(self.net, i, *args) for i in range(2)]
        self.witness = Witness(self.net, 2)
        self.witness.place(self.hosts[0].dir)
        begin_all(self.hosts)
        a, b = self.hosts
        b.join(a)
        report.check(until(lambda: b.is_member_of(a) and a.is_member_of(b), PATIENCE), "two hosts are a pool", b.log_tail())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.witness.close()
        close_all(self.hosts)
        self.net.close()

    def leader(self):
        return next((h for h in self.hosts if h.running() and (h.status() or {}).get("leads")), None)

    def wait_leader(self):
        return until(self.leader, PATIENCE)

    def settled(self, roles):
        """Both hosts see these roles, and one of them leads."""
        return until(lambda: self.leader() and all(h.roles() == sorted(roles) for h in self.hosts if h.running()), PATIENCE)


def write(host, text):
    """How long it takes until a change is acknowledged there; None."""
    begin = time.monotonic()

    def written():
        pools = host.tries("pool.get_all")
        return bool(pools) and host.tries("pool.set_name_description", pools[0], text) is not None

    done = until(written, PATIENCE, 0.05)
    return time.monotonic() - begin if done else None


def failover(host):
    return host("pool.get_all_records").popitem()[1]["other_config"].get("failover", "")


def dies_and_returns(report, two, who, name, times):
    """One of three is killed: writes go on where a host is left; then it comes back."""
    survivors = [h for h in two.hosts if h is not who]
    who.kill()
    took = write(survivors[0], name)
    times.append(took or PATIENCE)
    report.check(took is not None and took < SLACK * WRITES_WITHIN, f"{name} dies: writes go on" + (f" after {took:.2f} s" if took else ""), survivors[0].log_tail())
    if isinstance(who, Witness):
        who.run()
    else:
        who.begin()
    report.check(two.settled(["voter"] * 3), f"{name} is back", str(survivors[0].status()))


def with_witness(report, rounds):
    with Two(report) as two:
        a, b = two.hosts
        w = two.witness
        report.check(until(lambda: failover(a).startswith("no"), PATIENCE), "two hosts alone: the pool says that it has no failover", failover(a))
        report.check(w.command("run")[0] == 1, "a machine that has not joined is no witness")
        code, text = w.command("join", "10.213.0.99")
        report.check(code == 1, "a pool that is not there is told", text)
        code, text = w.command("join", a.address)
        report.check(code == 0, "the witness joins by a command", text)
        w.run()
        report.check(two.settled(["voter"] * 3), "two hosts and a witness are three voters", str(a.status()), w.said())
        report.check(until(lambda: failover(a).startswith("yes"), PATIENCE), "the pool says so", failover(a))
        code, text = w.command("join", a.address)
        report.check(code == 1 and "already" in text, "it is one once", text)
        times = {"the coordinator": [], "the other host": [], "the witness": []}
        for _ in range(rounds):
            leader = two.wait_leader()
            dies_and_returns(report, two, leader, "the coordinator", times["the coordinator"])
            other = b if two.wait_leader() is a else a
            dies_and_returns(report, two, other, "the other host", times["the other host"])
            dies_and_returns(report, two, w, "the witness", times["the witness"])
        for name, took in times.items():
            report.note(f"kill of {name}: writes after {' '.join(f'{t:.2f}' for t in sorted(took))} s")
        hands_on(report, two)
        wiped(report, two)


def hands_on(report, two):
    """A witness that is elected hands on: whoever leads gives it the leadership, as a transfer may."""
    leader, w = two.wait_leader(), two.witness
    own = leader.status()
    hosts = {h.status()["id"] for h in two.hosts}
    witness = next(m["id"] for m in own["members"] if m["id"] not in hosts)
    try:
        leader.internal({"transfer": {"id": witness}}, timeout=1)
    except (Lost, XapiError):
        pass  # it may be back before that was seen
    report.check(until(lambda: "leadership goes to member" in w.said(), PATIENCE), "a witness that is elected hands leadership on", w.said())
    report.check(until(two.leader, PATIENCE), "a host leads again")
    took = write(two.wait_leader(), "handed on")
    report.check(took is not None, "and writes go on", str(took))


def wiped(report, two):
    """A witness that has lost its log does not vote again; it leaves, and joins as another one."""
    w, a = two.witness, two.wait_leader()
    w.process.terminate()
    w.process.wait()
    os.rename(os.path.join(w.dir, "db"), os.path.join(w.dir, "gone"))
    code, text = w.command("run")
    report.check(code == 1 and "does not vote again" in text, "a witness without its log does not vote", text)
    code, text = w.command("leave")
    report.check(code == 0 and not os.path.exists(os.path.join(w.dir, "witness")), "it leaves", text)
    report.check(two.settled(["standby", "voter"]), "one host votes again", str(a.status()))
    code, text = w.command("join", a.address)
    w.run()
    report.check(code == 0 and two.settled(["voter"] * 3), "and joins as another one", text, w.said())
    code, text = w.command("leave")
    report.check(code == 0 and until(lambda: not w.running(), PATIENCE), "a running witness that leaves ends", text, w.said())
    report.check(two.settled(["standby", "voter"]), "the pool is two hosts again", str(a.status()))


def error_of(call, *args):
    """(code, text) of what is refused; None."""
    try:
        call(*args)
        return None
    except XapiError as e:
        return e.code, " ".join(str(p) for p in e.params)


def description(host):
    pools = host.tries("pool.get_all_records")
    return pools.popitem()[1]["name_description"] if pools else None


def machine_on(host):
    """A machine without disks that runs on that host."""
    template = next(r for r, t in host("VM.get_all_records").items() if t["is_default_template"] and "Other install" in t["name_label"])
    me = next(r for r, h in host("host.get_all_records").items() if h["uuid"] == host.uuid())
    vm = host("VM.clone", template, f"on-{host.number}")
    host("VM.provision", vm)
    host("VM.start_on", vm, me, False, False)
    return vm


def without_witness(report, _):
    """The coordinator dies: the survivor says what to do, and does it when it is told."""
    with Two(report) as two:
        a, b = two.hosts
        vm = machine_on(b)
        report.check(write(a, "before") is not None and until(lambda: description(b) == "before", PATIENCE), "a change that both know")
        report.check((error_of(b, "pool.emergency_transition_to_master") or [""])[0] == "NOT_IN_EMERGENCY_MODE", "no emergency while there is a coordinator")
        report.check((error_of(b, "pool.emergency_reset_master", a.address) or [""])[0] == "NOT_IN_EMERGENCY_MODE", "nor anybody to go back to")
        a.kill()
        refused = error_of(b, "pool.emergency_transition_to_master")
        report.check(refused is not None, "nor a moment after it died", str(refused))
        report.check(until(lambda: b.tries("host.is_in_emergency_mode"), PATIENCE), "then the survivor is in emergency mode")
        survives(report, b, vm)
        b.kill()
        b.begin()
        report.check(until(lambda: b.tries("host.is_in_emergency_mode"), PATIENCE), "also when it is started anew", b.log_tail())
        survives(report, b, vm)
        b("VM.pause", vm)
        b.fault("pool_takeover/alone kill")
        b("pool.emergency_transition_to_master")
        report.check(until(lambda: not b.running(), PATIENCE), "killed in the midst of going on alone")
        b.ensure()
        report.check(until(lambda: (b.status() or {}).get("leads"), PATIENCE), "told to, it goes on alone", b.log_tail())
        report.check(write(b, "alone") is not None and b("pool.get_all_records").popitem()[1]["master"] == me_of(b), "as the coordinator, and changes are made")
        report.check(not b("host.is_in_emergency_mode"), "the emergency is over")
        report.check(until(lambda: b("VM.get_power_state", vm) == "Paused", PATIENCE), "what was done to its machine meanwhile is recorded", b("VM.get_power_state", vm))
        comes_back(report, a, b)


def me_of(host):
    return next(r for r, h in host("host.get_all_records").items() if h["uuid"] == host.uuid())


def survives(report, b, vm):
    """Login, reads, its machine; and a change is refused with a word that says what to do."""
    b.client = None
    report.check(description(b) == "before" and b("VM.get_power_state", vm) == "Running", "login and reads work", description(b), b("VM.get_power_state", vm))
    begin = time.monotonic()
    code, text = error_of(b, "pool.set_name_description", b("pool.get_all")[0], "refused") or ("", "")
    report.check(code == "HOST_IN_EMERGENCY_MODE" and "xe pool-emergency-transition-to-master" in text and time.monotonic() - begin < 10,
                 "a change is refused at once, and it is said what to do", code, text)
    b("VM.pause", vm)
    b("VM.unpause", vm)
    report.ok("its machine is paused and goes on")


def comes_back(report, a, b):
    """The host that was given up."""
    a.launch()
    report.check(until(lambda: a.tries("host.is_in_emergency_mode"), PATIENCE), "the one that was given up does not go on by itself", a.log_tail())
    code, text = error_of(a, "pool.set_name_description", a("pool.get_all")[0], "second pool") or ("", "")
    report.check("pool-recover-slaves" in text, "it refuses changes, and says how it goes back", code, text)
    report.check(not (a.status() or {}).get("leads") or code, "there is no second pool")
    code, text = error_of(a, "pool.emergency_reset_master", "10.213.0.99") or ("", "")
    report.check(code == "OPERATION_NOT_ALLOWED" and "10.213.0.99" in text, "sent to a place where no host of its pool goes on, it stays", code, text)
    report.check((error_of(b, "pool.emergency_reset_master", a.address) or [""])[0] == "NOT_IN_EMERGENCY_MODE", "the one that leads follows nobody")
    report.check(error_of(a, "pool.emergency_reset_master", b.address) is None, "told where its pool goes on, it goes there", a.log_tail(), b.log_tail())
    report.check(until(lambda: a.is_member_of(b) and description(a) == "alone", PATIENCE), "and has what the pool has", a.log_tail())
    report.check(write(a, "together") is not None and until(lambda: description(b) == "together", PATIENCE), "changes are made on both")
    report.check(any(n.startswith("db.before-join-") for n in os.listdir(a.state)), "what it had is kept aside")


def upgraded(report, _):
    """A witness of an older version than its pool's hosts holds what is new back, until it is brought up to date: then it says so itself."""
    old = ["--level", "1"]
    with Two(report, *old) as two:
        a, w = two.hosts[0], two.witness
        code, text = w.command("join", a.address, *old)
        w.run(*old)
        report.check(code == 0 and two.settled(["voter"] * 3), "an older witness joins a pool that is as old", text, w.said())
        for h in two.hosts:
            h.stop()
            h.args = h.args[:h.n_args]
            h.client = None
            h.begin()
        two.settled(["voter"] * 3)

        def renew():
            return (error_of(a, "host.refresh_server_certificate", me_of(a)) or [None])[0]
        report.check(until(renew, PATIENCE) == "NOT_SUPPORTED_DURING_UPGRADE", "while it is old, what is new is refused")
        w.process.terminate()
        w.process.wait()
        w.run()
        report.check(until(lambda: renew() is None, PATIENCE, 0.2), "brought up to date it says so, and what is new works", w.said(), a.log_tail())


def with_ha(report, _):
    """The witness counts where leases are given: a host that is left with it alone is not ended."""
    with Two(report) as two:
        a, b = two.hosts
        w = two.witness
        report.check((error_of(a, "pool.enable_ha", [], {"timeout": "10"}) or [""])[0] == "HA_TOO_FEW_HOSTS", "two hosts alone are too few for HA")
        w.command("join", a.address)
        w.run()
        report.check(two.settled(["voter"] * 3), "with a witness there are three voters")
        report.check(error_of(a, "pool.enable_ha", [], {"timeout": "10"}) is None, "and HA can be enabled")
        leader = two.wait_leader()
        other = b if leader is a else a
        other.kill()
        begin = time.monotonic()
        report.check(until(lambda: not leader.running() or time.monotonic() - begin > 15, PATIENCE) and leader.running(), "a host that is left with the witness is not ended", leader.log_tail())
        report.check(write(leader, "left") is not None, "and makes changes")
        code, text = w.command("remove", leader.address)
        report.check(code == 1 and "HA_IS_ENABLED" in text, "the witness stays while HA is enabled", text)


# Of ./check; "ha" is for whoever asks.
USUAL = ("witness", "emergency", "upgraded")
PARTS = {"witness": with_witness, "emergency": without_witness, "upgraded": upgraded, "ha": with_ha}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--long", action="store_true")
    args = parser.parse_args()
    report = Report()
    for name, part in PARTS.items():
        if name == args.only or (not args.only and (name in USUAL or args.long)):
            part(report, args.rounds)
    return report.done()


if __name__ == "__main__":
    sys.exit(main())
