/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/auth/session_json.h"

#include <string.h>

#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"

#define MAX_CONFIG 1000

const char *member_text(const json_t *json, const char *key)
{
    const char *text = json_string_value(json_object_get(json, key));

    return text ? text : "";
}

bool member_ref(const json_t *json, const char *key, ref_t *out)
{
    return ref_from_text(member_text(json, key), out);
}

json_t *session_to_json(struct arena *arena, const struct auth_session *s)
{
    return json_pack("{s:s, s:s, s:s, s:b, s:b, s:s, s:s, s:s, s:s}", "ref",
                     ref_text(arena, s->ref), "uuid", s->uuid, "role", api_role_names[s->role],
                     "root", s->is_local_superuser, "pool", s->pool, "user", s->user, "originator",
                     s->originator, "client", s->client, "subject", ref_text(arena, s->subject));
}

bool session_of_json(struct arena *arena, const json_t *json, struct auth_session *out)
{
    uint8_t bytes[16];
    int role = 0;

    *out = (struct auth_session){0};
    while (role < ROLE_COUNT && strcmp(api_role_names[role], member_text(json, "role")) != 0)
        role++;
    if (role == ROLE_COUNT || !member_ref(json, "ref", &out->ref) || ref_is_null(out->ref) ||
        !member_ref(json, "subject", &out->subject) ||
        !uuid_from_text(member_text(json, "uuid"), bytes))
        return false;
    uuid_to_text(bytes, out->uuid);
    out->role = (enum role_id)role;
    out->is_local_superuser = json_is_true(json_object_get(json, "root"));
    out->pool = json_is_true(json_object_get(json, "pool"));
    out->user = arena_strdup(arena, member_text(json, "user"));
    out->originator = arena_strdup(arena, member_text(json, "originator"));
    out->client = arena_strdup(arena, member_text(json, "client"));
    return true;
}

/*** with what changes ***/

static json_t *config_json(const struct strmap *map)
{
    json_t *json = json_object();

    for (size_t i = 0; i < map->n; i++)
        json_object_set_new(json, map->v[i].key, json_string(map->v[i].value));
    return json;
}

static struct strmap config_of(struct arena *arena, json_t *json)
{
    struct strpair *v;
    struct strmap map = {0};
    const char *key;
    json_t *value;

    if (json_object_size(json) > MAX_CONFIG)
        return map;
    v = arena_array(arena, struct strpair, json_object_size(json) + 1);
    json_object_foreach(json, key, value) if (json_is_string(value)) v[map.n++] =
        (struct strpair){arena_strdup(arena, key), arena_strdup(arena, json_string_value(value))};
    map.v = v;
    return map;
}

json_t *session_copy_to_json(struct arena *arena, const struct session_copy *c)
{
    json_t *json = session_to_json(arena, &c->public);
    json_t *rest =
        json_pack("{s:s, s:I, s:I, s:b, s:b, s:o}", "host", ref_text(arena, c->host), "created",
                  (json_int_t)c->created, "seen", (json_int_t)c->seen, "here", c->here, "whole",
                  c->whole, "other_config", config_json(&c->other_config));

    json_object_update(json, rest);
    json_decref(rest);
    return json;
}

bool session_copy_of_json(struct arena *arena, json_t *json, struct session_copy *out)
{
    *out = (struct session_copy){0};
    if (!session_of_json(arena, json, &out->public) || !member_ref(json, "host", &out->host))
        return false;
    out->created = (usec_t)json_integer_value(json_object_get(json, "created"));
    out->seen = (uint64_t)json_integer_value(json_object_get(json, "seen"));
    out->here = json_is_true(json_object_get(json, "here"));
    out->whole = json_is_true(json_object_get(json, "whole"));
    out->other_config = config_of(arena, json_object_get(json, "other_config"));
    return true;
}
