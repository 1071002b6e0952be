/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/trace/trace.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "libxapi/codec/codec.h"
#include "libxapi/value/value.h"
#include "xapid/main/xapid.h"

#define WAITING_MAX ((size_t)4 << 20)
#define FILE_MAX ((off_t)1 << 20)
#define FILES 8 /* for each observer: the newest and older ones */
#define WRITE_PERIOD USEC_PER_SEC
#define NAME_SIZE (UUID_TEXT_SIZE - 1)

struct traces {
    struct xapid *xapid;
    char *dir;
    struct mutex lock; /* of what follows */
    struct cond wake;
    struct buf waiting; /* lines: the observer's uuid, then its span */
    uint64_t dropped;
    bool stopping;
    struct thread thread;
};

/*** noting ***/

static bool observes(const struct observer *o, ref_t host)
{
    bool here = !o->hosts.n, calls = !o->components.n;

    for (size_t i = 0; i < o->hosts.n; i++)
        here |= ref_equal(o->hosts.v[i], host);
    calls |= strings_contain(&o->components, TRACE_COMPONENT);
    return o->enabled && here && calls && strings_contain(&o->endpoints, TRACE_ENDPOINT);
}

static void put_tag(struct buf *out, const char *key, const char *value)
{
    if (out->data[out->len - 1] != '{')
        buf_putc(out, ',');
    codec_json.string(out, key);
    buf_putc(out, ':');
    codec_json.string(out, value);
}

static void put_span(struct buf *out, const struct call *call, const struct observer *o,
                     const struct span *span)
{
    const struct host *host = db_find(call, CLASS_host, call->xapid->host);

    buf_printf(out, "%s{\"id\":\"%016llx\",", o->uuid, (unsigned long long)random_u64());
    if (*span->parent.trace)
        buf_printf(out, "\"traceId\":\"%s\",\"parentId\":\"%s\",", span->parent.trace,
                   span->parent.span);
    else
        buf_printf(out, "\"traceId\":\"%016llx%016llx\",", (unsigned long long)random_u64(),
                   (unsigned long long)random_u64());
    buf_puts(out, "\"name\":");
    codec_json.string(out, span->name);
    buf_printf(out,
               ",\"kind\":\"SERVER\",\"timestamp\":%lld,\"duration\":%lld,"
               "\"localEndpoint\":{\"serviceName\":\"" TRACE_COMPONENT "\"},\"tags\":{",
               (long long)(clock_wall() - span->took), (long long)span->took);
    for (size_t i = 0; i < o->attributes.n; i++)
        put_tag(out, o->attributes.v[i].key, o->attributes.v[i].value);
    put_tag(out, "xs.observer.name", o->name_label);
    put_tag(out, "xs.host.uuid", host ? host->uuid : "");
    if (span->user)
        put_tag(out, "user", span->user);
    if (span->error)
        put_tag(out, "error", span->error->code);
    buf_puts(out, "}}\n");
}

void trace_note(struct call *call, const struct span *span)
{
    struct traces *t = call->xapid->traces;
    const struct observer *o;
    struct buf lines = {0};
    struct db_walk walk;

    if (!t || !call->snap || !snap_root(call->snap)->tables[CLASS_observer].count)
        return;
    db_walk(call->snap, CLASS_observer, &walk);
    while ((o = db_walk_next(&walk)))
        if (observes(o, call->xapid->host))
            put_span(&lines, call, o, span);
    mutex_lock(&t->lock);
    if (t->waiting.len + lines.len <= WAITING_MAX)
        buf_add(&t->waiting, lines.data, lines.len);
    else
        t->dropped++;
    mutex_unlock(&t->lock);
    buf_release(&lines);
}

/*** files ***/

/* The n-th of an observer, the newest first. */
static char *path_of(const struct traces *t, const char *uuid, int n)
{
    return n ? xasprintf("%s/%.36s.%d.ndjson", t->dir, uuid, n)
             : xasprintf("%s/%.36s.ndjson", t->dir, uuid);
}

/* Each becomes the next older one; the oldest goes.  A missing one is no matter. */
static void rotate(const struct traces *t, const char *uuid)
{
    for (int i = FILES - 1; i > 0; i--) {
        char *from = path_of(t, uuid, i - 1), *to = path_of(t, uuid, i);

        if (rename(from, to) < 0 && errno != ENOENT)
            log_warning("traces: %s: %s", from, strerrordesc_np(errno));
        free(from);
        free(to);
    }
}

static void append(const struct traces *t, const char *uuid, const char *line, size_t n)
{
    char *path = path_of(t, uuid, 0);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0 || write(fd, line, n) != (ssize_t)n)
        log_warning("traces: %s: %s", path, strerrordesc_np(errno));
    else if (st.st_size + (off_t)n > FILE_MAX)
        rotate(t, uuid);
    if (fd >= 0)
        close(fd);
    free(path);
}

static void write_lines(const struct traces *t, const struct buf *lines)
{
    const char *p = lines->data, *end = p + lines->len;

    while (p < end) {
        const char *next = (const char *)memchr(p, '\n', (size_t)(end - p)) + 1;

        append(t, p, p + NAME_SIZE, (size_t)(next - p) - NAME_SIZE);
        p = next;
    }
}

/* False at the end, once nothing is left. */
static bool take_waiting(struct traces *t, struct buf *out, uint64_t *dropped)
{
    MUTEX_GUARD(&t->lock);
    usec_t deadline = clock_mono() + WRITE_PERIOD;

    while (!t->stopping && clock_mono() < deadline)
        cond_wait_until(&t->wake, &t->lock, deadline);
    *out = t->waiting;
    *dropped = t->dropped;
    t->waiting = (struct buf){0};
    t->dropped = 0;
    return !t->stopping || out->len;
}

static void *run(void *arg)
{
    struct traces *t = arg;
    struct buf lines;
    uint64_t dropped;

    while (take_waiting(t, &lines, &dropped)) {
        write_lines(t, &lines);
        buf_release(&lines);
        if (dropped)
            log_warning("traces: %llu calls came too fast to be written down",
                        (unsigned long long)dropped);
    }
    return NULL;
}

/* Files of observers that are no more. */
static void sweep(const struct traces *t, struct call *call)
{
    DIR *dir = opendir(t->dir);
    struct dirent *entry;
    ref_t ref;

    while (dir && (entry = readdir(dir))) {
        const char *uuid = arena_printf(call->arena, "%.36s", entry->d_name);

        if (*uuid != '.' && db_by_uuid(call, CLASS_observer, uuid, &ref) != OK)
            unlinkat(dirfd(dir), entry->d_name, 0);
    }
    if (dir)
        closedir(dir);
}

/*** begin and end ***/

struct traces *traces_new(struct xapid *xapid)
{
    struct traces *t = xcalloc(1, sizeof *t);
    struct arena arena = {0};
    struct call call;

    t->xapid = xapid;
    t->dir = xasprintf("%s/traces", xapid->options.state_dir);
    mutex_init(&t->lock);
    cond_init(&t->wake);
    if (mkdir(t->dir, 0700) < 0 && errno != EEXIST)
        log_warning("traces: %s: %s", t->dir, strerrordesc_np(errno));
    call_init_internal(&call, xapid, &arena);
    sweep(t, &call);
    call_release(&call);
    arena_release(&arena);
    thread_start(&t->thread, "traces", run, t);
    return t;
}

void traces_free(struct traces *t)
{
    if (!t)
        return;
    mutex_lock(&t->lock);
    t->stopping = true;
    cond_signal(&t->wake);
    mutex_unlock(&t->lock);
    thread_join(&t->thread);
    buf_release(&t->waiting);
    cond_release(&t->wake);
    mutex_release(&t->lock);
    free(t->dir);
    free(t);
}

static void tell_file(const char *path, struct buf *out, size_t limit)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    size_t room = limit > out->len ? limit - out->len : 0;
    ssize_t n;

    room = MIN(room, (size_t)FILE_MAX);
    buf_reserve(out, room);
    n = fd >= 0 ? read(fd, out->data + out->len, room) : 0;
    out->len += n > 0 ? (size_t)n : 0;
    if (fd >= 0)
        close(fd);
}

void traces_tell(const struct call *call, struct buf *out, size_t limit)
{
    const struct observer *o;
    struct db_walk walk;

    db_walk(call->snap, CLASS_observer, &walk);
    while ((o = db_walk_next(&walk)))
        for (int i = 0; call->xapid->traces && i < FILES; i++) {
            char *path = path_of(call->xapid->traces, o->uuid, i);

            tell_file(path, out, limit);
            free(path);
        }
}
