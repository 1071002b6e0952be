/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* parse.c -- the text of schema/: a comment above a declaration is its documentation. */
#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "schema/compiler/schemac.h"

#define MAX_DEPTH 16

enum token_kind { T_END, T_WORD, T_STRING, T_PUNCT };

struct lexer {
    struct schema *schema;
    const char *p, *end;
    struct place at;
    enum token_kind kind;
    const char *text; /* of the present token */
    struct buf doc;   /* the comment before it */
};

void schema_die(struct schema *schema, struct place at, const char *fmt, ...)
{
    va_list ap;
    int n = snprintf(schema->message, sizeof schema->message, "%s:%d: ", at.file, at.line);

    n = MIN(n, (int)sizeof schema->message - 1);
    va_start(ap, fmt);
    vsnprintf(schema->message + n, sizeof schema->message - (size_t)n, fmt, ap);
    va_end(ap);
    longjmp(schema->fail, 1);
}

void schema_add(struct arena *arena, void **v, size_t *n, size_t *room, size_t size,
                const void *item)
{
    if (*n == *room) {
        size_t more = *room ? *room * 2 : 4;
        void *grown = arena_zalloc(arena, more * size);

        if (*n)
            memcpy(grown, *v, *n * size);
        *v = grown;
        *room = more;
    }
    memcpy((char *)*v + *n * size, item, size);
    ++*n;
}

/*** lexer ***/

static void skip_blanks(struct lexer *lx)
{
    bool fresh = true;

    for (;;) {
        const char *line;
        int newlines = 0;

        while (lx->p < lx->end && isspace((unsigned char)*lx->p)) {
            if (*lx->p == '\n') {
                lx->at.line++;
                newlines++;
            }
            lx->p++;
        }
        if (newlines > 1) /* an empty line parts a comment from what follows */
            lx->doc.len = 0;
        if (lx->p == lx->end || *lx->p != '#')
            return;
        if (fresh)
            lx->doc.len = 0;
        fresh = false;
        lx->p++;
        if (lx->p < lx->end && *lx->p == ' ')
            lx->p++;
        line = lx->p;
        while (lx->p < lx->end && *lx->p != '\n')
            lx->p++;
        if (lx->doc.len)
            buf_putc(&lx->doc, ' ');
        buf_add(&lx->doc, line, (size_t)(lx->p - line));
    }
}

static void read_string(struct lexer *lx)
{
    const char *start = ++lx->p;
    char *out;

    while (lx->p < lx->end && *lx->p != '"' && *lx->p != '\n')
        lx->p += *lx->p == '\\' && lx->p + 1 < lx->end ? 2 : 1;
    if (lx->p >= lx->end || *lx->p != '"')
        schema_die(lx->schema, lx->at, "unterminated string");
    lx->text = out = arena_alloc(&lx->schema->arena, (size_t)(lx->p - start) + 1);
    for (const char *p = start; p < lx->p; p++) {
        if (*p == '\\')
            p++;
        *out++ = *p;
    }
    *out = '\0';
    lx->p++;
    lx->kind = T_STRING;
}

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '-' || c == '.';
}

static void next(struct lexer *lx)
{
    const char *start;

    skip_blanks(lx);
    start = lx->p;
    if (lx->p == lx->end) {
        lx->kind = T_END;
        lx->text = "end of file";
        return;
    }
    if (*lx->p == '"') {
        read_string(lx);
        return;
    }
    if (is_word(*lx->p) && !(*lx->p == '-' && lx->p + 1 < lx->end && lx->p[1] == '>')) {
        while (lx->p < lx->end && is_word(*lx->p))
            lx->p++;
        lx->kind = T_WORD;
    } else {
        lx->p += lx->p + 1 < lx->end && lx->p[0] == '-' && lx->p[1] == '>' ? 2 : 1;
        lx->kind = T_PUNCT;
    }
    lx->text = arena_strndup(&lx->schema->arena, start, (size_t)(lx->p - start));
}

static bool at(const struct lexer *lx, const char *s)
{
    return lx->kind != T_STRING && lx->kind != T_END && strcmp(lx->text, s) == 0;
}

static bool accept(struct lexer *lx, const char *s)
{
    if (!at(lx, s))
        return false;
    next(lx);
    return true;
}

static void expect(struct lexer *lx, const char *s)
{
    if (!accept(lx, s))
        schema_die(lx->schema, lx->at, "expected '%s', found '%s'", s, lx->text);
}

static const char *word(struct lexer *lx, const char *what)
{
    const char *w = lx->text;

    if (lx->kind != T_WORD)
        schema_die(lx->schema, lx->at, "expected %s, found '%s'", what, lx->text);
    next(lx);
    return w;
}

/* A name, or one with blanks or other characters in quotes. */
static const char *word_or_string(struct lexer *lx, const char *what)
{
    const char *w = lx->text;

    if (lx->kind != T_STRING)
        return word(lx, what);
    next(lx);
    return w;
}

/* What follows 'pending': why, for those who miss it. */
static const char *reason(struct lexer *lx)
{
    if (lx->kind != T_STRING || !*lx->text)
        schema_die(lx->schema, lx->at, "say why: pending \"reason\"");
    return word_or_string(lx, "a reason");
}

static const char *take_doc(struct lexer *lx, const char *what)
{
    const char *d;

    if (!lx->doc.len)
        schema_die(lx->schema, lx->at, "%s has no documentation: write a comment above it", what);
    d = arena_strndup(&lx->schema->arena, lx->doc.data, lx->doc.len);
    lx->doc.len = 0;
    return d;
}

/*** parts ***/

static struct type_node *type(struct lexer *lx, int depth)
{
    static const struct {
        const char *word;
        enum kind kind;
    } plain[] = {{"void", K_VOID}, {"string", K_STRING}, {"int", K_INT},
                 {"bool", K_BOOL}, {"float", K_FLOAT},   {"datetime", K_DATETIME}};
    struct type_node *t = arena_new(&lx->schema->arena, struct type_node);

    if (depth > MAX_DEPTH)
        schema_die(lx->schema, lx->at, "type nested too deeply");
    t->at = lx->at;
    t->id = -1;
    t->secret = accept(lx, "secret");
    for (size_t i = 0; i < ARRAY_SIZE(plain); i++) {
        if (accept(lx, plain[i].word)) {
            t->kind = plain[i].kind;
            return t;
        }
    }
    if (accept(lx, "ref")) {
        t->kind = K_REF;
        t->name = word(lx, "a class");
    } else if (accept(lx, "record")) {
        t->kind = K_RECORD;
        t->name = word(lx, "a class");
    } else if (accept(lx, "set")) {
        t->kind = K_SET;
        t->elem = type(lx, depth + 1);
    } else if (accept(lx, "option")) {
        t->kind = K_OPTION;
        t->elem = type(lx, depth + 1);
    } else if (accept(lx, "map")) {
        t->kind = K_MAP;
        t->key = type(lx, depth + 1);
        t->elem = type(lx, depth + 1);
    } else {
        t->kind = K_ENUM;
        t->name = word(lx, "a type");
    }
    return t;
}

static struct literal literal(struct lexer *lx, int depth)
{
    struct literal l = {.text = lx->text};
    LIST(struct literal) items = {0};

    if (depth > MAX_DEPTH)
        schema_die(lx->schema, lx->at, "value nested too deeply");
    if (lx->kind == T_STRING) {
        l.kind = LIT_STRING;
        next(lx);
        return l;
    }
    if (lx->kind == T_WORD) {
        l.kind = isdigit((unsigned char)lx->text[0]) || lx->text[0] == '-' ? LIT_NUMBER : LIT_WORD;
        next(lx);
        return l;
    }
    expect(lx, "{");
    l.kind = LIT_LIST;
    while (!accept(lx, "}")) {
        ADD(lx->schema, items, (struct literal[]){literal(lx, depth + 1)}[0]);
        if (accept(lx, ":")) {
            l.pairs = true;
            ADD(lx->schema, items, (struct literal[]){literal(lx, depth + 1)}[0]);
        }
        if (!accept(lx, ",") && !at(lx, "}"))
            schema_die(lx->schema, lx->at, "expected ',' or '}', found '%s'", lx->text);
    }
    l.n = items.n;
    l.v = items.v;
    return l;
}

static struct param param(struct lexer *lx)
{
    struct param p = {.name = word(lx, "a name")};

    expect(lx, ":");
    p.type = type(lx, 0);
    if (accept(lx, "="))
        p.def = literal(lx, 0);
    return p;
}

static struct key_role key_role(struct lexer *lx)
{
    struct key_role k = {.pattern = word_or_string(lx, "a key")};

    k.role = word(lx, "a role");
    return k;
}

/* One of a list of words that set a flag each. */
struct flag {
    const char *word;
    bool *flag;
};

static bool accept_flag(struct lexer *lx, const struct flag *flags, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (accept(lx, flags[i].word)) {
            *flags[i].flag = true;
            return true;
        }
    }
    return false;
}

/* Of the database, as xapid/db/level.h has it. */
static int level(struct lexer *lx)
{
    const char *text = word(lx, "a level");
    char *end;
    long n = strtol(text, &end, 10);

    if (*end || n < 2 || n > 255)
        schema_die(lx->schema, lx->at, "'%s' is no level: they count from 1, which all have", text);
    return (int)n;
}

static void field_attribute(struct lexer *lx, struct field *f)
{
    const struct flag flags[] = {
        {"transient", &f->transient},   {"untracked", &f->untracked},
        {"pseudo", &f->pseudo},         {"computed", &f->computed},
        {"deprecated", &f->deprecated}, {"prototyped", &f->prototyped},
        {"internal", &f->internal},
    };

    if (accept(lx, "role"))
        f->write_role = word(lx, "a role");
    else if (accept(lx, "read-role"))
        f->read_role = word(lx, "a role");
    else if (accept(lx, "since"))
        f->since = level(lx);
    else if (accept(lx, "key"))
        ADD(lx->schema, f->keys, (struct key_role[]){key_role(lx)}[0]);
    else if (!accept_flag(lx, flags, ARRAY_SIZE(flags)))
        schema_die(lx->schema, lx->at, "field %s: unknown word '%s'", f->name, lx->text);
}

static void field(struct lexer *lx, struct class *class)
{
    struct field f = {.at = lx->at, .relation = -1, .inverse = -1, .since = 1};
    struct param p;

    f.doc = take_doc(lx, lx->text);
    p = param(lx);
    f.name = p.name;
    f.type = p.type;
    f.def = p.def;
    if (!at(lx, "ro") && !at(lx, "rw") && !at(lx, "config"))
        schema_die(lx->schema, lx->at, "field %s: say 'ro', 'config' or 'rw'", f.name);
    f.qualifier = word(lx, "a qualifier");
    while (accept(lx, ","))
        field_attribute(lx, &f);
    expect(lx, ";");
    ADD(lx->schema, class->fields, f);
}

static void message_attribute(struct lexer *lx, struct message *m)
{
    const struct flag flags[] = {
        {"async", &m->async},
        {"hidden", &m->hidden},
        {"pool-internal", &m->pool_internal},
        {"no-session", &m->no_session},
        {"emergency", &m->emergency},
        {"secret", &m->secret},
        {"local", &m->local},
        {"pure", &m->pure},
        {"custom-reply", &m->custom_reply},
        {"deprecated", &m->deprecated},
        {"prototyped", &m->prototyped},
        {"unlogged", &m->unlogged},
    };

    if (accept(lx, "role"))
        m->role = word(lx, "a role");
    else if (accept(lx, "pending"))
        m->pending = reason(lx);
    else if (accept(lx, "key"))
        ADD(lx->schema, m->keys, (struct key_role[]){key_role(lx)}[0]);
    else if (!accept_flag(lx, flags, ARRAY_SIZE(flags)))
        schema_die(lx->schema, lx->at, "message %s: unknown word '%s'", m->name, lx->text);
}

static void message(struct lexer *lx, struct class *class)
{
    struct message m = {.at = lx->at, .field = -1};

    m.doc = take_doc(lx, "message");
    m.name = word(lx, "a name");
    expect(lx, "(");
    while (!accept(lx, ")")) {
        ADD(lx->schema, m.params, (struct param[]){param(lx)}[0]);
        if (!accept(lx, ",") && !at(lx, ")"))
            schema_die(lx->schema, lx->at, "expected ',' or ')', found '%s'", lx->text);
    }
    if (accept(lx, ":")) {
        m.result = type(lx, 0);
    } else {
        m.result = arena_new(&lx->schema->arena, struct type_node);
        m.result->at = m.at;
    }
    while (!at(lx, "errors") && !at(lx, ";")) {
        message_attribute(lx, &m);
        accept(lx, ",");
    }
    if (accept(lx, "errors"))
        do
            ADD(lx->schema, m.errors, (const char *[]){word(lx, "an error")}[0]);
        while (accept(lx, ","));
    if (!m.role)
        schema_die(lx->schema, m.at, "message %s.%s has no role", class->name, m.name);
    expect(lx, ";");
    ADD(lx->schema, class->messages, m);
}

static void class_attribute(struct lexer *lx, struct class *c)
{
    const struct flag flags[] = {
        {"stored", &c->stored},         {"kept", &c->kept},        {"volatile", &c->is_volatile},
        {"persistent", &c->persistent}, {"events", &c->events},    {"all", &c->all},
        {"internal", &c->internal},     {"static", &c->is_static}, {"deprecated", &c->deprecated},
        {"prototyped", &c->prototyped},
    };

    if (accept(lx, "namespaces"))
        while (lx->kind == T_WORD)
            ADD(lx->schema, c->namespaces, (const char *[]){word(lx, "a namespace")}[0]);
    else if (accept(lx, "read-role"))
        c->read_role = word(lx, "a role");
    else if (accept(lx, "create"))
        c->create_role = word(lx, "a role");
    else if (accept(lx, "pending"))
        c->create_pending = reason(lx);
    else if (!accept_flag(lx, flags, ARRAY_SIZE(flags)))
        schema_die(lx->schema, lx->at, "class %s: unknown word '%s'", c->name, lx->text);
}

static void class_decl(struct lexer *lx)
{
    struct class c = {.at = lx->at};

    c.doc = take_doc(lx, "class");
    c.name = word(lx, "a class name");
    if (schema_class(lx->schema, c.name))
        schema_die(lx->schema, c.at, "class %s is declared twice", c.name);
    c.lower = c_lower(lx->schema, c.name);
    if (accept(lx, ":"))
        do
            class_attribute(lx, &c);
        while (accept(lx, ","));
    expect(lx, "{");
    while (!accept(lx, "}")) {
        if (accept(lx, "message"))
            message(lx, &c);
        else
            field(lx, &c);
    }
    ADD(lx->schema, lx->schema->classes, c);
}

static void enum_declaration(struct lexer *lx)
{
    struct enum_decl e = {.at = lx->at};

    e.doc = take_doc(lx, "enum");
    e.name = word(lx, "a name");
    e.prefix = accept(lx, "as") ? word(lx, "a prefix") : c_upper(lx->schema, e.name);
    if (schema_enum(lx->schema, e.name))
        schema_die(lx->schema, e.at, "enum %s is declared twice", e.name);
    expect(lx, "{");
    do
        ADD(lx->schema, e.values, (const char *[]){word_or_string(lx, "a value")}[0]);
    while (accept(lx, ","));
    expect(lx, "}");
    ADD(lx->schema, lx->schema->enums, e);
}

static void error_declaration(struct lexer *lx)
{
    struct error_decl e = {.at = lx->at};

    e.doc = take_doc(lx, "error");
    e.code = word(lx, "an error code");
    if (accept(lx, "(")) {
        e.declared = true;
        while (!accept(lx, ")")) {
            ADD(lx->schema, e.params, (const char *[]){word_or_string(lx, "a parameter")}[0]);
            if (!accept(lx, ",") && !at(lx, ")"))
                schema_die(lx->schema, lx->at, "expected ',' or ')', found '%s'", lx->text);
        }
    }
    expect(lx, ";");
    ADD(lx->schema, lx->schema->errors, e);
}

static void split_dotted(struct lexer *lx, const char **a, const char **b)
{
    const char *w = word(lx, "Class.field");
    const char *dot = strchr(w, '.');

    if (!dot || dot == w || !dot[1])
        schema_die(lx->schema, lx->at, "expected Class.field, found '%s'", w);
    *a = arena_strndup(&lx->schema->arena, w, (size_t)(dot - w));
    *b = dot + 1;
}

static void relation_declaration(struct lexer *lx)
{
    struct relation r = {.at = lx->at};

    split_dotted(lx, &r.from_class, &r.from_field);
    expect(lx, "->");
    split_dotted(lx, &r.to_class, &r.to_field);
    expect(lx, ";");
    ADD(lx->schema, lx->schema->relations, r);
}

static void intent_steps(struct lexer *lx, struct intent *i)
{
    do
        ADD(lx->schema, i->steps, (const char *[]){word(lx, "a step")}[0]);
    while (accept(lx, ","));
}

static void intent_declaration(struct lexer *lx)
{
    struct intent i = {.at = lx->at};

    i.doc = take_doc(lx, "intent");
    i.name = word(lx, "a name");
    expect(lx, "{");
    while (!accept(lx, "}")) {
        if (accept(lx, "steps"))
            intent_steps(lx, &i);
        else
            ADD(lx->schema, i.fields, (struct param[]){param(lx)}[0]);
        expect(lx, ";");
    }
    ADD(lx->schema, lx->schema->intents, i);
}

static void small_declaration(struct lexer *lx)
{
    struct schema *s = lx->schema;

    if (accept(lx, "alert")) {
        struct alert a = {.name = word(lx, "a name")};

        a.priority = atoi(word(lx, "a priority"));
        ADD(s, s->alerts, a);
    } else if (accept(lx, "role")) {
        struct role_decl r = {.doc = take_doc(lx, "role")};

        r.name = word(lx, "a role");
        ADD(s, s->roles, r);
    } else if (accept(lx, "action")) {
        struct action a = {.name = word(lx, "a name")};

        a.method = word(lx, "a method");
        a.path = word_or_string(lx, "a path");
        a.role = word(lx, "a role");
        ADD(s, s->actions, a);
    } else if (accept(lx, "permission")) {
        ADD(s, s->permissions, (struct key_role[]){key_role(lx)}[0]);
    } else if (accept(lx, "removed")) {
        expect(lx, "class");
        do
            ADD(s, s->removed, (const char *[]){word(lx, "a class")}[0]);
        while (accept(lx, ","));
    } else {
        schema_die(s, lx->at, "expected a declaration, found '%s'", lx->text);
    }
    expect(lx, ";");
}

void schema_parse(struct schema *schema, const char *file, const char *text, size_t size)
{
    struct lexer lx = {.schema = schema, .p = text, .end = text + size, .at = {file, 1}};

    if (memchr(text, '\0', size))
        schema_die(schema, lx.at, "a NUL byte in the text");
    /* In the arena and large enough for any comment, so that schema_die leaks nothing. */
    lx.doc.data = arena_alloc(&schema->arena, size + 2);
    lx.doc.size = size + 2;
    next(&lx);
    while (lx.kind != T_END) {
        if (accept(&lx, "class"))
            class_decl(&lx);
        else if (accept(&lx, "enum"))
            enum_declaration(&lx);
        else if (accept(&lx, "error"))
            error_declaration(&lx);
        else if (accept(&lx, "relation"))
            relation_declaration(&lx);
        else if (accept(&lx, "intent"))
            intent_declaration(&lx);
        else
            small_declaration(&lx);
    }
}
