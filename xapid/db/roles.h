/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* roles.h -- the static rows of class role, made from the schema: the same on every member, never
 * in the log. */
#pragma once

#include "xapid/db/root.h"

/* Adds one row for each role and one for each permission. */
void roles_add(struct db_root *root);
/* The reference of a role or permission by its name: the same everywhere and always. */
ref_t role_ref(const char *name);
/* The role of a reference, or ROLE_COUNT. */
enum role_id role_of_ref(ref_t ref);
