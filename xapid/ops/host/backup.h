/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * backup.h -- the control domain's own files as an archive, which two programs of the host make and
 * put back: xapid-host-backup and xapid-host-restore.  What is in it is theirs to say.
 */
#pragma once

#include "xapid/ops/op.h"

/* Sees the archive as it comes; false ends it.  Called with n = 0 now and then. */
typedef bool backup_take_fn(void *ctx, const char *data, size_t n);
MUST_CHECK struct error *backup_make(struct call *call, backup_take_fn *take, void *ctx);

/*
 * An archive on its way back: a file of the state directory, named in an intent.  Once it is whole
 * it will be put back, whatever becomes of the daemon; before, nothing has happened.  Used with
 * AUTO.
 */
struct restore {
    struct op op;
    const char *path; /* the file, once it is whole */
    const char *part; /* the same before */
    int fd;           /* for the archive; 0: none */
};
/* OTHER_OPERATION_IN_PROGRESS where another one is being put back. */
MUST_CHECK struct error *restore_begin(struct call *call, struct restore *out);
/* What was written to 'fd' is all of it: puts it back. */
MUST_CHECK struct error *restore_end(struct restore *restore);
void restore_release(struct restore *restore);
