/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * link.h -- one connection to a server: TLS, TCP or a Unix socket, with deadlines.  Private to this
 * folder.
 *
 * The socket never blocks; every wait is a poll bounded by the link's deadline.  A write to a
 * connection that is gone is an error and never a SIGPIPE, which a library may not hand to its
 * program.
 */
#pragma once

#include <openssl/ssl.h>

#include "libxapi/base/base.h"

/* The input buffer; a reply's head must fit into it. */
#define LINK_BUFFER 16384

/* Where to connect and whom to trust: made once per session, shared by its links. */
struct link_target {
    char *host; /* name or address; with unix_path: only what errors call the server */
    int port;
    char *unix_path;      /* a Unix socket instead of host and port */
    SSL_CTX *tls;         /* NULL: without TLS */
    BIO_METHOD *bio;      /* how TLS reaches the socket */
    SSL_SESSION *resume;  /* of the last connection; shortens the next handshake */
    char *fingerprint;    /* 64 lower-case hex digits of SHA-256, or NULL */
    bool check_authority; /* the certificate must be signed for 'host' by a known authority */
};

/* Zeroed is closed, except that fd must be -1: use LINK_CLOSED. */
struct link {
    int fd;
    SSL *ssl;
    struct link_target *target;
    usec_t deadline; /* monotonic; 0: none.  Set by the user before each exchange. */
    uint64_t sent;   /* bytes given to the kernel since it was opened: none lost means none sent */
    bool hung_up;    /* the socket ended */
    bool timed_out;  /* the last failure was the deadline: what arrived is kept, one may go on */
    size_t start, end;
    char in[LINK_BUFFER]; /* arrived and not taken yet: start to end */
    char why[256];        /* the last failure, as a part of a sentence */
};

/* Prepares TLS.  False, with a text in 'why', for a fingerprint that is none or authorities that
 * cannot be read. */
bool link_target_init(struct link_target *target, const char *host, int port, const char *unix_path,
                      bool plain, const char *fingerprint, const char *ca_file, char *why,
                      size_t why_size);
void link_target_release(struct link_target *target);

/* A closed link to the target. */
void link_init(struct link *link, struct link_target *target);
/* Connects, and shakes hands and checks the certificate where there is TLS.  False with 'why' set;
 * the link is closed then.  The link must be closed. */
bool link_open(struct link *link);
/* Closes it, telling a TLS peer if that needs no wait.  What was prepared stays: it may be opened
 * again. */
void link_close(struct link *link);
bool link_is_open(const struct link *link);
/* True when the connection lies as it was left: nothing has arrived and it was not closed. */
bool link_is_quiet(struct link *link);

/* Writes all of it or fails with 'why' set. */
bool link_write(struct link *link, const void *p, size_t n);
/* At least one byte into 'out'; 0 at an orderly end, -1 with 'why' set.  Takes buffered bytes
 * first. */
ssize_t link_read(struct link *link, void *out, size_t n);
/* The same into the buffer, of which some must be free. */
ssize_t link_fill(struct link *link);
/* Tells the peer that nothing more will be written; reading goes on. */
bool link_end_writing(struct link *link);
