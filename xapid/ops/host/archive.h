/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* archive.h -- writes a tar or zip archive of files that are in memory, as it goes. */
#pragma once

#include "libxapi/base/buf.h"

enum archive_format { ARCHIVE_TAR, ARCHIVE_ZIP };

/* Longest name of a file in an archive. */
#define ARCHIVE_NAME_MAX 99

struct archive {
    enum archive_format format;
    /* Takes the bytes; false once they are not wanted any more. */
    bool (*write)(void *ctx, const void *data, size_t size);
    void *ctx;
    usec_t time; /* of all files */
    /* Of the archive itself. */
    bool failed;
    uint64_t written;
    struct buf directory; /* of a zip, to come at its end */
    unsigned n;
};

/*
 * Adds a file; false where the archive cannot be written any more.  A zip is stored, not
 * compressed, and has room for 4 GiB and 65535 files: what is beyond that fails.
 */
bool archive_add(struct archive *a, const char *name, const void *data, size_t size);
/* Writes the end. */
bool archive_end(struct archive *a);
void archive_release(struct archive *a);
