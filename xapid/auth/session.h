/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * session.h -- who is calling: sessions live in memory only, never in the database's log.
 *
 * Limits: 500 for each originator and user name, 400 without one; the one unused for longest goes
 * first.  Idle for 24 hours ends a session.
 */
#pragma once

#include "api_types.h"
#include "libxapi/base/call.h"

struct sessions;
struct xapid;

/* Counted; immutable but for what session.c guards. */
struct auth_session {
    ref_t ref;
    char uuid[UUID_TEXT_SIZE];
    enum role_id role; /* ROLE_LOCAL_ROOT: everything */
    bool is_local_superuser, pool;
    const char *user, *originator, *client;
    ref_t subject;
};

struct session_request {
    enum role_id role;
    bool is_local_superuser, pool;
    const char *user, *originator, *client;
    ref_t subject;
};

struct sessions *sessions_new(struct xapid *xapid);
void sessions_free(struct sessions *sessions);
/* Makes a session; returns its reference. */
ref_t session_create(struct sessions *sessions, const struct session_request *request);
/* The session, with a reference for the caller, or NULL.  Marks it as used now. */
const struct auth_session *session_find(struct sessions *sessions, ref_t ref);
void session_unref(const struct auth_session *session);
/* Ends it; its long polls are answered SESSION_INVALID.  False if there was none. */
bool session_destroy(struct sessions *sessions, ref_t ref);
/* Calls fn(ctx, ref) with the lock released whenever a session has ended. */
void sessions_on_end(struct sessions *sessions, void (*fn)(void *ctx, ref_t ref), void *ctx);
/* Ends those idle for too long; about every 30 s. */
void sessions_collect(struct sessions *sessions);
/* Ends those that nobody holds and that were not used for more than 'idle'; below 0: also those
 * used just now. */
void sessions_end_idle(struct sessions *sessions, usec_t idle);
/* The session as a record of class session, in the arena; NULL if there is none. */
const struct session *session_record(struct sessions *sessions, struct arena *arena, ref_t ref);
/* Its other_config. */
bool session_set_other_config(struct sessions *sessions, ref_t ref, const struct strmap *value);
/* The references of all sessions of a user (subject identifier); NULL: all. */
struct refs session_refs(struct sessions *sessions, struct arena *arena, const char *user);
size_t session_count(struct sessions *sessions);
