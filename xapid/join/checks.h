/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * checks.h -- whether a host may join a pool: pure, over the database of each.
 *
 * The host comes with its whole database, so that the pool looks at both sides itself and no
 * version of a joining host has to be believed.  The first check that fails says why, with the
 * codes that clients know.
 */
#pragma once

#include "xapid/db/db.h"

struct join_sides {
    struct call *call; /* for errors */
    const struct db_root *host, *pool;
};

/* 'force' leaves out what a pool can live with: other processors. */
MUST_CHECK struct error *join_check(const struct join_sides *sides, bool force);

/* The host that a database of one host is of; NULL where it is not of one. */
const struct host *join_host_of(const struct db_root *root);
