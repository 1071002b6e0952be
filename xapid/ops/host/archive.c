/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/host/archive.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "libxapi/base/bytes.h"

#define BLOCK 512
#define ZIP_LIMIT ((uint64_t)UINT32_MAX)
#define ZIP_FILES 65535u

static bool put(struct archive *a, const void *data, size_t size)
{
    if (!a->failed && size)
        a->failed = !a->write(a->ctx, data, size);
    a->written += size;
    return !a->failed;
}

/*** tar: ustar ***/

static void tar_header(const struct archive *a, const char *name, size_t size, uint8_t out[BLOCK])
{
    unsigned sum = 0;

    memset(out, 0, BLOCK);
    snprintf((char *)out, 100, "%s", name);
    snprintf((char *)out + 100, 8, "%07o", 0600u);
    snprintf((char *)out + 108, 8, "%07o", 0u);
    snprintf((char *)out + 116, 8, "%07o", 0u);
    snprintf((char *)out + 124, 12, "%011llo", (unsigned long long)size);
    snprintf((char *)out + 136, 12, "%011llo", (unsigned long long)(a->time / USEC_PER_SEC));
    memset(out + 148, ' ', 8);
    out[156] = '0';
    memcpy(out + 257, "ustar\00000", 8);
    for (int i = 0; i < BLOCK; i++)
        sum += out[i];
    snprintf((char *)out + 148, 8, "%06o", sum);
}

static bool tar_add(struct archive *a, const char *name, const void *data, size_t size)
{
    static const uint8_t zero[BLOCK];
    uint8_t header[BLOCK];

    tar_header(a, name, size, header);
    return put(a, header, BLOCK) && put(a, data, size) &&
           put(a, zero, (BLOCK - size % BLOCK) % BLOCK);
}

/*** zip: stored ***/

static uint32_t crc32_of(const uint8_t *p, size_t n)
{
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

static void add16(struct buf *b, uint32_t v)
{
    uint8_t bytes[2];

    le_put16(bytes, (uint16_t)v);
    buf_add(b, bytes, sizeof bytes);
}

static void add32(struct buf *b, uint32_t v)
{
    uint8_t bytes[4];

    le_put32(bytes, v);
    buf_add(b, bytes, sizeof bytes);
}

/* What the local header and the directory have in common. */
static void zip_common(const struct archive *a, struct buf *b, const char *name, uint32_t crc,
                       size_t size)
{
    time_t seconds = (time_t)(a->time / USEC_PER_SEC);
    struct tm t = {.tm_year = 80, .tm_mday = 1};

    gmtime_r(&seconds, &t);
    add16(b, 20); /* needs version 2.0 */
    add16(b, 0);
    add16(b, 0); /* stored */
    add16(b, (uint32_t)(t.tm_hour << 11 | t.tm_min << 5 | t.tm_sec / 2));
    add16(b,
          (uint32_t)((t.tm_year > 80 ? t.tm_year - 80 : 0) << 9 | (t.tm_mon + 1) << 5 | t.tm_mday));
    add32(b, crc);
    add32(b, (uint32_t)size);
    add32(b, (uint32_t)size);
    add16(b, (uint32_t)strlen(name));
    add16(b, 0);
}

static bool zip_add(struct archive *a, const char *name, const void *data, size_t size)
{
    uint32_t crc = crc32_of(data, size), at = (uint32_t)a->written;
    struct buf head = {0};
    bool good;

    if (a->n >= ZIP_FILES || a->written + size + 4096 > ZIP_LIMIT)
        a->failed = true;
    add32(&head, 0x04034b50);
    zip_common(a, &head, name, crc, size);
    buf_puts(&head, name);
    good = put(a, head.data, head.len) && put(a, data, size);
    buf_release(&head);
    add32(&a->directory, 0x02014b50);
    add16(&a->directory, 3 << 8 | 20); /* made by Unix */
    zip_common(a, &a->directory, name, crc, size);
    add16(&a->directory, 0); /* no comment, one disk, no attributes but: */
    add16(&a->directory, 0);
    add16(&a->directory, 0);
    add32(&a->directory, 0100600u << 16);
    add32(&a->directory, at);
    buf_puts(&a->directory, name);
    return good;
}

static bool zip_end(struct archive *a)
{
    uint32_t at = (uint32_t)a->written, size = (uint32_t)a->directory.len;
    struct buf end = {0};
    bool good;

    add32(&end, 0x06054b50);
    add32(&end, 0);
    add16(&end, a->n);
    add16(&end, a->n);
    add32(&end, size);
    add32(&end, at);
    add16(&end, 0);
    good = put(a, a->directory.data, size) && put(a, end.data, end.len);
    buf_release(&end);
    return good;
}

/*** both ***/

bool archive_add(struct archive *a, const char *name, const void *data, size_t size)
{
    bool good;

    if (strlen(name) > ARCHIVE_NAME_MAX)
        a->failed = true;
    if (a->failed)
        return false;
    good = a->format == ARCHIVE_TAR ? tar_add(a, name, data, size) : zip_add(a, name, data, size);
    a->n++;
    return good;
}

bool archive_end(struct archive *a)
{
    static const uint8_t zero[2 * BLOCK];

    return a->format == ARCHIVE_TAR ? put(a, zero, sizeof zero) : zip_end(a);
}

void archive_release(struct archive *a)
{
    buf_release(&a->directory);
}
