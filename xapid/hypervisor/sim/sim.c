/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* sim.c -- the simulator's beginning and end. */
#include "xapid/hypervisor/sim/sim.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "xapid/hypervisor/sim/picture.h"

#define END_TIME (100 * USEC_PER_MSEC) /* from a guest's acknowledgement to its end */

static void signal_arrived(struct source *source, uint32_t events)
{
    (void)events;
    loop_stop(source->loop);
}

static bool watch_signals(struct sim *sim)
{
    sigset_t ends;
    int fd;

    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    fd = signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd >= 0 && source_add(sim->loop, &sim->signals, fd, EPOLLIN, signal_arrived))
        return true;
    log_error("signals: %s", strerrordesc_np(errno));
    if (fd >= 0)
        close(fd);
    return false;
}

static void forget_signals(struct sim *sim)
{
    int fd = sim->signals.fd;

    source_remove(&sim->signals);
    if (fd >= 0)
        close(fd);
}

struct sim *sim_new(const struct sim_options *options)
{
    struct sim *sim = xcalloc(1, sizeof *sim);

    sim->options = *options;
    sim->boot_time = options->boot_time;
    sim->end_time = END_TIME;
    sim->start_wall = clock_wall();
    uuid_new(sim->instance);
    sim->loop = loop_new();
    sim->listener.fd = sim->signals.fd = -1;
    sim->picture = xcalloc(PICTURE_PIXELS, sizeof *sim->picture);
    requests_start(sim);
    if (watch_signals(sim) && server_start(sim))
        return sim;
    sim_free(sim);
    return NULL;
}

void sim_free(struct sim *sim)
{
    if (!sim)
        return;
    server_stop(sim);
    while (sim->domains)
        domain_destroy(sim->domains);
    requests_stop(sim);
    forget_signals(sim);
    loop_free(sim->loop);
    free(sim->picture);
    free(sim);
}
