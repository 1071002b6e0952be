/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * watch.c -- a thread that hears from xenstore what happens to domains, and tells the loop.
 *
 * @introduceDomain and @releaseDomain come when domains are made, end or are gone;
 * /local/domain/<domid> when a guest says something of itself.  What comes in bursts (a guest that
 * boots) is told once in a while.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "xapid/hypervisor/executor/executor.h"

#define GATHER (100 * USEC_PER_MSEC)
#define RETRY USEC_PER_SEC

struct known {
    uint32_t domid;
    char uuid[UUID_TEXT_SIZE];
    enum hv_state state;
    bool changed; /* to be told */
    bool seen;    /* in this look */
};

struct watch {
    struct executor *x;
    struct thread thread;
    struct known *v;
    size_t n;
    bool look; /* domains may have come, ended or gone */
    bool news; /* some 'changed' */
};

static void push(struct executor *x, json_t *uuid)
{
    server_push(x->server, json_string_value(uuid));
}

static struct known *known_of(struct watch *w, uint32_t domid)
{
    for (size_t i = 0; i < w->n; i++)
        if (w->v[i].domid == domid)
            return &w->v[i];
    return NULL;
}

static void follow(struct watch *w, const libxl_dominfo *info)
{
    struct known *k = known_of(w, info->domid);
    enum hv_reason reason;
    enum hv_state state = domain_state(info, &reason);

    if (!k) {
        w->v = xrealloc(w->v, (w->n + 1) * sizeof *w->v);
        k = &w->v[w->n++];
        *k = (struct known){.domid = info->domid, .changed = true};
    }
    uuid_to_text(libxl_uuid_bytearray_const(&info->uuid), k->uuid);
    k->changed |= state != k->state;
    k->state = state;
    k->seen = true;
}

/* Forgets those that are gone, telling so. */
static void drop_gone(struct watch *w)
{
    for (size_t i = w->n; i > 0; i--) {
        struct known *k = &w->v[i - 1];

        if (k->seen)
            continue;
        loop_post(w->x, push, json_string(k->uuid));
        *k = w->v[--w->n];
    }
}

static void keep_consoles(struct watch *w)
{
    json_t *ids = json_array();

    for (size_t i = 0; i < w->n; i++)
        if (json_array_append_new(ids, json_integer(w->v[i].domid)) < 0)
            abort(); /* out of memory */
    loop_post(w->x, consoles_keep, ids);
}

static void look_around(struct watch *w)
{
    AUTO(arena) arena = {0};
    AUTO(xen) xen = {0};
    struct error *e = xen_open(&arena, &xen);
    libxl_dominfo *all;
    int n = 0;

    if (e) {
        log_error("watching domains: %s", error_line(&arena, e));
        return;
    }
    all = libxl_list_domain(xen.ctx, &n);
    for (size_t i = 0; i < w->n; i++)
        w->v[i].seen = !all;
    for (int i = 0; all && i < n; i++)
        if (all[i].domid != 0 && !all[i].dying)
            follow(w, &all[i]);
    if (all)
        libxl_dominfo_list_free(all, n);
    drop_gone(w);
    keep_consoles(w);
    w->look = false;
    w->news = true;
}

/* /local/domain/<domid>/<what> */
static void heard(struct watch *w, const char *path)
{
    static const char *const parts[] = {"attr", "data", "control", "memory", "vm-data", "name"};
    static const char base[] = "/local/domain/";
    char *rest;
    unsigned long domid;
    struct known *k;

    if (*path == '@') {
        w->look = true;
        return;
    }
    if (strncmp(path, base, sizeof base - 1) != 0)
        return;
    domid = strtoul(path + sizeof base - 1, &rest, 10);
    if (*rest != '/' || domid == 0)
        return;
    k = known_of(w, (uint32_t)domid);
    for (size_t i = 0; k && i < ARRAY_SIZE(parts); i++)
        if (strncmp(rest + 1, parts[i], strlen(parts[i])) == 0)
            k->changed = w->news = true;
    /* Whoever waits for a guest's answer looks at once. */
    if (strncmp(rest, "/control/", 9) == 0)
        world_changed(w->x);
}

static void tell(struct watch *w)
{
    for (size_t i = 0; i < w->n; i++) {
        if (w->v[i].changed)
            loop_post(w->x, push, json_string(w->v[i].uuid));
        w->v[i].changed = false;
    }
    w->news = false;
}

static void hear_all(struct watch *w, struct xs_handle *xs)
{
    char **event;

    while ((event = xs_check_watch(xs))) {
        heard(w, event[XS_WATCH_PATH]);
        free(event);
    }
    if (w->look) {
        look_around(w);
        world_changed(w->x);
        tell(w);
    }
}

static void serve(struct watch *w, struct xs_handle *xs)
{
    usec_t told = clock_mono();

    for (;;) {
        struct pollfd p = {.fd = xs_fileno(xs), .events = POLLIN};
        usec_t wait = w->news ? MAX(told + GATHER - clock_mono(), 0) : 60 * USEC_PER_SEC;

        if (poll(&p, 1, (int)(wait / USEC_PER_MSEC) + 1) < 0 && errno != EINTR)
            return;
        if (p.revents & (POLLERR | POLLHUP | POLLNVAL))
            return;
        if (p.revents & POLLIN)
            hear_all(w, xs);
        if (w->news && clock_mono() - told >= GATHER) {
            tell(w);
            told = clock_mono();
        }
    }
}

static void *run(void *arg)
{
    struct watch *w = arg;

    for (;;) {
        struct xs_handle *xs = xs_open(0);

        if (xs && xs_watch(xs, "@introduceDomain", "x") && xs_watch(xs, "@releaseDomain", "x") &&
            xs_watch(xs, "/local/domain", "x"))
            serve(w, xs);
        log_error("xenstore: the connection was lost; asking again");
        if (xs)
            xs_close(xs);
        clock_sleep(RETRY);
        w->look = true;
    }
    return NULL;
}

struct watch *watch_start(struct executor *x)
{
    struct watch *w = xcalloc(1, sizeof *w);

    w->x = x;
    thread_start(&w->thread, "watch", run, w);
    thread_detach(&w->thread);
    return w;
}
