/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * repair.c -- what an interrupted change has left, and what nothing needs any more.
 *
 * LVM gives a volume another name in one step, but cannot give it the name of another one.  So a
 * disk U whose volume is exchanged has none of its own name for a moment, and a volume beside it
 * says what it is:
 *
 *   old-U, no VDI-U   U is to go back (replace, reset), and has not: old-U is still what counts
 *   old-U and VDI-U   U has gone back: VDI-U gets the names that old-U has, and old-U goes
 *   leaf-U, no VDI-U  U was frozen (fork), and is what leaf-U and its parent hold: that is marked
 *                     as hidden, and leaf-U becomes VDI-U
 *   leaf-U and VDI-U  nothing has happened to U yet: leaf-U goes
 *
 * Both are never there without the one that holds the data: leaf-U is made on a parent that is
 * VDI-U by another name, and old-U is removed last.
 */
#include "libxapi/base/call.h"
#include "libxapi/base/log.h"
#include "storage-repos/lvm/volumes.h"

/* What a base is called: nobody sees it. */
static struct lvm_meta base_meta(const struct lvm_volume *volume)
{
    struct lvm_meta meta = volume->meta;

    meta.hidden = true;
    meta.name_label = "base copy";
    meta.name_description = "";
    meta.sm_config.n = 0;
    return meta;
}

static struct error *repair_old(struct call *call, struct lvm_state *st,
                                const struct lvm_volume *old)
{
    const struct lvm_volume *disk = lvm_find(&st->is, LVM_DISK, old->location);
    struct lvm_meta meta;

    if (!disk)
        return lvm_rename(call, st, LVM_OLD, old->location, LVM_DISK, old->location);
    meta = disk->meta;
    meta.name_label = old->meta.name_label;
    meta.name_description = old->meta.name_description;
    meta.sm_config = old->meta.sm_config;
    TRY(lvm_retag(call, st, disk, &meta));
    return lvm_remove(call, st, LVM_OLD, old->location);
}

static struct error *repair_leaf(struct call *call, struct lvm_state *st,
                                 const struct lvm_volume *leaf)
{
    const struct lvm_volume *base = lvm_find(&st->is, LVM_DISK, leaf->meta.parent);
    struct lvm_meta meta;

    if (lvm_find(&st->is, LVM_DISK, leaf->location) || lvm_find(&st->is, LVM_OLD, leaf->location))
        return lvm_remove(call, st, LVM_LEAF, leaf->location);
    if (!base)
        return sr_failed(call, SR_FAIL_VDI, "%s: what it was forked from is missing",
                         leaf->location);
    meta = base_meta(base);
    if (!base->meta.hidden)
        TRY(lvm_retag(call, st, base, &meta));
    return lvm_rename(call, st, LVM_LEAF, leaf->location, LVM_DISK, leaf->location);
}

/* Of a command that was killed between suspending a device and resuming it. */
static struct error *resume(struct call *call, struct lvm_state *st,
                            const struct lvm_volume *volume)
{
    return LVM(call, st, SR_FAIL_VDI, "lvchange", "--refresh",
               lvm_target(call, st, volume->kind, volume->location));
}

struct error *lvm_repair(struct call *call, struct lvm_state *st)
{
    bool changed = false;

    for (size_t i = 0; i < st->is.n; i++) {
        const struct lvm_volume *v = &st->is.v[i];

        if (v->active && v->suspended)
            TRY(resume(call, st, v));
        if (v->kind == LVM_OLD)
            TRY(repair_old(call, st, v));
        if (v->kind == LVM_LEAF)
            TRY(repair_leaf(call, st, v));
        changed |= v->kind == LVM_OLD || v->kind == LVM_LEAF;
    }
    return changed ? lvm_look(call, st) : OK;
}

struct error *lvm_collect(struct call *call, struct lvm_state *st)
{
    TRY(lvm_look(call, st));
    for (size_t i = 0; i < st->is.n; i++) {
        struct lvm_volume *v = &st->is.v[i];

        /* Up the chain: a parent may have lost its last child just now. */
        while (v && v->kind == LVM_DISK && v->meta.hidden && !v->children) {
            TRY(lvm_remove(call, st, LVM_DISK, v->location));
            v->children = SIZE_MAX; /* it is gone */
            v = v->meta.parent[0] ? lvm_disk(&st->is, v->meta.parent) : NULL;
            if (v)
                v->children--;
        }
    }
    return OK;
}
