/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * crash.c -- the daemon is killed after every step of every operation on a directory of images;
 * then the operation is repeated, or undone, and nothing may be lost or left over.
 */
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/storage/stories.h"

static const struct lab_kind kind = {.driver = &sr_ext};
static int steps_left;

static void die_at_step(void *ctx, const char *name)
{
    (void)ctx;
    (void)name;
    if (--steps_left == 0)
        kill(getpid(), SIGKILL);
}

/* Does the work in a process that dies after 'step' steps; false if it came to its end before. */
static bool crash_at(struct story *s, work_fn *work, int step)
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        struct dir_state *st = s->lab.sr.state;

        steps_left = step;
        st->step = die_at_step;
        _exit(work(s) ? 3 : 0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status))
        return true;
    assert_int_equal(WEXITSTATUS(status), 0);
    return false;
}

static void a_fork_killed_anywhere_is_completed_by_a_repeat(void **state)
{
    int step = 0;
    bool crashed = true;

    (void)state;
    while (crashed) {
        struct story s;

        story_begin(&s, &kind);
        crashed = crash_at(&s, story_fork, ++step);
        story_disk_is_whole(&s);
        story_new_is_absent_or_whole(&s, 'd');
        lab_must(&s.lab, story_fork(&s));
        story_fork_is_complete(&s);
        lab_close(&s.lab);
    }
    assert_true(step > 9);
}

static void a_fork_killed_twice_is_completed_by_a_third_try(void **state)
{
    bool crashed = true;

    (void)state;
    for (int step = 1; crashed; step++) {
        bool again = true;

        for (int second = 1; crashed && again; second += 2) {
            struct story s;

            story_begin(&s, &kind);
            crashed = crash_at(&s, story_fork, step);
            again = crash_at(&s, story_fork, second);
            lab_must(&s.lab, story_fork(&s));
            story_fork_is_complete(&s);
            lab_close(&s.lab);
        }
    }
}

/* Writes between the crash and the undo must survive too. */
static void a_fork_killed_anywhere_can_be_undone(void **state)
{
    int step = 0;
    bool crashed = true;

    (void)state;
    while (crashed) {
        struct story s;

        story_begin(&s, &kind);
        crashed = crash_at(&s, story_fork, ++step);
        lab_restart(&s.lab);
        lab_must(&s.lab, sr_ext.vdi_delete(&s.lab.call, &s.lab.sr, s.new));
        if (strcmp(lab_stat(&s.lab, s.disk).parent, s.base) == 0)
            lab_fails(&s.lab, story_undo(&s), "VDI_IN_USE");
        else
            lab_must(&s.lab, story_undo(&s));
        story_disk_is_whole(&s);
        assert_null(lab_scan(&s.lab, s.new, NULL));
        assert_int_equal(lab_count_files(&s.lab, ".tmp"), 0);
        assert_int_equal(lab_count_files(&s.lab, ".json"), lab_count_files(&s.lab, ".qcow2"));
        lab_must(&s.lab, story_delete_disk(&s));
        assert_int_equal(lab_count_files(&s.lab, ".qcow2"), 0);
        lab_close(&s.lab);
    }
    assert_true(step > 9);
}

/* One kind of work, killed after each of its steps and then repeated. */
static void kill_everywhere(const struct story_kind *k)
{
    bool crashed = true;

    for (int step = 1; crashed; step++) {
        struct story s;

        story_begin(&s, &kind);
        if (k->before)
            lab_must(&s.lab, k->before(&s));
        crashed = crash_at(&s, k->work, step);
        if (k->disk_stays)
            story_disk_is_whole(&s);
        lab_restart(&s.lab);
        lab_must(&s.lab, k->work(&s));
        lab_check_images(&s.lab);
        assert_int_equal(lab_count_files(&s.lab, ".tmp"), 0);
        k->check(&s);
        lab_close(&s.lab);
    }
}

static void what_was_killed_anywhere_is_completed_by_a_repeat(void **state)
{
    (void)state;
    for (const struct story_kind *k = story_kinds; k->name; k++) {
        print_message("# %s\n", k->name);
        kill_everywhere(k);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fork_killed_anywhere_is_completed_by_a_repeat),
        cmocka_unit_test(a_fork_killed_twice_is_completed_by_a_third_try),
        cmocka_unit_test(a_fork_killed_anywhere_can_be_undone),
        cmocka_unit_test(what_was_killed_anywhere_is_completed_by_a_repeat),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
