/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* subscription.h -- what a listener wants to hear of: "*", "vm", "vm/OpaqueRef:...". */
#pragma once

#include "api_daemon.h"

#define SUBSCRIPTION_MAX 4096

struct subscription {
    int class_id; /* -1: every class; -2: a class that does not exist, which never has events */
    ref_t ref;    /* null: every object of it */
};

struct subscriptions {
    size_t n;
    struct subscription *v;
};

/* EVENT_SUBSCRIPTION_PARSE_FAILURE(text). In the call's arena. */
MUST_CHECK struct error *subscriptions_parse(struct call *call, struct strings classes,
                                             struct subscriptions *out);
bool subscribed(const struct subscriptions *s, int class_id, ref_t ref);

/* "<revision>,<incarnation>", 20 digits each. EVENT_FROM_TOKEN_PARSE_FAILURE(token). */
MUST_CHECK struct error *token_parse(struct call *call, const char *token, uint64_t *revision,
                                     uint64_t *incarnation);
#define TOKEN_SIZE 48
char *token_text(uint64_t revision, uint64_t incarnation, char out[TOKEN_SIZE]);
