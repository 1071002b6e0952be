/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * datapath.c -- servers of disks, real ones: a guest is played by a process that writes blocks with
 * numbers through the FUSE file, one after the other, each durable before the next.
 *
 * Where this machine has no qemu-storage-daemon or no FUSE nothing is tested, and it says so.
 */
#include "storage-repos/datapath/datapath.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ioprio.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libxapi/base/child.h"
#include "libxapi/base/seam.h"
#include "storage-repos/common/qcow2.h"
#include "tests/unit/storage/lab.h"

#define BLOCK 4096
#define SLOTS 512 /* blocks the guest writes to, round and round */
#define SIZE ((int64_t)SLOTS * BLOCK * 4)
#define PATIENCE (60 * USEC_PER_SEC)

/* One block as the guest writes it. */
struct block {
    uint64_t number, check;
    char rest[BLOCK - 16];
};

/* What the guest tells us, in shared memory. */
struct progress {
    volatile uint64_t begun, durable; /* numbers */
    volatile int failed;              /* errno of its first failure */
};

struct bench {
    struct lab lab;
    struct datapath *dp;
    const char *disk; /* location, uuid and name */
    struct vdi_path path;
    struct progress *progress;
    pid_t guest;
    bool killed; /* some server: clusters may be lost then, nothing else */
};

static bool can_serve(void)
{
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

    if (fd < 0 || access("/usr/bin/qemu-storage-daemon", X_OK) < 0)
        return false;
    close(fd);
    return true;
}

static struct error *serve(struct bench *b)
{
    struct vdi_path image;
    struct datapath_disk disk = {.name = b->disk, .writable = true};

    lab_must(&b->lab,
             b->lab.sr.driver->vdi_attach(&b->lab.call, &b->lab.sr, b->disk, true, &image));
    disk.image = image.path;
    disk.format = image.format;
    return datapath_attach(&b->lab.call, b->dp, &disk, &b->path);
}

static void bench_open(struct bench *b)
{
    *b = (struct bench){0};
    lab_open(&b->lab, &sr_ext);
    b->dp = datapath_new(lab_path(&b->lab, ".servers"), DATAPATH_FUSE);
    b->lab.sr.datapath = b->dp;
    b->disk = lab_disk(&b->lab, "disk", SIZE);
    b->progress =
        mmap(NULL, sizeof *b->progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    lab_must(&b->lab, serve(b));
}

static void guest_stop(struct bench *b)
{
    if (!b->guest)
        return;
    kill(b->guest, SIGKILL);
    waitpid(b->guest, NULL, 0);
    b->guest = 0;
}

static struct datapath_state state_of(struct bench *b)
{
    struct datapath_state *v;
    size_t n;

    lab_must(&b->lab, datapath_list(&b->lab.call, b->dp, &n, &v));
    assert_int_equal(n, 1);
    return v[0];
}

static bool image_is_locked(struct bench *b)
{
    int fd = open(lab_path(&b->lab, arena_printf(&b->lab.arena, "%s.qcow2", b->disk)),
                  O_RDWR | O_CLOEXEC);
    bool locked = fd >= 0 && qcow2_has_writer(fd);

    close(fd);
    return locked;
}

/* qemu-img check: 0 is clean, 3 that clusters belong to nobody. */
static void images_are_sound(struct bench *b)
{
    const char *script = b->killed ? "qemu-img check -q -f qcow2 \"$1\" || test $? = 3"
                                   : "qemu-img check -q -f qcow2 \"$1\"";
    size_t n;
    struct vdi_info *v;

    lab_must(&b->lab, sr_ext.scan(&b->lab.call, &b->lab.sr, &n, &v));
    for (size_t i = 0; i < n; i++) {
        const char *name = arena_printf(&b->lab.arena, "%s.qcow2", v[i].location);
        const char *const argv[] = {"sh", "-c", script, "sh", lab_path(&b->lab, name), NULL};
        struct child_spec spec = {.argv = argv, .timeout = PATIENCE};
        struct child_result r;

        lab_must(&b->lab, child_run(&b->lab.arena, &spec, &r));
        if (r.status)
            fail_msg("%s: %s%s", name, r.output, r.errors);
    }
}

static void kill_server(struct bench *b)
{
    pid_t pid = state_of(b).pid;
    usec_t deadline = clock_mono() + PATIENCE;

    assert_true(pid > 1);
    kill(pid, SIGKILL);
    b->killed = true;
    while (state_of(b).alive || image_is_locked(b)) {
        assert_true(clock_mono() < deadline);
        clock_sleep(USEC_PER_MSEC);
    }
}

/* Whatever the test did, nothing of it is left. */
static void bench_close(struct bench *b)
{
    guest_stop(b);
    lab_must(&b->lab, datapath_detach(&b->lab.call, b->dp, b->disk));
    datapath_free(b->dp);
    munmap(b->progress, sizeof *b->progress);
    lab_close(&b->lab);
}

static int set_up(void **state)
{
    static struct bench bench;

    *state = &bench;
    bench_open(&bench);
    return 0;
}

static int tear_down(void **state)
{
    bench_close(*state);
    return 0;
}

/* ---- the guest ---- */

static uint64_t check_of(uint64_t number)
{
    return (number + 1) * 0x9e3779b97f4a7c15u;
}

static void fill(struct block *block, uint64_t number)
{
    block->number = number;
    block->check = check_of(number);
    memset(block->rest, (int)(number & 0xff), sizeof block->rest);
}

__attribute__((noreturn)) static void run_guest(const char *path, struct progress *p,
                                                uint64_t first)
{
    int fd;
    struct block block;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close_range(0, ~0u, 0);
    fd = open(path, O_RDWR | O_CLOEXEC);
    for (uint64_t i = first; fd >= 0; i++) {
        fill(&block, i);
        p->begun = i;
        if (pwrite(fd, &block, BLOCK, (off_t)(i % SLOTS) * BLOCK) != BLOCK || fdatasync(fd) < 0)
            break;
        p->durable = i;
    }
    p->failed = errno ? errno : EIO;
    _exit(1);
}

static void guest_start(struct bench *b)
{
    uint64_t first = b->progress->begun + 1;

    b->progress->failed = 0;
    b->guest = fork();
    assert_true(b->guest >= 0);
    if (b->guest == 0)
        run_guest(b->path.path, b->progress, first);
}

static void guest_writes_on(struct bench *b, uint64_t more)
{
    uint64_t until = b->progress->durable + more;
    usec_t deadline = clock_mono() + PATIENCE;

    while (b->progress->durable < until) {
        if (b->progress->failed)
            fail_msg("the guest's write failed: %s", strerror(b->progress->failed));
        assert_true(clock_mono() < deadline);
        clock_sleep(USEC_PER_MSEC);
    }
}

static int guest_fails(struct bench *b)
{
    usec_t deadline = clock_mono() + PATIENCE;

    while (!b->progress->failed) {
        assert_true(clock_mono() < deadline);
        clock_sleep(USEC_PER_MSEC);
    }
    return b->progress->failed;
}

/*
 * What a disk holds: the newest number.  A moment in the guest's life is one where the last SLOTS
 * numbers up to that one, and no others, are there, each block whole.
 */
static uint64_t moment_of(struct vdi_io *io, struct lab *lab)
{
    uint64_t newest = 0;
    struct block block;

    for (int slot = 0; slot < SLOTS; slot++) {
        lab_must(lab, vdi_io_read(&lab->call, io, (int64_t)slot * BLOCK, &block, BLOCK));
        newest = MAX(newest, block.number);
    }
    for (uint64_t slot = 0; slot < SLOTS; slot++) {
        uint64_t want = newest - (newest % SLOTS + SLOTS - slot) % SLOTS;
        struct block whole;

        lab_must(lab, vdi_io_read(&lab->call, io, (int64_t)slot * BLOCK, &block, BLOCK));
        if (want > newest || want == 0) { /* not written yet */
            assert_int_equal(block.number, 0);
            continue;
        }
        fill(&whole, want);
        if (memcmp(&block, &whole, BLOCK) != 0)
            fail_msg("block %d has number %llu in the place of %llu; the newest is %llu", (int)slot,
                     (unsigned long long)block.number, (unsigned long long)want,
                     (unsigned long long)newest);
    }
    return newest;
}

static uint64_t moment(struct bench *b, const char *location)
{
    struct vdi_path path;
    struct vdi_io *io;
    uint64_t newest;

    lab_must(&b->lab,
             b->lab.sr.driver->vdi_attach(&b->lab.call, &b->lab.sr, location, false, &path));
    lab_must(&b->lab, vdi_io_open(&b->lab.call, &path, false, &io));
    newest = moment_of(io, &b->lab);
    vdi_io_close(io);
    return newest;
}

static uint64_t moment_of_served(struct bench *b)
{
    struct vdi_io *io;
    uint64_t newest;

    lab_must(&b->lab, vdi_io_open(&b->lab.call, &b->path, false, &io));
    newest = moment_of(io, &b->lab);
    vdi_io_close(io);
    return newest;
}

/* As after a restart of the daemon: nothing is known but what is in the folder. */
static void forget(struct bench *b)
{
    datapath_free(b->dp);
    b->dp = datapath_new(lab_path(&b->lab, ".servers"), DATAPATH_FUSE);
    b->lab.sr.datapath = b->dp;
}

/* ---- tests ---- */

static void a_disk_is_served_as_a_raw_file_of_its_size(void **state)
{
    struct bench *b = *state;
    struct stat st;

    assert_string_equal(b->path.format, "raw");
    assert_int_equal(stat(b->path.path, &st), 0);
    assert_int_equal(st.st_size, SIZE);
    assert_true(state_of(b).alive);
    guest_start(b);
    guest_writes_on(b, 10);
    guest_stop(b);
    lab_must(&b->lab, datapath_detach(&b->lab.call, b->dp, b->disk));
    assert_true(moment(b, b->disk) >= b->progress->durable);
    assert_int_equal(
        access(lab_path(&b->lab, arena_printf(&b->lab.arena, ".servers/%s", b->disk)), F_OK), -1);
}

static void attaching_again_finds_the_same_server(void **state)
{
    struct bench *b = *state;
    pid_t pid;

    pid = state_of(b).pid;
    assert_true(pid > 1);
    guest_start(b);
    forget(b);
    lab_must(&b->lab, serve(b));
    assert_int_equal(state_of(b).pid, pid);
    guest_writes_on(b, 20);
}

static void snapshots_under_a_writer_are_moments_of_its_life(void **state)
{
    struct bench *b = *state;

    guest_start(b);
    for (int i = 0; i < 6; i++) {
        const char *snapshot;
        uint64_t before, after, held;

        guest_writes_on(b, 100);
        before = b->progress->durable;
        snapshot = lab_fork(&b->lab, b->disk, NULL);
        after = b->progress->begun;
        held = moment(b, snapshot);
        assert_true(held >= before); /* what was durable before is in it */
        assert_true(held <= after);  /* and nothing that began after */
        guest_writes_on(b, 100);
        assert_int_equal(moment(b, snapshot), held); /* and it stays so */
    }
    guest_stop(b);
    lab_must(&b->lab, datapath_detach(&b->lab.call, b->dp, b->disk));
    assert_true(moment(b, b->disk) >= b->progress->durable);
}

static int steps_left;

static void die_at_step(void *ctx, const char *name)
{
    (void)ctx;
    (void)name;
    if (--steps_left == 0)
        kill(getpid(), SIGKILL);
}

/* The fork in a process that is killed after 'step' steps; false if it came to its end. */
static bool fork_dies_at(struct bench *b, const char *base, const struct vdi_spec *spec, int step)
{
    struct dir_state *st = b->lab.sr.state;
    struct vdi_info info;
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        steps_left = step;
        st->step = die_at_step;
        _exit(b->lab.sr.driver->vdi_fork(&b->lab.call, &b->lab.sr, b->disk, base, spec, &info) ? 3
                                                                                               : 0);
    }
    waitpid(pid, &status, 0);
    if (WIFEXITED(status))
        assert_int_equal(WEXITSTATUS(status), 0);
    return WIFSIGNALED(status);
}

static void a_snapshot_that_was_killed_anywhere_is_finished_under_the_writer(void **state)
{
    struct bench *b = *state;
    bool died = true;

    guest_start(b);
    for (int step = 1; died; step++) {
        struct vdi_spec spec = {.location = lab_uuid(&b->lab), .name_label = "snapshot"};
        const char *base = lab_uuid(&b->lab);
        struct vdi_info info;
        uint64_t before, after, held;

        guest_writes_on(b, 30);
        before = b->progress->durable;
        died = fork_dies_at(b, base, &spec, step);
        guest_writes_on(b, 30);
        lab_must(&b->lab,
                 b->lab.sr.driver->vdi_fork(&b->lab.call, &b->lab.sr, b->disk, base, &spec, &info));
        after = b->progress->begun;
        held = moment(b, spec.location);
        assert_in_range(held, before, after);
        guest_writes_on(b, 30);
        assert_int_equal(moment(b, spec.location), held);
    }
    guest_stop(b);
    lab_must(&b->lab, datapath_detach(&b->lab.call, b->dp, b->disk));
    assert_true(moment(b, b->disk) >= b->progress->durable);
}

static void a_snapshot_that_was_killed_anywhere_is_undone_under_the_writer(void **state)
{
    const struct sr_driver *d = &sr_ext;
    struct bench *b = *state;
    bool died = true;

    guest_start(b);
    for (int step = 1; died; step++) {
        struct vdi_spec spec = {.location = lab_uuid(&b->lab), .name_label = "snapshot"};
        const char *base = lab_uuid(&b->lab), *snapshot;
        struct error *e;
        uint64_t held;

        guest_writes_on(b, 30);
        died = fork_dies_at(b, base, &spec, step);
        lab_must(&b->lab, d->vdi_delete(&b->lab.call, &b->lab.sr, spec.location));
        e = d->vdi_delete(&b->lab.call, &b->lab.sr, base);
        assert_true(!e || error_is(e, "VDI_IN_USE"));
        guest_writes_on(b, 30);
        /* The next one stands on whatever the last one left. */
        snapshot = lab_fork(&b->lab, b->disk, NULL);
        held = moment(b, snapshot);
        guest_writes_on(b, 30);
        assert_int_equal(moment(b, snapshot), held);
        lab_must(&b->lab, d->vdi_delete(&b->lab.call, &b->lab.sr, snapshot));
    }
    guest_stop(b);
    lab_must(&b->lab, datapath_detach(&b->lab.call, b->dp, b->disk));
    assert_true(moment(b, b->disk) >= b->progress->durable);
}

static void a_killed_server_gives_errors_and_the_image_is_sound(void **state)
{
    struct datapath_disk disk = {.format = "qcow2", .writable = true};
    struct bench *b = *state;
    struct vdi_path path;
    bool alive = true;
    usec_t killed;

    disk.name = b->disk;
    disk.image = lab_path(&b->lab, arena_printf(&b->lab.arena, "%s.qcow2", b->disk));
    guest_start(b);
    guest_writes_on(b, 200);
    killed = clock_mono();
    kill_server(b);
    assert_int_not_equal(guest_fails(b), 0);
    assert_true(clock_mono() - killed < 10 * USEC_PER_SEC); /* it fails, it does not hang */
    forget(b);
    lab_must(&b->lab, datapath_adopt(&b->lab.call, b->dp, &disk, &alive, &path));
    assert_false(alive);
    guest_stop(b);
    images_are_sound(b);
    assert_in_range(moment(b, b->disk), b->progress->durable, b->progress->begun);
    /* The guest is started again. */
    lab_must(&b->lab, serve(b));
    b->progress->begun = moment_of_served(b);
    guest_start(b);
    guest_writes_on(b, 20);
}

/* The worst place: the disk has its new file, the server was never told. */
static void a_server_killed_in_the_middle_of_a_snapshot_loses_nothing(void **state)
{
    struct bench *b = *state;
    bool died = true;

    for (int step = 1; died; step++) {
        struct vdi_spec spec = {.location = lab_uuid(&b->lab), .name_label = "snapshot"};
        const char *base = lab_uuid(&b->lab);
        struct vdi_info info;
        uint64_t held;

        guest_start(b);
        guest_writes_on(b, 50);
        died = fork_dies_at(b, base, &spec, step);
        guest_writes_on(b, 50);
        kill_server(b);
        guest_fails(b);
        guest_stop(b);
        assert_in_range(moment(b, b->disk), b->progress->durable, b->progress->begun);
        lab_must(&b->lab, sr_ext.vdi_fork(&b->lab.call, &b->lab.sr, b->disk, base, &spec, &info));
        held = moment(b, b->disk);
        assert_in_range(held, b->progress->durable, b->progress->begun);
        images_are_sound(b);
        lab_must(&b->lab, serve(b));
        b->progress->begun = held;
    }
}

/* Attaching in a process that is killed some time after it began, however far the server is. */
static void an_attach_that_was_killed_is_repeated(void **state)
{
    struct bench *b = *state;

    for (usec_t after = 0; after < 60 * USEC_PER_MSEC; after += 3 * USEC_PER_MSEC) {
        pid_t pid;

        lab_must(&b->lab, datapath_detach(&b->lab.call, b->dp, b->disk));
        pid = fork();
        if (pid == 0)
            _exit(serve(b) ? 1 : 0);
        clock_sleep(after);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        forget(b);
        lab_must(&b->lab, serve(b));
        assert_true(state_of(b).alive);
        guest_start(b);
        guest_writes_on(b, 3);
        guest_stop(b);
    }
}

static void a_recycled_process_number_is_not_taken_for_the_server(void **state)
{
    struct bench *b = *state;
    pid_t other;

    kill_server(b);
    other = fork();
    if (other == 0) {
        pause();
        _exit(0);
    }
    lab_put(&b->lab, arena_printf(&b->lab.arena, ".servers/%s/pid", b->disk),
            arena_printf(&b->lab.arena, "%d\n", (int)other));
    assert_int_equal(state_of(b).pid, 0);
    lab_must(&b->lab, serve(b));
    assert_int_equal(kill(other, 0), 0);
    assert_int_equal(waitpid(other, NULL, WNOHANG), 0); /* it lives */
    kill(other, SIGKILL);
    waitpid(other, NULL, 0);
}

static void what_a_killed_server_left_goes_at_detach(void **state)
{
    struct bench *b = *state;

    kill_server(b);
    lab_must(&b->lab, datapath_detach(&b->lab.call, b->dp, b->disk));
    lab_must(&b->lab, datapath_detach(&b->lab.call, b->dp, b->disk)); /* again: nothing to do */
}

/* The kernel keeps what the server told of its file for a second. */
static void wait_for_size(const struct bench *b, off_t size)
{
    usec_t deadline = clock_mono() + PATIENCE;
    struct stat st;

    do {
        assert_true(clock_mono() < deadline);
        assert_int_equal(stat(b->path.path, &st), 0);
        clock_sleep(USEC_PER_MSEC);
    } while (st.st_size != size);
}

static void a_served_disk_grows_under_its_user(void **state)
{
    struct vdi_info info;
    struct bench *b = *state;

    guest_start(b);
    lab_must(&b->lab, sr_ext.vdi_resize(&b->lab.call, &b->lab.sr, b->disk, 2 * SIZE, &info));
    assert_int_equal(info.virtual_size, 2 * SIZE);
    wait_for_size(b, 2 * SIZE);
    guest_writes_on(b, 20);
    lab_fork(&b->lab, b->disk, NULL);
    assert_int_equal(lab_stat(&b->lab, b->disk).virtual_size, 2 * SIZE);
}

/* As coalescing does it: the lock that keeps writers out, another file in place of this one, and
 * the lock goes. */
struct replacement {
    const char *image, *with;
    int fd;
};

static void *replace(void *arg)
{
    const struct replacement *r = arg;

    clock_sleep(300 * USEC_PER_MSEC);
    if (rename(r->with, r->image) < 0)
        abort();
    close(r->fd);
    return NULL;
}

static void an_image_that_becomes_another_file_while_its_server_starts_is_that_file(void **state)
{
    struct bench *b = *state;
    struct replacement r = {.image =
                                lab_path(&b->lab, arena_printf(&b->lab.arena, "%s.qcow2", b->disk)),
                            .with = lab_path(&b->lab, "other.qcow2")};
    struct thread thread;

    lab_must(&b->lab, datapath_detach(&b->lab.call, b->dp, b->disk));
    lab_must(&b->lab, qcow2_create(&b->lab.call, r.with, SIZE, NULL));
    r.fd = open(r.image, O_RDWR | O_CLOEXEC);
    assert_true(qcow2_keep_writers_out(r.fd));
    thread_start(&thread, "replace", replace, &r);
    lab_must(&b->lab, serve(b));
    thread_join(&thread);
    assert_true(image_is_locked(b));
    /* It knows that this is the file it has. */
    lab_must(&b->lab, datapath_follow(&b->lab.call, b->dp, r.image));
}

static void an_image_that_cannot_be_served_is_an_error_and_leaves_nothing(void **state)
{
    struct datapath_disk disk = {.format = "qcow2", .writable = true};
    struct vdi_path path;
    struct bench *b = *state;

    lab_put(&b->lab, "broken", "no image at all");
    disk.name = lab_uuid(&b->lab);
    disk.image = lab_path(&b->lab, "broken");
    lab_fails(&b->lab, datapath_attach(&b->lab.call, b->dp, &disk, &path), "SR_BACKEND_FAILURE_46");
    state_of(b); /* the other one is the only one */
    disk.name = "../x";
    lab_fails(&b->lab, datapath_attach(&b->lab.call, b->dp, &disk, &path), "SR_BACKEND_FAILURE_1");
}

static void a_servers_threads_get_the_priority_of_its_disk(void **state)
{
    const int low = IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 6);
    struct bench *b = *state;
    const char *tasks = arena_printf(&b->lab.arena, "/proc/%d/task", (int)state_of(b).pid);
    const struct dirent *entry;
    DIR *dir;

    guest_start(b);
    lab_must(&b->lab, datapath_prefer(&b->lab.call, b->dp, b->disk, low));
    guest_writes_on(b, 20);
    dir = opendir(tasks);
    assert_non_null(dir);
    while ((entry = readdir(dir)))
        if (entry->d_name[0] != '.')
            assert_int_equal(syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, atoi(entry->d_name)), low);
    closedir(dir);
    guest_stop(b);
    kill_server(b);
    assert_non_null(datapath_prefer(&b->lab.call, b->dp, b->disk, low));
}

static void the_server_has_no_descriptor_of_ours(void **state)
{
    int leaked = open("/etc/hostname", O_RDONLY); /* as if O_CLOEXEC were forgotten */
    struct bench *b = *state;
    char path[64], text[256];
    pid_t pid;

    lab_must(&b->lab, datapath_detach(&b->lab.call, b->dp, b->disk));
    lab_must(&b->lab, serve(b));
    pid = state_of(b).pid;
    for (int fd = 0; fd < 64; fd++) {
        ssize_t n;

        snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)pid, fd);
        n = readlink(path, text, sizeof text - 1);
        text[MAX(n, (ssize_t)0)] = '\0';
        assert_null(strstr(text, "hostname"));
    }
    close(leaked);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_disk_is_served_as_a_raw_file_of_its_size),
        TEST(attaching_again_finds_the_same_server),
        TEST(snapshots_under_a_writer_are_moments_of_its_life),
        TEST(a_snapshot_that_was_killed_anywhere_is_finished_under_the_writer),
        TEST(a_snapshot_that_was_killed_anywhere_is_undone_under_the_writer),
        TEST(a_killed_server_gives_errors_and_the_image_is_sound),
        TEST(a_server_killed_in_the_middle_of_a_snapshot_loses_nothing),
        TEST(an_attach_that_was_killed_is_repeated),
        TEST(a_recycled_process_number_is_not_taken_for_the_server),
        TEST(what_a_killed_server_left_goes_at_detach),
        TEST(a_served_disk_grows_under_its_user),
        TEST(an_image_that_becomes_another_file_while_its_server_starts_is_that_file),
        TEST(an_image_that_cannot_be_served_is_an_error_and_leaves_nothing),
        TEST(a_servers_threads_get_the_priority_of_its_disk),
        TEST(the_server_has_no_descriptor_of_ours),
    };

    alarm(600);
    if (!can_serve()) {
        print_message("skipped: there is no FUSE or no qemu-storage-daemon here\n");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
