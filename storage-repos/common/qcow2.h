/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qcow2.h -- qcow2 images: what their header says, and the work of qemu-img on them.
 *
 * The header is read here, for a scan looks at hundreds of images, and because what lies in a
 * repository may not send qemu to other files: an image with an external data file, with
 * encryption, or with anything this file does not know is refused. Everything that writes is
 * qemu-img's, run as a child with a deadline; what it says on failure becomes the error's text.
 * Nothing here is durable when it returns: the caller syncs.
 */
#pragma once

#include "libxapi/base/base.h"
#include "storage-repos/common/sr_error.h"

struct call;

/* What 64 KiB clusters can address with the largest table qemu accepts. */
#define QCOW2_SIZE_MAX ((int64_t)1 << 51)

struct qcow2_head {
    int64_t virtual_size;
    const char *backing; /* as stored in the image; "" if none */
};

enum qcow2_state {
    QCOW2_GOOD,
    QCOW2_FOREIGN, /* not qcow2 at all */
    QCOW2_BROKEN,  /* qcow2 that is damaged, unreadable or uses what we refuse */
};

/* Reads the header of an open file; '*why' says what is wrong with it.  Strings are the arena's. */
enum qcow2_state qcow2_read_head(struct call *call, int fd, struct qcow2_head *out,
                                 const char **why);

/*
 * Makes a thin image of 'size' bytes; 'backing' is a file name beside it, or NULL.  The backing
 * file need not exist yet. An existing file is overwritten.
 */
MUST_CHECK struct error *qcow2_create(struct call *call, const char *path, int64_t size,
                                      const char *backing);
/* Grows to 'size' bytes. */
MUST_CHECK struct error *qcow2_resize(struct call *call, const char *path, int64_t size);
/* Writes another backing name into the image without looking at any data: for content known to be
 * the same. */
MUST_CHECK struct error *qcow2_rebase(struct call *call, const char *path, const char *backing);
/*
 * Copies the whole content, chain and all, to a new image without backing.  'size' is the virtual
 * size, for the deadline and for errors.  'progress' as in sr.h.
 */
MUST_CHECK struct error *qcow2_convert(struct call *call, const char *from, const char *to,
                                       int64_t size, bool (*progress)(void *ctx, double done),
                                       void *ctx);
/* True for an image that holds nothing of its own: all that is read comes from its parent. */
bool qcow2_is_empty(int fd);
/* True when a process of qemu has the image open for writing. */
bool qcow2_has_writer(int fd);
