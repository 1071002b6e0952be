/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * errors.c -- each call by which an operation of a driver looks at or changes files fails in turn.
 *
 * usage: storage-errors DRIVER [--all] [STORY]
 *
 * DRIVER is "file", "ext", "iso"; "file-apart", each of whose calls is a process of its own, which
 * takes part in this; or "nfs", the same on a server that is played (tests/lib/fake-nfs, as root).
 *
 * Of the calls that concern the repository's folder (failing.h), in this process and in those that
 * read and write disks for it, the n-th fails with EIO, ENOSPC, EACCES or EMFILE (in turn; --all:
 * with each); a run of qemu-img is one of them, and fails before it has begun or when it has done
 * its work.  n goes up until the operation is not disturbed any more.  Each time there must be an
 * error that says why, what was there must be whole, and the operation repeated, or undone, must
 * leave what it would have left without the failure. What was only to be tidied up may fail without
 * an error.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/child.h"
#include "libxapi/value/value.h"
#include "storage-repos/apart/apart.h"
#include "tests/storage/failing.h"
#include "tests/unit/storage/stories.h"

/*** what has to hold ***/

static void says_why(const struct story *s, const struct error *e, int err)
{
    const char *const whats[] = {s->disk, s->new,        s->base,   s->upper, s->lab.site.mounts,
                                 "nas:/", s->lab.folder, "qemu-img"};
    const char *text = error_line(s->lab.call.arena, e);
    bool says_what = false;

    if (err == ENOSPC && error_is(e, "SR_FULL"))
        return;
    for (size_t i = 0; i < ARRAY_SIZE(whats); i++)
        says_what |= whats[i] && strstr(text, whats[i]);
    if (!strstr(text, strerrordesc_np(err)) || !says_what)
        fail_msg("it does not say what failed, and why: %s", text);
}

/* Every image carries something or is a disk; each has its sidecar, and nothing is half done. */
static void nothing_is_left_over(struct story *s)
{
    struct vdi_info *v = NULL;
    size_t n;

    lab_must(&s->lab, s->lab.sr.driver->scan(&s->lab.call, &s->lab.sr, &n, &v));
    for (size_t i = 0; i < n; i++) {
        bool carries = false;

        for (size_t k = 0; k < n; k++)
            carries |= strcmp(v[k].parent, v[i].location) == 0;
        if (v[i].hidden && !carries)
            fail_msg("%s is hidden and carries nothing", v[i].location);
    }
    assert_int_equal(lab_count_files(&s->lab, ".tmp"), 0);
    if (s->lab.sr.driver->vdi_describe)
        assert_int_equal(lab_count_files(&s->lab, ".json"), n);
    lab_check_images(&s->lab);
}

struct round {
    const struct story_kind *kind;
    const struct lab_kind *lab;
    int nth, err;
    bool undo;
};

/* False when nothing failed any more. */
static bool play(const struct round *r)
{
    const struct story_kind *k = r->kind;
    const struct failing *failed;
    struct error *e;
    struct story s;
    bool more;

    story_begin(&s, r->lab);
    if (k->before)
        lab_must(&s.lab, k->before(&s));
    failing_arm(s.lab.site.mounts, r->nth, r->err);
    e = k->work(&s);
    failed = failing_disarm();
    more = failed->what[0];
    if (more)
        print_message("# %s, call %d (%s) fails with %s: %s\n", k->name, r->nth, failed->what,
                      strerrorname_np(failed->err), e ? error_line(&s.lab.arena, e) : "no matter");
    if (e)
        says_why(&s, e, failed->err);
    if (k->judge)
        k->judge(&s, e);
    if (k->disk_stays)
        story_disk_is_whole(&s);
    else
        lab_restart(&s.lab);
    if (e && r->undo) {
        e = k->undo(&s);
        if (e)
            lab_fails(&s.lab, e, "VDI_IN_USE"); /* the disk lies on the base already */
        assert_null(lab_scan(&s.lab, s.new, NULL));
        story_disk_is_whole(&s);
    } else {
        lab_must(&s.lab, k->work(&s));
        k->check(&s);
    }
    nothing_is_left_over(&s);
    lab_close(&s.lab);
    return more;
}

struct options {
    struct lab_kind lab;
    bool all;
    const char *only; /* the name of a story; NULL: all */
    const char *top;  /* of the server that is played; NULL: none is */
};

static void try_story(const struct options *o, const struct story_kind *k, size_t first, bool undo)
{
    static const int errors[] = {EIO, ENOSPC, EACCES, EMFILE};
    struct round r = {.kind = k, .lab = &o->lab, .undo = undo};

    do {
        r.err = errors[(first + (size_t)r.nth) % ARRAY_SIZE(errors)];
        r.nth++;
    } while (play(&r));
    assert_true(r.nth > 2); /* else nothing was tried */
}

static void every_failure_is_told_and_can_be_mended(void **state)
{
    const struct options *o = *state;

    for (const struct story_kind *k = story_kinds; k->name; k++) {
        if (o->only && strcmp(o->only, k->name) != 0)
            continue;
        if ((o->lab.driver->features & k->needs) != k->needs)
            continue;
        for (size_t first = 0; first < (o->all ? 4 : 1); first++) {
            try_story(o, k, first, false);
            if (k->undo)
                try_story(o, k, first + 1, true);
        }
    }
}

/*** where it is ***/

/* A server that is played, and a folder for what is mounted, which no other process sees. */
static void play_server(struct options *o, struct arena *arena)
{
    char top[] = "/tmp/xapid-storage-XXXXXX";
    const char *argv[4] = {FAKE_NFS};
    struct child_spec spec = {.argv = argv};
    struct child_result result = {.status = -1};

    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        printf("ok - # SKIP nothing can be mounted: %s\n", strerrordesc_np(errno));
        exit(77);
    }
    o->top = mkdtemp(arena_strdup(arena, top));
    argv[1] = arena_printf(arena, "%s/exports", o->top);
    argv[2] = o->lab.system_root = arena_printf(arena, "%s/system", o->top);
    o->lab.mounts = arena_printf(arena, "%s/mounts", o->top);
    o->lab.config = strmap_with(arena, o->lab.config, "server", "nas");
    o->lab.config = strmap_with(arena, o->lab.config, "serverpath", "/vm");
    if (child_run(arena, &spec, &result) || result.status ||
        mkdir(arena_printf(arena, "%s/vm", argv[1]), 0700) < 0 || mkdir(o->lab.mounts, 0700) < 0) {
        fprintf(stderr, "no server can be played: %s\n", result.errors ? result.errors : "");
        exit(2);
    }
}

/* What it mounted goes with this process; a test that failed may have left some. */
static void end_server(const struct options *o, struct arena *arena)
{
    const char *argv[] = {"rm", "-rf", "--one-file-system", "--", o->top, NULL};
    struct child_spec spec = {.argv = argv};
    struct child_result result;

    if (o->top && child_run(arena, &spec, &result) == OK && result.status)
        fprintf(stderr, "%s stays behind: %s\n", o->top, result.errors);
}

static const struct sr_driver *find_driver(const char *name)
{
    return strcmp(name, "file-apart") == 0 ? &sr_file_apart : sr_driver_by_type(name);
}

int main(int argc, char **argv)
{
    struct options o = {.lab.driver = find_driver(argc > 1 ? argv[1] : "")};
    const struct CMUnitTest tests[] = {
        {"every_failure_is_told_and_can_be_mended", every_failure_is_told_and_can_be_mended, NULL,
         NULL, &o},
    };
    struct arena arena = {0};
    int failed;

    if (!o.lab.driver) {
        fprintf(stderr, "usage: storage-errors DRIVER [--all] [STORY]\n");
        return 2;
    }
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--all") == 0)
            o.all = true;
        else
            o.only = argv[i];
    }
    if (o.lab.driver == &sr_nfs)
        play_server(&o, &arena);
    failed = cmocka_run_group_tests_name(argv[1], tests, NULL, NULL);
    end_server(&o, &arena);
    arena_release(&arena);
    return failed ? 1 : 0;
}
