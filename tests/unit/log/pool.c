/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tests of the log between several members: all in one process, over links on the loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/memory.h"
#include "pool/peer/peer.h"
#include "tests/unit/log/fsm.h"

#define MAX_HOSTS 5
#define SOON (40 * USEC_PER_SEC)

struct host {
    char *dir;
    int port;
    struct peers *peers;
    char *address;
    struct fsm *fsm;
    struct log *log;
    uint64_t id;
    bool joined;
};

struct pool {
    char *dir;
    size_t n;
    struct host hosts[MAX_HOSTS];
    struct log_raft_options options;
};

static void pause_a_little(void)
{
    clock_sleep(2 * USEC_PER_MSEC);
}

#define WAIT_FOR(condition)                                                                        \
    do {                                                                                           \
        usec_t deadline_ = clock_mono() + SOON;                                                    \
        while (!(condition)) {                                                                     \
            if (clock_mono() > deadline_)                                                          \
                fail_msg("never came: %s", #condition);                                            \
            pause_a_little();                                                                      \
        }                                                                                          \
    } while (0)

static struct log_status status_of(struct host *h)
{
    struct log_status s;

    log_status(h->log, &s);
    return s;
}

/* Hosts. */

static void open_peers(struct host *h)
{
    struct peers_options options = {
        .dir = h->dir, .listen_address = "127.0.0.1", .port = h->port, .silence = USEC_PER_SEC};
    struct arena arena = {0};
    struct error *e = peers_open(&arena, &options, &h->peers);

    if (e)
        fail_msg("%s", error_line(&arena, e));
    arena_release(&arena);
    h->port = peers_port(h->peers);
    free(h->address);
    h->address = xasprintf("127.0.0.1:%d/%s", h->port, peers_fingerprint(h->peers));
}

static void start_host(struct pool *p, struct host *h)
{
    struct log_raft_options options = p->options;
    char *dir = xasprintf("%s/log", h->dir);
    struct arena arena = {0};
    struct error *e;

    open_peers(h);
    options.peers = h->peers;
    options.address = h->address;
    options.joining = h->joined;
    h->fsm = fsm_new();
    h->fsm->once = true;
    e = log_raft_open(&arena, dir, &options, &h->fsm->log, &h->log);
    if (e)
        fail_msg("%s", error_line(&arena, e));
    arena_release(&arena);
    free(dir);
    WAIT_FOR(status_of(h).id != 0);
    h->id = status_of(h).id;
}

static void stop_host(struct host *h)
{
    log_close(h->log);
    peers_close(h->peers);
    fsm_free(h->fsm);
    h->log = NULL;
    h->peers = NULL;
    h->fsm = NULL;
}

static struct host *new_host(struct pool *p, bool joining)
{
    struct host *h = &p->hosts[p->n];

    h->dir = xasprintf("%s/%zu", p->dir, p->n++);
    mkdir(h->dir, 0700);
    h->joined = joining;
    start_host(p, h);
    return h;
}

/* Who may talk to whom; the log says the same when its members change. */
static void allow_only(struct host *h, struct host *const *others, size_t n)
{
    struct peer list[MAX_HOSTS];

    for (size_t i = 0; i < n; i++)
        list[i] = (struct peer){others[i]->id, others[i]->address};
    peers_allow(h->peers, n, list);
}

static void isolate(struct host *h)
{
    peers_allow(h->peers, 0, NULL);
}

static void heal(struct pool *p, struct host *h)
{
    struct host *all[MAX_HOSTS];

    for (size_t i = 0; i < p->n; i++)
        all[i] = &p->hosts[i];
    allow_only(h, all, p->n);
}

/* Changes. */

struct change {
    struct log_change change;
    struct mutex lock;
    struct cond over_cond;
    bool over;
    char why[256];
};

static void on_change(struct log_change *change, const struct error *e)
{
    struct change *c = container_of(change, struct change, change);

    MUTEX_GUARD(&c->lock);
    snprintf(c->why, sizeof c->why, "%s", e ? e->params[0] : "");
    c->over = true;
    cond_signal(&c->over_cond);
}

/* True if it succeeded; 'why' (may be NULL) is of 256 bytes. */
static bool change_once(struct host *h, struct log_change change, char *why)
{
    struct change c = {.change = change};

    c.change.done = on_change;
    mutex_init(&c.lock);
    cond_init(&c.over_cond);
    h->log->engine->change(h->log, &c.change);
    mutex_lock(&c.lock);
    while (!c.over)
        cond_wait(&c.over_cond, &c.lock);
    mutex_unlock(&c.lock);
    if (why)
        memcpy(why, c.why, sizeof c.why);
    return c.why[0] == '\0';
}

static struct host *leader_of(struct pool *p)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->hosts[i].log && status_of(&p->hosts[i]).leads)
            return &p->hosts[i];
    return NULL;
}

/* Waits for one: a machine that is busy with much else may lose the one there was at any time. */
static struct host *the_leader(struct pool *p)
{
    struct host *leader = NULL;

    WAIT_FOR((leader = leader_of(p)));
    return leader;
}

/* Asks whoever leads until it is done. */
static void change(struct pool *p, struct log_change wish)
{
    usec_t deadline = clock_mono() + SOON;
    char why[256] = "there is no leader";

    for (;;) {
        struct host *leader = leader_of(p);

        if (leader && change_once(leader, wish, why))
            return;
        if (clock_mono() > deadline)
            fail_msg("%s", why);
        pause_a_little();
    }
}

static void add_voter(struct pool *p, struct host *h)
{
    struct host *leader = the_leader(p);

    allow_only(h, &leader, 1);
    change(p, (struct log_change){.what = LOG_ADD, .id = h->id, .address = h->address});
    change(p, (struct log_change){.what = LOG_ASSIGN, .id = h->id, .role = LOG_STANDBY});
    change(p, (struct log_change){.what = LOG_ASSIGN, .id = h->id, .role = LOG_VOTER});
}

static void open_pool(struct pool *p, size_t n, const struct log_raft_options *options)
{
    memset(p, 0, sizeof *p);
    if (options)
        p->options = *options;
    p->dir = temp_dir();
    new_host(p, false);
    WAIT_FOR(leader_of(p));
    for (size_t i = 1; i < n; i++)
        add_voter(p, new_host(p, true));
}

static void close_pool(struct pool *p)
{
    for (size_t i = 0; i < p->n; i++) {
        if (p->hosts[i].log)
            stop_host(&p->hosts[i]);
        free(p->hosts[i].dir);
        free(p->hosts[i].address);
    }
    temp_dir_remove(p->dir);
}

/* What becomes of a write-set, which is asked for again, under the same id, where its leader was
 * lost meanwhile: a machine that is busy with much else may lose one at any time. */
static enum log_outcome outcome_of(struct host *h, uint64_t number, char kind, size_t size)
{
    usec_t deadline = clock_mono() + SOON;
    enum log_outcome outcome;

    while ((outcome = ask_once(h->log, 1, number, kind, size)) == LOG_UNKNOWN)
        if (clock_mono() > deadline)
            fail_msg("nobody can say what became of a write");
    return outcome;
}

/* Writes through a host until it is applied, as the database does: under the same id. */
static void write_until_applied(struct host *h, uint64_t origin, uint64_t number)
{
    usec_t deadline = clock_mono() + SOON;

    while (ask_once(h->log, origin, number, 'x', 100) != LOG_APPLIED)
        if (clock_mono() > deadline)
            fail_msg("a write never came through");
}

static bool has(struct host *h, uint64_t origin, uint64_t number)
{
    return fsm_has(h->fsm, origin, number);
}

static uint64_t digest_of(struct host *h)
{
    MUTEX_GUARD(&h->fsm->lock);
    return h->fsm->digest;
}

static bool was_told_to_lead(struct host *h)
{
    MUTEX_GUARD(&h->fsm->lock);
    return h->fsm->n_leads > 0;
}

static struct host *other_than(struct pool *p, const struct host *a, const struct host *b)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->hosts[i].log && &p->hosts[i] != a && &p->hosts[i] != b)
            return &p->hosts[i];
    return NULL;
}

static void same_everywhere(struct pool *p)
{
    for (size_t i = 1; i < p->n; i++) {
        WAIT_FOR(fsm_revision(p->hosts[i].fsm) == fsm_revision(p->hosts[0].fsm));
        assert_true(digest_of(&p->hosts[i]) == digest_of(&p->hosts[0]));
    }
}

/* The tests. */

static void writes_go_through_every_member(void **state)
{
    struct pool p;

    (void)state;
    open_pool(&p, 3, NULL);
    for (uint64_t i = 0; i < 60; i++)
        assert_int_equal(outcome_of(&p.hosts[i % 3], i, 'x', 100 + i * 11), LOG_APPLIED);
    for (size_t h = 0; h < 3; h++)
        for (uint64_t i = 0; i < 60; i++)
            WAIT_FOR(has(&p.hosts[h], 1, i));
    same_everywhere(&p);
    assert_int_equal(outcome_of(&p.hosts[1], 100, 'C', 100), LOG_CONFLICT);
    assert_int_equal(outcome_of(&p.hosts[2], 101, 'R', 100), LOG_REJECTED);
    assert_int_equal(outcome_of(&p.hosts[1], 102, 'x', LOG_MAX_WRITE_SET), LOG_APPLIED);
    assert_int_equal(outcome_of(&p.hosts[1], 103, 'x', LOG_MAX_WRITE_SET + 1), LOG_FAILED);
    close_pool(&p);
}

static void everybody_knows_the_members_and_the_leader(void **state)
{
    struct log_member *members;
    struct arena arena = {0};
    struct pool p;
    size_t n;

    (void)state;
    open_pool(&p, 3, NULL);
    for (size_t h = 0; h < 3; h++) {
        WAIT_FOR(status_of(&p.hosts[h]).leader == p.hosts[0].id);
        WAIT_FOR(status_of(&p.hosts[h]).writable);
        do {
            p.hosts[h].log->engine->members(p.hosts[h].log, &arena, &n, &members);
            pause_a_little();
        } while (n < 3 || members[2].role != LOG_VOTER);
        assert_int_equal(n, 3);
        for (size_t i = 0; i < 3; i++) {
            assert_int_equal(members[i].id, p.hosts[i].id);
            assert_string_equal(members[i].address, p.hosts[i].address);
        }
    }
    assert_true(p.hosts[0].fsm->leads);
    assert_false(p.hosts[1].fsm->leads);
    arena_release(&arena);
    close_pool(&p);
}

static void a_leader_that_is_cut_off_is_followed_by_another(void **state)
{
    struct host *old, *new;
    struct pool p;
    uint64_t i = 0;

    (void)state;
    open_pool(&p, 3, NULL);
    for (; i < 20; i++)
        write_until_applied(&p.hosts[i % 3], 1, i);
    old = the_leader(&p);
    isolate(old);
    WAIT_FOR(!status_of(old).leads);
    assert_false(old->fsm->leads);
    WAIT_FOR((new = leader_of(&p)));
    assert_true(was_told_to_lead(new));
    for (uint64_t k = 0; k < 20; k++)
        assert_true(has(new, 1, k)); /* before it says that it leads */
    for (; i < 40; i++)
        write_until_applied(other_than(&p, old, i % 2 ? new : NULL), 1, i);
    heal(&p, old);
    for (uint64_t k = 0; k < i; k++)
        WAIT_FOR(has(old, 1, k));
    write_until_applied(old, 1, i);
    same_everywhere(&p);
    close_pool(&p);
}

static void a_leader_that_is_stopped_hands_over_at_once(void **state)
{
    struct host *old;
    struct pool p;
    usec_t begin;

    (void)state;
    open_pool(&p, 3, &(struct log_raft_options){.election = 5 * USEC_PER_SEC});
    old = the_leader(&p);
    begin = clock_mono();
    stop_host(old);
    WAIT_FOR(leader_of(&p));
    assert_true(clock_mono() - begin < 4 * USEC_PER_SEC); /* sooner than by an election */
    write_until_applied(the_leader(&p), 1, 1);
    start_host(&p, old);
    WAIT_FOR(has(old, 1, 1));
    write_until_applied(old, 1, 2);
    same_everywhere(&p);
    close_pool(&p);
}

static void what_a_cut_off_leader_took_alone_is_taken_back(void **state)
{
    struct host *old;
    struct ask ask;
    struct pool p;

    (void)state;
    open_pool(&p, 3, NULL);
    write_until_applied(&p.hosts[0], 1, 1);
    old = the_leader(&p);
    isolate(old);
    ask_init(&ask, 1, 2, 'x', 100);
    log_propose(old->log, &ask.proposal);
    assert_int_not_equal(ask_wait(&ask), LOG_APPLIED);
    ask_release(&ask);
    assert_false(has(old, 1, 2));
    WAIT_FOR(leader_of(&p));
    for (uint64_t i = 3; i < 30; i++)
        write_until_applied(the_leader(&p), 1, i);
    heal(&p, old);
    for (uint64_t i = 3; i < 30; i++)
        WAIT_FOR(has(old, 1, i));
    same_everywhere(&p);
    /* The place where the lost entry was is another's now: a restart finds nothing wrong. */
    stop_host(old);
    start_host(&p, old);
    WAIT_FOR(has(old, 1, 29));
    write_until_applied(old, 1, 2); /* the same id again, and this time it counts */
    same_everywhere(&p);
    close_pool(&p);
}

static void without_a_majority_proposals_wait_and_then_fail(void **state)
{
    struct host *leader, *last;
    struct pool p;
    usec_t begin;

    (void)state;
    open_pool(&p, 3, &(struct log_raft_options){.answer_within = 2 * USEC_PER_SEC});
    leader = the_leader(&p);
    last = other_than(&p, leader, NULL);
    stop_host(other_than(&p, leader, last));
    stop_host(leader);
    WAIT_FOR(status_of(last).leader == 0);
    assert_false(status_of(last).writable);
    assert_non_null(status_of(last).failure);
    begin = clock_mono();
    assert_int_equal(ask_once(last->log, 1, 1, 'x', 100), LOG_FAILED);
    assert_true(clock_mono() - begin >= 2 * USEC_PER_SEC);
    close_pool(&p);
}

static void a_survivor_that_is_told_to_goes_on_alone_with_all_it_had(void **state)
{
    struct host *leader, *last;
    struct log_member *members;
    struct arena arena = {0};
    struct pool p;
    size_t n;

    (void)state;
    open_pool(&p, 3, NULL);
    leader = the_leader(&p);
    last = other_than(&p, leader, NULL);
    write_until_applied(leader, 1, 1);
    stop_host(other_than(&p, leader, last));
    write_until_applied(leader, 1, 2); /* acknowledged by the last one, perhaps not applied there */
    stop_host(leader);
    stop_host(last);
    p.options.force = true;
    for (uint64_t round = 0; round < 2; round++) { /* a crash may let it be told twice */
        start_host(&p, last);
        WAIT_FOR(status_of(last).leads);
        assert_true(fsm_has(last->fsm, 1, 1) && fsm_has(last->fsm, 1, 2));
        write_until_applied(last, 2, round);
        stop_host(last);
    }
    p.options.force = false;
    start_host(&p, last);
    WAIT_FOR(status_of(last).leads);
    assert_true(fsm_has(last->fsm, 2, 0) && fsm_has(last->fsm, 2, 1));
    last->log->engine->members(last->log, &arena, &n, &members);
    assert_int_equal(n, 1);
    assert_int_equal(members[0].id, last->id);
    assert_string_equal(members[0].address, last->address);
    arena_release(&arena);
    close_pool(&p);
}

static void a_proposal_waits_for_the_next_leader(void **state)
{
    struct host *leader, *waiting, *third;
    struct ask ask;
    struct pool p;

    (void)state;
    open_pool(&p, 3, NULL);
    leader = the_leader(&p);
    waiting = other_than(&p, leader, NULL);
    third = other_than(&p, leader, waiting);
    /* The last change of the members is over everywhere: it would allow all to talk again. */
    write_until_applied(waiting, 2, 1);
    same_everywhere(&p);
    isolate(leader);
    isolate(third);
    WAIT_FOR(status_of(waiting).leader == 0);
    ask_init(&ask, 1, 1, 'x', 100);
    log_propose(waiting->log, &ask.proposal);
    heal(&p, third);
    assert_int_equal(ask_wait(&ask), LOG_APPLIED);
    ask_release(&ask);
    close_pool(&p);
}

/* Nothing a member showed before it was stopped may be missing once it calls itself current. */
static void a_restarted_member_is_current_only_with_all_it_had_shown(void **state)
{
    struct pool p;

    (void)state;
    open_pool(&p, 3, NULL);
    for (uint64_t i = 0; i < 10; i++) {
        struct host *h = &p.hosts[i % 3];

        write_until_applied(h, 1, i);
        stop_host(h);
        write_until_applied(&p.hosts[(i + 1) % 3], 2, i);
        start_host(&p, h);
        assert_false(status_of(h).current && !has(h, 2, i));
        WAIT_FOR(status_of(h).current);
        for (uint64_t k = 0; k <= i; k++)
            assert_true(has(h, 1, k) && has(h, 2, k));
    }
    close_pool(&p);
}

static void a_follower_that_was_away_catches_up(void **state)
{
    struct host *away;
    struct pool p;

    (void)state;
    open_pool(&p, 3, NULL);
    away = other_than(&p, the_leader(&p), NULL);
    stop_host(away);
    for (uint64_t i = 0; i < 200; i++)
        write_until_applied(the_leader(&p), 1, i);
    start_host(&p, away);
    for (uint64_t i = 0; i < 200; i++)
        WAIT_FOR(has(away, 1, i));
    assert_int_equal(away->fsm->n_restores, 0);
    same_everywhere(&p);
    close_pool(&p);
}

static const struct log_raft_options small = {.snapshot_entries = 100, .trailing = 10};

static void a_new_member_catches_up_by_a_snapshot(void **state)
{
    struct host *new;
    struct pool p;

    (void)state;
    open_pool(&p, 2, &small);
    for (uint64_t i = 0; i < 500; i++)
        write_until_applied(&p.hosts[i % 2], 1, i);
    new = new_host(&p, true);
    /* Slower than any patience: its leader has to hear from it meanwhile. */
    new->fsm->restore_takes = 2 * USEC_PER_SEC;
    add_voter(&p, new);
    for (uint64_t i = 0; i < 500; i++)
        WAIT_FOR(has(new, 1, i));
    assert_true(new->fsm->n_restores > 0);
    write_until_applied(new, 1, 500);
    same_everywhere(&p);
    stop_host(new);
    start_host(&p, new);
    for (uint64_t i = 0; i <= 500; i++)
        WAIT_FOR(has(new, 1, i));
    same_everywhere(&p);
    close_pool(&p);
}

static void a_follower_far_behind_gets_a_snapshot_in_place_of_its_log(void **state)
{
    struct host *away;
    struct pool p;

    (void)state;
    open_pool(&p, 3, &small);
    for (uint64_t i = 0; i < 150; i++)
        write_until_applied(&p.hosts[i % 3], 1, i);
    away = other_than(&p, the_leader(&p), NULL);
    stop_host(away);
    for (uint64_t i = 150; i < 700; i++)
        write_until_applied(the_leader(&p), 1, i);
    start_host(&p, away);
    for (uint64_t i = 0; i < 700; i++)
        WAIT_FOR(has(away, 1, i));
    assert_true(away->fsm->n_restores > 0);
    write_until_applied(away, 1, 700);
    stop_host(away);
    start_host(&p, away);
    WAIT_FOR(has(away, 1, 700));
    same_everywhere(&p);
    close_pool(&p);
}

static void a_removed_member_says_so(void **state)
{
    struct host *gone;
    struct pool p;

    (void)state;
    open_pool(&p, 3, NULL);
    gone = other_than(&p, the_leader(&p), NULL);
    change(&p, (struct log_change){.what = LOG_REMOVE, .id = gone->id});
    WAIT_FOR(status_of(gone).failure && strstr(status_of(gone).failure, "not a member"));
    assert_int_equal(ask_once(gone->log, 1, 1, 'x', 100), LOG_FAILED);
    write_until_applied(the_leader(&p), 1, 2);
    assert_false(has(gone, 1, 2));
    stop_host(gone);
    start_host(&p, gone);
    WAIT_FOR(status_of(gone).failure && strstr(status_of(gone).failure, "not a member"));
    write_until_applied(the_leader(&p), 1, 3);
    close_pool(&p);
}

static void a_leader_can_be_removed(void **state)
{
    struct host *old;
    struct pool p;

    (void)state;
    open_pool(&p, 3, NULL);
    old = the_leader(&p);
    assert_true(change_once(old, (struct log_change){.what = LOG_REMOVE, .id = old->id}, NULL));
    WAIT_FOR(status_of(old).failure && strstr(status_of(old).failure, "not a member"));
    WAIT_FOR(leader_of(&p) && leader_of(&p) != old);
    write_until_applied(the_leader(&p), 1, 1);
    close_pool(&p);
}

static void leadership_goes_where_it_is_sent(void **state)
{
    struct pool p;

    (void)state;
    open_pool(&p, 3, NULL);
    for (int round = 0; round < 6; round++) {
        struct host *to = &p.hosts[(round + 1) % 3];

        change(&p, (struct log_change){.what = LOG_TRANSFER, .id = to->id});
        WAIT_FOR(status_of(to).leads);
        write_until_applied(&p.hosts[round % 3], 1, (uint64_t)round);
    }
    change(&p, (struct log_change){.what = LOG_TRANSFER});
    same_everywhere(&p);
    close_pool(&p);
}

static void changes_that_cannot_be_are_refused_with_a_reason(void **state)
{
    struct host *leader, *follower;
    char why[256];
    struct pool p;

    (void)state;
    open_pool(&p, 2, NULL);
    leader = the_leader(&p);
    follower = other_than(&p, leader, NULL);
    assert_false(change_once(follower, (struct log_change){.what = LOG_REMOVE, .id = 5}, why));
    assert_non_null(strstr(why, "does not lead"));
    assert_false(change_once(
        leader, (struct log_change){.what = LOG_ASSIGN, .id = 5, .role = LOG_VOTER}, why));
    assert_false(
        change_once(leader, (struct log_change){.what = LOG_ADD, .id = 5, .address = "x"}, why));
    assert_false(change_once(
        leader,
        (struct log_change){.what = LOG_ADD, .id = follower->id, .address = leader->address}, why));
    assert_false(change_once(leader, (struct log_change){.what = LOG_TRANSFER, .id = 5}, why));
    /* Done already. */
    assert_true(change_once(leader, (struct log_change){.what = LOG_REMOVE, .id = 5}, why));
    assert_true(change_once(
        leader,
        (struct log_change){.what = LOG_ADD, .id = follower->id, .address = follower->address},
        why));
    /* The last voter stays one. */
    assert_true(change_once(
        leader, (struct log_change){.what = LOG_ASSIGN, .id = follower->id, .role = LOG_STANDBY},
        why));
    assert_false(
        change_once(leader, (struct log_change){.what = LOG_REMOVE, .id = leader->id}, why));
    assert_non_null(strstr(why, "only voter"));
    write_until_applied(follower, 1, 1);
    close_pool(&p);
}

static void a_log_founded_alone_gets_its_address_with_the_first_member(void **state)
{
    struct log_member *members;
    struct arena arena = {0};
    struct pool p = {.dir = temp_dir()};
    struct host *h = &p.hosts[0];
    struct error *e;
    char *dir;
    size_t n;

    (void)state;
    mkdir(h->dir = xasprintf("%s/0", p.dir), 0700);
    p.n = 1;
    dir = xasprintf("%s/log", h->dir);
    h->fsm = fsm_new();
    e = log_raft_open(&arena, dir, NULL, &h->fsm->log, &h->log);
    assert_null(e);
    assert_int_equal(ask_once(h->log, 1, 1, 'x', 100), LOG_APPLIED);
    h->log->engine->members(h->log, &arena, &n, &members);
    assert_int_equal(n, 1);
    assert_string_equal(members[0].address, "");
    log_close(h->log);
    fsm_free(h->fsm);
    start_host(&p, h);
    WAIT_FOR(leader_of(&p));
    add_voter(&p, new_host(&p, true));
    write_until_applied(&p.hosts[1], 1, 2);
    WAIT_FOR(has(&p.hosts[1], 1, 1));
    h->log->engine->members(h->log, &arena, &n, &members);
    assert_string_equal(members[0].address, h->address);
    arena_release(&arena);
    free(dir);
    close_pool(&p);
}

static void a_log_with_members_is_not_opened_without_links(void **state)
{
    struct arena arena = {0};
    struct pool p;
    struct fsm *fsm = fsm_new();
    struct error *e;
    struct log *log;
    char *dir;

    (void)state;
    open_pool(&p, 2, NULL);
    stop_host(&p.hosts[1]);
    dir = xasprintf("%s/log", p.hosts[1].dir);
    e = log_raft_open(&arena, dir, NULL, &fsm->log, &log);
    assert_non_null(e);
    assert_non_null(strstr(e->params[0], "pool address"));
    fsm_free(fsm);
    arena_release(&arena);
    free(dir);
    close_pool(&p);
}

static void a_new_directory_that_joins_waits(void **state)
{
    struct pool p;
    struct host *h;

    (void)state;
    memset(&p, 0, sizeof p);
    p.dir = temp_dir();
    h = new_host(&p, true);
    assert_false(status_of(h).writable);
    stop_host(h);
    h->joined = false; /* what it is was written down */
    start_host(&p, h);
    for (usec_t begin = clock_mono(); clock_mono() - begin < USEC_PER_SEC; pause_a_little())
        assert_int_equal(status_of(h).leader, 0);
    close_pool(&p);
}

/* Writers through every host while leaders are cut off, hosts restarted, leadership moved. */

struct writer {
    struct thread thread;
    struct pool *pool;
    uint64_t origin, acked, n_unknown;
    bool stop;
    struct mutex *hosts_lock;
};

static void *write_on(void *arg)
{
    struct writer *w = arg;

    while (!__atomic_load_n(&w->stop, __ATOMIC_ACQUIRE) && w->acked + 1 < FSM_NUMBERS) {
        struct host *h = &w->pool->hosts[(w->origin + w->acked) % w->pool->n];
        enum log_outcome outcome;
        struct ask ask;

        ask_init(&ask, w->origin, w->acked, 'x', 64 + w->acked % 500);
        mutex_lock(&w->hosts_lock[h - w->pool->hosts]);
        log_propose(h->log, &ask.proposal);
        outcome = ask_wait(&ask);
        mutex_unlock(&w->hosts_lock[h - w->pool->hosts]);
        ask_release(&ask);
        if (outcome == LOG_APPLIED)
            w->acked++;
        w->n_unknown += outcome == LOG_UNKNOWN;
    }
    return NULL;
}

static void disturb(struct pool *p, struct mutex *hosts_lock, uint64_t chance)
{
    size_t i = chance / 8 % p->n;
    struct host *h = &p->hosts[i], *leader;

    switch (chance % 4) {
    case 0:
        isolate(h);
        clock_sleep(700 * USEC_PER_MSEC);
        heal(p, h);
        break;
    case 1:
        leader = leader_of(p);
        if (leader) {
            isolate(leader);
            clock_sleep(900 * USEC_PER_MSEC);
            heal(p, leader);
        }
        break;
    case 2:
        mutex_lock(&hosts_lock[i]);
        stop_host(h);
        start_host(p, h);
        mutex_unlock(&hosts_lock[i]);
        break;
    default:
        leader = leader_of(p);
        if (leader)
            change_once(leader, (struct log_change){.what = LOG_TRANSFER}, NULL);
        break;
    }
    clock_sleep(100 * USEC_PER_MSEC);
}

static void run_faults(size_t n, int faults, const struct log_raft_options *options)
{
    struct writer writers[6];
    struct mutex hosts_lock[MAX_HOSTS];
    uint64_t seed = random_u64(), unknown = 0;
    struct pool p;

    open_pool(&p, n, options);
    for (size_t i = 0; i < MAX_HOSTS; i++)
        mutex_init(&hosts_lock[i]);
    for (size_t i = 0; i < ARRAY_SIZE(writers); i++) {
        writers[i] = (struct writer){.pool = &p, .origin = i + 1, .hosts_lock = hosts_lock};
        thread_start(&writers[i].thread, "writer", write_on, &writers[i]);
    }
    for (int i = 0; i < faults; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        disturb(&p, hosts_lock, seed >> 33);
    }
    for (size_t i = 0; i < ARRAY_SIZE(writers); i++) {
        __atomic_store_n(&writers[i].stop, true, __ATOMIC_RELEASE);
        thread_join(&writers[i].thread);
        unknown += writers[i].n_unknown;
    }
    write_until_applied(&p.hosts[0], 99, 1);
    same_everywhere(&p);
    for (size_t h = 0; h < n; h++)
        for (size_t i = 0; i < ARRAY_SIZE(writers); i++)
            for (uint64_t k = 0; k < writers[i].acked; k++)
                if (!has(&p.hosts[h], i + 1, k))
                    fail_msg("host %zu lost %zu/%" PRIu64 " (or has it twice)", h, i + 1, k);
    print_message("%" PRIu64 " writes, %" PRIu64 " unknown on the way\n",
                  fsm_revision(p.hosts[0].fsm), unknown);
    for (size_t i = 0; i < MAX_HOSTS; i++)
        mutex_release(&hosts_lock[i]);
    close_pool(&p);
}

static void three_members_lose_nothing_by_faults(void **state)
{
    (void)state;
    run_faults(3, 12, NULL);
}

static void five_members_lose_nothing_by_faults_and_snapshots(void **state)
{
    (void)state;
    run_faults(5, 12, &(struct log_raft_options){.snapshot_entries = 200, .trailing = 20});
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_go_through_every_member),
        cmocka_unit_test(everybody_knows_the_members_and_the_leader),
        cmocka_unit_test(a_leader_that_is_cut_off_is_followed_by_another),
        cmocka_unit_test(a_leader_that_is_stopped_hands_over_at_once),
        cmocka_unit_test(what_a_cut_off_leader_took_alone_is_taken_back),
        cmocka_unit_test(without_a_majority_proposals_wait_and_then_fail),
        cmocka_unit_test(a_survivor_that_is_told_to_goes_on_alone_with_all_it_had),
        cmocka_unit_test(a_proposal_waits_for_the_next_leader),
        cmocka_unit_test(a_restarted_member_is_current_only_with_all_it_had_shown),
        cmocka_unit_test(a_follower_that_was_away_catches_up),
        cmocka_unit_test(a_new_member_catches_up_by_a_snapshot),
        cmocka_unit_test(a_follower_far_behind_gets_a_snapshot_in_place_of_its_log),
        cmocka_unit_test(a_removed_member_says_so),
        cmocka_unit_test(a_leader_can_be_removed),
        cmocka_unit_test(leadership_goes_where_it_is_sent),
        cmocka_unit_test(changes_that_cannot_be_are_refused_with_a_reason),
        cmocka_unit_test(a_log_founded_alone_gets_its_address_with_the_first_member),
        cmocka_unit_test(a_log_with_members_is_not_opened_without_links),
        cmocka_unit_test(a_new_directory_that_joins_waits),
        cmocka_unit_test(three_members_lose_nothing_by_faults),
        cmocka_unit_test(five_members_lose_nothing_by_faults_and_snapshots),
    };

    signal(SIGPIPE, SIG_IGN);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
