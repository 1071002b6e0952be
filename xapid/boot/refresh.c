/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/boot/parts.h"

#include <stdlib.h>
#include <string.h>

#include "libxapi/base/seam.h"
#include "pool/peer/peer.h"
#include "xapid/db/level.h"
#include "xapid/db/row.h"
#include "xapid/main/members.h"
#include "xapid/main/office.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/host/cpu.h"
#include "xapid/ops/host/licence.h"
#include "xapid/ops/network/change.h"
#include "xapid/ops/vm/checks.h"

/* The interface whose level xapid has, as clients compare it. */
#define API_MAJOR 2
#define API_MINOR 23
#define DB_SCHEMA "5.909"
#define PRODUCT_VERSION "8.3.0"
#define PLATFORM_VERSION "3.4.0"
#define XAPI_VERSION "26.1"

/* Writes a field only where it differs, so that a restart is not a change of everything. */
static void refresh(struct txn *txn, int field_id, const void *row, const void *value)
{
    const struct field_desc *f = &api_fields[field_id];

    if (!value_equal(f->type, field_in(row, f), value))
        txn_set_value(txn, field_id, ((const struct row *)row)->ref, value);
}

#define REFRESH(txn, class, row, field, ...)                                                       \
    refresh((txn), FIELD_##class##_##field, (row),                                                 \
            &(__typeof__(((struct class *)0)->field)[1]){__VA_ARGS__})

/*** the host ***/

static struct strings words(struct arena *arena, const char *text)
{
    const char **v = arena_array(arena, const char *, strlen(text) / 2 + 1);
    size_t n = 0;

    while (*(text += strspn(text, " "))) {
        size_t size = strcspn(text, " ");

        v[n++] = arena_strndup(arena, text, size);
        text += size;
    }
    return (struct strings){n, v};
}

static const char *number(struct arena *arena, int64_t n)
{
    return arena_printf(arena, "%lld", (long long)n);
}

static struct strmap map_of(struct arena *arena, const struct strpair *pairs, size_t n)
{
    return (struct strmap){n, arena_memdup(arena, pairs, n * sizeof *pairs)};
}

static struct strmap cpu_info(struct arena *arena, const struct boot *b)
{
    const struct strpair pairs[] = {
        {"cpu_count", number(arena, b->hv.cpu_count)},
        {"socket_count", number(arena, b->hv.socket_count)},
        {"threads_per_core", number(arena, b->hv.threads_per_core)},
        {"nr_nodes", number(arena, b->hv.nr_nodes)},
        {"vendor", b->hv.cpu_vendor},
        {"speed", arena_printf(arena, "%.3f", b->hv.cpu_mhz)},
        {"modelname", b->hv.cpu_model},
        {"family", number(arena, b->facts.cpu_family)},
        {"model", number(arena, b->facts.cpu_model)},
        {"stepping", b->facts.cpu_stepping},
        {"flags", b->hv.cpu_flags},
        {"features_pv", b->hv.features_pv},
        {"features_hvm", b->hv.features_hvm},
        {"features_pv_host", b->hv.features_pv},
        {"features_hvm_host", b->hv.features_hvm},
    };

    return map_of(arena, pairs, ARRAY_SIZE(pairs));
}

static struct strmap software_version(struct arena *arena, const struct boot *b)
{
    const char *api = arena_printf(arena, "%d.%d", API_MAJOR, API_MINOR);
    bool is_vswitch = host_network_is_vswitch(b->xapid->network);
    const struct strpair pairs[] = {
        {"product_version", PRODUCT_VERSION},
        {"product_version_text", PRODUCT_VERSION},
        {"product_version_text_short", PRODUCT_VERSION},
        {"platform_name", "XCP"},
        {"platform_version", PLATFORM_VERSION},
        {"product_brand", "xapid"},
        {"build_number", XAPID_VERSION},
        {"git_id", "local"},
        {"hostname", "localhost"},
        {"date", "2026-01-01"},
        {"xapi", XAPI_VERSION},
        {"xapi_build", "xapid " XAPID_VERSION},
        {"db_schema", DB_SCHEMA},
        {"xen", *b->hv.version ? b->hv.version : "(unknown)"},
        {"linux", *b->facts.kernel ? b->facts.kernel : "(unknown)"},
        {"xencenter_min", "2.0"},
        {"xencenter_max", api},
        {"network_backend", is_vswitch ? "openvswitch" : "bridge"},
    };

    return map_of(arena, pairs, ARRAY_SIZE(pairs));
}

/* Seconds with a trailing point: clients parse it as a number and never expect an exponent. */
static const char *time_text(struct arena *arena, usec_t time)
{
    return arena_printf(arena, "%lld.", (long long)(time / USEC_PER_SEC));
}

static void refresh_versions(struct txn *txn, const struct boot *b, const struct host *host)
{
    static const char *const bootloaders[] = {"pygrub", "eliloader"};
    static const char *const editions[] = {LICENCE_EDITION};
    static const int64_t platforms[] = {0, 1, 2};
    struct arena *arena = txn_arena(txn);
    const struct strpair iommu = {"iommu", b->hv.iommu ? "true" : "false"};
    struct strmap cpu = cpu_info(arena, b);

    REFRESH(txn, host, host, api_version_major, API_MAJOR);
    REFRESH(txn, host, host, api_version_minor, API_MINOR);
    REFRESH(txn, host, host, api_version_vendor, "XenSource");
    REFRESH(txn, host, host, software_version, software_version(arena, b));
    REFRESH(txn, host, host, capabilities, words(arena, b->hv.capabilities));
    REFRESH(txn, host, host, sched_policy, *b->hv.scheduler ? b->hv.scheduler : "credit");
    REFRESH(txn, host, host, supported_bootloaders, {ARRAY_SIZE(bootloaders), bootloaders});
    REFRESH(txn, host, host, virtual_hardware_platform_versions,
            {ARRAY_SIZE(platforms), platforms});
    REFRESH(txn, host, host, license_params, licence_features);
    REFRESH(txn, host, host, edition, LICENCE_EDITION);
    REFRESH(txn, host, host, editions, {ARRAY_SIZE(editions), editions});
    REFRESH(txn, host, host, bios_strings, b->facts.bios_strings);
    REFRESH(txn, host, host, chipset_info, map_of(arena, &iommu, 1));
    REFRESH(txn, host, host, cpu_info, cpu);
    txn_pool_cpus(txn, host->ref, &cpu, REF_NULL);
}

/* Without what belongs to the guests that run: their records count it. */
static int64_t host_overhead(struct txn *txn, const struct boot *b)
{
    int64_t bytes = b->overhead;

    for (size_t i = 0; i < b->n_domains; i++) {
        struct refs vms = txn_referrers(txn, FIELD_vm_uuid, index_key_string(b->domains[i].uuid));
        const struct vm *vm = vms.n ? txn_find(txn, CLASS_vm, vms.v[0]) : NULL;

        bytes -= vm ? vm_memory_overhead(vm) : 0;
    }
    return MAX(bytes, (int64_t)0);
}

/* Since this daemon's last start; the time of a boot is reckoned, so two of them differ a little.
 */
static bool was_rebooted(const struct boot *b, const struct host *host)
{
    const char *before = strmap_get(&host->other_config, "boot_time");
    double now = (double)b->hv.boot_time / USEC_PER_SEC, last = before ? strtod(before, NULL) : 0;

    return last < now - 2 || last > now + 2;
}

/* Where the certificate was renewed just before xapid died. */
static void refresh_identity(struct txn *txn, const struct boot *b, const struct host_state *state)
{
    const char *now = b->xapid->peers ? peers_fingerprint(b->xapid->peers) : "";
    const char *slash = strrchr(state->address, '/');

    if (*now && slash && strcmp(slash + 1, now) != 0 &&
        root_level(snap_root(txn_snap(txn))) >= LEVEL_RENEWED_IDENTITIES)
        REFRESH(txn, host_state, state, identity, now);
}

static struct error *refresh_host(struct txn *txn, const struct boot *b)
{
    struct arena *arena = txn_arena(txn);
    const struct host_state *state = txn_find(txn, CLASS_host_state, b->state);
    const struct host_metrics *metrics;
    const struct host *host;

    TRY(TXN_GET(txn, host, b->host, &host));
    refresh_versions(txn, b, host);
    REFRESH(txn, host, host, memory_overhead, host_overhead(txn, b));
    REFRESH(txn, host, host, address, boot_address(b));
    /* The simulator's host only has a name in the records: host.set_hostname_live. */
    if (!boot_is_simulated(b))
        REFRESH(txn, host, host, hostname, b->facts.hostname);
    if (state) {
        REFRESH(txn, host_state, state, member, b->member);
        refresh_identity(txn, b, state);
        REFRESH(txn, host_state, state, address, members_address(arena, b->xapid->members));
        REFRESH(txn, host_state, state, level, b->xapid->options.level);
        /* A watchdog does not outlive its machine. */
        if (was_rebooted(b, host))
            REFRESH(txn, host_state, state, ha_armed, false);
    }
    txn_strmap_put(txn, FIELD_host_other_config, b->host, "agent_start_time",
                   time_text(arena, b->xapid->started));
    txn_strmap_put(txn, FIELD_host_other_config, b->host, "boot_time",
                   time_text(arena, b->hv.boot_time));
    metrics = txn_find(txn, CLASS_host_metrics, host->metrics);
    if (metrics) {
        REFRESH(txn, host_metrics, metrics, memory_total, b->hv.memory_total);
        REFRESH(txn, host_metrics, metrics, live, true);
        TXN_SET(txn, host_metrics, metrics->ref, last_updated, clock_wall());
    }
    return OK;
}

static struct error *refresh_control_domain(struct txn *txn, const struct boot *b)
{
    const struct host *host;
    const struct vm *vm;

    TRY(TXN_GET(txn, host, b->host, &host));
    vm = txn_find(txn, CLASS_vm, host->control_domain);
    if (!vm)
        return OK;
    REFRESH(txn, vm, vm, power_state, VM_RUNNING);
    REFRESH(txn, vm, vm, resident_on, b->host);
    REFRESH(txn, vm, vm, vcpus_max, b->control_vcpus);
    REFRESH(txn, vm, vm, vcpus_at_startup, b->control_vcpus);
    REFRESH(txn, vm, vm, memory_static_max, b->control_memory);
    REFRESH(txn, vm, vm, memory_dynamic_max, b->control_memory);
    REFRESH(txn, vm, vm, memory_dynamic_min, b->control_memory);
    REFRESH(txn, vm, vm, memory_target, b->control_memory);
    if (!ref_is_null(vm->metrics)) {
        TXN_SET(txn, vm_metrics, vm->metrics, memory_actual, b->control_memory);
        TXN_SET(txn, vm_metrics, vm->metrics, vcpus_number, b->control_vcpus);
    }
    return OK;
}

/*** its processors ***/

static void fill_cpu(const struct boot *b, int64_t n, struct host_cpu *cpu)
{
    cpu->host = b->host;
    cpu->number = n;
    cpu->vendor = b->hv.cpu_vendor;
    cpu->speed = (int64_t)b->hv.cpu_mhz;
    cpu->modelname = b->hv.cpu_model;
    cpu->family = b->facts.cpu_family;
    cpu->model = b->facts.cpu_model;
    cpu->stepping = b->facts.cpu_stepping;
    cpu->flags = b->hv.cpu_flags;
    cpu->features = b->hv.features_hvm;
}

static bool same_cpu(const struct host_cpu *a, const struct host_cpu *b)
{
    return a->speed == b->speed && a->family == b->family && a->model == b->model &&
           strcmp(a->vendor, b->vendor) == 0 && strcmp(a->modelname, b->modelname) == 0 &&
           strcmp(a->stepping, b->stepping) == 0 && strcmp(a->flags, b->flags) == 0 &&
           strcmp(a->features, b->features) == 0;
}

/* One row for each CPU thread; a changed processor is another one. */
static struct error *refresh_cpus(struct txn *txn, const struct boot *b)
{
    struct refs old = txn_referrers(txn, FIELD_host_cpu_host, b->host);
    bool *have = arena_array(txn_arena(txn), bool, (size_t)b->hv.cpu_count + 1);

    for (size_t i = 0; i < old.n; i++) {
        const struct host_cpu *row;
        struct host_cpu now;

        TRY(TXN_GET(txn, host_cpu, old.v[i], &row));
        fill_cpu(b, row->number, &now);
        if (row->number >= 0 && row->number < b->hv.cpu_count && !have[row->number] &&
            same_cpu(row, &now))
            have[row->number] = true;
        else
            txn_destroy(txn, CLASS_host_cpu, old.v[i]);
    }
    for (int i = 0; i < b->hv.cpu_count; i++) {
        struct host_cpu row;

        if (have[i])
            continue;
        row_defaults(&api_classes[CLASS_host_cpu], &row);
        row.ref = ref_new();
        row.uuid = boot_new_uuid(txn_arena(txn));
        fill_cpu(b, i, &row);
        txn_create(txn, CLASS_host_cpu, &row);
    }
    return OK;
}

/*** the pool, and where consoles are ***/

/* What the coordinator says of the pool. */
static struct error *refresh_pool(struct txn *txn, const struct boot *b)
{
    const struct pool *pool;

    TRY(TXN_GET(txn, pool, b->pool, &pool));
    REFRESH(txn, pool, pool, restrictions, licence_features);
    return OK;
}

static const char *console_location(struct arena *arena, const struct boot *b, ref_t console)
{
    int port = b->xapid->options.tls_port;
    const char *where = port > 0 && port != 443 ? arena_printf(arena, ":%d", port) : "";

    return arena_printf(arena, "https://%s%s/console?ref=%s", boot_address(b), where,
                        ref_text(arena, console));
}

/* Where the control domain's console is reached. */
static struct error *refresh_console(struct txn *txn, const struct boot *b)
{
    struct arena *arena = txn_arena(txn);
    const struct host *host;
    struct refs consoles;
    struct console row;

    TRY(TXN_GET(txn, host, b->host, &host));
    consoles = txn_referrers(txn, FIELD_console_vm, host->control_domain);
    for (size_t i = 0; i < consoles.n; i++) {
        const struct console *old;

        TRY(TXN_GET(txn, console, consoles.v[i], &old));
        REFRESH(txn, console, old, location, console_location(arena, b, old->ref));
    }
    if (consoles.n || ref_is_null(host->control_domain))
        return OK;
    row_defaults(&api_classes[CLASS_console], &row);
    row.ref = ref_new();
    row.uuid = boot_new_uuid(arena);
    row.protocol = CONSOLE_PROTOCOL_RFB;
    row.location = console_location(arena, b, row.ref);
    row.vm = host->control_domain;
    txn_create(txn, CLASS_console, &row);
    return OK;
}

static const char *set_address(struct txn *txn, const struct boot *b)
{
    struct refs pifs = txn_referrers(txn, FIELD_pif_host, b->host);

    for (size_t i = 0; i < pifs.n; i++) {
        const struct pif *pif = txn_find(txn, CLASS_pif, pifs.v[i]);

        if (pif && pif->management && pif->ip_configuration_mode == IP_CONFIGURATION_MODE_STATIC)
            return arena_strdup(txn_call(txn)->arena, pif->ip);
    }
    return "";
}

struct error *txn_boot_refresh(struct txn *txn, void *arg)
{
    struct boot *b = arg;

    b->address = set_address(txn, b);
    if (db_leads(b->xapid->db)) {
        TRY(txn_office_take(txn, b->host, b->pool));
        TRY(refresh_pool(txn, b));
    }
    TRY(refresh_host(txn, b));
    TRY(refresh_control_domain(txn, b));
    TRY(refresh_cpus(txn, b));
    return refresh_console(txn, b);
}

/*** the card of a simulated host ***/

/* The present address and link of the machine that a simulated host runs on. */
struct error *txn_boot_refresh_pifs(struct txn *txn, void *arg)
{
    struct boot *b = arg;
    const struct nic_facts *nic = &b->facts.nic;
    struct refs pifs = txn_referrers(txn, FIELD_pif_host, b->host);

    for (size_t i = 0; i < pifs.n && *nic->name; i++) {
        const struct pif_metrics *old;
        struct pif_metrics metrics;
        const struct pif *pif;

        TRY(TXN_GET(txn, pif, pifs.v[i], &pif));
        if (!pif->physical || strcmp(pif->mac, nic->mac) != 0 ||
            pif->ip_configuration_mode != IP_CONFIGURATION_MODE_DHCP)
            continue;
        REFRESH(txn, pif, pif, ip, nic->ip);
        REFRESH(txn, pif, pif, netmask, nic->netmask);
        REFRESH(txn, pif, pif, gateway, nic->gateway);
        REFRESH(txn, pif, pif, dns, nic->dns);
        old = txn_find(txn, CLASS_pif_metrics, pif->metrics);
        boot_pif_metrics(b, &metrics);
        if (!old)
            continue;
        REFRESH(txn, pif_metrics, old, carrier, metrics.carrier);
        REFRESH(txn, pif_metrics, old, speed, metrics.speed);
        REFRESH(txn, pif_metrics, old, duplex, metrics.duplex);
    }
    return OK;
}
