/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* folder.h -- folders with all that is in them, never through a symbolic link. */
#pragma once

#include "xapid/db/db.h"

/* Bytes of all files below a folder. */
int64_t folder_size(const char *path);
/* Deletes a folder and all below it; one that is gone is no error. */
MUST_CHECK struct error *folder_remove(struct call *call, const char *path);
