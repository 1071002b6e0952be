/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * devices.c -- disks and NICs.
 *
 * A disk's medium is held open and locked as long as the domain exists: one writer or many readers,
 * also across the simulators of several hosts that share a directory.  A storage error that would
 * let two guests write one image shows here.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/memory.h"
#include "xapid/hypervisor/sim/sim.h"

#define DEVICE_NAME_MAX 15

struct sim_disk *disk_find(struct domain *d, const char *device)
{
    for (size_t i = 0; i < d->n_disks; i++)
        if (strcmp(d->disks[i].d.device, device) == 0)
            return &d->disks[i];
    return NULL;
}

static bool name_is_good(const char *s)
{
    return *s && strlen(s) <= DEVICE_NAME_MAX &&
           !s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789")];
}

/* Opens the medium: *fd -1 for an empty drive.  Of one that is reached by a socket (NBD) its server
 * sees to who writes. */
static struct error *open_medium(struct request *rq, const struct domain *d,
                                 const struct hv_disk *disk, int *fd)
{
    bool writes = disk->mode == HV_DISK_RW, socket = strcmp(disk->format, "nbd") == 0;
    const char *why = NULL, *event = "failed";
    struct stat st;

    *fd = -1;
    if (!*disk->path && disk->cdrom)
        return OK;
    *fd = open(disk->path,
               socket ? O_PATH | O_CLOEXEC : (writes ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0 || fstat(*fd, &st) < 0)
        why = strerrordesc_np(errno);
    else if (socket && S_ISSOCK(st.st_mode))
        event = "open";
    else if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        why = "neither a file nor a block device";
    else if (flock(*fd, (writes && !disk->shared ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0)
        event = "open";
    else if (errno != EWOULDBLOCK)
        why = strerrordesc_np(errno);
    else {
        why = "in use by another domain, in a way that excludes this one";
        event = "refused";
    }
    account_disk(d, event, disk);
    if (!why)
        return OK;
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
    return error_internal(&rq->arena, "disk %s: %s: %s", disk->device, disk->path, why);
}

static void disk_release(const struct domain *d, struct sim_disk *disk)
{
    if (disk->fd >= 0) {
        account_disk(d, "close", &disk->d); /* before somebody else can open it */
        close(disk->fd);
    }
    free((char *)disk->d.device);
    free((char *)disk->d.path);
    free((char *)disk->d.format);
}

static struct sim_disk disk_copy(const struct hv_disk *d, int fd)
{
    struct sim_disk copy = {.d = *d, .fd = fd};

    copy.d.device = xstrdup(d->device);
    copy.d.path = xstrdup(d->path);
    copy.d.format = xstrdup(d->format);
    return copy;
}

struct error *disk_add(struct request *rq, struct domain *d, const struct hv_disk *disk)
{
    int fd;

    if (!name_is_good(disk->device))
        return error_internal(&rq->arena, "'%s' is no name for a disk", disk->device);
    if (disk_find(d, disk->device))
        return error_new(&rq->arena, "DEVICE_ALREADY_EXISTS", 1, disk->device);
    if (d->n_disks == PROTOCOL_DISKS_MAX)
        return error_internal(&rq->arena, "the domain has %d disks already", PROTOCOL_DISKS_MAX);
    if (disk->cdrom && disk->mode == HV_DISK_RW)
        return error_internal(&rq->arena, "disk %s: a CD cannot be written", disk->device);
    TRY(open_medium(rq, d, disk, &fd));
    d->disks[d->n_disks++] = disk_copy(disk, fd);
    return OK;
}

static struct sim_nic *nic_find(struct domain *d, int device)
{
    for (size_t i = 0; i < d->n_nics; i++)
        if (d->nics[i].d.device == device)
            return &d->nics[i];
    return NULL;
}

static void nic_release(struct sim_nic *nic)
{
    free((char *)nic->d.mac);
    free((char *)nic->d.bridge);
}

struct error *nic_add(struct request *rq, struct domain *d, const struct hv_nic *nic)
{
    if (nic_find(d, nic->device))
        return error_new(&rq->arena, "DEVICE_ALREADY_EXISTS", 1,
                         arena_printf(&rq->arena, "%d", nic->device));
    if (d->n_nics == PROTOCOL_NICS_MAX)
        return error_internal(&rq->arena, "the domain has %d NICs already", PROTOCOL_NICS_MAX);
    d->nics[d->n_nics].d = *nic;
    d->nics[d->n_nics].d.mac = xstrdup(nic->mac);
    d->nics[d->n_nics].d.bridge = xstrdup(nic->bridge);
    d->n_nics++;
    return OK;
}

/*** devices of the host ***/

struct error *pci_add(struct request *rq, struct domain *d, const char *id)
{
    for (const struct domain *o = sim_of(rq)->domains; o; o = o->next)
        for (size_t i = 0; i < o->n_pcis; i++)
            if (strcmp(o->pcis[i], id) == 0)
                return error_internal(&rq->arena, "PCI device %s belongs to domain %d", id,
                                      o->domid);
    d->pcis[d->n_pcis++] = xstrdup(id);
    return OK;
}

struct error *usb_add(struct request *rq, struct domain *d, const struct hv_usb *usb)
{
    for (const struct domain *o = sim_of(rq)->domains; o; o = o->next)
        for (size_t i = 0; i < o->n_usbs; i++)
            if (o->usbs[i].bus == usb->bus && o->usbs[i].address == usb->address)
                return error_internal(&rq->arena, "USB device %d.%d belongs to domain %d", usb->bus,
                                      usb->address, o->domid);
    d->usbs[d->n_usbs] = *usb;
    d->usbs[d->n_usbs++].id = xstrdup(usb->id);
    return OK;
}

void devices_release(struct domain *d)
{
    for (size_t i = 0; i < d->n_disks; i++)
        disk_release(d, &d->disks[i]);
    for (size_t i = 0; i < d->n_nics; i++)
        nic_release(&d->nics[i]);
    for (size_t i = 0; i < d->n_pcis; i++)
        free(d->pcis[i]);
    for (size_t i = 0; i < d->n_usbs; i++)
        free((char *)d->usbs[i].id);
    d->n_disks = d->n_nics = d->n_pcis = d->n_usbs = 0;
}

/* The guest has to let go of a device, unless it is forced or there is no guest yet or any more. */
static struct error *check_consent(struct request *rq, const struct domain *d, const char *type,
                                   const char *device, bool force)
{
    if (force || d->state == HV_SHUTDOWN || !d->booted || guest_answers(d))
        return OK;
    if (d->state == HV_PAUSED)
        return error_new(&rq->arena, "DEVICE_DETACH_REJECTED", 3, type, device,
                         "the guest does not run");
    return error_new(&rq->arena, "DEVICE_DETACH_TIMEOUT", 2, type, device);
}

/* The request's "disk". */
static struct error *disk_arg(struct request *rq, struct hv_disk *out)
{
    struct reader r = reader_of(&rq->arena, json_object_get(rq->args_json, "disk"));

    read_disk(&r, out);
    return r.bad ? error_internal(&rq->arena, "the disk's '%s' is missing or wrong", r.bad) : OK;
}

struct error *run_disk_plug(struct request *rq, json_t **result)
{
    struct hv_disk disk;
    struct domain *d;

    (void)result;
    TRY(disk_arg(rq, &disk));
    TRY(domain_alive(rq, &d));
    TRY(disk_add(rq, d, &disk));
    domain_changed(d);
    return OK;
}

struct error *run_disk_unplug(struct request *rq, json_t **result)
{
    const char *device = read_text(&rq->args, "device", DEVICE_NAME_MAX);
    bool force = read_bool(&rq->args, "force");
    struct sim_disk *disk;
    struct domain *d;

    (void)result;
    TRY(domain_of(rq, &d));
    disk = disk_find(d, device);
    if (!disk)
        return OK;
    TRY(check_consent(rq, d, "VBD", device, force));
    disk_release(d, disk);
    *disk = d->disks[--d->n_disks];
    domain_changed(d);
    return OK;
}

struct error *run_disk_change(struct request *rq, json_t **result)
{
    struct sim_disk *old;
    struct hv_disk disk;
    struct domain *d;
    int fd;

    (void)result;
    TRY(disk_arg(rq, &disk));
    TRY(domain_alive(rq, &d));
    old = disk_find(d, disk.device);
    if (!old || !old->d.cdrom || !disk.cdrom || disk.mode == HV_DISK_RW)
        return error_internal(&rq->arena, "disk %s: no CD drive", disk.device);
    TRY(open_medium(rq, d, &disk, &fd));
    disk_release(d, old);
    *old = disk_copy(&disk, fd);
    domain_changed(d);
    return OK;
}

struct error *run_nic_plug(struct request *rq, json_t **result)
{
    struct reader r = reader_of(&rq->arena, json_object_get(rq->args_json, "nic"));
    struct hv_nic nic;
    struct domain *d;

    (void)result;
    read_nic(&r, &nic);
    if (r.bad)
        return error_internal(&rq->arena, "the NIC's '%s' is missing or wrong", r.bad);
    TRY(domain_alive(rq, &d));
    TRY(nic_add(rq, d, &nic));
    guest_refresh(d);
    domain_changed(d);
    return OK;
}

struct error *run_nic_unplug(struct request *rq, json_t **result)
{
    int device = (int)read_int(&rq->args, "device", 0, INT16_MAX);
    bool force = read_bool(&rq->args, "force");
    struct sim_nic *nic;
    struct domain *d;

    (void)result;
    TRY(domain_of(rq, &d));
    nic = nic_find(d, device);
    if (!nic)
        return OK;
    TRY(check_consent(rq, d, "VIF", nic->d.mac, force));
    nic_release(nic);
    *nic = d->nics[--d->n_nics];
    guest_refresh(d);
    domain_changed(d);
    return OK;
}

struct error *run_usb_unplug(struct request *rq, json_t **result)
{
    const char *id = read_text(&rq->args, "usb", UUID_TEXT_SIZE - 1);
    struct domain *d;

    (void)result;
    TRY(domain_of(rq, &d));
    for (size_t i = 0; i < d->n_usbs; i++) {
        if (strcmp(d->usbs[i].id, id) != 0)
            continue;
        free((char *)d->usbs[i].id);
        d->usbs[i] = d->usbs[--d->n_usbs];
        domain_changed(d);
        break;
    }
    return OK;
}
