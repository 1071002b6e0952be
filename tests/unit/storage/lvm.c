/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lvm.c -- volume groups: what is read of LVM, every promise of a driver on an LVM that is played
 * (fake-lvm), and a kill after each change of the group.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/value/value.h"
#include "storage-repos/apart/apart.h"
#include "storage-repos/lvm/volumes.h"
#include "tests/unit/storage/lab.h"

#define U "0e3f3f6a-6d7d-4e0c-8f19-5d6a7b0c1d2e"
#define V "1e3f3f6a-6d7d-4e0c-8f19-5d6a7b0c1d2e"

/* ---- tags ---- */

static const char *joined(struct arena *arena, const struct lvm_tags *tags)
{
    const char *text = "";

    /* LVM keeps no order. */
    for (size_t i = 0; i < tags->n; i++)
        text = arena_printf(arena, "%s%s%s", tags->v[i], i ? "," : "", text);
    return text;
}

static void a_disk_is_told_by_its_tags(void **state)
{
    struct strpair pairs[] = {{"vmhint", "a,b=c"}, {"x", ""}};
    struct arena arena = {0};
    struct call call = {.arena = &arena};
    char *longer = arena_zalloc(&arena, 5001);
    struct lvm_meta meta, back;
    struct lvm_tags tags;

    (void)state;
    memset(longer, '"', 5000);
    meta = (struct lvm_meta){.format = "qcow2",
                             .parent = V,
                             .virtual_size = 4096,
                             .hidden = true,
                             .name_label = "n\xc3\xa4me, \"1\"=\n",
                             .name_description = longer,
                             .sm_config = {2, pairs}};
    assert_true(lvm_tags_write(&call, &meta, &tags));
    for (size_t i = 0; i < tags.n; i++)
        assert_true(strlen(tags.v[i]) <= 1024 && !strpbrk(tags.v[i], ", \"\n\\"));
    lvm_tags_read(&call, joined(&arena, &tags), &back);
    assert_string_equal(back.format, "qcow2");
    assert_string_equal(back.parent, V);
    assert_true(back.hidden && back.virtual_size == 4096);
    assert_string_equal(back.name_label, meta.name_label);
    assert_string_equal(back.name_description, longer);
    assert_string_equal(strmap_get(&back.sm_config, "vmhint"), "a,b=c");
    meta.name_label = "\xff";
    assert_false(lvm_tags_write(&call, &meta, &tags));
    arena_release(&arena);
}

static void tags_of_others_make_no_disk(void **state)
{
    static const char *const bad[] = {"", "format=vhd,size=1", "format=raw", "format=raw,size=-1",
                                      "format=raw,size=1,parent=../x"};
    struct arena arena = {0};
    struct call call = {.arena = &arena};
    struct lvm_meta meta;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        lvm_tags_read(&call, bad[i], &meta);
        assert_string_equal(meta.format, "");
    }
    lvm_tags_read(&call, "format=raw,size=1,meta0==zz,meta99999=x,metax", &meta);
    assert_string_equal(meta.format, "raw");
    assert_string_equal(meta.name_label, "");
    arena_release(&arena);
}

/* ---- reports ---- */

#define VOLUME(name, tags)                                                                         \
    "{\"lv_name\":\"" name "\",\"lv_size\":\"8388608\",\"lv_tags\":\"" tags                        \
    "\",\"lv_active\":\"active\",\"lv_device_open\":\"\",\"lv_suspended\":\"\","                   \
    "\"pool_lv\":\"\",\"data_percent\":\"\"}"

static bool read_report(struct arena *arena, const char *volumes, struct lvm_group *out)
{
    struct call call = {.arena = arena};
    const char *text = arena_printf(arena,
                                    "{\"report\":[{\"vg\":[{\"vg_size\":\"104857600\","
                                    "\"vg_free\":\"4194304\",\"vg_extent_size\":\"4194304\","
                                    "\"vg_missing_pv_count\":\"0\"}],\"lv\":[%s]}]}",
                                    volumes);

    return lvm_report_read(&call, text, strlen(text), out);
}

static void a_report_tells_the_disks_of_a_group(void **state)
{
    struct arena arena = {0};
    struct lvm_group group;

    (void)state;
    assert_true(read_report(
        &arena,
        VOLUME("VDI-" V, "format=raw,size=8388608") "," VOLUME(
            "VDI-" U,
            "format=qcow2,parent=" V
            ",size=4096") "," VOLUME("new-" U,
                                     "format=qcow2,size=4096") "," VOLUME("somebody",
                                                                          "") "," VOLUME("VDI-x",
                                                                                         "format="
                                                                                         "raw,size="
                                                                                         "1"),
        &group));
    assert_int_equal(group.n, 3);
    assert_int_equal(group.free, 4194304);
    assert_int_equal(lvm_disk(&group, V)->children, 1);
    assert_int_equal(lvm_chain_length(&group, lvm_disk(&group, U)), 2);
    assert_false(read_report(&arena, "{", &group));
    arena_release(&arena);
}

static void a_change_that_was_interrupted_shows_a_whole_disk(void **state)
{
    struct arena arena = {0};
    struct lvm_group group;

    (void)state;
    /* Frozen: what lies on the base is the disk. */
    assert_true(read_report(&arena,
                            VOLUME("VDI-" V, "format=qcow2,size=4096") "," VOLUME(
                                "leaf-" U, "format=qcow2,parent=" V ",size=4096"),
                            &group));
    assert_int_equal(lvm_disk(&group, U)->kind, LVM_LEAF);
    assert_int_equal(lvm_disk(&group, V)->children, 1);
    /* Not yet. */
    assert_true(read_report(&arena,
                            VOLUME("VDI-" U, "format=qcow2,size=4096") "," VOLUME(
                                "leaf-" U, "format=qcow2,parent=" V ",size=4096"),
                            &group));
    assert_int_equal(lvm_disk(&group, U)->kind, LVM_DISK);
    assert_null(lvm_disk(&group, V));
    /* On its way back. */
    assert_true(read_report(&arena, VOLUME("old-" U, "format=qcow2,size=4096"), &group));
    assert_int_equal(lvm_disk(&group, U)->kind, LVM_OLD);
    arena_release(&arena);
}

/* ---- a host whose LVM is played ---- */

struct play {
    struct arena arena;
    char root[32];
    struct strpair device;
    struct lab_kind kind;
};

static void play_open(struct play *p)
{
    const char *folder;

    *p = (struct play){.root = "/tmp/xapid-lvm-XXXXXX", .device = {"device", "/dev/none"}};
    p->kind =
        (struct lab_kind){.driver = &sr_lvm, .config = {1, &p->device}, .system_root = p->root};
    assert_non_null(mkdtemp(p->root));
    folder = arena_printf(&p->arena, "%s/usr/sbin", p->root);
    lab_run(&p->arena, (const char *const[]){"mkdir", "-p", folder, NULL});
    lab_run(&p->arena,
            (const char *const[]){"cp", FAKE_LVM, arena_printf(&p->arena, "%s/lvm", folder), NULL});
}

static void play_close(struct play *p)
{
    lab_run(&p->arena, (const char *const[]){"rm", "-rf", p->root, NULL});
    arena_release(&p->arena);
}

/* ---- a kill after each change ---- */

struct story {
    struct play play;
    struct lab lab;
    const char *disk, *base, *new;
};

typedef struct error *work_fn(struct story *s);
typedef void check_fn(struct story *s);

static struct error *do_fork(struct story *s)
{
    struct vdi_spec spec = {.location = s->new, .name_label = "new"};
    struct vdi_info info;

    return sr_lvm.vdi_fork(&s->lab.call, &s->lab.sr, s->disk, s->base, &spec, &info);
}

static struct error *undo_fork(struct story *s)
{
    struct error *e = sr_lvm.vdi_delete(&s->lab.call, &s->lab.sr, s->new);

    if (!e)
        e = sr_lvm.vdi_delete(&s->lab.call, &s->lab.sr, s->base);
    return error_is(e, "VDI_IN_USE") ? OK : e;
}

static struct error *do_replace(struct story *s)
{
    struct vdi_info info;

    return sr_lvm.vdi_replace(&s->lab.call, &s->lab.sr, s->disk, s->new, &info);
}

static struct error *do_reset(struct story *s)
{
    return sr_lvm.vdi_reset(&s->lab.call, &s->lab.sr, s->disk);
}

static struct error *do_resize(struct story *s)
{
    struct vdi_info info;

    return sr_lvm.vdi_resize(&s->lab.call, &s->lab.sr, s->disk, 12 * MIB, &info);
}

static struct error *nothing(struct story *s)
{
    (void)s;
    return OK;
}

/* The data were written before the fork, others after it. */
static struct error *fork_and_write(struct story *s)
{
    TRY(do_fork(s));
    lab_write(&s->lab, s->disk, MIB, 'e');
    return OK;
}

static void is_forked(struct story *s)
{
    size_t n;

    assert_string_equal(lab_stat(&s->lab, s->disk).parent, s->base);
    assert_string_equal(lab_stat(&s->lab, s->new).parent, s->base);
    assert_string_equal(lab_stat(&s->lab, s->disk).name_label, "disk");
    assert_true(lab_stat(&s->lab, s->base).hidden);
    lab_expect(&s->lab, s->disk, 0, 'd');
    lab_expect(&s->lab, s->new, 0, 'd');
    lab_scan(&s->lab, s->disk, &n);
    assert_int_equal(n, 3);
}

static void only_the_disk_is_left(struct story *s)
{
    size_t n;

    lab_expect(&s->lab, s->disk, 0, 'd');
    assert_string_equal(lab_stat(&s->lab, s->disk).name_label, "disk");
    lab_scan(&s->lab, s->disk, &n);
    assert_true(n <= 2); /* a base may stay below it */
    lab_must(&s->lab, sr_lvm.vdi_delete(&s->lab.call, &s->lab.sr, s->disk));
    lab_scan(&s->lab, s->disk, &n);
    assert_int_equal(n, 0);
}

static void is_back(struct story *s)
{
    assert_string_equal(lab_stat(&s->lab, s->disk).name_label, "disk");
    assert_string_equal(lab_stat(&s->lab, s->disk).parent, s->base);
    lab_expect(&s->lab, s->disk, 0, 'd');
    lab_expect(&s->lab, s->disk, MIB, 0);
}

static void is_larger(struct story *s)
{
    assert_int_equal(lab_stat(&s->lab, s->disk).virtual_size, 12 * MIB);
    lab_expect(&s->lab, s->disk, 0, 'd');
    lab_expect(&s->lab, s->disk, 11 * MIB, 0);
}

static bool kill_at(struct story *s, work_fn *work, int step)
{
    const char *path = arena_printf(&s->lab.arena, "%s/kill-at", s->play.root);
    FILE *f = fopen(path, "w");
    struct error *e;

    assert_non_null(f);
    fprintf(f, "%d", step);
    assert_int_equal(fclose(f), 0);
    e = work(s);
    assert_int_equal(unlink(path), 0);
    if (e && !strstr(error_line(&s->lab.arena, e), "ended with 137"))
        fail_msg("%s", error_line(&s->lab.arena, e));
    return e != OK;
}

static void kill_everywhere(work_fn *before, work_fn *work, work_fn *then, check_fn *check)
{
    int stride = getenv("XAPID_LONG") ? 1 : 8;
    bool killed = true;
    int step = 1;

    for (; killed; step += stride) {
        struct story s;

        play_open(&s.play);
        lab_open_kind(&s.lab, &s.play.kind);
        s.disk = lab_disk(&s.lab, "disk", 2 * MIB);
        s.base = lab_uuid(&s.lab);
        s.new = lab_uuid(&s.lab);
        lab_write(&s.lab, s.disk, 0, 'd');
        lab_must(&s.lab, before(&s));
        killed = kill_at(&s, work, step);
        lab_must(&s.lab, then(&s));
        check(&s);
        lab_close(&s.lab);
        play_close(&s.play);
    }
    assert_true(step > 3);
}

static void a_fork_killed_anywhere_is_completed_by_a_repeat(void **state)
{
    (void)state;
    kill_everywhere(nothing, do_fork, do_fork, is_forked);
}

static void a_fork_killed_anywhere_can_be_undone(void **state)
{
    (void)state;
    kill_everywhere(nothing, do_fork, undo_fork, only_the_disk_is_left);
}

static void going_back_can_be_killed_and_repeated(void **state)
{
    (void)state;
    kill_everywhere(fork_and_write, do_replace, do_replace, is_back);
    kill_everywhere(fork_and_write, do_reset, do_reset, is_back);
}

static void growing_can_be_killed_and_repeated(void **state)
{
    (void)state;
    kill_everywhere(nothing, do_resize, do_resize, is_larger);
}

/* ---- space ---- */

static void a_group_without_room_says_how_much_there_is(void **state)
{
    struct vdi_spec spec = {.virtual_size = 1100 * MIB};
    struct vdi_info info;
    struct play play;
    struct lab lab;
    struct error *e;

    (void)state;
    play_open(&play);
    lab_open_kind(&lab, &play.kind);
    spec.location = lab_uuid(&lab);
    e = sr_lvm.vdi_create(&lab.call, &lab.sr, &spec, &info);
    lab_fails(&lab, e, "SR_FULL");
    assert_string_equal(e->params[1], "1073741824");
    lab_close(&lab);
    play_close(&play);
}

static void a_frozen_disk_is_cut_down_to_what_it_holds(void **state)
{
    struct play play;
    struct lab lab;
    const char *disk, *base, *snapshot;

    (void)state;
    play_open(&play);
    lab_open_kind(&lab, &play.kind);
    disk = lab_disk(&lab, "disk", 100 * MIB);
    assert_true(lab_stat(&lab, disk).physical_utilisation > 100 * MIB);
    lab_write(&lab, disk, 0, 'd');
    snapshot = lab_fork(&lab, disk, &base);
    assert_int_equal(lab_stat(&lab, base).physical_utilisation, 4 * MIB);
    assert_int_equal(lab_stat(&lab, snapshot).physical_utilisation, 4 * MIB);
    assert_true(lab_stat(&lab, disk).physical_utilisation > 100 * MIB);
    lab_expect(&lab, snapshot, 0, 'd');
    lab_write(&lab, snapshot, MIB, 's');
    assert_true(lab_stat(&lab, snapshot).physical_utilisation > 100 * MIB);
    lab_close(&lab);
    play_close(&play);
}

static void a_raw_disk_is_zeroes_and_can_be_forked(void **state)
{
    struct strpair raw = {"type", "raw"};
    struct vdi_spec spec = {.virtual_size = MIB, .sm_config = {1, &raw}};
    struct vdi_info info;
    struct play play;
    struct lab lab;
    const char *snapshot;

    (void)state;
    play_open(&play);
    lab_open_kind(&lab, &play.kind);
    spec.location = lab_uuid(&lab);
    lab_must(&lab, sr_lvm.vdi_create(&lab.call, &lab.sr, &spec, &info));
    assert_int_equal(info.virtual_size, 4 * MIB);
    assert_string_equal(strmap_get(&info.sm_config, "image-format"), "raw");
    lab_expect(&lab, spec.location, MIB, 0);
    lab_write(&lab, spec.location, MIB, 'r');
    lab_must(&lab, sr_lvm.vdi_resize(&lab.call, &lab.sr, spec.location, 8 * MIB, &info));
    snapshot = lab_fork(&lab, spec.location, NULL);
    lab_write(&lab, spec.location, MIB, 's');
    lab_expect(&lab, snapshot, MIB, 'r');
    lab_expect(&lab, snapshot, 7 * MIB, 0);
    lab_close(&lab);
    play_close(&play);
}

/* With a pattern: only the tests of such a name. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_disk_is_told_by_its_tags),
        cmocka_unit_test(tags_of_others_make_no_disk),
        cmocka_unit_test(a_report_tells_the_disks_of_a_group),
        cmocka_unit_test(a_change_that_was_interrupted_shows_a_whole_disk),
        cmocka_unit_test(a_fork_killed_anywhere_is_completed_by_a_repeat),
        cmocka_unit_test(a_fork_killed_anywhere_can_be_undone),
        cmocka_unit_test(going_back_can_be_killed_and_repeated),
        cmocka_unit_test(growing_can_be_killed_and_repeated),
        cmocka_unit_test(a_group_without_room_says_how_much_there_is),
        cmocka_unit_test(a_frozen_disk_is_cut_down_to_what_it_holds),
        cmocka_unit_test(a_raw_disk_is_zeroes_and_can_be_forked),
    };

    struct play play;
    int failed;

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    play_open(&play);
    failed = cmocka_run_group_tests_name("storage lvm", tests, NULL, NULL) +
             conformance_run("lvm", &play.kind);
    play_close(&play);
    return failed;
}
