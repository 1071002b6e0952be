/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fault.h -- wraps any storage driver and makes its n-th call go wrong.  For tests: an operation is
 * tried with each of its driver calls failing in turn.
 */
#pragma once

#include "libxapi/base/seam.h"
#include "storage-repos/sr.h"

enum sr_fault_kind {
    SR_FAULT_FAIL, /* nothing is done, an error comes back */
    SR_FAULT_LOST, /* the work is done, an error comes back */
    SR_FAULT_LIE,  /* nothing is done, success comes back; calls that fill something in fail instead
                    */
    SR_FAULT_SLOW, /* the work is done after 'delay' */
};

/* Owned by the test; 'driver' is what it hands on as the driver.  Only sr_fault_... functions touch
 * the rest. */
struct sr_fault {
    struct sr_driver driver;
    const struct sr_driver *inner;
    struct mutex mutex; /* guards what follows */
    unsigned calls;     /* since the plan was made, of the calls it is about */
    unsigned nth;       /* which of them goes wrong, from 1; 0: none */
    bool from_then_on;
    enum sr_fault_kind kind;
    const char *slot; /* "vdi_create"; NULL: all count */
    usec_t delay;
};

/* Makes 'f' a driver like 'inner', with the same type, that passes everything on.  sr_fault_release
 * ends it. */
void sr_fault_init(struct sr_fault *f, const struct sr_driver *inner);
void sr_fault_release(struct sr_fault *f);
/*
 * From now on the nth call (of the named slot, or of all if NULL) goes wrong; with 'from_then_on'
 * all later ones too.  nth = 0: none does.  'delay' is for SR_FAULT_SLOW.  detach and vdi_detach
 * never go wrong and are not counted.
 */
void sr_fault_plan(struct sr_fault *f, enum sr_fault_kind kind, const char *slot, unsigned nth,
                   bool from_then_on, usec_t delay);
/* How many calls the plan has seen. */
unsigned sr_fault_calls(struct sr_fault *f);
