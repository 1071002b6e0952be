/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * server.c -- host.install_server_certificate, reset_server_certificate and
 * emergency_reset_server_certificate: check, replace the file, record it, show it.
 *
 * The pool's operation cert_refresh keeps two from being at it at once.  A step that fails puts the
 * old file back; after a crash either file is a good one, and what is found is recorded.
 */
#include "xapid/ops/certificates/server.h"

#include <string.h>

#include <openssl/crypto.h>

#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "xapid/auth/file.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/certificates/check.h"
#include "xapid/ops/certificates/record.h"
#include "xapid/ops/certificates/store.h"
#include "xapid/ops/op.h"
#include "xapid/ops/vm/domain.h"

#define FILE_LIMIT (4 * PEM_LIMIT)

static const char *server_path(const struct call *call)
{
    return arena_printf(call->arena, "%s/xapid-tls.pem", call->xapid->options.state_dir);
}

static struct error *replace_file(struct call *call, const char *text)
{
    const char *path = server_path(call);
    AUTO(file_lock) lock = {0};

    TRY(file_lock_take(call->arena, path, &lock));
    return secret_file_replace(call->arena, path, text, strlen(text));
}

/* The file as it was, put back unless it is kept. */
struct old_file {
    struct op *op;
    char *text;
};

static struct error *old_file_read(struct op *op, struct old_file *out)
{
    size_t size;

    out->op = op;
    return secret_file_read(op->call->arena, server_path(op->call), FILE_LIMIT, &out->text, &size);
}

static void old_file_keep(struct old_file *old)
{
    if (old->text)
        OPENSSL_cleanse(old->text, strlen(old->text));
    old->text = NULL;
}

static void old_file_release(struct old_file *old)
{
    struct error *e = OK;

    if (!old->text)
        return;
    if (op_may_undo(old->op))
        e = replace_file(old->op->call, old->text);
    if (e)
        log_error("the server's certificate was not put back: %s",
                  error_line(old->op->call->arena, e));
    old_file_keep(old);
}

/*** the record ***/

struct recording {
    ref_t host;
    struct certificate_info info;
};

static struct error *record_txn(struct txn *txn, void *arg)
{
    const struct recording *r = arg;
    const struct host *host;

    TRY(TXN_GET(txn, host, r->host, &host));
    txn_server_certificate(txn, r->host, &r->info);
    return OK;
}

static struct error *recording_of_file(struct call *call, struct recording *out)
{
    out->host = call->xapid->host;
    return certificate_read(call->arena, server_path(call), &out->info);
}

/*** the operation ***/

static struct error *check_begin(struct txn *txn, void *arg)
{
    const struct pool *pool;

    (void)arg;
    TRY(TXN_GET(txn, pool, txn_call(txn)->xapid->pool, &pool));
    for (size_t i = 0; i < pool->current_operations.n; i++)
        if (pool->current_operations.v[i].value == POOL_OP_CERT_REFRESH)
            return err_other_operation_in_progress(
                txn_call(txn), "pool", call_ref(txn_call(txn), pool->ref), "cert_refresh",
                pool->current_operations.v[i].key);
    return OK;
}

static struct error *replace(struct call *call, const char *file)
{
    struct server_certificate_intent intent = {call->xapid->host};
    struct op_hold hold = {CLASS_pool, call->xapid->pool, POOL_OP_CERT_REFRESH};
    AUTO(op) op = {0};
    AUTO(old_file) old = {0};
    struct recording r;

    TRY(op_begin(call,
                 &(struct op_spec){.kind = INTENT_server_certificate,
                                   .intent = &intent,
                                   .n_holds = 1,
                                   .holds = &hold,
                                   .check = check_begin},
                 &op));
    TRY(old_file_read(&op, &old));
    TRY(replace_file(call, file));
    TRY(op_step(&op, "written", 0.5));
    TRY(recording_of_file(call, &r));
    TRY(op_commit(&op, record_txn, &r));
    old_file_keep(&old);
    certificates_check_expiry(call, clock_wall());
    return xapid_reload_certificate(call->arena, call->xapid);
}

struct error *server_certificate_recover(struct call *call, struct op *op,
                                         const struct server_certificate_intent *intent)
{
    struct recording r;

    (void)intent;
    TRY(recording_of_file(call, &r));
    return op_commit(op, record_txn, &r);
}

static struct error *reset(struct call *call)
{
    const struct host *host;
    const char *file;

    TRY(DB_GET(call, host, call->xapid->host, &host));
    TRY(certificate_generate(call->arena, host->hostname, &file));
    return replace(call, file);
}

struct error *host_install_server_certificate(
    struct call *call, const struct host_install_server_certificate_args *args)
{
    const char *file;

    TRY(host_is_here(call, args->host));
    TRY(check_server_pem(
        call, &(struct server_pem){args->certificate, args->private_key, args->certificate_chain},
        clock_wall(), &file));
    return replace(call, file);
}

struct error *host_reset_server_certificate(struct call *call,
                                            const struct host_reset_server_certificate_args *args)
{
    TRY(host_is_here(call, args->host));
    return reset(call);
}

struct error *host_emergency_reset_server_certificate(struct call *call)
{
    return reset(call);
}

/*** the daemon's own ***/

struct error *certificates_start(struct call *call)
{
    struct recording r;

    TRY(recording_of_file(call, &r));
    TRY(db_update(call, record_txn, &r));
    return certificates_write(call);
}

static bool is_coordinator(const struct call *call)
{
    const struct pool *pool = db_find(call, CLASS_pool, call->xapid->pool);

    return pool && ref_equal(pool->master, call->xapid->host);
}

void certificates_look_after(struct call *call)
{
    struct error *e = certificates_write(call);

    if (e)
        log_warning("the files of trusted certificates are not up to date: %s",
                    error_line(call->arena, e));
    if (is_coordinator(call))
        certificates_check_expiry(call, clock_wall());
}
