/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * again.h -- a driver each of whose calls goes wrong once and is then made again, as a caller does
 * that was restarted.  sr.h promises that the caller then finds what it would have found without
 * the failure.
 */
#pragma once

#include "storage-repos/filter/fault.h"

/* Owned by the test; 'driver' is what it hands on. */
struct sr_again {
    struct sr_driver driver;
    struct sr_fault fault;
    enum sr_fault_kind kind;
};

/* SR_FAULT_SLOW: each call is late, and made once. */
void sr_again_init(struct sr_again *a, const struct sr_driver *inner, enum sr_fault_kind kind);
void sr_again_release(struct sr_again *a);
