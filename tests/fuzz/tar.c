/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Archives, packed or not: what an upload may be. */
#include <stdlib.h>

#include "xapid/transfer/pack.h"
#include "xapid/transfer/tar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* All members, up to what a bomb may grow to. */
static struct error *walk(struct call *call, struct source *from)
{
    struct tar_reader tar;
    int64_t total = 0;
    bool found = true;
    char room[4096];

    tar_reader_init(&tar, from);
    while (found && total < (1 << 22)) {
        TRY(tar_next(call, &tar, &found));
        total += tar.size / 1024 + 1024;
        while (found && tar.left && total < (1 << 22)) {
            size_t n = (size_t)MIN((int64_t)sizeof room, tar.left);

            TRY(tar_read(call, &tar, room, n));
            total += (int64_t)n;
        }
        if (tar.size > (1 << 22))
            break;
    }
    return OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena) arena = {0};
    struct call call = {.arena = &arena};
    struct memory_source memory;
    AUTO(unpacker) unpacker = {0};

    memory_source_init(&memory, data, size);
    if (!unpacker_open(&call, &memory.source, &unpacker))
        error_ignore(walk(&call, &unpacker.source));
    return 0;
}
