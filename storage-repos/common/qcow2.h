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
    int version, cluster_bits;
    bool extended;  /* the entries of its map say more than where a cluster is */
    int64_t map_at; /* of the first table of its map, and how many entries that has */
    int64_t map_entries;
};

enum qcow2_state {
    QCOW2_GOOD,
    QCOW2_FOREIGN, /* not qcow2 at all */
    QCOW2_BROKEN,  /* qcow2 that is damaged or uses what we refuse */
    QCOW2_UNREAD,  /* it could not be read now: what it is is not known */
};

/* As many bytes as the file has there, up to n; -1 with errno. */
ssize_t qcow2_pread(int fd, void *buf, size_t n, int64_t offset);

/* Reads the header of an open file; '*why' says what is wrong with it.  Strings are the arena's. */
enum qcow2_state qcow2_read_head(struct call *call, int fd, struct qcow2_head *out,
                                 const char **why);

/*
 * Makes a thin image of 'size' bytes; 'backing' is a file name beside it, or NULL.  The backing
 * file need not exist yet. An existing file is overwritten.
 */
MUST_CHECK struct error *qcow2_create(struct call *call, const char *path, int64_t size,
                                      const char *backing);
/* The same on a backing file of that format. */
MUST_CHECK struct error *qcow2_create_on(struct call *call, const char *path, int64_t size,
                                         const char *backing, const char *backing_format);
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
/* The same from an image of that format. */
MUST_CHECK struct error *qcow2_convert_from(struct call *call, const char *from,
                                            const char *from_format, const char *to, int64_t size,
                                            bool (*progress)(void *ctx, double done), void *ctx);
/* Bytes from the image's beginning to the end of the last one in use; somebody may be reading or
 * writing it, but then of course it may be more a moment later. */
MUST_CHECK struct error *qcow2_end(struct call *call, const char *path, int64_t *out);
/* True for an image that holds nothing of its own: all that is read comes from its parent. */
bool qcow2_is_empty(int fd);
/* True when a process of qemu has the image open for writing. */
bool qcow2_has_writer(int fd);
/* From now on, until 'fd' is closed, no process of qemu begins to write to the image.  False where
 * that could not be had; one that writes already goes on (qcow2_has_writer). */
bool qcow2_keep_writers_out(int fd);
/* The same for everybody; false too where any has it open. */
bool qcow2_keep_all_out(int fd);
/* A description for qemu of an image, or of a block device that holds one, that takes none of its
 * locks; 'alone': without those below it.  NULL where the path is not UTF-8. */
const char *qcow2_unlocked(struct call *call, const char *path, bool alone);
/* As qcow2_resize, while others have the image open.  Nobody may read beyond the old end. */
MUST_CHECK struct error *qcow2_resize_shared(struct call *call, const char *path, int64_t size);
