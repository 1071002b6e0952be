/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * head.h -- the head of a request: bytes in, a parsed head or a reason to refuse out.
 *
 * No sockets, no time: this part is fuzzed on its own.  It is strict on purpose.  What one server
 * on the way reads differently from the next is how requests are smuggled, so that whatever has two
 * readings is refused.
 */
#pragma once

#include "xapid/http/http.h"

#define HTTP_HEAD_MAX_HEADERS 200

/* Where a search for the end of a head has got to.  Zeroed before the first byte. */
struct http_scan {
    size_t pos;   /* bytes looked at */
    size_t line;  /* bytes in this line so far */
    size_t lines; /* lines that were complete and not empty */
    bool cr;      /* the last byte was CR */
    bool blank;   /* an empty line came before the request, as some clients send after a body */
};

/*
 * Looks for the end of the head in data[0..size), going on where the last call stopped.  > 0:
 * length of the head with its empty line.  0: more bytes are needed.  < 0: refuse with this status,
 * negated: 431 beyond 'limit' bytes, 400 for NUL and other control characters, a bare CR or LF, or
 * a folded header; as soon as the byte in question is seen.
 */
ssize_t http_head_scan(struct http_scan *scan, const char *data, size_t size, size_t limit);

struct http_head {
    enum http_method method;
    int minor_version; /* 0 or 1 */
    bool keep_alive;
    bool expect_continue;
    bool chunked; /* a PUT whose body has no length: to be refused */
    const char *target, *path;
    size_t n_headers, n_query;
    const struct http_pair *headers; /* names in lower case */
    const struct http_pair *query;
    int64_t content_length; /* -1 when absent */
};

/* Parses a whole head, as found by http_head_scan, into the arena.  0, or the status to refuse
 * with. */
int http_head_parse(struct arena *arena, const char *data, size_t size, struct http_head *out);

/* Decodes %xx, and '+' as a space where asked.  NULL for a text that has a NUL in it; a lone '%'
 * stays. */
char *http_decode(struct arena *arena, const char *text, size_t size, bool plus);

/*
 * The address that the first "for=" of a Forwarded header (RFC 7239) names, without port and
 * brackets; "unknown" where that is no address.
 */
const char *http_forwarded_for(struct arena *arena, const char *value);
