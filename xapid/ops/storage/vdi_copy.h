/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vdi_copy.h -- copying the contents of one disk to another. */
#pragma once

#include "storage-repos/sr.h"

struct data_copy {
    const struct vdi_path *from, *to;
    const struct vdi_path *base; /* only what differs from it is copied; NULL: everything */
    bool fresh;                  /* 'to' reads as zeroes: runs of zeroes need not be written */
    double start, end;           /* the part of the task's progress */
};

/* Reads at most the destination's size; TASK_CANCELLED when the task was.  Durable at the end. */
MUST_CHECK struct error *data_copy(struct call *call, const struct data_copy *copy);
/* True if all bytes are zero. */
bool all_zero(const char *p, size_t n);
