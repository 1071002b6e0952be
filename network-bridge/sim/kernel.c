/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * kernel.c -- a host's network that does not exist: the model, and the file that it is kept in, so
 * that it outlives the daemon as a kernel does.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "libxapi/base/memory.h"
#include "network-bridge/plan/model.h"
#include "network-bridge/sim/text.h"

static const char first_state[] =
    "link lo card up mtu 65536\n"
    "link eth0 card up mac 00:16:3e:00:00:01 permanent 00:16:3e:00:00:01 mtu 1500 ipv6 autoconf "
    "carrier physical full-duplex speed 10000 pci 0000:01:00.0\n"
    "link eth1 card mac 00:16:3e:00:00:02 permanent 00:16:3e:00:00:02 mtu 1500 ipv6 autoconf "
    "carrier physical full-duplex speed 10000 pci 0000:01:00.1\n"
    "address eth0 192.0.2.10/24\n"
    "route eth0 0.0.0.0/0 via 192.0.2.1\n"
    "dns servers 192.0.2.1\n";

struct sim {
    struct net_kernel kernel;
    struct buf text; /* the state; what a step has not changed is not kept in any other form */
    char *path;      /* NULL: in memory only */
};

static struct error *failed(struct arena *arena, const struct sim *sim, const char *what)
{
    return error_internal(arena, "the simulated network's file %s could not be %s: %s", sim->path,
                          what, strerrordesc_np(errno));
}

static struct error *save(struct sim *sim, struct arena *arena)
{
    const char *part = arena_printf(arena, "%s.new", sim->path);
    int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool good = fd >= 0 && write(fd, sim->text.data, sim->text.len) == (ssize_t)sim->text.len;

    if (fd >= 0 && close(fd) < 0)
        good = false;
    if (!good || rename(part, sim->path) < 0)
        return failed(arena, sim, "written");
    return OK;
}

static struct error *load(struct sim *sim, struct arena *arena)
{
    int fd = open(sim->path, O_RDONLY | O_CLOEXEC);
    ssize_t n = 1;

    if (fd < 0 && errno == ENOENT) {
        buf_puts(&sim->text, first_state);
        return OK;
    }
    while (fd >= 0 && n > 0 && sim->text.len < NET_TEXT_LIMIT) {
        buf_reserve(&sim->text, 65536);
        n = read(fd, sim->text.data + sim->text.len, 65535);
        sim->text.len += n > 0 ? (size_t)n : 0;
        sim->text.data[sim->text.len] = '\0';
    }
    if (fd >= 0)
        close(fd);
    return fd < 0 || n < 0 ? failed(arena, sim, "read") : OK;
}

static struct error *sim_read(struct net_kernel *kernel, struct arena *arena, struct net_state *out)
{
    struct sim *sim = container_of(kernel, struct sim, kernel);

    return net_state_parse(arena, arena_strdup(arena, sim->text.data), out);
}

static struct error *sim_step(struct net_kernel *kernel, struct arena *arena,
                              const struct net_step *step)
{
    struct sim *sim = container_of(kernel, struct sim, kernel);
    struct net_state state;
    struct model model;
    const char *refused;

    TRY(sim_read(kernel, arena, &state));
    model_init(&model, arena, &state);
    refused = model_step(&model, step);
    if (refused)
        return error_new(arena, "PIF_CONFIGURATION_ERROR", 2, step->device, refused);
    model_state(&model, arena, &state);
    sim->text.len = 0;
    net_state_print(&sim->text, &state);
    return sim->path ? save(sim, arena) : OK;
}

static void sim_free(struct net_kernel *kernel)
{
    struct sim *sim = container_of(kernel, struct sim, kernel);

    buf_release(&sim->text);
    free(sim->path);
    free(sim);
}

struct error *net_sim_new(struct arena *arena, const char *path, struct net_kernel **out)
{
    struct sim *sim = xcalloc(1, sizeof *sim);
    struct net_state state;
    struct error *e = OK;

    sim->kernel = (struct net_kernel){.read = sim_read, .step = sim_step, .free = sim_free};
    sim->path = path ? xstrdup(path) : NULL;
    if (path)
        e = load(sim, arena);
    else
        buf_puts(&sim->text, first_state);
    if (!e)
        e = sim_read(&sim->kernel, arena, &state);
    if (e) {
        sim_free(&sim->kernel);
        return e;
    }
    *out = &sim->kernel;
    return OK;
}
