/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* disk.h -- a disk in memory, for what fills one; an image that is read into one. */
#pragma once

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "libxapi/base/call.h"
#include "storage-repos/sr.h"
#include "xapid/transfer/image.h"

struct memory_disk {
    int fd;
    struct vdi_io *io;
};

static inline void memory_disk_init(struct call *call, int64_t size, struct memory_disk *out)
{
    struct vdi_path path = {.format = "raw"};

    out->fd = memfd_create("disk", MFD_CLOEXEC);
    if (out->fd < 0 || ftruncate(out->fd, size) < 0)
        abort();
    path.path = arena_printf(call->arena, "/proc/self/fd/%d", out->fd);
    if (vdi_io_open(call, &path, true, &out->io))
        abort();
}

static inline void memory_disk_release(struct memory_disk *disk)
{
    if (!disk->io)
        return;
    vdi_io_close(disk->io);
    close(disk->fd);
}

/* An image as an upload brings it, to a disk of 4 MiB. */
static inline void fuzz_image(struct error *(*receive)(struct call *call, struct source *from,
                                                       const struct image_disk *disk),
                              const uint8_t *data, size_t size)
{
    AUTO(arena) arena = {0};
    struct call call = {.arena = &arena};
    struct image_disk disk = {.uuid = ""};
    struct memory_source memory;
    AUTO(memory_disk) memory_disk = {0};

    memory_disk_init(&call, 4 << 20, &memory_disk);
    disk.io = memory_disk.io;
    memory_source_init(&memory, data, size);
    error_ignore(receive(&call, &memory.source, &disk));
}
