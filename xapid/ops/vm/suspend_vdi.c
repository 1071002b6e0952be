/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * suspend_vdi.c -- VM.set_suspend_VDI: another disk holds the same image of a suspended VM's
 * memory.
 *
 * Both are read and compared: a guest that is resumed from something else would be lost.
 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/value/value.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/vm/image.h"
#include "xapid/ops/vm/lifecycle.h"
#include "xapid/ops/vm/tell.h"
#include "xapid/task/task.h"

#define BUFFER ((size_t)1 << 20)
#define DIGEST_TEXT 65 /* SHA-256 in hexadecimal digits */

/*** what an image is ***/

struct hash {
    EVP_MD_CTX *ctx;
    int fd; /* one more than the descriptor, so that zero is none */
};

static void hash_release(struct hash *h)
{
    EVP_MD_CTX_free(h->ctx);
    if (h->fd)
        close(h->fd - 1);
}

/* Bytes of the disk that are the image. */
static int64_t image_size(const struct vdi *vdi)
{
    const char *text = strmap_get(&vdi->other_config, VM_IMAGE_SIZE_KEY);
    int64_t size;

    return text && int_from_text(text, &size) && size > 0 ? size : INT64_MAX;
}

static struct error *hash_file(struct call *call, const char *path, int64_t size, char *out)
{
    uint8_t *buffer = arena_alloc(call->arena, BUFFER), digest[EVP_MAX_MD_SIZE];
    AUTO(hash) h = {.ctx = EVP_MD_CTX_new()};
    ssize_t n;

    h.fd = open(path, O_RDONLY | O_CLOEXEC) + 1;
    if (!h.fd)
        return error_internal(call->arena, "%s: %s", path, strerrordesc_np(errno));
    EVP_DigestInit_ex(h.ctx, EVP_sha256(), NULL);
    while (size > 0 && (n = read(h.fd - 1, buffer, (size_t)MIN(size, (int64_t)BUFFER))) != 0) {
        if (n < 0)
            return error_internal(call->arena, "%s: %s", path, strerrordesc_np(errno));
        EVP_DigestUpdate(h.ctx, buffer, (size_t)n);
        size -= n;
        TRY(task_check(call));
    }
    EVP_DigestFinal_ex(h.ctx, digest, NULL);
    for (int i = 0; i < 32; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
    return OK;
}

static struct error *hash_image(struct op *op, ref_t ref, char out[DIGEST_TEXT])
{
    AUTO(vm_image) image = {0};
    const struct vdi *vdi;

    TRY(DB_GET(op->call, vdi, ref, &vdi));
    TRY(vm_image_for_reading(op, ref, &image));
    return hash_file(op->call, image.path, image_size(vdi), out);
}

/*** the message ***/

struct change {
    ref_t vm, old, new;
};

static struct error *change_txn(struct txn *txn, void *arg)
{
    const struct change *c = arg;
    const struct vm *vm;

    TRY(TXN_GET(txn, vm, c->vm, &vm));
    if (vm->power_state != VM_SUSPENDED || !ref_equal(vm->suspend_vdi, c->old))
        return err_vm_bad_power_state(txn_call(txn), call_ref(txn_call(txn), c->vm), "suspended",
                                      vm_power_state_text(vm->power_state));
    TXN_SET(txn, vm, c->vm, suspend_vdi, c->new);
    TXN_SET(txn, vdi, c->new, type, VDI_TYPE_SUSPEND);
    return OK;
}

static struct error *replace(struct op *op, const struct vm *vm, void *arg)
{
    struct call *call = op->call;
    const ref_t *value = arg;
    struct change c = {vm->ref, vm->suspend_vdi, *value};
    char old[DIGEST_TEXT] = "", new[DIGEST_TEXT] = "";

    TRY(hash_image(op, c.old, old));
    TRY(hash_image(op, c.new, new));
    if (strcmp(old, new) != 0)
        return error_new(call->arena, "SUSPEND_VDI_REPLACEMENT_IS_NOT_IDENTICAL", 4,
                         call_ref(call, c.old), old, call_ref(call, c.new), new);
    return db_update(call, change_txn, &c);
}

struct error *vm_set_suspend_vdi(struct call *call, const struct vm_set_suspend_vdi_args *args)
{
    const struct vdi *vdi;
    const struct vm *vm;
    ref_t value = args->value;

    TRY(DB_GET(call, vm, args->self, &vm));
    TRY(DB_GET(call, vdi, value, &vdi));
    if (vm->power_state != VM_SUSPENDED)
        return err_vm_bad_power_state(call, call_ref(call, vm->ref), "suspended",
                                      vm_power_state_text(vm->power_state));
    if (ref_equal(vm->suspend_vdi, value))
        return OK;
    if (db_referrers(call, FIELD_vbd_vdi, value).n)
        return err_vdi_in_use(call, call_ref(call, value), "suspend");
    /* It must not be resumed meanwhile. */
    return vm_tell(call, args->self, VM_OP_CSVM, replace, &value);
}
