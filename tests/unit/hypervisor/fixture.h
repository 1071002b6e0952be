/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fixture.h -- a simulator of its own for each test, and a connection to it.
 *
 * The program is $XAPID_SIM, or xapid-sim in the test program's own directory.  At the end the
 * simulator must stop cleanly and must not have complained (sanitizers) in its log.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "libxapi/base/seam.h"
#include "xapid/hypervisor/hv.h"

#define MIB ((int64_t)1 << 20)
#define GIB ((int64_t)1 << 30)
#define PATIENCE (20 * USEC_PER_SEC)

struct fixture {
    struct arena arena, other; /* of the test's thread, and of a second one */
    char dir[64], socket_path[96], program[256];
    struct hv *hv;
    struct mutex lock;
    struct cond changed;
    uint64_t n_changes, n_resyncs; /* callbacks of hv_watch: all, and those with "" */
    uint64_t epoch;
};

/* cmocka's setup and teardown; *state becomes the fixture.  hv is connected on first use and
 * watched. */
int fixture_setup(void **state);
int fixture_teardown(void **state);
/* The same without hv: for tests that fork first. */
int fixture_setup_unconnected(void **state);
void fixture_connect(struct fixture *f);
/* Starts the simulator again after fixture_kill. */
void fixture_start(struct fixture *f);
void fixture_kill(struct fixture *f);

#define assert_ok(f, expr)                                                                         \
    do {                                                                                           \
        struct error *ok_e_ = (expr);                                                              \
        if (ok_e_)                                                                                 \
            fail_msg("%s: %s", #expr, error_line(&(f)->arena, ok_e_));                             \
    } while (0)
/* An INTERNAL_ERROR whose text contains 'part', or another error whose code is 'part'. */
#define assert_fails(f, part, expr) fixture_assert_fails(f, expr, part, #expr)
void fixture_assert_fails(struct fixture *f, const struct error *e, const char *part,
                          const char *what);

/* A request without an id; with a new one. */
const struct hv_request *rq_read(struct fixture *f);
const struct hv_request *rq_new(struct fixture *f);
const struct hv_request *rq_for(struct fixture *f, usec_t timeout);

/* control(f, "crash", uuid, NULL); returns the answer's "data" or "". */
const char *control(struct fixture *f, const char *key, const char *value, ...)
    __attribute__((sentinel));

/* A small HVM guest without devices, with a uuid of its own. */
struct hv_domain_config guest_config(struct arena *arena);
/* Builds it; its uuid. */
const char *build_guest(struct fixture *f, const struct hv_domain_config *config);
/* Builds, unpauses, and waits until the guest agent speaks. */
const char *start_guest(struct fixture *f);
const struct hv_domain *get_domain(struct fixture *f, const char *uuid);
const char *guest_key(const struct hv_domain *d, const char *key);
/* Waits, woken by hv_watch, until the domain satisfies the condition; NULL (no domain) is passed on
 * too. */
const struct hv_domain *wait_domain(struct fixture *f, const char *uuid,
                                    bool (*holds)(const struct hv_domain *d));
bool is_booted(const struct hv_domain *d);
bool has_ended(const struct hv_domain *d);

/* A file of that name in the fixture's directory, with a size; its path. */
const char *make_file(struct fixture *f, const char *name, int64_t size);
