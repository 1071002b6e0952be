/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tests of xapid/ops/storage: what operations leave behind, also where they fail or the daemon
 * dies. */
#include "tests/unit/ops_storage/world.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/value/value.h"
#include "xapid/db/row.h"
#include "xapid/ops/allowed.h"
#include "xapid/ops/storage/attach.h"
#include "xapid/ops/storage/making.h"
#include "xapid/ops/storage/sm.h"

static int set_up(void **state)
{
    struct world *w = malloc(sizeof *w);

    assert_non_null(w);
    world_open(w);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    world_close(*state);
    free(*state);
    return 0;
}

static const struct vdi *get(struct world *w, ref_t ref)
{
    const struct vdi *vdi;

    world_must(w, DB_GET(&w->call, vdi, ref, &vdi));
    return vdi;
}

static void destroy(struct world *w, ref_t ref)
{
    world_must(w, vdi_destroy(&w->call, &(struct vdi_destroy_args){ref}));
}

static ref_t snapshot(struct world *w, ref_t ref)
{
    ref_t out;

    world_must(w, vdi_snapshot(&w->call, &(struct vdi_snapshot_args){.vdi = ref}, &out));
    return out;
}

static bool allows(struct world *w, const void *row, int op)
{
    const struct enums *all = allowed_operations(&w->arena, &w->xapid, w->call.snap, row);

    for (size_t i = 0; i < all->n; i++)
        if (all->v[i] == op)
            return true;
    return false;
}

/*** what operations do ***/

static void a_new_disk_has_a_file_and_a_record(void **state)
{
    struct world *w = *state;
    const struct vdi *vdi = get(w, world_disk(w, "root", 10 * MIB));

    assert_string_equal(vdi->name_label, "root");
    assert_string_equal(vdi->location, vdi->uuid);
    assert_int_equal(vdi->virtual_size, 10 * MIB);
    assert_true(vdi->managed);
    assert_int_equal(world_files(w, ".qcow2"), 1);
    world_is_quiet(w);
}

static void a_destroyed_disk_leaves_nothing(void **state)
{
    struct world *w = *state;

    destroy(w, world_disk(w, "root", 10 * MIB));
    assert_int_equal(world_files(w, ".qcow2"), 0);
    assert_int_equal(world_files(w, ".json"), 0);
    assert_int_equal(world_count(w, CLASS_vdi), 0);
    world_is_quiet(w);
}

static void a_snapshot_knows_its_disk_and_both_know_their_base(void **state)
{
    struct world *w = *state;
    ref_t disk = world_disk(w, "root", 10 * MIB), snap = snapshot(w, disk);
    const struct vdi *s = get(w, snap), *d = get(w, disk);
    const char *parent = strmap_get(&s->sm_config, "vhd-parent");
    const struct vdi *base;
    ref_t base_ref;

    assert_true(s->is_a_snapshot);
    assert_true(ref_equal(s->snapshot_of, disk));
    assert_true(s->snapshot_time > 0);
    assert_non_null(parent);
    assert_string_equal(strmap_get(&d->sm_config, "vhd-parent"), parent);
    world_must(w, db_by_uuid(&w->call, CLASS_vdi, parent, &base_ref));
    base = get(w, base_ref);
    assert_false(base->managed);
    assert_int_equal(world_count(w, CLASS_vdi), 3);
}

static void the_hidden_base_goes_with_the_last_disk_on_it(void **state)
{
    struct world *w = *state;
    ref_t disk = world_disk(w, "root", 10 * MIB), snap = snapshot(w, disk);

    destroy(w, disk);
    assert_int_equal(world_count(w, CLASS_vdi), 2);
    destroy(w, snap);
    assert_int_equal(world_count(w, CLASS_vdi), 0);
    assert_int_equal(world_files(w, ".qcow2"), 0);
}

static void a_scan_after_a_snapshot_changes_nothing(void **state)
{
    struct world *w = *state;
    uint64_t before;

    snapshot(w, world_disk(w, "root", 10 * MIB));
    world_must(w, sr_scan(&w->call, &(struct sr_scan_args){w->sr}));
    before = world_count(w, CLASS_vdi);
    world_must(w, sr_scan(&w->call, &(struct sr_scan_args){w->sr}));
    assert_int_equal(world_count(w, CLASS_vdi), before);
    assert_int_equal(before, 3);
}

static void a_scan_finds_disks_that_have_no_record_any_more(void **state)
{
    struct world *w = *state;
    ref_t disk = world_disk(w, "root", 10 * MIB), found;
    const char *uuid = arena_strdup(&w->arena, get(w, disk)->uuid);

    world_must(w, vdi_forget(&w->call, &(struct vdi_forget_args){disk}));
    assert_int_equal(world_count(w, CLASS_vdi), 0);
    world_must(w, sr_scan(&w->call, &(struct sr_scan_args){w->sr}));
    world_must(w, db_by_uuid(&w->call, CLASS_vdi, uuid, &found));
    assert_string_equal(get(w, found)->name_label, "root");
}

static void a_scan_keeps_the_record_of_a_lost_disk_that_a_vm_has(void **state)
{
    struct world *w = *state;
    ref_t disk = world_disk(w, "root", 10 * MIB), vm = world_vm(w, "web"), vbd;
    struct vbd row;

    row_defaults(&api_classes[CLASS_vbd], &row);
    row.vm = vm;
    row.vdi = disk;
    row.userdevice = "autodetect";
    row.mode = VBD_RW;
    row.type = VBD_TYPE_DISK;
    world_must(w, vbd_create(&w->call, &(struct vbd_create_args){&row}, &vbd));
    assert_int_equal(
        unlink(arena_printf(&w->arena, "%s/%s.qcow2", w->storage, get(w, disk)->location)), 0);
    world_must(w, sr_scan(&w->call, &(struct sr_scan_args){w->sr}));
    assert_true(get(w, disk)->missing);
}

static void a_copy_into_an_existing_disk_has_its_data(void **state)
{
    struct world *w = *state;
    ref_t from = world_disk(w, "from", 10 * MIB), into = world_disk(w, "into", 12 * MIB), result;
    struct vdi_copy_args args = {.vdi = from, .into_vdi = into};
    struct vdi_io *io = NULL;
    struct vdi_path path;
    char text[8] = "";

    world_must(w, vdi_path_attach(&w->call, from, true, &path));
    world_must(w, vdi_io_open(&w->call, &path, true, &io));
    world_must(w, vdi_io_write(&w->call, io, 5 * MIB, "written", 8));
    world_must(w, vdi_io_flush(&w->call, io));
    vdi_io_close(io);
    vdi_path_detach(&w->call, from);
    world_must(w, vdi_copy(&w->call, &args, &result));
    assert_true(ref_equal(result, into));
    world_must(w, vdi_path_attach(&w->call, into, false, &path));
    world_must(w, vdi_io_open(&w->call, &path, false, &io));
    world_must(w, vdi_io_read(&w->call, io, 5 * MIB, text, 8));
    vdi_io_close(io);
    vdi_path_detach(&w->call, into);
    assert_string_equal(text, "written");
}

/*** what operations refuse ***/

static void a_repository_in_use_is_not_unplugged_or_destroyed(void **state)
{
    struct world *w = *state;
    ref_t disk = world_disk(w, "root", 10 * MIB);
    struct refs pbds = db_referrers(&w->call, FIELD_pbd_sr, w->sr);
    struct vdi_path path;

    world_fails(w, sr_destroy(&w->call, &(struct sr_destroy_args){w->sr}), "SR_HAS_PBD");
    world_must(w, vdi_path_attach(&w->call, disk, false, &path));
    world_fails(w, pbd_unplug(&w->call, &(struct pbd_unplug_args){pbds.v[0]}), "VDI_IN_USE");
    vdi_path_detach(&w->call, disk);
    world_must(w, pbd_unplug(&w->call, &(struct pbd_unplug_args){pbds.v[0]}));
    world_fails(w, sr_destroy(&w->call, &(struct sr_destroy_args){w->sr}), "SR_NOT_EMPTY");
    world_fails(w, vdi_destroy(&w->call, &(struct vdi_destroy_args){disk}), "SR_NOT_ATTACHED");
    world_must(w, pbd_plug(&w->call, &(struct pbd_plug_args){pbds.v[0]}));
    destroy(w, disk);
    world_must(w, pbd_unplug(&w->call, &(struct pbd_unplug_args){pbds.v[0]}));
    world_must(w, sr_destroy(&w->call, &(struct sr_destroy_args){w->sr}));
    assert_int_equal(world_count(w, CLASS_sr), 0);
    assert_int_equal(world_count(w, CLASS_pbd), 0);
    world_is_quiet(w);
}

static void a_disk_never_shrinks(void **state)
{
    struct world *w = *state;
    ref_t disk = world_disk(w, "root", 10 * MIB);

    world_must(w, vdi_resize(&w->call, &(struct vdi_resize_args){disk, 12 * MIB}));
    assert_int_equal(get(w, disk)->virtual_size, 12 * MIB);
    world_fails(w, vdi_resize(&w->call, &(struct vdi_resize_args){disk, 10 * MIB}),
                "VDI_TOO_SMALL");
    world_is_quiet(w);
}

static void passwords_become_secrets(void **state)
{
    struct world *w = *state;
    const struct strpair config[] = {{"location", "/nowhere"}, {"cifspassword", "hush"}};
    struct sr_introduce_args sr = {.uuid = "",
                                   .name_label = "share",
                                   .name_description = "",
                                   .type = "iso",
                                   .content_type = "iso"};
    const struct secret *secret;
    const struct pbd *made;
    struct pbd row;
    ref_t sr_ref, pbd, ref;

    world_must(w, sr_introduce(&w->call, &sr, &sr_ref));
    row_defaults(&api_classes[CLASS_pbd], &row);
    row.host = w->xapid.host;
    row.sr = sr_ref;
    row.device_config = (struct strmap){2, config};
    world_must(w, pbd_create(&w->call, &(struct pbd_create_args){&row}, &pbd));
    world_must(w, DB_GET(&w->call, pbd, pbd, &made));
    assert_null(strmap_get(&made->device_config, "cifspassword"));
    world_must(w, db_by_uuid(&w->call, CLASS_secret,
                             strmap_get(&made->device_config, "cifspassword_secret"), &ref));
    world_must(w, DB_GET(&w->call, secret, ref, &secret));
    assert_string_equal(secret->value, "hush");
    world_fails(w, pbd_create(&w->call, &(struct pbd_create_args){&row}, &pbd), "PBD_EXISTS");
    world_must(w, pbd_destroy(&w->call, &(struct pbd_destroy_args){made->ref}));
    assert_int_equal(world_count(w, CLASS_secret), 0);
}

static struct error *make_vbd(struct world *w, ref_t vm, ref_t vdi, const char *device, ref_t *out)
{
    struct vbd row;

    row_defaults(&api_classes[CLASS_vbd], &row);
    row.vm = vm;
    row.vdi = vdi;
    row.userdevice = device;
    row.mode = VBD_RW;
    row.type = VBD_TYPE_DISK;
    return vbd_create(&w->call, &(struct vbd_create_args){&row}, out);
}

static void positions_of_disks_are_checked_and_found(void **state)
{
    struct world *w = *state;
    ref_t disk = world_disk(w, "root", 10 * MIB), vm = world_vm(w, "web"), vbd;
    const struct vbd *row;

    world_must(w, make_vbd(w, vm, disk, "xvdb", &vbd));
    world_must(w, DB_GET(&w->call, vbd, vbd, &row));
    assert_string_equal(row->userdevice, "1");
    assert_string_equal(row->device, "");
    world_fails(w, make_vbd(w, vm, disk, "1", &vbd), "DEVICE_ALREADY_EXISTS");
    world_fails(w, make_vbd(w, vm, disk, "255", &vbd), "INVALID_DEVICE");
    world_fails(w, make_vbd(w, vm, disk, "floppy", &vbd), "INVALID_DEVICE");
    world_must(w, make_vbd(w, vm, disk, "autodetect", &vbd));
    world_must(w, make_vbd(w, vm, disk, "autodetect", &vbd));
    world_must(w, DB_GET(&w->call, vbd, vbd, &row));
    assert_string_equal(row->userdevice, "2");
}

static void allowed_operations_agree_with_the_operations(void **state)
{
    struct world *w = *state;
    ref_t disk = world_disk(w, "root", 10 * MIB);
    const struct sr *sr;

    assert_true(allows(w, get(w, disk), VDI_OP_DESTROY));
    assert_true(allows(w, get(w, disk), VDI_OP_SNAPSHOT));
    assert_false(allows(w, get(w, disk), VDI_OP_RESIZE_ONLINE));
    world_fails(w, vdi_resize_online(&w->call, &(struct vdi_resize_online_args){disk, 20 * MIB}),
                "SR_OPERATION_NOT_SUPPORTED");
    world_must(w, DB_GET(&w->call, sr, w->sr, &sr));
    assert_true(allows(w, sr, SR_OP_SCAN));
    assert_false(allows(w, sr, SR_OP_DESTROY));
}

static void drivers_have_one_row_each_however_often_they_are_asked(void **state)
{
    struct world *w = *state;
    size_t n;

    world_must(w, sm_rows_refresh(&w->call));
    n = world_count(w, CLASS_sm);
    assert_true(n >= 3);
    world_must(w, sm_rows_refresh(&w->call));
    assert_int_equal(world_count(w, CLASS_sm), n);
}

/*** failing and dying ***/

/* One of each operation, on a world with a disk; true if all succeeded. */
static void do_everything(struct world *w, ref_t disk)
{
    struct refs pbds = db_referrers(&w->call, FIELD_pbd_sr, w->sr);
    struct vdi_copy_args copy = {.vdi = disk, .sr = w->sr};
    ref_t made[4] = {0};

    error_ignore(vdi_clone(&w->call, &(struct vdi_clone_args){.vdi = disk}, &made[0]));
    error_ignore(vdi_snapshot(&w->call, &(struct vdi_snapshot_args){.vdi = disk}, &made[1]));
    error_ignore(vdi_copy(&w->call, &copy, &made[2]));
    copy.into_vdi = made[2];
    if (!ref_is_null(made[2]))
        error_ignore(vdi_copy(&w->call, &copy, &made[3]));
    error_ignore(vdi_resize(&w->call, &(struct vdi_resize_args){disk, 12 * MIB}));
    error_ignore(sr_scan(&w->call, &(struct sr_scan_args){w->sr}));
    error_ignore(sr_update(&w->call, &(struct sr_update_args){w->sr}));
    for (int i = 0; i < 3; i++)
        if (!ref_is_null(made[i]))
            error_ignore(vdi_destroy(&w->call, &(struct vdi_destroy_args){made[i]}));
    error_ignore(pbd_unplug(&w->call, &(struct pbd_unplug_args){pbds.v[0]}));
    error_ignore(pbd_plug(&w->call, &(struct pbd_plug_args){pbds.v[0]}));
}

/* Every record has its file, every file its record. */
static void records_match_files(struct world *w)
{
    size_t records = world_count(w, CLASS_vdi);

    assert_int_equal(world_files(w, ".qcow2"), records);
    assert_int_equal(world_files(w, ".tmp"), 0);
}

static void whatever_step_fails_nothing_is_left_behind(void **state)
{
    struct world *w = *state;
    const char *steps[100];
    size_t n;

    do_everything(w, world_disk(w, "root", 10 * MIB));
    n = world_steps(w, steps, ARRAY_SIZE(steps));
    assert_true(n > 20);
    for (size_t i = 0; i < n; i++) {
        ref_t disk;

        print_message("failing %s\n", steps[i]);
        world_fault(w, NULL);
        disk = world_disk(w, "another", 10 * MIB);
        world_fault(w, steps[i]);
        do_everything(w, disk);
        world_restart(w);
        world_is_quiet(w);
        error_ignore(pbd_plug(
            &w->call, &(struct pbd_plug_args){db_referrers(&w->call, FIELD_pbd_sr, w->sr).v[0]}));
        world_must(w, sr_scan(&w->call, &(struct sr_scan_args){w->sr}));
        records_match_files(w);
        assert_string_equal(get(w, disk)->name_label, "another");
    }
}

static void a_disk_that_was_being_made_when_the_daemon_died_is_gone(void **state)
{
    struct world *w = *state;
    ref_t disk = world_disk(w, "root", 10 * MIB);
    struct vdi_plan plan = {.vdi = ref_new(), .source = disk, .sr = w->sr, .how = VDI_SNAPSHOT};
    struct vdi_made made;
    struct op op;

    /* The op is never released: that is what dying means. */
    world_must(w, making_begin(&w->call, &plan, VDI_OP_SNAPSHOT, SR_OP_VDI_SNAPSHOT, &op));
    world_must(w, vdi_make(&w->call, &plan, 0, 1, &made));
    assert_int_equal(world_files(w, ".qcow2"), 3);
    world_restart(w);
    world_is_quiet(w);
    assert_int_equal(world_count(w, CLASS_vdi), 1);
    destroy(w, disk);
    assert_int_equal(world_files(w, ".qcow2"), 0);
}

static void a_disk_that_was_being_destroyed_when_the_daemon_died_is_gone(void **state)
{
    struct world *w = *state;
    ref_t disk = world_disk(w, "root", 10 * MIB);
    struct vdi_destroy_intent intent = {disk};
    struct vdi_gone gone;
    struct op op;

    world_must(
        w, op_begin(&w->call,
                    &(struct op_spec){.kind = INTENT_vdi_destroy,
                                      .intent = &intent,
                                      .n_holds = 1,
                                      .holds = &(struct op_hold){CLASS_vdi, disk, VDI_OP_DESTROY}},
                    &op));
    world_must(w, vdi_erase(&w->call, disk, &gone));
    world_restart(w);
    world_is_quiet(w);
    assert_int_equal(world_count(w, CLASS_vdi), 0);
}

static void a_busy_disk_says_what_it_is_busy_with(void **state)
{
    struct world *w = *state;
    ref_t disk = world_disk(w, "root", 10 * MIB);
    struct vdi_plan plan = {.vdi = ref_new(), .source = disk, .sr = w->sr, .how = VDI_COPY};
    struct error *e;
    struct op op;

    world_must(w, making_begin(&w->call, &plan, VDI_OP_COPY, SR_OP_VDI_COPY, &op));
    e = vdi_destroy(&w->call, &(struct vdi_destroy_args){disk});
    world_fails(w, e, "OTHER_OPERATION_IN_PROGRESS");
    assert_string_equal(e->params[0], "VDI");
    assert_string_equal(e->params[2], "copy");
    op_abort(&op);
    destroy(w, disk);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_new_disk_has_a_file_and_a_record),
        TEST(a_destroyed_disk_leaves_nothing),
        TEST(a_snapshot_knows_its_disk_and_both_know_their_base),
        TEST(the_hidden_base_goes_with_the_last_disk_on_it),
        TEST(a_scan_after_a_snapshot_changes_nothing),
        TEST(a_scan_finds_disks_that_have_no_record_any_more),
        TEST(a_scan_keeps_the_record_of_a_lost_disk_that_a_vm_has),
        TEST(a_copy_into_an_existing_disk_has_its_data),
        TEST(a_repository_in_use_is_not_unplugged_or_destroyed),
        TEST(a_disk_never_shrinks),
        TEST(passwords_become_secrets),
        TEST(positions_of_disks_are_checked_and_found),
        TEST(allowed_operations_agree_with_the_operations),
        TEST(drivers_have_one_row_each_however_often_they_are_asked),
        TEST(whatever_step_fails_nothing_is_left_behind),
        TEST(a_disk_that_was_being_made_when_the_daemon_died_is_gone),
        TEST(a_disk_that_was_being_destroyed_when_the_daemon_died_is_gone),
        TEST(a_busy_disk_says_what_it_is_busy_with),
    };

    return cmocka_run_group_tests_name("ops-storage", tests, NULL, NULL);
}
