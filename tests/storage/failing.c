/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/storage/failing.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#define SHARED "XAPID_FAILING"
#define LIBRARY "libstorage-failing.so"

static struct failing *shared; /* NULL: nothing fails */
/* Entries of the environment of those who take part: where it is, and this file as a library. */
static char place[64], preload[PATH_MAX + 64];

/*** what is shared ***/

static bool map(int fd)
{
    void *at = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (at != MAP_FAILED)
        shared = at;
    return at != MAP_FAILED;
}

/* In a program that was started by one that has it. */
__attribute__((constructor)) static void take_part(void)
{
    const char *path = getenv(SHARED);
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;

    if (fd < 0)
        return;
    snprintf(place, sizeof place, SHARED "=%s", path);
    snprintf(preload, sizeof preload, "LD_PRELOAD=%s", getenv("LD_PRELOAD"));
    if (!map(fd))
        abort();
    close(fd);
}

/* The library lies beside the program of the tests. */
static void begin_sharing(void)
{
    int fd = memfd_create("failing", MFD_CLOEXEC);
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

    if (n < 0 || fd < 0 || ftruncate(fd, sizeof *shared) < 0 || !map(fd))
        abort();
    self[n] = '\0';
    *strrchr(self, '/') = '\0';
    snprintf(preload, sizeof preload, "LD_PRELOAD=%s/" LIBRARY, self);
    snprintf(place, sizeof place, SHARED "=/proc/%d/fd/%d", (int)getpid(), fd);
}

void failing_arm(const char *folder, int nth, int err)
{
    if (!shared)
        begin_sharing();
    *shared = (struct failing){.nth = nth, .wanted = err};
    snprintf(shared->folder, sizeof shared->folder, "%s", folder);
}

const struct failing *failing_disarm(void)
{
    shared->folder[0] = '\0';
    return shared;
}

/*** which call it is ***/

/* What a call can fail with: there is no permission missing to read an open file, and none but
 * opening needs a descriptor. */
enum sort { OPENS, NAMES, WORKS };

static bool is_inside(const char *path)
{
    size_t n = strlen(shared->folder);

    return strncmp(path, shared->folder, n) == 0 && (path[n] == '/' || path[n] == '\0');
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

/* After vfork it is asked in a process that shares all of our memory. */
static bool is_the_one(bool inside, enum sort sort, const char *what)
{
    int err = shared->wanted;

    if (!inside || __atomic_add_fetch(&shared->seen, 1, __ATOMIC_SEQ_CST) != shared->nth)
        return false;
    if ((sort == WORKS && err == EACCES) || (sort != OPENS && err == EMFILE))
        err = EIO;
    snprintf(shared->what, sizeof shared->what, "%s", what);
    shared->err = err;
    errno = err;
    return true;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAILS(sort, inside, name) (shared && shared->folder[0] && is_the_one(inside, sort, #name))
/* A call that is passed on as it is. */
#define CALL(sort, inside, name, ...)                                                              \
    FAILS(sort, inside, name) ? (__typeof__(name(__VA_ARGS__)))-1 : REAL(name)(__VA_ARGS__)

static mode_t mode_of(int flags, va_list ap)
{
    return flags & O_CREAT ? va_arg(ap, mode_t) : 0;
}

/*** names ***/

int open64(const char *path, int flags, ...)
{
    mode_t mode;
    va_list ap;

    va_start(ap, flags);
    mode = mode_of(flags, ap);
    va_end(ap);
    return CALL(OPENS, is_inside(path), open64, path, flags, mode);
}

int openat64(int dir, const char *path, int flags, ...)
{
    mode_t mode;
    va_list ap;

    va_start(ap, flags);
    mode = mode_of(flags, ap);
    va_end(ap);
    return CALL(OPENS, at_is_inside(dir, path), openat64, dir, path, flags, mode);
}

int stat64(const char *restrict path, struct stat64 *restrict out)
{
    return CALL(NAMES, is_inside(path), stat64, path, out);
}

int fstatat64(int dir, const char *restrict path, struct stat64 *restrict out, int flags)
{
    return CALL(NAMES, at_is_inside(dir, path), fstatat64, dir, path, out, flags);
}

int access(const char *path, int mode)
{
    return CALL(NAMES, is_inside(path), access, path, mode);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    return CALL(NAMES, at_is_inside(to_dir, to), renameat, from_dir, from, to_dir, to);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    return CALL(NAMES, at_is_inside(to_dir, to), linkat, from_dir, from, to_dir, to, flags);
}

int unlinkat(int dir, const char *path, int flags)
{
    return CALL(NAMES, at_is_inside(dir, path), unlinkat, dir, path, flags);
}

int mkdir(const char *path, mode_t mode)
{
    return CALL(NAMES, is_inside(path), mkdir, path, mode);
}

int rmdir(const char *path)
{
    return CALL(NAMES, is_inside(path), rmdir, path);
}

/*** what is open ***/

int fstat64(int fd, struct stat64 *out)
{
    return CALL(WORKS, fd_is_inside(fd), fstat64, fd, out);
}

int fstatvfs64(int fd, struct statvfs64 *out)
{
    return CALL(WORKS, fd_is_inside(fd), fstatvfs64, fd, out);
}

struct dirent64 *readdir64(DIR *d)
{
    return FAILS(WORKS, fd_is_inside(dirfd(d)), readdir64) ? NULL : REAL(readdir64)(d);
}

int flock(int fd, int operation)
{
    return CALL(WORKS, fd_is_inside(fd), flock, fd, operation);
}

int fsync(int fd)
{
    return CALL(WORKS, fd_is_inside(fd), fsync, fd);
}

int fdatasync(int fd)
{
    return CALL(WORKS, fd_is_inside(fd), fdatasync, fd);
}

int ftruncate64(int fd, off64_t size)
{
    return CALL(WORKS, fd_is_inside(fd), ftruncate64, fd, size);
}

ssize_t read(int fd, void *buf, size_t n)
{
    return CALL(WORKS, fd_is_inside(fd), read, fd, buf, n);
}

ssize_t pread64(int fd, void *buf, size_t n, off64_t offset)
{
    return CALL(WORKS, fd_is_inside(fd), pread64, fd, buf, n, offset);
}

ssize_t preadv64(int fd, const struct iovec *v, int n, off64_t offset)
{
    return CALL(WORKS, fd_is_inside(fd), preadv64, fd, v, n, offset);
}

ssize_t write(int fd, const void *buf, size_t n)
{
    return CALL(WORKS, fd_is_inside(fd), write, fd, buf, n);
}

ssize_t pwrite64(int fd, const void *buf, size_t n, off64_t offset)
{
    return CALL(WORKS, fd_is_inside(fd), pwrite64, fd, buf, n, offset);
}

ssize_t pwritev64(int fd, const struct iovec *v, int n, off64_t offset)
{
    return CALL(WORKS, fd_is_inside(fd), pwritev64, fd, v, n, offset);
}

/*** programs ***/

static bool is_one_of(const char *name, const char *const names[])
{
    while (*names && strcmp(*names, name) != 0)
        names++;
    return *names != NULL;
}

/* Where there is no room qemu-img has made its file; else the program has not begun. */
static int run_failed(const char *path, const char *name, char *const argv[], char *const env[])
{
    const char *instead[40] = {"sh", "-c", NULL, "sh", path};
    char script[128];
    size_t n = 1;

    snprintf(script, sizeof script, "%s echo '%s: %s' >&2; exit 1",
             shared->err == ENOSPC && strcmp(name, "qemu-img") == 0 ? "\"$@\";" : "", name,
             strerrordesc_np(shared->err));
    instead[2] = script;
    for (; argv[n] && n + 5 < sizeof instead / sizeof *instead; n++)
        instead[n + 4] = argv[n];
    return REAL(execve)("/bin/sh", (char *const *)instead, env);
}

static int run_with_us(const char *path, char *const argv[], char *const env[])
{
    const char *more[20] = {place, preload};
    size_t n = 0;

    for (; env[n] && n + 3 < sizeof more / sizeof *more; n++)
        more[n + 2] = env[n];
    return REAL(execve)(path, argv, (char *const *)more);
}

int execve(const char *path, char *const argv[], char *const env[])
{
    static const char *const fail[] = {"qemu-img", "qemu-nbd", "mount", NULL};
    static const char *const join[] = {"xapid-storage", "qemu-nbd", NULL};
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;

    if (FAILS(OPENS, is_one_of(name, fail), execve))
        return run_failed(path, name, argv, env);
    if (shared && is_one_of(name, join))
        return run_with_us(path, argv, env);
    return REAL(execve)(path, argv, env);
}
