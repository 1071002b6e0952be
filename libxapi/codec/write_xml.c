/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* write_xml.c -- values as XML-RPC. */
#include "libxapi/codec/write.h"

#define ADD(out, literal) buf_add((out), (literal), sizeof(literal) - 1)

/* What cannot stand in XML as it is; 0xef begins U+FFFE and U+FFFF, which XML does not know. */
static const bool special[256] = {
    [0x00 ... 0x08] = true, [0x0b] = true, [0x0c] = true, [0x0e ... 0x1f] = true, ['<'] = true,
    ['>'] = true,           ['&'] = true,  ['"'] = true,  [0xef] = true,
};
static const char marks[] = {'<', '>', '&', '"', '\xef'};

/* Writes the special byte at s, or nothing for it; returns how many bytes it took. */
static size_t add_special(struct buf *out, const unsigned char *s, size_t n)
{
    switch (*s) {
    case '<':
        ADD(out, "&lt;");
        return 1;
    case '>':
        ADD(out, "&gt;");
        return 1;
    case '&':
        ADD(out, "&amp;");
        return 1;
    case '"':
        ADD(out, "&quot;");
        return 1;
    case 0xef:
        if (n >= 3 && s[1] == 0xbf && s[2] >= 0xbe)
            return 3;
        buf_add(out, s, 1);
        return 1;
    default:
        return 1;
    }
}

static void add_escaped(struct buf *out, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t n = strlen(text);

    while (n) {
        size_t run = plain_run(s, n, special, marks, sizeof marks);

        buf_add(out, s, run);
        s += run;
        n -= run;
        if (n) {
            size_t used = add_special(out, s, n);

            out->escaped = true;
            s += used;
            n -= used;
        }
    }
}

static void xml_string(struct buf *out, const char *s)
{
    ADD(out, "<value>");
    add_escaped(out, s);
    ADD(out, "</value>");
}

static void xml_plain_string(struct buf *out, const char *s)
{
    ADD(out, "<value>");
    buf_puts(out, s);
    ADD(out, "</value>");
}

static void xml_integer(struct buf *out, int64_t i)
{
    char text[INT_TEXT_SIZE];
    size_t n = int_to_text(i, text);

    ADD(out, "<value>");
    buf_add(out, text, n);
    ADD(out, "</value>");
}

static void xml_typed_int(struct buf *out, int64_t i)
{
    char text[INT_TEXT_SIZE];
    size_t n = int_to_text(i, text);

    ADD(out, "<value><i4>");
    buf_add(out, text, n);
    ADD(out, "</i4></value>");
}

static void xml_boolean(struct buf *out, bool b)
{
    if (b)
        ADD(out, "<value><boolean>1</boolean></value>");
    else
        ADD(out, "<value><boolean>0</boolean></value>");
}

static void xml_real(struct buf *out, double d)
{
    char text[DOUBLE_TEXT_SIZE];
    size_t n = double_to_text(d, 16, text);

    ADD(out, "<value><double>");
    buf_add(out, text, n);
    ADD(out, "</double></value>");
}

static void xml_date(struct buf *out, usec_t date)
{
    char text[DATE_TEXT_SIZE];

    ADD(out, "<value><dateTime.iso8601>");
    buf_puts(out, date_to_text(date, text));
    ADD(out, "</dateTime.iso8601></value>");
}

static void xml_ref(struct buf *out, ref_t r)
{
    char text[REF_LONGEST];
    size_t n = write_ref_text(r, text);

    ADD(out, "<value>");
    buf_add(out, text, n);
    ADD(out, "</value>");
}

static void xml_nothing(struct buf *out)
{
    ADD(out, "<value></value>");
}

static void xml_nil(struct buf *out)
{
    ADD(out, "<value><nil/></value>");
}

static void xml_array_begin(struct buf *out)
{
    ADD(out, "<value><array><data>");
}

static void xml_array_next(struct buf *out)
{
    (void)out;
}

static void xml_array_end(struct buf *out)
{
    ADD(out, "</data></array></value>");
}

static void xml_struct_begin(struct buf *out)
{
    ADD(out, "<value><struct>");
}

static void xml_struct_end(struct buf *out)
{
    ADD(out, "</struct></value>");
}

static void xml_member_begin(struct buf *out, const char *name, bool first)
{
    (void)first;
    ADD(out, "<member><name>");
    add_escaped(out, name);
    ADD(out, "</name>");
}

static void xml_field_begin(struct buf *out, const char *name, bool first)
{
    (void)first;
    ADD(out, "<member><name>");
    buf_puts(out, name);
    ADD(out, "</name>");
}

static void xml_member_end(struct buf *out)
{
    ADD(out, "</member>");
}

static void xml_value(struct buf *out, const struct codec_env *env, const struct type *type,
                      const void *value)
{
    write_value(&codec_xmlrpc, out, env, type, value);
}

static const struct codec xml_plain;

static const struct codec xml_plain = CODEC(CODEC_XML, xml, xml_plain_string, xml_field_begin);
const struct codec codec_xmlrpc = CODEC(CODEC_XML, xml, xml_string, xml_member_begin);

void xmlrpc_call_begin(struct buf *out, const char *method)
{
    ADD(out, "<?xml version=\"1.0\"?><methodCall><methodName>");
    add_escaped(out, method);
    ADD(out, "</methodName><params>");
}

void xmlrpc_call_param(struct buf *out, const struct type *type, const void *value)
{
    ADD(out, "<param>");
    write_value(&codec_xmlrpc, out, NULL, type, value);
    ADD(out, "</param>");
}

void xmlrpc_call_end(struct buf *out)
{
    ADD(out, "</params></methodCall>");
}
