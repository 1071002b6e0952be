/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libxapi/base/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <uuid/uuid.h>

#include "libxapi/base/arena.h"
#include "libxapi/base/seam.h"

#define REF_PREFIX "OpaqueRef:"

static ref_t ref_of_bytes(const uint8_t b[16])
{
    ref_t r = REF_NULL;

    for (int i = 0; i < 8; i++) {
        r.hi = r.hi << 8 | b[i];
        r.lo = r.lo << 8 | b[i + 8];
    }
    return r;
}

static void ref_to_bytes(ref_t r, uint8_t b[16])
{
    for (int i = 7; i >= 0; i--) {
        b[i] = (uint8_t)r.hi;
        b[i + 8] = (uint8_t)r.lo;
        r.hi >>= 8;
        r.lo >>= 8;
    }
}

/* Version 4 of RFC 4122.  A session's reference is a secret: it is the kernel's randomness, and
 * nothing weaker where there is none. */
static void uuid_random(uint8_t b[16])
{
    random_bytes(b, 16);
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
}

ref_t ref_new(void)
{
    uint8_t b[16];

    uuid_random(b);
    return ref_of_bytes(b);
}

char *uuid_to_text(const uint8_t b[16], char out[UUID_TEXT_SIZE])
{
    uuid_unparse_lower(b, out);
    return out;
}

char *uuid_new(char out[UUID_TEXT_SIZE])
{
    uint8_t b[16];

    uuid_random(b);
    return uuid_to_text(b, out);
}

bool uuid_from_text(const char *text, uint8_t out[16])
{
    return strlen(text) == UUID_TEXT_SIZE - 1 && uuid_parse(text, out) == 0;
}

char *ref_to_text(ref_t r, char out[REF_TEXT_SIZE])
{
    uint8_t b[16];

    memcpy(out, REF_PREFIX, sizeof REF_PREFIX);
    if (ref_is_null(r)) {
        strcat(out, "NULL");
        return out;
    }
    ref_to_bytes(r, b);
    uuid_to_text(b, out + sizeof REF_PREFIX - 1);
    return out;
}

const char *ref_text(struct arena *arena, ref_t r)
{
    return ref_to_text(r, arena_alloc(arena, REF_TEXT_SIZE));
}

bool ref_from_text(const char *text, ref_t *out)
{
    uint8_t b[16];

    *out = REF_NULL;
    if (text[0] == '\0' || strcmp(text, REF_PREFIX "NULL") == 0)
        return true;
    if (strncmp(text, REF_PREFIX, sizeof REF_PREFIX - 1) != 0 ||
        !uuid_from_text(text + sizeof REF_PREFIX - 1, b))
        return false;
    *out = ref_of_bytes(b);
    return true;
}

static struct error *error_alloc(struct arena *arena, const char *code, size_t n)
{
    struct error *e = arena_alloc(arena, sizeof *e + n * sizeof e->params[0]);

    e->code = code;
    e->n_params = n;
    return e;
}

struct error *error_new(struct arena *arena, const char *code, size_t n, ...)
{
    struct error *e = error_alloc(arena, code, n);
    va_list ap;

    va_start(ap, n);
    for (size_t i = 0; i < n; i++) {
        const char *param = va_arg(ap, const char *);

        e->params[i] = arena_strdup(arena, param ? param : "");
    }
    va_end(ap);
    return e;
}

struct error *error_internal(struct arena *arena, const char *fmt, ...)
{
    struct error *e = error_alloc(arena, "INTERNAL_ERROR", 1);
    va_list ap;

    va_start(ap, fmt);
    e->params[0] = arena_vprintf(arena, fmt, ap);
    va_end(ap);
    return e;
}

struct error *error_copy(struct arena *arena, const struct error *e)
{
    struct error *copy;

    if (!e)
        return OK;
    copy = error_alloc(arena, arena_strdup(arena, e->code), e->n_params);
    for (size_t i = 0; i < e->n_params; i++)
        copy->params[i] = arena_strdup(arena, e->params[i]);
    return copy;
}

bool error_is(const struct error *e, const char *code)
{
    return e && strcmp(e->code, code) == 0;
}

const char *error_line(struct arena *arena, const struct error *e)
{
    const char *line = arena_printf(arena, "%s(", e->code);

    for (size_t i = 0; i < e->n_params; i++)
        line = arena_printf(arena, "%s%s%s", line, i ? ", " : "", e->params[i]);
    return arena_printf(arena, "%s)", line);
}
