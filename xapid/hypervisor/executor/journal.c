/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* journal.c -- see journal.h.  A line: a checksum of sixteen digits, a blank, an object. */
#include "xapid/hypervisor/executor/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/arena.h"
#include "libxapi/base/buf.h"
#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"

#define SUM_SIZE 16
#define FILE_FULL ((off_t)8 * 1024 * 1024)
#define FILE_MAX ((off_t)256 * 1024 * 1024)

struct journal {
    struct mutex lock;
    char *path, *old_path, *dir;
    int fd;
    off_t size;
    bool broken;
    char instance[UUID_TEXT_SIZE];
    uint64_t epoch;
    json_t *past;  /* array: records as they were read */
    json_t *begun; /* by id: the begin records of requests without an end */
};

static void put(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) < 0)
        abort(); /* out of memory */
}

static const char *text(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));

    return s ? s : "";
}

static uint64_t sum(const char *data, size_t n)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (size_t i = 0; i < n; i++)
        h = (h ^ (uint8_t)data[i]) * 0x100000001b3u;
    return h;
}

static int collect(const char *data, size_t size, void *ctx)
{
    buf_add(ctx, data, size);
    return 0;
}

static void compose(const json_t *record, struct buf *out)
{
    char digits[SUM_SIZE + 1];
    size_t start = out->len + SUM_SIZE + 1;

    buf_puts(out, "0000000000000000 ");
    if (json_dump_callback(record, collect, out, JSON_COMPACT) < 0)
        abort(); /* out of memory */
    snprintf(digits, sizeof digits, "%016" PRIx64, sum(out->data + start, out->len - start));
    memcpy(out->data + start - SUM_SIZE - 1, digits, SUM_SIZE);
    buf_putc(out, '\n');
}

/*** memory ***/

/* Follows a record, read or just written. */
static void follow(struct journal *j, json_t *record)
{
    const char *id;

    if (*text(record, "begin")) {
        json_object_set(j->begun, text(record, "begin"), record);
    } else if (*text(record, "note")) {
        json_t *begin = json_object_get(j->begun, text(record, "note"));

        if (begin)
            json_object_set_new(begin, "noted", json_true());
    } else if (*(id = text(record, "end"))) {
        json_object_del(j->begun, id);
    } else if (*text(record, "instance")) {
        snprintf(j->instance, sizeof j->instance, "%s", text(record, "instance"));
    } else if (json_object_get(record, "epoch")) {
        j->epoch = MAX(j->epoch, (uint64_t)json_integer_value(json_object_get(record, "epoch")));
    }
}

/*** reading ***/

/* NULL: no record, or one that was cut short. */
static json_t *parse_line(const char *line, size_t n)
{
    char digits[SUM_SIZE + 1];

    if (n <= SUM_SIZE + 1)
        return NULL;
    snprintf(digits, sizeof digits, "%016" PRIx64, sum(line + SUM_SIZE + 1, n - SUM_SIZE - 1));
    if (memcmp(digits, line, SUM_SIZE) != 0)
        return NULL;
    return json_loadb(line + SUM_SIZE + 1, n - SUM_SIZE - 1, 0, NULL);
}

/* Takes the records out of the bytes; how many bytes were good. */
static size_t parse(struct journal *j, const char *data, size_t n)
{
    size_t at = 0;

    while (at < n) {
        const char *end = memchr(data + at, '\n', n - at);
        json_t *record = end ? parse_line(data + at, (size_t)(end - data) - at) : NULL;

        if (!record)
            break;
        follow(j, record);
        if (json_array_append_new(j->past, record) < 0)
            abort(); /* out of memory */
        at = (size_t)(end - data) + 1;
    }
    return at;
}

static const char *read_all(int fd, struct buf *out)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return strerrordesc_np(errno);
    if (st.st_size > FILE_MAX)
        return "it is larger than any journal";
    for (;;) {
        ssize_t got;

        buf_reserve(out, 65536);
        got = read(fd, out->data + out->len, 65535);
        if (got < 0 && errno != EINTR)
            return strerrordesc_np(errno);
        if (got == 0)
            return NULL;
        if (got > 0)
            out->len += (size_t)got;
    }
}

/* Reads one file; *good is where its good part ends.  One that is not there is empty. */
static const char *load(struct journal *j, const char *path, size_t *good)
{
    AUTO(buf) data = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    const char *why;

    *good = 0;
    if (fd < 0)
        return errno == ENOENT ? NULL : strerrordesc_np(errno);
    why = read_all(fd, &data);
    close(fd);
    if (why)
        return why;
    *good = parse(j, data.data, data.len);
    if (*good < data.len)
        log_warning("%s: the last %zu bytes were cut short by a crash", path, data.len - *good);
    return NULL;
}

/*** writing ***/

static bool write_all(int fd, const char *data, size_t n)
{
    while (n) {
        ssize_t done = write(fd, data, n);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        data += done;
        n -= (size_t)done;
    }
    return true;
}

static bool sync_directory(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool done = fd >= 0 && fsync(fd) == 0;

    if (fd >= 0)
        close(fd);
    return done;
}

static void compose_carried(struct journal *j, struct buf *out)
{
    json_t *instance = json_pack("{s:s}", "instance", j->instance);
    json_t *epoch = json_pack("{s:I}", "epoch", (json_int_t)j->epoch);
    const char *id;
    json_t *begin;

    compose(instance, out);
    compose(epoch, out);
    json_object_foreach(j->begun, id, begin) compose(begin, out);
    json_decref(instance);
    json_decref(epoch);
}

/* The full file becomes the old one.  Whatever of these steps a crash finds done, the two files
 * together hold everything. */
static bool turn_over(struct journal *j)
{
    AUTO(buf) start = {0};
    char *fresh = xasprintf("%s.new", j->path);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    bool done;

    compose_carried(j, &start);
    done = fd >= 0 && write_all(fd, start.data, start.len) && fsync(fd) == 0 &&
           (rename(j->path, j->old_path) == 0 || errno == ENOENT) && rename(fresh, j->path) == 0 &&
           sync_directory(j->dir);
    free(fresh);
    if (!done) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    if (j->fd >= 0)
        close(j->fd);
    j->fd = fd;
    j->size = (off_t)start.len;
    return true;
}

/* Makes a record durable; false, once and for all, if that cannot be done: after a failed fsync
 * nobody knows what is on the disk. */
static bool append(struct journal *j, json_t *record)
{
    AUTO(buf) line = {0};

    compose(record, &line);
    MUTEX_GUARD(&j->lock);
    if (!j->broken && !(write_all(j->fd, line.data, line.len) && fdatasync(j->fd) == 0)) {
        j->broken = true;
        log_error("%s: %s: no further request can be done", j->path, strerrordesc_np(errno));
    }
    if (j->broken)
        return false;
    j->size += (off_t)line.len;
    follow(j, record);
    if (j->size > FILE_FULL && !turn_over(j)) {
        j->broken = true;
        log_error("%s: %s: no further request can be done", j->path, strerrordesc_np(errno));
    }
    return true;
}

/*** the interface ***/

static struct error *failed(struct arena *arena, const char *path, const char *why)
{
    return error_internal(arena, "the executor's journal %s: %s", path, why);
}

struct error *journal_open(struct arena *arena, const char *dir, struct journal **out)
{
    struct journal *j = xcalloc(1, sizeof *j);
    const char *why;
    size_t good;

    mutex_init(&j->lock);
    j->dir = xstrdup(dir);
    j->path = xasprintf("%s/journal", dir);
    j->old_path = xasprintf("%s/journal.old", dir);
    j->fd = -1;
    j->past = json_array();
    j->begun = json_object();
    why = load(j, j->old_path, &good);
    if (!why)
        why = load(j, j->path, &good);
    if (!why && !*j->instance)
        uuid_new(j->instance);
    /* A new file each time: what a crash cut short never stands before good lines. */
    if (!why && good && truncate(j->path, (off_t)good) < 0)
        why = strerrordesc_np(errno);
    if (!why && good)
        j->fd = open(j->path, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (!why && (good ? j->fd < 0 : !turn_over(j)))
        why = strerrordesc_np(errno);
    j->size = MAX(j->size, (off_t)good);
    if (why) {
        struct error *e = failed(arena, j->path, why);

        journal_free(j);
        return e;
    }
    *out = j;
    return OK;
}

void journal_free(struct journal *j)
{
    if (!j)
        return;
    if (j->fd >= 0)
        close(j->fd);
    json_decref(j->past);
    json_decref(j->begun);
    free(j->path);
    free(j->old_path);
    free(j->dir);
    mutex_release(&j->lock);
    free(j);
}

const char *journal_instance(const struct journal *j)
{
    return j->instance;
}

uint64_t journal_epoch(const struct journal *j)
{
    return j->epoch;
}

static uint64_t what_of(const json_t *record)
{
    return strtoull(text(record, "what"), NULL, 16);
}

void journal_replay(struct journal *j, const struct journal_visitor *v)
{
    json_t *begun = json_deep_copy(j->begun);
    const char *id;
    json_t *record;
    size_t i;

    json_array_foreach(j->past, i, record)
    {
        if (*text(record, "end"))
            v->ended(v->ctx, text(record, "end"), what_of(record), json_object_get(record, "error"),
                     json_object_get(record, "result"));
        else if (*text(record, "sealed"))
            v->sealed(v->ctx, text(record, "sealed"));
    }
    json_array_clear(j->past);
    json_object_foreach(begun, id, record) v->unfinished(
        v->ctx, id, what_of(record), text(record, "call"), json_object_get(record, "args"),
        json_is_true(json_object_get(record, "noted")));
    json_decref(begun);
}

static json_t *record_new(const char *kind, const char *id)
{
    json_t *record = json_object();

    put(record, kind, json_string(id));
    return record;
}

static void put_what(json_t *record, uint64_t what)
{
    char digits[SUM_SIZE + 1];

    snprintf(digits, sizeof digits, "%016" PRIx64, what);
    put(record, "what", json_string(digits));
}

struct error *journal_begin(struct arena *arena, struct journal *j, const char *id, uint64_t what,
                            const char *call, json_t *args)
{
    json_t *record = record_new("begin", id);
    bool done;

    put_what(record, what);
    put(record, "call", json_string(call));
    /* A copy: its memory is this thread's and the journal's, the original the request's. */
    put(record, "args", json_deep_copy(args));
    done = append(j, record);
    mutex_lock(&j->lock);
    json_decref(record);
    mutex_unlock(&j->lock);
    return done ? OK : failed(arena, j->path, "it cannot be written");
}

struct error *journal_note(struct arena *arena, struct journal *j, const char *id)
{
    json_t *record = record_new("note", id);
    bool done = append(j, record);

    json_decref(record);
    return done ? OK : failed(arena, j->path, "it cannot be written");
}

void journal_end(struct journal *j, const char *id, uint64_t what, json_t *error, json_t *result)
{
    json_t *record = record_new("end", id);

    put_what(record, what);
    if (error)
        put(record, "error", json_incref(error));
    else if (result)
        put(record, "result", json_incref(result));
    append(j, record);
    json_decref(record);
}

void journal_sealed(struct journal *j, const char *id)
{
    json_t *record = record_new("sealed", id);

    append(j, record);
    json_decref(record);
}

void journal_epoch_rose(struct journal *j, uint64_t epoch)
{
    json_t *record = json_pack("{s:I}", "epoch", (json_int_t)epoch);

    append(j, record);
    json_decref(record);
}
