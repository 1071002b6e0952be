/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* table.c -- commands found by name and run: rows of the tables, and what records.c makes. */
#include "xe-cli/database.h"
#include "xe-cli/table.h"

#include <string.h>
#include <strings.h>

#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "xe-cli/list.h"
#include "xe-cli/params.h"
#include "xe-cli/select.h"

const struct xe_commands *const xe_command_tables[] = {
    &xe_vm_commands,      &xe_snapshot_commands, &xe_disk_commands,
    &xe_storage_commands, &xe_network_commands,  &xe_host_commands,
    &xe_pool_commands,    &xe_device_commands,   &xe_other_commands,
};
const size_t xe_n_command_tables = ARRAY_SIZE(xe_command_tables);

const struct xe_command *command_by_name(const char *name)
{
    for (size_t t = 0; t < xe_n_command_tables; t++)
        for (size_t i = 0; i < xe_command_tables[t]->n; i++)
            if (!strcmp(xe_command_tables[t]->v[i].name, name))
                return &xe_command_tables[t]->v[i];
    return NULL;
}

/* --- Commands of classes --- */

static bool any_param(const struct xe_class *class, bool (*has)(const struct xe_param *))
{
    for (size_t i = 0; i < class->n_params; i++)
        if (!(class->params[i].flags & XE_HIDDEN) && has(&class->params[i]))
            return true;
    return false;
}

/* param-set also serves maps, with name:key=value. */
static bool settable_or_map(const struct xe_param *p)
{
    return params_settable(p) || params_addable(p) || (p->flags & (XE_SET_IN | XE_SET_MAP));
}

size_t class_commands(const struct xe_class *class, struct class_command out[7])
{
    size_t n = 0;

    out[n++] = (struct class_command){class, "list", list_run, ""};
    out[n++] = (struct class_command){class, "param-list", params_list, "uuid"};
    out[n++] = (struct class_command){class, "param-get", params_get, "uuid param-name"};
    if (any_param(class, settable_or_map))
        out[n++] = (struct class_command){class, "param-set", params_set, "uuid"};
    if (any_param(class, params_addable)) {
        out[n++] = (struct class_command){class, "param-add", params_add, "uuid param-name"};
        out[n++] = (struct class_command){class, "param-remove", params_remove,
                                          "uuid param-name param-key"};
    }
    if (any_param(class, params_clearable))
        out[n++] = (struct class_command){class, "param-clear", params_clear, "uuid param-name"};
    return n;
}

bool class_command_by_name(const char *name, struct class_command *out)
{
    for (size_t i = 0; i + 1 < xe_n_classes; i++) {
        size_t len = strlen(xe_classes[i].name);
        struct class_command commands[7];
        size_t n;

        if (strncmp(name, xe_classes[i].name, len) != 0 || name[len] != '-')
            continue;
        n = class_commands(&xe_classes[i], commands);
        for (size_t k = 0; k < n; k++) {
            if (!strcmp(commands[k].verb, name + len + 1)) {
                *out = commands[k];
                return true;
            }
        }
    }
    return false;
}

/* --- Arguments --- */

/* One "param=source" of a row, taken apart. */
struct source {
    const char *param;
    const char *text;       /* without conversion and default */
    const char *conversion; /* "bytes"; "" for none */
    const char *otherwise;  /* default; NULL for none */
    bool literal;
};

static void source_read(struct xe *xe, const char *word, struct source *out)
{
    const char *eq = strchr(word, '=');
    char *text = arena_strdup(&xe->arena, eq + 1), *end;

    *out = (struct source){.param = arena_strndup(&xe->arena, word, (size_t)(eq - word)),
                           .text = text,
                           .conversion = ""};
    if (text[0] == '\'') {
        out->literal = true;
        out->text = text + 1;
        text[strlen(text) - 1] = '\0';
        return;
    }
    end = strchr(text, '?');
    if (end) {
        *end = '\0';
        out->otherwise = end + 1;
    }
    end = strchr(text, '%');
    if (end) {
        *end = '\0';
        out->conversion = end + 1;
    }
}

/* "@pool/uuid": the object a parameter names, or else the pool, the coordinator, this host. */
static struct error *special_ref(struct xe *xe, const char *text, const char *selected,
                                 const struct type *type, const char **ref)
{
    const char *slash = strchr(text, '/');
    const char *uuid = slash ? args_get(&xe->params, slash + 1) : NULL;
    struct xe_object pool;

    if (!*text) {
        *ref = selected;
        return OK;
    }
    if (uuid)
        return xe_call_text(xe, ref, arena_printf(&xe->arena, "%s.get_by_uuid", type->class_name),
                            "s", uuid);
    if (!strncmp(text, "master", 6))
        return object_master(xe, ref);
    if (!strncmp(text, "this", 4))
        return object_this_host(xe, ref);
    TRY(object_pool(xe, &pool));
    *ref = pool.ref;
    return OK;
}

/* A MAC address of our own making: locally administered, not multicast. */
static const char *random_mac(struct xe *xe)
{
    uint8_t b[6];

    random_bytes(b, sizeof b);
    return arena_printf(&xe->arena, "%02x:%02x:%02x:%02x:%02x:%02x", (b[0] | 2) & ~1, b[1], b[2],
                        b[3], b[4], b[5]);
}

static struct error *converted(struct xe *xe, const char *conversion, const char **text)
{
    const char *slash;

    if (!strcmp(conversion, "file"))
        return xe->io->load(xe, *text, *text, text);
    if (!strcmp(conversion, "base")) {
        slash = strrchr(*text, '/');
        *text = slash ? slash + 1 : *text;
    } else if (!strcmp(conversion, "mac") && !strcmp(*text, "random")) {
        *text = random_mac(xe);
    }
    return OK;
}

static void add_empty(struct xe *xe, const struct type *type, struct buf *out)
{
    void *value = arena_zalloc(&xe->arena, type->size ? type->size : 1);

    value_empty(type, value);
    codec_xmlrpc.value(out, NULL, type, value);
}

/* "key:file=path" (in "args:") and "key-filename=path" (in "device-config:") give a file's text. */
static struct error *map_converted(struct xe *xe, const char *conversion, struct xe_params *map)
{
    const char *suffix = !strcmp(conversion, "files")       ? ":file"
                         : !strcmp(conversion, "filenames") ? "-filename"
                                                            : NULL;
    struct xe_pair *v = arena_array(&xe->arena, struct xe_pair, map->n + 1);

    for (size_t i = 0; i < map->n; i++) {
        size_t len = strlen(map->v[i].key), end = suffix ? strlen(suffix) : 0;

        v[i] = map->v[i];
        if (!suffix || len <= end || strcmp(v[i].key + len - end, suffix) != 0)
            continue;
        v[i].key = arena_strndup(&xe->arena, v[i].key, len - end);
        TRY(xe->io->load(xe, arena_printf(&xe->arena, "file %s", v[i].value), v[i].value,
                         &v[i].value));
    }
    map->v = v;
    return OK;
}

static struct error *add_map(struct xe *xe, const struct source *s, const struct type *type,
                             struct buf *out)
{
    struct xe_params map =
        args_map(&xe->arena, &xe->params, arena_strndup(&xe->arena, s->text, strlen(s->text) - 1));
    const char **keys = arena_array(&xe->arena, const char *, map.n + 1);

    TRY(map_converted(xe, s->conversion, &map));
    if (type->kind != TYPE_SET) {
        xe_value_map(out, &map);
        return OK;
    }
    for (size_t i = 0; i < map.n; i++)
        keys[i] = map.v[i].key;
    xe_value_set(out, &(struct strings){map.n, keys});
    return OK;
}

static const char *given(struct xe *xe, const struct source *s)
{
    const char *text = args_get(&xe->params, s->text);

    for (size_t i = 0; !text && !strcmp(s->conversion, "nocase") && i < xe->params.n; i++)
        if (!strcasecmp(xe->params.v[i].key, s->text))
            text = xe->params.v[i].value;
    return text;
}

static struct error *add_source(struct xe *xe, const struct source *s, const struct type *type,
                                const char *selected, struct buf *out)
{
    const char *text = s->text, *ref = NULL;
    size_t len = strlen(text);

    if (!s->literal && text[0] == '@') {
        TRY(special_ref(xe, text + 1, selected, type, &ref));
        codec_xmlrpc.string(out, ref);
        return OK;
    }
    if (!s->literal && len && text[len - 1] == ':')
        return add_map(xe, s, type, out);
    if (!s->literal)
        text = given(xe, s);
    if (!text)
        text = s->otherwise;
    if (!text) {
        add_empty(xe, type, out);
        return OK;
    }
    TRY(converted(xe, s->conversion, &text));
    return value_of_text(xe, s->text, type, text, !strcmp(s->conversion, "bytes"), out);
}

/* The source of a parameter or member in a row; false if the row does not name it. */
static bool find_source(struct xe *xe, const struct strings *words, const char *name,
                        struct source *out)
{
    for (size_t i = 0; i < words->n; i++) {
        source_read(xe, words->v[i], out);
        if (!strcmp(out->param, name))
            return true;
    }
    return false;
}

/* Fields a constructor is given: those set by users or at creation. */
static bool is_constructor_field(const struct field_desc *f)
{
    return (f->flags & (FIELD_CONFIG | FIELD_RW)) &&
           !(f->flags & (FIELD_DERIVED | FIELD_COMPUTED | FIELD_INTERNAL | FIELD_PSEUDO));
}

static struct error *add_record(struct xe *xe, const struct class_desc *class,
                                const struct strings *words, const char *selected, struct buf *out)
{
    bool first = true;

    codec_xmlrpc.struct_begin(out);
    for (size_t i = 0; i < class->n_fields; i++) {
        const struct field_desc *f = &api_fields[class->first_field + i];
        struct source s;
        bool named = find_source(xe, words, arena_printf(&xe->arena, ".%s", f->name), &s);

        if (!named && (!is_constructor_field(f) || (f->flags & FIELD_HAS_DEFAULT)))
            continue;
        codec_xmlrpc.member_begin(out, f->name, first);
        if (named)
            TRY(add_source(xe, &s, f->type, selected, out));
        else
            add_empty(xe, f->type, out);
        codec_xmlrpc.member_end(out);
        first = false;
    }
    codec_xmlrpc.struct_end(out);
    return OK;
}

struct error *command_args(struct xe *xe, const struct message_desc *m, const char *args,
                           const char *selected, struct buf *params)
{
    struct strings words = xe_split(xe, args ? args : "", ' ');

    for (size_t i = 0; i < m->n_params; i++) {
        const struct param_desc *p = &m->params[i];
        struct source s;

        buf_puts(params, "<param>");
        if (p->type->kind == TYPE_RECORD)
            TRY(add_record(xe, &api_classes[p->type->class_id], &words, selected, params));
        else if (find_source(xe, &words, p->name, &s))
            TRY(add_source(xe, &s, p->type, selected, params));
        else if (p->default_value)
            codec_xmlrpc.value(params, NULL, p->type, p->default_value);
        else
            add_empty(xe, p->type, params);
        buf_puts(params, "</param>");
    }
    return OK;
}

/* --- Answers --- */

static struct error *show_sources(struct xe *xe, const struct wire *value)
{
    static const char *const fields[] = {
        "name_label", "name_description", "enabled", "standard", "min", "max", "units"};
    size_t n = value->kind == WIRE_ARRAY ? value->n : 0;
    struct xe_params *records = arena_array(&xe->arena, struct xe_params, n + 1);

    for (size_t i = 0; i < n; i++) {
        struct xe_pair *v = arena_array(&xe->arena, struct xe_pair, ARRAY_SIZE(fields));

        for (size_t k = 0; k < ARRAY_SIZE(fields); k++)
            v[k] = (struct xe_pair){fields[k],
                                    xe_wire_text(&xe->arena, xe_member(&value->v[i], fields[k]))};
        records[i] = (struct xe_params){ARRAY_SIZE(fields), v};
    }
    out_table(&xe->out, records, n);
    return OK;
}

static void show_rows(struct xe *xe, const struct wire *value)
{
    for (size_t i = 0; value->kind == WIRE_ARRAY && i < value->n; i++) {
        struct strings row = xe_wire_set(&xe->arena, &value->v[i]);
        AUTO(buf) line = {0};

        for (size_t k = 0; k < row.n; k++)
            buf_printf(&line, "%s%s", k ? "; " : "", row.v[k]);
        out_message(&xe->out, line.data ? line.data : "");
    }
}

static struct error *show_values(struct xe *xe, const struct type *type, enum command_show show,
                                 const struct wire *value)
{
    struct field_value v;

    TRY(wire_shown(xe, type, value, &v));
    if (v.kind == FIELD_TEXT && type->kind == TYPE_FLOAT && value->kind == WIRE_DOUBLE)
        v.text = arena_printf(&xe->arena, "%f", value->d);
    if (v.kind == FIELD_TEXT)
        v.set = (struct strings){1, &v.text};
    if (show == SHOW_MESSAGE)
        for (size_t i = 0; i < v.set.n; i++)
            out_message(&xe->out, v.set.v[i]);
    else if (v.kind == FIELD_MAP)
        out_table(&xe->out, &v.map, 1);
    else
        out_list(&xe->out, &v.set);
    return OK;
}

static struct error *show_uuid(struct xe *xe, const struct type *type, const struct wire *value)
{
    const char *uuid;

    if (type->kind != TYPE_REF)
        return show_values(xe, type, SHOW_TEXT, value);
    TRY(object_uuid(xe, type->class_name, xe_wire_text(&xe->arena, value), &uuid));
    out_text(&xe->out, uuid);
    return OK;
}

struct error *command_show(struct xe *xe, const struct type *type, enum command_show show,
                           const struct wire *value)
{
    switch (show) {
    case SHOW_UUID:
        return show_uuid(xe, type, value);
    case SHOW_SOURCES:
        return show_sources(xe, value);
    case SHOW_ROWS:
        show_rows(xe, value);
        return OK;
    case SHOW_NOTHING:
        return OK;
    default:
        return show_values(xe, type, show, value);
    }
}

/* --- Running --- */

const char *command_words(struct xe *xe, const struct xe_command *c)
{
    AUTO(buf) words = {0};
    const char *text;

    buf_printf(&words, "%s %s progress", c->required ? c->required : "",
               c->optional ? c->optional : "");
    text = arena_strdup(&xe->arena, words.data);
    for (char *p = (char *)text; *p; p++)
        if (*p == ':')
            *p = ' ';
    return text;
}

unsigned command_select_flags(const struct xe_command *c)
{
    return (c->flags & XE_CONTROL ? SELECT_CONTROL : 0u) |
           (c->flags & XE_TEMPLATES ? SELECT_TEMPLATES : 0u) |
           (c->flags & XE_SINGLE ? SELECT_SINGLE : 0u);
}

struct error *command_message(struct xe *xe, const struct xe_command *c, const char *selected)
{
    const struct message_desc *m = api_message_by_name(c->message);
    const struct wire *value = NULL;
    AUTO(buf) params = {0};

    TRY(command_args(xe, m, c->args, selected, &params));
    TRY(xe_call_params(xe, m->full_name, &params, c->flags & XE_TASK, &value));
    return command_show(xe, m->result, c->show, value);
}

static struct error *run_selected(struct xe *xe, const struct xe_object *object, void *ctx)
{
    return command_message(xe, ctx, object->ref);
}

static struct error *run_row(struct xe *xe, const struct xe_command *c)
{
    const char *class = c->flags & XE_VM     ? "VM"
                        : c->flags & XE_HOST ? "host"
                        : c->flags & XE_SR   ? "SR"
                                             : NULL;
    bool forced = true;

    if (c->flags & XE_FORCED)
        TRY(xe_flag(xe, "force", false, &forced));
    if (!forced)
        return xe_fail(xe, "This operation is dangerous and may cause data loss. This operation "
                           "must be forced (use --force).");
    if (c->run)
        return c->run(xe, c);
    if (!class)
        return command_message(xe, c, NULL);
    return select_each(xe, class, command_select_flags(c), command_words(xe, c), run_selected,
                       (void *)c);
}

static struct error *check_required(struct xe *xe, const char *required)
{
    struct strings names = xe_split(xe, required ? required : "", ' ');

    for (size_t i = 0; i < names.n; i++)
        if (!args_get(&xe->params, names.v[i]))
            return error_new(&xe->arena, XE_USAGE, 2, "Required parameter not found", names.v[i]);
    return OK;
}

/* A command that only looks may look at the copy of a database on a disk. */
static struct error *run_made(struct xe *xe, const struct class_command *made)
{
    struct xe database;
    struct error *e;

    if (!database_is_asked(xe))
        return made->run(xe, made->class);
    e = database_open(xe, &database);
    if (!e)
        e = made->run(&database, made->class);
    return database_close(xe, &database, e);
}

struct error *command_run(struct xe *xe)
{
    const struct xe_command *c = command_by_name(xe->command);
    struct class_command made;

    if (c) {
        TRY(check_required(xe, c->required));
        return run_row(xe, c);
    }
    if (!class_command_by_name(xe->command, &made))
        return error_new(&xe->arena, XE_USAGE, 2, "Unknown command", xe->command);
    TRY(check_required(xe, made.required));
    return run_made(xe, &made);
}
