/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* raw.c -- who asks for a transfer, for which disk, under which task; the data is moved in
 * raw_data.c. */
#include "xapid/stream/raw.h"

#include <string.h>

#include "libxapi/base/log.h"
#include "xapid/auth/auth.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/storage/attach.h"
#include "xapid/ops/storage/making.h"
#include "xapid/stream/raw_data.h"
#include "xapid/ops/storage/vdi_ops.h"
#include "xapid/task/task.h"
#include "xapid/worker/workers.h"

/*** one transfer ***/

/* Lives in an arena of its own: the request ends before the task does. */
struct raw {
    struct call call;
    struct http_request *request; /* NULL once answered or taken over */
    struct auth_http_who who;
    bool import, chunked;
    ref_t task;     /* the client's, or null */
    ref_t vdi, sr;  /* one of them */
    int64_t length; /* as announced, or -1 */
    const char *action;
};

static void raw_free(struct raw *raw)
{
    struct arena *arena = raw->call.arena;
    struct xapid *xapid = raw->call.xapid;

    raw->call.session = NULL; /* counted by 'who' */
    call_release(&raw->call);
    auth_http_release(xapid, &raw->who);
    arena_free_self(arena);
}

/*** what is asked for ***/

/* Why a request is refused, as an HTTP status; 0: it is not. */
struct refusal {
    int status;
    const char *why;
    struct error *e; /* for the task */
};

static struct refusal refuse(int status, struct error *e)
{
    return (struct refusal){status, e->code, e};
}

static struct error *find_object(struct call *call, int class_id, const char *text, ref_t *out)
{
    const void *row;

    if (!ref_from_text(text, out) || ref_is_null(*out))
        return db_by_uuid(call, class_id, text, out);
    return db_get(call, class_id, *out, &row);
}

static struct refusal read_format(struct raw *raw)
{
    const char *format = http_param(raw->request, "format");

    if (!format || !*format || strcmp(format, "raw") == 0)
        return (struct refusal){0};
    if (strcmp(format, "vhd") == 0 || strcmp(format, "qcow2") == 0 || strcmp(format, "tar") == 0)
        return refuse(501,
                      err_not_implemented(&raw->call, arena_printf(raw->call.arena, "%s: format %s",
                                                                   raw->action, format)));
    return refuse(404,
                  err_invalid_value(&raw->call, "format", arena_strdup(raw->call.arena, format)));
}

static struct refusal read_target(struct raw *raw)
{
    const char *vdi = http_param(raw->request, "vdi");
    const char *sr = http_param(raw->request, "sr_id");
    struct error *e;

    if (!sr)
        sr = http_param(raw->request, "sr_uuid");
    if (vdi) {
        e = find_object(&raw->call, CLASS_vdi, vdi, &raw->vdi);
        return e ? refuse(404, e) : (struct refusal){0};
    }
    if (!raw->import || !sr)
        return refuse(400, err_vdi_missing(&raw->call, "", ""));
    e = find_object(&raw->call, CLASS_sr, sr, &raw->sr);
    if (e)
        return refuse(404, e);
    /* The new disk is as big as what is sent. */
    if (raw->length <= 0 || raw->chunked)
        return refuse(
            400, err_invalid_value(&raw->call, "Content-Length",
                                   arena_printf(raw->call.arena, "%lld", (long long)raw->length)));
    return (struct refusal){0};
}

static struct refusal read_request(struct raw *raw)
{
    struct refusal r = read_format(raw);

    return r.status ? r : read_target(raw);
}

static ref_t task_of(const struct http_request *request)
{
    const char *text = http_param(request, "task_id");
    ref_t ref;

    if (!text)
        text = http_header(request, "task-id");
    return text && ref_from_text(text, &ref) ? ref : REF_NULL;
}

/*** the transfer as an operation ***/

struct transfer_check {
    ref_t vdi;
    bool import;
};

static struct error *check_transfer(struct txn *txn, void *arg)
{
    const struct transfer_check *t = arg;
    const struct vdi *vdi;

    TRY(txn_vdi_check(txn, t->vdi, t->import ? VDI_OP_BLOCKED : VDI_OP_COPY, &vdi));
    return t->import ? txn_vdi_check_attach(txn, t->vdi, REF_NULL, true) : OK;
}

static struct error *begin_transfer(struct raw *raw, struct op *op)
{
    struct vdi_transfer_intent intent = {raw->vdi, REF_NULL};
    struct transfer_check t = {raw->vdi, raw->import};
    struct op_hold hold = {CLASS_vdi, raw->vdi, raw->import ? VDI_OP_BLOCKED : VDI_OP_COPY};

    return op_begin(&raw->call,
                    &(struct op_spec){.kind = INTENT_vdi_transfer,
                                      .intent = &intent,
                                      .n_holds = 1,
                                      .holds = &hold,
                                      .check = check_transfer,
                                      .arg = &t},
                    op);
}

/* A disk that is attached for as long as the scope lasts. */
struct opened {
    struct call *call;
    ref_t vdi;
    struct vdi_io *io;
};

static void opened_release(struct opened *o)
{
    vdi_io_close(o->io);
    if (o->call)
        vdi_path_detach(o->call, o->vdi);
}

static struct error *open_disk(struct raw *raw, struct opened *out)
{
    struct vdi_path path;

    TRY(vdi_path_attach(&raw->call, raw->vdi, raw->import, &path));
    *out = (struct opened){.call = &raw->call, .vdi = raw->vdi};
    return vdi_io_open(&raw->call, &path, raw->import, &out->io);
}

static struct error *import_existing(struct raw *raw, struct raw_stream *stream)
{
    AUTO(op) op = {0};
    AUTO(opened) disk = {0};

    TRY(begin_transfer(raw, &op));
    TRY(op_step(&op, "importing", 0.01));
    TRY(open_disk(raw, &disk));
    TRY(raw_receive(&raw->call, stream, disk.io));
    vdi_io_close(disk.io);
    disk.io = NULL;
    TRY(op_step(&op, "imported", 0.99));
    return op_commit(&op, NULL, NULL);
}

/* The new disk has no record yet: nobody else can see it. */
static struct error *fill_new(struct raw *raw, const struct vdi_plan *plan,
                              const struct vdi_made *made, struct raw_stream *stream)
{
    struct call *call = &raw->call;
    AUTO(sr_use) use = {0};
    struct vdi_io *io = NULL;
    struct vdi_path path;
    struct error *e;

    TRY(sr_use(call, plan->sr, &use));
    TRY(use.handle->driver->vdi_attach(call, use.handle, made->info.location, true, &path));
    e = vdi_io_open(call, &path, true, &io);
    stream->fresh = true;
    if (!e)
        e = raw_receive(call, stream, io);
    vdi_io_close(io);
    use.handle->driver->vdi_detach(call, use.handle, made->info.location);
    return e;
}

static struct error *import_new(struct raw *raw, struct raw_stream *stream)
{
    struct vdi_plan plan = {.vdi = ref_new(),
                            .sr = raw->sr,
                            .how = VDI_EMPTY,
                            .name_label = "Imported VDI",
                            .virtual_size = raw->length};
    AUTO(op) op = {0};
    AUTO(making) making = {0};
    struct vdi_made made;

    TRY(making_begin(&raw->call, &plan, VDI_OP_BLOCKED, SR_OP_VDI_CREATE, &op));
    TRY(vdi_plan_check(&raw->call, &plan));
    making = (struct making){&op, &plan};
    TRY(vdi_make(&raw->call, &plan, 0, 0.01, &made));
    TRY(op_step(&op, "prepared", 0.01));
    TRY(fill_new(raw, &plan, &made, stream));
    TRY(op_step(&op, "filled", 0.99));
    TRY(making_commit(&op, &plan, &made));
    making_keep(&making);
    raw->vdi = plan.vdi;
    error_ignore(sr_refresh_sizes(&raw->call, plan.sr)); /* comes right at the next look anyway */
    return OK;
}

static struct error *receive(struct raw *raw, struct raw_stream *stream)
{
    return ref_is_null(raw->vdi) ? import_new(raw, stream) : import_existing(raw, stream);
}

static const char *result_of(struct raw *raw)
{
    return arena_printf(raw->call.arena, "<value>%s</value>", call_ref(&raw->call, raw->vdi));
}

/*** import ***/

/* The task of an upload without one of the client's begins with the first byte. */
static struct error *own_task(struct raw *raw)
{
    return raw->call.task ? OK : task_begin(&raw->call, "VDI.import", true, REF_NULL);
}

static struct error *import_stream(struct raw *raw, struct raw_stream *stream)
{
    struct call *call = &raw->call;

    if (!http_stream_continue(stream->http) || !raw_answer(call, stream, raw->task))
        return err_client_error(call);
    TRY(raw_wait_data(call, stream));
    TRY(own_task(raw));
    return receive(raw, stream);
}

static void run_import(struct raw *raw)
{
    struct raw_stream stream = {.length = raw->length, .chunked = raw->chunked, .vdi = raw->vdi};
    struct error *e;

    stream.http = http_take_over(raw->request);
    raw->request = NULL;
    e = import_stream(raw, &stream);
    if (e && raw->call.task)
        log_info("%s: %s", raw->action, error_line(raw->call.arena, e));
    task_end(&raw->call, e, e ? NULL : result_of(raw));
    http_stream_close(stream.http);
}

/*** export ***/

static struct error *export_disk(struct raw *raw)
{
    struct raw_stream stream = {0};
    AUTO(op) op = {0};
    AUTO(opened) disk = {0};
    struct error *e;

    TRY(begin_transfer(raw, &op));
    TRY(op_step(&op, "exporting", 0.01));
    TRY(open_disk(raw, &disk));
    stream.http = http_take_over(raw->request);
    raw->request = NULL;
    e = raw_send(&raw->call, &stream, disk.io, raw->vdi);
    http_stream_close(stream.http);
    TRY(e);
    TRY(op_step(&op, "exported", 0.99));
    return op_commit(&op, NULL, NULL);
}

static void run_export(struct raw *raw)
{
    struct error *e = raw->call.task ? OK : task_begin(&raw->call, "VDI.export", true, REF_NULL);

    if (!e)
        e = export_disk(raw);
    if (e && raw->request)
        http_error(raw->request, 500, error_line(raw->call.arena, e));
    raw->request = NULL;
    task_end(&raw->call, e, e ? NULL : result_of(raw));
    if (e)
        log_info("%s: %s", raw->action, error_line(raw->call.arena, e));
}

/*** from the loop to a worker ***/

static void run(void *arg)
{
    struct raw *raw = arg;
    struct error *e = OK;
    struct refusal r;

    raw->call.session = raw->who.session;
    if (!ref_is_null(raw->task))
        e = task_begin(&raw->call, raw->action, false, raw->task);
    r = e ? refuse(404, e) : read_request(raw);
    if (r.status) {
        task_end(&raw->call, r.e, NULL);
        http_error(raw->request, r.status, r.why);
    } else if (raw->import) {
        run_import(raw);
    } else {
        run_export(raw);
    }
    raw_free(raw);
}

struct asked {
    struct xapid *xapid;
    bool import;
    const char *action;
};

static struct raw *raw_new(struct http_request *request, const struct asked *asked)
{
    struct arena *arena = arena_new_self();
    struct raw *raw = arena_new(arena, struct raw);
    const char *chunked = http_param(request, "chunked");

    call_init_internal(&raw->call, asked->xapid, arena);
    raw->request = request;
    raw->import = asked->import;
    raw->action = asked->action;
    raw->chunked = chunked && strcmp(chunked, "false") != 0;
    raw->task = task_of(request);
    raw->length = request->content_length;
    return raw;
}

/* Who may not do it fails the task, too: somebody waits for it. */
static void fail_task(void *arg)
{
    struct raw *raw = arg;
    struct error *e = task_begin(&raw->call, raw->action, false, raw->task);

    if (!e)
        task_end(&raw->call,
                 error_new(raw->call.arena, "RBAC_PERMISSION_DENIED", 2, raw->action,
                           "The session's role does not suffice."),
                 NULL);
    raw_free(raw);
}

static void authenticated(struct http_request *request, void *ctx, struct error *e,
                          const struct auth_http_who *who)
{
    const struct asked *asked = ctx;
    struct raw *raw = raw_new(request, asked);

    if (!e) {
        raw->who = *who;
        if (workers_run(asked->xapid->workers, run, raw))
            return;
        http_error(request, 503, "too many transfers are under way");
        raw_free(raw);
        return;
    }
    raw->request = NULL;
    if (!error_is(e, "RBAC_PERMISSION_DENIED") || ref_is_null(raw->task) ||
        !workers_run(asked->xapid->workers, fail_task, raw))
        raw_free(raw);
    auth_http_refuse(request, asked->action, e);
}

static void begin(struct http_request *request, void *ctx, bool import, const char *action)
{
    struct asked *asked = arena_new(request->arena, struct asked);

    *asked = (struct asked){ctx, import, action};
    auth_http(ctx, request, action, authenticated, asked);
}

void raw_import(struct http_request *request, void *ctx)
{
    begin(request, ctx, true, "put_import_raw_vdi");
}

void raw_export(struct http_request *request, void *ctx)
{
    if (request->method == HTTP_M_HEAD) {
        http_error(request, 501, "A disk has no head.");
        return;
    }
    begin(request, ctx, false, "get_export_raw_vdi");
}
