/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vusb.h -- which operations a virtual USB device allows; see ops/storage/check.h. */
#pragma once

#include "xapid/db/db.h"

/* Bits are 1 << enum vusb_operations. */
uint64_t vusb_allowed(const struct db_snap *snap, const struct vusb *vusb);
