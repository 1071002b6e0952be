/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libxapi/base/seam.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

static usec_t clock_read(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (usec_t)ts.tv_sec * USEC_PER_SEC + ts.tv_nsec / 1000;
}

usec_t clock_wall(void)
{
    return clock_read(CLOCK_REALTIME);
}

usec_t clock_mono(void)
{
    return clock_read(CLOCK_MONOTONIC);
}

void clock_sleep(usec_t usec)
{
    struct timespec ts = {usec / USEC_PER_SEC, usec % USEC_PER_SEC * 1000};

    while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
        ;
}

void random_bytes(void *out, size_t n)
{
    char *p = out;

    while (n) {
        ssize_t got = getrandom(p, n, 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            abort(); /* without randomness a session id could be guessed */
        p += got;
        n -= (size_t)got;
    }
}

uint64_t random_u64(void)
{
    uint64_t v;

    random_bytes(&v, sizeof v);
    return v;
}

static void must(int rc)
{
    if (rc)
        abort();
}

void mutex_init(struct mutex *m)
{
    must(pthread_mutex_init(&m->m, NULL));
}

void mutex_release(struct mutex *m)
{
    must(pthread_mutex_destroy(&m->m));
}

void mutex_lock(struct mutex *m)
{
    must(pthread_mutex_lock(&m->m));
}

void mutex_unlock(struct mutex *m)
{
    must(pthread_mutex_unlock(&m->m));
}

void cond_init(struct cond *c)
{
    pthread_condattr_t attr;

    must(pthread_condattr_init(&attr));
    must(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
    must(pthread_cond_init(&c->c, &attr));
    must(pthread_condattr_destroy(&attr));
}

void cond_release(struct cond *c)
{
    must(pthread_cond_destroy(&c->c));
}

void cond_signal(struct cond *c)
{
    must(pthread_cond_signal(&c->c));
}

void cond_broadcast(struct cond *c)
{
    must(pthread_cond_broadcast(&c->c));
}

void cond_wait(struct cond *c, struct mutex *m)
{
    must(pthread_cond_wait(&c->c, &m->m));
}

bool cond_wait_until(struct cond *c, struct mutex *m, usec_t deadline)
{
    struct timespec ts = {deadline / USEC_PER_SEC, deadline % USEC_PER_SEC * 1000};
    int rc = pthread_cond_timedwait(&c->c, &m->m, &ts);

    if (rc == ETIMEDOUT)
        return false;
    must(rc);
    return true;
}

void thread_start(struct thread *t, const char *name, void *(*fn)(void *), void *arg)
{
    sigset_t all, old;

    sigfillset(&all);
    must(pthread_sigmask(SIG_SETMASK, &all, &old));
    must(pthread_create(&t->t, NULL, fn, arg));
    must(pthread_sigmask(SIG_SETMASK, &old, NULL));
    pthread_setname_np(t->t, name);
    t->running = true;
}

void thread_join(struct thread *t)
{
    if (!t->running)
        return;
    must(pthread_join(t->t, NULL));
    t->running = false;
}

void thread_detach(struct thread *t)
{
    must(pthread_detach(t->t));
    t->running = false;
}
