/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * state.h -- the state of the database, for the files of this folder that share it: db.c opens it
 * and keeps the checkpoint, fsm.c is called by the log, propose.c calls the log, read.c and txn.c
 * serve those who read and write, lazy.c keeps what was measured.
 */
#pragma once

#include "libxapi/base/seam.h"
#include "xapid/db/db.h"
#include "xapid/db/write.h"

/* Digests of the last revisions, for members that tell theirs later. */
#define DIGESTS 8192
/* Refusals of this daemon's own changes, for those who ask again because they missed the answer. */
#define REFUSALS 64
#define LAZY_BUCKETS 1024

struct db_subscription {
    struct db_subscription *next;
    void (*changed)(void *ctx, uint64_t revision);
    void *ctx;
};

struct digest {
    uint64_t revision, value[2];
};

struct refusal {
    uint64_t number; /* of the request */
    struct arena arena;
    struct error *error;
};

struct db {
    struct mutex lock;
    struct cond published; /* a new root, or closing */
    struct db_root *root;  /* under lock; itself immutable */
    struct db_root *work;  /* the log thread's private copy while it applies a batch */
    struct log *log;
    struct log_fsm fsm;
    struct checkpoint *checkpoint; /* NULL between a full disk and the next try */
    char *checkpoint_path;
    bool no_room; /* the warning was given */
    struct thread flusher;
    bool closing, giving_up;
    bool opened;
    bool stuck;  /* of the log's thread: an entry cannot be read, so nothing after it may be applied
                  */
    bool halted; /* atomic: db_fail */
    unsigned level;  /* the last one that is understood */
    struct cond led; /* somebody leads, or nobody will be waited for any more */
    uint64_t leader; /* 0: nobody */
    usec_t unled;    /* since when; it counts while there is none */
    bool leads;      /* this member does */
    bool has_others; /* atomic: the log has other members */
    void (*on_leader)(void *watcher, uint64_t leader, uint64_t term, bool me);
    void (*on_members)(void *watcher);
    void *watcher;

    struct mutex digest_lock;
    struct digest *digests;            /* by revision % DIGESTS */
    struct refusal refusals[REFUSALS]; /* by number % REFUSALS; of the log's thread */
    unsigned updating;                 /* db_update calls that have begun; under lock */
    bool frozen;                       /* only calls with 'joins' change it; under lock */
    struct cond quiet;                 /* nothing is updating */
    char *failure;                     /* why nothing can be written any more */
    uint64_t origin, number;           /* of request ids; number under lock */

    struct mutex feed_lock; /* held while subscribers run */
    struct db_subscription *subscriptions;

    struct mutex flush_lock; /* held while lazy values are written; before lazy_lock */
    struct mutex lazy_lock;
    struct lazy *lazy[LAZY_BUCKETS];
};

/* fsm.c: fills in what the log calls. */
void db_serve_log(struct db *db);
/* Nothing can be written from now on; the first reason counts. */
void db_failed(struct db *db, const char *why);
void db_note_digest(struct db *db, const struct db_root *root);
/* NULL, or why this program must not go on with that version. */
const char *db_level_fault(const struct db *db, struct arena *arena, const struct db_root *root);
/* Finds out whether the log has other members. */
void db_look_for_others(struct db *db);

/* OK once a change has a chance; waits for somebody who leads. */
struct error *db_wait_writable(struct db *db, struct arena *arena, usec_t deadline);
/* Whether waiting has no sense any more: the daemon ends and nobody leads. */
bool db_gave_up(struct db *db);

/* freeze.c: around each update. */
struct error *db_enter(struct call *call);
void db_leave(struct db *db);

/* propose.c: one write-set to its end.  The same bytes again, under the same id, while the outcome
   is unknown.  What was in doubt once stays so where it is not taken later. */
struct log_result db_propose(struct db *db, struct arena *arena, struct write_set *set,
                             usec_t deadline);

/* read.c: the rows whose field f has the value 'key'. */
struct refs db_collect(struct arena *arena, const struct db_root *root, const struct field_desc *f,
                       ref_t key);

/* lazy.c: forgets what waits. */
void db_drop_all_lazy(struct db *db);
