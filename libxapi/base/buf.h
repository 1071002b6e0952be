/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* buf.h -- a growing run of bytes, always followed by a NUL once anything was added. */
#pragma once

#include <string.h>

#include "libxapi/base/base.h"

/* Zeroed is empty.  With 'count_only' nothing is stored and only 'len' moves: the first of two
 * passes over a reply.  'escaped' is for who writes a format: it was not all text as it is. */
struct buf {
    char *data;
    size_t len, size;
    bool count_only, escaped;
};

void buf_release(struct buf *buf);
/* Makes room for n more bytes. */
void buf_reserve(struct buf *buf, size_t n);
void buf_printf(struct buf *buf, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Appends text escaped for XML and HTML, in elements and attributes.  Control characters have no
 * place in XML 1.0, not even escaped: they become blanks. */
void buf_xml(struct buf *buf, const char *text);
/* Gives the bytes away, NUL terminated and never NULL; the caller frees them.  The buffer is empty
 * afterwards. */
char *buf_steal(struct buf *buf);

static inline void buf_add(struct buf *buf, const void *p, size_t n)
{
    if (!buf->count_only && n) {
        if (buf->size - buf->len <= n)
            buf_reserve(buf, n);
        memcpy(buf->data + buf->len, p, n);
        buf->data[buf->len + n] = '\0';
    }
    buf->len += n;
}

static inline void buf_puts(struct buf *buf, const char *s)
{
    buf_add(buf, s, strlen(s));
}

static inline void buf_putc(struct buf *buf, char c)
{
    buf_add(buf, &c, 1);
}
