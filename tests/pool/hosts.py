# SPDX-License-Identifier: LGPL-2.1-or-later
"""hosts.py -- members as whole hosts: a daemon, a simulator and disk servers, which die together and are accounted for.

A daemon that ends itself, or a watchdog that bites, is the end of the machine: whatever is left of it is killed, and it starts again a
little later, as a machine would.
"""

import os
import signal
import time

from account import Account
from daemon import simulator_pid, until
from faults import KINDS, Faults

FENCED = 5         # the exit status of a daemon that ends itself (ha.c)
BOOT = (1.0, 4.0)  # seconds until a machine that was reset is up again
POLL = 0.1
HEALS = 180       # seconds until every daemon answers, once there are no faults any more
# Longer than a lease now and then: a fault that hits machines.
HOST_KINDS = {
    **{k: KINDS[k] for k in ("pair", "one_way", "loss", "slow_wire", "slow_out", "lossy_out", "slow_disk", "kill_all", "transfer")},
    "cut": (1, 18),
    "mute": (1, 16),
    "deaf": (1, 16),
    "halves": (1, 8),
    "stop": (0.3, 14),
    "kill": (0.1, 14),
    "host": (0.3, 20),    # the daemon, the simulator and with it all guests
    "lose": (0, 0),       # an answer of the simulator does not arrive
}
HOST_DOWN = ("kill", "stop", "cut", "mute", "deaf", "host")
CALLS = ("build", "unpause", "destroy", "shutdown", "save", "restore", "migrate_out", "migrate_in", "disk_plug", "resume")


class Host:
    """What belongs to a member's machine, besides its daemon."""

    def __init__(self, member, folder):
        self.member = member
        self.account = os.path.join(folder, f"account-{member.number}")
        self.fences = 0
        sim = os.path.join(member.state, "sim")
        os.makedirs(sim, mode=0o700, exist_ok=True)
        open(self.account, "w").close()
        os.symlink(self.account, os.path.join(sim, "account"))  # not on a disk that a test fills

    def text(self):
        with open(self.account) as f:
            return f.read()

    def was_fenced(self):
        """True once for each time that its watchdog has bitten."""
        n = self.text().count(" fenced\n")
        bitten, self.fences = n > self.fences, n
        return bitten

    def servers(self):
        """{disk: pid} of disk servers that live."""
        top, out = os.path.join(self.member.state, "datapath"), {}
        for disk in os.listdir(top) if os.path.isdir(top) else ():
            path = os.path.join(top, disk, "pid")
            try:
                with open(path) as f:
                    pid = int(f.read())
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    if path.encode() in f.read().split(b"\0"):
                        out[disk] = pid
            except (OSError, ValueError):
                pass
        return out

    def reset(self):
        """The machine is gone."""
        self.member.kill()
        pids = [p for p in (simulator_pid(self.member.state), *self.servers().values()) if p]
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if not until(lambda: not any(os.path.exists(f"/proc/{p}") for p in pids), 10, 0.01):
            raise RuntimeError(f"processes of member {self.member.number} do not die: {pids}")
        with open(self.account, "a") as f:
            f.write(f"{time.monotonic_ns() // 1000} gone\n")
        self.was_fenced()


def account_of(hosts):
    account = Account()
    for host in hosts:
        account.read(host.member.number, host.text())
    return account


class HostFaults(Faults):
    """Carries out a schedule of HOST_KINDS; 'hosts' are those of the pool, in its order."""

    def __init__(self, pool, plan, hosts, chance):
        super().__init__(pool, plan)
        self.hosts, self.chance = hosts, chance
        self.up_at = {}  # machines that were reset
        self.hindered = []  # starts that were begun before the last fault had ended
        self.resets = 0

    def pause(self, until_when, stop):
        while time.monotonic() < until_when and not (stop and stop()):
            self.supervise()
            time.sleep(max(0.0, min(POLL, until_when - time.monotonic())))

    def supervise(self):
        for host in self.hosts:
            i = host.member.number
            if host.was_fenced() or self._has_ended_itself(host.member):
                self._reset(host)
            if i in self.up_at and time.monotonic() >= self.up_at[i]:
                del self.up_at[i]
                if i in self.dead:
                    self._start(host.member)

    def _has_ended_itself(self, m):
        return m.number not in self.dead and m.process is not None and m.process.poll() == FENCED

    def _reset(self, host):
        m = host.member
        print(f"#   {time.monotonic():.3f} member {m.number}'s machine is reset by its watchdog", flush=True)
        self.resets += 1
        self._forget_start(m)
        host.reset()
        self.dead.add(m.number)
        self.up_at[m.number] = time.monotonic() + self.chance.uniform(*BOOT)

    def _forget_start(self, m):
        started = self.starting.pop(m.number, None)
        if started and not started.cancel():
            m.signal(signal.SIGKILL)
            started.result()

    def _ended(self, m):
        if m.process.poll() == FENCED:
            self._reset(self.hosts[m.number])
        else:
            super()._ended(m)

    def settled(self):
        """Every daemon answers."""
        self.supervise()
        for number, started in list(self.starting.items()):
            if started.done():
                del self.starting[number]
                error = started.result()
                if error and started in self.hindered:  # perhaps its disk was full just then
                    self.starting[number] = self.pool[number].launch()
                elif error:
                    self.failed.append(f"member {number} did not start again: {error}")
        return not self.up_at and not self.starting and all(m.running() for m in self.pool)

    def heal(self):
        """A host that starts waits for a majority: those that end themselves meanwhile have to come back too."""
        self.hindered = list(self.starting.values())
        self.calm()
        until(self.settled, HEALS, POLL)

    def begin_host(self, _, f):
        host = self.hosts[f.members[0]]
        self._kill(host.member)
        host.reset()

    end_host = Faults.end_kill

    def begin_lose(self, _, f):
        try:
            self.pool[f.members[0]].sim_call("control", command={"lose-answer": self.chance.choice(CALLS)})
        except OSError:
            pass  # it is down

    def end_lose(self, _, f):
        pass
