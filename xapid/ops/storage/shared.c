/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/storage/shared.h"

#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/value/value.h"
#include "xapid/db/ready.h"
#include "xapid/db/row.h"
#include "xapid/forward/forward.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/message.h"
#include "xapid/ops/op.h"
#include "xapid/ops/storage/secrets.h"

#define PLUG_AGAIN "plug-again"
#define REASON_MAX 1000

/*** what ought to be plugged ***/

struct failed {
    ref_t pbd;
    const char *why;
};

static struct error *failed_txn(struct txn *txn, void *arg)
{
    const struct failed *f = arg;
    const struct pbd *pbd = txn_find(txn, CLASS_pbd, f->pbd);
    const struct host *host = pbd ? txn_find(txn, CLASS_host, pbd->host) : NULL;

    if (!pbd)
        return OK;
    if (!strmap_get(&pbd->other_config, PLUG_AGAIN) && host)
        txn_alert(txn, "PBD_PLUG_FAILED_ON_SERVER_START", CLS_HOST, host->uuid,
                  arena_printf(txn_arena(txn), "PBD %s: %s", pbd->uuid, f->why));
    TXN_SET(txn, pbd, f->pbd, currently_attached, false);
    txn_strmap_put(txn, FIELD_pbd_other_config, f->pbd, PLUG_AGAIN, f->why);
    return OK;
}

struct error *pbd_failed(struct call *call, ref_t ref, const struct error *why)
{
    const char *line = error_line(call->arena, why);
    struct failed f = {ref, arena_strndup(call->arena, line, MIN(strlen(line), REASON_MAX))};

    log_error("the storage of PBD %s is not attached: %s", call_ref(call, ref), f.why);
    return db_update(call, failed_txn, &f);
}

void txn_pbd_settled(struct txn *txn, ref_t ref)
{
    const struct pbd *pbd = txn_find(txn, CLASS_pbd, ref);

    if (pbd && strmap_get(&pbd->other_config, PLUG_AGAIN))
        txn_strmap_remove(txn, FIELD_pbd_other_config, ref, PLUG_AGAIN);
}

void srs_plug_again(struct call *call)
{
    struct refs pbds = db_referrers(call, FIELD_pbd_host, call->xapid->host);

    for (size_t i = 0; i < pbds.n && !xapid_is_stopping(call->xapid); i++) {
        const struct pbd *pbd = db_find(call, CLASS_pbd, pbds.v[i]);
        struct error *e;

        if (!pbd || pbd->currently_attached || !strmap_get(&pbd->other_config, PLUG_AGAIN))
            continue;
        e = pbd_plug(call, &(struct pbd_plug_args){pbds.v[i]});
        call_refresh(call);
        if (e)
            log_info("the storage of PBD %s is still not attached: %s", call_ref(call, pbds.v[i]),
                     error_line(call->arena, e));
        else
            log_info("the storage of PBD %s is attached", call_ref(call, pbds.v[i]));
    }
}

/*** the other hosts ***/

struct elsewhere {
    struct thread thread;
    struct xapid *xapid;
    ref_t pbd;
};

/* A failure is recorded here, for the other host may not even have been reached. */
static void *plug_elsewhere(void *arg)
{
    struct elsewhere *w = arg;
    struct pbd_plug_args args = {w->pbd};
    AUTO(arena) arena = {0};
    struct error *e;
    struct call call;

    call_init_internal(&call, w->xapid, &arena);
    e = forward_run(&call, MSG_pbd_plug, &args, NULL);
    if (e)
        e = pbd_failed(&call, w->pbd, e);
    if (e)
        log_error("PBD %s: %s", call_ref(&call, w->pbd), error_line(&arena, e));
    call_release(&call);
    return NULL;
}

void sr_plug_elsewhere(struct call *call, ref_t sr)
{
    struct elsewhere *v;
    struct refs pbds;
    size_t n = 0;

    call_refresh(call);
    pbds = db_referrers(call, FIELD_pbd_sr, sr);
    v = arena_array(call->arena, struct elsewhere, pbds.n + 1);
    for (size_t i = 0; i < pbds.n; i++) {
        const struct pbd *pbd = db_find(call, CLASS_pbd, pbds.v[i]);

        if (!pbd || pbd->currently_attached || ref_equal(pbd->host, call->xapid->host))
            continue;
        v[n] = (struct elsewhere){.xapid = call->xapid, .pbd = pbd->ref};
        thread_start(&v[n].thread, "plug", plug_elsewhere, &v[n]);
        n++;
    }
    for (size_t i = 0; i < n; i++)
        thread_join(&v[i].thread);
    call_refresh(call);
}

/*** a new host ***/

static bool has_pbd(struct txn *txn, const struct refs *pbds, ref_t host)
{
    for (size_t i = 0; i < pbds->n; i++) {
        const struct pbd *pbd = txn_find(txn, CLASS_pbd, pbds->v[i]);

        if (pbd && ref_equal(pbd->host, host))
            return true;
    }
    return false;
}

static void reach(struct txn *txn, const struct sr *sr, ref_t host)
{
    static const struct strpair again = {PLUG_AGAIN, "The host has just joined the pool."};
    struct refs pbds = txn_referrers(txn, FIELD_pbd_sr, sr->ref);
    const struct pbd *other = pbds.n ? txn_find(txn, CLASS_pbd, pbds.v[0]) : NULL;
    struct pbd row;

    if (!other || has_pbd(txn, &pbds, host))
        return;
    row_defaults(&api_classes[CLASS_pbd], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(arena_alloc(txn_arena(txn), UUID_TEXT_SIZE));
    row.host = host;
    row.sr = sr->ref;
    row.device_config = txn_secrets_make(txn, &other->device_config);
    row.other_config = (struct strmap){1, &again};
    txn_create(txn, CLASS_pbd, &row);
}

static struct error *reach_txn(struct txn *txn, void *arg)
{
    struct db_walk walk;
    const struct sr *sr;

    (void)arg;
    db_walk(txn_snap(txn), CLASS_sr, &walk);
    while ((sr = db_walk_next(&walk)))
        if (sr->shared)
            reach(txn, sr, txn_call(txn)->xapid->host);
    return OK;
}

struct error *srs_reach_shared(struct call *call)
{
    return db_update(call, reach_txn, NULL);
}
