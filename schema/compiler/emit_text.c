/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* emit_text.c -- the schema as JSON (for comparison with other descriptions of the XenAPI) and as a
 * manual in Markdown. */
#include <string.h>

#include "schema/compiler/schemac.h"

static void json_literal(struct schema *s, FILE *out, const struct type_node *t,
                         const struct literal *l)
{
    static const char *const names[] = {[K_INT] = "int",
                                        [K_FLOAT] = "float",
                                        [K_DATETIME] = "datetime",
                                        [K_REF] = "ref",
                                        [K_ENUM] = "enum"};

    switch (t->kind) {
    case K_BOOL:
        fputs(l->text, out);
        break;
    case K_SET:
    case K_MAP:
        fprintf(out, "{\"%s\": [", t->kind == K_SET ? "set" : "map");
        for (size_t i = 0; i < l->n; i++) {
            if (t->kind == K_MAP) {
                fprintf(out, "%s[", i ? ", " : "");
                json_literal(s, out, t->key, &l->v[i++]);
                fprintf(out, ", ");
                json_literal(s, out, t->elem, &l->v[i]);
                fprintf(out, "]");
            } else {
                fprintf(out, "%s", i ? ", " : "");
                json_literal(s, out, t->elem, &l->v[i]);
            }
        }
        fprintf(out, "]}");
        break;
    case K_INT:
    case K_FLOAT:
    case K_DATETIME:
    case K_REF:
    case K_ENUM: {
        const char *text = l->text ? l->text : "";
        size_t n = strlen(text);

        if (t->kind == K_REF && l->kind == LIT_STRING && strcmp(text, "OpaqueRef:NULL") == 0) {
            emit_quoted(out, text); /* how the reference has it for VDI.copy */
            return;
        }
        if (t->kind == K_ENUM && l->kind == LIT_LIST) {
            fprintf(out, "{\"set\": []}");
            return;
        }
        if (t->kind == K_REF && l->kind == LIT_WORD)
            text = "OpaqueRef:NULL";
        if (t->kind == K_FLOAT && n > 2 && strcmp(text + n - 2, ".0") == 0)
            text = arena_strndup(&s->arena, text, n - 2);
        fprintf(out, "{\"%s\": ", names[t->kind]);
        emit_quoted(out, text);
        fprintf(out, "}");
        break;
    }
    default:
        emit_quoted(out, l->text);
        break;
    }
}

static void json_role(FILE *out, const char *key, const char *role)
{
    if (role)
        fprintf(out, ", \"%s\": \"%s\"", key,
                strcmp(role, "local-root") == 0 ? "local-root-only" : role);
}

static void json_keys(FILE *out, const struct key_role *keys, size_t n)
{
    if (!n)
        return;
    fprintf(out, ", \"map_key_roles\": {");
    for (size_t i = 0; i < n; i++)
        fprintf(out, "%s\"%s\": \"%s\"", i ? ", " : "", keys[i].pattern, keys[i].role);
    fprintf(out, "}");
}

static void json_field(struct schema *s, FILE *out, const struct field *f)
{
    fprintf(out, "{\"name\": \"%s\", \"type\": \"%s\", \"qualifier\": \"%s\"", f->name,
            api_type_text(s, f->type),
            strcmp(f->qualifier, "rw") == 0   ? "RW"
            : strcmp(f->qualifier, "ro") == 0 ? "RO dynamic"
                                              : "RO static");
    if (f->def.kind != LIT_NONE) {
        fprintf(out, ", \"default\": ");
        json_literal(s, out, f->type, &f->def);
    }
    if (f->transient)
        fprintf(out, ", \"persist\": false");
    if (!f->pseudo)
        json_role(out, "min_role_read", f->read_role ? f->read_role : "read-only");
    json_role(out, "min_role_write", f->write_role);
    json_keys(out, f->keys.v, f->keys.n);
    fprintf(out, ", \"doc\": ");
    emit_quoted(out, f->doc);
    fprintf(out, "}");
}

static void json_message(struct schema *s, FILE *out, const struct message *m)
{
    const struct {
        bool on;
        const char *name;
    } flags[] = {{m->async, "async"},
                 {m->hidden, "hidden_from_docs"},
                 {m->pool_internal, "pool_internal"},
                 {m->no_session, "no_session"},
                 {m->emergency, "emergency_call"},
                 {m->secret, "secret"},
                 {message_is_implemented(m), "implemented"}};

    fprintf(out, "{\"name\": \"%s\", \"kind\": \"%s\", \"result\": \"%s\", \"params\": [", m->name,
            m->sort == M_EXPLICIT ? "custom" : "implicit", api_type_text(s, m->result));
    if (!m->no_session)
        fprintf(out, "{\"name\": \"session_id\", \"type\": \"ref session\"}%s",
                m->params.n ? ", " : "");
    for (size_t i = 0; i < m->params.n; i++) {
        const struct param *p = &m->params.v[i];

        fprintf(out, "%s{\"name\": \"%s\", \"type\": \"%s\"", i ? ", " : "", p->name,
                api_type_text(s, p->type));
        if (p->def.kind != LIT_NONE) {
            fprintf(out, ", \"optional\": true, \"default\": ");
            json_literal(s, out, p->type, &p->def);
        }
        fprintf(out, "}");
    }
    fprintf(out, "]");
    for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
        fprintf(out, ", \"%s\": %s", flags[i].name, flags[i].on ? "true" : "false");
    if (m->pending) {
        fprintf(out, ", \"pending\": ");
        emit_quoted(out, m->pending);
    }
    json_role(out, "min_role", m->role);
    json_keys(out, m->keys.v, m->keys.n);
    fprintf(out, ", \"state\": \"%s\", \"errors\": [",
            m->deprecated   ? "deprecated"
            : m->prototyped ? "prototyped"
                            : "published");
    for (size_t i = 0; i < m->errors.n; i++)
        fprintf(out, "%s\"%s\"", i ? ", " : "", m->errors.v[i]);
    fprintf(out, "], \"doc\": ");
    emit_quoted(out, m->doc);
    fprintf(out, "}");
}

static void json_class(struct schema *s, FILE *out, const struct class *c)
{
    fprintf(out, "{\"name\": \"%s\", \"generates_events\": %s, \"persistent\": %s, \"fields\": [",
            c->name, c->events ? "true" : "false", c->persistent ? "true" : "false");
    for (size_t i = 0, n = 0; i < c->fields.n; i++) {
        if (c->fields.v[i].internal)
            continue;
        fprintf(out, "%s\n  ", n++ ? "," : "");
        json_field(s, out, &c->fields.v[i]);
    }
    fprintf(out, "], \"messages\": [");
    for (size_t i = 0; i < c->messages.n; i++) {
        fprintf(out, "%s\n  ", i ? "," : "");
        json_message(s, out, &c->messages.v[i]);
    }
    fprintf(out, "], \"doc\": ");
    emit_quoted(out, c->doc);
    fprintf(out, "}");
}

void emit_json(struct schema *s, FILE *out)
{
    size_t n = 0;

    fprintf(out, "{\"classes\": [");
    for (size_t i = 0; i < s->classes.n; i++) {
        if (s->classes.v[i].internal)
            continue;
        fprintf(out, "%s\n", n++ ? "," : "");
        json_class(s, out, &s->classes.v[i]);
    }
    fprintf(out, "],\n\"enums\": [");
    for (size_t i = 0; i < s->enums.n; i++) {
        fprintf(out, "%s\n  {\"name\": \"%s\", \"values\": [", i ? "," : "", s->enums.v[i].name);
        for (size_t j = 0; j < s->enums.v[i].values.n; j++)
            fprintf(out, "%s\"%s\"", j ? ", " : "", s->enums.v[i].values.v[j]);
        fprintf(out, "]}");
    }
    fprintf(out, "],\n\"errors\": [");
    for (size_t i = 0; i < s->errors.n; i++) {
        const struct error_decl *e = &s->errors.v[i];

        fprintf(out, "%s\n  {\"name\": \"%s\", \"params\": ", i ? "," : "", e->code);
        fprintf(out, e->declared ? "[" : "null");
        for (size_t j = 0; j < e->params.n; j++) {
            fprintf(out, "%s", j ? ", " : "");
            emit_quoted(out, e->params.v[j]);
        }
        fprintf(out, "%s, \"doc\": ", e->declared ? "]" : "");
        emit_quoted(out, e->doc);
        fprintf(out, "}");
    }
    fprintf(out, "],\n\"alert_messages\": [");
    for (size_t i = 0; i < s->alerts.n; i++)
        fprintf(out, "%s\n  {\"name\": \"%s\", \"priority\": %d}", i ? "," : "",
                s->alerts.v[i].name, s->alerts.v[i].priority);
    fprintf(out, "],\n\"relations\": [");
    for (size_t i = 0; i < s->relations.n; i++) {
        const struct relation *r = &s->relations.v[i];

        fprintf(out, "%s\n  [\"%s\", \"%s\", \"%s\", \"%s\"]", i ? "," : "", r->from_class,
                r->from_field, r->to_class, r->to_field);
    }
    fprintf(out, "],\n\"roles_descending\": [");
    for (size_t i = 0; i < s->roles.n; i++)
        fprintf(out, "%s\"%s\"", i ? ", " : "", s->roles.v[i].name);
    fprintf(out, "]}\n");
}

void emit_manual(struct schema *s, FILE *out)
{
    fprintf(out, "# The XenAPI as xapid serves it\n");
    for (size_t i = 0; i < s->classes.n; i++) {
        const struct class *c = &s->classes.v[i];

        if (c->internal)
            continue;
        fprintf(out, "\n## %s\n\n%s\n", c->name, c->doc);
        if (c->fields.n)
            fprintf(out, "\n| field | type | | |\n|---|---|---|---|\n");
        for (size_t j = 0; j < c->fields.n; j++)
            if (!c->fields.v[j].internal)
                fprintf(out, "| `%s` | %s | %s | %s |\n", c->fields.v[j].name,
                        api_type_text(s, c->fields.v[j].type), c->fields.v[j].qualifier,
                        c->fields.v[j].doc);
        for (size_t j = 0; j < c->messages.n; j++) {
            const struct message *m = &c->messages.v[j];

            if (m->hidden || m->sort != M_EXPLICIT)
                continue;
            fprintf(out, "\n### %s.%s\n\n`%s %s(", c->name, m->name, api_type_text(s, m->result),
                    m->name);
            for (size_t k = 0; k < m->params.n; k++)
                fprintf(out, "%s%s %s%s", k ? ", " : "", api_type_text(s, m->params.v[k].type),
                        m->params.v[k].name, m->params.v[k].def.kind != LIT_NONE ? "?" : "");
            fprintf(out, ")`\n\n%s\n\nRole: %s.%s\n", m->doc, m->role,
                    m->deprecated ? " Deprecated." : "");
            if (m->pending)
                fprintf(out, "\nNot implemented: %s.\n", m->pending);
            for (size_t k = 0; k < m->errors.n; k++)
                fprintf(out, "%s`%s`", k ? ", " : "\nErrors: ", m->errors.v[k]);
            fprintf(out, m->errors.n ? "\n" : "");
        }
    }
    fprintf(out, "\n## Errors\n\n| code | parameters | |\n|---|---|---|\n");
    for (size_t i = 0; i < s->errors.n; i++) {
        fprintf(out, "| `%s` | ", s->errors.v[i].code);
        for (size_t j = 0; j < s->errors.v[i].params.n; j++)
            fprintf(out, "%s%s", j ? ", " : "", s->errors.v[i].params.v[j]);
        fprintf(out, " | %s |\n", s->errors.v[i].doc);
    }
}
