# SPDX-License-Identifier: LGPL-2.1-or-later
"""web.py -- transfers over the daemon's Unix socket, as clients make them."""

import http.client
import socket
import urllib.parse

from daemon import Lost, XapiError


def _connection(daemon):
    c = http.client.HTTPConnection("localhost", timeout=120)
    c.sock = socket.socket(socket.AF_UNIX)
    c.sock.settimeout(120)
    c.sock.connect(daemon.socket)
    return c


def _target(client, path, query):
    return path + "?" + urllib.parse.urlencode({"session_id": client.session, **query})


def get(client, path, may_fail=False, **query):
    """(status, headers, body); the task, a new one, must succeed, or else the status say that it did not."""
    task = client("task.create", "test: get", "")
    c = _connection(client.daemon)
    try:
        c.request("GET", _target(client, path, {**query, "task_id": task}))
        reply = c.getresponse()
        data = reply.read()
    except (OSError, http.client.HTTPException) as e:
        raise Lost(f"{type(e).__name__}: {e}") from e
    finally:
        c.close()
    try:
        client.wait_task(task)
    except XapiError:
        if reply.status == 200 or not may_fail:
            raise
    return reply.status, dict(reply.getheaders()), data


class Upload:
    """A PUT in pieces: send(), then finish() for the task's result, or abandon()."""

    def __init__(self, client, path, length=None, headers=(), **query):
        self.client = client
        self.task = client("task.create", "test: put", "")
        self.c = _connection(client.daemon)
        self.sock = self.c.sock
        self.c.putrequest("PUT", _target(client, path, {**query, "task_id": self.task}))
        if length is not None:
            self.c.putheader("Content-Length", str(length))
        for name, value in headers:
            self.c.putheader(name, value)
        self.c.endheaders()

    def send(self, data):
        """False where the daemon has hung up."""
        try:
            self.c.send(data)
            return True
        except OSError:
            return False

    def status(self):
        """Of the answer's first line; the connection stays as it is."""
        line = b""
        while not line.endswith(b"\n"):
            line += self.sock.recv(1)
        return int(line.split()[1])

    def abandon(self):
        self.c.close()

    def finish(self):
        """The task's result as text; XapiError where it failed."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
            while self.sock.recv(65536):
                pass
        except OSError:
            pass
        result = self.client.wait_task(self.task)
        self.c.close()
        return result


def put(client, path, data, **query):
    upload = Upload(client, path, len(data), **query)
    upload.send(data)
    return upload.finish()
