/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate.c -- libxl's stream to another host, and from one, over a socket on which the daemon
 * listens.
 *
 * A domain comes without disks: the sender has them open.  A device model has to be given them when
 * it starts, which is too early, so an HVM guest cannot come.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "xapid/hypervisor/executor/executor.h"

#define PATH_TEXT_MAX 4096

/* A socket; one more than the descriptor, so that zero is none. */
struct stream {
    int fd;
};

static void stream_release(struct stream *s)
{
    if (s->fd)
        close(s->fd - 1);
    s->fd = 0;
}

static struct error *stream_open(struct request *rq, struct stream *out)
{
    const char *path = read_text(&rq->args, "path", PATH_TEXT_MAX);
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    if (rq->args.bad)
        return request_bad(rq);
    if (strlen(path) >= sizeof a.sun_path)
        return error_internal(&rq->arena, "%s: %s", path, strerrordesc_np(ENAMETOOLONG));
    memcpy(a.sun_path, path, strlen(path));
    out->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) + 1;
    if (!out->fd || connect(out->fd - 1, (struct sockaddr *)&a, sizeof a) < 0)
        return error_internal(&rq->arena, "%s: %s", path, strerrordesc_np(errno));
    return OK;
}

struct error *run_migrate_out(struct request *rq, json_t **result)
{
    bool live = read_bool(&rq->args, "live");
    AUTO(stream) stream = {0};
    AUTO(hold) hold = {0};
    AUTO(xen) xen = {0};
    struct error *e, *e2;
    struct found d;
    int rc;

    (void)result;
    TRY(domain_begin(rq, true, &hold, &xen, &d));
    if (d.info.paused)
        return ack_failed(&rq->arena, HV_SUSPEND, d.uuid);
    TRY(stream_open(rq, &stream));
    rc = libxl_domain_suspend(xen.ctx, d.domid, stream.fd - 1, live ? LIBXL_SUSPEND_LIVE : 0, NULL);
    if (!rc)
        return OK;
    e = save_failed(rq, &xen, &d, rc);
    e2 = resume_suspended(rq, &xen, d.uuid);
    if (e2)
        log_error("the domain %s stands still: %s", d.uuid, error_line(&rq->arena, e2));
    return e;
}

struct error *run_migrate_in(struct request *rq, json_t **result)
{
    struct hv_domain_config config;
    AUTO(stream) stream = {0};
    AUTO(hold) hold = {0};
    AUTO(xen) xen = {0};
    int domid;

    TRY(config_of(rq, &config));
    if (strcmp(config.type, "hvm") == 0)
        return error_internal(&rq->arena, "an HVM guest cannot come from another host: its device "
                                          "model would need its disks while they are still open "
                                          "there");
    TRY(hold_take(rq, config.uuid, HOLD_BUILD, &hold));
    TRY(stream_open(rq, &stream));
    TRY(xen_open(&rq->arena, &xen));
    TRY(build_domain(rq, &xen, &config, stream.fd - 1, &domid));
    *result = json_pack("{s:i}", "domid", domid);
    return OK;
}

struct error *run_resume(struct request *rq, json_t **result)
{
    enum hv_reason reason;
    char uuid[UUID_TEXT_SIZE];
    AUTO(hold) hold = {0};
    AUTO(xen) xen = {0};
    struct found d;

    (void)result;
    TRY(domain_begin(rq, false, &hold, &xen, &d));
    if (domain_state(&d.info, &reason) == HV_SHUTDOWN && reason != HV_SUSPEND)
        return error_internal(&rq->arena, "the domain %s has ended (%s)", d.uuid,
                              hv_reason_names[reason]);
    memcpy(uuid, d.uuid, sizeof uuid);
    return resume_suspended(rq, &xen, uuid);
}

/* What was sent without the executor's word that it was all is of no use to anybody: the guest runs
 * on. */
struct error *settle_migrate_out(struct request *rq)
{
    AUTO(hold) hold = {0};
    AUTO(xen) xen = {0};
    struct found d;

    TRY(domain_begin(rq, false, &hold, &xen, &d));
    TRY(settle_suspend(rq, &xen, &d));
    return error_internal(&rq->arena,
                          "migrate_out: the executor was killed while it sent the domain");
}
