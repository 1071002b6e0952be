/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mirror.c -- a disk moves to another image while a guest keeps many writes under way, and is told
 * at every stage to stay where it is: its server lives, and the guest goes on.
 *
 * The guest is a process with libnbd.  Where this machine has no qemu-storage-daemon nothing is
 * tested, and it says so.
 */
#include <libnbd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libxapi/base/seam.h"
#include "storage-repos/datapath/datapath.h"
#include "tests/unit/storage/lab.h"

#define BLOCK ((size_t)4096)
#define SIZE (24 * MIB)
#define DEPTH 8 /* writes under way at once */
#define ROUNDS 12
#define PATIENCE (60 * USEC_PER_SEC)

/* What the guest tells us, in shared memory. */
struct progress {
    volatile uint64_t written;
    volatile bool failed;
};

struct bench {
    struct lab lab;
    struct datapath *dp;
    const char *disk;
    struct vdi_path path;
    struct progress *progress;
    pid_t guest;
    uint64_t random;
};

static uint64_t next(struct bench *b, uint64_t below)
{
    b->random = b->random * 6364136223846793005u + 1442695040888963407u;
    return (b->random >> 33) % below;
}

/*** the guest ***/

/* One more write, of the block that is next. */
static bool begin_write(struct nbd_handle *nbd, const void *block, uint64_t n, int64_t *cookie)
{
    uint64_t at = n * 7919 % ((uint64_t)SIZE / BLOCK) * BLOCK;

    *cookie = nbd_aio_pwrite(nbd, block, BLOCK, at, NBD_NULL_COMPLETION, 0);
    return *cookie >= 0;
}

static void write_on(struct nbd_handle *nbd, struct progress *p)
{
    static char block[4096] = "what a guest writes";
    int64_t under_way[DEPTH];
    uint64_t begun = 0;

    for (size_t i = 0; i < DEPTH; i++)
        if (!begin_write(nbd, block, begun++, &under_way[i]))
            return;
    while (nbd_poll(nbd, -1) >= 0) {
        for (size_t i = 0; i < DEPTH; i++) {
            int done = nbd_aio_command_completed(nbd, (uint64_t)under_way[i]);

            p->written += done > 0;
            if (done < 0 || (done && !begin_write(nbd, block, begun++, &under_way[i])))
                return;
        }
    }
}

__attribute__((noreturn)) static void run_guest(const char *socket, struct progress *p)
{
    struct nbd_handle *nbd = nbd_create();

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (nbd && nbd_set_export_name(nbd, "disk") == 0 && nbd_connect_unix(nbd, socket) == 0)
        write_on(nbd, p);
    p->failed = true;
    _exit(1);
}

static void guest_goes_on(struct bench *b)
{
    uint64_t until = b->progress->written + 4 * DEPTH;
    usec_t deadline = clock_mono() + PATIENCE;

    while (b->progress->written < until) {
        if (b->progress->failed)
            fail_msg("the guest has lost its disk");
        assert_true(clock_mono() < deadline);
        clock_sleep(USEC_PER_MSEC);
    }
}

/*** the disk ***/

static struct datapath_disk disk_at(struct bench *b, const char *location)
{
    struct vdi_path image;

    lab_must(&b->lab,
             b->lab.sr.driver->vdi_attach(&b->lab.call, &b->lab.sr, location, true, &image));
    return (struct datapath_disk){
        .name = b->disk, .image = image.path, .format = image.format, .writable = true};
}

static int set_up(void **state)
{
    static struct bench bench;
    struct bench *b = &bench;
    struct datapath_disk disk;

    *b = (struct bench){.random = 1};
    lab_open(&b->lab, &sr_ext);
    b->dp = datapath_new(lab_path(&b->lab, ".servers"), DATAPATH_SOCKET);
    b->lab.sr.datapath = b->dp;
    b->disk = lab_disk(&b->lab, "disk", SIZE);
    b->progress =
        mmap(NULL, sizeof *b->progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    disk = disk_at(b, b->disk);
    lab_must(&b->lab, datapath_attach(&b->lab.call, b->dp, &disk, &b->path));
    b->guest = fork();
    assert_true(b->guest >= 0);
    if (b->guest == 0)
        run_guest(b->path.path, b->progress);
    guest_goes_on(b);
    *state = b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;

    kill(b->guest, SIGKILL);
    waitpid(b->guest, NULL, 0);
    lab_must(&b->lab, datapath_detach(&b->lab.call, b->dp, b->disk));
    datapath_free(b->dp);
    munmap(b->progress, sizeof *b->progress);
    lab_close(&b->lab);
    return 0;
}

static struct datapath_disk begin_move(struct bench *b)
{
    struct datapath_disk to = disk_at(b, lab_disk(&b->lab, "copy", SIZE));

    lab_must(&b->lab, datapath_mirror(&b->lab.call, b->dp, &to, false));
    return to;
}

static void wait_until_ready(struct bench *b)
{
    usec_t deadline = clock_mono() + PATIENCE;
    struct datapath_mirror now = {0};

    while (now.phase != MIRROR_READY) {
        lab_must(&b->lab, datapath_mirror_look(&b->lab.call, b->dp, b->disk, &now));
        if (now.phase == MIRROR_BROKEN)
            fail_msg("%s", now.why);
        assert_true(clock_mono() < deadline);
        clock_sleep(USEC_PER_MSEC);
    }
}

static bool hold(struct bench *b)
{
    bool held = false;

    lab_must(&b->lab, datapath_mirror_hold(&b->lab.call, b->dp, b->disk, &held));
    return held;
}

static void hold_until_held(struct bench *b)
{
    wait_until_ready(b);
    while (!hold(b))
        wait_until_ready(b);
}

/* Another way is taken at once, as with a guest that leaves no moment without a write. */
static void begin_anew(struct bench *b)
{
    datapath_set_patience(b->dp, 0);
    wait_until_ready(b);
    while (hold(b)) { /* there was such a moment */
        lab_must(&b->lab, datapath_mirror_end(&b->lab.call, b->dp, b->disk, NULL));
        begin_move(b);
        wait_until_ready(b);
    }
}

static void stay(struct bench *b)
{
    struct datapath_mirror now;

    lab_must(&b->lab, datapath_mirror_end(&b->lab.call, b->dp, b->disk, NULL));
    guest_goes_on(b);
    lab_must(&b->lab, datapath_mirror_look(&b->lab.call, b->dp, b->disk, &now));
    assert_int_equal(now.phase, MIRROR_NONE);
}

/*** what is tried ***/

static void a_move_ends_while_it_copies(void **state)
{
    struct bench *b = *state;

    for (int i = 0; i < ROUNDS; i++) {
        begin_move(b);
        clock_sleep((usec_t)next(b, 60) * USEC_PER_MSEC);
        stay(b);
    }
}

static void a_move_ends_when_it_is_ready(void **state)
{
    struct bench *b = *state;

    for (int i = 0; i < ROUNDS; i++) {
        begin_move(b);
        wait_until_ready(b);
        clock_sleep((usec_t)next(b, 20) * USEC_PER_MSEC);
        stay(b);
    }
}

static void a_move_ends_while_its_guest_is_held(void **state)
{
    struct bench *b = *state;

    for (int i = 0; i < ROUNDS / 5; i++) {
        begin_move(b);
        hold_until_held(b);
        stay(b);
    }
}

static void a_move_that_was_begun_anew_ends_at_any_time(void **state)
{
    struct bench *b = *state;

    for (int i = 0; i < ROUNDS; i++) {
        begin_move(b);
        begin_anew(b);
        if (i % 2)
            wait_until_ready(b);
        clock_sleep((usec_t)next(b, 20) * USEC_PER_MSEC);
        stay(b);
    }
}

static void a_guest_that_never_pauses_goes_on_with_the_copy(void **state)
{
    struct bench *b = *state;
    struct datapath_state *v;
    struct datapath_disk to;
    size_t n;

    for (int patience = 0; patience < 2; patience++) {
        to = begin_move(b);
        datapath_set_patience(b->dp, patience * 5 * USEC_PER_SEC);
        hold_until_held(b);
        lab_must(&b->lab, datapath_mirror_end(&b->lab.call, b->dp, b->disk, &to));
        guest_goes_on(b);
        lab_must(&b->lab, datapath_list(&b->lab.call, b->dp, &n, &v));
        assert_int_equal(n, 1);
        assert_string_equal(v[0].image, to.image);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_move_ends_while_it_copies),
        TEST(a_move_ends_when_it_is_ready),
        TEST(a_move_ends_while_its_guest_is_held),
        TEST(a_move_that_was_begun_anew_ends_at_any_time),
        TEST(a_guest_that_never_pauses_goes_on_with_the_copy),
    };

    if (access("/usr/bin/qemu-storage-daemon", X_OK) < 0) {
        print_message("skipped: there is no qemu-storage-daemon here\n");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
