/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * image.c -- suspend images.
 *
 * One block of 4096 bytes: magic, version, length and checksum of what follows; then the domain as
 * JSON, then "memory": pages that follow from the domain's uuid, with pages of zeros between them,
 * so that a copy that loses or invents bytes, or treats holes wrongly, is found by the checksum at
 * restore.  The image is small whatever the domain's memory.
 *
 * A crash in the middle never leaves an image that looks whole: a file gets its name last; a device
 * gets its first block last.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "xapid/hypervisor/sim/sim.h"

#define MAGIC "XAPISIM1"
#define BLOCK ((size_t)4096)
#define PAGES 32 /* every second one is zero */
#define BODY_MAX ((uint64_t)8 * 1024 * 1024)

struct header {
    char magic[8];
    uint64_t length;   /* of the body; little endian */
    uint64_t checksum; /* of the body */
    uint64_t json_length;
};

/* A descriptor: closed at the end of the scope. */
struct file {
    int fd; /* one more than the descriptor, so that zero is none */
};

static void file_release(struct file *f)
{
    if (f->fd)
        close(f->fd - 1);
    f->fd = 0;
}

static uint64_t checksum(const char *data, size_t n)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (size_t i = 0; i < n; i++)
        h = (h ^ (uint8_t)data[i]) * 0x100000001b3u;
    return h;
}

/* Page i of a domain's pretended memory. */
static void fill_page(const char *uuid, size_t i, char page[BLOCK])
{
    uint64_t x = checksum(uuid, strlen(uuid)) + i;

    memset(page, 0, BLOCK);
    for (size_t k = 0; i % 2 == 0 && k < BLOCK; k++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        page[k] = (char)(x >> 56);
    }
}

json_t *domain_state(const struct domain *d)
{
    struct strmap guest = {d->guest.n, d->guest.v};

    return json_pack("{s:s, s:b, s:I, s:I, s:o}", "uuid", d->uuid, "booted", d->booted, "memory",
                     (json_int_t)domain_memory(d), "cpu_time", (json_int_t)domain_cpu_time(d),
                     "guest", write_strmap(&guest));
}

static int collect(const char *data, size_t size, void *ctx)
{
    buf_add(ctx, data, size);
    return 0;
}

/* The whole image in memory: it is a few hundred kilobytes. */
static void compose(const struct domain *d, struct buf *out)
{
    json_t *state = domain_state(d);
    char page[BLOCK] = {0};
    struct header h = {.magic = MAGIC};

    buf_add(out, page, BLOCK);
    if (json_dump_callback(state, collect, out, JSON_COMPACT) < 0)
        abort(); /* out of memory */
    json_decref(state);
    h.json_length = htole64(out->len - BLOCK);
    buf_add(out, page, (BLOCK - out->len % BLOCK) % BLOCK);
    for (size_t i = 0; i < PAGES; i++) {
        fill_page(d->uuid, i, page);
        buf_add(out, page, BLOCK);
    }
    h.length = htole64(out->len - BLOCK);
    h.checksum = htole64(checksum(out->data + BLOCK, out->len - BLOCK));
    memcpy(out->data, &h, sizeof h);
}

static bool write_at(int fd, const char *data, size_t n, off_t at)
{
    while (n) {
        ssize_t done = pwrite(fd, data, n, at);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        data += done;
        at += done;
        n -= (size_t)done;
    }
    return true;
}

/* Reads up to n bytes; how many there were, or -1. */
static ssize_t read_at(int fd, char *data, size_t n, off_t at)
{
    size_t done = 0;

    while (done < n) {
        ssize_t got = pread(fd, data + done, n - done, at + (off_t)done);

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

/* A block device, or a file that is itself a mount (an image served through FUSE), cannot be
 * replaced. */
static bool must_be_written_in_place(const char *path, const char *dir)
{
    struct stat st, parent;

    return stat(path, &st) == 0 &&
           (S_ISBLK(st.st_mode) || (stat(dir, &parent) == 0 && parent.st_dev != st.st_dev));
}

static bool write_in_place(const char *path, const struct buf *image)
{
    static const char zeros[BLOCK];
    AUTO(file) f = {open(path, O_WRONLY | O_CLOEXEC) + 1};

    return f.fd && write_at(f.fd - 1, zeros, BLOCK, 0) && fsync(f.fd - 1) == 0 &&
           write_at(f.fd - 1, image->data + BLOCK, image->len - BLOCK, BLOCK) &&
           fsync(f.fd - 1) == 0 && write_at(f.fd - 1, image->data, BLOCK, 0) &&
           fsync(f.fd - 1) == 0;
}

static bool sync_directory(const char *dir)
{
    AUTO(file) f = {open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) + 1};

    return f.fd && fsync(f.fd - 1) == 0;
}

static bool write_and_rename(const char *path, const char *temporary, const char *dir,
                             const struct buf *image)
{
    AUTO(file) f = {open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) + 1};
    bool done;
    int saved;

    if (!f.fd)
        return false;
    done = write_at(f.fd - 1, image->data, image->len, 0) && fsync(f.fd - 1) == 0 &&
           rename(temporary, path) == 0;
    saved = errno;
    if (!done)
        unlink(temporary);
    errno = saved;
    return done && sync_directory(dir);
}

static const char *directory_of(struct arena *arena, const char *path)
{
    const char *slash = strrchr(path, '/');

    if (!slash)
        return ".";
    return slash == path ? "/" : arena_strndup(arena, path, (size_t)(slash - path));
}

struct error *image_save(struct request *rq, const struct domain *d, const char *path)
{
    const char *temporary = arena_printf(&rq->arena, "%s.%s.part", path, rq->server->instance);
    const char *dir = directory_of(&rq->arena, path);
    AUTO(buf) image = {0};
    bool done;

    compose(d, &image);
    if (must_be_written_in_place(path, dir))
        done = write_in_place(path, &image);
    else
        done = write_and_rename(path, temporary, dir, &image);
    return done ? OK : error_internal(&rq->arena, "saving to %s: %s", path, strerrordesc_np(errno));
}

const char *read_state(struct request *rq, const char *json, size_t n, struct image *out)
{
    json_t *state = json_loadb(json, n, JSON_REJECT_DUPLICATES, NULL);
    struct reader r = reader_of(&rq->arena, state);

    read_uuid(&r, "uuid", false, out->uuid);
    out->booted = read_bool(&r, "booted");
    out->memory = read_int(&r, "memory", 0, INT64_MAX);
    out->cpu_time = read_int(&r, "cpu_time", 0, INT64_MAX);
    out->guest = read_strmap(&r, "guest");
    json_decref(state);
    return r.bad ? "the domain's state in it cannot be read" : NULL;
}

/* NULL if the memory is that of the domain. */
static const char *check_memory(const struct image *image, const char *memory, size_t n)
{
    char page[BLOCK];

    if (n != PAGES * BLOCK)
        return "memory is missing";
    for (size_t i = 0; i < PAGES; i++) {
        fill_page(image->uuid, i, page);
        if (memcmp(page, memory + i * BLOCK, BLOCK) != 0)
            return "memory has changed";
    }
    return NULL;
}

/* NULL if all is well, else what is wrong. */
static const char *load(struct request *rq, int fd, struct image *out)
{
    struct header h;
    ssize_t got = read_at(fd, (char *)&h, sizeof h, 0);
    uint64_t length = le64toh(h.length), json_length = le64toh(h.json_length);
    size_t memory_at;
    const char *why;
    char *body;

    if (got < 0)
        return strerrordesc_np(errno);
    if ((size_t)got < sizeof h || memcmp(h.magic, MAGIC, sizeof h.magic) != 0)
        return "it is no suspend image";
    if (length > BODY_MAX || json_length > length)
        return "its header is damaged";
    body = arena_alloc(&rq->arena, (size_t)length + 1);
    got = read_at(fd, body, (size_t)length, BLOCK);
    if (got < 0)
        return strerrordesc_np(errno);
    if ((uint64_t)got < length)
        return "it is cut short";
    if (checksum(body, (size_t)length) != le64toh(h.checksum))
        return "its checksum is wrong";
    why = read_state(rq, body, (size_t)json_length, out);
    memory_at = ((size_t)json_length + BLOCK - 1) / BLOCK * BLOCK;
    if (why || memory_at > length)
        return why ? why : "memory is missing";
    return check_memory(out, body + memory_at, (size_t)length - memory_at);
}

struct error *image_load(struct request *rq, const char *path, struct image *out)
{
    AUTO(file) f = {open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) + 1};
    const char *why = f.fd ? load(rq, f.fd - 1, out) : strerrordesc_np(errno);

    return why ? error_internal(&rq->arena, "restoring from %s: %s", path, why) : OK;
}

void image_apply(struct domain *d, const struct image *image)
{
    d->cpu_time = image->cpu_time;
    d->booted = image->booted;
    for (size_t i = 0; i < image->guest.n; i++)
        keys_set(&d->guest, image->guest.v[i].key, image->guest.v[i].value);
    if (!image->booted)
        guest_will_boot(d);
}
