# SPDX-License-Identifier: LGPL-2.1-or-later
"""journal.py -- writers that keep a journal: what they asked for, and what of it was acknowledged.

A Writer has a thread and a connection.  It makes, renames, describes, configures and destroys VMs, networks and disks of its own, and
notes before each call what may become of it, and after the answer what has.  Once the daemon has died and is back,
compare() tells what is not as the journals say:
  what was acknowledged is there; what was acknowledged as destroyed is not; the one call under way was done as a whole or not at all;
  and nothing is there that nobody asked for.
"""

import random
import threading

import lab
import world
from daemon import Client, Lost, XapiError

CLASSES = ("VM", "network", "VDI")
PREFIX = "w"  # of all names the writers give
FIELDS = ("name_label", "name_description", "other_config")


class Counter:
    """Acknowledged calls of all writers, to be waited for."""

    def __init__(self):
        self.value, self.condition = 0, threading.Condition()

    def add(self):
        with self.condition:
            self.value += 1
            self.condition.notify_all()

    def wait_for(self, value, timeout):
        with self.condition:
            return self.condition.wait_for(lambda: self.value >= value, timeout)


class Row:
    """One object: its reference once it is known, its fields as acknowledged, and as the call under way may leave them."""

    def __init__(self, kind, name):
        self.kind, self.name, self.ref = kind, name, None
        self.state = {"name_label": name, "name_description": "", "other_config": {}}
        self.doubt = None
        self.ending = False


def _seen(record):
    """The fields writers write; other_config without what others put there."""
    out = {f: record[f] for f in FIELDS}
    out["other_config"] = {k: v for k, v in out["other_config"].items() if k.startswith("journal-")}
    return out


class Writer:
    def __init__(self, number, seed, counter, kinds=CLASSES, kept=6):
        self.number, self.random, self.counter = number, random.Random(f"{seed}-{number}"), counter
        self.kinds, self.kept = kinds, kept
        self.rows, self.gone, self.made, self.calls = [], set(), 0, 0
        self.thread = None
        self.wrong = []  # what should not have been answered

    def start(self, make_client, stop):
        self.thread = threading.Thread(target=self._work, args=(make_client, stop), daemon=True)
        self.thread.start()

    def _work(self, make_client, stop):
        try:
            client = make_client(self.number)
            sources = {"VM": lab.template(client), "SR": lab.default_sr(client)}
            sources["description"] = client("VM.get_name_description", sources["VM"])
            while not stop.is_set():
                self._step(client, sources)
                self.counter.add()
            client.close()
        except (Lost, OSError):
            pass
        except XapiError as e:
            self.wrong.append(f"writer {self.number}: {e}")

    def _step(self, client, sources):
        choice = self.random.random()
        self.calls += 1
        if not self.rows or (choice < 0.25 and len(self.rows) < self.kept):
            self._create(client, sources)
        elif choice < 0.25:
            self._destroy(client, self.rows[0])
        else:
            row = self.random.choice(self.rows)
            self.random.choice((self._rename, self._describe, self._configure))(client, row)

    def _create(self, client, sources):
        self.made += 1
        kind = self.random.choice(self.kinds)
        row = Row(kind, f"{PREFIX}{self.number}-{self.made}")
        self.rows.append(row)
        if kind == "VM":
            row.state["name_description"] = sources["description"]  # a clone has the template's
            row.ref = client("VM.clone", sources["VM"], row.name)
        elif kind == "network":
            row.ref = lab.network(client, row.name)
        else:
            row.ref = lab.vdi(client, row.name, lab.MIB, sources["SR"])

    def _destroy(self, client, row):
        row.ending = True
        client(f"{row.kind}.destroy", row.ref)
        self.gone.add(row.ref)
        self.rows.remove(row)

    def _change(self, row, field, value, call):
        row.doubt = {**row.state, field: value}
        call()
        row.state, row.doubt = row.doubt, None

    def _rename(self, client, row):
        name = f"{row.name}-r{self.calls}"
        self._change(row, "name_label", name, lambda: client(f"{row.kind}.set_name_label", row.ref, name))

    def _describe(self, client, row):
        text = f"call {self.calls}"
        self._change(row, "name_description", text, lambda: client(f"{row.kind}.set_name_description", row.ref, text))

    def _configure(self, client, row):
        key, config = f"journal-{self.random.randrange(5)}", dict(row.state["other_config"])
        if key in config:
            del config[key]
            self._change(row, "other_config", config, lambda: client(f"{row.kind}.remove_from_other_config", row.ref, key))
        else:
            config[key] = f"call {self.calls}"
            self._change(row, "other_config", config, lambda: client(f"{row.kind}.add_to_other_config", row.ref, key, config[key]))

    # -- afterwards --

    def _find(self, row, world):
        """The record of a row, and its reference where the journal does not have it."""
        records = world[row.kind]
        if row.ref:
            return row.ref, records.get(row.ref)
        for ref, record in records.items():
            if record["name_label"] == row.name:
                return ref, record
        return None, None

    def _compare_row(self, row, world):
        ref, record = self._find(row, world)
        if not record:
            if row.ref and not row.ending:
                self.wrong.append(f"{row.kind} {row.name} was acknowledged and is not there")
            self.rows.remove(row)
            return None
        found, allowed = _seen(record), [row.state] + [row.doubt] * bool(row.doubt)
        if found not in allowed:
            self.wrong.append(f"{row.kind} {row.name} is {found}, not one of {allowed}")
        row.ref, row.state, row.doubt, row.ending = ref, found, None, False
        return ref

    def compare(self, world):
        """References of this writer's objects; what is wrong is in 'wrong'.  The journal then goes on from what was found."""
        known = {self._compare_row(row, world) for row in list(self.rows)} - {None}
        self.wrong += [f"{kind} {ref} was acknowledged as destroyed and is there" for kind in CLASSES for ref in self.gone & set(world[kind])]
        return known


def compare(writers, world):
    """What is not as the journals say."""
    known, wrong = set(), []
    for w in writers:
        known |= w.compare(world)
        wrong += w.wrong
        w.wrong = []
    for kind in CLASSES:
        wrong += [f"{kind} {r['name_label']} is there and nobody made it" for ref, r in world[kind].items()
                  if r["name_label"].startswith(PREFIX) and ref not in known]
    return wrong


def run(writers, make_client, counter, calls, longest, end):
    """Lets all write until so many calls were acknowledged (or 'longest' seconds are over), then does end()."""
    stop = threading.Event()
    goal = counter.value + calls
    for w in writers:
        w.start(make_client, stop)
    counter.wait_for(goal, longest)
    try:
        end(stop)
    finally:
        stop.set()
        for w in writers:
            w.thread.join(90)
    stuck = [f"writer {w.number} does not come back" for w in writers if w.thread.is_alive()]
    return stuck


def client_of(daemon):
    """Every other writer comes over TLS, the rest through the Unix socket."""
    return lambda number: Client(daemon, transport="tls" if number % 2 else "unix", timeout=60)


def settled(client):
    """The world, once nothing is held and no task is pending any more; None before."""
    w = world.world(client)
    return w if not world.held(w) and not [t for t in world.tasks(client).values() if t["status"] in ("pending", "cancelling")] else None
