/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/nbd/wire.h"

#include <errno.h>
#include <poll.h>

#include "libxapi/base/seam.h"

/* A client that takes nothing for that long has gone. */
#define STALL (60 * USEC_PER_SEC)

/* Waits for what the socket wants; false where it has failed or the time is up. */
static bool await(const struct nbd_socket *s, ssize_t wanted, usec_t deadline)
{
    struct pollfd p = {.fd = s->fd, .events = wanted == HTTP_IO_WANT_READ ? POLLIN : POLLOUT};
    int n;

    if (wanted != HTTP_IO_WANT_READ && wanted != HTTP_IO_WANT_WRITE)
        return false;
    do {
        usec_t left = deadline ? deadline - clock_mono() : 0;

        if (deadline && left <= 0)
            return false;
        n = poll(&p, 1, deadline ? (int)MIN(left / USEC_PER_MSEC + 1, (usec_t)60000) : -1);
    } while (n == 0 || (n < 0 && errno == EINTR));
    return n > 0;
}

static bool read_all(struct nbd_wire *wire, void *out, size_t n)
{
    struct nbd_socket *s = (struct nbd_socket *)wire;

    for (char *to = out; n;) {
        ssize_t got = http_io_read(s->fd, s->ssl, to, n);

        if (got > 0) {
            to += got;
            n -= (size_t)got;
        } else if (!await(s, got, s->deadline)) {
            return false;
        }
    }
    return true;
}

static bool write_all(struct nbd_wire *wire, const void *p, size_t n)
{
    struct nbd_socket *s = (struct nbd_socket *)wire;

    for (const char *from = p; n;) {
        ssize_t sent = http_io_write(s->fd, s->ssl, from, n);

        if (sent > 0) {
            from += sent;
            n -= (size_t)sent;
        } else if (!await(s, sent, clock_mono() + STALL)) {
            return false;
        }
    }
    return true;
}

static bool secure(struct nbd_wire *wire)
{
    struct nbd_socket *s = (struct nbd_socket *)wire;
    int done = 0;

    s->ssl = http_tls_new(s->certificate, s->fd);
    while (s->ssl && done != 1) {
        done = http_io_handshake(s->ssl);
        if (done != 1 && !await(s, done, s->deadline))
            return false;
    }
    s->wire.secure = NULL;
    return s->ssl != NULL;
}

void nbd_socket_init(struct nbd_socket *s, int fd, struct http_server *certificate)
{
    *s = (struct nbd_socket){
        .wire = {read_all, write_all, secure}, .fd = fd, .certificate = certificate};
}

void nbd_socket_release(struct nbd_socket *s)
{
    http_io_shutdown(s->fd, s->ssl);
    SSL_free(s->ssl);
    s->ssl = NULL;
}
