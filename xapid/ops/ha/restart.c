/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/ha/restart.h"

#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "xapid/db/row.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/ha/facts.h"
#include "xapid/ops/ha/state.h"
#include "xapid/ops/message.h"
#include "xapid/ops/vm/placement.h"
#include "xapid/ops/vm/power.h"
#include "xapid/task/task.h"

/* After a first failure soon, for what a dead host held may only take a while to become free (its
 * locks on a file server); then after twice as long each time. */
#define AGAIN_FIRST (10 * USEC_PER_SEC)
#define AGAIN_MOST (120 * USEC_PER_SEC)
#define FORGOTTEN_AFTER (600 * USEC_PER_SEC)
#define TRIES 2 /* of a VM that is only tried */

struct error *txn_coordinator_check(struct txn *txn)
{
    struct call *call = txn_call(txn);
    const struct coordinator *row;
    struct db_walk walk;

    db_walk(txn_snap(txn), CLASS_coordinator, &walk);
    row = db_walk_next(&walk);
    if (row && txn_find(txn, CLASS_coordinator, row->ref) &&
        ref_equal(row->host, call->xapid->host) && db_leads(call->xapid->db))
        return OK;
    return error_internal(call->arena, "this host is not the pool's coordinator");
}

/*** what came of the rows of the last step ***/

static struct ha_failed *find_failed(struct ha_memory *m, ref_t vm)
{
    for (size_t i = 0; i < m->n_failed; i++)
        if (ref_equal(m->failed[i].vm, vm))
            return &m->failed[i];
    return NULL;
}

static bool failed_lately(struct ha_memory *m, ref_t vm)
{
    const struct ha_failed *f = find_failed(m, vm);

    return f && clock_mono() - f->at < f->wait;
}

static void note_failed(struct call *call, struct ha_memory *m, ref_t ref, const char *why)
{
    const struct vm *vm = db_find(call, CLASS_vm, ref);
    struct ha_failed *f = find_failed(m, ref);
    usec_t now = clock_mono(), wait = AGAIN_FIRST;

    if (f && now - f->at < FORGOTTEN_AFTER)
        wait = MIN(2 * f->wait, AGAIN_MOST);
    if (!f)
        f = &m->failed[m->n_failed < HA_RESTARTS_MAX ? m->n_failed++ : 0];
    *f = (struct ha_failed){ref, now, wait};
    if (!vm)
        return;
    log_warning("HA: protected VM %s (%s) could not be started: %s", vm->uuid, vm->name_label, why);
    alert_create(call, "HA_PROTECTED_VM_RESTART_FAILED", CLS_VM, vm->uuid,
                 arena_printf(call->arena, "The protected VM '%s' could not be started: %s.",
                              vm->name_label, why));
}

static void look_at_finished(struct call *call, struct ha_memory *m)
{
    for (size_t i = 0; i < m->n_waiting; i++) {
        const struct ha_waiting *w = &m->waiting[i];
        const struct vm *vm = db_find(call, CLASS_vm, w->vm);

        if (!vm || db_find(call, CLASS_ha_restart, w->row))
            continue;
        if (vm->power_state == VM_HALTED && !ha_takes_vms(call, call->snap, w->host))
            continue; /* it died with the host that was to start it: the next one may at once */
        if (vm->power_state != VM_HALTED)
            m->not_before = MAX(m->not_before, clock_mono() + vm->start_delay * USEC_PER_SEC);
        else if (!w->best_effort && ha_protects(vm))
            note_failed(call, m, vm->ref, "the log of the host that tried says why");
    }
}

static void remember_waiting(struct call *call, struct ha_memory *m)
{
    const struct ha_restart *row;
    struct db_walk walk;

    m->n_waiting = 0;
    db_walk(call->snap, CLASS_ha_restart, &walk);
    while ((row = db_walk_next(&walk)) && m->n_waiting < HA_RESTARTS_MAX)
        m->waiting[m->n_waiting++] =
            (struct ha_waiting){row->ref, row->vm, row->host, row->best_effort};
}

/*** who is next ***/

struct step {
    struct ha_memory *memory;
    struct refs no_place; /* out: VMs that fit nowhere */
    uint64_t hosts;       /* out: a sum of those that can take VMs */
};

/* The row of a VM; NULL if there is none. */
static const struct ha_restart *row_of(struct txn *txn, ref_t vm)
{
    struct refs rows = txn_referrers(txn, FIELD_ha_restart_vm, vm);

    return rows.n ? txn_find(txn, CLASS_ha_restart, rows.v[0]) : NULL;
}

static bool is_to_start(struct txn *txn, struct ha_memory *m, const struct vm *vm)
{
    return vm->power_state == VM_HALTED && !vm->current_operations.n &&
           ref_is_null(vm->scheduled_to_be_resident_on) && !row_of(txn, vm->ref) &&
           !failed_lately(m, vm->ref);
}

/* The first of the protected VMs that is to be started or being started; NULL if none is.  They
 * come in their order. */
static const struct vm *first_not_running(struct txn *txn, struct ha_memory *m,
                                          const struct ha_facts *facts)
{
    for (size_t i = 0; i < facts->problem.n_vms; i++)
        if (row_of(txn, facts->vms[i]->ref) || is_to_start(txn, m, facts->vms[i]))
            return facts->vms[i];
    return NULL;
}

static void send_to(struct txn *txn, const struct vm *vm, const struct host *host)
{
    struct ha_restart row;

    /* What the facts say of it has to be so still: somebody may be starting it just now. */
    if (!txn_find(txn, CLASS_vm, vm->ref))
        return;
    row_defaults(&api_classes[CLASS_ha_restart], &row);
    row.ref = ref_new();
    row.vm = vm->ref;
    row.host = host->ref;
    txn_create(txn, CLASS_ha_restart, &row);
    TXN_SET(txn, vm, vm->ref, scheduled_to_be_resident_on, host->ref);
    log_info("HA: protected VM %s (%s) is to be started on host %s", vm->uuid, vm->name_label,
             host->uuid);
}

static void send_group(struct txn *txn, struct step *step, const struct ha_facts *facts,
                       int64_t order)
{
    int *to = arena_array(txn_arena(txn), int, facts->problem.n_vms + 1);
    ref_t *lost = arena_array(txn_arena(txn), ref_t, facts->problem.n_vms + 1);
    size_t rows = snap_root(txn_snap(txn))->tables[CLASS_ha_restart].count;

    step->no_place = (struct refs){0, lost};
    ha_plan(txn_arena(txn), &facts->problem, 0, to);
    for (size_t i = 0; i < facts->problem.n_vms && rows < HA_RESTARTS_MAX; i++) {
        const struct vm *vm = facts->vms[i];

        if (vm->order != order || !is_to_start(txn, step->memory, vm))
            continue;
        if (to[i] >= 0) {
            send_to(txn, vm, facts->hosts[to[i]]);
            rows++;
        } else {
            lost[step->no_place.n++] = vm->ref;
        }
    }
}

/* One at a time, so that each sees what the one before has taken. */
static void send_best_effort(struct txn *txn, const struct ha_facts *facts)
{
    const struct place_rules rules = {.memory = true, .enabled = true};
    const struct ha_restart *row;
    struct db_walk walk;

    db_walk(txn_snap(txn), CLASS_ha_restart, &walk);
    while ((row = db_walk_next(&walk))) {
        const struct vm *vm = txn_find(txn, CLASS_vm, row->vm);

        if (!ref_is_null(row->host) || !txn_find(txn, CLASS_ha_restart, row->ref))
            continue;
        if (!vm || vm->power_state != VM_HALTED) {
            txn_destroy(txn, CLASS_ha_restart, row->ref);
            continue;
        }
        for (size_t i = 0; i < facts->problem.n_hosts; i++) {
            if (host_can_run(txn_call(txn), txn_snap(txn), facts->hosts[i], vm, rules))
                continue;
            TXN_SET(txn, ha_restart, row->ref, host, facts->hosts[i]->ref);
            TXN_SET(txn, vm, vm->ref, scheduled_to_be_resident_on, facts->hosts[i]->ref);
            return;
        }
    }
}

static uint64_t sum_of_hosts(const struct ha_facts *facts)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < facts->problem.n_hosts; i++)
        sum += facts->hosts[i]->ref.lo; /* random bits */
    return sum;
}

static struct error *step_txn(struct txn *txn, void *arg)
{
    struct step *step = arg;
    const struct vm *first;
    struct ha_facts facts;

    TRY(txn_coordinator_check(txn));
    ha_gather(txn_call(txn), txn_snap(txn), NULL, &facts);
    step->hosts = sum_of_hosts(&facts);
    first = first_not_running(txn, step->memory, &facts);
    if (first)
        send_group(txn, step, &facts, first->order);
    else
        send_best_effort(txn, &facts);
    return OK;
}

/* Whether somebody wants no restarts now. */
static bool is_quiet(struct call *call)
{
    const struct ha_state *state;
    struct db_walk walk;

    db_walk(call->snap, CLASS_ha_state, &walk);
    state = db_walk_next(&walk);
    return state && clock_wall() < state->quiet_until;
}

void ha_restart_step(struct call *call, struct ha_memory *m, bool forming)
{
    struct step step = {.memory = m};
    struct error *e;

    call_refresh(call);
    look_at_finished(call, m);
    if (!is_quiet(call) && clock_mono() >= m->not_before) {
        e = db_update(call, step_txn, &step);
        if (e)
            log_warning("HA: nothing could be restarted: %s", error_line(call->arena, e));
        call_refresh(call);
        if (!e && step.hosts != m->hosts)
            m->n_failed = 0; /* what failed without these hosts need not fail with them */
        if (!e)
            m->hosts = step.hosts;
        for (size_t i = 0; !e && !forming && i < step.no_place.n; i++)
            note_failed(call, m, step.no_place.v[i], "no host has room for it");
    }
    remember_waiting(call, m);
}

/*** on the host that was chosen ***/

struct finish {
    ref_t row;
    bool failed;
};

static struct error *finish_txn(struct txn *txn, void *arg)
{
    const struct finish *f = arg;
    const struct ha_restart *row = txn_find(txn, CLASS_ha_restart, f->row);
    const struct vm *vm = row ? txn_find(txn, CLASS_vm, row->vm) : NULL;

    if (!row || !ref_equal(row->host, txn_call(txn)->xapid->host))
        return OK;
    if (vm && vm->power_state == VM_HALTED && !vm->current_operations.n)
        TXN_SET(txn, vm, vm->ref, scheduled_to_be_resident_on, REF_NULL);
    if (!vm || !f->failed || !row->best_effort || row->tries + 1 >= TRIES) {
        txn_destroy(txn, CLASS_ha_restart, f->row);
        return OK;
    }
    TXN_SET(txn, ha_restart, f->row, host, REF_NULL);
    TXN_SET(txn, ha_restart, f->row, tries, row->tries + 1);
    return OK;
}

struct error *txn_ha_restart_wanted(struct txn *txn, void *arg)
{
    const struct ha_restart *row = txn_find(txn, CLASS_ha_restart, *(const ref_t *)arg);
    const struct vm *vm = row ? txn_find(txn, CLASS_vm, row->vm) : NULL;

    return vm && ref_equal(row->host, txn_call(txn)->xapid->host) &&
                   (row->best_effort || ha_protects(vm))
               ? OK
               : error_internal(txn_call(txn)->arena,
                                "nobody wants it to be started here any more");
}

static struct error *start(struct call *call, const struct ha_restart *row)
{
    ref_t ref = row->ref;
    struct vm_start_on_args args = {
        .vm = row->vm, .host = call->xapid->host, .force = row->best_effort};
    const struct vm *vm = db_find(call, CLASS_vm, row->vm);
    struct error *e;

    if (!vm || vm->power_state != VM_HALTED)
        return OK;
    TRY(task_begin(call, "HA restart", false, REF_NULL));
    e = vm_start_if(call, &args, txn_ha_restart_wanted, &ref);
    task_end(call, e, NULL);
    return e;
}

void ha_restart_run(struct call *call, ref_t ref)
{
    const struct ha_restart *row = db_find(call, CLASS_ha_restart, ref);
    struct error *e, *e2;
    ref_t vm;

    if (!row)
        return;
    vm = row->vm;
    e = start(call, row);
    if (e && !db_find(call, CLASS_ha_restart, ref))
        log_info("HA: VM %s is not started here: %s", call_ref(call, vm),
                 error_line(call->arena, e));
    else if (e)
        log_warning("HA: VM %s could not be started here: %s", call_ref(call, vm),
                    error_line(call->arena, e));
    e2 = db_update(call, finish_txn, &(struct finish){ref, e != OK});
    if (e2)
        log_warning("HA: that a restart has ended could not be recorded: %s",
                    error_line(call->arena, e2));
}
