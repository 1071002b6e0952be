/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* udev.c -- the driver: names in a folder of /dev. */
#include "storage-repos/udev/udev.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/base/call.h"
#include "libxapi/value/value.h"
#include "storage-repos/common/sr_error.h"
#include "storage-repos/common/words.h"

#define BY_ID "/dev/disk/by-id"
#define DISKS_MAX 10000

/* ---- the settings ---- */

struct place {
    const char *system_root;
    const char *folder;         /* below /dev */
    bool no_optical, no_others; /* what is left out of it */
};

static struct error *find_place(struct call *call, const struct sr_handle *sr, struct place *out)
{
    const char *location = strmap_get(&sr->device_config, "location");
    bool cds, disks;

    if (!location || !*location)
        return sr_failed(call, SR_FAIL_NO_LOCATION, "a folder of /dev is wanted");
    if (strncmp(location, "/dev/", 5) != 0 || strstr(location, "..") || strlen(location) > 255)
        return sr_failed(call, SR_FAIL_ARGUMENT, "location: '%s' is no folder of /dev", location);
    cds = strcmp(location, "/dev/xapi/cd") == 0;
    disks = strcmp(location, "/dev/xapi/block") == 0;
    *out = (struct place){.system_root = sr->site ? sr->site->system_root : "",
                          .folder = cds || disks ? BY_ID : location,
                          .no_optical = disks,
                          .no_others = cds};
    return OK;
}

static struct error *udev_create(struct call *call, struct sr_handle *sr, int64_t physical_size)
{
    struct place place;

    (void)physical_size;
    return find_place(call, sr, &place);
}

/* Nothing is ours. */
static struct error *udev_destroy(struct call *call, struct sr_handle *sr)
{
    (void)call;
    (void)sr;
    return OK;
}

static struct error *udev_attach(struct call *call, struct sr_handle *sr)
{
    struct place place;

    return find_place(call, sr, &place);
}

static void udev_detach(struct call *call, struct sr_handle *sr)
{
    (void)call;
    (void)sr;
}

/* ---- disks ---- */

/* The device that a name leads to; false where it is none that can be shown. */
static bool examine(struct call *call, const struct place *place, const char *name,
                    struct udev_disk *out)
{
    const char *path =
        arena_printf(call->arena, "%s%s/%s", place->system_root, place->folder, name);
    const char *dev = arena_printf(call->arena, "%s/dev/", place->system_root);
    char real[PATH_MAX], root[PATH_MAX];

    if (!realpath(path, real) || !realpath(dev, root) || strncmp(real, root, strlen(root)) != 0 ||
        strchr(real + strlen(root) + 1, '/'))
        return false;
    if (!udev_disk_read(call, place->system_root,
                        arena_strdup(call->arena, real + strlen(root) + 1), out))
        return false;
    if (out->optical ? place->no_optical : place->no_others)
        return false;
    return !place->no_optical || out->removable;
}

static void fill_info(struct call *call, const struct sr_handle *sr, const char *location,
                      const struct udev_disk *disk, struct vdi_info *out)
{
    *out = (struct vdi_info){.location = location,
                             .uuid = sr_name_uuid(call, sr->uuid, location),
                             .virtual_size = disk->size,
                             .physical_utilisation = disk->size,
                             .read_only = disk->read_only,
                             .name_label = disk->title[0] ? disk->title : disk->kernel_name,
                             .name_description = disk->optical ? "Drive for CDs and DVDs" : "Disk",
                             .parent = ""};
    if (disk->usb_path[0])
        out->sm_config = strmap_with(call->arena, (struct strmap){0}, "usb_path", disk->usb_path);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The folder's names in order; none where there is no folder: udev removes it with its last name.
 */
static struct error *list_names(struct call *call, const struct place *place, size_t *n,
                                const char ***out)
{
    const char *path = arena_printf(call->arena, "%s%s", place->system_root, place->folder);
    const char **v = arena_array(call->arena, const char *, DISKS_MAX);
    DIR *d = opendir(path);
    struct dirent *entry;

    *n = 0;
    *out = v;
    if (!d)
        return errno == ENOENT ? OK : sr_failed_errno(call, SR_FAIL_SCAN, errno, path);
    while (*n < DISKS_MAX && (entry = readdir(d)) != NULL)
        if (entry->d_name[0] != '.')
            v[(*n)++] = arena_strdup(call->arena, entry->d_name);
    closedir(d);
    if (*n == DISKS_MAX)
        return sr_failed(call, SR_FAIL_SCAN, "%s: more than %d names", path, DISKS_MAX);
    if (*n)
        qsort(v, *n, sizeof *v, by_name);
    return OK;
}

static bool is_known(const struct udev_disk *v, size_t n, const char *kernel_name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(v[i].kernel_name, kernel_name) == 0)
            return true;
    return false;
}

/* Of a device's names the first one counts. */
static struct error *udev_scan(struct call *call, struct sr_handle *sr, size_t *n,
                               struct vdi_info **out)
{
    const char **names;
    struct udev_disk *disks;
    struct place place;
    size_t n_names;

    TRY(find_place(call, sr, &place));
    TRY(list_names(call, &place, &n_names, &names));
    disks = arena_array(call->arena, struct udev_disk, n_names + 1);
    *n = 0;
    *out = arena_array(call->arena, struct vdi_info, n_names + 1);
    for (size_t i = 0; i < n_names; i++) {
        struct udev_disk *disk = &disks[*n];

        if (!examine(call, &place, names[i], disk) || is_known(disks, *n, disk->kernel_name))
            continue;
        fill_info(call, sr, arena_printf(call->arena, "%s/%s", place.folder, names[i]), disk,
                  &(*out)[(*n)++]);
    }
    return OK;
}

static struct error *udev_vdi_stat(struct call *call, struct sr_handle *sr, const char *location,
                                   struct vdi_info *info)
{
    struct udev_disk disk;
    struct place place;
    size_t n;

    TRY(find_place(call, sr, &place));
    n = strlen(place.folder);
    if (strncmp(location, place.folder, n) != 0 || location[n] != '/' ||
        strchr(location + n + 1, '/') || !examine(call, &place, location + n + 1, &disk))
        return vdi_missing(call, sr->uuid, location);
    fill_info(call, sr, arena_strdup(call->arena, location), &disk, info);
    return OK;
}

static struct error *udev_stat(struct call *call, struct sr_handle *sr, struct sr_stat_info *out)
{
    struct vdi_info *v;
    size_t n;

    *out = (struct sr_stat_info){0};
    TRY(udev_scan(call, sr, &n, &v));
    for (size_t i = 0; i < n; i++)
        out->physical_size += v[i].virtual_size;
    out->physical_utilisation = out->physical_size;
    return OK;
}

static struct error *udev_vdi_attach(struct call *call, struct sr_handle *sr, const char *location,
                                     bool writable, struct vdi_path *out)
{
    struct vdi_info info;

    TRY(udev_vdi_stat(call, sr, location, &info));
    if (writable && info.read_only)
        return vdi_readonly(call, location);
    if (info.virtual_size == 0)
        return sr_failed(call, SR_FAIL_VDI, "%s: there is no medium in the drive", location);
    *out = (struct vdi_path){
        .path = arena_printf(call->arena, "%s%s", sr->site ? sr->site->system_root : "", location),
        .format = "raw"};
    return OK;
}

static void udev_vdi_detach(struct call *call, struct sr_handle *sr, const char *location)
{
    (void)call;
    (void)sr;
    (void)location;
}

static const struct strpair udev_help[] = {
    {"location", "Folder of /dev whose names are shown, such as /dev/disk/by-id; /dev/xapi/cd for "
                 "the host's drives for CDs, /dev/xapi/block for removable disks"},
    {NULL, NULL}};

static const char *udev_one_host(const struct strmap *device_config)
{
    (void)device_config;
    return "each host has devices of its own";
}

const struct sr_driver sr_udev = {.type = "udev",
                                  .name_label = "udev",
                                  .description = "Block devices of this host as they are",
                                  .features =
                                      SR_F_CREATE | SR_F_SCAN | SR_F_STATS | SR_F_VDI_ATTACH,
                                  .config_help = udev_help,
                                  .one_host = udev_one_host,
                                  .create = udev_create,
                                  .destroy = udev_destroy,
                                  .attach = udev_attach,
                                  .detach = udev_detach,
                                  .stat = udev_stat,
                                  .scan = udev_scan,
                                  .vdi_stat = udev_vdi_stat,
                                  .vdi_attach = udev_vdi_attach,
                                  .vdi_detach = udev_vdi_detach};
