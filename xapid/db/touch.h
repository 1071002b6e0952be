/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* touch.h -- rows whose computed fields (allowed_operations) depend on other rows: a change of
 * those is an event of these. */
#pragma once

#include "xapid/db/root.h"

/* 'old' or 'new' may be NULL. */
void touch_dependants(struct db_root *root, const struct class_desc *class, const void *old,
                      const void *new, uint64_t revision);
