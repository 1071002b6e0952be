/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vm_lifecycle.c -- what a VM allows: the whole table of states, and which obstacle is told first.
 */
#include "tests/unit/ops/lab.h"

#include <string.h>

#include "xapid/ops/vm/lifecycle.h"

#define H "halted"
#define P "paused"
#define R "running"
#define S "suspended"

/* The states in which each operation may begin, in the order errors name them; "" is never. */
static const struct expectation {
    enum vm_operations op;
    const char *states;
} table[] = {
    {VM_OP_SNAPSHOT, "halted, paused, running, suspended"},
    {VM_OP_CLONE, H},
    {VM_OP_COPY, H},
    {VM_OP_CREATE_TEMPLATE, "halted, suspended"},
    {VM_OP_REVERT, "halted, paused, running, suspended"},
    {VM_OP_CHECKPOINT, "paused, running, suspended"},
    {VM_OP_SNAPSHOT_WITH_QUIESCE, R},
    {VM_OP_PROVISION, H},
    {VM_OP_START, H},
    {VM_OP_START_ON, H},
    {VM_OP_PAUSE, R},
    {VM_OP_UNPAUSE, P},
    {VM_OP_CLEAN_SHUTDOWN, R},
    {VM_OP_CLEAN_REBOOT, R},
    {VM_OP_HARD_SHUTDOWN, "paused, running, suspended"},
    {VM_OP_POWER_STATE_RESET, "halted, paused, running, suspended"},
    {VM_OP_HARD_REBOOT, "paused, running"},
    {VM_OP_SUSPEND, R},
    {VM_OP_CSVM, S},
    {VM_OP_RESUME, S},
    {VM_OP_RESUME_ON, S},
    {VM_OP_POOL_MIGRATE, R},
    {VM_OP_MIGRATE_SEND, "halted, running, suspended"},
    {VM_OP_GET_BOOT_RECORD, "paused, running, suspended"},
    {VM_OP_SEND_SYSRQ, R},
    {VM_OP_SEND_TRIGGER, R},
    {VM_OP_QUERY_SERVICES, "halted, paused, running, suspended"},
    {VM_OP_SHUTDOWN, "paused, running, suspended"},
    {VM_OP_CALL_PLUGIN, R},
    {VM_OP_CHANGING_MEMORY_LIVE, R},
    {VM_OP_AWAITING_MEMORY_LIVE, R},
    {VM_OP_CHANGING_DYNAMIC_RANGE, "halted, running"},
    {VM_OP_CHANGING_STATIC_RANGE, H},
    {VM_OP_CHANGING_MEMORY_LIMITS, H},
    {VM_OP_CHANGING_SHADOW_MEMORY, H},
    {VM_OP_CHANGING_SHADOW_MEMORY_LIVE, R},
    {VM_OP_CHANGING_VCPUS, H},
    {VM_OP_CHANGING_VCPUS_LIVE, R},
    {VM_OP_CHANGING_NVRAM, H},
    {VM_OP_ASSERT_OPERATION_VALID, "halted, paused, running, suspended"},
    {VM_OP_DATA_SOURCE_OP, R},
    {VM_OP_UPDATE_ALLOWED_OPERATIONS, "halted, paused, running, suspended"},
    {VM_OP_MAKE_INTO_TEMPLATE, H},
    {VM_OP_IMPORT, ""},
    {VM_OP_EXPORT, "halted, suspended"},
    {VM_OP_METADATA_EXPORT, "halted, paused, running, suspended"},
    {VM_OP_REVERTING, ""},
    {VM_OP_DESTROY, "halted, suspended"},
    {VM_OP_CREATE_VTPM, H},
    {VM_OP_SYSPREP, R},
};
_Static_assert(ARRAY_SIZE(table) == VM_OP_SYSPREP + 1,
               "every operation is expected to be somewhere");

static struct vm vm_in(enum vm_power_state state)
{
    struct vm vm;

    row_defaults(&api_classes[CLASS_vm], &vm);
    vm.ref = ref_new();
    vm.power_state = state;
    return vm;
}

static void each_operation_begins_in_its_states_and_the_error_names_them(void **state)
{
    struct lab *lab = *state;

    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        for (int s = VM_HALTED; s <= VM_SUSPENDED; s++) {
            struct vm vm = vm_in((enum vm_power_state)s);
            struct error *e = vm_check(&lab->call, lab->call.snap, &vm, table[i].op);
            bool power = error_is(e, "VM_BAD_POWER_STATE");
            const char *name = vm_power_state_text(vm.power_state);

            if ((strstr(table[i].states, name) != NULL) == power)
                fail_msg("%s in state %s", enum_vm_operations.names[table[i].op], name);
            if (power) {
                assert_string_equal(e->params[0], call_ref(&lab->call, vm.ref));
                assert_string_equal(e->params[1], table[i].states);
                assert_string_equal(e->params[2], name);
            }
        }
    }
}

static void an_operation_that_is_shown_as_allowed_is_one_that_passes(void **state)
{
    struct lab *lab = *state;

    for (int s = VM_HALTED; s <= VM_SUSPENDED; s++) {
        struct vm vm = vm_in((enum vm_power_state)s);
        uint64_t shown = vm_allowed(&lab->xapid, lab->call.snap, &vm, true);

        for (int op = 0; op <= VM_OP_SYSPREP; op++)
            if (shown >> op & 1)
                lab_must(lab, vm_check(&lab->call, lab->call.snap, &vm, (enum vm_operations)op));
    }
}

static const struct error *refusal(struct lab *lab, const struct vm *vm, enum vm_operations op)
{
    struct error *e = vm_check(&lab->call, lab->call.snap, vm, op);

    assert_non_null(e);
    return e;
}

struct blocked {
    int op;
    const char *why;
};

static void a_blocked_operation_is_told_before_the_power_state(void **state)
{
    struct lab *lab = *state;
    struct vm vm = vm_in(VM_RUNNING);
    const struct blocked b = {VM_OP_START, "not on sundays"};
    const struct error *e;

    vm.blocked_operations = (struct map){1, &b};
    e = refusal(lab, &vm, VM_OP_START);
    assert_string_equal(e->code, "OPERATION_BLOCKED");
    assert_string_equal(e->params[1], "not on sundays");
}

static void the_power_state_is_told_before_another_operation(void **state)
{
    struct lab *lab = *state;
    struct vm vm = vm_in(VM_RUNNING);
    const struct enumpair current = {"OpaqueRef:x", VM_OP_SUSPEND};

    vm.current_operations = (struct enummap){1, &current};
    lab_refused(refusal(lab, &vm, VM_OP_START), "VM_BAD_POWER_STATE");
    lab_refused(refusal(lab, &vm, VM_OP_PAUSE), "OTHER_OPERATION_IN_PROGRESS");
}

static void another_operation_is_named_with_its_task(void **state)
{
    struct lab *lab = *state;
    struct vm vm = vm_in(VM_RUNNING);
    const struct enumpair current = {"OpaqueRef:task", VM_OP_SUSPEND};
    const struct error *e;

    vm.current_operations = (struct enummap){1, &current};
    e = refusal(lab, &vm, VM_OP_CLEAN_SHUTDOWN);
    assert_string_equal(e->params[0], "VM");
    assert_string_equal(e->params[2], "suspend");
    assert_string_equal(e->params[3], "OpaqueRef:task");
}

static bool passes_beside(struct lab *lab, enum vm_power_state power, int running,
                          enum vm_operations op)
{
    struct vm vm = vm_in(power);
    const struct enumpair current = {"OpaqueRef:task", running};

    vm.current_operations = (struct enummap){1, &current};
    return vm_check(&lab->call, lab->call.snap, &vm, op) == OK;
}

static void copies_go_together_and_so_do_snapshots(void **state)
{
    struct lab *lab = *state;

    assert_true(passes_beside(lab, VM_HALTED, VM_OP_CLONE, VM_OP_COPY));
    assert_true(passes_beside(lab, VM_HALTED, VM_OP_EXPORT, VM_OP_CLONE));
    assert_false(passes_beside(lab, VM_HALTED, VM_OP_CLONE, VM_OP_START));
    assert_true(passes_beside(lab, VM_RUNNING, VM_OP_SNAPSHOT, VM_OP_CHECKPOINT));
    assert_false(passes_beside(lab, VM_RUNNING, VM_OP_SNAPSHOT, VM_OP_SUSPEND));
}

static void a_hard_shutdown_passes_all_but_its_like(void **state)
{
    struct lab *lab = *state;

    assert_true(passes_beside(lab, VM_RUNNING, VM_OP_CLEAN_SHUTDOWN, VM_OP_HARD_SHUTDOWN));
    assert_true(passes_beside(lab, VM_RUNNING, VM_OP_HARD_REBOOT, VM_OP_HARD_SHUTDOWN));
    assert_false(passes_beside(lab, VM_RUNNING, VM_OP_HARD_SHUTDOWN, VM_OP_HARD_SHUTDOWN));
    assert_true(passes_beside(lab, VM_RUNNING, VM_OP_CLEAN_REBOOT, VM_OP_HARD_REBOOT));
    assert_false(passes_beside(lab, VM_RUNNING, VM_OP_HARD_SHUTDOWN, VM_OP_HARD_REBOOT));
}

static void a_template_is_copied_and_provisioned_but_not_started(void **state)
{
    struct lab *lab = *state;
    struct vm vm = vm_in(VM_HALTED);

    vm.is_a_template = true;
    lab_must(lab, vm_check(&lab->call, lab->call.snap, &vm, VM_OP_CLONE));
    lab_must(lab, vm_check(&lab->call, lab->call.snap, &vm, VM_OP_PROVISION));
    lab_must(lab, vm_check(&lab->call, lab->call.snap, &vm, VM_OP_DESTROY));
    assert_string_equal(refusal(lab, &vm, VM_OP_START)->code, "VM_IS_TEMPLATE");
    vm.is_default_template = true;
    assert_string_equal(refusal(lab, &vm, VM_OP_DESTROY)->params[1], "destroy");
    vm.is_a_template = false;
    lab_refused(refusal(lab, &vm, VM_OP_PROVISION), "PROVISION_ONLY_ALLOWED_ON_TEMPLATE");
}

static void a_snapshot_is_reverted_cloned_and_destroyed_only(void **state)
{
    struct lab *lab = *state;
    struct vm vm = vm_in(VM_SUSPENDED);

    vm.is_a_snapshot = vm.is_a_template = true;
    lab_must(lab, vm_check(&lab->call, lab->call.snap, &vm, VM_OP_REVERT));
    lab_must(lab, vm_check(&lab->call, lab->call.snap, &vm, VM_OP_CLONE));
    lab_must(lab, vm_check(&lab->call, lab->call.snap, &vm, VM_OP_DESTROY));
    lab_refused(refusal(lab, &vm, VM_OP_RESUME), "VM_IS_SNAPSHOT");
    vm.is_a_snapshot = vm.is_a_template = false;
    lab_refused(refusal(lab, &vm, VM_OP_REVERT), "REVERT_ONLY_ALLOWED_ON_SNAPSHOT");
}

static void a_guest_without_agent_is_asked_but_not_offered_to_be_asked(void **state)
{
    struct lab *lab = *state;
    struct vm vm = vm_in(VM_RUNNING);
    uint64_t shown;

    vm.domain_type = DOMAIN_TYPE_HVM; /* a paravirtual kernel needs no agent for it */
    shown = vm_allowed(&lab->xapid, lab->call.snap, &vm, true);

    assert_false(shown >> VM_OP_CLEAN_SHUTDOWN & 1);
    assert_false(shown >> VM_OP_SUSPEND & 1);
    assert_true(shown >> VM_OP_HARD_SHUTDOWN & 1);
    lab_must(lab, vm_check(&lab->call, lab->call.snap, &vm, VM_OP_CLEAN_SHUTDOWN));
}

static void a_vm_that_may_not_move_is_not_suspended(void **state)
{
    struct lab *lab = *state;
    struct vm vm = vm_in(VM_RUNNING);
    const struct strpair platform = {"nomigrate", "true"};

    vm.platform = (struct strmap){1, &platform};
    lab_refused(refusal(lab, &vm, VM_OP_SUSPEND), "VM_IS_IMMOBILE");
    lab_refused(refusal(lab, &vm, VM_OP_POOL_MIGRATE), "VM_IS_IMMOBILE");
    lab_must(lab, vm_check(&lab->call, lab->call.snap, &vm, VM_OP_SNAPSHOT));
}

static void a_control_domain_changes_its_sizes_while_it_runs_and_nothing_else(void **state)
{
    struct lab *lab = *state;
    struct vm vm = vm_in(VM_RUNNING);

    vm.is_control_domain = true;
    lab_must(lab, vm_check(&lab->call, lab->call.snap, &vm, VM_OP_CHANGING_VCPUS));
    lab_must(lab, vm_check(&lab->call, lab->call.snap, &vm, VM_OP_CHANGING_MEMORY_LIMITS));
    lab_refused(refusal(lab, &vm, VM_OP_HARD_SHUTDOWN), "OPERATION_NOT_ALLOWED");
}

static void one_that_is_only_busy_is_waited_for(void **state)
{
    struct lab *lab = *state;
    struct vm vm = vm_in(VM_RUNNING);
    const struct enumpair current = {"OpaqueRef:task", VM_OP_SNAPSHOT};

    vm.current_operations = (struct enummap){1, &current};
    lab_must(lab, vm_check_unless_busy(&lab->call, &vm, VM_OP_SUSPEND));
    vm.is_a_template = true;
    lab_refused(vm_check_unless_busy(&lab->call, &vm, VM_OP_SUSPEND), "VM_IS_TEMPLATE");
}

#define T(name) cmocka_unit_test_setup_teardown(name, lab_setup, lab_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(each_operation_begins_in_its_states_and_the_error_names_them),
        T(an_operation_that_is_shown_as_allowed_is_one_that_passes),
        T(a_blocked_operation_is_told_before_the_power_state),
        T(the_power_state_is_told_before_another_operation),
        T(another_operation_is_named_with_its_task),
        T(copies_go_together_and_so_do_snapshots),
        T(a_hard_shutdown_passes_all_but_its_like),
        T(a_template_is_copied_and_provisioned_but_not_started),
        T(a_snapshot_is_reverted_cloned_and_destroyed_only),
        T(a_guest_without_agent_is_asked_but_not_offered_to_be_asked),
        T(a_vm_that_may_not_move_is_not_suspended),
        T(a_control_domain_changes_its_sizes_while_it_runs_and_nothing_else),
        T(one_that_is_only_busy_is_waited_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
