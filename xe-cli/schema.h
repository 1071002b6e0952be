/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* schema.h -- the commands as data, for tests and documents: "xe --schema-commands [all]". */
#pragma once

#include "xe-cli/xe.h"

/* The names of all commands, a line each. */
void schema_names(struct xe *xe);
/*
 * All of them with what they take and call, and what is shown of each class:
 *
 *   command NAME | required | optional | flags | messages
 *   class NAME | PARAM/flags ...
 *
 * Words are separated by blanks.  A command that has a function of its own calls more than the
 * message of its row; "!word" stands for a function of fields.c.
 */
void schema_all(struct xe *xe);
