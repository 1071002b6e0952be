/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * merge.h -- what of a joining host's database comes into the pool's, and in which pieces.
 *
 * Pure.  Everything that is the host's comes with the references and uuids it has: the host with
 * its devices, its storage, its machines.  What belongs to a pool the pool has already: its own
 * row, templates, storage drivers, users.  A few things are found again there, and references to
 * them follow: networks (by bridge, else by name), storage that both share and its disks (by uuid),
 * kinds of graphics hardware, authorities.
 *
 * Rows come in batches, each small enough for one write-set.  A field that refers to a row of a
 * later batch is written with that one.
 */
#pragma once

#include "xapid/db/db.h"

struct merge_row {
    const struct class_desc *class;
    const struct row *row; /* a struct of the class; references are the pool's */
    size_t batch;
};

struct merge {
    size_t n, n_batches; /* at least one batch */
    const struct merge_row *rows;
    const struct host_state *state; /* of the host: the last thing that is written */
    const struct merge_found *found;
    size_t n_found;
};

/* 'batch_size': about how many bytes of a write-set rows may take.  'host' is a database of one
 * host. */
void merge_plan(struct arena *arena, const struct db_root *host, const struct db_root *pool,
                size_t batch_size, struct merge *out);
/* Writes a batch into a transaction, without the state. */
void merge_write(struct txn *txn, const struct merge *merge, size_t batch);
/* "<class> <reference>" of each row of a batch, to undo it by. */
struct strings merge_names(struct arena *arena, const struct merge *merge, size_t batch);
/* Reads such a name; false where it is none. */
bool merge_name_read(const char *name, int *class_id, ref_t *ref);
