/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vdi_io.c -- reading and writing the content of a disk: raw files directly, qcow2 through a
 * qemu-nbd of our own, and what is plain to read beside it (clusters.h), a disk of the data path
 * also through its server.
 *
 * The server gets a listening Unix socket on which our connection already waits, and no name that
 * anyone else could reach: it serves us alone and ends when our end of the connection closes.  It
 * is also killed with the daemon.  Requests are small enough that memory stays bounded, and each
 * has a deadline.
 */
#include <errno.h>
#include <fcntl.h>
#include <libnbd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "libxapi/base/call.h"
#include "libxapi/base/child.h"
#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "storage-repos/common/clusters.h"
#include "storage-repos/common/sr_error.h"
#include "storage-repos/sr.h"

#define OPEN_TIMEOUT (60 * USEC_PER_SEC)
#define IO_TIMEOUT (300 * USEC_PER_SEC)
#define CLOSE_TIMEOUT (60 * USEC_PER_SEC)
#define LAST_WORDS (5 * USEC_PER_SEC)
#define CHUNK ((size_t)4 * 1024 * 1024)
#define ASKED ((size_t)64 * 1024)
#define DEPTHS "qemu:allocation-depth"
#define ZERO_CHUNK ((int64_t)1024 * 1024 * 1024)
#define STATUS_CHUNK (((int64_t)4 << 30) - 65536) /* what 32 bits can ask for */

/*
 * Writes on their way to a server.  What comes one behind the other is gathered, and while the
 * server works on some the next is filled, so that neither waits for the other.
 */
#define WRITES 4
#define GATHERED ((size_t)512 * 1024)
/*
 * After so many bytes the disk is told to begin with what it has: else gigabytes stay in memory
 * until the end, where everybody waits for them.  No more than twice as many are ever waiting.
 */
#define EARLY_FLUSH ((size_t)128 * 1024 * 1024)
struct write {
    int64_t offset;
    size_t n;       /* 0: none */
    int64_t cookie; /* 0: not sent yet */
    char *p;        /* GATHERED bytes, allocated; libnbd's until it has been answered */
};

struct vdi_io {
    int64_t size;
    bool writable;
    bool failed; /* a write was not done, which some call has said */
    bool depths; /* the server is asked for depths, not for data */
    int fd;      /* raw: the file; 0 otherwise */
    struct nbd_handle *nbd;
    struct clusters *clusters; /* what can be read of it beside the server; NULL: nothing */
    struct child *server;
    struct write writes[WRITES];
    size_t next;         /* the one that is filled; those behind it are older the nearer they are */
    size_t unflushed;    /* bytes */
    int64_t early_flush; /* its cookie; 0: none */
    bool dead;           /* a request was not answered: the connection's state is unknown */
    char path[];         /* what was opened, for errors */
};

static struct error *io_error(struct call *call, const char *fmt, ...) PRINTF_LIKE(2, 3);

static struct error *io_error(struct call *call, const char *fmt, ...)
{
    const char *text;
    va_list ap;

    va_start(ap, fmt);
    text = arena_vprintf(call->arena, fmt, ap);
    va_end(ap);
    return error_new(call->arena, "VDI_IO_ERROR", 1, text);
}

static struct error *io_errno(struct call *call, const char *what, int err, int64_t n)
{
    if (err == ENOSPC || err == EDQUOT)
        return error_new(call->arena, "SR_FULL", 2, arena_printf(call->arena, "%lld", (long long)n),
                         "0");
    return io_error(call, "%s: %s", what, err ? strerrordesc_np(err) : "the connection was lost");
}

static struct error *request_failed(struct call *call, const struct vdi_io *io, const char *what,
                                    int err, int64_t n)
{
    return io_errno(call, arena_printf(call->arena, "%s: %s", io->path, what), err, n);
}

/* A description of qemu's, which says itself what it is. */
static bool is_json(const struct vdi_path *path)
{
    return strncmp(path->path, "json:", 5) == 0;
}

static struct vdi_io *io_new(const struct vdi_path *path)
{
    static const char key[] = "\"filename\":\"";
    const char *name = is_json(path) ? strstr(path->path, key) : NULL;
    size_t n = strlen(path->path);
    struct vdi_io *io;

    if (name) {
        name += sizeof key - 1;
        n = strcspn(name, "\"");
    }
    io = xcalloc(1, sizeof *io + n + 1);
    memcpy(io->path, name ? name : path->path, n);
    return io;
}

/* ---- opening ---- */

static struct error *open_raw(struct call *call, const char *path, struct vdi_io *io)
{
    int fd = open(path, (io->writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);
    struct stat st;

    if (fd < 0)
        return io_errno(call, path, errno, 0);
    io->fd = fd;
    if (fstat(fd, &st) < 0)
        return io_errno(call, path, errno, 0);
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return io_error(call, "%s: neither a file nor a block device", path);
    io->size = lseek(fd, 0, SEEK_END);
    return io->size < 0 ? io_errno(call, path, errno, 0) : OK;
}

/* A guard for a descriptor; zero is none. */
struct socket_fd {
    int fd;
};

static void socket_fd_release(struct socket_fd *s)
{
    if (s->fd)
        close(s->fd);
}

static bool make_socket(struct socket_fd *s)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return false;
    s->fd = fd;
    return true;
}

/*
 * A listening socket with our connection in its queue.  Its name exists only within this function,
 * in a folder that is ours alone, so that nobody can come first.
 */
static struct error *make_pair(struct call *call, struct socket_fd *listening,
                               struct socket_fd *connected)
{
    char folder[] = "/tmp/xapid-nbd-XXXXXX";
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    bool fine;
    int err;

    if (!make_socket(listening) || !make_socket(connected) || !mkdtemp(folder))
        return io_errno(call, "no socket", errno, 0);
    strcpy(name.sun_path, folder);
    strcat(name.sun_path, "/nbd");
    fine = bind(listening->fd, (struct sockaddr *)&name, sizeof name) == 0 &&
           listen(listening->fd, 1) == 0 &&
           connect(connected->fd, (struct sockaddr *)&name, sizeof name) == 0;
    err = errno;
    unlink(name.sun_path);
    rmdir(folder);
    return fine ? OK : io_errno(call, "no socket", err, 0);
}

/* Turns the connection's wheel once; false when the deadline has passed or the connection is lost.
 */
static bool nbd_turn(struct vdi_io *io, usec_t deadline)
{
    usec_t left = deadline - clock_mono();

    return left > 0 && nbd_poll(io->nbd, (int)MIN(left / 1000 + 1, (usec_t)60000)) >= 0;
}

/* A handle that will ask where the image has no data: without it, everything counts as data. */
static struct error *nbd_prepare(struct call *call, struct vdi_io *io)
{
    const char *context = io->depths ? DEPTHS : LIBNBD_CONTEXT_BASE_ALLOCATION;

    io->nbd = nbd_create();
    if (!io->nbd || nbd_add_meta_context(io->nbd, context) < 0)
        return io_error(call, "no NBD handle: %s", nbd_get_error());
    return OK;
}

/* The connection has begun. */
static bool nbd_await_ready(struct vdi_io *io)
{
    usec_t deadline = clock_mono() + OPEN_TIMEOUT;

    while (!nbd_aio_is_ready(io->nbd))
        if (nbd_aio_is_dead(io->nbd) || nbd_aio_is_closed(io->nbd) || !nbd_turn(io, deadline))
            return false;
    io->size = nbd_get_size(io->nbd);
    return io->size >= 0;
}

/* What the server said about its failure is worth more than that the connection broke. */
static struct error *open_failed(struct call *call, struct vdi_io *io, const char *path)
{
    const struct child_result *r;

    if (child_wait(io->server, USEC_PER_SEC, &r) && r && r->errors[0])
        return io_error(call, "%s: %s", path, r->errors);
    return io_error(call, "%s: qemu-nbd does not serve the image", path);
}

/* Starts a qemu-nbd for one connection, which is '*fd'.  'how': as it is to be told. */
static struct error *start_server(struct call *call, const struct vdi_path *path, bool writable,
                                  const char *how, struct child **server, struct socket_fd *out)
{
    const char *argv[9] = {"qemu-nbd", "--discard=unmap", "--shared=1", how};
    size_t n = 4;
    AUTO(socket_fd) listening = {0};
    struct child_spec spec = {.argv = argv};

    if (!writable)
        argv[n++] = "--read-only";
    if (!is_json(path)) {
        argv[n++] = "-f";
        argv[n++] = path->format;
    }
    argv[n] = path->path;
    TRY(make_pair(call, &listening, out));
    spec.listen_fd = listening.fd;
    return child_start(call->arena, &spec, server);
}

static struct error *open_nbd(struct call *call, const struct vdi_path *path, struct vdi_io *io)
{
    AUTO(socket_fd) connected = {0};
    int fd;

    TRY(start_server(call, path, io->writable,
                     io->depths ? "--allocation-depth" : "--cache=writeback", &io->server,
                     &connected));
    TRY(nbd_prepare(call, io));
    fd = connected.fd;
    connected.fd = 0; /* libnbd's from here, even where it fails */
    if (nbd_aio_connect_socket(io->nbd, fd) < 0 || !nbd_await_ready(io))
        return open_failed(call, io, io->path);
    return OK;
}

/* Whoever only reads finds the files as they are for as long as the server has them open. */
static struct error *open_image(struct call *call, const struct vdi_path *path, struct vdi_io *io)
{
    TRY(open_nbd(call, path, io));
    if (!io->writable && !path->remote && strcmp(path->format, "qcow2") == 0 && !is_json(path))
        io->clusters = clusters_open(call, path->path);
    return OK;
}

/* A server of somebody else's. */
static struct error *open_server(struct call *call, const struct vdi_path *path, struct vdi_io *io)
{
    int begun, fd;

    TRY(nbd_prepare(call, io));
    fd = path->fd ? fcntl(path->fd, F_DUPFD_CLOEXEC, 3) : 0;
    if (fd < 0)
        return io_errno(call, path->path, errno, 0);
    begun = nbd_set_export_name(io->nbd, "disk");
    if (fd)
        begun |= nbd_aio_connect_socket(io->nbd, fd);
    else
        begun |= nbd_aio_connect_unix(io->nbd, path->path);
    if (begun < 0 || !nbd_await_ready(io))
        return io_error(call, "%s: %s", path->path,
                        nbd_get_error() ? nbd_get_error() : "no answer");
    return OK;
}

struct error *vdi_io_open(struct call *call, const struct vdi_path *path, bool writable,
                          struct vdi_io **out)
{
    struct vdi_io *io = io_new(path);
    struct error *e;

    io->writable = writable;
    if (strcmp(path->format, "raw") == 0 && !path->remote)
        e = open_raw(call, path->path, io);
    else if (strcmp(path->format, "raw") == 0 || strcmp(path->format, "qcow2") == 0)
        e = open_image(call, path, io);
    else if (strcmp(path->format, "nbd") == 0)
        e = open_server(call, path, io);
    else
        e = io_error(call, "unknown format %s", path->format);
    if (e) {
        io->dead = true;
        vdi_io_close(io);
        return e;
    }
    *out = io;
    return OK;
}

int64_t vdi_io_size(const struct vdi_io *io)
{
    return io->size;
}

void vdi_io_close(struct vdi_io *io)
{
    const struct child_result *r;

    if (!io)
        return;
    if (io->fd)
        close(io->fd);
    clusters_close(io->clusters);
    if (io->nbd)
        nbd_close(io->nbd);
    for (size_t i = 0; i < WRITES; i++)
        free(io->writes[i].p);
    if (io->server && !io->dead)
        child_wait(io->server, CLOSE_TIMEOUT, &r);
    child_free(io->server);
    free(io);
}

/* ---- for somebody else ---- */

static struct error *connect_to(struct call *call, const char *path, struct socket_fd *out)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof name.sun_path)
        return io_error(call, "%s: too long for a socket", path);
    strcpy(name.sun_path, path);
    if (!make_socket(out) || connect(out->fd, (struct sockaddr *)&name, sizeof name) < 0)
        return io_errno(call, path, errno, 0);
    return OK;
}

struct error *vdi_serve(struct call *call, const struct vdi_path *path, bool writable,
                        struct vdi_server *out)
{
    AUTO(socket_fd) connected = {0};

    *out = (struct vdi_server){0};
    if (strcmp(path->format, "nbd") == 0)
        TRY(connect_to(call, path->path, &connected));
    else
        TRY(start_server(call, path, writable, "--export-name=disk", &out->child, &connected));
    out->fd = connected.fd;
    connected.fd = 0;
    return OK;
}

void vdi_server_release(struct vdi_server *server)
{
    const struct child_result *r;

    if (server->fd)
        close(server->fd);
    if (server->child && child_wait(server->child, CLOSE_TIMEOUT, &r) && r && r->errors[0])
        log_warning("a disk was served to another host: %s", r->errors);
    child_free(server->child);
    *server = (struct vdi_server){0};
}

/* ---- requests ---- */

static struct error *check(struct call *call, const struct vdi_io *io, int64_t offset, int64_t n,
                           bool write)
{
    if (io->dead)
        return io_error(call, "the disk's server no longer answers");
    if (io->failed)
        return io_error(call, "%s: an earlier write has failed", io->path);
    if (write && !io->writable)
        return io_error(call, "the disk was opened for reading only");
    if (offset < 0 || n < 0 || offset > io->size || n > io->size - offset)
        return io_error(call, "%lld bytes at %lld: beyond the end of the disk", (long long)n,
                        (long long)offset);
    return OK;
}

/* qemu-nbd closes the connection where it cannot read, and says why only in its last words. */
static struct error *connection_lost(struct call *call, struct vdi_io *io, const char *what)
{
    const struct child_result *r;

    io->dead = true;
    if (io->server && child_wait(io->server, LAST_WORDS, &r) && r && r->errors[0])
        return io_error(call, "%s: %s: %s", io->path, what, r->errors);
    return request_failed(call, io, what, 0, 0);
}

/* Waits for one request's answer. */
static struct error *nbd_finish(struct call *call, struct vdi_io *io, int64_t cookie,
                                const char *what, int64_t n)
{
    usec_t deadline = clock_mono() + IO_TIMEOUT;
    int done = cookie < 0 ? -1 : 0;
    int err;

    while (done == 0) {
        done = nbd_aio_command_completed(io->nbd, (uint64_t)cookie);
        if (done == 0 && !nbd_turn(io, deadline)) {
            /* The buffer of an unanswered request may not be touched again. */
            io->dead = true;
            nbd_close(io->nbd);
            io->nbd = NULL;
            return io_error(call, "%s: %s: no answer from qemu-nbd", io->path, what);
        }
    }
    if (done > 0)
        return OK;
    err = nbd_get_errno();
    if (nbd_aio_is_dead(io->nbd) || nbd_aio_is_closed(io->nbd))
        return connection_lost(call, io, what);
    return request_failed(call, io, what, err, n);
}

/*** writes on their way ***/

static struct error *await_write(struct call *call, struct vdi_io *io, struct write *w)
{
    int64_t cookie = w->cookie, n = (int64_t)w->n;
    struct error *e;

    if (!cookie)
        return OK;
    w->cookie = 0;
    w->n = 0;
    e = nbd_finish(call, io, cookie, "write", n);
    io->failed |= e != OK;
    return e;
}

static bool overlap(const struct write *a, const struct write *b)
{
    return a->offset < b->offset + (int64_t)b->n && b->offset < a->offset + (int64_t)a->n;
}

/* A server may do what it has at the same time in any order. */
static struct error *send_write(struct call *call, struct vdi_io *io)
{
    struct write *w = &io->writes[io->next];

    for (size_t i = 0; i < WRITES; i++)
        if (io->writes[i].cookie && overlap(&io->writes[i], w))
            TRY(await_write(call, io, &io->writes[i]));
    w->cookie = nbd_aio_pwrite(io->nbd, w->p, w->n, (uint64_t)w->offset, NBD_NULL_COMPLETION, 0);
    io->next = (io->next + 1) % WRITES;
    return w->cookie < 0 ? await_write(call, io, w) : OK;
}

static struct error *await_flush(struct call *call, struct vdi_io *io)
{
    int64_t cookie = io->early_flush;
    struct error *e;

    if (!cookie)
        return OK;
    io->early_flush = 0;
    e = nbd_finish(call, io, cookie, "flush", 0);
    io->failed |= e != OK;
    return e;
}

static struct error *flush_early(struct call *call, struct vdi_io *io, size_t written)
{
    io->unflushed += written;
    if (io->unflushed < EARLY_FLUSH)
        return OK;
    io->unflushed = 0;
    if (io->fd) { /* only begun: whether it goes well, the last flush says */
        sync_file_range(io->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
        return OK;
    }
    TRY(await_flush(call, io));
    io->early_flush = nbd_aio_flush(io->nbd, NBD_NULL_COMPLETION, 0);
    return io->early_flush < 0 ? await_flush(call, io) : OK;
}

/* Whatever was written is with the server, and it has said how it went. */
static struct error *settle(struct call *call, struct vdi_io *io)
{
    if (io->writes[io->next].n && !io->writes[io->next].cookie)
        TRY(send_write(call, io));
    for (size_t i = 0; i < WRITES; i++)
        TRY(await_write(call, io, &io->writes[(io->next + i) % WRITES]));
    return OK;
}

/* Takes some of n bytes: the rest of what is being filled, or as much as there is room for behind
 * it. */
static struct error *gather(struct call *call, struct vdi_io *io, int64_t offset, const char *p,
                            size_t *n)
{
    struct write *w = &io->writes[io->next];

    if (w->n && !w->cookie && w->offset + (int64_t)w->n != offset) {
        TRY(send_write(call, io));
        w = &io->writes[io->next];
    }
    TRY(await_write(call, io, w));
    if (!w->p)
        w->p = xmalloc(GATHERED);
    if (!w->n)
        w->offset = offset;
    *n = MIN(*n, GATHERED - w->n);
    memcpy(w->p + w->n, p, *n);
    w->n += *n;
    if (w->n == GATHERED)
        TRY(send_write(call, io));
    else
        nbd_poll(io->nbd, 0); /* what was sent goes on; whether it failed, its answer tells */
    return OK;
}

static struct error *raw_read(struct call *call, struct vdi_io *io, int64_t offset, void *buf,
                              size_t n)
{
    while (n) {
        ssize_t got = pread(io->fd, buf, n, offset);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return request_failed(call, io, "read", errno, (int64_t)n);
        if (got == 0)
            return io_error(call, "%s: read: the file has become shorter", io->path);
        offset += got;
        buf = (char *)buf + got;
        n -= (size_t)got;
    }
    return OK;
}

static struct error *raw_write(struct call *call, struct vdi_io *io, int64_t offset,
                               const void *buf, size_t n)
{
    while (n) {
        ssize_t put = pwrite(io->fd, buf, n, offset);

        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return request_failed(call, io, "write", errno, (int64_t)n);
        offset += put;
        buf = (const char *)buf + put;
        n -= (size_t)put;
    }
    return OK;
}

static struct error *raw_zero(struct call *call, struct vdi_io *io, int64_t offset, int64_t n)
{
    static const char zeroes[65536];

    if (fallocate(io->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, n) == 0)
        return OK;
    for (; n; n -= MIN(n, (int64_t)sizeof zeroes)) {
        TRY(raw_write(call, io, offset, zeroes, (size_t)MIN(n, (int64_t)sizeof zeroes)));
        offset += (int64_t)sizeof zeroes;
    }
    return OK;
}

/* As many as its files tell, at least one; what they do not, the server is asked for, no more than
 * a little: what follows may be plain again. */
static struct error *image_read(struct call *call, struct vdi_io *io, int64_t offset, void *buf,
                                size_t *n)
{
    size_t got = io->clusters ? clusters_read(io->clusters, offset, buf, *n) : 0;

    if (!got && io->clusters)
        *n = MIN(*n, ASKED);
    if (!got)
        return nbd_finish(call, io,
                          nbd_aio_pread(io->nbd, buf, *n, (uint64_t)offset, NBD_NULL_COMPLETION, 0),
                          "read", (int64_t)*n);
    *n = got;
    return OK;
}

struct error *vdi_io_read(struct call *call, struct vdi_io *io, int64_t offset, void *buf, size_t n)
{
    TRY(check(call, io, offset, (int64_t)MIN(n, (size_t)INT64_MAX), false));
    TRY(settle(call, io));
    while (n) {
        size_t part = MIN(n, CHUNK);

        if (io->fd)
            TRY(raw_read(call, io, offset, buf, part));
        else
            TRY(image_read(call, io, offset, buf, &part));
        offset += (int64_t)part;
        buf = (char *)buf + part;
        n -= part;
    }
    return OK;
}

/* ---- where the data is ---- */

static void raw_data(struct vdi_io *io, int64_t offset, int64_t *start, int64_t *end)
{
    off_t data = lseek(io->fd, offset, SEEK_DATA);
    off_t hole = data < 0 ? -1 : lseek(io->fd, data, SEEK_HOLE);

    if (data < 0 && errno == ENXIO) {
        *start = *end = io->size;
    } else if (hole > data) { /* else the file system does not say */
        *start = MIN((int64_t)data, io->size);
        *end = MIN((int64_t)hole, io->size);
    }
}

/* What a server says of one question. */
struct extents {
    int64_t offset, start, end; /* the first run of data; start < 0: none so far */
    bool over;                  /* the run has ended */
};

static int take_extents(void *user, const char *context, uint64_t offset, uint32_t *v, size_t n,
                        int *error)
{
    struct extents *x = user;

    (void)context;
    (void)offset;
    (void)error;
    for (size_t i = 0; i + 1 < n; i += 2) {
        if (v[i + 1] & LIBNBD_STATE_ZERO) {
            x->over |= x->start >= 0;
        } else if (!x->over) {
            x->start = x->start < 0 ? x->offset : x->start;
            x->end = x->offset + v[i];
        }
        x->offset += v[i];
    }
    return 0;
}

/* Looks for it no further than to 'limit'. */
static struct error *nbd_data(struct call *call, struct vdi_io *io, int64_t offset, int64_t limit,
                              int64_t *start, int64_t *end)
{
    struct extents x = {.start = -1, .offset = offset};

    while (x.start < 0 && x.offset < limit) {
        int64_t n = MIN(limit - x.offset, STATUS_CHUNK), from = x.offset;
        nbd_extent_callback callback = {.callback = take_extents, .user_data = &x};

        TRY(nbd_finish(call, io,
                       nbd_aio_block_status(io->nbd, (uint64_t)n, (uint64_t)from, callback,
                                            NBD_NULL_COMPLETION, 0),
                       "block status", n));
        if (x.offset <= from)
            return io_error(call, "block status: the server does not say where the data is");
    }
    *start = x.start < 0 ? limit : x.start;
    *end = x.start < 0 ? limit : MIN(x.end, limit);
    return OK;
}

struct error *vdi_io_data(struct call *call, struct vdi_io *io, int64_t offset, int64_t limit,
                          int64_t *start, int64_t *end)
{
    limit = MIN(limit, io->size);
    *start = offset;
    *end = limit;
    TRY(check(call, io, offset, 0, false));
    TRY(settle(call, io));
    if (io->fd)
        raw_data(io, offset, start, end);
    else if (nbd_can_meta_context(io->nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) == 1)
        TRY(nbd_data(call, io, offset, limit, start, end));
    *start = MIN(*start, limit);
    *end = MIN(*end, limit);
    return OK;
}

struct error *vdi_io_next(struct call *call, struct vdi_io *io, struct vdi_run *run, int64_t offset,
                          int64_t *next)
{
    *next = INT64_MAX;
    if (offset >= io->size)
        return OK;
    if (offset >= run->end)
        TRY(vdi_io_data(call, io, offset, io->size, &run->start, &run->end));
    if (run->start < io->size)
        *next = MAX(offset, run->start);
    return OK;
}

/*** in which image the data is ***/

struct depths {
    void (*see)(void *ctx, int64_t offset, int64_t n, uint32_t depth);
    void *ctx;
    int64_t offset;
};

static int take_depths(void *user, const char *context, uint64_t offset, uint32_t *v, size_t n,
                       int *error)
{
    struct depths *d = user;

    (void)context;
    (void)offset;
    (void)error;
    for (size_t i = 0; i + 1 < n; i += 2) {
        d->see(d->ctx, d->offset, v[i], v[i + 1]);
        d->offset += v[i];
    }
    return 0;
}

struct error *vdi_io_open_map(struct call *call, const struct vdi_path *path, struct vdi_io **out)
{
    struct vdi_io *io = io_new(path);
    struct error *e;

    io->depths = true;
    e = open_nbd(call, path, io);
    io->dead = e != OK;
    if (!e && nbd_can_meta_context(io->nbd, DEPTHS) != 1)
        e = io_error(call, "qemu-nbd does not say in which image the data is");
    if (e)
        vdi_io_close(io);
    else
        *out = io;
    return e;
}

struct error *vdi_io_map(struct call *call, struct vdi_io *io, int64_t offset, int64_t n,
                         void (*see)(void *ctx, int64_t offset, int64_t n, uint32_t depth),
                         void *ctx)
{
    struct depths d = {.see = see, .ctx = ctx, .offset = offset};

    TRY(check(call, io, offset, n, false));
    while (d.offset < offset + n) {
        int64_t from = d.offset, part = MIN(offset + n - from, ZERO_CHUNK);
        nbd_extent_callback callback = {.callback = take_depths, .user_data = &d};

        TRY(nbd_finish(call, io,
                       nbd_aio_block_status(io->nbd, (uint64_t)part, (uint64_t)from, callback,
                                            NBD_NULL_COMPLETION, 0),
                       "block status", part));
        if (d.offset <= from)
            return io_error(call, "block status: the server says nothing");
    }
    return OK;
}

struct error *vdi_image_depths(struct call *call, const char *image,
                               void (*see)(void *ctx, int64_t offset, int64_t n, uint32_t depth),
                               void *ctx)
{
    struct vdi_path path = {.path = image, .format = "qcow2"};
    struct vdi_io *io = NULL;
    struct error *e;

    TRY(vdi_io_open_map(call, &path, &io));
    e = vdi_io_map(call, io, 0, vdi_io_size(io), see, ctx);
    vdi_io_close(io);
    return e;
}

struct error *vdi_io_write(struct call *call, struct vdi_io *io, int64_t offset, const void *buf,
                           size_t n)
{
    TRY(check(call, io, offset, (int64_t)MIN(n, (size_t)INT64_MAX), true));
    while (n) {
        size_t part = MIN(n, CHUNK);

        if (io->fd)
            TRY(raw_write(call, io, offset, buf, part));
        else
            TRY(gather(call, io, offset, buf, &part));
        TRY(flush_early(call, io, part));
        offset += (int64_t)part;
        buf = (const char *)buf + part;
        n -= part;
    }
    return OK;
}

static struct error *zero_run(struct call *call, struct vdi_io *io, int64_t offset, int64_t n)
{
    while (n) {
        int64_t part = MIN(n, ZERO_CHUNK);

        if (io->fd)
            TRY(raw_zero(call, io, offset, part));
        else
            TRY(nbd_finish(
                call, io,
                nbd_aio_zero(io->nbd, (uint64_t)part, (uint64_t)offset, NBD_NULL_COMPLETION, 0),
                "write zeroes", part));
        offset += part;
        n -= part;
    }
    return OK;
}

/*
 * Only what may be other than zero: qemu 7.2 makes a table for each run of zeroes it is told to
 * write, also where there was nothing, which of a disk of 20 TiB are 2.5 GiB.  A file is not asked
 * for the sake of a little: it looks for data as far as there is none.
 */
struct error *vdi_io_zero(struct call *call, struct vdi_io *io, int64_t offset, int64_t n)
{
    int64_t end, from, to;

    TRY(check(call, io, offset, n, true));
    TRY(settle(call, io));
    if (io->fd && n <= ZERO_CHUNK)
        return zero_run(call, io, offset, n);
    end = offset + n;
    while (offset < end) {
        TRY(vdi_io_data(call, io, offset, end, &from, &to));
        TRY(zero_run(call, io, from, to - from));
        offset = to;
    }
    return OK;
}

struct error *vdi_io_flush(struct call *call, struct vdi_io *io)
{
    TRY(check(call, io, 0, 0, false));
    if (!io->writable)
        return OK;
    TRY(settle(call, io));
    TRY(await_flush(call, io));
    if (io->fd)
        return fdatasync(io->fd) < 0 ? request_failed(call, io, "flush", errno, 0) : OK;
    return nbd_finish(call, io, nbd_aio_flush(io->nbd, NBD_NULL_COMPLETION, 0), "flush", 0);
}
