# SPDX-License-Identifier: LGPL-2.1-or-later
"""xe_calls.py -- which messages each command of xe calls.

Most are in xe's tables.  Of a command with a function the source is read: the messages and paths that stand, as text, in that function and in all it
mentions.  A text with one %s stands for whatever message it becomes with a word that stands there too.
"""

import glob
import os
import re
import subprocess

from daemon import TOP, program

FUNCTION = re.compile(r"^(?:static )?[a-z][\w \*]*?\*?(\w+)\(([^;{}]*?)\)\n\{\n(.*?)^\}", re.M | re.S)
TABLE = re.compile(r"^(?:static )?const [\w ]*?\*?(\w+)\[\w*\] = \{(.*?)^\};|^\} (\w+)\[\] = \{(.*?)^\};", re.M | re.S)
ROW = re.compile(r"\bROW\(\"([\w-]+)\"((?:[^()\"]|\"(?:[^\"\\]|\\.)*\"|\([^()]*\))*)\)", re.S)
TEXT = re.compile(r"\"((?:[^\"\\]|\\.)*)\"")


class Source:
    """The functions and tables of one file; rows of commands are no such table."""

    def __init__(self, path):
        with open(path) as f:
            self.text = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
        self.name = os.path.basename(path)
        self.is_commands = os.path.basename(os.path.dirname(path)) == "commands"
        self.bodies = {m.group(1): m.group(3) for m in FUNCTION.finditer(self.text)}
        self.tables = set()
        for m in TABLE.finditer(self.text):
            name, body = (m.group(1), m.group(2)) if m.group(1) else (m.group(3), m.group(4))
            if name != "rows":
                self.bodies[name] = body
                self.tables.add(name)


BRANCH = re.compile(r"if \(!strcmp\([^()\"]*, \"([a-z-]+)\"\)\)\s*(?:\{.*?\n    \}|[^;{}]*;)", re.S)


def of_command(body, command):
    """A function without what it does, in branches that return, for other commands than this."""
    for m in list(BRANCH.finditer(body)):
        if "return " not in m.group(0):
            continue
        if m.group(1) == command:
            return body[:m.end()]
        if command and m.group(1).partition("-")[0] == command.partition("-")[0]:
            body = body.replace(m.group(0), "")
    return body


def sources():
    return [Source(p) for p in sorted(glob.glob(os.path.join(TOP, "xe-cli", "**", "*.c"), recursive=True))]


class Calls:
    def __init__(self, messages):
        """'messages': full names of all messages of the schema."""
        self.messages = set(messages)
        self.sources = sources()
        # Across files only functions of commands are followed: what the others do is about any class, and there.
        self.everywhere = {name: s for s in self.sources if s.is_commands for name in s.bodies}
        self.rows = {}
        for s in self.sources:
            for m in ROW.finditer(s.text):
                self.rows[m.group(1)] = (s, m.group(2))
        self.fields = next(s for s in self.sources if s.name == "fields.c")

    def reach(self, source, name, seen, command=None):
        """The bodies of a function and of all it mentions: of a command what it does for that, of a field no tables, which are about all fields."""
        home = source if name in source.bodies else self.everywhere.get(name)
        if home is None or (home.name, name) in seen or (command is None and name in home.tables):
            return
        body = of_command(home.bodies[name], command)
        seen[(home.name, name)] = body
        for word in set(re.findall(r"\b[a-z]\w+\b", body)):
            if word in home.bodies or (home.is_commands and word in self.everywhere):
                self.reach(home, word, seen, command)

    def texts(self, bodies):
        """Messages and paths among the texts of these bodies."""
        found, words, patterns = set(), set(), set()
        for body in bodies:
            for m in TEXT.finditer(body):
                text = m.group(1)
                if text in self.messages:
                    found.add(text)
                elif re.fullmatch(r"/[a-z_/-]+(\?.*)?", text):
                    found.add(text.partition("?")[0])
                elif re.fullmatch(r"\w*\.?\w*%s\.?\w*", text) and "." in text:
                    patterns.add(text)
                else:
                    words.add(text)
                    words.update(re.findall(r"[\w.]+", text) if "=" not in text else [])
        for p in patterns:
            found |= {p % w for w in words if p % w in self.messages}
        return found

    def of_field(self, function):
        """Of "!function", by which a parameter is shown."""
        m = re.search(r"\{\"" + function + r"\", (\w+)", self.fields.text)
        if not m:
            return set()
        seen = {}
        self.reach(self.fields, m.group(1), seen)
        return self.texts(seen.values())

    def of_row(self, command):
        """Beside the message of its row."""
        source, text = self.rows.get(command, (None, ""))
        run = re.search(r"\.run = (\w+)", text)
        if not run:
            return set()
        seen = {}
        self.reach(source, run.group(1), seen, command)
        return self.texts(seen.values())


def read_tables(lines):
    """{command: [required, optional, flags, messages]} and {class: parameters} of the form that xe --schema-commands all prints."""
    commands, classes = {}, {}
    for line in lines:
        if line.startswith("#") or not line.strip():
            continue
        (kind, name), *rest = (part.split() for part in line.split("|"))
        if kind == "class":
            classes[name] = rest[0]
        else:
            commands[name] = rest
    return commands, classes


def xe_tables():
    text = subprocess.run([program("xe"), "--schema-commands", "all"], check=True, capture_output=True, text=True).stdout
    return read_tables(text.splitlines())


def all_calls(messages):
    """{command: the messages and paths it may call}."""
    calls = Calls(messages)
    out = {}
    for name, (_, _, _, listed) in xe_tables()[0].items():
        found = {m for m in listed if not m.startswith("!")}
        for m in listed:
            if m.startswith("!"):
                found |= calls.of_field(m[1:])
        out[name] = found | calls.of_row(name)
    return out


def pending_paths():
    """{path: why} of HTTP that answer 501."""
    with open(os.path.join(TOP, "xapid", "main", "routes.c")) as f:
        return dict(re.findall(r"LATER\(HTTP_M_\w+, \"([^\"]+)\",\s*\"([^\"]+)\"\)", f.read()))
