/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xapid_chaos.c -- the daemon on an unkind log: what xapid/main/main.c calls xapid_start in the
 * program xapid-chaos.
 *
 * Every answer of the log comes late and out of turn, some write-sets are refused as conflicts,
 * some outcomes stay unknown for a while.  Beneath is the real log.  XAPID_CHAOS_SEED makes a run
 * again.
 */
#include <stdlib.h>

#include "tests/lib/log_chaos.h"
#include "tests/lib/xapid_chaos.h"
#include "xapid/db/db.h"

static struct error *open_raft(void *ctx, struct arena *arena, const struct log_fsm *fsm,
                               struct log **out)
{
    return log_raft_open(arena, ctx, NULL, fsm, out);
}

static struct error *open_chaos(void *ctx, struct arena *arena, const char *dir,
                                const struct log_fsm *fsm, struct log **out)
{
    const char *seed = getenv("XAPID_CHAOS_SEED");
    const struct log_chaos_options options = {.seed = seed ? strtoull(seed, NULL, 10) : 1,
                                              .conflict = 50,
                                              .unknown = 20,
                                              .delay = 3 * USEC_PER_MSEC};

    (void)ctx;
    return log_chaos_open(arena, &options, open_raft, (void *)dir, fsm, out);
}

struct error *xapid_start_on_chaos(struct arena *arena, const struct xapid_options *options,
                                   struct xapid **out)
{
    static const struct db_options on_chaos = {.open_log = open_chaos};
    struct xapid_options changed = *options;

    changed.db = &on_chaos;
    return xapid_start(arena, &changed, out);
}
