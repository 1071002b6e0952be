/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rbac.c -- roles, and the keys of maps that have a role of their own.
 *
 * Writing one key is judged by that key's role alone, whether it asks for more or for less than
 * the message.  Writing a whole map is judged by the message's role and, so that nobody gets round
 * a stricter key, by the role of every stricter key it would change.
 */
#include "xapid/auth/rbac.h"

#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/auth/session.h"
#include "xapid/db/db.h"

/* Handlers that look into the request themselves, or show nothing but static files. */
static const char *const unchecked_actions[] = {
    "post_root",
    "post_RPC2",
    "post_cli",
    "post_json",
    "get_root",
    "get_blob",
    "post_root_options",
    "post_json_options",
    "post_jsonrpc",
    "post_jsonrpc_options",
    "get_pool_update_download",
};

bool rbac_key_matches(const char *pattern, const char *key)
{
    size_t n = strlen(pattern);

    if (n && pattern[n - 1] == '*')
        return strncmp(pattern, key, n - 1) == 0;
    return strcmp(pattern, key) == 0;
}

static const struct map_key_role *find_rule(const struct map_key_role *rules, const char *key)
{
    for (; rules->pattern; rules++)
        if (rbac_key_matches(rules->pattern, key))
            return rules;
    return NULL;
}

static bool may(const struct call *call, enum role_id needed)
{
    return call->session->role <= needed;
}

/*** refusals ***/

static const char *who_may(const struct call *call, enum role_id needed)
{
    struct buf text = {0};
    const char *copy;

    if (needed == ROLE_LOCAL_ROOT)
        return "The role of this session does not allow it; only root and the pool itself may do "
               "this.";
    buf_puts(&text, "The role of this session does not allow it; roles that do: ");
    for (int r = ROLE_POOL_ADMIN; r <= (int)needed && r < ROLE_COUNT; r++)
        buf_printf(&text, "%s%s", r > ROLE_POOL_ADMIN ? ", " : "", api_role_names[r]);
    copy = arena_strdup(call->arena, text.data);
    buf_release(&text);
    return copy;
}

static const char *permission_name(const struct call *call, const struct message_desc *m,
                                   const struct map_key_role *rule)
{
    char *name = arena_strdup(call->arena, m->full_name);

    for (char *p = name; *p; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p + 'a' - 'A');
    return rule ? arena_printf(call->arena, "%s/key:%s", name, rule->pattern) : name;
}

static struct error *refuse(const struct call *call, const struct message_desc *m,
                            const struct map_key_role *rule)
{
    return err_rbac_permission_denied(call, permission_name(call, m, rule),
                                      who_may(call, rule ? rule->role : m->role));
}

/*** keys of maps ***/

/* The key that the message writes; NULL if it does not write one key. */
static const char *written_key(const struct message_desc *m, const void *args)
{
    for (size_t i = 0; i < m->n_params; i++) {
        const struct param_desc *p = &m->params[i];

        if (strcmp(p->name, "key") == 0 && p->type->kind == TYPE_STRING)
            return *(const char *const *)((const char *)args + p->offset);
    }
    return NULL;
}

/* The field that a message replaces as a whole, or NULL.  The setters of fields that are given at
 * creation are messages like any other, but for their names. */
static const struct field_desc *written_field(const struct message_desc *m)
{
    if (m->kind == MESSAGE_SET)
        return &api_fields[m->field];
    if (m->kind != MESSAGE_EXPLICIT || strncmp(m->name, "set_", 4) != 0 || m->n_params != 2)
        return NULL;
    return api_field_by_name(&api_classes[m->class_id], m->name + 4);
}

/* The map as it is now, or NULL. */
static const struct strmap *present_map(const struct call *call, const struct message_desc *m,
                                        const struct field_desc *f, const void *args)
{
    const void *row;

    if (!call->snap || m->params[0].type->kind != TYPE_REF)
        return NULL;
    row = db_find(call, f->class_id, *(const ref_t *)((const char *)args + m->params[0].offset));
    return row ? field_in(row, f) : NULL;
}

static const struct map_key_role *stricter_change(const struct call *call,
                                                  const struct message_desc *m,
                                                  const struct map_key_role *rules,
                                                  const struct strmap *from,
                                                  const struct strmap *to)
{
    for (size_t i = 0; i < from->n; i++) {
        const struct map_key_role *rule = find_rule(rules, from->v[i].key);
        const char *other;

        if (!rule || rule->role >= m->role || may(call, rule->role))
            continue;
        other = strmap_get(to, from->v[i].key);
        if (!other || strcmp(other, from->v[i].value) != 0)
            return rule;
    }
    return NULL;
}

/* The rule that writing the whole map would break, or NULL. */
static const struct map_key_role *broken_by_set(const struct call *call,
                                                const struct message_desc *m, const void *args)
{
    static const struct strmap none = {0};
    const struct field_desc *f = written_field(m);
    const struct strmap *now, *wanted;
    const struct map_key_role *rule;

    if (!f || !f->map_key_roles || !field_is_stored(f) || m->params[1].type != f->type ||
        f->type->kind != TYPE_MAP || f->type->key->kind != TYPE_STRING ||
        f->type->elem->kind != TYPE_STRING)
        return NULL;
    now = present_map(call, m, f, args);
    if (!now)
        now = &none;
    wanted = (const void *)((const char *)args + m->params[1].offset);
    rule = stricter_change(call, m, f->map_key_roles, wanted, now);
    return rule ? rule : stricter_change(call, m, f->map_key_roles, now, wanted);
}

/*** checks ***/

static struct error *check_pool_internal(const struct call *call, const struct message_desc *m)
{
    if (call->session->pool || call->session->role == ROLE_LOCAL_ROOT)
        return OK;
    return err_internal_error(
        call, arena_printf(call->arena, "%s is only for the pool's own members", m->full_name));
}

struct error *rbac_check(struct call *call, const struct message_desc *m, const void *args)
{
    const struct map_key_role *rule = NULL;
    const char *key;

    if (!call->session)
        return OK;
    if (m->flags & MESSAGE_POOL_INTERNAL)
        TRY(check_pool_internal(call, m));
    if (call->session->role == ROLE_LOCAL_ROOT || call->session->pool)
        return OK;
    if (m->map_key_roles) {
        key = args ? written_key(m, args) : NULL;
        rule = key ? find_rule(m->map_key_roles, key) : NULL;
    }
    if (!may(call, rule ? rule->role : m->role))
        return refuse(call, m, rule);
    rule = args ? broken_by_set(call, m, args) : NULL;
    return rule ? refuse(call, m, rule) : OK;
}

static struct error *check_named(struct call *call, enum role_id needed, const char *prefix,
                                 const char *name)
{
    if (!call->session || call->session->role == ROLE_LOCAL_ROOT || call->session->pool ||
        may(call, needed))
        return OK;
    return err_rbac_permission_denied(call, arena_printf(call->arena, "%s%s", prefix, name),
                                      who_may(call, needed));
}

struct error *rbac_check_http(struct call *call, const char *action)
{
    for (size_t i = 0; i < ARRAY_SIZE(unchecked_actions); i++)
        if (strcmp(unchecked_actions[i], action) == 0)
            return OK;
    for (size_t i = 0; i < api_n_actions; i++)
        if (strcmp(api_actions[i].name, action) == 0)
            return check_named(call, api_actions[i].role, "http/", action);
    return check_named(call, ROLE_LOCAL_ROOT, "http/", action);
}

struct error *rbac_check_permission(struct call *call, const char *permission)
{
    for (const struct map_key_role *p = api_permissions; p->pattern; p++)
        if (strcmp(p->pattern, permission) == 0)
            return check_named(call, p->role, "", permission);
    return check_named(call, ROLE_LOCAL_ROOT, "", permission);
}
