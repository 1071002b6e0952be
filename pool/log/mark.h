/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mark.h -- the file "mark" beside the library's: what this member must still have when it starts
 * again.
 *
 * The library cannot tell a tail that was never finished from one that was acknowledged and then
 * lost, and its metadata files carry no checksum.  So we keep (a) the index and term of the last
 * acknowledged entry, and (b) the last two contents of the metadata files.  Each has two slots
 * written in turns, each slot one sector with a checksum.  (a) is written before every
 * acknowledgement into the page cache only, which survives the process, and synced about once a
 * second: after a power cut it is at most that much too old, never too new.  (b) is synced, before
 * and after the library's own write; elections are rare.
 */
#pragma once

#include "libxapi/base/arena.h"

struct mark_position {
    uint64_t index, term; /* 0: the log was never started */
};

/* What a metadata file of the library holds. */
struct mark_meta {
    uint64_t version, term, vote;
};

struct mark_metas {
    struct mark_meta before, now;
    bool done; /* 'now' is known to be on disk */
};

struct mark {
    int fd; /* -1: closed */
    uint64_t id;
    bool joined;  /* the log was not founded here: an empty one waits for what others send */
    unsigned bad; /* slots found damaged; the other one of the pair is used */
    uint64_t position_sequence, metas_sequence;
    struct mark_position position;
    struct mark_metas metas;
};

#define MARK_FILE "mark"

/* Makes the file, durably, for a member with this raft id. */
MUST_CHECK struct error *mark_create(struct arena *arena, int dir, const char *dir_name,
                                     uint64_t id, bool joined);
/* Opens it; *found is false, without an error, if there is none. */
MUST_CHECK struct error *mark_open(struct arena *arena, int dir, const char *dir_name,
                                   struct mark *mark, bool *found);
/* Records the position; 0 or an errno. */
int mark_position(struct mark *mark, uint64_t index, uint64_t term);
/* Records the metadata, durably; 0 or an errno. */
int mark_metas(struct mark *mark, const struct mark_metas *metas);
/* Makes the position durable; from any thread; 0 or an errno, after which the file must not be
 * trusted. */
int mark_sync(const struct mark *mark);
void mark_close(struct mark *mark);
