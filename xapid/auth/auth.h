/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * auth.h -- who is it?  Passwords, the pool's secret, logins, and the credentials of HTTP requests.
 *
 * Passwords are checked by PAM in a process of its own, or against a file of hashes; a few at a
 * time, on threads of this module, so that nobody else waits.  A good one is recognised for a
 * minute by a keyed hash in memory; a bad one is answered after five seconds, and no thread waits
 * meanwhile.  Everything is answered by a callback, exactly once, at once or later, from any
 * thread; callbacks must not block.
 */
#pragma once

#include "xapid/auth/session.h"

struct auth;
struct http_request;
struct rpc_call;
struct xapid;

/* Zero fields take their defaults. */
struct auth_tuning {
    int checks;            /* passwords checked at the same time: 8 */
    int waiting;           /* checks under way or in line: 256; beyond, logins fail unchecked */
    int per_client;        /* of those and of delayed refusals, for one client address: 64 */
    usec_t check_timeout;  /* after which PAM is given up: 30 s */
    usec_t failure_delay;  /* until a refusal is answered: 5 s; below 0: none */
    usec_t remember;       /* how long a good password is recognised: 60 s */
    usec_t (*clock)(void); /* for the latter: clock_mono */
};

/*
 * Takes its options from xapid->options (state_dir, password_file, pam_helper; the strings must
 * outlive it) and makes <state_dir>/pool-secret if there is none.  An error says what is wrong with
 * that file.
 */
MUST_CHECK struct error *auth_new(struct arena *arena, struct xapid *xapid, struct auth **out);
MUST_CHECK struct error *auth_new_tuned(struct arena *arena, struct xapid *xapid,
                                        const struct auth_tuning *tuning, struct auth **out);
/*
 * Refuses what is under way and answers everything at once.  No new calls may come: to be called
 * after http_server_free, and before what the callbacks use goes (sessions, audit, database).
 */
void auth_free(struct auth *auth);

/*** passwords ***/

enum auth_verdict {
    AUTH_GOOD,
    AUTH_BAD,
    AUTH_UNABLE, /* nobody could say: PAM failed, too many are waiting, the daemon ends */
};

struct auth_attempt {
    const char *user, *password;
    const char *originator, *client; /* for the counters; may be NULL */
};

/* Checks a password; everything is copied.  AUTH_BAD and AUTH_UNABLE come after the delay. */
void auth_check(struct auth *auth, const struct auth_attempt *attempt,
                void (*done)(void *ctx, enum auth_verdict verdict), void *ctx);
/* The same, on the caller's thread, without cache, counters and delay: for workers only. */
enum auth_verdict auth_check_now(struct auth *auth, const char *user, const char *password);
/*
 * Gives root another password: in the password file, or through chpasswd.
 * CHANGE_PASSWORD_REJECTED(why).  What was recognised is forgotten.  Blocks.
 */
MUST_CHECK struct error *auth_set_password(struct call *call, const char *user,
                                           const char *password);

/*** failed logins, for the alert FAILED_LOGIN_ATTEMPTS ***/

struct auth_failure {
    const char *client, *originator, *user; /* cut to 63 bytes */
    uint64_t number;
    usec_t last; /* wall clock */
};
struct auth_failures {
    uint64_t total;
    uint64_t unknown; /* of these, not among the entries */
    size_t n;
    const struct auth_failure *v; /* most first */
};
/* What has failed since the last time it was asked, in the arena; the counters begin anew. */
void auth_failures_take(struct auth *auth, struct arena *arena, struct auth_failures *out);
/* The alert's body: the total, the three worst and the number of the others. */
const char *auth_failures_body(struct arena *arena, const struct auth_failures *failures);

/*** the pool's secret ***/

/* Lives until another takes its place. */
const char *auth_pool_secret(const struct auth *auth);
/* Makes another for all hosts of the pool: those before are worth nothing from now on. */
MUST_CHECK struct error *auth_rotate_pool_secret(struct call *call);
/* Where the pool has another since, this host's file follows. */
MUST_CHECK struct error *auth_follow_pool_secret(struct call *call);
/* Compares in a time that does not depend on the text. */
bool auth_is_pool_secret(const struct auth *auth, const char *text);

/*** logins ***/

/* 'e' is valid during the call; where it is OK, 'session' is a new session. */
typedef void auth_login_done(void *ctx, struct error *e, ref_t session);

/*
 * session.login_with_password and slave_local_login_with_password.  A Unix socket's caller is root
 * and is not checked.  Root gets ROLE_LOCAL_ROOT; another user of the password file gets the roles
 * of the subject whose subject_identifier is its name.  Errors, after the delay:
 * SESSION_AUTHENTICATION_FAILED(user, text), SESSION_AUTHORIZATION_FAILED(user, text).  'client' is
 * the address.  Strings are copied.  Writes its own audit line.
 */
void auth_login(struct xapid *xapid, const char *user, const char *password, const char *version,
                const char *originator, const char *client, bool unix_socket, auth_login_done *done,
                void *ctx);
/* session.login_with_password of a client that TLS knows by its certificate (http_trust_clients): a
 * session of the role client-cert, whatever user and password say. */
void auth_login_with_certificate(struct xapid *xapid, const char *originator, const char *client,
                                 auth_login_done *done, void *ctx);
/* slave_login and slave_local_login: a session of the pool itself. */
void auth_login_with_secret(struct xapid *xapid, const char *secret, const char *originator,
                            const char *client, auth_login_done *done, void *ctx);
/* Runs the session messages that have a custom reply: the four logins. */
void auth_call(struct rpc_call *rpc);

/*** HTTP requests ***/

struct auth_http_who {
    const struct auth_session *session; /* counted */
    bool temporary;                     /* made for this request: ends with it */
};

/* 'e' (in the request's arena) or, where it is OK, who asks: for auth_http_release. */
typedef void auth_http_done(struct http_request *request, void *ctx, struct error *e,
                            const struct auth_http_who *who);

/*
 * Finds out who sent a request, in this order: Unix socket (root), session_id in cookie or query,
 * pool_secret in a cookie, HTTP Basic, a certificate in TLS.  Then checks the permission of
 * 'action' ("get_export"; NULL: none).  Errors: SESSION_AUTHENTICATION_FAILED (nobody, or wrong;
 * after the delay), SESSION_INVALID, SESSION_AUTHORIZATION_FAILED, RBAC_PERMISSION_DENIED; a denial
 * has its audit line already. 'done' may run before this returns.
 */
void auth_http(struct xapid *xapid, struct http_request *request, const char *action,
               auth_http_done *done, void *ctx);
/* Ends a temporary session and lets go. */
void auth_http_release(struct xapid *xapid, struct auth_http_who *who);
/* Answers with the page for that error: 401 with a challenge, or 403. */
void auth_http_refuse(struct http_request *request, const char *action, const struct error *e);
