/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/task/task.h"

#include <stdlib.h>
#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "xapid/auth/session.h"
#include "xapid/db/db.h"
#include "xapid/db/ready.h"
#include "xapid/main/xapid.h"

#define KEEP_COMPLETED (65 * 60 * USEC_PER_SEC)
#define KEEP_PENDING (24 * 3600 * USEC_PER_SEC)
#define MAX_COMPLETED 200

struct tasks {
    struct mutex lock;
    struct task_handle *running;
};

struct tasks *tasks_new(struct xapid *xapid)
{
    struct tasks *t = xcalloc(1, sizeof *t);

    (void)xapid;
    mutex_init(&t->lock);
    return t;
}

void tasks_free(struct tasks *t)
{
    if (!t)
        return;
    mutex_release(&t->lock);
    free(t);
}

/*** begin ***/

struct begin {
    const char *name;
    ref_t ref;
    bool existing;
};

static struct error *begin_txn(struct txn *txn, void *arg)
{
    const struct begin *b = arg;
    struct call *call = txn_call(txn);
    struct task row;
    char uuid[UUID_TEXT_SIZE];

    if (b->existing) {
        const struct task *old;

        TRY(TXN_GET(txn, task, b->ref, &old));
        TXN_SET(txn, task, b->ref, resident_on, call->xapid->host);
        return OK;
    }
    row_defaults(&api_classes[CLASS_task], &row);
    row.ref = b->ref;
    row.uuid = uuid_new(uuid);
    row.name_label = b->name;
    row.created = clock_wall();
    row.status = TASK_PENDING;
    row.resident_on = call->xapid->host;
    row.type = "<none/>";
    row.session = call->session ? call->session->ref : REF_NULL;
    txn_create(txn, CLASS_task, &row);
    return OK;
}

static void remember(struct tasks *tasks, struct call *call, struct task_handle *t)
{
    call->task = t;
    MUTEX_GUARD(&tasks->lock);
    t->next = tasks->running;
    tasks->running = t;
}

struct error *task_begin(struct call *call, const char *name, bool with_row, ref_t existing)
{
    struct task_handle *t = arena_new(call->arena, struct task_handle);
    struct tasks *tasks = call->xapid->tasks;
    struct begin b = {.name = name, .ref = existing, .existing = !ref_is_null(existing)};
    char uuid[UUID_TEXT_SIZE];

    t->name = name;
    if (with_row || b.existing) {
        if (!b.existing)
            b.ref = ref_new();
        TRY(db_update(call, begin_txn, &b));
        t->ref = b.ref;
        t->key = call_ref(call, b.ref);
    } else {
        t->key = arena_printf(call->arena, "DummyRef:|%s|%s", uuid_new(uuid), name);
    }
    remember(tasks, call, t);
    return OK;
}

void task_join(struct call *call, const char *name, ref_t ref, const char *key)
{
    struct task_handle *t = arena_new(call->arena, struct task_handle);

    t->name = name;
    t->ref = ref;
    t->key = key;
    remember(call->xapid->tasks, call, t);
}

/*** end ***/

struct end {
    ref_t ref;
    const struct error *error;
    const char *result;
};

static struct error *end_txn(struct txn *txn, void *arg)
{
    const struct end *end = arg;
    const struct task *task = txn_find(txn, CLASS_task, end->ref);
    struct strings info = {0};

    if (!task || task->status == TASK_SUCCESS || task->status == TASK_FAILURE ||
        task->status == TASK_CANCELLED)
        return OK; /* destroyed, or ended by its client */
    if (end->error) {
        const char **v = arena_array(txn_arena(txn), const char *, end->error->n_params + 1);

        v[0] = end->error->code;
        for (size_t i = 0; i < end->error->n_params; i++)
            v[i + 1] = end->error->params[i];
        info = (struct strings){end->error->n_params + 1, v};
        TXN_SET(txn, task, end->ref, error_info, info);
        TXN_SET(txn, task, end->ref, status,
                error_is(end->error, "TASK_CANCELLED") ? TASK_CANCELLED : TASK_FAILURE);
    } else {
        TXN_SET(txn, task, end->ref, result, end->result ? end->result : "");
        TXN_SET(txn, task, end->ref, status, TASK_SUCCESS);
    }
    TXN_SET(txn, task, end->ref, progress, 1.0);
    TXN_SET(txn, task, end->ref, finished, clock_wall());
    TXN_SET(txn, task, end->ref, current_operations, {0});
    return OK;
}

static void forget(struct tasks *tasks, struct task_handle *t)
{
    struct task_handle **p;

    MUTEX_GUARD(&tasks->lock);
    for (p = &tasks->running; *p && *p != t; p = &(*p)->next)
        ;
    if (*p)
        *p = t->next;
}

void task_end(struct call *call, const struct error *error, const char *result)
{
    struct task_handle *t = call->task;
    struct end end;
    struct error *e;

    if (!t)
        return;
    end = (struct end){t->ref, error, result};
    forget(call->xapid->tasks, t);
    call->task = NULL;
    if (ref_is_null(t->ref))
        return;
    db_drop_lazy(call->xapid->db, FIELD_task_progress, t->ref);
    e = db_update(call, end_txn, &end);
    if (e)
        log_error("the end of task %s could not be recorded: %s", t->key,
                  error_line(call->arena, e));
}

void task_leave(struct call *call)
{
    if (call->task)
        forget(call->xapid->tasks, call->task);
    call->task = NULL;
}

/*** meanwhile ***/

void task_progress(struct call *call, double done)
{
    if (call->task && !ref_is_null(call->task->ref))
        db_set_lazily(call->xapid->db, FIELD_task_progress, call->task->ref, &done);
}

/* Cancel on another member only shows in the row. */
static bool is_cancelled_elsewhere(const struct call *call)
{
    struct db_snap *snap;
    const struct task *row;
    bool cancelled;

    if (ref_is_null(call->task->ref) || !db_has_others(call->xapid->db))
        return false;
    snap = db_snapshot(call->xapid->db);
    row = root_get(snap_root(snap), CLASS_task, call->task->ref);
    cancelled = row && row->status == TASK_CANCELLING;
    db_snap_unref(snap);
    return cancelled;
}

struct error *task_check(struct call *call)
{
    if (call->task &&
        (__atomic_load_n(&call->task->cancelled, __ATOMIC_RELAXED) || is_cancelled_elsewhere(call)))
        return err_task_cancelled(call, call->task->key);
    return OK;
}

struct waiting {
    ref_t ref;
    const char *whom;
};

static struct error *waiting_txn(struct txn *txn, void *arg)
{
    const struct waiting *w = arg;

    if (!txn_find(txn, CLASS_task, w->ref))
        return OK;
    if (w->whom)
        txn_strmap_put(txn, FIELD_task_other_config, w->ref, "waiting_for", w->whom);
    else
        txn_strmap_remove(txn, FIELD_task_other_config, w->ref, "waiting_for");
    return OK;
}

void task_waiting_for(struct call *call, const char *whom)
{
    struct waiting w = {.whom = whom};

    if (!call->task || ref_is_null(call->task->ref))
        return;
    w.ref = call->task->ref;
    /* Only for those who watch: the wait itself does not depend on it. */
    error_ignore(db_update(call, waiting_txn, &w));
}

/*** messages ***/

/* Others' tasks are ended only with the permission task.destroy/any. */
static struct error *check_owner(struct call *call, const struct task *task, const char *permission)
{
    const struct auth_session *s = call->session;

    if (!s || s->role <= ROLE_POOL_OPERATOR || ref_equal(task->session, s->ref))
        return OK;
    return err_rbac_permission_denied(
        call, permission,
        "The task belongs to another session; ending it needs the role pool-operator.");
}

struct error *task_create(struct call *call, const struct task_create_args *args, ref_t *result)
{
    struct task row;
    char uuid[UUID_TEXT_SIZE];
    struct db_create create = {CLASS_task, &row};

    row_defaults(&api_classes[CLASS_task], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(uuid);
    row.name_label = args->label;
    row.name_description = args->description;
    row.created = clock_wall();
    row.status = TASK_PENDING;
    row.resident_on = call->xapid->host;
    row.type = "<none/>";
    row.session = call->session ? call->session->ref : REF_NULL;
    TRY(db_update(call, db_create_txn, &create));
    *result = row.ref;
    return OK;
}

/* Whether it runs here; 'cancel': and asks it to end. */
static bool find_running(struct tasks *tasks, ref_t ref, bool cancel)
{
    MUTEX_GUARD(&tasks->lock);
    for (struct task_handle *t = tasks->running; t; t = t->next) {
        if (ref_equal(t->ref, ref)) {
            if (cancel)
                __atomic_store_n(&t->cancelled, true, __ATOMIC_RELAXED);
            return true;
        }
    }
    return false;
}

/* True of a task of another host of the pool. */
static bool is_elsewhere(const struct call *call, const struct task *task)
{
    return !ref_equal(task->resident_on, call->xapid->host) &&
           db_find(call, CLASS_host, task->resident_on);
}

static struct error *cancelling_txn(struct txn *txn, void *arg)
{
    const ref_t *ref = arg;
    const struct task *task;
    const char *key = ref_text(txn_arena(txn), *ref);
    int op = TASK_OP_CANCEL;

    TRY(TXN_GET(txn, task, *ref, &task));
    if (task->status == TASK_PENDING) {
        txn_map_put(txn, FIELD_task_current_operations, *ref, &key, &op);
        TXN_SET(txn, task, *ref, status, TASK_CANCELLING);
    }
    return OK;
}

struct error *task_cancel(struct call *call, const struct task_cancel_args *args)
{
    const struct task *task;
    ref_t ref = args->task;
    bool elsewhere;

    TRY(DB_GET(call, task, ref, &task));
    TRY(check_owner(call, task, "task.destroy/any"));
    if (task->status != TASK_PENDING && task->status != TASK_CANCELLING)
        return err_operation_not_allowed(call, "The task has ended already.");
    elsewhere = is_elsewhere(call, task);
    TRY(db_update(call, cancelling_txn, &ref));
    /* There it is seen by the one who runs it (task_check), or by tasks_collect. */
    if (!elsewhere && !find_running(call->xapid->tasks, ref, true)) {
        /* A client's own task: nobody else will end it. */
        struct end end = {ref, err_task_cancelled(call, call_ref(call, ref)), NULL};

        TRY(db_update(call, end_txn, &end));
    }
    return OK;
}

struct error *task_destroy(struct call *call, const struct task_destroy_args *args)
{
    const struct task *task;
    struct db_destroy destroy = {CLASS_task, args->self};

    TRY(DB_GET(call, task, args->self, &task));
    TRY(check_owner(call, task, "task.destroy/any"));
    return db_update(call, db_destroy_txn, &destroy);
}

struct set_status {
    ref_t ref;
    enum task_status_type status;
};

static struct error *set_status_txn(struct txn *txn, void *arg)
{
    const struct set_status *s = arg;
    const struct task *task;

    TRY(TXN_GET(txn, task, s->ref, &task));
    TXN_SET(txn, task, s->ref, status, s->status);
    if (s->status != TASK_PENDING && s->status != TASK_CANCELLING) {
        TXN_SET(txn, task, s->ref, finished, clock_wall());
        TXN_SET(txn, task, s->ref, progress, 1.0);
    }
    return OK;
}

struct error *task_set_status(struct call *call, const struct task_set_status_args *args)
{
    struct set_status s = {args->self, args->value};
    const struct task *task;

    TRY(DB_GET(call, task, args->self, &task));
    TRY(check_owner(call, task, "task.set_status"));
    return db_update(call, set_status_txn, &s);
}

static struct error *set_own_field(struct call *call, ref_t self, int field_id, const void *value)
{
    struct db_set set = {field_id, self, value};
    const struct task *task;

    TRY(DB_GET(call, task, self, &task));
    TRY(check_owner(call, task, api_fields[field_id].name));
    return db_update(call, db_set_txn, &set);
}

struct error *task_set_progress(struct call *call, const struct task_set_progress_args *args)
{
    return set_own_field(call, args->self, FIELD_task_progress, &args->value);
}

struct error *task_set_result(struct call *call, const struct task_set_result_args *args)
{
    return set_own_field(call, args->self, FIELD_task_result, &args->value);
}

struct error *task_set_error_info(struct call *call, const struct task_set_error_info_args *args)
{
    return set_own_field(call, args->self, FIELD_task_error_info, &args->value);
}

struct error *task_set_other_config(struct call *call,
                                    const struct task_set_other_config_args *args)
{
    return set_own_field(call, args->self, FIELD_task_other_config, &args->value);
}

struct error *task_add_to_other_config(struct call *call,
                                       const struct task_add_to_other_config_args *args)
{
    struct db_member m = {FIELD_task_other_config, args->self, &args->key, &args->value};

    return db_update(call, db_map_add_txn, &m);
}

struct error *task_remove_from_other_config(struct call *call,
                                            const struct task_remove_from_other_config_args *args)
{
    struct db_member m = {FIELD_task_other_config, args->self, &args->key, NULL};

    return db_update(call, db_map_remove_txn, &m);
}

/*** housekeeping ***/

static bool is_pending(const struct task *t)
{
    return t->status == TASK_PENDING || t->status == TASK_CANCELLING;
}

void tasks_recover(struct call *call)
{
    struct db_walk walk;
    const struct task *t;
    struct db_snap *snap;

    call_refresh(call);
    snap = db_snap_ref(call->snap);
    db_walk(snap, CLASS_task, &walk);
    while ((t = db_walk_next(&walk))) {
        struct end end;

        if (!is_pending(t) || !ref_equal(t->resident_on, call->xapid->host))
            continue;
        end = (struct end){
            t->ref,
            err_internal_error(call, "xapid ended while the task ran, and what it did was undone"),
            NULL};
        error_ignore(db_update(call, end_txn, &end)); /* a failing database was reported already */
    }
    db_snap_unref(snap);
}

struct error *txn_tasks_lost(struct txn *txn, ref_t host)
{
    struct call *call = txn_call(txn);
    struct end end = {.error = err_cannot_contact_host(call, call_ref(call, host))};
    const struct task *t;
    struct db_walk walk;

    db_walk(txn_snap(txn), CLASS_task, &walk);
    while ((t = db_walk_next(&walk))) {
        end.ref = t->ref;
        if (is_pending(t) && ref_equal(t->resident_on, host))
            TRY(end_txn(txn, &end));
    }
    return OK;
}

static int oldest_first(const void *a, const void *b)
{
    const struct task *x = *(const struct task *const *)a, *y = *(const struct task *const *)b;

    return x->finished < y->finished ? -1 : x->finished > y->finished;
}

/* Of this host, or of one that is no more where this member is the coordinator. */
static bool is_ours(const struct call *call, const struct task *t, bool leads)
{
    return ref_equal(t->resident_on, call->xapid->host) || (leads && !is_elsewhere(call, t));
}

/* A client's own task that was cancelled on another member: nobody else will end it. */
static void end_cancelled(struct call *call, const struct task *t)
{
    struct end end = {t->ref, err_task_cancelled(call, call_ref(call, t->ref)), NULL};

    if (!find_running(call->xapid->tasks, t->ref, false))
        error_ignore(db_update(call, end_txn, &end)); /* tried again in half a minute */
}

struct doomed {
    size_t n;
    const struct task **v;
};

static struct error *collect_txn(struct txn *txn, void *arg)
{
    const struct doomed *d = arg;

    for (size_t i = 0; i < d->n; i++)
        if (txn_find(txn, CLASS_task, d->v[i]->ref))
            txn_destroy(txn, CLASS_task, d->v[i]->ref);
    return OK;
}

void tasks_collect(struct call *call)
{
    usec_t now = clock_wall();
    struct doomed doomed = {0};
    struct db_walk walk;
    const struct task *t, **completed;
    bool leads = db_leads(call->xapid->db);
    struct db_snap *snap;
    size_t n = 0;

    call_refresh(call);
    snap = db_snap_ref(call->snap);
    completed = arena_array(call->arena, const struct task *,
                            snap_root(snap)->tables[CLASS_task].count + 1);
    doomed.v = arena_array(call->arena, const struct task *,
                           snap_root(snap)->tables[CLASS_task].count + 1);
    db_walk(snap, CLASS_task, &walk);
    while ((t = db_walk_next(&walk))) {
        if (!is_pending(t))
            completed[n++] = t;
        else if (!is_ours(call, t, leads))
            continue;
        else if (t->created < now - KEEP_PENDING && !find_running(call->xapid->tasks, t->ref, true))
            doomed.v[doomed.n++] = t;
        else if (t->status == TASK_CANCELLING)
            end_cancelled(call, t);
    }
    /* One member counts for all. */
    if (!leads)
        n = 0;
    qsort(completed, n, sizeof *completed, oldest_first);
    for (size_t i = 0; i < n; i++)
        if (n - i > MAX_COMPLETED || completed[i]->finished < now - KEEP_COMPLETED)
            doomed.v[doomed.n++] = completed[i];
    if (doomed.n)
        error_ignore(db_update(call, collect_txn, &doomed)); /* tried again in half a minute */
    db_snap_unref(snap);
}
