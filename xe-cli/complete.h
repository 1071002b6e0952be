/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* complete.h -- what the shell's completion asks for: "xe --completion WORD...". */
#pragma once

#include "xe-cli/xe.h"

/*
 * Prints, a line each, what the last of the words after "xe" may become.  Uuids and names are asked
 * from the server, if it can be reached without a password; no failure is shown.
 */
void complete_run(struct xe *xe, size_t n, const char *const *words);
