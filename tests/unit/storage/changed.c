/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * changed.c -- the blocks a driver says have changed, against those that differ byte by byte: disks
 * that are written at random, snapshotted, grown, gone back, robbed of their data, and served by a
 * process that is killed.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "storage-repos/datapath/datapath.h"
#include "tests/unit/storage/lab.h"

#define SIZE (8 * MIB + 4096)
#define STATES_MAX 16

/* What a disk was at some time: a snapshot of it, whose data may be gone. */
struct state {
    const char *location;
    int64_t size;
    char *bytes;
};

struct story {
    struct lab lab;
    const char *disk;
    unsigned seed;
    size_t n;
    struct state v[STATES_MAX];
};

static void story_begin(struct story *s, unsigned seed)
{
    *s = (struct story){.seed = seed};
    lab_open(&s->lab, &sr_ext);
    s->disk = lab_disk(&s->lab, "disk", SIZE);
}

static int64_t below(struct story *s, int64_t n)
{
    return (int64_t)((uint64_t)rand_r(&s->seed) << 31 | (uint64_t)rand_r(&s->seed)) % n;
}

static void write_at_random(struct story *s)
{
    int64_t size = lab_stat(&s->lab, s->disk).virtual_size;
    char *data = arena_alloc(&s->lab.arena, (size_t)MIB);
    struct vdi_path path;
    struct vdi_io *io;

    lab_must(&s->lab, sr_ext.vdi_attach(&s->lab.call, &s->lab.sr, s->disk, true, &path));
    lab_must(&s->lab, vdi_io_open(&s->lab.call, &path, true, &io));
    for (int64_t i = below(s, 6); i >= 0; i--) {
        int64_t at = below(s, size), wanted = 1 + below(s, i % 2 ? 100 : 200000);
        int64_t n = MIN(wanted, size - at);

        memset(data, (int)(1 + below(s, 255)), (size_t)n);
        if (below(s, 4) == 0)
            lab_must(&s->lab, vdi_io_zero(&s->lab.call, io, at, n));
        else
            lab_must(&s->lab, vdi_io_write(&s->lab.call, io, at, data, (size_t)n));
    }
    lab_must(&s->lab, vdi_io_flush(&s->lab.call, io));
    vdi_io_close(io);
}

static struct state state_of(struct story *s, const char *location)
{
    struct state state = {.location = location, .size = lab_stat(&s->lab, location).virtual_size};
    struct vdi_path path;
    struct vdi_io *io;

    state.bytes = arena_alloc(&s->lab.arena, (size_t)state.size);
    lab_must(&s->lab, sr_ext.vdi_attach(&s->lab.call, &s->lab.sr, location, false, &path));
    lab_must(&s->lab, vdi_io_open(&s->lab.call, &path, false, &io));
    lab_must(&s->lab, vdi_io_read(&s->lab.call, io, 0, state.bytes, (size_t)state.size));
    vdi_io_close(io);
    return state;
}

static void snapshot(struct story *s)
{
    assert_true(s->n < STATES_MAX);
    s->v[s->n] = state_of(s, lab_fork(&s->lab, s->disk, NULL));
    s->n++;
}

static bool differs(const struct state *a, const struct state *b, int64_t block)
{
    int64_t at = block * VDI_BLOCK, n = MIN(VDI_BLOCK, b->size - at);

    return at + n > a->size || memcmp(a->bytes + at, b->bytes + at, (size_t)n) != 0;
}

static bool said(const struct vdi_changes *c, int64_t block)
{
    return c->bits[block / 8] >> (7 - block % 8) & 1;
}

static int64_t count_said(const struct vdi_changes *c)
{
    int64_t n = 0;

    for (int64_t block = 0; block < (int64_t)c->n * 8; block++)
        n += said(c, block);
    return n;
}

/* Every block that differs is named, and none that is not there. */
static void compare(struct story *s, const struct state *from, const struct state *to)
{
    struct vdi_changes c;

    lab_must(&s->lab,
             sr_ext.vdi_changed(&s->lab.call, &s->lab.sr, from->location, to->location, &c));
    assert_int_equal(c.n_blocks, (to->size + VDI_BLOCK - 1) / VDI_BLOCK);
    for (int64_t block = 0; block < c.n_blocks; block++)
        assert_true(said(&c, block) || !differs(from, to, block));
    for (int64_t block = c.n_blocks; block < (int64_t)c.n * 8; block++)
        assert_false(said(&c, block));
}

static void compare_all(struct story *s)
{
    for (size_t i = 0; i < s->n; i++)
        for (size_t j = 0; j < s->n; j++)
            compare(s, &s->v[i], &s->v[j]);
}

static void every_block_that_differs_is_named(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 4; seed++) {
        struct story s;

        story_begin(&s, seed);
        for (int i = 0; i < 5; i++) {
            write_at_random(&s);
            snapshot(&s);
        }
        compare_all(&s);
        lab_close(&s.lab);
    }
}

static void no_more_is_named_than_was_written(void **state)
{
    struct vdi_changes c;
    struct story s;

    (void)state;
    story_begin(&s, 1);
    lab_write(&s.lab, s.disk, 0, 'a');
    snapshot(&s);
    lab_write(&s.lab, s.disk, 2 * MIB, 'b');
    lab_write(&s.lab, s.disk, 3 * MIB + 4096, 'c');
    snapshot(&s);
    lab_must(&s.lab,
             sr_ext.vdi_changed(&s.lab.call, &s.lab.sr, s.v[0].location, s.v[1].location, &c));
    assert_int_equal(count_said(&c), 3);
    assert_true(said(&c, 32) && said(&c, 48) && said(&c, 49));
    lab_must(&s.lab,
             sr_ext.vdi_changed(&s.lab.call, &s.lab.sr, s.v[1].location, s.v[1].location, &c));
    assert_int_equal(count_said(&c), 0);
    lab_close(&s.lab);
}

static void go_back(struct story *s, const char *location)
{
    const char *copy = lab_fork(&s->lab, location, NULL);
    struct vdi_info info;

    lab_must(&s->lab, sr_ext.vdi_replace(&s->lab.call, &s->lab.sr, s->disk, copy, &info));
}

static void disks_that_grow_and_go_back_are_followed(void **state)
{
    struct vdi_info info;
    struct story s;

    (void)state;
    story_begin(&s, 9);
    for (int i = 0; i < 6; i++) {
        write_at_random(&s);
        snapshot(&s);
        if (i == 1)
            lab_must(&s.lab,
                     sr_ext.vdi_resize(&s.lab.call, &s.lab.sr, s.disk, SIZE + 3 * MIB, &info));
        if (i == 3)
            go_back(&s, s.v[2].location);
    }
    compare_all(&s);
    lab_close(&s.lab);
}

static void without_its_data_a_snapshot_still_tells_what_changed(void **state)
{
    struct vdi_path path;
    struct story s;
    size_t images;

    (void)state;
    story_begin(&s, 5);
    for (int i = 0; i < 4; i++) {
        write_at_random(&s);
        snapshot(&s);
    }
    images = lab_count_files(&s.lab, ".qcow2");
    for (int i = 0; i < 3; i++) {
        lab_must(&s.lab, sr_ext.vdi_strip(&s.lab.call, &s.lab.sr, s.v[i].location));
        lab_must(&s.lab, sr_ext.vdi_strip(&s.lab.call, &s.lab.sr, s.v[i].location));
        assert_true(lab_stat(&s.lab, s.v[i].location).stripped);
        assert_non_null(lab_scan(&s.lab, s.v[i].location, NULL));
        lab_fails(&s.lab, sr_ext.vdi_attach(&s.lab.call, &s.lab.sr, s.v[i].location, false, &path),
                  "SR_BACKEND_FAILURE_46");
    }
    assert_int_equal(lab_count_files(&s.lab, ".qcow2"), images - 3);
    compare_all(&s);
    write_at_random(&s);
    snapshot(&s);
    compare_all(&s);
    lab_restart(&s.lab);
    compare_all(&s);
    for (size_t i = 0; i < s.n; i++)
        lab_must(&s.lab, sr_ext.vdi_delete(&s.lab.call, &s.lab.sr, s.v[i].location));
    lab_must(&s.lab, sr_ext.vdi_delete(&s.lab.call, &s.lab.sr, s.disk));
    assert_int_equal(lab_count_files(&s.lab, ".cbt") + lab_count_files(&s.lab, ".qcow2") +
                         lab_count_files(&s.lab, ".json"),
                     0);
    lab_close(&s.lab);
}

/* Nothing may be said of what cannot be known. */
static void strangers_are_not_compared(void **state)
{
    struct vdi_changes c;
    const char *other;
    struct story s;

    (void)state;
    story_begin(&s, 3);
    write_at_random(&s);
    snapshot(&s);
    other = lab_disk(&s.lab, "other", SIZE);
    lab_fails(&s.lab, sr_ext.vdi_changed(&s.lab.call, &s.lab.sr, s.v[0].location, other, &c),
              "SR_BACKEND_FAILURE_460");
    lab_must(&s.lab, sr_ext.vdi_strip(&s.lab.call, &s.lab.sr, s.v[0].location));
    lab_must(&s.lab, sr_ext.vdi_delete(&s.lab.call, &s.lab.sr, s.disk));
    assert_int_equal(lab_count_files(&s.lab, ".qcow2"), 1);
    lab_fails(&s.lab, sr_ext.vdi_changed(&s.lab.call, &s.lab.sr, s.v[0].location, other, &c),
              "SR_BACKEND_FAILURE_460");
    lab_fails(&s.lab, sr_ext.vdi_changed(&s.lab.call, &s.lab.sr, other, lab_uuid(&s.lab), &c),
              "VDI_MISSING");
    lab_close(&s.lab);
}

/* What a snapshot was written to itself is not known once its data is gone. */
static void a_snapshot_that_was_written_to_counts_as_all_changed(void **state)
{
    struct vdi_changes c;
    struct story s;

    (void)state;
    story_begin(&s, 4);
    lab_write(&s.lab, s.disk, 0, 'a');
    snapshot(&s);
    lab_write(&s.lab, s.v[0].location, MIB, 'x');
    lab_must(&s.lab, sr_ext.vdi_strip(&s.lab.call, &s.lab.sr, s.v[0].location));
    lab_must(&s.lab, sr_ext.vdi_changed(&s.lab.call, &s.lab.sr, s.v[0].location, s.disk, &c));
    assert_int_equal(count_said(&c), c.n_blocks);
    lab_close(&s.lab);
}

/* ---- a server that is killed ---- */

static bool can_serve(void)
{
    return access("/dev/fuse", R_OK | W_OK) == 0 &&
           access("/usr/bin/qemu-storage-daemon", X_OK) == 0;
}

static struct vdi_path serve(struct story *s)
{
    struct vdi_path image, path;
    struct datapath_disk disk = {.name = s->disk, .writable = true};

    lab_must(&s->lab, sr_ext.vdi_attach(&s->lab.call, &s->lab.sr, s->disk, true, &image));
    disk.image = image.path;
    disk.format = image.format;
    lab_must(&s->lab, datapath_attach(&s->lab.call, s->lab.sr.datapath, &disk, &path));
    return path;
}

static void kill_server(struct story *s)
{
    struct datapath_state *v;
    size_t n;

    lab_must(&s->lab, datapath_list(&s->lab.call, s->lab.sr.datapath, &n, &v));
    assert_int_equal(n, 1);
    kill(v[0].pid, SIGKILL);
    do {
        lab_must(&s->lab, datapath_list(&s->lab.call, s->lab.sr.datapath, &n, &v));
        clock_sleep(USEC_PER_MSEC);
    } while (v[0].alive);
    lab_must(&s->lab, datapath_detach(&s->lab.call, s->lab.sr.datapath, s->disk));
}

static void write_through(struct story *s, const struct vdi_path *path, bool durably)
{
    char data[8192];
    int fd = open(path->path, O_WRONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    for (int i = 0; i < 12; i++) {
        memset(data, (int)(1 + below(s, 255)), sizeof data);
        assert_int_equal(pwrite(fd, data, sizeof data, below(s, SIZE / 8192) * 8192), sizeof data);
    }
    if (durably)
        assert_int_equal(fsync(fd), 0);
    close(fd);
}

/* Half of it was not flushed: what of that is on the disk afterwards, the answer names. */
static void what_a_killed_server_left_is_named(void **state)
{
    (void)state;
    if (!can_serve())
        skip();
    for (unsigned seed = 1; seed <= 3; seed++) {
        struct vdi_path path;
        struct story s;

        story_begin(&s, seed);
        s.lab.sr.datapath = datapath_new(lab_path(&s.lab, ".servers"), DATAPATH_FUSE);
        for (int round = 0; round < 3; round++) {
            path = serve(&s);
            write_through(&s, &path, true);
            snapshot(&s); /* while it is served */
            write_through(&s, &path, true);
            write_through(&s, &path, false);
            kill_server(&s);
            snapshot(&s);
        }
        compare_all(&s);
        datapath_free(s.lab.sr.datapath);
        lab_close(&s.lab);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_block_that_differs_is_named),
        cmocka_unit_test(no_more_is_named_than_was_written),
        cmocka_unit_test(disks_that_grow_and_go_back_are_followed),
        cmocka_unit_test(without_its_data_a_snapshot_still_tells_what_changed),
        cmocka_unit_test(strangers_are_not_compared),
        cmocka_unit_test(a_snapshot_that_was_written_to_counts_as_all_changed),
        cmocka_unit_test(what_a_killed_server_left_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
