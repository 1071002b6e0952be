/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/network/change.h"

#include <stdlib.h>
#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/host/here.h"
#include "xapid/ops/network/guards.h"
#include "xapid/ops/network/observe.h"
#include "xapid/ops/network/offload.h"
#include "xapid/ops/network/pif.h"
#include "xapid/ops/network/trial.h"
#include "xapid/ops/network/vif_move.h"
#include "xapid/ops/network/wanted.h"
#include "xapid/ops/op.h"

/* A network without a PIF that was made ready for a machine keeps its bridge for so long, until the
 * machine's record says that it is used. */
#define PROMISE_KEPT (10 * 60 * USEC_PER_SEC)
#define MAX_PROMISES 256

struct host_network {
    struct net_kernel *kernel;
    bool simulated, vswitch;
    bool guarded; /* atomic */
    struct mutex lock;
    struct cond turn;
    bool busy; /* somebody changes the network, or reads it to that end: the rest is theirs */
    size_t n_promises;
    struct promise {
        ref_t network;
        usec_t until; /* monotonic */
    } promises[MAX_PROMISES];
};

struct error *host_network_new(struct arena *arena, struct xapid *xapid, struct host_network **out)
{
    const char *which = xapid->options.network;
    const char *model = arena_printf(arena, "%s/network", xapid->options.state_dir);
    struct net_kernel *kernel;
    bool simulated = strcmp(which, "none") == 0, vswitch = strcmp(which, "ovs") == 0;
    struct net_linux_paths paths = {0};

    if (!simulated && !vswitch && strcmp(which, "linux") != 0)
        return error_internal(arena, "--network is linux, ovs or none, not '%s'", which);
    TRY(simulated ? net_sim_new(arena, model, &kernel)
        : vswitch ? net_ovs_new(arena, &paths, &kernel)
                  : net_linux_new(arena, &paths, &kernel));
    *out = xcalloc(1, sizeof **out);
    (*out)->kernel = kernel;
    (*out)->simulated = simulated;
    (*out)->vswitch = vswitch;
    mutex_init(&(*out)->lock);
    cond_init(&(*out)->turn);
    return OK;
}

void host_network_free(struct host_network *n)
{
    if (!n)
        return;
    net_kernel_free(n->kernel);
    mutex_release(&n->lock);
    cond_release(&n->turn);
    free(n);
}

bool host_network_is_simulated(const struct host_network *n)
{
    return n->simulated;
}

bool host_network_is_vswitch(const struct host_network *n)
{
    return n && n->vswitch; /* tests have none */
}

bool host_network_is_guarded(const struct host_network *n)
{
    return __atomic_load_n(&n->guarded, __ATOMIC_ACQUIRE);
}

void host_network_guard(struct host_network *n)
{
    __atomic_store_n(&n->guarded, true, __ATOMIC_RELEASE);
}

/*** one after the other ***/

struct turn {
    struct host_network *network;
};

static void turn_release(struct turn *t)
{
    if (!t->network)
        return;
    MUTEX_GUARD(&t->network->lock);
    t->network->busy = false;
    cond_signal(&t->network->turn);
}

static struct error *turn_take(struct call *call, struct turn *out)
{
    struct host_network *n = call->xapid->network;
    usec_t deadline = clock_mono() + call->xapid->options.op_wait;
    bool mine;

    mutex_lock(&n->lock);
    while (n->busy && cond_wait_until(&n->turn, &n->lock, deadline))
        ;
    mine = !n->busy;
    n->busy = true;
    mutex_unlock(&n->lock);
    if (!mine)
        return err_other_operation_in_progress(call, "host", call_ref(call, call->xapid->host), "",
                                               "");
    out->network = n;
    call_refresh(call);
    return OK;
}

struct error *host_network_read(struct call *call, struct net_state *out)
{
    AUTO(turn) turn = {0};

    TRY(turn_take(call, &turn));
    return net_read(turn.network->kernel, call->arena, out);
}

/*** promises ***/

static struct refs promised(struct arena *arena, const struct host_network *n)
{
    ref_t *v = arena_array(arena, ref_t, n->n_promises + 1);
    size_t count = 0;

    for (size_t i = 0; i < n->n_promises; i++)
        if (n->promises[i].until > clock_mono())
            v[count++] = n->promises[i].network;
    return (struct refs){count, v};
}

/* In the place of the same one, or of the one that ends first, where there is no other. */
static void promise(struct host_network *n, ref_t network)
{
    struct promise *place = &n->promises[0];

    for (size_t i = 0; i < n->n_promises; i++) {
        struct promise *p = &n->promises[i];

        if (ref_equal(p->network, network) || p->until < place->until)
            place = p;
        if (ref_equal(p->network, network))
            break;
    }
    if (!ref_equal(place->network, network) && n->n_promises < MAX_PROMISES)
        place = &n->promises[n->n_promises++];
    *place = (struct promise){network, clock_mono() + PROMISE_KEPT};
}

/*** bringing the host to what a model says ***/

static void want(struct net_model *m, struct net_wanted *out)
{
    const struct host_network *n = m->call->xapid->network;
    struct refs kept = promised(m->arena, n);

    network_wanted(m, (n->simulated ? NETWORK_BY_NAME : 0) | (n->vswitch ? NETWORK_IN_BRIDGES : 0),
                   &kept, out);
}

/* The driver knows names of devices, clients know PIFs. */
static struct error *name_pif(struct net_model *m, struct error *e)
{
    const struct pif *pif;
    size_t i = 0;

    if (!error_is(e, "PIF_CONFIGURATION_ERROR") || !e->n_params)
        return e;
    while ((pif = model_next(m, CLASS_pif, &i))) {
        const struct network *network = model_find(m, CLASS_network, pif->network);

        if (ref_equal(pif->host, m->host) &&
            (strcmp(pif->device, e->params[0]) == 0 ||
             (network && strcmp(network->bridge, e->params[0]) == 0)))
            return err_pif_configuration_error(m->call, call_ref(m->call, pif->ref),
                                               e->n_params > 1 ? e->params[1] : "");
    }
    return e;
}

static struct error *make_plan(struct net_model *m, struct net_plan *plan)
{
    struct host_network *n = m->call->xapid->network;
    struct net_wanted wanted;
    struct net_state present;

    want(m, &wanted);
    TRY(net_read(n->kernel, m->arena, &present));
    TRY(name_pif(m, net_plan(m->arena, &wanted, &present, plan)));
    for (size_t i = 0; i < plan->n_notes; i++)
        log_info("network: %s", plan->notes[i]);
    return OK;
}

static struct error *apply(struct net_model *m, const struct net_plan *plan)
{
    for (size_t i = 0; i < plan->n_steps; i++)
        log_info("network: %s", net_step_text(m->arena, &plan->steps[i]));
    return name_pif(m, net_apply(m->call->xapid->network->kernel, m->arena, plan));
}

/* To be called by who has the turn. */
static struct error *follow_records(struct call *call)
{
    struct net_model m;
    struct net_plan plan;

    call_refresh(call);
    model_load(&m, call, NULL, call->xapid->host);
    TRY(make_plan(&m, &plan));
    return apply(&m, &plan);
}

/*** a change ***/

struct change {
    ref_t host;
    net_change_fn *fn;
    void *arg;
    const struct net_state *state; /* after it; NULL: records only */
};

static struct error *record(struct txn *txn, void *arg)
{
    const struct change *c = arg;
    struct net_model m;

    model_load(&m, txn_call(txn), txn, c->host);
    TRY(c->fn(&m, c->arg));
    if (c->state)
        observe_addresses(&m, c->state);
    model_write(&m);
    return OK;
}

struct error *network_record(struct call *call, ref_t host, net_change_fn *fn, void *arg)
{
    return db_update(call, record, &(struct change){host, fn, arg, NULL});
}

/* Guard: the host may be where the records will not be. */
struct changed {
    struct op *op;
    struct refs moved;
};

static void changed_release(struct changed *c)
{
    struct error *e;

    if (!c->op || !op_may_undo(c->op))
        return;
    e = follow_records(c->op->call);
    if (!e)
        e = vifs_move_back(c->op, &c->moved);
    if (!e)
        return;
    log_error("the host's network is not what its records say, until the next start: %s",
              error_line(c->op->call->arena, e));
    c->op->unknown = true; /* keeps the intent for recovery */
}

static struct error *carry_out(struct op *op, struct net_model *m, const struct net_plan *plan,
                               const struct refs *moved)
{
    struct call *call = op->call;
    AUTO(trial) trial = {0};

    TRY(op_step(op, "planned", 0.1));
    trial_begin(call, m, plan, &trial);
    TRY(apply(m, plan));
    TRY(op_step(op, "applied", 0.5));
    TRY(vifs_move(op, m, moved));
    TRY(op_step(op, "moved", 0.7));
    TRY(name_pif(m, trial_wait(call, &trial, call->xapid->network->kernel)));
    return op_step(op, "reached", 0.9);
}

struct error *network_change(struct call *call, ref_t host, net_change_fn *fn, void *arg)
{
    struct host_network_intent intent = {.host = host};
    struct change change = {host, fn, arg, NULL};
    AUTO(turn) turn = {0};
    AUTO(op) op = {0};
    AUTO(changed) changed = {0};
    struct net_model m;
    struct net_plan plan;
    struct net_state state;

    TRY(host_check_here(call, host));
    TRY(turn_take(call, &turn));
    model_load(&m, call, NULL, host);
    TRY(fn(&m, arg));
    TRY(make_plan(&m, &plan));
    intent.vifs = vifs_that_move(&m);
    TRY(op_begin(call, &(struct op_spec){.kind = INTENT_host_network, .intent = &intent}, &op));
    changed = (struct changed){&op, intent.vifs};
    TRY(carry_out(&op, &m, &plan, &intent.vifs));
    TRY(net_read(turn.network->kernel, call->arena, &state));
    change.state = &state;
    TRY(op_commit(&op, record, &change));
    changed.op = NULL;
    return OK;
}

struct error *host_network_recover(struct call *call, struct op *op,
                                   const struct host_network_intent *intent)
{
    struct error *e = follow_records(call);

    /* Links that cannot be made now cannot be made at the next start either: that must not keep the
     * intent for ever. */
    if (e)
        log_error("a change of the host's network was cut short: %s", error_line(call->arena, e));
    TRY(vifs_move_back(op, &intent->vifs));
    return op_commit(op, NULL, NULL);
}

/*** at start, and later ***/

void network_settle(struct call *call)
{
    AUTO(turn) turn = {0};
    struct error *e = turn_take(call, &turn);

    if (!e)
        e = follow_records(call);
    if (e)
        log_error("the host's network is not what its records say: %s", error_line(call->arena, e));
    offload_settle(call);
}

static bool has_bridge(const struct net_wanted *wanted, const char *name)
{
    for (size_t i = 0; i < wanted->n_bridges; i++)
        if (strcmp(wanted->bridges[i].name, name) == 0)
            return true;
    return false;
}

/* A bridge that was made here for machines that are gone. */
static bool has_idle_bridge(const struct net_wanted *wanted, const struct net_state *state)
{
    for (size_t i = 0; i < state->n_links; i++)
        if (state->links[i].kind == NET_BRIDGE && state->links[i].ours &&
            !has_bridge(wanted, state->links[i].name))
            return true;
    return false;
}

static struct error *look_after(struct call *call)
{
    AUTO(turn) turn = {0};
    struct net_wanted wanted;
    struct net_state state;
    struct net_model m;

    TRY(turn_take(call, &turn));
    model_load(&m, call, NULL, call->xapid->host);
    want(&m, &wanted);
    TRY(net_read(turn.network->kernel, call->arena, &state));
    if (has_idle_bridge(&wanted, &state))
        TRY(follow_records(call));
    return observe(call, &state);
}

void network_look_after(struct call *call)
{
    struct error *e = look_after(call);

    if (e)
        log_warning("the host's network was not looked after: %s", error_line(call->arena, e));
    guards_settle(call, false);
}

/*** for machines ***/

/* A network of this host alone: its bridge is there while somebody needs it (wanted.c). */
static struct error *make_bridge(struct call *call, const struct network *network)
{
    AUTO(turn) turn = {0};
    struct net_state state;

    TRY(turn_take(call, &turn));
    promise(turn.network, network->ref);
    TRY(net_read(turn.network->kernel, call->arena, &state));
    return net_link_find(&state, network->bridge) ? OK : follow_records(call);
}

struct error *network_make_ready(struct call *call, ref_t ref)
{
    const struct network *network;
    const struct pif *pif;
    struct net_model m;

    model_load(&m, call, NULL, call->xapid->host);
    TRY(MODEL_GET(&m, network, ref, &network));
    if (!network->managed)
        return OK;
    pif = model_pif_on(&m, ref);
    if (!pif)
        return make_bridge(call, network);
    return pif->currently_attached ? OK : pif_bring_up(call, pif->ref);
}
