/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An Accept header, as a client of the statistics sends it. */
#include <stdint.h>

#include "libxapi/base/arena.h"
#include "xapid/stats/accept.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena) arena = {0};

    accept_prefers_json(arena_strndup(&arena, (const char *)data, size));
    return 0;
}
