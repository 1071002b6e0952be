/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * updates.c -- what has been recorded since a time: rows, newest first, a column for each source of
 * each object asked for.
 *
 * The values are copied under the table's lock, and written without it.
 */
#include <math.h>
#include <stdlib.h>

#include "libxapi/base/memory.h"
#include "xapid/stats/table.h"

#define VALUES_MAX ((size_t)4 << 20)

/* Some columns of the answer: what one archive holds of one object. */
struct part {
    const struct object *object;
    const struct rrd_archive *archive;
};

struct answer {
    int64_t step, start, end; /* seconds: of a row; the oldest and the newest row's */
    size_t n_rows, n_columns;
    char **legend;  /* for each column */
    double *values; /* rows x columns, newest row first */
};

static void answer_release(struct answer *a)
{
    for (size_t i = 0; i < a->n_columns; i++)
        free(a->legend[i]);
    free(a->legend);
    free(a->values);
}

/*** choosing ***/

static bool is_listed(size_t n, const char *const *list, const char *uuid)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i], uuid) == 0)
            return true;
    return false;
}

static bool is_asked_for(const struct update_query *q, const struct object *o)
{
    if (o->owner == OWNER_HOST)
        return q->host;
    if (o->owner == OWNER_SR)
        return is_listed(q->n_srs, q->srs, o->uuid);
    return q->all_vms || is_listed(q->n_vms, q->vms, o->uuid);
}

static int64_t newest_update(const struct table *t)
{
    usec_t newest = 0;

    for (size_t i = 0; i < t->n; i++)
        newest = MAX(newest, t->v[i]->rrd->last_update);
    return newest / USEC_PER_SEC;
}

/* What is taken of one object: for each function one archive, with rows as long as those of the
 * first object (0: there is none yet). */
static size_t choose_of(const struct object *o, const struct update_query *q, int64_t start,
                        int64_t *step, struct part *parts)
{
    size_t n = 0;

    for (int cf = RRD_AVERAGE; cf <= RRD_LAST; cf++) {
        const struct rrd_archive *a = rrd_best(o->rrd, (enum rrd_cf)cf, q->interval, start);

        if (!a || (q->cf >= 0 && q->cf != cf) || (*step && rrd_row_seconds(a) != *step))
            continue;
        *step = rrd_row_seconds(a);
        parts[n++] = (struct part){o, a};
    }
    return n;
}

/* The host, then VMs, then repositories. */
static size_t choose(const struct table *t, const struct update_query *q, int64_t start,
                     struct part *parts)
{
    int64_t step = 0;
    size_t n = 0;

    for (enum stats_owner owner = OWNER_HOST; owner <= OWNER_SR; owner++)
        for (size_t i = 0; i < t->n; i++)
            if (t->v[i]->owner == owner && is_asked_for(q, t->v[i]))
                n += choose_of(t->v[i], q, start, &step, parts + n);
    return n;
}

/*** copying ***/

static void measure(struct answer *out, size_t n, const struct part *parts, int64_t start)
{
    size_t rows = 0;

    for (size_t i = 0; i < n; i++) {
        out->n_columns += parts[i].object->rrd->n_sources;
        out->step = rrd_row_seconds(parts[i].archive);
        out->end = MAX(out->end, rrd_newest_time(parts[i].object->rrd, parts[i].archive));
        rows = MAX(rows, parts[i].archive->rows);
    }
    if (n && out->end > start)
        out->n_rows = MIN(rows, (size_t)((out->end - start - 1) / out->step + 1));
    out->start = out->n_rows ? out->end - (int64_t)(out->n_rows - 1) * out->step : out->end;
}

static void copy_part(struct answer *out, const struct part *part, size_t column)
{
    const struct rrd *rrd = part->object->rrd;
    /* What was not sampled lately ends earlier. */
    int64_t late = (out->end - rrd_newest_time(rrd, part->archive)) / out->step;

    for (size_t s = 0; s < rrd->n_sources; s++) {
        out->legend[column + s] = xasprintf("%s:%s:%s:%s", rrd_cf_names[part->archive->cf],
                                            stats_owner_names[part->object->owner],
                                            part->object->uuid, rrd->sources[s].name);
        for (size_t row = 0; row < out->n_rows; row++)
            out->values[row * out->n_columns + column + s] =
                (int64_t)row < late ? NAN : rrd_value(rrd, part->archive, row - (size_t)late, s);
    }
}

static bool copy(struct stats *stats, const struct update_query *q, struct answer *out)
{
    struct table *t = &stats->table;
    MUTEX_GUARD(&t->lock);
    struct part *parts = xcalloc(t->n * (RRD_LAST + 1) + 1, sizeof *parts);
    int64_t start = q->start < 0 ? newest_update(t) + q->start : q->start;
    size_t n = choose(t, q, start, parts), column = 0;
    bool fits;

    measure(out, n, parts, start);
    fits = out->n_rows * out->n_columns <= VALUES_MAX;
    if (fits) {
        out->legend = xcalloc(out->n_columns + 1, sizeof(char *));
        out->values = xcalloc(out->n_rows * out->n_columns + 1, sizeof *out->values);
        for (size_t i = 0; i < n; i++) {
            copy_part(out, &parts[i], column);
            column += parts[i].object->rrd->n_sources;
        }
    } else {
        out->n_columns = 0;
    }
    free(parts);
    return fits;
}

/*** writing ***/

static int64_t time_of(const struct answer *a, size_t row)
{
    return a->end - (int64_t)row * a->step;
}

static void write_xml(struct buf *out, const struct answer *a)
{
    buf_printf(out,
               "<xport><meta><start>%lld</start><step>%lld</step><end>%lld</end><rows>%zu</rows>"
               "<columns>%zu</columns><legend>",
               (long long)a->start, (long long)a->step, (long long)a->end, a->n_rows, a->n_columns);
    for (size_t i = 0; i < a->n_columns; i++)
        rrd_put_xml(out, "entry", a->legend[i]);
    buf_puts(out, "</legend></meta><data>");
    for (size_t row = 0; row < a->n_rows; row++) {
        buf_printf(out, "<row><t>%lld</t>", (long long)time_of(a, row));
        for (size_t i = 0; i < a->n_columns; i++) {
            buf_puts(out, "<v>");
            rrd_number(out, a->values[row * a->n_columns + i]);
            buf_puts(out, "</v>");
        }
        buf_puts(out, "</row>");
    }
    buf_puts(out, "</data></xport>");
}

static void write_json(struct buf *out, const struct answer *a)
{
    buf_printf(out,
               "{\"meta\":{\"start\":%lld,\"step\":%lld,\"end\":%lld,\"rows\":%zu,\"columns\":%zu,"
               "\"legend\":[",
               (long long)a->start, (long long)a->step, (long long)a->end, a->n_rows, a->n_columns);
    for (size_t i = 0; i < a->n_columns; i++) {
        buf_puts(out, i ? "," : "");
        rrd_put_json(out, a->legend[i]);
    }
    buf_puts(out, "]},\"data\":[");
    for (size_t row = 0; row < a->n_rows; row++) {
        buf_printf(out, "%s{\"t\":%lld,\"values\":[", row ? "," : "", (long long)time_of(a, row));
        for (size_t i = 0; i < a->n_columns; i++) {
            buf_puts(out, i ? ",\"" : "\"");
            rrd_number(out, a->values[row * a->n_columns + i]);
            buf_putc(out, '"');
        }
        buf_puts(out, "]}");
    }
    buf_puts(out, "]}");
}

bool updates_write(struct stats *stats, const struct update_query *q, struct buf *out)
{
    AUTO(answer) a = {0};

    if (!copy(stats, q, &a))
        return false;
    if (q->json)
        write_json(out, &a);
    else
        write_xml(out, &a);
    return true;
}
