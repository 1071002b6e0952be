/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * store.c -- files: <state>/stats/<owner>-<uuid>, one for each object, replaced as a whole.
 *
 * They are read with limits and checked; one that is damaged is set aside and its history begins
 * anew.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "xapid/stats/table.h"

#define FILE_MAX ((size_t)64 << 20)
#define UNKNOWN_FOR 3600 /* seconds that a file of an unknown object is kept */
#define NEW_SUFFIX ".new"

static char *path_of(const struct stats *stats, enum stats_owner owner, const char *uuid,
                     const char *suffix)
{
    return xasprintf("%s/%s-%s%s", stats->dir, stats_owner_names[owner], uuid, suffix);
}

/*** reading ***/

ssize_t store_read(const char *path, size_t limit, char **data)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t done = 0, n = 1;
    struct stat st;

    *data = NULL;
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) < 0 || (size_t)st.st_size > limit) {
        close(fd);
        errno = EFBIG;
        return -1;
    }
    *data = xmalloc((size_t)st.st_size + 1);
    while (done < st.st_size && n > 0) {
        n = read(fd, *data + done, (size_t)(st.st_size - done));
        done += MAX(n, 0);
    }
    close(fd);
    return n < 0 ? -1 : done;
}

struct rrd *store_load(const struct stats *stats, enum stats_owner owner, const char *uuid)
{
    char *path = path_of(stats, owner, uuid, ""), *aside;
    const char *why = NULL;
    struct rrd *rrd = NULL;
    char *data;
    ssize_t size = store_read(path, FILE_MAX, &data);

    if (size < 0 && errno != ENOENT)
        log_warning("statistics: %s cannot be read: %s", path, strerrordesc_np(errno));
    if (size >= 0)
        rrd = rrd_decode(data, (size_t)size, &why);
    if (size >= 0 && !rrd) {
        aside = path_of(stats, owner, uuid, ".damaged");
        log_warning("statistics: %s: %s; it is kept as %s and the history begins anew", path, why,
                    aside);
        if (rename(path, aside) < 0)
            log_warning("statistics: %s: %s", path, strerrordesc_np(errno));
        free(aside);
    }
    free(data);
    free(path);
    return rrd;
}

/*** writing ***/

static bool write_file(const char *path, const struct buf *data)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    size_t done = 0;
    ssize_t n = 1;

    if (fd < 0)
        return false;
    while (done < data->len && n > 0) {
        n = write(fd, data->data + done, data->len - done);
        done += n > 0 ? (size_t)n : 0;
    }
    /* Otherwise a power cut could leave the new name on no bytes. */
    if (done < data->len || fdatasync(fd) < 0) {
        close(fd);
        return false;
    }
    return close(fd) == 0;
}

void store_save(const struct stats *stats, enum stats_owner owner, const char *uuid,
                const struct rrd *rrd)
{
    char *path = path_of(stats, owner, uuid, ""), *fresh = path_of(stats, owner, uuid, NEW_SUFFIX);
    struct buf data = {0};

    rrd_encode(&data, rrd);
    if (!write_file(fresh, &data) || rename(fresh, path) < 0)
        log_warning("statistics: %s cannot be written: %s", path, strerrordesc_np(errno));
    buf_release(&data);
    free(fresh);
    free(path);
}

/*** sweeping ***/

static bool is_known(struct call *call, const char *name)
{
    static const int classes[] = {CLASS_host, CLASS_vm, CLASS_sr};
    ref_t ref;

    for (size_t i = 0; i < ARRAY_SIZE(classes); i++) {
        size_t n = strlen(stats_owner_names[i]);

        if (strncmp(name, stats_owner_names[i], n) == 0 && name[n] == '-' &&
            strlen(name + n + 1) == UUID_TEXT_SIZE - 1)
            return db_by_uuid(call, classes[i], name + n + 1, &ref) == OK;
    }
    return false;
}

void store_sweep(const struct stats *stats, struct call *call)
{
    time_t now = (time_t)(clock_wall() / USEC_PER_SEC);
    DIR *dir = opendir(stats->dir);
    const struct dirent *entry;
    struct stat st;

    while (dir && (entry = readdir(dir))) {
        if (*entry->d_name == '.' || is_known(call, entry->d_name))
            continue;
        if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(st.st_mode) && st.st_mtime < now - UNKNOWN_FOR)
            unlinkat(dirfd(dir), entry->d_name, 0);
    }
    if (dir)
        closedir(dir);
}
