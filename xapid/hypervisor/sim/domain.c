/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* domain.c -- what a hypervisor does: domains are built, run, paused, end, are destroyed; memory is
 * counted. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "libxapi/value/featureset.h"
#include "xapid/hypervisor/sim/sim.h"

#define MEMORY_MIN ((int64_t)4 << 20)

struct domain *domain_find(struct sim *sim, const char *uuid)
{
    struct domain *d = sim->domains;

    while (d && strcmp(d->uuid, uuid) != 0)
        d = d->next;
    return d;
}

struct error *domain_of(struct request *rq, struct domain **out)
{
    char uuid[UUID_TEXT_SIZE];

    read_uuid(&rq->args, "uuid", false, uuid);
    if (rq->args.bad)
        return request_bad(rq);
    *out = domain_find(sim_of(rq), uuid);
    return *out ? OK : error_internal(&rq->arena, FAILURE_NO_DOMAIN "%s", uuid);
}

struct error *domain_alive(struct request *rq, struct domain **out)
{
    TRY(domain_of(rq, out));
    if ((*out)->state == HV_SHUTDOWN)
        return error_internal(&rq->arena, "the domain %s has ended (%s)", (*out)->uuid,
                              hv_reason_names[(*out)->reason]);
    return OK;
}

int64_t domain_memory(const struct domain *d)
{
    /* A target above what the guest has taken so far is promised to it. */
    return MAX(d->memory, d->memory_target);
}

struct error *memory_reserve(struct request *rq, int64_t more)
{
    int64_t available = sim_of(rq)->options.memory - sim_of(rq)->memory_used;

    if (more <= available)
        return OK;
    return error_new(&rq->arena, "HOST_NOT_ENOUGH_FREE_MEMORY", 2,
                     arena_printf(&rq->arena, "%lld", (long long)more),
                     arena_printf(&rq->arena, "%lld", (long long)available));
}

static bool one_of(const char *s, const char *const *words)
{
    while (*words && strcmp(*words, s) != 0)
        words++;
    return *words != NULL;
}

static struct error *check_config(struct request *rq, const struct hv_domain_config *c)
{
    static const char *const types[] = {"hvm", "pv", "pvh", "pv_in_pvh", NULL};
    static const char *const firmwares[] = {"", "bios", "uefi", NULL};
    const char *const boot_files[] = {c->kernel, c->ramdisk};
    const struct domain *twin = domain_find(sim_of(rq), c->uuid);
    struct hv_host_info host;
    uint8_t bytes[16];

    if (!uuid_from_text(c->uuid, bytes))
        return error_internal(&rq->arena, "'%s' is no uuid", c->uuid);
    if (twin)
        return error_new(&rq->arena, "DOMAIN_EXISTS", 2, c->uuid,
                         arena_printf(&rq->arena, "%d", twin->domid));
    if (sim_of(rq)->n_domains >= SIM_DOMAINS_MAX)
        return error_internal(&rq->arena, "the host has %d domains already", SIM_DOMAINS_MAX);
    if (!one_of(c->type, types) || !one_of(c->firmware, firmwares))
        return error_internal(&rq->arena, "unknown type '%s' or firmware '%s'", c->type,
                              c->firmware);
    if (c->memory_target < MEMORY_MIN || c->memory_target > c->memory_static_max)
        return error_internal(&rq->arena, "memory: target %lld, static-max %lld",
                              (long long)c->memory_target, (long long)c->memory_static_max);
    if (c->vcpus < 1 || c->vcpus > c->vcpus_max || c->vcpus_max > SIM_VCPUS_MAX)
        return error_internal(&rq->arena, "vCPUs: %d of at most %d", c->vcpus, c->vcpus_max);
    host_info(sim_of(rq), &host);
    if (!featureset_covers(strcmp(c->type, "pv") == 0 ? host.features_pv : host.features_hvm,
                           c->cpu_features))
        return error_internal(&rq->arena, "this processor has not all features of the guest's");
    for (size_t i = 0; i < ARRAY_SIZE(boot_files); i++)
        if (*boot_files[i] && access(boot_files[i], R_OK) < 0)
            return error_internal(&rq->arena, "%s: %s", boot_files[i], strerrordesc_np(errno));
    return memory_reserve(rq, c->memory_target);
}

static void copy_config(struct domain *d, const struct hv_domain_config *c)
{
    d->config = (struct hv_domain_config){
        .uuid = d->uuid,
        .name = arena_strdup(&d->arena, c->name),
        .type = arena_strdup(&d->arena, c->type),
        .memory_static_max = c->memory_static_max,
        .memory_target = c->memory_target,
        .vcpus_max = c->vcpus_max,
        .vcpus = c->vcpus,
        .kernel = arena_strdup(&d->arena, c->kernel),
        .ramdisk = arena_strdup(&d->arena, c->ramdisk),
        .cmdline = arena_strdup(&d->arena, c->cmdline),
        .boot_order = arena_strdup(&d->arena, c->boot_order),
        .firmware = arena_strdup(&d->arena, c->firmware),
    };
    live_schedule(d, &c->vcpus_params);
    for (size_t i = 0; i < c->xenstore_data.n; i++)
        if (strncmp(c->xenstore_data.v[i].key, "vm-data", 7) == 0)
            keys_set(&d->guest, c->xenstore_data.v[i].key, c->xenstore_data.v[i].value);
}

/* Frees one that is not, or no longer, in the list. */
static void domain_free(struct domain *d)
{
    timer_cancel(&d->plan_timer);
    ram_release(d);
    console_close(d);
    devices_release(d);
    keys_release(&d->guest);
    arena_release(&d->arena);
    free(d);
}

static struct error *add_devices(struct request *rq, struct domain *d,
                                 const struct hv_domain_config *c)
{
    for (size_t i = 0; i < c->n_disks; i++)
        TRY(disk_add(rq, d, &c->disks[i]));
    for (size_t i = 0; i < c->n_nics; i++)
        TRY(nic_add(rq, d, &c->nics[i]));
    for (size_t i = 0; i < c->n_pcis; i++)
        TRY(pci_add(rq, d, c->pcis[i]));
    for (size_t i = 0; i < c->n_usbs; i++)
        TRY(usb_add(rq, d, &c->usbs[i]));
    return OK;
}

struct error *domain_build(struct request *rq, const struct hv_domain_config *config,
                           struct domain **out)
{
    struct sim *sim = sim_of(rq);
    struct domain *d;
    struct error *e;

    TRY(check_config(rq, config));
    d = xcalloc(1, sizeof *d);
    d->sim = sim;
    memcpy(d->uuid, config->uuid, UUID_TEXT_SIZE);
    copy_config(d, config);
    d->state = HV_PAUSED;
    d->memory = d->memory_target = config->memory_target;
    d->vcpus = config->vcpus;
    d->load = sim_usual_load;
    d->start_time = clock_wall();
    d->domid = sim->last_domid + 1;
    e = add_devices(rq, d, config);
    if (!e && !console_open(d))
        e = error_internal(&rq->arena, "cannot open the console's sockets: %s",
                           strerrordesc_np(errno));
    if (e) {
        domain_free(d);
        return e;
    }
    sim->last_domid = d->domid;
    sim->memory_used += domain_memory(d);
    d->next = sim->domains;
    sim->domains = d;
    sim->n_domains++;
    domain_changed(d);
    *out = d;
    return OK;
}

void domain_set_running(struct domain *d, bool running)
{
    if (running == (d->state == HV_RUNNING))
        return;
    domain_settle(d);
    ram_catch_up(d);
    d->state = running ? HV_RUNNING : HV_PAUSED;
    if (running)
        guest_resume(d);
    else
        guest_freeze(d);
    domain_changed(d);
}

void domain_end(struct domain *d, enum hv_reason reason)
{
    json_t *death;

    if (d->state == HV_SHUTDOWN)
        return;
    domain_settle(d);
    ram_catch_up(d);
    guest_freeze(d);
    d->state = HV_SHUTDOWN;
    d->reason = reason;
    d->plan = GUEST_IDLE;
    d->asked = HV_NONE;
    domain_changed(d);
    if (d->migration && reason != HV_SUSPEND)
        migration_cancel(d);
    death = json_pack("{s:s}", "reason", hv_reason_names[reason]);
    requests_wake(d->sim->server, WAIT_ACK, d, OK, NULL);
    requests_wake(d->sim->server, WAIT_DEATH, d, OK, death);
    json_decref(death);
}

void domain_destroy(struct domain *d)
{
    struct sim *sim = d->sim;
    struct domain **at = &sim->domains;
    AUTO(arena) arena = {0};
    json_t *gone = json_pack("{s:s}", "reason", hv_reason_names[HV_NONE]);

    if (d->migration)
        migration_cancel(d);
    while (*at != d)
        at = &(*at)->next;
    *at = d->next;
    domain_leave(d);
    sim->n_domains--;
    sim->memory_used -= domain_memory(d) + d->live.shadow;
    requests_wake(sim->server, WAIT_ACK, d, error_internal(&arena, FAILURE_NO_DOMAIN "%s", d->uuid),
                  NULL);
    requests_wake(sim->server, WAIT_DEATH, d, OK, gone);
    json_decref(gone);
    server_push(sim->server, d->uuid);
    account_domain(d, false);
    domain_free(d);
}

void domain_changed(struct domain *d)
{
    account_domain(d, d->state == HV_RUNNING);
    server_push(d->sim->server, d->uuid);
    console_changed(d);
}

json_t *domain_json(const struct domain *d)
{
    struct hv_disk disks[PROTOCOL_DISKS_MAX];
    struct hv_nic nics[PROTOCOL_NICS_MAX];
    struct hv_domain out = {
        .domid = d->domid,
        .state = d->state,
        .reason = d->reason,
        .memory = d->memory,
        .memory_target = d->memory_target,
        .vcpus = d->vcpus,
        .start_time = d->start_time,
        .cpu_time = domain_cpu_time(d),
        .console_rfb = console_rfb_path(d),
        .console_text = console_text_path(d),
        .guest = {d->guest.n, d->guest.v},
        .n_disks = d->n_disks,
        .n_nics = d->n_nics,
        .disks = disks,
        .nics = nics,
    };

    memcpy(out.uuid, d->uuid, sizeof out.uuid);
    for (size_t i = 0; i < d->n_disks; i++)
        disks[i] = d->disks[i].d;
    for (size_t i = 0; i < d->n_nics; i++)
        nics[i] = d->nics[i].d;
    return write_domain(&out);
}
