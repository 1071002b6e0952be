/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * jsonrpc.c -- reads JSON-RPC 1.0 and 2.0 requests with jansson.  Before jansson allocates
 * anything, one pass over the bytes counts values and depth, so that a small body cannot become a
 * large tree.
 */
#include "libxapi/codec/codec.h"

#include <jansson.h>

/* The request object and its params array lie above the first value. */
#define ENVELOPE_DEPTH 2

static void json_release(json_t **json)
{
    json_decref(*json);
}

static bool refuse(const char **why, const char *sentence)
{
    *why = sentence;
    return false;
}

/* Skips a string; s[i] is its opening quote.  Returns the place of the closing one. */
static size_t string_end(const char *s, size_t n, size_t i)
{
    for (i++; i < n && s[i] != '"'; i++)
        i += s[i] == '\\';
    return i;
}

static bool within_limits(const char *s, size_t n, const char **why)
{
    size_t depth = 0, nodes = 1;

    for (size_t i = 0; i < n; i++) {
        switch (s[i]) {
        case '"':
            i = string_end(s, n, i);
            break;
        case '[':
        case '{':
            nodes++;
            if (++depth > WIRE_MAX_DEPTH + ENVELOPE_DEPTH)
                return refuse(why, "JSON is nested too deeply");
            break;
        case ']':
        case '}':
            depth -= depth > 0;
            break;
        case ',':
            nodes++;
            break;
        }
    }
    return nodes <= WIRE_MAX_NODES || refuse(why, "JSON has too many values");
}

static void convert(struct arena *arena, json_t *json, struct wire *out);

static void convert_array(struct arena *arena, json_t *json, struct wire *out)
{
    size_t n = json_array_size(json);
    struct wire *v = arena_array(arena, struct wire, n);

    for (size_t i = 0; i < n; i++)
        convert(arena, json_array_get(json, i), &v[i]);
    out->kind = WIRE_ARRAY;
    out->n = n;
    out->v = v;
}

static void convert_object(struct arena *arena, json_t *json, struct wire *out)
{
    struct wire *v = arena_array(arena, struct wire, json_object_size(json));
    const char *key;
    json_t *member;

    out->kind = WIRE_STRUCT;
    out->v = v;
    json_object_foreach(json, key, member)
    {
        convert(arena, member, v);
        v->name = arena_strdup(arena, key);
        v++;
        out->n++;
    }
}

/* As deep as within_limits let pass. */
static void convert(struct arena *arena, json_t *json, struct wire *out)
{
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        convert_object(arena, json, out);
        break;
    case JSON_ARRAY:
        convert_array(arena, json, out);
        break;
    case JSON_STRING:
        out->kind = WIRE_STRING;
        out->text = arena_strndup(arena, json_string_value(json), json_string_length(json));
        break;
    case JSON_INTEGER:
        out->kind = WIRE_INT;
        out->i = json_integer_value(json);
        break;
    case JSON_REAL:
        out->kind = WIRE_DOUBLE;
        out->d = json_real_value(json);
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        out->kind = WIRE_BOOL;
        out->i = json_is_true(json);
        break;
    case JSON_NULL:
        out->kind = WIRE_NIL;
        break;
    }
}

/* The id as JSON text; NULL if it is neither a string nor an int. */
static const char *id_text(struct arena *arena, json_t *id)
{
    AUTO(buf) text = {0};

    if (json_is_integer(id))
        codec_json.integer(&text, json_integer_value(id));
    else if (json_is_string(id))
        codec_json.string(&text, json_string_value(id));
    else
        return NULL;
    return arena_strndup(arena, text.data, text.len);
}

static bool is_version_2(json_t *version)
{
    return json_is_string(version) && strcmp(json_string_value(version), "2.0") == 0;
}

static bool read_envelope(struct arena *arena, json_t *root, struct rpc_request *out,
                          const char **why)
{
    json_t *method = json_object_get(root, "method");
    json_t *params = json_object_get(root, "params");

    if (!json_is_object(root))
        return refuse(why, "a JSON-RPC request must be one object; batches are not supported");
    if (!json_is_string(method))
        return refuse(why, "JSON-RPC request without a method");
    if (params && !json_is_array(params) && !json_is_null(params))
        return refuse(why, "the params of a JSON-RPC request must be an array");
    out->protocol = is_version_2(json_object_get(root, "jsonrpc")) ? RPC_JSON_2 : RPC_JSON_1;
    out->method = arena_strdup(arena, json_string_value(method));
    out->id = id_text(arena, json_object_get(root, "id"));
    if (!out->id)
        return refuse(why, "the id of a JSON-RPC request must be a string or an integer");
    if (json_is_array(params)) {
        struct wire list = {0};

        convert_array(arena, params, &list);
        out->n_params = list.n;
        out->params = list.v;
    }
    return true;
}

bool jsonrpc_read_request(struct arena *arena, const char *body, size_t n, struct rpc_request *out,
                          const char **why)
{
    __attribute__((cleanup(json_release))) json_t *root = NULL;
    json_error_t error;

    *out = (struct rpc_request){.protocol = RPC_JSON_1};
    if (n > WIRE_MAX_BYTES)
        return refuse(why, "JSON-RPC request is too large");
    if (!utf8_valid(body, n)) {
        body = utf8_clean(arena, body, n, &n);
        out->bad_utf8 = true;
    }
    if (!within_limits(body, n, why))
        return false;
    root = json_loadb(body, n, JSON_REJECT_DUPLICATES, &error);
    if (!root) {
        *why = arena_printf(arena, "bad JSON: %s", error.text);
        return false;
    }
    return read_envelope(arena, root, out, why);
}
