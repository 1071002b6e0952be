/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * autostart.c -- which boot of the host was dealt with is remembered in <state_dir>/autostarted:
 * the time of the boot.  A daemon that dies before it is written goes on with the VMs that are
 * left.
 */
#include "xapid/ops/vm/autostart.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "libxapi/value/value.h"
#include "xapid/hypervisor/hv.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/vm/sequence.h"

/* The time of a boot is computed from clocks that are set now and then. */
#define SAME_BOOT (60 * USEC_PER_SEC)

static const char *path_of(struct call *call)
{
    return arena_printf(call->arena, "%s/autostarted", call->xapid->options.state_dir);
}

static bool is_done(struct call *call, usec_t boot)
{
    FILE *f = fopen(path_of(call), "re");
    long long done = 0;
    bool read = f && fscanf(f, "%lld", &done) == 1;

    if (f)
        fclose(f);
    return read && boot - done < SAME_BOOT && done - boot < SAME_BOOT;
}

static void note_done(struct call *call, usec_t boot)
{
    const char *path = path_of(call), *new = arena_printf(call->arena, "%s.new", path);
    FILE *f = fopen(new, "we");
    bool written = f && fprintf(f, "%lld\n", (long long)boot) > 0 && fflush(f) == 0 &&
                   fdatasync(fileno(f)) == 0;

    if (f)
        written &= fclose(f) == 0;
    if (!written || rename(new, path) < 0)
        log_warning("%s: %m; VMs that start with the host may be started again", path);
}

static bool says_true(const struct strmap *map)
{
    const char *value = strmap_get(map, "auto_poweron");

    return value && strcmp(value, "true") == 0;
}

static struct refs find(struct call *call)
{
    const struct pool *pool = db_find(call, CLASS_pool, call->xapid->pool);
    ref_t *v = arena_array(call->arena, ref_t, snap_root(call->snap)->tables[CLASS_vm].count + 1);
    struct db_walk walk;
    const struct vm *vm;
    size_t n = 0;

    db_walk(call->snap, CLASS_vm, &walk);
    while (pool && says_true(&pool->other_config) && (vm = db_walk_next(&walk)))
        if (vm->power_state == VM_HALTED && !vm->is_a_template && !vm->is_a_snapshot &&
            says_true(&vm->other_config))
            v[n++] = vm->ref;
    return (struct refs){n, v};
}

static struct error *start_all(struct call *call)
{
    struct hv_request rq = {.arena = call->arena};
    struct hv_host_info info;
    struct refs vms, failed = {0};

    TRY(hv_host(call->xapid->hv, &rq, &info));
    if (is_done(call, info.boot_time))
        return OK;
    vms = find(call);
    if (vms.n)
        log_info("%zu VMs are started with the host", vms.n);
    TRY(sequence_run(call, SEQUENCE_START, &vms, NULL, NULL, &failed));
    if (failed.n)
        log_warning("%zu VMs that start with the host could not be started", failed.n);
    note_done(call, info.boot_time);
    return OK;
}

void vms_autostart(struct xapid *xapid)
{
    AUTO(arena) arena = {0};
    struct call call;
    struct error *e;

    call_init_internal(&call, xapid, &arena);
    e = start_all(&call);
    if (e)
        log_warning("VMs that start with the host: %s", error_line(&arena, e));
    call_release(&call);
}
