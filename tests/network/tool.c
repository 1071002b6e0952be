/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tool.c -- network-tool: the network's parts for the programs of tests/network. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/network/check.h"

int main(int argc, char **argv)
{
    static const char *const words[] = {"plan", "apply", "undo", "refuse", "guard"};

    if (argc == 2 && strcmp(argv[1], "cases") == 0)
        return cases_main();
    if (argc == 4 && strcmp(argv[1], "random") == 0)
        return random_main(strtoull(argv[2], NULL, 10), atoi(argv[3]));
    if (argc == 2 && strcmp(argv[1], "read") == 0)
        return host_main(argc, argv);
    for (size_t i = 0; i < ARRAY_SIZE(words) && argc > 2; i++)
        if (strcmp(argv[1], words[i]) == 0)
            return host_main(argc, argv);
    fprintf(stderr, "usage: network-tool cases | random SEED ROUNDS | read | "
                    "plan|apply|undo|refuse WANTED [N] | guard MODE DEVICE MAC [ADDRESS]...\n");
    return 2;
}
