/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* peers.c -- the thread of the links, and what comes to it from others.  See peers.h. */
#include "pool/peer/peers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "pool/peer/identity.h"

#define SILENCE (2 * USEC_PER_SEC)
#define BUSY_CLOCK_MSEC 20        /* how exact deadlines are */
#define LATE (50 * USEC_PER_MSEC) /* the clock, from when on that counts */

void peers_wake(struct peers *peers)
{
    if (!peers->closing)
        uv_async_send(&peers->wake);
}

void peers_ref(struct peers *peers)
{
    MUTEX_GUARD(&peers->lock);
    peers->refs++;
}

void peers_unref(struct peers *peers)
{
    bool last;

    mutex_lock(&peers->lock);
    last = --peers->refs == 0;
    mutex_unlock(&peers->lock);
    if (!last)
        return;
    SSL_CTX_free(peers->ctx);
    while (peers->shown) {
        struct identity_shown *before = peers->shown->before;

        free(peers->shown);
        peers->shown = before;
    }
    mutex_release(&peers->serving);
    mutex_release(&peers->renewing);
    mutex_release(&peers->lock);
    free(peers->members);
    free(peers->new_members);
    free(peers->known);
    free(peers->renewed);
    free(peers->dir);
    free(peers);
}

/* Members. */

const struct member *peers_member_by_fingerprint(const struct peers *peers, const char *fingerprint)
{
    for (size_t i = 0; i < peers->n_members; i++)
        if (strcmp(peers->members[i].place.fingerprint, fingerprint) == 0)
            return &peers->members[i];
    return NULL;
}

const struct member *peers_member_of(const struct peers *peers, const char *fingerprint,
                                     uint64_t id)
{
    for (size_t i = 0; i < peers->n_members; i++) {
        const struct member *m = &peers->members[i];

        if ((!m->id || m->id == id) && strcmp(m->place.fingerprint, fingerprint) == 0)
            return m;
    }
    return NULL;
}

const struct member *peers_member_by_id(const struct peers *peers, uint64_t id)
{
    for (size_t i = 0; i < peers->n_members; i++)
        if (peers->members[i].id == id)
            return &peers->members[i];
    return NULL;
}

static struct known *find_known(const struct peers *peers, uint64_t id)
{
    for (size_t i = 0; i < peers->n_known; i++)
        if (peers->known[i].id == id)
            return &peers->known[i];
    return NULL;
}

struct known *peers_known(struct peers *peers, uint64_t id)
{
    struct known *known = find_known(peers, id);

    if (known || peers->n_known == PEERS_MAX_MEMBERS)
        return known;
    MUTEX_GUARD(&peers->lock);
    known = &peers->known[peers->n_known++];
    known->id = id;
    ask_list_init(&known->asks);
    return known;
}

void peers_note_heard(struct known *known)
{
    if (known)
        __atomic_store_n(&known->heard, clock_mono(), __ATOMIC_RELAXED);
}

void peers_note_refused(struct peers *peers, uint64_t id, bool refused)
{
    struct known *known = peers_known(peers, id);

    if (known)
        __atomic_store_n(&known->refused, refused, __ATOMIC_RELAXED);
}

void peers_note_trouble(struct peers *peers, uint64_t id, const char *what)
{
    struct known *known = peers_known(peers, id);

    if (!known || strcmp(known->trouble, what ? what : "") == 0)
        return;
    if (what)
        log_warning("no link with member %016llx: %s", (unsigned long long)id, what);
    else
        log_info("member %016llx is linked again", (unsigned long long)id);
    snprintf(known->trouble, sizeof known->trouble, "%s", what ? what : "");
}

/* "Heard" is of links that are there. */
static void forget_the_lost(struct peers *peers)
{
    for (size_t i = 0; i < peers->n_known; i++)
        if (peers->known[i].n_up == 0)
            __atomic_store_n(&peers->known[i].heard, 0, __ATOMIC_RELAXED);
}

usec_t peer_heard(struct peers *peers, uint64_t id)
{
    const struct known *known;

    MUTEX_GUARD(&peers->lock);
    known = find_known(peers, id);
    return known ? __atomic_load_n(&known->heard, __ATOMIC_RELAXED) : 0;
}

bool peer_refuses(struct peers *peers, uint64_t id)
{
    const struct known *known;

    MUTEX_GUARD(&peers->lock);
    known = find_known(peers, id);
    return known && __atomic_load_n(&known->refused, __ATOMIC_RELAXED);
}

void peers_allow(struct peers *peers, size_t n, const struct peer *members)
{
    struct member *list = xcalloc(n + 1, sizeof *list);
    size_t kept = 0;

    for (size_t i = 0; i < n && kept < PEERS_MAX_MEMBERS; i++) {
        struct member *m = &list[kept];

        if (!address_parse_partial(members[i].address, &m->place))
            continue;
        m->id = members[i].id;
        snprintf(m->address, sizeof m->address, "%s", members[i].address);
        kept++;
    }
    MUTEX_GUARD(&peers->lock);
    free(peers->new_members);
    peers->new_members = list;
    peers->n_new_members = kept;
    peers->members_changed = true;
    peers_wake(peers);
}

void peers_renewed(struct peers *peers, size_t n, const uint64_t *ids,
                   const char *const *fingerprints)
{
    struct renewed *list = xcalloc(n + 1, sizeof *list);

    for (size_t i = 0; i < n; i++) {
        list[i].id = ids[i];
        snprintf(list[i].fingerprint, sizeof list[i].fingerprint, "%s", fingerprints[i]);
    }
    MUTEX_GUARD(&peers->lock);
    free(peers->renewed);
    peers->renewed = list;
    peers->n_renewed = n;
    peers_wake(peers);
}

/* Those that the members are known by now.  True where one was not yet. */
static bool take_fingerprints(struct peers *peers)
{
    bool changed = false;

    MUTEX_GUARD(&peers->lock);
    for (size_t i = 0; i < peers->n_members; i++) {
        struct member *m = &peers->members[i];

        for (size_t j = 0; j < peers->n_renewed; j++) {
            const struct renewed *r = &peers->renewed[j];

            if (r->id != m->id || strcmp(r->fingerprint, m->place.fingerprint) == 0)
                continue;
            memcpy(m->place.fingerprint, r->fingerprint, sizeof r->fingerprint);
            changed = true;
        }
    }
    return changed;
}

static void check_links(struct peers *peers)
{
    struct link *next;

    for (struct link *l = peers->links; l; l = next) {
        next = l->next;
        link_check_allowed(l);
    }
}

static void take_members(struct peers *peers, struct member *list, size_t n)
{
    free(peers->members);
    peers->members = list;
    peers->n_members = n;
    take_fingerprints(peers);
    check_links(peers);
    request_drop(peers);
}

/* The clock: it runs while there is something it could end. */

static void on_clock(uv_timer_t *timer);

static void start_clock(struct peers *peers, uint64_t msec)
{
    peers->due = clock_mono() + msec * USEC_PER_MSEC;
    uv_timer_start(&peers->timer, on_clock, msec, 0);
}

static void on_clock(uv_timer_t *timer)
{
    struct peers *peers = timer->data;
    usec_t now = clock_mono(), late = now - peers->due;
    struct link *next;
    bool asked;

    for (struct link *l = peers->links; l; l = next) {
        next = l->next;
        link_check(l, now, late > LATE ? late : 0);
    }
    asked = request_expire(peers, now);
    forget_the_lost(peers);
    if (asked)
        start_clock(peers, BUSY_CLOCK_MSEC);
    else if (peers->links)
        start_clock(peers, (uint64_t)(peers->silence / 8 / USEC_PER_MSEC) + 1);
}

void peers_start_clock(struct peers *peers)
{
    if (!peers->ending && (!uv_is_active((uv_handle_t *)&peers->timer) ||
                           uv_timer_get_due_in(&peers->timer) > BUSY_CLOCK_MSEC))
        start_clock(peers, BUSY_CLOCK_MSEC);
}

/* What others want. */

struct wishes {
    struct ask *asks;
    struct reply *replies;
    struct dial *dials;
    struct member *members;
    size_t n_members;
    bool members_changed, closing;
};

static void take_wishes(struct peers *peers, struct wishes *w, bool last)
{
    MUTEX_GUARD(&peers->lock);
    peers->ended = last;
    *w = (struct wishes){.asks = peers->asks,
                         .replies = peers->replies,
                         .dials = peers->dials,
                         .members = peers->new_members,
                         .n_members = peers->n_new_members,
                         .members_changed = peers->members_changed,
                         .closing = peers->closing};
    peers->asks = NULL;
    peers->last_ask = &peers->asks;
    peers->replies = NULL;
    peers->dials = NULL;
    peers->new_members = NULL;
    peers->members_changed = false;
}

static void end(struct peers *peers)
{
    peers->ending = true;
    while (peers->links)
        peer_link_close(peers->links, NULL);
    request_end(peers);
    uv_close((uv_handle_t *)&peers->wake, NULL);
    uv_close((uv_handle_t *)&peers->timer, NULL);
    uv_close((uv_handle_t *)&peers->flush, NULL);
    uv_close((uv_handle_t *)&peers->listener, NULL);
}

static void start_requests(struct peers *peers, struct wishes *w)
{
    while (w->replies) {
        struct reply *next = w->replies->next;

        request_reply(w->replies);
        w->replies = next;
    }
    while (w->asks) {
        struct ask *next = w->asks->next;

        request_start(peers, w->asks);
        w->asks = next;
    }
}

static void on_wake(uv_async_t *wake)
{
    struct peers *peers = wake->data;
    struct wishes w;

    take_wishes(peers, &w, false);
    if (w.members_changed)
        take_members(peers, w.members, w.n_members);
    else if (take_fingerprints(peers))
        check_links(peers);
    start_requests(peers, &w);
    while (w.dials) {
        struct dial *next = w.dials->next;

        pipe_dial(peers, w.dials);
        w.dials = next;
    }
    if (w.closing && !peers->ending)
        end(peers);
}

/* Everything that was sent in one turn goes to TCP together. */
static void on_flush(uv_prepare_t *prepare)
{
    struct peers *peers = prepare->data;

    while (peers->unsent)
        link_flush(peers->unsent);
}

static void on_connection(uv_stream_t *listener, int status)
{
    if (status == 0)
        link_accept(listener->data);
}

/* Wishes that came after the loop was told to end. */
static void drop_wishes(struct peers *peers)
{
    struct wishes w;

    take_wishes(peers, &w, true);
    free(w.members);
    start_requests(peers, &w);
    while (w.dials) {
        struct dial *next = w.dials->next;

        free(w.dials);
        w.dials = next;
    }
}

static void *run(void *arg)
{
    struct peers *peers = arg;

    uv_run(&peers->loop, UV_RUN_DEFAULT);
    drop_wishes(peers);
    if (uv_loop_close(&peers->loop) != 0)
        log_error("the loop of the peers was left with handles");
    return NULL;
}

/* Opening and closing. */

static int bind_to(struct peers *peers, const char *host, int port)
{
    struct sockaddr_storage ss;
    int rc;

    if (uv_ip4_addr(host, port, (struct sockaddr_in *)&ss) != 0) {
        rc = uv_ip6_addr(host, port, (struct sockaddr_in6 *)&ss);
        if (rc)
            return rc;
    }
    rc = uv_tcp_bind(&peers->listener, (struct sockaddr *)&ss, 0);
    return rc ? rc : uv_listen((uv_stream_t *)&peers->listener, 64, on_connection);
}

static int bound_port(struct peers *peers)
{
    struct sockaddr_storage ss;
    int len = sizeof ss;

    if (uv_tcp_getsockname(&peers->listener, (struct sockaddr *)&ss, &len) != 0)
        return 0;
    return ntohs(ss.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&ss)->sin6_port
                                          : ((struct sockaddr_in *)&ss)->sin_port);
}

static void init_listener(struct peers *peers)
{
    uv_tcp_init(&peers->loop, &peers->listener);
    peers->listener.data = peers;
}

/* Without IPv6 "::" cannot be had. */
static int start_listening(struct peers *peers, const struct peers_options *options)
{
    const char *host = options->listen_address ? options->listen_address : "::";
    int rc;

    init_listener(peers);
    rc = bind_to(peers, host, options->port);
    if (rc && !options->listen_address && rc != UV_EADDRINUSE) {
        uv_close((uv_handle_t *)&peers->listener, NULL);
        uv_run(&peers->loop, UV_RUN_NOWAIT);
        init_listener(peers);
        rc = bind_to(peers, "0.0.0.0", options->port);
    }
    peers->port = rc ? 0 : bound_port(peers);
    return rc;
}

static void init_loop(struct peers *peers)
{
    if (uv_loop_init(&peers->loop) != 0)
        abort();
    uv_async_init(&peers->loop, &peers->wake, on_wake);
    peers->wake.data = peers;
    uv_timer_init(&peers->loop, &peers->timer);
    peers->timer.data = peers;
    uv_prepare_init(&peers->loop, &peers->flush);
    peers->flush.data = peers;
    uv_prepare_start(&peers->flush, on_flush);
}

/* From now on; takes over the context. */
static void show(struct peers *peers, SSL_CTX *ctx, const char *fingerprint)
{
    struct identity_shown *shown = xmalloc(sizeof *shown);

    snprintf(shown->fingerprint, sizeof shown->fingerprint, "%s", fingerprint);
    link_set_up(ctx);
    MUTEX_GUARD(&peers->lock);
    SSL_CTX_free(peers->ctx); /* connections hold it as long as they need it */
    peers->ctx = ctx;
    shown->before = peers->shown;
    __atomic_store_n(&peers->shown, shown, __ATOMIC_RELEASE);
}

SSL *peers_tls(struct peers *peers)
{
    MUTEX_GUARD(&peers->lock);
    return SSL_new(peers->ctx);
}

static struct error *open_parts(struct arena *arena, const struct peers_options *options,
                                struct peers *peers)
{
    char fingerprint[PEER_FINGERPRINT_SIZE];
    SSL_CTX *ctx;
    int rc;

    TRY(identity_open(arena, options->dir, &ctx, fingerprint));
    show(peers, ctx, fingerprint);
    init_loop(peers);
    rc = start_listening(peers, options);
    if (rc == 0)
        return OK;
    end(peers);
    uv_run(&peers->loop, UV_RUN_DEFAULT);
    uv_loop_close(&peers->loop);
    return error_internal(arena, "other hosts cannot be listened to on %s port %d: %s",
                          options->listen_address ? options->listen_address : "any address",
                          options->port, uv_strerror(rc));
}

struct error *peers_open(struct arena *arena, const struct peers_options *options,
                         struct peers **out)
{
    struct peers *peers = xcalloc(1, sizeof *peers);
    struct error *e;

    *out = NULL;
    peers->refs = 1;
    peers->dir = xstrdup(options->dir);
    peers->silence = options->silence ? options->silence : SILENCE;
    peers->last_ask = &peers->asks;
    peers->known = xcalloc(PEERS_MAX_MEMBERS, sizeof *peers->known);
    mutex_init(&peers->lock);
    mutex_init(&peers->serving);
    mutex_init(&peers->renewing);
    e = open_parts(arena, options, peers);
    if (e) {
        peers_unref(peers);
        return e;
    }
    thread_start(&peers->thread, "peers", run, peers);
    *out = peers;
    return OK;
}

void peers_close(struct peers *peers)
{
    if (!peers)
        return;
    mutex_lock(&peers->lock);
    peers->closing = true;
    uv_async_send(&peers->wake);
    mutex_unlock(&peers->lock);
    thread_join(&peers->thread);
    peers_unref(peers);
}

const char *peers_fingerprint(const struct peers *peers)
{
    return __atomic_load_n(&peers->shown, __ATOMIC_ACQUIRE)->fingerprint;
}

struct error *peers_renew(struct arena *arena, struct peers *peers)
{
    char fingerprint[PEER_FINGERPRINT_SIZE];
    SSL_CTX *ctx;

    MUTEX_GUARD(&peers->renewing);
    TRY(identity_renew(arena, peers->dir, &ctx, fingerprint));
    show(peers, ctx, fingerprint);
    return OK;
}

int peers_port(const struct peers *peers)
{
    return peers->port;
}

void peers_set_id(struct peers *peers, uint64_t id)
{
    MUTEX_GUARD(&peers->lock);
    peers->id = id;
}
