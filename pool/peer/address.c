/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* address.c -- takes addresses of members apart. */
#include "pool/peer/address.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool parse_fingerprint(const char *text, char out[PEER_FINGERPRINT_SIZE])
{
    if (strlen(text) != PEER_FINGERPRINT_SIZE - 1)
        return false;
    for (size_t i = 0; i < PEER_FINGERPRINT_SIZE - 1; i++) {
        if (!isxdigit((unsigned char)text[i]))
            return false;
        out[i] = (char)tolower((unsigned char)text[i]);
    }
    out[PEER_FINGERPRINT_SIZE - 1] = '\0';
    return true;
}

static bool parse_port(const char *text, size_t len, int *port)
{
    *port = 0;
    if (len == 0 || len > 5)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!isdigit((unsigned char)text[i]))
            return false;
        *port = *port * 10 + (text[i] - '0');
    }
    return *port > 0 && *port < 65536;
}

/* Without the brackets of an IPv6 address, which alone may hold colons. */
static bool parse_host(const char *text, size_t len, char out[ADDRESS_HOST_MAX])
{
    bool brackets = len > 2 && text[0] == '[' && text[len - 1] == ']';

    if (brackets) {
        text++;
        len -= 2;
    }
    if (len == 0 || len >= ADDRESS_HOST_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];

        if (!isalnum(c) && c != '.' && c != '-' && c != '_' && c != '%' && (!brackets || c != ':'))
            return false;
    }
    memcpy(out, text, len);
    out[len] = '\0';
    return true;
}

bool address_parse(const char *text, struct address *out)
{
    const char *slash = strrchr(text, '/'), *colon;

    memset(out, 0, sizeof *out);
    if (!slash || strlen(text) >= PEER_ADDRESS_MAX)
        return false;
    colon = memrchr(text, ':', (size_t)(slash - text));
    return colon && parse_host(text, (size_t)(colon - text), out->host) &&
           parse_port(colon + 1, (size_t)(slash - colon - 1), &out->port) &&
           parse_fingerprint(slash + 1, out->fingerprint);
}

bool address_parse_partial(const char *text, struct address *out)
{
    if (address_parse(text, out))
        return true;
    memset(out, 0, sizeof *out);
    return parse_fingerprint(text, out->fingerprint);
}

bool peer_address_ok(const char *address)
{
    struct address parsed;

    return address_parse(address, &parsed);
}

void fingerprint_to_text(const uint8_t digest[32], char out[PEER_FINGERPRINT_SIZE])
{
    for (size_t i = 0; i < 32; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
}
