/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rrd_text.c -- a whole round-robin database as XML and JSON.
 *
 * In JSON what may be no number in it (NaN, Infinity) is a string, always.
 */
#include <math.h>

#include "libxapi/value/value.h"
#include "xapid/stats/rrd.h"

#define FORMAT_VERSION "0003"

void rrd_number(struct buf *out, double value)
{
    char text[DOUBLE_TEXT_SIZE];

    if (isnan(value)) {
        buf_puts(out, "NaN");
    } else if (isinf(value)) {
        buf_puts(out, value < 0 ? "-Infinity" : "Infinity");
    } else if (value == 0) {
        buf_puts(out, "0.0");
    } else {
        buf_add(out, text, double_to_text(value, 15, text));
    }
}

/* Names of ours are plain, those of an uploaded database may be anything. */
void rrd_put_xml(struct buf *out, const char *tag, const char *text)
{
    buf_printf(out, "<%s>", tag);
    for (const char *s = text; *s; s++) {
        if (*s == '<')
            buf_puts(out, "&lt;");
        else if (*s == '&')
            buf_puts(out, "&amp;");
        else
            buf_putc(out, *s);
    }
    buf_printf(out, "</%s>", tag);
}

void rrd_put_json(struct buf *out, const char *text)
{
    buf_putc(out, '"');
    for (const char *s = text; *s; s++) {
        if ((unsigned char)*s < 0x20)
            buf_printf(out, "\\u%04x", (unsigned)*s);
        else if (*s == '"' || *s == '\\')
            buf_printf(out, "\\%c", *s);
        else
            buf_putc(out, *s);
    }
    buf_putc(out, '"');
}

/*** XML ***/

static void xml_number(struct buf *out, const char *tag, double value)
{
    buf_printf(out, "<%s>", tag);
    rrd_number(out, value);
    buf_printf(out, "</%s>", tag);
}

static void xml_source(struct buf *out, const struct rrd_source *s)
{
    buf_puts(out, "<ds>");
    rrd_put_xml(out, "name", s->name);
    rrd_put_xml(out, "type", rrd_type_names[s->type]);
    xml_number(out, "minimal_heartbeat", s->heartbeat);
    xml_number(out, "min", s->min);
    xml_number(out, "max", s->max);
    xml_number(out, "last_ds", s->last);
    xml_number(out, "value", s->value);
    xml_number(out, "unknown_sec", s->unknown);
    buf_puts(out, "</ds>\n");
}

static void xml_archive(struct buf *out, const struct rrd *rrd, const struct rrd_archive *a)
{
    buf_printf(out, "<rra><cf>%s</cf><pdp_per_row>%u</pdp_per_row><params>", rrd_cf_names[a->cf],
               a->steps);
    xml_number(out, "xff", a->xff);
    buf_puts(out, "</params>\n<cdp_prep>");
    for (size_t i = 0; i < rrd->n_sources; i++) {
        buf_puts(out, "<ds>");
        xml_number(out, "primary_value", 0);
        xml_number(out, "secondary_value", 0);
        xml_number(out, "value", a->partials[i].value);
        buf_printf(out, "<unknown_datapoints>%u</unknown_datapoints></ds>", a->partials[i].unknown);
    }
    buf_puts(out, "</cdp_prep>\n<database>");
    for (size_t age = a->rows; age-- > 0;) {
        buf_puts(out, "<row>");
        for (size_t i = 0; i < rrd->n_sources; i++)
            xml_number(out, "v", rrd_value(rrd, a, age, i));
        buf_puts(out, "</row>\n");
    }
    buf_puts(out, "</database></rra>\n");
}

void rrd_write_xml(struct buf *out, const struct rrd *rrd)
{
    buf_printf(out,
               "<?xml version=\"1.0\"?>\n<rrd><version>" FORMAT_VERSION
               "</version><step>%d</step><lastupdate>%lld</lastupdate>\n",
               RRD_STEP, (long long)(rrd->last_update / USEC_PER_SEC));
    for (size_t i = 0; i < rrd->n_sources; i++)
        xml_source(out, &rrd->sources[i]);
    for (size_t i = 0; i < rrd->n_archives; i++)
        xml_archive(out, rrd, &rrd->archives[i]);
    buf_puts(out, "</rrd>\n");
}

/*** JSON ***/

static const char *comma(size_t i)
{
    return i ? "," : "";
}

static void json_number(struct buf *out, const char *key, double value)
{
    buf_printf(out, ",\"%s\":\"", key);
    rrd_number(out, value);
    buf_putc(out, '"');
}

static void json_source(struct buf *out, const struct rrd_source *s)
{
    buf_puts(out, "{\"name\":");
    rrd_put_json(out, s->name);
    buf_printf(out, ",\"type\":\"%s\"", rrd_type_names[s->type]);
    json_number(out, "minimal_heartbeat", s->heartbeat);
    json_number(out, "min", s->min);
    json_number(out, "max", s->max);
    json_number(out, "last_ds", s->last);
    json_number(out, "value", s->value);
    json_number(out, "unknown_sec", s->unknown);
    buf_putc(out, '}');
}

static void json_archive(struct buf *out, const struct rrd *rrd, const struct rrd_archive *a)
{
    buf_printf(out, "{\"cf\":\"%s\",\"pdp_per_row\":%u,\"params\":{\"xff\":\"", rrd_cf_names[a->cf],
               a->steps);
    rrd_number(out, a->xff);
    buf_puts(out, "\"},\"cdp_prep\":{\"ds\":[");
    for (size_t i = 0; i < rrd->n_sources; i++) {
        buf_printf(out, "%s{\"primary_value\":\"0.0\",\"secondary_value\":\"0.0\"", comma(i));
        json_number(out, "value", a->partials[i].value);
        buf_printf(out, ",\"unknown_datapoints\":%u}", a->partials[i].unknown);
    }
    buf_puts(out, "]},\"database\":[");
    for (size_t age = a->rows; age-- > 0;) {
        buf_puts(out, "[");
        for (size_t i = 0; i < rrd->n_sources; i++) {
            buf_printf(out, "%s\"", comma(i));
            rrd_number(out, rrd_value(rrd, a, age, i));
            buf_putc(out, '"');
        }
        buf_printf(out, "]%s", age ? "," : "");
    }
    buf_puts(out, "]}");
}

void rrd_write_json(struct buf *out, const struct rrd *rrd)
{
    buf_printf(out, "{\"version\":\"" FORMAT_VERSION "\",\"step\":%d,\"lastupdate\":%lld,\"ds\":[",
               RRD_STEP, (long long)(rrd->last_update / USEC_PER_SEC));
    for (size_t i = 0; i < rrd->n_sources; i++) {
        buf_puts(out, comma(i));
        json_source(out, &rrd->sources[i]);
    }
    buf_puts(out, "],\"rra\":[");
    for (size_t i = 0; i < rrd->n_archives; i++) {
        buf_puts(out, comma(i));
        json_archive(out, rrd, &rrd->archives[i]);
    }
    buf_puts(out, "]}\n");
}
