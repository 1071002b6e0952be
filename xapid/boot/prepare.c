/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/boot/parts.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "xapid/boot/templates.h"
#include "xapid/db/row.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/network/change.h"
#include "xapid/ops/storage/attach.h"

/*** each step once ***/

/* Marks a step of the first start as done, in the write-set that does it. */
static struct error *prepare_once(struct txn *txn, const struct boot *b, const char *step,
                                  bool *needed)
{
    const struct host_state *state;

    TRY(TXN_GET(txn, host_state, b->state, &state));
    *needed = !strings_contain(&state->prepared, step);
    if (*needed)
        txn_set_add(txn, FIELD_host_state_prepared, b->state, &step);
    return OK;
}

/*** networks ***/

static ref_t add_network(struct txn *txn, const char *name, const char *description,
                         const char *bridge, struct strmap other_config)
{
    struct network row;

    row_defaults(&api_classes[CLASS_network], &row);
    row.ref = ref_new();
    row.uuid = boot_new_uuid(txn_arena(txn));
    row.name_label = name;
    row.name_description = description;
    row.bridge = bridge;
    row.mtu = 1500;
    row.managed = true;
    row.other_config = other_config;
    txn_create(txn, CLASS_network, &row);
    return row.ref;
}

void boot_pif_metrics(const struct boot *b, struct pif_metrics *m)
{
    const struct nic_facts *nic = &b->facts.nic;

    m->carrier = nic->carrier;
    m->vendor_id = nic->vendor_id;
    m->device_id = nic->device_id;
    m->speed = nic->speed;
    m->duplex = nic->duplex;
    m->pci_bus_path = *nic->pci_path ? nic->pci_path : "N/A";
    m->last_updated = clock_wall();
}

static void add_pif(struct txn *txn, const struct boot *b, ref_t network)
{
    const struct nic_facts *nic = &b->facts.nic;
    struct pif_metrics metrics;
    struct pif row;

    row_defaults(&api_classes[CLASS_pif_metrics], &metrics);
    metrics.ref = ref_new();
    metrics.uuid = boot_new_uuid(txn_arena(txn));
    boot_pif_metrics(b, &metrics);
    txn_create(txn, CLASS_pif_metrics, &metrics);
    row_defaults(&api_classes[CLASS_pif], &row);
    row.ref = ref_new();
    row.uuid = boot_new_uuid(txn_arena(txn));
    row.device = "eth0";
    row.network = network;
    row.host = b->host;
    row.mac = *nic->mac ? nic->mac : boot_mac(txn_arena(txn), b);
    row.mtu = nic->mtu;
    row.vlan = -1;
    row.metrics = metrics.ref;
    row.physical = true;
    row.currently_attached = true;
    row.management = true;
    row.ip_configuration_mode = *nic->ip ? IP_CONFIGURATION_MODE_DHCP : IP_CONFIGURATION_MODE_NONE;
    row.ip = nic->ip;
    row.netmask = nic->netmask;
    row.gateway = nic->gateway;
    row.dns = nic->dns;
    txn_create(txn, CLASS_pif, &row);
}

/* A network of the pool that an earlier host's start made; null if there is none. */
static ref_t find_network(struct txn *txn, const char *bridge)
{
    const struct network *row;
    struct db_walk walk;

    db_walk(txn_snap(txn), CLASS_network, &walk);
    while ((row = db_walk_next(&walk)))
        if (strcmp(row->bridge, bridge) == 0 && txn_find(txn, CLASS_network, row->ref))
            return row->ref;
    return REF_NULL;
}

static bool boot_is_only_host(struct txn *txn)
{
    return snap_root(txn_snap(txn))->tables[CLASS_host].count <= 1;
}

struct error *txn_boot_networks(struct txn *txn, void *arg)
{
    static const struct strpair internal[] = {
        {"is_guest_installer_network", "true"},
        {"is_host_internal_management_network", "true"},
        {"ip_begin", "169.254.0.1"},
        {"ip_end", "169.254.255.254"},
        {"netmask", "255.255.0.0"},
    };
    struct boot *b = arg;
    ref_t network;
    bool needed;

    TRY(prepare_once(txn, b, "networks", &needed));
    if (!needed)
        return OK;
    /* A real host's cards are looked for once it is there (ops/network/scan.h). */
    if (host_network_is_simulated(b->xapid->network)) {
        network = find_network(txn, "xenbr0");
        if (ref_is_null(network))
            network = add_network(txn, "Pool-wide network associated with eth0", "", "xenbr0",
                                  (struct strmap){0});
        add_pif(txn, b, network);
    }
    /* The pool has one, or an administrator did not want it. */
    if (!boot_is_only_host(txn))
        return OK;
    add_network(txn, "Host internal management network",
                "Network on which guests will be assigned a private link-local IP address which "
                "can be used to talk XenAPI",
                "xenapi", (struct strmap){ARRAY_SIZE(internal), internal});
    return OK;
}

/*** storage ***/

struct new_sr {
    struct boot *boot;
    const char *step, *uuid, *name, *description, *type, *content_type, *i18n;
    struct strmap device_config;
    bool make_default;
};

static struct strmap sr_config(struct arena *arena, const struct new_sr *s)
{
    struct strmap map = {0};

    if (!s->i18n)
        return strmap_with(arena, map, "auto-scan", "true");
    map = strmap_with(arena, map, "i18n-key", s->i18n);
    map = strmap_with(arena, map, "i18n-original-value-name_label", s->name);
    return strmap_with(arena, map, "i18n-original-value-name_description", s->description);
}

static struct error *prepare_sr(struct txn *txn, void *arg)
{
    const struct new_sr *s = arg;
    struct arena *arena = txn_arena(txn);
    struct sr sr;
    struct pbd pbd;
    bool needed;

    TRY(prepare_once(txn, s->boot, s->step, &needed));
    if (!needed || txn_referrers(txn, FIELD_sr_uuid, index_key_string(s->uuid)).n)
        return OK;
    row_defaults(&api_classes[CLASS_sr], &sr);
    sr.ref = ref_new();
    sr.uuid = s->uuid;
    sr.name_label = s->name;
    sr.name_description = s->description;
    sr.type = s->type;
    sr.content_type = s->content_type;
    sr.other_config = sr_config(arena, s);
    txn_create(txn, CLASS_sr, &sr);
    row_defaults(&api_classes[CLASS_pbd], &pbd);
    pbd.ref = ref_new();
    pbd.uuid = boot_new_uuid(arena);
    pbd.host = s->boot->host;
    pbd.sr = sr.ref;
    pbd.device_config = s->device_config;
    pbd.currently_attached = true; /* done right after this, with all others */
    txn_create(txn, CLASS_pbd, &pbd);
    if (s->make_default) {
        TXN_SET(txn, host, s->boot->host, suspend_image_sr, sr.ref);
        TXN_SET(txn, host, s->boot->host, crash_dump_sr, sr.ref);
    }
    if (s->make_default && boot_is_only_host(txn)) {
        TXN_SET(txn, pool, s->boot->pool, default_sr, sr.ref);
        TXN_SET(txn, pool, s->boot->pool, suspend_image_sr, sr.ref);
        TXN_SET(txn, pool, s->boot->pool, crash_dump_sr, sr.ref);
    }
    return OK;
}

static bool is_prepared(const struct call *call, const struct boot *b, const char *step)
{
    const struct host_state *state = db_find(call, CLASS_host_state, b->state);

    return state && strings_contain(&state->prepared, step);
}

/*
 * The directory first, under a uuid that is the same at each try, then the rows.  A directory that
 * cannot be used (it belongs to another installation, perhaps) leaves the host without this
 * repository, and is tried again at the next start.
 */
static struct error *make_sr(struct call *call, struct new_sr *s)
{
    struct sr_handle handle = {0};
    struct error *e;

    if (is_prepared(call, s->boot, s->step))
        return OK;
    e = sr_handle_new(call, s->type, s->uuid, &s->device_config, &handle);
    if (!e)
        e = handle.driver->create(call, &handle, 0);
    if (e) {
        log_error("the repository '%s' cannot be made: %s", s->name, error_line(call->arena, e));
        return OK;
    }
    return db_update(call, prepare_sr, s);
}

struct error *boot_storage(struct call *call, struct boot *b)
{
    const struct strpair place[] = {{"location", b->xapid->options.storage_dir}};
    const char *isos = arena_printf(call->arena, "%s/iso", b->xapid->options.state_dir);
    const struct strpair iso_place[] = {{"location", isos}, {"legacy_mode", "true"}};
    struct new_sr local = {
        .boot = b,
        .step = "local storage",
        .uuid = boot_uuid(call->arena, b, "local storage"),
        .name = "Local storage",
        .description = "",
        .type = "ext",
        .content_type = "user",
        .i18n = "local-storage",
        .device_config = {ARRAY_SIZE(place), place},
        .make_default = true,
    };
    struct new_sr library = {
        .boot = b,
        .step = "iso library",
        .uuid = boot_uuid(call->arena, b, "iso library"),
        .name = "ISO library",
        .description = "CD images in a directory of this host",
        .type = "iso",
        .content_type = "iso",
        .device_config = {ARRAY_SIZE(iso_place), iso_place},
    };

    if (mkdir(isos, 0755) < 0 && errno != EEXIST)
        log_error("%s cannot be made: %s", isos, strerror(errno));
    TRY(make_sr(call, &local));
    return make_sr(call, &library);
}

/*** templates ***/

/* True where some host has done that step: what it made belongs to the pool. */
static bool is_done_in_pool(struct txn *txn, const char *step)
{
    const struct host_state *state;
    struct db_walk walk;

    db_walk(txn_snap(txn), CLASS_host_state, &walk);
    while ((state = db_walk_next(&walk)))
        if (strings_contain(&state->prepared, step))
            return true;
    return false;
}

struct error *txn_boot_templates(struct txn *txn, void *arg)
{
    struct boot *b = arg;
    const char *step = arena_printf(txn_arena(txn), "templates %d", TEMPLATES_VERSION);
    bool done = is_done_in_pool(txn, step), needed;

    TRY(prepare_once(txn, b, step, &needed));
    return needed && !done ? txn_templates_add(txn) : OK;
}
