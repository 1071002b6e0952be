/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/storage/stories.h"

#include <string.h>

#define DRIVER(s) ((s)->lab.sr.driver)

void story_begin(struct story *s, const struct lab_kind *kind)
{
    *s = (struct story){0};
    lab_open_kind(&s->lab, kind);
    s->disk = lab_disk(&s->lab, "disk", 2 * MIB);
    s->base = lab_uuid(&s->lab);
    s->new = lab_uuid(&s->lab);
    lab_write(&s->lab, s->disk, 0, 'd');
}

/* True at every moment: the disk is there, once, with its content, and every image is sound. */
void story_disk_is_whole(struct story *s)
{
    const struct vdi_info *disk;

    lab_restart(&s->lab);
    disk = lab_scan(&s->lab, s->disk, NULL);
    assert_non_null(disk);
    assert_false(disk->hidden);
    assert_string_equal(disk->name_label, "disk");
    lab_expect(&s->lab, s->disk, 0, 'd');
    lab_check_images(&s->lab);
}

struct error *story_fork(struct story *s)
{
    struct vdi_spec spec = {.location = s->new, .name_label = "new"};
    struct vdi_info info;

    return DRIVER(s)->vdi_fork(&s->lab.call, &s->lab.sr, s->disk, s->base, &spec, &info);
}

static struct error *do_copy(struct story *s)
{
    struct vdi_spec spec = {.location = s->new, .name_label = "new"};
    struct vdi_info info;

    return DRIVER(s)->vdi_copy(&s->lab.call, &s->lab.sr, s->disk, &spec, &info, NULL, NULL);
}

static struct error *do_create(struct story *s)
{
    struct vdi_spec spec = {.location = s->new, .name_label = "new", .virtual_size = MIB};
    struct vdi_info info;

    return DRIVER(s)->vdi_create(&s->lab.call, &s->lab.sr, &spec, &info);
}

struct error *story_undo(struct story *s)
{
    TRY(DRIVER(s)->vdi_delete(&s->lab.call, &s->lab.sr, s->new));
    return DRIVER(s)->vdi_delete(&s->lab.call, &s->lab.sr, s->base);
}

struct error *story_delete_disk(struct story *s)
{
    return DRIVER(s)->vdi_delete(&s->lab.call, &s->lab.sr, s->disk);
}

static struct error *do_delete_both(struct story *s)
{
    TRY(DRIVER(s)->vdi_delete(&s->lab.call, &s->lab.sr, s->new));
    return story_delete_disk(s);
}

static struct error *do_resize(struct story *s)
{
    struct vdi_info info;

    return DRIVER(s)->vdi_resize(&s->lab.call, &s->lab.sr, s->disk, 4 * MIB, &info);
}

static struct error *do_describe(struct story *s)
{
    return DRIVER(s)->vdi_describe(&s->lab.call, &s->lab.sr, s->disk, "disk", "other text");
}

/* The new disk is complete wherever it is seen at all. */
void story_new_is_absent_or_whole(struct story *s, int byte)
{
    const struct vdi_info *new = lab_scan(&s->lab, s->new, NULL);

    if (!new)
        return;
    assert_string_equal(new->name_label, "new");
    lab_expect(&s->lab, s->new, 0, byte);
}

void story_fork_is_complete(struct story *s)
{
    size_t n;

    story_disk_is_whole(s);
    lab_scan(&s->lab, s->disk, &n);
    assert_int_equal(n, 3);
    assert_string_equal(lab_stat(&s->lab, s->disk).parent, s->base);
    assert_string_equal(lab_stat(&s->lab, s->new).parent, s->base);
    assert_string_equal(lab_stat(&s->lab, s->new).name_label, "new");
    assert_true(lab_stat(&s->lab, s->base).hidden);
    assert_int_equal(lab_count_files(&s->lab, ".tmp"), 0);
    lab_write(&s->lab, s->disk, 0, 'e');
    lab_write(&s->lab, s->new, MIB, 'n');
    lab_expect(&s->lab, s->new, 0, 'd');
    lab_expect(&s->lab, s->disk, MIB, 0);
    lab_expect(&s->lab, s->base, 0, 'd');
}

static void copy_is_complete(struct story *s)
{
    story_new_is_absent_or_whole(s, 'd');
    assert_string_equal(lab_stat(&s->lab, s->new).parent, "");
}

static void creation_is_complete(struct story *s)
{
    assert_string_equal(lab_stat(&s->lab, s->new).name_label, "new");
    lab_expect(&s->lab, s->new, 0, 0);
}

static void nothing_is_left(struct story *s)
{
    assert_int_equal(lab_count_files(&s->lab, ".qcow2"), 0);
    assert_int_equal(lab_count_files(&s->lab, ".json"), 0);
}

static void only_base_and_new_are_left(struct story *s)
{
    assert_int_equal(lab_count_files(&s->lab, ".qcow2"), 2);
    lab_expect(&s->lab, s->new, 0, 'd');
}

static void size_and_text_are_new(struct story *s)
{
    struct vdi_info info = lab_stat(&s->lab, s->disk);

    assert_true(info.virtual_size == 4 * MIB || strcmp(info.name_description, "other text") == 0);
    lab_expect(&s->lab, s->disk, 0, 'd');
}

/* The disk as it was forked, and something that was written to it since. */
static struct error *before_going_back(struct story *s)
{
    TRY(story_fork(s));
    lab_write(&s->lab, s->disk, 0, 'e');
    lab_write(&s->lab, s->disk, MIB, 'e');
    return OK;
}

static struct error *do_replace(struct story *s)
{
    struct vdi_info info;

    return DRIVER(s)->vdi_replace(&s->lab.call, &s->lab.sr, s->disk, s->new, &info);
}

static struct error *do_reset(struct story *s)
{
    return DRIVER(s)->vdi_reset(&s->lab.call, &s->lab.sr, s->disk);
}

static void disk_is_back(struct story *s)
{
    assert_string_equal(lab_stat(&s->lab, s->disk).name_label, "disk");
    assert_string_equal(lab_stat(&s->lab, s->disk).parent, s->base);
    lab_expect(&s->lab, s->disk, 0, 'd');
    lab_expect(&s->lab, s->disk, MIB, 0);
}

static void disk_is_back_and_new_is_gone(struct story *s)
{
    disk_is_back(s);
    assert_null(lab_scan(&s->lab, s->new, NULL));
    assert_int_equal(lab_count_files(&s->lab, ".qcow2"), 2);
    assert_int_equal(lab_count_files(&s->lab, ".json"), 2);
}

static struct error *do_strip(struct story *s)
{
    return DRIVER(s)->vdi_strip(&s->lab.call, &s->lab.sr, s->new);
}

static void only_a_trace_is_left(struct story *s)
{
    struct vdi_changes changes;

    assert_true(lab_stat(&s->lab, s->new).stripped);
    assert_string_equal(lab_stat(&s->lab, s->new).name_label, "new");
    assert_int_equal(lab_count_files(&s->lab, ".qcow2"), 2);
    lab_must(&s->lab, DRIVER(s)->vdi_changed(&s->lab.call, &s->lab.sr, s->new, s->disk, &changes));
    assert_int_equal(changes.bits[0], 0);
}

/* The new disk is gone again, so the disk lies alone on the base; it lies there on an image with
 * data of its own. */
static struct error *make_chain(struct story *s)
{
    struct vdi_spec spec = {.location = lab_uuid(&s->lab)};
    struct vdi_info info;

    TRY(story_fork(s));
    lab_write(&s->lab, s->disk, MIB, 'e');
    s->upper = lab_uuid(&s->lab);
    TRY(DRIVER(s)->vdi_fork(&s->lab.call, &s->lab.sr, s->disk, s->upper, &spec, &info));
    TRY(DRIVER(s)->vdi_resize(&s->lab.call, &s->lab.sr, s->disk, 4 * MIB, &info));
    lab_write(&s->lab, s->disk, 3 * MIB, 'f');
    TRY(DRIVER(s)->vdi_delete(&s->lab.call, &s->lab.sr, s->new));
    return DRIVER(s)->vdi_delete(&s->lab.call, &s->lab.sr, spec.location);
}

static struct error *do_coalesce(struct story *s)
{
    struct vdi_coalesce lower = {.location = s->upper, .base = s->base};
    struct vdi_coalesce upper = {.location = s->disk, .base = s->upper};

    TRY(DRIVER(s)->vdi_coalesce(&s->lab.call, &s->lab.sr, &lower, NULL, NULL));
    return DRIVER(s)->vdi_coalesce(&s->lab.call, &s->lab.sr, &upper, NULL, NULL);
}

static void disk_is_one_image(struct story *s)
{
    assert_int_equal(lab_count_files(&s->lab, ".qcow2"), 1);
    assert_int_equal(lab_count_files(&s->lab, ".json"), 1);
    assert_string_equal(lab_stat(&s->lab, s->disk).parent, "");
    story_disk_is_whole(s);
    lab_expect(&s->lab, s->disk, MIB, 'e');
    lab_expect(&s->lab, s->disk, 2 * MIB, 0);
    lab_expect(&s->lab, s->disk, 3 * MIB, 'f');
}

const struct story_kind story_kinds[] = {
    {"create", NULL, do_create, true, creation_is_complete, NULL},
    {"fork", NULL, story_fork, true, story_fork_is_complete, story_undo},
    {"copy", NULL, do_copy, true, copy_is_complete, story_undo},
    {"delete both", story_fork, do_delete_both, false, nothing_is_left, NULL},
    {"delete", story_fork, story_delete_disk, false, only_base_and_new_are_left, NULL},
    {"resize", NULL, do_resize, true, size_and_text_are_new, NULL},
    {"describe", NULL, do_describe, true, size_and_text_are_new, NULL},
    {"replace", before_going_back, do_replace, false, disk_is_back_and_new_is_gone, NULL},
    {"reset", before_going_back, do_reset, false, disk_is_back, NULL},
    {"strip", story_fork, do_strip, true, only_a_trace_is_left, NULL},
    {"coalesce", make_chain, do_coalesce, true, disk_is_one_image, NULL},
    {0},
};
