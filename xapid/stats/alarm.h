/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * alarm.h -- alarms that users set on figures: other_config:perfmon of a host, VM or SR.
 *
 * It is XML, one <variable> for each alarm: a name, a level, for how many seconds it must be
 * passed, and for how many seconds nothing is said again.  Pure but for memory.
 */
#pragma once

#include "libxapi/base/arena.h"
#include "xapid/stats/figures.h"

#define ALARMS_MAX 64             /* of one object */
#define ALARMS_XML_MAX (64 << 10) /* bytes */

struct alarm {
    char name[64];
    double level;
    usec_t period, inhibit;
    bool low;            /* raised below the level, not above */
    usec_t passed_since; /* time of the sample; 0: it is not passed */
    usec_t raised;       /* 0: never */
};

struct alarms {
    char *text; /* what they were read from; NULL: nothing */
    size_t n;
    struct alarm *v;
};

/* An alarm that must be told. */
struct raised {
    struct raised *next;
    enum stats_owner owner;
    const char *uuid;
    const char *body;
};

/* Reads 'text' (NULL: none) unless it is what was read before.  What is not understood is left out;
 * false where all of it is unreadable. */
bool alarms_set(struct alarms *alarms, enum stats_owner owner, const char *text);
void alarms_release(struct alarms *alarms);
/* A sample of one object. */
struct sampled {
    enum stats_owner owner;
    const char *uuid;
    usec_t time;
    size_t n;
    const struct figure *v;
    /* Of a repository: the host, which measures what it does with it ("..._per_host").  May be
     * NULL. */
    const struct sampled *host;
};

/* Compares with a sample; adds what is raised to the list, in the arena. */
void alarms_check(struct arena *arena, struct alarms *alarms, const struct sampled *sample,
                  struct raised **list);
