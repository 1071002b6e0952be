/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* holds.c -- what an operation's row says that it holds is let go with it, whoever wrote that. */
#include "tests/unit/ops/lab.h"

#include <string.h>

#include "xapid/ops/intent.h"
#include "xapid/ops/op.h"

struct scene {
    ref_t vm, receiver;
};

static ref_t create_vm(struct lab *lab)
{
    struct vm row;

    row_defaults(&api_classes[CLASS_vm], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(arena_alloc(&lab->arena, UUID_TEXT_SIZE));
    lab_create(lab, CLASS_vm, &row);
    return row.ref;
}

/* As a move decides it: what held the VM at the sender's holds it at the receiver's. */
static struct error *hand_over(struct txn *txn, void *arg)
{
    const struct scene *s = arg;
    const struct op_hold hold = {CLASS_vm, s->vm, VM_OP_POOL_MIGRATE};
    const char *key = "OpaqueRef:of-the-sender";

    txn_map_put(txn, FIELD_vm_current_operations, s->vm, &key, &hold.operation);
    TXN_SET(txn, intent, s->receiver, holds, intent_holds(txn_arena(txn), key, 1, &hold));
    return OK;
}

static void what_was_handed_to_an_operation_since_it_was_read_is_let_go_with_it(void **state)
{
    struct lab *lab = *state;
    struct scene s = {.vm = create_vm(lab)};
    struct vm_receive_intent intent = {.vm = s.vm};
    struct op op = {0};

    lab_must(lab, op_begin(&lab->call,
                           &(struct op_spec){.kind = INTENT_vm_receive, .intent = &intent}, &op));
    s.receiver = op.intent;
    lab_must(lab, db_update(&lab->call, hand_over, &s));
    lab_must(lab, op_commit(&op, NULL, NULL));
    assert_int_equal(lab_count(lab, CLASS_intent), 0);
    assert_int_equal(((const struct vm *)db_find(&lab->call, CLASS_vm, s.vm))->current_operations.n,
                     0);
}

/* The record was on its way through the log when the daemon that had made it died. */
static struct error *receive(struct txn *txn, void *arg)
{
    const struct scene *s = arg;
    const struct vm_receive_intent intent = {.vm = s->vm, .received = true};

    TXN_SET(txn, intent, s->receiver, data,
            intent_to_text(txn_arena(txn), INTENT_vm_receive, &intent));
    return OK;
}

static void what_turns_out_to_be_received_is_not_given_up(void **state)
{
    struct lab *lab = *state;
    struct vm_receive_intent intent = {0}; /* of a VM that is gone: nothing is to be undone */
    const struct intent *before;
    struct scene s = {0};
    struct op op = {0};

    lab_must(lab, op_begin(&lab->call,
                           &(struct op_spec){.kind = INTENT_vm_receive, .intent = &intent}, &op));
    s.receiver = op.intent;
    call_refresh(&lab->call);
    before = db_find(&lab->call, CLASS_intent, op.intent);
    lab_must(lab, db_update(&lab->call, receive, &s));
    lab_refused(op_recover(&lab->call, before), "INTERNAL_ERROR");
    assert_int_equal(lab_count(lab, CLASS_intent), 1);
}

static struct error *leak(struct txn *txn, void *arg)
{
    static const int operation = VM_OP_START;
    const char *key = "OpaqueRef:of-an-operation-that-is-over";

    txn_map_put(txn, FIELD_vm_current_operations, *(const ref_t *)arg, &key, &operation);
    return OK;
}

static size_t n_locks(struct lab *lab, ref_t vm)
{
    call_refresh(&lab->call);
    return ((const struct vm *)db_find(&lab->call, CLASS_vm, vm))->current_operations.n;
}

static void a_lock_that_no_operation_holds_is_taken_away(void **state)
{
    struct lab *lab = *state;
    ref_t vm = create_vm(lab);
    const struct vm_start_intent intent = {.vm = vm};
    const struct op_hold hold = {CLASS_vm, vm, VM_OP_START};
    struct op op = {0};

    lab->xapid.queue = op_queue_new();
    lab_must(lab,
             op_begin(&lab->call,
                      &(struct op_spec){
                          .kind = INTENT_vm_start, .intent = &intent, .n_holds = 1, .holds = &hold},
                      &op));
    lab_must(lab, db_update(&lab->call, leak, &vm));
    assert_int_equal(n_locks(lab, vm), 2);
    ops_free_leaked(&lab->call);
    assert_int_equal(n_locks(lab, vm), 1);
    ops_free_leaked(&lab->call);
    assert_int_equal(n_locks(lab, vm), 1);
    lab_must(lab, op_commit(&op, NULL, NULL));
    assert_int_equal(n_locks(lab, vm), 0);
    op_queue_free(lab->xapid.queue);
}

/* As an import does. */
static void not_so_one_that_an_operation_says_it_holds(void **state)
{
    struct lab *lab = *state;
    ref_t vm = create_vm(lab);
    const struct vm_import_intent intent = {.task = "OpaqueRef:of-an-operation-that-is-over"};
    struct op op = {0};

    lab_must(lab, op_begin(&lab->call,
                           &(struct op_spec){.kind = INTENT_vm_import, .intent = &intent}, &op));
    lab_must(lab, db_update(&lab->call, leak, &vm));
    ops_free_leaked(&lab->call);
    assert_int_equal(n_locks(lab, vm), 1);
    op_abort(&op);
    ops_free_leaked(&lab->call);
    assert_int_equal(n_locks(lab, vm), 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, lab_setup, lab_teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_was_handed_to_an_operation_since_it_was_read_is_let_go_with_it),
        TEST(what_turns_out_to_be_received_is_not_given_up),
        TEST(a_lock_that_no_operation_holds_is_taken_away),
        TEST(not_so_one_that_an_operation_says_it_holds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
