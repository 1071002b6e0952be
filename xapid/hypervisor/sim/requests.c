/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requests.c -- from a message to a handler and back: ids, epochs, outcomes, faults, waiting.
 *
 * A request with an id is done once: its outcome is noted before anything happens, and the same id
 * again gets that outcome.  It goes on when its connection is lost.
 */
#include "xapid/hypervisor/sim/sim.h"

#include <stdlib.h>

#include "libxapi/base/memory.h"
#include "xapid/hypervisor/sim/outcome.h"

static struct error *run_host(struct request *rq, json_t **result)
{
    struct hv_host_info info;

    host_info(rq->sim, &info);
    *result = write_host(&info);
    return OK;
}

static struct error *run_list(struct request *rq, json_t **result)
{
    json_t *list = json_array();

    for (struct domain *d = rq->sim->domains; d; d = d->next)
        json_array_append_new(list, domain_json(d));
    *result = json_pack("{s:o}", "domains", list);
    return OK;
}

static struct error *run_get(struct request *rq, json_t **result)
{
    char uuid[UUID_TEXT_SIZE];
    struct domain *d;

    read_uuid(&rq->args, "uuid", false, uuid);
    d = domain_find(rq->sim, uuid);
    *result = json_pack("{s:o}", "domain", d ? domain_json(d) : json_null());
    return OK;
}

static struct error *run_watch(struct request *rq, json_t **result)
{
    (void)result;
    server_watch(rq->sim, rq->connection);
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
    d->cpu_time = image.cpu_time;
    d->booted = image.booted;
    for (size_t i = 0; i < image.guest.n; i++)
        keys_set(&d->guest, image.guest.v[i].key, image.guest.v[i].value);
    if (!image.booted)
        guest_will_boot(d);
    *result = json_pack("{s:i}", "domid", d->domid);
    return OK;
}

static struct error *run_unpause(struct request *rq, json_t **result)
{
    struct domain *d;

    (void)result;
    TRY(domain_alive(rq, &d));
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

static void wait_until(struct request *rq, enum wait_kind wait, usec_t at);

static struct error *run_shutdown(struct request *rq, json_t **result)
{
    enum hv_reason what = (enum hv_reason)read_enum(&rq->args, "reason", hv_reason_names);
    usec_t now = loop_now(rq->sim->loop);
    struct domain *d;

    (void)result;
    TRY(domain_alive(rq, &d));
    if (what != HV_POWEROFF && what != HV_REBOOT && what != HV_SUSPEND)
        return error_internal(&rq->arena, "a guest cannot be asked for this");
    rq->domain = d;
    wait_until(rq, WAIT_ACK, now + SIM_ACK_SHARE(rq->deadline - now));
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
    d = domain_find(rq->sim, uuid);
    if (!d)
        *result = json_pack("{s:s}", "reason", hv_reason_names[HV_NONE]);
    else if (d->state == HV_SHUTDOWN)
        *result = death_json(d);
    else {
        rq->domain = d;
        wait_until(rq, WAIT_DEATH, rq->deadline);
    }
    return OK;
}

static struct error *run_destroy(struct request *rq, json_t **result)
{
    char uuid[UUID_TEXT_SIZE];
    struct domain *d;

    (void)result;
    read_uuid(&rq->args, "uuid", false, uuid);
    d = domain_find(rq->sim, uuid);
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
    rq->sim->memory_used -= domain_memory(d);
    d->memory_target = target;
    rq->sim->memory_used += domain_memory(d);
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
    d->cpu_time = domain_cpu_time(d);
    d->running_since = loop_now(rq->sim->loop);
    d->vcpus = vcpus;
    domain_changed(d);
    return OK;
}

static json_t *outcome_json(const struct outcome *o)
{
    json_t *answer = json_pack("{s:b}", "known", 1);

    if (o->error)
        json_object_set(answer, "error", o->error);
    else
        json_object_set_new(answer, "result", o->result ? json_incref(o->result) : json_object());
    return answer;
}

static struct error *run_outcome(struct request *rq, json_t **result)
{
    char id[UUID_TEXT_SIZE];
    struct outcome *o;

    read_uuid(&rq->args, "id", false, id);
    if (rq->args.bad)
        return OK; /* the caller reports it */
    o = outcome_find(rq->sim->outcomes, id);
    if (o && o->state == OUTCOME_DONE) {
        *result = outcome_json(o);
    } else if (o && o->state == OUTCOME_RUNNING) {
        rq->waited = o;
        wait_until(rq, WAIT_OUTCOME, rq->deadline);
    } else {
        if (!o)
            outcome_begin(rq->sim->outcomes, id, OUTCOME_SEALED, 0);
        *result = json_pack("{s:b}", "known", 0);
    }
    return OK;
}

static const struct handler handlers[] = {
    {"host", false, run_host},
    {"list", false, run_list},
    {"get", false, run_get},
    {"watch", false, run_watch},
    {"outcome", false, run_outcome},
    {"wait_death", false, run_wait_death},
    {"control", false, run_control},
    {"build", true, run_build},
    {"restore", true, run_restore},
    {"unpause", true, run_unpause},
    {"pause", true, run_pause},
    {"shutdown", true, run_shutdown},
    {"destroy", true, run_destroy},
    {"save", true, run_save},
    {"set_memory", true, run_set_memory},
    {"set_vcpus", true, run_set_vcpus},
    {"disk_plug", true, run_disk_plug},
    {"disk_unplug", true, run_disk_unplug},
    {"disk_change", true, run_disk_change},
    {"nic_plug", true, run_nic_plug},
    {"nic_unplug", true, run_nic_unplug},
};

static const struct handler *handler_of(const char *call)
{
    for (size_t i = 0; i < ARRAY_SIZE(handlers); i++)
        if (strcmp(handlers[i].call, call) == 0)
            return &handlers[i];
    return NULL;
}

struct call_fault *call_fault_of(struct sim *sim, const char *call)
{
    const struct handler *h = handler_of(call);

    return h ? &sim->faults[h - handlers] : NULL;
}

static void request_free(struct request *rq)
{
    struct sim *sim = rq->sim;

    timer_cancel(&rq->timer);
    if (rq->prev)
        rq->prev->next = rq->next;
    else
        sim->requests = rq->next;
    if (rq->next)
        rq->next->prev = rq->prev;
    sim->n_requests--;
    json_decref(rq->args_json);
    arena_release(&rq->arena);
    free(rq);
}

/* The connection breaks where a test wants it to. */
static bool lost_instead(struct request *rq, bool *fault)
{
    if (!*fault)
        return false;
    *fault = false;
    server_drop(rq->sim, rq->connection);
    return true;
}

/* Those that asked again for the same id, or what became of it. */
static void finish_followers(struct sim *sim, struct outcome *o)
{
    struct request *next;

    for (struct request *rq = sim->requests; rq; rq = next) {
        next = rq->next;
        if (rq->wait != WAIT_OUTCOME || rq->waited != o)
            continue;
        if (rq->handler->run == run_outcome) {
            json_t *answer = outcome_json(o);

            server_answer(sim, rq->connection, rq->serial, NULL, answer);
            json_decref(answer);
        } else {
            server_answer(sim, rq->connection, rq->serial, o->error, o->result);
        }
        request_free(rq);
    }
}

void request_finish(struct request *rq, struct error *e, json_t *result)
{
    struct sim *sim = rq->sim;
    struct outcome *o = rq->outcome;
    json_t *error = e ? write_error(e) : NULL;

    if (o)
        outcome_end(o, error, result);
    if (!lost_instead(rq, &call_fault_of(sim, rq->handler->call)->lose_answer))
        server_answer(sim, rq->connection, rq->serial, error, result);
    json_decref(error);
    json_decref(result);
    request_free(rq);
    if (o)
        finish_followers(sim, o);
}

/* From the beginning each time: finishing one may have freed any other. */
static struct request *next_waiting(struct sim *sim, enum wait_kind wait, const struct domain *d)
{
    struct request *rq = sim->requests;

    while (rq && (rq->wait != wait || rq->domain != d))
        rq = rq->next;
    return rq;
}

void requests_wake(struct sim *sim, enum wait_kind wait, const struct domain *d,
                   const struct error *e, json_t *result)
{
    struct request *rq;

    while ((rq = next_waiting(sim, wait, d))) {
        rq->wait = WAIT_NOTHING;
        request_finish(rq, error_copy(&rq->arena, e), json_incref(result));
    }
}

static void run(struct request *rq);

static void request_timer(struct timer *timer)
{
    struct request *rq = container_of(timer, struct request, timer);

    switch (rq->wait) {
    case WAIT_DELAY:
        rq->wait = WAIT_NOTHING;
        run(rq);
        break;
    case WAIT_ACK: {
        enum hv_reason what = rq->domain->asked;

        /* Withdrawn, so that the guest does not obey when nobody wants it any more. */
        rq->domain->asked = HV_NONE;
        request_finish(rq, ack_failed(rq, what, rq->domain->uuid), NULL);
        break;
    }
    default:
        request_finish(
            rq, error_internal(&rq->arena, FAILURE_UNKNOWN "%s: not yet", rq->handler->call), NULL);
    }
}

static void wait_until(struct request *rq, enum wait_kind wait, usec_t at)
{
    rq->wait = wait;
    timer_set(rq->sim->loop, &rq->timer, at, request_timer);
}

static struct error *injected(struct request *rq, struct call_fault *f)
{
    struct error *e;

    if (!f->fail_text)
        return OK;
    e = *f->fail_code
            ? error_new(&rq->arena, arena_strdup(&rq->arena, f->fail_code), 1, f->fail_text)
            : error_new(&rq->arena, "INTERNAL_ERROR", 1, f->fail_text);
    free(f->fail_code);
    free(f->fail_text);
    f->fail_code = f->fail_text = NULL;
    return e;
}

/* A handler that waits may have been woken, and the request freed, before it returns. */
static bool still_there(struct sim *sim, const struct request *rq)
{
    struct request *r = sim->requests;

    while (r && r != rq)
        r = r->next;
    return r != NULL;
}

static void run(struct request *rq)
{
    struct sim *sim = rq->sim;
    struct error *e = injected(rq, call_fault_of(sim, rq->handler->call));
    json_t *result = NULL;

    if (!e)
        e = rq->handler->run(rq, &result);
    if (!still_there(sim, rq) || rq->wait != WAIT_NOTHING)
        return;
    if (!e && rq->args.bad) {
        json_decref(result);
        result = NULL;
        e = error_internal(&rq->arena, "%s: the argument '%s' is missing or wrong",
                           rq->handler->call, rq->args.bad);
    }
    request_finish(rq, e, result);
}

/* Whether it may be done at all; *again: it was, or is being done, and has been dealt with. */
static struct error *admit(struct request *rq, const char *id, uint64_t epoch, bool *again)
{
    struct sim *sim = rq->sim;
    struct outcome *o = *id ? outcome_find(sim->outcomes, id) : NULL;
    uint64_t what = *id ? outcome_hash(rq->handler->call, rq->args_json) : 0;

    *again = o && o->state != OUTCOME_SEALED && o->what == what;
    if (*again)
        rq->waited = o;
    if (*again)
        return OK;
    if (o && o->state == OUTCOME_SEALED)
        return error_internal(&rq->arena, "hypervisor: %s: this request was given up",
                              rq->handler->call);
    if (o)
        return error_internal(&rq->arena, "hypervisor: %s: the id was used for another request",
                              rq->handler->call);
    if (rq->handler->changes && epoch < sim->epoch)
        return error_internal(&rq->arena, FAILURE_STALE "%llu, already seen: %llu",
                              (unsigned long long)epoch, (unsigned long long)sim->epoch);
    sim->epoch = MAX(sim->epoch, epoch);
    if (*id)
        rq->outcome = outcome_begin(sim->outcomes, id, OUTCOME_RUNNING, what);
    return OK;
}

static void begin(struct request *rq, const char *id, uint64_t epoch)
{
    struct call_fault *f = call_fault_of(rq->sim, rq->handler->call);
    struct error *e;
    bool again;

    /* Reads may be done twice: what they answered is not worth remembering. */
    e = admit(rq, rq->handler->changes ? id : "", epoch, &again);
    if (e) {
        request_finish(rq, e, NULL);
    } else if (again && rq->waited->state == OUTCOME_DONE) {
        server_answer(rq->sim, rq->connection, rq->serial, rq->waited->error, rq->waited->result);
        request_free(rq);
    } else if (again) {
        wait_until(rq, WAIT_OUTCOME, rq->deadline);
    } else if (f->delay) {
        wait_until(rq, WAIT_DELAY, loop_now(rq->sim->loop) + f->delay);
    } else {
        run(rq);
    }
}

static struct request *request_new(struct sim *sim, uint64_t connection,
                                   const struct handler *handler, const json_t *message)
{
    struct request *rq = xcalloc(1, sizeof *rq);

    rq->sim = sim;
    rq->handler = handler;
    rq->connection = connection;
    rq->args_json = json_incref(json_object_get(message, "args"));
    rq->args = reader_of(&rq->arena, rq->args_json);
    rq->next = sim->requests;
    if (rq->next)
        rq->next->prev = rq;
    sim->requests = rq;
    sim->n_requests++;
    return rq;
}

static void refuse(struct sim *sim, uint64_t connection, uint64_t serial, struct error *e)
{
    json_t *error = write_error(e);

    server_answer(sim, connection, serial, error, NULL);
    json_decref(error);
}

bool request_arrived(struct sim *sim, uint64_t connection, const json_t *message)
{
    AUTO(arena) arena = {0};
    struct reader r = reader_of(&arena, message);
    const char *call = read_text(&r, "call", 64);
    uint64_t serial = (uint64_t)read_int(&r, "serial", 0, INT64_MAX);
    uint64_t epoch = (uint64_t)read_int(&r, "epoch", 0, INT64_MAX);
    usec_t timeout = read_int(&r, "timeout_ms", 1, INT32_MAX) * USEC_PER_MSEC;
    const struct handler *handler = handler_of(call);
    char id[UUID_TEXT_SIZE];
    struct request *rq;

    read_uuid(&r, "id", true, id);
    if (r.bad || !json_is_object(json_object_get(message, "args")))
        return false;
    if (!handler || sim->n_requests >= SIM_REQUESTS_MAX) {
        refuse(sim, connection, serial,
               error_internal(&arena, "hypervisor: %s: %s", call,
                              handler ? "too many requests" : "no such call"));
        return true;
    }
    rq = request_new(sim, connection, handler, message);
    rq->serial = serial;
    rq->deadline = loop_now(sim->loop) + timeout;
    if (lost_instead(rq, &call_fault_of(sim, call)->lose_request)) {
        request_free(rq);
        return true;
    }
    begin(rq, id, epoch);
    return true;
}

void requests_orphan(struct sim *sim, uint64_t connection)
{
    struct request *next;

    for (struct request *rq = sim->requests; rq; rq = next) {
        next = rq->next;
        if (rq->connection != connection)
            continue;
        rq->connection = 0;
        if (!rq->outcome && !rq->handler->changes)
            request_free(rq);
    }
}

void requests_start(struct sim *sim)
{
    sim->faults = xcalloc(ARRAY_SIZE(handlers), sizeof sim->faults[0]);
    sim->outcomes = outcomes_new();
}

void requests_stop(struct sim *sim)
{
    while (sim->requests)
        request_free(sim->requests);
    outcomes_free(sim->outcomes);
    for (size_t i = 0; i < ARRAY_SIZE(handlers); i++) {
        free(sim->faults[i].fail_code);
        free(sim->faults[i].fail_text);
    }
    free(sim->faults);
}
