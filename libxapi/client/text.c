/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* text.c -- errors as people read them. */
#include "libxapi/client/client.h"

static void add_param(struct buf *out, const struct error_desc *known, size_t i, const char *value)
{
    if (known && known->n_params > 0 && i < (size_t)known->n_params)
        buf_printf(out, "\n%s: %s", known->params[i], value);
    else
        buf_printf(out, "\n%s", value);
}

const char *xapi_error_text(struct xapi_session *s, const struct error *e)
{
    const struct error_desc *known;
    AUTO(buf) out = {0};

    if (!e)
        return "";
    known = api_error_by_code(e->code);
    buf_puts(&out, known && known->doc && *known->doc ? known->doc : e->code);
    for (size_t i = 0; i < e->n_params; i++)
        add_param(&out, known, i, e->params[i]);
    return arena_strdup(&s->arena, out.data ? out.data : "");
}
