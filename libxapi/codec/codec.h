/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * codec.h -- values on the wire: XML-RPC, and JSON-RPC 1.0 and 2.0.
 *
 * Reading goes in two steps: bytes to a small tree (struct wire, untyped), then tree to typed
 * values by the tables of type.h.  Writing goes straight from typed values to bytes.  Everything
 * read from outside has limits; nothing recurses deeper than WIRE_MAX_DEPTH.
 *
 * In XML an int is written without a type, so that it looks like a string, and nothing is
 * <value></value>.  In JSON a datetime is a string, nothing is "", and the doubles that JSON cannot
 * write are the strings "NaN", "Infinity" and
 * "-Infinity".
 */
#pragma once

#include "libxapi/base/arena.h"
#include "libxapi/base/buf.h"
#include "libxapi/value/type.h"
#include "libxapi/value/value.h"

#define WIRE_MAX_DEPTH 64
#define WIRE_MAX_NODES 200000        /* values in one request */
#define WIRE_MAX_REPLY_NODES 8000000 /* a reply may be a whole pool's records */
#define WIRE_MAX_BYTES ((size_t)1 << 30)

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
    const char *text; /* of WIRE_STRING and _DATE; of XML's numbers as sent, else NULL */
    int64_t i;        /* of WIRE_INT, WIRE_BOOL */
    double d;         /* of WIRE_DOUBLE */
    size_t n;
    const struct wire *v; /* children, in the order sent */
};

/* A struct's member, or NULL; also for what is no struct, and for NULL. */
const struct wire *wire_member(const struct wire *wire, const char *name);

enum rpc_protocol { RPC_XML, RPC_JSON_1, RPC_JSON_2 };

struct rpc_request {
    enum rpc_protocol protocol;
    const char *method;
    const char *id; /* of JSON: as JSON text, an int or a string, to be sent back */
    size_t n_params;
    const struct wire *params;
    bool bad_utf8; /* some byte of the request was not UTF-8: answered INVALID_VALUE, not refused */
};

/*
 * Makes the libraries beneath ready.  Call once, before there are threads; again does no harm, and
 * a program of one thread need not call it.
 */
void codec_init(void);

/*
 * Reads a request into the arena.  On failure returns false and a sentence for the log in *why;
 * what is in *out is then undefined.  Refused are documents with a DTD or entities of their own,
 * and in JSON batches, named parameters, requests without an id, ints beyond int64 and members
 * given twice.
 */
bool xmlrpc_read_request(struct arena *arena, const char *body, size_t n, struct rpc_request *out,
                         const char **why);
bool jsonrpc_read_request(struct arena *arena, const char *body, size_t n, struct rpc_request *out,
                          const char **why);

/*
 * Reads a reply, for clients.  True if it is one: then *value is set on success, *error (in the
 * arena) where the server answered a failure, a <fault> included, and the other one is NULL.  A
 * reply without a Status is taken as the bare value.
 */
bool xmlrpc_read_reply(struct arena *arena, const char *body, size_t n, const struct wire **value,
                       struct error **error, const char **why);
/* Reads one "<value>...</value>", as tasks carry it in their result. */
bool xmlrpc_read_value(struct arena *arena, const char *text, size_t n, const struct wire **value);

/*
 * Converts a tree to a typed value in the arena.  Errors: HANDLE_INVALID(class, text) for a
 * reference that cannot be one, INVALID_VALUE(what, text) for a bad enum or date,
 * MAP_DUPLICATE_KEY("", what, "OpaqueRef:NULL", key), INTERNAL_ERROR for a wrong shape; 'what', or
 * inside a record the field, names the parameter in them.  Numbers and booleans are also accepted
 * as their text, and a string as a number; nil only as nothing, an absent option or the null
 * reference.
 *
 * Of a record, members that are unknown or derived are ignored; one given twice counts once, the
 * last.  Missing fields take their default; one that a constructor must give (FIELD_RW or
 * FIELD_CONFIG without a default) is INTERNAL_ERROR.
 */
MUST_CHECK struct error *wire_to_value(struct arena *arena, const struct type *type,
                                       const struct wire *wire, const char *what, void *out);
/* Fills 'record' (class->struct_size bytes) from a struct. */
MUST_CHECK struct error *wire_to_record(struct arena *arena, const struct class_desc *class,
                                        const struct wire *wire, void *record);
/* wire_to_value for replies, whose sender may be older: any field may be missing and is then empty
 * or has its default. */
MUST_CHECK struct error *wire_to_result(struct arena *arena, const struct type *type,
                                        const struct wire *wire, void *out);

enum codec_format { CODEC_XML, CODEC_JSON, CODEC_FORMATS };

/*
 * Where the value of a derived or computed field comes from while a record is written.
 * 'field_value' returns a pointer to a value of f->type for this row, in 'arena' or longer lived.
 * NULL env, function or result: the field is written empty.
 *
 * 'written', if not NULL: every record is a row that never changes, and this is where it is
 * remembered how its stored fields are written in that format (atomic, 0 at first; what it says is
 * the codec's matter).  So they are counted but once for all replies, and written without a look at
 * each byte where nothing is to be escaped.
 */
struct codec_env {
    struct arena *arena;
    const void *(*field_value)(const struct codec_env *env, const void *row,
                               const struct field_desc *f);
    uint32_t *(*written)(const void *row, enum codec_format format);
    void *ctx;
};

/*
 * One writer for each format; 'record' values write all fields but the internal and the pseudo
 * ones, and of options those that are there.
 */
struct codec {
    enum codec_format format;
    const struct codec *plain; /* the same for text in which nothing is to be escaped */
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
    /* The same for a name that is an identifier: nothing in it is looked at. */
    void (*field_begin)(struct buf *out, const char *name, bool first);
    void (*member_end)(struct buf *out);
    void (*string)(struct buf *out, const char *s);
    void (*integer)(struct buf *out, int64_t i);
    void (*boolean)(struct buf *out, bool b);
    void (*real)(struct buf *out, double d);
    void (*date)(struct buf *out, usec_t date);
    void (*ref)(struct buf *out, ref_t r);
    void (*nothing)(struct buf *out); /* the result of a message without one */
    void (*nil)(struct buf *out);     /* an absent option outside a record */
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

/* What stands around a bare array in XML, for system.listMethods only; JSON is the same as for
 * success. */
void rpc_bare_begin(struct buf *out, const struct rpc_request *request);
void rpc_bare_end(struct buf *out, const struct rpc_request *request);

/* A whole request, for clients: the parameters are added between begin and end. */
void xmlrpc_call_begin(struct buf *out, const char *method);
void xmlrpc_call_param(struct buf *out, const struct type *type, const void *value);
void xmlrpc_call_end(struct buf *out);

/* True for well-formed UTF-8 without NUL. */
bool utf8_valid(const char *s, size_t n);
/* A copy in the arena with U+FFFD for each NUL and each run of bytes that is not UTF-8; its length
 * in *len. */
char *utf8_clean(struct arena *arena, const char *s, size_t n, size_t *len);
