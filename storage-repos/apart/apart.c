/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* apart.c -- the daemon's side: each slot is a request to a process. */
#include "storage-repos/apart/apart.h"

#include <stdlib.h>
#include <string.h>

#include "libxapi/base/call.h"
#include "libxapi/base/child.h"
#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "storage-repos/apart/message.h"
#include "storage-repos/common/sr_error.h"
#include "storage-repos/datapath/datapath.h"
#include "storage-repos/iscsi/iscsi.h"
#include "storage-repos/lvm/lvm.h"
#include "storage-repos/nfs/nfs.h"

#define REPLY_MAX ((size_t)256 * 1024 * 1024)
#define TIMEOUT (60 * USEC_PER_SEC)
#define SILENT_TIMEOUT (5 * USEC_PER_SEC)
#define CHANGES 3 /* times as long: qemu-img runs more than once */
#define COPY_STALLS 5

/* ---- one call ---- */

/* A copy goes on as long as it comes forward. */
struct copying {
    bool (*progress)(void *ctx, double done); /* NULL: nobody asks */
    void *ctx;
    double done;
    usec_t moved, patience;
    char line[32];
    size_t n;
    bool stalled;
};

/* Lines "+0.1234" stand before the answer. */
static void take_progress(struct copying *c, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (text[i] != '\n') {
            if (c->n < sizeof c->line - 1)
                c->line[c->n++] = text[i];
            continue;
        }
        c->line[c->n] = '\0';
        c->n = 0;
        if (c->line[0] == '+' && strtod(c->line + 1, NULL) > c->done) {
            c->done = strtod(c->line + 1, NULL);
            c->moved = clock_mono();
        }
    }
}

static bool copy_goes_on(void *arg, const char *text, size_t n)
{
    struct copying *c = arg;

    take_progress(c, text, n);
    c->stalled = clock_mono() > c->moved + c->patience;
    return !c->stalled && (!c->progress || c->progress(c->ctx, c->done));
}

static usec_t time_for(const struct sr_handle *sr, int times)
{
    const struct apart_state *st = sr->state;
    usec_t whole = sr->site && sr->site->timeout ? sr->site->timeout : TIMEOUT;

    if (st && __atomic_load_n(&st->silent, __ATOMIC_RELAXED))
        return MIN(SILENT_TIMEOUT, whole);
    return times * whole;
}

static void heard(const struct sr_handle *sr, bool answered)
{
    struct apart_state *st = sr->state;

    if (st && __atomic_exchange_n(&st->silent, !answered, __ATOMIC_RELAXED) == answered)
        log_warning("the storage of SR %s %s", sr->uuid,
                    answered ? "answers again" : "does not answer");
}

/* What is waited for. */
static const char *storage_name(struct call *call, const struct sr_handle *sr)
{
    const char *devices = strmap_get(&sr->device_config, "device");

    if (iscsi_serves(sr->driver->type))
        return iscsi_name(call, &sr->device_config);
    if (lvm_serves(sr->driver->type))
        return devices ? devices : "the device";
    return nfs_name(call, sr->driver->type, &sr->device_config);
}

static struct error *no_answer(struct call *call, const struct sr_handle *sr, usec_t waited)
{
    return sr_failed(call, SR_FAIL_SR, "%s has not answered within %lld seconds",
                     storage_name(call, sr), (long long)(waited / USEC_PER_SEC));
}

/* What the process says in its log is said in ours. */
static void pass_on_words(const struct child_result *r)
{
    if (r->errors && r->errors[0])
        log_warning("xapid-storage: %s", r->errors);
}

static struct error *judge(struct call *call, const struct child_result *r,
                           struct apart_reply *reply)
{
    const char *text = memrchr(r->output, '\n', r->output_size);

    text = text ? text + 1 : r->output;
    if (r->status != 0)
        return sr_failed(call, SR_FAIL_SR, "the storage process ended with %d: %s", r->status,
                         r->errors);
    pass_on_words(r);
    if (r->truncated ||
        !apart_reply_read(call->arena, text, r->output_size - (size_t)(text - r->output), reply))
        return sr_failed(call, SR_FAIL_SR, "the storage process gave no answer");
    return reply->error;
}

/* '*ended': whether the process has, by itself; then whatever it began has ended too. */
static struct error *run_once(struct call *call, const struct sr_handle *sr,
                              struct apart_request *request, struct child_spec *spec,
                              struct apart_reply *reply, bool *ended)
{
    const char *const argv[] = {sr->site->program, NULL};
    const struct copying *copying = spec->ctx;
    struct child_result r;
    const char *text;

    request->patience = copying ? copying->patience : spec->timeout;
    request->type = sr->driver->type;
    request->uuid = sr->uuid;
    request->device_config = sr->device_config;
    request->mounts = sr->site->mounts;
    request->system_root = sr->site->system_root;
    request->datapath = sr->datapath ? datapath_dir(sr->datapath) : "";
    request->datapath_kind = sr->datapath ? datapath_kind_text(sr->datapath) : "";
    request->shared = sr->shared;
    text = apart_request_write(call->arena, request);
    spec->argv = argv;
    spec->input = text;
    spec->input_size = strlen(text);
    spec->output_limit = REPLY_MAX;
    *ended = false;
    TRY(child_run(call->arena, spec, &r));
    *ended = !r.timed_out && !r.cancelled && r.status == 0;
    if (r.timed_out || (copying && copying->stalled)) {
        heard(sr, false);
        return no_answer(call, sr, request->patience);
    }
    if (r.cancelled)
        return error_new(call->arena, "TASK_CANCELLED", 1, "");
    heard(sr, true);
    return judge(call, &r, reply);
}

/* ---- turns ---- */

/* Those of a repository that nobody uses yet, or that only look. */
static bool is_outside_turns(const char *slot)
{
    return strcmp(slot, "create") == 0 || strcmp(slot, "probe") == 0 || strcmp(slot, "leave") == 0;
}

/* Those that change metadata whatever they find. */
static bool changes(const char *slot)
{
    static const char *const slots[] = {"destroy",     "vdi_create", "vdi_delete", "vdi_resize",
                                        "vdi_replace", "vdi_reset",  "vdi_fork",   "vdi_describe"};

    for (size_t i = 0; i < ARRAY_SIZE(slots); i++)
        if (strcmp(slots[i], slot) == 0)
            return true;
    return false;
}

static struct error *run_in_turn(struct call *call, const struct sr_handle *sr,
                                 struct apart_request *request, struct child_spec *spec,
                                 struct apart_reply *reply)
{
    const struct sr_turns *turns = sr->site->turns;
    struct error *e;
    void *turn;
    bool ended;

    TRY(turns->take(call, sr, &request->turn, &turn));
    request->in_turns = request->turn != NULL;
    e = run_once(call, sr, request, spec, reply, &ended);
    turns->give(turn, ended);
    return e;
}

/* Most calls that only look need no turn; one that finds that it does says so, and has changed
 * nothing. */
static struct error *run(struct call *call, const struct sr_handle *sr,
                         struct apart_request *request, struct child_spec *spec,
                         struct apart_reply *reply)
{
    bool in_turns = sr->driver->in_turns && sr->site->turns && !is_outside_turns(request->slot),
         ended;
    struct error *e;

    if (in_turns && changes(request->slot))
        return run_in_turn(call, sr, request, spec, reply);
    request->in_turns = in_turns;
    e = run_once(call, sr, request, spec, reply, &ended);
    return in_turns && lvm_wants_turn(e) ? run_in_turn(call, sr, request, spec, reply) : e;
}

static struct error *ask(struct call *call, const struct sr_handle *sr, int times,
                         struct apart_request *request, struct apart_reply *reply)
{
    struct child_spec spec = {.timeout = time_for(sr, times)};

    if (!sr->site)
        return error_internal(call->arena, "%s: no storage process", sr->driver->type);
    return run(call, sr, request, &spec, reply);
}

/* For slots that answer with a disk. */
static struct error *ask_info(struct call *call, const struct sr_handle *sr, int times,
                              struct apart_request *request, struct vdi_info *info)
{
    struct apart_reply reply = {0};

    TRY(ask(call, sr, times, request, &reply));
    if (reply.n != 1)
        return sr_failed(call, SR_FAIL_SR, "the storage process answered for no disk");
    *info = reply.v[0];
    return OK;
}

static void fill_spec(struct apart_request *request, const struct vdi_spec *spec)
{
    request->new_location = spec->location;
    request->name_label = spec->name_label;
    request->name_description = spec->name_description;
    request->size = spec->virtual_size;
    request->sm_config = spec->sm_config;
}

/* ---- the repository ---- */

static struct error *a_create(struct call *call, struct sr_handle *sr, int64_t physical_size)
{
    struct apart_request request = {.slot = "create", .size = physical_size};
    struct apart_reply reply;

    return ask(call, sr, 1, &request, &reply);
}

static struct error *a_destroy(struct call *call, struct sr_handle *sr)
{
    struct apart_request request = {.slot = "destroy"};
    struct apart_reply reply;

    return ask(call, sr, 1, &request, &reply);
}

static struct error *a_attach(struct call *call, struct sr_handle *sr)
{
    struct apart_request request = {.slot = "attach"};
    struct apart_reply reply;

    return ask(call, sr, 1, &request, &reply);
}

static void a_detach(struct call *call, struct sr_handle *sr)
{
    (void)call;
    (void)sr; /* nothing was kept open */
}

static void a_leave(struct call *call, struct sr_handle *sr)
{
    struct apart_request request = {.slot = "leave"};
    struct apart_reply reply;
    struct error *e = ask(call, sr, 1, &request, &reply);

    if (e)
        log_warning("the storage of SR %s stays mounted: %s", sr->uuid, error_line(call->arena, e));
}

static bool a_remains(struct call *call, const struct sr_handle *sr)
{
    if (!sr->site)
        return false;
    if (lvm_serves(sr->driver->type))
        return lvm_is_attached(call, sr->site->mounts, sr->driver->type, sr->uuid);
    return nfs_is_mounted(arena_printf(call->arena, "%s/%s", sr->site->mounts, sr->uuid));
}

const char *apart_left(const char *name, char uuid[UUID_TEXT_SIZE])
{
    const char *ending = name + UUID_TEXT_SIZE - 1;
    uint8_t bytes[16];

    if (strlen(name) < UUID_TEXT_SIZE - 1)
        return NULL;
    memcpy(uuid, name, UUID_TEXT_SIZE - 1);
    uuid[UUID_TEXT_SIZE - 1] = '\0';
    if (!uuid_from_text(uuid, bytes))
        return NULL;
    if (ending[0] == '.' && strcmp(ending + 1, sr_lvm.type) == 0)
        return sr_lvm.type;
    /* It is there before the rest of such a repository, and goes last. */
    if (iscsi_is_mark(ending))
        return sr_lvmoiscsi.type;
    return ending[0] ? NULL : sr_nfs.type;
}

static struct error *a_probe(struct call *call, struct sr_handle *sr, struct sr_probe *out)
{
    struct apart_request request = {.slot = "probe"};
    struct apart_reply reply;

    TRY(ask(call, sr, 1, &request, &reply));
    *out = reply.probe;
    return OK;
}

static struct error *a_stat(struct call *call, struct sr_handle *sr, struct sr_stat_info *out)
{
    struct apart_request request = {.slot = "stat"};
    struct apart_reply reply;

    TRY(ask(call, sr, 1, &request, &reply));
    *out = reply.stat;
    return OK;
}

static struct error *a_scan(struct call *call, struct sr_handle *sr, size_t *n,
                            struct vdi_info **out)
{
    struct apart_request request = {.slot = "scan"};
    struct apart_reply reply;

    TRY(ask(call, sr, CHANGES, &request, &reply));
    *n = reply.n;
    *out = reply.v;
    return OK;
}

/* ---- disks ---- */

static struct error *a_vdi_create(struct call *call, struct sr_handle *sr,
                                  const struct vdi_spec *spec, struct vdi_info *info)
{
    struct apart_request request = {.slot = "vdi_create"};

    fill_spec(&request, spec);
    return ask_info(call, sr, CHANGES, &request, info);
}

static struct error *a_vdi_delete(struct call *call, struct sr_handle *sr, const char *location)
{
    struct apart_request request = {.slot = "vdi_delete", .location = location};
    struct apart_reply reply;

    return ask(call, sr, CHANGES, &request, &reply);
}

static struct error *a_vdi_stat(struct call *call, struct sr_handle *sr, const char *location,
                                struct vdi_info *info)
{
    struct apart_request request = {.slot = "vdi_stat", .location = location};

    return ask_info(call, sr, 1, &request, info);
}

static struct error *a_vdi_resize(struct call *call, struct sr_handle *sr, const char *location,
                                  int64_t size, struct vdi_info *info)
{
    struct apart_request request = {.slot = "vdi_resize", .location = location, .size = size};

    return ask_info(call, sr, CHANGES, &request, info);
}

static struct error *a_vdi_fork(struct call *call, struct sr_handle *sr, const char *location,
                                const char *base, const struct vdi_spec *spec,
                                struct vdi_info *info)
{
    struct apart_request request = {.slot = "vdi_fork", .location = location, .other = base};

    fill_spec(&request, spec);
    return ask_info(call, sr, CHANGES, &request, info);
}

static struct error *a_vdi_replace(struct call *call, struct sr_handle *sr, const char *location,
                                   const char *by, struct vdi_info *info)
{
    struct apart_request request = {.slot = "vdi_replace", .location = location, .other = by};

    return ask_info(call, sr, CHANGES, &request, info);
}

static struct error *a_vdi_reset(struct call *call, struct sr_handle *sr, const char *location)
{
    struct apart_request request = {.slot = "vdi_reset", .location = location};
    struct apart_reply reply;

    return ask(call, sr, CHANGES, &request, &reply);
}

static struct error *a_vdi_strip(struct call *call, struct sr_handle *sr, const char *location)
{
    struct apart_request request = {.slot = "vdi_strip", .location = location};
    struct apart_reply reply;

    return ask(call, sr, CHANGES, &request, &reply);
}

static struct error *a_vdi_changed(struct call *call, struct sr_handle *sr, const char *from,
                                   const char *to, struct vdi_changes *out)
{
    struct apart_request request = {.slot = "vdi_changed", .location = from, .other = to};
    struct apart_reply reply;

    TRY(ask(call, sr, CHANGES, &request, &reply));
    *out = reply.changes;
    return OK;
}

/* What may take as long as it likes while it comes forward. */
static struct error *ask_long(struct call *call, const struct sr_handle *sr,
                              struct apart_request *request,
                              bool (*progress)(void *ctx, double done), void *ctx,
                              struct apart_reply *reply)
{
    struct copying copying = {.progress = progress,
                              .ctx = ctx,
                              .moved = clock_mono(),
                              .patience = time_for(sr, COPY_STALLS)};
    struct child_spec child = {.watch = copy_goes_on, .ctx = &copying};

    if (!sr->site)
        return error_internal(call->arena, "%s: no storage process", sr->driver->type);
    return run(call, sr, request, &child, reply);
}

static struct error *a_vdi_coalesce(struct call *call, struct sr_handle *sr,
                                    const struct vdi_coalesce *what,
                                    bool (*progress)(void *ctx, double done), void *ctx)
{
    struct apart_request request = {.slot = "vdi_coalesce",
                                    .location = what->location,
                                    .other = what->base,
                                    .size = what->speed};
    struct apart_reply reply;

    return ask_long(call, sr, &request, progress, ctx, &reply);
}

static struct error *a_vdi_copy(struct call *call, struct sr_handle *sr, const char *location,
                                const struct vdi_spec *spec, struct vdi_info *info,
                                bool (*progress)(void *ctx, double done), void *ctx)
{
    struct apart_request request = {.slot = "vdi_copy", .location = location};
    struct apart_reply reply = {0};
    struct error *e;

    fill_spec(&request, spec);
    e = ask_long(call, sr, &request, progress, ctx, &reply);
    /* The process was killed amid its work. */
    if (error_is(e, "TASK_CANCELLED"))
        error_ignore(a_vdi_delete(call, sr, spec->location));
    TRY(e);
    if (reply.n != 1)
        return sr_failed(call, SR_FAIL_SR, "the storage process answered for no disk");
    *info = reply.v[0];
    return OK;
}

static struct error *a_vdi_describe(struct call *call, struct sr_handle *sr, const char *location,
                                    const char *name_label, const char *name_description)
{
    struct apart_request request = {.slot = "vdi_describe",
                                    .location = location,
                                    .name_label = name_label,
                                    .name_description = name_description};
    struct apart_reply reply;

    return ask(call, sr, 1, &request, &reply);
}

static struct error *a_vdi_attach(struct call *call, struct sr_handle *sr, const char *location,
                                  bool writable, struct vdi_path *out)
{
    struct apart_request request = {
        .slot = "vdi_attach", .location = location, .writable = writable};
    struct apart_reply reply;

    TRY(ask(call, sr, 1, &request, &reply));
    *out = reply.path;
    out->remote = true;
    return OK;
}

/* A directory's driver keeps nothing of an attached disk. */
static void a_vdi_detach(struct call *call, struct sr_handle *sr, const char *location)
{
    struct apart_request request = {.slot = "vdi_detach", .location = location};
    struct apart_reply reply;
    struct error *e = lvm_serves(sr->driver->type) ? ask(call, sr, 1, &request, &reply) : OK;

    if (e)
        log_warning("disk %s is not let go of: %s", location, error_line(call->arena, e));
}

static struct error *a_vdi_serve(struct call *call, struct sr_handle *sr,
                                 const struct datapath_disk *disk, struct vdi_path *out)
{
    struct apart_request request = {.slot = "vdi_serve",
                                    .location = disk->name,
                                    .other = disk->image,
                                    .format = disk->format,
                                    .writable = disk->writable};
    struct apart_reply reply;

    TRY(ask(call, sr, CHANGES, &request, &reply));
    *out = reply.path;
    out->remote = true;
    return OK;
}

static struct error *a_vdi_mirror(struct call *call, struct sr_handle *sr,
                                  const struct datapath_disk *to, bool top)
{
    struct apart_request request = {.slot = "vdi_mirror",
                                    .location = to->name,
                                    .other = to->image,
                                    .format = to->format,
                                    .writable = !top};
    struct apart_reply reply;

    return ask(call, sr, CHANGES, &request, &reply);
}

#define DISK_FEATURES                                                                              \
    (SR_F_CREATE | SR_F_SCAN | SR_F_STATS | SR_F_VDI_CREATE | SR_F_VDI_DELETE | SR_F_VDI_ATTACH |  \
     SR_F_VDI_RESIZE | SR_F_VDI_CLONE | SR_F_VDI_SNAPSHOT | SR_F_THIN | SR_F_VDI_REVERT |          \
     SR_F_VDI_RESET | SR_F_VDI_CBT | SR_F_VDI_COALESCE)

/* Not thin unless somebody asks for it; changed blocks are not told. */
#define VOLUME_FEATURES (DISK_FEATURES & ~(unsigned)(SR_F_THIN | SR_F_VDI_CBT | SR_F_VDI_COALESCE))

#define REPOSITORY_SLOTS                                                                           \
    .state_size = sizeof(struct apart_state), .create = a_create, .destroy = a_destroy,            \
    .attach = a_attach, .detach = a_detach, .leave = a_leave, .remains = a_remains,                \
    .stat = a_stat, .scan = a_scan, .vdi_stat = a_vdi_stat, .vdi_attach = a_vdi_attach,            \
    .vdi_detach = a_vdi_detach

#define DISK_SLOTS                                                                                 \
    .vdi_create = a_vdi_create, .vdi_delete = a_vdi_delete, .vdi_resize = a_vdi_resize,            \
    .vdi_fork = a_vdi_fork, .vdi_describe = a_vdi_describe, .vdi_replace = a_vdi_replace,          \
    .vdi_reset = a_vdi_reset, .vdi_strip = a_vdi_strip, .vdi_changed = a_vdi_changed,              \
    .vdi_serve = a_vdi_serve, .vdi_coalesce = a_vdi_coalesce, .vdi_mirror = a_vdi_mirror

static const struct strpair nfs_help[] = {
    {"server", "Name or address of the NFS server"},
    {"serverpath", "Path of the exported directory; each SR is a folder in it"},
    {"nfsversion", "3, 4, 4.0, 4.1 or 4.2; 4 where nothing is said"},
    {"options", "Further mount options between commas; \"soft\" lets guests have errors where they "
                "would wait for the server"},
    {NULL, NULL}};

const struct sr_driver sr_nfs = {.type = "nfs",
                                 .name_label = "NFS",
                                 .description = "Disks as qcow2 files on an NFS server",
                                 .config_help = nfs_help,
                                 .features = DISK_FEATURES | SR_F_PROBE,
                                 .probe = a_probe,
                                 REPOSITORY_SLOTS,
                                 DISK_SLOTS,
                                 .vdi_copy = a_vdi_copy};

const struct sr_driver sr_iso_nfs = {.type = "iso",
                                     .name_label = "ISO",
                                     .description = "CD images on an NFS server",
                                     .features =
                                         SR_F_CREATE | SR_F_SCAN | SR_F_STATS | SR_F_VDI_ATTACH,
                                     REPOSITORY_SLOTS};

static const struct strpair lvm_help[] = {
    {"device", "Block devices, with commas between them, that become one volume group; what is on "
               "them is lost"},
    {"allocation", "thick (each disk takes its whole size) or thin; thick where nothing is said"},
    {NULL, NULL}};

static const char *one_host_lvm(const struct strmap *device_config)
{
    (void)device_config;
    return "its devices are those of one host";
}

const struct sr_driver sr_lvm = {.type = "lvm",
                                 .name_label = "Local LVM",
                                 .description = "Disks as logical volumes on devices of this host",
                                 .config_help = lvm_help,
                                 .features = VOLUME_FEATURES | SR_F_PROBE,
                                 .one_host = one_host_lvm,
                                 .probe = a_probe,
                                 REPOSITORY_SLOTS,
                                 DISK_SLOTS,
                                 .vdi_copy = a_vdi_copy};

static const struct strpair lvmoiscsi_help[] = {
    {"target", "Name or address of the iSCSI target"},
    {"port", "Its port; 3260 where nothing is said"},
    {"targetIQN", "The target's iSCSI name; a probe without it finds those there are"},
    {"SCSIid", "The SCSI id of the LUN, whose content is lost; a probe without it finds those "
               "there are"},
    {"chapuser", "Name for CHAP, where the target asks for it"},
    {"chappassword", "Password for CHAP"},
    {"incoming_chapuser", "Name with which the target proves itself, where it shall"},
    {"incoming_chappassword", "Its password"},
    {"allocation", "thick (each disk takes its whole size) or thin; thick where nothing is said"},
    {NULL, NULL}};

static const char *one_host_lvmoiscsi(const struct strmap *device_config)
{
    const char *allocation = strmap_get(device_config, "allocation");

    return allocation && strcmp(allocation, "thin") == 0
               ? "with allocation=thin its disks take their space from a pool that only one host "
                 "at "
                 "a time can have; leave allocation out, or say thick"
               : NULL;
}

const struct sr_driver sr_lvmoiscsi = {.type = "lvmoiscsi",
                                       .name_label = "LVM over iSCSI",
                                       .description =
                                           "Disks as logical volumes on a LUN of an iSCSI target",
                                       .config_help = lvmoiscsi_help,
                                       .features = VOLUME_FEATURES | SR_F_PROBE,
                                       .one_host = one_host_lvmoiscsi,
                                       .in_turns = true, /* and a copy would take one for long */
                                       .probe = a_probe,
                                       REPOSITORY_SLOTS,
                                       DISK_SLOTS,
                                       .vdi_copy = a_vdi_copy};

const struct sr_driver sr_file_apart = {.type = "file",
                                        .name_label = "Local path, apart",
                                        .description = "Disks as qcow2 files in a directory",
                                        .features = DISK_FEATURES,
                                        REPOSITORY_SLOTS,
                                        DISK_SLOTS,
                                        .vdi_copy = a_vdi_copy};
