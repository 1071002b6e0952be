#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""transcripts.py [--host NAME] [FILE.t...] -- the transcripts of tests/api against a daemon on a real Xen.

The runner is that of tests/api; its daemon is the one in a host's dom0.  So that machines made from "Other install media"
are guests of the lab, that template is paravirtual here and boots the lab's kernel, with 160 MiB.  Cases that cannot be
the same are in DIFFERENCES, with the reason, and are skipped.
"""

import os
import re
import shlex
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "api")]
import run  # noqa: E402
import daemon  # noqa: E402
from endings import CRASH, END_GUEST, SOFT_RESET, make_end_guest  # noqa: E402
from host import Host, lab  # noqa: E402
from live import DUMPS  # noqa: E402

# A regular expression for a command of a case, with what it prints: the reason why the case differs.
DIFFERENCES = [
    (r"^sim (fail|delay)=", "no failure or delay can be ordered from Xen; tests/faults has it"),
    (r"VM.s3_suspend .*\n\"\"", "a paravirtual guest knows no sleep"),
    (r"guest-agent-operation", "the lab's guest has no agent that answers"),
    (r"set_shadow_multiplier_live", "a paravirtual guest has no such memory; pages.py has it"),
]
# Commands that are left out: what a domain was told is asked of the simulator; live.py looks in the guest.
LEFT_OUT = r"^sim inspect="
# What an agent reports, which the lab's guest has none of: written for it where a transcript waits for that.
REPORTED = r"os-version|guest_metrics|param-key=feature-"
AGENT = {
    **{f"attr/PVAddons/{k}": v for k, v in {"MajorVersion": 8, "MinorVersion": 4, "MicroVersion": 0, "BuildVersion": 1, "Installed": 1}.items()},
    "data/os_name": "Debian GNU/Linux 12 (bookworm)",
    "data/os_distro": "debian",
    **{f"control/feature-{k}": 1 for k in ("shutdown", "poweroff", "reboot", "suspend", "sysrq", "balloon", "vcpu-hotplug")},
    "data/updated": 1,
}
# Transcripts that cannot be the same, as a whole.
OTHERWISE = {
    "memory": "its machines have 60 GiB; squeeze.py is its counterpart",
    "devices": "its devices are in the simulator's sysfs",
}
TEMPLATE = "Other install media"
BRIDGES = "xenapi xapi0 xapi1 xapi2"  # of the networks that the transcripts use: xapid makes none yet
KERNEL_WORDS = "console=hvc0 quiet mitigations=off random.trust_cpu=on"
MEMORY = str(160 << 20)
BOOTED = "control/feature-poweroff"  # becomes 1 when a kernel is up: before, its memory cannot be saved or dumped
STATE = "/var/lib/xapid"


class XenDaemon:
    """What tests/api/run.py asks of a Daemon, of a host's dom0; a new one begins with an empty state."""

    host = None

    def __init__(self, **_how):
        h = self.host
        self.dir = h.dir
        h.control("stop")
        for number in h.domains():
            h.dom0(f"xl destroy {number}")
        h.control("forget")
        h.start()
        h.dom0(f"mkdir -p {self.dir}; ln -sfn {STATE} {self.dir}/state; for b in {BRIDGES}; do ip link add $b type bridge; ip link set $b up; done 2>/dev/null; true")
        template = h.ask("template-list", f"name-label={TEMPLATE}", "--minimal")
        for pair in ("domain-type=pv", "PV-kernel=/boot/guest/vmlinux", "PV-ramdisk=/boot/guest/guest.cpio",
                     f"PV-args={KERNEL_WORDS}"):
            h.ask("template-param-set", f"uuid={template}", pair)
        c = h.client()
        ref = c("VM.get_by_uuid", template)
        c("VM.set_memory_limits", ref, MEMORY, MEMORY, MEMORY, MEMORY)
        self.client, self.xe, self.tls_port = h.client, h.xe, h.tls_port

    def close(self):
        pass

    def kill(self):
        self.host.kill("xapid")

    def start(self):
        self.host.start()

    def restart(self):
        self.host.control("stop", "xapid")
        self.host.start()

    def report_as_agents(self):
        """What the agents of all guests report that have not done so."""
        pairs = " ".join(f"$at/{k} {shlex.quote(str(v))}" for k, v in AGENT.items())
        self.host.dom0(f"""for domain in $(xenstore-list /local/domain); do
            at=/local/domain/$domain
            [ $domain = 0 ] || xenstore-exists $at/data/updated || [ "$(xenstore-read $at/{BOOTED})" != 1 ] || xenstore-write {pairs}
        done""", check=False)

    def sim(self, **words):
        """What has a counterpart: a guest's own end, what it reads in xenstore."""
        (what, vm), *more = words.items()
        more = dict(more)
        domid = self.host.ask("vm-param-get", f"uuid={vm}", "param-name=dom-id")
        path = shlex.quote(f"/local/domain/{domid}/{more.get('key')}")
        booted = f"until [ \"$(xenstore-read /local/domain/{domid}/{BOOTED})\" = 1 ]; do sleep 0.2; done"
        command = {
            "poweroff": f"xl shutdown {domid}",
            "reboot": f"xl reboot {domid}",
            "crash": f"{booted}; {END_GUEST} {domid} {CRASH}",
            "soft-reboot": f"{END_GUEST} {domid} {SOFT_RESET}",
            "show": f"xenstore-exists {path} && echo data=$(xenstore-read {path}) || true",
            "guest-key": f"xenstore-write {path} {shlex.quote(more.get('value', ''))}",
        }[what]
        return self.host.dom0(command)


class XenRunner(run.Runner):
    def transcript(self, path):
        name = os.path.basename(path)[:-2]
        if name in OTHERWISE:
            print(f"ok - {name} # SKIP {OTHERWISE[name]}", flush=True)
        else:
            super().transcript(path)

    def run(self, line):
        if re.search(REPORTED, line):
            self.daemon.report_as_agents()
        if line.startswith("sh "):
            command = line[3:].replace(f"{self.daemon.dir}/state/dumps", DUMPS)
            return self.daemon.host.dom0(f"cd {shlex.quote(self.daemon.dir)} && {command}", check=False).splitlines()
        return super().run(line)

    def command(self, c, names):
        return {} if re.search(LEFT_OUT, c.line) else super().command(c, names)

    def case(self, case, names, where):
        for words, reason in DIFFERENCES:
            if any(re.search(words, "\n".join([c.line.removeprefix("until "), *c.expected])) for c in case.commands):
                print(f"ok - {where}: {case.title} # SKIP {reason}", flush=True)
                return
        begin = time.monotonic()
        super().case(case, names, where)
        self.report.note(f"{time.monotonic() - begin:.0f} s")


def main():
    words = sys.argv[1:]
    if "--host" in words:
        at = words.index("--host")
        host = Host(words[at + 1], 0)
        del words[at:at + 2]
        host.use()
    else:
        lab("build-image", timeout=900)
        host = Host("transcripts", 201)
        host.boot()
        host.install()
    make_end_guest()
    XenDaemon.host = host
    run.Daemon = XenDaemon
    run.PATIENCE = 150
    folder = os.path.join(daemon.TOP, "tests", "api")
    runner = XenRunner(False)
    for path in words or sorted(os.path.join(folder, n) for n in os.listdir(folder) if n.endswith(".t")):
        runner.transcript(path)
    sys.exit(runner.report.done())


if __name__ == "__main__":
    main()
