/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mock.h -- a server for the tests of xe: it answers from a list of canned replies, writes down
 * what it was asked, and shows what xe printed.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "xe-cli/xe.h"

/* The first reply whose method is equal and whose 'with' is part of the parameters. */
struct mock_reply {
    const char *method, *with; /* with NULL: any parameters */
    const char *value;         /* "<value>...</value>", or NULL for an error */
    const char *code, *param;  /* of the error */
};

struct mock {
    struct xe_server server;
    struct xe xe;
    struct xe_options options;
    const struct mock_reply *replies; /* end with a NULL method */
    struct arena arena;
    struct buf calls; /* "VM.start <param>...</param>\n" */
    char *out, *err;
    size_t out_size, err_size;
    const char *input;
};

/* Runs a command line ("vm-start", "vm=web", ..., NULL) and returns its exit code. */
int mock_run(struct mock *m, const struct mock_reply *replies, const char *const *argv);
void mock_release(struct mock *m);
#define MOCK_RUN(m, replies, ...) mock_run((m), (replies), (const char *const[]){__VA_ARGS__, NULL})

/* How often a method was called. */
int mock_count(const struct mock *m, const char *method);

/* A small pool: the VMs web (running) and db (halted), a template, a snapshot, disks and networks.
 */
extern const struct mock_reply mock_pool[];
#define WEB "11111111-1111-1111-1111-111111111111"
#define DB "22222222-2222-2222-2222-222222222222"

/* The tests of each file, run by main.c; the number of failures. */
int xe_list_tests(void);
int xe_params_tests(void);
int xe_commands_tests(void);
