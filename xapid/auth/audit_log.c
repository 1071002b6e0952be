/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* audit_log.c -- GET /audit_log: the lines since a date, rotated files oldest first. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "xapid/auth/audit_internal.h"
#include "xapid/auth/auth.h"
#include "xapid/http/http.h"
#include "xapid/main/xapid.h"
#include "xapid/worker/workers.h"

#define ACTION "get_audit_log"
#define SINCE_SIZE 32
#define SLICE (64 * 1024)
#define WRITE_TIMEOUT (60 * USEC_PER_SEC)
#define FLUSH_TIMEOUT (2 * USEC_PER_SEC)

struct download {
    struct xapid *xapid;
    struct http_request *request;
    char since[SINCE_SIZE];
};

struct pouring {
    struct http_stream *stream;
    struct buf buf;
    bool ok;
};

/*
 * The beginning of a date as our lines have it: without hyphens and "Z".  A whole date may have a
 * zone.  False if it is none.
 */
static bool read_since(const char *text, char out[SINCE_SIZE])
{
    char date[DATE_TEXT_SIZE];
    size_t n = 0;
    usec_t when;

    if (strlen(text) >= SINCE_SIZE)
        return false;
    if (strchr(text, 'T') && date_from_text(text, &when))
        text = date_to_text(when, date);
    for (; *text; text++) {
        if (*text == '-')
            continue;
        if (*text == 'Z' && !text[1])
            break;
        if (!strchr("0123456789T:.", *text))
            return false;
        out[n++] = *text;
    }
    out[n] = '\0';
    return true;
}

static void pour(struct pouring *p, const char *line, size_t size)
{
    buf_add(&p->buf, line, size);
    if (p->buf.len < SLICE)
        return;
    p->ok = http_stream_write(p->stream, p->buf.data, p->buf.len, WRITE_TIMEOUT);
    p->buf.len = 0;
}

/* Lines without a date belong to the one before. */
static void pour_file(struct pouring *p, FILE *f, const char *since, bool *wanted)
{
    size_t room = 0, n = strlen(since);
    char *line = NULL;
    int64_t left;
    struct stat st;
    ssize_t size;

    left = fstat(fileno(f), &st) == 0 ? st.st_size : 0; /* it may grow faster than it is sent */
    while (p->ok && left > 0 && (size = getline(&line, &room, f)) > 0) {
        if (line[0] == '[' && size > 1 && line[1] >= '0' && line[1] <= '9')
            *wanted = strncmp(line + 1, since, n) >= 0;
        if (*wanted)
            pour(p, line, (size_t)size);
        left -= size;
    }
    free(line);
}

static void send_log(void *arg)
{
    struct download *d = arg;
    struct audit *audit = d->xapid->audit;
    struct http_pair type = {"Content-Type", "text/plain"};
    struct pouring p = {.stream = http_take_over(d->request)};
    FILE *files[AUDIT_MAX_FILES];
    bool wanted = !*d->since;
    int n;

    /* A disk that does not take the last lines is no reason to keep the others back. */
    if (!audit_flush(audit, FLUSH_TIMEOUT))
        log_warning("the audit log is sent without its last lines, which are not written yet");
    n = audit_open_files(audit, files);
    p.ok = http_stream_start(p.stream, 200, -1, 1, &type);
    for (int i = 0; i < n; i++) {
        pour_file(&p, files[i], d->since, &wanted);
        fclose(files[i]);
    }
    if (p.ok && p.buf.len)
        p.ok = http_stream_write(p.stream, p.buf.data, p.buf.len, WRITE_TIMEOUT);
    http_stream_close(p.stream);
    buf_release(&p.buf);
    free(d);
}

static void on_identity(struct http_request *request, void *ctx, struct error *e,
                        const struct auth_http_who *found)
{
    struct xapid *xapid = ctx;
    const char *since = http_query(request, "since");
    struct auth_http_who who;
    struct download *d;

    if (e) {
        auth_http_refuse(request, ACTION, e);
        return;
    }
    who = *found;
    auth_http_release(xapid, &who);
    if (request->method == HTTP_M_HEAD) {
        http_reply(request, &(struct http_response){.status = 200, .content_type = "text/plain"});
        return;
    }
    d = xcalloc(1, sizeof *d);
    d->xapid = xapid;
    d->request = request;
    if (!read_since(since ? since : "", d->since)) {
        free(d);
        http_error(request, 400, "since is not the beginning of a date");
    } else if (!workers_run(xapid->workers, send_log, d)) {
        free(d);
        http_error(request, 503, NULL);
    }
}

void audit_log_get(struct http_request *request, void *ctx)
{
    auth_http(ctx, request, ACTION, on_identity, ctx);
}
