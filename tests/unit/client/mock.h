/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mock.h -- a server in a thread of the test: HTTP over TCP on the loopback, a Unix socket, or TLS
 * with a certificate made on the spot.  It does what a script says, one step for each request in
 * the order they come, and remembers what it was asked.
 */
#pragma once

#include <openssl/ssl.h>

#include "libxapi/base/seam.h"

enum mock_act {
    MOCK_ANSWER,       /* read the request, send 'reply' as an XML body, keep the connection */
    MOCK_ANSWER_CLOSE, /* the same, then close without having said so */
    MOCK_DROP,         /* read the request, close without an answer */
    MOCK_SILENT,       /* read the request, answer nothing until the mock ends */
    MOCK_RAW, /* read the head, send 'reply' as it is, read the body, send 'after', close */
};

struct mock_step {
    enum mock_act act;
    const char *reply;
    const char *after;
};

#define MOCK_REQUESTS 32

struct mock {
    int listener, port;
    const char *unix_path;
    SSL_CTX *tls;
    char fingerprint[65];
    char ca_file[64]; /* the certificate, in a file of its own */
    const struct mock_step *steps;
    size_t n_steps;
    struct thread acceptor, workers[MOCK_REQUESTS];
    struct mutex lock;
    struct cond changed;
    size_t next, n_requests, n_closed, n_workers;
    char *requests[MOCK_REQUESTS]; /* heads and bodies */
    int fds[MOCK_REQUESTS];
    bool ending;
};

enum mock_via { MOCK_TCP, MOCK_TLS, MOCK_UNIX };

void mock_start(struct mock *m, enum mock_via via, const struct mock_step *steps, size_t n);
/* Ends all threads and forgets the requests. */
void mock_stop(struct mock *m);
/* Waits until the server has closed that many connections. */
void mock_wait_closed(struct mock *m, size_t n);
/* Waits for the n-th request (from 0) and returns it. */
const char *mock_request(struct mock *m, size_t n);
size_t mock_count(struct mock *m);
