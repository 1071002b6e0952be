/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * raft-yardstick.c -- what the disk and the bare library can do, against which the log engine is
 * measured.
 *
 *     raft-yardstick DIR [SECONDS [VOTERS]]
 *
 * In a directory of its own under DIR: pwrite and fdatasync of 4 kB one after the other, and a lone
 * voter of libraft with nothing around it that commits 1 and 64 entries of 1 kB at a time; the same
 * again with several voters, each in a thread of its own, over the library's plain TCP on the
 * loopback.  Prints "key value" lines; latencies in microseconds.
 */
#include <fcntl.h>
#include <pthread.h>
#include <raft.h>
#include <raft/uv.h>
#include <stdio.h>
#include <stdlib.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ENTRY_SIZE 1024
#define MAX_DEPTH 64
#define MAX_SAMPLES 4000000
#define MAX_VOTERS 9
#define FIRST_PORT 19170

struct samples {
    float *usec;
    size_t n;
};

struct yardstick;

struct client {
    struct raft_apply req;
    struct yardstick *y;
    double begin;
};

struct yardstick {
    uv_loop_t loop;
    uv_check_t check;
    struct raft raft;
    struct raft_io io;
    struct raft_fsm fsm;
    struct raft_uv_transport transport;
    struct client clients[MAX_DEPTH];
    struct client *idle[MAX_DEPTH]; /* to submit at the end of the turn */
    unsigned depth, n_idle, n_busy;
    double begin, end;
    struct samples samples;
    int *over; /* with others: set by the leader when it has measured */
    uv_timer_t timer;
    pthread_t thread;
};

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static void die(const char *what)
{
    fprintf(stderr, "raft-yardstick: %s\n", what);
    exit(1);
}

static int compare(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return x < y ? -1 : x > y;
}

static void add_sample(struct samples *s, double usec)
{
    if (s->n < MAX_SAMPLES)
        s->usec[s->n++] = (float)usec;
}

static void report(const char *name, struct samples *s, double elapsed)
{
    if (s->n == 0)
        die("nothing was measured");
    qsort(s->usec, s->n, sizeof s->usec[0], compare);
    printf("%s_per_second %.0f\n", name, (double)s->n / elapsed * 1e6);
    printf("%s_p50_usec %.0f\n", name, (double)s->usec[s->n / 2]);
    printf("%s_p99_usec %.0f\n", name, (double)s->usec[s->n * 99 / 100]);
    fflush(stdout);
    s->n = 0;
}

static void measure_fdatasync(const char *dir, double seconds, struct samples *s)
{
    static char block[4096];
    char path[4096];
    double begin = now(), end = begin + seconds * 1e6, t = begin;
    off_t at = 0;
    int fd;

    snprintf(path, sizeof path, "%s/plain", dir);
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || posix_fallocate(fd, 0, 8 << 20) != 0)
        die("the file could not be made");
    while (t < end) {
        double after;

        if (pwrite(fd, block, sizeof block, at) != (ssize_t)sizeof block || fdatasync(fd) != 0)
            die("the file could not be written");
        at = (at + (off_t)sizeof block) % (8 << 20);
        after = now();
        add_sample(s, after - t);
        t = after;
    }
    close(fd);
    unlink(path);
    report("fdatasync_4k", s, t - begin);
}

/* The lone voter: no transport, a database that does nothing. */

static int no_init(struct raft_uv_transport *t, raft_id id, const char *address)
{
    (void)t, (void)id, (void)address;
    return 0;
}

static int no_listen(struct raft_uv_transport *t, raft_uv_accept_cb cb)
{
    (void)t, (void)cb;
    return 0;
}

static int no_connect(struct raft_uv_transport *t, struct raft_uv_connect *req, raft_id id,
                      const char *address, raft_uv_connect_cb cb)
{
    (void)t, (void)req, (void)id, (void)address, (void)cb;
    return RAFT_NOCONNECTION;
}

static void no_close(struct raft_uv_transport *t, raft_uv_transport_close_cb cb)
{
    cb(t);
}

static int fsm_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
    (void)fsm, (void)buf;
    *result = NULL;
    return 0;
}

static int fsm_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
    (void)fsm;
    *n_bufs = 1;
    *bufs = raft_malloc(sizeof **bufs);
    (*bufs)->len = 8;
    (*bufs)->base = raft_calloc(1, 8);
    return 0;
}

static int fsm_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
    (void)fsm;
    raft_free(buf->base);
    return 0;
}

static void on_commit(struct raft_apply *req, int status, void *result)
{
    struct client *c = (struct client *)req;
    struct yardstick *y = c->y;

    (void)result;
    if (status)
        die("an entry was not committed");
    add_sample(&y->samples, now() - c->begin);
    y->n_busy--;
    y->idle[y->n_idle++] = c;
}

static void submit(struct yardstick *y, struct client *c)
{
    struct raft_buffer buf = {.base = raft_calloc(1, ENTRY_SIZE), .len = ENTRY_SIZE};

    c->begin = now();
    y->n_busy++;
    if (raft_apply(&y->raft, &c->req, &buf, 1, on_commit) != 0)
        die(raft_errmsg(&y->raft));
}

static void on_check(uv_check_t *check)
{
    struct yardstick *y = check->data;
    unsigned n = y->n_idle;

    if (y->over && __atomic_load_n(y->over, __ATOMIC_ACQUIRE) && y->n_busy == 0) {
        uv_stop(&y->loop);
        return;
    }
    if (y->depth == 0 || raft_state(&y->raft) != RAFT_LEADER || raft_last_applied(&y->raft) == 0)
        return;
    if (y->begin > 0 && now() >= y->end) {
        if (y->n_busy == 0 && y->over)
            __atomic_store_n(y->over, 1, __ATOMIC_RELEASE);
        if (y->n_busy == 0)
            uv_stop(&y->loop);
        return;
    }
    if (y->begin == 0) {
        y->begin = now();
        y->end += y->begin;
    }
    y->n_idle = 0;
    for (unsigned i = 0; i < n; i++)
        submit(y, y->idle[i]);
}

static void set_depth(struct yardstick *y, unsigned depth, double seconds)
{
    y->depth = depth;
    y->begin = 0;
    y->end = seconds * 1e6;
    for (y->n_idle = 0; y->n_idle < depth; y->n_idle++) {
        y->clients[y->n_idle].y = y;
        y->idle[y->n_idle] = &y->clients[y->n_idle];
    }
}

static void measure_raft(struct yardstick *y, const char *name, unsigned depth, double seconds)
{
    set_depth(y, depth, seconds);
    uv_run(&y->loop, UV_RUN_DEFAULT);
    report(name, &y->samples, now() - y->begin);
}

static void init_transport(struct yardstick *y, unsigned voters)
{
    y->transport.version = 1;
    if (voters > 1) {
        if (raft_uv_tcp_init(&y->transport, &y->loop) != 0)
            die(y->transport.errmsg);
        return;
    }
    y->transport.init = no_init;
    y->transport.listen = no_listen;
    y->transport.connect = no_connect;
    y->transport.close = no_close;
}

/* Voter 'id' of so many. */
static void start_raft(struct yardstick *y, const char *dir, unsigned id, unsigned voters)
{
    struct raft_configuration conf;
    char address[64];

    uv_loop_init(&y->loop);
    /* Before the library's own, since the one started last runs first: a commit is followed in the
     * same turn. */
    uv_check_init(&y->loop, &y->check);
    y->check.data = y;
    uv_check_start(&y->check, on_check);
    init_transport(y, voters);
    y->fsm = (struct raft_fsm){
        .version = 1, .apply = fsm_apply, .snapshot = fsm_snapshot, .restore = fsm_restore};
    if (raft_uv_init(&y->io, &y->loop, dir, &y->transport) != 0)
        die(y->io.errmsg);
    snprintf(address, sizeof address, "127.0.0.1:%u", FIRST_PORT + id);
    if (raft_init(&y->raft, &y->io, &y->fsm, id, address) != 0)
        die(raft_errmsg(&y->raft));
    raft_configuration_init(&conf);
    for (unsigned i = 1; i <= voters; i++) {
        snprintf(address, sizeof address, "127.0.0.1:%u", FIRST_PORT + i);
        raft_configuration_add(&conf, i, address, RAFT_VOTER);
    }
    raft_set_snapshot_threshold(&y->raft, 8192);
    raft_set_snapshot_trailing(&y->raft, 1024);
    if (raft_bootstrap(&y->raft, &conf) != 0 || raft_start(&y->raft) != 0)
        die(raft_errmsg(&y->raft));
    raft_configuration_close(&conf);
}

/* Several voters. */

static void on_timer(uv_timer_t *timer)
{
    (void)timer; /* the check follows */
}

static void *run_voter(void *arg)
{
    struct yardstick *y = arg;

    uv_run(&y->loop, UV_RUN_DEFAULT);
    return NULL;
}

static void measure_voters(const char *dir, const char *name, unsigned voters, unsigned depth,
                           double seconds, struct samples *samples)
{
    struct yardstick *all = calloc(voters, sizeof *all);
    int over = 0;

    for (unsigned i = 0; i < voters; i++) {
        char own[3100];

        snprintf(own, sizeof own, "%s/voter-%u", dir, i + 1);
        mkdir(own, 0700);
        all[i].samples.usec = malloc(MAX_SAMPLES * sizeof(float));
        all[i].over = &over;
        start_raft(&all[i], own, i + 1, voters);
        set_depth(&all[i], depth, seconds);
        uv_timer_init(&all[i].loop, &all[i].timer);
        uv_timer_start(&all[i].timer, on_timer, 50, 50);
    }
    for (unsigned i = 0; i < voters; i++)
        pthread_create(&all[i].thread, NULL, run_voter, &all[i]);
    for (unsigned i = 0; i < voters; i++)
        pthread_join(all[i].thread, NULL);
    for (unsigned i = 0; i < voters; i++)
        if (all[i].samples.n) {
            memcpy(samples->usec, all[i].samples.usec, all[i].samples.n * sizeof(float));
            samples->n = all[i].samples.n;
        }
    report(name, samples, seconds * 1e6);
    /* Their sockets stay until the end of the program. */
    for (unsigned i = 0; i < voters; i++)
        free(all[i].samples.usec);
}

int main(int argc, char **argv)
{
    unsigned voters = argc > 3 ? (unsigned)atoi(argv[3]) : 1;
    double seconds = argc > 2 ? atof(argv[2]) : 5;
    struct yardstick *y = calloc(1, sizeof *y);
    char dir[3000], command[3100], name[64];

    if (argc < 2 || strlen(argv[1]) > 2000 || seconds <= 0 || voters == 0 || voters > MAX_VOTERS) {
        fprintf(stderr, "usage: raft-yardstick DIR [SECONDS [VOTERS]]\n");
        return 2;
    }
    snprintf(dir, sizeof dir, "%s/yardstick-XXXXXX", argv[1]);
    y->samples.usec = malloc(MAX_SAMPLES * sizeof(float));
    if (!mkdtemp(dir))
        die("the directory could not be made");
    measure_fdatasync(dir, seconds, &y->samples);
    signal(SIGPIPE, SIG_IGN);
    start_raft(y, dir, 1, 1);
    measure_raft(y, "raft_1", 1, seconds);
    measure_raft(y, "raft_64", 64, seconds);
    if (voters > 1) {
        snprintf(name, sizeof name, "raft_%u_voters_64", voters);
        measure_voters(dir, name, voters, 64, seconds, &y->samples);
    }
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command) == 0 ? 0 : 1;
}
