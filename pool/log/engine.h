/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * engine.h -- the parts of the engine on libraft: raft.c opens, turns and closes it, propose.c
 * takes write-sets to the library and answers their proposers, forward.c takes them to the leader
 * where that is another member, apply.c takes committed entries and snapshots to the database,
 * members.c changes and watches who belongs to the log and who leads it, net.c stands between the
 * library and the others, timing.c sets the pace.
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
#include "pool/log/net.h"
#include "pool/log/timing.h"
#include "pool/peer/peer.h"
#include "xapid/db/log.h"

#define ENGINE_SLOW "The disk of the write log does not answer."
#define ENGINE_NEVER 0x7fffffffu /* a snapshot threshold that is not reached */
#define ENGINE_FULL "There is no space left on the disk of the write log."
#define ENGINE_LEADERLESS "No member leads the write log: too few of its members can be reached."
#define ENGINE_REMOVED "This host is not a member of its write log any more."

struct item {
    struct log_proposal
        *proposal; /* NULL once answered; taken by exchange, since the watcher answers too */
    uint8_t id[LOG_ID_SIZE];
    struct log_result result;
    bool applied;
};

/* One entry of ours on its way through the library, which holds 'req' until it is over; or write-
 * sets on their way to the leader, until it has said what became of them. */
struct flight {
    struct raft_apply req;
    struct flight *next;
    usec_t since; /* submitted */
    bool forwarded;
    bool over; /* the library, or the leader, is done with it */
    size_t n, n_applied, n_answered;
    struct item items[];
};

struct queue {
    struct log_proposal *head, **tail;
};

/* A committed entry that is not on our own disk yet. */
struct deferred {
    struct deferred *next;
    uint64_t index;
    size_t size;
    uint64_t data[]; /* aligned as the library aligns entries */
};

struct mailbox; /* forward.c */

/* What the others are told of this member's place, and what it was last. */
struct place {
    uint64_t leader, term;
    bool leads; /* and has applied what was committed before */
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
    struct log_change *changes, **last_change; /* wanted */
    struct log_member *members;
    size_t n_members;

    /* Of the log's thread. */
    uv_loop_t loop;
    uv_async_t wake;
    uv_check_t turn;
    uv_work_t mark_work;
    uv_timer_t again; /* makes the loop turn once more */
    struct raft raft;
    struct raft_fsm raft_fsm;
    struct raft_uv_transport transport;
    struct disk disk;
    struct net net;
    struct timing timing;
    struct mailbox *mailbox;
    struct arena arena; /* of results; emptied after each round of answers */
    uint64_t applied;   /* last entry given to the database, or contained in it from the start */
    uint64_t replay_to;
    bool alone;        /* there is no other member */
    bool self_elected; /* at start: this host is the only voter */
    bool running;      /* the library has started */
    bool removed;
    bool current;          /* as log_status says */
    uint64_t current_from; /* it will be once this entry is applied; 0: not known yet */
    bool dirty;            /* applied, not published */
    struct deferred *deferred, **last_deferred;
    struct raft_buffer restoring; /* a snapshot from the leader, being restored; base NULL: none */
    const char *restore_fault;
    struct arena restore_arena;
    uint64_t restore_index;
    uv_work_t restore_work;
    bool failed, raft_closing, loop_closed;
    bool late; /* entries have been under way for too long */
    bool full;
    usec_t closing_since, full_since; /* 0: not */
    uint64_t marked;
    bool mark_dirty, mark_syncing;
    int mark_rc;
    usec_t mark_synced;
    uint64_t snapshot_at, snapshot_limit;
    bool snapshot_asked;
    usec_t forward_at; /* not before */
    struct place place;
    uint64_t lead_term, lead_from; /* since this member was elected, and the last entry then */
    uint64_t members_committed, members_uncommitted; /* the configuration told last */
    struct log_change *change;                       /* under way */
    usec_t change_since;
    bool change_begun;
    unsigned short change_capacity; /* the library's threshold, off meanwhile */
    struct raft_change change_req;
    struct raft_transfer transfer_req;
    struct raft_barrier barrier_req;
    bool transferring, transfer_tried;
    usec_t transfer_at; /* the last one of our own accord */
};

/* raft.c */

/* Ends the log; the text goes on after "The write log in ... takes no more writes: ".  On the log's
 * thread. */
void engine_fail(void *raft_log, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Refreshes what log_status says; before anybody is told the same by an answer. */
void engine_update_status(struct raft_log *log);
/* Makes the loop turn again after that long, at the latest. */
void engine_turn_again(struct raft_log *log, usec_t after);
/* True of the leader while it takes entries. */
bool engine_can_submit(const struct raft_log *log);

/* propose.c */

#define PROPOSE_MAX_ENTRY (LOG_MAX_WRITE_SET + 64)

void queue_init(struct queue *q);
void queue_add(struct queue *q, struct log_proposal *p);
/* Puts those of 'front' before the others. */
void queue_prepend(struct queue *q, struct queue *front);
/* Takes what waits, as one flight of encoded size *size; NULL: nothing waits. */
struct flight *propose_gather(struct raft_log *log, size_t *size);
/* Writes a flight's entry. */
void propose_encode(const struct flight *f, uint8_t *out, uint64_t index);
void propose_link(struct raft_log *log, struct flight *f);
/* Takes the proposal of an item to answer it; NULL: it has its answer. */
struct log_proposal *propose_take(struct item *item);
/* Answers those of a flight that have no answer yet with LOG_UNKNOWN. */
void propose_give_up(struct flight *f);
void propose_answer_failed(struct log_proposal *p, const char *why);
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
/* Applies committed entries that have come to our own disk meanwhile. */
void apply_deferred(struct raft_log *log);
/* The last entry of which nothing is left to be applied. */
uint64_t apply_last(struct raft_log *log);
/* Forgets what waits to be applied. */
void apply_release(struct raft_log *log);
/* Marks and makes visible what was applied. */
void apply_publish(struct raft_log *log);
/* Tells the library to take a snapshot if enough has come together. */
void apply_ask_for_snapshot(struct raft_log *log);

/* forward.c */

void forward_init(struct raft_log *log);
/* Sends what waits to the leader. */
void forward_pump(struct raft_log *log);
/* Who leads has changed: nobody can say what becomes of what is on its way to the one before, and
   its proposers ask again under the same ids. */
void forward_leader_changed(struct raft_log *log);
/* Acts on what the leader has answered. */
void forward_collect(struct raft_log *log);
/* Answers that come from now on go to nobody; those who wait for them get LOG_UNKNOWN. */
void forward_end(struct raft_log *log);
/* Answers that come from now on go to nobody; for a log whose thread is held for ever. */
void forward_cut(struct raft_log *log);
/* For PEER_PROPOSE. */
void forward_serve(void *raft_log, struct peer_request *request);
/* True of a proposal that another member has sent. */
bool forward_is_guest(const struct log_proposal *p);
/* Sends it back: it was not taken, its member may try again. */
void forward_bounce(struct log_proposal *p);

/* members.c */

void members_init(struct raft_log *log);
/* Looks what has changed, tells it, and does what is wanted. */
void members_turn(struct raft_log *log);
/* About once a second. */
void members_check(struct raft_log *log);
/* Ends what is wanted: the log is closed or has failed; on any thread once the loop does not run.
 */
void members_end(struct raft_log *log, const char *why);
/* Hands leadership to another voter; false if there is none or it is under way already. */
bool members_hand_over(struct raft_log *log);
/* Who leads as far as this member knows; 0: nobody.  One that does not vote would believe in its
 * leader for ever: it does for three seconds without a word. */
uint64_t members_leader(const struct raft_log *log);
/* Other voters. */
unsigned members_other_voters(const struct raft_log *log);
void members_change(struct log *base, struct log_change *change);
void members_list(struct log *base, struct arena *arena, size_t *n, struct log_member **out);
