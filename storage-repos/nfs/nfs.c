/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage-repos/nfs/nfs.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/call.h"
#include "libxapi/base/child.h"
#include "libxapi/base/log.h"
#include "libxapi/value/value.h"
#include "storage-repos/apart/message.h"
#include "storage-repos/common/program.h"
#include "storage-repos/common/sr_error.h"
#include "storage-repos/common/words.h"
#include "storage-repos/dir/dir.h"
#include "storage-repos/dir/iso.h"

#define SETTING_MAX 1000
#define UNMOUNT_TIMEOUT (10 * USEC_PER_SEC)
/*
 * Hard: a guest's write waits for the server rather than fail and be lost.  Names are not believed
 * to be there or not for longer than a question takes, for other hosts make and remove them.
 * "retry" is mount's own: whoever asks again is the daemon.
 */
#define OPTIONS "hard,timeo=100,retrans=3,retry=0,acdirmin=0,acdirmax=0,nosuid,nodev,noexec"

/* ---- settings ---- */

bool nfs_is_remote(const char *type, const struct strmap *config)
{
    const char *location = strmap_get(config, "location");

    if (strcmp(type, "iso") == 0)
        return location && location[0] != '/' && strstr(location, ":/");
    return strcmp(type, "nfs") == 0;
}

const char *nfs_name(struct call *call, const char *type, const struct strmap *config)
{
    const char *location = strmap_get(config, "location");
    const char *server = strmap_get(config, "server"), *path = strmap_get(config, "serverpath");

    if (strcmp(type, "nfs") != 0)
        return location ? location : "the storage";
    return arena_printf(call->arena, "%s:%s", server ? server : "", path ? path : "");
}

const struct sr_driver *nfs_directory_driver(const char *type)
{
    return strcmp(type, "nfs") == 0 ? &sr_file : NULL;
}

static bool path_ok(const char *s)
{
    if (s[0] != '/' || strlen(s) > SETTING_MAX || strstr(s, "/../"))
        return false;
    for (; *s; s++)
        if (iscntrl((unsigned char)*s))
            return false;
    return true;
}

static const char *without_slashes(struct call *call, const char *path)
{
    char *copy = arena_strdup(call->arena, path);

    for (size_t n = strlen(copy); n > 1 && copy[n - 1] == '/'; n--)
        copy[n - 1] = '\0';
    return copy;
}

struct error *nfs_server_of(struct call *call, const struct strmap *config, struct nfs_server *out)
{
    const char *server = strmap_get(config, "server"), *path = strmap_get(config, "serverpath");

    if (!server || !*server)
        return sr_failed(call, SR_FAIL_NO_SERVER, "the NFS server's name or address is wanted");
    if (!sr_host_ok(server))
        return sr_failed(call, SR_FAIL_ARGUMENT, "server: '%s' is no name of a host", server);
    if (path && *path && !path_ok(path))
        return sr_failed(call, SR_FAIL_ARGUMENT, "serverpath: '%s' is no absolute path", path);
    out->name = sr_host_word(call, server);
    out->path = path && *path ? without_slashes(call, path) : NULL;
    return OK;
}

struct error *nfs_options(struct call *call, const struct strmap *config, bool read_only,
                          const char **out)
{
    static const char *const versions[] = {"3", "4", "4.0", "4.1", "4.2"};
    const char *version = strmap_get(config, "nfsversion"), *more = strmap_get(config, "options");
    bool known = false;

    version = version && *version ? version : "4";
    more = more ? more : "";
    for (size_t i = 0; i < ARRAY_SIZE(versions); i++)
        known |= strcmp(version, versions[i]) == 0;
    if (!known)
        return sr_failed(call, SR_FAIL_ARGUMENT,
                         "nfsversion: '%s' is none of 3, 4, 4.0, 4.1 and 4.2", version);
    for (const char *p = more; *p; p++)
        if (!isgraph((unsigned char)*p) || p - more > SETTING_MAX)
            return sr_failed(call, SR_FAIL_ARGUMENT, "options: '%s' are no mount options", more);
    *out = arena_printf(call->arena, "vers=%s," OPTIONS "%s%s%s", version, read_only ? ",ro" : "",
                        *more ? "," : "", more);
    return OK;
}

static struct error *disks_place(struct call *call, const struct apart_request *request,
                                 struct nfs_place *out)
{
    struct nfs_server server;

    TRY(nfs_server_of(call, &request->device_config, &server));
    if (!server.path)
        return sr_failed(call, SR_FAIL_NO_SERVERPATH, "the exported directory is wanted");
    out->root = arena_printf(call->arena, "%s:%s", server.name, server.path);
    out->root_directory = arena_printf(call->arena, "%s/%s", out->root_target, request->uuid);
    out->source = arena_printf(call->arena, "%s:%s/%s", server.name,
                               strcmp(server.path, "/") == 0 ? "" : server.path, request->uuid);
    out->directory = out->target;
    return OK;
}

/* Its files are not ours: it is looked at where it is. */
static struct error *iso_place(struct call *call, const struct apart_request *request,
                               struct nfs_place *out)
{
    const char *location = strmap_get(&request->device_config, "location");
    const char *within = strmap_get(&request->device_config, "iso_path");
    char *server = arena_strdup(call->arena, location);
    char *path = strstr(server, ":/");

    *path++ = '\0';
    if (!sr_host_ok(server) || !path_ok(path))
        return sr_failed(call, SR_FAIL_ISO_MOUNT, "%s: SERVER:/PATH is wanted", location);
    if (within && *within && !path_ok(within))
        return sr_failed(call, SR_FAIL_ISO_MOUNT, "iso_path: '%s' is no absolute path", within);
    out->iso = true;
    out->root = out->source = location;
    out->root_directory = arena_printf(call->arena, "%s%s", out->root_target, within ? within : "");
    out->directory = arena_printf(call->arena, "%s%s", out->target, within ? within : "");
    return OK;
}

usec_t nfs_patience(const struct apart_request *request)
{
    return request->patience / 4 * 3;
}

/* What follows from the uuid. */
static struct error *targets(struct call *call, const struct apart_request *request,
                             struct nfs_place *out)
{
    uint8_t bytes[16];

    if (!uuid_from_text(request->uuid, bytes))
        return sr_failed(call, SR_FAIL_ARGUMENT, "%s is no uuid", request->uuid);
    *out = (struct nfs_place){
        .system_root = request->system_root,
        .patience = nfs_patience(request),
        .target = arena_printf(call->arena, "%s/%s", request->mounts, request->uuid),
        .root_target = arena_printf(call->arena, "%s/%s.root", request->mounts, request->uuid)};
    return OK;
}

struct error *nfs_place(struct call *call, const struct apart_request *request,
                        struct nfs_place *out)
{
    bool iso = strcmp(request->type, "iso") == 0;

    TRY(targets(call, request, out));
    TRY(iso ? iso_place(call, request, out) : disks_place(call, request, out));
    return nfs_options(call, &request->device_config, iso, &out->options);
}

/* ---- mounting ---- */

/* The fifth word of a line of mountinfo is the place; blanks in it would be written \040. */
bool nfs_is_mounted(const char *target)
{
    FILE *f = fopen("/proc/self/mountinfo", "re");
    bool found = false;
    char *line = NULL;
    size_t room = 0;

    if (!f)
        return false;
    while (!found && getline(&line, &room, f) >= 0) {
        char *save = NULL, *word = strtok_r(line, " ", &save);

        for (int i = 1; word && i < 5; i++)
            word = strtok_r(NULL, " ", &save);
        found = word && strcmp(word, target) == 0;
    }
    free(line);
    fclose(f);
    return found;
}

/* The server has another file system there now, or none: nobody can use the mount any more. */
static bool is_stale(const char *target)
{
    struct stat st;

    return stat(target, &st) < 0 && errno == ESTALE;
}

static struct error *make_folders(struct call *call, const char *path)
{
    char *copy = arena_strdup(call->arena, path);

    for (char *slash = strchr(copy + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(copy, 0700) < 0 && errno != EEXIST)
            return sr_failed_errno(call, SR_FAIL_MOUNT, errno, copy);
        *slash = '/';
    }
    return mkdir(path, 0700) < 0 && errno != EEXIST
               ? sr_failed_errno(call, SR_FAIL_MOUNT, errno, path)
               : OK;
}

struct error *nfs_mount(struct call *call, const struct nfs_place *place, const char *source,
                        const char *target)
{
    enum sr_failure failure = place->iso ? SR_FAIL_ISO_MOUNT : SR_FAIL_MOUNT;
    const char *argv[] = {sr_program(call, place->system_root, "mount"),
                          "-t",
                          "nfs",
                          "-o",
                          place->options,
                          "--",
                          source,
                          target,
                          NULL};
    struct child_spec spec = {.argv = argv, .timeout = place->patience};
    struct child_result r;

    if (!argv[0])
        return sr_failed(call, failure, "%s: this host has no mount program", source);
    if (nfs_is_mounted(target) && is_stale(target))
        nfs_unmount(call, place, target);
    if (nfs_is_mounted(target))
        return OK;
    TRY(make_folders(call, target));
    TRY(child_run(call->arena, &spec, &r));
    if (r.timed_out || r.status)
        rmdir(target);
    if (r.timed_out)
        return sr_failed(call, failure, "%s: the server does not answer", source);
    return r.status ? sr_failed(call, failure, "%s: %s", source,
                                *r.errors ? r.errors : "mount has failed")
                    : OK;
}

static bool unmounted(struct call *call, const struct nfs_place *place, const char *how,
                      const char *target)
{
    const char *argv[] = {sr_program(call, place->system_root, "umount"), how, "--", target, NULL};
    struct child_spec spec = {.argv = argv, .timeout = UNMOUNT_TIMEOUT};
    struct child_result r;

    return argv[0] && child_run(call->arena, &spec, &r) == OK && !nfs_is_mounted(target);
}

void nfs_unmount(struct call *call, const struct nfs_place *place, const char *target)
{
    /* -n is what umount does anyway where there is no /etc/mtab. */
    if (nfs_is_mounted(target) && !unmounted(call, place, "-n", target) &&
        !unmounted(call, place, "-lf", target))
        log_warning("%s stays mounted", target);
    else
        rmdir(target);
}

struct error *nfs_leave(struct call *call, const struct apart_request *request)
{
    struct nfs_place place;

    TRY(targets(call, request, &place));
    nfs_unmount(call, &place, place.target);
    return OK;
}
