/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bootstrap.h -- what a host puts into the database: the pool of one host that a first start makes,
 * the further host that joins a pool, and what every start brings up to date.
 *
 * Each step is one write-set that looks for what it would create, so a daemon killed at any line
 * goes on where it was.  What an administrator has removed since (storage, networks, templates) is
 * not made again.
 */
#pragma once

#include "libxapi/base/call.h"

/*
 * At start, with database and hypervisor open, somebody leading, and before operations are
 * recovered.  Sets xapid->host, ->pool and ->epoch.  A member that leads takes the coordinator's
 * office.  Fails where the database belongs to another host or nothing can be written.
 */
MUST_CHECK struct error *bootstrap(struct call *call);

/* The same for a start without a pool: only reads who this host is.  False where the database does
 * not know. */
bool bootstrap_recall(struct call *call);
