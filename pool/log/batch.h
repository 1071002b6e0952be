/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * batch.h -- one entry of the log: a header of ours and one or more write-sets.
 *
 *     offset 0   u32 magic     u16 version   u16 zero
 *            8   u64 index     where its proposer put it: an entry that turns up elsewhere is
 * damage 16   u32 count     u32 zero 24   count times:  u32 size, u32 zero, bytes, zeros up to a
 * multiple of 8
 *
 * All little-endian.  The library checksums entries; what it does not notice is a whole entry lost
 * from the middle, since its entries carry no index.  Ours does.
 */
#pragma once

#include "libxapi/base/base.h"

#define BATCH_MAGIC 0x4c504158u /* "XAPL" */
#define BATCH_VERSION 1
#define BATCH_HEADER 24
#define BATCH_ITEM_HEADER 8

enum batch_check {
    BATCH_GOOD,
    BATCH_DAMAGED, /* not made by us, or not whole */
    BATCH_NEWER,   /* a version this program does not know: it must stop, not skip */
};

/* Reads an entry's write-sets in order. */
struct batch_reader {
    const uint8_t *pos, *end;
    uint32_t left;
};

/* The bytes a write-set takes in an entry. */
static inline size_t batch_item_size(size_t size)
{
    return BATCH_ITEM_HEADER + ((size + 7) & ~(size_t)7);
}

/* Writes the header; returns where the first write-set goes. */
uint8_t *batch_put_header(uint8_t *out, uint64_t index, uint32_t count);
/* Writes one write-set with its padding; returns where the next goes. */
uint8_t *batch_put_item(uint8_t *out, const void *data, size_t size);

/* Checks the whole entry, every size included, and reads where it was meant to be. */
enum batch_check batch_check(const void *entry, size_t size, uint64_t *index);
/* Starts reading an entry that was checked. */
void batch_read(struct batch_reader *reader, const void *entry, size_t size);
/* The next write-set, pointing into the entry; false after the last. */
bool batch_next(struct batch_reader *reader, const void **data, size_t *size);
