# SPDX-License-Identifier: LGPL-2.1-or-later
"""rfb.py -- a viewer: looks at a VM's screen through xapid's /console, and presses keys."""

import socket
import struct

import daemon


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

    def colour(self):
        """The colour in the middle of the screen: (red, green, blue).  A whole picture is a megabyte, which an emulated host
        takes a second to encrypt."""
        for _attempt in range(5):
            self.s.sendall(struct.pack(">BB4H", 3, 0, self.width // 2, self.height // 2, 1, 1))
            pixel = self._update()
            if pixel:
                return pixel[2], pixel[1], pixel[0]
        raise RuntimeError("the screen changes its size again and again")

    def _update(self):
        """A pixel of the next update of the screen; None where it only says that the size is another."""
        while True:
            kind = self._take(1)[0]
            if kind == 0:
                break
            if kind == 3:
                self._take(struct.unpack(">3xI", self._take(7))[0])
            elif kind != 2:
                raise RuntimeError(f"a message of kind {kind}")
        pixel = None
        for _ in range(struct.unpack(">xH", self._take(3))[0]):
            _x, _y, w, h, encoding = struct.unpack(">4Hi", self._take(12))
            if encoding == -223:
                self.width, self.height = w, h
                return None
            pixel = self._take(4 * w * h)[:4]
        return pixel

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
