#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""thin_xe.py [-s SERVER] [-p PORT] [-u USER] [-pw PASSWORD] COMMAND [NAME=VALUE...] -- an xe that knows no command.

It behaves as XenServer's xe does and shares nothing with ours: it posts its words to /cli and does what the server then asks of it: prints, asks,
sends and stores files, over connections of its own, and ends with the exit code it is told.  -s may be a path: a Unix socket.  Only files that
were named among the words are touched.
"""

import os
import re
import shutil
import socket
import ssl
import struct
import sys

MAGIC = b"XenSource thin CLI protocol"
PRINT, LOAD, PROMPT, EXIT, OK, FAILED, CHUNK, END, COMMAND, RESPONSE, BLOB = 0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11
HTTP_GET, HTTP_PUT, ERROR, DEBUG, PRINT_STDERR, HTTP_CONNECT, WAIT = 12, 13, 14, 15, 16, 17, 18


class Broken(Exception):
    """The server does not keep to the protocol, or has gone."""


def open_server(server, port, plain=False):
    if server.startswith("/"):
        s = socket.socket(socket.AF_UNIX)
        s.connect(server)
        return s
    s = socket.create_connection((server, port), timeout=600)
    if plain:
        return s
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(s)


class Thin:
    """One command.  'out' and 'err' take bytes, 'ask' gives a line."""

    def __init__(self, server, port, words, out=None, err=None, ask=None, plain=False, separator="\n"):
        self.server, self.port, self.plain = server, port, plain
        self.permitted = [w.split("=", 1)[1] for w in words if "=" in w]
        self.out = out or (lambda b: (sys.stdout.buffer.write(b), sys.stdout.buffer.flush()))
        self.err = err or (lambda b: (sys.stderr.buffer.write(b), sys.stderr.buffer.flush()))
        self.ask = ask or (lambda: sys.stdin.buffer.readline().rstrip(b"\n"))
        self.code = None
        self.pending = b""
        self.socket = open_server(server, port, plain)
        body = separator.join(words).encode("utf-8", "surrogateescape")
        self.socket.sendall(b"POST /cli HTTP/1.0\r\nUser-agent: xe-cli/Unix/0.2\r\ncontent-length: %d\r\n\r\n" % len(body) + body)

    # -- bytes --

    def exactly(self, n):
        while len(self.pending) < n:
            more = self.socket.recv(65536)
            if not more:
                raise Broken("the connection ended")
            self.pending += more
        data, self.pending = self.pending[:n], self.pending[n:]
        return data

    def number(self):
        return struct.unpack(">i", self.exactly(4))[0]

    def frame(self):
        return self.exactly(self.number())

    def send(self, *numbers):
        payload = struct.pack(f">{len(numbers)}i", *numbers)
        self.socket.sendall(struct.pack(">i", len(payload)) + payload)

    # -- the conversation --

    def greet(self):
        seen = self.exactly(4)
        if seen == b"HTTP":
            raise Broken(seen + self.pending + self.socket.recv(4096))
        if seen + self.exactly(len(MAGIC) - 4) != MAGIC:
            raise Broken("another protocol")
        major, minor = self.number(), self.number()
        if major != 0:
            raise Broken(f"protocol version {major}.{minor}")
        self.socket.sendall(MAGIC + struct.pack(">ii", 0, 2))

    def run(self):
        """The exit code."""
        self.greet()
        while self.code is None:
            self.step()
        self.socket.close()
        return self.code

    def step(self):
        f = Frame(self.frame())
        if f.number() != COMMAND:
            raise Broken("no command")
        command = f.number()
        if command == PRINT:
            self.out(f.text() + b"\n")
        elif command == PRINT_STDERR:
            self.err(f.text())
        elif command == DEBUG:
            f.text()
        elif command == PROMPT:
            line = self.ask()
            self.send(BLOB, CHUNK, len(line))
            self.socket.sendall(line)
            self.send(BLOB, END)
        elif command == LOAD:
            self.load(f.text().decode())
        elif command == HTTP_GET:
            self.attempt(self.get, f.text().decode(), f.text().decode())
        elif command == HTTP_PUT:
            self.attempt(self.put, f.text().decode(), f.text().decode())
        elif command == HTTP_CONNECT:
            self.attempt(self.connect, None, f.text().decode())
        elif command == EXIT:
            self.code = f.number()
        elif command == ERROR:
            code = f.text()
            params = [f.text() for _ in range(f.number())]
            self.err(b"Error code: " + code + b"\nError params: " + b", ".join(params) + b"\n")
        else:
            raise Broken(f"command {command}")
        f.end()

    def permit(self, name):
        if not any(name.startswith(p) for p in self.permitted):
            raise Broken(f"the server asks for {name!r}, which nobody named")

    # -- files --

    def load(self, name):
        self.permit(name)
        try:
            with open(name, "rb") as f:
                data = f.read()
        except OSError:
            self.send(RESPONSE, FAILED)
            return
        self.send(RESPONSE, OK)
        self.send(BLOB, CHUNK, len(data))
        try:
            self.socket.sendall(data)
            self.send(BLOB, END)
        except OSError:
            pass  # it has had enough, and may have said why

    def attempt(self, transfer, name, path):
        """A failure of ours is told by us; of one of the server's the server knows."""
        if name:
            self.permit(name)
        try:
            self.send(RESPONSE, WAIT)
            transfer(name, path)
        except FileExistsError:
            self.failed(b"the file already exists")
        except FileNotFoundError:
            self.failed(f"file '{name}' does not exist".encode())
        except (OSError, Broken):
            self.send(RESPONSE, FAILED)
        else:
            self.send(RESPONSE, OK)

    def failed(self, why):
        self.send(RESPONSE, FAILED)
        self.err(b"Operation failed. Error: " + why + b"\n")
        self.code = 1

    def http(self, head):
        s = open_server(self.server, self.port, self.plain)
        s.sendall(head.encode() + b"\r\n\r\n")
        f = s.makefile("rb")
        status = int(f.readline().split()[1])
        while f.readline().strip():
            pass
        if status != 200:
            s.close()
            raise Broken(f"HTTP {status}")
        return s, f

    def get(self, name, path):
        s, f = self.http(f"GET {path} HTTP/1.0")
        with s, f:
            if name:
                with open(name, "xb") as out:
                    shutil.copyfileobj(f, out, 65536)
            else:
                while data := f.read(65536):
                    self.out(data)

    def put(self, name, path):
        with open(name, "rb") as data:
            s, f = self.http(f"PUT {path} HTTP/1.0\r\nContent-Length: {os.path.getsize(name)}")
            with s, f:
                shutil.copyfileobj(data, s.makefile("wb"), 65536)

    def connect(self, _name, path):
        s, f = self.http(f"CONNECT {path} HTTP/1.0")
        with s, f:
            while data := f.read1(4096):
                self.out(data)


class Frame:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        if n < 0 or self.at + n > len(self.data):
            raise Broken("a frame that is too short")
        self.at += n
        return self.data[self.at - n:self.at]

    def number(self):
        return struct.unpack(">i", self.take(4))[0]

    def text(self):
        return self.take(self.number())

    def end(self):
        if self.at != len(self.data):
            raise Broken("a frame that is too long")


SWITCHES = {"-s": "server", "-h": "server", "-p": "port", "-u": "username", "-pw": "password"}


def words_of(argv):
    """The words to send, and what is meant for this program."""
    own, words, i = {"server": "/var/lib/xcp/xapi", "port": "443", "username": "root", "password": "null"}, [], 0
    while i < len(argv):
        name, eq, value = argv[i].partition("=")
        if argv[i] in SWITCHES and i + 1 < len(argv):
            own[SWITCHES[argv[i]]] = argv[i + 1]
            i += 1
        elif eq and name in own:
            own[name] = value
        else:
            words.append(argv[i])
        i += 1
    return words + [f"username={own['username']}", f"password={own['password']}"], own


def main():
    words, own = words_of(sys.argv[1:])
    if re.fullmatch(r"username=.*", words[0]):
        print("Usage: thin_xe.py [-s server] [-p port] [-u user] [-pw password] command ...", file=sys.stderr)
        sys.exit(1)
    try:
        sys.exit(Thin(own["server"], int(own["port"]), words).run())
    except (Broken, OSError) as e:
        print(f"Lost connection to the server: {e}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
