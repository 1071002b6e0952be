/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/storage/lab.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/base/child.h"
#include "libxapi/base/memory.h"
#include "libxapi/value/value.h"

#define RUN ((size_t)65536)
#define LEAKS_ONLY 3 /* of qemu-img check: space is lost, and no data */

void lab_must(struct lab *lab, struct error *e)
{
    if (e)
        fail_msg("%s", error_line(&lab->arena, e));
}

void lab_fails(struct lab *lab, struct error *e, const char *code)
{
    if (!e)
        fail_msg("%s was expected", code);
    if (!error_is(e, code))
        fail_msg("%s was expected: %s", code, error_line(&lab->arena, e));
}

const char *lab_uuid(struct lab *lab)
{
    return uuid_new(arena_alloc(&lab->arena, UUID_TEXT_SIZE));
}

/* xapid-storage of this build: tests lie in a folder beside it, or one below that. */
static const char *lab_program(struct lab *lab)
{
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    const char *path;

    assert_true(n > 0);
    self[n] = '\0';
    *strrchr(self, '/') = '\0';
    path = arena_printf(&lab->arena, "%s/../xapid/xapid-storage", self);
    return access(path, X_OK) == 0
               ? path
               : arena_printf(&lab->arena, "%s/../../xapid/xapid-storage", self);
}

/* Its device_config: as given, or a folder of its own. */
static struct strmap lab_config(struct lab *lab, const struct lab_kind *kind)
{
    char folder[] = "/tmp/xapid-storage-XXXXXX";
    const char *location = strmap_get(&kind->config, "location");

    lab->own_folder = !kind->config.n;
    if (lab->own_folder) {
        assert_non_null(mkdtemp(folder));
        location = folder;
    }
    if (kind->mounts)
        location = arena_printf(&lab->arena, "%s/%s", kind->mounts, lab->sr.uuid);
    lab->folder = location && location[0] == '/' ? xstrdup(location) : NULL;
    return lab->own_folder ? strmap_with(&lab->arena, (struct strmap){0}, "location", lab->folder)
                           : kind->config;
}

void lab_open_kind(struct lab *lab, const struct lab_kind *kind)
{
    const struct sr_driver *driver = kind->driver;

    *lab = (struct lab){0};
    lab->call.arena = &lab->arena;
    lab->sr = (struct sr_handle){.driver = driver,
                                 .site = &lab->site,
                                 .uuid = lab_uuid(lab),
                                 .state = xcalloc(1, driver->state_size + 1)};
    lab->sr.device_config = lab_config(lab, kind);
    lab->site = (struct sr_site){.program = lab_program(lab),
                                 .mounts = kind->mounts  ? kind->mounts
                                           : lab->folder ? lab->folder
                                                         : "/run/xapid-lab-mounts",
                                 .system_root = kind->system_root ? kind->system_root : "",
                                 .timeout = 600 * USEC_PER_SEC};
    lab_must(lab, driver->create(&lab->call, &lab->sr, 0));
    lab_must(lab, driver->attach(&lab->call, &lab->sr));
    lab->attached = true;
}

void lab_open(struct lab *lab, const struct sr_driver *driver)
{
    lab_open_kind(lab, &(struct lab_kind){.driver = driver});
}

/* The repository goes as users have it go: all disks, then itself. */
static void destroy(struct lab *lab)
{
    const struct sr_driver *driver = lab->sr.driver;
    struct vdi_info *v;
    size_t n = 0;

    if (!(driver->features & SR_F_VDI_DELETE))
        return;
    if (!lab->attached && driver->attach(&lab->call, &lab->sr))
        return; /* the test has destroyed it */
    lab_must(lab, driver->scan(&lab->call, &lab->sr, &n, &v));
    for (size_t i = 0; i < n; i++)
        if (!v[i].hidden)
            lab_must(lab, driver->vdi_delete(&lab->call, &lab->sr, v[i].location));
    driver->detach(&lab->call, &lab->sr);
    if (driver->leave)
        driver->leave(&lab->call, &lab->sr);
    memset(lab->sr.state, 0, driver->state_size);
    lab->attached = false;
    lab_must(lab, driver->destroy(&lab->call, &lab->sr));
}

static void remove_folder(struct lab *lab)
{
    lab_run(&lab->arena, (const char *const[]){"rm", "-rf", lab->folder, NULL});
}

void lab_close(struct lab *lab)
{
    if (!lab->own_folder)
        destroy(lab);
    if (lab->attached)
        lab->sr.driver->detach(&lab->call, &lab->sr);
    if (lab->own_folder)
        remove_folder(lab);
    free(lab->sr.state);
    free(lab->folder);
    arena_release(&lab->arena);
}

int lab_set_up(void **state)
{
    struct lab *lab = xcalloc(1, sizeof *lab);

    lab_open(lab, &sr_ext);
    *state = lab;
    return 0;
}

int lab_tear_down(void **state)
{
    lab_close(*state);
    free(*state);
    return 0;
}

void lab_run(struct arena *arena, const char *const argv[])
{
    struct child_spec spec = {.argv = argv};
    struct child_result r;

    assert_null(child_run(arena, &spec, &r));
    if (r.status)
        fail_msg("%s: %s", argv[0], r.errors);
}

void lab_needs(struct lab *lab, unsigned features)
{
    if ((lab->sr.driver->features & features) != features)
        skip();
}

void lab_restart(struct lab *lab)
{
    lab->sr.driver->detach(&lab->call, &lab->sr);
    memset(lab->sr.state, 0, lab->sr.driver->state_size);
    lab->attached = false;
    lab_must(lab, lab->sr.driver->attach(&lab->call, &lab->sr));
    lab->attached = true;
}

const char *lab_disk(struct lab *lab, const char *name, int64_t size)
{
    struct vdi_spec spec = {.location = lab_uuid(lab),
                            .name_label = name,
                            .name_description = "made by a test",
                            .virtual_size = size};
    struct vdi_info info;

    lab_must(lab, lab->sr.driver->vdi_create(&lab->call, &lab->sr, &spec, &info));
    return spec.location;
}

struct vdi_info lab_stat(struct lab *lab, const char *location)
{
    struct vdi_info info;

    lab_must(lab, lab->sr.driver->vdi_stat(&lab->call, &lab->sr, location, &info));
    return info;
}

const char *lab_fork(struct lab *lab, const char *location, const char **base)
{
    struct vdi_spec spec = {.location = lab_uuid(lab), .name_label = "snapshot"};
    const char *hidden = lab_uuid(lab);
    struct vdi_info info;

    lab_must(lab, lab->sr.driver->vdi_fork(&lab->call, &lab->sr, location, hidden, &spec, &info));
    if (base)
        *base = hidden;
    return spec.location;
}

static struct vdi_io *open_io(struct lab *lab, const char *location, bool writable)
{
    struct vdi_path path;
    struct vdi_io *io;

    lab_must(lab, lab->sr.driver->vdi_attach(&lab->call, &lab->sr, location, writable, &path));
    lab_must(lab, vdi_io_open(&lab->call, &path, writable, &io));
    return io;
}

static void close_io(struct lab *lab, const char *location, struct vdi_io *io)
{
    vdi_io_close(io);
    lab->sr.driver->vdi_detach(&lab->call, &lab->sr, location);
}

void lab_write(struct lab *lab, const char *location, int64_t offset, int byte)
{
    struct vdi_io *io = open_io(lab, location, true);
    char *run = arena_alloc(&lab->arena, RUN);

    memset(run, byte, RUN);
    lab_must(lab, vdi_io_write(&lab->call, io, offset, run, RUN));
    lab_must(lab, vdi_io_flush(&lab->call, io));
    close_io(lab, location, io);
}

void lab_expect(struct lab *lab, const char *location, int64_t offset, int byte)
{
    struct vdi_io *io = open_io(lab, location, false);
    char *run = arena_alloc(&lab->arena, RUN), *want = arena_alloc(&lab->arena, RUN);

    memset(want, byte, RUN);
    lab_must(lab, vdi_io_read(&lab->call, io, offset, run, RUN));
    close_io(lab, location, io);
    assert_memory_equal(run, want, RUN);
}

/* Calls 'fn' for each file whose name ends so; returns how many. */
static size_t each_file(struct lab *lab, const char *ending, void (*fn)(struct lab *, const char *))
{
    DIR *d = lab->folder ? opendir(lab->folder) : NULL;
    struct dirent *entry;
    size_t n = 0;

    if (!lab->folder)
        return 0;
    assert_non_null(d);
    while ((entry = readdir(d)) != NULL) {
        size_t len = strlen(entry->d_name), end = strlen(ending);

        if (len < end || strcmp(entry->d_name + len - end, ending) != 0)
            continue;
        n++;
        if (fn)
            fn(lab, entry->d_name);
    }
    closedir(d);
    return n;
}

static void check_image(struct lab *lab, const char *name)
{
    const char *const argv[] = {"qemu-img",          "check", "-q", "-f", "qcow2",
                                lab_path(lab, name), NULL};
    struct child_spec spec = {.argv = argv, .timeout = 60 * USEC_PER_SEC};
    struct child_result r;

    lab_must(lab, child_run(&lab->arena, &spec, &r));
    if (r.status && !(lab->leaks && r.status == LEAKS_ONLY))
        fail_msg("%s: %s%s", name, r.output, r.errors);
}

void lab_check_images(struct lab *lab)
{
    each_file(lab, ".qcow2", check_image);
}

size_t lab_count_files(struct lab *lab, const char *ending)
{
    return each_file(lab, ending, NULL);
}

const struct vdi_info *lab_scan(struct lab *lab, const char *location, size_t *n)
{
    const struct vdi_info *found = NULL;
    struct vdi_info *v;
    size_t count;

    lab_must(lab, lab->sr.driver->scan(&lab->call, &lab->sr, &count, &v));
    for (size_t i = 0; i < count; i++)
        if (strcmp(v[i].location, location) == 0)
            found = &v[i];
    if (n)
        *n = count;
    return found;
}

char *lab_path(struct lab *lab, const char *name)
{
    return arena_printf(&lab->arena, "%s/%s", lab->folder, name);
}

void lab_put(struct lab *lab, const char *name, const char *text)
{
    FILE *f = fopen(lab_path(lab, name), "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}
