/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/stream/blob.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "xapid/auth/auth.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/blob.h"
#include "xapid/stream/files.h"
#include "xapid/task/task.h"
#include "xapid/worker/workers.h"

#define PIECE ((size_t)256 << 10)
/* Between two pieces of an upload. */
#define READ_TIMEOUT (60 * USEC_PER_SEC)

/* One request, in an arena of its own: it ends before the task does. */
struct transfer {
    struct call call;
    struct http_request *request; /* NULL once answered or taken over */
    struct auth_http_who who;
    ref_t blob;
    bool put;
    int64_t length;
};

static void transfer_free(struct transfer *t)
{
    struct arena *arena = t->call.arena;
    struct xapid *xapid = t->call.xapid;

    t->call.session = NULL; /* counted by 'who' */
    call_release(&t->call);
    auth_http_release(xapid, &t->who);
    arena_free_self(arena);
}

static struct error *find_blob(struct call *call, const struct http_request *request, ref_t *out)
{
    const char *ref = http_param(request, "ref"), *uuid = http_param(request, "uuid");
    const struct blob *row;

    if (!ref)
        return db_by_uuid(call, CLASS_blob, uuid ? uuid : "", out);
    if (!ref_from_text(ref, out))
        return err_handle_invalid(call, "blob", arena_strdup(call->arena, ref));
    return DB_GET(call, blob, *out, &row);
}

static struct transfer *transfer_new(struct http_request *request, struct xapid *xapid, bool put)
{
    struct arena *arena = arena_new_self();
    struct transfer *t = arena_new(arena, struct transfer);

    call_init_internal(&t->call, xapid, arena);
    t->request = request;
    t->put = put;
    t->length = request->content_length;
    return t;
}

/*** reading ***/

static void send_data(struct transfer *t)
{
    const struct blob *row = db_find(&t->call, CLASS_blob, t->blob);
    struct error *e;
    const char *path;
    struct stat st;
    int fd;

    e = blob_path(&t->call, t->blob, &path);
    if (e) {
        http_error(t->request, 503, error_line(t->call.arena, e));
        return;
    }
    fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    if (fd < 0 || fstat(fd, &st) < 0) {
        http_error(t->request, 404, "Nothing was ever stored in this blob.");
        if (fd >= 0)
            close(fd);
        return;
    }
    files_send(t->request, fd, st.st_size, row->mime_type);
}

/*** writing ***/

static struct error *write_piece(struct call *call, int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t done = write(fd, p, n);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return error_internal(call->arena, "the data cannot be written: %s", strerror(errno));
        p += done;
        n -= (size_t)done;
    }
    return OK;
}

static struct error *receive(struct transfer *t, struct http_stream *stream, int fd)
{
    char *piece = arena_alloc(t->call.arena, PIECE);
    int64_t left = t->length;

    while (left > 0) {
        ssize_t n =
            http_stream_read(stream, piece, (size_t)MIN((int64_t)PIECE, left), READ_TIMEOUT);

        if (n <= 0)
            return err_client_error(&t->call);
        TRY(task_check(&t->call));
        TRY(write_piece(&t->call, fd, piece, (size_t)n));
        left -= n;
    }
    return OK;
}

static struct error *store(struct transfer *t, struct http_stream *stream)
{
    AUTO(blob_upload) upload = {0};

    TRY(blob_upload_begin(&t->call, t->blob, &upload));
    TRY(receive(t, stream, upload.fd));
    return blob_upload_end(&upload);
}

static void take_data(struct transfer *t)
{
    const char *expect = http_header(t->request, "expect");
    bool waits = expect && strcasecmp(expect, "100-continue") == 0;
    struct http_stream *stream = http_take_over(t->request);
    struct error *e = err_client_error(&t->call);

    t->request = NULL;
    if (waits ? http_stream_continue(stream) : http_stream_start(stream, 200, 0, 0, NULL))
        e = store(t, stream);
    if (waits && e)
        http_stream_error(stream, 500, error_line(t->call.arena, e));
    else if (waits && !http_stream_start(stream, 200, 0, 0, NULL))
        log_info("the client of an upload to a blob did not wait for the answer");
    if (e)
        log_info("put_blob: %s", error_line(t->call.arena, e));
    task_end(&t->call, e, e ? NULL : "<value></value>");
    http_stream_close(stream);
}

/*** both ***/

static void refuse(struct transfer *t, int status, struct error *e)
{
    http_error(t->request, status, error_line(t->call.arena, e));
    task_end(&t->call, e, NULL);
}

static struct error *own_task(struct transfer *t)
{
    const char *text = http_param(t->request, "task_id");
    ref_t ref;

    if (!text)
        text = http_header(t->request, "task-id");
    if (!text || !ref_from_text(text, &ref) || ref_is_null(ref))
        return OK;
    return task_begin(&t->call, t->put ? "put_blob" : "get_blob", false, ref);
}

static void run(void *arg)
{
    struct transfer *t = arg;
    struct call *call = &t->call;
    struct error *e;

    call->session = t->who.session;
    e = own_task(t);
    if (!e)
        e = find_blob(call, t->request, &t->blob);
    if (e) {
        refuse(t, 404, e);
    } else if (!t->put) {
        send_data(t);
        task_end(call, OK, "<value></value>");
    } else if (t->length < 0) {
        refuse(t, 411, err_invalid_value(call, "Content-Length", ""));
    } else if (t->length > BLOB_LIMIT) {
        refuse(t, 413,
               err_invalid_value(call, "Content-Length",
                                 arena_printf(call->arena, "%lld", (long long)t->length)));
    } else {
        take_data(t);
    }
    transfer_free(t);
}

static void begin(struct transfer *t)
{
    if (workers_run(t->call.xapid->workers, run, t))
        return;
    http_error(t->request, 503, NULL);
    transfer_free(t);
}

static void read_authenticated(struct http_request *request, void *ctx, struct error *e,
                               const struct auth_http_who *who)
{
    struct transfer *t;

    if (e) {
        auth_http_refuse(request, "get_blob", e);
        return;
    }
    t = transfer_new(request, ctx, false);
    t->who = *who;
    begin(t);
}

static void write_authenticated(struct http_request *request, void *ctx, struct error *e,
                                const struct auth_http_who *who)
{
    struct transfer *t;

    if (e) {
        auth_http_refuse(request, "put_blob", e);
        return;
    }
    t = transfer_new(request, ctx, true);
    t->who = *who;
    begin(t);
}

void blob_get(struct http_request *request, void *ctx)
{
    struct transfer *t = transfer_new(request, ctx, false);
    const struct blob *row = NULL;
    ref_t blob;

    if (find_blob(&t->call, request, &blob) == OK)
        row = db_find(&t->call, CLASS_blob, blob);
    if (row && row->public) {
        begin(t);
        return;
    }
    transfer_free(t);
    auth_http(ctx, request, "get_blob", read_authenticated, ctx);
}

void blob_put(struct http_request *request, void *ctx)
{
    auth_http(ctx, request, "put_blob", write_authenticated, ctx);
}
