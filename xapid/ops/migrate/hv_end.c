/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/migrate/hv_end.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "xapid/main/xapid.h"
#include "xapid/ops/migrate/channel.h"
#include "xapid/ops/vm/domain.h"

#define CALL_TIMEOUT (6 * 3600 * USEC_PER_SEC) /* a large guest over a slow wire */
#define SECOND_MSEC 1000

static void close_one(int *fd)
{
    if (*fd)
        close(*fd - 1);
    *fd = 0;
}

/*** the call ***/

static void *run(void *arg)
{
    struct hv_end *end = arg;
    struct hv *hv = end->op->call->xapid->hv;

    if (end->config)
        end->e = hv_migrate_in(hv, &end->rq, end->config, end->path, &end->domid);
    else
        end->e = hv_migrate_out(hv, &end->rq, end->uuid, end->path, end->live);
    eventfd_write(end->over - 1, 1);
    return NULL;
}

/* Which of both is ready within so many milliseconds. */
static void wait_both(const struct hv_end *end, int fd, short events, int msec, bool *ready,
                      bool *over)
{
    struct pollfd p[] = {{.fd = fd, .events = events}, {.fd = end->over - 1, .events = POLLIN}};

    if (poll(p, 2, msec) < 0)
        p[0].revents = p[1].revents = 0;
    *ready = p[0].revents;
    *over = p[1].revents;
}

static struct error *failed(const struct hv_end *end, const char *what)
{
    return error_internal(end->op->call->arena, "%s: %s", what, strerrordesc_np(errno));
}

static struct error *listen_at(struct hv_end *end)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    if (strlen(end->path) >= sizeof a.sun_path)
        return error_internal(end->op->call->arena, "%s is too long for a socket", end->path);
    memcpy(a.sun_path, end->path, strlen(end->path));
    unlink(end->path);
    end->over = eventfd(0, EFD_CLOEXEC) + 1;
    end->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) + 1;
    if (!end->over || !end->listener ||
        bind(end->listener - 1, (struct sockaddr *)&a, sizeof a) < 0 ||
        listen(end->listener - 1, 1) < 0)
        return failed(end, end->path);
    return OK;
}

static struct error *begin(struct op *op, const char *what, struct hv_end *end)
{
    bool ready, over;

    end->op = op;
    end->path = arena_printf(op->call->arena, "%s/migrate-%.8s", op->call->xapid->options.state_dir,
                             op->id);
    end->rq = op_hv_request(op, what);
    end->rq.arena = &end->arena;
    end->rq.timeout = CALL_TIMEOUT;
    TRY(listen_at(end));
    thread_start(&end->thread, "migrate", run, end);
    end->started = true;
    do
        wait_both(end, end->listener - 1, POLLIN, SECOND_MSEC, &ready, &over);
    while (!ready && !over);
    if (!ready)
        return hv_end_finish(end, NULL);
    end->fd = accept4(end->listener - 1, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK) + 1;
    if (!end->fd)
        return failed(end, end->path);
    close_one(&end->listener);
    unlink(end->path);
    return OK;
}

struct error *hv_end_out(struct op *op, const char *uuid, bool live, struct hv_end *out)
{
    out->uuid = uuid;
    out->live = live;
    return begin(op, "out", out);
}

struct error *hv_end_in(struct op *op, const struct hv_domain_config *config, struct hv_end *out)
{
    out->config = config;
    return begin(op, "in", out);
}

bool hv_end_is_over(struct hv_end *end)
{
    bool ready, over;

    wait_both(end, -1, 0, SECOND_MSEC, &ready, &over);
    return over;
}

struct error *hv_end_finish(struct hv_end *end, int *domid)
{
    if (end->started)
        thread_join(&end->thread);
    end->started = false;
    if (domid)
        *domid = end->domid;
    if (!end->e && !end->fd)
        return error_internal(end->op->call->arena, "the hypervisor did not take the connection");
    return end->e ? error_copy(end->op->call->arena, end->e) : OK;
}

void hv_end_release(struct hv_end *end)
{
    if (!end->op)
        return;
    close_one(&end->fd);
    close_one(&end->listener);
    if (end->path)
        unlink(end->path);
    if (end->started)
        thread_join(&end->thread);
    close_one(&end->over);
    arena_release(&end->arena);
    *end = (struct hv_end){0};
}

/*** the stream ***/

struct error *hv_end_read(struct hv_end *end, void *data, size_t room, size_t *n, bool *ended)
{
    bool ready, over;
    ssize_t got;

    *n = 0;
    *ended = false;
    wait_both(end, end->fd - 1, POLLIN, SECOND_MSEC, &ready, &over);
    if (!ready && !over)
        return OK;
    got = read(end->fd - 1, data, room);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return OK;
    if (got < 0)
        return failed(end, "the hypervisor's stream");
    *n = (size_t)got;
    *ended = got == 0;
    return OK;
}

struct error *hv_end_write(struct hv_end *end, const void *data, size_t size)
{
    usec_t deadline = clock_mono() + CHANNEL_SILENCE;
    const char *at = data;
    bool ready, over;
    ssize_t n;

    while (size) {
        n = send(end->fd - 1, at, size, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            struct error *e = failed(end, "the hypervisor's stream"), *why = OK;

            /* Why it takes no more is the better error. */
            if (hv_end_is_over(end))
                why = hv_end_finish(end, NULL);
            return why ? why : e;
        }
        if (n > 0) {
            at += n;
            size -= (size_t)n;
            deadline = clock_mono() + CHANNEL_SILENCE;
            continue;
        }
        if (clock_mono() > deadline)
            return error_internal(end->op->call->arena, "the hypervisor takes no more");
        wait_both(end, end->fd - 1, POLLOUT, SECOND_MSEC, &ready, &over);
    }
    return OK;
}

void hv_end_shut(struct hv_end *end)
{
    shutdown(end->fd - 1, SHUT_WR);
}
