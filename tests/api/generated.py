#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""generated.py [CLASS...] -- every message of the schema, called wrongly: as every role, with too few and too many parameters, with values of
another type, with references to nothing, with text that is no UTF-8, with values that are too large.  Each time the error must be the right one, the
daemon must live, and nothing may change.

Nothing is ever called that could succeed and do something: where a message takes no reference that can be wrong, it is called only as those who may
not, or with parameters that cannot be read.  Pending messages answer NOT_IMPLEMENTED to those who may call them.
"""

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
from daemon import NULL, Daemon, program  # noqa: E402
from report import Report  # noqa: E402
import world  # noqa: E402

UUID = "dead0000-0000-4000-8000-00000000beef"
NOTHING = "OpaqueRef:" + UUID
ROLES = ["read-only", "client-cert", "vm-operator", "vm-admin", "vm-power-admin", "pool-operator", "pool-admin", "local-root-only"]
PASSWORD = "a-password"
WINDOW = 64  # calls sent before the first answer is read
HUGE_TEXT = "h" * 100000
HUGE_MANY = 5000
# What may be looked at before the references of a new record.
REFUSALS = ["HANDLE_INVALID", "VALUE_NOT_SUPPORTED", "INVALID_DEVICE"]
# Long polls, and what ends the session that asks.
NOT_CALLED = {"event.next", "event.from", "session.logout", "session.local_logout"}


class Wire:
    """Calls by JSON-RPC 2.0 over one connection, many under way: the server answers in their order."""

    def __init__(self, daemon, session):
        self.address, self.session = ("127.0.0.1", daemon.plain_port), session
        self.waiting, self.socket, self.pending = [], None, b""

    def connect(self):
        self.socket = socket.create_connection(self.address, timeout=120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pending = b""

    def call(self, method, params, done, with_session=True):
        """'done' gets the error as [code, parameters...], or None."""
        params = [self.session, *params] if with_session else params
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        self.send(b"POST /jsonrpc HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body, lambda b: done(of_json(b)))

    def xml(self, method, params, done):
        """Parameters as bytes."""
        inner = b"".join(b"<param><value>%s</value></param>" % p for p in [self.session.encode(), *params])
        body = b"<?xml version='1.0'?><methodCall><methodName>%s</methodName><params>%s</params></methodCall>" % (method.encode(), inner)
        self.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body, lambda b: done(of_xml(b)))

    def send(self, request, done):
        if not self.socket:
            self.connect()
        if len(self.waiting) >= WINDOW or len(request) > 50000:
            self.flush()
        self.socket.sendall(request)
        self.waiting.append(done)

    def flush(self):
        for done in self.waiting:
            done(self.answer())
        self.waiting = []

    def answer(self):
        while b"\r\n\r\n" not in self.pending:
            self.more()
        head, _, self.pending = self.pending.partition(b"\r\n\r\n")
        size = int(re.search(rb"(?i)\r\ncontent-length: (\d+)", head).group(1))
        while len(self.pending) < size:
            self.more()
        body, self.pending = self.pending[:size], self.pending[size:]
        return body if b" 200 " in head.split(b"\r\n")[0] else None

    def more(self):
        data = self.socket.recv(1 << 20)
        if not data:
            raise ConnectionError("the daemon closed the connection")
        self.pending += data


def of_json(body):
    if body is None:
        return ["HTTP"]
    answer = json.loads(body)
    return [answer["error"]["message"], *answer["error"]["data"]] if "error" in answer else None


def of_xml(body):
    if body is None:
        return ["HTTP"]
    text = body.decode()
    if "<value>Failure</value>" not in text:
        return None
    return re.findall(r"<value>([^<]*)</value>", text.partition("ErrorDescription")[2])


# -- values --

def is_map(t):
    return re.fullmatch(r"map\((.*) -> (.*)\)", t)


class Values:
    def __init__(self, s):
        self.enums = {e["name"]: e["values"] for e in s["enums"]}
        self.fields = {c["name"]: c["fields"] for c in s["classes"]}

    def good_for(self, params, ref=NOTHING):
        """For each parameter one; some are known by their name."""
        named = {"device": "0"}
        return [named.get(p["name"], UUID if p["name"].endswith("uuid") else "x") if p["type"] == "string" else self.good(p["type"], ref)
                for p in params]

    def good(self, t, ref=NOTHING):
        """Well-formed; every reference in it is 'ref'."""
        plain = {"string": "x", "secret string": "x", "int": "1", "bool": False, "float": 1.5, "datetime": "20200101T00:00:00Z"}
        if t in plain:
            return plain[t]
        kind, _, name = t.partition(" ")
        if kind == "ref":
            return ref
        if kind == "enum":
            return self.enums[name][0]
        if kind == "record":
            return {f["name"]: self.good(f["type"], ref) for f in self.given(name)}
        if t.startswith("set("):
            return [self.good(t[4:-1], ref)] if "ref" in t else []
        if t.startswith("option("):
            return self.good(t[7:-1], ref)
        m = is_map(t)
        return {self.good(m.group(1), ref): self.good(m.group(2), ref)} if "ref" in t else {}

    def given(self, name):
        """The fields that whoever makes a record may give."""
        return [f for f in self.fields[name] if f["qualifier"] in ("RW", "RO static")]

    def needed(self, name):
        return {f["name"] for f in self.given(name) if "default" not in f}

    def wrong(self, t):
        """[(value, the error's code and what its parameters contain)]."""
        other = [("INTERNAL_ERROR", "expected a value of type")]
        kind, _, _ = t.partition(" ")
        if t in ("string", "secret string"):
            return [({"a": "b"}, *other), ([], *other)]
        if t in ("int", "bool", "float"):
            return [("nonsense", *other), ({}, *other)]
        if t == "datetime":
            return [("yesterday", ("INVALID_VALUE", "yesterday")), ([], *other)]
        if kind == "enum":
            return [("nonsense", ("INVALID_VALUE", "nonsense")), ({}, *other)]
        if kind == "ref":
            return [({}, *other), ("nonsense", ("HANDLE_INVALID", "nonsense"))]
        if t.startswith("set("):
            return [("text", *other), ({}, *other), ([{}], *other)]
        return [("text", *other), ([], *other)]

    def huge(self, t):
        if t in ("string", "secret string"):
            return HUGE_TEXT
        if t == "int":
            return str(1 << 62)
        if t.startswith("set("):
            return [self.good(t[4:-1])] * HUGE_MANY
        m = is_map(t)
        if m and m.group(1) == "string":
            return {f"k{i}": self.good(m.group(2)) for i in range(HUGE_MANY)}
        return None


def has_ref(t):
    return bool(re.search(r"\bref ", t))


# -- one message --

class Message:
    def __init__(self, c, m):
        self.name = f"{c}.{m['name']}"
        self.permission = self.name.lower()
        self.kind, self.implemented, self.role = m["kind"], m["implemented"], m["min_role"]
        self.with_session = not m["no_session"]
        self.pool_internal = m["pool_internal"]
        self.is_async = m["async"]
        self.params = [p for p in m["params"] if p["name"] != "session_id" or not self.with_session]
        self.required = sum(not p.get("optional") for p in self.params)
        self.keys = m.get("map_key_roles")

    def refs(self):
        """Indexes of the parameters that are references that must be there."""
        return [i for i, p in enumerate(self.params) if p["type"].startswith("ref ") and not p.get("optional")]

    def may(self, role):
        return ROLES.index(role) >= ROLES.index(self.role)


class Tester:
    def __init__(self, daemon, client, report):
        self.daemon, self.client, self.report = daemon, client, report
        self.schema = world.schema()
        self.values = Values(self.schema)
        self.faults, self.calls = {}, 0
        self.wires = {"local-root-only": Wire(daemon, client.session)}
        self.real = {}

    def fault(self, what, text):
        self.faults.setdefault(what, []).append(text)

    def expect(self, what, m, codes, contains=None, shown=""):
        """What to do with an answer: its code is one of 'codes' (or any but success, for None)."""
        self.calls += 1

        def done(error):
            code = error[0] if error else "success"
            good = code in codes if codes else error and code != "HTTP"
            if not good or (contains and not any(contains in str(p) for p in error[1:])):
                self.fault(what, f"{m.name} {shown}: {str(error or 'success')[:200]}, wanted {' or '.join(codes or ['an error'])}"
                                 f"{' with ' + contains if contains else ''}")
        return done

    def call(self, m, params, done, role="local-root-only"):
        self.wires[role].call(m.name, params, done, m.with_session)

    # -- what is tried --

    def arity(self, m):
        good = self.values.good_for(m.params)
        if m.required:
            self.call(m, good[:m.required - 1], self.expect("too few parameters are refused", m, ["MESSAGE_PARAMETER_COUNT_MISMATCH"], m.name))
        if m.required == len(m.params):
            self.call(m, good + ["more"], self.expect("too many parameters are refused", m, ["MESSAGE_PARAMETER_COUNT_MISMATCH"], m.name))
        if m.with_session:
            self.wires["local-root-only"].call(m.name, [NOTHING, *good], self.expect("a session that is none is refused", m,
                                                                                      ["SESSION_INVALID"], NOTHING), False)

    def types(self, m):
        for i, p in enumerate(m.params):
            for value, (code, contains) in self.values.wrong(p["type"]):
                params = self.values.good_for(m.params)
                params[i] = value
                self.call(m, params, self.expect("a value of another type is refused", m, [code], contains, f"{p['name']}={value!r}"))

    def records(self, m):
        """Each field of a record with a value of another type, and left out; references to nothing in it."""
        for i, p in enumerate(m.params):
            if not p["type"].startswith("record "):
                continue
            params = self.values.good_for(m.params)
            for f in self.values.given(p["type"][7:]):
                for value, (code, contains) in self.values.wrong(f["type"])[:1]:
                    one = list(params)
                    one[i] = {**params[i], f["name"]: value}
                    self.call(m, one, self.expect("a field of another type is refused", m, [code], contains, f"{f['name']}={value!r}"))
                if f["name"] in self.values.needed(p["type"][7:]):
                    one = list(params)
                    one[i] = {k: v for k, v in params[i].items() if k != f["name"]}
                    self.call(m, one, self.expect("a field that is missing is named", m, ["INTERNAL_ERROR"], f["name"], f["name"]))
            if m.implemented and any(f["type"].startswith("ref ") for f in self.values.given(p["type"][7:])):
                self.call(m, params, self.expect("a record with references to nothing is refused", m, REFUSALS))

    def not_async(self, m):
        if not m.is_async and m.with_session:
            self.wires["local-root-only"].call("Async." + m.name, self.values.good_for(m.params),
                                               self.expect("what is not asynchronous is not called so", m, ["Fault"], m.name))

    def utf8(self, m):
        for i, p in enumerate(m.params):
            if p["type"] in ("string", "secret string") and m.with_session:
                params = [b"x" for _ in m.params]
                params[i] = b"\xff\xfe"
                self.calls += 1
                self.wires["local-root-only"].xml(m.name, params, self.expect("text that is no UTF-8 is refused", m, ["INVALID_VALUE"], "UTF-8"))
                break

    def nothing(self, m):
        """References to nothing, first all of them and then, beside an object that is there, each."""
        params = self.values.good_for(m.params)
        if not m.implemented:
            self.call(m, params, self.expect("what is pending says so", m, ["NOT_IMPLEMENTED"], m.name))
            return
        refs = m.refs()
        if not refs or m.name in NOT_CALLED or not m.with_session:
            return
        self.call(m, params, self.expect("a reference to nothing is refused", m, ["HANDLE_INVALID"], NOTHING))
        for i, p in enumerate(m.params):
            value = self.values.huge(p["type"])
            if value is not None:
                huge = list(params)
                huge[i] = value
                self.call(m, huge, self.expect("a value that is too large changes nothing", m, None, None, f"{p['name']} is huge"))
        for i, p in enumerate(m.params):
            if i == refs[0] or not has_ref(p["type"]):
                continue
            one = [self.values.good(q["type"], self.object(q["type"])) for q in m.params]
            if NOTHING in [one[k] for k in refs if k != i]:
                continue  # there is no such object to stand beside it
            one[i] = self.values.good(p["type"])
            codes = ["HANDLE_INVALID"] if m.kind == "implicit" else None
            self.call(m, one, self.expect("a reference to nothing beside others is refused", m, codes, None, f"{p['name']} is nothing"))

    def object(self, t):
        """An object of that class: any; NOTHING where there is none."""
        name = re.search(r"\bref (\w+)", t)
        name = name.group(1) if name else None
        if name and name not in self.real:
            objects = [r for r in (self.before.get(name) or {}) if r != NULL]
            self.real[name] = objects[0] if objects else NOTHING
        return self.real.get(name, NOTHING)

    def roles(self, m):
        if not m.with_session or m.name in NOT_CALLED:
            return
        params = self.values.good_for(m.params)
        for role, wire in self.wires.items():
            if m.pool_internal and role != "local-root-only":
                done = self.expect("messages of the pool itself are nobody else's", m, ["INTERNAL_ERROR"], "only for the pool's own members", role)
            elif not m.may(role):
                done = self.expect("who may not is refused", m, ["RBAC_PERMISSION_DENIED"], m.permission, role)
            elif not m.implemented:
                done = self.expect("who may is told that it is pending", m, ["NOT_IMPLEMENTED"], m.name, role)
            elif m.refs():
                done = self.expect("who may is let through", m, ["HANDLE_INVALID"], NOTHING, role)
            else:
                continue
            wire.call(m.name, params, done)

    def map_keys(self, m):
        """Keys of maps that need another role than the others."""
        for pattern, needed in (m.keys or {}).items():
            params = self.values.good_for(m.params)
            at = [i for i, p in enumerate(m.params) if p["name"] == "key"]
            if not at:
                continue
            params[at[0]] = pattern.replace("*", "any")
            for role, wire in self.wires.items():
                may = ROLES.index(role) >= ROLES.index(needed)
                done = self.expect("keys that need a role of their own need it", m, ["HANDLE_INVALID"] if may else ["RBAC_PERMISSION_DENIED"],
                                   NOTHING if may else f"{m.permission}/key:{pattern}", f"{role} {pattern}")
                wire.call(m.name, params, done)

    # -- all of it --

    def flush(self):
        for wire in self.wires.values():
            wire.flush()

    def users(self):
        """A subject and a session for each role."""
        roles = {r["name_label"]: ref for ref, r in self.client("role.get_all_records").items()}
        for role in ROLES:
            if role in ("client-cert", "local-root-only") or role not in roles:
                continue
            subprocess.run([program("xapid-passwd"), self.daemon.passwords, role], input=PASSWORD + "\n", text=True, check=True)
            subject = self.client("subject.create", {"subject_identifier": role, "other_config": {}})
            for had in self.client("subject.get_roles", subject):
                self.client("subject.remove_from_roles", subject, had)
            self.client("subject.add_to_roles", subject, roles[role])
            self.wires[role] = Wire(self.daemon, self.daemon.client(role, password=PASSWORD, transport="tls").session)

    def unchanged(self, classes):
        """Compares all there is; what is found is blamed on the classes since the last look."""
        after = world.world(self.client)
        for line in world.changes(self.before, after):
            self.fault("nothing is changed by any of it", f"after {', '.join(classes)}: {line}")
        self.before = after

    def run(self, chosen):
        self.users()
        self.before, last = world.world(self.client), None
        classes = []
        for c in self.schema["classes"]:
            if chosen and c["name"] not in chosen:
                continue
            for m in (Message(c["name"], m) for m in c["messages"]):
                self.arity(m)
                self.types(m)
                self.records(m)
                self.not_async(m)
                self.utf8(m)
                self.nothing(m)
                self.roles(m)
                self.map_keys(m)
            self.flush()
            classes.append(c["name"])
            if digest(self.daemon) != last:
                last = digest(self.daemon)
                self.unchanged(classes)
                classes = []
        self.unchanged(classes or ["all"])


def digest(daemon):
    """The database as a number, by which a look at all of it is saved."""
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(daemon.socket)
        s.sendall(b"GET /internal/pool HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: s.recv(65536), b""))
    return json.loads(answer.partition(b"\r\n\r\n")[2])["digest"]


EXPECTED = ["too few parameters are refused", "too many parameters are refused", "a session that is none is refused",
            "a value of another type is refused", "a field of another type is refused", "a field that is missing is named",
            "a record with references to nothing is refused", "what is not asynchronous is not called so", "text that is no UTF-8 is refused", "what is pending says so", "a reference to nothing is refused",
            "a reference to nothing beside others is refused", "a value that is too large changes nothing", "who may not is refused",
            "who may is let through", "who may is told that it is pending", "messages of the pool itself are nobody else's",
            "keys that need a role of their own need it", "nothing is changed by any of it"]


def main():
    report = Report()
    begin = time.monotonic()
    with Daemon(args=["--op-wait", "5"]) as d:
        client = d.client()
        d.xe("vm-install", "template=Other install media", "new-name-label=somebody")
        tester = Tester(d, client, report)
        try:
            tester.run(sys.argv[1:])
        except (ConnectionError, http.client.HTTPException, OSError) as e:
            report.fail("the daemon answers every call", e, d.log_tail())
        for what in EXPECTED:
            report.check_none(tester.faults.pop(what, []), what)
        assert not tester.faults, tester.faults
        report.check(d.running(), "the daemon lives", d.log_tail())
        print(f"# {tester.calls} calls in {time.monotonic() - begin:.0f} s", flush=True)
    sys.exit(report.done())


if __name__ == "__main__":
    main()
