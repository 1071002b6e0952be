/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tests of the raft engine on a good disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <sys/wait.h>
#include <unistd.h>
#include <stdio.h>

#include "tests/unit/log/fsm.h"

struct open_log {
    struct arena arena;
    struct fsm *fsm;
    struct log *log;
};

static void open_log(struct open_log *o, const char *dir, const struct log_raft_options *options)
{
    struct error *e;

    memset(o, 0, sizeof *o);
    o->fsm = fsm_new();
    e = log_raft_open(&o->arena, dir, options, &o->fsm->log, &o->log);
    if (e)
        fail_msg("%s", error_line(&o->arena, e));
}

static void close_log(struct open_log *o)
{
    log_close(o->log);
    fsm_free(o->fsm);
    arena_release(&o->arena);
}

static char *log_dir(const char *dir)
{
    return xasprintf("%s/log", dir);
}

static void what_was_acknowledged_is_there_after_a_restart(void **state)
{
    char *dir = log_dir(*state);
    struct open_log o;
    uint64_t digest;

    open_log(&o, dir, NULL);
    for (uint64_t i = 0; i < 100; i++)
        assert_int_equal(ask_once(o.log, 1, i, 'x', 40 + i * 13), LOG_APPLIED);
    assert_int_equal(o.fsm->published, 100);
    digest = o.fsm->digest;
    close_log(&o);
    for (int round = 0; round < 3; round++) {
        open_log(&o, dir, NULL);
        assert_int_equal(o.fsm->published, 100);
        assert_int_equal(o.fsm->digest, digest);
        close_log(&o);
    }
    free(dir);
}

static void conflict_and_rejection_come_back_with_their_error(void **state)
{
    char *dir = log_dir(*state);
    struct open_log o;
    struct ask ask;

    open_log(&o, dir, NULL);
    assert_int_equal(ask_once(o.log, 1, 1, 'C', 20), LOG_CONFLICT);
    ask_init(&ask, 1, 7, 'R', 20);
    log_propose(o.log, &ask.proposal);
    assert_int_equal(ask_wait(&ask), LOG_REJECTED);
    assert_string_equal(ask.error, "rejected 7");
    ask_release(&ask);
    close_log(&o);
    free(dir);
}

static void sizes_outside_the_limits_are_refused(void **state)
{
    char *dir = log_dir(*state);
    struct open_log o;

    open_log(&o, dir, NULL);
    assert_int_equal(ask_once(o.log, 1, 1, 'x', 15), LOG_FAILED);
    assert_int_equal(ask_once(o.log, 1, 2, 'x', LOG_MAX_WRITE_SET + 1), LOG_FAILED);
    assert_int_equal(ask_once(o.log, 1, 3, 'x', LOG_MAX_WRITE_SET), LOG_APPLIED);
    assert_int_equal(ask_once(o.log, 1, 4, 'x', 16), LOG_APPLIED);
    assert_int_equal(o.fsm->n_applies, 2);
    close_log(&o);
    free(dir);
}

static void entries_the_database_contains_are_not_applied_again(void **state)
{
    char *dir = log_dir(*state);
    struct open_log o = {0};
    uint64_t index;

    open_log(&o, dir, NULL);
    for (uint64_t i = 0; i < 10; i++)
        assert_int_equal(ask_once(o.log, 1, i, 'x', 64), LOG_APPLIED);
    index = o.fsm->index;
    assert_int_equal(ask_once(o.log, 1, 10, 'x', 64), LOG_APPLIED);
    close_log(&o);
    memset(&o, 0, sizeof o);
    o.fsm = fsm_new();
    o.fsm->log.applied_index = index;
    assert_null(log_raft_open(&o.arena, dir, NULL, &o.fsm->log, &o.log));
    assert_int_equal(o.fsm->n_applies, 1);
    assert_true(fsm_has(o.fsm, 1, 10));
    close_log(&o);
    free(dir);
}

static void a_database_ahead_of_the_log_is_refused(void **state)
{
    char *dir = log_dir(*state);
    struct open_log o = {0};

    open_log(&o, dir, NULL);
    assert_int_equal(ask_once(o.log, 1, 1, 'x', 64), LOG_APPLIED);
    close_log(&o);
    o.fsm = fsm_new();
    o.fsm->log.applied_index = 1000;
    assert_non_null(log_raft_open(&o.arena, dir, NULL, &o.fsm->log, &o.log));
    fsm_free(o.fsm);
    arena_release(&o.arena);
    free(dir);
}

static void a_directory_is_open_only_once(void **state)
{
    char *dir = log_dir(*state);
    struct open_log o, second = {0};
    struct error *e;

    open_log(&o, dir, NULL);
    second.fsm = fsm_new();
    e = log_raft_open(&second.arena, dir, NULL, &second.fsm->log, &second.log);
    assert_non_null(e);
    assert_non_null(strstr(e->params[0], "in use"));
    fsm_free(second.fsm);
    arena_release(&second.arena);
    close_log(&o);
    free(dir);
}

struct writer {
    struct thread thread;
    struct log *log;
    uint64_t origin, n;
    size_t size;
    int acks; /* a pipe for what was acknowledged, or -1 */
    unsigned unknown;
};

static void *write_many(void *arg)
{
    struct writer *w = arg;

    for (uint64_t i = 0; i < w->n; i++) {
        enum log_outcome outcome = ask_once(w->log, w->origin, i, 'x', w->size + i % 200);
        uint64_t ack[2] = {w->origin, i};

        if (outcome != LOG_APPLIED)
            w->unknown++;
        else if (w->acks >= 0 && write(w->acks, ack, sizeof ack) != sizeof ack)
            break;
    }
    return NULL;
}

static void many_threads_share_entries(void **state)
{
    char *dir = log_dir(*state);
    struct writer writers[32] = {0};
    struct log_status status;
    struct open_log o;
    uint64_t digest;

    open_log(&o, dir, NULL);
    for (unsigned i = 0; i < 32; i++) {
        writers[i] = (struct writer){.log = o.log, .origin = i, .n = 100, .size = 100, .acks = -1};
        thread_start(&writers[i].thread, "writer", write_many, &writers[i]);
    }
    for (unsigned i = 0; i < 32; i++)
        thread_join(&writers[i].thread);
    assert_int_equal(fsm_revision(o.fsm), 3200);
    log_status(o.log, &status);
    assert_true(status.writable);
    assert_true(status.applied_index < 3200 / 2); /* otherwise nothing was grouped */
    digest = o.fsm->digest;
    close_log(&o);
    open_log(&o, dir, NULL);
    assert_int_equal(o.fsm->digest, digest);
    close_log(&o);
    free(dir);
}

static size_t count_files(const char *dir, const char *pattern)
{
    char *path = xasprintf("%s/%s", dir, pattern);
    glob_t g;
    size_t n = glob(path, 0, NULL, &g) == 0 ? g.gl_pathc : 0;

    globfree(&g);
    free(path);
    return n;
}

/* The last entry that a finished snapshot in 'dir' contains; 0: there is none. */
static uint64_t newest_snapshot(const char *dir)
{
    char *pattern = xasprintf("%s/snapshot-*.meta", dir);
    uint64_t newest = 0;
    glob_t g;

    if (glob(pattern, 0, NULL, &g) == 0) {
        for (size_t i = 0; i < g.gl_pathc; i++) {
            uint64_t term, index;

            if (sscanf(strrchr(g.gl_pathv[i], '/'), "/snapshot-%" SCNu64 "-%" SCNu64, &term,
                       &index) == 2)
                newest = MAX(newest, index);
        }
        globfree(&g);
    }
    free(pattern);
    return newest;
}

/* A disk that is busy may take one snapshot during many entries: as many are asked for as are
 * needed until one of them contains 500. */
static void a_snapshot_cuts_the_log_and_is_restored(void **state)
{
    enum { CONTAINED = 500, LIMIT = 100000 };
    static const struct log_raft_options options = {.snapshot_entries = 100, .trailing = 10};
    char *dir = log_dir(*state);
    struct open_log o;
    uint64_t digest, n = 0;

    open_log(&o, dir, &options);
    while (newest_snapshot(dir) < CONTAINED && n < LIMIT)
        assert_int_equal(ask_once(o.log, 2, n++, 'x', 500), LOG_APPLIED);
    assert_true(newest_snapshot(dir) >= CONTAINED);
    digest = o.fsm->digest;
    close_log(&o);
    assert_true(count_files(dir, "snapshot-*.meta") <= 2);
    assert_int_equal(count_files(dir, "0000000000000001-*"), 0);
    open_log(&o, dir, &options);
    assert_int_equal(o.fsm->n_restores, 1);
    assert_int_equal(o.fsm->digest, digest);
    /* Entry 1 of the log is its configuration. */
    assert_true(o.fsm->n_applies <= n + 1 - CONTAINED);
    for (uint64_t i = 0; i < n; i++)
        assert_true(fsm_has(o.fsm, 2, i));
    close_log(&o);
    free(dir);
}

static void large_entries_ask_for_a_snapshot_by_their_bytes(void **state)
{
    static const struct log_raft_options options = {.snapshot_bytes = 4 << 20};
    char *dir = log_dir(*state);
    struct open_log o;

    open_log(&o, dir, &options);
    for (uint64_t i = 0; i < 20; i++)
        assert_int_equal(ask_once(o.log, 2, i, 'x', 1000000), LOG_APPLIED);
    close_log(&o);
    assert_true(count_files(dir, "snapshot-*.meta") >= 1);
    open_log(&o, dir, &options);
    assert_int_equal(fsm_revision(o.fsm), 20);
    close_log(&o);
    free(dir);
}

static void proposals_at_close_are_all_answered(void **state)
{
    enum { N = 500 };
    char *dir = log_dir(*state);
    struct ask *asks = xcalloc(N, sizeof *asks);
    unsigned applied = 0;
    struct open_log o;

    open_log(&o, dir, NULL);
    for (uint64_t i = 0; i < N; i++) {
        ask_init(&asks[i], 3, i, 'x', 100);
        log_propose(o.log, &asks[i].proposal);
    }
    close_log(&o);
    open_log(&o, dir, NULL);
    for (uint64_t i = 0; i < N; i++) {
        assert_true(asks[i].answered);
        assert_true(asks[i].outcome == LOG_APPLIED || asks[i].outcome == LOG_FAILED);
        assert_int_equal(fsm_has(o.fsm, 3, i), asks[i].outcome == LOG_APPLIED);
        applied += asks[i].outcome == LOG_APPLIED;
        ask_release(&asks[i]);
    }
    assert_int_equal(fsm_revision(o.fsm), applied);
    close_log(&o);
    free(asks);
    free(dir);
}

/* In a child process, a program of its own since threads do not survive a fork: writes until it is
 * killed. */
static void write_until_killed(const char *dir, int acks, uint64_t round)
{
    static const struct log_raft_options options = {.snapshot_entries = 300, .trailing = 20};
    struct writer writers[8] = {0};
    struct open_log o;

    open_log(&o, dir, &options);
    for (unsigned i = 0; i < 8; i++) {
        writers[i] = (struct writer){.log = o.log,
                                     .origin = round * 8 + i,
                                     .n = FSM_NUMBERS,
                                     .size = 20 + i * 300,
                                     .acks = acks};
        thread_start(&writers[i].thread, "writer", write_many, &writers[i]);
    }
    for (unsigned i = 0; i < 8; i++)
        thread_join(&writers[i].thread);
    _exit(0);
}

/* Kills the child after 'n' acknowledgements (0: at a random moment of its start); notes all that
 * came. */
static void kill_under_load(const char *dir, uint64_t round, unsigned n,
                            uint8_t (*acked)[FSM_NUMBERS])
{
    uint64_t ack[2];
    int fds[2];
    pid_t pid;

    assert_int_equal(pipe(fds), 0);
    pid = fork();
    if (pid == 0) {
        char fd_text[16], round_text[16];

        snprintf(fd_text, sizeof fd_text, "%d", fds[1]);
        snprintf(round_text, sizeof round_text, "%d", (int)round);
        close(fds[0]);
        execl("/proc/self/exe", "write-until-killed", dir, fd_text, round_text, NULL);
        _exit(127);
    }
    close(fds[1]);
    if (n == 0)
        clock_sleep((usec_t)(random_u64() % 30000));
    for (unsigned i = 0; i < n; i++) {
        if (read(fds[0], ack, sizeof ack) != sizeof ack)
            break;
        acked[ack[0]][ack[1]] = 1;
    }
    kill(pid, SIGKILL);
    while (read(fds[0], ack, sizeof ack) == sizeof ack)
        acked[ack[0]][ack[1]] = 1;
    close(fds[0]);
    waitpid(pid, NULL, 0);
}

static void nothing_acknowledged_is_lost_by_kill(void **state)
{
    uint8_t(*acked)[FSM_NUMBERS] = xcalloc(FSM_ORIGINS, FSM_NUMBERS);
    char *dir = log_dir(*state);
    unsigned n_acked = 0, lost = 0;
    struct open_log o;

    for (uint64_t round = 0; round < 12; round++)
        kill_under_load(dir, round, round % 4 == 3 ? 0 : 1 + (unsigned)(random_u64() % 1500),
                        acked);
    open_log(&o, dir, NULL);
    for (uint64_t origin = 0; origin < FSM_ORIGINS; origin++)
        for (uint64_t i = 0; i < FSM_NUMBERS; i++) {
            n_acked += acked[origin][i];
            lost += acked[origin][i] && !fsm_has(o.fsm, origin, i);
        }
    assert_int_equal(lost, 0);
    assert_true(n_acked > 100);
    assert_int_equal(ask_once(o.log, 127, 1, 'x', 64), LOG_APPLIED);
    close_log(&o);
    free(acked);
    free(dir);
}

static int set_up(void **state)
{
    *state = temp_dir();
    return 0;
}

static int tear_down(void **state)
{
    temp_dir_remove(*state);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_acknowledged_is_there_after_a_restart, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(conflict_and_rejection_come_back_with_their_error, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(sizes_outside_the_limits_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(entries_the_database_contains_are_not_applied_again, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_database_ahead_of_the_log_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_directory_is_open_only_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_threads_share_entries, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_snapshot_cuts_the_log_and_is_restored, set_up, tear_down),
        cmocka_unit_test_setup_teardown(large_entries_ask_for_a_snapshot_by_their_bytes, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(proposals_at_close_are_all_answered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_acknowledged_is_lost_by_kill, set_up, tear_down),
    };

    if (argc == 4)
        write_until_killed(argv[1], atoi(argv[2]), (uint64_t)atoi(argv[3]));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
