/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* collect.h -- the events between two versions of the database: a difference of states, not a log.
 */
#pragma once

#include "xapid/event/subscription.h"
#include "xapid/rpc/rpc.h"

struct event_item {
    int class_id;
    ref_t ref;
    enum event_operation operation;
    const struct row *row; /* NULL for del */
    uint64_t order;
};

struct event_list {
    size_t n;
    struct event_item *v; /* adds, then mods, then dels */
};

/* True if anything the listener wants has happened after 'revision'. */
bool events_any(const struct db_root *root, const struct subscriptions *s, uint64_t revision);
/* What happened after 'revision'; 'from_start': every live object as an add. */
void events_collect(struct arena *arena, const struct db_root *root, const struct subscriptions *s,
                    uint64_t revision, bool from_start, struct event_list *out);
