/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ovsdb.h -- ovsdb-server by its JSON-RPC protocol (RFC 7047), over its Unix socket: transactions
 * of the database "Open_vSwitch", one after the other, each with a deadline.
 *
 * What it says is outside input: its size and depth are bounded before it is parsed.
 */
#pragma once

#include <jansson.h>

#include "libxapi/base/arena.h"
#include "libxapi/base/buf.h"

#define OVSDB_REPLY_LIMIT (32 << 20) /* bytes */
#define OVSDB_DEPTH 64
#define OVSDB_ANSWER_TIME (10 * USEC_PER_SEC)

/* Drops a reference at the end of the scope. */
static inline void ovsdb_json_release(json_t **json)
{
    json_decref(*json);
}
#define OVSDB_JSON __attribute__((cleanup(ovsdb_json_release))) json_t

/* How far a message was looked at. */
struct ovsdb_scan {
    size_t at, depth;
    bool quoted, escaped;
};

/* Goes on to the end of the first message in 'n' bytes.  Its length, 0 where it is not complete, or
 * -1 where it is none: no object, or nested too deeply. */
long ovsdb_frame(struct ovsdb_scan *scan, const char *s, size_t n);

/* The results of a transaction in a reply, borrowed from it; NULL where it was refused, with what
 * the server says in 'why'. */
json_t *ovsdb_results(struct arena *arena, json_t *reply, const char **why);

/* A connection.  Zeroed is none. */
struct ovsdb {
    int fd;
    bool open;
    json_int_t id;
    struct buf in;
};

void ovsdb_release(struct ovsdb *db);
/* Each of these returns NULL, or a sentence that says why not. */
MUST_CHECK const char *ovsdb_open(struct ovsdb *db, struct arena *arena, const char *path);
/* Does the operations, an array that is taken over: all or none.  'results' is to be dropped;
 * 'patience' is how long they may wait for something. */
MUST_CHECK const char *ovsdb_transact(struct ovsdb *db, struct arena *arena, json_t *operations,
                                      usec_t patience, json_t **results);
