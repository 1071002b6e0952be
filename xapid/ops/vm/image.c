/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/vm/image.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "libxapi/value/value.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/storage/attach.h"
#include "xapid/ops/storage/check.h"
#include "xapid/ops/vm/checks.h"
#include "xapid/ops/vm/plans.h"
#include "xapid/task/task.h"

#define CHUNK ((size_t)1 << 20)

int64_t vm_image_room(const struct vm *vm)
{
    int64_t bytes = vm->memory_static_max + vm_memory_overhead(vm), mib = (int64_t)1 << 20;

    return (bytes + bytes / 10 + 16 * mib + mib - 1) / mib * mib;
}

/*** the disk ***/

struct error *vm_image_choose_sr(struct call *call, const struct vm *vm, ref_t *sr)
{
    const struct pool *pool = db_find(call, CLASS_pool, call->xapid->pool);
    const struct host *host = db_find(call, CLASS_host, call->xapid->host);
    const ref_t choice[] = {vm->suspend_sr, pool ? pool->suspend_image_sr : REF_NULL,
                            host ? host->suspend_image_sr : REF_NULL};

    *sr = REF_NULL;
    for (size_t i = 0; i < ARRAY_SIZE(choice); i++) {
        if (!db_find(call, CLASS_sr, choice[i]))
            continue;
        /* The first that this host reaches; if there is none, the first says why not. */
        if (sr_is_plugged(call->snap, choice[i], call->xapid->host)) {
            *sr = choice[i];
            return OK;
        }
        if (ref_is_null(*sr))
            *sr = choice[i];
    }
    return ref_is_null(*sr) ? err_vm_no_suspend_sr(call, call_ref(call, vm->ref)) : OK;
}

struct vdi_plan vm_image_plan(ref_t vdi, ref_t sr, int64_t size)
{
    return (struct vdi_plan){
        .vdi = vdi,
        .sr = sr,
        .how = VDI_EMPTY,
        .name_label = "Suspend image",
        .name_description = "Memory of a suspended VM",
        .virtual_size = size,
        .own_fields = true,
        .type = VDI_TYPE_SUSPEND,
    };
}

struct made {
    const struct vdi_plan *plan;
    const struct vdi_made *made;
};

static struct error *record_made(struct txn *txn, void *arg)
{
    const struct made *m = arg;

    return txn_find(txn, CLASS_vdi, m->plan->vdi) ? OK : txn_vdi_made(txn, m->plan, m->made);
}

struct error *vm_image_make_disk(struct op *op, ref_t vdi, ref_t sr, int64_t size)
{
    struct vdi_plan plan = vm_image_plan(vdi, sr, size);
    struct vdi_made made;

    TRY(vdi_make(op->call, &plan, 0.0, 0.1, &made));
    return db_update(op->call, record_made, &(struct made){&plan, &made});
}

static struct error *record_gone(struct txn *txn, void *arg)
{
    txn_vdi_gone(txn, arg);
    return OK;
}

struct error *vm_image_drop_disk(struct call *call, ref_t vdi, ref_t sr)
{
    struct vdi_plan plan = vm_image_plan(vdi, sr, 0);
    struct vdi_gone gone = {0};

    if (!db_find(call, CLASS_vdi, vdi))
        return vdi_unmake(call, &plan);
    TRY(vdi_erase(call, vdi, &gone));
    return db_update(call, record_gone, &gone);
}

/* An operation of its own, which recovery goes on with until it is done.  It holds the image alone:
 * the repository is held by the one that ends, under the same task. */
static void drop_later(struct call *call, const struct vdi *vdi, const struct error *why)
{
    struct vdi_destroy_intent intent = {vdi->ref};
    const struct op_hold hold = {CLASS_vdi, vdi->ref, VDI_OP_DESTROY};
    struct op op = {0};
    struct error *e;

    log_warning("memory image %s, which no VM needs any more, cannot be removed now: %s", vdi->uuid,
                error_line(call->arena, why));
    e = op_begin(call,
                 &(struct op_spec){
                     .kind = INTENT_vdi_destroy, .intent = &intent, .n_holds = 1, .holds = &hold},
                 &op);
    if (e)
        log_warning("memory image %s is left over: %s", vdi->uuid, error_line(call->arena, e));
    else
        op_leave(&op);
}

struct error *vm_image_end(struct op *op, ref_t image)
{
    struct vdi_gone gone = {0};
    struct error *e = op_step(op, "recorded", 0.95);
    const struct vdi *vdi = db_find(op->call, CLASS_vdi, image);

    if (!e && vdi)
        e = vdi_erase(op->call, image, &gone);
    if (e && vdi)
        drop_later(op->call, vdi, e);
    return op_commit_gone(op, e || ref_is_null(gone.vdi) ? 0 : 1, &gone);
}

void vm_image_undo(struct op *op, ref_t image, ref_t sr)
{
    struct error *e = vm_image_drop_disk(op->call, image, sr);
    const struct vdi *vdi = e ? db_find(op->call, CLASS_vdi, image) : NULL;

    if (vdi)
        drop_later(op->call, vdi, e);
    else if (e)
        log_warning("the disk of a memory image is left over: %s", error_line(op->call->arena, e));
}

void txn_vm_image_size(struct txn *txn, ref_t vdi, int64_t size)
{
    if (size)
        txn_strmap_put(txn, FIELD_vdi_other_config, vdi, VM_IMAGE_SIZE_KEY,
                       arena_printf(txn_arena(txn), "%lld", (long long)size));
}

/*** guards of this file ***/

struct file {
    int fd; /* one more than the descriptor; 0: none */
};

static void file_release(struct file *f)
{
    if (f->fd)
        close(f->fd - 1);
    f->fd = 0;
}

struct disk_io {
    struct vdi_io *io;
};

static void disk_io_release(struct disk_io *d)
{
    vdi_io_close(d->io);
}

static struct error *failed(struct call *call, const char *path, int err)
{
    return error_internal(call->arena, "memory image %s: %s", path, strerrordesc_np(err));
}

/*** where it is ***/

static const char *folder(const struct call *call)
{
    return arena_printf(call->arena, "%s/images", call->xapid->options.state_dir);
}

static struct error *open_image(struct op *op, ref_t vdi, bool writable, struct vm_image *out)
{
    struct call *call = op->call;
    const char *dir = folder(call);

    if (!ref_is_null(vdi))
        TRY(vdi_path_attach(call, vdi, writable, &out->disk));
    out->op = op;
    out->vdi = vdi;
    out->direct = !ref_is_null(vdi) && strcmp(out->disk.format, "raw") == 0;
    if (out->direct) {
        out->path = out->disk.path;
        return OK;
    }
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return failed(call, dir, errno);
    out->path =
        arena_printf(call->arena, "%s/%s", dir, call_ref(call, op->intent) + strlen("OpaqueRef:"));
    return OK;
}

struct error *vm_image_for_writing(struct op *op, ref_t vdi, struct vm_image *out)
{
    return open_image(op, vdi, true, out);
}

bool vm_image_exists(const struct vm_image *image)
{
    return image->direct || access(image->path, R_OK) == 0;
}

void vm_image_release(struct vm_image *image)
{
    if (!image->op || !op_may_undo(image->op))
        return;
    /* A file that cannot be removed is only a waste. */
    if (!image->direct && image->path)
        unlink(image->path);
    if (!ref_is_null(image->vdi))
        vdi_path_detach(image->op->call, image->vdi);
    image->op = NULL;
}

static bool is_of_an_operation(const struct call *call, const char *name)
{
    ref_t intent;

    return ref_from_text(arena_printf(call->arena, "OpaqueRef:%s", name), &intent) &&
           db_find(call, CLASS_intent, intent);
}

void vm_images_sweep(struct call *call)
{
    const char *path = folder(call);
    const struct dirent *d;
    DIR *dir = opendir(path);

    if (!dir)
        return; /* there was never any */
    call_refresh(call);
    while ((d = readdir(dir)))
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0 &&
            !is_of_an_operation(call, d->d_name))
            unlink(arena_printf(call->arena, "%s/%s", path, d->d_name));
    closedir(dir);
}

/*** copying ***/

static bool is_zero(const char *p, size_t n)
{
    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

/* Reads up to n bytes; fewer only at the end. */
static struct error *read_full(struct call *call, const char *path, int fd, char *buf, size_t n,
                               size_t *got)
{
    *got = 0;
    while (*got < n) {
        ssize_t k = read(fd, buf + *got, n - *got);

        if (k < 0 && errno != EINTR)
            return failed(call, path, errno);
        if (k == 0)
            break;
        if (k > 0)
            *got += (size_t)k;
    }
    return OK;
}

static struct error *write_full(struct call *call, const char *path, int fd, const char *buf,
                                size_t n)
{
    while (n) {
        ssize_t k = write(fd, buf, n);

        if (k < 0 && errno != EINTR)
            return failed(call, path, errno);
        if (k > 0) {
            buf += k;
            n -= (size_t)k;
        }
    }
    return OK;
}

struct error *vm_image_store(struct vm_image *image, int64_t *size)
{
    struct call *call = image->op->call;
    AUTO(disk_io) disk = {0};
    AUTO(file) file = {0};
    size_t got = CHUNK;
    char *buf;

    *size = 0;
    if (image->direct)
        return OK;
    file.fd = open(image->path, O_RDONLY | O_CLOEXEC) + 1;
    if (!file.fd)
        return failed(call, image->path, errno);
    TRY(vdi_io_open(call, &image->disk, true, &disk.io));
    buf = arena_alloc(call->arena, CHUNK);
    while (got == CHUNK) {
        TRY(read_full(call, image->path, file.fd - 1, buf, CHUNK, &got));
        if (*size + (int64_t)got > vdi_io_size(disk.io))
            return error_internal(call->arena,
                                  "the memory image is larger than its disk of %lld bytes",
                                  (long long)vdi_io_size(disk.io));
        /* A new disk reads as zeroes, but an interrupted earlier try may have written here. */
        if (got && is_zero(buf, got))
            TRY(vdi_io_zero(call, disk.io, *size, (int64_t)got));
        else if (got)
            TRY(vdi_io_write(call, disk.io, *size, buf, got));
        *size += (int64_t)got;
    }
    return vdi_io_flush(call, disk.io);
}

static struct error *fetch(struct vm_image *image, int64_t size)
{
    struct call *call = image->op->call;
    AUTO(disk_io) disk = {0};
    AUTO(file) file = {0};
    char *buf;

    TRY(vdi_io_open(call, &image->disk, false, &disk.io));
    if (size <= 0 || size > vdi_io_size(disk.io))
        size = vdi_io_size(disk.io);
    file.fd = open(image->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) + 1;
    if (!file.fd || ftruncate(file.fd - 1, size) < 0)
        return failed(call, image->path, errno);
    buf = arena_alloc(call->arena, CHUNK);
    for (int64_t at = 0; at < size;) {
        size_t n = (size_t)MIN((int64_t)CHUNK, size - at);

        TRY(task_check(call));
        TRY(vdi_io_read(call, disk.io, at, buf, n));
        if (!is_zero(buf, n))
            TRY(write_full(call, image->path, file.fd - 1, buf, n));
        else if (lseek(file.fd - 1, (off_t)n, SEEK_CUR) < 0)
            return failed(call, image->path, errno);
        at += (int64_t)n;
    }
    return OK;
}

struct error *vm_image_for_reading(struct op *op, ref_t vdi_ref, struct vm_image *out)
{
    const struct vdi *vdi;
    const char *text;
    int64_t size = 0;

    TRY(DB_GET(op->call, vdi, vdi_ref, &vdi));
    text = strmap_get(&vdi->other_config, VM_IMAGE_SIZE_KEY);
    if (text && !int_from_text(text, &size))
        size = 0;
    TRY(open_image(op, vdi_ref, false, out));
    return out->direct ? OK : fetch(out, size);
}
