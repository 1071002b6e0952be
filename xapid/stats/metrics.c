/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * metrics.c -- the newest sample as OpenMetrics text, for monitoring systems that keep their own
 * history: counters as they are, not as rates.
 */
#include "xapid/stats/table.h"

/* Labels are uuids, devices and numbers: nothing in them needs to be escaped. */
static void write_sample(struct buf *out, const struct object *o, const struct figure *f)
{
    const struct figure_kind *k = f->kind;

    buf_printf(out, "%s%s{%s=\"%s\"", k->family, k->type == RRD_DERIVE ? "_total" : "",
               stats_owner_names[o->owner], o->uuid);
    if (k->label)
        buf_printf(out, ",%s=\"%s\"", k->label, f->instance);
    buf_puts(out, "} ");
    rrd_number(out, f->raw);
    buf_putc(out, '\n');
}

/* All samples of a family come together, after what it is. */
static void write_family(struct stats *stats, struct buf *out, const struct figure_kind *kind)
{
    bool begun = false;

    for (size_t i = 0; i < stats->table.n; i++) {
        const struct object *o = stats->table.v[i];

        for (size_t j = 0; j < o->n; j++) {
            if (o->v[j].kind != kind)
                continue;
            if (!begun)
                buf_printf(out, "# TYPE %s %s\n# HELP %s %s.\n", kind->family,
                           kind->type == RRD_DERIVE ? "counter" : "gauge", kind->family,
                           kind->description);
            begun = true;
            write_sample(out, o, &o->v[j]);
        }
    }
}

void metrics_write(struct stats *stats, struct buf *out)
{
    size_t n;
    const struct figure_kind *kinds = figure_kinds(&n);
    MUTEX_GUARD(&stats->table.lock);

    for (size_t i = 0; i < n; i++)
        if (kinds[i].family)
            write_family(stats, out, &kinds[i]);
    buf_puts(out, "# EOF\n");
}
