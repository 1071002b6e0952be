#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What administrators do with curl, qemu-img, tar and bsdtar: every address that gives or takes a file, by name.

Address and password as in tour.py.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import urllib.parse
import uuid
import xml.etree.ElementTree

from tour import PASSWORD, PORT, URL_HOST, USER, Failure, Session, add_disk, check, destroy, find_sr, make_vm, ok

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "transfer"))
import xva  # noqa: E402

MIB = 1 << 20


def run(*words, **how):
    return subprocess.run(words, capture_output=True, timeout=300, **how)


def url(path, **query):
    return f"https://{URL_HOST}:{PORT}{path}" + ("?" + urllib.parse.urlencode(query) if query else "")


def curl(*words, **how):
    """(status, headers, body) of the last answer."""
    with tempfile.NamedTemporaryFile() as head:
        done = run("curl", "-ksSL", "--location-trusted", "-D", head.name, *words, **how)
        text = open(head.name, newline="").read()
    if done.returncode:
        check(False, f"curl {' '.join(words)}", done.returncode, done.stderr.decode())
    blocks = [b for b in text.split("\r\n\r\n") if b]
    lines = blocks[-1].split("\r\n")
    headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:] if ": " in line)}
    return int(lines[0].split()[1]), headers, done.stdout


def fetch(path, name, *words, **query):
    """Downloads into a file; its headers."""
    status, headers, _ = curl("-o", name, *words, url(path, **query))
    check(status == 200, f"curl -o {name} {path}", status, headers)
    return headers


def same(one, other, form="raw"):
    done = run("qemu-img", "compare", "-f", form, "-F", "raw", one, other)
    return done.returncode == 0, done.stdout + done.stderr


def names_user(s):
    """Ways to say who asks."""
    host = "/host_rrd"
    for words, query, text in (
        (("-u", f"{USER}:{PASSWORD}"), {}, "-u USER:PASSWORD"),
        (("-b", f"session_id={s.ref}"), {}, "-b session_id=..."),
        ((), {"session_id": s.ref}, "a session in the query"),
    ):
        status, _, body = curl(*words, url(host, **query))
        check(status == 200 and json.loads(body)["version"] == "0003", f"curl with {text}", status, body[:200])
    status, headers, _ = curl(url(host))
    check(status == 401 and headers.get("www-authenticate", "").startswith("Basic "), "nobody is asked for a password", status, headers)
    status, _, _ = curl("-u", f"{USER}:{PASSWORD}x", url(host))
    check(status == 401, "a wrong password is none", status)
    status, headers, _ = curl("-I", "-u", f"{USER}:{PASSWORD}", url(host))
    check(status == 200 and int(headers["content-length"]) > 0, "curl -I", status, headers)


def disks(s, vm):
    """A disk through all its forms, with qemu-img as the judge."""
    vdi = next(s("VBD.get_VDI", b) for b in s("VM.get_VBDs", vm) if s("VBD.get_type", b) == "Disk")
    size = int(s("VDI.get_virtual_size", vdi))
    who = ("-u", f"{USER}:{PASSWORD}")
    with open("disk.raw", "wb") as f:
        for place in (0, size // 3, size - MIB):
            f.seek(place)
            f.write(random.Random(place).randbytes(MIB))
    where = {"vdi": s("VDI.get_uuid", vdi)}
    for title, words in (
        ("curl -T", ("-T", "disk.raw")),
        ("curl -T, waiting to be told to go on", ("-H", "Expect: 100-continue", "-T", "disk.raw")),
        ("curl -T, not waiting", ("-H", "Expect:", "-T", "disk.raw")),
        ("curl -T over HTTP/1.0", ("-0", "-T", "disk.raw")),
        ("curl -X PUT --data-binary", ("-X", "PUT", "--data-binary", "@disk.raw")),
    ):
        run("truncate", "-s", "0", "empty.raw")
        run("truncate", "-s", str(size), "empty.raw")
        curl(*who, "-T", "empty.raw", url("/import_raw_vdi", format="raw", **where))
        status, _, _ = curl(*who, *words, url("/import_raw_vdi", format="raw", **where))
        check(status == 200, f"{title}: is taken", status)
        fetch("/export_raw_vdi", "back.raw", *who, format="raw", **where)
        check(same("back.raw", "disk.raw")[0], f"{title}: comes back the same")
    status, _, _ = curl(*who, "-T", "-", url("/import_raw_vdi", format="raw", **where), stdin=open("empty.raw", "rb"))
    check(status == 404, "an upload in HTTP's chunks is refused", status)
    fetch("/export_raw_vdi", "back.raw", *who, format="raw", **where)
    check(same("back.raw", "disk.raw")[0], "and has changed nothing")

    for form, driver, kind in (("vhd", "vpc", "application/vhd"), ("qcow2", "qcow2", "application/x-qemu-disk")):
        name = f"disk.{form}"
        headers = fetch("/export_raw_vdi", name, *who, format=form, **where)
        check(headers["content-type"] == kind, f"{form}: it is called {kind}", headers)
        info = json.loads(run("qemu-img", "info", "--output=json", "-f", driver, name).stdout)
        check(info["format"] == driver and info["virtual-size"] == size, f"qemu-img info {name}", info)
        check(same(name, "disk.raw", driver)[0], f"qemu-img compare {name}", same(name, "disk.raw", driver)[1])
        # qemu's own is read as well.
        run("qemu-img", "convert", "-f", "raw", "-O", driver, *(["-o", "force_size=on"] if driver == "vpc" else []), "disk.raw", "theirs." + form)
        curl(*who, "-T", "empty.raw", url("/import_raw_vdi", format="raw", **where))
        status, _, body = curl(*who, "-T", "theirs." + form, url("/import_raw_vdi", format=form, **where))
        check(status == 200, f"curl -T what qemu-img convert -O {driver} made", status, body)
        fetch("/export_raw_vdi", "back.raw", *who, format="raw", **where)
        check(same("back.raw", "disk.raw")[0], f"{form}: qemu's image comes back the same")
    status, _, _ = curl(*who, url("/export_raw_vdi", format="floppy", **where))
    check(status == 404, "a form that there is not", status)
    status, headers, body = curl(*who, "-r", "0-511", "-o", "part", url("/export_raw_vdi", format="raw", **where))
    got = os.path.getsize("part")
    check((status, got) in ((200, size), (206, 512)), "a range is given, or all", status, got)
    status, _, _ = curl(*who, url("/export_raw_vdi", vdi=str(uuid.uuid4())))
    check(status == 404, "a disk that there is not", status)
    return "disk.raw"


def archives(s, vm, content):
    who = ("-u", f"{USER}:{PASSWORD}")
    vm_uuid = s("VM.get_uuid", vm)
    headers = fetch("/export", "vm.xva", *who, uuid=vm_uuid)
    check("export.xva" in headers.get("content-disposition", ""), "an archive has a name", headers)
    gnu = run("tar", "-tf", "vm.xva").stdout.decode().split()
    bsd = run("bsdtar", "-tf", "vm.xva").stdout.decode().split()
    check(gnu[0] == "ova.xml" and gnu == bsd and len(gnu) > 4, "GNU tar and bsdtar list the same", gnu, bsd)
    for program in ("tar", "bsdtar"):
        os.mkdir(program)
        done = run(program, "-xf", "vm.xva", "-C", program)
        check(done.returncode == 0 and not done.stderr, f"{program} -x says nothing", done.stderr)
        wrong = []
        for name in gnu:
            if name + ".xxhash" in gnu:
                with open(os.path.join(program, name), "rb") as data, open(os.path.join(program, name + ".xxhash")) as written:
                    wrong += [name] if f"{xva.xxh64(data.read()):016X}" != written.read() else []
        check(not wrong, f"{program} -x: every checksum fits", wrong)
    check(run("diff", "-r", "tar", "bsdtar").returncode == 0, "both unpack the same")
    root = xml.etree.ElementTree.parse("tar/ova.xml").getroot()
    check(vm_uuid in [v.text for v in root.iter("value")] or vm_uuid in "".join(root.itertext()), "ova.xml names the machine")
    for how, program in (("gzip", ["gzip", "-t"]), ("zstd", ["zstd", "-tq"])):
        fetch("/export", f"vm.{how}", *who, uuid=vm_uuid, use_compression=how)
        check(run(*program, f"vm.{how}").returncode == 0, f"{how} -t finds it whole")
        listed = run("bsdtar", "-tf", f"vm.{how}").stdout.decode().split()
        check(listed == gnu, f"bsdtar looks into what {how} packed", listed)
    # Packed again by others, with what they add.
    run("tar", "--format=gnu", "-cf", "again.xva", "-C", "tar", *gnu)
    run("bsdtar", "--format=pax", "-czf", "again.xva.gz", "-C", "tar", *gnu)
    for name in ("vm.xva", "vm.zstd", "again.xva", "again.xva.gz"):
        before = set(s("VM.get_all"))
        status, _, body = curl(*who, "-T", name, url("/import"))
        new = list(set(s("VM.get_all")) - before)
        check(status == 200 and len(new) == 1, f"curl -T {name} /import", status, body, new)
        disk = next(s("VBD.get_VDI", b) for b in s("VM.get_VBDs", new[0]) if s("VBD.get_type", b) == "Disk")
        fetch("/export_raw_vdi", "back.raw", *who, format="raw", vdi=s("VDI.get_uuid", disk))
        check(same("back.raw", content)[0], f"{name}: its disk is the same")
        destroy(s, new[0])
    status, _, _ = curl(*who, "-T", "-", url("/import"), stdin=open("vm.xva", "rb"))
    check(status == 403, "an archive in HTTP's chunks is refused", status)
    headers = fetch("/export_metadata", "vm.meta", *who, uuid=vm_uuid)
    check(int(headers["content-length"]) == os.path.getsize("vm.meta"), "records alone have a length", headers)


def figures(s, vm):
    who = ("-u", f"{USER}:{PASSWORD}")
    status, headers, body = curl(*who, url("/rrd_updates", start=-60, cf="AVERAGE", interval=5, host="true", json="true"))
    check(status == 200 and set(json.loads(body)) == {"meta", "data"}, "figures as JSON", status, body[:200])
    # What curl says of itself, that it takes anything, means JSON.
    xml_please = ("-H", "Accept: text/xml")
    status, headers, body = curl(*who, *xml_please, url("/rrd_updates", start=-60, cf="AVERAGE", interval=5, host="true"))
    root = xml.etree.ElementTree.fromstring(body)
    legend = [e.text for e in root.iter("entry")]
    check(root.tag == "xport" and int(root.findtext("meta/columns")) == len(legend) > 0, "figures as XML", legend)
    status, _, _ = curl(*who, url("/rrd_updates"))
    check(status == 400, "from when is to be said", status)
    status, _, body = curl(*who, *xml_please, url("/vm_rrd", uuid=s("VM.get_uuid", vm)))
    check(status == 200 and xml.etree.ElementTree.fromstring(body).tag == "rrd", "a machine's own figures", status)
    status, headers, body = curl(*who, url("/vncsnapshot", uuid=s("VM.get_uuid", vm)))
    check(status == 200 and headers["content-type"] == "image/jpeg" and body[:3] == b"\xff\xd8\xff" and body[-2:] == b"\xff\xd9",
          "a machine's screen is a JPEG", status, headers)
    status, headers, _ = curl(*who, "-I", url("/vncsnapshot", uuid=s("VM.get_uuid", vm)))
    check(status == 200 and int(headers["content-length"]) > 0, "its head can be had alone", status, headers)


def others(s):
    who = ("-u", f"{USER}:{PASSWORD}")
    headers = fetch("/system-status", "status.tar", *who, output="tar")
    listed = run("bsdtar", "-tf", "status.tar").stdout.decode().split()
    check(headers["content-type"] == "application/x-tar" and listed, "a status report is an archive", headers, listed)
    headers = fetch("/system-status", "status.zip", *who, output="zip")
    check(run("bsdtar", "-tf", "status.zip").returncode == 0, "or another kind of it")
    headers = fetch("/host_logs_download", "logs.tar", *who)
    check(run("tar", "-tf", "logs.tar").returncode == 0, "so are the logs")
    headers = fetch("/pool/xmldbdump", "db.xml", *who)
    check(xml.etree.ElementTree.parse("db.xml").getroot().tag == "database", "the database is XML")
    headers = fetch("/audit_log", "audit.log", *who)
    check("text/plain" in headers["content-type"] and os.path.getsize("audit.log") > 0, "the audit log is text", headers)
    pool = s("pool.get_all")[0]
    blob = s("pool.create_new_blob", pool, f"files.py {uuid.uuid4()}", "text/plain", False)
    with open("blob", "w") as f:
        f.write("what is kept\n")
    status, _, _ = curl(*who, "-T", "blob", url("/blob", ref=blob))
    check(status == 200, "curl -T blob /blob", status)
    headers = fetch("/blob", "blob.back", *who, ref=blob)
    check(headers["content-type"] == "text/plain" and open("blob.back").read() == "what is kept\n", "and it is there", headers)
    s("blob.destroy", blob)
    status, _, _ = curl(*who, "-X", "DELETE", url("/blob", ref=blob))
    check(status == 501 or status == 405, "a method that there is not", status)


def main():
    s = Session(USER, PASSWORD)
    names_user(s)
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        vm = make_vm(s, f"files.py {uuid.uuid4()}")
        add_disk(s, vm, find_sr(s, s("pool.get_all")[0]))
        s("VM.set_memory_limits", vm, *[str(64 * MIB)] * 4)
        content = disks(s, vm)
        archives(s, vm, content)
        s("VM.start", vm, False, False)
        figures(s, vm)
        s("VM.hard_shutdown", vm)
        destroy(s, vm)
        others(s)
        os.chdir("/")
    s("session.logout")
    ok("all is cleared away")


if __name__ == "__main__":
    try:
        main()
    except Failure as e:
        print(f"not ok - the server failed: {e.details}", flush=True)
        raise
