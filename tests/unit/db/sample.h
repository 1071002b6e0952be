/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* sample.h -- databases by chance, and the small things the tests of xapid/db share. */
#pragma once

#include "xapid/db/apply.h"
#include "xapid/db/db.h"
#include "xapid/db/write.h"

/* The next number of a sequence; any seed but 0. */
uint64_t sample_number(uint64_t *seed);
/* Below n. */
size_t sample_below(uint64_t *seed, size_t n);

/* A value by chance; references are to rows of 'root' or null. */
void sample_value(struct arena *arena, uint64_t *seed, const struct db_root *root,
                  const struct type *type, void *out);
/* A struct of the class with values by chance and a reference and uuid of its own. */
void *sample_source(struct arena *arena, uint64_t *seed, const struct db_root *root,
                    const struct class_desc *class);
/* A write-set by chance: some operations on classes with a table. */
void sample_write_set(struct arena *arena, uint64_t *seed, const struct db_root *root,
                      struct write_set *w);
/* Applies and releases it; the root is changed. */
struct log_result sample_apply(struct arena *arena, struct db_root *root, struct write_set *w);
/* The same with an index of its own, as the log gives one. */
void sample_change(struct db_root *root, uint64_t *seed, int n);

/* Defaults, a new reference and uuid. */
#define SAMPLE_NEW(class, source) sample_new(CLASS_##class, (source))
ref_t sample_new(int class_id, void *source);

/* Equal down to the last remembered request. */
bool sample_equal(const struct db_root *a, const struct db_root *b);
int sample_faults(const struct db_root *root);

/* A new directory under TMPDIR. */
char *sample_dir(struct arena *arena);
void sample_remove_dir(const char *dir);
/* How many names in 'dir' contain 'part'. */
int sample_count_files(const char *dir, const char *part);
