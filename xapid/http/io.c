/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* io.c -- single reads and writes on a non-blocking socket, with TLS or without. */
#include <errno.h>
#include <openssl/err.h>
#include <sys/socket.h>

#include "xapid/http/internal.h"

static ssize_t plain_result(ssize_t n, enum http_io want)
{
    if (n >= 0)
        return n;
    return errno == EAGAIN || errno == EWOULDBLOCK ? (ssize_t)want : (ssize_t)HTTP_IO_ERROR;
}

static int tls_result(SSL *ssl, int rc)
{
    switch (SSL_get_error(ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        return HTTP_IO_WANT_READ;
    case SSL_ERROR_WANT_WRITE:
        return HTTP_IO_WANT_WRITE;
    case SSL_ERROR_ZERO_RETURN:
        return HTTP_IO_EOF;
    default:
        return HTTP_IO_ERROR;
    }
}

ssize_t http_io_read(int fd, SSL *ssl, void *out, size_t n)
{
    size_t got = 0;
    ssize_t rc;

    if (ssl) {
        ERR_clear_error();
        return SSL_read_ex(ssl, out, n, &got) ? (ssize_t)got : tls_result(ssl, 0);
    }
    do
        rc = recv(fd, out, n, MSG_DONTWAIT);
    while (rc < 0 && errno == EINTR);
    return plain_result(rc, HTTP_IO_WANT_READ);
}

ssize_t http_io_write(int fd, SSL *ssl, const void *p, size_t n)
{
    size_t sent = 0;
    ssize_t rc;

    if (ssl) {
        int result;

        ERR_clear_error();
        if (SSL_write_ex(ssl, p, n, &sent))
            return (ssize_t)sent;
        result = tls_result(ssl, 0);
        return result == HTTP_IO_EOF ? HTTP_IO_ERROR : result;
    }
    do
        rc = send(fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (rc < 0 && errno == EINTR);
    return plain_result(rc, HTTP_IO_WANT_WRITE);
}

int http_io_handshake(SSL *ssl)
{
    int rc, result;

    ERR_clear_error();
    rc = SSL_accept(ssl);
    if (rc == 1)
        return 1;
    result = tls_result(ssl, rc);
    return result == HTTP_IO_EOF ? HTTP_IO_ERROR : result;
}

void http_io_shutdown(int fd, SSL *ssl)
{
    if (ssl && SSL_is_init_finished(ssl)) {
        ERR_clear_error();
        SSL_shutdown(ssl);
    }
    shutdown(fd, SHUT_WR);
}

ssize_t http_io_peek(SSL *ssl, char *byte)
{
    size_t got = 0;

    ERR_clear_error();
    return SSL_peek_ex(ssl, byte, 1, &got) ? (ssize_t)got : tls_result(ssl, 0);
}
