/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* host.c -- hosts, the pool, plug-ins and the objects that are only records. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "libxapi/value/value.h"
#include "tests/unit/ops/lab.h"
#include "xapid/db/ready.h"

static const struct host *host_of(struct lab *lab)
{
    call_refresh(&lab->call);
    return db_find(&lab->call, CLASS_host, lab->xapid.host);
}

/*** hosts ***/

static void a_host_is_disabled_and_enabled(void **state)
{
    struct lab *lab = *state;
    struct host_disable_args disable = {lab->xapid.host, true};
    struct host_enable_args enable = {lab->xapid.host};

    lab_must(lab, host_disable(&lab->call, &disable));
    assert_false(host_of(lab)->enabled);
    lab_must(lab, host_enable(&lab->call, &enable));
    assert_true(host_of(lab)->enabled);
    enable.host = ref_new();
    lab_refused(host_enable(&lab->call, &enable), "HANDLE_INVALID");
}

static void a_host_that_owes_mandatory_steps_stays_disabled(void **state)
{
    struct lab *lab = *state;
    static const int steps[] = {UPDATE_GUIDANCES_REBOOT_HOST};

    lab_must(lab, CALL_SET(&lab->call, host, lab->xapid.host, pending_guidances, {1, steps}));
    lab_refused(host_enable(&lab->call, &(struct host_enable_args){lab->xapid.host}),
                "HOST_PENDING_MANDATORY_GUIDANCE_NOT_EMPTY");
}

static void host_names_are_checked(void **state)
{
    static const char *const bad[] = {"", "-a", "a-", "a..b", "a b", "a_b", ".a", "a.", "a\n"};
    struct lab *lab = *state;
    struct host_set_hostname_live_args args = {lab->xapid.host, "node-1.example.org"};

    lab_must(lab, host_set_hostname_live(&lab->call, &args));
    assert_string_equal(host_of(lab)->hostname, "node-1.example.org");
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        args.hostname = bad[i];
        lab_refused(host_set_hostname_live(&lab->call, &args), "HOST_NAME_INVALID");
    }
}

static void storage_settings_stand_in_other_config_too(void **state)
{
    struct lab *lab = *state;
    struct host_set_iscsi_iqn_args iqn = {lab->xapid.host, "iqn.2024-01.org.example:ab"};
    struct host_set_multipathing_args multipathing = {lab->xapid.host, true};
    const struct host *host;

    lab_must(lab, host_set_iscsi_iqn(&lab->call, &iqn));
    lab_must(lab, host_set_multipathing(&lab->call, &multipathing));
    host = host_of(lab);
    assert_string_equal(host->iscsi_iqn, iqn.value);
    assert_string_equal(strmap_get(&host->other_config, "iscsi_iqn"), iqn.value);
    assert_true(host->multipathing);
    assert_string_equal(strmap_get(&host->other_config, "multipathing"), "true");
    iqn.value = "nonsense";
    lab_refused(host_set_iscsi_iqn(&lab->call, &iqn), "INVALID_VALUE");
}

static void a_running_vm_prevents_evacuation_and_a_control_domain_does_not(void **state)
{
    struct lab *lab = *state;
    struct host_assert_can_evacuate_args evacuate = {lab->xapid.host};
    struct host_get_vms_which_prevent_evacuation_args args = {lab->xapid.host};
    struct map map;
    struct error *e;
    struct vm vm;

    row_defaults(&api_classes[CLASS_vm], &vm);
    vm.ref = ref_new();
    vm.uuid = "7a0f3c9e-2d0f-4a55-9a55-0f0d6bb6a010";
    vm.resident_on = lab->xapid.host;
    vm.is_control_domain = true;
    lab_create(lab, CLASS_vm, &vm);
    lab_must(lab, host_assert_can_evacuate(&lab->call, &evacuate));
    vm.ref = ref_new();
    vm.uuid = "7a0f3c9e-2d0f-4a55-9a55-0f0d6bb6a011";
    vm.is_control_domain = false;
    vm.power_state = VM_RUNNING;
    lab_create(lab, CLASS_vm, &vm);
    lab_must(lab, host_get_vms_which_prevent_evacuation(&lab->call, &args, &map));
    assert_int_equal(map.n, 1);
    e = host_assert_can_evacuate(&lab->call, &evacuate);
    lab_refused(e, "CANNOT_EVACUATE_HOST");
    assert_string_equal(e->params[0], arena_printf(&lab->arena, "NO_HOSTS_AVAILABLE,%s",
                                                   call_ref(&lab->call, vm.ref)));
}

/*** plug-ins ***/

static void install(struct lab *lab, const char *name, const char *text, mode_t mode)
{
    char path[256];
    FILE *f;

    snprintf(path, sizeof path, "%s/plugins", lab->dir);
    mkdir(path, 0755);
    snprintf(path, sizeof path, "%s/plugins/%s", lab->dir, name);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(path, mode), 0);
}

static struct error *run_plugin(struct lab *lab, const char *name, const char **result)
{
    static const struct strpair pair = {"key", "a<b"};
    struct host_call_plugin_args args = {lab->xapid.host, name, "greet", {1, &pair}};

    return host_call_plugin(&lab->call, &args, result);
}

#define REPLY(status, member, value)                                                               \
    "#!/bin/sh\ncat <<END\n<?xml version='1.0'?><methodResponse><params><param><value><struct>"    \
    "<member><name>Status</name><value>" status "</value></member>"                                \
    "<member><name>" member "</name><value>" value "</value></member>"                             \
    "</struct></value></param></params></methodResponse>\nEND\n"

static void a_plugin_gets_a_call_and_gives_a_text(void **state)
{
    struct lab *lab = *state;
    const char *result = NULL;

    install(lab, "good", REPLY("Success", "Value", "<string>hello</string>"), 0755);
    lab_must(lab, run_plugin(lab, "good", &result));
    assert_string_equal(result, "hello");
    /* Its argument is the call: the function, a session, the arguments. */
    install(lab, "argument",
            "#!/bin/sh\ncase \"$1\" in *'<methodName>greet</methodName>'*OpaqueRef:*key*'a&lt;b'*) "
            "exit 3;; esac\nexit 4\n",
            0755);
    lab_refused(run_plugin(lab, "argument", &result), "XENAPI_PLUGIN_FAILURE");
    assert_string_equal(run_plugin(lab, "argument", &result)->params[0], "3");
}

static void a_plugin_that_fails_says_how(void **state)
{
    struct lab *lab = *state;
    const char *result = NULL;
    struct error *e;

    install(lab, "refuses",
            REPLY("Failure", "ErrorDescription",
                  "<array><data><value>SR_FULL</value><value>1</value></data></array>"),
            0755);
    e = run_plugin(lab, "refuses", &result);
    lab_refused(e, "SR_FULL");
    install(lab, "breaks", "#!/bin/sh\necho out; echo err >&2; exit 7\n", 0755);
    e = run_plugin(lab, "breaks", &result);
    lab_refused(e, "XENAPI_PLUGIN_FAILURE");
    assert_string_equal(e->params[0], "7");
    assert_string_equal(e->params[1], "out\n");
    assert_string_equal(e->params[2], "err");
    install(lab, "mumbles", "#!/bin/sh\necho nothing\n", 0755);
    lab_refused(run_plugin(lab, "mumbles", &result), "XENAPI_PLUGIN_FAILURE");
}

static void only_the_administrators_programs_in_the_folder_are_run(void **state)
{
    static const char *const bad[] = {"absent", "../plugins/good", "", ".", "..", "a/b"};
    struct lab *lab = *state;
    const char *result = NULL;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        lab_refused(run_plugin(lab, bad[i], &result), "XENAPI_MISSING_PLUGIN");
    install(lab, "open", "#!/bin/sh\n", 0777);
    lab_refused(run_plugin(lab, "open", &result), "XENAPI_MISSING_PLUGIN");
    install(lab, "plain", "#!/bin/sh\n", 0644);
    lab_refused(run_plugin(lab, "plain", &result), "XENAPI_MISSING_PLUGIN");
}

/*** records ***/

static void a_secret_keeps_a_chosen_uuid_and_no_two_have_the_same(void **state)
{
    struct lab *lab = *state;
    struct secret_introduce_args args = {.uuid = "7a0f3c9e-2d0f-4a55-9a55-0f0d6bb6a020",
                                         .value = "x"};
    ref_t ref, other;

    lab_must(lab, secret_introduce(&lab->call, &args, &ref));
    lab_refused(secret_introduce(&lab->call, &args, &other), "DB_UNIQUENESS_CONSTRAINT_VIOLATION");
    args.uuid = "mine";
    lab_refused(secret_introduce(&lab->call, &args, &other), "INVALID_VALUE");
    assert_int_equal(lab_count(lab, CLASS_secret), 1);
    lab_must(lab, secret_destroy(&lab->call, &(struct secret_destroy_args){ref}));
    assert_int_equal(lab_count(lab, CLASS_secret), 0);
}

static ref_t make_schedule(struct lab *lab, struct vmss *wanted)
{
    ref_t ref = REF_NULL;

    row_defaults(&api_classes[CLASS_vmss], wanted);
    lab_must(lab, vmss_create(&lab->call, &(struct vmss_create_args){wanted}, &ref));
    return ref;
}

static void a_timetable_always_has_all_its_keys(void **state)
{
    struct lab *lab = *state;
    struct vmss wanted;
    ref_t ref = make_schedule(lab, &wanted);
    struct vmss_add_to_schedule_args add = {ref, "days", "Monday,Friday"};
    struct vmss_remove_from_schedule_args remove = {ref, "days"};
    const struct vmss *row;

    lab_must(lab, vmss_add_to_schedule(&lab->call, &add));
    row = db_find(&lab->call, CLASS_vmss, ref);
    assert_string_equal(strmap_get(&row->schedule, "days"), "Monday,Friday");
    assert_string_equal(strmap_get(&row->schedule, "min"), "0");
    lab_must(lab, vmss_remove_from_schedule(&lab->call, &remove));
    row = db_find(&lab->call, CLASS_vmss, ref);
    assert_string_equal(strmap_get(&row->schedule, "days"), "Monday");
}

static void bad_timetables_are_refused(void **state)
{
    static const struct strpair bad[] = {{"min", "10"},       {"min", "60"}, {"hour", "24"},
                                         {"hour", "-1"},      {"hour", ""},  {"days", ""},
                                         {"days", "Monday,"}, {"days", "x"}, {"week", "1"}};
    struct lab *lab = *state;
    struct vmss wanted;
    ref_t ref = make_schedule(lab, &wanted);

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct vmss_set_schedule_args args = {ref, {1, &bad[i]}};

        lab_refused(vmss_set_schedule(&lab->call, &args), "INVALID_VALUE");
    }
    lab_refused(vmss_set_retained_snapshots(&lab->call,
                                            &(struct vmss_set_retained_snapshots_args){ref, 11}),
                "INVALID_VALUE");
}

static void a_schedule_with_vms_cannot_be_destroyed(void **state)
{
    struct lab *lab = *state;
    struct vmss wanted;
    ref_t ref = make_schedule(lab, &wanted);
    struct vm vm;

    row_defaults(&api_classes[CLASS_vm], &vm);
    vm.ref = ref_new();
    vm.uuid = "7a0f3c9e-2d0f-4a55-9a55-0f0d6bb6a030";
    vm.snapshot_schedule = ref;
    lab_create(lab, CLASS_vm, &vm);
    lab_refused(vmss_destroy(&lab->call, &(struct vmss_destroy_args){ref}), "VMSS_HAS_VM");
    lab_must(lab, CALL_SET(&lab->call, vm, vm.ref, snapshot_schedule, REF_NULL));
    lab_must(lab, vmss_destroy(&lab->call, &(struct vmss_destroy_args){ref}));
}

static void members_lose_a_group_that_is_destroyed(void **state)
{
    struct lab *lab = *state;
    struct vm_group wanted;
    const struct vm *row;
    struct vm vm;
    ref_t group;

    row_defaults(&api_classes[CLASS_vm_group], &wanted);
    lab_must(lab, vm_group_create(&lab->call, &(struct vm_group_create_args){&wanted}, &group));
    row_defaults(&api_classes[CLASS_vm], &vm);
    vm.ref = ref_new();
    vm.uuid = "7a0f3c9e-2d0f-4a55-9a55-0f0d6bb6a031";
    vm.groups = (struct refs){1, &group};
    lab_create(lab, CLASS_vm, &vm);
    lab_must(lab, vm_group_destroy(&lab->call, &(struct vm_group_destroy_args){group}));
    row = db_find(&lab->call, CLASS_vm, vm.ref);
    assert_int_equal(row->groups.n, 0);
}

/*** Secure Boot ***/

/* An archive made with tar: KEK.auth and db.auth, a byte each. */
static const char *archive(struct lab *lab, const char *files)
{
    char command[256], path[128];
    char *text = arena_alloc(&lab->arena, 1 << 16);
    FILE *f;
    size_t n;

    snprintf(path, sizeof path, "%s/tar", lab->dir);
    mkdir(path, 0755);
    snprintf(command, sizeof command,
             "cd %s && for f in %s; do echo x > $f; done && tar cf - %s | base64 -w0", path, files,
             files);
    f = popen(command, "r");
    assert_non_null(f);
    n = fread(text, 1, (1 << 16) - 1, f);
    pclose(f);
    text[n] = '\0';
    return text;
}

static void certificates_must_be_an_archive_with_both_lists(void **state)
{
    struct lab *lab = *state;
    struct pool_set_custom_uefi_certificates_args args = {lab->xapid.pool, "nonsense"};
    struct pool_get_guest_secureboot_readiness_args ask = {lab->xapid.pool};
    enum pool_guest_secureboot_readiness ready;

    lab_refused(pool_set_custom_uefi_certificates(&lab->call, &args), "INVALID_VALUE");
    args.value = archive(lab, "KEK.auth");
    lab_refused(pool_set_custom_uefi_certificates(&lab->call, &args), "INVALID_VALUE");
    args.value = archive(lab, "KEK.auth db.auth PK.auth");
    lab_must(lab, pool_set_custom_uefi_certificates(&lab->call, &args));
    lab_must(lab, pool_get_guest_secureboot_readiness(&lab->call, &ask, &ready));
    assert_int_equal(ready, POOL_GUEST_SECUREBOOT_READINESS_READY_NO_DBX);
    args.value = archive(lab, "KEK.auth db.auth PK.auth dbx.auth");
    lab_must(lab, pool_set_custom_uefi_certificates(&lab->call, &args));
    lab_must(lab, pool_get_guest_secureboot_readiness(&lab->call, &ask, &ready));
    assert_int_equal(ready, POOL_GUEST_SECUREBOOT_READINESS_READY);
    args.value = "";
    lab_must(lab, pool_set_custom_uefi_certificates(&lab->call, &args));
    lab_must(lab, pool_get_guest_secureboot_readiness(&lab->call, &ask, &ready));
    assert_int_equal(ready, POOL_GUEST_SECUREBOOT_READINESS_NOT_READY);
}

#define IN_LAB(test) cmocka_unit_test_setup_teardown(test, lab_setup, lab_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_LAB(a_host_is_disabled_and_enabled),
        IN_LAB(a_host_that_owes_mandatory_steps_stays_disabled),
        IN_LAB(host_names_are_checked),
        IN_LAB(storage_settings_stand_in_other_config_too),
        IN_LAB(a_running_vm_prevents_evacuation_and_a_control_domain_does_not),
        IN_LAB(a_plugin_gets_a_call_and_gives_a_text),
        IN_LAB(a_plugin_that_fails_says_how),
        IN_LAB(only_the_administrators_programs_in_the_folder_are_run),
        IN_LAB(a_secret_keeps_a_chosen_uuid_and_no_two_have_the_same),
        IN_LAB(a_timetable_always_has_all_its_keys),
        IN_LAB(bad_timetables_are_refused),
        IN_LAB(a_schedule_with_vms_cannot_be_destroyed),
        IN_LAB(members_lose_a_group_that_is_destroyed),
        IN_LAB(certificates_must_be_an_archive_with_both_lists),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
