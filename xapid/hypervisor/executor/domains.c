/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * domains.c -- finding domains and telling what they are.
 *
 * Nothing of it is in this process: Xen knows domains by uuid, and /libxl/<domid>/xapid in xenstore
 * says that a domain is ours, complete, and what its devices are.  A domain without that mark is
 * listed and never touched.
 */
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "xapid/hypervisor/executor/executor.h"
#include "xapid/hypervisor/server/outcome.h"

#define KEYS_MAX 512
#define KEYS_DEPTH 8
#define VALUE_MAX 4000 /* bytes; xenstore takes 4096 with the path */

const char *mark_path(struct arena *arena, uint32_t domid, const char *key)
{
    return arena_printf(arena, "/libxl/%u/xapid%s%s", domid, *key ? "/" : "", key);
}

static void describe(struct request *rq, struct xen *xen, const libxl_dominfo *info,
                     struct found *out)
{
    const char *type;

    *out = (struct found){.exists = true, .domid = info->domid, .info = *info};
    out->info.ssid_label = NULL;
    uuid_to_text(libxl_uuid_bytearray_const(&info->uuid), out->uuid);
    out->ours = xs_text(&rq->arena, xen, mark_path(&rq->arena, info->domid, "complete")) != NULL;
    type = out->ours ? xs_text(&rq->arena, xen, mark_path(&rq->arena, info->domid, "type")) : NULL;
    out->type_name = type ? type : "";
    if (!config_type(out->type_name, &out->type))
        out->type = info->domain_type;
}

struct error *domain_find(struct request *rq, struct xen *xen, const char *uuid, struct found *out)
{
    uint8_t bytes[16];
    libxl_dominfo *all;
    int n = 0;

    *out = (struct found){0};
    if (!uuid_from_text(uuid, bytes))
        return error_internal(&rq->arena, "'%s' is no uuid", uuid);
    all = libxl_list_domain(xen->ctx, &n);
    if (!all)
        return xen_failed(&rq->arena, xen, "listing domains", 0);
    for (int i = 0; i < n && !out->exists; i++)
        if (!all[i].dying && all[i].domid != 0 &&
            memcmp(libxl_uuid_bytearray(&all[i].uuid), bytes, sizeof bytes) == 0)
            describe(rq, xen, &all[i], out);
    libxl_dominfo_list_free(all, n);
    return OK;
}

struct error *domain_of(struct request *rq, struct xen *xen, struct found *out)
{
    char uuid[UUID_TEXT_SIZE];

    read_uuid(&rq->args, "uuid", false, uuid);
    if (rq->args.bad)
        return request_bad(rq);
    TRY(domain_find(rq, xen, uuid, out));
    if (!out->exists)
        return error_internal(&rq->arena, FAILURE_NO_DOMAIN "%s", uuid);
    if (!out->ours)
        return error_internal(&rq->arena,
                              "the domain %u (%s) was not made by xapid: it is left alone",
                              out->domid, uuid);
    return OK;
}

struct error *domain_alive(struct request *rq, struct xen *xen, struct found *out)
{
    enum hv_reason reason;

    TRY(domain_of(rq, xen, out));
    if (domain_state(&out->info, &reason) == HV_SHUTDOWN)
        return error_internal(&rq->arena, "the domain %s has ended (%s)", out->uuid,
                              hv_reason_names[reason]);
    return OK;
}

struct error *domain_begin(struct request *rq, bool alive, struct hold *hold, struct xen *xen,
                           struct found *out)
{
    char uuid[UUID_TEXT_SIZE];

    read_uuid(&rq->args, "uuid", false, uuid);
    if (rq->args.bad)
        return request_bad(rq);
    TRY(hold_take(rq, uuid, HOLD_WORK, hold));
    TRY(xen_open(&rq->arena, xen));
    return alive ? domain_alive(rq, xen, out) : domain_of(rq, xen, out);
}

enum hv_state domain_state(const libxl_dominfo *info, enum hv_reason *reason)
{
    *reason = HV_NONE;
    if (!info->shutdown)
        return info->paused ? HV_PAUSED : HV_RUNNING;
    switch (info->shutdown_reason) {
    case LIBXL_SHUTDOWN_REASON_POWEROFF:
        *reason = HV_POWEROFF;
        break;
    case LIBXL_SHUTDOWN_REASON_REBOOT:
        *reason = HV_REBOOT;
        break;
    case LIBXL_SHUTDOWN_REASON_SUSPEND:
        *reason = HV_SUSPEND;
        break;
    case LIBXL_SHUTDOWN_REASON_SOFT_RESET:
        *reason = HV_SOFT_REBOOT;
        break;
    default:
        *reason = HV_CRASH;
    }
    return HV_SHUTDOWN;
}

/*** memory ***/

struct error *memory_free(struct arena *arena, struct xen *xen, int64_t *out)
{
    libxl_physinfo info;

    libxl_physinfo_init(&info);
    if (libxl_get_physinfo(xen->ctx, &info) != 0)
        return xen_failed(arena, xen, "asking Xen for its memory", 0);
    /* Pages still to be wiped are as good as free. */
    *out = (int64_t)(info.free_pages + info.scrub_pages - info.outstanding_pages) * 4096 -
           MEMORY_RESERVE;
    *out = MAX(*out, 0);
    libxl_physinfo_dispose(&info);
    return OK;
}

struct error *memory_need(struct arena *arena, struct xen *xen, int64_t bytes)
{
    int64_t available;

    TRY(memory_free(arena, xen, &available));
    if (bytes <= available)
        return OK;
    return error_new(arena, "HOST_NOT_ENOUGH_FREE_MEMORY", 2,
                     arena_printf(arena, "%lld", (long long)bytes),
                     arena_printf(arena, "%lld", (long long)available));
}

/*** marks ***/

static struct error *mark_record(struct arena *arena, struct xen *xen, const char *path,
                                 json_t *record)
{
    char *value = json_dumps(record, JSON_COMPACT);
    struct error *e = OK;

    json_decref(record);
    if (!value)
        abort(); /* out of memory */
    if (strlen(value) > VALUE_MAX)
        e = error_internal(arena, "a device whose path is too long for xenstore");
    else
        e = xs_put(arena, xen, path, value);
    free(value);
    return e;
}

struct error *mark_disk(struct arena *arena, struct xen *xen, uint32_t domid,
                        const struct hv_disk *disk)
{
    const char *key = arena_printf(arena, "disk/%s", disk->device);

    return mark_record(arena, xen, mark_path(arena, domid, key), write_disk(disk));
}

struct error *mark_nic(struct arena *arena, struct xen *xen, uint32_t domid,
                       const struct hv_nic *nic)
{
    const char *key = arena_printf(arena, "nic/%d", nic->device);

    return mark_record(arena, xen, mark_path(arena, domid, key), write_nic(nic));
}

static struct error *mark_usb(struct arena *arena, struct xen *xen, uint32_t domid,
                              const struct hv_usb *usb)
{
    const char *key = arena_printf(arena, "usb/%s", usb->id);

    return mark_record(arena, xen, mark_path(arena, domid, key), write_usb(usb));
}

/* Where an agent says what its guest is and can; libxl gives a guest but the keys that its kernel
 * needs. */
static struct error *open_to_guest(struct arena *arena, struct xen *xen, uint32_t domid)
{
    static const char *const parts[] = {"attr",  "control",  "data", "drivers",
                                        "error", "messages", "rrd",  "vm-data"};
    struct xs_permissions owner = {.id = domid, .perms = XS_PERM_NONE};

    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        const char *path = arena_printf(arena, "/local/domain/%u/%s", domid, parts[i]);

        if (!xs_mkdir(xen->xs, XBT_NULL, path) ||
            !xs_set_permissions(xen->xs, XBT_NULL, path, &owner, 1))
            return error_internal(arena, "xenstore: %s: %m", path);
    }
    return OK;
}

struct error *mark_complete(struct request *rq, struct xen *xen, uint32_t domid,
                            const struct hv_domain_config *c)
{
    struct arena *a = &rq->arena;

    for (size_t i = 0; i < c->n_disks; i++)
        TRY(mark_disk(a, xen, domid, &c->disks[i]));
    for (size_t i = 0; i < c->n_nics; i++)
        TRY(mark_nic(a, xen, domid, &c->nics[i]));
    for (size_t i = 0; i < c->n_usbs; i++)
        TRY(mark_usb(a, xen, domid, &c->usbs[i]));
    TRY(open_to_guest(a, xen, domid));
    TRY(xs_put(a, xen, mark_path(a, domid, "start"),
               arena_printf(a, "%lld", (long long)clock_wall())));
    TRY(xs_put(a, xen, mark_path(a, domid, "static-max"),
               arena_printf(a, "%lld", (long long)c->memory_static_max)));
    TRY(xs_put(a, xen, mark_path(a, domid, "vcpus-max"), arena_printf(a, "%d", c->vcpus_max)));
    TRY(xs_put(a, xen, mark_path(a, domid, "type"), c->type));
    if (*c->name)
        TRY(xs_put(a, xen, arena_printf(a, "/local/domain/%u/name", domid), c->name));
    /* Last: with it the domain is one. */
    return xs_put(a, xen, mark_path(a, domid, "complete"), rq->outcome ? rq->outcome->id : "-");
}

/*** telling ***/

/* The devices of one kind: records, one for each. */
static json_t *read_records(struct arena *arena, struct xen *xen, const char *path)
{
    json_t *all = json_array();
    unsigned n;
    char **names = xs_list(xen, path, &n);

    for (unsigned i = 0; i < n; i++) {
        const char *text = xs_text(arena, xen, arena_printf(arena, "%s/%s", path, names[i]));
        json_t *record = text ? json_loads(text, 0, NULL) : NULL;

        if (record && json_array_append_new(all, record) < 0)
            abort(); /* out of memory */
    }
    free(names);
    return all;
}

static void read_devices(struct arena *arena, struct xen *xen, struct hv_domain *out)
{
    json_t *disks = read_records(arena, xen, mark_path(arena, (uint32_t)out->domid, "disk"));
    json_t *nics = read_records(arena, xen, mark_path(arena, (uint32_t)out->domid, "nic"));
    struct hv_disk *disk = arena_array(arena, struct hv_disk, json_array_size(disks) + 1);
    struct hv_nic *nic = arena_array(arena, struct hv_nic, json_array_size(nics) + 1);

    out->disks = disk;
    out->nics = nic;
    for (size_t i = 0; i < json_array_size(disks); i++) {
        struct reader r = reader_of(arena, json_array_get(disks, i));

        read_disk(&r, &disk[out->n_disks]);
        out->n_disks += !r.bad;
    }
    for (size_t i = 0; i < json_array_size(nics); i++) {
        struct reader r = reader_of(arena, json_array_get(nics, i));

        read_nic(&r, &nic[out->n_nics]);
        out->n_nics += !r.bad;
    }
    json_decref(disks);
    json_decref(nics);
}

struct keys {
    struct arena *arena;
    struct xen *xen;
    size_t n;
    struct strpair v[KEYS_MAX];
};

/* Everything below the path, named by what comes after 'skip' characters. */
static void read_keys(struct keys *keys, const char *path, size_t skip, int depth)
{
    unsigned n;
    char **names = xs_list(keys->xen, path, &n);

    for (unsigned i = 0; i < n && keys->n < KEYS_MAX; i++) {
        const char *child = arena_printf(keys->arena, "%s/%s", path, names[i]);
        const char *value = xs_text(keys->arena, keys->xen, child);

        if (value && *value)
            keys->v[keys->n++] = (struct strpair){child + skip, value};
        if (depth < KEYS_DEPTH)
            read_keys(keys, child, skip, depth + 1);
    }
    free(names);
}

/* What the guest says of itself. */
static struct strmap read_guest(struct arena *arena, struct xen *xen, uint32_t domid)
{
    static const char *const parts[] = {"attr", "data", "control", "vm-data"};
    struct keys *keys = arena_new(arena, struct keys);
    const char *base = arena_printf(arena, "/local/domain/%u/", domid);

    keys->arena = arena;
    keys->xen = xen;
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        read_keys(keys, arena_printf(arena, "%s%s", base, parts[i]), strlen(base), 0);
    return (struct strmap){keys->n, keys->v};
}

static int64_t read_number(struct arena *arena, struct xen *xen, const char *path, int64_t def)
{
    const char *text = xs_text(arena, xen, path);

    return text ? strtoll(text, NULL, 10) : def;
}

static json_t *domain_json(struct request *rq, struct xen *xen, const struct found *d)
{
    struct arena *a = &rq->arena;
    struct executor *x = executor_of(rq);
    struct hv_domain out = {
        .domid = (int)d->domid,
        .memory = (int64_t)(d->info.current_memkb + d->info.outstanding_memkb) * 1024,
        .vcpus = (int)d->info.vcpu_online,
        .cpu_time = (usec_t)(d->info.cpu_time / 1000),
        .console_rfb = "",
        .console_text = "",
    };

    memcpy(out.uuid, d->uuid, sizeof out.uuid);
    out.state = domain_state(&d->info, &out.reason);
    out.memory_target =
        1024 * read_number(a, xen, arena_printf(a, "/local/domain/%u/memory/target", d->domid),
                           out.memory / 1024);
    out.guest = read_guest(a, xen, d->domid);
    if (d->ours) {
        out.start_time = read_number(a, xen, mark_path(a, d->domid, "start"), 0);
        out.console_rfb = d->type == LIBXL_DOMAIN_TYPE_HVM ? config_vnc_path(a, x->dir, d->uuid)
                                                           : console_rfb_path(a, x, d->domid);
        out.console_text = console_text_path(a, x, d->domid);
        read_devices(a, xen, &out);
    }
    return write_domain(&out);
}

static void add(json_t *list, json_t *value)
{
    if (json_array_append_new(list, value) < 0)
        abort(); /* out of memory */
}

struct error *run_list(struct request *rq, json_t **result)
{
    AUTO(xen) xen = {0};
    json_t *list;
    libxl_dominfo *all;
    int n = 0;

    TRY(xen_open(&rq->arena, &xen));
    all = libxl_list_domain(xen.ctx, &n);
    if (!all)
        return xen_failed(&rq->arena, &xen, "listing domains", 0);
    list = json_array();
    for (int i = 0; i < n && i < PROTOCOL_DOMAINS_MAX; i++) {
        struct found d;

        if (all[i].domid == 0 || all[i].dying || libxl_uuid_is_nil(&all[i].uuid))
            continue;
        describe(rq, &xen, &all[i], &d);
        add(list, domain_json(rq, &xen, &d));
    }
    libxl_dominfo_list_free(all, n);
    *result = json_pack("{s:o}", "domains", list);
    return OK;
}

struct error *run_get(struct request *rq, json_t **result)
{
    AUTO(xen) xen = {0};
    char uuid[UUID_TEXT_SIZE];
    struct found d;

    read_uuid(&rq->args, "uuid", false, uuid);
    if (rq->args.bad)
        return request_bad(rq);
    TRY(xen_open(&rq->arena, &xen));
    TRY(domain_find(rq, &xen, uuid, &d));
    *result = json_pack("{s:o}", "domain", d.exists ? domain_json(rq, &xen, &d) : json_null());
    return OK;
}
