/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* table.c -- from a sample's figures to rates, round-robin databases and alarms. */
#include "xapid/stats/table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/value/value.h"

void object_free(struct object *o)
{
    if (!o)
        return;
    rrd_free(o->rrd);
    alarms_release(&o->alarms);
    free(o->v);
    free(o);
}

void table_release(struct table *t)
{
    for (size_t i = 0; i < t->n; i++)
        object_free(t->v[i]);
    free(t->v);
    t->v = NULL;
    t->n = 0;
}

struct object *table_find(struct table *t, enum stats_owner owner, const char *uuid)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->v[i]->owner == owner && strcmp(t->v[i]->uuid, uuid) == 0)
            return t->v[i];
    return NULL;
}

/* Objects keep their order from sample to sample: the next one is tried first. */
static struct object *find_near(struct table *t, size_t hint, const struct figures *f)
{
    if (hint < t->n && t->v[hint]->owner == f->owner && strcmp(t->v[hint]->uuid, f->uuid) == 0)
        return t->v[hint];
    return table_find(t, f->owner, f->uuid);
}

static struct object *object_new(struct stats *stats, const struct figures *f, bool extremes)
{
    struct table *t = &stats->table;
    struct object *o = xcalloc(1, sizeof *o);

    o->owner = f->owner;
    snprintf(o->uuid, sizeof o->uuid, "%s", f->uuid);
    o->rrd = store_load(stats, f->owner, f->uuid);
    if (!o->rrd)
        o->rrd = rrd_new(f->owner == OWNER_HOST || extremes);
    o->saved = clock_mono();
    t->v = xrealloc(t->v, (t->n + 1) * sizeof(struct object *));
    t->v[t->n++] = o;
    return o;
}

/*** rates ***/

static const struct figure *same_figure(size_t n, const struct figure *v, size_t hint,
                                        const struct figure *f)
{
    for (size_t i = 0; i < n; i++) {
        const struct figure *g = &v[(hint + i) % n];

        if (g->kind == f->kind && strcmp(g->instance, f->instance) == 0)
            return g;
    }
    return NULL;
}

static void compute_rates(const struct object *o, size_t n, struct figure *v, usec_t time)
{
    double seconds = (double)(time - o->sampled) / USEC_PER_SEC;

    for (size_t i = 0; i < n; i++) {
        struct rrd_source s = figure_source(v[i].kind);
        const struct figure *was = same_figure(o->n, o->v, i, &v[i]);

        s.last = was ? was->raw : NAN;
        v[i].value = s.type == RRD_GAUGE ? v[i].raw : rrd_rate(&s, v[i].raw, seconds);
    }
}

/*** recording ***/

/* Those that are usually recorded are, from the first sample in which they appear. */
static void add_sources(struct object *o, size_t n, const struct figure *v)
{
    char name[RRD_NAME_MAX + 1];

    for (size_t i = 0; i < n; i++) {
        if (!v[i].kind->standard)
            continue;
        figure_name(&v[i], name);
        if (rrd_find(o->rrd, name, i) >= 0 || rrd_is_stopped(o->rrd, name))
            continue;
        /* Beyond the limit it is not recorded; what was there stays. */
        if (rrd_add_source(o->rrd, name, v[i].kind->type, 0, v[i].kind->max) < 0)
            return;
    }
}

static void record(struct journal *journal, struct object *o, usec_t time)
{
    double *raw = xmalloc((o->rrd->n_sources + 1) * sizeof *raw);
    char name[RRD_NAME_MAX + 1];
    size_t hint = 0;

    for (size_t i = 0; i < o->rrd->n_sources; i++)
        raw[i] = NAN;
    for (size_t i = 0; i < o->n; i++) {
        int at;

        figure_name(&o->v[i], name);
        at = rrd_find(o->rrd, name, hint);
        if (at < 0)
            continue;
        raw[at] = o->v[i].raw;
        hint = (size_t)at + 1;
    }
    rrd_update(o->rrd, time, raw);
    journal_note(journal, o, time, raw);
    free(raw);
}

static struct sampled sampled_of(const struct object *o)
{
    return (struct sampled){
        .owner = o->owner, .uuid = o->uuid, .time = o->sampled, .n = o->n, .v = o->v};
}

static void look_for_alarms(struct arena *arena, const struct table *t, struct object *o,
                            const struct figures *f, struct raised **raised)
{
    const char *text = strmap_get(&f->other_config, "perfmon");
    struct sampled sample = sampled_of(o), host = sampled_of(t->v[0]);

    if (!alarms_set(&o->alarms, o->owner, text))
        log_warning("%s %s: other_config:perfmon is not understood", stats_owner_names[o->owner],
                    o->uuid);
    if (host.owner == OWNER_HOST)
        sample.host = &host;
    alarms_check(arena, &o->alarms, &sample, raised);
}

void table_update(struct stats *stats, struct arena *arena, const struct figures *figures,
                  size_t position, usec_t time, bool extremes, struct raised **raised)
{
    struct object *o = find_near(&stats->table, position, figures);
    struct figure *v = xmalloc((figures->n + 1) * sizeof *v);

    if (!o)
        o = object_new(stats, figures, extremes);
    if (figures->n)
        memcpy(v, figures->v, figures->n * sizeof *v);
    compute_rates(o, figures->n, v, time);
    free(o->v);
    o->v = v;
    o->n = figures->n;
    o->sampled = time;
    o->present = true;
    add_sources(o, o->n, o->v);
    record(&stats->journal, o, time);
    look_for_alarms(arena, &stats->table, o, figures, raised);
}

struct object **table_take_absent(struct table *t, size_t *n)
{
    struct object **gone = xmalloc((t->n + 1) * sizeof(struct object *));
    size_t kept = 0;

    *n = 0;
    for (size_t i = 0; i < t->n; i++) {
        if (t->v[i]->present)
            t->v[kept++] = t->v[i];
        else
            gone[(*n)++] = t->v[i];
    }
    t->n = kept;
    for (size_t i = 0; i < t->n; i++)
        t->v[i]->present = false;
    return gone;
}
