/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* netlink.h -- one rtnetlink socket: a request and its answer, or a dump. */
#pragma once

#include <netlink/msg.h>

#include "libxapi/base/base.h"

#define NETLINK_WHY 256

/* Zeroed is closed. */
struct netlink {
    struct nl_sock *socket;
    uint8_t *buffer; /* for one datagram of the kernel's */
};

/* False where there is no socket; errno says why. */
bool netlink_open(struct netlink *nl);
void netlink_release(struct netlink *nl);

/*
 * Sends a request, frees it, and waits for what becomes of it.  0, or the errno of the refusal,
 * with a sentence in 'why': the kernel's own where it gives one.  A message that could not be built
 * (NULL) is ENOMEM.
 */
int netlink_do(struct netlink *nl, struct nl_msg *request, char why[NETLINK_WHY]);
/*
 * The same for a dump: 'each' sees every message; false from it ends the dump with E2BIG.  EAGAIN
 * where the kernel's tables have changed meanwhile: what was seen is to be thrown away.
 */
int netlink_dump(struct netlink *nl, struct nl_msg *request,
                 bool (*each)(void *ctx, const struct nlmsghdr *message), void *ctx,
                 char why[NETLINK_WHY]);
