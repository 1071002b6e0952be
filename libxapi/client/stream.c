/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * stream.c -- HTTP beside the calls: images in and out, consoles.
 *
 * A stream has a connection of its own.  An upload of known length asks for 100 Continue, so that
 * a refusal comes before gigabytes are sent; import handlers answer 200 before the body, and that
 * counts as well.  An upload of unknown length ends with the connection, which HTTP/1.0 allows.
 */
#include "libxapi/client/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"

/* A server that knows nothing of 100 Continue waits for the body: so does no more than this. */
#define CONTINUE_WAIT (3 * USEC_PER_SEC)

enum direction { DOWN, UP, BOTH };

struct xapi_stream {
    struct xapi_session *session;
    struct link link;
    struct http_head head;
    enum direction direction;
    bool answered;  /* 'head' is the final one */
    bool ended;     /* our side has written all */
    int64_t unread; /* of the answer's body; -1: up to the connection's end */
    int64_t unsent; /* of ours; -1: any number */
};

/* ---- opening ---- */

static bool is_path(const char *p)
{
    if (*p != '/')
        return false;
    for (; *p; p++) {
        if ((unsigned char)*p <= ' ' || *p == 0x7f || *p == '#')
            return false;
    }
    return true;
}

static enum direction direction_of(const char *method)
{
    if (strcmp(method, "CONNECT") == 0)
        return BOTH;
    return strcmp(method, "PUT") == 0 || strcmp(method, "POST") == 0 ? UP : DOWN;
}

static void add_request(struct xapi_stream *t, struct buf *out, const char *method,
                        const char *path, int64_t length)
{
    const struct xapi_session *s = t->session;
    bool old = t->direction == BOTH || (t->direction == UP && length < 0);

    buf_printf(out, "%s %s", method, path);
    if (s->ref)
        buf_printf(out, "%csession_id=%s", strchr(path, '?') ? '&' : '?', s->ref);
    buf_printf(out, " HTTP/1.%d\r\nHost: ", old ? 0 : 1);
    client_host_header(s, out);
    buf_puts(out, "\r\n");
    client_common_headers(s, out);
    if (!old)
        buf_puts(out, "Connection: close\r\n");
    if (t->direction == UP && length >= 0)
        buf_printf(out, "Content-Length: %lld\r\nExpect: 100-continue\r\n", (long long)length);
    buf_puts(out, "\r\n");
}

/* Reads heads up to the final one or, with 'or_continue', to the first. */
static bool read_heads(struct xapi_stream *t, bool or_continue)
{
    do {
        if (!http_read_head(&t->link, &t->head))
            return false;
        t->answered = t->head.status >= 200;
    } while (!t->answered && !or_continue);
    if (t->answered)
        t->unread = t->direction == BOTH ? -1 : t->head.length;
    return true;
}

/* The first word of the answer.  For uploads silence means: go on. */
static bool first_answer(struct xapi_stream *t)
{
    struct link *link = &t->link;
    bool may_be_silent = t->direction == UP && t->unsent >= 0;
    usec_t patience = clock_mono() + CONTINUE_WAIT;
    bool impatient = may_be_silent && (!link->deadline || patience < link->deadline);

    if (impatient)
        link->deadline = patience;
    if (read_heads(t, may_be_silent))
        return true;
    if (!impatient || !link->timed_out)
        return false;
    t->head.status = 100;
    return true;
}

static bool start(struct xapi_stream *t, const char *method, const char *path, int64_t length)
{
    AUTO(buf) request = {0};
    bool done;

    t->link.deadline = client_deadline(t->session, 0);
    add_request(t, &request, method, path, length);
    done =
        link_open(&t->link) && link_write(&t->link, request.data, request.len) && first_answer(t);
    explicit_bzero(request.data, request.size);
    return done;
}

struct error *xapi_http_open(struct xapi_session *s, const char *method, const char *path_and_query,
                             int64_t content_length, struct xapi_stream **out, int *status,
                             int64_t *length)
{
    struct xapi_stream *t;

    *out = NULL;
    if (!is_path(path_and_query))
        return error_internal(&s->arena, "%s is no path of a URL", path_and_query);
    t = xcalloc(1, sizeof(*t));
    t->session = s;
    t->direction = direction_of(method);
    t->unsent = t->direction == UP ? content_length : t->direction == BOTH ? -1 : 0;
    link_init(&t->link, &s->target);
    if (!start(t, method, path_and_query, content_length)) {
        struct error *e = client_cannot_contact(s, &s->arena, t->link.why);

        xapi_stream_close(t);
        return e;
    }
    *out = t;
    if (status)
        *status = t->head.status;
    if (length)
        *length = t->answered ? t->unread : -1;
    return OK;
}

/* ---- bytes ---- */

static bool fail(struct xapi_stream *t, const char *why)
{
    snprintf(t->link.why, sizeof(t->link.why), "%s", why);
    return false;
}

static void set_deadline(struct xapi_stream *t)
{
    t->link.deadline = client_deadline(t->session, 0);
    t->link.timed_out = false;
}

ssize_t xapi_stream_read(struct xapi_stream *t, void *out, size_t n)
{
    ssize_t got;

    set_deadline(t);
    if (!t->answered && !read_heads(t, false))
        return -1;
    if (t->unread == 0 || n == 0)
        return 0;
    if (t->unread > 0 && n > (uint64_t)t->unread)
        n = (size_t)t->unread;
    got = link_read(&t->link, out, n);
    if (got == 0 && t->unread > 0) {
        fail(t, "the answer broke off");
        return -1;
    }
    if (got > 0 && t->unread > 0)
        t->unread -= got;
    return got;
}

bool xapi_stream_write(struct xapi_stream *t, const void *p, size_t n)
{
    set_deadline(t);
    if (t->direction == DOWN || t->ended)
        return fail(t, "nothing may be written here");
    if (t->unsent >= 0 && n > (uint64_t)t->unsent)
        return fail(t, "more was written than announced");
    if (!link_write(&t->link, p, n))
        return false;
    if (t->unsent >= 0)
        t->unsent -= (int64_t)n;
    return true;
}

/* Reads the rest of the answer. */
static bool drain(struct xapi_stream *t)
{
    char waste[4096];
    ssize_t got;

    do {
        got = xapi_stream_read(t, waste, sizeof(waste));
    } while (got > 0);
    return got == 0;
}

/*
 * Waits for the server to close after it had answered early: closing first could reset the
 * connection, and with it what the server has not read yet.  How it closes says nothing about the
 * import, the task does; only silence is a failure.
 */
static bool wait_for_close(struct xapi_stream *t)
{
    char waste[4096];

    set_deadline(t);
    while (link_read(&t->link, waste, sizeof(waste)) > 0)
        set_deadline(t);
    return !t->link.timed_out;
}

/* Ends our side of an upload. */
static bool end_body(struct xapi_stream *t)
{
    if (t->unsent > 0)
        return fail(t, "less was written than announced");
    if (t->unsent < 0 && !link_end_writing(&t->link))
        return false;
    t->ended = true;
    return true;
}

int xapi_stream_finish(struct xapi_stream *t)
{
    bool early = t->answered;

    set_deadline(t);
    if (t->direction != UP)
        return t->answered ? t->head.status : -1;
    if (!(early && t->head.status >= 300) && !t->ended && !end_body(t))
        return -1;
    if (early)
        return wait_for_close(t) ? t->head.status : -1;
    if (!read_heads(t, false) || !drain(t))
        return -1;
    return t->head.status;
}

const char *xapi_stream_header(const struct xapi_stream *t, const char *name)
{
    return t->answered ? http_head_find(&t->head, name) : NULL;
}

const char *xapi_stream_why(const struct xapi_stream *t)
{
    return t->link.why;
}

int xapi_stream_fd(const struct xapi_stream *t)
{
    return t->link.fd;
}

void xapi_stream_close(struct xapi_stream *t)
{
    if (!t)
        return;
    link_close(&t->link);
    free(t);
}
