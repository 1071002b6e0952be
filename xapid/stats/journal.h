/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * journal.h -- what was sampled since the files were written, so that kill -9 costs nothing: a file
 * that grows by each sample, in this machine's own form.  For this folder only.
 *
 * After twice the time in which every file is written the journal becomes the old one, and a new
 * one begins; what the one before has is in the files by then.
 */
#pragma once

#include "libxapi/base/buf.h"
#include "xapid/stats/rrd.h"

struct stats;
struct object;

struct journal {
    char *path, *old;
    int fd;          /* -1: nothing is kept */
    uint64_t number; /* of journals begun */
    usec_t begun;    /* monotonic */
    size_t size;
    struct buf waiting;
};

/* Brings the files up to what the journals say, and begins a new one. */
void journal_open(struct stats *stats);
/* Notes what an object's database was just updated with; under the table's lock. */
void journal_note(struct journal *journal, struct object *object, usec_t time, const double *raw);
/* Writes what was noted; not under the table's lock. */
void journal_write(struct journal *journal);
/* All files are written: nothing is needed of it any more. */
void journal_close(struct journal *journal);

/* A record; its payload follows. */
struct journal_record {
    uint64_t sum; /* of all that follows, and the payload */
    usec_t time;
    uint32_t n; /* sources */
    uint8_t is_sample, owner, extremes;
    char uuid[UUID_TEXT_SIZE];
};

/* The payload of one that says what the numbers of an object's samples are. */
struct journal_source {
    char name[RRD_NAME_MAX + 1];
    int64_t type; /* enum rrd_type */
    double min, max;
};

/* Takes the next record from a journal's bytes; false at its end, or where it is damaged. */
bool journal_next(const char **p, const char *end, struct journal_record *record,
                  const void **payload);
