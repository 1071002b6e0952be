/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* calls.c -- the small handlers, and the table of all. */
#include <stdlib.h>

#include "libxapi/base/memory.h"
#include "xapid/hypervisor/executor/executor.h"

static struct error *run_unpause(struct request *rq, json_t **result)
{
    AUTO(hold) hold = {0};
    AUTO(xen) xen = {0};
    struct found d;
    int rc;

    (void)result;
    TRY(domain_begin(rq, true, &hold, &xen, &d));
    rc = d.info.paused ? libxl_domain_unpause(xen.ctx, d.domid, NULL) : 0;
    return rc ? xen_failed(&rq->arena, &xen, "unpausing the domain", rc) : OK;
}

static struct error *run_pause(struct request *rq, json_t **result)
{
    AUTO(hold) hold = {0};
    AUTO(xen) xen = {0};
    struct found d;
    int rc;

    (void)result;
    TRY(domain_begin(rq, true, &hold, &xen, &d));
    rc = d.info.paused ? 0 : libxl_domain_pause(xen.ctx, d.domid, NULL);
    return rc ? xen_failed(&rq->arena, &xen, "pausing the domain", rc) : OK;
}

static int64_t mark_number(struct request *rq, struct xen *xen, uint32_t domid, const char *key)
{
    const char *text = xs_text(&rq->arena, xen, mark_path(&rq->arena, domid, key));

    return text ? strtoll(text, NULL, 10) : 0;
}

static struct error *run_set_memory(struct request *rq, json_t **result)
{
    int64_t target = read_int(&rq->args, "target", 0, INT64_MAX), max, more;
    AUTO(hold) hold = {0};
    AUTO(xen) xen = {0};
    struct found d;
    int rc;

    (void)result;
    TRY(domain_begin(rq, true, &hold, &xen, &d));
    max = mark_number(rq, &xen, d.domid, "static-max");
    if (target < (4 << 20) || target > max)
        return error_internal(
            &rq->arena, "a memory target of %lld bytes is not between 4 MiB and static-max %lld",
            (long long)target, (long long)max);
    more = target - (int64_t)(d.info.current_memkb + d.info.outstanding_memkb) * 1024;
    TRY(memory_need(&rq->arena, &xen, more));
    rc = libxl_set_memory_target(xen.ctx, d.domid, target / 1024, 0, 1);
    return rc ? xen_failed(&rq->arena, &xen, "setting the memory target", rc) : OK;
}

static struct error *run_set_vcpus(struct request *rq, json_t **result)
{
    int vcpus = (int)read_int(&rq->args, "vcpus", INT32_MIN, INT32_MAX);
    libxl_bitmap map = {0};
    AUTO(hold) hold = {0};
    AUTO(xen) xen = {0};
    struct found d;
    int64_t max;
    int rc;

    (void)result;
    TRY(domain_begin(rq, true, &hold, &xen, &d));
    max = mark_number(rq, &xen, d.domid, "vcpus-max");
    if (vcpus < 1 || vcpus > max)
        return error_internal(&rq->arena, "the domain has 1 to %lld vCPUs", (long long)max);
    map.size = (uint32_t)(max + 7) / 8;
    map.map = xcalloc(map.size, 1);
    for (int i = 0; i < vcpus; i++)
        libxl_bitmap_set(&map, i);
    rc = libxl_set_vcpuonline(xen.ctx, d.domid, &map, NULL);
    libxl_bitmap_dispose(&map);
    return rc ? xen_failed(&rq->arena, &xen, "setting the number of vCPUs", rc) : OK;
}

static struct error *run_control(struct request *rq, json_t **result)
{
    (void)result;
    return error_internal(&rq->arena, "control: this is no simulator");
}

const struct handler executor_handlers[EXECUTOR_N_HANDLERS] = {
    {"host", false, run_host},
    {"list", false, run_list},
    {"get", false, run_get},
    {"stats", false, run_stats},
    {"wait_death", false, run_wait_death},
    {"control", false, run_control},
    {"build", true, run_build},
    {"restore", true, run_restore},
    {"unpause", true, run_unpause},
    {"pause", true, run_pause},
    {"shutdown", true, run_shutdown},
    {"destroy", true, run_destroy},
    {"save", true, run_save},
    {"migrate_out", true, run_migrate_out},
    {"migrate_in", true, run_migrate_in},
    {"resume", true, run_resume},
    {"set_memory", true, run_set_memory},
    {"set_vcpus", true, run_set_vcpus},
    {"disk_plug", true, run_disk_plug},
    {"disk_unplug", true, run_disk_unplug},
    {"disk_change", true, run_disk_change},
    {"nic_plug", true, run_nic_plug},
    {"nic_unplug", true, run_nic_unplug},
    {"usb_unplug", true, run_usb_unplug},
    {"sysrq", true, run_sysrq},
    {"trigger", true, run_trigger},
    {"set_scheduling", true, run_set_scheduling},
    {"set_shadow", true, run_set_shadow},
    {"guest_write", true, run_guest_write},
    {"core_dump", true, run_core_dump},
    {"messages", false, run_messages},
    {"debug_keys", false, run_debug_keys},
    {"watchdog", false, run_watchdog},
};
