/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* params.h -- the commands <class>-param-...: reading and changing one object's parameters. */
#pragma once

#include "xe-cli/fields.h"

MUST_CHECK struct error *params_list(struct xe *xe, const struct xe_class *class);
MUST_CHECK struct error *params_get(struct xe *xe, const struct xe_class *class);
MUST_CHECK struct error *params_set(struct xe *xe, const struct xe_class *class);
MUST_CHECK struct error *params_add(struct xe *xe, const struct xe_class *class);
MUST_CHECK struct error *params_remove(struct xe *xe, const struct xe_class *class);
MUST_CHECK struct error *params_clear(struct xe *xe, const struct xe_class *class);

/* True if there is something for -param-set, for -param-add and -remove, for -param-clear. */
bool params_settable(const struct xe_param *param);
bool params_addable(const struct xe_param *param);
bool params_clearable(const struct xe_param *param);

/* Adds, each after a blank, the messages by which the command <class>-<verb> may change this
 * parameter. */
void params_messages(struct buf *out, const struct xe_class *class, const char *verb,
                     const struct xe_param *param);
