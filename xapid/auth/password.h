/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * password.h -- passwords as salted scrypt hashes in a file, for installations without PAM.
 *
 * One line for each user, "user:$scrypt$N$r$p$salt$hash" with salt and hash in hexadecimal; empty
 * lines and lines that begin with '#' are left alone.  The file is replaced as a whole, so a reader
 * sees the old one or the new one; writers take turns by a lock on its folder.
 */
#pragma once

#include "libxapi/base/arena.h"

#define PASSWORD_MAX_USER 128
#define PASSWORD_MAX 1024

/* True for names that can stand in the file: 1 to 128 bytes without ':' and control characters,
 * not beginning with '#'. */
bool password_user_is_valid(const char *user);
/* A hash of the password with a new salt, in the arena.  Takes about 50 ms of processor time. */
MUST_CHECK struct error *password_hash(struct arena *arena, const char *password, const char **out);
/* False also for a hash that is malformed or asks for more than 256 MiB of memory. */
bool password_matches(const char *hash, const char *password);
/*
 * Looks the user up and compares; *good says how it went.  An unknown user takes as long as a wrong
 * password.  INTERNAL_ERROR where the file cannot be read or is larger than 1 MiB.
 */
MUST_CHECK struct error *password_file_check(struct arena *arena, const char *path,
                                             const char *user, const char *password, bool *good);
/* Adds the user or gives it another password; makes the file (mode 0600) if there is none.  Durable
 * when it returns. */
MUST_CHECK struct error *password_file_set(struct arena *arena, const char *path, const char *user,
                                           const char *password);
