/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * auth.c -- checks of passwords: in line, under way, refused and delayed.
 *
 * The same user and password asked for twice at a time is checked once.  A client address has only
 * so many checks and refusals at a time, so that one that guesses slows itself and not the others;
 * beyond that its attempts are refused unlooked at.  Delayed answers stand in a list in the order
 * they are due, because all wait equally long; one thread serves it.
 */
#include "xapid/auth/auth.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "api_daemon.h"
#include "libxapi/base/child.h"
#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/codec/codec.h"
#include "xapid/auth/internal.h"
#include "xapid/auth/password.h"
#include "xapid/db/db.h"
#include "xapid/db/level.h"
#include "xapid/worker/workers.h"

#define KEY_SIZE 32
#define CHECKS_MAX 256
#define PAM_HELPER "/usr/libexec/xapid/xapid-pam"
#define PAM_RIGHT 0
#define PAM_WRONG 1

/* Somebody who waits for a verdict. */
struct waiter {
    struct waiter *next;
    struct auth_core *auth;
    char *user, *originator, *client;
    bool counted; /* among its client's */
    enum auth_verdict verdict;
    void (*done)(void *ctx, enum auth_verdict verdict);
    void *ctx;
};

/* A password being checked; on a worker, or in line for one. */
struct check {
    struct check *next;
    struct auth_core *auth;
    uint8_t mac[AUTH_MAC_SIZE];
    char *user, *password;
    struct waiter *waiters;
};

struct delayed {
    struct delayed *next;
    usec_t due;
    void (*fn)(void *arg);
    void *arg;
};

struct client {
    struct client *next;
    char *address;
    int n;
};

/* What a struct auth really is: the API's class auth has taken that name for its (empty) rows, so
 * here it is only ever a pointer to one of these. */
struct auth_core {
    struct xapid *xapid;
    struct auth_tuning tuning;
    uint8_t key[KEY_SIZE];
    char *pool_secret;
    struct failures *failures;
    struct workers *workers;
    struct thread delayer;
    struct mutex lock; /* guards what follows */
    struct cond changed;
    struct check *checks;
    int n_checks;
    struct client *clients; /* those with something under way */
    struct delayed *first, **last;
    struct remembered *remembered;
    uint64_t generation;   /* of passwords: what was checked before the last change is not kept */
    bool closing, drained; /* answer soon; nothing will be added any more */
};

static struct auth_core *core_of(const struct auth *auth)
{
    return (struct auth_core *)auth;
}

void auth_mac(const struct auth *auth, const char *a, const char *b, uint8_t out[AUTH_MAC_SIZE])
{
    uint64_t size = strlen(a);
    unsigned n = AUTH_MAC_SIZE;
    struct buf text = {0};

    buf_add(&text, &size, sizeof size);
    buf_puts(&text, a);
    buf_puts(&text, b);
    HMAC(EVP_sha256(), core_of(auth)->key, KEY_SIZE, (const uint8_t *)text.data, text.len, out, &n);
    OPENSSL_cleanse(text.data, text.len);
    buf_release(&text);
}

/*** later ***/

static void *delayer_run(void *arg)
{
    struct auth_core *a = arg;

    mutex_lock(&a->lock);
    while (a->first || !a->drained) {
        struct delayed *d = a->first;

        if (!d) {
            cond_wait(&a->changed, &a->lock);
            continue;
        }
        if (!a->closing && d->due > clock_mono()) {
            cond_wait_until(&a->changed, &a->lock, d->due);
            continue;
        }
        a->first = d->next;
        if (!a->first)
            a->last = &a->first;
        mutex_unlock(&a->lock);
        d->fn(d->arg);
        free(d);
        mutex_lock(&a->lock);
    }
    mutex_unlock(&a->lock);
    return NULL;
}

static void later_locked(struct auth_core *a, void (*fn)(void *arg), void *arg)
{
    struct delayed *d = xcalloc(1, sizeof *d);

    *d = (struct delayed){.due = clock_mono() + a->tuning.failure_delay, .fn = fn, .arg = arg};
    *a->last = d;
    a->last = &d->next;
    cond_broadcast(&a->changed);
}

void auth_later(struct auth *auth, void (*fn)(void *arg), void *arg)
{
    struct auth_core *a = core_of(auth);

    MUTEX_GUARD(&a->lock);
    later_locked(a, fn, arg);
}

/*** one client's share ***/

static struct client **client_place(struct auth_core *a, const char *address)
{
    struct client **p = &a->clients;

    while (*p && strcmp((*p)->address, address) != 0)
        p = &(*p)->next;
    return p;
}

/* False if the client has as many as it may. */
static bool client_enter(struct auth_core *a, const char *address)
{
    struct client **p = client_place(a, address);

    if (!*p) {
        *p = xcalloc(1, sizeof **p);
        (*p)->address = xstrdup(address);
    }
    if ((*p)->n >= a->tuning.per_client)
        return false;
    (*p)->n++;
    return true;
}

static void client_leave(struct auth_core *a, const char *address)
{
    struct client **p = client_place(a, address), *c = *p;

    if (!c || --c->n > 0)
        return;
    *p = c->next;
    free(c->address);
    free(c);
}

/*** waiters ***/

static void waiter_free(struct waiter *w)
{
    free(w->user);
    free(w->originator);
    free(w->client);
    free(w);
}

static void waiter_leave(struct waiter *w)
{
    if (!w->counted)
        return;
    MUTEX_GUARD(&w->auth->lock);
    client_leave(w->auth, w->client);
}

static void waiter_answer(void *arg)
{
    struct waiter *w = arg;

    waiter_leave(w);
    w->done(w->ctx, w->verdict);
    waiter_free(w);
}

static struct waiter *waiter_new(struct auth_core *a, const struct auth_attempt *attempt,
                                 void (*done)(void *ctx, enum auth_verdict verdict), void *ctx)
{
    struct waiter *w = xcalloc(1, sizeof *w);

    w->auth = a;
    w->user = xstrndup(attempt->user, PASSWORD_MAX_USER + 1);
    w->originator = xstrndup(attempt->originator ? attempt->originator : "", 256);
    w->client = xstrndup(attempt->client ? attempt->client : "", 256);
    w->done = done;
    w->ctx = ctx;
    return w;
}

static void count_failure(struct auth_core *a, const struct waiter *w)
{
    struct auth_attempt who = {w->user, NULL, w->originator, w->client};

    failures_count(a->failures, &who);
}

static void refuse_locked(struct auth_core *a, struct waiter *w, enum auth_verdict verdict)
{
    /* That nobody could say is no sign of guessing. */
    if (verdict == AUTH_BAD)
        count_failure(a, w);
    w->verdict = verdict;
    later_locked(a, waiter_answer, w);
}

/*** a check ***/

static void wipe(char *text)
{
    if (text)
        OPENSSL_cleanse(text, strlen(text));
    free(text);
}

static bool still_wanted(void *ctx, const char *text, size_t n)
{
    struct auth_core *a = ctx;

    (void)text;
    (void)n;
    return !__atomic_load_n(&a->closing, __ATOMIC_ACQUIRE);
}

static enum auth_verdict ask_pam(struct auth_core *a, struct arena *arena, const char *user,
                                 const char *password)
{
    const char *helper = a->xapid->options.pam_helper ? a->xapid->options.pam_helper : PAM_HELPER;
    const char *argv[] = {helper, NULL};
    struct child_result result;
    struct buf input = {0};
    struct child_spec spec = {
        .argv = argv, .timeout = a->tuning.check_timeout, .watch = still_wanted, .ctx = a};
    struct error *e;

    buf_reserve(&input,
                strlen(user) + strlen(password) + 3); /* grown later, it would leave copies */
    buf_add(&input, user, strlen(user) + 1);
    buf_add(&input, password, strlen(password) + 1);
    spec.input = input.data;
    spec.input_size = input.len;
    e = child_run(arena, &spec, &result);
    OPENSSL_cleanse(input.data, input.len);
    buf_release(&input);
    if (!e && !result.timed_out && !result.cancelled) {
        if (result.status == PAM_RIGHT)
            return AUTH_GOOD;
        if (result.status == PAM_WRONG)
            return AUTH_BAD;
    }
    if (!e && result.cancelled)
        return AUTH_UNABLE;
    log_error("a password could not be checked: %s", e                  ? error_line(arena, e)
                                                     : result.timed_out ? "PAM took too long"
                                                     : *result.errors   ? result.errors
                                                                        : "PAM's helper failed");
    return AUTH_UNABLE;
}

static enum auth_verdict ask_file(struct auth_core *a, struct arena *arena, const char *user,
                                  const char *password)
{
    bool good;
    struct error *e =
        password_file_check(arena, a->xapid->options.password_file, user, password, &good);

    if (!e)
        return good ? AUTH_GOOD : AUTH_BAD;
    log_error("a password could not be checked: %s", error_line(arena, e));
    return AUTH_UNABLE;
}

static bool is_acceptable(const char *user, const char *password)
{
    size_t n = strnlen(password, PASSWORD_MAX + 1);

    return n > 0 && n <= PASSWORD_MAX &&
           strnlen(user, PASSWORD_MAX_USER + 1) <= PASSWORD_MAX_USER &&
           password_user_is_valid(user) && utf8_valid(user, strlen(user));
}

static enum auth_verdict check_password(struct auth_core *a, const char *user, const char *password)
{
    struct arena arena = {0};
    enum auth_verdict verdict = AUTH_BAD;

    if (is_acceptable(user, password)) {
        if (a->xapid->options.password_file)
            verdict = ask_file(a, &arena, user, password);
        else if (strcmp(user, "root") == 0) /* the other accounts of dom0 have no business here */
            verdict = ask_pam(a, &arena, user, password);
    }
    arena_release(&arena);
    return verdict;
}

enum auth_verdict auth_check_now(struct auth *auth, const char *user, const char *password)
{
    return check_password(core_of(auth), user, password);
}

/* The check is over: out of the list, remembered if good.  Nobody joins it any more. */
static struct waiter *check_finish(struct check *c, enum auth_verdict verdict, uint64_t generation)
{
    struct auth_core *a = c->auth;
    struct check **p;
    struct waiter *waiters;

    MUTEX_GUARD(&a->lock);
    for (p = &a->checks; *p != c; p = &(*p)->next)
        ;
    *p = c->next;
    a->n_checks--;
    waiters = c->waiters;
    if (verdict == AUTH_GOOD) {
        if (generation == a->generation)
            remembered_add(a->remembered, c->mac, a->tuning.clock() + a->tuning.remember);
        return waiters;
    }
    while (waiters) {
        struct waiter *next = waiters->next;

        refuse_locked(a, waiters, verdict);
        waiters = next;
    }
    return NULL;
}

static uint64_t generation_now(struct auth_core *a)
{
    MUTEX_GUARD(&a->lock);
    return a->generation;
}

static void check_run(void *arg)
{
    struct check *c = arg;
    uint64_t generation = generation_now(c->auth);
    enum auth_verdict verdict = AUTH_UNABLE;
    struct waiter *good;

    if (!__atomic_load_n(&c->auth->closing, __ATOMIC_ACQUIRE))
        verdict = check_password(c->auth, c->user, c->password);
    good = check_finish(c, verdict, generation);
    while (good) {
        struct waiter *next = good->next;

        good->verdict = AUTH_GOOD;
        waiter_answer(good);
        good = next;
    }
    wipe(c->password);
    free(c->user);
    free(c);
}

static struct check *find_check(struct auth_core *a, const uint8_t mac[AUTH_MAC_SIZE])
{
    for (struct check *c = a->checks; c; c = c->next)
        if (CRYPTO_memcmp(c->mac, mac, AUTH_MAC_SIZE) == 0)
            return c;
    return NULL;
}

/* As pool.local_auth_max_threads says. */
static int checks_allowed(struct auth_core *a)
{
    const struct pool *pool;
    struct db_snap *snap;
    int n = a->tuning.checks;

    if (!a->xapid->db)
        return n;
    snap = db_snapshot(a->xapid->db);
    pool = root_get(snap_root(snap), CLASS_pool, a->xapid->pool);
    if (pool)
        n = (int)MIN(pool->local_auth_max_threads, (int64_t)CHECKS_MAX);
    db_snap_unref(snap);
    return n;
}

/* False if there is no room. */
static bool check_begin(struct auth_core *a, const struct auth_attempt *attempt,
                        const uint8_t mac[AUTH_MAC_SIZE], struct waiter *w)
{
    struct check *c;

    if (a->closing || a->n_checks >= a->tuning.waiting || !client_enter(a, w->client))
        return false;
    w->counted = true;
    workers_limit(a->workers, checks_allowed(a));
    c = xcalloc(1, sizeof *c);
    c->auth = a;
    memcpy(c->mac, mac, AUTH_MAC_SIZE);
    c->user = xstrdup(attempt->user);
    c->password = xstrdup(attempt->password);
    c->waiters = w;
    if (!workers_run(a->workers, check_run, c)) {
        wipe(c->password);
        free(c->user);
        free(c);
        return false;
    }
    c->next = a->checks;
    a->checks = c;
    a->n_checks++;
    return true;
}

void auth_check(struct auth *auth, const struct auth_attempt *attempt,
                void (*done)(void *ctx, enum auth_verdict verdict), void *ctx)
{
    struct auth_core *a = core_of(auth);
    bool acceptable = is_acceptable(attempt->user, attempt->password);
    uint8_t mac[AUTH_MAC_SIZE] = {0};
    struct waiter *w;
    struct check *same;

    if (acceptable)
        auth_mac(auth, attempt->user, attempt->password, mac);
    mutex_lock(&a->lock);
    if (acceptable && remembered_has(a->remembered, mac, a->tuning.clock())) {
        mutex_unlock(&a->lock);
        done(ctx, AUTH_GOOD);
        return;
    }
    w = waiter_new(a, attempt, done, ctx);
    same = acceptable ? find_check(a, mac) : NULL;
    if (!acceptable) {
        refuse_locked(a, w, AUTH_BAD);
    } else if (same) {
        w->next = same->waiters;
        same->waiters = w;
    } else if (!check_begin(a, attempt, mac, w)) {
        count_failure(a, w);
        refuse_locked(a, w, AUTH_UNABLE);
    }
    mutex_unlock(&a->lock);
}

/*** another password ***/

static void forget_passwords(struct auth_core *a)
{
    MUTEX_GUARD(&a->lock);
    remembered_clear(a->remembered);
    a->generation++;
}

static struct error *run_chpasswd(struct call *call, const char *user, const char *password)
{
    static const char *const argv[] = {"chpasswd", NULL};
    struct buf input = {0};
    struct child_result result;
    struct child_spec spec = {.argv = argv, .timeout = 30 * USEC_PER_SEC};
    struct error *e;

    buf_reserve(&input, strlen(user) + strlen(password) + 3);
    buf_puts(&input, user);
    buf_putc(&input, ':');
    buf_puts(&input, password);
    buf_putc(&input, '\n');
    spec.input = input.data;
    spec.input_size = input.len;
    e = child_run(call->arena, &spec, &result);
    OPENSSL_cleanse(input.data, input.len);
    buf_release(&input);
    if (e)
        return e;
    if (result.status == 0 && !result.timed_out)
        return OK;
    return err_change_password_rejected(call, *result.errors ? result.errors : "chpasswd failed");
}

struct error *auth_set_password(struct call *call, const char *user, const char *password)
{
    struct auth_core *a = core_of(call->xapid->auth);
    const char *file = call->xapid->options.password_file;
    struct error *e;

    if (!is_acceptable(user, password))
        return err_change_password_rejected(
            call, arena_printf(call->arena, "A password has 1 to %d bytes.", PASSWORD_MAX));
    for (const char *p = password; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            return err_change_password_rejected(call, "A password has no control characters.");
    e = file ? password_file_set(call->arena, file, user, password)
             : run_chpasswd(call, user, password);
    /* Also after a failure: it may have come after the change. */
    forget_passwords(a);
    return e;
}

/*** the whole ***/

static struct auth_tuning tuning_complete(struct auth_tuning t)
{
    t.checks = t.checks > 0 ? t.checks : 8;
    t.waiting = t.waiting > 0 ? t.waiting : 256;
    t.per_client = t.per_client > 0 ? t.per_client : 64;
    t.check_timeout = t.check_timeout ? t.check_timeout : 30 * USEC_PER_SEC;
    t.failure_delay = t.failure_delay < 0 ? 0
                      : t.failure_delay   ? t.failure_delay
                                          : 5 * USEC_PER_SEC;
    t.remember = t.remember ? t.remember : 60 * USEC_PER_SEC;
    t.clock = t.clock ? t.clock : clock_mono;
    return t;
}

struct error *auth_new_tuned(struct arena *arena, struct xapid *xapid,
                             const struct auth_tuning *tuning, struct auth **out)
{
    char *secret = NULL;
    struct auth_core *a;

    TRY(pool_secret_load(arena, xapid->options.state_dir, &secret));
    a = xcalloc(1, sizeof *a);
    a->xapid = xapid;
    a->tuning = tuning_complete(*tuning);
    a->pool_secret = secret;
    random_bytes(a->key, sizeof a->key);
    mutex_init(&a->lock);
    cond_init(&a->changed);
    a->last = &a->first;
    a->failures = failures_new();
    a->remembered = remembered_new();
    a->workers = workers_new(a->tuning.checks);
    thread_start(&a->delayer, "auth-delay", delayer_run, a);
    *out = (struct auth *)a;
    return OK;
}

struct error *auth_new(struct arena *arena, struct xapid *xapid, struct auth **out)
{
    return auth_new_tuned(arena, xapid, &(struct auth_tuning){0}, out);
}

void auth_free(struct auth *auth)
{
    struct auth_core *a = core_of(auth);
    if (!a)
        return;
    mutex_lock(&a->lock);
    __atomic_store_n(&a->closing, true, __ATOMIC_RELEASE);
    cond_broadcast(&a->changed);
    mutex_unlock(&a->lock);
    workers_free(a->workers);
    mutex_lock(&a->lock);
    a->drained = true;
    cond_broadcast(&a->changed);
    mutex_unlock(&a->lock);
    thread_join(&a->delayer);
    while (a->clients)
        client_leave(a, a->clients->address);
    remembered_free(a->remembered);
    failures_free(a->failures);
    wipe(a->pool_secret);
    OPENSSL_cleanse(a->key, sizeof a->key);
    cond_release(&a->changed);
    mutex_release(&a->lock);
    free(a);
}

void auth_failures_take(struct auth *auth, struct arena *arena, struct auth_failures *out)
{
    failures_take(core_of(auth)->failures, arena, out);
}

const char *auth_pool_secret(const struct auth *auth)
{
    return core_of(auth)->pool_secret;
}

/* As the database has it; "" where it was never rotated. */
static const char *secret_of(const struct db_snap *snap)
{
    const struct coordinator *row = root_get(snap_root(snap), CLASS_coordinator, COORDINATOR);

    return row ? row->secret : "";
}

static struct error *rotate_txn(struct txn *txn, void *arg)
{
    const char *secret = arg;

    if (txn_find(txn, CLASS_coordinator, COORDINATOR))
        TXN_SET(txn, coordinator, COORDINATOR, secret, secret);
    return OK;
}

struct error *auth_follow_pool_secret(struct call *call)
{
    struct auth_core *a = core_of(call->xapid->auth);
    const char *now = secret_of(call->snap);
    char *old = NULL;

    if (!*now || strcmp(now, auth_pool_secret(call->xapid->auth)) == 0)
        return OK;
    TRY(pool_secret_keep(call->arena, call->xapid->options.state_dir, now));
    mutex_lock(&a->lock);
    old = a->pool_secret;
    a->pool_secret = xstrdup(now);
    mutex_unlock(&a->lock);
    wipe(old);
    return OK;
}

struct error *auth_rotate_pool_secret(struct call *call)
{
    TRY(db_update(call, rotate_txn, (void *)pool_secret_make(call->arena)));
    return auth_follow_pool_secret(call);
}

/* What the pool has counts from the moment on that it is known here. */
bool auth_is_pool_secret(const struct auth *auth, const char *text)
{
    struct auth_core *a = (struct auth_core *)auth;
    struct db_snap *snap = a->xapid->db ? db_snapshot(a->xapid->db) : NULL;
    const char *pool = snap ? secret_of(snap) : "";
    uint8_t x[AUTH_MAC_SIZE], y[AUTH_MAC_SIZE];

    mutex_lock(&a->lock);
    auth_mac(auth, "pool", *pool ? pool : a->pool_secret, x);
    mutex_unlock(&a->lock);
    auth_mac(auth, "pool", text, y);
    db_snap_unref(snap);
    return CRYPTO_memcmp(x, y, AUTH_MAC_SIZE) == 0;
}
