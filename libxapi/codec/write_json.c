/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* write_json.c -- values as JSON. */
#include "libxapi/codec/write.h"

#include <math.h>

#define ADD(out, literal) buf_add((out), (literal), sizeof(literal) - 1)

static const bool special[256] = {[0x00 ... 0x1f] = true, ['"'] = true, ['\\'] = true};
static const char marks[] = {'"', '\\'};

static void add_special(struct buf *out, unsigned char c)
{
    static const char letters[256] = {['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r',
                                      ['\t'] = 't', ['"'] = '"',  ['\\'] = '\\'};
    static const char hex[] = "0123456789abcdef";
    char text[6] = {'\\', letters[c]};

    if (letters[c]) {
        buf_add(out, text, 2);
        return;
    }
    memcpy(text, "\\u00", 4);
    text[4] = hex[c >> 4];
    text[5] = hex[c & 15];
    buf_add(out, text, sizeof text);
}

static void add_quoted(struct buf *out, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t n = strlen(text);

    buf_putc(out, '"');
    while (n) {
        size_t run = plain_run(s, n, special, marks, sizeof marks);

        buf_add(out, s, run);
        s += run;
        n -= run;
        if (n) {
            out->escaped = true;
            add_special(out, *s++);
            n--;
        }
    }
    buf_putc(out, '"');
}

static void json_string_value(struct buf *out, const char *s)
{
    add_quoted(out, s);
}

static void json_plain_string(struct buf *out, const char *s)
{
    buf_putc(out, '"');
    buf_puts(out, s);
    buf_putc(out, '"');
}

static void json_integer(struct buf *out, int64_t i)
{
    char text[INT_TEXT_SIZE];
    size_t n = int_to_text(i, text);

    buf_add(out, text, n);
}

static void json_boolean(struct buf *out, bool b)
{
    if (b)
        ADD(out, "true");
    else
        ADD(out, "false");
}

static void json_real(struct buf *out, double d)
{
    char text[DOUBLE_TEXT_SIZE];
    size_t n;

    if (isnan(d)) {
        ADD(out, "\"NaN\"");
    } else if (isinf(d)) {
        buf_puts(out, d < 0 ? "\"-Infinity\"" : "\"Infinity\"");
    } else {
        n = double_to_text(d, 16, text);
        buf_add(out, text, n);
    }
}

static void json_date(struct buf *out, usec_t date)
{
    char text[DATE_TEXT_SIZE];

    buf_putc(out, '"');
    buf_puts(out, date_to_text(date, text));
    buf_putc(out, '"');
}

static void json_ref(struct buf *out, ref_t r)
{
    char text[REF_LONGEST + 2] = {'"'};
    size_t n = write_ref_text(r, text + 1);

    text[n + 1] = '"';
    buf_add(out, text, n + 2);
}

static void json_nothing(struct buf *out)
{
    ADD(out, "\"\"");
}

static void json_nil(struct buf *out)
{
    ADD(out, "null");
}

static void json_array_begin(struct buf *out)
{
    buf_putc(out, '[');
}

static void json_array_next(struct buf *out)
{
    buf_putc(out, ',');
}

static void json_array_end(struct buf *out)
{
    buf_putc(out, ']');
}

static void json_struct_begin(struct buf *out)
{
    buf_putc(out, '{');
}

static void json_struct_end(struct buf *out)
{
    buf_putc(out, '}');
}

static void json_member_begin(struct buf *out, const char *name, bool first)
{
    if (!first)
        buf_putc(out, ',');
    add_quoted(out, name);
    buf_putc(out, ':');
}

static void json_field_begin(struct buf *out, const char *name, bool first)
{
    if (!first)
        buf_putc(out, ',');
    json_plain_string(out, name);
    buf_putc(out, ':');
}

static void json_member_end(struct buf *out)
{
    (void)out;
}

static void json_value(struct buf *out, const struct codec_env *env, const struct type *type,
                       const void *value)
{
    write_value(&codec_json, out, env, type, value);
}

/* A typed int is no other in JSON. */
#define json_typed_int json_integer

static const struct codec json_plain;

static const struct codec json_plain = CODEC(CODEC_JSON, json, json_plain_string, json_field_begin);
const struct codec codec_json = CODEC(CODEC_JSON, json, json_string_value, json_member_begin);
