/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vdi.c -- making, removing, growing, copying and naming disks in a directory. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/base/call.h"
#include "storage-repos/datapath/datapath.h"
#include "storage-repos/dir/image.h"

#define SIZE_UNIT 4096

/* Rounds up to whole pages; VDI_TOO_SMALL, VDI_TOO_LARGE. */
static struct error *good_size(struct call *call, const char *location, int64_t wanted,
                               int64_t *out)
{
    if (wanted < 1)
        return error_new(call->arena, "VDI_TOO_SMALL", 2, location, "1");
    if (wanted > QCOW2_SIZE_MAX)
        return error_new(call->arena, "VDI_TOO_LARGE", 2, location,
                         arena_printf(call->arena, "%lld", (long long)QCOW2_SIZE_MAX));
    *out = (wanted + SIZE_UNIT - 1) / SIZE_UNIT * SIZE_UNIT;
    return OK;
}

static struct error *check_new(struct call *call, const char *location)
{
    if (!dir_location_ok(location))
        return sr_failed(call, SR_FAIL_ARGUMENT, "the location %s is no uuid in lower case",
                         location);
    return OK;
}

/* Its sidecar says whether others lie on it; where there is none all have to be looked at. */
static struct error *list_for(struct call *call, struct sr_handle *sr, const char *location,
                              struct dir_list *list)
{
    struct dir_meta meta;

    TRY(dir_check_location(call, sr, location));
    TRY(dir_meta_read(call, sr->state, location, &meta));
    TRY(dir_list_some(call, sr->state, 1, &location, list));
    return meta.found || !list->n ? OK : dir_list(call, sr->state, false, list);
}

struct error *dir_vdi_stat(struct call *call, struct sr_handle *sr, const char *location,
                           struct vdi_info *info)
{
    struct dir_list list;
    struct dir_image *image;

    TRY(dir_check_there(call, sr));
    TRY(list_for(call, sr, location, &list));
    image = dir_find_stripped(&list, location);
    if (!image)
        TRY(dir_get(call, sr, &list, location, &image));
    return dir_info(call, sr->state, image, info);
}

/* ---- new images ---- */

/*
 * What a crash may have finished already: an image of that name, without parent and of that size,
 * is the one asked for, since images get their name when they are complete.
 */
static struct error *find_finished(struct call *call, struct sr_handle *sr, const char *location,
                                   int64_t size, bool *found, struct vdi_info *info)
{
    const struct dir_state *st = sr->state;
    char name[DIR_NAME_SIZE];
    struct stat s;

    *found = false;
    dir_image_name(location, name);
    if (fstatat(st->fd, name, &s, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? OK : sr_failed_errno(call, SR_FAIL_VDI, errno, name);
    TRY(dir_vdi_stat(call, sr, location, info));
    if (info->virtual_size != size || info->parent[0] || info->hidden)
        return sr_failed(call, SR_FAIL_VDI_EXISTS, "%s", location);
    *found = true;
    return dir_sync(call, st);
}

/* The sidecar first: whoever sees the image sees its name. */
static struct error *put_in_place(struct call *call, const struct dir_state *st, const char *temp,
                                  const struct vdi_spec *spec)
{
    struct dir_meta meta = {.name_label = spec->name_label ? spec->name_label : "",
                            .name_description =
                                spec->name_description ? spec->name_description : "",
                            .sm_config = spec->sm_config};
    char name[DIR_NAME_SIZE];

    dir_step(st, "image made");
    TRY(dir_meta_write(call, st, spec->location, &meta));
    dir_image_name(spec->location, name);
    TRY(dir_publish(call, st, temp, name));
    dir_step(st, "image in place");
    return OK;
}

/* It may be in place, and not durably so: then it goes before its sidecar does, or keeps it. */
static void forget_new(struct call *call, const struct dir_state *st, const char *location)
{
    char name[DIR_NAME_SIZE];

    dir_remove_temps(st, location);
    dir_image_name(location, name);
    if (dir_unlink(call, st, name))
        return;
    dir_meta_name(location, name);
    error_ignore(dir_unlink(call, st, name)); /* a sidecar without an image does no harm */
}

struct error *dir_vdi_create(struct call *call, struct sr_handle *sr, const struct vdi_spec *spec,
                             struct vdi_info *info)
{
    const struct dir_state *st = sr->state;
    char temp[DIR_NAME_SIZE];
    struct error *e;
    int64_t size = 0;
    bool found;

    TRY(check_new(call, spec->location));
    TRY(good_size(call, spec->location, spec->virtual_size, &size));
    TRY(dir_check_there(call, sr));
    TRY(find_finished(call, sr, spec->location, size, &found, info));
    if (found)
        return OK;
    dir_temp_name(spec->location, "new", temp);
    e = dir_make_temp(call, st, temp, size, NULL);
    if (!e)
        e = put_in_place(call, st, temp, spec);
    if (e) {
        forget_new(call, st, spec->location);
        return e;
    }
    return dir_vdi_stat(call, sr, spec->location, info);
}

struct error *dir_vdi_copy(struct call *call, struct sr_handle *sr, const char *location,
                           const struct vdi_spec *spec, struct vdi_info *info,
                           bool (*progress)(void *ctx, double done), void *ctx)
{
    const struct dir_state *st = sr->state;
    char temp[DIR_NAME_SIZE];
    struct vdi_path from;
    struct vdi_info source;
    struct error *e;
    bool found;

    TRY(check_new(call, spec->location));
    TRY(dir_vdi_stat(call, sr, location, &source));
    TRY(find_finished(call, sr, spec->location, source.virtual_size, &found, info));
    if (found)
        return OK;
    TRY(dir_vdi_attach(call, sr, location, false, &from));
    dir_temp_name(spec->location, "new", temp);
    e = dir_unlink(call, st, temp); /* as dir_make_temp */
    if (!e)
        e = qcow2_convert(call, from.path, dir_path(call, st, temp), source.virtual_size, progress,
                          ctx);
    if (!e)
        e = put_in_place(call, st, temp, spec);
    if (e) {
        forget_new(call, st, spec->location);
        return e;
    }
    return dir_vdi_stat(call, sr, spec->location, info);
}

/* ---- the rest ---- */

/*
 * Nothing lies on an image whose sidecar does not say that it is hidden, for it says so durably
 * before anything can; for any other one all images are looked at.  '*parent' is what it lies on,
 * "" for nothing; NULL where that is not known.
 */
static struct error *check_deletable(struct call *call, const struct dir_state *st,
                                     const char *location, const char **parent)
{
    struct dir_list list;
    const struct dir_image *image;
    struct dir_meta meta;

    *parent = NULL;
    TRY(dir_meta_read(call, st, location, &meta));
    if (meta.found && !meta.hidden)
        TRY(dir_list_some(call, st, 1, &location, &list));
    else
        TRY(dir_list(call, st, false, &list));
    image = dir_find_any(&list, location); /* what lies on one that cannot be read needs it too */
    if (!image)
        return OK;
    if (image->children)
        return vdi_in_use(call, location, "destroy");
    if (meta.hidden)
        TRY(dir_check_sure(call, &list, SR_FAIL_VDI_REMOVE, location));
    else if (image->good)
        *parent = image->parent;
    return dir_check_unwritten(call, st, location, "destroy");
}

/* Where nothing can be unneeded now nothing is looked for; where images are many, that is left to
 * whoever deletes one that is. */
static struct error *collect_below(struct call *call, const struct dir_state *st,
                                   const char *parent)
{
    struct dir_meta meta = {.hidden = true};
    bool many;

    if (parent && parent[0])
        TRY(dir_meta_read(call, st, parent, &meta));
    else if (parent)
        meta.hidden = false;
    TRY(dir_has_many(call, st, &many));
    return meta.hidden && !(parent && many) ? dir_collect(call, st) : dir_sync(call, st);
}

/* What is gone already may have left a parent that nothing needs: so the end is always the same. */
struct error *dir_vdi_delete(struct call *call, struct sr_handle *sr, const char *location)
{
    const struct dir_state *st = sr->state;
    char name[DIR_NAME_SIZE];
    AUTO(dir_lock) lock = {0};
    const char *parent;

    if (!dir_location_ok(location))
        return OK;
    TRY(dir_check_there(call, sr));
    TRY(dir_lock(call, st, &lock));
    TRY(check_deletable(call, st, location, &parent));
    dir_image_name(location, name);
    TRY(dir_unlink(call, st, name));
    dir_step(st, "image gone");
    TRY(dir_sync(call, st));
    dir_trace_name(location, name);
    TRY(dir_unlink(call, st, name));
    dir_meta_name(location, name);
    TRY(dir_unlink(call, st, name));
    dir_remove_temps(st, location);
    dir_step(st, "sidecar gone");
    return collect_below(call, st, parent);
}

struct error *dir_vdi_resize(struct call *call, struct sr_handle *sr, const char *location,
                             int64_t size, struct vdi_info *info)
{
    const struct dir_state *st = sr->state;
    struct datapath *served;
    struct dir_image *image;
    char name[DIR_NAME_SIZE];
    struct dir_list list;

    TRY(good_size(call, location, size, &size));
    TRY(dir_check_there(call, sr));
    TRY(list_for(call, sr, location, &list));
    TRY(dir_get(call, sr, &list, location, &image));
    TRY(dir_info(call, st, image, info));
    if (info->hidden)
        return vdi_readonly(call, location);
    if (size < info->virtual_size)
        return error_new(call->arena, "VDI_TOO_SMALL", 2, location,
                         arena_printf(call->arena, "%lld", (long long)info->virtual_size));
    dir_image_name(location, name);
    served = dir_served(call, sr, location);
    if (!served)
        TRY(dir_check_unwritten(call, st, location, "resize"));
    if (served) /* also where it has the size: users may not have been told */
        TRY(datapath_resize(call, served, dir_path(call, st, name), size));
    else if (size > info->virtual_size)
        TRY(qcow2_resize(call, dir_path(call, st, name), size));
    dir_step(st, "grown");
    TRY(dir_sync_file(call, st, name));
    return dir_vdi_stat(call, sr, location, info);
}

struct error *dir_vdi_describe(struct call *call, struct sr_handle *sr, const char *location,
                               const char *name_label, const char *name_description)
{
    const struct dir_state *st = sr->state;
    char name[DIR_NAME_SIZE];
    struct dir_meta meta;
    struct stat s;

    TRY(dir_check_location(call, sr, location));
    TRY(dir_check_there(call, sr));
    dir_image_name(location, name);
    if (fstatat(st->fd, name, &s, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? vdi_missing(call, sr->uuid, location)
                               : sr_failed_errno(call, SR_FAIL_VDI, errno, name);
    TRY(dir_meta_read(call, st, location, &meta));
    meta.name_label = name_label;
    meta.name_description = name_description;
    return dir_meta_write(call, st, location, &meta);
}

/* qemu follows the names of parents by itself, so each image it will open has been looked at here.
 */
struct error *dir_vdi_attach(struct call *call, struct sr_handle *sr, const char *location,
                             bool writable, struct vdi_path *out)
{
    const struct dir_state *st = sr->state;
    char name[DIR_NAME_SIZE];
    struct dir_list list;
    struct dir_image *image;
    struct dir_meta meta;

    TRY(dir_check_there(call, sr));
    TRY(dir_list(call, st, false, &list));
    TRY(dir_get(call, sr, &list, location, &image));
    TRY(dir_check_chain(call, &list, image));
    TRY(dir_meta_read(call, st, location, &meta));
    if (writable && (image->children || meta.hidden))
        return vdi_readonly(call, location);
    dir_image_name(location, name);
    *out = (struct vdi_path){.path = dir_path(call, st, name), .format = "qcow2"};
    return OK;
}

void dir_vdi_detach(struct call *call, struct sr_handle *sr, const char *location)
{
    (void)call;
    (void)sr;
    (void)location;
}
