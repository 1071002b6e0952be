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
from host import Host, lab  # noqa: E402

# A title, or a regular expression for a case's commands: the reason why it differs.
DIFFERENCES = [
    (r"^sim (fail|delay)=", "no failure or delay can be ordered from Xen; tests/faults has it"),
    (r"os-version|guest_metrics|param-key=feature-", "the lab's guest has no agent that reports"),
]
TEMPLATE = "Other install media"
BRIDGES = "xenapi xapi0 xapi1 xapi2"  # of the networks that the transcripts use: xapid makes none yet
KERNEL_WORDS = "console=hvc0 quiet mitigations=off random.trust_cpu=on"
MEMORY = str(160 << 20)


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
        h.dom0(f"mkdir -p {self.dir}; for b in {BRIDGES}; do ip link add $b type bridge; ip link set $b up; done 2>/dev/null; true")
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

    def sim(self, **command):
        """What has a counterpart: a guest's own end."""
        for what, vm in command.items():
            domid = self.host.ask("vm-param-get", f"uuid={vm}", "param-name=dom-id")
            self.host.dom0({"poweroff": f"xl shutdown {domid}", "reboot": f"xl reboot {domid}"}[what])
        return ""


class XenRunner(run.Runner):
    def run(self, line):
        if line.startswith("sh "):
            return self.daemon.host.dom0(f"cd {shlex.quote(self.daemon.dir)} && {line[3:]}", check=False).splitlines()
        return super().run(line)

    def case(self, case, names, where):
        for words, reason in DIFFERENCES:
            if re.search(words, case.title) or any(re.search(words, c.line.removeprefix("until ")) for c in case.commands):
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
