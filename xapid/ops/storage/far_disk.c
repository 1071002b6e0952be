/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/storage/far_disk.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "pool/peer/stream.h"
#include "xapid/db/member.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/intent.h"
#include "xapid/ops/storage/attach.h"
#include "xapid/ops/storage/check.h"
#include "xapid/worker/workers.h"

#define CONNECT_WITHIN (20 * USEC_PER_SEC)
/* What is asked for is looked for in the database, an image is opened. */
#define ANSWER_WITHIN (90 * USEC_PER_SEC)
#define CATCHES_UP_WITHIN (20 * USEC_PER_SEC)
/* A side that takes nothing for so long is gone. */
#define SILENCE (60 * USEC_PER_SEC)

/*** what is said before NBD begins ***/

/* The question; numbers as the network has them. */
struct wanted {
    uint64_t intent[2], vdi[2]; /* references */
    uint64_t revision;          /* that has the intent */
};

/* The answer: what went wrong, "" where nothing did, in a field of fixed size. */
struct refusal {
    char text[256];
};

static void put_ref(ref_t ref, uint64_t out[2])
{
    out[0] = htobe64(ref.hi);
    out[1] = htobe64(ref.lo);
}

static ref_t get_ref(const uint64_t in[2])
{
    return (ref_t){.hi = be64toh(in[0]), .lo = be64toh(in[1])};
}

static bool read_all(struct peer_stream *stream, void *data, size_t size, usec_t silence)
{
    char *at = data;

    while (size) {
        size_t n;

        if (peer_stream_read(stream, at, size, &n, silence) != PEER_IO_DONE)
            return false;
        at += n;
        size -= n;
    }
    return true;
}

/*** the host that reads ***/

struct far_stream {
    struct xapid *xapid;
    struct peer_stream *stream;
    int near, carried; /* two ends: one to read the disk, one that the thread carries */
    struct thread thread;
};

static bool is_stopping(void *ctx)
{
    return xapid_is_stopping(((struct far_stream *)ctx)->xapid);
}

static void *carry(void *arg)
{
    struct far_stream *far = arg;

    peer_stream_join(far->stream, far->carried, SILENCE, is_stopping, far);
    /* Whoever reads is told that nothing more will come. */
    shutdown(far->carried, SHUT_RDWR);
    return NULL;
}

static struct error *open_stream(struct call *call, ref_t host, struct peer_stream **out)
{
    struct log_member member = {0};
    struct error *e;

    if (!call->xapid->peers)
        return err_cannot_contact_host(call, call_ref(call, host));
    TRY(host_log_member(call, host, &member));
    e = peer_stream_open(call->arena, call->xapid->peers, member.id, PEER_STREAM_DISK,
                         member.address, NULL, CONNECT_WITHIN, out);
    if (!e)
        return OK;
    log_warning("no way to read a disk of another host: %s", error_line(call->arena, e));
    return err_cannot_contact_host(call, call_ref(call, host));
}

static struct error *ask(struct call *call, ref_t intent, ref_t vdi, ref_t host,
                         struct peer_stream *stream)
{
    struct wanted wanted = {.revision = htobe64(snap_root(call->snap)->revision)};
    struct refusal refusal;

    put_ref(intent, wanted.intent);
    put_ref(vdi, wanted.vdi);
    if (peer_stream_write(stream, &wanted, sizeof wanted, CONNECT_WITHIN) != PEER_IO_DONE ||
        !read_all(stream, &refusal, sizeof refusal, ANSWER_WITHIN)) {
        log_warning("a disk of another host cannot be read: %s", peer_stream_trouble(stream));
        return err_cannot_contact_host(call, call_ref(call, host));
    }
    refusal.text[sizeof refusal.text - 1] = '\0';
    return refusal.text[0] ? error_new(call->arena, "VDI_IO_ERROR", 1,
                                       arena_printf(call->arena, "the host that has the disk: %s",
                                                    refusal.text))
                           : OK;
}

struct error *far_disk_open(struct call *call, ref_t intent, ref_t ref, struct far_disk *out,
                            struct vdi_path *path)
{
    struct peer_stream *stream = NULL;
    struct far_stream *far;
    const struct vdi *vdi;
    struct error *e;
    int ends[2];
    ref_t host;

    TRY(DB_GET(call, vdi, ref, &vdi));
    host = sr_seen_by(call->snap, vdi->sr);
    if (ref_is_null(host))
        return err_sr_not_attached(call, call_ref(call, vdi->sr));
    *path = (struct vdi_path){
        .path = arena_printf(call->arena, "disk %s of another host", vdi->uuid), .format = "nbd"};
    TRY(open_stream(call, host, &stream));
    e = ask(call, intent, ref, host, stream);
    if (!e && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        e = error_internal(call->arena, "no socket: %s", strerrordesc_np(errno));
    if (e) {
        peer_stream_close(stream);
        return e;
    }
    far = xcalloc(1, sizeof *far);
    *far = (struct far_stream){
        .xapid = call->xapid, .stream = stream, .near = ends[0], .carried = ends[1]};
    thread_start(&far->thread, "far-disk", carry, far);
    path->fd = far->near;
    *out = (struct far_disk){far};
    return OK;
}

void far_disk_release(struct far_disk *disk)
{
    struct far_stream *far = disk->stream;

    if (!far)
        return;
    /* The thread sees its end: all that was written has an answer by now. */
    shutdown(far->near, SHUT_RDWR);
    thread_join(&far->thread);
    close(far->near);
    close(far->carried);
    peer_stream_close(far->stream);
    free(far);
    *disk = (struct far_disk){0};
}

/*** the host that has it ***/

struct job {
    struct xapid *xapid;
    struct peer_stream *stream;
};

/* An operation that holds a VM holds its disks. */
static bool holds(struct call *call, const struct op *op, ref_t vdi)
{
    struct refs vbds = db_referrers(call, FIELD_vbd_vdi, vdi);

    if (op_holds(op, CLASS_vdi, vdi))
        return true;
    for (size_t i = 0; i < vbds.n; i++) {
        const struct vbd *vbd = db_find(call, CLASS_vbd, vbds.v[i]);

        if (vbd && op_holds(op, CLASS_vm, vbd->vm))
            return true;
    }
    return false;
}

/* What an intent of the host that asks holds, that one may read. */
static struct error *check_wanted(struct call *call, const struct job *job,
                                  const struct wanted *wanted)
{
    const struct intent *row = db_find(call, CLASS_intent, get_ref(wanted->intent));
    struct op op = {.call = call};

    return row && intent_read_holds(call->arena, row, &op) &&
                   host_member(call, row->host) == peer_stream_from(job->stream) &&
                   holds(call, &op, get_ref(wanted->vdi))
               ? OK
               : error_internal(call->arena, "no operation of that host holds such a disk");
}

static bool has_ended(void *ctx)
{
    return xapid_is_stopping(((const struct job *)ctx)->xapid);
}

static bool answer(struct peer_stream *stream, const char *text)
{
    struct refusal refusal = {0};

    strncpy(refusal.text, text, sizeof refusal.text - 1);
    return peer_stream_write(stream, &refusal, sizeof refusal, CONNECT_WITHIN) == PEER_IO_DONE;
}

static struct error *serve_path(struct call *call, struct job *job, const struct vdi_path *path)
{
    AUTO(vdi_server) server = {0};

    TRY(vdi_serve(call, path, false, &server));
    if (answer(job->stream, ""))
        peer_stream_join(job->stream, server.fd, SILENCE, has_ended, job);
    return OK;
}

static struct error *serve_disk(struct call *call, struct job *job, const struct wanted *wanted)
{
    uint64_t revision = be64toh(wanted->revision);
    ref_t vdi = get_ref(wanted->vdi);
    struct vdi_path path;
    struct error *e;

    if (revision)
        db_wait(call->xapid->db, revision - 1, clock_mono() + CATCHES_UP_WITHIN);
    call_refresh(call);
    TRY(check_wanted(call, job, wanted));
    TRY(vdi_path_read(call, vdi, &path));
    e = serve_path(call, job, &path);
    vdi_path_detach(call, vdi);
    return e;
}

static void serve(void *arg)
{
    struct job *job = arg;
    AUTO(arena) arena = {0};
    struct wanted wanted;
    struct error *e = OK;
    struct call call;

    call_init_internal(&call, job->xapid, &arena);
    if (read_all(job->stream, &wanted, sizeof wanted, CONNECT_WITHIN))
        e = serve_disk(&call, job, &wanted);
    if (e) {
        log_warning("a disk is not read by another host: %s", error_line(&arena, e));
        answer(job->stream, error_line(&arena, e)); /* whoever asked may have gone */
    }
    peer_stream_close(job->stream);
    call_release(&call);
    free(job);
}

void far_disk_serve(void *ctx, struct peer_stream *stream)
{
    struct xapid *xapid = ctx;
    struct job *job = xcalloc(1, sizeof *job);

    *job = (struct job){.xapid = xapid, .stream = stream};
    if (workers_run(xapid->workers, serve, job))
        return;
    peer_stream_close(stream);
    free(job);
}
