/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* login.c -- from a password, the pool's secret or a local socket to a session. */
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/memory.h"
#include "xapid/auth/audit.h"
#include "xapid/auth/internal.h"
#include "xapid/db/db.h"
#include "xapid/db/roles.h"

#define ROOT "root"
/* Keeps the members' sessions from being counted with those of clients that give no name. */
#define POOL_ORIGINATOR "xapid-pool"
#define MAX_TEXT 256

struct login {
    struct xapid *xapid;
    char *user, *originator, *client;
    const char *message; /* for the audit line */
    auth_login_done *done;
    void *ctx;
    struct arena arena; /* of 'error' */
    struct error *error;
};

static void login_free(struct login *l)
{
    arena_release(&l->arena);
    free(l->user);
    free(l->originator);
    free(l->client);
    free(l);
}

static struct login *login_new(struct xapid *xapid, const char *message, const char *user,
                               const char *originator, const char *client, auth_login_done *done,
                               void *ctx)
{
    struct login *l = xcalloc(1, sizeof *l);

    l->xapid = xapid;
    l->message = message;
    l->user = xstrndup(user ? user : "", MAX_TEXT);
    l->originator = xstrndup(originator ? originator : "", MAX_TEXT);
    l->client = xstrndup(client ? client : "", MAX_TEXT);
    l->done = done;
    l->ctx = ctx;
    return l;
}

static void audit(const struct login *l, const struct error *e, ref_t session)
{
    const struct audit_login line = {.message = l->message,
                                     .user = l->user,
                                     .originator = l->originator,
                                     .client = l->client,
                                     .session = session,
                                     .error = e};

    audit_login(l->xapid->audit, &line);
}

/*** who a user is ***/

ref_t auth_root_session(struct xapid *xapid, const char *user, const char *originator,
                        const char *client, bool pool)
{
    const struct session_request request = {.role = ROLE_LOCAL_ROOT,
                                            .is_local_superuser = true,
                                            .pool = pool,
                                            .user = user,
                                            .originator = originator,
                                            .client = client};

    return session_create(xapid->sessions, &request);
}

ref_t auth_certificate_session(struct xapid *xapid, const char *originator, const char *client)
{
    const struct session_request request = {
        .role = ROLE_CLIENT_CERT, .user = "", .originator = originator, .client = client};

    return session_create(xapid->sessions, &request);
}

/* The most powerful of the subject's roles; ROLE_COUNT if it has none. */
static enum role_id role_of_subject(const struct subject *subject)
{
    enum role_id best = ROLE_COUNT;

    for (size_t i = 0; i < subject->roles.n; i++)
        best = MIN(best, role_of_ref(subject->roles.v[i]));
    return best;
}

/* True if a subject stands for the user; copies what is needed of it. */
static bool find_subject(struct xapid *xapid, const char *user, ref_t *ref, enum role_id *role)
{
    struct db_snap *snap = db_snapshot(xapid->db);
    const struct subject *subject;
    struct db_walk walk;
    bool found = false;

    db_walk(snap, CLASS_subject, &walk);
    while (!found && (subject = db_walk_next(&walk))) {
        if (strcmp(subject->subject_identifier, user) != 0)
            continue;
        *ref = subject->ref;
        *role = role_of_subject(subject);
        found = true;
    }
    db_snap_unref(snap);
    return found;
}

struct error *auth_session_for(struct xapid *xapid, struct arena *arena, const char *user,
                               const char *originator, const char *client, ref_t *out)
{
    struct session_request request = {.user = user, .originator = originator, .client = client};

    if (strcmp(user, ROOT) == 0) {
        *out = auth_root_session(xapid, user, originator, client, false);
        return OK;
    }
    if (!find_subject(xapid, user, &request.subject, &request.role))
        return error_new(arena, "SESSION_AUTHORIZATION_FAILED", 2, user,
                         "This user has not been given access to the pool.");
    if (request.role == ROLE_COUNT)
        return error_new(arena, "SESSION_AUTHORIZATION_FAILED", 2, user, "This user has no role.");
    *out = session_create(xapid->sessions, &request);
    return OK;
}

struct error *auth_failed_error(struct arena *arena, const char *user, enum auth_verdict verdict)
{
    return error_new(arena, "SESSION_AUTHENTICATION_FAILED", 2, user,
                     verdict == AUTH_BAD ? "The user name or the password is wrong."
                                         : "The password could not be checked; try again later.");
}

/*** the end of a login ***/

static void answer(struct login *l, struct error *e, ref_t session)
{
    if (!e)
        session_announce(l->xapid->sessions, session);
    l->done(l->ctx, e, session);
    login_free(l);
}

static void answer_refusal(void *arg)
{
    struct login *l = arg;

    answer(l, l->error, REF_NULL);
}

static void on_verdict(void *ctx, enum auth_verdict verdict)
{
    struct login *l = ctx;
    ref_t session = REF_NULL;

    if (verdict != AUTH_GOOD) {
        struct error *e = auth_failed_error(&l->arena, l->user, verdict);

        audit(l, e, session);
        answer(l, e, session); /* the delay is over already */
        return;
    }
    l->error = auth_session_for(l->xapid, &l->arena, l->user, l->originator, l->client, &session);
    audit(l, l->error, session);
    if (l->error)
        auth_later(l->xapid->auth, answer_refusal, l);
    else
        answer(l, OK, session);
}

void auth_login(struct xapid *xapid, const char *user, const char *password, const char *version,
                const char *originator, const char *client, bool unix_socket, auth_login_done *done,
                void *ctx)
{
    const struct auth_attempt attempt = {user, password, originator, client};
    struct login *l = login_new(xapid, "session.login_with_password", user, originator,
                                unix_socket ? "" : client, done, ctx);

    (void)version; /* every version is answered alike */
    if (unix_socket) {
        ref_t session =
            auth_root_session(xapid, *l->user ? l->user : ROOT, l->originator, "", false);

        audit(l, OK, session);
        answer(l, OK, session);
        return;
    }
    auth_check(xapid->auth, &attempt, on_verdict, l);
}

void auth_login_with_certificate(struct xapid *xapid, const char *originator, const char *client,
                                 auth_login_done *done, void *ctx)
{
    struct login *l =
        login_new(xapid, "session.login_with_password", "", originator, client, done, ctx);
    ref_t session = auth_certificate_session(xapid, l->originator, l->client);

    audit(l, OK, session);
    answer(l, OK, session);
}

void auth_login_with_secret(struct xapid *xapid, const char *secret, const char *originator,
                            const char *client, auth_login_done *done, void *ctx)
{
    struct login *l = login_new(xapid, "session.slave_login", "", originator, client, done, ctx);
    ref_t session = REF_NULL;

    if (auth_is_pool_secret(xapid->auth, secret))
        session = auth_root_session(xapid, "", *l->originator ? l->originator : POOL_ORIGINATOR,
                                    l->client, true);
    else
        l->error = error_new(&l->arena, "SESSION_AUTHENTICATION_FAILED", 2, "",
                             "This is not the pool's secret.");
    audit(l, l->error, session);
    if (l->error)
        auth_later(xapid->auth, answer_refusal, l);
    else
        answer(l, OK, session);
}
