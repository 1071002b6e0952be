/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/transfer/replication.h"

#include <stdlib.h>
#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/op.h"
#include "xapid/ops/storage/attach.h"
#include "xapid/ops/storage/vdi_ops.h"
#include "xapid/transfer/disk.h"
#include "xapid/transfer/replica.h"

#define AT_MOST_EVERY (60 * USEC_PER_SEC)
/* Writing may take this part of the time. */
#define PART 50

struct replication {
    struct xapid *xapid;
    uint64_t revision; /* of what was written last */
    usec_t next;       /* monotonic */
};

struct replication *replication_new(struct xapid *xapid)
{
    struct replication *r = xcalloc(1, sizeof *r);

    r->xapid = xapid;
    return r;
}

void replication_free(struct replication *r)
{
    free(r);
}

/*** one disk ***/

static const struct pool *this_pool(const struct call *call)
{
    return db_find(call, CLASS_pool, call->xapid->pool);
}

static struct error *check_write(struct txn *txn, void *arg)
{
    ref_t ref = *(const ref_t *)arg;
    const struct vdi *vdi;

    TRY(txn_vdi_check(txn, ref, VDI_OP_BLOCKED, &vdi));
    return txn_vdi_check_attach(txn, ref, REF_NULL, true);
}

static struct error *record_written(struct txn *txn, void *arg)
{
    ref_t ref = *(const ref_t *)arg;

    TXN_SET(txn, vdi, ref, metadata_of_pool, txn_call(txn)->xapid->pool);
    TXN_SET(txn, vdi, ref, metadata_latest, true);
    return OK;
}

static struct error *copy_database(struct call *call, ref_t vdi)
{
    AUTO(open_disk) disk = {0};

    TRY(open_disk(call, vdi, true, &disk));
    return replica_write(call, disk.io, snap_root(call->snap), this_pool(call)->uuid);
}

/* As for a disk that is given to be overwritten: recovery finds nothing to do. */
static struct error *replicate_to(struct call *call, ref_t vdi)
{
    struct vdi_transfer_intent intent = {.vdi = vdi};
    AUTO(op) op = {0};

    TRY(op_begin(call,
                 &(struct op_spec){.kind = INTENT_vdi_transfer,
                                   .intent = &intent,
                                   .n_holds = 1,
                                   .holds = &(struct op_hold){CLASS_vdi, vdi, VDI_OP_BLOCKED},
                                   .check = check_write,
                                   .arg = &vdi},
                 &op));
    TRY(copy_database(call, vdi));
    return op_commit(&op, record_written, &vdi);
}

/*** all of them ***/

static void write_all(struct call *call)
{
    struct refs disks = db_referrers(call, FIELD_vdi_metadata_of_pool, call->xapid->pool);

    for (size_t i = 0; i < disks.n; i++) {
        const struct vdi *vdi = db_find(call, CLASS_vdi, disks.v[i]);
        struct error *e;

        if (!vdi || vdi->type != VDI_TYPE_METADATA || !sr_is_attached(call->xapid, vdi->sr))
            continue;
        e = replicate_to(call, disks.v[i]);
        if (e)
            log_warning("the database was not copied to disk %s: %s", vdi->uuid,
                        error_line(call->arena, e));
    }
}

void replication_tick(struct replication *r)
{
    struct arena arena = {0};
    usec_t begun = clock_mono();
    struct call call;

    if (begun < r->next || !db_leads(r->xapid->db))
        return;
    call_init_internal(&call, r->xapid, &arena);
    if (snap_root(call.snap)->revision != r->revision)
        write_all(&call);
    /* What writing itself has changed is no news. */
    r->revision = snap_root(call.snap)->revision;
    r->next = begun + MAX(AT_MOST_EVERY, PART * (clock_mono() - begun));
    call_release(&call);
    arena_release(&arena);
}

/*** on and off ***/

struct error *sr_assert_supports_database_replication(
    struct call *call, const struct sr_assert_supports_database_replication_args *args)
{
    const unsigned needed = SR_F_VDI_CREATE | SR_F_VDI_ATTACH;
    AUTO(sr_use) use = {0};
    const struct sr *sr;

    TRY(DB_GET(call, sr, args->sr, &sr));
    TRY(sr_use(call, args->sr, &use));
    return (use.handle->driver->features & needed) == needed
               ? OK
               : err_sr_operation_not_supported(call, call_ref(call, args->sr));
}

/* The disk for this pool's database in a repository; null where there is none. */
static ref_t find_disk(struct call *call, ref_t sr)
{
    struct refs disks = db_referrers(call, FIELD_vdi_sr, sr);

    for (size_t i = 0; i < disks.n; i++) {
        const struct vdi *vdi = db_find(call, CLASS_vdi, disks.v[i]);
        const char *pool = strmap_get(&vdi->sm_config, VDI_KEY_METADATA_OF_POOL);

        if (vdi->type == VDI_TYPE_METADATA && pool && strcmp(pool, this_pool(call)->uuid) == 0)
            return vdi->ref;
    }
    return REF_NULL;
}

static struct error *make_disk(struct call *call, ref_t sr, ref_t *out)
{
    const struct strpair of_pool = {VDI_KEY_METADATA_OF_POOL, this_pool(call)->uuid};
    struct vdi row = {.sr = sr,
                      .name_label = "Metadata for DR",
                      .name_description = "A copy of the pool's database for disaster recovery",
                      .type = VDI_TYPE_METADATA,
                      .virtual_size = REPLICA_DISK_SIZE,
                      .sm_config = {1, &of_pool}};

    return vdi_create(call, &(struct vdi_create_args){.args = &row}, out);
}

struct error *sr_enable_database_replication(struct call *call,
                                             const struct sr_enable_database_replication_args *args)
{
    struct error *e;
    ref_t vdi;
    bool made;

    TRY(sr_assert_supports_database_replication(
        call, &(struct sr_assert_supports_database_replication_args){args->sr}));
    vdi = find_disk(call, args->sr);
    made = ref_is_null(vdi);
    if (made)
        TRY(make_disk(call, args->sr, &vdi));
    e = replicate_to(call, vdi);
    if (e && made) /* what stays is used when it is asked for again */
        error_ignore(vdi_destroy(call, &(struct vdi_destroy_args){vdi}));
    return e;
}

struct error *sr_disable_database_replication(
    struct call *call, const struct sr_disable_database_replication_args *args)
{
    const struct sr *sr;
    ref_t vdi;

    TRY(DB_GET(call, sr, args->sr, &sr));
    vdi = find_disk(call, args->sr);
    return ref_is_null(vdi) ? OK : vdi_destroy(call, &(struct vdi_destroy_args){vdi});
}
