/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * conn.c -- the life of a connection on its loop: read a head and a body, give the request to its
 * handler, send the answer, begin again.
 *
 * A small call costs three system calls: epoll, read, write.  So a socket is read once per event
 * unless more is known to be there, an answer is written at once, and what epoll waits for changes
 * only when a write blocks.  Deadlines are a field; the timer behind them is moved only towards the
 * present and finds out when it fires.
 */
#include <stdlib.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "xapid/http/internal.h"

/* Requests of one connection, and bytes to it, before others have their turn. */
#define TURN_REQUESTS 32
#define TURN_BYTES ((size_t)256 << 10)
/* How long, and over how many bytes, a client may talk on after our last word. */
#define LINGER_TIME (3 * USEC_PER_SEC)
#define LINGER_BYTES ((size_t)16 << 20)

static bool conn_step(struct http_conn *conn);

/* --- waiting --- */

static void conn_drive(struct http_conn *conn)
{
    if (conn->busy)
        return;
    conn->busy = true;
    while (conn_step(conn))
        ;
    conn->busy = false;
}

static void on_poll(uv_poll_t *poll, int status, int events);

static void set_events(struct http_conn *conn, int events)
{
    if (conn->events == events)
        return;
    conn->events = events;
    if (events)
        uv_poll_start(&conn->poll, events, on_poll);
    else
        uv_poll_stop(&conn->poll);
}

static void set_deadline(struct http_conn *conn, usec_t deadline)
{
    conn->deadline = deadline;
    if (!deadline || (conn->timer_due && conn->timer_due <= deadline))
        return;
    conn->timer_due = deadline;
    loop_timer_set(conn->home->loop, &conn->timer, deadline);
}

/* Always false: nothing more to do in this turn. */
static bool wait_for(struct http_conn *conn, int events, usec_t deadline)
{
    set_events(conn, events);
    set_deadline(conn, deadline);
    return false;
}

static void on_again(struct loop_item *item)
{
    struct http_conn *conn = container_of(item, struct http_conn, again);

    conn->again_queued = false;
    conn->budget = TURN_REQUESTS;
    if (conn->state == CONN_CLOSED)
        http_conn_free_if_done(conn);
    else if (conn->state != CONN_PENDING && conn->state != CONN_DETACHED)
        conn_drive(conn);
}

/* Lets others have their turn.  Always false. */
static bool yield_turn(struct http_conn *conn)
{
    if (!conn->again_queued) {
        conn->again.fn = on_again;
        conn->again_queued = loop_post_item(conn->home->loop, &conn->again);
    }
    return false;
}

/* --- the end --- */

static void on_poll_closed(uv_handle_t *handle);

static void list_remove(struct http_conn *conn)
{
    if (!conn->prev)
        return;
    *conn->prev = conn->next;
    if (conn->next)
        conn->next->prev = conn->prev;
    conn->prev = NULL;
    conn->next = NULL;
}

static void list_add(struct http_conn *conn)
{
    conn->next = conn->home->conns;
    conn->prev = &conn->home->conns;
    if (conn->next)
        conn->next->prev = &conn->next;
    conn->home->conns = conn;
}

static void body_drop(struct http_conn *conn)
{
    struct http_body *body = conn->body;

    conn->body = NULL;
    if (body)
        body->release(body);
}

static void poll_close(struct http_conn *conn)
{
    conn->events = 0;
    if (conn->poll_open && !uv_is_closing((uv_handle_t *)&conn->poll))
        uv_close((uv_handle_t *)&conn->poll, on_poll_closed);
}

static void conn_gone(struct http_conn *conn)
{
    void (*fn)(struct http_request * request, void *arg) = conn->gone_fn;

    conn->gone_fn = NULL;
    if (!atomic_exchange(&conn->gone, true) && fn && !conn->answered)
        fn(&conn->request, conn->gone_arg);
}

void http_conn_free_if_done(struct http_conn *conn)
{
    struct http_server *server = conn->server;

    if (conn->poll_open || conn->pending || conn->again_queued || conn->state != CONN_CLOSED)
        return;
    arena_release(&conn->arena);
    buf_release(&conn->in);
    buf_release(&conn->early);
    buf_release(&conn->out);
    free(conn);
    http_server_unref(server);
}

/* Closes the socket.  The struct stays at least until libuv has let go of it, which is not in this
 * turn. */
void http_conn_close(struct http_conn *conn)
{
    if (conn->state == CONN_CLOSED)
        return;
    conn->state = CONN_CLOSED;
    list_remove(conn);
    poll_close(conn);
    loop_timer_stop(conn->home->loop, &conn->timer);
    SSL_free(conn->ssl);
    conn->ssl = NULL;
    mutex_lock(&conn->server->mutex); /* http_client_hears */
    close(conn->fd);
    conn->fd = -1;
    mutex_unlock(&conn->server->mutex);
    if (conn->counted)
        http_count_out(conn->server, conn->via, &conn->address);
    conn->counted = false;
    if (conn->pending)
        conn_gone(conn);
    else
        body_drop(conn);
}

static void linger_begin(struct http_conn *conn);

static void on_poll_closed(uv_handle_t *handle)
{
    struct http_conn *conn = handle->data;

    conn->poll_open = false;
    if (conn->linger_queued)
        linger_begin(conn);
    else
        http_conn_free_if_done(conn);
}

static bool conn_close(struct http_conn *conn)
{
    http_conn_close(conn);
    return false;
}

/* All is sent.  Where the client may still be sending, closing now would make its system throw our
 * reply away. */
static bool conn_end(struct http_conn *conn)
{
    http_io_shutdown(conn->fd, conn->ssl);
    if ((!conn->linger && !conn->early.len) || conn->gone)
        return conn_close(conn);
    conn->state = CONN_LINGER;
    conn->drained = 0;
    return wait_for(conn, UV_READABLE, clock_mono() + LINGER_TIME);
}

static bool step_linger(struct http_conn *conn)
{
    ssize_t n = http_io_read(conn->fd, NULL, conn->home->scratch, HTTP_SLICE);

    if (n == HTTP_IO_WANT_READ)
        return false;
    conn->drained += n > 0 ? (size_t)n : 0;
    if (n <= 0 || conn->drained > LINGER_BYTES)
        return conn_close(conn);
    return true;
}

/* --- writing --- */

/* Adds the next slice of the body to 'out'.  False where the body is not what its maker said: the
   client must not take it for whole. */
static bool body_next(struct http_conn *conn)
{
    size_t before = conn->out.len;
    bool more = conn->body->next(conn->body, &conn->out, HTTP_SLICE - MIN(before, HTTP_SLICE / 2));
    size_t made = conn->out.len - before;

    conn->body_left -= (int64_t)made;
    if (conn->body_left < 0 || (conn->body_left > 0 && (!more || made == 0))) {
        log_error(
            "http: the body of a reply is not as long as announced; the connection is closed");
        return false;
    }
    if (conn->body_left == 0)
        body_drop(conn);
    return true;
}

static bool begin_again(struct http_conn *conn)
{
    buf_release(&conn->out);
    conn->out_sent = 0;
    conn->reply_deadline = 0;
    if (conn->then_body) {
        conn->then_body = false;
        conn->state = CONN_BODY;
        return true;
    }
    if (conn->close_after || conn->gone || conn->server->draining)
        return conn_end(conn);
    conn->state = CONN_HEAD;
    buf_release(&conn->in);
    conn->in = conn->early;
    conn->early = (struct buf){0};
    conn->scan = (struct http_scan){0};
    conn->head_deadline = 0;
    conn->idle_deadline = clock_mono() + conn->server->limits.idle_timeout;
    if (--conn->budget <= 0 && (conn->in.len || conn->readable))
        return yield_turn(conn);
    return true;
}

static bool write_blocked(struct http_conn *conn, int events)
{
    const struct http_limits *limits = &conn->server->limits;
    usec_t now = clock_mono();

    if (!conn->reply_deadline)
        conn->reply_deadline = now + limits->reply_timeout;
    return wait_for(conn, events, MIN(now + limits->write_stall, conn->reply_deadline));
}

static bool step_write(struct http_conn *conn)
{
    size_t total = 0;

    for (;;) {
        ssize_t n;

        if (conn->out_sent == conn->out.len)
            conn->out.len = conn->out_sent = 0;
        if (conn->body && conn->out_sent == 0 && conn->out.len < HTTP_SLICE / 2 && !body_next(conn))
            return conn_close(conn);
        if (conn->out.len == 0)
            return begin_again(conn);
        if (total >= TURN_BYTES)
            return write_blocked(conn, UV_WRITABLE);
        n = http_io_write(conn->fd, conn->ssl, conn->out.data + conn->out_sent,
                          conn->out.len - conn->out_sent);
        if (n == HTTP_IO_WANT_WRITE)
            return write_blocked(conn, UV_WRITABLE);
        if (n == HTTP_IO_WANT_READ)
            return write_blocked(conn, UV_READABLE);
        if (n <= 0)
            return conn_close(conn);
        conn->out_sent += (size_t)n;
        total += (size_t)n;
    }
}

/* Answers what is no request, or none that will be read, and closes. */
static bool conn_refuse(struct http_conn *conn, int status)
{
    __attribute__((cleanup(buf_release))) struct buf page = {0};

    http_page_write(&page, status, NULL);
    buf_release(&conn->in);
    arena_release(&conn->arena);
    http_head_write(&conn->out, status, "text/html", (int64_t)page.len, true, 0, NULL);
    buf_add(&conn->out, page.data, page.len);
    conn->close_after = true;
    conn->linger = true;
    conn->state = CONN_WRITE;
    return true;
}

/* --- reading --- */

static bool wait_for_input(struct http_conn *conn, int events)
{
    const struct http_limits *limits = &conn->server->limits;
    usec_t now;

    if (conn->state == CONN_BODY)
        return wait_for(conn, events, conn->head_deadline);
    if (conn->in.len == 0)
        return wait_for(conn, events, conn->idle_deadline);
    now = clock_mono();
    if (!conn->head_deadline)
        conn->head_deadline = now + limits->header_timeout;
    return wait_for(conn, events, MIN(conn->head_deadline, now + limits->read_timeout));
}

/* Reads once into 'to' if something may be there.  As http_io_read. */
static ssize_t read_once(struct http_conn *conn, struct buf *to)
{
    ssize_t n = http_io_read(conn->fd, conn->ssl, conn->home->scratch, HTTP_SLICE);

    if (n <= 0) {
        conn->readable = false;
        return n;
    }
    conn->readable = conn->ssl ? SSL_has_pending(conn->ssl) : (size_t)n == HTTP_SLICE;
    buf_add(to, conn->home->scratch, (size_t)n);
    return n;
}

static bool read_more(struct http_conn *conn)
{
    ssize_t n;

    if (!conn->readable)
        return wait_for_input(conn, UV_READABLE);
    n = read_once(conn, &conn->in);
    if (n > 0)
        return true;
    if (n == HTTP_IO_WANT_READ)
        return wait_for_input(conn, UV_READABLE);
    if (n == HTTP_IO_WANT_WRITE)
        return wait_for_input(conn, UV_WRITABLE);
    return conn_close(conn);
}

/* Gives the request away.  What follows it is kept apart, so that nothing the handler holds is
 * moved. */
static void conn_pend(struct http_conn *conn, size_t used)
{
    buf_add(&conn->early, conn->in.data + used, conn->in.len - used);
    conn->in.len = used;
    conn->in.data[used] = '\0';
    conn->request.body = conn->in.data + conn->head_size;
    conn->request.body_size = used - conn->head_size;
    conn->answered = false;
    conn->pending = true;
    conn->state = CONN_PENDING;
    http_count_request(conn);
    set_deadline(conn, 0);
}

static bool dispatch(struct http_conn *conn)
{
    conn_pend(conn, conn->head_size + conn->body_size);
    conn->route->handler(&conn->request, conn->server->ctx);
    return true;
}

static bool step_body(struct http_conn *conn)
{
    if (conn->in.len - conn->head_size < conn->body_size)
        return read_more(conn);
    return dispatch(conn);
}

static bool body_begin(struct http_conn *conn, bool expect_continue)
{
    int64_t size = conn->request.content_length;
    bool has_body = conn->request.method == HTTP_M_POST || conn->request.method == HTTP_M_PUT;

    if (http_header(&conn->request, "transfer-encoding"))
        return conn_refuse(conn, 400);
    if (size < 0 && has_body && conn->route->body_limit > 0)
        return conn_refuse(conn, 411);
    if (size > conn->route->body_limit)
        return conn_refuse(conn, 413);
    conn->body_size = (size_t)MAX(size, 0);
    if (conn->in.len - conn->head_size >= conn->body_size)
        return dispatch(conn);
    conn->state = CONN_BODY;
    conn->head_deadline = clock_mono() + conn->server->limits.body_timeout;
    if (expect_continue && conn->in.len == conn->head_size) {
        buf_puts(&conn->out, "HTTP/1.1 100 Continue\r\n\r\n");
        conn->then_body = true;
        conn->state = CONN_WRITE;
    }
    return true;
}

/* A body is coming that the server will not read: of an unknown length where the method has one and
 * none is given. */
static bool body_announced(const struct http_request *request)
{
    return request->content_length > 0 ||
           (request->content_length < 0 &&
            (request->method == HTTP_M_POST || request->method == HTTP_M_PUT ||
             request->method == HTTP_M_CONNECT));
}

static void request_fill(struct http_conn *conn, const struct http_head *head)
{
    conn->request = (struct http_request){
        .arena = &conn->arena,
        .conn = conn,
        .method = head->method,
        .via = conn->via,
        .known_client = conn->known_client,
        .minor_version = head->minor_version,
        .path = head->path,
        .target = head->target,
        .n_headers = head->n_headers,
        .headers = head->headers,
        .n_query = head->n_query,
        .query = head->query,
        .peer = conn->peer,
        .content_length = head->content_length,
    };
    if (conn->via == VIA_UNIX && http_header(&conn->request, "forwarded")) {
        conn->request.via = VIA_TCP;
        conn->request.peer =
            http_forwarded_for(&conn->arena, http_header(&conn->request, "forwarded"));
    }
    conn->keep_alive = head->keep_alive;
    conn->close_after = false;
    conn->body_size = 0;
    conn->unread = body_announced(&conn->request);
}

/* Why the client may not ask anything at the moment; NULL where it may. */
static const char *not_allowed(const struct http_conn *conn)
{
    const struct http_server *server = conn->server;
    bool local =
        !*conn->peer || strcmp(conn->peer, "127.0.0.1") == 0 || strcmp(conn->peer, "::1") == 0;

    if (conn->via == VIA_TCP && server->plain_allowed && !server->plain_allowed(server->ctx))
        return "This host is only spoken to by HTTPS.";
    if (!local && server->remote_allowed && !server->remote_allowed(server->ctx))
        return "This host's management interface is disabled.";
    return NULL;
}

static bool head_done(struct http_conn *conn, size_t size)
{
    struct http_head head;
    const char *why;
    int status = http_head_parse(&conn->arena, conn->in.data, size, &head);

    if (status)
        return conn_refuse(conn, status);
    request_fill(conn, &head);
    conn->head_size = size;
    conn->route = http_route_find(conn->server, head.method, head.path, &status);
    if (!conn->route) {
        conn_pend(conn, size);
        http_error(&conn->request, status, NULL);
        return true;
    }
    why = not_allowed(conn);
    if (why) {
        conn_pend(conn, size);
        http_error(&conn->request, 403, why);
        return true;
    }
    if (conn->route->body_limit < 0)
        return dispatch(conn);
    conn->unread = false;
    return body_begin(conn, head.expect_continue);
}

static bool step_head(struct http_conn *conn)
{
    ssize_t n = 0;

    if (conn->in.len)
        n = http_head_scan(&conn->scan, conn->in.data, conn->in.len,
                           conn->server->limits.header_bytes);
    if (n < 0)
        return conn_refuse(conn, (int)-n);
    return n > 0 ? head_done(conn, (size_t)n) : read_more(conn);
}

static bool step_handshake(struct http_conn *conn)
{
    int rc = http_io_handshake(conn->ssl);
    usec_t now;

    if (rc == 1) {
        conn->known_client = http_tls_knows_client(conn->ssl);
        conn->state = CONN_HEAD;
        conn->readable = true;
        return true;
    }
    if (rc == HTTP_IO_ERROR)
        return conn_close(conn);
    now = clock_mono();
    return wait_for(conn, rc == HTTP_IO_WANT_WRITE ? UV_WRITABLE : UV_READABLE,
                    MIN(conn->idle_deadline, now + conn->server->limits.read_timeout));
}

/* One step; false when the next has to wait. */
static bool conn_step(struct http_conn *conn)
{
    switch (conn->state) {
    case CONN_HANDSHAKE:
        return step_handshake(conn);
    case CONN_HEAD:
        return step_head(conn);
    case CONN_BODY:
        return step_body(conn);
    case CONN_PENDING:
        set_events(conn, UV_READABLE);
        return false;
    case CONN_WRITE:
        return step_write(conn);
    case CONN_LINGER:
        return step_linger(conn);
    case CONN_DETACHED:
    case CONN_CLOSED:
        break;
    }
    return false;
}

/*
 * The socket of a pending request has something to say: early bytes, or that the client has gone.
 * One that has only shut down its sending side looks the same as one that has closed; the reply is
 * tried all the same.
 */
static void conn_watch(struct http_conn *conn)
{
    ssize_t n;

    if (conn->early.len >= HTTP_EARLY_LIMIT) {
        /* Woken by the disconnection, for nothing else is waited for. */
        set_events(conn, 0);
        conn_gone(conn);
        return;
    }
    n = read_once(conn, &conn->early);
    if (n > 0) {
        conn->readable = true;
        if (conn->early.len >= HTTP_EARLY_LIMIT)
            set_events(conn, UV_DISCONNECT);
    } else if (n == HTTP_IO_EOF) {
        set_events(conn, 0);
        conn_gone(conn);
    } else if (n == HTTP_IO_ERROR) {
        http_conn_close(conn);
    }
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct http_conn *conn = poll->data;

    (void)events;
    if (status < 0) {
        http_conn_close(conn);
        return;
    }
    conn->budget = TURN_REQUESTS;
    if (conn->state == CONN_PENDING) {
        conn_watch(conn);
        return;
    }
    conn->readable = true;
    conn_drive(conn);
}

static void on_timer(struct loop_timer *timer)
{
    struct http_conn *conn = container_of(timer, struct http_conn, timer);

    conn->timer_due = 0;
    if (!conn->deadline || conn->state == CONN_CLOSED)
        return;
    if (clock_mono() < conn->deadline) {
        set_deadline(conn, conn->deadline);
        return;
    }
    conn->deadline = 0;
    if ((conn->state == CONN_HEAD && conn->in.len) || conn->state == CONN_BODY) {
        conn_refuse(conn, 408);
        conn_drive(conn);
        return;
    }
    if (conn->state == CONN_HEAD)
        http_io_shutdown(conn->fd, conn->ssl);
    http_conn_close(conn);
}

/* --- beginnings, and what others do to a connection --- */

static bool poll_begin(struct http_conn *conn)
{
    if (uv_poll_init(loop_uv(conn->home->loop), &conn->poll, conn->fd))
        return false;
    conn->poll.data = conn;
    conn->poll_open = true;
    list_add(conn);
    return true;
}

static void on_start(struct loop_item *item)
{
    struct http_conn *conn = container_of(item, struct http_conn, item);
    usec_t now;

    if (conn->via == VIA_TLS)
        conn->ssl = http_tls_new(conn->server, conn->fd);
    if ((conn->via == VIA_TLS && !conn->ssl) || conn->server->draining || !poll_begin(conn)) {
        http_conn_close(conn);
        http_conn_free_if_done(conn);
        return;
    }
    now = clock_mono();
    conn->idle_deadline = now + conn->server->limits.header_timeout;
    wait_for(conn, UV_READABLE,
             conn->state == CONN_HEAD
                 ? conn->idle_deadline
                 : MIN(conn->idle_deadline, now + conn->server->limits.read_timeout));
}

void http_conn_new(struct http_loop *home, int fd, enum http_via via, const char *peer,
                   const struct http_address *address)
{
    struct http_conn *conn = xcalloc(1, sizeof *conn);

    conn->server = http_server_ref(home->server);
    conn->home = home;
    conn->fd = fd;
    conn->via = via;
    conn->address = *address;
    conn->counted = true;
    conn->state = via == VIA_TLS ? CONN_HANDSHAKE : CONN_HEAD;
    conn->timer.fn = on_timer;
    conn->stream.conn = conn;
    for (size_t i = 0; i + 1 < sizeof conn->peer && peer[i]; i++)
        conn->peer[i] = peer[i];
    conn->item.fn = on_start;
    if (loop_is_current(home->loop) || !loop_post_item(home->loop, &conn->item))
        on_start(&conn->item);
}

void http_conn_answered(struct http_conn *conn)
{
    conn->pending = false;
    conn->gone_fn = NULL;
    arena_release(&conn->arena);
    buf_release(&conn->in);
    if (conn->state == CONN_CLOSED) {
        body_drop(conn);
        http_conn_free_if_done(conn);
        return;
    }
    conn->state = CONN_WRITE;
    /* Where a handler of another connection answers this one, the next request here waits for its
       own turn: otherwise each could go on to answer the next, ever further down the stack. */
    if (!conn->busy)
        conn->budget = 0;
    conn_drive(conn);
}

void http_conn_detach(struct http_conn *conn)
{
    if (conn->state != CONN_PENDING)
        return;
    conn->state = CONN_DETACHED;
    list_remove(conn);
    poll_close(conn);
    loop_timer_stop(conn->home->loop, &conn->timer);
    conn->timer_due = 0;
    conn->gone_fn = NULL;
}

static void linger_begin(struct http_conn *conn)
{
    conn->linger_queued = false;
    if (conn->server->draining || !poll_begin(conn)) {
        http_conn_close(conn);
        http_conn_free_if_done(conn);
        return;
    }
    conn->state = CONN_LINGER;
    conn->drained = 0;
    wait_for(conn, UV_READABLE, clock_mono() + LINGER_TIME);
}

static void on_return(struct loop_item *item)
{
    struct http_conn *conn = container_of(item, struct http_conn, item);

    conn->pending = false;
    arena_release(&conn->arena);
    buf_release(&conn->in);
    buf_release(&conn->early);
    if (conn->state == CONN_CLOSED || conn->server->draining) {
        http_conn_close(conn);
        http_conn_free_if_done(conn);
    } else if (conn->poll_open) {
        conn->linger_queued = true;
    } else {
        linger_begin(conn);
    }
}

void http_conn_return(struct http_conn *conn)
{
    conn->item.fn = on_return;
    if (!loop_post_item(conn->home->loop, &conn->item))
        on_return(&conn->item);
}
