/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* meta.c -- the sidecar of an image, and its trace: small JSON files, replaced as a whole. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/base/call.h"
#include "libxapi/base/log.h"
#include "storage-repos/dir/image.h"

#define META_LIMIT (256 * 1024)

/* ---- reading ---- */

/* A file's bytes; NULL: there is none, or it is none that we wrote ('why'). */
struct small {
    char *text;
    size_t size;
    const char *why;
};

static struct error *read_small(struct call *call, const struct dir_state *st, const char *name,
                                struct small *out)
{
    int fd = openat(st->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct error *e = OK;
    struct stat s;
    ssize_t n;

    *out = (struct small){0};
    if (fd < 0 && errno == ELOOP)
        out->why = "it is no small file";
    if (fd < 0)
        return errno == ENOENT || errno == ELOOP ? OK
                                                 : sr_failed_errno(call, SR_FAIL_VDI, errno, name);
    if (fstat(fd, &s) < 0) {
        e = sr_failed_errno(call, SR_FAIL_VDI, errno, name);
    } else if (!S_ISREG(s.st_mode) || s.st_size > META_LIMIT) {
        out->why = "it is no small file";
    } else {
        out->text = arena_alloc(call->arena, (size_t)s.st_size + 1);
        n = read(fd, out->text, (size_t)s.st_size);
        if (n < 0)
            e = sr_failed_errno(call, SR_FAIL_VDI, errno, name);
        out->size = n < 0 ? 0 : (size_t)n;
    }
    close(fd);
    return e;
}

static const char *text_of(struct call *call, const json_t *root, const char *key)
{
    const char *text = json_string_value(json_object_get(root, key));

    return text ? arena_strdup(call->arena, text) : "";
}

static struct strmap map_of(struct call *call, json_t *object)
{
    struct strpair *v = arena_array(call->arena, struct strpair, json_object_size(object));
    struct strmap map = {0, v};
    const char *key;
    json_t *value;

    json_object_foreach(object, key, value)
    {
        if (json_is_string(value)) {
            v[map.n].key = arena_strdup(call->arena, key);
            v[map.n++].value = arena_strdup(call->arena, json_string_value(value));
        }
    }
    return map;
}

struct error *dir_meta_read(struct call *call, const struct dir_state *st, const char *location,
                            struct dir_meta *out)
{
    char name[DIR_NAME_SIZE];
    json_error_t where;
    struct small file;
    json_t *root;

    *out = (struct dir_meta){.name_label = "", .name_description = ""};
    dir_meta_name(location, name);
    TRY(read_small(call, st, name, &file));
    root = file.text ? json_loadb(file.text, file.size, 0, &where) : NULL;
    if (file.text && !json_is_object(root))
        file.why = "it is not what was written";
    if (file.why)
        log_error("%s/%s: %s; the image is treated as one without a name", st->path, name,
                  file.why);
    if (json_is_object(root)) {
        out->found = true;
        out->name_label = text_of(call, root, "name_label");
        out->name_description = text_of(call, root, "name_description");
        out->sm_config = map_of(call, json_object_get(root, "sm_config"));
        out->hidden = json_is_true(json_object_get(root, "hidden"));
        out->changing = json_is_true(json_object_get(root, "changing"));
    }
    json_decref(root);
    return OK;
}

struct error *dir_is_changing(struct call *call, const struct dir_state *st, const char *location,
                              bool *out)
{
    struct dir_meta meta;

    TRY(dir_meta_read(call, st, location, &meta));
    *out = meta.changing;
    return OK;
}

/* ---- writing ---- */

static json_t *map_to_json(const struct strmap *map)
{
    json_t *object = json_object();

    for (size_t i = 0; i < map->n; i++)
        json_object_set_new(object, map->v[i].key, json_string(map->v[i].value));
    return object;
}

static char *to_text(const struct dir_meta *meta)
{
    json_t *root = json_object();
    char *text;

    json_object_set_new(root, "name_label", json_string(meta->name_label));
    json_object_set_new(root, "name_description", json_string(meta->name_description));
    json_object_set_new(root, "sm_config", map_to_json(&meta->sm_config));
    json_object_set_new(root, "hidden", json_boolean(meta->hidden));
    if (meta->changing)
        json_object_set_new(root, "changing", json_true());
    text = json_dumps(root, JSON_INDENT(2) | JSON_SORT_KEYS);
    json_decref(root);
    return text;
}

static int write_all(int fd, const char *text, size_t n)
{
    while (n) {
        ssize_t put = write(fd, text, n);

        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return -1;
        text += put;
        n -= (size_t)put;
    }
    return 0;
}

static struct error *write_temp(struct call *call, const struct dir_state *st, const char *temp,
                                const char *text)
{
    int fd = openat(st->fd, temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    int rc, err;

    if (fd < 0)
        return sr_failed_errno(call, SR_FAIL_VDI, errno, temp);
    rc = write_all(fd, text, strlen(text));
    err = errno;
    close(fd);
    return rc < 0 ? sr_failed_errno(call, SR_FAIL_VDI, err, temp) : OK;
}

struct error *dir_meta_write(struct call *call, const struct dir_state *st, const char *location,
                             const struct dir_meta *meta)
{
    char temp[DIR_NAME_SIZE], name[DIR_NAME_SIZE];
    char *text = to_text(meta);
    struct error *e;

    if (!text || strlen(text) > META_LIMIT) {
        free(text);
        return sr_failed(call, SR_FAIL_ARGUMENT, "the names of %s are too long or not UTF-8",
                         location);
    }
    dir_temp_name(location, "json", temp);
    dir_meta_name(location, name);
    e = write_temp(call, st, temp, text);
    free(text);
    TRY(e);
    dir_step(st, "sidecar written");
    TRY(dir_publish(call, st, temp, name));
    dir_step(st, "sidecar in place");
    return OK;
}

/* ---- traces ---- */

struct error *dir_trace_read(struct call *call, const struct dir_state *st, const char *location,
                             struct dir_trace *out, bool *good)
{
    char name[DIR_NAME_SIZE];
    json_error_t where;
    const json_t *size;
    struct small file;
    json_t *root;

    *good = false;
    dir_trace_name(location, name);
    TRY(read_small(call, st, name, &file));
    root = file.text ? json_loadb(file.text, file.size, 0, &where) : NULL;
    size = json_object_get(root, "virtual_size");
    if (json_is_integer(size) && json_integer_value(size) > 0 &&
        json_integer_value(size) <= QCOW2_SIZE_MAX) {
        *out = (struct dir_trace){.parent = text_of(call, root, "parent"),
                                  .virtual_size = json_integer_value(size),
                                  .all = !json_is_false(json_object_get(root, "all"))};
        *good = !*out->parent || dir_location_ok(out->parent);
    }
    json_decref(root);
    return OK;
}

struct error *dir_trace_write(struct call *call, const struct dir_state *st, const char *location,
                              const struct dir_trace *trace)
{
    char temp[DIR_NAME_SIZE], name[DIR_NAME_SIZE];
    const char *text =
        arena_printf(call->arena, "{\"parent\": \"%s\", \"virtual_size\": %lld, \"all\": %s}\n",
                     trace->parent, (long long)trace->virtual_size, trace->all ? "true" : "false");

    dir_temp_name(location, "cbt", temp);
    dir_trace_name(location, name);
    TRY(write_temp(call, st, temp, text));
    dir_step(st, "trace written");
    TRY(dir_publish(call, st, temp, name));
    dir_step(st, "trace in place");
    return OK;
}
