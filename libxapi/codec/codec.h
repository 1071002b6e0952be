/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * codec.h -- values on the wire: XML-RPC, and JSON-RPC 1.0 and 2.0.
 *
 * Reading goes in two steps: bytes to a small tree (struct wire, untyped), then tree to typed values by the tables of
 * type.h.  Writing goes straight from typed values to bytes.  Everything read from outside has limits; nothing recurses
 * deeper than WIRE_MAX_DEPTH.
 */
#pragma once

#include "libxapi/base/arena.h"
#include "libxapi/base/buf.h"
#include "libxapi/value/type.h"

#define WIRE_MAX_DEPTH 64
#define WIRE_MAX_NODES 200000

enum wire_kind {
    WIRE_NIL,
    WIRE_STRING, /* also an XML value without a type */
    WIRE_INT,
    WIRE_BOOL,
    WIRE_DOUBLE,
    WIRE_DATE, /* text as sent */
    WIRE_ARRAY,
    WIRE_STRUCT, /* children have names */
};

struct wire {
    enum wire_kind kind;
    const char *name; /* member name inside a struct, else NULL */
    const char *text; /* of WIRE_STRING, _DATE and of numbers as sent */
    int64_t i;        /* of WIRE_INT, WIRE_BOOL */
    double d;         /* of WIRE_DOUBLE */
    size_t n;
    const struct wire *v; /* children, in the order sent */
};

enum rpc_protocol { RPC_XML, RPC_JSON_1, RPC_JSON_2 };

struct rpc_request {
    enum rpc_protocol protocol;
    const char *method;
    const char *id; /* of JSON: the raw JSON text, echoed as it came */
    size_t n_params;
    const struct wire *params;
    bool bad_utf8; /* some parameter is not UTF-8: answered INVALID_VALUE, not refused */
};

/* Reads a request.  On failure returns false and a sentence for the log in *why. */
bool xmlrpc_read_request(struct arena *arena, const char *body, size_t n, struct rpc_request *out,
                         const char **why);
bool jsonrpc_read_request(struct arena *arena, const char *body, size_t n, struct rpc_request *out,
                          const char **why);

/* Reads a reply, for clients.  *value is set on success, *error (in the arena) where the server answered a failure. */
bool xmlrpc_read_reply(struct arena *arena, const char *body, size_t n, const struct wire **value,
                       struct error **error, const char **why);
/* Reads one "<value>...</value>", as tasks carry it in their result. */
bool xmlrpc_read_value(struct arena *arena, const char *text, size_t n, const struct wire **value);

/*
 * Converts a tree to a typed value in the arena.  Errors: HANDLE_INVALID(class, text) for a reference that cannot be one,
 * INVALID_VALUE for a bad enum or date, MESSAGE_PARAMETER... is the caller's matter, INTERNAL_ERROR for a wrong shape; 'what'
 * names the parameter in them.  Numbers and booleans are also accepted as their text.  A record's missing members take the
 * field's default; one without a default is INTERNAL_ERROR.  Members that are unknown or derived are ignored.
 */
MUST_CHECK struct error *wire_to_value(struct arena *arena, const struct type *type,
                                       const struct wire *wire, const char *what, void *out);
/* Fills 'record' (class->struct_size bytes) from a struct. */
MUST_CHECK struct error *wire_to_record(struct arena *arena, const struct class_desc *class,
                                        const struct wire *wire, void *record);

/*
 * Where the value of a derived or computed field comes from while a record is written.  'field_value' returns a pointer to
 * a value of f->type for this row, in 'arena' or longer lived.  NULL env or function: such fields are written empty.
 */
struct codec_env {
    struct arena *arena;
    const void *(*field_value)(const struct codec_env *env, const void *row,
                               const struct field_desc *f);
    void *ctx;
};

/* One writer for each format; 'record' values write all fields but the internal ones. */
struct codec {
    void (*value)(struct buf *out, const struct codec_env *env, const struct type *type,
                  const void *value);
    void (*array_begin)(struct buf *out);
    void (*array_end)(struct buf *out);
    /* Before each element but the first. */
    void (*array_next)(struct buf *out);
    void (*struct_begin)(struct buf *out);
    void (*struct_end)(struct buf *out);
    /* Before a member's value; 'first' is true for the first member. */
    void (*member_begin)(struct buf *out, const char *name, bool first);
    void (*member_end)(struct buf *out);
    void (*string)(struct buf *out, const char *s);
    /* An integer that is typed on the wire even in XML (<i4>), only for valid_ref_counts. */
    void (*typed_int)(struct buf *out, int64_t i);
};
extern const struct codec codec_xmlrpc, codec_json;

const struct codec *codec_of(enum rpc_protocol protocol);

/* What stands before and after the value in a successful reply. */
void rpc_success_begin(struct buf *out, const struct rpc_request *request);
void rpc_success_end(struct buf *out, const struct rpc_request *request);
/* A whole failure reply. */
void rpc_failure(struct buf *out, const struct rpc_request *request, const struct error *e);

/* A whole request, for clients: the parameters are added with codec->value between begin and end. */
void xmlrpc_call_begin(struct buf *out, const char *method);
void xmlrpc_call_param(struct buf *out, const struct type *type, const void *value);
void xmlrpc_call_end(struct buf *out);

/* Dates: "20250319T04:16:24Z".  Reads hyphenated and compact forms; without a zone it is UTC.  False for anything else. */
#define DATE_TEXT_SIZE 24
char *date_to_text(usec_t date, char out[DATE_TEXT_SIZE]);
bool date_from_text(const char *text, usec_t *out);

/* True for well-formed UTF-8 without NUL. */
bool utf8_valid(const char *s, size_t n);
