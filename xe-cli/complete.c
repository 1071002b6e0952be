/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* complete.c -- completion of commands, parameters and values. */
#include "xe-cli/complete.h"

#include <string.h>

#include "xe-cli/help.h"
#include "xe-cli/objects.h"
#include "xe-cli/records.h"
#include "xe-cli/table.h"

static void offer(struct xe *xe, const char *start, const char *word, const char *end)
{
    if (!strncmp(word, start, strlen(start)))
        fprintf(xe->out.out, "%s%s\n", word, end);
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);

    return n >= m && !strcmp(text + n - m, end);
}

/* The class whose name is the longest that begins the command. */
static const struct xe_class *class_of_command(const char *command)
{
    const struct xe_class *best = NULL;

    for (size_t i = 0; i + 1 < xe_n_classes; i++) {
        size_t len = strlen(xe_classes[i].name);

        if (!strncmp(command, xe_classes[i].name, len) && command[len] == '-' &&
            (!best || len > strlen(best->name)))
            best = &xe_classes[i];
    }
    return best;
}

/* "sr-uuid" is about SRs, "vm" about VMs by name, "uuid" about the command's class. */
static const struct xe_class *class_of_param(struct xe *xe, const char *command, const char *param)
{
    const char *name = param;

    if (!strcmp(param, "uuid"))
        return class_of_command(command);
    if (ends_with(param, "-uuid"))
        name = arena_strndup(&xe->arena, param, strlen(param) - 5);
    if (!strcmp(name, "on") || !strcmp(name, "resident-on") || !strcmp(name, "affinity"))
        name = "host";
    return xe_class_by_name(name);
}

static void offer_objects(struct xe *xe, const struct xe_class *class, const char *start,
                          bool uuids)
{
    struct xe_object_list all;

    if (objects_all(xe, class->api, &all))
        return;
    for (size_t i = 0; i < all.n; i++) {
        offer(xe, start, xe_member_text(all.v[i].record, "uuid"), "");
        if (!uuids)
            offer(xe, start, xe_member_text(all.v[i].record, "name_label"), "");
    }
}

static void offer_params(struct xe *xe, const struct xe_class *class, const char *start)
{
    for (size_t i = 0; class && i < class->n_params; i++)
        if (!(class->params[i].flags & XE_HIDDEN))
            offer(xe, start, class->params[i].name, "");
}

static void complete_value(struct xe *xe, const char *command, const char *word)
{
    const char *eq = strchr(word, '=');
    const char *param = arena_strndup(&xe->arena, word, (size_t)(eq - word));
    const struct xe_class *class = class_of_param(xe, command, param);

    if (!strcmp(param, "params") || !strcmp(param, "param-name"))
        offer_params(xe, class_of_command(command), eq + 1);
    else if (!strcmp(param, "class") && !strcmp(command, "event-wait"))
        for (size_t i = 0; i + 1 < xe_n_classes; i++)
            offer(xe, eq + 1, xe_classes[i].name, "");
    else if (class)
        offer_objects(xe, class, eq + 1, ends_with(param, "uuid"));
}

static void complete_param(struct xe *xe, const char *command, const char *word)
{
    const struct xe_command *c = command_by_name(command);
    struct strings params = help_params(&xe->arena, command);

    for (size_t i = 0; i < params.n; i++)
        offer(xe, word, params.v[i], ends_with(params.v[i], ":") ? "" : "=");
    if (c && (c->flags & XE_VM))
        offer(xe, word, "vm", "=");
    if (c && (c->flags & XE_HOST))
        offer(xe, word, "host", "=");
    if (c && (c->flags & XE_SR))
        offer(xe, word, "sr", "=");
    if (*word == '-') {
        offer(xe, word, "--minimal", "");
        offer(xe, word, "--multiple", "");
        offer(xe, word, "--force", "");
    }
}

void complete_run(struct xe *xe, size_t n, const char *const *words)
{
    const char *word = n ? words[n - 1] : "";
    struct strings commands;

    if (n < 2 || !strcmp(words[0], "help")) {
        commands = help_commands(&xe->arena, false);
        for (size_t i = 0; i < commands.n; i++)
            offer(xe, word, commands.v[i], "");
        if (n < 2)
            offer(xe, word, "help", "");
        return;
    }
    if (strchr(word, '='))
        complete_value(xe, words[0], word);
    else
        complete_param(xe, words[0], word);
}
