/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * extension.c -- calls that the XenAPI does not have: by their own name, or through
 * host.call_extension.
 *
 * An extension answers any value, so its answer is written from the tree it was read into.
 */
#include <string.h>

#include "libxapi/base/log.h"
#include "xapid/auth/rbac.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/host/here.h"
#include "xapid/ops/host/plugin.h"
#include "xapid/rpc/rpc.h"
#include "xapid/task/task.h"
#include "xapid/worker/workers.h"

/*** a tree, written ***/

static void write_wire(struct buf *out, const struct codec *codec, const struct wire *w);

static void write_array(struct buf *out, const struct codec *codec, const struct wire *w)
{
    codec->array_begin(out);
    for (size_t i = 0; i < w->n; i++) {
        if (i)
            codec->array_next(out);
        write_wire(out, codec, &w->v[i]);
    }
    codec->array_end(out);
}

static void write_struct(struct buf *out, const struct codec *codec, const struct wire *w)
{
    codec->struct_begin(out);
    for (size_t i = 0; i < w->n; i++) {
        codec->member_begin(out, w->v[i].name, i == 0);
        write_wire(out, codec, &w->v[i]);
        codec->member_end(out);
    }
    codec->struct_end(out);
}

/* As deep as what was read: WIRE_MAX_DEPTH. */
static void write_wire(struct buf *out, const struct codec *codec, const struct wire *w)
{
    switch (w->kind) {
    case WIRE_NIL:
        codec->nil(out);
        break;
    case WIRE_INT:
        codec->integer(out, w->i);
        break;
    case WIRE_BOOL:
        codec->boolean(out, w->i != 0);
        break;
    case WIRE_DOUBLE:
        codec->real(out, w->d);
        break;
    case WIRE_ARRAY:
        write_array(out, codec, w);
        break;
    case WIRE_STRUCT:
        write_struct(out, codec, w);
        break;
    case WIRE_STRING:
    case WIRE_DATE: /* as the extension wrote it */
        codec->string(out, w->text ? w->text : "");
        break;
    }
}

/* The client's own call, as XML-RPC whatever it was. */
static struct buf call_text(const struct rpc_call *rpc)
{
    struct buf text = {0};

    xmlrpc_call_begin(&text, rpc->extension);
    for (size_t i = 0; i < rpc->request.n_params; i++) {
        buf_puts(&text, "<param>");
        write_wire(&text, &codec_xmlrpc, &rpc->request.params[i]);
        buf_puts(&text, "</param>");
    }
    xmlrpc_call_end(&text);
    return text;
}

/*** running ***/

static struct error *run_own_name(struct rpc_call *rpc, const struct wire **answer)
{
    struct buf text = call_text(rpc);
    struct error *e = extension_run(&rpc->call, rpc->extension, text.data, text.len, answer);

    buf_release(&text);
    return e;
}

static struct error *run_given(struct rpc_call *rpc, const struct wire **answer)
{
    const struct host_call_extension_args *args = rpc->args;
    struct call *call = &rpc->call;
    struct rpc_request inner;
    const struct host *host;
    const char *why = "";

    TRY(DB_GET(call, host, args->host, &host));
    TRY(host_is_here(call, host->ref));
    if (!xmlrpc_read_request(call->arena, args->call, strlen(args->call), &inner, &why))
        return err_invalid_value(call, "call", why);
    return extension_run(call, inner.method, args->call, strlen(args->call), answer);
}

void extension_answer(struct rpc_call *rpc, struct error *e, const struct wire *answer)
{
    struct buf value = {0}, result = {0};

    if (e) {
        rpc_answer(rpc, e, NULL);
        return;
    }
    if (!rpc->came) {
        write_wire(&result, &codec_xmlrpc, answer);
        task_end(&rpc->call, OK, result.data);
        buf_release(&result);
    }
    write_wire(&value, codec_of(rpc->request.protocol), answer);
    call_refresh(&rpc->call);
    rpc_answer_value(rpc, &value);
}

static void run_extension(void *arg)
{
    struct rpc_call *rpc = arg;
    const struct wire *answer = NULL;
    struct error *e = OK;

    if (!rpc->came)
        e = task_begin(&rpc->call, rpc->extension ? rpc->extension : rpc->message->full_name, false,
                       rpc_task_of_client(rpc));
    rpc->call.wrote = false; /* the task's row does not count */
    if (!e)
        e = rpc->extension ? run_own_name(rpc, &answer) : run_given(rpc, &answer);
    if (!rpc_forward(rpc, e))
        extension_answer(rpc, e, answer);
}

void extension_call(struct rpc_call *rpc)
{
    if (!workers_run(rpc->call.xapid->workers, run_extension, rpc))
        rpc_answer(rpc, rpc_too_many(rpc), NULL);
}

struct error *extension_find(struct rpc_call *rpc)
{
    const char *name = rpc->request.method;
    struct host_call_extension_args *args;

    if (rpc->async || !rpc->request.n_params || !extension_exists(&rpc->call, name))
        return err_message_method_unknown(&rpc->call, name);
    rpc->message = &api_messages[MSG_host_call_extension];
    TRY(rpc_find_session(rpc));
    args = arena_new(rpc->call.arena, struct host_call_extension_args);
    *args = (struct host_call_extension_args){rpc->call.xapid->host, name};
    rpc->args = args;
    rpc->extension = name;
    return rbac_check(&rpc->call, rpc->message, rpc->args);
}
