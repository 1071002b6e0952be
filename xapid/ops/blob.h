/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * blob.h -- named pieces of data beside objects: their records, and the files that hold them.
 *
 * Each upload goes to a file of its own (<state_dir>/blobs/<file>); the commit that records it is
 * what makes it the blob's.  So a blob has its old data or its new, whatever happens; files that no
 * record names are swept away.
 */
#pragma once

#include "xapid/ops/op.h"

/* Of one blob. */
#define BLOB_LIMIT ((int64_t)64 << 20)
/* Of all objects together. */
#define BLOBS_MAX 4096

/* The blobs of an object that goes. */
void txn_blobs_destroy(struct txn *txn, const struct refmap *blobs);

/* The path of a blob's data on this host; NULL where it has none yet. */
MUST_CHECK struct error *blob_path(struct call *call, ref_t blob, const char **path);

/* Data on its way into a blob; zeroed: none. */
struct blob_upload {
    struct op op;
    ref_t blob;
    const char *file, *path;
    int fd; /* to be written to; 0: none */
};
MUST_CHECK struct error *blob_upload_begin(struct call *call, ref_t blob, struct blob_upload *out);
/* All was written: makes it durable, and the blob's data. */
MUST_CHECK struct error *blob_upload_end(struct blob_upload *upload);
/* Guard: an upload that has not ended leaves nothing. */
void blob_upload_release(struct blob_upload *upload);

/* Removes files that belong to no blob, and what is left of blobs that are gone. */
void blobs_sweep(struct call *call);
