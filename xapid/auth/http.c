/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* http.c -- the credentials of requests that are no calls: imports, exports, consoles, statistics.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/crypto.h>

#include "libxapi/base/memory.h"
#include "xapid/auth/audit.h"
#include "xapid/auth/internal.h"
#include "xapid/auth/password.h"
#include "xapid/auth/rbac.h"
#include "xapid/db/db.h"
#include "xapid/http/http.h"
#include "xapid/worker/workers.h"

#define POOL_ORIGINATOR "xapid-pool"
#define BASIC_LIMIT 4096

/* One request whose sender is being found out; in the request's arena. */
struct asking {
    struct xapid *xapid;
    struct http_request *request;
    const char *action, *user, *text;
    ref_t ref; /* of the session that 'text' names */
    auth_http_done *done;
    void *ctx;
    struct error *error;
};

static void refuse(struct asking *a, struct error *e)
{
    a->done(a->request, a->ctx, e, NULL);
}

static void refuse_now(void *arg)
{
    struct asking *a = arg;

    refuse(a, a->error);
}

void auth_http_release(struct xapid *xapid, struct auth_http_who *who)
{
    struct db_snap *snap;

    if (!who->session)
        return;
    snap = db_snapshot(xapid->db);
    session_saw(who->session, snap_root(snap)->revision);
    db_snap_unref(snap);
    if (who->temporary)
        session_destroy(xapid->sessions, who->session->ref);
    session_unref(who->session);
    who->session = NULL;
}

static void accept_session(struct asking *a, const struct auth_session *session, bool temporary)
{
    struct auth_http_who who = {session, temporary};
    struct call call = {.arena = a->request->arena, .xapid = a->xapid, .session = session};
    struct error *e = a->action ? rbac_check_http(&call, a->action) : OK;

    if (e) {
        audit_http(&call, a->action, e);
        auth_http_release(a->xapid, &who);
        refuse(a, e);
        return;
    }
    a->done(a->request, a->ctx, OK, &who);
}

/* A session for this request only.  It may have been pushed out again by others. */
static void accept_temporary(struct asking *a, ref_t ref)
{
    const struct auth_session *session = session_find(a->xapid->sessions, ref);

    if (session)
        accept_session(a, session, true);
    else
        refuse(a, error_new(a->request->arena, "SESSION_INVALID", 1, ""));
}

static void by_known_session(struct asking *a)
{
    const struct auth_session *session = session_find(a->xapid->sessions, a->ref);

    if (session)
        accept_session(a, session, false);
    else
        refuse(a, error_new(a->request->arena, "SESSION_INVALID", 1, a->text));
}

/* On a worker. */
static void bring_session(void *arg)
{
    struct asking *a = arg;
    struct error *e = session_bring(a->xapid->sessions, a->request->arena, a->ref);

    if (e)
        refuse(a, e);
    else
        by_known_session(a);
}

static void by_session(struct asking *a, const char *text)
{
    a->text = text;
    if (!ref_from_text(text, &a->ref) || ref_is_null(a->ref))
        refuse(a, error_new(a->request->arena, "SESSION_INVALID", 1, text));
    else if (!session_is_elsewhere(a->xapid->sessions, a->ref) ||
             !workers_run(a->xapid->workers, bring_session, a))
        by_known_session(a);
}

static void refuse_later(struct asking *a, struct error *e)
{
    a->error = e;
    auth_later(a->xapid->auth, refuse_now, a);
}

static void by_secret(struct asking *a, const char *text)
{
    if (auth_is_pool_secret(a->xapid->auth, text))
        accept_temporary(a,
                         auth_root_session(a->xapid, "", POOL_ORIGINATOR, a->request->peer, true));
    else
        refuse_later(a, auth_failed_error(a->request->arena, "", AUTH_BAD));
}

/*** HTTP Basic ***/

static int base64_digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *p = c ? strchr(digits, c) : NULL;

    return p ? (int)(p - digits) : -1;
}

/* In the arena; NULL if it is not base64, too long, or holds a NUL. */
static char *base64_decode(struct arena *arena, const char *text)
{
    size_t size = strcspn(text, "= \t"), n = 0;
    char *out;
    uint32_t bits = 0;

    if (size > BASIC_LIMIT || size % 4 == 1 || text[size + strspn(text + size, "= \t")])
        return NULL;
    out = arena_alloc(arena, size + 1);
    for (size_t i = 0; i < size; i++) {
        int digit = base64_digit(text[i]);

        if (digit < 0)
            return NULL;
        bits = bits << 6 | (uint32_t)digit;
        if (i % 4)
            out[n++] = (char)(bits >> (6 - 2 * (i % 4)));
    }
    out[n] = '\0';
    return strlen(out) == n ? out : NULL;
}

static void on_verdict(void *ctx, enum auth_verdict verdict)
{
    struct asking *a = ctx;
    struct arena *arena = a->request->arena;
    struct error *e;
    ref_t session;

    if (verdict != AUTH_GOOD) {
        refuse(a, auth_failed_error(arena, a->user, verdict));
        return;
    }
    e = auth_session_for(a->xapid, arena, a->user, "", a->request->peer, &session);
    if (e)
        refuse_later(a, e);
    else
        accept_temporary(a, session);
}

static void by_password(struct asking *a, const char *encoded)
{
    char *text = base64_decode(a->request->arena, encoded);
    char *colon = text ? strchr(text, ':') : NULL;
    struct auth_attempt attempt = {.originator = "", .client = a->request->peer};

    if (!colon) {
        refuse_later(a, auth_failed_error(a->request->arena, "", AUTH_BAD));
        return;
    }
    *colon = '\0';
    /* The request and its arena are gone as soon as it is answered, which may be before auth_check
     * returns: what is wiped afterwards is a copy of our own. */
    a->user = text;
    attempt.user = text;
    attempt.password = xstrdup(colon + 1);
    OPENSSL_cleanse(colon + 1, strlen(colon + 1));
    auth_check(a->xapid->auth, &attempt, on_verdict, a);
    OPENSSL_cleanse((char *)attempt.password, strlen(attempt.password));
    free((char *)attempt.password);
}

/*** the order ***/

static const char *basic_credentials(const struct http_request *request)
{
    const char *value = http_header(request, "authorization");

    if (!value || strncasecmp(value, "Basic ", 6) != 0)
        return NULL;
    return value + 6 + strspn(value + 6, " \t");
}

/* Only from a cookie: an address with the secret in it would end up in logs. */
static const char *secret_cookie(const struct http_request *request)
{
    const char *value = http_param(request, "pool_secret");

    return value && value != http_query(request, "pool_secret") ? value : NULL;
}

void auth_http(struct xapid *xapid, struct http_request *request, const char *action,
               auth_http_done *done, void *ctx)
{
    struct asking *a = arena_new(request->arena, struct asking);
    const char *text;

    *a = (struct asking){
        .xapid = xapid, .request = request, .action = action, .done = done, .ctx = ctx};
    if (request->via == VIA_UNIX)
        accept_temporary(a, auth_root_session(xapid, "root", "", "", false));
    else if ((text = http_param(request, "session_id")))
        by_session(a, text);
    else if ((text = secret_cookie(request)))
        by_secret(a, text);
    else if ((text = basic_credentials(request)))
        by_password(a, text);
    else if (request->known_client)
        accept_temporary(a, auth_certificate_session(xapid, "", request->peer));
    else
        refuse(a, auth_failed_error(request->arena, "", AUTH_BAD)); /* browsers ask so at first */
}

void auth_http_refuse(struct http_request *request, const char *action, const struct error *e)
{
    if (error_is(e, "SESSION_AUTHENTICATION_FAILED") || error_is(e, "SESSION_INVALID")) {
        struct http_pair challenge = {
            "WWW-Authenticate",
            arena_printf(request->arena, "Basic realm=\"%s\"", action ? action : "xapid")};

        http_error_with(request, 401, NULL, 1, &challenge);
        return;
    }
    http_error(request, 403, e->n_params ? e->params[e->n_params - 1] : NULL);
}
