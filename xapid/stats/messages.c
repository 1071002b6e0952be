/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * messages.c -- data sources of hosts, VMs and repositories, as calls of the XenAPI.
 *
 * A source is a figure of the newest sample, or one that is recorded though nothing gives it now.
 */
#include <math.h>

#include "xapid/main/xapid.h"
#include "xapid/stats/table.h"
#include "xapid/ops/host/here.h"

#define DELAY_MAX 86400.0 /* seconds */

/*** whose ***/

/* What a message is about; 'here': it is sampled on this host, or should be. */
struct target {
    enum stats_owner owner;
    const char *uuid;
    bool here;
};

static struct error *host_target(struct call *call, ref_t ref, struct target *out)
{
    const struct host *host;

    TRY(DB_GET(call, host, ref, &host));
    *out = (struct target){OWNER_HOST, host->uuid, true};
    return host_is_here(call, ref);
}

static struct error *vm_target(struct call *call, ref_t ref, struct target *out)
{
    const struct vm *vm;

    TRY(DB_GET(call, vm, ref, &vm));
    *out = (struct target){OWNER_VM, vm->uuid,
                           vm->power_state == VM_RUNNING || vm->power_state == VM_PAUSED};
    return out->here ? host_is_here(call, vm->resident_on) : OK;
}

/* Sources can be asked for only while there is a domain. */
static struct error *live_vm_target(struct call *call, ref_t ref, struct target *out)
{
    const struct vm *vm;

    TRY(vm_target(call, ref, out));
    TRY(DB_GET(call, vm, ref, &vm));
    if (out->here)
        return OK;
    return err_vm_bad_power_state(call, call_ref(call, ref), "running",
                                  vm->power_state == VM_SUSPENDED ? "suspended" : "halted");
}

static struct error *sr_target(struct call *call, ref_t ref, struct target *out)
{
    const struct sr *sr;

    TRY(DB_GET(call, sr, ref, &sr));
    *out = (struct target){OWNER_SR, sr->uuid, true};
    return OK;
}

/* What has begun since the last sample is sampled now.  NULL where there is nothing; locks the
 * table in any case. */
static struct object *find_locked(struct stats *stats, const struct target *t)
{
    struct object *o;

    mutex_lock(&stats->table.lock);
    o = table_find(&stats->table, t->owner, t->uuid);
    if (o || !t->here)
        return o;
    mutex_unlock(&stats->table.lock);
    stats_sample(stats);
    mutex_lock(&stats->table.lock);
    return table_find(&stats->table, t->owner, t->uuid);
}

static struct figure *find_figure(const struct object *o, const char *name)
{
    char its[RRD_NAME_MAX + 1];

    for (size_t i = 0; o && i < o->n; i++) {
        figure_name(&o->v[i], its);
        if (strcmp(its, name) == 0)
            return &o->v[i];
    }
    return NULL;
}

/*** what there is ***/

static struct data_source source_of_figure(struct arena *arena, const struct object *o,
                                           const struct figure *f)
{
    char name[RRD_NAME_MAX + 1];

    figure_name(f, name);
    return (struct data_source){.name_label = arena_strdup(arena, name),
                                .name_description = f->kind->description,
                                .enabled = rrd_find(o->rrd, name, 0) >= 0,
                                .standard = f->kind->standard,
                                .units = f->kind->units,
                                .min = 0,
                                .max = f->kind->max,
                                .value = f->value};
}

static struct data_source source_of_past(struct arena *arena, const struct rrd_source *s)
{
    return (struct data_source){.name_label = arena_strdup(arena, s->name),
                                .name_description = "Recorded earlier; nothing gives it now",
                                .enabled = true,
                                .units = "",
                                .min = s->min,
                                .max = s->max,
                                .value = NAN};
}

static struct error *get_sources(struct call *call, const struct target *t, struct set *result)
{
    struct object *o = find_locked(call->xapid->stats, t);
    size_t room = o ? o->n + o->rrd->n_sources : 0, n = 0;
    struct data_source *v = arena_array(call->arena, struct data_source, room + 1);
    const struct data_source **set = arena_array(call->arena, const struct data_source *, room + 1);

    for (size_t i = 0; o && i < o->n; i++)
        v[n++] = source_of_figure(call->arena, o, &o->v[i]);
    for (size_t i = 0; o && i < o->rrd->n_sources; i++)
        if (!find_figure(o, o->rrd->sources[i].name))
            v[n++] = source_of_past(call->arena, &o->rrd->sources[i]);
    mutex_unlock(&call->xapid->stats->table.lock);
    for (size_t i = 0; i < n; i++)
        set[i] = &v[i];
    *result = (struct set){n, set};
    return OK;
}

/*** what can be done with one ***/

static struct error *unknown_source(struct call *call, const char *name)
{
    return err_invalid_value(call, "data_source", name);
}

static struct error *query(struct call *call, const struct target *t, const char *name,
                           double *result)
{
    struct object *o = find_locked(call->xapid->stats, t);
    const struct figure *f = find_figure(o, name);
    bool recorded = o && rrd_find(o->rrd, name, 0) >= 0;

    *result = f ? f->value : NAN;
    mutex_unlock(&call->xapid->stats->table.lock);
    return f || recorded ? OK : unknown_source(call, name);
}

static struct error *start_recording(struct call *call, const struct target *t, const char *name)
{
    struct object *o = find_locked(call->xapid->stats, t);
    const struct figure *f = find_figure(o, name);
    bool room = true;

    if (f) {
        rrd_stop(o->rrd, name, false);
        room = rrd_find(o->rrd, name, 0) >= 0 ||
               rrd_add_source(o->rrd, name, f->kind->type, 0, f->kind->max) >= 0;
        o->saved = SAVE_NEXT;
    }
    mutex_unlock(&call->xapid->stats->table.lock);
    if (!f)
        return unknown_source(call, name);
    return room ? OK : err_invalid_value(call, "data_source", "too many are recorded already");
}

static struct error *stop_recording(struct call *call, const struct target *t, const char *name)
{
    struct object *o = find_locked(call->xapid->stats, t);
    const struct figure *f = find_figure(o, name);
    int at = o ? rrd_find(o->rrd, name, 0) : -1;

    if (at >= 0)
        rrd_remove_source(o->rrd, (size_t)at);
    if (f)
        rrd_stop(o->rrd, name, true);
    if (o)
        o->saved = SAVE_NEXT;
    mutex_unlock(&call->xapid->stats->table.lock);
    return f || at >= 0 ? OK : unknown_source(call, name);
}

/*** the messages ***/

struct error *host_get_data_sources(struct call *call,
                                    const struct host_get_data_sources_args *args,
                                    struct set *result)
{
    struct target t;

    TRY(host_target(call, args->host, &t));
    return get_sources(call, &t, result);
}

struct error *host_record_data_source(struct call *call,
                                      const struct host_record_data_source_args *args)
{
    struct target t;

    TRY(host_target(call, args->host, &t));
    return start_recording(call, &t, args->data_source);
}

struct error *host_query_data_source(struct call *call,
                                     const struct host_query_data_source_args *args, double *result)
{
    struct target t;

    TRY(host_target(call, args->host, &t));
    return query(call, &t, args->data_source, result);
}

struct error *host_forget_data_source_archives(
    struct call *call, const struct host_forget_data_source_archives_args *args)
{
    struct target t;

    TRY(host_target(call, args->host, &t));
    return stop_recording(call, &t, args->data_source);
}

/* Files are written now, or by the thread that takes samples. */
struct error *host_backup_rrds(struct call *call, const struct host_backup_rrds_args *args)
{
    struct target t;

    TRY(host_target(call, args->host, &t));
    if (args->delay > 0)
        stats_save_later(call->xapid->stats, (usec_t)(fmin(args->delay, DELAY_MAX) * USEC_PER_SEC));
    else
        stats_save_all(call->xapid->stats);
    return OK;
}

struct error *vm_get_data_sources(struct call *call, const struct vm_get_data_sources_args *args,
                                  struct set *result)
{
    struct target t;

    TRY(vm_target(call, args->self, &t));
    return get_sources(call, &t, result);
}

struct error *vm_record_data_source(struct call *call,
                                    const struct vm_record_data_source_args *args)
{
    struct target t;

    TRY(live_vm_target(call, args->self, &t));
    return start_recording(call, &t, args->data_source);
}

struct error *vm_query_data_source(struct call *call, const struct vm_query_data_source_args *args,
                                   double *result)
{
    struct target t;

    TRY(live_vm_target(call, args->self, &t));
    return query(call, &t, args->data_source, result);
}

struct error *vm_forget_data_source_archives(struct call *call,
                                             const struct vm_forget_data_source_archives_args *args)
{
    struct target t;

    TRY(live_vm_target(call, args->self, &t));
    return stop_recording(call, &t, args->data_source);
}

struct error *sr_get_data_sources(struct call *call, const struct sr_get_data_sources_args *args,
                                  struct set *result)
{
    struct target t;

    TRY(sr_target(call, args->sr, &t));
    return get_sources(call, &t, result);
}

struct error *sr_record_data_source(struct call *call,
                                    const struct sr_record_data_source_args *args)
{
    struct target t;

    TRY(sr_target(call, args->sr, &t));
    return start_recording(call, &t, args->data_source);
}

struct error *sr_query_data_source(struct call *call, const struct sr_query_data_source_args *args,
                                   double *result)
{
    struct target t;

    TRY(sr_target(call, args->sr, &t));
    return query(call, &t, args->data_source, result);
}

struct error *sr_forget_data_source_archives(struct call *call,
                                             const struct sr_forget_data_source_archives_args *args)
{
    struct target t;

    TRY(sr_target(call, args->sr, &t));
    return stop_recording(call, &t, args->data_source);
}
