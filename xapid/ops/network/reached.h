/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* reached.h -- who reaches this host over the network, for those who wait for it. */
#pragma once

#include "libxapi/base/base.h"

struct reached;

#define REACHED_ADDRESS_SIZE 64

struct reached *reached_new(void);
void reached_free(struct reached *reached);

/* True while somebody waits: what comes in otherwise need not be noted.  From any thread. */
bool reached_is_awaited(const struct reached *reached);
/* A call with a valid session has come in from 'peer' to 'address' of this host. */
void reached_note(struct reached *reached, const char *address, const char *peer);

/* Begins to wait; one at a time. */
void reached_await(struct reached *reached);
void reached_end(struct reached *reached);
/* The next call that was noted: where it came from, and to; false at the deadline (monotonic).
 * While nobody asks the newest is kept. */
bool reached_next(struct reached *reached, usec_t deadline, char address[REACHED_ADDRESS_SIZE],
                  char peer[REACHED_ADDRESS_SIZE]);
