/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* conformance.c -- what storage-repos/sr.h promises, tried on whatever driver is given. */
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/memory.h"
#include "libxapi/value/value.h"
#include "tests/unit/storage/lab.h"

#define DRIVER(lab) ((lab)->sr.driver)

static int set_up(void **state)
{
    struct lab *lab = xcalloc(1, sizeof *lab);

    lab_open_kind(lab, *state);
    *state = lab;
    return 0;
}

static int tear_down(void **state)
{
    lab_close(*state);
    free(*state);
    return 0;
}

static void a_new_disk_has_its_names_and_at_least_its_size(void **state)
{
    struct lab *lab = *state;
    const char *disk = lab_disk(lab, "root", 10 * MIB + 1);
    struct vdi_info info = lab_stat(lab, disk);

    assert_string_equal(info.location, disk);
    assert_string_equal(info.name_label, "root");
    assert_string_equal(info.name_description, "made by a test");
    assert_string_equal(info.parent, "");
    assert_true(info.virtual_size > 10 * MIB && info.virtual_size <= 12 * MIB);
    if (DRIVER(lab)->features & SR_F_THIN)
        assert_true(info.physical_utilisation < MIB);
    assert_false(info.hidden || info.read_only);
    lab_expect(lab, disk, 0, 0);
}

static void creating_a_disk_again_changes_nothing(void **state)
{
    struct lab *lab = *state;
    struct vdi_spec spec = {.location = lab_disk(lab, "data", MIB), .virtual_size = MIB};
    struct vdi_info info;

    lab_write(lab, spec.location, 0, 'a');
    lab_must(lab, DRIVER(lab)->vdi_create(&lab->call, &lab->sr, &spec, &info));
    lab_expect(lab, spec.location, 0, 'a');
    spec.virtual_size = 2 * MIB;
    lab_fails(lab, DRIVER(lab)->vdi_create(&lab->call, &lab->sr, &spec, &info),
              "SR_BACKEND_FAILURE_43");
}

static void impossible_sizes_are_refused(void **state)
{
    struct lab *lab = *state;
    struct vdi_spec spec = {.location = lab_uuid(lab)};
    struct vdi_info info;
    size_t n;

    lab_fails(lab, DRIVER(lab)->vdi_create(&lab->call, &lab->sr, &spec, &info), "VDI_TOO_SMALL");
    spec.virtual_size = -1;
    lab_fails(lab, DRIVER(lab)->vdi_create(&lab->call, &lab->sr, &spec, &info), "VDI_TOO_SMALL");
    spec.virtual_size = INT64_MAX;
    lab_fails(lab, DRIVER(lab)->vdi_create(&lab->call, &lab->sr, &spec, &info), "VDI_TOO_LARGE");
    lab_scan(lab, spec.location, &n);
    assert_int_equal(n, 0);
}

static void locations_that_lead_elsewhere_are_refused(void **state)
{
    static const char *const bad[] = {"../x", "",  "/etc/passwd",
                                      ".",    "a", "../../../../../../../../../../../etc"};
    struct lab *lab = *state;
    const char *disk = lab_disk(lab, "d", MIB);
    struct vdi_info info;
    struct vdi_path path;

    lab_needs(lab, SR_F_VDI_SNAPSHOT);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct vdi_spec spec = {.location = bad[i], .virtual_size = MIB};

        assert_non_null(DRIVER(lab)->vdi_create(&lab->call, &lab->sr, &spec, &info));
        assert_non_null(
            DRIVER(lab)->vdi_fork(&lab->call, &lab->sr, disk, lab_uuid(lab), &spec, &info));
        assert_non_null(
            DRIVER(lab)->vdi_copy(&lab->call, &lab->sr, disk, &spec, &info, NULL, NULL));
        lab_fails(lab, DRIVER(lab)->vdi_stat(&lab->call, &lab->sr, bad[i], &info), "VDI_MISSING");
        lab_fails(lab, DRIVER(lab)->vdi_attach(&lab->call, &lab->sr, bad[i], false, &path),
                  "VDI_MISSING");
        lab_fails(lab, DRIVER(lab)->vdi_describe(&lab->call, &lab->sr, bad[i], "", ""),
                  "VDI_MISSING");
    }
}

static void what_does_not_exist_is_missing(void **state)
{
    struct lab *lab = *state;
    struct vdi_spec spec = {.location = lab_uuid(lab)};
    const char *none = lab_uuid(lab);
    struct vdi_info info;
    struct vdi_path path;

    lab_needs(lab, SR_F_VDI_SNAPSHOT);
    lab_fails(lab, DRIVER(lab)->vdi_stat(&lab->call, &lab->sr, none, &info), "VDI_MISSING");
    lab_fails(lab, DRIVER(lab)->vdi_resize(&lab->call, &lab->sr, none, MIB, &info), "VDI_MISSING");
    lab_fails(lab, DRIVER(lab)->vdi_attach(&lab->call, &lab->sr, none, true, &path), "VDI_MISSING");
    lab_fails(lab, DRIVER(lab)->vdi_describe(&lab->call, &lab->sr, none, "a", "b"), "VDI_MISSING");
    lab_fails(lab, DRIVER(lab)->vdi_copy(&lab->call, &lab->sr, none, &spec, &info, NULL, NULL),
              "VDI_MISSING");
    lab_fails(lab, DRIVER(lab)->vdi_fork(&lab->call, &lab->sr, none, lab_uuid(lab), &spec, &info),
              "VDI_MISSING");
}

static void a_deleted_disk_is_gone_and_may_be_deleted_again(void **state)
{
    struct lab *lab = *state;
    const char *disk = lab_disk(lab, "d", MIB), *other = lab_disk(lab, "e", MIB);
    size_t n;

    lab_must(lab, DRIVER(lab)->vdi_delete(&lab->call, &lab->sr, disk));
    lab_must(lab, DRIVER(lab)->vdi_delete(&lab->call, &lab->sr, disk));
    assert_null(lab_scan(lab, disk, &n));
    assert_non_null(lab_scan(lab, other, &n));
    assert_int_equal(n, 1);
}

static void a_disk_grows_keeps_its_content_and_never_shrinks(void **state)
{
    struct lab *lab = *state;
    const char *disk = lab_disk(lab, "d", MIB);
    struct vdi_info info;

    lab_needs(lab, SR_F_VDI_RESIZE);
    lab_write(lab, disk, 0, 'g');
    lab_must(lab, DRIVER(lab)->vdi_resize(&lab->call, &lab->sr, disk, 5 * MIB, &info));
    assert_int_equal(info.virtual_size, 5 * MIB);
    lab_must(lab, DRIVER(lab)->vdi_resize(&lab->call, &lab->sr, disk, 5 * MIB, &info));
    lab_fails(lab, DRIVER(lab)->vdi_resize(&lab->call, &lab->sr, disk, MIB, &info),
              "VDI_TOO_SMALL");
    lab_fails(lab, DRIVER(lab)->vdi_resize(&lab->call, &lab->sr, disk, INT64_MAX, &info),
              "VDI_TOO_LARGE");
    lab_expect(lab, disk, 0, 'g');
    lab_expect(lab, disk, 4 * MIB, 0);
    lab_check_images(lab);
}

static void a_snapshot_keeps_what_the_disk_held(void **state)
{
    struct lab *lab = *state;
    const char *disk = lab_disk(lab, "d", 2 * MIB), *snapshot, *base;
    struct vdi_info info;

    lab_needs(lab, SR_F_VDI_SNAPSHOT);
    lab_write(lab, disk, 0, 'a');
    snapshot = lab_fork(lab, disk, &base);
    lab_write(lab, disk, 0, 'b');
    lab_write(lab, snapshot, MIB, 'c');
    lab_expect(lab, snapshot, 0, 'a');
    lab_expect(lab, disk, 0, 'b');
    lab_expect(lab, disk, MIB, 0);
    lab_expect(lab, base, 0, 'a');
    info = lab_stat(lab, snapshot);
    assert_string_equal(info.parent, base);
    assert_string_equal(info.name_label, "snapshot");
    assert_int_equal(info.virtual_size, 2 * MIB);
    info = lab_stat(lab, disk);
    assert_string_equal(info.parent, base);
    assert_string_equal(info.name_label, "d");
    info = lab_stat(lab, base);
    assert_true(info.hidden && info.read_only);
    lab_check_images(lab);
}

static void a_base_is_neither_written_nor_removed_while_it_is_needed(void **state)
{
    struct lab *lab = *state;
    const char *disk = lab_disk(lab, "d", MIB), *base;
    struct vdi_spec spec = {.location = lab_uuid(lab)};
    struct vdi_info info;
    struct vdi_path path;

    lab_needs(lab, SR_F_VDI_SNAPSHOT);
    lab_fork(lab, disk, &base);
    lab_fails(lab, DRIVER(lab)->vdi_attach(&lab->call, &lab->sr, base, true, &path),
              "VDI_READONLY");
    lab_fails(lab, DRIVER(lab)->vdi_resize(&lab->call, &lab->sr, base, 9 * MIB, &info),
              "VDI_READONLY");
    lab_fails(lab, DRIVER(lab)->vdi_delete(&lab->call, &lab->sr, base), "VDI_IN_USE");
    lab_fails(lab, DRIVER(lab)->vdi_fork(&lab->call, &lab->sr, base, lab_uuid(lab), &spec, &info),
              "VDI_READONLY");
    assert_non_null(lab_scan(lab, base, NULL));
}

static void the_last_leaf_takes_its_hidden_parents_along(void **state)
{
    struct lab *lab = *state;
    const char *disk = lab_disk(lab, "d", MIB), *one, *two;
    size_t n;

    lab_needs(lab, SR_F_VDI_SNAPSHOT);
    one = lab_fork(lab, disk, NULL);
    lab_write(lab, disk, 0, 'x');
    two = lab_fork(lab, disk, NULL);
    lab_scan(lab, disk, &n);
    assert_int_equal(n, 5);
    lab_must(lab, DRIVER(lab)->vdi_delete(&lab->call, &lab->sr, one));
    lab_scan(lab, disk, &n);
    assert_int_equal(n, 4);
    lab_must(lab, DRIVER(lab)->vdi_delete(&lab->call, &lab->sr, disk));
    lab_expect(lab, two, 0, 'x');
    lab_must(lab, DRIVER(lab)->vdi_delete(&lab->call, &lab->sr, two));
    lab_scan(lab, disk, &n);
    assert_int_equal(n, 0);
    assert_int_equal(lab_count_files(lab, ".qcow2") + lab_count_files(lab, ".json"), 0);
}

static void a_fork_done_twice_is_done_once(void **state)
{
    struct lab *lab = *state;
    const char *disk = lab_disk(lab, "d", MIB), *base = lab_uuid(lab);
    struct vdi_spec spec = {.location = lab_uuid(lab)};
    struct vdi_info info;
    size_t n;

    lab_needs(lab, SR_F_VDI_SNAPSHOT);
    lab_must(lab, DRIVER(lab)->vdi_fork(&lab->call, &lab->sr, disk, base, &spec, &info));
    lab_write(lab, disk, 0, 'x');
    lab_write(lab, spec.location, 0, 'y');
    lab_must(lab, DRIVER(lab)->vdi_fork(&lab->call, &lab->sr, disk, base, &spec, &info));
    lab_expect(lab, disk, 0, 'x');
    lab_expect(lab, spec.location, 0, 'y');
    lab_scan(lab, disk, &n);
    assert_int_equal(n, 3);
}

static void forking_a_disk_without_data_of_its_own_adds_no_base(void **state)
{
    struct lab *lab = *state;
    const char *disk = lab_disk(lab, "d", MIB), *snapshot, *base = lab_uuid(lab);
    struct vdi_spec spec = {.location = lab_uuid(lab)};
    struct vdi_info info;
    size_t n;

    lab_needs(lab, SR_F_VDI_SNAPSHOT);
    lab_write(lab, disk, 0, 'x');
    snapshot = lab_fork(lab, disk, NULL);
    lab_must(lab, DRIVER(lab)->vdi_fork(&lab->call, &lab->sr, snapshot, base, &spec, &info));
    assert_string_equal(info.parent, lab_stat(lab, snapshot).parent);
    lab_write(lab, spec.location, 0, 'y');
    lab_must(lab, DRIVER(lab)->vdi_fork(&lab->call, &lab->sr, snapshot, base, &spec, &info));
    lab_expect(lab, spec.location, 0, 'y');
    lab_expect(lab, snapshot, 0, 'x');
    lab_scan(lab, disk, &n);
    assert_int_equal(n, 4);
    lab_write(lab, snapshot, 0, 'z');
    lab_fork(lab, snapshot, NULL);
    lab_scan(lab, disk, &n);
    assert_int_equal(n, 6);
}

static void a_fork_onto_names_in_use_is_refused(void **state)
{
    struct lab *lab = *state;
    const char *disk = lab_disk(lab, "d", MIB), *other = lab_disk(lab, "o", MIB);
    struct vdi_spec spec = {.location = other};
    struct vdi_info info;

    lab_needs(lab, SR_F_VDI_SNAPSHOT);
    lab_write(lab, other, 0, 'o');
    lab_fails(lab, DRIVER(lab)->vdi_fork(&lab->call, &lab->sr, disk, lab_uuid(lab), &spec, &info),
              "SR_BACKEND_FAILURE_43");
    spec.location = lab_uuid(lab);
    lab_fails(lab, DRIVER(lab)->vdi_fork(&lab->call, &lab->sr, disk, other, &spec, &info),
              "SR_BACKEND_FAILURE_43");
    lab_fails(lab, DRIVER(lab)->vdi_fork(&lab->call, &lab->sr, disk, disk, &spec, &info),
              "SR_BACKEND_FAILURE_1");
    lab_expect(lab, other, 0, 'o');
    assert_string_equal(lab_stat(lab, disk).parent, "");
}

struct told {
    double last;
    unsigned back; /* how often it began anew: once, where an answer was lost */
};

static bool remember(void *ctx, double done)
{
    struct told *told = ctx;

    told->back += done < told->last;
    assert_true(told->back <= 1 && done <= 1);
    told->last = done;
    return true;
}

static bool refuse(void *ctx, double done)
{
    (void)ctx;
    (void)done;
    return false;
}

static void a_copy_stands_alone_and_reports_progress(void **state)
{
    struct lab *lab = *state;
    const char *disk = lab_disk(lab, "d", 4 * MIB), *snapshot;
    struct vdi_spec spec = {.location = lab_uuid(lab), .name_label = "copy"};
    struct vdi_info info;
    struct told told = {0};

    lab_needs(lab, SR_F_VDI_SNAPSHOT);
    lab_write(lab, disk, 0, 'a');
    snapshot = lab_fork(lab, disk, NULL);
    lab_write(lab, snapshot, MIB, 'b');
    lab_must(lab,
             DRIVER(lab)->vdi_copy(&lab->call, &lab->sr, snapshot, &spec, &info, remember, &told));
    assert_true(told.last == 1.0 || told.back == 1);
    assert_string_equal(info.parent, "");
    assert_string_equal(info.name_label, "copy");
    assert_int_equal(info.virtual_size, 4 * MIB);
    lab_must(lab, DRIVER(lab)->vdi_delete(&lab->call, &lab->sr, snapshot));
    lab_must(lab, DRIVER(lab)->vdi_delete(&lab->call, &lab->sr, disk));
    lab_expect(lab, spec.location, 0, 'a');
    lab_expect(lab, spec.location, MIB, 'b');
    lab_check_images(lab);
}

static void a_cancelled_copy_leaves_nothing(void **state)
{
    struct lab *lab = *state;
    struct vdi_spec spec = {.location = lab_uuid(lab)};
    const char *disk = lab_disk(lab, "d", 4 * MIB);
    struct vdi_info info;

    lab_write(lab, disk, 0, 'a');
    lab_fails(lab, DRIVER(lab)->vdi_copy(&lab->call, &lab->sr, disk, &spec, &info, refuse, NULL),
              "TASK_CANCELLED");
    assert_null(lab_scan(lab, spec.location, NULL));
    assert_int_equal(lab_count_files(lab, ".tmp"), 0);
    assert_int_equal(lab_count_files(lab, ".json"), lab_count_files(lab, ".qcow2"));
}

static void a_scan_after_a_restart_rebuilds_everything(void **state)
{
    struct lab *lab = *state;
    struct strpair pair = {"vmhint", "x"};
    struct vdi_spec spec = {.location = lab_uuid(lab),
                            .name_label = "na\"me \xc3\xa9",
                            .virtual_size = MIB,
                            .sm_config = {1, &pair}};
    const struct vdi_info *found;
    struct vdi_info info;
    const char *snapshot, *base;

    lab_needs(lab, SR_F_VDI_SNAPSHOT);
    lab_must(lab, DRIVER(lab)->vdi_create(&lab->call, &lab->sr, &spec, &info));
    snapshot = lab_fork(lab, spec.location, &base);
    lab_must(lab,
             DRIVER(lab)->vdi_describe(&lab->call, &lab->sr, snapshot, "new name", "new text"));
    lab_restart(lab);
    found = lab_scan(lab, spec.location, NULL);
    assert_non_null(found);
    assert_string_equal(found->name_label, "na\"me \xc3\xa9");
    assert_string_equal(found->parent, base);
    assert_string_equal(strmap_get(&found->sm_config, "vmhint"), "x");
    found = lab_scan(lab, snapshot, NULL);
    assert_string_equal(found->name_label, "new name");
    assert_string_equal(found->name_description, "new text");
    assert_false(found->hidden);
    assert_true(lab_scan(lab, base, NULL)->hidden);
}

static void the_repository_says_how_large_it_is(void **state)
{
    struct lab *lab = *state;
    struct sr_stat_info info;

    lab_needs(lab, SR_F_STATS);
    lab_disk(lab, "d", 3 * MIB);
    lab_must(lab, DRIVER(lab)->stat(&lab->call, &lab->sr, &info));
    assert_true(info.physical_size > 0 && info.physical_utilisation > 0);
    assert_true(info.physical_utilisation <= info.physical_size);
}

static void a_disk_somebody_writes_to_is_left_alone(void **state)
{
    struct lab *lab = *state;
    const char *disk = lab_disk(lab, "d", MIB);
    struct vdi_spec spec = {.location = lab_uuid(lab)};
    struct vdi_info info;
    struct vdi_path path;
    struct vdi_io *io;

    lab_needs(lab, SR_F_VDI_SNAPSHOT | SR_F_VDI_RESET);
    lab_must(lab, DRIVER(lab)->vdi_attach(&lab->call, &lab->sr, disk, true, &path));
    lab_must(lab, vdi_io_open(&lab->call, &path, true, &io));
    lab_fails(lab, DRIVER(lab)->vdi_fork(&lab->call, &lab->sr, disk, lab_uuid(lab), &spec, &info),
              "VDI_IN_USE");
    lab_fails(lab, DRIVER(lab)->vdi_delete(&lab->call, &lab->sr, disk), "VDI_IN_USE");
    lab_fails(lab, DRIVER(lab)->vdi_resize(&lab->call, &lab->sr, disk, 2 * MIB, &info),
              "VDI_IN_USE");
    lab_fails(lab, DRIVER(lab)->vdi_reset(&lab->call, &lab->sr, disk), "VDI_IN_USE");
    vdi_io_close(io);
    DRIVER(lab)->vdi_detach(&lab->call, &lab->sr, disk);
    lab_fork(lab, disk, NULL);
}

static void a_disk_goes_back_to_another_one_or_to_its_base(void **state)
{
    struct lab *lab = *state;
    const char *disk = lab_disk(lab, "d", MIB), *first, *second;
    struct vdi_info info;

    lab_needs(lab, SR_F_VDI_REVERT | SR_F_VDI_RESET);
    lab_write(lab, disk, 0, 'a');
    lab_fails(lab, DRIVER(lab)->vdi_reset(&lab->call, &lab->sr, disk), "SR_BACKEND_FAILURE_46");
    first = lab_fork(lab, disk, NULL);
    lab_write(lab, disk, 0, 'b');
    second = lab_fork(lab, disk, NULL);
    lab_write(lab, disk, 0, 'c');
    lab_must(lab, DRIVER(lab)->vdi_reset(&lab->call, &lab->sr, disk));
    lab_expect(lab, disk, 0, 'b');
    lab_must(lab, DRIVER(lab)->vdi_resize(&lab->call, &lab->sr, disk, 2 * MIB, &info));
    lab_must(lab, DRIVER(lab)->vdi_reset(&lab->call, &lab->sr, disk));
    assert_int_equal(lab_stat(lab, disk).virtual_size, 2 * MIB);
    lab_must(lab, DRIVER(lab)->vdi_replace(&lab->call, &lab->sr, disk, first, &info));
    assert_int_equal(info.virtual_size, MIB);
    assert_string_equal(info.name_label, "d");
    lab_expect(lab, disk, 0, 'a');
    lab_expect(lab, second, 0, 'b');
    lab_fails(lab, DRIVER(lab)->vdi_stat(&lab->call, &lab->sr, first, &info), "VDI_MISSING");
    lab_must(lab, DRIVER(lab)->vdi_replace(&lab->call, &lab->sr, disk, first, &info));
    lab_check_images(lab);
}

static struct error *coalesce(struct lab *lab, const char *base, const char *location)
{
    struct vdi_coalesce what = {.base = base, .location = location};

    return DRIVER(lab)->vdi_coalesce(&lab->call, &lab->sr, &what, NULL, NULL);
}

/* d on two bases, of which the snapshots are gone. */
static const char *make_chain(struct lab *lab, const char **lower, const char **upper)
{
    const char *disk = lab_disk(lab, "d", 2 * MIB), *one, *two;
    struct vdi_info info;

    lab_needs(lab, SR_F_VDI_COALESCE);
    lab_write(lab, disk, 0, 'a');
    lab_write(lab, disk, MIB, 'a');
    one = lab_fork(lab, disk, lower);
    lab_write(lab, disk, 0, 'b');
    lab_must(lab, DRIVER(lab)->vdi_resize(&lab->call, &lab->sr, disk, 4 * MIB, &info));
    two = lab_fork(lab, disk, upper);
    lab_write(lab, disk, 3 * MIB, 'c');
    lab_must(lab, DRIVER(lab)->vdi_delete(&lab->call, &lab->sr, one));
    lab_must(lab, DRIVER(lab)->vdi_delete(&lab->call, &lab->sr, two));
    return disk;
}

static void expect_chain_content(struct lab *lab, const char *disk)
{
    assert_int_equal(lab_stat(lab, disk).virtual_size, 4 * MIB);
    assert_string_equal(lab_stat(lab, disk).name_label, "d");
    lab_expect(lab, disk, 0, 'b');
    lab_expect(lab, disk, MIB, 'a');
    lab_expect(lab, disk, 2 * MIB, 0);
    lab_expect(lab, disk, 3 * MIB, 'c');
    lab_check_images(lab);
}

static void a_chain_becomes_one_image_and_holds_the_same(void **state)
{
    struct lab *lab = *state;
    const char *lower, *upper, *disk = make_chain(lab, &lower, &upper);
    size_t n;

    lab_must(lab, coalesce(lab, lower, upper));
    expect_chain_content(lab, disk);
    assert_string_equal(lab_stat(lab, disk).parent, upper);
    assert_string_equal(lab_stat(lab, upper).parent, "");
    assert_true(lab_stat(lab, upper).hidden);
    lab_must(lab, coalesce(lab, lower, upper)); /* it was done before */
    lab_must(lab, coalesce(lab, upper, disk));
    expect_chain_content(lab, disk);
    assert_string_equal(lab_stat(lab, disk).parent, "");
    assert_false(lab_stat(lab, disk).hidden);
    lab_scan(lab, disk, &n);
    assert_int_equal(n, 1);
    assert_int_equal(lab_count_files(lab, ".json"), lab_count_files(lab, ".qcow2"));
}

static void what_others_lie_on_is_not_coalesced(void **state)
{
    struct lab *lab = *state;
    const char *disk = lab_disk(lab, "d", MIB), *snapshot, *base;

    lab_needs(lab, SR_F_VDI_COALESCE);
    lab_write(lab, disk, 0, 'a');
    snapshot = lab_fork(lab, disk, &base);
    lab_fails(lab, coalesce(lab, base, disk), "VDI_IN_USE");
    lab_fails(lab, coalesce(lab, snapshot, disk), "VDI_IN_USE");
    lab_must(lab, DRIVER(lab)->vdi_strip(&lab->call, &lab->sr, snapshot));
    lab_fails(lab, coalesce(lab, base, disk), "VDI_IN_USE");
    lab_expect(lab, disk, 0, 'a');
}

static void a_disk_somebody_writes_to_is_not_coalesced(void **state)
{
    struct lab *lab = *state;
    const char *lower, *upper, *disk = make_chain(lab, &lower, &upper);
    struct error *below;
    struct vdi_path path;
    struct vdi_io *io;

    lab_must(lab, DRIVER(lab)->vdi_attach(&lab->call, &lab->sr, disk, true, &path));
    lab_must(lab, vdi_io_open(&lab->call, &path, true, &io));
    lab_fails(lab, coalesce(lab, upper, disk), "VDI_IN_USE");
    below = coalesce(lab, lower, upper);
    if (below) /* drivers whose storage other hosts may use cannot do that either */
        lab_fails(lab, below, "VDI_IN_USE");
    vdi_io_close(io);
    DRIVER(lab)->vdi_detach(&lab->call, &lab->sr, disk);
    expect_chain_content(lab, disk);
    lab_must(lab, coalesce(lab, lower, upper));
    expect_chain_content(lab, disk);
    lab_must(lab, coalesce(lab, upper, disk));
    expect_chain_content(lab, disk);
}

static void a_cancelled_coalesce_changes_nothing_and_is_done_later(void **state)
{
    struct lab *lab = *state;
    const char *lower, *upper, *disk = make_chain(lab, &lower, &upper);
    struct vdi_coalesce what = {.base = lower, .location = upper};

    lab_fails(lab, DRIVER(lab)->vdi_coalesce(&lab->call, &lab->sr, &what, refuse, NULL),
              "TASK_CANCELLED");
    expect_chain_content(lab, disk);
    assert_string_equal(lab_stat(lab, upper).parent, lower);
    lab_must(lab, coalesce(lab, lower, upper));
    expect_chain_content(lab, disk);
}

static void a_repository_with_disks_is_not_destroyed(void **state)
{
    struct lab *lab = *state;
    const char *disk = lab_disk(lab, "d", MIB);

    DRIVER(lab)->detach(&lab->call, &lab->sr);
    lab->attached = false;
    memset(lab->sr.state, 0, DRIVER(lab)->state_size);
    lab_fails(lab, DRIVER(lab)->destroy(&lab->call, &lab->sr), "SR_NOT_EMPTY");
    lab_must(lab, DRIVER(lab)->attach(&lab->call, &lab->sr));
    lab_must(lab, DRIVER(lab)->vdi_delete(&lab->call, &lab->sr, disk));
    DRIVER(lab)->detach(&lab->call, &lab->sr);
    memset(lab->sr.state, 0, DRIVER(lab)->state_size);
    lab_must(lab, DRIVER(lab)->destroy(&lab->call, &lab->sr));
    lab_must(lab, DRIVER(lab)->destroy(&lab->call, &lab->sr));
    assert_non_null(DRIVER(lab)->attach(&lab->call, &lab->sr));
}

/*** what is only read ***/

static void what_is_there_is_shown_and_read(void **state)
{
    struct lab *lab = *state;
    const struct vdi_info *found = lab_scan(lab, "a.iso", NULL);
    struct vdi_path path;
    struct vdi_io *io;
    char text[8] = "";

    assert_non_null(found);
    assert_true(found->read_only);
    assert_false(found->hidden);
    assert_int_equal(found->virtual_size, 7);
    assert_int_equal(lab_stat(lab, "a.iso").virtual_size, 7);
    lab_must(lab, DRIVER(lab)->vdi_attach(&lab->call, &lab->sr, "a.iso", false, &path));
    lab_must(lab, vdi_io_open(&lab->call, &path, false, &io));
    lab_must(lab, vdi_io_read(&lab->call, io, 0, text, 7));
    assert_string_equal(text, "content");
    vdi_io_close(io);
    DRIVER(lab)->vdi_detach(&lab->call, &lab->sr, "a.iso");
}

static void it_is_the_same_after_a_restart(void **state)
{
    struct lab *lab = *state;
    const char *uuid = lab_stat(lab, "a.iso").uuid;

    lab_restart(lab);
    assert_string_equal(lab_stat(lab, "a.iso").uuid, uuid);
}

static void nobody_may_write_to_it(void **state)
{
    struct lab *lab = *state;
    struct vdi_path path;

    lab_fails(lab, DRIVER(lab)->vdi_attach(&lab->call, &lab->sr, "a.iso", true, &path),
              "VDI_READONLY");
    assert_false(DRIVER(lab)->features & (SR_F_VDI_CREATE | SR_F_VDI_SNAPSHOT | SR_F_VDI_RESIZE));
}

static void what_is_not_there_is_missing(void **state)
{
    struct lab *lab = *state;
    struct vdi_info info;
    struct vdi_path path;

    lab_fails(lab, DRIVER(lab)->vdi_stat(&lab->call, &lab->sr, "b.iso", &info), "VDI_MISSING");
    lab_fails(lab, DRIVER(lab)->vdi_stat(&lab->call, &lab->sr, "../a.iso", &info), "VDI_MISSING");
    lab_fails(lab, DRIVER(lab)->vdi_attach(&lab->call, &lab->sr, "b.iso", false, &path),
              "VDI_MISSING");
}

static int set_up_read_only(void **state)
{
    set_up(state);
    lab_put(*state, "a.iso", "content");
    return 0;
}

#define CASE(fn)                                                                                   \
    {                                                                                              \
#fn, fn, set_up, tear_down, (void *)kind                                                   \
    }

int conformance_run(const char *group, const struct lab_kind *kind)
{
    const struct CMUnitTest tests[] = {
        CASE(a_new_disk_has_its_names_and_at_least_its_size),
        CASE(creating_a_disk_again_changes_nothing),
        CASE(impossible_sizes_are_refused),
        CASE(locations_that_lead_elsewhere_are_refused),
        CASE(what_does_not_exist_is_missing),
        CASE(a_deleted_disk_is_gone_and_may_be_deleted_again),
        CASE(a_disk_grows_keeps_its_content_and_never_shrinks),
        CASE(a_snapshot_keeps_what_the_disk_held),
        CASE(a_base_is_neither_written_nor_removed_while_it_is_needed),
        CASE(the_last_leaf_takes_its_hidden_parents_along),
        CASE(a_fork_done_twice_is_done_once),
        CASE(forking_a_disk_without_data_of_its_own_adds_no_base),
        CASE(a_fork_onto_names_in_use_is_refused),
        CASE(a_copy_stands_alone_and_reports_progress),
        CASE(a_cancelled_copy_leaves_nothing),
        CASE(a_scan_after_a_restart_rebuilds_everything),
        CASE(the_repository_says_how_large_it_is),
        CASE(a_disk_somebody_writes_to_is_left_alone),
        CASE(a_disk_goes_back_to_another_one_or_to_its_base),
        CASE(a_chain_becomes_one_image_and_holds_the_same),
        CASE(what_others_lie_on_is_not_coalesced),
        CASE(a_disk_somebody_writes_to_is_not_coalesced),
        CASE(a_cancelled_coalesce_changes_nothing_and_is_done_later),
        CASE(a_repository_with_disks_is_not_destroyed),
    };

    return cmocka_run_group_tests_name(group, tests, NULL, NULL);
}

#define READ_CASE(fn)                                                                              \
    {                                                                                              \
#fn, fn, set_up_read_only, tear_down, (void *)kind                                         \
    }

int conformance_run_read_only(const char *group, const struct lab_kind *kind)
{
    const struct CMUnitTest tests[] = {
        READ_CASE(what_is_there_is_shown_and_read),
        READ_CASE(it_is_the_same_after_a_restart),
        READ_CASE(nobody_may_write_to_it),
        READ_CASE(what_is_not_there_is_missing),
    };

    return cmocka_run_group_tests_name(group, tests, NULL, NULL);
}
