/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xe-cli/database.h"

#include <string.h>

#include "xe-cli/args.h"
#include "xe-cli/server.h"

bool database_is_asked(const struct xe *xe)
{
    for (size_t i = 0; i < xe->params.n; i++)
        if (strncmp(xe->params.v[i].key, "database:", strlen("database:")) == 0)
            return true;
    return false;
}

struct error *database_open(struct xe *xe, struct xe *out)
{
    struct xe_params given = args_map(&xe->arena, &xe->params, "database");
    const char *uuid = args_get(&given, "vdi-uuid"), *vdi, *session;

    *out = (struct xe){.options = xe->options,
                       .command = xe->command,
                       .params = xe->params,
                       .out = xe->out,
                       .io = xe->io};
    if (!uuid)
        return xe_fail(xe, "A parameter of the form 'database:vdi-uuid=<uuid>' must be specified "
                           "to run this command.");
    TRY(xe_call_text(xe, &vdi, "VDI.get_by_uuid", "s", uuid));
    TRY(xe_call_text(xe, &session, "VDI.open_database", "r", vdi));
    return xe_server_open(xe, xe->options, session, &out->server);
}

struct error *database_close(struct xe *xe, struct xe *database, struct error *e)
{
    xe->out = database->out;
    if (e)
        e = error_copy(&xe->arena, e);
    if (database->server)
        error_ignore(xe_call(database, NULL, "session.logout", "")); /* it ends by itself too */
    xe_server_close(database->server);
    arena_release(&database->arena);
    return e;
}
