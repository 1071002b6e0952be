/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * table.h -- what is being sampled: one object for the host, each VM that has a domain here, each
 * repository attached here.  For this folder only.
 */
#pragma once

#include "libxapi/base/seam.h"
#include "xapid/stats/alarm.h"
#include "xapid/stats/figures.h"
#include "xapid/stats/journal.h"
#include "xapid/stats/stats.h"

/* How old an object's file may be. */
#define SAVE_PERIOD (600 * USEC_PER_SEC)
/* As the time of an object's file: it is written next. */
#define SAVE_NEXT (INT64_MIN / 2)

struct object {
    enum stats_owner owner;
    char uuid[UUID_TEXT_SIZE];
    struct rrd *rrd;
    usec_t sampled; /* when the newest sample was taken, by its own clock */
    size_t n;
    struct figure *v; /* as of it */
    struct alarms alarms;
    usec_t saved;             /* monotonic */
    uint64_t journal, layout; /* in which journal its sources stand, and which */
    bool present;             /* in the newest sample */
};

struct table {
    struct mutex lock;
    size_t n;
    struct object **v; /* the host first, then as they came */
};

struct stats {
    struct xapid *xapid;
    char *dir;
    struct table table;

    struct mutex sampling; /* one sample at a time; taken before the table's lock */
    struct arena *before_arena;
    const struct hv_stats *before;
    struct sr_totals totals;
    bool failing; /* the last sample could not be taken */
    usec_t swept; /* monotonic */
    struct journal journal;

    struct mutex lock; /* of the following */
    struct cond wake;
    bool stopping;
    usec_t backup_at; /* monotonic; 0: not asked for */
    struct thread thread;
};

/*
 * stats.c
 */
/* Takes a sample now, beside those of the thread: for what has only just begun. */
void stats_sample(struct stats *stats);
/* Writes all files now. */
void stats_save_all(struct stats *stats);
/* The same, so much later. */
void stats_save_later(struct stats *stats, usec_t delay);

/* Replaces what is known of an object, now or when it is there.  Takes 'rrd'. */
void stats_replace(struct stats *stats, enum stats_owner owner, const char *uuid, struct rrd *rrd);

/*
 * table.c: all under the table's lock.
 */
struct object *table_find(struct table *table, enum stats_owner owner, const char *uuid);
/* Puts a sample's figures where they belong; an object that is new is loaded from its file.
 * 'position' is where it may be.  What its alarms say is added to 'raised', in the arena. */
void table_update(struct stats *stats, struct arena *arena, const struct figures *figures,
                  size_t position, usec_t time, bool extremes, struct raised **raised);
/* Takes those out that were not in the newest sample, into a list for the caller to free; the
 * others are marked as not present for the next one. */
struct object **table_take_absent(struct table *table, size_t *n);
void object_free(struct object *object);
/* Frees all. */
void table_release(struct table *table);

/*
 * store.c: files.
 */
/* NULL where there is none, or none that can be read (which is logged). */
struct rrd *store_load(const struct stats *stats, enum stats_owner owner, const char *uuid);
/* Replaces the file at once.  A failure is logged: history is not worth more. */
void store_save(const struct stats *stats, enum stats_owner owner, const char *uuid,
                const struct rrd *rrd);
/* A whole file, to be freed by the caller; -1 with errno, EFBIG for one that is larger. */
ssize_t store_read(const char *path, size_t limit, char **data);
/* Removes files of what is in the database no more. */
void store_sweep(const struct stats *stats, struct call *call);

/*
 * updates.c: the answer of /rrd_updates.
 */
struct update_query {
    int64_t start;    /* seconds; below 0: before the newest */
    int64_t interval; /* seconds */
    int cf;           /* enum rrd_cf; -1: all */
    bool host, all_vms, json;
    size_t n_vms, n_srs;
    const char *const *vms, *const *srs;
};
/* False where the answer would be too long. */
bool updates_write(struct stats *stats, const struct update_query *query, struct buf *out);

/*
 * metrics.c
 */
void metrics_write(struct stats *stats, struct buf *out);
