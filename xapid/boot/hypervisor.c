/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/boot/parts.h"

#include <string.h>

#include "xapid/main/xapid.h"

bool boot_is_simulated(const struct boot *b)
{
    return strcmp(b->hv.hypervisor, "simulator") == 0;
}

/* What is free, a guest's or the control domain's is the whole.  Where the control domain's part is
 * not told, it has what is left. */
static void read_control_domain(struct call *call, struct boot *b)
{
    struct hv_request rq = {.arena = call->arena};
    int64_t rest = b->hv.memory_total - b->hv.memory_free;
    struct hv_stats stats;

    for (size_t i = 0; i < b->n_domains; i++)
        rest -= b->domains[i].memory;
    b->control_memory = rest = MAX(rest, (int64_t)0);
    b->control_vcpus = b->hv.cpu_count;
    if (hv_stats(b->xapid->hv, &rq, &stats))
        return;
    for (size_t i = 0; i < stats.n_domains; i++) {
        const struct hv_usage *u = &stats.domains[i];

        if (u->domid != 0)
            continue;
        b->control_vcpus = (int64_t)MAX(u->vcpus.n, (size_t)1);
        if (u->memory >= 0)
            b->control_memory = MIN(u->memory, rest);
    }
    b->overhead = rest - b->control_memory;
}

struct error *boot_read_hypervisor(struct call *call, struct boot *b)
{
    struct hv_request rq = {.arena = call->arena};

    TRY(hv_host(b->xapid->hv, &rq, &b->hv));
    TRY(hv_list(b->xapid->hv, &rq, &b->n_domains, &b->domains));
    read_control_domain(call, b);
    if (boot_is_simulated(b)) {
        /* The real processor's numbers would not fit the one the simulator tells of. */
        b->facts.cpu_family = 6;
        b->facts.cpu_model = 85;
        b->facts.cpu_stepping = "7";
    }
    return OK;
}
