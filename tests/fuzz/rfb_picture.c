/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* rfb_picture.c -- fuzz target: /vncsnapshot's RFB client against any server. */
#include "xapid/stream/rfb_picture.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rfb_picture p;
    size_t done = 0;

    rfb_picture_init(&p);
    while (done < size) {
        size_t n = MIN(size - done, (size_t)data[done] % 32 + 1);

        if (!rfb_picture_feed(&p, data + done, n))
            break;
        done += n;
    }
    if (p.done && !p.pixels)
        abort();
    rfb_picture_release(&p);
    return 0;
}
