/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* trace.h -- spans of calls, for those who look for where time goes. */
#pragma once

#include "xapid/db/db.h"

/* How many observers there can be: each call is written down for each of them. */
#define OBSERVERS_MAX 16
/* The one endpoint there is: files of this host. */
#define TRACE_ENDPOINT "bugtool"
/* The one component that makes spans. */
#define TRACE_COMPONENT "xapi"

/* Of what a call is a part, in lower case hexadecimal; "" where nobody said. */
struct trace_parent {
    char trace[33], span[17];
};
/* From the header traceparent (W3C); NULL, and whatever else cannot be read, gives none. */
void trace_parent_read(const char *header, struct trace_parent *out);

/* A call that has ended. */
struct span {
    const char *name; /* "VM.start" */
    const char *user; /* may be NULL */
    struct trace_parent parent;
    usec_t took;
    const struct error *error; /* OK where it went well */
};

struct traces;

struct traces *traces_new(struct xapid *xapid);
void traces_free(struct traces *traces);
/* Notes a span that ends now, where somebody observes this host; waits for nothing. */
void trace_note(struct call *call, const struct span *span);
/* Appends what was written lately, at most 'limit' bytes. */
void traces_tell(const struct call *call, struct buf *out, size_t limit);
