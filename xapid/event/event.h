/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * event.h -- event.from, event.next and their kin: what happened since, as a range of the
 * database's changes.
 *
 * A waiting listener holds no thread: it is looked at when a new version of the database is
 * published, when its time is over, when its session ends or its client goes away.
 */
#pragma once

#include "xapid/rpc/rpc.h"

struct events;

struct events *events_new(struct xapid *xapid);
/* Answers all that wait; later ones are answered at once.  Before the HTTP server ends. */
void events_stop(struct events *events);
/* After the HTTP server has ended. */
void events_free(struct events *events);
/* From the handler, for a call that will be run by events_call on a worker: it is to end early too
 * where the client goes away. */
void events_expect(struct rpc_call *rpc);
/* Runs event.from and event.next (messages with a custom reply); answers now or later. */
void events_call(struct rpc_call *rpc);
