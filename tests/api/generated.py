#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""generated.py [CLASS...] -- every message of the schema, called wrongly: as every role, with too few and too many parameters, with values of
another type, with references to nothing, with text that is no UTF-8, with values that are too large; at every place where a value can stand, also
within sets, maps and records, and over both protocols.  Each time the error must be the right one with all its parameters, the daemon must live, and
nothing may change.

Nothing is ever called that could succeed and do something: where a message takes no reference that can be wrong, it is called only as those who may
not, or with parameters that cannot be read.  Pending messages answer NOT_IMPLEMENTED to those who may call them.
"""

import html
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
IDLE = 5  # seconds after which a connection is made anew: the server closes one that nobody uses
HUGE_TEXT = "h" * 100000
HUGE_MANY = 5000
# What may be looked at before the references of a new record.
REFUSALS = ["HANDLE_INVALID", "VALUE_NOT_SUPPORTED", "INVALID_DEVICE"]
BAD_TEXT = "\ue000"  # in its place come bytes that are no UTF-8
UNEXPLAINED = ["HTTP", "INTERNAL_ERROR"]
ANY = object()  # a parameter of an error that may be anything
# Long polls, and what ends the session that asks.
NOT_CALLED = {"event.next", "event.from", "session.logout", "session.local_logout"}


class Wire:
    """Calls by JSON-RPC 2.0 over one connection, many under way: the server answers in their order."""

    def __init__(self, daemon, session):
        self.address, self.session = ("127.0.0.1", daemon.plain_port), session
        self.waiting, self.socket, self.pending = [], None, b""
        self.used = 0

    def connect(self):
        if self.socket:
            self.socket.close()
        self.socket = socket.create_connection(self.address, timeout=120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pending = b""

    def call(self, method, params, done, with_session=True):
        """'done' gets the error as [code, parameters...], or None."""
        params = [self.session, *params] if with_session else params
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}, ensure_ascii=False).encode()
        body = body.replace(BAD_TEXT.encode(), b"\xff\xfe")
        self.send(b"POST /jsonrpc HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body, lambda b: done(of_json(b)))

    def xml(self, method, params, done, with_session=True):
        """The same by XML-RPC."""
        inner = "".join(f"<param>{xml_of(p)}</param>" for p in ([self.session, *params] if with_session else params))
        body = f"<?xml version='1.0'?><methodCall><methodName>{method}</methodName><params>{inner}</params></methodCall>".encode()
        body = body.replace(BAD_TEXT.encode(), b"\xff\xfe")
        self.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body, lambda b: done(of_xml(b)))

    def send(self, request, done):
        if time.monotonic() - self.used > IDLE:
            self.flush()
            self.connect()
        self.used = time.monotonic()
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
    return [html.unescape(p) for p in re.findall(r"<value>([^<]*)</value>", text.partition("ErrorDescription")[2])]


def xml_of(value):
    if isinstance(value, str):
        return f"<value>{html.escape(value)}</value>"
    if isinstance(value, bool):
        return f"<value><boolean>{int(value)}</boolean></value>"
    if isinstance(value, float):
        return f"<value><double>{value}</double></value>"
    if isinstance(value, list):
        return f"<value><array><data>{''.join(map(xml_of, value))}</data></array></value>"
    if isinstance(value, dict):
        members = "".join(f"<member><name>{html.escape(k)}</name>{xml_of(v)}</member>" for k, v in value.items())
        return f"<value><struct>{members}</struct></value>"
    return "<value><nil/></value>"


def fits(error, wanted):
    """Whether an error is the wanted one: [code, parameters...], of which some may be ANY; a code alone is for whatever parameters."""
    if isinstance(wanted, str):
        return error[0] == wanted
    return len(error) == len(wanted) and all(w is ANY or w == e for w, e in zip(wanted, error))


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

    def wrong(self, t, name):
        """[(value, error)] for a value of that type, called 'name'."""
        kinds = {str: "a string", dict: "a struct", list: "an array", float: "a double", type(None): "nil"}

        def shape(*values):
            return [(v, ["INTERNAL_ERROR", f"{name}: expected a value of type {t}, received {kinds[type(v)]}"]) for v in values]
        kind, _, rest = t.partition(" ")
        if t in ("string", "secret string"):
            return shape({"a": "b"}, [], None)
        if t in ("int", "bool", "float"):
            return shape("nonsense", {}, "", *{"int": ["1.5", 1.5, "9" * 20], "bool": ["2", 0.5], "float": ["1.5x"]}[t])
        if t == "datetime":
            return [(v, ["INVALID_VALUE", name, v]) for v in ("yesterday", "", "20200101T25:00:00Z")] + shape([], 1.5)
        if kind == "enum":
            return [("nonsense", ["INVALID_VALUE", name, "nonsense"])] + shape({}, 1.5)
        if kind == "ref":
            return [(v, ["HANDLE_INVALID", rest, v]) for v in ("nonsense", "OpaqueRef:" + UUID[:-1])] + shape({}, [])
        if kind == "record":
            return shape("text", [])
        if t.startswith("option("):
            return self.wrong(t[7:-1], name)
        if t.startswith("set("):
            return shape("text", {}) + [([v], e) for v, e in self.wrong(t[4:-1], name)]
        key, value = is_map(t).groups()
        return shape("text", []) + [({self.good(key): v}, e) for v, e in self.wrong(value, name)] + \
            [({k: self.good(value)}, e) for k, e in self.wrong(key, name) if isinstance(k, str)]

    def bad_texts(self, t):
        """Values with text that is no UTF-8, at each place where there can be text."""
        if t in ("string", "secret string"):
            return [BAD_TEXT]
        if t.startswith("set("):
            return [[v] for v in self.bad_texts(t[4:-1])]
        m = is_map(t)
        if m:
            return [{k: self.good(m.group(2))} for k in self.bad_texts(m.group(1))] + [{self.good(m.group(1)): v} for v in self.bad_texts(m.group(2))]
        if t.startswith("record "):
            return [{f["name"]: v} for f in self.given(t[7:]) for v in self.bad_texts(f["type"])[:1]]
        return []

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

    def no_such_object(self, ref):
        """The errors that say of one of the parameters that it is a reference to nothing."""
        return [["HANDLE_INVALID", p["type"][4:], ref] for p in self.params if p["type"].startswith("ref ")]

    def denied(self, key=None):
        """The error for who may not; 'key' is the pattern of a map's key with a role of its own."""
        return [["RBAC_PERMISSION_DENIED", self.permission + (f"/key:{key}" if key else ""), ANY]]

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

    def expect(self, what, m, wanted, shown=""):
        """What to do with an answer: the error is one of 'wanted' (for None: any that explains itself)."""
        self.calls += 1

        def done(error):
            good = error and (error[0] not in UNEXPLAINED if wanted is None else any(fits(error, w) for w in wanted))
            if not good:
                self.fault(what, f"{m.name} {shown}: {str(error or 'success')[:300]}"[:500] +
                           f", wanted {' or '.join(str(w)[:200] for w in wanted or ['an error'])}")
        return done

    def call(self, m, params, done, role="local-root-only"):
        self.wires[role].call(m.name, params, done, m.with_session)

    def both(self, m, params, what, wanted, shown=""):
        """By both protocols."""
        wire = self.wires["local-root-only"]
        for send in (wire.call, wire.xml):
            send(m.name, params, self.expect(what, m, wanted, shown), m.with_session)

    # -- what is tried --

    def arity(self, m):
        good, code = self.values.good_for(m.params), "MESSAGE_PARAMETER_COUNT_MISMATCH"
        if m.required:
            self.both(m, good[:m.required - 1], "too few parameters are refused", [[code, m.name, str(m.required), str(m.required - 1)]])
        if m.required == len(m.params):
            self.both(m, good + ["more"], "too many parameters are refused", [[code, m.name, str(m.required), str(m.required + 1)]])
        if m.with_session:
            self.wires["local-root-only"].call(m.name, [NOTHING, *good], self.expect("a session that is none is refused", m,
                                                                                      [["SESSION_INVALID", NOTHING]]), False)

    def types(self, m):
        for i, p in enumerate(m.params):
            for value, error in self.values.wrong(p["type"], p["name"]):
                params = self.values.good_for(m.params)
                params[i] = value
                self.both(m, params, "a value of another type is refused", [error], f"{p['name']}={value!r}")

    def records(self, m):
        """Each field of a record with a value of another type, and left out; references to nothing in it."""
        for i, p in enumerate(m.params):
            if not p["type"].startswith("record "):
                continue
            params = self.values.good_for(m.params)
            for f in self.values.given(p["type"][7:]):
                for value, error in self.values.wrong(f["type"], f["name"]):
                    one = list(params)
                    one[i] = {**params[i], f["name"]: value}
                    self.both(m, one, "a field of another type is refused", [error], f"{f['name']}={value!r}")
                if f["name"] in self.values.needed(p["type"][7:]):
                    one = list(params)
                    one[i] = {k: v for k, v in params[i].items() if k != f["name"]}
                    self.both(m, one, "a field that is missing is named", [["INTERNAL_ERROR", f"Field {f['name']} not found"]])
            if m.implemented and any(f["type"].startswith("ref ") for f in self.values.given(p["type"][7:])):
                self.both(m, params, "a record with references to nothing is refused", REFUSALS)

    def not_async(self, m):
        if not m.is_async and m.with_session:
            error = ["Fault", f"No async mode for this operation (rpc: {m.name})"]
            self.wires["local-root-only"].call("Async." + m.name, self.values.good_for(m.params),
                                               self.expect("what is not asynchronous is not called so", m, [error]))

    def utf8(self, m):
        for i, p in enumerate(m.params):
            for value in self.values.bad_texts(p["type"]):
                params = self.values.good_for(m.params)
                params[i] = value
                self.both(m, params, "text that is no UTF-8 is refused", [["INVALID_VALUE", "Invalid UTF-8 string in parameter", ""]],
                          f"{p['name']}={value!r}")

    def nothing(self, m):
        """References to nothing, first all of them and then, beside an object that is there, each."""
        params = self.values.good_for(m.params)
        if not m.implemented:
            self.both(m, params, "what is pending says so", [["NOT_IMPLEMENTED", m.name]])
            return
        refs = m.refs()
        if not refs or m.name in NOT_CALLED or not m.with_session:
            return
        for ref in (NOTHING, NULL):
            self.both(m, self.values.good_for(m.params, ref), "a reference to nothing is refused", m.no_such_object(ref), ref)
        for i, p in enumerate(m.params):
            value = self.values.huge(p["type"])
            if value is not None:
                huge = list(params)
                huge[i] = value
                self.call(m, huge, self.expect("a value that is too large changes nothing", m, None, f"{p['name']} is huge"))
        for i, p in enumerate(m.params):
            if i == refs[0] or not has_ref(p["type"]):
                continue
            one = [self.values.good(q["type"], self.object(q["type"])) for q in m.params]
            if NOTHING in [one[k] for k in refs if k != i]:
                continue  # there is no such object to stand beside it
            one[i] = self.values.good(p["type"])
            wanted = m.no_such_object(NOTHING) if m.kind == "implicit" else None
            self.call(m, one, self.expect("a reference to nothing beside others is refused", m, wanted, f"{p['name']} is nothing"))

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
                done = self.expect("messages of the pool itself are nobody else's", m, [["INTERNAL_ERROR", f"{m.name} is only for the pool's own members"]], role)
            elif not m.may(role):
                done = self.expect("who may not is refused", m, m.denied(), role)
            elif not m.implemented:
                done = self.expect("who may is told that it is pending", m, [["NOT_IMPLEMENTED", m.name]], role)
            elif m.refs():
                done = self.expect("who may is let through", m, m.no_such_object(NOTHING), role)
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
                wire.call(m.name, params, self.expect("keys that need a role of their own need it", m,
                                                      m.no_such_object(NOTHING) if may else m.denied(pattern), f"{role} {pattern}"))

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
