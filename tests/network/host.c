/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * host.c -- the real kernel, in the network namespace of the caller.
 *
 *     network-tool read                     the state, as text
 *     network-tool plan WANTED              the steps to what the file wants
 *     network-tool apply WANTED [N]         does them; with a number, only the first N of them, as
 * a daemon that dies network-tool undo WANTED              does them and takes them back
 *     network-tool refuse WANTED N          does them, but the N-th fails
 *     network-tool guard open|locked|shut|forget DEVICE MAC [ADDRESS]...
 *
 * Paths are taken from NET_RESOLV, NET_RUN and NET_OVSDB; with NET_OVS it is Open vSwitch's, where
 * NET_BRIDGE is the bridge of "guard", NET_FLOWS may be before or plugged.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/seam.h"
#include "tests/network/check.h"
#include "tests/network/wanted.h"

/* A kernel that does what the real one does, but for one step. */
struct refusing {
    struct net_kernel kernel;
    struct net_kernel *real;
    size_t left;
};

static struct error *refusing_step(struct net_kernel *kernel, struct arena *arena,
                                   const struct net_step *step)
{
    struct refusing *r = container_of(kernel, struct refusing, kernel);

    if (r->left && --r->left == 0)
        return error_new(arena, "PIF_CONFIGURATION_ERROR", 2, step->device, "the test says no");
    return r->real->step(r->real, arena, step);
}

static struct error *read_wanted(struct arena *arena, const char *path, struct net_wanted *out)
{
    char *text = arena_zalloc(arena, NET_TEXT_LIMIT);
    FILE *f = fopen(path, "r");

    if (!f)
        return error_internal(arena, "%s cannot be read", path);
    text[fread(text, 1, NET_TEXT_LIMIT - 1, f)] = '\0';
    fclose(f);
    return wanted_parse(arena, text, out);
}

static struct error *show(struct net_kernel *kernel, struct arena *arena)
{
    AUTO(buf) out = {0};
    struct net_state state;

    TRY(net_read(kernel, arena, &state));
    net_state_print(&out, &state);
    printf("%s", out.data ? out.data : "");
    return OK;
}

static struct error *run(struct net_kernel *kernel, struct arena *arena, int argc, char **argv)
{
    size_t n = argc > 3 ? (size_t)atol(argv[3]) : 0;
    struct refusing refusing = {{.step = refusing_step}, kernel, n};
    struct net_wanted wanted;
    struct net_state state;
    struct net_plan plan;
    usec_t begin;

    if (strcmp(argv[1], "read") == 0)
        return show(kernel, arena);
    TRY(read_wanted(arena, argv[2], &wanted));
    begin = clock_mono();
    TRY(net_read(kernel, arena, &state));
    TRY(net_plan(arena, &wanted, &state, &plan));
    fprintf(stderr, "read and planned in %lld us\n", (long long)(clock_mono() - begin));
    for (size_t i = 0; i < plan.n_notes; i++)
        printf("note %s\n", plan.notes[i]);
    if (strcmp(argv[1], "apply") == 0 && n)
        plan.n_steps = MIN(plan.n_steps, n);
    for (size_t i = 0; i < plan.n_steps; i++)
        printf("%s\n", net_step_text(arena, &plan.steps[i]));
    if (strcmp(argv[1], "plan") == 0)
        return OK;
    if (strcmp(argv[1], "refuse") == 0)
        return net_apply(&refusing.kernel, arena, &plan);
    begin = clock_mono();
    TRY(net_apply(kernel, arena, &plan));
    fprintf(stderr, "done in %lld us\n", (long long)(clock_mono() - begin));
    return strcmp(argv[1], "undo") == 0 ? net_undo(kernel, arena, &plan) : OK;
}

static struct error *guard(struct arena *arena, int argc, char **argv)
{
    struct net_guard g = {
        .device = argv[3],
        .mode = strcmp(argv[2], "locked") == 0 ? NET_GUARD_LOCKED
                : strcmp(argv[2], "shut") == 0 ? NET_GUARD_SHUT
                                               : NET_GUARD_OPEN,
        .mac = argc > 4 ? argv[4] : "",
        .n_addresses = argc > 5 ? (size_t)argc - 5 : 0,
        .addresses = (const char *const *)argv + 5,
    };
    const char *when = getenv("NET_FLOWS"), *text;

    if (getenv("NET_OVS")) {
        g.bridge = getenv("NET_BRIDGE");
        return net_flows_set(arena, getenv("NET_OVSDB"), &g, 1,
                             !when                         ? NET_FLOWS_NOW
                             : strcmp(when, "before") == 0 ? NET_FLOWS_BEFORE
                                                           : NET_FLOWS_PLUGGED);
    }
    TRY(net_guard_text(arena, &g, 1, &text));
    return net_guard_set(arena, text);
}

int host_main(int argc, char **argv)
{
    struct net_linux_paths paths = {getenv("NET_RESOLV"), getenv("NET_RUN"), getenv("NET_OVSDB")};
    AUTO(arena) arena = {0};
    struct net_kernel *kernel = NULL;
    struct error *e = getenv("NET_OVS") ? net_ovs_new(&arena, &paths, &kernel)
                                        : net_linux_new(&arena, &paths, &kernel);

    if (!e && strcmp(argv[1], "guard") == 0)
        e = guard(&arena, argc, argv);
    else if (!e)
        e = run(kernel, &arena, argc, argv);
    if (e)
        printf("error %s\n", error_line(&arena, e));
    net_kernel_free(kernel);
    return e ? 1 : 0;
}
