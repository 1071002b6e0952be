/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* files.h -- the library's files as they lie on disk: names, checksums, batches.  Reads only. */
#pragma once

#include "libxapi/base/arena.h"

/* A segment: closed ones carry their indexes in the name, open ones a counter. */
struct segment_file {
    char name[64];
    uint64_t first, last; /* closed */
    uint64_t counter;     /* open */
    /* Filled by the guard's scan. */
    size_t size, valid; /* bytes; the end of the last good batch */
    bool tail_is_zero;  /* nothing but zeros after 'valid' */
    uint64_t n_entries;
    uint64_t first_seen; /* index of its first entry */
};

struct snapshot_file {
    char name[96]; /* without ".meta" */
    uint64_t term, index, timestamp;
    bool has_data, has_meta;
};

struct dir_files {
    struct segment_file *closed, *open; /* sorted by index, by counter */
    size_t n_closed, n_open;
    struct snapshot_file *snapshots; /* sorted, newest last */
    size_t n_snapshots;
    bool metadata[2];
    const char *corrupt; /* a file the library set aside, if any */
};

/* Lists a directory. */
MUST_CHECK struct error *files_list(struct arena *arena, int dir, const char *dir_name,
                                    struct dir_files *out);
/* Reads a whole file of at most 'limit' bytes; the caller frees *data.  An errno, EFBIG if it is
 * larger. */
int files_read(int dir, const char *name, size_t limit, uint8_t **data, size_t *size);

/* The library's CRC-32 (most significant bit first, initial value 0). */
struct crc_table {
    uint32_t t[4][256];
};
void crc_init(struct crc_table *table);
uint32_t crc_add(const struct crc_table *table, uint32_t crc, const void *data, size_t size);

/* One batch of entries within a segment. */
struct batch_view {
    const uint8_t *header; /* 16 bytes for each entry: term, type, size */
    const uint8_t *data;
    uint64_t n;
    size_t size; /* of everything */
};
struct entry_view {
    uint64_t term;
    unsigned type; /* as raft.h numbers them */
    const uint8_t *data;
    size_t size;
};
/* Reads and checks the batch at the start of 'data'; NULL if good, else what is wrong with it. */
const char *files_batch(const struct crc_table *table, const uint8_t *data, size_t size,
                        struct batch_view *out);
/* Entry i of a batch; *at is the offset of its data and moves on (0 before the first). */
void files_entry(const struct batch_view *batch, uint64_t i, size_t *at, struct entry_view *out);

uint32_t files_get32(const uint8_t *p);
uint64_t files_get64(const uint8_t *p);
