/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * serve.c -- the storage process's side: what the daemon asked for is done on a local directory,
 * once that is mounted.
 */
#include <string.h>

#include "libxapi/base/call.h"
#include "libxapi/value/value.h"
#include "storage-repos/apart/apart.h"
#include "storage-repos/apart/message.h"
#include "storage-repos/common/sr_error.h"
#include "storage-repos/datapath/datapath.h"
#include "storage-repos/iscsi/iscsi.h"
#include "storage-repos/lvm/lvm.h"
#include "storage-repos/nfs/nfs.h"

struct work {
    struct call call;
    const struct apart_request *request;
    struct apart_reply *reply;
    struct nfs_place place; /* where the type is one of those that are mounted */
    struct sr_handle sr;    /* of the driver that does the work */
    struct sr_site site;
    struct sr_driver volumes; /* lvm_volumes, under this type */
    bool (*progress)(void *ctx, double done);
    void *ctx;
};

/* ---- slots of an attached repository ---- */

static struct vdi_spec spec_of(const struct apart_request *r)
{
    return (struct vdi_spec){.location = r->new_location,
                             .name_label = r->name_label,
                             .name_description = r->name_description,
                             .virtual_size = r->size,
                             .sm_config = r->sm_config};
}

static struct vdi_info *one_info(struct work *w)
{
    w->reply->v = arena_new(w->call.arena, struct vdi_info);
    w->reply->n = 1;
    return w->reply->v;
}

static struct error *s_attach(struct work *w)
{
    (void)w; /* that it could be attached is the answer */
    return OK;
}

static struct error *s_stat(struct work *w)
{
    return w->sr.driver->stat(&w->call, &w->sr, &w->reply->stat);
}

static struct error *s_scan(struct work *w)
{
    return w->sr.driver->scan(&w->call, &w->sr, &w->reply->n, &w->reply->v);
}

static struct error *s_vdi_create(struct work *w)
{
    struct vdi_spec spec = spec_of(w->request);

    return w->sr.driver->vdi_create(&w->call, &w->sr, &spec, one_info(w));
}

static struct error *s_vdi_delete(struct work *w)
{
    return w->sr.driver->vdi_delete(&w->call, &w->sr, w->request->location);
}

static struct error *s_vdi_stat(struct work *w)
{
    return w->sr.driver->vdi_stat(&w->call, &w->sr, w->request->location, one_info(w));
}

static struct error *s_vdi_resize(struct work *w)
{
    return w->sr.driver->vdi_resize(&w->call, &w->sr, w->request->location, w->request->size,
                                    one_info(w));
}

static struct error *s_vdi_fork(struct work *w)
{
    struct vdi_spec spec = spec_of(w->request);

    return w->sr.driver->vdi_fork(&w->call, &w->sr, w->request->location, w->request->other, &spec,
                                  one_info(w));
}

static struct error *s_vdi_replace(struct work *w)
{
    return w->sr.driver->vdi_replace(&w->call, &w->sr, w->request->location, w->request->other,
                                     one_info(w));
}

static struct error *s_vdi_reset(struct work *w)
{
    return w->sr.driver->vdi_reset(&w->call, &w->sr, w->request->location);
}

static struct error *s_vdi_strip(struct work *w)
{
    return w->sr.driver->vdi_strip(&w->call, &w->sr, w->request->location);
}

static struct error *s_vdi_changed(struct work *w)
{
    return w->sr.driver->vdi_changed(&w->call, &w->sr, w->request->location, w->request->other,
                                     &w->reply->changes);
}

static struct error *s_vdi_copy(struct work *w)
{
    struct vdi_spec spec = spec_of(w->request);

    return w->sr.driver->vdi_copy(&w->call, &w->sr, w->request->location, &spec, one_info(w),
                                  w->progress, w->ctx);
}

static struct error *s_vdi_coalesce(struct work *w)
{
    struct vdi_coalesce what = {
        .location = w->request->location, .base = w->request->other, .speed = w->request->size};

    return w->sr.driver->vdi_coalesce(&w->call, &w->sr, &what, w->progress, w->ctx);
}

static struct error *s_vdi_describe(struct work *w)
{
    return w->sr.driver->vdi_describe(&w->call, &w->sr, w->request->location,
                                      w->request->name_label, w->request->name_description);
}

static struct error *s_vdi_attach(struct work *w)
{
    return w->sr.driver->vdi_attach(&w->call, &w->sr, w->request->location, w->request->writable,
                                    &w->reply->path);
}

static struct error *s_vdi_detach(struct work *w)
{
    w->sr.driver->vdi_detach(&w->call, &w->sr, w->request->location);
    return OK;
}

static struct error *s_vdi_serve(struct work *w)
{
    struct datapath_disk disk = {.name = w->request->location,
                                 .image = w->request->other,
                                 .format = w->request->format,
                                 .writable = w->request->writable};

    if (!w->sr.datapath)
        return sr_failed(&w->call, SR_FAIL_VDI, "this host serves no disks");
    return datapath_attach(&w->call, w->sr.datapath, &disk, &w->reply->path);
}

static struct error *s_vdi_mirror(struct work *w)
{
    struct datapath_disk to = {.name = w->request->location,
                               .image = w->request->other,
                               .format = w->request->format,
                               .writable = true};

    if (!w->sr.datapath)
        return sr_failed(&w->call, SR_FAIL_VDI, "this host serves no disks");
    return datapath_mirror(&w->call, w->sr.datapath, &to, !w->request->writable);
}

static const struct {
    const char *name;
    struct error *(*run)(struct work *w);
    size_t needs; /* where the driver's function is */
} slots[] = {
#define SLOT(name)                                                                                 \
    {                                                                                              \
#name, s_##name, offsetof(struct sr_driver, name)                                          \
    }
    SLOT(attach),
    SLOT(stat),
    SLOT(scan),
    SLOT(vdi_create),
    SLOT(vdi_delete),
    SLOT(vdi_stat),
    SLOT(vdi_resize),
    SLOT(vdi_fork),
    SLOT(vdi_replace),
    SLOT(vdi_reset),
    SLOT(vdi_strip),
    SLOT(vdi_changed),
    SLOT(vdi_copy),
    SLOT(vdi_describe),
    SLOT(vdi_coalesce),
    SLOT(vdi_attach),
    SLOT(vdi_detach),
    {"vdi_serve", s_vdi_serve, offsetof(struct sr_driver, vdi_attach)},
    {"vdi_mirror", s_vdi_mirror, offsetof(struct sr_driver, vdi_attach)},
#undef SLOT
};

/* ---- the directory ---- */

static void work_release(struct work *w)
{
    datapath_free(w->sr.datapath);
}

/* Its driver works in 'path'. */
static void use_directory(struct work *w, const char *path)
{
    const struct sr_driver *driver = nfs_directory_driver(w->request->type);

    w->sr.driver = driver ? driver : sr_driver_by_type(w->request->type);
    w->sr.uuid = w->request->uuid;
    w->sr.crowded = true;
    w->sr.device_config = path ? strmap_with(w->call.arena, (struct strmap){0}, "location", path)
                               : w->request->device_config;
    w->sr.state = arena_zalloc(w->call.arena, w->sr.driver->state_size + 1);
}

static struct error *use_datapath(struct work *w)
{
    enum datapath_kind kind;

    if (!w->request->datapath[0])
        return OK;
    if (!datapath_kind_from_text(w->request->datapath_kind, &kind))
        return error_internal(w->call.arena, "no data path '%s'", w->request->datapath_kind);
    w->sr.datapath = datapath_new(w->request->datapath, kind);
    return OK;
}

/* Those of a repository that is not attached. */
static struct error *make_or_remove(struct work *w, bool make)
{
    if (make)
        return w->sr.driver->create(&w->call, &w->sr, w->request->size);
    return w->sr.driver->destroy(&w->call, &w->sr);
}

static struct error *make_or_remove_mounted(struct work *w, bool make)
{
    struct error *e;

    TRY(nfs_mount(&w->call, &w->place, w->place.root, w->place.root_target));
    use_directory(w, w->place.root_directory);
    e = make_or_remove(w, make);
    nfs_unmount(&w->call, &w->place, w->place.root_target);
    return e;
}

static struct error *run_attached(struct work *w, size_t i)
{
    struct error *e;

    if (!*(void *const *)((const char *)w->sr.driver + slots[i].needs))
        return error_internal(w->call.arena, "the driver has no %s", w->request->slot);
    TRY(use_datapath(w));
    TRY(w->sr.driver->attach(&w->call, &w->sr));
    e = slots[i].run(w);
    w->sr.driver->detach(&w->call, &w->sr);
    return e;
}

static struct error *run_slot(struct work *w)
{
    const char *slot = w->request->slot;

    for (size_t i = 0; i < ARRAY_SIZE(slots); i++)
        if (strcmp(slots[i].name, slot) == 0)
            return run_attached(w, i);
    return error_internal(w->call.arena, "no such slot: %s", slot);
}

static struct error *run_mounted(struct work *w)
{
    const char *slot = w->request->slot;
    bool make = strcmp(slot, "create") == 0;

    if (strcmp(slot, "probe") == 0)
        return nfs_probe(&w->call, w->request, &w->reply->probe);
    if (strcmp(slot, "leave") == 0)
        return nfs_leave(&w->call, w->request);
    TRY(nfs_place(&w->call, w->request, &w->place));
    if (make || strcmp(slot, "destroy") == 0)
        return make_or_remove_mounted(w, make);
    if (strcmp(slot, "attach") == 0)
        TRY(nfs_mount(&w->call, &w->place, w->place.source, w->place.target));
    use_directory(w, w->place.directory);
    return run_slot(w);
}

static struct error *run_local(struct work *w)
{
    const char *slot = w->request->slot;
    bool make = strcmp(slot, "create") == 0;

    use_directory(w, NULL);
    if (make || strcmp(slot, "destroy") == 0)
        return make_or_remove(w, make);
    return strcmp(slot, "leave") == 0 ? OK : run_slot(w);
}

/* ---- volume groups ---- */

/* 'config' names the devices. */
static struct error *run_volumes(struct work *w, const struct strmap *config)
{
    const char *slot = w->request->slot;
    bool make = strcmp(slot, "create") == 0;

    w->site =
        (struct sr_site){.mounts = w->request->mounts, .system_root = w->request->system_root};
    w->volumes = lvm_volumes;
    w->volumes.type = w->request->type;
    w->sr = (struct sr_handle){.driver = &w->volumes,
                               .uuid = w->request->uuid,
                               .device_config = *config,
                               .state = arena_zalloc(w->call.arena, lvm_volumes.state_size),
                               .site = &w->site,
                               .shared = w->request->shared,
                               .turn = w->request->in_turns ? w->request->turn : NULL};
    if (strcmp(slot, "probe") == 0)
        return w->sr.driver->probe(&w->call, &w->sr, &w->reply->probe);
    if (strcmp(slot, "leave") == 0)
        return lvm_leave(&w->call, &w->sr);
    if (make || strcmp(slot, "destroy") == 0)
        return make_or_remove(w, make);
    return run_slot(w);
}

/* ---- volume groups on an iSCSI target ---- */

static struct error *run_on_lun(struct work *w, const struct iscsi_place *place, bool wait)
{
    struct strmap config = w->request->device_config;
    const char *device;

    TRY(iscsi_device(&w->call, place, wait, &device));
    config = strmap_with(w->call.arena, config, "device", device);
    TRY(run_volumes(w, &config));
    /* The device has another name next time. */
    for (size_t i = 0; i < w->reply->probe.n; i++)
        w->reply->probe.v[i].device_config = w->request->device_config;
    return OK;
}

/* The session stays for as long as the repository is attached. */
static struct error *attach_on_target(struct work *w, const struct iscsi_place *place)
{
    const struct apart_request *r = w->request;
    struct error *e = iscsi_open(&w->call, place, r->uuid);

    if (!e)
        e = run_on_lun(w, place, true);
    if (e && !lvm_is_attached(&w->call, r->mounts, r->type, r->uuid))
        error_ignore(iscsi_close(&w->call, r, r->uuid)); /* the first error is told */
    return e;
}

/* What is done without the repository being attached has a session for itself. */
static struct error *work_on_target(struct work *w, const struct iscsi_place *place)
{
    const char *worker = iscsi_worker(&w->call);
    struct error *e = iscsi_open(&w->call, place, worker), *left;

    if (!e)
        e = run_on_lun(w, place, true);
    /* What LVM has made active would keep the device. */
    if (strcmp(w->request->slot, "create") == 0 && w->sr.state) {
        left = lvm_leave(&w->call, &w->sr);
        e = e ? e : left;
    }
    left = iscsi_close(&w->call, w->request, worker);
    return e ? e : left;
}

static struct error *leave_target(struct work *w)
{
    struct error *e = run_volumes(w, &w->request->device_config);
    struct error *left = iscsi_close(&w->call, w->request, w->request->uuid);

    return e ? e : left;
}

static struct error *destroy_on_target(struct work *w, const struct iscsi_place *place)
{
    TRY(work_on_target(w, place));
    /* An attach that was killed may have left it. */
    return iscsi_close(&w->call, w->request, w->request->uuid);
}

static struct error *run_on_target(struct work *w)
{
    const char *slot = w->request->slot;
    struct iscsi_place place;
    bool complete;

    if (strcmp(slot, "leave") == 0)
        return leave_target(w);
    TRY(iscsi_place(&w->call, w->request, &place));
    if (strcmp(slot, "probe") == 0) {
        TRY(iscsi_probe(&w->call, w->request, &place, &w->reply->probe, &complete));
        return complete ? work_on_target(w, &place) : OK;
    }
    TRY(iscsi_is_complete(&w->call, &place));
    if (strcmp(slot, "attach") == 0)
        return attach_on_target(w, &place);
    if (strcmp(slot, "destroy") == 0)
        return destroy_on_target(w, &place);
    return strcmp(slot, "create") == 0 ? work_on_target(w, &place) : run_on_lun(w, &place, false);
}

void apart_serve(struct arena *arena, const struct apart_request *request,
                 struct apart_reply *reply, bool (*progress)(void *ctx, double done), void *ctx)
{
    AUTO(work) w = {.call = {.arena = arena},
                    .request = request,
                    .reply = reply,
                    .progress = progress,
                    .ctx = ctx};

    *reply = (struct apart_reply){0};
    if (nfs_is_remote(request->type, &request->device_config))
        reply->error = run_mounted(&w);
    else if (iscsi_serves(request->type))
        reply->error = run_on_target(&w);
    else if (lvm_serves(request->type))
        reply->error = run_volumes(&w, &request->device_config);
    else if (sr_driver_by_type(request->type))
        reply->error = run_local(&w);
    else
        reply->error = error_internal(arena, "no such type: %s", request->type);
    if (reply->error)
        *reply = (struct apart_reply){.error = reply->error};
}
