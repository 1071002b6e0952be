/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The head of a copy of the database on a disk. */
#include <stdlib.h>
#include <string.h>

#include "xapid/transfer/replica.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char block[REPLICA_BLOCK] = {0};
    struct replica_head head, again;

    memcpy(block, data, MIN(size, sizeof block));
    if (!replica_head_read(block, &head))
        return 0;
    replica_head_write(&head, block);
    if (!replica_head_read(block, &again) || strcmp(again.pool, head.pool) != 0 ||
        again.number != head.number || again.size != head.size ||
        strcmp(again.sha256, head.sha256) != 0)
        abort(); /* what is read is what would be written */
    return 0;
}
