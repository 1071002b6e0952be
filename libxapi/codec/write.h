/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* write.h -- what the two writers share; private to codec/. */
#pragma once

#include "libxapi/codec/codec.h"

#define REF_LONGEST 46 /* "OpaqueRef:" and a uuid */

/* Writes a value in the given format; what codec->value does. */
void write_value(const struct codec *codec, struct buf *out, const struct codec_env *env,
                 const struct type *type, const void *value);

/* A reference's text without a NUL; returns its length. */
size_t write_ref_text(ref_t r, char out[REF_LONGEST]);

/* The writer whose functions begin with that name; two of them differ where nothing is escaped. */
#define CODEC(format_, name, string_, member_begin_)                                               \
    {                                                                                              \
        .format = format_, .plain = &name##_plain, .string = string_,                              \
        .member_begin = member_begin_, .value = name##_value, .array_begin = name##_array_begin,   \
        .array_end = name##_array_end, .array_next = name##_array_next,                            \
        .struct_begin = name##_struct_begin, .struct_end = name##_struct_end,                      \
        .field_begin = name##_field_begin, .member_end = name##_member_end,                        \
        .integer = name##_integer, .boolean = name##_boolean, .real = name##_real,                 \
        .date = name##_date, .ref = name##_ref, .nothing = name##_nothing, .nil = name##_nil,      \
        .typed_int = name##_typed_int,                                                             \
    }

/* GCC's vectors: of any machine's instructions the widest that are at least these. */
typedef unsigned char bytes16 __attribute__((vector_size(16)));

/* True if some byte is below 0x20 or one of the marks. */
static inline bool has_suspect(bytes16 bytes, const char marks[], size_t n_marks)
{
    bytes16 hit = (bytes16)(bytes < 0x20);
    uint64_t words[2];

    for (size_t i = 0; i < n_marks; i++)
        hit |= (bytes16)(bytes == (unsigned char)marks[i]);
    memcpy(words, &hit, sizeof words);
    return (words[0] | words[1]) != 0;
}

/*
 * Length of the run at the start of s that has no byte marked in 'special'.  All bytes below 0x20
 * are looked at in the table, of the others only those in 'marks', which must be all that are
 * marked there.  Inline, so that the compiler knows the marks.
 */
static inline size_t plain_run(const unsigned char *s, size_t n, const bool special[256],
                               const char marks[], size_t n_marks)
{
    size_t i = 0;

    while (i < n) {
        size_t end = MIN(n, i + sizeof(bytes16));
        bytes16 bytes = (bytes16){0} + ' ';

        if (end - i == sizeof bytes)
            memcpy(&bytes, s + i, sizeof bytes);
        else
            memcpy(&bytes, s + i, end - i);
        if (has_suspect(bytes, marks, n_marks)) {
            while (i < end && !special[s[i]])
                i++;
            if (i < end)
                return i;
        }
        i = end;
    }
    return n;
}
