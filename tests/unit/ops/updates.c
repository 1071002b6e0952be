/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* updates.c -- records of updates that came from elsewhere. */
#include "tests/unit/ops/lab.h"

static ref_t add_update(struct lab *lab)
{
    struct pool_update row;
    char uuid[UUID_TEXT_SIZE];

    row_defaults(&api_classes[CLASS_pool_update], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(uuid);
    lab_create(lab, CLASS_pool_update, &row);
    return row.ref;
}

static struct error *set_installed(struct txn *txn, void *arg)
{
    TXN_SET(txn, host, txn_call(txn)->xapid->host, updates, (struct refs){1, arg});
    return OK;
}

static void an_update_that_a_host_has_stays_until_the_host_is_asked_again(void **state)
{
    struct lab *lab = *state;
    struct call *call = &lab->call;
    ref_t update = add_update(lab), host = lab->xapid.host;

    lab_refused(pool_update_apply(call, &(struct pool_update_apply_args){update, host}),
                "UPDATE_APPLY_FAILED");
    lab_refused(pool_update_pool_apply(call, &(struct pool_update_pool_apply_args){update}),
                "UPDATE_POOL_APPLY_FAILED");
    lab_must(lab, db_update(call, set_installed, &update));
    lab_refused(pool_update_apply(call, &(struct pool_update_apply_args){update, host}),
                "UPDATE_ALREADY_APPLIED");
    lab_refused(pool_update_pool_apply(call, &(struct pool_update_pool_apply_args){update}),
                "UPDATE_ALREADY_APPLIED_IN_POOL");
    lab_refused(pool_update_destroy(call, &(struct pool_update_destroy_args){update}),
                "UPDATE_IS_APPLIED");
    lab_must(lab, pool_update_resync_host(call, &(struct pool_update_resync_host_args){host}));
    lab_must(lab, pool_update_destroy(call, &(struct pool_update_destroy_args){update}));
    assert_int_equal(lab_count(lab, CLASS_pool_update), 0);
}

static ref_t add_patch(struct lab *lab, bool applied)
{
    struct host_patch on_host;
    struct pool_patch row;
    char uuid[UUID_TEXT_SIZE];

    row_defaults(&api_classes[CLASS_pool_patch], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(uuid);
    lab_create(lab, CLASS_pool_patch, &row);
    row_defaults(&api_classes[CLASS_host_patch], &on_host);
    on_host.ref = ref_new();
    on_host.uuid = uuid_new(uuid);
    on_host.host = lab->xapid.host;
    on_host.pool_patch = row.ref;
    on_host.applied = applied;
    lab_create(lab, CLASS_host_patch, &on_host);
    return row.ref;
}

static void a_patch_goes_with_its_records_unless_it_is_applied(void **state)
{
    struct lab *lab = *state;
    struct call *call = &lab->call;
    ref_t applied = add_patch(lab, true), uploaded = add_patch(lab, false);

    lab_refused(pool_patch_destroy(call, &(struct pool_patch_destroy_args){applied}),
                "PATCH_IS_APPLIED");
    lab_must(lab, pool_patch_destroy(call, &(struct pool_patch_destroy_args){uploaded}));
    assert_int_equal(lab_count(lab, CLASS_pool_patch), 1);
    assert_int_equal(lab_count(lab, CLASS_host_patch), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            an_update_that_a_host_has_stays_until_the_host_is_asked_again, lab_setup, lab_teardown),
        cmocka_unit_test_setup_teardown(a_patch_goes_with_its_records_unless_it_is_applied,
                                        lab_setup, lab_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
