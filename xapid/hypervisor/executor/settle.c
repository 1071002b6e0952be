/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * settle.c -- after a kill -9: what became of a request that was begun and not ended.
 *
 * A build is found complete, or what there is of it is destroyed.  A save is found complete, or the
 * guest runs on, as one does that was being sent elsewhere.  A guest that was asked to end is asked
 * no more.  The rest can be done again without harm, and is.
 */
#include <string.h>

#include "libxapi/base/log.h"
#include "xapid/hypervisor/executor/executor.h"
#include "xapid/hypervisor/server/outcome.h"

static struct error *cut_short(struct request *rq)
{
    return error_internal(&rq->arena, "%s: the executor was killed while it worked on it",
                          rq->handler->call);
}

static struct error *settle_build(struct request *rq, json_t **result)
{
    struct hv_domain_config config;
    AUTO(hold) hold = {0};
    AUTO(xen) xen = {0};
    const char *built_by;
    struct found d;
    int rc;

    TRY(config_of(rq, &config));
    TRY(hold_take(rq, config.uuid, HOLD_BUILD, &hold));
    TRY(xen_open(&rq->arena, &xen));
    TRY(domain_find(rq, &xen, config.uuid, &d));
    if (!d.exists || !rq->noted)
        return cut_short(rq);
    built_by = xs_text(&rq->arena, &xen, mark_path(&rq->arena, d.domid, "complete"));
    if (built_by && strcmp(built_by, rq->outcome->id) == 0) {
        *result = json_pack("{s:i}", "domid", (int)d.domid);
        return OK;
    }
    if (built_by)
        return cut_short(rq); /* of another request: the present one never began to build */
    rc = libxl_domain_destroy(xen.ctx, d.domid, NULL);
    return rc ? xen_failed(&rq->arena, &xen, "destroying a half-built domain", rc) : cut_short(rq);
}

static struct error *settle_shutdown(struct request *rq)
{
    enum hv_reason what = (enum hv_reason)read_enum(&rq->args, "reason", hv_reason_names);
    enum hv_reason reason;
    AUTO(xen) xen = {0};
    struct found d;

    TRY(xen_open(&rq->arena, &xen));
    TRY(domain_of(rq, &xen, &d));
    if (domain_state(&d.info, &reason) == HV_SHUTDOWN)
        return OK;
    if (ask_withdraw(&rq->arena, &xen, d.domid))
        return ack_failed(&rq->arena, what, d.uuid);
    return error_internal(&rq->arena,
                          FAILURE_UNKNOWN "the guest may have been asked, and may have heard");
}

struct error *settle(struct request *rq, json_t **result)
{
    const char *call = rq->handler->call;
    struct error *e;

    rq->deadline = clock_mono() + 600 * USEC_PER_SEC;
    if (strcmp(call, "build") == 0 || strcmp(call, "restore") == 0 ||
        strcmp(call, "migrate_in") == 0)
        e = settle_build(rq, result);
    else if (strcmp(call, "save") == 0)
        e = settle_save(rq);
    else if (strcmp(call, "migrate_out") == 0)
        e = settle_migrate_out(rq);
    else if (strcmp(call, "shutdown") == 0)
        e = settle_shutdown(rq);
    else
        e = request_run(rq, result);
    log_info("%s, begun before the last end of the executor: %s", call,
             e ? error_line(&rq->arena, e) : "done");
    return e;
}
