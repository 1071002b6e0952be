/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libxapi/base/seam.h"
#include "tests/lib/log_chaos.h"
#include "tests/lib/log_memory.h"
#include "tests/unit/db/sample.h"
#include "xapid/main/xapid.h"

#define THREADS 4
#define ROUNDS 100

struct fixture {
    struct arena arena;
    char *dir;
    struct xapid xapid;
    ref_t vm;
};

static struct error *open_memory(void *ctx, struct arena *arena, const char *dir,
                                 const struct log_fsm *fsm, struct log **out)
{
    (void)ctx;
    (void)arena;
    (void)dir;
    *out = log_memory_open(fsm);
    return OK;
}

static struct error *below_chaos(void *ctx, struct arena *arena, const struct log_fsm *fsm,
                                 struct log **out)
{
    return open_memory(ctx, arena, NULL, fsm, out);
}

/* Not both at once: log_chaos may answer CONFLICT to the repetition of a proposal that it answered
   UNKNOWN and carries out later, which no log does. */
static struct error *open_conflicts(void *ctx, struct arena *arena, const char *dir,
                                    const struct log_fsm *fsm, struct log **out)
{
    struct log_chaos_options options = {.seed = 42, .conflict = 300, .delay = 2 * USEC_PER_MSEC};

    (void)dir;
    return log_chaos_open(arena, &options, below_chaos, ctx, fsm, out);
}

static struct error *open_silence(void *ctx, struct arena *arena, const char *dir,
                                  const struct log_fsm *fsm, struct log **out)
{
    struct log_chaos_options options = {.seed = 43, .unknown = 300, .delay = 2 * USEC_PER_MSEC};

    (void)dir;
    return log_chaos_open(arena, &options, below_chaos, ctx, fsm, out);
}

static void open_db(struct fixture *f,
                    struct error *(*open_log)(void *, struct arena *, const char *,
                                              const struct log_fsm *, struct log **))
{
    struct error *e =
        db_open(&f->arena, &(struct db_options){.dir = f->dir, .open_log = open_log}, &f->xapid.db);

    if (e)
        fail_msg("%s", error_line(&f->arena, e));
}

/* A call with memory of its own. */
struct own_call {
    struct arena arena;
    struct call call;
};

static void own_call_init(struct own_call *c, struct fixture *f)
{
    *c = (struct own_call){.call = {.xapid = &f->xapid}};
    c->call.arena = &c->arena;
    c->call.snap = db_snapshot(f->xapid.db);
}

static void own_call_release(struct own_call *c)
{
    call_let_go(&c->call);
    arena_release(&c->arena);
}

static struct error *create_vm(struct txn *txn, void *arg)
{
    txn_create(txn, CLASS_vm, arg);
    return OK;
}

static void must_update(struct fixture *f, db_txn_fn *fn, void *arg)
{
    AUTO(own_call) c;
    struct error *e;

    own_call_init(&c, f);
    e = db_update(&c.call, fn, arg);
    if (e)
        fail_msg("%s", error_line(&c.arena, e));
}

static void make_vm(struct fixture *f)
{
    struct vm vm;

    f->vm = SAMPLE_NEW(vm, &vm);
    vm.user_version = 0;
    must_update(f, create_vm, &vm);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->dir = sample_dir(&f->arena);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    db_close(f->xapid.db);
    sample_remove_dir(f->dir);
    arena_release(&f->arena);
    free(f);
    return 0;
}

static int64_t version_now(struct fixture *f)
{
    struct db_snap *snap = db_snapshot(f->xapid.db);
    const struct vm *vm = root_get(snap_root(snap), CLASS_vm, f->vm);
    int64_t version = vm->user_version;

    db_snap_unref(snap);
    return version;
}

/* Relies on the row: an increment that is lost, or made twice, shows. */
static struct error *count_up(struct txn *txn, void *arg)
{
    struct fixture *f = arg;
    const struct vm *vm;

    TRY(TXN_GET(txn, vm, f->vm, &vm));
    TXN_SET(txn, vm, f->vm, user_version, vm->user_version + 1);
    return OK;
}

static void *count_up_often(void *arg)
{
    for (int i = 0; i < ROUNDS; i++)
        must_update(arg, count_up, arg);
    return NULL;
}

static void count_in_threads(struct fixture *f)
{
    struct thread threads[THREADS];

    make_vm(f);
    for (int i = 0; i < THREADS; i++)
        thread_start(&threads[i], "count", count_up_often, f);
    for (int i = 0; i < THREADS; i++)
        thread_join(&threads[i]);
    assert_int_equal(version_now(f), THREADS * ROUNDS);
}

static void conflicting_updates_are_all_made_once(void **state)
{
    open_db(*state, open_memory);
    count_in_threads(*state);
}

static void they_are_on_a_log_that_conflicts(void **state)
{
    open_db(*state, open_conflicts);
    count_in_threads(*state);
}

static void they_are_on_a_log_that_forgets_to_answer(void **state)
{
    open_db(*state, open_silence);
    count_in_threads(*state);
}

static struct error *refuse(struct txn *txn, void *arg)
{
    struct fixture *f = arg;
    const struct vm *vm;

    TXN_SET(txn, vm, f->vm, name_label, "never");
    return txn_get(txn, CLASS_vm, (ref_t){1, 2}, (const void **)&vm);
}

static void an_error_of_the_function_changes_nothing(void **state)
{
    struct fixture *f = *state;
    AUTO(own_call) c;
    struct error *e;

    open_db(f, open_memory);
    make_vm(f);
    own_call_init(&c, f);
    e = db_update(&c.call, refuse, f);
    assert_string_equal(error_line(&c.arena, e), arena_printf(&c.arena, "HANDLE_INVALID(VM, %s)",
                                                              call_ref(&c.call, (ref_t){1, 2})));
    assert_string_equal(((const struct vm *)db_find(&c.call, CLASS_vm, f->vm))->name_label, "");
}

static struct error *break_enum(struct txn *txn, void *arg)
{
    struct fixture *f = arg;
    int wrong = 99;

    txn_set_value(txn, FIELD_vm_power_state, f->vm, &wrong);
    return OK;
}

static struct error *too_large(struct txn *txn, void *arg)
{
    struct fixture *f = arg;
    char *text = arena_zalloc(txn_arena(txn), LOG_MAX_WRITE_SET + 1);

    memset(text, 'x', LOG_MAX_WRITE_SET);
    txn_set_value(txn, FIELD_vm_name_label, f->vm, &text);
    return OK;
}

static void what_apply_could_not_read_never_enters_the_log(void **state)
{
    struct fixture *f = *state;
    AUTO(own_call) c;

    open_db(f, open_memory);
    make_vm(f);
    own_call_init(&c, f);
    assert_non_null(db_update(&c.call, break_enum, f));
    assert_non_null(db_update(&c.call, too_large, f));
    must_update(f, count_up, f);
    assert_int_equal(version_now(f), 1);
}

static void reads_find_by_uuid_and_relation(void **state)
{
    struct fixture *f = *state;
    const struct vm *row;
    AUTO(own_call) c;
    struct error *e;
    ref_t ref;

    open_db(f, open_memory);
    make_vm(f);
    own_call_init(&c, f);
    assert_null(DB_GET(&c.call, vm, f->vm, &row));
    assert_null(db_by_uuid(&c.call, CLASS_vm, row->uuid, &ref));
    assert_true(ref_equal(ref, f->vm));
    e = db_by_uuid(&c.call, CLASS_vm, "none", &ref);
    assert_string_equal(error_line(&c.arena, e), "UUID_INVALID(VM, none)");
    assert_int_equal(db_referrers(&c.call, FIELD_vbd_vm, f->vm).n, 0);
    assert_int_equal(db_derived(&c.arena, c.call.snap, &api_fields[FIELD_vm_vbds], f->vm).n, 0);
}

/*** the feed and lazy writes ***/

struct listener {
    struct mutex lock;
    uint64_t last;
    int n;
};

static void heard(void *ctx, uint64_t revision)
{
    struct listener *l = ctx;

    MUTEX_GUARD(&l->lock);
    l->last = revision;
    l->n++;
}

static void subscribers_hear_of_each_publication_until_they_leave(void **state)
{
    struct fixture *f = *state;
    struct listener l = {0};
    struct db_subscription *s;

    mutex_init(&l.lock);
    open_db(f, open_memory);
    s = db_subscribe(f->xapid.db, heard, &l);
    make_vm(f);
    must_update(f, count_up, f);
    assert_true(db_wait(f->xapid.db, 1, clock_mono() + 10 * USEC_PER_SEC));
    assert_false(db_wait(f->xapid.db, 2, clock_mono() + 1000));
    db_unsubscribe(f->xapid.db, s);
    assert_int_equal(l.last, 2);
    assert_int_equal(l.n, 2);
    must_update(f, count_up, f);
    assert_int_equal(l.n, 2);
    mutex_release(&l.lock);
}

static void lazy_writes_are_coalesced_and_come_by_themselves(void **state)
{
    struct fixture *f = *state;
    uint64_t before = 1;

    open_db(f, open_memory);
    make_vm(f);
    for (int64_t i = 1; i <= 1000; i++)
        db_set_lazily(f->xapid.db, FIELD_vm_user_version, f->vm, &i);
    db_set_lazily(f->xapid.db, FIELD_vm_user_version, (ref_t){1, 2}, &(int64_t){5});
    assert_true(db_wait(f->xapid.db, before, clock_mono() + 20 * USEC_PER_SEC));
    db_flush_lazy(f->xapid.db);
    assert_int_equal(version_now(f), 1000);
    db_set_lazily(f->xapid.db, FIELD_vm_user_version, f->vm, &(int64_t){7});
    db_flush_lazy(f->xapid.db);
    assert_int_equal(version_now(f), 7);
}

/* What is measured once may not change for long. */
static void a_lazy_write_that_was_not_taken_comes_with_a_later_one(void **state)
{
    struct fixture *f = *state;

    open_db(f, open_conflicts);
    make_vm(f);
    for (int64_t i = 1; i <= 20; i++) {
        db_set_lazily(f->xapid.db, FIELD_vm_user_version, f->vm, &i);
        for (int tries = 0; version_now(f) != i && tries < 100; tries++)
            db_flush_lazy(f->xapid.db);
        assert_int_equal(version_now(f), i);
    }
}

static void *lazily(void *arg)
{
    struct fixture *f = arg;

    for (int64_t i = 0; i < 3000; i++)
        db_set_lazily(f->xapid.db, FIELD_vm_memory_target, f->vm, &i);
    return NULL;
}

static void readers_writers_and_lazy_ones_live_together(void **state)
{
    struct fixture *f = *state;
    struct thread threads[2];

    open_db(f, open_memory);
    make_vm(f);
    thread_start(&threads[0], "lazy", lazily, f);
    thread_start(&threads[1], "count", count_up_often, f);
    for (int i = 0; i < 300; i++) {
        struct db_snap *snap = db_snapshot(f->xapid.db);

        assert_int_equal(db_check(snap), 0);
        db_snap_unref(snap);
        db_flush_lazy(f->xapid.db);
    }
    thread_join(&threads[0]);
    thread_join(&threads[1]);
    assert_int_equal(version_now(f), ROUNDS);
}

/*** an entry that cannot be read ***/

static struct error *open_caught(void *ctx, struct arena *arena, const char *dir,
                                 const struct log_fsm *fsm, struct log **out)
{
    struct error *e = open_memory(NULL, arena, dir, fsm, out);

    *(struct log **)ctx = *out;
    return e;
}

struct raw {
    struct log_proposal proposal;
    struct mutex lock;
    struct cond cond;
    bool done;
    enum log_outcome outcome;
};

static void raw_done(struct log_proposal *proposal, const struct log_result *result)
{
    struct raw *raw = (struct raw *)proposal;

    MUTEX_GUARD(&raw->lock);
    raw->outcome = result->outcome;
    raw->done = true;
    cond_signal(&raw->cond);
}

static enum log_outcome propose_raw(struct log *log, const char *data, size_t size)
{
    struct raw raw = {.proposal = {.data = data, .size = size, .done = raw_done}};

    mutex_init(&raw.lock);
    cond_init(&raw.cond);
    log_propose(log, &raw.proposal);
    mutex_lock(&raw.lock);
    while (!raw.done)
        cond_wait(&raw.cond, &raw.lock);
    mutex_unlock(&raw.lock);
    cond_release(&raw.cond);
    mutex_release(&raw.lock);
    return raw.outcome;
}

static void an_entry_that_cannot_be_read_stops_all_and_is_not_passed_over(void **state)
{
    struct fixture *f = *state;
    const char *path = arena_printf(&f->arena, "%s/xapid.db", f->dir);
    struct checkpoint *cp;
    struct db_root *root;
    struct log *log;

    assert_null(db_open(&f->arena,
                        &(struct db_options){.dir = f->dir, .open_log = open_caught, .ctx = &log},
                        &f->xapid.db));
    make_vm(f);
    assert_int_equal(
        propose_raw(log, "an entry of a version that will be written in some years", 56),
        LOG_FAILED);
    {
        AUTO(own_call) c;
        struct error *e;

        own_call_init(&c, f);
        e = db_update(&c.call, count_up, f);
        assert_non_null(e);
        assert_non_null(strstr(e->params[0], "accepts no changes"));
        assert_int_equal(snap_root(c.call.snap)->log_index, 1);
    }
    db_close(f->xapid.db);
    f->xapid.db = NULL;
    assert_null(checkpoint_open(&f->arena, path, &cp, &root));
    assert_true(root->log_index <= 1);
    checkpoint_close(cp);
    root_unref(root);
}

/*** opening again ***/

static void two_databases_in_one_process_are_two(void **state)
{
    struct fixture *f = *state, other = {.dir = NULL};

    other.dir = sample_dir(&other.arena);
    open_db(f, open_memory);
    open_db(&other, open_memory);
    make_vm(f);
    make_vm(&other);
    must_update(f, count_up, f);
    assert_int_equal(version_now(f), 1);
    assert_int_equal(version_now(&other), 0);
    db_close(other.xapid.db);
    sample_remove_dir(other.dir);
    arena_release(&other.arena);
}

static struct db_root *root_now(struct fixture *f)
{
    return (struct db_root *)db_snapshot(f->xapid.db);
}

/* On the real log: after every few writes it is closed and opened; what is there is what was. */
static void what_was_acknowledged_is_there_after_opening_again(void **state)
{
    struct fixture *f = *state;
    struct db_root *before, *after;

    open_db(f, NULL);
    make_vm(f);
    for (int k = 0; k < 6; k++) {
        for (int i = 0; i <= k; i++)
            must_update(f, count_up, f);
        before = root_now(f);
        db_close(f->xapid.db);
        open_db(f, NULL);
        after = root_now(f);
        assert_true(sample_equal(before, after));
        root_unref(before);
        root_unref(after);
    }
    assert_int_equal(version_now(f), 21);
}

/* Without its SQLite file, or with a damaged one, the database comes from the log alone. */
static void a_lost_checkpoint_is_made_again_from_the_log(void **state)
{
    struct fixture *f = *state;
    const char *path = arena_printf(&f->arena, "%s/xapid.db", f->dir);
    struct db_root *before, *after;
    FILE *file;

    open_db(f, NULL);
    make_vm(f);
    for (int i = 0; i < 5; i++)
        must_update(f, count_up, f);
    before = root_now(f);
    db_close(f->xapid.db);
    f->xapid.db = NULL;
    file = fopen(path, "r+");
    assert_non_null(file);
    fseek(file, 4096 + 20, SEEK_SET);
    fputs("damage", file);
    fclose(file);
    open_db(f, NULL);
    assert_true(sample_count_files(f->dir, "damaged") > 0);
    after = root_now(f);
    before->log_index = after->log_index; /* of an entry without a write-set, perhaps */
    assert_true(sample_equal(before, after));
    root_unref(before);
    root_unref(after);
}

static void a_log_that_is_behind_the_checkpoint_is_refused(void **state)
{
    struct fixture *f = *state;
    struct error *e;

    open_db(f, NULL);
    make_vm(f);
    db_close(f->xapid.db);
    f->xapid.db = NULL;
    sample_remove_dir(arena_printf(&f->arena, "%s/raft", f->dir));
    e = db_open(&f->arena, &(struct db_options){.dir = f->dir}, &f->xapid.db);
    assert_non_null(e);
    assert_int_equal(sample_count_files(f->dir, "damaged"), 0);
    f->xapid.db = NULL;
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(conflicting_updates_are_all_made_once),
        TEST(they_are_on_a_log_that_conflicts),
        TEST(they_are_on_a_log_that_forgets_to_answer),
        TEST(an_error_of_the_function_changes_nothing),
        TEST(what_apply_could_not_read_never_enters_the_log),
        TEST(reads_find_by_uuid_and_relation),
        TEST(subscribers_hear_of_each_publication_until_they_leave),
        TEST(lazy_writes_are_coalesced_and_come_by_themselves),
        TEST(a_lazy_write_that_was_not_taken_comes_with_a_later_one),
        TEST(readers_writers_and_lazy_ones_live_together),
        TEST(an_entry_that_cannot_be_read_stops_all_and_is_not_passed_over),
        TEST(two_databases_in_one_process_are_two),
        TEST(what_was_acknowledged_is_there_after_opening_again),
        TEST(a_lost_checkpoint_is_made_again_from_the_log),
        TEST(a_log_that_is_behind_the_checkpoint_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
