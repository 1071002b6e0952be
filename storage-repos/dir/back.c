/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * back.c -- a disk goes back: to the content of another one, or to what it was forked from.
 *
 * Both give the disk's name to a complete image, with one rename: whoever looks, a crash included,
 * finds the disk as it was or as it shall be.
 */
#include "libxapi/base/call.h"
#include "storage-repos/dir/image.h"

/* A disk that nothing lies upon and nobody writes to. */
static struct error *get_free(struct call *call, const struct sr_handle *sr,
                              const struct dir_list *list, const char *location,
                              struct dir_image **out)
{
    TRY(dir_get(call, sr, list, location, out));
    if ((*out)->children)
        return vdi_in_use(call, location, "revert");
    return dir_check_unwritten(call, sr->state, location, "revert");
}

static struct error *take_place(struct call *call, const struct dir_state *st, const char *location,
                                const char *by)
{
    char name[DIR_NAME_SIZE], by_name[DIR_NAME_SIZE];

    dir_image_name(location, name);
    dir_image_name(by, by_name);
    TRY(dir_publish(call, st, by_name, name));
    dir_step(st, "disk replaced");
    return OK;
}

struct error *dir_vdi_replace(struct call *call, struct sr_handle *sr, const char *location,
                              const char *by, struct vdi_info *info)
{
    const struct dir_state *st = sr->state;
    struct dir_image *disk, *other;
    char name[DIR_NAME_SIZE];
    AUTO(dir_lock) lock = {0};
    struct dir_list list;
    struct error *e;

    TRY(dir_check_location(call, sr, location));
    TRY(dir_check_location(call, sr, by));
    TRY(dir_check_there(call, sr));
    TRY(dir_lock(call, st, &lock));
    TRY(dir_list(call, st, false, &list));
    TRY(get_free(call, sr, &list, location, &disk));
    e = get_free(call, sr, &list, by, &other);
    if (!e)
        TRY(take_place(call, st, location, by));
    else if (!error_is(e, "VDI_MISSING"))
        return e;
    dir_meta_name(by, name);
    TRY(dir_unlink(call, st, name));
    dir_remove_temps(st, by);
    dir_step(st, "sidecar gone");
    TRY(dir_collect(call, st));
    return dir_vdi_stat(call, sr, location, info);
}

/* An empty image with the same parent. */
struct error *dir_vdi_reset(struct call *call, struct sr_handle *sr, const char *location)
{
    char name[DIR_NAME_SIZE], parent[DIR_NAME_SIZE], temp[DIR_NAME_SIZE];
    const struct dir_state *st = sr->state;
    AUTO(dir_lock) lock = {0};
    struct dir_image *disk;
    struct dir_list list;
    struct error *e;
    bool changing;

    TRY(dir_check_location(call, sr, location));
    TRY(dir_check_there(call, sr));
    TRY(dir_lock(call, st, &lock));
    TRY(dir_list(call, st, false, &list));
    TRY(get_free(call, sr, &list, location, &disk));
    if (!disk->parent[0])
        return sr_failed(call, SR_FAIL_VDI, "%s: what it could go back to is missing", location);
    TRY(dir_check_chain(call, &list, disk));
    TRY(dir_is_changing(call, st, disk->parent, &changing));
    if (changing)
        return sr_failed(call, SR_FAIL_VDI, "%s: what it could go back to is being coalesced",
                         location);
    dir_image_name(location, name);
    dir_image_name(disk->parent, parent);
    dir_temp_name(location, "leaf", temp);
    e = dir_make_temp(call, st, temp, disk->virtual_size, parent);
    dir_step(st, "new image prepared");
    if (!e)
        e = dir_publish(call, st, temp, name);
    if (e)
        dir_remove_temps(st, location);
    dir_step(st, "disk reset");
    return e;
}
