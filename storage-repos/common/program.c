/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage-repos/common/program.h"

#include <unistd.h>

#include "libxapi/base/call.h"

const char *sr_program(struct call *call, const char *system_root, const char *name)
{
    static const char *const folders[] = {"/usr/sbin", "/usr/bin", "/sbin", "/bin"};

    for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
        const char *path = arena_printf(call->arena, "%s%s/%s", system_root, folders[i], name);

        if (access(path, X_OK) == 0)
            return path;
    }
    return NULL;
}
