/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * identity.c -- the certificate by which this host's pool knows it (pool/peer), and its renewal.
 *
 * The file comes first, and is the truth: the new certificate is signed with the key of the old
 * one, so that others follow before they hear of it.  Then the record says so, which ends the old
 * one; where xapid dies in between, its next start does it.
 */
#include <string.h>

#include "pool/peer/peer.h"
#include "xapid/db/level.h"
#include "xapid/db/ready.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/faults.h"
#include "xapid/ops/host/here.h"

static struct error *record_txn(struct txn *txn, void *arg)
{
    struct call *call = txn_call(txn);
    struct refs states = txn_referrers(txn, FIELD_host_state_host, call->xapid->host);
    const char *now = peers_fingerprint(call->xapid->peers);
    const struct host_state *state;

    (void)arg;
    if (!states.n || !(state = txn_find(txn, CLASS_host_state, states.v[0])))
        return OK;
    TXN_SET(txn, host_state, state->ref, identity, now);
    TXN_SET(txn, host_state, state->ref, address,
            arena_printf(txn_arena(txn), "%.*s/%s", (int)strcspn(state->address, "/"),
                         state->address, now));
    return OK;
}

struct error *host_refresh_server_certificate(
    struct call *call, const struct host_refresh_server_certificate_args *args)
{
    TRY(host_is_here(call, args->host));
    if (!call->xapid->peers)
        return err_operation_not_allowed(
            call, "This host has no address where a pool's hosts could reach it, and so no "
                  "certificate for them.");
    if (root_level(snap_root(call->snap)) < LEVEL_RENEWED_IDENTITIES)
        return err_not_supported_during_upgrade(call);
    TRY(peers_renew(call->arena, call->xapid->peers));
    faults_step_ignored(call, "host_identity", "written");
    TRY(db_update(call, record_txn, NULL));
    faults_step_ignored(call, "host_identity", "recorded");
    return OK;
}
