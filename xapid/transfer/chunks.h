/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * chunks.h -- the contents of disks inside an archive.
 *
 * A disk is a folder of numbered members, each a piece of it, followed by a member with its
 * checksum: XXH64 in upper-case hex (<name>.xxhash), in older archives SHA-1 in lower case
 * (<name>.checksum), in very old ones a table at the archive's end.  Pieces that are all zero are
 * left out, but for the first and the last of a disk.
 *
 * A reader knows where a piece belongs only from the gaps in the numbers: each missing number
 * stands for as many bytes as the first piece of the whole archive had.  A piece without bytes,
 * sent so that nobody thinks the connection dead, takes a number as well, and moves nothing.
 */
#pragma once

#include "storage-repos/sr.h"
#include "xapid/transfer/tar.h"

/* Bytes of a piece, but for the last of a disk. */
#define CHUNK_SIZE ((int64_t)1024 * 1024)
/* The largest that is read. */
#define CHUNK_MAX ((int64_t)4 * 1024 * 1024)

/*** writing ***/

struct chunk_writer {
    struct sink *to;
    int64_t sent, total; /* bytes of all disks, for the task's progress */
    bool no_holes;       /* the archive's first piece was a short one: gaps would be too */
    bool begun;
    usec_t last;    /* monotonic: when something was written */
    usec_t silence; /* after how long a piece without bytes is sent; 5 s */
    char *room;     /* CHUNK_SIZE bytes */
};
void chunk_writer_init(struct chunk_writer *w, struct sink *to, int64_t total);
void chunk_writer_release(struct chunk_writer *w);
/* Sends all of a disk as the folder 'id'. */
MUST_CHECK struct error *chunks_send(struct call *call, struct chunk_writer *w, const char *id,
                                     struct vdi_io *io);

/*** reading ***/

/* A piece's sum, for the table at the end of a very old archive. */
struct chunk_sum {
    const char *name;
    char sha1[41];
};

struct chunk_reader {
    struct tar_reader *tar;
    bool ignore_checksums; /* those that do not fit are logged */
    bool table;            /* the checksums are in a table at the end */
    int64_t first_length;  /* of the archive's first piece; 0: none yet */
    int64_t received, total;
    char *room; /* CHUNK_MAX bytes */
    struct arena sums_arena;
    size_t n_sums, sums_room;
    struct chunk_sum *sums;
};
void chunk_reader_init(struct chunk_reader *r, struct tar_reader *tar, int64_t total);
void chunk_reader_release(struct chunk_reader *r);
/*
 * Reads one disk of 'size' bytes; the archive's present member is its first piece.  'fresh': the
 * disk reads as zeroes.  What is written is flushed.
 */
MUST_CHECK struct error *chunks_receive(struct call *call, struct chunk_reader *r, const char *id,
                                        int64_t size, struct vdi_io *io, bool fresh);
/* Compares with the table, which is the archive's next member. */
MUST_CHECK struct error *chunks_check_table(struct call *call, struct chunk_reader *r);
