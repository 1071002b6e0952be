/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/join/checks.h"

#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/db/level.h"

/* Hosts of a pool whose licence restricts its size. */
#define RESTRICTED_POOL_SIZE 3

/*** what both sides are ***/

static struct db_walk rows_of(const struct db_root *root, int class_id)
{
    struct db_walk walk;

    db_walk((const struct db_snap *)root, class_id, &walk);
    return walk;
}

#define FOR_ROWS(root, class, row)                                                                 \
    for (struct db_walk walk_ = rows_of((root), CLASS_##class), *once_ = &walk_; once_;            \
         once_ = NULL)                                                                             \
        for (const struct class *row; (row = db_walk_next(&walk_));)

const struct host *join_host_of(const struct db_root *root)
{
    const struct host *found = NULL;

    if (root->tables[CLASS_host].count == 1)
        FOR_ROWS(root, host, host)
    found = host;
    return found;
}

static const struct pool *pool_of(const struct db_root *root)
{
    const struct pool *found = NULL;

    FOR_ROWS(root, pool, pool)
    found = pool;
    return found;
}

static const struct host *joining(const struct join_sides *s)
{
    return join_host_of(s->host);
}

static const struct host *master(const struct join_sides *s)
{
    return root_get(s->pool, CLASS_host, pool_of(s->pool)->master);
}

static size_t count(const struct db_root *root, int class_id)
{
    return root->tables[class_id].count;
}

static const char *of_map(const struct strmap *map, const char *key)
{
    const char *value = strmap_get(map, key);

    return value ? value : "";
}

static bool is_restricted(const struct join_sides *s, const char *feature)
{
    return strcmp(of_map(&pool_of(s->pool)->restrictions, feature), "true") == 0;
}

static struct error *refused(const struct join_sides *s, const char *why)
{
    return err_operation_not_allowed(s->call, why);
}

/*** the checks, in their order ***/

static struct error *is_one_host(const struct join_sides *s)
{
    return joining(s) && pool_of(s->host)
               ? OK
               : err_joining_host_cannot_be_master_of_other_hosts(s->call);
}

static struct error *pool_has_a_coordinator(const struct join_sides *s)
{
    if (pool_of(s->pool) && master(s))
        return OK;
    return refused(s, "The pool has no coordinator at the moment.");
}

static struct error *is_not_a_member_yet(const struct join_sides *s)
{
    FOR_ROWS(s->pool, host, host)
    if (strcmp(host->uuid, joining(s)->uuid) == 0)
        return refused(s, "The pool has this host already.");
    return OK;
}

static struct error *no_high_availability(const struct join_sides *s)
{
    return pool_of(s->host)->ha_enabled || pool_of(s->pool)->ha_enabled ? err_ha_is_enabled(s->call)
                                                                        : OK;
}

static struct error *licence_allows_pools(const struct join_sides *s)
{
    if (is_restricted(s, "restrict_pooling"))
        return err_licence_restriction(s->call, "restrict_pooling");
    if (is_restricted(s, "restrict_pool_size") &&
        count(s->pool, CLASS_host) >= RESTRICTED_POOL_SIZE)
        return err_licence_restriction(s->call, "restrict_pool_size");
    return OK;
}

static struct error *pool_has_room(const struct join_sides *s)
{
    return count(s->pool, CLASS_host) < LOG_MAX_MEMBERS
               ? OK
               : refused(s, "The pool has as many hosts as a pool may have.");
}

static const char *api_version(const struct join_sides *s, const struct host *host)
{
    return arena_printf(s->call->arena, "%lld.%lld", (long long)host->api_version_major,
                        (long long)host->api_version_minor);
}

static struct error *same_api_version(const struct join_sides *s)
{
    const char *mine = api_version(s, joining(s)), *theirs = api_version(s, master(s));

    return strcmp(mine, theirs) == 0
               ? OK
               : err_pool_joining_host_must_have_same_api_version(s->call, mine, theirs);
}

static struct error *same_db_schema(const struct join_sides *s)
{
    const char *mine = of_map(&joining(s)->software_version, "db_schema");
    const char *theirs = of_map(&master(s)->software_version, "db_schema");

    return strcmp(mine, theirs) == 0
               ? OK
               : err_pool_joining_host_must_have_same_db_schema(s->call, mine, theirs);
}

/* What it brings, and what it would be sent: all of that is of the pool's level. */
static struct error *same_level(const struct join_sides *s)
{
    struct db_walk walk = rows_of(s->host, CLASS_host_state);
    const struct host_state *state = db_walk_next(&walk);
    struct arena *arena = s->call->arena;

    return !state || state->level >= root_level(s->pool)
               ? OK
               : err_pool_joining_host_must_have_same_db_schema(
                     s->call, arena_printf(arena, "level %lld", (long long)state->level),
                     arena_printf(arena, "level %u", root_level(s->pool)));
}

static struct error *same_product_version(const struct join_sides *s)
{
    static const char *const keys[] = {"product_version", "product_brand", "platform_version",
                                       "xapi_build"};

    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        if (strcmp(of_map(&joining(s)->software_version, keys[i]),
                   of_map(&master(s)->software_version, keys[i])) != 0)
            return err_pool_joining_host_must_have_same_product_version(s->call);
    return OK;
}

static struct error *same_processors(const struct join_sides *s)
{
    return strcmp(of_map(&joining(s)->cpu_info, "vendor"),
                  of_map(&master(s)->cpu_info, "vendor")) == 0
               ? OK
               : err_hosts_not_homogeneous(s->call, "The processors are of different vendors.");
}

static struct error *same_external_auth(const struct join_sides *s)
{
    const struct host *a = joining(s), *b = master(s);

    return strcmp(a->external_auth_type, b->external_auth_type) == 0 &&
                   strcmp(a->external_auth_service_name, b->external_auth_service_name) == 0
               ? OK
               : err_pool_joining_external_auth_mismatch(s->call);
}

static struct error *no_running_vms(const struct join_sides *s)
{
    FOR_ROWS(s->host, vm, vm)
    if (!vm->is_control_domain && (vm->power_state == VM_RUNNING || vm->power_state == VM_PAUSED))
        return err_joining_host_cannot_have_running_vms(s->call);
    return OK;
}

static bool has_uuid(const struct db_root *root, int field_id, const char *uuid)
{
    struct index_walk walk;
    ref_t ref;

    index_walk(root, &api_fields[field_id], index_key_string(uuid), &walk);
    return index_next(&walk, &ref);
}

/* One that the pool has, too, is the same storage. */
static struct error *no_shared_srs(const struct join_sides *s)
{
    FOR_ROWS(s->host, sr, sr)
    if (sr->shared && !has_uuid(s->pool, FIELD_sr_uuid, sr->uuid))
        return err_joining_host_cannot_contain_shared_srs(s->call);
    return OK;
}

static struct error *no_bonds(const struct join_sides *s)
{
    return count(s->host, CLASS_bond) ? err_pool_joining_host_has_bonds(s->call) : OK;
}

static struct error *no_tunnels(const struct join_sides *s)
{
    return count(s->host, CLASS_tunnel) ? err_pool_joining_host_has_tunnels(s->call) : OK;
}

static struct error *no_network_sriovs(const struct join_sides *s)
{
    return count(s->host, CLASS_network_sriov) ? err_pool_joining_host_has_network_sriovs(s->call)
                                               : OK;
}

static struct error *no_vlans_but_the_management_one(const struct join_sides *s)
{
    FOR_ROWS(s->host, pif, pif)
    if (pif->vlan >= 0 && !pif->management)
        return err_pool_joining_host_has_non_management_vlans(s->call);
    return OK;
}

static const struct pif *management_pif(const struct db_root *root, ref_t host)
{
    const struct pif *found = NULL;

    FOR_ROWS(root, pif, pif)
    if (pif->management && ref_equal(pif->host, host))
        found = pif;
    return found;
}

static struct error *has_a_management_interface(const struct join_sides *s)
{
    return management_pif(s->host, joining(s)->ref)
               ? OK
               : err_pool_joining_host_must_have_physical_management_nic(s->call);
}

static const char *vlan_text(const struct join_sides *s, const struct pif *pif)
{
    return arena_printf(s->call->arena, "%lld", pif ? (long long)pif->vlan : -1LL);
}

static struct error *same_management_vlan(const struct join_sides *s)
{
    const char *mine = vlan_text(s, management_pif(s->host, joining(s)->ref));
    const char *theirs = vlan_text(s, management_pif(s->pool, master(s)->ref));

    return strcmp(mine, theirs) == 0
               ? OK
               : err_pool_joining_host_management_vlan_does_not_match(s->call, mine, theirs);
}

static struct error *same_address_family(const struct join_sides *s)
{
    const struct pif *mine = management_pif(s->host, joining(s)->ref);
    const struct pif *theirs = management_pif(s->pool, master(s)->ref);

    return !mine || !theirs || mine->primary_address_type == theirs->primary_address_type
               ? OK
               : refused(s, "The management interfaces have addresses of different families.");
}

static struct error *same_network_backend(const struct join_sides *s)
{
    return strcmp(of_map(&joining(s)->software_version, "network_backend"),
                  of_map(&master(s)->software_version, "network_backend")) == 0
               ? OK
               : refused(s, "The network backends are different.");
}

static bool has_controller(const struct db_root *root, const struct sdn_controller *wanted)
{
    FOR_ROWS(root, sdn_controller, row)
    if (row->protocol == wanted->protocol && row->port == wanted->port &&
        strcmp(row->address, wanted->address) == 0)
        return true;
    return false;
}

static struct error *same_sdn_controllers(const struct join_sides *s)
{
    bool same = count(s->host, CLASS_sdn_controller) == count(s->pool, CLASS_sdn_controller);

    FOR_ROWS(s->host, sdn_controller, row)
    same = same && has_controller(s->pool, row);
    return same ? OK : refused(s, "The SDN controllers are different.");
}

static struct error *same_tls_verification(const struct join_sides *s)
{
    return pool_of(s->host)->tls_verification_enabled == pool_of(s->pool)->tls_verification_enabled
               ? OK
               : err_pool_joining_host_tls_verification_mismatch(s->call);
}

static bool conflicts(const struct db_root *root, const struct certificate *wanted)
{
    FOR_ROWS(root, certificate, row)
    if (row->type == CERTIFICATE_TYPE_CA && strcmp(row->name, wanted->name) == 0 &&
        strcmp(row->fingerprint_sha256, wanted->fingerprint_sha256) != 0)
        return true;
    return false;
}

static struct error *no_other_authority_of_the_same_name(const struct join_sides *s)
{
    FOR_ROWS(s->host, certificate, row)
    if (row->type == CERTIFICATE_TYPE_CA && *row->name && conflicts(s->pool, row))
        return err_pool_joining_host_ca_certificates_conflict(s->call);
    return OK;
}

static const struct sm *sm_of_type(const struct db_root *root, const char *type)
{
    FOR_ROWS(root, sm, row)
    if (strcmp(row->type, type) == 0)
        return row;
    return NULL;
}

static struct error *storage_drivers_can_as_much(const struct join_sides *s)
{
    FOR_ROWS(s->pool, sm, pool)
    {
        const struct sm *host = sm_of_type(s->host, pool->type);

        if (!host)
            continue;
        for (size_t i = 0; i < pool->capabilities.n; i++)
            if (!strings_contain(&host->capabilities, pool->capabilities.v[i]))
                return err_pool_joining_sm_features_incompatible(
                    s->call, call_ref(s->call, pool->ref), call_ref(s->call, host->ref));
    }
    return OK;
}

static const struct {
    struct error *(*check)(const struct join_sides *s);
    bool may_be_forced;
} checks[] = {
    {is_one_host, false},
    {pool_has_a_coordinator, false},
    {is_not_a_member_yet, false},
    {no_high_availability, false},
    {licence_allows_pools, false},
    {pool_has_room, false},
    {same_api_version, false},
    {same_db_schema, false},
    {same_level, false},
    {same_product_version, false},
    {same_processors, true},
    {same_external_auth, false},
    {no_running_vms, false},
    {no_shared_srs, false},
    {no_bonds, false},
    {no_tunnels, false},
    {no_network_sriovs, false},
    {no_vlans_but_the_management_one, false},
    {has_a_management_interface, false},
    {same_management_vlan, false},
    {same_address_family, false},
    {same_network_backend, false},
    {same_sdn_controllers, false},
    {same_tls_verification, false},
    {no_other_authority_of_the_same_name, false},
    {storage_drivers_can_as_much, false},
};

struct error *join_check(const struct join_sides *sides, bool force)
{
    for (size_t i = 0; i < ARRAY_SIZE(checks); i++)
        if (!force || !checks[i].may_be_forced)
            TRY(checks[i].check(sides));
    return OK;
}
