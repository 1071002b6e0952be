/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/db/column.h"

#include <math.h>
#include <string.h>

/* Sets in maps and maps in sets: the schema has two levels. */
#define DEEPEST 8
#define ISO_SIZE 28 /* 2025-03-19T04:16:24.000000Z */

const char *column_type(const struct type *type)
{
    switch (type->kind) {
    case TYPE_INT:
    case TYPE_BOOL:
        return "INTEGER";
    case TYPE_FLOAT:
        return "REAL";
    default:
        return "TEXT";
    }
}

/*** dates ***/

/* The date with its microseconds, or the bare number where that would not be read as the same date.
 */
static void iso_from_date(usec_t date, char out[ISO_SIZE])
{
    char compact[DATE_TEXT_SIZE], micro[INT_TEXT_SIZE];
    usec_t fraction = ((date % USEC_PER_SEC) + USEC_PER_SEC) % USEC_PER_SEC, again;
    size_t n;

    date_to_text(date, compact);
    n = int_to_text(fraction, micro);
    memcpy(out, "0000-00-00T00:00:00.000000Z", ISO_SIZE);
    memcpy(out, compact, 4);
    memcpy(out + 5, compact + 4, 2);
    memcpy(out + 8, compact + 6, 2);
    memcpy(out + 11, compact + 9, 8);
    memcpy(out + 26 - n, micro, n);
    if (!date_from_text(out, &again) || again != date)
        int_to_text(date, out);
}

static bool iso_to_date(const char *text, usec_t *out)
{
    return strchr(text, 'T') ? date_from_text(text, out) : int_from_text(text, out);
}

/*** values without elements, as text ***/

static const char *scalar_to_text(const struct type *type, const void *value,
                                  char small[REF_TEXT_SIZE])
{
    switch (type->kind) {
    case TYPE_STRING:
        return *(const char *const *)value;
    case TYPE_ENUM:
        return enum_name(type->enum_desc, *(const int *)value);
    case TYPE_REF:
        return ref_to_text(*(const ref_t *)value, small);
    case TYPE_BOOL:
        return *(const bool *)value ? "true" : "false";
    case TYPE_INT:
        int_to_text(*(const int64_t *)value, small);
        return small;
    case TYPE_FLOAT:
        double_to_text(*(const double *)value, 17, small);
        return small;
    case TYPE_DATETIME:
        iso_from_date(*(const usec_t *)value, small);
        return small;
    default:
        return "";
    }
}

static bool bool_from_text(const char *text, bool *out)
{
    *out = strcmp(text, "true") == 0;
    return *out || strcmp(text, "false") == 0;
}

/* 'text' is kept where the value is a string. */
static bool scalar_from_text(const struct type *type, const char *text, void *out)
{
    switch (type->kind) {
    case TYPE_STRING:
        *(const char **)out = text;
        return true;
    case TYPE_ENUM:
        *(int *)out = enum_by_name(type->enum_desc, text);
        return *(int *)out >= 0;
    case TYPE_REF:
        return text[0] && ref_from_text(text, out);
    case TYPE_BOOL:
        return bool_from_text(text, out);
    case TYPE_INT:
        return int_from_text(text, out);
    case TYPE_FLOAT:
        return double_from_text(text, out);
    case TYPE_DATETIME:
        return iso_to_date(text, out);
    default:
        return false;
    }
}

/*** JSON ***/

static void add_string(struct buf *out, const char *s)
{
    buf_putc(out, '"');
    for (const char *run = s;; s++) {
        unsigned char c = (unsigned char)*s;

        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        buf_add(out, run, (size_t)(s - run));
        if (!c)
            break;
        if (c >= 0x20)
            buf_printf(out, "\\%c", c);
        else
            buf_printf(out, "\\u%04x", c);
        run = s + 1;
    }
    buf_putc(out, '"');
}

static void add_json(struct buf *out, const struct type *type, const void *value)
{
    const struct set *set = value;
    char small[REF_TEXT_SIZE];
    bool bare;

    switch (type->kind) {
    case TYPE_SET:
        for (size_t i = 0; i < set->n; i++) {
            buf_putc(out, i ? ',' : '[');
            add_json(out, type->elem, (const char *)set->v + i * type->elem->size);
        }
        buf_puts(out, set->n ? "]" : "[]");
        break;
    case TYPE_MAP:
        for (size_t i = 0; i < set->n; i++) {
            const char *entry = (const char *)set->v + i * type->entry_size;

            buf_putc(out, i ? ',' : '{');
            add_string(out, scalar_to_text(type->key, entry, small));
            buf_putc(out, ':');
            add_json(out, type->elem, entry + type->value_offset);
        }
        buf_puts(out, set->n ? "}" : "{}");
        break;
    default:
        bare = type->kind == TYPE_INT || type->kind == TYPE_BOOL ||
               (type->kind == TYPE_FLOAT && isfinite(*(const double *)value));
        if (bare)
            buf_puts(out, scalar_to_text(type, value, small));
        else
            add_string(out, scalar_to_text(type, value, small));
    }
}

struct json {
    struct arena *arena;
    const char *p; /* ends with a NUL */
    int depth;
};

static bool take(struct json *j, char c)
{
    j->p += strspn(j->p, " \t\r\n");
    if (*j->p != c)
        return false;
    j->p++;
    return true;
}

/* \uXXXX; what add_string writes is below U+0020. */
static bool take_unicode(struct json *j, char **to)
{
    unsigned c = 0;

    for (int i = 0; i < 4; i++) {
        const char *digits = "0123456789abcdef", *digit = *j->p ? strchr(digits, *j->p) : NULL;

        if (!digit)
            return false;
        c = c << 4 | (unsigned)(digit - digits);
        j->p++;
    }
    *(*to)++ = (char)c;
    return c && c < 0x80;
}

static bool take_string(struct json *j, const char **out)
{
    const char *end;
    char *to;

    if (!take(j, '"'))
        return false;
    end = j->p + strcspn(j->p, "\"\\");
    if (*end == '"') {
        *out = end == j->p ? "" : arena_strndup(j->arena, j->p, (size_t)(end - j->p));
        j->p = end + 1;
        return true;
    }
    for (end = j->p; *end && *end != '"'; end++)
        if (*end == '\\' && !*++end)
            return false;
    if (!*end)
        return false;
    *out = to = arena_alloc(j->arena, (size_t)(end - j->p) + 1);
    while (*j->p != '"') {
        if (*j->p != '\\') {
            *to++ = *j->p++;
            continue;
        }
        j->p++;
        if (*j->p != 'u')
            *to++ = *j->p++;
        else if (j->p++, !take_unicode(j, &to))
            return false;
    }
    *to = '\0';
    j->p++;
    return true;
}

/* A number or a word. */
static bool take_bare(struct json *j, char out[DOUBLE_TEXT_SIZE])
{
    size_t n;

    j->p += strspn(j->p, " \t\r\n");
    n = strcspn(j->p, " \t\r\n,]}\"");
    if (!n || n >= DOUBLE_TEXT_SIZE)
        return false;
    memcpy(out, j->p, n);
    out[n] = '\0';
    j->p += n;
    return true;
}

static bool take_json(struct json *j, const struct type *type, void *out);

static bool take_entry(struct json *j, const struct type *type, char *entry)
{
    const char *key;

    if (type->kind == TYPE_SET)
        return take_json(j, type->elem, entry);
    return take_string(j, &key) && scalar_from_text(type->key, key, entry) && take(j, ':') &&
           take_json(j, type->elem, entry + type->value_offset);
}

static bool take_entries(struct json *j, const struct type *type, struct set *out)
{
    size_t stride = type->kind == TYPE_SET ? type->elem->size : type->entry_size, room = 4, n = 0;
    char close = type->kind == TYPE_SET ? ']' : '}', *v;

    *out = (struct set){0};
    if (!take(j, type->kind == TYPE_SET ? '[' : '{'))
        return false;
    if (take(j, close))
        return true;
    v = arena_zalloc(j->arena, room * stride);
    do {
        if (n == room) {
            char *more = arena_zalloc(j->arena, 2 * room * stride);

            memcpy(more, v, n * stride);
            v = more;
            room *= 2;
        }
        if (!take_entry(j, type, v + n++ * stride))
            return false;
    } while (take(j, ','));
    *out = (struct set){n, v};
    return take(j, close);
}

static bool take_json(struct json *j, const struct type *type, void *out)
{
    char bare[DOUBLE_TEXT_SIZE];
    const char *text;
    bool good;

    switch (type->kind) {
    case TYPE_SET:
    case TYPE_MAP:
        if (j->depth == DEEPEST)
            return false;
        j->depth++;
        good = take_entries(j, type, out);
        j->depth--;
        return good;
    case TYPE_INT:
    case TYPE_BOOL:
    case TYPE_FLOAT:
        j->p += strspn(j->p, " \t\r\n");
        if (*j->p != '"')
            return take_bare(j, bare) && scalar_from_text(type, bare, out);
        return take_string(j, &text) && scalar_from_text(type, text, out);
    default:
        return take_string(j, &text) && scalar_from_text(type, text, out);
    }
}

/*** cells ***/

static void cell_text(struct cell *out, const char *text, size_t n)
{
    *out = (struct cell){.kind = CELL_TEXT, .text = text, .n = n};
}

static void cell_json(struct arena *arena, const struct type *type, const struct set *set,
                      struct cell *out)
{
    AUTO(buf) buf = {0};

    if (!set->n) {
        cell_text(out, type->kind == TYPE_SET ? "[]" : "{}", 2);
        return;
    }
    add_json(&buf, type, set);
    cell_text(out, arena_strndup(arena, buf.data, buf.len), buf.len);
}

void cell_from_value(struct arena *arena, const struct type *type, const void *value,
                     struct cell *out)
{
    const char *text;
    char *small;

    switch (type->kind) {
    case TYPE_INT:
        *out = (struct cell){.kind = CELL_INT, .i = *(const int64_t *)value};
        break;
    case TYPE_BOOL:
        *out = (struct cell){.kind = CELL_INT, .i = *(const bool *)value};
        break;
    case TYPE_FLOAT:
        *out = (struct cell){.kind = CELL_REAL,
                             .d = *(const double *)value + 0.0}; /* no -0: SQLite has none */
        if (isnan(out->d))
            *out = (struct cell){.kind = CELL_NULL};
        break;
    case TYPE_REF:
    case TYPE_DATETIME:
        small = arena_alloc(arena, REF_TEXT_SIZE);
        scalar_to_text(type, value, small);
        cell_text(out, small, strlen(small));
        break;
    case TYPE_STRING:
    case TYPE_ENUM:
        text = scalar_to_text(type, value, NULL);
        cell_text(out, text, strlen(text));
        break;
    default:
        cell_json(arena, type, value, out);
    }
}

static const char *lenient_text(struct arena *arena, const struct cell *cell)
{
    char small[DOUBLE_TEXT_SIZE] = "";

    if (cell->kind == CELL_TEXT)
        return cell->text;
    if (cell->kind == CELL_INT)
        int_to_text(cell->i, small);
    else if (cell->kind == CELL_REAL)
        double_to_text(cell->d, 17, small);
    return arena_strdup(arena, small);
}

static bool number_to_value(const struct type *type, const struct cell *cell, void *out)
{
    if (type->kind == TYPE_FLOAT && cell->kind == CELL_REAL)
        *(double *)out = cell->d;
    else if (type->kind == TYPE_FLOAT && cell->kind == CELL_NULL)
        *(double *)out = (double)NAN;
    else if (type->kind == TYPE_INT && cell->kind == CELL_INT)
        *(int64_t *)out = cell->i;
    else if (type->kind == TYPE_BOOL && cell->kind == CELL_INT && (cell->i == 0 || cell->i == 1))
        *(bool *)out = cell->i;
    else
        return false;
    return true;
}

bool cell_to_value(struct arena *arena, const struct type *type, const struct cell *cell,
                   bool lenient, void *out)
{
    struct json json = {.arena = arena, .p = cell->text};

    switch (type->kind) {
    case TYPE_FLOAT:
    case TYPE_INT:
    case TYPE_BOOL:
        if (number_to_value(type, cell, out))
            return true;
        return lenient && cell->kind != CELL_NULL &&
               scalar_from_text(type, lenient_text(arena, cell), out);
    case TYPE_SET:
    case TYPE_MAP:
        if (cell->kind != CELL_TEXT)
            return false;
        if (cell->n == 2) {
            *(struct set *)out = (struct set){0};
            return strcmp(cell->text, type->kind == TYPE_SET ? "[]" : "{}") == 0;
        }
        return take_json(&json, type, out) && *json.p == '\0';
    default:
        if (cell->kind == CELL_TEXT && strlen(cell->text) == cell->n)
            return scalar_from_text(type, cell->text, out);
        return lenient && (cell->kind == CELL_INT || cell->kind == CELL_REAL) &&
               scalar_from_text(type, lenient_text(arena, cell), out);
    }
}

void cell_add(struct buf *buf, const struct cell *cell)
{
    uint64_t word = cell->kind == CELL_TEXT ? cell->n : (uint64_t)cell->i;

    if (cell->kind == CELL_REAL)
        memcpy(&word, &cell->d, sizeof word);
    buf_putc(buf, (char)cell->kind);
    buf_add(buf, &word, sizeof word);
    if (cell->kind == CELL_TEXT)
        buf_add(buf, cell->text, cell->n);
}
