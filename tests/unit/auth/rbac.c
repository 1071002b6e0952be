/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/auth/lab.h"
#include "xapid/auth/rbac.h"

static int setup(void **state)
{
    *state = lab_new();
    return 0;
}

static int teardown(void **state)
{
    lab_free(*state);
    return 0;
}

static const struct message_desc *message(const char *name)
{
    const struct message_desc *m = api_message_by_name(name);

    assert_non_null(m);
    return m;
}

static struct error *check(struct lab *l, enum role_id role, const char *name, const void *args)
{
    struct call call = lab_call(l, role, false, "u");
    struct error *e = rbac_check(&call, message(name), args);

    lab_end(&call);
    return e;
}

static void assert_denied(const struct error *e, const char *permission, const char *roles)
{
    assert_non_null(e);
    assert_string_equal(e->code, "RBAC_PERMISSION_DENIED");
    assert_string_equal(e->params[0], permission);
    assert_non_null(strstr(e->params[1], roles));
}

static void a_role_may_what_the_weaker_ones_may(void **state)
{
    static const char *const messages[] = {"VM.start", "VM.get_uuid", "VM.destroy",
                                           "subject.create"};
    struct lab *l = *state;

    for (size_t i = 0; i < ARRAY_SIZE(messages); i++) {
        enum role_id needed = message(messages[i])->role;

        for (int r = ROLE_LOCAL_ROOT; r < ROLE_COUNT; r++) {
            struct error *e = check(l, (enum role_id)r, messages[i], NULL);

            assert_int_equal(e == NULL, r <= (int)needed);
        }
    }
}

static void a_refusal_names_the_permission_and_the_roles_that_have_it(void **state)
{
    struct lab *l = *state;

    assert_denied(check(l, ROLE_READ_ONLY, "VM.start", NULL), "vm.start",
                  ": pool-admin, pool-operator, vm-power-admin, vm-admin, vm-operator");
    assert_denied(check(l, ROLE_POOL_ADMIN, "session.change_password", NULL),
                  "session.change_password", "only root");
}

static void a_key_with_a_weaker_role_opens_that_key_only(void **state)
{
    struct lab *l = *state;
    struct vm_add_to_other_config_args args = {.key = "folder", .value = "/a"};

    assert_null(check(l, ROLE_VM_OPERATOR, "VM.add_to_other_config", &args));
    args.key = "XenCenter.CustomFields.color";
    assert_null(check(l, ROLE_VM_OPERATOR, "VM.add_to_other_config", &args));
    assert_denied(check(l, ROLE_READ_ONLY, "VM.add_to_other_config", &args),
                  "vm.add_to_other_config/key:XenCenter.CustomFields.*", "vm-operator");
    args.key = "folders";
    assert_denied(check(l, ROLE_VM_OPERATOR, "VM.add_to_other_config", &args),
                  "vm.add_to_other_config", "vm-admin");
}

static void a_key_with_a_stronger_role_closes_that_key(void **state)
{
    struct lab *l = *state;
    struct vm_add_to_other_config_args args = {.key = "pci", .value = "0/0000:00:00.0"};
    struct vm_remove_from_other_config_args gone = {.key = "pci"};

    assert_denied(check(l, ROLE_VM_ADMIN, "VM.add_to_other_config", &args),
                  "vm.add_to_other_config/key:pci", "pool-admin");
    assert_denied(check(l, ROLE_POOL_OPERATOR, "VM.remove_from_other_config", &gone),
                  "vm.remove_from_other_config/key:pci", "pool-admin");
    assert_null(check(l, ROLE_POOL_ADMIN, "VM.add_to_other_config", &args));
}

static void every_denied_permission_is_a_role_row(void **state)
{
    struct lab *l = *state;
    struct vm_add_to_other_config_args args = {.key = "XenCenter.CustomFields.x"};
    struct error *e = check(l, ROLE_READ_ONLY, "VM.add_to_other_config", &args);

    assert_non_null(db_find(&l->call, CLASS_role, role_ref(e->params[0])));
    e = check(l, ROLE_READ_ONLY, "VM.start", NULL);
    assert_non_null(db_find(&l->call, CLASS_role, role_ref(e->params[0])));
}

static ref_t make_vm(struct lab *l, struct strmap platform)
{
    struct vm row;
    struct db_create create = {CLASS_vm, &row};
    char uuid[UUID_TEXT_SIZE];
    struct error *e;

    row_defaults(&api_classes[CLASS_vm], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(uuid);
    row.platform = platform;
    e = db_update(&l->call, db_create_txn, &create);
    if (e)
        fail_msg("%s", error_line(&l->arena, e));
    return row.ref;
}

static void a_whole_map_may_keep_a_stronger_key_but_not_change_it(void **state)
{
    struct lab *l = *state;
    struct strpair now[] = {{"hvm_serial", "pty"}, {"acpi", "1"}};
    struct strpair kept[] = {{"acpi", "0"}, {"hvm_serial", "pty"}};
    struct strpair changed[] = {{"hvm_serial", "file:/etc/passwd"}};
    struct strpair removed[] = {{"acpi", "1"}};
    struct vm_set_platform_args args = {.self = make_vm(l, (struct strmap){2, now})};

    args.value = (struct strmap){2, kept};
    assert_null(check(l, ROLE_VM_ADMIN, "VM.set_platform", &args));
    args.value = (struct strmap){1, changed};
    assert_denied(check(l, ROLE_VM_ADMIN, "VM.set_platform", &args),
                  "vm.set_platform/key:hvm_serial", "pool-admin");
    assert_null(check(l, ROLE_POOL_ADMIN, "VM.set_platform", &args));
    args.value = (struct strmap){1, removed};
    assert_denied(check(l, ROLE_VM_ADMIN, "VM.set_platform", &args),
                  "vm.set_platform/key:hvm_serial", "pool-admin");
    /* Of a row that is gone nothing can be kept. */
    args.self = ref_new();
    args.value = (struct strmap){2, kept};
    assert_non_null(check(l, ROLE_VM_ADMIN, "VM.set_platform", &args));
}

static void the_pools_own_messages_are_for_the_pool_and_root(void **state)
{
    struct lab *l = *state;
    const struct message_desc *internal = NULL;
    struct call call;

    for (size_t i = 0; i < api_n_messages && !internal; i++)
        if (api_messages[i].flags & MESSAGE_POOL_INTERNAL)
            internal = &api_messages[i];
    assert_non_null(internal);
    assert_string_equal(check(l, ROLE_POOL_ADMIN, internal->full_name, NULL)->code,
                        "INTERNAL_ERROR");
    assert_null(check(l, ROLE_LOCAL_ROOT, internal->full_name, NULL));
    call = lab_call(l, ROLE_READ_ONLY, true, "");
    assert_null(rbac_check(&call, internal, NULL));
    lab_end(&call);
    assert_null(rbac_check(&l->call, internal, NULL)); /* the daemon itself */
}

static void http_handlers_have_permissions_of_their_own(void **state)
{
    struct lab *l = *state;
    struct call call = lab_call(l, ROLE_VM_OPERATOR, false, "u");

    assert_null(rbac_check_http(&call, "connect_console"));
    assert_null(rbac_check_http(&call, "post_root"));
    assert_denied(rbac_check_http(&call, "get_export"), "http/get_export", "vm-admin");
    assert_denied(rbac_check_http(&call, "no_such_action"), "http/no_such_action", "root");
    assert_denied(rbac_check_permission(&call, "task.destroy/any"), "task.destroy/any",
                  "pool-operator");
    lab_end(&call);
}

static void a_subject_has_the_permissions_of_its_strongest_role(void **state)
{
    struct lab *l = *state;
    ref_t subject = lab_subject(l, "alice"), role = role_ref("vm-operator");
    ref_t admin = role_ref("pool-admin");
    struct subject_get_permissions_name_label_args args = {.self = subject};
    struct strings names;

    assert_null(subject_add_to_roles(&l->call, &(struct subject_add_to_roles_args){subject, role}));
    assert_string_equal(
        subject_add_to_roles(&l->call, &(struct subject_add_to_roles_args){subject, role})->code,
        "ROLE_ALREADY_EXISTS");
    assert_null(subject_remove_from_roles(
        &l->call, &(struct subject_remove_from_roles_args){subject, admin}));
    assert_string_equal(subject_remove_from_roles(
                            &l->call, &(struct subject_remove_from_roles_args){subject, admin})
                            ->code,
                        "ROLE_NOT_FOUND");
    assert_string_equal(
        subject_add_to_roles(&l->call,
                             &(struct subject_add_to_roles_args){subject, role_ref("vm.start")})
            ->code,
        "ROLE_NOT_FOUND");
    assert_null(subject_get_permissions_name_label(&l->call, &args, &names));
    assert_true(strings_contain(&names, "vm.start"));
    assert_false(strings_contain(&names, "subject.create"));
}

static void a_subject_identifier_is_given_once(void **state)
{
    struct lab *l = *state;
    struct subject row;
    struct subject_create_args args = {.args = &row};
    ref_t ref;

    lab_subject(l, "alice");
    row_defaults(&api_classes[CLASS_subject], &row);
    row.subject_identifier = "alice";
    assert_string_equal(subject_create(&l->call, &args, &ref)->code, "SUBJECT_ALREADY_EXISTS");
}

static void roles_are_found_by_what_they_permit(void **state)
{
    struct lab *l = *state;
    struct role_get_by_permission_name_label_args args = {.label = "subject.create"};
    struct role_get_permissions_name_label_args all = {.self = role_ref("read-only")};
    struct strings names;
    struct refs refs;

    assert_null(role_get_by_permission_name_label(&l->call, &args, &refs));
    assert_int_equal(refs.n, 1);
    assert_true(ref_equal(refs.v[0], role_ref("pool-admin")));
    args.label = "vm.get_uuid";
    assert_null(role_get_by_permission_name_label(&l->call, &args, &refs));
    assert_int_equal(refs.n, ROLE_COUNT - ROLE_POOL_ADMIN);
    assert_null(role_get_permissions_name_label(&l->call, &all, &names));
    assert_true(strings_contain(&names, "vm.get_uuid"));
    assert_false(strings_contain(&names, "vm.start"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(a_role_may_what_the_weaker_ones_may),
        TEST(a_refusal_names_the_permission_and_the_roles_that_have_it),
        TEST(a_key_with_a_weaker_role_opens_that_key_only),
        TEST(a_key_with_a_stronger_role_closes_that_key),
        TEST(every_denied_permission_is_a_role_row),
        TEST(a_whole_map_may_keep_a_stronger_key_but_not_change_it),
        TEST(the_pools_own_messages_are_for_the_pool_and_root),
        TEST(http_handlers_have_permissions_of_their_own),
        TEST(a_subject_has_the_permissions_of_its_strongest_role),
        TEST(a_subject_identifier_is_given_once),
        TEST(roles_are_found_by_what_they_permit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
