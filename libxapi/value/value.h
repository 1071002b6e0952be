/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* value.h -- what can be done to a value of any type (type.h says how each looks in memory). */
#pragma once

#include "libxapi/base/arena.h"
#include "libxapi/base/buf.h"
#include "libxapi/value/type.h"

/* Fills 'out' (type->size bytes) with the type's empty value: "", 0, null, the first enum value, no elements, epoch. */
void value_empty(const struct type *type, void *out);
/* Deep copy into the arena; 'out' has type->size bytes. */
void value_copy(struct arena *arena, const struct type *type, const void *value, void *out);
/* Sets and maps compare in order. */
bool value_equal(const struct type *type, const void *a, const void *b);

/* Bytes that a copy's strings, sets and maps need beside its own type->size, each part aligned to 8. */
size_t value_extra_size(const struct type *type, const void *value);
/* Copies to 'out', laying strings and elements out from *extra on, which moves by value_extra_size. */
void value_pack(const struct type *type, const void *value, void *out, char **extra);

/* Binary form for log entries: fixed little-endian, enums by name so that a later schema still reads them. */
void value_encode(struct buf *buf, const struct type *type, const void *value);
/* Reads it back into the arena, moving *p, never beyond 'end'.  False for anything malformed. */
bool value_decode(struct arena *arena, const struct type *type, const char **p, const char *end,
                  void *out);

/* The text the database's filters compare with: true/false, decimals, enum names, refs, s-expressions for sets and maps. */
const char *value_filter_text(struct arena *arena, const struct type *type, const void *value);

/* Index of an enum's value by its spelling, or -1. */
int enum_by_name(const struct enum_desc *e, const char *name);

/* Maps and sets of strings: look-ups, and copies with one change (in the arena). */
const char *strmap_get(const struct strmap *map, const char *key); /* NULL when absent */
struct strmap strmap_with(struct arena *arena, struct strmap map, const char *key, const char *value);
struct strmap strmap_without(struct arena *arena, struct strmap map, const char *key);
bool strings_contain(const struct strings *set, const char *s);
bool refs_contain(const struct refs *set, ref_t r);
