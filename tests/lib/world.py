# SPDX-License-Identifier: LGPL-2.1-or-later
"""world.py -- everything a daemon has, as a value: for "nothing has changed" and "nothing was left behind".

A world is {class: {ref: record}} of all classes that list their objects.  faults() says what does not fit
together in one; changes() what differs between two.
"""

import json
import os
import re
import struct
import subprocess

from daemon import NULL, TOP, XapiError, program

# Not asked for: sessions differ by the asking, roles never change.
LEFT_OUT = {"session", "role", "event", "task"}
# Change by themselves; a record is compared without them.
BY_ITSELF = {"last_updated", "memory_free", "physical_utilisation", "physical_size", "virtual_allocation", "last_active",
             "allowed_operations", "last_synced"}
BY_ITSELF_KEYS = {"boot_time", "agent_start_time"}  # of maps
# Below the state directory: what is there only while something is going on.
IN_PASSING = re.compile(r"((images|spool|db\.restore[^/]*)/|host-restore-)")
MEASURED = {"host_metrics", "PIF_metrics", "VIF_metrics", "VBD_metrics", "host_cpu"}

_schema = None


def schema():
    """What schemac --json prints."""
    global _schema
    if _schema is None:
        files = subprocess.run("ls schema/*.api schema/classes/*.api | LC_ALL=C sort", shell=True, cwd=TOP, check=True,
                               capture_output=True, text=True).stdout.split()
        text = subprocess.run([program("schemac"), "--json", *files], cwd=TOP, check=True, capture_output=True, text=True).stdout
        _schema = json.loads(text)
    return _schema


def _listed():
    for c in schema()["classes"]:
        if c["name"] not in LEFT_OUT and any(m["name"] == "get_all_records" and m["implemented"] for m in c["messages"]):
            yield c


def world(client):
    """One version of everything, from one event.from; classes without events one by one."""
    answer = client("event.from", ["*"], "", 30.0)
    by_lower = {c["name"].lower(): c for c in schema()["classes"]}
    out = {c["name"]: {} for c in _listed()}
    for event in answer["events"]:
        c = by_lower.get(event["class"])
        if c and c["name"] in out:
            out[c["name"]][event["ref"]] = event["snapshot"]
    for c in _listed():
        if not c["generates_events"]:
            out[c["name"]] = client(f"{c['name']}.get_all_records")
    return out


def tasks(client):
    return client("task.get_all_records")


def _sorted(value):
    if isinstance(value, list):
        return sorted((_sorted(v) for v in value), key=repr)
    if isinstance(value, dict):
        return {k: _sorted(v) for k, v in value.items() if k not in BY_ITSELF_KEYS}
    return value


def changes(before, after):
    """One line for each difference that somebody made."""
    out = []
    for name in sorted(set(before) | set(after)):
        old, new = before.get(name, {}), after.get(name, {})
        out += [f"{name} {r} is gone ({old[r].get('name_label', '')})" for r in old if r not in new]
        out += [f"{name} {r} is new ({new[r].get('name_label', '')})" for r in new if r not in old]
        if name in MEASURED:
            continue
        for ref in set(old) & set(new):
            for field, value in old[ref].items():
                if field not in BY_ITSELF and _sorted(value) != _sorted(new[ref].get(field)):
                    out.append(f"{name} {ref} {field}: {value!r} became {new[ref].get(field)!r}")
    return out


def _refs_of(type_text, value):
    """The references in a value of a type as the schema spells it: (class, ref)."""
    if type_text.startswith("ref "):
        return [(type_text[4:], value)]
    if type_text.startswith("set(ref "):
        return [(type_text[8:-1], v) for v in value]
    return []


def _missing(w, name, field, ref, record):
    out = []
    for target, r in _refs_of(field["type"], record.get(field["name"], "")):
        if target in w and r not in (NULL, "") and r not in w[target]:
            out.append(f"{name} {ref} {field['name']} names {target} {r}, which does not exist")
    return out


def _one_sided(w):
    """Relations whose two sides do not agree."""
    out = []
    for from_class, from_field, to_class, to_field in schema()["relations"]:
        if from_class not in w or to_class not in w:
            continue
        sides = set()
        for ref, record in w[from_class].items():
            value = record.get(from_field, NULL)
            for target in value if isinstance(value, list) else [value]:
                if target not in (NULL, ""):
                    sides.add((ref, target))
        back = {(r, target) for target, record in w[to_class].items() for r in record.get(to_field, [])}
        out += [f"{from_class}.{from_field} of {a} names {b}, whose {to_field} does not have it" for a, b in sides - back if b in w[to_class]]
        out += [f"{to_class}.{to_field} of {b} has {a}, whose {from_field} is another" for a, b in back - sides]
    return out


def held(w):
    """Objects with an operation under way."""
    return [f"{name} {ref} ({r.get('name_label', '')}) is held: {r['current_operations']}" for name, rows in w.items()
            for ref, r in rows.items() if r.get("current_operations")]


def faults(w):
    """What does not fit together."""
    out = held(w) + _one_sided(w)
    for c in _listed():
        for ref, record in w[c["name"]].items():
            for field in c["fields"]:
                if field["name"] not in record:
                    out.append(f"{c['name']} {ref} has no {field['name']}")
                else:
                    out += _missing(w, c["name"], field, ref, record)
    uuids = [r["uuid"] for rows in w.values() for r in rows.values() if r.get("uuid")]
    out += [f"two objects have the uuid {u}" for u in set(uuids) if uuids.count(u) > 1] if len(uuids) != len(set(uuids)) else []
    return out


def leftovers(daemon, client, w=None):
    """After all is done: what is held, pending, running without a record, or on disk without a VDI."""
    w = w or world(client)
    out = faults(w)
    out += [f"task {r['name_label']} {ref} is {r['status']}" for ref, r in tasks(client).items()
            if r["status"] in ("pending", "cancelling")]
    return out + domains_wrong(daemon, w) + files_wrong(daemon, w)


def domains_wrong(daemon, w):
    """Domains and power states that do not agree.  The control domain is no domain of the simulator."""
    out = []
    domains = daemon.domains()
    for ref, vm in w["VM"].items():
        if vm["is_control_domain"] or vm["is_a_snapshot"] or vm["is_a_template"]:
            continue
        lives = vm["power_state"] in ("Running", "Paused")
        domain = domains.pop(vm["uuid"], None)
        if lives and not domain:
            out.append(f"VM {vm['name_label']} is {vm['power_state']} and has no domain")
        if domain and not lives:
            out.append(f"VM {vm['name_label']} is {vm['power_state']} and has a domain")
    return out + [f"domain {uuid} belongs to no VM" for uuid in domains]


def _backing(path):
    """The name of the image beneath a qcow2 image, or ""."""
    with open(path, "rb") as f:
        head = f.read(20)
        offset, size = struct.unpack(">QI", head[8:20])
        f.seek(offset)
        return os.path.basename(f.read(size).decode()) if offset else ""


def _hidden(path):
    try:
        with open(path[:-len("qcow2")] + "json") as f:
            return bool(json.load(f).get("hidden"))
    except FileNotFoundError:
        return False


def files_wrong(daemon, w):
    """Images without a VDI (but for hidden ones with children), VDIs without an image, work in progress that has ended."""
    local = {ref for ref, sr in w["SR"].items() if sr["type"] in ("file", "ext")}
    uuids = {v["uuid"]: v["type"] for v in w["VDI"].values() if v["SR"] in local}
    top = os.path.join(daemon.state, "storage")
    names = {os.path.basename(f): os.path.join(top, f) for f in daemon.files()}
    images = {n: p for n, p in names.items() if n.endswith(".qcow2") and not n.startswith(".")}
    below = {_backing(p) for p in images.values()}
    out = [f"VDI {u} has no file" for u, t in uuids.items() if u + (".cbt" if t == "cbt_metadata" else ".qcow2") not in names]
    out += [f"{n} has no VDI" for n in names if n.endswith(".cbt") and uuids.get(n[:-len(".cbt")]) != "cbt_metadata"]
    for name, path in images.items():
        if name[:-len(".qcow2")] in uuids:
            continue
        if not _hidden(path):
            out.append(f"image {name} belongs to no VDI")
        elif name not in below:
            out.append(f"hidden image {name} has no children")
    out += [f"{f} was left behind" for f in state_files(daemon) if IN_PASSING.match(f)]
    return out + [f"{n} was left behind" for n in names if n.endswith(".tmp")]


def state_files(daemon):
    """Every file of the state directory, by its path there."""
    return {os.path.relpath(os.path.join(folder, n), daemon.state) for folder, _, names in os.walk(daemon.state) for n in names}


def processes(daemon):
    """Command lines of programs that work for a daemon, but for itself and its simulator."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                words = f.read().decode(errors="replace").split("\0")
        except OSError:
            continue
        if daemon.dir in " ".join(words) and int(pid) not in (daemon.pid, os.getpid()) and os.path.basename(words[0]) != "xapid-sim":
            found.append(" ".join(words))
    return found


def record(client, class_name, ref):
    """None where it is gone."""
    try:
        return client(f"{class_name}.get_record", ref)
    except XapiError as e:
        if e.code == "HANDLE_INVALID":
            return None
        raise
