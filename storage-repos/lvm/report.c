/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* report.c -- what LVM says of a group, and what follows from that alone: sizes, chains, which
 * volume holds a disk. */
#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/buf.h"
#include "libxapi/base/call.h"
#include "libxapi/value/value.h"
#include "storage-repos/lvm/volumes.h"

#define MIB ((int64_t)1024 * 1024)
/* LVM takes 1024 characters; the text of all together is bounded by the metadata's place. */
#define TAG_MAX 900
#define META_MAX (48 * 1024)

static const char *const prefixes[] = {
    [LVM_DISK] = "VDI-", [LVM_NEW] = "new-", [LVM_LEAF] = "leaf-", [LVM_OLD] = "old-"};

bool lvm_location_ok(const char *location)
{
    uint8_t bytes[16];

    return strlen(location) == UUID_TEXT_SIZE - 1 && uuid_from_text(location, bytes) &&
           !strpbrk(location, "ABCDEF");
}

void lvm_volume_name(enum lvm_kind kind, const char *location, char out[LVM_NAME_SIZE])
{
    snprintf(out, LVM_NAME_SIZE, "%s%.36s", prefixes[kind], location);
}

/* ---- sizes ---- */

/*
 * Beside the data, clusters of 64 KiB have 8 bytes in a table and a reference count of 2; what is
 * rounded up, and clusters that a killed server has lost, have room as well.
 */
int64_t lvm_full_size(const char *format, int64_t virtual_size)
{
    return strcmp(format, "raw") == 0 ? virtual_size : virtual_size + virtual_size / 4096 + 2 * MIB;
}

int64_t lvm_empty_size(int64_t virtual_size)
{
    return virtual_size / (64 * MIB) + MIB;
}

/* ---- tags ---- */

/* Characters that LVM takes in a tag stand for themselves, but not '='. */
static void add_escaped(struct buf *out, const char *text)
{
    for (; *text; text++) {
        if (isalnum((unsigned char)*text) || strchr("_+.-/:", *text))
            buf_putc(out, *text);
        else
            buf_printf(out, "=%02x", (unsigned char)*text);
    }
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* In place; false where it was not written so. */
static bool unescape(char *text)
{
    char *to = text;

    for (; *text; text++) {
        if (*text != '=') {
            *to++ = *text;
            continue;
        }
        if (digit(text[1]) < 0 || digit(text[2]) < 0)
            return false;
        *to++ = (char)(digit(text[1]) << 4 | digit(text[2]));
        text += 2;
    }
    *to = '\0';
    return true;
}

static json_t *names_json(const struct lvm_meta *meta)
{
    json_t *more = json_object();

    for (size_t i = 0; i < meta->sm_config.n; i++)
        json_object_set_new(more, meta->sm_config.v[i].key,
                            json_string(meta->sm_config.v[i].value));
    return json_pack("{s:s,s:s,s:o}", "name", meta->name_label, "text", meta->name_description,
                     "sm", more);
}

static bool add_names(struct call *call, const struct lvm_meta *meta, struct lvm_tags *out)
{
    json_t *json = names_json(meta);
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    struct buf escaped = {0};
    bool fits;

    if (text)
        add_escaped(&escaped, text);
    fits = text && escaped.len <= META_MAX;
    for (size_t at = 0; fits && at < escaped.len; at += TAG_MAX)
        out->v[out->n++] =
            arena_printf(call->arena, "meta%zu=%.*s", at / TAG_MAX, TAG_MAX, escaped.data + at);
    buf_release(&escaped);
    free(text);
    json_decref(json);
    return fits;
}

bool lvm_tags_write(struct call *call, const struct lvm_meta *meta, struct lvm_tags *out)
{
    out->n = 0;
    out->v[out->n++] = arena_printf(call->arena, "format=%s", meta->format);
    out->v[out->n++] = arena_printf(call->arena, "size=%lld", (long long)meta->virtual_size);
    if (meta->parent[0])
        out->v[out->n++] = arena_printf(call->arena, "parent=%s", meta->parent);
    if (meta->hidden)
        out->v[out->n++] = "hidden";
    return add_names(call, meta, out);
}

static const char *text_of(struct call *call, const json_t *root, const char *key)
{
    const char *text = json_string_value(json_object_get(root, key));

    return text ? arena_strdup(call->arena, text) : "";
}

static void read_names(struct call *call, char *const pieces[], struct lvm_meta *out)
{
    struct buf text = {0};
    const char *key;
    json_t *root = NULL, *value;

    for (size_t i = 0; i < LVM_TAGS_MAX && pieces[i]; i++)
        buf_puts(&text, pieces[i]);
    if (text.len && unescape(text.data))
        root = json_loads(text.data, JSON_REJECT_DUPLICATES, NULL);
    buf_release(&text);
    out->name_label = text_of(call, root, "name");
    out->name_description = text_of(call, root, "text");
    json_object_foreach(json_object_get(root, "sm"), key, value) out->sm_config =
        strmap_with(call->arena, out->sm_config, arena_strdup(call->arena, key),
                    text_of(call, json_object_get(root, "sm"), key));
    json_decref(root);
}

/* The number in "meta12=...", and what follows; NULL for another tag. */
static char *names_piece(char *tag, size_t *place)
{
    char *end;

    if (strncmp(tag, "meta", 4) != 0 || !isdigit((unsigned char)tag[4]))
        return NULL;
    *place = strtoul(tag + 4, &end, 10);
    return *end == '=' && *place < LVM_TAGS_MAX ? end + 1 : NULL;
}

void lvm_tags_read(struct call *call, const char *text, struct lvm_meta *out)
{
    char *pieces[LVM_TAGS_MAX] = {0};
    char *copy = arena_strdup(call->arena, text), *save = NULL, *piece;
    size_t place;

    *out = (struct lvm_meta){.format = "", .parent = ""};
    for (char *tag = strtok_r(copy, ",", &save); tag; tag = strtok_r(NULL, ",", &save)) {
        if (strcmp(tag, "format=qcow2") == 0 || strcmp(tag, "format=raw") == 0)
            out->format = tag + strlen("format=");
        else if (strncmp(tag, "size=", 5) == 0)
            out->virtual_size = strtoll(tag + 5, NULL, 10);
        else if (strncmp(tag, "parent=", 7) == 0)
            out->parent = tag + 7;
        else if (strcmp(tag, "hidden") == 0)
            out->hidden = true;
        else if ((piece = names_piece(tag, &place)))
            pieces[place] = piece;
    }
    if (out->virtual_size <= 0 || (out->parent[0] && !lvm_location_ok(out->parent)))
        out->format = "";
    read_names(call, pieces, out);
}

/* ---- the report ---- */

static const char *column(const json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));

    return text ? text : "";
}

/* "123456" or "123456B". */
static int64_t bytes_of(const json_t *row, const char *key)
{
    return MAX(strtoll(column(row, key), NULL, 10), 0);
}

/* False for a name that is not of our making. */
static bool read_name(struct call *call, const char *name, struct lvm_volume *out)
{
    for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
        size_t n = strlen(prefixes[i]);

        if (strncmp(name, prefixes[i], n) != 0 || !lvm_location_ok(name + n))
            continue;
        out->kind = (enum lvm_kind)i;
        out->location = arena_strdup(call->arena, name + n);
        return true;
    }
    return false;
}

static bool read_volume(struct call *call, const json_t *row, struct lvm_volume *out)
{
    double used = strtod(column(row, "data_percent"), NULL) / 100;

    *out = (struct lvm_volume){.length = bytes_of(row, "lv_size"),
                               .thin = column(row, "pool_lv")[0],
                               .active = strcmp(column(row, "lv_active"), "active") == 0,
                               .open = strcmp(column(row, "lv_device_open"), "open") == 0,
                               .suspended = strcmp(column(row, "lv_suspended"), "suspended") == 0,
                               .tags = arena_strdup(call->arena, column(row, "lv_tags"))};
    out->size = out->thin ? (int64_t)((double)out->length * used) : out->length;
    lvm_tags_read(call, out->tags, &out->meta);
    return read_name(call, column(row, "lv_name"), out) && out->meta.format[0];
}

static void read_pool(const json_t *row, struct lvm_group *out)
{
    out->thin = true;
    out->pool_size = bytes_of(row, "lv_size");
    out->pool_used =
        (int64_t)((double)out->pool_size * strtod(column(row, "data_percent"), NULL) / 100);
}

static int by_location(const void *a, const void *b)
{
    const struct lvm_volume *x = a, *y = b;
    int order = strcmp(x->location, y->location);

    return order ? order : (int)x->kind - (int)y->kind;
}

static void count_children(struct lvm_group *group)
{
    for (size_t i = 0; i < group->n; i++) {
        struct lvm_volume *v = &group->v[i], *parent;

        if (v->kind == LVM_NEW || lvm_disk(group, v->location) != v || !v->meta.parent[0])
            continue;
        parent = lvm_disk(group, v->meta.parent);
        if (parent)
            parent->children++;
    }
}

static void read_volumes(struct call *call, const json_t *rows, struct lvm_group *out)
{
    const json_t *row;
    size_t i;

    out->v = arena_array(call->arena, struct lvm_volume, json_array_size(rows) + 1);
    json_array_foreach(rows, i, row)
    {
        if (strcmp(column(row, "lv_name"), LVM_POOL) == 0)
            read_pool(row, out);
        else if (read_volume(call, row, &out->v[out->n]))
            out->n++;
    }
    if (out->n)
        qsort(out->v, out->n, sizeof *out->v, by_location);
    count_children(out);
}

bool lvm_report_read(struct call *call, const char *text, size_t n, struct lvm_group *out)
{
    json_t *root = json_loadb(text, n, 0, NULL);
    const json_t *report = json_array_get(json_object_get(root, "report"), 0);
    const json_t *group = json_array_get(json_object_get(report, "vg"), 0);
    bool good = json_is_object(group) && json_is_array(json_object_get(report, "lv"));

    *out = (struct lvm_group){.system_id = ""};
    if (good) {
        out->size = bytes_of(group, "vg_size");
        out->free = bytes_of(group, "vg_free");
        out->extent = MAX(bytes_of(group, "vg_extent_size"), 1);
        out->system_id = text_of(call, group, "vg_systemid");
        out->incomplete = bytes_of(group, "vg_missing_pv_count") > 0;
        read_volumes(call, json_object_get(report, "lv"), out);
    }
    json_decref(root);
    return good;
}

/* ---- what follows from it ---- */

/* "POOL.NUMBER.HOST" as the lengths of its parts; false where it is no turn's name. */
static bool split_turn(const char *turn, size_t *pool, size_t *host)
{
    const char *first = strchr(turn, '.'), *last = strrchr(turn, '.');

    if (!first || last == first)
        return false;
    *pool = (size_t)(first - turn);
    *host = (size_t)(last + 1 - turn);
    return true;
}

enum lvm_owner lvm_owner(const char *system_id, const char *turn)
{
    size_t pool, host, its_pool, its_host;
    const char *its;

    if (!*system_id)
        return LVM_TAKE;
    if (strncmp(system_id, LVM_ID, strlen(LVM_ID)) != 0)
        return LVM_STRANGE;
    its = system_id + strlen(LVM_ID);
    if (!split_turn(turn, &pool, &host) || !split_turn(its, &its_pool, &its_host))
        return LVM_STRANGE;
    /* Another pool has had it before. */
    if (pool != its_pool || strncmp(turn, its, pool) != 0)
        return LVM_TAKE;
    if (strcmp(turn + host, its + its_host) == 0)
        return LVM_OWN;
    return strcmp(its + its_pool, turn + pool) < 0 ? LVM_TAKE : LVM_LOST;
}

struct lvm_volume *lvm_find(const struct lvm_group *group, enum lvm_kind kind, const char *location)
{
    struct lvm_volume key = {.kind = kind, .location = location};

    return group->n ? bsearch(&key, group->v, group->n, sizeof *group->v, by_location) : NULL;
}

/* repair.c says why. */
struct lvm_volume *lvm_disk(const struct lvm_group *group, const char *location)
{
    struct lvm_volume *disk = lvm_find(group, LVM_DISK, location);

    if (!disk)
        disk = lvm_find(group, LVM_OLD, location);
    if (!disk)
        disk = lvm_find(group, LVM_LEAF, location);
    return disk;
}

size_t lvm_chain_length(const struct lvm_group *group, const struct lvm_volume *disk)
{
    size_t n = 1;

    while (disk->meta.parent[0]) {
        disk = lvm_disk(group, disk->meta.parent);
        if (!disk || ++n > group->n)
            return 0;
    }
    return n;
}
