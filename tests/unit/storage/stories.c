/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/storage/stories.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/base/memory.h"
#include "libxapi/value/value.h"

#define DRIVER(s) ((s)->lab.sr.driver)

void story_begin(struct story *s, const struct lab_kind *kind)
{
    *s = (struct story){0};
    lab_open_kind(&s->lab, kind);
    s->base = lab_uuid(&s->lab);
    s->new = lab_uuid(&s->lab);
    if (!(kind->driver->features & SR_F_VDI_CREATE)) {
        char text[65536 + 1];

        memset(text, 'd', sizeof text - 1);
        text[sizeof text - 1] = '\0';
        s->disk = "disk.iso";
        lab_put(&s->lab, s->disk, text);
        return;
    }
    s->disk = lab_disk(&s->lab, "disk", 2 * MIB);
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
    assert_string_equal(disk->name_label, disk->read_only ? s->disk : "disk");
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

    s->lab.leaks = true;
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

/*** repositories ***/

/* Where the driver has its repositories side by side this is one more, else a folder in ours. */
static struct error *name_second(struct story *s)
{
    struct lab *lab = &s->lab;

    s->second = lab->sr;
    s->second.uuid = lab_uuid(lab);
    s->second.state = arena_zalloc(&lab->arena, DRIVER(s)->state_size + 1);
    if (strmap_get(&lab->sr.device_config, "location")) {
        s->second_folder = lab_path(lab, "second");
        s->second.device_config =
            strmap_with(&lab->arena, s->second.device_config, "location", s->second_folder);
    } else {
        s->second_folder =
            arena_printf(&lab->arena, "%s/../exports/vm/%s", lab->site.mounts, s->second.uuid);
    }
    return OK;
}

static struct error *do_sr_create(struct story *s)
{
    return DRIVER(s)->create(&s->lab.call, &s->second, 0);
}

static struct error *do_sr_destroy(struct story *s)
{
    return DRIVER(s)->destroy(&s->lab.call, &s->second);
}

/* With what a kill may have left in it. */
static struct error *make_second(struct story *s)
{
    static const char *const left[] = {".%s.json.tmp", "%s.json"};

    TRY(name_second(s));
    TRY(do_sr_create(s));
    for (size_t i = 0; i < ARRAY_SIZE(left); i++) {
        char name[64];
        FILE *f;

        snprintf(name, sizeof name, left[i], s->new);
        f = fopen(arena_printf(&s->lab.arena, "%s/%s", s->second_folder, name), "w");
        assert_non_null(f);
        assert_int_equal(fclose(f), 0);
    }
    return OK;
}

static void second_is_gone(struct story *s)
{
    assert_int_equal(access(s->second_folder, F_OK), -1);
}

static void second_is_absent_after_an_error(struct story *s, struct error *e)
{
    if (e)
        second_is_gone(s);
}

static void second_is_empty(struct story *s)
{
    const struct sr_driver *driver = DRIVER(s);
    struct vdi_info *v;
    size_t n;

    lab_must(&s->lab, driver->attach(&s->lab.call, &s->second));
    lab_must(&s->lab, driver->scan(&s->lab.call, &s->second, &n, &v));
    assert_int_equal(n, 0);
    driver->detach(&s->lab.call, &s->second);
    if (driver->leave)
        driver->leave(&s->lab.call, &s->second);
    lab_must(&s->lab, do_sr_destroy(s));
    second_is_gone(s);
}

static struct error *do_sr_attach(struct story *s)
{
    DRIVER(s)->detach(&s->lab.call, &s->lab.sr);
    if (DRIVER(s)->leave)
        DRIVER(s)->leave(&s->lab.call, &s->lab.sr);
    memset(s->lab.sr.state, 0, DRIVER(s)->state_size);
    return DRIVER(s)->attach(&s->lab.call, &s->lab.sr);
}

/* The disk, what it lies on, and one whose data was destroyed. */
static struct error *make_kinds(struct story *s)
{
    if (!(DRIVER(s)->features & SR_F_VDI_CBT))
        return OK;
    TRY(story_fork(s));
    return do_strip(s);
}

/* A disk that could not be read is not missing, and none is what it is not. */
static struct error *do_scan(struct story *s)
{
    bool one = !(DRIVER(s)->features & SR_F_VDI_CBT);
    struct vdi_info *v;
    size_t n;

    TRY(DRIVER(s)->scan(&s->lab.call, &s->lab.sr, &n, &v));
    assert_int_equal(n, one ? 1 : 3);
    for (size_t i = 0; i < n; i++) {
        bool disk = strcmp(v[i].location, s->disk) == 0, new = strcmp(v[i].location, s->new) == 0;

        assert_true(disk || new || strcmp(v[i].location, s->base) == 0);
        if (v[i].unknown)
            continue;
        assert_int_equal(v[i].hidden, !disk && !new);
        assert_int_equal(v[i].stripped, new);
        assert_string_equal(v[i].name_label, one    ? s->disk
                                             : disk ? "disk"
                                             : new  ? "new"
                                                    : "base copy");
    }
    return OK;
}

static void nothing_is_unknown(struct story *s)
{
    struct vdi_info *v;
    size_t n;

    lab_must(&s->lab, do_scan(s));
    lab_must(&s->lab, DRIVER(s)->scan(&s->lab.call, &s->lab.sr, &n, &v));
    for (size_t i = 0; i < n; i++)
        assert_false(v[i].unknown);
    story_disk_is_whole(s);
}

static struct error *do_stat(struct story *s)
{
    struct sr_stat_info stat;
    struct vdi_info info;

    TRY(DRIVER(s)->stat(&s->lab.call, &s->lab.sr, &stat));
    return DRIVER(s)->vdi_stat(&s->lab.call, &s->lab.sr, s->disk, &info);
}

/*** the content of disks, as imports and exports of all formats write and read it ***/

static struct error *put(struct story *s, struct vdi_io *io)
{
    char *run = arena_alloc(&s->lab.arena, 65536);

    memset(run, 'i', 65536);
    TRY(vdi_io_write(&s->lab.call, io, MIB, run, 65536));
    TRY(vdi_io_zero(&s->lab.call, io, MIB + 65536, 65536));
    return vdi_io_flush(&s->lab.call, io);
}

static struct error *take(struct story *s, struct vdi_io *io)
{
    char *run = arena_alloc(&s->lab.arena, 65536);
    int64_t start, end;

    TRY(vdi_io_data(&s->lab.call, io, 0, vdi_io_size(io), &start, &end));
    assert_int_equal(start, 0);
    TRY(vdi_io_read(&s->lab.call, io, 0, run, 65536));
    for (size_t i = 0; i < 65536; i++)
        assert_int_equal(run[i], 'd');
    return OK;
}

static struct error *with_io(struct story *s, bool writable,
                             struct error *(*work)(struct story *, struct vdi_io *))
{
    struct vdi_path path;
    struct vdi_io *io;
    struct error *e;

    TRY(DRIVER(s)->vdi_attach(&s->lab.call, &s->lab.sr, s->disk, writable, &path));
    e = vdi_io_open(&s->lab.call, &path, writable, &io);
    if (!e) {
        e = work(s, io);
        vdi_io_close(io);
    }
    DRIVER(s)->vdi_detach(&s->lab.call, &s->lab.sr, s->disk);
    return e;
}

static struct error *do_import(struct story *s)
{
    s->lab.leaks = true;
    return with_io(s, true, put);
}

static struct error *do_export(struct story *s)
{
    return with_io(s, false, take);
}

static void import_is_there(struct story *s)
{
    lab_expect(&s->lab, s->disk, MIB, 'i');
    lab_expect(&s->lab, s->disk, MIB + 65536, 0);
}

/* What is said to be done is durable, whatever else failed. */
static void import_is_there_unless_refused(struct story *s, struct error *e)
{
    if (!e)
        import_is_there(s);
}

const struct story_kind story_kinds[] = {
    {"create", NULL, do_create, true, creation_is_complete, NULL, SR_F_VDI_CREATE, NULL},
    {"fork", NULL, story_fork, true, story_fork_is_complete, story_undo, SR_F_VDI_CLONE, NULL},
    {"copy", NULL, do_copy, true, copy_is_complete, story_undo, SR_F_VDI_CREATE, NULL},
    {"delete both", story_fork, do_delete_both, false, nothing_is_left, NULL, SR_F_VDI_CLONE, NULL},
    {"delete", story_fork, story_delete_disk, false, only_base_and_new_are_left, NULL,
     SR_F_VDI_CLONE, NULL},
    {"resize", NULL, do_resize, true, size_and_text_are_new, NULL, SR_F_VDI_RESIZE, NULL},
    {"describe", NULL, do_describe, true, size_and_text_are_new, NULL, SR_F_VDI_CREATE, NULL},
    {"replace", before_going_back, do_replace, false, disk_is_back_and_new_is_gone, NULL,
     SR_F_VDI_REVERT, NULL},
    {"reset", before_going_back, do_reset, false, disk_is_back, NULL, SR_F_VDI_RESET, NULL},
    {"strip", story_fork, do_strip, true, only_a_trace_is_left, NULL, SR_F_VDI_CBT, NULL},
    {"coalesce", make_chain, do_coalesce, true, disk_is_one_image, NULL, SR_F_VDI_COALESCE, NULL},
    {"sr create", name_second, do_sr_create, true, second_is_empty, NULL, SR_F_VDI_CREATE,
     second_is_absent_after_an_error},
    {"sr attach", NULL, do_sr_attach, true, story_disk_is_whole, NULL, 0, NULL},
    {"sr scan", make_kinds, do_scan, true, nothing_is_unknown, NULL, 0, NULL},
    {"sr stat", NULL, do_stat, true, story_disk_is_whole, NULL, 0, NULL},
    {"sr destroy", make_second, do_sr_destroy, true, second_is_gone, NULL, SR_F_VDI_CREATE, NULL},
    {"import", NULL, do_import, true, import_is_there, NULL, SR_F_VDI_CREATE,
     import_is_there_unless_refused},
    {"export", NULL, do_export, true, story_disk_is_whole, NULL, 0, NULL},
    {0},
};
