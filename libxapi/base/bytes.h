/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bytes.h -- numbers at any address: little-endian in our own files, entries and frames, big-endian
 * in some protocols. */
#pragma once

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline void le_put16(void *p, uint16_t v)
{
    v = htole16(v);
    memcpy(p, &v, sizeof v);
}

static inline void le_put32(void *p, uint32_t v)
{
    v = htole32(v);
    memcpy(p, &v, sizeof v);
}

static inline void le_put64(void *p, uint64_t v)
{
    v = htole64(v);
    memcpy(p, &v, sizeof v);
}

static inline uint16_t le_get16(const void *p)
{
    uint16_t v;

    memcpy(&v, p, sizeof v);
    return le16toh(v);
}

static inline uint32_t le_get32(const void *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof v);
    return le32toh(v);
}

static inline uint64_t le_get64(const void *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof v);
    return le64toh(v);
}

static inline void be_put32(void *p, uint32_t v)
{
    v = htobe32(v);
    memcpy(p, &v, sizeof v);
}

static inline uint32_t be_get32(const void *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof v);
    return be32toh(v);
}
