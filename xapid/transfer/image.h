/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * image.h -- disks in the file formats of others, VHD, qcow2 and VMDK, written (but for VMDK) and
 * read as a stream: once, from the front to the back, without a file in between.
 *
 * Writing puts all tables before the data, so where the data is has to be known first: it is asked
 * of the storage, or, for what differs from another disk, found by comparing.
 */
#pragma once

#include "storage-repos/sr.h"
#include "xapid/transfer/flow.h"

/* A disk as a whole. */
struct image_disk {
    struct vdi_io *io;
    ref_t vdi; /* for errors */
    const char *uuid;
    /* Another disk, of which only the differences are written; NULL: everything is. */
    struct vdi_io *base;
    const char *base_uuid;
    int64_t announced; /* reading: bytes of the image, as the sender said; 0 or less: it did not */
};

/* Which units of a disk have to be written: a bit for each, in pages, which are there only where
 * one is set. */
#define UNIT_PAGE ((int64_t)8192)
struct unit_map {
    int64_t unit;    /* bytes */
    int64_t n, set;  /* units, and those to be written */
    uint8_t **pages; /* allocated, as they are */
};
MUST_CHECK struct error *unit_map_make(struct call *call, const struct image_disk *disk,
                                       int64_t unit, struct unit_map *out);
bool unit_map_has(const struct unit_map *map, int64_t i);
/* The first of the units from i to 'end' that has to be written; 'end' where none has. */
int64_t unit_map_next(const struct unit_map *map, int64_t i, int64_t end);
void unit_map_release(struct unit_map *map);
/* Reads a unit; what lies beyond the disk's end is zero. */
MUST_CHECK struct error *image_read_unit(struct call *call, const struct image_disk *disk,
                                         const struct unit_map *map, int64_t i, char *room);

/* VDI_TOO_LARGE beyond what the format can hold. */
#define VHD_MAX ((int64_t)2040 << 30)
MUST_CHECK struct error *vhd_check_size(struct call *call, const struct image_disk *disk);
MUST_CHECK struct error *vhd_send(struct call *call, const struct image_disk *disk,
                                  struct sink *to);
MUST_CHECK struct error *qcow2_send(struct call *call, const struct image_disk *disk,
                                    struct sink *to);
/*
 * Makes the disk's content that of the image and flushes it; an image of differences changes only
 * what it has.  VDI_TOO_SMALL(vdi, bytes), IMPORT_ERROR_PREMATURE_EOF; VDI_IO_ERROR(why) for what
 * cannot be read, or not in this order.
 */
MUST_CHECK struct error *vhd_receive(struct call *call, struct source *from,
                                     const struct image_disk *disk);
MUST_CHECK struct error *qcow2_receive(struct call *call, struct source *from,
                                       const struct image_disk *disk);
/* One file that is a whole disk. */
MUST_CHECK struct error *vmdk_receive(struct call *call, struct source *from,
                                      const struct image_disk *disk);

/*** for the readers ***/

/* A source and how far it was read. */
struct image_reader {
    struct source *from;
    int64_t at;
};
MUST_CHECK struct error *image_bad(struct call *call, const char *kind, const char *why);
MUST_CHECK struct error *image_take(struct call *call, struct image_reader *r, void *out, size_t n);
/* Goes forward to an offset of the file. */
MUST_CHECK struct error *image_go(struct call *call, struct image_reader *r, const char *kind,
                                  int64_t to);
MUST_CHECK struct error *image_check_room(struct call *call, const struct image_disk *disk,
                                          int64_t size);
/* Copies n bytes of the file to the disk; beyond its end they are dropped. */
MUST_CHECK struct error *image_copy(struct call *call, struct image_reader *r,
                                    const struct image_disk *disk, int64_t at, int64_t n,
                                    char room[static 65536]);
#define IMAGE_PIECE ((int64_t)65536)
