/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * conformance.c -- what sr.h promises, tried on the driver that is named.
 *
 * usage: storage-conformance DRIVER [KEY=VALUE]...
 *
 * DRIVER is an SR.type, or "file-apart": type file with each call in a process of its own.  After
 * it may come "+slow" (each call is late), "+failing" (each fails once, and is made again), "+lost"
 * (each is done, but fails, and is made again) or "+lying" (each is said to be done and is not, and
 * is made again).  KEY=VALUE are the device_config; without any it is a folder of its own.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libxapi/value/value.h"
#include "storage-repos/apart/apart.h"
#include "tests/storage/again.h"
#include "tests/unit/storage/lab.h"

static const struct {
    const char *name;
    enum sr_fault_kind kind;
} filters[] = {{"slow", SR_FAULT_SLOW},
               {"failing", SR_FAULT_FAIL},
               {"lost", SR_FAULT_LOST},
               {"lying", SR_FAULT_LIE}};

static const struct sr_driver *find_driver(const char *name, const struct strmap *config)
{
    if (strcmp(name, "file-apart") == 0)
        return &sr_file_apart;
    return sr_driver_for(name, config);
}

static bool find_filter(const char *name, enum sr_fault_kind *out)
{
    for (size_t i = 0; i < ARRAY_SIZE(filters); i++) {
        if (strcmp(filters[i].name, name) == 0) {
            *out = filters[i].kind;
            return true;
        }
    }
    return false;
}

static int run(const char *group, const struct lab_kind *kind)
{
    return kind->driver->features & SR_F_VDI_CREATE ? conformance_run(group, kind)
                                                    : conformance_run_read_only(group, kind);
}

static int run_behind(const char *group, enum sr_fault_kind fault, struct lab_kind kind)
{
    struct sr_again again;
    int failed;

    sr_again_init(&again, kind.driver, fault);
    kind.driver = &again.driver;
    failed = run(group, &kind);
    sr_again_release(&again);
    return failed;
}

static struct strmap read_config(struct arena *arena, char *const *words)
{
    struct strmap config = {0};

    for (; *words; words++) {
        char *value = strchr(*words, '=');

        if (value)
            config = strmap_with(arena, config,
                                 arena_strndup(arena, *words, (size_t)(value - *words)), value + 1);
    }
    return config;
}

static int usage(const char *what)
{
    fprintf(stderr, "%s\nusage: storage-conformance DRIVER[+FILTER] [KEY=VALUE]...\n", what);
    return 2;
}

int main(int argc, char **argv)
{
    struct arena arena = {0};
    struct lab_kind kind = {.driver = NULL};
    enum sr_fault_kind fault;
    char *name, *filter;
    int failed;

    if (argc < 2)
        return usage("which driver?");
    kind.config = read_config(&arena, argv + 2);
    name = arena_strdup(&arena, argv[1]);
    filter = strchr(name, '+');
    if (filter)
        *filter++ = '\0';
    kind.driver = find_driver(name, &kind.config);
    if (!kind.driver)
        return usage("there is no such driver");
    if (filter && !find_filter(filter, &fault))
        return usage("there is no such filter");
    failed = filter ? run_behind(argv[1], fault, kind) : run(argv[1], &kind);
    arena_release(&arena);
    return failed ? 1 : 0;
}
