/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * devices.c -- disks and NICs of a domain that is there already.
 *
 * What a device was given as is kept in the domain's mark: written after libxl has plugged it,
 * removed after libxl has taken it away.  A device without a mark is half a device, and goes before
 * it is plugged again.
 */
#include <stdlib.h>
#include <string.h>
#include <xen/io/xenbus.h>

#include "xapid/hypervisor/executor/executor.h"

#define DEVICE_NAME_MAX 15

static const char *disk_mark(struct request *rq, const struct found *d, const char *device)
{
    return mark_path(&rq->arena, d->domid, arena_printf(&rq->arena, "disk/%s", device));
}

static const char *nic_mark(struct request *rq, const struct found *d, int device)
{
    return mark_path(&rq->arena, d->domid, arena_printf(&rq->arena, "nic/%d", device));
}

/* The guest has to let go of a device; one that does not run cannot. */
static bool cannot_consent(const struct found *d)
{
    enum hv_reason reason;

    return domain_state(&d->info, &reason) == HV_PAUSED;
}

static struct error *rejected(struct request *rq, const char *type, const char *device,
                              const char *why)
{
    return error_new(&rq->arena, "DEVICE_DETACH_REJECTED", 3, type, device, why);
}

/*** disks ***/

static struct error *disk_arg(struct request *rq, struct hv_disk *out)
{
    struct reader r = reader_of(&rq->arena, json_object_get(rq->args_json, "disk"));

    read_disk(&r, out);
    if (!r.bad && strlen(out->device) > DEVICE_NAME_MAX)
        r.bad = "device";
    return r.bad ? error_internal(&rq->arena, "the disk's '%s' is missing or wrong", r.bad) : OK;
}

/* libxl's disk of that name, as the guest's type has it; false if there is none. */
static bool disk_of(struct xen *xen, const struct found *d, const char *device,
                    libxl_device_disk *out)
{
    char emulated[4] = {'h', 'd', device[3], '\0'};
    bool found;

    libxl_device_disk_init(out);
    found = libxl_vdev_to_device_disk(xen->ctx, d->domid, device, out) == 0 ||
            (d->type == LIBXL_DOMAIN_TYPE_HVM && device[3] && !device[4] &&
             libxl_vdev_to_device_disk(xen->ctx, d->domid, emulated, out) == 0);
    xen_forget(xen);
    return found;
}

/* Without asking the guest. */
static int disk_take_away(struct xen *xen, const struct found *d, const char *device)
{
    libxl_device_disk disk;
    int rc = 0;

    if (disk_of(xen, d, device, &disk))
        rc = libxl_device_disk_destroy(xen->ctx, d->domid, &disk, NULL);
    libxl_device_disk_dispose(&disk);
    return rc;
}

/* The guest keeps the disk.  libxl leaves the backend about to close, and a guest that comes to
 * would give the disk up: it is told that all is as before.  One that has begun to give it up goes
 * on with that, and the next unplugging finds it done. */
static void disk_stays(struct request *rq, struct xen *xen, const libxl_diskinfo *info,
                       const char *backend_was)
{
    struct arena *a = &rq->arena;
    const char *state = xs_text(a, xen, arena_printf(a, "%s/state", info->frontend));

    if (!state || atoi(state) > XenbusStateConnected)
        return;
    error_ignore(xs_put(a, xen, arena_printf(a, "%s/online", info->backend), "1"));
    error_ignore(xs_put(a, xen, arena_printf(a, "%s/state", info->backend), backend_was));
}

/* Asks the guest for the disk; one that refuses says why, in xenstore. */
static struct error *disk_ask_for(struct request *rq, struct xen *xen, const struct found *d,
                                  const char *device, libxl_device_disk *disk)
{
    struct arena *a = &rq->arena;
    struct error *e = OK;
    const char *words, *state = NULL;
    libxl_diskinfo info;
    int rc;

    libxl_diskinfo_init(&info);
    rc = libxl_device_disk_getinfo(xen->ctx, d->domid, disk, &info);
    words = arena_printf(a, "/local/domain/%u/error/device/vbd/%d/error", d->domid, info.devid);
    if (!rc) {
        xs_drop(xen, words);
        state = xs_text(a, xen, arena_printf(a, "%s/state", info.backend));
        rc = libxl_device_disk_safe_remove(xen->ctx, d->domid, disk, NULL);
    }
    if (rc) {
        e = xen_failed(a, xen, "unplugging the disk", rc);
        words = xs_text(a, xen, words);
        if (state)
            disk_stays(rq, xen, &info, state);
        if (rc == ERROR_TIMEDOUT)
            e = words ? rejected(rq, "VBD", device, arena_printf(a, "the guest says: %s", words))
                      : error_new(a, "DEVICE_DETACH_TIMEOUT", 2, "VBD", device);
    }
    libxl_diskinfo_dispose(&info);
    return e;
}

static struct error *disk_remove(struct request *rq, struct xen *xen, const struct found *d,
                                 const char *device, bool force)
{
    libxl_device_disk disk;
    enum hv_reason reason;
    struct error *e = OK;
    int rc;

    if (force || domain_state(&d->info, &reason) == HV_SHUTDOWN) {
        rc = disk_take_away(xen, d, device);
        return rc ? xen_failed(&rq->arena, xen, "unplugging the disk", rc) : OK;
    }
    if (cannot_consent(d))
        return rejected(rq, "VBD", device, "the guest does not run");
    if (disk_of(xen, d, device, &disk))
        e = disk_ask_for(rq, xen, d, device, &disk);
    libxl_device_disk_dispose(&disk);
    return e;
}

static struct error *disk_insert(struct request *rq, struct xen *xen, const struct found *d,
                                 const struct hv_disk *disk)
{
    libxl_device_disk xl;
    struct error *e = config_disk(&rq->arena, disk, d->type, executor_of(rq)->block_script, &xl);
    int rc = e ? 0 : libxl_device_disk_add(xen->ctx, d->domid, &xl, NULL);

    libxl_device_disk_dispose(&xl);
    if (rc)
        e = xen_failed(&rq->arena, xen, "plugging the disk", rc);
    return e;
}

struct error *run_disk_plug(struct request *rq, json_t **result)
{
    struct hv_disk disk;
    AUTO(hold) hold = {0};
    AUTO(xen) xen = {0};
    struct found d;
    struct error *e;

    (void)result;
    TRY(disk_arg(rq, &disk));
    TRY(domain_begin(rq, true, &hold, &xen, &d));
    if (xs_text(&rq->arena, &xen, disk_mark(rq, &d, disk.device)))
        return rq->again ? OK : error_new(&rq->arena, "DEVICE_ALREADY_EXISTS", 1, disk.device);
    disk_take_away(&xen, &d, disk.device);
    e = config_has_disk(&disk, d.type) ? disk_insert(rq, &xen, &d, &disk) : OK;
    if (!e)
        e = mark_disk(&rq->arena, &xen, d.domid, &disk);
    if (e)
        disk_take_away(&xen, &d, disk.device);
    return e;
}

struct error *run_disk_unplug(struct request *rq, json_t **result)
{
    const char *device = read_text(&rq->args, "device", DEVICE_NAME_MAX);
    bool force = read_bool(&rq->args, "force");
    AUTO(hold) hold = {0};
    AUTO(xen) xen = {0};
    struct found d;

    (void)result;
    TRY(domain_begin(rq, false, &hold, &xen, &d));
    if (!xs_text(&rq->arena, &xen, disk_mark(rq, &d, device)))
        return OK;
    TRY(disk_remove(rq, &xen, &d, device, force));
    xs_drop(&xen, disk_mark(rq, &d, device));
    return OK;
}

/* A guest without emulation sees the disk go, if it lets it, or another one come. */
static struct error *change_medium(struct request *rq, struct xen *xen, const struct found *d,
                                   const struct hv_disk *disk)
{
    libxl_device_disk xl;
    struct error *e;
    int rc;

    if (d->type != LIBXL_DOMAIN_TYPE_HVM) {
        TRY(disk_remove(rq, xen, d, disk->device, false));
        return *disk->path ? disk_insert(rq, xen, d, disk) : OK;
    }
    e = config_disk(&rq->arena, disk, d->type, executor_of(rq)->block_script, &xl);
    rc = e ? 0 : libxl_cdrom_insert(xen->ctx, d->domid, &xl, NULL);
    libxl_device_disk_dispose(&xl);
    return rc ? xen_failed(&rq->arena, xen, "changing the medium", rc) : e;
}

struct error *run_disk_change(struct request *rq, json_t **result)
{
    struct hv_disk disk, old = {0};
    AUTO(hold) hold = {0};
    AUTO(xen) xen = {0};
    struct reader r;
    const char *text;
    json_t *record;
    struct found d;

    (void)result;
    TRY(disk_arg(rq, &disk));
    TRY(domain_begin(rq, true, &hold, &xen, &d));
    text = xs_text(&rq->arena, &xen, disk_mark(rq, &d, disk.device));
    record = text ? json_loads(text, 0, NULL) : NULL;
    r = reader_of(&rq->arena, record);
    read_disk(&r, &old);
    json_decref(record);
    if (r.bad || !old.cdrom || !disk.cdrom || disk.mode == HV_DISK_RW)
        return error_internal(&rq->arena, "disk %s: no CD drive", disk.device);
    TRY(change_medium(rq, &xen, &d, &disk));
    return mark_disk(&rq->arena, &xen, d.domid, &disk);
}

/*** NICs ***/

static int nic_take_away(struct xen *xen, const struct found *d, int device, bool force)
{
    libxl_device_nic nic;
    int rc = 0;

    libxl_device_nic_init(&nic);
    if (libxl_devid_to_device_nic(xen->ctx, d->domid, device, &nic) == 0)
        rc = force ? libxl_device_nic_destroy(xen->ctx, d->domid, &nic, NULL)
                   : libxl_device_nic_remove(xen->ctx, d->domid, &nic, NULL);
    else
        xen_forget(xen);
    libxl_device_nic_dispose(&nic);
    return rc;
}

static struct error *nic_insert(struct request *rq, struct xen *xen, const struct found *d,
                                const struct hv_nic *nic)
{
    libxl_device_nic xl;
    struct error *e = config_nic(&rq->arena, nic, &xl);
    int rc = e ? 0 : libxl_device_nic_add(xen->ctx, d->domid, &xl, NULL);

    libxl_device_nic_dispose(&xl);
    return rc ? xen_failed(&rq->arena, xen, "plugging the NIC", rc) : e;
}

struct error *run_nic_plug(struct request *rq, json_t **result)
{
    struct reader r = reader_of(&rq->arena, json_object_get(rq->args_json, "nic"));
    AUTO(hold) hold = {0};
    AUTO(xen) xen = {0};
    struct hv_nic nic;
    struct found d;
    struct error *e;

    (void)result;
    read_nic(&r, &nic);
    if (r.bad)
        return error_internal(&rq->arena, "the NIC's '%s' is missing or wrong", r.bad);
    TRY(domain_begin(rq, true, &hold, &xen, &d));
    if (xs_text(&rq->arena, &xen, nic_mark(rq, &d, nic.device)))
        return rq->again ? OK
                         : error_new(&rq->arena, "DEVICE_ALREADY_EXISTS", 1,
                                     arena_printf(&rq->arena, "%d", nic.device));
    nic_take_away(&xen, &d, nic.device, true);
    e = nic_insert(rq, &xen, &d, &nic);
    if (!e)
        e = mark_nic(&rq->arena, &xen, d.domid, &nic);
    if (e)
        nic_take_away(&xen, &d, nic.device, true);
    return e;
}

struct error *run_nic_unplug(struct request *rq, json_t **result)
{
    int device = (int)read_int(&rq->args, "device", 0, INT16_MAX);
    bool force = read_bool(&rq->args, "force");
    AUTO(hold) hold = {0};
    AUTO(xen) xen = {0};
    enum hv_reason reason;
    struct found d;
    int rc;

    (void)result;
    TRY(domain_begin(rq, false, &hold, &xen, &d));
    if (!xs_text(&rq->arena, &xen, nic_mark(rq, &d, device)))
        return OK;
    force = force || domain_state(&d.info, &reason) == HV_SHUTDOWN;
    if (!force && cannot_consent(&d))
        return rejected(rq, "VIF", arena_printf(&rq->arena, "%d", device),
                        "the guest does not run");
    rc = nic_take_away(&xen, &d, device, force);
    if (rc && !force)
        return rejected(rq, "VIF", arena_printf(&rq->arena, "%d", device),
                        error_line(&rq->arena, xen_failed(&rq->arena, &xen, "unplugging", rc)));
    if (rc)
        return xen_failed(&rq->arena, &xen, "unplugging the NIC", rc);
    xs_drop(&xen, nic_mark(rq, &d, device));
    return OK;
}

/*** USB devices of the host ***/

static int usb_take_away(struct xen *xen, const struct found *d, const struct hv_usb *usb)
{
    int n = 0, rc = 0;
    libxl_device_usbdev *all = libxl_device_usbdev_list(xen->ctx, d->domid, &n);

    for (int i = 0; i < n && !rc; i++)
        if (all[i].type == LIBXL_USBDEV_TYPE_HOSTDEV && all[i].u.hostdev.hostbus == usb->bus &&
            all[i].u.hostdev.hostaddr == usb->address)
            rc = libxl_device_usbdev_remove(xen->ctx, d->domid, &all[i], NULL);
    libxl_device_usbdev_list_free(all, n);
    return rc;
}

struct error *run_usb_unplug(struct request *rq, json_t **result)
{
    const char *id = read_text(&rq->args, "usb", UUID_TEXT_SIZE - 1), *path, *text;
    AUTO(hold) hold = {0};
    AUTO(xen) xen = {0};
    struct reader r;
    struct hv_usb usb;
    struct found d;
    json_t *record;
    int rc;

    (void)result;
    TRY(domain_begin(rq, false, &hold, &xen, &d));
    path = mark_path(&rq->arena, d.domid, arena_printf(&rq->arena, "usb/%s", id));
    text = xs_text(&rq->arena, &xen, path);
    if (!text)
        return OK;
    record = json_loads(text, 0, NULL);
    r = reader_of(&rq->arena, record);
    read_usb(&r, &usb);
    json_decref(record);
    if (r.bad)
        return error_internal(&rq->arena, "the USB device's mark cannot be read: %s", r.bad);
    rc = usb_take_away(&xen, &d, &usb);
    if (rc)
        return xen_failed(&rq->arena, &xen, "taking the USB device away", rc);
    xs_drop(&xen, path);
    return OK;
}
