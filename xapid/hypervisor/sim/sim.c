/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* sim.c -- the simulator's beginning and end. */
#include "xapid/hypervisor/sim/sim.h"

#include <stdlib.h>

#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"

#define END_TIME (100 * USEC_PER_MSEC) /* from a guest's acknowledgement to its end */

struct sim *sim_new(const struct sim_options *options)
{
    static const struct program program = {
        .hypervisor = "simulator",
        .handlers = sim_handlers,
        .n_handlers = SIM_N_HANDLERS,
    };
    struct sim *sim = xcalloc(1, sizeof *sim);

    sim->options = *options;
    sim->boot_time = options->boot_time;
    sim->end_time = END_TIME;
    sim->start_wall = clock_wall();
    account_open(sim);
    uuid_new(sim->boot_id);
    buf_puts(&sim->messages, "(XEN) Xen version 4.17.5 (simulated)\n");
    sim->server = server_new(
        &program, &(struct server_options){.socket_path = options->socket_path, .ctx = sim});
    sim->loop = sim->server ? sim->server->loop : NULL;
    if (sim->server)
        screens_init(&sim->screens, sim->loop);
    if (sim->server && server_listen(sim->server))
        return sim;
    sim_free(sim);
    return NULL;
}

void sim_free(struct sim *sim)
{
    if (!sim)
        return;
    if (sim->server)
        server_close(sim->server);
    while (sim->domains)
        domain_destroy(sim->domains);
    server_free(sim->server);
    screens_release(&sim->screens);
    account_close(sim);
    buf_release(&sim->messages);
    free(sim->cpu_features);
    free(sim);
}
