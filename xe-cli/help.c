/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* help.c -- what commands there are and what they take. */
#include "xe-cli/help.h"

#include <stdlib.h>
#include <string.h>

#include "xe-cli/params.h"
#include "xe-cli/records.h"
#include "xe-cli/table.h"

/* --- Commands --- */

struct words {
    struct arena *arena;
    size_t n, size;
    const char **v;
};

static void add(struct words *w, const char *word)
{
    if (w->n == w->size) {
        const char **v = arena_array(w->arena, const char *, w->size ? 2 * w->size : 64);

        if (w->n)
            memcpy(v, w->v, w->n * sizeof *v);
        w->size = w->size ? 2 * w->size : 64;
        w->v = v;
    }
    w->v[w->n++] = word;
}

static void add_words(struct words *w, const char *text)
{
    while (text && *text) {
        size_t n = strcspn(text, " ");

        add(w, arena_strndup(w->arena, text, n));
        text += n;
        text += strspn(text, " ");
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

struct strings help_commands(struct arena *arena, bool hidden)
{
    struct words w = {.arena = arena};

    for (size_t t = 0; t < xe_n_command_tables; t++)
        for (size_t i = 0; i < xe_command_tables[t]->n; i++)
            if (hidden || !(xe_command_tables[t]->v[i].flags & XE_UNLISTED))
                add(&w, xe_command_tables[t]->v[i].name);
    for (size_t i = 0; i + 1 < xe_n_classes; i++) {
        struct class_command made[7];
        size_t n = class_commands(&xe_classes[i], made);

        for (size_t k = 0; k < n; k++)
            add(&w, arena_printf(arena, "%s-%s", xe_classes[i].name, made[k].verb));
    }
    qsort(w.v, w.n, sizeof *w.v, by_name);
    return (struct strings){w.n, w.v};
}

/* --- Parameters --- */

static void class_optional(struct words *w, const struct class_command *c)
{
    bool list = !strcmp(c->verb, "list"), set = !strcmp(c->verb, "param-set");

    if (list)
        add_words(w, "params database:");
    if (!strcmp(c->verb, "param-list"))
        add(w, "database:");
    if (!strcmp(c->verb, "param-get"))
        add_words(w, "param-key database:");
    if (!strcmp(c->verb, "param-add"))
        add(w, "param-key");
    for (size_t i = 0; i < c->class->n_params; i++) {
        const struct xe_param *p = &c->class->params[i];

        if ((list || (set && params_settable(p))) && !(p->flags & XE_HIDDEN))
            add(w, p->name);
    }
    for (size_t i = 0; i < c->class->n_params; i++) {
        const struct xe_param *p = &c->class->params[i];

        if (p->flags & XE_HIDDEN)
            continue;
        if (list && (p->flags & XE_SET))
            add(w, arena_printf(w->arena, "%s:contains", p->name));
        if (set && (p->flags & XE_MAP) &&
            (params_addable(p) || (p->flags & (XE_SET_IN | XE_SET_MAP))))
            add(w, arena_printf(w->arena, "%s:", p->name));
    }
}

static void command_optional(struct words *w, const struct xe_command *c)
{
    add_words(w, c->optional);
    if (c->flags & XE_VM)
        add(w, "<vm-selectors>");
    if (c->flags & XE_SR)
        add(w, "<sr-selectors>");
    if (c->flags & XE_HOST)
        add(w, "<host-selectors>");
}

bool help_words(struct arena *arena, const char *command, struct strings *required,
                struct strings *optional)
{
    struct words r = {.arena = arena}, o = {.arena = arena};
    const struct xe_command *c = command_by_name(command);
    struct class_command made;

    if (c) {
        add_words(&r, c->required);
        command_optional(&o, c);
    } else if (class_command_by_name(command, &made)) {
        add_words(&r, made.required);
        class_optional(&o, &made);
    } else {
        return false;
    }
    *required = (struct strings){r.n, r.v};
    *optional = (struct strings){o.n, o.v};
    return true;
}

struct strings help_params(struct arena *arena, const char *command)
{
    struct strings required = {0}, optional = {0};
    struct words all = {.arena = arena};

    help_words(arena, command, &required, &optional);
    for (size_t i = 0; i < required.n; i++)
        add(&all, required.v[i]);
    for (size_t i = 0; i < optional.n; i++)
        if (optional.v[i][0] != '<')
            add(&all, optional.v[i]);
    return (struct strings){all.n, all.v};
}

/* --- One command --- */

static const struct {
    const char *verb, *text;
} class_texts[] = {
    {"list", "Lists the objects of this class. Every parameter can be used as a filter, "
             "name=value; of maps name:key=value, of sets name:contains=value."},
    {"param-list", "Shows all parameters of the object with this uuid."},
    {"param-get", "Shows one parameter of the object; with param-key one key of a map."},
    {"param-set", "Sets parameters of the object; of maps name:key=value sets one key."},
    {"param-add", "Adds to a set (param-key=<element>) or a map (<key>=<value>)."},
    {"param-remove", "Removes an element from a set or a key from a map."},
    {"param-clear", "Empties a parameter."},
};

static const char *text_of(struct xe *xe, const char *command)
{
    const struct xe_command *c = command_by_name(command);
    const struct message_desc *m = c && c->message ? api_message_by_name(c->message) : NULL;
    struct class_command made;
    const char *text = c && c->help ? c->help : m && m->doc ? m->doc : "";

    if (!c && class_command_by_name(command, &made))
        for (size_t i = 0; i < ARRAY_SIZE(class_texts); i++)
            if (!strcmp(class_texts[i].verb, made.verb))
                text = class_texts[i].text;
    if (c && (c->flags & (XE_VM | XE_HOST | XE_SR)))
        text = arena_printf(&xe->arena,
                            "%s The %s are chosen with %s=<name or uuid>, or with any of their "
                            "parameters, name=value; for several at once add --multiple.",
                            text,
                            c->flags & XE_VM     ? "VMs"
                            : c->flags & XE_HOST ? "hosts"
                                                 : "SRs",
                            c->flags & XE_VM     ? "vm"
                            : c->flags & XE_HOST ? "host"
                                                 : "sr");
    return text;
}

static const char *comma_joined(struct xe *xe, const struct strings *words)
{
    AUTO(buf) buf = {0};

    for (size_t i = 0; i < words->n; i++)
        buf_printf(&buf, "%s%s", i ? ", " : "", words->v[i]);
    return arena_strdup(&xe->arena, buf.data ? buf.data : "");
}

static void help_command(struct xe *xe, const char *command)
{
    struct strings required = {0}, optional = {0};

    if (!help_words(&xe->arena, command, &required, &optional)) {
        out_text(&xe->out, arena_printf(&xe->arena, "Unknown command '%s'", command));
        return;
    }
    out_table(&xe->out,
              &(struct xe_params){4,
                                  (struct xe_pair[]){
                                      {"command name        ", command},
                                      {"reqd params     ", comma_joined(xe, &required)},
                                      {"optional params ", comma_joined(xe, &optional)},
                                      {"description     ", text_of(xe, command)},
                                  }},
              1);
}

/* --- Lists of commands --- */

/* Names separated by commas, in lines of about 80. */
static void show_names(struct xe *xe, const struct strings *names)
{
    AUTO(buf) line = {0};

    for (size_t i = 0; i < names->n; i++) {
        if (line.len && line.len + strlen(names->v[i]) > 74) {
            out_text(&xe->out, arena_strdup(&xe->arena, line.data));
            line.len = 0;
        }
        buf_printf(&line, "%s%s", line.len ? ", " : "    ", names->v[i]);
    }
    out_text(&xe->out, line.len ? arena_strdup(&xe->arena, line.data) : "    ");
}

/* Those that begin (or, without 'prefix', begin with none of "host-" and "vm-"). */
static void show_group(struct xe *xe, const struct strings *names, const char *prefix)
{
    struct words w = {.arena = &xe->arena};

    for (size_t i = 0; i < names->n; i++) {
        const char *n = names->v[i];
        bool other = strncmp(n, "host-", 5) != 0 && strncmp(n, "vm-", 3) != 0;

        if (prefix ? !strncmp(n, prefix, strlen(prefix)) : other)
            add(&w, n);
    }
    show_names(xe, &(struct strings){w.n, w.v});
}

static struct strings common_commands(struct xe *xe)
{
    struct strings all = help_commands(&xe->arena, false);
    struct words w = {.arena = &xe->arena};

    for (size_t i = 0; i < all.n; i++) {
        const struct xe_command *c = command_by_name(all.v[i]);

        if ((c && (c->flags & XE_STANDARD)) || xe_word_in("vm-list network-list sr-list", all.v[i]))
            add(&w, all.v[i]);
    }
    return (struct strings){w.n, w.v};
}

static void help_all(struct xe *xe)
{
    struct strings names = help_commands(&xe->arena, false);

    if (xe->out.minimal) {
        out_list(&xe->out, &names);
        return;
    }
    out_text(&xe->out, "Usage: xe <command> [-s server] [-pw passwd] [-p port] [-u user] [-pwf "
                       "password-file]\n  [command specific arguments]\n\n"
                       "To get help on a specific command: xe help <command>\n\n"
                       "Full command list\n-----------------");
    show_group(xe, &names, "host-");
    out_text(&xe->out, "    ");
    show_group(xe, &names, "vm-");
    out_text(&xe->out, "    ");
    show_group(xe, &names, NULL);
}

void help_run(struct xe *xe)
{
    const char *all = args_get(&xe->params, "all");
    bool any = false;
    struct strings names;

    for (size_t i = 0; i < xe->params.n; i++) {
        if (args_standard(xe->params.v[i].key))
            continue;
        help_command(xe, xe->params.v[i].key);
        any = true;
    }
    if (any)
        return;
    if (all && !strcmp(all, "true")) {
        help_all(xe);
        return;
    }
    names = common_commands(xe);
    if (xe->out.minimal) {
        out_list(&xe->out, &names);
        return;
    }
    out_text(&xe->out, "Usage: xe <command> [-s server] [-pw passwd] [-p port] [-u user] [-pwf "
                       "password-file]\n  [command specific arguments]\n\n"
                       "To get help on a specific command: xe help <command>\n"
                       "To get a full listing of commands: xe help --all\n\n"
                       "Common command list\n-------------------");
    show_names(xe, &names);
}

void help_usage(struct xe *xe, const char *why)
{
    if (why)
        out_error(&xe->out, "%s\n", why);
    out_error(&xe->out,
              "Usage: xe <cmd> [-s server] [-p port] ([-u username] [-pw password] or [-pwf "
              "<password file>]) [--traceparent traceparent] <other arguments>\n"
              "\nA full list of commands can be obtained by running \n\txe help -s <server> -p "
              "<port>\n");
}
