/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fetch.c -- VM.import: an archive that this host fetches itself, by HTTP or HTTPS.
 *
 * Whom to trust is not known to the caller of the message, so a certificate is taken as it is; what
 * came is held together by its checksums, and is no more trusted than an upload.
 */
#include <stdlib.h>
#include <string.h>

#include "libxapi/include/xapi/session.h"
#include "xapid/db/db.h"
#include "xapid/task/task.h"
#include "xapid/transfer/import.h"

/* For the connection, and for each read. */
#define PATIENCE (60 * USEC_PER_SEC)
#define MAX_REDIRECTS 5

struct url {
    bool tls;
    const char *host, *path;
    int port; /* 0: the usual one */
};

static struct error *bad_url(struct call *call, const char *text)
{
    return err_invalid_value(call, "url", text);
}

/* "http[s]://host[:port]/path"; names and passwords are not taken: they would be in logs. */
static struct error *read_url(struct call *call, const char *text, struct url *out)
{
    const char *p = text, *end, *colon;
    int64_t port = 0;

    *out = (struct url){.tls = strncasecmp(text, "https://", 8) == 0};
    if (!out->tls && strncasecmp(text, "http://", 7) != 0)
        return bad_url(call, text);
    p += out->tls ? 8 : 7;
    end = p + strcspn(p, "/?#");
    out->path = *end == '/' ? arena_strndup(call->arena, end, strcspn(end, "#")) : "/";
    if (memchr(p, '@', (size_t)(end - p)))
        return bad_url(call, "(hidden: it has a name or a password)");
    if (p == end)
        return bad_url(call, text);
    if (*p == '[') { /* an IPv6 address */
        const char *close = memchr(p, ']', (size_t)(end - p));

        if (!close)
            return bad_url(call, text);
        out->host = arena_strndup(call->arena, p + 1, (size_t)(close - p - 1));
        colon = close + 1 < end ? close + 1 : NULL;
    } else {
        colon = memchr(p, ':', (size_t)(end - p));
        out->host = arena_strndup(call->arena, p, (size_t)((colon ? colon : end) - p));
    }
    if (colon &&
        (*colon != ':' ||
         !int_from_text(arena_strndup(call->arena, colon + 1, (size_t)(end - colon - 1)), &port) ||
         port < 1 || port > 65535))
        return bad_url(call, text);
    out->port = (int)port;
    return OK;
}

/*** the connection ***/

struct fetched {
    struct source source;
    struct xapi_session *session;
    struct xapi_stream *stream;
};

static void fetched_release(struct fetched *f)
{
    xapi_stream_close(f->stream);
    xapi_disconnect(f->session);
    *f = (struct fetched){0};
}

static struct error *fetched_read(struct source *s, struct call *call, void *out, size_t n,
                                  size_t *got)
{
    struct fetched *f = container_of(s, struct fetched, source);
    ssize_t r;

    *got = 0;
    TRY(task_check(call));
    r = xapi_stream_read(f->stream, out, n);
    if (r < 0)
        return err_import_error(call, arena_printf(call->arena, "The transfer broke off: %s.",
                                                   xapi_stream_why(f->stream)));
    *got = (size_t)r;
    return OK;
}

static struct error *cannot_fetch(struct call *call, const char *why)
{
    return err_import_error(call,
                            arena_printf(call->arena, "The archive cannot be fetched: %s.", why));
}

/* One request; *location where the server names another place. */
static struct error *ask(struct call *call, const char *text, struct fetched *f,
                         const char **location)
{
    struct xapi_options options = {.timeout = PATIENCE};
    struct error *e;
    struct url url;
    int status;

    *location = NULL;
    TRY(read_url(call, text, &url));
    options.host = url.host;
    options.port = url.port;
    options.plain = !url.tls;
    *f = (struct fetched){.source = {fetched_read}};
    e = xapi_connect(&options, &f->session);
    if (!e)
        e = xapi_http_open(f->session, "GET", url.path, 0, &f->stream, &status, NULL);
    if (e)
        return cannot_fetch(call, error_line(call->arena, e));
    if (status == 200)
        return OK;
    if (status / 100 == 3 && xapi_stream_header(f->stream, "location"))
        *location = arena_strdup(call->arena, xapi_stream_header(f->stream, "location"));
    return *location ? OK
                     : cannot_fetch(call, arena_printf(call->arena, "the answer is %d", status));
}

static struct error *fetch(struct call *call, const char *url, struct fetched *f)
{
    const char *location = NULL;

    for (int i = 0; i < MAX_REDIRECTS; i++) {
        TRY(ask(call, url, f, &location));
        if (!location)
            return OK;
        fetched_release(f);
        url = location;
    }
    return cannot_fetch(call, "it leads from one place to the next");
}

struct error *vm_import(struct call *call, const struct vm_import_args *args, struct refs *result)
{
    const struct import_options options = {
        .restore = args->full_restore, .force = args->force, .sr = args->sr};
    AUTO(fetched) fetched = {0};
    const struct sr *sr;

    TRY(DB_GET(call, sr, args->sr, &sr));
    if (strcmp(sr->content_type, "iso") == 0)
        return err_sr_operation_not_supported(call, call_ref(call, args->sr));
    TRY(fetch(call, args->url, &fetched));
    return import_from(call, &fetched.source, &options, result);
}
