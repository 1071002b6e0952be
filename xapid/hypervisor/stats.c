/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * stats.c -- struct hv_stats as JSON and back.
 *
 * There is one such answer every few seconds, with thousands of numbers: counters are plain arrays
 * in the order of hv.h's enums.
 */
#include <limits.h>
#include <math.h>
#include <stdlib.h>

#include "xapid/hypervisor/protocol.h"

#define NAME_MAX_BYTES 64
#define MEMORY_MAX ((int64_t)1 << 50)

static void put(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) < 0)
        abort(); /* out of memory */
}

static void add(json_t *array, json_t *value)
{
    if (json_array_append_new(array, value) < 0)
        abort(); /* out of memory */
}

/*** writing ***/

static json_t *write_counters(const struct hv_counters *c)
{
    json_t *o = json_object(), *v = json_array();

    for (size_t i = 0; i < c->n; i++)
        add(v, json_integer(c->v[i]));
    put(o, "name", json_text(c->name ? c->name : ""));
    put(o, "v", v);
    return o;
}

static json_t *write_all_counters(size_t n, const struct hv_counters *c)
{
    json_t *a = json_array();

    for (size_t i = 0; i < n; i++)
        add(a, write_counters(&c[i]));
    return a;
}

static json_t *write_usage(const struct hv_usage *u)
{
    json_t *o = json_object();

    put(o, "uuid", json_text(u->uuid));
    put(o, "domid", json_integer(u->domid));
    put(o, "memory", json_integer(u->memory));
    put(o, "memory_target", json_integer(u->memory_target));
    put(o, "guest_free", json_integer(u->guest_free));
    put(o, "vcpus", write_counters(&u->vcpus));
    put(o, "disks", write_all_counters(u->n_disks, u->disks));
    put(o, "nics", write_all_counters(u->n_nics, u->nics));
    return o;
}

json_t *write_stats(const struct hv_stats *s)
{
    json_t *o = json_object(), *domains = json_array();

    for (size_t i = 0; i < s->n_domains; i++)
        add(domains, write_usage(&s->domains[i]));
    put(o, "time", json_integer(s->time));
    put(o, "memory_total", json_integer(s->memory_total));
    put(o, "memory_free", json_integer(s->memory_free));
    put(o, "running_vcpus", json_integer(s->running_vcpus));
    put(o, "load", json_real(isfinite(s->load) ? s->load : 0));
    put(o, "cpus", write_counters(&s->cpus));
    put(o, "ports", write_all_counters(s->n_ports, s->ports));
    put(o, "domains", domains);
    return o;
}

/*** reading ***/

static const json_t *array_of(struct reader *r, const char *key, size_t max)
{
    const json_t *a = json_object_get(r->object, key);

    if (json_is_array(a) && json_array_size(a) <= max)
        return a;
    if (!r->bad)
        r->bad = key;
    return NULL;
}

static void bad_within(struct reader *r, const struct reader *inner)
{
    if (!r->bad)
        r->bad = inner->bad;
}

/* 'exactly': as many numbers as that; 0: any. */
static void read_counters(struct reader *r, size_t exactly, struct hv_counters *out)
{
    const json_t *a = array_of(r, "v", PROTOCOL_COUNTERS_MAX);
    size_t n = json_array_size(a);
    int64_t *v = arena_array(r->arena, int64_t, n + 1);

    for (size_t i = 0; i < n; i++) {
        const json_t *number = json_array_get(a, i);

        v[i] = json_integer_value(number);
        if (!r->bad && (!json_is_integer(number) || v[i] < -1))
            r->bad = "v";
    }
    if (!r->bad && exactly && n != exactly)
        r->bad = "v";
    *out = (struct hv_counters){read_text(r, "name", NAME_MAX_BYTES), n, v};
}

static void read_inner(struct reader *r, const char *key, struct hv_counters *out)
{
    struct reader inner = reader_of(r->arena, json_object_get(r->object, key));

    read_counters(&inner, 0, out);
    bad_within(r, &inner);
}

static size_t read_all(struct reader *r, const char *key, size_t max, size_t exactly,
                       const struct hv_counters **out)
{
    const json_t *a = array_of(r, key, max);
    size_t n = json_array_size(a);
    struct hv_counters *all = arena_array(r->arena, struct hv_counters, n + 1);

    for (size_t i = 0; i < n; i++) {
        struct reader inner = reader_of(r->arena, json_array_get(a, i));

        read_counters(&inner, exactly, &all[i]);
        bad_within(r, &inner);
    }
    *out = all;
    return n;
}

static void read_usage(struct reader *r, struct hv_usage *out)
{
    read_uuid(r, "uuid", false, out->uuid);
    out->domid = (int)read_int(r, "domid", 0, INT_MAX);
    out->memory = read_int(r, "memory", -1, MEMORY_MAX);
    out->memory_target = read_int(r, "memory_target", -1, MEMORY_MAX);
    out->guest_free = read_int(r, "guest_free", -1, MEMORY_MAX);
    read_inner(r, "vcpus", &out->vcpus);
    out->n_disks = read_all(r, "disks", PROTOCOL_DISKS_MAX, HV_DISK_COUNTERS, &out->disks);
    out->n_nics = read_all(r, "nics", PROTOCOL_NICS_MAX, HV_NIC_COUNTERS, &out->nics);
}

void read_stats(struct reader *r, struct hv_stats *out)
{
    const json_t *a = array_of(r, "domains", PROTOCOL_DOMAINS_MAX + 1);
    size_t n = json_array_size(a);
    struct hv_usage *domains = arena_array(r->arena, struct hv_usage, n + 1);

    out->time = read_int(r, "time", 1, INT64_MAX / 2);
    out->memory_total = read_int(r, "memory_total", 0, MEMORY_MAX);
    out->memory_free = read_int(r, "memory_free", 0, MEMORY_MAX);
    out->running_vcpus = read_int(r, "running_vcpus", -1, INT_MAX);
    out->load = read_real(r, "load");
    read_inner(r, "cpus", &out->cpus);
    out->n_ports = read_all(r, "ports", PROTOCOL_PORTS_MAX, HV_NIC_COUNTERS, &out->ports);
    for (size_t i = 0; i < n; i++) {
        struct reader inner = reader_of(r->arena, json_array_get(a, i));

        read_usage(&inner, &domains[i]);
        bad_within(r, &inner);
    }
    out->n_domains = n;
    out->domains = domains;
}
