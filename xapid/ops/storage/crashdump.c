/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* crashdump.c -- crashdump.destroy: the dump goes with the disk that holds it. */
#include "xapid/db/ready.h"

static struct error *forget_txn(struct txn *txn, void *arg)
{
    ref_t ref = *(const ref_t *)arg;

    if (txn_find(txn, CLASS_crashdump, ref))
        txn_destroy(txn, CLASS_crashdump, ref);
    return OK;
}

struct error *crashdump_destroy(struct call *call, const struct crashdump_destroy_args *args)
{
    const struct crashdump *dump;
    ref_t ref = args->self;

    TRY(DB_GET(call, crashdump, ref, &dump));
    /* Takes the record with it; without a disk there is only the record. */
    if (!ref_is_null(dump->vdi))
        TRY(vdi_destroy(call, &(struct vdi_destroy_args){dump->vdi}));
    return db_update(call, forget_txn, &ref);
}
