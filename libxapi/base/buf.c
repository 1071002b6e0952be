/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libxapi/base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "libxapi/base/memory.h"

void buf_release(struct buf *buf)
{
    free(buf->data);
    *buf = (struct buf){0};
}

void buf_reserve(struct buf *buf, size_t n)
{
    size_t size = buf->size ? buf->size : 256;

    while (size - buf->len <= n)
        size *= 2;
    if (size == buf->size)
        return;
    buf->data = xrealloc(buf->data, size);
    buf->size = size;
}

void buf_printf(struct buf *buf, const char *fmt, ...)
{
    va_list ap;
    char small[256];
    int n;

    va_start(ap, fmt);
    n = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    if ((size_t)n < sizeof small) {
        buf_add(buf, small, (size_t)n);
        return;
    }
    if (!buf->count_only) {
        buf_reserve(buf, (size_t)n);
        va_start(ap, fmt);
        vsnprintf(buf->data + buf->len, (size_t)n + 1, fmt, ap);
        va_end(ap);
    }
    buf->len += (size_t)n;
}

char *buf_steal(struct buf *buf)
{
    char *data = buf->data ? buf->data : xstrdup("");

    *buf = (struct buf){0};
    return data;
}

void buf_xml(struct buf *buf, const char *text)
{
    for (; *text; text++) {
        if (*text == '<')
            buf_puts(buf, "&lt;");
        else if (*text == '>')
            buf_puts(buf, "&gt;");
        else if (*text == '&')
            buf_puts(buf, "&amp;");
        else if (*text == '"')
            buf_puts(buf, "&quot;");
        else
            buf_putc(buf, (unsigned char)*text < ' ' ? ' ' : *text);
    }
}
