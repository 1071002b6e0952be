/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage-repos/apart/message.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define ERROR_PARAMS_MAX 16

/* ---- structs as tables ---- */

enum kind { TEXT, NUMBER, FLAG, MAP };

struct member {
    const char *key;
    enum kind kind;
    size_t offset;
};

#define MEMBER(type, kind, name)                                                                   \
    {                                                                                              \
#name, kind, offsetof(struct type, name)                                                   \
    }

static const struct member request_members[] = {
    MEMBER(apart_request, TEXT, slot),       MEMBER(apart_request, TEXT, type),
    MEMBER(apart_request, TEXT, uuid),       MEMBER(apart_request, MAP, device_config),
    MEMBER(apart_request, TEXT, mounts),     MEMBER(apart_request, TEXT, system_root),
    MEMBER(apart_request, TEXT, datapath),   MEMBER(apart_request, TEXT, datapath_kind),
    MEMBER(apart_request, TEXT, location),   MEMBER(apart_request, TEXT, other),
    MEMBER(apart_request, TEXT, format),     MEMBER(apart_request, TEXT, new_location),
    MEMBER(apart_request, TEXT, name_label), MEMBER(apart_request, TEXT, name_description),
    MEMBER(apart_request, MAP, sm_config),   MEMBER(apart_request, NUMBER, size),
    MEMBER(apart_request, FLAG, writable),   MEMBER(apart_request, NUMBER, patience),
    MEMBER(apart_request, FLAG, shared),     MEMBER(apart_request, FLAG, in_turns),
    MEMBER(apart_request, TEXT, turn),
};

static const struct member info_members[] = {
    MEMBER(vdi_info, TEXT, location),         MEMBER(vdi_info, TEXT, uuid),
    MEMBER(vdi_info, NUMBER, virtual_size),   MEMBER(vdi_info, NUMBER, physical_utilisation),
    MEMBER(vdi_info, FLAG, read_only),        MEMBER(vdi_info, TEXT, name_label),
    MEMBER(vdi_info, TEXT, name_description), MEMBER(vdi_info, TEXT, parent),
    MEMBER(vdi_info, FLAG, hidden),           MEMBER(vdi_info, FLAG, stripped),
    MEMBER(vdi_info, FLAG, unknown),          MEMBER(vdi_info, TEXT, damaged),
    MEMBER(vdi_info, MAP, sm_config),
};

static const struct member stat_members[] = {
    MEMBER(sr_stat_info, NUMBER, physical_size),
    MEMBER(sr_stat_info, NUMBER, physical_utilisation),
};

static const struct member path_members[] = {
    MEMBER(vdi_path, TEXT, path),
    MEMBER(vdi_path, TEXT, format),
};

static const struct member found_members[] = {
    MEMBER(sr_found, TEXT, uuid),
    MEMBER(sr_found, MAP, device_config),
    MEMBER(sr_found, FLAG, complete),
};

/* ---- writing ---- */

/* What other programs say need not be UTF-8. */
static json_t *text_json(const char *text)
{
    json_t *json = json_string(text ? text : "");
    char *plain;

    if (json)
        return json;
    plain = strdup(text);
    for (char *p = plain; p && *p; p++)
        if ((unsigned char)*p >= 0x80)
            *p = '?';
    json = json_string(plain);
    free(plain);
    return json;
}

static json_t *map_json(const struct strmap *map)
{
    json_t *json = json_object();

    for (size_t i = 0; i < map->n; i++)
        json_object_set_new(json, map->v[i].key, text_json(map->v[i].value));
    return json;
}

static json_t *member_json(const struct member *m, const void *at)
{
    switch (m->kind) {
    case TEXT:
        return text_json(*(const char *const *)at);
    case NUMBER:
        return json_integer(*(const int64_t *)at);
    case FLAG:
        return json_boolean(*(const bool *)at);
    case MAP:
        return map_json(at);
    }
    abort();
}

static json_t *struct_json(const struct member *members, size_t n, const void *from)
{
    json_t *json = json_object();

    for (size_t i = 0; i < n; i++)
        json_object_set_new(json, members[i].key,
                            member_json(&members[i], (const char *)from + members[i].offset));
    return json;
}
#define STRUCT_JSON(members, from) struct_json(members, ARRAY_SIZE(members), from)

static json_t *error_json(const struct error *e)
{
    json_t *json = json_array();

    json_array_append_new(json, text_json(e->code));
    for (size_t i = 0; i < e->n_params; i++)
        json_array_append_new(json, text_json(e->params[i]));
    return json;
}

static json_t *bits_json(struct arena *arena, const struct vdi_changes *changes)
{
    static const char digits[] = "0123456789abcdef";
    char *text = arena_alloc(arena, changes->n * 2 + 1);

    for (size_t i = 0; i < changes->n; i++) {
        text[2 * i] = digits[changes->bits[i] >> 4];
        text[2 * i + 1] = digits[changes->bits[i] & 15];
    }
    text[changes->n * 2] = '\0';
    return json_string(text);
}

static json_t *probe_json(const struct sr_probe *probe)
{
    json_t *json = json_object(), *found = json_array();

    for (size_t i = 0; i < probe->n; i++)
        json_array_append_new(found, STRUCT_JSON(found_members, &probe->v[i]));
    json_object_set_new(json, "found", found);
    json_object_set_new(json, "xml", text_json(probe->xml));
    if (probe->answer)
        json_object_set_new(json, "answer", error_json(probe->answer));
    return json;
}

/* Takes the JSON's place in the arena. */
static const char *dump(struct arena *arena, json_t *json)
{
    char *text = json_dumps(json, JSON_COMPACT);
    const char *kept = arena_strdup(arena, text ? text : "");

    free(text);
    json_decref(json);
    return kept;
}

const char *apart_request_write(struct arena *arena, const struct apart_request *request)
{
    return dump(arena, STRUCT_JSON(request_members, request));
}

const char *apart_reply_write(struct arena *arena, const struct apart_reply *reply)
{
    json_t *json = json_object(), *infos = json_array();

    for (size_t i = 0; i < reply->n; i++)
        json_array_append_new(infos, STRUCT_JSON(info_members, &reply->v[i]));
    json_object_set_new(json, "infos", infos);
    json_object_set_new(json, "stat", STRUCT_JSON(stat_members, &reply->stat));
    json_object_set_new(json, "path", STRUCT_JSON(path_members, &reply->path));
    json_object_set_new(json, "blocks", json_integer(reply->changes.n_blocks));
    json_object_set_new(json, "bits", bits_json(arena, &reply->changes));
    json_object_set_new(json, "probe", probe_json(&reply->probe));
    if (reply->error)
        json_object_set_new(json, "error", error_json(reply->error));
    return dump(arena, json);
}

/* ---- reading ---- */

static bool text_read(struct arena *arena, const json_t *json, const char **out)
{
    *out = json_is_string(json) ? arena_strdup(arena, json_string_value(json)) : "";
    return json_is_string(json);
}

static bool map_read(struct arena *arena, json_t *json, struct strmap *out)
{
    struct strpair *v = arena_array(arena, struct strpair, json_object_size(json) + 1);
    const char *key;
    json_t *value;

    *out = (struct strmap){0, v};
    if (!json_is_object(json))
        return false;
    json_object_foreach(json, key, value)
    {
        v[out->n].key = arena_strdup(arena, key);
        if (!text_read(arena, value, &v[out->n++].value))
            return false;
    }
    return true;
}

static bool member_read(struct arena *arena, const struct member *m, json_t *json, void *at)
{
    switch (m->kind) {
    case TEXT:
        return text_read(arena, json, at);
    case NUMBER:
        *(int64_t *)at = json_integer_value(json);
        return json_is_integer(json);
    case FLAG:
        *(bool *)at = json_is_true(json);
        return json_is_boolean(json);
    case MAP:
        return map_read(arena, json, at);
    }
    abort();
}

static bool struct_read(struct arena *arena, const struct member *members, size_t n,
                        const json_t *json, void *out)
{
    for (size_t i = 0; i < n; i++)
        if (!member_read(arena, &members[i], json_object_get(json, members[i].key),
                         (char *)out + members[i].offset))
            return false;
    return true;
}
#define STRUCT_READ(arena, members, json, out)                                                     \
    struct_read(arena, members, ARRAY_SIZE(members), json, out)

/* None is no error. */
static bool error_read(struct arena *arena, const json_t *json, struct error **out)
{
    size_t n = json_array_size(json);
    struct error *e;

    *out = OK;
    if (!json)
        return true;
    if (n < 1 || n > ERROR_PARAMS_MAX)
        return false;
    e = arena_zalloc(arena, sizeof *e + (n - 1) * sizeof e->params[0]);
    if (!text_read(arena, json_array_get(json, 0), &e->code))
        return false;
    for (; e->n_params < n - 1; e->n_params++)
        if (!text_read(arena, json_array_get(json, e->n_params + 1), &e->params[e->n_params]))
            return false;
    *out = e;
    return true;
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool changes_read(struct arena *arena, const json_t *json, struct vdi_changes *out)
{
    const json_t *blocks = json_object_get(json, "blocks");
    const char *text = json_string_value(json_object_get(json, "bits"));
    size_t n = text ? strlen(text) : 0;

    out->n_blocks = json_integer_value(blocks);
    out->n = n / 2;
    out->bits = arena_alloc(arena, n / 2 + 1);
    for (size_t i = 0; i < n / 2; i++) {
        int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);

        if (high < 0 || low < 0)
            return false;
        out->bits[i] = (uint8_t)(high << 4 | low);
    }
    return text && json_is_integer(blocks) && n % 2 == 0 && out->n_blocks >= 0 &&
           (size_t)out->n_blocks <= n * 4;
}

static bool probe_read(struct arena *arena, const json_t *json, struct sr_probe *out)
{
    const json_t *found = json_object_get(json, "found");
    size_t n = json_array_size(found);

    out->v = arena_array(arena, struct sr_found, n + 1);
    for (; out->n < n; out->n++)
        if (!STRUCT_READ(arena, found_members, json_array_get(found, out->n), &out->v[out->n]))
            return false;
    return text_read(arena, json_object_get(json, "xml"), &out->xml) &&
           error_read(arena, json_object_get(json, "answer"), &out->answer);
}

static bool infos_read(struct arena *arena, const json_t *json, struct apart_reply *out)
{
    size_t n = json_array_size(json);

    out->v = arena_array(arena, struct vdi_info, n + 1);
    for (; out->n < n; out->n++)
        if (!STRUCT_READ(arena, info_members, json_array_get(json, out->n), &out->v[out->n]))
            return false;
    return json_is_array(json);
}

bool apart_request_read(struct arena *arena, const char *text, size_t n, struct apart_request *out)
{
    json_t *json = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
    bool good;

    *out = (struct apart_request){0};
    good = json && STRUCT_READ(arena, request_members, json, out);
    json_decref(json);
    return good;
}

bool apart_reply_read(struct arena *arena, const char *text, size_t n, struct apart_reply *out)
{
    json_t *json = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
    bool good;

    *out = (struct apart_reply){0};
    good = json && infos_read(arena, json_object_get(json, "infos"), out) &&
           STRUCT_READ(arena, stat_members, json_object_get(json, "stat"), &out->stat) &&
           STRUCT_READ(arena, path_members, json_object_get(json, "path"), &out->path) &&
           changes_read(arena, json, &out->changes) &&
           probe_read(arena, json_object_get(json, "probe"), &out->probe) &&
           error_read(arena, json_object_get(json, "error"), &out->error);
    json_decref(json);
    return good;
}
