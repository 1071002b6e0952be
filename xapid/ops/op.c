/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/op.h"

#include <stdlib.h>
#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/faults.h"
#include "xapid/ops/intent.h"
#include "xapid/ops/registry.h"
#include "xapid/task/task.h"

/* Between two looks at a busy object where nothing wakes the waiter. */
#define WAIT_SLICE (5 * USEC_PER_SEC)
/* Before what was left is tried again. */
#define FIRST_PAUSE (5 * USEC_PER_SEC)
#define LONGEST_PAUSE (300 * USEC_PER_SEC)

/*** waiting in line ***/

struct waiter {
    struct waiter *next;
    int class_id;
    ref_t ref;
};

/* An intent that could not be undone or finished, and when that is tried again. */
struct left {
    struct left *next;
    ref_t intent;
    usec_t pause, due;
};

struct op_queue {
    struct mutex lock;
    struct waiter *first, **last; /* all waiters, in the order they came */
    struct left *left;
};

struct op_queue *op_queue_new(void)
{
    struct op_queue *q = xcalloc(1, sizeof *q);

    mutex_init(&q->lock);
    q->last = &q->first;
    return q;
}

void op_queue_free(struct op_queue *q)
{
    if (!q)
        return;
    while (q->left) {
        struct left *next = q->left->next;

        free(q->left);
        q->left = next;
    }
    mutex_release(&q->lock);
    free(q);
}

static void queue_join(struct op_queue *q, struct waiter *w)
{
    MUTEX_GUARD(&q->lock);
    *q->last = w;
    q->last = &w->next;
}

static void queue_leave(struct op_queue *q, struct waiter *w)
{
    struct waiter **p;

    MUTEX_GUARD(&q->lock);
    for (p = &q->first; *p != w; p = &(*p)->next)
        ;
    *p = w->next;
    if (q->last == &w->next)
        q->last = p;
}

/* True if nobody came before for the same object. */
static bool queue_is_first(struct op_queue *q, const struct waiter *w)
{
    const struct waiter *other;

    MUTEX_GUARD(&q->lock);
    for (other = q->first; other != w; other = other->next)
        if (other->class_id == w->class_id && ref_equal(other->ref, w->ref))
            return false;
    return true;
}

static bool queue_has(struct op_queue *q, const struct op_hold *hold)
{
    MUTEX_GUARD(&q->lock);
    for (const struct waiter *w = q->first; w; w = w->next)
        if (w->class_id == hold->class_id && ref_equal(w->ref, hold->ref))
            return true;
    return false;
}

/*** begin ***/

static int current_operations_field(int class_id)
{
    const struct field_desc *f = api_field_by_name(&api_classes[class_id], "current_operations");

    return f->id;
}

struct begin {
    const struct op_spec *spec;
    struct op *op;
};

static struct error *begin_txn(struct txn *txn, void *arg)
{
    const struct begin *b = arg;
    const struct op_spec *spec = b->spec;
    struct call *call = txn_call(txn);
    struct intent row;

    for (size_t i = 0; i < spec->n_holds; i++) {
        const void *held;

        TRY(txn_get(txn, spec->holds[i].class_id, spec->holds[i].ref, &held));
    }
    if (spec->check)
        TRY(spec->check(txn, spec->arg));
    for (size_t i = 0; i < spec->n_holds; i++)
        txn_map_put(txn, current_operations_field(spec->holds[i].class_id), spec->holds[i].ref,
                    &b->op->task_key, &spec->holds[i].operation);
    row_defaults(&api_classes[CLASS_intent], &row);
    row.ref = b->op->intent;
    row.kind = api_intents[spec->kind].name;
    row.task = call->task ? call->task->ref : REF_NULL;
    row.host = call->xapid->host;
    row.epoch = (int64_t)xapid_epoch(call->xapid);
    row.data = intent_to_text(txn_arena(txn), spec->kind, spec->intent);
    row.holds = intent_holds(txn_arena(txn), b->op->task_key, spec->n_holds, spec->holds);
    row.created = clock_wall();
    txn_create(txn, CLASS_intent, &row);
    return OK;
}

/* One try: does not overtake those who wait for the same object. */
static struct error *try_begin(struct call *call, struct begin *b, const struct waiter *w)
{
    struct op_queue *q = call->xapid->queue;
    const struct op_spec *spec = b->spec;

    if (spec->n_holds && (w ? !queue_is_first(q, w) : queue_has(q, &spec->holds[0])))
        return err_other_operation_in_progress(call, api_classes[spec->holds[0].class_id].name,
                                               call_ref(call, spec->holds[0].ref), "", "");
    return db_update(call, begin_txn, b);
}

static bool take_left_of(struct call *call, const char *object, ref_t *intent, usec_t *pause);
static void leave(struct op_queue *q, ref_t intent, usec_t pause);

/*
 * What was left, and holds the object that is busy, would be tried again after its pause, which may
 * be minutes.  Who finds it in his way tries it himself: either the way is free then, or he is told
 * why it is not, and does not wait for storage that may never come back.
 */
static struct error *clear_way(struct call *call, const struct error *busy)
{
    usec_t pause;
    ref_t intent;

    while (take_left_of(call, busy->params[1], &intent, &pause)) {
        const struct intent *row = db_find(call, CLASS_intent, intent);
        struct error *e = row ? op_recover(call, row) : OK;

        if (e) {
            leave(call->xapid->queue, intent, pause);
            return e;
        }
        call_refresh(call);
    }
    return OK;
}

static struct error *wait_and_begin(struct call *call, struct begin *b, struct error *busy)
{
    struct waiter w = {.class_id = b->spec->holds[0].class_id, .ref = b->spec->holds[0].ref};
    struct xapid *xapid = call->xapid;
    usec_t deadline = clock_mono() + xapid->options.op_wait;
    struct error *e = busy;

    if (call->task && call->task->deadline)
        deadline = MIN(deadline, call->task->deadline);
    queue_join(xapid->queue, &w);
    task_waiting_for(call, error_line(call->arena, busy));
    /* A daemon that stops cancels its tasks, but what it does by itself has none. */
    while (error_is(e, "OTHER_OPERATION_IN_PROGRESS") && clock_mono() < deadline &&
           !xapid_is_stopping(xapid)) {
        const struct error *last = e;
        uint64_t seen = snap_root(call->snap)->revision;
        size_t held = call->n_held;

        e = task_check(call);
        if (!e && queue_is_first(xapid->queue, &w))
            e = clear_way(call, last);
        if (e)
            break;
        e = try_begin(call, b, &w);
        if (error_is(e, "OTHER_OPERATION_IN_PROGRESS")) {
            db_wait(xapid->db, MAX(seen, snap_root(call->snap)->revision),
                    MIN(deadline, clock_mono() + WAIT_SLICE));
            call_refresh(call);
            call_drop_held(call, held);
        }
    }
    queue_leave(xapid->queue, &w);
    task_waiting_for(call, NULL);
    return e;
}

struct error *op_begin(struct call *call, const struct op_spec *spec, struct op *op)
{
    struct begin b = {spec, op};
    struct error *e;

    *op = (struct op){
        .call = call, .kind = spec->kind, .intent = ref_new(), .epoch = xapid_epoch(call->xapid)};
    op->task_key = call->task ? call->task->key
                              : arena_printf(call->arena, "DummyRef:|%s|%s", uuid_new(op->id),
                                             api_intents[spec->kind].name);
    memcpy(op->id, call_ref(call, op->intent) + strlen("OpaqueRef:"), UUID_TEXT_SIZE);
    op->n_holds = spec->n_holds;
    if (spec->n_holds)
        memcpy(op->holds, spec->holds, spec->n_holds * sizeof *spec->holds);
    e = try_begin(call, &b, NULL);
    if (error_is(e, "OTHER_OPERATION_IN_PROGRESS") && spec->n_holds)
        e = wait_and_begin(call, &b, e);
    if (e)
        op->intent = REF_NULL;
    return e;
}

/*** step, commit, abort ***/

struct error *op_step(struct op *op, const char *name, double done)
{
    struct error *e = faults_step(op->call, api_intents[op->kind].name, name);

    if (e)
        return e;
    task_progress(op->call, done);
    return task_check(op->call);
}

bool op_holds(const struct op *op, int class_id, ref_t ref)
{
    for (size_t i = 0; i < op->n_holds; i++)
        if (op->holds[i].class_id == class_id && ref_equal(op->holds[i].ref, ref))
            return true;
    return false;
}

void txn_unhold(struct txn *txn, const struct op *op)
{
    for (size_t i = 0; i < op->n_holds; i++)
        if (txn_find(txn, op->holds[i].class_id, op->holds[i].ref))
            txn_map_remove(txn, current_operations_field(op->holds[i].class_id), op->holds[i].ref,
                           &op->task_key);
}

struct commit {
    struct op *op;
    db_txn_fn *fn;
    void *arg;
};

static struct error *check_stands(struct txn *txn, const struct op *op)
{
    const struct call *call = txn_call(txn);
    const struct intent *row = txn_find(txn, CLASS_intent, op->intent);

    return row && ref_equal(row->host, call->xapid->host)
               ? OK
               : error_internal(call->arena, "the operation's intent is gone, or another host's");
}

/* What the row says that it holds: another host may have handed it a VM since the op was read (a
 * move does), and what goes with the row is held for ever. */
static struct error *let_go(struct txn *txn, const struct op *op)
{
    struct op held = *op;

    if (!intent_read_holds(txn_arena(txn), txn_find(txn, CLASS_intent, op->intent), &held))
        return error_internal(txn_call(txn)->arena, "what the operation holds cannot be read");
    txn_unhold(txn, &held);
    return OK;
}

static struct error *commit_txn(struct txn *txn, void *arg)
{
    const struct commit *c = arg;

    TRY(check_stands(txn, c->op));
    /* First the lock, so that fn may destroy what it held. */
    TRY(let_go(txn, c->op));
    txn_destroy(txn, CLASS_intent, c->op->intent);
    return c->fn ? c->fn(txn, c->arg) : OK;
}

struct error *op_commit(struct op *op, db_txn_fn *fn, void *arg)
{
    struct commit c = {op, fn, arg};
    struct error *e = faults_step(op->call, api_intents[op->kind].name, "commit");

    if (!e)
        e = db_update(op->call, commit_txn, &c);
    if (!e) {
        op->intent = REF_NULL;
        faults_step_ignored(op->call, api_intents[op->kind].name, "committed");
    } else if (db_outcome_is_unknown(e)) {
        op->unknown = true;
    }
    return e;
}

static struct error *update_txn(struct txn *txn, void *arg)
{
    const struct commit *c = arg;

    TRY(check_stands(txn, c->op));
    return c->fn(txn, c->arg);
}

struct error *op_update(struct op *op, db_txn_fn *fn, void *arg)
{
    return db_update(op->call, update_txn, &(struct commit){op, fn, arg});
}

void txn_intent_set(struct txn *txn, const struct op *op, const void *intent)
{
    TXN_SET(txn, intent, op->intent, data, intent_to_text(txn_arena(txn), op->kind, intent));
}

void op_abort(struct op *op)
{
    struct commit c = {op, NULL, NULL};
    struct error *e;

    if (ref_is_null(op->intent) || op->unknown)
        return;
    e = db_update(op->call, commit_txn, &c);
    /* Cut off from the others it goes on being held, until that can be taken back. */
    while (error_is(e, "HOST_IN_EMERGENCY_MODE") && !xapid_is_stopping(op->call->xapid)) {
        db_wait_leader(op->call->xapid->db, clock_mono() + WAIT_SLICE);
        e = db_update(op->call, commit_txn, &c);
    }
    if (e)
        log_error("operation %s stays locked until the next start: %s", api_intents[op->kind].name,
                  error_line(op->call->arena, e));
    op->intent = REF_NULL;
}

bool op_may_undo(const struct op *op)
{
    return !op->unknown;
}

void op_release(struct op *op)
{
    if (op->call)
        op_abort(op);
}

/*** recovery ***/

bool op_adopt(struct call *call, const struct intent *row, struct op *op, const void **intent)
{
    *op = (struct op){.call = call, .intent = row->ref, .epoch = xapid_epoch(call->xapid)};
    memcpy(op->id, call_ref(call, row->ref) + strlen("OpaqueRef:"), UUID_TEXT_SIZE);
    if (intent_kind_by_name(row->kind, &op->kind) &&
        intent_of_text(call->arena, op->kind, row->data, intent) &&
        intent_read_holds(call->arena, row, op))
        return true;
    log_error("intent %s of kind '%s' cannot be read; it is left alone", op->id, row->kind);
    op->intent = REF_NULL;
    return false;
}

struct error *op_recover(struct call *call, const struct intent *row)
{
    const void *intent;
    struct op op;

    if (!op_adopt(call, row, &op, &intent))
        return OK;
    log_info("recovering %s %s", api_intents[op.kind].name, op.id);
    TRY(api_intents[op.kind].recover(call, &op, intent));
    op_abort(&op); /* nothing, where the recover function committed */
    return OK;
}

/*** what is tried again ***/

/* False, and logged, where it failed. */
static bool try_to_recover(struct call *call, const struct intent *row)
{
    const char *kind = arena_strdup(call->arena, row->kind), *ref = call_ref(call, row->ref);
    struct error *e = op_recover(call, row);

    if (e)
        log_error("recovery of %s %s failed and is tried again: %s", kind, ref,
                  error_line(call->arena, e));
    return !e;
}

static void leave(struct op_queue *q, ref_t intent, usec_t pause)
{
    struct left *l;

    MUTEX_GUARD(&q->lock);
    for (l = q->left; l && !ref_equal(l->intent, intent); l = l->next)
        ;
    if (!l) {
        l = xcalloc(1, sizeof *l);
        l->intent = intent;
        l->next = q->left;
        q->left = l;
    }
    l->pause = MAX(l->pause, pause);
    l->due = clock_mono() + l->pause;
}

/* One whose pause is over; it is not waited for any more. */
static bool take_left(struct op_queue *q, ref_t *intent, usec_t *pause)
{
    MUTEX_GUARD(&q->lock);
    for (struct left **p = &q->left; *p; p = &(*p)->next) {
        struct left *l = *p;

        if (l->due > clock_mono())
            continue;
        *intent = l->intent;
        *pause = l->pause;
        *p = l->next;
        free(l);
        return true;
    }
    return false;
}

/* The holds of an intent of this host. */
static bool read_own(const struct call *call, ref_t intent, struct op *op)
{
    const struct intent *row = db_find(call, CLASS_intent, intent);

    *op = (struct op){0};
    return row && ref_equal(row->host, call->xapid->host) &&
           intent_read_holds(call->arena, row, op);
}

bool op_is_left(const struct call *call, const char *task_key)
{
    const struct left *l;
    struct op op;

    MUTEX_GUARD(&call->xapid->queue->lock);
    for (l = call->xapid->queue->left; l; l = l->next)
        if (read_own(call, l->intent, &op) && strcmp(op.task_key, task_key) == 0)
            return true;
    return false;
}

static bool holds_object(const struct call *call, ref_t intent, const char *object)
{
    struct op op;

    if (!read_own(call, intent, &op))
        return false;
    for (size_t i = 0; i < op.n_holds; i++)
        if (strcmp(call_ref(call, op.holds[i].ref), object) == 0)
            return true;
    return false;
}

/* As take_left, whether its pause is over or not: one that holds that object. */
static bool take_left_of(struct call *call, const char *object, ref_t *intent, usec_t *pause)
{
    struct op_queue *q = call->xapid->queue;

    MUTEX_GUARD(&q->lock);
    for (struct left **p = &q->left; *p; p = &(*p)->next) {
        struct left *l = *p;

        if (!holds_object(call, l->intent, object))
            continue;
        *intent = l->intent;
        *pause = l->pause;
        *p = l->next;
        free(l);
        return true;
    }
    return false;
}

void op_leave(struct op *op)
{
    op->unknown = true;
    leave(op->call->xapid->queue, op->intent, FIRST_PAUSE);
}

void ops_again(struct call *call)
{
    struct op_queue *q = call->xapid->queue;
    usec_t pause;
    ref_t intent;

    while (take_left(q, &intent, &pause)) {
        const struct intent *row;

        call_refresh(call);
        row = db_find(call, CLASS_intent, intent);
        if (row && ref_equal(row->host, call->xapid->host) && !try_to_recover(call, row))
            leave(q, intent, MIN(2 * pause, LONGEST_PAUSE));
    }
}

/* Others than those of storage expect to be recovered before anything else goes on: at a start. */
static bool can_be_recovered_later(const struct intent *row)
{
    return strncmp(row->kind, "vdi_", 4) == 0 || strncmp(row->kind, "sr_", 3) == 0;
}

int ops_recover(struct call *call)
{
    struct refs all = {0};
    struct db_walk walk;
    const struct intent *row;
    ref_t *v;

    call_refresh(call);
    v = arena_array(call->arena, ref_t, snap_root(call->snap)->tables[CLASS_intent].count + 1);
    db_walk(call->snap, CLASS_intent, &walk);
    while ((row = db_walk_next(&walk)))
        if (ref_equal(row->host, call->xapid->host))
            v[all.n++] = row->ref;
    for (size_t i = 0; i < all.n; i++) {
        bool later;

        row = db_find(call, CLASS_intent, v[i]);
        later = row && can_be_recovered_later(row);
        if (row && !try_to_recover(call, row) && later)
            leave(call->xapid->queue, v[i], FIRST_PAUSE);
        call_refresh(call);
    }
    return (int)all.n;
}
