/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* nfs.h -- storage on an NFS server: settings, mounting, probing. */
#pragma once

#include "storage-repos/sr.h"

struct apart_request;

/* Whether settings of this SR type mean something on another machine; no more than a look at the
 * text. */
bool nfs_is_remote(const char *type, const struct strmap *device_config);
/* "server:/path", for errors, even where settings are missing. */
const char *nfs_name(struct call *call, const char *type, const struct strmap *device_config);
/* What works in the mounted directory, or NULL. */
const struct sr_driver *nfs_directory_driver(const char *type);

/* Whether the kernel has something mounted there; the server is not asked. */
bool nfs_is_mounted(const char *target);

/* Strings are the arena's. */
struct nfs_place {
    const char *system_root;
    const char *options; /* for mount -o */
    bool iso;
    usec_t patience;                                 /* for mount: less than the daemon has */
    const char *source, *target, *directory;         /* mounted where, and the repository in it */
    const char *root, *root_target, *root_directory; /* the same to make and remove it */
};
/* Checks the settings. */
MUST_CHECK struct error *nfs_place(struct call *call, const struct apart_request *request,
                                   struct nfs_place *out);
/* Nothing where something is mounted there that works. */
MUST_CHECK struct error *nfs_mount(struct call *call, const struct nfs_place *place,
                                   const char *source, const char *target);
/* By force where it must be, for a dead server is no reason to keep a mount; logged where it cannot
 * be. */
void nfs_unmount(struct call *call, const struct nfs_place *place, const char *target);
/* What nfs_mount has left for disks in use goes; the settings need not be known. */
MUST_CHECK struct error *nfs_leave(struct call *call, const struct apart_request *request);
/* A part of the time that the daemon has. */
usec_t nfs_patience(const struct apart_request *request);
/* What a server exports, or the repositories in a path of it. */
MUST_CHECK struct error *nfs_probe(struct call *call, const struct apart_request *request,
                                   struct sr_probe *out);

/* Private to the folder. */

struct nfs_server {
    const char *name; /* as mount wants it: an IPv6 address in brackets */
    const char *path; /* NULL: not given */
};
MUST_CHECK struct error *nfs_server_of(struct call *call, const struct strmap *config,
                                       struct nfs_server *out);
/* Settings for mount, the server's part excepted. */
MUST_CHECK struct error *nfs_options(struct call *call, const struct strmap *config, bool read_only,
                                     const char **out);
