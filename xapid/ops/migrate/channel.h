/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * channel.h -- the two hosts' conversation over a stream of pool/peer: pieces, memory counted and
 * summed up on both sides, packed by the sender where it likes.
 *
 * Whoever waits for the other's word is told PIECE_ALIVE about once a second, so that a side that
 * says nothing for CHANNEL_SILENCE is gone.
 */
#pragma once

#include "pool/peer/stream.h"
#include "xapid/db/db.h"
#include "xapid/ops/migrate/piece.h"

#define CHANNEL_SILENCE (30 * USEC_PER_SEC)
#define CHANNEL_MEMORY ((size_t)256 << 10) /* of memory in one piece */

struct channel;

/* Takes the stream. */
struct channel *channel_new(struct peer_stream *stream, bool pack);
void channel_free(struct channel *channel);
uint64_t channel_from(const struct channel *channel);

/* While nothing comes 'wanted' is asked about once a second; false ends the wait. */
void channel_while(struct channel *channel, bool (*wanted)(void *ctx), void *ctx);

MUST_CHECK struct error *channel_send(struct arena *arena, struct channel *channel,
                                      enum piece_kind kind, const void *data, size_t size);
/* Up to CHANNEL_MEMORY bytes of the hypervisor's stream. */
MUST_CHECK struct error *channel_send_memory(struct arena *arena, struct channel *channel,
                                             const void *data, size_t size);
MUST_CHECK struct error *channel_send_end(struct arena *arena, struct channel *channel);
/*
 * The next piece but PIECE_ALIVE; memory as PIECE_MEMORY, whether or not it was packed; an end
 * whose sum is wrong is an error.  The bytes are valid until the next call.  PIECE_FAILED becomes
 * an error with its text.
 */
MUST_CHECK struct error *channel_receive(struct arena *arena, struct channel *channel,
                                         enum piece_kind *kind, const void **data, size_t *size);
/* The same, of one kind only. */
MUST_CHECK struct error *channel_expect(struct arena *arena, struct channel *channel,
                                        enum piece_kind kind, const void **data);
/* An intent of ours, which is in our database. */
MUST_CHECK struct error *channel_send_word(struct call *call, struct channel *channel,
                                           enum piece_kind kind, ref_t intent);
/* The other side's, which is in our database when this returns. */
MUST_CHECK struct error *channel_expect_word(struct call *call, struct channel *channel,
                                             enum piece_kind kind, ref_t *intent);
/* Bytes of the hypervisor's stream up to now. */
int64_t channel_bytes(const struct channel *channel);
/* Why the other side has given up, where that is what broke 'e'; else 'e' itself. */
struct error *channel_reason(struct arena *arena, struct channel *channel, struct error *e);
