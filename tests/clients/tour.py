#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a Python client meets: Python's own XML-RPC against a running xapid.

First the facts of the wire that clients rely on, then a machine's life from a template to its
destruction.  Address and password: XAPID_HOST (127.0.0.1), XAPID_PORT (443), XAPID_USER (root),
XAPID_PASSWORD.  Prints "ok - ..." for each fact and stops at the first that does not hold.
"""

import http.client
import os
import re
import ssl
import sys
import threading
import time
import uuid
import xmlrpc.client

HOST = os.environ.get("XAPID_HOST", "127.0.0.1")
PORT = int(os.environ.get("XAPID_PORT", "443"))
USER = os.environ.get("XAPID_USER", "root")
PASSWORD = os.environ.get("XAPID_PASSWORD", "")
URL_HOST = f"[{HOST}]" if ":" in HOST else HOST
NULL = "OpaqueRef:NULL"
NOWHERE = "OpaqueRef:00000000-0000-4000-8000-00000000dead"
TEMPLATE = "Other install media"
TIMEOUT = 300


class Failure(Exception):
    """The server's error: code and parameters."""

    def __init__(self, details):
        super().__init__(details)
        self.details = details


class Transport(xmlrpc.client.SafeTransport):
    """The standard transport with a timeout, so that a hanging server ends the test."""

    def make_connection(self, host):
        connection = super().make_connection(host)
        connection.timeout = TIMEOUT
        return connection


def context():
    """TLS with any certificate."""
    c = ssl.create_default_context()
    c.check_hostname = False
    c.verify_mode = ssl.CERT_NONE
    return c


def proxy(path="/RPC2"):
    return xmlrpc.client.ServerProxy(
        f"https://{URL_HOST}:{PORT}{path}",
        transport=Transport(context=context()),
        allow_none=True,
    )


def value_of(reply):
    if reply["Status"] == "Success":
        return reply["Value"]
    raise Failure(reply["ErrorDescription"])


def invoke(server, method, *params):
    function = server
    for part in method.split("."):
        function = getattr(function, part)
    return value_of(function(*params))


class Session:
    """Calls with the session before the parameters."""

    def __init__(self, *login, path="/RPC2"):
        self.server = proxy(path)
        self.ref = invoke(self.server, "session.login_with_password", *login)

    def __call__(self, method, *params):
        return invoke(self.server, method, self.ref, *params)


def ok(text):
    print(f"ok - {text}", flush=True)


def check(condition, text, *seen):
    if not condition:
        print(f"not ok - {text}", flush=True)
        for s in seen:
            print(f"#   {s!r}", flush=True)
        sys.exit(1)
    ok(text)


def fails(expected, text, function, *params):
    """The call fails with the expected code and parameters; None stands for any parameter."""
    try:
        result = function(*params)
    except Failure as e:
        same = len(e.details) == len(expected) and all(
            w is None or w == g for w, g in zip(expected, e.details)
        )
        check(same, text, expected, e.details)
        return
    check(False, text, expected, result)


def post(body, path="/RPC2", content_type="text/xml"):
    """One raw request; status, headers and body of the answer."""
    connection = http.client.HTTPSConnection(HOST, PORT, context=context(), timeout=TIMEOUT)
    connection.request("POST", path, body, {"Content-Type": content_type})
    response = connection.getresponse()
    text = response.read()
    connection.close()
    return response.status, response.headers, text


def raw(method, *params):
    """The answer's text to a call with string parameters."""
    body = xmlrpc.client.dumps(params, method).encode()
    status, _, text = post(body)
    if status != 200:
        raise AssertionError(f"HTTP {status}")
    return text.decode()


def raw_value(method, *params):
    """The text between the tags of Value."""
    m = re.search(
        r"<name>\s*Value\s*</name>\s*(<value.*?)\s*</member>\s*</struct>",
        raw(method, *params),
        re.S,
    )
    return m.group(1) if m else None


# ---- the wire ----


def logins():
    s = Session(USER, PASSWORD)
    check(s.ref.startswith("OpaqueRef:"), "a login with two parameters, as fence_xenapi makes it")
    s("session.logout")
    fails(["SESSION_INVALID", s.ref], "a session is invalid after its logout", s, "pool.get_all")
    for path in ("/", "/RPC2", "/xmlrpc"):
        s = Session(USER, PASSWORD, "2.23", "tour.py", path=path)
        check(len(s("pool.get_all")) == 1, f"XML-RPC is answered at {path}")
        s("session.logout")
    s = Session(USER, PASSWORD, "", "tour.py")
    ok("a login with an empty version")
    try:
        Session(USER, PASSWORD + "x", "2.23", "tour.py")
    except Failure as e:
        check(
            e.details[0] == "SESSION_AUTHENTICATION_FAILED",
            "a wrong password is SESSION_AUTHENTICATION_FAILED",
            e.details,
        )
    else:
        check(False, "a wrong password is refused")
    return s


def envelopes(s):
    host = s("host.get_all")[0]
    status, headers, text = post(
        xmlrpc.client.dumps((s.ref, host), "host.get_servertime").encode()
    )
    check(status == 200, "a call is answered with status 200")
    check(
        headers.get("Content-Length") == str(len(text)),
        "the answer says its length",
        headers.items(),
    )
    check(headers.get_content_type() == "text/xml", "the answer is text/xml")
    check(
        re.search(
            rb"<value>\s*<dateTime.iso8601>\d{8}T\d\d:\d\d:\d\dZ</dateTime.iso8601>\s*</value>",
            text,
        ),
        "a date looks like 20260101T00:00:00Z",
        text,
    )
    check(b"<fault>" not in raw("no.such").encode(), "an error is no <fault>")
    methods = proxy().system.listMethods()
    check(
        isinstance(methods, list) and "VM.get_all_records" in methods and len(methods) > 500,
        "system.listMethods gives a bare list",
        methods if not isinstance(methods, list) else len(methods),
    )
    pool = s("pool.get_all")[0]
    check(s("VM_get_all") is not None, "Class_message is understood as well as Class.message")
    check(s("pool.get_uuid", pool) == s("pool_get_uuid", pool), "both names give the same")
    return host, pool


def values(s, vm):
    text = raw_value("VM.get_memory_static_max", s.ref, vm)
    check(re.fullmatch(r"<value>\d+</value>", text or ""), "an int is written untyped", text)
    check(
        isinstance(s("VM.get_memory_static_max", vm), str), "so that clients see it as a string"
    )
    text = raw_value("VM.get_is_a_template", s.ref, vm)
    check(
        re.fullmatch(r"<value>\s*<boolean>[01]</boolean>\s*</value>", text or ""),
        "a boolean is typed",
        text,
    )
    s("VM.set_name_description", vm, "x")
    text = raw_value("VM.set_name_description", s.ref, vm, "y")
    check(
        re.fullmatch(r"<value\s*/>|<value></value>", text or ""), "nothing is an empty value", text
    )
    check(s("VM.set_name_description", vm, "z") == "", "which clients see as an empty string")
    check(s("VM.get_affinity", vm) == NULL, "the null reference is OpaqueRef:NULL")
    odd = "<&> \"quoted\" 'single'  two  spaces \t tab äöü 漢字 \U0001f427 ]]>"
    s("VM.set_name_label", vm, odd)
    check(s("VM.get_name_label", vm) == odd, "text comes back as it was given")
    for written in (True, False):
        s("VM.set_is_a_template", vm, written)
        check(s("VM.get_is_a_template", vm) is written, f"a boolean can be {written}")
    record = s("VM.get_record", vm)
    for name in ("uuid", "power_state", "VBDs", "allowed_operations", "snapshot_time", "tags"):
        check(name in record, f"a record has {name}")
    check(record["power_state"] == "Halted", "an enum is its name", record["power_state"])
    check(isinstance(record["other_config"], dict), "a map is a struct")
    check(isinstance(record["VBDs"], list), "a set is an array")
    check(
        isinstance(record["snapshot_time"], xmlrpc.client.DateTime)
        and re.fullmatch(r"\d{8}T\d\d:\d\d:\d\dZ", record["snapshot_time"].value),
        "a date in a record too",
        record["snapshot_time"],
    )
    s("VM.set_VCPUs_params", vm, {"weight": "512"})
    check(s("VM.get_VCPUs_params", vm) == {"weight": "512"}, "a map can be written")
    for size, kind in (("<int>1</int>", "int"), ("<i4>2</i4>", "i4"), ("<i8>3</i8>", "i8"), ("4", "text")):
        body = (
            '<?xml version="1.0"?><methodCall><methodName>VM.set_user_version</methodName><params>'
            f"<param><value>{s.ref}</value></param><param><value>{vm}</value></param>"
            f"<param><value>{size}</value></param></params></methodCall>"
        )
        post(body.encode())
        check(
            s("VM.get_user_version", vm) == re.sub("<[^>]*>", "", size),
            f"an int may be sent as {kind}",
        )


def errors(s, vm):
    fails(
        ["MESSAGE_PARAMETER_COUNT_MISMATCH", "VM.start", "3", "1"],
        "too few parameters are counted without the session",
        s,
        "VM.start",
        vm,
    )
    fails(
        ["MESSAGE_PARAMETER_COUNT_MISMATCH", "VM.start", "3", "4"],
        "and too many",
        s,
        "VM.start",
        vm,
        False,
        False,
        False,
    )
    fails(
        ["MESSAGE_METHOD_UNKNOWN", "VM.levitate"],
        "a message that does not exist",
        s,
        "VM.levitate",
        vm,
    )
    fails(["MESSAGE_METHOD_UNKNOWN", "vm.start"], "names are case-sensitive", s, "vm.start", vm)
    fails(
        ["HANDLE_INVALID", "VM", NOWHERE], "an object that is gone", s, "VM.get_record", NOWHERE
    )
    unknown = str(uuid.uuid4())
    fails(["UUID_INVALID", "VM", unknown], "an unknown uuid", s, "VM.get_by_uuid", unknown)
    fails(
        ["SESSION_INVALID", NOWHERE],
        "an unknown session",
        lambda: invoke(s.server, "VM.get_all", NOWHERE),
    )
    s("VM.add_to_other_config", vm, "tour", "1")
    fails(
        ["MAP_DUPLICATE_KEY", "VM", "other_config", vm, "tour"],
        "a key that a map has already",
        s,
        "VM.add_to_other_config",
        vm,
        "tour",
        "2",
    )
    s("VM.remove_from_other_config", vm, "tour")
    s("VM.remove_from_other_config", vm, "tour")
    ok("removing a key twice is no error")
    try:
        s("VM.set_actions_after_shutdown", vm, "explode")
        check(False, "a value that no enum has is refused")
    except Failure as e:
        check(e.details[0] == "INVALID_VALUE", "a value that no enum has", e.details)
    body = (
        '<?xml version="1.0"?><methodCall><methodName>VM.set_name_label</methodName><params>'
        f"<param><value>{s.ref}</value></param><param><value>{vm}</value></param><param><value>"
    ).encode() + b"caf\xe9 \xff</value></param></params></methodCall>"
    status, _, text = post(body)
    check(
        status == 200 and b"INVALID_VALUE" in text, "text that is not UTF-8 is INVALID_VALUE", text
    )
    status, _, _ = post(b"this is no XML")
    check(status == 500, "a request that cannot be read is HTTP 500", status)
    check(len(s("VM.get_all")) > 0, "and the server goes on")


def optional_arguments(s, vm):
    snapshot = s("VM.snapshot", vm, "without the optional argument")
    s("VM.destroy", snapshot)
    ok("an optional argument may be left out")
    snapshot = s("VM.snapshot", vm, "with it", [])
    s("VM.destroy", snapshot)
    ok("and given")
    snapshot = s("VM.snapshot", vm, "with one too many", [], "extra")
    s("VM.destroy", snapshot)
    ok("what follows the last optional one is ignored")
    fails(
        ["MESSAGE_PARAMETER_COUNT_MISMATCH", "VM.snapshot", "2", "1"],
        "optional ones are not counted as required",
        s,
        "VM.snapshot",
        vm,
    )


def wait_for_task(s, task):
    """By events, as the clients do it."""
    token = ""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        answer = s("event.from", ["task/" + task], token, 10.0)
        token = answer["token"]
        for event in answer["events"]:
            if event["operation"] == "del":
                raise Failure(["HANDLE_INVALID", "task", task])
            if event["snapshot"]["status"] not in ("pending", "cancelling"):
                return event["snapshot"]
    raise AssertionError("the task does not end")


def tasks(s, vm):
    task = s("Async.VM.clone", vm, "tour.py's async clone")
    check(task.startswith("OpaqueRef:"), "Async gives a task")
    record = wait_for_task(s, task)
    check(record["status"] == "success", "which ends in success", record["error_info"])
    m = re.fullmatch(r"<value>(OpaqueRef:[-0-9a-f]+)</value>", record["result"])
    check(m, "its result is the XML-RPC text of the value", record["result"])
    check(record["progress"] == 1.0, "its progress is 1", record["progress"])
    check(
        s("VM.get_name_label", m.group(1)) == "tour.py's async clone", "and refers to the object"
    )
    check(s("task.get_status", task) == "success", "the task stays until it is destroyed")
    s("task.destroy", task)
    fails(["HANDLE_INVALID", "task", task], "and not longer", s, "task.get_record", task)

    task = s("Async.VM.destroy", m.group(1))
    record = wait_for_task(s, task)
    check(
        record["status"] == "success" and record["result"] == "<value></value>",
        "the result of nothing is <value></value>",
        record["result"],
    )
    s("task.destroy", task)

    task = s("Async.VM.unpause", vm)
    record = wait_for_task(s, task)
    check(record["status"] == "failure", "a failed task says so")
    check(
        record["error_info"] == ["VM_BAD_POWER_STATE", vm, "paused", "halted"],
        "with the error and its parameters",
        record["error_info"],
    )
    s("task.destroy", task)
    try:
        s("Async.VM.get_record", vm)
        check(False, "what cannot be called asynchronously is refused")
    except Failure as e:
        check(e.details[0] == "Fault", "what cannot be called asynchronously is refused", e.details)

    task = s("task.create", "tour.py's own", "")
    s("task.set_progress", task, 0.25)
    check(s("task.get_progress", task) == 0.25, "clients may have tasks of their own")
    s("task.set_status", task, "success")
    s("task.destroy", task)


def events(s, vm, pool):
    everything = s("event.from", ["*"], "", 30.0)
    check(
        all(e["operation"] == "add" for e in everything["events"]),
        "an empty token gives every object as an add",
    )
    classes = {e["class"] for e in everything["events"]}
    check(
        {"vm", "host", "pool", "sr", "network"} <= classes and all(c == c.lower() for c in classes),
        "classes are in lower case",
        classes,
    )
    check(
        all("snapshot" in e and isinstance(e["snapshot"], dict) for e in everything["events"]),
        "each with its record",
    )
    refs = {e["ref"] for e in everything["events"] if e["class"] == "vm"}
    check(refs == set(s("VM.get_all")), "all of a class's objects")
    counts = everything["valid_ref_counts"]
    check(
        isinstance(counts["vm"], int) and counts["vm"] == len(refs),
        "valid_ref_counts are typed ints",
        counts,
    )
    token = everything["token"]
    for name in ("VM", "vm"):
        before = s("event.inject", "VM", vm)
        answer = s("event.from", [name], before, 30.0)
        check(
            any(e["ref"] == vm and e["operation"] == "mod" for e in answer["events"]),
            f"event.inject's token lies just before its event (class '{name}')",
            answer["events"],
        )
    before = s("event.inject", "pool", pool)
    s("VM.set_name_description", vm, "seen behind the barrier")
    answer = s("event_from", ["VM", "pool"], before, 30)
    seen = {}
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for e in answer["events"]:
            seen[e["ref"]] = e.get("snapshot")
        if seen.get(vm, {}).get("name_description") == "seen behind the barrier" and pool in seen:
            break
        answer = s("event_from", ["VM", "pool"], answer["token"], 5.0)
    check(pool in seen and vm in seen, "an injected event and the change after it both come")
    check(
        seen[vm]["name_description"] == "seen behind the barrier", "with what the change wrote"
    )
    answer = s("event.from", ["vm/" + vm], token, 0.2)
    check({e["ref"] for e in answer["events"]} <= {vm}, "class/reference selects one object")
    quiet = s("event.from", ["vm/" + NOWHERE], answer["token"], 0.2)
    check(quiet["events"] == [] and quiet["token"], "a timeout gives no events and a token")
    try:
        s("event.from", ["*"], "nonsense", 1.0)
        check(False, "a token that is none is refused")
    except Failure as e:
        check(
            e.details[0] == "EVENT_FROM_TOKEN_PARSE_FAILURE",
            "a token that is none is refused",
            e.details,
        )
    copy = s("VM.clone", vm, "tour.py's short-lived")
    token = s("event.from", ["vm"], "", 30.0)["token"]
    s("VM.destroy", copy)
    answer = s("event.from", ["vm"], token, 30.0)
    deleted = [e for e in answer["events"] if e["ref"] == copy]
    check(
        len(deleted) == 1 and deleted[0]["operation"] == "del" and "snapshot" not in deleted[0],
        "a deletion comes without a record",
        deleted,
    )


def logout_wakes():
    s = Session(USER, PASSWORD, "2.23", "tour.py")
    token = s("event.from", ["*"], "", 30.0)["token"]
    got = []

    def wait():
        server = proxy()
        now = token
        try:
            # Other clients' changes may come; the end may not take longer than one wait.
            while True:
                now = invoke(server, "event.from", s.ref, ["pool"], now, 60.0)["token"]
        except Failure as e:
            got.append(e.details)
        except Exception as e:  # pylint: disable=broad-except
            got.append(repr(e))

    thread = threading.Thread(target=wait, daemon=True)
    began = time.monotonic()
    thread.start()
    # Either the wait has begun or it will find the session gone: both must end the same way.
    Session(USER, PASSWORD, "2.23", "tour.py")("session.logout")
    s("session.logout")
    thread.join(30)
    check(
        got == [["SESSION_INVALID", s.ref]] and time.monotonic() - began < 30,
        "a logout wakes the session's waiting event.from",
        got,
    )


def filters(s, vm):
    name = f"filter-{uuid.uuid4()}"
    s("VM.set_name_label", vm, name)
    everyone = set(s("VM.get_all"))

    def where(expression):
        return set(s("VM.get_all_records_where", expression))

    def is_refused(expression, text, code="INVALID_VALUE"):
        try:
            where(expression)
        except Failure as e:
            check(e.details[0] == code, text, e.details)
            return
        check(False, text)

    check(where("true") == everyone, "the filter true matches all")
    check(where("false") == set(), "and false none")
    check(where(f'field "name__label"="{name}"') == {vm}, "a field by its database name")
    check(where(f'field "uuid" = "{s("VM.get_uuid", vm)}"') == {vm}, "by uuid")
    check(where(f'field "_ref"="{vm}"') == {vm}, "by reference")
    check(
        where(f'field "name__label"="{name}" and field "is_a_template"="false"') == {vm},
        "a boolean as a string",
    )
    check(
        where(f'(field "name__label"="{name}") and not field "power_state"="Running"') == {vm},
        "parentheses and not",
    )
    check(where("true or true and false") == set(), "and binds no tighter than or: left to right")
    check(where("false and true or true") == everyone, "the other way round too")
    check(where("not false and false") == everyone, "not binds looser than both")
    check(where("(not false) and false") == set(), "unless in parentheses")
    is_refused('field "is_a_template"=true', "a literal without quotes is refused")
    is_refused("", "an empty filter is refused")
    is_refused("TRUE", "keywords are in lower case")
    is_refused('field "name__label"="x', "a string without its end is refused")
    is_refused(
        'field "no_such_field"="x"', "an unknown field is an INTERNAL_ERROR", "INTERNAL_ERROR"
    )
    check(
        vm in s("VM.get_all_where", f'field "name__label"="{name}"'), "get_all_where gives references"
    )


# ---- a machine's life ----


def find_sr(s, pool):
    default = s("pool.get_default_SR", pool)
    records = s("SR.get_all_records")
    if default in records:
        return default
    for ref, record in records.items():
        if record["type"] not in ("iso", "udev"):
            return ref
    raise AssertionError("there is no storage for disks")


def make_vm(s, name):
    templates = s("VM.get_by_name_label", TEMPLATE)
    check(len(templates) >= 1, f"there is a template '{TEMPLATE}'")
    vm = s("VM.clone", templates[0], name)
    s("VM.provision", vm)
    check(s("VM.get_is_a_template", vm) is False, "a provisioned clone of it is no template")
    return vm


def add_disk(s, vm, sr):
    vdi = s(
        "VDI.create",
        {
            "name_label": "tour.py's disk",
            "name_description": "",
            "SR": sr,
            "virtual_size": str(64 << 20),
            "type": "user",
            "sharable": False,
            "read_only": False,
            "other_config": {},
        },
    )
    return s(
        "VBD.create",
        {
            "VM": vm,
            "VDI": vdi,
            "userdevice": s("VM.get_allowed_VBD_devices", vm)[0],
            "bootable": True,
            "mode": "RW",
            "type": "Disk",
            "empty": False,
            "other_config": {},
            "qos_algorithm_type": "",
            "qos_algorithm_params": {},
        },
    )


def destroy(s, vm):
    disks = [
        s("VBD.get_VDI", vbd)
        for vbd in s("VM.get_VBDs", vm)
        if s("VBD.get_type", vbd) == "Disk"
    ]
    s("VM.destroy", vm)
    for disk in disks:
        s("VDI.destroy", disk)


def may_be_shut_down(s, vm):
    """Follows the machine's events until its agent is up, for half a minute at the most."""
    token, end = "", time.monotonic() + 30
    while time.monotonic() < end:
        answer = s("event.from", ["vm/" + vm], token, 5.0)
        token = answer["token"]
        for event in answer["events"]:
            if "clean_shutdown" in event["snapshot"]["allowed_operations"]:
                return True
    return False


def life(s, vm, sr):
    def state(wanted, text):
        is_now = s("VM.get_power_state", vm)
        check(is_now == wanted, text, is_now)

    add_disk(s, vm, sr)
    ok("it gets a disk")
    s("VM.start", vm, False, False)
    state("Running", "it starts")
    record = s("VM.get_record", vm)
    check(record["resident_on"] in s("host.get_all"), "it is resident on a host")
    check(may_be_shut_down(s, vm), "and may be shut down once its guest says that it can")
    fails(
        ["VM_BAD_POWER_STATE", vm, "halted", "running"],
        "it cannot be started twice",
        s,
        "VM.start",
        vm,
        False,
        False,
    )
    running = s("VM.get_all_records_where", 'field "power_state"="Running"')
    check(vm in running, "it is listed among the running")
    s("VM.set_name_description", vm, "as snapshotted")
    snapshot = s("VM.snapshot", vm, "tour.py's snapshot", [])
    check(
        s("VM.get_is_a_snapshot", snapshot) is True and s("VM.get_snapshot_of", snapshot) == vm,
        "a snapshot is taken of it",
    )
    check(snapshot in s("VM.get_snapshots", vm), "the machine knows its snapshot")
    s("VM.suspend", vm)
    state("Suspended", "it is suspended")
    s("VM.resume", vm, False, False)
    state("Running", "it is resumed")
    s("VM.clean_shutdown", vm)
    state("Halted", "it shuts down by itself")
    s("VM.set_name_description", vm, "changed since")
    s("VM.revert", snapshot)
    check(
        s("VM.get_name_description", vm) == "as snapshotted",
        "it is reverted to the snapshot",
        s("VM.get_name_description", vm),
    )
    state("Halted", "and is halted then")
    copy = s("VM.clone", vm, "tour.py's clone")
    check(
        [t for t in map(lambda b: s("VBD.get_type", b), s("VM.get_VBDs", copy)) if t == "Disk"]
        == ["Disk"],
        "it is cloned with its disk",
    )
    destroy(s, copy)
    destroy(s, snapshot)
    destroy(s, vm)
    fails(["HANDLE_INVALID", "VM", vm], "and destroyed", s, "VM.get_record", vm)


def main():
    s = logins()
    _, pool = envelopes(s)
    sr = find_sr(s, pool)
    vm = make_vm(s, f"tour.py {uuid.uuid4()}")
    values(s, vm)
    errors(s, vm)
    optional_arguments(s, vm)
    tasks(s, vm)
    events(s, vm, pool)
    logout_wakes()
    filters(s, vm)
    life(s, vm, sr)
    s("session.logout")
    ok("logged out")


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        print(f"not ok - the server failed: {failure.details}", flush=True)
        raise
