/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/network/trial.h"

#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "pool/peer/peer.h"
#include "xapid/http/http.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/message.h"
#include "xapid/ops/network/change.h"
#include "xapid/ops/network/reached.h"
#include "xapid/task/task.h"

/* Between two looks at the pool's links. */
#define LOOK_EVERY (100 * USEC_PER_MSEC)

/*** is it on trial? ***/

static bool step_is_of(const struct net_plan *plan, const char *device)
{
    for (size_t i = 0; i < plan->n_steps; i++)
        if (strcmp(plan->steps[i].device, device) == 0)
            return true;
    return false;
}

/* The bridge of the management interface, or what is below it. */
static bool touches(struct net_model *m, const struct net_plan *plan)
{
    const struct pif *pif = model_management(m);
    const struct network *network = pif ? model_find(m, CLASS_network, pif->network) : NULL;
    const struct bond *bond = pif ? model_bond_of(m, pif->ref) : NULL;
    struct refs members = bond ? model_members(m, bond->ref) : (struct refs){0};

    if (!pif || !network)
        return false;
    if (step_is_of(plan, network->bridge) || step_is_of(plan, pif->device))
        return true;
    for (size_t i = 0; i < members.n; i++)
        if (step_is_of(plan, ((const struct pif *)model_find(m, CLASS_pif, members.v[i]))->device))
            return true;
    return false;
}

void trial_begin(struct call *call, struct net_model *m, const struct net_plan *plan,
                 struct trial *out)
{
    const struct pif *pif = model_management(m);
    const struct network *network = pif ? model_find(m, CLASS_network, pif->network) : NULL;
    struct net_model before;

    model_load(&before, call, NULL, m->host);
    if (!call->xapid->options.network_trial || !network ||
        (!touches(m, plan) && !touches(&before, plan)))
        return;
    *out = (struct trial){call->xapid->reached, pif->device, network->bridge};
    reached_await(out->reached);
}

void trial_release(struct trial *trial)
{
    if (trial->reached)
        reached_end(trial->reached);
}

/*** has somebody reached it? ***/

/* True of an address that an interface has. */
static bool is_address_of(const struct net_state *state, const char *device, const char *address)
{
    size_t size = strlen(address);

    for (size_t i = 0; i < state->n_addresses; i++)
        if (strcmp(state->addresses[i].device, device) == 0 &&
            strncmp(state->addresses[i].address, address, size) == 0 &&
            state->addresses[i].address[size] == '/')
            return true;
    return false;
}

static bool somebody_calls(struct call *call, const struct trial *trial, struct net_kernel *kernel,
                           usec_t deadline)
{
    char address[REACHED_ADDRESS_SIZE], peer[REACHED_ADDRESS_SIZE];
    struct net_state state;

    if (!reached_next(trial->reached, deadline, address, peer))
        return false;
    if (host_network_is_simulated(call->xapid->network))
        return true;
    return !net_read(kernel, call->arena, &state) &&
           is_address_of(&state, trial->bridge, address) && strcmp(address, peer) != 0;
}

/* False where there are none. */
static bool others_are_heard(struct call *call, usec_t since)
{
    struct xapid *x = call->xapid;
    struct log_status status;
    struct log_member *members;
    size_t n, heard = 0, others = 0;

    if (!x->peers)
        return false;
    db_members(x->db, call->arena, &n, &members);
    db_status(x->db, &status);
    for (size_t i = 0; i < n; i++) {
        if (members[i].id == status.id)
            continue;
        others++;
        heard += peer_heard(x->peers, members[i].id) > since;
    }
    return others > 0 && heard == others;
}

static struct error *nobody(struct call *call, const struct trial *trial)
{
    const struct host *host = db_find(call, CLASS_host, call->xapid->host);
    const char *text = arena_printf(
        call->arena, "nobody reached this host over %s within %lld seconds; it is as it was before",
        trial->device, (long long)(call->xapid->options.network_trial / USEC_PER_SEC));

    log_error("network: %s", text);
    if (host)
        alert_create(call, "MANAGEMENT_CHANGE_REVERTED", CLS_HOST, host->uuid, text);
    return err_pif_configuration_error(call, trial->device, text);
}

struct error *trial_wait(struct call *call, struct trial *trial, struct net_kernel *kernel)
{
    usec_t begin = clock_mono();
    usec_t deadline = begin + call->xapid->options.network_trial;
    bool reached = false;

    if (!trial->reached)
        return OK;
    log_info("network: on trial until somebody reaches this host, for at most %lld seconds",
             (long long)(call->xapid->options.network_trial / USEC_PER_SEC));
    while (!reached && clock_mono() < deadline) {
        TRY(task_check(call));
        reached = others_are_heard(call, begin) ||
                  (call->http && http_client_hears(call->http, begin)) ||
                  somebody_calls(call, trial, kernel, MIN(deadline, clock_mono() + LOOK_EVERY));
    }
    if (!reached)
        return nobody(call, trial);
    log_info("network: this host was reached, the change stays");
    return OK;
}
