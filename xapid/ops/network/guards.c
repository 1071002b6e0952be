/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * guards.c -- no lock is held, and none is needed: who has put rules into force looks at the
 * records again, and where these have changed meanwhile does it again.  So the rules of whoever
 * came last are those of the records.
 */
#include "xapid/ops/network/guards.h"

#include <stdio.h>
#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/value/value.h"
#include "xapid/hypervisor/hv.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/network/change.h"
#include "xapid/ops/vm/checks.h"
#include "xapid/ops/vm/device.h"

struct guards {
    size_t n, room;
    struct net_guard *v;
};

/*** what is wanted ***/

static enum net_guard_mode mode_of(const struct vif *vif, const struct network *network)
{
    switch (vif->locking_mode) {
    case VIF_LOCKING_MODE_LOCKED:
        return NET_GUARD_LOCKED;
    case VIF_LOCKING_MODE_DISABLED:
        return NET_GUARD_SHUT;
    case VIF_LOCKING_MODE_UNLOCKED:
        return NET_GUARD_OPEN;
    case VIF_LOCKING_MODE_NETWORK_DEFAULT:
        break;
    }
    return network && network->default_locking_mode == NETWORK_DEFAULT_LOCKING_MODE_DISABLED
               ? NET_GUARD_SHUT
               : NET_GUARD_OPEN;
}

static size_t copy(struct arena *arena, const struct strings *from, const char **to)
{
    for (size_t i = 0; i < from->n; i++)
        to[i] = arena_strdup(arena, from->v[i]);
    return from->n;
}

size_t vif_guards(struct arena *arena, const struct vm *vm, int domid, const struct vif *vif,
                  const struct network *network, struct net_guard out[GUARD_NAMES])
{
    static const char *const suffixes[GUARD_NAMES] = {"", "-emu"};
    const char **addresses =
        arena_array(arena, const char *, vif->ipv4_allowed.n + vif->ipv6_allowed.n + 1);
    size_t n = vm_domain_type(vm) == DOMAIN_TYPE_HVM ? GUARD_NAMES : 1;
    struct net_guard g = {
        .mode = mode_of(vif, network),
        .mac = arena_strdup(arena, vif->mac),
        .bridge = network ? arena_strdup(arena, network->bridge) : NULL,
        .addresses = addresses,
    };

    g.n_addresses = copy(arena, &vif->ipv4_allowed, addresses);
    g.n_addresses += copy(arena, &vif->ipv6_allowed, addresses + g.n_addresses);
    for (size_t i = 0; i < n; i++) {
        out[i] = g;
        out[i].device =
            arena_printf(arena, "vif%d.%d%s", domid, vif_device_number(vif->device), suffixes[i]);
    }
    return n;
}

/* Room for that many more. */
static struct net_guard *more(struct arena *arena, struct guards *g, size_t n)
{
    struct net_guard *old = g->v;

    if (g->room - g->n < n) {
        g->room = 2 * g->room + n;
        g->v = arena_array(arena, struct net_guard, g->room);
        if (g->n)
            memcpy(g->v, old, g->n * sizeof *old);
    }
    return g->v + g->n;
}

static void add_vif(struct call *call, const struct vm *vm, int domid, const struct vif *vif,
                    struct guards *out)
{
    struct net_guard *to = more(call->arena, out, GUARD_NAMES);

    out->n +=
        vif_guards(call->arena, vm, domid, vif, db_find(call, CLASS_network, vif->network), to);
}

static void add_vm(struct call *call, const struct vm *vm, int domid, bool attached_only,
                   struct guards *out)
{
    struct refs vifs = db_referrers(call, FIELD_vif_vm, vm->ref);

    for (size_t i = 0; i < vifs.n; i++) {
        const struct vif *vif = db_find(call, CLASS_vif, vifs.v[i]);

        if (vif->currently_attached || !attached_only)
            add_vif(call, vm, domid, vif, out);
    }
}

static bool runs_here(const struct call *call, const struct vm *vm)
{
    return vm && !vm->is_control_domain && vm->domid >= 0 &&
           ref_equal(vm->resident_on, call->xapid->host);
}

/*** into force ***/

/* Most hosts guard nothing: there open interfaces need no rules, and nobody is asked. */
static bool is_idle(const struct call *call, const struct guards *g)
{
    if (host_network_is_simulated(call->xapid->network))
        return true;
    for (size_t i = 0; i < g->n; i++)
        if (g->v[i].mode != NET_GUARD_OPEN)
            return false;
    return !host_network_is_guarded(call->xapid->network);
}

struct error *guards_set(struct call *call, const struct net_guard *guards, size_t n,
                         enum net_flows_when when)
{
    struct guards all = {.n = n, .v = (struct net_guard *)guards};
    const char *text;

    if (is_idle(call, &all))
        return OK;
    if (host_network_is_vswitch(call->xapid->network)) {
        host_network_guard(call->xapid->network);
        return net_flows_set(call->arena, NULL, guards, n, when);
    }
    TRY(net_guard_text(call->arena, guards, n, &text));
    host_network_guard(call->xapid->network);
    return net_guard_set(call->arena, text);
}

/* What is wanted by the records as they are now. */
typedef struct error *wanted_fn(struct call *call, const void *arg, struct guards *out);

static struct error *follow(struct call *call, wanted_fn *wanted, const void *arg)
{
    const char *before = NULL, *text;
    struct guards g;

    while (true) {
        call_refresh(call);
        g = (struct guards){0};
        TRY(wanted(call, arg, &g));
        TRY(net_guard_text(call->arena, g.v, g.n, &text));
        if (!g.n || (before && strcmp(before, text) == 0))
            return OK;
        TRY(guards_set(call, g.v, g.n, NET_FLOWS_NOW));
        before = text;
    }
}

/*** for machines ***/

struct error *vm_guard(struct call *call, const struct vm *vm, int domid)
{
    struct guards g = {0};

    add_vm(call, vm, domid, false, &g);
    return guards_set(call, g.v, g.n, NET_FLOWS_NOW);
}

static struct error *wanted_of_vif(struct call *call, const void *arg, struct guards *out)
{
    const struct vif *vif = db_find(call, CLASS_vif, *(const ref_t *)arg);
    const struct vm *vm = vif ? db_find(call, CLASS_vm, vif->vm) : NULL;

    if (runs_here(call, vm) && vif->currently_attached)
        add_vif(call, vm, (int)vm->domid, vif, out);
    return OK;
}

struct error *vif_guard(struct call *call, ref_t vif)
{
    return follow(call, wanted_of_vif, &vif);
}

/*** all of them ***/

static struct error *list(struct call *call, struct strings *out)
{
    return host_network_is_vswitch(call->xapid->network) ? net_flows_list(call->arena, NULL, out)
                                                         : net_guard_list(call->arena, out);
}

static bool has_domain(const char *device, size_t n, const struct hv_domain *domains)
{
    int domid;

    if (sscanf(device, "vif%d.", &domid) != 1)
        return false;
    for (size_t i = 0; i < n; i++)
        if (domains[i].domid == domid)
            return true;
    return false;
}

/* The names first: a domain that has rules was built before they were set, so it is among those
 * that are listed later, or gone. */
static struct error *wanted_of_host(struct call *call, const void *arg, struct guards *out)
{
    struct hv_request rq = {.arena = call->arena, .epoch = xapid_epoch(call->xapid)};
    struct refs here = db_referrers(call, FIELD_vm_resident_on, call->xapid->host);
    const struct hv_domain *domains = NULL;
    struct strings names = {0};
    size_t n_domains = 0;

    (void)arg;
    TRY(list(call, &names));
    if (names.n)
        host_network_guard(call->xapid->network);
    TRY(hv_list(call->xapid->hv, &rq, &n_domains, &domains));
    for (size_t i = 0; i < names.n; i++)
        if (!has_domain(names.v[i], n_domains, domains)) {
            *more(call->arena, out, 1) = (struct net_guard){.device = names.v[i]};
            out->n++;
        }
    for (size_t i = 0; i < here.n; i++) {
        const struct vm *vm = db_find(call, CLASS_vm, here.v[i]);

        if (runs_here(call, vm))
            add_vm(call, vm, (int)vm->domid, true, out);
    }
    return OK;
}

void guards_settle(struct call *call, bool all)
{
    struct host_network *network = call->xapid->network;
    struct error *e;

    if (host_network_is_simulated(network) || !(all || host_network_is_guarded(network)))
        return;
    e = follow(call, wanted_of_host, NULL);
    if (e)
        log_error("what may pass the interfaces of machines is not what their records say: %s",
                  error_line(call->arena, e));
}
