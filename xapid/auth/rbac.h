/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rbac.h -- may this session do that?  Roles are one total order, so the answer is a comparison;
 * text is made only for a refusal.
 */
#pragma once

#include "api_daemon.h"

/*
 * OK where the call's session may send the message with these arguments (laid out as m->params
 * say).  A call without a session is the daemon's own, or a login: it may do anything.  Else
 * INTERNAL_ERROR for a pool-internal message from anybody but the pool or root, or
 * RBAC_PERMISSION_DENIED.  The current value of a map is read from call->snap (may be NULL: then
 * every key counts as changed).
 */
MUST_CHECK struct error *rbac_check(struct call *call, const struct message_desc *m,
                                    const void *args);
/* The same for an HTTP handler, by its name in roles.api ("get_export"). */
MUST_CHECK struct error *rbac_check_http(struct call *call, const char *action);
/*
 * The same for a permission of roles.api that is no message ("task.destroy/any").  One that is not
 * declared is refused.
 */
MUST_CHECK struct error *rbac_check_permission(struct call *call, const char *permission);
/* True if the key matches; a '*' at the pattern's end stands for anything. */
bool rbac_key_matches(const char *pattern, const char *key);
