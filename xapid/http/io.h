/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * io.h -- sockets as this folder uses them, also for other protocols that are spoken over them:
 * listening, TLS with the host's certificate, single reads and writes that do not block.
 */
#pragma once

#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include "libxapi/base/arena.h"

struct http_server;

/* A socket that listens on 'address' and 'port' (0 picks one, *bound_port), non-blocking. */
MUST_CHECK struct error *http_tcp_listen(struct arena *arena, const char *address, int port,
                                         int *fd, int *bound_port);
/* Small replies go out at once; a client whose host has died is noticed after two minutes. */
void http_tcp_settings(int fd);
/* An address as text, an IPv4 address in IPv6 as the former; "" for one of another kind. */
void http_address_text(const struct sockaddr_storage *address, char out[INET6_ADDRSTRLEN]);

/* The server's side of a TLS connection over 'fd', with the certificate that the server shows at
 * the moment; NULL when out of resources. */
SSL *http_tls_new(struct http_server *server, int fd);

/*
 * One read or write on a non-blocking socket, plain (ssl is NULL) or TLS.  The number of bytes
 * (> 0), or one of these; EOF is for reads only.
 */
enum http_io {
    HTTP_IO_EOF = 0,
    HTTP_IO_WANT_READ = -1,
    HTTP_IO_WANT_WRITE = -2,
    HTTP_IO_ERROR = -3
};
ssize_t http_io_read(int fd, SSL *ssl, void *out, size_t n);
ssize_t http_io_write(int fd, SSL *ssl, const void *p, size_t n);
/* Whether a read of the TLS connection would find something: 1, or as above. */
ssize_t http_io_peek(SSL *ssl, char *byte);
/* Goes on with the handshake: 1 when it is done, otherwise as above. */
int http_io_handshake(SSL *ssl);
/* Says "no more from us", in TLS and TCP; without waiting. */
void http_io_shutdown(int fd, SSL *ssl);
