/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * call.h -- what travels with a call from the socket to the driver and back: its memory, its task,
 * its session, the daemon.
 */
#pragma once

#include "libxapi/base/arena.h"

struct xapid;
struct task_handle;
struct auth_session;
struct db_snap;
struct http_request;

struct call {
    struct arena *arena;
    struct xapid *xapid;                /* the daemon; NULL in tests of drivers */
    const struct auth_session *session; /* counted by the call; NULL for the daemon's own work */
    struct task_handle *task;           /* NULL where there is none */
    struct db_snap
        *snap; /* the version of the database this call reads; call_refresh takes a newer one */
    struct db_snap *
        *held; /* earlier versions: rows that were read stay valid until the call ends */
    size_t n_held, held_room;
    struct db_snap *copy; /* what its session reads instead of the database; NULL mostly */
    bool joins;           /* it may change a database that is frozen for it (db_freeze) */
    bool wrote;           /* it has changed the database, or may have */
    ref_t elsewhere;      /* the host that its error says must run it, set with that error; or null:
                             host_check_here */
    int hops;             /* how many members of the pool have passed it on, each to the host that
                             it has chosen */
    const char *originator;
    /* Whose client waits for the answer; NULL where none does. */
    const struct http_request *http;
};
