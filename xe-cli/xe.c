/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* xe.c -- calls, values read and written, questions: what commands are made of. */
#include "xe-cli/xe.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "libxapi/value/value.h"

struct error *xe_fail(struct xe *xe, const char *fmt, ...)
{
    va_list ap;
    const char *text;

    va_start(ap, fmt);
    text = arena_vprintf(&xe->arena, fmt, ap);
    va_end(ap);
    return error_new(&xe->arena, XE_FAILURE, 1, text);
}

struct error *xe_exit(struct xe *xe)
{
    return error_new(&xe->arena, XE_EXIT, 1, "1");
}

bool xe_error_own(const struct error *e)
{
    return !strncmp(e->code, "xe: ", 4);
}

/* --- Parameters of calls --- */

void xe_param_text(struct buf *params, const char *text)
{
    buf_puts(params, "<param>");
    codec_xmlrpc.string(params, text);
    buf_puts(params, "</param>");
}

void xe_value_map(struct buf *params, const struct xe_params *map)
{
    codec_xmlrpc.struct_begin(params);
    for (size_t i = 0; i < map->n; i++) {
        codec_xmlrpc.member_begin(params, map->v[i].key, i == 0);
        codec_xmlrpc.string(params, map->v[i].value);
        codec_xmlrpc.member_end(params);
    }
    codec_xmlrpc.struct_end(params);
}

void xe_value_set(struct buf *params, const struct strings *set)
{
    codec_xmlrpc.array_begin(params);
    for (size_t i = 0; i < set->n; i++) {
        if (i)
            codec_xmlrpc.array_next(params);
        codec_xmlrpc.string(params, set->v[i]);
    }
    codec_xmlrpc.array_end(params);
}

static void add_number(struct buf *params, char letter, va_list *ap)
{
    char text[DOUBLE_TEXT_SIZE];

    if (letter == 'i') {
        int_to_text(va_arg(*ap, int64_t), text);
        buf_printf(params, "<param><value>%s</value></param>", text);
    } else if (letter == 'b') {
        buf_printf(params, "<param><value><boolean>%d</boolean></value></param>",
                   va_arg(*ap, int) != 0);
    } else {
        double_to_text(va_arg(*ap, double), 16, text);
        buf_printf(params, "<param><value><double>%s</double></value></param>", text);
    }
}

static void add_params(struct buf *params, const char *letters, va_list *ap)
{
    for (; *letters; letters++) {
        switch (*letters) {
        case 's':
        case 'r':
            xe_param_text(params, va_arg(*ap, const char *));
            break;
        case 'm':
            buf_puts(params, "<param>");
            xe_value_map(params, va_arg(*ap, const struct xe_params *));
            buf_puts(params, "</param>");
            break;
        case 'S':
            buf_puts(params, "<param>");
            xe_value_set(params, va_arg(*ap, const struct strings *));
            buf_puts(params, "</param>");
            break;
        case 'x': {
            const struct buf *more = va_arg(*ap, const struct buf *);

            buf_add(params, more->data, more->len);
            break;
        }
        default:
            add_number(params, *letters, ap);
        }
    }
}

/* --- Calls --- */

/* The value inside a task's result, "<value>...</value>"; NULL where there is none. */
static const struct wire *result_value(struct xe *xe, const char *result)
{
    const struct wire *value = NULL;
    struct wire *text;

    if (!result || !*result)
        return NULL;
    if (xmlrpc_read_value(&xe->arena, result, strlen(result), &value))
        return value;
    text = arena_new(&xe->arena, struct wire);
    text->kind = WIRE_STRING;
    text->text = result;
    return text;
}

struct error *xe_wait(struct xe *xe, const char *task, bool shown, const char **result)
{
    bool bar = shown && (xe->out.terminal || args_get(&xe->params, "progress"));
    struct error *e =
        xe->server->wait(xe->server, task, bar ? out_progress : NULL, &xe->out, result);

    if (xe->task_begins) {
        xe->task_begins(xe);
        xe->task_known(xe, NULL);
    }
    return e;
}

static struct error *begin_task(struct xe *xe, const char *method, const char *params,
                                const char **task)
{
    const struct wire *answer = NULL;
    struct error *e;

    if (xe->task_begins)
        xe->task_begins(xe);
    e = xe->server->call(xe->server, arena_printf(&xe->arena, "Async.%s", method), params, &answer);
    *task = e ? NULL : xe_wire_text(&xe->arena, answer);
    if (xe->task_begins)
        xe->task_known(xe, *task);
    return e;
}

struct error *xe_call_params(struct xe *xe, const char *method, const struct buf *params, bool task,
                             const struct wire **value)
{
    static const struct wire nothing = {.kind = WIRE_NIL};
    const struct wire *answer = NULL;
    const char *text = params->data ? params->data : "";
    const char *result = NULL;

    if (!xe->server)
        TRY(xe->connect(xe));
    if (!task) {
        TRY(xe->server->call(xe->server, method, text, &answer));
    } else {
        const char *begun;

        TRY(begin_task(xe, method, text, &begun));
        TRY(xe_wait(xe, begun, true, &result));
        answer = result_value(xe, result);
    }
    if (value)
        *value = answer ? answer : &nothing;
    return OK;
}

static struct error *call_va(struct xe *xe, const struct wire **value, const char *method,
                             bool task, const char *letters, va_list *ap)
{
    AUTO(buf) params = {0};

    add_params(&params, letters, ap);
    TRY(xe_call_params(xe, method, &params, task, value));
    return OK;
}

struct error *xe_call(struct xe *xe, const struct wire **value, const char *method,
                      const char *letters, ...)
{
    struct error *e;
    va_list ap;

    va_start(ap, letters);
    e = call_va(xe, value, method, false, letters, &ap);
    va_end(ap);
    return e;
}

struct error *xe_call_text(struct xe *xe, const char **text, const char *method,
                           const char *letters, ...)
{
    const struct wire *value = NULL;
    struct error *e;
    va_list ap;

    va_start(ap, letters);
    e = call_va(xe, &value, method, false, letters, &ap);
    va_end(ap);
    if (!e)
        *text = xe_wire_text(&xe->arena, value);
    return e;
}

struct error *xe_call_task(struct xe *xe, const char **result, const char *method,
                           const char *letters, ...)
{
    const struct wire *value = NULL;
    struct error *e;
    va_list ap;

    va_start(ap, letters);
    e = call_va(xe, &value, method, true, letters, &ap);
    va_end(ap);
    if (!e && result)
        *result = xe_wire_text(&xe->arena, value);
    return e;
}

/* --- Values read --- */

const struct wire *xe_member(const struct wire *record, const char *name)
{
    if (!record || record->kind != WIRE_STRUCT)
        return NULL;
    for (size_t i = 0; i < record->n; i++)
        if (!strcmp(record->v[i].name, name))
            return &record->v[i];
    return NULL;
}

const char *xe_member_text(const struct wire *record, const char *name)
{
    const struct wire *w = xe_member(record, name);

    return w && w->text ? w->text : "";
}

bool xe_member_bool(const struct wire *record, const char *name)
{
    const struct wire *w = xe_member(record, name);

    if (!w)
        return false;
    return w->kind == WIRE_BOOL ? w->i != 0 : w->text && !strcmp(w->text, "true");
}

const char *xe_wire_text(struct arena *arena, const struct wire *w)
{
    char number[DOUBLE_TEXT_SIZE];

    if (!w)
        return "";
    switch (w->kind) {
    case WIRE_BOOL:
        return w->i ? "true" : "false";
    case WIRE_INT:
        int_to_text(w->i, number);
        return arena_strdup(arena, number);
    case WIRE_DOUBLE:
        return arena_printf(arena, "%.3f", w->d);
    case WIRE_STRING:
    case WIRE_DATE:
        return w->text ? w->text : "";
    default:
        return "";
    }
}

struct strings xe_wire_set(struct arena *arena, const struct wire *w)
{
    const char **v;

    if (!w || w->kind != WIRE_ARRAY)
        return (struct strings){0};
    v = arena_array(arena, const char *, w->n + 1);
    for (size_t i = 0; i < w->n; i++)
        v[i] = xe_wire_text(arena, &w->v[i]);
    return (struct strings){w->n, v};
}

struct xe_params xe_wire_map(struct arena *arena, const struct wire *w)
{
    struct xe_pair *v;

    if (!w || w->kind != WIRE_STRUCT)
        return (struct xe_params){0};
    v = arena_array(arena, struct xe_pair, w->n + 1);
    for (size_t i = 0; i < w->n; i++)
        v[i] = (struct xe_pair){w->v[i].name, xe_wire_text(arena, &w->v[i])};
    return (struct xe_params){w->n, v};
}

/* --- Values from the command line --- */

struct error *xe_bool(struct xe *xe, const char *name, const char *text, bool *out)
{
    if (!strcasecmp(text, "true") || !strcasecmp(text, "t") || !strcmp(text, "1")) {
        *out = true;
        return OK;
    }
    if (!strcasecmp(text, "false") || !strcasecmp(text, "f") || !strcmp(text, "0")) {
        *out = false;
        return OK;
    }
    return xe_fail(xe, "Failed to parse parameter '%s': expecting 'true' or 'false'", name);
}

struct error *xe_flag(struct xe *xe, const char *name, bool otherwise, bool *out)
{
    const char *text = args_get(&xe->params, name);

    *out = otherwise;
    return text ? xe_bool(xe, name, text, out) : OK;
}

struct error *xe_int(struct xe *xe, const char *name, const char *text, int64_t *out)
{
    if (int_from_text(text, out))
        return OK;
    return xe_fail(xe, "Failed to parse parameter '%s': expecting an integer", name);
}

struct error *xe_float(struct xe *xe, const char *name, const char *text, double *out)
{
    if (double_from_text(text, out))
        return OK;
    return xe_fail(xe, "Failed to parse parameter '%s': expecting a float", name);
}

struct error *xe_bytes(struct xe *xe, const char *name, const char *text, int64_t *out)
{
    static const struct {
        const char *suffix;
        int shift;
    } units[] = {{"", 0}, {"bytes", 0}, {"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"TiB", 40}};
    const char *end = text + strspn(text, " \t"), *suffix;
    size_t digits;
    int64_t number;

    digits = strspn(end + (*end == '-'), "0123456789") + (*end == '-');
    suffix = end + digits + strspn(end + digits, " \t");
    if (digits == 0 || strpbrk(suffix, "0123456789"))
        return xe_fail(
            xe, "Failed to parse field '%s': expecting an integer (possibly with suffix)", name);
    for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
        if (strcmp(suffix, units[i].suffix) != 0)
            continue;
        if (!int_from_text(arena_strndup(&xe->arena, end, digits), &number) ||
            number > INT64_MAX >> units[i].shift || number < INT64_MIN >> units[i].shift)
            return xe_fail(xe, "Failed to parse field '%s': number too big (maximum = %d TiB)",
                           name, (int)(INT64_MAX >> 40));
        *out = number * ((int64_t)1 << units[i].shift);
        return OK;
    }
    return xe_fail(xe,
                   "Failed to parse field '%s': Unknown suffix: '%s' (try KiB, MiB, GiB or TiB)",
                   name, suffix);
}

struct strings xe_split(struct xe *xe, const char *text, char sep)
{
    const char **v;
    size_t n = *text ? 1 : 0;

    for (const char *p = text; *p; p++)
        n += *p == sep;
    v = arena_array(&xe->arena, const char *, n + 1);
    for (size_t i = 0; i < n; i++) {
        const char *end = strchrnul(text, sep);

        v[i] = arena_strndup(&xe->arena, text, (size_t)(end - text));
        text = end + (*end != '\0');
    }
    return (struct strings){n, v};
}

bool xe_word_in(const char *words, const char *word)
{
    size_t len = strlen(word);

    while (words && *words) {
        size_t n = strcspn(words, " ");

        if (n == len && !memcmp(words, word, n))
            return true;
        words += n;
        words += strspn(words, " ");
    }
    return false;
}

bool xe_says_yes(struct xe *xe)
{
    char line[256] = "", *end;

    out_always(&xe->out, "Type 'yes' to continue");
    if (!fgets(line, sizeof line, xe->in))
        line[0] = '\0';
    end = line + strlen(line);
    while (end > line && strchr(" \t\r\n", end[-1]))
        *--end = '\0';
    if (!strcasecmp(line, "yes"))
        return true;
    out_always(&xe->out, arena_printf(&xe->arena, "Aborted (you typed: '%s')", line));
    return false;
}
