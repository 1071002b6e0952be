/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sysfs.h -- the PCI functions and USB devices that the kernel sees.
 *
 * 'root' is where sysfs is mounted ("/sys"), or a folder that looks like it.  Everything is in the
 * arena and printable; what does not look as the kernel writes it is left out.
 */
#pragma once

#include "libxapi/base/arena.h"
#include "libxapi/value/type.h"

struct pci_facts {
    const char *id;       /* "0000:04:00.0" */
    const char *class_id; /* class and subclass, four digits: "0300" */
    const char *vendor_id, *device_id, *subvendor_id, *subdevice_id; /* four digits each */
    const char *driver; /* bound in the control domain, or "" */
    const char *parent; /* of a virtual function: its physical one; else "" */
    bool boot_display;  /* the firmware showed its screen there */
};

struct usb_facts {
    const char *path; /* "1-2.3" */
    const char *vendor_id, *product_id, *vendor, *product, *serial, *version;
    double speed;     /* Mbit/s; -1 where it is not known */
    int bus, address; /* the present ones: they change when it is plugged in anew */
};

/* All PCI functions but bridges and parts of the board itself, ordered by id. */
size_t sysfs_pci(struct arena *arena, const char *root, struct pci_facts **out);
/* All USB devices but hubs, keyboards and mice, which the host's own console needs, ordered by
 * path.
 */
size_t sysfs_usb(struct arena *arena, const char *root, struct usb_facts **out);
/* True for the driver that holds devices for guests. */
bool pci_driver_is_backend(const char *driver);

/* Names from a text in the form of pci.ids; each is NULL where the text has none. */
const char *pci_ids_vendor(struct arena *arena, const char *text, const char *vendor);
const char *pci_ids_device(struct arena *arena, const char *text, const char *vendor,
                           const char *device);
const char *pci_ids_class(struct arena *arena, const char *text, const char *class_id);
/* That text: of the system for "/sys", else <root>/pci.ids; "" where there is none. */
const char *pci_ids_text(struct arena *arena, const char *root);
