/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/db/replace.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "xapid/db/db.h"

/* Folders in folders: the database's has one within. */
#define DEEPEST 4

static struct error *failed(struct arena *arena, const char *what, const char *path)
{
    return error_internal(arena, "restore: cannot %s %s: %s", what, path, strerror(errno));
}

static bool is_there(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

static void remove_tree(struct arena *arena, const char *path, int depth)
{
    DIR *dir = depth < DEEPEST ? opendir(path) : NULL;
    const struct dirent *d;

    while (dir && (d = readdir(dir)))
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0) {
            const char *inner = arena_printf(arena, "%s/%s", path, d->d_name);

            if (unlink(inner) < 0)
                remove_tree(arena, inner, depth + 1);
        }
    if (dir)
        closedir(dir);
    rmdir(path);
}

static struct error *remove_all(struct arena *arena, const char *path)
{
    if (!is_there(path))
        return OK;
    remove_tree(arena, path, 0);
    return is_there(path) ? failed(arena, "remove", path) : OK;
}

static struct error *sync_folder(struct arena *arena, const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool done = fd >= 0 && fsync(fd) == 0;
    int saved = errno;

    if (fd >= 0)
        close(fd);
    errno = saved;
    return done ? OK : failed(arena, "sync", path);
}

/* With the folder that holds both. */
static struct error *move(struct arena *arena, const char *from, const char *to)
{
    if (rename(from, to) < 0)
        return failed(arena, "rename", from);
    return sync_folder(arena, dirname(arena_strdup(arena, to)));
}

static struct error *write_checkpoint(struct arena *arena, const char *dir,
                                      const struct db_root *root)
{
    struct checkpoint *cp;
    struct db_root *empty;
    struct error *e;

    TRY(checkpoint_open(arena, arena_printf(arena, "%s/xapid.db", dir), &cp, &empty));
    root_unref(empty);
    e = checkpoint_flush(arena, cp, root);
    checkpoint_close(cp);
    return e;
}

struct error *db_replace_unstage(struct arena *arena, const char *dir)
{
    const char *staged = arena_printf(arena, "%s.restore", dir);
    const char *making = arena_printf(arena, "%s.new", staged);

    TRY(remove_all(arena, making));
    /* What is half removed shall not be found under the name of a whole one. */
    if (is_there(staged))
        TRY(move(arena, staged, making));
    return remove_all(arena, making);
}

struct error *db_replace_stage(struct arena *arena, const char *dir, const struct db_root *root)
{
    const char *staged = arena_printf(arena, "%s.restore", dir);
    const char *making = arena_printf(arena, "%s.new", staged);

    TRY(db_replace_unstage(arena, dir));
    if (mkdir(making, 0700) < 0)
        return failed(arena, "make", making);
    TRY(write_checkpoint(arena, making, root));
    TRY(sync_folder(arena, making));
    return move(arena, making, staged);
}

struct error *db_replace_settle(struct arena *arena, const char *dir)
{
    const char *staged = arena_printf(arena, "%s.restore", dir);
    const char *before = arena_printf(arena, "%s.before-restore", dir);

    if (!is_there(staged)) {
        /* One that was not made to the end: only a waste, and the next one takes its place. */
        error_ignore(remove_all(arena, arena_printf(arena, "%s.new", staged)));
        return OK;
    }
    /* Where the old one is gone already, a crash came between the two renames. */
    if (is_there(dir)) {
        TRY(remove_all(arena, before));
        TRY(move(arena, dir, before));
    }
    TRY(move(arena, staged, dir));
    log_warning("the database was replaced by a backup; the one before is kept in %s", before);
    return OK;
}
