#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""restart.py -- Xen Orchestra's connector (restart.mjs) through a kill -9 of xapid: nobody tells it, and its cache is right again."""

import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "lib"))
from daemon import PASSWORDS, Daemon, until  # noqa: E402
from report import Report  # noqa: E402
import lab  # noqa: E402


class Connector:
    """restart.mjs, asked by lines."""

    def __init__(self, daemon, modules):
        shutil.copy(os.path.join(HERE, "restart.mjs"), modules)
        env = {**os.environ, "XAPID_HOST": "127.0.0.1", "XAPID_PORT": str(daemon.tls_port), "XAPID_USER": "root", "XAPID_PASSWORD": PASSWORDS["root"]}
        self.process = subprocess.Popen(["node", os.path.join(modules, "restart.mjs")], env=env, text=True, bufsize=1, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)

    def line(self):
        return self.process.stdout.readline().strip()

    def state(self, name):
        """What its cache says of a machine's power state, or "nothing"."""
        self.process.stdin.write(name + "\n")
        return self.line()

    def end(self):
        self.process.stdin.close()
        return self.process.wait(60)


def main():
    report = Report()
    with Daemon() as daemon:
        modules = os.path.join(os.environ.get("NODE_DIR", daemon.dir), "npm-xen-api")
        if subprocess.run(["sh", os.path.join(HERE, "..", "npm.sh"), HERE, modules]).returncode:
            sys.exit(77)
        c = daemon.client()
        before, gone = lab.vm(c, "before"), lab.vm(c, "gone meanwhile")
        lab.enough_memory(c, before)
        connector = Connector(daemon, modules)
        if not report.check(connector.line() == "ready", "the connector is ready"):
            sys.exit(1)
        report.check(connector.state("before") == "Halted", "it knows the machines")
        # The same address again, as for every client.
        daemon.args += ["--tls-port", str(daemon.tls_port)]
        daemon.kill()
        daemon.start()
        c = daemon.client()
        c("VM.start", before, False, False)
        lab.destroy_vm(c, gone)
        lab.vm(c, "after")
        for name, state in (("before", "Running"), ("after", "Halted"), ("gone meanwhile", "nothing")):
            seen = until(lambda: connector.state(name) == state, 120, 0.2)
            report.check(seen, f"after a kill -9 of xapid it sees '{name}': {state}", connector.state(name))
        report.check(connector.end() == 0, "and ends well")
        for name in ("before", "after"):
            lab.destroy_vm(c, c("VM.get_by_name_label", name)[0])
    sys.exit(report.done())


if __name__ == "__main__":
    main()
