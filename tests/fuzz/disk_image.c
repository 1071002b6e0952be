/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* VHD and qcow2, as an upload brings them: the first byte says which. */
#include <stdint.h>

#include "tests/fuzz/disk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size)
        fuzz_image(data[0] & 1 ? qcow2_receive : vhd_receive, data + 1, size - 1);
    return 0;
}
