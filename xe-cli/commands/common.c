/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* common.c -- what several commands do. */
#include "xe-cli/commands/commands.h"

void command_give(struct xe *xe, const char *name, const char *value)
{
    struct xe_pair *v = arena_array(&xe->arena, struct xe_pair, xe->params.n + 1);

    if (xe->params.n)
        memcpy(v, xe->params.v, xe->params.n * sizeof *v);
    v[xe->params.n] = (struct xe_pair){name, value};
    xe->params = (struct xe_params){xe->params.n + 1, v};
}

struct error *command_instead(struct xe *xe, const struct xe_command *c, const char *message,
                              const char *args)
{
    struct xe_command other = *c;

    other.message = message;
    other.args = args;
    return command_message(xe, &other, NULL);
}

struct error *command_object(struct xe *xe, const char *class, const char *param,
                             struct xe_object *out)
{
    return object_by_uuid(xe, class, args_get(&xe->params, param), out);
}

struct error *command_ref(struct xe *xe, const char *class, const char *param, const char **ref)
{
    return xe_call_text(xe, ref, arena_printf(&xe->arena, "%s.get_by_uuid", class), "s",
                        args_get(&xe->params, param));
}

struct error *command_each(struct xe *xe, const struct xe_command *c, const char *class,
                           struct error *(*op)(struct xe *xe, const struct xe_object *object,
                                               void *ctx),
                           void *ctx)
{
    return select_each(xe, class, command_select_flags(c), command_words(xe, c), op, ctx);
}

struct error *command_vm_of_kind(struct xe *xe, const char *uuid, const char *kind,
                                 struct xe_object *out)
{
    TRY(object_by_uuid(xe, "VM", uuid, out));
    if (!xe_member_bool(out->record, arena_printf(&xe->arena, "is_a_%s", kind)))
        return xe_fail(xe, "This operation can only be performed on a VM %s. %s is not a VM %s.",
                       kind, uuid, kind);
    return OK;
}

struct error *command_default_sr(struct xe *xe, const char **ref)
{
    const struct wire *record = NULL;
    struct xe_object pool;

    TRY(object_pool(xe, &pool));
    *ref = xe_member_text(pool.record, "default_SR");
    TRY(object_get(xe, "SR", *ref, &record));
    if (!record)
        *ref = "";
    return OK;
}

const char *command_title(struct xe *xe, const char *class, const char *ref)
{
    const struct wire *record = NULL;

    /* Only a nicer text is at stake. */
    error_ignore(object_get(xe, class, ref, &record));
    if (!record)
        return ref;
    return arena_printf(&xe->arena, "%s (%s)", xe_member_text(record, "uuid"),
                        xe_member_text(record, "name_label"));
}
