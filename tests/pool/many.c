/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * many.c -- the hosts of a pool as values in one process.
 *
 *     pool-many DIRECTORY HOSTS PASSWORD-FILE SIM-PROGRAM
 *
 * Host I has its files in DIRECTORY/I and answers on DIRECTORY/I/xapi; the first begins alone, the
 * others wait to be added to its pool (/internal/pool).  The members meet on loopback, at
 * 127.1.0.1 and up, port 7400: to be run in a network namespace of its own.
 *
 * Reads commands, "start I" and "stop I", and answers each when it is done, in whichever order:
 * "start I PORT" (where calls are answered without TLS), "stop I", or "failed I WHY".  The end of
 * the commands ends all hosts.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "libxapi/codec/codec.h"
#include "xapid/main/xapid.h"

struct host {
    int number;
    char dir[200], socket[256], ip[24], address[32];
    struct xapid_options options;
    struct xapid *xapid;
    struct thread thread; /* starts it, or stops it */
};

static void *start(void *arg)
{
    struct host *h = arg;
    struct arena arena = {0};
    struct error *e = xapid_start(&arena, &h->options, &h->xapid);

    if (e)
        printf("failed %d %s\n", h->number, error_line(&arena, e));
    else
        printf("start %d %d\n", h->number, h->xapid->plain_port);
    arena_release(&arena);
    return NULL;
}

static void *stop(void *arg)
{
    struct host *h = arg;

    if (h->xapid)
        xapid_stop(h->xapid);
    h->xapid = NULL;
    printf("stop %d\n", h->number);
    return NULL;
}

static void begin(struct host *h, void *(*what)(void *arg))
{
    if (h->thread.running)
        thread_join(&h->thread);
    thread_start(&h->thread, what == start ? "starts" : "stops", what, h);
}

static void host_init(struct host *h, int number, char **argv)
{
    h->number = number;
    snprintf(h->dir, sizeof h->dir, "%s/%d", argv[1], number);
    snprintf(h->socket, sizeof h->socket, "%s/xapi", h->dir);
    snprintf(h->ip, sizeof h->ip, "127.1.0.%d", number + 1);
    snprintf(h->address, sizeof h->address, "%s:7400", h->ip);
    mkdir(h->dir, 0700);
    h->options = (struct xapid_options){.state_dir = h->dir,
                                        .unix_socket = h->socket,
                                        .listen_address = h->ip,
                                        .tls_port = -1,
                                        .nbd_port = -1,
                                        .hypervisor = "sim",
                                        .sim_program = argv[4],
                                        .password_file = argv[3],
                                        .pool_address = h->address,
                                        .joining = number > 0};
}

static void obey(struct host *hosts, int n)
{
    char what[8];
    int i;

    while (scanf("%7s %d", what, &i) == 2) {
        if (i >= 0 && i < n && (strcmp(what, "start") == 0 || strcmp(what, "stop") == 0))
            begin(&hosts[i], strcmp(what, "start") == 0 ? start : stop);
        else
            fprintf(stderr, "pool-many: this is no command: %s %d\n", what, i);
    }
}

int main(int argc, char **argv)
{
    struct host *hosts;
    int n = argc == 5 ? atoi(argv[2]) : 0;

    if (n < 1) {
        fprintf(stderr, "usage: pool-many DIRECTORY HOSTS PASSWORD-FILE SIM-PROGRAM\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    codec_init();
    hosts = xcalloc((size_t)n, sizeof *hosts);
    for (int i = 0; i < n; i++)
        host_init(&hosts[i], i, argv);
    obey(hosts, n);
    for (int i = n - 1; i >= 0; i--)
        begin(&hosts[i], stop);
    for (int i = 0; i < n; i++)
        thread_join(&hosts[i].thread);
    free(hosts);
    return 0;
}
