# SPDX-License-Identifier: LGPL-2.1-or-later
"""members.py -- daemons that are a pool: each in its namespace, formed, asked, killed, compared.

    with Pool(3) as pool:
        pool.form()
        session = Session(pool)
        session.call(1, "VM.get_all")

A Session is one XenAPI session that may be used on any member.  Like Client it never sends a call twice.
"""

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from daemon import PASSWORDS, Daemon, Lost, XapiError, _UnixConnection, until  # noqa: E402
from net import PORT, Disk, Network  # noqa: E402

INTERNAL = "/internal/pool"
FORM_TIMEOUT = 60
STOP_TIMEOUT = 20


class Member(Daemon):
    """One daemon of a pool.  It dies with the thread that started it, so that all starting is done by one thread that lives long."""

    def __init__(self, pool, number, disk=False, args=(), name="xapid"):
        self.pool, self.number, self.disk = pool, number, None
        self.id = None
        super().__init__(start=False, name=name)
        if disk:
            self.disk = Disk(self.dir, number)
            self.state = os.path.join(self.disk.mount, "state")
        address = f"{pool.net.address(number)}:{PORT}"
        self.args = ["--listen", "0.0.0.0", "--pool-address", address, "--manual-members", *(["--joining"] if number else []), *args]
        self.wrapper = (self.disk.wrapper() if self.disk else []) + pool.net.inside(number)
        self.starter = ThreadPoolExecutor(1)

    def launch(self):
        """Starts it, without waiting; the future's result is the error that keeps it from starting, if there is one."""
        return self.starter.submit(self._launch)

    def _launch(self):
        try:
            self.start()
            return None
        except RuntimeError as e:
            return str(e)

    def stop(self):
        """As Daemon's; tells where one that does not end stands."""
        self.process.terminate()
        try:
            return self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            print(f"#   member {self.number} does not end:\n{stacks(self.pid)}", flush=True)
            return super().stop()

    def signal(self, number):
        if self.running():
            self.process.send_signal(number)

    def close(self):
        self.signal(signal.SIGCONT)
        if self.disk:
            self.disk.slow(0)
            self.disk.free()
        keep, mount = os.environ.get("XAPID_KEEP"), self.disk
        super().close()
        self.starter.shutdown()
        if mount:
            mount.close()
        if mount and not keep:
            shutil.rmtree(self.dir, ignore_errors=True)

    def internal(self, request=None, timeout=5):
        """GET, or POST of a request; Lost without an answer, XapiError of what it says."""
        connection = _UnixConnection(self.socket, timeout)
        try:
            connection.request("GET" if request is None else "POST", INTERNAL, None if request is None else json.dumps(request),
                               {"Content-Type": "application/json"})
            reply = connection.getresponse()
            data = reply.read()
            answer = json.loads(data) if data else {}
        except (OSError, http.client.HTTPException, ValueError) as e:
            raise Lost(f"{type(e).__name__}: {e}") from e
        finally:
            connection.close()
        if reply.status != 200 or "error" in answer:
            raise XapiError(["INTERNAL_POOL", str(answer.get("error", reply.status))])
        return answer

    def status(self, timeout=5):
        """None without an answer."""
        try:
            return self.internal(timeout=timeout)
        except (Lost, XapiError):
            return None


def stacks(pid):
    """Of all threads, where there is a gdb."""
    if not shutil.which("gdb"):
        return ""
    done = subprocess.run(["gdb", "-p", str(pid), "-batch", "-ex", "thread apply all backtrace 12"], capture_output=True, text=True)
    return "\n".join("#   " + s for s in done.stdout.splitlines() if s.startswith(("#", "Thread")))


class Pool:
    """Members 0 to n-1; relays, disks: the numbers of those with a relay, with a disk of their own."""

    def __init__(self, n, relays=(), disks=(), seed=1, args=(), name="xapid"):
        self.net = Network(n, relays, seed)
        self.members = []
        try:
            self.members = [Member(self, i, i in disks, args, name) for i in range(n)]
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for m in self.members:
            m.signal(signal.SIGCONT)
        self.net.heal_all()
        threads = [threading.Thread(target=m.close) for m in self.members]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.net.close()

    def __iter__(self):
        return iter(self.members)

    def __len__(self):
        return len(self.members)

    def __getitem__(self, i):
        return self.members[i]

    # -- forming --

    def form(self):
        """Starts all and makes them voters of one pool."""
        started = [m.launch() for m in self.members]
        self._started(started[0])
        first = self.wait_leader()
        first.id = first.status()["id"]
        for m in self.members[1:]:
            self.join(m, started[m.number])

    @staticmethod
    def _started(future):
        error = future.result()
        if error:
            raise RuntimeError(error)

    def join(self, member, started):
        """Makes a daemon that starts, and waits to be added, a voter; it answers calls after that only."""
        leader = self.wait_leader()
        mine = until(lambda: member.status() or started.done() and started.result(), FORM_TIMEOUT)
        if not isinstance(mine, dict):
            raise RuntimeError(f"member {member.number} does not answer on {INTERNAL}: {mine}\n{member.log_tail()}")
        member.id = mine["id"]
        self.ask(member, {"trust": leader.status()["address"]})
        self.ask(leader, {"add": {"id": member.id, "address": mine["address"]}})
        self.ask(leader, {"assign": {"id": member.id, "role": "standby"}})
        self.ask(leader, {"assign": {"id": member.id, "role": "voter"}}, 30)
        self._started(started)

    patience = FORM_TIMEOUT

    def ask(self, member, request, timeout=15):
        """POSTs a request until it is granted; a change that was made meanwhile counts."""
        end = time.monotonic() + self.patience
        while True:
            try:
                return member.internal(request, timeout)
            except (Lost, XapiError) as e:
                if self._is_done(request):
                    return {}
                if time.monotonic() > end:
                    raise RuntimeError(f"{request} on member {member.number}: {e}\n{member.log_tail()}") from e
                time.sleep(0.2)
                member = self.leader() or member if "trust" not in request else member

    def _is_done(self, request):
        leader = self.leader()
        members = {m["id"]: m for m in leader.status()["members"]} if leader else {}
        if "add" in request:
            return request["add"]["id"] in members
        if "assign" in request:
            return members.get(request["assign"]["id"], {}).get("role") == request["assign"]["role"]
        return False

    # -- who leads, who is alike --

    def running(self):
        return [m for m in self.members if m.running()]

    def leader(self):
        """The member that leads, of the latest term; None."""
        found = []
        for m in self.running():
            status = m.status(1)
            if status and status["leads"]:
                found.append((status["term"], m.number, m))
        return max(found)[2] if found else None

    def wait_leader(self, timeout=FORM_TIMEOUT):
        leader = until(self.leader, timeout, 0.02)
        if not leader:
            raise RuntimeError("nobody leads\n" + "\n".join(f"-- {m.number}: {m.status(1)}\n{m.log_tail(8)}" for m in self.members))
        return leader

    def transfer(self, to):
        """Asks whoever leads to hand over to a member; false where it could not be asked or refused."""
        leader = self.leader()
        if not leader or leader is to:
            return False
        try:
            leader.internal({"transfer": {"id": to.id}}, 10)
            return True
        except (Lost, XapiError):
            return False

    def digests(self):
        return [m.status() for m in self.members]

    def wait_equal(self, timeout=60):
        """None once all have the same revision and digest; else what they have."""
        def equal():
            found = self.digests()
            return all(found) and len({(s["revision"], s["digest"]) for s in found}) == 1
        return None if until(equal, timeout, 0.2) else self.digests()


class NotSent(Lost):
    """No connection: the call was certainly not carried out."""


class Session:
    """A session for one thread; it knows every member's connection."""

    def __init__(self, pool, timeout=6):
        self.pool, self.timeout = pool, timeout
        self.connections = {}
        self.ref = None
        self.serial = 0

    def login(self, i):
        self.ref = self.raw(i, "session.login_with_password", "root", PASSWORDS["root"], "2.23", "tests/pool")
        self.serial += 1

    def raw(self, i, method, *params, timeout=None):
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        connection = self._connection(i)
        try:
            connection.sock.settimeout(timeout or self.timeout)
            connection.request("POST", "/jsonrpc", body, {"Content-Type": "application/json"})
            reply = connection.getresponse()
            data = reply.read()
            answer = json.loads(data)
        except (OSError, http.client.HTTPException, ValueError) as e:
            self.drop(i)
            raise Lost(f"{type(e).__name__}: {e}") from e
        if reply.status != 200:
            raise Lost(f"HTTP {reply.status}")
        if "error" in answer:
            raise XapiError([answer["error"]["message"], *(answer["error"].get("data") or [])])
        return answer["result"]

    def _connection(self, i):
        connection = self.connections.get(i)
        if connection is None or connection.sock is None:
            connection = self.connections[i] = _UnixConnection(self.pool[i].socket, 2)
            try:
                connection.connect()
            except OSError as e:
                self.drop(i)
                raise NotSent(f"{type(e).__name__}: {e}") from e
        return connection

    def call(self, i, method, *params, timeout=None):
        return self.raw(i, method, self.ref, *params, timeout=timeout)

    def drop(self, i):
        connection = self.connections.pop(i, None)
        if connection:
            connection.close()

    def close(self):
        for i in list(self.connections):
            self.drop(i)
