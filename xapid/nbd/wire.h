/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* wire.h -- within xapid/nbd: a TCP connection, in the clear at first and then with TLS. */
#pragma once

#include "xapid/http/io.h"
#include "xapid/nbd/protocol.h"

struct nbd_socket {
    struct nbd_wire wire; /* first */
    int fd;               /* non-blocking; the caller's to close */
    SSL *ssl;             /* NULL: in the clear */
    struct http_server *certificate;
    usec_t deadline; /* monotonic, for all that is read; 0: none */
};

void nbd_socket_init(struct nbd_socket *s, int fd, struct http_server *certificate);
/* Ends TLS; the descriptor stays open. */
void nbd_socket_release(struct nbd_socket *s);
