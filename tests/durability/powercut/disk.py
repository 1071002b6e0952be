#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""disk.py IMAGE SOCKET [--lie] -- a disk with a volatile write cache, served over NBD, that can lose power.

What is written goes into the cache, sector by sector; a flush (or a write with FUA) brings it to the image file.  SIGTERM is the
power cut: of what was not flushed, a random part of the blocks of 4 KiB reaches the image, each in a random one of its versions, and
the rest is gone.  A block is never torn (ext4 refuses a journal whose commit block is; disks of today do not do it either); nothing else
is promised, least of all an order.  With --lie a flush is answered and does
nothing, as bad disks do: a test on such a disk must find losses, or it would find none elsewhere.  One client, one connection.
"""

import os
import random
import signal
import socket
import struct
import sys

SECTOR = 512
BLOCK = 4096 // SECTOR
OPTION_MAGIC = 0x49484156454F5054
OPTION_REPLY_MAGIC = 0x3E889045565A9
REQUEST_MAGIC, REPLY_MAGIC = 0x25609513, 0x67446698
OPT_EXPORT_NAME, OPT_ABORT, OPT_INFO, OPT_GO = 1, 2, 6, 7
REP_ACK, REP_INFO, REP_UNSUPPORTED = 1, 3, (1 << 31) | 1
READ, WRITE, DISCONNECT, FLUSH = 0, 1, 2, 3
FLAG_FUA = 1
FLAGS = 1 | 4 | 8  # has flags, flush, FUA
EIO, EINVAL = 5, 22
LONGEST = 32 << 20


class Disk:
    def __init__(self, path, lie):
        self.file = os.open(path, os.O_RDWR)
        self.size = os.fstat(self.file).st_size
        self.lie = lie
        self.cache = {}  # sector: its versions since it was last flushed, oldest first
        self.flushes = self.written = 0
        self.busy = self.ends = False

    def read(self, offset, length):
        data = bytearray(os.pread(self.file, length, offset))
        first = offset // SECTOR
        if self.cache:
            for i in range(length // SECTOR):
                versions = self.cache.get(first + i)
                if versions:
                    data[i * SECTOR:(i + 1) * SECTOR] = versions[-1]
        return data

    def write(self, offset, data):
        first = offset // SECTOR
        self.written += len(data)
        for i in range(len(data) // SECTOR):
            self.cache.setdefault(first + i, []).append(data[i * SECTOR:(i + 1) * SECTOR])

    def _settle(self, sectors):
        """Newest versions to the image, in runs."""
        run, start = [], None
        for s in sorted(sectors) + [None]:
            if run and (s is None or s != start + len(run)):
                os.pwrite(self.file, b"".join(run), start * SECTOR)
                run = []
            if s is not None:
                start = start if run else s
                run.append(self.cache[s][-1])
        for s in sectors:
            del self.cache[s]

    def flush(self):
        self.flushes += 1
        if not self.lie:
            self._settle(list(self.cache))

    def force(self, offset, length):
        if not self.lie:
            self._settle([s for s in range(offset // SECTOR, (offset + length) // SECTOR) if s in self.cache])

    def cut(self, chance):
        """Power is gone."""
        share = chance.choice((0.0, 0.1, 0.5, 0.9))
        kept, blocks = 0, {}
        for sector in self.cache:
            blocks.setdefault(sector // BLOCK, []).append(sector)
        for sectors in blocks.values():
            if chance.random() >= share:
                continue
            age = chance.random()
            for sector in sectors:
                versions = self.cache[sector]
                os.pwrite(self.file, versions[int(age * len(versions))], sector * SECTOR)
            kept += len(sectors)
        print(f"cut: {len(self.cache)} sectors were not flushed, {kept} of them arrived; {self.flushes} flushes, "
              f"{self.written >> 10} KiB written", flush=True)


class Connection:
    def __init__(self, sock, disk):
        self.sock, self.disk = sock, disk

    def take(self, n):
        data = bytearray()
        while len(data) < n:
            more = self.sock.recv(n - len(data))
            if not more:
                raise EOFError
            data += more
        return bytes(data)

    def option_reply(self, option, kind, data=b""):
        self.sock.sendall(struct.pack(">QIII", OPTION_REPLY_MAGIC, option, kind, len(data)) + data)

    def handshake(self):
        """True once requests may follow."""
        self.sock.sendall(b"NBDMAGIC" + struct.pack(">QH", OPTION_MAGIC, 1 | 2))
        self.take(4)
        while True:
            magic, option, length = struct.unpack(">QII", self.take(16))
            if magic != OPTION_MAGIC or length > 4096:
                return False
            self.take(length)
            if option == OPT_EXPORT_NAME:
                self.sock.sendall(struct.pack(">QH", self.disk.size, FLAGS))
                return True
            if option in (OPT_INFO, OPT_GO):
                self.option_reply(option, REP_INFO, struct.pack(">HQH", 0, self.disk.size, FLAGS))
                self.option_reply(option, REP_INFO, struct.pack(">HIII", 3, SECTOR, 4096, LONGEST))
                self.option_reply(option, REP_ACK)
                if option == OPT_GO:
                    return True
            elif option == OPT_ABORT:
                self.option_reply(option, REP_ACK)
                return False
            else:
                self.option_reply(option, REP_UNSUPPORTED)

    def carry_out(self, *request):
        """(error, data to answer); the power does not go in the middle, which would tear blocks."""
        self.disk.busy = True
        answer = self.do(*request)
        self.disk.busy = False
        if self.disk.ends:
            os.kill(os.getpid(), signal.SIGTERM)
        return answer

    def do(self, flags, kind, offset, length, data):
        if kind == FLUSH:
            self.disk.flush()
            return 0, b""
        if kind not in (READ, WRITE) or offset % SECTOR or length % SECTOR or offset + length > self.disk.size:
            return EINVAL, b""
        if kind == READ:
            return 0, self.disk.read(offset, length)
        self.disk.write(offset, data)
        if flags & FLAG_FUA:
            self.disk.force(offset, length)
        return 0, b""

    def serve(self):
        while self.handshake():
            while True:
                magic, flags, kind, handle, offset, length = struct.unpack(">IHHQQI", self.take(28))
                if magic != REQUEST_MAGIC or kind == DISCONNECT or length > LONGEST:
                    return
                data = self.take(length) if kind == WRITE else b""
                error, answer = self.carry_out(flags, kind, offset, length, data)
                self.sock.sendall(struct.pack(">IIQ", REPLY_MAGIC, error, handle) + (answer if not error else b""))


def main():
    image, path = sys.argv[1:3]
    disk = Disk(image, "--lie" in sys.argv)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(4)

    def power_cut(*_):
        # An exception could be lost on its way, where an object is being torn down.
        if disk.busy:
            disk.ends = True
            return
        disk.cut(random.Random())
        os._exit(0)
    signal.signal(signal.SIGTERM, power_cut)
    print("ready", flush=True)
    while True:
        sock, _ = listener.accept()
        try:
            Connection(sock, disk).serve()
        except (EOFError, ConnectionError):
            pass


if __name__ == "__main__":
    main()
