/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* sr.c -- storage repositories come and go: SR.create, introduce, destroy, forget. */
#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/value/value.h"
#include "xapid/db/ready.h"
#include "xapid/db/row.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/blob.h"
#include "xapid/ops/storage/attach.h"
#include "xapid/ops/storage/check.h"
#include "xapid/ops/storage/making.h"
#include "xapid/ops/storage/secrets.h"
#include "xapid/ops/storage/shared.h"
#include "xapid/ops/storage/vdi_ops.h"
#include "xapid/ops/host/here.h"

/*** SR.create ***/

struct creating {
    const struct sr_create_args *args;
    const struct sr_create_intent *intent;
    const char *uuid;
    struct sr_stat_info stat;
};

/* An SR that is taken down again unless it is kept; zero holds nothing. */
struct sr_making {
    struct op *op;
    const struct sr_create_intent *intent;
};

static struct error *undo_create(struct call *call, const struct sr_create_intent *intent)
{
    const char *uuid = vdi_uuid_for(call->arena, intent->sr);
    struct sr_handle handle;

    TRY(sr_detach(call, intent->sr));
    TRY(sr_handle_new(call, intent->type, uuid, &intent->device_config, &handle));
    return handle.driver->destroy(call, &handle);
}

static void sr_making_release(struct sr_making *m)
{
    struct error *e;

    if (!m->intent || !op_may_undo(m->op))
        return;
    e = undo_create(m->op->call, m->intent);
    /* Most often because what was found there belongs to somebody else. */
    if (e)
        log_warning("a storage repository that could not be made was left as it is: %s",
                    error_line(m->op->call->arena, e));
}

static void create_pbd(struct txn *txn, const struct creating *c, ref_t host, bool attached)
{
    struct pbd row;

    row_defaults(&api_classes[CLASS_pbd], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(arena_alloc(txn_arena(txn), UUID_TEXT_SIZE));
    row.host = host;
    row.sr = c->intent->sr;
    row.device_config = txn_secrets_make(txn, &c->args->device_config);
    row.currently_attached = attached;
    txn_create(txn, CLASS_pbd, &row);
}

static struct error *record_created(struct txn *txn, void *arg)
{
    const struct creating *c = arg;
    ref_t here = txn_call(txn)->xapid->host;
    struct db_walk walk;
    const struct host *host;
    struct sr row;

    row_defaults(&api_classes[CLASS_sr], &row);
    row.ref = c->intent->sr;
    row.uuid = c->uuid;
    row.name_label = c->args->name_label;
    row.name_description = c->args->name_description;
    row.type = c->args->type;
    row.content_type = c->args->content_type;
    row.shared = c->args->shared;
    row.sm_config = c->args->sm_config;
    row.physical_size = c->stat.physical_size;
    row.physical_utilisation = c->stat.physical_utilisation;
    txn_create(txn, CLASS_sr, &row);
    create_pbd(txn, c, here, true);
    if (!c->args->shared)
        return OK;
    db_walk(txn_snap(txn), CLASS_host, &walk);
    while ((host = db_walk_next(&walk)))
        if (!ref_equal(host->ref, here))
            create_pbd(txn, c, host->ref, false);
    return OK;
}

static struct error *make_storage(struct op *op, struct creating *c)
{
    struct call *call = op->call;
    struct sr_handle handle;
    AUTO(sr_use) use = {0};

    TRY(sr_handle_new(call, c->args->type, c->uuid, &c->args->device_config, &handle));
    TRY(handle.driver->create(call, &handle, c->args->physical_size));
    TRY(op_step(op, "created", 0.4));
    TRY(sr_attach_as(call, c->intent->sr, c->args->type, c->uuid, c->args->shared,
                     &c->args->device_config));
    TRY(op_step(op, "attached", 0.7));
    TRY(sr_use(call, c->intent->sr, &use));
    return handle.driver->features & SR_F_STATS ? handle.driver->stat(call, use.handle, &c->stat)
                                                : OK;
}

struct error *sr_check_sharable(struct call *call, const char *type,
                                const struct strmap *device_config)
{
    const struct sr_driver *driver = sr_driver_by_type(type);
    const char *why = driver && driver->one_host ? driver->one_host(device_config) : NULL;

    return why ? err_operation_not_allowed(
                     call, arena_printf(call->arena,
                                        "A storage repository of type %s cannot be shared: %s.",
                                        type, why))
               : OK;
}

struct error *sr_create(struct call *call, const struct sr_create_args *args, ref_t *result)
{
    struct sr_create_intent intent = {ref_new(), args->type, args->device_config};
    struct creating c = {.args = args, .intent = &intent};
    AUTO(op) op = {0};
    AUTO(sr_making) making = {0};

    TRY(host_check_here(call, args->host));
    if (!sr_driver_by_type(args->type))
        return err_sr_unknown_driver(call, args->type);
    if (args->shared)
        TRY(sr_check_sharable(call, args->type, &args->device_config));
    c.uuid = vdi_uuid_for(call->arena, intent.sr);
    TRY(op_begin(call, &(struct op_spec){.kind = INTENT_sr_create, .intent = &intent}, &op));
    making = (struct sr_making){&op, &intent};
    TRY(op_step(&op, "begun", 0.1));
    TRY(make_storage(&op, &c));
    TRY(op_commit(&op, record_created, &c));
    making.intent = NULL;
    *result = intent.sr;
    if (args->shared)
        sr_plug_elsewhere(call, intent.sr);
    /* It exists; what is in it can be looked for again. */
    error_ignore(sr_scan(call, &(struct sr_scan_args){intent.sr}));
    return OK;
}

struct error *sr_make(struct call *call, const struct sr_make_args *args, const char **result)
{
    const struct sr_create_args create = {.host = args->host,
                                          .device_config = args->device_config,
                                          .physical_size = args->physical_size,
                                          .name_label = args->name_label,
                                          .name_description = args->name_description,
                                          .type = args->type,
                                          .content_type = args->content_type,
                                          .sm_config = args->sm_config};
    const struct sr *sr;
    ref_t ref;

    TRY(sr_create(call, &create, &ref));
    TRY(DB_GET(call, sr, ref, &sr));
    *result = sr->uuid;
    return OK;
}

struct error *sr_create_recover(struct call *call, struct op *op,
                                const struct sr_create_intent *intent)
{
    struct error *e = undo_create(call, intent);

    (void)op;
    if (e)
        log_warning("an unfinished storage repository was left: %s", error_line(call->arena, e));
    return OK;
}

/*** SR.introduce ***/

static struct error *introduce_txn(struct txn *txn, void *arg)
{
    const struct sr *row = arg;
    struct refs same = txn_referrers(txn, FIELD_sr_uuid, index_key_string(row->uuid));

    for (size_t i = 0; i < same.n; i++) {
        const struct sr *sr = txn_find(txn, CLASS_sr, same.v[i]);

        if (sr && strcmp(sr->uuid, row->uuid) == 0)
            return err_sr_uuid_exists(txn_call(txn), row->uuid);
    }
    txn_create(txn, CLASS_sr, row);
    return OK;
}

struct error *sr_introduce(struct call *call, const struct sr_introduce_args *args, ref_t *result)
{
    static const struct strmap nothing = {0}; /* its PBDs say more */
    char uuid[UUID_TEXT_SIZE];
    uint8_t bytes[16];
    struct sr row;

    if (args->uuid[0] && !uuid_from_text(args->uuid, bytes))
        return err_uuid_invalid(call, "SR", args->uuid);
    if (!sr_driver_by_type(args->type))
        return err_sr_unknown_driver(call, args->type);
    if (args->shared)
        TRY(sr_check_sharable(call, args->type, &nothing));
    row_defaults(&api_classes[CLASS_sr], &row);
    row.ref = ref_new();
    row.uuid = args->uuid[0] ? args->uuid : uuid_new(uuid);
    row.name_label = args->name_label;
    row.name_description = args->name_description;
    row.type = args->type;
    row.content_type = args->content_type;
    row.shared = args->shared;
    row.sm_config = args->sm_config;
    TRY(db_update(call, introduce_txn, &row));
    *result = row.ref;
    return OK;
}

/*** SR.destroy and forget ***/

void txn_sr_gone(struct txn *txn, ref_t sr)
{
    struct refs vdis = txn_referrers(txn, FIELD_vdi_sr, sr);
    struct refs pbds = txn_referrers(txn, FIELD_pbd_sr, sr);
    const struct sr *row = txn_find(txn, CLASS_sr, sr);

    if (row)
        txn_blobs_destroy(txn, &row->blobs);
    for (size_t i = 0; i < vdis.n; i++)
        txn_vdi_gone(txn, &(struct vdi_gone){.vdi = vdis.v[i]});
    for (size_t i = 0; i < pbds.n; i++) {
        const struct pbd *pbd = txn_find(txn, CLASS_pbd, pbds.v[i]);

        if (!pbd)
            continue;
        txn_secrets_destroy(txn, &pbd->device_config);
        txn_destroy(txn, CLASS_pbd, pbd->ref);
    }
    txn_destroy(txn, CLASS_sr, sr);
}

static struct error *check_destroy(struct txn *txn, void *arg)
{
    struct call *call = txn_call(txn);
    ref_t ref = *(const ref_t *)arg;
    const char *indestructible;
    const struct sr *sr;
    struct refs hosts;

    TRY(txn_sr_check(txn, ref, SR_OP_DESTROY, &sr));
    indestructible = strmap_get(&sr->other_config, "indestructible");
    if (indestructible && strcmp(indestructible, "true") == 0)
        return err_sr_indestructible(call, call_ref(call, ref));
    hosts = txn_referrers(txn, FIELD_host_local_cache_sr, ref);
    return hosts.n ? err_sr_is_cache_sr(call, call_ref(call, hosts.v[0])) : OK;
}

/* The settings with which this host reaches it. */
static struct error *own_pbd(struct call *call, ref_t sr, const struct pbd **out)
{
    struct refs pbds = db_referrers(call, FIELD_pbd_sr, sr);

    for (size_t i = 0; i < pbds.n; i++) {
        *out = db_find(call, CLASS_pbd, pbds.v[i]);
        if (*out && ref_equal((*out)->host, call->xapid->host))
            return OK;
    }
    return err_sr_has_no_pbds(call, call_ref(call, sr));
}

static struct error *erase_storage(struct call *call, ref_t ref)
{
    const struct pbd *pbd = NULL;
    struct sr_handle handle;
    const struct sr *sr;

    TRY(DB_GET(call, sr, ref, &sr));
    TRY(own_pbd(call, ref, &pbd));
    TRY(sr_handle_new(call, sr->type, sr->uuid, &pbd->device_config, &handle));
    return handle.driver->destroy(call, &handle);
}

static struct error *record_gone(struct txn *txn, void *arg)
{
    ref_t ref = *(const ref_t *)arg;

    if (txn_find(txn, CLASS_sr, ref))
        txn_sr_gone(txn, ref);
    return OK;
}

struct error *sr_destroy(struct call *call, const struct sr_destroy_args *args)
{
    struct sr_destroy_intent intent = {args->sr};
    ref_t ref = args->sr;
    AUTO(op) op = {0};

    TRY(op_begin(call,
                 &(struct op_spec){.kind = INTENT_sr_destroy,
                                   .intent = &intent,
                                   .n_holds = 1,
                                   .holds = &(struct op_hold){CLASS_sr, ref, SR_OP_DESTROY},
                                   .check = check_destroy,
                                   .arg = &ref},
                 &op));
    TRY(op_step(&op, "begun", 0.1));
    TRY(erase_storage(call, ref));
    error_ignore(op_step(&op, "erased", 0.8)); /* there is no way back */
    return op_commit_forward(&op, record_gone, &ref);
}

struct error *sr_destroy_recover(struct call *call, struct op *op,
                                 const struct sr_destroy_intent *intent)
{
    ref_t ref = intent->sr;
    struct error *e = db_find(call, CLASS_sr, ref) ? erase_storage(call, ref) : OK;

    if (!e)
        return op_commit(op, record_gone, &ref);
    log_warning("a storage repository that was to be destroyed stays: %s",
                error_line(call->arena, e));
    return OK;
}

static struct error *forget_txn(struct txn *txn, void *arg)
{
    ref_t ref = *(const ref_t *)arg;
    const struct sr *sr;

    TRY(txn_sr_check(txn, ref, SR_OP_FORGET, &sr));
    txn_sr_gone(txn, ref);
    return OK;
}

struct error *sr_forget(struct call *call, const struct sr_forget_args *args)
{
    ref_t ref = args->sr;

    return db_update(call, forget_txn, &ref);
}
