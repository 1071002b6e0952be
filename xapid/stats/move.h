/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* move.h -- the history of a VM goes with it to another host. */
#pragma once

#include "libxapi/base/buf.h"

struct stats;

/* More than any VM's. */
#define STATS_MOVE_MAX ((size_t)64 << 20)

/* Adds what is known here of a running VM; false: nothing is. */
bool stats_vm_pack(struct stats *stats, const char *uuid, struct buf *out);
/* What came with a VM from another host becomes its history here.  What cannot be read is logged:
 * its history begins anew. */
void stats_vm_unpack(struct stats *stats, const char *uuid, const void *data, size_t size);
