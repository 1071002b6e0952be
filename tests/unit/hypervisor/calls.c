/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* calls.c -- each call of hv.h against the simulator. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fixture.h"

static struct hv_host_info host(struct fixture *f)
{
    struct hv_host_info info;

    assert_ok(f, hv_host(f->hv, rq_read(f), &info));
    return info;
}

static void the_host_is_described_completely(void **state)
{
    struct hv_host_info info = host(*state);

    assert_string_equal(info.hypervisor, "simulator");
    assert_int_equal(info.memory_total, 64 * GIB);
    assert_int_equal(info.memory_free, 64 * GIB);
    assert_int_equal(info.cpu_count, 16);
    assert_int_equal(info.socket_count, 2);
    assert_non_null(strstr(info.cpu_flags, "sse2"));
    assert_string_equal(info.capabilities,
                        "xen-3.0-x86_64 hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64");
    assert_int_equal(info.features_hvm[8], '-');
    assert_true(info.boot_time > 0 && info.boot_time <= clock_wall());
    assert_true(info.cpu_mhz > 1000);
}

static void a_domain_is_built_paused_and_counts_its_memory(void **state)
{
    struct fixture *f = *state;
    struct hv_domain_config config = guest_config(&f->arena);
    const struct hv_domain *d = get_domain(f, build_guest(f, &config));
    const struct hv_domain *all;
    size_t n;

    assert_int_equal(d->state, HV_PAUSED);
    assert_int_equal(d->domid, 1);
    assert_int_equal(d->memory, 256 * MIB);
    assert_int_equal(d->vcpus, 2);
    assert_null(guest_key(d, "data/updated"));
    assert_int_equal(host(f).memory_free, 64 * GIB - 256 * MIB);
    assert_ok(f, hv_list(f->hv, rq_read(f), &n, &all));
    assert_int_equal(n, 1);
    assert_string_equal(all[0].uuid, config.uuid);
    assert_fails(f, "DOMAIN_EXISTS", hv_build(f->hv, rq_new(f), &config, &(int){0}));
    assert_ok(f, hv_destroy(f->hv, rq_new(f), config.uuid));
    assert_ok(f, hv_destroy(f->hv, rq_new(f), config.uuid));
    assert_null(get_domain(f, config.uuid));
    assert_int_equal(host(f).memory_free, 64 * GIB);
    build_guest(f, &config);
    assert_int_equal(get_domain(f, config.uuid)->domid, 2);
}

static void a_wrong_configuration_is_refused_with_a_reason(void **state)
{
    struct fixture *f = *state;
    struct hv_domain_config good = guest_config(&f->arena), c;
    int domid;

    c = good;
    c.uuid = "nonsense";
    assert_fails(f, "uuid", hv_build(f->hv, rq_new(f), &c, &domid));
    c = good;
    c.vcpus = 5;
    assert_fails(f, "vCPUs", hv_build(f->hv, rq_new(f), &c, &domid));
    c = good;
    c.type = "qemu";
    assert_fails(f, "unknown type", hv_build(f->hv, rq_new(f), &c, &domid));
    c = good;
    c.kernel = "/nowhere/vmlinuz";
    assert_fails(f, "/nowhere/vmlinuz: No such file", hv_build(f->hv, rq_new(f), &c, &domid));
    c = good;
    c.memory_static_max = c.memory_target = 65 * GIB;
    assert_fails(f, "HOST_NOT_ENOUGH_FREE_MEMORY(69793218560, 68719476736)",
                 hv_build(f->hv, rq_new(f), &c, &domid));
    assert_int_equal(host(f).memory_free, 64 * GIB);
}

static void a_guest_boots_and_its_agent_speaks(void **state)
{
    struct fixture *f = *state;
    struct hv_domain_config config = guest_config(&f->arena);
    struct hv_nic nic = {.device = 0, .mac = "00:16:3e:01:02:03", .bridge = "xenbr0", .mtu = 1500};
    struct strpair vm_data = {"vm-data/role", "frontend"};
    const struct hv_domain *d;

    config.n_nics = 1;
    config.nics = &nic;
    config.xenstore_data = (struct strmap){1, &vm_data};
    build_guest(f, &config);
    assert_ok(f, hv_unpause(f->hv, rq_new(f), config.uuid));
    d = wait_domain(f, config.uuid, is_booted);
    assert_int_equal(d->state, HV_RUNNING);
    assert_string_equal(guest_key(d, "attr/PVAddons/MajorVersion"), "8");
    assert_string_equal(guest_key(d, "data/os_distro"), "debian");
    assert_string_equal(guest_key(d, "attr/vif/0/ipv4/0"), "10.1.2.3");
    assert_string_equal(guest_key(d, "attr/vif/0/ipv6/0"), "fe80::216:3eff:fe01:203");
    assert_string_equal(guest_key(d, "control/feature-suspend"), "1");
    assert_string_equal(guest_key(d, "data/meminfo_total"), "262144");
    assert_string_equal(guest_key(d, "vm-data/role"), "frontend");
}

static void time_stands_still_for_a_paused_guest(void **state)
{
    struct fixture *f = *state;
    struct hv_domain_config config = guest_config(&f->arena);

    control(f, "boot-ms", "3600000", NULL);
    build_guest(f, &config);
    assert_ok(f, hv_unpause(f->hv, rq_new(f), config.uuid));
    control(f, "advance-ms", "1800000", NULL);
    assert_ok(f, hv_pause(f->hv, rq_new(f), config.uuid));
    control(f, "advance-ms", "7200000", NULL);
    assert_false(is_booted(get_domain(f, config.uuid)));
    assert_int_equal(get_domain(f, config.uuid)->state, HV_PAUSED);
    assert_ok(f, hv_unpause(f->hv, rq_new(f), config.uuid));
    assert_false(is_booted(get_domain(f, config.uuid)));
    control(f, "advance-ms", "1801000", NULL);
    wait_domain(f, config.uuid, is_booted);
    assert_true(get_domain(f, config.uuid)->cpu_time > 0);
}

static void a_guest_obeys_and_ends_with_the_right_reason(void **state)
{
    static const enum hv_reason reasons[] = {HV_POWEROFF, HV_REBOOT, HV_SUSPEND};
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_SIZE(reasons); i++) {
        const char *uuid = start_guest(f);
        enum hv_reason reason = HV_NONE;

        assert_ok(f, hv_shutdown_request(f->hv, rq_new(f), uuid, reasons[i]));
        assert_ok(f, hv_wait_death(f->hv, rq_read(f), uuid, &reason));
        assert_int_equal(reason, reasons[i]);
        assert_int_equal(get_domain(f, uuid)->state, HV_SHUTDOWN);
        assert_int_equal(get_domain(f, uuid)->reason, reasons[i]);
        assert_fails(f, "has ended", hv_unpause(f->hv, rq_new(f), uuid));
        assert_ok(f, hv_destroy(f->hv, rq_new(f), uuid));
    }
}

static void a_guest_that_is_asked_while_it_boots_obeys_when_it_has_booted(void **state)
{
    struct fixture *f = *state;
    struct hv_domain_config config = guest_config(&f->arena);
    enum hv_reason reason;

    build_guest(f, &config);
    assert_ok(f, hv_unpause(f->hv, rq_new(f), config.uuid));
    assert_ok(f, hv_shutdown_request(f->hv, rq_new(f), config.uuid, HV_POWEROFF));
    assert_ok(f, hv_wait_death(f->hv, rq_read(f), config.uuid, &reason));
    assert_int_equal(reason, HV_POWEROFF);
}

static void a_hung_guest_acknowledges_nothing_and_does_not_obey_later(void **state)
{
    struct fixture *f = *state;
    const char *uuid = start_guest(f);
    enum hv_reason reason;

    control(f, "end-ms", "0", NULL);
    control(f, "guest-unresponsive", uuid, NULL);
    assert_fails(f, "VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT",
                 hv_shutdown_request(f->hv, rq_for(f, USEC_PER_SEC), uuid, HV_POWEROFF));
    assert_fails(f, "VM_FAILED_SUSPEND_ACKNOWLEDGMENT",
                 hv_shutdown_request(f->hv, rq_for(f, USEC_PER_SEC), uuid, HV_SUSPEND));
    assert_fails(f, "VM_FAILED_SUSPEND_ACKNOWLEDGMENT",
                 hv_save(f->hv, rq_new(f), uuid, make_file(f, "image", 0)));
    control(f, "guest-responsive", uuid, NULL);
    assert_int_equal(
        hv_failure_of(hv_wait_death(f->hv, rq_for(f, 50 * USEC_PER_MSEC), uuid, &reason)),
        HV_UNKNOWN);
    assert_int_equal(get_domain(f, uuid)->state, HV_RUNNING);
}

static void deaths_that_nobody_asked_for_are_seen(void **state)
{
    struct fixture *f = *state;
    const char *crashed = start_guest(f), *off = start_guest(f), *rebooted = start_guest(f);
    enum hv_reason reason;

    control(f, "crash", crashed, NULL);
    control(f, "poweroff", off, NULL);
    control(f, "reboot", rebooted, NULL);
    assert_int_equal(wait_domain(f, crashed, has_ended)->reason, HV_CRASH);
    assert_ok(f, hv_wait_death(f->hv, rq_read(f), off, &reason));
    assert_int_equal(reason, HV_POWEROFF);
    assert_ok(f, hv_wait_death(f->hv, rq_read(f), rebooted, &reason));
    assert_int_equal(reason, HV_REBOOT);
    assert_ok(f, hv_destroy(f->hv, rq_new(f), off));
    assert_ok(f, hv_wait_death(f->hv, rq_read(f), off, &reason));
    assert_int_equal(reason, HV_NONE);
}

static void memory_and_vcpus_change_within_their_bounds(void **state)
{
    struct fixture *f = *state;
    const char *uuid = start_guest(f);
    struct hv_domain_config big = guest_config(&f->arena);

    assert_ok(f, hv_set_memory(f->hv, rq_new(f), uuid, 512 * MIB));
    assert_int_equal(get_domain(f, uuid)->memory, 512 * MIB);
    assert_int_equal(host(f).memory_free, 64 * GIB - 512 * MIB);
    assert_ok(f, hv_set_memory(f->hv, rq_new(f), uuid, 128 * MIB));
    assert_int_equal(host(f).memory_free, 64 * GIB - 128 * MIB);
    assert_fails(f, "static-max", hv_set_memory(f->hv, rq_new(f), uuid, 513 * MIB));
    big.memory_target = big.memory_static_max = 64 * GIB - 128 * MIB;
    build_guest(f, &big);
    assert_fails(f, "HOST_NOT_ENOUGH_FREE_MEMORY(134217728, 0)",
                 hv_set_memory(f->hv, rq_new(f), uuid, 256 * MIB));
    assert_int_equal(get_domain(f, uuid)->memory_target, 128 * MIB);
    assert_ok(f, hv_set_vcpus(f->hv, rq_new(f), uuid, 4));
    assert_int_equal(get_domain(f, uuid)->vcpus, 4);
    assert_fails(f, "vCPUs", hv_set_vcpus(f->hv, rq_new(f), uuid, 5));
    assert_fails(f, "vCPUs", hv_set_vcpus(f->hv, rq_new(f), uuid, 0));
}

static void a_hung_guest_keeps_its_memory_until_it_answers(void **state)
{
    struct fixture *f = *state;
    const char *uuid = start_guest(f);

    control(f, "guest-unresponsive", uuid, NULL);
    assert_ok(f, hv_set_memory(f->hv, rq_new(f), uuid, 128 * MIB));
    assert_int_equal(get_domain(f, uuid)->memory, 256 * MIB);
    assert_int_equal(get_domain(f, uuid)->memory_target, 128 * MIB);
    assert_int_equal(host(f).memory_free, 64 * GIB - 256 * MIB);
}

static void disks_come_and_go(void **state)
{
    struct fixture *f = *state;
    const char *uuid = start_guest(f);
    struct hv_disk disk = {"xvda", make_file(f, "a", MIB), "raw", false, false, HV_DISK_RW};
    struct hv_disk missing = {"xvdb", "/nowhere/disk", "raw", false, false, HV_DISK_RW};
    const struct hv_domain *d;

    assert_ok(f, hv_disk_plug(f->hv, rq_new(f), uuid, &disk));
    assert_fails(f, "DEVICE_ALREADY_EXISTS(xvda)", hv_disk_plug(f->hv, rq_new(f), uuid, &disk));
    assert_fails(f, "/nowhere/disk: No such file", hv_disk_plug(f->hv, rq_new(f), uuid, &missing));
    d = get_domain(f, uuid);
    assert_int_equal(d->n_disks, 1);
    assert_string_equal(d->disks[0].path, disk.path);
    assert_int_equal(d->disks[0].mode, HV_DISK_RW);
    control(f, "guest-write", uuid, "device", "xvda", "offset", "4096", "data", "hello", NULL);
    assert_string_equal(
        control(f, "guest-read", uuid, "device", "xvda", "offset", "4098", "length", "3", NULL),
        "llo");
    control(f, "guest-unresponsive", uuid, NULL);
    assert_fails(f, "DEVICE_DETACH_TIMEOUT", hv_disk_unplug(f->hv, rq_new(f), uuid, "xvda", false));
    control(f, "guest-responsive", uuid, NULL);
    assert_ok(f, hv_pause(f->hv, rq_new(f), uuid));
    assert_fails(f, "DEVICE_DETACH_REJECTED",
                 hv_disk_unplug(f->hv, rq_new(f), uuid, "xvda", false));
    assert_ok(f, hv_disk_unplug(f->hv, rq_new(f), uuid, "xvda", true));
    assert_ok(f, hv_disk_unplug(f->hv, rq_new(f), uuid, "xvda", false));
    assert_int_equal(get_domain(f, uuid)->n_disks, 0);
}

static void one_image_never_has_two_writers(void **state)
{
    struct fixture *f = *state;
    const char *path = make_file(f, "a", MIB);
    struct hv_disk rw = {"xvda", path, "raw", false, false, HV_DISK_RW};
    struct hv_disk ro = {"xvda", path, "raw", false, false, HV_DISK_RO};
    struct hv_disk shared = {"xvda", path, "raw", false, true, HV_DISK_RW};
    struct hv_domain_config config = guest_config(&f->arena);
    const char *first = start_guest(f), *second = start_guest(f);

    assert_ok(f, hv_disk_plug(f->hv, rq_new(f), first, &rw));
    assert_fails(f, "in use by another domain", hv_disk_plug(f->hv, rq_new(f), second, &rw));
    assert_fails(f, "in use by another domain", hv_disk_plug(f->hv, rq_new(f), second, &ro));
    config.n_disks = 1;
    config.disks = &rw;
    assert_fails(f, "in use by another domain", hv_build(f->hv, rq_new(f), &config, &(int){0}));
    assert_null(get_domain(f, config.uuid));
    /* A domain that has ended still holds its disks: it is not known yet to have stopped writing.
     */
    control(f, "crash", first, NULL);
    assert_fails(f, "in use by another domain", hv_disk_plug(f->hv, rq_new(f), second, &rw));
    assert_ok(f, hv_destroy(f->hv, rq_new(f), first));
    assert_ok(f, hv_disk_plug(f->hv, rq_new(f), second, &ro));
    first = start_guest(f);
    assert_ok(f, hv_disk_plug(f->hv, rq_new(f), first, &ro));
    assert_ok(f, hv_disk_unplug(f->hv, rq_new(f), first, "xvda", false));
    assert_ok(f, hv_disk_unplug(f->hv, rq_new(f), second, "xvda", false));
    assert_ok(f, hv_disk_plug(f->hv, rq_new(f), first, &shared));
    assert_ok(f, hv_disk_plug(f->hv, rq_new(f), second, &shared));
}

static void a_cd_is_changed_and_ejected(void **state)
{
    struct fixture *f = *state;
    const char *uuid = start_guest(f);
    struct hv_disk empty = {"xvdd", "", "raw", true, false, HV_DISK_RO};
    struct hv_disk cd = {"xvdd", make_file(f, "cd.iso", MIB), "raw", true, false, HV_DISK_RO};
    struct hv_disk disk = {"xvda", make_file(f, "a", MIB), "raw", false, false, HV_DISK_RW};

    assert_ok(f, hv_disk_plug(f->hv, rq_new(f), uuid, &empty));
    assert_ok(f, hv_disk_change(f->hv, rq_new(f), uuid, &cd));
    assert_string_equal(get_domain(f, uuid)->disks[0].path, cd.path);
    assert_ok(f, hv_disk_change(f->hv, rq_new(f), uuid, &empty));
    assert_string_equal(get_domain(f, uuid)->disks[0].path, "");
    assert_ok(f, hv_disk_plug(f->hv, rq_new(f), uuid, &disk));
    assert_fails(f, "no CD drive", hv_disk_change(f->hv, rq_new(f), uuid, &disk));
}

static void nics_come_and_go_with_their_addresses(void **state)
{
    struct fixture *f = *state;
    const char *uuid = start_guest(f);
    struct hv_nic nic = {.device = 2, .mac = "00:16:3e:0a:0b:0c", .bridge = "xenbr0", .mtu = 1500};

    assert_ok(f, hv_nic_plug(f->hv, rq_new(f), uuid, &nic));
    assert_fails(f, "DEVICE_ALREADY_EXISTS(2)", hv_nic_plug(f->hv, rq_new(f), uuid, &nic));
    assert_string_equal(guest_key(get_domain(f, uuid), "attr/vif/2/ipv4/0"), "10.10.11.12");
    assert_string_equal(get_domain(f, uuid)->nics[0].mac, nic.mac);
    assert_ok(f, hv_nic_unplug(f->hv, rq_new(f), uuid, 2, false));
    assert_ok(f, hv_nic_unplug(f->hv, rq_new(f), uuid, 2, false));
    assert_null(guest_key(get_domain(f, uuid), "attr/vif/2/ipv4/0"));
    assert_int_equal(get_domain(f, uuid)->n_nics, 0);
}

static void a_saved_guest_is_restored_as_it_was(void **state)
{
    struct fixture *f = *state;
    struct hv_domain_config config = guest_config(&f->arena);
    const char *path = arena_printf(&f->arena, "%s/image", f->dir);
    const struct hv_domain *d;
    int domid;

    build_guest(f, &config);
    assert_ok(f, hv_unpause(f->hv, rq_new(f), config.uuid));
    wait_domain(f, config.uuid, is_booted);
    control(f, "guest-key", config.uuid, "key", "data/marker", "value", "kept", NULL);
    assert_ok(f, hv_set_memory(f->hv, rq_new(f), config.uuid, 300 * MIB));
    assert_ok(f, hv_save(f->hv, rq_new(f), config.uuid, path));
    d = get_domain(f, config.uuid);
    assert_int_equal(d->state, HV_SHUTDOWN);
    assert_int_equal(d->reason, HV_SUSPEND);
    assert_ok(f, hv_destroy(f->hv, rq_new(f), config.uuid));
    assert_ok(f, hv_restore(f->hv, rq_new(f), &config, path, &domid));
    d = get_domain(f, config.uuid);
    assert_int_equal(d->state, HV_PAUSED);
    assert_int_equal(d->domid, domid);
    assert_int_equal(d->memory, 300 * MIB);
    assert_string_equal(guest_key(d, "data/marker"), "kept");
    assert_ok(f, hv_unpause(f->hv, rq_new(f), config.uuid));
    assert_ok(f, hv_shutdown_request(f->hv, rq_new(f), config.uuid, HV_POWEROFF));
}

static void change_byte(const char *path, off_t at)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    char byte;

    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte = (char)(byte ^ 0x20);
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void a_damaged_image_is_refused_and_says_why(void **state)
{
    struct fixture *f = *state;
    const char *path = arena_printf(&f->arena, "%s/image", f->dir);
    const char *uuid = start_guest(f);
    struct hv_domain_config config = guest_config(&f->arena);
    struct stat st;

    assert_ok(f, hv_save(f->hv, rq_new(f), uuid, path));
    assert_int_equal(stat(path, &st), 0);
    change_byte(path, 0);
    assert_fails(f, "it is no suspend image",
                 hv_restore(f->hv, rq_new(f), &config, path, &(int){0}));
    change_byte(path, 0);
    change_byte(path, 4096 + 10);
    assert_fails(f, "checksum", hv_restore(f->hv, rq_new(f), &config, path, &(int){0}));
    change_byte(path, 4096 + 10);
    change_byte(path, st.st_size - 5000);
    assert_fails(f, "checksum", hv_restore(f->hv, rq_new(f), &config, path, &(int){0}));
    change_byte(path, st.st_size - 5000);
    assert_int_equal(truncate(path, st.st_size - 1), 0);
    assert_fails(f, "cut short", hv_restore(f->hv, rq_new(f), &config, path, &(int){0}));
    assert_int_equal(truncate(path, 100), 0);
    assert_fails(f, "cut short", hv_restore(f->hv, rq_new(f), &config, path, &(int){0}));
    assert_int_equal(truncate(path, 0), 0);
    assert_fails(f, "it is no suspend image",
                 hv_restore(f->hv, rq_new(f), &config, path, &(int){0}));
    assert_fails(f, "No such file",
                 hv_restore(f->hv, rq_new(f), &config, "/nowhere/image", &(int){0}));
    assert_null(get_domain(f, config.uuid));
}

static void a_guest_that_cannot_be_saved_runs_on(void **state)
{
    struct fixture *f = *state;
    const char *uuid = start_guest(f);

    assert_fails(f, "No such file", hv_save(f->hv, rq_new(f), uuid, "/nowhere/image"));
    assert_int_equal(get_domain(f, uuid)->state, HV_RUNNING);
    assert_ok(f, hv_shutdown_request(f->hv, rq_new(f), uuid, HV_POWEROFF));
}

static void a_failure_can_be_ordered(void **state)
{
    struct fixture *f = *state;
    const char *uuid = start_guest(f);

    control(f, "fail", "pause", "text", "libxl: it is raining", NULL);
    assert_fails(f, "INTERNAL_ERROR(libxl: it is raining)", hv_pause(f->hv, rq_new(f), uuid));
    assert_ok(f, hv_pause(f->hv, rq_new(f), uuid));
    control(f, "fail", "unpause", "text", "7", "code", "VM_SHUTDOWN_TIMEOUT", NULL);
    assert_fails(f, "VM_SHUTDOWN_TIMEOUT(7)", hv_unpause(f->hv, rq_new(f), uuid));
}

static void a_domain_that_is_not_there_is_told_apart(void **state)
{
    struct fixture *f = *state;
    struct error *e = hv_pause(f->hv, rq_new(f), "00000000-0000-4000-8000-000000000000");

    assert_int_equal(hv_failure_of(e), HV_NO_DOMAIN);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(the_host_is_described_completely),
        TEST(a_domain_is_built_paused_and_counts_its_memory),
        TEST(a_wrong_configuration_is_refused_with_a_reason),
        TEST(a_guest_boots_and_its_agent_speaks),
        TEST(time_stands_still_for_a_paused_guest),
        TEST(a_guest_obeys_and_ends_with_the_right_reason),
        TEST(a_guest_that_is_asked_while_it_boots_obeys_when_it_has_booted),
        TEST(a_hung_guest_acknowledges_nothing_and_does_not_obey_later),
        TEST(deaths_that_nobody_asked_for_are_seen),
        TEST(memory_and_vcpus_change_within_their_bounds),
        TEST(a_hung_guest_keeps_its_memory_until_it_answers),
        TEST(disks_come_and_go),
        TEST(one_image_never_has_two_writers),
        TEST(a_cd_is_changed_and_ejected),
        TEST(nics_come_and_go_with_their_addresses),
        TEST(a_saved_guest_is_restored_as_it_was),
        TEST(a_damaged_image_is_refused_and_says_why),
        TEST(a_guest_that_cannot_be_saved_runs_on),
        TEST(a_failure_can_be_ordered),
        TEST(a_domain_that_is_not_there_is_told_apart),
    };

    return cmocka_run_group_tests_name("hypervisor-calls", tests, NULL, NULL);
}
