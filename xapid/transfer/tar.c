/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/transfer/tar.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "libxapi/base/memory.h"
#include "libxapi/codec/codec.h"

/* Records of one extended header. */
#define PAX_MAX ((size_t)64 * 1024)

/* One block, as POSIX has it. */
struct header {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100],
        magic[8], user[32], group[32], major[8], minor[8], prefix[155], pad[12];
};
_Static_assert(sizeof(struct header) == TAR_BLOCK, "a header is a block");

/*** reading ***/

static struct error *no_archive(struct call *call, const char *why)
{
    return err_import_error(call, arena_printf(call->arena, "This is no tar archive: %s.", why));
}

/* Octal digits between blanks, or GNU's binary form; -1 for anything else. */
static int64_t number(const char *p, size_t n)
{
    int64_t value = 0;
    size_t i = 0;

    if ((uint8_t)*p == 0x80) {
        for (i = 1; i < n; i++) {
            if (value > INT64_MAX >> 8)
                return -1;
            value = value << 8 | (uint8_t)p[i];
        }
        return value;
    }
    while (i < n && p[i] == ' ')
        i++;
    for (; i < n && p[i] >= '0' && p[i] <= '7'; i++)
        value = value << 3 | (p[i] - '0'); /* 12 digits at most */
    for (; i < n; i++)
        if (p[i] != ' ' && p[i] != '\0')
            return -1;
    return value;
}

/* Some old programs added signed bytes. */
static bool checksum_fits(const struct header *h)
{
    const size_t from = offsetof(struct header, checksum), to = from + sizeof h->checksum;
    const char *p = (const char *)h;
    int64_t plain = 0, with_sign = 0, said = number(h->checksum, sizeof h->checksum);

    for (size_t i = 0; i < sizeof *h; i++) {
        char c = i >= from && i < to ? ' ' : p[i];

        plain += (uint8_t)c;
        with_sign += (signed char)c;
    }
    return said == plain || said == with_sign;
}

static bool is_zero(const struct header *h)
{
    static const struct header zero;

    return memcmp(h, &zero, sizeof zero) == 0;
}

static void take_name(struct tar_reader *r, const struct header *h)
{
    bool ustar = memcmp(h->magic, "ustar\0", 6) == 0 && h->prefix[0];

    snprintf(r->name, sizeof r->name, "%.*s%s%.*s", ustar ? (int)sizeof h->prefix : 0, h->prefix,
             ustar ? "/" : "", (int)sizeof h->name, h->name);
}

static int64_t padding(int64_t size)
{
    return (TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK;
}

/* What an extended header says of the next member. */
struct extended {
    bool has_name, has_size;
    char name[TAR_NAME_MAX + 1];
    int64_t size;
};

static struct error *set_name(struct call *call, struct extended *x, const char *p, size_t n)
{
    n = strnlen(p, n);
    if (n > TAR_NAME_MAX)
        return no_archive(call, "a name in it is too long");
    memcpy(x->name, p, n);
    x->name[n] = '\0';
    x->has_name = true;
    return OK;
}

/* "<length> <key>=<value>\n", the length being that of all of it. */
static struct error *pax_record(struct call *call, struct extended *x, const char *p, size_t n,
                                size_t *used)
{
    const char *end = p + n, *key = memchr(p, ' ', MIN(n, (size_t)8)), *value;
    size_t length = 0;

    for (const char *c = p; key && c < key; c++) {
        if (!isdigit((unsigned char)*c))
            return no_archive(call, "an extended header is damaged");
        length = length * 10 + (size_t)(*c - '0');
    }
    if (!key || length <= (size_t)(key - p) + 1 || length > (size_t)(end - p) ||
        p[length - 1] != '\n')
        return no_archive(call, "an extended header is damaged");
    *used = length;
    end = p + length - 1;
    key++;
    value = memchr(key, '=', (size_t)(end - key));
    if (!value)
        return no_archive(call, "an extended header is damaged");
    if (value - key == 4 && memcmp(key, "path", 4) == 0)
        return set_name(call, x, value + 1, (size_t)(end - value - 1));
    if (value - key == 4 && memcmp(key, "size", 4) == 0) {
        x->size = 0;
        for (value++; value < end; value++) {
            if (!isdigit((unsigned char)*value) || x->size > INT64_MAX / 100)
                return no_archive(call, "a size in it is none");
            x->size = x->size * 10 + (*value - '0');
        }
        x->has_size = true;
    }
    return OK;
}

static struct error *read_extended(struct call *call, struct tar_reader *r, char type, int64_t size,
                                   struct extended *x)
{
    AUTO(room) text = {0};
    size_t used = 0;

    if (type != 'L' && type != 'x')
        return source_skip(call, r->from, size + padding(size));
    if (size > (int64_t)PAX_MAX)
        return no_archive(call, "an extended header is too long");
    text.p = xmalloc((size_t)size + 1);
    TRY(source_read_exactly(call, r->from, text.p, (size_t)size));
    TRY(source_skip(call, r->from, padding(size)));
    if (type == 'L')
        return set_name(call, x, text.p, (size_t)size);
    for (size_t at = 0; at < (size_t)size; at += used)
        TRY(pax_record(call, x, text.p + at, (size_t)size - at, &used));
    return OK;
}

static bool is_extended(char type)
{
    return type == 'L' || type == 'K' || type == 'x' || type == 'g';
}

static struct error *take_member(struct call *call, struct tar_reader *r, const struct header *h,
                                 const struct extended *x, int64_t size, bool *found)
{
    if (x->has_size)
        size = x->size;
    if (x->has_name)
        memcpy(r->name, x->name, sizeof r->name);
    else
        take_name(r, h);
    *found = h->type == '0' || h->type == '\0' || h->type == '7';
    if (h->type == '5')
        return source_skip(call, r->from, size ? size + padding(size) : 0);
    if (!*found)
        return err_import_error(
            call, arena_printf(call->arena, "'%s' in the archive is no file.",
                               utf8_clean(call->arena, r->name, strlen(r->name), &(size_t){0})));
    if (size > INT64_MAX - TAR_BLOCK)
        return no_archive(call, "a size in it is too big");
    r->size = r->left = size;
    return OK;
}

void tar_reader_init(struct tar_reader *r, struct source *from)
{
    *r = (struct tar_reader){.from = from};
}

/* The rest of the present member. */
static struct error *pass_over(struct call *call, struct tar_reader *r)
{
    int64_t left = r->left + padding(r->size);

    r->left = r->size = 0;
    return source_skip(call, r->from, left);
}

struct error *tar_next(struct call *call, struct tar_reader *r, bool *found)
{
    struct extended x = {0};
    struct header h;
    size_t got;

    *found = false;
    TRY(pass_over(call, r));
    while (!*found && !r->ended) {
        int64_t size;

        TRY(source_read(call, r->from, &h, sizeof h, &got));
        if (got && got < sizeof h)
            return err_import_error_premature_eof(call);
        r->ended = got == 0 || is_zero(&h);
        if (r->ended)
            return OK;
        size = number(h.size, sizeof h.size);
        if (!checksum_fits(&h) || size < 0)
            return no_archive(call, "a header's checksum does not fit");
        if (is_extended(h.type)) {
            TRY(read_extended(call, r, h.type, size, &x));
        } else {
            TRY(take_member(call, r, &h, &x, size, found));
            x = (struct extended){0};
        }
    }
    return OK;
}

struct error *tar_read(struct call *call, struct tar_reader *r, void *out, size_t n)
{
    if ((int64_t)MIN(n, (size_t)INT64_MAX) > r->left)
        return no_archive(call, "a file in it is shorter than it has to be");
    r->left -= (int64_t)n;
    return source_read_exactly(call, r->from, out, n);
}

/*** writing ***/

static void put_number(char *p, size_t n, int64_t value)
{
    if (value >> (3 * (n - 1)) == 0) {
        char text[24];

        snprintf(text, sizeof text, "%0*llo", (int)(n - 1), (unsigned long long)value);
        memcpy(p, text, n);
        return;
    }
    for (size_t i = n; i-- > 1; value >>= 8)
        p[i] = (char)(value & 0xff);
    p[0] = (char)0x80;
}

static void fill_header(struct header *h, const char *name, char type, int64_t size)
{
    int64_t sum = 0;

    *h = (struct header){.type = type};
    memcpy(h->name, name, strnlen(name, sizeof h->name));
    put_number(h->mode, sizeof h->mode, 0400);
    put_number(h->uid, sizeof h->uid, 0);
    put_number(h->gid, sizeof h->gid, 0);
    put_number(h->size, sizeof h->size, size);
    put_number(h->mtime, sizeof h->mtime, 0);
    memcpy(h->magic, "ustar\00000", sizeof h->magic);
    memset(h->checksum, ' ', sizeof h->checksum);
    for (size_t i = 0; i < sizeof *h; i++)
        sum += ((const uint8_t *)h)[i];
    put_number(h->checksum, sizeof h->checksum - 1, sum);
}

struct error *tar_pad(struct call *call, struct sink *to, int64_t size)
{
    return sink_zeroes(call, to, padding(size));
}

struct error *tar_header(struct call *call, struct sink *to, const char *name, int64_t size)
{
    size_t n = strlen(name);
    struct header h;

    if (n > sizeof h.name) {
        fill_header(&h, "././@LongLink", 'L', (int64_t)n + 1);
        TRY(sink_write(call, to, &h, sizeof h));
        TRY(sink_write(call, to, name, n + 1));
        TRY(tar_pad(call, to, (int64_t)n + 1));
    }
    fill_header(&h, name, '0', size);
    return sink_write(call, to, &h, sizeof h);
}

struct error *tar_member(struct call *call, struct sink *to, const char *name, const void *data,
                         size_t size)
{
    TRY(tar_header(call, to, name, (int64_t)size));
    TRY(sink_write(call, to, data, size));
    return tar_pad(call, to, (int64_t)size);
}

int64_t tar_size(int64_t size)
{
    return TAR_BLOCK + size + padding(size);
}

struct error *tar_end(struct call *call, struct sink *to)
{
    return sink_zeroes(call, to, 2 * (int64_t)TAR_BLOCK);
}
