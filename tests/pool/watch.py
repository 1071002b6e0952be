# SPDX-License-Identifier: LGPL-2.1-or-later
"""watch.py -- what runs where, seen by the simulators and not by the pool: no machine on two hosts at once, and who was fenced.

A machine ran on a host from its domain's beginning until the last look that found it there began.  Both are times of one clock, so two such spans of
one machine on two hosts that overlap are a fact, however slow the looks are.
"""

import os
import threading
import time

from daemon import Lost

PERIOD = 0.25


class Watch:
    """Looks at all members of a pool, on a thread of its own, until it is stopped."""

    def __init__(self, pool):
        self.pool = pool
        self.spans = {}  # uuid: {(member, beginning): last seen}; microseconds
        self.told = set()
        self.ended = threading.Event()
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    def _run(self):
        while not self.ended.wait(PERIOD):
            for m in self.pool:
                now, found = int(time.time() * 1e6), running(m)
                with self.lock:
                    for uuid, begin in found:
                        self.spans.setdefault(uuid, {})[(m.number, begin)] = max(now, begin)

    def twice(self):
        """New findings, as sentences: machines that ran on two hosts at once."""
        out = []
        with self.lock:
            for uuid, spans in self.spans.items():
                ordered = sorted((begin, end, member) for (member, begin), end in spans.items())
                for (b1, e1, m1), (b2, _, m2) in zip(ordered, ordered[1:]):
                    if m1 != m2 and b2 < e1 and (uuid, b1, b2) not in self.told:
                        self.told.add((uuid, b1, b2))
                        out.append(f"{uuid} began on member {m2} {(e1 - b2) / 1e6:.2f} s before it was last seen on member {m1}")
        return out


def running(member):
    """(uuid, beginning) of each domain of a member's simulator; nothing where there is none."""
    try:
        return [(d["uuid"], d["start_time"]) for d in member.domains().values()]
    except (OSError, Lost, ValueError, KeyError):
        return []


def _fence(member):
    return os.path.join(member.state, "sim", "fenced")


def forget_fence(member):
    if os.path.exists(_fence(member)):
        os.unlink(_fence(member))


def fenced(member):
    """When the member's watchdog has bitten, microseconds; None: it has not."""
    try:
        with open(_fence(member)) as f:
            return int(f.read())
    except (FileNotFoundError, ValueError):
        return None
