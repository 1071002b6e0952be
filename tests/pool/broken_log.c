/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * broken_log.c -- the log engine with a fault of design, for the program xapid-broken: a campaign
 * (campaign.py) must find it out.
 *
 * The program is xapid, linked with --wrap=log_raft_open.  XAPID_BROKEN says what is wrong, from
 * the moment on that the file XAPID_BROKEN_ONCE exists, so that a pool can be formed first: early
 * a write-set is acknowledged before it is durable anywhere deaf     a conflict is answered as if
 * the write-set had been applied forgets  now and then an applied write-set is answered as unknown,
 * and the repetition is not recognised: request ids are of no use
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "xapid/db/log.h"

struct error *__real_log_raft_open(struct arena *arena, const char *dir,
                                   const struct log_raft_options *options,
                                   const struct log_fsm *fsm, struct log **out);
struct error *__wrap_log_raft_open(struct arena *arena, const char *dir,
                                   const struct log_raft_options *options,
                                   const struct log_fsm *fsm, struct log **out);

enum broken { BROKEN_EARLY, BROKEN_DEAF, BROKEN_FORGETS };

#define FORGET_EVERY 20

struct broken_log {
    struct log base;
    struct log *below;
    enum broken how;
    const char *once;
    struct mutex lock;
    unsigned n; /* of proposals; under the lock */
};

/* What is proposed below: a copy, since the proposer may take its bytes away early. */
struct shadow {
    struct log_proposal below;
    struct broken_log *log;
    struct log_proposal *above; /* NULL once answered */
    bool broken, forget;
    char bytes[];
};

static struct broken_log *broken_of(struct log *log)
{
    return container_of(log, struct broken_log, base);
}

static void on_below(struct log_proposal *proposal, const struct log_result *result)
{
    struct shadow *s = container_of(proposal, struct shadow, below);
    struct log_result answer = *result;

    if (s->broken && s->log->how == BROKEN_DEAF && answer.outcome == LOG_CONFLICT)
        answer.outcome = LOG_APPLIED;
    if (s->forget && answer.outcome == LOG_APPLIED)
        answer.outcome = LOG_UNKNOWN;
    if (s->above)
        s->above->done(s->above, &answer);
    free(s);
}

static bool time_to_forget(struct broken_log *b)
{
    MUTEX_GUARD(&b->lock);
    return b->how == BROKEN_FORGETS && ++b->n % FORGET_EVERY == 0;
}

static void broken_propose(struct log *log, struct log_proposal *proposal)
{
    struct broken_log *b = broken_of(log);
    struct shadow *s = xcalloc(1, sizeof *s + proposal->size);
    struct log_result applied = {.outcome = LOG_APPLIED};

    memcpy(s->bytes, proposal->data, proposal->size);
    s->below = (struct log_proposal){.data = s->bytes, .size = proposal->size, .done = on_below};
    s->log = b;
    s->above = proposal;
    s->broken = b->once && access(b->once, F_OK) == 0;
    s->forget = s->broken && time_to_forget(b);
    if (s->forget)
        s->bytes[0] ^= 0x55; /* another origin: the repetition comes under the true one */
    if (s->broken && b->how == BROKEN_EARLY) {
        s->above = NULL;
        proposal->done(proposal, &applied);
    }
    log_propose(b->below, &s->below);
}

static void broken_status(struct log *log, struct log_status *out)
{
    log_status(broken_of(log)->below, out);
}

static void broken_close(struct log *log)
{
    struct broken_log *b = broken_of(log);

    log_close(b->below);
    mutex_release(&b->lock);
    free(b);
}

static void broken_change(struct log *log, struct log_change *change)
{
    struct log *below = broken_of(log)->below;

    below->engine->change(below, change);
}

static void broken_members(struct log *log, struct arena *arena, size_t *n, struct log_member **out)
{
    struct log *below = broken_of(log)->below;

    below->engine->members(below, arena, n, out);
}

static const struct log_engine broken_engine = {
    .propose = broken_propose,
    .status = broken_status,
    .close = broken_close,
    .change = broken_change,
    .members = broken_members,
};

struct error *__wrap_log_raft_open(struct arena *arena, const char *dir,
                                   const struct log_raft_options *options,
                                   const struct log_fsm *fsm, struct log **out)
{
    const char *how = getenv("XAPID_BROKEN");
    struct broken_log *b;
    struct log *below;

    TRY(__real_log_raft_open(arena, dir, options, fsm, &below));
    b = xcalloc(1, sizeof *b);
    b->base.engine = &broken_engine;
    b->below = below;
    b->how = !how || strcmp(how, "early") == 0 ? BROKEN_EARLY
             : strcmp(how, "deaf") == 0        ? BROKEN_DEAF
                                               : BROKEN_FORGETS;
    b->once = getenv("XAPID_BROKEN_ONCE");
    mutex_init(&b->lock);
    *out = &b->base;
    return OK;
}
