/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lab.h -- a daemon that is only a database in memory: enough for operations without effects
 * outside.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "xapid/db/db.h"
#include "xapid/db/row.h"
#include "xapid/main/xapid.h"

struct lab {
    struct arena arena;
    char dir[64];
    struct xapid xapid; /* db, sessions, pool and host */
    struct call call;
};

/* cmocka's setup and teardown: *state becomes the lab, with a pool of one host. */
int lab_setup(void **state);
int lab_teardown(void **state);

/* Fails the test with the error's text. */
void lab_must(struct lab *lab, const struct error *e);
/* Fails the test unless it is that error. */
void lab_refused(const struct error *e, const char *code);
/* Creates a row. */
void lab_create(struct lab *lab, int class_id, const void *row);
size_t lab_count(struct lab *lab, int class_id);
