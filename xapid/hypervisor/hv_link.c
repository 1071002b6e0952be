/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* hv_link.c -- see hv_link.h. */
#include "xapid/hypervisor/hv_link.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"

#define TIMEOUT_DEFAULT (60 * USEC_PER_SEC)
#define TIMEOUT_LONGEST (20 * 24 * 3600 * USEC_PER_SEC)
#define HELLO_TIMEOUT (5 * USEC_PER_SEC)
#define BACKOFF_SHORTEST (10 * USEC_PER_MSEC)
#define BACKOFF_LONGEST (500 * USEC_PER_MSEC)
#define CALLS_MAX 4096
#define QUEUE_MAX                                                                                  \
    ((size_t)64 * 1024 *                                                                           \
     1024) /* of a process that reads nothing: requests given up stay in the queue */
#define WATCH_SERIAL 0
#define READ_SIZE ((size_t)64 * 1024)

/* A call that waits for its answer.  Lives on its caller's stack; everything in it is protected by
 * the link's mutex. */
struct waiting {
    struct waiting *prev, *next;
    uint64_t serial;
    const struct hv_request *rq;
    const char *call;
    json_t *args;
    usec_t deadline;
    char instance[UUID_TEXT_SIZE]; /* of the process it was first sent to; "" while it was not sent
                                    */
    bool asking;                   /* not sent again, but asked what became of it */
    bool done;
    bool unknown;        /* failed in a way that says nothing about what was done */
    const char *failure; /* static; with it there is no reply */
    json_t *reply;
    struct cond cond;
};

struct hv_link {
    char *path;
    struct mutex lock;
    struct cond wanted; /* the thread sleeps here while there is nothing to connect for, or to retry
                           later */
    struct thread thread;
    int wake_fd; /* an eventfd: there is something to write, or the end */
    bool stopping;
    bool connected;
    uint64_t last_serial;
    uint64_t epoch; /* the newest that a call came with */
    int n_waiting;
    struct waiting *first, *last;
    struct buf out; /* frames not yet written to the connection */
    char instance[UUID_TEXT_SIZE];
    const char *trouble; /* why the last attempt failed; static, or of strerrordesc_np */
    void (*changed)(void *ctx, const char *uuid);
    void *changed_ctx;
};

static void put(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) < 0)
        abort(); /* out of memory */
}

static void wake(struct hv_link *link)
{
    uint64_t one = 1;

    /* It can only fail by being signalled already. */
    if (write(link->wake_fd, &one, sizeof one) < 0)
        return;
}

static void finish(struct waiting *w, json_t *reply, const char *failure, bool unknown)
{
    w->done = true;
    w->reply = json_incref(reply);
    w->failure = failure;
    w->unknown = unknown;
    cond_signal(&w->cond);
}

/* With the newest epoch that this daemon knows of: a call that was begun under a coordinator goes
 * on under the next one. */
static bool queue_message(struct hv_link *link, uint64_t serial, const char *call, const char *id,
                          uint64_t epoch, usec_t timeout, json_t *args)
{
    json_t *m = json_object();
    bool fits;

    link->epoch = MAX(link->epoch, epoch);
    put(m, "serial", json_integer((json_int_t)serial));
    put(m, "call", json_string(call));
    put(m, "id", json_text(id));
    put(m, "epoch", json_integer((json_int_t)(link->epoch & INT64_MAX)));
    put(m, "timeout_ms", json_integer(MAX(timeout / USEC_PER_MSEC, 1)));
    put(m, "args", json_incref(args));
    fits = frame_append(&link->out, m, PROTOCOL_REQUEST_MAX);
    json_decref(m);
    return fits;
}

/* Puts a call into the connection's queue: the call itself, or what became of it if it went to a
 * process that is gone. */
static void queue_call(struct hv_link *link, struct waiting *w)
{
    usec_t left = w->deadline - clock_mono();
    json_t *args;

    if (link->out.len > QUEUE_MAX) {
        finish(w, NULL, "the hypervisor's process takes no more requests", *w->instance != '\0');
        return;
    }
    w->asking = *w->rq->id && *w->instance && strcmp(w->instance, link->instance) != 0;
    if (w->asking) {
        args = json_object();
        put(args, "id", json_text(w->rq->id));
        if (!queue_message(link, w->serial, "outcome", "", w->rq->epoch, left, args))
            abort(); /* it is a hundred bytes */
        json_decref(args);
        return;
    }
    if (!queue_message(link, w->serial, w->call, w->rq->id, w->rq->epoch, left, w->args)) {
        finish(w, NULL, "the request is too large", false);
        return;
    }
    if (!*w->instance)
        memcpy(w->instance, link->instance, sizeof w->instance);
}

/* The connection is up: asks for everything that waits. */
static void queue_all(struct hv_link *link)
{
    json_t *none;

    for (struct waiting *w = link->first; w; w = w->next)
        if (!w->done)
            queue_call(link, w);
    if (!link->changed)
        return;
    none = json_object();
    if (!queue_message(link, WATCH_SERIAL, "watch", "", 0, TIMEOUT_DEFAULT, none))
        abort(); /* it is a hundred bytes */
    json_decref(none);
}

int hv_link_connect(const char *socket_path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int saved;
    int fd;

    if (strlen(socket_path) >= sizeof addr.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(addr.sun_path, socket_path, strlen(socket_path));
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    /* A Unix socket connects at once or, with a full backlog, says EAGAIN: then it is tried again
     * later. */
    if (connect(fd, (struct sockaddr *)&addr, sizeof addr) == 0)
        return fd;
    saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

static void answer_arrived(struct hv_link *link, json_t *message)
{
    uint64_t serial = (uint64_t)json_integer_value(json_object_get(message, "serial"));
    json_t *result = json_object_get(message, "result");
    struct waiting *w = link->first;

    if (serial == WATCH_SERIAL) {
        /* Only now nothing can be missed any more. */
        link->changed(link->changed_ctx, "");
        return;
    }
    while (w && w->serial != serial)
        w = w->next;
    if (!w || w->done)
        return; /* its caller has given up */
    if (!w->asking || json_object_get(message, "error"))
        finish(w, message, NULL, w->asking);
    else if (json_is_true(json_object_get(result, "known")))
        finish(w, result, NULL, false);
    else
        finish(w, NULL, "the hypervisor's process was started anew in the middle of the call",
               true);
}

/* Takes the messages out of 'in'; false where the connection cannot go on. */
static bool handle_input(struct hv_link *link, struct buf *in, bool *fruitful)
{
    size_t done = 0;

    for (;;) {
        enum frame_state state;
        const json_t *changed;
        json_t *message;
        size_t used;

        state = frame_take(in->data + done, in->len - done, PROTOCOL_REPLY_MAX, &used, &message,
                           &link->trouble);
        if (state == FRAME_BAD)
            return false;
        if (state == FRAME_MORE)
            break;
        done += used;
        *fruitful = true;
        changed = json_object_get(message, "changed");
        if (!changed)
            answer_arrived(link, message);
        else if (link->changed && json_is_string(changed) &&
                 json_string_length(changed) < UUID_TEXT_SIZE)
            link->changed(link->changed_ctx, json_string_value(changed));
        json_decref(message);
    }
    if (done) {
        memmove(in->data, in->data + done, in->len - done + 1);
        in->len -= done;
    }
    return true;
}

static bool flush_output(int fd, struct buf *out)
{
    size_t done = 0;

    while (done < out->len) {
        ssize_t n = send(fd, out->data + done, out->len - done, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0)
            return false;
        done += (size_t)n;
    }
    if (done) {
        memmove(out->data, out->data + done, out->len - done + 1);
        out->len -= done;
    }
    return true;
}

/* Reads once; false at the end of the connection. */
static bool fill_input(int fd, struct buf *in)
{
    ssize_t n;

    buf_reserve(in, READ_SIZE);
    n = recv(fd, in->data + in->len, READ_SIZE - 1, 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    in->len += (size_t)n;
    in->data[in->len] = '\0';
    return n > 0;
}

static json_t *client_hello(void)
{
    json_t *hello = json_object();

    put(hello, "hello", json_string(PROTOCOL_NAME));
    put(hello, "oldest", json_integer(PROTOCOL_OLDEST));
    put(hello, "newest", json_integer(PROTOCOL_NEWEST));
    return hello;
}

/* Judges the server's hello; NULL if it is good, with the instance copied. */
static const char *judge_hello(const json_t *hello, char instance[UUID_TEXT_SIZE])
{
    const char *name = json_string_value(json_object_get(hello, "hello"));
    const char *of = json_string_value(json_object_get(hello, "instance"));
    int64_t version = json_integer_value(json_object_get(hello, "version"));

    if (!name || strcmp(name, PROTOCOL_NAME) != 0)
        return "what answers at the socket is no hypervisor process";
    if (json_object_get(hello, "refused"))
        return "the hypervisor's process refuses this version of the protocol";
    if (version < PROTOCOL_OLDEST || version > PROTOCOL_NEWEST || !of ||
        strlen(of) != UUID_TEXT_SIZE - 1)
        return "the hypervisor's process speaks another version of the protocol";
    memcpy(instance, of, UUID_TEXT_SIZE);
    return NULL;
}

/* Exchanges hellos; NULL, or why not. */
static const char *greet(int fd, struct buf *in, char instance[UUID_TEXT_SIZE])
{
    usec_t deadline = clock_mono() + HELLO_TIMEOUT;
    AUTO(buf) out = {0};
    json_t *hello = client_hello();
    json_t *answer = NULL;
    const char *why = NULL;
    size_t used;

    if (!frame_append(&out, hello, PROTOCOL_HELLO_MAX))
        abort(); /* it is a hundred bytes */
    json_decref(hello);
    if (!flush_output(fd, &out) || out.len)
        return "the hypervisor's process closed the connection";
    while (!answer && !why) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        usec_t left = deadline - clock_mono();

        if (left <= 0)
            return "the hypervisor's process does not answer";
        if (poll(&p, 1, (int)(left / USEC_PER_MSEC) + 1) <= 0)
            continue;
        if (!fill_input(fd, in))
            return "the hypervisor's process closed the connection";
        if (frame_take(in->data, in->len, PROTOCOL_HELLO_MAX, &used, &answer, &why) ==
            FRAME_READY) {
            memmove(in->data, in->data + used, in->len - used + 1);
            in->len -= used;
            why = judge_hello(answer, instance);
        }
    }
    json_decref(answer);
    return why;
}

/* Moves bytes until the connection is lost or the link ends.  True if it was of any use. */
static bool converse(struct hv_link *link, int fd, struct buf *in)
{
    bool fruitful = false;
    bool alive = true;

    while (alive) {
        struct pollfd p[2] = {{.fd = fd, .events = POLLIN},
                              {.fd = link->wake_fd, .events = POLLIN}};
        uint64_t drained;

        mutex_lock(&link->lock);
        /* What came with the hello is handled first; a full socket is waited for. */
        alive =
            !link->stopping && handle_input(link, in, &fruitful) && flush_output(fd, &link->out);
        if (link->out.len)
            p[0].events |= POLLOUT;
        mutex_unlock(&link->lock);
        if (!alive || poll(p, 2, -1) <= 0)
            continue;
        if (p[1].revents && read(link->wake_fd, &drained, sizeof drained) < 0)
            continue; /* someone else cannot have read it: the next turn tells */
        if (p[0].revents & (POLLIN | POLLHUP | POLLERR))
            alive = fill_input(fd, in);
    }
    return fruitful;
}

/* One connection from its beginning to its end.  True if it was of any use. */
static bool connect_and_converse(struct hv_link *link)
{
    char instance[UUID_TEXT_SIZE] = "";
    AUTO(buf) in = {0};
    const char *trouble;
    bool fruitful = false;
    int fd = hv_link_connect(link->path);

    trouble = fd < 0 ? strerrordesc_np(errno) : greet(fd, &in, instance);
    mutex_lock(&link->lock);
    link->trouble = trouble ? trouble : "the connection was lost";
    if (!trouble) {
        link->connected = true;
        memcpy(link->instance, instance, sizeof link->instance);
        queue_all(link);
    }
    mutex_unlock(&link->lock);
    if (!trouble)
        fruitful = converse(link, fd, &in);
    mutex_lock(&link->lock);
    link->connected = false;
    buf_release(&link->out);
    link->out = (struct buf){0};
    mutex_unlock(&link->lock);
    if (fd >= 0)
        close(fd);
    return fruitful;
}

static void fail_all(struct hv_link *link)
{
    for (struct waiting *w = link->first; w; w = w->next)
        if (!w->done)
            finish(w, NULL, "xapid is stopping", true);
}

static void *link_thread(void *arg)
{
    struct hv_link *link = arg;
    usec_t backoff = BACKOFF_SHORTEST;

    mutex_lock(&link->lock);
    while (!link->stopping) {
        usec_t until;

        if (!link->n_waiting && !link->changed) {
            cond_wait(&link->wanted, &link->lock);
            continue;
        }
        mutex_unlock(&link->lock);
        backoff = connect_and_converse(link) ? BACKOFF_SHORTEST : MIN(backoff * 2, BACKOFF_LONGEST);
        mutex_lock(&link->lock);
        until = clock_mono() + backoff;
        while (!link->stopping && cond_wait_until(&link->wanted, &link->lock, until))
            ;
    }
    fail_all(link);
    mutex_unlock(&link->lock);
    return NULL;
}

struct hv_link *hv_link_new(const char *socket_path)
{
    struct hv_link *link = xcalloc(1, sizeof *link);

    link->path = xstrdup(socket_path);
    link->trouble = "not connected yet";
    link->last_serial = WATCH_SERIAL;
    mutex_init(&link->lock);
    cond_init(&link->wanted);
    link->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (link->wake_fd < 0) {
        log_error("eventfd: %s", strerrordesc_np(errno));
        abort();
    }
    thread_start(&link->thread, "hv-link", link_thread, link);
    return link;
}

void hv_link_free(struct hv_link *link)
{
    if (!link)
        return;
    mutex_lock(&link->lock);
    link->stopping = true;
    cond_broadcast(&link->wanted);
    mutex_unlock(&link->lock);
    wake(link);
    thread_join(&link->thread);
    close(link->wake_fd);
    cond_release(&link->wanted);
    mutex_release(&link->lock);
    buf_release(&link->out);
    free(link->path);
    free(link);
}

void hv_link_watch(struct hv_link *link, void (*changed)(void *ctx, const char *uuid), void *ctx)
{
    MUTEX_GUARD(&link->lock);
    json_t *none = json_object();

    link->changed = changed;
    link->changed_ctx = ctx;
    if (link->connected &&
        !queue_message(link, WATCH_SERIAL, "watch", "", 0, TIMEOUT_DEFAULT, none))
        abort(); /* it is a hundred bytes */
    json_decref(none);
    cond_signal(&link->wanted);
    wake(link);
}

static void enqueue(struct hv_link *link, struct waiting *w)
{
    w->serial = ++link->last_serial;
    w->prev = link->last;
    if (link->last)
        link->last->next = w;
    else
        link->first = w;
    link->last = w;
    link->n_waiting++;
}

static void dequeue(struct hv_link *link, struct waiting *w)
{
    if (w->prev)
        w->prev->next = w->next;
    else
        link->first = w->next;
    if (w->next)
        w->next->prev = w->prev;
    else
        link->last = w->prev;
    link->n_waiting--;
}

/* Queues the call and waits for its end.  False if there are too many. */
static bool call_and_wait(struct hv_link *link, struct waiting *w)
{
    MUTEX_GUARD(&link->lock);

    if (link->n_waiting >= CALLS_MAX)
        return false;
    enqueue(link, w);
    if (link->stopping)
        finish(w, NULL, "xapid is stopping", false);
    else if (link->connected)
        queue_call(link, w);
    cond_signal(&link->wanted);
    wake(link);
    while (!w->done && cond_wait_until(&w->cond, &link->lock, w->deadline))
        ;
    if (!w->done)
        finish(w, NULL, link->connected ? "no answer in time" : link->trouble,
               *w->instance != '\0');
    dequeue(link, w);
    return true;
}

static struct error *judge_answer(struct hv_link *link, const struct hv_request *rq,
                                  const struct waiting *w, json_t **result)
{
    const json_t *error = json_object_get(w->reply, "error");

    if (w->failure && w->unknown)
        return error_internal(rq->arena, FAILURE_UNKNOWN "%s: %s (%s)", w->call, w->failure,
                              link->path);
    if (w->failure)
        return error_internal(rq->arena, "hypervisor: %s: %s (%s)", w->call, w->failure,
                              link->path);
    if (error && w->unknown)
        return error_internal(rq->arena, FAILURE_UNKNOWN "%s: %s", w->call,
                              error_line(rq->arena, read_error(rq->arena, error)));
    if (error)
        return read_error(rq->arena, error);
    *result = json_object_get(w->reply, "result");
    if (!json_is_object(*result)) {
        *result = NULL;
        return error_internal(rq->arena, FAILURE_UNKNOWN "%s: an answer that cannot be read",
                              w->call);
    }
    json_incref(*result);
    return OK;
}

struct error *hv_link_call(struct hv_link *link, const struct hv_request *rq, const char *call,
                           json_t *args, json_t **result)
{
    usec_t timeout = rq->timeout > 0 ? MIN(rq->timeout, TIMEOUT_LONGEST) : TIMEOUT_DEFAULT;
    struct waiting w = {.rq = rq, .call = call, .args = args, .deadline = clock_mono() + timeout};
    struct error *e;

    *result = NULL;
    cond_init(&w.cond);
    if (call_and_wait(link, &w))
        e = judge_answer(link, rq, &w, result);
    else
        e = error_internal(rq->arena, "hypervisor: %s: too many calls at once", call);
    cond_release(&w.cond);
    json_decref(w.reply);
    json_decref(args);
    return e;
}
