/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * writer.c -- a guest whose writes tell the time: numbered blocks, one after the other, each
 * durable before the next; and the judgement of what a disk holds of them.
 *
 *     writer write PATH [FIRST]     writes until it fails; says every second what is durable
 *     writer check PATH             whether the disk is a moment of such a life, and which
 *
 * A moment: the last SLOTS numbers up to the newest, and no others, are there, each block whole.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096
#define SLOTS 1024

struct block {
    uint64_t number, check;
    char rest[BLOCK - 16];
};

static uint64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void fill(struct block *b, uint64_t number)
{
    b->number = number;
    b->check = (number + 1) * 0x9e3779b97f4a7c15u;
    memset(b->rest, (int)(number & 0xff), sizeof b->rest);
}

static int run_write(const char *path, uint64_t first)
{
    int fd = open(path, O_RDWR | O_DIRECT);
    struct block *b = aligned_alloc(BLOCK, BLOCK);
    uint64_t said = now(), last = said, longest = 0;

    for (uint64_t i = first; fd >= 0; i++) {
        fill(b, i);
        if (pwrite(fd, b, BLOCK, (off_t)(i % SLOTS) * BLOCK) != BLOCK || fsync(fd) < 0)
            break;
        longest = now() - last > longest ? now() - last : longest;
        last = now();
        if (last - said < 1000000)
            continue;
        printf("DURABLE %llu longest=%lluus\n", (unsigned long long)i, (unsigned long long)longest);
        fflush(stdout);
        longest = 0;
        said = now();
    }
    printf("FAILED after %lluus: %s\n", (unsigned long long)(now() - last), strerror(errno));
    return 1;
}

static int run_check(const char *path)
{
    int fd = open(path, O_RDONLY);
    static struct block at[SLOTS];
    struct block whole;
    uint64_t newest = 0;

    for (int i = 0; i < SLOTS; i++) {
        if (pread(fd, &at[i], BLOCK, (off_t)i * BLOCK) != BLOCK) {
            printf("CHECK unreadable: %s\n", strerror(errno));
            return 1;
        }
        newest = at[i].number > newest ? at[i].number : newest;
    }
    for (uint64_t i = 0; i < SLOTS; i++) {
        uint64_t want = newest - (newest % SLOTS + SLOTS - i) % SLOTS;

        fill(&whole, want);
        if (want > newest || want == 0)
            memset(&whole, 0, sizeof whole);
        if (memcmp(&whole, &at[i], BLOCK) != 0) {
            printf(
                "CHECK no moment: slot %llu holds %llu in the place of %llu, the newest is %llu\n",
                (unsigned long long)i, (unsigned long long)at[i].number, (unsigned long long)want,
                (unsigned long long)newest);
            return 1;
        }
    }
    printf("CHECK moment %llu\n", (unsigned long long)newest);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc >= 3 && strcmp(argv[1], "write") == 0)
        return run_write(argv[2], argc > 3 ? strtoull(argv[3], NULL, 10) : 1);
    if (argc == 3 && strcmp(argv[1], "check") == 0)
        return run_check(argv[2]);
    fprintf(stderr, "writer write|check PATH [FIRST]\n");
    return 2;
}
