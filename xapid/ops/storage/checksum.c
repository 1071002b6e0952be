/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* checksum.c -- VDI.checksum: the MD5 of all that is on a disk, for tests. */
#include <openssl/evp.h>
#include <stdlib.h>

#include "libxapi/base/memory.h"
#include "libxapi/value/value.h"
#include "xapid/ops/storage/attach.h"
#include "xapid/ops/storage/vdi_ops.h"
#include "xapid/task/task.h"

#define CHUNK ((int64_t)1024 * 1024)

struct reading {
    struct call *call; /* NULL: the disk is not attached */
    ref_t vdi;
    struct vdi_io *io;
    EVP_MD_CTX *digest;
    char *data;
};

static void reading_release(struct reading *r)
{
    vdi_io_close(r->io);
    EVP_MD_CTX_free(r->digest);
    free(r->data);
    if (r->call)
        vdi_path_detach(r->call, r->vdi);
}

static struct error *read_all(struct call *call, struct reading *r)
{
    int64_t size = vdi_io_size(r->io);

    for (int64_t at = 0; at < size; at += CHUNK) {
        size_t n = (size_t)MIN(CHUNK, size - at);

        TRY(vdi_io_read(call, r->io, at, r->data, n));
        if (EVP_DigestUpdate(r->digest, r->data, n) != 1)
            return error_internal(call->arena, "OpenSSL does not compute an MD5 sum");
        task_progress(call, (double)at / (double)size);
        TRY(task_check(call));
    }
    return OK;
}

static struct error *checksum(struct call *call, ref_t vdi, const char **result)
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    AUTO(reading) r = {.vdi = vdi};
    struct vdi_path path;
    unsigned n = 0;
    char *text;

    TRY(vdi_path_attach(call, vdi, false, &path));
    r.call = call;
    TRY(vdi_io_open(call, &path, false, &r.io));
    r.data = xmalloc((size_t)CHUNK);
    r.digest = EVP_MD_CTX_new();
    if (!r.digest || EVP_DigestInit_ex(r.digest, EVP_md5(), NULL) != 1)
        return error_internal(call->arena, "OpenSSL has no MD5");
    TRY(read_all(call, &r));
    if (EVP_DigestFinal_ex(r.digest, sum, &n) != 1)
        return error_internal(call->arena, "OpenSSL does not compute an MD5 sum");
    text = arena_alloc(call->arena, 2 * (size_t)n + 1);
    for (unsigned i = 0; i < n; i++) {
        text[2 * i] = "0123456789abcdef"[sum[i] >> 4];
        text[2 * i + 1] = "0123456789abcdef"[sum[i] & 15];
    }
    text[2 * n] = '\0';
    *result = text;
    return OK;
}

static struct error *check_readable(struct txn *txn, void *arg)
{
    ref_t ref = *(const ref_t *)arg;
    const struct vdi *vdi;

    TRY(txn_vdi_check(txn, ref, VDI_OP_COPY, &vdi));
    return txn_vdi_check_attach(txn, ref, REF_NULL, false);
}

struct error *vdi_begin_reading(struct call *call, ref_t ref, struct op *op)
{
    /* As for a copy that goes nowhere. */
    struct vdi_transfer_intent intent = {REF_NULL, ref};
    const struct vdi *vdi;

    TRY(DB_GET(call, vdi, ref, &vdi));
    return op_begin(call,
                    &(struct op_spec){.kind = INTENT_vdi_transfer,
                                      .intent = &intent,
                                      .n_holds = 1,
                                      .holds = &(struct op_hold){CLASS_vdi, ref, VDI_OP_COPY},
                                      .check = check_readable,
                                      .arg = &ref},
                    op);
}

struct error *vdi_checksum(struct call *call, const struct vdi_checksum_args *args,
                           const char **result)
{
    AUTO(op) op = {0};

    TRY(vdi_begin_reading(call, args->self, &op));
    return checksum(call, args->self, result);
}
