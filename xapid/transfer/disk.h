/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* disk.h -- a disk that is read or written as a whole: open for as long as a scope lasts. */
#pragma once

#include "storage-repos/sr.h"
#include "xapid/db/db.h"

/* Zero holds nothing. */
struct open_disk {
    struct call *call;
    ref_t vdi;
    struct vdi_io *io;
};
/* The caller has checked that it may be used so. */
MUST_CHECK struct error *open_disk(struct call *call, ref_t vdi, bool writable,
                                   struct open_disk *out);
void open_disk_release(struct open_disk *disk);

/* True where n bytes at 'at' surely read as zeroes, without reading them; as vdi_io_next. */
MUST_CHECK struct error *disk_is_hole(struct call *call, struct vdi_run *run, struct vdi_io *io,
                                      int64_t at, int64_t n, bool *hole);
/* Writes n bytes; long runs of zeroes as such or, on a fresh disk, which reads as zeroes, not at
 * all. */
MUST_CHECK struct error *disk_write(struct call *call, struct vdi_io *io, bool fresh, int64_t at,
                                    const char *p, size_t n);
/* n bytes of zero. */
MUST_CHECK struct error *disk_zero(struct call *call, struct vdi_io *io, bool fresh, int64_t at,
                                   int64_t n);

/* A host that has all those repositories attached, where this one does not; NULL
 * where this one has them or nobody has. */
const struct host *disks_elsewhere(struct call *call, const struct refs *srs);
