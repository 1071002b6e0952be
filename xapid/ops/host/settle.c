/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/host/settle.h"

#include "xapid/ops/host/here.h"

void host_settle(struct call *call)
{
    void (*const all[])(struct call *) = {power_settle,      clock_settle,       ssh_settle,
                                          xen_settle,        guest_agent_settle, display_settle,
                                          crashdumps_settle, upload_settle};

    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        call_refresh(call);
        if (host_here(call))
            all[i](call);
    }
}
