/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* help.h -- "xe help", "xe help --all", "xe help COMMAND", and the list of all commands. */
#pragma once

#include "xe-cli/xe.h"

/* The command "help" with its parameters. */
void help_run(struct xe *xe);
/* How to call xe, to standard error. */
void help_usage(struct xe *xe, const char *why);
/* All commands, sorted, hidden ones too. */
struct strings help_commands(struct arena *arena, bool hidden);
/* The words of a command as its help shows them; false for an unknown command. */
bool help_words(struct arena *arena, const char *command, struct strings *required,
                struct strings *optional);
/* All parameters of a command, required first; those that take several end with ":".  No elements
 * for an unknown command. */
struct strings help_params(struct arena *arena, const char *command);
