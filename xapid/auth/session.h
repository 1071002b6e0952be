/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * session.h -- who is calling: sessions live in memory only, never in the database's log.
 *
 * Limits: 500 for each originator and user name, 400 without one, 8 on copies of databases; the one
 * unused for longest goes first.  Idle for 24 hours ends a session.
 *
 * In a pool each member has a copy of the sessions that were announced to it.  A session is "here"
 * on the one member where it is in use; a call on another one brings it there first: asks the
 * others what they know of it and up to which revision it has seen the database with them, and
 * waits until this member has applied that (xapid/main/roam.c).  While it stays, it costs nothing.
 */
#pragma once

#include "api_types.h"
#include "libxapi/base/call.h"

struct sessions;
struct xapid;

/* A session in doubt (sessions_doubt) that was last called less than SESSION_GRACE ago goes on
 * here, for at most SESSION_DOUBT_FOR: a member that cannot ask this one waits for longer before it
 * takes the session over, so a client that makes one call after the other was nowhere else since.
 */
#define SESSION_GRACE (100 * USEC_PER_MSEC)
#define SESSION_DOUBT_FOR (2 * USEC_PER_SEC)

/* Counted; immutable but for what session.c guards. */
struct auth_session {
    ref_t ref;
    char uuid[UUID_TEXT_SIZE];
    enum role_id role; /* ROLE_LOCAL_ROOT: everything */
    bool is_local_superuser, pool;
    const char *user, *originator, *client;
    ref_t subject;
    struct db_snap *copy; /* what it reads instead of the pool's database; NULL but for
                             VDI.open_database */
};

struct session_request {
    enum role_id role;
    bool is_local_superuser, pool;
    const char *user, *originator, *client;
    ref_t subject;
    struct db_snap *copy; /* the session takes over the caller's reference */
};

/* All there is to know of a session, as members tell each other. */
struct session_copy {
    struct auth_session public;
    ref_t host;     /* that made it */
    usec_t created; /* wall clock */
    uint64_t seen;  /* the newest revision that its calls have shown */
    struct strmap other_config;
    bool here;  /* it was in use on the member that tells */
    bool whole; /* all that the member that tells has ever shown it is within 'seen' */
};

/* What reaches the other members.  Called without locks; all but 'bring' must not block. */
struct session_remote {
    void *ctx;
    void (*created)(void *ctx, const struct session_copy *copy);
    void (*ended)(void *ctx, ref_t ref);
    /* session_bring. */
    struct error *(*bring)(void *ctx, struct arena *arena, ref_t ref);
    /* Session_bring is wanted, and nobody waits for it. */
    void (*doubted)(void *ctx, ref_t ref);
    /* Since when this member has been in contact with one that leads, without a pause (monotonic);
     * 0 while it is not.  Without contact nobody could tell it that a session is used elsewhere by
     * now, and it may be behind.  NULL: always. */
    usec_t (*contact)(void *ctx);
};

struct sessions *sessions_new(struct xapid *xapid);
void sessions_free(struct sessions *sessions);
/* Makes a session; returns its reference. */
ref_t session_create(struct sessions *sessions, const struct session_request *request);
/* The session, with a reference for the caller, or NULL.  Marks it as used now. */
const struct auth_session *session_find(struct sessions *sessions, ref_t ref);
void session_unref(const struct auth_session *session);
/* For a call that another member has passed on: who its caller is, with a reference for the caller.
 * It is none of 'sessions': the session itself stays where it is used. */
const struct auth_session *session_stand_in(struct sessions *sessions,
                                            const struct auth_session *who);
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

/*** several members ***/

/* To be set while no calls come in; copied.  NULL: there are no others. */
void sessions_set_remote(struct sessions *sessions, const struct session_remote *remote);
/* Tells the others of a session that a client was given. */
void session_announce(struct sessions *sessions, ref_t ref);
/* The same of all that are in use here: members that were started again have forgotten them. */
void sessions_announce_again(struct sessions *sessions);
/* True where a call with that session must bring it here first, on a worker. */
bool session_is_elsewhere(struct sessions *sessions, ref_t ref);
/* This member may be out of contact: those that were used on several members may go on elsewhere
 * without its notice, and must be brought again after a pause.  Does not block. */
void sessions_doubt(struct sessions *sessions);
/* Brings it here; blocks for as long as roam.c says.  OK also where nobody knows it: session_find
 * shows.  An error where this member is too far behind what the session has seen. */
MUST_CHECK struct error *session_bring(struct sessions *sessions, struct arena *arena, ref_t ref);
/* An answer to the session's client will show this revision; before it is sent.  NULL: nothing. */
void session_saw(const struct auth_session *session, uint64_t revision);

/* For roam.c. */

/* Fills 'out' (memory of the arena).  'take': the session is elsewhere from now on.  False if there
 * is none; *ended if it has ended. */
bool session_copy_out(struct sessions *sessions, struct arena *arena, ref_t ref, bool take,
                      struct session_copy *out, bool *ended);
/* Takes over another member's session, as one that is elsewhere; nothing where it has ended
 * already, and where it is known no more than what it has seen.  copy->whole: what this member has
 * ever shown it, also before it was started again, is within copy->seen. */
void session_adopt(struct sessions *sessions, const struct session_copy *copy);
/* Says how often others have taken it, for session_settle.  False if it is not known here. */
bool session_taken(struct sessions *sessions, ref_t ref, uint64_t *times);
/* All that this member has ever shown it is known: not so where it has forgotten the session. */
bool session_is_whole(struct sessions *sessions, ref_t ref);
/* It is here now, unless another took it since 'times', and all that any member has shown it is
 * within 'seen'; 'other_config' may be NULL. */
void session_settle(struct sessions *sessions, ref_t ref, uint64_t times, uint64_t seen,
                    const struct strmap *other_config);
/* Nobody knows it: for a second it is not asked for again. */
void session_note_unknown(struct sessions *sessions, ref_t ref);
/* It ended on another member. */
void session_end_here(struct sessions *sessions, ref_t ref);
