/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/join/link.h"

#include <string.h>

#include "libxapi/include/xapi/session.h"
#include "xapid/join/file.h"

#define ANSWER_LIMIT ((size_t)1 << 20)
#define PIECE ((size_t)64 << 10)
#define MAX_PARAMS 16

json_t *join_error_json(const struct error *e)
{
    json_t *list = json_array();

    json_array_append_new(list, json_string(e->code));
    for (size_t i = 0; i < e->n_params; i++)
        json_array_append_new(list, json_string(e->params[i]));
    return json_pack("{s:o}", "error", list);
}

struct error *join_error_of(struct arena *arena, const json_t *json)
{
    const json_t *list = json_object_get(json, "error");
    size_t n = MIN(json_array_size(list), (size_t)MAX_PARAMS + 1);
    const char *code = json_string_value(json_array_get(list, 0));
    struct error *e;

    if (!list)
        return OK;
    if (!code)
        return error_internal(arena, "the pool refuses, and says nothing that can be read");
    e = arena_zalloc(arena, sizeof *e + n * sizeof e->params[0]);
    e->code = arena_strdup(arena, code);
    for (size_t i = 1; i < n; i++) {
        const char *text = json_string_value(json_array_get(list, i));

        e->params[e->n_params++] = arena_strdup(arena, text ? text : "");
    }
    return e;
}

static struct error *broke_off(struct arena *arena, const struct xapi_stream *s)
{
    return error_internal(arena, "the connection to the pool broke off: %s", xapi_stream_why(s));
}

static struct error *send_body(struct arena *arena, struct xapi_stream *s, const struct buf *body)
{
    for (size_t at = 0; body && at < body->len; at += PIECE)
        if (!xapi_stream_write(s, body->data + at, MIN(PIECE, body->len - at)))
            return broke_off(arena, s);
    return OK;
}

static struct error *read_answer(struct arena *arena, struct xapi_stream *s, json_t **answer)
{
    char *text = arena_alloc(arena, ANSWER_LIMIT);
    size_t n = 0;
    ssize_t got;

    while (n < ANSWER_LIMIT && (got = xapi_stream_read(s, text + n, ANSWER_LIMIT - n)) != 0) {
        if (got < 0)
            return broke_off(arena, s);
        n += (size_t)got;
    }
    *answer = json_loadb(text, n, 0, NULL);
    if (!json_is_object(*answer)) {
        json_decref(*answer);
        *answer = NULL;
        return error_internal(arena, "the pool's answer cannot be read");
    }
    return OK;
}

struct error *join_ask(struct arena *arena, struct xapi_session *session, const char *query,
                       const struct buf *body, json_t **answer, bool *lost)
{
    const char *path = arena_printf(arena, "/internal/join?%s", query);
    struct xapi_stream *stream;
    struct error *e;
    int status;

    *answer = NULL;
    *lost = false;
    TRY(xapi_http_open(session, "POST", path, body ? (int64_t)body->len : 0, &stream, &status,
                       NULL));
    if (status >= 300) {
        xapi_stream_close(stream);
        return error_internal(arena, "the pool does not take this host in: HTTP status %d", status);
    }
    *lost = true;
    e = send_body(arena, stream, body);
    if (!e)
        e = read_answer(arena, stream, answer);
    xapi_stream_close(stream);
    *lost = e != OK;
    TRY(e);
    e = join_error_of(arena, *answer);
    if (e) {
        json_decref(*answer);
        *answer = NULL;
    }
    return e;
}

struct error *join_ask_host(struct arena *arena, const struct join_host *where, usec_t patience,
                            const char *query, json_t **answer)
{
    const struct xapi_options options = {.host = where->address,
                                         .port = where->port,
                                         .originator = "xapid",
                                         .fingerprint =
                                             *where->fingerprint ? where->fingerprint : NULL,
                                         .timeout = patience};
    struct xapi_session *session = NULL;
    struct error *e = xapi_connect(&options, &session);
    bool lost;

    *answer = NULL;
    e = e ? error_copy(arena, e) : join_ask(arena, session, query, NULL, answer, &lost);
    xapi_disconnect(session);
    return e;
}
