/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rrd_xml.c -- reads a round-robin database from XML: what another host or program uploads.
 *
 * Element by element, without a tree: an upload is megabytes.  Each text is known by the path of
 * its element.
 */
#include <libxml/xmlreader.h>
#include <math.h>
#include <stdlib.h>

#include "libxapi/base/memory.h"
#include "libxapi/value/value.h"
#include "xapid/stats/rrd.h"

#define PATH_SIZE 96
#define TEXT_SIZE 128

struct loading {
    struct rrd *rrd;
    const char *bad; /* what is wrong, or NULL */
    char path[PATH_SIZE];
    char text[TEXT_SIZE];
    size_t text_len;
    struct rrd_source source;
    /* An archive. */
    enum rrd_cf cf;
    double steps, xff;
    struct rrd_partial partial;
    size_t n_partials, n_values, room, n_rows;
    struct rrd_partial *partials; /* for each source */
    double *values;               /* its rows, as they come */
};

static void bad(struct loading *l, const char *why)
{
    if (!l->bad)
        l->bad = why;
}

static double number(struct loading *l)
{
    double d = NAN;

    if (strcmp(l->text, "U") == 0 || strcmp(l->text, "-nan") == 0)
        return NAN;
    if (!double_from_text(l->text, &d))
        bad(l, "a number cannot be read");
    return d;
}

static double number_within(struct loading *l, double min, double max)
{
    double d = number(l);

    if (!(d >= min && d <= max)) {
        bad(l, "a number is beyond its limits");
        return min;
    }
    return d;
}

/*** what texts mean ***/

static void on_step(struct loading *l)
{
    if (number(l) != RRD_STEP)
        bad(l, "its step is not 5 seconds");
}

static void on_last_update(struct loading *l)
{
    l->rrd->last_update =
        (usec_t)(number_within(l, 0, (double)RRD_TIME_MAX / USEC_PER_SEC) * USEC_PER_SEC);
}

static void on_name(struct loading *l)
{
    if (!*l->text || l->text_len > RRD_NAME_MAX)
        bad(l, "the name of a source is empty or too long");
    else
        memcpy(l->source.name, l->text, l->text_len + 1);
}

static void on_type(struct loading *l)
{
    int type = rrd_name_index(rrd_type_names, l->text);

    if (type < 0)
        bad(l, "the type of a source is unknown");
    else
        l->source.type = (enum rrd_type)type;
}

static void on_heartbeat(struct loading *l)
{
    l->source.heartbeat = number_within(l, 0, 1e9);
}

static void on_min(struct loading *l)
{
    l->source.min = number(l);
}

static void on_max(struct loading *l)
{
    l->source.max = number(l);
}

static void on_last(struct loading *l)
{
    l->source.last = number(l);
}

static void on_value(struct loading *l)
{
    l->source.value = number(l);
}

static void on_unknown(struct loading *l)
{
    l->source.unknown = number_within(l, 0, RRD_STEP);
}

static void on_cf(struct loading *l)
{
    int cf = rrd_name_index(rrd_cf_names, l->text);

    if (cf < 0)
        bad(l, "the function of an archive is unknown");
    else
        l->cf = (enum rrd_cf)cf;
}

static void on_steps(struct loading *l)
{
    l->steps = number_within(l, 1, RRD_STEPS_MAX);
}

static void on_xff(struct loading *l)
{
    l->xff = number_within(l, 0, 1);
}

static void on_partial_value(struct loading *l)
{
    l->partial.value = number(l);
}

static void on_partial_unknown(struct loading *l)
{
    l->partial.unknown = (uint32_t)number_within(l, 0, RRD_STEPS_MAX);
}

static void on_row_value(struct loading *l)
{
    if (l->n_values == RRD_VALUES_MAX) {
        bad(l, "it has too many values");
        return;
    }
    if (l->n_values == l->room) {
        l->room = MAX(l->room * 2, 256);
        l->values = xrealloc(l->values, l->room * sizeof *l->values);
    }
    l->values[l->n_values++] = number(l);
}

/*** what ends of elements mean ***/

static void on_source(struct loading *l)
{
    struct rrd_source *s = &l->source;
    int at;

    if (l->rrd->n_archives || !*s->name || rrd_find(l->rrd, s->name, 0) >= 0) {
        bad(l, "a source has no name, the name of another one, or comes after an archive");
        return;
    }
    at = rrd_add_source(l->rrd, s->name, s->type, s->min, s->max);
    if (at < 0)
        bad(l, "it has too many sources");
    else
        l->rrd->sources[at] = *s;
}

static void on_partial(struct loading *l)
{
    if (l->n_partials == l->rrd->n_sources) {
        bad(l, "an archive has not as many sources as there are");
        return;
    }
    l->partials = xrealloc(l->partials, (l->n_partials + 1) * sizeof *l->partials);
    l->partials[l->n_partials++] = l->partial;
}

static void on_row(struct loading *l)
{
    l->n_rows++;
    if (l->n_rows > RRD_ROWS_MAX || l->n_values != l->n_rows * l->rrd->n_sources)
        bad(l, "an archive has too many rows, or a row not as many values as there are sources");
}

static bool is_unknown(const double *row, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isnan(row[i]))
            return false;
    return true;
}

/* Rows before anything was known take no memory. */
static void push_rows(struct loading *l, struct rrd_archive *a)
{
    size_t n = l->rrd->n_sources, row = 0;

    while (row < l->n_rows && is_unknown(&l->values[row * n], n))
        row++;
    for (; row < l->n_rows; row++)
        rrd_push_row(l->rrd, a, &l->values[row * n]);
}

static void on_archive(struct loading *l)
{
    struct rrd *rrd = l->rrd;
    struct rrd_archive *a;

    if (l->n_partials && l->n_partials != rrd->n_sources)
        bad(l, "an archive has not as many sources as there are");
    if (l->bad || !rrd_add_archive(rrd, l->cf, (uint32_t)l->steps, (uint32_t)l->n_rows, l->xff)) {
        bad(l, "it has too many archives, or one without rows");
        return;
    }
    a = &rrd->archives[rrd->n_archives - 1];
    for (size_t i = 0; i < l->n_partials; i++) {
        a->partials[i] = l->partials[i];
        a->partials[i].unknown = MIN(a->partials[i].unknown, a->steps);
    }
    push_rows(l, a);
    l->n_partials = l->n_values = l->n_rows = 0;
}

static void begin_source(struct loading *l)
{
    l->source = (struct rrd_source){
        .min = -INFINITY, .max = INFINITY, .heartbeat = RRD_HEARTBEAT, .last = NAN};
}

static void begin_archive(struct loading *l)
{
    l->cf = RRD_AVERAGE;
    l->steps = 1;
    l->xff = 0.5;
}

static void begin_partial(struct loading *l)
{
    l->partial = (struct rrd_partial){NAN, 0};
}

static const struct {
    const char *path;
    void (*begin)(struct loading *l);
    void (*end)(struct loading *l);
} elements[] = {
    {"/rrd/rra/database/row/v", NULL, on_row_value}, /* first, as the most frequent */
    {"/rrd/rra/database/row", NULL, on_row},
    {"/rrd/step", NULL, on_step},
    {"/rrd/lastupdate", NULL, on_last_update},
    {"/rrd/ds", begin_source, on_source},
    {"/rrd/ds/name", NULL, on_name},
    {"/rrd/ds/type", NULL, on_type},
    {"/rrd/ds/minimal_heartbeat", NULL, on_heartbeat},
    {"/rrd/ds/min", NULL, on_min},
    {"/rrd/ds/max", NULL, on_max},
    {"/rrd/ds/last_ds", NULL, on_last},
    {"/rrd/ds/value", NULL, on_value},
    {"/rrd/ds/unknown_sec", NULL, on_unknown},
    {"/rrd/rra", begin_archive, on_archive},
    {"/rrd/rra/cf", NULL, on_cf},
    {"/rrd/rra/pdp_per_row", NULL, on_steps},
    {"/rrd/rra/xff", NULL, on_xff},
    {"/rrd/rra/params/xff", NULL, on_xff},
    {"/rrd/rra/cdp_prep/ds", begin_partial, on_partial},
    {"/rrd/rra/cdp_prep/ds/value", NULL, on_partial_value},
    {"/rrd/rra/cdp_prep/ds/unknown_datapoints", NULL, on_partial_unknown},
};

/*** walking ***/

static void begin_element(struct loading *l, const char *name)
{
    size_t used = strlen(l->path), n = strlen(name);

    l->text_len = 0;
    l->text[0] = '\0';
    if (used + 1 + n >= PATH_SIZE) {
        bad(l, "its elements are nested too deep");
        return;
    }
    l->path[used] = '/';
    memcpy(l->path + used + 1, name, n + 1);
    for (size_t i = 0; i < ARRAY_SIZE(elements); i++)
        if (elements[i].begin && strcmp(elements[i].path, l->path) == 0)
            elements[i].begin(l);
}

static void end_element(struct loading *l)
{
    char *slash = strrchr(l->path, '/');

    for (size_t i = 0; i < ARRAY_SIZE(elements); i++) {
        if (strcmp(elements[i].path, l->path) == 0) {
            elements[i].end(l);
            break;
        }
    }
    l->text_len = 0;
    l->text[0] = '\0';
    if (slash)
        *slash = '\0';
}

/* Without white space around it. */
static void add_text(struct loading *l, const char *s)
{
    size_t n;

    s += strspn(s, " \t\r\n");
    n = strlen(s);
    while (n && strchr(" \t\r\n", s[n - 1]))
        n--;
    if (n >= TEXT_SIZE - l->text_len) {
        bad(l, "a text is too long");
        return;
    }
    memcpy(l->text + l->text_len, s, n);
    l->text_len += n;
    l->text[l->text_len] = '\0';
}

static void on_node(struct loading *l, xmlTextReaderPtr reader)
{
    switch (xmlTextReaderNodeType(reader)) {
    case XML_READER_TYPE_ELEMENT:
        begin_element(l, (const char *)xmlTextReaderConstName(reader));
        if (!l->bad && xmlTextReaderIsEmptyElement(reader) == 1)
            end_element(l);
        break;
    case XML_READER_TYPE_END_ELEMENT:
        end_element(l);
        break;
    case XML_READER_TYPE_TEXT:
    case XML_READER_TYPE_CDATA:
        add_text(l, (const char *)xmlTextReaderConstValue(reader));
        break;
    case XML_READER_TYPE_DOCUMENT_TYPE:
    case XML_READER_TYPE_ENTITY_REFERENCE:
        bad(l, "it declares or uses entities");
        break;
    default:
        break; /* comments, white space */
    }
}

struct rrd *rrd_read_xml(const char *text, size_t size, const char **why)
{
    xmlTextReaderPtr reader =
        size > INT32_MAX
            ? NULL
            : xmlReaderForMemory(text, (int)size, NULL, NULL,
                                 XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    struct loading l = {.rrd = rrd_empty()};
    int more = reader ? 1 : -1;

    while (!l.bad && more == 1 && (more = xmlTextReaderRead(reader)) == 1)
        on_node(&l, reader);
    if (more < 0)
        bad(&l, "it is not well-formed XML");
    if (!l.bad && (!l.rrd->n_archives || !l.rrd->last_update))
        bad(&l, "it is no round-robin database with archives and a time");
    xmlFreeTextReader(reader);
    free(l.values);
    free(l.partials);
    *why = l.bad;
    if (!l.bad)
        return l.rrd;
    rrd_free(l.rrd);
    return NULL;
}
