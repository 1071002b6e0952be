/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * udev.h -- block devices of this host as disks: drives for CDs, sticks, whole disks that nobody
 * else uses.  What is there is what udev has given a name in a folder of /dev, as far as the kernel
 * knows it; nothing is opened, made or changed.
 *
 * The location of a disk is its name below /dev, which stays where it goes and comes back.
 */
#pragma once

#include "storage-repos/sr.h"

/* device_config: location, a folder of /dev, or /dev/xapi/cd and /dev/xapi/block for what is to be
 * found in /dev/disk/by-id of drives for CDs and of removable disks. */
extern const struct sr_driver sr_udev;

/* ---- private to the folder ---- */

/* A block device as the kernel shows it in sysfs.  Strings are the arena's. */
struct udev_disk {
    const char *kernel_name; /* "sdb" */
    const char *title;       /* vendor and model, "" where it has none */
    const char *usb_path;    /* "1-2", "" where it is none of USB */
    int64_t size;            /* bytes */
    bool optical, removable, read_only;
};
/* False where it is no whole disk, or one that a program of this host has to itself: mounted,
 * swapped to, a part of another device. */
bool udev_disk_read(struct call *call, const char *system_root, const char *kernel_name,
                    struct udev_disk *out);
