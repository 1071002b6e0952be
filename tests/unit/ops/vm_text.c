/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vm_text.c -- what is read and written as text: devices, the disks of a template, what a guest
 * says, dumps of settings. */
#include "tests/unit/ops/lab.h"

#include <linux/ioprio.h>
#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/ops/network/mac.h"
#include "xapid/ops/vm/device.h"
#include "xapid/ops/vm/disks_xml.h"
#include "xapid/ops/vm/dump.h"
#include "xapid/ops/vm/ended.h"
#include "xapid/ops/vm/guest.h"
#include "xapid/ops/vm/plans.h"
#include "xapid/ops/vm/qos.h"
#include "xapid/ops/vm/twin.h"

/*** devices ***/

static void names_and_numbers_of_disks_fit_each_other(void **state)
{
    struct lab *lab = *state;

    assert_string_equal(vbd_device_name(&lab->arena, 0), "xvda");
    assert_string_equal(vbd_device_name(&lab->arena, 25), "xvdz");
    assert_string_equal(vbd_device_name(&lab->arena, 26), "xvdaa");
    for (int i = 0; i < VBD_DEVICES; i++)
        assert_int_equal(vbd_device_number(vbd_device_name(&lab->arena, i)), i);
    assert_int_equal(vbd_device_number("hdb"), 1);
    assert_int_equal(vbd_device_number("sdc"), 2);
    assert_int_equal(vbd_device_number("254"), 254);
}

static void what_is_no_device_has_no_number(void **state)
{
    static const char *const bad[] = {
        "",           "255", "-1", "01", "xvd", "xvdA", "autodetect", "1 ", "99999999999999999999",
        "xvdzzzzzzzz"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(vbd_device_number(bad[i]), -1);
    assert_int_equal(vif_device_number("15"), 15);
    assert_int_equal(vif_device_number("16"), -1);
}

static void add_vbd(struct lab *lab, ref_t vm, const char *userdevice)
{
    struct vbd vbd;
    char uuid[UUID_TEXT_SIZE];

    row_defaults(&api_classes[CLASS_vbd], &vbd);
    vbd.ref = ref_new();
    vbd.uuid = uuid_new(uuid);
    vbd.vm = vm;
    vbd.userdevice = userdevice;
    lab_create(lab, CLASS_vbd, &vbd);
}

static ref_t add_vm(struct lab *lab)
{
    struct vm vm;
    char uuid[UUID_TEXT_SIZE];

    row_defaults(&api_classes[CLASS_vm], &vm);
    vm.ref = ref_new();
    vm.uuid = uuid_new(uuid);
    lab_create(lab, CLASS_vm, &vm);
    return vm.ref;
}

static void free_devices_leave_out_those_in_use(void **state)
{
    struct lab *lab = *state;
    ref_t vm = add_vm(lab), other = add_vm(lab);
    struct strings all;

    add_vbd(lab, vm, "0");
    add_vbd(lab, vm, "xvdc");
    add_vbd(lab, other, "1");
    call_refresh(&lab->call);
    all = vbd_devices_free(&lab->arena, lab->call.snap, vm);
    assert_int_equal(all.n, VBD_DEVICES - 2);
    assert_string_equal(all.v[0], "1");
    assert_string_equal(all.v[1], "3");
    assert_int_equal(vif_devices_free(&lab->arena, lab->call.snap, vm).n, VIF_DEVICES);
}

/*** the disks of a template ***/

static void the_disks_of_a_template_are_read(void **state)
{
    struct lab *lab = *state;
    struct disk_wanted *disks;
    const char *why;
    size_t n;

    assert_true(
        disks_xml_read(&lab->arena,
                       "<provision><disk device=\"0\" size=\"10737418240\" sr=\"abc\" "
                       "bootable=\"true\" type=\"system\"/>\n"
                       "<disk type='user' bootable='false' sr='' size='1' device='1'/></provision>",
                       &n, &disks, &why));
    assert_int_equal(n, 2);
    assert_string_equal(disks[0].device, "0");
    assert_true(disks[0].size == 10737418240);
    assert_string_equal(disks[0].sr, "abc");
    assert_true(disks[0].bootable);
    assert_int_equal(disks[0].type, VDI_TYPE_SYSTEM);
    assert_false(disks[1].bootable);
    assert_true(disks_xml_read(&lab->arena, "<provision/>", &n, &disks, &why));
    assert_int_equal(n, 0);
}

static void a_template_that_asks_for_nonsense_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "<provision>",
        "<disks/>",
        "<provision><disk device='0' size='0' sr=''/></provision>",
        "<provision><disk device='0' size='-5' sr=''/></provision>",
        "<provision><disk device='0' size='1x' sr=''/></provision>",
        "<provision><disk size='5' sr=''/></provision>",
        "<provision><disk device='300' size='5' sr=''/></provision>",
        "<provision><disk device='0' size='5' sr='' type='tape'/></provision>",
        "<provision><disk device='0' size='5' sr='' bootable='maybe'/></provision>",
        "<provision><disk device='0' size='5' sr=''/><disk device='xvda' size='5' "
        "sr=''/></provision>",
        "<!DOCTYPE provision [<!ENTITY a 'b'>]><provision><disk device='0' size='5' "
        "sr='&a;'/></provision>",
    };
    struct lab *lab = *state;
    struct disk_wanted *disks;
    const char *why;
    size_t n;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        if (disks_xml_read(&lab->arena, bad[i], &n, &disks, &why))
            fail_msg("accepted: %s", bad[i]);
        assert_non_null(why);
    }
}

/*** what a guest says ***/

static const char *of(const struct strmap *map, const char *key)
{
    const char *value = strmap_get(map, key);

    return value ? value : "(none)";
}

static void the_keys_of_a_guest_become_its_metrics(void **state)
{
    static const struct strpair keys[] = {
        {"attr/PVAddons/MajorVersion", "8"}, {"attr/PVAddons/MinorVersion", "4"},
        {"data/os_name", "Debian"},          {"data/os_distro", "debian"},
        {"attr/vif/0/ipv4/0", "10.0.0.1"},   {"attr/vif/0/ipv4/1", "10.0.0.2"},
        {"attr/vif/1/ipv6/0", "fe80::1"},    {"attr/eth0/ip", "10.9.9.9"},
        {"attr/eth2/ip", "10.0.2.1"},        {"control/feature-shutdown", "1"},
        {"control/feature-suspend", "1"},    {"control/shutdown", "poweroff"},
        {"data/service/ntp/state", "up"},    {"vm-data/secret", "x"},
    };
    struct strmap map = {ARRAY_SIZE(keys), keys};
    struct lab *lab = *state;
    struct vm_guest_metrics m;

    row_defaults(&api_classes[CLASS_vm_guest_metrics], &m);
    assert_true(guest_metrics_of_keys(&lab->arena, &map, &m));
    assert_string_equal(of(&m.pv_drivers_version, "major"), "8");
    assert_string_equal(of(&m.pv_drivers_version, "micro"), "-1");
    assert_true(m.pv_drivers_detected);
    assert_string_equal(of(&m.os_version, "name"), "Debian");
    assert_string_equal(of(&m.networks, "0/ip"), "10.0.0.1");
    assert_string_equal(of(&m.networks, "0/ipv4/0"), "10.0.0.1");
    assert_string_equal(of(&m.networks, "0/ipv4/1"), "10.0.0.2");
    assert_string_equal(of(&m.networks, "1/ipv6/0"), "fe80::1");
    assert_string_equal(of(&m.networks, "2/ip"), "10.0.2.1");
    assert_string_equal(of(&m.other, "feature-suspend"), "1");
    assert_string_equal(of(&m.other, "shutdown"), "(none)");
    assert_string_equal(of(&m.services, "ntp/state"), "up");
}

static void a_guest_that_cannot_suspend_says_why_instead(void **state)
{
    static const struct strpair keys[] = {{"control/feature-suspend", "1"},
                                          {"data/cant_suspend_reason", "no swap"}};
    struct strmap map = {ARRAY_SIZE(keys), keys};
    struct lab *lab = *state;
    struct vm_guest_metrics m;

    assert_true(guest_metrics_of_keys(&lab->arena, &map, &m));
    assert_string_equal(of(&m.other, "feature-suspend"), "(none)");
    assert_string_equal(of(&m.other, "data-cant-suspend-reason"), "no swap");
}

static void a_guest_that_floods_is_cut_short(void **state)
{
    struct lab *lab = *state;
    struct strpair *keys = arena_array(&lab->arena, struct strpair, 5000);
    char *longest = arena_alloc(&lab->arena, 100000);
    struct strmap map = {5000, keys};
    struct vm_guest_metrics m;

    memset(longest, 'x', 99999);
    longest[99999] = '\0';
    for (size_t i = 0; i < 5000; i++)
        keys[i] = (struct strpair){arena_printf(&lab->arena, "control/feature-%zu", i), longest};
    assert_true(guest_metrics_of_keys(&lab->arena, &map, &m));
    assert_int_equal(m.other.n, GUEST_MAX_ENTRIES);
    assert_int_equal(strlen(m.other.v[0].value), GUEST_MAX_VALUE);
}

static void a_guest_that_says_nothing_has_no_metrics(void **state)
{
    struct lab *lab = *state;
    struct strmap none = {0};
    struct vm_guest_metrics m;

    assert_false(guest_metrics_of_keys(&lab->arena, &none, &m));
}

/*** ends ***/

static void a_guest_that_crashes_at_once_is_not_started_again(void **state)
{
    struct vm vm = {.actions_after_crash = ON_CRASH_RESTART};

    (void)state;
    assert_int_equal(vm_ended_action(&vm, HV_CRASH, 119 * USEC_PER_SEC), ENDED_DESTROY);
    assert_int_equal(vm_ended_action(&vm, HV_CRASH, 120 * USEC_PER_SEC), ENDED_RESTART);
    vm.actions_after_crash = ON_CRASH_PRESERVE;
    assert_int_equal(vm_ended_action(&vm, HV_CRASH, 0), ENDED_PRESERVE);
    vm.actions_after_crash = ON_CRASH_COREDUMP_AND_DESTROY;
    assert_int_equal(vm_ended_action(&vm, HV_CRASH, 999 * USEC_PER_SEC), ENDED_DESTROY);
}

static void a_guest_that_ends_itself_gets_what_its_vm_says(void **state)
{
    struct vm vm = {.actions_after_shutdown = ON_EXIT_DESTROY,
                    .actions_after_reboot = ON_EXIT_RESTART};

    (void)state;
    assert_int_equal(vm_ended_action(&vm, HV_POWEROFF, 0), ENDED_DESTROY);
    assert_int_equal(vm_ended_action(&vm, HV_REBOOT, 0), ENDED_RESTART);
    vm.actions_after_shutdown = ON_EXIT_RESTART;
    vm.actions_after_reboot = ON_EXIT_DESTROY;
    assert_int_equal(vm_ended_action(&vm, HV_POWEROFF, 0), ENDED_RESTART);
    assert_int_equal(vm_ended_action(&vm, HV_REBOOT, 0), ENDED_DESTROY);
    assert_int_equal(vm_ended_action(&vm, HV_NONE, 0), ENDED_DESTROY);
}

/*** twins ***/

static void a_clone_has_a_seed_of_its_own_and_with_it_other_addresses(void **state)
{
    static const struct strpair config[] = {{"mac_seed", "old"}, {"folder", "/a"}};
    struct lab *lab = *state;
    struct vm vm;
    struct strmap map;

    row_defaults(&api_classes[CLASS_vm], &vm);
    vm.other_config = (struct strmap){ARRAY_SIZE(config), config};
    map = vm_twin_other_config(&lab->arena, &vm, "new");
    assert_string_equal(of(&map, "mac_seed"), "new");
    assert_string_equal(of(&map, "folder"), "/a");
    assert_string_equal(of(&map, "base_template_name"), "(none)");
    assert_string_not_equal(vif_mac_from_seed(&lab->arena, "old", "0"),
                            vif_mac_from_seed(&lab->arena, "new", "0"));
    assert_string_equal(vif_mac_from_seed(&lab->arena, "new", "0"),
                        vif_mac_from_seed(&lab->arena, "new", "0"));
    assert_true(mac_is_good(vif_mac_from_seed(&lab->arena, "new", "1")));
}

static void a_clone_of_a_supplied_template_keeps_its_name(void **state)
{
    static const struct strpair config[] = {{"default_template", "true"}};
    struct lab *lab = *state;
    struct vm vm;
    struct strmap map;

    row_defaults(&api_classes[CLASS_vm], &vm);
    vm.name_label = "Debian";
    vm.other_config = (struct strmap){1, config};
    map = vm_twin_other_config(&lab->arena, &vm, "new");
    assert_string_equal(of(&map, "base_template_name"), "Debian");
    assert_string_equal(of(&map, "default_template"), "(none)");
}

/*** texts of the daemon's own ***/

static void settings_come_back_from_their_dump(void **state)
{
    static const struct strpair platform[] = {{"a<b", "c&\"d\""}};
    struct lab *lab = *state;
    struct vm_setting *settings;
    bool name = false, map = false, state_too = false;
    struct vm vm;
    size_t n;

    row_defaults(&api_classes[CLASS_vm], &vm);
    vm.name_label = "with <markup> & more";
    vm.platform = (struct strmap){1, platform};
    vm.affinity = ref_new(); /* a host that is not there */
    vm.power_state = VM_SUSPENDED;
    assert_true(vm_undump(&lab->arena, lab->call.snap, vm_dump(&lab->arena, &vm), &n, &settings));
    for (size_t i = 0; i < n; i++) {
        if (settings[i].field->id == FIELD_vm_name_label)
            name = strcmp(*(const char *const *)settings[i].value, vm.name_label) == 0;
        if (settings[i].field->id == FIELD_vm_platform)
            map = strcmp(of(settings[i].value, "a<b"), "c&\"d\"") == 0;
        if (settings[i].field->id == FIELD_vm_affinity)
            assert_true(ref_is_null(*(const ref_t *)settings[i].value));
        state_too |= settings[i].field->id == FIELD_vm_power_state;
    }
    assert_true(name);
    assert_true(map);
    assert_false(state_too);
    assert_false(vm_undump(&lab->arena, lab->call.snap, "", &n, &settings));
    assert_false(vm_undump(&lab->arena, lab->call.snap, "('a' 'b')", &n, &settings));
}

static void plans_come_back_from_their_text(void **state)
{
    struct lab *lab = *state;
    struct disk_plans plans = {0}, read;
    const struct vdi_plan a = {
        .vdi = ref_new(), .source = ref_new(), .sr = ref_new(), .how = VDI_CLONE};
    const struct vdi_plan b = {.vdi = ref_new(), .sr = a.sr, .how = VDI_EMPTY};
    struct vdi_plan twice = a;
    struct strings text;

    twice.vdi = ref_new();
    disk_plans_add(&lab->arena, &plans, &a);
    disk_plans_add(&lab->arena, &plans, &b);
    disk_plans_add(&lab->arena, &plans, &twice);
    assert_int_equal(plans.n, 2);
    text = disk_plans_text(&lab->arena, &plans);
    assert_true(disk_plans_read(&lab->arena, &text, &read));
    assert_int_equal(read.n, 2);
    assert_true(ref_equal(read.v[0].source, a.source) && read.v[0].how == VDI_CLONE);
    assert_true(ref_is_null(read.v[1].source) && ref_equal(read.v[1].sr, a.sr));
    assert_true(ref_equal(disk_plans_of(&read, a.source), a.vdi));
    text.v = (const char *const[]){"nonsense", "x y z clone"};
    assert_false(disk_plans_read(&lab->arena, &text, &read));
}

/*** what devices may take ***/

static int64_t rate_of(const char *type, const char *kbps, const char *slice, int *interval)
{
    struct strpair params[] = {{"kbps", kbps}, {"timeslice_us", slice}};
    struct vif vif = {
        .uuid = "", .qos_algorithm_type = type, .qos_algorithm_params = {slice ? 2 : 1, params}};
    struct hv_nic nic = {0};

    vif_limit(&vif, &nic);
    *interval = nic.rate_interval;
    return nic.rate;
}

static void a_nic_is_limited_in_kilobytes_a_second(void **state)
{
    int interval;

    (void)state;
    assert_int_equal(rate_of("ratelimit", "100", NULL, &interval), 102400);
    assert_int_equal(interval, 50000);
    assert_int_equal(rate_of("ratelimit", "1", "1000", &interval), 1024);
    assert_int_equal(interval, 1000);
}

static void a_limit_that_means_nothing_is_none(void **state)
{
    int interval;

    (void)state;
    assert_int_equal(rate_of("", "100", NULL, &interval), 0);
    assert_int_equal(rate_of("ionice", "100", NULL, &interval), 0);
    assert_int_equal(rate_of("ratelimit", "0", NULL, &interval), 0);
    assert_int_equal(rate_of("ratelimit", "fast", NULL, &interval), 0);
    assert_int_equal(rate_of("ratelimit", "99999999999999", NULL, &interval), 0);
    assert_int_equal(rate_of("ratelimit", "100", "0", &interval), 0);
    assert_int_equal(interval, 0);
}

static int priority_of(const char *type, const char *sched, const char *class)
{
    struct strpair params[] = {{"sched", sched}, {"class", class}};
    struct vbd vbd = {
        .uuid = "", .qos_algorithm_type = type, .qos_algorithm_params = {class ? 2 : 1, params}};

    return vbd_io_priority(&vbd);
}

static void a_disk_has_a_priority_by_name_or_number(void **state)
{
    (void)state;
    assert_int_equal(priority_of("ionice", "rt", "highest"), IOPRIO_CLASS_RT << 13);
    assert_int_equal(priority_of("ionice", "be", "low"), IOPRIO_CLASS_BE << 13 | 6);
    assert_int_equal(priority_of("ionice", "best-effort", "3"), IOPRIO_CLASS_BE << 13 | 3);
    assert_int_equal(priority_of("ionice", "real-time", NULL), IOPRIO_CLASS_RT << 13 | 4);
    assert_int_equal(priority_of("ionice", "idle", "2"), IOPRIO_CLASS_IDLE << 13);
}

static void a_priority_that_means_nothing_is_none(void **state)
{
    (void)state;
    assert_int_equal(priority_of("", "rt", "0"), 0);
    assert_int_equal(priority_of("ratelimit", "rt", "0"), 0);
    assert_int_equal(priority_of("ionice", "soon", "0"), 0);
    assert_int_equal(priority_of("ionice", "rt", "8"), 0);
    assert_int_equal(priority_of("ionice", "rt", "best"), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, lab_setup, lab_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(names_and_numbers_of_disks_fit_each_other),
        T(what_is_no_device_has_no_number),
        T(free_devices_leave_out_those_in_use),
        T(the_disks_of_a_template_are_read),
        T(a_template_that_asks_for_nonsense_is_refused),
        T(the_keys_of_a_guest_become_its_metrics),
        T(a_guest_that_cannot_suspend_says_why_instead),
        T(a_guest_that_floods_is_cut_short),
        T(a_guest_that_says_nothing_has_no_metrics),
        T(a_guest_that_crashes_at_once_is_not_started_again),
        T(a_guest_that_ends_itself_gets_what_its_vm_says),
        T(a_clone_has_a_seed_of_its_own_and_with_it_other_addresses),
        T(a_clone_of_a_supplied_template_keeps_its_name),
        T(settings_come_back_from_their_dump),
        T(plans_come_back_from_their_text),
        T(a_nic_is_limited_in_kilobytes_a_second),
        T(a_limit_that_means_nothing_is_none),
        T(a_disk_has_a_priority_by_name_or_number),
        T(a_priority_that_means_nothing_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
