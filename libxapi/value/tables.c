/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tables.c -- looks things up in the tables that schemac makes.  A message is looked up for every
 * call and a field for every member of a record read, so those two are binary searches over sorted
 * ids.
 */
#include "libxapi/value/type.h"

#include <string.h>

/* No message's name comes near this. */
#define LONGEST_NAME 128

#define FNV_START 2166136261u
#define FNV_PRIME 16777619u

static uint32_t fnv1a(uint32_t h, const char *s)
{
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * FNV_PRIME;
    return h;
}

uint32_t api_name_hash(const char *name)
{
    return fnv1a(FNV_START, name);
}

uint32_t api_class_hash(const struct class_desc *class)
{
    return fnv1a(FNV_START, class->name);
}

const struct class_desc *api_class_by_name(const char *name)
{
    for (size_t i = 0; i < api_n_classes; i++) {
        if (strcmp(api_classes[i].name, name) == 0)
            return &api_classes[i];
    }
    return NULL;
}

static char ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}

/* Not strcasecmp: the locale has no say in the API's names. */
static bool equal_without_case(const char *a, const char *b)
{
    while (*a && ascii_lower(*a) == ascii_lower(*b)) {
        a++;
        b++;
    }
    return ascii_lower(*a) == ascii_lower(*b);
}

const struct class_desc *api_class_by_lower(const char *name)
{
    for (size_t i = 0; i < api_n_classes; i++) {
        if (equal_without_case(api_classes[i].name, name))
            return &api_classes[i];
    }
    return NULL;
}

const struct class_desc *api_class_by_hash(uint32_t hash)
{
    for (size_t i = 0; i < api_n_classes; i++) {
        if (api_class_hash(&api_classes[i]) == hash)
            return &api_classes[i];
    }
    return NULL;
}

static const struct message_desc *message_by_dotted_name(const char *name)
{
    size_t low = 0, high = api_n_messages;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct message_desc *m = &api_messages[api_messages_sorted[middle]];
        int order = strcmp(name, m->full_name);

        if (order == 0)
            return m;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const struct message_desc *api_message_by_name(const char *full_name)
{
    size_t n = strnlen(full_name, LONGEST_NAME);
    char name[LONGEST_NAME];

    if (n == LONGEST_NAME)
        return NULL;
    if (memchr(full_name, '.', n))
        return message_by_dotted_name(full_name);

    /* Classes and messages may both have underscores in their names: each could be the point. */
    memcpy(name, full_name, n + 1);
    for (char *p = strchr(name, '_'); p; p = strchr(p + 1, '_')) {
        const struct message_desc *m;

        *p = '.';
        m = message_by_dotted_name(name);
        if (m)
            return m;
        *p = '_';
    }
    return NULL;
}

/* The first place in api_fields_by_hash that has this hash or a greater one. */
static size_t fields_from_hash(uint32_t hash)
{
    size_t low = 0, high = api_n_fields;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (api_fields[api_fields_by_hash[middle]].hash < hash)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct field_desc *api_field_by_hash(uint32_t hash)
{
    size_t i = fields_from_hash(hash);
    const struct field_desc *f;

    if (i == api_n_fields)
        return NULL;
    f = &api_fields[api_fields_by_hash[i]];
    return f->hash == hash ? f : NULL;
}

const struct field_desc *api_field_by_name(const struct class_desc *class, const char *name)
{
    uint32_t hash = fnv1a(fnv1a(fnv1a(FNV_START, class->name), "."), name);

    for (size_t i = fields_from_hash(hash); i < api_n_fields; i++) {
        const struct field_desc *f = &api_fields[api_fields_by_hash[i]];

        if (f->hash != hash)
            break;
        if (f->class_id == class->id && strcmp(f->name, name) == 0)
            return f;
    }
    return NULL;
}

const struct error_desc *api_error_by_code(const char *code)
{
    size_t low = 0, high = api_n_errors;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(code, api_errors[middle].code);

        if (order == 0)
            return &api_errors[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}
