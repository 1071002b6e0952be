/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * exchange.c -- one request and its answer over the session's connection.
 *
 * The connection is kept between calls, and a server may close it while it idles.  Where that
 * happens a new one is opened without anybody noticing, but a call is sent a second time only if no
 * byte of it had left, or if it is one that changes nothing: the server may have carried it out.
 */
#include "libxapi/client/client.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "libxapi/base/seam.h"

/* A call that must not be sent twice does not take its chances with a connection that a server or
 * a firewall may have given up meanwhile. */
#define FRESH (10 * USEC_PER_SEC)
/* 100 Continue and the like before one answer. */
#define INTERIM_MAX 8

#define PORT_TLS 443
#define PORT_PLAIN 80

struct error *client_cannot_contact(struct xapi_session *s, struct arena *arena, const char *why)
{
    return error_new(arena, "CANNOT_CONTACT_HOST", 2, s->target.host ? s->target.host : "", why);
}

usec_t client_deadline(const struct xapi_session *s, usec_t wait)
{
    return s->timeout ? clock_mono() + s->timeout + wait : 0;
}

void client_host_header(const struct xapi_session *s, struct buf *out)
{
    const struct link_target *t = &s->target;

    if (t->unix_path) {
        buf_puts(out, "localhost");
        return;
    }
    buf_printf(out, strchr(t->host, ':') ? "[%s]" : "%s", t->host);
    if (t->port != (t->tls ? PORT_TLS : PORT_PLAIN))
        buf_printf(out, ":%d", t->port);
}

void client_common_headers(const struct xapi_session *s, struct buf *out)
{
    buf_puts(out, "User-Agent: libxapi\r\n");
    if (s->forwarded_for)
        buf_printf(out,
                   strchr(s->forwarded_for, ':') ? "Forwarded: for=\"[%s]\"\r\n"
                                                 : "Forwarded: for=%s\r\n",
                   s->forwarded_for);
}

static void add_head(const struct xapi_session *s, struct buf *out, size_t length)
{
    buf_puts(out, "POST /RPC2 HTTP/1.1\r\nHost: ");
    client_host_header(s, out);
    buf_puts(out, "\r\n");
    client_common_headers(s, out);
    buf_printf(out, "Content-Type: text/xml\r\nContent-Length: %zu\r\n\r\n", length);
}

static bool may_reuse(struct xapi_session *s, bool repeatable)
{
    return link_is_quiet(&s->link) && (repeatable || clock_mono() - s->last_used < FRESH);
}

static bool read_answer(struct link *link, struct http_head *head, struct buf *body)
{
    int interim = 0;

    do {
        if (!http_read_head(link, head))
            return false;
    } while (head->status < 200 && ++interim < INTERIM_MAX);
    return http_read_body(link, head, WIRE_MAX_BYTES, body);
}

/* True where a call whose exchange failed may be sent again. */
static bool may_repeat(const struct link *link, uint64_t sent_before, bool reused, bool repeatable)
{
    bool answer_began = link->start != link->end;

    if (!reused || link->timed_out || answer_began)
        return false;
    return repeatable || link->sent == sent_before;
}

/* One request, one whole answer.  False with link.why set. */
static bool exchange(struct xapi_session *s, const struct buf *request, bool repeatable,
                     struct http_head *head, struct buf *answer)
{
    struct link *link = &s->link;
    bool again = false;

    for (;;) {
        bool reused = !again && may_reuse(s, repeatable);
        uint64_t before;

        if (!reused) {
            link_close(link);
            if (!link_open(link))
                return false;
        }
        before = link->sent;
        link->timed_out = false;
        if (link_write(link, request->data, request->len) && read_answer(link, head, answer))
            break;
        again = answer->len == 0 && may_repeat(link, before, reused, repeatable);
        if (!again && !repeatable && link->sent != before) {
            size_t n = strlen(link->why);

            snprintf(link->why + n, sizeof(link->why) - n,
                     "; the server may have carried out the call");
        }
        link_close(link);
        if (!again)
            return false;
    }
    s->last_used = clock_mono();
    if (head->close)
        link_close(link);
    return true;
}

static struct error *understand(struct xapi_session *s, struct arena *arena,
                                const struct http_head *head, const struct buf *answer,
                                const struct wire **value)
{
    struct error *e = OK;
    const char *why = "";

    if (head->status != 200)
        return client_cannot_contact(
            s, arena, arena_printf(arena, "the server answered HTTP %d", head->status));
    if (!xmlrpc_read_reply(arena, answer->data ? answer->data : "", answer->len, value, &e, &why))
        return client_cannot_contact(
            s, arena, arena_printf(arena, "the answer cannot be understood: %s", why));
    return e;
}

static void wipe(struct buf *buf)
{
    if (buf->data)
        explicit_bzero(buf->data, buf->size);
}

struct error *client_exchange(struct xapi_session *s, struct arena *arena, struct buf *request,
                              const struct client_call *how, const struct wire **value)
{
    AUTO(buf) whole = {0};
    AUTO(buf) answer = {0};
    struct http_head head;
    bool done;

    *value = NULL;
    s->link.deadline = client_deadline(s, how->wait);
    add_head(s, &whole, request->len);
    buf_reserve(&whole, request->len);
    buf_add(&whole, request->data, request->len);
    done = exchange(s, &whole, how->repeatable, &head, &answer);
    if (how->secret) {
        wipe(&whole);
        wipe(request);
    }
    buf_release(request);
    if (!done)
        return client_cannot_contact(s, arena, s->link.why);
    return understand(s, arena, &head, &answer, value);
}
