#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""versions.py -- hosts of different versions in one pool: nobody is sent what it cannot read, and who cannot go on says so and stops.

Three hosts; one of them understands no more of the database than an older version (--level 1).  What is new waits until it is brought up to
date, and clients are told that an upgrade is under way.  Then a host comes back older than it was: it applies nothing that came after, skips
nothing, and the pool's administrators hear of it; brought up to date it goes on from there.
"""

import os
import sqlite3
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from daemon import code_of, until  # noqa: E402
from lone_hosts import PATIENCE, Hosts  # noqa: E402
from report import Report  # noqa: E402

OLD = ["--level", "1"]
STOPPED = "HOST_SYNC_DATA_FAILED"


def revision(host):
    """Of its checkpoint, of a host that does not run."""
    with sqlite3.connect(f"file:{host.state}/db/xapid.db?mode=ro", uri=True) as db:
        return db.execute("SELECT value FROM _meta WHERE key = 'revision'").fetchone()[0]


class Test:
    def __init__(self, report, hosts):
        self.report, self.hosts = report, hosts
        self.a, self.b, self.c = hosts

    def ref(self, host, of=None):
        return next(r for r, h in (of or self.a)("host.get_all_records").items() if h["uuid"] == host.uuid())

    def begin(self, host, *args):
        """Starts it, as another version where arguments say so.  None, or why it does not start."""
        host.args = host.args[:host.n_args] + list(args)
        host.client = None
        return host.launch().result()

    def upgrading(self, host):
        return next(iter(host("pool.get_all_records").values()))["other_config"].get("rolling_upgrade_in_progress")

    def renew(self, host):
        """Needs level 2: the new certificate's fingerprint is a field that came with it."""
        return code_of(self.a, "host.refresh_server_certificate", self.ref(host))

    def same(self, *hosts):
        found = [h.status() for h in hosts]
        return all(found) and len({(s["revision"], s["digest"]) for s in found}) == 1

    def mixed(self):
        """A host of the older version is in the pool."""
        check, a, b, c = self.report.check, self.a, self.b, self.c
        b.join(a)
        check(until(lambda: b.is_member_of(a), PATIENCE), "an older host joins a pool that is as old", b.log_tail())
        check(until(lambda: self.upgrading(a) is None, PATIENCE), "hosts of one version: nothing is under way", self.upgrading(a))
        a.stop()
        check(self.begin(a) is None, "the coordinator is brought up to date first", a.log_tail())
        check(until(lambda: self.upgrading(a) == "true", PATIENCE), "clients are told that an upgrade is under way", self.upgrading(a))
        check(self.renew(a) == "NOT_SUPPORTED_DURING_UPGRADE", "what is new is refused while somebody would not understand it", self.renew(a))
        check(code_of(a, "pool.rotate_secret") == "NOT_SUPPORTED_DURING_UPGRADE", "so is what must not be done meanwhile")
        a("pool.set_name_label", a("pool.get_all")[0], "mixed")
        check(until(lambda: b("pool.get_name_label", b("pool.get_all")[0]) == "mixed", PATIENCE), "all else works on both")
        b.stop()
        check(self.begin(b) is None, "the other one follows", b.log_tail())
        check(until(lambda: self.upgrading(a) is None, PATIENCE), "then the upgrade is over", self.upgrading(a))
        check(until(lambda: self.renew(b) is None, PATIENCE, 0.2), "and what is new works", self.renew(b))
        check(until(lambda: self.same(a, b), PATIENCE), "both have the same database")
        check(code_of(c.join, a) == "POOL_JOINING_HOST_MUST_HAVE_SAME_DB_SCHEMA", "an older host cannot join any more")
        c.stop()
        self.begin(c)
        c.join(a)
        check(until(lambda: c.is_member_of(a) and a.roles() == ["voter"] * 3, PATIENCE), "brought up to date it can", c.log_tail())

    def older_again(self):
        """A host comes back older than it was: its database, or what the pool has gone on with, is not for it."""
        check, a, b, c = self.report.check, self.a, self.b, self.c
        c.stop()
        error = self.begin(c, *OLD)
        check(error and "is of level 2" in error and "Install the version" in error, "a host that is set back does not start, and says why", error)
        check(self.begin(c) is None and until(lambda: self.same(a, c), PATIENCE), "brought up to date it goes on", c.log_tail())

    def away(self):
        """A host that was new is away while the others follow and the pool goes on; it comes back old, and has yet to read what was written meanwhile."""
        check, a, b, c = self.report.check, self.a, self.b, self.c
        for h in (b, c):
            h.join(a)
            check(until(lambda: h.is_member_of(a), PATIENCE), "a pool of three old hosts", h.log_tail())
        check(until(lambda: a.roles() == ["voter"] * 3, PATIENCE), "all of them vote")
        ref = self.ref(c)
        c.stop()
        self.begin(c)
        c.stop()
        before = revision(c)
        for h in (b, a):
            h.stop()
            check(self.begin(h) is None, "the others follow while it is away", h.log_tail())
        check(until(lambda: self.renew(a) is None, PATIENCE, 0.2), "and what is new works", self.renew(a))
        error = self.begin(c, *OLD)
        check(error and "is of level 2" in error, "an old host does not skip what it does not understand: it ends", error)
        stop = until(lambda: [m for m in a("message.get_all_records").values() if m["name"] == STOPPED and m["obj_uuid"] == c.uuid()], PATIENCE)
        check(stop and "is of level 2" in stop[0]["body"], "administrators are told which host has stopped, and why", stop)
        check("is of level 2" in c.log_text() and "goes on from here" in c.log_text(), "its log says so, and what to do", c.log_tail())
        check(before <= revision(c) < a.status()["revision"], "it has applied nothing after that", f"{before} {revision(c)} {a.status()}")
        check(self.begin(c) is None, "brought up to date it starts", c.log_tail())
        check(until(lambda: self.same(a, b, c), PATIENCE), "and goes on from where it stopped, to the same database", c.status(), a.status())
        check(c("host.get_uuid", ref) == c.uuid(), "as the host it was")


def main():
    report, begin = Report(), time.monotonic()
    with Hosts(3, *OLD) as hosts:
        test = Test(report, hosts)
        test.mixed()
        test.older_again()
    with Hosts(3, *OLD) as hosts:
        Test(report, hosts).away()
    report.note(f"{time.monotonic() - begin:.0f} s")
    return report.done()


if __name__ == "__main__":
    sys.exit(main())
