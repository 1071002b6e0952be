/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/join/leave.h"

#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "pool/peer/peer.h"
#include "xapid/db/member.h"
#include "xapid/db/row.h"
#include "xapid/join/file.h"
#include "xapid/join/link.h"
#include "xapid/join/takeover.h"
#include "xapid/main/members.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/blob.h"
#include "xapid/ops/faults.h"
#include "xapid/ops/host/cpu.h"
#include "xapid/ops/host/level.h"
#include "xapid/ops/op.h"
#include "xapid/ops/storage/vdi_ops.h"
#include "xapid/ops/vm/gone.h"

/* A member that was heard within that is alive. */
#define ALIVE_WITHIN (10 * USEC_PER_SEC)
/* How long somebody must refuse a member before it asks why: lists of members may change meanwhile.
 */
#define REFUSED_FOR USEC_PER_SEC
/* How long one that has left waits to be removed. */
#define LET_GO_WITHIN (30 * USEC_PER_SEC)
/* For the word of one host. */
#define PATIENCE (5 * USEC_PER_SEC)
#define USUAL_PORT 443
/* Disks whose rows go in one write-set. */
#define DISKS_AT_ONCE 500
/* The same of VMs. */
#define VMS_AT_ONCE 100

/*** the decision ***/

struct leaving {
    ref_t host;
    bool dead; /* else its daemon is there and does its part */
};

static const struct host_state *state_of(struct txn *txn, ref_t host)
{
    struct refs states = txn_referrers(txn, FIELD_host_state_host, host);

    return states.n ? txn_find(txn, CLASS_host_state, states.v[0]) : NULL;
}

static struct error *check_vms(struct txn *txn, const struct leaving *l)
{
    struct refs vms = txn_referrers(txn, FIELD_vm_resident_on, l->host);

    for (size_t i = 0; i < vms.n; i++) {
        const struct vm *vm = txn_find(txn, CLASS_vm, vms.v[i]);

        if (vm && !vm->is_control_domain)
            return err_host_has_resident_vms(txn_call(txn), call_ref(txn_call(txn), l->host));
    }
    return OK;
}

static struct error *check_leaving(struct txn *txn, const struct leaving *l,
                                   const struct host **host)
{
    struct call *call = txn_call(txn);
    const struct intent *intent;
    const struct pool *pool;
    struct db_walk walk;

    TRY(TXN_GET(txn, host, l->host, host));
    TRY(TXN_GET(txn, pool, call->xapid->pool, &pool));
    if (pool->ha_enabled)
        return err_ha_is_enabled(call);
    if (ref_equal(pool->master, l->host))
        return l->dead ? err_host_is_live(call, call_ref(call, l->host))
                       : err_operation_not_allowed(
                             call, "The coordinator cannot leave its pool. Make another host the "
                                   "coordinator first (pool.designate_new_master).");
    TRY(check_vms(txn, l));
    db_walk(txn_snap(txn), CLASS_intent, &walk);
    while (!l->dead && (intent = db_walk_next(&walk)))
        if (ref_equal(intent->host, l->host))
            return err_operation_not_allowed(call, "The host is at work on something.");
    return OK;
}

static struct error *leave_txn(struct txn *txn, void *arg)
{
    const struct leaving *l = arg;
    const struct host_state *state;
    const struct host *host;
    struct departed row;

    TRY(check_leaving(txn, l, &host));
    state = state_of(txn, l->host);
    row_defaults(&api_classes[CLASS_departed], &row);
    row.ref = ref_new();
    row.host = l->host;
    row.host_uuid = host->uuid;
    row.member = state ? state->member : "";
    row.since = clock_wall();
    txn_create(txn, CLASS_departed, &row);
    if (state)
        txn_destroy(txn, CLASS_host_state, state->ref);
    TXN_SET(txn, host, l->host, enabled, false);
    if (txn_find(txn, CLASS_host_metrics, host->metrics))
        TXN_SET(txn, host_metrics, host->metrics, live, false);
    return OK;
}

static struct error *leave(struct call *call, const struct leaving *l)
{
    struct leaving copy = *l;

    TRY(faults_step(call, "pool_eject", "begun"));
    TRY(db_update(call, leave_txn, &copy));
    faults_step_ignored(call, "pool_eject", "decided");
    leave_sweep(call);
    return level_settle(call);
}

struct error *pool_eject(struct call *call, const struct pool_eject_args *args)
{
    return leave(call, &(struct leaving){.host = args->host});
}

/* Whether it was heard of lately, by the member that is asked. */
static bool is_alive(const struct call *call, ref_t host)
{
    struct refs states = db_referrers(call, FIELD_host_state_host, host);
    const struct host_state *state = states.n ? db_find(call, CLASS_host_state, states.v[0]) : NULL;
    usec_t heard = 0;
    uint64_t id;

    if (ref_equal(host, call->xapid->host))
        return true;
    if (state && call->xapid->peers && member_id_of(state->member, &id))
        heard = peer_heard(call->xapid->peers, id);
    return heard && clock_mono() - heard < ALIVE_WITHIN;
}

struct error *host_destroy(struct call *call, const struct host_destroy_args *args)
{
    const struct host *host;

    TRY(DB_GET(call, host, args->self, &host));
    if (ref_equal(args->self, call->xapid->host))
        return err_host_cannot_destroy_self(call, call_ref(call, args->self));
    if (is_alive(call, args->self))
        return err_host_is_live(call, call_ref(call, args->self));
    return leave(call, &(struct leaving){.host = args->self, .dead = true});
}

/*** what was the host's ***/

static void destroy_all(struct txn *txn, int class_id, int field_id, ref_t key)
{
    struct refs rows = txn_referrers(txn, field_id, key);

    for (size_t i = 0; i < rows.n; i++)
        if (txn_find(txn, class_id, rows.v[i]))
            txn_destroy(txn, class_id, rows.v[i]);
}

/* The repositories that nobody else has are forgotten; their files stay where they are. */
static void storage_gone(struct txn *txn, ref_t host)
{
    struct refs pbds = txn_referrers(txn, FIELD_pbd_host, host);

    for (size_t i = 0; i < pbds.n; i++) {
        const struct pbd *pbd = txn_find(txn, CLASS_pbd, pbds.v[i]);

        if (pbd && !ref_is_null(pbd->sr) && txn_referrers(txn, FIELD_pbd_sr, pbd->sr).n == 1)
            txn_sr_gone(txn, pbd->sr);
        else if (pbd)
            txn_destroy(txn, CLASS_pbd, pbd->ref);
    }
}

static void network_gone(struct txn *txn, ref_t host)
{
    struct refs pifs = txn_referrers(txn, FIELD_pif_host, host);

    for (size_t i = 0; i < pifs.n; i++) {
        const struct pif *pif = txn_find(txn, CLASS_pif, pifs.v[i]);

        if (!pif)
            continue;
        destroy_all(txn, CLASS_vlan, FIELD_vlan_untagged_pif, pif->ref);
        destroy_all(txn, CLASS_bond, FIELD_bond_master, pif->ref);
        destroy_all(txn, CLASS_tunnel, FIELD_tunnel_access_pif, pif->ref);
        destroy_all(txn, CLASS_network_sriov, FIELD_network_sriov_physical_pif, pif->ref);
        if (txn_find(txn, CLASS_pif_metrics, pif->metrics))
            txn_destroy(txn, CLASS_pif_metrics, pif->metrics);
        txn_destroy(txn, CLASS_pif, pif->ref);
    }
}

static void devices_gone(struct txn *txn, ref_t host)
{
    static const struct {
        int class_id, field_id;
    } owned[] = {
        {CLASS_host_cpu, FIELD_host_cpu_host},
        {CLASS_host_crashdump, FIELD_host_crashdump_host},
        {CLASS_host_patch, FIELD_host_patch_host},
        {CLASS_feature, FIELD_feature_host},
        {CLASS_pgpu, FIELD_pgpu_host},
        {CLASS_pci, FIELD_pci_host},
        {CLASS_pusb, FIELD_pusb_host},
        {CLASS_certificate, FIELD_certificate_host},
        {CLASS_trust_file, FIELD_trust_file_host},
        {CLASS_pvs_cache_storage, FIELD_pvs_cache_storage_host},
        {CLASS_cluster_host, FIELD_cluster_host_host},
    };
    struct refs drivers = txn_referrers(txn, FIELD_host_driver_host, host);

    for (size_t i = 0; i < ARRAY_SIZE(owned); i++)
        destroy_all(txn, owned[i].class_id, owned[i].field_id, host);
    for (size_t i = 0; i < drivers.n; i++)
        destroy_all(txn, CLASS_driver_variant, FIELD_driver_variant_driver, drivers.v[i]);
    destroy_all(txn, CLASS_host_driver, FIELD_host_driver_host, host);
}

/* What its daemon had begun nobody will finish: whatever it held is let go. */
static void operations_gone(struct txn *txn, ref_t host)
{
    const struct intent *row;
    struct db_walk walk;

    db_walk(txn_snap(txn), CLASS_intent, &walk);
    while ((row = db_walk_next(&walk))) {
        const void *intent;
        struct op op;

        if (!ref_equal(row->host, host) || !txn_find(txn, CLASS_intent, row->ref))
            continue;
        if (op_adopt(txn_call(txn), row, &op, &intent))
            txn_unhold(txn, &op);
        txn_destroy(txn, CLASS_intent, row->ref);
    }
}

static struct error *host_gone_txn(struct txn *txn, void *arg)
{
    ref_t ref = *(const ref_t *)arg;
    const struct host *host = txn_find(txn, CLASS_host, ref);

    if (!host)
        return OK;
    txn_pool_cpus(txn, REF_NULL, NULL, ref);
    operations_gone(txn, ref);
    storage_gone(txn, ref);
    network_gone(txn, ref);
    devices_gone(txn, ref);
    txn_blobs_destroy(txn, &host->blobs);
    txn_vm_gone(txn, host->control_domain);
    if (txn_find(txn, CLASS_host_metrics, host->metrics))
        txn_destroy(txn, CLASS_host_metrics, host->metrics);
    txn_destroy(txn, CLASS_host, ref);
    return OK;
}

/*** machines of which nothing is left but their records ***/

/* A disk in a repository that only this host has. */
static bool disk_leaves(struct txn *txn, ref_t host, ref_t vdi_ref)
{
    const struct vdi *vdi = txn_find(txn, CLASS_vdi, vdi_ref);
    struct refs pbds = vdi ? txn_referrers(txn, FIELD_pbd_sr, vdi->sr) : (struct refs){0};
    const struct pbd *pbd = pbds.n == 1 ? txn_find(txn, CLASS_pbd, pbds.v[0]) : NULL;

    return pbd && ref_equal(pbd->host, host);
}

/* It has disks, and all of them leave. */
static bool vm_leaves(struct txn *txn, ref_t host, const struct vm *vm)
{
    struct refs vbds = txn_referrers(txn, FIELD_vbd_vm, vm->ref);
    size_t disks = 0;

    if (vm->is_control_domain || !ref_is_null(vm->resident_on))
        return false;
    for (size_t i = 0; i < vbds.n; i++) {
        const struct vbd *vbd = txn_find(txn, CLASS_vbd, vbds.v[i]);

        if (!vbd || vbd->type == VBD_TYPE_CD || ref_is_null(vbd->vdi))
            continue;
        if (!disk_leaves(txn, host, vbd->vdi))
            return false;
        disks++;
    }
    return disks > 0;
}

struct machines {
    ref_t host;
    size_t n;
    ref_t v[VMS_AT_ONCE];
};

static struct error *vms_gone_txn(struct txn *txn, void *arg)
{
    const struct machines *m = arg;

    for (size_t i = 0; i < m->n; i++) {
        const struct vm *vm = txn_find(txn, CLASS_vm, m->v[i]);

        if (vm && vm_leaves(txn, m->host, vm))
            txn_vm_gone(txn, vm->ref);
    }
    return OK;
}

/* Some at a time. */
static struct error *look_at_vm(struct call *call, struct machines *m, ref_t vm)
{
    for (size_t i = 0; i < m->n; i++)
        if (ref_equal(m->v[i], vm))
            return OK;
    m->v[m->n++] = vm;
    if (m->n < VMS_AT_ONCE)
        return OK;
    TRY(db_update(call, vms_gone_txn, m));
    m->n = 0;
    return OK;
}

/* VMs that could never start again: their disks are the host's own. */
static struct error *remove_vms(struct call *call, ref_t host)
{
    struct refs pbds = db_referrers(call, FIELD_pbd_host, host);
    struct machines m = {.host = host};

    for (size_t i = 0; i < pbds.n; i++) {
        const struct pbd *pbd = db_find(call, CLASS_pbd, pbds.v[i]);
        struct refs vdis = {0};

        if (pbd && db_referrers(call, FIELD_pbd_sr, pbd->sr).n == 1)
            vdis = db_referrers(call, FIELD_vdi_sr, pbd->sr);
        for (size_t k = 0; k < vdis.n; k++) {
            struct refs vbds = db_referrers(call, FIELD_vbd_vdi, vdis.v[k]);

            for (size_t j = 0; j < vbds.n; j++) {
                const struct vbd *vbd = db_find(call, CLASS_vbd, vbds.v[j]);

                if (vbd)
                    TRY(look_at_vm(call, &m, vbd->vm));
            }
        }
    }
    return m.n ? db_update(call, vms_gone_txn, &m) : OK;
}

/*** their disks ***/

struct disks {
    ref_t sr;
    bool more;
};

static struct error *disks_gone_txn(struct txn *txn, void *arg)
{
    struct disks *d = arg;
    struct refs vdis = txn_referrers(txn, FIELD_vdi_sr, d->sr);

    d->more = vdis.n > DISKS_AT_ONCE;
    for (size_t i = 0; i < MIN(vdis.n, (size_t)DISKS_AT_ONCE); i++)
        txn_vdi_gone(txn, &(struct vdi_gone){.vdi = vdis.v[i]});
    return OK;
}

/* So many disks that one write-set could not take them go first. */
static struct error *remove_disks(struct call *call, ref_t host)
{
    struct refs pbds = db_referrers(call, FIELD_pbd_host, host);

    for (size_t i = 0; i < pbds.n; i++) {
        const struct pbd *pbd = db_find(call, CLASS_pbd, pbds.v[i]);
        struct disks d = {.sr = pbd ? pbd->sr : REF_NULL};

        d.more = !ref_is_null(d.sr) && db_referrers(call, FIELD_pbd_sr, d.sr).n == 1 &&
                 db_referrers(call, FIELD_vdi_sr, d.sr).n > DISKS_AT_ONCE;
        while (d.more)
            TRY(db_update(call, disks_gone_txn, &d));
    }
    return OK;
}

/* A host of which something is still there; null where there is none. */
static ref_t half_gone(const struct call *call)
{
    const struct departed *row;
    struct db_walk walk;

    db_walk(call->snap, CLASS_departed, &walk);
    while ((row = db_walk_next(&walk)))
        if (!ref_is_null(row->host))
            return row->host;
    return REF_NULL;
}

void leave_sweep(struct call *call)
{
    struct error *e = OK;
    ref_t host;

    while (!e && (host = half_gone(call), !ref_is_null(host))) {
        e = remove_vms(call, host);
        if (!e)
            e = remove_disks(call, host);
        if (!e)
            e = faults_step(call, "pool_eject", "disks");
        if (!e)
            e = db_update(call, host_gone_txn, &host);
    }
    if (e)
        log_info("what a host that has left the pool has left behind is removed later: %s",
                 error_line(call->arena, e));
}

/*** the host itself ***/

bool leave_is_departed(struct xapid *x, const char *member)
{
    struct db_snap *snap = db_snapshot(x->db);
    const struct departed *row;
    struct db_walk walk;
    bool found = false;

    db_walk(snap, CLASS_departed, &walk);
    while (!found && (row = db_walk_next(&walk)))
        found = strcmp(row->member, member) == 0;
    db_snap_unref(snap);
    return found;
}

static const char *const words[] = {[LEAVE_UNKNOWN] = "unknown",
                                    [LEAVE_LEFT] = "left",
                                    [LEAVE_REPLACED] = "replaced",
                                    [LEAVE_MAY_RETURN] = "return"};

const char *leave_word_text(enum leave_word word)
{
    return words[word];
}

enum leave_word leave_word_of(struct xapid *x, const char *member)
{
    struct db_snap *snap = db_snapshot(x->db);
    enum leave_word word = LEAVE_UNKNOWN;
    const struct departed *row;
    struct db_walk walk;

    db_walk(snap, CLASS_departed, &walk);
    while (word == LEAVE_UNKNOWN && (row = db_walk_next(&walk)))
        if (strcmp(row->member, member) == 0)
            word = !row->replaced    ? LEAVE_LEFT
                   : row->may_return ? LEAVE_MAY_RETURN
                                     : LEAVE_REPLACED;
    db_snap_unref(snap);
    return word;
}

static enum leave_word ask_one(const struct join_host *where, const char *member)
{
    enum leave_word word = LEAVE_UNKNOWN;
    AUTO(arena) arena = {0};
    const char *state;
    json_t *json;

    if (join_ask_host(&arena, where, PATIENCE, arena_printf(&arena, "left=%s", member), &json))
        return LEAVE_UNKNOWN;
    state = json_string_value(json_object_get(json, "state"));
    for (size_t i = 0; state && i < ARRAY_SIZE(words); i++)
        if (strcmp(state, words[i]) == 0)
            word = (enum leave_word)i;
    json_decref(json);
    return word;
}

/* To be refused proves nothing: whoever refuses may have left the pool itself.  A host that this
 * one's database knows must say so. */
enum leave_word leave_ask(struct xapid *x, struct arena *arena, const char *address,
                          struct join_host *who)
{
    struct db_snap *snap = db_snapshot(x->db);
    enum leave_word word = LEAVE_UNKNOWN;
    struct log_status status;
    const struct certificate *c;
    struct db_walk walk;

    db_status(x->db, &status);
    db_walk(snap, CLASS_certificate, &walk);
    while (word == LEAVE_UNKNOWN && (c = db_walk_next(&walk))) {
        const struct host *host = root_get(snap_root(snap), CLASS_host, c->host);

        if (!host || c->type != CERTIFICATE_TYPE_HOST || !*c->fingerprint_sha256 ||
            ref_equal(host->ref, x->host) || (address && strcmp(host->address, address) != 0))
            continue;
        *who = (struct join_host){arena_strdup(arena, host->address),
                                  x->tls_port > 0 ? x->tls_port : USUAL_PORT,
                                  arena_strdup(arena, c->fingerprint_sha256)};
        word = ask_one(who, member_id_text(arena, status.id));
    }
    db_snap_unref(snap);
    return word;
}

/* One that has left votes on until the log goes on without it: the others may need that vote. */
static bool is_let_go(const struct log_status *status, usec_t *since)
{
    if (!*since)
        *since = clock_mono();
    return status->removed || clock_mono() - *since > LET_GO_WITHIN;
}

/* Whoever does not know this host's certificate may have gone on without it. */
static bool is_refused(struct xapid *x)
{
    AUTO(arena) arena = {0};
    bool refused = false;
    uint64_t *ids;
    size_t n;

    members_others(x->members, &arena, &n, &ids);
    for (size_t i = 0; i < n; i++)
        refused |= peer_refuses(x->peers, ids[i]);
    return refused;
}

/* Lists of members without this one, and refusals, may pass. */
static enum leave_word word_in_time(struct xapid *x, const struct log_status *status, usec_t *since,
                                    struct arena *arena, struct join_host *who)
{
    if (!status->removed && !x->replaced && !is_refused(x)) {
        *since = 0;
        return LEAVE_UNKNOWN;
    }
    if (!*since)
        *since = clock_mono();
    if (clock_mono() - *since < REFUSED_FOR)
        return LEAVE_UNKNOWN;
    *since = 0;
    return leave_ask(x, arena, NULL, who);
}

static void go_back(struct xapid *x, const struct join_host *where)
{
    AUTO(arena) arena = {0};
    struct error *e = takeover_return(&arena, x, where);

    if (e)
        log_warning("this host is called back, and cannot go yet: %s", error_line(&arena, e));
}

static void begin_anew(struct xapid *x)
{
    log_warning("this host belongs to its pool no longer: it begins anew, as a pool of its own");
    db_fail(x->db, "This host has left its pool; xapid starts again.");
    if (x->options.restart)
        x->options.restart();
}

bool leave_look(struct xapid *x, usec_t *since)
{
    enum leave_word word;
    AUTO(arena) arena = {0};
    struct log_status status;
    struct join_host who;
    struct error *e;

    if (!x->peers || x->options.manual_members)
        return false;
    db_status(x->db, &status);
    if (!status.id)
        return false;
    if (leave_is_departed(x, member_id_text(&arena, status.id)))
        word = is_let_go(&status, since) ? LEAVE_LEFT : LEAVE_UNKNOWN;
    else
        word = word_in_time(x, &status, since, &arena, &who);
    if (word == LEAVE_REPLACED || word == LEAVE_MAY_RETURN)
        takeover_stop(x, &who);
    if (word == LEAVE_MAY_RETURN)
        go_back(x, &who);
    if (word != LEAVE_LEFT)
        return false;
    e = left_file_write(&arena, x->options.state_dir, status.id);
    faults_at(x, "pool_eject", "left");
    if (!e)
        begin_anew(x);
    else
        log_error("this host belongs to its pool no longer, and cannot write that down: %s",
                  error_line(&arena, e));
    return !e;
}
