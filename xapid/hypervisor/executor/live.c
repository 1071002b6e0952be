/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * live.c -- what a running domain is told besides: keys, buttons, scheduling, shadow memory, and a
 * core dump of it.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xenctrl.h>

#include "libxapi/base/memory.h"
#include "xapid/hypervisor/executor/executor.h"

#define KEY_MAX_BYTES 256
#define VALUE_MAX_BYTES 4096
#define MIB ((int64_t)1 << 20)

struct error *run_sysrq(struct request *rq, json_t **result)
{
    const char *key = read_text(&rq->args, "key", 1);
    AUTO(hold) hold = {0};
    AUTO(xen) xen = {0};
    struct found d;
    int rc;

    (void)result;
    TRY(domain_begin(rq, true, &hold, &xen, &d));
    rc = libxl_send_sysrq(xen.ctx, d.domid, *key);
    return rc ? xen_failed(&rq->arena, &xen, "sending the key", rc) : OK;
}

struct error *run_trigger(struct request *rq, json_t **result)
{
    int trigger = read_enum(&rq->args, "trigger", hv_trigger_names);
    AUTO(hold) hold = {0};
    AUTO(xen) xen = {0};
    struct found d;
    int rc;

    (void)result;
    TRY(domain_begin(rq, true, &hold, &xen, &d));
    _Static_assert(HV_TRIGGER_POWER + 1 == LIBXL_TRIGGER_POWER &&
                       HV_TRIGGER_S3RESUME + 1 == LIBXL_TRIGGER_S3RESUME,
                   "libxl's triggers are in our order");
    rc = libxl_send_trigger(xen.ctx, d.domid, (libxl_trigger)(trigger + 1), 0, NULL);
    return rc ? xen_failed(&rq->arena, &xen, "sending the trigger", rc) : OK;
}

/*** scheduling ***/

static const char *find(const struct strmap *map, const char *key)
{
    for (size_t i = 0; i < map->n; i++)
        if (strcmp(map->v[i].key, key) == 0)
            return map->v[i].value;
    return NULL;
}

static struct error *pin(struct request *rq, struct xen *xen, const struct found *d,
                         const char *mask)
{
    libxl_bitmap map = {0};
    int rc;

    if (!config_cpu_mask(mask, &map))
        return error_internal(&rq->arena, "'%s' is no list of processors", mask);
    rc = libxl_set_vcpuaffinity_all(xen->ctx, d->domid, d->info.vcpu_max_id + 1, &map, NULL);
    libxl_bitmap_dispose(&map);
    return rc ? xen_failed(&rq->arena, xen, "pinning the vCPUs", rc) : OK;
}

struct error *run_set_scheduling(struct request *rq, json_t **result)
{
    struct strmap params = read_strmap(&rq->args, "params");
    const char *weight = find(&params, "weight"), *cap = find(&params, "cap"),
               *mask = find(&params, "mask");
    libxl_domain_sched_params sched;
    AUTO(hold) hold = {0};
    AUTO(xen) xen = {0};
    struct found d;
    int rc = 0;

    (void)result;
    TRY(domain_begin(rq, true, &hold, &xen, &d));
    if (weight || cap) {
        libxl_domain_sched_params_init(&sched);
        sched.sched = LIBXL_SCHEDULER_UNKNOWN; /* whichever the host has */
        sched.weight = weight ? atoi(weight) : LIBXL_DOMAIN_SCHED_PARAM_WEIGHT_DEFAULT;
        sched.cap = cap ? atoi(cap) : LIBXL_DOMAIN_SCHED_PARAM_CAP_DEFAULT;
        rc = libxl_domain_sched_params_set(xen.ctx, d.domid, &sched);
        libxl_domain_sched_params_dispose(&sched);
    }
    if (rc)
        return xen_failed(&rq->arena, &xen, "setting weight and cap", rc);
    return mask ? pin(rq, &xen, &d, mask) : OK;
}

/* libxl sets it only when it builds a domain. */
struct error *run_set_shadow(struct request *rq, json_t **result)
{
    int64_t bytes = read_int(&rq->args, "bytes", 0, (int64_t)1 << 40);
    unsigned mib = (unsigned)((bytes + MIB - 1) / MIB), now = 0;
    AUTO(hold) hold = {0};
    AUTO(xen) xen = {0};
    xc_interface *xc;
    struct found d;
    int rc;

    (void)result;
    TRY(domain_begin(rq, true, &hold, &xen, &d));
    xc = xen_control_open();
    if (!xc)
        return xen_failed(&rq->arena, &xen, "opening Xen's control interface", 0);
    rc = xc_shadow_control(xc, d.domid, XEN_DOMCTL_SHADOW_OP_GET_ALLOCATION, &now, 0);
    if (rc >= 0 && mib > now) {
        struct error *e = memory_need(&rq->arena, &xen, (int64_t)(mib - now) * MIB);

        if (e) {
            xen_control_close(xc);
            return e;
        }
    }
    if (rc >= 0)
        rc = xc_shadow_control(xc, d.domid, XEN_DOMCTL_SHADOW_OP_SET_ALLOCATION, &mib, 0);
    xen_control_close(xc);
    return rc < 0 ? xen_failed(&rq->arena, &xen, "setting the memory for page tables", rc) : OK;
}

/*** the guest's keys ***/

static bool key_is_good(const char *key)
{
    return strlen(key) <= KEY_MAX_BYTES && !strstr(key, "//") &&
           (strncmp(key, "vm-data/", 8) == 0 || strcmp(key, "vm-data") == 0 ||
            strncmp(key, "control/", 8) == 0 || strncmp(key, "data/", 5) == 0);
}

struct error *run_guest_write(struct request *rq, json_t **result)
{
    struct strmap write = read_strmap(&rq->args, "write");
    struct strings drop = read_strings(&rq->args, "remove");
    struct arena *a = &rq->arena;
    AUTO(hold) hold = {0};
    AUTO(xen) xen = {0};
    struct found d;

    (void)result;
    TRY(domain_begin(rq, true, &hold, &xen, &d));
    for (size_t i = 0; i < write.n; i++)
        if (!key_is_good(write.v[i].key) || strlen(write.v[i].value) > VALUE_MAX_BYTES)
            return error_internal(a, "'%s' cannot be written", write.v[i].key);
    for (size_t i = 0; i < drop.n; i++)
        if (!key_is_good(drop.v[i]))
            return error_internal(a, "'%s' cannot be removed", drop.v[i]);
    for (size_t i = 0; i < drop.n; i++)
        xs_drop(&xen, arena_printf(a, "/local/domain/%u/%s", d.domid, drop.v[i]));
    for (size_t i = 0; i < write.n; i++)
        TRY(xs_put(a, &xen, arena_printf(a, "/local/domain/%u/%s", d.domid, write.v[i].key),
                   write.v[i].value));
    return OK;
}

/*** a core dump ***/

struct error *run_core_dump(struct request *rq, json_t **result)
{
    const char *path = read_text(&rq->args, "path", 4096);
    AUTO(hold) hold = {0};
    AUTO(xen) xen = {0};
    struct found d;
    int rc;

    (void)result;
    TRY(domain_begin(rq, false, &hold, &xen, &d));
    if (access(path, F_OK) == 0)
        return error_internal(&rq->arena, "%s is there already", path);
    rc = libxl_domain_core_dump(xen.ctx, d.domid, path, NULL);
    if (!rc)
        return OK;
    unlink(path);
    return xen_failed(&rq->arena, &xen, "writing the core dump", rc);
}
