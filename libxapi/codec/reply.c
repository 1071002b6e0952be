/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* reply.c -- the envelopes of replies. */
#include "libxapi/codec/codec.h"

#define XML_REPLY_BEGIN "<?xml version=\"1.0\"?><methodResponse><params><param>"
#define XML_REPLY_END "</param></params></methodResponse>"

static const char *id_of(const struct rpc_request *request)
{
    return request->id ? request->id : "null";
}

void rpc_success_begin(struct buf *out, const struct rpc_request *request)
{
    switch (request->protocol) {
    case RPC_XML:
        buf_puts(out, XML_REPLY_BEGIN "<value><struct><member><name>Status</name>"
                                      "<value>Success</value></member>"
                                      "<member><name>Value</name>");
        break;
    case RPC_JSON_1:
        buf_puts(out, "{\"result\":");
        break;
    case RPC_JSON_2:
        buf_puts(out, "{\"jsonrpc\":\"2.0\",\"result\":");
        break;
    }
}

void rpc_success_end(struct buf *out, const struct rpc_request *request)
{
    if (request->protocol == RPC_XML) {
        buf_puts(out, "</member></struct></value>" XML_REPLY_END);
        return;
    }
    buf_puts(out, request->protocol == RPC_JSON_1 ? ",\"error\":null,\"id\":" : ",\"id\":");
    buf_puts(out, id_of(request));
    buf_putc(out, '}');
}

void rpc_bare_begin(struct buf *out, const struct rpc_request *request)
{
    if (request->protocol == RPC_XML)
        buf_puts(out, XML_REPLY_BEGIN);
    else
        rpc_success_begin(out, request);
}

void rpc_bare_end(struct buf *out, const struct rpc_request *request)
{
    if (request->protocol == RPC_XML)
        buf_puts(out, XML_REPLY_END);
    else
        rpc_success_end(out, request);
}

/* An array of the parameters, with the code before them where 'with_code' says so. */
static void add_error(struct buf *out, const struct codec *codec, const struct error *e,
                      bool with_code)
{
    codec->array_begin(out);
    if (with_code)
        codec->string(out, e->code);
    for (size_t i = 0; i < e->n_params; i++) {
        if (i || with_code)
            codec->array_next(out);
        codec->string(out, e->params[i]);
    }
    codec->array_end(out);
}

void rpc_failure(struct buf *out, const struct rpc_request *request, const struct error *e)
{
    switch (request->protocol) {
    case RPC_XML:
        buf_puts(out, XML_REPLY_BEGIN "<value><struct><member><name>Status</name>"
                                      "<value>Failure</value></member>"
                                      "<member><name>ErrorDescription</name>");
        add_error(out, &codec_xmlrpc, e, true);
        buf_puts(out, "</member></struct></value>" XML_REPLY_END);
        return;
    case RPC_JSON_1:
        buf_puts(out, "{\"result\":null,\"error\":");
        add_error(out, &codec_json, e, true);
        break;
    case RPC_JSON_2:
        buf_puts(out, "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":1,\"message\":");
        codec_json.string(out, e->code);
        buf_puts(out, ",\"data\":");
        add_error(out, &codec_json, e, false);
        buf_putc(out, '}');
        break;
    }
    buf_puts(out, ",\"id\":");
    buf_puts(out, id_of(request));
    buf_putc(out, '}');
}
