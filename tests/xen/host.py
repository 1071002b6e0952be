# SPDX-License-Identifier: LGPL-2.1-or-later
"""host.py -- a virtual Xen host with xapid in its dom0, as a test sees it: booted, asked over TLS from outside, killed.

A Host is asked like a Daemon of tests/lib (client(), xe()); what must be looked at behind xapid's back goes through
dom0().  A Guest is a VM made through xe whose disk is the lab's.  XAPID_LAB names the lab's work directory.
"""

import atexit
import base64
import copy
import http.client
import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import daemon  # noqa: E402
from daemon import Client, PASSWORDS, XapiError, Lost, program, until  # noqa: E402,F401

LAB = os.path.join(HERE, "lab")
WORK = os.environ.setdefault("XAPID_LAB", os.path.join(daemon.TOP, "build", "xen-lab"))
# An emulated machine takes its time, and a busy one more: limits are five times what a quiet machine takes.
COMMAND, BOOT, READY, IMAGE = 120, 300, 150, 400
KERNEL_WORDS = "console=hvc0 quiet mitigations=off random.trust_cpu=on"
# What the first guest leaves for good: libxl's empty directories and its list of numbers not to use again at once, the
# storage repository's lock file.
FOR_GOOD = (r"xenstore /(libxl|vm)$", r"file /run/xen/domid-history", r"disk .*/\.xapid-lock$")
# Of the looking itself.
OWN = re.compile(r"sshd: |(\S*/)?(sh|bash|dom0-xapid|ps|xenstore-ls) |.*dom0-xapid|ps -eo|\[(?!\d+\.xvd|vif)")
OWN_FILES = re.compile(r"/run/(utmp|xapid/ready|xapid/.*\.lab-pid)")


def lab(script, *words, timeout=BOOT, check=True, **how):
    """Runs a script of the lab; a CompletedProcess with text."""
    done = subprocess.run([os.path.join(LAB, script), *words], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=timeout, **how)
    if check and done.returncode:
        raise RuntimeError(f"{script} {' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
    return done


class Host:
    def __init__(self, name, number, hypervisor="xen", cards=0):
        self.name, self.number, self.hypervisor, self.cards = name, number, hypervisor, cards
        self.dir = tempfile.mkdtemp(prefix="xx-")
        self.folder = os.path.join(WORK, "hosts", name)
        self.tls_port = None
        atexit.register(self.end)

    # -- life --

    def boot(self, again=False):
        """Boots dom0; again: with its disk as it was."""
        if os.path.isdir(self.folder):
            lab("stop-host", self.name)
        lab("boot-host", self.name, str(self.number), *(["--again"] if again else []), timeout=2 * BOOT,
            env={**os.environ, "XAPID_LAB_CARDS": str(self.cards)})
        self._read_ports()

    def use(self):
        """Takes a host that runs already, with its xapid."""
        self._read_ports()
        atexit.unregister(self.end)

    def _read_ports(self):
        with open(os.path.join(self.folder, "tls-port")) as f:
            self.tls_port = int(f.read())

    def install(self, options=""):
        done = subprocess.run([os.path.join(HERE, "install"), self.name, self.hypervisor], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=BOOT,
                              env={**os.environ, "XAPID_BUILD": daemon.BUILD, "XAPID_OPTIONS": options,
                                   "XAPID_USERS": " ".join(f"{u}:{p}" for u, p in PASSWORDS.items())})
        if done.returncode:
            raise RuntimeError(f"install: {done.stderr.strip()[-2000:]}")

    def end(self):
        atexit.unregister(self.end)
        if os.path.isdir(self.folder):
            lab("stop-host", self.name, check=False)
        subprocess.run(["rm", "-rf", self.dir], check=False)

    # -- behind xapid's back --

    def dom0(self, command, timeout=COMMAND, check=True):
        """What a shell command in dom0 prints."""
        done = lab("run-in-host", self.name, command, timeout=timeout, check=False)
        if check and done.returncode:
            raise RuntimeError(f"in dom0: {command}: exit status {done.returncode}: {done.stderr.strip()} {done.stdout.strip()[-500:]}")
        return done.stdout

    def control(self, *words):
        return self.dom0("dom0-xapid " + " ".join(words), timeout=BOOT)

    def kill(self, whom):
        """kill -9 of xapid, executor or both; they are gone when it returns."""
        self.control("kill", whom)

    def start(self):
        self.control("start")

    def log(self):
        return self.dom0("dom0-xapid log", check=False)

    def log_has(self, text):
        return self.dom0(f"grep -c -F -e {shlex.quote(text)} /var/log/xapid.log", check=False).strip() not in ("", "0")

    def domains(self):
        """{domid: name} of the guests' domains, as xl sees them."""
        lines = self.dom0("xl list").splitlines()[1:]
        return {int(w[1]): w[0] for w in (s.split() for s in lines) if w[1] != "0"}

    def world(self):
        """What there is in dom0, and Xen's free MiB."""
        return World(self.dom0("dom0-xapid world"))

    # -- asking --

    def client(self, user="root", timeout=IMAGE, **_how):
        return Client(self, user, transport="tls", timeout=timeout)

    def xe(self, *words, user="root", timeout=IMAGE):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("XE_")}
        environment["HOME"] = self.dir
        return subprocess.run([program("xe"), "-s", "127.0.0.1", "-p", str(self.tls_port), "-u", user, "-pw", PASSWORDS[user],
                               *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout,
                              env=environment, cwd=self.dir)

    def ask(self, *words, timeout=IMAGE):
        """What an xe command prints; fails loudly."""
        done = self.xe(*words, timeout=timeout)
        if done.returncode:
            raise XeFailed(f"xe {' '.join(words)}: {' / '.join(done.stderr.split(chr(10))).strip()}")
        return done.stdout.strip()

    def open_console(self, vm, seconds=COMMAND):
        """A socket to the text console of a VM, over the API; the answer's head comes first."""
        c = self.client()
        consoles = [r for r in c("VM.get_consoles", c("VM.get_by_uuid", vm)) if c("console.get_protocol", r) == "vt100"]
        if not consoles:
            raise RuntimeError("the VM has no text console")
        s = daemon._tls_context().wrap_socket(socket.create_connection(("127.0.0.1", self.tls_port), timeout=seconds))
        s.sendall(f"CONNECT /console?ref={consoles[0]}&session_id={c.session} HTTP/1.0\r\n\r\n".encode())
        return s

    def fetch(self, path, user="root"):
        """The body of a GET over TLS."""
        token = base64.b64encode(f"{user}:{PASSWORDS[user]}".encode()).decode()
        connection = http.client.HTTPSConnection("127.0.0.1", self.tls_port, context=daemon._tls_context(), timeout=COMMAND)
        connection.request("GET", path, headers={"Authorization": "Basic " + token})
        reply = connection.getresponse()
        body = reply.read()
        connection.close()
        if reply.status != 200:
            raise RuntimeError(f"GET {path}: {reply.status} {body[:200]!r}")
        return body

    def console(self, vm, until_text, seconds):
        """What the text console of a VM says until a text comes, over the API."""
        with self.open_console(vm, seconds) as s:
            data, end = b"", time.monotonic() + seconds
            while until_text.encode() not in data and time.monotonic() < end:
                try:
                    more = s.recv(4096)
                except TimeoutError:
                    break
                if not more:
                    break
                data += more
        return data.decode(errors="replace")


class XeFailed(Exception):
    pass


class World:
    """Things of dom0, one line each, with how often each is there."""

    def __init__(self, text):
        self.count, self.memory = {}, 0
        for part in text.split("== ")[1:]:
            title, *lines = part.splitlines()
            for line in lines:
                thing = self._thing(title, line)
                if thing:
                    self.count[f"{title} {thing}"] = self.count.get(f"{title} {thing}", 0) + 1

    def _thing(self, title, line):
        """What of a line counts, or nothing."""
        if title == "xenstore":
            return line.split(" = ")[0]
        if title == "process":
            words = line.split(None, 1)[1]
            return "" if OWN.match(words) or words == "COMMAND" else words
        if title == "size":
            path, size = line.split(":")
            return "" if size == "0" or "/loop" in path or "/ram" in path else line
        if title == "file":
            return "" if OWN_FILES.match(line) else line
        if title == "domain":
            words = line.split()
            return "" if words[0] in ("Name", "Domain-0") else words[0]
        if title == "memory":
            self.memory = int(line.split(":")[1])
            return ""
        if title.startswith("open "):
            return re.sub(r":\[\d+\]|(?<=raft/open)-\d+", "", line.split(" -> ")[1]) if " -> " in line else ""
        return line

    def left_over(self, before, ignore=()):
        """What is there now and was not before, and the other way round."""
        out = []
        for line in sorted(set(self.count) | set(before.count)):
            a, b = before.count.get(line, 0), self.count.get(line, 0)
            if a != b and not any(re.search(p, line) for p in (*ignore, *FOR_GOOD)):
                out.append(f"{'left over' if b > a else 'missing'}: {line}" + (f" ({a}, now {b})" if a and b else ""))
        if self.memory + 8 < before.memory:
            out.append(f"Xen has {self.memory} MiB free, had {before.memory}")
        return out


class Guest:
    """A VM of the lab's kernel: made, started and looked at through xe; its ticks from xenconsoled's log.

    With a disk (add_disk) and 'words' that begin with root=/dev/xvda it runs from that, else in its initramfs, with a shell
    on its console.  Memory is MiB: 'least' what it can be squeezed to; 'more': settings as vm-create takes them.
    """

    def __init__(self, host, name, kind, words="root=/dev/xvda", memory=160, least=None, more=()):
        self.host, self.name, self.kind, self.words = host, name, kind, words
        size, least = str(memory << 20), str((least or memory) << 20)
        self.vm = host.ask("vm-create", f"name-label={name}", f"domain-type={kind}", "PV-kernel=/boot/guest/vmlinux",
                           "PV-ramdisk=/boot/guest/guest.cpio", f"PV-args={KERNEL_WORDS} {words}", "actions-after-crash=destroy",
                           f"memory-static-max={size}", f"memory-dynamic-max={size}", f"memory-dynamic-min={least}", *more)
        self.vdi = self.vbd = None
        self.asked = int(time.time())

    def add_disk(self, image, sr=None):
        """A disk made from a raw image that lies here, outside; in the host's own repository unless another is named."""
        h = self.host
        sr = sr or h.ask("pool-list", "params=default-SR", "--minimal") or h.ask("sr-list", "type=ext", "--minimal").split(",")[0]
        self.vdi = h.ask("vdi-create", f"sr-uuid={sr}", f"name-label={self.name}-root", "type=user",
                         f"virtual-size={os.path.getsize(image)}")
        h.ask("vdi-import", f"uuid={self.vdi}", f"filename={image}", "format=raw")
        self.vbd = h.ask("vbd-create", f"vm-uuid={self.vm}", f"vdi-uuid={self.vdi}", "device=0", "bootable=true", "mode=RW",
                         "type=Disk")
        h.ask("vbd-param-set", f"uuid={self.vbd}", "other-config:owner=true")  # uninstalling the VM deletes the disk
        return self

    def clone(self, name):
        """Another like it, whose disk begins as this one's."""
        other = copy.copy(self)
        other.name, other.vm = name, self.do("clone", f"new-name-label={name}")
        other.vdi = other.vbd = None
        return other

    def do(self, what, *words, timeout=IMAGE):
        return self.host.ask(f"vm-{what}", f"uuid={self.vm}", *words, timeout=timeout)

    @property
    def state(self):
        return self.get("power-state")

    def get(self, name, *key):
        return self.host.ask("vm-param-get", f"uuid={self.vm}", f"param-name={name}", *(f"param-key={k}" for k in key))

    def alerts(self):
        """The names of the messages about it, oldest first."""
        told = [m for m in self.host.client()("message.get_all_records").values() if m["obj_uuid"] == self.vm]
        return [m["name"] for m in sorted(told, key=lambda m: m["timestamp"])]

    @property
    def domid(self):
        return int(self.get("dom-id"))

    def xen_memory(self):
        """MiB: what Xen gives it, and what it is told to have."""
        domid = self.domid
        said = self.host.dom0(f"xl list {domid} | tail -n 1; xenstore-read /local/domain/{domid}/memory/target").splitlines()
        return int(said[0].split()[2]), int(said[1]) // 1024

    def said(self, lines=400):
        """The last lines of its console; of all its domains, one after another.  A new xenconsoled knows a domain by its name,
        the one that saw it begin by its VM."""
        return self.host.dom0(f"cd /var/log/xen && ls -tr guest-{self.name}.log guest-{self.vm}.log 2>/dev/null | xargs -r tail -n {lines}",
                              check=False)

    def ticks(self):
        return [int(n) for n in re.findall(r"^TICK (\d+)\s*$", self.said(), re.M)]

    def tick(self):
        return (self.ticks() or [-1])[-1]

    def boots(self):
        """How often it has said that it is ready."""
        return len(re.findall(r"^GUEST-READY", self.said(100000), re.M))

    def ready(self, boots=1):
        """Waits until it has booted that often and counts; its last tick."""
        ok = until(lambda: self.boots() >= boots and re.search(r"GUEST-READY[^\0]*TICK \d+\s", self.said(100000)), READY, 1)
        return self.tick() if ok else -1

    def passes(self, tick, seconds=READY):
        """Waits until it counts past that tick; its last tick then, or -1."""
        return until(lambda: (lambda now: now if now > tick else 0)(self.tick()), seconds, 1) or -1

    def inside(self, command, seconds=COMMAND):
        """What a shell command prints in the guest, and its exit status: typed on its console."""
        self.asked += 1
        logs = f"/var/log/xen/guest-{self.name}.log /var/log/xen/guest-{self.vm}.log"
        line = shlex.quote(f"do {self.asked} {command}")
        said = self.host.dom0(f"""printf '%s\\n' {line} >$(xenstore-read /local/domain/{self.domid}/console/tty)
            tries=0
            until cat {logs} 2>/dev/null | grep -a -q '^DID {self.asked} ' || [ $tries = {5 * seconds} ]; do
                tries=$((tries + 1)); sleep 0.2
            done
            cat {logs} 2>/dev/null | grep -a -E '^(SAYS|DID) {self.asked} '""", timeout=seconds + COMMAND, check=False)
        *lines, last = said.replace("\r", "").splitlines() or ["no answer"]
        return "\n".join(s.split(" ", 2)[2] for s in lines), int(last.split()[2]) if last.startswith("DID") else -1

    def remove(self):
        """Ends and deletes it with its disks."""
        if self.state not in ("halted",):
            self.host.xe("vm-shutdown", f"uuid={self.vm}", "force=true")
        self.host.ask("vm-uninstall", f"uuid={self.vm}", "force=true")
