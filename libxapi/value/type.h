/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * type.h -- the tables schemac makes from schema/, and how a value of each type looks in memory.
 *
 *   string    const char *, UTF-8, never NULL        int       int64_t
 *   bool      bool                                   float     double
 *   datetime  usec_t since the epoch                 ref       ref_t
 *   enum      int, index into the enum's names       set of T  struct set, v points to n values of
 * T map K V   struct map, v points to n entries: K, then V at type->value_offset, every
 * type->entry_size bytes record C  const struct <class> *, never NULL     option T  const T *, NULL
 * when absent
 *
 * Rows, arguments and results all have these shapes, so one walker per purpose (XML-RPC, JSON,
 * SQLite, the log's entries, copying, comparing) serves everything.
 */
#pragma once

#include "libxapi/base/base.h"

enum type_kind {
    TYPE_VOID,
    TYPE_STRING,
    TYPE_INT,
    TYPE_BOOL,
    TYPE_FLOAT,
    TYPE_DATETIME,
    TYPE_REF,
    TYPE_ENUM,
    TYPE_SET,
    TYPE_MAP,
    TYPE_RECORD,
    TYPE_OPTION,
};

struct enum_desc {
    const char *name;
    const char *doc;
    const char *const *names; /* as spelled on the wire */
    int n;
};

struct class_desc;

/* Types are interned: equal types are the same pointer. */
struct type {
    enum type_kind kind;
    bool secret;                       /* never logged */
    uint16_t size;                     /* bytes of one value in memory */
    uint16_t value_offset, entry_size; /* of map entries */
    int class_id; /* of ref and record; -1: any class (event snapshots), or one that was removed
                     from the API */
    const char *class_name; /* of ref and record, as the wire and errors name it */
    const struct enum_desc *enum_desc;
    const struct type *key;  /* of map */
    const struct type *elem; /* of set, map and option */
    const char *text;        /* as the API's documents write it: "map(string -> ref blob)" */
};

struct set {
    size_t n;
    const void *v;
};
struct map {
    size_t n;
    const void *v;
};

/* The same two shapes with their element types; all have the layout of struct set. */
struct strings {
    size_t n;
    const char *const *v;
};
struct refs {
    size_t n;
    const ref_t *v;
};
struct enums {
    size_t n;
    const int *v;
};
struct ints {
    size_t n;
    const int64_t *v;
};
struct strmap {
    size_t n;
    const struct strpair {
        const char *key, *value;
    } * v;
};
struct enummap { /* string -> enum, for current_operations */
    size_t n;
    const struct enumpair {
        const char *key;
        int value;
    } * v;
};
struct refmap { /* string -> ref */
    size_t n;
    const struct refpair {
        const char *key;
        ref_t value;
    } * v;
};

/* Roles from the most to the least powerful, as in roles.api; a role may do all that those after it
 * may. */
enum role_id {
    ROLE_LOCAL_ROOT, /* only root on this host or the pool itself; not a role one can be given */
    ROLE_POOL_ADMIN,
    ROLE_POOL_OPERATOR,
    ROLE_VM_POWER_ADMIN,
    ROLE_VM_ADMIN,
    ROLE_VM_OPERATOR,
    ROLE_CLIENT_CERT,
    ROLE_READ_ONLY,
    ROLE_COUNT,
};

/* "Keys matching this pattern (a trailing * is a wildcard) may be written with this role." */
struct map_key_role {
    const char *pattern;
    enum role_id role;
};

enum field_flags {
    FIELD_RO = 1 << 0,        /* set by xapid only ("RO dynamic") */
    FIELD_CONFIG = 1 << 1,    /* given at creation, then changed only by messages ("RO static") */
    FIELD_RW = 1 << 2,        /* set by users */
    FIELD_TRANSIENT = 1 << 3, /* reset to its default when its owner starts */
    FIELD_DERIVED =
        1 << 4, /* the other side of a relation: never stored, found by the index of 'relation' */
    FIELD_COMPUTED = 1 << 5,  /* allowed_operations: a function of the snapshot, never stored */
    FIELD_UNTRACKED = 1 << 6, /* a reference that may dangle */
    FIELD_INDEXED =
        1 << 7, /* uuid, name_label and every stored reference, set or map of references */
    FIELD_HAS_DEFAULT = 1 << 8, /* a constructor may leave it out */
    FIELD_INTERNAL = 1 << 9,    /* not part of the API's records */
    FIELD_PSEUDO = 1 << 10,     /* event.snapshot */
    FIELD_DEPRECATED = 1 << 11,
};

struct field_desc {
    const char *name;    /* "name_label" */
    const char *db_name; /* as filters spell it, "name__label" */
    const char *doc;
    const struct type *type;
    uint16_t class_id;
    uint16_t id;     /* index into api_fields */
    uint16_t index;  /* place among the fields of its class */
    uint16_t flags;  /* enum field_flags */
    uint16_t offset; /* in the class's struct; unused for FIELD_DERIVED and FIELD_COMPUTED */
    int relation;    /* FIELD_DERIVED: id of the field on the other side that is stored; else -1 */
    int inverse;     /* of a stored field: id of the derived field on the other side, else -1 */
    uint8_t since;   /* the level of the database that it came with (xapid/db/level.h) */
    int16_t index_slot; /* of FIELD_INDEXED: which index; else -1 */
    uint32_t hash;      /* of "VM.name_label": how log entries name the field across versions */
    enum role_id read_role, write_role;
    const struct map_key_role *map_key_roles; /* ends with a NULL pattern; may be NULL */
    const void *default_value; /* of 'type'; NULL where every constructor must give one */
};

enum message_kind {
    MESSAGE_EXPLICIT,
    MESSAGE_GET, /* get_<field> */
    MESSAGE_SET,
    MESSAGE_ADD, /* add_to_<map> or add_<set> */
    MESSAGE_REMOVE,
    MESSAGE_GET_BY_UUID,
    MESSAGE_GET_BY_NAME_LABEL,
    MESSAGE_GET_RECORD,
    MESSAGE_GET_ALL,
    MESSAGE_GET_ALL_WHERE,
    MESSAGE_GET_ALL_RECORDS,
    MESSAGE_GET_ALL_RECORDS_WHERE,
    MESSAGE_CREATE,
    MESSAGE_DESTROY,
};

enum message_flags {
    MESSAGE_ASYNC = 1 << 0,         /* Async.<class>.<message> exists */
    MESSAGE_NO_SESSION = 1 << 1,    /* no session_id parameter: logins */
    MESSAGE_POOL_INTERNAL = 1 << 2, /* only for sessions of the pool itself */
    MESSAGE_SECRET = 1 << 3,        /* parameters are never logged */
    MESSAGE_HIDDEN = 1 << 4,        /* left out of the manual */
    MESSAGE_DEPRECATED = 1 << 5,
    MESSAGE_EMERGENCY = 1 << 6, /* answered without a quorum */
    MESSAGE_LOCAL = 1 << 7,     /* never passed on to the coordinator */
    MESSAGE_PENDING = 1 << 8,   /* answers NOT_IMPLEMENTED */
    MESSAGE_PURE = 1 << 9,      /* changes nothing: no audit line */
    MESSAGE_CUSTOM_REPLY =
        1 << 10, /* event.from, event.next: the implementation encodes the reply */
    MESSAGE_PROTOTYPED = 1 << 11,
};

struct param_desc {
    const char *name;
    const struct type *type;
    uint16_t offset; /* in the message's args struct */
    bool optional;
    const void *default_value; /* of 'type'; NULL: all zero (the empty value) */
};

struct message_desc {
    const char *name;      /* "start" */
    const char *full_name; /* "VM.start" */
    const char *doc;
    uint16_t class_id;
    uint16_t id; /* index into api_messages */
    uint16_t flags;
    uint8_t kind;                 /* enum message_kind */
    uint8_t n_params, n_required; /* without session_id */
    int field; /* of MESSAGE_GET, _SET, _ADD, _REMOVE: id of the field, else -1 */
    uint16_t args_size;
    enum role_id role;
    const struct param_desc *params;
    const struct type *result;
    const struct map_key_role *map_key_roles;
    const char *const *errors; /* ends with NULL */
};

enum class_flags {
    CLASS_STORED = 1 << 0,     /* has rows in the database */
    CLASS_PERSISTENT = 1 << 1, /* rows survive their owner's start */
    CLASS_EVENTS = 1 << 2,
    CLASS_ALL = 1 << 3,      /* get_all and its relatives exist */
    CLASS_INTERNAL = 1 << 4, /* not part of the API: the intents of operations */
    CLASS_STATIC =
        1 << 5, /* roles: rows made from the schema, the same on every member, never in the log */
    CLASS_PUBLIC_DB = 1 << 6, /* the facts call it "in database" */
    CLASS_DEPRECATED = 1 << 7,
    CLASS_PROTOTYPED = 1 << 8,
};

struct class_desc {
    const char *name;  /* "VM" */
    const char *lower; /* "vm": events and the command line */
    const char *doc;
    uint16_t id;
    uint16_t flags;
    uint16_t struct_size; /* of struct vm; 0 for classes without fields */
    uint16_t n_fields, n_messages;
    uint16_t first_field, first_message; /* in api_fields, api_messages */
    int uuid_field, name_label_field;    /* ids, or -1 */
    const struct type *record_type;
    const struct type *ref_type;
};

struct error_desc {
    const char *code;
    const char *doc; /* the sentence users read */
    int n_params;    /* -1: the reference does not declare them */
    const char *const *params;
};

/* An HTTP handler's permission, "http/<name>". */
struct action_desc {
    const char *name, *method, *path;
    enum role_id role;
};

struct alert_desc {
    const char *name;
    int priority;
};

/*
 * The head of every struct that schemac makes from a class, and the part common to all rows.  A row
 * is one block of memory: the struct, then the strings, sets and maps it points to.  Rows never
 * change; they are counted.
 */
#define ROW_HEADER                                                                                 \
    ref_t ref;                                                                                     \
    uint64_t row_created; /* revision of the write-set that made it */                             \
    uint64_t row_version; /* revision of the last change of a stored field */                      \
    uint32_t row_size;    /* bytes of the block */                                                 \
    uint16_t row_class

struct row {
    ROW_HEADER;
};

/* The tables, written by schemac. */
extern const struct type api_types[];
extern const struct class_desc api_classes[];
extern const size_t api_n_classes;
extern const struct field_desc api_fields[];
extern const size_t api_n_fields;
extern const struct message_desc api_messages[];
extern const size_t api_n_messages;
extern const struct enum_desc *const api_enums[];
extern const size_t api_n_enums;
extern const struct error_desc api_errors[]; /* sorted by code */
extern const size_t api_n_errors;
extern const struct alert_desc api_alerts[];
extern const size_t api_n_alerts;
extern const char *const api_role_names[]; /* by enum role_id; ROLE_LOCAL_ROOT is "local-root" */
extern const char *const api_role_docs[];
extern const struct action_desc api_actions[];
extern const size_t api_n_actions;
extern const struct map_key_role
    api_permissions[];                       /* permissions that are no message; ends with NULL */
extern const uint16_t api_messages_sorted[]; /* ids by full_name, in strcmp order */
extern const uint16_t api_fields_by_hash[];  /* ids by hash */
extern const uint32_t api_schema_hash;       /* changes with every change of a stored field */
extern const unsigned api_level;             /* the highest 'since' */

/* By name, exactly as the wire spells it; NULL if there is none. */
const struct class_desc *api_class_by_name(const char *name);
/* The same without regard to case, as event subscriptions want it. */
const struct class_desc *api_class_by_lower(const char *name);
/* "VM.start" or "VM_start"; not "Async.VM.start". */
const struct message_desc *api_message_by_name(const char *full_name);
const struct field_desc *api_field_by_name(const struct class_desc *class, const char *name);
const struct field_desc *api_field_by_hash(uint32_t hash);
const struct class_desc *api_class_by_hash(uint32_t hash);
/* FNV-1a of the class's name: how log entries name a class across versions. */
uint32_t api_class_hash(const struct class_desc *class);
/* FNV-1a, 32 bits: field_desc.hash is that of "VM.name_label". */
uint32_t api_name_hash(const char *name);
const struct error_desc *api_error_by_code(const char *code);

/* Where a field's value lies in a row. */
static inline const void *field_in(const void *row, const struct field_desc *f)
{
    return (const char *)row + f->offset;
}
