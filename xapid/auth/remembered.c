/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * remembered.c -- good passwords of the last minute, by a hash that is worth nothing without this
 * process's random key.  The caller holds a lock.
 */
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "libxapi/base/memory.h"
#include "xapid/auth/internal.h"

/* There are few users; the oldest goes when there are more. */
#define ENTRIES 256

struct remembered {
    size_t next;
    struct {
        uint8_t mac[AUTH_MAC_SIZE];
        usec_t until; /* 0: free */
    } v[ENTRIES];
};

struct remembered *remembered_new(void)
{
    return xcalloc(1, sizeof(struct remembered));
}

void remembered_free(struct remembered *r)
{
    if (r)
        remembered_clear(r);
    free(r);
}

void remembered_add(struct remembered *r, const uint8_t mac[AUTH_MAC_SIZE], usec_t until)
{
    size_t at = r->next;

    for (size_t i = 0; i < ENTRIES; i++)
        if (r->v[i].until && CRYPTO_memcmp(r->v[i].mac, mac, AUTH_MAC_SIZE) == 0)
            at = i;
    memcpy(r->v[at].mac, mac, AUTH_MAC_SIZE);
    r->v[at].until = until;
    if (at == r->next)
        r->next = (r->next + 1) % ENTRIES;
}

bool remembered_has(struct remembered *r, const uint8_t mac[AUTH_MAC_SIZE], usec_t now)
{
    for (size_t i = 0; i < ENTRIES; i++)
        if (r->v[i].until > now && CRYPTO_memcmp(r->v[i].mac, mac, AUTH_MAC_SIZE) == 0)
            return true;
    return false;
}

void remembered_clear(struct remembered *r)
{
    OPENSSL_cleanse(r, sizeof *r);
}
