#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""certificates.py -- by what the hosts of a pool know each other: renewed while all runs, refused where it is somebody else's.

Three hosts.  Identities are renewed one after another, of the coordinator, of a member, of one that others have not heard of yet, and of one
that is killed in the middle; nobody starts again for it.  A host with a certificate that the pool does not know is kept out.  The pool's secret
is rotated for all.
"""

import os
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from daemon import Client, Lost, XapiError, until  # noqa: E402
from lone_hosts import PATIENCE, Hosts  # noqa: E402
from report import Report  # noqa: E402


class Test:
    def __init__(self, report, hosts):
        self.report, self.hosts = report, hosts
        self.a, self.b, self.c = hosts
        for h in hosts[1:]:
            h.join(self.a)
            until(lambda: h.is_member_of(self.a), PATIENCE)
        report.check(until(lambda: self.a.roles() == ["voter"] * 3, PATIENCE), "three hosts are a pool", self.c.log_tail())
        self.refs = {h.number: next(r for r, x in self.a("host.get_all_records").items() if x["uuid"] == h.uuid()) for h in hosts}
        self.pids = [h.pid for h in hosts]
        self.writes = 0

    def write(self, host, among=None):
        """A change made on that host is seen on all."""
        self.writes += 1
        text = f"change {self.writes}"
        pool = host("pool.get_all")[0]
        done = until(lambda: host.tries("pool.set_name_description", pool, text) is not None, PATIENCE)
        return done and until(lambda: all(h.tries("pool.get_name_description", pool) == text for h in among or self.hosts), PATIENCE)

    def fingerprint(self, host):
        return host.status()["fingerprint"]

    def all_linked(self):
        """Every host answers a call that goes by way of each other one."""
        return all(h.tries("host.get_system_status_capabilities", ref) for h in self.hosts for ref in self.refs.values())

    def works(self, what):
        self.report.check(until(lambda: all(self.write(h) for h in self.hosts), PATIENCE), f"{what}: changes on every host reach all", self.a.log_tail())
        self.report.check(until(self.all_linked, PATIENCE), f"{what}: every host reaches every other one", *(h.log_tail(10) for h in self.hosts))

    def renewed(self):
        check = self.report.check
        for h, by, name in ((self.a, self.a, "the coordinator's"), (self.b, self.c, "a member's, asked of another one")):
            before = self.fingerprint(h)
            by("host.refresh_server_certificate", self.refs[h.number])
            check(self.fingerprint(h) != before, f"{name} identity is another")
            self.works(name)
        check([h.pid for h in self.hosts] == self.pids and all(h.running() for h in self.hosts), "nobody was started again for it")

    def away(self):
        """Both that are there renew theirs more than once while the third is away: it follows the signatures."""
        self.c.stop()
        for h in (self.a, self.b, self.a):
            h("host.refresh_server_certificate", self.refs[h.number])
        self.report.check(self.write(self.a, [self.a, self.b]), "two renew theirs while the third is away")
        self.c.begin()
        self.works("it comes back")

    def killed(self):
        before = self.fingerprint(self.b)
        self.b.fault("host_identity/written kill")
        try:
            self.b("host.refresh_server_certificate", self.refs[1])
        except (Lost, XapiError):
            pass
        self.report.check(until(lambda: not self.b.running(), PATIENCE), "a host dies while it renews its identity")
        self.b.ensure()
        self.report.check(self.fingerprint(self.b) != before, "then it has the new one")
        self.works("it is back")
        # The old one is worth nothing to those who know of the new one, also after all were started again.
        for h in self.hosts:
            h.stop()
        for f in [h.launch() for h in self.hosts]:
            f.result()
        self.works("all were started again")

    def foreign(self):
        check, c = self.report.check, self.c
        pem = os.path.join(c.state, "peer.pem")
        c.stop()
        shutil.copy(pem, pem + ".own")
        os.unlink(pem)  # it makes another one
        starting = c.launch()
        refused = until(lambda: "does not know this host's certificate" in c.log_text(), PATIENCE)
        check(refused, "a host with another certificate is refused, and says so", c.log_tail())
        check(self.write(self.a, [self.a, self.b]) and self.write(self.b, [self.a, self.b]) and not starting.done(), "the others go on without it")
        c.kill()
        starting.result()
        os.replace(pem + ".own", pem)
        c.client = None
        c.begin()
        self.works("with its own it is taken in")

    def secret(self):
        check = self.report.check

        def read(host):
            with open(os.path.join(host.state, "pool-secret")) as f:
                return f.read().strip()

        def taken(host, secret):
            try:
                return bool(Client(host, login=False, timeout=60).raw("session.slave_login", self.refs[host.number], secret))
            except XapiError:
                return False

        old = [read(h) for h in self.hosts]
        self.b("pool.rotate_secret")
        new = until(lambda: (s := read(self.a)) not in old and s, PATIENCE)
        check(new and all(taken(h, new) for h in self.hosts), "a secret that was rotated is the same for all hosts")
        # A refusal is answered late.
        with ThreadPoolExecutor() as pool:
            check(not any(pool.map(taken, self.hosts, old)), "and those of before are worth nothing")
        check(until(lambda: all(read(h) == new for h in self.hosts), PATIENCE), "every host's file follows")


def main():
    report, begin = Report(), time.monotonic()
    with Hosts(3) as hosts:
        test = Test(report, hosts)
        test.secret()
        test.renewed()
        test.away()
        test.killed()
        test.foreign()
    report.note(f"{time.monotonic() - begin:.0f} s")
    return report.done()


if __name__ == "__main__":
    sys.exit(main())
