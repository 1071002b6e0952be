/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/stream/backup.h"

#include "libxapi/base/log.h"
#include "xapid/ops/host/backup.h"
#include "xapid/ops/host/here.h"
#include "xapid/stream/handover.h"
#include "xapid/task/task.h"

/* Of an archive that comes back. */
#define ARCHIVE_LIMIT ((int64_t)64 << 30)

/* False where the request is for another host, and was refused. */
static bool is_for_me(struct handover *h)
{
    const char *text = http_param(h->request, "ref");
    struct error *e = OK;
    ref_t host;

    if (text)
        e = handover_find(&h->call, CLASS_host, text, &host);
    if (text && !e)
        e = host_check_here(&h->call, host);
    if (e)
        handover_refuse(h, refuse(error_is(e, "CANNOT_CONTACT_HOST") ? 503 : 404, e));
    return !e;
}

/*** out ***/

struct sending {
    struct call *call;
    struct http_request *request; /* until the first bytes: what fails before has a status */
    struct http_stream *stream;
};

static bool start(struct sending *s)
{
    const struct http_pair headers[] = {
        {"Content-Type", "application/octet-stream"},
        {"Content-Disposition", "attachment; filename=\"host-backup.tar.gz\""}};

    s->stream = http_take_over(s->request);
    s->request = NULL;
    return http_stream_start(s->stream, 200, -1, ARRAY_SIZE(headers), headers);
}

static bool send(void *ctx, const char *data, size_t n)
{
    struct sending *s = ctx;

    if (!n)
        return task_check(s->call) == OK;
    if (!s->stream && !start(s))
        return false;
    return http_stream_write(s->stream, data, n, HANDOVER_IDLE);
}

static void send_backup(struct handover *h)
{
    struct sending s = {&h->call, h->request, NULL};
    struct error *e;

    if (!is_for_me(h))
        return;
    e = backup_make(&h->call, send, &s);
    if (!s.stream) {
        handover_refuse(h, refuse(500, e ? e : err_client_error(&h->call)));
        return;
    }
    h->request = NULL;
    if (e)
        log_info("%s: %s", h->action, error_line(h->call.arena, e));
    task_end(&h->call, e, e ? NULL : "<value></value>");
    http_stream_close(s.stream);
}

void backup_get(struct http_request *request, void *ctx)
{
    if (request->method == HTTP_M_HEAD)
        http_error(request, 501, "A backup has no head.");
    else
        handover_begin(ctx, request, "get_host_backup", send_backup);
}

/*** and back ***/

static struct error *take_archive(struct call *call, struct body *body)
{
    AUTO(restore) restore = {0};

    TRY(restore_begin(call, &restore));
    if (!http_stream_continue(body->http))
        return err_client_error(call);
    TRY(body_save(call, body, restore.fd));
    return restore_end(&restore);
}

static void receive_backup(struct handover *h)
{
    struct body body = {.length = h->request->content_length};
    struct error *e;

    if (!is_for_me(h))
        return;
    if (body.length < 0 || body.length > ARCHIVE_LIMIT) {
        handover_refuse_length(h);
        return;
    }
    body.http = handover_take(h);
    e = take_archive(&h->call, &body);
    task_end(&h->call, e, e ? NULL : "<value></value>");
    body_done(&h->call, &body, h->action, e);
}

void backup_put(struct http_request *request, void *ctx)
{
    handover_begin(ctx, request, "put_host_restore", receive_backup);
}
