/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * log.h -- the replicated log beneath the database: what db knows of it, and what it asks of db.
 *
 * A log takes write-sets (opaque bytes; the first 16 are the request id: origin, sequence number,
 * little-endian), makes them durable, and applies each committed one in the same order on every
 * member, on its own thread.  An engine is one struct log_engine: pool/log/raft.c (libraft),
 * tests/lib/log_chaos.c (any engine behind random delays, conflicts and unknown outcomes).  Nothing
 * is applied before it is durable; nothing acknowledged is lost.
 */
#pragma once

#include "libxapi/base/arena.h"
#include "libxapi/base/buf.h"

enum log_outcome {
    LOG_APPLIED,  /* durable, applied and visible */
    LOG_CONFLICT, /* durable but without effect: something it relied on had changed; make it again
                   */
    LOG_REJECTED, /* durable but without effect: it breaks a rule; 'error' says which */
    LOG_UNKNOWN,  /* nobody can say yet (leadership lost, shutting down): never undone, only looked
                     for by its id */
    LOG_FAILED,   /* was not taken and never will be: the log accepts no writes; 'error' says why */
};

struct log_result {
    enum log_outcome outcome;
    uint64_t revision;   /* the database's, of LOG_APPLIED */
    struct error *error; /* of LOG_REJECTED and LOG_FAILED; valid during the callback only */
};

/*
 * One write-set on its way.  The proposer owns it and its bytes until 'done' is called, once, on
 * the log's thread; or, LOG_UNKNOWN and LOG_FAILED only, on another while the log's thread is held
 * by a disk that does not answer.  It may propose, and must not block.
 */
struct log_proposal {
    const void *data;
    size_t size; /* at most LOG_MAX_WRITE_SET */
    void (*done)(struct log_proposal *proposal, const struct log_result *result);
    struct log_proposal *next; /* for the log */
    usec_t since;              /* for the log */
};

#define LOG_MAX_WRITE_SET (1 << 20)
#define LOG_ID_SIZE 16

/* What the database gives the log.  All but 'serialise', and sometimes 'restore', are called on the
 * log's thread. */
struct log_fsm {
    void *ctx;
    /* Applies one committed write-set.  Pure in (state, bytes).  'index' is its entry's place in
       the log; several write-sets may share one.  result->error lives in 'arena', which the log
       empties after the batch. */
    void (*apply)(void *ctx, struct arena *arena, uint64_t index, const void *data, size_t size,
                  struct log_result *result);
    /* All write-sets of one or more entries up to 'index' are applied: make them visible (publish
     * the root). */
    void (*publish)(void *ctx, uint64_t index);
    /* Holds the present state (cheap: takes a reference).  'index' is the last entry it contains.
     */
    void *(*hold)(void *ctx, uint64_t *index);
    /* Writes a held state out; on a worker thread. */
    void (*serialise)(void *ctx, void *held, struct buf *out);
    void (*unhold)(void *ctx, void *held);
    /* Takes over a serialised state unless the present one is as new ('index').  False if the bytes
       are not understood, with a sentence in *why (static or in arena).  Of a snapshot that the
       leader sent: on a worker thread, while nothing else is called but serialise and unhold. */
    bool (*restore)(void *ctx, struct arena *arena, uint64_t index, const void *data, size_t size,
                    const char **why);
    /* The last entry the state contained when the log was opened: what the SQLite checkpoint holds.
       Entries up to it are not applied again. */
    uint64_t applied_index;
    /* The log takes no more writes until it is opened again (a write failed, an entry is not
       understood): say so to callers. 'why' is a full sentence.  Not called for what heals by
       itself (a full disk): that is in log_status. May be NULL. */
    void (*failed)(void *ctx, const char *why);
    /*
     * Who leads, or the term, has changed: 'leader' is a member's id, 0 while there is none.  'me'
     * once this member leads and everything committed before is applied and published here.  On the
     * log's thread, perhaps before log_raft_open has returned; must not block (it may propose). May
     * be NULL.
     */
    void (*leader)(void *ctx, uint64_t leader, uint64_t term, bool me);
    /* The members have changed (log_members tells them).  On the log's thread, perhaps before
     * log_raft_open has returned.  May be NULL. */
    void (*members)(void *ctx);
};

struct log; /* an open log; each engine has its own */

/* What a member is to the log.  The values are those of the library and of snapshots. */
enum log_role {
    LOG_STANDBY, /* has and applies every entry, does not vote */
    LOG_VOTER,
    LOG_SPARE, /* has no entries */
};

#define LOG_MAX_MEMBERS 64

struct log_member {
    uint64_t id;
    enum log_role role;
    const char *address; /* of pool/peer; "" for a member that is alone */
};

/* One change of the members, on its way; the leader alone takes one, one at a time. */
struct log_change {
    enum { LOG_ADD, LOG_ASSIGN, LOG_REMOVE, LOG_TRANSFER } what;
    uint64_t id;         /* the member; of LOG_TRANSFER: who shall lead, 0 for any voter */
    enum log_role role;  /* of LOG_ASSIGN */
    const char *address; /* of LOG_ADD: it becomes a spare */
    /* Once, on the log's thread: NULL, or why not (valid during the call).  After a failure the
     * change may still have taken place: look at the members. */
    void (*done)(struct log_change *change, const struct error *e);
    struct log_change *next; /* for the log */
};

/* Three beats: a member that heard nothing for that long may be behind the others. */
#define LOG_PAUSE (150 * USEC_PER_MSEC)

struct log_status {
    bool writable; /* a proposal is likely to be taken, here or by the leader */
    uint64_t last_index, applied_index, term;
    uint64_t id;     /* of this member */
    uint64_t leader; /* raft id, 0 if none */
    bool leads;      /* this member does, and everything committed before is applied */
    bool removed;    /* this member is one no longer: it was told so, or most refuse it */
    bool current;    /* since it was opened, this member has applied all that was committed before
                        it first heard from a leader (or lead itself): what it shows is no older
                        than what anybody saw before that */
    usec_t led_at;   /* monotonic: when this member last heard from the one that leads or, where it
                        leads itself, from so many that they are a majority with it */
    usec_t contact;  /* monotonic: since when led_at has gone on without a LOG_PAUSE */
    usec_t led_before; /* monotonic: when this member last heard from one that led an earlier term;
                          0: never */
    const char *failure; /* NULL, or why nothing can be written; lives as long as the log */
};

struct log_engine {
    /* Queues a proposal; from any thread; never blocks; 'done' follows always, also at close
     * (LOG_UNKNOWN or LOG_FAILED). */
    void (*propose)(struct log *log, struct log_proposal *proposal);
    void (*status)(struct log *log, struct log_status *out);
    /* Stops the thread after what is in flight; joins it, unless its disk does not answer for long.
     * Every waiting proposal gets its 'done'. */
    void (*close)(struct log *log);
    /* Both may be NULL: a log whose members cannot change. */
    void (*change)(struct log *log, struct log_change *change);
    /* The members as last committed or, not yet, taken here; memory is the arena's. */
    void (*members)(struct log *log, struct arena *arena, size_t *n, struct log_member **out);
};

/* Every engine's struct begins with this. */
struct log {
    const struct log_engine *engine;
};

static inline void log_propose(struct log *log, struct log_proposal *proposal)
{
    log->engine->propose(log, proposal);
}

static inline void log_status(struct log *log, struct log_status *out)
{
    log->engine->status(log, out);
}

static inline void log_close(struct log *log)
{
    if (log)
        log->engine->close(log);
}

/* The engines. */

/* Zero means the default. */
struct peers; /* pool/peer/peer.h */

struct log_raft_options {
    usec_t answer_within; /* 10 s: a submitted proposal is answered LOG_UNKNOWN after that long, one
                             that found no leader LOG_FAILED */
    usec_t full_within;   /* 1 s: how long a full disk may last before proposals are answered
                             LOG_FAILED */
    uint64_t snapshot_bytes; /* 64 MiB of entries since the last snapshot ask for a new one, ... */
    uint64_t snapshot_entries; /* ... or 8192 entries, plus up to a quarter so that members do not
                                  do it together */
    unsigned trailing; /* 1024 entries are kept behind a snapshot, fewer if they are large */
    /* Links to the other members; NULL: this member stays alone.  Proposals of a member that does
     * not lead go to the leader over them.  The log tells them this member's id, and once it knows
     * members, who they are (peers_allow); PEER_PROPOSE is its kind of request.  They outlive it.
     */
    struct peers *peers;
    const char
        *address;    /* of this member, for the configuration of a new log (one that was founded
                        without gets it when it adds its first other member); "" without peers */
    uint64_t id;     /* of a member whose directory is new; 0: one by chance */
    bool joining;    /* a new directory begins empty and waits to be added to a log */
    bool force;      /* the log goes on with this member alone, whoever else there was: their
                        majority is lost for ever, and none of them may come back as it was */
    usec_t election; /* the shortest election time-out; 0: 300 ms.  It grows with what the
                        links and the disk show */
};

/*
 * Raft in directory 'dir' (made if absent, its parent must exist); a new one begins with this host
 * as the only voter, or empty ('joining').
 * Before the library sees the files they are checked (sizes, names, checksums of all entries, the
 * mark of what was acknowledged): damage that could lose an acknowledged entry is refused with an
 * INTERNAL_ERROR whose text says which file and what to do.  A directory is open once at a time.
 * Where this host is the only voter, replays the log's tail through fsm->apply (then publish)
 * before it returns; with others it returns once the directory is checked, and follows or leads
 * when the others agree.  'options' may be NULL; 'fsm' is copied.
 */
MUST_CHECK struct error *log_raft_open(struct arena *arena, const char *dir,
                                       const struct log_raft_options *options,
                                       const struct log_fsm *fsm, struct log **out);
