/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* errors.h -- errors as users read them. */
#pragma once

#include "xe-cli/xe.h"

/*
 * The error's sentence, then its parameters by name, a line each, without a final newline.
 * References are shown as "uuid (name)", for which the server may be asked.
 */
const char *errors_text(struct xe *xe, const struct error *e);
/* Shows an error the way its kind wants it; returns the exit code. */
int errors_report(struct xe *xe, const struct error *e);
