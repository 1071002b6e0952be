/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* probe.c -- what a server exports, and which repositories are in a path of it. */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/base/call.h"
#include "libxapi/base/child.h"
#include "libxapi/value/value.h"
#include "storage-repos/apart/message.h"
#include "storage-repos/common/program.h"
#include "storage-repos/common/sr_error.h"
#include "storage-repos/common/words.h"
#include "storage-repos/nfs/nfs.h"

#define FOUND_MAX 10000
#define MARK ".xapid-sr"

static void add_found(struct sr_probe *out, const struct sr_found *found)
{
    if (out->n < FOUND_MAX)
        out->v[out->n++] = *found;
}

/* ---- exports ---- */

/* A line of showmount: a path, and who may have it. */
static void add_export(struct call *call, const struct apart_request *request, char *line,
                       struct buf *xml, struct sr_probe *out)
{
    const char *server = strmap_get(&request->device_config, "server");
    char *end = line + strlen(line), *clients;

    while (end > line && (end[-1] == ' ' || end[-1] == '\t'))
        *--end = '\0';
    clients = strrchr(line, ' ');
    if (line[0] != '/' || !clients)
        return;
    *clients++ = '\0';
    for (end = clients - 1; end > line && end[-1] == ' '; end--)
        end[-1] = '\0';
    buf_printf(xml, "<Export>");
    sr_element(xml, "Target", server);
    sr_element(xml, "Path", line);
    sr_element(xml, "Accesslist", clients);
    buf_printf(xml, "</Export>");
    add_found(out, &(struct sr_found){
                       .uuid = "",
                       .device_config = strmap_with(call->arena, request->device_config,
                                                    "serverpath", arena_strdup(call->arena, line)),
                   });
}

static struct error *find_exports(struct call *call, const struct apart_request *request,
                                  const struct nfs_server *server, struct sr_probe *out)
{
    const char *argv[] = {sr_program(call, request->system_root, "showmount"), "--no-headers",
                          "--exports", server->name, NULL};
    struct child_spec spec = {.argv = argv, .timeout = nfs_patience(request)};
    struct child_result r;
    char *save = NULL, *text;
    struct buf xml = {0};

    if (!argv[0])
        return sr_failed(call, SR_FAIL_NO_NFS, "%s: this host has no showmount program",
                         server->name);
    TRY(child_run(call->arena, &spec, &r));
    if (r.timed_out || r.status)
        return sr_failed(call, SR_FAIL_NO_NFS, "%s: %s", server->name,
                         r.timed_out ? "no answer" : r.errors);
    text = arena_strdup(call->arena, r.output);
    buf_printf(&xml, "<?xml version=\"1.0\" ?><nfs-exports>");
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        add_export(call, request, line, &xml, out);
    buf_printf(&xml, "</nfs-exports>");
    out->answer = sr_failed(call, SR_FAIL_NO_SERVERPATH, "one of the server's exports is wanted");
    out->answer->params[2] = sr_take(call, &xml);
    return OK;
}

/* ---- repositories ---- */

static struct error *list_repositories(struct call *call, const struct apart_request *request,
                                       const char *folder, struct sr_probe *out)
{
    DIR *d = opendir(folder);
    struct dirent *entry;
    struct buf xml = {0};
    uint8_t bytes[16];

    if (!d)
        return sr_failed_errno(call, SR_FAIL_MOUNT, errno, folder);
    buf_printf(&xml, "<?xml version=\"1.0\" ?><SRlist>");
    while ((entry = readdir(d)) != NULL) {
        const char *mark = arena_printf(call->arena, "%s/%s/" MARK, folder, entry->d_name);

        if (!uuid_from_text(entry->d_name, bytes) || access(mark, F_OK) < 0)
            continue;
        buf_printf(&xml, "<SR>");
        sr_element(&xml, "UUID", entry->d_name);
        buf_printf(&xml, "</SR>");
        add_found(out, &(struct sr_found){.uuid = arena_strdup(call->arena, entry->d_name),
                                          .device_config = request->device_config,
                                          .complete = true});
    }
    closedir(d);
    buf_printf(&xml, "</SRlist>");
    out->xml = sr_take(call, &xml);
    /* A place for a new one. */
    if (!out->n)
        add_found(out, &(struct sr_found){
                           .uuid = "", .device_config = request->device_config, .complete = true});
    return OK;
}

/* What probes that were killed have left. */
static void sweep(struct call *call, const struct nfs_place *place, const char *mounts)
{
    DIR *d = opendir(mounts);
    struct dirent *entry;

    while (d && (entry = readdir(d)) != NULL) {
        long pid =
            strncmp(entry->d_name, "probe-", 6) == 0 ? strtol(entry->d_name + 6, NULL, 10) : 0;

        if (pid > 0 && kill((pid_t)pid, 0) < 0 && errno == ESRCH)
            nfs_unmount(call, place, arena_printf(call->arena, "%s/%s", mounts, entry->d_name));
    }
    if (d)
        closedir(d);
}

struct error *nfs_probe(struct call *call, const struct apart_request *request,
                        struct sr_probe *out)
{
    struct nfs_place place = {.system_root = request->system_root,
                              .patience = nfs_patience(request)};
    struct nfs_server server;
    struct error *e;

    *out = (struct sr_probe){.xml = "", .v = arena_array(call->arena, struct sr_found, FOUND_MAX)};
    TRY(nfs_server_of(call, &request->device_config, &server));
    if (!server.path)
        return find_exports(call, request, &server, out);
    TRY(nfs_options(call, &request->device_config, true, &place.options));
    sweep(call, &place, request->mounts);
    place.target = arena_printf(call->arena, "%s/probe-%ld", request->mounts, (long)getpid());
    TRY(nfs_mount(call, &place, arena_printf(call->arena, "%s:%s", server.name, server.path),
                  place.target));
    e = list_repositories(call, request, place.target, out);
    nfs_unmount(call, &place, place.target);
    return e;
}
