# SPDX-License-Identifier: LGPL-2.1-or-later
"""fds.py -- which open files processes have in common, and what the witness (witness.c) wrote down.

Two descriptors are the same open file where the kernel says so (kcmp): both ends of a pipe, or a file opened twice, are not.
"""

import ctypes
import os
import re

KCMP = {"x86_64": 312, "aarch64": 272}.get(os.uname().machine)
KCMP_FILE = 0
ENOENT, ESRCH, EBADF = 2, 3, 9

_libc = ctypes.CDLL(None, use_errno=True)


def fds(pid):
    """{descriptor: where it leads}"""
    out = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            out[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
        except FileNotFoundError:
            pass
    return out


def _same_open_file(one, fd_one, other, fd_other):
    result = _libc.syscall(KCMP, ctypes.c_int(one), ctypes.c_int(other), ctypes.c_int(KCMP_FILE), ctypes.c_ulong(fd_one),
                           ctypes.c_ulong(fd_other))
    if result < 0 and ctypes.get_errno() not in (EBADF, ESRCH, ENOENT):  # closed or ended meanwhile
        raise OSError(ctypes.get_errno(), f"kcmp: {os.strerror(ctypes.get_errno())}")
    return result == 0


def inherited(pid, other):
    """What process 'pid' has of the open files of 'other', as lines of text."""
    theirs = fds(other)
    return [f"{name(pid)} has {name(other)}'s descriptor {b} as {a}: {target}" for a, target in fds(pid).items()
            for b in theirs if _same_open_file(pid, a, other, b)]


def reopened(pid, other):
    """What 'pid' has opened by itself, but belongs to 'other': regular files and sockets with the same inode."""
    def inodes(p):
        out = {}
        for fd, target in fds(p).items():
            try:
                st = os.stat(f"/proc/{p}/fd/{fd}")
            except OSError:
                continue
            if not target.startswith(("anon_inode:", "pipe:", "/dev/", "/memfd:")):
                out[(st.st_dev, st.st_ino)] = f"{fd} ({target})"
        return out
    mine, theirs = inodes(pid), inodes(other)
    return [f"{name(pid)} has open, as {mine[i]}, what {name(other)} has as {theirs[i]}" for i in mine if i in theirs]


def name(pid):
    try:
        with open(f"/proc/{pid}/comm") as f:
            return f"{f.read().strip()}[{pid}]"
    except OSError:
        return f"[{pid}]"


def identity(pid):
    """(pid, start time): the same process, not merely the same number; None where there is none."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            words = f.read().rpartition(")")[2].split()
    except OSError:
        return None
    return (pid, words[19]) if words[0] not in "ZX" else None


def descendants(pid):
    """Its children, their children, and so on."""
    parents = {}
    for p in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{p}/stat") as f:
                parents.setdefault(int(f.read().rpartition(")")[2].split()[1]), []).append(int(p))
        except OSError:
            pass
    out, todo = [], [pid]
    while todo:
        more = parents.get(todo.pop(), [])
        out += more
        todo += more
    return out


class Start:
    """One line of the witness: a program that was started, and with what."""

    def __init__(self, line):
        words = line.split()
        self.line, self.program, self.whole = line.strip(), words[0], words[-1] == "end"
        self.parent_has = int(words[1].partition("=")[2])
        self.fds = {int(fd): target for fd, target in re.findall(r" (\d+)=(\S*)", line)}

    def faults(self):
        """What is not as it should be; a program may be passed one listening socket as descriptor 3 (qemu-nbd).

        The ends of pipes that are made for it, and that socket, the daemon has still open when it starts the program.
        """
        passed = {3} if self.program == "qemu-nbd" else set()
        own = {0, 1, 2} | passed
        out = [f"{what}:{fd}={other}" for what, fd, other in re.findall(r" (SHARED|UNKNOWN):(\d+)=(\S+)", self.line) if int(fd) not in own]
        out += [f"{fd} ({target}) is open" for fd, target in self.fds.items() if fd not in own]
        out += [f"{fd} is {target}" for fd, target in self.fds.items() if fd in (0, 1, 2) and not re.match(r"/dev/null$|pipe:", target)]
        out += [f"{fd} is {self.fds.get(fd)}, not a socket" for fd in passed if not self.fds.get(fd, "").startswith("socket:")]
        return [f"{self.program}: {f}" for f in out] if self.whole else [f"{self.program}: the line is cut off"]


def starts(log):
    try:
        with open(log) as f:
            return [Start(line) for line in f]
    except FileNotFoundError:
        return []
