/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* run.h -- one command from its beginning to its exit code, wherever it came from. */
#pragma once

#include "xe-cli/xe.h"

/* Runs xe->command with xe->params; returns the exit code.  Nothing is closed. */
int xe_run(struct xe *xe);
