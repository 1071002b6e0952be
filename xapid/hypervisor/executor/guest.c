/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * guest.c -- asking a guest to end, and waiting for its end.
 *
 * The guest is asked by control/shutdown in xenstore, and acknowledges by emptying it.  Taking the
 * request back and seeing that it was acknowledged exclude each other: both are one transaction.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xenctrl.h>
#include <xen/hvm/params.h>

#include "xapid/hypervisor/executor/executor.h"

#define LOOK_AGAIN USEC_PER_SEC /* should xenstore's news be lost */

static const char *ask_path(struct arena *arena, uint32_t domid)
{
    return arena_printf(arena, "/local/domain/%u/control/shutdown", domid);
}

struct error *ack_failed(struct arena *arena, enum hv_reason what, const char *uuid)
{
    return error_new(arena,
                     what == HV_SUSPEND ? "VM_FAILED_SUSPEND_ACKNOWLEDGMENT"
                                        : "VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT",
                     1, uuid);
}

bool ask_withdraw(struct arena *arena, struct xen *xen, uint32_t domid)
{
    const char *path = ask_path(arena, domid);

    for (;;) {
        xs_transaction_t t = xs_transaction_start(xen->xs);
        unsigned n = 0;
        char *value;
        bool pending;

        if (t == XBT_NULL)
            return false;
        value = xs_read(xen->xs, t, path, &n);
        pending = value && n && *value;
        free(value);
        pending = pending && xs_write(xen->xs, t, path, "", 0);
        if (xs_transaction_end(xen->xs, t, !pending))
            return pending;
        if (errno != EAGAIN)
            return false;
    }
}

/* An HVM guest without drivers for Xen has but its power button. */
static struct error *press_button(struct request *rq, struct xen *xen, uint32_t domid, bool *acked)
{
    int rc = libxl_send_trigger(xen->ctx, domid, LIBXL_TRIGGER_POWER, 0, NULL);

    *acked = rc == 0;
    return rc ? xen_failed(&rq->arena, xen, "pressing the guest's power button", rc) : OK;
}

/* Whether an HVM guest has drivers that look into xenstore. */
static bool has_drivers(uint32_t domid)
{
    xc_interface *xc = xen_control_open();
    uint64_t irq = 0;
    bool has = xc && xc_hvm_param_get(xc, domid, HVM_PARAM_CALLBACK_IRQ, &irq) == 0 && irq;

    xen_control_close(xc);
    return has;
}

/* libxl's own call would wait for the guest, for as long as libxl likes. */
static struct error *ask(struct request *rq, struct xen *xen, const struct found *d,
                         enum hv_reason what, bool *acked)
{
    const char *path = ask_path(&rq->arena, d->domid);

    if (d->type != LIBXL_DOMAIN_TYPE_HVM || has_drivers(d->domid))
        return xs_put(&rq->arena, xen, path, hv_reason_names[what]);
    if (what == HV_POWEROFF)
        return press_button(rq, xen, d->domid, acked);
    return ack_failed(&rq->arena, what, d->uuid);
}

/* Whether the guest has emptied what it was asked, or has ended. */
static struct error *look(struct request *rq, struct xen *xen, const struct found *d, bool *acked)
{
    const char *value = xs_text(&rq->arena, xen, ask_path(&rq->arena, d->domid));
    enum hv_reason reason;
    struct found now;

    *acked = value && !*value;
    if (*acked)
        return OK;
    TRY(domain_find(rq, xen, d->uuid, &now));
    if (!now.exists || now.domid != d->domid)
        return error_internal(&rq->arena, FAILURE_NO_DOMAIN "%s", d->uuid);
    *acked = domain_state(&now.info, &reason) == HV_SHUTDOWN;
    return OK;
}

static struct error *wait_for_guest(struct request *rq, struct xen *xen, const struct found *d,
                                    enum hv_reason what)
{
    struct executor *x = executor_of(rq);
    usec_t now = clock_mono(), until = now + (rq->deadline - now) / 4 * 3;
    bool acked;

    for (;;) {
        uint64_t seen = world_now(x);

        TRY(look(rq, xen, d, &acked));
        if (acked)
            return OK;
        now = clock_mono();
        if (now >= until)
            break;
        world_wait(x, seen, MIN(until, now + LOOK_AGAIN));
    }
    if (ask_withdraw(&rq->arena, xen, d->domid))
        return ack_failed(&rq->arena, what, d->uuid);
    return look(rq, xen, d, &acked);
}

struct error *run_shutdown(struct request *rq, json_t **result)
{
    enum hv_reason what = (enum hv_reason)read_enum(&rq->args, "reason", hv_reason_names);
    AUTO(xen) xen = {0};
    struct found d;
    bool acked = false;

    (void)result;
    TRY(xen_open(&rq->arena, &xen));
    TRY(domain_alive(rq, &xen, &d));
    if (what != HV_POWEROFF && what != HV_REBOOT && what != HV_SUSPEND)
        return error_internal(&rq->arena, "a guest cannot be asked for this");
    TRY(ask(rq, &xen, &d, what, &acked));
    return acked ? OK : wait_for_guest(rq, &xen, &d, what);
}

/* *over: it has ended, with *reason, or is gone. */
static struct error *is_over(struct request *rq, const char *uuid, bool *over,
                             enum hv_reason *reason)
{
    AUTO(xen) xen = {0};
    struct found d;

    *reason = HV_NONE;
    TRY(xen_open(&rq->arena, &xen));
    TRY(domain_find(rq, &xen, uuid, &d));
    *over = !d.exists || domain_state(&d.info, reason) == HV_SHUTDOWN;
    return OK;
}

struct error *run_wait_death(struct request *rq, json_t **result)
{
    struct executor *x = executor_of(rq);
    char uuid[UUID_TEXT_SIZE];
    enum hv_reason reason;
    bool over = false;

    read_uuid(&rq->args, "uuid", false, uuid);
    if (rq->args.bad)
        return request_bad(rq);
    for (;;) {
        uint64_t seen = world_now(x);
        usec_t now = clock_mono();

        TRY(is_over(rq, uuid, &over, &reason));
        if (over)
            break;
        if (now >= rq->deadline)
            return error_internal(&rq->arena, FAILURE_UNKNOWN "wait_death: not yet");
        world_wait(x, seen, MIN(rq->deadline, now + 5 * LOOK_AGAIN));
    }
    *result = json_pack("{s:s}", "reason", hv_reason_names[reason]);
    return OK;
}
