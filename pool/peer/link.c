/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * link.c -- one connection: TCP, TLS through memory, greetings, frames.
 *
 * Both sides show certificates; each knows the other's fingerprint from the list of members.  A
 * stranger fails in the handshake itself and learns it from TLS's "bad certificate".  Then both
 * greet: the connecting side says who it is and what the link is for, the accepting side checks
 * that the id belongs to the certificate and says the same of itself.  A stream's connection then
 * leaves (stream.c).
 */
#include "pool/peer/peers.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "pool/peer/identity.h"

#define TX_HIGH ((size_t)8 << 20)
#define FEW 8 /* members */
#define ATTEMPT_MIN (50 * USEC_PER_MSEC)

struct write {
    uv_write_t req;
    struct link *link;
    size_t size;
    uint8_t data[];
};

/* Closing. */

static void link_unref(struct link *link)
{
    if (--link->refs)
        return;
    SSL_free(link->ssl);
    buf_release(&link->rx);
    free(link);
}

static void on_handle_closed(uv_handle_t *handle)
{
    link_unref(handle->data);
}

static void unlink_unsent(struct link *link)
{
    if (!link->prev_unsent)
        return;
    *link->prev_unsent = link->next_unsent;
    if (link->next_unsent)
        link->next_unsent->prev_unsent = link->prev_unsent;
    link->prev_unsent = NULL;
}

static void unlink_link(struct link *link)
{
    unlink_unsent(link);
    *link->prev = link->next;
    if (link->next)
        link->next->prev = link->prev;
}

void peer_link_close(struct link *link, const char *why)
{
    enum link_state state = link->state;

    if (state == LINK_CLOSED)
        return;
    link->state = LINK_CLOSED;
    unlink_link(link);
    if (state == LINK_UP && link->known)
        link->known->n_up--;
    if (why && link->id && (link->outgoing || state == LINK_UP))
        peers_note_trouble(link->peers, link->id, why);
    if (link->kind == LINK_REQUESTS)
        request_link_closed(link);
    else if (link->kind == LINK_LOG)
        pipe_link_closed(link);
    if (link->resolving)
        uv_cancel((uv_req_t *)&link->resolve);
    if (link->has_local)
        uv_close((uv_handle_t *)&link->local, on_handle_closed);
    if (!uv_is_closing((uv_handle_t *)&link->tcp)) /* or another attempt was about to begin */
        uv_close((uv_handle_t *)&link->tcp, on_handle_closed);
}

/* Sending. */

static void on_written(uv_write_t *req, int status)
{
    struct write *w = container_of(req, struct write, req);
    struct link *link = w->link;

    link->tx_queued -= w->size;
    free(w);
    if (link->state == LINK_CLOSED)
        return;
    if (status)
        peer_link_close(link, uv_strerror(status));
    else if (link->has_local)
        pipe_pace(link);
    if (link->state != LINK_CLOSED && link->state != LINK_CONNECTING)
        link_pace(link);
}

/* It may have made something that TCP is to have at the end of this turn. */
static void flush_later(struct link *link)
{
    struct peers *peers = link->peers;

    if (link->prev_unsent || link->state == LINK_CLOSED)
        return;
    link->next_unsent = peers->unsent;
    if (link->next_unsent)
        link->next_unsent->prev_unsent = &link->next_unsent;
    link->prev_unsent = &peers->unsent;
    peers->unsent = link;
}

void link_flush(struct link *link)
{
    size_t n = BIO_ctrl_pending(link->out);
    struct write *w;
    uv_buf_t buf;
    int rc;

    unlink_unsent(link);
    if (n == 0 || link->state == LINK_CLOSED || link->state == LINK_CONNECTING)
        return;
    w = xmalloc(sizeof *w + n);
    w->link = link;
    w->size = n;
    BIO_read(link->out, w->data, (int)n);
    buf = uv_buf_init((char *)w->data, (unsigned)n);
    link->tx_queued += n;
    rc = uv_write(&w->req, (uv_stream_t *)&link->tcp, &buf, 1, on_written);
    if (rc == 0)
        return;
    link->tx_queued -= n;
    free(w);
    peer_link_close(link, uv_strerror(rc));
}

static bool tls_write(struct link *link, const void *data, size_t size)
{
    ERR_clear_error();
    if (size == 0 || SSL_write(link->ssl, data, (int)size) == (int)size)
        return true;
    peer_link_close(link, "TLS could not write");
    return false;
}

void link_send(struct link *link, enum frame_type type, unsigned kind, uint64_t number,
               const void *data, size_t size)
{
    uint8_t small[FRAME_HEADER + 4096];

    if (link->state == LINK_CLOSED)
        return;
    link->sent = clock_mono();
    if (link->known)
        link->known->sent = link->sent;
    flush_later(link);
    frame_header(small, type, kind, number, size);
    if (size <= sizeof small - FRAME_HEADER) { /* one record of TLS */
        if (size)
            memcpy(small + FRAME_HEADER, data, size);
        tls_write(link, small, FRAME_HEADER + size);
    } else if (tls_write(link, small, FRAME_HEADER)) {
        tls_write(link, data, size);
    }
}

/* Greetings. */

static void attempt_to_reach(struct peers *peers, uint64_t id);

static void greet(struct link *link)
{
    struct peers *peers = link->peers;
    struct hello hello = {
        .oldest = FRAME_VERSION, .newest = FRAME_VERSION, .link = link->kind, .to = link->id};
    uint8_t bytes[FRAME_HELLO_MAX];

    mutex_lock(&peers->lock);
    hello.id = peers->id;
    snprintf(hello.address, sizeof hello.address, "%s", peers->own_address);
    mutex_unlock(&peers->lock);
    link_send(link, FRAME_HELLO, 0, 0, bytes, hello_write(bytes, &hello));
}

static void link_up(struct link *link)
{
    link->state = LINK_UP;
    if (link->known)
        link->known->n_up++;
    peers_note_refused(link->peers, link->id, false);
    peers_note_heard(link->known);
    peers_note_trouble(link->peers, link->id, NULL);
    if (link->kind == LINK_REQUESTS)
        request_link_up(link);
    else if (!pipe_link_up(link))
        peer_link_close(link, NULL);
}

/* An older link of the same kind from the same member leads to a process that is gone. */
static void close_older(struct link *link)
{
    struct link *next;

    for (struct link *l = link->peers->links; l; l = next) {
        next = l->next;
        if (l != link && !l->outgoing && l->id == link->id && l->kind == link->kind &&
            l->state == LINK_UP)
            peer_link_close(l, NULL);
    }
}

/* The other side's place: what the members' list says, or else what it says itself. */
static void set_address(struct link *link, const struct member *member, const struct hello *hello)
{
    struct address claimed;

    if (peer_address_ok(member->address))
        snprintf(link->address, sizeof link->address, "%s", member->address);
    else if (address_parse(hello->address, &claimed) &&
             strcmp(claimed.fingerprint, link->fingerprint) == 0)
        snprintf(link->address, sizeof link->address, "%s", hello->address);
}

static const char *hello_fault(struct link *link, const struct hello *hello)
{
    const struct member *member = peers_member_of(link->peers, link->fingerprint, hello->id);
    uint64_t own;

    mutex_lock(&link->peers->lock);
    own = link->peers->id;
    mutex_unlock(&link->peers->lock);
    if (!member)
        return peers_member_by_fingerprint(link->peers, link->fingerprint)
                   ? "it claims an id that is not its own"
                   : "it is no member";
    if (hello->id == own)
        return "it claims our own id";
    if (hello->to && hello->to != own)
        return "it wants somebody else";
    if (link->outgoing && (hello->link != link->kind || hello->id != link->id))
        return "it is not who was called";
    set_address(link, member, hello);
    return NULL;
}

static void take_hello(struct link *link, const struct frame *frame)
{
    struct hello hello;
    const char *fault = "it does not greet as expected";

    if (frame->type == FRAME_HELLO && hello_read(frame->data, frame->size, &hello))
        fault = hello_fault(link, &hello);
    if (fault) {
        if (!link->outgoing)
            log_warning("a connection with certificate %s was refused: %s", link->fingerprint,
                        fault);
        peer_link_close(link, fault);
        return;
    }
    if (!link->outgoing) {
        link->id = hello.id;
        link->known = peers_known(link->peers, hello.id);
        link->kind = hello.link;
        if (link->kind >= LINK_STREAM) {
            peer_link_close(link, stream_take(link));
            return;
        }
        close_older(link);
        attempt_to_reach(link->peers, link->id);
        greet(link);
    }
    if (link->state != LINK_CLOSED)
        link_up(link);
}

/* Receiving. */

static void take_frame(struct link *link, const struct frame *frame)
{
    if (link->state == LINK_HELLO) {
        take_hello(link, frame);
    } else if (frame->type == FRAME_PING) {
        return;
    } else if (frame->type == FRAME_DATA && link->kind == LINK_LOG) {
        pipe_data(link, frame->data, frame->size);
    } else if (link->kind != LINK_REQUESTS || !request_frame(link, frame)) {
        peer_link_close(link, "it sent something that has no place here");
    }
}

static void take_frames(struct link *link)
{
    size_t at = 0;

    while (link->state != LINK_CLOSED) {
        struct frame frame;
        enum frame_state state =
            frame_read((const uint8_t *)link->rx.data + at, link->rx.len - at, &frame);

        if (state == FRAME_BAD)
            peer_link_close(link, "it sent something that is no message");
        if (state != FRAME_GOOD)
            break;
        at += FRAME_HEADER + frame.size;
        take_frame(link, &frame);
    }
    if (at == 0)
        return;
    memmove(link->rx.data, link->rx.data + at, link->rx.len - at);
    link->rx.len -= at;
}

/* Where TLS ends with an error: the other side's reason for not taking us, if it gave one. */
static void tls_failed(struct link *link)
{
    unsigned long e = ERR_peek_last_error();
    const char *why = ERR_reason_error_string(e);
    char text[128];

    snprintf(text, sizeof text, "TLS: %s", why ? why : "the connection was closed");
    if (link->outgoing && ERR_GET_REASON(e) == SSL_R_SSLV3_ALERT_BAD_CERTIFICATE) {
        peers_note_refused(link->peers, link->id, true);
        snprintf(text, sizeof text, "it does not know this host's certificate");
    }
    peer_link_close(link, text);
}

/* Right after our greeting: the other side knows this certificate by another number. */
static void closed_by_other(struct link *link)
{
    if (link->outgoing && link->state == LINK_HELLO)
        peers_note_refused(link->peers, link->id, true);
    peer_link_close(link, "the connection was closed");
}

/* True if bytes came out; false if there are no more or the link is closed. */
static bool tls_read(struct link *link)
{
    int n, e;

    buf_reserve(&link->rx, 16384);
    ERR_clear_error();
    n = SSL_read(link->ssl, link->rx.data + link->rx.len, 16384);
    if (n > 0) {
        link->rx.len += (size_t)n;
        return true;
    }
    e = SSL_get_error(link->ssl, n);
    if (e == SSL_ERROR_ZERO_RETURN)
        closed_by_other(link);
    else if (e != SSL_ERROR_WANT_READ && e != SSL_ERROR_WANT_WRITE)
        tls_failed(link);
    return false;
}

/* True once the handshake is over. */
static bool shake_hands(struct link *link)
{
    int rc, e;

    if (link->state != LINK_TLS)
        return true;
    ERR_clear_error();
    rc = SSL_do_handshake(link->ssl);
    if (rc == 1) {
        link->state = LINK_HELLO;
        if (link->outgoing)
            greet(link);
        return link->state != LINK_CLOSED;
    }
    e = SSL_get_error(link->ssl, rc);
    if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE)
        return false;
    link_flush(link); /* the alert that says why */
    tls_failed(link);
    return false;
}

static void take_bytes(struct link *link, const char *data, size_t size)
{
    if (BIO_write(link->in, data, (int)size) != (int)size) {
        peer_link_close(link, "out of memory");
        return;
    }
    flush_later(link);
    if (!shake_hands(link))
        return;
    while (link->state != LINK_CLOSED && tls_read(link))
        take_frames(link);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct link *link = handle->data;

    (void)suggested;
    *buf = uv_buf_init(link->peers->buffer, sizeof link->peers->buffer);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct link *link = stream->data;

    if (n == UV_EOF)
        closed_by_other(link);
    else if (n < 0)
        peer_link_close(link, uv_strerror((int)n));
    if (n < 0)
        return;
    if (n == 0)
        return;
    link->heard = clock_mono();
    if (link->state == LINK_UP)
        peers_note_heard(link->known);
    take_bytes(link, buf->base, (size_t)n);
    if (link->state != LINK_CLOSED)
        link_pace(link);
}

void link_pace(struct link *link)
{
    bool read = link->n_incoming < PEERS_SERVE_COUNT && link->incoming_bytes < PEERS_SERVE_LIMIT &&
                link->tx_queued < TX_HIGH && link->local_queued < PEERS_STREAM_HIGH;

    if (link->state == LINK_CLOSED || read == link->reading)
        return;
    link->reading = read;
    if (read) {
        link->heard = clock_mono();
        uv_read_start((uv_stream_t *)&link->tcp, on_alloc, on_read);
    } else {
        uv_read_stop((uv_stream_t *)&link->tcp);
    }
}

/* Beginning. */

static bool is_known(const struct link *link, const char *shown)
{
    return link->outgoing ? strcmp(shown, link->fingerprint) == 0
                          : peers_member_by_fingerprint(link->peers, shown) != NULL;
}

/*
 * What the other side is known by: its certificate; or one that it had before and that has signed
 * the next, up to this one, where we have not heard yet that it was renewed.
 */
static bool find_known(const struct link *link, X509_STORE_CTX *store,
                       char shown[PEER_FINGERPRINT_SIZE])
{
    STACK_OF(X509) *all = X509_STORE_CTX_get0_untrusted(store);
    X509 *certificate = X509_STORE_CTX_get0_cert(store);

    if (!identity_fingerprint(certificate, shown))
        return false;
    for (int i = 1; !is_known(link, shown); i++) {
        X509 *before = i <= IDENTITY_BEFORE ? sk_X509_value(all, i) : NULL;

        if (!before || X509_verify(certificate, X509_get0_pubkey(before)) != 1 ||
            !identity_fingerprint(before, shown))
            return false;
        certificate = before;
    }
    return true;
}

/* In place of the usual chain of authorities: the certificate itself is known, or it is not. */
static int on_certificate(X509_STORE_CTX *store, void *arg)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct link *link = SSL_get_app_data(ssl);
    char shown[PEER_FINGERPRINT_SIZE];

    (void)arg;
    if (!link) { /* of a stream: whoever opens it judges */
        X509_STORE_CTX_set_error(store, X509_V_OK);
        return 1;
    }
    if (find_known(link, store, shown)) {
        memcpy(link->fingerprint, shown, sizeof shown);
        X509_STORE_CTX_set_error(store, X509_V_OK);
        return 1;
    }
    X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED);
    return 0;
}

void link_set_up(SSL_CTX *ctx)
{
    SSL_CTX_set_cert_verify_callback(ctx, on_certificate, NULL);
}

static struct link *link_new(struct peers *peers, bool outgoing)
{
    struct link *link = xcalloc(1, sizeof *link);

    link->peers = peers;
    link->outgoing = outgoing;
    link->begun = link->heard = link->sent = clock_mono();
    link->refs = 1;
    link->ssl = peers_tls(peers);
    link->in = BIO_new(BIO_s_mem());
    link->out = BIO_new(BIO_s_mem());
    if (!link->ssl || !link->in || !link->out || !SSL_set_app_data(link->ssl, link))
        abort();
    SSL_set_bio(link->ssl, link->in, link->out);
    if (outgoing)
        SSL_set_connect_state(link->ssl);
    else
        SSL_set_accept_state(link->ssl);
    ask_list_init(&link->asked);
    uv_tcp_init(&peers->loop, &link->tcp);
    link->tcp.data = link;
    link->next = peers->links;
    if (link->next)
        link->next->prev = &link->next;
    link->prev = &peers->links;
    peers->links = link;
    peers_start_clock(peers);
    return link;
}

static void tune(struct link *link)
{
    unsigned msec = (unsigned)(link->peers->silence / USEC_PER_MSEC);
    uv_os_fd_t fd;

    uv_tcp_nodelay(&link->tcp, 1);
    uv_tcp_keepalive(&link->tcp, 1, 5);
    if (uv_fileno((uv_handle_t *)&link->tcp, &fd) == 0)
        setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &msec, sizeof msec);
}

static void begin_tls(struct link *link)
{
    tune(link);
    link->state = LINK_TLS;
    link_pace(link);
    flush_later(link);
    shake_hands(link);
}

static void on_connected(uv_connect_t *req, int status)
{
    struct link *link = req->data;

    if (link->state == LINK_CLOSED || status == UV_ECANCELED)
        return;
    if (status)
        peer_link_close(link, uv_strerror(status));
    else
        begin_tls(link);
}

static void attempt(struct link *link)
{
    int rc;

    link->tried = clock_mono();
    link->connect.data = link;
    rc = uv_tcp_connect(&link->connect, &link->tcp, (struct sockaddr *)&link->place, on_connected);
    if (rc)
        peer_link_close(link, uv_strerror(rc));
}

static void on_given_up(uv_handle_t *tcp)
{
    struct link *link = tcp->data;

    if (link->state == LINK_CLOSED) {
        link_unref(link);
        return;
    }
    uv_tcp_init(&link->peers->loop, &link->tcp);
    link->tcp.data = link;
    attempt(link);
}

/* TCP repeats what opens a connection after 1 s, 3 s, 7 s: a network that is there again would be
 * found late.  So an attempt without an answer is given up for another. */
static void attempt_again(struct link *link)
{
    if (link->state == LINK_CONNECTING && link->tried && !uv_is_closing((uv_handle_t *)&link->tcp))
        uv_close((uv_handle_t *)&link->tcp, on_given_up);
}

/* Who has just reached us can be reached again. */
static void attempt_to_reach(struct peers *peers, uint64_t id)
{
    for (struct link *l = peers->links; l; l = l->next)
        if (l->outgoing && l->id == id && clock_mono() - l->tried > ATTEMPT_MIN)
            attempt_again(l);
}

static void connect_to(struct link *link, const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        memcpy(&link->place, address, sizeof(struct sockaddr_in));
    else
        memcpy(&link->place, address, sizeof(struct sockaddr_in6));
    link->patience = link->peers->silence / 8;
    attempt(link);
}

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *found)
{
    struct link *link = req->data;

    link->resolving = false;
    if (status)
        peer_link_close(link, uv_strerror(status));
    else if (link->state != LINK_CLOSED)
        connect_to(link, found->ai_addr);
    uv_freeaddrinfo(found);
    link_unref(link);
}

/* Names are for those who like them: they occupy a worker while a server thinks about them. */
static void look_up(struct link *link, const struct address *place)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    char port[8];
    int rc;

    snprintf(port, sizeof port, "%d", place->port);
    link->resolve.data = link;
    rc = uv_getaddrinfo(&link->peers->loop, &link->resolve, on_resolved, place->host, port, &hints);
    if (rc) {
        peer_link_close(link, uv_strerror(rc));
        return;
    }
    link->resolving = true;
    link->refs++;
}

struct link *peer_link_open(struct peers *peers, enum link_kind kind, uint64_t id,
                            const char *address, struct dial *dial)
{
    const struct member *member;
    struct sockaddr_storage ss;
    struct address place;
    struct link *link;

    if (!address_parse(address, &place))
        return NULL;
    member = peers_member_by_id(peers, id);
    if (!member)
        member = peers_member_of(peers, place.fingerprint, id);
    if (!member)
        return NULL;
    link = link_new(peers, true);
    link->kind = kind;
    link->id = id;
    link->known = peers_known(peers, id);
    link->dial = dial;
    memcpy(link->fingerprint, member->place.fingerprint, sizeof link->fingerprint);
    snprintf(link->address, sizeof link->address, "%s", address);
    if (uv_ip4_addr(place.host, place.port, (struct sockaddr_in *)&ss) == 0 ||
        uv_ip6_addr(place.host, place.port, (struct sockaddr_in6 *)&ss) == 0)
        connect_to(link, (struct sockaddr *)&ss);
    else
        look_up(link, &place);
    return link;
}

static unsigned n_strangers(const struct peers *peers)
{
    unsigned n = 0;

    for (const struct link *l = peers->links; l; l = l->next)
        n += !l->outgoing && l->state != LINK_UP;
    return n;
}

void link_accept(struct peers *peers)
{
    bool room = n_strangers(peers) < PEERS_MAX_STRANGERS;
    struct link *link = link_new(peers, false);

    if (uv_accept((uv_stream_t *)&peers->listener, (uv_stream_t *)&link->tcp) != 0 || !room)
        peer_link_close(link, NULL);
    else
        begin_tls(link);
}

/* Time. */

/* Where there are many links each says less often that it lives, and is given up later: two that
 * lead to the same member take turns. */
static bool is_to_ping(const struct link *link, usec_t now, usec_t silence)
{
    const struct known *known = link->known;

    if (now - link->sent > silence / 4)
        return true;
    return known && now - known->sent > link->peers->silence / 2 &&
           (known->n_up == 1 || link->sent != known->sent);
}

void link_check(struct link *link, usec_t now, usec_t late)
{
    usec_t silence = link->peers->silence;

    if (link->peers->n_members > FEW)
        silence *= 4;
    /* What came meanwhile is still to be read: silence is counted while somebody listens. */
    link->heard = MIN(link->heard + late, now);
    link->begun = MIN(link->begun + late, now);
    if (link->state != LINK_UP) {
        if (now - link->begun > MAX(silence, 2 * link->peers->silence)) {
            peer_link_close(link, "it does not answer");
        } else if (now - link->tried > link->patience) {
            link->patience = MIN(2 * link->patience, link->peers->silence / 2);
            attempt_again(link);
        }
        return;
    }
    if (link->reading && now - link->heard > silence) {
        peer_link_close(link, "it is silent");
        return;
    }
    if (is_to_ping(link, now, silence))
        link_send(link, FRAME_PING, 0, 0, NULL, 0);
}

void link_check_allowed(struct link *link)
{
    if (link->fingerprint[0] == '\0')
        return; /* not shown yet */
    if (link->id ? !peers_member_of(link->peers, link->fingerprint, link->id)
                 : !peers_member_by_fingerprint(link->peers, link->fingerprint))
        peer_link_close(link, "it is no member any more");
}
