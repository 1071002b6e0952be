/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* hv.c -- the calls of hv.h: arguments to JSON, answers back. */
#include "xapid/hypervisor/hv.h"

#include <stdlib.h>

#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "xapid/hypervisor/hv_link.h"

#define CHANGES_MAX 1024

/* Callbacks run on a thread of their own: they may make calls, which the link's thread has to
 * answer. */
struct hv {
    struct hv_link *link;
    struct mutex lock;
    struct cond something;
    struct thread thread;
    bool stopping;
    bool all_changed;
    size_t n_changes;
    char changes[CHANGES_MAX][UUID_TEXT_SIZE];
    void (*changed)(void *ctx, const char *uuid);
    void *ctx;
};

/* An answer: released at the end of the scope. */
struct answer {
    json_t *json;
};

static void answer_release(struct answer *a)
{
    json_decref(a->json);
}

struct hv *hv_new(const char *socket_path)
{
    struct hv *hv = xcalloc(1, sizeof *hv);

    mutex_init(&hv->lock);
    cond_init(&hv->something);
    hv->link = hv_link_new(socket_path);
    return hv;
}

void hv_free(struct hv *hv)
{
    if (!hv)
        return;
    mutex_lock(&hv->lock);
    hv->stopping = true;
    cond_signal(&hv->something);
    mutex_unlock(&hv->lock);
    /* First the thread that may be in the middle of a call, whose answer the link brings. */
    thread_join(&hv->thread);
    hv_link_free(hv->link);
    cond_release(&hv->something);
    mutex_release(&hv->lock);
    free(hv);
}

static void note_change(void *ctx, const char *uuid)
{
    struct hv *hv = ctx;
    MUTEX_GUARD(&hv->lock);

    cond_signal(&hv->something);
    for (size_t i = 0; i < hv->n_changes; i++)
        if (strcmp(hv->changes[i], uuid) == 0)
            return;
    if (!*uuid || hv->n_changes == CHANGES_MAX) {
        hv->all_changed = true;
        hv->n_changes = 0;
    } else if (!hv->all_changed) {
        memcpy(hv->changes[hv->n_changes++], uuid, strlen(uuid) + 1);
    }
}

static void *watch_thread(void *arg)
{
    struct hv *hv = arg;
    char uuid[UUID_TEXT_SIZE];

    mutex_lock(&hv->lock);
    while (!hv->stopping) {
        if (!hv->all_changed && !hv->n_changes) {
            cond_wait(&hv->something, &hv->lock);
            continue;
        }
        uuid[0] = '\0';
        if (!hv->all_changed)
            memcpy(uuid, hv->changes[--hv->n_changes], sizeof uuid);
        hv->all_changed = false;
        mutex_unlock(&hv->lock);
        hv->changed(hv->ctx, uuid);
        mutex_lock(&hv->lock);
    }
    mutex_unlock(&hv->lock);
    return NULL;
}

void hv_watch(struct hv *hv, void (*changed)(void *ctx, const char *uuid), void *ctx)
{
    hv->changed = changed;
    hv->ctx = ctx;
    thread_start(&hv->thread, "hv-watch", watch_thread, hv);
    hv_link_watch(hv->link, note_change, hv);
}

static bool begins_with(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

enum hv_failure hv_failure_of(const struct error *e)
{
    if (!error_is(e, "INTERNAL_ERROR") || e->n_params == 0)
        return HV_FAILED;
    if (begins_with(e->params[0], FAILURE_UNKNOWN))
        return HV_UNKNOWN;
    if (begins_with(e->params[0], FAILURE_STALE))
        return HV_STALE;
    return begins_with(e->params[0], FAILURE_NO_DOMAIN) ? HV_NO_DOMAIN : HV_FAILED;
}

static void put(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) < 0)
        abort(); /* out of memory */
}

static json_t *args_uuid(const char *uuid)
{
    json_t *args = json_object();

    put(args, "uuid", json_text(uuid));
    return args;
}

static struct error *call_plain(struct hv *hv, const struct hv_request *rq, const char *call,
                                json_t *args)
{
    AUTO(answer) a = {0};

    return hv_link_call(hv->link, rq, call, args, &a.json);
}

/* What was asked for was done, but the answer cannot be read. */
static struct error *unreadable(const struct hv_request *rq, const char *call, const char *key)
{
    return error_internal(rq->arena, FAILURE_UNKNOWN "%s: '%s' in the answer is missing or wrong",
                          call, key);
}

struct error *hv_host(struct hv *hv, const struct hv_request *rq, struct hv_host_info *out)
{
    AUTO(answer) a = {0};
    struct reader r;

    TRY(hv_link_call(hv->link, rq, "host", json_object(), &a.json));
    r = reader_of(rq->arena, a.json);
    read_host(&r, out);
    return r.bad ? unreadable(rq, "host", r.bad) : OK;
}

struct error *hv_messages(struct hv *hv, const struct hv_request *rq, bool clear, const char **out)
{
    json_t *args = json_object();
    AUTO(answer) a = {0};
    struct reader r;

    put(args, "clear", json_boolean(clear));
    TRY(hv_link_call(hv->link, rq, "messages", args, &a.json));
    r = reader_of(rq->arena, a.json);
    *out = read_text(&r, "text", PROTOCOL_MESSAGES_MAX);
    return r.bad ? unreadable(rq, "messages", r.bad) : OK;
}

struct error *hv_debug_keys(struct hv *hv, const struct hv_request *rq, const char *keys)
{
    json_t *args = json_object();

    put(args, "keys", json_string(keys));
    return call_plain(hv, rq, "debug_keys", args);
}

struct error *hv_watchdog(struct hv *hv, const struct hv_request *rq, int64_t ms)
{
    json_t *args = json_object();

    put(args, "ms", json_integer(ms));
    put(args, "sent", json_integer(clock_mono()));
    return call_plain(hv, rq, "watchdog", args);
}

struct error *hv_stats(struct hv *hv, const struct hv_request *rq, struct hv_stats *out)
{
    AUTO(answer) a = {0};
    struct reader r;

    TRY(hv_link_call(hv->link, rq, "stats", json_object(), &a.json));
    r = reader_of(rq->arena, a.json);
    read_stats(&r, out);
    return r.bad ? unreadable(rq, "stats", r.bad) : OK;
}

static struct error *call_for_domid(struct hv *hv, const struct hv_request *rq, const char *call,
                                    json_t *args, int *domid)
{
    AUTO(answer) a = {0};
    struct reader r;

    TRY(hv_link_call(hv->link, rq, call, args, &a.json));
    r = reader_of(rq->arena, a.json);
    *domid = (int)read_int(&r, "domid", 1, INT32_MAX);
    return r.bad ? unreadable(rq, call, r.bad) : OK;
}

struct error *hv_build(struct hv *hv, const struct hv_request *rq,
                       const struct hv_domain_config *config, int *domid)
{
    json_t *args = json_object();

    put(args, "config", write_config(config));
    return call_for_domid(hv, rq, "build", args, domid);
}

struct error *hv_restore(struct hv *hv, const struct hv_request *rq,
                         const struct hv_domain_config *config, const char *path, int *domid)
{
    json_t *args = json_object();

    put(args, "config", write_config(config));
    put(args, "path", json_text(path));
    return call_for_domid(hv, rq, "restore", args, domid);
}

struct error *hv_migrate_out(struct hv *hv, const struct hv_request *rq, const char *uuid,
                             const char *path, bool live)
{
    json_t *args = args_uuid(uuid);

    put(args, "path", json_text(path));
    put(args, "live", json_boolean(live));
    return call_plain(hv, rq, "migrate_out", args);
}

struct error *hv_migrate_in(struct hv *hv, const struct hv_request *rq,
                            const struct hv_domain_config *config, const char *path, int *domid)
{
    json_t *args = json_object();

    put(args, "config", write_config(config));
    put(args, "path", json_text(path));
    return call_for_domid(hv, rq, "migrate_in", args, domid);
}

struct error *hv_resume(struct hv *hv, const struct hv_request *rq, const char *uuid)
{
    return call_plain(hv, rq, "resume", args_uuid(uuid));
}

struct error *hv_unpause(struct hv *hv, const struct hv_request *rq, const char *uuid)
{
    return call_plain(hv, rq, "unpause", args_uuid(uuid));
}

struct error *hv_pause(struct hv *hv, const struct hv_request *rq, const char *uuid)
{
    return call_plain(hv, rq, "pause", args_uuid(uuid));
}

struct error *hv_shutdown_request(struct hv *hv, const struct hv_request *rq, const char *uuid,
                                  enum hv_reason what)
{
    json_t *args = args_uuid(uuid);

    put(args, "reason", json_string(hv_reason_names[what]));
    return call_plain(hv, rq, "shutdown", args);
}

struct error *hv_wait_death(struct hv *hv, const struct hv_request *rq, const char *uuid,
                            enum hv_reason *reason)
{
    AUTO(answer) a = {0};
    struct reader r;

    TRY(hv_link_call(hv->link, rq, "wait_death", args_uuid(uuid), &a.json));
    r = reader_of(rq->arena, a.json);
    *reason = (enum hv_reason)read_enum(&r, "reason", hv_reason_names);
    return r.bad ? unreadable(rq, "wait_death", r.bad) : OK;
}

struct error *hv_destroy(struct hv *hv, const struct hv_request *rq, const char *uuid)
{
    return call_plain(hv, rq, "destroy", args_uuid(uuid));
}

struct error *hv_save(struct hv *hv, const struct hv_request *rq, const char *uuid,
                      const char *path)
{
    json_t *args = args_uuid(uuid);

    put(args, "path", json_text(path));
    return call_plain(hv, rq, "save", args);
}

struct error *hv_set_memory(struct hv *hv, const struct hv_request *rq, const char *uuid,
                            int64_t target)
{
    json_t *args = args_uuid(uuid);

    put(args, "target", json_integer(target));
    return call_plain(hv, rq, "set_memory", args);
}

struct error *hv_set_vcpus(struct hv *hv, const struct hv_request *rq, const char *uuid, int vcpus)
{
    json_t *args = args_uuid(uuid);

    put(args, "vcpus", json_integer(vcpus));
    return call_plain(hv, rq, "set_vcpus", args);
}

static struct error *call_disk(struct hv *hv, const struct hv_request *rq, const char *call,
                               const char *uuid, const struct hv_disk *disk)
{
    json_t *args = args_uuid(uuid);

    put(args, "disk", write_disk(disk));
    return call_plain(hv, rq, call, args);
}

struct error *hv_disk_plug(struct hv *hv, const struct hv_request *rq, const char *uuid,
                           const struct hv_disk *disk)
{
    return call_disk(hv, rq, "disk_plug", uuid, disk);
}

struct error *hv_disk_change(struct hv *hv, const struct hv_request *rq, const char *uuid,
                             const struct hv_disk *disk)
{
    return call_disk(hv, rq, "disk_change", uuid, disk);
}

struct error *hv_disk_unplug(struct hv *hv, const struct hv_request *rq, const char *uuid,
                             const char *device, bool force)
{
    json_t *args = args_uuid(uuid);

    put(args, "device", json_text(device));
    put(args, "force", json_boolean(force));
    return call_plain(hv, rq, "disk_unplug", args);
}

struct error *hv_nic_plug(struct hv *hv, const struct hv_request *rq, const char *uuid,
                          const struct hv_nic *nic)
{
    json_t *args = args_uuid(uuid);

    put(args, "nic", write_nic(nic));
    return call_plain(hv, rq, "nic_plug", args);
}

struct error *hv_nic_unplug(struct hv *hv, const struct hv_request *rq, const char *uuid,
                            int device, bool force)
{
    json_t *args = args_uuid(uuid);

    put(args, "device", json_integer(device));
    put(args, "force", json_boolean(force));
    return call_plain(hv, rq, "nic_unplug", args);
}

struct error *hv_sysrq(struct hv *hv, const struct hv_request *rq, const char *uuid, char key)
{
    json_t *args = args_uuid(uuid);
    const char text[2] = {key, '\0'};

    put(args, "key", json_text(text));
    return call_plain(hv, rq, "sysrq", args);
}

struct error *hv_trigger(struct hv *hv, const struct hv_request *rq, const char *uuid,
                         enum hv_trigger trigger)
{
    json_t *args = args_uuid(uuid);

    put(args, "trigger", json_text(hv_trigger_names[trigger]));
    return call_plain(hv, rq, "trigger", args);
}

struct error *hv_set_scheduling(struct hv *hv, const struct hv_request *rq, const char *uuid,
                                const struct strmap *params)
{
    json_t *args = args_uuid(uuid);

    put(args, "params", write_strmap(params));
    return call_plain(hv, rq, "set_scheduling", args);
}

struct error *hv_set_shadow(struct hv *hv, const struct hv_request *rq, const char *uuid,
                            int64_t bytes)
{
    json_t *args = args_uuid(uuid);

    put(args, "bytes", json_integer(bytes));
    return call_plain(hv, rq, "set_shadow", args);
}

struct error *hv_guest_write(struct hv *hv, const struct hv_request *rq, const char *uuid,
                             const struct strmap *write, const struct strings *remove)
{
    json_t *args = args_uuid(uuid);

    put(args, "write", write_strmap(write));
    put(args, "remove", write_strings(remove));
    return call_plain(hv, rq, "guest_write", args);
}

struct error *hv_core_dump(struct hv *hv, const struct hv_request *rq, const char *uuid,
                           const char *path)
{
    json_t *args = args_uuid(uuid);

    put(args, "path", json_text(path));
    return call_plain(hv, rq, "core_dump", args);
}

struct error *hv_usb_unplug(struct hv *hv, const struct hv_request *rq, const char *uuid,
                            const char *id)
{
    json_t *args = args_uuid(uuid);

    put(args, "usb", json_text(id));
    return call_plain(hv, rq, "usb_unplug", args);
}

struct error *hv_list(struct hv *hv, const struct hv_request *rq, size_t *n,
                      const struct hv_domain **out)
{
    AUTO(answer) a = {0};
    const json_t *list;
    struct hv_domain *domains;

    *n = 0;
    *out = NULL;
    TRY(hv_link_call(hv->link, rq, "list", json_object(), &a.json));
    list = json_object_get(a.json, "domains");
    if (!json_is_array(list) || json_array_size(list) > PROTOCOL_DOMAINS_MAX)
        return unreadable(rq, "list", "domains");
    domains = arena_array(rq->arena, struct hv_domain, json_array_size(list) + 1);
    for (size_t i = 0; i < json_array_size(list); i++) {
        struct reader r = reader_of(rq->arena, json_array_get(list, i));

        read_domain(&r, &domains[i]);
        if (r.bad)
            return unreadable(rq, "list", r.bad);
    }
    *n = json_array_size(list);
    *out = domains;
    return OK;
}

struct error *hv_get(struct hv *hv, const struct hv_request *rq, const char *uuid,
                     const struct hv_domain **out)
{
    AUTO(answer) a = {0};
    struct hv_domain *domain;
    struct reader r;

    *out = NULL;
    TRY(hv_link_call(hv->link, rq, "get", args_uuid(uuid), &a.json));
    if (json_is_null(json_object_get(a.json, "domain")))
        return OK;
    domain = arena_new(rq->arena, struct hv_domain);
    r = reader_of(rq->arena, json_object_get(a.json, "domain"));
    read_domain(&r, domain);
    if (r.bad)
        return unreadable(rq, "get", r.bad);
    *out = domain;
    return OK;
}

struct error *hv_outcome(struct hv *hv, const struct hv_request *rq, bool *known,
                         struct error **outcome)
{
    struct hv_request plain = *rq;
    AUTO(answer) a = {0};
    json_t *args = json_object();
    const json_t *error;

    put(args, "id", json_text(rq->id));
    plain.id[0] = '\0'; /* the question itself may be asked twice */
    *outcome = OK;
    *known = false;
    TRY(hv_link_call(hv->link, &plain, "outcome", args, &a.json));
    *known = json_is_true(json_object_get(a.json, "known"));
    error = json_object_get(a.json, "error");
    if (*known && error)
        *outcome = read_error(rq->arena, error);
    return OK;
}

struct error *hv_control(struct hv *hv, const struct hv_request *rq, const struct strmap *command,
                         struct strmap *answer)
{
    json_t *args = json_object();
    AUTO(answer) a = {0};
    struct reader r;

    put(args, "command", write_strmap(command));
    TRY(hv_link_call(hv->link, rq, "control", args, &a.json));
    r = reader_of(rq->arena, a.json);
    *answer = read_strmap(&r, "answer");
    return r.bad ? unreadable(rq, "control", r.bad) : OK;
}
