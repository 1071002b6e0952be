/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage-repos/common/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/call.h"
#include "libxapi/base/seam.h"
#include "storage-repos/common/sr_error.h"

#define LOCK_TIMEOUT (120 * USEC_PER_SEC)
#define LOCK_RETRY (5 * USEC_PER_MSEC)

static struct error *make_folder(struct call *call, const char *path)
{
    return mkdir(path, 0700) < 0 && errno != EEXIST
               ? sr_failed_errno(call, SR_FAIL_LOCK, errno, path)
               : OK;
}

/* Whoever gives up what it guards removes the file: then the lock is that of another one. */
static bool is_current(int fd, const char *path)
{
    struct stat held, named;

    return fstat(fd, &held) == 0 && stat(path, &named) == 0 && held.st_ino == named.st_ino &&
           held.st_dev == named.st_dev;
}

struct error *sr_lock(struct call *call, const char *path, const char *whose, int *out)
{
    usec_t deadline = clock_mono() + LOCK_TIMEOUT;
    char *folder = arena_strdup(call->arena, path);

    *strrchr(folder, '/') = '\0';
    TRY(make_folder(call, folder));
    for (;;) {
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

        if (fd < 0)
            return sr_failed_errno(call, SR_FAIL_LOCK, errno, path);
        if (flock(fd, LOCK_EX | LOCK_NB) == 0 && is_current(fd, path)) {
            *out = fd;
            return OK;
        }
        close(fd);
        if (clock_mono() > deadline)
            return sr_failed(call, SR_FAIL_LOCK, "%s: somebody else holds the lock", whose);
        clock_sleep(LOCK_RETRY);
    }
}

void sr_unlock(int lock, const char *path, bool forget)
{
    if (lock && forget)
        unlink(path);
    if (lock)
        close(lock);
}
