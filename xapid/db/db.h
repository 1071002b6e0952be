/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * db.h -- the object database of one daemon: snapshots to read, transactions to write, the feed of
 * changes.
 *
 * Reads never wait: a snapshot (struct db_snap) is one version of everything, counted.  The only
 * way to write is a transaction: a function that reads from a snapshot, says what it relies on and
 * what to change; db_update runs it until the log has applied or refused it.  Nothing is visible,
 * in a read or in an event, before it is durable.
 */
#pragma once

#include "api_daemon.h"
#include "xapid/db/log.h"
#include "xapid/db/root.h"

struct db;

/*** opening ***/

struct db_options {
    const char *dir; /* holds xapid.db (SQLite) and raft/; made if absent */
    /* Opens the log; NULL: log_raft_open.  'ctx' is passed on. Tests put another engine here. */
    struct error *(*open_log)(void *ctx, struct arena *arena, const char *dir,
                              const struct log_fsm *fsm, struct log **out);
    void *ctx;
    const struct log_raft_options *raft; /* for log_raft_open; NULL: this host stays alone */
    /* Who leads, or who is a member, has changed: on the log's thread, perhaps before db_open
     * returns; must only post.  May be NULL. */
    void (*leader)(void *watcher, uint64_t leader, uint64_t term, bool me);
    void (*members)(void *watcher);
    void *watcher;
    unsigned level; /* the last one understood (level.h); 0: api_level */
};

/* Loads the checkpoint, replays the log's tail, checks, starts the threads.  Errors say what is
 * damaged and what to do. */
MUST_CHECK struct error *db_open(struct arena *arena, const struct db_options *options,
                                 struct db **out);
/* Flushes the checkpoint and closes.  No call may be under way. */
void db_close(struct db *db);
void db_status(struct db *db, struct log_status *out);
/* OK, or why no change will be accepted until the database is opened again. */
MUST_CHECK struct error *db_failure(struct db *db, struct arena *arena);
/* No change is accepted from now on, and nothing more is applied: this member's state is not to be
 * trusted.  'why' is a full sentence that says what to do. */
void db_fail(struct db *db, const char *why);
/*
 * From its return on only calls that say so (call->joins) change anything; others are refused with
 * OPERATION_NOT_ALLOWED.  It waits for the changes that are under way.  For a host that is alone
 * and joins a pool: what the pool was told stays what is here.
 */
void db_freeze(struct db *db);
void db_thaw(struct db *db);
/* The daemon ends: changes that wait for somebody who leads wait no longer. */
void db_give_up(struct db *db);

/*** other members ***/

/* True where this member leads and has applied everything that was committed before. */
bool db_leads(struct db *db);
/* True where a member leads, as far as is known here. */
bool db_has_leader(struct db *db);
/* True where this member has others, and none of them led for a while: longer than it takes to
 * elect one.  Changes are refused at once then. */
bool db_is_cut_off(struct db *db);
/* Waits until somebody leads; false when the deadline (monotonic) has passed. */
bool db_wait_leader(struct db *db, usec_t deadline);
/* The members in the arena; none where the log cannot have others. */
void db_members(struct db *db, struct arena *arena, size_t *n, struct log_member **out);
/* True where others than this host may have written what is not applied here yet. */
bool db_has_others(struct db *db);
/* Changes the members: see log.h.  INTERNAL_ERROR, and 'done' is not called, where that cannot be.
 */
MUST_CHECK struct error *db_change_members(struct db *db, struct arena *arena,
                                           struct log_change *change);
/*
 * Waits until everything that was acknowledged anywhere before the call is applied here: a change
 * of nothing through the log.  False where nobody led until the deadline (monotonic), or its
 * outcome is not known.
 */
bool db_barrier(struct db *db, usec_t deadline);
/* The digest (root_digest_make) that the database had at a revision; false if that is too long ago,
 * or not yet. */
bool db_digest_at(struct db *db, uint64_t revision, uint64_t out[2]);
/* Checks the rules over the whole present version: references, indexes, relations, uuids.  Returns
 * the number of faults, each logged. */
int db_check(const struct db_snap *snap);

/*** reading ***/

/* The present version, with a reference for the caller. */
struct db_snap *db_snapshot(struct db *db);
struct db_snap *db_snap_ref(struct db_snap *snap);
void db_snap_unref(struct db_snap *snap);
/* db_snap is a root that was published; the functions of root.h read it. */
static inline const struct db_root *snap_root(const struct db_snap *snap)
{
    return (const struct db_root *)snap;
}

/* The row of a reference, valid while the call's snapshot is held; HANDLE_INVALID(class, ref) if
 * there is none. */
MUST_CHECK struct error *db_get(struct call *call, int class_id, ref_t ref, const void **row);
/* NULL where there is none. */
const void *db_find(const struct call *call, int class_id, ref_t ref);
/* UUID_INVALID(class, uuid) if there is none. */
MUST_CHECK struct error *db_by_uuid(struct call *call, int class_id, const char *uuid, ref_t *ref);
/* A newer snapshot for the call: after its own writes and after waiting.  Rows read before stay
 * valid until the call ends. */
void call_refresh(struct call *call);
/* Lets go of the earlier versions from the given number on (call->n_held, noted before): for loops
 * that refresh again and again and keep no rows. */
void call_drop_held(struct call *call, size_t from);
/* Lets go of all versions: no row that the call has read may be used any more. */
void call_let_go(struct call *call);
/* Text of a reference in the call's arena, for errors. */
const char *call_ref(const struct call *call, ref_t ref);

/* All rows of a class, by reference. */
struct db_walk {
    struct tree_cursor cursor;
};
void db_walk(const struct db_snap *snap, int class_id, struct db_walk *walk);
const void *db_walk_next(struct db_walk *walk);
/* The rows of f's class whose field f has the value 'key' (or contains it). */
struct refs db_referrers(const struct call *call, int field_id, ref_t key);
/* Value of a derived field: the references of the other side, in the arena, oldest row first. */
struct refs db_derived(struct arena *arena, const struct db_snap *snap, const struct field_desc *f,
                       ref_t self);

/* DB_GET(call, vm, ref, &vm): typed form of db_get. */
#define DB_GET(call, class, ref, out) db_get((call), CLASS_##class, (ref), (const void **)(out))

/*** writing ***/

struct txn; /* one run of a transaction's function; all memory in its arena */
typedef struct error *db_txn_fn(struct txn *txn, void *arg);

/*
 * Runs fn on a fresh transaction until its write-set was applied or refused: again on a conflict,
 * waiting while the outcome is unknown (up to the log's own limits).  fn may run several times and
 * must have no effect but on the transaction and 'arg'.  An error of fn, or a refusal, is returned;
 * nothing was changed then.  A transaction without operations is not proposed.  Afterwards the call
 * has a newer snapshot, which contains the change: rows that the call got before (db_get) are no
 * longer valid.
 */
MUST_CHECK struct error *db_update(struct call *call, db_txn_fn *fn, void *arg);

/* True for the error db_update gives where the change may still take effect: nothing that belongs
 * to it may be undone. */
bool db_outcome_is_unknown(const struct error *e);

struct call *txn_call(struct txn *txn);
struct arena *txn_arena(struct txn *txn);
const struct db_snap *txn_snap(struct txn *txn);
/* Reads see the transaction's base, not its own changes; each is recorded, so that a change
 * meanwhile is a conflict. */
MUST_CHECK struct error *txn_get(struct txn *txn, int class_id, ref_t ref, const void **row);
/* NULL where there is none; that is relied on too. */
const void *txn_find(struct txn *txn, int class_id, ref_t ref);
/* The rows whose field has the value 'key'; the whole set, with its members' versions, is relied
 * on. */
struct refs txn_referrers(struct txn *txn, int field_id, ref_t key);
#define TXN_GET(txn, class, ref, out) txn_get((txn), CLASS_##class, (ref), (const void **)(out))

/* A new row from a struct of the class whose 'ref' was chosen (ref_new); unset fields should have
 * been filled by row_defaults. */
void txn_create(struct txn *txn, int class_id, const void *source);
/* 'value' points to a value of the field's type. */
void txn_set_value(struct txn *txn, int field_id, ref_t ref, const void *value);
/* TXN_SET(txn, vm, ref, power_state, VM_RUNNING): typed. */
#define TXN_SET(txn, class, ref, field, ...)                                                       \
    txn_set_value((txn), FIELD_##class##_##field, (ref),                                           \
                  &(__typeof__(((struct class *)0)->field)[1]){__VA_ARGS__})
/* Map keys and set elements point to a value of the key's or element's type. */
void txn_map_add(struct txn *txn, int field_id, ref_t ref, const void *key, const void *value);
void txn_map_put(struct txn *txn, int field_id, ref_t ref, const void *key, const void *value);
void txn_map_remove(struct txn *txn, int field_id, ref_t ref, const void *key);
void txn_set_add(struct txn *txn, int field_id, ref_t ref, const void *element);
void txn_set_remove(struct txn *txn, int field_id, ref_t ref, const void *element);
/* The same for maps from string to string. */
void txn_strmap_put(struct txn *txn, int field_id, ref_t ref, const char *key, const char *value);
void txn_strmap_remove(struct txn *txn, int field_id, ref_t ref, const char *key);
void txn_destroy(struct txn *txn, int class_id, ref_t ref);
void txn_touch(struct txn *txn, int class_id, ref_t ref);
/* How many bytes it has by now, of LOG_MAX_WRITE_SET. */
size_t txn_size(const struct txn *txn);

/*
 * Metrics, progress, last_updated: nobody waits.  Coalesced for each field and row to at most one
 * write-set a second; a row that is gone by then is no error; lost at kill -9.
 */
void db_set_lazily(struct db *db, int field_id, ref_t ref, const void *value);
/* Forgets a lazy value of a field that is about to be written otherwise. */
void db_drop_lazy(struct db *db, int field_id, ref_t ref);
/* Writes what is waiting now. */
void db_flush_lazy(struct db *db);

/*** the feed ***/

/* Called on the log's thread after each publication with the new revision: must only post. */
struct db_subscription;
struct db_subscription *db_subscribe(struct db *db, void (*changed)(void *ctx, uint64_t revision),
                                     void *ctx);
/* Afterwards 'changed' will not run any more. */
void db_unsubscribe(struct db *db, struct db_subscription *subscription);
/* Blocks until the revision is above 'revision'; false when the deadline (monotonic) has passed. */
bool db_wait(struct db *db, uint64_t revision, usec_t deadline);

/*** for the checkpoint (db/checkpoint.c) ***/

struct checkpoint;
/* Loads path into a new root (an empty one if the file does not exist).  A damaged file is set
   aside as path.damaged-<time>, and the root is empty with log_index 0: the log's snapshot then
   serves, or the start fails. */
MUST_CHECK struct error *checkpoint_open(struct arena *arena, const char *path,
                                         struct checkpoint **out, struct db_root **root);
/* Writes what changed since the last flush and makes it durable.  A failure is final: the daemon
 * must stop writing. */
MUST_CHECK struct error *checkpoint_flush(struct arena *arena, struct checkpoint *checkpoint,
                                          const struct db_root *root);
/* True where the failure was want of room: nothing was promised, and the file, opened again, can be
 * written again. */
bool checkpoint_met_full_disk(const struct checkpoint *checkpoint);
void checkpoint_close(struct checkpoint *checkpoint);

/* A whole root as bytes, for the log's snapshots (db/image.c). */
void image_write(struct buf *out, const struct db_root *root);
/* False if the bytes are damaged or of a later version; *why says so. */
bool image_read(struct arena *arena, const void *data, size_t size, struct db_root **root,
                const char **why);
