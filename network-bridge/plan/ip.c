/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "network-bridge/plan/ip.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>

static int family_bits(int family)
{
    return family == AF_INET6 ? 128 : 32;
}

static bool length_parse(const char *text, int most, int *out)
{
    int n = 0;

    if (!isdigit((unsigned char)*text) || strlen(text) > 3)
        return false;
    for (; isdigit((unsigned char)*text); text++)
        n = n * 10 + (*text - '0');
    *out = n;
    return *text == '\0' && n <= most;
}

bool ip_parse(const char *text, struct ip *out)
{
    const char *slash = strchrnul(text, '/');
    char address[INET6_ADDRSTRLEN];

    if ((size_t)(slash - text) >= sizeof address)
        return false;
    memcpy(address, text, (size_t)(slash - text));
    address[slash - text] = '\0';
    *out = (struct ip){.family = ip_is_v6(address) ? AF_INET6 : AF_INET};
    if (inet_pton(out->family, address, out->bytes) != 1)
        return false;
    out->length = family_bits(out->family);
    return *slash == '\0' || length_parse(slash + 1, out->length, &out->length);
}

bool ip_is_v6(const char *text)
{
    return strchr(text, ':') != NULL;
}

bool ip_is_default(const char *network)
{
    return strcmp(network, "0.0.0.0/0") == 0 || strcmp(network, "::/0") == 0;
}

bool ip_is_link_local(const char *address)
{
    return ip_covers("fe80::/10", address);
}

bool ip_covers(const char *network, const char *address)
{
    struct ip n, a;
    int whole, rest;

    if (!ip_parse(network, &n) || !ip_parse(address, &a) || n.family != a.family)
        return false;
    whole = n.length / 8;
    rest = n.length % 8;
    return memcmp(n.bytes, a.bytes, (size_t)whole) == 0 &&
           (rest == 0 || (n.bytes[whole] ^ a.bytes[whole]) >> (8 - rest) == 0);
}
