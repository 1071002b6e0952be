/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mirror.c -- a disk moves to another image under its users.
 *
 * It is one job of the server, blockdev-mirror, with three settings that make it safe:
 * - copy-mode=write-blocking: a write is answered when both images have it, so it ends however much
 *   is written;
 * - auto-finalize=false: at its end, when all is flushed to the copy, the job stands still with the
 *   disk drained, which is what holds the users, until it is told to finalize or to cancel;
 * - auto-dismiss=false: how it ended can be asked.
 * The job goes on without us; whoever comes next finds it in the server.
 */
#include <string.h>

#include "libxapi/base/call.h"
#include "libxapi/base/seam.h"
#include "storage-repos/datapath/server.h"

#define JOB "move"
#define COMMAND_TIMEOUT (60 * USEC_PER_SEC)
#define HOLD_TIMEOUT (60 * USEC_PER_SEC)
#define LOOK_AGAIN (10 * USEC_PER_MSEC)
#define MAX_PASSES 256 /* a chain has no more images */

/* ---- the job ---- */

struct job {
    char status[16]; /* "" where there is none */
    const char *error;
    double done;
};

static struct error *find_job(struct call *call, struct qmp *qmp, struct job *out)
{
    json_t *list, *entry;
    size_t i;

    *out = (struct job){0};
    TRY(qmp_command(call, qmp, "query-jobs", NULL, COMMAND_TIMEOUT, &list));
    json_array_foreach(list, i, entry)
    {
        const char *id = json_string_value(json_object_get(entry, "id"));
        const char *status = json_string_value(json_object_get(entry, "status"));
        const char *error = json_string_value(json_object_get(entry, "error"));
        double now = json_number_value(json_object_get(entry, "current-progress"));
        double whole = json_number_value(json_object_get(entry, "total-progress"));

        if (!id || strcmp(id, JOB) != 0 || !status)
            continue;
        strncpy(out->status, status, sizeof out->status - 1);
        out->error = error ? arena_strdup(call->arena, error) : NULL;
        out->done = whole > 0 ? MIN(now / whole, 1.0) : 0;
    }
    json_decref(list);
    return OK;
}

static bool is(const struct job *job, const char *status)
{
    return strcmp(job->status, status) == 0;
}

static struct error *tell_job(struct call *call, struct qmp *qmp, const char *command)
{
    return qmp_command(call, qmp, command, json_pack("{s:s}", "id", JOB), COMMAND_TIMEOUT, NULL);
}

/* Until it has that status, or has ended, or there is none. */
static struct error *wait_for(struct call *call, struct qmp *qmp, const char *status,
                              struct job *out)
{
    usec_t deadline = clock_mono() + HOLD_TIMEOUT;

    while (true) {
        TRY(find_job(call, qmp, out));
        if (is(out, status) || is(out, "concluded") || is(out, ""))
            return OK;
        if (clock_mono() > deadline)
            return sr_failed(call, SR_FAIL_VDI, "%s: its job stays %s", qmp->who, out->status);
        clock_sleep(LOOK_AGAIN);
    }
}

/* ---- begin ---- */

static struct error *add_socket(struct call *call, struct qmp *qmp, const char *path,
                                const char **node)
{
    *node = JOB;
    return qmp_command(call, qmp, "blockdev-add",
                       json_pack("{s:s,s:s,s:{s:s,s:s},s:s,s:s,s:s}", "node-name", *node, "driver",
                                 "nbd", "server", "type", "unix", "path", path, "export", "disk",
                                 "discard", "unmap", "detect-zeroes", "unmap"),
                       COMMAND_TIMEOUT, NULL);
}

/* Nodes that nothing uses: each pass closes those that the last one has set free. */
static struct error *close_unused(struct call *call, struct qmp *qmp)
{
    bool some = true;

    for (int pass = 0; some && pass < MAX_PASSES; pass++) {
        json_t *list, *entry;
        size_t i;

        some = false;
        TRY(qmp_command(call, qmp, "query-named-block-nodes", json_pack("{s:b}", "flat", true),
                        COMMAND_TIMEOUT, &list));
        json_array_foreach(list, i, entry)
        {
            const char *node = json_string_value(json_object_get(entry, "node-name"));

            /* Those with a '#' were not made by us, and go with those that were; one that is in
             * use is refused. */
            if (node && node[0] != '#')
                some |= !qmp_command(call, qmp, "blockdev-del",
                                     json_pack("{s:s}", "node-name", node), COMMAND_TIMEOUT, NULL);
        }
        json_decref(list);
    }
    return OK;
}

static struct error *begin(struct call *call, struct qmp *qmp, const struct datapath_disk *to,
                           bool top)
{
    const char *from, *node = NULL;

    TRY(server_top(call, qmp, &from));
    TRY(strcmp(to->format, "nbd") == 0 ? add_socket(call, qmp, to->image, &node)
                                       : server_add_image(call, qmp, to, &node));
    return qmp_command(call, qmp, "blockdev-mirror",
                       json_pack("{s:s,s:s,s:s,s:s,s:s,s:b,s:b}", "job-id", JOB, "device", from,
                                 "target", node, "sync", top ? "top" : "full", "copy-mode",
                                 "write-blocking", "auto-finalize", false, "auto-dismiss", false),
                       COMMAND_TIMEOUT, NULL);
}

struct error *datapath_mirror(struct call *call, struct datapath *dp,
                              const struct datapath_disk *to, bool top)
{
    AUTO(qmp) qmp = {0};
    struct error *e;
    struct job job;
    bool dead;

    if (!server_can_mirror(dp))
        return sr_failed(call, SR_FAIL_VDI, "a disk that is in use moves with --datapath nbd only");
    TRY(server_open(call, dp, to->name, &qmp, &dead));
    if (dead)
        return sr_failed(call, SR_FAIL_VDI, "disk %s: its server has died", to->name);
    TRY(find_job(call, &qmp, &job));
    if (job.status[0])
        return OK;
    e = begin(call, &qmp, to, top);
    if (e)
        error_ignore(close_unused(call, &qmp)); /* the first error says more */
    return e;
}

/* ---- meanwhile ---- */

static struct datapath_mirror phase_of(const struct job *job)
{
    struct datapath_mirror m = {.phase = MIRROR_COPYING, .done = job->done};

    if (is(job, ""))
        m.phase = MIRROR_NONE;
    else if (is(job, "ready") || is(job, "standby"))
        m.phase = MIRROR_READY;
    else if (is(job, "pending"))
        m.phase = MIRROR_HELD;
    else if (is(job, "concluded") || is(job, "aborting"))
        m = (struct datapath_mirror){.phase = MIRROR_BROKEN,
                                     .why = job->error ? job->error : "it was cancelled"};
    return m;
}

struct error *datapath_mirror_look(struct call *call, struct datapath *dp, const char *name,
                                   struct datapath_mirror *out)
{
    AUTO(qmp) qmp = {0};
    struct job job;
    bool dead;

    *out = (struct datapath_mirror){.phase = MIRROR_BROKEN, .why = "the disk's server has died"};
    TRY(server_open(call, dp, name, &qmp, &dead));
    if (dead)
        return OK;
    TRY(find_job(call, &qmp, &job));
    *out = phase_of(&job);
    return OK;
}

struct error *datapath_mirror_hold(struct call *call, struct datapath *dp, const char *name)
{
    AUTO(qmp) qmp = {0};
    struct job job;
    bool dead;

    TRY(server_open(call, dp, name, &qmp, &dead));
    if (dead)
        return sr_failed(call, SR_FAIL_VDI, "disk %s: its server has died", name);
    TRY(find_job(call, &qmp, &job));
    if (is(&job, "ready"))
        TRY(tell_job(call, &qmp, "job-complete"));
    TRY(wait_for(call, &qmp, "pending", &job));
    if (is(&job, "pending"))
        return OK;
    return sr_failed(call, SR_FAIL_VDI, "disk %s: %s", name,
                     job.error ? job.error : "there is no copy to hold it for");
}

/* ---- end ---- */

static struct error *end(struct call *call, struct qmp *qmp, bool keep)
{
    struct job job;

    TRY(find_job(call, qmp, &job));
    if (is(&job, ""))
        return OK;
    if (!is(&job, "concluded"))
        TRY(tell_job(call, qmp, keep && is(&job, "pending") ? "job-finalize" : "job-cancel"));
    TRY(wait_for(call, qmp, "concluded", &job));
    if (!is(&job, ""))
        TRY(tell_job(call, qmp, "job-dismiss"));
    return OK;
}

/* Which file is open as the node that users see. */
static struct error *top_file(struct call *call, struct qmp *qmp, const char **out)
{
    json_t *list, *entry;
    const char *top;
    size_t i;

    *out = "";
    TRY(server_top(call, qmp, &top));
    TRY(qmp_command(call, qmp, "query-named-block-nodes", json_pack("{s:b}", "flat", true),
                    COMMAND_TIMEOUT, &list));
    json_array_foreach(list, i, entry)
    {
        const char *node = json_string_value(json_object_get(entry, "node-name"));
        const char *file = json_string_value(json_object_get(entry, "file"));

        if (node && file && strcmp(node, top) == 0)
            *out = arena_strdup(call->arena, file);
    }
    json_decref(list);
    return OK;
}

struct error *datapath_mirror_end(struct call *call, struct datapath *dp, const char *name,
                                  const struct datapath_disk *to)
{
    AUTO(qmp) qmp = {0};
    const char *file;
    bool dead;

    TRY(server_open(call, dp, name, &qmp, &dead));
    if (dead)
        return OK;
    TRY(end(call, &qmp, to));
    if (to) {
        TRY(top_file(call, &qmp, &file));
        if (strcmp(file, to->image) != 0)
            return sr_failed(call, SR_FAIL_VDI, "disk %s: its server went on with %s", name, file);
        TRY(server_now_serves(call, dp, to));
    }
    return close_unused(call, &qmp);
}
