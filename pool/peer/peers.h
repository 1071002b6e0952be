/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * peers.h -- the parts of the links among themselves: peers.c is the thread and what comes to it
 * from others, link.c one connection with its TLS, request.c requests and answers, pipe.c the
 * log's streams.
 *
 * Everything belongs to the peers' thread but what is marked as shared; other threads put their
 * wishes into lists under the lock and wake it.
 */
#pragma once

#include "libxapi/base/buf.h" /* before libuv: its headers define MIN and MAX too */

#include <openssl/ssl.h>
#include <uv.h>

#include "libxapi/base/seam.h"
#include "pool/peer/address.h"
#include "pool/peer/frame.h"
#include "pool/peer/peer.h"

#define PEERS_MAX_MEMBERS 128
#define PEERS_MAX_STRANGERS 64             /* connections that have not shown who they are */
#define PEERS_ASK_LIMIT ((size_t)32 << 20) /* bytes of requests that wait, to one member */
#define PEERS_ASK_COUNT 4096
#define PEERS_SERVE_LIMIT ((size_t)16 << 20) /* bytes of requests being served, of one link */
#define PEERS_SERVE_COUNT 256
#define PEERS_STREAM_HIGH ((size_t)1 << 20) /* of a log's stream, until its source has to wait */

/* A request of ours. */
struct ask {
    struct ask *next;
    uint64_t id, number;
    enum peer_kind kind;
    usec_t deadline;
    void (*done)(void *ctx, enum peer_outcome outcome, const void *data, size_t size);
    void *ctx;
    size_t size;
    uint8_t data[];
};

struct ask_list {
    struct ask *first, **last;
    size_t count, bytes;
};

/* A request of another member. */
struct incoming {
    struct peer_request request;
    struct peers *peers;
    struct link *link; /* NULL once it is lost */
    struct incoming *next, **prev;
    uint64_t number;
    uint8_t data[];
};

/* An answer on its way to the peers' thread. */
struct reply {
    struct reply *next;
    struct incoming *incoming;
    size_t size;
    uint8_t data[];
};

/* A pipe that the log wants to a member. */
struct dial {
    struct dial *next;
    uint64_t number; /* of the pipe */
    uint64_t id;
    char address[PEER_ADDRESS_MAX];
};

struct member {
    uint64_t id;          /* 0: whatever the other side claims */
    struct address place; /* with the fingerprint it has now */
    char address[PEER_ADDRESS_MAX];
};

/* A certificate of ours, shown now or before. */
struct identity_shown {
    struct identity_shown *before;
    char fingerprint[PEER_FINGERPRINT_SIZE];
};

/* A member that shows another certificate than that of its address. */
struct renewed {
    uint64_t id;
    char fingerprint[PEER_FINGERPRINT_SIZE];
};

/* What is known of a raft id while this runs; kept when the members change. */
struct known {
    uint64_t id;
    usec_t heard;         /* shared */
    bool refused;         /* shared */
    usec_t sent;          /* on any of its links */
    unsigned n_up;        /* of its links */
    struct link *link;    /* to send our requests on, NULL: none */
    struct ask_list asks; /* wait until that link is up */
    char trouble[160];    /* what was last logged */
};

enum link_state { LINK_CONNECTING, LINK_TLS, LINK_HELLO, LINK_UP, LINK_CLOSED };

struct link {
    struct peers *peers;
    struct link *next, **prev;
    enum link_kind kind;
    enum link_state state;
    bool outgoing;
    uint64_t id;         /* of the other side, 0: not known yet */
    struct known *known; /* with this id; NULL also where there are too many */
    char fingerprint[PEER_FINGERPRINT_SIZE];
    char address[PEER_ADDRESS_MAX];
    usec_t begun, heard, sent;
    unsigned refs; /* one for each handle and for a name being looked up */

    uv_tcp_t tcp;
    struct sockaddr_storage place; /* of the other side, where this one connects */
    usec_t tried, patience;        /* of the present attempt to connect */
    uv_connect_t connect;
    uv_getaddrinfo_t resolve;
    bool resolving, reading;
    SSL *ssl;
    BIO *in, *out;
    struct buf rx;
    size_t tx_queued;                        /* bytes that TCP has not taken */
    struct link *next_unsent, **prev_unsent; /* to be flushed; NULL: it is not */

    /* Requests. */
    struct ask_list asked; /* sent, without an answer */
    struct incoming *incoming;
    size_t n_incoming, incoming_bytes;

    /* The log's stream. */
    struct dial *dial; /* who wants it, until it is up */
    uv_pipe_t local;
    bool has_local, local_reading;
    size_t local_queued; /* bytes that the log has not taken */
};

struct peer_stream;

struct peers {
    /* Set once. */
    usec_t silence;
    int port;
    char *dir; /* of peer.pem */
    struct thread thread;

    /* Shared, under the lock. */
    struct mutex lock;
    unsigned refs; /* one of the owner, one for each request being served */
    bool closing;  /* the thread is to end: it is woken no more */
    bool ended;    /* it takes nothing more */
    bool members_changed;
    SSL_CTX *ctx;                 /* of connections to come */
    struct identity_shown *shown; /* the last one first; none is freed before the end */
    struct renewed *renewed;
    size_t n_renewed;
    uint64_t id, next_dial;
    char own_address[PEER_ADDRESS_MAX];
    struct member *new_members;
    size_t n_new_members;
    struct ask *asks, **last_ask;
    struct reply *replies;
    struct dial *dials;
    struct peer_pipes *pipes; /* NULL: no log */
    struct known *known;      /* grown by the peers' thread */
    size_t n_known;

    /* Held while peer.pem is replaced. */
    struct mutex renewing;

    /* Held while a handler runs. */
    struct mutex serving;
    struct {
        void (*serve)(void *ctx, struct peer_request *request);
        void *ctx;
    } handlers[PEER_KINDS];
    struct {
        void (*serve)(void *ctx, struct peer_stream *stream);
        void *ctx;
    } streams[PEER_STREAM_KINDS];

    /* Of the thread. */
    uv_loop_t loop;
    uv_async_t wake;
    uv_timer_t timer;
    uv_prepare_t flush;
    uv_tcp_t listener;
    bool ending;
    struct member *members;
    size_t n_members;
    struct link *links;
    struct link *unsent; /* those that may have something for TCP */
    usec_t due;          /* when the clock is to be looked at */
    uint64_t next_number;
    char buffer[1 << 16]; /* what was just read; used up before the next read */
};

/* peers.c */

/* The member with this fingerprint, NULL: nobody who may be talked to. */
const struct member *peers_member_by_fingerprint(const struct peers *peers,
                                                 const char *fingerprint);
/* The one with this id, NULL: none. */
const struct member *peers_member_by_id(const struct peers *peers, uint64_t id);
/* With this fingerprint, and that id or any.  Somebody may be in the list more than once: under a
 * number that it has no longer, and under the one of now. */
const struct member *peers_member_of(const struct peers *peers, const char *fingerprint,
                                     uint64_t id);
/* For a new connection; shows the certificate of now. */
SSL *peers_tls(struct peers *peers);
/* Made if new; NULL if there are too many. */
struct known *peers_known(struct peers *peers, uint64_t id);
/* 'known' may be NULL. */
void peers_note_heard(struct known *known);
void peers_note_refused(struct peers *peers, uint64_t id, bool refused);
/* Logs what is wrong with the links to a member, once until it is something else; NULL: nothing. */
void peers_note_trouble(struct peers *peers, uint64_t id, const char *what);
/* Makes the thread look at what is wanted; under the lock. */
void peers_wake(struct peers *peers);
/* Adds and takes away one of the references that keep 'peers' allocated.  From any thread. */
void peers_ref(struct peers *peers);
void peers_unref(struct peers *peers);
/* Starts the clock's timer if it does not run. */
void peers_start_clock(struct peers *peers);

/* link.c */

/* Once. */
void link_set_up(SSL_CTX *ctx);
/* To a member; what becomes of it the others are told by request_link_up and so on.  NULL if it is
 * nobody who may be talked to. */
struct link *peer_link_open(struct peers *peers, enum link_kind kind, uint64_t id,
                            const char *address, struct dial *dial);
void link_accept(struct peers *peers);
/* Nothing is sent any more; it is freed later. */
void peer_link_close(struct link *link, const char *why);
void link_send(struct link *link, enum frame_type type, unsigned kind, uint64_t number,
               const void *data, size_t size);
/* Gives TCP what was sent since the last time. */
void link_flush(struct link *link);
/* Closes it if the other side was silent for too long, pings if we were.  'late': for how long this
 * process may just now not have listened. */
void link_check(struct link *link, usec_t now, usec_t late);
/* Closes it if it leads to nobody who may be talked to. */
void link_check_allowed(struct link *link);
/* Reads on, or does not, as the queues behind it allow. */
void link_pace(struct link *link);

/* request.c */

void ask_list_init(struct ask_list *list);
void ask_list_add(struct ask_list *list, struct ask *ask);
/* Takes over a request. */
void request_start(struct peers *peers, struct ask *ask);
void request_link_up(struct link *link);
void request_link_closed(struct link *link);
/* False if the frame has no place on this link. */
bool request_frame(struct link *link, const struct frame *frame);
void request_reply(struct reply *reply);
/* Ends those whose time is over; true if others wait. */
bool request_expire(struct peers *peers, usec_t now);
/* Ends those to members that may not be talked to any more. */
void request_drop(struct peers *peers);
/* Ends all. */
void request_end(struct peers *peers);

/* stream.c */

/* Takes the connection out of a link that has been greeted; the link is to be closed.  NULL, or why
 * it could not. */
const char *stream_take(struct link *link);

/* pipe.c */

void pipe_dial(struct peers *peers, struct dial *dial);
/* False if nobody wants it. */
bool pipe_link_up(struct link *link);
void pipe_link_closed(struct link *link);
void pipe_data(struct link *link, const uint8_t *data, size_t size);
/* Reads from the log, or does not, as what TCP has not taken allows. */
void pipe_pace(struct link *link);
