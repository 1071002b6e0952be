/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * deaf SECONDS -- lets nothing else run on the processor for a while, the kernel's threads
 * included: a guest with one processor that runs this as root answers nobody.  Says DEAF once it is
 * so.
 */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct sched_param first = {.sched_priority = sched_get_priority_max(SCHED_FIFO)};
    int limit = open("/proc/sys/kernel/sched_rt_runtime_us", O_WRONLY);
    int console = open("/dev/console", O_WRONLY);
    time_t end;

    /* The kernel leaves others a twentieth of the time, else. */
    if (argc < 2 || write(limit, "-1", 2) < 0 || sched_setscheduler(0, SCHED_FIFO, &first) < 0 ||
        write(console, "DEAF\n", 5) < 0) {
        perror("deaf");
        return 1;
    }
    end = time(NULL) + atoi(argv[1]);
    while (time(NULL) < end)
        ;
    return 0;
}
