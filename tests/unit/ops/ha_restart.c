/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ha_restart.c -- a restart that was planned begins only while it is wanted. */
#include "tests/unit/ops/lab.h"

#include <string.h>

#include "xapid/ops/ha/restart.h"
#include "xapid/ops/vm/domain.h"

struct planned {
    ref_t vm, row;
};

/* A VM that was lost with its host, and the leader's word that it is to be started here. */
static struct planned plan(struct lab *lab, const char *priority)
{
    struct planned p = {ref_new(), ref_new()};
    struct vm_metrics metrics;
    struct ha_restart row;
    struct vm vm;

    row_defaults(&api_classes[CLASS_vm_metrics], &metrics);
    metrics.ref = ref_new();
    metrics.uuid = "7a0f3c9e-2d0f-4a55-9a55-0f0d6bb6a011";
    lab_create(lab, CLASS_vm_metrics, &metrics);
    row_defaults(&api_classes[CLASS_vm], &vm);
    vm.ref = p.vm;
    vm.uuid = "7a0f3c9e-2d0f-4a55-9a55-0f0d6bb6a010";
    vm.metrics = metrics.ref;
    vm.ha_restart_priority = priority;
    vm.ha_always_run = strcmp(priority, "restart") == 0;
    lab_create(lab, CLASS_vm, &vm);
    row_defaults(&api_classes[CLASS_ha_restart], &row);
    row.ref = p.row;
    row.vm = p.vm;
    row.host = lab->xapid.host;
    row.best_effort = !vm.ha_always_run;
    lab_create(lab, CLASS_ha_restart, &row);
    return p;
}

static struct error *is_wanted(struct lab *lab, struct planned *p)
{
    return db_update(&lab->call, txn_ha_restart_wanted, &p->row);
}

static struct error *rest(struct txn *txn, void *arg)
{
    const struct planned *p = arg;

    TXN_SET(txn, vm, p->vm, ha_always_run, false);
    return OK;
}

static struct error *elsewhere(struct txn *txn, void *arg)
{
    const struct planned *p = arg;

    TXN_SET(txn, ha_restart, p->row, host, ref_new());
    return OK;
}

static struct error *started(struct txn *txn, void *arg)
{
    const struct planned *p = arg;

    return txn_vm_started(txn, p->vm, 7, false);
}

/* As a user's shutdown records it. */
static struct error *shut_down(struct txn *txn, void *arg)
{
    const struct planned *p = arg;

    TXN_SET(txn, vm, p->vm, ha_always_run, false);
    return txn_vm_halted(txn, p->vm);
}

static void what_the_leader_planned_is_wanted(void **state)
{
    struct lab *lab = *state;
    struct planned p = plan(lab, "restart");

    lab_must(lab, is_wanted(lab, &p));
}

static void a_vm_that_shall_rest_is_not(void **state)
{
    struct lab *lab = *state;
    struct planned p = plan(lab, "restart");

    lab_must(lab, db_update(&lab->call, rest, &p));
    lab_refused(is_wanted(lab, &p), "INTERNAL_ERROR");
}

static void a_vm_that_another_host_is_to_start_is_not(void **state)
{
    struct lab *lab = *state;
    struct planned p = plan(lab, "restart");

    lab_must(lab, db_update(&lab->call, elsewhere, &p));
    lab_refused(is_wanted(lab, &p), "INTERNAL_ERROR");
}

/* The restart may have waited behind the user's start, or its host stood still: it does not start
 * what was switched off after that. */
static void start_and_shut_down(struct lab *lab, struct planned *p)
{
    lab_must(lab, is_wanted(lab, p));
    lab_must(lab, db_update(&lab->call, started, p));
    lab_must(lab, db_update(&lab->call, shut_down, p));
    lab_refused(is_wanted(lab, p), "INTERNAL_ERROR");
    assert_int_equal(lab_count(lab, CLASS_ha_restart), 0);
}

static void once_somebody_has_started_a_protected_vm_the_plan_is_gone(void **state)
{
    struct lab *lab = *state;
    struct planned p = plan(lab, "restart");

    start_and_shut_down(lab, &p);
}

static void nor_is_one_tried_again_that_somebody_has_started(void **state)
{
    struct lab *lab = *state;
    struct planned p = plan(lab, "best-effort");

    start_and_shut_down(lab, &p);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, lab_setup, lab_teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_the_leader_planned_is_wanted),
        TEST(a_vm_that_shall_rest_is_not),
        TEST(a_vm_that_another_host_is_to_start_is_not),
        TEST(once_somebody_has_started_a_protected_vm_the_plan_is_gone),
        TEST(nor_is_one_tried_again_that_somebody_has_started),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
