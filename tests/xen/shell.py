# SPDX-License-Identifier: LGPL-2.1-or-later
"""shell.py -- a guest's shell, typed into over the API's console: what a guest of the lab without a disk sees of itself.

Such a guest has a shell on its console beside what counts there.  What a command prints is found between two marks, which
the echo of what was typed does not have; the ticks in between are taken out.
"""

import re
import time

XS_WRITE = r"\013" + r"\000" * 11 + "\\"  # the head of such a message, up to its length


class Shell:
    def __init__(self, guest):
        self.socket = guest.host.open_console(guest.vm)
        self.socket.settimeout(5)
        self.n, self.text = 0, ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def says(self, pattern, seconds=120):
        """What matches in what is said from now on; what comes after it is kept."""
        end = time.monotonic() + seconds
        while True:
            found = re.search(pattern, self.text, re.S)
            if found:
                self.text = self.text[found.end():]
                return found
            if time.monotonic() > end:
                raise RuntimeError(f"the guest does not say {pattern!r}: {self.text[-600:]!r}")
            try:
                more = self.socket.recv(65536)
            except TimeoutError:
                continue
            if not more:
                raise RuntimeError(f"the console ended: {self.text[-600:]!r}")
            self.text += more.decode(errors="replace")

    def send(self, line):
        self.socket.sendall(line.encode() + b"\n")

    def run(self, command, seconds=120):
        """What the command prints; the shell takes a line of at most a thousand bytes."""
        self.n += 1
        self.send(f"echo '<'{self.n}; {command}; echo {self.n}'>'")
        said = self.says(rf"<{self.n}\r*\n(.*?){self.n}>", seconds)[1]
        return re.sub(r"TICK \d+\r*\n", "", said).replace("\r", "").strip()

    def store(self, pairs):
        """Writes keys of the guest's own part of xenstore, as an agent does: a message of xenstore's for its kernel."""
        self.run(f'xs() {{ printf "{XS_WRITE}\\$(printf %03o $((${{#1}} + 1 + ${{#2}})))\\000\\000\\000$1\\000$2" > /dev/xen/xenbus; }}')
        return [self.run(f"xs {key} '{value}'") for key, value in pairs.items()]
