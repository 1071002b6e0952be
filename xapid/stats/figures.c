/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/stats/figures.h"

#include <dirent.h>
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "libxapi/base/memory.h"
#include "xapid/auth/session.h"
#include "xapid/main/xapid.h"

#define MIB 1048576.0
#define SR_NAME_SIZE 9 /* the first 8 digits of its uuid */

const char *const stats_owner_names[] = {"host", "vm", "sr", NULL};

enum {
    /* Of the host. */
    HOST_CPU,
    HOST_CPU_AVG,
    HOST_LOAD,
    HOST_MEMORY_TOTAL,
    HOST_MEMORY_FREE,
    HOST_RUNNING_VCPUS,
    HOST_RUNNING_DOMAINS,
    HOST_RECLAIMED,
    HOST_RECLAIMED_MAX,
    HOST_PIF, /* four, in the order of enum hv_nic_counter */
    HOST_PIF_AGGR_RX = HOST_PIF + HV_NIC_COUNTERS,
    HOST_PIF_AGGR_TX,
    HOST_XAPI_USAGE,
    HOST_XAPI_FREE,
    HOST_XAPI_LIVE,
    HOST_OPEN_FDS,
    HOST_SESSIONS,
    HOST_TASKS,
    HOST_IO, /* for each SR, in the order of enum io */
    /* Of a VM. */
    VM_CPU = HOST_IO + 14,
    VM_CPU_USAGE,
    VM_MEMORY,
    VM_MEMORY_TARGET,
    VM_MEMORY_FREE,
    VM_VIF, /* four */
    VM_IO = VM_VIF + HV_NIC_COUNTERS,
    /* Of an SR. */
    SR_SIZE = VM_IO + 14,
    SR_UTILISATION,
    N_KINDS
};

/* What is told of the disks of an SR, and of one disk. */
enum io {
    IO_READ,
    IO_WRITE,
    IO_IOPS_READ,
    IO_IOPS_WRITE,
    IO_IOPS_TOTAL,
    IO_THROUGHPUT_READ,
    IO_THROUGHPUT_WRITE,
    IO_THROUGHPUT_TOTAL,
    IO_READ_LATENCY,
    IO_WRITE_LATENCY,
    IO_LATENCY,
    IO_IOWAIT,
    IO_QUEUE,
    IO_INFLIGHT,
    N_IO
};

/* In the order of enum io. */
#define IO_KIND(name, units, description, type, standard, family, label)                           \
    {                                                                                              \
        name, units, description, type, INFINITY, standard, family, label                          \
    }
#define IO_KINDS(before, after, family, label, usual)                                              \
    IO_KIND(before "read" after, "B/s", "Bytes read", RRD_DERIVE, true, family "_read_bytes",      \
            label),                                                                                \
        IO_KIND(before "write" after, "B/s", "Bytes written", RRD_DERIVE, true,                    \
                family "_written_bytes", label),                                                   \
        IO_KIND(before "iops_read" after, "requests/s", "Read requests", RRD_DERIVE, true,         \
                family "_reads", label),                                                           \
        IO_KIND(before "iops_write" after, "requests/s", "Write requests", RRD_DERIVE, true,       \
                family "_writes", label),                                                          \
        IO_KIND(before "iops_total" after, "requests/s", "Requests", RRD_DERIVE, usual, NULL,      \
                label),                                                                            \
        IO_KIND(before "io_throughput_read" after, "MiB/s", "Data read", RRD_DERIVE, usual, NULL,  \
                label),                                                                            \
        IO_KIND(before "io_throughput_write" after, "MiB/s", "Data written", RRD_DERIVE, usual,    \
                NULL, label),                                                                      \
        IO_KIND(before "io_throughput_total" after, "MiB/s", "Data moved", RRD_DERIVE, usual,      \
                NULL, label),                                                                      \
        IO_KIND(before "read_latency" after, "\xce\xbcs", "Mean time of a read request",           \
                RRD_GAUGE, true, family "_read_latency_microseconds", label),                      \
        IO_KIND(before "write_latency" after, "\xce\xbcs", "Mean time of a write request",         \
                RRD_GAUGE, true, family "_write_latency_microseconds", label),                     \
        IO_KIND(before "latency" after, "\xce\xbcs", "Mean time of a request", RRD_GAUGE, false,   \
                NULL, label),                                                                      \
        IO_KIND(before "iowait" after, "s/s", "Time spent waiting for requests, in", RRD_GAUGE,    \
                usual, family "_wait_ratio", label),                                               \
        IO_KIND(before "avgqu_sz" after, "requests", "Mean length of the queue of requests",       \
                RRD_GAUGE, false, NULL, label),                                                    \
        IO_KIND(before "inflight" after, "requests", "Requests under way", RRD_GAUGE, false,       \
                family "_inflight_requests", label)

static const struct figure_kind kinds[N_KINDS] = {
    [HOST_CPU] = {"cpu%s", "(fraction)", "How much of the time the processor was busy", RRD_DERIVE,
                  1, true, "xapid_host_cpu_seconds", "cpu"},
    [HOST_CPU_AVG] = {"cpu_avg", "(fraction)",
                      "How much of the time processors were busy, on average", RRD_DERIVE, 1, true,
                      "xapid_host_cpu_average_seconds", NULL},
    [HOST_LOAD] = {"loadavg", "(fraction)", "Load of the control domain", RRD_GAUGE, INFINITY, true,
                   "xapid_host_load_average", NULL},
    [HOST_MEMORY_TOTAL] = {"memory_total_kib", "KiB", "Memory of the host", RRD_GAUGE, INFINITY,
                           true, "xapid_host_memory_total_kibibytes", NULL},
    [HOST_MEMORY_FREE] = {"memory_free_kib", "KiB", "Free memory of the host", RRD_GAUGE, INFINITY,
                          true, "xapid_host_memory_free_kibibytes", NULL},
    [HOST_RUNNING_VCPUS] = {"running_vcpus", "count", "Virtual processors running at the moment",
                            RRD_GAUGE, INFINITY, false, "xapid_host_running_vcpus", NULL},
    [HOST_RUNNING_DOMAINS] = {"running_domains", "count", "Domains on the host", RRD_GAUGE,
                              INFINITY, false, "xapid_host_domains", NULL},
    [HOST_RECLAIMED] = {"memory_reclaimed", "B", "Memory that VMs have given up", RRD_GAUGE,
                        INFINITY, true, "xapid_host_memory_reclaimed_bytes", NULL},
    [HOST_RECLAIMED_MAX] = {"memory_reclaimed_max", "B", "Memory that VMs could give up", RRD_GAUGE,
                            INFINITY, false, "xapid_host_memory_reclaimable_bytes", NULL},
    [HOST_PIF + HV_NIC_RX_BYTES] = {"pif_%s_rx", "B/s", "Bytes received", RRD_DERIVE, INFINITY,
                                    true, "xapid_host_network_receive_bytes", "device"},
    [HOST_PIF + HV_NIC_TX_BYTES] = {"pif_%s_tx", "B/s", "Bytes sent", RRD_DERIVE, INFINITY, true,
                                    "xapid_host_network_transmit_bytes", "device"},
    [HOST_PIF + HV_NIC_RX_ERRORS] = {"pif_%s_rx_errors", "err/s", "Errors while receiving",
                                     RRD_DERIVE, INFINITY, false,
                                     "xapid_host_network_receive_errors", "device"},
    [HOST_PIF + HV_NIC_TX_ERRORS] = {"pif_%s_tx_errors", "err/s", "Errors while sending",
                                     RRD_DERIVE, INFINITY, false,
                                     "xapid_host_network_transmit_errors", "device"},
    [HOST_PIF_AGGR_RX] = {"pif_aggr_rx", "B/s", "Bytes received by all interfaces", RRD_DERIVE,
                          INFINITY, true, NULL, NULL},
    [HOST_PIF_AGGR_TX] = {"pif_aggr_tx", "B/s", "Bytes sent by all interfaces", RRD_DERIVE,
                          INFINITY, true, NULL, NULL},
    [HOST_XAPI_USAGE] = {"xapi_memory_usage_kib", "KiB", "Memory that the daemon takes", RRD_GAUGE,
                         INFINITY, true, "xapid_process_resident_memory_kibibytes", NULL},
    [HOST_XAPI_FREE] = {"xapi_free_memory_kib", "KiB", "Memory that the daemon holds unused",
                        RRD_GAUGE, INFINITY, false, "xapid_process_free_memory_kibibytes", NULL},
    [HOST_XAPI_LIVE] = {"xapi_live_memory_kib", "KiB", "Memory that the daemon uses", RRD_GAUGE,
                        INFINITY, false, "xapid_process_live_memory_kibibytes", NULL},
    [HOST_OPEN_FDS] = {"xapi_open_fds", "count", "Descriptors that the daemon has open", RRD_GAUGE,
                       INFINITY, false, "xapid_process_open_fds", NULL},
    [HOST_SESSIONS] = {"pool_session_count", "count", "Sessions on this host", RRD_GAUGE, INFINITY,
                       true, "xapid_sessions", NULL},
    [HOST_TASKS] = {"pool_task_count", "count", "Tasks in the pool", RRD_GAUGE, INFINITY, true,
                    "xapid_tasks", NULL},
    [HOST_IO] = IO_KINDS("", "_%s", "xapid_storage", "sr", true),
    [VM_CPU] = {"cpu%s", "(fraction)", "How much of the time the vCPU ran", RRD_DERIVE, 1, true,
                "xapid_vm_cpu_seconds", "cpu"},
    [VM_CPU_USAGE] = {"cpu_usage", "(fraction)", "How much of the time vCPUs ran, on average",
                      RRD_DERIVE, 1, true, "xapid_vm_cpu_average_seconds", NULL},
    [VM_MEMORY] = {"memory", "B", "Memory of the domain", RRD_GAUGE, INFINITY, true,
                   "xapid_vm_memory_bytes", NULL},
    [VM_MEMORY_TARGET] = {"memory_target", "B", "Memory that the domain shall have", RRD_GAUGE,
                          INFINITY, true, "xapid_vm_memory_target_bytes", NULL},
    [VM_MEMORY_FREE] = {"memory_internal_free", "KiB", "Memory that the guest calls free",
                        RRD_GAUGE, INFINITY, true, "xapid_vm_memory_guest_free_kibibytes", NULL},
    [VM_VIF + HV_NIC_RX_BYTES] = {"vif_%s_rx", "B/s", "Bytes received", RRD_DERIVE, INFINITY, true,
                                  "xapid_vm_network_receive_bytes", "device"},
    [VM_VIF + HV_NIC_TX_BYTES] = {"vif_%s_tx", "B/s", "Bytes sent", RRD_DERIVE, INFINITY, true,
                                  "xapid_vm_network_transmit_bytes", "device"},
    [VM_VIF + HV_NIC_RX_ERRORS] = {"vif_%s_rx_errors", "err/s", "Errors while receiving",
                                   RRD_DERIVE, INFINITY, false, "xapid_vm_network_receive_errors",
                                   "device"},
    [VM_VIF + HV_NIC_TX_ERRORS] = {"vif_%s_tx_errors", "err/s", "Errors while sending", RRD_DERIVE,
                                   INFINITY, false, "xapid_vm_network_transmit_errors", "device"},
    [VM_IO] = IO_KINDS("vbd_%s_", "", "xapid_vm_disk", "device", false),
    [SR_SIZE] = {"size", "B", "Size of the storage repository", RRD_GAUGE, INFINITY, true,
                 "xapid_sr_size_bytes", NULL},
    [SR_UTILISATION] = {"physical_utilisation", "B", "Space taken in the storage repository",
                        RRD_GAUGE, INFINITY, true, "xapid_sr_used_bytes", NULL},
};

const struct figure_kind *figure_kinds(size_t *n)
{
    *n = N_KINDS;
    return kinds;
}

void figure_name(const struct figure *f, char out[RRD_NAME_MAX + 1])
{
    const char *at = strstr(f->kind->name, "%s");
    size_t before = at ? (size_t)(at - f->kind->name) : strlen(f->kind->name);

    snprintf(out, RRD_NAME_MAX + 1, "%.*s%s%s", (int)before, f->kind->name, at ? f->instance : "",
             at ? at + 2 : "");
}

struct rrd_source figure_source(const struct figure_kind *kind)
{
    return (struct rrd_source){
        .type = kind->type, .min = 0, .max = kind->max, .heartbeat = RRD_HEARTBEAT, .last = NAN};
}

/*** adding ***/

static void add(struct arena *arena, struct figures *f, int kind, const char *instance, double raw)
{
    struct figure *v;

    if (strlen(instance) >= FIGURE_INSTANCE_SIZE)
        return;
    if (f->n == f->room) {
        v = arena_array(arena, struct figure, MAX(2 * f->room, 32));
        if (f->n)
            memcpy(v, f->v, f->n * sizeof *v);
        f->room = MAX(2 * f->room, 32);
        f->v = v;
    }
    f->v[f->n] = (struct figure){.kind = &kinds[kind], .raw = raw, .value = NAN};
    memcpy(f->v[f->n++].instance, instance, strlen(instance) + 1);
}

/* A counter or size that nobody knows is no figure. */
static void add_known(struct arena *arena, struct figures *f, int kind, const char *instance,
                      int64_t n, double unit)
{
    if (n >= 0)
        add(arena, f, kind, instance, (double)n / unit);
}

static void add_processors(struct arena *arena, struct figures *f, const struct hv_counters *c,
                           int each, int average)
{
    double sum = 0, n = 0;
    char number[FIGURE_INSTANCE_SIZE + 4];

    for (size_t i = 0; i < c->n; i++) {
        if (c->v[i] < 0)
            continue;
        snprintf(number, sizeof number, "%zu", i);
        add(arena, f, each, number, (double)c->v[i] / 1e9);
        sum += (double)c->v[i] / 1e9;
        n++;
    }
    if (n > 0)
        add(arena, f, average, "", sum / n);
}

/*** disks ***/

/* What one disk, or all of a repository, has done up to now, and since the last sample. */
struct io_work {
    int64_t total[HV_DISK_COUNTERS], recent[HV_DISK_COUNTERS];
    double seconds; /* of 'recent'; 0: nothing is known */
};

static int64_t both(int64_t a, int64_t b)
{
    return a < 0 || b < 0 ? -1 : a + b;
}

static double per_request(int64_t usec, int64_t requests)
{
    return requests > 0 ? (double)usec / (double)requests : 0;
}

static void add_io(struct arena *arena, struct figures *f, int base, const char *name,
                   const struct io_work *w)
{
    const int64_t *t = w->total, *r = w->recent;
    int64_t bytes = both(t[HV_DISK_READ_BYTES], t[HV_DISK_WRITE_BYTES]);
    int64_t requests = both(t[HV_DISK_READ_OPS], t[HV_DISK_WRITE_OPS]);
    int64_t usec = both(r[HV_DISK_READ_USEC], r[HV_DISK_WRITE_USEC]);

    add_known(arena, f, base + IO_READ, name, t[HV_DISK_READ_BYTES], 1);
    add_known(arena, f, base + IO_WRITE, name, t[HV_DISK_WRITE_BYTES], 1);
    add_known(arena, f, base + IO_IOPS_READ, name, t[HV_DISK_READ_OPS], 1);
    add_known(arena, f, base + IO_IOPS_WRITE, name, t[HV_DISK_WRITE_OPS], 1);
    add_known(arena, f, base + IO_IOPS_TOTAL, name, requests, 1);
    add_known(arena, f, base + IO_THROUGHPUT_READ, name, t[HV_DISK_READ_BYTES], MIB);
    add_known(arena, f, base + IO_THROUGHPUT_WRITE, name, t[HV_DISK_WRITE_BYTES], MIB);
    add_known(arena, f, base + IO_THROUGHPUT_TOTAL, name, bytes, MIB);
    add_known(arena, f, base + IO_INFLIGHT, name, t[HV_DISK_INFLIGHT], 1);
    if (usec < 0 || w->seconds <= 0)
        return;
    add(arena, f, base + IO_READ_LATENCY, name,
        per_request(r[HV_DISK_READ_USEC], r[HV_DISK_READ_OPS]));
    add(arena, f, base + IO_WRITE_LATENCY, name,
        per_request(r[HV_DISK_WRITE_USEC], r[HV_DISK_WRITE_OPS]));
    add(arena, f, base + IO_LATENCY, name,
        per_request(usec, both(r[HV_DISK_READ_OPS], r[HV_DISK_WRITE_OPS])));
    /* Little's law: what waits on average is the time of all requests in each second. */
    add(arena, f, base + IO_IOWAIT, name, (double)usec / 1e6 / w->seconds);
    add(arena, f, base + IO_QUEUE, name, (double)usec / 1e6 / w->seconds);
}

static const struct hv_counters *find_counters(size_t n, const struct hv_counters *all,
                                               const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(all[i].name, name) == 0)
            return &all[i];
    return NULL;
}

static struct io_work disk_work(const struct hv_counters *now, const struct hv_counters *before,
                                usec_t time)
{
    struct io_work w = {.seconds = before && time > 0 ? (double)time / USEC_PER_SEC : 0};

    for (int i = 0; i < HV_DISK_COUNTERS; i++) {
        w.total[i] = now->v[i];
        w.recent[i] = now->v[i] < 0 ? -1 : 0;
        if (before && before->v[i] >= 0 && now->v[i] >= before->v[i])
            w.recent[i] = now->v[i] - before->v[i];
    }
    return w;
}

/*** repositories ***/

struct sr_total {
    char name[SR_NAME_SIZE];
    bool present; /* attached to this host now */
    struct io_work work;
};

void sr_totals_release(struct sr_totals *t)
{
    free(t->v);
    *t = (struct sr_totals){0};
}

static struct sr_total *total_of(struct sr_totals *t, const char *uuid)
{
    struct sr_total *found;

    for (size_t i = 0; i < t->n; i++)
        if (strncmp(t->v[i].name, uuid, SR_NAME_SIZE - 1) == 0)
            return &t->v[i];
    t->v = xrealloc(t->v, (t->n + 1) * sizeof *t->v);
    found = &t->v[t->n++];
    *found = (struct sr_total){0};
    snprintf(found->name, sizeof found->name, "%.8s", uuid);
    return found;
}

static void forget_absent(struct sr_totals *t)
{
    for (size_t i = t->n; i-- > 0;)
        if (!t->v[i].present)
            t->v[i] = t->v[--t->n];
}

static const struct sr *sr_of_disk(struct call *call, const struct refs *vbds, const char *device)
{
    for (size_t i = 0; i < vbds->n; i++) {
        const struct vbd *vbd = db_find(call, CLASS_vbd, vbds->v[i]);
        const struct vdi *vdi =
            vbd && strcmp(vbd->device, device) == 0 ? db_find(call, CLASS_vdi, vbd->vdi) : NULL;

        if (vdi)
            return db_find(call, CLASS_sr, vdi->sr);
    }
    return NULL;
}

/* A counter of one disk that nobody knows makes the repository's sum none. */
static void add_to_total(struct sr_total *total, const struct io_work *w)
{
    struct io_work *sum = &total->work;

    for (int i = 0; i < HV_DISK_COUNTERS; i++) {
        if (w->total[i] < 0 || sum->total[i] < 0) {
            sum->total[i] = sum->recent[i] = -1;
            continue;
        }
        sum->recent[i] += w->recent[i];
        sum->total[i] += i == HV_DISK_INFLIGHT ? w->total[i] : w->recent[i];
    }
}

/*** collecting ***/

struct collecting {
    struct call *call;
    struct arena *arena;
    const struct hv_stats *now, *before;
    struct sr_totals *totals;
    int64_t reclaimed, reclaimed_max;
    size_t n;
    struct figures *v;
};

static struct figures *add_owner(struct collecting *c, enum stats_owner owner, const char *uuid,
                                 struct strmap other_config)
{
    struct figures *f = &c->v[c->n++];

    *f = (struct figures){.owner = owner, .uuid = uuid, .other_config = other_config};
    return f;
}

static const struct hv_usage *usage_before(const struct collecting *c, const struct hv_usage *u,
                                           size_t hint)
{
    size_t n = c->before ? c->before->n_domains : 0;

    /* Domains keep their order, mostly. */
    for (size_t i = 0; i < n; i++) {
        const struct hv_usage *b = &c->before->domains[(hint + i) % n];

        if (b->domid == u->domid)
            return b;
    }
    return NULL;
}

static void collect_vm_disks(struct collecting *c, struct figures *f, const struct vm *vm,
                             const struct hv_usage *u, const struct hv_usage *before)
{
    struct refs vbds = db_referrers(c->call, FIELD_vbd_vm, vm->ref);

    for (size_t i = 0; i < u->n_disks; i++) {
        const struct hv_counters *now = &u->disks[i];
        const struct hv_counters *was =
            before ? find_counters(before->n_disks, before->disks, now->name) : NULL;
        struct io_work work = disk_work(now, was, c->before ? c->now->time - c->before->time : 0);
        const struct sr *sr = sr_of_disk(c->call, &vbds, now->name);

        add_io(c->arena, f, VM_IO, now->name, &work);
        if (sr)
            add_to_total(total_of(c->totals, sr->uuid), &work);
    }
}

static void count_reclaimed(struct collecting *c, const struct vm *vm, const struct hv_usage *u)
{
    if (u->domid == 0 || u->memory_target < 0)
        return;
    c->reclaimed += MAX(vm->memory_dynamic_max - u->memory_target, 0);
    c->reclaimed_max += MAX(vm->memory_dynamic_max - vm->memory_dynamic_min, 0);
}

static void collect_vm(struct collecting *c, const struct hv_usage *u, size_t hint)
{
    const struct host *host = db_find(c->call, CLASS_host, c->call->xapid->host);
    const struct vm *vm;
    struct figures *f;
    ref_t ref;

    if (u->domid == 0)
        ref = host ? host->control_domain : REF_NULL;
    else if (db_by_uuid(c->call, CLASS_vm, u->uuid, &ref))
        return; /* not one of ours */
    vm = db_find(c->call, CLASS_vm, ref);
    if (!vm)
        return;
    f = add_owner(c, OWNER_VM, vm->uuid, vm->other_config);
    add_processors(c->arena, f, &u->vcpus, VM_CPU, VM_CPU_USAGE);
    add_known(c->arena, f, VM_MEMORY, "", u->memory, 1);
    add_known(c->arena, f, VM_MEMORY_TARGET, "", u->memory_target, 1);
    add_known(c->arena, f, VM_MEMORY_FREE, "", u->guest_free, 1024);
    for (size_t i = 0; i < u->n_nics; i++)
        for (int k = 0; k < HV_NIC_COUNTERS; k++)
            add_known(c->arena, f, VM_VIF + k, u->nics[i].name, u->nics[i].v[k], 1);
    collect_vm_disks(c, f, vm, u, usage_before(c, u, hint));
    count_reclaimed(c, vm, u);
}

static void collect_srs(struct collecting *c)
{
    struct refs pbds = db_referrers(c->call, FIELD_pbd_host, c->call->xapid->host);

    for (size_t i = 0; i < pbds.n; i++) {
        const struct pbd *pbd = db_find(c->call, CLASS_pbd, pbds.v[i]);
        const struct sr *sr =
            pbd && pbd->currently_attached ? db_find(c->call, CLASS_sr, pbd->sr) : NULL;
        struct figures *f;

        if (!sr)
            continue;
        total_of(c->totals, sr->uuid)->present = true;
        f = add_owner(c, OWNER_SR, sr->uuid, sr->other_config);
        if (sr->physical_size > 0)
            add_known(c->arena, f, SR_SIZE, "", sr->physical_size, 1);
        add_known(c->arena, f, SR_UTILISATION, "", sr->physical_utilisation, 1);
    }
}

static int64_t resident_kib(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    long long size, resident = -1;

    if (f && fscanf(f, "%lld %lld", &size, &resident) != 2)
        resident = -1;
    if (f)
        fclose(f);
    return resident < 0 ? -1 : resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static int64_t open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int64_t n = -3; /* ".", ".." and this one */

    if (!dir)
        return -1;
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static void collect_daemon(struct collecting *c, struct figures *f)
{
    const struct xapid *x = c->call->xapid;
    struct mallinfo2 memory = mallinfo2();

    add_known(c->arena, f, HOST_XAPI_USAGE, "", resident_kib(), 1);
    add(c->arena, f, HOST_XAPI_FREE, "", (double)memory.fordblks / 1024);
    add(c->arena, f, HOST_XAPI_LIVE, "", (double)(memory.uordblks + memory.hblkhd) / 1024);
    add_known(c->arena, f, HOST_OPEN_FDS, "", open_descriptors(), 1);
    add(c->arena, f, HOST_SESSIONS, "", (double)session_count(x->sessions));
    add(c->arena, f, HOST_TASKS, "", (double)snap_root(c->call->snap)->tables[CLASS_task].count);
}

static void collect_ports(struct collecting *c, struct figures *f)
{
    int64_t sum[HV_NIC_COUNTERS] = {0};

    for (size_t i = 0; i < c->now->n_ports; i++) {
        for (int k = 0; k < HV_NIC_COUNTERS; k++) {
            add_known(c->arena, f, HOST_PIF + k, c->now->ports[i].name, c->now->ports[i].v[k], 1);
            sum[k] += MAX(c->now->ports[i].v[k], 0);
        }
    }
    add_known(c->arena, f, HOST_PIF_AGGR_RX, "", sum[HV_NIC_RX_BYTES], 1);
    add_known(c->arena, f, HOST_PIF_AGGR_TX, "", sum[HV_NIC_TX_BYTES], 1);
}

/* After VMs and repositories, whose sums are the host's. */
static void collect_host(struct collecting *c, struct figures *f)
{
    const struct hv_stats *now = c->now;

    add_processors(c->arena, f, &now->cpus, HOST_CPU, HOST_CPU_AVG);
    add(c->arena, f, HOST_LOAD, "", now->load);
    add_known(c->arena, f, HOST_MEMORY_TOTAL, "", now->memory_total, 1024);
    add_known(c->arena, f, HOST_MEMORY_FREE, "", now->memory_free, 1024);
    add_known(c->arena, f, HOST_RUNNING_VCPUS, "", now->running_vcpus, 1);
    add(c->arena, f, HOST_RUNNING_DOMAINS, "", (double)now->n_domains);
    add_known(c->arena, f, HOST_RECLAIMED, "", c->reclaimed, 1);
    add_known(c->arena, f, HOST_RECLAIMED_MAX, "", c->reclaimed_max, 1);
    collect_ports(c, f);
    collect_daemon(c, f);
    for (size_t i = 0; i < c->totals->n; i++)
        add_io(c->arena, f, HOST_IO, c->totals->v[i].name, &c->totals->v[i].work);
}

static void begin_totals(struct sr_totals *t, double seconds)
{
    for (size_t i = 0; i < t->n; i++) {
        struct io_work *w = &t->v[i].work;

        t->v[i].present = false;
        w->seconds = seconds;
        memset(w->recent, 0, sizeof w->recent);
        w->total[HV_DISK_INFLIGHT] = 0;
    }
}

void figures_collect(struct call *call, const struct hv_stats *now, const struct hv_stats *before,
                     struct sr_totals *totals, size_t *n, struct figures **out)
{
    struct refs pbds = db_referrers(call, FIELD_pbd_host, call->xapid->host);
    const struct host *host = db_find(call, CLASS_host, call->xapid->host);
    struct collecting c = {
        .call = call,
        .arena = call->arena,
        .now = now,
        .before = before,
        .totals = totals,
        .v = arena_array(call->arena, struct figures, now->n_domains + pbds.n + 1)};

    *n = 0;
    *out = c.v;
    if (!host)
        return;
    begin_totals(totals, before ? (double)(now->time - before->time) / USEC_PER_SEC : 0);
    add_owner(&c, OWNER_HOST, host->uuid, host->other_config);
    for (size_t i = 0; i < now->n_domains; i++)
        collect_vm(&c, &now->domains[i], i);
    collect_srs(&c);
    forget_absent(totals);
    collect_host(&c, &c.v[0]);
    *n = c.n;
}
