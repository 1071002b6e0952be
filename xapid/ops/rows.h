/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* rows.h -- what operations on rows of any class have in common. */
#pragma once

#include "xapid/db/db.h"

/* OPERATION_NOT_ALLOWED where a class that clients fill has as many rows as it may have. */
MUST_CHECK struct error *check_room(struct call *call, int class_id);
/* An error that names all of the rows, each as a parameter: NETWORK_CONTAINS_VIF for example. */
MUST_CHECK struct error *error_of_refs(const struct call *call, const char *code,
                                       const struct refs *refs);
/* An address of either family, IPv4 or IPv6. */
bool is_ip_address(const char *text);
/* VALUE_NOT_SUPPORTED unless 1 <= port <= 65535. */
MUST_CHECK struct error *check_port(struct call *call, const char *name, int64_t port);
/*
 * Transactions that call this go one after the other: for rules over all rows of a class, which no
 * index guards.  It touches the pool's row, so it is for what happens seldom.
 */
MUST_CHECK struct error *txn_take_turns(struct txn *txn);
