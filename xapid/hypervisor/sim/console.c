/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* console.c -- what a simulated guest's screen shows, and who answers at its serial line. */
#include <stdio.h>
#include <stdlib.h>

#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "xapid/hypervisor/server/picture.h"
#include "xapid/hypervisor/sim/sim.h"

#define LINE_MAX_BYTES 256
#define BARS_Y 400
#define BARS_HEIGHT 48

/* What a text client has typed since the last prompt. */
struct line {
    size_t n;
    bool password; /* the line now typed is one */
};

struct console {
    struct domain *domain;
    struct screen *screen;
    char typed[PICTURE_COLUMNS - 11]; /* the last characters typed at the screen */
    unsigned keys;
    unsigned buttons;
    int x, y;
};

const char *console_rfb_path(const struct domain *d)
{
    return screen_rfb_path(d->console->screen);
}

const char *console_text_path(const struct domain *d)
{
    return screen_text_path(d->console->screen);
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

/* A test card: a viewer that mixes up its colours is found out. */
static void draw_bars(uint32_t *pixels)
{
    static const uint32_t colours[] = {0xffffff, 0xffff00, 0x00ffff, 0x00ff00,
                                       0xff00ff, 0xff0000, 0x0000ff, 0x000000};
    const int width = PICTURE_WIDTH / (int)ARRAY_SIZE(colours);

    for (int i = 0; i < (int)ARRAY_SIZE(colours); i++)
        picture_fill(pixels, i * width, BARS_Y, width, BARS_HEIGHT, colours[i]);
}

static void draw(void *ctx, uint32_t *pixels)
{
    struct picture p;

    compose(ctx, &p);
    picture_draw(&p, pixels);
    draw_bars(pixels);
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

json_t *console_json(const struct domain *d)
{
    const struct console *c = d->console;

    return json_pack("{s:s, s:o, s:o, s:o, s:o}", "typed", c->typed, "keys",
                     json_sprintf("%u", c->keys), "x", json_sprintf("%d", c->x), "y",
                     json_sprintf("%d", c->y), "buttons", json_sprintf("%u", c->buttons));
}

static void prompt(const struct console *console, struct screen_client *client)
{
    const struct domain *d = console->domain;
    struct line *line = screen_client_data(client);

    line->password = false;
    buf_printf(screen_client_out(client),
               "\r\n%s login: ", *d->config.name ? d->config.name : "localhost");
}

static void text_opened(void *ctx, struct screen_client *client)
{
    buf_puts(screen_client_out(client), "\r\nDebian GNU/Linux 12 hvc0\r\n");
    prompt(ctx, client);
}

static void line_entered(const struct console *console, struct screen_client *client)
{
    struct line *line = screen_client_data(client);
    struct buf *out = screen_client_out(client);

    buf_puts(out, "\r\n");
    if (line->password)
        buf_puts(out, "Login incorrect\r\n");
    if (line->password || line->n == 0) {
        prompt(console, client);
    } else {
        buf_puts(out, "Password: ");
        line->password = true;
    }
    line->n = 0;
}

static void char_typed(const struct console *console, struct screen_client *client, char ch)
{
    struct line *line = screen_client_data(client);
    struct buf *out = screen_client_out(client);

    if (ch == '\r' || ch == '\n') {
        line_entered(console, client);
    } else if ((ch == '\b' || ch == 0x7f) && line->n) {
        line->n--;
        if (!line->password)
            buf_puts(out, "\b \b");
    } else if ((unsigned char)ch >= ' ' && ch != 0x7f && line->n < LINE_MAX_BYTES) {
        line->n++;
        if (!line->password)
            buf_putc(out, ch);
    }
}

static void text_typed(void *ctx, struct screen_client *client, const char *data, size_t n)
{
    for (size_t i = 0; i < n; i++)
        char_typed(ctx, client, data[i]);
}

void console_changed(struct domain *d)
{
    screen_changed(d->console->screen);
}

bool console_open(struct domain *d)
{
    static const struct screen_kind kind = {
        .draw = draw,
        .key = key_pressed,
        .pointer = pointer_moved,
        .text_opened = text_opened,
        .text_typed = text_typed,
        .text_size = sizeof(struct line),
    };
    struct console *console = xcalloc(1, sizeof *console);
    char name[16];

    d->console = console;
    console->domain = d;
    snprintf(name, sizeof name, "%d", d->domid);
    console->screen =
        screen_open(&d->sim->screens, &kind, console, d->sim->options.dir, name, d->config.name);
    return console->screen != NULL;
}

void console_close(struct domain *d)
{
    if (!d->console)
        return;
    screen_close(d->console->screen);
    free(d->console);
    d->console = NULL;
}
