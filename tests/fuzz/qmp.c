/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a storage daemon says, line by line. */
#include <stdlib.h>
#include <string.h>

#include "storage-repos/datapath/qmp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;

    while (size) {
        const char *end = memchr(text, '\n', size);
        size_t n = end ? (size_t)(end - text) : size;
        json_t *out;
        enum qmp_kind kind = qmp_judge(text, n, &out);

        if ((kind == QMP_RETURN || kind == QMP_ERROR) != (out != NULL))
            abort();
        json_decref(out);
        n += end != NULL;
        text += n;
        size -= n;
    }
    return 0;
}
