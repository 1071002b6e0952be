/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * peer.h -- the links between the daemons of a pool.
 *
 * Every daemon has an identity: a key and a self-signed certificate (ECDSA P-256) of its own, made
 * on its first start in <dir>/peer.pem.  It talks over TLS 1.3, both sides showing their
 * certificates, to the members it was told of (peers_allow) and to nobody else: a member is known
 * by the SHA-256 fingerprint of its certificate, and may claim no other member's id.  Where an
 * identity was renewed, the one before has signed the next: who knows only that one can tell.
 *
 * A thread and libuv loop of its own does everything.  A link carries either requests and their
 * answers, or a stream of the log (peer_pipes_open).  Links are made when needed, made again
 * after a loss, and lost when the other side is silent for too long (keepalive, TCP_USER_TIMEOUT).
 *
 * An address is "HOST:PORT/FINGERPRINT" (64 hex digits; HOST may be an IPv6 address in brackets):
 * what the log's configuration keeps for each member, so that a daemon that starts knows whom to
 * trust before it knows anything else.
 */
#pragma once

#include "libxapi/base/arena.h"
#include "libxapi/base/buf.h"

struct peers;

#define PEER_FINGERPRINT_SIZE 65    /* text, with its end */
#define PEER_MESSAGE_MAX (4u << 20) /* bytes of a request or an answer */
#define PEER_ADDRESS_MAX 384

/* What requests are about.  The numbers are the wire's: never reuse one. */
enum peer_kind {
    PEER_PING = 0,        /* answered by the links themselves, with nothing */
    PEER_PROPOSE = 1,     /* a write-set, to the leader (pool/log) */
    PEER_SESSION_NEW = 2, /* a session was made (xapid/auth) */
    PEER_SESSION_END = 3, /* one has ended */
    PEER_SESSION_TAKE =
        4,           /* a session is used here now: what had it seen where it was used before? */
    PEER_DIGEST = 5, /* revision and digest of a member's database, to the leader */
    PEER_SESSION_ALL = 6,    /* all sessions a member knows, for one that has just started */
    PEER_CALL = 7,           /* a call for this host to run (xapid/rpc/forward.h) */
    PEER_CALL_DONE = 8,      /* how it ended */
    PEER_CALL_STATUS = 9,    /* is it still known? */
    PEER_HEARTBEAT = 10,     /* a host lives, to the leader (xapid/ops/ha) */
    PEER_STOPPED = 11,       /* why a member's database has stopped, to whoever leads */
    PEER_WITNESS_LEVEL = 12, /* what a witness understands (xapid/join/witness.h), to the leader */
    PEER_KINDS
};

/* What streams (stream.h) are for.  The numbers are the wire's: never reuse one. */
enum peer_stream_kind {
    PEER_STREAM_MIGRATE = 0, /* a VM that moves (xapid/ops/migrate) */
    PEER_STREAM_RELAY = 1,   /* a request that is no call, passed on (xapid/stream/relay.h) */
    PEER_STREAM_DISK = 2,    /* the content of a disk (xapid/ops/storage/far_disk.h) */
    PEER_STREAM_KINDS
};

/* A request of another member, until it is answered. */
struct peer_request {
    uint64_t from; /* raft id */
    enum peer_kind kind;
    const void *data; /* valid until it is answered */
    size_t size;
};

struct peers_options {
    const char *dir;            /* of peer.pem; must exist */
    const char *listen_address; /* "::" where NULL */
    int port;                   /* 0 picks one */
    usec_t silence;             /* a link on which nothing has come for so long is lost; 0: 2 s */
};

/*
 * Somebody who may be talked to.  A daemon that is to join a pool may know less: an id of 0 stands
 * for whatever id the holder of that certificate claims, and an address may be the fingerprint
 * alone (then the place is where the other side says it can be reached).  One certificate may stand
 * for several ids: a member that has another number now is known by both for a while.
 */
struct peer {
    uint64_t id;         /* raft id */
    const char *address; /* "HOST:PORT/FINGERPRINT" */
};

MUST_CHECK struct error *peers_open(struct arena *arena, const struct peers_options *options,
                                    struct peers **out);
/* Ends the thread.  The log's pipes must be closed before.  Requests of ours that
 * still wait for an answer get none; their 'done' is called first.  Requests of others that were
 * not answered yet may still be, into the void. */
void peers_close(struct peers *peers);

/* Of this daemon, as it is now; valid as long as 'peers'. */
const char *peers_fingerprint(const struct peers *peers);
/*
 * Makes another identity, at once in the place of the one of now: peer.pem and new connections have
 * it, links that are there stay.  It is vouched for by those before: who knows one of the last few
 * follows.  Those before are worth nothing to who was told of the new one (peers_renewed).
 */
MUST_CHECK struct error *peers_renew(struct arena *arena, struct peers *peers);
int peers_port(const struct peers *peers);
/* This daemon's raft id, which it claims on its links; to be set before the first peers_allow. */
void peers_set_id(struct peers *peers, uint64_t id);

/* True of a well-formed address. */
bool peer_address_ok(const char *address);

/* Everybody that may be talked to, this daemon itself left out or not.  Copied; entries without a
 * fingerprint are left out.  Links with others are cut.  From any thread. */
void peers_allow(struct peers *peers, size_t n, const struct peer *members);

/* Members that are known by another fingerprint than the one in their address: all of them.
 * Copied.  From any thread. */
void peers_renewed(struct peers *peers, size_t n, const uint64_t *ids,
                   const char *const *fingerprints);

/*
 * Requests of this kind go to 'serve' from now on (NULL: they are refused), on the peers' thread,
 * which it must not block: it answers at once or later, from any thread, by peer_answer, exactly
 * once.  One handler for each kind; what it uses must outlive the handler: take it away first.
 * Returns only when the former handler does not run any more; so not to be called from a handler.
 */
void peers_serve(struct peers *peers, enum peer_kind kind,
                 void (*serve)(void *ctx, struct peer_request *request), void *ctx);
/* Copies the data.  After it the request is gone. */
void peer_answer(struct peer_request *request, const void *data, size_t size);

/* How a request ended. */
enum peer_outcome {
    PEER_ANSWERED,
    PEER_UNSENT, /* certainly not taken: no link, no such member, nobody serves this kind there */
    PEER_LOST,   /* perhaps received: the link was lost or the time is over */
};

/*
 * Asks member 'id'.  The data is copied.  'done' (may be NULL) is called once, on the peers'
 * thread, which it must not block; 'data' is valid during it.  'within' limits everything.  From
 * any thread.
 */
void peer_ask(struct peers *peers, uint64_t id, enum peer_kind kind, const void *data, size_t size,
              usec_t within,
              void (*done)(void *ctx, enum peer_outcome outcome, const void *data, size_t size),
              void *ctx);

/* When something last came from that member (monotonic clock); 0: never, or no link. */
usec_t peer_heard(struct peers *peers, uint64_t id);

/* True while that member does not know our certificate, or knows it by another id: this daemon is
 * no member to it, not yet or no longer. */
bool peer_refuses(struct peers *peers, uint64_t id);

/*** the log's streams ***/

/*
 * A stream to or from another member's log, over a link of its own.  One that was asked for has the
 * number of that request; 'fd' is -1 where it could not be made.
 */
struct peer_pipe {
    uint64_t number; /* 0: the other side opened it */
    uint64_t id;     /* of the other side */
    int fd;          /* non-blocking; whoever takes the pipe closes it */
    char address[PEER_ADDRESS_MAX];
};

struct peer_pipes;

/*
 * Of one log at a time, which is the member 'id' with that address.  'ready' is called when there
 * is something to take, on the peers' thread and under its lock: it may only wake somebody.
 */
struct peer_pipes *peer_pipes_open(struct peers *peers, uint64_t id, const char *address,
                                   void (*ready)(void *ctx), void *ctx);
/* Others may open them from now on; before they are refused. */
void peer_pipes_listen(struct peer_pipes *pipes);
/* Asks for one; returns its number. */
uint64_t peer_pipes_dial(struct peer_pipes *pipes, uint64_t id, const char *address);
/* The next that was made, or could not be; false where there is none. */
bool peer_pipes_take(struct peer_pipes *pipes, struct peer_pipe *out);
/* Those that nobody took are closed; 'ready' is called no more. */
void peer_pipes_close(struct peer_pipes *pipes);
