/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* server.c -- the real way to the server: a session of libxapi. */
#include "xe-cli/server.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "libxapi/base/memory.h"
#include "xapi/session.h"

#define COPY_CHUNK 65536
#define WAIT_FOR_EVENTS (30 * USEC_PER_SEC)
#define CONSOLE_END 0x1d /* Ctrl-] */

struct session_server {
    struct xe_server server;
    struct xapi_session *session;
    struct xe *xe;
    char *token; /* of 'changed' */
};

static struct session_server *of(struct xe_server *server)
{
    return container_of(server, struct session_server, server);
}

static struct error *server_call(struct xe_server *server, const char *method, const char *params,
                                 const struct wire **value)
{
    struct session_server *s = of(server);

    if (s->xe->options->debug)
        out_error(&s->xe->out, "calling %s\n", method);
    return xapi_call_raw(s->session, method, params, value);
}

static struct error *server_wait(struct xe_server *server, const char *task,
                                 void (*progress)(void *ctx, double done), void *ctx,
                                 const char **result)
{
    struct session_server *s = of(server);
    ref_t ref;

    if (!ref_from_text(task, &ref) || ref_is_null(ref))
        return error_internal(xapi_arena(s->session), "%s is no task", task);
    return xapi_task_wait(s->session, ref, progress, ctx, result);
}

static struct error *stream_failed(struct session_server *s, const struct xapi_stream *stream)
{
    return error_new(
        xapi_arena(s->session), XE_FAILURE, 1,
        arena_printf(xapi_arena(s->session), "The transfer failed: %s", xapi_stream_why(stream)));
}

static struct error *status_error(struct session_server *s, int status)
{
    return error_new(xapi_arena(s->session), XE_FAILURE, 1,
                     arena_printf(xapi_arena(s->session),
                                  "The server refused the transfer with HTTP status %d", status));
}

static struct error *local_error(struct session_server *s, const char *what)
{
    return error_new(xapi_arena(s->session), XE_FAILURE, 1,
                     arena_printf(xapi_arena(s->session), "%s: %s", what, strerror(errno)));
}

/* Sends the whole file; false where the server has had enough, which its status explains. */
static bool send_file(struct session_server *s, struct xapi_stream *stream, int fd, int64_t length,
                      void (*progress)(void *ctx, double done), void *ctx, struct error **e)
{
    char *chunk = xmalloc(COPY_CHUNK);
    int64_t done = 0;
    ssize_t n;
    bool ok = true;

    while (ok && (n = read(fd, chunk, COPY_CHUNK)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            *e = local_error(s, "The file cannot be read");
            break;
        }
        ok = xapi_stream_write(stream, chunk, (size_t)n);
        done += n;
        if (ok && progress && length > 0)
            progress(ctx, (double)done / (double)length);
    }
    free(chunk);
    return ok && !*e;
}

static struct error *server_upload(struct xe_server *server, const char *path, int fd,
                                   int64_t length, void (*progress)(void *ctx, double done),
                                   void *ctx)
{
    struct session_server *s = of(server);
    struct xapi_stream *stream = NULL;
    struct error *e = OK;
    int status = 0;

    TRY(xapi_http_open(s->session, "PUT", path, length, &stream, &status, NULL));
    if (status > 299) {
        e = status_error(s, status);
    } else {
        send_file(s, stream, fd, length, progress, ctx, &e);
        status = e ? 0 : xapi_stream_finish(stream);
        if (!e && status < 0)
            e = stream_failed(s, stream);
        else if (!e && status > 299)
            e = status_error(s, status);
    }
    xapi_stream_close(stream);
    return e;
}

static struct error *write_all(struct session_server *s, int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t done = write(fd, p, n);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return local_error(s, "The file cannot be written");
        p += done;
        n -= (size_t)done;
    }
    return OK;
}

static struct error *receive_file(struct session_server *s, struct xapi_stream *stream, int fd)
{
    char *chunk = xmalloc(COPY_CHUNK);
    struct error *e = OK;
    ssize_t n = 0;

    while (!e && (n = xapi_stream_read(stream, chunk, COPY_CHUNK)) > 0)
        e = write_all(s, fd, chunk, (size_t)n);
    free(chunk);
    return !e && n < 0 ? stream_failed(s, stream) : e;
}

static struct error *server_download(struct xe_server *server, const char *path, int fd)
{
    struct session_server *s = of(server);
    struct xapi_stream *stream = NULL;
    struct error *e;
    int status = 0;

    TRY(xapi_http_open(s->session, "GET", path, 0, &stream, &status, NULL));
    e = status == 200 ? receive_file(s, stream, fd) : status_error(s, status);
    xapi_stream_close(stream);
    return e;
}

static struct error *server_changed(struct xe_server *server, const char *class, const char **token)
{
    struct session_server *s = of(server);
    struct xapi_events events = {0};
    const char *classes[] = {class};
    bool first = !**token;
    char *since = xstrdup(*token);
    struct error *e;

    do {
        xapi_results_free(s->session);
        e = xapi_event_from(s->session, (struct strings){1, classes}, since, WAIT_FOR_EVENTS,
                            &events);
        if (e && error_is(e, "EVENTS_LOST")) {
            /* Whatever was missed shows in the look that follows. */
            *since = '\0';
            first = true;
            e = OK;
            continue;
        }
        if (!e) {
            free(since);
            since = xstrdup(events.token);
        }
    } while (!e && !first && events.n == 0);
    free(s->token);
    s->token = since;
    *token = since;
    return e;
}

static const char *server_session(struct xe_server *server)
{
    return xapi_session_ref(of(server)->session);
}

/* --- console --- */

/* Bytes both ways; false at the end. */
static bool console_turn(struct xapi_stream *stream, struct pollfd fds[2], struct error **e,
                         struct session_server *s)
{
    char bytes[4096];
    ssize_t n;

    if (poll(fds, 2, -1) < 0)
        return errno == EINTR;
    if (fds[1].revents) {
        n = xapi_stream_read(stream, bytes, sizeof bytes);
        if (n <= 0)
            return false;
        *e = write_all(s, STDOUT_FILENO, bytes, (size_t)n);
    }
    if (!*e && fds[0].revents) {
        n = read(STDIN_FILENO, bytes, sizeof bytes);
        if (n <= 0 || memchr(bytes, CONSOLE_END, (size_t)n))
            return false;
        if (!xapi_stream_write(stream, bytes, (size_t)n))
            *e = stream_failed(s, stream);
    }
    return !*e;
}

static struct error *server_console(struct xe_server *server, const char *path)
{
    struct session_server *s = of(server);
    struct xapi_stream *stream = NULL;
    struct termios saved, raw;
    bool terminal = tcgetattr(STDIN_FILENO, &saved) == 0;
    struct error *e = OK;
    int status = 0;

    TRY(xapi_http_open(s->session, "CONNECT", path, 0, &stream, &status, NULL));
    if (status != 200) {
        xapi_stream_close(stream);
        return status_error(s, status);
    }
    if (terminal) {
        raw = saved;
        cfmakeraw(&raw);
        tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
    while (console_turn(stream,
                        (struct pollfd[2]){{.fd = STDIN_FILENO, .events = POLLIN},
                                           {.fd = xapi_stream_fd(stream), .events = POLLIN}},
                        &e, s))
        ;
    if (terminal)
        tcsetattr(STDIN_FILENO, TCSANOW, &saved);
    xapi_stream_close(stream);
    out_always(&s->xe->out, "");
    return e;
}

/* --- connecting --- */

static bool is_local(const char *server)
{
    return !server || !strcmp(server, "127.0.0.1") || !strcmp(server, "localhost");
}

static struct error *try_connect(struct xe *xe, const struct xapi_options *options,
                                 struct session_server *s)
{
    struct error *e = xapi_connect(options, &s->session);

    if (!e)
        return OK;
    e = error_copy(&xe->arena, e);
    xapi_disconnect(s->session);
    s->session = NULL;
    return e;
}

struct error *xe_server_open(struct xe *xe, const struct xe_options *o, const char *session,
                             struct xe_server **out)
{
    struct session_server *s;
    struct xapi_options options = {
        .port = o->port,
        .unix_path = o->socket ? o->socket : getenv("XAPID_SOCKET"),
        .plain = o->plain,
        .user = session   ? NULL
                : o->user ? o->user
                          : "root",
        .password = o->password ? o->password : "null",
        .session = session,
        .originator = "cli",
        .forwarded_for = o->forwarded_for,
    };
    struct error *e = OK;

    /* Who acts for somebody else is not root by being here. */
    if (o->forwarded_for && !session && !o->user)
        return error_new(&xe->arena, "SESSION_AUTHENTICATION_FAILED", 1, "");
    s = xcalloc(1, sizeof *s);
    /* On the host itself the socket comes first, and TLS is never needed. */
    if (is_local(o->server) && !o->port)
        e = try_connect(xe, &options, s);
    if (o->server && !s->session && (!e || error_is(e, "CANNOT_CONTACT_HOST"))) {
        options.host = o->server;
        options.plain = o->plain || (is_local(o->server) && (!o->port || o->port == 80));
        e = try_connect(xe, &options, s);
    } else if (!o->server && o->port) {
        options.host = "127.0.0.1";
        e = try_connect(xe, &options, s);
    }
    if (e) {
        free(s);
        return e;
    }
    s->xe = xe;
    s->server = (struct xe_server){server_call,    server_wait,    server_upload, server_download,
                                   server_changed, server_console, server_session};
    *out = &s->server;
    return OK;
}

void xe_server_close(struct xe_server *server)
{
    struct session_server *s;

    if (!server)
        return;
    s = of(server);
    xapi_disconnect(s->session);
    free(s->token);
    free(s);
}

/* A password typed without being shown; NULL where there is no terminal. */
static const char *ask_password(struct xe *xe)
{
    struct termios saved, quiet;
    char line[256] = "";

    if (tcgetattr(STDIN_FILENO, &saved) < 0)
        return NULL;
    out_error(&xe->out, "Password: ");
    quiet = saved;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
    if (!fgets(line, sizeof line, xe->in))
        line[0] = '\0';
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &saved);
    out_error(&xe->out, "\n");
    line[strcspn(line, "\r\n")] = '\0';
    return arena_strdup(&xe->arena, line);
}

struct error *xe_server_connect(struct xe *xe)
{
    struct xe_options options = *xe->options;

    if (options.user && !options.password)
        options.password = ask_password(xe);
    return xe_server_open(xe, &options, NULL, &xe->server);
}
