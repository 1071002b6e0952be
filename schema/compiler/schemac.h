/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * schemac.h -- the schema compiler: text of schema/ to tables.
 *
 * parse.c reads .api files into struct schema; check.c derives what the text leaves out (implicit
 * messages, the other sides of relations) and refuses what does not fit together; emit_*.c write
 * the outputs.  All memory is in the schema's arena.
 */
#pragma once

#include <setjmp.h>
#include <stdio.h>

#include "libxapi/base/arena.h"
#include "libxapi/base/buf.h"

#define MAX_ITEMS 65535

enum kind {
    K_VOID,
    K_STRING,
    K_INT,
    K_BOOL,
    K_FLOAT,
    K_DATETIME,
    K_REF,
    K_ENUM,
    K_SET,
    K_MAP,
    K_RECORD,
    K_OPTION,
};

struct place {
    const char *file;
    int line;
};

struct type_node {
    enum kind kind;
    bool secret;
    const char *name; /* of ref, record: the class; of enum: the enum */
    struct type_node *key, *elem;
    struct place at;
    int id; /* place in schema.types once checked */
};

enum literal_kind { LIT_NONE, LIT_STRING, LIT_NUMBER, LIT_WORD, LIT_LIST };

struct literal {
    enum literal_kind kind;
    const char *text;
    size_t n;
    struct literal *v; /* LIT_LIST: elements; of a map: key, value, key, value ... */
    bool pairs;
};

struct key_role {
    const char *pattern, *role;
};

/* A growing list in the arena. */
#define LIST(type)                                                                                 \
    struct {                                                                                       \
        size_t n, room;                                                                            \
        type *v;                                                                                   \
    }

struct param {
    const char *name;
    struct type_node *type;
    struct literal def; /* LIT_NONE: required */
};

struct field {
    struct place at;
    const char *name, *doc, *qualifier; /* "ro", "config", "rw" */
    struct type_node *type;
    struct literal def;
    const char *write_role, *read_role;
    bool transient, untracked, pseudo, computed, deprecated, prototyped, internal;
    LIST(struct key_role) keys;
    int relation, inverse; /* ids, or -1 */
    int since;             /* the level of the database that it came with */
    int id;
};

enum message_sort {
    M_EXPLICIT,
    M_GET,
    M_SET,
    M_ADD,
    M_REMOVE,
    M_GET_BY_UUID,
    M_GET_BY_NAME_LABEL,
    M_GET_RECORD,
    M_GET_ALL,
    M_GET_ALL_WHERE,
    M_GET_ALL_RECORDS,
    M_GET_ALL_RECORDS_WHERE,
    M_CREATE,
    M_DESTROY,
};

struct message {
    struct place at;
    const char *name, *doc, *role;
    const char *pending; /* why it is not implemented; NULL: it is */
    enum message_sort sort;
    LIST(struct param) params;
    struct type_node *result;
    bool async, hidden, pool_internal, no_session, emergency, secret, local, pure;
    bool unlogged; /* like secret, where the reference does not say so */
    bool custom_reply, deprecated, prototyped;
    LIST(struct key_role) keys;
    LIST(const char *) errors;
    int field; /* id, or -1 */
    int id;
};

struct class
{
    struct place at;
    const char *name, *lower, *doc, *read_role, *create_role;
    bool stored, kept, is_volatile, persistent, events, all, internal, is_static;
    bool deprecated, prototyped;
    const char *create_pending; /* why create and destroy are not implemented; NULL: they are */
    LIST(const char *) namespaces;
    LIST(struct field) fields;
    LIST(struct message) messages;
    int id;
};

struct enum_decl {
    struct place at;
    const char *name, *doc, *prefix;
    LIST(const char *) values;
    int id;
};

struct error_decl {
    struct place at;
    const char *code, *doc;
    bool declared; /* has a parameter list */
    LIST(const char *) params;
};

struct relation {
    struct place at;
    const char *from_class, *from_field, *to_class, *to_field;
};

struct alert {
    const char *name;
    int priority;
};

struct role_decl {
    const char *name, *doc;
};

struct action {
    const char *name, *method, *path, *role;
};

struct intent {
    struct place at;
    const char *name, *doc;
    LIST(struct param) fields;
    LIST(const char *) steps; /* for tests alone */
};

struct schema {
    struct arena arena;
    LIST(struct class) classes;
    LIST(struct enum_decl) enums;
    LIST(struct error_decl) errors;
    LIST(struct relation) relations;
    LIST(struct alert) alerts;
    LIST(struct role_decl) roles;
    LIST(struct action) actions;
    LIST(struct key_role) permissions;
    LIST(struct intent) intents;
    LIST(const char *) removed;
    LIST(struct type_node *) types; /* interned */
    int n_fields, n_messages;
    /* Where a mistake is reported: the text goes to 'message' and control returns to 'fail'. */
    jmp_buf fail;
    char message[1024];
};

void schema_add(struct arena *arena, void **v, size_t *n, size_t *room, size_t size,
                const void *item);
#define ADD(schema, list, ...)                                                                     \
    schema_add(&(schema)->arena, (void **)&(list).v, &(list).n, &(list).room, sizeof *(list).v,    \
               &(__VA_ARGS__))

/* Reports a mistake and does not return. */
void schema_die(struct schema *schema, struct place at, const char *fmt, ...) PRINTF_LIKE(3, 4)
    __attribute__((noreturn));

/* Adds the declarations of one file.  schema->fail must be set. */
void schema_parse(struct schema *schema, const char *file, const char *text, size_t size);
/* Completes and checks; ids are valid afterwards. */
void schema_check(struct schema *schema);

struct class *schema_class(struct schema *schema, const char *name);
struct enum_decl *schema_enum(struct schema *schema, const char *name);
struct field *class_field(struct class *class, const char *name);

/* C spelling. */
const char *c_lower(struct schema *schema, const char *name);
const char *c_upper(struct schema *schema, const char *name);
/* A field's name in its struct: lower case, and not in the way of ROW_HEADER. */
const char *c_member(struct schema *schema, const char *name);
/* "const char *", "struct strmap " ...: ends so that a name can follow. */
const char *c_type(struct schema *schema, const struct type_node *t);
/* As the API's documents write it. */
const char *api_type_text(struct schema *schema, const struct type_node *t);
bool field_is_derived(const struct field *f);
bool message_is_implemented(const struct message *m);
/* A string as a C or JSON literal, with quotes. */
void emit_quoted(FILE *out, const char *s);

void emit_header(struct schema *schema, FILE *out);        /* api_types.h */
void emit_tables(struct schema *schema, FILE *out);        /* api_tables.c */
void emit_daemon_header(struct schema *schema, FILE *out); /* api_daemon.h */
void emit_daemon(struct schema *schema, FILE *out); /* api_daemon.c: errors, dispatch, intents */
void emit_client_header(struct schema *schema, FILE *out); /* xapi/api.h */
void emit_client(struct schema *schema, FILE *out);        /* api_client.c */
void emit_json(struct schema *schema, FILE *out);
void emit_manual(struct schema *schema, FILE *out);
