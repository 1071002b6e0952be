/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* workers.h -- threads that run operations: as many as there is work, up to a limit, kept for a
 * while when idle. */
#pragma once

#include "libxapi/base/base.h"

struct workers;

struct workers *workers_new(int limit);
/* From now on at most so many threads; those that run finish what they do.  At least one. */
void workers_limit(struct workers *workers, int limit);
/* Waits until all work is done. */
void workers_free(struct workers *workers);
/* Runs fn(arg) on a worker thread.  False if the limit of waiting work is reached: the caller
 * answers that it is too busy. */
bool workers_run(struct workers *workers, void (*fn)(void *arg), void *arg);
