/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * journal.h -- what became of requests, on disk: a line for the beginning of each that changes
 * something, durable before anything is done, and one for its end, durable before it is answered.
 *
 * Two files, DIR/journal and DIR/journal.old: a full one becomes the old one, and requests that are
 * still worked on are carried over.  A line that a crash cut short ends the file.  Any number of
 * threads.
 */
#pragma once

#include <jansson.h>

#include "libxapi/base/base.h"

struct journal;

/* Reads what is there and opens it for more. */
MUST_CHECK struct error *journal_open(struct arena *arena, const char *dir, struct journal **out);
void journal_free(struct journal *journal);
/* A uuid: names the memory of outcomes for as long as the files live. */
const char *journal_instance(const struct journal *journal);
/* The highest epoch seen. */
uint64_t journal_epoch(const struct journal *journal);

struct journal_visitor {
    void *ctx;
    /* References are the journal's; both may be NULL. */
    void (*ended)(void *ctx, const char *id, uint64_t what, json_t *error, json_t *result);
    void (*sealed)(void *ctx, const char *id);
    /* 'noted': journal_note was called. */
    void (*unfinished)(void *ctx, const char *id, uint64_t what, const char *call, json_t *args,
                       bool noted);
};
/* Tells all that was read, oldest first, unfinished ones last, and forgets it.  Once. */
void journal_replay(struct journal *journal, const struct journal_visitor *visitor);

/* On failure nothing may be done, and nothing can be written any more. */
MUST_CHECK struct error *journal_begin(struct arena *arena, struct journal *journal, const char *id,
                                       uint64_t what, const char *call, json_t *args);
/* The request has come to the point from which its traces are its own. */
MUST_CHECK struct error *journal_note(struct arena *arena, struct journal *journal, const char *id);
/* A failure is logged: the next life finds out by looking. */
void journal_end(struct journal *journal, const char *id, uint64_t what, json_t *error,
                 json_t *result);
void journal_sealed(struct journal *journal, const char *id);
void journal_epoch_rose(struct journal *journal, uint64_t epoch);
