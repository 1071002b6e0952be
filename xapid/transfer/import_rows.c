/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/transfer/import_rows.h"

#include <stdio.h>
#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/db/row.h"
#include "xapid/ops/faults.h"
#include "xapid/ops/intent.h"
#include "xapid/ops/network/bridge.h"
#include "xapid/ops/vm/gone.h"
#include "xapid/task/task.h"

/* Key of a VM's and a network's other_config while the import goes on: clients find by it what
 * becomes of theirs. */
#define IMPORT_TASK_KEY "import_task"

static const int blocked_vdi = VDI_OP_BLOCKED, importing_vm = VM_OP_IMPORT;

/*** making ***/

struct family {
    const struct op *op;
    const struct import_plan *plan;
    ref_t ref;        /* of its machine */
    bool first, last; /* the first makes what belongs to none, the last tells the task */
};

static void make_networks(struct txn *txn, const struct family *f)
{
    for (size_t i = 0; i < f->plan->n_networks; i++) {
        struct network row = f->plan->networks[i];

        row.bridge = network_free_bridge(txn, (int)i);
        row.other_config =
            strmap_with(txn_arena(txn), row.other_config, IMPORT_TASK_KEY, f->op->task_key);
        txn_create(txn, CLASS_network, &row);
    }
}

static struct error *make_disks(struct txn *txn, const struct family *f)
{
    for (size_t i = 0; i < f->plan->n_disks; i++) {
        const struct import_disk *disk = &f->plan->disks[i];

        if (!ref_equal(disk->family, f->ref) && !(f->first && ref_is_null(disk->family)))
            continue;
        TRY(txn_vdi_made(txn, &f->plan->made.v[i], &f->plan->made.made[i]));
        txn_map_put(txn, FIELD_vdi_current_operations, disk->vdi, &f->op->task_key, &blocked_vdi);
        if (disk->is_a_snapshot) {
            TXN_SET(txn, vdi, disk->vdi, is_a_snapshot, true);
            TXN_SET(txn, vdi, disk->vdi, snapshot_time, disk->snapshot_time);
        }
    }
    return OK;
}

static void make_vm(struct txn *txn, const struct family *f, const struct import_vm *vm)
{
    struct vm row = vm->row;

    row.other_config =
        strmap_with(txn_arena(txn), row.other_config, IMPORT_TASK_KEY, f->op->task_key);
    txn_create(txn, CLASS_vm_metrics, &vm->metrics);
    if (vm->has_guest_metrics)
        txn_create(txn, CLASS_vm_guest_metrics, &vm->guest_metrics);
    txn_create(txn, CLASS_vm, &row);
    txn_map_put(txn, FIELD_vm_current_operations, row.ref, &f->op->task_key, &importing_vm);
}

static struct error *make_family(struct txn *txn, void *arg)
{
    const struct family *f = arg;
    const struct import_plan *p = f->plan;

    if (f->first)
        make_networks(txn, f);
    TRY(make_disks(txn, f));
    for (size_t i = 0; i < p->n_vms; i++)
        if (ref_equal(p->vms[i].family, f->ref))
            make_vm(txn, f, &p->vms[i]);
    for (size_t i = 0; i < p->n_vbds; i++)
        if (ref_equal(p->vbd_families[i], f->ref))
            txn_create(txn, CLASS_vbd, &p->vbds[i]);
    for (size_t i = 0; i < p->n_vifs; i++)
        if (ref_equal(p->vif_families[i], f->ref))
            txn_create(txn, CLASS_vif, &p->vifs[i]);
    return OK;
}

/* Disks of several families may be snapshots of each other. */
static struct error *tie_disks(struct txn *txn, void *arg)
{
    const struct family *f = arg;
    const struct task_handle *task = txn_call(txn)->task;

    for (size_t i = 0; i < f->plan->n_disks; i++)
        if (!ref_is_null(f->plan->disks[i].snapshot_of))
            TXN_SET(txn, vdi, f->plan->disks[i].vdi, snapshot_of, f->plan->disks[i].snapshot_of);
    if (task && !ref_is_null(task->ref) && txn_find(txn, CLASS_task, task->ref))
        txn_strmap_put(txn, FIELD_task_other_config, task->ref, "object_creation", "complete");
    return OK;
}

struct error *import_rows_make(struct op *op, const struct import_plan *plan)
{
    struct family f = {.op = op, .plan = plan, .first = true};

    for (size_t i = 0; i < plan->n_vms; i++) {
        if (!ref_equal(plan->vms[i].family, plan->vms[i].row.ref))
            continue;
        f.ref = plan->vms[i].family;
        TRY(db_update(op->call, make_family, &f));
        f.first = false;
    }
    return db_update(op->call, tie_disks, &f);
}

/*** letting go ***/

/* Machines that change in one write-set, which has a limit. */
#define AT_ONCE 50

struct letting_go {
    const struct op *op;
    const struct vm_import_intent *intent;
    const struct disk_plans *disks;
    size_t from; /* of the machines, and then of the places that are taken */
};

static void let_go_of_others(struct txn *txn, const struct letting_go *l)
{
    for (size_t i = 0; i < l->disks->n; i++)
        if (txn_find(txn, CLASS_vdi, l->disks->v[i].vdi))
            txn_map_remove(txn, FIELD_vdi_current_operations, l->disks->v[i].vdi, &l->intent->task);
    for (size_t i = 0; i < l->intent->networks.n; i++)
        if (txn_find(txn, CLASS_network, l->intent->networks.v[i]))
            txn_strmap_remove(txn, FIELD_network_other_config, l->intent->networks.v[i],
                              IMPORT_TASK_KEY);
}

static void let_go_of_vm(struct txn *txn, const struct vm_import_intent *intent, ref_t vm)
{
    if (!txn_find(txn, CLASS_vm, vm))
        return;
    txn_map_remove(txn, FIELD_vm_current_operations, vm, &intent->task);
    txn_strmap_remove(txn, FIELD_vm_other_config, vm, IMPORT_TASK_KEY);
}

/* A machine gets the uuid that it had, and the one that has it goes. */
static struct error *take_place(struct txn *txn, const char *text)
{
    char vm_text[REF_TEXT_SIZE], uuid[UUID_TEXT_SIZE], old_text[REF_TEXT_SIZE];
    const char *value = uuid;
    ref_t vm, old;

    if (sscanf(text, "%47s %36s %47s", vm_text, uuid, old_text) != 3 ||
        !ref_from_text(vm_text, &vm) || !ref_from_text(old_text, &old))
        return error_internal(txn_call(txn)->arena, "the intent's machines cannot be read");
    txn_vm_gone(txn, old);
    if (txn_find(txn, CLASS_vm, vm))
        txn_set_value(txn, FIELD_vm_uuid, vm, &value);
    return OK;
}

static struct error *let_go(struct txn *txn, void *arg)
{
    const struct letting_go *l = arg;
    const struct vm_import_intent *intent = l->intent;
    size_t n = intent->vms.n;

    if (l->from == 0)
        let_go_of_others(txn, l);
    for (size_t i = l->from; i < MIN(l->from + AT_ONCE, n + intent->takes.n); i++)
        if (i < n)
            let_go_of_vm(txn, intent, intent->vms.v[i]);
        else
            TRY(take_place(txn, intent->takes.v[i - n]));
    return OK;
}

static struct error *mark_complete(struct txn *txn, void *arg)
{
    const struct letting_go *l = arg;
    struct vm_import_intent complete = *l->intent;

    complete.complete = true;
    TXN_SET(txn, intent, l->op->intent, data,
            intent_to_text(txn_arena(txn), l->op->kind, &complete));
    return OK;
}

/* From here on it is finished, if not by us then by the next start. */
static struct error *complete(struct op *op, struct letting_go *l)
{
    struct error *e = db_update(op->call, mark_complete, l);

    op->unknown |= !e || db_outcome_is_unknown(e);
    if (!e)
        faults_step_ignored(op->call, "vm_import", "complete");
    return e;
}

struct error *import_rows_finish(struct op *op, const struct vm_import_intent *intent)
{
    size_t n = intent->vms.n + intent->takes.n;
    struct disk_plans disks;
    struct letting_go l = {op, intent, &disks, 0};

    if (!disk_plans_read(op->call->arena, &intent->disks, &disks))
        return error_internal(op->call->arena, "the intent's list of disks cannot be read");
    if (n > AT_ONCE && !intent->complete)
        TRY(complete(op, &l));
    for (; n - l.from > AT_ONCE; l.from += AT_ONCE) {
        TRY(db_update(op->call, let_go, &l));
        faults_step_ignored(op->call, "vm_import", "letting-go");
    }
    return op_commit(op, let_go, &l);
}

/*** removing ***/

static bool among(const struct refs *refs, ref_t ref)
{
    for (size_t i = 0; i < refs->n; i++)
        if (ref_equal(refs->v[i], ref))
            return true;
    return false;
}

/* Somebody else may have found a use for it. */
static void drop_network(struct txn *txn, const struct vm_import_intent *intent, ref_t network)
{
    struct refs vifs = txn_referrers(txn, FIELD_vif_network, network);

    for (size_t i = 0; i < vifs.n; i++) {
        const struct vif *vif = txn_find(txn, CLASS_vif, vifs.v[i]);

        if (vif && !among(&intent->vms, vif->vm))
            return;
    }
    if (txn_find(txn, CLASS_network, network))
        txn_destroy(txn, CLASS_network, network);
}

/* Its devices go with their machines; those of others, which nobody should have made, with it. */
static void drop_disk(struct txn *txn, const struct vm_import_intent *intent, ref_t vdi)
{
    struct refs vbds = txn_referrers(txn, FIELD_vbd_vdi, vdi);

    for (size_t i = 0; i < vbds.n; i++) {
        const struct vbd *vbd = txn_find(txn, CLASS_vbd, vbds.v[i]);

        if (vbd && !among(&intent->vms, vbd->vm))
            txn_destroy(txn, CLASS_vbd, vbd->ref);
    }
    if (txn_find(txn, CLASS_vdi, vdi))
        txn_destroy(txn, CLASS_vdi, vdi);
}

struct drop {
    const struct vm_import_intent *intent;
    const struct disk_plans *plans;
    size_t from;
};

static struct error *drop_vms(struct txn *txn, void *arg)
{
    const struct drop *d = arg;

    for (size_t i = d->from; i < MIN(d->from + AT_ONCE, d->intent->vms.n); i++)
        txn_vm_gone(txn, d->intent->vms.v[i]);
    return OK;
}

static struct error *drop_the_rest(struct txn *txn, void *arg)
{
    const struct drop *d = arg;

    for (size_t i = 0; i < d->plans->n; i++)
        drop_disk(txn, d->intent, d->plans->v[i].vdi);
    for (size_t i = 0; i < d->intent->networks.n; i++)
        drop_network(txn, d->intent, d->intent->networks.v[i]);
    return OK;
}

struct error *import_rows_drop(struct call *call, const struct vm_import_intent *intent)
{
    struct disk_plans plans;
    struct drop d;

    if (!disk_plans_read(call->arena, &intent->disks, &plans))
        return error_internal(call->arena, "the intent's list of disks cannot be read");
    d = (struct drop){intent, &plans, 0};
    for (; d.from < intent->vms.n; d.from += AT_ONCE)
        TRY(db_update(call, drop_vms, &d));
    TRY(db_update(call, drop_the_rest, &d));
    return disk_plans_unmake(call, &plans);
}

static struct strings takes_of(struct call *call, const struct import_plan *plan)
{
    const char **v = arena_array(call->arena, const char *, plan->n_vms + 1);
    size_t n = 0;

    for (size_t i = 0; i < plan->n_vms; i++)
        if (plan->vms[i].uuid)
            v[n++] = arena_printf(call->arena, "%s %s %s", call_ref(call, plan->vms[i].row.ref),
                                  plan->vms[i].uuid, call_ref(call, plan->vms[i].replaces));
    return (struct strings){n, v};
}

struct vm_import_intent import_rows_intent(struct call *call, const struct import_plan *plan,
                                           const char *task)
{
    ref_t *vms = arena_array(call->arena, ref_t, plan->n_vms + 1);
    ref_t *networks = arena_array(call->arena, ref_t, plan->n_networks + 1);

    for (size_t i = 0; i < plan->n_vms; i++)
        vms[i] = plan->vms[i].row.ref;
    for (size_t i = 0; i < plan->n_networks; i++)
        networks[i] = plan->networks[i].ref;
    return (struct vm_import_intent){.vms = {plan->n_vms, vms},
                                     .networks = {plan->n_networks, networks},
                                     .disks = disk_plans_text(call->arena, &plan->made),
                                     .takes = takes_of(call, plan),
                                     .task = task};
}
