/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/host/backup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/host/system.h"
#include "xapid/ops/rows.h"

#define TIME_LIMIT (3600 * USEC_PER_SEC)

struct error *backup_make(struct call *call, backup_take_fn *take, void *ctx)
{
    const char *argv[] = {"xapid-host-backup", NULL};
    const struct child_spec spec = {
        .argv = argv, .output_limit = 1, .timeout = TIME_LIMIT, .watch = take, .ctx = ctx};
    struct child_result result;

    return system_run(call, &spec, &result);
}

static struct error *put_back(struct call *call, const char *path)
{
    const char *argv[] = {"xapid-host-restore", path, NULL};
    struct child_result result;

    return system_run(call, &(struct child_spec){.argv = argv, .timeout = TIME_LIMIT}, &result);
}

static struct error *failed(const struct call *call, const char *path)
{
    return error_internal(call->arena, "%s: %s", path, strerror(errno));
}

/* One at a time: two would mix. */
static struct error *check_alone(struct txn *txn, void *arg)
{
    struct call *call = txn_call(txn);
    const struct intent *intent;
    struct db_walk walk;

    (void)arg;
    TRY(txn_take_turns(txn));
    db_walk(txn_snap(txn), CLASS_intent, &walk);
    while ((intent = db_walk_next(&walk)))
        if (ref_equal(intent->host, call->xapid->host) && strcmp(intent->kind, "host_restore") == 0)
            return err_other_operation_in_progress(call, "host", call_ref(call, intent->host),
                                                   "host_restore", "");
    return OK;
}

static const char *path_of(const struct call *call, const struct host_restore_intent *intent)
{
    return arena_printf(call->arena, "%s/host-restore-%s", call->xapid->options.state_dir,
                        intent->file);
}

static const char *part_of(const struct call *call, const char *path)
{
    return arena_printf(call->arena, "%s.part", path);
}

struct error *restore_begin(struct call *call, struct restore *out)
{
    struct host_restore_intent intent = {
        .host = call->xapid->host, .file = uuid_new(arena_alloc(call->arena, UUID_TEXT_SIZE))};

    TRY(op_begin(
        call,
        &(struct op_spec){.kind = INTENT_host_restore, .intent = &intent, .check = check_alone},
        &out->op));
    out->path = path_of(call, &intent);
    out->part = part_of(call, out->path);
    out->fd = open(out->part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (out->fd < 0) {
        out->fd = 0;
        return failed(call, out->part);
    }
    return op_step(&out->op, "opened", 0.1);
}

/* From here on it is whole, also after a power cut. */
static struct error *complete(const struct restore *r)
{
    struct call *call = r->op.call;
    int dir = open(call->xapid->options.state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool done = dir >= 0 && fsync(r->fd) == 0 && rename(r->part, r->path) == 0 && fsync(dir) == 0;
    struct error *e = done ? OK : failed(call, r->path);

    if (dir >= 0)
        close(dir);
    return e;
}

struct error *restore_end(struct restore *r)
{
    TRY(op_step(&r->op, "received", 0.5));
    TRY(complete(r));
    TRY(op_step(&r->op, "whole", 0.6));
    TRY(put_back(r->op.call, r->path));
    TRY(op_step(&r->op, "restored", 0.9));
    unlink(r->path);
    return op_commit(&r->op, NULL, NULL);
}

void restore_release(struct restore *r)
{
    if (r->fd)
        close(r->fd);
    if (r->part && op_may_undo(&r->op)) {
        unlink(r->part);
        unlink(r->path);
    }
    op_release(&r->op);
}

/* A daemon that died left either part of an archive, or a whole one that was, perhaps, put back:
 * doing that again does no harm. */
struct error *host_restore_recover(struct call *call, struct op *op,
                                   const struct host_restore_intent *intent)
{
    const char *path = path_of(call, intent);
    struct error *e = access(path, F_OK) == 0 ? put_back(call, path) : OK;

    if (e)
        log_error("the host's files are not all as in the backup, put them back again: %s",
                  error_line(call->arena, e));
    unlink(path);
    unlink(part_of(call, path));
    return op_commit(op, NULL, NULL);
}
