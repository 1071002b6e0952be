/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* check.c -- completes what the text leaves out and refuses what does not fit together. */
#include <ctype.h>
#include <string.h>

#include "schema/compiler/schemac.h"

struct class *schema_class(struct schema *schema, const char *name)
{
    for (size_t i = 0; i < schema->classes.n; i++)
        if (strcmp(schema->classes.v[i].name, name) == 0)
            return &schema->classes.v[i];
    return NULL;
}

struct enum_decl *schema_enum(struct schema *schema, const char *name)
{
    for (size_t i = 0; i < schema->enums.n; i++)
        if (strcmp(schema->enums.v[i].name, name) == 0)
            return &schema->enums.v[i];
    return NULL;
}

struct field *class_field(struct class *class, const char *name)
{
    for (size_t i = 0; i < class->fields.n; i++)
        if (strcmp(class->fields.v[i].name, name) == 0)
            return &class->fields.v[i];
    return NULL;
}

static struct message *class_message(struct class *class, const char *name)
{
    for (size_t i = 0; i < class->messages.n; i++)
        if (strcmp(class->messages.v[i].name, name) == 0)
            return &class->messages.v[i];
    return NULL;
}

static bool is_removed(struct schema *schema, const char *class)
{
    for (size_t i = 0; i < schema->removed.n; i++)
        if (strcmp(schema->removed.v[i], class) == 0)
            return true;
    return false;
}

bool field_is_derived(const struct field *f)
{
    return f->relation >= 0;
}

bool message_is_implemented(const struct message *m)
{
    return !m->pending;
}

/*** types ***/

static void check_type(struct schema *s, struct type_node *t)
{
    if (t->kind == K_ENUM && !schema_enum(s, t->name))
        schema_die(s, t->at, "no type '%s'", t->name);
    if ((t->kind == K_REF || t->kind == K_RECORD) && !schema_class(s, t->name) &&
        !is_removed(s, t->name) && strcmp(t->name, "any") != 0)
        schema_die(s, t->at, "no class '%s'", t->name);
    if (t->kind == K_MAP && t->key->kind != K_STRING && t->key->kind != K_INT &&
        t->key->kind != K_REF && t->key->kind != K_ENUM)
        schema_die(s, t->at, "a map's keys are strings, ints, refs or enums");
    if (t->key)
        check_type(s, t->key);
    if (t->elem)
        check_type(s, t->elem);
}

/* Gives equal types the same id. */
static void intern(struct schema *s, struct type_node *t)
{
    const char *text = api_type_text(s, t);

    if (t->key)
        intern(s, t->key);
    if (t->elem)
        intern(s, t->elem);
    for (size_t i = 0; i < s->types.n; i++) {
        if (s->types.v[i]->secret == t->secret &&
            strcmp(api_type_text(s, s->types.v[i]), text) == 0) {
            t->id = (int)i;
            return;
        }
    }
    t->id = (int)s->types.n;
    ADD(s, s->types, t);
}

static void check_literal(struct schema *s, struct place at, const struct type_node *t,
                          const struct literal *l)
{
    enum literal_kind want = LIT_STRING;

    if (l->kind == LIT_NONE)
        return;
    switch (t->kind) {
    case K_INT:
    case K_FLOAT:
        want = LIT_NUMBER;
        break;
    case K_BOOL:
        want = LIT_WORD;
        break;
    case K_REF:
        want = l->kind == LIT_WORD ? LIT_WORD : LIT_STRING; /* null, "" or "OpaqueRef:..." */
        break;
    case K_ENUM: {
        const struct enum_decl *e = schema_enum(s, t->name);

        if (l->kind == LIT_LIST && l->n == 0)
            return; /* host.create of the reference has an empty set as the default of an enum: the
                       first value */
        for (size_t i = 0; i < e->values.n; i++)
            if (l->kind != LIT_LIST && strcmp(e->values.v[i], l->text) == 0)
                return;
        schema_die(s, at, "'%s' is no value of enum %s", l->kind != LIT_LIST ? l->text : "{",
                   t->name);
    }
    case K_SET:
    case K_MAP:
        want = LIT_LIST;
        break;
    default:
        break;
    }
    if (l->kind != want || (want == LIT_LIST && l->n && l->pairs != (t->kind == K_MAP)))
        schema_die(s, at, "the default value does not fit the type");
    for (size_t i = 0; want == LIT_LIST && i < l->n; i++)
        check_literal(s, at, t->kind == K_MAP && i % 2 == 0 ? t->key : t->elem, &l->v[i]);
}

static void check_role(struct schema *s, struct place at, const char *role)
{
    if (!role || strcmp(role, "local-root") == 0)
        return;
    for (size_t i = 0; i < s->roles.n; i++)
        if (strcmp(s->roles.v[i].name, role) == 0)
            return;
    schema_die(s, at, "no role '%s'", role);
}

/*** implicit messages ***/

static struct type_node *node(struct schema *s, enum kind kind, const char *name)
{
    struct type_node *t = arena_new(&s->arena, struct type_node);

    t->kind = kind;
    t->name = name;
    t->id = -1;
    return t;
}

static struct type_node *wrap(struct schema *s, enum kind kind, struct type_node *key,
                              struct type_node *elem)
{
    struct type_node *t = node(s, kind, NULL);

    t->key = key;
    t->elem = elem;
    return t;
}

static void add_param(struct schema *s, struct message *m, const char *name, struct type_node *type)
{
    struct param p = {.name = name, .type = type};

    ADD(s, m->params, p);
}

static struct message implicit(struct schema *s, const struct class *c, const struct field *f,
                               enum message_sort sort, const char *name)
{
    struct message m = {.at = f ? f->at : c->at, .sort = sort, .field = -1};

    m.name = name;
    m.result = node(s, K_VOID, NULL);
    m.role = c->read_role ? c->read_role : "read-only";
    m.deprecated = f ? f->deprecated : c->deprecated;
    m.prototyped = f ? f->prototyped : c->prototyped;
    m.pure = true;
    if (f)
        m.field = f->id;
    return m;
}

/* An explicit message of the same name takes the implicit one's place. */
static void add_implicit(struct schema *s, struct class *c, const struct message *m)
{
    if (!class_message(c, m->name))
        ADD(s, c->messages, *m);
}

static void add_accessors(struct schema *s, struct class *c, const struct field *f)
{
    bool is_map = f->type->kind == K_MAP, is_set = f->type->kind == K_SET;
    struct message m = implicit(s, c, f, M_GET, arena_printf(&s->arena, "get_%s", f->name));

    m.role = f->read_role ? f->read_role : "read-only";
    m.doc = arena_printf(&s->arena, "Get the %s field of the given %s.", f->name, c->name);
    m.result = f->type;
    add_param(s, &m, "self", node(s, K_REF, c->name));
    add_implicit(s, c, &m);
    if (strcmp(f->qualifier, "rw") != 0)
        return;
    m = implicit(s, c, f, M_SET, arena_printf(&s->arena, "set_%s", f->name));
    m.role = f->write_role;
    m.pure = false;
    m.doc = arena_printf(&s->arena, "Set the %s field of the given %s.", f->name, c->name);
    add_param(s, &m, "self", node(s, K_REF, c->name));
    add_param(s, &m, "value", f->type);
    add_implicit(s, c, &m);
    if (!is_map && !is_set)
        return;
    m = implicit(s, c, f, M_ADD, arena_printf(&s->arena, is_map ? "add_to_%s" : "add_%s", f->name));
    m.role = f->write_role;
    m.pure = false;
    memcpy(&m.keys, &f->keys, sizeof m.keys);
    m.doc = arena_printf(
        &s->arena,
        is_map ? "Add a key to the %s field of the given %s; the key must not be there yet."
               : "Add a value to the %s field of the given %s; nothing happens if it is there.",
        f->name, c->name);
    add_param(s, &m, "self", node(s, K_REF, c->name));
    if (is_map)
        add_param(s, &m, "key", f->type->key);
    add_param(s, &m, "value", f->type->elem);
    add_implicit(s, c, &m);
    m = implicit(s, c, f, M_REMOVE,
                 arena_printf(&s->arena, is_map ? "remove_from_%s" : "remove_%s", f->name));
    m.role = f->write_role;
    m.pure = false;
    memcpy(&m.keys, &f->keys, sizeof m.keys);
    m.doc = arena_printf(
        &s->arena,
        "Remove a %s from the %s field of the given %s; nothing happens if it is not there.",
        is_map ? "key" : "value", f->name, c->name);
    add_param(s, &m, "self", node(s, K_REF, c->name));
    add_param(s, &m, is_map ? "key" : "value", is_map ? f->type->key : f->type->elem);
    add_implicit(s, c, &m);
}

static void add_object_message(struct schema *s, struct class *c, enum message_sort sort,
                               const char *name, const char *param, struct type_node *param_type,
                               struct type_node *result, const char *doc)
{
    struct message m = implicit(s, c, NULL, sort, name);

    m.doc = doc;
    m.result = result;
    m.hidden = sort == M_GET_ALL_WHERE || sort == M_GET_ALL_RECORDS_WHERE;
    if (param)
        add_param(s, &m, param, param_type);
    if (sort == M_CREATE || sort == M_DESTROY) {
        m.role = c->create_role;
        m.async = true;
        m.pure = false;
        m.pending = c->create_pending;
    }
    add_implicit(s, c, &m);
}

static bool in_namespace(const struct class *c, const char *ns)
{
    for (size_t i = 0; i < c->namespaces.n; i++)
        if (strcmp(c->namespaces.v[i], ns) == 0)
            return true;
    return false;
}

static void add_implicit_messages(struct schema *s, struct class *c)
{
    struct type_node *ref = node(s, K_REF, c->name), *record = node(s, K_RECORD, c->name);
    struct type_node *string = node(s, K_STRING, NULL);
    struct type_node *refs = wrap(s, K_SET, NULL, ref), *records = wrap(s, K_MAP, ref, record);
    const char *name = c->name;

#define DOC(...) arena_printf(&s->arena, __VA_ARGS__)
    for (size_t i = 0; i < c->fields.n; i++)
        if (!c->fields.v[i].internal && !c->fields.v[i].pseudo)
            add_accessors(s, c, &c->fields.v[i]);
    if (class_field(c, "uuid")) {
        add_object_message(s, c, M_GET_BY_UUID, "get_by_uuid", "uuid", string, ref,
                           DOC("Get a reference to the %s with the given uuid.", name));
        add_object_message(s, c, M_GET_RECORD, "get_record", "self", ref, record,
                           DOC("Get a record of all fields of the given %s.", name));
    }
    if (class_field(c, "name_label") && in_namespace(c, "name"))
        add_object_message(s, c, M_GET_BY_NAME_LABEL, "get_by_name_label", "label", string, refs,
                           DOC("Get all %s objects with the given label.", name));
    if (c->all) {
        add_object_message(s, c, M_GET_ALL, "get_all", NULL, NULL, refs,
                           DOC("Get references to all %s objects.", name));
        add_object_message(s, c, M_GET_ALL_WHERE, "get_all_where", "expr", string, refs,
                           DOC("Get references to the %s objects that a filter matches.", name));
        add_object_message(s, c, M_GET_ALL_RECORDS, "get_all_records", NULL, NULL, records,
                           DOC("Get a map from references to records of all %s objects.", name));
        add_object_message(
            s, c, M_GET_ALL_RECORDS_WHERE, "get_all_records_where", "expr", string, records,
            DOC("Get a map from references to records of the %s objects that a filter matches.",
                name));
    }
    if (c->create_role) {
        add_object_message(s, c, M_CREATE, "create", "args", record, ref,
                           DOC("Create a new %s and return its reference.", name));
        add_object_message(s, c, M_DESTROY, "destroy", "self", ref, node(s, K_VOID, NULL),
                           DOC("Destroy the given %s.", name));
    }
#undef DOC
}

/*** the whole ***/

static void resolve_relation(struct schema *s, const struct relation *r)
{
    struct class *from = schema_class(s, r->from_class), *to = schema_class(s, r->to_class);
    struct field *a, *b;

    if (!from && !is_removed(s, r->from_class))
        schema_die(s, r->at, "no class '%s'", r->from_class);
    if (!to && !is_removed(s, r->to_class))
        schema_die(s, r->at, "no class '%s'", r->to_class);
    if (!from || !to)
        return;
    a = class_field(from, r->from_field);
    b = class_field(to, r->to_field);
    if (!a)
        schema_die(s, r->at, "class %s has no field '%s'", r->from_class, r->from_field);
    if (!b)
        schema_die(s, r->at, "class %s has no field '%s'", r->to_class, r->to_field);
    if (a == b)
        return; /* both sides are one field: it is simply stored */
    if (b->type->kind != K_SET || b->type->elem->kind != K_REF ||
        strcmp(b->type->elem->name, r->from_class) != 0)
        schema_die(s, r->at, "%s.%s is not a set of references to %s", r->to_class, r->to_field,
                   r->from_class);
    b->relation = a->id;
    a->inverse = b->id;
}

static void check_params(struct schema *s, const struct class *c, const struct message *m)
{
    bool optional = false;

    for (size_t i = 0; i < m->params.n; i++) {
        const struct param *p = &m->params.v[i];

        check_type(s, p->type);
        check_literal(s, m->at, p->type, &p->def);
        if (p->def.kind != LIT_NONE)
            optional = true;
        else if (optional)
            schema_die(s, m->at, "message %s.%s: '%s' must come before the optional parameters",
                       c->name, m->name, p->name);
    }
    if (m->params.n > 32)
        schema_die(s, m->at, "message %s.%s has too many parameters", c->name, m->name);
}

static void check_message(struct schema *s, const struct class *c, const struct message *m)
{
    check_type(s, m->result);
    check_params(s, c, m);
    check_role(s, m->at, m->role);
    for (size_t i = 0; i < m->keys.n; i++)
        check_role(s, m->at, m->keys.v[i].role);
    for (size_t i = 0; i < m->errors.n; i++) {
        bool found = false;

        for (size_t j = 0; j < s->errors.n && !found; j++)
            found = strcmp(s->errors.v[j].code, m->errors.v[i]) == 0;
        if (!found)
            schema_die(s, m->at, "message %s.%s: no error '%s'", c->name, m->name, m->errors.v[i]);
    }
    for (size_t i = 0; i < c->messages.n; i++)
        if (&c->messages.v[i] != m && strcmp(c->messages.v[i].name, m->name) == 0)
            schema_die(s, m->at, "message %s.%s is declared twice", c->name, m->name);
}

static void check_field(struct schema *s, struct class *c, struct field *f)
{
    bool rw = strcmp(f->qualifier, "rw") == 0;

    check_type(s, f->type);
    check_literal(s, f->at, f->type, &f->def);
    check_role(s, f->at, f->read_role);
    check_role(s, f->at, f->write_role);
    for (size_t i = 0; i < f->keys.n; i++)
        check_role(s, f->at, f->keys.v[i].role);
    if (rw != (f->write_role != NULL))
        schema_die(s, f->at, "field %s.%s: a role is for fields that are rw, and needed there",
                   c->name, f->name);
    if (class_field(c, f->name) != f)
        schema_die(s, f->at, "field %s.%s is declared twice", c->name, f->name);
}

void schema_check(struct schema *s)
{
    if (s->classes.n > 1000 || s->enums.n > 1000 || s->errors.n > 10000)
        schema_die(s, (struct place){"schema", 0}, "too many declarations");
    for (size_t i = 0; i < s->classes.n; i++) {
        struct class *c = &s->classes.v[i];

        c->id = (int)i;
        check_role(s, c->at, c->read_role);
        check_role(s, c->at, c->create_role);
        for (size_t j = 0; j < c->fields.n; j++)
            c->fields.v[j].id = s->n_fields++;
    }
    for (size_t i = 0; i < s->enums.n; i++)
        s->enums.v[i].id = (int)i;
    for (size_t i = 0; i < s->classes.n; i++)
        for (size_t j = 0; j < s->classes.v[i].fields.n; j++)
            check_field(s, &s->classes.v[i], &s->classes.v[i].fields.v[j]);
    for (size_t i = 0; i < s->relations.n; i++)
        resolve_relation(s, &s->relations.v[i]);
    for (size_t i = 0; i < s->classes.n; i++)
        if (s->classes.v[i].stored)
            add_implicit_messages(s, &s->classes.v[i]);
    for (size_t i = 0; i < s->intents.n; i++)
        for (size_t j = 0; j < s->intents.v[i].fields.n; j++)
            check_type(s, s->intents.v[i].fields.v[j].type);
    for (size_t i = 0; i < s->classes.n; i++) {
        struct class *c = &s->classes.v[i];

        intern(s, node(s, K_REF, c->name));
        intern(s, node(s, K_RECORD, c->name));
        for (size_t j = 0; j < c->fields.n; j++)
            intern(s, c->fields.v[j].type);
        for (size_t j = 0; j < c->messages.n; j++) {
            struct message *m = &c->messages.v[j];

            check_message(s, c, m);
            m->id = s->n_messages++;
            intern(s, m->result);
            for (size_t k = 0; k < m->params.n; k++)
                intern(s, m->params.v[k].type);
        }
    }
    for (size_t i = 0; i < s->intents.n; i++)
        for (size_t j = 0; j < s->intents.v[i].fields.n; j++)
            intern(s, s->intents.v[i].fields.v[j].type);
    if (s->n_messages > MAX_ITEMS || s->n_fields > MAX_ITEMS)
        schema_die(s, (struct place){"schema", 0}, "too many messages or fields");
}

/*** spelling ***/

static const char *cased(struct schema *s, const char *name, int (*change)(int))
{
    char *out = arena_strdup(&s->arena, name);

    for (char *p = out; *p; p++)
        *p = isalnum((unsigned char)*p) ? (char)change((unsigned char)*p) : '_';
    return out;
}

const char *c_lower(struct schema *s, const char *name)
{
    return cased(s, name, tolower);
}

const char *c_upper(struct schema *s, const char *name)
{
    return cased(s, name, toupper);
}

const char *c_member(struct schema *s, const char *name)
{
    return strcmp(name, "ref") == 0 ? "ref_" : c_lower(s, name);
}

const char *c_type(struct schema *s, const struct type_node *t)
{
    switch (t->kind) {
    case K_VOID:
        return "void ";
    case K_STRING:
        return "const char *";
    case K_INT:
        return "int64_t ";
    case K_BOOL:
        return "bool ";
    case K_FLOAT:
        return "double ";
    case K_DATETIME:
        return "usec_t ";
    case K_REF:
        return "ref_t ";
    case K_ENUM:
        return arena_printf(&s->arena, "enum %s ", t->name);
    case K_SET:
        return t->elem->kind == K_STRING ? "struct strings "
               : t->elem->kind == K_REF  ? "struct refs "
               : t->elem->kind == K_ENUM ? "struct enums "
               : t->elem->kind == K_INT  ? "struct ints "
                                         : "struct set ";
    case K_MAP:
        if (t->key->kind != K_STRING)
            return "struct map ";
        return t->elem->kind == K_STRING ? "struct strmap "
               : t->elem->kind == K_ENUM ? "struct enummap "
               : t->elem->kind == K_REF  ? "struct refmap "
                                         : "struct map ";
    case K_RECORD:
        return schema_class(s, t->name)
                   ? arena_printf(&s->arena, "const struct %s *", c_lower(s, t->name))
                   : "const void *";
    case K_OPTION:
        return arena_printf(&s->arena, "%sconst *", c_type(s, t->elem));
    }
    return "";
}

const char *api_type_text(struct schema *s, const struct type_node *t)
{
    static const char *const plain[] = {"void", "string", "int", "bool", "float", "datetime"};

    switch (t->kind) {
    case K_REF:
        return arena_printf(&s->arena, "ref %s", t->name);
    case K_ENUM:
        return arena_printf(&s->arena, "enum %s", t->name);
    case K_SET:
        return arena_printf(&s->arena, "set(%s)", api_type_text(s, t->elem));
    case K_OPTION:
        return arena_printf(&s->arena, "option(%s)", api_type_text(s, t->elem));
    case K_MAP:
        return arena_printf(&s->arena, "map(%s -> %s)", api_type_text(s, t->key),
                            api_type_text(s, t->elem));
    case K_RECORD:
        return strcmp(t->name, "any") == 0 ? "record <class>"
                                           : arena_printf(&s->arena, "record %s", t->name);
    default:
        return t->secret ? arena_printf(&s->arena, "secret %s", plain[t->kind]) : plain[t->kind];
    }
}
