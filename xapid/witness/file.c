/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* file.c -- what a witness knows of itself, and its directory. */
#include "xapid/witness/witness.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "xapid/auth/file.h"
#include "xapid/ops/faults.h"

#define FILE_LIMIT ((size_t)64 << 10)
#define MAX_MEMBERS 64
#define LOCK_AGAIN (100 * USEC_PER_MSEC)

static const char *path_of(struct arena *arena, const char *dir, const char *name)
{
    return arena_printf(arena, "%s/%s", dir, name);
}

static struct error *failed(struct arena *arena, const char *path)
{
    return error_internal(arena, "%s: %s", path, strerror(errno));
}

static const char *text_of(struct arena *arena, const json_t *json, const char *key)
{
    const char *text = json_string_value(json_object_get(json, key));

    return text ? arena_strdup(arena, text) : "";
}

static struct strings members_of(struct arena *arena, const json_t *list)
{
    size_t n = MIN(json_array_size(list), (size_t)MAX_MEMBERS);
    const char **v = arena_array(arena, const char *, n + 1);

    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_array_get(list, i));

        v[i] = arena_strdup(arena, text ? text : "");
    }
    return (struct strings){n, v};
}

struct error *witness_file_read(struct arena *arena, const char *dir, struct witness_file *out,
                                bool *found)
{
    const char *path = path_of(arena, dir, "witness");
    size_t size = 0;
    char *text;
    json_t *json;

    *out = (struct witness_file){0};
    TRY(secret_file_read(arena, path, FILE_LIMIT, &text, &size));
    *found = text != NULL;
    if (!text)
        return OK;
    json = json_loadb(text, size, 0, NULL);
    out->in = json_is_true(json_object_get(json, "in"));
    out->begun = json_is_true(json_object_get(json, "begun"));
    out->id = strtoull(text_of(arena, json, "id"), NULL, 16);
    out->name = text_of(arena, json, "name");
    out->address = text_of(arena, json, "address");
    out->pool = text_of(arena, json, "pool");
    out->port = (int)json_integer_value(json_object_get(json, "port"));
    out->fingerprint = text_of(arena, json, "fingerprint");
    out->members = members_of(arena, json_object_get(json, "members"));
    json_decref(json);
    if (out->id && *out->address)
        return OK;
    return error_internal(arena,
                          "%s cannot be read: nobody knows which witness this is.  Remove it from "
                          "its pool (xapi-witness remove HOST), empty %s, and join again",
                          path, dir);
}

struct error *witness_file_write(struct arena *arena, const char *dir,
                                 const struct witness_file *file)
{
    const char *path = path_of(arena, dir, "witness");
    json_t *members = json_array(), *json;
    AUTO(file_lock) lock = {0};
    struct error *e;
    char *text;

    for (size_t i = 0; i < file->members.n; i++)
        json_array_append_new(members, json_string(file->members.v[i]));
    json = json_pack("{s:b, s:b, s:s, s:s, s:s, s:s, s:i, s:s, s:o}", "in", file->in, "begun",
                     file->begun, "id", arena_printf(arena, "%016" PRIx64, file->id), "name",
                     file->name, "address", file->address, "pool", file->pool, "port", file->port,
                     "fingerprint", file->fingerprint, "members", members);
    text = json_dumps(json, JSON_INDENT(1));
    json_decref(json);
    e = file_lock_take(arena, path, &lock);
    if (!e)
        e = secret_file_replace(arena, path, text, strlen(text));
    free(text);
    return e;
}

/* The file goes last: until then the same can be asked for again. */
struct error *witness_forget(struct arena *arena, const char *dir, const struct witness_file *file,
                             struct faults *faults)
{
    static const char *const names[] = {"peer.pem", "witness"};
    const char *from = path_of(arena, dir, "db");
    const char *to = arena_printf(arena, "%s/db.of-%016" PRIx64, dir, file->id);

    if (rename(from, to) < 0 && errno != ENOENT)
        return failed(arena, from);
    faults_in(faults, "witness_leave", "kept");
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (unlink(path_of(arena, dir, names[i])) < 0 && errno != ENOENT)
            return failed(arena, path_of(arena, dir, names[i]));
    return OK;
}

struct error *witness_lock_take(struct arena *arena, const char *dir, usec_t within,
                                struct witness_lock *out)
{
    const char *path = path_of(arena, dir, "lock");
    usec_t deadline = clock_mono() + within;
    bool held;
    int fd;

    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return failed(arena, dir);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return failed(arena, path);
    while (!(held = flock(fd, LOCK_EX | LOCK_NB) == 0) && clock_mono() < deadline)
        clock_sleep(LOCK_AGAIN);
    if (!held) {
        close(fd);
        return error_internal(arena, "another xapi-witness is at work in %s", dir);
    }
    out->fd = fd;
    return OK;
}

void witness_lock_release(struct witness_lock *lock)
{
    if (lock->fd)
        close(lock->fd);
}
