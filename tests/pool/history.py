# SPDX-License-Identifier: LGPL-2.1-or-later
"""history.py -- clients of a pool that write down what they asked, what was answered and when; and what can be said about it afterwards.

  Writer       one session; keys of other_config that several writers want, tags, a whole map (xenstore_data), a field of its own,
               making and destroying VMs; reads what it wrote.  It stays on its member until that one fails it, or hops all the time.
  Reader       one session, reads only; stays or hops.
  EventReader  one token, event.from over and over; after a member died it goes on with the same token on another.

A write is answered, refused for the reason a linearizable object would give, or its outcome is unknown: every other error is that.
"""

import hashlib
import json
import os
import random
import threading
import time
import traceback

from checker import OK, REFUSED, UNKNOWN, Exhausted, Read, Stream, Write, check, check_streams
from daemon import Lost, XapiError
from members import NotSent, Session

MAPS = 24        # VMs whose maps are set as a whole, two at a time
SHARED = 4       # VMs whose maps all writers change
KEYS = 3         # keys of each, for each period
PERIOD = 15.0    # seconds after which other keys are used, so that what stays unknown does not stay for ever
TAGS = 2
MAP_KEYS = ("vm-data/a", "vm-data/b", "vm-data/c")
TIMEOUT = 6.0    # of one call
SLOW_READ = 1.0
PREFIX = "pool-made-"
GONE_SESSION = ("SESSION_INVALID", "SESSION_AUTHENTICATION_FAILED")


class World:
    """What all clients share."""

    def __init__(self, pool, seed, report):
        self.pool, self.seed, self.report = pool, seed, report
        self.stop, self.stop_events = threading.Event(), threading.Event()
        self.begin = time.monotonic()
        self.shared, self.own, self.maps = [], [], []  # references
        self.made = []                      # (name, ref) of VMs that were made, for whoever wants to destroy one
        self.histories = {}                 # of each client: the list it appends to
        self.lost_sessions = 0
        self.template = None

    def now(self):
        return time.monotonic() - self.begin

    def period(self):
        return int(self.now() / PERIOD)

    def map(self, n):
        return self.maps[(2 * self.period() + n) % MAPS]

    def prepare(self, writers):
        """The VMs, made on the member that leads, seen by all."""
        session, leader = Session(self.pool, 30), self.pool.wait_leader().number
        session.login(leader)
        source = session.call(leader, "VM.get_by_name_label", "Other install media")[0]
        self.template = {**session.call(leader, "VM.get_record", source), "is_a_template": False, "name_description": "",
                         "other_config": {}, "xenstore_data": {}, "tags": []}
        self.shared = [session.call(leader, "VM.create", {**self.template, "name_label": f"shared {n}"}) for n in range(SHARED)]
        self.maps = [session.call(leader, "VM.create", {**self.template, "name_label": f"map {n}"}) for n in range(MAPS)]
        self.own = [session.call(leader, "VM.create", {**self.template, "name_label": f"own {n}"}) for n in range(writers)]
        session.close()
        wrong = self.pool.wait_equal()
        if wrong:
            raise RuntimeError(f"the members are not alike before anything happened: {wrong}")


class Client:
    """A thread with a session; 'history' is its own: (object, Write or Read) in its order."""

    def __init__(self, world, name, member, hops):
        self.world, self.name, self.member, self.hops = world, name, member, hops
        self.stop = world.stop
        self.chance = random.Random(f"{world.seed}-{name}")
        self.session = Session(world.pool, TIMEOUT)
        self.history = world.histories.setdefault(name, [])
        self.last_read = {}
        self.logged_in = None  # the name of the session in the history
        self.slowest = 0.0
        self.errors = {}       # those that left a write unknown, with how often
        self.wrong = []
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        try:
            while not self.stop.is_set():
                if not self.logged_in and not self._login():
                    self._elsewhere()
                    self.stop.wait(0.2)
                    continue
                if self.hops and self.chance.random() < 0.3:
                    self.member = self.chance.randrange(len(self.world.pool))
                self.work()
                self.pause()
        except Exception as e:  # a bug of the test must not look like silence
            self.wrong.append(f"{self.name} ended: {e!r} {traceback.format_exc()}")
        finally:
            self.session.close()

    def pause(self):
        self.stop.wait(self.chance.random() * 0.06)

    def _login(self):
        try:
            self.session.login(self.member)
        except (Lost, XapiError):
            return False
        self.logged_in = f"{self.name}.{self.session.serial}"
        self.last_read = {}
        return True

    def _elsewhere(self):
        self.member = self.chance.randrange(len(self.world.pool))

    def _session_is_gone(self):
        self.logged_in = None
        self.world.lost_sessions += 1

    def note_reads(self, values, inv, ret):
        """What was read, {object: value}; the same again says nothing new."""
        for obj, value in values.items():
            if self.last_read.get(obj, self) != value:
                self.last_read[obj] = value
                self.history.append((obj, Read(self.logged_in, value, inv, ret)))

    def read(self):
        """One record of a shared VM, with all its objects."""
        world = self.world
        ref = self.chance.choice((*world.shared, *world.shared, *world.own, world.map(0), world.map(1)))
        inv = self.world.now()
        try:
            record = self.session.call(self.member, "VM.get_record", ref)
        except Lost:
            self._elsewhere()
            return
        except XapiError as e:
            if e.code in GONE_SESSION:
                self._session_is_gone()
            elif e.code == "HANDLE_INVALID":
                self.wrong.append(f"{self.name} on member {self.member}: {e}, which was never destroyed")
            else:
                self._note_error("read", e)
                self._elsewhere()
            return
        ret = self.world.now()
        self.slowest = max(self.slowest, ret - inv)
        self.note_reads(objects(self.world, ref, record), inv, ret)

    def _note_error(self, what, e):
        text = f"{what}: {e}"[:160]
        self.errors[text] = self.errors.get(text, 0) + 1


def objects(world, ref, record):
    """{object: value} of a record of a shared VM or one of a writer's own.  Keys of the last two periods: older ones rest."""
    if ref in world.own:
        return {("own", ref): record["name_description"]}
    if ref in world.maps:
        return {("map", ref): tuple(sorted(record["xenstore_data"].items()))}
    out = {("tag", ref, f"t{n}"): "set" if f"t{n}" in record["tags"] else None for n in range(TAGS)}
    for period in range(max(0, world.period() - 1), world.period() + 1):
        for n in range(KEYS):
            out[("key", ref, f"k{period}-{n}")] = record["other_config"].get(f"k{period}-{n}")
    return out


class Writer(Client):
    def __init__(self, world, number, member, hops):
        super().__init__(world, f"w{number}", member, hops)
        self.number, self.serial = number, 0
        self.acknowledged = []  # moments

    def work(self):
        choice = self.chance.random()
        for limit, step in ((0.22, self._add), (0.42, self._remove), (0.5, self._tag), (0.6, self._map), (0.72, self._own),
                            (0.77, self._create), (0.82, self._destroy), (1.0, self.read)):
            if choice < limit:
                step()
                return

    def _write(self, obj, kind, arg, refused, method, *params):
        """One write; its Write.  refused: the code of the error that a refusal is."""
        w = Write(self.logged_in, kind, arg, self.world.now(), None, UNKNOWN)
        self.history.append((obj, w))
        self.last_read.pop(obj, None)
        try:
            result = self.session.call(self.member, method, *params)
            w.ret, w.outcome = self.world.now(), OK
            self.acknowledged.append(w.ret)
            return result
        except NotSent:
            self.history.pop()
            self._elsewhere()
        except Lost:
            self._elsewhere()
        except XapiError as e:
            now = self.world.now()
            if e.code in GONE_SESSION:
                self.history.pop()  # it was not let in
                self._session_is_gone()
            elif e.code == refused:
                w.ret, w.outcome = now, REFUSED
            elif e.code == "HANDLE_INVALID":
                self.wrong.append(f"{self.name} on member {self.member}, {method}: {e}, which was never destroyed")
            else:
                self._note_error(method, e)
                self._elsewhere()
        return None

    def _value(self):
        self.serial += 1
        return f"{self.number}.{self.serial}"

    def _key(self):
        return self.chance.choice(self.world.shared), f"k{self.world.period()}-{self.chance.randrange(KEYS)}"

    def _add(self):
        (ref, key), value = self._key(), self._value()
        self._write(("key", ref, key), "add", value, "MAP_DUPLICATE_KEY", "VM.add_to_other_config", ref, key, value)

    def _remove(self):
        ref, key = self._key()
        self._write(("key", ref, key), "del", None, None, "VM.remove_from_other_config", ref, key)

    def _tag(self):
        ref, tag = self.chance.choice(self.world.shared), f"t{self.chance.randrange(TAGS)}"
        if self.chance.random() < 0.5:
            self._write(("tag", ref, tag), "put", "set", None, "VM.add_tags", ref, tag)
        else:
            self._write(("tag", ref, tag), "del", None, None, "VM.remove_tags", ref, tag)

    def _map(self):
        ref, key, value = self.world.map(self.chance.randrange(2)), self.chance.choice(MAP_KEYS), self._value()
        choice = self.chance.random()
        if choice < 0.4:
            self._write(("map", ref), "add", (key, value), "MAP_DUPLICATE_KEY", "VM.add_to_xenstore_data", ref, key, value)
        elif choice < 0.8:
            self._write(("map", ref), "del", key, None, "VM.remove_from_xenstore_data", ref, key)
        else:
            items = {k: value for k in MAP_KEYS if self.chance.random() < 0.5}
            self._write(("map", ref), "put", tuple(sorted(items.items())), None, "VM.set_xenstore_data", ref, items)

    def _own(self):
        ref, value = self.world.own[self.number], self._value()
        self._write(("own", ref), "put", value, None, "VM.set_name_description", ref, value)

    def _create(self):
        if len(self.world.made) > 40:
            return
        name = PREFIX + self._value()
        ref = self._write(("vm", name), "create", None, None, "VM.create", {**self.world.template, "name_label": name})
        if ref:
            self.world.made.append((name, ref))

    def _destroy(self):
        made = self.world.made
        if not made:
            return
        name, ref = made[self.chance.randrange(min(3, len(made)))]  # few, so that several want the same
        if self._write(("vm", name), "destroy", None, "HANDLE_INVALID", "VM.destroy", ref) is not None and (name, ref) in made:
            made.remove((name, ref))


class Reader(Client):
    def work(self):
        self.read()

    def pause(self):
        self.stop.wait(0.02 + self.chance.random() * 0.1)


class EventReader(Client):
    """Reads until 'last' is reached, when that is set."""

    def __init__(self, world, name, member, hops):
        super().__init__(world, name, member, hops)
        self.stop = world.stop_events
        self.stream, self.token = Stream(name), ""
        self.last = None
        self.moved_with_token = 0
        self.names = {}  # of VMs that were made, by reference

    def reached(self):
        return self.stream.revision is not None and self.last is not None and self.stream.revision >= self.last

    def pause(self):
        self.stop.wait(0.15)

    def work(self):
        inv, before = self.world.now(), self.stream.revision
        try:
            answer = self.session.call(self.member, "event.from", ["vm"], self.token, 1.0)
        except Lost:
            self._move()
            return
        except XapiError as e:
            if e.code in GONE_SESSION:
                self._session_is_gone()
            elif e.code == "EVENTS_LOST":
                self.wrong.append(f"{self.name} on member {self.member}: {e}; the token was {self.token!r}")
                self.token, self.stream.revision = "", None
            else:
                self._note_error("event.from", e)
                self._move()
            return
        self._take(answer, before, inv)

    def _move(self):
        self._elsewhere()
        self.moved_with_token += 1

    def _take(self, answer, before, inv):
        ret, revision = self.world.now(), revision_of(answer["token"])
        rows, reads = {}, {}
        for event in answer["events"]:
            ref, snapshot = event["ref"], event.get("snapshot")
            if before is not None and not before < int(event["id"]) <= revision:
                self.wrong.append(f"{self.name} on member {self.member}: event {event['id']} of {ref} between the tokens of {before} and "
                                  f"{revision}")
            if event["operation"] == "del":
                rows[ref] = None
                if ref in self.names:
                    reads[("vm", self.names[ref])] = "gone"
                continue
            rows[ref] = row_value(snapshot)
            if snapshot["name_label"].startswith(PREFIX):
                self.names[ref] = snapshot["name_label"]
                reads[("vm", snapshot["name_label"])] = "there"
            elif ref in self.world.shared or ref in self.world.own or ref in self.world.maps:
                reads.update(objects(self.world, ref, snapshot))
        self.stream.answer(before, revision, rows)
        self.token = answer["token"]
        # A token is a session of its own: what it has seen it has seen, whoever asks with it.
        session, self.logged_in = self.logged_in, self.name
        self.note_reads(reads, inv, ret)
        self.logged_in = session

    def _login(self):
        seen = self.last_read
        done = super()._login()
        self.last_read = seen  # the token goes on, whatever the session
        return done


def row_value(record):
    """A record as something small to be compared; with XAPID_KEEP as something to be read."""
    text = json.dumps(record, sort_keys=True)
    return text if os.environ.get("XAPID_KEEP") else hashlib.sha1(text.encode()).hexdigest()


def revision_of(token):
    return int(token.split(",")[0])


# ---- afterwards ----

def _by_object(histories):
    """{object: (writes, {session: chain})}."""
    out = {}
    for history in histories.values():
        for obj, x in history:
            writes, chains = out.setdefault(obj, ([], {}))
            if isinstance(x, Write):
                writes.append(x)
            chains.setdefault(x.session, []).append(x)
    return out


MODEL = {"key": "register", "tag": "register", "own": "register", "map": "map", "vm": "existence"}


def _initial_own(obj, found):
    """The description of a writer's own VM is "" at first, which the register knows as nothing."""
    if obj[0] != "own":
        return found
    return [None if v == "" else v for v in found]


def final_values(obj, finals):
    """The value of an object in each member's VMs, {ref: record}."""
    out = []
    for records in finals:
        if obj[0] == "vm":
            there = [r for r in records.values() if r["name_label"] == obj[1]]
            out.append("there" if there else None)
        elif obj[0] == "own":
            out.append(records[obj[1]]["name_description"])
        elif obj[0] == "map":
            out.append(tuple(sorted(records[obj[1]]["xenstore_data"].items())))
        elif obj[0] == "tag":
            out.append("set" if obj[2] in records[obj[1]]["tags"] else None)
        else:
            out.append(records[obj[1]]["other_config"].get(obj[2]))
    return out


def _vm_final(writes, value):
    """What is not there is gone, or never came."""
    if value == "there":
        return "there"
    created = any(w.kind == "create" and w.outcome == OK for w in writes)
    destroyed = any(w.kind == "destroy" for w in writes)
    return "gone" if created or destroyed else "absent"


def judge(histories, finals):
    """Checks every object; the faults, and how many objects, writes and reads were looked at."""
    faults, counts = [], {"objects": 0, "writes": 0, "reads": 0, "unknown": 0, "undecided": 0}
    for obj, (writes, chains) in sorted(_by_object(histories).items(), key=lambda e: str(e[0])):
        counts["objects"] += 1
        counts["writes"] += len(writes)
        counts["unknown"] += sum(1 for w in writes if w.outcome == UNKNOWN)
        counts["reads"] += sum(1 for c in chains.values() for x in c if isinstance(x, Read))
        if obj[0] == "own":
            for chain in chains.values():
                for x in chain:
                    if isinstance(x, Read) and x.value == "":
                        x.value = None
        final = _initial_own(obj, final_values(obj, finals))
        if obj[0] == "vm":
            final = [_vm_final(writes, v) for v in final]
        try:
            wrong = check(MODEL[obj[0]], writes, chains, final)
        except Exhausted:
            counts["undecided"] += 1
            continue
        if wrong:
            faults.append(f"{' '.join(obj)}:\n  " + "\n  ".join(wrong))
    return faults, counts


def judge_names(histories, finals):
    """Every VM that is there was asked for, and is there once."""
    asked = {obj[1] for history in histories.values() for obj, x in history if obj[0] == "vm"}
    faults = []
    for i, records in enumerate(finals):
        names = [r["name_label"] for r in records.values() if r["name_label"].startswith(PREFIX)]
        faults += [f"member {i} has {n} twice: a retry was applied twice" for n in sorted({n for n in names if names.count(n) > 1})]
        faults += [f"member {i} has {n}, which nobody asked for" for n in names if n not in asked]
    return faults


def judge_streams(readers, finals):
    """The streams agree among themselves, and with what is there at the end."""
    faults = []
    mirror_of = {ref: row_value(r) for ref, r in finals[0].items()}
    for reader in readers:
        mirror = {ref: value for ref, (value, _) in reader.stream.rows.items() if value is not None}
        for ref in set(mirror) | set(mirror_of):
            if mirror.get(ref) != mirror_of.get(ref):
                faults.append(f"{reader.name} at revision {reader.stream.revision}: {ref} is {str(mirror.get(ref))[:160]}, "
                              f"and in the database {str(mirror_of.get(ref))[:160]}")
        reader.stream.end()
    return faults + check_streams([r.stream for r in readers])

