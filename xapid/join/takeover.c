/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/join/takeover.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "pool/peer/peer.h"
#include "xapid/auth/file.h"
#include "xapid/db/member.h"
#include "xapid/db/row.h"
#include "xapid/join/file.h"
#include "xapid/join/leave.h"
#include "xapid/join/link.h"
#include "xapid/join/witness.h"
#include "xapid/main/members.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/faults.h"
#include "xapid/ops/host/here.h"
#include "xapid/ops/message.h"
#include "xapid/task/task.h"

#define FILE_LIMIT 256
/* A member that was heard within that is alive. */
#define ALIVE_WITHIN (5 * USEC_PER_SEC)
/* So that the client has its answer. */
#define RESTART_DELAY (200 * USEC_PER_MSEC)
#define PATIENCE (10 * USEC_PER_SEC)
/* How long pool.recover_slaves waits for hosts that were called back. */
#define RETURN_WITHIN (30 * USEC_PER_SEC)

static const char *file_of(struct arena *arena, const char *state_dir)
{
    return arena_printf(arena, "%s/takeover", state_dir);
}

/*** the decision: pool.emergency_transition_to_master ***/

struct error *takeover_is_wanted(struct arena *arena, const char *state_dir, bool *wanted)
{
    size_t size;
    char *text;

    TRY(secret_file_read(arena, file_of(arena, state_dir), FILE_LIMIT, &text, &size));
    *wanted = text != NULL;
    return OK;
}

/* Those that could elect one of them will: "lost" is what cannot be reached. */
static bool majority_lives(struct call *call, size_t *voters)
{
    struct xapid *x = call->xapid;
    struct log_status status;
    struct log_member *all;
    size_t n, alive = 0;

    db_status(x->db, &status);
    db_members(x->db, call->arena, &n, &all);
    *voters = 0;
    for (size_t i = 0; i < n; i++) {
        usec_t heard = all[i].id == status.id ? clock_mono() : peer_heard(x->peers, all[i].id);

        if (all[i].role != LOG_VOTER)
            continue;
        ++*voters;
        alive += heard && clock_mono() - heard < ALIVE_WITHIN;
    }
    return 2 * alive > *voters;
}

static struct error *check_lost(struct call *call)
{
    struct xapid *x = call->xapid;
    size_t voters;

    if (x->replaced)
        return err_operation_not_allowed(
            call, "Another host has taken this one's pool over: this one can only go back to it "
                  "(xe pool-emergency-reset-master).");
    if (!x->peers || !db_has_others(x->db) || db_has_leader(x->db))
        return err_not_in_emergency_mode(call);
    if (majority_lives(call, &voters))
        return err_operation_not_allowed(
            call, arena_printf(call->arena,
                               "More than half of the pool's %zu voting members can be reached: "
                               "they choose a coordinator themselves, in a moment.",
                               voters));
    if (!db_is_cut_off(x->db))
        return err_operation_not_allowed(call, "The coordinator was lost a moment ago only: the "
                                               "others may still choose another one.");
    return OK;
}

struct error *pool_emergency_transition_to_master(struct call *call)
{
    const char *path = file_of(call->arena, call->xapid->options.state_dir);
    AUTO(file_lock) lock = {0};

    if (db_leads(call->xapid->db))
        return OK;
    TRY(check_lost(call));
    TRY(faults_step(call, "pool_takeover", "checked"));
    TRY(file_lock_take(call->arena, path, &lock));
    TRY(secret_file_replace(call->arena, path, "1\n", 2));
    log_warning("the majority of the pool is given up for lost: this host goes on alone");
    faults_step_ignored(call, "pool_takeover", "written");
    xapid_restart_soon(call->xapid, RESTART_DELAY);
    return OK;
}

/*** at the next start ***/

/* A number that is a member's no longer; its host, if any, may come back under another. */
static void create_departed(struct txn *txn, const char *host_uuid, const char *member,
                            bool replaced)
{
    struct departed row;

    row_defaults(&api_classes[CLASS_departed], &row);
    row.ref = ref_new();
    row.host_uuid = host_uuid;
    row.member = member;
    row.since = clock_wall();
    row.replaced = replaced;
    txn_create(txn, CLASS_departed, &row);
}

static void replace_host(struct txn *txn, const struct host_state *state)
{
    const struct host *host = txn_find(txn, CLASS_host, state->host);

    if (!host || !*state->member || !txn_find(txn, CLASS_host_state, state->ref))
        return;
    create_departed(txn, host->uuid, state->member, true);
    TXN_SET(txn, host_state, state->ref, member, "");
    TXN_SET(txn, host_state, state->ref, ha_armed, false);
    if (txn_find(txn, CLASS_host_metrics, host->metrics))
        TXN_SET(txn, host_metrics, host->metrics, live, false);
}

/* It may not be the first. */
static void record_takeover(struct txn *txn, ref_t host)
{
    int64_t incarnation = (int64_t)(random_u64() >> 1);
    struct takeover row;

    if (txn_find(txn, CLASS_takeover, TAKEOVER_REF)) {
        TXN_SET(txn, takeover, TAKEOVER_REF, incarnation, incarnation);
        TXN_SET(txn, takeover, TAKEOVER_REF, host, host);
        TXN_SET(txn, takeover, TAKEOVER_REF, since, clock_wall());
        return;
    }
    row_defaults(&api_classes[CLASS_takeover], &row);
    row.ref = TAKEOVER_REF;
    row.incarnation = incarnation;
    row.host = host;
    row.since = clock_wall();
    txn_create(txn, CLASS_takeover, &row);
}

/* One host is no majority of anything that could end itself in time. */
static void end_ha(struct txn *txn, const struct pool *pool)
{
    if (!pool->ha_enabled)
        return;
    TXN_SET(txn, pool, pool->ref, ha_enabled, false);
    TXN_SET(txn, pool, pool->ref, ha_configuration, {0});
    TXN_SET(txn, pool, pool->ref, ha_host_failures_to_tolerate, 0);
    TXN_SET(txn, pool, pool->ref, ha_plan_exists_for, 0);
}

static struct error *takeover_txn(struct txn *txn, void *arg)
{
    struct xapid *x = txn_call(txn)->xapid;
    const struct host_state *state;
    const struct pool *pool;
    const struct host *host;
    struct db_walk walk;

    (void)arg;
    TRY(TXN_GET(txn, pool, x->pool, &pool));
    TRY(TXN_GET(txn, host, x->host, &host));
    record_takeover(txn, x->host);
    db_walk(txn_snap(txn), CLASS_host_state, &walk);
    while ((state = db_walk_next(&walk)))
        if (!ref_equal(state->host, x->host))
            replace_host(txn, state);
    txn_witness_gone(txn);
    end_ha(txn, pool);
    txn_alert(txn, "POOL_TAKEN_OVER", CLS_POOL, pool->uuid,
              arena_printf(txn_arena(txn),
                           "Host '%s' goes on without the majority of the pool, by an "
                           "administrator's word. What the others had acknowledged and not passed "
                           "on is lost. They come back by pool-recover-slaves.",
                           host->name_label));
    return OK;
}

/* This host has come back: the number it had before is nobody's. */
static struct error *returned_txn(struct txn *txn, void *arg)
{
    const char *uuid = arg;
    const struct departed *row;
    struct db_walk walk;

    db_walk(txn_snap(txn), CLASS_departed, &walk);
    while ((row = db_walk_next(&walk)))
        if (row->replaced && strcmp(row->host_uuid, uuid) == 0 &&
            txn_find(txn, CLASS_departed, row->ref))
            TXN_SET(txn, departed, row->ref, replaced, false);
    return OK;
}

struct error *takeover_settle(struct call *call)
{
    const char *dir = call->xapid->options.state_dir, *path = file_of(call->arena, dir);
    const struct host *me = host_here(call);
    bool wanted;

    TRY(takeover_is_wanted(call->arena, dir, &wanted));
    if (!wanted)
        return me ? db_update(call, returned_txn, (void *)arena_strdup(call->arena, me->uuid)) : OK;
    faults_step_ignored(call, "pool_takeover", "alone");
    TRY(db_update(call, takeover_txn, NULL));
    faults_step_ignored(call, "pool_takeover", "recorded");
    if (unlink(path) < 0 && errno != ENOENT)
        return error_internal(call->arena, "%s: %s", path, strerror(errno));
    log_warning("this host has taken its pool over");
    return OK;
}

bool takeover_is_over(struct xapid *x)
{
    return x->cut_off && !x->replaced && db_has_leader(x->db);
}

/*** a host that comes back ***/

void takeover_stop(struct xapid *x, const struct join_host *where)
{
    AUTO(arena) arena = {0};
    const char *why = arena_printf(
        &arena,
        "While this host was away its pool went on without it, by an administrator's word, and the "
        "host at %s knows it by another number now. It goes back there by xe pool-recover-slaves "
        "there, or here by xe pool-emergency-reset-master master-address=%s; what only this one "
        "knows is kept aside then.",
        where->address, where->address);

    if (x->replaced)
        return;
    x->replaced = true;
    log_error("%s", why);
    db_fail(x->db, why);
}

static struct error *ask_back(struct arena *arena, struct xapid *x, const struct join_host *where,
                              uint64_t old, uint64_t id, json_t **answer)
{
    return join_ask_host(arena, where, PATIENCE,
                         arena_printf(arena,
                                      "return=%016" PRIx64 "&member=%016" PRIx64 "&address=%s", old,
                                      id, members_address(arena, x->members)),
                         answer);
}

/* A number is given once: where the answer is lost, another one is asked for. */
struct error *takeover_return(struct arena *arena, struct xapid *x, const struct join_host *where)
{
    struct join_file file = {.in = true, .n_hosts = 1, .hosts = where};
    const json_t *members;
    struct log_status status;
    const char **v;
    json_t *json;

    db_status(x->db, &status);
    file.id = (random_u64() >> 1) | 1;
    file.token = arena_printf(arena, "%016" PRIx64, random_u64());
    TRY(ask_back(arena, x, where, status.id, file.id, &json));
    faults_at(x, "pool_return", "asked");
    members = json_object_get(json, "members");
    v = arena_array(arena, const char *, json_array_size(members) + 1);
    for (size_t i = 0; i < json_array_size(members); i++) {
        const char *text = json_string_value(json_array_get(members, i));

        if (text && peer_address_ok(text))
            v[file.members.n++] = arena_strdup(arena, text);
    }
    file.members.v = v;
    json_decref(json);
    TRY(join_file_write(arena, x->options.state_dir, &file));
    faults_at(x, "pool_return", "written");
    log_warning("this host goes back to its pool, as member %016" PRIx64, file.id);
    xapid_restart_soon(x, RESTART_DELAY);
    return OK;
}

struct error *pool_emergency_reset_master(struct call *call,
                                          const struct pool_emergency_reset_master_args *args)
{
    struct xapid *x = call->xapid;
    struct join_host where;

    if (!x->replaced && (!x->peers || db_has_leader(x->db) || !db_has_others(x->db)))
        return err_not_in_emergency_mode(call);
    switch (leave_ask(x, call->arena, args->master_address, &where)) {
    case LEAVE_REPLACED:
    case LEAVE_MAY_RETURN:
        return takeover_return(call->arena, x, &where);
    case LEAVE_UNKNOWN:
    case LEAVE_LEFT:
        break;
    }
    return err_operation_not_allowed(
        call, arena_printf(call->arena,
                           "No host of this pool that goes on without this one answers at %s. A "
                           "coordinator that was only elected is found without this.",
                           args->master_address));
}

/*** the pool's side ***/

struct take_back {
    const char *old, *member, *address;
};

static const struct departed *find_replaced(const struct db_snap *snap, const char *member)
{
    const struct departed *row;
    struct db_walk walk;

    db_walk(snap, CLASS_departed, &walk);
    while ((row = db_walk_next(&walk)))
        if (row->replaced && strcmp(row->member, member) == 0)
            return row;
    return NULL;
}

static const struct host_state *state_of(struct txn *txn, const char *host_uuid)
{
    struct refs hosts = txn_referrers(txn, FIELD_host_uuid, index_key_string(host_uuid));
    struct refs states =
        hosts.n ? txn_referrers(txn, FIELD_host_state_host, hosts.v[0]) : (struct refs){0};

    return states.n ? txn_find(txn, CLASS_host_state, states.v[0]) : NULL;
}

/* The certificate it had. */
static bool same_identity(const char *a, const char *b)
{
    const char *x = strrchr(a, '/'), *y = strrchr(b, '/');

    return x && y && strcmp(x, y) == 0;
}

static struct error *take_back_txn(struct txn *txn, void *arg)
{
    const struct take_back *t = arg;
    const struct departed *row = find_replaced(txn_snap(txn), t->old);
    const struct host_state *state = row ? state_of(txn, row->host_uuid) : NULL;

    if (!state || !txn_find(txn, CLASS_departed, row->ref) ||
        !same_identity(state->address, t->address))
        return err_operation_not_allowed(txn_call(txn), "This host is not waited for.");
    /* The number of a try whose answer was lost. */
    if (*state->member)
        create_departed(txn, "", state->member, false);
    TXN_SET(txn, host_state, state->ref, member, t->member);
    TXN_SET(txn, host_state, state->ref, address, t->address);
    return OK;
}

struct error *takeover_take_back(struct call *call, const char *old, const char *member,
                                 const char *address)
{
    struct take_back t = {old, member, address};
    uint64_t id;

    if (!member_id_of(member, &id) || !peer_address_ok(address))
        return err_invalid_value(call, "return", address);
    TRY(db_update(call, take_back_txn, &t));
    faults_step_ignored(call, "pool_return", "taken");
    return OK;
}

/*** pool.recover_slaves ***/

static bool is_heard(struct call *call, ref_t host)
{
    uint64_t member = host_member(call, host);
    usec_t heard = call->xapid->peers && member ? peer_heard(call->xapid->peers, member) : 0;

    return heard && clock_mono() - heard < ALIVE_WITHIN;
}

static struct error *call_back_txn(struct txn *txn, void *arg)
{
    const struct departed *row;
    struct db_walk walk;
    size_t *n = arg;

    *n = 0;
    db_walk(txn_snap(txn), CLASS_departed, &walk);
    while ((row = db_walk_next(&walk))) {
        if (!row->replaced || !txn_find(txn, CLASS_departed, row->ref))
            continue;
        ++*n;
        if (!row->may_return)
            TXN_SET(txn, departed, row->ref, may_return, true);
    }
    return OK;
}

static struct refs others_heard(struct call *call)
{
    ref_t *found =
        arena_array(call->arena, ref_t, snap_root(call->snap)->tables[CLASS_host].count + 1);
    struct refs out = {0, found};
    const struct host *host;
    struct db_walk walk;

    db_walk(call->snap, CLASS_host, &walk);
    while ((host = db_walk_next(&walk)))
        if (!ref_equal(host->ref, call->xapid->host) && is_heard(call, host->ref))
            found[out.n++] = host->ref;
    return out;
}

/* Members find the one that leads by themselves; hosts that an emergency went on without are called
 * back. */
struct error *pool_recover_slaves(struct call *call, struct refs *result)
{
    usec_t deadline = clock_mono() + RETURN_WITHIN;
    const struct pool *pool;
    size_t called, before, held;

    TRY(DB_GET(call, pool, call->xapid->pool, &pool));
    TRY(host_check_here(call, pool->master));
    before = others_heard(call).n;
    TRY(db_update(call, call_back_txn, &called));
    held = call->n_held;
    while (others_heard(call).n < before + called && clock_mono() < deadline) {
        TRY(task_check(call));
        clock_sleep(100 * USEC_PER_MSEC);
        call_refresh(call);
        call_drop_held(call, held);
    }
    *result = others_heard(call);
    return OK;
}
