/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * console.c -- each domain's screen and serial line, both fed from the pty that xenconsoled (or an
 * HVM guest's device model) serves.
 *
 * The pty is open only while somebody looks, so that `xl console` works at other times; what came
 * in between waits in xenconsoled.  An HVM guest's screen is its device model's own.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "xapid/hypervisor/executor/executor.h"
#include "xapid/hypervisor/executor/terminal.h"

#define READ_SIZE 4096
#define TYPED_MAX ((size_t)64 * 1024)
#define DRAW_EVERY (40 * USEC_PER_MSEC)

struct console {
    struct console *next;
    struct executor *x;
    uint32_t domid;
    bool hvm;
    struct screen *screen;
    struct terminal terminal;
    struct source pty;
    struct buf typed; /* what the pty did not take yet */
    struct timer draw;
};

static void file_name(uint32_t domid, char name[16])
{
    snprintf(name, 16, "%u", domid);
}

const char *console_rfb_path(struct arena *arena, const struct executor *x, uint32_t domid)
{
    return arena_printf(arena, "%s/%u.rfb", x->dir, domid);
}

const char *console_text_path(struct arena *arena, const struct executor *x, uint32_t domid)
{
    return arena_printf(arena, "%s/%u.tty", x->dir, domid);
}

static struct console *console_of(struct executor *x, uint32_t domid)
{
    struct console *c = x->consoles;

    while (c && c->domid != domid)
        c = c->next;
    return c;
}

/*** the pty ***/

static void pty_close(struct console *c)
{
    int fd = c->pty.fd;

    if (fd < 0)
        return;
    source_remove(&c->pty);
    close(fd);
    c->typed.len = 0;
}

/* Sends what was typed; the rest when there is room. */
static void pty_send(struct console *c)
{
    size_t done = 0;

    if (c->pty.fd < 0)
        c->typed.len = 0;
    while (done < c->typed.len) {
        ssize_t n = write(c->pty.fd, c->typed.data + done, c->typed.len - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    if (done) {
        memmove(c->typed.data, c->typed.data + done, c->typed.len - done + 1);
        c->typed.len -= done;
    }
    if (c->typed.len > TYPED_MAX)
        c->typed.len = 0; /* a guest that reads nothing */
    source_want(&c->pty, EPOLLIN | (c->typed.len ? EPOLLOUT : 0u));
}

static void draw_due(struct timer *timer)
{
    screen_changed(container_of(timer, struct console, draw)->screen);
}

static void pty_ready(struct source *source, uint32_t events)
{
    struct console *c = container_of(source, struct console, pty);
    char data[READ_SIZE];
    ssize_t n = read(source->fd, data, sizeof data);

    if (n > 0) {
        terminal_feed(&c->terminal, data, (size_t)n, &c->typed);
        screen_text(c->screen, data, (size_t)n);
        if (!c->draw.loop)
            timer_set(c->x->server->loop, &c->draw, loop_now(c->x->server->loop) + DRAW_EVERY,
                      draw_due);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR) || (events & EPOLLERR)) {
        pty_close(c); /* the guest, or xenconsoled, is gone */
        return;
    }
    if (c->typed.len)
        pty_send(c);
}

/* The pty's name, from xenstore; empty if there is none yet. */
static void pty_name(const struct console *c, char *name, size_t size)
{
    static const char *const places[] = {"console/tty", "serial/0/tty"};
    struct xs_handle *xs = xen_store_open();

    *name = '\0';
    for (int i = 0; xs && i < 2 && !*name; i++) {
        char path[64];
        unsigned n = 0;
        char *value;

        snprintf(path, sizeof path, "/local/domain/%u/%s", c->domid, places[c->hvm ? 1 - i : i]);
        value = xs_read(xs, XBT_NULL, path, &n);
        if (value && n < size && strncmp(value, "/dev/", 5) == 0)
            memcpy(name, value, n + 1);
        free(value);
    }
    xen_store_close(xs);
}

static void pty_open(struct console *c)
{
    char name[128];
    int fd;

    pty_name(c, name, sizeof name);
    fd = *name ? open(name, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC) : -1;
    if (fd < 0 || !source_add(c->x->server->loop, &c->pty, fd, EPOLLIN, pty_ready)) {
        log_warning("the console of domain %u (%s): %s", c->domid, name, strerrordesc_np(errno));
        if (fd >= 0)
            close(fd);
    }
}

/*** the screen ***/

static void watched(void *ctx, bool anybody)
{
    struct console *c = ctx;

    pty_close(c);
    if (anybody)
        pty_open(c);
}

static void draw(void *ctx, uint32_t *pixels)
{
    const struct console *c = ctx;

    terminal_draw(&c->terminal, pixels);
}

static void key(void *ctx, bool down, uint32_t keysym)
{
    struct console *c = ctx;

    terminal_key(&c->terminal, down, keysym, &c->typed);
    pty_send(c);
}

static void pointer(void *ctx, int x, int y, unsigned buttons)
{
    (void)ctx;
    (void)x;
    (void)y;
    (void)buttons;
}

static void text_opened(void *ctx, struct screen_client *client)
{
    (void)ctx;
    (void)client;
}

static void text_typed(void *ctx, struct screen_client *client, const char *data, size_t n)
{
    struct console *c = ctx;

    (void)client;
    buf_add(&c->typed, data, n);
    pty_send(c);
}

/*** coming and going ***/

void console_ensure(struct executor *x, json_t *domain)
{
    static const struct screen_kind kind = {
        .draw = draw,
        .key = key,
        .pointer = pointer,
        .text_opened = text_opened,
        .text_typed = text_typed,
        .watched = watched,
    };
    uint32_t domid = (uint32_t)json_integer_value(json_object_get(domain, "domid"));
    const char *title = json_string_value(json_object_get(domain, "name"));
    struct console *c;
    char name[16];

    if (console_of(x, domid))
        return;
    c = xcalloc(1, sizeof *c);
    c->x = x;
    c->domid = domid;
    c->hvm = json_is_true(json_object_get(domain, "hvm"));
    c->pty.fd = -1;
    terminal_init(&c->terminal);
    file_name(domid, name);
    c->screen = screen_open(&x->screens, &kind, c, x->dir, name, title ? title : "");
    if (!c->screen) {
        log_error("the console of domain %u: %s", domid, strerrordesc_np(errno));
        free(c);
        return;
    }
    c->next = x->consoles;
    x->consoles = c;
}

static void console_close(struct console *c)
{
    screen_close(c->screen);
    pty_close(c);
    timer_cancel(&c->draw);
    buf_release(&c->typed);
    free(c);
}

static bool is_in(const json_t *ids, uint32_t domid)
{
    for (size_t i = 0; i < json_array_size(ids); i++)
        if (json_integer_value(json_array_get(ids, i)) == domid)
            return true;
    return false;
}

void consoles_keep(struct executor *x, json_t *existing)
{
    struct console **at = &x->consoles;

    while (*at) {
        struct console *c = *at;

        if (is_in(existing, c->domid)) {
            at = &c->next;
            continue;
        }
        *at = c->next;
        console_close(c);
    }
}
