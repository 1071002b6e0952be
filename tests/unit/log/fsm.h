/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fsm.h -- a small database for the log's tests: it remembers which write-sets were applied, in
 * which order.
 *
 * A write-set is 16 bytes of id (origin and number, both u64) and then a kind: 'C' conflicts, 'R'
 * is rejected, anything else is applied.  The digest depends on the order and on every byte.
 */
#pragma once

#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "xapid/db/log.h"

#define FSM_ORIGINS 128
#define FSM_NUMBERS 65536

struct fsm {
    struct mutex lock; /* readers are other threads */
    uint64_t revision, digest, index, published;
    uint64_t n_applies, n_restores;
    uint8_t seen[FSM_ORIGINS * FSM_NUMBERS]; /* how often */
    bool once; /* as the database does: what was applied under an id is not applied again */
    uint64_t leader, term, n_leads; /* as the log told; n_leads: how often it was this one */
    bool leads;
    usec_t restore_takes;
    char failure[512];
    struct log_fsm log;
};

struct fsm *fsm_new(void);
void fsm_free(struct fsm *fsm);
bool fsm_has(struct fsm *fsm, uint64_t origin, uint64_t number);
uint64_t fsm_revision(struct fsm *fsm);

/* A proposal one can wait for. */
struct ask {
    struct log_proposal proposal;
    struct mutex lock;
    struct cond done;
    bool answered;
    enum log_outcome outcome;
    uint64_t revision;
    char error[512];
    uint8_t *bytes;
};

void ask_init(struct ask *ask, uint64_t origin, uint64_t number, char kind, size_t size);
void ask_release(struct ask *ask);
/* Waits for the answer. */
enum log_outcome ask_wait(struct ask *ask);
/* Proposes and waits. */
enum log_outcome ask_once(struct log *log, uint64_t origin, uint64_t number, char kind,
                          size_t size);

/* A new empty directory under $TMPDIR or /tmp; and its removal with all that is in it. */
char *temp_dir(void);
void temp_dir_remove(char *dir);
void copy_dir(const char *from, const char *to);
