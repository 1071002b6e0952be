/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * stats.c -- what the machine and its domains have used: processors and memory from Xen, disks and
 * network interfaces from dom0's kernel.
 *
 * A disk that qemu serves itself has no counters in the kernel: its figures are unknown.  Whatever
 * goes away while it is looked at is left out.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xenctrl.h>

#include "libxapi/base/seam.h"
#include "xapid/hypervisor/executor/executor.h"

#define SECTOR 512
#define NSEC_PER_USEC 1000

/* A number alone in a file, -1 if there is none. */
static int64_t number_in(const char *path)
{
    FILE *f = fopen(path, "re");
    long long n = -1;

    if (f && fscanf(f, "%lld", &n) != 1)
        n = -1;
    if (f)
        fclose(f);
    return n < 0 ? -1 : n;
}

/*** network interfaces ***/

static struct hv_counters interface(struct arena *arena, const char *device, const char *name,
                                    bool seen_from_outside)
{
    static const char *const files[HV_NIC_COUNTERS] = {"rx_bytes", "tx_bytes", "rx_errors",
                                                       "tx_errors"};
    /* What dom0's end of a guest's cable sends, the guest receives. */
    static const int other_end[HV_NIC_COUNTERS] = {HV_NIC_TX_BYTES, HV_NIC_RX_BYTES,
                                                   HV_NIC_TX_ERRORS, HV_NIC_RX_ERRORS};
    int64_t *v = arena_array(arena, int64_t, HV_NIC_COUNTERS);

    for (int i = 0; i < HV_NIC_COUNTERS; i++)
        v[i] = number_in(arena_printf(arena, "/sys/class/net/%s/statistics/%s", device,
                                      files[seen_from_outside ? other_end[i] : i]));
    return (struct hv_counters){name, HV_NIC_COUNTERS, v};
}

static bool is_port(struct arena *arena, const char *name)
{
    static const char *const marks[] = {"device", "bonding"};

    if (strncmp(name, "vif", 3) == 0 || strncmp(name, "tap", 3) == 0)
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(marks); i++)
        if (access(arena_printf(arena, "/sys/class/net/%s/%s", name, marks[i]), F_OK) == 0)
            return true;
    return access(arena_printf(arena, "/proc/net/vlan/%s", name), F_OK) == 0;
}

static void read_ports(struct arena *arena, struct hv_stats *out)
{
    struct hv_counters *ports = arena_array(arena, struct hv_counters, PROTOCOL_PORTS_MAX);
    DIR *dir = opendir("/sys/class/net");
    const struct dirent *entry;

    while (dir && out->n_ports < PROTOCOL_PORTS_MAX && (entry = readdir(dir))) {
        const char *name = arena_strdup(arena, entry->d_name);

        if (*name != '.' && is_port(arena, name))
            ports[out->n_ports++] = interface(arena, name, name, false);
    }
    if (dir)
        closedir(dir);
    out->ports = ports;
}

/*** domains ***/

static int64_t in_bytes(int64_t kib)
{
    return kib < 0 ? -1 : kib * 1024;
}

static int64_t xs_number(struct arena *arena, struct xen *xen, const char *path)
{
    const char *text = xs_text(arena, xen, path);
    int64_t n = text && *text ? strtoll(text, NULL, 10) : -1;

    return n < 0 || n > INT64_MAX / 2048 ? -1 : n;
}

/* By blkback. */
static struct hv_counters disk(struct arena *arena, uint32_t domid, const char *id,
                               const char *name)
{
    static const struct {
        const char *file;
        int counter, unit;
    } files[] = {{"rd_sect", HV_DISK_READ_BYTES, SECTOR},
                 {"wr_sect", HV_DISK_WRITE_BYTES, SECTOR},
                 {"rd_req", HV_DISK_READ_OPS, 1},
                 {"wr_req", HV_DISK_WRITE_OPS, 1}};
    int64_t *v = arena_array(arena, int64_t, HV_DISK_COUNTERS);

    for (int i = 0; i < HV_DISK_COUNTERS; i++)
        v[i] = -1;
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        int64_t n =
            number_in(arena_printf(arena, "/sys/bus/xen-backend/devices/vbd-%u-%s/statistics/%s",
                                   domid, id, files[i].file));

        v[files[i].counter] = n < 0 ? -1 : n * files[i].unit;
    }
    return (struct hv_counters){name, HV_DISK_COUNTERS, v};
}

static void read_disks(struct arena *arena, struct xen *xen, struct hv_usage *out)
{
    const char *base = arena_printf(arena, "/local/domain/0/backend/vbd/%d", out->domid);
    unsigned n;
    char **ids = xs_list(xen, base, &n);
    struct hv_counters *disks = arena_array(arena, struct hv_counters, n + 1);

    for (unsigned i = 0; i < n && i < PROTOCOL_DISKS_MAX; i++) {
        const char *name = xs_text(arena, xen, arena_printf(arena, "%s/%s/dev", base, ids[i]));

        if (name && *name && strlen(name) < 16)
            disks[out->n_disks++] =
                disk(arena, (uint32_t)out->domid, arena_strdup(arena, ids[i]), name);
    }
    free(ids);
    out->disks = disks;
}

static void read_nics(struct arena *arena, struct xen *xen, struct hv_usage *out)
{
    unsigned n;
    char **ids =
        xs_list(xen, arena_printf(arena, "/local/domain/0/backend/vif/%d", out->domid), &n);
    struct hv_counters *nics = arena_array(arena, struct hv_counters, n + 1);

    for (unsigned i = 0; i < n && i < PROTOCOL_NICS_MAX; i++) {
        const char *id = arena_strdup(arena, ids[i]);

        nics[out->n_nics++] =
            interface(arena, arena_printf(arena, "vif%d.%s", out->domid, id), id, true);
    }
    free(ids);
    out->nics = nics;
}

static void read_vcpus(struct arena *arena, struct xen *xen, struct hv_usage *out, int64_t *running)
{
    int n = 0, cpus = 0;
    libxl_vcpuinfo *all = libxl_list_vcpu(xen->ctx, (uint32_t)out->domid, &n, &cpus);
    int64_t *v;

    n = all ? n : 0;
    v = arena_array(arena, int64_t, (size_t)n + 1);
    for (int i = 0; i < n; i++) {
        v[i] = all[i].online ? (int64_t)all[i].vcpu_time : -1;
        *running += all[i].online && all[i].running;
    }
    if (all)
        libxl_vcpuinfo_list_free(all, n);
    out->vcpus = (struct hv_counters){"", MIN((size_t)n, PROTOCOL_COUNTERS_MAX), v};
}

static void read_domain_usage(struct arena *arena, struct xen *xen, const libxl_dominfo *info,
                              struct hv_stats *stats, struct hv_usage *out)
{
    const char *base = arena_printf(arena, "/local/domain/%u", info->domid);

    *out = (struct hv_usage){
        .domid = (int)info->domid,
        .memory = (int64_t)(info->current_memkb + info->outstanding_memkb) * 1024,
        .memory_target =
            in_bytes(xs_number(arena, xen, arena_printf(arena, "%s/memory/target", base))),
        .guest_free =
            in_bytes(xs_number(arena, xen, arena_printf(arena, "%s/data/meminfo_free", base)))};
    uuid_to_text(libxl_uuid_bytearray_const(&info->uuid), out->uuid);
    read_vcpus(arena, xen, out, &stats->running_vcpus);
    read_disks(arena, xen, out);
    read_nics(arena, xen, out);
}

static struct error *read_domains(struct arena *arena, struct xen *xen, struct hv_stats *out)
{
    int n = 0;
    libxl_dominfo *all = libxl_list_domain(xen->ctx, &n);
    struct hv_usage *domains;

    if (!all)
        return xen_failed(arena, xen, "listing domains", 0);
    domains = arena_array(arena, struct hv_usage, (size_t)n + 1);
    for (int i = 0; i < n && i <= PROTOCOL_DOMAINS_MAX; i++)
        if (!all[i].dying && (all[i].domid == 0 || !libxl_uuid_is_nil(&all[i].uuid)))
            read_domain_usage(arena, xen, &all[i], out, &domains[out->n_domains++]);
    libxl_dominfo_list_free(all, n);
    out->domains = domains;
    return OK;
}

/*** the machine ***/

/* Xen counts how long each processor was idle; what it was not, by the same clock. */
static void read_cpus(struct arena *arena, int n, struct hv_counters *out)
{
    xc_interface *xc = xen_control_open();
    xc_cpuinfo_t *info = arena_array(arena, xc_cpuinfo_t, (size_t)n + 1);
    int64_t *v = arena_array(arena, int64_t, (size_t)n + 1), now;
    int got = 0;

    if (!xc || xc_getcpuinfo(xc, n, info, &got) != 0)
        got = 0;
    now = clock_mono() * NSEC_PER_USEC;
    for (int i = 0; i < got; i++)
        v[i] = MAX(now - (int64_t)info[i].idletime, 0);
    xen_control_close(xc);
    *out = (struct hv_counters){"", (size_t)got, v};
}

static double load_average(void)
{
    double load = 0;

    return getloadavg(&load, 1) == 1 ? load : 0;
}

struct error *run_stats(struct request *rq, json_t **result)
{
    struct hv_stats out = {.load = load_average()};
    struct arena *arena = &rq->arena;
    AUTO(xen) xen = {0};
    libxl_physinfo info;

    TRY(xen_open(arena, &xen));
    libxl_physinfo_init(&info);
    if (libxl_get_physinfo(xen.ctx, &info) != 0)
        return xen_failed(arena, &xen, "asking Xen for the machine", 0);
    out.memory_total = (int64_t)info.total_pages * 4096;
    read_cpus(arena, (int)MIN(info.nr_cpus, (uint32_t)PROTOCOL_COUNTERS_MAX), &out.cpus);
    libxl_physinfo_dispose(&info);
    TRY(memory_free(arena, &xen, &out.memory_free));
    TRY(read_domains(arena, &xen, &out));
    read_ports(arena, &out);
    out.time = clock_wall();
    *result = write_stats(&out);
    return OK;
}
