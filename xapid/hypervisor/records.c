/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* records.c -- the records of hv.h as JSON and back. */
#include <limits.h>
#include <math.h>
#include <stdlib.h>

#include "xapid/hypervisor/protocol.h"

#define NAME_MAX_BYTES 256
#define TEXT_MAX_BYTES ((size_t)64 * 1024)
#define MEMORY_MAX ((int64_t)1 << 50)
#define RATE_MAX ((int64_t)1 << 42)
#define VCPUS_MAX 4096

const char *const hv_state_names[] = {"paused", "running", "shutdown", NULL};
const char *const hv_reason_names[] = {"none",  "poweroff",    "reboot", "suspend",
                                       "crash", "soft-reboot", NULL};
const char *const hv_trigger_names[] = {"power", "sleep", "nmi", "init", "reset", "s3resume", NULL};

static void put(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) < 0)
        abort(); /* out of memory */
}

static void put_text(json_t *object, const char *key, const char *text)
{
    put(object, key, json_text(text ? text : ""));
}

static void put_int(json_t *object, const char *key, int64_t value)
{
    put(object, key, json_integer(value));
}

json_t *write_strmap(const struct strmap *map)
{
    json_t *o = json_object();

    for (size_t i = 0; i < map->n; i++) {
        json_t *key = json_text(map->v[i].key);

        put_text(o, json_string_value(key), map->v[i].value);
        json_decref(key);
    }
    return o;
}

json_t *write_strings(const struct strings *set)
{
    json_t *a = json_array();

    for (size_t i = 0; i < set->n; i++)
        if (json_array_append_new(a, json_text(set->v[i])) < 0)
            abort(); /* out of memory */
    return a;
}

json_t *write_disk(const struct hv_disk *disk)
{
    json_t *o = json_object();

    put_text(o, "device", disk->device);
    put_text(o, "path", disk->path);
    put_text(o, "format", disk->format);
    put(o, "cdrom", json_boolean(disk->cdrom));
    put(o, "shared", json_boolean(disk->shared));
    put(o, "writable", json_boolean(disk->mode == HV_DISK_RW));
    return o;
}

void read_disk(struct reader *r, struct hv_disk *out)
{
    out->device = read_text(r, "device", NAME_MAX_BYTES);
    out->path = read_text(r, "path", PATH_MAX);
    out->format = read_text(r, "format", NAME_MAX_BYTES);
    out->cdrom = read_bool(r, "cdrom");
    out->shared = read_bool(r, "shared");
    out->mode = read_bool(r, "writable") ? HV_DISK_RW : HV_DISK_RO;
}

json_t *write_nic(const struct hv_nic *nic)
{
    json_t *o = json_object();

    put_int(o, "device", nic->device);
    put_text(o, "mac", nic->mac);
    put_text(o, "bridge", nic->bridge);
    put_int(o, "mtu", nic->mtu);
    if (nic->vswitch)
        put_int(o, "vswitch", 1);
    if (nic->rate) {
        put_int(o, "rate", nic->rate);
        put_int(o, "rate_interval", nic->rate_interval);
    }
    return o;
}

void read_nic(struct reader *r, struct hv_nic *out)
{
    out->device = (int)read_int(r, "device", 0, INT16_MAX);
    out->mac = read_text(r, "mac", NAME_MAX_BYTES);
    out->bridge = read_text(r, "bridge", NAME_MAX_BYTES);
    out->mtu = read_int(r, "mtu", 0, 1 << 20);
    out->vswitch = read_int_if_any(r, "vswitch", 0, 1) != 0;
    out->rate = read_int_if_any(r, "rate", 0, RATE_MAX);
    out->rate_interval = (int)read_int_if_any(r, "rate_interval", 0, USEC_PER_SEC);
}

static json_t *write_disks(size_t n, const struct hv_disk *disks)
{
    json_t *a = json_array();

    for (size_t i = 0; i < n; i++)
        if (json_array_append_new(a, write_disk(&disks[i])) < 0)
            abort(); /* out of memory */
    return a;
}

static json_t *write_nics(size_t n, const struct hv_nic *nics)
{
    json_t *a = json_array();

    for (size_t i = 0; i < n; i++)
        if (json_array_append_new(a, write_nic(&nics[i])) < 0)
            abort(); /* out of memory */
    return a;
}

/* An array of at most 'max' elements; its length, 0 if it is none. */
static size_t read_array(struct reader *r, const char *key, size_t max, const json_t **out)
{
    *out = json_object_get(r->object, key);
    if (json_is_array(*out) && json_array_size(*out) <= max)
        return json_array_size(*out);
    if (!r->bad)
        r->bad = key;
    return 0;
}

static size_t read_disks(struct reader *r, const struct hv_disk **out)
{
    const json_t *a;
    size_t n = read_array(r, "disks", PROTOCOL_DISKS_MAX, &a);
    struct hv_disk *disks = arena_array(r->arena, struct hv_disk, n + 1);

    for (size_t i = 0; i < n; i++) {
        struct reader inner = reader_of(r->arena, json_array_get(a, i));

        read_disk(&inner, &disks[i]);
        if (!r->bad)
            r->bad = inner.bad;
    }
    *out = disks;
    return n;
}

static size_t read_nics(struct reader *r, const struct hv_nic **out)
{
    const json_t *a;
    size_t n = read_array(r, "nics", PROTOCOL_NICS_MAX, &a);
    struct hv_nic *nics = arena_array(r->arena, struct hv_nic, n + 1);

    for (size_t i = 0; i < n; i++) {
        struct reader inner = reader_of(r->arena, json_array_get(a, i));

        read_nic(&inner, &nics[i]);
        if (!r->bad)
            r->bad = inner.bad;
    }
    *out = nics;
    return n;
}

json_t *write_usb(const struct hv_usb *usb)
{
    json_t *o = json_object();

    put_text(o, "id", usb->id);
    put_int(o, "bus", usb->bus);
    put_int(o, "address", usb->address);
    return o;
}

void read_usb(struct reader *r, struct hv_usb *out)
{
    out->id = read_text(r, "id", NAME_MAX_BYTES);
    out->bus = (int)read_int(r, "bus", 1, 999);
    out->address = (int)read_int(r, "address", 1, 127);
}

static json_t *write_usbs(size_t n, const struct hv_usb *usbs)
{
    json_t *a = json_array();

    for (size_t i = 0; i < n; i++)
        if (json_array_append_new(a, write_usb(&usbs[i])) < 0)
            abort(); /* out of memory */
    return a;
}

static size_t read_usbs(struct reader *r, const struct hv_usb **out)
{
    const json_t *a;
    size_t n = read_array(r, "usbs", PROTOCOL_USBS_MAX, &a);
    struct hv_usb *usbs = arena_array(r->arena, struct hv_usb, n + 1);

    for (size_t i = 0; i < n; i++) {
        struct reader inner = reader_of(r->arena, json_array_get(a, i));

        read_usb(&inner, &usbs[i]);
        if (!r->bad)
            r->bad = inner.bad;
    }
    *out = usbs;
    return n;
}

static json_t *write_pcis(size_t n, const char *const *pcis)
{
    json_t *a = json_array();

    for (size_t i = 0; i < n; i++)
        if (json_array_append_new(a, json_text(pcis[i])) < 0)
            abort(); /* out of memory */
    return a;
}

static size_t read_pcis(struct reader *r, const char *const **out)
{
    const json_t *a;
    size_t n = read_array(r, "pcis", PROTOCOL_PCIS_MAX, &a);
    const char **pcis = arena_array(r->arena, const char *, n + 1);

    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_array_get(a, i));

        if (!text && !r->bad)
            r->bad = "pcis";
        pcis[i] = arena_strdup(r->arena, text ? text : "");
    }
    *out = pcis;
    return n;
}

json_t *write_config(const struct hv_domain_config *c)
{
    json_t *o = json_object();

    put_text(o, "uuid", c->uuid);
    put_text(o, "name", c->name);
    put_text(o, "type", c->type);
    put_int(o, "memory_static_max", c->memory_static_max);
    put_int(o, "memory_target", c->memory_target);
    put_int(o, "shadow_memory", c->shadow_memory);
    put_int(o, "vcpus_max", c->vcpus_max);
    put_int(o, "vcpus", c->vcpus);
    put_text(o, "kernel", c->kernel);
    put_text(o, "ramdisk", c->ramdisk);
    put_text(o, "cmdline", c->cmdline);
    put_text(o, "bootloader", c->bootloader);
    put_text(o, "bootloader_args", c->bootloader_args);
    put_text(o, "boot_order", c->boot_order);
    put_text(o, "firmware", c->firmware);
    put(o, "platform", write_strmap(&c->platform));
    put(o, "xenstore_data", write_strmap(&c->xenstore_data));
    put(o, "vcpus_params", write_strmap(&c->vcpus_params));
    put(o, "bios_strings", write_strmap(&c->bios_strings));
    put_text(o, "cpu_features", c->cpu_features);
    put(o, "disks", write_disks(c->n_disks, c->disks));
    put(o, "nics", write_nics(c->n_nics, c->nics));
    put(o, "pcis", write_pcis(c->n_pcis, c->pcis));
    put(o, "usbs", write_usbs(c->n_usbs, c->usbs));
    return o;
}

void read_config(struct reader *r, struct hv_domain_config *out)
{
    out->uuid = read_text(r, "uuid", UUID_TEXT_SIZE - 1);
    out->name = read_text(r, "name", TEXT_MAX_BYTES);
    out->type = read_text(r, "type", NAME_MAX_BYTES);
    out->memory_static_max = read_int(r, "memory_static_max", 0, MEMORY_MAX);
    out->memory_target = read_int(r, "memory_target", 0, MEMORY_MAX);
    out->shadow_memory = read_int_if_any(r, "shadow_memory", 0, MEMORY_MAX);
    out->vcpus_max = (int)read_int(r, "vcpus_max", 0, VCPUS_MAX);
    out->vcpus = (int)read_int(r, "vcpus", 0, VCPUS_MAX);
    out->kernel = read_text(r, "kernel", PATH_MAX);
    out->ramdisk = read_text(r, "ramdisk", PATH_MAX);
    out->cmdline = read_text(r, "cmdline", TEXT_MAX_BYTES);
    out->bootloader = read_text_if_any(r, "bootloader", NAME_MAX_BYTES);
    out->bootloader_args = read_text_if_any(r, "bootloader_args", TEXT_MAX_BYTES);
    out->boot_order = read_text(r, "boot_order", NAME_MAX_BYTES);
    out->firmware = read_text(r, "firmware", NAME_MAX_BYTES);
    out->platform = read_strmap(r, "platform");
    out->xenstore_data = read_strmap(r, "xenstore_data");
    out->vcpus_params = read_strmap_if_any(r, "vcpus_params");
    out->bios_strings = read_strmap_if_any(r, "bios_strings");
    out->cpu_features = read_text_if_any(r, "cpu_features", TEXT_MAX_BYTES);
    out->n_disks = read_disks(r, &out->disks);
    out->n_nics = read_nics(r, &out->nics);
    out->n_pcis = read_pcis(r, &out->pcis);
    out->n_usbs = read_usbs(r, &out->usbs);
}

json_t *write_domain(const struct hv_domain *d)
{
    json_t *o = json_object();

    put_text(o, "uuid", d->uuid);
    put_int(o, "domid", d->domid);
    put_text(o, "state", hv_state_names[d->state]);
    put_text(o, "reason", hv_reason_names[d->reason]);
    put_int(o, "memory", d->memory);
    put_int(o, "memory_target", d->memory_target);
    put_int(o, "vcpus", d->vcpus);
    put_int(o, "start_time", d->start_time);
    put_int(o, "cpu_time", d->cpu_time);
    put_text(o, "console_rfb", d->console_rfb);
    put_text(o, "console_text", d->console_text);
    put(o, "guest", write_strmap(&d->guest));
    put(o, "disks", write_disks(d->n_disks, d->disks));
    put(o, "nics", write_nics(d->n_nics, d->nics));
    return o;
}

void read_domain(struct reader *r, struct hv_domain *out)
{
    read_uuid(r, "uuid", false, out->uuid);
    out->domid = (int)read_int(r, "domid", 0, INT_MAX);
    out->state = (enum hv_state)read_enum(r, "state", hv_state_names);
    out->reason = (enum hv_reason)read_enum(r, "reason", hv_reason_names);
    out->memory = read_int(r, "memory", 0, MEMORY_MAX);
    out->memory_target = read_int(r, "memory_target", 0, MEMORY_MAX);
    out->vcpus = (int)read_int(r, "vcpus", 0, VCPUS_MAX);
    out->start_time = read_int(r, "start_time", 0, INT64_MAX);
    out->cpu_time = read_int(r, "cpu_time", 0, INT64_MAX);
    out->console_rfb = read_text(r, "console_rfb", PATH_MAX);
    out->console_text = read_text(r, "console_text", PATH_MAX);
    out->guest = read_strmap(r, "guest");
    out->n_disks = read_disks(r, &out->disks);
    out->n_nics = read_nics(r, &out->nics);
}

json_t *write_host(const struct hv_host_info *h)
{
    json_t *o = json_object();

    put_text(o, "hypervisor", h->hypervisor);
    put_text(o, "version", h->version);
    put_text(o, "scheduler", h->scheduler);
    put_int(o, "memory_total", h->memory_total);
    put_int(o, "memory_free", h->memory_free);
    put_int(o, "cpu_count", h->cpu_count);
    put_int(o, "socket_count", h->socket_count);
    put_int(o, "threads_per_core", h->threads_per_core);
    put_int(o, "nr_nodes", h->nr_nodes);
    put_text(o, "cpu_vendor", h->cpu_vendor);
    put_text(o, "cpu_model", h->cpu_model);
    put_text(o, "cpu_flags", h->cpu_flags);
    put_text(o, "capabilities", h->capabilities);
    put_text(o, "features_pv", h->features_pv);
    put_text(o, "features_hvm", h->features_hvm);
    put(o, "cpu_mhz", json_real(isfinite(h->cpu_mhz) ? h->cpu_mhz : 0));
    put_int(o, "boot_time", h->boot_time);
    put_text(o, "boot_id", h->boot_id);
    put(o, "iommu", json_boolean(h->iommu));
    return o;
}

void read_host(struct reader *r, struct hv_host_info *out)
{
    out->hypervisor = read_text(r, "hypervisor", NAME_MAX_BYTES);
    out->version = read_text(r, "version", NAME_MAX_BYTES);
    out->scheduler = read_text_if_any(r, "scheduler", NAME_MAX_BYTES);
    out->memory_total = read_int(r, "memory_total", 0, MEMORY_MAX);
    out->memory_free = read_int(r, "memory_free", 0, MEMORY_MAX);
    out->cpu_count = (int)read_int(r, "cpu_count", 1, VCPUS_MAX);
    out->socket_count = (int)read_int(r, "socket_count", 1, VCPUS_MAX);
    out->threads_per_core = (int)read_int(r, "threads_per_core", 1, VCPUS_MAX);
    out->nr_nodes = (int)read_int(r, "nr_nodes", 1, VCPUS_MAX);
    out->cpu_vendor = read_text(r, "cpu_vendor", NAME_MAX_BYTES);
    out->cpu_model = read_text(r, "cpu_model", NAME_MAX_BYTES);
    out->cpu_flags = read_text(r, "cpu_flags", TEXT_MAX_BYTES);
    out->capabilities = read_text(r, "capabilities", TEXT_MAX_BYTES);
    out->features_pv = read_text(r, "features_pv", TEXT_MAX_BYTES);
    out->features_hvm = read_text(r, "features_hvm", TEXT_MAX_BYTES);
    out->cpu_mhz = read_real(r, "cpu_mhz");
    out->boot_time = read_int(r, "boot_time", 0, INT64_MAX);
    out->boot_id = read_text_if_any(r, "boot_id", NAME_MAX_BYTES);
    out->iommu = read_bool(r, "iommu");
}

json_t *write_error(const struct error *e)
{
    json_t *o = json_object();
    json_t *params = json_array();

    for (size_t i = 0; i < e->n_params; i++)
        if (json_array_append_new(params, json_text(e->params[i])) < 0)
            abort(); /* out of memory */
    put_text(o, "code", e->code);
    put(o, "params", params);
    return o;
}

struct error *read_error(struct arena *arena, const json_t *value)
{
    const char *code = json_string_value(json_object_get(value, "code"));
    const json_t *params = json_object_get(value, "params");
    size_t n = json_array_size(params);
    const char *v[4] = {"", "", "", ""};

    if (!code || !*code || n > ARRAY_SIZE(v))
        return error_internal(arena, "the hypervisor's process sent an error that cannot be read");
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_array_get(params, i));

        v[i] = text ? text : "";
    }
    return error_new(arena, arena_strdup(arena, code), n, v[0], v[1], v[2], v[3]);
}
