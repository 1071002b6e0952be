/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* transport.h -- how members of the log reach each other. */
#pragma once

#include <raft/uv.h>

/* Of a member that is alone: hears nobody, reaches nobody.  Holds no resources. */
void transport_none(struct raft_uv_transport *transport);
