/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* here.h -- which host a message is about. */
#pragma once

#include "xapid/db/db.h"

/* That the host exists: HANDLE_INVALID. */
MUST_CHECK struct error *host_check(struct call *call, ref_t host);
/*
 * That it is this one, for what only its own daemon can do or know: CANNOT_CONTACT_HOST, and the
 * call remembers which host it is for.  A message whose function returns that before it has changed
 * anything is run by that host's daemon instead (xapid/rpc/forward.h), so an operation checks this
 * first.
 */
MUST_CHECK struct error *host_is_here(struct call *call, ref_t host);
/* The same of a host that may not exist: HANDLE_INVALID. */
MUST_CHECK struct error *host_check_here(struct call *call, ref_t host);
/* This host's row; NULL only where the database has none yet. */
const struct host *host_here(struct call *call);

/*
 * Runs 'fn' for each host of the pool.  All are tried; '*failed' is a list of those where it
 * failed, references between commas, "" where it did everywhere.  Each failure is logged, because
 * the list is all that the errors of the XenAPI have room for.
 */
void hosts_each(struct call *call, struct error *(*fn)(struct call *call, ref_t host, void *arg),
                void *arg, const char **failed);
