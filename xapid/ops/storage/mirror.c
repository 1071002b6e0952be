/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/storage/mirror.h"

#include "xapid/main/xapid.h"
#include "xapid/ops/storage/attach.h"

/* Where the copy is, as its driver says. */
static struct error *copy_of(struct call *call, struct sr_use *use, const char *uuid,
                             struct datapath_disk *out)
{
    struct vdi_path path;

    TRY(use->handle->driver->vdi_attach(call, use->handle, uuid, true, &path));
    *out = (struct datapath_disk){
        .name = uuid, .image = path.path, .format = path.format, .writable = true};
    return OK;
}

struct error *vdi_mirror(struct call *call, const char *uuid, ref_t sr, bool top)
{
    const struct sr_driver *driver;
    struct datapath_disk to;
    AUTO(sr_use) use = {0};

    TRY(sr_use(call, sr, &use));
    driver = use.handle->driver;
    TRY(copy_of(call, &use, uuid, &to));
    if (driver->vdi_mirror)
        return driver->vdi_mirror(call, use.handle, &to, top);
    return datapath_mirror(call, use.handle->datapath, &to, top);
}

struct error *vdi_mirror_look(struct call *call, const char *uuid, struct datapath_mirror *out)
{
    return datapath_mirror_look(call, srs_datapath(call->xapid), uuid, out);
}

struct error *vdi_mirror_hold(struct call *call, const char *uuid, bool *held)
{
    return datapath_mirror_hold(call, srs_datapath(call->xapid), uuid, held);
}

struct error *vdi_mirror_keep(struct call *call, const char *uuid, ref_t sr)
{
    struct datapath *dp = srs_datapath(call->xapid);
    struct datapath_disk to;
    AUTO(sr_use) use = {0};

    if (!dp)
        return OK;
    TRY(sr_use(call, sr, &use));
    TRY(copy_of(call, &use, uuid, &to));
    return datapath_mirror_end(call, dp, uuid, &to);
}

struct error *vdi_mirror_drop(struct call *call, const char *uuid)
{
    struct datapath *dp = srs_datapath(call->xapid);

    return dp ? datapath_mirror_end(call, dp, uuid, NULL) : OK;
}
