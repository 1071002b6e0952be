#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""selftest.py -- accounts of hosts made by hand; the checker on histories made by hand, good and bad, and on made-up runs of a right and of a wrong register."""

import os
import random
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from account import Account  # noqa: E402
from checker import OK, REFUSED, UNKNOWN, Read, Stream, Write, check, check_streams  # noqa: E402
from report import Report  # noqa: E402

report = Report()


def history(lines):
    """(model, writes, sessions, final) of lines "session begin end kind arg outcome" and "session begin end saw value"."""
    writes, sessions = [], {}
    for session, begin, end, kind, *rest in lines:
        if kind == "saw":
            x = Read(session, rest[0], begin, end)
        else:
            x = Write(session, kind, rest[0], begin, end, rest[1] if len(rest) > 1 else OK)
            writes.append(x)
        sessions.setdefault(session, []).append(x)
    return writes, sessions


def can_be(text, model, lines, final=None):
    wrong = check(model, *history(lines), final)
    report.check(wrong is None, f"it can be: {text}", *(wrong or []))


def cannot_be(text, model, lines, final=None):
    report.check(check(model, *history(lines), final) is not None, f"it cannot be: {text}")


def registers():
    r = "register"
    can_be("one add, seen", r, [("a", 1, 2, "add", "x"), ("b", 3, 4, "saw", "x")], ["x"])
    cannot_be("a value nobody wrote", r, [("a", 1, 2, "add", "x"), ("b", 3, 4, "saw", "y")])
    cannot_be("an acknowledged write is lost", r, [("a", 1, 2, "add", "x")], [None])
    cannot_be("members differ at the end", r, [("a", 1, 2, "put", "x"), ("a", 3, 4, "put", "y", UNKNOWN)], ["x", "y"])
    can_be("two adds at once, one refused", r, [("a", 1, 4, "add", "x"), ("b", 2, 3, "add", "y", REFUSED)], ["x"])
    cannot_be("two adds succeed", r, [("a", 1, 2, "add", "x"), ("b", 3, 4, "add", "y")])
    cannot_be("an add is refused where nothing is", r, [
        ("a", 1, 2, "add", "x"), ("a", 3, 4, "del", None), ("b", 5, 6, "add", "y", REFUSED)])
    can_be("an add is refused because of an unknown one", r, [("a", 1, 2, "add", "x", UNKNOWN), ("b", 5, 6, "add", "y", REFUSED)], ["x"])
    can_be("an unknown write never happens", r, [("a", 1, 2, "add", "x", UNKNOWN)], [None])
    can_be("an unknown write happens late", r, [("a", 1, 2, "put", "x", UNKNOWN), ("b", 3, 4, "put", "y"), ("c", 5, 6, "saw", "x")], ["x"])
    cannot_be("an unknown write happens twice", r, [("a", 1, 2, "put", "x", UNKNOWN), ("b", 3, 4, "put", "y"), ("c", 2, 3, "saw", "x"),
                                                     ("c", 5, 6, "saw", "y"), ("c", 7, 8, "saw", "x")])
    cannot_be("an unknown write happens before it was asked for", r, [("c", 1, 2, "saw", "x"), ("a", 3, 4, "put", "x", UNKNOWN)])
    cannot_be("removed, and there again", r, [("a", 1, 2, "add", "x"), ("a", 3, 4, "del", None)], ["x"])
    cannot_be("its own add is refused after a retry", r, [("a", 1, 9, "add", "x", REFUSED)], ["x"])


def sessions():
    r = "register"
    old = [("a", 1, 2, "put", "x"), ("a", 3, 4, "put", "y")]
    can_be("an old read of another session", r, [*old, ("b", 5, 6, "saw", "x"), ("b", 7, 8, "saw", "y")])
    can_be("a very old read", r, [*old, ("b", 5, 6, "saw", None)])
    cannot_be("a session sees the past again", r, [*old, ("b", 5, 6, "saw", "y"), ("b", 7, 8, "saw", "x")])
    cannot_be("a session does not see what it wrote", r, [*old, ("a", 5, 6, "saw", "x")])
    cannot_be("a session does not see its own removal", r, [*old, ("a", 5, 6, "del", None), ("a", 7, 8, "saw", "y")])
    can_be("a session sees another's later write over its own", r, [*old, ("b", 5, 6, "put", "z"), ("a", 7, 8, "saw", "z")])
    cannot_be("two sessions see two writes in two orders", r, [
        ("a", 1, 9, "put", "x"), ("b", 1, 9, "put", "y"), ("c", 2, 3, "saw", "x"), ("c", 4, 5, "saw", "y"), ("d", 2, 3, "saw", "y"),
        ("d", 4, 5, "saw", "x")])
    cannot_be("a read of the future", r, [("b", 1, 2, "saw", "x"), ("a", 3, 4, "put", "x")])


def others():
    m = "map"
    can_be("a map is set over an add", m, [("a", 1, 4, "add", ("k", "1")), ("b", 2, 3, "put", (("l", "2"),))], [(("l", "2"),)])
    can_be("or under it", m, [("a", 1, 4, "add", ("k", "1")), ("b", 2, 3, "put", (("l", "2"),))], [(("k", "1"), ("l", "2"))])
    cannot_be("half of a map is set", m, [("a", 1, 2, "put", (("k", "1"), ("l", "2")))], [(("l", "2"),)])
    cannot_be("an update is lost", m, [("a", 1, 2, "add", ("k", "1")), ("b", 1, 2, "add", ("l", "2"))], [(("l", "2"),)])
    e = "existence"
    can_be("made and destroyed", e, [
        ("a", 1, 2, "create", None), ("b", 3, 4, "destroy", None), ("c", 5, 6, "destroy", None, REFUSED)], ["gone"])
    cannot_be("destroyed twice", e, [("a", 1, 2, "create", None), ("b", 3, 4, "destroy", None), ("c", 5, 6, "destroy", None)])
    cannot_be("not found where it is", e, [("a", 1, 2, "create", None), ("b", 3, 4, "destroy", None, REFUSED)], ["there"])
    cannot_be("back after it was destroyed", e, [("a", 1, 2, "create", None), ("b", 3, 4, "destroy", None)], ["there"])
    can_be("an unknown creation did happen", e, [("a", 1, 2, "create", None, UNKNOWN)], ["there"])


def stream(name, *answers):
    s = Stream(name)
    for before, revision, rows in answers:
        s.answer(before, revision, rows)
    s.end()
    return s


def streams():
    good = stream("a", (None, 10, {"r": 1, "s": 1}), (10, 12, {"r": 2}), (12, 20, {"s": 3}))
    report.check_none(check_streams([good, stream("b", (None, 11, {"r": 1, "s": 1}), (11, 20, {"r": 2, "s": 3}))]), "streams that agree")
    for text, other in (
            ("a gap", stream("b", (None, 10, {"r": 1, "s": 1}), (10, 20, {"s": 3}))),
            ("an older version after a newer", stream("b", (None, 12, {"r": 2, "s": 1}), (12, 14, {"r": 1}), (14, 20, {"s": 3}))),
            ("a token that goes back", stream("b", (None, 12, {"r": 2, "s": 1}), (12, 11, {}))),
            ("the same revision twice", stream("b", (None, 12, {"r": 2, "s": 1}), (12, 12, {"r": 2})))):
        report.check(check_streams([good, other]), f"found in streams: {text}")


def made_up(seed, n, wrong):
    """A run of a register with members that lag: writes at random moments; wrong: every 20th acknowledged one is lost."""
    chance, now, state, past = random.Random(seed), 0.0, None, [(0.0, None)]
    writes, out, busy, seen = [], {}, {}, {}
    for i in range(n):
        now += chance.random()
        s = f"s{chance.randrange(16)}"
        begin = max(now, busy.get(s, 0.0))
        now = begin
        if chance.random() < 0.3:
            at = max(seen.get(s, 0), len(past) - chance.randrange(1, 5))
            seen[s] = at
            x = Read(s, past[at][1], begin, begin + 0.5)
        else:
            kind = chance.choice(("add", "add", "del"))
            unknown = not wrong and chance.random() < 0.01
            refused = kind == "add" and state is not None and not unknown
            x = Write(s, kind, f"v{i}" if kind == "add" else None, begin - chance.random() * 3 if busy.get(s, 0.0) < begin - 3 else begin,
                      begin + chance.random() * 3, UNKNOWN if unknown else REFUSED if refused else OK)
            happens = not refused and not (unknown and chance.random() < 0.5) and not (kind == "add" and state is not None)
            if happens and not (wrong and i % 20 == 19):
                state = x.arg
                past.append((now, state))
            seen[s] = len(past) - 1
            writes.append(x)
        busy[s] = x.inv + 3.1 if not isinstance(x, Read) else begin + 0.6
        out.setdefault(s, []).append(x)
    return writes, out, [state]


def runs():
    begin = time.monotonic()
    for seed in range(20):
        wrong = check("register", *made_up(seed, 600, False))
        if not report.check(wrong is None, f"a right register, made-up run {seed}", *(wrong or [])):
            break
    missed = [seed for seed in range(20) if check("register", *made_up(seed, 600, True)) is None]
    report.check(len(missed) <= 1, "a register that loses writes is found out", missed)
    wrong = [w for w in (check("register", *made_up(1000 + k, 400, False)) for k in range(100)) if w]
    report.check_none(wrong, "a hundred keys")
    took = time.monotonic() - begin
    report.check(took < 60, f"the checker is fast enough ({took:.1f} s)")


ONE, OTHER = "1 run A\n2 open A rw /x/D.qcow2\n", "{0} run A\n{0} open A rw /state/datapath/D/disk\n"


def accounts():
    """Two hosts' accounts; how many faults there are in them."""
    for text, first, second, faults in (
            ("a VM that rests on one host runs on the other", ONE + "5 rest A\n5 close A rw /x/D.qcow2\n", OTHER.format(6), 0),
            ("one that still runs, and has its disk, does not", ONE, OTHER.format(6), 2),
            ("nor one that rests too late", ONE + "7 rest A\n5 close A rw /x/D.qcow2\n", OTHER.format(6), 1),
            ("a host that is gone has nothing", ONE + "5 gone\n", OTHER.format(6), 0),
            ("what it has had before counts", ONE + "7 gone\n", OTHER.format(6), 2),
            ("its watchdog ends what runs", ONE + "5 fenced\n5 rest A\n5 close A rw /x/D.qcow2\n", OTHER.format(6), 0),
            ("whoever is refused a disk has wanted it", ONE, "6 refused A rw /x/D.qcow2\n", 1),
            ("a simulator that ends by itself is a fault", ONE + "5 begin\n", "", 1)):
        account = Account().read(0, first).read(1, second)
        found = account.at_once() + account.faults
        report.check(len(found) == faults, f"accounts: {text}", *found)
    lost = Account().read(0, ONE + "5 fenced\n5 rest A\n")
    report.check(lost.lost_between("A", 4, 6) and not lost.lost_between("A", 6, 9), "accounts: a VM is lost with its host, at a moment")


def main():
    accounts()
    registers()
    sessions()
    others()
    streams()
    runs()
    sys.exit(report.done())


if __name__ == "__main__":
    main()
