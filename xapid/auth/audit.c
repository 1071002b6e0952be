/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * audit.c -- the queue, the thread that writes it, and the files.
 *
 * A line is whole or not there: what a failing disk took of a batch is cut off again, and what a
 * crash left without its end is ended at the next start.  Lines of the last second may be lost when
 * the power fails, none that was written when only the daemon dies.
 */
#include "xapid/auth/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "xapid/auth/audit_internal.h"
#include "xapid/main/xapid.h"

#define MAX_SIZE (8 << 20)
#define KEEP 8
#define MAX_WAITING (4 << 20)
#define COMPLAIN_EVERY (60 * USEC_PER_SEC)
/* Syncing each line would cost every durable write of the database another one's time: they share a
 * disk. */
#define SYNC_EVERY USEC_PER_SEC

struct audit {
    struct audit_options options;
    char *path;
    struct thread writer;
    struct mutex
        file_lock; /* guards the names of the files, and 'fd' and 'size'; taken before 'lock' */
    int fd;
    int64_t size;
    usec_t complained; /* monotonic; the writer's */
    usec_t unsynced;   /* since when something is; monotonic, 0: nothing; the writer's */
    struct mutex lock; /* guards what follows */
    struct cond work, idle;
    struct buf queue;
    uint64_t queued, written; /* batches: how far the writer has come */
    uint64_t lost;            /* lines, since the last one that says so */
    bool closing;
};

/*** files ***/

static char *old_name(const struct audit *a, int i)
{
    return i ? xasprintf("%s.%d", a->path, i) : xstrdup(a->path);
}

/* Ends a line that a crash has left open. */
static void mend_end(int fd, int64_t size)
{
    char last;

    if (size > 0 && pread(fd, &last, 1, size - 1) == 1 && last != '\n' && write(fd, "\n", 1) < 0)
        return; /* the next write says why */
}

static bool file_open(struct audit *a)
{
    struct stat st;

    a->fd = open(a->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (a->fd < 0)
        return false;
    if (fstat(a->fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        close(a->fd);
        a->fd = -1;
        errno = EINVAL;
        return false;
    }
    mend_end(a->fd, st.st_size);
    if (fstat(a->fd, &st) == 0)
        a->size = st.st_size;
    return true;
}

static void complain(struct audit *a, const char *what)
{
    usec_t now = clock_mono();

    if (a->complained && now - a->complained < COMPLAIN_EVERY)
        return;
    a->complained = now;
    log_error("the audit log %s cannot be written, %s: %s", a->path, what, strerror(errno));
}

static void sync_file(struct audit *a)
{
    if (a->unsynced && fdatasync(a->fd) < 0)
        complain(a, "the lines of the last second may be lost");
    a->unsynced = 0;
}

/* From the oldest on, so that a crash between two renames loses nothing but the oldest. */
static void rotate(struct audit *a)
{
    sync_file(a);
    for (int i = a->options.keep; i > 0; i--) {
        char *from = old_name(a, i - 1), *to = old_name(a, i);

        if (rename(from, to) < 0 && errno != ENOENT)
            log_error("%s could not be renamed: %s", from, strerror(errno));
        free(from);
        free(to);
    }
    close(a->fd);
    a->fd = -1;
    a->size = 0;
}

static bool write_whole(struct audit *a, const char *p, size_t n)
{
    size_t done = 0;

    while (done < n) {
        ssize_t got = write(a->fd, p + done, n - done);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        done += (size_t)got;
    }
    if (done < n) {
        int saved = errno;

        if (done && ftruncate(a->fd, a->size) < 0)
            a->size += (int64_t)done;
        errno = saved;
        return false;
    }
    a->size += (int64_t)n;
    return true;
}

static bool write_batch(struct audit *a, const char *p, size_t n)
{
    MUTEX_GUARD(&a->file_lock);
    if (a->fd >= 0 && a->size > 0 && a->size + (int64_t)n > a->options.max_size)
        rotate(a);
    if (a->fd < 0 && !file_open(a))
        return false;
    if (!write_whole(a, p, n))
        return false;
    if (!a->unsynced)
        a->unsynced = clock_mono();
    return true;
}

static uint64_t lines_in(const struct buf *batch)
{
    uint64_t n = 0;

    for (size_t i = 0; i < batch->len; i++)
        n += batch->data[i] == '\n';
    return n;
}

/*** the writer ***/

static void to_syslog(const struct buf *batch)
{
    const char *p = batch->data, *end;

    while ((end = memchr(p, '\n', (size_t)(batch->data + batch->len - p)))) {
        syslog(LOG_AUTHPRIV | LOG_NOTICE, "%.*s", (int)(end - p), p);
        p = end + 1;
    }
}

static void say_lost(struct buf *out, uint64_t lost)
{
    if (lost)
        buf_printf(out, "[audit: %llu lines before this one were lost]\n",
                   (unsigned long long)lost);
}

/* Until there are lines, an end, or something to sync: then false. */
static bool wait_for_lines(struct audit *a)
{
    while (!a->queue.len && !a->closing) {
        if (!a->unsynced)
            cond_wait(&a->work, &a->lock);
        else if (!cond_wait_until(&a->work, &a->lock, a->unsynced + SYNC_EVERY))
            return false;
    }
    return a->closing || !a->unsynced || clock_mono() < a->unsynced + SYNC_EVERY;
}

/* Takes what is queued; false when there is nothing more and never will be. */
static bool take(struct audit *a, struct buf *out, uint64_t *lost, uint64_t *upto)
{
    MUTEX_GUARD(&a->lock);
    while (!wait_for_lines(a)) {
        mutex_unlock(&a->lock);
        sync_file(a);
        mutex_lock(&a->lock);
    }
    if (!a->queue.len)
        return false;
    *lost = a->lost;
    a->lost = 0;
    *upto = a->queued;
    say_lost(out, *lost);
    buf_add(out, a->queue.data, a->queue.len);
    buf_release(&a->queue);
    return true;
}

static void *writer_run(void *arg)
{
    struct audit *a = arg;
    struct buf batch = {0};
    uint64_t lost, upto;

    while (take(a, &batch, &lost, &upto)) {
        bool ok = write_batch(a, batch.data, batch.len);

        if (!ok)
            complain(a, "lines are lost");
        if (a->options.syslog)
            to_syslog(&batch);
        mutex_lock(&a->lock);
        if (!ok)
            a->lost += lost ? lines_in(&batch) - 1 + lost : lines_in(&batch);
        a->written = upto;
        cond_broadcast(&a->idle);
        mutex_unlock(&a->lock);
        buf_release(&batch);
    }
    sync_file(a);
    return NULL;
}

void audit_queue(struct audit *a, const char *line, size_t size)
{
    MUTEX_GUARD(&a->lock);
    if (a->queue.len + size + 1 > a->options.max_waiting) {
        a->lost++;
        return;
    }
    buf_add(&a->queue, line, size);
    buf_putc(&a->queue, '\n');
    a->queued++;
    cond_signal(&a->work);
}

bool audit_flush(struct audit *a, usec_t timeout)
{
    usec_t deadline = clock_mono() + timeout;
    uint64_t upto;

    MUTEX_GUARD(&a->lock);
    upto = a->queued;
    while (a->written < upto)
        if (!cond_wait_until(&a->idle, &a->lock, deadline))
            return a->written >= upto;
    return true;
}

/*** opening ***/

int audit_open_files(struct audit *a, FILE *out[AUDIT_MAX_FILES])
{
    int n = 0;

    MUTEX_GUARD(&a->file_lock);
    for (int i = a->options.keep; i >= 0; i--) {
        char *name = old_name(a, i);
        FILE *f = fopen(name, "re");

        if (f)
            out[n++] = f;
        free(name);
    }
    return n;
}

struct error *audit_open(struct arena *arena, const struct audit_options *options,
                         struct audit **out)
{
    struct audit *a = xcalloc(1, sizeof *a);

    a->options = *options;
    a->options.max_size = options->max_size > 0 ? options->max_size : MAX_SIZE;
    a->options.keep = options->keep > 0 ? MIN(options->keep, AUDIT_MAX_FILES - 1) : KEEP;
    a->options.max_waiting = options->max_waiting ? options->max_waiting : MAX_WAITING;
    a->path = xstrdup(options->path);
    if (!file_open(a)) {
        struct error *e =
            error_internal(arena, "cannot open the audit log %s: %s", a->path, strerror(errno));

        free(a->path);
        free(a);
        return e;
    }
    mutex_init(&a->file_lock);
    mutex_init(&a->lock);
    cond_init(&a->work);
    cond_init(&a->idle);
    thread_start(&a->writer, "audit", writer_run, a);
    *out = a;
    return OK;
}

struct error *audit_new(struct arena *arena, struct xapid *xapid, struct audit **out)
{
    struct audit_options options = {
        .path = arena_printf(arena, "%s/audit.log", xapid->options.state_dir)};

    return audit_open(arena, &options, out);
}

void audit_free(struct audit *a)
{
    if (!a)
        return;
    mutex_lock(&a->lock);
    a->closing = true;
    cond_signal(&a->work);
    mutex_unlock(&a->lock);
    thread_join(&a->writer);
    if (a->fd >= 0)
        close(a->fd);
    buf_release(&a->queue);
    cond_release(&a->idle);
    cond_release(&a->work);
    mutex_release(&a->lock);
    mutex_release(&a->file_lock);
    free(a->path);
    free(a);
}
