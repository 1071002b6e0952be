/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* server.h -- within storage-repos/datapath: what mirror.c needs of datapath.c. */
#pragma once

#include "storage-repos/datapath/datapath.h"
#include "storage-repos/datapath/qmp.h"

/* A conversation with the disk's server; *dead, and none, where there is no server. */
MUST_CHECK struct error *server_open(struct call *call, const struct datapath *dp, const char *name,
                                     struct qmp *out, bool *dead);
/* The node that its users see, in the arena. */
MUST_CHECK struct error *server_top(struct call *call, struct qmp *qmp, const char **out);
/* Opens another image there, with its parents, unless it is open. */
MUST_CHECK struct error *server_add_image(struct call *call, struct qmp *qmp,
                                          const struct datapath_disk *disk, const char **node);
/* The note of what a server serves. */
MUST_CHECK struct error *server_now_serves(struct call *call, const struct datapath *dp,
                                           const struct datapath_disk *disk);
/* As datapath_set_patience. */
usec_t server_patience(const struct datapath *dp);
/* Whether its users can be held. */
bool server_can_mirror(const struct datapath *dp);
