/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pool/plan/placement.h"

#include <string.h>

#include "libxapi/value/featureset.h"

/*** processors ***/

static bool cpu_suits(const struct place_host *host, const struct place_vm *vm)
{
    if (*vm->cpu_vendor && strcmp(vm->cpu_vendor, host->cpu_vendor) != 0)
        return false;
    return featureset_covers(host->cpu_features, vm->cpu_features);
}

/*** obstacles ***/

static bool has_version(const struct place_host *host, int64_t version)
{
    for (size_t i = 0; i < host->n_versions; i++)
        if (host->versions[i] == version)
            return true;
    return false;
}

static bool contains(const struct refs *set, ref_t ref)
{
    for (size_t i = 0; i < set->n; i++)
        if (ref_equal(set->v[i], ref))
            return true;
    return false;
}

/* The first of 'wanted' that is in 'set', or is not; null if there is none. */
static ref_t first_where(const struct refs *wanted, const struct refs *set, bool in)
{
    for (size_t i = 0; i < wanted->n; i++)
        if (contains(set, wanted->v[i]) == in)
            return wanted->v[i];
    return REF_NULL;
}

static bool fits(const struct place_host *host, const struct place_vm *vm)
{
    return host->free + host->reclaimable >= vm->memory;
}

struct place_verdict place_check(const struct place_host *host, const struct place_vm *vm,
                                 struct place_rules rules)
{
    struct place_verdict v = {.host = host};

    if (rules.enabled && !host->live)
        v.reason = PLACE_NOT_LIVE;
    else if (rules.enabled && !host->enabled)
        v.reason = PLACE_DISABLED;
    else if (!has_version(host, vm->hardware_version))
        v.reason = PLACE_HARDWARE_VERSION;
    else if (!rules.any_storage && !ref_is_null(v.what = first_where(&vm->srs, &host->srs, false)))
        v.reason = PLACE_NO_SR;
    else if (!ref_is_null(v.what = first_where(&vm->networks, &host->networks, false)))
        v.reason = PLACE_NO_NETWORK;
    else if (!ref_is_null(v.what = first_where(&vm->networks, &host->elsewhere, true)))
        v.reason = PLACE_NETWORK_ELSEWHERE;
    else if (vm->hvm && !host->hvm)
        v.reason = PLACE_NO_HVM;
    else if (!cpu_suits(host, vm))
        v.reason = PLACE_CPU;
    else if (host->devices)
        v.reason = PLACE_NO_DEVICE;
    else if (rules.memory && !fits(host, vm))
        v.reason = PLACE_NO_MEMORY;
    return v;
}

/*** the best ***/

static int compare_refs(ref_t a, ref_t b)
{
    if (a.hi != b.hi)
        return a.hi < b.hi ? -1 : 1;
    return (a.lo > b.lo) - (a.lo < b.lo);
}

static bool is_better(const struct place_verdict *x, const struct place_verdict *y, ref_t affinity)
{
    const struct place_host *a = x->host, *b = y->host;
    bool a_preferred = ref_equal(a->ref, affinity), b_preferred = ref_equal(b->ref, affinity);

    if ((x->reason == PLACE_FITS) != (y->reason == PLACE_FITS))
        return x->reason == PLACE_FITS;
    if (a->company != b->company)
        return a->company < b->company;
    if (a_preferred != b_preferred)
        return a_preferred;
    if (a->free - a->claimed != b->free - b->claimed)
        return a->free - a->claimed > b->free - b->claimed;
    return compare_refs(a->ref, b->ref) < 0;
}

size_t place_rank(size_t n, const struct place_host *hosts, const struct place_vm *vm,
                  struct place_rules rules, struct place_verdict *out)
{
    size_t fitting = 0;

    for (size_t i = 0; i < n; i++) {
        struct place_verdict v = place_check(&hosts[i], vm, rules);
        size_t j = i;

        for (; j && is_better(&v, &out[j - 1], vm->affinity); j--)
            out[j] = out[j - 1];
        out[j] = v;
        fitting += v.reason == PLACE_FITS;
    }
    return fitting;
}
