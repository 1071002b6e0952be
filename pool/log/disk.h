/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * disk.h -- a filter between the library's consensus part and its disk part.  Everything the one
 * asks of the other passes here.
 *
 * What it is for (all seen in libraft 0.22.1): a failed write is retried through a timer of another
 * type, which corrupts memory; an append that fails or is cancelled is handled with uninitialised
 * memory; a term or vote that could not be stored at start is ignored; a snapshot is serialised on
 * the loop thread although the interface says otherwise; a failed snapshot aborts.  So: a failed
 * write of entries, terms or votes ends the log until it is opened again (a write that failed once
 * is never taken for good); states are serialised by a worker; a failed snapshot is tried again.
 *
 * A failed write is never told to the library, whose callers abort on errors: it hears nothing any
 * more, and its loop ends.
 *
 * It also knows the term of recent entries, which the library does not tell.
 */
#pragma once

#include "libxapi/base/buf.h" /* before the library: its headers define MIN and MAX too */

#include <raft.h>
#include <raft/uv.h>

#include "pool/log/mark.h"
#include "xapid/db/log.h"

#define DISK_TERMS 64

struct disk_term {
    uint64_t first_index, term;
};

struct disk_append;

struct disk_snapshot {
    struct raft_io_snapshot_put *req; /* the library's, NULL: none under way */
    struct raft_io_snapshot_put put;  /* ours */
    struct raft_snapshot *snapshot;
    unsigned trailing;
    uv_work_t work;
    uv_timer_t retry;
    void *held;      /* the database's, until it is serialised */
    bool received;   /* the leader sent it */
    bool working;    /* a worker is serialising */
    bool below_busy; /* the library's disk part is writing */
    uint8_t header[48];
    struct raft_buffer bufs[2];
    struct buf state;
    uint64_t index;
};

/* All of it belongs to the log's thread. */
struct disk {
    struct raft_io
        io; /* what raft_init is given: the library's, with some functions replaced by ours */
    struct raft_io below; /* only for the functions that were replaced */
    struct raft_tracer tracer;
    struct mark *mark;
    const struct log_fsm *fsm;
    void (*failed)(void *ctx, const char *fmt, ...) PRINTF_LIKE(2, 3);
    void *failed_ctx;
    unsigned appends; /* under way */
    struct disk_append *first_append, **last_append;
    usec_t append_took; /* the last one that ended; 0 once it was taken note of */
    bool broken;        /* a write has failed: nothing may be told to others any more */
    bool write_done;    /* a write has ended but no append was told so yet: it failed */
    uint64_t appended_bytes;
    uint64_t next_index;
    struct disk_term terms[DISK_TERMS];
    unsigned n_terms;
    struct disk_snapshot snapshot;
};

/* Sets up disk->io.  The members from 'mark' to 'failed_ctx' are set before.  0 or an error of
 * raft.h. */
int disk_init(struct disk *disk, uv_loop_t *loop, const char *dir,
              struct raft_uv_transport *transport);
/* The last entry that was found on disk, before raft_start. */
void disk_set_last(struct disk *disk, uint64_t index, uint64_t term);
/* The term of a recent entry; 0 if not known. */
uint64_t disk_term_of(const struct disk *disk, uint64_t index);
/* To be asked once per turn of the loop: calls 'failed' if a write has failed. */
void disk_check(struct disk *disk);
/* How long the oldest append has been under way; 0: there is none. */
usec_t disk_waits(const struct disk *disk);
/* True if nothing is under way that must end before raft_close. */
bool disk_idle(const struct disk *disk);
/* Right after raft_close: gives up what waits, and the timer. */
void disk_cancel(struct disk *disk);
/* For raft_fsm.snapshot: 'held' was just taken and is the filter's until it is serialised. */
void disk_hold(struct disk *disk, void *held);
/* For raft_fsm.snapshot_finalize. */
void disk_snapshot_over(struct disk *disk);
