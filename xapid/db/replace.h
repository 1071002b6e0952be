/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * replace.h -- another database in place of the one there is, between two starts of the daemon.
 *
 *   stage    makes <dir>.restore: all of the new database, durable; one rename gives it its name
 *   unstage  takes it away again, before that start
 *   settle   at the next start, before the database is opened: what is in <dir> becomes
 *            <dir>.before-restore, what was staged becomes <dir>
 *
 * A crash between any two steps is followed by the same steps again.
 */
#pragma once

#include "xapid/db/root.h"

/* 'dir' is that of db_options.  From its return on the new database is the one. */
MUST_CHECK struct error *db_replace_stage(struct arena *arena, const char *dir,
                                          const struct db_root *root);
/* Nothing where nothing was staged, whole or in part. */
MUST_CHECK struct error *db_replace_unstage(struct arena *arena, const char *dir);
/* Nothing where nothing was staged to the end. */
MUST_CHECK struct error *db_replace_settle(struct arena *arena, const char *dir);
