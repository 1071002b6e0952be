/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * link.c -- opens, reads, writes and closes connections.
 */
#include "libxapi/client/link.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "libxapi/base/seam.h"
#include "libxapi/client/tls.h"

/* One address gets at most this long: without it a silent one would take the kernel's two minutes
 * before the next is tried. */
#define CONNECT_TIMEOUT (30 * USEC_PER_SEC)
/* A peer that died is noticed even by a call without a deadline. */
#define KEEPALIVE_IDLE_SEC 60
#define KEEPALIVE_INTERVAL_SEC 15
#define KEEPALIVE_COUNT 4
#define UNACKNOWLEDGED_MSEC 60000

static bool failed(struct link *link, const char *fmt, ...) PRINTF_LIKE(2, 3);
static bool failed(struct link *link, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(link->why, sizeof(link->why), fmt, ap);
    va_end(ap);
    return false;
}

static bool failed_errno(struct link *link, const char *what)
{
    char text[128];

    return failed(link, "%s: %s", what, strerror_r(errno, text, sizeof(text)));
}

void link_init(struct link *link, struct link_target *target)
{
    link->fd = -1;
    link->ssl = NULL;
    link->target = target;
    link->deadline = 0;
    link->sent = 0;
    link->hung_up = link->timed_out = false;
    link->start = link->end = 0;
    link->why[0] = '\0';
}

bool link_is_open(const struct link *link)
{
    return link->fd >= 0;
}

/* Milliseconds for poll, rounded up so that it does not return just before the deadline. */
static int poll_time(usec_t deadline)
{
    usec_t left;

    if (!deadline)
        return -1;
    left = deadline - clock_mono();
    if (left <= 0)
        return 0;
    left = (left + USEC_PER_MSEC - 1) / USEC_PER_MSEC;
    return left > 60000 ? 60000 : (int)left;
}

static bool wait_until(struct link *link, short events, usec_t deadline)
{
    for (;;) {
        struct pollfd p = {.fd = link->fd, .events = events};
        int n = poll(&p, 1, poll_time(deadline));

        if (n > 0)
            return true;
        if (n < 0 && errno != EINTR)
            return failed_errno(link, "poll");
        if (deadline && clock_mono() >= deadline) {
            link->timed_out = true;
            return failed(link, "timed out");
        }
    }
}

static bool wait_for(struct link *link, short events)
{
    return wait_until(link, events, link->deadline);
}

/* ---- opening ---- */

static void set_option(int fd, int level, int option, int value)
{
    /* None of these decides whether the connection works; old kernels lack some. */
    if (setsockopt(fd, level, option, &value, sizeof(value)) < 0)
        return;
}

static void tune(int fd)
{
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_SEC);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_SEC);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT);
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, UNACKNOWLEDGED_MSEC);
}

/* Connects to one address; 'deadline' is this attempt's own. */
static bool connect_to(struct link *link, const struct sockaddr *addr, socklen_t size,
                       usec_t deadline)
{
    int e = 0;
    socklen_t e_size = sizeof(e);

    link->fd = socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (link->fd < 0)
        return failed_errno(link, "socket");
    if (addr->sa_family != AF_UNIX)
        tune(link->fd);
    if (connect(link->fd, addr, size) == 0)
        return true;
    if (errno != EINPROGRESS && errno != EINTR)
        return failed_errno(link, "connect");
    if (!wait_until(link, POLLOUT, deadline))
        return false;
    if (getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &e, &e_size) < 0)
        return failed_errno(link, "connect");
    errno = e;
    return e == 0 || failed_errno(link, "connect");
}

/* The attempt's share of the time, so that a silent first address leaves some for the next. */
static usec_t attempt_deadline(const struct link *link, int addresses_left)
{
    usec_t now = clock_mono();
    usec_t most = now + CONNECT_TIMEOUT;

    if (!link->deadline)
        return most;
    return MIN(most, now + MAX(link->deadline - now, 1) / addresses_left);
}

static bool connect_unix(struct link *link)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    if (strlen(link->target->unix_path) >= sizeof(addr.sun_path))
        return failed(link, "the socket's path is too long");
    strcpy(addr.sun_path, link->target->unix_path);
    return connect_to(link, (struct sockaddr *)&addr, sizeof(addr), attempt_deadline(link, 1));
}

static bool connect_tcp(struct link *link)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct addrinfo *all = NULL;
    char port[16];
    bool done = false;
    int left = 0, rc;

    snprintf(port, sizeof(port), "%d", link->target->port);
    rc = getaddrinfo(link->target->host, port, &hints, &all);
    if (rc != 0)
        return failed(link, "%s",
                      rc == EAI_SYSTEM ? "the name cannot be looked up" : gai_strerror(rc));
    for (struct addrinfo *a = all; a; a = a->ai_next)
        left++;
    for (struct addrinfo *a = all; a && !done; a = a->ai_next) {
        if (link->fd >= 0)
            close(link->fd);
        link->fd = -1;
        done = connect_to(link, a->ai_addr, a->ai_addrlen, attempt_deadline(link, left--));
    }
    freeaddrinfo(all);
    return done;
}

/* ---- TLS ---- */

/* Waits for what SSL wants after it returned 'rc'.  False where it will not go on: 'why' is set. */
static bool tls_wait(struct link *link, int rc)
{
    switch (SSL_get_error(link->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        return wait_for(link, POLLIN);
    case SSL_ERROR_WANT_WRITE:
        return wait_for(link, POLLOUT);
    default:
        if (link->hung_up)
            return failed(link, "the connection was cut");
        tls_why(link->ssl, link->why, sizeof(link->why));
        return false;
    }
}

static bool handshake(struct link *link)
{
    int rc;

    link->ssl = tls_new(link->target, &link->fd);
    if (!link->ssl)
        return failed(link, "TLS cannot be set up");
    for (;;) {
        tls_clear();
        rc = SSL_connect(link->ssl);
        if (rc == 1)
            break;
        if (!tls_wait(link, rc))
            return false;
    }
    return tls_check_peer(link->ssl, link->target, link->why, sizeof(link->why));
}

bool link_open(struct link *link)
{
    bool done;

    link->sent = 0;
    link->hung_up = link->timed_out = false;
    link->start = link->end = 0;
    done = link->target->unix_path ? connect_unix(link) : connect_tcp(link);
    if (done && link->target->tls)
        done = handshake(link);
    if (!done)
        link_close(link);
    return done;
}

void link_close(struct link *link)
{
    if (link->ssl) {
        tls_remember(link->ssl, link->target);
        tls_clear();
        if (!link->hung_up && SSL_is_init_finished(link->ssl))
            SSL_shutdown(link->ssl);
        SSL_free(link->ssl);
        tls_clear();
    }
    if (link->fd >= 0)
        close(link->fd);
    link->ssl = NULL;
    link->fd = -1;
}

/* ---- bytes ---- */

/* One read from the connection.  -1 with why set, 0 at the end. */
static ssize_t read_some(struct link *link, void *out, size_t n)
{
    ssize_t got;

    if (link->fd < 0) {
        failed(link, "the connection is closed");
        return -1;
    }
    for (;;) {
        if (link->ssl) {
            int rc;

            tls_clear();
            rc = SSL_read(link->ssl, out, (int)MIN(n, (size_t)INT32_MAX));
            if (rc > 0)
                return rc;
            if (SSL_get_error(link->ssl, rc) == SSL_ERROR_ZERO_RETURN)
                return 0;
            link->hung_up = link->hung_up || BIO_eof(SSL_get_rbio(link->ssl));
            if (!tls_wait(link, rc))
                return -1;
            continue;
        }
        got = recv(link->fd, out, n, 0);
        if (got >= 0)
            return got;
        if (errno == EAGAIN || errno == EINTR) {
            if (!wait_for(link, POLLIN))
                return -1;
            continue;
        }
        failed_errno(link, "read");
        return -1;
    }
}

ssize_t link_read(struct link *link, void *out, size_t n)
{
    size_t have = link->end - link->start;

    if (have == 0)
        return read_some(link, out, n);
    n = MIN(n, have);
    memcpy(out, link->in + link->start, n);
    link->start += n;
    return (ssize_t)n;
}

ssize_t link_fill(struct link *link)
{
    ssize_t got;

    if (link->start > 0) {
        memmove(link->in, link->in + link->start, link->end - link->start);
        link->end -= link->start;
        link->start = 0;
    }
    if (link->end == sizeof(link->in)) {
        failed(link, "the answer's head is too long");
        return -1;
    }
    got = read_some(link, link->in + link->end, sizeof(link->in) - link->end);
    if (got > 0)
        link->end += (size_t)got;
    return got;
}

/* One write.  -1 with why set. */
static ssize_t write_some(struct link *link, const void *p, size_t n)
{
    for (;;) {
        ssize_t put;

        if (link->ssl) {
            uint64_t before = BIO_number_written(SSL_get_wbio(link->ssl));
            int rc;

            tls_clear();
            rc = SSL_write(link->ssl, p, (int)MIN(n, (size_t)INT32_MAX));
            link->sent += BIO_number_written(SSL_get_wbio(link->ssl)) - before;
            if (rc > 0)
                return rc;
            if (!tls_wait(link, rc))
                return -1;
            continue;
        }
        put = send(link->fd, p, n, MSG_NOSIGNAL);
        if (put >= 0) {
            link->sent += (uint64_t)put;
            return put;
        }
        if (errno == EAGAIN || errno == EINTR) {
            if (!wait_for(link, POLLOUT))
                return -1;
            continue;
        }
        failed_errno(link, "write");
        return -1;
    }
}

bool link_write(struct link *link, const void *p, size_t n)
{
    const char *at = p;

    if (link->fd < 0)
        return failed(link, "the connection is closed");
    while (n > 0) {
        ssize_t put = write_some(link, at, n);

        if (put < 0)
            return false;
        at += put;
        n -= (size_t)put;
    }
    return true;
}

bool link_is_quiet(struct link *link)
{
    char byte;
    int rc;

    if (link->fd < 0 || link->start != link->end)
        return false;
    if (!link->ssl)
        return recv(link->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
    /* Tickets of TLS 1.3 are taken in passing and mean nothing. */
    tls_clear();
    rc = SSL_peek(link->ssl, &byte, 1);
    return rc <= 0 && SSL_get_error(link->ssl, rc) == SSL_ERROR_WANT_READ;
}

bool link_end_writing(struct link *link)
{
    int rc;

    if (link->fd < 0)
        return failed(link, "the connection is closed");
    if (!link->ssl)
        return shutdown(link->fd, SHUT_WR) == 0 || failed_errno(link, "shutdown");
    for (;;) {
        tls_clear();
        rc = SSL_shutdown(link->ssl);
        if (rc >= 0)
            return true;
        if (!tls_wait(link, rc))
            return false;
    }
}
