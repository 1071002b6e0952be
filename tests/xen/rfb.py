# SPDX-License-Identifier: LGPL-2.1-or-later
"""rfb.py -- a viewer: takes a picture of a VM's screen through xapid's /console."""

import collections
import socket
import struct

import daemon


class Picture:
    """Rows of pixels, each (red, green, blue)."""

    def __init__(self, width, height, name):
        self.width, self.height, self.name = width, height, name
        self.data = bytearray(3 * width * height)

    def put(self, x, y, width, height, raw):
        """A rectangle of 32-bit pixels, blue first."""
        for row in range(height):
            line = raw[4 * width * row:4 * width * (row + 1)]
            rgb = bytearray(3 * width)
            rgb[0::3], rgb[1::3], rgb[2::3] = line[2::4], line[1::4], line[0::4]
            at = 3 * ((y + row) * self.width + x)
            self.data[at:at + len(rgb)] = rgb

    def colours(self):
        """How often each colour is there."""
        return collections.Counter(zip(self.data[0::3], self.data[1::3], self.data[2::3]))

    def ground(self):
        return self.colours().most_common(1)[0][0]


class Viewer:
    """One connection to a console."""

    def __init__(self, host, console, session, seconds=60):
        plain = socket.create_connection(("127.0.0.1", host.tls_port), timeout=seconds)
        self.s = daemon._tls_context().wrap_socket(plain)
        self.s.sendall(f"CONNECT /console?ref={console}&session_id={session} HTTP/1.0\r\n\r\n".encode())
        self.head = b""
        while not self.head.endswith(b"\r\n\r\n"):
            self.head += self._take(1)
        if b" 200 " not in self.head.split(b"\r\n")[0]:
            raise RuntimeError(f"no console: {self.head!r}")
        self._greet()

    def _take(self, n):
        data = b""
        while len(data) < n:
            more = self.s.recv(n - len(data))
            if not more:
                raise RuntimeError(f"the console ends after {data[-80:]!r}")
            data += more
        return data

    def _greet(self):
        self.version = self._take(12)
        self.s.sendall(b"RFB 003.008\n")
        kinds = self._take(self._take(1)[0])
        if 1 not in kinds:
            raise RuntimeError(f"the console wants a password: {kinds!r}")
        self.s.sendall(b"\1")
        if self._take(4) != bytes(4):
            raise RuntimeError("the console refuses")
        self.s.sendall(b"\1")
        self.width, self.height = struct.unpack(">HH", self._take(4))
        self._take(16)
        self.name = self._take(struct.unpack(">I", self._take(4))[0]).decode(errors="replace")
        self.s.sendall(struct.pack(">BxxxBBBBHHHBBBxxx", 0, 32, 24, 0, 1, 255, 255, 255, 16, 8, 0))
        self.s.sendall(struct.pack(">BxH2i", 2, 2, 0, -223))  # raw, and changes of the size

    def picture(self):
        """The whole screen as it is."""
        for _attempt in range(5):
            self.s.sendall(struct.pack(">BB4H", 3, 0, 0, 0, self.width, self.height))
            whole = self._update()
            if whole:
                return whole
        raise RuntimeError("the screen changes its size again and again")

    def _update(self):
        """The next update of the screen; None where it only says that the size is another."""
        while True:
            kind = self._take(1)[0]
            if kind == 0:
                break
            if kind == 3:
                self._take(struct.unpack(">3xI", self._take(7))[0])
            elif kind != 2:
                raise RuntimeError(f"a message of kind {kind}")
        picture = Picture(self.width, self.height, self.name)
        for _ in range(struct.unpack(">xH", self._take(3))[0]):
            x, y, w, h, encoding = struct.unpack(">4Hi", self._take(12))
            if encoding == -223:
                self.width, self.height = w, h
                return None
            picture.put(x, y, w, h, self._take(4 * w * h))
        return picture

    def press(self, keysym):
        for down in (1, 0):
            self.s.sendall(struct.pack(">BBxxI", 4, down, keysym))

    def close(self):
        self.s.close()


def viewer(host, vm):
    """Looks at a VM's graphic console."""
    c = host.client()
    ref = c("VM.get_by_uuid", vm)
    consoles = [r for r in c("VM.get_consoles", ref) if c("console.get_protocol", r) == "rfb"]
    if not consoles:
        raise RuntimeError("the VM has no graphic console")
    return Viewer(host, consoles[0], c.session)
