/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * database.h -- commands about the copy of a pool's database on a disk, which they are told by
 * database:vdi-uuid=<uuid>: it is read through a session of its own.
 */
#pragma once

#include "xe-cli/xe.h"

bool database_is_asked(const struct xe *xe);
/* 'out' is xe with a session on that copy; needs database_close, whatever happens.  An error where
 * no disk is named. */
MUST_CHECK struct error *database_open(struct xe *xe, struct xe *out);
/* Ends the session; 'e' is what became of the command, and is given back. */
MUST_CHECK struct error *database_close(struct xe *xe, struct xe *database, struct error *e);
