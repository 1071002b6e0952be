/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cli.c -- a client of the thin protocol, joined with the program that runs its command.
 *
 * The program has the request as its standard input and the client as descriptor 3, behind a socket
 * pair whose other end is ours.  Whichever side ends first, the other is told by the end of its
 * connection: a program whose client has gone cancels its task, logs out and ends, or is killed.
 */
#include "xapid/stream/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libxapi/base/child.h"
#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "xapid/main/xapid.h"
#include "xapid/stream/cli_frames.h"

#define BLOCK (32 << 10)
/* How often a connection looks whether it shall end. */
#define POLL (2 * USEC_PER_SEC)
/* A side that takes nothing for that long is gone. */
#define STALL (60 * USEC_PER_SEC)
#define GREETING_TIMEOUT (30 * USEC_PER_SEC)
/* event-wait and the export of a large VM take their time. */
#define COMMAND_TIMEOUT (24 * 3600 * USEC_PER_SEC)
/* To cancel a task and log out. */
#define END_GRACE (10 * USEC_PER_SEC)

/* One client; owned by its thread. */
struct cli {
    struct clis *clis;
    struct cli *next; /* under clis->lock */
    struct xapid *xapid;
    struct http_request *request;
    char *peer; /* outlives the request, for others look at it */
    bool local; /* root of this host */
    struct http_stream *stream;
    struct child *program;
    int fd; /* the program */
    struct cli_frames frames;
    bool ended;
    uint8_t block[BLOCK];
};

struct clis {
    struct mutex lock;
    struct cond gone;
    bool stopping;
    struct cli *first;
};

/*** who is connected ***/

struct clis *clis_new(void)
{
    struct clis *c = xcalloc(1, sizeof *c);

    mutex_init(&c->lock);
    cond_init(&c->gone);
    return c;
}

void clis_free(struct clis *c)
{
    if (!c)
        return;
    mutex_lock(&c->lock);
    c->stopping = true;
    while (c->first)
        cond_wait(&c->gone, &c->lock);
    mutex_unlock(&c->lock);
    cond_release(&c->gone);
    mutex_release(&c->lock);
    free(c);
}

static bool is_stopping(struct clis *c)
{
    MUTEX_GUARD(&c->lock);
    return c->stopping;
}

/* False if there are too many like it. */
static bool join(struct clis *c, struct cli *cli)
{
    int alike = 0, address = 0;
    MUTEX_GUARD(&c->lock);

    for (const struct cli *o = c->first; o; o = o->next) {
        alike += o->local == cli->local;
        address += !o->local && !strcmp(o->peer, cli->peer);
    }
    if (c->stopping || alike >= (cli->local ? CLI_LOCAL_MAX : CLI_REMOTE_MAX) ||
        (!cli->local && address >= CLI_ADDRESS_MAX))
        return false;
    cli->clis = c;
    cli->next = c->first;
    c->first = cli;
    return true;
}

/* 'c' may be gone afterwards. */
static void leave(struct clis *c, struct cli *cli)
{
    struct cli **p;
    MUTEX_GUARD(&c->lock);

    for (p = &c->first; *p != cli; p = &(*p)->next)
        ;
    *p = cli->next;
    cond_broadcast(&c->gone);
}

/*** the two ends ***/

static bool greet(struct cli *c)
{
    uint8_t theirs[CLI_GREETING_SIZE];
    size_t n = 0;

    if (!http_stream_write(c->stream, cli_greeting, sizeof cli_greeting, STALL))
        return false;
    while (n < sizeof theirs) {
        ssize_t got = http_stream_read(c->stream, theirs + n, sizeof theirs - n, GREETING_TIMEOUT);

        if (got <= 0)
            return false;
        n += (size_t)got;
    }
    return cli_greeting_is_ours(theirs);
}

static bool start_program(struct cli *c)
{
    const char *argv[] = {c->xapid->options.cli_program, "--thin", c->xapid->options.unix_socket,
                          c->local ? NULL : c->peer, NULL};
    struct child_spec spec = {.argv = argv,
                              .input = c->request->body,
                              .input_size = c->request->body_size,
                              .timeout = COMMAND_TIMEOUT};
    struct error *e;
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
        log_warning("no connection for a command: %s", strerror(errno));
        return false;
    }
    spec.listen_fd = ends[1];
    e = child_start(c->request->arena, &spec, &c->program);
    close(ends[1]);
    c->fd = ends[0];
    if (e || fcntl(c->fd, F_SETFL, O_NONBLOCK) < 0) {
        log_warning("a command could not be started: %s", e ? e->params[0] : strerror(errno));
        return false;
    }
    /* The password is in there. */
    explicit_bzero((char *)c->request->body, c->request->body_size);
    return true;
}

static void to_program(struct cli *c, size_t n)
{
    struct pollfd room = {.fd = c->fd, .events = POLLOUT};

    for (size_t done = 0; done < n;) {
        ssize_t sent = send(c->fd, c->block + done, n - done, MSG_NOSIGNAL);

        if (sent > 0) {
            done += (size_t)sent;
            continue;
        }
        if (sent == 0 || (errno != EAGAIN && errno != EINTR) ||
            poll(&room, 1, (int)(STALL / 1000)) == 0) {
            c->ended = true;
            return;
        }
    }
}

static void from_client(struct cli *c)
{
    ssize_t n = http_stream_read(c->stream, c->block, sizeof c->block, STALL);

    if (n > 0)
        to_program(c, (size_t)n);
    else
        c->ended = true;
}

static void from_program(struct cli *c)
{
    ssize_t n = recv(c->fd, c->block, sizeof c->block, 0);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0)
        cli_frames_see(&c->frames, c->block, (size_t)n);
    if (n <= 0 || !http_stream_write(c->stream, c->block, (size_t)n, STALL))
        c->ended = true;
}

static void relay(struct cli *c)
{
    while (!c->ended && !is_stopping(c->clis)) {
        bool program = false;
        bool client = http_stream_wait(c->stream, c->fd, &program, POLL);

        if (program)
            from_program(c);
        if (client && !c->ended)
            from_client(c);
    }
}

/* A client that has not been told how its command ended is told that this is not known. */
static void say_end(struct cli *c)
{
    AUTO(buf) out = {0};

    if (c->frames.ended || !cli_frames_whole(&c->frames))
        return;
    cli_frame_error(&out, "INTERNAL_ERROR", "the command ended before it was done");
    cli_frame_exit(&out, 1);
    /* The client may have gone. */
    if (!http_stream_write(c->stream, out.data, out.len, STALL))
        return;
}

static void end_program(struct cli *c)
{
    const struct child_result *result = NULL;

    if (c->fd >= 0)
        close(c->fd);
    if (!c->program)
        return;
    if (child_wait(c->program, END_GRACE, &result) && result && result->status)
        log_warning("a command of %s ended with status %d%s%s", c->local ? "root" : c->peer,
                    result->status, *result->errors ? ": " : "", result->errors);
    child_free(c->program);
}

static void cli_free(struct cli *c)
{
    free(c->peer);
    free(c);
}

static void *serve(void *arg)
{
    struct cli *c = arg;
    struct clis *clis = c->clis;

    c->stream = http_take_over(c->request);
    if (greet(c)) {
        if (start_program(c))
            relay(c);
        say_end(c);
    }
    end_program(c);
    http_stream_close(c->stream);
    leave(clis, c);
    cli_free(c);
    return NULL;
}

void cli_post(struct http_request *request, void *ctx)
{
    struct cli *c = xcalloc(1, sizeof *c);
    struct thread thread;

    c->xapid = ctx;
    c->request = request;
    c->peer = xstrdup(request->peer);
    c->local = request->via == VIA_UNIX;
    c->fd = -1;
    if (!*c->xapid->options.unix_socket || !join(c->xapid->clis, c)) {
        http_error(request, 503,
                   *c->xapid->options.unix_socket ? "There are too many commands under way."
                                                  : "This daemon has no socket for programs.");
        cli_free(c);
        return;
    }
    thread_start(&thread, "cli", serve, c);
    thread_detach(&thread);
}
