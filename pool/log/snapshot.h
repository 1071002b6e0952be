/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * snapshot.h -- the envelope around a serialised state.  The library does not checksum the data of
 * a snapshot; we do.
 *
 *     "XAPISNAP", u32 version, u32 zero, u64 index, u64 size, u64 xxh3 of the state, u64 xxh3 of
 * the 40 bytes before
 *
 * then the state, then zeros up to a multiple of 8 (the library wants that).  Little-endian.
 */
#pragma once

#include "libxapi/base/base.h"

#define SNAPSHOT_HEADER 48
#define SNAPSHOT_MAX ((size_t)1 << 30) /* the library writes it in one call and counts in int */

/* Fills the header of a state. */
void snapshot_seal(uint8_t header[SNAPSHOT_HEADER], uint64_t index, const void *data, size_t size);
/* Checks a whole snapshot; NULL if good, else what is wrong. */
const char *snapshot_check(const uint8_t *all, size_t all_size, uint64_t *index,
                           const uint8_t **data, size_t *size);
