/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* transport.c -- the transport of a member that is alone. */
#include "pool/log/transport.h"

#include <raft.h>
#include <string.h>

static int none_init(struct raft_uv_transport *t, raft_id id, const char *address)
{
    (void)t, (void)id, (void)address;
    return 0;
}

static int none_listen(struct raft_uv_transport *t, raft_uv_accept_cb cb)
{
    (void)t, (void)cb;
    return 0;
}

static int none_connect(struct raft_uv_transport *t, struct raft_uv_connect *req, raft_id id,
                        const char *address, raft_uv_connect_cb cb)
{
    (void)t, (void)req, (void)id, (void)address, (void)cb;
    return RAFT_NOCONNECTION;
}

static void none_close(struct raft_uv_transport *t, raft_uv_transport_close_cb cb)
{
    cb(t);
}

void transport_none(struct raft_uv_transport *transport)
{
    memset(transport, 0, sizeof *transport);
    transport->version = 1;
    transport->init = none_init;
    transport->listen = none_listen;
    transport->connect = none_connect;
    transport->close = none_close;
}
