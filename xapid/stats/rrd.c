/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/stats/rrd.h"

#include <math.h>
#include <stdlib.h>

#include "libxapi/base/memory.h"

#define STEP ((usec_t)RRD_STEP * USEC_PER_SEC)
#define FIRST_ROOM 8 /* rows of an archive at first */

const char *const rrd_type_names[] = {"GAUGE", "ABSOLUTE", "DERIVE", NULL};
const char *const rrd_cf_names[] = {"AVERAGE", "MIN", "MAX", "LAST", NULL};

int rrd_name_index(const char *const *names, const char *name)
{
    for (int i = 0; names[i]; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return -1;
}

/*** making ***/

struct rrd *rrd_empty(void)
{
    return xcalloc(1, sizeof(struct rrd));
}

struct rrd *rrd_new(bool extremes)
{
    static const struct {
        uint32_t rows, steps;
    } usual[] = {{120, 1}, {120, 12}, {168, 720}, {366, 17280}};
    struct rrd *rrd = rrd_empty();
    bool fits = true;

    for (size_t i = 0; i < ARRAY_SIZE(usual); i++) {
        /* Beside its extremes an average may be of little; alone it must stand for the row. */
        fits &=
            rrd_add_archive(rrd, RRD_AVERAGE, usual[i].steps, usual[i].rows, extremes ? 1.0 : 0.5);
        if (extremes) {
            fits &= rrd_add_archive(rrd, RRD_MIN, usual[i].steps, usual[i].rows, 1.0);
            fits &= rrd_add_archive(rrd, RRD_MAX, usual[i].steps, usual[i].rows, 1.0);
        }
    }
    if (!fits)
        abort(); /* a bug: the usual lengths are below the limits */
    return rrd;
}

void rrd_free(struct rrd *rrd)
{
    if (!rrd)
        return;
    for (size_t i = 0; i < rrd->n_archives; i++) {
        free(rrd->archives[i].values);
        free(rrd->archives[i].partials);
    }
    free(rrd->sources);
    free(rrd->stopped);
    free(rrd);
}

static void *dup_bytes(const void *p, size_t n)
{
    void *copy = xmalloc(n + 1);

    if (n)
        memcpy(copy, p, n);
    return copy;
}

struct rrd *rrd_copy(const struct rrd *rrd)
{
    struct rrd *copy = dup_bytes(rrd, sizeof *rrd);

    copy->sources = dup_bytes(rrd->sources, rrd->n_sources * sizeof *rrd->sources);
    copy->stopped = dup_bytes(rrd->stopped, rrd->n_stopped * sizeof *rrd->stopped);
    for (size_t i = 0; i < rrd->n_archives; i++) {
        struct rrd_archive *a = &copy->archives[i];

        a->values = dup_bytes(a->values, a->room * rrd->n_sources * sizeof *a->values);
        a->partials = dup_bytes(a->partials, rrd->n_sources * sizeof *a->partials);
    }
    return copy;
}

size_t rrd_memory(const struct rrd *rrd)
{
    size_t sum = sizeof *rrd + rrd->n_sources * sizeof *rrd->sources;

    for (size_t i = 0; i < rrd->n_archives; i++)
        sum +=
            rrd->n_sources * (rrd->archives[i].room * sizeof(double) + sizeof(struct rrd_partial));
    return sum;
}

static size_t values_at_most(const struct rrd *rrd, size_t n_sources)
{
    size_t rows = 0;

    for (size_t i = 0; i < rrd->n_archives; i++)
        rows += rrd->archives[i].rows;
    return rows * n_sources;
}

/* Slots of the present row that are over. */
static uint32_t slots_done(const struct rrd *rrd, const struct rrd_archive *a)
{
    return (uint32_t)(rrd->last_update / STEP % a->steps);
}

static struct rrd_partial nothing_known(uint32_t slots)
{
    return (struct rrd_partial){NAN, slots};
}

bool rrd_add_archive(struct rrd *rrd, enum rrd_cf cf, uint32_t steps, uint32_t rows, double xff)
{
    struct rrd_archive *a = &rrd->archives[rrd->n_archives];

    if (rrd->n_archives == RRD_ARCHIVES_MAX || steps < 1 || steps > RRD_STEPS_MAX || rows < 1 ||
        rows > RRD_ROWS_MAX || !(xff >= 0 && xff <= 1))
        return false;
    *a = (struct rrd_archive){.cf = cf, .steps = steps, .rows = rows, .xff = xff};
    rrd->n_archives++;
    if (values_at_most(rrd, rrd->n_sources) > RRD_VALUES_MAX) {
        rrd->n_archives--;
        return false;
    }
    a->partials = xcalloc(rrd->n_sources + 1, sizeof *a->partials);
    for (size_t i = 0; i < rrd->n_sources; i++)
        a->partials[i] = nothing_known(slots_done(rrd, a));
    return true;
}

/*** sources ***/

int rrd_find(const struct rrd *rrd, const char *name, size_t hint)
{
    for (size_t i = 0; i < rrd->n_sources; i++) {
        size_t at = (hint + i) % rrd->n_sources;

        if (strcmp(rrd->sources[at].name, name) == 0)
            return (int)at;
    }
    return -1;
}

/* Lays all rows out anew for 'n' sources: those after 'gone' move down by one (SIZE_MAX: none);
 * what is new is unknown. */
static void relay(const struct rrd *rrd, struct rrd_archive *a, size_t n, size_t gone)
{
    double *values = xmalloc((a->room * n + 1) * sizeof *values);

    for (size_t row = 0; row < a->n_rows; row++) {
        for (size_t i = 0; i < n; i++) {
            size_t from = i < gone ? i : i + 1;

            values[row * n + i] =
                from < rrd->n_sources ? a->values[row * rrd->n_sources + from] : NAN;
        }
    }
    free(a->values);
    a->values = values;
}

static double slot_seconds(const struct rrd *rrd)
{
    return (double)(rrd->last_update % STEP) / USEC_PER_SEC;
}

int rrd_add_source(struct rrd *rrd, const char *name, enum rrd_type type, double min, double max)
{
    size_t n = rrd->n_sources;
    struct rrd_source *s;

    if (n == RRD_SOURCES_MAX || strlen(name) > RRD_NAME_MAX ||
        values_at_most(rrd, n + 1) > RRD_VALUES_MAX)
        return -1;
    for (size_t i = 0; i < rrd->n_archives; i++) {
        struct rrd_archive *a = &rrd->archives[i];

        relay(rrd, a, n + 1, SIZE_MAX);
        a->partials = xrealloc(a->partials, (n + 1) * sizeof *a->partials);
        a->partials[n] = nothing_known(slots_done(rrd, a));
    }
    rrd->sources = xrealloc(rrd->sources, (n + 1) * sizeof *rrd->sources);
    s = &rrd->sources[n];
    *s = (struct rrd_source){.type = type,
                             .min = min,
                             .max = max,
                             .heartbeat = RRD_HEARTBEAT,
                             .last = NAN,
                             .unknown = slot_seconds(rrd)};
    memcpy(s->name, name, strlen(name) + 1);
    rrd->n_sources++;
    return (int)n;
}

void rrd_remove_source(struct rrd *rrd, size_t index)
{
    size_t n = rrd->n_sources - 1;

    for (size_t i = 0; i < rrd->n_archives; i++) {
        struct rrd_archive *a = &rrd->archives[i];

        relay(rrd, a, n, index);
        memmove(&a->partials[index], &a->partials[index + 1], (n - index) * sizeof *a->partials);
    }
    memmove(&rrd->sources[index], &rrd->sources[index + 1], (n - index) * sizeof *rrd->sources);
    rrd->n_sources = n;
}

static size_t stopped_index(const struct rrd *rrd, const char *name)
{
    size_t i = 0;

    while (i < rrd->n_stopped && strcmp(rrd->stopped[i], name) != 0)
        i++;
    return i;
}

bool rrd_is_stopped(const struct rrd *rrd, const char *name)
{
    return stopped_index(rrd, name) < rrd->n_stopped;
}

void rrd_stop(struct rrd *rrd, const char *name, bool stop)
{
    size_t at = stopped_index(rrd, name), n = rrd->n_stopped;

    if (!stop && at < n) {
        memmove(rrd->stopped[at], rrd->stopped[n - 1], sizeof *rrd->stopped);
        rrd->n_stopped--;
    } else if (stop && at == n && n < RRD_SOURCES_MAX && strlen(name) <= RRD_NAME_MAX) {
        rrd->stopped = xrealloc(rrd->stopped, (n + 1) * sizeof *rrd->stopped);
        memcpy(rrd->stopped[n], name, strlen(name) + 1);
        rrd->n_stopped++;
    }
}

/*** rows ***/

void rrd_push_row(struct rrd *rrd, struct rrd_archive *a, const double *row)
{
    size_t n = rrd->n_sources;

    if (a->n_rows == a->room && a->room < a->rows) {
        a->room = MIN(a->rows, MAX(a->room * 2, FIRST_ROOM));
        a->values = xrealloc(a->values, (a->room * n + 1) * sizeof *a->values);
    }
    if (a->n_rows < a->rows)
        a->newest = a->n_rows++;
    else
        a->newest = (a->newest + 1) % a->rows;
    if (n)
        memcpy(&a->values[a->newest * n], row, n * sizeof *row);
}

/* The same value for so many slots. */
static void consolidate(struct rrd_partial *p, enum rrd_cf cf, double value, uint32_t slots)
{
    if (isnan(value)) {
        p->unknown += slots;
        return;
    }
    switch (cf) {
    case RRD_AVERAGE:
        p->value = (isnan(p->value) ? 0 : p->value) + value * slots;
        break;
    case RRD_MIN:
        p->value = fmin(p->value, value);
        break;
    case RRD_MAX:
        p->value = fmax(p->value, value);
        break;
    case RRD_LAST:
        p->value = value;
        break;
    }
}

static double row_value(const struct rrd_archive *a, const struct rrd_partial *p)
{
    if (p->unknown >= a->steps || p->unknown > a->xff * a->steps)
        return NAN;
    return a->cf == RRD_AVERAGE ? p->value / (a->steps - p->unknown) : p->value;
}

static void end_row(struct rrd *rrd, struct rrd_archive *a, double *row)
{
    for (size_t i = 0; i < rrd->n_sources; i++) {
        row[i] = row_value(a, &a->partials[i]);
        a->partials[i] = nothing_known(0);
    }
    rrd_push_row(rrd, a, row);
}

/* 'slots' are over, the first of them 'first'; each had these values. */
static void end_slots(struct rrd *rrd, struct rrd_archive *a, int64_t first, int64_t slots,
                      const double *values, double *row)
{
    uint32_t done = (uint32_t)(first % a->steps);

    /* Of a long pause only the rows that remain are made. */
    if (slots / a->steps > (int64_t)a->rows + 1)
        slots -= (slots / a->steps - a->rows - 1) * a->steps;
    while (slots > 0) {
        uint32_t n = (uint32_t)MIN(slots, (int64_t)(a->steps - done));

        for (size_t i = 0; i < rrd->n_sources; i++)
            consolidate(&a->partials[i], a->cf, values[i], n);
        slots -= n;
        done += n;
        if (done == a->steps) {
            end_row(rrd, a, row);
            done = 0;
        }
    }
}

/*** updates ***/

double rrd_rate(const struct rrd_source *s, double raw, double seconds)
{
    double rate = raw;

    if (!(seconds > 0) || seconds > s->heartbeat)
        return NAN;
    if (s->type == RRD_ABSOLUTE)
        rate = raw / seconds;
    if (s->type == RRD_DERIVE)
        rate = raw < s->last ? NAN : (raw - s->last) / seconds;
    if (isnan(rate) || isinf(rate) || rate < s->min)
        return NAN;
    return fmin(rate, s->max);
}

static void fill(struct rrd *rrd, const double *rates, usec_t time)
{
    double seconds = (double)time / USEC_PER_SEC;

    for (size_t i = 0; i < rrd->n_sources; i++) {
        struct rrd_source *s = &rrd->sources[i];

        if (isnan(rates[i]))
            s->unknown += seconds;
        else
            s->value += rates[i] * seconds;
    }
}

/* The mean over what is known of the slot, if that is at least half; the next begins. */
static double end_slot(struct rrd_source *s)
{
    double known = RRD_STEP - s->unknown;
    double value = known * 2 >= RRD_STEP ? s->value / known : NAN;

    s->value = s->unknown = 0;
    return value;
}

static void advance(struct rrd *rrd, usec_t now, const double *rates, double *room)
{
    usec_t end = (rrd->last_update / STEP + 1) * STEP;
    int64_t slot = rrd->last_update / STEP;

    if (now < end) {
        fill(rrd, rates, now - rrd->last_update);
        return;
    }
    fill(rrd, rates, end - rrd->last_update);
    for (size_t i = 0; i < rrd->n_sources; i++)
        room[i] = end_slot(&rrd->sources[i]);
    for (size_t i = 0; i < rrd->n_archives; i++) {
        double *row = room + rrd->n_sources;

        end_slots(rrd, &rrd->archives[i], slot, 1, room, row);
        end_slots(rrd, &rrd->archives[i], slot + 1, (now - end) / STEP, rates, row);
    }
    fill(rrd, rates, (now - end) % STEP);
}

/* What was being filled is given up: its time has become another. */
static void begin_at(struct rrd *rrd, usec_t now)
{
    rrd->last_update = now;
    for (size_t i = 0; i < rrd->n_sources; i++) {
        rrd->sources[i].value = 0;
        rrd->sources[i].unknown = slot_seconds(rrd);
    }
    for (size_t i = 0; i < rrd->n_archives; i++)
        for (size_t j = 0; j < rrd->n_sources; j++)
            rrd->archives[i].partials[j] = nothing_known(slots_done(rrd, &rrd->archives[i]));
}

void rrd_update(struct rrd *rrd, usec_t now, const double *raw)
{
    double seconds = (double)(now - rrd->last_update) / USEC_PER_SEC;
    double *room;

    if (now <= 0 || now > RRD_TIME_MAX ||
        (rrd->last_update && seconds <= 0 && seconds >= -RRD_HEARTBEAT))
        return;
    if (!rrd->last_update || seconds < 0) {
        begin_at(rrd, now);
    } else {
        /* Rates, the values of a slot, a row. */
        room = xmalloc((3 * rrd->n_sources + 1) * sizeof *room);
        for (size_t i = 0; i < rrd->n_sources; i++)
            room[i] = rrd_rate(&rrd->sources[i], raw[i], seconds);
        advance(rrd, now, room, room + rrd->n_sources);
        rrd->last_update = now;
        free(room);
    }
    for (size_t i = 0; i < rrd->n_sources; i++)
        rrd->sources[i].last = raw[i];
}

/*** reading ***/

int64_t rrd_newest_time(const struct rrd *rrd, const struct rrd_archive *a)
{
    int64_t seconds = rrd_row_seconds(a);

    return rrd->last_update / USEC_PER_SEC / seconds * seconds;
}

double rrd_value(const struct rrd *rrd, const struct rrd_archive *a, size_t age, size_t source)
{
    size_t at;

    if (age >= a->n_rows)
        return NAN;
    /* Before an archive is full its newest row is its last one. */
    at = (a->newest + a->n_rows - age) % a->n_rows;
    return a->values[at * rrd->n_sources + source];
}

const struct rrd_archive *rrd_best(const struct rrd *rrd, enum rrd_cf cf, int64_t seconds,
                                   int64_t start)
{
    const struct rrd_archive *best = NULL, *coarsest = NULL;

    for (size_t i = 0; i < rrd->n_archives; i++) {
        const struct rrd_archive *a = &rrd->archives[i];
        int64_t row = rrd_row_seconds(a);

        if (a->cf != cf)
            continue;
        if (!coarsest || a->steps > coarsest->steps)
            coarsest = a;
        if (row >= seconds && rrd_newest_time(rrd, a) - row * a->rows <= start &&
            (!best || a->steps < best->steps))
            best = a;
    }
    return best ? best : coarsest;
}
