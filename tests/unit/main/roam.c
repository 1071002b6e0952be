/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * roam.c -- sessions on two members, and the comparison of their databases: real links, real
 * databases, and a log that the test carries from one to the other.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <signal.h>

#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "pool/peer/peer.h"
#include "xapid/auth/session.h"
#include "xapid/db/ready.h"
#include "xapid/db/row.h"
#include "xapid/main/members.h"
#include "xapid/main/roam.h"
#include "xapid/main/xapid.h"
#include "xapid/worker/workers.h"

#define PATIENCE (20 * USEC_PER_SEC)
#define STEP (5 * USEC_PER_MSEC)
#define MAX_ENTRIES 64

struct entry {
    size_t size;
    char *data;
};

/* What both members' logs share. */
struct shared {
    struct mutex lock;
    size_t n;
    struct entry entries[MAX_ENTRIES];
    struct log_member members[2];
};

struct half {
    struct log log; /* first */
    struct log_fsm fsm;
    struct shared *shared;
    uint64_t id;
    size_t applied; /* under the lock */
    struct arena arena;
    char dir[64];
    struct xapid x;
};

/*** the log ***/

/* Applies what came since, up to n entries; with the lock held. */
static struct log_result apply(struct half *h, size_t n)
{
    struct log_result result = {.outcome = LOG_UNKNOWN};
    struct arena arena = {0};

    while (h->applied < n) {
        const struct entry *e = &h->shared->entries[h->applied++];

        h->fsm.apply(h->fsm.ctx, &arena, h->applied, e->data, e->size, &result);
        h->fsm.publish(h->fsm.ctx, h->applied);
    }
    result.error = NULL;
    arena_release(&arena);
    return result;
}

/* The proposer applies it at once; the other one when the test says so. */
static void half_propose(struct log *log, struct log_proposal *p)
{
    struct half *h = (struct half *)log;
    struct shared *s = h->shared;
    struct log_result result;

    mutex_lock(&s->lock);
    assert_true(s->n < MAX_ENTRIES);
    s->entries[s->n].data = memcpy(xmalloc(p->size), p->data, p->size);
    s->entries[s->n++].size = p->size;
    result = apply(h, s->n);
    mutex_unlock(&s->lock);
    p->done(p, &result);
}

static void half_status(struct log *log, struct log_status *out)
{
    struct half *h = (struct half *)log;

    *out = (struct log_status){
        .id = h->id, .leader = 1, .led_at = clock_mono(), .last_index = h->fsm.applied_index};
}

static void half_close(struct log *log)
{
    (void)log;
}

static void half_change(struct log *log, struct log_change *change)
{
    (void)log;
    change->done(change, NULL);
}

static void half_members(struct log *log, struct arena *arena, size_t *n, struct log_member **out)
{
    struct half *h = (struct half *)log;

    *n = 2;
    *out = arena_memdup(arena, h->shared->members, sizeof h->shared->members);
}

static const struct log_engine half_engine = {
    .propose = half_propose,
    .status = half_status,
    .close = half_close,
    .change = half_change,
    .members = half_members,
};

static struct error *open_half(void *ctx, struct arena *arena, const char *dir,
                               const struct log_fsm *fsm, struct log **out)
{
    struct half *h = ctx;

    (void)arena;
    (void)dir;
    h->log.engine = &half_engine;
    h->fsm = *fsm;
    *out = &h->log;
    return OK;
}

static void carry_all(struct half *h)
{
    MUTEX_GUARD(&h->shared->lock);
    apply(h, h->shared->n);
}

/*** two members ***/

struct pair {
    struct shared shared;
    struct half a, b;
};

static void must(struct half *h, struct error *e)
{
    if (e)
        fail_msg("%s", error_line(&h->arena, e));
}

static void half_links(struct half *h, struct shared *shared, uint64_t id)
{
    h->shared = shared;
    h->id = id;
    strcpy(h->dir, "/tmp/xapid-roam-XXXXXX");
    assert_non_null(mkdtemp(h->dir));
    h->x.options.state_dir = h->dir;
    h->x.options.pool_address = "127.0.0.1:0";
    h->x.options.listen_address = "127.0.0.1";
    must(h, members_new(&h->arena, &h->x, &h->x.members));
    peers_set_id(h->x.peers, id);
    shared->members[id - 1] =
        (struct log_member){id, LOG_VOTER,
                            arena_printf(&h->arena, "127.0.0.1:%d/%s", peers_port(h->x.peers),
                                         peers_fingerprint(h->x.peers))};
}

static void half_start(struct half *h)
{
    struct db_options options = {.open_log = open_half, .ctx = h};

    options.dir = arena_printf(&h->arena, "%s/db", h->dir);
    must(h, db_open(&h->arena, &options, &h->x.db));
    h->fsm.leader(h->fsm.ctx, 1, 1, h->id == 1);
    h->x.workers = workers_new(8);
    h->x.sessions = sessions_new(&h->x);
    members_start(h->x.members);
    h->x.roam = roam_new(&h->x);
}

static void half_stop(struct half *h)
{
    if (!h->x.db)
        return;
    members_stop(h->x.members);
    roam_stop(h->x.roam);
    workers_free(h->x.workers);
    roam_free(h->x.roam);
    sessions_free(h->x.sessions);
    db_close(h->x.db);
    members_free(h->x.members);
    h->x.db = NULL;
}

static void half_clear(struct half *h)
{
    char command[96];

    half_stop(h);
    snprintf(command, sizeof command, "rm -rf '%s'", h->dir);
    assert_int_equal(system(command), 0);
    arena_release(&h->arena);
}

static void wait_for_link(struct half *h, uint64_t id)
{
    usec_t end = clock_mono() + PATIENCE;

    while (!peer_heard(h->x.peers, id)) {
        assert_true(clock_mono() < end);
        clock_sleep(STEP);
    }
}

static int setup(void **state)
{
    struct pair *p = xcalloc(1, sizeof *p);

    mutex_init(&p->shared.lock);
    half_links(&p->a, &p->shared, 1);
    half_links(&p->b, &p->shared, 2);
    half_start(&p->a);
    half_start(&p->b);
    wait_for_link(&p->a, 2);
    wait_for_link(&p->b, 1);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct pair *p = *state;

    half_clear(&p->a);
    half_clear(&p->b);
    for (size_t i = 0; i < p->shared.n; i++)
        free(p->shared.entries[i].data);
    mutex_release(&p->shared.lock);
    free(p);
    return 0;
}

static struct call call_on(struct half *h)
{
    struct call call = {.arena = &h->arena, .xapid = &h->x};

    call.snap = db_snapshot(h->x.db);
    return call;
}

/* The revision afterwards. */
static uint64_t write_on(struct half *h, const char *name)
{
    struct call call = call_on(h);
    struct network row;
    uint64_t revision;

    row_defaults(&api_classes[CLASS_network], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(arena_alloc(&h->arena, UUID_TEXT_SIZE));
    row.name_label = name;
    must(h, db_update(&call, db_create_txn, &(struct db_create){CLASS_network, &row}));
    revision = snap_root(call.snap)->revision;
    call_let_go(&call);
    return revision;
}

static uint64_t revision_of(struct half *h)
{
    struct db_snap *snap = db_snapshot(h->x.db);
    uint64_t revision = snap_root(snap)->revision;

    db_snap_unref(snap);
    return revision;
}

static ref_t log_in(struct half *h, bool announce)
{
    ref_t ref = session_create(h->x.sessions, &(struct session_request){.role = ROLE_POOL_OPERATOR,
                                                                        .user = "alice",
                                                                        .originator = "test",
                                                                        .client = "192.0.2.1"});

    if (announce)
        session_announce(h->x.sessions, ref);
    return ref;
}

static bool knows(struct half *h, ref_t ref)
{
    return session_taken(h->x.sessions, ref, &(uint64_t){0});
}

static void wait_until_known(struct half *h, ref_t ref, bool known)
{
    usec_t end = clock_mono() + PATIENCE;

    while (knows(h, ref) != known) {
        assert_true(clock_mono() < end);
        clock_sleep(STEP);
    }
}

static void saw(struct half *h, ref_t ref, uint64_t revision)
{
    const struct auth_session *s = session_find(h->x.sessions, ref);

    session_saw(s, revision);
    session_unref(s);
}

/*** sessions ***/

static void a_login_and_its_end_are_told(void **state)
{
    struct pair *p = *state;
    ref_t ref = log_in(&p->a, true);
    const struct auth_session *s;

    wait_until_known(&p->b, ref, true);
    s = session_find(p->b.x.sessions, ref);
    assert_string_equal(s->user, "alice");
    assert_int_equal(s->role, ROLE_POOL_OPERATOR);
    session_unref(s);
    assert_true(session_destroy(p->a.x.sessions, ref));
    wait_until_known(&p->b, ref, false);
    assert_false(session_is_elsewhere(p->b.x.sessions, ref)); /* nobody is asked */
}

static void a_session_whose_announcement_was_lost_is_found(void **state)
{
    struct pair *p = *state;
    ref_t ref = log_in(&p->a, false);

    assert_true(session_is_elsewhere(p->b.x.sessions, ref));
    must(&p->b, session_bring(p->b.x.sessions, &p->b.arena, ref));
    assert_true(knows(&p->b, ref));
    assert_false(session_is_elsewhere(p->b.x.sessions, ref));
    assert_true(session_is_elsewhere(p->a.x.sessions, ref));
    assert_int_equal(p->shared.n, 1); /* b does not know that it never showed it anything */
}

static void one_that_nobody_knows_is_asked_for_once(void **state)
{
    struct pair *p = *state;
    ref_t ref = ref_new();

    must(&p->b, session_bring(p->b.x.sessions, &p->b.arena, ref));
    assert_false(knows(&p->b, ref));
    assert_false(session_is_elsewhere(p->b.x.sessions, ref));
}

static void the_end_is_found_where_its_telling_was_lost(void **state)
{
    struct pair *p = *state;
    ref_t ref = log_in(&p->a, true);

    wait_until_known(&p->b, ref, true);
    session_end_here(p->a.x.sessions, ref); /* tells nobody */
    must(&p->b, session_bring(p->b.x.sessions, &p->b.arena, ref));
    assert_false(knows(&p->b, ref));
}

struct carrying {
    struct half *h;
    usec_t at;
};

static void *carry_later(void *arg)
{
    struct carrying *c = arg;

    clock_sleep(300 * USEC_PER_MSEC); /* so that the other one waits, or nothing is tested */
    c->at = clock_mono();
    carry_all(c->h);
    return NULL;
}

static void what_it_has_seen_is_waited_for(void **state)
{
    struct pair *p = *state;
    ref_t ref = log_in(&p->a, true);
    struct carrying c = {.h = &p->b};
    struct thread thread;
    uint64_t revision;

    wait_until_known(&p->b, ref, true);
    write_on(&p->a, "one");
    revision = write_on(&p->a, "two");
    saw(&p->a, ref, revision);
    assert_int_equal(revision_of(&p->b), 0);
    thread_start(&thread, "carry", carry_later, &c);
    must(&p->b, session_bring(p->b.x.sessions, &p->b.arena, ref));
    assert_true(revision_of(&p->b) >= revision);
    thread_join(&thread);
    assert_true(c.at > 0);
    assert_false(session_is_elsewhere(p->b.x.sessions, ref));
}

/* Back and forth: each sees what the other one has shown. */
static void it_may_move_again_and_again(void **state)
{
    struct pair *p = *state;
    ref_t ref = log_in(&p->a, true);

    wait_until_known(&p->b, ref, true);
    for (int i = 0; i < 10; i++) {
        struct half *from = i % 2 ? &p->b : &p->a, *to = i % 2 ? &p->a : &p->b;
        uint64_t revision = write_on(from, "x");

        saw(from, ref, revision);
        carry_all(to);
        assert_true(session_is_elsewhere(to->x.sessions, ref));
        must(to, session_bring(to->x.sessions, &to->arena, ref));
        assert_false(session_is_elsewhere(to->x.sessions, ref));
        assert_true(session_is_elsewhere(from->x.sessions, ref));
        assert_true(revision_of(to) >= revision);
    }
    /* The first time b did not know whether it had forgotten something; after that only the writes
     * went through the log. */
    assert_int_equal(p->shared.n, 11);
}

/* Nobody can say what the session has seen there, so everything acknowledged is waited for. */
static void without_an_answer_an_empty_change_takes_its_place(void **state)
{
    struct pair *p = *state;
    ref_t ref = log_in(&p->a, true);
    uint64_t revision;

    wait_until_known(&p->b, ref, true);
    revision = write_on(&p->a, "one");
    saw(&p->a, ref, revision);
    half_stop(&p->a);
    must(&p->b, session_bring(p->b.x.sessions, &p->b.arena, ref));
    assert_true(revision_of(&p->b) > revision);
    assert_false(session_is_elsewhere(p->b.x.sessions, ref));
}

/* It answers that it does not know the session, or what it was told of it later. */
static void who_has_forgotten_it_may_have_shown_more(void **state)
{
    struct pair *p = *state;
    ref_t ref = log_in(&p->b, true);
    uint64_t revision;

    wait_until_known(&p->a, ref, true);
    must(&p->a, session_bring(p->a.x.sessions, &p->a.arena, ref));
    for (int i = 0; i < 2; i++) {
        carry_all(&p->b);
        revision = write_on(&p->a, "one");
        saw(&p->a, ref, revision);
        sessions_end_idle(p->a.x.sessions, -USEC_PER_SEC); /* tells nobody */
        if (i)
            roam_recall(p->a.x.roam);
        assert_int_equal(knows(&p->a, ref), i);
        assert_true(revision_of(&p->b) < revision);
        must(&p->b, session_bring(p->b.x.sessions, &p->b.arena, ref));
        assert_true(revision_of(&p->b) >= revision);
        wait_until_known(&p->a, ref, true);
        carry_all(&p->a);
        must(&p->a, session_bring(p->a.x.sessions, &p->a.arena, ref));
    }
}

/*** digests ***/

static void equal_databases_go_on(void **state)
{
    struct pair *p = *state;

    write_on(&p->a, "one");
    carry_all(&p->b);
    /* Two rounds: of what must not happen there is nothing else to be seen. */
    clock_sleep(2 * USEC_PER_SEC);
    write_on(&p->b, "two"); /* fails the test if it cannot be made */
}

/* The same revision, another content: one bit of what b applies is not what a applied. */
static void one_that_differs_stops(void **state)
{
    struct pair *p = *state;
    usec_t end = clock_mono() + PATIENCE;
    struct error *e = NULL;
    struct entry *entry;
    char *name;

    write_on(&p->a, "orange");
    mutex_lock(&p->shared.lock);
    entry = &p->shared.entries[0];
    name = memmem(entry->data, entry->size, "orange", 6);
    assert_non_null(name);
    name[0] = 'O';
    apply(&p->b, 1);
    mutex_unlock(&p->shared.lock);
    while (!e) {
        struct call call = call_on(&p->b);

        assert_true(clock_mono() < end);
        e = db_update(&call, db_destroy_txn, &(struct db_destroy){CLASS_network, ref_new()});
        if (error_is(e, "HANDLE_INVALID"))
            e = NULL;
        call_let_go(&call);
        clock_sleep(STEP);
    }
    assert_non_null(strstr(e->params[0], "differs from that of the pool's coordinator"));
    write_on(&p->a, "goes on");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(a_login_and_its_end_are_told),
        TEST(a_session_whose_announcement_was_lost_is_found),
        TEST(one_that_nobody_knows_is_asked_for_once),
        TEST(the_end_is_found_where_its_telling_was_lost),
        TEST(what_it_has_seen_is_waited_for),
        TEST(it_may_move_again_and_again),
        TEST(without_an_answer_an_empty_change_takes_its_place),
        TEST(who_has_forgotten_it_may_have_shown_more),
        TEST(equal_databases_go_on),
        TEST(one_that_differs_stops),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
