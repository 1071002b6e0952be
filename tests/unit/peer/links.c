/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tests of the links between daemons: several in one process over the loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "pool/peer/peer.h"

#define SOON (20 * USEC_PER_SEC)

struct node {
    char dir[64];
    struct peers *peers;
    char *address;
    uint64_t id;
};

static void node_open(struct node *n, uint64_t id, int port, usec_t silence)
{
    struct peers_options options = {
        .dir = n->dir, .listen_address = "127.0.0.1", .port = port, .silence = silence};
    struct arena arena = {0};
    struct error *e;

    if (!n->dir[0]) {
        snprintf(n->dir, sizeof n->dir, "/tmp/xapid-peer-XXXXXX");
        assert_non_null(mkdtemp(n->dir));
    }
    e = peers_open(&arena, &options, &n->peers);
    if (e)
        fail_msg("%s", error_line(&arena, e));
    arena_release(&arena);
    n->id = id;
    peers_set_id(n->peers, id);
    free(n->address);
    n->address = xasprintf("127.0.0.1:%d/%s", peers_port(n->peers), peers_fingerprint(n->peers));
}

static void node_close(struct node *n)
{
    peers_close(n->peers);
    n->peers = NULL;
}

static void node_end(struct node *n)
{
    char *file = xasprintf("%s/peer.pem", n->dir);

    if (n->peers)
        node_close(n);
    unlink(file);
    rmdir(n->dir);
    free(file);
    free(n->address);
}

static void allow(struct node *n, const struct node *a, const struct node *b)
{
    const struct peer members[] = {{a->id, a->address}, {b ? b->id : 0, b ? b->address : ""}};

    peers_allow(n->peers, b ? 2 : 1, members);
}

/* A question one can wait for. */
struct question {
    struct mutex lock;
    struct cond changed;
    bool over;
    enum peer_outcome outcome;
    struct buf answer;
};

static void on_answer(void *ctx, enum peer_outcome outcome, const void *data, size_t size)
{
    struct question *q = ctx;

    MUTEX_GUARD(&q->lock);
    assert_false(q->over);
    q->outcome = outcome;
    buf_add(&q->answer, data, size);
    q->over = true;
    cond_signal(&q->changed);
}

static void ask_begin(struct question *q, struct node *from, uint64_t to, enum peer_kind kind,
                      const void *data, size_t size, usec_t within)
{
    memset(q, 0, sizeof *q);
    mutex_init(&q->lock);
    cond_init(&q->changed);
    peer_ask(from->peers, to, kind, data, size, within, on_answer, q);
}

static void ask_wait(struct question *q)
{
    usec_t deadline = clock_mono() + SOON;

    MUTEX_GUARD(&q->lock);
    while (!q->over)
        assert_true(cond_wait_until(&q->changed, &q->lock, deadline));
}

static enum peer_outcome ask_end(struct question *q)
{
    ask_wait(q);
    buf_release(&q->answer);
    return q->outcome;
}

static enum peer_outcome ask(struct node *from, uint64_t to, enum peer_kind kind)
{
    struct question q;

    ask_begin(&q, from, to, kind, "x", 1, SOON);
    return ask_end(&q);
}

static void echo(void *ctx, struct peer_request *request)
{
    uint64_t *from = ctx;

    if (from)
        *from = request->from;
    peer_answer(request, request->data, request->size);
}

static void keep(void *ctx, struct peer_request *request)
{
    __atomic_store_n((struct peer_request **)ctx, request, __ATOMIC_RELEASE);
}

/* Asks until the outcome is as wished: the list of members takes effect a little later. */
static void ask_until(struct node *from, uint64_t to, enum peer_kind kind, enum peer_outcome wish)
{
    usec_t deadline = clock_mono() + SOON;

    while (ask(from, to, kind) != wish)
        assert_true(clock_mono() < deadline);
}

struct pair {
    struct node a, b;
};

static void pair_open(struct pair *p, usec_t silence)
{
    memset(p, 0, sizeof *p);
    node_open(&p->a, 1, 0, silence);
    node_open(&p->b, 2, 0, silence);
    allow(&p->a, &p->a, &p->b);
    allow(&p->b, &p->a, &p->b);
}

static void pair_end(struct pair *p)
{
    node_end(&p->a);
    node_end(&p->b);
}

static void the_identity_is_made_once_and_for_its_owner_only(void **state)
{
    struct node n = {0};
    char first[PEER_FINGERPRINT_SIZE], *file;
    struct stat st;

    (void)state;
    node_open(&n, 1, 0, 0);
    snprintf(first, sizeof first, "%s", peers_fingerprint(n.peers));
    assert_int_equal(strlen(first), 64);
    node_close(&n);
    file = xasprintf("%s/peer.pem", n.dir);
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    node_open(&n, 1, 0, 0);
    assert_string_equal(first, peers_fingerprint(n.peers));
    node_end(&n);
    free(file);
}

static void a_damaged_identity_is_refused_and_kept(void **state)
{
    struct node n = {0};
    struct peers_options options = {.dir = n.dir};
    struct arena arena = {0};
    struct error *e;
    char *file;

    (void)state;
    node_open(&n, 1, 0, 0);
    node_close(&n);
    file = xasprintf("%s/peer.pem", n.dir);
    assert_int_equal(truncate(file, 100), 0);
    e = peers_open(&arena, &options, &n.peers);
    assert_non_null(e);
    assert_non_null(strstr(e->params[0], "peer.pem"));
    assert_int_equal(access(file, F_OK), 0);
    arena_release(&arena);
    node_end(&n);
    free(file);
}

static void members_ask_and_answer_each_other(void **state)
{
    uint64_t from_a = 0, from_b = 0;
    struct question q;
    struct pair p;
    char *large = xcalloc(1, PEER_MESSAGE_MAX + 1);

    (void)state;
    pair_open(&p, 0);
    peers_serve(p.a.peers, PEER_DIGEST, echo, &from_b);
    peers_serve(p.b.peers, PEER_DIGEST, echo, &from_a);
    ask_until(&p.a, 2, PEER_DIGEST, PEER_ANSWERED);
    ask_until(&p.b, 1, PEER_DIGEST, PEER_ANSWERED);
    assert_int_equal(from_a, 1);
    assert_int_equal(from_b, 2);
    assert_true(peer_heard(p.a.peers, 2) > 0);
    memset(large, 'l', PEER_MESSAGE_MAX);
    ask_begin(&q, &p.a, 2, PEER_DIGEST, large, PEER_MESSAGE_MAX, SOON);
    ask_wait(&q);
    assert_int_equal(q.answer.len, PEER_MESSAGE_MAX);
    assert_memory_equal(q.answer.data, large, PEER_MESSAGE_MAX);
    ask_end(&q);
    ask_begin(&q, &p.a, 2, PEER_DIGEST, large, PEER_MESSAGE_MAX + 1, SOON);
    assert_int_equal(ask_end(&q), PEER_UNSENT);
    pair_end(&p);
    free(large);
}

static void what_nobody_serves_and_who_is_unknown_end_as_unsent(void **state)
{
    struct pair p;

    (void)state;
    pair_open(&p, 0);
    ask_until(&p.a, 2, PEER_PING, PEER_ANSWERED);
    assert_int_equal(ask(&p.a, 2, PEER_DIGEST), PEER_UNSENT);
    assert_int_equal(ask(&p.a, 3, PEER_PING), PEER_UNSENT);
    peers_serve(p.b.peers, PEER_DIGEST, echo, NULL);
    assert_int_equal(ask(&p.a, 2, PEER_DIGEST), PEER_ANSWERED);
    peers_serve(p.b.peers, PEER_DIGEST, NULL, NULL);
    assert_int_equal(ask(&p.a, 2, PEER_DIGEST), PEER_UNSENT);
    node_close(&p.b);
    ask_until(&p.a, 2, PEER_PING, PEER_UNSENT);
    pair_end(&p);
}

static void a_request_without_answer_ends_as_lost_when_its_time_is_over(void **state)
{
    struct peer_request *kept = NULL;
    struct question q;
    struct pair p;
    usec_t begin;

    (void)state;
    pair_open(&p, 0);
    peers_serve(p.b.peers, PEER_DIGEST, keep, &kept);
    ask_until(&p.a, 2, PEER_PING, PEER_ANSWERED);
    begin = clock_mono();
    ask_begin(&q, &p.a, 2, PEER_DIGEST, "x", 1, 200 * USEC_PER_MSEC);
    assert_int_equal(ask_end(&q), PEER_LOST);
    assert_true(clock_mono() - begin >= 200 * USEC_PER_MSEC);
    assert_non_null(__atomic_load_n(&kept, __ATOMIC_ACQUIRE));
    peer_answer(kept, "late", 4);
    assert_int_equal(ask(&p.a, 2, PEER_PING), PEER_ANSWERED);
    pair_end(&p);
}

static void a_request_is_lost_with_its_link_and_may_be_answered_into_the_void(void **state)
{
    struct peer_request *kept = NULL;
    struct question q;
    struct pair p;

    (void)state;
    pair_open(&p, 0);
    peers_serve(p.b.peers, PEER_DIGEST, keep, &kept);
    ask_until(&p.a, 2, PEER_PING, PEER_ANSWERED);
    ask_begin(&q, &p.a, 2, PEER_DIGEST, "x", 1, SOON);
    while (!__atomic_load_n(&kept, __ATOMIC_ACQUIRE))
        ;
    node_close(&p.b);
    assert_int_equal(ask_end(&q), PEER_LOST);
    peer_answer(kept, NULL, 0);
    pair_end(&p);
}

static void links_are_made_again_after_a_restart(void **state)
{
    struct pair p;
    int port;

    (void)state;
    pair_open(&p, 0);
    ask_until(&p.a, 2, PEER_PING, PEER_ANSWERED);
    port = peers_port(p.b.peers);
    node_close(&p.b);
    ask_until(&p.a, 2, PEER_PING, PEER_UNSENT);
    node_open(&p.b, 2, port, 0);
    allow(&p.b, &p.a, &p.b);
    ask_until(&p.a, 2, PEER_PING, PEER_ANSWERED);
    pair_end(&p);
}

/* A place that answers nobody, as one does that a network leads to no longer: it listens, and what
 * waits to be taken in is more than it has room for. */
struct silent_place {
    int listener, waiting[3];
    struct sockaddr_in address;
};

static void silent_place_open(struct silent_place *s)
{
    socklen_t len = sizeof s->address;

    *s = (struct silent_place){
        .listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
        .address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}}};
    assert_int_equal(bind(s->listener, (struct sockaddr *)&s->address, len), 0);
    assert_int_equal(listen(s->listener, 0), 0);
    assert_int_equal(getsockname(s->listener, (struct sockaddr *)&s->address, &len), 0);
    for (int i = 0; i < 3; i++) {
        s->waiting[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        connect(s->waiting[i], (struct sockaddr *)&s->address, len);
    }
}

static void silent_place_close(struct silent_place *s)
{
    for (int i = 0; i < 3; i++)
        close(s->waiting[i]);
    close(s->listener);
}

static bool is_one_that_waits(const struct silent_place *s, unsigned port)
{
    for (int i = 0; i < 3; i++) {
        struct sockaddr_in own;
        socklen_t len = sizeof own;

        if (getsockname(s->waiting[i], (struct sockaddr *)&own, &len) == 0 &&
            ntohs(own.sin_port) == port)
            return true;
    }
    return false;
}

/* The own port of who tries to connect there; 0: nobody does. */
static unsigned attempt_at(const struct silent_place *s)
{
    FILE *f = fopen("/proc/net/tcp", "re");
    unsigned own, there, state, found = 0;
    char line[256];

    assert_non_null(f);
    while (fgets(line, sizeof line, f))
        if (sscanf(line, " %*d: %*x:%x %*x:%x %x", &own, &there, &state) == 3 && state == 2 &&
            there == ntohs(s->address.sin_port) && !is_one_that_waits(s, own))
            found = own;
    fclose(f);
    return found;
}

/* Until there is another attempt than that one. */
static unsigned next_attempt(const struct silent_place *s, unsigned before)
{
    usec_t deadline = clock_mono() + SOON;
    unsigned port;

    while (!(port = attempt_at(s)) || port == before)
        assert_true(clock_mono() < deadline);
    return port;
}

/* Two nodes; the first looks for the other where nobody answers. */
static void pair_open_apart(struct pair *p, struct silent_place *s, usec_t silence)
{
    struct node apart = {.id = 2};

    memset(p, 0, sizeof *p);
    silent_place_open(s);
    node_open(&p->a, 1, 0, silence);
    node_open(&p->b, 2, 0, silence);
    apart.address =
        xasprintf("127.0.0.1:%d/%s", ntohs(s->address.sin_port), peers_fingerprint(p->b.peers));
    allow(&p->a, &p->a, &apart);
    allow(&p->b, &p->a, &p->b);
    free(apart.address);
}

static void an_attempt_to_connect_without_an_answer_is_given_up_for_another(void **state)
{
    struct silent_place place;
    struct question q;
    unsigned port;
    struct pair p;

    (void)state;
    pair_open_apart(&p, &place, 4 * USEC_PER_SEC);
    ask_begin(&q, &p.a, 2, PEER_PING, "x", 1, SOON);
    port = next_attempt(&place, 0);
    next_attempt(&place, port);
    mutex_lock(&q.lock);
    assert_false(q.over); /* the question goes on waiting */
    mutex_unlock(&q.lock);
    assert_int_equal(ask_end(&q), PEER_UNSENT);
    silent_place_close(&place);
    pair_end(&p);
}

static void who_has_just_reached_us_is_tried_again_at_once(void **state)
{
    struct silent_place place;
    struct question q;
    unsigned port;
    struct pair p;

    (void)state;
    pair_open_apart(&p, &place, 20 * SOON); /* too patient to try again otherwise */
    ask_begin(&q, &p.a, 2, PEER_PING, "x", 1, 2 * SOON);
    port = next_attempt(&place, 0);
    clock_sleep(100 * USEC_PER_MSEC); /* one that has just begun is not begun anew */
    ask_until(&p.b, 1, PEER_PING, PEER_ANSWERED);
    next_attempt(&place, port);
    node_close(&p.a);
    assert_int_equal(ask_end(&q), PEER_UNSENT);
    silent_place_close(&place);
    pair_end(&p);
}

static void a_stranger_is_refused_and_told_so(void **state)
{
    struct node stranger = {0};
    struct pair p;
    usec_t deadline = clock_mono() + SOON;

    (void)state;
    pair_open(&p, 0);
    node_open(&stranger, 3, 0, 0);
    allow(&stranger, &p.a, &p.b);
    while (!peer_refuses(stranger.peers, 1)) {
        assert_int_equal(ask(&stranger, 1, PEER_PING) == PEER_ANSWERED, 0);
        assert_true(clock_mono() < deadline);
    }
    allow(&p.a, &p.b, &stranger);
    ask_until(&stranger, 1, PEER_PING, PEER_ANSWERED);
    assert_false(peer_refuses(stranger.peers, 1));
    node_end(&stranger);
    pair_end(&p);
}

static void a_member_that_shows_another_certificate_is_refused(void **state)
{
    struct node other = {0}, impostor = {0};
    struct pair p;

    (void)state;
    pair_open(&p, 0);
    node_open(&other, 2, 0, 0);
    /* At the place of b, with the fingerprint of another. */
    impostor.id = 2;
    impostor.address =
        xasprintf("127.0.0.1:%d/%s", peers_port(p.b.peers), peers_fingerprint(other.peers));
    allow(&p.a, &impostor, NULL);
    for (int i = 0; i < 5; i++)
        assert_int_equal(ask(&p.a, 2, PEER_PING) == PEER_ANSWERED, 0);
    free(impostor.address);
    node_end(&other);
    pair_end(&p);
}

static void a_member_that_claims_another_s_id_is_refused(void **state)
{
    struct node third = {0};
    struct pair p;

    (void)state;
    pair_open(&p, 0);
    node_open(&third, 3, 0, 0);
    allow(&p.a, &p.b, &third);
    allow(&third, &p.a, NULL);
    ask_until(&third, 1, PEER_PING, PEER_ANSWERED);
    node_close(&third);
    node_open(&third, 2, 0, 0); /* the same certificate, b's id */
    allow(&third, &p.a, NULL);
    for (int i = 0; i < 5; i++)
        assert_int_equal(ask(&third, 1, PEER_PING) == PEER_ANSWERED, 0);
    node_end(&third);
    pair_end(&p);
}

static void a_member_that_has_another_number_now_is_known_by_both(void **state)
{
    struct node third = {0}, before = {.id = 3};
    struct pair p;

    (void)state;
    pair_open(&p, 0);
    node_open(&third, 3, 0, 0);
    before.address = xstrdup(third.address);
    node_close(&third);
    node_open(&third, 4, 0, 0); /* the same certificate */
    allow(&p.a, &before, &third);
    allow(&third, &p.a, NULL);
    ask_until(&third, 1, PEER_PING, PEER_ANSWERED);
    free(before.address);
    node_end(&third);
    pair_end(&p);
}

static char *pem_path(const struct node *n)
{
    return xasprintf("%s/peer.pem", n->dir);
}

static void renew(struct node *n)
{
    struct arena arena = {0};
    struct error *e = peers_renew(&arena, n->peers);

    if (e)
        fail_msg("%s", error_line(&arena, e));
    arena_release(&arena);
}

/* With the address it had before, which is what others know. */
static void restart(struct node *n)
{
    int port = peers_port(n->peers);
    char *address = xstrdup(n->address);

    node_close(n);
    node_open(n, n->id, port, 0);
    free(n->address);
    n->address = address;
}

static void who_knows_one_of_the_last_identities_follows_a_renewed_one(void **state)
{
    struct pair p;

    (void)state;
    pair_open(&p, 0);
    ask_until(&p.a, 2, PEER_PING, PEER_ANSWERED);
    for (int i = 0; i < 3; i++)
        renew(&p.a);
    assert_null(strstr(p.a.address, peers_fingerprint(p.a.peers)));
    /* New links on both sides, from what is in the files. */
    restart(&p.b);
    restart(&p.a);
    allow(&p.b, &p.a, NULL);
    allow(&p.a, &p.b, NULL);
    ask_until(&p.b, 1, PEER_PING, PEER_ANSWERED);
    ask_until(&p.a, 2, PEER_PING, PEER_ANSWERED);
    pair_end(&p);
}

static void who_was_told_of_a_renewed_identity_refuses_the_one_before(void **state)
{
    struct pair p;
    const char *now;
    char *pem, *old;

    (void)state;
    pair_open(&p, 0);
    pem = pem_path(&p.a);
    old = xasprintf("%s.old", pem);
    assert_int_equal(link(pem, old), 0);
    renew(&p.a);
    now = peers_fingerprint(p.a.peers);
    peers_renewed(p.b.peers, 1, &p.a.id, &now);
    allow(&p.b, &p.a, NULL);
    ask_until(&p.b, 1, PEER_PING, PEER_ANSWERED);
    ask_until(&p.a, 2, PEER_PING, PEER_ANSWERED);
    /* Somebody has the key of before. */
    assert_int_equal(rename(old, pem), 0);
    restart(&p.a);
    allow(&p.a, &p.b, NULL);
    for (int i = 0; i < 5; i++)
        assert_int_not_equal(ask(&p.a, 2, PEER_PING), PEER_ANSWERED);
    free(pem);
    free(old);
    pair_end(&p);
}

static void a_member_that_is_not_allowed_any_more_is_cut(void **state)
{
    struct peer_request *kept = NULL;
    struct question q;
    struct pair p;

    (void)state;
    pair_open(&p, 0);
    peers_serve(p.b.peers, PEER_DIGEST, keep, &kept);
    ask_until(&p.a, 2, PEER_PING, PEER_ANSWERED);
    ask_begin(&q, &p.a, 2, PEER_DIGEST, "x", 1, SOON);
    while (!__atomic_load_n(&kept, __ATOMIC_ACQUIRE))
        ;
    allow(&p.b, &p.b, NULL);
    assert_int_equal(ask_end(&q), PEER_LOST);
    peer_answer(kept, NULL, 0);
    for (int i = 0; i < 5; i++)
        assert_int_equal(ask(&p.a, 2, PEER_PING) == PEER_ANSWERED, 0);
    pair_end(&p);
}

/* Takes connections and says nothing. */
static int mute_listener(int *port)
{
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sin;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof sin), 0);
    assert_int_equal(listen(fd, 5), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
    *port = ntohs(sin.sin_port);
    return fd;
}

static void a_silent_member_is_given_up(void **state)
{
    struct node mute = {.id = 2};
    struct pair p;
    usec_t begin;
    int port, fd = mute_listener(&port);

    (void)state;
    pair_open(&p, 200 * USEC_PER_MSEC);
    mute.address = xasprintf("127.0.0.1:%d/%s", port, peers_fingerprint(p.b.peers));
    allow(&p.a, &mute, NULL);
    begin = clock_mono();
    while (ask(&p.a, 2, PEER_PING) != PEER_UNSENT) /* the first may still meet b */
        ;
    assert_true(clock_mono() - begin < 10 * USEC_PER_SEC);
    close(fd);
    free(mute.address);
    pair_end(&p);
}

static void idle_links_stay(void **state)
{
    struct peer_request *kept = NULL;
    struct question q;
    struct pair p;
    usec_t begin;

    (void)state;
    pair_open(&p, USEC_PER_SEC);
    peers_serve(p.b.peers, PEER_DIGEST, keep, &kept);
    ask_until(&p.a, 2, PEER_PING, PEER_ANSWERED);
    ask_begin(&q, &p.a, 2, PEER_DIGEST, "x", 1, SOON);
    while (!__atomic_load_n(&kept, __ATOMIC_ACQUIRE))
        ;
    /* Three times longer than silence is borne: only the pings keep it. */
    for (begin = clock_mono(); clock_mono() - begin < 3 * USEC_PER_SEC;)
        clock_sleep(10 * USEC_PER_MSEC);
    peer_answer(kept, "y", 1);
    assert_int_equal(ask_end(&q), PEER_ANSWERED);
    pair_end(&p);
}

/* Those that are not there make it a pool of many members. */
static void allow_many(struct node *n, const struct pair *p)
{
    struct peer members[12] = {{p->a.id, p->a.address}, {p->b.id, p->b.address}};
    char *others[ARRAY_SIZE(members)] = {0};

    for (size_t i = 2; i < ARRAY_SIZE(members); i++) {
        others[i] = xasprintf("127.0.0.1:1/%064zx", i);
        members[i] = (struct peer){i + 1, others[i]};
    }
    peers_allow(n->peers, ARRAY_SIZE(members), members);
    for (size_t i = 2; i < ARRAY_SIZE(members); i++)
        free(others[i]);
}

static void both_idle_links_of_one_of_many_members_stay(void **state)
{
    const usec_t silence = 250 * USEC_PER_MSEC;
    struct peer_request *kept[2] = {0};
    struct question q[2];
    struct pair p;
    usec_t begin;

    (void)state;
    pair_open(&p, silence);
    allow_many(&p.a, &p);
    allow_many(&p.b, &p);
    peers_serve(p.a.peers, PEER_DIGEST, keep, &kept[0]);
    peers_serve(p.b.peers, PEER_DIGEST, keep, &kept[1]);
    ask_until(&p.a, 2, PEER_PING, PEER_ANSWERED);
    ask_until(&p.b, 1, PEER_PING, PEER_ANSWERED);
    ask_begin(&q[0], &p.b, 1, PEER_DIGEST, "x", 1, SOON);
    ask_begin(&q[1], &p.a, 2, PEER_DIGEST, "x", 1, SOON);
    while (!__atomic_load_n(&kept[0], __ATOMIC_ACQUIRE) ||
           !__atomic_load_n(&kept[1], __ATOMIC_ACQUIRE))
        ;
    /* Longer than is borne, of many too. */
    for (begin = clock_mono(); clock_mono() - begin < 10 * silence;)
        clock_sleep(10 * USEC_PER_MSEC);
    for (int i = 0; i < 2; i++) {
        peer_answer(kept[i], "y", 1);
        assert_int_equal(ask_end(&q[i]), PEER_ANSWERED);
    }
    assert_true(peer_heard(p.a.peers, 2) > begin);
    pair_end(&p);
}

#define PAUSE (2 * USEC_PER_SEC)

/* The whole thread stands still, as where the process does. */
static void stand_still(void *ctx, struct peer_request *request)
{
    (void)ctx;
    clock_sleep(PAUSE);
    peer_answer(request, NULL, 0);
}

static void links_outlive_a_pause_of_this_process(void **state)
{
    struct peer_request *kept = NULL;
    struct question q;
    struct pair p;

    (void)state;
    memset(&p, 0, sizeof p);
    node_open(&p.a, 1, 0, PAUSE / 2);
    node_open(&p.b, 2, 0, 2 * PAUSE);
    allow(&p.a, &p.a, &p.b);
    allow(&p.b, &p.a, &p.b);
    peers_serve(p.a.peers, PEER_SESSION_NEW, stand_still, NULL);
    peers_serve(p.b.peers, PEER_DIGEST, keep, &kept);
    ask_until(&p.b, 1, PEER_PING, PEER_ANSWERED);
    ask_until(&p.a, 2, PEER_PING, PEER_ANSWERED);
    ask_begin(&q, &p.a, 2, PEER_DIGEST, "x", 1, SOON);
    while (!__atomic_load_n(&kept, __ATOMIC_ACQUIRE))
        ;
    assert_int_equal(ask(&p.b, 1, PEER_SESSION_NEW), PEER_ANSWERED);
    peer_answer(kept, "y", 1);
    assert_int_equal(ask_end(&q), PEER_ANSWERED);
    pair_end(&p);
}

static void noise_from_strangers_does_no_harm(void **state)
{
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char noise[3000];
    struct pair p;

    (void)state;
    pair_open(&p, 0);
    sin.sin_port = htons((uint16_t)peers_port(p.a.peers));
    for (int i = 0; i < 100; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_int_equal(connect(fd, (struct sockaddr *)&sin, sizeof sin), 0);
        random_bytes(noise, sizeof noise);
        if (i % 2)
            noise[0] = 0x16; /* as TLS begins */
        if (write(fd, noise, sizeof noise) < 0)
            assert_true(true);
        close(fd);
    }
    ask_until(&p.b, 1, PEER_PING, PEER_ANSWERED);
    pair_end(&p);
}

static void one_who_is_to_join_trusts_a_certificate_alone(void **state)
{
    struct pair p;
    struct node trust = {.id = 0};

    (void)state;
    pair_open(&p, 0);
    trust.address = (char *)peers_fingerprint(p.a.peers);
    allow(&p.b, &trust, NULL);
    ask_until(&p.a, 2, PEER_PING, PEER_ANSWERED);
    pair_end(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_identity_is_made_once_and_for_its_owner_only),
        cmocka_unit_test(a_damaged_identity_is_refused_and_kept),
        cmocka_unit_test(members_ask_and_answer_each_other),
        cmocka_unit_test(what_nobody_serves_and_who_is_unknown_end_as_unsent),
        cmocka_unit_test(a_request_without_answer_ends_as_lost_when_its_time_is_over),
        cmocka_unit_test(a_request_is_lost_with_its_link_and_may_be_answered_into_the_void),
        cmocka_unit_test(links_are_made_again_after_a_restart),
        cmocka_unit_test(an_attempt_to_connect_without_an_answer_is_given_up_for_another),
        cmocka_unit_test(who_has_just_reached_us_is_tried_again_at_once),
        cmocka_unit_test(a_stranger_is_refused_and_told_so),
        cmocka_unit_test(a_member_that_shows_another_certificate_is_refused),
        cmocka_unit_test(a_member_that_claims_another_s_id_is_refused),
        cmocka_unit_test(a_member_that_has_another_number_now_is_known_by_both),
        cmocka_unit_test(who_knows_one_of_the_last_identities_follows_a_renewed_one),
        cmocka_unit_test(who_was_told_of_a_renewed_identity_refuses_the_one_before),
        cmocka_unit_test(a_member_that_is_not_allowed_any_more_is_cut),
        cmocka_unit_test(a_silent_member_is_given_up),
        cmocka_unit_test(idle_links_stay),
        cmocka_unit_test(both_idle_links_of_one_of_many_members_stay),
        cmocka_unit_test(links_outlive_a_pause_of_this_process),
        cmocka_unit_test(noise_from_strangers_does_no_harm),
        cmocka_unit_test(one_who_is_to_join_trusts_a_certificate_alone),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
