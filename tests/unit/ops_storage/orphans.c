/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tests of xapid/ops/ha/orphans: what a dead host had begun on storage that others see. */
#include <stdlib.h>

#include "tests/unit/ops_storage/world.h"
#include "xapid/db/ready.h"
#include "xapid/db/row.h"
#include "xapid/ops/ha/orphans.h"
#include "xapid/ops/ha/state.h"
#include "xapid/ops/storage/attach.h"
#include "xapid/ops/vm/plans.h"

/* Two hosts of one daemon: it is 'first' until that dies, and 'second' from then on. */
struct pair {
    struct world w;
    ref_t first, second, vm, disk;
    struct op op; /* never released: that is what dying means */
};

static void create(struct world *w, int class_id, void *row)
{
    world_must(w, db_update(&w->call, db_create_txn, &(struct db_create){class_id, .row = row}));
}

static ref_t live_metrics(struct world *w)
{
    struct host_metrics row;

    row_defaults(&api_classes[CLASS_host_metrics], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(arena_alloc(&w->arena, UUID_TEXT_SIZE));
    row.live = true;
    create(w, CLASS_host_metrics, &row);
    return row.ref;
}

static ref_t make_host(struct world *w)
{
    struct host row;

    row_defaults(&api_classes[CLASS_host], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(arena_alloc(&w->arena, UUID_TEXT_SIZE));
    row.metrics = live_metrics(w);
    create(w, CLASS_host, &row);
    return row.ref;
}

static void plug(struct pair *p, ref_t host)
{
    struct pbd row;

    row_defaults(&api_classes[CLASS_pbd], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(arena_alloc(&p->w.arena, UUID_TEXT_SIZE));
    row.host = host;
    row.sr = p->w.sr;
    row.currently_attached = true;
    create(&p->w, CLASS_pbd, &row);
}

static int set_up(void **state)
{
    struct pair *p = malloc(sizeof *p);
    struct world *w = &p->w;

    assert_non_null(p);
    world_open(w);
    p->first = w->xapid.host;
    world_must(w, CALL_SET(&w->call, host, p->first, metrics, live_metrics(w)));
    world_must(w, CALL_SET(&w->call, sr, w->sr, shared, true));
    p->second = make_host(w);
    p->vm = world_vm(w, "web");
    p->disk = world_disk(w, "root", 10 * MIB);
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct pair *p = *state;

    world_close(&p->w);
    free(p);
    return 0;
}

/* The first host's VM.snapshot, when its disk is there and nothing is recorded. */
static void snapshot_is_half_done(struct pair *p)
{
    struct call *call = &p->w.call;
    struct vdi_plan plan = {
        .vdi = ref_new(), .source = p->disk, .sr = p->w.sr, .how = VDI_SNAPSHOT};
    struct disk_plans plans = {0};
    struct vm_copy_intent intent = {
        .vm = p->vm, .copy = ref_new(), .how = "snapshot", .name = "", .live = true};
    struct op_hold holds[] = {{CLASS_vm, p->vm, VM_OP_SNAPSHOT},
                              {CLASS_sr, p->w.sr, SR_OP_VDI_SNAPSHOT},
                              {CLASS_vdi, p->disk, VDI_OP_SNAPSHOT}};
    struct vdi_made made;

    world_must(&p->w, CALL_SET(call, vm, p->vm, power_state, VM_RUNNING));
    world_must(&p->w, CALL_SET(call, vm, p->vm, resident_on, p->first));
    disk_plans_add(call->arena, &plans, &plan);
    intent.disks = disk_plans_text(call->arena, &plans);
    world_must(&p->w, op_begin(call,
                               &(struct op_spec){.kind = INTENT_vm_copy,
                                                 .intent = &intent,
                                                 .n_holds = ARRAY_SIZE(holds),
                                                 .holds = holds},
                               &p->op));
    world_must(&p->w, vdi_make(call, &plan, 0, 1, &made));
    assert_int_equal(world_files(&p->w, ".qcow2"), 3);
}

static struct error *dead_txn(struct txn *txn, void *arg)
{
    const ref_t *host = arg;

    return txn_host_dead(txn, *host);
}

static void first_dies(struct pair *p)
{
    world_must(&p->w, db_update(&p->w.call, dead_txn, &p->first));
    p->w.xapid.host = p->second;
}

static ref_t task_of(struct pair *p, ref_t host, enum task_status_type status)
{
    struct task row;

    row_defaults(&api_classes[CLASS_task], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(arena_alloc(&p->w.arena, UUID_TEXT_SIZE));
    row.resident_on = host;
    row.status = status;
    create(&p->w, CLASS_task, &row);
    return row.ref;
}

static const struct task *task(struct pair *p, ref_t ref)
{
    const struct task *row;

    world_must(&p->w, DB_GET(&p->w.call, task, ref, &row));
    return row;
}

static size_t held(struct pair *p)
{
    const struct vm *vm;

    world_must(&p->w, DB_GET(&p->w.call, vm, p->vm, &vm));
    return vm->current_operations.n;
}

static void another_host_undoes_what_a_dead_one_had_begun(void **state)
{
    struct pair *p = *state;

    plug(p, p->second);
    snapshot_is_half_done(p);
    first_dies(p);
    assert_int_equal(held(p), 1);
    assert_true(orphans_wait(&p->w.call));
    assert_int_equal(orphans_recover(&p->w.call), 0);
    world_is_quiet(&p->w);
    assert_int_equal(held(p), 0);
    assert_int_equal(world_count(&p->w, CLASS_vdi), 1);
    world_must(&p->w, vdi_destroy(&p->w.call, &(struct vdi_destroy_args){p->disk}));
    assert_int_equal(world_files(&p->w, ".qcow2"), 0);
}

static void only_a_live_host_that_sees_the_storage_takes_it(void **state)
{
    struct pair *p = *state;
    const struct host *second;

    snapshot_is_half_done(p);
    first_dies(p);
    assert_false(orphans_wait(&p->w.call));
    plug(p, p->second);
    assert_true(orphans_wait(&p->w.call));
    world_must(&p->w, DB_GET(&p->w.call, host, p->second, &second));
    world_must(&p->w, CALL_SET(&p->w.call, host_metrics, second->metrics, live, false));
    assert_false(orphans_wait(&p->w.call));
}

static void a_dead_host_that_comes_back_has_nothing_to_do_with_it_any_more(void **state)
{
    struct pair *p = *state;

    snapshot_is_half_done(p);
    first_dies(p);
    p->w.xapid.host = p->first;
    assert_int_equal(ops_recover(&p->w.call), 0);
    world_fails(&p->w, op_commit(&p->op, NULL, NULL), "INTERNAL_ERROR");
    assert_int_equal(world_count(&p->w, CLASS_intent), 1);
}

static void what_it_had_begun_on_its_own_storage_waits_for_its_return(void **state)
{
    struct pair *p = *state;

    plug(p, p->second);
    world_must(&p->w, CALL_SET(&p->w.call, sr, p->w.sr, shared, false));
    snapshot_is_half_done(p);
    first_dies(p);
    assert_false(orphans_wait(&p->w.call));
    p->w.xapid.host = p->first;
    assert_int_equal(ops_recover(&p->w.call), 1);
    world_is_quiet(&p->w);
}

static void what_cannot_be_undone_yet_is_left_to_all_again(void **state)
{
    struct pair *p = *state;
    struct sr_table *there = p->w.xapid.srs;

    plug(p, p->second);
    snapshot_is_half_done(p);
    first_dies(p);
    p->w.xapid.srs = sr_table_new(&(struct sr_site){.mounts = "/nonexistent"});
    assert_int_equal(orphans_recover(&p->w.call), 1);
    assert_int_equal(held(p), 1);
    sr_table_free(p->w.xapid.srs);
    p->w.xapid.srs = there;
    call_refresh(&p->w.call);
    assert_true(orphans_wait(&p->w.call));
    assert_int_equal(orphans_recover(&p->w.call), 0);
    world_is_quiet(&p->w);
}

static void the_tasks_of_a_dead_host_have_failed(void **state)
{
    struct pair *p = *state;
    ref_t under_way = task_of(p, p->first, TASK_PENDING),
          ended = task_of(p, p->first, TASK_SUCCESS), others = task_of(p, p->second, TASK_PENDING);

    first_dies(p);
    assert_int_equal(task(p, under_way)->status, TASK_FAILURE);
    assert_string_equal(task(p, under_way)->error_info.v[0], "CANNOT_CONTACT_HOST");
    assert_int_equal(task(p, ended)->status, TASK_SUCCESS);
    assert_int_equal(task(p, others)->status, TASK_PENDING);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(another_host_undoes_what_a_dead_one_had_begun),
        TEST(only_a_live_host_that_sees_the_storage_takes_it),
        TEST(a_dead_host_that_comes_back_has_nothing_to_do_with_it_any_more),
        TEST(what_it_had_begun_on_its_own_storage_waits_for_its_return),
        TEST(what_cannot_be_undone_yet_is_left_to_all_again),
        TEST(the_tasks_of_a_dead_host_have_failed),
    };

    return cmocka_run_group_tests_name("ops-orphans", tests, NULL, NULL);
}
