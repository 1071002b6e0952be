/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * op.h -- an operation is a recorded intent.
 *
 *   op_begin    commits, in one write-set, the lock (current_operations of every object it holds)
 * and the intent (what is to be done, with all ids chosen in advance), or waits in line for a busy
 * object op_step     between two effects: reports progress, honours cancel, and is where tests make
 * the operation fail or kill the daemon op_commit   commits, in one write-set, the outcome, and
 * that lock and intent are gone
 *
 * An op that ends otherwise is aborted by its guard: lock and intent go, nothing else was recorded.
 * After a crash the intent is still there, and its recover function (schema/intents.api,
 * <name>_recover) finishes the work with op_commit or undoes it with op_abort.  What may have been
 * committed is never undone: guards of domains and disks ask op_may_undo first.
 */
#pragma once

#include "api_daemon.h"
#include "xapid/db/db.h"

/* An object the operation holds, and as what it appears in current_operations. */
struct op_hold {
    int class_id; /* one with current_operations */
    ref_t ref;
    int operation; /* of the class's enum */
};

#define OP_MAX_HOLDS 16

struct op {
    struct call *call;
    ref_t intent; /* row; null when nothing is held */
    enum intent_kind kind;
    const char *task_key;
    char id[UUID_TEXT_SIZE]; /* of requests to the hypervisor: made from the intent, the same after
                                a crash */
    uint64_t epoch;
    size_t n_holds;
    struct op_hold holds[OP_MAX_HOLDS];
    bool unknown; /* a commit's outcome is not known: leave everything to recovery */
};

struct op_spec {
    enum intent_kind kind;
    const void *intent; /* struct <name>_intent */
    size_t n_holds;
    const struct op_hold *holds;
    /* Checks on the transaction's base that the operation may begin (lifecycle.h), and may add
       changes of its own.  OTHER_OPERATION_IN_PROGRESS makes it wait in line for holds[0] and try
       again; every other error is returned.  May be NULL. */
    db_txn_fn *check;
    void *arg;
};

MUST_CHECK struct error *op_begin(struct call *call, const struct op_spec *spec, struct op *op);
/* 'done' from 0 to 1.  'name' is a literal, unique in its intent: tests enumerate them. */
MUST_CHECK struct error *op_step(struct op *op, const char *name, double done);
/* Records the outcome.  On failure nothing was recorded and the op is still held, unless
 * op->unknown. */
MUST_CHECK struct error *op_commit(struct op *op, db_txn_fn *fn, void *arg);
/* db_update of what an operation has to record while it goes on, or when it has failed.  Refused
 * where its intent is gone or another's: this host was declared dead, and what it held is others'.
 */
MUST_CHECK struct error *op_update(struct op *op, db_txn_fn *fn, void *arg);
/* From this transaction on the intent (struct <kind>_intent) says that. */
void txn_intent_set(struct txn *txn, const struct op *op, const void *intent);
/* Lets go without recording anything. */
void op_abort(struct op *op);
/* False once the outcome may have been committed: what was made must stay. */
bool op_may_undo(const struct op *op);
/* Guard: aborts an op that is still held. */
void op_release(struct op *op);

/*
 * For what could be neither undone nor finished, because storage does not answer: lock and intent
 * stay, and the recover function is run again later (ops_again), until it succeeds.
 */
void op_leave(struct op *op);
/* Whether the operation that is noted with that key is one that was left here. */
bool op_is_left(const struct call *call, const char *task_key);

/* Finishes or undoes what an intent says, by its recover function. */
MUST_CHECK struct error *op_recover(struct call *call, const struct intent *row);
/* At start: recovers every intent of this host.  Returns how many there were. */
int ops_recover(struct call *call);
/* Every now and then: tries again what was left, with pauses that grow. */
void ops_again(struct call *call);

/* For operations that a recover function has left alone (op->unknown): the op as it was, held
 * again. False where the row cannot be read. */
bool op_adopt(struct call *call, const struct intent *row, struct op *op, const void **intent);

/* By who leads, every now and then: takes away locks that no operation holds (leaks.c). */
void ops_free_leaked(struct call *call);

struct op_queue *op_queue_new(void);
void op_queue_free(struct op_queue *queue);

/* Whether it holds that object. */
bool op_holds(const struct op *op, int class_id, ref_t ref);
/* Takes the operation's key out of a row's current_operations: for recovery and for what destroys a
 * held row. */
void txn_unhold(struct txn *txn, const struct op *op);

/* Faults for tests: with --enable-faults each op_step is noted in <state_dir>/steps, and the file
 * <state_dir>/faults says "<intent>/<step> fail|kill|wait" a line. */
struct faults *faults_new(const char *state_dir);
void faults_free(struct faults *faults);
