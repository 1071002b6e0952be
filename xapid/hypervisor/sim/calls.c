/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* calls.c -- the simulator's handlers. */
#include "xapid/hypervisor/sim/sim.h"

static struct error *run_host(struct request *rq, json_t **result)
{
    struct hv_host_info info;

    host_info(sim_of(rq), &info);
    *result = write_host(&info);
    return OK;
}

static struct error *run_list(struct request *rq, json_t **result)
{
    json_t *list = json_array();

    for (struct domain *d = sim_of(rq)->domains; d; d = d->next)
        json_array_append_new(list, domain_json(d));
    *result = json_pack("{s:o}", "domains", list);
    return OK;
}

static struct error *run_get(struct request *rq, json_t **result)
{
    char uuid[UUID_TEXT_SIZE];
    struct domain *d;

    read_uuid(&rq->args, "uuid", false, uuid);
    d = domain_find(sim_of(rq), uuid);
    *result = json_pack("{s:o}", "domain", d ? domain_json(d) : json_null());
    return OK;
}

static struct error *run_build(struct request *rq, json_t **result)
{
    struct reader r = reader_of(&rq->arena, json_object_get(rq->args_json, "config"));
    struct hv_domain_config config = {0};
    struct domain *d;

    read_config(&r, &config);
    if (r.bad)
        return error_internal(&rq->arena, "the configuration's '%s' is missing or wrong", r.bad);
    TRY(domain_build(rq, &config, &d));
    guest_will_boot(d);
    *result = json_pack("{s:i}", "domid", d->domid);
    return OK;
}

static struct error *run_restore(struct request *rq, json_t **result)
{
    struct reader r = reader_of(&rq->arena, json_object_get(rq->args_json, "config"));
    const char *path = read_text(&rq->args, "path", 4096);
    struct hv_domain_config config = {0};
    struct image image;
    struct domain *d;

    read_config(&r, &config);
    if (r.bad)
        return error_internal(&rq->arena, "the configuration's '%s' is missing or wrong", r.bad);
    TRY(image_load(rq, path, &image));
    config.memory_target = image.memory;
    config.memory_static_max = MAX(config.memory_static_max, image.memory);
    TRY(domain_build(rq, &config, &d));
    image_apply(d, &image);
    *result = json_pack("{s:i}", "domid", d->domid);
    return OK;
}

static struct error *run_unpause(struct request *rq, json_t **result)
{
    struct domain *d;

    (void)result;
    TRY(domain_alive(rq, &d));
    if (domain_is_incoming(d))
        return error_internal(&rq->arena, "the domain %s is not all here yet", d->uuid);
    domain_set_running(d, true);
    return OK;
}

static struct error *run_pause(struct request *rq, json_t **result)
{
    struct domain *d;

    (void)result;
    TRY(domain_alive(rq, &d));
    domain_set_running(d, false);
    return OK;
}

static struct error *ack_failed(struct request *rq, enum hv_reason what, const char *uuid)
{
    return error_new(&rq->arena,
                     what == HV_SUSPEND ? "VM_FAILED_SUSPEND_ACKNOWLEDGMENT"
                                        : "VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT",
                     1, uuid);
}

/* Withdrawn, so that the guest does not obey when nobody wants it any more. */
static void not_acknowledged(struct request *rq)
{
    struct domain *d = (struct domain *)rq->subject;
    enum hv_reason what = d->asked;

    d->asked = HV_NONE;
    request_finish(rq, ack_failed(rq, what, d->uuid), NULL);
}

static struct error *run_shutdown(struct request *rq, json_t **result)
{
    enum hv_reason what = (enum hv_reason)read_enum(&rq->args, "reason", hv_reason_names);
    usec_t now = loop_now(rq->server->loop);
    struct domain *d;

    (void)result;
    TRY(domain_alive(rq, &d));
    if (what != HV_POWEROFF && what != HV_REBOOT && what != HV_SUSPEND)
        return error_internal(&rq->arena, "a guest cannot be asked for this");
    request_wait(rq, WAIT_ACK, d, now + SIM_ACK_SHARE(rq->deadline - now), not_acknowledged);
    guest_ask(d, what);
    return OK;
}

static json_t *death_json(const struct domain *d)
{
    return json_pack("{s:s}", "reason", hv_reason_names[d->reason]);
}

static struct error *run_wait_death(struct request *rq, json_t **result)
{
    char uuid[UUID_TEXT_SIZE];
    struct domain *d;

    read_uuid(&rq->args, "uuid", false, uuid);
    d = domain_find(sim_of(rq), uuid);
    if (!d)
        *result = json_pack("{s:s}", "reason", hv_reason_names[HV_NONE]);
    else if (d->state == HV_SHUTDOWN)
        *result = death_json(d);
    else
        request_wait(rq, WAIT_DEATH, d, rq->deadline, NULL);
    return OK;
}

static struct error *run_destroy(struct request *rq, json_t **result)
{
    char uuid[UUID_TEXT_SIZE];
    struct domain *d;

    (void)result;
    read_uuid(&rq->args, "uuid", false, uuid);
    d = domain_find(sim_of(rq), uuid);
    if (d)
        domain_destroy(d);
    return OK;
}

static struct error *run_save(struct request *rq, json_t **result)
{
    const char *path = read_text(&rq->args, "path", 4096);
    struct domain *d;

    (void)result;
    TRY(domain_of(rq, &d));
    if (d->state == HV_SHUTDOWN && d->reason != HV_SUSPEND)
        return error_internal(&rq->arena, "the domain has ended (%s): nothing to save",
                              hv_reason_names[d->reason]);
    if (d->state != HV_SHUTDOWN && d->booted && !guest_answers(d))
        return ack_failed(rq, HV_SUSPEND, d->uuid);
    TRY(image_save(rq, d, path));
    if (d->state != HV_SHUTDOWN)
        domain_end(d, HV_SUSPEND);
    return OK;
}

static struct error *run_set_memory(struct request *rq, json_t **result)
{
    int64_t target = read_int(&rq->args, "target", 0, INT64_MAX);
    struct domain *d;

    (void)result;
    TRY(domain_alive(rq, &d));
    if (target < (4 << 20) || target > d->config.memory_static_max)
        return error_internal(
            &rq->arena, "a memory target of %lld bytes is not between 4 MiB and static-max %lld",
            (long long)target, (long long)d->config.memory_static_max);
    TRY(memory_reserve(rq, MAX(d->memory, target) - domain_memory(d)));
    sim_of(rq)->memory_used -= domain_memory(d);
    d->memory_target = target;
    sim_of(rq)->memory_used += domain_memory(d);
    guest_refresh(d);
    domain_changed(d);
    return OK;
}

static struct error *run_set_vcpus(struct request *rq, json_t **result)
{
    int vcpus = (int)read_int(&rq->args, "vcpus", INT32_MIN, INT32_MAX);
    struct domain *d;

    (void)result;
    TRY(domain_alive(rq, &d));
    if (vcpus < 1 || vcpus > d->config.vcpus_max)
        return error_internal(&rq->arena, "the domain has 1 to %d vCPUs", d->config.vcpus_max);
    domain_settle(d);
    d->vcpus = vcpus;
    domain_changed(d);
    return OK;
}

const struct handler sim_handlers[SIM_N_HANDLERS] = {
    {"host", false, run_host},
    {"list", false, run_list},
    {"get", false, run_get},
    {"stats", false, run_stats},
    {"wait_death", false, run_wait_death},
    {"control", false, run_control},
    {"build", true, run_build},
    {"restore", true, run_restore},
    {"unpause", true, run_unpause},
    {"pause", true, run_pause},
    {"shutdown", true, run_shutdown},
    {"destroy", true, run_destroy},
    {"save", true, run_save},
    {"migrate_out", true, run_migrate_out},
    {"migrate_in", true, run_migrate_in},
    {"resume", true, run_resume},
    {"set_memory", true, run_set_memory},
    {"set_vcpus", true, run_set_vcpus},
    {"disk_plug", true, run_disk_plug},
    {"disk_unplug", true, run_disk_unplug},
    {"disk_change", true, run_disk_change},
    {"usb_unplug", true, run_usb_unplug},
    {"nic_plug", true, run_nic_plug},
    {"nic_unplug", true, run_nic_unplug},
    {"sysrq", true, run_sysrq},
    {"trigger", true, run_trigger},
    {"set_scheduling", true, run_set_scheduling},
    {"set_shadow", true, run_set_shadow},
    {"guest_write", true, run_guest_write},
    {"core_dump", true, run_core_dump},
    {"messages", false, run_messages},
    {"debug_keys", false, run_debug_keys},
    {"watchdog", false, run_watchdog},
};
