/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * console.c -- the two sockets of each domain: a screen (RFB) and a serial line (text).
 *
 * Clients are bounded in number and in what they make the simulator hold; one that does not read
 * only hurts itself.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "xapid/hypervisor/sim/picture.h"
#include "xapid/hypervisor/sim/rfb.h"
#include "xapid/hypervisor/sim/sim.h"

#define PATH_SIZE sizeof(((struct sockaddr_un *)0)->sun_path)
#define READ_SIZE 16384
#define LINE_MAX_BYTES 256
#define OUT_MAX ((size_t)64 * 1024)
#define HANDSHAKE_TIME (30 * USEC_PER_SEC)
#define TICK USEC_PER_SEC

struct client {
    struct client *prev, *next;
    struct console *console;
    struct source source;
    struct timer timer;
    bool is_rfb, closing;
    struct rfb rfb;
    struct buf out; /* text only */
    char line[LINE_MAX_BYTES];
    size_t line_len;
    bool password; /* the line now typed is one */
};

struct console {
    struct domain *domain;
    char rfb_path[PATH_SIZE], text_path[PATH_SIZE];
    struct source rfb_listener, text_listener;
    struct client *clients;
    char typed[PICTURE_COLUMNS - 11]; /* the last characters typed at the screen */
    unsigned keys;
    unsigned buttons;
    int x, y;
};

const char *console_rfb_path(const struct domain *d)
{
    return d->console->rfb_path;
}

const char *console_text_path(const struct domain *d)
{
    return d->console->text_path;
}

static void client_close(struct client *c)
{
    int fd = c->source.fd;

    timer_cancel(&c->timer);
    source_remove(&c->source);
    close(fd);
    if (c->prev)
        c->prev->next = c->next;
    else
        c->console->clients = c->next;
    if (c->next)
        c->next->prev = c->prev;
    c->console->domain->sim->n_console_clients--;
    rfb_release(&c->rfb);
    buf_release(&c->out);
    free(c);
}

static void compose(const struct console *console, struct picture *p)
{
    const struct domain *d = console->domain;
    usec_t up = MAX(clock_wall() - d->start_time, 0) / USEC_PER_SEC;
    const char *state =
        d->state == HV_SHUTDOWN ? hv_reason_names[d->reason] : hv_state_names[d->state];
    int n = 0;

    memset(p, 0, sizeof *p);
    snprintf(p->title, sizeof p->title, "%.36s", *d->config.name ? d->config.name : "(no name)");
    snprintf(p->lines[n++], sizeof p->lines[0], "uuid:     %s", d->uuid);
    snprintf(p->lines[n++], sizeof p->lines[0], "domain:   %d (%s)", d->domid, d->config.type);
    snprintf(p->lines[n++], sizeof p->lines[0], "state:    %s%s", state,
             d->state == HV_RUNNING && !d->booted ? ", booting" : "");
    snprintf(p->lines[n++], sizeof p->lines[0], "memory:   %lld MiB", (long long)(d->memory >> 20));
    snprintf(p->lines[n++], sizeof p->lines[0], "vCPUs:    %d", d->vcpus);
    snprintf(p->lines[n++], sizeof p->lines[0], "devices:  %zu disks, %zu NICs", d->n_disks,
             d->n_nics);
    if (d->state != HV_SHUTDOWN)
        snprintf(p->lines[n], sizeof p->lines[0], "uptime:   %lld:%02d:%02d",
                 (long long)(up / 3600), (int)(up / 60 % 60), (int)(up % 60));
    n += 2;
    snprintf(p->lines[n++], sizeof p->lines[0], "keys:     %u", console->keys);
    snprintf(p->lines[n++], sizeof p->lines[0], "pointer:  %d, %d, buttons %u", console->x,
             console->y, console->buttons);
    snprintf(p->lines[n], sizeof p->lines[0], "typed:    %.*s_", PICTURE_COLUMNS - 12,
             console->typed);
    p->pointer_x = console->x;
    p->pointer_y = console->y;
}

static void draw(const struct console *console)
{
    struct picture p;

    compose(console, &p);
    picture_draw(&p, console->domain->sim->picture);
}

/* Sends what the socket takes; false if the client is lost. */
static bool flush(struct client *c)
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
static void settle(struct client *c)
{
    if (!c->closing && !flush(c))
        c->closing = true;
    if (c->closing)
        source_want(&c->source, EPOLLOUT);
}

static void client_timer(struct timer *timer);

static void serve_rfb(struct client *c)
{
    struct loop *loop = c->console->domain->sim->loop;

    if (c->rfb.wants && !c->rfb.out.len) {
        draw(c->console);
        rfb_update(&c->rfb, c->console->domain->sim->picture);
    }
    /* The time shown goes on; without a request that waits there is nothing to wake for. */
    if (c->rfb.stage == RFB_RUNNING)
        timer_cancel(&c->timer);
    if (c->rfb.wants)
        timer_set(loop, &c->timer, loop_now(loop) + TICK, client_timer);
    settle(c);
}

static void client_timer(struct timer *timer)
{
    struct client *c = container_of(timer, struct client, timer);

    if (c->is_rfb && c->rfb.stage == RFB_RUNNING)
        serve_rfb(c);
    else
        client_close(c); /* it did not finish its greeting */
}

void console_changed(struct domain *d)
{
    for (struct client *c = d->console->clients; c; c = c->next)
        if (c->is_rfb && c->rfb.stage == RFB_RUNNING && !c->closing)
            serve_rfb(c);
}

static void key_pressed(void *ctx, bool down, uint32_t keysym)
{
    struct console *console = ctx;
    size_t n = strlen(console->typed);

    if (!down)
        return;
    console->keys++;
    if (keysym == 0xff0d || keysym == 0xff1b) { /* Return, Escape */
        console->typed[0] = '\0';
    } else if (keysym == 0xff08 && n) { /* BackSpace */
        console->typed[n - 1] = '\0';
    } else if (keysym >= ' ' && keysym <= '~') {
        if (n == sizeof console->typed - 1)
            memmove(console->typed, console->typed + 1, n--);
        console->typed[n] = (char)keysym;
        console->typed[n + 1] = '\0';
    }
}

static void pointer_moved(void *ctx, int x, int y, unsigned buttons)
{
    struct console *console = ctx;

    console->x = x;
    console->y = y;
    console->buttons = buttons;
}

static void prompt(struct client *c)
{
    const struct domain *d = c->console->domain;

    c->password = false;
    buf_printf(&c->out, "\r\n%s login: ", *d->config.name ? d->config.name : "localhost");
}

static void line_entered(struct client *c)
{
    buf_puts(&c->out, "\r\n");
    if (c->password)
        buf_puts(&c->out, "Login incorrect\r\n");
    if (c->password || c->line_len == 0) {
        prompt(c);
    } else {
        buf_puts(&c->out, "Password: ");
        c->password = true;
    }
    c->line_len = 0;
}

static void char_typed(struct client *c, char ch)
{
    if (ch == '\r' || ch == '\n') {
        line_entered(c);
    } else if ((ch == '\b' || ch == 0x7f) && c->line_len) {
        c->line_len--;
        if (!c->password)
            buf_puts(&c->out, "\b \b");
    } else if ((unsigned char)ch >= ' ' && ch != 0x7f && c->line_len < sizeof c->line) {
        c->line[c->line_len++] = ch;
        if (!c->password)
            buf_putc(&c->out, ch);
    }
}

static void client_readable(struct client *c)
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
    for (ssize_t i = 0; i < n; i++)
        char_typed(c, data[i]);
    c->closing = c->out.len > OUT_MAX;
}

static void client_ready(struct source *source, uint32_t events)
{
    struct client *c = container_of(source, struct client, source);

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
        console_changed(c->console->domain);
    else
        settle(c);
}

static void admit(struct console *console, int listener, bool is_rfb)
{
    struct sim *sim = console->domain->sim;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct client *c;

    if (fd < 0)
        return;
    c = xcalloc(1, sizeof *c);
    if (sim->n_console_clients >= SIM_CONSOLE_CLIENTS_MAX ||
        !source_add(sim->loop, &c->source, fd, EPOLLIN, client_ready)) {
        close(fd);
        free(c);
        return;
    }
    sim->n_console_clients++;
    c->console = console;
    c->is_rfb = is_rfb;
    c->next = console->clients;
    if (c->next)
        c->next->prev = c;
    console->clients = c;
    if (is_rfb) {
        rfb_init(&c->rfb, console->domain->config.name);
        c->rfb.ctx = console;
        c->rfb.key = key_pressed;
        c->rfb.pointer = pointer_moved;
        timer_set(sim->loop, &c->timer, loop_now(sim->loop) + HANDSHAKE_TIME, client_timer);
    } else {
        buf_puts(&c->out, "\r\nDebian GNU/Linux 12 hvc0\r\n");
        prompt(c);
    }
    settle(c);
}

static void rfb_listener_ready(struct source *source, uint32_t events)
{
    (void)events;
    admit(container_of(source, struct console, rfb_listener), source->fd, true);
}

static void text_listener_ready(struct source *source, uint32_t events)
{
    (void)events;
    admit(container_of(source, struct console, text_listener), source->fd, false);
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
    memcpy(addr.sun_path, path, PATH_SIZE);
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

static bool name_sockets(struct console *console)
{
    const char *dir = console->domain->sim->options.dir;
    int domid = console->domain->domid;

    if (snprintf(console->rfb_path, PATH_SIZE, "%s/%d.rfb", dir, domid) < (int)PATH_SIZE &&
        snprintf(console->text_path, PATH_SIZE, "%s/%d.tty", dir, domid) < (int)PATH_SIZE)
        return true;
    errno = ENAMETOOLONG;
    return false;
}

bool console_open(struct domain *d)
{
    struct console *console = xcalloc(1, sizeof *console);

    d->console = console;
    console->domain = d;
    console->rfb_listener.fd = console->text_listener.fd = -1;
    return name_sockets(console) &&
           listen_at(d->sim->loop, &console->rfb_listener, console->rfb_path, rfb_listener_ready) &&
           listen_at(d->sim->loop, &console->text_listener, console->text_path,
                     text_listener_ready);
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

void console_close(struct domain *d)
{
    struct console *console = d->console;

    if (!console)
        return;
    while (console->clients)
        client_close(console->clients);
    stop_listening(&console->rfb_listener, console->rfb_path);
    stop_listening(&console->text_listener, console->text_path);
    free(console);
    d->console = NULL;
}
