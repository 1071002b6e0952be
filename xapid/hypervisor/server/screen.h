/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * screen.h -- the two sockets of a domain: a screen (RFB) and a serial line (text).
 *
 * Clients are bounded in number and in what they make the process hold; one that does not read only
 * hurts itself.  Everything happens on the loop's thread.
 */
#pragma once

#include <sys/un.h>

#include "libxapi/base/buf.h"
#include "xapid/hypervisor/server/loop.h"

#define SCREEN_CLIENTS_MAX 64 /* in all */
#define SCREEN_PATH_SIZE sizeof(((struct sockaddr_un *)0)->sun_path)

struct screen;
struct screen_client;

/* What the screens of a program have in common. */
struct screens {
    struct loop *loop;
    size_t n_clients;
    uint32_t *picture; /* one screen, drawn anew for each use */
};

/* 'ctx' is that of screen_open.  None of these may close the screen. */
struct screen_kind {
    void (*draw)(void *ctx, uint32_t *pixels); /* all of picture.h's PICTURE_PIXELS */
    void (*key)(void *ctx, bool down, uint32_t keysym);
    void (*pointer)(void *ctx, int x, int y, unsigned buttons);
    /* A text client came, or typed; it has 'text_size' zeroed bytes of its own. */
    void (*text_opened)(void *ctx, struct screen_client *client);
    void (*text_typed)(void *ctx, struct screen_client *client, const char *data, size_t n);
    size_t text_size;
    /* The first client came, or the last one went; may be NULL. */
    void (*watched)(void *ctx, bool anybody);
};

void screens_init(struct screens *screens, struct loop *loop);
/* No screen may be open. */
void screens_release(struct screens *screens);

/* Opens DIR/NAME.rfb and DIR/NAME.tty.  'title' is what the clients' windows say; copied, as all.
 * NULL with errno. */
struct screen *screen_open(struct screens *screens, const struct screen_kind *kind, void *ctx,
                           const char *dir, const char *name, const char *title);
void screen_close(struct screen *screen);
const char *screen_rfb_path(const struct screen *screen);
const char *screen_text_path(const struct screen *screen);
/* What it shows is no longer the same. */
void screen_changed(struct screen *screen);
/* To every text client. */
void screen_text(struct screen *screen, const char *data, size_t n);

/* A text client's own bytes, and what is to be sent to it. */
void *screen_client_data(struct screen_client *client);
struct buf *screen_client_out(struct screen_client *client);
