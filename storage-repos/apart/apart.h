/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * apart.h -- drivers whose every call runs in a process of its own, for storage that may stop to
 * answer.
 *
 * A file call on a dead file server waits in the kernel until the server is back, which may be
 * never; only SIGKILL ends it.  So the daemon makes none: for each call of the driver it starts
 * xapid-storage (main.c), which mounts what is to be mounted, does the work with the driver for
 * local directories, answers and ends.  One that has not answered in time is killed, and the call
 * fails; as a killed daemon would leave it the repository is whole, and the call can be repeated.
 * Nothing is remembered between calls but whether the last one was answered: from then on each has
 * less time until one is, so that a dead server does not hold up those who ask again and again.
 */
#pragma once

#include "storage-repos/sr.h"

/* device_config: server, serverpath, nfsversion, options; a folder of the SR's uuid is the SR. */
extern const struct sr_driver sr_nfs;
/* ISO images on a file server: location "server:/path". */
extern const struct sr_driver sr_iso_nfs;
/* Volume groups (../lvm): on devices of this host. */
extern const struct sr_driver sr_lvm;
/* The same on a LUN of an iSCSI target (../iscsi). */
extern const struct sr_driver sr_lvmoiscsi;
/* A local directory: for tests of what is here. */
extern const struct sr_driver sr_file_apart;

/* The type of the repository that has left 'name' in the folder of mounts when it was attached, and
 * its uuid; NULL: none has. */
const char *apart_left(const char *name, char uuid[UUID_TEXT_SIZE]);

/* Driver state; zeroed is "answers". */
struct apart_state {
    bool silent; /* by atomic operations */
};

struct apart_request;
struct apart_reply;
/* The other side: does what was asked.  'progress' as in sr.h, for vdi_copy. */
void apart_serve(struct arena *arena, const struct apart_request *request,
                 struct apart_reply *reply, bool (*progress)(void *ctx, double done), void *ctx);
