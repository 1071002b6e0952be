/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vdi.c -- making, removing, growing, copying, naming and attaching disks of a volume group. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/base/call.h"
#include "libxapi/value/value.h"
#include "storage-repos/datapath/datapath.h"
#include "storage-repos/lvm/volumes.h"

#define SIZE_UNIT 4096

static bool is_raw(const struct lvm_volume *disk)
{
    return strcmp(disk->meta.format, "raw") == 0;
}

/* Rounds up to whole pages, of a raw disk to whole extents; VDI_TOO_SMALL, VDI_TOO_LARGE. */
static struct error *good_size(struct call *call, const struct lvm_state *st, const char *location,
                               const char *format, int64_t wanted, int64_t *out)
{
    int64_t unit = strcmp(format, "raw") == 0 ? st->is.extent : SIZE_UNIT;

    if (wanted < 1)
        return error_new(call->arena, "VDI_TOO_SMALL", 2, location, "1");
    if (wanted > QCOW2_SIZE_MAX)
        return error_new(call->arena, "VDI_TOO_LARGE", 2, location,
                         arena_printf(call->arena, "%lld", (long long)QCOW2_SIZE_MAX));
    *out = (wanted + unit - 1) / unit * unit;
    return OK;
}

static struct error *check_new(struct call *call, const char *location)
{
    if (!lvm_location_ok(location))
        return sr_failed(call, SR_FAIL_ARGUMENT, "the location %s is no uuid in lower case",
                         location);
    return OK;
}

struct error *lvm_get(struct call *call, const struct sr_handle *sr, const char *location,
                      struct lvm_volume **out)
{
    const struct lvm_state *st = sr->state;

    *out = lvm_location_ok(location) ? lvm_disk(&st->is, location) : NULL;
    return *out ? OK : vdi_missing(call, sr->uuid, location);
}

struct error *lvm_check_unwritten(struct call *call, const struct lvm_state *st,
                                  const struct lvm_volume *disk, const char *operation)
{
    const char *path = lvm_path(call, st, disk->kind, disk->location);
    bool writer;
    int fd;

    if (!disk->active)
        return OK;
    fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return sr_failed(call, SR_FAIL_VDI, "%s cannot be opened", path);
    writer = qcow2_has_writer(fd);
    close(fd);
    return writer ? vdi_in_use(call, disk->location, operation) : OK;
}

struct lvm_meta lvm_meta_new(const struct vdi_spec *spec, const char *format, const char *parent,
                             int64_t virtual_size)
{
    return (struct lvm_meta){.format = format,
                             .parent = parent,
                             .virtual_size = virtual_size,
                             .name_label = spec->name_label ? spec->name_label : "",
                             .name_description =
                                 spec->name_description ? spec->name_description : "",
                             .sm_config = spec->sm_config};
}

void lvm_info(struct call *call, const struct lvm_volume *disk, struct vdi_info *out)
{
    *out = (struct vdi_info){.location = disk->location,
                             .uuid = disk->location,
                             .virtual_size = disk->meta.virtual_size,
                             .physical_utilisation = disk->size,
                             .name_label = disk->meta.name_label,
                             .name_description = disk->meta.name_description,
                             .parent = disk->meta.parent,
                             .hidden = disk->meta.hidden || disk->children,
                             .sm_config = disk->meta.sm_config};
    out->read_only = out->hidden;
    out->sm_config = strmap_with(call->arena, out->sm_config, "image-format", disk->meta.format);
    out->sm_config = out->parent[0]
                         ? strmap_with(call->arena, out->sm_config, "vhd-parent", out->parent)
                         : strmap_without(call->arena, out->sm_config, "vhd-parent");
}

struct error *lvm_vdi_stat(struct call *call, struct sr_handle *sr, const char *location,
                           struct vdi_info *info)
{
    struct lvm_volume *disk;

    TRY(lvm_get(call, sr, location, &disk));
    lvm_info(call, disk, info);
    return OK;
}

/* As it is now. */
static struct error *look_and_stat(struct call *call, struct sr_handle *sr, const char *location,
                                   struct vdi_info *info)
{
    TRY(lvm_look(call, sr->state));
    return lvm_vdi_stat(call, sr, location, info);
}

/* ---- new disks ---- */

/* What a crash may have finished already: volumes get their name when they are complete. */
static struct error *find_finished(struct call *call, struct sr_handle *sr, const char *location,
                                   int64_t size, bool *found, struct vdi_info *info)
{
    const struct lvm_state *st = sr->state;

    *found = lvm_disk(&st->is, location) != NULL;
    if (!*found)
        return OK;
    TRY(lvm_vdi_stat(call, sr, location, info));
    if (info->virtual_size != size || info->parent[0] || info->hidden)
        return sr_failed(call, SR_FAIL_VDI_EXISTS, "%s", location);
    return OK;
}

/* A volume has what was in its place before, and a raw disk shows all of it. */
static struct error *clear(struct call *call, const char *path, int64_t from, int64_t to)
{
    struct vdi_path image = {.path = path, .format = "raw"};
    struct vdi_io *io;
    struct error *e;

    TRY(vdi_io_open(call, &image, true, &io));
    e = vdi_io_zero(call, io, from, to - from);
    if (!e)
        e = vdi_io_flush(call, io);
    vdi_io_close(io);
    return e;
}

static struct error *fill_new(struct call *call, const struct lvm_state *st, const char *location,
                              const struct lvm_meta *meta)
{
    const char *path = lvm_path(call, st, LVM_NEW, location);

    if (strcmp(meta->format, "raw") != 0)
        return qcow2_create(call, path, meta->virtual_size, NULL);
    return st->is.thin ? OK : clear(call, path, 0, meta->virtual_size);
}

struct error *lvm_vdi_create(struct call *call, struct sr_handle *sr, const struct vdi_spec *spec,
                             struct vdi_info *info)
{
    const char *type = strmap_get(&spec->sm_config, "type");
    const char *format = type && strcmp(type, "raw") == 0 ? "raw" : "qcow2";
    struct lvm_state *st = sr->state;
    struct lvm_meta meta;
    struct error *e;
    int64_t size = 0;
    bool found;

    TRY(check_new(call, spec->location));
    TRY(good_size(call, st, spec->location, format, spec->virtual_size, &size));
    TRY(find_finished(call, sr, spec->location, size, &found, info));
    if (found)
        return OK;
    meta = lvm_meta_new(spec, format, "", size);
    TRY(lvm_make(call, st, LVM_NEW, spec->location, lvm_full_size(format, size), &meta));
    e = fill_new(call, st, spec->location, &meta);
    if (!e)
        e = lvm_rename(call, st, LVM_NEW, spec->location, LVM_DISK, spec->location);
    if (e) {
        error_ignore(lvm_remove(call, st, LVM_NEW, spec->location)); /* the first one says more */
        return e;
    }
    lvm_settle(call, st);
    return look_and_stat(call, sr, spec->location, info);
}

/* ---- copies ---- */

struct copying {
    struct lvm_state *st;
    const struct lvm_volume *source;
    const struct vdi_spec *spec;
    bool (*progress)(void *ctx, double done);
    void *ctx;
};

/* Long; the repository is others' meanwhile.  Marks keep what is read and written active. */
static struct error *convert(struct call *call, const struct copying *c)
{
    const char *from = lvm_path(call, c->st, c->source->kind, c->source->location);
    const char *to = lvm_path(call, c->st, LVM_NEW, c->spec->location);
    struct error *e;

    TRY(lvm_mark(call, c->st, c->source->location, true));
    e = lvm_activate(call, c->st, c->source);
    lvm_unlock(c->st, false);
    if (!e)
        e = qcow2_convert_from(call, from, c->source->meta.format, to, c->source->meta.virtual_size,
                               c->progress, c->ctx);
    lvm_unmark(call, c->st, c->source->location, true);
    if (e)
        error_ignore(lvm_lock(call, c->st)); /* to clean up, which can do without */
    else
        e = lvm_lock(call, c->st);
    return e;
}

struct error *lvm_vdi_copy(struct call *call, struct sr_handle *sr, const char *location,
                           const struct vdi_spec *spec, struct vdi_info *info,
                           bool (*progress)(void *ctx, double done), void *ctx)
{
    struct lvm_state *st = sr->state;
    struct lvm_volume *source;
    struct copying c = {.st = st, .spec = spec, .progress = progress, .ctx = ctx};
    struct lvm_meta meta;
    struct error *e;
    bool found;

    TRY(check_new(call, spec->location));
    TRY(lvm_get(call, sr, location, &source));
    if (!lvm_chain_length(&st->is, source))
        return sr_failed(call, SR_FAIL_VDI, "%s: a part of its chain is missing", location);
    TRY(find_finished(call, sr, spec->location, source->meta.virtual_size, &found, info));
    if (found)
        return OK;
    c.source = source;
    meta = lvm_meta_new(spec, "qcow2", "", source->meta.virtual_size);
    TRY(lvm_make(call, st, LVM_NEW, spec->location, lvm_full_size("qcow2", meta.virtual_size),
                 &meta));
    e = convert(call, &c);
    if (!e)
        e = lvm_rename(call, st, LVM_NEW, spec->location, LVM_DISK, spec->location);
    if (e)
        error_ignore(lvm_remove(call, st, LVM_NEW, spec->location)); /* the first one says more */
    lvm_settle(call, st);
    TRY(e);
    return look_and_stat(call, sr, spec->location, info);
}

/* ---- deleting ---- */

static struct error *check_deletable(struct call *call, const struct lvm_state *st,
                                     const struct lvm_volume *disk)
{
    if (disk->children)
        return vdi_in_use(call, disk->location, "destroy");
    return lvm_check_unwritten(call, st, disk, "destroy");
}

/* What is gone already may have left a parent that nothing needs: so the end is always the same. */
struct error *lvm_vdi_delete(struct call *call, struct sr_handle *sr, const char *location)
{
    struct lvm_state *st = sr->state;
    const struct lvm_volume *disk;

    if (!lvm_location_ok(location))
        return OK;
    TRY(lvm_repair(call, st));
    disk = lvm_disk(&st->is, location);
    if (disk)
        TRY(check_deletable(call, st, disk));
    if (lvm_find(&st->is, LVM_NEW, location))
        TRY(lvm_remove(call, st, LVM_NEW, location));
    if (disk)
        TRY(lvm_remove(call, st, LVM_DISK, location));
    lvm_unmark(call, st, location, false);
    TRY(lvm_collect(call, st));
    lvm_settle(call, st);
    return OK;
}

/* ---- growing ---- */

static struct error *grow_image(struct call *call, const struct sr_handle *sr,
                                const struct lvm_volume *disk, int64_t size)
{
    const struct lvm_state *st = sr->state;
    const char *path = lvm_path(call, st, disk->kind, disk->location);

    if (is_raw(disk) && !st->is.thin && size > disk->meta.virtual_size)
        TRY(clear(call, path, disk->meta.virtual_size, size));
    if (sr->datapath && datapath_writes(call, sr->datapath, path))
        return datapath_resize(call, sr->datapath, path, size);
    TRY(lvm_check_unwritten(call, st, disk, "resize"));
    return is_raw(disk) ? OK : qcow2_resize(call, path, size);
}

/* The tag comes last: it says what the image surely is. */
struct error *lvm_vdi_resize(struct call *call, struct sr_handle *sr, const char *location,
                             int64_t size, struct vdi_info *info)
{
    struct lvm_state *st = sr->state;
    struct lvm_volume *disk;
    struct lvm_meta meta;
    struct error *e;

    TRY(lvm_repair(call, st));
    TRY(lvm_get(call, sr, location, &disk));
    TRY(good_size(call, st, location, disk->meta.format, size, &size));
    if (disk->meta.hidden || disk->children)
        return vdi_readonly(call, location);
    if (size < disk->meta.virtual_size)
        return error_new(call->arena, "VDI_TOO_SMALL", 2, location,
                         arena_printf(call->arena, "%lld", (long long)disk->meta.virtual_size));
    meta = disk->meta;
    meta.virtual_size = size;
    TRY(lvm_grow(call, st, disk, lvm_full_size(meta.format, size)));
    TRY(lvm_activate(call, st, disk));
    disk->active = true;
    e = grow_image(call, sr, disk, size);
    if (!e)
        e = lvm_retag(call, st, disk, &meta);
    lvm_settle(call, st);
    TRY(e);
    return lvm_vdi_stat(call, sr, location, info);
}

/* ---- the rest ---- */

struct error *lvm_vdi_describe(struct call *call, struct sr_handle *sr, const char *location,
                               const char *name_label, const char *name_description)
{
    struct lvm_volume *disk;
    struct lvm_meta meta;

    TRY(lvm_get(call, sr, location, &disk));
    meta = disk->meta;
    meta.name_label = name_label;
    meta.name_description = name_description;
    return lvm_retag(call, sr->state, disk, &meta);
}

/* Everything below is looked at by the names in images, which are those of volumes of this group.
 */
struct error *lvm_vdi_attach(struct call *call, struct sr_handle *sr, const char *location,
                             bool writable, struct vdi_path *out)
{
    struct lvm_state *st = sr->state;
    struct lvm_volume *disk;

    TRY(lvm_get(call, sr, location, &disk));
    if (!lvm_chain_length(&st->is, disk))
        return sr_failed(call, SR_FAIL_VDI, "%s: a part of its chain is missing", location);
    if (disk->kind != LVM_DISK)
        return sr_failed(call, SR_FAIL_VDI, "%s: an operation on it was interrupted", location);
    if (writable && (disk->meta.hidden || disk->children))
        return vdi_readonly(call, location);
    if (writable)
        TRY(lvm_grow(call, st, disk, lvm_full_size(disk->meta.format, disk->meta.virtual_size)));
    TRY(lvm_mark(call, st, location, false));
    TRY(lvm_activate(call, st, disk));
    *out = (struct vdi_path){.path = lvm_path(call, st, LVM_DISK, location),
                             .format = disk->meta.format};
    return OK;
}

void lvm_vdi_detach(struct call *call, struct sr_handle *sr, const char *location)
{
    if (!lvm_location_ok(location))
        return;
    lvm_unmark(call, sr->state, location, false);
    lvm_settle(call, sr->state);
}
