/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* memory_image.c -- the memory image of a VM that was suspended goes, whatever became of the VM
 * before the host that had used it came back. */
#include "tests/unit/ops/lab.h"

#include <string.h>

#include "xapid/ops/op.h"
#include "xapid/ops/storage/attach.h"
#include "xapid/ops/vm/domain.h"

#define GIB ((int64_t)1 << 30)

struct scene {
    ref_t vm, sr, image, host; /* of the last: another one */
};

static ref_t create_image(struct lab *lab, ref_t sr)
{
    struct vdi row;

    row_defaults(&api_classes[CLASS_vdi], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(arena_alloc(&lab->arena, UUID_TEXT_SIZE));
    row.sr = sr;
    row.type = VDI_TYPE_SUSPEND;
    lab_create(lab, CLASS_vdi, &row);
    return row.ref;
}

static ref_t create_host(struct lab *lab)
{
    struct host row;

    row_defaults(&api_classes[CLASS_host], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(arena_alloc(&lab->arena, UUID_TEXT_SIZE));
    lab_create(lab, CLASS_host, &row);
    return row.ref;
}

/* A VM, and an image on a repository that is not there now. */
static struct scene set_up(struct lab *lab, enum vm_power_state state)
{
    struct scene s = {.vm = ref_new()};
    struct vm_metrics metrics;
    struct sr sr;
    struct vm vm;

    lab->xapid.queue = op_queue_new();
    lab->xapid.srs = sr_table_new(&(struct sr_site){0});
    row_defaults(&api_classes[CLASS_sr], &sr);
    sr.ref = s.sr = ref_new();
    sr.uuid = uuid_new(arena_alloc(&lab->arena, UUID_TEXT_SIZE));
    lab_create(lab, CLASS_sr, &sr);
    s.image = create_image(lab, s.sr);
    s.host = create_host(lab);
    row_defaults(&api_classes[CLASS_vm_metrics], &metrics);
    metrics.ref = ref_new();
    metrics.uuid = uuid_new(arena_alloc(&lab->arena, UUID_TEXT_SIZE));
    lab_create(lab, CLASS_vm_metrics, &metrics);
    row_defaults(&api_classes[CLASS_vm], &vm);
    vm.ref = s.vm;
    vm.uuid = uuid_new(arena_alloc(&lab->arena, UUID_TEXT_SIZE));
    vm.metrics = metrics.ref;
    vm.power_state = state;
    vm.memory_target = GIB;
    lab_create(lab, CLASS_vm, &vm);
    return s;
}

static void tear_down(struct lab *lab)
{
    op_queue_free(lab->xapid.queue);
    sr_table_free(lab->xapid.srs);
}

static struct error *use_image(struct txn *txn, void *arg)
{
    const struct scene *s = arg;

    TXN_SET(txn, vm, s->vm, suspend_vdi, s->image);
    return OK;
}

static struct error *run_elsewhere(struct txn *txn, void *arg)
{
    const struct scene *s = arg;

    TXN_SET(txn, vm, s->vm, power_state, VM_RUNNING);
    TXN_SET(txn, vm, s->vm, resident_on, s->host);
    return OK;
}

/* An operation of this host on the VM, that was lost with it: nothing is held by it any more. */
static void recover_lost(struct lab *lab, enum intent_kind kind, const void *intent)
{
    struct op op = {0};

    lab_must(lab, op_begin(&lab->call, &(struct op_spec){.kind = kind, .intent = intent}, &op));
    call_refresh(&lab->call);
    lab_must(lab, op_recover(&lab->call, db_find(&lab->call, CLASS_intent, op.intent)));
}

/* The one operation that is left removes the image, and holds nothing else. */
static void assert_image_is_being_removed(struct lab *lab, const struct scene *s)
{
    const struct vdi *image;
    const struct vm *vm;

    assert_int_equal(lab_count(lab, CLASS_intent), 1);
    image = db_find(&lab->call, CLASS_vdi, s->image);
    vm = db_find(&lab->call, CLASS_vm, s->vm);
    assert_int_equal(image->current_operations.n, 1);
    assert_int_equal(vm->current_operations.n, 0);
}

static void of_a_vm_that_was_suspended_again_meanwhile_the_first_image_goes(void **state)
{
    struct lab *lab = *state;
    struct scene s = set_up(lab, VM_SUSPENDED), now = s;
    struct vm_resume_intent intent = {.vm = s.vm, .image = s.image, .old_target = 2 * GIB};
    const struct vm *vm;

    now.image = create_image(lab, s.sr);
    lab_must(lab, db_update(&lab->call, use_image, &now));
    recover_lost(lab, INTENT_vm_resume, &intent);
    assert_image_is_being_removed(lab, &s);
    vm = db_find(&lab->call, CLASS_vm, s.vm);
    assert_true(ref_equal(vm->suspend_vdi, now.image));
    assert_int_equal(vm->power_state, VM_SUSPENDED);
    assert_true(vm->memory_target == GIB);
    tear_down(lab);
}

static void of_a_vm_that_was_shut_down_and_runs_elsewhere_the_image_goes(void **state)
{
    struct lab *lab = *state;
    struct scene s = set_up(lab, VM_HALTED);
    struct vm_shutdown_intent intent = {.vm = s.vm, .hard = true, .image = s.image};

    lab_must(lab, db_update(&lab->call, run_elsewhere, &s));
    recover_lost(lab, INTENT_vm_shutdown, &intent);
    assert_image_is_being_removed(lab, &s);
    assert_int_equal(((const struct vm *)db_find(&lab->call, CLASS_vm, s.vm))->power_state,
                     VM_RUNNING);
    tear_down(lab);
}

/* The VM is free; only the image waits for its storage. */
static void an_image_whose_storage_is_away_goes_later(void **state)
{
    struct lab *lab = *state;
    struct scene s = set_up(lab, VM_SUSPENDED);

    lab_must(lab, db_update(&lab->call, use_image, &s));
    call_refresh(&lab->call);
    lab_must(lab, vm_hard_shutdown(&lab->call, &(struct vm_hard_shutdown_args){s.vm}));
    assert_image_is_being_removed(lab, &s);
    assert_int_equal(((const struct vm *)db_find(&lab->call, CLASS_vm, s.vm))->power_state,
                     VM_HALTED);
    tear_down(lab);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, lab_setup, lab_teardown)
    const struct CMUnitTest tests[] = {
        TEST(of_a_vm_that_was_suspended_again_meanwhile_the_first_image_goes),
        TEST(of_a_vm_that_was_shut_down_and_runs_elsewhere_the_image_goes),
        TEST(an_image_whose_storage_is_away_goes_later),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
