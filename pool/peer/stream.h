/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * stream.h -- a connection of its own between two members, for bytes that come by the gigabyte.
 *
 * It is made on the port of the links, proves itself with the same certificates and greetings, and
 * then leaves the peers' thread: whoever has the stream reads and writes it with a thread of its
 * own, which waits.  So nothing that goes over it delays a heartbeat or an entry of the log.  One
 * thread at a time.
 */
#pragma once

#include "pool/peer/peer.h"

struct peer_stream;

enum peer_io {
    PEER_IO_DONE,
    PEER_IO_END,    /* the other side has sent all, or has gone */
    PEER_IO_LATE,   /* nothing has moved for so long */
    PEER_IO_BROKEN, /* peer_stream_trouble says why */
};

/*
 * To the member 'id' with that address (of the log's configuration); at another of its hosts' names
 * or addresses where 'host' is not NULL, on the same port.  'within' limits connecting and
 * greeting.
 */
MUST_CHECK struct error *peer_stream_open(struct arena *arena, struct peers *peers, uint64_t id,
                                          enum peer_stream_kind kind, const char *address,
                                          const char *host, usec_t within,
                                          struct peer_stream **out);
/*
 * Streams of that kind that others open go to 'serve' from now on (NULL: they are refused), on the
 * peers' thread, which it must not block: it gives the stream to somebody who closes it.  Returns
 * only when the former handler does not run any more.
 */
void peers_serve_streams(struct peers *peers, enum peer_stream_kind kind,
                         void (*serve)(void *ctx, struct peer_stream *stream), void *ctx);
/* The raft id of the other side, which it has proved. */
uint64_t peer_stream_from(const struct peer_stream *stream);

/* All of 'data'; 'silence' limits each wait for the other side to take more. */
MUST_CHECK enum peer_io peer_stream_write(struct peer_stream *stream, const void *data, size_t size,
                                          usec_t silence);
/* Some bytes, at least one. */
MUST_CHECK enum peer_io peer_stream_read(struct peer_stream *stream, void *data, size_t room,
                                         size_t *n, usec_t silence);
/* Says that nothing more will be written; what the other side still has to say can be read. */
void peer_stream_end(struct peer_stream *stream);
/*
 * Carries bytes both ways between the stream and a socket, until either of them has ended, or a
 * side takes nothing for 'silence', or 'over' says so: it is asked twice a second.
 */
void peer_stream_join(struct peer_stream *stream, int fd, usec_t silence, bool (*over)(void *ctx),
                      void *ctx);
/* Readable when something has come, which need not be for the reader: a read may find nothing.  One
 * whose room is 16 KiB or more leaves nothing behind that this would not tell of. */
int peer_stream_fd(const struct peer_stream *stream);
/* What became of the last read or write, for people; valid until the stream is closed. */
const char *peer_stream_trouble(const struct peer_stream *stream);
/* May be NULL. */
void peer_stream_close(struct peer_stream *stream);
