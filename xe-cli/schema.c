/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xe-cli/schema.h"

#include <string.h>

#include "xe-cli/help.h"
#include "xe-cli/params.h"
#include "xe-cli/records.h"
#include "xe-cli/table.h"

void schema_names(struct xe *xe)
{
    struct strings names = help_commands(&xe->arena, true);

    out_list(&xe->out, &names);
}

struct flag_name {
    unsigned flag;
    const char *name;
};

static void add_flags(struct buf *line, unsigned flags, const struct flag_name *names, size_t n,
                      const char *sep)
{
    for (size_t i = 0; i < n; i++)
        if (flags & names[i].flag)
            buf_printf(line, "%s%s", sep, names[i].name);
}

/* What showing a parameter may call. */
static void add_reading(struct buf *line, const struct xe_class *class)
{
    buf_printf(line, " %s.get_all_records", class->api);
    for (size_t i = 0; i < class->n_params; i++) {
        const char *path = class->params[i].path;

        if (*path == '=')
            buf_printf(line, " %s", path + 1);
        else if (*path == '!')
            buf_printf(line, " %s", path);
    }
}

static void add_class_messages(struct buf *line, const struct class_command *c)
{
    if (!strcmp(c->verb, "list") || !strcmp(c->verb, "param-list") ||
        !strcmp(c->verb, "param-get")) {
        add_reading(line, c->class);
        return;
    }
    for (size_t i = 0; i < c->class->n_params; i++)
        params_messages(line, c->class, c->verb, &c->class->params[i]);
}

static void add_command(struct xe *xe, const char *name)
{
    static const struct flag_name names[] = {
        {XE_STANDARD, "standard"}, {XE_UNLISTED, "hidden"}, {XE_LOCAL, "local"}, {XE_VM, "vm"},
        {XE_HOST, "host"},         {XE_SR, "sr"},
    };
    const struct xe_command *c = command_by_name(name);
    struct strings required, optional;
    struct class_command made;
    AUTO(buf) line = {0};

    /* Every name comes from the tables. */
    if (!help_words(&xe->arena, name, &required, &optional))
        return;
    buf_printf(&line, "command %s |", name);
    for (size_t i = 0; i < required.n; i++)
        buf_printf(&line, " %s", required.v[i]);
    buf_puts(&line, " |");
    for (size_t i = 0; i < optional.n; i++)
        if (optional.v[i][0] != '<')
            buf_printf(&line, " %s", optional.v[i]);
    buf_puts(&line, " |");
    if (c)
        add_flags(&line, c->flags, names, ARRAY_SIZE(names), " ");
    buf_puts(&line, " |");
    if (c && c->message)
        buf_printf(&line, " %s", c->message);
    else if (!c && class_command_by_name(name, &made))
        add_class_messages(&line, &made);
    out_always(&xe->out, line.data);
}

static void add_class(struct xe *xe, const struct xe_class *class)
{
    static const struct flag_name names[] = {
        {XE_HIDDEN, "hidden"},
        {XE_EXPENSIVE, "expensive"},
        {XE_DEPRECATED, "deprecated"},
    };
    AUTO(buf) line = {0};

    buf_printf(&line, "class %s |", class->name);
    for (size_t i = 0; i < class->n_params; i++) {
        const struct xe_param *p = &class->params[i];

        buf_printf(&line, " %s/%s%s", p->name,
                   p->flags & XE_SET   ? "S"
                   : p->flags & XE_MAP ? "M"
                                       : "",
                   p->flags & XE_RW ? "RW" : "RO");
        if (params_settable(p))
            buf_puts(&line, ",set");
        add_flags(&line, p->flags, names, ARRAY_SIZE(names), ",");
    }
    out_always(&xe->out, line.data);
}

void schema_all(struct xe *xe)
{
    struct strings names = help_commands(&xe->arena, true);

    for (size_t i = 0; i < names.n; i++)
        add_command(xe, names.v[i]);
    for (size_t i = 0; i + 1 < xe_n_classes; i++)
        add_class(xe, &xe_classes[i]);
}
