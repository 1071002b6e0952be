# SPDX-License-Identifier: LGPL-2.1-or-later
"""daemon.py -- a xapid of its own for a test: started, asked, killed, started again, cleared away.

A Daemon lives in a temporary directory with its state, its password file and its simulator, on ports the
system picks.  Whatever ends the test program, the daemon goes (it dies with its parent), and close() ends the
simulator.  A Client is one connection and one session; it never sends a call twice.  XAPID_BUILD names the
build directory (build), XAPID_PROGRAM another daemon program.
"""

import atexit
import ctypes
import http.client
import json
import os
import re
import select
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import xmlrpc.client

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("XAPID_BUILD", os.path.join(TOP, "build")))
NULL = "OpaqueRef:NULL"
PASSWORDS = {"root": "a-root-password", "alice": "alice-password", "bob": "bob-password", "carol": "carol-password"}
START_TIMEOUT = 120
STOP_TIMEOUT = 60
PR_SET_PDEATHSIG = 1
# What sanitizers and a failed assertion write.
COMPLAINTS = re.compile(r"ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:|Assertion .* failed")

_libc = ctypes.CDLL(None)


def program(name):
    """The path of a program of the build, wherever in it it lies."""
    for folder, folders, names in os.walk(BUILD):
        folders[:] = [f for f in folders if not f.endswith(".p") and f not in ("meson-private", "xen-lab")]
        path = os.path.join(folder, name)
        if name in names and os.access(path, os.X_OK):
            return path
    sys.exit(f"not ok - {name} is not built: run ninja -C {BUILD}")


class XapiError(Exception):
    """A failure the server answered: its code and parameters."""

    def __init__(self, description):
        super().__init__(" ".join(str(d) for d in description))
        self.code = description[0]
        self.params = description[1:]


class Lost(Exception):
    """No answer: the call may or may not have been carried out."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def _tls_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _out(value):
    """Values as XenAPI wants them: 64-bit numbers are text."""
    if isinstance(value, bool) or value is None or isinstance(value, (str, float)):
        return value
    if isinstance(value, int):
        return str(value)
    if isinstance(value, dict):
        return {k: _out(v) for k, v in value.items()}
    return [_out(v) for v in value]


def _in(value):
    if isinstance(value, xmlrpc.client.DateTime):
        return value.value
    if isinstance(value, dict):
        return {k: _in(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_in(v) for v in value]
    return value


class Client:
    """client("VM.start", vm, False, False): a call with the session before the parameters."""

    def __init__(self, daemon, user="root", password=None, transport="unix", login=True, timeout=300):
        self.daemon, self.user, self.transport, self.timeout = daemon, user, transport, timeout
        self.password = PASSWORDS.get(user, "") if password is None else password
        self.connection = None
        self.session = None
        if login:
            self.login()

    def login(self):
        self.close()
        self.session = self.raw("session.login_with_password", self.user, self.password, "2.23", "tests")

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def _connect(self):
        d = self.daemon
        if self.transport == "unix":
            return _UnixConnection(d.socket, self.timeout)
        if self.transport == "tls":
            return http.client.HTTPSConnection("127.0.0.1", d.tls_port, context=_tls_context(), timeout=self.timeout)
        return http.client.HTTPConnection("127.0.0.1", d.plain_port, timeout=self.timeout)

    def post(self, body, path="/RPC2", content_type="text/xml"):
        """The answer's body; Lost where there is none."""
        try:
            if not self.connection:
                self.connection = self._connect()
            self.connection.request("POST", path, body, {"Content-Type": content_type})
            reply = self.connection.getresponse()
            data = reply.read()
        except (OSError, http.client.HTTPException) as e:
            self.close()
            raise Lost(f"{type(e).__name__}: {e}") from e
        if reply.status != 200:
            raise Lost(f"HTTP {reply.status}: {data[:200]!r}")
        return data

    def raw(self, method, *params):
        body = xmlrpc.client.dumps(tuple(_out(p) for p in params), method, allow_none=True)
        (answer,), _ = xmlrpc.client.loads(self.post(body.encode()))
        if not isinstance(answer, dict) or "Status" not in answer:
            return _in(answer)
        if answer["Status"] != "Success":
            raise XapiError(answer["ErrorDescription"])
        return _in(answer["Value"])

    def __call__(self, method, *params):
        return self.raw(method, self.session, *params)

    def wait_task(self, task, timeout=120):
        """The result's text of a task that succeeds; XapiError of one that fails.  The task is destroyed."""
        end = time.monotonic() + timeout
        while True:
            record = self("task.get_record", task)
            if record["status"] not in ("pending", "cancelling"):
                break
            if time.monotonic() > end:
                raise Lost(f"task {record['name_label']} is still {record['status']} after {timeout} s")
            self("event.from", ["task/" + task], "", 1.0)
            time.sleep(0.02)
        self("task.destroy", task)
        if record["status"] != "success":
            raise XapiError(record["error_info"])
        return re.sub(r"^<value>(.*)</value>$", r"\1", record["result"], flags=re.S)


def _write_passwords(path):
    """To hash them takes long, so it is done once."""
    if not _passwords:
        for user, password in PASSWORDS.items():
            subprocess.run([program("xapid-passwd"), path, user], input=password + "\n", text=True, check=True)
        with open(path, "rb") as f:
            _passwords.append(f.read())
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as f:
        f.write(_passwords[0])


class Daemon:
    """Started by the constructor unless start=False."""

    def __init__(self, faults=False, args=(), start=True, state=None, wrapper=(), name="xapid"):
        self.dir = tempfile.mkdtemp(prefix="xd-")
        self.state = state or os.path.join(self.dir, "state")
        self.socket = os.path.join(self.dir, "xapi")
        self.log = os.path.join(self.dir, "log")
        self.passwords = os.path.join(self.dir, "passwords")
        self.program = os.environ.get("XAPID_PROGRAM") or program(name)
        self.args = list(args) + (["--enable-faults"] if faults else [])
        self.wrapper = list(wrapper)
        self.process = None
        self.tls_port = self.plain_port = None
        self.seen = 0  # bytes of the log that complaints() has read
        _all.append(self)
        _write_passwords(self.passwords)
        if start:
            self.start()

    # -- life --

    def start(self):
        """Returns once calls are answered."""
        ready, wants = os.pipe()
        command = self.wrapper + [
            self.program, "--state", self.state, "--config", os.path.join(self.dir, "config"), "--socket", self.socket,
            "--listen", "127.0.0.1", "--pool-port", "0", "--tls-port", "0", "--plain-port", "0", "--nbd-port", "0", "--hypervisor", "sim",
            "--sim-program", program("xapid-sim"), "--cli-program", program("xe"),
            "--storage-program", program("xapid-storage"), "--password-file", self.passwords, "--ready-fd", str(wants)] + self.args
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[wants],
                                            preexec_fn=lambda: _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL))
        os.close(wants)
        try:
            line = self._ready_line(ready)
        finally:
            os.close(ready)
        if not line:
            code = self.process.wait() if self.process.poll() is not None else "running still"
            self.kill()
            raise RuntimeError(f"xapid did not start ({code}):\n{self.log_tail()}")
        self.tls_port, self.plain_port = (int(w) for w in line.split())
        return self

    def _ready_line(self, fd):
        end = time.monotonic() + START_TIMEOUT
        text = b""
        while not text.endswith(b"\n") and time.monotonic() < end:
            if select.select([fd], [], [], 0.5)[0]:
                more = os.read(fd, 100)
                if not more:
                    break
                text += more
        return text.decode()

    @property
    def pid(self):
        return self.process.pid

    def running(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        """kill -9, and the process is gone when it returns."""
        if self.process:
            self.process.kill()
            self.process.wait()

    def wait_end(self, timeout=60):
        return self.process.wait(timeout)

    def stop(self):
        """SIGTERM; returns the exit status."""
        self.process.terminate()
        try:
            return self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            print(f"not ok - the daemon ends on SIGTERM\n#   {self.log_tail()}", flush=True)
            self.kill()
            return -1

    def restart(self):
        self.stop()
        return self.start()

    def close(self):
        """Ends the daemon and its simulator and removes everything; says so where one of them complained."""
        if self not in _all:
            return
        _all.remove(self)
        if self.running():
            status = self.stop()
            if status:
                print(f"not ok - the daemon ends cleanly\n#   exit status {status}", flush=True)
        end_simulator(self.state)
        for line in self.complaints():
            print(f"not ok - nothing is wrong in the daemon's log\n#   {line}", flush=True)
        if os.environ.get("XAPID_KEEP"):
            print(f"#   kept: {self.dir}", flush=True)
        else:
            unmount_below(self.dir)
            shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # -- asking --

    def client(self, user="root", **how):
        return Client(self, user, **how)

    def xe(self, *words, user="root"):
        """Runs xe against the TLS port; a CompletedProcess with text.  XAPID_XE names another one."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("XE_")}
        environment["HOME"] = self.dir
        return subprocess.run([os.environ.get("XAPID_XE") or program("xe"), "-s", "127.0.0.1", "-p", str(self.tls_port), "-u", user, "-pw", PASSWORDS[user],
                               *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, env=environment,
                              cwd=self.dir)

    def sim(self, **command):
        """A command of the simulator's control; keys with "_" for "-".  Its answer as text; fails loudly."""
        pairs = [f"{k.replace('_', '-')}={v}" for k, v in command.items()]
        return subprocess.run([program("xapid-sim"), "--socket", os.path.join(self.state, "sim.socket"), "control", *pairs],
                              capture_output=True, text=True, timeout=60, check=True).stdout

    def sim_call(self, call, **args):
        """A call of the simulator's own protocol: its result."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(60)
            s.connect(os.path.join(self.state, "sim.socket"))
            _frame_send(s, {"hello": "xapid-hypervisor", "oldest": 1, "newest": 1})
            _frame_take(s)
            _frame_send(s, {"serial": 1, "call": call, "id": "", "epoch": 0, "timeout_ms": 30000, "args": args})
            answer = _frame_take(s)
        if "result" not in answer:
            raise XapiError(["INTERNAL_ERROR", json.dumps(answer.get("error"))])
        return answer["result"]

    def domains(self):
        """What the simulator runs: {uuid: record}."""
        return {d["uuid"]: d for d in self.sim_call("list")["domains"]}

    def log_text(self):
        try:
            with open(self.log, errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def log_tail(self, lines=30):
        return "\n".join(self.log_text().splitlines()[-lines:])

    def complaints(self):
        """New lines of the log in which a sanitizer or an assertion speaks, with some context."""
        lines = self.log_text().splitlines()
        found = []
        for i, line in enumerate(lines):
            if i >= self.seen and COMPLAINTS.search(line):
                found.append("\n#   ".join(lines[i:i + 25]))
        self.seen = len(lines)
        return found[:3]

    def files(self):
        """Files of the local storage: {path below it: size}."""
        found = {}
        top = os.path.join(self.state, "storage")
        for folder, _, names in os.walk(top):
            for name in names:
                path = os.path.join(folder, name)
                found[os.path.relpath(path, top)] = os.lstat(path).st_size
        return found


def _frame_send(s, message):
    data = json.dumps(message).encode()
    s.sendall(struct.pack(">I", len(data)) + data)


def _exactly(s, n):
    data = b""
    while len(data) < n:
        more = s.recv(n - len(data))
        if not more:
            raise Lost("the simulator closed the connection")
        data += more
    return data


def _frame_take(s):
    return json.loads(_exactly(s, struct.unpack(">I", _exactly(s, 4))[0]))


def unmount_below(folder):
    """What a test that failed has left: its files are another's, or gone already."""
    with open("/proc/self/mountinfo") as f:
        places = [line.split()[4] for line in f]
    for place in sorted((p for p in places if p.startswith(folder + "/")), reverse=True):
        subprocess.run(["umount", "-l", place], check=False)


def simulator_pid(state):
    """Of the simulator of a state directory, by its own pid file; None where none runs."""
    try:
        with open(os.path.join(state, "sim", "xapid-sim.pid")) as f:
            pid = int(f.read())
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            words = f.read().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if os.path.join(state, "sim").encode() in words else None  # the number may belong to somebody else by now


def end_simulator(state):
    """Ends the simulator of a state directory."""
    pid = simulator_pid(state)
    if not pid:
        return
    for sig, seconds in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
        try:
            os.kill(pid, sig)
        except ProcessLookupError:
            return
        end = time.monotonic() + seconds
        while os.path.exists(f"/proc/{pid}") and time.monotonic() < end:
            time.sleep(0.02)
        if not os.path.exists(f"/proc/{pid}"):
            return


def code_of(call, *args):
    """The code of the error that a call ends with; None where it succeeds."""
    try:
        call(*args)
        return None
    except XapiError as e:
        return e.code


def cpu_of(pids):
    """Seconds of CPU that processes have used so far."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat") as f:
            fields = f.read().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


class MostMemory:
    """The most anonymous memory that a daemon has while the scope lasts: 'most', in bytes."""

    def __init__(self, daemon):
        self.daemon, self.most, self.over = daemon, 0, threading.Event()

    def look(self):
        while not self.over.wait(0.02):
            try:
                with open(f"/proc/{self.daemon.pid}/status") as f:
                    self.most = max(self.most, int(re.search(r"RssAnon:\s+(\d+)", f.read()).group(1)) * 1024)
            except (OSError, AttributeError):
                pass  # it has ended: others say so

    def __enter__(self):
        self.thread = threading.Thread(target=self.look)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def until(condition, timeout=30, step=0.05):
    """Waits for a condition; its value, or what it was last where the time is up."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value or time.monotonic() > end:
            return value
        time.sleep(step)


_all = []
_passwords = []  # the file's content


def _close_all():
    for daemon in list(_all):
        daemon.close()


def _end(signum, _frame):
    sys.exit(128 + signum)  # atexit does the rest


atexit.register(_close_all)
for _signal in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(_signal, _end)
