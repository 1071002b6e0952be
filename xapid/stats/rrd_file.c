/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rrd_file.c -- a round-robin database as a file's bytes: little-endian numbers in the order of the
 * structs, rows oldest first, XXH64 of everything before it at the end.
 */
#include <stdlib.h>
#include <xxhash.h>

#include "libxapi/base/bytes.h"
#include "libxapi/base/memory.h"
#include "xapid/stats/rrd.h"

#define MAGIC "xapidrrd"
#define MAGIC_SIZE 8
#define VERSION 1
#define CHECKSUM_SIZE 8

/*** writing ***/

static void put32(struct buf *out, uint32_t v)
{
    char bytes[4];

    le_put32(bytes, v);
    buf_add(out, bytes, sizeof bytes);
}

static void put64(struct buf *out, uint64_t v)
{
    char bytes[8];

    le_put64(bytes, v);
    buf_add(out, bytes, sizeof bytes);
}

static void put_double(struct buf *out, double d)
{
    uint64_t bits;

    memcpy(&bits, &d, sizeof bits);
    put64(out, bits);
}

static void put_name(struct buf *out, const char *name)
{
    put32(out, (uint32_t)strlen(name));
    buf_puts(out, name);
}

static void put_source(struct buf *out, const struct rrd_source *s)
{
    const double numbers[] = {s->min, s->max, s->heartbeat, s->last, s->value, s->unknown};

    put_name(out, s->name);
    put32(out, s->type);
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
        put_double(out, numbers[i]);
}

static void put_archive(struct buf *out, const struct rrd *rrd, const struct rrd_archive *a)
{
    put32(out, a->cf);
    put32(out, a->steps);
    put32(out, a->rows);
    put_double(out, a->xff);
    put32(out, a->n_rows);
    for (size_t i = 0; i < rrd->n_sources; i++) {
        put_double(out, a->partials[i].value);
        put32(out, a->partials[i].unknown);
    }
    for (size_t age = a->n_rows; age-- > 0;)
        for (size_t i = 0; i < rrd->n_sources; i++)
            put_double(out, rrd_value(rrd, a, age, i));
}

void rrd_encode(struct buf *out, const struct rrd *rrd)
{
    size_t begin = out->len;

    buf_add(out, MAGIC, MAGIC_SIZE);
    put32(out, VERSION);
    put64(out, (uint64_t)rrd->last_update);
    put32(out, (uint32_t)rrd->n_sources);
    for (size_t i = 0; i < rrd->n_sources; i++)
        put_source(out, &rrd->sources[i]);
    put32(out, (uint32_t)rrd->n_stopped);
    for (size_t i = 0; i < rrd->n_stopped; i++)
        put_name(out, rrd->stopped[i]);
    put32(out, (uint32_t)rrd->n_archives);
    for (size_t i = 0; i < rrd->n_archives; i++)
        put_archive(out, rrd, &rrd->archives[i]);
    put64(out, XXH64(out->data + begin, out->len - begin, 0));
}

/*** reading ***/

/* Answers zeros once something was wrong. */
struct cursor {
    const char *p, *end;
    bool bad;
};

static const char *take(struct cursor *c, size_t n)
{
    static const char zeros[8];
    const char *p = c->p;

    if (c->bad || (size_t)(c->end - c->p) < n) {
        c->bad = true;
        return zeros;
    }
    c->p += n;
    return p;
}

/* One that is above its limit is bad. */
static uint32_t take32(struct cursor *c, uint32_t max)
{
    uint32_t v = le_get32(take(c, 4));

    c->bad |= v > max;
    return c->bad ? 0 : v;
}

static double take_double(struct cursor *c)
{
    uint64_t bits = le_get64(take(c, 8));
    double d;

    memcpy(&d, &bits, sizeof d);
    return d;
}

static void take_name(struct cursor *c, char out[RRD_NAME_MAX + 1])
{
    uint32_t n = take32(c, RRD_NAME_MAX);
    const char *p = take(c, n);

    if (c->bad)
        n = 0;
    memcpy(out, p, n);
    out[n] = '\0';
    c->bad |= n == 0 || strlen(out) != n;
}

static double at_least_zero(struct cursor *c)
{
    double d = take_double(c);

    c->bad |= !(d >= 0);
    return d;
}

static void take_source(struct cursor *c, struct rrd *rrd)
{
    char name[RRD_NAME_MAX + 1];
    struct rrd_source *s;
    enum rrd_type type;
    double min, max;
    int at;

    take_name(c, name);
    type = (enum rrd_type)take32(c, RRD_DERIVE);
    min = take_double(c);
    max = take_double(c);
    if (c->bad || rrd_find(rrd, name, 0) >= 0 ||
        (at = rrd_add_source(rrd, name, type, min, max)) < 0) {
        c->bad = true;
        return;
    }
    s = &rrd->sources[at];
    s->heartbeat = at_least_zero(c);
    s->last = take_double(c);
    s->value = take_double(c);
    s->unknown = at_least_zero(c);
    c->bad |= s->unknown > RRD_STEP;
}

static void take_archive(struct cursor *c, struct rrd *rrd, double *row)
{
    enum rrd_cf cf = (enum rrd_cf)take32(c, RRD_LAST);
    uint32_t steps = take32(c, RRD_STEPS_MAX), rows = take32(c, RRD_ROWS_MAX), n_rows;
    double xff = take_double(c);
    struct rrd_archive *a;

    if (c->bad || !rrd_add_archive(rrd, cf, steps, rows, xff)) {
        c->bad = true;
        return;
    }
    a = &rrd->archives[rrd->n_archives - 1];
    n_rows = take32(c, rows);
    for (size_t i = 0; i < rrd->n_sources; i++) {
        a->partials[i].value = take_double(c);
        a->partials[i].unknown = take32(c, steps);
    }
    while (!c->bad && n_rows-- > 0) {
        for (size_t i = 0; i < rrd->n_sources; i++)
            row[i] = take_double(c);
        if (!c->bad)
            rrd_push_row(rrd, a, row);
    }
}

static void take_all(struct cursor *c, struct rrd *rrd)
{
    char name[RRD_NAME_MAX + 1];
    double *row;
    uint32_t n;

    rrd->last_update = (usec_t)le_get64(take(c, 8));
    c->bad |= rrd->last_update < 0 || rrd->last_update > RRD_TIME_MAX;
    n = take32(c, RRD_SOURCES_MAX);
    for (uint32_t i = 0; i < n && !c->bad; i++)
        take_source(c, rrd);
    n = take32(c, RRD_SOURCES_MAX);
    for (uint32_t i = 0; i < n && !c->bad; i++) {
        take_name(c, name);
        rrd_stop(rrd, name, true);
    }
    n = take32(c, RRD_ARCHIVES_MAX);
    row = xmalloc((rrd->n_sources + 1) * sizeof *row);
    for (uint32_t i = 0; i < n && !c->bad; i++)
        take_archive(c, rrd, row);
    free(row);
}

struct rrd *rrd_decode(const void *data, size_t size, const char **why)
{
    struct cursor c = {data, (const char *)data + size, false};
    struct rrd *rrd;

    *why = "it is no file of statistics";
    if (size < MAGIC_SIZE + CHECKSUM_SIZE || memcmp(take(&c, MAGIC_SIZE), MAGIC, MAGIC_SIZE) != 0)
        return NULL;
    c.end -= CHECKSUM_SIZE;
    *why = "its checksum is wrong";
    if (XXH64(data, size - CHECKSUM_SIZE, 0) != le_get64(c.end))
        return NULL;
    *why = "it is of another version";
    if (take32(&c, VERSION) != VERSION)
        return NULL;
    *why = "it is damaged";
    rrd = rrd_empty();
    take_all(&c, rrd);
    if (!c.bad && c.p == c.end)
        return rrd;
    rrd_free(rrd);
    return NULL;
}
