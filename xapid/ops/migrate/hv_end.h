/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hv_end.h -- the stream between this daemon and its hypervisor (hv_migrate_out, hv_migrate_in): a
 * socket, and a thread that has the call, which ends when the stream does.
 */
#pragma once

#include "libxapi/base/seam.h"
#include "xapid/hypervisor/hv.h"
#include "xapid/ops/op.h"

/* Zero holds nothing. */
struct hv_end {
    struct op *op;
    const char *path;
    int listener, fd,
        over;           /* each one more than the descriptor; 'over': readable when the call is */
    struct arena arena; /* of the call's thread */
    struct hv_request rq;
    const char *uuid;                      /* out */
    bool live;                             /* out */
    const struct hv_domain_config *config; /* in */
    struct thread thread;
    bool started;
    struct error *e;
    int domid;
};

/* Calls hv_migrate_out, and waits until the hypervisor is there. */
MUST_CHECK struct error *hv_end_out(struct op *op, const char *uuid, bool live, struct hv_end *out);
/* The same with hv_migrate_in; 'config' must stay until the end is released. */
MUST_CHECK struct error *hv_end_in(struct op *op, const struct hv_domain_config *config,
                                   struct hv_end *out);
/* Bytes of a domain on its way out.  *n is 0 and *ended false where nothing came for a second. */
MUST_CHECK struct error *hv_end_read(struct hv_end *end, void *data, size_t room, size_t *n,
                                     bool *ended);
/* All of 'data'; waits for the hypervisor as long as CHANNEL_SILENCE. */
MUST_CHECK struct error *hv_end_write(struct hv_end *end, const void *data, size_t size);
/* Nothing more comes. */
void hv_end_shut(struct hv_end *end);
/* True once the call is over; waits for that for a second. */
bool hv_end_is_over(struct hv_end *end);
/* Waits for the call's end, and says how it went; *domid of one that came in. */
MUST_CHECK struct error *hv_end_finish(struct hv_end *end, int *domid);
/* Guard: breaks the stream off, which ends the call, and waits for that. */
void hv_end_release(struct hv_end *end);
