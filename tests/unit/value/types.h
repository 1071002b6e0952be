/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* types.h -- types made by hand, so that the tests of values do not hang on what the schema happens
 * to hold. */
#pragma once

#include "libxapi/value/type.h"

static const char *const colour_names[] = {"red", "green", "blue"};
static const struct enum_desc colours UNUSED = {.name = "colour", .names = colour_names, .n = 3};

#define SCALAR(id, k, c, ...)                                                                      \
    static const struct type id UNUSED = {                                                         \
        .kind = (k), .size = sizeof(c), .class_id = -1, .text = #id, ##__VA_ARGS__}

SCALAR(t_string, TYPE_STRING, const char *);
SCALAR(t_int, TYPE_INT, int64_t);
SCALAR(t_bool, TYPE_BOOL, bool);
SCALAR(t_float, TYPE_FLOAT, double);
SCALAR(t_date, TYPE_DATETIME, usec_t);
SCALAR(t_ref, TYPE_REF, ref_t, .class_name = "VM");
SCALAR(t_enum, TYPE_ENUM, int, .enum_desc = &colours);
SCALAR(t_strings, TYPE_SET, struct set, .elem = &t_string);
SCALAR(t_ints, TYPE_SET, struct set, .elem = &t_int);
SCALAR(t_refs, TYPE_SET, struct set, .elem = &t_ref);
SCALAR(t_bools, TYPE_SET, struct set, .elem = &t_bool);
SCALAR(t_sets, TYPE_SET, struct set, .elem = &t_strings);
SCALAR(t_strmap, TYPE_MAP, struct map, .key = &t_string, .elem = &t_string,
       .value_offset = offsetof(struct strpair, value), .entry_size = sizeof(struct strpair));
SCALAR(t_enummap, TYPE_MAP, struct map, .key = &t_string, .elem = &t_enum,
       .value_offset = offsetof(struct enumpair, value), .entry_size = sizeof(struct enumpair));
SCALAR(t_option, TYPE_OPTION, const void *, .elem = &t_string);
static const struct type t_void UNUSED = {.kind = TYPE_VOID, .class_id = -1, .text = "void"};

#define STRMAP(...)                                                                                \
    ((struct strmap){ARRAY_SIZE(((struct strpair[]){__VA_ARGS__})),                                \
                     (struct strpair[]){__VA_ARGS__}})
#define STRINGS(...)                                                                               \
    ((struct strings){ARRAY_SIZE(((const char *[]){__VA_ARGS__})), (const char *[]){__VA_ARGS__}})
