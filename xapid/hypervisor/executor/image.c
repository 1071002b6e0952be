/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * image.c -- suspend images: one block of 4096 bytes of ours, then libxl's stream.
 *
 * Our block, with the domain's description and the id of the request that wrote it, is written last
 * and synced, so that an image with it is whole.  A file gets its name after that; a block device,
 * or a file that is itself a mount, is written in place.  On failure the guest runs on.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "xapid/hypervisor/executor/executor.h"
#include "xapid/hypervisor/server/outcome.h"

#define MAGIC "XAPIXEN1"
#define BLOCK ((size_t)4096)
#define PATH_TEXT_MAX 4096
#define SUSPENDS_LATE (10 * USEC_PER_SEC) /* how long a guest asked before takes to suspend */

struct header {
    char magic[8];
    uint64_t length;   /* of the stream; little endian, as all */
    uint64_t checksum; /* of the description */
    uint64_t json_length;
    char json[]; /* the description */
};

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

/*** the header ***/

struct description {
    char uuid[UUID_TEXT_SIZE], id[UUID_TEXT_SIZE];
    const char *type;
    int64_t memory; /* bytes it had */
    int64_t length; /* of the stream */
};

static struct error *write_header(struct request *rq, int fd, const struct description *d)
{
    struct header *h = arena_zalloc(&rq->arena, BLOCK);
    json_t *o = json_pack("{s:s, s:s, s:s, s:I}", "uuid", d->uuid, "id", d->id, "type", d->type,
                          "memory", (json_int_t)d->memory);
    size_t n = json_dumpb(o, h->json, BLOCK - sizeof *h, JSON_COMPACT);

    json_decref(o);
    if (n > BLOCK - sizeof *h)
        return error_internal(&rq->arena, "the description does not fit");
    memcpy(h->magic, MAGIC, sizeof h->magic);
    h->length = htole64((uint64_t)d->length);
    h->checksum = htole64(checksum(h->json, n));
    h->json_length = htole64(n);
    if (pwrite(fd, h, BLOCK, 0) != (ssize_t)BLOCK || fsync(fd) < 0)
        return error_internal(&rq->arena, "%s", strerrordesc_np(errno));
    return OK;
}

/* NULL, or what is wrong with the image. */
static const char *read_header(struct request *rq, int fd, struct description *d)
{
    struct header *h = arena_zalloc(&rq->arena, BLOCK);
    struct reader r;
    uint64_t n;
    json_t *o;
    struct stat st;

    if (pread(fd, h, BLOCK, 0) != (ssize_t)BLOCK || memcmp(h->magic, MAGIC, sizeof h->magic) != 0)
        return "it is no suspend image";
    n = le64toh(h->json_length);
    if (n > BLOCK - sizeof *h || checksum(h->json, (size_t)n) != le64toh(h->checksum))
        return "its header is damaged";
    o = json_loadb(h->json, (size_t)n, 0, NULL);
    r = reader_of(&rq->arena, o);
    read_uuid(&r, "uuid", false, d->uuid);
    read_uuid(&r, "id", true, d->id);
    d->type = read_text(&r, "type", 16);
    d->memory = read_int(&r, "memory", 1, INT64_MAX);
    d->length = (int64_t)le64toh(h->length);
    json_decref(o);
    if (r.bad)
        return "its header cannot be read";
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size < (off_t)BLOCK + d->length)
        return "it is cut short";
    return NULL;
}

/*** where it is written ***/

struct target {
    const char *path, *dir, *temporary;
    bool in_place;
};

static const char *request_name(const struct request *rq)
{
    return rq->outcome ? rq->outcome->id : rq->server->instance;
}

static struct target target_of(struct request *rq, const char *path)
{
    const char *slash = strrchr(path, '/');
    struct target t = {.path = path, .dir = "."};
    struct stat st, parent;

    if (slash)
        t.dir = slash == path ? "/" : arena_strndup(&rq->arena, path, (size_t)(slash - path));
    t.temporary = arena_printf(&rq->arena, "%s.%s.part", path, request_name(rq));
    /* A block device, or a file that is itself a mount (served through FUSE), cannot be replaced.
     */
    t.in_place = stat(path, &st) == 0 &&
                 (S_ISBLK(st.st_mode) || (stat(t.dir, &parent) == 0 && parent.st_dev != st.st_dev));
    return t;
}

/* Opens it with no valid header, at the place where the stream begins. */
static struct error *target_open(struct request *rq, const struct target *t, struct file *out)
{
    static const char zeros[BLOCK];
    int flags = t->in_place ? O_RDWR : O_RDWR | O_CREAT | O_TRUNC;
    int fd = open(t->in_place ? t->path : t->temporary, flags | O_CLOEXEC, 0600);

    out->fd = fd + 1;
    if (fd >= 0 && pwrite(fd, zeros, BLOCK, 0) == (ssize_t)BLOCK && fsync(fd) == 0 &&
        lseek(fd, BLOCK, SEEK_SET) == (off_t)BLOCK)
        return OK;
    return error_internal(&rq->arena, "saving to %s: %s", t->path, strerrordesc_np(errno));
}

static bool sync_directory(const char *dir)
{
    AUTO(file) f = {open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) + 1};

    return f.fd && fsync(f.fd - 1) == 0;
}

/* The stream is written: makes a whole image of it. */
static struct error *target_finish(struct request *rq, const struct target *t, int fd,
                                   struct description *d)
{
    off_t end = lseek(fd, 0, SEEK_CUR);
    struct error *e;

    if (end <= (off_t)BLOCK || fsync(fd) < 0)
        return error_internal(&rq->arena, "saving to %s: %s", t->path, strerrordesc_np(errno));
    d->length = end - (off_t)BLOCK;
    e = write_header(rq, fd, d);
    if (e)
        return error_internal(&rq->arena, "saving to %s: %s", t->path, e->params[0]);
    if (!t->in_place && (rename(t->temporary, t->path) < 0 || !sync_directory(t->dir)))
        return error_internal(&rq->arena, "saving to %s: %s", t->path, strerrordesc_np(errno));
    return OK;
}

/*** saving ***/

struct error *resume_suspended(struct request *rq, struct xen *xen, const char *uuid)
{
    enum hv_reason reason;
    struct found d;
    int rc;

    TRY(domain_find(rq, xen, uuid, &d));
    if (!d.exists || domain_state(&d.info, &reason) != HV_SHUTDOWN || reason != HV_SUSPEND)
        return OK;
    rc = libxl_domain_resume(xen->ctx, d.domid, 1, NULL);
    return rc ? xen_failed(&rq->arena, xen, "letting the guest run on", rc) : OK;
}

struct error *save_failed(struct request *rq, struct xen *xen, const struct found *d, int rc)
{
    struct arena *a = &rq->arena;

    /* For libxl this too is a guest that did not answer, which it was never asked to. */
    if (xen_said(xen, "Failed to enable logdirty")) {
        error_ignore(xen_failed(a, xen, "", rc)); /* said better */
        return error_internal(a, "this Xen cannot tell which of the guest's memory changes (a "
                                 "paravirtual guest needs shadow paging for that): it moves only "
                                 "standing still, with live=false");
    }
    /* Two ways in which libxl says that the guest did not answer. */
    if (rc == ERROR_GUEST_TIMEDOUT || xen_said(xen, "guest didn't acknowledge suspend")) {
        error_ignore(xen_failed(a, xen, "", rc)); /* said better */
        return ack_failed(a, HV_SUSPEND, d->uuid);
    }
    return xen_failed(a, xen, "saving the domain", rc);
}

static struct error *save(struct request *rq, struct xen *xen, const struct found *d,
                          const struct target *t)
{
    struct description desc = {
        .type = d->type_name,
        .memory = (int64_t)(d->info.current_memkb + d->info.outstanding_memkb) * 1024,
    };
    AUTO(file) f = {0};
    struct error *e;
    int rc;

    memcpy(desc.uuid, d->uuid, sizeof desc.uuid);
    memcpy(desc.id, request_name(rq), sizeof desc.id);
    TRY(target_open(rq, t, &f));
    rc = libxl_domain_suspend(xen->ctx, d->domid, f.fd - 1, 0, NULL);
    e = rc ? save_failed(rq, xen, d, rc) : target_finish(rq, t, f.fd - 1, &desc);
    if (e) {
        struct error *e2 = resume_suspended(rq, xen, d->uuid);

        if (e2)
            log_error("the domain %s stands still: %s", d->uuid, error_line(&rq->arena, e2));
    }
    return e;
}

struct error *run_save(struct request *rq, json_t **result)
{
    const char *path = read_text(&rq->args, "path", PATH_TEXT_MAX);
    struct target t = target_of(rq, path);
    char uuid[UUID_TEXT_SIZE];
    AUTO(hold) hold = {0};
    AUTO(xen) xen = {0};
    struct found d;
    struct error *e;

    (void)result;
    read_uuid(&rq->args, "uuid", false, uuid);
    if (rq->args.bad)
        return request_bad(rq);
    TRY(hold_take(rq, uuid, HOLD_WORK, &hold));
    TRY(xen_open(&rq->arena, &xen));
    TRY(domain_alive(rq, &xen, &d));
    if (d.info.paused)
        return ack_failed(&rq->arena, HV_SUSPEND, uuid);
    e = save(rq, &xen, &d, &t);
    if (e && !t.in_place)
        unlink(t.temporary);
    return e;
}

/* Whether this request's image is there, whole. */
static bool image_is_whole(struct request *rq, const char *path)
{
    AUTO(file) f = {open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) + 1};
    struct description d;

    return f.fd && !read_header(rq, f.fd - 1, &d) && strcmp(d.id, request_name(rq)) == 0;
}

struct error *settle_suspend(struct request *rq, struct xen *xen, struct found *d)
{
    usec_t until = clock_mono() + SUSPENDS_LATE;
    struct executor *x = executor_of(rq);
    char uuid[UUID_TEXT_SIZE];
    enum hv_reason reason;

    memcpy(uuid, d->uuid, sizeof uuid);
    /* It may have heard that it shall suspend, and do so any moment. */
    ask_withdraw(&rq->arena, xen, d->domid);
    while (d->exists && domain_state(&d->info, &reason) != HV_SHUTDOWN && clock_mono() < until) {
        world_wait(x, world_now(x), MIN(until, clock_mono() + USEC_PER_SEC));
        TRY(domain_find(rq, xen, uuid, d));
    }
    return resume_suspended(rq, xen, uuid);
}

struct error *settle_save(struct request *rq)
{
    const char *path = read_text(&rq->args, "path", PATH_TEXT_MAX);
    struct target t = target_of(rq, path);
    char uuid[UUID_TEXT_SIZE];
    AUTO(hold) hold = {0};
    enum hv_reason reason;
    AUTO(xen) xen = {0};
    struct found d;

    /* Never the image itself: that has its name only once it is whole. */
    if (!t.in_place)
        unlink(t.temporary);
    TRY(xen_open(&rq->arena, &xen));
    TRY(domain_of(rq, &xen, &d));
    memcpy(uuid, d.uuid, sizeof uuid);
    TRY(hold_take(rq, uuid, HOLD_WORK, &hold));
    if (domain_state(&d.info, &reason) == HV_SHUTDOWN && image_is_whole(rq, path))
        return OK;
    TRY(settle_suspend(rq, &xen, &d));
    return error_internal(&rq->arena, "save: the executor was killed while it saved the domain");
}

/*** restoring ***/

struct error *run_restore(struct request *rq, json_t **result)
{
    const char *path = read_text(&rq->args, "path", PATH_TEXT_MAX), *why;
    AUTO(file) f = {open(path, O_RDONLY | O_CLOEXEC) + 1};
    struct hv_domain_config config;
    struct description image;
    AUTO(hold) hold = {0};
    AUTO(xen) xen = {0};
    int domid;

    TRY(config_of(rq, &config));
    why = f.fd ? read_header(rq, f.fd - 1, &image) : strerrordesc_np(errno);
    if (!why && strcmp(image.type, config.type) != 0)
        why = "it is of a guest of another type";
    if (!why && lseek(f.fd - 1, BLOCK, SEEK_SET) < 0)
        why = strerrordesc_np(errno);
    if (why)
        return error_internal(&rq->arena, "restoring from %s: %s", path, why);
    config.memory_target = image.memory;
    config.memory_static_max = MAX(config.memory_static_max, image.memory);
    TRY(hold_take(rq, config.uuid, HOLD_BUILD, &hold));
    TRY(xen_open(&rq->arena, &xen));
    TRY(build_domain(rq, &xen, &config, f.fd - 1, &domid));
    *result = json_pack("{s:i}", "domid", domid);
    return OK;
}
