/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * nbd.h -- disks for others to read over the network, by the NBD protocol.
 *
 * Each connection has a thread of its own and reads one disk.  Whether and how one is talked to is
 * the matter of the network whose address it came to (ops/storage/nbd_info.h).
 */
#pragma once

#include "xapid/db/db.h"

/* Connections, in all and from one address. */
#define NBD_CLIENTS_MAX 128
#define NBD_CLIENTS_PER_ADDRESS 48

struct nbd;

/* Forgets what a killed daemon held; before disks are counted. */
MUST_CHECK struct error *nbd_recover(struct call *call);
/*
 * Listens on the port of the options (0 picks one; xapid->nbd_port).  NULL, and a line in the log,
 * where that cannot be, or is not wanted: nothing else depends on it.  The HTTP server's
 * certificate is shown.
 */
struct nbd *nbd_start(struct xapid *xapid);
/* Ends all connections and waits for them; before the HTTP server goes.  NULL is fine. */
void nbd_stop(struct nbd *nbd);
