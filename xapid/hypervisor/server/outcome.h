/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* outcome.h -- what became of each request that had an id: a bounded memory, the oldest finished
 * ones are forgotten first. */
#pragma once

#include <jansson.h>

#include "libxapi/base/base.h"

#define OUTCOMES_MAX 16384

enum outcome_state { OUTCOME_RUNNING, OUTCOME_DONE, OUTCOME_SEALED };

struct outcome {
    struct outcome *chain;       /* same bucket */
    struct outcome *prev, *next; /* by age */
    char id[UUID_TEXT_SIZE];
    enum outcome_state state;
    uint64_t what;  /* a hash of call and arguments: an id is used for one thing only */
    json_t *error;  /* when done, or NULL */
    json_t *result; /* when done without error, or NULL for {} */
};

struct outcomes;

struct outcomes *outcomes_new(void);
void outcomes_free(struct outcomes *all);
struct outcome *outcome_find(struct outcomes *all, const char *id);
/* A new one; there must be none of that id. */
struct outcome *outcome_begin(struct outcomes *all, const char *id, enum outcome_state state,
                              uint64_t what);
/* Takes references of its own. */
void outcome_end(struct outcome *outcome, json_t *error, json_t *result);
/* The request was never begun after all. */
void outcome_forget(struct outcomes *all, struct outcome *outcome);
uint64_t outcome_hash(const char *call, const json_t *args);
