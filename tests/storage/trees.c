/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * trees.c -- trees of disks grow and shrink at random, and are what a model says they are.
 *
 * usage: storage-trees [--operations N] [--seed S] [--kill] [DRIVER [KEY=VALUE]...]
 *
 * Disks are made, written, forked, reverted, grown, reset, copied and removed, and pairs of images
 * coalesced.  What was touched is read and compared after each operation; all disks, their sizes,
 * what lies on what, and every image's soundness at the end, when all chains have to be as short as
 * they can be.  With --kill an operation is done in a process that is killed at a random moment,
 * and then done again.  The seed says all, but not when a process dies.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "tests/unit/storage/lab.h"

#define BLOCK ((int64_t)65536)
#define BLOCKS 160 /* 10 MiB: disks begin with 8 and grow */
#define FIRST_BLOCKS 128
#define DISKS 24
#define LOOK_AT_ALL 250                 /* operations */
#define GONE_WITHIN (30 * USEC_PER_SEC) /* what a killed process had started */

/* A disk as it has to be.  'v' says what each block was filled with; 0: nothing. */
struct disk {
    char location[UUID_TEXT_SIZE];
    uint64_t v[BLOCKS];
    int64_t blocks;
    bool written; /* since it was forked: what reset throws away is 'below' */
    uint64_t below[BLOCKS];
    bool can_reset;
};

struct world {
    struct lab lab;
    struct disk disks[DISKS];
    size_t n;
    uint64_t random, stamp;
    bool kill;
    unsigned killed, done[16];
};

static uint64_t next(struct world *w, uint64_t below)
{
    w->random = w->random * 6364136223846793005u + 1442695040888963407u;
    return (w->random >> 33) % below;
}

/*** doing it ***/

typedef struct error *work_fn(struct world *w, void *arg);

/* Dies on the way, perhaps, as a daemon does by kill -9.  What it had started, as qemu-img, ends a
 * little later. */
static bool killed_at_it(struct world *w, work_fn *work, void *arg)
{
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0) {
        error_ignore(work(w, arg));
        _exit(0);
    }
    clock_sleep((usec_t)next(w, 60) * USEC_PER_MSEC);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status);
}

/* What a killed process had started still has the image, or its turn at coalescing. */
static bool ends_soon(const struct error *e)
{
    return error_is(e, "VDI_IN_USE") || error_is(e, "SR_BACKEND_FAILURE_37");
}

/* Everything can be repeated. */
static struct error *carry_out(struct world *w, work_fn *work, void *arg)
{
    bool killed = w->kill && next(w, 3) == 0 && killed_at_it(w, work, arg);
    usec_t deadline = clock_mono() + GONE_WITHIN;
    struct error *e = work(w, arg);

    w->killed += killed;
    while (killed && ends_soon(e) && clock_mono() < deadline) {
        clock_sleep(10 * USEC_PER_MSEC);
        e = work(w, arg);
    }
    return e;
}

/*** reading and writing ***/

static void look_at(struct world *w, const struct disk *d)
{
    struct lab *lab = &w->lab;
    struct vdi_info info = lab_stat(lab, d->location);
    size_t size = (size_t)(d->blocks * BLOCK);
    char *data = xmalloc(size);
    struct vdi_path path;
    struct vdi_io *io;

    assert_int_equal(info.virtual_size, d->blocks * BLOCK);
    assert_false(info.hidden);
    lab_must(lab, lab->sr.driver->vdi_attach(&lab->call, &lab->sr, d->location, false, &path));
    lab_must(lab, vdi_io_open(&lab->call, &path, false, &io));
    lab_must(lab, vdi_io_read(&lab->call, io, 0, data, size));
    vdi_io_close(io);
    lab->sr.driver->vdi_detach(&lab->call, &lab->sr, d->location);
    for (int64_t b = 0; b < d->blocks; b++) {
        const uint64_t *words = (const uint64_t *)(const void *)(data + b * BLOCK);

        for (size_t i = 0; i < (size_t)BLOCK / sizeof *words; i++)
            if (words[i] != d->v[b])
                fail_msg("disk %s, block %" PRId64 ", word %zu: %" PRIu64 " instead of %" PRIu64,
                         d->location, b, i, words[i], d->v[b]);
    }
    free(data);
}

/* A few blocks, some of them with zeroes. */
static void write_to(struct world *w, struct disk *d)
{
    struct lab *lab = &w->lab;
    uint64_t *block = xmalloc((size_t)BLOCK);
    struct vdi_path path;
    struct vdi_io *io;

    lab_must(lab, lab->sr.driver->vdi_attach(&lab->call, &lab->sr, d->location, true, &path));
    lab_must(lab, vdi_io_open(&lab->call, &path, true, &io));
    for (uint64_t n = 1 + next(w, 6); n; n--) {
        int64_t b = (int64_t)next(w, (uint64_t)d->blocks);
        bool zero = next(w, 8) == 0;

        d->v[b] = zero ? 0 : ++w->stamp;
        for (size_t i = 0; i < (size_t)BLOCK / sizeof *block; i++)
            block[i] = d->v[b];
        lab_must(lab, zero ? vdi_io_zero(&lab->call, io, b * BLOCK, BLOCK)
                           : vdi_io_write(&lab->call, io, b * BLOCK, block, (size_t)BLOCK));
    }
    lab_must(lab, vdi_io_flush(&lab->call, io));
    vdi_io_close(io);
    lab->sr.driver->vdi_detach(&lab->call, &lab->sr, d->location);
    free(block);
}

/*** operations ***/

/* Names that an operation has chosen in advance. */
struct names {
    const struct disk *disk;
    char base[UUID_TEXT_SIZE], new[UUID_TEXT_SIZE];
    int64_t size;
    struct vdi_coalesce pair;
};

static struct disk *any(struct world *w)
{
    return w->n ? &w->disks[next(w, w->n)] : NULL;
}

static struct disk *add(struct world *w, const char *location, const struct disk *like)
{
    struct disk *d = &w->disks[w->n++];

    *d = like ? *like : (struct disk){.blocks = FIRST_BLOCKS};
    d->can_reset = false;
    memcpy(d->location, location, sizeof d->location);
    return d;
}

/* What a disk that was forked goes back to. */
static void forked(struct disk *d)
{
    memcpy(d->below, d->v, sizeof d->below);
    d->can_reset = true;
}

static struct error *create(struct world *w, void *arg)
{
    const struct names *n = arg;
    struct vdi_spec spec = {.location = n->new, .virtual_size = FIRST_BLOCKS *BLOCK};
    struct vdi_info info;

    return w->lab.sr.driver->vdi_create(&w->lab.call, &w->lab.sr, &spec, &info);
}

static struct error *fork_it(struct world *w, void *arg)
{
    const struct names *n = arg;
    struct vdi_spec spec = {.location = n->new};
    struct vdi_info info;

    return w->lab.sr.driver->vdi_fork(&w->lab.call, &w->lab.sr, n->disk->location, n->base, &spec,
                                      &info);
}

static struct error *copy(struct world *w, void *arg)
{
    const struct names *n = arg;
    struct vdi_spec spec = {.location = n->new};
    struct vdi_info info;

    return w->lab.sr.driver->vdi_copy(&w->lab.call, &w->lab.sr, n->disk->location, &spec, &info,
                                      NULL, NULL);
}

static struct error *replace(struct world *w, void *arg)
{
    const struct names *n = arg;
    struct vdi_info info;

    return w->lab.sr.driver->vdi_replace(&w->lab.call, &w->lab.sr, n->disk->location, n->new,
                                         &info);
}

static struct error *delete (struct world *w, void *arg)
{
    const struct names *n = arg;

    return w->lab.sr.driver->vdi_delete(&w->lab.call, &w->lab.sr, n->disk->location);
}

static struct error *grow(struct world *w, void *arg)
{
    const struct names *n = arg;
    struct vdi_info info;

    return w->lab.sr.driver->vdi_resize(&w->lab.call, &w->lab.sr, n->disk->location, n->size,
                                        &info);
}

static struct error *reset(struct world *w, void *arg)
{
    const struct names *n = arg;

    return w->lab.sr.driver->vdi_reset(&w->lab.call, &w->lab.sr, n->disk->location);
}

static struct error *coalesce(struct world *w, void *arg)
{
    const struct names *n = arg;

    return w->lab.sr.driver->vdi_coalesce(&w->lab.call, &w->lab.sr, &n->pair, NULL, NULL);
}

/* The nth pair that can be coalesced, from 0; false where there are not so many. */
static bool find_pair(struct world *w, size_t nth, struct names *out)
{
    struct lab *lab = &w->lab;
    struct vdi_info *v;
    size_t n;

    lab_must(lab, lab->sr.driver->scan(&lab->call, &lab->sr, &n, &v));
    for (size_t i = 0; i < n; i++) {
        const struct vdi_info *child = NULL;
        size_t children = 0;

        for (size_t k = 0; k < n; k++) {
            if (strcmp(v[k].parent, v[i].location) == 0) {
                child = &v[k];
                children++;
            }
        }
        if (v[i].hidden && children == 1 && nth-- == 0) {
            out->pair = (struct vdi_coalesce){.location = child->location, .base = v[i].location};
            return true;
        }
    }
    return false;
}

static struct names names(struct world *w, const struct disk *d)
{
    struct names n = {.disk = d};

    uuid_new(n.base);
    uuid_new(n.new);
    (void)w;
    return n;
}

static void do_fork(struct world *w, struct disk *d)
{
    struct names n = names(w, d);

    lab_must(&w->lab, carry_out(w, fork_it, &n));
    forked(d);
    forked(add(w, n.new, d));
}

/* To any other disk's content, as a revert does: a clone of that takes its place. */
static void do_revert(struct world *w, struct disk *d)
{
    struct disk *to = &w->disks[next(w, w->n)], old = *d;
    struct names n = names(w, to);

    if (to == d)
        return;
    lab_must(&w->lab, carry_out(w, fork_it, &n));
    forked(to);
    n.disk = d;
    lab_must(&w->lab, carry_out(w, replace, &n));
    *d = *to;
    memcpy(d->location, old.location, sizeof d->location);
}

static void do_delete(struct world *w, struct disk *d)
{
    struct disk gone = *d;
    struct names n = names(w, &gone);

    *d = w->disks[--w->n];
    lab_must(&w->lab, carry_out(w, delete, &n));
}

static void do_grow(struct world *w, struct disk *d)
{
    struct names n = names(w, d);

    d->blocks = MIN(d->blocks + 1 + (int64_t)next(w, 4), (int64_t)BLOCKS);
    n.size = d->blocks * BLOCK;
    lab_must(&w->lab, carry_out(w, grow, &n));
}

/* What it goes back to may have been coalesced with it: then it says so. */
static void do_reset(struct world *w, struct disk *d)
{
    struct names n = names(w, d);
    struct error *e;

    if (!d->can_reset)
        return;
    e = carry_out(w, reset, &n);
    if (e)
        lab_fails(&w->lab, e, "SR_BACKEND_FAILURE_46");
    else
        memcpy(d->v, d->below, sizeof d->v);
}

/* Of those whose own image went into another nobody can say any more what they go back to. */
static void do_coalesce(struct world *w)
{
    struct names n = {0};

    if (!find_pair(w, next(w, 4), &n) && !find_pair(w, 0, &n))
        return;
    for (size_t i = 0; i < w->n; i++)
        if (strcmp(w->disks[i].location, n.pair.location) == 0)
            w->disks[i].can_reset = false;
    lab_must(&w->lab, carry_out(w, coalesce, &n));
}

static void do_copy(struct world *w, struct disk *d)
{
    struct names n = names(w, d);

    lab_must(&w->lab, carry_out(w, copy, &n));
    add(w, n.new, d);
}

static void do_create(struct world *w)
{
    struct names n = names(w, NULL);

    lab_must(&w->lab, carry_out(w, create, &n));
    add(w, n.new, NULL);
}

enum what { CREATE, WRITE, FORK, REVERT, GROW, RESET, COPY, DELETE, COALESCE };

static const char *const what_names[] = {"create", "write", "fork",   "revert",  "grow",
                                         "reset",  "copy",  "delete", "coalesce"};

/* Of a hundred. */
static enum what choose(struct world *w)
{
    static const unsigned shares[] = {3, 30, 20, 4, 6, 3, 2, 16, 16};
    unsigned at = (unsigned)next(w, 100);
    size_t i = 0;

    if (w->n == 0)
        return CREATE;
    while (at >= shares[i])
        at -= shares[i++];
    if (w->n >= DISKS - 1 && (i == CREATE || i == FORK || i == COPY))
        return DELETE;
    return (enum what)i;
}

static void do_one(struct world *w)
{
    enum what what = choose(w);
    struct disk *d = any(w);

    w->done[what]++;
    switch (what) {
    case CREATE:
        do_create(w);
        break;
    case WRITE:
        write_to(w, d);
        break;
    case FORK:
        do_fork(w, d);
        break;
    case REVERT:
        do_revert(w, d);
        break;
    case GROW:
        do_grow(w, d);
        break;
    case RESET:
        do_reset(w, d);
        break;
    case COPY:
        do_copy(w, d);
        break;
    case DELETE:
        do_delete(w, d);
        return;
    case COALESCE:
        do_coalesce(w);
        d = any(w);
        break;
    }
    if (w->n)
        look_at(w, d ? d : &w->disks[w->n - 1]);
}

/*** all of it ***/

/* Disks are those of the model; every hidden image carries something. */
static void look_at_relations(struct world *w)
{
    struct lab *lab = &w->lab;
    struct vdi_info *v;
    size_t n, seen = 0;

    lab_must(lab, lab->sr.driver->scan(&lab->call, &lab->sr, &n, &v));
    for (size_t i = 0; i < n; i++) {
        bool known = false, carries = false, has_parent = !v[i].parent[0];

        for (size_t k = 0; k < w->n; k++)
            known |= strcmp(w->disks[k].location, v[i].location) == 0;
        for (size_t k = 0; k < n; k++) {
            carries |= strcmp(v[k].parent, v[i].location) == 0;
            has_parent |= strcmp(v[i].parent, v[k].location) == 0 && v[k].hidden;
        }
        if (known == v[i].hidden || carries != v[i].hidden || !has_parent)
            fail_msg("image %s: %s, %s, on '%s'", v[i].location, known ? "a disk" : "no disk",
                     v[i].hidden ? "hidden" : "not hidden", v[i].parent);
        seen += known;
    }
    assert_int_equal(seen, w->n);
}

static void look_at_everything(struct world *w)
{
    look_at_relations(w);
    for (size_t i = 0; i < w->n; i++)
        look_at(w, &w->disks[i]);
    lab_check_images(&w->lab);
}

/* As the daemon's thread does it; it has to come to an end. */
static void coalesce_all(struct world *w)
{
    struct names n = {0};

    for (int i = 0; find_pair(w, 0, &n); i++) {
        assert_true(i < 1000);
        lab_must(&w->lab, carry_out(w, coalesce, &n));
    }
}

struct options {
    struct lab_kind kind;
    unsigned operations;
    uint64_t seed;
    bool kill;
};

/* With memory of its own for what the driver says. */
static void step(struct world *w, void (*fn)(struct world *w))
{
    AUTO(arena) arena = {0};

    w->lab.call.arena = &arena;
    fn(w);
    w->lab.call.arena = &w->lab.arena;
}

static void trees_are_what_the_model_says(void **state)
{
    const struct options *o = *state;
    struct world *w = xcalloc(1, sizeof *w);

    w->random = o->seed;
    w->kill = o->kill;
    lab_open_kind(&w->lab, &o->kind);
    for (unsigned i = 1; i <= o->operations; i++) {
        step(w, do_one);
        if (i % LOOK_AT_ALL == 0)
            step(w, look_at_everything);
    }
    step(w, look_at_everything);
    step(w, coalesce_all);
    step(w, look_at_everything);
    printf("# seed %" PRIu64 ": %u operations, %u processes killed:", o->seed, o->operations,
           w->killed);
    for (size_t i = 0; i < ARRAY_SIZE(what_names); i++)
        printf(" %s %u", what_names[i], w->done[i]);
    printf("\n");
    lab_close(&w->lab);
    free(w);
}

/* Of the command line, the words that are not ours are the driver and its device_config. */
static bool read_options(struct arena *arena, char **argv, struct options *o)
{
    const char *driver = "file";

    for (; *argv; argv++) {
        char *equals = strchr(*argv, '=');

        if (strcmp(*argv, "--kill") == 0)
            o->kill = true;
        else if (strcmp(*argv, "--operations") == 0 && argv[1])
            o->operations = (unsigned)strtoul(*++argv, NULL, 10);
        else if (strcmp(*argv, "--seed") == 0 && argv[1])
            o->seed = strtoull(*++argv, NULL, 10);
        else if (equals)
            o->kind.config =
                strmap_with(arena, o->kind.config,
                            arena_strndup(arena, *argv, (size_t)(equals - *argv)), equals + 1);
        else
            driver = *argv;
    }
    o->kind.driver = sr_driver_for(driver, &o->kind.config);
    return o->kind.driver && o->kind.driver->vdi_coalesce;
}

int main(int argc, char **argv)
{
    struct options o = {.operations = 500, .seed = 1};
    AUTO(arena) arena = {0};
    const struct CMUnitTest tests[] = {
        {"trees_are_what_the_model_says", trees_are_what_the_model_says, NULL, NULL, &o},
    };

    (void)argc;
    if (!read_options(&arena, argv + 1, &o)) {
        fprintf(stderr, "usage: storage-trees [--operations N] [--seed S] [--kill] [DRIVER "
                        "[KEY=VALUE]...]\n");
        return 2;
    }
    return cmocka_run_group_tests_name("trees", tests, NULL, NULL) ? 1 : 0;
}
