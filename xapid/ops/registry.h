/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* registry.h -- the tables schemac makes of all operations and intents. */
#pragma once

#include "libxapi/base/call.h"
#include "libxapi/value/type.h"

struct op;

/* An implemented message; 'args' and 'result' as the message's descriptor lays them out. */
typedef struct error *message_fn(struct call *call, const void *args, void *result);

/* By message id; NULL for implicit, pending and custom-reply messages. */
extern message_fn *const api_implementations[];

struct intent_field {
    const char *name; /* NULL at the end */
    const struct type *type;
    uint16_t offset;
};

struct intent_desc {
    const char *name;
    size_t size; /* of its struct */
    const struct intent_field *fields;
    struct error *(*recover)(struct call *call, struct op *op, const void *intent);
};

/* By enum intent_kind. */
extern const struct intent_desc api_intents[];
