#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""bench.py -- what a call costs, beside a yardstick measured in the same run on the same machine.

usage: bench.py [--short]

Server CPU is what the kernel charged the process (user and system) between two readings of /proc/<pid>/stat, divided by the calls.
Yardsticks: nginx serving a file of the reply's size over TLS to the same client; pwrite and fdatasync of 4 kB, and a bare libraft
program, in the daemon's own directory.  Read the ratios; absolute figures are this machine's.
"""

import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from daemon import NULL, Daemon, program  # noqa: E402

SHORT = "--short" in sys.argv
TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def anonymous_mb(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"RssAnon:\s+(\d+)", f.read()).group(1)) / 1024


def threads_of(pid):
    return [int(t) for t in os.listdir(f"/proc/{pid}/task")]


def pin(pid, cpus):
    for tid in threads_of(pid):
        os.sched_setaffinity(tid, cpus)


def request_file(folder, name, head, body):
    path = os.path.join(folder, name)
    with open(path, "w") as f:
        f.write(f"{head}\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}" if body is not None else f"{head}\r\nHost: localhost\r\n\r\n")
    return path


def call_file(folder, name, method, *params):
    values = "".join(f"<param><value>{p}</value></param>" for p in params)
    body = f"<?xml version=\"1.0\"?><methodCall><methodName>{method}</methodName><params>{values}</params></methodCall>"
    return request_file(folder, name, "POST / HTTP/1.1\r\nContent-Type: text/xml", body)


def load(port, connections, requests, path, seconds=0):
    command = [program("bench-load"), "127.0.0.1", str(port), str(connections), str(requests), path]
    out = subprocess.run(command + ([str(seconds)] if seconds else []), capture_output=True, text=True, check=True).stdout
    return {k: float(v) for k, v in (line.split() for line in out.splitlines())}


def measure(pid, port, connections, requests, path, seconds=0):
    before = cpu_seconds(pid)
    result = load(port, connections, requests, path, seconds)
    result["cpu_us"] = (cpu_seconds(pid) - before) * 1e6 / result["requests"]
    return result


class Nginx:
    """A yardstick: one worker process, TLS with the daemon's own certificate, files of given sizes."""

    def __init__(self, folder, certificate, port):
        self.folder, self.port = os.path.join(folder, "nginx"), port
        os.makedirs(self.folder)
        conf = os.path.join(self.folder, "conf")
        with open(conf, "w") as f:
            f.write(f"""
user root; worker_processes 1; daemon off; pid {self.folder}/pid; error_log {self.folder}/error;
events {{ worker_connections 1024; }}
http {{
    access_log off; keepalive_requests 1000000; sendfile on;
    client_body_temp_path {self.folder}/b; proxy_temp_path {self.folder}/p; fastcgi_temp_path {self.folder}/f;
    uwsgi_temp_path {self.folder}/u; scgi_temp_path {self.folder}/s;
    server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {certificate}; ssl_certificate_key {certificate};
              root {self.folder}; }}
}}
""")
        self.process = subprocess.Popen(["nginx", "-p", self.folder, "-c", conf], stderr=subprocess.DEVNULL)
        for _ in range(200):
            if os.path.exists(f"{self.folder}/pid") and open(f"{self.folder}/pid").read().strip():
                break
            time.sleep(0.05)
        children = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True).stdout.split()
        self.pid = int(children[0])

    def file(self, size):
        with open(os.path.join(self.folder, str(size)), "wb") as f:
            f.write(b"x" * size)
        return request_file(self.folder, f"get-{size}", f"GET /{size} HTTP/1.1", None)

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def row(name, figure, unit, yardstick="", against=None):
    ratio = f"  ratio {figure / against:.2f}" if against else ""
    print(f"{name:44s} {figure:12.2f} {unit:10s} {yardstick:36s} {against if against is None else round(against, 2)!s:>10}{ratio}", flush=True)


def fill(daemon, have, want):
    """Makes VMs up to 'want', each with a network interface and an empty drive, several at a time."""
    template = daemon.client()("VM.get_by_name_label", "Other install media")[0]
    record = daemon.client()("VM.get_record", template)
    network = daemon.client()("network.get_all")[0]
    record.update(is_a_template=False, is_default_template=False, other_config={})
    todo = iter(range(have, want))
    lock = threading.Lock()

    def work():
        client = daemon.client()
        while True:
            with lock:
                i = next(todo, None)
            if i is None:
                return
            vm = client("VM.create", dict(record, name_label=f"vm-{i:05d}", uuid=""))
            client("VIF.create", {"VM": vm, "network": network, "device": "0", "MAC": "", "MTU": 1500, "other_config": {},
                                  "qos_algorithm_type": "", "qos_algorithm_params": {}})
            client("VBD.create", {"VM": vm, "VDI": NULL, "userdevice": "3", "bootable": False, "mode": "RO", "type": "CD", "empty": True,
                                  "unpluggable": True, "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}})

    workers = [threading.Thread(target=work) for _ in range(8)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()


def small_calls(d, folder, nginx, session, vm, uuid):
    n = 4000 if SHORT else 20000
    for name, method, params in (("VM.get_uuid", "VM.get_uuid", (session, vm)), ("VM.get_record", "VM.get_record", (session, vm))):
        path = call_file(folder, name, method, *params)
        load(d.tls_port, 4, 500, path)
        ours = measure(d.pid, d.tls_port, 4, n, path)
        yard = measure(nginx.pid, nginx.port, 4, n, nginx.file(int(ours["bytes"])))
        row(f"{name}: server CPU a call", ours["cpu_us"], "us", f"nginx, {int(ours['bytes'])} bytes", yard["cpu_us"])
        row(f"{name}: calls", ours["per_second"], "/s", "nginx", yard["per_second"])


def all_records(d, folder, nginx, session, vms):
    path = call_file(folder, "all", "VM.get_all_records", session)
    n = 3 if SHORT else 10
    load(d.tls_port, 1, 1, path)
    ours = measure(d.pid, d.tls_port, 1, n, path)
    yard = measure(nginx.pid, nginx.port, 1, n, nginx.file(int(ours["bytes"])))
    row(f"VM.get_all_records of {vms}: server CPU", ours["cpu_us"] / 1000, "ms", f"nginx, {ours['bytes'] / 1e6:.1f} MB", yard["cpu_us"] / 1000)
    row(f"VM.get_all_records of {vms}: time", ours["p50_us"] / 1000, "ms", "nginx", yard["p50_us"] / 1000)
    if vms >= 1000 and os.cpu_count() > 1:
        pin(d.pid, {0})
        one = load(d.tls_port, 8, 8 * n, path)["per_second"]
        pin(d.pid, set(range(2)))
        two = load(d.tls_port, 8, 8 * n, path)["per_second"]
        row(f"get_all_records of {vms}, 8 connections, two cores", two, "/s", "one core", one)


def durable_set(d, folder, session, vm):
    yard = subprocess.run([program("raft-yardstick"), d.state, "2"], capture_output=True, text=True, check=True).stdout
    yard = {k: float(v) for k, v in (line.split()[:2] for line in yard.splitlines())}
    print("#", " ".join(f"{k}={v:g}" for k, v in yard.items()))
    path = call_file(folder, "set", "VM.set_name_description", session, vm, "benchmark")
    # A set of the same value writes nothing to the row but is as durable as any other.
    one = measure(d.pid, d.tls_port, 1, 2000 if SHORT else 10000, path)
    many = measure(d.pid, d.tls_port, 64, 12800 if SHORT else 64000, path)
    pwrite = [v for k, v in yard.items() if "pwrite" in k and "p50" in k]
    lone = [v for k, v in yard.items() if "raft" in k and "p50" in k]
    row("durable set, 1 client: p50", one["p50_us"], "us", "pwrite + fdatasync, 4 kB", pwrite[0] if pwrite else None)
    row("durable set, 1 client: p50", one["p50_us"], "us", "bare libraft, 1 entry", lone[0] if lone else None)
    row("durable set, 64 clients", many["per_second"], "/s", "one client", one["per_second"])
    row("durable set, 64 clients: p99", many["p99_us"] / 1000, "ms")


def event_delay(d, vm):
    """From the acknowledgement of a change to its event at a listener that waits."""
    writer, listener = d.client(), d.client()
    token = listener("event.from", ["vm/" + vm], "", 0.0)["token"]
    delays = []
    for i in range(50 if SHORT else 300):
        arrived = []

        def listen():
            arrived.append((listener("event.from", ["vm/" + vm], token, 10.0), time.monotonic()))

        t = threading.Thread(target=listen)
        t.start()
        time.sleep(0.005)  # the listener waits by then; where it does not, the delay is only shorter
        writer("VM.set_name_description", vm, f"event {i}")
        changed = time.monotonic()
        t.join()
        token = arrived[0][0]["token"]
        delays.append(max(0.0, arrived[0][1] - changed) * 1000)
    row("event delay after the acknowledgement: p50", statistics.median(delays), "ms")
    row("event delay: p99", sorted(delays)[len(delays) * 99 // 100], "ms")


def main():
    folder = tempfile.mkdtemp(prefix="xapid-bench-")
    print(f"{'what':44s} {'figure':>12s} {'':10s} {'yardstick':36s} {'figure':>10s}")
    d = Daemon()
    try:
        nginx = Nginx(folder, os.path.join(d.state, "xapid-tls.pem"), d.tls_port + 1)
        row("resident anonymous memory, fresh", anonymous_mb(d.pid), "MB")
        made = 0
        for vms in (1000,) if SHORT else (1000, 10000):
            fill(d, made, vms)
            made = vms
            client = d.client()
            vm = client("VM.get_by_name_label", f"vm-{made - 1:05d}")[0]
            if vms == 1000:
                small_calls(d, folder, nginx, client.session, vm, client("VM.get_uuid", vm))
                durable_set(d, folder, client.session, vm)
                event_delay(d, vm)
            all_records(d, folder, nginx, client.session, vms)
            row(f"resident anonymous memory, {vms} VMs", anonymous_mb(d.pid), "MB")
            start = time.monotonic()
            d.restart()
            row(f"stop and start with {vms} VMs", time.monotonic() - start, "s")
            row(f"resident anonymous memory after it, {vms} VMs", anonymous_mb(d.pid), "MB")
        nginx.close()
        print("ok - every figure was measured")
    finally:
        d.close()
        shutil.rmtree(folder, ignore_errors=True)


main()
