/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* output.c -- the forms of xe's output. */
#include "xe-cli/output.h"

#include <stdarg.h>
#include <string.h>

#include "libxapi/base/buf.h"

const char *out_escape(struct arena *arena, const char *text)
{
    char *out = arena_alloc(arena, 2 * strlen(text) + 1), *to = out;

    for (; *text; text++) {
        if (*text == ',' || *text == '\\')
            *to++ = '\\';
        *to++ = *text;
    }
    *to = '\0';
    return out;
}

/* Later output comes first: the stock command does so, and scripts have learnt it. */
static void hold(struct xe_output *o, const char *text)
{
    o->held = o->any ? arena_printf(o->arena, "%s,%s", text, o->held) : text;
    o->any = true;
}

static void hold_joined(struct xe_output *o, size_t n, const char *(*nth)(const void *, size_t),
                        const void *ctx)
{
    struct buf buf = {0};

    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_putc(&buf, ',');
        buf_puts(&buf, out_escape(o->arena, nth(ctx, i)));
    }
    hold(o, arena_strndup(o->arena, buf.data ? buf.data : "", buf.len));
    buf_release(&buf);
}

static const char *nth_line(const void *lines, size_t i)
{
    return ((const struct strings *)lines)->v[i];
}

static const char *nth_record(const void *records, size_t i)
{
    const struct xe_params *r = (const struct xe_params *)records + i;

    return r->n ? r->v[0].value : "";
}

void out_always(struct xe_output *o, const char *text)
{
    fputs(text, o->out);
    fputc('\n', o->out);
    fflush(o->out);
}

void out_message(struct xe_output *o, const char *text)
{
    if (!o->minimal)
        out_always(o, text);
}

void out_list(struct xe_output *o, const struct strings *lines)
{
    if (o->minimal) {
        hold_joined(o, lines->n, nth_line, lines);
        return;
    }
    for (size_t i = 0; i < lines->n; i++)
        out_always(o, lines->v[i]);
}

void out_text(struct xe_output *o, const char *line)
{
    out_list(o, &(struct strings){1, &line});
}

static void print_record(struct xe_output *o, const struct xe_params *r)
{
    size_t width = 0;

    for (size_t i = 0; i < r->n; i++)
        width = MAX(width, strlen(r->v[i].key));
    width += 4;
    for (size_t i = 0; i < r->n; i++)
        fprintf(o->out, i ? "%*s: %s\n" : "%-*s: %s\n", (int)width, r->v[i].key, r->v[i].value);
    if (r->n == 0)
        fputc('\n', o->out);
    fputs("\n\n", o->out);
}

void out_table(struct xe_output *o, const struct xe_params *records, size_t n)
{
    if (o->minimal) {
        if (n && records[0].n)
            hold_joined(o, n, nth_record, records);
        return;
    }
    for (size_t i = 0; i < n; i++)
        print_record(o, &records[i]);
    fflush(o->out);
}

void out_error(struct xe_output *o, const char *fmt, ...)
{
    va_list ap;

    fflush(o->out);
    va_start(ap, fmt);
    vfprintf(o->err, fmt, ap);
    va_end(ap);
    fflush(o->err);
}

void out_progress(void *output, double done)
{
    struct xe_output *o = output;
    double part = done < 0 ? 0 : done > 1 ? 1 : done;
    char bar[71];
    int hashes = (int)(part * 70.0);

    memset(bar, '#', sizeof bar);
    bar[hashes] = '\0';
    fprintf(o->err, "\r %3d%% %c %s", (int)(part * 100.0), "|/-\\"[(int)(part * 100.0) % 4], bar);
    if (done >= 1)
        fputc('\n', o->err);
    fflush(o->err);
}

void out_flush(struct xe_output *o)
{
    if (o->minimal)
        out_always(o, o->any ? o->held : "");
    fflush(o->out);
}
