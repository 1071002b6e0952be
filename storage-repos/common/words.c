/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage-repos/common/words.h"

#include <ctype.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/base/arena.h"
#include "libxapi/base/call.h"
#include "libxapi/value/value.h"

#define FILE_MAX 1024

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

const char *sr_small_file(struct call *call, const char *path, size_t skip)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *text = arena_zalloc(call->arena, FILE_MAX + 1);
    ssize_t n = fd < 0 ? 0 : read(fd, text, FILE_MAX);
    size_t len = 0;

    if (fd >= 0)
        close(fd);
    for (ssize_t i = (ssize_t)skip; i < n; i++)
        if (text[i] > ' ' && text[i] <= '~')
            text[len++] = text[i];
        else if (len && text[i] == ' ')
            text[len++] = ' ';
    while (len && text[len - 1] == ' ')
        len--;
    text[len] = '\0';
    return text;
}

/* The name-based form (version 5) of RFC 9562, in the space of the repository's uuid. */
const char *sr_name_uuid(struct call *call, const char *sr_uuid, const char *name)
{
    char *text = arena_alloc(call->arena, UUID_TEXT_SIZE);
    uint8_t in[16 + 256] = {0}, out[SHA_DIGEST_LENGTH];
    size_t n = MIN(strlen(name), sizeof in - 16);

    if (!uuid_from_text(sr_uuid, in))
        memset(in, 0, 16);
    memcpy(in + 16, name, n);
    SHA1(in, 16 + n, out);
    out[6] = (out[6] & 0x0f) | 0x50;
    out[8] = (out[8] & 0x3f) | 0x80;
    return uuid_to_text(out, text);
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
