/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * file.h -- what a joining host remembers on its disk: <state>/joining, until it is a member or is
 * known to be none; and how the database before is kept aside.
 */
#pragma once

#include "libxapi/base/arena.h"
#include "libxapi/value/type.h"

/* A member of the pool whom the host can ask for its fate. */
struct join_host {
    const char *address;
    int port;
    const char *fingerprint; /* of its certificate for clients; "" where it is not known */
};

struct join_file {
    bool in;           /* it is a member; else nobody has said so yet */
    const char *token; /* what it asks by */
    uint64_t id;       /* its number among the members of the log */
    size_t n_hosts;
    const struct join_host *hosts;
    struct strings members; /* addresses of pool/peer */
};

/* *found is false where there is none. */
MUST_CHECK struct error *join_file_read(struct arena *arena, const char *state_dir,
                                        struct join_file *out, bool *found);
/* Durable when it returns. */
MUST_CHECK struct error *join_file_write(struct arena *arena, const char *state_dir,
                                         const struct join_file *file);
MUST_CHECK struct error *join_file_remove(struct arena *arena, const char *state_dir);

/* The same for a host that has left its pool: <state>/left, with the number it had. */
MUST_CHECK struct error *left_file_write(struct arena *arena, const char *state_dir, uint64_t id);

/*
 * At start, before the database is opened: the database of a host that has become a member, or has
 * left its pool, is moved aside, <state>/db.before-join-TOKEN or <state>/db.of-pool-ID, and stays
 * there.  *joined is filled where the host is to begin as a member: its 'in' is false where not.
 */
MUST_CHECK struct error *join_switch(struct arena *arena, const char *state_dir,
                                     struct join_file *joined);
