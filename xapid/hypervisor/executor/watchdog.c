/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * watchdog.c -- Xen's watchdog of domain 0: if it is not told anew in time Xen restarts the
 * machine, whatever domain 0 does.
 *
 * A domain has two of them, known by numbers.  Ours is kept in <dir>/watchdog, with the boot it
 * belongs to, so that a new executor goes on with the same one: another one beside it could not be
 * told anew by anybody.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "xapid/hypervisor/executor/executor.h"

#define BOOT_ID_SIZE 64

static void read_boot(char out[BOOT_ID_SIZE])
{
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");

    *out = '\0';
    if (f && !fgets(out, BOOT_ID_SIZE, f))
        *out = '\0';
    if (f)
        fclose(f);
    out[strcspn(out, "\n")] = '\0';
}

static const char *path_of(struct request *rq)
{
    return arena_printf(&rq->arena, "%s/watchdog", executor_of(rq)->dir);
}

/* The number of ours, 0: none in this boot. */
static uint32_t known_id(struct request *rq)
{
    char boot[BOOT_ID_SIZE], now[BOOT_ID_SIZE];
    FILE *f = fopen(path_of(rq), "re");
    unsigned id = 0;

    read_boot(now);
    if (f && (fscanf(f, "%u %63s", &id, boot) != 2 || strcmp(boot, now) != 0))
        id = 0;
    if (f)
        fclose(f);
    return id;
}

static struct error *note_id(struct request *rq, uint32_t id)
{
    const char *path = path_of(rq), *fresh = arena_printf(&rq->arena, "%s.new", path);
    FILE *f = fopen(fresh, "we");
    char boot[BOOT_ID_SIZE];
    bool good;

    read_boot(boot);
    good = f && fprintf(f, "%u %s\n", id, boot) > 0 && fflush(f) == 0 && fdatasync(fileno(f)) == 0;
    if (f)
        good &= fclose(f) == 0;
    if (good && rename(fresh, path) == 0)
        return OK;
    return error_internal(&rq->arena, "%s: %m", path);
}

static struct error *failed(struct request *rq)
{
    return error_internal(&rq->arena, "Xen's watchdog: %s", strerrordesc_np(errno));
}

/* One that nobody has noted yet must not bite before it is: then it is taken back. */
static struct error *begin(struct request *rq, xc_interface *xc, uint32_t seconds)
{
    int id = xc_watchdog(xc, 0, seconds);
    struct error *e;

    if (id <= 0)
        return failed(rq);
    e = note_id(rq, (uint32_t)id);
    if (e)
        xc_watchdog(xc, (uint32_t)id, 0);
    return e;
}

static struct error *tell(struct request *rq, xc_interface *xc, uint32_t seconds)
{
    uint32_t id = known_id(rq);

    if (id && xc_watchdog(xc, id, seconds) == 0)
        return OK;
    if (id && errno != EINVAL) /* EINVAL: it was ended */
        return failed(rq);
    return seconds ? begin(rq, xc, seconds) : OK;
}

struct error *run_watchdog(struct request *rq, json_t **result)
{
    int64_t ms = read_watchdog(&rq->args);
    xc_interface *xc;
    struct error *e;

    (void)result;
    xc = xen_control_open();
    if (!xc)
        return error_internal(&rq->arena, "Xen does not answer");
    /* Whole seconds, never later than asked; one at least, for 0 would end it. */
    e = tell(rq, xc, ms ? (uint32_t)MAX(ms / 1000, (int64_t)1) : 0);
    xen_control_close(xc);
    return e;
}
