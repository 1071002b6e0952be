/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/storage/turn.h"

#include <stdlib.h>
#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/intent.h"
#include "xapid/ops/op.h"
#include "xapid/ops/storage/attach.h"
#include "xapid/task/task.h"

/* Between two looks where nothing wakes the waiter. */
#define WAIT_SLICE (USEC_PER_SEC)

/* It has a call of its own: rows that the caller has read stay as they were for it. */
struct turn {
    struct arena arena;
    struct call call;
    struct op op;
    ref_t sr;
    bool entered;
    uint64_t since; /* revision that brought it */
};

static void turn_free(struct turn *t)
{
    if (t->entered)
        sr_turn_exit(&t->call, t->sr);
    call_release(&t->call);
    arena_release(&t->arena);
    free(t);
}

/*** in line ***/

/* Whether the intent is a turn at this repository, of a host of the pool.  A dead host has lost its
 * turns: what others have taken over of them (orphans.h) is nobody's. */
static bool is_turn(const struct turn *t, const struct intent *row)
{
    const struct sr_turn_intent *intent;
    enum intent_kind kind;
    const void *data;

    if (*row->step || !intent_kind_by_name(row->kind, &kind) || kind != INTENT_sr_turn ||
        !db_find(&t->call, CLASS_host, row->host) ||
        !intent_of_text(t->call.arena, kind, row->data, &data))
        return false;
    intent = data;
    return ref_equal(intent->sr, t->sr);
}

static bool is_before(const struct intent *a, const struct intent *b)
{
    if (a->row_created != b->row_created)
        return a->row_created < b->row_created;
    return a->ref.hi != b->ref.hi ? a->ref.hi < b->ref.hi : a->ref.lo < b->ref.lo;
}

/*
 * Who is first, us or those before us.  A turn of this host's that was left stands for all that
 * come after it, for until it has ended it is nobody else's anyway; and it ends between them only
 * (sr_turn_enter).  So what undoes an operation need not wait for those who wait for its end.
 */
static const struct intent *who_is_first(struct turn *t)
{
    const struct intent *row, *first = NULL;
    struct db_walk walk;

    db_walk(t->call.snap, CLASS_intent, &walk);
    while ((row = db_walk_next(&walk)))
        if (is_turn(t, row) && (!first || is_before(row, first)))
            first = row;
    return first;
}

static struct error *still_busy(struct call *call, const struct turn *t, const struct intent *first)
{
    const struct host *host = db_find(&t->call, CLASS_host, first->host);

    return err_other_operation_in_progress(
        call, "SR", call_ref(call, t->sr), "vdi_update",
        arena_printf(call->arena, "host '%s' is changing the storage's metadata",
                     host ? host->name_label : ""));
}

/* 'call' is the caller's: it says what is waited for, and can be cancelled. */
static struct error *wait_in_line(struct call *call, struct turn *t)
{
    usec_t deadline = clock_mono() + call->xapid->options.op_wait;
    const struct intent *own, *first;
    struct error *e = OK;

    if (call->task && call->task->deadline)
        deadline = MIN(deadline, call->task->deadline);
    for (;;) {
        uint64_t seen = snap_root(t->call.snap)->revision;

        own = db_find(&t->call, CLASS_intent, t->op.intent);
        first = own && ref_equal(own->host, call->xapid->host) ? who_is_first(t) : NULL;
        if (!first) {
            e = error_internal(call->arena, "this host was declared dead, and its turn is over");
            break;
        }
        t->since = first->row_created;
        if (ref_equal(first->host, call->xapid->host))
            break;
        e = clock_mono() < deadline && !xapid_is_stopping(call->xapid) ? task_check(call)
                                                                       : still_busy(call, t, first);
        if (e)
            break;
        task_waiting_for(call, error_line(call->arena, still_busy(call, t, first)));
        db_wait(call->xapid->db, seen, MIN(deadline, clock_mono() + WAIT_SLICE));
        call_drop_held(&t->call, 0);
        call_refresh(&t->call);
    }
    task_waiting_for(call, NULL);
    return e;
}

/*** take and give ***/

/* The office's epoch goes on where the log began anew. */
static const char *name_of(struct call *call, const struct turn *t)
{
    const struct coordinator *office;
    const struct host *host = db_find(&t->call, CLASS_host, call->xapid->host);
    const struct pool *pool = db_find(&t->call, CLASS_pool, call->xapid->pool);
    struct db_walk walk;

    db_walk(t->call.snap, CLASS_coordinator, &walk);
    office = db_walk_next(&walk);
    return arena_printf(call->arena, "%s.%016llx.%016llx.%s", pool ? pool->uuid : "",
                        (unsigned long long)(office ? office->epoch : 0),
                        (unsigned long long)t->since, host ? host->uuid : "");
}

static struct error *begin(struct call *call, struct turn *t, const char **name)
{
    struct sr_turn_intent intent = {.sr = t->sr};

    TRY(sr_turn_enter(call, t->sr));
    t->entered = true;
    TRY(op_begin(&t->call, &(struct op_spec){.kind = INTENT_sr_turn, .intent = &intent}, &t->op));
    TRY(wait_in_line(call, t));
    *name = name_of(call, t);
    return OK;
}

static struct error *turn_take(struct call *call, const struct sr_handle *sr, const char **name,
                               void **out)
{
    struct error *e;
    struct turn *t;

    *name = NULL;
    *out = NULL;
    t = xcalloc(1, sizeof *t);
    call_init_internal(&t->call, call->xapid, &t->arena);
    e = db_by_uuid(&t->call, CLASS_sr, sr->uuid, &t->sr);
    if (e) {
        turn_free(t);
        return OK;
    }
    e = begin(call, t, name);
    if (!e) {
        *out = t;
        return OK;
    }
    e = error_copy(call->arena, e);
    op_release(&t->op);
    turn_free(t);
    return e;
}

static void turn_give(void *turn, bool ended)
{
    struct turn *t = turn;
    struct error *e;

    if (!t)
        return;
    e = ended ? op_commit(&t->op, NULL, NULL) : OK;
    /* A commit whose outcome is not known may have been none. */
    if (e || !ended)
        op_leave(&t->op);
    turn_free(t);
}

const struct sr_turns sr_turns = {turn_take, turn_give};

/*** recovery ***/

/* What LVM has begun for a process that was killed goes on; it holds LVM's lock on this host, which
 * whoever reads waits for. */
static struct error *end_left(struct call *call, struct op *op, ref_t sr)
{
    struct sr_stat_info stat;
    AUTO(sr_use) use = {0};

    TRY(sr_use(call, sr, &use));
    TRY(use.handle->driver->stat(call, use.handle, &stat));
    return op_commit(op, NULL, NULL);
}

struct error *sr_turn_recover(struct call *call, struct op *op, const struct sr_turn_intent *intent)
{
    struct error *e;

    if (!sr_is_attached(call->xapid, intent->sr))
        return OK;
    TRY(sr_turn_enter(call, intent->sr));
    e = end_left(call, op, intent->sr);
    sr_turn_exit(call, intent->sr);
    return e;
}
