/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * seam.h -- clock, randomness, threads and locks: the only door to them, so that time can be driven
 * by a test and a whole pool can one day run from one seed.
 */
#pragma once

#include <pthread.h>

#include "libxapi/base/base.h"

/* Wall clock, for dates shown to users. */
usec_t clock_wall(void);
/* Monotonic clock, for deadlines and leases; never goes back. */
usec_t clock_mono(void);
/* Blocks for at least that long.  Only for retry loops against the outside world. */
void clock_sleep(usec_t usec);

/* Fills with random bytes from the kernel. */
void random_bytes(void *out, size_t n);
uint64_t random_u64(void);

struct mutex {
    pthread_mutex_t m;
};
struct cond {
    pthread_cond_t c;
};
struct thread {
    pthread_t t;
    bool running;
};

void mutex_init(struct mutex *m);
void mutex_release(struct mutex *m);
void mutex_lock(struct mutex *m);
void mutex_unlock(struct mutex *m);
void cond_init(struct cond *c);
void cond_release(struct cond *c);
void cond_signal(struct cond *c);
void cond_broadcast(struct cond *c);
void cond_wait(struct cond *c, struct mutex *m);
/* False when 'deadline' (monotonic) has passed. */
bool cond_wait_until(struct cond *c, struct mutex *m, usec_t deadline);
/* Starts a thread with all signals blocked.  'name' shows in ps and gdb, at most 15 characters. */
void thread_start(struct thread *t, const char *name, void *(*fn)(void *), void *arg);
void thread_join(struct thread *t);
/* The thread ends by itself; nobody joins it. */
void thread_detach(struct thread *t);

/* Unlocks at the end of the scope: MUTEX_GUARD(&m); */
static inline void mutex_guard_release(struct mutex **m)
{
    if (*m)
        mutex_unlock(*m);
}
#define MUTEX_GUARD(m)                                                                             \
    __attribute__((cleanup(mutex_guard_release), unused)) struct mutex *mutex_guard_ = (m);        \
    mutex_lock(mutex_guard_)
