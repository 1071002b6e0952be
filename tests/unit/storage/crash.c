/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * crash.c -- the daemon is killed after every step of every operation on a directory of images;
 * then the operation is repeated, or undone, and nothing may be lost or left over.
 */
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/storage/lab.h"

/* What one scenario works on; the same names in every round. */
struct story {
    struct lab lab;
    const char *disk, *base, *new;
};

static int steps_left;

static void die_at_step(void *ctx, const char *name)
{
    (void)ctx;
    (void)name;
    if (--steps_left == 0)
        kill(getpid(), SIGKILL);
}

typedef struct error *work_fn(struct story *s);

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

static void story_begin(struct story *s)
{
    lab_open(&s->lab, &sr_ext);
    s->disk = lab_disk(&s->lab, "disk", 2 * MIB);
    s->base = lab_uuid(&s->lab);
    s->new = lab_uuid(&s->lab);
    lab_write(&s->lab, s->disk, 0, 'd');
}

/* True at every moment: the disk is there, once, with its content, and every image is sound. */
static void disk_is_whole(struct story *s)
{
    const struct vdi_info *disk;

    lab_restart(&s->lab);
    disk = lab_scan(&s->lab, s->disk, NULL);
    assert_non_null(disk);
    assert_false(disk->hidden);
    assert_string_equal(disk->name_label, "disk");
    lab_expect(&s->lab, s->disk, 0, 'd');
    lab_check_images(&s->lab);
}

static struct error *do_fork(struct story *s)
{
    struct vdi_spec spec = {.location = s->new, .name_label = "new"};
    struct vdi_info info;

    return sr_ext.vdi_fork(&s->lab.call, &s->lab.sr, s->disk, s->base, &spec, &info);
}

static struct error *do_copy(struct story *s)
{
    struct vdi_spec spec = {.location = s->new, .name_label = "new"};
    struct vdi_info info;

    return sr_ext.vdi_copy(&s->lab.call, &s->lab.sr, s->disk, &spec, &info, NULL, NULL);
}

static struct error *do_create(struct story *s)
{
    struct vdi_spec spec = {.location = s->new, .name_label = "new", .virtual_size = MIB};
    struct vdi_info info;

    return sr_ext.vdi_create(&s->lab.call, &s->lab.sr, &spec, &info);
}

static struct error *do_undo(struct story *s)
{
    TRY(sr_ext.vdi_delete(&s->lab.call, &s->lab.sr, s->new));
    return sr_ext.vdi_delete(&s->lab.call, &s->lab.sr, s->base);
}

static struct error *do_delete_disk(struct story *s)
{
    return sr_ext.vdi_delete(&s->lab.call, &s->lab.sr, s->disk);
}

static struct error *do_delete_both(struct story *s)
{
    TRY(sr_ext.vdi_delete(&s->lab.call, &s->lab.sr, s->new));
    return do_delete_disk(s);
}

static struct error *do_resize(struct story *s)
{
    struct vdi_info info;

    return sr_ext.vdi_resize(&s->lab.call, &s->lab.sr, s->disk, 4 * MIB, &info);
}

static struct error *do_describe(struct story *s)
{
    return sr_ext.vdi_describe(&s->lab.call, &s->lab.sr, s->disk, "disk", "other text");
}

/* The new disk is complete wherever it is seen at all. */
static void new_is_absent_or_whole(struct story *s, int byte)
{
    const struct vdi_info *new = lab_scan(&s->lab, s->new, NULL);

    if (!new)
        return;
    assert_string_equal(new->name_label, "new");
    lab_expect(&s->lab, s->new, 0, byte);
}

static void fork_is_complete(struct story *s)
{
    size_t n;

    disk_is_whole(s);
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

static void a_fork_killed_anywhere_is_completed_by_a_repeat(void **state)
{
    int step = 0;
    bool crashed = true;

    (void)state;
    while (crashed) {
        struct story s;

        story_begin(&s);
        crashed = crash_at(&s, do_fork, ++step);
        disk_is_whole(&s);
        new_is_absent_or_whole(&s, 'd');
        lab_must(&s.lab, do_fork(&s));
        fork_is_complete(&s);
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

            story_begin(&s);
            crashed = crash_at(&s, do_fork, step);
            again = crash_at(&s, do_fork, second);
            lab_must(&s.lab, do_fork(&s));
            fork_is_complete(&s);
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

        story_begin(&s);
        crashed = crash_at(&s, do_fork, ++step);
        lab_restart(&s.lab);
        lab_must(&s.lab, sr_ext.vdi_delete(&s.lab.call, &s.lab.sr, s.new));
        if (strcmp(lab_stat(&s.lab, s.disk).parent, s.base) == 0)
            lab_fails(&s.lab, do_undo(&s), "VDI_IN_USE");
        else
            lab_must(&s.lab, do_undo(&s));
        disk_is_whole(&s);
        assert_null(lab_scan(&s.lab, s.new, NULL));
        assert_int_equal(lab_count_files(&s.lab, ".tmp"), 0);
        assert_int_equal(lab_count_files(&s.lab, ".json"), lab_count_files(&s.lab, ".qcow2"));
        lab_must(&s.lab, do_delete_disk(&s));
        assert_int_equal(lab_count_files(&s.lab, ".qcow2"), 0);
        lab_close(&s.lab);
    }
    assert_true(step > 9);
}

/* Kills 'work' after each step, repeats it, and lets 'check' judge. */
static void kill_everywhere(work_fn *before, work_fn *work, bool disk_stays,
                            void (*check)(struct story *))
{
    bool crashed = true;

    for (int step = 1; crashed; step++) {
        struct story s;

        story_begin(&s);
        if (before)
            lab_must(&s.lab, before(&s));
        crashed = crash_at(&s, work, step);
        if (disk_stays)
            disk_is_whole(&s);
        lab_restart(&s.lab);
        lab_must(&s.lab, work(&s));
        lab_check_images(&s.lab);
        assert_int_equal(lab_count_files(&s.lab, ".tmp"), 0);
        check(&s);
        lab_close(&s.lab);
    }
}

static void copy_is_complete(struct story *s)
{
    new_is_absent_or_whole(s, 'd');
    assert_string_equal(lab_stat(&s->lab, s->new).parent, "");
}

static void a_copy_killed_anywhere_is_completed_by_a_repeat(void **state)
{
    (void)state;
    kill_everywhere(NULL, do_copy, true, copy_is_complete);
}

static void creation_is_complete(struct story *s)
{
    assert_string_equal(lab_stat(&s->lab, s->new).name_label, "new");
    lab_expect(&s->lab, s->new, 0, 0);
}

static void a_creation_killed_anywhere_is_completed_by_a_repeat(void **state)
{
    (void)state;
    kill_everywhere(NULL, do_create, true, creation_is_complete);
}

static void nothing_is_left(struct story *s)
{
    assert_int_equal(lab_count_files(&s->lab, ".qcow2"), 0);
    assert_int_equal(lab_count_files(&s->lab, ".json"), 0);
}

static void a_deletion_killed_anywhere_leaves_no_parents_behind(void **state)
{
    (void)state;
    kill_everywhere(do_fork, do_delete_both, false, nothing_is_left);
}

static void only_base_and_new_are_left(struct story *s)
{
    assert_int_equal(lab_count_files(&s->lab, ".qcow2"), 2);
    lab_expect(&s->lab, s->new, 0, 'd');
}

static void a_deletion_killed_anywhere_keeps_what_others_need(void **state)
{
    (void)state;
    kill_everywhere(do_fork, do_delete_disk, false, only_base_and_new_are_left);
}

static void size_and_text_are_new(struct story *s)
{
    struct vdi_info info = lab_stat(&s->lab, s->disk);

    assert_true(info.virtual_size == 4 * MIB || strcmp(info.name_description, "other text") == 0);
    lab_expect(&s->lab, s->disk, 0, 'd');
}

static void growing_and_naming_can_be_killed_and_repeated(void **state)
{
    (void)state;
    kill_everywhere(NULL, do_resize, true, size_and_text_are_new);
    kill_everywhere(NULL, do_describe, true, size_and_text_are_new);
}

/* The disk as it was forked, and something that was written to it since. */
static struct error *before_going_back(struct story *s)
{
    TRY(do_fork(s));
    lab_write(&s->lab, s->disk, 0, 'e');
    lab_write(&s->lab, s->disk, MIB, 'e');
    return OK;
}

static struct error *do_replace(struct story *s)
{
    struct vdi_info info;

    return sr_ext.vdi_replace(&s->lab.call, &s->lab.sr, s->disk, s->new, &info);
}

static struct error *do_reset(struct story *s)
{
    return sr_ext.vdi_reset(&s->lab.call, &s->lab.sr, s->disk);
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

static void going_back_can_be_killed_and_repeated(void **state)
{
    (void)state;
    kill_everywhere(before_going_back, do_replace, false, disk_is_back_and_new_is_gone);
    kill_everywhere(before_going_back, do_reset, false, disk_is_back);
}

static struct error *do_strip(struct story *s)
{
    return sr_ext.vdi_strip(&s->lab.call, &s->lab.sr, s->new);
}

static void only_a_trace_is_left(struct story *s)
{
    struct vdi_changes changes;

    assert_true(lab_stat(&s->lab, s->new).stripped);
    assert_string_equal(lab_stat(&s->lab, s->new).name_label, "new");
    assert_int_equal(lab_count_files(&s->lab, ".qcow2"), 2);
    lab_must(&s->lab, sr_ext.vdi_changed(&s->lab.call, &s->lab.sr, s->new, s->disk, &changes));
    assert_int_equal(changes.bits[0], 0);
}

static void destroying_data_can_be_killed_and_repeated(void **state)
{
    (void)state;
    kill_everywhere(do_fork, do_strip, true, only_a_trace_is_left);
}

static const char *chain_upper;

/* The new disk is gone again, so the disk lies alone on the base; it lies there on an image with
 * data of its own. */
static struct error *make_chain(struct story *s)
{
    struct vdi_spec spec = {.location = lab_uuid(&s->lab)};
    struct vdi_info info;

    TRY(do_fork(s));
    lab_write(&s->lab, s->disk, MIB, 'e');
    chain_upper = lab_uuid(&s->lab);
    TRY(sr_ext.vdi_fork(&s->lab.call, &s->lab.sr, s->disk, chain_upper, &spec, &info));
    TRY(sr_ext.vdi_resize(&s->lab.call, &s->lab.sr, s->disk, 4 * MIB, &info));
    lab_write(&s->lab, s->disk, 3 * MIB, 'f');
    TRY(sr_ext.vdi_delete(&s->lab.call, &s->lab.sr, s->new));
    return sr_ext.vdi_delete(&s->lab.call, &s->lab.sr, spec.location);
}

static struct error *do_coalesce(struct story *s)
{
    struct vdi_coalesce lower = {.location = chain_upper, .base = s->base};
    struct vdi_coalesce upper = {.location = s->disk, .base = chain_upper};

    TRY(sr_ext.vdi_coalesce(&s->lab.call, &s->lab.sr, &lower, NULL, NULL));
    return sr_ext.vdi_coalesce(&s->lab.call, &s->lab.sr, &upper, NULL, NULL);
}

static void disk_is_one_image(struct story *s)
{
    assert_int_equal(lab_count_files(&s->lab, ".qcow2"), 1);
    assert_int_equal(lab_count_files(&s->lab, ".json"), 1);
    assert_string_equal(lab_stat(&s->lab, s->disk).parent, "");
    disk_is_whole(s);
    lab_expect(&s->lab, s->disk, MIB, 'e');
    lab_expect(&s->lab, s->disk, 2 * MIB, 0);
    lab_expect(&s->lab, s->disk, 3 * MIB, 'f');
}

static void coalescing_can_be_killed_and_repeated(void **state)
{
    (void)state;
    kill_everywhere(make_chain, do_coalesce, true, disk_is_one_image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fork_killed_anywhere_is_completed_by_a_repeat),
        cmocka_unit_test(a_fork_killed_twice_is_completed_by_a_third_try),
        cmocka_unit_test(a_fork_killed_anywhere_can_be_undone),
        cmocka_unit_test(a_copy_killed_anywhere_is_completed_by_a_repeat),
        cmocka_unit_test(a_creation_killed_anywhere_is_completed_by_a_repeat),
        cmocka_unit_test(a_deletion_killed_anywhere_leaves_no_parents_behind),
        cmocka_unit_test(a_deletion_killed_anywhere_keeps_what_others_need),
        cmocka_unit_test(growing_and_naming_can_be_killed_and_repeated),
        cmocka_unit_test(going_back_can_be_killed_and_repeated),
        cmocka_unit_test(destroying_data_can_be_killed_and_repeated),
        cmocka_unit_test(coalescing_can_be_killed_and_repeated),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
