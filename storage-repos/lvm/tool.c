/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tool.c -- LVM's commands, the lock beside them, and which volumes are active. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/base/call.h"
#include "libxapi/base/child.h"
#include "libxapi/base/log.h"
#include "libxapi/value/value.h"
#include "storage-repos/common/lock.h"
#include "storage-repos/common/program.h"
#include "storage-repos/lvm/volumes.h"

/* As many arguments as lvchange or lvcreate may get. */
#define WORDS_MAX (2 * LVM_TAGS_MAX + 16)
#define REPORT_MAX ((size_t)64 * 1024 * 1024)
/* No copies of the metadata in /etc, no daemon that looks after pools or is told of changes; a
 * write for which a pool has no room is an error at once. */
#define CONFIG                                                                                     \
    "backup { backup=0 archive=0 } global { use_lvmpolld=0 notify_dbus=0 } "                       \
    "activation { monitoring=0 error_when_full=1 "
#define WITHOUT_UDEV "udev_sync=0 udev_rules=0 "

/* ---- commands ---- */

static bool says_full(const char *text)
{
    return strstr(text, "nsufficient free space") || strstr(text, "nsufficient suitable");
}

static bool says_in_use(const char *text)
{
    return strstr(text, " in use") || strstr(text, "is used by");
}

static struct error *judge(struct call *call, const struct lvm_state *st, enum sr_failure which,
                           const struct child_result *r)
{
    if (r->status == 0)
        return OK;
    if (says_full(r->errors))
        return error_new(call->arena, "SR_FULL", 2, "0",
                         arena_printf(call->arena, "%lld", (long long)st->is.free));
    return sr_failed(call, which, "%s: %s", st->group,
                     r->errors[0]
                         ? r->errors
                         : arena_printf(call->arena, "the lvm program ended with %d", r->status));
}

/* ---- turns ---- */

#define TURN_WANTED "TURN_WANTED" /* between the driver's two sides only */

bool lvm_wants_turn(const struct error *e)
{
    return error_is(e, TURN_WANTED);
}

/* Whether a command changes metadata: what is read, or becomes active here, is not changed. */
static bool changes(const char *const *words)
{
    static const char *const looks[] = {"fullreport", "pvs"};
    static const char *const here[] = {"-ay", "-an", "--refresh"};

    for (size_t i = 0; i < ARRAY_SIZE(looks); i++)
        if (strcmp(words[0], looks[i]) == 0)
            return false;
    for (size_t i = 0; i < ARRAY_SIZE(here); i++)
        if (words[1] && strcmp(words[1], here[i]) == 0)
            return false;
    return true;
}

/* LVM takes a group for this host's whose system ID it is given.  It is given the one that was read
 * last, so once another host has taken the group a command is refused by LVM itself, when it reads
 * the group under its own lock.  'former', where the group is being taken: the ID it has. */
static const char *config_of(struct call *call, const struct lvm_state *st, const char *former)
{
    /* LVM makes the names in /dev itself where nobody else does. */
    const char *udev = access("/run/udev/control", F_OK) == 0 ? "" : WITHOUT_UDEV;
    const char *id = former ? arena_printf(call->arena, LVM_ID "%s", st->turn) : st->is.system_id;

    if (!*id)
        return arena_printf(call->arena, CONFIG "%s}", udev);
    former =
        former && *former ? arena_printf(call->arena, " extra_system_ids=[\"%s\"]", former) : "";
    return arena_printf(call->arena,
                        CONFIG "%s} global { system_id_source=\"lvmlocal\" } "
                               "local { system_id=\"%s\"%s }",
                        udev, id, former);
}

/* The shell is what dies with us: a command that has begun to change the group, or has suspended a
 * device for that, is not killed in the middle. */
static struct error *run_as(struct call *call, const struct lvm_state *st, const char *const *words,
                            const char *former, struct child_result *r)
{
    const char *argv[WORDS_MAX + 16] = {"/bin/sh", "-c", "\"$@\"; exit $?", "sh"};
    struct child_spec spec = {.argv = argv, .output_limit = REPORT_MAX};
    size_t n = 4;

    argv[n++] = sr_program(call, st->system_root, "lvm");
    if (!argv[4])
        return sr_failed(call, SR_FAIL_SR, "this host has no lvm program (Debian: lvm2)");
    argv[n++] = words[0];
    argv[n++] = "--config";
    argv[n++] = config_of(call, st, former);
    if (st->devices) {
        argv[n++] = "--devices";
        argv[n++] = st->devices;
    }
    for (size_t i = 1; words[i]; i++) {
        if (n == ARRAY_SIZE(argv) - 1)
            return error_internal(call->arena, "lvm %s: too many arguments", words[0]);
        argv[n++] = words[i];
    }
    return child_run(call->arena, &spec, r);
}

/* Makes the group this host's, in its turn. */
static struct error *take_group(struct call *call, struct lvm_state *st)
{
    const char *id = arena_printf(call->arena, LVM_ID "%s", st->turn);
    const char *const words[] = {"vgchange", "-y", "--systemid", id, st->group, NULL};
    struct child_result r;

    TRY(run_as(call, st, words, st->is.system_id, &r));
    TRY(judge(call, st, SR_FAIL_SR, &r));
    st->is.system_id = id;
    return OK;
}

static struct error *own_group(struct call *call, struct lvm_state *st)
{
    if (!*st->turn)
        return error_new(call->arena, TURN_WANTED, 0);
    switch (lvm_owner(st->is.system_id, st->turn)) {
    case LVM_OWN:
        return OK;
    case LVM_TAKE:
        return take_group(call, st);
    case LVM_LOST:
        return sr_failed(call, SR_FAIL_LOCK,
                         "%s: this host was given up, and another one has changed it since",
                         st->group);
    default:
        return sr_failed(call, SR_FAIL_SR, "%s has the system ID %s, which is not of a pool's host",
                         st->group, st->is.system_id);
    }
}

static struct error *run(struct call *call, struct lvm_state *st, const char *const *words,
                         struct child_result *r)
{
    if (st->turn && changes(words))
        TRY(own_group(call, st));
    return run_as(call, st, words, NULL, r);
}

struct error *lvm_run(struct call *call, struct lvm_state *st, enum sr_failure which,
                      const char *const *words, const char **output)
{
    struct child_result r;

    TRY(run(call, st, words, &r));
    if (output)
        *output = r.output;
    return judge(call, st, which, &r);
}

static struct error *report(struct call *call, struct lvm_state *st, struct child_result *r)
{
    const char *const words[] = {
        "fullreport",
        "--foreign",
        "--reportformat",
        "json",
        "--units",
        "b",
        "--nosuffix",
        "--configreport",
        "vg",
        "-o",
        "vg_size,vg_free,vg_extent_size,vg_missing_pv_count,vg_systemid",
        "--configreport",
        "lv",
        "-o",
        "lv_name,lv_size,lv_tags,lv_active,lv_device_open,lv_suspended,pool_lv,data_percent",
        "--configreport",
        "pv",
        "-o",
        "pv_name",
        "--configreport",
        "pvseg",
        "-o",
        "pvseg_start",
        "--configreport",
        "seg",
        "-o",
        "seg_type",
        st->group,
        NULL};

    return run(call, st, words, r);
}

struct error *lvm_exists(struct call *call, struct lvm_state *st, bool *out)
{
    struct child_result r;

    *out = false;
    TRY(report(call, st, &r));
    if (r.status && (strstr(r.errors, "not found") || strstr(r.errors, "Cannot process volume")))
        return OK;
    TRY(judge(call, st, SR_FAIL_SR, &r));
    *out = lvm_report_read(call, r.output, r.output_size, &st->is);
    return *out ? OK
                : sr_failed(call, SR_FAIL_SR, "%s: the lvm program's report cannot be read",
                            st->group);
}

struct error *lvm_look(struct call *call, struct lvm_state *st)
{
    bool there;

    TRY(lvm_exists(call, st, &there));
    if (!there)
        return sr_failed(call, SR_FAIL_SR, "there is no volume group %s on %s", st->group,
                         st->devices ? st->devices : "this host");
    if (st->is.incomplete)
        return sr_failed(call, SR_FAIL_SR, "%s: one of its devices is missing", st->group);
    return OK;
}

const char *lvm_target(struct call *call, const struct lvm_state *st, enum lvm_kind kind,
                       const char *location)
{
    char name[LVM_NAME_SIZE];

    lvm_volume_name(kind, location, name);
    return arena_printf(call->arena, "%s/%s", st->group, name);
}

const char *lvm_path(struct call *call, const struct lvm_state *st, enum lvm_kind kind,
                     const char *location)
{
    return arena_printf(call->arena, "%s/dev/%s", st->system_root,
                        lvm_target(call, st, kind, location));
}

/* ---- the lock ---- */

struct error *lvm_lock(struct call *call, struct lvm_state *st)
{
    return sr_lock(call, st->lock_path, st->group, &st->lock);
}

void lvm_unlock(struct lvm_state *st, bool forget)
{
    sr_unlock(st->lock, st->lock_path, forget);
    st->lock = 0;
}

/* ---- which volumes are active ---- */

/* "U", or "U.PID" of work. */
static const char *mark_path(struct call *call, const struct lvm_state *st, const char *location,
                             bool working)
{
    return working ? arena_printf(call->arena, "%s/%s.%ld", st->folder, location, (long)getpid())
                   : arena_printf(call->arena, "%s/%s", st->folder, location);
}

struct error *lvm_mark(struct call *call, const struct lvm_state *st, const char *location,
                       bool working)
{
    const char *path = mark_path(call, st, location, working);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return sr_failed_errno(call, SR_FAIL_VDI, errno, path);
    close(fd);
    return OK;
}

void lvm_unmark(struct call *call, const struct lvm_state *st, const char *location, bool working)
{
    const char *path = mark_path(call, st, location, working);

    if (unlink(path) < 0 && errno != ENOENT)
        log_warning("%s stays behind: %s", path, strerrordesc_np(errno));
}

/* Marks with the disk and all it lies on. */
static void need(const struct lvm_group *group, const char *location, bool *needed)
{
    const struct lvm_volume *v = lvm_disk(group, location);

    for (size_t i = 0; v && i <= group->n; i++) {
        needed[v - group->v] = true;
        v = v->meta.parent[0] ? lvm_disk(group, v->meta.parent) : NULL;
    }
}

/* A mark of work whose process is gone says nothing. */
static void need_marked(struct call *call, const struct lvm_state *st, const char *name,
                        bool *needed)
{
    char location[UUID_TEXT_SIZE] = "";
    long pid = 0;

    if (strlen(name) < UUID_TEXT_SIZE - 1)
        return;
    memcpy(location, name, UUID_TEXT_SIZE - 1);
    if (name[UUID_TEXT_SIZE - 1] == '.')
        pid = strtol(name + UUID_TEXT_SIZE, NULL, 10);
    if (pid > 0 && kill((pid_t)pid, 0) < 0 && errno == ESRCH)
        unlink(arena_printf(call->arena, "%s/%s", st->folder, name));
    else
        need(&st->is, location, needed);
}

static void deactivate(struct call *call, struct lvm_state *st, const bool *needed)
{
    for (size_t i = 0; i < st->is.n; i++) {
        const struct lvm_volume *v = &st->is.v[i];
        struct error *e;

        if (!v->active || v->open || needed[i] || v->kind == LVM_NEW)
            continue;
        e = LVM(call, st, SR_FAIL_VDI, "lvchange", "-an", "-y",
                lvm_target(call, st, v->kind, v->location));
        if (e)
            log_warning("a volume stays active: %s", error_line(call->arena, e));
    }
}

void lvm_settle(struct call *call, struct lvm_state *st)
{
    struct error *e = lvm_look(call, st);
    bool *needed = arena_array(call->arena, bool, st->is.n + 1);
    DIR *d = opendir(st->folder);
    struct dirent *entry;

    while (d && (entry = readdir(d)) != NULL)
        need_marked(call, st, entry->d_name, needed);
    if (d)
        closedir(d);
    if (e)
        log_warning("volumes may stay active: %s", error_line(call->arena, e));
    else
        deactivate(call, st, needed);
}

/* Where another host has taken the group since it was read, it is read again. */
static struct error *activate(struct call *call, struct lvm_state *st,
                              const struct lvm_volume *volume)
{
    const char *target = lvm_target(call, st, volume->kind, volume->location);

    for (int tries = 5;; tries--) {
        const char *id = st->is.system_id;
        struct error *e = LVM(call, st, SR_FAIL_VDI, "lvchange",
                              volume->active ? "--refresh" : "-ay", "-y", target);

        if (!e || !st->turn || !tries)
            return e;
        TRY(lvm_look(call, st));
        if (strcmp(id, st->is.system_id) == 0)
            return e;
    }
}

struct error *lvm_activate(struct call *call, struct lvm_state *st, const struct lvm_volume *disk)
{
    while (disk) {
        /* Another host may have changed what an earlier use has left active here. */
        if (!disk->active || disk->suspended || st->turn)
            TRY(activate(call, st, disk));
        disk = disk->meta.parent[0] ? lvm_disk(&st->is, disk->meta.parent) : NULL;
    }
    return OK;
}

/* ---- volumes ---- */

static const char *size_word(struct call *call, int64_t size)
{
    return arena_printf(call->arena, "%lldb", (long long)size);
}

static int64_t in_extents(const struct lvm_group *group, int64_t size)
{
    return (size + group->extent - 1) / group->extent * group->extent;
}

/* Says how much there is, where LVM counts in extents. */
static struct error *check_room(struct call *call, const struct lvm_state *st, int64_t size)
{
    if (st->is.thin || size <= st->is.free)
        return OK;
    return error_new(call->arena, "SR_FULL", 2, arena_printf(call->arena, "%lld", (long long)size),
                     arena_printf(call->arena, "%lld", (long long)st->is.free));
}

static struct error *check_tags(struct call *call, const struct lvm_meta *meta,
                                struct lvm_tags *tags)
{
    return lvm_tags_write(call, meta, tags)
               ? OK
               : sr_failed(call, SR_FAIL_ARGUMENT, "the disk's names are too long or not UTF-8");
}

struct error *lvm_make(struct call *call, struct lvm_state *st, enum lvm_kind kind,
                       const char *location, int64_t size, const struct lvm_meta *meta)
{
    const char *words[WORDS_MAX] = {"lvcreate", "-y", "-Wn"};
    char name[LVM_NAME_SIZE];
    struct lvm_tags tags;
    size_t n = 3;

    lvm_volume_name(kind, location, name);
    size = in_extents(&st->is, size);
    TRY(check_tags(call, meta, &tags));
    if (lvm_find(&st->is, kind, location))
        TRY(lvm_remove(call, st, kind, location));
    TRY(check_room(call, st, size));
    words[n++] = st->is.thin ? "-V" : "-Zn";
    if (!st->is.thin)
        words[n++] = "-L";
    words[n++] = size_word(call, size);
    words[n++] = "-n";
    words[n++] = name;
    for (size_t i = 0; i < tags.n; i++) {
        words[n++] = "--addtag";
        words[n++] = tags.v[i];
    }
    if (st->is.thin)
        words[n++] = "--thinpool";
    words[n++] = st->is.thin ? arena_printf(call->arena, "%s/" LVM_POOL, st->group) : st->group;
    TRY(lvm_run(call, st, SR_FAIL_VDI_CREATE, words, NULL));
    st->is.free -= st->is.thin ? 0 : size;
    return OK;
}

struct error *lvm_rename(struct call *call, struct lvm_state *st, enum lvm_kind from_kind,
                         const char *from, enum lvm_kind kind, const char *to)
{
    char from_name[LVM_NAME_SIZE], name[LVM_NAME_SIZE];

    lvm_volume_name(from_kind, from, from_name);
    lvm_volume_name(kind, to, name);
    return LVM(call, st, SR_FAIL_VDI, "lvrename", st->group, from_name, name);
}

struct error *lvm_remove(struct call *call, struct lvm_state *st, enum lvm_kind kind,
                         const char *location)
{
    const char *const words[] = {"lvremove", "-f", lvm_target(call, st, kind, location), NULL};
    struct child_result r;

    TRY(run(call, st, words, &r));
    if (r.status && says_in_use(r.errors))
        return vdi_in_use(call, location, "destroy");
    return judge(call, st, SR_FAIL_VDI_REMOVE, &r);
}

struct error *lvm_grow(struct call *call, struct lvm_state *st, const struct lvm_volume *volume,
                       int64_t size)
{
    size = in_extents(&st->is, size);
    if (size <= volume->length)
        return OK;
    TRY(check_room(call, st, size - volume->length));
    return LVM(call, st, SR_FAIL_VDI_RESIZE, "lvextend", "-y", "-L", size_word(call, size),
               lvm_target(call, st, volume->kind, volume->location));
}

struct error *lvm_retag(struct call *call, struct lvm_state *st, const struct lvm_volume *volume,
                        const struct lvm_meta *meta)
{
    char *old = arena_strdup(call->arena, volume->tags), *save = NULL;
    const char *words[WORDS_MAX] = {"lvchange", "-y"};
    struct lvm_tags tags;
    size_t n = 2;

    TRY(check_tags(call, meta, &tags));
    /* A tag that stays is not taken away, for it might be after it was added. */
    for (char *tag = strtok_r(old, ",", &save); tag; tag = strtok_r(NULL, ",", &save)) {
        bool stays = n > WORDS_MAX / 2;

        for (size_t i = 0; i < tags.n; i++)
            stays |= strcmp(tag, tags.v[i]) == 0;
        if (stays)
            continue;
        words[n++] = "--deltag";
        words[n++] = tag;
    }
    for (size_t i = 0; i < tags.n; i++) {
        words[n++] = "--addtag";
        words[n++] = tags.v[i];
    }
    words[n++] = lvm_target(call, st, volume->kind, volume->location);
    return lvm_run(call, st, SR_FAIL_VDI, words, NULL);
}
