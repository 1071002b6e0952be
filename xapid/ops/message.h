/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * message.h -- messages: notices about objects that administrators and clients read.
 *
 * They are rows, kept and replicated like all others.  The oldest go where there are more than
 * MESSAGES_MAX.
 */
#pragma once

#include "xapid/db/db.h"

#define MESSAGES_MAX 10000
/* Bytes of a body, and of a name. */
#define MESSAGE_BODY_MAX 32768
#define MESSAGE_NAME_MAX 256

/*
 * Writes a message of the daemon's own.  'name' is one of alerts.api, which gives its priority; any
 * other counts as 3.  A failure is logged: what the message is about has happened all the same.
 */
void alert_create(struct call *call, const char *name, enum cls cls, const char *obj_uuid,
                  const char *body);
/* The same as part of a transaction, so that the message and what it is about appear together. */
void txn_alert(struct txn *txn, const char *name, enum cls cls, const char *obj_uuid,
               const char *body);
