/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rrd.h -- a round-robin database: the history of a number of sources in archives of fixed length.
 *
 * Time is cut into slots of RRD_STEP seconds that begin at multiples of it.  An update says what
 * each source has done since the last one; what falls into a slot becomes one value, its mean; an
 * archive makes one row of each 'steps' values, which begin at multiples of their length, too.
 * Unknown is NaN everywhere.  Pure: no clock, no files.  Archives grow up to their length, so that
 * what lives for an hour stays small.
 */
#pragma once

#include "libxapi/base/base.h"
#include "libxapi/base/buf.h"

#define RRD_STEP 5 /* seconds */
#define RRD_HEARTBEAT                                                                              \
    300 /* seconds after which nothing is known of the time between two updates                    \
         */
#define RRD_NAME_MAX 63
#define RRD_SOURCES_MAX 1024
#define RRD_ARCHIVES_MAX 16
#define RRD_ROWS_MAX 2048
#define RRD_STEPS_MAX 1000000          /* of a row */
#define RRD_VALUES_MAX (4 << 20)       /* in all archives of one database */
#define RRD_TIME_MAX ((usec_t)1 << 52) /* beyond the year 2100 */

enum rrd_type {
    RRD_GAUGE,    /* the value itself */
    RRD_ABSOLUTE, /* what has come since the last update, per second */
    RRD_DERIVE,   /* how fast a counter rises; one that goes back was begun anew: unknown */
};
enum rrd_cf { RRD_AVERAGE, RRD_MIN, RRD_MAX, RRD_LAST };
extern const char *const rrd_type_names[]; /* "GAUGE"..., ends with NULL */
extern const char *const rrd_cf_names[];   /* "AVERAGE"..., ends with NULL */
/* The index of a name, -1 if it is none of them. */
int rrd_name_index(const char *const *names, const char *name);

struct rrd_source {
    char name[RRD_NAME_MAX + 1];
    enum rrd_type type;
    double min, max;  /* below min: unknown; above max: max, as clocks are not exact */
    double heartbeat; /* seconds */
    double last;      /* what was given last */
    double value;     /* of the slot that is being filled: the sum of rate times seconds */
    double unknown;   /* seconds of it of which nothing is known */
};

/* A row that is being filled, for one source. */
struct rrd_partial {
    double value;     /* the sum, or the least, greatest, last of what is known; NaN: nothing yet */
    uint32_t unknown; /* slots */
};

struct rrd_archive {
    enum rrd_cf cf;
    uint32_t steps, rows; /* slots in a row; rows at most */
    double xff;           /* the part of a row that may be unknown */
    uint32_t n_rows, room, newest;
    double *values;               /* room x sources */
    struct rrd_partial *partials; /* for each source */
};

struct rrd {
    usec_t last_update; /* 0: never */
    size_t n_sources;
    struct rrd_source *sources;
    size_t n_archives;
    struct rrd_archive archives[RRD_ARCHIVES_MAX];
    size_t n_stopped; /* names of sources that would be recorded, and shall not be */
    char (*stopped)[RRD_NAME_MAX + 1];
};

/* With the four usual lengths: 120 of 5 seconds, 120 minutes, 168 hours, 366 days.  'extremes':
 * also the least and the greatest values of each row. */
struct rrd *rrd_new(bool extremes);
/* Without archives and sources. */
struct rrd *rrd_empty(void);
void rrd_free(struct rrd *rrd);
struct rrd *rrd_copy(const struct rrd *rrd);
/* Bytes it takes. */
size_t rrd_memory(const struct rrd *rrd);

/* Its index; -1.  'hint' is looked at first. */
int rrd_find(const struct rrd *rrd, const char *name, size_t hint);
/* Its index; -1 where there are too many, or the name is too long.  Its past is unknown. */
int rrd_add_source(struct rrd *rrd, const char *name, enum rrd_type type, double min, double max);
void rrd_remove_source(struct rrd *rrd, size_t index);
/* Whether a source is one of those that shall not be recorded; and to change that. */
bool rrd_is_stopped(const struct rrd *rrd, const char *name);
void rrd_stop(struct rrd *rrd, const char *name, bool stop);
/* For readers: the archive's memory is made; n_rows is 0.  False if a limit is passed. */
bool rrd_add_archive(struct rrd *rrd, enum rrd_cf cf, uint32_t steps, uint32_t rows, double xff);
/* For readers: a row newer than all others. */
void rrd_push_row(struct rrd *rrd, struct rrd_archive *archive, const double *row);

/* A source's rate over 'seconds': of what is given now and was given last. */
double rrd_rate(const struct rrd_source *source, double raw, double seconds);
/*
 * What each source gives at 'now' (NaN: nothing).  The first one only begins.  A time that is not
 * later is ignored; where the clock was put back by more than the heartbeat, the history moves back
 * with it.
 */
void rrd_update(struct rrd *rrd, usec_t now, const double *raw);

/* Seconds of an archive's row. */
static inline int64_t rrd_row_seconds(const struct rrd_archive *archive)
{
    return (int64_t)archive->steps * RRD_STEP;
}
/* When its newest row ends: seconds, a multiple of the row's. */
int64_t rrd_newest_time(const struct rrd *rrd, const struct rrd_archive *archive);
/* The value 'age' rows before the newest; NaN where there is none. */
double rrd_value(const struct rrd *rrd, const struct rrd_archive *archive, size_t age,
                 size_t source);
/* The finest archive of that kind with rows of at least 'seconds' that reaches back to 'start'; the
 * coarsest where none does; NULL where there is none of that kind. */
const struct rrd_archive *rrd_best(const struct rrd *rrd, enum rrd_cf cf, int64_t seconds,
                                   int64_t start);

/*
 * The file's form (rrd_file.c): a checksum at the end.
 */
void rrd_encode(struct buf *out, const struct rrd *rrd);
/* NULL with *why (static) where the bytes are none of ours, damaged or beyond a limit. */
struct rrd *rrd_decode(const void *data, size_t size, const char **why);

/*
 * As other programs know it (rrd_text.c, rrd_xml.c).
 */
/* At most 15 digits, "0.0", "NaN", "Infinity", "-Infinity". */
void rrd_number(struct buf *out, double value);
/* <tag>text</tag>, and "text". */
void rrd_put_xml(struct buf *out, const char *tag, const char *text);
void rrd_put_json(struct buf *out, const char *text);
void rrd_write_xml(struct buf *out, const struct rrd *rrd);
void rrd_write_json(struct buf *out, const struct rrd *rrd);
/* NULL with *why (static) where it cannot be read. */
struct rrd *rrd_read_xml(const char *text, size_t size, const char **why);
