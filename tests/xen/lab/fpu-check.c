/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fpu-check.c -- does an emulated host keep the registers of its programs?  fpu-check SECONDS
 *
 * Some processes hold a value in all XMM registers while others run, and see whether it is still
 * there.  Where it is not, libraries fail at random places, and no test of the host means anything.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROCESSES 3

/* True if all registers have kept the value. */
static int keeps(uint64_t value, long turns)
{
    uint64_t in[2] = {value, ~value}, out[2][2];

    __asm__ volatile("movdqu (%1), %%xmm0\n movdqa %%xmm0, %%xmm7\n"
                     "1: dec %0\n jnz 1b\n"
                     "movdqu %%xmm0, (%2)\n movdqu %%xmm7, 16(%2)\n"
                     : "+r"(turns)
                     : "r"(in), "r"(out)
                     : "memory", "cc", "xmm0", "xmm7");
    return memcmp(out[0], in, sizeof in) == 0 && memcmp(out[1], in, sizeof in) == 0;
}

static int watch(int number, int seconds)
{
    time_t end = time(NULL) + seconds;
    int lost = 0;

    for (uint64_t i = 0; time(NULL) < end; i++) {
        lost += !keeps((i << 8) + (uint64_t)number, 3000 + random() % 2000000);
        usleep(1000);
    }
    return lost;
}

int main(int argc, char **argv)
{
    int status, bad = 0;

    if (argc != 2)
        return 2;
    for (int i = 1; i <= PROCESSES; i++)
        if (fork() == 0)
            _exit(watch(i, atoi(argv[1])) != 0);
    while (wait(&status) > 0)
        bad += status != 0;
    printf("%d of %d processes lost registers\n", bad, PROCESSES);
    return bad != 0;
}
