/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* row.h -- rows: immutable, counted blocks, the struct of their class followed by everything it
 * points to. */
#pragma once

#include "libxapi/codec/codec.h"
#include "libxapi/value/value.h"

/* A new row with the stored fields of 'source' (a struct of that class; its header is copied but
 * for size and count). One holder. */
const struct row *row_new(const struct class_desc *class, const void *source);
/* A hash of the stored fields, taken when the row was made: equal on every member whose schema is
 * the same. */
const uint64_t *row_hash(const struct row *row);
/* The same, made anew from the fields: for checks. */
void row_hash_make(const struct class_desc *class, const void *source, uint64_t out[2]);
/* What the codecs remember of it: codec_env.written. */
uint32_t *row_written(const void *row, enum codec_format format);
void row_ref(const struct row *row);
void row_unref(const struct row *row);
/* How many hold it: for tests. */
uint32_t row_holders(const struct row *row);
/* Fills a struct of the class with every field's default, or the type's empty value. */
void row_defaults(const struct class_desc *class, void *out);
