/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dr_task.c -- repositories of another site are attached, so that machines can be recovered from
 * them.
 *
 * The task's row comes first, then each repository with its PBDs in one write-set that names the
 * task: whatever is cut short in between, DR_task.destroy finds all there is.
 */
#include "libxapi/base/log.h"
#include "libxapi/value/value.h"
#include "xapid/db/ready.h"
#include "xapid/db/row.h"
#include "xapid/forward/forward.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/storage/attach.h"
#include "xapid/ops/storage/check.h"
#include "xapid/ops/storage/secrets.h"
#include "xapid/ops/storage/shared.h"

/*** create ***/

struct introduction {
    ref_t task, sr;
    const char *type, *uuid;
    const struct strmap *device_config;
};

static bool is_known(struct txn *txn, const char *uuid)
{
    return txn_referrers(txn, FIELD_sr_uuid, index_key_string(uuid)).n > 0;
}

static void create_pbd(struct txn *txn, const struct introduction *in, ref_t host)
{
    char uuid[UUID_TEXT_SIZE];
    struct pbd row;

    row_defaults(&api_classes[CLASS_pbd], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(uuid);
    row.host = host;
    row.sr = in->sr;
    row.device_config = txn_secrets_make(txn, in->device_config);
    txn_create(txn, CLASS_pbd, &row);
}

/* One that the pool has already is left as it is. */
static struct error *introduce(struct txn *txn, void *arg)
{
    struct introduction *in = arg;
    const struct host *host;
    struct db_walk walk;
    struct sr row;

    in->sr = REF_NULL;
    if (is_known(txn, in->uuid))
        return OK;
    row_defaults(&api_classes[CLASS_sr], &row);
    row.ref = in->sr = ref_new();
    row.uuid = row.name_label = in->uuid;
    row.type = in->type;
    row.shared = true;
    row.introduced_by = in->task;
    txn_create(txn, CLASS_sr, &row);
    db_walk(txn_snap(txn), CLASS_host, &walk);
    while ((host = db_walk_next(&walk)))
        create_pbd(txn, in, host->ref);
    return OK;
}

static struct error *plug_here(struct call *call, ref_t sr)
{
    struct refs pbds = db_referrers(call, FIELD_pbd_sr, sr);

    for (size_t i = 0; i < pbds.n; i++) {
        const struct pbd *pbd = db_find(call, CLASS_pbd, pbds.v[i]);
        struct pbd_plug_args args = {pbds.v[i]};

        if (pbd && ref_equal(pbd->host, call->xapid->host))
            return pbd_plug(call, &args);
    }
    return OK;
}

static struct error *attach_one(struct call *call, struct introduction *in)
{
    struct sr_scan_args scan;

    TRY(db_update(call, introduce, in));
    if (ref_is_null(in->sr))
        return OK;
    call_refresh(call);
    TRY(plug_here(call, in->sr));
    sr_plug_elsewhere(call, in->sr);
    scan.sr = in->sr;
    return forward_run(call, MSG_sr_scan, &scan, NULL);
}

static bool is_wanted(const struct strings *whitelist, const char *uuid)
{
    for (size_t i = 0; i < whitelist->n; i++)
        if (strcasecmp(whitelist->v[i], uuid) == 0)
            return true;
    return whitelist->n == 0;
}

static struct error *attach_all(struct call *call, const struct dr_task_create_args *args,
                                const struct set *found, ref_t task)
{
    const struct probe_result *const *v = found->v;

    for (size_t i = 0; i < found->n; i++) {
        const struct sr_stat *sr = v[i]->sr ? *v[i]->sr : NULL;
        struct introduction in = {
            .task = task, .type = args->type, .device_config = &v[i]->configuration};

        if (!v[i]->complete || !sr || !sr->uuid || !is_wanted(&args->whitelist, *sr->uuid))
            continue;
        in.uuid = *sr->uuid;
        TRY(attach_one(call, &in));
    }
    return OK;
}

static struct error *create_row(struct txn *txn, void *arg)
{
    ref_t *ref = arg;
    char uuid[UUID_TEXT_SIZE];
    struct dr_task row;

    row_defaults(&api_classes[CLASS_dr_task], &row);
    row.ref = *ref = ref_new();
    row.uuid = uuid_new(uuid);
    txn_create(txn, CLASS_dr_task, &row);
    return OK;
}

struct error *dr_task_create(struct call *call, const struct dr_task_create_args *args,
                             ref_t *result)
{
    struct sr_probe_ext_args probe = {
        .host = call->xapid->host, .device_config = args->device_config, .type = args->type};
    struct set found;
    struct error *e;

    TRY(sr_probe_ext(call, &probe, &found));
    TRY(db_update(call, create_row, result));
    e = attach_all(call, args, &found, *result);
    if (!e)
        return OK;
    call_refresh(call);
    error_ignore(
        dr_task_destroy(call, &(struct dr_task_destroy_args){*result})); /* the first counts */
    return e;
}

/*** destroy ***/

/* A machine has a disk there: it was recovered, and the repository stays. */
static bool is_used(struct call *call, ref_t sr)
{
    struct refs disks = db_referrers(call, FIELD_vdi_sr, sr);

    for (size_t i = 0; i < disks.n; i++)
        if (db_referrers(call, FIELD_vbd_vdi, disks.v[i]).n ||
            db_referrers(call, FIELD_vm_suspend_vdi, disks.v[i]).n)
            return true;
    return false;
}

static struct error *unplug_all(struct call *call, ref_t sr)
{
    struct refs pbds = db_referrers(call, FIELD_pbd_sr, sr);

    for (size_t i = 0; i < pbds.n; i++) {
        struct pbd_unplug_args args = {pbds.v[i]};

        TRY(forward_run(call, MSG_pbd_unplug, &args, NULL));
    }
    call_refresh(call);
    return OK;
}

static struct error *keep(struct txn *txn, void *arg)
{
    ref_t sr = *(const ref_t *)arg;

    if (txn_find(txn, CLASS_sr, sr))
        TXN_SET(txn, sr, sr, introduced_by, REF_NULL);
    return OK;
}

static struct error *detach_one(struct call *call, ref_t sr)
{
    if (is_used(call, sr))
        return db_update(call, keep, &sr);
    TRY(unplug_all(call, sr));
    return sr_forget(call, &(struct sr_forget_args){sr});
}

static struct error *destroy_row(struct txn *txn, void *arg)
{
    ref_t ref = *(const ref_t *)arg;
    const struct dr_task *row;

    TRY(TXN_GET(txn, dr_task, ref, &row));
    txn_destroy(txn, CLASS_dr_task, ref);
    return OK;
}

struct error *dr_task_destroy(struct call *call, const struct dr_task_destroy_args *args)
{
    ref_t ref = args->self;
    const struct dr_task *row;
    struct refs srs;

    TRY(DB_GET(call, dr_task, ref, &row));
    srs = db_referrers(call, FIELD_sr_introduced_by, ref);
    for (size_t i = 0; i < srs.n; i++) {
        call_refresh(call);
        TRY(detach_one(call, srs.v[i]));
    }
    return db_update(call, destroy_row, &ref);
}
