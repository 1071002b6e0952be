/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* VHD and qcow2, as an upload brings them: the first byte says which. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "xapid/transfer/image.h"

#define DISK (4 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena) arena = {0};
    struct call call = {.arena = &arena};
    struct image_disk disk = {.uuid = ""};
    struct memory_source memory;
    struct vdi_path path = {.format = "raw"};
    int fd = memfd_create("disk", MFD_CLOEXEC);

    if (fd < 0 || ftruncate(fd, DISK) < 0)
        abort();
    path.path = arena_printf(&arena, "/proc/self/fd/%d", fd);
    if (vdi_io_open(&call, &path, true, &disk.io))
        abort();
    if (size) {
        memory_source_init(&memory, data + 1, size - 1);
        error_ignore(data[0] & 1 ? qcow2_receive(&call, &memory.source, &disk)
                                 : vhd_receive(&call, &memory.source, &disk));
    }
    vdi_io_close(disk.io);
    close(fd);
    return 0;
}
