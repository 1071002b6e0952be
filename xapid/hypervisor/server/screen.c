/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* screen.c -- see screen.h. */
#include "xapid/hypervisor/server/screen.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/memory.h"
#include "xapid/hypervisor/server/picture.h"
#include "xapid/hypervisor/server/rfb.h"

#define READ_SIZE 16384
#define OUT_MAX ((size_t)256 * 1024)
#define HANDSHAKE_TIME (30 * USEC_PER_SEC)
#define TICK USEC_PER_SEC

struct screen_client {
    struct screen_client *prev, *next;
    struct screen *screen;
    struct source source;
    struct timer timer;
    bool is_rfb, closing;
    struct rfb rfb;
    struct buf out; /* text only */
};

struct screen {
    struct screens *screens;
    const struct screen_kind *kind;
    void *ctx;
    char title[128];
    char rfb_path[SCREEN_PATH_SIZE], text_path[SCREEN_PATH_SIZE];
    struct source rfb_listener, text_listener;
    struct screen_client *clients;
};

static void client_close(struct screen_client *c)
{
    struct screen *screen = c->screen;
    int fd = c->source.fd;

    timer_cancel(&c->timer);
    source_remove(&c->source);
    close(fd);
    if (c->prev)
        c->prev->next = c->next;
    else
        screen->clients = c->next;
    if (c->next)
        c->next->prev = c->prev;
    screen->screens->n_clients--;
    rfb_release(&c->rfb);
    buf_release(&c->out);
    free(c);
    if (!screen->clients && screen->kind->watched)
        screen->kind->watched(screen->ctx, false);
}

/* Sends what the socket takes; false if the client is lost. */
static bool flush(struct screen_client *c)
{
    struct buf *out = c->is_rfb ? &c->rfb.out : &c->out;
    size_t done = 0;

    while (done < out->len) {
        ssize_t n = send(c->source.fd, out->data + done, out->len - done, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN)
            return false;
        if (n < 0)
            break;
        done += (size_t)n;
    }
    if (done) {
        memmove(out->data, out->data + done, out->len - done + 1);
        out->len -= done;
    }
    source_want(&c->source, out->len ? EPOLLOUT : EPOLLIN);
    return true;
}

/* Never frees: the client is closed from the loop, as it is then reported writable. */
static void settle(struct screen_client *c)
{
    if (!c->closing && !flush(c))
        c->closing = true;
    if (c->closing)
        source_want(&c->source, EPOLLOUT);
}

static void client_timer(struct timer *timer);

static void serve_rfb(struct screen_client *c)
{
    struct screens *screens = c->screen->screens;

    if (c->rfb.wants && !c->rfb.out.len) {
        c->screen->kind->draw(c->screen->ctx, screens->picture);
        rfb_update(&c->rfb, screens->picture);
    }
    /* The time shown goes on; without a request that waits there is nothing to wake for. */
    if (c->rfb.stage == RFB_RUNNING)
        timer_cancel(&c->timer);
    if (c->rfb.wants)
        timer_set(screens->loop, &c->timer, loop_now(screens->loop) + TICK, client_timer);
    settle(c);
}

static void client_timer(struct timer *timer)
{
    struct screen_client *c = container_of(timer, struct screen_client, timer);

    if (c->is_rfb && c->rfb.stage == RFB_RUNNING)
        serve_rfb(c);
    else
        client_close(c); /* it did not finish its greeting */
}

void screen_changed(struct screen *screen)
{
    for (struct screen_client *c = screen->clients; c; c = c->next)
        if (c->is_rfb && c->rfb.stage == RFB_RUNNING && !c->closing)
            serve_rfb(c);
}

void screen_text(struct screen *screen, const char *data, size_t n)
{
    for (struct screen_client *c = screen->clients; c; c = c->next) {
        if (c->is_rfb || c->closing)
            continue;
        buf_add(&c->out, data, n);
        c->closing = c->out.len > OUT_MAX;
        settle(c);
    }
}

static void key_pressed(void *ctx, bool down, uint32_t keysym)
{
    struct screen *screen = ctx;

    screen->kind->key(screen->ctx, down, keysym);
}

static void pointer_moved(void *ctx, int x, int y, unsigned buttons)
{
    struct screen *screen = ctx;

    screen->kind->pointer(screen->ctx, x, y, buttons);
}

static void client_readable(struct screen_client *c)
{
    char data[READ_SIZE];
    ssize_t n = recv(c->source.fd, data, sizeof data, 0);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        c->closing = true;
        return;
    }
    if (c->is_rfb) {
        c->closing = !rfb_feed(&c->rfb, data, (size_t)n);
        return;
    }
    c->screen->kind->text_typed(c->screen->ctx, c, data, (size_t)n);
    c->closing = c->out.len > OUT_MAX;
}

static void client_ready(struct source *source, uint32_t events)
{
    struct screen_client *c = container_of(source, struct screen_client, source);

    if (!c->closing && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        client_readable(c);
    if (!c->closing && !flush(c))
        c->closing = true;
    if (c->closing) {
        client_close(c);
        return;
    }
    /* Its own keys and pointer show on all screens, its own too. */
    if (c->is_rfb)
        screen_changed(c->screen);
    else
        settle(c);
}

static void admit(struct screen *screen, int listener, bool is_rfb)
{
    struct screens *screens = screen->screens;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct screen_client *c;

    if (fd < 0)
        return;
    c = xcalloc(1, sizeof *c + screen->kind->text_size);
    if (screens->n_clients >= SCREEN_CLIENTS_MAX ||
        !source_add(screens->loop, &c->source, fd, EPOLLIN, client_ready)) {
        close(fd);
        free(c);
        return;
    }
    screens->n_clients++;
    c->screen = screen;
    c->is_rfb = is_rfb;
    c->next = screen->clients;
    if (c->next)
        c->next->prev = c;
    screen->clients = c;
    if (!c->next && screen->kind->watched)
        screen->kind->watched(screen->ctx, true);
    if (is_rfb) {
        rfb_init(&c->rfb, screen->title);
        c->rfb.ctx = screen;
        c->rfb.key = key_pressed;
        c->rfb.pointer = pointer_moved;
        timer_set(screens->loop, &c->timer, loop_now(screens->loop) + HANDSHAKE_TIME, client_timer);
    } else {
        screen->kind->text_opened(screen->ctx, c);
    }
    settle(c);
}

static void rfb_listener_ready(struct source *source, uint32_t events)
{
    (void)events;
    admit(container_of(source, struct screen, rfb_listener), source->fd, true);
}

static void text_listener_ready(struct source *source, uint32_t events)
{
    (void)events;
    admit(container_of(source, struct screen, text_listener), source->fd, false);
}

static bool listen_at(struct loop *loop, struct source *source, const char *path,
                      void (*ready)(struct source *source, uint32_t events))
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    mode_t mask;
    int saved;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int rc;

    if (fd < 0)
        return false;
    memcpy(addr.sun_path, path, SCREEN_PATH_SIZE);
    unlink(path);
    mask = umask(0177);
    rc = bind(fd, (struct sockaddr *)&addr, sizeof addr);
    umask(mask);
    if (rc == 0 && listen(fd, 16) == 0 && source_add(loop, source, fd, EPOLLIN, ready))
        return true;
    saved = errno;
    close(fd);
    errno = saved;
    return false;
}

static bool name_sockets(struct screen *screen, const char *dir, const char *name)
{
    int size = (int)SCREEN_PATH_SIZE;

    if (snprintf(screen->rfb_path, SCREEN_PATH_SIZE, "%s/%s.rfb", dir, name) < size &&
        snprintf(screen->text_path, SCREEN_PATH_SIZE, "%s/%s.tty", dir, name) < size)
        return true;
    errno = ENAMETOOLONG;
    return false;
}

struct screen *screen_open(struct screens *screens, const struct screen_kind *kind, void *ctx,
                           const char *dir, const char *name, const char *title)
{
    struct screen *screen = xcalloc(1, sizeof *screen);
    int saved;

    screen->screens = screens;
    screen->kind = kind;
    screen->ctx = ctx;
    memcpy(screen->title, title, strnlen(title, sizeof screen->title - 1));
    screen->rfb_listener.fd = screen->text_listener.fd = -1;
    if (name_sockets(screen, dir, name) &&
        listen_at(screens->loop, &screen->rfb_listener, screen->rfb_path, rfb_listener_ready) &&
        listen_at(screens->loop, &screen->text_listener, screen->text_path, text_listener_ready))
        return screen;
    saved = errno;
    screen_close(screen);
    errno = saved;
    return NULL;
}

static void stop_listening(struct source *source, const char *path)
{
    int fd = source->fd;

    if (fd < 0)
        return;
    source_remove(source);
    close(fd);
    unlink(path);
}

void screen_close(struct screen *screen)
{
    if (!screen)
        return;
    while (screen->clients)
        client_close(screen->clients);
    stop_listening(&screen->rfb_listener, screen->rfb_path);
    stop_listening(&screen->text_listener, screen->text_path);
    free(screen);
}

const char *screen_rfb_path(const struct screen *screen)
{
    return screen->rfb_path;
}

const char *screen_text_path(const struct screen *screen)
{
    return screen->text_path;
}

void *screen_client_data(struct screen_client *client)
{
    return client + 1;
}

struct buf *screen_client_out(struct screen_client *client)
{
    return &client->out;
}

void screens_init(struct screens *screens, struct loop *loop)
{
    screens->loop = loop;
    screens->picture = xcalloc(PICTURE_PIXELS, sizeof *screens->picture);
}

void screens_release(struct screens *screens)
{
    free(screens->picture);
    screens->picture = NULL;
}
