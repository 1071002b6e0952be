/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pair.h -- two daemons' links in one process, over the loopback, for tests of streams. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "libxapi/base/seam.h"
#include "pool/peer/stream.h"

#define SOON (20 * USEC_PER_SEC)

struct node {
    char dir[64];
    struct peers *peers;
    char *address;
    uint64_t id;
};

struct world {
    struct arena arena;
    struct node a, b;
    struct mutex lock;
    struct cond changed;
    struct peer_stream *taken; /* by b */
};

/* cmocka's; *state becomes the world.  What was taken is closed at the end. */
int world_setup(void **state);
int world_teardown(void **state);
void know_each_other(struct world *w);
/* From a to b; waits until both have heard that they know each other. */
struct peer_stream *open_stream(struct world *w);
struct peer_stream *other_end(struct world *w);
