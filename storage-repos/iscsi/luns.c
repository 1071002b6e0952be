/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* luns.c -- what the kernel shows of sessions and their disks, in sysfs. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/base/call.h"
#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "storage-repos/common/sr_error.h"
#include "storage-repos/common/words.h"
#include "storage-repos/iscsi/iscsi.h"

#define SESSIONS "/sys/class/iscsi_session"
#define LUNS_MAX 4096
#define RETRY (50 * USEC_PER_MSEC)
#define DISK "0" /* a SCSI device type */

/* ---- files ---- */

/* Calls 'see' for each name in a folder until it is false. */
static void each_name(const char *path, bool (*see)(void *ctx, const char *name), void *ctx)
{
    DIR *d = opendir(path);
    struct dirent *entry;

    while (d && (entry = readdir(d)) != NULL)
        if (entry->d_name[0] != '.' && !see(ctx, entry->d_name))
            break;
    if (d)
        closedir(d);
}

/* ---- sessions ---- */

struct session_search {
    struct call *call;
    const char *folder, *iqn, *found;
};

static bool see_session(void *ctx, const char *name)
{
    struct session_search *s = ctx;
    const char *path = arena_printf(s->call->arena, "%s/%s/targetname", s->folder, name);

    if (strcmp(sr_small_file(s->call, path, 0), s->iqn) == 0)
        s->found = arena_strdup(s->call->arena, name);
    return !s->found;
}

const char *iscsi_session(struct call *call, const char *system_root, const char *iqn)
{
    struct session_search s = {call, arena_printf(call->arena, "%s" SESSIONS, system_root), iqn,
                               NULL};

    each_name(s.folder, see_session, &s);
    return s.found;
}

/* ---- disks ---- */

struct lun_search {
    struct call *call;
    const char *system_root;
    const char *folder; /* of the session, then of one of its targets */
    const char *block;  /* the name of a disk */
    struct iscsi_luns *out;
};

/* udev's scsi_id writes the kind of a name as its first digit. */
static const char *scsi_id(struct call *call, const char *wwid)
{
    static const struct {
        const char *prefix, *digit;
    } kinds[] = {{"naa.", "3"}, {"eui.", "2"}, {"t10.", "1"}};

    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        char *id;

        if (strncmp(wwid, kinds[i].prefix, 4) != 0)
            continue;
        id = arena_printf(call->arena, "%s%s", kinds[i].digit, wwid + 4);
        for (char *p = id; *p; p++)
            *p = *p == ' ' ? '_' : *p;
        return id;
    }
    return "";
}

static bool see_block(void *ctx, const char *name)
{
    struct lun_search *s = ctx;

    s->block = arena_strdup(s->call->arena, name);
    return false;
}

/* The kernel makes the disk, then the node. */
static void add_device(struct lun_search *s, const char *path, struct iscsi_lun *lun)
{
    struct arena *arena = s->call->arena;
    const char *device;

    s->block = NULL;
    each_name(arena_printf(arena, "%s/block", path), see_block, s);
    if (!s->block)
        return;
    lun->size =
        512 *
        strtoll(sr_small_file(s->call, arena_printf(arena, "%s/block/%s/size", path, s->block), 0),
                NULL, 10);
    device = arena_printf(arena, "%s/dev/%s", s->system_root, s->block);
    if (lun->size > 0 && access(device, F_OK) == 0)
        lun->device = device;
}

/* "HOST:CHANNEL:TARGET:LUN" */
static bool see_lun(void *ctx, const char *name)
{
    struct lun_search *s = ctx;
    struct arena *arena = s->call->arena;
    const char *path = arena_printf(arena, "%s/%s", s->folder, name);
    const char *number = strrchr(name, ':');
    struct iscsi_lun *lun = &s->out->v[s->out->n];

    if (!number ||
        strcmp(sr_small_file(s->call, arena_printf(arena, "%s/type", path), 0), DISK) != 0)
        return true;
    *lun = (struct iscsi_lun){
        .number = arena_strdup(arena, number + 1),
        .vendor = sr_small_file(s->call, arena_printf(arena, "%s/vendor", path), 0),
        .serial = sr_small_file(s->call, arena_printf(arena, "%s/vpd_pg80", path), 4),
        .scsi_id =
            scsi_id(s->call, sr_small_file(s->call, arena_printf(arena, "%s/wwid", path), 0))};
    add_device(s, path, lun);
    return ++s->out->n < LUNS_MAX;
}

static bool see_target(void *ctx, const char *name)
{
    const struct lun_search *s = ctx;
    struct lun_search below = *s;

    below.folder = arena_printf(s->call->arena, "%s/%s", s->folder, name);
    if (strncmp(name, "target", 6) == 0)
        each_name(below.folder, see_lun, &below);
    return true;
}

static int by_number(const void *a, const void *b)
{
    long long x = strtoll(((const struct iscsi_lun *)a)->number, NULL, 10);
    long long y = strtoll(((const struct iscsi_lun *)b)->number, NULL, 10);

    return (x > y) - (x < y);
}

void iscsi_luns(struct call *call, const char *system_root, const char *session,
                struct iscsi_luns *out)
{
    struct lun_search s = {
        .call = call,
        .system_root = system_root,
        .folder = arena_printf(call->arena, "%s" SESSIONS "/%s/device", system_root, session),
        .out = out};

    *out = (struct iscsi_luns){.v = arena_array(call->arena, struct iscsi_lun, LUNS_MAX)};
    each_name(s.folder, see_target, &s);
    if (out->n)
        qsort(out->v, out->n, sizeof *out->v, by_number);
}

/* ---- waiting for them ---- */

/* The LUN's device, or NULL. */
static const char *device_of(const struct iscsi_luns *luns, const char *id)
{
    for (size_t i = 0; i < luns->n; i++)
        if (strcmp(luns->v[i].scsi_id, id) == 0)
            return luns->v[i].device;
    return NULL;
}

static bool are_devices(const struct iscsi_luns *luns)
{
    for (size_t i = 0; i < luns->n; i++)
        if (!luns->v[i].device)
            return false;
    return true;
}

/* Half of the time that is left: an answer has to be given too. */
static usec_t wait_until(const struct iscsi_place *place, bool wait)
{
    usec_t now = clock_mono();

    return wait && place->deadline > now ? now + (place->deadline - now) / 2 : now;
}

static struct error *look(struct call *call, const struct iscsi_place *place,
                          struct iscsi_luns *out)
{
    const char *session = iscsi_session(call, place->system_root, place->iqn);

    if (!session)
        return sr_failed(call, SR_FAIL_ISCSI_DEVICE, "this host has no session with %s",
                         place->iqn);
    iscsi_luns(call, place->system_root, session, out);
    return OK;
}

struct error *iscsi_device(struct call *call, const struct iscsi_place *place, bool wait,
                           const char **out)
{
    usec_t end = wait_until(place, wait);
    struct iscsi_luns luns;

    for (;;) {
        TRY(look(call, place, &luns));
        *out = device_of(&luns, place->scsi_id);
        if (*out)
            return OK;
        if (clock_mono() >= end)
            return sr_failed(call, SR_FAIL_ISCSI_DEVICE, "%s of %s: no LUN has the SCSI id %s",
                             place->iqn, place->portal, place->scsi_id);
        clock_sleep(RETRY);
    }
}

struct error *iscsi_all_luns(struct call *call, const struct iscsi_place *place,
                             struct iscsi_luns *out)
{
    usec_t end = wait_until(place, true);
    size_t n = 0;

    for (;;) {
        TRY(look(call, place, out));
        if (are_devices(out) || clock_mono() >= end)
            break;
        clock_sleep(RETRY);
    }
    for (size_t i = 0; i < out->n; i++)
        if (out->v[i].device)
            out->v[n++] = out->v[i];
        else
            log_warning("LUN %s of %s is left out: it has not become a block device",
                        out->v[i].number, place->iqn);
    out->n = n;
    return OK;
}
