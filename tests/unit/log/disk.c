/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tests of the raft engine on disks that are full, that fail, and that do not answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/log/fsm.h"

static void a_full_disk_is_said_and_heals(void **state)
{
    const struct log_raft_options options = {.full_within = 200 * USEC_PER_MSEC};
    char *dir = temp_dir(), *log_dir = xasprintf("%s/log", dir),
         *filler = xasprintf("%s/filler", dir);
    usec_t begin = clock_mono();
    struct fsm *fsm = fsm_new();
    struct arena arena = {0};
    struct log_status status;
    enum log_outcome outcome;
    uint64_t n = 0, acked;
    struct log *log;
    int fd;

    (void)state;
    if (mount("xapid-test", dir, "tmpfs", 0, "size=64m") < 0) {
        print_message("needs root: no tmpfs could be mounted: %s\n", strerror(errno));
        temp_dir_remove(dir);
        skip();
    }
    assert_null(log_raft_open(&arena, log_dir, &options, &fsm->log, &log));
    assert_int_equal(ask_once(log, 1, n++, 'x', 100), LOG_APPLIED);
    fd = open(filler, O_WRONLY | O_CREAT, 0600);
    for (int i = 0; i < 64 && posix_fallocate(fd, (off_t)i << 20, 1 << 20) == 0; i++)
        ;
    while ((outcome = ask_once(log, 1, n, 'x', 200000)) == LOG_APPLIED)
        n++;
    assert_int_equal(outcome, LOG_FAILED);
    log_status(log, &status);
    assert_false(status.writable);
    assert_non_null(strstr(status.failure, "no space"));
    acked = n;
    assert_int_equal(ask_once(log, 1, n, 'x', 100), LOG_FAILED);
    assert_int_equal(ftruncate(fd, 0), 0);
    close(fd);
    while (ask_once(log, 1, n, 'x', 200000) != LOG_APPLIED)
        assert_true(clock_mono() - begin < 60 * USEC_PER_SEC);
    log_close(log);
    fsm_free(fsm);
    fsm = fsm_new();
    assert_null(log_raft_open(&arena, log_dir, &options, &fsm->log, &log));
    for (uint64_t i = 0; i < acked; i++)
        assert_true(fsm_has(fsm, 1, i));
    assert_true(fsm_has(fsm, 1, n));
    log_close(log);
    fsm_free(fsm);
    arena_release(&arena);
    umount(dir);
    free(log_dir);
    free(filler);
    temp_dir_remove(dir);
}

/* In a child process: writes beyond 64 kB fail.  Ends with the number of acknowledged writes, or
 * 255. */
static void write_against_a_limit(const char *dir)
{
    struct rlimit limit = {65536, 65536};
    struct fsm *fsm = fsm_new();
    struct arena arena = {0};
    struct log_status status;
    enum log_outcome outcome;
    struct log *log;
    uint64_t n = 0;

    signal(SIGXFSZ, SIG_IGN);
    if (log_raft_open(&arena, dir, NULL, &fsm->log, &log))
        _exit(255);
    setrlimit(RLIMIT_FSIZE, &limit);
    while (n < 250 && (outcome = ask_once(log, 1, n, 'x', 3000)) == LOG_APPLIED)
        n++;
    log_status(log, &status);
    if (outcome != LOG_UNKNOWN || status.writable || !status.failure ||
        ask_once(log, 1, 251, 'x', 30) != LOG_FAILED)
        _exit(255);
    log_close(log);
    _exit(strstr(fsm->failure, "could not be written") ? (int)n : 255);
}

static void a_failed_write_ends_the_log_and_loses_nothing(void **state)
{
    char *dir = temp_dir(), *log_dir = xasprintf("%s/log", dir);
    struct fsm *fsm = fsm_new();
    struct arena arena = {0};
    struct log *log;
    int status;
    pid_t pid = fork();

    (void)state;
    if (pid == 0) {
        execl("/proc/self/exe", "write-against-a-limit", log_dir, NULL);
        _exit(127);
    }
    waitpid(pid, &status, 0);
    assert_true(WIFEXITED(status));
    assert_in_range(WEXITSTATUS(status), 5, 30);
    assert_null(log_raft_open(&arena, log_dir, NULL, &fsm->log, &log));
    for (int i = 0; i < WEXITSTATUS(status); i++)
        assert_true(fsm_has(fsm, 1, (uint64_t)i));
    assert_int_equal(ask_once(log, 1, 500, 'x', 30), LOG_APPLIED);
    log_close(log);
    fsm_free(fsm);
    arena_release(&arena);
    free(log_dir);
    temp_dir_remove(dir);
}

/* A file system in a file, which can be frozen.  False if that cannot be made here. */
static bool mount_loop(const char *image, const char *dir)
{
    char *command = xasprintf("truncate -s 128M '%s' && mkfs.ext4 -q '%s' 2>/dev/null && mount -o "
                              "loop '%s' '%s' 2>/dev/null",
                              image, image, image, dir);
    bool good = system(command) == 0;

    free(command);
    return good;
}

static void a_disk_that_does_not_answer_gives_unknown_and_heals(void **state)
{
    const struct log_raft_options options = {.answer_within = 300 * USEC_PER_MSEC};
    char *dir = temp_dir(), *image = xasprintf("%s.img", dir), *log_dir = xasprintf("%s/log", dir);
    usec_t begin = clock_mono();
    struct fsm *fsm = fsm_new();
    struct arena arena = {0};
    uint64_t n = 10;
    struct log *log;
    int fd;

    (void)state;
    if (!mount_loop(image, dir)) {
        print_message("needs root and loop devices\n");
        unlink(image);
        skip();
    }
    assert_null(log_raft_open(&arena, log_dir, &options, &fsm->log, &log));
    assert_int_equal(ask_once(log, 1, 1, 'x', 100), LOG_APPLIED);
    fd = open(dir, O_RDONLY);
    assert_int_equal(ioctl(fd, FIFREEZE, 0), 0);
    assert_int_equal(ask_once(log, 1, 2, 'x', 100), LOG_UNKNOWN);
    assert_int_equal(ask_once(log, 1, 3, 'x', 100), LOG_FAILED);
    assert_int_equal(ioctl(fd, FITHAW, 0), 0);
    close(fd);
    while (ask_once(log, 1, n, 'x', 100) != LOG_APPLIED) {
        n++;
        assert_true(clock_mono() - begin < 30 * USEC_PER_SEC);
    }
    assert_true(fsm_has(fsm, 1, 2)); /* came to be after all */
    assert_false(fsm_has(fsm, 1, 3));
    log_close(log);
    fsm_free(fsm);
    arena_release(&arena);
    umount(dir);
    unlink(image);
    free(image);
    free(log_dir);
    temp_dir_remove(dir);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_disk_is_said_and_heals),
        cmocka_unit_test(a_failed_write_ends_the_log_and_loses_nothing),
        cmocka_unit_test(a_disk_that_does_not_answer_gives_unknown_and_heals),
    };

    if (argc == 2)
        write_against_a_limit(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
