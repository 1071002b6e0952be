/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* server.c -- the port, and a thread for each connection. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "xapid/main/xapid.h"
#include "xapid/nbd/export.h"
#include "xapid/nbd/nbd.h"
#include "xapid/nbd/negotiate.h"
#include "xapid/nbd/transmit.h"
#include "xapid/nbd/wire.h"
#include "xapid/ops/storage/nbd_info.h"

/* For all that comes before the first request. */
#define NEGOTIATION_TIME (60 * USEC_PER_SEC)
/* After a failure that would come again at once, such as having no descriptors left. */
#define ACCEPT_PAUSE (100 * USEC_PER_MSEC)

struct client {
    struct client *next; /* under nbd->lock */
    struct nbd *nbd;
    int fd;
    enum nbd_access access;
    char address[INET6_ADDRSTRLEN];
};

struct nbd {
    struct xapid *xapid;
    int fd, wake;
    struct thread thread;
    struct mutex lock;
    struct cond gone;
    bool stopping;
    int n;
    struct client *clients;
};

/* ---- who is connected ---- */

static bool has_room(const struct nbd *nbd, const char *address)
{
    int same = 0;

    for (const struct client *c = nbd->clients; c; c = c->next)
        same += strcmp(c->address, address) == 0;
    return !nbd->stopping && nbd->n < NBD_CLIENTS_MAX && same < NBD_CLIENTS_PER_ADDRESS;
}

static bool join_clients(struct nbd *nbd, struct client *c)
{
    MUTEX_GUARD(&nbd->lock);
    if (!has_room(nbd, c->address))
        return false;
    c->next = nbd->clients;
    nbd->clients = c;
    nbd->n++;
    return true;
}

/* The last thing a connection does: 'nbd' may be gone afterwards. */
static void leave_clients(struct nbd *nbd, struct client *c)
{
    struct client **p;

    MUTEX_GUARD(&nbd->lock);
    for (p = &nbd->clients; *p != c; p = &(*p)->next)
        ;
    *p = c->next;
    nbd->n--;
    close(c->fd); /* under the lock: nbd_stop uses it */
    cond_broadcast(&nbd->gone);
}

/* ---- one connection ---- */

static void talk(struct client *c)
{
    struct nbd_negotiation *n = xcalloc(1, sizeof *n);
    struct nbd_export export = {.xapid = c->nbd->xapid, .client = c->address};
    struct nbd_socket socket;

    nbd_socket_init(&socket, c->fd, c->nbd->xapid->http);
    socket.deadline = clock_mono() + NEGOTIATION_TIME;
    n->wire = &socket.wire;
    n->need_tls = c->access == NBD_TLS;
    n->find = nbd_export_find;
    n->open = nbd_export_open;
    n->ctx = &export;
    if (nbd_negotiate(n)) {
        socket.deadline = 0;
        nbd_transmit(n);
    }
    nbd_export_release(&export);
    nbd_socket_release(&socket);
    free(n);
}

static void *serve(void *arg)
{
    struct client *c = arg;

    talk(c);
    leave_clients(c->nbd, c);
    free(c);
    return NULL;
}

/* ---- the port ---- */

/* Of the network at whose address the client has come in. */
static enum nbd_access find_access(struct nbd *nbd, int fd)
{
    struct sockaddr_storage at = {0};
    char address[INET6_ADDRSTRLEN] = "";
    AUTO(arena) arena = {0};
    enum nbd_access access;
    socklen_t size = sizeof at;
    struct call call;

    if (getsockname(fd, (struct sockaddr *)&at, &size) < 0)
        return NBD_CLOSED;
    http_address_text(&at, address);
    call_init_internal(&call, nbd->xapid, &arena);
    access = nbd_access_at(&call, address);
    call_release(&call);
    return access;
}

static void accepted(struct nbd *nbd, int fd, const struct sockaddr_storage *from)
{
    struct client *c = xcalloc(1, sizeof *c);
    struct thread thread;

    *c = (struct client){.nbd = nbd, .fd = fd, .access = find_access(nbd, fd)};
    http_address_text(from, c->address);
    if (c->access == NBD_CLOSED || !join_clients(nbd, c)) {
        log_info("nbd: %s is turned away: %s", c->address,
                 c->access == NBD_CLOSED ? "its network is not for this purpose"
                                         : "there are too many connections");
        close(fd);
        free(c);
        return;
    }
    http_tcp_settings(fd);
    thread_start(&thread, "nbd", serve, c);
    thread_detach(&thread);
}

static void *accept_all(void *arg)
{
    struct nbd *nbd = arg;
    struct pollfd p[] = {{.fd = nbd->fd, .events = POLLIN}, {.fd = nbd->wake, .events = POLLIN}};

    while (poll(p, 2, -1) >= 0 || errno == EINTR) {
        struct sockaddr_storage from = {0};
        socklen_t size = sizeof from;
        int fd;

        if (p[1].revents)
            break;
        fd = accept4(nbd->fd, (struct sockaddr *)&from, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            accepted(nbd, fd, &from);
        else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
            clock_sleep(ACCEPT_PAUSE);
    }
    return NULL;
}

struct nbd *nbd_start(struct xapid *x)
{
    AUTO(arena) arena = {0};
    struct error *e;
    struct nbd *nbd;
    int fd;

    if (x->options.nbd_port < 0)
        return NULL;
    e = http_tcp_listen(&arena, x->options.listen_address, x->options.nbd_port, &fd, &x->nbd_port);
    if (e) {
        log_error("disks are not offered over NBD: %s", error_line(&arena, e));
        return NULL;
    }
    nbd = xcalloc(1, sizeof *nbd);
    nbd->xapid = x;
    nbd->fd = fd;
    nbd->wake = eventfd(0, EFD_CLOEXEC);
    mutex_init(&nbd->lock);
    cond_init(&nbd->gone);
    thread_start(&nbd->thread, "nbd-port", accept_all, nbd);
    log_info("disks are offered over NBD on port %d, on networks with that purpose", x->nbd_port);
    return nbd;
}

void nbd_stop(struct nbd *nbd)
{
    if (!nbd)
        return;
    eventfd_write(nbd->wake, 1);
    thread_join(&nbd->thread);
    mutex_lock(&nbd->lock);
    nbd->stopping = true;
    for (const struct client *c = nbd->clients; c; c = c->next)
        shutdown(c->fd, SHUT_RDWR);
    while (nbd->n)
        cond_wait(&nbd->gone, &nbd->lock);
    mutex_unlock(&nbd->lock);
    close(nbd->fd);
    close(nbd->wake);
    cond_release(&nbd->gone);
    mutex_release(&nbd->lock);
    free(nbd);
}
