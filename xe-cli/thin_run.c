/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * thin_run.c -- the program that serves one client of the thin protocol.
 *
 * A client that vanishes ends it whatever it is doing: a second thread waits for that, cancels the
 * task the command waits for, logs out where the command had logged in, and ends the program.
 */
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "xapi/session.h"
#include "xe-cli/complete.h"
#include "xe-cli/help.h"
#include "xe-cli/run.h"
#include "xe-cli/server.h"
#include "xe-cli/thin.h"
#include "xe-cli/thin_text.h"

#define CLIENT_FD 3
/* Cleaning up behind a client is a courtesy to the daemon. */
#define LAST_CALL_TIMEOUT (5 * USEC_PER_SEC)
#define LOOK_PERIOD (20 * USEC_PER_MSEC)

struct thin_run {
    struct thin client;
    struct xe xe;
    struct xe_options options;
    struct thin_request request;
    struct mutex lock; /* guards what follows */
    char *session;     /* in use; NULL: none yet */
    char *task;        /* that is waited for, or NULL */
    bool done;
};

static struct thin_run *run_of(struct xe *xe)
{
    return container_of((struct thin *)xe->connect_ctx, struct thin_run, client);
}

/* --- When the client goes --- */

/* Cancels it, and clears it away once it has ended; one that does not goes on without anybody. */
static void end_task(struct xapi_session *s, const char *task)
{
    usec_t deadline = clock_mono() + LAST_CALL_TIMEOUT;
    const struct wire *answer;
    AUTO(buf) value = {0};

    codec_xmlrpc.string(&value, task);
    error_ignore(xapi_call_raw(s, "task.cancel", value.data, &answer));
    while (!xapi_call_raw(s, "task.get_status", value.data, &answer) && answer->text) {
        if (strcmp(answer->text, "pending") != 0 && strcmp(answer->text, "cancelling") != 0)
            error_ignore(xapi_call_raw(s, "task.destroy", value.data, &answer));
        else if (clock_mono() > deadline)
            return;
        else
            clock_sleep(LOOK_PERIOD);
    }
}

static void last_calls(struct thin_run *run, const char *session, const char *task)
{
    struct xapi_options options = {.unix_path = run->options.socket,
                                   .session = session,
                                   .forwarded_for = run->options.forwarded_for,
                                   .timeout = LAST_CALL_TIMEOUT};
    struct xapi_session *s = NULL;
    const struct wire *nothing;

    if (xapi_connect(&options, &s))
        return;
    if (task)
        end_task(s, task);
    /* A session that cannot be ended now ends by itself. */
    if (!run->request.session)
        error_ignore(xapi_call_raw(s, "session.logout", NULL, &nothing));
}

static void *watch_client(void *arg)
{
    struct thin_run *run = arg;
    struct pollfd gone = {.fd = CLIENT_FD, .events = POLLRDHUP};

    while (poll(&gone, 1, -1) < 0)
        ;
    mutex_lock(&run->lock);
    if (run->done) {
        mutex_unlock(&run->lock);
        return NULL;
    }
    /* The lock stays: the command goes no further than its next task. */
    if (run->session)
        last_calls(run, run->session, run->task);
    _exit(1);
}

/* Who leaves in between waits for the lock: the task is known then. */
static void task_begins(struct xe *xe)
{
    mutex_lock(&run_of(xe)->lock);
}

static void task_known(struct xe *xe, const char *task)
{
    struct thin_run *run = run_of(xe);

    free(run->task);
    run->task = task ? xstrdup(task) : NULL;
    mutex_unlock(&run->lock);
}

/* --- The command --- */

/* Another pool, that VMs are sent to, is reached as any client reaches it. */
static struct error *connect_thin(struct xe *xe)
{
    struct thin_run *run = run_of(xe);

    if (xe != &run->xe)
        return xe_server_open(xe, xe->options, NULL, &xe->server);
    TRY(xe_server_open(xe, xe->options, run->request.session, &xe->server));
    mutex_lock(&run->lock);
    run->session = xstrdup(xe->server->session(xe->server));
    mutex_unlock(&run->lock);
    return OK;
}

static bool read_request(struct thin_run *run)
{
    char *text = xmalloc(THIN_REQUEST_MAX + 1);
    size_t n = fread(text, 1, THIN_REQUEST_MAX + 1, stdin);
    bool ok = n <= THIN_REQUEST_MAX && thin_request_read(&run->xe.arena, text, n, &run->request);

    explicit_bzero(text, n);
    free(text);
    return ok;
}

/* The words to complete come first, then who asks. */
static int run_completion(struct thin_run *run)
{
    struct xe_params who = {0};
    size_t n = run->request.n;
    struct xe_pair pairs[2];

    while (n > 1 && who.n < ARRAY_SIZE(pairs)) {
        const char *word = run->request.words[n - 1], *eq = strchr(word, '=');

        if (strncmp(word, "username=", 9) != 0 && strncmp(word, "password=", 9) != 0)
            break;
        pairs[who.n++] =
            (struct xe_pair){arena_strndup(&run->xe.arena, word, (size_t)(eq - word)), eq + 1};
        n--;
    }
    who.v = pairs;
    run->options.user = args_get(&who, "username");
    run->options.password = args_get(&who, "password");
    complete_run(&run->xe, n - 1, run->request.words + 1);
    return 0;
}

static int run_request(struct thin_run *run)
{
    struct xe *xe = &run->xe;
    struct xe_command_line line;

    if (read_request(run) && run->request.n && !strcmp(run->request.words[0], "--completion"))
        return run_completion(run);
    switch (args_parse_words(&xe->arena, run->request.n, run->request.words, &line)) {
    case ARGS_OK:
        break;
    case ARGS_USAGE:
        help_usage(xe, NULL);
        return 1;
    default:
        out_error(&xe->out, "Syntax error: \nFor usage run: 'xe help'\n");
        return 1;
    }
    run->options.user = line.options.user;
    run->options.password = line.options.password;
    xe->command = line.command;
    xe->params = line.params;
    return xe_run(xe);
}

/* Logs out before the client hears the end, after which it may be gone at once. */
static void end(struct thin_run *run, int code)
{
    struct xe *xe = &run->xe;

    mutex_lock(&run->lock);
    run->done = true;
    mutex_unlock(&run->lock);
    xe_server_close(xe->server);
    fclose(xe->in);
    fclose(xe->out.out);
    fclose(xe->out.err);
    thin_exit(&run->client, code);
    /* What was sent can still be read; the watching thread wakes. */
    shutdown(CLIENT_FD, SHUT_RDWR);
}

static void run_release(struct thin_run *run)
{
    thin_release(&run->client);
    arena_release(&run->xe.arena);
    mutex_release(&run->lock);
    free(run->session);
    free(run->task);
}

int thin_main(const char *socket, const char *forwarded_for)
{
    struct thin_run run = {.client.fd = CLIENT_FD,
                           .options = {.socket = socket, .forwarded_for = forwarded_for}};
    struct thread watch;
    const char *fds = getenv("LISTEN_FDS");

    if (!fds || strcmp(fds, "1") != 0) {
        fputs("xe --thin is started by the daemon\n", stderr);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    mutex_init(&run.lock);
    run.xe = (struct xe){.options = &run.options,
                         .in = thin_input(&run.client),
                         .io = &xe_there,
                         .connect = connect_thin,
                         .connect_ctx = &run.client,
                         .task_begins = task_begins,
                         .task_known = task_known,
                         .out = {.out = thin_output(&run.client),
                                 .err = thin_errors(&run.client),
                                 .arena = &run.xe.arena}};
    thread_start(&watch, "watch", watch_client, &run);
    end(&run, run_request(&run));
    thread_join(&watch);
    run_release(&run);
    return 0;
}
