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

/*
 * Length of the run at the start of s that has no byte marked in 'special'.  All bytes below 0x20
 * are looked at in the table, of the others only those in 'marks', which must be all that are
 * marked there.
 */
size_t plain_run(const unsigned char *s, size_t n, const bool special[256], const char marks[],
                 size_t n_marks);
