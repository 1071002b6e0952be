/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* other.c -- commands on tasks, events, messages, secrets, users, blobs, callers. */
#include "libxapi/value/value.h"
#include "xe-cli/commands/commands.h"

/* --- event-wait --- */

/* All name=value (or name=/=value) hold for an object. */
static struct error *all_hold(struct xe *xe, const struct xe_class *class,
                              const struct xe_object *object, bool *out)
{
    for (size_t i = 0; i < xe->params.n; i++) {
        const struct xe_pair *p = &xe->params.v[i];
        const struct xe_param *param = xe_param_by_name(class, p->key);
        bool differs = !strncmp(p->value, "/=", 2);
        const char *text;

        if (args_standard(p->key) || !strcmp(p->key, "class"))
            continue;
        if (!param)
            return xe_fail(xe, "key missing: %s", p->key);
        TRY(field_text(xe, class, param, object, &text));
        *out = differs ? strcmp(text, p->value + 2) != 0 : !strcmp(text, p->value);
        if (!*out)
            return OK;
    }
    *out = true;
    return OK;
}

/* One look at all objects, in memory of its own: a wait may take days. */
static struct error *look(struct xe *xe, const struct xe_class *class, bool *out)
{
    struct xe round = *xe;
    struct xe_object_list all = {0};
    struct error *e;

    round.arena = (struct arena){0};
    round.objects = NULL;
    e = objects_all(&round, class->api, &all);
    for (size_t i = 0; !e && !*out && i < all.n; i++)
        e = all_hold(&round, class, &all.v[i], out);
    if (e)
        e = error_copy(&xe->arena, e);
    arena_release(&round.arena);
    return e;
}

static struct error *event_wait(struct xe *xe, const struct xe_command *c)
{
    const struct xe_class *class = xe_class_by_name(args_get(&xe->params, "class"));
    const char *token = "";
    bool done = false;

    (void)c;
    if (!class)
        return xe_fail(xe, "Cli listening for class '%s' not currently implemented",
                       args_get(&xe->params, "class"));
    if (!xe->server)
        TRY(xe->connect(xe));
    /* The first token is from before the first look, so that nothing is missed between them. */
    while (!done) {
        TRY(xe->server->changed(xe->server, api_class_by_name(class->api)->lower, &token));
        TRY(look(xe, class, &done));
    }
    return OK;
}

/* --- messages --- */

static struct error *message_create(struct xe *xe, const struct xe_command *c)
{
    static const struct {
        const char *param, *cls;
    } kinds[] = {
        {"vm-uuid", "VM"}, {"pool-uuid", "Pool"}, {"sr-uuid", "SR"}, {"host-uuid", "Host"}};
    const char *uuid = NULL, *cls = NULL;
    int64_t priority;

    (void)c;
    if (!int_from_text(args_get(&xe->params, "priority"), &priority))
        return xe_fail(xe, "Priority field should be an integer");
    for (size_t i = 0; !uuid && i < ARRAY_SIZE(kinds); i++) {
        uuid = args_get(&xe->params, kinds[i].param);
        cls = kinds[i].cls;
    }
    if (!uuid)
        return xe_fail(xe, "Need one of: vm-uuid, host-uuid, sr-uuid or pool-uuid");
    return xe_call(xe, NULL, "message.create", "sisss", args_get(&xe->params, "name"), priority,
                   cls, uuid, args_get(&xe->params, "body"));
}

static struct error *message_destroy(struct xe *xe, const struct xe_command *c)
{
    const char *uuid = args_get(&xe->params, "uuid"), *uuids = args_get(&xe->params, "uuids");
    struct strings list;
    const char **v;

    (void)c;
    if (uuid && uuids)
        return xe_fail(xe, "Ambiguous arguments; need one of uuid, uuids");
    if (!uuid && !uuids)
        return xe_fail(xe, "Need one of uuid, uuids");
    list = xe_split(xe, uuid ? uuid : uuids, ',');
    v = arena_array(&xe->arena, const char *, list.n + 1);
    for (size_t i = 0; i < list.n; i++)
        TRY(xe_call_text(xe, &v[i], "message.get_by_uuid", "s", list.v[i]));
    if (uuid)
        return xe_call(xe, NULL, "message.destroy", "r", v[0]);
    return xe_call(xe, NULL, "message.destroy_many", "S", &(struct strings){list.n, v});
}

static struct error *message_destroy_all(struct xe *xe, const struct xe_command *c)
{
    static const char *const names[] = {"before", "after", "priority"};
    struct xe_pair v[ARRAY_SIZE(names)];
    struct xe_params filters = {0, v};

    (void)c;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (args_get(&xe->params, names[i]))
            v[filters.n++] = (struct xe_pair){names[i], args_get(&xe->params, names[i])};
    return xe_call(xe, NULL, "message.destroy_all", "m", &filters);
}

/* --- users --- */

static struct error *subject_add(struct xe *xe, const struct xe_command *c)
{
    const char *identifier = NULL;
    struct xe_command row = *c;

    TRY(xe_call_text(xe, &identifier, "auth.get_subject_identifier", "s",
                     args_get(&xe->params, "subject-name")));
    command_give(xe, "subject-identifier", identifier);
    row.show = SHOW_UUID;
    return command_instead(xe, &row, "subject.create", ".subject_identifier=subject-identifier");
}

static struct error *the_role(struct xe *xe, const char **ref)
{
    const char *uuid = args_get(&xe->params, "role-uuid");
    const char *name = args_get(&xe->params, "role-name");
    const struct wire *found = NULL;
    struct strings roles;

    if (!uuid && !name)
        return xe_fail(xe, "Required parameter not found: role-uuid or role-name");
    if (uuid && name)
        return xe_fail(xe, "Parameters role-uuid and role-name cannot be used together");
    if (uuid)
        return command_ref(xe, "role", "role-uuid", ref);
    TRY(xe_call(xe, &found, "role.get_by_name_label", "s", name));
    roles = xe_wire_set(&xe->arena, found);
    *ref = roles.n ? roles.v[0] : "OpaqueRef:NULL";
    return OK;
}

static struct error *subject_role(struct xe *xe, const struct xe_command *c)
{
    const char *role, *subject;

    TRY(the_role(xe, &role));
    TRY(command_ref(xe, "subject", "uuid", &subject));
    return xe_call(xe, NULL,
                   strstr(c->name, "add") ? "subject.add_to_roles" : "subject.remove_from_roles",
                   "rr", subject, role);
}

static struct error *logged_in(struct xe *xe, struct strings *out)
{
    const struct wire *answer = NULL;

    TRY(xe_call(xe, &answer, "session.get_all_subject_identifiers", ""));
    *out = xe_wire_set(&xe->arena, answer);
    return OK;
}

static struct error *session_subjects(struct xe *xe, const struct xe_command *c)
{
    struct strings subjects;

    (void)c;
    TRY(logged_in(xe, &subjects));
    for (size_t i = 0; i < subjects.n; i++) {
        struct xe_pair v = {"subject-identifier ( RO)", subjects.v[i]};

        out_table(&xe->out, &(struct xe_params){1, &v}, 1);
    }
    return OK;
}

static struct error *session_logout_all(struct xe *xe, const struct xe_command *c)
{
    struct strings subjects;

    (void)c;
    TRY(logged_in(xe, &subjects));
    for (size_t i = 0; i < subjects.n; i++)
        TRY(xe_call(xe, NULL, "session.logout_subject_identifier", "s", subjects.v[i]));
    return OK;
}

static struct error *audit_log_get(struct xe *xe, const struct xe_command *c)
{
    const char *since = args_get(&xe->params, "since"), *file = args_get(&xe->params, "filename");

    (void)c;
    TRY(transfer_get(
        xe, "audit-log-get",
        since ? arena_printf(&xe->arena, "/audit_log?since=%s", transfer_encode(xe, since))
              : "/audit_log",
        file));
    if (*file)
        out_always(&xe->out,
                   arena_printf(&xe->arena, "audit-log-get into file %s succeeded", file));
    return OK;
}

/* --- blobs, callers --- */

static struct error *blob_create(struct xe *xe, const struct xe_command *c)
{
    static const struct {
        const char *param, *class;
    } kinds[] = {{"vm-uuid", "VM"},
                 {"pool-uuid", "pool"},
                 {"sr-uuid", "SR"},
                 {"host-uuid", "host"},
                 {"network-uuid", "network"}};
    const char *mime = args_get(&xe->params, "mime-type"), *ref, *blob = NULL, *uuid;
    bool public;

    (void)c;
    TRY(xe_flag(xe, "public", false, &public));
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (!args_get(&xe->params, kinds[i].param))
            continue;
        TRY(command_ref(xe, kinds[i].class, kinds[i].param, &ref));
        TRY(xe_call_text(xe, &blob, arena_printf(&xe->arena, "%s.create_new_blob", kinds[i].class),
                         "rssb", ref, args_get(&xe->params, "name"), mime ? mime : "", public));
        TRY(object_uuid(xe, "blob", blob, &uuid));
        out_text(&xe->out, uuid);
        return OK;
    }
    return xe_fail(xe, "Need one of: vm-uuid, host-uuid, network-uuid, sr-uuid or pool-uuid");
}

static struct error *blob_file(struct xe *xe, const struct xe_command *c)
{
    const char *file = args_get(&xe->params, "filename"), *ref, *path;

    TRY(command_ref(xe, "blob", "uuid", &ref));
    path = arena_printf(&xe->arena, "/blob?ref=%s", ref);
    if (!strcmp(c->name, "blob-put"))
        TRY(transfer_put(xe, "Blob PUT", path, file, NULL));
    else
        TRY(transfer_get(xe, "Obtaining blob", path, file));
    out_always(&xe->out,
               !strcmp(c->name, "blob-put") ? "Blob put succeeded" : "Blob get succeeded");
    return OK;
}

static struct error *caller_query_usage(struct xe *xe, const struct xe_command *c)
{
    const char *group = args_get(&xe->params, "group"), *tokens = NULL, *calls = NULL, *ref;
    struct xe_pair v[2];

    (void)c;
    if (!group == !args_get(&xe->params, "uuid"))
        return xe_fail(xe, "Need one of uuid, group");
    if (group) {
        TRY(xe_call_text(xe, &tokens, "Caller.query_group_token_usage", "s", group));
        TRY(xe_call_text(xe, &calls, "Caller.query_group_call_count", "s", group));
    } else {
        TRY(command_ref(xe, "Caller", "uuid", &ref));
        TRY(xe_call_text(xe, &tokens, "Caller.query_token_usage", "r", ref));
        TRY(xe_call_text(xe, &calls, "Caller.query_call_count", "r", ref));
    }
    v[0] = (struct xe_pair){"token-usage", tokens};
    v[1] = (struct xe_pair){"call-count", calls};
    out_table(&xe->out, &(struct xe_params){2, v}, 1);
    return OK;
}

/* clang-format off */
static const struct xe_command rows[] = {
    ROW("task-cancel", .required = "uuid", .message = "task.cancel", .args = "task=uuid"),
    ROW("event-wait", .required = "class", .run = event_wait,
        .help = "Wait until an object of a class matches all name=value given; name=/=value "
                "waits for anything else."),
    ROW("message-create", .required = "name priority body",
        .optional = "vm-uuid host-uuid sr-uuid pool-uuid", .run = message_create,
        .help = "Create a message about a VM, host, SR or pool."),
    ROW("message-destroy", .optional = "uuid uuids", .run = message_destroy,
        .help = "Delete messages."),
    ROW("message-destroy-all", .optional = "before after priority", .run = message_destroy_all,
        .help = "Delete all messages, or those of a time or priority."),
    ROW("secret-create", .required = "value", .optional = "other-config:",
        .message = "secret.create", .args = ".value=value .other_config=other-config:",
        .show = SHOW_UUID),
    ROW("secret-destroy", .required = "uuid", .message = "secret.destroy", .args = "self=uuid"),
    ROW("subject-add", .required = "subject-name", .run = subject_add,
        .help = "Let a user or group of the directory use the pool."),
    ROW("subject-remove", .required = "subject-uuid", .message = "subject.destroy",
        .args = "self=subject-uuid"),
    ROW("subject-role-add", .required = "uuid", .optional = "role-name role-uuid",
        .run = subject_role, .help = "Give a user or group a role."),
    ROW("subject-role-remove", .required = "uuid", .optional = "role-name role-uuid",
        .run = subject_role, .help = "Take a role from a user or group."),
    ROW("session-subject-identifier-list", .run = session_subjects,
        .help = "List the directory users that are logged in."),
    ROW("session-subject-identifier-logout", .required = "subject-identifier",
        .message = "session.logout_subject_identifier",
        .args = "subject_identifier=subject-identifier"),
    ROW("session-subject-identifier-logout-all", .run = session_logout_all,
        .help = "Log out all directory users."),
    ROW("user-password-change", .required = "new", .optional = "old",
        .message = "session.change_password", .args = "old_pwd=old new_pwd=new"),
    ROW("audit-log-get", .required = "filename", .optional = "since", .run = audit_log_get,
        .help = "Download the audit log."),
    ROW("blob-create", .required = "name",
        .optional = "mime-type vm-uuid host-uuid sr-uuid network-uuid pool-uuid public",
        .flags = XE_UNLISTED, .run = blob_create,
        .help = "Create a binary object of a VM, host, SR, network or pool."),
    ROW("blob-get", .required = "uuid filename", .flags = XE_UNLISTED, .run = blob_file,
        .help = "Download a binary object."),
    ROW("blob-put", .required = "uuid filename", .flags = XE_UNLISTED, .run = blob_file,
        .help = "Upload a binary object."),
    ROW("observer-create", .required = "name-label",
        .optional = "host-uuids name-description enabled attributes endpoints components",
        .message = "Observer.create",
        .args = ".name_label=name-label .name_description=name-description .hosts=host-uuids "
                ".enabled=enabled .attributes=attributes: .endpoints=endpoints "
                ".components=components", .show = SHOW_UUID),
    ROW("observer-destroy", .required = "uuid", .message = "Observer.destroy",
        .args = "self=uuid"),
    ROW("caller-create", .optional = "name-label name-description user-agent client-ip",
        .message = "Caller.create",
        .args = ".name_label=name-label .name_description=name-description "
                ".user_agent=user-agent .client_ip=client-ip", .show = SHOW_UUID),
    ROW("caller-destroy", .required = "uuid", .message = "Caller.destroy", .args = "self=uuid"),
    ROW("caller-list-usage", .message = "Caller.query_all_usage", .show = SHOW_ROWS),
    ROW("caller-query-usage", .optional = "uuid group", .run = caller_query_usage,
        .help = "Show how much of its rate limit a caller or group uses."),
    ROW("rate-limit-create", .required = "burst-size fill-rate",
        .optional = "name-label name-description caller-uuids", .message = "Rate_limit.create",
        .args = ".name_label=name-label .name_description=name-description "
                ".burst_size=burst-size .fill_rate=fill-rate .callers=caller-uuids",
        .show = SHOW_UUID),
    ROW("rate-limit-destroy", .required = "uuid", .message = "Rate_limit.destroy",
        .args = "self=uuid"),
    ROW("rate-limit-add-caller", .required = "uuid caller-uuid",
        .message = "Rate_limit.add_caller", .args = "self=uuid caller=caller-uuid"),
    ROW("rate-limit-remove-caller", .required = "uuid caller-uuid",
        .message = "Rate_limit.remove_caller", .args = "self=uuid caller=caller-uuid"),
};
/* clang-format on */

const struct xe_commands xe_other_commands = {rows, ARRAY_SIZE(rows)};
