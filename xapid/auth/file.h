/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* file.h -- small files that hold secrets: read as a whole, replaced as a whole. */
#pragma once

#include "libxapi/base/arena.h"

/* Reads up to 'limit' bytes; *text ends with a NUL and is NULL where there is no such file.  Larger
 * files are an error. */
MUST_CHECK struct error *secret_file_read(struct arena *arena, const char *path, size_t limit,
                                          char **text, size_t *size);
/* Replaces or makes the file, mode 0600: whoever finds it finds all of it; durable when it
 * returns.  Writers must hold a file_lock of its folder. */
MUST_CHECK struct error *secret_file_replace(struct arena *arena, const char *path,
                                             const char *text, size_t size);

/* A lock on the folder a file is in, between processes; given back with the guard. */
struct file_lock {
    int fd; /* 0: not held */
};
MUST_CHECK struct error *file_lock_take(struct arena *arena, const char *path,
                                        struct file_lock *out);
void file_lock_release(struct file_lock *lock);
