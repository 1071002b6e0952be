/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* drivers.c -- the one table of storage drivers. */
#include <string.h>

#include "storage-repos/apart/apart.h"
#include "storage-repos/dir/dir.h"
#include "storage-repos/dir/iso.h"
#include "storage-repos/nfs/nfs.h"
#include "storage-repos/sr.h"
#include "storage-repos/udev/udev.h"

const struct sr_driver *const sr_drivers[] = {&sr_ext, &sr_file, &sr_nfs,   &sr_lvm, &sr_lvmoiscsi,
                                              &sr_iso, &sr_udev, &sr_dummy, NULL};

const struct sr_driver *sr_driver_by_type(const char *type)
{
    for (size_t i = 0; sr_drivers[i]; i++)
        if (strcmp(sr_drivers[i]->type, type) == 0)
            return sr_drivers[i];
    return NULL;
}

const struct sr_driver *sr_driver_for(const char *type, const struct strmap *device_config)
{
    const struct sr_driver *driver = sr_driver_by_type(type);

    return driver == &sr_iso && nfs_is_remote(type, device_config) ? &sr_iso_nfs : driver;
}
