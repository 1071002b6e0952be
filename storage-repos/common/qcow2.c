/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage-repos/common/qcow2.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/arena.h"
#include "libxapi/base/call.h"
#include "libxapi/base/child.h"

#define QUICK_TIMEOUT (120 * USEC_PER_SEC)
#define COPY_TIMEOUT (3600 * USEC_PER_SEC) /* and a second for each MiB */
#define BACKING_MAX 1023                   /* the format's own limit */

/* ---- the header; numbers are big-endian ---- */

enum { HEAD_SIZE = 104, HEAD_V2_SIZE = 72 };
enum { DIRTY = 1 << 0, CORRUPT = 1 << 1, COMPRESSION = 1 << 3, EXTENDED_L2 = 1 << 4 };

static uint64_t be(const uint8_t *p, size_t n)
{
    uint64_t v = 0;

    while (n--)
        v = v << 8 | *p++;
    return v;
}

ssize_t qcow2_pread(int fd, void *buf, size_t n, int64_t offset)
{
    size_t done = 0;

    while (done < n) {
        ssize_t got = pread(fd, (char *)buf + done, n - done, offset + (off_t)done);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        done += (size_t)got;
    }
    return (ssize_t)done;
}

/* What is wrong with the fixed part, or NULL. */
static const char *judge_head(const uint8_t *h, size_t n)
{
    uint64_t version = be(h + 4, 4), features = 0, cluster_bits = be(h + 20, 4);

    if (n < HEAD_V2_SIZE || (version == 3 && n < HEAD_SIZE))
        return "the header is cut short";
    if (version != 2 && version != 3)
        return "its version of the format is unknown";
    if (version == 3)
        features = be(h + 72, 8);
    if (features & CORRUPT)
        return "it is marked as damaged";
    if (features & ~(uint64_t)(DIRTY | COMPRESSION | EXTENDED_L2))
        return "it uses features that are not accepted (such as an external data file)";
    if (be(h + 32, 4))
        return "it is encrypted";
    if (cluster_bits < 9 || cluster_bits > 21)
        return "its cluster size is impossible";
    if (be(h + 24, 8) > (uint64_t)INT64_MAX)
        return "its size is impossible";
    if (be(h + 16, 4) > BACKING_MAX || be(h + 8, 8) > (uint64_t)1 << cluster_bits)
        return "the name of its parent is impossible";
    return NULL;
}

/* Whether all of the table is there that everything else hangs on.  Past the end of a file qemu
 * reads zeroes: of an image that was cut short it would show an empty disk. */
static bool has_map(const struct stat *st, const uint8_t *h)
{
    uint64_t at = be(h + 40, 8), entries = be(h + 36, 4);

    return at <= (uint64_t)INT64_MAX &&
           (!S_ISREG(st->st_mode) || at + 8 * entries <= (uint64_t)st->st_size);
}

enum qcow2_state qcow2_read_head(struct call *call, int fd, struct qcow2_head *out,
                                 const char **why)
{
    uint8_t h[HEAD_SIZE] = {0};
    ssize_t n = qcow2_pread(fd, h, sizeof h, 0);
    char backing[BACKING_MAX + 1];
    size_t name_size;
    struct stat st;

    if (n < 0 || fstat(fd, &st) < 0) {
        *why = strerrordesc_np(errno);
        return QCOW2_UNREAD;
    }
    *why = "it is no qcow2 image";
    if (memcmp(h, "QFI\xfb", 4) != 0)
        return QCOW2_FOREIGN;
    *why = judge_head(h, (size_t)n);
    if (*why)
        return QCOW2_BROKEN;
    if (!has_map(&st, h)) {
        *why = "it is cut short";
        return QCOW2_BROKEN;
    }
    name_size = be(h + 8, 8) ? be(h + 16, 4) : 0;
    n = name_size ? qcow2_pread(fd, backing, name_size, (off_t)be(h + 8, 8)) : 0;
    if (n < 0) {
        *why = strerrordesc_np(errno);
        return QCOW2_UNREAD;
    }
    if (n != (ssize_t)name_size || memchr(backing, '\0', name_size)) {
        *why = "the name of its parent cannot be read";
        return QCOW2_BROKEN;
    }
    *out = (struct qcow2_head){.virtual_size = (int64_t)be(h + 24, 8),
                               .backing = arena_strndup(call->arena, backing, name_size),
                               .version = (int)be(h + 4, 4),
                               .cluster_bits = (int)be(h + 20, 4),
                               .extended = be(h + 4, 4) == 3 && (be(h + 72, 8) & EXTENDED_L2),
                               .map_at = (int64_t)(be(h + 40, 8) & INT64_MAX),
                               .map_entries = (int64_t)be(h + 36, 4)};
    return QCOW2_GOOD;
}

/* Of no cluster is it said where it is: the first table, whose size and place are in the header, is
 * all zeroes. */
bool qcow2_is_empty(int fd)
{
    uint8_t h[HEAD_SIZE] = {0}, table[4096];
    int64_t size, offset;

    if (qcow2_pread(fd, h, sizeof h, 0) < HEAD_V2_SIZE)
        return false;
    size = (int64_t)be(h + 36, 4) * 8;
    offset = (int64_t)(be(h + 40, 8) & INT64_MAX);
    for (int64_t done = 0; done < size; done += (int64_t)sizeof table) {
        size_t n = (size_t)MIN((int64_t)sizeof table, size - done);

        if (qcow2_pread(fd, table, n, offset + done) != (ssize_t)n)
            return false;
        for (size_t i = 0; i < n; i++)
            if (table[i])
                return false;
    }
    return true;
}

/*
 * qemu marks what it does with an image by locks on single bytes: whoever writes holds a shared
 * lock on byte 100 + 1 (the permission "write").  Asking whether we could lock it alone tells.
 */
bool qcow2_has_writer(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 101, .l_len = 1};

    return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* Whoever has an image open holds bytes from 100 on for what he does, and from 200 on for what he
 * minds. */
bool qcow2_keep_all_out(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 100, .l_len = 200};

    return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

/* A reader who minds writers holds byte 200 + 1. */
bool qcow2_keep_writers_out(int fd)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 201, .l_len = 1};

    return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

const char *qcow2_unlocked(struct call *call, const char *image, bool alone)
{
    struct stat st;
    bool block = stat(image, &st) == 0 && S_ISBLK(st.st_mode);
    json_t *node = json_pack("{s:s,s:{s:s,s:s,s:s}}", "driver", "qcow2", "file", "driver",
                             block ? "host_device" : "file", "filename", image, "locking", "off");
    const char *name;
    char *text;

    if (!node)
        return NULL;
    if (alone)
        json_object_set_new(node, "backing", json_null());
    text = json_dumps(node, JSON_COMPACT);
    name = arena_printf(call->arena, "json:%s", text);
    free(text);
    json_decref(node);
    return name;
}

/* ---- qemu-img ---- */

static bool says_full(const char *text)
{
    return strstr(text, "No space left on device") || strstr(text, "Disk quota exceeded");
}

static struct error *judge(struct call *call, enum sr_failure which, const struct child_result *r,
                           int64_t size, const char *path)
{
    char *folder, *slash;

    if (r->timed_out)
        return sr_failed(call, which, "qemu-img took too long and was stopped");
    if (r->status == 0)
        return OK;
    if (!says_full(r->errors))
        return sr_failed(call, which, "%s",
                         r->errors[0]
                             ? r->errors
                             : arena_printf(call->arena, "qemu-img ended with %d", r->status));
    folder = arena_strdup(call->arena, path);
    slash = strrchr(folder, '/');
    if (slash)
        slash[1] = '\0';
    return sr_full(call, size, folder);
}

static struct error *quick(struct call *call, enum sr_failure which, const char *const *argv,
                           int64_t size, const char *path)
{
    struct child_spec spec = {.argv = argv, .timeout = QUICK_TIMEOUT, .private_files = true};
    struct child_result r;

    TRY(child_run(call->arena, &spec, &r));
    return judge(call, which, &r, size, path);
}

static const char *decimal(struct call *call, int64_t n)
{
    return arena_printf(call->arena, "%lld", (long long)n);
}

struct error *qcow2_create(struct call *call, const char *path, int64_t size, const char *backing)
{
    const char *const alone[] = {"qemu-img",
                                 "create",
                                 "-q",
                                 "-f",
                                 "qcow2",
                                 "-o",
                                 "lazy_refcounts=off,preallocation=off",
                                 path,
                                 decimal(call, size),
                                 NULL};

    if (backing)
        return qcow2_create_on(call, path, size, backing, "qcow2");
    return quick(call, SR_FAIL_VDI_CREATE, alone, size, path);
}

struct error *qcow2_create_on(struct call *call, const char *path, int64_t size,
                              const char *backing, const char *backing_format)
{
    const char *const argv[] = {"qemu-img",
                                "create",
                                "-q",
                                "-f",
                                "qcow2",
                                "-o",
                                "lazy_refcounts=off,preallocation=off",
                                "-u",
                                "-b",
                                backing,
                                "-F",
                                backing_format,
                                path,
                                decimal(call, size),
                                NULL};

    return quick(call, SR_FAIL_VDI_CREATE, argv, size, path);
}

struct error *qcow2_resize(struct call *call, const char *path, int64_t size)
{
    const char *const argv[] = {"qemu-img",          "resize", "-q", "-f", "qcow2", path,
                                decimal(call, size), NULL};

    return quick(call, SR_FAIL_VDI_RESIZE, argv, size, path);
}

struct error *qcow2_resize_shared(struct call *call, const char *path, int64_t size)
{
    const char *image = qcow2_unlocked(call, path, false);
    const char *const argv[] = {"qemu-img", "resize", "-q", image, decimal(call, size), NULL};

    if (!image)
        return sr_failed(call, SR_FAIL_VDI_RESIZE, "%s: not UTF-8", path);
    return quick(call, SR_FAIL_VDI_RESIZE, argv, size, path);
}

struct error *qcow2_rebase(struct call *call, const char *path, const char *backing)
{
    const char *const argv[] = {"qemu-img", "rebase", "-q", "-u",    "-f", "qcow2",
                                "-b",       backing,  "-F", "qcow2", path, NULL};

    return quick(call, SR_FAIL_VDI_CLONE, argv, 0, path);
}

struct convert {
    bool (*progress)(void *ctx, double done);
    void *ctx;
    double done;   /* 0 to 1 */
    char text[16]; /* the unfinished number: qemu-img writes "    (12.34/100%)\r" */
    size_t text_len;
};

static bool convert_watch(void *arg, const char *text, size_t n)
{
    struct convert *c = arg;

    for (size_t i = 0; i < n; i++) {
        if (text[i] == '(') {
            c->text_len = 0;
        } else if (text[i] == '/' && c->text_len) {
            c->text[c->text_len] = '\0';
            c->done = MAX(c->done, MIN(strtod(c->text, NULL) / 100, 1.0));
            c->text_len = 0;
        } else if ((text[i] == '.' || (text[i] >= '0' && text[i] <= '9')) &&
                   c->text_len < sizeof c->text - 1) {
            c->text[c->text_len++] = text[i];
        }
    }
    return !c->progress || c->progress(c->ctx, c->done);
}

struct error *qcow2_convert(struct call *call, const char *from, const char *to, int64_t size,
                            bool (*progress)(void *ctx, double done), void *ctx)
{
    return qcow2_convert_from(call, from, "qcow2", to, size, progress, ctx);
}

struct error *qcow2_convert_from(struct call *call, const char *from, const char *from_format,
                                 const char *to, int64_t size,
                                 bool (*progress)(void *ctx, double done), void *ctx)
{
    const char *const argv[] = {"qemu-img", "convert",   "-p",
                                "-f",       from_format, "-O",
                                "qcow2",    "-o",        "lazy_refcounts=off,preallocation=off",
                                from,       to,          NULL};
    struct convert c = {.progress = progress, .ctx = ctx};
    struct child_spec spec = {.argv = argv,
                              .private_files = true,
                              .timeout = COPY_TIMEOUT + size / (1024 * 1024) * USEC_PER_SEC,
                              .watch = convert_watch,
                              .ctx = &c};
    struct child_result r;

    TRY(child_run(call->arena, &spec, &r));
    if (r.cancelled)
        return error_new(call->arena, "TASK_CANCELLED", 1, "");
    return judge(call, SR_FAIL_VDI_CREATE, &r, size, to);
}

struct error *qcow2_end(struct call *call, const char *path, int64_t *out)
{
    const char *const argv[] = {"qemu-img", "check",         "-U", "-f",
                                "qcow2",    "--output=json", path, NULL};
    struct child_spec spec = {.argv = argv, .timeout = QUICK_TIMEOUT};
    struct child_result r;
    json_t *json;

    TRY(child_run(call->arena, &spec, &r));
    json = json_loadb(r.output, r.output_size, 0, NULL);
    *out = json_integer_value(json_object_get(json, "image-end-offset"));
    json_decref(json);
    return *out > 0 ? OK
                    : sr_failed(call, SR_FAIL_VDI, "%s: qemu-img does not say where it ends: %s",
                                path, r.errors);
}
