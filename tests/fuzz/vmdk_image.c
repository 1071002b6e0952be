/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* VMDK, as an upload brings it. */
#include <stdint.h>

#include "tests/fuzz/disk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_image(vmdk_receive, data, size);
    return 0;
}
