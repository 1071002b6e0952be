/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * account.c -- what ran and what was open, and when: written down for whoever compares several
 * hosts.
 *
 * Only where a test has put a file "account" into the simulator's directory: each event is appended
 * to it, a line "<microseconds of the monotonic clock> <event> ...".  The clock is the same for all
 * simulators of a machine, and the file outlives a simulator that is killed.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "xapid/hypervisor/sim/sim.h"

#define LINE_MAX_SIZE 4400 /* a path fits */

static void note(struct sim *sim, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void note(struct sim *sim, const char *fmt, ...)
{
    char line[LINE_MAX_SIZE];
    va_list ap;
    int n;

    if (sim->account < 0)
        return;
    n = snprintf(line, sizeof line, "%lld ", (long long)clock_mono());
    va_start(ap, fmt);
    n += vsnprintf(line + n, sizeof line - (size_t)n, fmt, ap);
    va_end(ap);
    /* In one piece: what is killed in the middle leaves no half of a line. */
    if (write(sim->account, line, (size_t)n) != n)
        log_error("the account cannot be written: %m");
}

void account_open(struct sim *sim)
{
    AUTO(arena) arena = {0};

    sim->account =
        open(arena_printf(&arena, "%s/account", sim->options.dir), O_WRONLY | O_APPEND | O_CLOEXEC);
    note(sim, "begin\n");
}

void account_close(struct sim *sim)
{
    note(sim, "end\n");
    if (sim->account >= 0)
        close(sim->account);
}

void account_fenced(struct sim *sim)
{
    note(sim, "fenced\n");
}

void account_domain(struct domain *d, bool runs)
{
    if (runs == d->accounted)
        return;
    d->accounted = runs;
    note(d->sim, "%s %s\n", runs ? "run" : "rest", d->uuid);
}

void account_disk(const struct domain *d, const char *event, const struct hv_disk *disk)
{
    if (*disk->path)
        note(d->sim, "%s %s %s %s\n", event, d->uuid, disk->mode == HV_DISK_RW ? "rw" : "ro",
             disk->path);
}
