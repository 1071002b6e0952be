/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * status.c -- reports on this host, sent as they are made.
 *
 * tar and zip go out while the report is written; a compressed one is written to a file first,
 * because only then is it known that compressing it works.
 */
#include "xapid/stream/status.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/base/child.h"
#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "xapid/auth/auth.h"
#include "xapid/http/http.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/host/status.h"
#include "xapid/ops/host/upload.h"
#include "xapid/task/task.h"
#include "xapid/worker/workers.h"

#define STALL (60 * USEC_PER_SEC)
#define COMPRESS_TIME (600 * USEC_PER_SEC)
#define BLOCK (64 << 10)

static const struct output {
    const char *name, *type;
    enum archive_format format;
    bool compressed;
} outputs[] = {
    {"tar", "application/x-tar", ARCHIVE_TAR, false},
    {"tar.bz2", "application/x-bzip2", ARCHIVE_TAR, true},
    {"zip", "application/zip", ARCHIVE_ZIP, false},
};

/* Lives in an arena of its own: the request ends before the task does. */
struct report {
    struct call call;
    struct http_request *request; /* NULL once answered or taken over */
    struct auth_http_who who;
    const char *action;
    bool only_logs;
    ref_t task;
};

static void report_free(struct report *r)
{
    struct arena *arena = r->call.arena;
    struct xapid *xapid = r->call.xapid;

    r->call.session = NULL; /* counted by 'who' */
    call_release(&r->call);
    auth_http_release(xapid, &r->who);
    arena_free_self(arena);
}

/*** sending ***/

static bool to_stream(void *ctx, const void *data, size_t size)
{
    return http_stream_write(ctx, data, size, STALL);
}

static bool to_spool(void *ctx, const void *data, size_t size)
{
    const struct upload_spool *spool = ctx;

    return write(spool->fd, data, size) == (ssize_t)size;
}

static struct http_stream *start(struct report *r, const struct output *o, int64_t size)
{
    struct http_stream *s = http_take_over(r->request);
    const struct http_pair headers[] = {
        {"content-type", o->type},
        {"Content-Disposition",
         arena_printf(r->call.arena, "attachment; filename=\"%s.%s\"",
                      r->only_logs ? "host-logs" : "system-status", o->name)},
    };

    r->request = NULL;
    /* A client that has gone is noticed by the first write. */
    if (!http_stream_start(s, 200, size, ARRAY_SIZE(headers), headers))
        log_info("%s: the client has gone", r->action);
    return s;
}

static struct error *send_as_it_goes(struct report *r, const struct output *o, uint64_t entries)
{
    AUTO(archive) a = {.format = o->format, .write = to_stream, .time = clock_wall()};
    struct http_stream *s = start(r, o, -1);
    struct error *e;

    a.ctx = s;
    e = status_write(&r->call, entries, &a);
    http_stream_close(s);
    return e;
}

/* In place of the spooled file comes its compressed form, open and without a name. */
static struct error *compress(struct report *r, const struct upload_spool *spool, int *fd)
{
    const char *path = arena_printf(r->call.arena, "%s.bz2", spool->path);
    const char *argv[] = {"bzip2", "--keep", "--force", spool->path, NULL};
    struct child_spec spec = {.argv = argv, .timeout = COMPRESS_TIME};
    struct child_result result;
    struct error *e = child_run(r->call.arena, &spec, &result);

    *fd = open(path, O_RDONLY | O_CLOEXEC);
    unlink(path);
    if (!e && (result.status != 0 || *fd < 0))
        e = err_system_status_retrieval_failed(
            &r->call,
            arena_printf(r->call.arena, "bzip2: %s", *result.errors ? result.errors : "it failed"));
    if (e && *fd >= 0)
        close(*fd);
    return e;
}

static void send_file(struct report *r, const struct output *o, int fd)
{
    struct http_stream *s = start(r, o, lseek(fd, 0, SEEK_END));
    char *block = arena_alloc(r->call.arena, BLOCK);
    ssize_t n;

    lseek(fd, 0, SEEK_SET);
    while ((n = read(fd, block, BLOCK)) > 0 && http_stream_write(s, block, (size_t)n, STALL))
        ;
    close(fd);
    http_stream_close(s);
}

static struct error *send_compressed(struct report *r, const struct output *o, uint64_t entries)
{
    AUTO(upload_spool) spool = {0};
    AUTO(archive) a = {.format = o->format, .write = to_spool, .ctx = &spool};
    int fd;

    TRY(upload_spool_make(&r->call, "status", &spool));
    a.time = clock_wall();
    TRY(status_write(&r->call, entries, &a));
    TRY(compress(r, &spool, &fd));
    send_file(r, o, fd);
    return OK;
}

/*** what is asked for ***/

static const struct output *output_of(const struct http_request *request)
{
    const char *name = http_param(request, "output");

    if (!name || !*name)
        return &outputs[0];
    for (size_t i = 0; i < ARRAY_SIZE(outputs); i++)
        if (strcmp(outputs[i].name, name) == 0)
            return &outputs[i];
    return NULL;
}

static void send_list(struct report *r)
{
    const char *xml = status_capabilities(r->call.arena);

    http_reply(r->request,
               &(struct http_response){
                   .status = 200, .content_type = "text/xml", .data = xml, .size = strlen(xml)});
    r->request = NULL;
}

static struct error *make_report(struct report *r)
{
    const char *list = http_param(r->request, "entries");
    const struct output *o = output_of(r->request);
    uint64_t entries = status_logs();

    if (!o)
        return err_invalid_value(&r->call, "output",
                                 arena_strdup(r->call.arena, http_param(r->request, "output")));
    if (!r->only_logs)
        TRY(status_entries(&r->call, list ? list : "", &entries));
    return o->compressed ? send_compressed(r, o, entries) : send_as_it_goes(r, o, entries);
}

static void run(void *arg)
{
    struct report *r = arg;
    struct error *e;

    r->call.session = r->who.session;
    e = task_begin(&r->call, r->action, false, r->task);
    if (!e && !r->only_logs && http_param(r->request, "list"))
        send_list(r);
    else if (!e)
        e = make_report(r);
    if (e)
        log_info("%s: %s", r->action, error_line(r->call.arena, e));
    if (e && r->request)
        http_error(r->request, error_is(e, "INVALID_VALUE") ? 400 : 500,
                   error_line(r->call.arena, e));
    if (r->call.task)
        task_end(&r->call, e, e ? NULL : "<value></value>");
    report_free(r);
}

/*** from the loop to a worker ***/

static ref_t task_of(const struct http_request *request)
{
    const char *text = http_param(request, "task_id");
    ref_t ref;

    return text && ref_from_text(text, &ref) ? ref : REF_NULL;
}

struct asked {
    struct xapid *xapid;
    const char *action;
    bool only_logs;
};

static void authenticated(struct http_request *request, void *ctx, struct error *e,
                          const struct auth_http_who *who)
{
    const struct asked *asked = ctx;
    struct arena *arena;
    struct report *r;

    if (e) {
        auth_http_refuse(request, asked->action, e);
        return;
    }
    arena = arena_new_self();
    r = arena_new(arena, struct report);
    call_init_internal(&r->call, asked->xapid, arena);
    r->request = request;
    r->who = *who;
    r->action = asked->action;
    r->only_logs = asked->only_logs;
    r->task = task_of(request);
    if (workers_run(asked->xapid->workers, run, r))
        return;
    http_error(request, 503, "too many calls are waiting");
    report_free(r);
}

static void begin(struct http_request *request, struct xapid *xapid, const char *action,
                  bool only_logs)
{
    struct asked *asked = arena_new(request->arena, struct asked);

    if (request->method == HTTP_M_HEAD) {
        http_error(request, 501, "A report has no head.");
        return;
    }
    *asked = (struct asked){xapid, action, only_logs};
    auth_http(xapid, request, action, authenticated, asked);
}

void status_get(struct http_request *request, void *ctx)
{
    begin(request, ctx, "get_system_status", false);
}

void status_get_logs(struct http_request *request, void *ctx)
{
    begin(request, ctx, "get_host_logs_download", true);
}
