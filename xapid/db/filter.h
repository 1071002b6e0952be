/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * filter.h -- the expressions of get_all_where and get_all_records_where.
 *
 *   expr:  value = value | expr and expr | expr or expr | not expr | true | false | ( expr )
 *   value: "text" | field "name"
 *
 * 'and' and 'or' bind alike and to the left; 'not' takes all that follows it.  There are no
 * escapes, no other comparison, and keywords are lower-case.  Fields have their database names
 * ("name__label", "_ref"); values are compared by their text in the database (value_filter_text).
 * Class role has no filters: whatever is asked matches.  Of class message unknown fields match
 * nothing.
 */
#pragma once

#include "libxapi/codec/codec.h"
#include "xapid/db/root.h"

/* Bytes of an expression, and how deep it may be nested. */
#define FILTER_MAX_TEXT (256 << 10)
#define FILTER_MAX_DEPTH 100

struct filter;

/* Reads an expression; the filter lives in the arena.  INVALID_VALUE(expression, reason) if it is
 * none. */
MUST_CHECK struct error *filter_parse(struct arena *arena, const struct class_desc *class,
                                      const char *text, struct filter **out);

/*
 * Judges one row of the class.  'env' gives the values of derived and computed fields (no function,
 * or a NULL value: they are empty); what is made meanwhile goes to its arena.
 * INTERNAL_ERROR("missing field", name, "") where a field that does not exist is looked at: not
 * before, so a filter over no rows is never wrong.
 */
MUST_CHECK struct error *filter_match(const struct filter *filter, const struct codec_env *env,
                                      const void *row, bool *match);

struct rows {
    size_t n;
    const void **v; /* of the root */
};

/* All rows of the class that match, by reference; by an index where the filter asks for one uuid,
   name or reference.  'env' may be NULL.  Only 'out' is in the arena: field_value is called with an
   env whose arena is emptied from time to time. */
MUST_CHECK struct error *filter_rows(struct arena *arena, const struct filter *filter,
                                     const struct db_root *root, const struct codec_env *env,
                                     struct rows *out);
