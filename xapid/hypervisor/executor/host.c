/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* host.c -- facts about the host, from Xen and from dom0's /proc. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xenctrl.h>
#include <xenguest.h>

#include "libxapi/base/seam.h"
#include "xapid/hypervisor/executor/executor.h"

#define LINE_SIZE 8192
#define WORDS_MAX 64

struct cpu {
    const char *vendor, *model, *flags;
};

/* The first processor's. */
static void read_cpu(struct arena *arena, struct cpu *out)
{
    const struct {
        const char *name;
        const char **to;
    } wanted[] = {{"vendor_id", &out->vendor}, {"model name", &out->model}, {"flags", &out->flags}};
    FILE *f = fopen("/proc/cpuinfo", "re");
    char line[LINE_SIZE];

    *out = (struct cpu){"", "", ""};
    while (f && fgets(line, sizeof line, f) && *line != '\n') {
        char *colon = strchr(line, ':');

        line[strcspn(line, "\n")] = '\0';
        for (size_t i = 0; colon && i < ARRAY_SIZE(wanted); i++)
            if (strncmp(line, wanted[i].name, strlen(wanted[i].name)) == 0)
                *wanted[i].to = arena_strdup(arena, colon + 1 + strspn(colon + 1, " "));
    }
    if (f)
        fclose(f);
}

static usec_t boot_time(void)
{
    FILE *f = fopen("/proc/uptime", "re");
    double up = 0;
    bool got = f && fscanf(f, "%lf", &up) == 1;

    if (f)
        fclose(f);
    return got ? clock_wall() - (usec_t)(up * 1e6) : 0;
}

/* The kernel's, which is another one after each boot. */
static const char *boot_id(struct arena *arena)
{
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
    char text[64] = "";
    bool got = f && fgets(text, sizeof text, f);

    if (f)
        fclose(f);
    text[strcspn(text, "\n")] = '\0';
    return got ? arena_strdup(arena, text) : "";
}

const char *host_features(struct arena *arena, bool pv)
{
    uint32_t words[WORDS_MAX], n = WORDS_MAX;
    xc_interface *xc = xen_control_open();
    char *text = arena_strdup(arena, "");

    if (!xc ||
        xc_get_cpu_featureset(xc, pv ? XEN_SYSCTL_cpu_featureset_pv : XEN_SYSCTL_cpu_featureset_hvm,
                              &n, words) != 0)
        n = 0;
    for (uint32_t i = 0; i < MIN(n, WORDS_MAX); i++)
        text = arena_printf(arena, "%s%s%08x", text, i ? "-" : "", words[i]);
    xen_control_close(xc);
    return text;
}

static struct error *read_version(struct arena *arena, struct xen *xen, struct hv_host_info *out)
{
    const libxl_version_info *v = libxl_get_version_info(xen->ctx);

    if (!v)
        return xen_failed(arena, xen, "asking Xen for its version", 0);
    out->version = arena_printf(arena, "%d.%d%s", v->xen_version_major, v->xen_version_minor,
                                v->xen_version_extra ? v->xen_version_extra : "");
    out->capabilities = arena_strdup(arena, v->capabilities ? v->capabilities : "");
    out->scheduler = libxl_scheduler_to_string((libxl_scheduler)libxl_get_scheduler(xen->ctx));
    return OK;
}

static struct error *read_machine(struct arena *arena, struct xen *xen, struct hv_host_info *out)
{
    libxl_physinfo info;
    int per_socket;

    libxl_physinfo_init(&info);
    if (libxl_get_physinfo(xen->ctx, &info) != 0)
        return xen_failed(arena, xen, "asking Xen for the machine", 0);
    out->memory_total = (int64_t)info.total_pages * 4096;
    out->cpu_count = (int)MAX(info.nr_cpus, 1u);
    out->threads_per_core = (int)MAX(info.threads_per_core, 1u);
    per_socket = (int)MAX(info.cores_per_socket * info.threads_per_core, 1u);
    out->socket_count = MAX(out->cpu_count / per_socket, 1);
    out->nr_nodes = (int)MAX(info.nr_nodes, 1u);
    out->cpu_mhz = info.cpu_khz / 1000.0;
    out->iommu = info.cap_hvm_directio;
    libxl_physinfo_dispose(&info);
    return memory_free(arena, xen, &out->memory_free);
}

struct error *run_host(struct request *rq, json_t **result)
{
    struct hv_host_info out = {.hypervisor = "xen"};
    AUTO(xen) xen = {0};
    struct cpu cpu;

    TRY(xen_open(&rq->arena, &xen));
    TRY(read_version(&rq->arena, &xen, &out));
    TRY(read_machine(&rq->arena, &xen, &out));
    read_cpu(&rq->arena, &cpu);
    out.cpu_vendor = cpu.vendor;
    out.cpu_model = cpu.model;
    out.cpu_flags = cpu.flags;
    out.boot_time = boot_time();
    out.boot_id = boot_id(&rq->arena);
    out.features_pv = host_features(&rq->arena, true);
    out.features_hvm = host_features(&rq->arena, false);
    *result = write_host(&out);
    return OK;
}

struct error *run_messages(struct request *rq, json_t **result)
{
    bool clear = read_bool(&rq->args, "clear");
    libxl_xen_console_reader *reader;
    struct buf text = {0};
    AUTO(xen) xen = {0};
    size_t cut;
    char *line;

    TRY(xen_open(&rq->arena, &xen));
    reader = libxl_xen_console_read_start(xen.ctx, clear);
    if (!reader)
        return xen_failed(&rq->arena, &xen, "reading Xen's messages", 0);
    while (libxl_xen_console_read_line(xen.ctx, reader, &line) > 0)
        buf_puts(&text, line);
    libxl_xen_console_read_finish(xen.ctx, reader);
    /* The last ones count. */
    cut = text.len > PROTOCOL_MESSAGES_MAX ? text.len - PROTOCOL_MESSAGES_MAX : 0;
    *result = json_pack("{s:o}", "text", json_text(text.len ? text.data + cut : ""));
    buf_release(&text);
    return OK;
}

struct error *run_debug_keys(struct request *rq, json_t **result)
{
    const char *keys = read_text(&rq->args, "keys", PROTOCOL_KEYS_MAX);
    AUTO(xen) xen = {0};
    int rc;

    (void)result;
    TRY(xen_open(&rq->arena, &xen));
    rc = libxl_send_debug_keys(xen.ctx, (char *)keys);
    return rc ? xen_failed(&rq->arena, &xen, "sending debug keys to Xen", rc) : OK;
}
