/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* http.h -- the little HTTP a client needs: heads of answers, and bodies of a known length.
 * Private to this folder. */
#pragma once

#include "libxapi/base/buf.h"
#include "libxapi/client/link.h"

/* The head of an answer. */
struct http_head {
    int status;
    int64_t length; /* of the body; -1: it ends with the connection */
    bool close;     /* the connection ends after this answer */
    size_t n;
    char text[LINK_BUFFER + 1]; /* header lines as they came, each ended by a NUL instead of CR */
};

/* Reads one head; those of 1xx too.  False with link->why set. */
bool http_read_head(struct link *link, struct http_head *head);
/* A header's value in head->text, or NULL. */
const char *http_head_find(const struct http_head *head, const char *name);
/* Reads the body that follows 'head', at most 'limit' bytes, into 'out'.  False with link->why
 * set. */
bool http_read_body(struct link *link, const struct http_head *head, size_t limit, struct buf *out);
