/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* probe.c -- looking for storage from a host: SR.probe, SR.probe_ext. */
#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/ops/host/here.h"
#include "xapid/ops/storage/attach.h"

static struct error *probe(struct call *call, ref_t host, const char *type,
                           const struct strmap *device_config, struct sr_probe *out)
{
    char uuid[UUID_TEXT_SIZE];
    struct sr_handle handle;

    TRY(host_check_here(call, host));
    TRY(sr_handle_new(call, type, uuid_new(uuid), device_config, &handle));
    if (!handle.driver->probe)
        return err_sr_operation_not_supported(call, type);
    return handle.driver->probe(call, &handle, out);
}

struct error *sr_probe(struct call *call, const struct sr_probe_args *args, const char **result)
{
    struct sr_probe found;

    TRY(probe(call, args->host, args->type, &args->device_config, &found));
    *result = found.xml;
    return found.answer;
}

/* What was named as a secret is not told. */
static struct strmap without_secrets(struct call *call, struct strmap config)
{
    const struct strmap all = config;

    for (size_t i = 0; i < all.n; i++) {
        size_t n = strlen(all.v[i].key), m = strlen("_secret");

        if (n > m && strcmp(all.v[i].key + n - m, "_secret") == 0)
            config = strmap_without(call->arena, config,
                                    arena_strndup(call->arena, all.v[i].key, n - m));
    }
    return config;
}

static const struct probe_result *record_of(struct call *call, const struct sr_found *found)
{
    struct probe_result *row = arena_new(call->arena, struct probe_result);

    *row = (struct probe_result){.configuration = without_secrets(call, found->device_config),
                                 .complete = found->complete};
    if (found->uuid[0]) {
        struct sr_stat *sr = arena_new(call->arena, struct sr_stat);
        const struct sr_stat **there = arena_new(call->arena, const struct sr_stat *);
        const char **uuid = arena_new(call->arena, const char *);

        *uuid = found->uuid;
        *sr = (struct sr_stat){.uuid = uuid, .name_label = "", .name_description = ""};
        *there = sr;
        row->sr = there;
    }
    return row;
}

struct error *sr_probe_ext(struct call *call, const struct sr_probe_ext_args *args,
                           struct set *result)
{
    const struct probe_result **v;
    struct sr_probe found;

    TRY(probe(call, args->host, args->type, &args->device_config, &found));
    v = arena_array(call->arena, const struct probe_result *, found.n + 1);
    for (size_t i = 0; i < found.n; i++)
        v[i] = record_of(call, &found.v[i]);
    *result = (struct set){found.n, v};
    return OK;
}
