/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* rfb_watch.c -- what a viewer of a console sends, whole and byte by byte. */
#include <stdlib.h>

#include "xapid/stream/rfb_watch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rfb_watch whole = {0}, slow = {0};
    bool active = rfb_watch(&whole, data, size), slowly = false;

    for (size_t i = 0; i < size; i++)
        slowly |= rfb_watch(&slow, data + i, 1);
    /* However it arrives, it means the same. */
    if (active != slowly || whole.lost != slow.lost ||
        (!whole.lost && (whole.stage != slow.stage || whole.skip != slow.skip)))
        abort();
    return 0;
}
