/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* VHD and qcow2, as an upload brings them: the first byte says which. */
#include <stdint.h>

#include "tests/fuzz/disk.h"
#include "xapid/transfer/image.h"

#define DISK (4 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena) arena = {0};
    struct call call = {.arena = &arena};
    struct image_disk disk = {.uuid = ""};
    struct memory_source memory;
    AUTO(memory_disk) memory_disk = {0};

    memory_disk_init(&call, DISK, &memory_disk);
    disk.io = memory_disk.io;
    if (size) {
        memory_source_init(&memory, data + 1, size - 1);
        error_ignore(data[0] & 1 ? qcow2_receive(&call, &memory.source, &disk)
                                 : vhd_receive(&call, &memory.source, &disk));
    }
    return 0;
}
