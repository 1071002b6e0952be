# SPDX-License-Identifier: LGPL-2.1-or-later
"""account.py -- what ran where and when, by the simulators' own account (xapid/hypervisor/sim/account.c), and what can be said about it.

Lines of all hosts have one clock.  The test adds "gone" where it has killed a simulator: with it ended whatever ran there.  Judged are
times: two that run one VM, or have one disk open for writing, at the same moment, however short; and disks that somebody was refused
because another one had them.
"""

import os


class Span:
    """From begin to end (None: still) on a host; lost: it ended with the host, not by anybody's wish."""

    def __init__(self, host, begin):
        self.host, self.begin, self.end, self.lost = host, begin, None, False

    def __str__(self):
        end = "now" if self.end is None else f"{self.end / 1e6:.3f}"
        return f"on {self.host} from {self.begin / 1e6:.3f} to {end}{' (lost with its host)' if self.lost else ''}"


def disk_of(path):
    """The disk, however it is reached: an image, or what a host's disk server shows."""
    folder, name = os.path.split(path)
    return os.path.basename(folder) if name == "disk" else name.split(".")[0]


class Account:
    """Of several hosts: {what: [Span]} of VMs that run and of disks open for writing."""

    def __init__(self):
        self.runs, self.writers = {}, {}
        self.faults = []

    def read(self, host, text):
        """All that one host has written down."""
        runs, disks, fenced = {}, {}, False  # those that are open
        for line in text.splitlines():
            at, event, *words = line.split(None, 4)
            at = int(at)
            if event == "run":
                runs[words[0]] = self._begin(self.runs, words[0], host, at)
            elif event == "rest" and words[0] in runs:
                self._end(runs.pop(words[0]), at, fenced)
            elif event == "open" and words[1] == "rw":
                disks[(words[0], words[2])] = self._begin(self.writers, disk_of(words[2]), host, at)
            elif event == "close" and (words[0], words[2]) in disks:
                self._end(disks.pop((words[0], words[2])), at, fenced)
            elif event == "refused":
                self.faults.append(f"{at / 1e6:.3f}: host {host} wants to open a disk that somebody else has: {words[2]}")
            elif event == "fenced":
                fenced = True
            elif event in ("gone", "begin"):
                if event == "begin" and runs:
                    self.faults.append(f"{at / 1e6:.3f}: the simulator of host {host} ended by itself before")
                for span in (*runs.values(), *disks.values()):
                    self._end(span, at, True)
                runs, disks, fenced = {}, {}, False
            if fenced and event not in ("fenced", "rest", "close"):
                fenced = False
        return self

    @staticmethod
    def _begin(table, what, host, at):
        span = Span(host, at)
        table.setdefault(what, []).append(span)
        return span

    @staticmethod
    def _end(span, at, lost):
        span.end, span.lost = at, lost

    def at_once(self):
        """Faults: whatever two hosts had at the same moment."""
        out = []
        for title, table in (("runs VM", self.runs), ("writes disk", self.writers)):
            for what, spans in table.items():
                last = None
                for span in sorted(spans, key=lambda s: s.begin):
                    if last and (last.end is None or span.begin < last.end):
                        out.append(f"more than one host {title} {what}: {last}, and {span}")
                    if not last or span.end is None or (last.end is not None and span.end > last.end):
                        last = span
        return out

    def where(self, what):
        """Hosts on which a VM runs now."""
        return [s.host for s in self.runs.get(what, ()) if s.end is None]

    def lost_between(self, what, begin, end):
        """Whether a VM was lost with its host, between two moments."""
        return any(s.lost and begin <= s.end <= end for s in self.runs.get(what, ()))
