/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream.c -- connections that have left the peers' thread, or never were there.  See stream.h. */
#include "pool/peer/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libxapi/base/memory.h"
#include "pool/peer/identity.h"
#include "pool/peer/peers.h"

#define DEAD_AFTER_MSEC 20000 /* what was sent and not acknowledged by TCP */

struct peer_stream {
    int fd;
    SSL *ssl;
    uint64_t from;
    enum link_kind link;
    char trouble[160];
};

static struct peer_stream *stream_new(int fd, SSL *ssl, uint64_t from, enum link_kind link)
{
    struct peer_stream *s = xcalloc(1, sizeof *s);
    unsigned msec = DEAD_AFTER_MSEC;
    int on = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &msec, sizeof msec);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    *s = (struct peer_stream){
        .fd = fd, .ssl = ssl, .from = from, .link = link, .trouble = "nothing"};
    return s;
}

void peer_stream_close(struct peer_stream *s)
{
    if (!s)
        return;
    SSL_shutdown(s->ssl); /* as far as it goes without waiting */
    SSL_free(s->ssl);
    close(s->fd);
    free(s);
}

void peer_stream_end(struct peer_stream *s)
{
    SSL_shutdown(s->ssl);
}

int peer_stream_fd(const struct peer_stream *s)
{
    return s->fd;
}

uint64_t peer_stream_from(const struct peer_stream *s)
{
    return s->from;
}

const char *peer_stream_trouble(const struct peer_stream *s)
{
    return s->trouble;
}

/*** reading and writing ***/

static enum peer_io trouble(struct peer_stream *s, enum peer_io io, const char *why)
{
    snprintf(s->trouble, sizeof s->trouble, "%s", why);
    return io;
}

static enum peer_io wait_for(struct peer_stream *s, short events, usec_t silence)
{
    struct pollfd p = {.fd = s->fd, .events = events};
    int n;

    do
        n = poll(&p, 1, (int)MIN(silence / USEC_PER_MSEC + 1, (usec_t)INT32_MAX));
    while (n < 0 && errno == EINTR);
    return n > 0 ? PEER_IO_DONE : trouble(s, PEER_IO_LATE, "it is silent");
}

/* After an SSL function that returned 'rc': DONE where it is to be tried again. */
static enum peer_io go_on(struct peer_stream *s, int rc, usec_t silence)
{
    int saved = errno;
    const char *text;

    switch (SSL_get_error(s->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        return wait_for(s, POLLIN, silence);
    case SSL_ERROR_WANT_WRITE:
        return wait_for(s, POLLOUT, silence);
    case SSL_ERROR_ZERO_RETURN:
        return trouble(s, PEER_IO_END, "the connection was closed");
    case SSL_ERROR_SYSCALL:
        return trouble(s, PEER_IO_BROKEN,
                       saved ? strerrordesc_np(saved) : "the connection was closed");
    default:
        text = ERR_reason_error_string(ERR_peek_last_error());
        return trouble(s, PEER_IO_BROKEN, text ? text : "TLS failed");
    }
}

enum peer_io peer_stream_write(struct peer_stream *s, const void *data, size_t size, usec_t silence)
{
    const char *at = data;

    while (size) {
        enum peer_io io;
        size_t n;
        int rc;

        ERR_clear_error();
        errno = 0;
        rc = SSL_write_ex(s->ssl, at, size, &n);
        if (rc == 1) {
            at += n;
            size -= n;
            continue;
        }
        io = go_on(s, rc, silence);
        if (io != PEER_IO_DONE)
            return io;
    }
    return PEER_IO_DONE;
}

enum peer_io peer_stream_read(struct peer_stream *s, void *data, size_t room, size_t *n,
                              usec_t silence)
{
    while (true) {
        enum peer_io io;
        int rc;

        ERR_clear_error();
        errno = 0;
        rc = SSL_read_ex(s->ssl, data, room, n);
        if (rc == 1)
            return PEER_IO_DONE;
        io = go_on(s, rc, silence);
        if (io != PEER_IO_DONE)
            return io;
    }
}

/*** joined with a socket ***/

#define BLOCK (64 << 10) /* more than a record of TLS */
#define LOOK_MSEC 500
/* What looked readable may have been TLS's own. */
#define NOTHING (50 * USEC_PER_MSEC)

static bool send_all(int fd, const char *at, size_t size, usec_t silence)
{
    while (size) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        ssize_t n = send(fd, at, size, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno != EINTR &&
            (errno != EAGAIN || poll(&p, 1, (int)(silence / USEC_PER_MSEC)) <= 0))
            return false;
        at += MAX(n, (ssize_t)0);
        size -= (size_t)MAX(n, (ssize_t)0);
    }
    return true;
}

static bool take_near(struct peer_stream *s, int fd, char *block, usec_t silence)
{
    ssize_t n = recv(fd, block, BLOCK, MSG_DONTWAIT);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    return n > 0 && peer_stream_write(s, block, (size_t)n, silence) == PEER_IO_DONE;
}

static bool take_far(struct peer_stream *s, int fd, char *block, usec_t silence)
{
    enum peer_io io;
    size_t n;

    io = peer_stream_read(s, block, BLOCK, &n, NOTHING);
    return io == PEER_IO_LATE || (io == PEER_IO_DONE && send_all(fd, block, n, silence));
}

void peer_stream_join(struct peer_stream *s, int fd, usec_t silence, bool (*over)(void *ctx),
                      void *ctx)
{
    char *block = xmalloc(BLOCK);
    bool good = true;

    while (good && !over(ctx)) {
        struct pollfd fds[2] = {{.fd = fd, .events = POLLIN}, {.fd = s->fd, .events = POLLIN}};

        if (poll(fds, 2, LOOK_MSEC) <= 0)
            continue;
        if (fds[0].revents)
            good = take_near(s, fd, block, silence);
        if (good && fds[1].revents)
            good = take_far(s, fd, block, silence);
    }
    free(block);
}

/*** opening ***/

/* 'deadline' is on the monotonic clock. */
static int connect_one(const struct addrinfo *a, usec_t deadline)
{
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    socklen_t size = sizeof(int);
    usec_t now = clock_mono();
    int why = 0;

    if (fd < 0)
        return -1;
    if (connect(fd, a->ai_addr, a->ai_addrlen) == 0)
        return fd;
    why = errno;
    if (why == EINPROGRESS) {
        why = ETIMEDOUT;
        if (poll(&p, 1, deadline > now ? (int)((deadline - now) / USEC_PER_MSEC) : 0) == 1)
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &size);
    }
    if (why == 0)
        return fd;
    close(fd);
    errno = why;
    return -1;
}

static struct error *connect_to(struct arena *arena, const char *host, int port, usec_t deadline,
                                int *fd)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    const char *why = NULL;
    char number[8];
    int rc;

    snprintf(number, sizeof number, "%d", port);
    rc = getaddrinfo(host, number, &hints, &found);
    if (rc)
        return error_internal(arena, "%s: %s", host, gai_strerror(rc));
    *fd = -1;
    for (const struct addrinfo *a = found; a && *fd < 0; a = a->ai_next) {
        *fd = connect_one(a, deadline);
        why = strerrordesc_np(errno);
    }
    freeaddrinfo(found);
    return *fd < 0 ? error_internal(arena, "%s port %d: %s", host, port, why) : OK;
}

static bool shows(const SSL *ssl, const char *fingerprint)
{
    X509 *certificate = SSL_get1_peer_certificate(ssl);
    char shown[PEER_FINGERPRINT_SIZE];
    bool same =
        certificate && identity_fingerprint(certificate, shown) && strcmp(shown, fingerprint) == 0;

    X509_free(certificate);
    return same;
}

static enum peer_io shake_hands(struct peer_stream *s, usec_t silence)
{
    enum peer_io io = PEER_IO_DONE;
    int rc;

    while (io == PEER_IO_DONE) {
        ERR_clear_error();
        errno = 0;
        rc = SSL_connect(s->ssl);
        if (rc == 1)
            break;
        io = go_on(s, rc, silence);
    }
    return io;
}

static enum peer_io send_hello(struct peer_stream *s, struct peers *peers, usec_t silence)
{
    struct hello hello = {
        .oldest = FRAME_VERSION, .newest = FRAME_VERSION, .link = s->link, .to = s->from};
    uint8_t bytes[FRAME_HEADER + FRAME_HELLO_MAX];
    size_t size;

    mutex_lock(&peers->lock);
    hello.id = peers->id;
    snprintf(hello.address, sizeof hello.address, "%s", peers->own_address);
    mutex_unlock(&peers->lock);
    size = hello_write(bytes + FRAME_HEADER, &hello);
    frame_header(bytes, FRAME_HELLO, 0, 0, size);
    return peer_stream_write(s, bytes, FRAME_HEADER + size, silence);
}

/* Byte by byte as it were: nothing behind the greeting may be taken. */
static enum peer_io read_all(struct peer_stream *s, uint8_t *data, size_t size, usec_t silence)
{
    enum peer_io io = PEER_IO_DONE;
    size_t n;

    while (size && io == PEER_IO_DONE) {
        io = peer_stream_read(s, data, size, &n, silence);
        if (io == PEER_IO_DONE) {
            data += n;
            size -= n;
        }
    }
    return io;
}

static enum peer_io take_hello(struct peer_stream *s, usec_t silence)
{
    uint8_t bytes[FRAME_HEADER + FRAME_HELLO_MAX];
    enum peer_io io = read_all(s, bytes, FRAME_HEADER, silence);
    struct hello hello;
    struct frame frame;
    uint32_t size;

    if (io != PEER_IO_DONE)
        return io;
    memcpy(&size, bytes, sizeof size);
    size = le32toh(size);
    if (size > FRAME_HELLO_MAX)
        return trouble(s, PEER_IO_BROKEN, "it does not greet as expected");
    io = read_all(s, bytes + FRAME_HEADER, size, silence);
    if (io != PEER_IO_DONE)
        return io;
    if (frame_read(bytes, FRAME_HEADER + size, &frame) != FRAME_GOOD || frame.type != FRAME_HELLO ||
        !hello_read(frame.data, frame.size, &hello) || hello.id != s->from || hello.link != s->link)
        return trouble(s, PEER_IO_BROKEN, "it does not greet as expected");
    return PEER_IO_DONE;
}

static enum peer_io introduce(struct peer_stream *s, struct peers *peers, const char *fingerprint,
                              usec_t within)
{
    enum peer_io io = shake_hands(s, within);

    if (io == PEER_IO_DONE && !shows(s->ssl, fingerprint))
        return trouble(s, PEER_IO_BROKEN, "it shows another certificate than that member's");
    if (io == PEER_IO_DONE)
        io = send_hello(s, peers, within);
    return io == PEER_IO_DONE ? take_hello(s, within) : io;
}

/* The address may be older than the certificate. */
static void read_renewed(struct peers *peers, uint64_t id, char fingerprint[PEER_FINGERPRINT_SIZE])
{
    MUTEX_GUARD(&peers->lock);
    for (size_t i = 0; i < peers->n_renewed; i++)
        if (peers->renewed[i].id == id)
            memcpy(fingerprint, peers->renewed[i].fingerprint, PEER_FINGERPRINT_SIZE);
}

struct error *peer_stream_open(struct arena *arena, struct peers *peers, uint64_t id,
                               enum peer_stream_kind kind, const char *address, const char *host,
                               usec_t within, struct peer_stream **out)
{
    usec_t deadline = clock_mono() + within;
    struct address place;
    struct error *e;
    SSL *ssl;
    int fd;

    *out = NULL;
    if (!address_parse(address, &place))
        return error_internal(arena, "'%s' is no address of a member", address);
    TRY(connect_to(arena, host ? host : place.host, place.port, deadline, &fd));
    ssl = peers_tls(peers);
    if (!ssl || !SSL_set_fd(ssl, fd))
        abort(); /* out of memory */
    *out = stream_new(fd, ssl, id, LINK_STREAM + kind);
    read_renewed(peers, id, place.fingerprint);
    if (introduce(*out, peers, place.fingerprint, within) == PEER_IO_DONE)
        return OK;
    e = error_internal(arena, "%s port %d: %s", host ? host : place.host, place.port,
                       peer_stream_trouble(*out));
    peer_stream_close(*out);
    *out = NULL;
    return e;
}

/*** from the peers' thread ***/

void peers_serve_streams(struct peers *peers, enum peer_stream_kind kind,
                         void (*serve)(void *ctx, struct peer_stream *stream), void *ctx)
{
    MUTEX_GUARD(&peers->serving);
    peers->streams[kind].serve = serve;
    peers->streams[kind].ctx = ctx;
}

const char *stream_take(struct link *link)
{
    unsigned kind = link->kind - LINK_STREAM;
    struct peers *peers = link->peers;
    struct peer_stream *s;
    uv_os_fd_t fd;
    int own;

    /* What has come behind the greeting, or waits to be sent, would be lost. */
    link_flush(link);
    if (BIO_ctrl_pending(link->in) || SSL_pending(link->ssl) ||
        uv_stream_get_write_queue_size((uv_stream_t *)&link->tcp) > 0 ||
        uv_fileno((uv_handle_t *)&link->tcp, &fd) != 0)
        return "it did not wait for the greeting";
    own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (own < 0)
        return strerrordesc_np(errno);
    SSL_set_app_data(link->ssl, NULL);
    if (!SSL_set_fd(link->ssl, own))
        abort(); /* out of memory */
    s = stream_new(own, link->ssl, link->id, link->kind);
    link->ssl = NULL;
    link->in = link->out = NULL;
    MUTEX_GUARD(&peers->serving);
    /* The socket's buffers are empty: this does not wait. */
    if (peers->streams[kind].serve && send_hello(s, peers, 0) == PEER_IO_DONE)
        peers->streams[kind].serve(peers->streams[kind].ctx, s);
    else
        peer_stream_close(s);
    return NULL;
}
