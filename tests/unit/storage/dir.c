/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* dir.c -- directories of qcow2 images: the common promises, with and without the fault filter, and
 * what is their own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/memory.h"
#include "storage-repos/common/qcow2.h"
#include "storage-repos/filter/fault.h"
#include "tests/unit/storage/lab.h"

/* Whatever mask the service manager has given us, and whoever may look into the folder. */
static void images_are_for_the_daemons_user_alone(void **state)
{
    mode_t mask = umask(022);
    struct lab *lab = *state;
    const char *disk = lab_disk(lab, "d", MIB), *base, *fork = lab_fork(lab, disk, &base);
    const char *const all[] = {disk, fork, base};
    struct stat st;

    umask(mask);
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        const char *name = arena_printf(&lab->arena, "%s.qcow2", all[i]);

        assert_int_equal(stat(lab_path(lab, name), &st), 0);
        assert_int_equal(st.st_mode & 077, 0);
    }
}

static void drivers_are_found_by_type(void **state)
{
    (void)state;
    assert_ptr_equal(sr_driver_by_type("ext"), &sr_ext);
    assert_ptr_equal(sr_driver_by_type("file"), &sr_file);
    assert_non_null(sr_driver_by_type("iso"));
    assert_null(sr_driver_by_type("EXT"));
}

static void a_scan_says_what_is_broken_and_leaves_foreign_files_out(void **state)
{
    struct lab *lab = *state;
    const char *good = lab_disk(lab, "d", MIB), *junk = lab_uuid(lab), *torn = lab_uuid(lab);
    struct vdi_info info;
    size_t n;

    lab_put(lab, arena_printf(&lab->arena, "%s.qcow2", junk), "this is no image");
    lab_put(lab, arena_printf(&lab->arena, "%s.qcow2", torn), "QFI\xfb torn");
    lab_put(lab, "notes.txt", "x");
    lab_put(lab, "by-hand.qcow2", "");
    assert_int_equal(mkdir(lab_path(lab, "folder.qcow2"), 0700), 0);
    assert_int_equal(symlink("/etc/passwd", lab_path(lab, "link.qcow2")), 0);
    assert_false(lab_scan(lab, good, &n)->unknown);
    assert_int_equal(n, 3);
    assert_true(lab_scan(lab, junk, NULL)->unknown);
    assert_string_equal(lab_scan(lab, junk, NULL)->damaged, "it is no qcow2 image");
    assert_string_equal(lab_scan(lab, torn, NULL)->damaged, "the header is cut short");
    lab_fails(lab, sr_ext.vdi_stat(&lab->call, &lab->sr, junk, &info), "SR_BACKEND_FAILURE_46");
    lab_must(lab, sr_ext.vdi_delete(&lab->call, &lab->sr, torn));
    assert_null(lab_scan(lab, torn, NULL));
}

/* They are many, so nobody waits until all have been looked at; whoever asks for one has it go, and
 * never one that something lies upon. */
static void among_many_images_one_that_nothing_needs_goes_when_it_is_deleted(void **state)
{
    struct lab *lab = *state;
    const char *disk = lab_disk(lab, "d", MIB), *base = lab_uuid(lab), *snapshot = lab_uuid(lab);
    struct vdi_spec spec = {.location = snapshot};
    struct vdi_info info;

    for (int i = 0; i < 101; i++)
        lab_put(lab, arena_printf(&lab->arena, "by-hand-%d.qcow2", i), "");
    lab_must(lab, sr_ext.vdi_fork(&lab->call, &lab->sr, disk, base, &spec, &info));
    lab_must(lab, sr_ext.vdi_delete(&lab->call, &lab->sr, disk));
    assert_non_null(lab_scan(lab, base, NULL));
    lab_fails(lab, sr_ext.vdi_delete(&lab->call, &lab->sr, base), "VDI_IN_USE");
    lab_must(lab, sr_ext.vdi_delete(&lab->call, &lab->sr, snapshot));
    assert_non_null(lab_scan(lab, base, NULL));
    lab_must(lab, sr_ext.vdi_delete(&lab->call, &lab->sr, base));
    assert_null(lab_scan(lab, base, NULL));
}

/* Past the end of a file qemu reads zeroes: the guest would find an empty disk. */
static void an_image_that_is_cut_short_is_not_served(void **state)
{
    struct lab *lab = *state;
    const char *disk = lab_disk(lab, "d", MIB);
    char *path = lab_path(lab, arena_printf(&lab->arena, "%s.qcow2", disk));
    struct vdi_path out;
    struct error *e;

    assert_int_equal(truncate(path, 1000), 0);
    e = sr_ext.vdi_attach(&lab->call, &lab->sr, disk, false, &out);
    assert_non_null(e);
    assert_non_null(strstr(error_line(&lab->arena, e), "it is cut short"));
}

static void a_damaged_sidecar_costs_the_name_only(void **state)
{
    struct lab *lab = *state;
    const char *disk = lab_disk(lab, "d", MIB), *base;

    lab_fork(lab, disk, &base);
    lab_put(lab, arena_printf(&lab->arena, "%s.json", disk), "{\"name_label\": ");
    lab_put(lab, arena_printf(&lab->arena, "%s.json", base), "[]");
    assert_string_equal(lab_scan(lab, disk, NULL)->name_label, "");
    assert_true(lab_scan(lab, base, NULL)->hidden);
}

/* Whoever can put a file into the directory may not make the daemon open others with it. */
static void an_image_that_points_elsewhere_is_not_served(void **state)
{
    struct lab *lab = *state;
    const char *disk = lab_disk(lab, "d", MIB);
    char *path = lab_path(lab, arena_printf(&lab->arena, "%s.qcow2", disk));
    struct vdi_path out;

    lab_must(lab, qcow2_rebase(&lab->call, path, "/etc/passwd"));
    lab_fails(lab, sr_ext.vdi_attach(&lab->call, &lab->sr, disk, false, &out),
              "SR_BACKEND_FAILURE_46");
    lab_must(lab, qcow2_rebase(&lab->call, path, "../x.qcow2"));
    lab_fails(lab, sr_ext.vdi_attach(&lab->call, &lab->sr, disk, false, &out),
              "SR_BACKEND_FAILURE_46");
}

static void an_image_whose_parent_is_missing_is_not_served(void **state)
{
    struct lab *lab = *state;
    const char *disk = lab_disk(lab, "d", MIB), *base;
    struct vdi_path out;

    lab_fork(lab, disk, &base);
    assert_int_equal(unlink(lab_path(lab, arena_printf(&lab->arena, "%s.qcow2", base))), 0);
    lab_fails(lab, sr_ext.vdi_attach(&lab->call, &lab->sr, disk, true, &out),
              "SR_BACKEND_FAILURE_46");
    assert_string_equal(lab_scan(lab, disk, NULL)->parent, base);
}

static void an_image_that_is_its_own_ancestor_is_not_served(void **state)
{
    struct lab *lab = *state;
    const char *disk = lab_disk(lab, "d", MIB);
    char *name = arena_printf(&lab->arena, "%s.qcow2", disk);
    struct vdi_path out;

    lab_must(lab, qcow2_rebase(&lab->call, lab_path(lab, name), name));
    assert_non_null(lab_scan(lab, disk, NULL));
    lab_fails(lab, sr_ext.vdi_attach(&lab->call, &lab->sr, disk, false, &out),
              "SR_BACKEND_FAILURE_46");
}

/* The torn file may be the base's last child. */
static void hidden_images_stay_while_some_file_cannot_be_read(void **state)
{
    struct lab *lab = *state;
    const char *disk = lab_disk(lab, "d", MIB), *base, *snapshot = lab_fork(lab, disk, &base);

    lab_put(lab, arena_printf(&lab->arena, "%s.qcow2", snapshot), "QFI\xfb torn");
    lab_must(lab, sr_ext.vdi_delete(&lab->call, &lab->sr, disk));
    assert_non_null(lab_scan(lab, base, NULL));
    lab_fails(lab, sr_ext.vdi_delete(&lab->call, &lab->sr, base), "SR_BACKEND_FAILURE_64");
    lab_must(lab, sr_ext.vdi_delete(&lab->call, &lab->sr, snapshot));
    assert_null(lab_scan(lab, base, NULL));
}

static void a_chain_has_an_end(void **state)
{
    struct lab *lab = *state;
    const char *disk = lab_disk(lab, "d", MIB), *below = disk;
    struct vdi_spec spec = {.location = lab_uuid(lab)};
    struct vdi_info info;

    for (int i = 1; i < DIR_CHAIN_MAX; i++) {
        const char *next = lab_uuid(lab);

        lab_must(lab, qcow2_create(&lab->call,
                                   lab_path(lab, arena_printf(&lab->arena, "%s.qcow2", next)), MIB,
                                   arena_printf(&lab->arena, "%s.qcow2", below)));
        below = next;
    }
    lab_write(lab, below, 0, 'x');
    lab_fails(lab, sr_ext.vdi_fork(&lab->call, &lab->sr, below, lab_uuid(lab), &spec, &info),
              "SR_BACKEND_FAILURE_109");
}

static void a_directory_belongs_to_one_repository(void **state)
{
    struct lab *lab = *state;
    struct dir_state second = {0};
    struct sr_handle other = lab->sr;

    other.uuid = lab_uuid(lab);
    other.state = &second;
    lab_fails(lab, sr_ext.create(&lab->call, &other, 0), "SR_DEVICE_IN_USE");
    lab_fails(lab, sr_ext.attach(&lab->call, &other), "SR_BACKEND_FAILURE_47");
    lab_fails(lab, sr_ext.destroy(&lab->call, &other), "SR_BACKEND_FAILURE_63");
    lab_must(lab, sr_ext.create(&lab->call, &lab->sr, 0));
}

/* The mount point of a disk that is not there. */
static void an_unmarked_directory_is_not_attached(void **state)
{
    struct lab *lab = *state;

    sr_ext.detach(&lab->call, &lab->sr);
    lab->attached = false;
    assert_int_equal(unlink(lab_path(lab, ".xapid-sr")), 0);
    lab_fails(lab, sr_ext.attach(&lab->call, &lab->sr), "SR_BACKEND_FAILURE_47");
}

static void a_directory_can_be_moved(void **state)
{
    struct lab *lab = *state;
    const char *disk = lab_disk(lab, "d", MIB);
    struct strpair *config = (struct strpair *)lab->sr.device_config.v;
    char *moved = xasprintf("%s-moved", lab->folder);

    lab_write(lab, disk, 0, 'm');
    lab_fork(lab, disk, NULL);
    assert_int_equal(rename(lab->folder, moved), 0);
    free(lab->folder);
    lab->folder = moved;
    config->value = arena_strdup(&lab->arena, moved);
    lab_restart(lab);
    lab_expect(lab, disk, 0, 'm');
}

static void a_missing_location_is_said_to_be_missing(void **state)
{
    struct lab *lab = *state;
    struct dir_state st = {0};
    struct sr_handle sr = {.driver = &sr_file, .uuid = lab->sr.uuid, .state = &st};

    lab_fails(lab, sr_file.attach(&lab->call, &sr), "SR_BACKEND_FAILURE_94");
    sr.driver = &sr_ext;
    lab_fails(lab, sr_ext.attach(&lab->call, &sr), "SR_BACKEND_FAILURE_90");
}

/* ---- the fault filter ---- */

static void the_nth_call_fails_and_no_other(void **state)
{
    struct sr_fault fault;
    struct lab lab;
    struct vdi_info info;
    const char *disk;

    (void)state;
    sr_fault_init(&fault, &sr_ext);
    lab_open(&lab, &fault.driver);
    disk = lab_disk(&lab, "d", MIB);
    sr_fault_plan(&fault, SR_FAULT_FAIL, "vdi_stat", 2, false, 0);
    lab_must(&lab, fault.driver.vdi_stat(&lab.call, &lab.sr, disk, &info));
    lab_must(&lab, fault.driver.vdi_describe(&lab.call, &lab.sr, disk, "e", ""));
    lab_fails(&lab, fault.driver.vdi_stat(&lab.call, &lab.sr, disk, &info),
              "SR_BACKEND_FAILURE_47");
    lab_must(&lab, fault.driver.vdi_stat(&lab.call, &lab.sr, disk, &info));
    assert_int_equal(sr_fault_calls(&fault), 3);
    sr_fault_plan(&fault, SR_FAULT_LIE, "vdi_delete", 1, false, 0);
    lab_must(&lab, fault.driver.vdi_delete(&lab.call, &lab.sr, disk));
    assert_non_null(lab_scan(&lab, disk, NULL));
    sr_fault_plan(&fault, SR_FAULT_LOST, "vdi_delete", 1, false, 0);
    lab_fails(&lab, fault.driver.vdi_delete(&lab.call, &lab.sr, disk), "SR_BACKEND_FAILURE_47");
    assert_null(lab_scan(&lab, disk, NULL));
    lab_close(&lab);
    sr_fault_release(&fault);
}

static void a_slow_call_takes_its_time_and_succeeds(void **state)
{
    struct sr_fault fault;
    struct sr_stat_info info;
    struct lab lab;
    usec_t began;

    (void)state;
    sr_fault_init(&fault, &sr_ext);
    lab_open(&lab, &fault.driver);
    sr_fault_plan(&fault, SR_FAULT_SLOW, NULL, 1, true, 20 * USEC_PER_MSEC);
    began = clock_mono();
    lab_must(&lab, fault.driver.stat(&lab.call, &lab.sr, &info));
    assert_true(clock_mono() - began >= 20 * USEC_PER_MSEC);
    lab_close(&lab);
    sr_fault_release(&fault);
}

/* There may be many thousands. */
static void making_and_forking_leave_other_images_alone(void **state)
{
    struct lab *lab = *state;
    const char *other = lab_disk(lab, "other", MIB), *disk, *image, *sidecar;
    int watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    struct sr_stat_info info;
    char event[512];

    image = lab_path(lab, arena_printf(&lab->arena, "%s.qcow2", other));
    sidecar = lab_path(lab, arena_printf(&lab->arena, "%s.json", other));
    assert_true(inotify_add_watch(watch, image, IN_OPEN) >= 0);
    assert_true(inotify_add_watch(watch, sidecar, IN_OPEN) >= 0);
    disk = lab_disk(lab, "d", MIB);
    lab_fork(lab, disk, NULL);
    lab_write(lab, disk, 0, 'a');
    while (read(watch, event, sizeof event) > 0)
        ; /* to be written to it was attached, for which all are looked at */
    lab_fork(lab, disk, NULL);
    lab_stat(lab, disk);
    lab_must(lab, sr_ext.stat(&lab->call, &lab->sr, &info));
    assert_int_equal(read(watch, event, sizeof event), -1);
    assert_non_null(lab_scan(lab, other, NULL));
    assert_true(read(watch, event, sizeof event) > 0);
    close(watch);
}

static void a_base_that_lost_its_mark_still_carries_others(void **state)
{
    struct lab *lab = *state;
    const char *disk = lab_disk(lab, "d", MIB), *base;
    struct vdi_spec spec = {.location = lab_uuid(lab)};
    struct vdi_info info;

    lab_fork(lab, disk, &base);
    assert_int_equal(unlink(lab_path(lab, arena_printf(&lab->arena, "%s.json", base))), 0);
    assert_true(lab_stat(lab, base).hidden);
    lab_fails(lab, sr_ext.vdi_fork(&lab->call, &lab->sr, base, lab_uuid(lab), &spec, &info),
              "VDI_READONLY");
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, lab_set_up, lab_tear_down)

int main(void)
{
    const struct CMUnitTest own[] = {
        cmocka_unit_test(drivers_are_found_by_type),
        CASE(images_are_for_the_daemons_user_alone),
        CASE(a_scan_says_what_is_broken_and_leaves_foreign_files_out),
        CASE(among_many_images_one_that_nothing_needs_goes_when_it_is_deleted),
        CASE(an_image_that_is_cut_short_is_not_served),
        CASE(a_damaged_sidecar_costs_the_name_only),
        CASE(an_image_that_points_elsewhere_is_not_served),
        CASE(an_image_whose_parent_is_missing_is_not_served),
        CASE(an_image_that_is_its_own_ancestor_is_not_served),
        CASE(hidden_images_stay_while_some_file_cannot_be_read),
        CASE(a_chain_has_an_end),
        CASE(a_directory_belongs_to_one_repository),
        CASE(an_unmarked_directory_is_not_attached),
        CASE(a_directory_can_be_moved),
        CASE(a_missing_location_is_said_to_be_missing),
        CASE(making_and_forking_leave_other_images_alone),
        CASE(a_base_that_lost_its_mark_still_carries_others),
        cmocka_unit_test(the_nth_call_fails_and_no_other),
        cmocka_unit_test(a_slow_call_takes_its_time_and_succeeds),
    };
    struct sr_fault fault;
    int failed = conformance_run("dir", &(struct lab_kind){.driver = &sr_ext});

    sr_fault_init(&fault, &sr_file);
    failed +=
        conformance_run("dir behind the fault filter", &(struct lab_kind){.driver = &fault.driver});
    sr_fault_release(&fault);
    return failed + cmocka_run_group_tests(own, NULL, NULL);
}
