/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/network/mac.h"

#include <ctype.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/seam.h"

#define MAC_BYTES 6

bool mac_is_good(const char *mac)
{
    if (strlen(mac) != MAC_BYTES * 3 - 1)
        return false;
    for (int i = 0; i < MAC_BYTES * 3 - 1; i++)
        if (i % 3 == 2 ? mac[i] != ':' : !isxdigit((unsigned char)mac[i]))
            return false;
    /* The lowest bit of the first byte marks groups. */
    return !(strtoul((char[]){mac[0], mac[1], '\0'}, NULL, 16) & 1);
}

/* Bytes that were chosen at random or by a hash, made local and not a group's. */
static const char *local_mac(struct arena *arena, const uint8_t bytes[MAC_BYTES])
{
    return arena_printf(arena, "%02x:%02x:%02x:%02x:%02x:%02x", (bytes[0] | 2) & 0xfe, bytes[1],
                        bytes[2], bytes[3], bytes[4], bytes[5]);
}

const char *mac_random(struct arena *arena)
{
    uint8_t bytes[MAC_BYTES];

    random_bytes(bytes, sizeof bytes);
    return local_mac(arena, bytes);
}

const char *vif_mac_from_seed(struct arena *arena, const char *seed, const char *device)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    const char *text;

    if (!seed || !*seed)
        return mac_random(arena);
    text = arena_printf(arena, "%s/vif/%s", seed, device);
    SHA256((const unsigned char *)text, strlen(text), digest);
    return local_mac(arena, digest);
}
