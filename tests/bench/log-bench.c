/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * log-bench.c -- durable proposals a second of the log engine, from 1 and from 64 threads that each
 * wait for their answer.
 *
 *     log-bench DIR [SECONDS]
 *
 * Prints "key value" lines like raft-yardstick; latencies in microseconds.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "xapid/db/log.h"

#define WRITE_SET 1000
#define MAX_SAMPLES 1000000

struct proposer {
    struct thread thread;
    struct log *log;
    usec_t end;
    uint64_t id[WRITE_SET / 8];
    struct log_proposal proposal;
    struct mutex lock;
    struct cond done;
    bool answered;
    usec_t answered_at;
    float *samples, *answers; /* until this thread runs again; until the log says so */
    size_t n;
};

static void bench_apply(void *ctx, struct arena *arena, uint64_t index, const void *data,
                        size_t size, struct log_result *result)
{
    (void)arena, (void)index, (void)data, (void)size;
    result->revision = ++*(uint64_t *)ctx;
}

static void bench_publish(void *ctx, uint64_t index)
{
    (void)ctx, (void)index;
}

static void *bench_hold(void *ctx, uint64_t *index)
{
    *index = 0;
    return ctx;
}

static void bench_serialise(void *ctx, void *held, struct buf *out)
{
    (void)ctx, (void)held;
    buf_add(out, "12345678", 8);
}

static void bench_unhold(void *ctx, void *held)
{
    (void)ctx, (void)held;
}

static bool bench_restore(void *ctx, struct arena *arena, uint64_t index, const void *data,
                          size_t size, const char **why)
{
    (void)ctx, (void)arena, (void)index, (void)data, (void)size, (void)why;
    return true;
}

static void on_done(struct log_proposal *proposal, const struct log_result *result)
{
    struct proposer *p = container_of(proposal, struct proposer, proposal);

    if (result->outcome != LOG_APPLIED)
        abort();
    MUTEX_GUARD(&p->lock);
    p->answered = true;
    p->answered_at = clock_mono();
    cond_signal(&p->done);
}

static void *propose_many(void *arg)
{
    struct proposer *p = arg;
    usec_t t = clock_mono();

    while (t < p->end) {
        usec_t after;

        p->id[1]++;
        p->answered = false;
        log_propose(p->log, &p->proposal);
        mutex_lock(&p->lock);
        while (!p->answered)
            cond_wait(&p->done, &p->lock);
        mutex_unlock(&p->lock);
        after = clock_mono();
        if (p->n < MAX_SAMPLES) {
            p->answers[p->n] = (float)(p->answered_at - t);
            p->samples[p->n++] = (float)(after - t);
        }
        t = after;
    }
    return NULL;
}

static int compare(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return x < y ? -1 : x > y;
}

/* All proposers' samples (those at 'offset' in each), sorted. */
static float *gather(const struct proposer *proposers, unsigned n, size_t offset, size_t *total)
{
    float *all = NULL;

    *total = 0;
    for (unsigned i = 0; i < n; i++) {
        const struct proposer *p = &proposers[i];

        all = xrealloc(all, (*total + p->n + 1) * sizeof *all);
        memcpy(all + *total, *(float *const *)((const char *)p + offset), p->n * sizeof *all);
        *total += p->n;
    }
    qsort(all, *total, sizeof *all, compare);
    return all;
}

static void report(const struct proposer *proposers, unsigned n, double seconds)
{
    size_t total;
    float *all = gather(proposers, n, offsetof(struct proposer, samples), &total);

    printf("log_%u_per_second %.0f\n", n, (double)total / seconds);
    printf("log_%u_p50_usec %.0f\n", n, (double)all[total / 2]);
    printf("log_%u_p99_usec %.0f\n", n, (double)all[total * 99 / 100]);
    free(all);
    all = gather(proposers, n, offsetof(struct proposer, answers), &total);
    printf("log_%u_answer_p50_usec %.0f\n", n, (double)all[total / 2]);
    free(all);
    fflush(stdout);
}

static void measure(struct log *log, unsigned n, double seconds)
{
    struct proposer *proposers = xcalloc(n, sizeof *proposers);
    usec_t end = clock_mono() + (usec_t)(seconds * 1e6);

    for (unsigned i = 0; i < n; i++) {
        struct proposer *p = &proposers[i];

        p->log = log;
        p->end = end;
        p->id[0] = i;
        p->samples = xmalloc(MAX_SAMPLES * sizeof(float));
        p->answers = xmalloc(MAX_SAMPLES * sizeof(float));
        p->proposal = (struct log_proposal){.data = p->id, .size = WRITE_SET, .done = on_done};
        mutex_init(&p->lock);
        cond_init(&p->done);
        thread_start(&p->thread, "proposer", propose_many, p);
    }
    for (unsigned i = 0; i < n; i++)
        thread_join(&proposers[i].thread);
    report(proposers, n, seconds);
    for (unsigned i = 0; i < n; i++) {
        free(proposers[i].samples);
        free(proposers[i].answers);
    }
    free(proposers);
}

int main(int argc, char **argv)
{
    double seconds = argc > 2 ? atof(argv[2]) : 5;
    uint64_t revision = 0;
    struct log_fsm fsm = {.ctx = &revision,
                          .apply = bench_apply,
                          .publish = bench_publish,
                          .hold = bench_hold,
                          .serialise = bench_serialise,
                          .unhold = bench_unhold,
                          .restore = bench_restore};
    struct arena arena = {0};
    struct error *e;
    struct log *log;
    char *dir, *command;

    if (argc < 2 || seconds <= 0) {
        fprintf(stderr, "usage: log-bench DIR [SECONDS]\n");
        return 2;
    }
    dir = xasprintf("%s/log-bench-XXXXXX", argv[1]);
    if (!mkdtemp(dir))
        return 1;
    e = log_raft_open(&arena, dir, NULL, &fsm, &log);
    if (e) {
        fprintf(stderr, "%s\n", error_line(&arena, e));
        return 1;
    }
    measure(log, 1, seconds);
    measure(log, 64, seconds);
    log_close(log);
    command = xasprintf("rm -rf '%s'", dir);
    if (system(command) != 0)
        return 1;
    free(command);
    free(dir);
    arena_release(&arena);
    return 0;
}
