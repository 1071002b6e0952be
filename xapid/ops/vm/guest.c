/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/vm/guest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "xapid/db/ready.h"
#include "xapid/db/row.h"
#include "xapid/main/xapid.h"

/*** maps under construction ***/

struct pairs {
    struct arena *arena;
    size_t n;
    struct strpair *v;
};

static const char *cut(struct arena *arena, const char *s)
{
    size_t n = strnlen(s, GUEST_MAX_VALUE + 1);

    if (n <= GUEST_MAX_VALUE)
        return s;
    /* Not in the middle of a character. */
    for (n = GUEST_MAX_VALUE; n > 0 && ((unsigned char)s[n] & 0xc0) == 0x80; n--)
        ;
    return arena_strndup(arena, s, n);
}

static bool has(const struct pairs *p, const char *key)
{
    for (size_t i = 0; i < p->n; i++)
        if (strcmp(p->v[i].key, key) == 0)
            return true;
    return false;
}

static void put(struct pairs *p, const char *key, const char *value)
{
    if (!p->v)
        p->v = arena_array(p->arena, struct strpair, GUEST_MAX_ENTRIES);
    if (p->n < GUEST_MAX_ENTRIES && strlen(key) <= GUEST_MAX_VALUE && !has(p, key))
        p->v[p->n++] = (struct strpair){key, cut(p->arena, value)};
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct strpair *)a)->key, ((const struct strpair *)b)->key);
}

/* In the order of the keys, so that the same facts make the same value. */
static struct strmap finish(struct pairs *p)
{
    if (p->n)
        qsort(p->v, p->n, sizeof *p->v, by_key);
    return (struct strmap){p->n, p->v};
}

/*** the keys ***/

struct known_key {
    const char *key, *name;
};

static void put_known(struct pairs *p, const struct strmap *keys, const struct known_key *known,
                      size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *value = strmap_get(keys, known[i].key);

        if (value)
            put(p, known[i].name, value);
    }
}

static struct strmap os_version(struct arena *arena, const struct strmap *keys)
{
    static const struct known_key known[] = {
        {"data/os_name", "name"},       {"data/os_uname", "uname"},
        {"data/os_distro", "distro"},   {"data/os_majorver", "major"},
        {"data/os_minorver", "minor"},  {"attr/os/spmajor", "spmajor"},
        {"attr/os/spminor", "spminor"},
    };
    struct pairs p = {.arena = arena};

    put_known(&p, keys, known, ARRAY_SIZE(known));
    return finish(&p);
}

static struct strmap driver_version(struct arena *arena, const struct strmap *keys)
{
    static const struct known_key known[] = {
        {"attr/PVAddons/MajorVersion", "major"},
        {"attr/PVAddons/MinorVersion", "minor"},
        {"attr/PVAddons/MicroVersion", "micro"},
        {"attr/PVAddons/BuildVersion", "build"},
    };
    struct pairs p = {.arena = arena};

    put_known(&p, keys, known, ARRAY_SIZE(known));
    if (p.n && !has(&p, "micro"))
        put(&p, "micro", "-1");
    return finish(&p);
}

static struct strmap netbios_name(struct arena *arena, const struct strmap *keys)
{
    static const struct known_key known[] = {{"data/host_name_dns", "host_name"},
                                             {"data/domain", "domain"}};
    struct pairs p = {.arena = arena};

    put_known(&p, keys, known, ARRAY_SIZE(known));
    return finish(&p);
}

/* "attr/vif/0/ipv4/1" is "0/ipv4/1", and the first IPv4 address also "0/ip"; "attr/eth0/ip" is how
 * older agents say it. */
static struct strmap networks(struct arena *arena, const struct strmap *keys)
{
    struct pairs p = {.arena = arena};

    for (size_t i = 0; i < keys->n; i++) {
        const char *key = keys->v[i].key;
        char family[8];
        int device, number, end = 0;

        if (sscanf(key, "attr/vif/%d/%7[a-z0-9]/%d%n", &device, family, &number, &end) != 3 ||
            !end || key[end] || device < 0 || number < 0)
            continue;
        if (strcmp(family, "ipv4") != 0 && strcmp(family, "ipv6") != 0)
            continue;
        put(&p, arena_printf(arena, "%d/%s/%d", device, family, number), keys->v[i].value);
        if (strcmp(family, "ipv4") == 0 && number == 0)
            put(&p, arena_printf(arena, "%d/ip", device), keys->v[i].value);
    }
    for (size_t i = 0; i < keys->n; i++) {
        int device, end = 0;

        if (sscanf(keys->v[i].key, "attr/eth%d/ip%n", &device, &end) == 1 && end &&
            !keys->v[i].key[end] && device >= 0)
            put(&p, arena_printf(arena, "%d/ip", device), keys->v[i].value);
    }
    return finish(&p);
}

static bool is_feature(const char *name)
{
    return strncmp(name, "feature-", 8) == 0 || strncmp(name, "platform-feature-", 17) == 0 ||
           strcmp(name, "has-vendor-device") == 0 || strcmp(name, "xd") == 0;
}

static struct strmap other(struct arena *arena, const struct strmap *keys)
{
    const char *reason = strmap_get(keys, "data/cant_suspend_reason"),
               *ts = strmap_get(keys, "data/ts");
    struct pairs p = {.arena = arena};

    for (size_t i = 0; i < keys->n; i++) {
        const char *name = keys->v[i].key + strlen("control/");

        if (strncmp(keys->v[i].key, "control/", strlen("control/")) != 0 || !is_feature(name))
            continue;
        /* A guest that says why it cannot be suspended does not have the feature. */
        if (!(reason && strcmp(name, "feature-suspend") == 0))
            put(&p, name, keys->v[i].value);
    }
    if (reason)
        put(&p, "data-cant-suspend-reason", reason);
    if (ts)
        put(&p, "data-ts", ts);
    return finish(&p);
}

static struct strmap services(struct arena *arena, const struct strmap *keys)
{
    static const char prefix[] = "data/service/";
    struct pairs p = {.arena = arena};

    for (size_t i = 0; i < keys->n; i++)
        if (strncmp(keys->v[i].key, prefix, sizeof prefix - 1) == 0)
            put(&p, keys->v[i].key + sizeof prefix - 1, keys->v[i].value);
    return finish(&p);
}

bool guest_metrics_of_keys(struct arena *arena, const struct strmap *keys,
                           struct vm_guest_metrics *out)
{
    out->os_version = os_version(arena, keys);
    out->pv_drivers_version = driver_version(arena, keys);
    out->netbios_name = netbios_name(arena, keys);
    out->networks = networks(arena, keys);
    out->other = other(arena, keys);
    out->services = services(arena, keys);
    out->pv_drivers_detected = out->pv_drivers_version.n > 0;
    out->pv_drivers_up_to_date = out->pv_drivers_detected;
    out->can_use_hotplug_vbd = out->can_use_hotplug_vif =
        out->pv_drivers_detected ? TRISTATE_TYPE_YES : TRISTATE_TYPE_UNSPECIFIED;
    out->live = true;
    return out->os_version.n || out->pv_drivers_version.n || out->netbios_name.n ||
           out->networks.n || out->other.n || out->services.n;
}

/*** the row ***/

static const int followed[] = {
    FIELD_vm_guest_metrics_os_version,
    FIELD_vm_guest_metrics_pv_drivers_version,
    FIELD_vm_guest_metrics_netbios_name,
    FIELD_vm_guest_metrics_networks,
    FIELD_vm_guest_metrics_other,
    FIELD_vm_guest_metrics_services,
    FIELD_vm_guest_metrics_pv_drivers_detected,
    FIELD_vm_guest_metrics_pv_drivers_up_to_date,
    FIELD_vm_guest_metrics_can_use_hotplug_vbd,
    FIELD_vm_guest_metrics_can_use_hotplug_vif,
    FIELD_vm_guest_metrics_live,
};

static bool differs(const struct vm_guest_metrics *row, const struct vm_guest_metrics *now)
{
    for (size_t i = 0; i < ARRAY_SIZE(followed); i++) {
        const struct field_desc *f = &api_fields[followed[i]];

        if (!value_equal(f->type, field_in(row, f), field_in(now, f)))
            return true;
    }
    return false;
}

struct update {
    ref_t vm;
    int64_t domid;
    struct vm_guest_metrics now; /* with 'ref' and 'uuid' for a new row */
};

static struct error *update_txn(struct txn *txn, void *arg)
{
    const struct update *u = arg;
    const struct vm *vm = txn_find(txn, CLASS_vm, u->vm);

    /* It is another domain's, or nobody's, by now. */
    if (!vm || vm->domid != u->domid)
        return OK;
    if (!txn_find(txn, CLASS_vm_guest_metrics, vm->guest_metrics)) {
        txn_create(txn, CLASS_vm_guest_metrics, &u->now);
        TXN_SET(txn, vm, vm->ref, guest_metrics, u->now.ref);
        return OK;
    }
    for (size_t i = 0; i < ARRAY_SIZE(followed); i++)
        txn_set_value(txn, followed[i], vm->guest_metrics,
                      field_in(&u->now, &api_fields[followed[i]]));
    TXN_SET(txn, vm_guest_metrics, vm->guest_metrics, last_updated, u->now.last_updated);
    return OK;
}

void vm_metrics_follow(struct call *call, const struct vm *vm, int64_t memory, int64_t vcpus)
{
    const struct vm_metrics *m = db_find(call, CLASS_vm_metrics, vm->metrics);
    usec_t now = clock_wall();

    if (!m || (m->memory_actual == memory && m->vcpus_number == vcpus))
        return;
    db_set_lazily(call->xapid->db, FIELD_vm_metrics_memory_actual, m->ref, &memory);
    db_set_lazily(call->xapid->db, FIELD_vm_metrics_vcpus_number, m->ref, &vcpus);
    db_set_lazily(call->xapid->db, FIELD_vm_metrics_last_updated, m->ref, &now);
}

struct error *vm_guest_update(struct call *call, const struct vm *vm,
                              const struct hv_domain *domain)
{
    const struct vm_guest_metrics *row = db_find(call, CLASS_vm_guest_metrics, vm->guest_metrics);
    struct update u = {.vm = vm->ref, .domid = domain->domid};

    vm_metrics_follow(call, vm, domain->memory, domain->vcpus);
    row_defaults(&api_classes[CLASS_vm_guest_metrics], &u.now);
    if (!guest_metrics_of_keys(call->arena, &domain->guest, &u.now) ||
        (row && !differs(row, &u.now)))
        return OK;
    u.now.ref = ref_new();
    u.now.uuid = uuid_new(arena_alloc(call->arena, UUID_TEXT_SIZE));
    u.now.last_updated = clock_wall();
    return db_update(call, update_txn, &u);
}
