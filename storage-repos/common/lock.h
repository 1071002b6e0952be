/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lock.h -- a lock between processes of this host, which is a file's. */
#pragma once

#include "libxapi/base/base.h"

struct call;

/* Waits for it, and gives its descriptor, which is never 0.  'whose' is for the error; the file's
 * folder is made. */
MUST_CHECK struct error *sr_lock(struct call *call, const char *path, const char *whose, int *out);
/* Nothing where it is 0.  'forget': the file goes too. */
void sr_unlock(int lock, const char *path, bool forget);
