/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tar.h -- archives: USTAR with the long sizes and names of GNU, as they are written; read are
 * those and the headers of pax.  Nothing here knows of files: a name is only a text.
 */
#pragma once

#include "xapid/transfer/flow.h"

#define TAR_BLOCK 512
#define TAR_NAME_MAX 1024 /* bytes of a member's name */

struct tar_reader {
    struct source *from;
    char name[TAR_NAME_MAX + 1]; /* of the present member */
    int64_t size;
    int64_t left; /* bytes of it that were not read yet */
    bool ended;   /* by its end mark, or with the data */
};

void tar_reader_init(struct tar_reader *r, struct source *from);
/*
 * Goes to the next member that is a file, past the rest of the present one; folders are left out.
 * *found is false at the archive's end, also where the data ends between two members.  IMPORT_ERROR
 * for what is no archive, and for links and devices.
 */
MUST_CHECK struct error *tar_next(struct call *call, struct tar_reader *r, bool *found);
/* The next n bytes of the member; more than are left are IMPORT_ERROR. */
MUST_CHECK struct error *tar_read(struct call *call, struct tar_reader *r, void *out, size_t n);

/* A member's header; exactly 'size' bytes follow, then tar_pad. */
MUST_CHECK struct error *tar_header(struct call *call, struct sink *to, const char *name,
                                    int64_t size);
MUST_CHECK struct error *tar_pad(struct call *call, struct sink *to, int64_t size);
/* All of a member. */
MUST_CHECK struct error *tar_member(struct call *call, struct sink *to, const char *name,
                                    const void *data, size_t size);
/* Bytes that a member with a short name takes. */
int64_t tar_size(int64_t size);
MUST_CHECK struct error *tar_end(struct call *call, struct sink *to);
