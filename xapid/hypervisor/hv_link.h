/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hv_link.h -- the connection beneath hv.h: one socket, any number of calls at once.
 *
 * A thread of its own owns the socket.  Callers put a frame into its queue and wait on a condition;
 * the thread matches answers to calls by serial number, and after a lost connection asks again for
 * every call that still waits.  Private to this folder.
 */
#pragma once

#include "xapid/hypervisor/protocol.h"

struct hv_link;

struct hv_link *hv_link_new(const char *socket_path);
void hv_link_free(struct hv_link *link);
/* Makes a call.  Takes 'args' (which must be an object).  *result, a new reference, is an object;
 * NULL on error. */
MUST_CHECK struct error *hv_link_call(struct hv_link *link, const struct hv_request *rq,
                                      const char *call, json_t *args, json_t **result);
/* As hv_watch, on the link's own thread: 'changed' must neither block nor make calls. */
void hv_link_watch(struct hv_link *link, void (*changed)(void *ctx, const char *uuid), void *ctx);
/* Connects to a Unix socket and closes nothing on failure but its own; the descriptor, or -1 with
 * errno. */
int hv_link_connect(const char *socket_path);
