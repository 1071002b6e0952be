/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/nbd/export.h"

#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "xapid/auth/rbac.h"
#include "xapid/auth/session.h"
#include "xapid/db/row.h"
#include "xapid/main/xapid.h"
#include "xapid/nbd/nbd.h"
#include "xapid/nbd/negotiate.h"
#include "xapid/ops/storage/attach.h"
#include "xapid/ops/storage/vdi_ops.h"

#define SESSION_PART "?session_id="

/* ---- a call of the client's ---- */

struct asking {
    struct arena arena;
    struct call call;
};

static void asking_init(struct asking *a, struct xapid *xapid)
{
    *a = (struct asking){0};
    call_init_internal(&a->call, xapid, &a->arena);
}

static void asking_release(struct asking *a)
{
    call_release(&a->call);
    arena_release(&a->arena);
}

/* ---- who asks for what ---- */

struct wanted {
    const char *uuid;
    ref_t session;
};

/* Clients that are given an address of the form nbds://host/name drop the first slash. */
static bool read_name(struct arena *arena, const char *name, size_t n, struct wanted *out)
{
    const char *text = arena_strndup(arena, name, n);
    uint8_t bytes[16];

    text += *text == '/';
    if (strlen(text) < UUID_TEXT_SIZE - 1)
        return false;
    out->uuid = arena_strndup(arena, text, UUID_TEXT_SIZE - 1);
    text += UUID_TEXT_SIZE - 1;
    return uuid_from_text(out->uuid, bytes) &&
           strncmp(text, SESSION_PART, strlen(SESSION_PART)) == 0 &&
           ref_from_text(text + strlen(SESSION_PART), &out->session);
}

static struct error *authorize(struct call *call, ref_t session)
{
    struct sessions *sessions = call->xapid->sessions;

    if (session_is_elsewhere(sessions, session))
        TRY(session_bring(sessions, call->arena, session));
    call->session = session_find(sessions, session);
    if (!call->session)
        return err_session_invalid(call, call_ref(call, session));
    return rbac_check(call, &api_messages[MSG_vdi_get_nbd_info],
                      &(struct vdi_get_nbd_info_args){0});
}

/* The disk, and its session in the call. */
static struct error *find_disk(struct call *call, const char *name, size_t n,
                               const struct vdi **out)
{
    struct wanted wanted;
    ref_t ref;

    if (!read_name(call->arena, name, n, &wanted))
        return err_invalid_value(call, "export name", arena_strndup(call->arena, name, n));
    TRY(authorize(call, wanted.session));
    call_refresh(call);
    TRY(db_by_uuid(call, CLASS_vdi, wanted.uuid, &ref));
    TRY(DB_GET(call, vdi, ref, out));
    return vdi_check_contents(call, *out);
}

/* The text must outlive the call: the sentence is the same for all that a stranger may not know. */
static uint32_t refusal(struct call *call, const struct nbd_export *export, const struct error *e,
                        const char **why)
{
    log_info("nbd: %s may not read a disk: %s", export->client, error_line(call->arena, e));
    if (error_is(e, "VDI_IN_USE") || error_is(e, "OTHER_OPERATION_IN_PROGRESS")) {
        *why = "The disk is in use.";
        return NBD_REP_ERR_POLICY;
    }
    *why = "There is no such disk for this session.";
    return NBD_REP_ERR_UNKNOWN;
}

/* Whether somebody has the disk and may write to it. */
static bool is_written(struct call *call, ref_t vdi)
{
    struct refs vbds = db_referrers(call, FIELD_vbd_vdi, vdi);

    for (size_t i = 0; i < vbds.n; i++) {
        const struct vbd *vbd = db_find(call, CLASS_vbd, vbds.v[i]);

        if (vbd->currently_attached && vbd->mode == VBD_RW)
            return true;
    }
    return false;
}

uint32_t nbd_export_find(void *ctx, const char *name, size_t n, struct nbd_facts *out,
                         const char **why)
{
    struct nbd_export *export = ctx;
    AUTO(asking) a = {0};
    const struct vdi *vdi;
    struct error *e;

    asking_init(&a, export->xapid);
    e = find_disk(&a.call, name, n, &vdi);
    if (e)
        return refusal(&a.call, export, e, why);
    *out = (struct nbd_facts){vdi->virtual_size, !is_written(&a.call, vdi->ref)};
    return NBD_REP_ACK;
}

/* ---- holding it ---- */

struct holding {
    ref_t vdi, vbd;
    const char *client;
};

/* What a VM writes to may be read beside it, where this host is the one that serves it. */
static struct error *check_readable(struct txn *txn, ref_t vdi)
{
    struct call *call = txn_call(txn);
    struct error *e = txn_vdi_check_attach(txn, vdi, REF_NULL, false);

    return error_is(e, "VDI_IN_USE") && vdi_is_attached(call, vdi) ? OK : e;
}

static struct error *hold_txn(struct txn *txn, void *arg)
{
    const struct holding *h = arg;
    struct call *call = txn_call(txn);
    const struct host *host;
    char uuid[UUID_TEXT_SIZE];
    struct vbd row;

    TRY(check_readable(txn, h->vdi));
    TRY(TXN_GET(txn, host, call->xapid->host, &host));
    row_defaults(&api_classes[CLASS_vbd], &row);
    row.ref = h->vbd;
    row.uuid = uuid_new(uuid);
    row.vm = host->control_domain;
    row.vdi = h->vdi;
    row.userdevice = "nbd";
    row.type = VBD_TYPE_DISK;
    row.mode = VBD_RO;
    row.unpluggable = false; /* the client lets go of it */
    row.currently_attached = true;
    row.other_config = strmap_with(txn_arena(txn), row.other_config, NBD_CLIENT_KEY, h->client);
    txn_create(txn, CLASS_vbd, &row);
    return OK;
}

static struct error *let_go_txn(struct txn *txn, void *arg)
{
    ref_t vbd = *(const ref_t *)arg;

    if (txn_find(txn, CLASS_vbd, vbd))
        txn_destroy(txn, CLASS_vbd, vbd);
    return OK;
}

/* ---- reading it ---- */

static enum nbd_error io_failed(struct arena *arena, const struct nbd_export *export,
                                const struct error *e)
{
    if (!e)
        return NBD_OK;
    log_warning("nbd: a disk cannot be read for %s: %s", export->client, error_line(arena, e));
    return NBD_EIO;
}

static enum nbd_error disk_read(struct nbd_disk *disk, int64_t at, void *out, size_t n)
{
    struct nbd_export *export = (struct nbd_export *)disk;
    AUTO(arena) arena = {0};
    struct call call = {.arena = &arena};

    return io_failed(&arena, export, vdi_io_read(&call, export->io, at, out, n));
}

static enum nbd_error disk_data(struct nbd_disk *disk, int64_t at, int64_t limit, int64_t *start,
                                int64_t *end)
{
    struct nbd_export *export = (struct nbd_export *)disk;
    AUTO(arena) arena = {0};
    struct call call = {.arena = &arena};

    return io_failed(&arena, export, vdi_io_data(&call, export->io, at, limit, start, end));
}

static struct error *open_export(struct call *call, struct nbd_export *export, const char *name,
                                 size_t n)
{
    struct holding h = {.vbd = ref_new(), .client = export->client};
    const struct vdi *vdi;
    struct vdi_path path;

    TRY(find_disk(call, name, n, &vdi));
    h.vdi = vdi->ref;
    export->disk =
        (struct nbd_disk){.still = !is_written(call, h.vdi), .read = disk_read, .data = disk_data};
    /* Before the outcome is known: what may have been written is taken back. */
    export->vdi = h.vdi;
    export->vbd = h.vbd;
    TRY(db_update(call, hold_txn, &h));
    TRY(vdi_path_read(call, h.vdi, &path));
    export->attached = true;
    TRY(vdi_io_open(call, &path, false, &export->io));
    export->disk.size = vdi_io_size(export->io);
    return OK;
}

uint32_t nbd_export_open(void *ctx, const char *name, size_t n, struct nbd_disk **out,
                         const char **why)
{
    struct nbd_export *export = ctx;
    AUTO(asking) a = {0};
    struct error *e;

    nbd_export_release(export); /* a client may change its mind */
    asking_init(&a, export->xapid);
    e = open_export(&a.call, export, name, n);
    if (e) {
        nbd_export_release(export);
        return refusal(&a.call, export, e, why);
    }
    log_info("nbd: %s reads disk %.*s", export->client, UUID_TEXT_SIZE - 1, name + (*name == '/'));
    *out = &export->disk;
    return NBD_REP_ACK;
}

static void let_go(struct nbd_export *export)
{
    AUTO(asking) a = {0};
    struct error *e;

    asking_init(&a, export->xapid);
    vdi_io_close(export->io);
    if (export->attached)
        vdi_path_detach(&a.call, export->vdi);
    e = db_update(&a.call, let_go_txn, &export->vbd);
    if (e)
        log_error("nbd: a disk stays held until the next start: %s", error_line(a.call.arena, e));
    export->io = NULL;
    export->attached = false;
    export->vdi = export->vbd = REF_NULL;
}

void nbd_export_release(struct nbd_export *export)
{
    if (!ref_is_null(export->vbd))
        let_go(export);
}

/* ---- after a crash ---- */

static struct error *forget_txn(struct txn *txn, void *arg)
{
    const struct host *host;
    struct refs vbds;

    (void)arg;
    TRY(TXN_GET(txn, host, txn_call(txn)->xapid->host, &host));
    vbds = txn_referrers(txn, FIELD_vbd_vm, host->control_domain);
    for (size_t i = 0; i < vbds.n; i++) {
        const struct vbd *vbd = txn_find(txn, CLASS_vbd, vbds.v[i]);

        if (vbd && strmap_get(&vbd->other_config, NBD_CLIENT_KEY))
            txn_destroy(txn, CLASS_vbd, vbd->ref);
    }
    return OK;
}

struct error *nbd_recover(struct call *call)
{
    return db_update(call, forget_txn, NULL);
}
