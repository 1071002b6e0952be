/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ova.xml. */
#include <stdlib.h>

#include "xapid/db/db.h"
#include "xapid/transfer/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena) arena = {0};
    struct call call = {.arena = &arena};
    struct manifest_object *other;
    struct manifest m;

    if (manifest_read(&call, (const char *)data, size, &m))
        return 0;
    for (size_t i = 0; i < m.n; i++) {
        if (manifest_find(&m, m.v[i].id) != &m.v[i])
            abort(); /* ids are unique and sorted */
        manifest_flag(&m.v[i], "is_a_snapshot");
        error_ignore(manifest_follow(&call, &m, &m.v[i], "VM", CLASS_vm, &other));
    }
    return 0;
}
