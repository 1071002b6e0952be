/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * transfer.h -- files to and from the server's HTTP handlers.  A task stands for each transfer: it
 * tells whether all went well, and carries the result.
 */
#pragma once

#include "xe-cli/xe.h"

/* GET 'path' ("/export?ref=...") to a new file; "" is standard output. */
MUST_CHECK struct error *transfer_get(struct xe *xe, const char *label, const char *path,
                                      const char *file);
/* PUT a file; *result (may be NULL) is the task's result text. */
MUST_CHECK struct error *transfer_put(struct xe *xe, const char *label, const char *path,
                                      const char *file, const char **result);
/* For those who carry it out (struct xe_io): makes the task and adds it to the path. */
MUST_CHECK struct error *transfer_begin(struct xe *xe, const char *label, const char **path,
                                        const char **task);
/* 'e' is the transfer's own error, or OK: then the task is waited for. */
MUST_CHECK struct error *transfer_finish(struct xe *xe, const char *task, struct error *e,
                                         const char **result);
/* Percent-encoded for a query. */
const char *transfer_encode(struct xe *xe, const char *text);
