/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* raw.c -- who asks for a transfer, for which disk, in which format, under which task; the data is
 * moved in raw_data.c, image.h and chunks.c. */
#include "xapid/transfer/raw.h"

#include <string.h>

#include "libxapi/base/log.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/storage/attach.h"
#include "xapid/ops/storage/making.h"
#include "xapid/stream/handover.h"
#include "xapid/task/task.h"
#include "xapid/transfer/chunks.h"
#include "xapid/transfer/disk.h"
#include "xapid/transfer/image.h"
#include "xapid/transfer/raw_data.h"

/* The folder of the only disk in an archive. */
#define TAR_DISK "vdi"

enum raw_format { FORMAT_RAW, FORMAT_VHD, FORMAT_QCOW2, FORMAT_TAR, FORMAT_VMDK };

static const struct {
    const char *name, *content_type; /* NULL: is only read */
} formats[] = {
    [FORMAT_RAW] = {"raw", "application/octet-stream"},
    [FORMAT_VHD] = {"vhd", "application/vhd"},
    [FORMAT_QCOW2] = {"qcow2", "application/x-qemu-disk"},
    [FORMAT_TAR] = {"tar", "application/x-tar"},
    [FORMAT_VMDK] = {"vmdk", NULL},
};

/*** one transfer ***/

struct raw {
    struct handover *h;
    struct call *call;
    bool import, chunked;
    enum raw_format format;
    ref_t vdi, sr;  /* one of them */
    ref_t base;     /* only what differs from it; or null */
    int64_t length; /* as announced, or -1 */
};

/*** what is asked for ***/

static struct refusal read_format(struct raw *raw)
{
    const char *format = http_param(raw->h->request, "format");

    if (!format || !*format)
        return (struct refusal){0};
    for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
        if (strcmp(format, formats[i].name) == 0 && (raw->import || formats[i].content_type)) {
            raw->format = (enum raw_format)i;
            return (struct refusal){0};
        }
    }
    return refuse(404,
                  err_invalid_value(raw->call, "format", arena_strdup(raw->call->arena, format)));
}

static struct refusal read_new(struct raw *raw)
{
    const char *sr = http_param(raw->h->request, "sr_id");
    struct error *e;

    if (!sr)
        sr = http_param(raw->h->request, "sr_uuid");
    if (!raw->import || !sr)
        return refuse(400, err_vdi_missing(raw->call, "", ""));
    e = handover_find(raw->call, CLASS_sr, sr, &raw->sr);
    if (e)
        return refuse(404, e);
    /* The new disk is as big as what is sent: of other formats nobody knows yet. */
    if (raw->length <= 0 || raw->chunked || raw->format != FORMAT_RAW)
        return refuse(
            400, err_invalid_value(raw->call, "Content-Length",
                                   arena_printf(raw->call->arena, "%lld", (long long)raw->length)));
    return (struct refusal){0};
}

static struct refusal read_target(struct raw *raw)
{
    const char *vdi = http_param(raw->h->request, "vdi"),
               *base = http_param(raw->h->request, "base");
    struct error *e;

    if (!vdi)
        return read_new(raw);
    e = handover_find(raw->call, CLASS_vdi, vdi, &raw->vdi);
    if (!e && !raw->import && base && *base)
        e = handover_find(raw->call, CLASS_vdi, base, &raw->base);
    return e ? refuse(404, e) : (struct refusal){0};
}

static struct refusal read_request(struct raw *raw)
{
    struct refusal r = read_format(raw);

    if (!r.status && raw->import && http_header(raw->h->request, "transfer-encoding"))
        r = refuse(404, err_import_error_cannot_handle_chunked(raw->call));
    if (!r.status && raw->import && raw->chunked && raw->format != FORMAT_RAW)
        r = refuse(400, err_invalid_value(raw->call, "chunked", "true")); /* is for raw content */
    return r.status ? r : read_target(raw);
}

/* A host that has the disk's repository, where this one does not. */
static const struct host *elsewhere(struct raw *raw)
{
    const struct vdi *vdi = db_find(raw->call, CLASS_vdi, raw->vdi);

    return disks_elsewhere(raw->call, &(struct refs){1, vdi ? &vdi->sr : &raw->sr});
}

/*** the transfer as an operation ***/

static struct error *check_transfer(struct txn *txn, void *arg)
{
    const struct raw *raw = arg;
    const struct vdi *vdi;

    TRY(txn_vdi_check(txn, raw->vdi, raw->import ? VDI_OP_BLOCKED : VDI_OP_COPY, &vdi));
    if (!ref_is_null(raw->base))
        TRY(txn_vdi_check(txn, raw->base, VDI_OP_COPY, &vdi));
    return raw->import ? txn_vdi_check_attach(txn, raw->vdi, REF_NULL, true) : OK;
}

static struct error *begin_transfer(struct raw *raw, struct op *op)
{
    struct vdi_transfer_intent intent = {raw->vdi, REF_NULL};
    const struct op_hold holds[] = {
        {CLASS_vdi, raw->vdi, raw->import ? VDI_OP_BLOCKED : VDI_OP_COPY},
        {CLASS_vdi, raw->base, VDI_OP_COPY}};

    return op_begin(raw->call,
                    &(struct op_spec){.kind = INTENT_vdi_transfer,
                                      .intent = &intent,
                                      .n_holds = ref_is_null(raw->base) ? 1 : 2,
                                      .holds = holds,
                                      .check = check_transfer,
                                      .arg = raw},
                    op);
}

/*** import ***/

static const char *vdi_uuid(struct raw *raw, ref_t ref)
{
    const struct vdi *vdi = db_find(raw->call, CLASS_vdi, ref);

    return vdi ? arena_strdup(raw->call->arena, vdi->uuid) : "";
}

static struct error *receive_tar(struct raw *raw, struct source *from, struct vdi_io *io)
{
    AUTO(chunk_reader) reader = {0};
    struct tar_reader tar;
    bool found;

    tar_reader_init(&tar, from);
    chunk_reader_init(&reader, &tar, vdi_io_size(io));
    TRY(tar_next(raw->call, &tar, &found));
    if (!found)
        return err_import_error_premature_eof(raw->call);
    return chunks_receive(raw->call, &reader, TAR_DISK, vdi_io_size(io), io, false);
}

static struct error *receive_data(struct raw *raw, struct body *body, struct vdi_io *io)
{
    struct image_disk disk = {.io = io, .vdi = raw->vdi, .uuid = "", .announced = raw->length};
    struct raw_stream stream = {.body = body, .chunked = raw->chunked, .vdi = raw->vdi};
    struct body_source source;

    body_source_init(&source, body);
    switch (raw->format) {
    case FORMAT_VHD:
        return vhd_receive(raw->call, &source.source, &disk);
    case FORMAT_QCOW2:
        return qcow2_receive(raw->call, &source.source, &disk);
    case FORMAT_TAR:
        return receive_tar(raw, &source.source, io);
    case FORMAT_VMDK:
        return vmdk_receive(raw->call, &source.source, &disk);
    case FORMAT_RAW:
        break;
    }
    return raw_receive(raw->call, &stream, io);
}

static struct error *import_existing(struct raw *raw, struct body *body)
{
    AUTO(op) op = {0};
    AUTO(open_disk) disk = {0};

    TRY(begin_transfer(raw, &op));
    TRY(op_step(&op, "importing", 0.01));
    TRY(open_disk(raw->call, raw->vdi, true, &disk));
    TRY(receive_data(raw, body, disk.io));
    open_disk_release(&disk);
    TRY(op_step(&op, "imported", 0.99));
    return op_commit(&op, NULL, NULL);
}

/* The new disk has no record yet: nobody else can see it. */
static struct error *fill_new(struct raw *raw, const struct vdi_plan *plan,
                              const struct vdi_made *made, struct body *body)
{
    struct raw_stream stream = {.body = body, .fresh = true};
    struct call *call = raw->call;
    AUTO(sr_use) use = {0};
    struct vdi_io *io = NULL;
    struct vdi_path path;
    struct error *e;

    TRY(sr_use(call, plan->sr, &use));
    TRY(use.handle->driver->vdi_attach(call, use.handle, made->info.location, true, &path));
    e = vdi_io_open(call, &path, true, &io);
    if (!e)
        e = raw_receive(call, &stream, io);
    vdi_io_close(io);
    use.handle->driver->vdi_detach(call, use.handle, made->info.location);
    return e;
}

static struct error *import_new(struct raw *raw, struct body *body)
{
    struct vdi_plan plan = {.vdi = ref_new(),
                            .sr = raw->sr,
                            .how = VDI_EMPTY,
                            .name_label = "Imported VDI",
                            .virtual_size = raw->length};
    AUTO(op) op = {0};
    AUTO(making) making = {0};
    struct vdi_made made;

    TRY(making_begin(raw->call, &plan, VDI_OP_BLOCKED, SR_OP_VDI_CREATE, &op));
    TRY(vdi_plan_check(raw->call, &plan));
    making = (struct making){&op, &plan};
    TRY(vdi_make(raw->call, &plan, 0, 0.01, &made));
    TRY(op_step(&op, "prepared", 0.01));
    TRY(fill_new(raw, &plan, &made, body));
    TRY(op_step(&op, "filled", 0.99));
    TRY(making_commit(&op, &plan, &made));
    making_keep(&making);
    raw->vdi = plan.vdi;
    error_ignore(sr_refresh_sizes(raw->call, plan.sr)); /* comes right at the next look anyway */
    return OK;
}

/* The task of an upload without one of the client's begins with the first byte. */
static struct error *import_stream(struct raw *raw, struct body *body)
{
    if (!body_answer(raw->call, body, raw->h->task))
        return err_client_error(raw->call);
    TRY(body_wait(raw->call, body));
    TRY(handover_own_task(raw->h, "VDI.import"));
    return ref_is_null(raw->vdi) ? import_new(raw, body) : import_existing(raw, body);
}

static const char *result_of(struct raw *raw)
{
    return arena_printf(raw->call->arena, "<value>%s</value>", call_ref(raw->call, raw->vdi));
}

static void run_import(struct raw *raw)
{
    struct body body = {.length = raw->length, .http = handover_take(raw->h)};
    struct error *e = import_stream(raw, &body);

    if (e && raw->call->task)
        log_info("%s: %s", raw->h->action, error_line(raw->call->arena, e));
    task_end(raw->call, e, e ? NULL : result_of(raw));
    http_stream_close(body.http);
}

/*** export ***/

static struct error *send_tar(struct raw *raw, struct vdi_io *io, struct sink *to)
{
    AUTO(chunk_writer) writer = {0};

    chunk_writer_init(&writer, to, vdi_io_size(io));
    TRY(chunks_send(raw->call, &writer, TAR_DISK, io));
    return tar_end(raw->call, to);
}

static struct error *send_data(struct raw *raw, const struct image_disk *disk, struct sink *to)
{
    switch (raw->format) {
    case FORMAT_VHD:
        return vhd_send(raw->call, disk, to);
    case FORMAT_QCOW2:
        return qcow2_send(raw->call, disk, to);
    case FORMAT_TAR:
        return send_tar(raw, disk->io, to);
    case FORMAT_VMDK: /* read_format */
    case FORMAT_RAW:
        break;
    }
    return raw_send(raw->call, disk->io, to);
}

static struct error *send_answer(struct raw *raw, const struct image_disk *disk,
                                 struct stream_sink *sink)
{
    const char *name = arena_printf(raw->call->arena, "attachment; filename=\"%s.%s\"", disk->uuid,
                                    formats[raw->format].name);
    const struct http_pair headers[] = {{"Content-Type", formats[raw->format].content_type},
                                        {"Content-Disposition", name},
                                        {"task-id", raw->call->task ? raw->call->task->key : ""}};
    int64_t length = raw->format == FORMAT_RAW ? vdi_io_size(disk->io) : -1;

    if (!http_stream_start(sink->http, 200, length, ARRAY_SIZE(headers), headers))
        return err_client_error(raw->call);
    TRY(send_data(raw, disk, &sink->sink));
    return stream_sink_flush(raw->call, sink);
}

static struct error *send_disk(struct raw *raw, const struct image_disk *disk)
{
    AUTO(stream_sink) sink = {0};
    struct http_stream *stream;
    struct error *e;

    if (raw->format == FORMAT_VHD)
        TRY(vhd_check_size(raw->call, disk));
    stream = handover_take(raw->h);
    stream_sink_init(&sink, stream);
    e = send_answer(raw, disk, &sink);
    http_stream_close(stream);
    return e;
}

static struct error *export_disk(struct raw *raw)
{
    AUTO(op) op = {0};
    AUTO(open_disk) disk = {0};
    AUTO(open_disk) base = {0};
    struct image_disk image;

    TRY(begin_transfer(raw, &op));
    TRY(op_step(&op, "exporting", 0.01));
    TRY(open_disk(raw->call, raw->vdi, false, &disk));
    if (!ref_is_null(raw->base))
        TRY(open_disk(raw->call, raw->base, false, &base));
    image = (struct image_disk){.io = disk.io,
                                .vdi = raw->vdi,
                                .uuid = vdi_uuid(raw, raw->vdi),
                                .base = base.io,
                                .base_uuid = vdi_uuid(raw, raw->base)};
    TRY(send_disk(raw, &image));
    TRY(op_step(&op, "exported", 0.99));
    return op_commit(&op, NULL, NULL);
}

static void run_export(struct raw *raw)
{
    struct error *e = handover_own_task(raw->h, "VDI.export");

    if (!e)
        e = export_disk(raw);
    if (e)
        log_info("%s: %s", raw->h->action, error_line(raw->call->arena, e));
    if (e && raw->h->request)
        handover_refuse(raw->h, (struct refusal){500, error_line(raw->call->arena, e), e});
    else
        task_end(raw->call, e, e ? NULL : result_of(raw));
}

/*** the handlers ***/

static void run(struct handover *h, bool import)
{
    const char *chunked = http_param(h->request, "chunked");
    const struct host *other;
    struct raw raw = {.h = h,
                      .call = &h->call,
                      .import = import,
                      .chunked = chunked && strcmp(chunked, "false") != 0,
                      .length = h->request->content_length};
    struct refusal r = read_request(&raw);

    other = r.status ? NULL : elsewhere(&raw);
    if (r.status)
        handover_refuse(h, r);
    else if (other)
        handover_elsewhere(h, other);
    else if (import)
        run_import(&raw);
    else
        run_export(&raw);
}

static void run_put(struct handover *h)
{
    run(h, true);
}

static void run_get(struct handover *h)
{
    run(h, false);
}

void raw_import(struct http_request *request, void *ctx)
{
    handover_begin(ctx, request, "put_import_raw_vdi", run_put);
}

void raw_export(struct http_request *request, void *ctx)
{
    if (request->method == HTTP_M_HEAD)
        http_error(request, 501, "A disk has no head.");
    else
        handover_begin(ctx, request, "get_export_raw_vdi", run_get);
}
