# SPDX-License-Identifier: LGPL-2.1-or-later
"""transfer.py -- a disk's import that stops half way, so that what serves it can be looked at."""

import http.client
import socket

MIB = 1 << 20


class HalfImport:
    """PUT /import_raw_vdi over the Unix socket: half of the bytes are sent, the rest by finish()."""

    def __init__(self, path, session, vdi, size=16 * MIB):
        self.connection = http.client.HTTPConnection("localhost", timeout=120)
        self.connection.sock = socket.socket(socket.AF_UNIX)
        self.connection.sock.settimeout(120)
        self.connection.sock.connect(path)
        self.half = b"x" * (size // 2)
        self.connection.putrequest("PUT", f"/import_raw_vdi?session_id={session}&vdi={vdi}")
        self.connection.putheader("Content-Length", str(size))
        self.connection.endheaders()
        self.connection.send(self.half)

    def finish(self):
        """The HTTP status."""
        self.connection.send(self.half)
        status = self.connection.getresponse().status
        self.connection.close()
        return status
