/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* call.c -- the session messages that are answered later, because a password has to be checked. */
#include "xapid/auth/auth.h"
#include "xapid/rpc/rpc.h"

static void answer(void *ctx, struct error *e, ref_t session)
{
    struct rpc_call *rpc = ctx;

    if (e)
        rpc_answer(rpc, error_copy(rpc->call.arena, e), NULL);
    else
        rpc_answer(rpc, OK, &session);
}

void auth_call(struct rpc_call *rpc)
{
    const struct http_request *http = rpc->http;
    struct xapid *xapid = rpc->call.xapid;
    const char *originator = rpc->call.originator;
    bool local = http->via == VIA_UNIX;

    switch (rpc->message->id) {
    case MSG_session_login_with_password: {
        const struct session_login_with_password_args *a = rpc->args;

        if (http->known_client) {
            auth_login_with_certificate(xapid, a->originator, http->peer, answer, rpc);
            break;
        }
        auth_login(xapid, a->uname, a->pwd, a->version, a->originator, http->peer, local, answer,
                   rpc);
        break;
    }
    case MSG_session_slave_local_login_with_password: {
        const struct session_slave_local_login_with_password_args *a = rpc->args;

        auth_login(xapid, a->uname, a->pwd, "", originator, http->peer, local, answer, rpc);
        break;
    }
    case MSG_session_slave_login: {
        const struct session_slave_login_args *a = rpc->args;

        auth_login_with_secret(xapid, a->psecret, originator, http->peer, answer, rpc);
        break;
    }
    case MSG_session_slave_local_login: {
        const struct session_slave_local_login_args *a = rpc->args;

        auth_login_with_secret(xapid, a->psecret, originator, http->peer, answer, rpc);
        break;
    }
    default:
        rpc_answer(rpc, error_internal(rpc->call.arena, "%s has no login", rpc->name), NULL);
    }
}
