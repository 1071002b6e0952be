#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""network_disks.py -- disks read over NBD by other people's programs: libnbd, nbdcopy, qemu-img; and what is refused."""

import os
import random
import re
import socket
import struct
import subprocess
import sys
from urllib.parse import quote

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
sys.path.insert(0, HERE)
import nbd  # noqa: E402
from daemon import Daemon, XapiError, until  # noqa: E402
from report import Report  # noqa: E402
import lab  # noqa: E402
import web  # noqa: E402
from lab import MIB  # noqa: E402

report = Report()
SIZE = 16 * MIB


def port_of(d):
    return int(re.findall(r"over NBD on port (\d+)", d.log_text())[-1])


def name_of(c, vdi, session=None):
    return f"/{c('VDI.get_uuid', vdi)}?session_id={session or c.session}"


def certificates(d):
    """A folder with the host's certificate as the only authority."""
    folder = os.path.join(d.dir, "trust")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(d.state, "xapid-tls.pem")) as f:
        pem = re.search("-----BEGIN CERTIFICATE.*", f.read(), re.S).group(0)
    with open(os.path.join(folder, "ca-cert.pem"), "w") as f:
        f.write(pem)
    return folder


def uri_of(c, name, tls=True):
    d = c.daemon
    end = f"localhost:{port_of(d)}/{quote(name, safe='')}"
    return f"nbds://{end}?tls-certificates={certificates(d)}" if tls else f"nbd://{end}"


def opened(c, name, tls=True):
    """A libnbd connection."""
    h = nbd.NBD()
    h.add_meta_context("base:allocation")
    h.set_strict_mode(0)  # it would not send what the server is to refuse
    if tls:
        h.set_tls(nbd.TLS_REQUIRE)
        h.set_tls_certificates(certificates(c.daemon))
    h.set_export_name(name)
    h.connect_tcp("localhost", str(port_of(c.daemon)))
    return h


def refused(title, run):
    try:
        run()
    except nbd.Error as e:
        return report.check(True, title, e)
    return report.fail(title, "it was let in")


def sparse(seed):
    data = bytearray(SIZE)
    rng = random.Random(seed)
    for at in (3 * MIB, 10 * MIB + 512, SIZE - 4096):
        piece = rng.randbytes(min(70000, SIZE - at))
        data[at:at + len(piece)] = piece
    return bytes(data)


def disk(c, seed):
    vdi = lab.vdi(c, f"disk {seed}", SIZE)
    data = sparse(seed)
    web.put(c, "/import_raw_vdi", data, vdi=vdi)
    return vdi, data


def run(*words):
    return subprocess.run(words, capture_output=True, text=True, timeout=120)


def free(c, vdi):
    return until(lambda: not c("VDI.get_VBDs", vdi))


def without_purpose(c, vdi):
    report.check(c("VDI.get_nbd_info", vdi) == [], "where no network has the purpose there is nowhere to read a disk")
    with socket.create_connection(("localhost", port_of(c.daemon))) as s:
        s.settimeout(30)
        report.check(s.recv(1) == b"", "and a connection is closed at once")


def information(c, vdi, network):
    d = c.daemon
    addresses = {c("PIF.get_IP", p) for p in c("network.get_PIFs", network)} - {""}
    found = c("VDI.get_nbd_info", vdi)
    report.check({i["address"] for i in found} == addresses, "VDI.get_nbd_info has the addresses on the network with the purpose", found)
    with open(os.path.join(d.state, "xapid-tls.pem")) as f:
        pem = f.read()
    for i in found:
        report.check(i["exportname"] == name_of(c, vdi) and int(i["port"]) == port_of(d) and i["cert"].strip() in pem and i["subject"],
                     "with the export's name, the port, the certificate and a name in it", i)


def programs(c, vdi, data):
    d, uri = c.daemon, uri_of(c, name_of(c, vdi))
    out = os.path.join(d.dir, "copy")
    r = run("nbdcopy", uri, out)
    with open(out, "rb") as f:
        report.check(r.returncode == 0 and f.read() == data, "nbdcopy with TLS gets the disk", r.stderr)
    held = sum(int(line.split()[1]) for line in run("nbdinfo", "--map", uri).stdout.splitlines() if line.endswith("data"))
    report.check(0 < held <= 6 * 65536, "block status says where there is data, to 64 KiB", held)
    r = run("qemu-img", "convert", "--object", f"tls-creds-x509,id=t,dir={certificates(d)},endpoint=client,sanity-check=no", "--image-opts",
            f"driver=nbd,server.type=inet,server.host=localhost,server.port={port_of(d)},export={name_of(c, vdi)},tls-creds=t", "-O", "raw", out)
    with open(out, "rb") as f:
        report.check(r.returncode == 0 and f.read() == data, "qemu-img convert with TLS gets the disk", r.stderr)
    report.check(free(c, vdi), "once they have ended nobody holds it")


def refusals(c, vdi):
    refused("on a network for TLS nothing is said in the clear", lambda: opened(c, name_of(c, vdi), tls=False))
    refused("a session that does not exist reads nothing",
            lambda: opened(c, name_of(c, vdi, "OpaqueRef:00000000-0000-4000-8000-000000000000")))
    refused("a disk that does not exist is not read", lambda: opened(c, f"/00000000-0000-4000-8000-000000000000?session_id={c.session}"))
    refused("a name of another form is no export", lambda: opened(c, "disk"))
    bob = c("subject.create", {"subject_identifier": "bob", "other_config": {}})
    for role in c("subject.get_roles", bob):
        c("subject.remove_from_roles", bob, role)
    c("subject.add_to_roles", bob, c("role.get_by_name_label", "vm-operator")[0])
    other = c.daemon.client(user="bob", transport="tls")
    refused("a session whose role may not read disks reads nothing", lambda: opened(c, name_of(c, vdi, other.session)))
    c("subject.destroy", bob)


def reading(c, vdi, data):
    h = opened(c, name_of(c, vdi))
    report.check(h.get_size() == SIZE and h.is_read_only() and h.pread(70000, 3 * MIB) == data[3 * MIB:3 * MIB + 70000], "libnbd reads it")
    for title, ask in (("a write", lambda: h.pwrite(b"x" * 512, 0)), ("a trim", lambda: h.trim(512, 0)),
                       ("a read beyond the end", lambda: h.pread(512, SIZE - 256)), ("a read of nothing", lambda: h.pread(0, 0))):
        refused(f"{title} is refused", ask)
    report.check(h.pread(512, 0) == data[:512], "and the connection goes on")
    h.shutdown()


def holding(c, vdi):
    d = c.daemon
    h = opened(c, name_of(c, vdi))
    vbds = c("VDI.get_VBDs", vdi)
    record = c("VBD.get_record", vbds[0]) if len(vbds) == 1 else {}
    report.check(record.get("other_config") == {"nbd-client": "127.0.0.1"} and c("VM.get_is_control_domain", record["VM"]) and
                 record["mode"] == "RO" and record["currently_attached"], "while it is read a VBD of the control domain says by whom", record)
    for title, call in (("destroyed", lambda: c("VDI.destroy", vdi)), ("resized", lambda: c("VDI.resize", vdi, SIZE * 2)),
                        ("its storage detached", lambda: c("PBD.unplug", c("SR.get_PBDs", c("VDI.get_SR", vdi))[0]))):
        try:
            call()
            report.fail(f"while it is read it is not {title}")
        except XapiError as e:
            report.check(e.code == "VDI_IN_USE", f"while it is read it is not {title}", e)
    snapshot = c("VDI.snapshot", vdi, {})
    report.check(h.pread(512, 0) == bytes(512), "a snapshot is taken of it beside the reader")
    c("VDI.destroy", snapshot)
    h.shutdown()
    report.check(free(c, vdi), "when the connection ends it is let go of")
    h = opened(c, name_of(c, vdi))
    d.kill()
    d.start()
    c.login()
    report.check(c("VDI.get_VBDs", vdi) == [], "when the daemon is killed it is let go of at its start")
    refused("the connection has ended with the daemon", lambda: h.pread(512, 0))


def abuse(c, vdi):
    d = c.daemon
    magic = 0x49484156454F5054
    for title, words in (("an option of 4 GiB", struct.pack(">IQII", 3, magic, 7, 0xFFFFFFFF)),
                         ("unknown flags", struct.pack(">I", 1 << 31)), ("noise", random.Random(1).randbytes(64))):
        with socket.create_connection(("localhost", port_of(d))) as s:
            s.settimeout(30)
            s.sendall(words)
            try:
                while s.recv(4096):
                    pass
                ended = True
            except ConnectionResetError:
                ended = True
            except TimeoutError:
                ended = False
            report.check(ended, f"{title} ends the connection")
    crowd = [socket.create_connection(("localhost", port_of(d))) for _ in range(60)]
    for s in crowd:
        s.settimeout(30)
    turned_away = until(lambda: d.log_text().count("too many connections"))
    report.check(turned_away, "one address has a limited number of connections")
    for s in crowd:
        s.close()
    h = until(lambda: tried(c, vdi))
    report.check(bool(h), "and when they have gone there is room again")


def tried(c, vdi):
    try:
        h = opened(c, name_of(c, vdi))
    except nbd.Error:
        return None
    h.shutdown()
    return True


def in_the_clear(c, vdi, data, network):
    c("network.remove_purpose", network, "nbd")
    c("network.add_purpose", network, "insecure_nbd")
    for tls in (False, True):
        h = opened(c, name_of(c, vdi), tls)
        report.check(h.pread(512, 10 * MIB + 512) == data[10 * MIB + 512:10 * MIB + 1024], f"with insecure_nbd a disk is read {'with TLS' if tls else 'in the clear'}")
        h.shutdown()


def running():
    """Through the data path: a snapshot of a disk that a VM has, and the disk itself."""
    with Daemon(args=["--datapath", "fuse"]) as d:
        c = d.client()
        c("network.add_purpose", c("network.get_all")[0], "insecure_nbd")
        vm = lab.vm(c, "running")
        vdi, data = disk(c, 3)
        lab.vbd(c, vm, vdi, "0")
        c("VM.start", vm, False, False)
        snapshot = c("VDI.snapshot", vdi, {})
        with open(os.path.join(d.state, "datapath", c("VDI.get_uuid", vdi), "disk"), "r+b") as f:
            f.write(b"later" + bytes(4091))
        for ref, expected, title in ((snapshot, data[:5], "a snapshot of a running machine's disk holds what was there then"),
                                     (vdi, b"later", "the disk itself what is there now")):
            h = opened(c, name_of(c, ref), tls=False)
            report.check(h.pread(5, 0) == expected and h.pread(4096, SIZE - 4096) == data[SIZE - 4096:], title)
            h.shutdown()
            report.check(until(lambda: not any(c("VBD.get_other_config", v) for v in c("VDI.get_VBDs", ref))), "and is let go of")
        c("VM.hard_shutdown", vm)


def main():
    with Daemon(args=["--op-wait", "5"]) as d:
        c = d.client()
        network = next((n for n in c("network.get_all") if c("network.get_PIFs", n)), c("network.get_all")[0])
        vdi, data = disk(c, 1)
        without_purpose(c, vdi)
        c("network.add_purpose", network, "nbd")
        information(c, vdi, network)
        programs(c, vdi, data)
        refusals(c, vdi)
        reading(c, vdi, data)
        holding(c, vdi)
        abuse(c, vdi)
        in_the_clear(c, vdi, data, network)
    if os.path.exists("/dev/fuse"):
        running()
    sys.exit(report.done())


if __name__ == "__main__":
    main()
