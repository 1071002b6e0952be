/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * nbd.h -- within storage-repos/datapath: block devices by the kernel's NBD client.
 *
 * The handshake is done here, then the connection is given to the kernel (netlink), which needs no
 * process of ours from then on.  A device carries the identifier it was connected with (Linux 5.13
 * and newer), so nothing about it has to be remembered.
 */
#pragma once

#include "storage-repos/common/sr_error.h"

struct call;

#define NBD_DEVICE_SIZE 24 /* fits "/dev/nbd" and any number */

/* The number of the device that was connected with this identifier, or -1. */
int nbd_device_find(const char *id);
/* "/dev/nbdN" */
void nbd_device_path(int device, char out[NBD_DEVICE_SIZE]);
/* Connects a free device to the server's export "disk". */
MUST_CHECK struct error *nbd_device_connect(struct call *call, const char *socket_path,
                                            const char *id, int *device);
/* Takes the kernel's end away; requests under way fail.  One that is not connected is fine. */
MUST_CHECK struct error *nbd_device_disconnect(struct call *call, int device);
/* Tells users of the device that it has grown; bytes. */
MUST_CHECK struct error *nbd_device_resize(struct call *call, int device, int64_t size);
