/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xe-cli/thin_text.h"

#include <string.h>

#include "libxapi/base/bytes.h"

enum {
    TAG_OK = 5,
    TAG_FAILED = 6,
    TAG_CHUNK = 7,
    TAG_END = 8,
    TAG_COMMAND = 9,
    TAG_RESPONSE = 10,
    TAG_BLOB = 11,
    TAG_WAIT = 18,
};

#define SESSION "session_id="

/* --- The request --- */

bool thin_request_read(struct arena *arena, const char *text, size_t size, struct thin_request *out)
{
    const char *rest, *sep;
    size_t n = 1;

    *out = (struct thin_request){0};
    if (memchr(text, '\0', size))
        return false;
    rest = arena_strndup(arena, text, size);
    sep = strstr(rest, "\r\n") ? "\r\n" : "\n";
    for (const char *p = rest; (p = strstr(p, sep)); p += strlen(sep))
        n++;
    if (n > THIN_WORDS_MAX)
        return false;
    out->words = arena_array(arena, const char *, n);
    if (!strncmp(rest, SESSION, strlen(SESSION))) {
        size_t len = strcspn(rest, "\r\n");

        out->session = arena_strndup(arena, rest + strlen(SESSION), len - strlen(SESSION));
        rest += len;
        rest += strspn(rest, "\r\n");
    }
    while (*rest) {
        const char *end = strstr(rest, sep);

        if (!end)
            end = rest + strlen(rest);
        out->words[out->n++] = arena_strndup(arena, rest, (size_t)(end - rest));
        rest = *end ? end + strlen(sep) : end;
    }
    return true;
}

/* --- Answers --- */

static enum thin_answer response(uint32_t tag)
{
    return tag == TAG_OK       ? THIN_OK
           : tag == TAG_FAILED ? THIN_FAILED
           : tag == TAG_WAIT   ? THIN_WAIT
                               : THIN_BROKEN;
}

enum thin_answer thin_answer_read(const uint8_t *frame, size_t n, size_t *size)
{
    *size = 0;
    if (n < 8)
        return THIN_BROKEN;
    if (be_get32(frame) == TAG_RESPONSE && n == 8)
        return response(be_get32(frame + 4));
    if (be_get32(frame) != TAG_BLOB)
        return THIN_BROKEN;
    if (be_get32(frame + 4) == TAG_END && n == 8)
        return THIN_END;
    if (be_get32(frame + 4) != TAG_CHUNK || n != 12 || be_get32(frame + 8) > INT32_MAX)
        return THIN_BROKEN;
    *size = be_get32(frame + 8);
    return THIN_CHUNK;
}

/* --- Commands --- */

static void put(struct buf *out, uint32_t v)
{
    uint8_t bytes[4];

    be_put32(bytes, v);
    buf_add(out, bytes, sizeof bytes);
}

static void put_text(struct buf *out, const char *text, size_t n)
{
    put(out, (uint32_t)n);
    buf_add(out, text, n);
}

void thin_command(struct buf *out, enum thin_command command, const char *a, size_t a_size,
                  const char *b)
{
    size_t b_size = b ? strlen(b) : 0;

    put(out, (uint32_t)(8 + (a ? 4 + a_size : 0) + (b ? 4 + b_size : 0)));
    put(out, TAG_COMMAND);
    put(out, command);
    if (a)
        put_text(out, a, a_size);
    if (b)
        put_text(out, b, b_size);
}

void thin_command_exit(struct buf *out, int code)
{
    put(out, 12);
    put(out, TAG_COMMAND);
    put(out, THIN_EXIT);
    put(out, (uint32_t)code);
}
