/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* server.h -- the real way to the server, over libxapi. */
#pragma once

#include "xe-cli/xe.h"

/*
 * Connects as 'options' say; with 'session' that session is used instead of a login.  Errors are
 * copied into the run's arena.
 */
MUST_CHECK struct error *xe_server_open(struct xe *xe, const struct xe_options *options,
                                        const char *session, struct xe_server **out);
/* Logs out where xe_server_open had logged in, and closes; NULL is accepted. */
void xe_server_close(struct xe_server *server);
/* xe->connect of the command itself: asks for a password where one is missing. */
MUST_CHECK struct error *xe_server_connect(struct xe *xe);
