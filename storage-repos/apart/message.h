/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * message.h -- what the daemon asks of a storage process, and what that answers: one JSON object
 * each way.
 *
 * Both sides are of one build and one host.  What is read has limits all the same, for the answer
 * is made of what lies in a repository.
 */
#pragma once

#include "storage-repos/sr.h"

/* One call of a driver.  Members that the slot does not need are NULL, "" or 0; after reading no
 * string is NULL. */
struct apart_request {
    const char *slot; /* of struct sr_driver */
    const char *type, *uuid;
    struct strmap device_config;
    const char *mounts, *system_root;
    const char *datapath, *datapath_kind; /* "": this host serves no disks */
    const char *location;                 /* vdi_serve, vdi_mirror: the disk's name */
    const char *other;                    /* base, by, to; vdi_serve, vdi_mirror: the image */
    const char *format;                   /* vdi_serve, vdi_mirror */
    const char *new_location, *name_label, *name_description;
    struct strmap sm_config;
    int64_t size;
    bool writable;    /* vdi_mirror: not only what the disk's own image holds */
    int64_t patience; /* microseconds that the whole may take */
    bool shared;      /* other hosts have it too */
    bool in_turns;    /* hosts change it one at a time, */
    const char *turn; /* and this is the call's turn; "": it has none yet */
};

/* What the slot fills in; the rest is zero. */
struct apart_reply {
    struct error *error;
    struct sr_stat_info stat;
    size_t n; /* one for slots with a single 'info' */
    struct vdi_info *v;
    struct vdi_path path;
    struct vdi_changes changes;
    struct sr_probe probe;
};

/* Their text, in the arena. */
const char *apart_request_write(struct arena *arena, const struct apart_request *request);
const char *apart_reply_write(struct arena *arena, const struct apart_reply *reply);
/* False where it is not what was written. */
bool apart_request_read(struct arena *arena, const char *text, size_t n, struct apart_request *out);
bool apart_reply_read(struct arena *arena, const char *text, size_t n, struct apart_reply *out);
