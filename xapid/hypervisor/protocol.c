/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* protocol.c -- frames, and reading JSON objects with limits. */
#include "xapid/hypervisor/protocol.h"

#include <math.h>
#include <stdlib.h>

#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"

#define LENGTH_SIZE 4

static int collect(const char *data, size_t size, void *ctx)
{
    buf_add(ctx, data, size);
    return 0;
}

bool frame_append(struct buf *out, const json_t *message, size_t limit)
{
    size_t start = out->len;
    size_t body;

    buf_add(out, "\0\0\0\0", LENGTH_SIZE);
    if (json_dump_callback(message, collect, out, JSON_COMPACT) < 0)
        abort(); /* only out of memory can fail here: every string was checked when it was made */
    body = out->len - start - LENGTH_SIZE;
    if (body > limit) {
        out->len = start;
        out->data[start] = '\0';
        return false;
    }
    for (int i = 0; i < LENGTH_SIZE; i++)
        out->data[start + (size_t)i] = (char)(body >> (8 * (LENGTH_SIZE - 1 - i)));
    return true;
}

enum frame_state frame_take(const char *data, size_t len, size_t limit, size_t *used,
                            json_t **message, const char **why)
{
    size_t body = 0;

    if (len < LENGTH_SIZE)
        return FRAME_MORE;
    for (int i = 0; i < LENGTH_SIZE; i++)
        body = body << 8 | (uint8_t)data[i];
    if (body == 0 || body > limit) {
        *why = body ? "a frame larger than allowed" : "an empty frame";
        return FRAME_BAD;
    }
    if (len - LENGTH_SIZE < body)
        return FRAME_MORE;
    *message = json_loadb(data + LENGTH_SIZE, body, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(*message)) {
        json_decref(*message);
        *message = NULL;
        *why = "a frame that is no JSON object";
        return FRAME_BAD;
    }
    *used = LENGTH_SIZE + body;
    return FRAME_READY;
}

struct reader reader_of(struct arena *arena, const json_t *object)
{
    return (struct reader){.arena = arena, .object = object};
}

static const json_t *member(struct reader *r, const char *key, int type)
{
    const json_t *v = json_object_get(r->object, key);

    if (v && (int)json_typeof(v) == type)
        return v;
    if (!r->bad)
        r->bad = key;
    return NULL;
}

static const char *mark_bad(struct reader *r, const char *key)
{
    if (!r->bad)
        r->bad = key;
    return "";
}

const char *read_text(struct reader *r, const char *key, size_t max)
{
    const json_t *v = member(r, key, JSON_STRING);

    if (!v)
        return "";
    if (json_string_length(v) > max)
        return mark_bad(r, key);
    return arena_strndup(r->arena, json_string_value(v), json_string_length(v));
}

void read_uuid(struct reader *r, const char *key, bool may_be_empty, char out[UUID_TEXT_SIZE])
{
    const char *text = read_text(r, key, UUID_TEXT_SIZE - 1);

    if (!*text && !may_be_empty)
        mark_bad(r, key);
    memcpy(out, text, strlen(text) + 1);
}

int64_t read_int(struct reader *r, const char *key, int64_t min, int64_t max)
{
    const json_t *v = member(r, key, JSON_INTEGER);

    if (v && json_integer_value(v) >= min && json_integer_value(v) <= max)
        return json_integer_value(v);
    mark_bad(r, key);
    return min;
}

double read_real(struct reader *r, const char *key)
{
    const json_t *v = json_object_get(r->object, key);

    if (json_is_number(v) && isfinite(json_number_value(v)))
        return json_number_value(v);
    mark_bad(r, key);
    return 0;
}

bool read_bool(struct reader *r, const char *key)
{
    const json_t *v = json_object_get(r->object, key);

    if (!json_is_boolean(v))
        mark_bad(r, key);
    return json_is_true(v);
}

int read_enum(struct reader *r, const char *key, const char *const *names)
{
    const char *text = read_text(r, key, 64);

    for (int i = 0; names[i]; i++)
        if (strcmp(names[i], text) == 0)
            return i;
    mark_bad(r, key);
    return 0;
}

struct strmap read_strmap(struct reader *r, const char *key)
{
    const json_t *map = member(r, key, JSON_OBJECT);
    size_t n = map ? json_object_size(map) : 0;
    struct strpair *pairs;
    const char *name;
    json_t *value;
    size_t i = 0;

    if (n > PROTOCOL_PAIRS_MAX) {
        mark_bad(r, key);
        n = 0;
    }
    if (n == 0)
        return (struct strmap){0};
    pairs = arena_array(r->arena, struct strpair, n);
    json_object_foreach((json_t *)map, name, value)
    {
        const char *text = json_string_value(value);

        if (!text)
            text = mark_bad(r, key);
        pairs[i].key = arena_strdup(r->arena, name);
        pairs[i++].value = arena_strdup(r->arena, text);
    }
    return (struct strmap){n, pairs};
}

const char *read_text_if_any(struct reader *r, const char *key, size_t max)
{
    return json_object_get(r->object, key) ? read_text(r, key, max) : "";
}

int64_t read_int_if_any(struct reader *r, const char *key, int64_t min, int64_t max)
{
    return json_object_get(r->object, key) ? read_int(r, key, min, max) : 0;
}

struct strmap read_strmap_if_any(struct reader *r, const char *key)
{
    return json_object_get(r->object, key) ? read_strmap(r, key) : (struct strmap){0};
}

int64_t read_watchdog(struct reader *r)
{
    int64_t ms = read_int(r, "ms", 0, PROTOCOL_WATCHDOG_MAX);
    usec_t sent = read_int_if_any(r, "sent", 0, INT64_MAX), now = clock_mono();

    /* One clock for all processes of a machine. */
    if (!ms || !sent || sent > now)
        return ms;
    return MAX(ms - (now - sent) / USEC_PER_MSEC, (int64_t)1);
}

struct strings read_strings(struct reader *r, const char *key)
{
    const json_t *set = member(r, key, JSON_ARRAY);
    size_t n = set ? json_array_size(set) : 0;
    const char **texts;

    if (n > PROTOCOL_PAIRS_MAX) {
        mark_bad(r, key);
        n = 0;
    }
    texts = arena_array(r->arena, const char *, n + 1);
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_array_get(set, i));

        texts[i] = arena_strdup(r->arena, text ? text : mark_bad(r, key));
    }
    return (struct strings){n, texts};
}

json_t *json_text(const char *s)
{
    json_t *v = json_string(s);
    char *copy;

    if (v)
        return v;
    copy = xstrdup(s);
    for (char *p = copy; *p; p++)
        if ((unsigned char)*p >= 0x80)
            *p = '?';
    v = json_string(copy);
    free(copy);
    if (!v)
        abort(); /* out of memory */
    return v;
}
