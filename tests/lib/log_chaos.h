/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * log_chaos.h -- any log engine, made as unkind as a log may be.
 *
 * Proposals wait for a random time each, so those of concurrent proposers change places.  Some are
 * answered LOG_CONFLICT and have no effect, as if something they relied on had changed.  Some are
 * answered LOG_UNKNOWN: half of these have no effect, the other half take effect, before or after
 * the answer.  A request once answered LOG_UNKNOWN is never answered a made-up LOG_CONFLICT.
 * Everything else is the engine's.  One seed makes one sequence of decisions in the
 * order of proposing.
 *
 * 'done' comes from this engine's thread or from the one below, but never at the same time as
 * another 'done' or a function of the database's log_fsm: a lock stands for the one thread.
 */
#pragma once

#include "xapid/db/log.h"

/* Rates are in thousandths. */
struct log_chaos_options {
    uint64_t seed;
    unsigned conflict, unknown;
    usec_t delay; /* at most */
};

/* Opens the engine beneath with the given log_fsm. */
typedef struct error *(*log_chaos_below)(void *ctx, struct arena *arena, const struct log_fsm *fsm,
                                         struct log **out);

/* Fails only as the engine beneath does. */
MUST_CHECK struct error *log_chaos_open(struct arena *arena,
                                        const struct log_chaos_options *options,
                                        log_chaos_below below, void *below_ctx,
                                        const struct log_fsm *fsm, struct log **out);
