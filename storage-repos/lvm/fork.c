/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fork.c -- snapshot and clone, and the ways back.
 *
 * It is ../dir/fork.c with volumes, and why nothing can be lost is said there.  L is the disk, B
 * the base to be, C the new disk; each step is one change of LVM's metadata:
 *
 *   1. new-C and leaf-L, empty images whose parent is VDI-B, which need not exist yet
 *   2. VDI-L becomes VDI-B.  From here on L is what leaf-L holds (repair.c): nothing yet, so B's
 *      content; whoever writes to it goes on writing to B
 *   3. B is marked as hidden; leaf-L becomes VDI-L
 *   4. the data path goes on with that: what was acknowledged before is in B, durably
 *   5. new-C becomes VDI-C
 *   6. a thick B is cut down to what it holds
 *
 * A disk that holds nothing of its own has nothing to freeze: C is made on its own parent.
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/base/call.h"
#include "libxapi/base/log.h"
#include "storage-repos/datapath/datapath.h"
#include "storage-repos/lvm/volumes.h"

#define CHAIN_MAX 128 /* qemu opens them all */

enum reached { NOTHING, FROZEN, DONE };

struct fork {
    struct call *call;
    const struct sr_handle *sr;
    struct lvm_state *st;
    struct lvm_volume *disk;
    const char *location, *base;
    const struct vdi_spec *spec;
    bool served; /* the data path writes to the disk */
    bool empty;  /* the disk's own image: nothing is frozen */
};

static const char *disk_path(const struct fork *f)
{
    return lvm_path(f->call, f->st, LVM_DISK, f->location);
}

static struct error *find_reached(const struct fork *f, enum reached *out)
{
    const struct lvm_volume *base = lvm_disk(&f->st->is, f->base);
    const struct lvm_volume *new = lvm_disk(&f->st->is, f->spec->location);
    const char *parent = f->disk->meta.parent;

    *out = NOTHING;
    if (new && ((base && strcmp(new->meta.parent, f->base) == 0) ||
                (!base && parent[0] && strcmp(new->meta.parent, parent) == 0)))
        *out = DONE;
    else if (new)
        return sr_failed(f->call, SR_FAIL_VDI_EXISTS, "%s", f->spec->location);
    else if (base && strcmp(parent, f->base) == 0)
        *out = FROZEN;
    else if (base)
        return sr_failed(f->call, SR_FAIL_VDI_EXISTS, "%s", f->base);
    return OK;
}

/* An empty image in a volume of its own, on a parent that may not be there yet. */
static struct error *make_empty(struct call *call, struct lvm_state *st, enum lvm_kind kind,
                                const char *location, int64_t size, const struct lvm_meta *meta,
                                const char *parent_format)
{
    TRY(lvm_make(call, st, kind, location, size, meta));
    return qcow2_create_on(call, lvm_path(call, st, kind, location), meta->virtual_size,
                           lvm_path(call, st, LVM_DISK, meta->parent), parent_format);
}

/* Enough as long as nobody writes to it: it grows once it is attached for that. */
static int64_t least_size(const struct lvm_state *st, int64_t virtual_size)
{
    return st->is.thin ? lvm_full_size("qcow2", virtual_size) : lvm_empty_size(virtual_size);
}

/* What is below the new images. */
static const char *parent_format(const struct fork *f)
{
    const struct lvm_volume *parent =
        f->empty ? lvm_disk(&f->st->is, f->disk->meta.parent) : f->disk;

    return parent ? parent->meta.format : "qcow2";
}

static struct error *make_new(const struct fork *f, const char *format)
{
    const char *parent = f->empty ? f->disk->meta.parent : f->base;
    struct lvm_meta meta = lvm_meta_new(f->spec, "qcow2", parent, f->disk->meta.virtual_size);

    return make_empty(f->call, f->st, LVM_NEW, f->spec->location,
                      least_size(f->st, meta.virtual_size), &meta, format);
}

/* Steps 1 to 3. */
static struct error *freeze(const struct fork *f)
{
    struct lvm_meta meta = f->disk->meta;

    meta.parent = f->base;
    meta.format = "qcow2";
    TRY(make_empty(f->call, f->st, LVM_LEAF, f->location, lvm_full_size("qcow2", meta.virtual_size),
                   &meta, f->disk->meta.format));
    TRY(lvm_rename(f->call, f->st, LVM_DISK, f->location, LVM_DISK, f->base));
    TRY(lvm_look(f->call, f->st));
    return lvm_repair(f->call, f->st);
}

/* A saving: what does not succeed costs space. */
static void cut_down(const struct fork *f)
{
    const struct lvm_volume *base = lvm_find(&f->st->is, LVM_DISK, f->base);
    int64_t end, extent = f->st->is.extent;
    struct error *e;

    if (!base || base->thin || strcmp(base->meta.format, "qcow2") != 0)
        return;
    e = lvm_activate(f->call, f->st, base);
    if (!e)
        e = qcow2_end(f->call, lvm_path(f->call, f->st, LVM_DISK, f->base), &end);
    if (!e && end + extent < base->length)
        e = LVM(f->call, f->st, SR_FAIL_VDI, "lvreduce", "-f", "-y", "-L",
                arena_printf(f->call->arena, "%lldb",
                             (long long)((end + extent - 1) / extent * extent)),
                lvm_target(f->call, f->st, LVM_DISK, f->base));
    if (e)
        log_warning("%s keeps more space than it needs: %s", f->base,
                    error_line(f->call->arena, e));
}

static struct error *carry_out(struct fork *f, enum reached reached)
{
    const char *format = parent_format(f);

    if (reached == FROZEN)
        format = lvm_disk(&f->st->is, f->base)->meta.format;
    /* Before anything changes: there may be no room for it. */
    TRY(make_new(f, format));
    if (reached == NOTHING && !f->empty)
        TRY(freeze(f));
    if (f->served)
        TRY(datapath_follow(f->call, f->sr->datapath, disk_path(f)));
    TRY(lvm_rename(f->call, f->st, LVM_NEW, f->spec->location, LVM_DISK, f->spec->location));
    TRY(lvm_look(f->call, f->st));
    cut_down(f);
    return OK;
}

static struct error *check(const struct fork *f, enum reached reached)
{
    size_t length = lvm_chain_length(&f->st->is, f->disk);

    if (reached != NOTHING)
        return OK;
    if (!length)
        return sr_failed(f->call, SR_FAIL_VDI, "%s: a part of its chain is missing", f->location);
    if (length >= CHAIN_MAX && !f->empty)
        return sr_failed(f->call, SR_FAIL_CHAIN, "%s: %zu images", f->location, length);
    if (f->disk->children)
        return vdi_readonly(f->call, f->location);
    return f->served ? OK : lvm_check_unwritten(f->call, f->st, f->disk, "snapshot");
}

/* Whether there is nothing to freeze; nobody may write to it meanwhile. */
static struct error *find_empty(struct fork *f)
{
    int fd;

    if (f->served || !f->disk->meta.parent[0] || strcmp(f->disk->meta.format, "qcow2") != 0)
        return OK;
    TRY(lvm_activate(f->call, f->st, f->disk));
    f->disk->active = true;
    fd = open(disk_path(f), O_RDONLY | O_CLOEXEC);
    f->empty = fd >= 0 && !qcow2_has_writer(fd) && qcow2_is_empty(fd);
    if (fd >= 0)
        close(fd);
    return OK;
}

static struct error *fork_disk(struct fork *f)
{
    enum reached reached;

    TRY(find_reached(f, &reached));
    if (reached == DONE)
        return OK;
    f->served = f->sr->datapath && datapath_writes(f->call, f->sr->datapath, disk_path(f));
    if (f->served) /* as an earlier fork may have left it */
        TRY(datapath_follow(f->call, f->sr->datapath, disk_path(f)));
    if (reached == NOTHING)
        TRY(find_empty(f));
    TRY(check(f, reached));
    return carry_out(f, reached);
}

/* After a failure that was no crash; what was reached stays, for a repeat or an undo. */
static void clean_up(const struct fork *f)
{
    struct error *e = lvm_look(f->call, f->st);

    if (!e)
        e = lvm_repair(f->call, f->st);
    if (!e && lvm_find(&f->st->is, LVM_NEW, f->spec->location))
        e = lvm_remove(f->call, f->st, LVM_NEW, f->spec->location);
    if (e)
        log_warning("%s: %s", f->st->group, error_line(f->call->arena, e));
}

struct error *lvm_vdi_fork(struct call *call, struct sr_handle *sr, const char *location,
                           const char *base, const struct vdi_spec *spec, struct vdi_info *info)
{
    struct fork f = {
        .call = call, .sr = sr, .st = sr->state, .location = location, .base = base, .spec = spec};
    struct error *e;

    TRY(lvm_repair(call, f.st));
    TRY(lvm_get(call, sr, location, &f.disk));
    if (!lvm_location_ok(base) || !lvm_location_ok(spec->location) ||
        strcmp(base, spec->location) == 0 || strcmp(base, location) == 0 ||
        strcmp(spec->location, location) == 0)
        return sr_failed(call, SR_FAIL_ARGUMENT, "%s and %s: three different uuids are needed",
                         base, spec->location);
    e = fork_disk(&f);
    if (e)
        clean_up(&f);
    lvm_settle(call, f.st);
    TRY(e);
    return lvm_vdi_stat(call, sr, spec->location, info);
}

/* ---- the ways back ---- */

/* A disk that nothing lies upon and nobody writes to. */
static struct error *get_free(struct call *call, const struct sr_handle *sr, const char *location,
                              struct lvm_volume **out)
{
    TRY(lvm_get(call, sr, location, out));
    if ((*out)->children)
        return vdi_in_use(call, location, "revert");
    return lvm_check_unwritten(call, sr->state, *out, "revert");
}

/* Another volume becomes the disk; repair.c does what follows, here as after a crash. */
static struct error *exchange(struct call *call, struct lvm_state *st, const char *location,
                              enum lvm_kind by_kind, const char *by)
{
    TRY(lvm_rename(call, st, LVM_DISK, location, LVM_OLD, location));
    TRY(lvm_rename(call, st, by_kind, by, LVM_DISK, location));
    TRY(lvm_look(call, st));
    TRY(lvm_repair(call, st));
    TRY(lvm_collect(call, st));
    lvm_settle(call, st);
    return OK;
}

struct error *lvm_vdi_replace(struct call *call, struct sr_handle *sr, const char *location,
                              const char *by, struct vdi_info *info)
{
    struct lvm_state *st = sr->state;
    struct lvm_volume *disk, *other;
    struct error *e;

    TRY(lvm_repair(call, st));
    TRY(get_free(call, sr, location, &disk));
    e = get_free(call, sr, by, &other);
    if (!e)
        TRY(exchange(call, st, location, LVM_DISK, by));
    else if (!error_is(e, "VDI_MISSING"))
        return e;
    return lvm_vdi_stat(call, sr, location, info);
}

/* An empty image with the same parent. */
struct error *lvm_vdi_reset(struct call *call, struct sr_handle *sr, const char *location)
{
    struct lvm_state *st = sr->state;
    const struct lvm_volume *parent;
    struct lvm_volume *disk;
    struct error *e;

    TRY(lvm_repair(call, st));
    TRY(get_free(call, sr, location, &disk));
    parent = disk->meta.parent[0] ? lvm_disk(&st->is, disk->meta.parent) : NULL;
    if (!parent || !lvm_chain_length(&st->is, disk))
        return sr_failed(call, SR_FAIL_VDI, "%s: what it could go back to is missing", location);
    e = make_empty(call, st, LVM_LEAF, location, least_size(st, disk->meta.virtual_size),
                   &disk->meta, parent->meta.format);
    if (e) {
        error_ignore(lvm_remove(call, st, LVM_LEAF, location)); /* the first one says more */
        return e;
    }
    return exchange(call, st, location, LVM_LEAF, location);
}
