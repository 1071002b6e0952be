/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * live.c -- what a running domain is told besides: keys, buttons, scheduling, shadow memory, and a
 * core dump of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "xapid/hypervisor/sim/sim.h"

#define KEY_MAX_BYTES 256
#define VALUE_MAX_BYTES 4096
#define DUMP_BYTES 65536

struct error *run_sysrq(struct request *rq, json_t **result)
{
    const char *key = read_text(&rq->args, "key", 1);
    struct domain *d;

    (void)result;
    TRY(domain_alive(rq, &d));
    if (!*key)
        return error_internal(&rq->arena, "sysrq: no key");
    d->live.sysrq = *key;
    if (!guest_answers(d))
        return OK;
    /* What a Linux kernel makes of them. */
    if (*key == 'c')
        domain_end(d, HV_CRASH);
    else if (*key == 'b')
        domain_end(d, HV_REBOOT);
    else if (*key == 'o')
        domain_end(d, HV_POWEROFF);
    return OK;
}

struct error *run_trigger(struct request *rq, json_t **result)
{
    enum hv_trigger trigger = (enum hv_trigger)read_enum(&rq->args, "trigger", hv_trigger_names);
    struct domain *d;

    (void)result;
    TRY(domain_alive(rq, &d));
    if (rq->args.bad)
        return OK; /* the caller reports it */
    if (strcmp(d->config.type, "hvm") != 0 && trigger != HV_TRIGGER_NMI)
        return error_internal(&rq->arena, "only an HVM guest has a '%s' to trigger",
                              hv_trigger_names[trigger]);
    d->live.trigger = hv_trigger_names[trigger];
    switch (trigger) {
    case HV_TRIGGER_POWER:
        if (guest_answers(d))
            guest_will_end(d, HV_POWEROFF);
        break;
    case HV_TRIGGER_RESET:
        domain_end(d, HV_REBOOT);
        break;
    case HV_TRIGGER_SLEEP:
        d->live.asleep = guest_answers(d);
        break;
    case HV_TRIGGER_S3RESUME:
        d->live.asleep = false;
        guest_ask(d, d->asked);
        break;
    case HV_TRIGGER_NMI:
    case HV_TRIGGER_INIT:
        break;
    }
    domain_changed(d);
    return OK;
}

/* In the domain's arena, which ends with it. */
static const char *keep(struct domain *d, const char *value, const char *old)
{
    return value ? arena_strdup(&d->arena, value) : old;
}

static const char *find(const struct strmap *map, const char *key)
{
    for (size_t i = 0; i < map->n; i++)
        if (strcmp(map->v[i].key, key) == 0)
            return map->v[i].value;
    return NULL;
}

void live_schedule(struct domain *d, const struct strmap *params)
{
    d->live.weight = keep(d, find(params, "weight"), d->live.weight);
    d->live.cap = keep(d, find(params, "cap"), d->live.cap);
    d->live.mask = keep(d, find(params, "mask"), d->live.mask);
}

struct error *run_set_scheduling(struct request *rq, json_t **result)
{
    struct strmap params = read_strmap(&rq->args, "params");
    struct domain *d;

    (void)result;
    TRY(domain_alive(rq, &d));
    live_schedule(d, &params);
    return OK;
}

struct error *run_set_shadow(struct request *rq, json_t **result)
{
    int64_t bytes = read_int(&rq->args, "bytes", 0, INT64_MAX / 2);
    struct domain *d;

    (void)result;
    TRY(domain_alive(rq, &d));
    TRY(memory_reserve(rq, bytes - d->live.shadow));
    sim_of(rq)->memory_used += bytes - d->live.shadow;
    d->live.shadow = bytes;
    return OK;
}

/*** the guest's keys ***/

static bool key_is_good(const char *key)
{
    return strlen(key) <= KEY_MAX_BYTES && !strstr(key, "//") &&
           (strncmp(key, "vm-data/", 8) == 0 || strcmp(key, "vm-data") == 0 ||
            strncmp(key, "control/", 8) == 0 || strncmp(key, "data/", 5) == 0);
}

/* What the agent does about what was written. */
static void agent_reads(struct domain *d)
{
    const char *state = keys_get(&d->guest, "control/batcmd/state");

    if (!guest_answers(d) || d->live.uncooperative || !state || strcmp(state, "READY") != 0)
        return;
    /* A script that prints itself. */
    keys_set(&d->guest, "control/batcmd/stdout", keys_get(&d->guest, "control/batcmd/script"));
    keys_set(&d->guest, "control/batcmd/stderr", "");
    keys_set(&d->guest, "control/batcmd/return", "0");
    keys_set(&d->guest, "control/batcmd/state", "SUCCESS");
}

struct error *run_guest_write(struct request *rq, json_t **result)
{
    struct strmap write = read_strmap(&rq->args, "write");
    struct strings drop = read_strings(&rq->args, "remove");
    struct domain *d;

    (void)result;
    TRY(domain_alive(rq, &d));
    for (size_t i = 0; i < write.n; i++)
        if (!key_is_good(write.v[i].key) || strlen(write.v[i].value) > VALUE_MAX_BYTES)
            return error_internal(&rq->arena, "'%s' cannot be written", write.v[i].key);
    for (size_t i = 0; i < drop.n; i++)
        if (!key_is_good(drop.v[i]))
            return error_internal(&rq->arena, "'%s' cannot be removed", drop.v[i]);
    for (size_t i = 0; i < drop.n; i++)
        keys_drop(&d->guest, drop.v[i]);
    for (size_t i = 0; i < write.n; i++)
        keys_set(&d->guest, write.v[i].key, write.v[i].value);
    agent_reads(d);
    domain_changed(d);
    return OK;
}

/*** a core dump ***/

struct error *run_core_dump(struct request *rq, json_t **result)
{
    const char *path = read_text(&rq->args, "path", 4096);
    char *memory = arena_alloc(&rq->arena, DUMP_BYTES);
    struct domain *d;
    int fd, failed;

    (void)result;
    TRY(domain_of(rq, &d));
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_internal(&rq->arena, "%s: %s", path, strerrordesc_np(errno));
    memset(memory, 0, DUMP_BYTES);
    memcpy(memory, d->uuid, UUID_TEXT_SIZE);
    failed = write(fd, memory, DUMP_BYTES) != DUMP_BYTES ? errno ? errno : ENOSPC : 0;
    close(fd);
    if (!failed)
        return OK;
    unlink(path);
    return error_internal(&rq->arena, "%s: %s", path, strerrordesc_np(failed));
}

/*** for tests ***/

json_t *live_json(const struct domain *d)
{
    const char sysrq[2] = {d->live.sysrq, '\0'};

    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o}", "sysrq", sysrq, "trigger",
        d->live.trigger ? d->live.trigger : "", "asleep", d->live.asleep ? "yes" : "no",
        "cooperative", d->live.uncooperative ? "no" : "yes", "weight",
        d->live.weight ? d->live.weight : "", "cap", d->live.cap ? d->live.cap : "", "mask",
        d->live.mask ? d->live.mask : "", "shadow", json_sprintf("%lld", (long long)d->live.shadow),
        "memory", json_sprintf("%lld", (long long)d->memory), "target",
        json_sprintf("%lld", (long long)d->memory_target));
}
