/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vm_settings.c -- creating and changing VMs, and where they fit: on a database alone. */
#include "tests/unit/ops/lab.h"

#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/db/ready.h"
#include "xapid/ops/setters.h"
#include "xapid/ops/vm/checks.h"
#include "xapid/ops/vm/placement.h"

#define MIB ((int64_t)1 << 20)
#define GIB ((int64_t)1 << 30)

static struct vm wanted(void)
{
    struct vm vm;

    row_defaults(&api_classes[CLASS_vm], &vm);
    vm.name_label = "web";
    vm.vcpus_max = vm.vcpus_at_startup = 1;
    vm.memory_static_max = vm.memory_dynamic_max = vm.memory_dynamic_min = 256 * MIB;
    vm.memory_static_min = 128 * MIB;
    vm.hvm_boot_policy = "BIOS order";
    return vm;
}

static ref_t create(struct lab *lab, const struct vm *vm)
{
    ref_t ref;

    lab_must(lab, vm_create(&lab->call, &(struct vm_create_args){vm}, &ref));
    return ref;
}

static const struct vm *get(struct lab *lab, ref_t ref)
{
    call_refresh(&lab->call);
    return db_find(&lab->call, CLASS_vm, ref);
}

/*** create and destroy ***/

static void a_new_vm_has_metrics_a_seed_and_an_identity(void **state)
{
    struct lab *lab = *state;
    struct vm given = wanted();
    const struct vm *vm;

    given.uuid = "not this one";
    given.domid = 7;
    given.power_state = VM_RUNNING;
    given.is_a_snapshot = true;
    vm = get(lab, create(lab, &given));
    assert_string_not_equal(vm->uuid, "not this one");
    assert_int_equal(vm->domid, -1);
    assert_int_equal(vm->power_state, VM_HALTED);
    assert_false(vm->is_a_snapshot);
    assert_non_null(db_find(&lab->call, CLASS_vm_metrics, vm->metrics));
    assert_non_null(strmap_get(&vm->other_config, "mac_seed"));
    assert_string_not_equal(vm->generation_id, "0:0");
    assert_int_equal(vm->domain_type, DOMAIN_TYPE_HVM);
}

static void a_vm_that_could_never_run_is_not_created(void **state)
{
    struct lab *lab = *state;
    struct vm vm = wanted();
    ref_t ref;

    vm.vcpus_at_startup = 2;
    lab_refused(vm_create(&lab->call, &(struct vm_create_args){&vm}, &ref), "VALUE_NOT_SUPPORTED");
    vm = wanted();
    vm.memory_dynamic_min = 512 * MIB;
    lab_refused(vm_create(&lab->call, &(struct vm_create_args){&vm}, &ref),
                "MEMORY_CONSTRAINT_VIOLATION");
    vm = wanted();
    vm.power_state = VM_SUSPENDED;
    lab_refused(vm_create(&lab->call, &(struct vm_create_args){&vm}, &ref), "INVALID_VALUE");
    assert_int_equal(lab_count(lab, CLASS_vm), 0);
    assert_int_equal(lab_count(lab, CLASS_vm_metrics), 0);
}

/*** settings ***/

static void memory_stays_in_order(void **state)
{
    struct lab *lab = *state;
    struct vm given = wanted();
    ref_t vm = create(lab, &given);

    lab_refused(vm_set_memory_static_max(&lab->call,
                                         &(struct vm_set_memory_static_max_args){vm, 128 * MIB}),
                "MEMORY_CONSTRAINT_VIOLATION");
    lab_must(lab, vm_set_memory_limits(&lab->call, &(struct vm_set_memory_limits_args){
                                                       vm, 64 * MIB, GIB, 512 * MIB, 768 * MIB}));
    assert_true(get(lab, vm)->memory_dynamic_max == 768 * MIB);
    lab_refused(vm_set_memory_dynamic_range(
                    &lab->call, &(struct vm_set_memory_dynamic_range_args){vm, GIB, 512 * MIB}),
                "MEMORY_CONSTRAINT_VIOLATION");
    lab_must(lab, vm_set_memory(&lab->call, &(struct vm_set_memory_args){vm, 300 * MIB}));
    assert_true(get(lab, vm)->memory_static_max == 300 * MIB &&
                get(lab, vm)->memory_dynamic_min == 300 * MIB);
    assert_true(get(lab, vm)->memory_overhead == vm_memory_overhead(get(lab, vm)));
}

static void processors_suit_their_sockets(void **state)
{
    static const struct strpair platform[] = {{"cores-per-socket", "2"}};
    struct lab *lab = *state;
    struct vm given = wanted();
    ref_t vm = create(lab, &given);

    lab_must(lab, vm_set_vcpus_max(&lab->call, &(struct vm_set_vcpus_max_args){vm, 4}));
    lab_must(lab, vm_set_platform(&lab->call, &(struct vm_set_platform_args){vm, {1, platform}}));
    lab_refused(vm_set_vcpus_max(&lab->call, &(struct vm_set_vcpus_max_args){vm, 3}),
                "VCPU_MAX_NOT_CORES_PER_SOCKET_MULTIPLE");
    lab_refused(vm_set_vcpus_at_startup(&lab->call, &(struct vm_set_vcpus_at_startup_args){vm, 5}),
                "VALUE_NOT_SUPPORTED");
    lab_refused(vm_add_to_platform(&lab->call,
                                   &(struct vm_add_to_platform_args){vm, "cores-per-socket", "1"}),
                "MAP_DUPLICATE_KEY");
    lab_refused(vm_add_to_platform(&lab->call,
                                   &(struct vm_add_to_platform_args){vm, "nested-virt", "perhaps"}),
                "INVALID_VALUE");
    lab_must(lab, vm_remove_from_platform(
                      &lab->call, &(struct vm_remove_from_platform_args){vm, "cores-per-socket"}));
    lab_must(lab, vm_set_vcpus_max(&lab->call, &(struct vm_set_vcpus_max_args){vm, 3}));
}

static void boot_policy_and_domain_type_follow_each_other(void **state)
{
    struct lab *lab = *state;
    struct vm given = wanted();
    ref_t vm = create(lab, &given);

    lab_must(lab,
             vm_set_hvm_boot_policy(&lab->call, &(struct vm_set_hvm_boot_policy_args){vm, ""}));
    assert_int_equal(get(lab, vm)->domain_type, DOMAIN_TYPE_PV);
    lab_must(lab, vm_set_domain_type(&lab->call,
                                     &(struct vm_set_domain_type_args){vm, DOMAIN_TYPE_HVM}));
    assert_string_equal(get(lab, vm)->hvm_boot_policy, "BIOS order");
}

static void firmware_texts_are_set_once(void **state)
{
    static const struct strpair good[] = {{"bios-vendor", "Acme"}}, unknown[] = {{"oem-1", "x"}},
                                bad[] = {{"bios-vendor", "tab\there"}};
    struct lab *lab = *state;
    struct vm given = wanted();
    ref_t vm = create(lab, &given);

    lab_refused(
        vm_set_bios_strings(&lab->call, &(struct vm_set_bios_strings_args){vm, {1, unknown}}),
        "INVALID_VALUE");
    lab_refused(vm_set_bios_strings(&lab->call, &(struct vm_set_bios_strings_args){vm, {1, bad}}),
                "INVALID_VALUE");
    lab_must(lab,
             vm_set_bios_strings(&lab->call, &(struct vm_set_bios_strings_args){vm, {1, good}}));
    assert_string_equal(strmap_get(&get(lab, vm)->bios_strings, "bios-vendor"), "Acme");
    assert_string_equal(strmap_get(&get(lab, vm)->bios_strings, "oem-1"), "Xen");
    lab_refused(vm_set_bios_strings(&lab->call, &(struct vm_set_bios_strings_args){vm, {1, good}}),
                "VM_BIOS_STRINGS_ALREADY_SET");
    lab_refused(
        vm_copy_bios_strings(&lab->call, &(struct vm_copy_bios_strings_args){vm, lab->xapid.host}),
        "VM_BIOS_STRINGS_ALREADY_SET");
}

static void a_vm_becomes_a_template_only_when_halted(void **state)
{
    const struct field_desc *f = &api_fields[FIELD_vm_is_a_template];
    struct lab *lab = *state;
    struct vm given = wanted();
    ref_t vm = create(lab, &given);
    bool yes = true, no = false;

    lab_must(lab, db_update(&lab->call, db_set_txn,
                            &(struct db_set){FIELD_vm_power_state, vm, &(int){VM_RUNNING}}));
    lab_refused(setter_run(&lab->call, f, &(struct db_set){f->id, vm, &yes}), "VM_BAD_POWER_STATE");
    lab_must(lab, db_update(&lab->call, db_set_txn,
                            &(struct db_set){FIELD_vm_power_state, vm, &(int){VM_HALTED}}));
    lab_must(lab, setter_run(&lab->call, f, &(struct db_set){f->id, vm, &yes}));
    assert_true(get(lab, vm)->is_a_template);
    lab_must(lab, setter_run(&lab->call, f, &(struct db_set){f->id, vm, &no}));
    assert_false(get(lab, vm)->is_a_template);
}

/*** placement ***/

/* The host of the lab, with memory and hardware virtualisation. */
static const struct host *equip(struct lab *lab, int64_t memory)
{
    static const char *const capabilities[] = {"xen-3.0-x86_64", "hvm-3.0-x86_64"};
    struct host_metrics m;
    ref_t host = lab->xapid.host;

    row_defaults(&api_classes[CLASS_host_metrics], &m);
    m.ref = ref_new();
    m.uuid = "7a0f3c9e-2d0f-4a55-9a55-0f0d6bb6a0ff";
    m.live = true;
    m.memory_total = memory;
    lab_create(lab, CLASS_host_metrics, &m);
    lab_must(lab, CALL_SET(&lab->call, host, host, metrics, m.ref));
    lab_must(lab, CALL_SET(&lab->call, host, host, capabilities, {2, capabilities}));
    return db_find(&lab->call, CLASS_host, host);
}

static void the_memory_of_a_host_is_what_its_vms_leave(void **state)
{
    struct lab *lab = *state;
    struct vm given = wanted();
    ref_t first = create(lab, &given), second = create(lab, &given);
    const struct host *host = equip(lab, GIB);
    int64_t each = 256 * MIB + vm_memory_overhead(&given);

    assert_true(host_memory_free(lab->call.snap, host, REF_NULL) == GIB);
    lab_must(lab, CALL_SET(&lab->call, vm, first, resident_on, host->ref));
    lab_must(lab, CALL_SET(&lab->call, vm, second, scheduled_to_be_resident_on, lab->xapid.host));
    host = db_find(&lab->call, CLASS_host, lab->xapid.host);
    assert_true(host_memory_free(lab->call.snap, host, REF_NULL) == GIB - 2 * each);
    assert_true(host_memory_free(lab->call.snap, host, first) == GIB - each);
    /* One that moves within the host counts once. */
    lab_must(lab, CALL_SET(&lab->call, vm, first, scheduled_to_be_resident_on, lab->xapid.host));
    host = db_find(&lab->call, CLASS_host, lab->xapid.host);
    assert_true(host_memory_free(lab->call.snap, host, REF_NULL) == GIB - 2 * each);
}

static void a_vm_gets_as_much_of_its_range_as_there_is(void **state)
{
    struct vm vm = wanted();
    int64_t overhead;

    (void)state;
    vm.memory_dynamic_min = 128 * MIB;
    overhead = vm_memory_overhead(&vm);
    assert_true(vm_memory_target(&vm, GIB) == 256 * MIB);
    assert_true(vm_memory_target(&vm, 200 * MIB + overhead) == 200 * MIB);
    assert_true(vm_memory_target(&vm, overhead) == 0);
}

static void the_obstacles_of_a_host_are_told(void **state)
{
    struct lab *lab = *state;
    struct vm given = wanted();
    ref_t ref = create(lab, &given), host;
    const struct vm *vm;

    equip(lab, 128 * MIB);
    vm = get(lab, ref);
    lab_refused(vm_choose_host(&lab->call, vm, REF_NULL, &host), "HOST_NOT_ENOUGH_FREE_MEMORY");
    lab_must(lab, CALL_SET(&lab->call, host, lab->xapid.host, capabilities, {0}));
    vm = get(lab, ref);
    lab_refused(vm_choose_host(&lab->call, vm, REF_NULL, &host), "VM_HVM_REQUIRED");
    lab_must(lab, CALL_SET(&lab->call, vm, ref, hardware_platform_version, 3));
    vm = get(lab, ref);
    lab_refused(vm_choose_host(&lab->call, vm, REF_NULL, &host),
                "VM_HOST_INCOMPATIBLE_VIRTUAL_HARDWARE_PLATFORM_VERSION");
    lab_must(lab, CALL_SET(&lab->call, host, lab->xapid.host, enabled, false));
    vm = get(lab, ref);
    lab_refused(vm_choose_host(&lab->call, vm, REF_NULL, &host), "HOST_DISABLED");
}

static void a_host_that_suits_is_chosen(void **state)
{
    struct lab *lab = *state;
    struct vm given = wanted();
    ref_t ref = create(lab, &given), host = REF_NULL;
    const struct vm *vm;

    equip(lab, GIB);
    vm = get(lab, ref);
    lab_must(lab, vm_choose_host(&lab->call, vm, REF_NULL, &host));
    assert_true(ref_equal(host, lab->xapid.host));
}

#define T(name) cmocka_unit_test_setup_teardown(name, lab_setup, lab_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_new_vm_has_metrics_a_seed_and_an_identity),
        T(a_vm_that_could_never_run_is_not_created),
        T(memory_stays_in_order),
        T(processors_suit_their_sockets),
        T(boot_policy_and_domain_type_follow_each_other),
        T(firmware_texts_are_set_once),
        T(a_vm_becomes_a_template_only_when_halted),
        T(the_memory_of_a_host_is_what_its_vms_leave),
        T(a_vm_gets_as_much_of_its_range_as_there_is),
        T(the_obstacles_of_a_host_are_told),
        T(a_host_that_suits_is_chosen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
