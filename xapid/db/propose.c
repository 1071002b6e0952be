/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* propose.c -- one write-set through the log, to its outcome. */
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/memory.h"
#include "xapid/db/state.h"

/* How often one who waits for an outcome looks whether the daemon ends. */
#define LOOK_PERIOD (200 * USEC_PER_MSEC)
/* Between two tries of a change whose outcome is not known. */
#define AGAIN (20 * USEC_PER_MSEC)

/* Of the proposer and of the log: the last one frees it. */
struct waiting {
    struct log_proposal proposal;
    struct mutex lock;
    struct cond cond;
    bool done, abandoned;
    struct arena *arena; /* for the error */
    struct log_result result;
    char data[]; /* the log reads it also after the proposer has gone */
};

static void waiting_free(struct waiting *w)
{
    cond_release(&w->cond);
    mutex_release(&w->lock);
    free(w);
}

static void proposal_done(struct log_proposal *proposal, const struct log_result *result)
{
    struct waiting *w = (struct waiting *)proposal;
    bool abandoned;

    mutex_lock(&w->lock);
    abandoned = w->abandoned;
    if (!abandoned) {
        w->result = *result;
        w->result.error = error_copy(w->arena, result->error);
        w->done = true;
        cond_signal(&w->cond);
    }
    mutex_unlock(&w->lock);
    if (abandoned)
        waiting_free(w);
}

/* Proposes bytes and waits for the outcome, or until the daemon ends and nobody leads. */
static struct log_result propose(struct db *db, struct arena *arena, const char *data, size_t size)
{
    struct waiting *w = xmalloc(sizeof *w + size);
    struct log_result result = {.outcome = LOG_UNKNOWN};
    bool done;

    memset(w, 0, sizeof *w);
    memcpy(w->data, data, size);
    w->proposal = (struct log_proposal){.data = w->data, .size = size, .done = proposal_done};
    w->arena = arena;
    mutex_init(&w->lock);
    cond_init(&w->cond);
    log_propose(db->log, &w->proposal);
    mutex_lock(&w->lock);
    while (!w->done && !w->abandoned)
        if (!cond_wait_until(&w->cond, &w->lock, clock_mono() + LOOK_PERIOD) && !w->done)
            w->abandoned = db_gave_up(db);
    done = w->done;
    if (done)
        result = w->result;
    mutex_unlock(&w->lock);
    /* Else the log frees it when it answers. */
    if (done)
        waiting_free(w);
    return result;
}

static uint64_t next_number(struct db *db)
{
    MUTEX_GUARD(&db->lock);
    return ++db->number;
}

/* Bytes that apply could not read would stop every member for good: a bug must be found before they
 * are in the log. */
static struct error *check_readable(struct arena *arena, const char *data, size_t size)
{
    AUTO(arena) scratch = {0};
    struct write_read_item item;
    struct write_op_item op;
    struct write_reader r;

    if (size > LOG_MAX_WRITE_SET)
        return error_internal(arena, "a change of %zu bytes is larger than the limit of %d", size,
                              LOG_MAX_WRITE_SET);
    if (write_open(&r, &scratch, data, size)) {
        while (write_next_read(&r, &item))
            ;
        while (write_next_op(&r, &op))
            ;
    }
    return r.in.why
               ? error_internal(arena, "a change that nobody could read was not made: %s", r.in.why)
               : OK;
}

struct log_result db_propose(struct db *db, struct arena *arena, struct write_set *set,
                             usec_t deadline)
{
    struct log_result result;
    struct error *bad;
    bool doubt = false;
    char *data;
    size_t size;

    set->origin = db->origin;
    set->number = next_number(db);
    set->time = clock_wall();
    data = write_finish(set, &size);
    bad = check_readable(arena, data, size);
    if (bad) {
        free(data);
        return (struct log_result){.outcome = LOG_FAILED, .error = bad};
    }
    for (;;) {
        result = propose(db, arena, data, size);
        doubt |= result.outcome == LOG_UNKNOWN;
        if (doubt && result.outcome == LOG_FAILED)
            result = (struct log_result){.outcome = LOG_UNKNOWN};
        if (result.outcome != LOG_UNKNOWN || clock_mono() > deadline || db_gave_up(db))
            break;
        clock_sleep(AGAIN);
    }
    free(data);
    return result;
}
