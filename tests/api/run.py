#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""run.py [--accept] [FILE.t...] -- API tests: transcripts that are run and compared.

A transcript begins with a sentence; each later case begins with one on a line "# ...".  A case is a sequence of

    $ xe vm-start uuid=<vm>                 a command of xe
    $ xe@alice vm-list                      the same as another user
    $ call VM.get_record "<ref>" | uuid     a call with parameters as JSON, the session left out; "| a,b" takes
                                            members out of the answer, "| #" counts; call@alice as above
    $ plain host.get_all                    the same without TLS
    $ sim crash=<vm>                        a command of the simulator
    $ until xe ...                          repeated until it answers as expected, for at most 30 s
    $ restart | kill                        the daemon ends and comes back, in an orderly way or by kill -9
    $ stop | start                          the same in two steps, for what happens meanwhile
    $ device usb 1-2 product=Camera         a device comes to the host: pci, usb, or gone (tests/lib/sysfs.py)
    $ sh mkdir <dir>/x                      anything else

with the lines it prints beneath: those of its standard error after "! ".  Blank lines count for nothing.  In all of them
<name> stands for a value (no blanks, quotes, commas, brackets), bound where it first appears and the same from then on, <!name> for any other; "..." for any
text, and on a line of its own for any lines.  What a call prints is JSON, its error "! CODE [parameters]".
<dir> is a directory that goes with the daemon, <port> where it listens for TLS, <top> where the sources are.  All transcripts run on one daemon; one that says "fresh" in its first sentence's brackets gets a new one,
"faults" one with --enable-faults; so do options of the daemon there, which may have <dir> in them.
--accept rewrites what is expected where it differs; read the difference before you commit it.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
from daemon import TOP, Daemon, Lost, XapiError  # noqa: E402
from report import Report  # noqa: E402
import sysfs  # noqa: E402
import world  # noqa: E402

VALUE = r"[^\s\"',()\[\]{}<>]+"
TOKEN = re.compile(r"<(!?[a-z][a-z0-9-]*)>|\.\.\.")
PATIENCE = 30
TEXT = r"[^\s\"]+"  # a token has a comma in it
# Parts of what a task answers, of a template, of what a probe answers.
NO_NAMES = ("value", "provision", "size", "iscsi-target-iqns", "iscsi-target", "vendor", "serial")


class Command:
    def __init__(self, line, number):
        self.line, self.number, self.expected, self.actual = line, number, [], None


class Case:
    def __init__(self, title):
        self.title, self.commands = title, []


def read(path):
    """The transcript's cases."""
    cases = []
    with open(path) as f:
        for number, line in enumerate(f, 1):
            line = line.rstrip()
            if not cases:
                cases.append(Case(line))
            elif line.startswith("# "):
                cases.append(Case(line[2:]))
            elif line.startswith("$ "):
                cases[-1].commands.append(Command(line[2:], number))
            elif line and cases[-1].commands:
                cases[-1].commands[-1].expected.append(line)
    return cases


def pattern(line, names):
    """A regular expression for an expected line; groups are names not bound yet."""
    out, end, new = "", 0, []
    for m in TOKEN.finditer(line):
        out += re.escape(line[end:m.start()])
        end = m.end()
        name = m.group(1)
        if not name:
            out += ".*"
        elif name in NO_NAMES:
            out += re.escape(m.group(0))
        elif name.startswith("!"):
            out += f"(?!{re.escape(names.get(name[1:], ''))}(?!{VALUE})){VALUE}"
        elif name in names:
            out += re.escape(names[name])
        elif name in new:
            out += f"(?P={name.replace('-', '_')})"
        else:
            new.append(name)
            out += f"(?P<{name.replace('-', '_')}>{TEXT if 'token' in name else VALUE})"
    return re.compile(out + re.escape(line[end:]) + r"\Z"), new


def matches(expected, actual, names):
    """Bindings with which the lines match, or None."""
    if not expected:
        return {} if not actual else None
    if expected[0] == "...":
        for skip in range(len(actual) + 1):
            rest = matches(expected[1:], actual[skip:], names)
            if rest is not None:
                return rest
        return None
    if not actual:
        return None
    regex, new = pattern(expected[0], names)
    m = regex.match(actual[0])
    if not m:
        return None
    found = {n: m.group(n.replace("-", "_")) for n in new}
    rest = matches(expected[1:], actual[1:], {**names, **found})
    return None if rest is None else {**found, **rest}


def filled(line, names, number):
    def value(m):
        name = m.group(1)
        if name is None or name in NO_NAMES:
            return m.group(0)
        if name not in names:
            raise ValueError(f"line {number}: <{name}> has no value yet")
        return names[name]
    return TOKEN.sub(value, line)


class Runner:
    def __init__(self, accept):
        self.accept = accept
        self.report = Report()
        self.daemon = None
        self.clients = {}

    # -- the daemon --

    def fresh(self, faults=False, options=()):
        self.end()
        self.daemon = Daemon(faults=faults, args=["--op-wait", "5"], start=False)
        self.daemon.args += [o.replace("<dir>", self.daemon.dir) for o in options]
        self.daemon.start()

    def end(self):
        if self.daemon:
            self.daemon.close()
        self.daemon, self.clients = None, {}

    def client(self, user, transport="tls"):
        if (user, transport) not in self.clients:
            self.clients[user, transport] = self.daemon.client(user, transport=transport)
        return self.clients[user, transport]

    # -- commands: each gives the lines it prints --

    def run(self, line):
        word, _, rest = line.partition(" ")
        word, _, user = word.partition("@")
        if word == "until":
            raise ValueError("until comes first")
        if word == "xe":
            return self.xe(rest, user or "root")
        if word == "call":
            return self.call(rest, user or "root")
        if word == "plain":
            return self.call(rest, user or "root", "plain")
        if word == "sim":
            return self.sim(rest)
        if word in ("restart", "kill", "stop", "start"):
            self.clients = {}
            if word == "kill":
                self.daemon.kill()
                self.daemon.start()
            else:
                getattr(self.daemon, word)()
            return []
        if word == "device":
            sysfs.command(os.path.join(self.daemon.state, "sysfs"), shlex.split(rest))
            return []
        if word == "sh":
            done = subprocess.run(rest, shell=True, cwd=self.daemon.dir, capture_output=True, text=True, timeout=60)
            return done.stdout.splitlines() + ["! " + s for s in done.stderr.splitlines()]
        raise ValueError(f"no such command: {word}")

    def xe(self, words, user):
        result = self.daemon.xe(*shlex.split(words), user=user)
        return result.stdout.splitlines() + ["! " + s for s in result.stderr.splitlines()]

    def call(self, text, user, transport="tls"):
        text, _, members = text.partition(" | ")
        method, _, params = text.partition(" ")
        try:
            value = self.client(user, transport)(method, *json.loads("[" + params + "]"))
        except XapiError as e:
            return [f"! {e.code} {json.dumps(e.params, ensure_ascii=False)}"]
        except Lost as e:
            self.clients.pop((user, transport), None)
            return [f"! {e}"]
        if members == "#":
            value = len(value)
        elif members:
            value = {m: value[m] for m in members.split(",")} if "," in members else value[members]
        return json.dumps(value, ensure_ascii=False, sort_keys=True).splitlines()

    def sim(self, text):
        try:
            return self.daemon.sim(**dict(w.split("=", 1) for w in shlex.split(text))).splitlines()
        except subprocess.CalledProcessError as e:
            return ["! " + s for s in e.stderr.splitlines()]

    # -- cases --

    def command(self, c, names):
        """Runs it; bindings or None, with c.actual set."""
        names["port"] = str(self.daemon.tls_port)
        line = filled(c.line, names, c.number)
        again = line.startswith("until ")
        end = time.monotonic() + (PATIENCE if again else 0)
        while True:
            c.actual = [s.rstrip() for s in self.run(line[6:] if again else line)]
            c.actual = [s for s in c.actual if s]
            found = matches([e for e in c.expected if e], c.actual, names)
            if found is not None or time.monotonic() >= end:
                return found
            time.sleep(0.05)

    def case(self, case, names, where):
        for c in case.commands:
            try:
                found = self.command(c, names)
            except (ValueError, subprocess.TimeoutExpired, RuntimeError) as e:
                self.report.fail(f"{where}: {case.title}", f"line {c.number}: $ {c.line}", e)
                return
            if found is not None:
                names.update(found)
            elif self.accept:
                names.update(self.accepted(c, names))
            else:
                self.report.fail(f"{where}: {case.title}", f"line {c.number}: $ {filled(c.line, names, c.number)}",
                                 *[f"wanted: {s}" for s in c.expected or ["nothing"]], *[f"seen:   {s}" for s in c.actual or ["nothing"]])
                return
        if case.commands:
            self.report.ok(f"{where}: {case.title}")

    def accepted(self, c, names):
        """Takes what was seen as what is expected: known values by name, and lines that match as they stand."""
        found, new = {}, []
        for i, line in enumerate(c.actual):
            old = c.expected[i] if i < len(c.expected) else None
            m = matches([old], [line], names) if old and old != "..." else None
            if m is not None:
                found.update(m)
                new.append(old)
                continue
            for name, value in sorted(names.items(), key=lambda p: -len(p[1])):
                if len(value) >= 8:
                    line = line.replace(value, f"<{name}>")
            new.append(line)
        c.expected = new
        return found

    def transcript(self, path):
        where = os.path.basename(path)[:-2]
        cases = read(path)
        words = [w for brackets in re.findall(r"\[([^]]*)\]", cases[0].title) for w in brackets.split()]
        options = [w for w in words if w.startswith("--")]
        alone = bool(options) or "fresh" in words or "faults" in words
        if not self.daemon or alone:
            self.fresh("faults" in words, options)
        names = {"dir": self.daemon.dir, "top": TOP}
        for case in cases:
            self.case(case, names, where)
        if self.accept:
            rewrite(path, cases)
        if alone:
            self.end()


def rewrite(path, cases):
    """The file with the commands' expected lines as they are now."""
    commands = {c.number: c for case in cases for c in case.commands}
    out = []
    with open(path) as f:
        for number, line in enumerate(f, 1):
            if number in commands:
                out += [line] + [e + "\n" for e in commands[number].expected]
            elif number < min(commands) or line.startswith("# ") or not line.strip():
                out.append(line)
    with open(path, "w") as f:
        f.writelines(out)


def main():
    words = sys.argv[1:]
    accept = "--accept" in words
    files = [w for w in words if not w.startswith("--")] or sorted(
        os.path.join(HERE, n) for n in os.listdir(HERE) if n.endswith(".t"))
    runner = Runner(accept)
    for path in files:
        runner.transcript(path)
    if runner.daemon:
        found = world.leftovers(runner.daemon, runner.daemon.client())
        runner.report.check_none(found, "after all transcripts everything fits together")
    runner.end()
    sys.exit(runner.report.done())


if __name__ == "__main__":
    main()
