/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* log_chaos.c -- a log engine over another that delays, reorders, and answers CONFLICT and UNKNOWN
 * at random. */
#include "tests/lib/log_chaos.h"

#include <stdlib.h>
#include <string.h>

#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"

enum fate {
    FATE_PASS,
    FATE_CONFLICT,
    FATE_UNKNOWN_LOST,   /* answered unknown, never proposed */
    FATE_UNKNOWN_BEFORE, /* answered unknown, then proposed */
    FATE_UNKNOWN_AFTER,  /* proposed, and answered unknown when it was applied */
};

/* What is proposed below is a copy, since a proposer that has its answer takes its bytes away. */
struct shadow {
    struct log_proposal below;
    struct log_chaos *chaos;
    struct log_proposal *above; /* NULL once answered */
    struct shadow *next;
    enum fate fate;
    usec_t due;
    uint8_t bytes[];
};

struct log_chaos {
    struct log base;
    struct log *below;
    struct log_fsm fsm;
    struct log_chaos_options opt;
    struct thread thread;
    struct mutex one; /* held in every function of the database and every 'done' */
    struct mutex lock;
    struct cond changed;
    struct shadow *waiting;
    uint64_t random;
    bool closing;
    uint8_t (*doubtful)[LOG_ID_SIZE]; /* the requests once answered unknown */
    size_t n_doubtful, doubtful_capacity;
};

static struct log_chaos *chaos_of(struct log *log)
{
    return container_of(log, struct log_chaos, base);
}

static uint64_t next_random(struct log_chaos *c)
{
    uint64_t z = c->random += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* The database behind the lock. */

static void locked_apply(void *ctx, struct arena *arena, uint64_t index, const void *data,
                         size_t size, struct log_result *result)
{
    struct log_chaos *c = ctx;

    MUTEX_GUARD(&c->one);
    c->fsm.apply(c->fsm.ctx, arena, index, data, size, result);
}

static void locked_publish(void *ctx, uint64_t index)
{
    struct log_chaos *c = ctx;

    MUTEX_GUARD(&c->one);
    c->fsm.publish(c->fsm.ctx, index);
}

static void *locked_hold(void *ctx, uint64_t *index)
{
    struct log_chaos *c = ctx;

    MUTEX_GUARD(&c->one);
    return c->fsm.hold(c->fsm.ctx, index);
}

static void pass_serialise(void *ctx, void *held, struct buf *out)
{
    struct log_chaos *c = ctx;

    c->fsm.serialise(c->fsm.ctx, held, out);
}

static void locked_unhold(void *ctx, void *held)
{
    struct log_chaos *c = ctx;

    MUTEX_GUARD(&c->one);
    c->fsm.unhold(c->fsm.ctx, held);
}

static bool locked_restore(void *ctx, struct arena *arena, uint64_t index, const void *data,
                           size_t size, const char **why)
{
    struct log_chaos *c = ctx;

    MUTEX_GUARD(&c->one);
    return c->fsm.restore(c->fsm.ctx, arena, index, data, size, why);
}

static void locked_failed(void *ctx, const char *why)
{
    struct log_chaos *c = ctx;

    MUTEX_GUARD(&c->one);
    if (c->fsm.failed)
        c->fsm.failed(c->fsm.ctx, why);
}

/* Proposals. */

static void answer(struct shadow *s, const struct log_result *result)
{
    struct log_proposal *above = s->above;

    MUTEX_GUARD(&s->chaos->one);
    s->above = NULL;
    above->done(above, result);
}

static void answer_with(struct shadow *s, enum log_outcome outcome)
{
    struct log_result result = {.outcome = outcome};

    answer(s, &result);
}

static void on_below(struct log_proposal *proposal, const struct log_result *result)
{
    struct shadow *s = container_of(proposal, struct shadow, below);

    if (s->fate == FATE_UNKNOWN_AFTER)
        answer_with(s, LOG_UNKNOWN);
    else if (s->above)
        answer(s, result);
    free(s);
}

static void carry_out(struct shadow *s)
{
    struct log_chaos *c = s->chaos;

    if (s->fate == FATE_CONFLICT || s->fate == FATE_UNKNOWN_LOST) {
        answer_with(s, s->fate == FATE_CONFLICT ? LOG_CONFLICT : LOG_UNKNOWN);
        free(s);
        return;
    }
    if (s->fate == FATE_UNKNOWN_BEFORE)
        answer_with(s, LOG_UNKNOWN);
    log_propose(c->below, &s->below);
}

/* The one that is due first; NULL when closing and nothing waits.  When closing nothing is delayed.
 */
static struct shadow *take_due(struct log_chaos *c)
{
    MUTEX_GUARD(&c->lock);
    for (;;) {
        struct shadow **first = &c->waiting, *s;

        for (struct shadow **at = &c->waiting; *at; at = &(*at)->next)
            if ((*at)->due < (*first)->due)
                first = at;
        s = *first;
        if (s && (c->closing || s->due <= clock_mono())) {
            *first = s->next;
            return s;
        }
        if (s)
            cond_wait_until(&c->changed, &c->lock, s->due);
        else if (c->closing)
            return NULL;
        else
            cond_wait(&c->changed, &c->lock);
    }
}

static void *run(void *arg)
{
    struct log_chaos *c = arg;
    struct shadow *s;

    while ((s = take_due(c)) != NULL)
        carry_out(s);
    return NULL;
}

static bool is_doubtful(const struct log_chaos *c, const void *id)
{
    for (size_t i = c->n_doubtful; i-- > 0;)
        if (memcmp(c->doubtful[i], id, LOG_ID_SIZE) == 0)
            return true;
    return false;
}

static void remember_doubtful(struct log_chaos *c, const void *id)
{
    if (c->n_doubtful == c->doubtful_capacity) {
        c->doubtful_capacity = MAX(2 * c->doubtful_capacity, (size_t)64);
        c->doubtful = xrealloc(c->doubtful, c->doubtful_capacity * sizeof *c->doubtful);
    }
    memcpy(c->doubtful[c->n_doubtful++], id, LOG_ID_SIZE);
}

/*
 * A request once answered unknown may be applied already, or be about to: its conflicts are only
 * those that the database itself finds.  One made up here would have the proposer make it again
 * under a new id, and so twice, which no engine may do.
 */
static enum fate choose_fate(struct log_chaos *c, const void *id)
{
    unsigned dice = next_random(c) % 1000;
    uint64_t kind = next_random(c) % 4;

    if (dice < c->opt.conflict)
        return is_doubtful(c, id) ? FATE_PASS : FATE_CONFLICT;
    if (dice >= c->opt.conflict + c->opt.unknown)
        return FATE_PASS;
    remember_doubtful(c, id);
    if (kind < 2)
        return FATE_UNKNOWN_LOST;
    return kind == 2 ? FATE_UNKNOWN_BEFORE : FATE_UNKNOWN_AFTER;
}

static void chaos_propose(struct log *base, struct log_proposal *proposal)
{
    struct log_chaos *c = chaos_of(base);
    struct shadow *s = xcalloc(1, sizeof *s + proposal->size);

    memcpy(s->bytes, proposal->data, proposal->size);
    s->below = (struct log_proposal){.data = s->bytes, .size = proposal->size, .done = on_below};
    s->chaos = c;
    s->above = proposal;
    MUTEX_GUARD(&c->lock);
    s->fate = choose_fate(c, s->bytes);
    s->due = clock_mono() + (usec_t)(c->opt.delay ? next_random(c) % (uint64_t)c->opt.delay : 0);
    s->next = c->waiting;
    c->waiting = s;
    cond_signal(&c->changed);
}

static void chaos_status(struct log *base, struct log_status *out)
{
    log_status(chaos_of(base)->below, out);
}

static void chaos_close(struct log *base)
{
    struct log_chaos *c = chaos_of(base);

    mutex_lock(&c->lock);
    c->closing = true;
    cond_signal(&c->changed);
    mutex_unlock(&c->lock);
    thread_join(&c->thread);
    log_close(c->below);
    cond_release(&c->changed);
    mutex_release(&c->lock);
    mutex_release(&c->one);
    free(c->doubtful);
    free(c);
}

static const struct log_engine chaos_engine = {
    .propose = chaos_propose,
    .status = chaos_status,
    .close = chaos_close,
};

struct error *log_chaos_open(struct arena *arena, const struct log_chaos_options *options,
                             log_chaos_below below, void *below_ctx, const struct log_fsm *fsm,
                             struct log **out)
{
    struct log_chaos *c = xcalloc(1, sizeof *c);
    struct log_fsm locked = {.ctx = c,
                             .apply = locked_apply,
                             .publish = locked_publish,
                             .hold = locked_hold,
                             .serialise = pass_serialise,
                             .unhold = locked_unhold,
                             .restore = locked_restore,
                             .applied_index = fsm->applied_index,
                             .failed = locked_failed};
    struct error *e;

    *out = NULL;
    c->base.engine = &chaos_engine;
    c->fsm = *fsm;
    c->opt = *options;
    c->random = options->seed;
    mutex_init(&c->one);
    mutex_init(&c->lock);
    cond_init(&c->changed);
    e = below(below_ctx, arena, &locked, &c->below);
    if (e) {
        cond_release(&c->changed);
        mutex_release(&c->lock);
        mutex_release(&c->one);
        free(c);
        return e;
    }
    thread_start(&c->thread, "log-chaos", run, c);
    *out = &c->base;
    return OK;
}
