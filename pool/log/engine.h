/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * engine.h -- the parts of the engine on libraft: raft.c opens, turns and closes it, propose.c
 * takes write-sets to the library and answers their proposers, apply.c takes committed entries and
 * snapshots to the database.
 *
 * One thread with its own loop talks to the library, applies, and does nothing else.  propose()
 * only queues and wakes it.  At the end of each turn of the loop what was applied is marked as
 * acknowledged, published, and its proposers are answered; then waiting write-sets are put into the
 * next entry, while at most MAX_INFLIGHT entries are under way.  So under load write-sets gather
 * into large entries by themselves, and a lone proposer never waits for company.
 *
 * Three things end a log until it is opened again (engine_fail): a write of the library's files
 * failed, an entry cannot be understood, the library returned an error nobody foresaw.  Then its
 * loop is never run again, since its handling of these cases is not sound: its memory and
 * descriptors stay until the process ends, and the files are judged anew at the next start.  Two
 * things heal: a full disk (the library refuses before it takes anything) and a disk that answers
 * too late.
 *
 * A disk can hold the thread itself inside the kernel for ever.  So a second thread, the watcher,
 * looks a few times per answer_within whether the first still turns, and if not, answers in its
 * place.
 */
#pragma once

#include "libxapi/base/seam.h"
#include "pool/log/disk.h"
#include "pool/log/guard.h"
#include "xapid/db/log.h"

#define ENGINE_SLOW "The disk of the write log does not answer."
#define ENGINE_NEVER 0x7fffffffu /* a snapshot threshold that is not reached */
#define ENGINE_FULL "There is no space left on the disk of the write log."

struct item {
    struct log_proposal
        *proposal; /* NULL once answered; taken by exchange, since the watcher answers too */
    uint8_t id[LOG_ID_SIZE];
    struct log_result result;
    bool applied;
};

/* One entry of ours on its way through the library, which holds 'req' until it is over. */
struct flight {
    struct raft_apply req;
    struct flight *next;
    usec_t since; /* submitted */
    bool over;    /* the library is done with it */
    size_t n, n_applied, n_answered;
    struct item items[];
};

struct queue {
    struct log_proposal *head, **tail;
};

struct raft_log {
    struct log base;
    struct log_fsm fsm;
    struct log_raft_options opt;
    char *dir_name;
    int dir, lock_file;
    struct mark mark;
    struct guard_found found;
    struct thread thread, watcher;

    /* Shared, under the lock. */
    struct mutex lock;
    struct cond changed;          /* one of the flags, or the queue once no loop takes from it */
    struct queue queue;           /* proposed, not submitted */
    struct flight *first, **last; /* linked and unlinked by the log's thread only */
    bool opened, closing, no_loop, ended;
    usec_t turned; /* when the loop last turned */
    char *failure; /* set once */
    struct log_status status;

    /* Of the log's thread. */
    uv_loop_t loop;
    uv_async_t wake;
    uv_check_t turn;
    uv_work_t mark_work;
    struct raft raft;
    struct raft_fsm raft_fsm;
    struct raft_uv_transport transport;
    struct disk disk;
    struct arena arena; /* of results; emptied after each round of answers */
    uint64_t applied;   /* last entry given to the database, or contained in it from the start */
    uint64_t replay_to;
    bool dirty; /* applied, not published */
    bool failed, raft_closing;
    bool late; /* entries have been under way for too long */
    bool full;
    usec_t closing_since, full_since; /* 0: not */
    uint64_t marked;
    bool mark_dirty, mark_syncing;
    int mark_rc;
    usec_t mark_synced;
    uint64_t snapshot_at, snapshot_limit;
    bool snapshot_asked;
};

/* raft.c */

/* Ends the log; the text goes on after "The write log in ... takes no more writes: ".  On the log's
 * thread. */
void engine_fail(void *raft_log, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Refreshes what log_status says; before anybody is told the same by an answer. */
void engine_update_status(struct raft_log *log);

/* propose.c */

void queue_init(struct queue *q);
void queue_add(struct queue *q, struct log_proposal *p);
/* Answers the proposers whose write-sets were applied. */
void propose_answer(struct raft_log *log);
/* Answers those that have been under way for too long, and sets log->late while there are any. */
void propose_give_up_late(struct raft_log *log);
/* Submits what waits.  True if the log is being closed; then it refuses what waits. */
bool propose_pump(struct raft_log *log);
/* Answers everything that waits with LOG_FAILED; on any thread. */
void propose_refuse(struct raft_log *log, const char *why);
/* Answers LOG_UNKNOWN to what was submitted before 'limit' and has no answer yet; on any thread. */
void propose_unknown(struct raft_log *log, usec_t limit);

/* apply.c */

/* Sets up log->raft_fsm, before raft_init. */
void apply_init(struct raft_log *log);
/* The write-set of ours with this id among those under way, or NULL. */
struct item *apply_find_own(struct raft_log *log, const void *id);
/* Marks and makes visible what was applied. */
void apply_publish(struct raft_log *log);
/* Tells the library to take a snapshot if enough has come together. */
void apply_ask_for_snapshot(struct raft_log *log);
