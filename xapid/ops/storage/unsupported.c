/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* unsupported.c -- messages for what no storage driver here can do, or nobody does any more: they
 * look at their arguments and say so. */
#include "xapid/db/db.h"

struct error *vdi_generate_config(struct call *call, const struct vdi_generate_config_args *args,
                                  const char **result)
{
    const struct host *host;
    const struct vdi *vdi;

    (void)result;
    TRY(DB_GET(call, host, args->host, &host));
    TRY(DB_GET(call, vdi, args->vdi, &vdi));
    return err_sr_operation_not_supported(call, call_ref(call, vdi->sr));
}

/* There are no locks of storage drivers that could be left behind. */
struct error *vdi_force_unlock(struct call *call, const struct vdi_force_unlock_args *args)
{
    (void)args;
    return err_message_deprecated(call);
}

struct error *lvhd_enable_thin_provisioning(struct call *call,
                                            const struct lvhd_enable_thin_provisioning_args *args,
                                            const char **result)
{
    const struct host *host;
    const struct sr *sr;

    (void)result;
    TRY(DB_GET(call, host, args->host, &host));
    TRY(DB_GET(call, sr, args->sr, &sr));
    return err_sr_operation_not_supported(call, call_ref(call, args->sr));
}
