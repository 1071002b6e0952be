#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""cli.py -- POST /cli, with the client of tests/clients/thin_xe.py: who is let in, what is asked of the client, and that nothing stays when
either side vanishes.  That the commands print what they shall is seen by the transcripts, which run.py runs through it too (XAPID_XE)."""

import os
import signal
import socket
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
sys.path.insert(0, os.path.join(HERE, "..", "clients"))
from daemon import PASSWORDS, Daemon, XapiError, until  # noqa: E402
from report import Report  # noqa: E402
import thin_xe  # noqa: E402
import world  # noqa: E402

PER_ADDRESS = 16


class Said:
    """One command, run or begun: what it printed and its exit code."""

    def __init__(self, daemon, *words, local=False, who=None, answers=(), **how):
        self.out, self.err, self.answers = b"", b"", list(answers)
        user = ["username=root", "password=" + PASSWORDS["root"]] if who is None else list(who)
        first = [w for w in user if w.startswith("session_id=")]
        server = daemon.socket if local else "127.0.0.1"
        self.thin = thin_xe.Thin(server, daemon.tls_port, [*first, *words, *(w for w in user if w not in first)], out=self.print,
                                 err=self.complain, ask=self.answer, **how)

    def print(self, data):
        self.out += data

    def complain(self, data):
        self.err += data

    def answer(self):
        return self.answers.pop(0)

    def run(self):
        self.code = self.thin.run()
        return self


def programs(daemon):
    """Process ids of the programs that serve clients."""
    found = []
    for pid in os.listdir("/proc"):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                words = f.read().split(b"\0")
        except (OSError, ValueError):
            continue
        if b"--thin" in words and daemon.socket.encode() in words:
            found.append(int(pid))
    return found


def says(report, text, said, code, out=None, err=None):
    """The exit code, and what was printed: whole texts, or for lists the parts that must be there."""
    def fits(wanted, seen):
        return wanted is None or (all(w in seen for w in wanted) if isinstance(wanted, list) else seen == wanted)
    report.check(said.code == code and fits(out, said.out.decode()) and fits(err, said.err.decode()), text,
                 f"exit code {said.code}, wanted {code}", f"out: {said.out!r}", f"err: {said.err!r}")


def who_is_let_in(report, d, client):
    host = client("host.get_all_records")
    uuid = next(iter(host.values()))["uuid"]
    ask = ("host-list", "--minimal")
    says(report, "a user with a password is let in", Said(d, *ask).run(), 0, uuid + "\n", "")
    denied = "Authentication failed\nFor usage run: 'xe help'\n"
    says(report, "over TLS nobody is root without a password", Said(d, *ask, who=["username=root", "password=null"]).run(), 1, "", denied)
    says(report, "nor without a name", Said(d, *ask, who=[]).run(), 1, "", "Username/password must be specified\nFor usage run: 'xe help'\n")
    says(report, "local root is", Said(d, *ask, local=True, who=["username=root", "password=null"]).run(), 0, uuid + "\n", "")
    session = client.raw("session.login_with_password", "root", PASSWORDS["root"], "2.23", "tests")
    says(report, "a session is taken", Said(d, *ask, who=["session_id=" + session]).run(), 0, uuid + "\n", "")
    report.check(client.raw("session.get_uuid", session, session), "and is still one afterwards")
    client.raw("session.logout", session)
    says(report, "one that is none is refused", Said(d, *ask, who=["session_id=" + session]).run(), 1, "", [session])
    says(report, "words may be separated as on paper", Said(d, *ask, separator="\r\n").run(), 0, uuid + "\n", "")


def forwarded(report, d):
    """A request that is passed on has no rights of its own, whoever passes it on."""
    for header, wanted in (("", b"Success"), ("Forwarded: for=192.0.2.1\r\n", b"Failure"), ("forwarded: nonsense\r\n", b"Failure")):
        body = (b"<methodCall><methodName>session.login_with_password</methodName><params><param><value>root</value></param>"
                b"<param><value>null</value></param></params></methodCall>")
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(d.socket)
            s.sendall(f"POST / HTTP/1.0\r\n{header}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = b"".join(iter(lambda: s.recv(65536), b""))
        report.check(wanted in answer, f"on the Unix socket {header.strip() or 'a plain request'!r} gives {wanted.decode()}", answer)


def what_is_wrong(report, d):
    hint = "For usage run: 'xe help'\n"
    says(report, "an unknown command says so, without a login", Said(d, "bogus", who=[]).run(), 1, "", "Unknown command: bogus\n" + hint)
    says(report, "a parameter that is missing is named", Said(d, "vm-param-get", "uuid=x").run(), 1, "",
         "Required parameter not found: param-name\n" + hint)
    says(report, "a word that is no parameter is a syntax error", Said(d, "vm-list", "-x").run(), 1, "", "Syntax error: \n" + hint)
    says(report, "no command is a question for help", Said(d, "", who=[]).run(), 1, "", ["Usage: xe <cmd>"])
    says(report, "too many words are too many", Said(d, "vm-list", *(["a"] * 5000)).run(), 1, "", ["Usage"])
    says(report, "help needs no login", Said(d, "help", who=[]).run(), 0, ["Usage: xe <command>", "vm-start"], "")
    everything = Said(d, "help", "--all", "--minimal", who=[]).run()
    says(report, "help --all lists the commands for the shell", everything, 0, ["vm-start", "vdi-import"], "")
    says(report, "completion is offered", Said(d, "--completion", "vm-star").run(), 0, "vm-start\n", "")
    names = Said(d, "--completion", "sr-param-get", "uuid=").run()
    says(report, "with values", names, 0, None, "")
    report.check(len(names.out.splitlines()) == len(d.client()("SR.get_all")), "of all objects", names.out)


def questions(report, d, client):
    vm = Said(d, "vm-install", "template=Other install media", "new-name-label=asked").run().out.decode().strip()
    no = Said(d, "vm-uninstall", "uuid=" + vm, answers=[b"no"]).run()
    says(report, "a question that is answered with no ends it", no, 0, ["Type 'yes' to continue\nAborted (you typed: 'no')"], "")
    yes = Said(d, "vm-uninstall", "uuid=" + vm, answers=[b"yes"]).run()
    says(report, "with yes it is done", yes, 0, ["All objects destroyed"], "")
    report.check(not client("VM.get_by_name_label", "asked"), "and the machine is gone")
    says(report, "a bar is drawn where it is asked for",
         Said(d, "vm-install", "template=Other install media", "new-name-label=asked", "--progress").run(), 0, None, None)
    name = "two\nlines"
    vm = client("VM.get_by_name_label", "asked")[0]
    uuid = client("VM.get_uuid", vm)
    says(report, "a value of two lines is one word", Said(d, "vm-param-set", "uuid=" + uuid, "name-description=" + name, separator="\r\n").run(),
         0, "", "")
    report.check(client("VM.get_name_description", vm) == name, "and arrives whole", client("VM.get_name_description", vm))
    client("VM.destroy", vm)


def files(report, d, client):
    sr = next(r["uuid"] for r in client("SR.get_all_records").values() if r["type"] == "ext")
    vdi = Said(d, "vdi-create", "sr-uuid=" + sr, "name-label=carried", "virtual-size=1MiB").run().out.decode().strip()
    there, back = os.path.join(d.dir, "there"), os.path.join(d.dir, "back")
    data = os.urandom(1 << 20)
    with open(there, "wb") as f:
        f.write(data)
    says(report, "a file is sent", Said(d, "vdi-import", "uuid=" + vdi, "filename=" + there, "format=raw").run(), 0, "", "")
    says(report, "and another is received", Said(d, "vdi-export", "uuid=" + vdi, "filename=" + back, "format=raw").run(), 0, None, "")
    with open(back, "rb") as f:
        report.check(f.read() == data, "with the same bytes in it")
    says(report, "one that exists is not written over", Said(d, "vdi-export", "uuid=" + vdi, "filename=" + back, "format=raw").run(), 1, "",
         "Operation failed. Error: the file already exists\n")
    says(report, "one that does not exist is not sent", Said(d, "vdi-import", "uuid=" + vdi, "filename=/no/where", "format=raw").run(), 1, "",
         "Operation failed. Error: file '/no/where' does not exist\n")
    to_stdout = Said(d, "vdi-export", "uuid=" + vdi, "filename=", "format=raw").run()
    report.check(to_stdout.code == 0 and to_stdout.out == data, "without a name it goes to the screen", to_stdout.err)
    os.unlink(back)
    refusing = Said(d, "vdi-export", "uuid=" + vdi, "filename=" + back, "format=raw")
    refusing.thin.permitted = []
    try:
        refusing.run()
        report.fail("a client that permits no file is asked for one")
    except thin_xe.Broken:
        refusing.thin.socket.close()
        report.check(not os.path.exists(back), "the server writes no file itself")
    big = os.path.join(d.dir, "big")
    with open(big, "wb") as f:
        f.truncate((32 << 20) + 1)
    load = ("pool-certificate-install", "filename=")
    says(report, "a file of more than 32 MiB is not taken", Said(d, load[0], load[1] + big).run(), 1, "", [big, "is larger than 32 MiB"])
    says(report, "one that cannot be read is named", Said(d, load[0], load[1] + "/no/where").run(), 1, "", ["Failed to read"])
    says(report, "a small one is", Said(d, load[0], load[1] + there).run(), 1, "", None)
    report.check(until(lambda: not client("task.get_all_records")), "no task is left of all these", client("task.get_all_records"))
    client("VDI.destroy", client("VDI.get_by_uuid", vdi))


def who_vanishes(report, d, client):
    vm = Said(d, "vm-install", "template=Other install media", "new-name-label=slow").run().out.decode().strip()
    ref = client("VM.get_by_uuid", vm)
    d.sim(delay="build", ms=20000)
    begun = Said(d, "vm-start", "uuid=" + vm)
    begun.thin.greet()
    report.check(until(lambda: client("VM.get_current_operations", ref)), "a command is under way")
    task = next(iter(client("VM.get_current_operations", ref)))
    begun.thin.socket.close()
    report.check(until(lambda: not programs(d)), "when its client goes its program goes", programs(d))
    report.check(until(lambda: status(client, task) in ("cancelled", "cancelling", "gone")), "and its task is cancelled", status(client, task))
    d.sim(delay="build", ms=0)
    d.sim(advance_ms=30000)
    report.check(until(lambda: not client("VM.get_current_operations", ref)), "which ends")

    waiting = Said(d, "event-wait", "class=vm", "uuid=" + vm, "name-label=never")
    waiting.thin.greet()
    report.check(until(lambda: programs(d)), "a command waits")
    os.kill(programs(d)[0], signal.SIGKILL)
    while waiting.thin.code is None:
        waiting.thin.step()
    report.check(waiting.thin.code == 1 and b"INTERNAL_ERROR" in waiting.err, "when its program dies the client is told", waiting.err)

    silent = Said(d, "event-wait", "class=vm", "uuid=" + vm, "name-label=never")
    silent.thin.greet()
    report.check(until(lambda: programs(d)), "another waits")
    silent.thin.send(99, 99)
    silent.thin.socket.close()
    report.check(until(lambda: not programs(d)), "and ends with its client, whatever that said before", programs(d))
    client("VM.destroy", ref)


def status(client, task):
    try:
        return client("task.get_status", task)
    except XapiError:
        return "gone"


def limits(report, d):
    many = []
    for _ in range(PER_ADDRESS):
        one = Said(d, "event-wait", "class=vm", "name-label=never")
        one.thin.greet()
        many.append(one)
    try:
        Said(d, "host-list").run()
        report.fail("one client more than allowed is refused")
    except thin_xe.Broken as e:
        report.check("503" in str(e), "one client more than allowed is refused", e)
    says(report, "while local root is served", Said(d, "host-list", local=True, who=["username=root", "password=null"]).run(), 0, None, "")
    for one in many:
        one.thin.socket.close()
    report.check(until(lambda: not programs(d)), "all end with their clients", programs(d))
    says(report, "and others are served again", Said(d, "host-list").run(), 0, None, "")

    rude = Said(d, "host-list")
    rude.thin.exactly(35)
    rude.thin.socket.sendall(b"GET / HTTP/1.1\r\nHost: somewhere\r\n\r\n")
    report.check(rude.thin.socket.recv(100) == b"", "who does not greet is not served")
    try:
        Said(d, "host-list", "x=" + "y" * 300000).run()
        report.fail("a request that is too long is refused")
    except (thin_xe.Broken, OSError) as e:
        report.check("413" in str(e) or isinstance(e, OSError), "a request that is too long is refused", e)


def main():
    report = Report()
    with Daemon(args=["--op-wait", "5"]) as d:
        client = d.client()
        before = world.world(client)
        who_is_let_in(report, d, client)
        forwarded(report, d)
        what_is_wrong(report, d)
        questions(report, d, client)
        files(report, d, client)
        who_vanishes(report, d, client)
        limits(report, d)
        after = world.world(client)
        after["message"] = before["message"]  # what the machine of the tests did
        report.check_none(world.changes(before, after), "after all commands everything is as it was")
    sys.exit(report.done())


if __name__ == "__main__":
    main()
