/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * planner.h -- whether the protected VMs could all run again after hosts have failed, and where.
 *
 * Pure.  A plan exists for n failures where, whichever n hosts fail, every protected VM that ran
 * on them (or runs nowhere) fits on the others.  That is a packing of bins for each choice of n
 * hosts.  Where there are few choices and VMs each is tried, and the answer is exact; otherwise
 * the answer may be "no" where a longer search would have found "yes", but never the other way
 * round.
 */
#pragma once

#include "libxapi/base/arena.h"

#define HA_MAX_HOSTS 64 /* bits of a set of hosts */

/* A VM that is to run always. */
struct ha_vm {
    int64_t memory; /* bytes it takes of a host */
    int on;         /* index of its host; -1: it runs nowhere and is to be started too */
    uint64_t can;   /* hosts it could run on, were there room; bit i: host i */
};

struct ha_problem {
    size_t n_hosts;      /* at most HA_MAX_HOSTS; live and enabled ones only */
    const int64_t *free; /* of each: bytes that VMs could be given */
    size_t n_vms;
    const struct ha_vm *vms;
};

/* Answers, and their explanation. */
struct ha_verdict {
    bool exists;
    bool exact;      /* false: a "no" only for want of time to search */
    uint64_t failed; /* of a "no": hosts whose failure is not survived; 0 where that is not known */
    int vm;          /* the first VM that has no place then, -1: not known */
};

struct ha_verdict ha_plan_exists(struct arena *arena, const struct ha_problem *problem,
                                 size_t failures);
/* The largest number, at most 'limit', for which a plan exists; -1 where not even the VMs that run
 * nowhere fit now.  'worst' (may be NULL) says why it is not more. */
int ha_max_failures(struct arena *arena, const struct ha_problem *problem, size_t limit,
                    struct ha_verdict *worst);

#define HA_STAYS (-1) /* its host has not failed */
#define HA_NO_PLACE (-2)
/*
 * Where the VMs would run after these hosts have failed: to[i] is a host, HA_STAYS or HA_NO_PLACE.
 * Where not all have a place, those that come first in 'vms' are served first.  Returns whether all
 * have one.
 */
bool ha_plan(struct arena *arena, const struct ha_problem *problem, uint64_t failed, int *to);
