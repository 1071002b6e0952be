/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * errors.c -- each call by which an operation of a driver changes files fails in turn.
 *
 * usage: storage-errors DRIVER [--all] [STORY]
 *
 * The program has functions of its own in the place of the C library's: of those that concern the
 * repository's folder the n-th fails with EIO, ENOSPC or EACCES (in turn; --all: with each); a run
 * of qemu-img is one of them, and fails before it has begun or when it has done its work.  n goes
 * up until the operation is not disturbed any more.  Each time there must be an error that says
 * why, what was there must be whole, and the operation repeated, or undone, must leave what it
 * would have left without the failure. What was only to be tidied up may fail without an error.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/storage/stories.h"

/*** what fails ***/

static struct {
    const char *folder; /* NULL: nothing fails */
    int nth, seen;
    int err;
    const char *what; /* the call that failed; NULL: none has */
} fault;

static void arm(const char *folder, int nth, int err)
{
    fault.what = NULL;
    fault.seen = 0;
    fault.nth = nth;
    fault.err = err;
    fault.folder = folder;
}

static const char *disarm(void)
{
    fault.folder = NULL;
    return fault.what;
}

static bool is_inside(const char *path)
{
    size_t n = strlen(fault.folder);

    return strncmp(path, fault.folder, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

static bool fd_is_inside(int fd)
{
    char link[64], path[PATH_MAX];
    ssize_t n;

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof path - 1);
    if (n < 0)
        return false;
    path[n] = '\0';
    return is_inside(path);
}

static bool at_is_inside(int fd, const char *path)
{
    return path[0] == '/' || fd == AT_FDCWD ? is_inside(path) : fd_is_inside(fd);
}

/* Whether this call is the one.  After fork it is asked in a process that shares our memory. */
static bool is_the_one(bool inside, const char *what)
{
    if (!inside || ++fault.seen != fault.nth)
        return false;
    fault.what = what;
    errno = fault.err;
    return true;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAILS(inside, name) (fault.folder && is_the_one(inside, #name))

static mode_t mode_of(int flags, va_list ap)
{
    return flags & O_CREAT ? va_arg(ap, mode_t) : 0;
}

int open64(const char *path, int flags, ...)
{
    mode_t mode;
    va_list ap;

    va_start(ap, flags);
    mode = mode_of(flags, ap);
    va_end(ap);
    return FAILS(is_inside(path), open64) ? -1 : REAL(open64)(path, flags, mode);
}

int openat64(int dir, const char *path, int flags, ...)
{
    mode_t mode;
    va_list ap;

    va_start(ap, flags);
    mode = mode_of(flags, ap);
    va_end(ap);
    return FAILS(at_is_inside(dir, path), openat64) ? -1 : REAL(openat64)(dir, path, flags, mode);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    return FAILS(at_is_inside(to_dir, to), renameat) ? -1
                                                     : REAL(renameat)(from_dir, from, to_dir, to);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    return FAILS(at_is_inside(to_dir, to), linkat)
               ? -1
               : REAL(linkat)(from_dir, from, to_dir, to, flags);
}

int unlinkat(int dir, const char *path, int flags)
{
    return FAILS(at_is_inside(dir, path), unlinkat) ? -1 : REAL(unlinkat)(dir, path, flags);
}

int mkdir(const char *path, mode_t mode)
{
    return FAILS(is_inside(path), mkdir) ? -1 : REAL(mkdir)(path, mode);
}

int rmdir(const char *path)
{
    return FAILS(is_inside(path), rmdir) ? -1 : REAL(rmdir)(path);
}

int fsync(int fd)
{
    return FAILS(fd_is_inside(fd), fsync) ? -1 : REAL(fsync)(fd);
}

int fdatasync(int fd)
{
    return FAILS(fd_is_inside(fd), fdatasync) ? -1 : REAL(fdatasync)(fd);
}

int ftruncate64(int fd, off64_t size)
{
    return FAILS(fd_is_inside(fd), ftruncate64) ? -1 : REAL(ftruncate64)(fd, size);
}

ssize_t read(int fd, void *buf, size_t n)
{
    return FAILS(fd_is_inside(fd), read) ? -1 : REAL(read)(fd, buf, n);
}

ssize_t pread64(int fd, void *buf, size_t n, off64_t offset)
{
    return FAILS(fd_is_inside(fd), pread64) ? -1 : REAL(pread64)(fd, buf, n, offset);
}

ssize_t write(int fd, const void *buf, size_t n)
{
    return FAILS(fd_is_inside(fd), write) ? -1 : REAL(write)(fd, buf, n);
}

/* Where there is no room it has made its file; else it has not begun. */
int execve(const char *path, char *const argv[], char *const env[])
{
    const char *name = strrchr(path, '/');
    const char *instead[40] = {
        "sh", "-c",
        fault.err == ENOSPC ? "\"$@\"; echo 'qemu-img: No space left on device' "
                              ">&2; exit 1"
        : fault.err == EIO  ? "echo 'qemu-img: Input/output error' >&2; exit 1"
                            : "echo 'qemu-img: Permission denied' >&2; exit 1",
        "sh", path};
    size_t n = 1;

    if (!FAILS(name && strcmp(name, "/qemu-img") == 0, execve))
        return REAL(execve)(path, argv, env);
    for (; argv[n] && n + 5 < ARRAY_SIZE(instead); n++)
        instead[n + 4] = argv[n];
    return REAL(execve)("/bin/sh", (char *const *)instead, env);
}

/*** what has to hold ***/

static void says_why(const struct story *s, const struct error *e, int err)
{
    const char *const whats[] = {s->disk, s->new, s->base, s->upper, s->lab.folder, "qemu-img"};
    const char *text = error_line(s->lab.call.arena, e);
    bool says_what = false;

    if (err == ENOSPC && error_is(e, "SR_FULL"))
        return;
    for (size_t i = 0; i < ARRAY_SIZE(whats); i++)
        says_what |= whats[i] && strstr(text, whats[i]);
    if (!strstr(text, strerror(err)) || !says_what)
        fail_msg("it does not say what failed, and why: %s", text);
}

/* Every image carries something or is a disk; each has its sidecar, and nothing is half done. */
static void nothing_is_left_over(struct story *s)
{
    struct vdi_info *v;
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
    const char *failed;
    struct error *e;
    struct story s;

    story_begin(&s, r->lab);
    if (k->before)
        lab_must(&s.lab, k->before(&s));
    arm(s.lab.folder, r->nth, r->err);
    e = k->work(&s);
    failed = disarm();
    if (failed)
        print_message("# %s, call %d (%s) fails with %s: %s\n", k->name, r->nth, failed,
                      strerrorname_np(r->err), e ? error_line(&s.lab.arena, e) : "no matter");
    if (e)
        says_why(&s, e, r->err);
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
    return failed != NULL;
}

struct options {
    struct lab_kind lab;
    bool all;
    const char *only; /* the name of a story; NULL: all */
};

static void try_story(const struct options *o, const struct story_kind *k, size_t first, bool undo)
{
    static const int errors[] = {EIO, ENOSPC, EACCES};
    struct round r = {.kind = k, .lab = &o->lab, .undo = undo};

    do {
        r.err = errors[(first + (size_t)r.nth) % ARRAY_SIZE(errors)];
        r.nth++;
    } while (play(&r));
    assert_true(r.nth > 4); /* else nothing was tried */
}

static void every_failure_is_told_and_can_be_mended(void **state)
{
    const struct options *o = *state;

    for (const struct story_kind *k = story_kinds; k->name; k++) {
        if (o->only && strcmp(o->only, k->name) != 0)
            continue;
        for (size_t first = 0; first < (o->all ? 3 : 1); first++) {
            try_story(o, k, first, false);
            if (k->undo)
                try_story(o, k, first + 1, true);
        }
    }
}

int main(int argc, char **argv)
{
    struct options o = {.lab.driver = sr_driver_by_type(argc > 1 ? argv[1] : "")};
    const struct CMUnitTest tests[] = {
        {"every_failure_is_told_and_can_be_mended", every_failure_is_told_and_can_be_mended, NULL,
         NULL, &o},
    };

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
    return cmocka_run_group_tests_name(argv[1], tests, NULL, NULL) ? 1 : 0;
}
