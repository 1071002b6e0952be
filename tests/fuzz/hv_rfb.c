/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* hv_rfb.c -- fuzz target: the simulator's RFB server against any client. */
#include "xapid/hypervisor/server/picture.h"
#include "xapid/hypervisor/server/rfb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint32_t pixels[PICTURE_PIXELS];
    struct rfb rfb = {0};
    size_t done = 0;

    rfb_init(&rfb, "fuzz");
    while (done < size) {
        size_t n = MIN(size - done, (size_t)data[done] % 32 + 1);

        if (!rfb_feed(&rfb, data + done, n))
            break;
        done += n;
        rfb_update(&rfb, pixels);
        rfb.out.len = 0;
    }
    rfb_release(&rfb);
    return 0;
}
