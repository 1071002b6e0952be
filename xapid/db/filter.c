/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/db/filter.h"

#include <string.h>

/* Bytes of made values after which filter_rows empties its arena. */
#define SCRATCH_BYTES (256 << 10)

/* One side of a comparison. */
struct side {
    const char *literal; /* NULL: a field */
    const char *name;    /* of the field */
    const struct field_desc *field;
    bool is_ref; /* "_ref": the row's own reference */
};

enum node_kind {
    NODE_CONSTANT,
    NODE_NOT,
    NODE_CHAIN,   /* a and b or c, from left to right */
    NODE_MISSING, /* looks at a field that does not exist */
    NODE_STRING,  /* the fast comparisons of a field with a literal */
    NODE_BOOL,
    NODE_INT,
    NODE_ENUM,
    NODE_REF,
    NODE_OWN_REF,
    NODE_TEXT, /* all others, by their texts */
};

struct node {
    enum node_kind kind;
    bool constant;
    bool is_or;         /* how it is joined to those before it in a chain */
    struct node *next;  /* in a chain */
    struct node *inner; /* of NOT and CHAIN */
    struct side left, right;
    const struct field_desc *field;
    int64_t number; /* of BOOL, INT, ENUM */
    ref_t ref;
};

struct filter {
    const struct class_desc *class;
    struct node *top;
    bool has_missing;
};

/*** reading ***/

enum token { END, BAD, STRING, FIELD, EQUALS, AND, OR, NOT, TRUE, FALSE, OPEN, CLOSE };

struct parser {
    struct arena *arena;
    struct filter *filter;
    const char *text, *p;
    enum token token; /* the next one */
    const char *string;
    int depth;
};

static struct error *wrong(struct parser *p, const char *reason)
{
    return error_new(p->arena, "INVALID_VALUE", 2, p->text, reason);
}

static enum token word(struct parser *p)
{
    static const struct {
        const char *word;
        enum token token;
    } words[] = {{"field", FIELD}, {"and", AND},   {"or", OR},
                 {"not", NOT},     {"true", TRUE}, {"false", FALSE}};

    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        size_t n = strlen(words[i].word);

        if (strncmp(p->p, words[i].word, n) == 0) {
            p->p += n;
            return words[i].token;
        }
    }
    return BAD;
}

static enum token quoted(struct parser *p)
{
    const char *end = strchr(++p->p, '"');

    if (!end)
        return BAD;
    p->string = arena_strndup(p->arena, p->p, (size_t)(end - p->p));
    p->p = end + 1;
    return STRING;
}

static void advance(struct parser *p)
{
    p->p += strspn(p->p, " \t\n");
    switch (*p->p) {
    case '\0':
        p->token = END;
        return;
    case '"':
        p->token = quoted(p);
        return;
    case '=':
        p->token = EQUALS;
        break;
    case '(':
        p->token = OPEN;
        break;
    case ')':
        p->token = CLOSE;
        break;
    default:
        p->token = word(p);
        return;
    }
    p->p++;
}

static const struct field_desc *find_field(const struct class_desc *class, const char *name)
{
    for (int i = 0; i < class->n_fields; i++) {
        const struct field_desc *f = &api_fields[class->first_field + i];

        if (!(f->flags & (FIELD_INTERNAL | FIELD_PSEUDO)) && strcmp(f->db_name, name) == 0)
            return f;
    }
    return NULL;
}

static struct error *parse_side(struct parser *p, struct side *side)
{
    bool is_field = p->token == FIELD;

    *side = (struct side){0};
    if (is_field)
        advance(p);
    if (p->token != STRING)
        return wrong(p, is_field ? "expected a name in double quotes after 'field'"
                                 : "expected a string in double quotes, or 'field'");
    if (is_field) {
        side->name = p->string;
        side->is_ref = strcmp(side->name, "_ref") == 0;
        side->field = side->is_ref ? NULL : find_field(p->filter->class, side->name);
    } else {
        side->literal = p->string;
    }
    advance(p);
    return OK;
}

static bool is_missing(const struct side *side)
{
    return side->name && !side->field && !side->is_ref;
}

/* Texts are equal only in their one proper spelling: "01" is no integer of the database. */
static bool parse_ref(const char *literal, ref_t *ref)
{
    char text[REF_TEXT_SIZE];

    return ref_from_text(literal, ref) && strcmp(ref_to_text(*ref, text), literal) == 0;
}

static bool parse_int(const char *literal, int64_t *i)
{
    char text[INT_TEXT_SIZE];

    if (!int_from_text(literal, i))
        return false;
    int_to_text(*i, text);
    return strcmp(text, literal) == 0;
}

/* A stored field against a literal. */
static void compile_field(struct node *node, const struct field_desc *f, const char *literal)
{
    bool possible = true;

    node->field = f;
    switch (f->type->kind) {
    case TYPE_STRING:
        node->kind = NODE_STRING;
        break;
    case TYPE_BOOL:
        node->kind = NODE_BOOL;
        node->number = strcmp(literal, "true") == 0;
        possible = node->number || strcmp(literal, "false") == 0;
        break;
    case TYPE_INT:
        node->kind = NODE_INT;
        possible = parse_int(literal, &node->number);
        break;
    case TYPE_ENUM:
        node->kind = NODE_ENUM;
        node->number = enum_by_name(f->type->enum_desc, literal);
        possible = node->number >= 0;
        break;
    case TYPE_REF:
        node->kind = NODE_REF;
        possible = parse_ref(literal, &node->ref);
        break;
    default:
        node->kind = NODE_TEXT;
    }
    if (!possible)
        node->kind = NODE_CONSTANT;
}

static void compile(struct parser *p, struct node *node)
{
    const struct side *field = node->left.literal ? &node->right : &node->left;
    const struct side *literal = node->left.literal ? &node->left : &node->right;

    node->kind = NODE_TEXT;
    if (is_missing(&node->left) || is_missing(&node->right)) {
        /* Alerts are no rows in other pools' databases: there, a field that they lack is only never
         * equal. */
        node->kind = p->filter->class->id == CLASS_message ? NODE_CONSTANT : NODE_MISSING;
        p->filter->has_missing |= node->kind == NODE_MISSING;
    } else if (field->literal) {
        node->kind = NODE_CONSTANT;
        node->constant = strcmp(field->literal, literal->literal) == 0;
    } else if (literal->literal && field->is_ref) {
        node->kind = parse_ref(literal->literal, &node->ref) ? NODE_OWN_REF : NODE_CONSTANT;
    } else if (literal->literal && field_is_stored(field->field)) {
        compile_field(node, field->field, literal->literal);
        if (node->kind == NODE_STRING && literal == &node->left) {
            struct side swap = node->left;

            node->left = node->right;
            node->right = swap;
        }
    }
}

static struct error *parse_expr(struct parser *p, struct node **out);

static struct error *parse_inner(struct parser *p, struct node **out)
{
    if (p->depth == FILTER_MAX_DEPTH)
        return wrong(p, "nested too deeply");
    p->depth++;
    advance(p);
    TRY(parse_expr(p, out));
    p->depth--;
    return OK;
}

static struct error *parse_comparison(struct parser *p, struct node *node)
{
    TRY(parse_side(p, &node->left));
    if (p->token != EQUALS)
        return wrong(p, "expected '='");
    advance(p);
    TRY(parse_side(p, &node->right));
    compile(p, node);
    return OK;
}

static struct error *parse_term(struct parser *p, struct node **out)
{
    struct node *node = arena_new(p->arena, struct node);

    *out = node;
    switch (p->token) {
    case TRUE:
    case FALSE:
        node->kind = NODE_CONSTANT;
        node->constant = p->token == TRUE;
        advance(p);
        return OK;
    case NOT:
        node->kind = NODE_NOT;
        return parse_inner(p, &node->inner);
    case OPEN:
        TRY(parse_inner(p, out));
        if (p->token != CLOSE)
            return wrong(p, "expected ')'");
        advance(p);
        return OK;
    default:
        return parse_comparison(p, node);
    }
}

static struct error *parse_expr(struct parser *p, struct node **out)
{
    struct node *chain, **last;

    TRY(parse_term(p, out));
    if (p->token != AND && p->token != OR)
        return OK;
    chain = arena_new(p->arena, struct node);
    chain->kind = NODE_CHAIN;
    chain->inner = *out;
    last = &chain->inner->next;
    while (p->token == AND || p->token == OR) {
        bool is_or = p->token == OR;

        advance(p);
        TRY(parse_term(p, last));
        (*last)->is_or = is_or;
        last = &(*last)->next;
    }
    *out = chain;
    return OK;
}

struct error *filter_parse(struct arena *arena, const struct class_desc *class, const char *text,
                           struct filter **out)
{
    struct parser p = {.arena = arena, .text = text, .p = text};

    p.filter = *out = arena_new(arena, struct filter);
    p.filter->class = class;
    if (class->id == CLASS_role) {
        p.filter->top = arena_new(arena, struct node);
        p.filter->top->constant = true;
        return OK;
    }
    if (strlen(text) > FILTER_MAX_TEXT)
        return wrong(&p, "the expression is too long");
    advance(&p);
    TRY(parse_expr(&p, &p.filter->top));
    return p.token == END ? OK : wrong(&p, "expected 'and', 'or' or the end");
}

/*** judging ***/

static const char *side_text(const struct side *side, const struct codec_env *env, const void *row)
{
    const void *value = NULL;
    void *empty;

    if (side->literal)
        return side->literal;
    if (side->is_ref)
        return ref_text(env->arena, ((const struct row *)row)->ref);
    if (field_is_stored(side->field))
        value = field_in(row, side->field);
    else if (env->field_value)
        value = env->field_value(env, row, side->field);
    if (!value) {
        empty = arena_alloc(env->arena, MAX(side->field->type->size, sizeof(void *)));
        value_empty(side->field->type, empty);
        value = empty;
    }
    return value_filter_text(env->arena, side->field->type, value);
}

/* Sets and maps without elements are most of them. */
static bool text_equal(const struct node *n, const struct codec_env *env, const void *row)
{
    const struct side *a = &n->left, *b = &n->right;

    if (a->field && b->literal && field_is_stored(a->field) &&
        (a->field->type->kind == TYPE_SET || a->field->type->kind == TYPE_MAP)) {
        const struct set *set = field_in(row, a->field);

        if (!set->n)
            return strcmp(b->literal, "()") == 0;
    }
    return strcmp(side_text(a, env, row), side_text(b, env, row)) == 0;
}

static struct error *judge(const struct node *n, const struct codec_env *env, const void *row,
                           bool *match);

static struct error *judge_chain(const struct node *chain, const struct codec_env *env,
                                 const void *row, bool *match)
{
    TRY(judge(chain->inner, env, row, match));
    for (const struct node *n = chain->inner->next; n; n = n->next)
        if (*match != n->is_or)
            TRY(judge(n, env, row, match));
    return OK;
}

static struct error *missing(const struct node *n, struct arena *arena)
{
    const struct side *side = is_missing(&n->left) ? &n->left : &n->right;

    return error_new(arena, "INTERNAL_ERROR", 3, "missing field", side->name, "");
}

static struct error *judge(const struct node *n, const struct codec_env *env, const void *row,
                           bool *match)
{
    const void *value = n->field ? field_in(row, n->field) : NULL;

    switch (n->kind) {
    case NODE_CONSTANT:
        *match = n->constant;
        return OK;
    case NODE_NOT:
        TRY(judge(n->inner, env, row, match));
        *match = !*match;
        return OK;
    case NODE_CHAIN:
        return judge_chain(n, env, row, match);
    case NODE_MISSING:
        return missing(n, env->arena);
    case NODE_STRING:
        *match = strcmp(*(const char *const *)value, n->right.literal) == 0;
        return OK;
    case NODE_BOOL:
        *match = *(const bool *)value == (n->number != 0);
        return OK;
    case NODE_INT:
        *match = *(const int64_t *)value == n->number;
        return OK;
    case NODE_ENUM:
        *match = *(const int *)value == n->number;
        return OK;
    case NODE_REF:
        *match = ref_equal(*(const ref_t *)value, n->ref);
        return OK;
    case NODE_OWN_REF:
        *match = ref_equal(((const struct row *)row)->ref, n->ref);
        return OK;
    case NODE_TEXT:
        *match = text_equal(n, env, row);
        return OK;
    }
    return OK;
}

struct error *filter_match(const struct filter *filter, const struct codec_env *env,
                           const void *row, bool *match)
{
    return judge(filter->top, env, row, match);
}

/*** all rows ***/

static bool narrows(const struct node *n)
{
    return n->kind == NODE_OWN_REF || (n->kind == NODE_STRING && n->field->index_slot >= 0) ||
           (n->kind == NODE_REF && n->field->index_slot >= 0 && !ref_is_null(n->ref));
}

/* A comparison that every match fulfils and an index answers; NULL if there is none.  A filter with
   a missing field must fail on the first row, so it is not narrowed. */
static const struct node *narrowest(const struct filter *filter)
{
    const struct node *found = NULL;

    if (filter->has_missing)
        return NULL;
    if (filter->top->kind != NODE_CHAIN)
        return narrows(filter->top) ? filter->top : NULL;
    for (const struct node *n = filter->top->inner; n; n = n->next) {
        if (n->is_or && n != filter->top->inner)
            return NULL;
        if (narrows(n) &&
            (!found || n->kind == NODE_OWN_REF || n->field->id == filter->class->uuid_field))
            found = n;
    }
    return found;
}

struct scan {
    struct arena *arena;
    struct arena scratch;
    const struct filter *filter;
    struct codec_env env;
    size_t room;
    struct rows *out;
};

static struct error *scan_row(struct scan *s, const void *row)
{
    bool match = false;

    TRY(error_copy(s->arena, filter_match(s->filter, &s->env, row, &match)));
    if (s->scratch.total > SCRATCH_BYTES)
        arena_release(&s->scratch);
    if (!match)
        return OK;
    if (s->out->n == s->room) {
        const void **more = arena_array(s->arena, const void *, s->room ? 2 * s->room : 64);

        if (s->out->n)
            memcpy(more, s->out->v, s->out->n * sizeof *more);
        s->room = s->room ? 2 * s->room : 64;
        s->out->v = more;
    }
    s->out->v[s->out->n++] = row;
    return OK;
}

static struct error *scan_some(struct scan *s, const struct db_root *root, const struct node *by)
{
    int class_id = s->filter->class->id;
    struct tree_cursor cursor;
    const struct tree_entry *e;
    struct index_walk walk;
    const void *row;
    ref_t ref;

    if (!by) {
        tree_seek(&root->tables[class_id], NULL, &cursor);
        while ((e = tree_next(&cursor)))
            TRY(scan_row(s, (const void *)e->k[2]));
        return OK;
    }
    if (by->kind == NODE_OWN_REF) {
        row = root_get(root, class_id, by->ref);
        return row ? scan_row(s, row) : OK;
    }
    index_walk(root, by->field,
               by->kind == NODE_REF ? by->ref : index_key_string(by->right.literal), &walk);
    while (index_next(&walk, &ref))
        TRY(scan_row(s, root_get(root, class_id, ref)));
    return OK;
}

struct error *filter_rows(struct arena *arena, const struct filter *filter,
                          const struct db_root *root, const struct codec_env *env, struct rows *out)
{
    struct scan s = {.arena = arena, .filter = filter, .out = out};
    struct error *e;

    *out = (struct rows){0};
    if (env)
        s.env = *env;
    s.env.arena = &s.scratch;
    e = scan_some(&s, root, narrowest(filter));
    arena_release(&s.scratch);
    return e;
}
