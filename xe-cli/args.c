/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* args.c -- the command line. */
#include "xe-cli/args.h"

#include <stdlib.h>
#include <string.h>

#include "libxapi/value/value.h"

struct words {
    size_t n, size;
    const char **v;
};

struct pairs {
    size_t n, size;
    struct xe_pair *v;
};

static void words_add(struct arena *arena, struct words *w, const char *word)
{
    if (w->n == w->size) {
        const char **v = arena_array(arena, const char *, w->size ? 2 * w->size : 16);

        if (w->n)
            memcpy(v, w->v, w->n * sizeof *v);
        w->size = w->size ? 2 * w->size : 16;
        w->v = v;
    }
    w->v[w->n++] = word;
}

static void pairs_add(struct arena *arena, struct pairs *p, const char *key, const char *value)
{
    if (p->n == p->size) {
        struct xe_pair *v = arena_array(arena, struct xe_pair, p->size ? 2 * p->size : 16);

        if (p->n)
            memcpy(v, p->v, p->n * sizeof *v);
        p->size = p->size ? 2 * p->size : 16;
        p->v = v;
    }
    p->v[p->n++] = (struct xe_pair){key, value};
}

static bool is_true(const char *text)
{
    return !strcmp(text, "true");
}

/* Takes an option of xe's own; false if 'key' is none. */
static bool take_option(struct xe_options *o, const char *key, const char *value, const char **why)
{
    int64_t port;

    if (!strcmp(key, "server"))
        o->server = value;
    else if (!strcmp(key, "username"))
        o->user = value;
    else if (!strcmp(key, "password"))
        o->password = value;
    else if (!strcmp(key, "passwordfile"))
        o->password_file = value;
    else if (!strcmp(key, "nossl"))
        o->plain = is_true(value);
    else if (!strcmp(key, "debug"))
        o->debug = is_true(value);
    else if (!strcmp(key, "debugonfail"))
        o->debug_on_fail = is_true(value);
    else if (!strcmp(key, "traceparent"))
        o->traceparent = value;
    else if (!strcmp(key, "port")) {
        if (!int_from_text(value, &port) || port < 0 || port > 65535)
            *why = "Port number must be an integer (0-65535)";
        else
            o->port = (int)port;
    } else
        return false;
    return true;
}

/* The option's name behind a switch, with or without a value. */
static const char *switch_option(const char *word, bool *takes_value)
{
    static const struct {
        const char *word, *option;
        bool value;
    } table[] = {
        {"-s", "server", true},
        {"-h", "server", true},
        {"-p", "port", true},
        {"-u", "username", true},
        {"-pw", "password", true},
        {"-pwf", "passwordfile", true},
        {"--nossl", "nossl", false},
        {"--debug", "debug", false},
        {"--debug-on-fail", "debugonfail", false},
        {"--traceparent", "traceparent", true},
    };

    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        if (!strcmp(word, table[i].word)) {
            *takes_value = table[i].value;
            return table[i].option;
        }
    }
    return NULL;
}

/* Takes xe's own options out of 'n' words and leaves the rest in 'rest'. */
static void take_words(struct arena *arena, struct xe_options *o, size_t n, const char *const *v,
                       struct words *rest, const char **why)
{
    for (size_t i = 0; i < n; i++) {
        bool value = false;
        const char *option = switch_option(v[i], &value);
        const char *eq = strchr(v[i], '=');

        if (option && (!value || i + 1 < n)) {
            take_option(o, option, value ? v[++i] : "true", why);
            continue;
        }
        if (eq && take_option(o, arena_strndup(arena, v[i], (size_t)(eq - v[i])), eq + 1, why))
            continue;
        words_add(arena, rest, v[i]);
    }
}

/* XE_EXTRA_ARGS: words separated by commas; a backslash makes the next comma part of the word. */
static void extra_words(struct arena *arena, const char *extra, struct words *out)
{
    const char *start = extra;

    for (const char *p = extra;; p++) {
        if (*p && (*p != ',' || (p > start && p[-1] == '\\')))
            continue;
        if (p > start) {
            char *word = arena_strndup(arena, start, (size_t)(p - start)), *to = word;

            for (const char *from = word; *from; from++)
                if (*from != '\\')
                    *to++ = *from;
            *to = '\0';
            words_add(arena, out, word);
        }
        if (!*p)
            return;
        start = p + 1;
    }
}

static char *trimmed(struct arena *arena, const char *s, size_t n)
{
    while (n && strchr(" \t\r", *s)) {
        s++;
        n--;
    }
    while (n && strchr(" \t\r", s[n - 1]))
        n--;
    return arena_strndup(arena, s, n);
}

/* ~/.xe: lines "name=value"; those that begin with # are comments. */
static void rc_words(struct arena *arena, const char *rc, struct words *out)
{
    while (*rc) {
        size_t n = strcspn(rc, "\n");
        const char *eq = memchr(rc, '=', n);

        if (eq && *rc != '#')
            words_add(arena, out,
                      arena_printf(arena, "%s=%s", trimmed(arena, rc, (size_t)(eq - rc)),
                                   trimmed(arena, eq + 1, n - (size_t)(eq + 1 - rc))));
        rc += n;
        rc += *rc == '\n';
    }
}

/* The words after the command as name=value; false for a switch nobody knows. */
static bool read_params(struct arena *arena, size_t n, const char *const *v, struct pairs *out)
{
    for (size_t i = 0; i < n; i++) {
        const char *eq = strchr(v[i], '=');

        if (!strncmp(v[i], "--", 2))
            pairs_add(arena, out, v[i] + 2, "true");
        else if (v[i][0] == '-')
            return false;
        else if (eq)
            pairs_add(arena, out, arena_strndup(arena, v[i], (size_t)(eq - v[i])), eq + 1);
        else
            pairs_add(arena, out, v[i], "");
    }
    return true;
}

enum args_result args_parse(struct arena *arena, int argc, const char *const *argv,
                            const char *extra, const char *rc, struct xe_command_line *out,
                            const char **why)
{
    struct words line = {0}, more = {0}, defaults = {0}, rest = {0}, unused = {0};
    struct pairs params = {0};

    *out = (struct xe_command_line){0};
    *why = NULL;
    rc_words(arena, rc ? rc : "", &defaults);
    extra_words(arena, extra ? extra : "", &more);
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "-help") || !strcmp(argv[i], "--help"))
            out->options.help = true;
        else if (!strcmp(argv[i], "-version") || !strcmp(argv[i], "--version"))
            out->options.version = true;
        else
            words_add(arena, &line, argv[i]);
    }

    /* The weakest first: a later option replaces it. */
    take_words(arena, &out->options, defaults.n, defaults.v, &unused, why);
    defaults = unused;
    unused = (struct words){0};
    take_words(arena, &out->options, more.n, more.v, &unused, why);
    more = unused;
    take_words(arena, &out->options, line.n, line.v, &rest, why);
    for (size_t i = 0; i < more.n; i++)
        words_add(arena, &rest, more.v[i]);
    for (size_t i = 0; i < defaults.n; i++)
        words_add(arena, &rest, defaults.v[i]);

    if (*why || out->options.help)
        return ARGS_USAGE;
    if (out->options.version)
        return ARGS_OK;
    if (rest.n == 0)
        return ARGS_USAGE;
    if (strchr(rest.v[0], '=') || !read_params(arena, rest.n - 1, rest.v + 1, &params))
        return ARGS_SYNTAX;
    out->command = rest.v[0];
    out->params = (struct xe_params){params.n, params.v};
    return ARGS_OK;
}

enum args_result args_parse_words(struct arena *arena, size_t n, const char *const *words,
                                  struct xe_command_line *out)
{
    struct pairs params = {0};

    *out = (struct xe_command_line){0};
    if (n == 0 || !*words[0])
        return ARGS_USAGE;
    if (strchr(words[0], '=') || !read_params(arena, n - 1, words + 1, &params))
        return ARGS_SYNTAX;
    out->command = words[0];
    out->params = (struct xe_params){params.n, params.v};
    out->options.user = args_get(&out->params, "username");
    out->options.password = args_get(&out->params, "password");
    return ARGS_OK;
}

const char *args_get(const struct xe_params *params, const char *name)
{
    for (size_t i = 0; i < params->n; i++)
        if (!strcmp(params->v[i].key, name))
            return params->v[i].value;
    return NULL;
}

struct xe_params args_map(struct arena *arena, const struct xe_params *params, const char *name)
{
    size_t len = strlen(name);
    struct pairs out = {0};

    for (size_t i = 0; i < params->n; i++) {
        const char *key = params->v[i].key;

        if (!strncmp(key, name, len) && (key[len] == ':' || key[len] == '-') && key[len + 1])
            pairs_add(arena, &out, key + len + 1, params->v[i].value);
    }
    return (struct xe_params){out.n, out.v};
}

bool args_standard(const char *name)
{
    static const char *const names[] = {
        "server", "password",         "port",  "username", "minimal", "force", "multiple",
        "all",    "message-priority", "trace", "progress",
    };

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (!strcmp(name, names[i]))
            return true;
    return false;
}
