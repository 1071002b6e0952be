/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libxapi/base/child.h"
#include "libxapi/base/seam.h"
#include "tests/unit/storage/lab.h"

static struct vdi_path raw_file(struct lab *lab, off_t size)
{
    struct vdi_path path = {.path = lab_path(lab, "disk.raw"), .format = "raw"};

    lab_put(lab, "disk.raw", "");
    assert_int_equal(truncate(path.path, size), 0);
    return path;
}

static struct vdi_path qcow2_file(struct lab *lab, int64_t size)
{
    struct vdi_path path;

    lab_must(lab, sr_ext.vdi_attach(&lab->call, &lab->sr, lab_disk(lab, "d", size), true, &path));
    return path;
}

/* What a plain array would hold is what the disk holds, after many reads and writes at odd places.
 */
static void behaves_like_memory(struct lab *lab, const struct vdi_path *path, int64_t size)
{
    char *model = arena_zalloc(&lab->arena, (size_t)size),
         *got = arena_alloc(&lab->arena, (size_t)size);
    struct vdi_io *io;
    unsigned seed = 7;

    lab_must(lab, vdi_io_open(&lab->call, path, true, &io));
    assert_int_equal(vdi_io_size(io), size);
    for (int i = 0; i < 200; i++) {
        int64_t offset = rand_r(&seed) % size;
        int64_t wanted = rand_r(&seed) % 300000;
        size_t n = (size_t)MIN(wanted, size - offset);

        if (i % 4 == 3) {
            memset(model + offset, 0, n);
            lab_must(lab, vdi_io_zero(&lab->call, io, offset, (int64_t)n));
        } else {
            memset(model + offset, 'a' + i % 26, n);
            lab_must(lab, vdi_io_write(&lab->call, io, offset, model + offset, n));
        }
        if (i % 9 == 8) { /* also what is still on its way */
            lab_must(lab, vdi_io_read(&lab->call, io, offset / 2, got, (size_t)(size - offset)));
            assert_memory_equal(got, model + offset / 2, (size_t)(size - offset));
        }
    }
    lab_must(lab, vdi_io_flush(&lab->call, io));
    vdi_io_close(io);
    lab_must(lab, vdi_io_open(&lab->call, path, false, &io));
    lab_must(lab, vdi_io_read(&lab->call, io, 0, got, (size_t)size));
    vdi_io_close(io);
    assert_memory_equal(got, model, (size_t)size);
}

static void a_raw_disk_behaves_like_memory(void **state)
{
    struct vdi_path path = raw_file(*state, 9 * MIB + 512);

    behaves_like_memory(*state, &path, 9 * MIB + 512);
}

static void a_qcow2_disk_behaves_like_memory(void **state)
{
    struct vdi_path path = qcow2_file(*state, 9 * MIB + 4096);

    behaves_like_memory(*state, &path, 9 * MIB + 4096);
    lab_check_images(*state);
}

static void nothing_is_read_or_written_beyond_the_end(void **state)
{
    struct lab *lab = *state;
    struct vdi_path paths[] = {raw_file(lab, MIB), qcow2_file(lab, MIB)};
    char buf[512] = "";
    struct vdi_io *io;

    for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
        lab_must(lab, vdi_io_open(&lab->call, &paths[i], true, &io));
        lab_fails(lab, vdi_io_read(&lab->call, io, MIB - 511, buf, 512), "VDI_IO_ERROR");
        lab_fails(lab, vdi_io_write(&lab->call, io, MIB, buf, 1), "VDI_IO_ERROR");
        lab_fails(lab, vdi_io_write(&lab->call, io, -1, buf, 1), "VDI_IO_ERROR");
        lab_fails(lab, vdi_io_zero(&lab->call, io, 1, INT64_MAX), "VDI_IO_ERROR");
        lab_must(lab, vdi_io_read(&lab->call, io, MIB - 512, buf, 512));
        lab_must(lab, vdi_io_write(&lab->call, io, MIB, buf, 0));
        vdi_io_close(io);
    }
}

static void a_disk_opened_for_reading_is_not_written(void **state)
{
    struct lab *lab = *state;
    struct vdi_path path = qcow2_file(lab, MIB);
    char buf[512] = "";
    struct vdi_io *io;

    lab_must(lab, vdi_io_open(&lab->call, &path, false, &io));
    lab_fails(lab, vdi_io_write(&lab->call, io, 0, buf, 512), "VDI_IO_ERROR");
    lab_must(lab, vdi_io_flush(&lab->call, io));
    vdi_io_close(io);
}

static void zeroes_give_the_space_back(void **state)
{
    struct lab *lab = *state;
    const char *disk = lab_disk(lab, "d", 8 * MIB);
    char *buf = arena_alloc(&lab->arena, (size_t)(8 * MIB));
    struct vdi_path path;
    struct vdi_io *io;

    memset(buf, 'z', (size_t)(8 * MIB));
    lab_must(lab, sr_ext.vdi_attach(&lab->call, &lab->sr, disk, true, &path));
    lab_must(lab, vdi_io_open(&lab->call, &path, true, &io));
    lab_must(lab, vdi_io_write(&lab->call, io, 0, buf, (size_t)(8 * MIB)));
    lab_must(lab, vdi_io_flush(&lab->call, io));
    assert_true(lab_stat(lab, disk).physical_utilisation >= 8 * MIB);
    lab_must(lab, vdi_io_zero(&lab->call, io, 0, 8 * MIB));
    lab_must(lab, vdi_io_flush(&lab->call, io));
    vdi_io_close(io);
    assert_true(lab_stat(lab, disk).physical_utilisation < 2 * MIB);
    lab_expect(lab, disk, 4 * MIB, 0);
}

static void an_image_that_cannot_be_opened_says_why(void **state)
{
    struct lab *lab = *state;
    struct vdi_path path = {.path = lab_path(lab, "none"), .format = "qcow2"};
    struct vdi_io *io;
    struct error *e = vdi_io_open(&lab->call, &path, false, &io);

    lab_fails(lab, e, "VDI_IO_ERROR");
    assert_non_null(strstr(e->params[0], "No such file"));
    path.format = "raw";
    lab_fails(lab, vdi_io_open(&lab->call, &path, false, &io), "VDI_IO_ERROR");
    path.format = "vmdk";
    lab_fails(lab, vdi_io_open(&lab->call, &path, false, &io), "VDI_IO_ERROR");
}

static void only_one_writer_gets_an_image(void **state)
{
    struct lab *lab = *state;
    struct vdi_path path = qcow2_file(lab, MIB);
    struct vdi_io *one, *two;

    lab_must(lab, vdi_io_open(&lab->call, &path, true, &one));
    lab_fails(lab, vdi_io_open(&lab->call, &path, true, &two), "VDI_IO_ERROR");
    vdi_io_close(one);
    lab_must(lab, vdi_io_open(&lab->call, &path, true, &two));
    vdi_io_close(two);
}

/* As the data path shows its disks. */
static void a_disk_is_read_through_a_server_that_has_it(void **state)
{
    struct lab *lab = *state;
    struct vdi_path server = {.path = lab_path(lab, "server"), .format = "nbd"};
    const char *disk = lab_disk(lab, "d", 4 * MIB);
    struct vdi_path image;
    struct child *child;
    int64_t start, end;
    struct vdi_io *io;
    char buf[512];
    int tries = 0;

    lab_write(lab, disk, MIB, 'd');
    lab_must(lab, sr_ext.vdi_attach(&lab->call, &lab->sr, disk, false, &image));
    lab_must(lab, child_start(&lab->arena,
                              &(struct child_spec){
                                  .argv = (const char *const[]){"qemu-nbd", "-f", "qcow2", "-r",
                                                                "-x", "disk", "-k", server.path,
                                                                image.path, NULL}},
                              &child));
    while (vdi_io_open(&lab->call, &server, false, &io) != OK) {
        assert_true(++tries < 3000);
        clock_sleep(10 * USEC_PER_MSEC);
    }
    assert_int_equal(vdi_io_size(io), 4 * MIB);
    lab_must(lab, vdi_io_read(&lab->call, io, MIB, buf, sizeof buf));
    assert_int_equal(buf[0], 'd');
    lab_must(lab, vdi_io_data(&lab->call, io, 0, INT64_MAX, &start, &end));
    assert_int_equal(start, MIB);
    assert_int_equal(end, MIB + 65536);
    vdi_io_close(io);
    child_free(child);
}

/* A killed daemon must not leave a server that still writes. */
static void the_server_dies_with_the_daemon(void **state)
{
    struct lab *lab = *state;
    struct vdi_path path = qcow2_file(lab, MIB);
    struct vdi_io *io;
    int ready[2], tries = 0;
    pid_t pid;
    char c;

    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        if (vdi_io_open(&lab->call, &path, true, &io) || write(ready[1], "x", 1) != 1)
            _exit(1);
        pause();
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &c, 1), 1);
    close(ready[0]);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    /* The kernel delivers the death on its own time; the lock is free once it has. */
    while (vdi_io_open(&lab->call, &path, true, &io) != OK) {
        assert_true(++tries < 200);
        clock_sleep(10 * USEC_PER_MSEC);
    }
    vdi_io_close(io);
}

/* Pieces in order are gathered, and some are on their way while the next come: none is lost or
 * changes places with another, also where they cover each other. */
static void what_is_written_piece_by_piece_arrives_in_order(void **state)
{
    struct lab *lab = *state;
    int64_t size = 6 * MIB;
    char *model = arena_zalloc(&lab->arena, (size_t)size),
         *got = arena_alloc(&lab->arena, (size_t)size);
    struct vdi_path path = qcow2_file(lab, size);
    struct vdi_io *io;
    unsigned seed = 11;

    lab_must(lab, vdi_io_open(&lab->call, &path, true, &io));
    for (int round = 0; round < 8; round++) {
        int64_t at = rand_r(&seed) % (2 * MIB);

        while (at < size) {
            int64_t wanted = rand_r(&seed) % 100000 + 1;
            size_t n = (size_t)MIN(size - at, wanted);

            memset(model + at, 'A' + rand_r(&seed) % 50, n);
            lab_must(lab, vdi_io_write(&lab->call, io, at, model + at, n));
            at += rand_r(&seed) % 8 ? (int64_t)n : -(int64_t)(n / 2);
            at = MAX(at, (int64_t)0);
        }
    }
    lab_must(lab, vdi_io_read(&lab->call, io, 0, got, (size_t)size));
    assert_memory_equal(got, model, (size_t)size);
    lab_must(lab, vdi_io_flush(&lab->call, io));
    vdi_io_close(io);
    lab_check_images(lab);
}

/* On a file system of 1 MiB, mounted for this process only. */
static void a_full_file_system_is_said_to_be_full(void **state)
{
    struct lab *lab = *state;
    char *buf = arena_zalloc(&lab->arena, (size_t)(4 * MIB));
    struct vdi_spec spec = {.location = lab_uuid(lab), .virtual_size = (int64_t)1 << 50};
    struct vdi_info info;
    struct vdi_path path;
    struct vdi_io *io;

    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", lab->folder, "tmpfs", 0, "size=1m") < 0)
        skip();
    lab_must(lab, sr_ext.create(&lab->call, &lab->sr, 0));
    lab_restart(lab);
    lab_fails(lab, sr_ext.vdi_create(&lab->call, &lab->sr, &spec, &info), "SR_FULL");
    assert_int_equal(lab_count_files(lab, ".tmp") + lab_count_files(lab, ".json"), 0);
    path = qcow2_file(lab, 8 * MIB);
    memset(buf, 'f', (size_t)(4 * MIB));
    lab_must(lab, vdi_io_open(&lab->call, &path, true, &io));
    lab_fails(lab, vdi_io_write(&lab->call, io, 0, buf, (size_t)(4 * MIB)), "SR_FULL");
    lab_fails(lab, vdi_io_flush(&lab->call, io), "VDI_IO_ERROR");
    vdi_io_close(io);
    /* What is on its way when it turns out: the call that waits for it says so. */
    lab_must(lab, vdi_io_open(&lab->call, &path, true, &io));
    lab_must(lab, vdi_io_write(&lab->call, io, 4 * MIB, buf, (size_t)MIB + 1));
    lab_fails(lab, vdi_io_flush(&lab->call, io), "SR_FULL");
    lab_fails(lab, vdi_io_flush(&lab->call, io), "VDI_IO_ERROR");
    lab_fails(lab, vdi_io_write(&lab->call, io, 0, buf, 512), "VDI_IO_ERROR");
    vdi_io_close(io);
    lab_restart(lab);
    assert_int_equal(umount2(lab->folder, MNT_DETACH), 0);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, lab_set_up, lab_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_raw_disk_behaves_like_memory),
        CASE(a_qcow2_disk_behaves_like_memory),
        CASE(nothing_is_read_or_written_beyond_the_end),
        CASE(a_disk_opened_for_reading_is_not_written),
        CASE(zeroes_give_the_space_back),
        CASE(an_image_that_cannot_be_opened_says_why),
        CASE(only_one_writer_gets_an_image),
        CASE(a_disk_is_read_through_a_server_that_has_it),
        CASE(the_server_dies_with_the_daemon),
        CASE(what_is_written_piece_by_piece_arrives_in_order),
        CASE(a_full_file_system_is_said_to_be_full),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
