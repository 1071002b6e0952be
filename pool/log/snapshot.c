/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* snapshot.c -- seals and checks snapshots. */
#include "pool/log/snapshot.h"

#include <string.h>
#include <xxhash.h>

#include "pool/log/files.h"

#define SNAPSHOT_VERSION 1

static const char snapshot_magic[8] = "XAPISNAP";

static void put64(uint8_t *p, uint64_t v)
{
    memcpy(p, &v, sizeof v);
}

void snapshot_seal(uint8_t header[SNAPSHOT_HEADER], uint64_t index, const void *data, size_t size)
{
    memcpy(header, snapshot_magic, sizeof snapshot_magic);
    put64(header + 8, SNAPSHOT_VERSION);
    put64(header + 16, index);
    put64(header + 24, size);
    put64(header + 32, XXH3_64bits(data, size));
    put64(header + 40, XXH3_64bits(header, 40));
}

const char *snapshot_check(const uint8_t *all, size_t all_size, uint64_t *index,
                           const uint8_t **data, size_t *size)
{
    if (all_size < SNAPSHOT_HEADER || memcmp(all, snapshot_magic, sizeof snapshot_magic) != 0)
        return "it does not begin as a snapshot";
    if (files_get64(all + 40) != XXH3_64bits(all, 40))
        return "the checksum of its header is wrong";
    if (files_get64(all + 8) != SNAPSHOT_VERSION)
        return "it was written by a newer version of this program";
    *index = files_get64(all + 16);
    *size = files_get64(all + 24);
    *data = all + SNAPSHOT_HEADER;
    if (*size > SNAPSHOT_MAX || all_size - SNAPSHOT_HEADER != ((*size + 7) & ~(size_t)7))
        return "its size is wrong";
    if (files_get64(all + 32) != XXH3_64bits(*data, *size))
        return "the checksum of its content is wrong";
    return NULL;
}
