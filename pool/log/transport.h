/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* transport.h -- how members of the log reach each other (raft/uv.h says what the library asks). */
#pragma once

#include <raft/uv.h>

struct peers;

/* Of a member that is alone: hears nobody, reaches nobody.  Holds no resources. */
void transport_none(struct raft_uv_transport *transport);
/* Over the links of pool/peer, on the log's loop.  What it allocates ends with its close. */
void transport_peers(struct raft_uv_transport *transport, struct uv_loop_s *loop,
                     struct peers *peers);
