/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* check.c -- whether a host can take a running VM. */
#include <stdlib.h>
#include <string.h>

#include "libxapi/value/featureset.h"
#include "libxapi/value/value.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/host/cpu.h"
#include "xapid/ops/migrate/migrate.h"
#include "xapid/ops/vm/placement.h"

/* "1.10.2" is later than "1.9".  What is no number counts as 0. */
static int compare_versions(const char *a, const char *b)
{
    while (*a || *b) {
        long x = strtol(a, NULL, 10), y = strtol(b, NULL, 10);

        if (x != y)
            return x < y ? -1 : 1;
        a += strcspn(a, ".");
        b += strcspn(b, ".");
        a += *a == '.';
        b += *b == '.';
    }
    return 0;
}

static const char *value_of(const struct strmap *map, const char *key)
{
    const char *value = strmap_get(map, key);

    return value ? value : "";
}

/* A guest does not go back to an older host. */
static struct error *check_version(struct call *call, const struct db_snap *snap,
                                   const struct vm *vm, const struct host *host)
{
    static const char *const keys[] = {"platform_version", "xen"};
    const struct host *from = root_get(snap_root(snap), CLASS_host, vm->resident_on);

    for (size_t i = 0; from && i < ARRAY_SIZE(keys); i++)
        if (compare_versions(value_of(&host->software_version, keys[i]),
                             value_of(&from->software_version, keys[i])) < 0)
            return err_vm_host_incompatible_version_migrate(call, call_ref(call, host->ref),
                                                            call_ref(call, vm->ref));
    return OK;
}

/* What the guest has found when it booted must be there. */
static struct error *check_processor(struct call *call, const struct vm *vm,
                                     const struct host *host)
{
    const char *vendor = value_of(&vm->last_boot_cpu_flags, "vendor");
    const char *features = value_of(&vm->last_boot_cpu_flags, "features");
    const char *why = NULL;

    if (*vendor && strcmp(vendor, value_of(&host->cpu_info, "vendor")) != 0)
        why = "The VM was booted on a host whose CPU is of another vendor.";
    else if (!featureset_covers(value_of(&host->cpu_info, vm_cpu_key(vm)), features))
        why = "The VM was booted on a CPU that has features which this host's CPU lacks.";
    return why ? err_vm_incompatible_with_this_host(call, call_ref(call, vm->ref),
                                                    call_ref(call, host->ref), why)
               : OK;
}

struct error *migrate_check(struct call *call, const struct db_snap *snap, const struct vm *vm,
                            const struct host *host, unsigned skip)
{
    const struct host_metrics *metrics =
        root_get(snap_root(snap), CLASS_host_metrics, host->metrics);

    if (!metrics || !metrics->live)
        return err_host_not_live(call);
    if (!host->enabled)
        return err_host_disabled(call, call_ref(call, host->ref));
    TRY(check_version(call, snap, vm, host));
    if (!(skip & MIGRATE_ANY_PROCESSOR))
        TRY(check_processor(call, vm, host));
    return host_can_run(call, snap, host, vm,
                        (struct place_rules){.memory = !(skip & MIGRATE_ANY_MEMORY),
                                             .enabled = true,
                                             .any_storage = skip & MIGRATE_ANY_STORAGE});
}
