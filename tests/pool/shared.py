#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""shared.py -- storage that the hosts of a pool share: plugged on all, also where a host is late; used by one at a time.

Three daemons, each with a mount program of its own (tests/lib/fake-nfs) that shows the same folder; for each the server can be away.
"""

import os
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from daemon import TOP, Lost, XapiError, until  # noqa: E402
from join import PATIENCE, Hosts  # noqa: E402
from report import Report  # noqa: E402

WAIT = "8"  # --storage-wait; a call takes a quiet machine 0.1 s


class Server:
    """The exports, as each host sees them."""

    def __init__(self, hosts):
        self.folder = os.path.join(hosts[0].dir, "exports")
        os.makedirs(os.path.join(self.folder, "vm"))
        for h in hosts:
            h.view = os.path.join(h.dir, "view")
            os.symlink(self.folder, h.view)
            subprocess.run([os.path.join(TOP, "tests", "lib", "fake-nfs"), h.view, os.path.join(h.state, "system")], check=True)

    def away(self, host, away):
        if away:
            open(host.view + ".down", "w").close()
        else:
            os.unlink(host.view + ".down")


def own(host):
    return next(r for r, h in host("host.get_all_records").items() if h["uuid"] == host.uuid())


def pbds(host, sr):
    """By host: attached, and what the others have noted."""
    return {p["host"]: (p["currently_attached"], p["other_config"].get("plug-again", "")) for p in host("PBD.get_all_records").values() if p["SR"] == sr}


def mounted(host):
    """SRs that are mounted where the host's daemon sees them."""
    with open(f"/proc/{host.pid}/mountinfo") as f:
        places = [line.split()[4] for line in f]
    return [os.path.basename(p) for p in places if p.startswith(os.path.join(host.state, "sr-mount"))]


def disk(host, sr, name):
    return host("VDI.create", {"name_label": name, "name_description": "", "SR": sr, "virtual_size": 1 << 20, "type": "user", "sharable": False,
                               "read_only": False, "other_config": {}, "xenstore_data": {}, "sm_config": {}, "tags": []})


def machine(host, vdi, name):
    vm = host("VM.clone", next(r for r, t in host("VM.get_all_records").items() if t["is_default_template"] and "Other install" in t["name_label"]), name)
    host("VM.provision", vm)
    for vif in host("VM.get_VIFs", vm):
        host("VIF.destroy", vif)
    host("VBD.create", {"VM": vm, "VDI": vdi, "userdevice": "0", "bootable": True, "mode": "RW", "type": "Disk", "unpluggable": True, "empty": False,
                        "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}})
    return vm


def made(report, server, a, b):
    """A repository where one host cannot reach the server: the rest has it, and that host goes on trying."""
    server.away(b, True)
    sr = a("SR.create", own(a), {"server": "nas", "serverpath": "/vm"}, 0, "shared", "", "nfs", "user", True, {})
    a("SR.add_to_other_config", sr, "coalesce", "false")  # images and records are compared while nothing changes them
    state = pbds(a, sr)
    report.check(state[own(a)] == (True, ""), "a shared repository is plugged where it was made", state)
    report.check(state[own(b)][0] is False and "does not answer" in state[own(b)][1], "a host that cannot reach it says why", state)
    alerts = [m["obj_uuid"] for m in a("message.get_all_records").values() if m["name"] == "PBD_PLUG_FAILED_ON_SERVER_START"]
    report.check(alerts == [b.uuid()], "and there is one alert about that host", alerts)
    server.away(b, False)
    report.check(until(lambda: pbds(a, sr)[own(b)] == (True, ""), PATIENCE), "it has it once the server answers", pbds(a, sr), b.log_tail())
    return sr


def used(report, sr, a, b, c, names):
    """Each host sees the disks; a VM has its disk on one host, and what is asked elsewhere is done there.  'names' says what the storage holds."""
    vdi = disk(b, sr, "common")
    report.check(any(a("VDI.get_uuid", vdi) in n for n in names()), "a disk that one host makes lies on the shared storage", names())
    one, two = machine(a, vdi, "one"), machine(a, vdi, "two")
    b("VM.start_on", one, own(b), False, False)
    try:
        c("VM.start_on", two, own(c), False, False)
        report.fail("a disk in use on one host is not given to another")
    except XapiError as e:
        report.check(e.code == "VDI_IN_USE", "a disk in use on one host is not given to another", e)
    snapshot = c("VM.snapshot", one, "asked elsewhere", [])
    report.check(a("VM.get_snapshot_of", snapshot) == one, "a snapshot of a VM on another host is made there")
    b("VM.hard_shutdown", one)
    c("VM.start_on", one, own(c), False, False)
    c("VM.hard_shutdown", one)
    return vdi


def crowd(report, sr, hosts):
    """Snapshots and their ends from all hosts at once; the disks that remain."""
    vdis = [disk(h, sr, f"crowd-{h.number}") for h in hosts]
    wrong = []

    def work(h, vdi):
        try:
            for i in range(3):
                h("VDI.set_name_label", vdi, f"crowd {i}")
                snapshot = h("VDI.snapshot", vdi, {})
                clone = h("VDI.clone", snapshot, {})
                h("VDI.destroy", snapshot)
                h("VDI.destroy", clone)
        except Exception as e:  # noqa: BLE001 -- whatever it is, it is told below
            wrong.append(f"{h.number}: {e}")
    threads = [threading.Thread(target=work, args=(h, v)) for h, v in zip(hosts, vdis)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    report.check_none(wrong, "chain work asked for on all hosts at once is done, one after the other")
    hosts[0]("SR.scan", sr)
    return vdis


def crowded(report, sr, hosts):
    """The chain stays whole, and nothing is left."""
    vdis = crowd(report, sr, hosts)
    kept = {v["location"] for v in hosts[0]("VDI.get_all_records").values() if v["SR"] == sr}
    folder = os.path.join(hosts[0].dir, "exports", "vm", hosts[0]("SR.get_uuid", sr))
    images = {n[:-6] for n in os.listdir(folder) if n.endswith(".qcow2")}
    broken = [n for n in images if subprocess.run(["qemu-img", "check", "-q", os.path.join(folder, n + ".qcow2")]).returncode]
    report.check(kept == images and not broken, "records and images agree, and each image is sound", kept ^ images, broken)
    for v in vdis:
        hosts[0]("VDI.destroy", v)


def killed(report, sr, vdi, b, c):
    """A host whose daemon dies amid a snapshot holds the chain until it is back."""
    b.fault("vdi_make/made kill")
    try:
        b("VDI.snapshot", vdi, {})
        report.fail("the daemon dies at the step")
    except (XapiError, Lost) as e:
        report.ok(f"the daemon dies amid a snapshot ({type(e).__name__})")
    until(lambda: not b.running(), PATIENCE)
    holds = c("SR.get_current_operations", sr)
    report.check(list(holds.values()) == ["vdi_snapshot"], "its hold is there, and says what for", holds)
    waits = threading.Thread(target=lambda: c("VDI.destroy", c("VDI.snapshot", vdi, {})))
    waits.start()
    waits.join(2)
    report.check(waits.is_alive(), "another host's snapshot waits for it")
    b.ensure()
    waits.join(PATIENCE)
    report.check(not waits.is_alive() and not c("SR.get_current_operations", sr), "and goes on when the host is back", c.log_tail())


def left_over(report, sr, b):
    """What a host cannot take away because its storage is gone, it takes away once that is back."""
    place = os.path.join(b.state, "sr-mount", b("SR.get_uuid", sr))
    folder = os.path.join(b.view, "vm", b("SR.get_uuid", sr))
    before = sorted(os.listdir(folder))
    b.fault("vdi_make/made wait")
    task = b("Async.VDI.create", {"name_label": "unlucky", "name_description": "", "SR": sr, "virtual_size": 1 << 20, "type": "user", "sharable": False,
                                  "read_only": False, "other_config": {}, "xenstore_data": {}, "sm_config": {}, "tags": []})
    until(lambda: len(os.listdir(folder)) == len(before) + 2, PATIENCE)  # the image and what is known of it
    subprocess.run(["umount", "-l", place], check=True)
    b.fault("vdi_make/made fail")
    report.check(until(lambda: b("task.get_status", task) == "failure", PATIENCE), "an operation fails whose storage has gone", b("task.get_record", task))
    report.check(list(b("SR.get_current_operations", sr).values()) == ["vdi_create"], "and keeps its hold, for it cannot take away what it has made")
    b.fault()
    subprocess.run(["mount", "--bind", folder, place], check=True)
    report.check(until(lambda: not b("SR.get_current_operations", sr), PATIENCE) and sorted(os.listdir(folder)) == before,
                 "which it does by itself once the storage is back", os.listdir(folder), before, b.log_tail())


def main():
    report = Report()
    with Hosts(3) as hosts:
        for h in hosts:
            h.stop()
            h.args += ["--storage-wait", WAIT]
            h.client = None
            h.begin()
        server = Server(hosts)
        a, b, c = hosts
        b.join(a)
        report.check(until(lambda: b.is_member_of(a), PATIENCE), "two hosts are a pool", b.log_tail())
        sr = made(report, server, a, b)
        c.join(a)
        report.check(until(lambda: c.is_member_of(a), PATIENCE), "a third joins", c.log_tail())
        report.check(until(lambda: pbds(a, sr).get(own(c)) == (True, ""), PATIENCE), "and has the shared repository", pbds(a, sr), c.log_tail())
        folder = os.path.join(a.dir, "exports", "vm", a("SR.get_uuid", sr))
        vdi = used(report, sr, a, b, c, lambda: os.listdir(folder))
        crowded(report, sr, hosts)
        killed(report, sr, vdi, b, c)
        left_over(report, sr, b)
        report.check(mounted(c) == [a("SR.get_uuid", sr)], "it is mounted there", mounted(c))
        gone = own(c)
        a("pool.eject", gone)
        report.check(until(c.is_alone, PATIENCE), "a host that leaves is alone", c.log_tail())
        report.check(until(lambda: mounted(c) == [], PATIENCE), "and has it mounted no more", mounted(c))
        report.check(gone not in pbds(a, sr) and pbds(a, sr)[own(a)] == (True, ""), "the others keep it", pbds(a, sr))
    sys.exit(report.done())


if __name__ == "__main__":
    main()
