/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pool-log.c -- the log between several daemons' worth of members, against bare libraft.
 *
 *     pool-log DIR [SECONDS [VOTERS]]
 *
 * In one process over the loopback, under DIR: durable proposals a second from 64 threads through
 * the leader and through a follower, and from one; how long an idle pool's follower takes to learn
 * of a commit; what idling costs; how long nothing can be written when the leader is cut off.  Then
 * raft-yardstick (beside this program) measures bare libraft with as many voters, one write-set in
 * each entry, and a lone voter, whose latency stands beside that of a log that is alone.  Prints
 * "key value" lines, the ratios last; latencies in microseconds.
 */
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "pool/peer/peer.h"
#include "xapid/db/log.h"

#define WRITE_SET 1000
#define MAX_SAMPLES 1000000
#define MAX_VOTERS 9
#define ROUNDS 3

struct member {
    struct peers *peers;
    struct log *log;
    char *address;
    uint64_t id, revision;
    usec_t applied_at;
};

struct pool {
    char *dir;
    unsigned n;
    struct member members[MAX_VOTERS];
};

/* A database that counts. */

static void bench_apply(void *ctx, struct arena *arena, uint64_t index, const void *data,
                        size_t size, struct log_result *result)
{
    struct member *m = ctx;

    (void)arena, (void)index, (void)data, (void)size;
    result->revision = ++m->revision;
}

static void bench_publish(void *ctx, uint64_t index)
{
    struct member *m = ctx;

    (void)index;
    __atomic_store_n(&m->applied_at, clock_mono(), __ATOMIC_RELEASE);
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

static void die(const char *what)
{
    fprintf(stderr, "pool-log: %s\n", what);
    exit(1);
}

/* The pool. */

static struct log_status status_of(struct member *m)
{
    struct log_status s;

    log_status(m->log, &s);
    return s;
}

static void open_member(struct pool *p, unsigned i, bool with_peers)
{
    struct member *m = &p->members[i];
    struct log_fsm fsm = {.ctx = m,
                          .apply = bench_apply,
                          .publish = bench_publish,
                          .hold = bench_hold,
                          .serialise = bench_serialise,
                          .unhold = bench_unhold,
                          .restore = bench_restore};
    char *dir = xasprintf("%s/%u", p->dir, i), *log_dir = xasprintf("%s/log", dir);
    struct peers_options po = {.dir = dir, .listen_address = "127.0.0.1"};
    struct log_raft_options lo = {.joining = i > 0};
    struct arena arena = {0};
    struct error *e;

    mkdir(dir, 0700);
    if (with_peers) {
        e = peers_open(&arena, &po, &m->peers);
        if (e)
            die(error_line(&arena, e));
        m->address =
            xasprintf("127.0.0.1:%d/%s", peers_port(m->peers), peers_fingerprint(m->peers));
        lo.peers = m->peers;
        lo.address = m->address;
    }
    e = log_raft_open(&arena, log_dir, &lo, &fsm, &m->log);
    if (e)
        die(error_line(&arena, e));
    while (status_of(m).id == 0)
        clock_sleep(USEC_PER_MSEC);
    m->id = status_of(m).id;
    free(dir);
    free(log_dir);
    arena_release(&arena);
}

struct change {
    struct log_change change;
    int state; /* 1: done, 2: failed */
};

static void on_change(struct log_change *c, const struct error *e)
{
    __atomic_store_n(&container_of(c, struct change, change)->state, e ? 2 : 1, __ATOMIC_RELEASE);
}

static void change(struct pool *p, struct log_change wish)
{
    for (;;) {
        struct change c = {.change = wish};

        c.change.done = on_change;
        p->members[0].log->engine->change(p->members[0].log, &c.change);
        while (!__atomic_load_n(&c.state, __ATOMIC_ACQUIRE))
            clock_sleep(USEC_PER_MSEC);
        if (c.state == 1)
            return;
        clock_sleep(10 * USEC_PER_MSEC);
    }
}

static void open_pool(struct pool *p, unsigned n)
{
    struct peer first;

    p->n = n;
    open_member(p, 0, true);
    first = (struct peer){p->members[0].id, p->members[0].address};
    for (unsigned i = 1; i < n; i++) {
        struct member *m = &p->members[i];

        open_member(p, i, true);
        peers_allow(m->peers, 1, &first);
        change(p, (struct log_change){.what = LOG_ADD, .id = m->id, .address = m->address});
        change(p, (struct log_change){.what = LOG_ASSIGN, .id = m->id, .role = LOG_STANDBY});
        change(p, (struct log_change){.what = LOG_ASSIGN, .id = m->id, .role = LOG_VOTER});
    }
}

static void close_pool(struct pool *p)
{
    for (unsigned i = 0; i < p->n; i++) {
        log_close(p->members[i].log);
        peers_close(p->members[i].peers);
        free(p->members[i].address);
    }
}

static struct member *leader_of(struct pool *p)
{
    for (;;) {
        for (unsigned i = 0; i < p->n; i++)
            if (status_of(&p->members[i]).leads)
                return &p->members[i];
        clock_sleep(USEC_PER_MSEC / 10);
    }
}

/* Proposers. */

struct proposer {
    struct thread thread;
    struct log *log;
    usec_t end;
    uint64_t id[WRITE_SET / 8];
    struct log_proposal proposal;
    struct mutex lock;
    struct cond done;
    bool answered;
    enum log_outcome outcome;
    float *samples;
    size_t n;
};

static void on_done(struct log_proposal *proposal, const struct log_result *result)
{
    struct proposer *p = container_of(proposal, struct proposer, proposal);

    MUTEX_GUARD(&p->lock);
    p->outcome = result->outcome;
    p->answered = true;
    cond_signal(&p->done);
}

static void proposer_init(struct proposer *p, struct log *log, uint64_t origin)
{
    p->log = log;
    p->id[0] = origin;
    p->proposal = (struct log_proposal){.data = p->id, .size = WRITE_SET, .done = on_done};
    mutex_init(&p->lock);
    cond_init(&p->done);
}

static bool propose(struct proposer *p)
{
    p->id[1]++;
    p->answered = false;
    log_propose(p->log, &p->proposal);
    MUTEX_GUARD(&p->lock);
    while (!p->answered)
        cond_wait(&p->done, &p->lock);
    return p->outcome == LOG_APPLIED;
}

static void *propose_many(void *arg)
{
    struct proposer *p = arg;
    usec_t t = clock_mono();

    while (t < p->end) {
        usec_t after;
        bool good = propose(p);

        after = clock_mono();
        if (good && p->n < MAX_SAMPLES)
            p->samples[p->n++] = (float)(after - t);
        t = after;
    }
    return NULL;
}

static int compare(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return x < y ? -1 : x > y;
}

struct figures {
    double per_second, p50, p99;
};

static struct figures measure(struct log *log, unsigned n, double seconds)
{
    struct proposer *all = xcalloc(n, sizeof *all);
    usec_t end = clock_mono() + (usec_t)(seconds * 1e6);
    float *samples;
    size_t total = 0;
    struct figures f;

    for (unsigned i = 0; i < n; i++) {
        proposer_init(&all[i], log, random_u64());
        all[i].end = end;
        all[i].samples = xmalloc(MAX_SAMPLES * sizeof(float));
        thread_start(&all[i].thread, "proposer", propose_many, &all[i]);
    }
    samples = xmalloc(((size_t)n * MAX_SAMPLES + 1) * sizeof *samples);
    for (unsigned i = 0; i < n; i++) {
        thread_join(&all[i].thread);
        memcpy(samples + total, all[i].samples, all[i].n * sizeof(float));
        total += all[i].n;
        free(all[i].samples);
    }
    qsort(samples, total, sizeof *samples, compare);
    f = (struct figures){(double)total / seconds, total ? (double)samples[total / 2] : 0,
                         total ? (double)samples[total * 99 / 100] : 0};
    free(samples);
    free(all);
    return f;
}

static void print(const char *name, struct figures f)
{
    printf("%s_per_second %.0f\n%s_p50_usec %.0f\n%s_p99_usec %.0f\n", name, f.per_second, name,
           f.p50, name, f.p99);
    fflush(stdout);
}

/* How long after the proposer's answer a follower has applied the same, where nothing else goes on.
 */
static void measure_feed(struct pool *p, double seconds)
{
    struct member *leader = leader_of(p), *follower = &p->members[leader == &p->members[0] ? 1 : 0];
    struct proposer proposer = {0};
    usec_t end = clock_mono() + (usec_t)(seconds * 1e6);
    float samples[10000];
    size_t n = 0;

    proposer_init(&proposer, leader->log, random_u64());
    while (clock_mono() < end && n < 10000) {
        uint64_t revision;
        usec_t answered;

        clock_sleep(20 * USEC_PER_MSEC);
        if (!propose(&proposer))
            continue;
        answered = clock_mono();
        revision = leader->revision;
        while (__atomic_load_n(&follower->revision, __ATOMIC_ACQUIRE) < revision)
            clock_sleep(20);
        samples[n++] = (float)MAX(follower->applied_at - answered, 0);
    }
    if (n == 0)
        return;
    qsort(samples, n, sizeof samples[0], compare);
    printf("idle_feed_p50_usec %.0f\nidle_feed_p99_usec %.0f\n", (double)samples[n / 2],
           (double)samples[n * 99 / 100]);
}

static double cpu_seconds(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void measure_idle(struct pool *p, double seconds)
{
    double before = cpu_seconds();

    clock_sleep((usec_t)(seconds * 1e6));
    printf("idle_cpu_percent_of_all_members %.2f\n", (cpu_seconds() - before) / seconds * 100);
    printf("idle_cpu_percent_per_member %.2f\n", (cpu_seconds() - before) / seconds * 100 / p->n);
}

/* Cuts the leader off, without a word. */
static void measure_gap(struct pool *p)
{
    struct proposer proposer = {0};
    struct member *leader = leader_of(p), *other = &p->members[leader == &p->members[0] ? 1 : 0];
    usec_t begin = clock_mono();

    proposer_init(&proposer, other->log, random_u64());
    peers_allow(leader->peers, 0, NULL);
    while (status_of(other).leader == leader->id && clock_mono() - begin < 20 * USEC_PER_SEC)
        clock_sleep(USEC_PER_MSEC);
    while (!propose(&proposer) && clock_mono() - begin < 20 * USEC_PER_SEC)
        ;
    printf("gap_after_leader_is_cut_msec %.0f\n", (double)(clock_mono() - begin) / 1000);
    fflush(stdout);
}

/* The yardstick. */

struct yard {
    double lone_p50, voters_per_second;
};

static struct yard run_yardstick(const char *dir, double seconds, unsigned voters)
{
    char self[4096], line[256], key[128], wanted[64], *command;
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    struct yard y = {0};
    double value;
    FILE *f;

    self[n > 0 ? n : 0] = '\0';
    command = xasprintf("'%s/raft-yardstick' '%s' %g %u", dirname(self), dir, seconds, voters);
    snprintf(wanted, sizeof wanted, "raft_%u_voters_64_per_second", voters);
    f = popen(command, "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "%127s %lf", key, &value) == 2) {
            if (strcmp(key, "raft_1_p50_usec") == 0)
                y.lone_p50 = value;
            if (strcmp(key, wanted) == 0)
                y.voters_per_second = value;
        }
    if (!f || pclose(f) != 0 || y.lone_p50 == 0 || y.voters_per_second == 0)
        die("raft-yardstick failed");
    free(command);
    return y;
}

static double median(double v[ROUNDS])
{
    float f[ROUNDS];

    for (int i = 0; i < ROUNDS; i++)
        f[i] = (float)v[i];
    qsort(f, ROUNDS, sizeof f[0], compare);
    return (double)f[ROUNDS / 2];
}

/* Rounds of both in turns, since disks and machines have moods. */
static void measure_ratios(const char *dir, struct pool *p, struct pool *lone, double seconds)
{
    double throughput[ROUNDS], latency[ROUNDS];

    for (int i = 0; i < ROUNDS; i++) {
        struct yard y = run_yardstick(dir, seconds, p->n);
        struct figures own = measure(leader_of(p)->log, 64, seconds),
                       alone = measure(lone->members[0].log, 1, seconds);

        throughput[i] = own.per_second / y.voters_per_second;
        latency[i] = alone.p50 / y.lone_p50;
        printf("round_%d bare_%u_voters %.0f/s ours %.0f/s bare_lone %.0f usec ours %.0f usec\n",
               i + 1, p->n, y.voters_per_second, own.per_second, y.lone_p50, alone.p50);
        fflush(stdout);
    }
    printf("throughput_of_bare_percent %.0f\n", 100 * median(throughput));
    printf("lone_latency_of_bare_percent %.0f\n", 100 * median(latency));
}

int main(int argc, char **argv)
{
    double seconds = argc > 2 ? atof(argv[2]) : 3;
    unsigned voters = argc > 3 ? (unsigned)atoi(argv[3]) : 3;
    struct pool pool = {0}, lone = {.n = 1};
    struct member *leader, *follower;
    char *command;

    if (argc < 2 || seconds <= 0 || voters < 2 || voters > MAX_VOTERS) {
        fprintf(stderr, "usage: pool-log DIR [SECONDS [VOTERS]]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    pool.dir = xasprintf("%s/pool-log-XXXXXX", argv[1]);
    lone.dir = xasprintf("%s/lone-log-XXXXXX", argv[1]);
    if (!mkdtemp(pool.dir) || !mkdtemp(lone.dir))
        return 1;
    open_pool(&pool, voters);
    open_member(&lone, 0, false);
    leader = leader_of(&pool);
    follower = &pool.members[leader == &pool.members[0] ? 1 : 0];
    print("leader_64", measure(leader->log, 64, seconds));
    print("follower_64", measure(follower->log, 64, seconds));
    print("leader_1", measure(leader->log, 1, seconds));
    print("follower_1", measure(follower->log, 1, seconds));
    measure_feed(&pool, seconds);
    measure_idle(&pool, 2 * seconds);
    measure_ratios(argv[1], &pool, &lone, seconds);
    measure_gap(&pool);
    close_pool(&pool);
    close_pool(&lone);
    command = xasprintf("rm -rf '%s' '%s'", pool.dir, lone.dir);
    return system(command) == 0 ? 0 : 1;
}
