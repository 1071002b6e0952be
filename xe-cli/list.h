/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* list.h -- records chosen by filters, and shown. */
#pragma once

#include "xe-cli/fields.h"

/*
 * Keeps the objects that a filter lets through: "name" scalar, "name:key" of a map, "name:contains"
 * of a set.  Unknown names are errors, unless there is no object left to filter.
 */
MUST_CHECK struct error *list_filter(struct xe *xe, const struct xe_class *class, const char *name,
                                     const char *value, struct xe_object_list *objects);

/* What "name", "name:key" or "name-key" of a filter or of param-set means. */
struct param_name {
    const struct xe_param *param;
    const char *key; /* NULL for the parameter as a whole */
};
MUST_CHECK struct error *list_resolve(struct xe *xe, const struct xe_class *class, const char *name,
                                      struct param_name *out);

/* Shows objects; 'chosen' is "a,b,c" or "all", NULL for 'defaults' (separated by blanks). */
MUST_CHECK struct error *list_show(struct xe *xe, const struct xe_class *class,
                                   const struct xe_object_list *objects, const char *chosen,
                                   const char *defaults, bool in_list);

/* The command <class>-list. */
MUST_CHECK struct error *list_run(struct xe *xe, const struct xe_class *class);
