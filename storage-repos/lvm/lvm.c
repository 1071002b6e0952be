/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lvm.c -- the repository as a whole. */
#include "storage-repos/lvm/lvm.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/call.h"
#include "libxapi/base/log.h"
#include "libxapi/value/value.h"
#include "storage-repos/common/words.h"
#include "storage-repos/lvm/volumes.h"

#define DEVICES_MAX 1000
#define FOUND_MAX 1000

bool lvm_serves(const char *type)
{
    return strcmp(type, "lvm") == 0 || strcmp(type, "lvmoiscsi") == 0;
}

/* ---- settings ---- */

static const char *folder_of(struct call *call, const char *mounts, const char *type,
                             const char *uuid)
{
    return arena_printf(call->arena, "%s/%s.%s", mounts, uuid, type);
}

bool lvm_is_attached(struct call *call, const char *mounts, const char *type, const char *uuid)
{
    return access(folder_of(call, mounts, type, uuid), F_OK) == 0;
}

/* They become an argument of lvm. */
static struct error *check_devices(struct call *call, const char *devices)
{
    const char *p = devices;

    while (p) {
        if (p[0] != '/' || strlen(devices) > DEVICES_MAX || strpbrk(devices, " \t\n\"'"))
            return sr_failed(call, SR_FAIL_ARGUMENT,
                             "device: '%s' are no paths with commas between them", devices);
        p = strchr(p, ',');
        p = p ? p + 1 : NULL;
    }
    return OK;
}

struct error *lvm_state_of(struct call *call, const struct sr_handle *sr, struct lvm_state *out)
{
    const char *devices = strmap_get(&sr->device_config, "device");
    const char *allocation = strmap_get(&sr->device_config, "allocation");
    uint8_t bytes[16];

    if (!uuid_from_text(sr->uuid, bytes))
        return sr_failed(call, SR_FAIL_ARGUMENT, "%s is no uuid", sr->uuid);
    if (devices)
        TRY(check_devices(call, devices));
    if (allocation && strcmp(allocation, "thin") != 0 && strcmp(allocation, "thick") != 0)
        return sr_failed(call, SR_FAIL_ARGUMENT, "allocation: '%s' is neither thick nor thin",
                         allocation);
    *out = (struct lvm_state){
        .group = arena_printf(call->arena, LVM_GROUP "%s", sr->uuid),
        .devices = devices,
        .folder = folder_of(call, sr->site->mounts, sr->driver->type, sr->uuid),
        .lock_path = arena_printf(call->arena, "%s/%s.lvm-lock", sr->site->mounts, sr->uuid),
        .system_root = sr->site->system_root,
        .shared = sr->shared,
        .turn = sr->turn,
        .is.system_id = "",
        .thin = allocation && strcmp(allocation, "thin") == 0};
    return OK;
}

static struct error *need_devices(struct call *call, const struct lvm_state *st)
{
    return st->devices ? OK : sr_failed(call, SR_FAIL_NO_DEVICE, "a block device is wanted");
}

/* ---- create and destroy ---- */

/* A device of another group is left alone by vgcreate itself. */
static struct error *make_group(struct call *call, struct lvm_state *st)
{
    const char *words[32] = {"vgcreate", "-y",     "--setautoactivation", "n", "--metadatasize",
                             "16m",      st->group};
    char *devices = arena_strdup(call->arena, st->devices), *save = NULL;
    size_t n = 7;
    struct error *e;

    for (char *d = strtok_r(devices, ",", &save); d && n < ARRAY_SIZE(words) - 1;
         d = strtok_r(NULL, ",", &save))
        words[n++] = d;
    e = lvm_run(call, st, SR_FAIL_SR_CREATE, words, NULL);
    if (e && e->n_params > 1 && strstr(e->params[1], "already in volume group"))
        return error_new(call->arena, "SR_DEVICE_IN_USE", 0);
    return e;
}

/* All the group has but what LVM keeps for the pool's own.  What is to happen once it is full is
 * said in the settings of each command: lvcreate takes no option for it. */
static struct error *make_pool(struct call *call, struct lvm_state *st)
{
    TRY(LVM(call, st, SR_FAIL_SR_CREATE, "lvcreate", "-y", "--type", "thin-pool", "-l", "100%FREE",
            "-n", LVM_POOL, st->group));
    /* Disks in use have it active for as long as they need it. */
    return LVM(call, st, SR_FAIL_SR_CREATE, "lvchange", "-an", "-y",
               arena_printf(call->arena, "%s/" LVM_POOL, st->group));
}

static struct error *create_locked(struct call *call, struct lvm_state *st)
{
    bool there;

    TRY(lvm_exists(call, st, &there));
    if (!there) {
        TRY(make_group(call, st));
        TRY(lvm_look(call, st));
    }
    return st->thin && !st->is.thin ? make_pool(call, st) : OK;
}

static struct error *lvm_create(struct call *call, struct sr_handle *sr, int64_t physical_size)
{
    struct lvm_state *st = sr->state;
    struct error *e;

    (void)physical_size; /* as much as the devices have */
    TRY(lvm_state_of(call, sr, st));
    TRY(need_devices(call, st));
    TRY(lvm_lock(call, st));
    e = create_locked(call, st);
    lvm_unlock(st, true);
    return e;
}

static struct error *remove_group(struct call *call, struct lvm_state *st)
{
    char *devices = arena_strdup(call->arena, st->devices), *save = NULL;

    TRY(lvm_repair(call, st));
    TRY(lvm_collect(call, st));
    TRY(lvm_look(call, st));
    for (size_t i = 0; i < st->is.n; i++)
        if (st->is.v[i].kind != LVM_NEW)
            return error_new(call->arena, "SR_NOT_EMPTY", 0);
    TRY(LVM(call, st, SR_FAIL_SR_DELETE, "vgremove", "-f", "-y", st->group));
    /* They are nobody's from here; a repeat finds no group, and has nothing to do. */
    for (char *d = strtok_r(devices, ",", &save); d; d = strtok_r(NULL, ",", &save))
        error_ignore(LVM(call, st, SR_FAIL_SR_DELETE, "pvremove", "-y", d));
    return OK;
}

static struct error *lvm_destroy(struct call *call, struct sr_handle *sr)
{
    struct lvm_state *st = sr->state;
    struct error *e;
    bool there;

    TRY(lvm_state_of(call, sr, st));
    TRY(need_devices(call, st));
    TRY(lvm_lock(call, st));
    e = lvm_exists(call, st, &there);
    if (!e && there)
        e = remove_group(call, st);
    lvm_unlock(st, true);
    return e;
}

/* ---- attach, detach, leave ---- */

static struct error *attach_locked(struct call *call, struct lvm_state *st)
{
    TRY(lvm_look(call, st));
    if (st->shared && st->is.thin)
        return sr_failed(call, SR_FAIL_SR,
                         "%s has a pool for thin disks, which only one host can have: it cannot be "
                         "shared",
                         st->group);
    /* Whoever has no turn finds what counts in the midst of a change, too. */
    if (!st->turn || *st->turn)
        TRY(lvm_repair(call, st));
    if (mkdir(st->folder, 0700) < 0 && errno != EEXIST)
        return sr_failed_errno(call, SR_FAIL_SR, errno, st->folder);
    return OK;
}

static struct error *lvm_attach(struct call *call, struct sr_handle *sr)
{
    struct lvm_state *st = sr->state;
    struct error *e;

    TRY(lvm_state_of(call, sr, st));
    TRY(need_devices(call, st));
    TRY(lvm_lock(call, st));
    e = attach_locked(call, st);
    if (e)
        lvm_unlock(st, access(st->folder, F_OK) < 0);
    return e;
}

static void lvm_detach(struct call *call, struct sr_handle *sr)
{
    (void)call;
    lvm_unlock(sr->state, false);
}

static void remove_folder(const char *path)
{
    DIR *d = opendir(path);
    struct dirent *entry;

    while (d && (entry = readdir(d)) != NULL)
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(d), entry->d_name, 0);
    if (d)
        closedir(d);
    if (rmdir(path) < 0 && errno != ENOENT)
        log_warning("%s stays behind: %s", path, strerrordesc_np(errno));
}

struct error *lvm_leave(struct call *call, struct sr_handle *sr)
{
    struct lvm_state *st = sr->state;
    struct error *e;

    TRY(lvm_state_of(call, sr, st));
    TRY(lvm_lock(call, st));
    e = LVM(call, st, SR_FAIL_SR, "vgchange", "-an", "-y", st->group);
    remove_folder(st->folder);
    lvm_unlock(st, true);
    return e;
}

/* ---- stat and scan ---- */

static struct error *lvm_stat(struct call *call, struct sr_handle *sr, struct sr_stat_info *out)
{
    const struct lvm_group *group = &((struct lvm_state *)sr->state)->is;

    (void)call;
    *out = (struct sr_stat_info){.physical_size = group->size,
                                 .physical_utilisation = group->size - group->free -
                                                         group->pool_size + group->pool_used};
    return OK;
}

static struct error *lvm_scan(struct call *call, struct sr_handle *sr, size_t *n,
                              struct vdi_info **out)
{
    const struct lvm_group *group = &((struct lvm_state *)sr->state)->is;

    *n = 0;
    *out = arena_array(call->arena, struct vdi_info, group->n + 1);
    for (size_t i = 0; i < group->n; i++) {
        const struct lvm_volume *v = &group->v[i];

        if (v->kind != LVM_NEW && lvm_disk(group, v->location) == v)
            lvm_info(call, v, &(*out)[(*n)++]);
    }
    return OK;
}

/* ---- probe ---- */

/* A line "device:group:bytes". */
static void add_found(struct call *call, const struct sr_handle *sr, char *line, struct buf *xml,
                      struct sr_probe *out)
{
    char *save = NULL, *device = strtok_r(line, " :", &save), *group = strtok_r(NULL, " :", &save);
    const char *size = strtok_r(NULL, " :", &save), *uuid;

    if (!device || !group || !size || strncmp(group, LVM_GROUP, strlen(LVM_GROUP)) != 0 ||
        !lvm_location_ok(group + strlen(LVM_GROUP)) || out->n == FOUND_MAX)
        return;
    uuid = arena_strdup(call->arena, group + strlen(LVM_GROUP));
    buf_puts(xml, "<SR>");
    sr_element(xml, "UUID", uuid);
    sr_element(xml, "Devlist", device);
    sr_element(xml, "size", size);
    buf_puts(xml, "</SR>");
    out->v[out->n++] =
        (struct sr_found){.uuid = uuid, .device_config = sr->device_config, .complete = true};
}

static struct error *lvm_probe(struct call *call, struct sr_handle *sr, struct sr_probe *out)
{
    const char *const words[] = {
        "pvs",     "--foreign", "--noheadings", "--separator", ":",
        "--units", "b",         "--nosuffix",   "-o",          "pv_name,vg_name,vg_size",
        NULL};
    struct lvm_state *st = sr->state;
    struct buf xml = {0};
    char *save = NULL;
    const char *text;

    *out = (struct sr_probe){.xml = "", .v = arena_array(call->arena, struct sr_found, FOUND_MAX)};
    TRY(lvm_state_of(call, sr, st));
    TRY(need_devices(call, st));
    TRY(lvm_run(call, st, SR_FAIL_SR, words, &text));
    buf_puts(&xml, "<?xml version=\"1.0\" ?><SRlist>");
    for (char *line = strtok_r(arena_strdup(call->arena, text), "\n", &save); line;
         line = strtok_r(NULL, "\n", &save))
        add_found(call, sr, line, &xml, out);
    buf_puts(&xml, "</SRlist>");
    out->xml = sr_take(call, &xml);
    /* A place for a new one. */
    if (!out->n)
        out->v[out->n++] =
            (struct sr_found){.uuid = "", .device_config = sr->device_config, .complete = true};
    return OK;
}

const struct sr_driver lvm_volumes = {.type = "lvm",
                                      .state_size = sizeof(struct lvm_state),
                                      .create = lvm_create,
                                      .destroy = lvm_destroy,
                                      .attach = lvm_attach,
                                      .detach = lvm_detach,
                                      .probe = lvm_probe,
                                      .stat = lvm_stat,
                                      .scan = lvm_scan,
                                      .vdi_create = lvm_vdi_create,
                                      .vdi_delete = lvm_vdi_delete,
                                      .vdi_stat = lvm_vdi_stat,
                                      .vdi_resize = lvm_vdi_resize,
                                      .vdi_fork = lvm_vdi_fork,
                                      .vdi_copy = lvm_vdi_copy,
                                      .vdi_describe = lvm_vdi_describe,
                                      .vdi_attach = lvm_vdi_attach,
                                      .vdi_detach = lvm_vdi_detach,
                                      .vdi_replace = lvm_vdi_replace,
                                      .vdi_reset = lvm_vdi_reset};
