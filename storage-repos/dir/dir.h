/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dir.h -- repositories that are a directory of qcow2 images.
 *
 * What lies there, for a VDI with uuid U:
 * - U.qcow2: the image; the name of its parent is in its header, relative, so that the directory
 *   can be moved
 * - U.json: names, sm_config and the mark "hidden"; an image without it is a VDI without a name
 * - U.cbt: instead of the image, where its data was destroyed: which image it lay on (changed.c)
 * - .U.*.tmp: work in progress: never read, overwritten by a repeat, removed with U
 * - .xapid-sr: whose repository this is; without it nothing is attached (the disk may not be
 *   mounted)
 * - .xapid-lock: held (flock) while relations between images change
 * - .xapid-coalesce: held while two images become one (coalesce.c)
 *
 * Rules that hold at every moment, a crash included: a file is durable before anything refers to
 * it; a name in place means a complete file; an image with children is never written, whatever its
 * mark says, but by coalesce.c where nobody can see it; a hidden image is removed only when every
 * other image could be read and none refers to it.  What has been an image with children keeps its
 * content for good, or goes: for changed.c, two disks that lie on one image are the same there,
 * whenever they came to lie on it.
 */
#pragma once

#include "storage-repos/sr.h"

extern const struct sr_driver
    sr_ext; /* device_config: location, or device where that is a directory */
extern const struct sr_driver sr_file; /* device_config: location */
/* Needs nothing; in /run, so that what was on it is gone once the host was started again. */
extern const struct sr_driver sr_dummy;

/* Images on top of each other, at most: qemu opens them all. */
#define DIR_CHAIN_MAX 128

/* Driver state; zeroed is detached. */
struct dir_state {
    char *path; /* absolute, no slash at its end */
    int fd;     /* of the directory */
    /* Called after each step that changes the directory, where a crash would show.  For tests; may
     * be NULL. */
    void (*step)(void *ctx, const char *name);
    void *step_ctx;
};
