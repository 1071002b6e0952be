/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* firewall.c -- host.update_firewalld_service_status: firewalld lets through what is served. */
#include "xapid/ops/host/here.h"
#include "xapid/ops/host/system.h"

static struct error *let_through(struct call *call, const char *service, bool open)
{
    const char *option =
        arena_printf(call->arena, "--%s-service=%s", open ? "add" : "remove", service);

    return SYSTEM_RUN(call, NULL, "firewall-cmd", "--quiet", option);
}

/* A host without firewalld lets everything through, or has rules of somebody else. */
struct error *host_update_firewalld_service_status(struct call *call)
{
    const struct host *host = host_here(call);

    if (!system_program(call, "firewall-cmd"))
        return OK;
    TRY(let_through(call, "https", true));
    TRY(let_through(call, "http", !host->https_only));
    return let_through(call, "ssh", host->ssh_enabled);
}
