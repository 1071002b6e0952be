/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * value.h -- what can be done to a value of any type (type.h says how each looks in memory).
 *
 * Of a record only the stored fields are looked at: derived, computed and pseudo fields have no
 * place in the struct.  A NULL record is the empty value of its type and is accepted everywhere; it
 * is never made from anything read outside.
 */
#pragma once

#include "libxapi/base/arena.h"
#include "libxapi/base/buf.h"
#include "libxapi/value/type.h"

/* True where the field has a place in its class's struct. */
static inline bool field_is_stored(const struct field_desc *f)
{
    return !(f->flags & (FIELD_DERIVED | FIELD_COMPUTED | FIELD_PSEUDO));
}

/* The class of a record value: of its type or, where the type is any class, of the row; NULL if
 * there is none. */
const struct class_desc *record_class(const struct type *type, const void *record);

/* Fills 'out' (type->size bytes) with the type's empty value: "", 0, null, the first enum value, no
 * elements, epoch. */
void value_empty(const struct type *type, void *out);
/* Deep copy into the arena; 'out' has type->size bytes. */
void value_copy(struct arena *arena, const struct type *type, const void *value, void *out);
/* Sets and maps compare in order; floats by their bits, so that a NaN is equal to itself. */
bool value_equal(const struct type *type, const void *a, const void *b);

/*
 * Bytes that a copy's strings, sets and maps need beside its own type->size, each part aligned
 * to 8.  Empty strings and sets need none.
 */
size_t value_extra_size(const struct type *type, const void *value);
/* Copies to 'out', laying strings and elements out from *extra on (aligned to 8), which moves by
 * value_extra_size. */
void value_pack(const struct type *type, const void *value, void *out, char **extra);

/*
 * Binary form for log entries: fixed little-endian, enums by name and record fields by hash so that
 * a later schema still reads them.
 */
void value_encode(struct buf *buf, const struct type *type, const void *value);
/*
 * Reads it back into the arena, moving *p, never beyond 'end'.  False for anything malformed and
 * for an enum value this schema does not know.  A record's unknown fields are skipped, its missing
 * ones take their default.
 */
bool value_decode(struct arena *arena, const struct type *type, const char **p, const char *end,
                  void *out);

/*
 * The text the database's filters compare with: true/false, decimals, enum names, refs,
 * s-expressions for sets and maps:
 * ('a' 'b') and (('key' 'value')), with \ before \ and '.  Records have none: "".  In the arena, or
 * as long-lived as 'value'.
 */
const char *value_filter_text(struct arena *arena, const struct type *type, const void *value);

/* Index of an enum's value by its spelling, or -1. */
int enum_by_name(const struct enum_desc *e, const char *name);
/* The spelling; "" for a number that is none of its values. */
const char *enum_name(const struct enum_desc *e, int value);

/* Maps and sets of strings: look-ups, and copies with one change (in the arena, sharing the other
 * strings with 'map'). */
const char *strmap_get(const struct strmap *map, const char *key); /* NULL when absent */
/* A new key comes last, a known one keeps its place. */
struct strmap strmap_with(struct arena *arena, struct strmap map, const char *key,
                          const char *value);
struct strmap strmap_without(struct arena *arena, struct strmap map, const char *key);
bool strings_contain(const struct strings *set, const char *s);
bool refs_contain(const struct refs *set, ref_t r);

/*
 * Numbers and dates as text, independent of the locale.  The writers return the length and end the
 * text with a NUL; the readers take the whole text or return false, and skip white space around it.
 */
#define INT_TEXT_SIZE 24
size_t int_to_text(int64_t i, char out[INT_TEXT_SIZE]);
bool int_from_text(const char *text, int64_t *out);
#define DOUBLE_TEXT_SIZE 40
/* As printf's %.*g writes it with 'digits' (at most 18) digits; "nan", "inf" and "-inf" otherwise.
 */
size_t double_to_text(double d, int digits, char out[DOUBLE_TEXT_SIZE]);
/* Decimal only; also nan, inf and infinity in any case. */
bool double_from_text(const char *text, double *out);

/*
 * "20250319T04:16:24Z", whole seconds, rounded down; years beyond 0 to 9999 are cut to them.  Reads
 * hyphenated and compact forms, with or without colons, a fraction and a zone ("Z", "+01:00");
 * without a zone it is UTC.
 */
#define DATE_TEXT_SIZE 24
char *date_to_text(usec_t date, char out[DATE_TEXT_SIZE]);
bool date_from_text(const char *text, usec_t *out);
