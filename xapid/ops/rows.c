/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/rows.h"

#include <arpa/inet.h>

#include "libxapi/value/value.h"
#include "xapid/main/xapid.h"

/* Whoever may make one has a permission, but a program may err. */
#define ROWS_LIMIT 10000
#define PORT_MAX 65535

struct error *check_room(struct call *call, int class_id)
{
    if (snap_root(call->snap)->tables[class_id].count < ROWS_LIMIT)
        return OK;
    return err_operation_not_allowed(call, arena_printf(call->arena,
                                                        "There are too many objects of class %s.",
                                                        api_classes[class_id].name));
}

struct error *error_of_refs(const struct call *call, const char *code, const struct refs *refs)
{
    struct error *e = arena_zalloc(call->arena, sizeof *e + refs->n * sizeof e->params[0]);

    e->code = code;
    e->n_params = refs->n;
    for (size_t i = 0; i < refs->n; i++)
        e->params[i] = call_ref(call, refs->v[i]);
    return e;
}

bool is_ip_address(const char *text)
{
    uint8_t bytes[16];

    return inet_pton(AF_INET, text, bytes) == 1 || inet_pton(AF_INET6, text, bytes) == 1;
}

struct error *check_port(struct call *call, const char *name, int64_t port)
{
    char text[INT_TEXT_SIZE];

    if (port >= 1 && port <= PORT_MAX)
        return OK;
    int_to_text(port, text);
    return err_value_not_supported(call, name, arena_strdup(call->arena, text),
                                   "A port is a number from 1 to 65535.");
}

struct error *txn_take_turns(struct txn *txn)
{
    ref_t ref = txn_call(txn)->xapid->pool;
    const struct pool *pool;

    TRY(TXN_GET(txn, pool, ref, &pool));
    txn_touch(txn, CLASS_pool, ref);
    return OK;
}
