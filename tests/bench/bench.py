#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""bench.py [--short] -- figures of a daemon with 1,000 and 10,000 VMs, each beside what the machine can do.

Reads: server CPU for each call and calls a second, beside nginx sending a file of the answer's size over TLS to the same client.
Writes: beside pwrite and fdatasync, and a bare libraft, on the same disk.  Then events, memory, start-up, and what a second core
brings.  The figures depend on the machine; the ratios less so.  It fails where a call fails.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xmlrpc.client

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import lab  # noqa: E402
from daemon import Daemon, cpu_of, program, until  # noqa: E402
from report import Report  # noqa: E402

SHORT = "--short" in sys.argv
SECONDS = 2 if SHORT else 10
CONNECTIONS = 4


def load(where, connections, seconds, files, count=0):
    text = subprocess.run([program("bench-load"), where, str(connections), str(seconds), str(count), *files], check=True,
                          capture_output=True, text=True).stdout
    return {k: float(v) for k, v in (line.split() for line in text.splitlines())}


class Bench:
    def __init__(self):
        self.report = Report()
        self.work = tempfile.mkdtemp(prefix="xb-")
        self.rows = []
        self.nginx = None
        self.figures = {}

    # -- requests --

    def file(self, name, head, body=b""):
        path = os.path.join(self.work, name)
        with open(path, "wb") as f:
            f.write(head.encode() + body)
        return path

    def request(self, name, method, *params):
        body = xmlrpc.client.dumps(params, method, allow_none=True).encode()
        return self.file(name, f"POST /RPC2 HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\nContent-Length: {len(body)}\r\n\r\n", body)

    # -- the yardstick of reads --

    def start_nginx(self):
        """One worker for each core, its port and its processes."""
        key, cert = os.path.join(self.work, "key.pem"), os.path.join(self.work, "cert.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj",
                        "/CN=localhost"], check=True, capture_output=True)
        os.makedirs(os.path.join(self.work, "www"))
        os.chmod(self.work, 0o755)
        port = 20000 + os.getpid() % 20000
        config = f"""
            user root; worker_processes auto; pid {self.work}/nginx.pid; error_log {self.work}/nginx.log;
            events {{ worker_connections 512; }}
            http {{ access_log off; sendfile on; keepalive_requests 100000000; client_body_temp_path {self.work}/t1;
                proxy_temp_path {self.work}/t2; fastcgi_temp_path {self.work}/t3; uwsgi_temp_path {self.work}/t4; scgi_temp_path {self.work}/t5;
                server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {cert}; ssl_certificate_key {key}; root {self.work}/www;
                    client_max_body_size 0; create_full_put_path on; dav_methods PUT; }} }}"""
        with open(os.path.join(self.work, "nginx.conf"), "w") as f:
            f.write(config)
        nginx = shutil.which("nginx") or "/usr/sbin/nginx"
        self.nginx = subprocess.Popen([nginx, "-c", os.path.join(self.work, "nginx.conf"), "-g", "daemon off;"], stderr=subprocess.PIPE)
        self.nginx_port = port
        if not until(lambda: os.path.exists(os.path.join(self.work, "nginx.pid")), 10):
            raise RuntimeError(f"nginx does not start: {self.nginx.stderr.read().decode()}")
        time.sleep(0.3)  # its workers listen as soon as it has made them; there is nothing to ask

    def nginx_pids(self):
        text = subprocess.run(["pgrep", "-P", str(self.nginx.pid)], capture_output=True, text=True).stdout
        return [int(p) for p in text.split()]

    def yardstick(self, size):
        """CPU of one file of that size, and files a second."""
        name = f"file-{size}"
        with open(os.path.join(self.work, "www", name), "wb") as f:
            f.write(os.urandom(4096) * (size // 4096 + 1))
            f.truncate(size)
        request = self.file(f"get-{size}", f"GET /{name} HTTP/1.1\r\nHost: localhost\r\n\r\n")
        before = cpu_of(self.nginx_pids())
        got = load(f"tls:{self.nginx_port}", CONNECTIONS, SECONDS, [request])
        return (cpu_of(self.nginx_pids()) - before) / got["answers"] * 1e6, got["per_second"]

    # -- parts --

    def read(self, daemon, name, request, key):
        before = cpu_of([daemon.pid])
        got = load(f"tls:{daemon.tls_port}", CONNECTIONS, SECONDS, [request])
        each = (cpu_of([daemon.pid]) - before) / got["answers"] * 1e6
        yard, yard_rate = self.yardstick(int(got["bytes"]))
        self.report.check(got["failures"] == 0, f"{name}: no call fails", got)
        self.rows.append((name, f"{each:.1f} us", f"{got['per_second']:.0f}/s", f"nginx, {int(got['bytes'])} bytes: {yard:.1f} us, {yard_rate:.0f}/s",
                          f"{each / yard:.2f} x"))
        self.figures[key] = {"cpu_us": each, "per_second": got["per_second"], "bytes": got["bytes"], "nginx_cpu_us": yard, "nginx_per_second": yard_rate}

    def populate(self, daemon, client, wanted):
        """VMs up to the number wanted."""
        have = len(client("VM.get_all"))
        record = dict(client("VM.get_record", lab.template(client)))
        record.update(name_label="one of many", is_a_template=False, other_config={"folder": "/bench", "note": "x" * 40})
        fields = {k: v for k, v in record.items() if not isinstance(v, list) and not (isinstance(v, str) and v.startswith("OpaqueRef:") and k != "affinity")}
        fields["tags"] = []
        request = self.request("create", "VM.create", client.session, fields)
        begin = time.monotonic()
        got = load(f"tls:{daemon.tls_port}", 32, 0, [request], wanted - have)
        self.report.check(got["failures"] == 0, f"{wanted} VMs are made", got)
        self.rows.append((f"VM.create to {wanted} VMs, 32 clients", "", f"{(wanted - have) / (time.monotonic() - begin):.0f}/s", "", ""))

    def reads(self, daemon, client, count):
        vm = client("VM.get_by_name_label", "one of many")[0]
        self.read(daemon, f"VM.get_uuid, {count} VMs", self.request("get_uuid", "VM.get_uuid", client.session, vm), f"get_uuid_{count}")
        self.read(daemon, f"VM.get_record, {count} VMs", self.request("get_record", "VM.get_record", client.session, vm), f"get_record_{count}")
        self.read(daemon, f"VM.get_all_records, {count} VMs", self.request("get_all", "VM.get_all_records", client.session), f"get_all_{count}")

    def writes(self, daemon, client):
        yard = {}
        for line in subprocess.run([program("raft-yardstick"), daemon.dir, str(max(1, SECONDS // 2))], check=True, capture_output=True,
                                   text=True).stdout.splitlines():
            key, _, value = line.partition(" ")
            yard[key] = float(value.split()[0])
        vms = client("VM.get_by_name_label", "one of many")[:64]
        files = [self.request(f"set-{i}", "VM.set_name_description", client.session, vm, "another text") for i, vm in enumerate(vms)]
        for n in (1, 64):
            before = cpu_of([daemon.pid])
            got = load(f"tls:{daemon.tls_port}", n, SECONDS, files[:n])
            each = (cpu_of([daemon.pid]) - before) / got["answers"] * 1e6
            self.report.check(got["failures"] == 0, f"durable set, {n} clients: no call fails", got)
            self.rows.append((f"durable set, {n} clients", f"{each:.1f} us", f"{got['per_second']:.0f}/s, p50 {got['p50']:.0f} us", "", ""))
            self.figures[f"set_{n}"] = {"cpu_us": each, "per_second": got["per_second"], "p50_us": got["p50"], "p99_us": got["p99"]}
        for key, value in yard.items():
            self.rows.append((f"  yardstick {key}", "", f"{value:.0f}", "", ""))
        self.figures["disk"] = yard

    def events(self, daemon, client, rounds):
        got = {}
        for line in subprocess.run([program("bench-event"), str(daemon.tls_port), client.password, str(rounds)], check=True, capture_output=True,
                                   text=True).stdout.splitlines():
            key, value = line.split()
            got[key] = float(value)
        self.rows.append(("event, from sending the change", f"p50 {got['event_p50']:.0f} us", f"max {got['event_max']:.0f} us",
                          f"the change itself: p50 {got['answered_p50']:.0f} us", ""))
        self.rows.append(("event, after the change's answer", f"p50 {got['after_p50']:.0f} us", f"max {got['after_max']:.0f} us", "", ""))
        self.figures["event_us"] = got

    def memory(self, daemon, count):
        with open(f"/proc/{daemon.pid}/status") as f:
            kib = int(re.search(r"RssAnon:\s+(\d+)", f.read()).group(1))
        self.rows.append((f"anonymous memory, {count} VMs", f"{kib / 1024:.1f} MiB", "", "", ""))
        self.figures[f"anon_mib_{count}"] = kib / 1024

    def start_up(self, daemon, count):
        daemon.stop()
        begin = time.monotonic()
        daemon.start()
        seconds = time.monotonic() - begin
        self.rows.append((f"start until calls are answered, {count} VMs", f"{seconds * 1000:.0f} ms", "", "", ""))
        self.figures[f"start_ms_{count}"] = seconds * 1000

    def cores(self, daemon, client):
        """The same server on one core and on two; the client takes its own share of them."""
        if (os.cpu_count() or 1) < 2:
            return
        request = self.request("get_all", "VM.get_all_records", client.session)
        rates = {}
        for cores in ("0", "0,1"):
            subprocess.run(["taskset", "-a", "-p", "-c", cores, str(daemon.pid)], check=True, capture_output=True)
            before, begin = cpu_of([daemon.pid]), time.monotonic()
            got = load(f"plain:{daemon.plain_port}", 8, SECONDS * 2, [request])
            rates[cores] = got["per_second"]
            self.rows.append((f"VM.get_all_records, 8 connections, core {cores}", f"{(cpu_of([daemon.pid]) - before) / (time.monotonic() - begin):.2f} cores used",
                              f"{got['per_second']:.1f}/s", f"client used {got['client_cpu'] / got['seconds']:.2f} cores", ""))
        self.rows.append(("  two cores against one", "", f"{rates['0,1'] / rates['0']:.2f} x", "", ""))
        self.figures["two_cores"] = rates["0,1"] / rates["0"]

    def run(self):
        self.start_nginx()
        with Daemon() as daemon:
            self.memory(daemon, 0)
            client = daemon.client(transport="tls")
            self.populate(daemon, client, 1000)
            self.reads(daemon, client, 1000)
            self.memory(daemon, 1000)
            self.writes(daemon, client)
            self.events(daemon, client, 20 if SHORT else 200)
            self.populate(daemon, client, 10000)
            self.reads(daemon, client, 10000)
            self.memory(daemon, 10000)
            self.cores(daemon, client)
            self.start_up(daemon, 10000)
        for row in self.rows:
            print(f"{row[0]:<46} {row[1]:<16} {row[2]:<24} {row[3]:<44} {row[4]}")
        print("# " + json.dumps(self.figures))

    def end(self):
        if self.nginx:
            self.nginx.terminate()
            self.nginx.wait()
        shutil.rmtree(self.work, ignore_errors=True)


def main():
    bench = Bench()
    try:
        bench.run()
    finally:
        bench.end()
    sys.exit(bench.report.done())


if __name__ == "__main__":
    main()
