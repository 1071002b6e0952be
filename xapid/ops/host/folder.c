/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/host/folder.h"

#include <errno.h>
#include <fts.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static FTS *open_tree(const char *path)
{
    char *const paths[] = {(char *)path, NULL};

    return fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);
}

int64_t folder_size(const char *path)
{
    FTS *tree = open_tree(path);
    int64_t size = 0;
    FTSENT *entry;

    while (tree && (entry = fts_read(tree)))
        if (entry->fts_info == FTS_F)
            size += entry->fts_statp->st_size;
    if (tree)
        fts_close(tree);
    return size;
}

static bool remove_entry(const FTSENT *entry)
{
    switch (entry->fts_info) {
    case FTS_D: /* comes again when it is empty */
        return true;
    case FTS_DP:
        return rmdir(entry->fts_accpath) == 0;
    case FTS_NS:
        return entry->fts_errno == ENOENT;
    case FTS_DNR:
    case FTS_ERR:
        errno = entry->fts_errno;
        return false;
    default:
        return unlink(entry->fts_accpath) == 0;
    }
}

struct error *folder_remove(struct call *call, const char *path)
{
    FTS *tree = open_tree(path);
    struct error *e = OK;
    FTSENT *entry;

    if (!tree)
        return errno == ENOENT
                   ? OK
                   : error_internal(call->arena, "cannot read %s: %s", path, strerror(errno));
    while (!e && (entry = fts_read(tree)))
        if (!remove_entry(entry))
            e = error_internal(call->arena, "cannot delete %s: %s", entry->fts_path,
                               strerror(errno));
    fts_close(tree);
    return e;
}
