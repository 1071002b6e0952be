/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * stats.c -- what simulated guests have used: their load, a constant that tests change, times the
 * time that they ran.  So each figure can be computed in advance.
 */
#include <stdio.h>
#include <stdlib.h>

#include "libxapi/base/seam.h"
#include "xapid/hypervisor/sim/sim.h"

#define REQUEST_SIZE 4096 /* bytes of each request to a disk */
#define REQUEST_USEC 100  /* how long it takes */
#define CONTROL_VCPUS 2   /* of the control domain, which is 2 % busy */
#define CONTROL_PERCENT 2
#define NSEC_PER_USEC 1000
#define NO_UUID "00000000-0000-0000-0000-000000000000"

const struct sim_load sim_usual_load = {
    .cpu = 5, .read = 8192, .write = 4096, .rx = 1000, .tx = 500};

static usec_t running_for(const struct domain *d)
{
    return d->state == HV_RUNNING ? loop_now(d->sim->loop) - d->running_since : 0;
}

/* In two steps, so that a day at the highest rate does not overflow. */
static int64_t amount(int64_t rate, usec_t time)
{
    return rate * (time / USEC_PER_SEC) + rate * (time % USEC_PER_SEC) / USEC_PER_SEC;
}

struct sim_work domain_work(const struct domain *d)
{
    const struct sim_load *load = &d->load;
    usec_t time = running_for(d);
    struct sim_work w = d->work;

    w.cpu += time * load->cpu / 100;
    w.read += amount(load->read, time);
    w.write += amount(load->write, time);
    w.rx += amount(load->rx, time);
    w.tx += amount(load->tx, time);
    return w;
}

usec_t domain_cpu_time(const struct domain *d)
{
    return d->cpu_time + running_for(d) * d->load.cpu / 100 * d->vcpus;
}

void domain_settle(struct domain *d)
{
    d->work = domain_work(d);
    d->cpu_time = domain_cpu_time(d);
    d->running_since = loop_now(d->sim->loop);
}

static void add_work(struct sim_work *sum, const struct domain *d)
{
    struct sim_work w = domain_work(d);

    sum->cpu += w.cpu * d->vcpus;
    sum->rx += w.rx * (int64_t)d->n_nics;
    sum->tx += w.tx * (int64_t)d->n_nics;
}

void domain_leave(const struct domain *d)
{
    add_work(&d->sim->past, d);
}

/*** telling ***/

static struct hv_counters same_for_all(struct arena *arena, int n, int64_t value)
{
    int64_t *v = arena_array(arena, int64_t, (size_t)n + 1);

    for (int i = 0; i < n; i++)
        v[i] = value;
    return (struct hv_counters){"", (size_t)n, v};
}

static struct hv_counters disk_counters(struct arena *arena, const char *name,
                                        const struct sim_work *w)
{
    int64_t *v = arena_array(arena, int64_t, HV_DISK_COUNTERS);

    v[HV_DISK_READ_BYTES] = w->read;
    v[HV_DISK_WRITE_BYTES] = w->write;
    v[HV_DISK_READ_OPS] = w->read / REQUEST_SIZE;
    v[HV_DISK_WRITE_OPS] = w->write / REQUEST_SIZE;
    v[HV_DISK_READ_USEC] = w->read / REQUEST_SIZE * REQUEST_USEC;
    v[HV_DISK_WRITE_USEC] = w->write / REQUEST_SIZE * REQUEST_USEC;
    return (struct hv_counters){name, HV_DISK_COUNTERS, v};
}

static struct hv_counters nic_counters(struct arena *arena, const char *name,
                                       const struct sim_work *w)
{
    int64_t *v = arena_array(arena, int64_t, HV_NIC_COUNTERS);

    v[HV_NIC_RX_BYTES] = w->rx;
    v[HV_NIC_TX_BYTES] = w->tx;
    return (struct hv_counters){name, HV_NIC_COUNTERS, v};
}

static int64_t guest_free(const struct domain *d)
{
    const char *text = keys_get(&d->guest, "data/meminfo_free");
    int64_t kib = text ? strtoll(text, NULL, 10) : -1;

    return kib >= 0 && kib < INT64_MAX / 1024 ? kib * 1024 : -1;
}

static void tell_domain(struct arena *arena, const struct domain *d, struct hv_usage *out)
{
    struct hv_counters *disks = arena_array(arena, struct hv_counters, d->n_disks + 1);
    struct hv_counters *nics = arena_array(arena, struct hv_counters, d->n_nics + 1);
    struct sim_work w = domain_work(d);

    *out = (struct hv_usage){.domid = d->domid,
                             .memory = d->memory,
                             .memory_target = d->memory_target,
                             .guest_free = guest_free(d),
                             .vcpus = same_for_all(arena, d->vcpus, w.cpu * NSEC_PER_USEC),
                             .n_disks = d->n_disks,
                             .n_nics = d->n_nics,
                             .disks = disks,
                             .nics = nics};
    memcpy(out->uuid, d->uuid, sizeof out->uuid);
    for (size_t i = 0; i < d->n_disks; i++)
        disks[i] = disk_counters(arena, d->disks[i].d.device, &w);
    for (size_t i = 0; i < d->n_nics; i++)
        nics[i] = nic_counters(arena, arena_printf(arena, "%d", d->nics[i].d.device), &w);
}

/* It takes nothing of the memory that is there for guests. */
static void tell_control_domain(struct arena *arena, usec_t up, struct hv_usage *out)
{
    *out = (struct hv_usage){
        .uuid = NO_UUID,
        .memory = -1,
        .memory_target = -1,
        .guest_free = -1,
        .vcpus = same_for_all(arena, CONTROL_VCPUS, up * CONTROL_PERCENT / 100 * NSEC_PER_USEC)};
}

struct error *run_stats(struct request *rq, json_t **result)
{
    struct sim *sim = sim_of(rq);
    usec_t now = clock_wall() + sim->advanced, up = loop_now(sim->loop);
    struct hv_usage *domains = arena_array(&rq->arena, struct hv_usage, sim->n_domains + 1);
    struct sim_work sum = sim->past;
    struct hv_counters port;
    struct hv_stats out = {.time = now,
                           .memory_total = sim->options.memory,
                           .memory_free = sim->options.memory - sim->memory_used,
                           .n_ports = 1,
                           .ports = &port,
                           .n_domains = sim->n_domains + 1,
                           .domains = domains};

    tell_control_domain(&rq->arena, up, &domains[0]);
    for (const struct domain *d = sim->domains; d; d = d->next) {
        tell_domain(&rq->arena, d, ++domains);
        add_work(&sum, d);
        out.running_vcpus += d->state == HV_RUNNING ? d->vcpus : 0;
    }
    out.load = (double)out.running_vcpus / 100;
    port = nic_counters(&rq->arena, "eth0", &sum);
    out.cpus = same_for_all(&rq->arena, sim->options.cpus,
                            (sum.cpu + up * CONTROL_PERCENT / 100 * CONTROL_VCPUS) /
                                sim->options.cpus * NSEC_PER_USEC);
    *result = write_stats(&out);
    return OK;
}
