# SPDX-License-Identifier: LGPL-2.1-or-later
"""checker.py -- whether a history can have been: linearizable writes, sessions that never see the past again, streams without gap.

An object (a key of a map, a whole map, the existence of a VM) has a history: writes with the times they were asked and answered, for each
session the order of its own writes and of what it read, and what is there at the end.  check() looks for an order of the writes in which
  - each takes effect between its question and its answer; one whose outcome is unknown at any time after its question, or never;
  - each answer is right ("it is there already" only where it was);
  - each session's reads and writes agree with that order, one after the other.  A read may be old, never older than what its session saw;
  - the end is the end.
Objects are independent, so each is searched alone.  The search keeps every state that is still possible (Lowe's just-in-time
linearization), and lets reads go as far as they can at once, since that never hurts.  Unknown writes of which nothing was ever seen are
alike, so that long partitions do not make the search explode.  It first keeps only a few of the possible states, those that need
the fewest unknown writes: an order that is found is an order.  Only where none is found that way, all are searched.
"""

from collections import defaultdict, deque

UNKNOWN = "unknown"
OK = "ok"
REFUSED = "refused"
ILLEGAL = object()
UNSEEN = "(never seen)"
NODES = 200000  # after so many states nothing is said about an object
FEW = 12        # states kept at first


class Write:
    """kind and arg mean something to the model; outcome is OK, REFUSED or UNKNOWN; ret is None where unknown."""

    __slots__ = ("session", "kind", "arg", "inv", "ret", "outcome")

    def __init__(self, session, kind, arg, inv, ret, outcome):
        self.session, self.kind, self.arg, self.inv, self.outcome = session, kind, arg, inv, outcome
        self.ret = None if outcome == UNKNOWN else ret

    def __repr__(self):
        end = "...    " if self.ret is None else f"{self.ret:.4f}"
        return f"{self.inv:.4f}-{end} {self.session} {self.kind} {self.arg!r} {self.outcome}"


class Read:
    __slots__ = ("session", "value", "inv", "ret")

    def __init__(self, session, value, inv, ret):
        self.session, self.value, self.inv, self.ret = session, value, inv, ret

    def __repr__(self):
        return f"{self.inv:.4f}-{self.ret:.4f} {self.session} saw {self.value!r}"


# ---- what the objects do ----

def register(state, w):
    """A key of a map; a field.  None: it is not there."""
    if w.kind == "add":
        if w.outcome == REFUSED:
            return state if state is not None else ILLEGAL
        return w.arg if state is None else ILLEGAL
    if w.kind == "del":
        return ILLEGAL if w.outcome == UNKNOWN and state is None else None
    return w.arg  # "put"


def whole_map(state, w):
    """A map with few keys, as a tuple of its sorted items."""
    items = dict(state)
    if w.kind == "add":
        key, value = w.arg
        if w.outcome == REFUSED:
            return state if key in items else ILLEGAL
        if key in items:
            return ILLEGAL
        items[key] = value
    elif w.kind == "del":
        if w.outcome == UNKNOWN and w.arg not in items:
            return ILLEGAL
        items.pop(w.arg, None)
    else:
        return w.arg
    return tuple(sorted(items.items()))


def existence(state, w):
    """'absent', 'there', 'gone': nothing comes twice."""
    if w.kind == "create":
        return "there" if state == "absent" else ILLEGAL
    if w.outcome == REFUSED:
        return state if state == "gone" else ILLEGAL
    return "gone" if state == "there" else ILLEGAL


MODELS = {"register": (register, None), "map": (whole_map, ()), "existence": (existence, "absent")}


class Exhausted(Exception):
    pass


def _no_worse(a, b):
    """Of two configurations with the same state and the same known writes ahead: a can do whatever b can."""
    return all(x <= y for x, y in zip(a[2], b[2])) and all(x >= y for x, y in zip(a[3], b[3]))


class _Search:
    def __init__(self, model, writes, sessions, final, few=None):
        self.step, self.initial = MODELS[model]
        self.writes, self.final, self.nodes, self.few = writes, final, 0, few
        self.open = set()  # known writes under way
        self.classes, self.class_of = [], {}  # unknown writes that are alike: one of them, and of which class
        self.available = []  # of each class: how many were asked for by now
        # The chains without unknown writes: those may never take effect.
        self.names = sorted(sessions)
        self.chains = [[x for x in sessions[s] if isinstance(x, Read) or x.outcome != UNKNOWN] for s in self.names]
        self.chain_of = {id(x): (c, i) for c, chain in enumerate(self.chains) for i, x in enumerate(chain)}

    def _greedy(self, state, pointers):
        """Each session reads on while what it saw is the state."""
        out = None
        for c, chain in enumerate(self.chains):
            p = pointers[c]
            while p < len(chain) and isinstance(chain[p], Read) and chain[p].value == state:
                p += 1
            if p != pointers[c]:
                if out is None:
                    out = list(pointers)
                out[c] = p
        return tuple(out) if out else pointers

    def _take(self, config, w):
        """The configuration after w, or None.  A configuration: state, known writes done ahead, unknown ones used, pointers."""
        state, done, used, pointers = config
        place = self.chain_of.get(id(w))
        if place and pointers[place[0]] != place[1]:
            return None
        after = self.step(state, w)
        if after is ILLEGAL:
            return None
        if place:
            changed = list(pointers)
            changed[place[0]] += 1
            pointers = tuple(changed)
        return after, done, used, self._greedy(after, pointers)

    def _next(self, config):
        """Every configuration one open write further."""
        state, done, used, pointers = config
        for w in self.open:
            if w not in done:
                after = self._take(config, w)
                if after:
                    yield after[0], done | {w}, used, after[3]
        for n, w in enumerate(self.classes):
            if used[n] < self.available[n]:
                after = self._take(config, w)
                if after:
                    more = list(used)
                    more[n] += 1
                    yield after[0], done, tuple(more), after[3]

    def _expand(self, configs, is_done):
        """Those that satisfy is_done, each as soon as it does; those that use the fewest unknown writes first, so that most others are
        no better than one that is known."""
        best = {}

        def is_new(config):
            others = best.setdefault(config[:2], [])
            if any(_no_worse(o, config) for o in others):
                return False
            others[:] = [o for o in others if not _no_worse(config, o)] + [config]
            return True

        todo = deque(sorted((c for c in configs if is_new(c)), key=lambda c: sum(c[2])))
        out = []
        while todo:
            config = todo.popleft()
            if not any(config is o for o in best[config[:2]]):
                continue
            if is_done(config):
                out.append(config)
                if self.few and len(out) == self.few:
                    break
                continue
            for after in self._next(config):
                if is_new(after):
                    (todo.append if after[2] != config[2] else todo.appendleft)(after)
                    self.nodes += 1
                    if self.nodes > NODES:
                        raise Exhausted
        return {c for c in out if any(c is o for o in best[c[:2]])}

    def _begin(self, configs, w):
        if w.outcome != UNKNOWN:
            self.open.add(w)
            return configs
        likeness = (w.kind, w.arg)
        if likeness in self.class_of:
            self.available[self.class_of[likeness]] += 1
            return configs
        self.class_of[likeness] = len(self.classes)
        self.classes.append(w)
        self.available.append(1)
        return {(s, d, u + (0,), p) for s, d, u, p in configs}

    def _end(self, configs, w):
        after = self._expand(configs, lambda c: w in c[1])
        self.open.discard(w)
        return {(s, d - {w}, u, p) for s, d, u, p in after}

    def run(self):
        """None, or what cannot be explained."""
        events = [(w.inv, 0, w) for w in self.writes] + [(w.ret, 1, w) for w in self.writes if w.ret is not None]
        events += [(r.ret, 2, r) for chain in self.chains for r in chain if isinstance(r, Read)]
        events.sort(key=lambda e: (e[0], e[1]))
        pointers = self._greedy(self.initial, (0,) * len(self.chains))
        configs = {(self.initial, frozenset(), (), pointers)}
        for _, what, x in events:
            if what == 0:
                configs = self._begin(configs, x)
                continue
            before = configs
            if what == 1:
                configs = self._end(configs, x)
            else:
                chain, at = self.chain_of[id(x)]
                configs = self._expand(configs, lambda c: c[3][chain] > at)
            if not configs:
                return self._explain(x, before)
        if self.final is not None:
            for value in set(self.final):
                if not self._expand(configs, lambda c: c[0] == value):
                    could = sorted({repr(c[0]) for c in configs})
                    return [f"in the end there is {value!r}, but it could only be {could}"] + self._around(None)
            if len(set(self.final)) > 1:
                return [f"in the end members differ: {self.final!r}"]
        return None

    def _explain(self, x, before):
        states = sorted({repr(c[0]) for c in before})[:6]
        return [f"cannot be: {x!r}; before it there could be {', '.join(states)}"] + self._around(x)

    def _around(self, x, n=12):
        at = x.ret if x is not None else float("inf")
        rows = [w for w in self.writes if w.inv <= at]
        if x is not None:
            rows += [r for chain in self.chains for r in chain if isinstance(r, Read) and r.ret <= at and r.session == x.session][-4:]
        return [repr(w) for w in sorted(rows, key=lambda w: w.inv)[-n:]]


def check(model, writes, sessions=None, final=None):
    """None where the history of one object can have been; else lines that say what cannot.

    sessions: {name: its Writes and Reads in its own order}; final: the values found at the end, on each member.
    """
    writes, sessions, final = list(writes), dict(sessions or {}), list(final) if final is not None else None
    seen = {x.value for chain in sessions.values() for x in chain if isinstance(x, Read)} | set(final or ())
    _make_alike(model, writes, seen)
    try:
        if _Search(model, writes, sessions, final, FEW).run() is None:
            return None
    except Exhausted:
        pass
    return _Search(model, writes, sessions, final).run()


def _make_alike(model, writes, seen):
    """Values of unknown writes that nobody ever saw are all the same."""
    if model == "existence":
        return
    if model == "map":
        seen = {value for items in seen for _, value in items}
    for w in writes:
        if w.outcome != UNKNOWN or w.kind == "del":
            continue
        if model == "register":
            w.arg = w.arg if w.arg in seen else UNSEEN
        elif w.kind == "add":
            w.arg = w.arg if w.arg[1] in seen else (w.arg[0], UNSEEN)
        else:
            w.arg = tuple((k, v if v in seen else UNSEEN) for k, v in w.arg)


# ---- streams of events ----

class Stream:
    """What one reader of events learnt: after each answer it knows every row at the token's revision."""

    def __init__(self, name):
        self.name = name
        self.revision = None
        self.rows = {}   # ref: (value, since revision)
        self.runs = []   # (ref, from, to, value): the row had the value at all these revisions
        self.faults = []
        self.answers = self.events = self.moves = 0

    def answer(self, before, revision, rows):
        """An answer to the token of revision 'before' (None: from the start): rows that changed, {ref: value, None for a deleted one}."""
        self.answers += 1
        self.events += len(rows)
        if self.revision is not None and before != self.revision:
            self.faults.append(f"{self.name} asked from {before}, it was at {self.revision}")
        if self.revision is not None and revision < self.revision:
            self.faults.append(f"{self.name}: the token went back from {self.revision} to {revision}")
        if self.revision is not None and revision == self.revision and rows:
            self.faults.append(f"{self.name}: {len(rows)} events, and the token is {revision} as before")
        for ref, value in rows.items():
            if ref in self.rows:
                self._close(ref)
            self.rows[ref] = (value, revision)
        self.revision = revision

    def _close(self, ref):
        value, since = self.rows[ref]
        self.runs.append((ref, since, self.revision, value))

    def end(self):
        for ref in self.rows:
            self._close(ref)
        self.rows = {}


def check_streams(streams):
    """Readers that knew the same revision knew the same rows: a missed change, or an older version after a newer, contradicts another."""
    faults = [f for s in streams for f in s.faults]
    by_ref = defaultdict(list)
    for s in streams:
        for ref, first, last, value in s.runs:
            by_ref[ref].append((first, last, value, s.name))
    for ref, runs in by_ref.items():
        runs.sort(key=lambda r: (r[0], r[1]))
        alive = []
        for run in runs:
            alive = [a for a in alive if a[1] >= run[0]]
            for a in alive:
                if a[2] != run[2]:
                    faults.append(f"{ref}: {a[3]} knew {_short(a[2])} from revision {a[0]} to {a[1]}, "
                                  f"{run[3]} knew {_short(run[2])} from {run[0]} to {run[1]}")
                    break
            alive.append(run)
    return faults


def _short(value):
    return repr(value)[:200]
