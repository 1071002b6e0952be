/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * device.h -- numbers and names of virtual devices, as VBD.userdevice, VBD.device and VIF.device
 * spell them.  Pure.
 */
#pragma once

#include "xapid/db/db.h"

#define VBD_DEVICES 255 /* 0 to 254 */
#define VIF_DEVICES 16  /* 0 to 15 */

/* Number of a userdevice: decimal, "xvdb", "hdb", "sdb"; -1 for what is none or beyond the last. */
int vbd_device_number(const char *userdevice);
/* "xvda" for 0, "xvdaa" for 26. */
const char *vbd_device_name(struct arena *arena, int number);
/* Number of a VIF.device; -1 for what is none. */
int vif_device_number(const char *device);

/* The numbers no VBD or VIF of the VM has, lowest first, as decimal text. */
struct strings vbd_devices_free(struct arena *arena, const struct db_snap *snap, ref_t vm);
struct strings vif_devices_free(struct arena *arena, const struct db_snap *snap, ref_t vm);
