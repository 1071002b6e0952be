# SPDX-License-Identifier: LGPL-2.1-or-later
"""net.py -- hosts as network namespaces on one bridge, and what happens to their wires.

Each member has a namespace with a device eth0; the bridge is in one more, the hub.  Names begin with "xp" and the number of the test's
process; what a dead process has left is removed when the next test starts.  Frames are dropped on the bridge (nftables), by sender and
receiver, always or by chance.  A member with a relay (relay.c) hangs on TAP devices instead, and its wire can be slow, and lossy one way.
"""

import atexit
import os
import re
import signal
import subprocess

from daemon import program

NET = "10.213.0."
PORT = 7000
CGROUPS = "/sys/fs/cgroup/blkio"
OWN = re.compile(r"xp(\d+)-")


def prefix():
    return f"xp{os.getpid()}-"


def run(*words, text=None, check=True):
    done = subprocess.run(words, input=text, capture_output=True, text=True)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip() or done.returncode}\n{text or ''}")
    return done.stdout


def ip_batch(lines, namespace=None):
    run("ip", *(["-n", namespace] if namespace else []), "-batch", "-", text="\n".join(lines) + "\n")


def _left_by_dead(text):
    """True of a name made by a test whose process is gone; this process counts as gone where it says so."""
    found = OWN.search(text)
    return bool(found) and not os.path.exists(f"/proc/{found[1]}")


def reap(mine=False):
    """Removes what dead tests have left, or (mine) what this one has made: mounts, cgroups, namespaces with their processes."""
    def ours(text):
        return prefix() in text if mine else _left_by_dead(text)

    for name in [line.split()[0] for line in run("ip", "netns", "list").splitlines() if line]:
        if ours(name):
            for pid in run("ip", "netns", "pids", name, check=False).split():
                try:
                    os.kill(int(pid), signal.SIGKILL)
                except ProcessLookupError:
                    pass
            run("ip", "netns", "del", name, check=False)
    with open("/proc/mounts") as f:
        mounts = [line.split()[1] for line in f]
    for path in mounts:
        if ours(path):
            run("umount", "-l", path, check=False)
    if os.path.isdir(CGROUPS):
        for name in os.listdir(CGROUPS):
            if ours(name):
                try:
                    os.rmdir(os.path.join(CGROUPS, name))
                except OSError:
                    pass


class Relay:
    """The wire of one member."""

    def __init__(self, member_netns, hub, device, seed):
        self.process = subprocess.Popen([program("pool-relay"), member_netns, "eth0", hub, device, str(seed)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "ready\n":
            raise RuntimeError("the relay did not start")

    def set(self, direction, delay=0, jitter=0, loss=0):
        """Seconds, seconds, a share of 1."""
        self.process.stdin.write(f"{direction} {int(delay * 1e6)} {int(jitter * 1e6)} {int(loss * 1e6)}\n")
        self.process.stdin.flush()

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)


class Network:
    """n members, numbered from 0; relays: the numbers of those with one."""

    def __init__(self, n, relays=(), seed=1):
        reap()
        self.n, self.hub, self.rules, self.relays = n, prefix() + "hub", {}, {}
        self.names = [f"{prefix()}{i}" for i in range(n)]
        atexit.register(self.close)
        ip_batch([f"netns add {name}" for name in (self.hub, *self.names)])
        ip_batch(["link set lo up", "link add br0 type bridge", f"address add {NET}1/24 dev br0", "link set br0 up"], self.hub)
        for i, name in enumerate(self.names):
            if i in relays:
                self.relays[i] = Relay(name, self.hub, f"m{i}", seed + i)
            else:
                ip_batch([f"link add m{i} type veth peer name eth0 netns {name}"], self.hub)
            ip_batch([f"link set m{i} master br0", f"link set m{i} up"], self.hub)
            ip_batch(["link set lo up", f"address add {self.address(i)}/24 dev eth0", "link set eth0 up"], name)

    def address(self, i):
        return f"{NET}{10 + i}"

    def inside(self, i):
        """Words to be put before a command that shall run on member i (None: in the hub)."""
        return ["nsenter", f"--net=/run/netns/{self.hub if i is None else self.names[i]}", "--"]

    # -- faults; a name for each, to end it --

    def drop(self, name, pairs, chance=1.0):
        """Drops what goes from a to b, for each (a, b) of pairs; with that chance."""
        self.rules[name] = (list(pairs), chance)
        self._apply()

    def heal(self, name):
        self.rules.pop(name, None)
        self._apply()

    def heal_all(self):
        self.rules.clear()
        self._apply()
        for relay in self.relays.values():
            relay.set("in")
            relay.set("out")

    def isolate(self, name, i):
        """Cuts member i off, both ways."""
        self.drop(name, [p for j in range(self.n) if j != i for p in ((i, j), (j, i))])

    def _apply(self):
        lines = ["add table bridge xp", "delete table bridge xp", "table bridge xp {", " chain wire {",
                 "  type filter hook forward priority 0; policy accept;"]
        for pairs, chance in self.rules.values():
            dice = "" if chance >= 1 else f" numgen random mod 1000 < {round(chance * 1000)}"
            lines += [f"  ip saddr {self.address(a)} ip daddr {self.address(b)}{dice} drop" for a, b in pairs]
        run(*self.inside(None), "nft", "-f", "-", text="\n".join(lines + [" }", "}"]) + "\n")

    def close(self):
        if not self.names:
            return
        for relay in self.relays.values():
            relay.close()
        self.names = []
        atexit.unregister(self.close)
        reap(mine=True)


class Disk:
    """A small ext4 of its own, which can be filled and slowed down."""

    def __init__(self, directory, number, size=320 << 20):
        self.image = os.path.join(directory, "disk.img")
        self.mount = os.path.join(directory, f"{prefix()}disk{number}")
        self.cgroup = os.path.join(CGROUPS, f"{prefix()}{number}")
        self.ballast = os.path.join(self.mount, "ballast")
        with open(self.image, "wb") as f:
            f.truncate(size)
        run("mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", self.image)
        os.mkdir(self.mount)
        run("mount", "-o", "loop", self.image, self.mount)
        os.makedirs(self.cgroup, exist_ok=True)
        device = os.stat(self.mount).st_dev
        self.device = f"{os.major(device)}:{os.minor(device)}"

    def wrapper(self):
        """Words that put a command into the group that can be slowed down."""
        return ["sh", "-c", f'echo $$ >{self.cgroup}/cgroup.procs && exec "$@"', "sh"]

    def slow(self, bytes_per_second):
        """0: as fast as it is."""
        with open(os.path.join(self.cgroup, "blkio.throttle.write_bps_device"), "w") as f:
            f.write(f"{self.device} {bytes_per_second}")

    def fill(self):
        with open(self.ballast, "ab", buffering=0) as f:
            for size in (1 << 20, 1 << 12, 1):
                try:
                    while f.write(b"\0" * size):
                        pass
                except OSError:
                    pass

    def free(self):
        if os.path.exists(self.ballast):
            os.unlink(self.ballast)

    def close(self):
        run("umount", "-l", self.mount, check=False)
        for _ in range(50):
            try:
                os.rmdir(self.cgroup)
                break
            except FileNotFoundError:
                break
            except OSError:
                run("sleep", "0.1")
