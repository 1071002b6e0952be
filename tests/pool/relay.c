/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * relay.c -- a wire that is slow and loses: two TAP devices in two network namespaces, and between
 * them a queue for each direction.
 *
 *     pool-relay MEMBER-NETNS MEMBER-DEVICE HUB-NETNS HUB-DEVICE SEED
 *
 * Says "ready" once both devices exist.  Each line of its standard input, "out|in DELAY JITTER
 * LOSS", sets one direction ("out": from the member): microseconds, microseconds, millionths.  The
 * order of frames is kept.  Ends with its input.  Kernels without netem have nothing else for this.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#define FRAME_MAX 2048
#define QUEUE_MAX 8192

struct frame {
    uint64_t due; /* microseconds */
    size_t size;
    char data[FRAME_MAX];
};

/* One direction: a ring, in the order of arrival and of leaving. */
struct wire {
    int from, to;
    uint64_t delay, jitter, loss;
    struct frame *ring;
    unsigned first, n;
    uint64_t last_due;
};

static uint64_t random_state;

static uint64_t next_random(void)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static uint64_t now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void die(const char *what)
{
    fprintf(stderr, "pool-relay: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int tap_in(const char *netns, const char *device)
{
    struct ifreq ifr = {0};
    char path[256];
    int ns, fd;

    snprintf(path, sizeof path, "/run/netns/%s", netns);
    ns = open(path, O_RDONLY | O_CLOEXEC);
    if (ns < 0 || setns(ns, CLONE_NEWNET) != 0)
        die(path);
    close(ns);
    fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        die("/dev/net/tun");
    ifr.ifr_flags = IFF_TAP | IFF_NO_PI;
    snprintf(ifr.ifr_name, sizeof ifr.ifr_name, "%s", device);
    if (ioctl(fd, TUNSETIFF, &ifr) != 0)
        die(device);
    return fd;
}

static void take(struct wire *w)
{
    for (;;) {
        struct frame *f = &w->ring[(w->first + w->n) % QUEUE_MAX];
        char spill[FRAME_MAX];
        ssize_t size = read(w->from, w->n < QUEUE_MAX ? f->data : spill, FRAME_MAX);
        uint64_t due = now() + w->delay;

        if (size <= 0)
            return;
        if (w->n == QUEUE_MAX || next_random() % 1000000 < w->loss)
            continue;
        due += w->jitter ? next_random() % w->jitter : 0;
        f->due = w->last_due = due > w->last_due ? due : w->last_due;
        f->size = (size_t)size;
        w->n++;
    }
}

/* Sends what is due; returns when the next one is, UINT64_MAX if none waits. */
static uint64_t give(struct wire *w)
{
    while (w->n) {
        struct frame *f = &w->ring[w->first];

        if (f->due > now())
            return f->due;
        if (write(w->to, f->data, f->size) < 0 && errno == EAGAIN)
            return now() + 1000;
        w->first = (w->first + 1) % QUEUE_MAX;
        w->n--;
    }
    return UINT64_MAX;
}

static void command(struct wire *out, struct wire *in)
{
    char line[256], direction[8];
    unsigned long long delay, jitter, loss;
    struct wire *w;

    if (!fgets(line, sizeof line, stdin))
        exit(0);
    if (sscanf(line, "%7s %llu %llu %llu", direction, &delay, &jitter, &loss) != 4)
        return;
    w = strcmp(direction, "out") == 0 ? out : in;
    w->delay = delay;
    w->jitter = jitter;
    w->loss = loss;
    w->last_due = 0;
}

static void run(struct wire *out, struct wire *in)
{
    struct pollfd fds[3] = {{.fd = out->from, .events = POLLIN},
                            {.fd = in->from, .events = POLLIN},
                            {.fd = STDIN_FILENO, .events = POLLIN}};

    for (;;) {
        uint64_t a = give(out), b = give(in), next = a < b ? a : b, t = now();
        uint64_t wait = next > t ? next - t : 0;
        struct timespec ts = {.tv_sec = (time_t)(wait / 1000000),
                              .tv_nsec = (long)(wait % 1000000) * 1000};

        if (ppoll(fds, 3, next == UINT64_MAX ? NULL : &ts, NULL) < 0 && errno != EINTR)
            die("poll");
        if (fds[2].revents)
            command(out, in);
        take(out);
        take(in);
    }
}

int main(int argc, char **argv)
{
    struct wire out = {0}, in = {0};

    if (argc != 6) {
        fprintf(stderr, "usage: pool-relay MEMBER-NETNS MEMBER-DEVICE HUB-NETNS HUB-DEVICE SEED\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setvbuf(stdin, NULL, _IONBF, 0); /* a line at a time, so that poll tells of each */
    random_state = strtoull(argv[5], NULL, 10);
    out.from = in.to = tap_in(argv[1], argv[2]);
    out.to = in.from = tap_in(argv[3], argv[4]);
    out.ring = malloc(QUEUE_MAX * sizeof *out.ring);
    in.ring = malloc(QUEUE_MAX * sizeof *in.ring);
    if (!out.ring || !in.ring)
        die("memory");
    printf("ready\n");
    fflush(stdout);
    run(&out, &in);
}
