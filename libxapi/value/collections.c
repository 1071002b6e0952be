/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* collections.c -- look-ups in enums, string maps and sets, and changed copies of string maps. */
#include "libxapi/value/value.h"

int enum_by_name(const struct enum_desc *e, const char *name)
{
    for (int i = 0; i < e->n; i++) {
        if (strcmp(e->names[i], name) == 0)
            return i;
    }
    return -1;
}

const char *enum_name(const struct enum_desc *e, int value)
{
    return value >= 0 && value < e->n ? e->names[value] : "";
}

static size_t strmap_find(const struct strmap *map, const char *key)
{
    size_t i = 0;

    while (i < map->n && strcmp(map->v[i].key, key) != 0)
        i++;
    return i;
}

const char *strmap_get(const struct strmap *map, const char *key)
{
    size_t i = strmap_find(map, key);

    return i < map->n ? map->v[i].value : NULL;
}

struct strmap strmap_with(struct arena *arena, struct strmap map, const char *key,
                          const char *value)
{
    size_t i = strmap_find(&map, key);
    size_t n = map.n + (i == map.n);
    struct strpair *v = arena_array(arena, struct strpair, n);

    if (map.n)
        memcpy(v, map.v, map.n * sizeof *v);
    if (i == map.n)
        v[i].key = arena_strdup(arena, key);
    v[i].value = arena_strdup(arena, value);
    return (struct strmap){n, v};
}

struct strmap strmap_without(struct arena *arena, struct strmap map, const char *key)
{
    size_t i = strmap_find(&map, key);
    struct strpair *v;

    if (i == map.n)
        return map;
    v = arena_array(arena, struct strpair, map.n - 1);
    memcpy(v, map.v, i * sizeof *v);
    memcpy(v + i, map.v + i + 1, (map.n - i - 1) * sizeof *v);
    return (struct strmap){map.n - 1, v};
}

bool strings_contain(const struct strings *set, const char *s)
{
    for (size_t i = 0; i < set->n; i++) {
        if (strcmp(set->v[i], s) == 0)
            return true;
    }
    return false;
}

bool refs_contain(const struct refs *set, ref_t r)
{
    for (size_t i = 0; i < set->n; i++) {
        if (ref_equal(set->v[i], r))
            return true;
    }
    return false;
}
