/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage-repos/common/words.h"

#include <ctype.h>
#include <string.h>

#include "libxapi/base/arena.h"
#include "libxapi/base/call.h"

bool sr_host_ok(const char *s)
{
    if (!isalnum((unsigned char)s[0]) && s[0] != '[' && s[0] != ':')
        return false;
    return strlen(s) <= 255 && strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                         "0123456789.-_:[]%") == strlen(s);
}

const char *sr_host_word(struct call *call, const char *host)
{
    return strchr(host, ':') && host[0] != '[' ? arena_printf(call->arena, "[%s]", host) : host;
}

void sr_element(struct buf *out, const char *name, const char *text)
{
    buf_printf(out, "<%s>", name);
    buf_xml(out, text);
    buf_printf(out, "</%s>", name);
}

const char *sr_take(struct call *call, struct buf *from)
{
    const char *text = arena_strndup(call->arena, from->data, from->len);

    buf_release(from);
    return text;
}
