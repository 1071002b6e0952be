/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lab.h -- what the tests of transfers share: a call, a sink in memory, a disk in memory. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage-repos/sr.h"
#include "xapid/db/db.h"
#include "xapid/transfer/flow.h"

struct lab {
    struct arena arena;
    struct call call;
    struct buf out; /* what was written to 'sink' */
    struct sink sink;
};

int lab_setup(void **state);
int lab_teardown(void **state);
/* A source of what was written so far. */
void lab_read_back(struct lab *lab, struct memory_source *source);
/* A disk of zeroes. */
struct vdi_io *lab_disk(struct lab *lab, int64_t size);
/* The same bytes for the same seed. */
void lab_fill(void *p, size_t n, uint32_t seed);
