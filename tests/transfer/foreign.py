#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""foreign.py [NAME...] -- what we wrote, read by others' programs: qemu-img, qemu-io, qemu-nbd, nbdinfo, nbdcopy, GNU tar, and Python's own ssl.

Images that were exported, the images in a repository, archives; and disks over NBD where VDI.get_nbd_info says that they are, with
the certificate that it gives and no other: for that the program runs in a network namespace, whose address becomes the host's.
"""

import json
import os
import random
import socket
import ssl
import struct
import subprocess
import sys
import traceback
from urllib.parse import quote

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
sys.path.insert(0, HERE)
from daemon import Daemon, Lost, XapiError, until  # noqa: E402
from report import Report  # noqa: E402
import lab  # noqa: E402
import vhd  # noqa: E402
import web  # noqa: E402
import xva  # noqa: E402
from lab import MIB  # noqa: E402

TESTS = []
ADDRESS = "192.0.2.77"
NETWORK = f"""ip link set lo up; ip link add eth0 type veth peer name peer; ip link set eth0 up; ip link set peer up;
             ip address add {ADDRESS}/24 dev eth0; ip route add default via 192.0.2.1"""
FORMATS = {"qcow2": "qcow2", "vhd": "vpc"}
report = Report()


def test(function):
    TESTS.append(function)
    return function


def run(*words, **how):
    return subprocess.run(words, capture_output=True, text=True, timeout=120, **how)


def contents():
    """{title: bytes}"""
    rng = random.Random(1)
    sparse = bytearray(21 * MIB + 4096)
    for at in (0, 9 * MIB + 512, 2 * MIB - 512, len(sparse) - 512):
        sparse[at:at + 512] = rng.randbytes(512)
    return {"a sparse disk": bytes(sparse), "an empty disk": bytes(5 * MIB), "a full disk": rng.randbytes(3 * MIB + 4096),
            "a small disk": rng.randbytes(4096)}


def disk(c, data, name="disk"):
    vdi = lab.vdi(c, name, len(data))
    web.put(c, "/import_raw_vdi", data, vdi=vdi)
    return vdi


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)
    return path


def exported(c, vdi, name, **query):
    return write(os.path.join(c.daemon.dir, f"exported.{name}"), web.get(c, "/export_raw_vdi", vdi=vdi, format=name, **query)[2])


class Served:
    """An image that qemu-nbd serves, read-only: 'uri'."""

    def __init__(self, c, path, driver):
        self.socket = os.path.join(c.daemon.dir, "qemu-nbd")
        self.uri = f"nbd+unix:///?socket={self.socket}"
        self.process = subprocess.Popen(["qemu-nbd", "--read-only", "--persistent", "--format", driver, "--socket", self.socket, path],
                                        stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        if not until(lambda: os.path.exists(self.socket) or self.process.poll() is not None) or self.process.poll() is not None:
            raise AssertionError(f"qemu-nbd: {self.process.stderr.read()}")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.process.stderr.close()


def held(data, unit):
    """Bytes of the units in which there is something."""
    return sum(min(unit, len(data) - at) for at in range(0, len(data), unit) if any(data[at:at + unit]))


def read_by_all(c, path, driver, data, title):
    """Each program finds this content in the image."""
    plain = write(os.path.join(c.daemon.dir, "plain"), data)
    r = run("qemu-img", "compare", "-f", driver, "-F", "raw", path, plain)
    report.check(r.returncode == 0, f"{title}: qemu-img compare", r.stdout, r.stderr)
    if driver == "qcow2":
        r = run("qemu-img", "check", "--output=json", "-f", "qcow2", path)
        found = json.loads(r.stdout or "{}")
        report.check(r.returncode == 0 and not found.get("leaks") and not found.get("corruptions") and not found["check-errors"],
                     f"{title}: qemu-img check has no complaint", r.stdout, r.stderr)
    runs = json.loads(run("qemu-img", "map", "--output=json", "-f", driver, path).stdout)
    report.check(sum(r["length"] for r in runs) == len(data), f"{title}: qemu-img map is of the whole", runs)
    wrong = [r for r in runs if r["zero"] and any(data[r["start"]:r["start"] + r["length"]])]
    report.check_none(wrong, f"{title}: what qemu-img map calls zero is zero")
    words = [f"read -q -P 0 {at} 512" for at in range(0, len(data), MIB) if not any(data[at:at + 512])]
    r = run("qemu-io", "-r", "-f", driver, path, input="\n".join(words))
    report.check(r.returncode == 0 and "verification failed" not in r.stdout, f"{title}: qemu-io reads zeroes where there are some", r.stdout[-300:], r.stderr)
    copy = os.path.join(c.daemon.dir, "copy")
    with Served(c, path, driver) as served:
        r = run("nbdcopy", served.uri, copy)
        with open(copy, "rb") as f:
            report.check(r.returncode == 0 and f.read() == data, f"{title}: nbdcopy from qemu-nbd", r.stderr)
        r = run("nbdinfo", "--json", served.uri)
        export = json.loads(r.stdout or '{"exports": [{}]}')["exports"][0]
        report.check(export.get("export-size") == len(data) and export.get("is_read_only"), f"{title}: nbdinfo of qemu-nbd says its size", r.stdout, r.stderr)
    return runs


@test
def exports(c):
    for title, data in contents().items():
        vdi = disk(c, data)
        for name, driver in FORMATS.items():
            path = exported(c, vdi, name)
            runs = read_by_all(c, path, driver, data, f"{title}, exported as {name}")
            stored = sum(r["length"] for r in runs if r["data"])
            unit = 65536 if name == "qcow2" else 2 * MIB
            report.check(stored <= held(data, unit), f"{title}, exported as {name}: only units in which there is something are stored", stored)
        path = exported(c, vdi, "tar")
        folder = os.path.join(c.daemon.dir, "tar")
        os.makedirs(folder)
        report.check(by_tar(path, folder, "vdi", len(data)) == data, f"{title}, exported as tar: GNU tar finds it")
        subprocess.run(["rm", "-r", folder], check=True)
        c("VDI.destroy", vdi)


def by_tar(path, folder, disk_folder, size):
    """The content of a disk in an archive, as GNU tar unpacks it."""
    listed = run("tar", "-tf", path)
    done = run("tar", "-xf", path, "-C", folder)
    if listed.returncode or done.returncode or listed.stderr or done.stderr:
        raise AssertionError(listed.stderr + done.stderr)
    members = [("", b"")] if disk_folder == "vdi" else []
    for name in listed.stdout.split():
        with open(os.path.join(folder, name), "rb") as f:
            members.append((name, f.read()))
    return xva.disk(members, disk_folder, size)


@test
def archives(c):
    data = contents()["a sparse disk"]
    vm = lab.vm(c, "in an archive")
    lab.vbd(c, vm, disk(c, data), "0")
    path = write(os.path.join(c.daemon.dir, "vm.xva"), web.get(c, "/export", ref=vm)[2])
    folder = os.path.join(c.daemon.dir, "xva")
    os.makedirs(folder)
    with open(path, "rb") as f:
        _, objects = xva.manifest(xva.read(f.read()))
    folder_of_disk, = (i for i, (k, _) in objects.items() if k == "VDI")
    report.check(by_tar(path, folder, folder_of_disk, len(data)) == data, "GNU tar finds the disk in an XVA, with checksums that fit")
    lab.destroy_vm(c, vm)


@test
def differences(c):
    """What differs from a base, put upon it by others, is the whole."""
    size = 21 * MIB + 4096
    rng = random.Random(2)
    old = bytearray(contents()["a sparse disk"])
    new = bytearray(old)
    new[9 * MIB:9 * MIB + MIB] = bytes(MIB)  # what was there has gone
    new[15 * MIB + 512:15 * MIB + 1024] = rng.randbytes(512)
    new[size - 512:] = rng.randbytes(512)
    base = disk(c, bytes(old), "base")
    for title, top in (("of a clone", c("VDI.clone", base, {})), ("of a disk that is no kin of it", lab.vdi(c, "other", size))):
        web.put(c, "/import_raw_vdi", bytes(new), vdi=top)
        plain = write(os.path.join(c.daemon.dir, "base.raw"), bytes(old))
        path = exported(c, top, "qcow2", base=base)
        wanted = write(os.path.join(c.daemon.dir, "wanted.raw"), bytes(new))
        named = json.loads(run("qemu-img", "info", "--output=json", path).stdout).get("backing-filename")
        report.check(named == c("VDI.get_uuid", base) + ".qcow2", f"qcow2, difference {title}: it names its base", named)
        r = run("qemu-img", "rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", plain, path)
        report.check(r.returncode == 0, f"qcow2, difference {title}: qemu-img rebase", r.stderr)
        r = run("qemu-img", "compare", "-f", "qcow2", "-F", "raw", path, wanted)
        report.check(r.returncode == 0, f"qcow2, difference {title}: upon its base it is the whole", r.stdout, r.stderr)
        r = run("qemu-img", "check", "-f", "qcow2", path)
        report.check(r.returncode == 0, f"qcow2, difference {title}: qemu-img check has no complaint", r.stdout, r.stderr)
        flat = os.path.join(c.daemon.dir, "flat.qcow2")
        r = run("qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", path, flat)
        with open(flat, "rb") as f:
            again = lab.vdi(c, "again", size)
            web.put(c, "/import_raw_vdi", f.read(), vdi=again, format="qcow2")
        report.check(r.returncode == 0 and web.get(c, "/export_raw_vdi", vdi=again)[2] == bytes(new), f"qcow2, difference {title}: made one by qemu-img convert, it comes back", r.stderr)
        with open(exported(c, top, "vhd", base=base), "rb") as f:
            image = f.read()
        got = vhd.upon(image, bytes(old))
        report.check(got == bytes(new), f"VHD, difference {title}: upon its base it is the whole, by the format's description")
        report.check(vhd.parent(image) == c("VDI.get_uuid", base), f"VHD, difference {title}: it names its base", vhd.parent(image))
        for ref in (again, top):
            c("VDI.destroy", ref)
    c("VDI.destroy", base)


@test
def differences_of_qemu(c):
    """What qemu-img keeps of a disk on a base comes in upon a copy of that."""
    old = contents()["a sparse disk"]
    plain = write(os.path.join(c.daemon.dir, "base.raw"), old)
    top, whole = (os.path.join(c.daemon.dir, n) for n in ("top.qcow2", "whole.raw"))
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", plain, top], check=True)
    words = ["write -q -P 7 1M 3k", "write -q -z 9M 64k", "discard -q 0 64k", "write -q -P 8 20M 1M"]
    subprocess.run(["qemu-io", "-f", "qcow2", top], input="\n".join(words), text=True, capture_output=True, check=True)
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", top, whole], check=True)
    vdi = disk(c, old)
    with open(top, "rb") as image, open(whole, "rb") as wanted:
        web.put(c, "/import_raw_vdi", image.read(), vdi=vdi, format="qcow2")
        report.check(web.get(c, "/export_raw_vdi", vdi=vdi)[2] == wanted.read(), "qemu-img's difference upon a copy of its base is the whole")
    c("VDI.destroy", vdi)


def image_of(c, vdi):
    name = c("VDI.get_uuid", vdi) + ".qcow2"
    path, = (p for p in c.daemon.files() if os.path.basename(p) == name)
    return os.path.join(c.daemon.state, "storage", path)


@test
def repository(c):
    """The images in a repository, whole, in chains, and grown."""
    for title, data in contents().items():
        vdi = disk(c, data)
        read_by_all(c, image_of(c, vdi), "qcow2", data, f"{title} in its repository")
        c("VDI.destroy", vdi)
    data = bytearray(contents()["a sparse disk"])
    vdi = disk(c, bytes(data), "changes")
    before = bytes(data)
    snapshot = c("VDI.snapshot", vdi, {})
    data[3 * MIB:3 * MIB + 5] = b"later"
    data[9 * MIB:10 * MIB] = bytes(MIB)
    web.put(c, "/import_raw_vdi", bytes(data), vdi=vdi)
    clone = c("VDI.clone", snapshot, {})
    read_by_all(c, image_of(c, snapshot), "qcow2", before, "a snapshot in its repository")
    read_by_all(c, image_of(c, vdi), "qcow2", bytes(data), "a disk with a snapshot in its repository")
    read_by_all(c, image_of(c, clone), "qcow2", before, "a clone in its repository")
    c("VDI.resize", vdi, 30 * MIB)
    read_by_all(c, image_of(c, vdi), "qcow2", bytes(data) + bytes(30 * MIB - len(data)), "a disk that has grown in its repository")
    for ref in (clone, vdi, snapshot):
        c("VDI.destroy", ref)


# -- NBD, at the place that is told --

def authority(c, name, pem):
    """A folder for libnbd with that as the only authority."""
    folder = os.path.join(c.daemon.dir, name)
    os.makedirs(folder)
    with open(os.path.join(folder, "ca-cert.pem"), "w") as f:
        f.write(pem)
    return folder


def uri_of(info, folder):
    return f"nbds://{info['address']}:{info['port']}/{quote(info['exportname'], safe='')}?tls-certificates={folder}"


def handshake(info, name):
    """The names in the certificate of who answers there, if it is good for this one; ssl.SSLError where it is not."""
    context = ssl.create_default_context(cadata=info["cert"])
    with socket.create_connection((info["address"], int(info["port"])), timeout=30) as s:
        s.settimeout(30)
        begin = s.recv(18, socket.MSG_WAITALL)
        assert begin[:16] == b"NBDMAGICIHAVEOPT", begin
        s.sendall(struct.pack(">I", 1) + struct.pack(">8sII", b"IHAVEOPT", 5, 0))
        _, option, kind, n = struct.unpack(">QIII", s.recv(20, socket.MSG_WAITALL))
        assert (option, kind, n) == (5, 1, 0), (option, kind, n)
        with context.wrap_socket(s, server_hostname=name) as tls:
            return [v for k, v in tls.getpeercert()["subjectAltName"] if k == "DNS"]


@test
def told_places(c):
    data = contents()["a sparse disk"]
    vdi = disk(c, data)
    network = next(n for n in c("network.get_all") if ADDRESS in {c("PIF.get_IP", p) for p in c("network.get_PIFs", n)})
    c("network.add_purpose", network, "nbd")
    found = c("VDI.get_nbd_info", vdi)
    info, = found
    report.check(info["address"] == ADDRESS, "VDI.get_nbd_info tells the host's address", info)
    uri = uri_of(info, authority(c, "told", info["cert"]))
    r = run("nbdinfo", "--json", uri)
    said = json.loads(r.stdout or '{"exports": [{}]}')
    report.check(r.returncode == 0 and said.get("TLS") and said["exports"][0].get("export-size") == len(data) and said["exports"][0].get("is_read_only"),
                 "nbdinfo with TLS, at the address, port and name that are told, with the certificate that is told", r.stdout, r.stderr)
    copy = os.path.join(c.daemon.dir, "copy")
    r = run("nbdcopy", uri, copy)
    with open(copy, "rb") as f:
        report.check(r.returncode == 0 and f.read() == data, "nbdcopy gets the disk from there", r.stderr)
    held_ = sum(int(line.split()[1]) for line in run("nbdinfo", "--map", uri).stdout.splitlines() if line.endswith("data"))
    report.check(0 < held_ <= held(data, 65536), "nbdinfo --map says where there is data", held_)
    try:
        names = handshake(info, info["subject"])
        report.check(info["subject"] in names, "the certificate is good for the subject that is told", names)
    except ssl.SSLError as e:
        report.fail("the certificate is good for the subject that is told", info["subject"], e)
    try:
        report.fail("it is good for no other name", handshake(info, "other.example"))
    except ssl.SSLError as e:
        report.check("ostname mismatch" in str(e), "it is good for no other name", e)
    key, other = (os.path.join(c.daemon.dir, n) for n in ("other.key", "other.pem"))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", other, "-subj", "/CN=other"],
                   capture_output=True, check=True)
    with open(other) as f:
        r = run("nbdinfo", "--json", uri_of(info, authority(c, "others", f.read())))
    report.check(r.returncode and "certificate" in r.stderr.lower(), "who trusts another certificate reads nothing", r.stdout, r.stderr)
    report.check(until(lambda: not c("VDI.get_VBDs", vdi)), "once they have ended nobody holds it")
    c("VDI.destroy", vdi)


def main():
    wanted = sys.argv[1:]
    with Daemon(args=["--listen", "0.0.0.0"]) as daemon:
        c = daemon.client()
        for function in TESTS:
            if wanted and not any(w in function.__name__ for w in wanted):
                continue
            try:
                function(c)
            except (XapiError, Lost, AssertionError, OSError, ValueError, KeyError, IndexError, subprocess.SubprocessError) as e:
                report.fail(function.__name__, *traceback.format_exception(e)[-4:])
                if not daemon.running():
                    report.note(daemon.log_tail())
                    break
    sys.exit(report.done())


if __name__ == "__main__":
    if os.environ.get("FOREIGN_INSIDE"):
        subprocess.run(["sh", "-ec", NETWORK], check=True)
        main()
    os.execvpe("unshare", ["unshare", "--net", sys.executable, os.path.abspath(__file__), *sys.argv[1:]], {**os.environ, "FOREIGN_INSIDE": "1"})
