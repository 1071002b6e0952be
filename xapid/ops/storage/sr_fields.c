/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* sr_fields.c -- storage repositories that exist: scan and update, questions, fields. */
#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/value/value.h"
#include "xapid/db/ready.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/storage/attach.h"
#include "xapid/ops/storage/coalesce.h"
#include "xapid/ops/storage/making.h"
#include "xapid/ops/storage/scan.h"
#include "xapid/ops/storage/check.h"

/*** scan and update ***/

struct look {
    ref_t sr;
    enum storage_operations op;
    struct scan scan;
};

static struct error *check_look(struct txn *txn, void *arg)
{
    const struct look *look = arg;
    const struct sr *sr;

    return txn_sr_check(txn, look->sr, look->op, &sr);
}

static struct error *record_scan(struct txn *txn, void *arg)
{
    struct look *look = arg;

    return txn_scanned(txn, &look->scan);
}

static struct error *begin_look(struct call *call, struct look *look, struct op *op)
{
    struct sr_scan_intent intent = {look->sr};

    return op_begin(call,
                    &(struct op_spec){.kind = INTENT_sr_scan,
                                      .intent = &intent,
                                      .n_holds = 1,
                                      .holds = &(struct op_hold){CLASS_sr, look->sr, (int)look->op},
                                      .check = check_look,
                                      .arg = look},
                    op);
}

struct error *sr_scan(struct call *call, const struct sr_scan_args *args)
{
    struct look look = {.sr = args->sr, .op = SR_OP_SCAN};
    AUTO(op) op = {0};

    TRY(begin_look(call, &look, &op));
    TRY(op_step(&op, "begun", 0.1));
    TRY(scan_storage(call, args->sr, &look.scan));
    TRY(op_step(&op, "seen", 0.7));
    TRY(scan_record_many(call, &look.scan));
    TRY(op_commit(&op, record_scan, &look));
    coalescer_kick(call->xapid->coalescer, args->sr, true);
    return sr_refresh_sizes(call, args->sr);
}

/* Nothing was changed outside the database. */
struct error *sr_scan_recover(struct call *call, struct op *op, const struct sr_scan_intent *intent)
{
    (void)call;
    (void)op;
    (void)intent;
    return OK;
}

struct error *sr_update(struct call *call, const struct sr_update_args *args)
{
    struct look look = {.sr = args->sr, .op = SR_OP_UPDATE};
    AUTO(op) op = {0};

    TRY(begin_look(call, &look, &op));
    TRY(op_step(&op, "updating", 0.1));
    TRY(sr_refresh_sizes(call, args->sr));
    db_flush_lazy(call->xapid->db);
    return op_commit(&op, NULL, NULL);
}

/*** drivers ***/

struct error *sr_get_supported_types(struct call *call, struct strings *result)
{
    const char **v;
    size_t n = 0;

    while (sr_drivers[n])
        n++;
    v = arena_array(call->arena, const char *, n + 1);
    for (size_t i = 0; i < n; i++)
        v[i] = sr_drivers[i]->type;
    *result = (struct strings){n, v};
    return OK;
}

/*** questions ***/

struct error *sr_get_live_hosts(struct call *call, const struct sr_get_live_hosts_args *args,
                                struct refs *result)
{
    struct refs pbds = db_referrers(call, FIELD_pbd_sr, args->sr);
    ref_t *v = arena_array(call->arena, ref_t, pbds.n + 1);
    const struct sr *sr;
    size_t n = 0;

    TRY(DB_GET(call, sr, args->sr, &sr));
    for (size_t i = 0; i < pbds.n; i++) {
        const struct pbd *pbd = db_find(call, CLASS_pbd, pbds.v[i]);
        const struct host *host = pbd ? db_find(call, CLASS_host, pbd->host) : NULL;
        const struct host_metrics *m =
            host ? db_find(call, CLASS_host_metrics, host->metrics) : NULL;

        if (pbd && pbd->currently_attached && m && m->live)
            v[n++] = pbd->host;
    }
    *result = (struct refs){n, v};
    return OK;
}

struct error *sr_assert_can_host_ha_statefile(
    struct call *call, const struct sr_assert_can_host_ha_statefile_args *args)
{
    const struct host *host;
    const struct sr *sr;
    struct db_walk walk;

    TRY(DB_GET(call, sr, args->sr, &sr));
    if (!sr->shared)
        return err_sr_not_shared(call);
    db_walk(call->snap, CLASS_host, &walk);
    while ((host = db_walk_next(&walk)))
        if (!sr_is_plugged(call->snap, sr->ref, host->ref))
            return err_ha_host_cannot_access_statefile(call);
    return OK;
}

/*** fields ***/

static struct error *shared_txn(struct txn *txn, void *arg)
{
    static const struct strmap nothing = {0};
    const struct sr_set_shared_args *a = arg;
    struct refs pbds = txn_referrers(txn, FIELD_pbd_sr, a->sr);
    struct call *call = txn_call(txn);
    const struct sr *sr;

    TRY(TXN_GET(txn, sr, a->sr, &sr));
    if (a->value)
        TRY(sr_check_sharable(call, sr->type, &nothing));
    for (size_t i = 0; a->value && i < pbds.n; i++) {
        const struct pbd *pbd = txn_find(txn, CLASS_pbd, pbds.v[i]);

        if (pbd)
            TRY(sr_check_sharable(call, sr->type, &pbd->device_config));
    }
    if (!a->value && pbds.n > 1)
        return err_sr_has_multiple_pbds(call, call_ref(call, pbds.v[0]));
    TXN_SET(txn, sr, a->sr, shared, a->value);
    return OK;
}

struct error *sr_set_shared(struct call *call, const struct sr_set_shared_args *args)
{
    return db_update(call, shared_txn, (void *)args);
}

struct error *sr_set_name_label(struct call *call, const struct sr_set_name_label_args *args)
{
    return CALL_SET(call, sr, args->sr, name_label, args->value);
}

struct error *sr_set_name_description(struct call *call,
                                      const struct sr_set_name_description_args *args)
{
    return CALL_SET(call, sr, args->sr, name_description, args->value);
}

struct error *sr_set_physical_size(struct call *call, const struct sr_set_physical_size_args *args)
{
    return CALL_SET(call, sr, args->self, physical_size, args->value);
}

struct error *sr_set_virtual_allocation(struct call *call,
                                        const struct sr_set_virtual_allocation_args *args)
{
    return CALL_SET(call, sr, args->self, virtual_allocation, args->value);
}

struct error *sr_set_physical_utilisation(struct call *call,
                                          const struct sr_set_physical_utilisation_args *args)
{
    return CALL_SET(call, sr, args->self, physical_utilisation, args->value);
}
