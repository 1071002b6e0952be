/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* events.c -- event.from: what has changed since a token. */
#include "libxapi/client/client.h"

#include "api_types.h"

static const char *text_of(const struct wire *parent, const char *name)
{
    const struct wire *w = wire_member(parent, name);

    return w && w->text ? w->text : "";
}

/*
 * A record that this library cannot read, for example for an enum value it does not know, leaves
 * the snapshot out: one such object must not hide all the others' events.
 */
static const void *snapshot_of(struct arena *arena, const struct class_desc *class,
                               const struct wire *wire, ref_t ref)
{
    const struct row *seen = NULL;
    struct row *row;

    if (!class || !class->struct_size || !class->record_type || !wire || wire->kind != WIRE_STRUCT)
        return NULL;
    if (wire_to_result(arena, class->record_type, wire, &seen) || !seen)
        return NULL;
    row = arena_memdup(arena, seen, class->struct_size);
    row->ref = ref;
    row->row_class = class->id;
    return row;
}

static void read_event(struct arena *arena, const struct wire *wire, struct xapi_event *out)
{
    out->class_name = text_of(wire, "class");
    out->class = api_class_by_lower(out->class_name);
    out->operation = text_of(wire, "operation");
    out->raw = wire_member(wire, "snapshot");
    /* The reference of an object that is none for us is null; the event is still told. */
    if (!ref_from_text(text_of(wire, "ref"), &out->ref))
        out->ref = REF_NULL;
    out->snapshot = snapshot_of(arena, out->class, out->raw, out->ref);
}

static int64_t count_of(const struct wire *w)
{
    int64_t n = 0;

    if (w->kind == WIRE_INT)
        return w->i;
    return w->kind == WIRE_STRING && w->text && int_from_text(w->text, &n) ? n : 0;
}

static void read_counts(struct arena *arena, const struct wire *wire, struct xapi_events *out)
{
    struct xapi_count *counts;

    if (!wire || wire->kind != WIRE_STRUCT || !wire->n)
        return;
    counts = arena_array(arena, struct xapi_count, wire->n);
    for (size_t i = 0; i < wire->n; i++)
        counts[i] = (struct xapi_count){wire->v[i].name, count_of(&wire->v[i])};
    out->n_counts = wire->n;
    out->counts = counts;
}

static struct error *read_events(struct xapi_session *s, struct arena *arena,
                                 const struct wire *wire, struct xapi_events *out)
{
    const struct wire *events = wire_member(wire, "events");
    const struct wire *token = wire_member(wire, "token");
    struct xapi_event *v;

    if (!events || events->kind != WIRE_ARRAY || !token || !token->text)
        return client_cannot_contact(s, arena, "the answer to event.from has no events");
    v = arena_array(arena, struct xapi_event, events->n);
    for (size_t i = 0; i < events->n; i++)
        read_event(arena, &events->v[i], &v[i]);
    out->n = events->n;
    out->v = v;
    out->token = token->text;
    read_counts(arena, wire_member(wire, "valid_ref_counts"), out);
    return OK;
}

struct error *client_events(struct xapi_session *s, struct arena *arena, struct strings classes,
                            const char *token, usec_t timeout, struct xapi_events *out)
{
    const struct message_desc *m = &api_messages[MSG_event_from];
    struct client_call how = {.repeatable = true, .wait = timeout};
    struct buf request = {0};
    const struct wire *value;
    double seconds = (double)timeout / (double)USEC_PER_SEC;

    *out = (struct xapi_events){.token = token};
    if (!s->ref)
        return error_new(arena, "SESSION_INVALID", 1, "");
    client_begin(s, &request, m->full_name, true);
    xmlrpc_call_param(&request, m->params[0].type, &classes);
    xmlrpc_call_param(&request, m->params[1].type, &token);
    xmlrpc_call_param(&request, m->params[2].type, &seconds);
    xmlrpc_call_end(&request);
    TRY(client_exchange(s, arena, &request, &how, &value));
    return read_events(s, arena, value, out);
}

struct error *xapi_event_from(struct xapi_session *s, struct strings classes, const char *token,
                              usec_t timeout, struct xapi_events *out)
{
    return client_events(s, &s->arena, classes, token, timeout, out);
}
