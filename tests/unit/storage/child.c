/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libxapi/base/child.h"
#include "libxapi/base/seam.h"

#define SHELL(script) ((const char *const[]){"sh", "-c", script, NULL})

static struct child_result run(struct arena *arena, const struct child_spec *spec)
{
    struct child_result r;

    assert_null(child_run(arena, spec, &r));
    return r;
}

static void output_errors_and_status_come_back(void **state)
{
    AUTO(arena) arena = {0};
    struct child_spec spec = {.argv = SHELL("echo out; echo err >&2; exit 3")};
    struct child_result r = run(&arena, &spec);

    (void)state;
    assert_string_equal(r.output, "out\n");
    assert_string_equal(r.errors, "err");
    assert_int_equal(r.status, 3);
}

static void input_larger_than_a_pipe_is_read_and_answered(void **state)
{
    AUTO(arena) arena = {0};
    size_t n = 3 * 1024 * 1024;
    char *text = arena_alloc(&arena, n);
    struct child_spec spec = {.argv = (const char *const[]){"cat", NULL},
                              .input = text,
                              .input_size = n,
                              .output_limit = n};
    struct child_result r;

    (void)state;
    memset(text, 'i', n);
    r = run(&arena, &spec);
    assert_int_equal(r.output_size, n);
    assert_memory_equal(r.output, text, n);
    assert_false(r.truncated);
}

static void a_child_that_reads_nothing_is_no_error(void **state)
{
    AUTO(arena) arena = {0};
    size_t n = 1024 * 1024;
    struct child_spec spec = {.argv = (const char *const[]){"true", NULL},
                              .input = arena_zalloc(&arena, n),
                              .input_size = n};

    (void)state;
    assert_int_equal(run(&arena, &spec).status, 0);
}

static void output_beyond_the_limit_is_dropped(void **state)
{
    AUTO(arena) arena = {0};
    struct child_spec spec = {.argv = SHELL("head -c 300000 /dev/zero; head -c 9000 /dev/zero >&2"),
                              .output_limit = 1000};
    struct child_result r = run(&arena, &spec);

    (void)state;
    assert_int_equal(r.output_size, 1000);
    assert_true(r.truncated);
    assert_int_equal(r.status, 0);
}

static void the_deadline_kills_the_child_and_its_children(void **state)
{
    AUTO(arena) arena = {0};
    struct child_spec spec = {.argv = SHELL("sleep 1000 & echo $!; wait"),
                              .timeout = 200 * USEC_PER_MSEC};
    usec_t began = clock_mono();
    struct child_result r = run(&arena, &spec);
    pid_t grandchild = atoi(r.output);

    (void)state;
    assert_true(r.timed_out);
    assert_int_equal(r.status, 128 + SIGKILL);
    assert_true(clock_mono() - began < 20 * USEC_PER_SEC);
    /* Gone, or a zombie that whoever adopts it has not noticed yet. */
    for (int i = 0; i < 1000 && kill(grandchild, 0) == 0; i++) {
        const char *path = arena_printf(&arena, "/proc/%d/cmdline", (int)grandchild);
        char c;
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? 0 : read(fd, &c, 1);

        if (fd >= 0)
            close(fd);
        if (n <= 0)
            return;
        clock_sleep(USEC_PER_MSEC);
    }
    assert_int_equal(kill(grandchild, 0), -1);
}

static void a_grandchild_with_our_pipes_does_not_keep_us(void **state)
{
    AUTO(arena) arena = {0};
    struct child_spec spec = {.argv = SHELL("sleep 60 & echo $!"), .timeout = 30 * USEC_PER_SEC};
    struct child_result r = run(&arena, &spec);

    (void)state;
    assert_false(r.timed_out);
    assert_int_equal(r.status, 0);
    kill(atoi(r.output), SIGKILL);
}

static bool stop_at_five(void *ctx, const char *text, size_t n)
{
    size_t *seen = ctx;

    (void)text;
    *seen += n;
    return *seen < 5;
}

static void the_watcher_sees_output_and_can_stop_it(void **state)
{
    AUTO(arena) arena = {0};
    size_t seen = 0;
    struct child_spec spec = {
        .argv = (const char *const[]){"yes", NULL}, .watch = stop_at_five, .ctx = &seen};
    struct child_result r = run(&arena, &spec);

    (void)state;
    assert_true(r.cancelled);
    assert_true(seen >= 5);
}

static void a_child_inherits_no_descriptor_signal_or_variable(void **state)
{
    AUTO(arena) arena = {0};
    struct child_spec spec = {.argv =
                                  SHELL("ls /proc/self/fd | wc -l; grep SigBlk: /proc/self/status;"
                                        "grep SigIgn: /proc/self/status; env | grep -c SECRET")};
    int leaked = open("/dev/null", O_RDONLY); /* without O_CLOEXEC, as some library may do */
    struct child_result r;

    (void)state;
    setenv("SECRET", "x", 1);
    signal(SIGUSR1, SIG_IGN);
    r = run(&arena, &spec);
    close(leaked);
    signal(SIGUSR1, SIG_DFL);
    /* ls holds the three, the pipe's place and the folder it lists. */
    assert_string_equal(r.output, "4\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n0\n");
}

static void set_oom_score(const char *score)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, score, strlen(score)), (ssize_t)strlen(score));
    close(fd);
}

static void a_child_is_not_spared_as_the_daemon_is(void **state)
{
    AUTO(arena) arena = {0};
    struct child_spec spec = {.argv = SHELL("cat /proc/self/oom_score_adj")};
    struct child_result r;

    (void)state;
    set_oom_score("100"); /* below 0 takes a privilege; what matters is that it is not inherited */
    r = run(&arena, &spec);
    set_oom_score("0");
    assert_string_equal(r.output, "0\n");
}

static void a_program_that_is_not_there_is_an_error(void **state)
{
    AUTO(arena) arena = {0};
    struct child_spec spec = {.argv = (const char *const[]){"no-such-program", NULL}};
    struct child_result r;
    struct child *child;

    (void)state;
    assert_true(error_is(child_run(&arena, &spec, &r), "INTERNAL_ERROR"));
    assert_true(error_is(child_start(&arena, &spec, &child), "INTERNAL_ERROR"));
}

static void others_children_are_left_to_them(void **state)
{
    AUTO(arena) arena = {0};
    struct child_spec spec = {.argv = (const char *const[]){"true", NULL}};
    pid_t other = fork();
    int status;

    (void)state;
    if (other == 0)
        _exit(7);
    run(&arena, &spec);
    assert_int_equal(waitpid(other, &status, 0), other);
    assert_int_equal(WEXITSTATUS(status), 7);
}

static void a_child_beside_us_is_killed_waited_for_and_forgotten(void **state)
{
    AUTO(arena) arena = {0};
    struct child_spec spec = {.argv = (const char *const[]){"sleep", "1000", NULL}};
    const struct child_result *r;
    struct child *child;

    (void)state;
    assert_null(child_start(&arena, &spec, &child));
    assert_false(child_wait(child, 10 * USEC_PER_MSEC, &r));
    child_kill(child);
    assert_true(child_wait(child, 20 * USEC_PER_SEC, &r));
    assert_true(r->cancelled);
    assert_int_equal(r->status, 128 + SIGKILL);
    child_free(child);
    assert_null(child_start(&arena, &spec, &child));
    child_free(child);
    child_free(NULL);
}

/* Two processes deep: the middle one starts a long child and is killed. */
static void a_child_dies_with_the_daemon(void **state)
{
    AUTO(arena) arena = {0};
    int alive[2];
    pid_t daemon_pid;
    char c;

    (void)state;
    /* The child holds the write end as its standard error's twin: end of file means it is gone. */
    assert_int_equal(pipe(alive), 0);
    daemon_pid = fork();
    if (daemon_pid == 0) {
        struct child_spec spec = {.argv = SHELL("kill -STOP $$"), .listen_fd = alive[1]};
        struct child *child;

        close(alive[0]);
        error_ignore(child_start(&arena, &spec, &child)); /* the parent notices */
        close(alive[1]);
        pause();
        _exit(0);
    }
    close(alive[1]);
    clock_sleep(
        100 * USEC_PER_MSEC); /* so that the child most likely runs; the test is right either way */
    kill(daemon_pid, SIGKILL);
    waitpid(daemon_pid, NULL, 0);
    assert_int_equal(read(alive[0], &c, 1), 0);
    close(alive[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output_errors_and_status_come_back),
        cmocka_unit_test(input_larger_than_a_pipe_is_read_and_answered),
        cmocka_unit_test(a_child_that_reads_nothing_is_no_error),
        cmocka_unit_test(output_beyond_the_limit_is_dropped),
        cmocka_unit_test(the_deadline_kills_the_child_and_its_children),
        cmocka_unit_test(a_grandchild_with_our_pipes_does_not_keep_us),
        cmocka_unit_test(the_watcher_sees_output_and_can_stop_it),
        cmocka_unit_test(a_child_inherits_no_descriptor_signal_or_variable),
        cmocka_unit_test(a_child_is_not_spared_as_the_daemon_is),
        cmocka_unit_test(a_program_that_is_not_there_is_an_error),
        cmocka_unit_test(others_children_are_left_to_them),
        cmocka_unit_test(a_child_beside_us_is_killed_waited_for_and_forgotten),
        cmocka_unit_test(a_child_dies_with_the_daemon),
    };

    alarm(300);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
