/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * member.c -- the database of a member of several, on a log that the test drives: who leads, what
 * becomes of a proposal, a snapshot that takes the place of entries.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "tests/unit/db/sample.h"
#include "xapid/event/collect.h"
#include "xapid/main/xapid.h"

#define MAX_ANSWERS 8

/*** a log that answers as it is told ***/

enum answer { ANSWER, APPLY_AND_SAY_UNKNOWN, SAY_UNKNOWN, SAY_FAILED, KEEP };

struct told_log {
    struct log base;
    struct log_fsm fsm;
    struct mutex lock;
    uint64_t index;
    size_t n_proposed;
    enum answer answers[MAX_ANSWERS]; /* of the first proposals; then ANSWER */
    struct log_proposal *kept;        /* answered when the log is closed */
};

static void told_propose(struct log *base, struct log_proposal *p)
{
    struct told_log *log = (struct told_log *)base;
    struct arena arena = {0};
    struct log_result result = {.outcome = LOG_UNKNOWN};
    enum answer answer;

    mutex_lock(&log->lock);
    answer = log->n_proposed < MAX_ANSWERS ? log->answers[log->n_proposed] : ANSWER;
    log->n_proposed++;
    if (answer <= APPLY_AND_SAY_UNKNOWN) {
        log->fsm.apply(log->fsm.ctx, &arena, ++log->index, p->data, p->size, &result);
        log->fsm.publish(log->fsm.ctx, log->index);
    }
    if (answer == APPLY_AND_SAY_UNKNOWN)
        result = (struct log_result){.outcome = LOG_UNKNOWN};
    if (answer == SAY_FAILED)
        result = (struct log_result){.outcome = LOG_FAILED,
                                     .error = error_internal(&arena, "not the leader")};
    if (answer == KEEP)
        log->kept = p;
    mutex_unlock(&log->lock);
    if (answer != KEEP)
        p->done(p, &result);
    arena_release(&arena);
}

static void told_status(struct log *base, struct log_status *out)
{
    struct told_log *log = (struct told_log *)base;

    *out = (struct log_status){.id = 1, .last_index = log->index};
}

static void told_close(struct log *base)
{
    struct told_log *log = (struct told_log *)base;
    uint64_t id[2];

    if (log->kept) {
        memcpy(id, log->kept->data, sizeof id); /* it is the log's until it was answered */
        assert_int_not_equal(id[0], 0);
        log->kept->done(log->kept, &(struct log_result){.outcome = LOG_UNKNOWN});
    }
    mutex_release(&log->lock);
    free(log);
}

static void told_change(struct log *base, struct log_change *change)
{
    (void)base;
    change->done(change, NULL);
}

static void told_members(struct log *base, struct arena *arena, size_t *n, struct log_member **out)
{
    (void)base;
    *n = 3;
    *out = arena_array(arena, struct log_member, 3);
    for (uint64_t i = 0; i < 3; i++)
        (*out)[i] = (struct log_member){i + 1, LOG_VOTER, ""};
}

static const struct log_engine told_engine = {
    .propose = told_propose,
    .status = told_status,
    .close = told_close,
    .change = told_change,
    .members = told_members,
};

/*** the fixture ***/

struct fixture {
    struct arena arena;
    char *dir;
    struct xapid xapid;
    struct told_log *log;
    struct call call;
};

static struct error *open_told(void *ctx, struct arena *arena, const char *dir,
                               const struct log_fsm *fsm, struct log **out)
{
    struct fixture *f = ctx;

    (void)arena;
    (void)dir;
    f->log = xcalloc(1, sizeof *f->log);
    mutex_init(&f->log->lock);
    f->log->base.engine = &told_engine;
    f->log->fsm = *fsm;
    f->log->index = fsm->applied_index;
    *out = &f->log->base;
    return OK;
}

static void open_db(struct fixture *f)
{
    struct error *e =
        db_open(&f->arena, &(struct db_options){.dir = f->dir, .open_log = open_told, .ctx = f},
                &f->xapid.db);

    if (e)
        fail_msg("%s", error_line(&f->arena, e));
    f->call = (struct call){.xapid = &f->xapid, .arena = &f->arena};
    f->call.snap = db_snapshot(f->xapid.db);
}

static void close_db(struct fixture *f)
{
    call_let_go(&f->call);
    db_close(f->xapid.db);
    f->xapid.db = NULL;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->dir = sample_dir(&f->arena);
    open_db(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    close_db(f);
    sample_remove_dir(f->dir);
    arena_release(&f->arena);
    free(f);
    return 0;
}

static void lead(struct fixture *f, uint64_t leader, bool me)
{
    f->log->fsm.leader(f->log->fsm.ctx, leader, 1, me);
}

static struct error *create_network(struct txn *txn, void *arg)
{
    struct network row;

    sample_new(CLASS_network, &row);
    row.ref = *(const ref_t *)arg;
    row.uuid = arena_strdup(txn_arena(txn), row.uuid);
    txn_create(txn, CLASS_network, &row);
    return OK;
}

static struct error *break_rule(struct txn *txn, void *arg)
{
    /* Unconditionally: the refusal is apply's. */
    TXN_SET(txn, network, *(const ref_t *)arg, name_label, "x");
    return OK;
}

static struct error *destroy_network(struct txn *txn, void *arg)
{
    txn_destroy(txn, CLASS_network, *(const ref_t *)arg);
    return OK;
}

static void must(struct fixture *f, db_txn_fn *fn, ref_t ref)
{
    struct error *e = db_update(&f->call, fn, &ref);

    if (e)
        fail_msg("%s", error_line(&f->arena, e));
}

/*** who leads ***/

struct leading {
    struct fixture *f;
    usec_t at;
};

static void *lead_later(void *arg)
{
    struct leading *l = arg;

    clock_sleep(200 * USEC_PER_MSEC); /* so that the change is waiting, or nothing is tested */
    l->at = clock_mono();
    lead(l->f, 2, false);
    return NULL;
}

static void a_change_waits_for_somebody_who_leads(void **state)
{
    struct leading l = {.f = *state};
    struct thread thread;

    assert_false(db_leads(l.f->xapid.db));
    assert_false(db_wait_leader(l.f->xapid.db, 0));
    thread_start(&thread, "lead", lead_later, &l);
    must(l.f, create_network, (ref_t){1, 1});
    assert_true(clock_mono() >= l.at);
    thread_join(&thread);
    assert_true(db_wait_leader(l.f->xapid.db, 0));
    assert_false(db_leads(l.f->xapid.db));
    lead(l.f, 1, true);
    assert_true(db_leads(l.f->xapid.db));
}

static void *give_up_later(void *arg)
{
    clock_sleep(100 * USEC_PER_MSEC);
    db_give_up(((struct fixture *)arg)->xapid.db);
    return NULL;
}

static void without_one_the_error_says_so(void **state)
{
    struct fixture *f = *state;
    ref_t ref = {1, 1};
    struct thread thread;
    struct error *e;

    thread_start(&thread, "give-up", give_up_later, f);
    e = db_update(&f->call, create_network, &ref);
    thread_join(&thread);
    assert_string_equal(e->code, "HOST_IN_EMERGENCY_MODE");
    assert_non_null(strstr(e->params[0], "no member leads the pool"));
    assert_non_null(strstr(e->params[0], "3 voting members"));
    assert_int_equal(f->log->n_proposed, 0);
}

static void *lose_and_give_up(void *arg)
{
    struct fixture *f = arg;

    clock_sleep(100 * USEC_PER_MSEC);
    lead(f, 0, false);
    db_give_up(f->xapid.db);
    return NULL;
}

/* The log may answer very late then. */
static void the_end_of_the_daemon_waits_for_no_answer(void **state)
{
    struct fixture *f = *state;
    struct thread thread;
    ref_t ref = {1, 1};
    struct error *e;

    lead(f, 2, false);
    f->log->answers[0] = KEEP;
    thread_start(&thread, "give-up", lose_and_give_up, f);
    e = db_update(&f->call, create_network, &ref);
    thread_join(&thread);
    assert_true(db_outcome_is_unknown(e));
    assert_non_null(f->log->kept);
}

static void what_was_not_taken_is_proposed_again(void **state)
{
    struct fixture *f = *state;

    lead(f, 2, false);
    f->log->answers[0] = f->log->answers[1] = SAY_FAILED;
    must(f, create_network, (ref_t){1, 1});
    assert_int_equal(f->log->n_proposed, 3);
}

/* "Not taken" is said of the repetition: the first may have been. */
static void what_was_in_doubt_once_is_not_made_twice(void **state)
{
    struct fixture *f = *state;

    lead(f, 2, false);
    f->log->answers[0] = APPLY_AND_SAY_UNKNOWN;
    f->log->answers[1] = f->log->answers[2] = SAY_FAILED;
    must(f, create_network, (ref_t){1, 1});
    assert_int_equal(f->log->n_proposed, 4);
    assert_int_equal(snap_root(f->call.snap)->revision, 1);
}

static void a_refusal_whose_answer_was_lost_is_told_in_full(void **state)
{
    struct fixture *f = *state;
    ref_t ref = {7, 7};
    struct error *e;

    lead(f, 2, false);
    f->log->answers[0] = APPLY_AND_SAY_UNKNOWN;
    e = db_update(&f->call, break_rule, &ref);
    assert_string_equal(
        error_line(&f->arena, e),
        arena_printf(&f->arena, "HANDLE_INVALID(network, %s)", call_ref(&f->call, ref)));
    assert_int_equal(f->log->n_proposed, 2);
}

static void a_barrier_goes_through_the_log(void **state)
{
    struct fixture *f = *state;

    assert_false(db_barrier(f->xapid.db, clock_mono())); /* nobody leads */
    lead(f, 2, false);
    assert_true(db_barrier(f->xapid.db, clock_mono() + 10 * USEC_PER_SEC));
    assert_int_equal(f->log->n_proposed, 1);
    call_refresh(&f->call);
    assert_int_equal(snap_root(f->call.snap)->revision, 1);
}

/*** digests ***/

static void a_digest_is_known_at_every_revision(void **state)
{
    struct fixture *f = *state;
    uint64_t digest[2];

    lead(f, 1, true);
    for (uint64_t i = 1; i < 20; i++) {
        must(f, create_network, (ref_t){i, i});
        assert_false(db_digest_at(f->xapid.db, i + 1, digest));
        assert_true(db_digest_at(f->xapid.db, i, digest));
        assert_memory_equal(digest, snap_root(f->call.snap)->digest, sizeof digest);
    }
}

static void a_database_that_differs_stops(void **state)
{
    struct fixture *f = *state;
    uint64_t revision;
    ref_t ref = {2, 2};
    struct error *e;

    lead(f, 2, false);
    must(f, create_network, (ref_t){1, 1});
    revision = snap_root(f->call.snap)->revision;
    db_fail(f->xapid.db, "It differs.");
    e = db_update(&f->call, create_network, &ref);
    assert_non_null(strstr(e->params[0], "It differs."));
    call_refresh(&f->call);
    assert_int_equal(snap_root(f->call.snap)->revision, revision);
}

/*** a snapshot in the place of entries ***/

static struct db_root *root_of(struct fixture *f)
{
    call_refresh(&f->call);
    return root_copy(snap_root(f->call.snap));
}

static void restore(struct fixture *f, const struct db_root *root)
{
    AUTO(buf) image = {0};
    const char *why = NULL;

    image_write(&image, root);
    f->log->index = root->log_index;
    assert_true(f->log->fsm.restore(f->log->fsm.ctx, &f->arena, root->log_index, image.data,
                                    image.len, &why));
}

/* What another member has done meanwhile. */
static void do_elsewhere(struct db_root *root, db_txn_fn *fn, ref_t ref)
{
    struct write_set set = {0};
    struct network row;
    struct log_result result;
    struct arena arena = {0};

    if (fn == create_network) {
        sample_new(CLASS_network, &row);
        row.ref = ref;
        write_create(&set, &api_classes[CLASS_network], ref, &row);
    } else {
        write_destroy(&set, &api_classes[CLASS_network], ref);
    }
    root->log_index++;
    result = sample_apply(&arena, root, &set);
    assert_int_equal(result.outcome, LOG_APPLIED);
    arena_release(&arena);
}

static void listeners_hear_what_a_snapshot_brought(void **state)
{
    struct fixture *f = *state;
    struct subscriptions all = {1, &(struct subscription){.class_id = CLASS_network}};
    struct event_list events;
    struct db_root *root;
    uint64_t known;

    lead(f, 2, false);
    must(f, create_network, (ref_t){1, 1});
    must(f, create_network, (ref_t){2, 2});
    known = snap_root(f->call.snap)->revision;
    root = root_of(f);
    do_elsewhere(root, destroy_network, (ref_t){1, 1});
    do_elsewhere(root, create_network, (ref_t){3, 3});
    do_elsewhere(root, create_network, (ref_t){4, 4});
    do_elsewhere(root, destroy_network, (ref_t){4, 4});
    restore(f, root);
    root_unref(root);
    assert_true(db_wait(f->xapid.db, known, clock_mono()));
    call_refresh(&f->call);
    assert_true(snap_root(f->call.snap)->forgotten <= known);
    events_collect(&f->arena, snap_root(f->call.snap), &all, known, false, &events);
    assert_int_equal(events.n, 2);
    assert_int_equal(events.v[0].operation, EVENT_ADD);
    assert_int_equal(events.v[0].ref.lo, 3);
    assert_int_equal(events.v[1].operation, EVENT_DEL);
    assert_int_equal(events.v[1].ref.lo, 1);
    assert_int_equal(db_check(f->call.snap), 0);
}

static void the_checkpoint_follows_a_snapshot(void **state)
{
    struct fixture *f = *state;
    struct db_root *root;
    uint64_t digest[2], index;

    lead(f, 2, false);
    must(f, create_network, (ref_t){1, 1});
    must(f, create_network, (ref_t){2, 2});
    root = root_of(f);
    do_elsewhere(root, destroy_network, (ref_t){1, 1});
    do_elsewhere(root, create_network, (ref_t){3, 3});
    restore(f, root);
    memcpy(digest, root->digest, sizeof digest);
    index = root->log_index;
    root_unref(root);
    close_db(f); /* writes it */
    open_db(f);
    assert_int_equal(snap_root(f->call.snap)->log_index, index);
    assert_memory_equal(snap_root(f->call.snap)->digest, digest, sizeof digest);
    lead(f, 2, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(a_change_waits_for_somebody_who_leads),
        TEST(without_one_the_error_says_so),
        TEST(the_end_of_the_daemon_waits_for_no_answer),
        TEST(what_was_not_taken_is_proposed_again),
        TEST(what_was_in_doubt_once_is_not_made_twice),
        TEST(a_refusal_whose_answer_was_lost_is_told_in_full),
        TEST(a_barrier_goes_through_the_log),
        TEST(a_digest_is_known_at_every_revision),
        TEST(a_database_that_differs_stops),
        TEST(listeners_hear_what_a_snapshot_brought),
        TEST(the_checkpoint_follows_a_snapshot),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
