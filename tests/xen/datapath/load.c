/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * load.c -- reads or writes a disk as fast as it goes, around the page cache, and says how fast
 * that was.
 *
 *     load PATH seqread|seqwrite|randread|randwrite BLOCK DEPTH SECONDS
 *
 * DEPTH threads with one request each.  Prints MiB/s, requests a second, and the mean, median, 99th
 * percentile and longest time of a request in microseconds.  Stands alone, so that a guest of a few
 * megabytes can run it.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TIMES_MAX 200000

struct worker {
    pthread_t thread;
    const char *path;
    bool write, random;
    size_t block;
    int64_t size, at, end; /* its part, for sequential work */
    uint64_t seed, until;  /* microseconds */
    uint32_t *times;
    size_t n;
    int failed;
};

static uint64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static uint64_t next(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

static int64_t place(struct worker *w)
{
    int64_t at = w->at;

    if (w->random)
        return (int64_t)(next(&w->seed) % (uint64_t)(w->size / (int64_t)w->block)) *
               (int64_t)w->block;
    w->at += (int64_t)w->block;
    if (w->at + (int64_t)w->block > w->end)
        w->at -= (w->end - (int64_t)w->block) / (int64_t)w->block * (int64_t)w->block;
    return at % w->size;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    int fd = open(w->path, (w->write ? O_RDWR : O_RDONLY) | O_DIRECT | O_CLOEXEC);
    char *buf = aligned_alloc(4096, w->block);

    for (size_t i = 0; i < w->block; i++)
        buf[i] = (char)next(&w->seed);
    while (fd >= 0 && w->n < TIMES_MAX) {
        uint64_t began = now();
        int64_t at = place(w);
        ssize_t done;

        if (began >= w->until)
            break;
        memcpy(buf, &began, sizeof began);
        done = w->write ? pwrite(fd, buf, w->block, at) : pread(fd, buf, w->block, at);
        if (done != (ssize_t)w->block) {
            w->failed = done < 0 ? errno : EIO;
            break;
        }
        w->times[w->n++] = (uint32_t)(now() - began);
    }
    if (fd < 0)
        w->failed = errno;
    else if (w->write && fsync(fd) < 0)
        w->failed = errno;
    free(buf);
    return NULL;
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static void report(const char *what, size_t block, int depth, struct worker *w, uint64_t took)
{
    size_t n = 0;
    double sum = 0;
    uint32_t *all;

    for (int i = 0; i < depth; i++)
        n += w[i].n;
    all = malloc((n + 1) * sizeof *all);
    n = 0;
    for (int i = 0; i < depth; i++)
        for (size_t k = 0; k < w[i].n; k++)
            sum += all[n++] = w[i].times[k];
    qsort(all, n, sizeof *all, by_size);
    printf("LOAD %s block=%zu depth=%d MiB/s=%.1f iops=%.0f mean=%.0f p50=%u p99=%u max=%u\n", what,
           block, depth, (double)n * (double)block / 1048576.0 / ((double)took / 1e6),
           (double)n / ((double)took / 1e6), n ? sum / (double)n : 0, n ? all[n / 2] : 0,
           n ? all[n * 99 / 100] : 0, n ? all[n - 1] : 0);
    free(all);
}

int main(int argc, char **argv)
{
    int depth = argc == 6 ? atoi(argv[4]) : 0, fd, failed = 0;
    struct worker w[64] = {0};
    uint64_t began;
    int64_t size;

    if (depth < 1 || depth > 64 || (fd = open(argv[1], O_RDONLY)) < 0) {
        fprintf(stderr, "load PATH seqread|seqwrite|randread|randwrite BLOCK DEPTH SECONDS\n");
        return 2;
    }
    size = lseek(fd, 0, SEEK_END);
    close(fd);
    began = now();
    for (int i = 0; i < depth; i++) {
        w[i] = (struct worker){.path = argv[1],
                               .write = strstr(argv[2], "write") != NULL,
                               .random = strstr(argv[2], "rand") != NULL,
                               .block = (size_t)atoll(argv[3]),
                               .size = size,
                               .at = size / depth * i / 1048576 * 1048576,
                               .end = size / depth * (i + 1) / 1048576 * 1048576,
                               .seed = began * 2654435761u + (uint64_t)i + 1,
                               .until = began + (uint64_t)atoll(argv[5]) * 1000000,
                               .times = calloc(TIMES_MAX, sizeof(uint32_t))};
        pthread_create(&w[i].thread, NULL, work, &w[i]);
    }
    for (int i = 0; i < depth; i++) {
        pthread_join(w[i].thread, NULL);
        failed = failed ? failed : w[i].failed;
    }
    report(argv[2], (size_t)atoll(argv[3]), depth, w, now() - began);
    if (failed)
        printf("LOAD failed: %s\n", strerror(failed));
    return failed != 0;
}
