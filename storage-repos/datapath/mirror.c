/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mirror.c -- a disk moves to another image under its users.
 *
 * It is one job of the server, blockdev-mirror, with two settings that make it safe:
 * - auto-finalize=false: at its end, when all is flushed to the copy, the job stands still with the
 *   disk drained, which is what holds the users, until it is told to finalize or to cancel;
 * - auto-dismiss=false: how it ended can be asked.
 * The job goes on without us; whoever comes next finds it in the server, and its name says how it
 * was begun: WAY.SYNC.NODE.
 *
 * WAY "follow" (copy-mode=background) copies what has been written, again and again, until there is
 * a moment in which nothing is left.  A disk that is written to without a pause may never have that
 * moment; then it is begun anew as "both" (write-blocking): a write is answered when both images
 * have it, so it ends however much is written.
 *
 * Why not "both" from the beginning: qemu (7.2, and it is so in later ones) frees the map of the
 * writes that are under way to both images before they have ended, when such a job ends otherwise
 * than by completing.  The server then dies more often than not, and its users have lost their
 * disk.  So a job of that way is never cancelled while users write: it is completed first, and
 * cancelled where it stands still.
 */
#include <assert.h>
#include <string.h>

#include "libxapi/base/call.h"
#include "libxapi/base/seam.h"
#include "storage-repos/datapath/server.h"

#define FOLLOW "follow."
#define BOTH "both."
#define NODE "move" /* of a copy that is reached by a socket */
#define JOB_SIZE 64
#define FOLLOW_TIMES 4 /* the disk's size may be copied until it is ready */
#define COMMAND_TIMEOUT (60 * USEC_PER_SEC)
#define HOLD_TIMEOUT (60 * USEC_PER_SEC)
#define LOOK_AGAIN (10 * USEC_PER_MSEC)
#define MAX_PASSES 256 /* a chain has no more images */

/* ---- the job ---- */

struct job {
    char id[JOB_SIZE];
    char status[16]; /* "" where there is none */
    const char *error;
    double done, copied; /* a part, and bytes */
};

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

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

        if (!id || !status || (!begins(id, FOLLOW) && !begins(id, BOTH)))
            continue;
        strncpy(out->id, id, sizeof out->id - 1);
        strncpy(out->status, status, sizeof out->status - 1);
        out->error = error ? arena_strdup(call->arena, error) : NULL;
        out->done = whole > 0 ? MIN(now / whole, 1.0) : 0;
        out->copied = now;
    }
    json_decref(list);
    return OK;
}

static bool is(const struct job *job, const char *status)
{
    return strcmp(job->status, status) == 0;
}

static struct error *tell_job(struct call *call, struct qmp *qmp, const struct job *job,
                              const char *command)
{
    return qmp_command(call, qmp, command, json_pack("{s:s}", "id", job->id), COMMAND_TIMEOUT,
                       NULL);
}

/* Until it has that status, or has ended, or there is none, or so much time has passed without its
 * coming forward. */
static struct error *look_for(struct call *call, struct qmp *qmp, const char *status,
                              usec_t patience, struct job *out)
{
    usec_t deadline = clock_mono() + patience;
    double copied = 0;

    while (true) {
        TRY(find_job(call, qmp, out));
        if (is(out, status) || is(out, "concluded") || is(out, "") || clock_mono() > deadline)
            return OK;
        if (is(out, "running") && out->copied > copied)
            deadline = clock_mono() + patience;
        copied = out->copied;
        clock_sleep(LOOK_AGAIN);
    }
}

static struct error *wait_for(struct call *call, struct qmp *qmp, const char *status,
                              struct job *out)
{
    TRY(look_for(call, qmp, status, HOLD_TIMEOUT, out));
    return is(out, status) || is(out, "concluded") || is(out, "")
               ? OK
               : sr_failed(call, SR_FAIL_VDI, "%s: its job stays %s", qmp->who, out->status);
}

/* What is left of it, if anything, is nobody's any more. */
static struct error *cancel(struct call *call, struct qmp *qmp, struct job *job)
{
    if (!is(job, "concluded"))
        TRY(tell_job(call, qmp, job, "job-cancel"));
    TRY(wait_for(call, qmp, "concluded", job));
    return is(job, "") ? OK : tell_job(call, qmp, job, "job-dismiss");
}

/* ---- begin ---- */

static struct error *add_socket(struct call *call, struct qmp *qmp, const char *path,
                                const char **node)
{
    *node = NODE;
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

/* 'sync': "top" or "full". */
static struct error *begin(struct call *call, struct qmp *qmp, const char *way, const char *sync,
                           const char *node)
{
    const char *from, *id = arena_printf(call->arena, "%s%s.%s", way, sync, node);
    const char *mode = strcmp(way, BOTH) == 0 ? "write-blocking" : "background";

    assert(strlen(id) < JOB_SIZE);
    TRY(server_top(call, qmp, &from));
    return qmp_command(call, qmp, "blockdev-mirror",
                       json_pack("{s:s,s:s,s:s,s:s,s:s,s:b,s:b}", "job-id", id, "device", from,
                                 "target", node, "sync", sync, "copy-mode", mode, "auto-finalize",
                                 false, "auto-dismiss", false),
                       COMMAND_TIMEOUT, NULL);
}

static struct error *open_and_begin(struct call *call, struct qmp *qmp,
                                    const struct datapath_disk *to, bool top)
{
    const char *node = NULL;

    TRY(strcmp(to->format, "nbd") == 0 ? add_socket(call, qmp, to->image, &node)
                                       : server_add_image(call, qmp, to, &node));
    return begin(call, qmp, FOLLOW, top ? "top" : "full", node);
}

/* It does not catch up with what is written. */
static struct error *begin_anew(struct call *call, struct qmp *qmp, struct job *job)
{
    char *sync = arena_strdup(call->arena, job->id + strlen(FOLLOW)), *dot = strchr(sync, '.');

    if (!dot)
        return sr_failed(call, SR_FAIL_VDI, "%s: the job %s is not of ours", qmp->who, job->id);
    *dot = '\0';
    TRY(cancel(call, qmp, job));
    return begin(call, qmp, BOTH, sync, dot + 1);
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
    e = open_and_begin(call, &qmp, to, top);
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

/* As the node on top has it; 0 where that is not said. */
static struct error *disk_size(struct call *call, struct qmp *qmp, double *out)
{
    json_t *list, *entry;
    const char *top;
    size_t i;

    *out = 0;
    TRY(server_top(call, qmp, &top));
    TRY(qmp_command(call, qmp, "query-named-block-nodes", json_pack("{s:b}", "flat", true),
                    COMMAND_TIMEOUT, &list));
    json_array_foreach(list, i, entry)
    {
        const char *node = json_string_value(json_object_get(entry, "node-name"));
        const json_t *image = json_object_get(entry, "image");

        if (node && strcmp(node, top) == 0)
            *out = json_number_value(json_object_get(image, "virtual-size"));
    }
    json_decref(list);
    return OK;
}

/* Whether so much was copied that its users must be faster than that is. */
static struct error *is_behind(struct call *call, struct qmp *qmp, const struct job *job, bool *out)
{
    double size;

    *out = false;
    if (!is(job, "running") || !begins(job->id, FOLLOW))
        return OK;
    TRY(disk_size(call, qmp, &size));
    *out = size > 0 && job->copied > FOLLOW_TIMES * size;
    return OK;
}

struct error *datapath_mirror_look(struct call *call, struct datapath *dp, const char *name,
                                   struct datapath_mirror *out)
{
    AUTO(qmp) qmp = {0};
    bool dead, behind = false;
    struct job job;

    *out = (struct datapath_mirror){.phase = MIRROR_BROKEN, .why = "the disk's server has died"};
    TRY(server_open(call, dp, name, &qmp, &dead));
    if (dead)
        return OK;
    TRY(find_job(call, &qmp, &job));
    TRY(is_behind(call, &qmp, &job, &behind));
    if (behind) {
        TRY(begin_anew(call, &qmp, &job));
        TRY(find_job(call, &qmp, &job));
    }
    *out = phase_of(&job);
    return OK;
}

struct error *datapath_mirror_hold(struct call *call, struct datapath *dp, const char *name,
                                   bool *held)
{
    AUTO(qmp) qmp = {0};
    struct job job;
    bool dead;

    *held = false;

    TRY(server_open(call, dp, name, &qmp, &dead));
    if (dead)
        return sr_failed(call, SR_FAIL_VDI, "disk %s: its server has died", name);
    TRY(find_job(call, &qmp, &job));
    if (is(&job, "ready"))
        TRY(tell_job(call, &qmp, &job, "job-complete"));
    if (begins(job.id, FOLLOW))
        TRY(look_for(call, &qmp, "pending", server_patience(dp), &job));
    else
        TRY(wait_for(call, &qmp, "pending", &job));
    *held = is(&job, "pending");
    if (*held)
        return OK;
    if (begins(job.id, FOLLOW) && !is(&job, "concluded"))
        return begin_anew(call, &qmp, &job);
    return sr_failed(call, SR_FAIL_VDI, "disk %s: %s", name,
                     job.error ? job.error : "there is no copy to hold it for");
}

/* ---- end ---- */

/* One that writes to both images is brought to where it stands still, however long that takes (see
 * above); only where it does not come forward, as with storage that is silent, is it cancelled as
 * it is. */
static struct error *bring_to_halt(struct call *call, struct qmp *qmp, struct job *job)
{
    if (!begins(job->id, BOTH) || is(job, "pending") || is(job, "concluded"))
        return OK;
    if (!is(job, "ready"))
        TRY(look_for(call, qmp, "ready", HOLD_TIMEOUT, job));
    if (!is(job, "ready"))
        return OK;
    TRY(tell_job(call, qmp, job, "job-complete"));
    return look_for(call, qmp, "pending", HOLD_TIMEOUT, job);
}

static struct error *end(struct call *call, struct qmp *qmp, bool keep)
{
    struct job job;

    TRY(find_job(call, qmp, &job));
    if (!keep)
        TRY(bring_to_halt(call, qmp, &job));
    if (is(&job, ""))
        return OK;
    if (keep && is(&job, "pending")) {
        TRY(tell_job(call, qmp, &job, "job-finalize"));
        TRY(wait_for(call, qmp, "concluded", &job));
    }
    return is(&job, "") ? OK : cancel(call, qmp, &job);
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
