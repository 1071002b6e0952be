/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * session.c -- logging in and out, and calls by the tables.
 */
#include "libxapi/client/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api_types.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "libxapi/client/tls.h"

#define DEFAULT_SOCKET "/var/lib/xcp/xapi"
#define API_VERSION "2.23"
/* Logging out is a courtesy: it may not hold up a program that ends. */
#define LOGOUT_TIMEOUT (5 * USEC_PER_SEC)

const struct type *client_string_type(void)
{
    return api_messages[MSG_event_inject].params[0].type;
}

/* ---- calls ---- */

void client_begin(const struct xapi_session *s, struct buf *request, const char *method,
                  bool with_session)
{
    const char *ref = s->ref;

    xmlrpc_call_begin(request, method);
    if (with_session)
        xmlrpc_call_param(request, client_string_type(), &ref);
}

static struct error *send_message(struct xapi_session *s, struct arena *arena,
                                  const struct message_desc *m, const char *method,
                                  const void *args, const struct wire **value)
{
    struct client_call how = {.secret = (m->flags & MESSAGE_SECRET) != 0};
    struct buf request = {0};

    if (!(m->flags & MESSAGE_NO_SESSION) && !s->ref)
        return error_new(arena, "SESSION_INVALID", 1, "");
    how.repeatable = (m->flags & MESSAGE_PURE) && method == m->full_name;
    client_begin(s, &request, method, !(m->flags & MESSAGE_NO_SESSION));
    for (int i = 0; i < m->n_params; i++)
        xmlrpc_call_param(&request, m->params[i].type, (const char *)args + m->params[i].offset);
    xmlrpc_call_end(&request);
    return client_exchange(s, arena, &request, &how, value);
}

struct error *client_message(struct xapi_session *s, struct arena *arena, int message,
                             const void *args, void *result)
{
    const struct message_desc *m = &api_messages[message];
    const struct wire *value;

    TRY(send_message(s, arena, m, m->full_name, args, &value));
    if (m->result->kind == TYPE_VOID || !result)
        return OK;
    return wire_to_result(arena, m->result, value, result);
}

struct error *xapi_call(struct xapi_session *s, int message, const void *args, void *result)
{
    return client_message(s, &s->arena, message, args, result);
}

struct error *xapi_call_async(struct xapi_session *s, int message, const void *args, ref_t *task)
{
    const struct message_desc *m = &api_messages[message];
    const struct wire *value;

    *task = REF_NULL;
    TRY(send_message(s, &s->arena, m, arena_printf(&s->arena, "Async.%s", m->full_name), args,
                     &value));
    return wire_to_result(&s->arena, api_classes[CLASS_task].ref_type, value, task);
}

/* Each value of the outermost level becomes a parameter. */
static void add_params(struct buf *out, const char *xml)
{
    int depth = 0;

    if (strstr(xml, "<param>")) {
        buf_puts(out, xml);
        return;
    }
    for (const char *p = xml; *p; p++) {
        if (strncmp(p, "<value>", 7) == 0 && depth++ == 0)
            buf_puts(out, "<param>");
        if (strncmp(p, "<value/>", 8) == 0 && depth == 0) {
            buf_puts(out, "<param><value></value></param>");
            p += 7;
            continue;
        }
        if (strncmp(p, "</value>", 8) == 0 && --depth == 0) {
            buf_puts(out, "</value></param>");
            p += 7;
            continue;
        }
        buf_putc(out, *p);
    }
}

struct error *xapi_call_raw(struct xapi_session *s, const char *method, const char *params_xml,
                            const struct wire **value)
{
    struct client_call how = {.secret = true};
    struct buf request = {0};

    client_begin(s, &request, method, s->ref != NULL);
    add_params(&request, params_xml ? params_xml : "");
    xmlrpc_call_end(&request);
    return client_exchange(s, &s->arena, &request, &how, value);
}

/* ---- sessions ---- */

static struct error *login(struct xapi_session *s, const struct xapi_options *o)
{
    struct client_call how = {.secret = true};
    struct buf request = {0};
    const struct wire *value;
    const char *params[] = {o->user, o->password ? o->password : "", API_VERSION,
                            o->originator ? o->originator : "libxapi"};

    client_begin(s, &request, "session.login_with_password", false);
    for (size_t i = 0; i < ARRAY_SIZE(params); i++)
        xmlrpc_call_param(&request, client_string_type(), &params[i]);
    xmlrpc_call_end(&request);
    TRY(client_exchange(s, &s->arena, &request, &how, &value));
    if (!value || value->kind != WIRE_STRING || !value->text || !*value->text)
        return client_cannot_contact(s, &s->arena, "the server's login gave no session");
    s->ref = xstrdup(value->text);
    s->logged_in = true;
    return OK;
}

static bool target_of(struct xapi_session *s, const struct xapi_options *o)
{
    const char *unix_path = NULL;
    const char *host = o->host ? o->host : "localhost";
    int port = o->port ? o->port : o->plain ? 80 : 443;

    if (!o->host)
        unix_path = o->unix_path ? o->unix_path : DEFAULT_SOCKET;
    return link_target_init(&s->target, host, port, unix_path, o->plain, o->fingerprint, o->ca_file,
                            s->link.why, sizeof(s->link.why));
}

struct error *xapi_connect(const struct xapi_options *o, struct xapi_session **out)
{
    struct xapi_session *s = xcalloc(1, sizeof(*s));

    codec_init();
    *out = s;
    link_init(&s->link, &s->target);
    s->timeout = o->timeout;
    s->forwarded_for = o->forwarded_for ? xstrdup(o->forwarded_for) : NULL;
    if (!target_of(s, o))
        return client_cannot_contact(s, &s->arena, s->link.why);
    if (o->session) {
        s->ref = xstrdup(o->session);
    } else if (o->user) {
        return login(s, o);
    }
    s->link.deadline = client_deadline(s, 0);
    if (!link_open(&s->link))
        return client_cannot_contact(s, &s->arena, s->link.why);
    s->last_used = clock_mono();
    return OK;
}

static void forget_ref(struct xapi_session *s)
{
    if (s->ref)
        explicit_bzero(s->ref, strlen(s->ref));
    free(s->ref);
    s->ref = NULL;
}

void xapi_disconnect(struct xapi_session *s)
{
    if (!s)
        return;
    if (s->logged_in) {
        if (!s->timeout || s->timeout > LOGOUT_TIMEOUT)
            s->timeout = LOGOUT_TIMEOUT;
        /* A server that cannot be told will end the login by itself. */
        error_ignore(client_message(s, &s->arena, MSG_session_logout, NULL, NULL));
    }
    forget_ref(s);
    link_close(&s->link);
    link_target_release(&s->target);
    arena_release(&s->arena);
    free(s->forwarded_for);
    free(s);
}

const char *xapi_server_fingerprint(struct xapi_session *s)
{
    char text[TLS_FINGERPRINT_SIZE];

    return s->link.ssl && tls_fingerprint(s->link.ssl, text) ? arena_strdup(&s->arena, text) : "";
}

const char *xapi_session_ref(const struct xapi_session *s)
{
    return s->ref ? s->ref : "";
}

void xapi_results_free(struct xapi_session *s)
{
    arena_release(&s->arena);
}

struct arena *xapi_arena(struct xapi_session *s)
{
    return &s->arena;
}

void *xapi_record_new(struct xapi_session *s, int class_id)
{
    const struct class_desc *class = &api_classes[class_id];
    struct row *row = arena_zalloc(&s->arena, class->struct_size);

    row->row_class = class->id;
    for (int i = 0; i < class->n_fields; i++) {
        const struct field_desc *f = &api_fields[class->first_field + i];
        char *at = (char *)row + f->offset;

        if (!field_is_stored(f))
            continue;
        if (f->default_value)
            memcpy(at, f->default_value, f->type->size);
        else
            value_empty(f->type, at);
    }
    return row;
}
