/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/join/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "xapid/auth/file.h"

#define FILE_LIMIT ((size_t)256 << 10)
#define MAX_HOSTS 64
/* Of a token that is part of a file's name. */
#define NAME_PART 8

static const char *path_of(struct arena *arena, const char *dir, const char *name)
{
    return arena_printf(arena, "%s/%s", dir, name);
}

static struct error *failed(struct arena *arena, const char *path)
{
    return error_internal(arena, "%s: %s", path, strerror(errno));
}

static struct error *sync_folder(struct arena *arena, const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool done = fd >= 0 && fsync(fd) == 0;
    struct error *e = done ? OK : failed(arena, dir);

    if (fd >= 0)
        close(fd);
    return e;
}

static struct error *remove_file(struct arena *arena, const char *dir, const char *name)
{
    const char *path = path_of(arena, dir, name);

    if (unlink(path) < 0 && errno != ENOENT)
        return failed(arena, path);
    return sync_folder(arena, dir);
}

/*** <state>/joining ***/

static const char *text_of(struct arena *arena, const json_t *json, const char *key)
{
    const char *text = json_string_value(json_object_get(json, key));

    return text ? arena_strdup(arena, text) : "";
}

static void read_lists(struct arena *arena, const json_t *json, struct join_file *out)
{
    const json_t *hosts = json_object_get(json, "hosts"),
                 *members = json_object_get(json, "members");
    size_t n = MIN(json_array_size(hosts), (size_t)MAX_HOSTS),
           n_members = MIN(json_array_size(members), (size_t)MAX_HOSTS);
    struct join_host *v = arena_array(arena, struct join_host, n + 1);
    const char **m = arena_array(arena, const char *, n_members + 1);

    for (size_t i = 0; i < n; i++) {
        const json_t *h = json_array_get(hosts, i);

        v[i] = (struct join_host){text_of(arena, h, "address"),
                                  (int)json_integer_value(json_object_get(h, "port")),
                                  text_of(arena, h, "fingerprint")};
    }
    for (size_t i = 0; i < n_members; i++) {
        const char *text = json_string_value(json_array_get(members, i));

        m[i] = arena_strdup(arena, text ? text : "");
    }
    out->n_hosts = n;
    out->hosts = v;
    out->members = (struct strings){n_members, m};
}

struct error *join_file_read(struct arena *arena, const char *dir, struct join_file *out,
                             bool *found)
{
    const char *path = path_of(arena, dir, "joining");
    size_t size = 0;
    char *text;
    json_t *json;

    *out = (struct join_file){0};
    TRY(secret_file_read(arena, path, FILE_LIMIT, &text, &size));
    *found = text != NULL;
    if (!text)
        return OK;
    json = json_loadb(text, size, 0, NULL);
    out->in = json_is_true(json_object_get(json, "in"));
    out->token = text_of(arena, json, "token");
    out->id = strtoull(text_of(arena, json, "id"), NULL, 16);
    read_lists(arena, json, out);
    json_decref(json);
    if (*out->token && out->id)
        return OK;
    return error_internal(
        arena,
        "%s cannot be read: nobody knows whether this host has become a member of "
        "a pool.  If the pool has it, remove it there; then remove the file",
        path);
}

struct error *join_file_write(struct arena *arena, const char *dir, const struct join_file *file)
{
    const char *path = path_of(arena, dir, "joining");
    json_t *hosts = json_array(), *members = json_array(), *json;
    AUTO(file_lock) lock = {0};
    struct error *e;
    char *text;

    for (size_t i = 0; i < file->n_hosts; i++)
        json_array_append_new(hosts, json_pack("{s:s, s:i, s:s}", "address", file->hosts[i].address,
                                               "port", file->hosts[i].port, "fingerprint",
                                               file->hosts[i].fingerprint));
    for (size_t i = 0; i < file->members.n; i++)
        json_array_append_new(members, json_string(file->members.v[i]));
    json =
        json_pack("{s:b, s:s, s:s, s:o, s:o}", "in", file->in, "token", file->token, "id",
                  arena_printf(arena, "%016" PRIx64, file->id), "hosts", hosts, "members", members);
    text = json_dumps(json, JSON_INDENT(1));
    json_decref(json);
    e = file_lock_take(arena, path, &lock);
    if (!e)
        e = secret_file_replace(arena, path, text, strlen(text));
    free(text);
    return e;
}

struct error *join_file_remove(struct arena *arena, const char *dir)
{
    return remove_file(arena, dir, "joining");
}

/*** <state>/left ***/

struct error *left_file_write(struct arena *arena, const char *dir, uint64_t id)
{
    const char *path = path_of(arena, dir, "left");
    const char *text = arena_printf(arena, "%016" PRIx64 "\n", id);
    AUTO(file_lock) lock = {0};

    TRY(file_lock_take(arena, path, &lock));
    return secret_file_replace(arena, path, text, strlen(text));
}

/*** the database aside ***/

/* Once: where the name is taken, a start before this one has done it. */
static struct error *move_aside(struct arena *arena, const char *dir, const char *name)
{
    const char *from = path_of(arena, dir, "db"), *to = path_of(arena, dir, name);
    struct stat st;

    if (lstat(to, &st) == 0 || lstat(from, &st) < 0)
        return OK;
    if (rename(from, to) < 0)
        return failed(arena, from);
    TRY(sync_folder(arena, dir));
    log_warning("the database of before is kept in %s", to);
    return OK;
}

static struct error *switch_left(struct arena *arena, const char *dir)
{
    size_t size;
    char *text;

    TRY(secret_file_read(arena, path_of(arena, dir, "left"), FILE_LIMIT, &text, &size));
    if (!text)
        return OK;
    text[strspn(text, "0123456789abcdef")] = '\0';
    TRY(move_aside(arena, dir, arena_printf(arena, "db.of-pool-%s", text)));
    return remove_file(arena, dir, "left");
}

struct error *join_switch(struct arena *arena, const char *dir, struct join_file *joined)
{
    bool found;

    TRY(switch_left(arena, dir));
    TRY(join_file_read(arena, dir, joined, &found));
    if (!joined->in)
        return OK;
    return move_aside(arena, dir,
                      arena_printf(arena, "db.before-join-%.*s", NAME_PART, joined->token));
}
