# SPDX-License-Identifier: LGPL-2.1-or-later
"""volatile_disk.py -- an NBD server that is a disk with a write cache: what was not flushed is lost with the power.

Writes stay in memory, sector by sector, until a flush.  cut() is the end of the power: of what was not flushed some sectors
reach the disk and some do not, in no order.  Serves one connection; speaks the part of the protocol that qemu needs.
"""

import os
import random
import socket
import struct
import threading

SECTOR = 512
MAGIC, OPTION_MAGIC, REPLY_MAGIC = b"NBDMAGIC", b"IHAVEOPT", 0x3E889045565A9
EXPORT_NAME, ABORT = 1, 2
ERR_UNSUPPORTED = (1 << 31) | 1
HAS_FLAGS, SEND_FLUSH, SEND_FUA = 1, 4, 8
READ, WRITE, DISCONNECT, FLUSH = 0, 1, 2, 3
FUA = 1


class VolatileDisk:
    def __init__(self, path, socket_path, seed):
        self.file = os.open(path, os.O_RDWR)
        self.size = os.fstat(self.file).st_size
        self.random = random.Random(seed)
        self.cache = {}
        self.flushes = 0
        self.lock = threading.Lock()
        self.off = False
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(socket_path)
        self.listener.listen(1)
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def cut(self):
        """The power goes.  Returns how many sectors were lost, and how many were not flushed but kept."""
        with self.lock:
            self.off = True
            kept = [s for s in self.cache if self.random.random() < 0.5]
            for sector in kept:
                os.pwrite(self.file, self.cache[sector], sector * SECTOR)
            lost = len(self.cache) - len(kept)
            self.cache = {}
        self.listener.close()
        self.thread.join(10)
        os.close(self.file)
        return lost, len(kept)

    # -- the protocol --

    def _serve(self):
        try:
            connection, _ = self.listener.accept()
            with connection:
                if self._negotiate(connection):
                    while self._request(connection):
                        pass
        except OSError:
            pass

    def _negotiate(self, s):
        s.sendall(MAGIC + OPTION_MAGIC + struct.pack(">H", 3))
        (flags,) = struct.unpack(">I", _exactly(s, 4))
        while True:
            magic, option, length = struct.unpack(">8sII", _exactly(s, 16))
            _exactly(s, length)
            if magic != OPTION_MAGIC or option == ABORT:
                return False
            if option == EXPORT_NAME:
                s.sendall(struct.pack(">QH", self.size, HAS_FLAGS | SEND_FLUSH | SEND_FUA))
                if not flags & 2:
                    s.sendall(bytes(124))
                return True
            s.sendall(struct.pack(">QIII", REPLY_MAGIC, option, ERR_UNSUPPORTED, 0))

    def _request(self, s):
        _, flags, kind, handle, offset, length = struct.unpack(">IHHQQI", _exactly(s, 28))
        data = b""
        if kind == DISCONNECT:
            return False
        if kind == WRITE:
            self._write(offset, _exactly(s, length), bool(flags & FUA))
        elif kind == FLUSH:
            self._flush()
        elif kind == READ:
            data = self._read(offset, length)
        s.sendall(struct.pack(">IIQ", 0x67446698, 0, handle) + data)
        return True

    def _write(self, offset, data, through):
        with self.lock:
            if self.off:
                raise OSError("no power")
            for i in range(0, len(data), SECTOR):
                sector = (offset + i) // SECTOR
                if through:
                    self.cache.pop(sector, None)
                else:
                    self.cache[sector] = data[i:i + SECTOR]
            if through:
                os.pwrite(self.file, data, offset)

    def _flush(self):
        with self.lock:
            if self.off:
                raise OSError("no power")
            for sector, data in self.cache.items():
                os.pwrite(self.file, data, sector * SECTOR)
            self.cache = {}
            self.flushes += 1

    def _read(self, offset, length):
        with self.lock:
            data = bytearray(os.pread(self.file, length, offset))
            for i in range(0, length, SECTOR):
                cached = self.cache.get((offset + i) // SECTOR)
                if cached:
                    data[i:i + SECTOR] = cached
        return bytes(data)


def _exactly(s, n):
    data = bytearray()
    while len(data) < n:
        more = s.recv(n - len(data))
        if not more:
            raise OSError("closed")
        data += more
    return bytes(data)
