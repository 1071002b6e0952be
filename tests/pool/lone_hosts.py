# SPDX-License-Identifier: LGPL-2.1-or-later
"""lone_hosts.py -- hosts that begin alone, each in its namespace, and become a pool by the XenAPI.

    with Hosts(3) as (a, b, c):
        b.furnish(50, 2)
        b.join(a)
        until(lambda: b.is_member_of(a), PATIENCE)
"""

import os
import shutil
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from daemon import PASSWORDS, Client, Lost, XapiError, end_simulator, until  # noqa: E402
from members import Member  # noqa: E402
from net import Network  # noqa: E402

PATIENCE = 120
# What a host that joins brings along, by uuid.
CLASSES = ("host", "VM", "VBD", "VDI", "SR", "PBD", "PIF", "host_cpu", "VIF", "secret", "VM_appliance")


class Host(Member):
    """A host that begins alone, as it would on a fresh installation."""

    def __init__(self, net, number, *args):
        self.net = net
        pool = type("Net", (), {"net": net})
        super().__init__(pool, number)
        self.address = net.address(number)
        self.args = ["--listen", "0.0.0.0", "--tls-port", "443", "--pool-port", "7400", "--enable-faults"]
        self.n_args = len(self.args)
        self.args += args
        self.client = None

    def begin(self):
        error = self.launch().result()
        if error:
            raise RuntimeError(error)
        return self

    def __call__(self, method, *params):
        """A call in a session that is made anew where the daemon has been."""
        if self.client is None:
            self.client = Client(self, timeout=60)
        try:
            return self.client(method, *params)
        except (Lost, XapiError) as e:
            self.client = None
            if isinstance(e, XapiError) and e.code != "SESSION_INVALID":
                raise
            return Client(self, timeout=60)(method, *params)

    def tries(self, method, *params):
        """The answer; None where there is none at the moment."""
        try:
            return self(method, *params)
        except (Lost, XapiError):
            self.client = None
            return None

    def uuids(self):
        """By class, without what belongs to the pool: default templates."""
        found = {c: {r["uuid"] for r in self(f"{c}.get_all_records").values() if not r.get("is_default_template")} for c in CLASSES}
        return found

    def furnish(self, vms=2, disks=1):
        """Machines with so many disks each, one of them suspended; a secret, an appliance."""
        n = self.number
        sr = self("pool.get_all_records").popitem()[1]["default_SR"]
        template = next(r for r, t in self("VM.get_all_records").items() if t["is_default_template"] and "Other install" in t["name_label"])
        network = next(r for r, t in self("network.get_all_records").items() if t["bridge"] == "xenbr0")
        private = self("network.create", {"name_label": f"private-{n}", "name_description": "", "MTU": 1500, "other_config": {}, "bridge": "", "managed": True, "tags": []})
        appliance = self("VM_appliance.create", {"name_label": f"appliance-{n}", "name_description": ""})
        self("secret.create", {"value": f"secret-{n}", "other_config": {}})
        for i in range(vms):
            vm = self("VM.clone", template, f"vm-{n}-{i}")
            self("VM.provision", vm)
            self("VM.set_appliance", vm, appliance)
            for d in range(disks):
                vdi = self("VDI.create", {"name_label": f"disk-{n}-{i}-{d}", "name_description": "", "SR": sr, "virtual_size": 1 << 20,
                                          "type": "user", "sharable": False, "read_only": False, "other_config": {}, "xenstore_data": {},
                                          "sm_config": {}, "tags": []})
                self("VBD.create", {"VM": vm, "VDI": vdi, "userdevice": str(d), "bootable": d == 0, "mode": "RW", "type": "Disk",
                                    "unpluggable": True, "empty": False, "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}})
            for device, net in (("0", network), ("1", private)):
                self("VIF.create", {"VM": vm, "network": net, "device": device, "MAC": "", "MTU": 1500, "other_config": {},
                                    "qos_algorithm_type": "", "qos_algorithm_params": {}})
            if i < 2:
                self("VM.snapshot", vm, f"snapshot-{n}-{i}", [])
            if i == 0:
                self("VM.start", vm, False, False)
                self("VM.suspend", vm)

    def roles(self):
        """Of the log's members, as it knows them."""
        return sorted(m["role"] for m in (self.status() or {"members": []})["members"])

    def n_members(self):
        return len(self.roles())

    def fault(self, *lines):
        with open(os.path.join(self.state, "faults"), "w") as f:
            f.write("".join(line + "\n" for line in lines))

    def ensure(self):
        """Runs again, where it was killed."""
        if not self.running():
            self.fault()
            self.begin()

    def keep(self):
        """Remembers everything it has, for reset."""
        self.stop()
        shutil.copytree(self.state, self.state + ".kept", ignore=shutil.ignore_patterns("*.socket"))
        self.client = None
        self.begin()

    def reset(self):
        """Is what it was when keep was called."""
        if self.running():
            self.stop()
        end_simulator(self.state)
        shutil.rmtree(self.state)
        shutil.copytree(self.state + ".kept", self.state)
        self.client = None
        self.begin()

    def cpu(self):
        """Seconds that its daemon has used."""
        with open(f"/proc/{self.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return sum(int(v) for v in fields[11:15]) / os.sysconf("SC_CLK_TCK")

    def coordinator(self):
        """The uuid of the host that it takes for the coordinator; None without an answer."""
        pools, hosts = self.tries("pool.get_all_records"), self.tries("host.get_all_records")
        return hosts[next(iter(pools.values()))["master"]]["uuid"] if pools and hosts else None

    def join(self, other, force=False):
        self("pool.join_force" if force else "pool.join", other.address, "root", PASSWORDS["root"])

    def is_member_of(self, other):
        """True once it answers as a host of the other's pool, enabled."""
        mine, theirs = self.tries("host.get_all_records"), other.tries("host.get_all_records")
        return bool(mine) and bool(theirs) and mine.keys() == theirs.keys() and len(mine) > 1 and all(h["enabled"] for h in mine.values())

    def is_alone(self):
        hosts = self.tries("host.get_all_records")
        return bool(hosts) and [h["uuid"] for h in hosts.values()] == [self.uuid()]

    def uuid(self):
        with open(os.path.join(self.state, "host-uuid")) as f:
            return f.read().strip()

    def is_frozen(self):
        try:
            self("pool.set_name_description", self("pool.get_all")[0], "")
            return False
        except XapiError as e:
            return e.code == "OPERATION_NOT_ALLOWED"


class Hosts:
    """n hosts, each alone."""

    def __init__(self, n, *args):
        self.net = Network(n)
        self.list = [Host(self.net, i, *args) for i in range(n)]
        begin_all(self.list)

    def __enter__(self):
        return self.list

    def __exit__(self, *_):
        close_all(self.list)
        self.net.close()


def begin_all(hosts):
    for error in [h.launch() for h in hosts]:
        if error.result():
            raise RuntimeError(error.result())


def ensure_all(hosts):
    """Whoever is dead runs again; together, for one may need the others; and again where a start fails, as an init system would."""
    end = time.monotonic() + PATIENCE
    while dead := [h for h in hosts if not h.running()]:
        for h in dead:
            h.fault()
            h.client = None
        errors = [f.result() for f in [h.launch() for h in dead]]
        if any(errors) and time.monotonic() > end:
            raise RuntimeError("\n".join(filter(None, errors)))


def close_all(hosts):
    threads = [threading.Thread(target=h.close) for h in hosts]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
