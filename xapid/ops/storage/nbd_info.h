/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* nbd_info.h -- where disks may be read over NBD. */
#pragma once

#include "xapid/db/db.h"

enum nbd_access {
    NBD_CLOSED,
    NBD_TLS, /* nothing without TLS */
    NBD_ANY,
};

/*
 * What is allowed to a client that has connected to this address of this host: what the network
 * says in which the address lies (network.purpose).  On the loopback interface what any network of
 * the pool says, for local programs that pass on what others ask.
 */
enum nbd_access nbd_access_at(struct call *call, const char *address);
