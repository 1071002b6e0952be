#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""stats.py -- statistics as clients fetch them: /host_rrd, /vm_rrd, /sr_rrd, /rrd_updates, PUT /rrd and /metrics, against guests of a known load."""

import base64
import http.client
import json
import math
import os
import re
import sys
import time
import xml.etree.ElementTree as ET

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
from daemon import PASSWORDS, Daemon, until  # noqa: E402
from report import Report  # noqa: E402

CELLS = 120 + 120 + 168 + 366  # rows of the four usual archives
NOBODY = "11111111-2222-3333-4444-555555555555"
PATIENCE = 60


class Reply:
    def __init__(self, response):
        self.status, self.body = response.status, response.read()
        self.headers = {k.lower(): v for k, v in response.getheaders()}
        self.type = self.headers.get("content-type", "").split(";")[0]

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def xml(self):
        return ET.fromstring(self.body)


def number(text):
    return {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}.get(text) if text in ("NaN", "Infinity", "-Infinity") else float(text)


def near(a, b, part=0.002):
    return abs(a - b) <= part * max(abs(b), 1e-9)


class World:
    """A daemon, and a VM with a disk and a NIC that runs at a known load."""

    def __init__(self):
        self.daemon = Daemon()
        self.root = c = self.daemon.client("root")
        self.host = c("host.get_all")[0]
        self.host_uuid = c("host.get_uuid", self.host)
        template = c("VM.get_by_name_label", "Other install media")[0]
        self.sr = next(s for s, r in c("SR.get_all_records").items() if r["type"] == "ext")
        self.sr_uuid = c("SR.get_uuid", self.sr)
        self.vm = c("VM.clone", template, "measured")
        c("VM.provision", self.vm)
        self.uuid = c("VM.get_uuid", self.vm)
        vdi = c("VDI.create", {"name_label": "d", "name_description": "", "SR": self.sr, "virtual_size": 1 << 24, "type": "user",
                               "sharable": False, "read_only": False, "other_config": {}})
        c("VBD.create", {"VM": self.vm, "VDI": vdi, "userdevice": "0", "bootable": False, "mode": "RW", "type": "Disk", "unpluggable": True,
                         "empty": False, "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}})
        c("VIF.create", {"device": "0", "network": c("network.get_all")[0], "VM": self.vm, "MAC": "", "MTU": 1500, "other_config": {},
                         "qos_algorithm_type": "", "qos_algorithm_params": {}})
        c("VM.start", self.vm, False, False)

    def http(self, path, method="GET", user="root", body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.daemon.plain_port, timeout=60)
        if user:
            token = base64.b64encode(f"{user}:{PASSWORDS.get(user, 'wrong')}".encode()).decode()
            headers["Authorization"] = "Basic " + token
        connection.request(method, path, body, headers)
        reply = Reply(connection.getresponse())
        connection.close()
        return reply

    def newest(self):
        return int(self.http("/host_rrd?json=").json["lastupdate"])

    def tick(self):
        """Waits for a sample after the next."""
        for _ in range(2):
            before = self.newest()
            if not until(lambda: self.newest() > before, PATIENCE):
                sys.exit("not ok - no sample is taken")

    def load(self, **load):
        self.daemon.sim(guest_load=self.uuid, **load)

    def spend(self, seconds):
        """The guest runs on for so long, seen as one interval between two samples."""
        self.tick()
        before = self.newest()
        self.daemon.sim(advance_ms=seconds * 1000)
        until(lambda: self.newest() >= before + seconds, PATIENCE)

    def updates(self, query):
        reply = self.http("/rrd_updates?" + query, Accept="application/json")
        return reply.json


def columns(updates):
    """{legend entry: values, newest first}"""
    rows = [r["values"] for r in updates["data"]]
    return {entry: [number(r[i]) for r in rows] for i, entry in enumerate(updates["meta"]["legend"])}


def whole_databases(report, w):
    reply = w.http("/host_rrd")
    rrd = reply.xml
    report.check(reply.status == 200 and reply.type == "text/xml" and reply.headers["access-control-allow-origin"] == "*" and
                 reply.headers["connection"] == "close", "/host_rrd is XML for everybody's pages, and ends the connection", reply.headers)
    report.check(rrd.tag == "rrd" and rrd.findtext("version") == "0003" and rrd.findtext("step") == "5" and int(rrd.findtext("lastupdate")) > 0,
                 "a whole database says its version, its step and when it was updated")
    functions = [(r.findtext("cf"), int(r.findtext("pdp_per_row")), len(r.findall("database/row")), float(r.findtext("params/xff")))
                 for r in rrd.findall("rra")]
    expected = [(cf, steps, rows, 1.0) for steps, rows in ((1, 120), (12, 120), (720, 168), (17280, 366)) for cf in ("AVERAGE", "MIN", "MAX")]
    report.check(functions == expected, "a host has averages and extremes in four lengths", functions)
    n = len(rrd.findall("ds"))
    report.check(all(len(row) == n for row in rrd.iter("row")) and all(len(p.findall("ds")) == n for p in rrd.iter("cdp_prep")),
                 "each row has a value for each source")
    same = w.http("/host_rrds?json").json
    report.check([d["name"] for d in same["ds"]] == [d.findtext("name") for d in rrd.findall("ds")] and len(same["rra"]) == 12 and
                 all(isinstance(v, str) for v in same["rra"][0]["database"][0]), "JSON mirrors it, and the plural path is the same")
    forms = [({}, "", "text/xml"), ({}, "&json=true", "application/json"), ({"Accept": "text/xml"}, "&json=true", "text/xml"),
             ({"Accept": "*/*"}, "", "application/json"), ({"Accept": "application/json"}, "", "application/json"),
             ({"Accept": "application/json;q=0.2, text/xml;q=0.3"}, "&json", "text/xml")]
    wrong = [(h, q, t) for h, q, t in forms if w.http(f"/vm_rrd?uuid={w.uuid}{q}", **h).type != t]
    report.check_none(wrong, "Accept decides the form; without it, json in the query")
    vm = w.http(f"/vm_rrd?uuid={w.uuid}").xml
    report.check([r.findtext("cf") for r in vm.findall("rra")] == ["AVERAGE"] * 4 and sum(len(r.findall("database/row")) for r in vm.iter("rra")) == CELLS
                 and {float(r.findtext("params/xff")) for r in vm.iter("rra")} == {0.5}, "a VM has averages in four lengths")
    names = {d.findtext("name") for d in vm.findall("ds")}
    report.check({"cpu0", "cpu_usage", "memory", "memory_target", "vif_0_rx", "vif_0_tx", "vbd_xvda_read", "vbd_xvda_write", "vbd_xvda_iops_read",
                  "vbd_xvda_read_latency"} <= names, "a VM has the names that XenCenter and Xen Orchestra look for", sorted(names))
    report.check({"cpu0", "cpu_avg", "loadavg", "memory_total_kib", "memory_free_kib", "pif_eth0_rx", f"iops_read_{w.sr_uuid[:8]}",
                  f"io_throughput_total_{w.sr_uuid[:8]}", f"iowait_{w.sr_uuid[:8]}", f"read_latency_{w.sr_uuid[:8]}"}
                 <= {d["name"] for d in same["ds"]}, "and so has a host")
    sr = w.http(f"/sr_rrd?uuid={w.sr_uuid}").xml
    report.check({d.findtext("name") for d in sr.findall("ds")} == {"size", "physical_utilisation"}, "a repository has its size and use")


def refusals(report, w):
    asked = {"/vm_rrd": 400, "/vm_rrd?uuid=x": 400, f"/vm_rrd?uuid={NOBODY}": 404, "/sr_rrd": 400, f"/sr_rrd?uuid={NOBODY}": 404,
             "/rrd_updates": 400, "/rrd_updates?start=soon": 400, "/rrd_updates?start=0&interval=x": 400, "/rrd_updates?start=0&cf=MEAN": 400}
    wrong = [f"{path}: {w.http(path).status}" for path, status in asked.items() if w.http(path).status != status]
    report.check_none(wrong, "what makes no sense is refused")
    report.check(w.http("/rrd_updates?start=0", user=None).status == 401, "nobody is asked who he is")


def roles(report, w):
    c = w.root
    subject = c("subject.create", {"subject_identifier": "alice", "other_config": {}})
    for role in c("subject.get_roles", subject):
        c("subject.remove_from_roles", subject, role)
    c("subject.add_to_roles", subject, c("role.get_by_name_label", "read-only")[0])
    paths = ("/host_rrd", f"/vm_rrd?uuid={w.uuid}", f"/sr_rrd?uuid={w.sr_uuid}", "/rrd_updates?start=0", "/metrics")
    wrong = [p for p in paths if w.http(p, user="alice").status != 200]
    report.check_none(wrong, "who may only read reads all of it")
    report.check(w.http(f"/rrd?uuid={w.uuid}", "PUT", user="alice", body=b"<rrd/>").status == 403, "and uploads nothing")
    c("subject.destroy", subject)


def rates(report, w):
    w.load(cpu=50, read=4096000, write=2048000, rx=100000, tx=50000)
    w.spend(120)
    c = w.root
    updates = w.updates("start=-100&cf=AVERAGE&host=true&sr_uuid=" + w.sr_uuid)
    got, vm, host = columns(updates), f"AVERAGE:vm:{w.uuid}:", f"AVERAGE:host:{w.host_uuid}:"
    expected = {vm + "cpu0": 0.5, vm + "cpu_usage": 0.5, vm + "memory": 268435456, vm + "vif_0_rx": 100000, vm + "vif_0_tx": 50000,
                vm + "vbd_xvda_read": 4096000, vm + "vbd_xvda_write": 2048000, vm + "vbd_xvda_iops_read": 1000,
                vm + "vbd_xvda_write_latency": 100, host + "pif_eth0_rx": 100000, host + "read_" + w.sr_uuid[:8]: 4096000,
                host + "iops_total_" + w.sr_uuid[:8]: 1500, host + "io_throughput_total_" + w.sr_uuid[:8]: 6144000 / 1048576,
                host + "iowait_" + w.sr_uuid[:8]: 0.15, host + "latency_" + w.sr_uuid[:8]: None}
    wrong = [f"{k}: {got.get(k, [])[:3]} instead of {v}" for k, v in expected.items()
             if v is not None and not (k in got and all(near(x, v) for x in got[k][:10]))]
    report.check_none(wrong, "rates are those of the load")
    report.check(host + "latency_" + w.sr_uuid[:8] not in got, "what is not standard is not recorded by itself")
    meta, times = updates["meta"], [r["t"] for r in updates["data"]]
    report.check(meta["rows"] == len(times) and meta["columns"] == len(meta["legend"]) and times == list(range(meta["end"], meta["start"] - 1, -5))
                 and meta["step"] == 5 and meta["end"] % 5 == 0, "rows come newest first, one each step", meta["start"], times[:3])
    report.check(all(isinstance(v, str) for r in updates["data"] for v in r["values"]), "values in JSON are strings")
    owners = [e.split(":")[1] for e in meta["legend"]]
    report.check(owners == sorted(owners, key=["host", "vm", "sr"].index), "the legend goes from the host over VMs to repositories")
    report.check(near(c("VM.query_data_source", w.vm, "cpu0"), 0.5, 0.05), "a data source says the same")
    plain = w.updates("start=-30")
    report.check({e.split(":")[1] for e in plain["meta"]["legend"]} == {"vm"} and
                 {e.split(":")[2] for e in plain["meta"]["legend"]} == {w.uuid, c("VM.get_uuid", c("host.get_control_domain", w.host))},
                 "unasked there are the VMs of this host, and nothing else")
    one = w.updates(f"start=-30&vm_uuid={w.uuid}&vm_uuid={NOBODY}")
    report.check({e.split(":")[2] for e in one["meta"]["legend"]} == {w.uuid}, "named VMs are those there are")
    report.check({e.split(":")[0] for e in w.updates("start=-30&host=true&cf=MAX")["meta"]["legend"]} == {"MAX"}, "cf chooses the function")
    end = meta["end"]
    late = w.updates(f"start={end - 10}")
    report.check(late["data"] and min(r["t"] for r in late["data"]) == end - 5, "rows are those after the start")
    minute = w.updates("start=-600&interval=60")
    report.check(minute["meta"]["step"] == 60 and all(r["t"] % 60 == 0 for r in minute["data"]), "interval chooses coarser rows")
    report.check(w.updates(f"start={end - 5000}")["meta"]["step"] == 60 and w.updates("start=1")["meta"]["step"] == 86400,
                 "an old start chooses rows that reach so far back")
    empty = w.updates(f"start={end + 100000}")
    report.check(empty["data"] == [] and empty["meta"]["rows"] == 0, "from the future there is nothing")
    xport = w.http("/rrd_updates?start=-60&host=true")
    x = xport.xml
    report.check(xport.type == "text/xml" and x.tag == "xport" and int(x.findtext("meta/columns")) == len(x.findall("meta/legend/entry")) and
                 int(x.findtext("meta/rows")) == len(x.findall("data/row")) and
                 all(len(r.findall("v")) == len(x.findall("meta/legend/entry")) for r in x.iter("row")), "the same as XML")
    report.check("content-length" in xport.headers and xport.headers["connection"] == "keep-alive", "updates keep the connection")


def silence(report, w):
    w.tick()
    end = w.newest()
    w.daemon.sim(advance_ms=1000 * 1000)
    until(lambda: w.newest() > end + 1000, PATIENCE)
    w.tick()
    entry = f"AVERAGE:vm:{w.uuid}:memory"
    minutes, newest = (columns(w.updates(f"start={start}&vm_uuid={w.uuid}"))[entry] for start in (end, -8))
    report.check(len(minutes) > 12 and all(math.isnan(v) for v in minutes[1:-1]) and newest[0] == 268435456,
                 "of a silence beyond the heartbeat nothing is known; afterwards it goes on", minutes, newest)


def uploads(report, w):
    path = f"/rrd?uuid={w.uuid}"
    text = w.http(f"/vm_rrd?uuid={w.uuid}").body.decode()
    wrong = []
    for what, status, body in (("/rrd", 400, text), (f"/rrd?uuid={w.host_uuid}", 400, text), (f"/rrd?uuid={NOBODY}", 404, text),
                               (path, 400, "<rrd/>"), (path, 400, text.replace("<step>5<", "<step>300<")), (path, 400, text[:-300])):
        got = w.http(what, "PUT", body=body.encode()).status
        if got != status:
            wrong.append(f"{what}: {got} instead of {status}")
    report.check_none(wrong, "uploads that make no sense are refused")
    changed = text.replace("<name>vbd_xvda_read<", "<name>from_elsewhere<")
    report.check(w.http(path, "PUT", body=changed.encode()).status == 200, "an upload is taken")
    now = w.http(f"/vm_rrd?uuid={w.uuid}&json").json
    names = [d["name"] for d in now["ds"]]
    report.check("from_elsewhere" in names and len(now["rra"]) == 4, "and is the VM's history from now on", names)
    report.check(w.http(f"/rrd?uuid={w.host_uuid}&archive=", "PUT", body=w.http("/host_rrd").body).status == 200, "a host's can be archived")


def sources(report, w):
    c, name = w.root, f"latency_{w.sr_uuid[:8]}"

    def source():
        return next(d for d in c("host.get_data_sources", w.host) if d["name_label"] == name)

    report.check(not source()["enabled"] and not source()["standard"] and source()["units"] == "\u03bcs", "a source is there before it is recorded")
    c("host.record_data_source", w.host, name)
    report.check(source()["enabled"], "and can be recorded")
    c("host.forget_data_source_archives", w.host, "loadavg")
    w.tick()
    enabled = {d["name_label"]: d["enabled"] for d in c("host.get_data_sources", w.host)}
    report.check(not enabled["loadavg"], "one that was forgotten stays so")
    c("host.record_data_source", w.host, "loadavg")
    w.tick()
    enabled = {d["name_label"]: d["enabled"] for d in c("host.get_data_sources", w.host)}
    report.check(enabled["loadavg"], "until it is recorded again")


def alarms(report, w):
    c = w.root
    xml = ('<config><variable><name value="cpu_usage"/><alarm_trigger_level value="0.4"/><alarm_trigger_period value="60"/>'
           '<alarm_auto_inhibit_period value="3600"/></variable></config>')
    before = set(c("message.get_all"))
    c("VM.add_to_other_config", w.vm, "perfmon", xml)

    def raised():
        return [m for r, m in c("message.get_all_records").items() if r not in before and m["name"] == "ALARM"]

    w.tick()
    w.daemon.sim(advance_ms=65 * 1000)
    found = until(raised, PATIENCE)
    w.tick()
    found = raised()
    report.check(len(found) == 1 and found[0]["cls"] == "VM" and found[0]["obj_uuid"] == w.uuid, "an alarm is told once", found)
    lines = found[0]["body"].split("\n") if found else [""] * 3
    variable = ET.fromstring("\n".join(lines[2:])) if found else ET.Element("none")
    report.check(re.match(r"value: 0\.[45]\d{5}$", lines[0]) and lines[1] == "config:" and variable.tag == "variable" and
                 variable.find("name").get("value") == "cpu_usage" and variable.find("alarm_trigger_level").get("value") == "0.4" and
                 variable.find("alarm_trigger_period").get("value") == "60", "in the form that clients take apart", lines)
    c("VM.remove_from_other_config", w.vm, "perfmon")


METRIC = re.compile(r'^([a-z_:][a-z0-9_:]*)\{((?:[a-z_]+="(?:[^"\\\n]|\\.)*",?)*)\} (NaN|[-+]?[0-9.]+(?:e[-+][0-9]+)?)$')


def metrics(report, w):
    reply = w.http("/metrics")
    lines = reply.body.decode().split("\n")
    wrong, families, family, kind, seen, values = [], set(), None, None, set(), {}
    if lines[-2:] != ["# EOF", ""]:
        wrong.append("the end is not # EOF and a line feed")
    for line in lines[:-2]:
        m = re.match(r"^# TYPE ([a-z_:][a-z0-9_:]*) (counter|gauge)$", line)
        if m:
            family, kind = m.groups()
            if family in families:
                wrong.append(f"{family} comes twice")
            families.add(family)
            continue
        if re.match(rf"^# HELP {family} [^\n]+$", line):
            continue
        m = METRIC.match(line)
        if not m or m[1] != (family + "_total" if kind == "counter" else family):
            wrong.append(line)
            continue
        if (m[1], m[2]) in seen:
            wrong.append("twice: " + line)
        seen.add((m[1], m[2]))
        values[m[1], m[2]] = float(m[3])
    report.check_none(wrong, "every line of /metrics is OpenMetrics")
    report.check(reply.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0"), "and it says so")
    key = ("xapid_vm_network_receive_bytes_total", f'vm="{w.uuid}",device="0"')
    first = values.get(key, 0)
    w.tick()
    later = re.search(re.escape("%s{%s} " % key) + "(.*)", w.http("/metrics").body.decode())
    report.check(first > 0 and later and float(later[1]) > first, "a counter rises")


def quiet(report, w):
    """Ticks write nothing to the database."""
    c = w.root
    token = c("event.from", ["*"], "", 5.0)["token"]
    w.tick()
    events = c("event.from", ["*"], token, 0.1)["events"]
    report.check_none([f"{e['class']} {e['operation']}" for e in events if e["class"] not in ("session", "task")],
                      "samples are no database: nothing is written while they are taken")


def restarts(report, w):
    c = w.root
    names = [d["name"] for d in w.http(f"/vm_rrd?uuid={w.uuid}&json").json["ds"]]
    rows = columns(w.updates(f"start=-60&vm_uuid={w.uuid}"))
    w.daemon.kill()
    w.daemon.start()
    w.root = c = w.daemon.client("root")
    report.check(until(lambda: [d["name"] for d in w.http(f"/vm_rrd?uuid={w.uuid}&json").json["ds"]] == names, PATIENCE),
                 "after kill -9 the history is what it was")
    w.tick()
    again = columns(w.updates(f"start=-300&vm_uuid={w.uuid}"))
    report.check(set(again) == set(rows) and any(not math.isnan(v) for v in again[f"AVERAGE:vm:{w.uuid}:cpu0"][12:]),
                 "with its rows, and goes on")
    w.daemon.stop()
    w.daemon.start()
    w.root = c = w.daemon.client("root")
    report.check([d["name"] for d in w.http(f"/vm_rrd?uuid={w.uuid}&json").json["ds"]] == names, "an orderly end keeps all")
    path = os.path.join(w.daemon.state, "stats", "host-" + w.host_uuid)
    w.daemon.stop()
    with open(path, "r+b") as f:
        f.seek(100)
        f.write(b"damaged")
    w.daemon.start()
    w.root = c = w.daemon.client("root")
    report.check(w.http("/host_rrd").status == 200 and os.path.exists(path + ".damaged"), "a damaged file is set aside")
    c("VM.hard_shutdown", w.vm)
    halted = until(lambda: f"vm:{w.uuid}" not in w.http("/rrd_updates?start=-60").body.decode(), PATIENCE)
    reply = w.http(f"/vm_rrd?uuid={w.uuid}&json")
    report.check(halted and reply.status == 200 and [d["name"] for d in reply.json["ds"]] == names, "a halted VM keeps its history")


def main():
    report = Report()
    w = World()
    w.tick()
    begin = time.monotonic()
    for part in (whole_databases, refusals, roles, rates, silence, sources, alarms, metrics, quiet, restarts, uploads_last):
        part(report, w)
    complaints = w.daemon.complaints()
    report.check_none(complaints, "nobody complained")
    report.note(f"{time.monotonic() - begin:.0f} s")
    w.daemon.close()
    sys.exit(report.done())


def uploads_last(report, w):
    """Uploads change the history that others look at."""
    w.root("VM.start", w.vm, False, False)
    w.tick()
    uploads(report, w)


if __name__ == "__main__":
    main()
