/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/stream/blob.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/blob.h"
#include "xapid/stream/files.h"
#include "xapid/stream/handover.h"
#include "xapid/task/task.h"

static struct error *find_blob(struct call *call, const struct http_request *request, ref_t *out)
{
    const char *text = http_param(request, "ref");

    if (!text)
        text = http_param(request, "uuid");
    return handover_find(call, CLASS_blob, text ? text : "", out);
}

/*** reading ***/

static void send_data(struct handover *h)
{
    struct http_request *request = h->request;
    const struct blob *row;
    const char *path;
    struct error *e;
    struct stat st;
    ref_t blob;
    int fd;

    e = find_blob(&h->call, request, &blob);
    if (e) {
        handover_refuse(h, refuse(404, e));
        return;
    }
    e = blob_path(&h->call, blob, &path);
    if (e) {
        handover_refuse(h, refuse(503, e));
        return;
    }
    fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    if (fd < 0 || fstat(fd, &st) < 0) {
        if (fd >= 0)
            close(fd);
        handover_refuse(
            h, refuse(404, err_invalid_value(&h->call, "blob", "nothing was ever stored in it")));
        return;
    }
    row = db_find(&h->call, CLASS_blob, blob);
    h->request = NULL;
    files_send(request, fd, st.st_size, row->mime_type);
    task_end(&h->call, OK, "<value></value>");
}

/*** writing ***/

static struct error *store(struct call *call, struct body *body, ref_t blob)
{
    AUTO(blob_upload) upload = {0};

    TRY(blob_upload_begin(call, blob, &upload));
    TRY(body_save(call, body, upload.fd));
    return blob_upload_end(&upload);
}

static void take_data(struct handover *h, ref_t blob)
{
    const char *expect = http_header(h->request, "expect");
    bool waits = expect && strcasecmp(expect, "100-continue") == 0;
    struct body body = {.length = h->request->content_length};
    struct error *e = err_client_error(&h->call);

    body.http = handover_take(h);
    if (waits ? http_stream_continue(body.http) : http_stream_start(body.http, 200, 0, 0, NULL))
        e = store(&h->call, &body, blob);
    if (e)
        log_info("%s: %s", h->action, error_line(h->call.arena, e));
    if (waits && e)
        http_stream_error(body.http, 500, error_line(h->call.arena, e));
    else if (waits && !http_stream_start(body.http, 200, 0, 0, NULL))
        log_info("the client of an upload to a blob did not wait for the answer");
    task_end(&h->call, e, e ? NULL : "<value></value>");
    http_stream_close(body.http);
}

static void run_put(struct handover *h)
{
    int64_t length = h->request->content_length;
    struct error *e;
    ref_t blob;

    e = find_blob(&h->call, h->request, &blob);
    if (e)
        handover_refuse(h, refuse(404, e));
    else if (length < 0 || length > BLOB_LIMIT)
        handover_refuse_length(h);
    else
        take_data(h, blob);
}

/*** both ***/

static bool is_public(struct xapid *xapid, const struct http_request *request)
{
    AUTO(arena) arena = {0};
    const struct blob *row = NULL;
    struct call call;
    bool public;
    ref_t blob;

    call_init_internal(&call, xapid, &arena);
    if (find_blob(&call, request, &blob) == OK)
        row = db_find(&call, CLASS_blob, blob);
    public = row && row->public;
    call_release(&call);
    return public;
}

void blob_get(struct http_request *request, void *ctx)
{
    if (is_public(ctx, request))
        handover_begin_open(ctx, request, "get_blob", send_data);
    else
        handover_begin(ctx, request, "get_blob", send_data);
}

void blob_put(struct http_request *request, void *ctx)
{
    handover_begin(ctx, request, "put_blob", run_put);
}
