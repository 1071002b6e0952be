/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/stream/console.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "xapid/auth/audit.h"
#include "xapid/auth/auth.h"
#include "xapid/db/db.h"
#include "xapid/main/xapid.h"
#include "xapid/stream/console_target.h"
#include "xapid/stream/relay.h"
#include "xapid/stream/rfb_watch.h"
#include "xapid/stream/websocket.h"

#define BLOCK (32 << 10)
/* How often a connection looks whether it shall end. */
#define POLL (2 * USEC_PER_SEC)
/* A side that takes nothing for that long is gone. */
#define STALL (60 * USEC_PER_SEC)
/* A browser that says nothing is asked, and given up when it does not answer. */
#define PING_AFTER (30 * USEC_PER_SEC)
#define GONE_AFTER (100 * USEC_PER_SEC)

enum framing { FRAMING_NONE, FRAMING_BINARY, FRAMING_BASE64 };

/* One connection; owned by its thread. */
struct console_session {
    struct consoles *consoles;
    struct console_session *next; /* under consoles->lock */
    struct xapid *xapid;
    struct http_request *request; /* until it is taken over or answered */
    struct auth_http_who who;
    const char *action;
    ref_t vm;
    bool shows_vm; /* 'vm' counts for the limit; under consoles->lock */
    enum framing framing;
    const char *protocol; /* to be named in the reply, or NULL */
    char accept[WS_ACCEPT_SIZE];
    usec_t idle_limit; /* 0: none */

    struct http_stream *stream;
    int fd; /* of the screen */
    struct rfb_watch watch;
    struct ws_decoder decoder;
    struct ws_base64 base64;
    usec_t active, heard, pinged; /* monotonic */
    bool ended;
    uint8_t block[BLOCK], out[WS_HEADER_MAX + WS_BASE64_SIZE(BLOCK)];
};

struct consoles {
    struct mutex lock;
    struct cond gone;
    int n;
    bool stopping;
    struct console_session *first;
};

/*** who is connected ***/

struct consoles *consoles_new(void)
{
    struct consoles *c = xcalloc(1, sizeof *c);

    mutex_init(&c->lock);
    cond_init(&c->gone);
    return c;
}

void consoles_free(struct consoles *c)
{
    if (!c)
        return;
    mutex_lock(&c->lock);
    c->stopping = true;
    while (c->n)
        cond_wait(&c->gone, &c->lock);
    mutex_unlock(&c->lock);
    cond_release(&c->gone);
    mutex_release(&c->lock);
    free(c);
}

static bool is_stopping(struct consoles *c)
{
    MUTEX_GUARD(&c->lock);
    return c->stopping;
}

/* False if there are too many. */
static bool join_consoles(struct consoles *c, struct console_session *s)
{
    MUTEX_GUARD(&c->lock);
    if (c->stopping || c->n >= CONSOLES_MAX)
        return false;
    c->n++;
    s->consoles = c;
    s->next = c->first;
    c->first = s;
    return true;
}

/* The last thing a connection does: 'c' may be gone afterwards. */
static void leave_consoles(struct consoles *c, struct console_session *s)
{
    struct console_session **p;

    MUTEX_GUARD(&c->lock);
    for (p = &c->first; *p != s; p = &(*p)->next)
        ;
    *p = s->next;
    c->n--;
    cond_broadcast(&c->gone);
}

/* Takes the VM's screen; with 'alone' only where nobody has it. */
static bool take_screen(struct console_session *s, ref_t vm, bool alone)
{
    MUTEX_GUARD(&s->consoles->lock);
    for (const struct console_session *o = s->consoles->first; alone && o; o = o->next)
        if (o->shows_vm && ref_equal(o->vm, vm))
            return false;
    s->vm = vm;
    s->shows_vm = true;
    return true;
}

/*** what is asked for ***/

struct refusal {
    int status;
    const char *detail;
};

/* status 0: may go on. */
static struct refusal check_target(struct call *call, struct console_session *s,
                                   const struct console_target *t)
{
    const struct vm *vm = t->vm;
    const struct pool *pool = db_find(call, CLASS_pool, call->xapid->pool);
    const struct host *host = db_find(call, CLASS_host, call->xapid->host);
    bool limited = pool && pool->limit_console_sessions;

    if (vm->is_control_domain && call->session->role > ROLE_POOL_ADMIN)
        return (struct refusal){403, "The console of a control domain is for pool-admin."};
    if (!console_target_lives(t))
        return (struct refusal){503, "The VM is not running."};
    if (limited && s->framing != FRAMING_NONE)
        return (struct refusal){503, "Consoles are limited to one session, which browsers cannot "
                                     "have."};
    if (!take_screen(s, vm->ref, limited))
        return (struct refusal){503, "Somebody else is connected to this console."};
    if (vm->is_control_domain)
        s->idle_limit = host ? host->console_idle_timeout * USEC_PER_SEC : 0;
    else
        s->idle_limit = pool ? pool->vm_console_idle_timeout * USEC_PER_SEC : 0;
    return (struct refusal){0, NULL};
}

/*** to the client ***/

static void send_frame(struct console_session *s, enum ws_opcode opcode, const void *data, size_t n)
{
    size_t head = ws_header(s->out, opcode, n);

    memcpy(s->out + head, data, n);
    if (!http_stream_write(s->stream, s->out, head + n, STALL))
        s->ended = true;
}

static void send_close(struct console_session *s, enum ws_close_code code)
{
    uint8_t payload[2] = {(uint8_t)(code >> 8), (uint8_t)code};

    if (s->framing != FRAMING_NONE && !s->ended)
        send_frame(s, WS_CLOSE, payload, sizeof payload);
    s->ended = true;
}

static void send_data(struct console_session *s, const uint8_t *data, size_t n)
{
    size_t head, size;

    if (s->framing == FRAMING_NONE) {
        s->ended = s->ended || !http_stream_write(s->stream, data, n, STALL);
    } else if (s->framing == FRAMING_BINARY) {
        send_frame(s, WS_BINARY, data, n);
    } else {
        size = (n + 2) / 3 * 4;
        head = ws_header(s->out, WS_TEXT, size);
        ws_base64_encode(data, n, (char *)s->out + head);
        s->ended = s->ended || !http_stream_write(s->stream, s->out, head + size, STALL);
    }
}

/* What the screen has to say, as much as is there. */
static void from_screen(struct console_session *s)
{
    uint8_t bytes[BLOCK];
    ssize_t n = recv(s->fd, bytes, sizeof bytes, MSG_DONTWAIT);

    if (n > 0)
        send_data(s, bytes, (size_t)n);
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        send_close(s, WS_CLOSE_NORMAL);
}

/*** to the screen ***/

/* While the screen takes nothing it may be because nobody takes what it says. */
static void to_screen(struct console_session *s, const uint8_t *data, size_t n)
{
    usec_t deadline = clock_mono() + STALL;

    if (rfb_watch(&s->watch, data, n))
        s->active = clock_mono();
    while (n && !s->ended) {
        ssize_t sent = send(s->fd, data, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        struct pollfd p = {.fd = s->fd, .events = POLLIN | POLLOUT};

        if (sent > 0) {
            data += sent;
            n -= (size_t)sent;
            deadline = clock_mono() + STALL;
            continue;
        }
        if ((sent < 0 && errno != EAGAIN && errno != EINTR) || clock_mono() > deadline ||
            is_stopping(s->consoles)) {
            send_close(s, WS_CLOSE_GOING_AWAY);
            return;
        }
        if (poll(&p, 1, (int)(POLL / USEC_PER_MSEC)) > 0 && (p.revents & POLLIN))
            from_screen(s);
    }
}

static void message_data(struct console_session *s, const struct ws_event *event)
{
    uint8_t bytes[BLOCK];
    ssize_t n;

    if (s->framing == FRAMING_BINARY) {
        to_screen(s, event->data, event->size);
        return;
    }
    n = ws_base64_decode(&s->base64, event->data, event->size, bytes);
    if (n < 0 || (event->message_end && !ws_base64_end(&s->base64))) {
        send_close(s, WS_CLOSE_BAD_DATA);
        return;
    }
    to_screen(s, bytes, (size_t)n);
}

static void frames(struct console_session *s, uint8_t *bytes, size_t n)
{
    size_t used = 0;

    while (!s->ended) {
        struct ws_event event;

        used += ws_decode(&s->decoder, bytes + used, n - used, &event);
        if (event.kind == WS_EVENT_NONE)
            return;
        if (event.kind == WS_EVENT_DATA)
            message_data(s, &event);
        else if (event.kind == WS_EVENT_BROKEN)
            send_close(s, event.code);
        else if (event.opcode == WS_CLOSE)
            send_close(s, WS_CLOSE_NORMAL);
        else if (event.opcode == WS_PING)
            send_frame(s, WS_PONG, event.data, event.size);
    }
}

static void from_client(struct console_session *s)
{
    /* What looked readable may have been TLS's own. */
    ssize_t n = http_stream_read(s->stream, s->block, sizeof s->block, 50 * USEC_PER_MSEC);

    if (n < 0 && errno == ETIMEDOUT)
        return;
    if (n <= 0) {
        s->ended = true;
        return;
    }
    s->heard = clock_mono();
    if (s->framing == FRAMING_NONE)
        to_screen(s, s->block, (size_t)n);
    else
        frames(s, s->block, (size_t)n);
}

/*** one connection ***/

static void look_at_clock(struct console_session *s)
{
    usec_t now = clock_mono();

    if (is_stopping(s->consoles) || (s->idle_limit && now - s->active >= s->idle_limit)) {
        send_close(s, WS_CLOSE_GOING_AWAY);
    } else if (s->framing != FRAMING_NONE && now - s->heard >= GONE_AFTER) {
        s->ended = true;
    } else if (s->framing != FRAMING_NONE && now - s->heard >= PING_AFTER &&
               now - s->pinged >= PING_AFTER) {
        s->pinged = now;
        send_frame(s, WS_PING, "", 0);
    }
}

static void relay(struct console_session *s)
{
    s->active = s->heard = s->pinged = clock_mono();
    while (!s->ended) {
        bool screen = false;
        bool client = http_stream_wait(s->stream, s->fd, &screen, POLL);

        if (client)
            from_client(s);
        if (screen && !s->ended)
            from_screen(s);
        if (!s->ended)
            look_at_clock(s);
    }
}

static bool start_stream(struct console_session *s)
{
    char head[256];
    int n;

    if (s->framing == FRAMING_NONE)
        return http_stream_start(s->stream, 200, -1, 0, NULL);
    n = snprintf(head, sizeof head,
                 "HTTP/1.1 101 Switching Protocols\r\n"
                 "Upgrade: websocket\r\n"
                 "Connection: Upgrade\r\n"
                 "Sec-WebSocket-Accept: %s\r\n%s%s%s\r\n",
                 s->accept, s->protocol ? "Sec-WebSocket-Protocol: " : "",
                 s->protocol ? s->protocol : "", s->protocol ? "\r\n" : "");
    return http_stream_write(s->stream, head, (size_t)n, STALL);
}

static bool is_elsewhere(const struct call *call, const struct vm *vm)
{
    return !ref_is_null(vm->resident_on) && !ref_equal(vm->resident_on, call->xapid->host);
}

/* Finds the screen and opens it; false if the request has been refused, or passed on to the host on
 * which the VM runs.  Nothing of the database is held afterwards. */
static bool prepare(struct console_session *s)
{
    struct call call = {.arena = s->request->arena,
                        .xapid = s->xapid,
                        .session = s->who.session,
                        .snap = db_snapshot(s->xapid->db)};
    struct refusal refusal = {404, "There is no such VM and no such console."};
    struct console_target target;

    if (!console_target_find(&call, s->request, &target)) {
        /* refused below */
    } else if (is_elsewhere(&call, target.vm)) {
        if (relay_request(&call, s->request, target.vm->resident_on))
            return false;
        refusal = (struct refusal){503, "The host on which the VM runs does not answer."};
    } else {
        refusal = check_target(&call, s, &target);
        if (!refusal.status) {
            s->fd = console_target_open(&call, &target);
            if (s->fd < 0)
                refusal = (struct refusal){503, "The VM has no console that answers."};
        }
    }
    if (!refusal.status)
        audit_http(&call, s->action, OK);
    call_let_go(&call);
    if (refusal.status)
        http_error(s->request, refusal.status, refusal.detail);
    return !refusal.status;
}

static void *serve(void *arg)
{
    struct console_session *s = arg;
    struct consoles *consoles = s->consoles;

    if (prepare(s)) {
        s->stream = http_take_over(s->request);
        if (start_stream(s))
            relay(s);
        http_stream_close(s->stream);
    }
    if (s->fd >= 0)
        close(s->fd);
    auth_http_release(s->xapid, &s->who);
    leave_consoles(consoles, s);
    free(s);
    return NULL;
}

/* What a handler found in the request's head; in the request's arena. */
struct opening {
    struct xapid *xapid;
    const char *action;
    enum framing framing;
    const char *protocol;
    char accept[WS_ACCEPT_SIZE];
};

static void with_session(struct http_request *request, void *ctx, struct error *e,
                         const struct auth_http_who *who)
{
    const struct opening *o = ctx;
    struct console_session *s;
    struct thread thread;

    if (e) {
        auth_http_refuse(request, o->action, e);
        return;
    }
    s = xcalloc(1, sizeof *s);
    s->xapid = o->xapid;
    s->request = request;
    s->who = *who;
    s->action = o->action;
    s->framing = o->framing;
    s->protocol = o->protocol;
    memcpy(s->accept, o->accept, sizeof s->accept);
    s->fd = -1;
    if (!join_consoles(o->xapid->consoles, s)) {
        auth_http_release(s->xapid, &s->who);
        free(s);
        http_error(request, 503, "There are too many open consoles.");
        return;
    }
    thread_start(&thread, "console", serve, s);
    thread_detach(&thread);
}

/*** the handlers ***/

void console_connect(struct http_request *request, void *ctx)
{
    struct opening *o = arena_new(request->arena, struct opening);

    *o = (struct opening){.xapid = ctx, .action = "connect_console", .framing = FRAMING_NONE};
    auth_http(o->xapid, request, o->action, with_session, o);
}

/*
 * A page of another origin could use the cookie or password that a browser keeps for us; one that
 * brings the session itself cannot have it from the browser.
 */
static bool is_cross_site(const struct http_request *request)
{
    const char *origin = http_header(request, "origin"), *host = http_header(request, "host");
    const char *where;

    if (!origin || http_query(request, "session_id"))
        return false;
    where = strstr(origin, "://");
    return !where || !host || strcasecmp(where + 3, host) != 0;
}

/* NULL, or why not. */
static const char *read_opening(const struct http_request *request, struct opening *o)
{
    const char *key = http_header(request, "sec-websocket-key");
    const char *wanted = http_header(request, "sec-websocket-protocol");

    if (request->minor_version < 1 || !ws_has_token(http_header(request, "upgrade"), "websocket") ||
        !ws_has_token(http_header(request, "connection"), "upgrade"))
        return "This address is for WebSocket.";
    if (!key || !ws_accept(key, o->accept))
        return "Sec-WebSocket-Key is missing or wrong.";
    o->framing = FRAMING_BINARY;
    if (!wanted)
        return NULL;
    o->protocol = ws_has_token(wanted, "binary")   ? "binary"
                  : ws_has_token(wanted, "base64") ? "base64"
                                                   : NULL;
    if (o->protocol && strcmp(o->protocol, "base64") == 0)
        o->framing = FRAMING_BASE64;
    return o->protocol ? NULL : "The sub-protocols are binary and base64.";
}

void console_websocket(struct http_request *request, void *ctx)
{
    static const struct http_pair version = {"Sec-WebSocket-Version", "13"};
    struct opening *o = arena_new(request->arena, struct opening);
    const char *asked = http_header(request, "sec-websocket-version");
    const char *why;

    *o = (struct opening){.xapid = ctx, .action = "connect_console_ws"};
    why = read_opening(request, o);
    if (why)
        http_error(request, 400, why);
    else if (!asked || strcmp(asked, "13") != 0)
        http_error_with(request, 400, "Only version 13 of WebSocket is spoken.", 1, &version);
    else if (is_cross_site(request))
        http_error(request, 403, "The page is of another origin.");
    else
        auth_http(o->xapid, request, o->action, with_session, o);
}
